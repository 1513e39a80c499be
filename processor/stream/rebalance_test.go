package stream

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/farcall/farcall/state"
)

// assignment is what the broker says that a slot's workers own.
func (b *broker) assignment(slot string) []int32 {
	var ps []int32
	if g := b.c.GroupInfo(group); g != nil && g.State == "Stable" {
		for _, m := range g.Members {
			if strings.HasPrefix(*m.InstanceID, slot+"-") {
				ps = append(ps, m.Assignment[input]...)
			}
		}
	}
	slices.Sort(ps)
	return ps
}

// TestPartitionsMove lets a second process join and leave under traffic: its partitions move there and are restored, and move
// back.
func TestPartitionsMove(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 4)
	home := b.run("home", disk(), &counting{})
	home.runs(4)
	b.spread(400)
	home.drains()

	guest := b.run("guest", disk(), &counting{})
	b.spread(400)
	guest.runs(2)
	home.runs(2)
	b.spread(400)
	home.drains()
	if n := guest.value("farcall_restored_rows_total"); n == 0 {
		t.Error("the guest got partitions with rows and restored none")
	}
	if len(b.assignment("guest")) != 2 || len(b.assignment("home")) != 2 {
		t.Errorf("the broker has %v for home and %v for guest", b.assignment("home"), b.assignment("guest"))
	}

	before := home.value("farcall_restored_rows_total")
	guest.stop()
	b.spread(400)
	home.runs(4) // once the guest's session is over
	home.drains()
	if n := home.value("farcall_restored_rows_total"); n == before {
		t.Error("partitions came back with rows that others wrote, and none was restored")
	}
	for _, m := range []*member{home, guest} {
		if n := m.restarts(); n != 0 {
			t.Errorf("%s rebuilt %v clients; a rebalance is no reason to", m.slot, n)
		}
	}
	home.stop()
	b.check(nil)
}

// TestRevokedInMidTransaction takes partitions away from a worker whose open transaction holds records of them. The group's
// new generation arrives long before the client lets go of them, so that the transaction commits: rows, output and offsets
// of the lost partitions must be in it together.
func TestRevokedInMidTransaction(t *testing.T) {
	for name, batches := range map[string]struct{ before, after []int32 }{
		"the transaction has their records":        {before: []int32{0, 1, 2, 3}},
		"it has some and gets more":                {before: []int32{0, 1, 2, 3}, after: []int32{0, 1, 2, 3}},
		"it has none and records are on their way": {before: []int32{0}, after: []int32{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRevokedInMidTransaction(t, batches.before, batches.after)
		})
	}
}

func testRevokedInMidTransaction(t *testing.T, before, after []int32) {
	b := newBroker(t, 4)
	slow := func(o *Options) { o.CommitInterval, o.CommitStretch = 2*time.Second, 2*time.Second }
	old := b.runWorkers("old", disk(), 1, &counting{}, slow)
	old.runs(4)
	b.spread(40)
	old.drains() // the next transaction stays open for the commit interval

	// The old member's sync is held back at the broker until its transaction has records.
	held, release := make(chan bool), make(chan bool)
	b.c.ControlKey(int16(kmsg.SyncGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if req := r.(*kmsg.SyncGroupRequest); strings.HasPrefix(*req.InstanceID, "old-") {
			b.c.DropControl()
			b.c.SleepControl(func() { close(held); <-release })
		}
		return nil, nil, false
	})
	young := b.runWorkers("young", disk(), 1, &counting{})
	receive(t, "the sync of the second generation", held)
	for _, p := range before {
		b.send(p, "x", "y", "x")
	}
	await(t, "an open transaction", b.openTransaction)
	close(release)
	await(t, "the second generation", func() bool { g := b.c.GroupInfo(group); return g.State == "Stable" && len(g.Members) == 2 })
	for _, p := range after {
		b.send(p, "x", "z")
	}
	young.runs(2)
	old.runs(2)
	young.drains()
	for p := range int32(4) {
		b.send(p, "last")
	}
	young.drains()
	for _, m := range []*member{old, young} {
		if n := m.restarts(); n != 0 {
			t.Errorf("%s rebuilt %v clients; a rebalance is no reason to", m.slot, n)
		}
	}
	young.stop()
	old.stop()
	b.check(nil)
}

