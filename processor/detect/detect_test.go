package detect

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// monday is where the tests' time begins: the start of a pane.
const monday = int64(1_700_006_400)

func newStore(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open("state", state.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newTask(t testing.TB, cfg Config, view state.View) *Task {
	t.Helper()
	return NewTask(cfg, view, 0)
}

// everything forwards whatever is new, so that its distribution is there to be looked at.
func everything() Config {
	c := DefaultConfig()
	c.Floor = 0
	return c
}

type feeder struct {
	t    testing.TB
	task *Task
}

// visit feeds one visit and returns its anomaly's score, 0 if it was not judged.
func (f feeder) visit(hour int64, principal, place string, o topics.Outcome) (Result, topics.Anomaly) {
	f.t.Helper()
	v := visitAt(monday+hour*3600, principal, place, o)
	var a topics.Anomaly
	result, err := f.task.Visit(&v, &a)
	if err != nil {
		f.t.Fatal(err)
	}
	return result, a
}

func visitAt(second int64, principal, place string, o topics.Outcome) topics.Visit {
	return topics.Visit{
		Method: "iam:CreateUser", Principal: principal, Place: place, Pane: second - second%3600, Outcome: o, Horizon: second * 1000,
		Evidence: topics.Evidence{EventTime: second * 1000, EventID: fmt.Sprint(principal, second)},
	}
}

// history feeds visits from a place, spread over principals, and returns the hour behind them.
func (f feeder) history(hour int64, place string, visits, principals int) int64 {
	for i := range visits {
		f.visit(hour+int64(i/principals), fmt.Sprintf("colleague-%s-%d", place, i%principals), place, topics.Allowed)
	}
	return hour + int64(visits/principals) + 1
}

func TestCurve(t *testing.T) {
	for _, c := range []struct{ p, score float64 }{{1, 0}, {0.1, 0}, {0.0026, 50}, {1e-9, 100}} {
		if got := Score(c.p); math.Abs(got-c.score) > 0.005 {
			t.Errorf("Score(%g) = %g, want %g", c.p, got, c.score)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p, q := rapid.Float64Range(1e-12, 1).Draw(t, "p"), rapid.Float64Range(1e-12, 1).Draw(t, "q")
		if p < q && Score(p) < Score(q) {
			t.Fatalf("the less likely %g scores %g, the more likely %g scores %g", p, Score(p), q, Score(q))
		}
	})
}

// The five properties that the method score promises.
func TestScoreProperties(t *testing.T) {
	for _, principals := range []int{1, 3, 40} {
		t.Run(fmt.Sprintf("a first-ever country after 200 visits of %d scores 50", principals), func(t *testing.T) {
			f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
			h := f.history(0, "US", 200, principals)
			if _, a := f.visit(h, "mallory", "NG", topics.Allowed); a.Score < 50 || a.Level != topics.Unseen {
				t.Errorf("score %g, level %s after %d visits", a.Score, a.Level, a.Distribution.Visits)
			}
		})
	}
	t.Run("a method with fewer than 20 visits stays under 25", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
			n := rapid.IntRange(0, 19).Draw(rt, "visits")
			for i := range n {
				_, a := f.visit(int64(i), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "who"), rapid.SampledFrom([]string{"US", "DE", "FR"}).Draw(rt, "from"), topics.Allowed)
				if a.Score >= 25 {
					rt.Fatalf("visit %d scores %g", i, a.Score)
				}
			}
			if _, a := f.visit(int64(n), "mallory", "NG", topics.Allowed); a.Score >= 25 {
				rt.Fatalf("score %g after %d visits", a.Score, n)
			}
		})
	})
	t.Run("the usual country scores at most 10", func(t *testing.T) {
		for _, principals := range []int{1, 2, 30} {
			f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
			h := f.history(0, "US", 300, principals)
			h = f.history(h, "DE", 100, 5)
			for i := range int64(40) {
				if _, a := f.visit(h+i, fmt.Sprint("newcomer ", i), "US", topics.Allowed); a.Score > 10 {
					t.Errorf("%d principals: newcomer %d scores %g", principals, i, a.Score)
				}
			}
		}
	})
	t.Run("ten repeats by one principal change the next principal's score by less than 5", func(t *testing.T) {
		for _, spread := range []map[string]int{{"US": 200}, {"US": 180, "FR": 15, "DE": 5}, {"US": 2000, "FR": 300, "IN": 9}} {
			score := func(repeats int64) float64 {
				f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
				h := int64(0)
				for _, place := range slices.Sorted(maps.Keys(spread)) {
					h = f.history(h, place, spread[place], 5)
				}
				for i := range repeats {
					f.visit(h+i, "mallory", "NG", topics.Allowed)
				}
				_, a := f.visit(h+20, "eve", "NG", topics.Allowed)
				return a.Score
			}
			once, eleven := score(1), score(11)
			if math.Abs(once-eleven) >= 5 {
				t.Errorf("%v: after one visit the next principal scores %g, after ten repeats %g", spread, once, eleven)
			}
			if once < 20 {
				t.Errorf("%v: one visit made the country normal: %g", spread, once)
			}
		}
	})
	t.Run("denied calls move it not at all", func(t *testing.T) {
		score := func(denied int64) float64 {
			f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
			h := f.history(0, "US", 250, 10)
			for i := range denied {
				f.visit(h, fmt.Sprint("sweeper", i), "NG", topics.Denied)
			}
			_, a := f.visit(h+1, "mallory", "NG", topics.Allowed)
			return a.Score
		}
		if none, many := score(0), score(50); none != many {
			t.Errorf("50 denied calls moved the score from %g to %g", none, many)
		}
	})
}

