package detect

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// TestRetract takes an intruder's visits back: what is left must be what a task holds that never saw them.
func TestRetract(t *testing.T) {
	const start = int64(1_700_006_400)
	for _, colleagues := range []int{0, 3, 40} { // past 32 principals of a place a row only counts
		t.Run(fmt.Sprint(colleagues), func(t *testing.T) {
			visit := func(who, place string, hour int) topics.Visit {
				at := start + int64(hour)*3600
				return topics.Visit{Method: "iam:CreateUser", Principal: who, Place: place, Pane: at - at%3600, Outcome: topics.Allowed, Horizon: at * 1000,
					Evidence: topics.Evidence{EventTime: at * 1000}}
			}
			run := func(intruder bool) (*Task, *state.Store) {
				store, err := state.Open("state", state.Options{FS: vfs.NewMem()})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = store.Close() })
				task := NewTask(everything(), store, 0)
				see := func(v topics.Visit) {
					var a topics.Anomaly
					if _, err := task.Visit(&v, &a); err != nil {
						t.Fatal(err)
					}
				}
				commit := func() {
					task.Flush()
					if err := store.Commit(state.Position{}); err != nil {
						t.Fatal(err)
					}
				}
				for h := range 30 {
					for p := range 5 {
						see(visit(fmt.Sprint("home ", p), "DE", h))
					}
				}
				for h := 30; h < 36; h++ {
					for p := range colleagues {
						see(visit(fmt.Sprint("colleague ", p), "NG", h))
					}
					see(visit("mallory", "DE", h))
					if intruder {
						see(visit("mallory", "NG", h))
					}
					commit()
				}
				return task, store
			}
			rows := func(s *state.Store) map[string]string {
				m := map[string]string{}
				for k, v := range s.Rows() {
					m[string(k)] = string(v)
				}
				return m
			}
			_, clean := run(false)
			task, _ := run(true)
			r := &topics.Retraction{Method: "iam:CreateUser", Place: "NG", Principal: "mallory", From: start + 30*3600, To: start + 36*3600}
			removed, kept, err := task.Retract(r)
			if err != nil {
				t.Fatal(err)
			}
			if colleagues > 32 {
				if removed != 0 || kept != 6 {
					t.Errorf("%d removed and %d kept of rows that only count", removed, kept)
				}
				return
			}
			if removed != 6 || kept != 0 {
				t.Fatalf("%d removed, %d kept", removed, kept)
			}
			probe := visit("eve", "NG", 36)
			var a topics.Anomaly
			if _, err := task.Visit(&probe, &a); err != nil {
				t.Fatal(err)
			}
			if want := int64(6 * colleagues); a.Distribution.PlaceVisits != want {
				t.Errorf("the next visit meets %d from the place, want %d", a.Distribution.PlaceVisits, want)
			}
			// Without the probe the rows are those of a task that never saw the intruder.
			task, store := run(true)
			if _, _, err := task.Retract(r); err != nil {
				t.Fatal(err)
			}
			task.Flush()
			if err := store.Commit(state.Position{}); err != nil {
				t.Fatal(err)
			}
			got, want := rows(store), rows(clean)
			for k, v := range want {
				if got[k] != v {
					t.Errorf("row %q is %x, want %x", k, got[k], v)
				}
			}
			for k := range got {
				if _, ok := want[k]; !ok {
					t.Errorf("row %q is left", k)
				}
			}
			if removed, _, err := task.Retract(r); err != nil || removed != 0 {
				t.Errorf("a second time: %d removed, %v", removed, err)
			}
		})
	}
}
