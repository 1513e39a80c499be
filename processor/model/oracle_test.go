package model

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/stream"
	"github.com/farcall/farcall/processor/triage"
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
	late      = time.Hour
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
	visits    map[string]topics.Visit // by what and coordinates: what would be told of each event, if it is
	// first are, by presence, its first events in each partition, of which one was certainly told. Of any method it may be another event:
	// whoever tells a visit first asks for that one next, and another partition may come between the two.
	first map[string][]string
}

// spot names what may be told of an event: a visit of its method, or one of all methods together.
func spot(v *topics.Visit) string {
	src := v.Evidence.Source
	if v.Method == topics.AnyMethod {
		return coordinates(src.Partition, src.Offset) + " of any method"
	}
	return coordinates(src.Partition, src.Offset)
}

func coordinates(partition int32, offset int64) string {
	return fmt.Sprintf("%d/%d", partition, offset)
}

func expected(sent [][]raw) told {
	w := told{sightings: map[string]bool{}, visits: map[string]topics.Visit{}, first: map[string][]string{}}
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
			v := topics.Visit{Method: p.method, Principal: p.principal, Place: p.place, Pane: p.pane, Outcome: r.outcome(), Horizon: horizon,
				Evidence: topics.Evidence{EventTime: r.at, EventID: r.id, Source: topics.Source{Partition: r.partition, Offset: r.offset}}}
			if horizon-r.at > late.Milliseconds() {
				v.Quiet = topics.Late
			}
			for _, method := range []string{p.method, topics.AnyMethod} {
				v.Method, p.method = method, method
				w.visits[spot(&v)] = v
				if k := fmt.Sprint(p, r.denied, v.Quiet); !seen[k] || method == topics.AnyMethod {
					seen[k] = true
					w.first[k] = append(w.first[k], spot(&v))
				}
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
	back   int // visits that were taken back
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

// retract takes visits back. A place where nobody else is left was never seen from then on.
func (w *windows) retract(r *topics.Retraction) {
	before := len(w.visits)
	maps.DeleteFunc(w.visits, func(p presence, _ topics.Outcome) bool {
		return p.method == r.Method && p.place == r.Place && p.principal == r.Principal && p.pane >= r.From && p.pane <= r.To
	})
	if w.back += before - len(w.visits); before == len(w.visits) {
		return
	}
	for p, o := range w.visits {
		if p.method == r.Method && p.place == r.Place && o&topics.Allowed != 0 {
			return
		}
	}
	if w.first[r.Method][r.Place] >= r.From {
		delete(w.first[r.Method], r.Place)
		delete(w.last[r.Method], r.Place)
	}
}

// record takes a record of detect's input.
func (w *windows) record(value []byte) error {
	var v topics.Visit
	var r topics.Retraction
	switch topics.KindOf(value) {
	case topics.KindPulse: // nobody listens to them here
		return nil
	case topics.KindRetraction:
		err := r.Decode(value)
		w.retract(&r)
		return err
	}
	if err := v.Decode(value); err != nil {
		return err
	}
	w.visit(&v, value)
	return nil
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
		if p.principal == v.Principal {
			d.Own++
		}
		if p.place == v.Place && p.principal != v.Principal {
			others[p.principal]++
		}
	}
	d.PlaceVisits, d.Support, d.Places = places[v.Place], places[v.Place], int64(len(places))
	d.Others = int64(len(others))
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

// undisturbed is triage as it must be: a task of its own over a plain map, which is fed the committed records of one partition in
// their order, without batches, aborts, stores or restores. What it scores is for the tests of triage to judge.
// What people decide, and what comes of it, is for people to judge.
type undisturbed struct {
	task   *triage.Task
	view   view
	people *people
	out    []string // alerts: documents
	back   []string // retractions, encoded
}

func newUndisturbed(partition int32) (*undisturbed, error) {
	u := &undisturbed{view: view{}, people: newPeople()}
	cfg := triageConfig
	cfg.Partition = partition
	var err error
	u.task, err = triage.NewTask(cfg, u.view, 0)
	return u, err
}

// triageConfig has a cap that some alerts meet.
var triageConfig = triage.Config{
	Threshold: threshold, Pane: time.Duration(pane) * time.Second, Window: time.Duration(span) * time.Second, LookBack: time.Duration(lookBack) * time.Second,
	Cap: 2, Partitions: 1,
}

func (u *undisturbed) record(value []byte, created int64) error {
	value = bytes.Clone(value)
	if err := u.people.hear(value, created); err != nil {
		return err
	}
	_, err := u.task.Record(value, created, u)
	u.people.done()
	return err
}

// Alert implements triage.Output.
func (u *undisturbed) Alert(a *alert.Alert) error {
	rec, err := stream.AlertRecord("", a, version)
	if err == nil {
		u.out = append(u.out, string(rec.Value))
		u.people.alert(a)
	}
	return err
}

// Retract implements triage.Output.
func (u *undisturbed) Retract(_, value []byte) error {
	u.back = append(u.back, string(value))
	u.people.retraction(value)
	return nil
}

func (u *undisturbed) rows() map[string]string {
	rows := map[string]string{}
	for k, v := range u.view {
		rows[k] = string(v)
	}
	return rows
}

// view is rows in a map.
type view map[string][]byte

func (v view) Get(key []byte) ([]byte, error) { return v[string(key)], nil }
func (v view) Set(key, value []byte)          { v[string(key)] = append([]byte{}, value...) }
func (v view) Delete(key []byte)              { delete(v, string(key)) }

func (v view) Scan(prefix []byte, fn func(key, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if strings.HasPrefix(k, string(prefix)) {
			if err := fn([]byte(k), v[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Next implements state.View.
func (v view) Next(prefix, from []byte) ([]byte, error) {
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if k >= string(from) && strings.HasPrefix(k, string(prefix)) {
			return []byte(k), nil
		}
	}
	return nil, nil
}