// A presence that was denied and then allowed is judged twice; every other repeat is nothing.
func TestDedupe(t *testing.T) {
	f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
	h := f.history(0, "US", 300, 10)
	for i, step := range []struct {
		o    topics.Outcome
		want Result
	}{
		{topics.Denied, Forwarded}, {topics.Denied, Known}, {topics.Allowed, Forwarded}, {topics.Allowed, Known}, {topics.Denied, Known},
	} {
		if got, _ := f.visit(h, "mallory", "NG", step.o); got != step.want {
			t.Errorf("step %d (%s): %s, want %s", i, step.o, got, step.want)
		}
	}
}

// TestOthersAndOwn counts who else is in a place, and what a principal called before, as far as rows spell principals out: a
// place with many of them in one pane is counted, and no longer says who. A late visit is told what was so in its own pane.
func TestOthersAndOwn(t *testing.T) {
	const crowd = 40           // more than a row spells out
	steady := func(f feeder) { // the hours 0 to 49: an office in the US, and a colleague on the move
		f.history(0, "US", 300, 6)
		f.visit(10, "traveller", "DE", topics.Allowed)
		f.visit(20, "traveller", "FR", topics.Allowed)
		f.visit(30, "expat", "FR", topics.Allowed)
		f.visit(31, "expat", "FR", topics.Allowed)
		f.visit(32, "sweeper", "FR", topics.Denied)
	}
	crowded := func(f feeder) {
		steady(f)
		for i := range crowd {
			f.visit(40, fmt.Sprint("crowd-", i), "BR", topics.Allowed)
		}
	}
	for _, c := range []struct {
		name        string
		history     func(feeder)
		hour        int64
		who, from   string
		others, own int64
	}{
		{"nobody was there", steady, 60, "mallory", "NG", 0, 0},
		{"two others, and what was denied counts for nobody", steady, 60, "mallory", "FR", 2, 0},
		{"itself is no other", steady, 60, "traveller", "FR", 1, 2},
		{"its own visits from elsewhere", steady, 60, "expat", "NG", 0, 2},
		{"a denied call is no visit", steady, 60, "sweeper", "FR", 2, 0},
		{"late: only one had come", steady, 25, "mallory", "FR", 1, 0},
		{"late: its own came later", steady, 15, "expat", "NG", 0, 0},
		{"late: one of its own had come", steady, 15, "traveller", "NG", 0, 1},
		{"a crowd hides who came", crowded, 60, "mallory", "BR", 0, -1},
		{"a crowd elsewhere may hide its own visits", crowded, 60, "mallory", "FR", 2, -1},
		{"what is spelled out counts in spite of a crowd", crowded, 60, "expat", "FR", 1, 2},
		{"late: before the crowd came", crowded, 35, "mallory", "FR", 2, 0},
		{"late: the crowd has come", crowded, 45, "mallory", "FR", 2, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := feeder{t, newTask(t, everything(), newStore(t))}
			c.history(f)
			f.visit(50, "colleague-US-0", "US", topics.Allowed) // stream time
			_, a := f.visit(c.hour, c.who, c.from, topics.Allowed)
			if d := a.Distribution; d.Others != c.others || d.Own != c.own {
				t.Errorf("%d others and %d of its own, want %d and %d", d.Others, d.Own, c.others, c.own)
			}
		})
	}
}

