package route

import (
	"fmt"
	"sync"

	"github.com/farcall/farcall/topics"
)

// breakerRecords is how many records of a topic a Breaker must have seen before it judges, and half of what it remembers:
// more than the burst that one broken producer sends, and far less than a topic.
const breakerRecords = 1000

// Breaker stops a process that was pointed at the wrong topic, before it turns the whole of it into dead letters. It judges
// a raw topic as a whole, so that one partition with a broken producer does not stop a healthy topic. It is safe for
// concurrent use.
type Breaker struct {
	share  float64
	mu     sync.Mutex
	topics map[string]*tally
}

// tally counts records, and forgets by halving.
type tally struct{ good, bad int64 }

// NewBreaker makes a Breaker that lets a share of a topic's records be bad, 0 to 1. With 1 it never stops.
func NewBreaker(share float64) *Breaker { return &Breaker{share: share, topics: map[string]*tally{}} }

// Note adds records of a raw topic: good ones and such as left nothing but dead letters, the last of which is last. The error
// says that the process should stop.
func (b *Breaker) Note(topic string, good, bad int64, last *topics.DeadLetter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.topics[topic]
	if n == nil {
		n = &tally{}
		b.topics[topic] = n
	}
	n.good += good
	n.bad += bad
	all := n.good + n.bad
	if bad > 0 && all >= breakerRecords && float64(n.bad) > b.share*float64(all) {
		return fmt.Errorf("%d of the last %d records of topic %s hold no CloudTrail that can be read, and route.max_bad_share (%g) allows no more; "+
			"the last is %s/%d offset %d: %s, %s. If topics.raw names the wrong topic, mend it: the records of the running transaction are untouched. "+
			"If it is the right one, raise route.max_bad_share; with 1, farcall never stops for this",
			n.bad, all, topic, b.share, last.Source.Topic, last.Source.Partition, last.Source.Offset, last.Reason, last.Detail)
	}
	for n.good+n.bad > 2*breakerRecords {
		n.good, n.bad = n.good/2, n.bad/2
	}
	return nil
}
