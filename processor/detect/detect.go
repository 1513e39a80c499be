// Package detect owns the windows of the methods in one partition: it scores every visit that is new to its set against the
// distribution as it was before, learns it, and forwards what is unusual. It knows nothing of Kafka, disk or wall time:
// the same visits in the same order give the same anomalies and rows, whatever the batches they came in.
package detect

import (
	"container/list"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// Config are the settings of detect. Pane is part of the fingerprint of the rows.
type Config struct {
	Pane   time.Duration // width of a pane of event time
	Window time.Duration // how far back a distribution reaches
	// LookBack is how far raw partitions may lie apart in event time: rows outlive the window by it, so that the events of
	// a partition that lags still meet the sets they belong to.
	LookBack time.Duration
	// Floor is the least method score that is forwarded to triage.
	Floor float64
	// Silence is how many times its longest pause a thing may be silent before that is told; 0: nobody listens.
	Silence float64
	// CacheEntries bounds the windows kept in memory: principals and panes, about 50 bytes each.
	CacheEntries int
}

// DefaultConfig has hourly panes over 30 days.
func DefaultConfig() Config {
	return Config{Pane: time.Hour, Window: 30 * 24 * time.Hour, LookBack: 24 * time.Hour, Floor: 10, Silence: 3, CacheEntries: 1 << 20}
}

// Fingerprint spells the settings that rows depend on.
func (c Config) Fingerprint() string {
	return fmt.Sprintf("detect pane=%s", c.Pane)
}

func (c Config) paneSeconds() int64 { return int64(c.Pane / time.Second) }

// ErrPane is wrapped when a visit's pane does not fit its event time: a data error, the task is unharmed.
var ErrPane = errors.New("visit in the wrong pane")

// Result says what became of a visit.
type Result byte

// The results.
const (
	Learned   Result = iota // new, scored below the floor
	Forwarded               // new, scored and forwarded
	Known                   // its presence was known: a repeat, or another delivery
	Late                    // older than the window of its own raw partition
	Stale                   // too far behind the other partitions to be learned; it was scored all the same
)

// Results lists all results.
func Results() []Result { return []Result{Learned, Forwarded, Known, Late, Stale} }

func (v Result) String() string {
	return [...]string{"learned", "forwarded", "known", "late", "stale"}[v]
}

// Task is detect for one partition. It is not safe for concurrent use. After a transaction that aborted it must be
// dropped and made anew from the rolled-back view.
type Task struct {
	cfg  Config
	view state.View
	span int64 // window, seconds

	streamTime int64 // Unix milliseconds
	pane       int64 // of streamTime, Unix seconds

	windows map[string]*window
	lru     *list.List
	cached  int       // entries of all windows, as last counted
	asked   []*window // since then
	touched []*window
	tally   []topics.PlaceCount
	key     []byte // of the method of a visit
	names   map[string]string

	expiry  expiry
	silence silence
}

// NewTask makes the task of a partition whose restored rows are in view. streamTime is that of the meta row. It reads no rows: a
// partition with millions of them runs at once.
func NewTask(cfg Config, view state.View, streamTime int64) *Task {
	t := &Task{
		cfg: cfg, view: view, span: int64(cfg.Window / time.Second),
		windows: map[string]*window{}, lru: list.New(), names: map[string]string{}, expiry: newExpiry(),
	}
	t.streamTime = streamTime
	t.pane = t.paneOf(streamTime)
	return t
}

// StreamTime is the newest event time seen, in Unix milliseconds.
func (t *Task) StreamTime() int64 { return t.streamTime }

func (t *Task) paneOf(millis int64) int64 {
	width := t.cfg.paneSeconds()
	s := millis / 1000
	return s - ((s%width)+width)%width
}

func (t *Task) intern(b []byte) string {
	s, ok := t.names[string(b)]
	if !ok {
		s = string(b)
		t.names[s] = s
	}
	return s
}

// Visit takes one visit. The anomaly is filled in for the results Forwarded and, at or above the floor, Stale; its Visit
// shares v's strings.
func (t *Task) Visit(v *topics.Visit, a *topics.Anomaly) (Result, error) {
	if want := t.paneOf(v.Evidence.EventTime); v.Pane != want {
		return 0, fmt.Errorf("%w: event of %d s lies in pane %d here, route said %d: route and detect run with different panes",
			ErrPane, v.Evidence.EventTime/1000, want, v.Pane)
	}
	if err := t.advance(v.Evidence.EventTime); err != nil {
		return 0, err
	}
	if v.Pane <= t.paneOf(v.Horizon)-t.span {
		return Late, nil
	}
	t.key = topics.AppendMethodKey(t.key[:0], v.Scope, v.Method)
	w, err := t.window(t.key)
	if err != nil {
		return 0, err
	}
	hash := topics.PrincipalHash(v.Principal)
	if v.Pane <= t.pane-t.span-int64(t.cfg.LookBack/time.Second) {
		_, err := t.judge(w, t.pane, v, hash, a)
		return Stale, err
	}
	row, err := t.row(w, v.Pane)
	if err != nil {
		return 0, err
	}
	known := row.Known(v.Place, hash)
	gained := v.Outcome &^ known
	if gained == 0 {
		return Known, nil
	}
	result := Learned
	// A presence that was only denied so far and is now allowed is judged again: that is the call that matters.
	if known == 0 || (known == topics.Denied && gained&topics.Allowed != 0) {
		loud, err := t.judge(w, v.Pane, v, hash, a)
		if err != nil {
			return 0, err
		}
		if loud {
			result = Forwarded
		}
	}
	t.learn(w, row, v, hash, gained)
	return result, nil
}

// judge scores a visit against the panes up to pane and fills in the anomaly when it is to be forwarded.
func (t *Task) judge(w *window, pane int64, v *topics.Visit, hash uint64, a *topics.Anomaly) (bool, error) {
	if score := w.mostScore(pane, v.Place, hash); score < t.cfg.Floor { // as nearly always
		a.Score = score // callers ask a stale visit's for the floor
		return false, nil
	}
	d, c, err := w.distribution(t, pane, v.Place, hash)
	if err != nil {
		return false, err
	}
	p := c.probability()
	*a = topics.Anomaly{Score: Score(p), Probability: p, Level: c.level(), Distribution: d, Visit: *v}
	if a.Score < t.cfg.Floor {
		return false, nil
	}
	a.Distribution.Top = t.top()
	return true, nil
}

// learn unites the visit with its row and keeps the sums equal to the rows.
func (t *Task) learn(w *window, row *state.PaneRow, v *topics.Visit, hash uint64, gained topics.Outcome) {
	if !w.dirty {
		w.dirty = true
		t.touched = append(t.touched, w)
	}
	if at, ok := w.hasPane(v.Pane); !ok {
		w.panes = slices.Insert(w.panes, at, v.Pane)
		w.cost++
		t.expiry.enlist(w.method, v.Pane)
	}
	w.rows[v.Pane] = row
	place := t.intern([]byte(v.Place))
	summed := v.Pane > w.end-t.span && v.Pane <= w.end
	before := int64(0)
	if c := row.Cell(place); c != nil {
		before = c.Visits()
	}
	spilled := row.Add(place, hash, v.Outcome)
	if summed {
		w.grow(row.Cell(place), before, hash, gained, spilled)
	}
	if gained&topics.Allowed != 0 {
		w.seen.Add(place, v.Pane)
	}
}

// Retract takes what a principal taught about one method out of the rows again: removed presences are gone; kept ones are in
// rows that only count, which no longer tell whose they are, and leave with their panes.
func (t *Task) Retract(r *topics.Retraction) (removed, kept int64, err error) {
	w, err := t.window(r.Key())
	if err != nil {
		return 0, 0, err
	}
	hash := topics.PrincipalHash(r.Principal)
	for _, pane := range slices.Clone(w.panes) {
		if pane < r.From || pane > r.To {
			continue
		}
		row, err := t.row(w, pane)
		if err != nil {
			return removed, kept, err
		}
		known := row.Known(r.Place, hash)
		if known == 0 {
			continue
		}
		summed := pane > w.end-t.span && pane <= w.end
		if summed {
			w.add(row.Cell(r.Place), -1)
		}
		_, ok := row.Retract(t.view, w.method, pane, r.Place, hash)
		if c := row.Cell(r.Place); summed && c != nil {
			w.add(c, 1)
		}
		if !ok {
			kept++
			continue
		}
		removed++
		w.rows[pane] = row
		if len(row.Cells) == 0 {
			at, _ := w.hasPane(pane)
			w.panes = slices.Delete(w.panes, at, at+1)
			w.cost--
			delete(w.rows, pane)
		}
	}
	if removed == 0 {
		return removed, kept, nil
	}
	if !w.dirty {
		w.dirty = true
		t.touched = append(t.touched, w)
	}
	if kept == 0 {
		others := false
		for _, pane := range w.panes {
			row, err := t.row(w, pane)
			if err != nil {
				return removed, kept, err
			}
			if c := row.Cell(r.Place); c != nil && c.Visits() > 0 {
				others = true
				break
			}
		}
		if !others {
			w.seen.Forget(r.Place, r.From)
		}
	}
	return removed, kept, nil
}

// advance moves stream time on and expires the rows that no window can ask for any more.
func (t *Task) advance(eventTime int64) error {
	if eventTime <= t.streamTime {
		return nil
	}
	t.streamTime = eventTime
	pane := t.paneOf(eventTime)
	if pane == t.pane {
		return nil
	}
	t.pane = pane
	return t.expire(pane - t.span - int64(t.cfg.LookBack/time.Second))
}

// Flush stages every row that changed since the last call, and trims the cache to its bound. Call it once per
// transaction, before the changes are read.
func (t *Task) Flush() {
	for _, w := range t.touched {
		for pane, row := range w.rows {
			row.Stage(t.view, w.method, pane)
			if pane < t.pane-t.cfg.paneSeconds() {
				delete(w.rows, pane)
			}
		}
		w.seen.Stage(t.view, w.method)
		w.dirty = false
	}
	t.touched = t.touched[:0]
	t.silence.flush(t.view)
	t.trim()
}
