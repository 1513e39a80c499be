package main

import (
	"math"
	"testing"
)

// call is a line of a stream made by hand.
type call struct {
	at        uint32
	principal uint32
	place     string
	method    uint16
	delay     uint16
}

func told(calls ...call) *stream {
	s := &stream{lists: readLists(), days: 60, places: []string{""}, placeIndex: map[string]uint16{"": 0}, labels: []label{{ordinary, -1}},
		principals: make([]principal, 1000)}
	for i, c := range calls {
		s.sessions = append(s.sessions, session{principal: c.principal, place: s.place(c.place)})
		s.events = append(s.events, event{at: c.at, id: uint32(i), session: uint32(i), method: c.method, delay: c.delay})
	}
	s.count = uint32(len(s.events))
	return s
}

// alerts are the events that lead alerts at or above the engine's threshold.
func alerts(s *stream, e engine) []uint32 {
	var got []uint32
	for _, a := range atOrAbove(runBaselines(s, []engine{e})[0], e.threshold()) {
		got = append(got, a.event)
	}
	return got
}

func expect(t *testing.T, what string, got []uint32, want ...uint32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: alerts on %v, want %v", what, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: alerts on %v, want %v", what, got, want)
		}
	}
}

func TestFirstPlace(t *testing.T) {
	calls := []call{
		{at: 0, principal: 1, place: "DE", method: 1},
		{at: 1 * day, principal: 1, place: "FR", method: 1},             // within the week of learning
		{at: 8 * day, principal: 1, place: "FR", method: 1},             // known
		{at: 9 * day, principal: 1, place: "BR", method: 1},             // new to both
		{at: 9*day + 2*hour, principal: 1, place: "BR", method: 1},      // known by now
		{at: 9*day + 3*hour, principal: 1, place: "BR", method: 2},      // a method that is new itself
		{at: 10 * day, principal: 2, place: "BR", method: 1},            // a principal that is new itself
		{at: 20 * day, principal: 2, place: "FR", method: 1},            // new to the principal alone
		{at: 21 * day, principal: 2, place: "DE", method: 2},            // new to both
		{at: 22*day + 3*hour, principal: 2, place: "DE", method: 1},     // more than a day later, and known to the method
		{at: 30 * day, principal: 1, place: "JP", method: 2},            // new to both
		{at: 30*day + 2*hour, principal: 1, place: "JP", method: 1},     // the same stay
		{at: 32 * day, principal: 1, place: "aws:us-east-1", method: 1}, // a region is a place
	}
	s := told(calls...)
	expect(t, "method", alerts(s, newFirstPlace(byMethod)), 3, 8, 10, 12)
	expect(t, "principal", alerts(s, newFirstPlace(byPrincipal)), 3, 7, 8, 10, 12)
	expect(t, "both", alerts(s, newFirstPlace(byBoth)), 3, 8, 10, 12)
}

// TestFirstPlaceRanks: more history, and a place that fewer have been to, rank higher.
func TestFirstPlaceRanks(t *testing.T) {
	var calls []call
	for h := range uint32(20 * 24) {
		calls = append(calls, call{at: h * hour, principal: 1, place: "DE", method: 1})
		if h%24 == 0 {
			calls = append(calls, call{at: h * hour, principal: 2, place: "DE", method: 1})
		}
	}
	calls = append(calls, call{at: 20 * day, principal: 3, place: "FR", method: 1}, call{at: 20*day + 1, principal: 1, place: "FR", method: 1},
		call{at: 20*day + 2, principal: 1, place: "BR", method: 1}, call{at: 20*day + 3, principal: 2, place: "PE", method: 1})
	score := map[string]float64{}
	s := told(calls...)
	for _, a := range runBaselines(s, []engine{newFirstPlace(byPrincipal)})[0] {
		score[s.places[s.sessions[a.event].place]] = a.score
	}
	if !(score["BR"] > score["FR"]) {
		t.Errorf("a place that nobody has been to scores %v, one that a colleague has %v", score["BR"], score["FR"])
	}
	if !(score["BR"] > score["PE"]) {
		t.Errorf("480 hours of history score %v, 20 score %v", score["BR"], score["PE"])
	}
}

// TestCountryRarity: the rule's documented behaviour.
func TestCountryRarity(t *testing.T) {
	var calls []call
	// Twenty methods an hour in one country for 20 days: 9,600 hours of methods.
	for h := range uint32(20 * 24) {
		for m := range uint16(20) {
			calls = append(calls, call{at: h * hour, principal: 1, place: "DE", method: m})
		}
	}
	known := uint32(len(calls))
	calls = append(calls,
		call{at: 20 * day, principal: 2, place: "DE", method: 500, delay: 100},              // rare at home: alert
		call{at: 20*day + hour, principal: 2, place: "BR", method: 501, delay: 100},         // a new country: no opinion
		call{at: 20*day + 2*hour, principal: 2, place: "DE", method: 502, delay: 1000},      // delivered too late to be seen
		call{at: 20*day + 3*hour + 300, principal: 3, place: "DE", method: 503, delay: 340}, // just in time for its ten minutes
		call{at: 20*day + 5*hour, principal: 1, place: "DE", method: 1},
	)
	s := told(calls...)
	e := newCountryRarity(s)
	got := runBaselines(s, []engine{e})[0]
	var loud []uint32
	for _, a := range atOrAbove(got, 50) {
		loud = append(loud, a.event)
		end := (a.at/hour + 1) * hour
		if wait := a.raised - end; wait < 60 || wait > 900+120 {
			t.Errorf("the alert comes %d s after the hour's end, want 60 to 1020", wait)
		}
	}
	expect(t, "rarity", loud, known, known+3)
}

