// Package triage owns the profiles of the principals in one partition. It puts the anomalies and sightings of one stay of a
// principal in one place together, scores them by what is known of the principal, and writes each change of what it would tell
// a person as a new version of the same alert. It knows nothing of Kafka, disk or wall time: the same records in the same order
// give the same alerts and rows, whatever the batches they came in.
package triage

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// Config are the settings of triage.
type Config struct {
	Threshold    float64 // least alert score that makes an alert, 0..100
	Pane, Window time.Duration
	LookBack     time.Duration // how long past the window an alert is remembered, as in detect
}

// DefaultConfig has the threshold of the rule that farcall replaces.
func DefaultConfig() Config {
	return Config{Threshold: 50, Pane: time.Hour, Window: 30 * 24 * time.Hour, LookBack: 24 * time.Hour}
}

// Fingerprint spells the settings that rows depend on.
func (c Config) Fingerprint() string { return fmt.Sprintf("triage pane=%s", c.Pane) }

// Verdict says what became of a record.
type Verdict byte

// The verdicts.
const (
	Sighting  Verdict = iota // noted; it changes no alert
	Below                    // an anomaly whose group is below the threshold
	Unchanged                // an anomaly that its group held already
	Created                  // a new alert
	Updated                  // a new version of an alert
)

// Verdicts lists all verdicts.
func Verdicts() []Verdict { return []Verdict{Sighting, Below, Unchanged, Created, Updated} }

func (v Verdict) String() string {
	return [...]string{"sighting", "below", "unchanged", "created", "updated"}[v]
}

// Task is triage for one partition. It is not safe for concurrent use. After a transaction that aborted it must be dropped
// and made anew from the rolled-back view.
type Task struct {
	cfg        Config
	view       state.View
	width      int64 // of a pane, seconds
	streamTime int64 // Unix milliseconds
	day        int64 // number of the day of streamTime

	anomaly  topics.Anomaly
	sighting topics.Sighting
}

// NewTask makes the task of a partition whose restored rows are in view. streamTime is that of the meta row.
func NewTask(cfg Config, view state.View, streamTime int64) (*Task, error) {
	t := &Task{cfg: cfg, view: view, width: int64(cfg.Pane / time.Second), streamTime: streamTime}
	t.day = t.dayOf(t.paneOf(streamTime))
	return t, nil
}

// StreamTime is the newest event time seen, in Unix milliseconds.
func (t *Task) StreamTime() int64 { return t.streamTime }

func (t *Task) paneOf(millis int64) int64 {
	s := millis / 1000
	return s - ((s%t.width)+t.width)%t.width
}

// Record takes one record of the principals topic: created is its timestamp in Unix milliseconds. out takes the new versions of
// alerts that it leads to; their strings alias value. An error that wraps topics.ErrCorrupt or topics.ErrNewer is about the
// record, any other about the state, or out's.
func (t *Task) Record(value []byte, created int64, out func(*alert.Alert) error) (Verdict, error) {
	kind := topics.KindOf(value)
	var v *topics.Visit
	switch kind {
	case topics.KindSighting:
		if err := t.sighting.Decode(value); err != nil {
			return 0, err
		}
		v = &t.sighting.Visit
	case topics.KindAnomaly:
		if err := t.anomaly.Decode(value); err != nil {
			return 0, err
		}
		v = &t.anomaly.Visit
	default:
		return 0, fmt.Errorf("%w: kind %d is neither a sighting nor an anomaly", topics.ErrCorrupt, kind)
	}
	if err := t.advance(v.Evidence.EventTime); err != nil {
		return 0, err
	}
	c := &change{t: t, principal: v.Principal, created: created, out: out}
	if err := t.load(state.ProfileKey(v.Principal), c.p.decode); err != nil {
		return 0, err
	}
	if err := t.load(state.StaysKey(v.Principal), c.stays.decode); err != nil {
		return 0, err
	}
	var err error
	if kind == topics.KindSighting {
		err = c.sighting(&t.sighting)
	} else {
		c.verdict = Unchanged
		err = c.touch(v, func(g *group) bool { return g.add(&t.anomaly) })
	}
	if err != nil {
		return 0, err
	}
	if c.profileChanged {
		t.view.Set(state.ProfileKey(v.Principal), c.p.append(nil))
	}
	if c.staysChanged {
		t.view.Set(state.StaysKey(v.Principal), c.stays.append(nil))
	}
	return c.verdict, nil
}

// load decodes a row, if there is one.
func (t *Task) load(key []byte, decode func([]byte) error) error {
	b, err := t.view.Get(key)
	if err != nil || b == nil {
		return err
	}
	return decode(b)
}

// change is what one record does to a profile and its alerts.
type change struct {
	t                            *Task
	principal                    string
	created                      int64
	out                          func(*alert.Alert) error
	p                            profile
	stays                        stays
	profileChanged, staysChanged bool
	verdict                      Verdict
}

