package stream

import (
	"strings"
	"testing"

	"github.com/farcall/farcall/state"
)

// TestAbortBeforeFirstCommit aborts where the group has no offset and the topic does not begin with zero: the client must
// rewind to where it began.
func TestAbortBeforeFirstCommit(t *testing.T) {
	for name, c := range map[string]*counting{"with rows": {before: poisonous}, "without": {before: poisonous, stateless: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, 1)
			b.send(0, "a", "b", "c", "d", "e")
			if err := b.c.DeleteRecords(input, 0, 5); err != nil {
				t.Fatal(err)
			}
			b.sent = map[int32][]sent{}
			b.send(0, "x", "y", "bad", "x")
			m := b.run("a", disk(), c)
			m.drains()
			m.stop()
			if c.stateless {
				for _, o := range []int64{5, 6, 8} {
					if _, ok := b.written()[coordinates(0, o)]; !ok {
						t.Errorf("record %d was not processed", o)
					}
				}
				return
			}
			b.check(b.isBad)
		})
	}
}

func TestStartEarliest(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	b.spread(20)
	m := b.run("a", disk(), &counting{stateless: true, start: Earliest})
	m.drains()
	m.stop()
	b.checkRead(nil)
}

// TestStartLatest begins with what comes after the start, on every partition, and never skips anything afterwards: not what
// comes to a quiet partition while nobody has it.
func TestStartLatest(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 4)
	b.spread(40)
	latest := func() *counting { return &counting{stateless: true, start: Latest} }
	m := b.run("a", disk(), latest())
	m.runs(4)
	for p := range int32(3) { // partition 3 stays quiet
		b.send(p, "x", "y")
	}
	await(t, "the records after the start", func() bool { return b.committed(0) == 12 && b.committed(1) == 12 && b.committed(2) == 12 })
	m.stop()
	b.send(3, "x", "y", "z")
	b.dismiss()
	other := b.run("b", disk(), latest())
	other.drains()
	other.stop()
	b.checkRead(map[int32]int64{0: 10, 1: 10, 2: 10, 3: 10})
}

// TestNewPartitions adds partitions to a topic that is read from its latest records: all that comes to them is newer than the
// installation, so it is read from the first record, however late the group notices, and whoever does.
func TestNewPartitions(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	b.send(0, "old", "old")
	grow := func(to int) {
		t.Helper()
		if _, err := b.adm.UpdatePartitions(t.Context(), to, input); err != nil {
			t.Fatal(err)
		}
		b.connect()
	}
	m := b.run("a", disk(), &counting{stateless: true, start: Latest})
	m.runs(1)
	b.send(0, "x")
	m.drains()
	grow(3)
	b.send(1, "x", "y")
	b.send(2, "x")
	m.drains()
	m.stop()
	grow(4)
	b.send(3, "x", "y", "z")
	b.dismiss()
	stranger := b.run("b", disk(), &counting{stateless: true, start: Latest})
	stranger.drains()
	stranger.stop()
	b.checkRead(map[int32]int64{0: 2})
}

// TestStreamTimeSurvives restarts a stage without rows: its stream time is kept with the committed offset.
func TestStreamTimeSurvives(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	c := &counting{stateless: true}
	m := b.run("a", disk(), c)
	b.send(0, "x", "x", "x")
	b.send(1, "x")
	m.drains()
	m.stop()
	for p := range int32(2) {
		if is := c.openings(p); len(is) == 0 || is[0].StreamTime != 0 {
			t.Errorf("partition %d began with %v", p, is)
		}
		if m := b.c.GroupInfo(group).Commits[input][p].Metadata; !strings.HasPrefix(m, "farcall/1 horizon=17") {
			t.Errorf("the committed offset of partition %d carries %q", p, m)
		}
	}
	again := &counting{stateless: true}
	m = b.run("a", disk(), again)
	m.runs(2)
	for p := range int32(2) {
		want := b.sent[p][len(b.sent[p])-1].time
		if is := again.openings(p); len(is) == 0 || is[0].StreamTime != want {
			t.Errorf("partition %d went on with %v, want stream time %d", p, is, want)
		}
	}
	b.send(0, "x")
	m.drains()
	m.stop()
	b.checkRead(nil)
}

func TestMetadata(t *testing.T) {
	want := offsetMetadata{horizon: 1_700_000_000_123, since: 12, topic: state.TopicID{1, 15: 2}}
	if got, ok := parseMetadata(want.String()); !ok || got != want {
		t.Errorf("read as %+v, %v", got, ok)
	}
	want.topic = state.TopicID{}
	for _, s := range []string{"farcall/1 horizon=1700000000123 since=12", "farcall/1 horizon=1700000000123 since=12 topic=0102", "farcall/1 horizon=1700000000123 since=12 topic=xyz"} {
		if got, ok := parseMetadata(s); !ok || got != want {
			t.Errorf("%q is read as %+v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "a-count-0-6f1e", "farcall/1 horizon=", "farcall/1 horizon=x since=1", "farcall/2 horizon=5 since=1"} {
		if got, ok := parseMetadata(s); ok || got != (offsetMetadata{}) {
			t.Errorf("%q is read as %+v, %v", s, got, ok)
		}
	}
}
