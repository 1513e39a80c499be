package main

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// costs are what was measured, and what is assumed. Each is a flag.
type costs struct {
	routeEvent, routeTold, detectVisit, triageSighting float64 // CPU µs
	commitTakes                                        float64 // CPU ms
	rawBytes, toldBytes, detectBytes, triageBytes      float64 // on the broker, compressed, before replication
	profileBytes                                       float64
	use                                                float64 // share of a core that is planned with
	cores                                              float64 // of a process
	commit                                             float64 // s
	markers                                            float64 // a second, of a broker
	memory                                             float64 // presences that the route of a process remembers
	restoreRows                                        float64 // a second, of a process
	session, settle                                    float64 // s
	replicas, retention                                float64 // of topics; days
}

// cost is one of the inputs: its flag, where it comes from, and its unit.
type cost struct {
	flag, unit, what, from string
	value                  func(c *costs) *float64
}

var inputs = []cost{
	{"route-event", "µs", "CPU of route for an event: fetch, decode, look-up, memory of what was told",
		"RESULTS.md, Beside a bare consumer: route's CPU over both worlds, as a + b · records told",
		func(c *costs) *float64 { return &c.routeEvent }},
	{"route-told", "µs", "CPU of route for a record told", "the b of that", func(c *costs) *float64 { return &c.routeTold }},
	{"detect-visit", "µs", "CPU of detect for a visit", "RESULTS.md, Beside a bare consumer, default world: route and detect, less route, by visit, start-up included: 9 to 18 over three runs (4.4 in the worst world)",
		func(c *costs) *float64 { return &c.detectVisit }},
	{"triage-sighting", "µs", "CPU of triage for a sighting", "RESULTS.md, Beside a bare consumer, worst world: all stages, less route and detect, by sighting", func(c *costs) *float64 { return &c.triageSighting }},
	{"commit-takes", "ms", "CPU of a commit of a worker that is up to date, with the fetches before it", "RESULTS.md, Latency: the floor of a process that keeps up",
		func(c *costs) *float64 { return &c.commitTakes }},
	{"raw-bytes", "B", "event on the broker, zstd", "RESULTS.md, Beside a bare consumer: topic of the default world",
		func(c *costs) *float64 { return &c.rawBytes }},
	{"told-bytes", "B", "record told on the broker, compressed", "RESULTS.md, Beside a bare consumer, default world: route's bytes by record", func(c *costs) *float64 { return &c.toldBytes }},
	{"detect-bytes", "B", "changelog of detect for a visit", "RESULTS.md, Beside a bare consumer, default world: route and detect, less route, by visit",
		func(c *costs) *float64 { return &c.detectBytes }},
	{"triage-bytes", "B", "changelog of triage for a sighting", "RESULTS.md, Beside a bare consumer, default world: all stages, less route and detect, by sighting (390 in the worst world)",
		func(c *costs) *float64 { return &c.triageBytes }},
	{"profile-bytes", "B", "rows of triage for a principal", "state/FORMAT.md: 380 of a profile with two places, clients and networks, 720 of its stays with the facts of one; keys of 80",
		func(c *costs) *float64 { return &c.profileBytes }},
	{"use", "", "share of a core that is planned with, so that a backlog goes", "assumed", func(c *costs) *float64 { return &c.use }},
	{"cores", "", "cores of a process", "assumed", func(c *costs) *float64 { return &c.cores }},
	{"commit", "s", "between commits of route while its polls are small; half of it in detect and triage", "`stream.commit_interval`", func(c *costs) *float64 { return &c.commit }},
	{"markers", "1/s", "markers of transactions that a broker may write", "assumed: the aim", func(c *costs) *float64 { return &c.markers }},
	{"memory", "", "presences that the route of a process remembers", "`route.memory_entries`",
		func(c *costs) *float64 { return &c.memory }},
	{"restore-rows", "1/s", "rows that a process restores", "RESULTS.md, Restore: two stores at a time on the Xeon, the slower of two turns",
		func(c *costs) *float64 { return &c.restoreRows }},
	{"session", "s", "until a silent member's partitions go to others", "`stream.session_timeout`",
		func(c *costs) *float64 { return &c.session }},
	{"settle", "s", "from there to the next alert, but for rows that were not flushed",
		"RESULTS.md, Kills one by one: 11.9 s in the median, of which the session is 10", func(c *costs) *float64 { return &c.settle }},
	{"replicas", "", "replicas of each topic", "assumed", func(c *costs) *float64 { return &c.replicas }},
	{"retention", "days", "of the topics between the stages", "`topics.retention`", func(c *costs) *float64 { return &c.retention }},
}

