// Package triage turns the anomalies of a principal into alerts: it groups what one principal did from one place within one
// pane, applies the threshold, and writes each change as a new version of the same alert. It knows nothing of Kafka, disk or
// wall time.
package triage

import (
	"cmp"
	"encoding/binary"
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
	LookBack     time.Duration // how long past the window a group is remembered, as in detect
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
	streamTime int64 // Unix milliseconds
	pane       int64
	index      map[int64][]string // alert ids by pane, for expiry

	anomaly  topics.Anomaly
	sighting topics.Sighting
}

// NewTask makes the task of a partition whose restored rows are in view. streamTime is that of the meta row.
func NewTask(cfg Config, view state.View, streamTime int64) (*Task, error) {
	t := &Task{cfg: cfg, view: view, streamTime: streamTime, index: map[int64][]string{}}
	t.pane = t.paneOf(streamTime)
	err := view.Scan(state.AlertPrefix(), func(k, v []byte) error {
		var g group
		if err := g.decode(v); err != nil {
			return err
		}
		t.index[g.lead.Visit.Pane] = append(t.index[g.lead.Visit.Pane], string(k[len(state.AlertPrefix()):]))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("index alerts: %w", err)
	}
	return t, nil
}

// StreamTime is the newest event time seen, in Unix milliseconds.
func (t *Task) StreamTime() int64 { return t.streamTime }

func (t *Task) paneOf(millis int64) int64 {
	width := int64(t.cfg.Pane / time.Second)
	s := millis / 1000
	return s - ((s%width)+width)%width
}

// Record takes one record of the principals topic: created is its timestamp in Unix milliseconds. The alert is set for the
// verdicts Created and Updated; its strings alias value. An error that wraps topics.ErrCorrupt or topics.ErrNewer is about
// the record, any other about the state.
func (t *Task) Record(value []byte, created int64) (Verdict, *alert.Alert, error) {
	switch topics.KindOf(value) {
	case topics.KindSighting:
		if err := t.sighting.Decode(value); err != nil {
			return 0, nil, err
		}
		return Sighting, nil, t.advance(t.sighting.EventTime)
	case topics.KindAnomaly:
		if err := t.anomaly.Decode(value); err != nil {
			return 0, nil, err
		}
		if err := t.advance(t.anomaly.Visit.Evidence.EventTime); err != nil {
			return 0, nil, err
		}
		return t.judge(&t.anomaly, created)
	}
	return 0, nil, fmt.Errorf("%w: kind %d is neither a sighting nor an anomaly", topics.ErrCorrupt, topics.KindOf(value))
}

func (t *Task) judge(a *topics.Anomaly, created int64) (Verdict, *alert.Alert, error) {
	v := &a.Visit
	id := alert.ID(v.Principal, v.Place, v.Pane)
	key := state.AlertKey(id)
	b, err := t.view.Get(key)
	if err != nil {
		return 0, nil, err
	}
	g := group{}
	if b == nil {
		t.index[v.Pane] = append(t.index[v.Pane], id)
	} else if err := g.decode(b); err != nil {
		return 0, nil, err
	}
	alerted := b != nil && g.lead.Score >= t.cfg.Threshold
	if !g.add(a) {
		return Unchanged, nil, nil
	}
	g.version++
	t.view.Set(key, g.append(nil))
	verdict := Created
	switch {
	// Until profiles speak, the alert score is the method score of the lead.
	case g.lead.Score < t.cfg.Threshold:
		return Below, nil, nil
	case alerted:
		verdict = Updated
	}
	named := g.methods[:min(len(g.methods), alert.MaxMethods)]
	return verdict, &alert.Alert{
		ID: id, Version: g.version, Score: g.lead.Score, Created: created, First: g.first, Last: g.last,
		Lead: g.lead, Methods: named, Dropped: g.dropped + int64(len(g.methods)-len(named)), Window: t.cfg.Window, Pane: t.cfg.Pane,
	}, nil
}

// advance moves stream time on and forgets the groups that nothing can reach any more.
func (t *Task) advance(eventTime int64) error {
	if eventTime <= t.streamTime {
		return nil
	}
	t.streamTime = eventTime
	if pane := t.paneOf(eventTime); pane != t.pane {
		t.pane = pane
		oldest := pane - int64((t.cfg.Window+t.cfg.LookBack)/time.Second)
		for p, ids := range t.index {
			if p > oldest {
				continue
			}
			for _, id := range ids {
				t.view.Delete(state.AlertKey(id))
			}
			delete(t.index, p)
		}
	}
	return nil
}

// group is the row of one alert. What it holds does not depend on the order in which its anomalies came.
type group struct {
	version     int64 // anomalies united: like all else, the same in any order
	first, last int64
	dropped     int64
	lead        topics.Anomaly
	methods     []alert.Method // by First, then name
}

const groupVersion = 1

// maxMethods bounds the row: past it methods are only counted, and which ones they are depends on the order. A sweep through
// every service that an account uses stays far below.
const maxMethods = 2000

// add unites an anomaly with the group and says whether that changed anything.
func (g *group) add(a *topics.Anomaly) bool {
	v := &a.Visit
	at := v.Evidence.EventTime
	m := alert.Method{Name: v.Method, Score: a.Score, Level: a.Level, Outcome: v.Outcome, First: at, EventID: v.Evidence.EventID, Account: v.Evidence.Account}
	if len(g.methods) == 0 {
		g.first, g.last, g.lead, g.methods = at, at, *a, []alert.Method{m}
		return true
	}
	changed := false
	if at < g.first {
		g.first, changed = at, true
	}
	if at > g.last {
		g.last, changed = at, true
	}
	if leads(a, &g.lead) {
		g.lead, changed = *a, true
	}
	i := slices.IndexFunc(g.methods, func(o alert.Method) bool { return o.Name == m.Name && o.Account == m.Account })
	switch {
	case i >= 0:
		o := &g.methods[i]
		before := *o
		o.Outcome |= m.Outcome
		if m.First < o.First {
			o.First, o.EventID = m.First, m.EventID
		}
		if m.Score > o.Score {
			o.Score, o.Level = m.Score, m.Level
		}
		changed = changed || *o != before
	case len(g.methods) < maxMethods:
		g.methods = append(g.methods, m)
		changed = true
	default:
		g.dropped++
		changed = true
	}
	slices.SortFunc(g.methods, func(a, b alert.Method) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Account, b.Account))
	})
	return changed
}

