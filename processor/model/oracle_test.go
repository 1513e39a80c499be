package model

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/stream"
	"github.com/farcall/farcall/topics"
)

// The settings of the installation under test. The window is short, so that events leave it and rows expire, and the floor and
// the threshold are low, so that a few visits of history make alerts.
const (
	pane      = int64(3600)
	span      = 12 * pane
	lookBack  = 3 * pane
	floor     = 2.0
	threshold = 15.0
	skew      = 5 * time.Minute
	version   = "model"
)

func paneOf(millis int64) int64 { return millis / 1000 / pane * pane }

// raw is one raw record as it was sent: an event, or something that is none.
type raw struct {
	partition int32
	offset    int64
	timestamp int64 // Unix milliseconds
	at        int64 // event time, Unix milliseconds
	id        string
	method    string
	user      string
	place     string
	denied    bool
	bad       bool // no JSON
}

func (r *raw) principal() string { return account + "/user/" + r.user }

func (r *raw) outcome() topics.Outcome {
	if r.denied {
		return topics.Denied
	}
	return topics.Allowed
}

func (r *raw) future() bool { return r.at > r.timestamp+skew.Milliseconds() }

// presence is what a visit says, but for its evidence.
type presence struct {
	method, place, principal string
	pane                     int64
}

// told is what route must have written of raw records in the order of their partitions.
type told struct {
	letters   []string                // reason and coordinates
	sightings map[string]bool         // principal, place and pane
	visits    map[string]topics.Visit // by coordinates: what would be told of each event, if it is
	first     map[string]bool         // coordinates of those that were certainly told: first of their presence
}

func coordinates(partition int32, offset int64) string {
	return fmt.Sprintf("%d/%d", partition, offset)
}

func expected(sent [][]raw) told {
	w := told{sightings: map[string]bool{}, visits: map[string]topics.Visit{}, first: map[string]bool{}}
	for _, rs := range sent {
		horizon := int64(0)
		seen := map[string]bool{}
		for i := range rs {
			r := &rs[i]
			at := coordinates(r.partition, r.offset)
			switch {
			case r.bad:
				w.letters = append(w.letters, "not_json "+at)
				continue
			case r.future():
				w.letters = append(w.letters, "future "+at)
				continue
			}
			horizon = max(horizon, r.at)
			p := presence{r.method, r.place, r.principal(), paneOf(r.at)}
			w.sightings[fmt.Sprint(p.principal, p.place, p.pane)] = true
			w.visits[at] = topics.Visit{Method: p.method, Principal: p.principal, Place: p.place, Pane: p.pane, Outcome: r.outcome(), Horizon: horizon,
				Evidence: topics.Evidence{EventTime: r.at, EventID: r.id}}
			if k := fmt.Sprint(p, r.denied); !seen[k] {
				seen[k] = true
				w.first[at] = true
			}
		}
	}
	slices.Sort(w.letters)
	return w
}

// windows are what detect must know of one partition of visits.
type windows struct {
	visits map[presence]topics.Outcome
	first  map[string]map[string]int64 // method, place: first pane
	last   map[string]map[string]int64
	stream int64
	out    []string // anomalies, encoded
	late   int
}

func newWindows() *windows {
	return &windows{visits: map[presence]topics.Outcome{}, first: map[string]map[string]int64{}, last: map[string]map[string]int64{}}
}