// defaults are the costs as they were last measured.
func defaults() costs {
	return costs{
		routeEvent: 6.2, routeTold: 3.5, detectVisit: 13, triageSighting: 48, commitTakes: 3.6,
		rawBytes: 320, toldBytes: 280, detectBytes: 90, triageBytes: 730,
		profileBytes: 1100,
		use:          .6, cores: 2, commit: .1, markers: 5000, memory: 1 << 20, restoreRows: 500_000, session: 10, settle: 1.9, replicas: 3, retention: 7,
	}
}

func (c *costs) flags(f *flag.FlagSet) {
	for _, i := range inputs {
		what := i.what
		if i.unit != "" {
			what += ", " + i.unit
		}
		f.Float64Var(i.value(c), i.flag, *i.value(c), what)
	}
}

func (c *costs) table() string {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"flag", "value", "what", "from"})
	for _, i := range inputs {
		t.AppendRow(table.Row{"`-" + i.flag + "`", strings.TrimSpace(strconv.FormatFloat(*i.value(c), 'f', -1, 64) + " " + i.unit), i.what, i.from})
	}
	return t.RenderMarkdown()
}

// at interpolates what is told between the numbers that were simulated, of those who tell on their own, over their logarithm.
func (s *spread) at(raw float64) told {
	i := 1
	for i < len(s.told)-1 && raw > float64(s.told[i].raw) {
		i++
	}
	a, b := s.told[i-1], s.told[i]
	x := min(1, max(0, math.Log(raw/float64(a.raw))/math.Log(float64(b.raw)/float64(a.raw))))
	return told{int(raw), a.visits + x*(b.visits-a.visits), a.presences + x*(b.presences-a.presences), a.pulses + x*(b.pulses-a.pulses)}
}

// hottest is the load of the hottest partition of a keying, times the mean.
func (s *spread) hottest(keying int, n int) float64 {
	i := slices.Index(partitions, n)
	return s.keyings[keying].hottest[i]
}

// The keyings of a spread that sizes ask for.
const (
	visitsKeying     = 2
	principalsKeying = 4
)

// size is what one rate takes.
type size struct {
	c                      *costs
	rate                   float64
	told                   told
	raw                    float64 // partitions
	own                    int     // partitions of the topics between the stages
	route, detect, triage  float64 // cores in use
	wr, wd, wt             float64 // workers
	any                    float64 // cores that the visits of any method take, which one worker must take
	hotVisits, hotProfiles float64 // cores of the hottest partition
	markers                float64
	rows, rowBytes         float64
	principals             float64
	tellers                float64 // processes that tell, each on its own
	remembered             float64 // presences of an hour by one of them
}

func (c *costs) size(rate float64, s *spread, rowBytes float64, principals int) size {
	z := size{c: c, rate: rate, raw: 8, rows: float64(s.rows) * 720 / panesOfAnHour, rowBytes: rowBytes, principals: float64(principals)}
	// More processes, and more raw partitions, tell more, and more that is told needs more workers.
	for range 8 {
		z.tellers = max(1, min(z.wr, z.processes()))
		z.told = s.at(z.tellers)
		z.told.pulses = s.at(z.raw).pulses
		z.route = rate * (c.routeEvent + z.told.records()*c.routeTold) / 1e6
		z.wr = math.Ceil(z.route / c.use)
		z.raw = max(8, math.Exp2(math.Ceil(math.Log2(2*z.wr))))
		z.detect = rate * (z.told.visits + z.told.presences) * c.detectVisit / 1e6
		z.triage = rate * z.told.presences * c.triageSighting / 1e6
	}
	z.wd, z.wt = math.Ceil(z.detect/c.use), math.Ceil(z.triage/c.use)
	for _, z.own = range partitions {
		z.hotVisits, z.hotProfiles = z.detect/float64(z.own)*s.hottest(visitsKeying, z.own), z.triage/float64(z.own)*s.hottest(principalsKeying, z.own)
		if float64(z.own) >= 2*max(z.wd, z.wt) {
			break
		}
	}
	z.any = rate * z.told.presences * c.detectVisit / 1e6
	p := float64(z.own)
	z.markers = (z.wr*(2*p+1)+z.raw)/c.commit + (p+z.wd*(p+1)+p+z.wt*9)/(c.commit/2)
	z.remembered = rate * 3600 * (z.told.visits + 2*z.told.presences) / z.tellers
	return z
}