// TestFloor holds that a floor forwards what scores that much, and that alone: below it, most visits are not looked at as closely.
func TestFloor(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		floor := rapid.SampledFrom([]float64{1, 10, 50}).Draw(rt, "floor")
		cfg := everything()
		all := feeder{t, newTask(t, cfg, newStore(t))}
		cfg.Floor = floor
		some := feeder{t, newTask(t, cfg, newStore(t))}
		forwarded := map[bool]int{}
		for i := range 600 {
			// The second place has one principal who comes again and again, or a crowd; the hours go on, and now and then back.
			place := rapid.SampledFrom([]string{"US", "US", "US", "US", "US", "FR", "FR", "DE", "NG"}).Draw(rt, "place")
			who := fmt.Sprint(place, rapid.SampledFrom([]int{0, rapid.IntRange(0, 99).Draw(rt, "who")}).Draw(rt, "again"))
			hour := int64(i/10 - rapid.SampledFrom([]int{0, 0, 0, 3}).Draw(rt, "late"))
			is, a := all.visit(hour, who, place, topics.Allowed)
			got, b := some.visit(hour, who, place, topics.Allowed)
			if (is == Forwarded) != (got == Forwarded || got == Learned) {
				rt.Fatalf("visit %d: %s and %s", i, is, got)
			}
			if is != Forwarded {
				continue
			}
			forwarded[got == Forwarded]++
			switch loud := a.Score >= floor; {
			case loud != (got == Forwarded):
				rt.Fatalf("visit %d scores %g at a floor of %g, and is %s", i, a.Score, floor, got)
			case loud && fmt.Sprint(a) != fmt.Sprint(b):
				rt.Fatalf("visit %d: %+v\nwithout a floor %+v", i, b, a)
			}
		}
		if floor == 1 && (forwarded[true] == 0 || forwarded[false] == 0) {
			rt.Fatalf("%v of the visits were forwarded", forwarded)
		}
	})
}

// TestLateIsJudgedAlike holds that a visit which comes late finds the distribution that it would have found in time, also
// where so many principals are in a place that the guard is off.
func TestLateIsJudgedAlike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before, after := rapid.IntRange(0, 90).Draw(rt, "before"), rapid.IntRange(0, 90).Draw(rt, "after")
		judge := func(late bool) topics.Anomaly {
			f := feeder{t, newTask(t, everything(), newStore(t))}
			f.history(0, "US", 300, 6)
			feed := func(from int64, n int) {
				for i := range n {
					f.visit(from+int64(i/20), fmt.Sprint("p", from, "-", i), "FR", topics.Allowed)
				}
			}
			feed(60, before)
			for hour := range int64(3) {
				f.visit(60+hour, "busy", "FR", topics.Allowed)
			}
			if late {
				feed(80, after)
			}
			_, a := f.visit(70, "mallory", "FR", topics.Allowed)
			a.Distribution.PlaceLast = 0 // of which rows know the newest only: of a late event's future nothing is said
			return a
		}
		timely, late := judge(false), judge(true)
		if timely.Score != late.Score || fmt.Sprint(timely.Distribution) != fmt.Sprint(late.Distribution) {
			rt.Fatalf("in time %g %+v\nlate    %g %+v", timely.Score, timely.Distribution, late.Score, late.Distribution)
		}
	})
}

func TestWrongPane(t *testing.T) {
	f := feeder{t, newTask(t, DefaultConfig(), newStore(t))}
	v := visitAt(monday+90, "a", "US", topics.Allowed)
	v.Pane -= 60
	if _, err := f.task.Visit(&v, new(topics.Anomaly)); err == nil {
		t.Error("a visit off the pane's grid was taken")
	}
}

// oracle is the distribution written as naively as the words: it keeps every visit for ever.
type oracle struct {
	cfg    Config
	visits map[oracleVisit]topics.Outcome
	now    int64
}

type oracleVisit struct {
	pane             int64
	place, principal string
}

