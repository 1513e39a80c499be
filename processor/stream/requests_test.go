package stream

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a transaction writes is one request to a broker, however many records and partitions it has.
func TestOneRequestACommit(t *testing.T) {
	b := newBroker(t, 4)
	var writes, commits atomic.Int64
	b.spread(8)
	m := b.runWorkers("a", disk(), 1, &counting{}, func(o *Options) { o.CommitStretch = time.Second })
	m.drains() // the first records wait for what the client must know of their topics
	b.c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.c.KeepControl()
		if r.(*kmsg.ProduceRequest).TransactionID != nil {
			writes.Add(1)
		}
		return nil, nil, false
	})
	b.c.ControlKey(int16(kmsg.EndTxn), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.c.KeepControl()
		if r.(*kmsg.EndTxnRequest).Commit {
			commits.Add(1)
		}
		return nil, nil, false
	})
	for range 5 {
		b.spread(400)
		m.drains()
	}
	m.stop()
	b.check(nil)
	if w, c := writes.Load(), commits.Load(); w == 0 || w >= 2*c { // five each without the wait; a machine that stands still may add one
		t.Errorf("%d produce requests for %d commits", w, c)
	}
}