// panesOfAnHour: an hour of deliveries reaches into the panes before and behind it.
const panesOfAnHour = 2

// rememberedBytes is what a presence takes in route's memory (`route.memory_entries` in deploy/CONFIG.md).
const rememberedBytes = 20

// line is one of the table.
type line struct {
	name  string
	value func(z *size) string
}

func rounded(format string, f func(z *size) float64) func(z *size) string {
	return func(z *size) string { return fmt.Sprintf(format, f(z)) }
}

var lines = []line{
	{"raw partitions, two for each worker of route", rounded("%.0f", func(z *size) float64 { return z.raw })},
	{"events for each record told", rounded("%.1f", func(z *size) float64 { return 1 / z.told.records() })},
	{"records told a second", func(z *size) string { return thousands(int(z.rate * z.told.records())) }},
	{"cores in use: route, detect, triage", func(z *size) string { return fmt.Sprintf("%.2f, %.2f, %.2f", z.route, z.detect, z.triage) }},
	{"cores that their commits take, full or not", rounded("%.2f", func(z *size) float64 { return z.commits(z.processes()) })},
	{"workers: route, detect, triage", func(z *size) string { return fmt.Sprintf("%.0f, %.0f, %.0f", z.wr, z.wd, z.wt) }},
	{"processes", func(z *size) string { return fmt.Sprintf("%.0f", z.processes()) }},
	{"partitions of the topics between the stages", func(z *size) string { return fmt.Sprint(z.own) }},
	{"cores that the hottest partition takes: detect, triage", func(z *size) string {
		return fmt.Sprintf("%.2f, %.2f", z.hotVisits,
			z.hotProfiles)
	}},
	{"of it, visits of any method", rounded("%.2f", func(z *size) float64 { return z.any })},
	{"raw topics read, MB/s", rounded("%.1f", func(z *size) float64 { return z.rate * z.c.rawBytes / 1e6 })},
	{"told and changelogs written, MB/s before replication", rounded("%.2f", func(z *size) float64 { return z.written() })},
	{"changelogs of that, MB/s", rounded("%.2f", func(z *size) float64 { return z.changelogs() })},
	{"disk of the topics between the stages, GB with replicas", rounded("%.0f", func(z *size) float64 {
		return (z.written() - z.changelogs()) * z.c.retention * 86_400 * z.c.replicas / 1e3
	})},
	{"markers a second", func(z *size) string { return thousands(int(z.markers)) }},
	{"brokers that takes", rounded("%.0f", func(z *size) float64 { return math.Ceil(z.markers / z.c.markers) })},
	{"rows of detect, million", rounded("%.1f", func(z *size) float64 { return z.rows / 1e6 })},
	{"their size, GB", rounded("%.2f", func(z *size) float64 { return z.rows * z.rowBytes / 1e9 })},
	{"rows of triage, GB", rounded("%.2f", func(z *size) float64 { return z.principals * z.c.profileBytes / 1e9 })},
	{"all stores gone: ready after, s", rounded("%.0f", func(z *size) float64 { return z.restore(z.processes()) })},
	{"a process gone for good: next alert after, s", rounded("%.0f", func(z *size) float64 {
		return z.c.session + z.c.settle + z.restore(z.processes())/max(1, z.processes()-1)
	})},
	{"presences of an hour for the route of a process to remember (`route.memory_entries`)",
		func(z *size) string { return thousands(int(z.remembered)) }},
	{"memory that takes over all processes, GB", rounded("%.2f",
		func(z *size) float64 { return z.remembered * z.tellers * rememberedBytes / 1e9 })},
}