func (o *oracle) count(pane int64) (total int64, places map[string]int64, by map[string]map[string]int64) {
	places, by = map[string]int64{}, map[string]map[string]int64{}
	for v, out := range o.visits {
		if out&topics.Allowed == 0 || v.pane > pane || v.pane <= pane-int64(o.cfg.Window.Seconds()) {
			continue
		}
		total++
		places[v.place]++
		if by[v.place] == nil {
			by[v.place] = map[string]int64{}
		}
		by[v.place][v.principal]++
	}
	return total, places, by
}

// others counts the other principals at a place, own the visits of the principal from anywhere.
func (o *oracle) others(pane int64, principal, place string) (others, own int64) {
	_, _, by := o.count(pane)
	for p, n := range by[place] {
		if p != principal && n > 0 {
			others++
		}
	}
	for _, principals := range by {
		own += principals[principal]
	}
	return others, own
}

func (o *oracle) score(pane int64, principal, place string) float64 {
	total, places, by := o.count(pane)
	support := places[place]
	busiest := int64(0)
	for p, n := range by[place] {
		if p != principal {
			busiest = max(busiest, n)
		}
	}
	if busiest > 1 {
		support -= busiest - 1
	}
	tail, usual := int64(0), places[place] > 0
	for p, n := range places {
		if p == place {
			continue
		}
		if n <= support {
			tail += n
		}
		usual = usual && n <= places[place]
	}
	if usual {
		return 0
	}
	return Score((float64(tail+support) + Concentration) / (float64(total-places[place]+support) + Concentration))
}

// TestAgainstOracle feeds random visits, late ones among them, with commits, reopenings and a cache too small, and holds
// every score against the oracle.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := Config{Pane: time.Hour, Window: 24 * time.Hour, LookBack: 6 * time.Hour, Floor: 0, CacheEntries: rapid.SampledFrom([]int{1, 1 << 20}).Draw(rt, "cache")}
		store := newStore(t)
		task := newTask(t, cfg, store)
		o := &oracle{cfg: cfg, visits: map[oracleVisit]topics.Outcome{}}
		hour := int64(1000)
		committed, committedNow, committedTime := maps.Clone(o.visits), o.now, int64(0)
		for step := range rapid.IntRange(1, 150).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				hour += rapid.Int64Range(1, 30).Draw(rt, "jump")
			case 1:
				task.Flush()
				if err := store.Commit(state.Position{Next: int64(step)}); err != nil {
					rt.Fatal(err)
				}
				committed, committedNow, committedTime = maps.Clone(o.visits), o.now, task.StreamTime()
			case 2: // an abort: nothing since the last commit happened
				store.Rollback()
				task = NewTask(cfg, store, committedTime)
				o.visits, o.now = maps.Clone(committed), committedNow
			default:
				at := hour - rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 5, 20, 29, 40}).Draw(rt, "late")
				principal := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "who")
				place := rapid.SampledFrom([]string{"US", "US", "DE", "FR"}).Draw(rt, "from")
				out := rapid.SampledFrom([]topics.Outcome{topics.Allowed, topics.Allowed, topics.Denied}).Draw(rt, "outcome")
				v := visitAt(monday+at*3600, principal, place, out)
				o.now = max(o.now, v.Pane)
				var a topics.Anomaly
				result, err := task.Visit(&v, &a)
				if err != nil {
					rt.Fatal(err)
				}
				key := oracleVisit{v.Pane, place, principal}
				known := o.visits[key]
				stale := v.Pane <= o.now-int64((cfg.Window+cfg.LookBack).Seconds())
				judged := stale || known == 0 || (known == topics.Denied && out == topics.Allowed)
				asOf := v.Pane
				if stale {
					asOf = o.now
				}
				switch {
				case stale != (result == Stale):
					rt.Fatalf("step %d: result %s, stale is %v", step, result, stale)
				case !stale && (known|out == known) != (result == Known):
					rt.Fatalf("step %d: result %s, known %s, outcome %s", step, result, known, out)
				case judged:
					if want := o.score(asOf, principal, place); a.Score != want {
						rt.Fatalf("step %d: score %g of %+v, the oracle says %g", step, a.Score, a.Distribution, want)
					}
					if others, own := o.others(asOf, principal, place); a.Distribution.Others != others || a.Distribution.Own != own {
						rt.Fatalf("step %d: %d others and %d of its own, the oracle says %d and %d", step, a.Distribution.Others, a.Distribution.Own, others, own)
					}
				}
				if !stale {
					o.visits[key] |= out
				}
				for k := range o.visits { // what expired is forgotten for good
					if k.pane <= o.now-int64((cfg.Window+cfg.LookBack).Seconds()) {
						delete(o.visits, k)
					}
				}
			}
		}
		task.Flush()
		if err := store.Commit(state.Position{}); err != nil {
			rt.Fatal(err)
		}
		// The rows hold exactly the oracle's visits, and a task made from them goes on alike.
		panes := map[int64]bool{}
		for k := range store.Rows() {
			if _, pane, _, err := state.ParsePaneKey(k); err == nil {
				panes[pane] = true
			}
		}
		for k := range o.visits {
			if !panes[k.pane] {
				rt.Fatalf("no row for pane %d", k.pane)
			}
			delete(panes, k.pane)
			for other := range o.visits {
				if other.pane == k.pane {
					delete(o.visits, other)
				}
			}
		}
		if len(panes) > 0 {
			rt.Fatalf("rows outlived their time: panes %v at %d", panes, o.now)
		}
		again := NewTask(cfg, store, task.StreamTime())
		v := visitAt(monday+hour*3600, "eve", "BR", topics.Allowed)
		var a, b topics.Anomaly
		if _, err := task.Visit(&v, &a); err != nil {
			rt.Fatal(err)
		}
		store.Rollback()
		if _, err := again.Visit(&v, &b); err != nil {
			rt.Fatal(err)
		}
		if a.Score != b.Score || a.Distribution.Visits != b.Distribution.Visits {
			rt.Fatalf("running task: %+v, reopened task: %+v", a, b)
		}
	})
}