func (w *windows) visit(v *topics.Visit, encoded []byte) {
	w.stream = max(w.stream, v.Evidence.EventTime)
	now := paneOf(w.stream)
	for p := range w.visits {
		if p.pane <= now-span-lookBack {
			delete(w.visits, p)
		}
	}
	if v.Pane <= paneOf(v.Horizon)-span {
		w.late++
		return
	}
	if v.Pane <= now-span-lookBack {
		w.judge(v, encoded, now)
		return
	}
	p := presence{v.Method, v.Place, v.Principal, v.Pane}
	known := w.visits[p]
	if v.Outcome&^known == 0 {
		return
	}
	if known == 0 || known == topics.Denied {
		w.judge(v, encoded, v.Pane)
	}
	w.visits[p] = known | v.Outcome
	if v.Outcome != topics.Allowed {
		return
	}
	if w.first[v.Method] == nil {
		w.first[v.Method], w.last[v.Method] = map[string]int64{}, map[string]int64{}
	}
	if f, ok := w.first[v.Method][v.Place]; !ok || v.Pane < f {
		w.first[v.Method][v.Place] = v.Pane
	}
	w.last[v.Method][v.Place] = max(w.last[v.Method][v.Place], v.Pane)
}

func (w *windows) judge(v *topics.Visit, encoded []byte, asOf int64) {
	places, others := map[string]int64{}, map[string]int64{}
	d := topics.Distribution{}
	for p, o := range w.visits {
		if p.method != v.Method || p.pane <= asOf-span || p.pane > asOf || o&topics.Allowed == 0 {
			continue
		}
		d.Visits++
		places[p.place]++
		if p.place == v.Place && p.principal != v.Principal {
			others[p.principal]++
		}
	}
	d.PlaceVisits, d.Support, d.Places = places[v.Place], places[v.Place], int64(len(places))
	busiest := int64(1)
	for _, n := range others {
		busiest = max(busiest, n)
	}
	d.Support -= busiest - 1
	below, usual := int64(0), places[v.Place] > 0
	for place, n := range places {
		d.Top = append(d.Top, topics.PlaceCount{Place: place, Visits: n})
		if place == v.Place {
			continue
		}
		if n <= d.Support {
			below += n
		}
		usual = usual && n <= places[v.Place]
	}
	p := 1.0
	if !usual {
		p = (float64(below+d.Support) + detect.Concentration) / (float64(d.Visits-d.PlaceVisits+d.Support) + detect.Concentration)
	}
	a := topics.Anomaly{Score: detect.Score(p), Probability: p, Visit: *v}
	if a.Score < floor {
		return
	}
	switch {
	case d.PlaceVisits == 0:
		a.Level = topics.Unseen
	case d.PlaceVisits*100 <= d.Visits:
		a.Level = topics.Rare
	case d.PlaceVisits*10 <= d.Visits:
		a.Level = topics.Infrequent
	default:
		a.Level = topics.Frequent
	}
	slices.SortFunc(d.Top, func(a, b topics.PlaceCount) int {
		return cmp.Or(cmp.Compare(b.Visits, a.Visits), cmp.Compare(a.Place, b.Place))
	})
	d.Top = d.Top[:min(len(d.Top), topics.MaxTopCountries)]
	for _, f := range w.first[v.Method] {
		if d.MethodSince == 0 || f < d.MethodSince {
			d.MethodSince = f
		}
	}
	if d.MethodSince > asOf {
		d.MethodSince = 0
	}
	if f, ok := w.first[v.Method][v.Place]; ok && f <= asOf {
		d.PlaceSince = f
		if l := w.last[v.Method][v.Place]; l <= asOf {
			d.PlaceLast = l
		}
	}
	a.Distribution = d
	w.out = append(w.out, string(a.Append(nil, encoded)))
}

// rows spells the rows as the test spells those of a store.
func (w *windows) rows() map[string]string {
	rows := map[string]string{}
	for p, o := range w.visits {
		rows[fmt.Sprintf("visit %s %d %s %x", p.method, p.pane, p.place, topics.PrincipalHash(p.principal))] = o.String()
	}
	for method, places := range w.first {
		for place, f := range places {
			rows["seen "+method+" "+place] = fmt.Sprint(f, w.last[method][place])
		}
	}
	return rows
}

// groups are what triage must know of one partition of principals.
type groups struct {
	alerts map[string]*grouped
	stream int64
	out    []string // alerts: documents
}

