// Package triage owns the profiles of the principals in one partition. It puts the anomalies and sightings of one stay of a
// principal in one place together, scores them by what is known of the principal, and writes each change of what it would tell
// a person as a new version of the same alert. It knows nothing of Kafka, disk or wall time: the same records in the same order
// give the same alerts and rows, whatever the batches they came in.
package triage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	// Cap is the most alerts in 15 minutes of stream time, over all Partitions together, 0 for no cap: what is critical goes out
	// all the same, the rest is held back and announced.
	Cap int
	// HostingNetworks ("AS64496") and HostingNames (texts within the name of the organisation, in any case) say which networks
	// are run by those who rent machines or tunnels to anyone.
	HostingNetworks, HostingNames []string
	Partitions                    int32
	Partition                     int32 // of the task
}

// DefaultConfig has the threshold of the rule that farcall replaces.
func DefaultConfig() Config {
	return Config{Threshold: 50, Pane: time.Hour, Window: 30 * 24 * time.Hour, LookBack: 24 * time.Hour, Cap: 100, HostingNames: DefaultHostingNames(), Partitions: 1}
}

// Fingerprint spells the settings that rows depend on.
func (c Config) Fingerprint() string { return fmt.Sprintf("triage pane=%s", c.Pane) }

// Result says what became of a record.
type Result byte

// The results.
const (
	Sighting  Result = iota // noted; it changes no alert
	Below                   // an anomaly whose group is below the threshold
	Unchanged               // an anomaly that its group held already
	Created                 // a new alert
	Updated                 // a new version of an alert
	HeldBack                // a version of an alert that an exception or the cap kept from the SIEM
	Decided                 // an exception or a verdict
)

// Results lists all results.
func Results() []Result {
	return []Result{Sighting, Below, Unchanged, Created, Updated, HeldBack, Decided}
}

func (v Result) String() string {
	return [...]string{"sighting", "below", "unchanged", "created", "updated", "held back", "decided"}[v]
}

// Task is triage for one partition. It is not safe for concurrent use. After a transaction that aborted it must be dropped
// and made anew from the rolled-back view.
type Task struct {
	cfg        Config
	view       state.View
	width      int64 // of a pane, seconds
	streamTime int64 // Unix milliseconds
	round      int64 // of streamTime

	// What the rows say:
	exceptions []*topics.Exception
	since      map[string]int64 // account, or "" for all: first pane
	owed       int64            // when the count of a roll-up is due, Unix milliseconds of stream time, 0 if it is told

	// Scratch of one record:
	anomaly  topics.Anomaly
	sighting topics.Sighting
	change   change
	group    group
	row      []byte
}

// Output takes what triage writes.
type Output interface {
	// Alert takes a new version of an alert. With HeldBack it is not for the SIEM.
	Alert(a *alert.Alert) error
	// Retract takes a retraction for detect, encoded.
	Retract(key, value []byte) error
}

