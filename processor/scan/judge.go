package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// parts is how many tasks detect has, side by side, each with a store of its own. A visit is judged by the windows of its method
// alone, and so the same however many there are.
const parts = 4

// partOf says which part of detect has the method of a key.
func partOf(method []byte) byte { return byte(xxhash.Sum64(method) % parts) }

// noPart stands for what detect does not see.
const noPart = parts

// commitEvery is how many records go into one commit of the rows. Until then they lie in overlays that every scan of a store
// walks, and past the window each expired row is a scan: with 50,000 records a commit, 45 days took five times as long.
const commitEvery = 2_000

// batches is how many batches of commitEvery records are on their way.
const batches = 3

// batch is so many records as go into one commit, in the order of the scan.
type batch struct {
	records []record
	values  []byte        // of visits
	visits  [parts][]int  // where in records those of each part are
	judged  chan struct{} // takes one from each part
}

// record is one for triage, and its event time in Unix milliseconds. A visit becomes the anomaly that it is; nil: nothing for triage.
type record struct {
	value []byte
	at    int64
}

// judging runs what was told through detect and triage, in the order of event time: the parts of detect take their visits of each
// batch side by side, and triage beside them all of an earlier one, in order.
type judging struct {
	parts  [parts]*part
	triage *triaging
	stores []*state.Store
}

// open makes the stores and what works on them. That waits for the disk more than once, so it goes on beside the reading.
func (j *judging) open(o Options, dir string, cache *pebble.Cache, sum *Summary) error {
	store := func(name string, memTables uint64) (*state.Store, error) {
		s, err := state.Open(filepath.Join(dir, name), state.Options{FS: o.disk, Cache: cache, MemTableBytes: memTables, Fatal: o.broken})
		if err == nil {
			j.stores = append(j.stores, s)
		}
		return s, err
	}
	o.Detect.CacheEntries /= parts
	for n := range j.parts {
		windows, err := store(fmt.Sprintf("detect-%d", n), o.memTables/2/parts)
		if err != nil {
			return err
		}
		j.parts[n] = &part{
			number: n, store: windows, task: detect.NewTask(o.Detect, windows, 0), batches: make(chan *batch, batches), results: map[detect.Result]int64{},
		}
	}
	profiles, err := store("triage", o.memTables/2)
	if err != nil {
		return err
	}
	task, err := triage.NewTask(o.Triage, profiles, 0)
	j.triage = &triaging{
		store: profiles, task: task, out: &final{emit: o.Alert, sum: sum, pending: map[string]*alert.Alert{}, next: math.MinInt64},
		batches: make(chan *batch, batches), free: make(chan *batch, batches),
	}
	return err
}

// discard lets go of the stores without writing what is not on disk yet: nobody will read it.
func (j *judging) discard() error {
	var errs []error
	for _, s := range j.stores {
		errs = append(errs, s.Discard())
	}
	return errors.Join(errs...)
}

func (j *judging) run(ctx context.Context, o Options, sorted *pebble.DB, sum *Summary) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	beside := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				stop(err)
			}
		})
	}
	for _, p := range j.parts {
		beside(p.run)
	}
	beside(j.triage.run)
	if err := j.feed(ctx, o, sorted, sum); err != nil {
		stop(err)
	}
	wg.Wait()
	for _, p := range j.parts {
		for result, n := range p.results {
			sum.Results[result] += n
		}
	}
	return context.Cause(ctx)
}

// feed reads what was told, in order, and hands it out batch by batch.
func (j *judging) feed(ctx context.Context, o Options, sorted *pebble.DB, sum *Summary) error {
	t := j.triage
	defer func() {
		for _, p := range j.parts {
			close(p.batches)
		}
		close(t.batches)
	}()
	it, err := sorted.NewIter(nil)
	if err != nil {
		return fmt.Errorf("temporary store: %w", err)
	}
	defer it.Close()
	total := sum.Stats.Visits + sum.Stats.Presences + sum.Stats.Sightings
	for range batches {
		t.free <- &batch{judged: make(chan struct{}, parts)}
	}
	var sighting topics.Sighting
	n := int64(0)
	for ok := it.First(); ok; {
		var r *batch
		select {
		case r = <-t.free:
		case <-ctx.Done():
			return nil
		}
		r.records, r.values = r.records[:0], r.values[:0]
		for n := range r.visits {
			r.visits[n] = r.visits[n][:0]
		}
		for ; ok && len(r.records) < commitEvery; ok = it.Next() {
			b, err := it.ValueAndErr()
			if err != nil {
				return fmt.Errorf("temporary store: %w", err)
			}
			at, part := parseKey(it.Key())
			start := len(r.values)
			if part == noPart {
				if err := sighting.Decode(b); err != nil {
					return err
				}
				sighting.Visit.Horizon, sighting.Visit.Quiet = at, topics.Timely     // read in order, nothing is late
				r.records = append(r.records, record{sighting.Append(nil, nil), at}) // an alert may keep it for long
				continue
			}
			r.visits[part] = append(r.visits[part], len(r.records))
			r.values = append(r.values, b...)
			r.records = append(r.records, record{r.values[start:], at})
		}
		for _, p := range j.parts {
			p.batches <- r
		}
		t.batches <- r
		n += int64(len(r.records))
		o.Progress("judging", n, total)
	}
	return it.Error()
}

