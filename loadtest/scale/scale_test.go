package main

import (
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/farcall/farcall/loadtest/generate"
)

func small(t *testing.T) *spread {
	t.Helper()
	o := generate.DefaultOptions()
	const events = 200_000
	o.Rate, o.Machines, o.People, o.Accounts = events/3600., 300, 2_000, 50
	s, err := simulate(o, events, rawPartitions, spreadRaw, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSpread: what is told grows with raw partitions and never past one visit an event; telling once takes the skew out; and where one
// key has half of all records, the hottest partition has half of the load, however many there are.
func TestSpread(t *testing.T) {
	s := small(t)
	for i, n := range s.told {
		if n.visits <= 0 || n.visits > 1 || n.presences > n.visits {
			t.Errorf("%d raw partitions tell %v visits and %v of any method an event", n.raw, n.visits, n.presences)
		}
		if i > 0 && (n.visits <= s.told[i-1].visits || n.presences <= s.told[i-1].presences) {
			t.Errorf("%d raw partitions tell no more than %d", n.raw, s.told[i-1].raw)
		}
	}
	each, noAny := s.keyings[0], s.keyings[3]
	if each.top != "s3:PutObject" || math.Abs(each.topShare-.474) > .01 {
		t.Errorf("%v of all events are of %s", each.topShare, each.top)
	}
	if visits := s.keyings[visitsKeying]; visits.top != "*" {
		t.Errorf("most visits are of %s", visits.top)
	}
	for i, n := range partitions {
		if got := each.hottest[i] / float64(n); got < each.topShare || got > each.topShare+.1 {
			t.Errorf("of %d partitions the hottest has %v of the load, its key %v", n, got, each.topShare)
		}
		if noAny.hottest[i] >= each.hottest[i] {
			t.Errorf("with %d partitions telling once is hotter (%v) than every event (%v)", n, noAny.hottest[i], each.hottest[i])
		}
	}
	if s.rows == 0 || s.rowBytes[0] >= s.rowBytes[1] || s.known == 0 {
		t.Errorf("%d rows of %v bytes, %d principals", s.rows, s.rowBytes, s.known)
	}
}

// TestSize holds the formulae against sums made by hand.
func TestSize(t *testing.T) {
	s := &spread{rows: 20, told: []told{{1, .1, .02, .06}, {512, .1, .02, .06}}, keyings: make([]keying, 5)}
	for i := range s.keyings {
		s.keyings[i].hottest = []float64{2, 2, 2, 2, 2, 2}
	}
	s.keyings[3].topShare = .5
	c := defaults()
	c.routeEvent, c.routeTold, c.detectVisit, c.triageSighting, c.commitTakes, c.use, c.commit, c.memory = 4, 10, 10, 50, 5, .5, .5, 1e9
	z := c.size(100_000, s, 100, 1000)
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9*max(1, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("route", z.route, .4+.2) // 100,000 · (4 + 0.2 · 10) µs
	near("workers of route", z.wr, 2)
	near("processes that tell", z.tellers, 2)
	near("raw partitions", z.raw, 8)
	near("detect", z.detect, .12)
	near("triage", z.triage, .1)
	near("any method", z.any, .02)
	near("hottest of detect", z.hotVisits, .12/32*2)
	near("markers", z.markers, (2*65+8)/.5+(32+1*33+32+1*9)/.25)
	near("processes", z.processes(), 2)
	near("commits", z.commits(2), (2+2*2+2*2)/.5*.005) // each process has workers of its own, needed or not
	c.commitTakes = 50                                 // half a core for each process, which has one to plan with: (0.82 + 0.5 p) ≤ p
	near("processes, with dear commits", z.processes(), 2)
	c.commitTakes = 60 // (0.82 + 0.6 p) ≤ p
	near("processes, with dearer commits", z.processes(), 3)
	c.commitTakes = 100
	if n := z.processes(); !math.IsInf(n, 1) {
		t.Errorf("%v processes, each full by its own commits", n)
	}
	near("rows", z.rows, 20*360)
	near("remembered", z.remembered, 100_000*3600*(.1+2*.02)/2)
	// 0.5 core / (0.1 visits · 10 µs) / 0.5 of them
	text := breaks(c, s)
	if first := "1. At 1,000,000 events/s: the worker of detect that has the method"; !strings.HasPrefix(text, first) {
		t.Errorf("%s", text)
	}
	// and 0.5 core / (0.02 · 10 µs)
	if second := "\n2. At 2,500,000 events/s: the worker of detect that hears of any method"; !strings.Contains(text, second) {
		t.Errorf("%s", text)
	}
	c.memory = 1 << 20 // of one process: 2^20 / (3,600 s · 0.14)
	if first := "1. At 2,100 events/s: the memory that the route of a process has"; !strings.HasPrefix(breaks(c, s), first) {
		t.Errorf("%s", breaks(c, s))
	}
}

// TestPage: the page that is there has the form that the program gives it, with the costs of today.
func TestPage(t *testing.T) {
	o := generate.DefaultOptions()
	o.Machines, o.People, o.Accounts = 300, 2_000, 50
	text, err := render(defaults(), o, 50_000)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../SCALE.md")
	if err != nil {
		t.Fatal(err)
	}
	// Numbers, the hottest keys, and which limit is first follow from the size of the simulation.
	number, key, limit := regexp.MustCompile(`[\d.,]+`), regexp.MustCompile("(?m)^(\\| (?:every|told)[^|]*\\| )`[^`]*`"),
		regexp.MustCompile(`(?m)^# At .*$`)
	shape := func(s string) string {
		return limit.ReplaceAllString(number.ReplaceAllString(key.ReplaceAllString(s, "$1"), "#"), "")
	}
	if shape(string(text)) != shape(string(page)) {
		t.Error("loadtest/SCALE.md is not what the program writes: go run ./loadtest/scale -write loadtest/SCALE.md")
	}
	c := defaults()
	if !strings.Contains(string(page), c.table()) {
		t.Error("the costs in loadtest/SCALE.md are not the defaults of the program")
	}
}