// NewTask makes the task of a partition whose restored rows are in view. streamTime is that of the meta row.
func NewTask(cfg Config, view state.View, streamTime int64) (*Task, error) {
	t := &Task{cfg: cfg, view: view, width: int64(cfg.Pane / time.Second), streamTime: streamTime}
	t.round = t.roundOf(streamTime)
	b, err := t.capRow()
	t.owed = b.owes()
	return t, errors.Join(err, t.loadExceptions(), t.loadSince())
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
func (t *Task) Record(value []byte, created int64, out Output) (Result, error) {
	kind := topics.KindOf(value)
	var v *topics.Visit
	switch kind {
	case topics.KindSighting:
		t.sighting = topics.Sighting{} // its lists may live on in an alert
		if err := t.sighting.Decode(value); err != nil {
			return 0, err
		}
		v = &t.sighting.Visit
	case topics.KindAnomaly:
		t.anomaly = topics.Anomaly{} // likewise
		if err := t.anomaly.Decode(value); err != nil {
			return 0, err
		}
		v = &t.anomaly.Visit
	case topics.KindException:
		return Decided, t.exception(value)
	case topics.KindVerdict:
		var d topics.Verdict
		if err := d.Decode(value); err != nil {
			return 0, err
		}
		return t.apply(d.Principal, created, out, func(c *change) error {
			c.result = Decided
			return c.decide(&d)
		})
	default:
		return 0, fmt.Errorf("%w: kind %d is none that triage knows", topics.ErrCorrupt, kind)
	}
	if err := t.advance(v.Evidence.EventTime, created, out); err != nil {
		return 0, err
	}
	return t.apply(v.Principal, created, out, func(c *change) error {
		if kind == topics.KindSighting {
			return c.sighting(&t.sighting)
		}
		c.result = Unchanged
		return c.touch(v, func(g *group) bool { return g.add(&t.anomaly) })
	})
}

// apply runs do on the profile and the stays of a principal, and stages what it changes.
func (t *Task) apply(principal string, created int64, out Output, do func(*change) error) (Result, error) {
	c := &t.change
	*c = change{t: t, principal: principal, created: created, out: out, p: c.p.emptied(), stays: c.stays[:0]}
	if err := c.open(); err != nil {
		return 0, err
	}
	if err := do(c); err != nil {
		return 0, err
	}
	for i := range c.retractions {
		r := &c.retractions[i]
		if err := out.Retract(r.Key(), r.Append(nil)); err != nil {
			return 0, err
		}
	}
	if c.profileChanged {
		t.row = c.p.append(t.row[:0])
		t.view.Set(state.ProfileKey(principal), t.row)
	}
	if c.staysChanged {
		t.row = c.stays.append(t.row[:0])
		t.view.Set(state.StaysKey(principal), t.row)
	}
	return c.result, nil
}

// maxAccounts bounds the accounts whose history is remembered, and maxAccountBytes their names, which outsiders write.
const (
	maxAccounts     = 10_000
	maxAccountBytes = 32
)

// known notes since when an account speaks.
func (t *Task) known(account string, pane int64) {
	if old, ok := t.since[account]; ok && old <= pane || !ok && len(t.since) >= maxAccounts || len(account) > maxAccountBytes {
		return
	}
	t.since[strings.Clone(account)] = pane
	t.view.Set(state.SinceKey(account), binary.AppendVarint([]byte{sinceVersion}, pane))
}

// Accounts is how many accounts are known, with one more for all together.
func (t *Task) Accounts() int { return len(t.since) }

// History says since when each account is known, "" for all together: first panes, Unix seconds.
func (t *Task) History() map[string]int64 { return maps.Clone(t.since) }

const sinceVersion = 1

func (t *Task) loadSince() error {
	t.since = map[string]int64{}
	return t.view.Scan(state.SincePrefix(), func(k, v []byte) error {
		if len(v) > 0 && v[0] > sinceVersion {
			return fmt.Errorf("%w: since row version %d, this build knows up to %d", state.ErrFormat, v[0], sinceVersion)
		}
		r := rowReader{b: v}
		r.byte()
		t.since[string(k[len(state.SincePrefix()):])] = r.number()
		return r.end("since")
	})
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
	out                          Output
	p                            profile
	stays                        stays // once opened
	opened, hadStays             bool  // the stays; whether they had a row
	profileChanged, staysChanged bool
	retractions                  []topics.Retraction
	result                       Result
}

// open reads the profile. Who has none has no stays either, and is somebody new: nothing more is looked for.
func (c *change) open() error {
	b, err := c.t.view.Get(state.ProfileKey(c.principal))
	if c.opened = b == nil; err != nil || c.opened {
		return err
	}
	if err := c.p.decode(b); err != nil || c.p.stayed != unsaid {
		return err
	}
	if err := c.openStays(); err != nil {
		return err
	}
	c.p.stayed = 0
	for i := range c.stays {
		c.p.stayed = max(c.p.stayed, c.stays[i].last)
	}
	return nil
}

// openStays reads the stays, which most sightings have no use for.
func (c *change) openStays() error {
	if c.opened {
		return nil
	}
	c.opened = true
	b, err := c.t.view.Get(state.StaysKey(c.principal))
	if c.hadStays = b != nil; err != nil || !c.hadStays {
		return err
	}
	return c.stays.decode(b)
}

func (c *change) sighting(s *topics.Sighting) error {
	v := &s.Visit
	learned := c.t.learn(&c.p, s)
	c.profileChanged = c.profileChanged || learned
	c.t.known("", v.Pane)
	c.t.known(v.Evidence.Account, v.Pane)
	if v.Pane <= c.p.stayed+stayGap { // else there is none near it
		if err := c.openStays(); err != nil {
			return err
		}
	}
	// Being in a place that is no news is worth no alert, unless one is growing. A sighting that taught the profile nothing may
	// still be the earliest of its pane, or the first that was allowed: several raw partitions tell the same presence.
	grows := func(s stay) bool { return s.place == v.Place && s.alerted && s.holds(v.Pane) }
	if v.Place != topics.PrivatePlace && (!c.settled(v) || slices.ContainsFunc(c.stays, grows)) {
		if err := c.touch(v, func(g *group) bool { return g.sighted(s) }); err != nil {
			return err
		}
	}
	if !learned {
		return nil
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
	return c.p.settled(v.Place, c.t.dayOf(v.Pane))
}

// touch puts what a visit says into the alert of the stay that it belongs to.
func (c *change) touch(v *topics.Visit, unite func(*group) bool) error {
	if err := c.openStays(); err != nil {
		return err
	}
	e, changed := c.stays.at(v.Place, v.Pane, c.settled(v))
	c.staysChanged = c.staysChanged || changed
	if e.last > c.p.stayed {
		c.p.stayed, c.profileChanged = e.last, true
	}
	return c.update(e, unite)
}

// update changes the alert of a stay, and writes a new version if that changes what it says.
func (c *change) update(e *stay, unite func(*group) bool) error {
	t, p := c.t, &c.p
	id := "" // of the alert: a hash, which most have no use for
	identify := func() []byte {
		if id == "" {
			id = alert.ID(c.principal, e.place, e.day)
		}
		return state.AlertKey(id)
	}
	b := e.facts
	apart := false // whether they have a row of their own
	if b == nil && c.hadStays {
		var err error
		if b, err = t.view.Get(identify()); err != nil {
			return err
		}
		apart = b != nil
	}
	g := &t.group
	*g = group{}
	if b != nil {
		if err := g.decode(b); err != nil {
			return err
		}
	}
	changed := unite(g)
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
	score, context := t.weigh(p, g, e.place)
	tells := g.route != untold || score >= t.cfg.Threshold && g.timely && !g.leaderless()
	told := g.told
	if tells {
		told = judged(score, &context)
	}
	if !changed && told == g.told {
		return nil
	}
	g.told = told
	g.version++
	result := Below
	if tells {
		var err error
		identify()
		if result, err = c.tell(e, g, id, score, context); err != nil {
			return err
		}
	}
	if t.row = g.append(t.row[:0]); apart || !g.quiet() {
		t.view.Set(identify(), t.row)
		c.staysChanged = c.staysChanged || e.facts != nil
		e.facts = nil
	} else {
		e.facts, c.staysChanged = bytes.Clone(t.row), true
	}
	if c.result == Unchanged || result > c.result {
		c.result = result
	}
	return nil
}

// tell writes a version of an alert to where it belongs.
func (c *change) tell(e *stay, g *group, id string, score float64, context alert.Context) (Result, error) {
	t := c.t
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
	if g.route == sent {
		return Updated, c.out.Alert(a)
	}
	if x := t.excepted(a); x != nil {
		g.route, a.HeldBack, a.Exception = excepted, "exception", x.ID
		return HeldBack, c.out.Alert(a)
	}
	if g.route == excepted && score < t.cfg.Threshold {
		a.HeldBack = "exception"
		return HeldBack, c.out.Alert(a)
	}
	if !e.alerted {
		e.alerted, c.staysChanged = true, true
	}
	if alert.SeverityOf(score) >= alert.Critical {
		g.route = sent
		return Created, c.out.Alert(a)
	}
	if g.route == capped {
		a.HeldBack = "cap"
		return HeldBack, c.out.Alert(a)
	}
	ok, b, err := t.take()
	if err != nil {
		return 0, err
	}
	result, up := Created, (*alert.Alert)(nil)
	g.route = sent
	if !ok {
		result, g.route, a.HeldBack = HeldBack, capped, "cap"
		up = t.holdBack(b, a)
	}
	err = c.out.Alert(a)
	if up != nil && err == nil {
		err = c.out.Alert(up)
	}
	if b != nil { // after the alerts: their strings alias what the view gave, until it is changed
		t.view.Set(state.CapKey(), b.append(nil))
	}
	return result, err
}

// decide acts on what a person found an alert to be. A benign place is no news to the principal any more; what a malicious stay
// taught is taken back, and its place stays news.
func (c *change) decide(d *topics.Verdict) error {
	if err := c.openStays(); err != nil {
		return err
	}
	at := slices.IndexFunc(c.stays, func(s stay) bool { return alert.ID(c.principal, s.place, s.day) == d.AlertID })
	if at < 0 {
		return nil // too old: nothing is left of it
	}
	e := &c.stays[at]
	c.profileChanged = true
	c.p.decide(e, d.Malicious)
	return c.update(e, func(g *group) bool {
		g.verdict = benign
		if d.Malicious {
			g.verdict = malicious
			c.p.unlearn(g, e)
			c.retract(g, e, d)
		}
		return true
	})
}

// retract has detect take out what the intruder taught about each method, and about the organisation.
func (c *change) retract(g *group, e *stay, d *topics.Verdict) {
	r := topics.Retraction{Place: e.place, Principal: c.principal, From: c.t.paneOf(g.first), To: c.t.paneOf(max(g.first, g.last)), AlertID: d.AlertID}
	each := func(scope, method string) {
		r.Scope, r.Method = scope, method
		c.retractions = append(c.retractions, r)
	}
	each("", topics.AnyMethod)
	for i := range g.methods {
		scope := ""
		if g.lead.Visit.Scope != "" {
			scope = g.methods[i].Account
		}
		each(scope, g.methods[i].Name)
	}
}

// roundOf numbers the rounds, a day each, at whose beginning a partition looks for rows that it can forget. It looks at all that it has, a
// second for some hundred thousand principals, so the partitions do not all begin at midnight: one after another does, through
// the day.
func (t *Task) roundOf(at int64) int64 {
	return (at/1000 - daySeconds*int64(t.cfg.Partition)/int64(max(1, t.cfg.Partitions))) / daySeconds
}

// advance moves stream time on. It tells what was owed at the end of a window of the cap, and forgets, at each new round, what
// nothing can reach any more.
func (t *Task) advance(eventTime, now int64, out Output) error {
	if eventTime <= t.streamTime {
		return nil
	}
	t.streamTime = eventTime
	if t.owed != 0 && eventTime >= t.owed {
		if err := t.settle(now, out); err != nil {
			return err
		}
	}
	round := t.roundOf(eventTime)
	if round == t.round {
		return nil
	}
	t.round = round
	if err := t.dropExpired(now); err != nil {
		return err
	}
	keep := int64((t.cfg.Window + t.cfg.LookBack) / time.Second)
	oldest := round*daySeconds - keep
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
	// Every row is looked at, and nearly all of them stay: most say so at their beginning.
	var g group
	var l stays
	var p profile
	err := errors.Join(
		forget(state.AlertPrefix(), func(b []byte) (bool, error) {
			_, err := g.head(b)
			return max(g.first, g.last)/1000 < oldest-int64(maxStay), err
		}),
		forget(state.StaysPrefix(), func(b []byte) (bool, error) {
			l = l[:0]
			err := l.decode(b)
			// Not before the alert rows of all of them: where there is no row of stays, none is looked for.
			return !slices.ContainsFunc(l, func(s stay) bool { return s.last+t.width > oldest-maxStay }), err
		}),
		forget(state.ProfilePrefix(), func(b []byte) (bool, error) {
			if _, err := p.head(b); err != nil || p.last >= oldest-profileMemory {
				return false, err
			}
			p = p.emptied()
			err := p.decode(b)
			last := p.last
			if p.stayed != unsaid {
				last = max(last, p.stayed)
			}
			return last < oldest-profileMemory, err
		}))
	for _, k := range gone {
		t.view.Delete(k)
	}
	return err
}

// profileMemory is how long past the window a principal is remembered that is no longer seen.
const profileMemory = 60 * daySeconds
