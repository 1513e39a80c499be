package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// alert is what an engine raised: one for a stay of a principal in a place, until it was gone for three days, as farcall groups.
type alert struct {
	at       uint32 // event time of what leads it
	raised   uint32 // when it was first at or above the engine's threshold, both in seconds after dayZero
	score    float64
	incident int // -1: benign
	kind     string
	event    uint32 // that leads it
	last     uint32 // event time of the latest in it
}

// sight is an event as an engine sees it: in order of event time, without duplicates.
type sight struct {
	*event
	number    uint32 // in stream.events
	principal uint32
	place     uint16
}

// engine is a baseline: it says of each event how unusual it is, 0 for not at all.
type engine interface {
	name() string
	threshold() float64
	see(x sight, c *collector)
	close(c *collector)
}

// collector groups what an engine raises.
type collector struct {
	*stream
	engine engine
	groups map[groupKey]*alert
	list   []*alert
}

type groupKey struct {
	principal uint32
	place     uint16
}

// pause ends a stay.
const pause = 3 * day

// add raises a score for an event at the time that the engine would. also is another event that the alert shows.
func (c *collector) add(x sight, place uint16, score float64, raised uint32, also ...uint32) {
	if x.at < c.judgedFrom || score <= 0 {
		return
	}
	k := groupKey{x.principal, place}
	a := c.groups[k]
	if a == nil || x.at > a.last+pause {
		a = &alert{at: x.at, raised: math.MaxUint32, incident: -1, score: -1}
		c.groups[k] = a
		c.list = append(c.list, a)
	}
	a.last = max(a.last, x.at)
	for _, n := range append(also, x.number) {
		l := c.labelOf(&c.events[n])
		if l.incident >= 0 {
			a.incident = l.incident
		}
		if score > a.score {
			a.score, a.kind, a.event, a.at = score, l.kind, x.id, x.at
		}
	}
	if score >= c.engine.threshold() {
		a.raised = min(a.raised, raised)
	}
}

// runBaselines shows the stream to all engines in one pass.
func runBaselines(s *stream, engines []engine) [][]*alert {
	cs := make([]*collector, len(engines))
	for i, e := range engines {
		cs[i] = &collector{stream: s, engine: e, groups: map[groupKey]*alert{}}
	}
	for i := range s.events {
		e := &s.events[i]
		x := &s.sessions[e.session]
		if e.again || x.place == 0 {
			continue
		}
		for j, eng := range engines {
			eng.see(sight{e, uint32(i), x.principal, x.place}, cs[j])
		}
	}
	out := make([][]*alert, len(engines))
	for i, e := range engines {
		e.close(cs[i])
		out[i] = cs[i].list
	}
	return out
}

func baselines(s *stream) []engine {
	return []engine{newCountryRarity(s), newFirstPlace(byMethod), newFirstPlace(byPrincipal), newFirstPlace(byBoth), newTravel(s)}
}

// subject says of what a place is the first.
type subject int

const (
	byMethod subject = iota
	byPrincipal
	byBoth
)

const (
	// warmUp is how long a method or principal is only learned from.
	warmUp = 7 * day
	// freshFor is how long a place of a principal still counts as new for the baseline that wants both: the second call from a
	// new place can tell what the first could not.
	freshFor = day
)

// firstPlace alerts on the first event ever that a method, a principal, or both, have from a place. It ranks by how much
// history says otherwise, the logarithm of the hours in which the method or principal was seen, and by how few principals
// the place has had. On the worlds to tune by, the second term raised the average precision for principals from 0.46 to 0.71.
type firstPlace struct {
	subject    subject
	methods    map[uint16]*past
	principals map[uint32]*past
	crowd      map[uint16]int // principals ever seen, by place
}

type past struct {
	since  uint32
	hours  int
	last   uint32            // hour
	places map[uint16]uint32 // first seen
}

func newFirstPlace(s subject) *firstPlace {
	return &firstPlace{subject: s, methods: map[uint16]*past{}, principals: map[uint32]*past{}, crowd: map[uint16]int{}}
}