func (c *change) sighting(s *topics.Sighting) error {
	v := &s.Visit
	if !c.t.learn(&c.p, s) {
		return nil
	}
	c.profileChanged = true
	// Being in a place that is no news is worth no alert, unless one is growing.
	grows := func(s stay) bool { return s.place == v.Place && s.alerted && s.holds(v.Pane) }
	if !c.settled(v) || slices.ContainsFunc(c.stays, grows) {
		if err := c.touch(v, func(g *group) bool { return g.sighted(s) }); err != nil {
			return err
		}
	}
	// And what the principal does here bears on its stays elsewhere.
	for i := range c.stays {
		e := &c.stays[i]
		if e.place == v.Place || max(e.first-v.Pane, v.Pane-e.last) > stayGap {
			continue
		}
		if err := c.update(e, func(*group) bool { return false }); err != nil {
			return err
		}
	}
	return nil
}

// settled says whether the visit's place is no news to the principal.
func (c *change) settled(v *topics.Visit) bool {
	here := find(c.p.places, v.Place)
	return here != nil && here.days.before(c.t.dayOf(v.Pane)) >= settledDays
}

// touch puts what a visit says into the alert of the stay that it belongs to.
func (c *change) touch(v *topics.Visit, unite func(*group) bool) error {
	e, changed := c.stays.at(v.Place, v.Pane, c.settled(v))
	c.staysChanged = c.staysChanged || changed
	return c.update(e, unite)
}

// update changes the alert of a stay, and writes a new version if that changes what it says.
func (c *change) update(e *stay, unite func(*group) bool) error {
	t, p := c.t, &c.p
	id := alert.ID(c.principal, e.place, e.day)
	key := state.AlertKey(id)
	b, err := t.view.Get(key)
	if err != nil {
		return err
	}
	g := group{}
	if b != nil {
		if err := g.decode(b); err != nil {
			return err
		}
	}
	changed := unite(&g)
	if g.leaderless() && g.organisation.Visit.Method == "" {
		return nil
	}
	// The nearest presences of the two places decide whether there was a way between them.
	if here := find(p.places, e.place); here != nil {
		for i := range p.places {
			there := &p.places[i]
			if there.name == e.place {
				continue
			}
			if gap, ok := here.panes.nearest(there.panes, e.first/t.width); ok && g.elsewhere(e.place, there.name, gap, t.width) {
				changed = true
			}
		}
	}
	score, context := t.weigh(p, &g, e.place)
	told := judged(score, &context)
	if !changed && told == g.told {
		return nil
	}
	g.told = told
	g.version++
	verdict := Below
	wakes := score >= t.cfg.Threshold && g.timely && !g.leaderless()
	switch {
	case g.alerted:
		verdict = Updated
	case wakes:
		verdict = Created
		g.alerted = true
		if !e.alerted {
			e.alerted, c.staysChanged = true, true
		}
	}
	t.view.Set(key, g.append(nil))
	if c.verdict == Unchanged || verdict > c.verdict {
		c.verdict = verdict
	}
	if verdict < Created {
		return nil
	}
	named := g.methods[:min(len(g.methods), alert.MaxMethods)]
	a := &alert.Alert{
		ID: id, Version: g.version, Score: score, Created: c.created, First: g.first, Last: max(g.first, g.last), Outcome: g.outcome,
		Lead: g.lead, Methods: named, Dropped: g.dropped + int64(len(g.methods)-len(named)), Window: t.cfg.Window, Pane: t.cfg.Pane,
		Context: context,
	}
	for i := range c.stays {
		if o := &c.stays[i]; o != e && o.alerted && o.first <= e.first {
			a.Context.Earlier++
		}
	}
	return c.out(a)
}

// advance moves stream time on and forgets, at each new day, what nothing can reach any more.
func (t *Task) advance(eventTime int64) error {
	if eventTime <= t.streamTime {
		return nil
	}
	t.streamTime = eventTime
	day := t.dayOf(t.paneOf(eventTime))
	if day == t.day {
		return nil
	}
	t.day = day
	keep := int64((t.cfg.Window + t.cfg.LookBack) / time.Second)
	oldest := day*daySeconds - keep
	var gone [][]byte
	forget := func(prefix []byte, old func(row []byte) (bool, error)) error {
		return t.view.Scan(prefix, func(k, v []byte) error {
			is, err := old(v)
			if is {
				gone = append(gone, slices.Clone(k))
			}
			return err
		})
	}
	err := errors.Join(
		forget(state.AlertPrefix(), func(b []byte) (bool, error) {
			var g group
			err := g.decode(b)
			return max(g.first, g.last)/1000 < oldest-int64(maxStay), err
		}),
		forget(state.StaysPrefix(), func(b []byte) (bool, error) {
			var l stays
			err := l.decode(b)
			return !slices.ContainsFunc(l, func(s stay) bool { return s.last >= oldest-maxStay }), err
		}),
		forget(state.ProfilePrefix(), func(b []byte) (bool, error) {
			var p profile
			err := p.decode(b)
			return p.last < oldest-profileMemory, err
		}))
	for _, k := range gone {
		t.view.Delete(k)
	}
	return err
}

// profileMemory is how long past the window a principal is remembered that is no longer seen.
const profileMemory = 60 * daySeconds
