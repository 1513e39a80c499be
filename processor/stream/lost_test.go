package stream

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// elect has another broker lead the only partition of the input, one that knows nothing of its offsets from end on.
func (b *broker) elect(end int64) {
	b.t.Helper()
	b.c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		asked := req.(*kmsg.OffsetForLeaderEpochRequest)
		if asked.Topics[0].Topic != input {
			b.c.KeepControl()
			return nil, nil, false
		}
		resp := asked.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = input
		p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		p.LeaderEpoch, p.EndOffset = asked.Topics[0].Partitions[0].LeaderEpoch, end
		topic.Partitions = append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	if err := b.c.MoveTopicPartition(input, 0, b.c.LeaderFor(input, 0)); err != nil {
		b.t.Fatal(err)
	}
}

// TestLostRecords has brokers lose what was read already, after which its offsets are given to others.
func TestLostRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stateless bool
		end       int64  // what the new leader has
		says      string // of a member that goes on
		fails     string
	}{
		"a marker alone":        {false, 11, "a broker has lost records", ""},
		"records, without rows": {true, 8, "what is in their place is read", ""},
		"records, with rows":    {false, 8, "", "the brokers have lost committed records from offset 8 on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, 1)
			stage := &counting{stateless: c.stateless}
			m := b.runWorkers("a", disk(), 1, stage)
			b.send(0, strings.Split("abcdefghij", "")...)
			b.transact("k") // offset 10, and a marker
			await(t, "all records", func() bool { return b.committed(0) >= 11 })
			b.elect(c.end)
			if c.fails != "" {
				m.fails("in/0: ", c.fails)
				return
			}
			await(t, "a word of it in the log", func() bool { return strings.Contains(m.log.String(), c.says) })
			b.send(0, "z")
			await(t, "the next record", func() bool { return stage.attempts(0, 12) == 1 && b.committed(0) == 13 })
			for offset := range int64(11) {
				want := 1
				if offset >= c.end {
					want = 2
				}
				if n := stage.attempts(0, offset); n != want {
					t.Errorf("record %d was processed %d times, want %d", offset, n, want)
				}
			}
			m.stop()
		})
	}
}

// transact writes records of one transaction to partition 0 of the input, behind which is a marker.
func (b *broker) transact(keys ...string) {
	b.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("sender"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	ctx := context.Background()
	if err := cl.BeginTransaction(); err != nil {
		b.t.Fatal(err)
	}
	for _, k := range keys {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: input, Key: []byte(k), Value: []byte(k)}).FirstErr(); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		b.t.Fatal(err)
	}
}
