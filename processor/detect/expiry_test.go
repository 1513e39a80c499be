package detect

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// counting counts what a task reads of its rows.
type counting struct {
	state.View
	scans, steps, rows int
	fail               error
}

func (c *counting) Scan(prefix []byte, fn func(k, v []byte) error) error {
	c.scans++
	return c.View.Scan(prefix, func(k, v []byte) error { c.rows++; return fn(k, v) })
}

func (c *counting) Next(prefix, from []byte) ([]byte, error) {
	c.steps++
	if c.fail != nil {
		return nil, c.fail
	}
	return c.View.Next(prefix, from)
}

var short = Config{Pane: time.Hour, Window: 24 * time.Hour, LookBack: 6 * time.Hour, CacheEntries: 1 << 20}

// commit makes what a task staged part of its store.
func commit(t testing.TB, task *Task, store *state.Store) {
	t.Helper()
	task.Flush()
	if err := store.Commit(state.Position{}); err != nil {
		t.Fatal(err)
	}
}

// A start, and an abort, read no row, however many there are: a partition with millions of them runs at once. Expiry looks at each
// method once, then at the rows that go and one more of each method.
func TestWhatExpiryReads(t *testing.T) {
	const methods, hours = 50, 20
	store := newStore(t)
	f := feeder{t, newTask(t, short, store)}
	call := func(task *Task, method int, hour int64) {
		v := visitAt(monday+hour*3600, "a", "US", topics.Allowed)
		v.Method = fmt.Sprintf("iam:Operation%02d", method)
		if _, err := task.Visit(&v, new(topics.Anomaly)); err != nil {
			t.Fatal(err)
		}
	}
	for h := range int64(hours) {
		for m := range methods {
			call(f.task, m, h)
		}
	}
	commit(t, f.task, store)

	view := &counting{View: store}
	task := NewTask(short, view, f.task.StreamTime())
	if view.scans+view.steps > 0 {
		t.Errorf("a start made %d scans and %d steps", view.scans, view.steps)
	}
	call(task, 0, 24+6) // the first hour goes
	fill := hours       // of the window of the method that was called, less what is gone
	if want := methods + 1; view.steps != want {
		t.Errorf("%d steps to find %d methods", view.steps, methods)
	}
	if want := methods + 1; view.scans != want {
		t.Errorf("%d scans, want one for each of %d methods and one for the window", view.scans, methods)
	}
	if most := 2*methods + fill; view.rows > most {
		t.Errorf("%d rows read, want %d at the most", view.rows, most)
	}
	*view = counting{View: store}
	call(task, 0, 24+7)
	if view.steps > 0 || view.rows > 2*methods+2 {
		t.Errorf("the next hour took %d steps and %d rows", view.steps, view.rows)
	}
	*view = counting{View: store}
	call(task, 0, 24+7)
	if view.steps+view.scans > 0 {
		t.Errorf("another visit of the same hour took %d steps and %d scans", view.steps, view.scans)
	}
	call(task, methods, 24+7)
	if view.steps+view.scans > 0 {
		t.Errorf("the first visit of a method took %d steps and %d scans", view.steps, view.scans)
	}
	commit(t, task, store)
	for k := range store.Rows() {
		if _, pane, _, err := state.ParsePaneKey(k); err == nil && pane <= monday+3600 {
			t.Errorf("row of hour %d is still there", (pane-monday)/3600)
		}
	}
}

// An error while expiry looks at the methods is one of the visit, and the next visit looks again.
func TestExpiryFails(t *testing.T) {
	store := newStore(t)
	f := feeder{t, newTask(t, short, store)}
	f.visit(0, "a", "US", topics.Allowed)
	commit(t, f.task, store)
	view := &counting{View: store, fail: errors.New("the disk is gone")}
	task := NewTask(short, view, f.task.StreamTime())
	v := visitAt(monday+100*3600, "a", "US", topics.Allowed)
	if _, err := task.Visit(&v, new(topics.Anomaly)); !errors.Is(err, view.fail) {
		t.Fatalf("error %v, want %v", err, view.fail)
	}
	if task.expiry.made {
		t.Error("the methods count as known")
	}
}

