package main

import "math"

// The models below answer what detect's method score answers, how likely a place at most this likely is for a method, and nothing
// else: what is known of the principal is left out. They see presences, one for each principal, place and hour, over a window of
// 30 days, and score before they learn; denied calls are scored and not learned. All use the same curve. --models has them judged.

// model says how likely a place at most this likely is.
type model struct {
	title string
	scope func(x sight, s *stream) methodKey
	// tail gets the presences by place, without the busiest other principal's repetitions at the place in question.
	tail func(n map[uint16]float64, place uint16, total float64) float64
	// halfLife of a presence in days; 0: it counts whole until it leaves the window.
	halfLife float64
}

type methodKey struct {
	method  uint16
	account string
}

const window = 30 * day

func overall(x sight, _ *stream) methodKey { return methodKey{method: x.method} }

func perAccount(x sight, s *stream) methodKey {
	return methodKey{x.method, s.sessions[x.session].account}
}

// models are the candidates.
func models() []model {
	return []model{
		{title: "Dirichlet–multinomial, ½ on unseen places (farcall's)", scope: overall, tail: dirichlet(.5)},
		{title: "Dirichlet–multinomial, 1", scope: overall, tail: dirichlet(1)},
		{title: "Dirichlet–multinomial, 2", scope: overall, tail: dirichlet(2)},
		{title: "Dirichlet–multinomial, ½, per account", scope: perAccount, tail: dirichlet(.5)},
		{title: "Dirichlet–multinomial, ½, half-life 10 days", scope: overall, tail: dirichlet(.5), halfLife: 10},
		{title: "Good–Turing", scope: overall, tail: goodTuring},
		{title: "Pitman–Yor, discount ¼", scope: overall, tail: pitmanYor(.25, .5)},
		{title: "Pitman–Yor, discount ½", scope: overall, tail: pitmanYor(.5, .5)},
	}
}

// atMost sums the presences of other places with at most as many as the place.
func atMost(n map[uint16]float64, place uint16) (below float64, usual bool) {
	usual = n[place] > 0
	for p, v := range n {
		if p == place {
			continue
		}
		if v <= n[place] {
			below += v
		} else {
			usual = false
		}
	}
	return below, usual
}

// dirichlet is the posterior predictive of a Dirichlet prior with the given total weight on all unseen places.
func dirichlet(weight float64) func(map[uint16]float64, uint16, float64) float64 {
	return func(n map[uint16]float64, place uint16, total float64) float64 {
		below, usual := atMost(n, place)
		if usual {
			return 1
		}
		return (below + n[place] + weight) / (total + weight)
	}
}

// goodTuring gives unseen places the share of the places seen once (Good, "The population frequencies of species and the
// estimation of population parameters", 1953), and at least half a presence, or a method with no such place would be certain.
func goodTuring(n map[uint16]float64, place uint16, total float64) float64 {
	below, usual := atMost(n, place)
	if usual {
		return 1
	}
	once := 0.0
	for _, v := range n {
		if v == 1 {
			once++
		}
	}
	unseen := max(once, .5)
	return min(1, (below+n[place]+unseen)/(total+unseen))
}

// pitmanYor is the predictive of a Pitman–Yor process, (θ + d·places) / (θ + total) for all unseen places (Pitman and Yor, "The
// two-parameter Poisson–Dirichlet distribution", 1997).
func pitmanYor(discount, strength float64) func(map[uint16]float64, uint16, float64) float64 {
	return func(n map[uint16]float64, place uint16, total float64) float64 {
		below, usual := atMost(n, place)
		if usual {
			return 1
		}
		seen := 0.0
		for p, v := range n {
			if v <= n[place] || p == place {
				seen++
			}
		}
		return min(1, (below+n[place]-discount*seen+strength+discount*float64(len(n)))/(total+strength))
	}
}

// methodScore is an engine of one model.
type methodScore struct {
	model
	known map[presenceKey]bool // scored or learned already
	past  map[methodKey]*presences
	queue []learned // in order of time, to leave the window
}

type presenceKey struct {
	method    methodKey
	principal uint32
	place     uint16
	hour      uint32
	denied    bool
}

type learned struct {
	method    methodKey
	principal uint32
	place     uint16
	at        uint32
}

type presences struct {
	places map[uint16]map[uint32][]uint32 // times, by place and principal
}

func newMethodScore(m model) *methodScore {
	return &methodScore{model: m, known: map[presenceKey]bool{}, past: map[methodKey]*presences{}}
}

func (f *methodScore) name() string     { return f.title }
func (*methodScore) threshold() float64 { return 50 }
func (*methodScore) close(*collector)   {}

func (f *methodScore) see(x sight, c *collector) {
	for len(f.queue) > 0 && f.queue[0].at+window <= x.at {
		l := f.queue[0]
		f.queue = f.queue[1:]
		of := f.past[l.method].places[l.place]
		if of[l.principal] = of[l.principal][1:]; len(of[l.principal]) == 0 {
			delete(of, l.principal)
		}
	}
	m := f.scope(x, c.stream)
	k := presenceKey{m, x.principal, x.place, x.at / hour, x.denied}
	if f.known[k] {
		return
	}
	f.known[k] = true
	p := f.past[m]
	if p == nil {
		p = &presences{places: map[uint16]map[uint32][]uint32{}}
		f.past[m] = p
	}
	if x.at >= c.judgedFrom {
		c.add(x, x.place, f.score(p, x), x.at+uint32(x.delay))
	}
	if x.denied {
		return
	}
	of := p.places[x.place]
	if of == nil {
		of = map[uint32][]uint32{}
		p.places[x.place] = of
	}
	of[x.principal] = append(of[x.principal], x.at)
	f.queue = append(f.queue, learned{m, x.principal, x.place, x.at})
}

func (f *methodScore) score(p *presences, x sight) float64 {
	n, total := map[uint16]float64{}, 0.0
	for place, of := range p.places {
		sum, busiest := 0.0, 0.0
		for who, at := range of {
			w := float64(len(at))
			if f.halfLife > 0 {
				w = 0
				for _, t := range at {
					w += math.Exp2(-float64(x.at-t) / day / f.halfLife)
				}
			}
			sum += w
			if who != x.principal {
				busiest = max(busiest, w)
			}
		}
		if place == x.place {
			sum -= max(busiest-1, 0)
		}
		if sum > 0 {
			n[place] = sum
			total += sum
		}
	}
	prob := f.tail(n, x.place, total)
	return min(max(50*math.Log(prob/commonAt)/math.Log(.0026/commonAt), 0), 100)
}
