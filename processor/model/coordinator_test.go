package model

import (
	"maps"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// seat is a partition of a group's input. Requests name topics or number them, by version.
type seat struct {
	topic     string
	partition int32
}

type commit struct {
	offset   int64
	metadata *string
}

// producer is one incarnation of a transactional id: what a zombie says of its transaction says nothing of its successor's.
type producer struct {
	transactionalID string
	id              int64
	epoch           int16
}

// coordinator stands before that of the embedded broker. It can forget the latest commits of a group, and then answers with an
// older state of it, and what is committed from then on, until it remembers.
type coordinator struct {
	named   map[[16]byte]string                     // topics by id
	pending map[producer]map[string]map[seat]commit // of transactions, by group
	history map[string][]map[seat]commit            // of groups, oldest first
	stale   map[string]map[seat]commit              // what groups that it forgot commits of are said to be at
}

func newCoordinator() *coordinator {
	return &coordinator{named: map[[16]byte]string{}, pending: map[producer]map[string]map[seat]commit{}, history: map[string][]map[seat]commit{}, stale: map[string]map[seat]commit{}}
}

func (c *coordinator) seat(topic string, id [16]byte, partition int32) seat {
	if topic == "" {
		topic = c.named[id]
	}
	return seat{topic, partition}
}

func (c *coordinator) commit(r *kmsg.TxnOffsetCommitRequest) {
	by := producer{r.TransactionalID, r.ProducerID, r.ProducerEpoch}
	if c.pending[by] == nil {
		c.pending[by] = map[string]map[seat]commit{}
	}
	at := map[seat]commit{}
	c.pending[by][r.Group] = at
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			at[c.seat(t.Topic, t.TopicID, p.Partition)] = commit{p.Offset, p.Metadata}
		}
	}
}

// supersede is the beginning of another incarnation: whatever was open under the transactional id is aborted.
func (c *coordinator) supersede(transactionalID string) {
	maps.DeleteFunc(c.pending, func(by producer, _ map[string]map[seat]commit) bool { return by.transactionalID == transactionalID })
}

// end is the end of a transaction.
func (c *coordinator) end(by producer, committed bool) {
	pending := c.pending[by]
	delete(c.pending, by)
	if !committed {
		return
	}
	for group, at := range pending {
		now := map[seat]commit{}
		if h := c.history[group]; len(h) > 0 {
			now = maps.Clone(h[len(h)-1])
		}
		maps.Copy(now, at)
		c.history[group] = append(c.history[group], now)
		if s := c.stale[group]; s != nil {
			maps.Copy(s, at)
		}
	}
}

// forget has the group be where it was some commits ago.
func (c *coordinator) forget(group string, commits int) bool {
	h := c.history[group]
	if len(h) <= commits {
		return false
	}
	c.stale[group] = maps.Clone(h[len(h)-1-commits])
	return true
}

// fetch answers for a group that it forgot commits of; nil where the broker knows better.
func (c *coordinator) fetch(r *kmsg.OffsetFetchRequest) kmsg.Response {
	if len(r.Groups) != 1 || c.stale[r.Groups[0].Group] == nil {
		return nil
	}
	g := r.Groups[0]
	for _, groups := range c.pending {
		if groups[g.Group] != nil { // the broker makes whoever asks wait for the end of the transaction
			return nil
		}
	}
	asked := g.Topics
	if asked == nil {
		all := map[string]*kmsg.OffsetFetchRequestGroupTopic{}
		for s := range c.stale[g.Group] {
			if all[s.topic] == nil {
				all[s.topic] = &kmsg.OffsetFetchRequestGroupTopic{Topic: s.topic}
				for id, name := range c.named {
					if name == s.topic {
						all[s.topic].TopicID = id
					}
				}
			}
			all[s.topic].Partitions = append(all[s.topic].Partitions, s.partition)
		}
		for _, t := range all {
			asked = append(asked, *t)
		}
	}
	resp := r.ResponseKind().(*kmsg.OffsetFetchResponse)
	group := kmsg.NewOffsetFetchResponseGroup()
	group.Group = g.Group
	for _, t := range asked {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, n := range t.Partitions {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset = n, -1
			if at, ok := c.stale[g.Group][c.seat(t.Topic, t.TopicID, n)]; ok {
				p.Offset, p.Metadata = at.offset, at.metadata
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		group.Topics = append(group.Topics, topic)
	}
	resp.Groups = append(resp.Groups, group)
	return resp
}