func TestTail(t *testing.T) {
	// Of 10,000 hours: one method in 9,990, one in 7, three in 1.
	r := &rarity{hours: map[uint16]int{1: 9990, 2: 7, 3: 1, 4: 1, 5: 1}, with: map[int]int{9990: 1, 7: 1, 1: 3}, total: 10000}
	for method, want := range map[uint16]float64{1: 1, 2: .001, 3: .0003} {
		if got := r.tail(method); math.Abs(got-want) > 1e-12 {
			t.Errorf("method %d: %v, want %v", method, got, want)
		}
	}
	// The same by the other way of counting.
	if got := (&rarity{hours: map[uint16]int{2: 2}, with: map[int]int{2: 1, 1: 1, 9: 1, 8: 1}, total: 20}).tail(2); math.Abs(got-.15) > 1e-12 {
		t.Errorf("got %v, want 0.15", got)
	}
}

func TestImpossibleTravel(t *testing.T) {
	calls := []call{
		{at: 0, principal: 1, place: "DE"},
		{at: 12 * hour, principal: 1, place: "US"},              // a flight
		{at: 13 * hour, principal: 1, place: "DE"},              // no flight
		{at: 14 * hour, principal: 2, place: "US"},              // somebody else
		{at: 15 * hour, principal: 1, place: "DE"},              //
		{at: 15*hour + 1, principal: 1, place: "AT"},            // 570 km in a second: at least a minute is counted
		{at: 40 * hour, principal: 3, place: "US"},              //
		{at: 40*hour + 5, principal: 3, place: "aws:us-east-1"}, // a region lies in its country
		{at: 40*hour + 9, principal: 3, place: "aws:eu-central-1"},
	}
	s := told(calls...)
	expect(t, "travel", alerts(s, newTravel(s)), 2, 5, 8)
}

// TestTravelFindsTheIncident: when the victim's own call is the second of the two, the alert still shows the intruder's.
func TestTravelFindsTheIncident(t *testing.T) {
	s := told(call{at: 0, principal: 1, place: "DE"}, call{at: hour, principal: 1, place: "DE"}, call{at: 20 * hour, principal: 1, place: "JP"}, call{at: 21 * hour, principal: 1, place: "DE"})
	s.sessions[2].label = s.label(farKey, 0)
	s.incidents = []incident{{kind: farKey, principal: 1, place: "JP"}}
	s.sessions[3].label = s.label(vpn, -1) // whatever else is new about the victim's own call
	got := atOrAbove(runBaselines(s, []engine{newTravel(s)})[0], 50)
	if len(got) != 1 || got[0].incident != 0 {
		t.Errorf("%d alerts, %+v: want one of the incident", len(got), got)
	}
}

// TestGrouping: what a principal does from a place until it was gone for three days is one alert, with the best score and the
// first delivery.
func TestGrouping(t *testing.T) {
	s := told(call{at: 10, principal: 1, place: "BR", delay: 500}, call{at: 20, principal: 1, place: "BR", delay: 100}, call{at: 20 + pause + 1, principal: 1, place: "BR", delay: 5})
	c := &collector{stream: s, engine: newFirstPlace(byMethod), groups: map[groupKey]*alert{}}
	for i, score := range []float64{50, 70, 60} {
		e := &s.events[i]
		c.add(sight{e, uint32(i), 1, 1}, 1, score, e.at+uint32(e.delay))
	}
	if len(c.list) != 2 || c.list[0].score != 70 || c.list[0].event != 1 || c.list[0].raised != 120 || c.list[1].score != 60 {
		t.Errorf("groups %+v %+v", c.list[0], c.list[len(c.list)-1])
	}
}

// TestSecondDeliveriesAreNotSeen: nor what has no place.
func TestSecondDeliveriesAreNotSeen(t *testing.T) {
	s := told(call{at: 0, principal: 1, place: "DE"}, call{at: 8 * day, principal: 1, place: ""}, call{at: 9 * day, principal: 1, place: "BR"})
	s.events[2].again = true
	expect(t, "duplicates", alerts(s, newFirstPlace(byPrincipal)))
	s.events[2].again = false
	expect(t, "the same, delivered once", alerts(s, newFirstPlace(byPrincipal)), 2)
}
