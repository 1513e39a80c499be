package stream

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/farcall/farcall/state"
)

// ice is a process that SIGSTOP can take hold of: while it is frozen, none of its connections moves a byte, none breaks, and
// the stage stands still between two records.
type ice struct {
	mu     sync.Mutex
	thawed chan struct{} // closed while the process runs
}

func newIce() *ice {
	i := &ice{thawed: make(chan struct{})}
	close(i.thawed)
	return i
}

func (i *ice) wait() {
	i.mu.Lock()
	thawed := i.thawed
	i.mu.Unlock()
	<-thawed
}

func (i *ice) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.thawed = make(chan struct{})
}

func (i *ice) thaw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	close(i.thawed)
}

type stiff struct {
	net.Conn
	i *ice
}

func (c stiff) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.i.wait()
	return n, err
}

func (c stiff) Write(b []byte) (int, error) {
	c.i.wait()
	return c.Conn.Write(b)
}

func (i *ice) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	i.wait()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return stiff{conn, i}, nil
}

// TestStoppedForLongerThanItsSession is SIGSTOP in the middle of a transaction, for longer than the session timeout, and
// SIGCONT when another process has the partitions and has gone on with them. What wakes up believes in all that it had.
func TestStoppedForLongerThanItsSession(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	i := newIce()
	stuck := make(chan bool, 1)
	var armed sync.Map
	m := b.runWorkers("stopped", disk(), 1, &counting{before: func(r *kgo.Record) {
		if _, ok := armed.Load(string(r.Key)); ok {
			i.freeze()
			stuck <- true
		}
		i.wait()
	}}, func(o *Options) {
		o.Client = append(o.Client, kgo.Dialer(i.dial))
		o.MaxPollRecords = 10 // so that records before the one that freezes are on the broker
		o.CommitInterval, o.CommitStretch = time.Second, time.Second
	})
	b.spread(100)
	m.drains()

	armed.Store("freeze", true)
	b.send(0, append(slices.Repeat([]string{"x", "y"}, 30), "freeze", "z")...)
	receive(t, "the freeze", stuck)
	armed.Delete("freeze")
	heir := b.runWorkers("heir", disk(), 1, &counting{})
	heir.runs(2) // the session of the other is over
	b.spread(100)
	heir.drains()
	i.thaw()
	await(t, "both to share", func() bool { return m.running() == 1 && heir.running() == 1 })
	b.spread(100)
	heir.drains()
	// Whether the word of the group or the refusal of the commit comes first, nothing of that transaction may stand.
	if m.value("farcall_transactions_total", "result", "error")+m.value("farcall_transactions_total", "result", "aborted")+m.restarts() == 0 {
		t.Error("the stopped process noticed nothing")
	}
	if n := heir.restarts(); n != 0 {
		t.Errorf("the zombie made the heir rebuild %v clients", n)
	}
	m.stop()
	heir.stop()
	b.check(nil)
}

// TestStoppedBeforeItsRestore is SIGSTOP between the group's word where a partition stands and the restore of its rows. What
// wakes up finds rows that are ahead of that word, for another process went on with them: no reason for alarm.
func TestStoppedBeforeItsRestore(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	first := b.runWorkers("first", disk(), 1, &counting{}, func(o *Options) { o.Leave = true })
	b.spread(100)
	first.drains()
	first.stop()

	i := newIce()
	stuck := make(chan bool, 1)
	var once sync.Once
	m := b.runWorkers("stopped", disk(), 1, &counting{}, func(o *Options) {
		o.Client = append(o.Client, kgo.Dialer(i.dial))
		o.FS = errorfs.Wrap(o.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if strings.HasPrefix(op.Path, "state/count/") {
				once.Do(func() {
					i.freeze()
					stuck <- true
				})
				i.wait()
			}
			return nil
		}))
	})
	receive(t, "the freeze", stuck)
	heir := b.runWorkers("heir", disk(), 1, &counting{})
	heir.runs(2)
	b.spread(100)
	heir.drains()
	i.thaw()
	await(t, "both to share", func() bool { return m.running() == 1 && heir.running() == 1 })
	b.spread(100)
	heir.drains()
	if n := heir.restarts(); n != 0 {
		t.Errorf("the zombie made the heir rebuild %v clients", n)
	}
	m.stop()
	heir.stop()
	b.check(nil)
}

