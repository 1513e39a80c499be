package scan

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/demo"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// TestPartsJudgeAsOne judges the demo's story in parts, and record by record with one task each of detect and triage: the results
// are the same, and so are the alerts, in their order, to the byte.
func TestPartsJudgeAsOne(t *testing.T) {
	dir := t.TempDir()
	if _, err := demo.Save(3, time.Now(), dir); err != nil {
		t.Fatal(err)
	}
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer locator.Close()
	var docs []string
	o := Options{
		Paths: []string{dir}, Route: route.DefaultConfig(), Detect: detect.DefaultConfig(), Triage: triage.DefaultConfig(), Locator: locator, Now: time.Now,
		Progress: func(string, int64, int64) {}, disk: vfs.NewMem(), memTables: memTables, broken: func(err error) { t.Error(err) },
		Alert: func(a *alert.Alert) error {
			doc, err := a.ECS("test")
			docs = append(docs, string(doc))
			return err
		},
	}
	o.Route.Pulses = false
	o.Triage.Threshold = 20
	cache := state.NewCache(8<<20, 5*memTables)
	defer cache.Unref()
	sorted, err := pebble.Open("told", &pebble.Options{FS: o.disk, Cache: cache, DisableWAL: true, MemTableSize: memTables, Logger: quiet{o.broken}})
	if err != nil {
		t.Fatal(err)
	}
	defer sorted.Close()
	sum := newSummary()
	files, err := find(o, sum)
	if err != nil {
		t.Fatal(err)
	}
	if err := read(t.Context(), o, files, sorted, sum); err != nil {
		t.Fatal(err)
	}
	var j judging
	if err := j.open(o, "rows", cache, sum); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.run(t.Context(), o, sorted, sum), j.discard()); err != nil {
		t.Fatal(err)
	}
	inParts := docs
	for n, p := range j.parts {
		if len(p.results) < 2 {
			t.Errorf("part %d had only %v to judge", n, p.results)
		}
	}

	docs = nil
	alone := newSummary()
	if err := judgeAlone(o, sorted, alone); err != nil {
		t.Fatal(err)
	}
	if len(docs) < 5 || !slices.Equal(docs, inParts) {
		t.Errorf("%d alerts where one task each makes %d:\n%s\n\n%s", len(inParts), len(docs), strings.Join(inParts, "\n"), strings.Join(docs, "\n"))
	}
	if got, want := fmt.Sprint(sum.Results, sum.Alerts), fmt.Sprint(alone.Results, alone.Alerts); got != want {
		t.Errorf("results %s, want %s", got, want)
	}

	// Whoever takes the alerts may fail while all others are at work.
	gone := errors.New("the pipe is closed")
	o.Alert = func(*alert.Alert) error { return gone }
	var broken judging
	if err := broken.open(o, "rows again", cache, newSummary()); err != nil {
		t.Fatal(err)
	}
	if err := broken.run(t.Context(), o, sorted, newSummary()); !errors.Is(err, gone) {
		t.Errorf("error %v, want %v", err, gone)
	}
	if err := broken.discard(); err != nil {
		t.Error(err)
	}
}

// judgeAlone is judging as plain as it can be.
func judgeAlone(o Options, sorted *pebble.DB, sum *Summary) error {
	var stores [2]*state.Store
	for i := range stores {
		var err error
		if stores[i], err = state.Open(filepath.Join("alone", fmt.Sprint(i)), state.Options{FS: o.disk}); err != nil {
			return err
		}
		defer stores[i].Close()
	}
	finds := detect.NewTask(o.Detect, stores[0], 0)
	weighs, err := triage.NewTask(o.Triage, stores[1], 0)
	if err != nil {
		return err
	}
	out := &final{emit: o.Alert, sum: sum, pending: map[string]*alert.Alert{}, next: math.MinInt64}
	it, err := sorted.NewIter(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		var visit topics.Visit
		var sighting topics.Sighting
		var anomaly topics.Anomaly
		var value []byte
		at, err := topics.EventTime(it.Value())
		if err != nil {
			return err
		}
		if topics.KindOf(it.Value()) == topics.KindVisit {
			if err := visit.Decode(it.Value()); err != nil {
				return err
			}
			visit.Horizon, visit.Quiet = at, topics.Timely
			result, err := finds.Visit(&visit, &anomaly)
			if err != nil {
				return err
			}
			if sum.Results[result]++; result == detect.Forwarded {
				value = anomaly.Append(nil, nil)
			}
		} else {
			if err := sighting.Decode(it.Value()); err != nil {
				return err
			}
			sighting.Visit.Horizon, sighting.Visit.Quiet = at, topics.Timely
			value = sighting.Append(nil, nil)
		}
		if value == nil {
			continue
		}
		if err := out.advance(at); err != nil {
			return err
		}
		if _, err := weighs.Record(value, at, out); err != nil {
			return err
		}
	}
	return errors.Join(it.Error(), out.advance(math.MaxInt64/2))
}