type grouped struct {
	version, first, last int64
	pane                 int64
	lead                 topics.Anomaly
	methods              map[string]alert.Method
}

func newGroups() *groups { return &groups{alerts: map[string]*grouped{}} }

func (g *groups) advance(at int64) {
	if at <= g.stream {
		return
	}
	before := paneOf(g.stream)
	g.stream = at
	if now := paneOf(at); now != before {
		maps.DeleteFunc(g.alerts, func(_ string, a *grouped) bool { return a.pane <= now-span-lookBack })
	}
}

func (g *groups) record(value []byte, created int64) error {
	if topics.KindOf(value) == topics.KindSighting {
		var s topics.Sighting
		err := s.Decode(value)
		g.advance(s.EventTime)
		return err
	}
	var a topics.Anomaly
	if err := a.Decode(bytes.Clone(value)); err != nil {
		return err
	}
	v := &a.Visit
	g.advance(v.Evidence.EventTime)
	sum := sha256.Sum256(fmt.Appendf(nil, "farcall alert 1\x00%s\x00%s\x00%d", v.Principal, v.Place, v.Pane))
	id := hex.EncodeToString(sum[:16])
	at, e := v.Evidence.EventTime, &v.Evidence
	o := g.alerts[id]
	changed := false
	if o == nil {
		o = &grouped{first: at, last: at, pane: v.Pane, lead: a, methods: map[string]alert.Method{}}
		g.alerts[id], changed = o, true
	}
	if at < o.first || at > o.last {
		o.first, o.last, changed = min(o.first, at), max(o.last, at), true
	}
	if l := &o.lead.Visit; cmp.Or(cmp.Compare(o.lead.Score, a.Score), cmp.Compare(at, l.Evidence.EventTime), cmp.Compare(v.Method, l.Method), cmp.Compare(e.EventID, l.Evidence.EventID)) < 0 {
		o.lead, changed = a, true
	}
	m, ok := o.methods[v.Method]
	before := m
	if !ok {
		m = alert.Method{Name: v.Method, Score: a.Score, Level: a.Level, Outcome: v.Outcome, First: at, EventID: e.EventID, Account: e.Account}
	}
	m.Outcome |= v.Outcome
	if at < m.First {
		m.First, m.EventID = at, e.EventID
	}
	if a.Score > m.Score {
		m.Score, m.Level = a.Score, a.Level
	}
	o.methods[v.Method] = m
	if !changed && m == before {
		return nil
	}
	o.version++
	if o.lead.Score < threshold {
		return nil
	}
	rec, err := stream.AlertRecord("", &alert.Alert{
		ID: id, Version: o.version, Score: o.lead.Score, Created: created, First: o.first, Last: o.last, Lead: o.lead,
		Methods: o.ordered(), Window: time.Duration(span) * time.Second, Pane: time.Duration(pane) * time.Second,
	}, version)
	if err != nil {
		return err
	}
	g.out = append(g.out, string(rec.Value))
	return nil
}

func (o *grouped) ordered() []alert.Method {
	return slices.SortedFunc(maps.Values(o.methods), func(a, b alert.Method) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Name, b.Name))
	})
}

// rows writes the rows as state/FORMAT.md says.
func (g *groups) rows() map[string]string {
	rows := map[string]string{}
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for id, o := range g.alerts {
		b := []byte{1}
		for _, n := range []int64{o.version, o.first, o.last, 0} {
			b = binary.AppendVarint(b, n)
		}
		b = text(b, string(o.lead.Append(nil, nil)))
		b = binary.AppendUvarint(b, uint64(len(o.methods)))
		for _, m := range o.ordered() {
			b = text(text(text(b, m.Name), m.EventID), m.Account)
			b = binary.AppendVarint(b, int64(m.Score*100+0.5))
			b = append(b, byte(m.Level), byte(m.Outcome))
			b = binary.AppendVarint(b, m.First)
		}
		rows["a"+id] = string(b)
	}
	return rows
}
