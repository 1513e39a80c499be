package triage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

const monday = int64(1_700_006_400)

func newStore(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open("state", state.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func anomaly(method string, score float64, second int64, principal string) topics.Anomaly {
	at := monday + second
	return topics.Anomaly{
		Score: score, Probability: 0.001, Level: topics.Unseen, Distribution: topics.Distribution{Visits: 300},
		Visit: topics.Visit{
			Method: method, Principal: principal, Place: "NG", Pane: at - at%3600, Outcome: topics.Allowed, Horizon: at * 1000,
			Evidence: topics.Evidence{EventTime: at * 1000, EventID: fmt.Sprint(method, second), Account: "111122223333"},
		},
	}
}

// TestOrderLeavesNoTrace feeds the same anomalies, one a method as detect sends them, in two orders and batchings: the last version of every alert, and every row,
// must be the same.
func TestOrderLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 150).Draw(rt, "anomalies")
		anomalies := make([]topics.Anomaly, n)
		for i := range anomalies {
			anomalies[i] = anomaly(fmt.Sprint("s:M", i), float64(rapid.IntRange(10, 100).Draw(rt, "score")), int64(rapid.IntRange(0, 7199).Draw(rt, "second")),
				rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "who"))
		}
		run := func(order []int, commitEvery int) (last map[string]alert.Alert, rows []string) {
			store := newStore(t)
			task, err := NewTask(DefaultConfig(), store, 0)
			if err != nil {
				rt.Fatal(err)
			}
			last = map[string]alert.Alert{}
			for k, i := range order {
				_, a, err := task.Record(anomalies[i].Append(nil, nil), 1)
				if err != nil {
					rt.Fatal(err)
				}
				if a != nil {
					if a.Version <= last[a.ID].Version {
						rt.Fatalf("version %d after %d", a.Version, last[a.ID].Version)
					}
					last[a.ID] = *a
				}
				if k%commitEvery == 0 {
					if err := store.Commit(state.Position{}); err != nil {
						rt.Fatal(err)
					}
				}
			}
			if err := store.Commit(state.Position{}); err != nil {
				rt.Fatal(err)
			}
			for k, v := range store.Rows() {
				rows = append(rows, fmt.Sprintf("%x=%x", k, v))
			}
			return last, rows
		}
		forward := make([]int, n)
		for i := range forward {
			forward[i] = i
		}
		shuffled := slices.Clone(forward)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		r.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		a, rowsA := run(forward, 1000)
		b, rowsB := run(shuffled, 7)
		if !slices.Equal(rowsA, rowsB) {
			rt.Fatal("rows differ")
		}
		for id, x := range a {
			y := b[id]
			if x.Version != y.Version || x.Score != y.Score || x.First != y.First || x.Last != y.Last || x.Dropped != y.Dropped || !slices.Equal(x.Methods, y.Methods) ||
				x.Lead.Visit.Evidence.EventID != y.Lead.Visit.Evidence.EventID {
				rt.Fatalf("alerts differ:\n%+v\n%+v", x, y)
			}
			if int64(len(x.Methods)) > alert.MaxMethods {
				rt.Fatalf("%d methods named", len(x.Methods))
			}
		}
		if len(a) != len(b) {
			rt.Fatalf("%d alerts and %d", len(a), len(b))
		}
	})
}

func TestThreshold(t *testing.T) {
	task, err := NewTask(DefaultConfig(), newStore(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		a    topics.Anomaly
		want Verdict
	}{
		{anomaly("s:A", 49.99, 0, "a"), Below},
		{anomaly("s:B", 50, 10, "a"), Created},
		{anomaly("s:B", 50, 10, "a"), Unchanged},
		{anomaly("s:C", 12, 20, "a"), Updated},
		{anomaly("s:C", 80, 3700, "a"), Created}, // the next pane
		{anomaly("s:C", 80, 3700, "b"), Created}, // another principal
	} {
		got, a, err := task.Record(step.a.Append(nil, nil), 1)
		if err != nil || got != step.want || (a != nil) != (got == Created || got == Updated) {
			t.Errorf("step %d: %s, alert %v, error %v; want %s", i, got, a, err, step.want)
		}
	}
}

// TestForgets expires groups once no anomaly can reach them.
func TestForgets(t *testing.T) {
	store := newStore(t)
	task, err := NewTask(DefaultConfig(), store, 0)
	if err != nil {
		t.Fatal(err)
	}
	rows := func() (n int) {
		if err := store.Commit(state.Position{}); err != nil {
			t.Fatal(err)
		}
		for range store.Rows() {
			n++
		}
		return n
	}
	feed := func(b []byte) {
		t.Helper()
		if _, _, err := task.Record(b, 1); err != nil {
			t.Fatal(err)
		}
	}
	a := anomaly("s:A", 90, 0, "a")
	feed(a.Append(nil, nil))
	if n := rows(); n != 1 {
		t.Fatalf("%d rows", n)
	}
	later := topics.Sighting{Principal: "a", Place: "DE", EventTime: (monday + int64((31*24*time.Hour-time.Hour)/time.Second)) * 1000}
	feed(later.Append(nil))
	if n := rows(); n != 1 {
		t.Errorf("%d rows within window and look-back", n)
	}
	later.EventTime += time.Hour.Milliseconds()
	feed(later.Append(nil))
	if n := rows(); n != 0 {
		t.Errorf("%d rows past window and look-back", n)
	}
}

func TestBadRecords(t *testing.T) {
	task, err := NewTask(DefaultConfig(), newStore(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	a := anomaly("s:A", 90, 0, "a")
	whole := a.Append(nil, nil)
	for n := range whole {
		if _, _, err := task.Record(whole[:n], 1); !errors.Is(err, topics.ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	newer := slices.Clone(whole)
	newer[1] = 99
	if _, _, err := task.Record(newer, 1); !errors.Is(err, topics.ErrNewer) {
		t.Errorf("newer version: %v", err)
	}
}