func (f *firstPlace) name() string {
	return [...]string{"first country of the method", "first country of the principal", "first country of both"}[f.subject]
}

func (*firstPlace) threshold() float64 { return 1 }
func (*firstPlace) close(*collector)   {}

func observe[K comparable](m map[K]*past, k K, x sight) *past {
	p := m[k]
	if p == nil {
		p = &past{since: x.at, last: math.MaxUint32, places: map[uint16]uint32{}}
		m[k] = p
	}
	if p.last != x.at/hour {
		p.last = x.at / hour
		p.hours++
	}
	if _, ok := p.places[x.place]; !ok {
		p.places[x.place] = x.at
	}
	return p
}

// novel scores a place that is new to a past, 1 to 100; 0 where it is not, or the past too short.
func (p *past) novel(x sight, within uint32) float64 {
	if x.at-p.since < warmUp || x.at-p.places[x.place] > within {
		return 0
	}
	return min(1+25*math.Log10(float64(p.hours)), 100)
}

func (f *firstPlace) see(x sight, c *collector) {
	known := func(p *past) bool { _, ok := p.places[x.place]; return ok }
	m, p := f.methods[x.method], f.principals[x.principal]
	newToMethod, newToPrincipal := m == nil || !known(m), p == nil || !known(p)
	m, p = observe(f.methods, x.method, x), observe(f.principals, x.principal, x)
	score := 0.0
	switch f.subject {
	case byMethod:
		if newToMethod {
			score = m.novel(x, 0)
		}
	case byPrincipal:
		if newToPrincipal {
			score = p.novel(x, 0)
		}
	case byBoth:
		if a, b := m.novel(x, 0), p.novel(x, freshFor); newToMethod && a > 0 && b > 0 {
			score = (a + b) / 2
		}
	}
	if score > 0 {
		score += 100 / float64(1+f.crowd[x.place])
	}
	if newToPrincipal {
		f.crowd[x.place]++
	}
	c.add(x, x.place, score, x.at+uint32(x.delay))
}

// countryRarity is the rule that most use today, after its documented behaviour, with exact counts: in each country apart,
// and hour by hour, how rare the methods of that hour are among all that were seen there. The hour is learned before it is
// judged; a country never seen has no opinion. What is delivered after its ten minutes were read is never seen, and the
// alert comes when the rule next looks after the hour was finished.
//
// Left out, in its favour: limits on memory and on alerts a run, and the rewriting of scores of up to 30 days ago.
type countryRarity struct {
	delay     uint32 // how long after each ten minutes they are read
	phase     uint32 // of the rule's rounds of 15 minutes
	hour      uint32
	pending   []sight
	countries map[string]*rarity
	histogram [200]int // of all results, by rarity, commonest first
	results   int
}

type rarity struct {
	hours map[uint16]int // hours in which a method was seen
	with  map[int]int    // methods that were seen in so many hours
	total int
}

const (
	// rareAt is the probability at which the rule's score reaches its threshold of 50, and commonAt that at which it is 0.
	rareAt   = .00263
	commonAt = .1
	// topShare: a score of 50 also wants the result to be among so many of all.
	topShare = .01
)

func newCountryRarity(s *stream) *countryRarity {
	r := rand.New(rand.NewPCG(s.seed, 'r'))
	return &countryRarity{delay: 60 + uint32(r.IntN(61)), phase: uint32(r.IntN(900)), countries: map[string]*rarity{}}
}

func (*countryRarity) name() string       { return "rare method in the country (shipped rule)" }
func (*countryRarity) threshold() float64 { return 50 }

func (f *countryRarity) see(x sight, c *collector) {
	if h := x.at / hour; h != f.hour {
		f.judge(c)
		f.hour = h
	}
	if x.at+uint32(x.delay) <= x.at/600*600+600+f.delay {
		f.pending = append(f.pending, x)
	}
}

func (f *countryRarity) close(c *collector) { f.judge(c) }