// leads says whether a tells more than b: the higher score, then the earlier event, then the method's name.
func leads(a, b *topics.Anomaly) bool {
	return cmp.Or(
		cmp.Compare(b.Score, a.Score),
		cmp.Compare(a.Visit.Evidence.EventTime, b.Visit.Evidence.EventTime),
		cmp.Compare(a.Visit.Method, b.Visit.Method),
		cmp.Compare(a.Visit.Evidence.EventID, b.Visit.Evidence.EventID),
	) < 0
}

func (g *group) append(b []byte) []byte {
	b = append(b, groupVersion)
	for _, n := range []int64{g.version, g.first, g.last, g.dropped} {
		b = binary.AppendVarint(b, n)
	}
	lead := g.lead.Append(nil, nil)
	b = binary.AppendUvarint(b, uint64(len(lead)))
	b = append(b, lead...)
	b = binary.AppendUvarint(b, uint64(len(g.methods)))
	for i := range g.methods {
		m := &g.methods[i]
		for _, s := range []string{m.Name, m.EventID, m.Account} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
		b = binary.AppendVarint(b, int64(m.Score*100+0.5))
		b = append(b, byte(m.Level), byte(m.Outcome))
		b = binary.AppendVarint(b, m.First)
	}
	return b
}

func (g *group) decode(b []byte) error {
	bad := func(what string) error { return fmt.Errorf("%w: alert row: %s", state.ErrRow, what) }
	if len(b) == 0 || b[0] == 0 {
		return bad("empty")
	}
	if b[0] > groupVersion {
		return fmt.Errorf("%w: alert row version %d, this build knows up to %d", state.ErrFormat, b[0], groupVersion)
	}
	b = b[1:]
	ok := true
	number := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() []byte {
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			ok, b = false, nil
			return nil
		}
		t := b[n : n+int(l)]
		b = b[n+int(l):]
		return t
	}
	g.version, g.first, g.last, g.dropped = number(), number(), number(), number()
	lead := text()
	if !ok {
		return bad("ends early")
	}
	if err := g.lead.Decode(lead); err != nil {
		return bad(err.Error())
	}
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return bad("methods")
	}
	b = b[n:]
	g.methods = make([]alert.Method, 0, count)
	for range count {
		m := alert.Method{Name: string(text()), EventID: string(text()), Account: string(text())}
		m.Score = float64(number()) / 100
		if !ok || len(b) < 2 {
			return bad("ends early")
		}
		m.Level, m.Outcome = topics.Level(b[0]), topics.Outcome(b[1])
		b = b[2:]
		m.First = number()
		g.methods = append(g.methods, m)
	}
	if !ok || len(b) != 0 {
		return bad("wrong length")
	}
	return nil
}
