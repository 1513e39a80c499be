package main

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9 {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// case4 has four incidents by place and one that place can't catch, in ten judged days.
func case4() (*stream, []*alert) {
	s := &stream{days: 20, judgedFrom: 10 * day}
	for range 4 {
		s.incidents = append(s.incidents, incident{kind: farKey, known: 11 * day})
	}
	s.incidents = append(s.incidents, incident{kind: homeCountry, known: 11 * day})
	hit := func(score float64, incident int) *alert {
		return &alert{score: score, incident: incident, kind: farKey, raised: 11*day + 60}
	}
	miss := func(score float64, kind string) *alert { return &alert{score: score, incident: -1, kind: kind} }
	return s, []*alert{
		hit(90, 0), miss(80, travel), hit(70, 1), hit(65, 0), miss(60, vpn), miss(60, travel), hit(60, 2), hit(55, 4), miss(40, travel), hit(30, 3),
	}
}

func TestMeasure(t *testing.T) {
	s, alerts := case4()
	r := measure(s, "x", 50, alerts, atOrAbove(alerts, 50))
	if r.ByPlace != (share{3, 4}) || r.Caught[homeCountry] != (share{1, 1}) || r.Caught[farKey] != (share{3, 4}) {
		t.Errorf("caught %+v, %+v", r.ByPlace, r.Caught)
	}
	near(t, "benign a day", r.Benign, .3)
	near(t, "travel a day", r.BenignDay[travel], .2)
	near(t, "alerts a day", r.AlertsDay, .8)
	// By score: incident 0 at 1/1, 1 at 2/3, then two benign and incident 2 together at 3/6, 3 at 4/8.
	near(t, "average precision", r.AP, (1+2.0/3+3.0/6+4.0/8)/4)
	if len(r.Delays) != 4 || r.Delays[0] != 60 {
		t.Errorf("delays %v", r.Delays)
	}
	near(t, "recall at the largest budget", r.RecallAt[len(budgets)-1], 1)
	near(t, "by kind", r.KindsAt[farKey], 1)
	if _, ok := r.KindsAt[homeCountry]; ok {
		t.Error("the victim's own country counts in a budget")
	}
}

func TestBudgets(t *testing.T) {
	s, alerts := case4()
	ties := rank(s, alerts)
	for budget, want := range map[float64]float64{
		0:   1,    // the first alert comes before anything benign
		.5:  1,    // the benign one at 80 has nobody beside it
		1:   2,    // that one spent, incident 1 follows; of the two at 60 there is room for none
		2:   2.5,  // half of the equals at 60
		2.5: 2.75, //
		3:   3,    //
		4:   4,    // all
	} {
		sum := 0.0
		for _, c := range caughtAt(ties, budget) {
			sum += c
		}
		near(t, "incidents expected at a budget", sum, want)
	}
}

// TestLot: an incident with two alerts among equals has two chances.
func TestLot(t *testing.T) {
	got := caughtAt([]tie{{benign: 4, incidents: map[int]int{0: 1, 1: 2}}}, 1)
	near(t, "one alert", got[0], .25)
	near(t, "two alerts", got[1], 1-.75*.75)
	got = caughtAt([]tie{{incidents: map[int]int{0: 1}}, {benign: 4, incidents: map[int]int{0: 1}}}, 1)
	near(t, "caught before", got[0], 1)
}

func TestNoAlerts(t *testing.T) {
	s, _ := case4()
	r := measure(s, "x", 50, nil, nil)
	near(t, "average precision", r.AP, 0)
	near(t, "recall", r.RecallAt[0], 0)
	if r.ByPlace != (share{0, 4}) || r.Benign != 0 {
		t.Errorf("%+v", r)
	}
}

func TestKilometres(t *testing.T) {
	l := readLists()
	for _, c := range []struct {
		a, b     string
		from, to float64
	}{{"DE", "DE", 0, 0}, {"DE", "FR", 500, 1000}, {"US", "JP", 9000, 11000}, {"AU", "BR", 13000, 17000}} {
		if km := l.kilometres(c.a, c.b); km < c.from || km > c.to {
			t.Errorf("%s to %s: %.0f km, want %.0f to %.0f", c.a, c.b, km, c.from, c.to)
		}
	}
}