// part is detect for the methods of one part, on a goroutine of its own.
type part struct {
	number  int
	store   *state.Store
	task    *detect.Task
	batches chan *batch
	results map[detect.Result]int64
	visit   topics.Visit
	anomaly topics.Anomaly
}

func (p *part) run(ctx context.Context) error {
	for r := range p.batches {
		if ctx.Err() != nil {
			return nil
		}
		for _, i := range r.visits[p.number] {
			if err := p.judge(&r.records[i]); err != nil {
				return err
			}
		}
		p.task.Flush()
		if err := p.store.Commit(state.Position{}); err != nil {
			return err
		}
		r.judged <- struct{}{}
	}
	return nil
}

func (p *part) judge(r *record) error {
	if err := p.visit.Decode(r.value); err != nil {
		return err
	}
	p.visit.Horizon, p.visit.Quiet = r.at, topics.Timely
	result, err := p.task.Visit(&p.visit, &p.anomaly)
	if err != nil {
		return err
	}
	p.results[result]++
	r.value = nil
	if result == detect.Forwarded {
		r.value = p.anomaly.Append(nil, nil)
	}
	return nil
}

// triaging is triage, on a goroutine of its own.
type triaging struct {
	store   *state.Store
	task    *triage.Task
	out     *final
	batches chan *batch
	free    chan *batch // those that may be filled again
}

func (t *triaging) run(ctx context.Context) error {
	for r := range t.batches {
		for range parts {
			select {
			case <-r.judged:
			case <-ctx.Done():
				return nil
			}
		}
		for i := range r.records {
			rec := &r.records[i]
			if rec.value == nil {
				continue
			}
			if err := t.out.advance(rec.at); err != nil {
				return err
			}
			if _, err := t.task.Record(rec.value, rec.at, t.out); err != nil {
				return err
			}
		}
		if err := t.store.Commit(state.Position{}); err != nil {
			return err
		}
		t.free <- r
	}
	if ctx.Err() != nil {
		return nil
	}
	return t.out.advance(math.MaxInt64 / 2)
}

// final holds alerts back until nothing can change them any more: in the order of event time, when their stay is over.
type final struct {
	emit    func(*alert.Alert) error
	sum     *Summary
	pending map[string]*alert.Alert
	next    int64 // when to look for those that are over, Unix milliseconds
}

// Alert implements triage.Output.
func (f *final) Alert(a *alert.Alert) error {
	f.pending[a.ID] = a
	return nil
}

// Retract implements triage.Output: files hold no verdicts.
func (f *final) Retract(_, _ []byte) error { return nil }

func (f *final) advance(at int64) error {
	if at < f.next {
		return nil
	}
	f.next = at + time.Hour.Milliseconds()
	// One that is over waits for those that began before it.
	oldest := int64(math.MaxInt64)
	ends := func(a *alert.Alert) bool { return a.Last+triage.StayGap.Milliseconds() < at }
	for _, a := range f.pending {
		if !ends(a) {
			oldest = min(oldest, a.First)
		}
	}
	var over []*alert.Alert
	for id, a := range f.pending {
		if ends(a) && a.First < oldest {
			over = append(over, a)
			delete(f.pending, id)
		}
	}
	slices.SortFunc(over, func(a, b *alert.Alert) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID))
	})
	for _, a := range over {
		f.sum.Alerts[alert.SeverityOf(a.Score)]++
		if err := f.emit(a); err != nil {
			return err
		}
	}
	return nil
}
