package triage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// group is the row of one alert: the facts of one stay of a principal in one place. Facts are sets, minima and maxima, so
// that they do not depend on the order in which they came.
type group struct {
	version     int64 // grows with every change
	route       route // where its versions go
	verdict     verdict
	timely      bool  // not all of it came late or was imported
	first, last int64 // event times, Unix milliseconds; last may lie before first, where only its pane is known
	outcome     topics.Outcome

	lead    topics.Anomaly // of the method that tells most; without one, Score 0 and the visit of the earliest sighting
	methods []alert.Method // by First, then name
	dropped int64
	// organisation is the earliest word about the place over all methods; a Score of 0 if it is usual there.
	organisation topics.Anomaly

	clients, keys []string // sorted
	networks      networks
	overlap       overlap

	told judgement // as the last version had it
}

// route is where the versions of an alert go. It is on disk: never reuse a number.
type route byte

const (
	untold   route = 0 // nowhere: it never crossed the threshold
	sent     route = 1 // to the SIEM
	capped   route = 2 // held back by the cap
	excepted route = 3 // held back by an exception
)

// verdict is what a person found an alert to be. It is on disk: never reuse a number.
type verdict byte

const (
	undecided verdict = 0
	benign    verdict = 1
	malicious verdict = 2
)

// overlap is what the principal did elsewhere at a time that leaves no way between the two places.
type overlap struct {
	place string
	hours int64 // apart at the most
	km    int64 // apart at the least
}

func (o overlap) speed() float64 { return float64(o.km) / float64(max(o.hours, 1)) }

const groupVersion = 1

// maxMethods bounds the row: past it methods are only counted, and which ones they are depends on the order. A sweep through
// every service that an account uses stays far below.
const maxMethods = 2000

// impossibleSpeed, in km/h, is what no airliner reaches from door to door.
const impossibleSpeed = 900

// span takes the visit's time into the group and says whether that changed anything.
func (g *group) span(v *topics.Visit) bool {
	changed := false
	// A sighting that is told again carries a later time, which must change nothing: it reaches up to its pane only.
	if at := v.Evidence.EventTime; g.leaderless() && g.organisation.Visit.Method == "" || at < g.first {
		g.first, changed = at, true
	}
	if at := v.Pane * 1000; at > g.last {
		g.last, changed = at, true
	}
	if o := g.outcome | v.Outcome; o != g.outcome {
		g.outcome, changed = o, true
	}
	if v.Quiet == topics.Timely && !g.timely {
		g.timely, changed = true, true
	}
	return changed
}

// sighted unites a sighting with the group and says whether that changed anything.
func (g *group) sighted(s *topics.Sighting) bool {
	changed := g.span(&s.Visit)
	for _, in := range [...]struct {
		set  *[]string
		name string
	}{{&g.clients, s.Client}, {&g.keys, s.KeyID}} {
		at, found := slices.BinarySearch(*in.set, in.name)
		if in.name == "" || found || len(*in.set) >= maxOthers {
			continue
		}
		*in.set, changed = slices.Insert(*in.set, at, in.name), true
	}
	if g.networks.add(s.Network, s.Visit.Evidence.NetworkName) {
		changed = true
	}
	if a := (topics.Anomaly{Level: topics.Frequent, Visit: s.Visit}); g.leaderless() || g.lead.Score == 0 && leads(&a, &g.lead) {
		g.lead, changed = a, true
	}
	return changed
}

// quiet says whether there is nothing in the group but where the principal is. Once it is not, it never is again.
func (g *group) quiet() bool {
	return g.route == untold && g.verdict == undecided && len(g.methods) == 0 && g.dropped == 0 && g.organisation.Visit.Method == ""
}

func (g *group) leaderless() bool { return g.lead.Visit.Method == "" }