// TestTransactionTimesOut processes for longer than the broker keeps a transaction open: it is aborted under the worker's
// feet, and what it held comes again.
func TestTransactionTimesOut(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	once := make(chan bool, 1)
	once <- true
	m := b.runWorkers("a", disk(), 1, &counting{before: func(r *kgo.Record) {
		if string(r.Key) != "slow" {
			return
		}
		select {
		case <-once:
			await(t, "records of an open transaction", b.openTransaction)
			await(t, "the broker to end it", func() bool { return !b.openTransaction() })
		default:
		}
	}}, func(o *Options) { o.TxnTimeout = time.Second; o.MaxPollRecords = 10 })
	b.spread(20)
	m.drains()
	b.send(0, append(slices.Repeat([]string{"x", "y"}, 30), "slow", "z")...)
	m.drains()
	if m.value("farcall_transactions_total", "result", "error")+m.value("farcall_transactions_total", "result", "aborted")+m.restarts() == 0 {
		t.Error("nothing was aborted")
	}
	b.spread(20)
	m.drains()
	m.stop()
	b.check(nil)
}

// TestOldDataIsWrittenNow replays events of years ago: what they cause carries the time of its writing. Rows and records that
// carried the events' time would be past every retention when they are written.
func TestOldDataIsWrittenNow(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	began := time.Now().Add(-time.Second)
	m := b.runWorkers("a", disk(), 1, &counting{before: poisonous})
	b.send(0, "x", "y", "bad", "z")
	if age := began.Sub(time.UnixMilli(b.time)); age < 365*24*time.Hour {
		t.Fatalf("the records of this test are only %s old", age)
	}
	m.drains()
	m.stop()
	for _, topic := range []string{output, changelog, letters} {
		rs := b.read(topic)
		if len(rs) == 0 {
			t.Errorf("%s is empty", topic)
		}
		for _, r := range rs {
			if r.Timestamp.Before(began) {
				t.Errorf("%s/%d offset %d is stamped %s", topic, r.Partition, r.Offset, r.Timestamp)
			}
		}
	}
}

// TestQuietStoreIsFlushed sends little and then nothing: what is in memory reaches the disk all the same, or a crash after a
// quiet year would restore a year.
func TestQuietStoreIsFlushed(t *testing.T) {
	t.Parallel()
	b, d := newBroker(t, 1), disk()
	m := b.runWorkers("a", d, 1, &counting{}, func(o *Options) { o.FlushEvery = 10 * time.Millisecond })
	b.send(0, "x", "y")
	m.drains()
	await(t, "the store on disk", func() bool {
		left := d.CrashClone(vfs.CrashCloneCfg{})
		s, err := state.Open("state/count/0", state.Options{FS: left})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		meta, ok := s.Meta()
		return ok && meta.Input == 2
	})
	m.stop()
	b.check(nil)
}

// TestPartitionsOfOwnTopicGrow adds partitions to a topic whose records lie where their keys say: from then on keys and rows
// part.
func TestPartitionsOfOwnTopicGrow(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	m := b.run("a", disk(), &counting{partitions: 2})
	b.spread(20)
	m.drains()
	for _, topic := range []string{changelog, input} {
		if rs, err := b.adm.CreatePartitions(t.Context(), 1, topic); err != nil || rs.Error() != nil {
			t.Fatal(err, rs.Error())
		}
	}
	m.fails("in/2", "made with 2 partitions and has more", "start a new installation under another topics.prefix")
}

// TestLeave gives its seats up, where a process that only stops keeps them: other members get its partitions at once, long
// before its session would be over.
func TestLeave(t *testing.T) {
	t.Parallel()
	for leave, seats := range map[bool]int{true: 1, false: 3} {
		t.Run(fmt.Sprintf("leave=%t", leave), func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, 3)
			patient := func(o *Options) { o.SessionTimeout, o.Leave = 2*patience, leave }
			stays := b.runWorkers("stays", disk(), 1, &counting{}, patient, func(o *Options) { o.Leave = false })
			goes := b.run("goes", disk(), &counting{}, patient)
			goes.runs(2)
			stays.runs(1)
			b.spread(30)
			goes.drains()
			goes.stop()
			var left []string
			for _, m := range b.c.GroupInfo(group).Members {
				left = append(left, *m.InstanceID)
			}
			if len(left) != seats {
				t.Errorf("the seats are %v, want %d", left, seats)
			}
			if leave {
				stays.runs(3)
				b.spread(30)
				stays.drains()
			}
			stays.stop()
			b.check(nil)
		})
	}
}

// TestLeaveInVain can't reach the brokers at its end: it ends all the same, without an error, and says so.
func TestLeaveInVain(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	m := b.runWorkers("a", disk(), 1, &counting{}, func(o *Options) { o.Leave = true })
	b.spread(10)
	m.drains()
	h := b.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.LeaveGroup}, TopLevel: true, Err: kerr.GroupAuthorizationFailed, Count: 100})
	m.stop()
	if h.Hits() == 0 || !strings.Contains(m.log.String(), "seats are kept until their sessions end") {
		t.Errorf("hits %d; the log says nothing", h.Hits())
	}
	b.check(nil)
}