// processes are as many as have the cores for the stages and for their own commits.
func (z *size) processes() float64 {
	has := z.c.use * z.c.cores
	if own := 5 / z.c.commit * z.c.commitTakes / 1e3; own >= has {
		return math.Inf(1) // full by its own
	}
	stages := z.route + z.detect + z.triage
	p := max(2, math.Ceil(stages/has))
	for stages+z.commits(p) > p*has {
		p++
	}
	return p
}

// commits are the cores that commits take, full or not, where so many processes have a worker of each stage at the least.
func (z *size) commits(processes float64) float64 {
	return (max(z.wr, processes) + 2*max(z.wd, processes) + 2*max(z.wt, processes)) / z.c.commit * z.c.commitTakes / 1e3
}

func (z *size) changelogs() float64 {
	return z.rate * ((z.told.visits+z.told.presences)*z.c.detectBytes + z.told.presences*z.c.triageBytes) / 1e6
}

func (z *size) written() float64 {
	return z.rate*z.told.records()*z.c.toldBytes/1e6 + z.changelogs()
}

// restore is how long a process takes for its share of all rows, where there are so many processes.
func (z *size) restore(processes float64) float64 {
	return (z.rows + z.principals) / processes / z.c.restoreRows
}

// reached is the lowest rate at which something is too much, or 0 where nothing up to a thousand million events a second is.
func (c *costs) reached(s *spread, over func(z *size) bool) float64 {
	is := func(rate float64) bool {
		z := c.size(rate, s, 0, 0)
		return over(&z)
	}
	const step = 1.02
	for rate := 1e3; rate < 1e9; rate *= step {
		if !is(rate) {
			continue
		}
		low, high := rate/step, rate
		for range 30 {
			if mid := (low + high) / 2; is(mid) {
				high = mid
			} else {
				low = mid
			}
		}
		return high
	}
	return 0
}

// breaks says at which rate each limit is reached, the lowest first.
func breaks(c costs, s *spread) string {
	type limit struct {
		what string
		rate float64
	}
	limits := []limit{
		{"the worker of detect that hears of any method (`*`). Every presence of a principal in a place goes to its one partition, and a partition has one worker: no process and no partition more moves this",
			c.reached(s, func(z *size) bool { return z.any > c.use })},
		{"the worker of detect that has the method which most visits are of; likewise",
			c.reached(s, func(z *size) bool { return z.rate*z.told.visits*methodShare(s)*c.detectVisit/1e6 > c.use })},
		{"the memory that the route of a process has of an hour's presences: past it panes are forgotten early and told again. `route.memory_entries` moves this, at 20 bytes each, and so do more processes",
			c.reached(s, func(z *size) bool { return z.remembered > c.memory })},
		{fmt.Sprintf("markers of transactions on %.0f brokers; more brokers move this, and so does a longer `stream.commit_interval`; where polls come back full, commits come three times as seldom (`stream.commit_stretch`)", c.replicas),
			c.reached(s, func(z *size) bool { return z.markers > c.markers*c.replicas })},
	}
	slices.SortFunc(limits, func(a, b limit) int { return cmp.Compare(a.rate, b.rate) })
	var b strings.Builder
	n := 0
	for _, l := range limits {
		if l.rate > 0 {
			n++
			fmt.Fprintf(&b, "%d. At %s events/s: %s.\n", n, thousands(significant(l.rate)), l.what)
		}
	}
	fmt.Fprintf(&b, "\nWere every event of another principal (the worst world), nothing could be told once, and the worker of any method would be full at %s events/s.", thousands(significant(c.use*1e6/c.detectVisit)))
	return b.String()
}

// significant rounds to two digits: the costs are no better known.
func significant(x float64) int {
	unit := math.Pow(10, math.Floor(math.Log10(x))-1)
	return int(math.Round(x/unit) * unit)
}

// methodShare is the share that the hottest method has of the visits, any method left out.
func methodShare(s *spread) float64 { return s.keyings[3].topShare }
