package route

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/farcall/farcall/topics"
)

// TestToldClaimsNothing: whatever is forgotten, nothing passes for told that was not; and with room for all of them, the presences of
// the newest panes are told once.
func TestToldClaimsNothing(t *testing.T) {
	type presence struct {
		pane int64
		hash uint64
	}
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 10, 100, 1 << 20}).Draw(rt, "limit")
		memory, was := newTold(limit), map[presence]bool{}
		var panes []int64 // that came, newest first
		for range rapid.IntRange(1, 2000).Draw(rt, "presences") {
			p := presence{rapid.Int64Range(0, 5).Draw(rt, "pane") * 3600, rapid.Uint64Range(1, 400).Draw(rt, "hash") << rapid.IntRange(0, 55).Draw(rt, "shift")}
			first := memory.first(p.pane, p.hash)
			if !first && !was[p] {
				rt.Fatalf("%v passes for told", p)
			}
			if !slices.Contains(panes, p.pane) {
				panes = append(panes, p.pane)
				slices.SortFunc(panes, func(a, b int64) int { return int(b - a) })
			}
			if first && was[p] && limit == 1<<20 && slices.Index(panes, p.pane) < keepPanes {
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
		}
	})
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