// TestPartitionWithoutOwner: the group has left a partition to nobody, as it does when the member dies that gave it up. Its members
// notice.
func TestPartitionWithoutOwner(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 4)
	b.spread(40)
	var dropped atomic.Bool
	b.c.ControlKey(int16(kmsg.SyncGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.SyncGroupRequest)
		if len(req.GroupAssignment) == 0 || dropped.Swap(true) {
			return nil, nil, false
		}
		for i := range req.GroupAssignment {
			var a kmsg.ConsumerMemberAssignment
			if err := a.ReadFrom(req.GroupAssignment[i].MemberAssignment); err != nil {
				t.Error(err)
			}
			for j := range a.Topics {
				a.Topics[j].Partitions = slices.DeleteFunc(a.Topics[j].Partitions, func(p int32) bool { return p == 2 })
			}
			req.GroupAssignment[i].MemberAssignment = a.AppendTo(nil)
		}
		return nil, nil, false
	})
	m := b.runWorkers("m", disk(), 1, &counting{})
	m.runs(3)
	if !dropped.Load() {
		t.Fatal("the assignment was not tampered with")
	}
	m.runs(4)
	m.drains()
	if n := m.restarts(); n != 0 {
		t.Errorf("%v clients were rebuilt; a partition without an owner is no reason to", n)
	}
	m.stop()
	b.check(nil)
}

// TestIdleMembersKnowTheirPartitions is the trap of kgo's session, which passes on only the first revoke of a transaction: a
// member without traffic loses partitions twice.
func TestIdleMembersKnowTheirPartitions(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 6)
	first := b.runWorkers("first", disk(), 1, &counting{})
	first.runs(6)
	second := b.runWorkers("second", disk(), 1, &counting{})
	second.runs(3)
	third := b.runWorkers("third", disk(), 1, &counting{})
	third.runs(2)
	for _, m := range []*member{first, second, third} {
		await(t, m.slot+" to agree with the broker", func() bool { return len(b.assignment(m.slot)) == 2 && m.running() == 2 })
	}
	b.spread(60)
	third.drains()
	b.check(nil)
}

// TestCleanRestart stops a process and starts it again: nothing is restored but what others could have written, and its static
// member has its partitions back.
func TestCleanRestart(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 4)
	other := b.runWorkers("other", disk(), 1, &counting{})
	other.runs(4)
	m := b.runWorkers("a", disk(), 1, &counting{})
	m.runs(2)
	b.spread(400)
	m.drains()
	before := b.assignment("a")
	m.stop()

	b.spread(200)
	again := b.runWorkers("a", m.disk, 1, &counting{})
	again.drains()
	again.runs(2)
	if n := again.value("farcall_restored_rows_total"); n != 0 {
		t.Errorf("after a clean stop %v rows were restored", n)
	}
	var ids []string
	for _, w := range b.c.GroupInfo(group).Members {
		ids = append(ids, *w.InstanceID)
	}
	if slices.Sort(ids); !slices.Equal(ids, []string{"a-count-0", "other-count-0"}) {
		t.Errorf("the members of the group are %v", ids)
	}
	if after := b.assignment("a"); !slices.Equal(before, after) {
		t.Errorf("the process had partitions %v and has %v", before, after)
	}
	again.stop()
	other.stop()
	b.check(nil)
}

// TestStoreStillHeld gives a partition to a worker before the one that had it has closed its store.
func TestStoreStillHeld(t *testing.T) {
	t.Parallel()
	b, d := newBroker(t, 2), disk()
	held, err := state.Open("state/count/1", state.Options{FS: d})
	if err != nil {
		t.Fatal(err)
	}
	m := b.run("a", d, &counting{})
	m.runs(1)
	b.send(0, "x")
	b.send(1, "x")
	await(t, "the partition whose store is free", func() bool { return b.committed(0) == 1 })
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	m.drains()
	m.stop()
	b.check(nil)
}
