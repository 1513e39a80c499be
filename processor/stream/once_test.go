package stream

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKilledInMidTransaction kills a process that has records of an open transaction on the broker, twice, and puts another
// in its place. That one must end the transaction of its predecessor itself, which would time out long after the test. The
// zombie comes back to the network afterwards and tries to commit.
func TestKilledInMidTransaction(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 4)
	// Nor must a busy machine cost the living their seats: the end of a transaction waits for its timeout then.
	patient := func(o *Options) { o.SessionTimeout, o.TxnTimeout = patience/4, 2*patience }
	d := disk()
	first := b.run("a", d, &counting{})
	b.spread(400)
	first.drains()
	first.stop() // so that the disk holds something that a crash can't take away

	for range 2 {
		var once sync.Once
		stuck, release := make(chan bool), make(chan bool)
		n, mu := 0, sync.Mutex{}
		m := b.run("a", d, &counting{before: func(*kgo.Record) {
			mu.Lock()
			n++
			hold := n > 300
			mu.Unlock()
			if hold {
				once.Do(func() { close(stuck) })
				<-release
			}
		}}, patient)
		b.spread(800)
		receive(t, "a transaction in the making", stuck)
		await(t, "records of an open transaction", b.openTransaction)
		d = m.kill()
		close(release)

		next := b.run("a", d, &counting{}, patient)
		next.drains()
		await(t, "the end of the open transaction", func() bool { return !b.openTransaction() })
		m.bury()
		b.spread(400)
		next.drains()
		if n := next.restarts(); n != 0 {
			t.Errorf("the zombie made the living rebuild %v clients", n)
		}
		next.stop()
		d = next.disk
	}
	b.check(nil)
}

// TestAbortedInput processes nothing of what an earlier stage took back.
func TestAbortedInput(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	stage, err := kgo.NewClient(kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.TransactionalID("an earlier stage"))
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	m := b.run("a", disk(), &counting{})
	for _, keep := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := stage.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: input, Key: []byte("x")}
		if err := stage.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := stage.EndTransaction(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
		if keep {
			b.sent[0] = append(b.sent[0], sent{offset: r.Offset, key: "x"})
		}
	}
	m.drains()
	m.stop()
	b.check(nil)
}
