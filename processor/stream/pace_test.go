package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// polled is what a poll returns of partitions with so many records each, behind which so many wait.
func polled(records int, waiting ...int64) kgo.Fetches {
	t := kgo.FetchTopic{Topic: "in"}
	for p, n := range waiting {
		rs := make([]*kgo.Record, records)
		for i := range rs {
			rs[i] = &kgo.Record{Offset: int64(100 + i)}
		}
		t.Partitions = append(t.Partitions, kgo.FetchPartition{Partition: int32(p), Records: rs, LastStableOffset: int64(100+records) + n, HighWatermark: 1 << 40})
	}
	return kgo.Fetches{{Topics: []kgo.FetchTopic{t}}}
}

func TestWaits(t *testing.T) {
	for name, c := range map[string]struct {
		fs   kgo.Fetches
		want bool
	}{
		"at the end":                  {polled(10, 0), false},
		"less than a transaction":     {polled(10, 499), false},
		"another transaction":         {polled(10, 500), true},
		"of two together":             {polled(10, 50, 450), true},
		"one of two is near its end":  {polled(10, 5000, 49), false},
		"nothing came of a partition": {append(polled(10, 5000), polled(0, 0)...), true},
	} {
		if got := waits(c.fs, 50, 500); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(d time.Duration) { <-time.After(d) } // in the bubble's time
		o := Options{pace: make(pace, 3)}
		o.defaults()
		at := func(order int, full, behind bool) time.Duration {
			w := &worker{o: o, order: order, full: full, behind: behind, lastCommit: time.Now()}
			return time.Until(w.due())
		}
		check := func(what string, got, want time.Duration) {
			t.Helper()
			if got != want {
				t.Errorf("%s: after %v, want %v", what, got, want)
			}
		}
		wait(time.Hour)
		check("small polls", at(0, false, false), 100*time.Millisecond)
		check("full polls near the end", at(0, true, false), 300*time.Millisecond)
		check("a backlog", at(0, true, true), time.Second)
		check("a backlog of large records, of which a poll takes few", at(0, false, true), time.Second)
		o.pace.note(1, true)
		check("the stage before one in a backlog", at(0, false, false), 100*time.Millisecond)
		check("that stage", at(1, false, false), 50*time.Millisecond)
		check("the one after it", at(2, false, false), time.Second)
		o.pace.note(1, false)
		check("another worker of that stage is not behind", at(2, false, false), 50*time.Millisecond)
		wait(time.Second)
		o.pace.note(1, true)
		wait(time.Second)
		check("long enough after that", at(2, false, false), time.Second)
		wait(time.Second)
		check("when the stage has not said so for a while", at(2, false, false), 50*time.Millisecond)
		o.TxnTimeout = time.Second
		check("a backlog with a short timeout", at(0, true, true), 300*time.Millisecond)
	})
}
