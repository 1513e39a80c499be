package stream

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// poisonous panics at the records with key "bad".
func poisonous(r *kgo.Record) {
	if string(r.Key) == "bad" {
		panic("this record is poison")
	}
}

// isBad leaves the records with key "bad" out of the oracle.
func (b *broker) isBad(partition int32, offset int64) bool {
	return slices.ContainsFunc(b.sent[partition], func(s sent) bool { return s.offset == offset && s.key == "bad" })
}

func TestPanickingRecord(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	c := &counting{before: poisonous}
	m := b.runWorkers("a", disk(), 1, c)
	b.spread(40)
	m.drains()
	horizon := b.sent[0][19].time
	b.send(0, "x", "x", "bad", "x", "y")
	b.send(1, "x", "y")
	m.drains()
	b.spread(40)
	m.drains()
	m.stop()
	if d := cmp.Diff([]string{"count panic in/0/22"}, b.letters()); d != "" {
		t.Errorf("dead letters differ (-want +got):\n%s", d)
	}
	if n := c.attempts(0, 22); n != 1 {
		t.Errorf("the record that panics was tried %d times", n)
	}
	if n := m.value("farcall_dropped_total", "stage", "count", "reason", "panic"); n != 1 {
		t.Errorf("%v records were counted as dropped", n)
	}
	if os := b.tasks(c, 0); len(os) < 2 || os[len(os)-1] < horizon {
		t.Errorf("stream times that tasks were made with: %v; after the abort it was at least %d", os, horizon)
	}
	if n := m.restarts(); n != 0 {
		t.Errorf("%v clients were rebuilt", n)
	}
	b.check(b.isBad)
}

// tasks are the stream times that the tasks of a partition were made with.
func (b *broker) tasks(c *counting, partition int32) (times []int64) {
	for _, i := range c.openings(partition) {
		times = append(times, i.StreamTime)
	}
	return times
}

// TestPanicFarIntoTransaction rewinds so far that several transactions commit before the record comes again. It must be known
// until then, or it panics again and again, until the process dies of it.
func TestPanicFarIntoTransaction(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	b.send(0, "x")
	c := &counting{before: poisonous}
	m := b.runWorkers("a", disk(), 1, c, func(o *Options) {
		o.MaxPollRecords = 10
		o.CommitInterval, o.CommitStretch = time.Second, time.Second
	})
	m.drains() // the next transaction takes in all that comes within a second
	keys := slices.Repeat([]string{"x", "y", "z"}, 30)
	b.send(0, append(keys, "bad", "x")...)
	m.drains()
	m.stop()
	if n := c.attempts(0, 91); n != 1 {
		t.Errorf("the record that panics was tried %d times", n)
	}
	if d := cmp.Diff([]string{"count panic in/0/91"}, b.letters()); d != "" {
		t.Errorf("dead letters differ (-want +got):\n%s", d)
	}
	b.check(b.isBad)
}

func TestThreePanicsAreFatal(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	b.spread(10)
	b.send(0, "bad", "x", "bad", "x")
	b.send(1, "x", "bad")
	m := b.runWorkers("a", disk(), 1, &counting{before: poisonous})
	m.fails("three records panicked within a minute", "this record is poison", "in/")
	if b.drained() {
		t.Error("the record that was fatal was committed")
	}
	if ls := b.letters(); len(ls) > 2 {
		t.Errorf("dead letters: %v", ls)
	}
}

// TestRefusedRecord produces a record that the topic does not take: a transaction without it must not commit.
func TestRefusedRecord(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"by the broker": 30_000, "by the client": 2 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noise := make([]byte, size) // which no compression makes fit
			rand.NewChaCha8([32]byte{}).Read(noise)
			b := newBroker(t, 1)
			m := b.run("a", disk(), &counting{value: func(r *kgo.Record) []byte {
				if string(r.Key) == "big" {
					return noise
				}
				return []byte(strings.ToUpper(string(r.Key)))
			}}, func(o *Options) { o.TxnTimeout = time.Second })
			b.send(0, "x", "y")
			m.drains()
			b.send(0, "x", "big", "y")
			key := coordinates(0, 3)
			m.fails("produce "+strconv.Itoa(size+len(key))+" bytes to "+output, "MESSAGE_TOO_LARGE")
			if at := b.committed(0); at != 2 {
				t.Errorf("the group is at %d, want 2", at)
			}
			await(t, "the end of the transaction", func() bool { return !b.openTransaction() })
			if d := cmp.Diff(map[string]string{"in/0/0": "X", "in/0/1": "Y"}, b.written()); d != "" {
				t.Errorf("output differs (-want +got):\n%s", d)
			}
		})
	}
}

// TestOffsetOutOfRange is a stage that was away for longer than its input is kept.
func TestOffsetOutOfRange(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{})
	b.spread(20)
	if err := b.c.DeleteRecords(input, 1, 55); err != nil {
		t.Fatal(err)
	}
	b.run("a", m.disk, &counting{}).fails("in/1", "retention has passed it by", "OFFSET_OUT_OF_RANGE")
	if at := b.committed(1); at != 50 {
		t.Errorf("the group is at %d, want 50: nothing was skipped", at)
	}
}
