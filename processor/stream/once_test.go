package stream

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKilledInMidTransaction kills a process that has records of an open transaction on the broker, twice, and puts another
// in its place. The zombie comes back to the network afterwards and tries to commit.
func TestKilledInMidTransaction(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 4)
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
		}})
		b.spread(800)
		receive(t, "a transaction in the making", stuck)
		await(t, "records of an open transaction", b.openTransaction)
		d = m.kill()
		close(release)

		next := b.run("a", d, &counting{})
		next.drains()
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
