package stream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bomb produces a batch of two records that together expand past the cap, and returns the offset of its first.
func (b *broker) bomb(partition int32) int64 {
	b.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(80<<20), kgo.MaxBufferedBytes(200<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	zeros := make([]byte, maxBatchBytes/2+1)
	rs := cl.ProduceSync(b.t.Context(), &kgo.Record{Topic: input, Partition: partition, Value: zeros}, &kgo.Record{Topic: input, Partition: partition, Value: zeros})
	if err := rs.FirstErr(); err != nil {
		b.t.Fatal(err)
	}
	if rs[1].Record.Offset != rs[0].Record.Offset+1 {
		b.t.Fatal("the two records went into two batches")
	}
	return rs[0].Record.Offset
}

// TestBatchTooLarge: what a few kilobytes can expand to must neither fill the memory nor stop the group. The batch is a dead
// letter, once, and everything around it is read.
func TestBatchTooLarge(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	b.bomb(1) // 0: before anything was committed
	b.send(0, "x")
	// A busy machine must not cost the member its seat or its transaction: that would make a client anew, too.
	m := b.runWorkers("a", disk(), 1, &counting{stateless: true}, func(o *Options) { o.SessionTimeout, o.TxnTimeout = patience/4, patience })
	m.drains()
	b.send(1, "x", "y")
	b.bomb(1) // 4
	b.bomb(1) // 6
	b.send(1, "z")
	b.spread(40)
	m.drains()
	m.stop()
	want := []string{"count batch_too_large in/1/0", "count batch_too_large in/1/4", "count batch_too_large in/1/6"}
	if d := cmp.Diff(want, b.letters()); d != "" {
		t.Errorf("dead letters differ (-want +got):\n%s", d)
	}
	if n := m.restarts(); n != 0 {
		t.Errorf("%v clients were rebuilt", n)
	}
	b.checkRead(nil)

	again := b.runWorkers("a", disk(), 1, &counting{stateless: true})
	b.spread(10)
	again.drains()
	again.stop()
	if d := cmp.Diff(want, b.letters()); d != "" {
		t.Errorf("dead letters after a restart differ (-want +got):\n%s", d)
	}
	b.checkRead(nil)
}

// TestBatchTooLargeAborted aborts the transaction that skips the batch: the batch must be met again, with what lies before it.
func TestBatchTooLargeAborted(t *testing.T) {
	t.Parallel()
	for name, abort := range map[string]func(b *broker, c *counting){
		"by a panic before it": func(b *broker, c *counting) {
			c.before = poisonous
			b.send(0, "x", "bad", "y")
			b.bomb(0)
		},
		"by the coordinator": func(b *broker, c *counting) {
			b.send(0, "x", "y", "z")
			b.bomb(0)
			b.c.ControlKey(int16(kmsg.TxnOffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
				req := r.(*kmsg.TxnOffsetCommitRequest)
				for _, topic := range req.Topics {
					for _, p := range topic.Partitions {
						if p.Offset == 5 {
							b.c.DropControl()
							return refuseCommit(req), nil, true
						}
					}
				}
				b.c.KeepControl()
				return nil, nil, false
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, c := newBroker(t, 1), &counting{stateless: true}
			abort(b, c)
			b.send(0, "v")
			m := b.runWorkers("a", disk(), 1, c)
			m.drains()
			m.stop()
			want := []string{"count batch_too_large in/0/3"}
			if c.before != nil {
				want = append([]string{"count panic in/0/1"}, want...)
			}
			if d := cmp.Diff(want, b.letters()); d != "" {
				t.Errorf("dead letters differ (-want +got):\n%s", d)
			}
			if n := m.restarts(); n == 0 && c.before == nil {
				t.Error("nothing aborted")
			}
		})
	}
}

func refuseCommit(req *kmsg.TxnOffsetCommitRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, topic := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
		for _, p := range topic.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.RebalanceInProgress.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
