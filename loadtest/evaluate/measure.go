package main

import (
	"cmp"
	"math"
	"slices"
)

// budgets are the benign alerts a day at which recall is measured; those of the table are among them.
var budgets = []float64{1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200}

// kindBudget is the one at which recall is told by kind.
const kindBudget = 10

// share is a part of a whole.
type share struct {
	Caught int `json:"caught"`
	Of     int `json:"of"`
}

func (s share) ratio() float64 {
	if s.Of == 0 {
		return math.NaN()
	}
	return float64(s.Caught) / float64(s.Of)
}

// result is how one engine did in one simulation.
type result struct {
	Engine    string             `json:"engine"`
	Threshold float64            `json:"threshold"`
	Caught    map[string]share   `json:"caught"`     // by kind of intrusion, at the threshold
	ByPlace   share              `json:"by_place"`   // all kinds but the victim's own country
	BenignDay map[string]float64 `json:"benign_day"` // alerts a day at the threshold, by kind
	Benign    float64            `json:"benign"`     // the same, of all kinds
	AlertsDay float64            `json:"alerts_day"` // those of intrusions too
	Delays    []float64          `json:"delays"`     // seconds from the delivery of an intrusion's first call, one an intrusion caught
	RecallAt  []float64          `json:"recall_at"`  // at each of the budgets
	KindsAt   map[string]float64 `json:"kinds_at_10"`
	AP        float64            `json:"average_precision"`
}

// measure counts what an engine's alerts of the judged days are worth: fired are those that were at or above the threshold at some
// time, whatever their last score.
//
// An incident is caught by an alert that fired and shows one of its events. More alerts of the same incident
// are neither right nor wrong. Incidents of the victim's own country, and alerts of them, count for nothing but their own kind.
func measure(s *stream, name string, threshold float64, alerts, fired []*alert) result {
	res := result{Engine: name, Threshold: threshold, Caught: map[string]share{}, BenignDay: map[string]float64{}, KindsAt: map[string]float64{}}
	days := s.judgedDays()
	raised := map[int]uint32{}
	for _, a := range fired {
		res.AlertsDay += 1 / days
		if a.incident < 0 {
			res.Benign += 1 / days
			res.BenignDay[a.kind] += 1 / days
			continue
		}
		if at, ok := raised[a.incident]; !ok || a.raised < at {
			raised[a.incident] = a.raised
		}
	}
	for n, in := range s.incidents {
		at, ok := raised[n]
		c := res.Caught[in.kind]
		c.Of++
		if ok {
			c.Caught++
			res.Delays = append(res.Delays, float64(at)-float64(in.known))
		}
		res.Caught[in.kind] = c
		if in.kind != homeCountry {
			res.ByPlace.Of++
			if ok {
				res.ByPlace.Caught++
			}
		}
	}
	slices.Sort(res.Delays)
	ranked := rank(s, alerts)
	for _, b := range budgets {
		expected := 0.0
		for n, chance := range caughtAt(ranked, b*days) {
			expected += chance
			if b == kindBudget {
				res.KindsAt[s.incidents[n].kind] += chance / float64(res.Caught[s.incidents[n].kind].Of)
			}
		}
		res.RecallAt = append(res.RecallAt, expected/float64(res.ByPlace.Of))
	}
	res.AP = averagePrecision(ranked, res.ByPlace.Of)
	return res
}

// tie is what the alerts of one score bring.
type tie struct {
	benign    int
	incidents map[int]int // alerts by incident
}

// rank orders alerts by score, equal ones together, without those of the victim's own country.
func rank(s *stream, alerts []*alert) []tie {
	sorted := slices.DeleteFunc(slices.Clone(alerts), func(a *alert) bool { return a.incident >= 0 && s.incidents[a.incident].kind == homeCountry })
	slices.SortStableFunc(sorted, func(a, b *alert) int { return cmp.Compare(b.score, a.score) })
	var ties []tie
	for i, a := range sorted {
		if i == 0 || a.score != sorted[i-1].score {
			ties = append(ties, tie{incidents: map[int]int{}})
		}
		t := &ties[len(ties)-1]
		if a.incident < 0 {
			t.benign++
		} else {
			t.incidents[a.incident]++
		}
	}
	return ties
}

// caughtAt is how likely each incident is caught by the alerts of the highest scores while no more than budget of them are
// benign. Where the budget ends among equals, they are taken by lot.
func caughtAt(ties []tie, budget float64) map[int]float64 {
	caught := map[int]float64{}
	for _, t := range ties {
		lot := 1.0
		if float64(t.benign) > budget {
			lot = budget / float64(t.benign)
		}
		for n, k := range t.incidents {
			if caught[n] < 1 {
				caught[n] = 1 - math.Pow(1-lot, float64(k))
			}
		}
		if budget -= float64(t.benign); budget < 0 {
			break
		}
	}
	return caught
}

// averagePrecision is the sum, over the distinct scores from the highest down, of the recall gained times the precision
// there; an incident counts once, and equals come together.
func averagePrecision(ties []tie, incidents int) float64 {
	caught := map[int]bool{}
	benign, ap := 0, 0.0
	for _, t := range ties {
		before := len(caught)
		benign += t.benign
		for n := range t.incidents {
			caught[n] = true
		}
		if gained := len(caught) - before; gained > 0 {
			ap += float64(gained) / float64(incidents) * float64(len(caught)) / float64(len(caught)+benign)
		}
	}
	return ap
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[int(q*float64(len(sorted)-1)+.5)]
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
