package stream

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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

// TestOffsetOutOfRangeFails is a stage that was away for longer than its input is kept. With rows there is no way on, without
// them a person decides.
func TestOffsetOutOfRangeFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stateless bool
		policy    OutOfRange
		says      string
	}{
		"without rows":                          {true, Fail, "Set count.on_offset_out_of_range to earliest or latest"},
		"without rows, by default":              {true, "", "or the offset of group test.count to where farcall should go on"},
		"with rows":                             {false, Fail, "start a new installation under another topics.prefix"},
		"with rows, whatever the configuration": {false, ToLatest, "The rows of changelog end there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, m := stopped(t, &counting{stateless: c.stateless})
			b.spread(20)
			if err := b.c.DeleteRecords(input, 1, 55); err != nil {
				t.Fatal(err)
			}
			again := b.run("a", m.disk, &counting{stateless: c.stateless, outOfRange: c.policy})
			again.fails("in/1: offset 50 is next and the topic has 55 to 60", "retention has passed it by", c.says, "OFFSET_OUT_OF_RANGE")
			if at := b.committed(1); at != 50 {
				t.Errorf("the group is at %d, want 50: nothing was skipped", at)
			}
			if n := again.value("farcall_passed_over_records_total"); n != 0 {
				t.Errorf("%v records were counted as passed over", n)
			}
		})
	}
}

// TestOffsetOutOfRangeGoesOn loses the head of a partition, and then a whole topic, under a stage that may go on.
func TestOffsetOutOfRangeGoesOn(t *testing.T) {
	t.Parallel()
	for policy, want := range map[OutOfRange]struct {
		at   int64   // where the partition goes on after retention
		over float64 // records passed over by then
	}{ToEarliest: {55, 5}, ToLatest: {60, 10}} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			c := &counting{stateless: true, outOfRange: policy}
			b, m := stopped(t, c)
			horizon := b.sent[1][49].time
			b.spread(20)
			if err := b.c.DeleteRecords(input, 1, 55); err != nil {
				t.Fatal(err)
			}
			again := b.runWorkers("a", m.disk, 1, c)
			await(t, "the record past the hole", func() bool { return b.committed(1) == 60 && b.committed(0) == 60 })
			await(t, "a word of it in the log", func() bool { return strings.Contains(again.log.String(), "records were passed over") })
			if n := again.value("farcall_passed_over_records_total", "stage", "count"); n != want.over {
				t.Errorf("%v records were passed over, want %v", n, want.over)
			}
			for offset := int64(50); offset < 60; offset++ {
				if got, w := c.attempts(1, offset) == 1, offset >= want.at; got != w {
					t.Errorf("record %d was processed: %t, want %t", offset, got, w)
				}
			}
			b.send(1, "x")
			again.drains()
			again.stop()
			b.dismiss()

			// Where to go on was committed with the stream time, like any other offset.
			third := b.runWorkers("a", m.disk, 1, c)
			third.runs(2)
			if is := c.openings(1); is[len(is)-1].StreamTime < horizon {
				t.Errorf("stream time %d, it was at least %d", is[len(is)-1].StreamTime, horizon)
			}
			third.stop()
			b.dismiss()

			// The topic is made anew and is shorter than the position.
			if err := b.c.DeleteTopic(input); err != nil {
				t.Fatal(err)
			}
			if err := b.c.CreateTopic(input, 2, nil); err != nil {
				t.Fatal(err)
			}
			b.connect()
			b.setOffset(60) // deleting the topic took the group's offsets along
			b.sent, c.counts = map[int32][]sent{}, nil
			b.send(0, "y", "y", "y")
			fourth := b.runWorkers("a", m.disk, 1, c)
			fourth.runs(2)
			await(t, "the end of the new topic", func() bool { return b.committed(0) == 3 })
			if first, w := c.attempts(0, 0), policy == ToEarliest; (first == 1) != w {
				t.Errorf("the new topic's first record was processed %d times", first)
			}
			b.send(0, "z")
			await(t, "a record of the new topic", func() bool { return b.committed(0) == 4 && c.attempts(0, 3) == 1 })
			fourth.stop()
		})
	}
}

// TestOffsetOutOfRangeFromLaggard is the word of a replica that has not got the position yet, in the middle of a transaction:
// what is in it commits, and nothing is passed over.
func TestOffsetOutOfRangeFromLaggard(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	c := &counting{stateless: true, outOfRange: ToLatest}
	m := b.runWorkers("a", disk(), 1, c, func(o *Options) { o.CommitInterval, o.CommitStretch = 2*patience, 2*patience })
	b.send(0, "x")
	m.drains()
	b.send(0, "y") // its transaction would stay open for longer than the test waits
	await(t, "an open transaction", b.openTransaction)
	h := b.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: input, Err: kerr.OffsetOutOfRange})
	m.drains()
	if h.Hits() == 0 {
		t.Fatal("the transaction did not stay open")
	}
	if n := m.value("farcall_passed_over_records_total"); n != 0 {
		t.Errorf("%v records were passed over", n)
	}
	b.send(0, "z")
	await(t, "the next record", func() bool { return c.attempts(0, 2) == 1 })
	m.stop()
	b.checkRead(nil)
}