// add unites an anomaly with the group and says whether that changed anything.
func (g *group) add(a *topics.Anomaly) bool {
	v := &a.Visit
	changed := g.span(v)
	at := v.Evidence.EventTime
	if v.Method == topics.AnyMethod {
		o := &g.organisation
		if o.Visit.Method == "" || cmp.Or(cmp.Compare(v.Pane, o.Visit.Pane), telling(a, o)) < 0 {
			*o, changed = *a, true
		}
		return changed
	}
	if at > g.last {
		g.last, changed = at, true
	}
	if g.leaderless() || leads(a, &g.lead) {
		g.lead, changed = *a, true
	}
	m := alert.Method{
		Name: v.Method, Score: a.Score, Level: a.Level, Outcome: v.Outcome, First: at, EventID: v.Evidence.EventID, Account: v.Evidence.Account,
		New: a.Distribution.Own == 0,
	}
	i := slices.IndexFunc(g.methods, func(o alert.Method) bool { return o.Name == m.Name && o.Account == m.Account })
	switch {
	case i >= 0:
		o := &g.methods[i]
		before := *o
		o.Outcome |= m.Outcome
		if cmp.Or(cmp.Compare(m.First, o.First), cmp.Compare(m.EventID, o.EventID)) < 0 {
			o.First, o.EventID, o.New = m.First, m.EventID, m.New
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

// leads says whether a tells more than b.
func leads(a, b *topics.Anomaly) bool { return telling(a, b) < 0 }

// telling orders anomalies by how much they tell: the higher score first, then the earlier event, then the method's name. No two
// events are equal, so that what comes first does not depend on the order in which they came.
func telling(a, b *topics.Anomaly) int {
	return cmp.Or(
		cmp.Compare(b.Score, a.Score),
		cmp.Compare(a.Visit.Evidence.EventTime, b.Visit.Evidence.EventTime),
		cmp.Compare(a.Visit.Method, b.Visit.Method),
		cmp.Compare(a.Visit.Evidence.EventID, b.Visit.Evidence.EventID),
	)
}

// elsewhere notes that the principal was in another place, gap panes apart, and says whether that changed anything: whether
// it was too far to get there, and farther than what is noted.
func (g *group) elsewhere(here, there string, gap, width int64) bool {
	km, ok := geo.Distance(here, there)
	// Presences are told by the pane: they may lie apart by one pane more than the panes do.
	o := overlap{place: there, hours: (gap + 1) * width / 3600, km: int64(math.Round(km))}
	if !ok || o.speed() < impossibleSpeed {
		return false
	}
	if is, was := o.speed(), g.overlap.speed(); is < was || is == was && g.overlap.place <= there {
		return false
	}
	g.overlap = o
	return true
}

func (g *group) append(b []byte) []byte {
	b = append(b, groupVersion)
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	number(g.version)
	b = append(b, byte(g.route), byte(g.verdict), truth(g.timely), byte(g.outcome))
	number(g.first)
	number(g.last)
	number(g.dropped)
	for _, a := range [...]*topics.Anomaly{&g.lead, &g.organisation} {
		at := len(b)
		if a.Visit.Method != "" {
			b = a.Append(b, nil)
		}
		var length [binary.MaxVarintLen64]byte
		b = slices.Insert(b, at, length[:binary.PutUvarint(length[:], uint64(len(b)-at))]...)
	}
	number(int64(len(g.methods)))
	for i := range g.methods {
		m := &g.methods[i]
		text(m.Name)
		text(m.EventID)
		text(m.Account)
		number(int64(m.Score*100 + 0.5))
		b = append(b, byte(m.Level), byte(m.Outcome), truth(m.New))
		number(m.First)
	}
	for _, set := range [...][]string{g.clients, g.keys} {
		number(int64(len(set)))
		for _, s := range set {
			text(s)
		}
	}
	number(int64(len(g.networks)))
	for _, n := range g.networks {
		text(n.Number)
		text(n.Name)
	}
	text(g.overlap.place)
	number(g.overlap.hours)
	number(g.overlap.km)
	number(g.told.score)
	b = binary.LittleEndian.AppendUint64(b, g.told.why)
	return b
}

// head reads of a row what is before the anomalies, the times among it, and returns what is left of it.
func (g *group) head(b []byte) (rowReader, error) {
	if len(b) == 0 || b[0] == 0 {
		return rowReader{}, fmt.Errorf("%w: alert row: empty", state.ErrRow)
	}
	if b[0] > groupVersion {
		return rowReader{}, fmt.Errorf("%w: alert row version %d, this build knows up to %d", state.ErrFormat, b[0], groupVersion)
	}
	r := rowReader{b: b[1:]}
	g.version = r.number()
	g.route, g.verdict, g.timely, g.outcome = route(r.byte()), verdict(r.byte()), r.truth(), topics.Outcome(r.byte())
	g.first, g.last, g.dropped = r.number(), r.number(), r.number()
	return r, r.fault("alert row")
}

// decode reads a row. The strings of its anomalies alias b.
func (g *group) decode(b []byte) error {
	r, err := g.head(b)
	if err != nil {
		return err
	}
	for _, a := range [...]*topics.Anomaly{&g.lead, &g.organisation} {
		if v := r.bytes(); len(v) > 0 {
			if err := a.Decode(v); err != nil {
				return fmt.Errorf("%w: alert row: %w", state.ErrRow, err)
			}
		}
	}
	for range r.count() {
		g.methods = append(g.methods, alert.Method{
			Name: r.text(), EventID: r.text(), Account: r.text(), Score: float64(r.number()) / 100,
			Level: topics.Level(r.byte()), Outcome: topics.Outcome(r.byte()), New: r.truth(), First: r.number(),
		})
	}
	for _, set := range [...]*[]string{&g.clients, &g.keys} {
		for range r.count() {
			*set = append(*set, r.text())
		}
	}
	for range r.count() {
		g.networks = append(g.networks, network{r.text(), r.text()})
	}
	g.overlap = overlap{place: r.text(), hours: r.number(), km: r.number()}
	g.told = judgement{score: r.number(), why: r.word()}
	return r.end("alert row")
}