// Where a task stops and is made anew leaves no trace in the tombstones, and neither do late visits, rows that expire before they
// were ever stored, and methods whose names begin alike.
func TestExpiryAcrossRestarts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 80).Draw(rt, "visits")
		visits := make([]topics.Visit, n)
		hour := int64(0)
		for i := range visits {
			hour += rapid.SampledFrom([]int64{0, 0, 1, 1, 2, 9, 31}).Draw(rt, "step")
			visits[i] = visitAt(monday+(hour-rapid.SampledFrom([]int64{0, 0, 1, 12, 29}).Draw(rt, "late"))*3600, "p", "US", topics.Allowed)
			visits[i].Method = rapid.SampledFrom([]string{"iam:Get", "iam:GetRole", "iam:GetRoleX", "s3:Get"}).Draw(rt, "method")
		}
		run := func(cache int, cut, restart func(i int) bool) (rows []string) {
			store := newStore(t)
			cfg := short
			cfg.CacheEntries = cache
			task := NewTask(cfg, store, 0)
			for i := range visits {
				if _, err := task.Visit(&visits[i], new(topics.Anomaly)); err != nil {
					rt.Fatal(err)
				}
				if cut(i) || restart(i) {
					commit(t, task, store)
				}
				if restart(i) {
					task = NewTask(cfg, store, task.StreamTime())
				}
			}
			commit(t, task, store)
			for k, v := range store.Rows() {
				rows = append(rows, fmt.Sprintf("%q=%x", k, v))
			}
			return rows
		}
		never := func(int) bool { return false }
		want := run(1<<20, never, never)
		cuts := rapid.SliceOfN(rapid.Bool(), n, n).Draw(rt, "cuts")
		restarts := rapid.SliceOfN(rapid.Bool(), n, n).Draw(rt, "restarts")
		got := run(rapid.SampledFrom([]int{1, 1 << 20}).Draw(rt, "cache"), func(i int) bool { return cuts[i] }, func(i int) bool { return restarts[i] })
		if !slices.Equal(want, got) {
			rt.Fatalf("rows differ:\n%v\n%v", want, got)
		}
		panes := map[int64]bool{}
		for _, v := range visits {
			panes[v.Pane] = true
		}
		newest := slices.Max(slices.Collect(maps.Keys(panes)))
		for _, row := range want {
			var k, v string
			if _, err := fmt.Sscanf(row, "%q=%s", &k, &v); err != nil {
				rt.Fatal(err)
			}
			if _, pane, _, err := state.ParsePaneKey([]byte(k)); err == nil && pane <= newest-int64((short.Window+short.LookBack)/time.Second) {
				rt.Fatalf("row %q outlived its time", k)
			}
		}
	})
}

// A row that a retraction has changed is in no store until the transaction ends. The first expiry of a task must know of it all the
// same, or the row outlives its window.
func TestRetractedRowExpires(t *testing.T) {
	store := newStore(t)
	f := feeder{t, newTask(t, short, store)}
	call := func(task *Task, who string, hour int64) {
		v := visitAt(monday+hour*3600, who, "US", topics.Allowed)
		if _, err := task.Visit(&v, new(topics.Anomaly)); err != nil {
			t.Fatal(err)
		}
	}
	for h := range int64(25) {
		call(f.task, "alice", h)
		call(f.task, "mallory", h)
	}
	commit(t, f.task, store)

	task := NewTask(short, store, f.task.StreamTime())
	v := visitAt(monday, "mallory", "US", topics.Allowed)
	back := &topics.Retraction{Method: v.Method, Place: "US", Principal: "mallory", From: monday, To: monday + 10*3600}
	if removed, _, err := task.Retract(back); removed != 11 || err != nil {
		t.Fatalf("%d removed, %v", removed, err)
	}
	call(task, "alice", 24+6+2)
	commit(t, task, store)
	oldest := int64(0)
	if err := store.Scan(state.PanePrefix(v.Key()), func(k, _ []byte) error {
		_, pane, _, err := state.ParsePaneKey(k)
		if oldest == 0 {
			oldest = pane
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := monday + 3*3600; oldest != want {
		t.Errorf("the oldest row is of pane %d, want %d", oldest, want)
	}
}