func (f *countryRarity) judge(c *collector) {
	type cell struct {
		country string
		method  uint16
	}
	seen := map[cell][]sight{}
	var cells []cell
	for _, x := range f.pending {
		k := cell{countryOfPlace(c.places[x.place]), x.method}
		if seen[k] == nil {
			cells = append(cells, k)
		}
		seen[k] = append(seen[k], x)
	}
	f.pending = f.pending[:0]
	for _, k := range cells {
		r := f.countries[k.country]
		if r == nil {
			r = &rarity{map[uint16]int{}, map[int]int{}, 0}
			f.countries[k.country] = r
		}
		n := r.hours[k.method]
		if r.with[n]--; r.with[n] <= 0 {
			delete(r.with, n)
		}
		r.hours[k.method]++
		r.with[n+1]++
		r.total++
	}
	ready := (f.hour+1)*hour + f.delay
	raised := ready + (900-(ready+f.phase)%900)%900
	for _, k := range cells {
		p := f.countries[k.country].tail(k.method)
		bin := min(int(-20*math.Log10(p)), len(f.histogram)-1)
		f.histogram[bin]++
		f.results++
		score := min(50*math.Log(p/commonAt)/math.Log(rareAt/commonAt), 100)
		if score >= 50 && !f.top(bin) {
			score = 49
		}
		// Every principal in the record is somebody to look at.
		for _, x := range seen[k] {
			c.add(x, x.place, score, raised)
		}
	}
}

// tail is the share of the methods seen in at most as many hours as this one.
func (r *rarity) tail(method uint16) float64 {
	n, below := r.hours[method], 0
	if len(r.with) < n {
		for k, methods := range r.with {
			if k <= n {
				below += k * methods
			}
		}
	} else {
		for k := 1; k <= n; k++ {
			below += k * r.with[k]
		}
	}
	return float64(below) / float64(r.total)
}

// top says whether a result is among the rarest.
func (f *countryRarity) top(bin int) bool {
	rarer := 0
	for _, n := range f.histogram[bin+1:] {
		rarer += n
	}
	return float64(rarer) < topShare*float64(f.results)
}

// travelSpeed finds principals that would have to travel faster than a plane between two calls. Places are the middles of
// countries, and a region of AWS is its country.
type travelSpeed struct {
	last map[uint32]sight
	seen map[groupKey]int // calls
}

const (
	planeSpeed = 900.0 // km/h
	// leastApart bounds the speed between calls of the same second.
	leastApart = 60
)

func newTravel(*stream) *travelSpeed {
	return &travelSpeed{last: map[uint32]sight{}, seen: map[groupKey]int{}}
}

func (*travelSpeed) name() string       { return "impossible travel" }
func (*travelSpeed) threshold() float64 { return 50 }
func (*travelSpeed) close(*collector)   {}

func (f *travelSpeed) see(x sight, c *collector) {
	last, ok := f.last[x.principal]
	f.last[x.principal] = x
	f.seen[groupKey{x.principal, x.place}]++
	if !ok || last.place == x.place {
		return
	}
	from, to := countryOfPlace(c.places[last.place]), countryOfPlace(c.places[x.place])
	if from == to {
		return
	}
	speed := c.lists.kilometres(from, to) * hour / float64(max(x.at-last.at, leastApart))
	// The two calls are one finding, about the place where the principal is less often.
	place := x.place
	if f.seen[groupKey{x.principal, last.place}] < f.seen[groupKey{x.principal, place}] {
		place = last.place
	}
	score := 50 * math.Log(1+speed/planeSpeed) / math.Ln2
	if score < 10 {
		return
	}
	raised := max(x.at+uint32(x.delay), last.at+uint32(last.delay))
	if c.labelOf(x.event).kind == ordinary || c.labelOf(last.event).incident >= 0 {
		c.add(x, place, score, raised, last.number)
	} else {
		c.add(x, place, score, raised)
	}
}

// atOrAbove are the alerts at or above a threshold.
func atOrAbove(alerts []*alert, threshold float64) []*alert {
	return slices.DeleteFunc(slices.Clone(alerts), func(a *alert) bool { return a.score < threshold })
}
