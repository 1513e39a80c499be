package route

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/farcall/farcall/topics"
)

// TestToldClaimsNothing: whatever is forgotten, nothing passes for told that was not; and with room for all of them, presences of the
// panes that are asked for all the time are told once.
func TestToldClaimsNothing(t *testing.T) {
	type presence struct {
		pane int64
		hash uint64
	}
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 10, 100, 1 << 20}).Draw(rt, "limit")
		panes := rapid.SampledFrom([]int64{2, 20}).Draw(rt, "panes")
		memory, was := told{limit: limit}, map[presence]bool{}
		for range rapid.IntRange(1, 2000).Draw(rt, "presences") {
			p := presence{rapid.Int64Range(1, panes).Draw(rt, "pane") * 3600, rapid.Uint64Range(1, 400).Draw(rt, "hash") << rapid.IntRange(0, 55).Draw(rt, "shift")}
			first := memory.first(p.pane, p.hash)
			if !first && !was[p] {
				rt.Fatalf("%v passes for told", p)
			}
			if first && was[p] && limit == 1<<20 && panes == 2 {
				rt.Fatalf("%v is told twice", p)
			}
			was[p] = true
			size := 0
			for _, of := range memory.panes {
				size += of.size
			}
			if size != memory.size || size > limit || len(memory.panes) > keepPanes {
				rt.Fatalf("%d presences in %d panes, counted %d, at most %d", size, len(memory.panes), memory.size, limit)
			}
			if !slices.IsSortedFunc(memory.panes, func(a, b *pane) int { return int(b.at - a.at) }) {
				rt.Fatal("the panes are out of order")
			}
		}
	})
}

// TestToldOfLaggard: a raw partition that is days behind the others is told once, too, and so are live events beside history that comes
// in no order.
func TestToldOfLaggard(t *testing.T) {
	memory := NewMemory(1 << 20)
	times := 0
	for hour := range int64(100) {
		for _, at := range []int64{1000 + hour, hour} {
			for call := range uint64(3000) {
				if memory.first(at*3600, hash([]byte{byte(call), byte(call % 256 >> 3), byte(at)})) {
					times++
				}
			}
		}
	}
	if want := 2 * 100 * 256; times != want {
		t.Errorf("told %d times, want %d", times, want)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	times = 0
	for call := range uint64(100_000) {
		memory.first(rng.Int64N(900)*3600, rng.Uint64())
		if memory.first(2000*3600+int64(call/50_000)*3600, hash([]byte{byte(call)})) {
			times++
		}
	}
	if want := 2 * 256; times != want {
		t.Errorf("beside history %d live presences were told, want %d", times, want)
	}
}

// TestTeller: what one of two tasks of a worker told the other does not tell, until the transaction aborts.
func TestTeller(t *testing.T) {
	a := newRouter(t, DefaultConfig())
	b := newRouter(t, DefaultConfig())
	b.task.teller = a.task.teller
	told := func(r router, want int, e event) {
		t.Helper()
		if out := r.tell(e); len(out.visits) != want || len(out.presences) != want || len(out.sightings) != want {
			t.Errorf("told %d visits, %d presences, %d sightings, want %d of each", len(out.visits), len(out.presences), len(out.sightings), want)
		}
	}
	told(a, 1, event{})
	told(b, 0, event{})
	told(b, 1, event{user: "bob"})
	told(a, 0, event{user: "bob"})
	b.task.horizon = noon.Add(3 * time.Hour).UnixMilli()
	told(b, 1, event{user: "carol"}) // late there
	told(a, 1, event{user: "carol"}) // and not here: it may wake somebody
	a.task.teller.Forget()
	told(b, 0, event{user: "carol"}) // b itself remembers
	told(newRouter(t, DefaultConfig()), 1, event{user: "bob"})
	told(a, 0, event{user: "bob"})
}

// TestTellersOfAProcess: what one worker told another need not tell once it is committed, and not before.
func TestTellersOfAProcess(t *testing.T) {
	memory := NewMemory(1 << 10)
	a, b := memory.Teller(), memory.Teller()
	check := func(what string, l *Teller, h uint64, want bool) {
		t.Helper()
		if got := l.first(noon.Unix(), h<<50); got != want {
			t.Errorf("%s: first %v, want %v", what, got, want)
		}
	}
	check("new", a, 1, true)
	check("told by the same worker", a, 1, false)
	check("told by another, which may abort", b, 1, true)
	a.Commit()
	check("committed", a, 1, false)
	check("committed by another too", b, 1, false)
	b.Forget()
	check("committed by another, when the own transaction aborted", b, 1, false)
	check("in a transaction that will abort", b, 2, true)
	b.Forget()
	b.Commit()
	check("after the abort", b, 2, true)
	check("the other worker", a, 2, true)
	if got := a.first(noon.Unix()+3600, 1<<50); !got {
		t.Error("another pane passes for told")
	}
	for h := range uint64(3000) {
		a.first(noon.Unix(), h+1<<40)
		if h%100 == 0 {
			a.Commit()
		}
	}
	a.Commit()
	size := 0
	for i := range memory.parts {
		size += memory.parts[i].size
	}
	if size > 1<<10 || size == 0 {
		t.Errorf("%d presences are remembered, at most %d", size, 1<<10)
	}
}

// TestRulesAreAskedOfRepeats: a call that repeats what was told may still be one to ignore, by its address or its category.
func TestRulesAreAskedOfRepeats(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Ignore = []Rule{{Name: "scanner", Network: inDE + "/32"}, {Name: "data", Category: "Data"}}
	r := newRouter(t, cfg)
	elsewhere := event{address: "78.47.22.11"}
	r.tell(elsewhere, event{}, elsewhere)
	data := strings.Replace(elsewhere.json(), `"eventType":`, `"eventCategory":"Data","eventType":`, 1)
	r.task.Record(&Raw{Timestamp: noon.UnixMilli(), Value: []byte(data)}, &toldBy{t: t})
	if r.stats.Visits != 1 || r.stats.Ignored["scanner"] != 1 || r.stats.Ignored["data"] != 1 || r.stats.Repeats != 1 {
		t.Errorf("%d visits, %v ignored, %d repeats, want one of each", r.stats.Visits, r.stats.Ignored, r.stats.Repeats)
	}
}

// TestCallsIntoAnotherAccount: a principal that calls into another account is a sign of life of that one, though its visit is told.
func TestCallsIntoAnotherAccount(t *testing.T) {
	r := newRouter(t, DefaultConfig())
	r.tell(event{})
	out := &toldBy{t: t}
	into := strings.Replace(event{}.json(), `"recipientAccountId":"111122223333"`, `"recipientAccountId":"444455556666"`, 1)
	r.task.Record(&Raw{Source: topics.Source{Topic: "cloudtrail"}, Timestamp: noon.UnixMilli(), Value: []byte(into)}, out)
	if len(out.pulses) != 1 || out.pulses[0].Account != "444455556666" || len(out.visits) != 0 {
		t.Errorf("told %d visits and pulses %+v, want one of the other account", len(out.visits), out.pulses)
	}
}