// The batches that visits come in leave no trace, neither in scores nor in rows.
func TestBatchBoundaries(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "visits")
		visits := make([]topics.Visit, n)
		hour := int64(0)
		for i := range visits {
			hour += rapid.Int64Range(0, 1).Draw(rt, "step")
			visits[i] = visitAt(monday+hour*3600+rapid.Int64Range(0, 3599).Draw(rt, "second"), fmt.Sprint("p", rapid.IntRange(0, 60).Draw(rt, "who")),
				rapid.SampledFrom([]string{"US", "DE", "FR", "aws:eu-west-1"}).Draw(rt, "from"), topics.Allowed)
		}
		run := func(cut func(i int) bool) (scores []float64, rows []string) {
			store := newStore(t)
			task := newTask(t, DefaultConfig(), store)
			commit := func() {
				task.Flush()
				if err := store.Commit(state.Position{}); err != nil {
					rt.Fatal(err)
				}
			}
			for i := range visits {
				var a topics.Anomaly
				if _, err := task.Visit(&visits[i], &a); err != nil {
					rt.Fatal(err)
				}
				scores = append(scores, a.Score)
				if cut(i) {
					commit()
				}
			}
			commit()
			for k, v := range store.Rows() {
				rows = append(rows, fmt.Sprintf("%x=%x", k, v))
			}
			return scores, rows
		}
		cuts := rapid.SliceOfN(rapid.Bool(), n, n).Draw(rt, "cuts")
		s1, r1 := run(func(int) bool { return false })
		s2, r2 := run(func(i int) bool { return cuts[i] })
		if !slices.Equal(s1, s2) {
			rt.Fatalf("scores differ:\n%v\n%v", s1, s2)
		}
		if !slices.Equal(r1, r2) {
			rt.Fatalf("rows differ:\n%v\n%v", r1, r2)
		}
	})
}

func BenchmarkVisitUsual(b *testing.B) {
	f := feeder{b, newTask(b, DefaultConfig(), newStore(b))}
	h := f.history(0, "US", 700, 20)
	visits := make([]topics.Visit, 4096)
	for i := range visits {
		visits[i] = visitAt(monday+(h+int64(i/64))*3600, fmt.Sprint("p", i%64), "US", topics.Allowed)
	}
	var a topics.Anomaly
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := f.task.Visit(&visits[i%len(visits)], &a); err != nil {
			b.Fatal(err)
		}
		if i++; i%len(visits) == 0 {
			f.task.Flush()
		}
	}
}
