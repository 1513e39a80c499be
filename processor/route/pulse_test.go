package route

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/topics"
)

// TestPulses: each pane of each account and region is told once, whatever else becomes of the events.
func TestPulses(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Ignore = []Rule{{Name: "noise", Account: "444455556666"}}
	r := newRouter(t, cfg)
	out := r.tell(
		event{}, event{user: "bob", method: "s3:GetObject"}, // one pulse
		event{address: "10.0.0.1", account: "222233334444"},                            // without a place
		event{account: "444455556666"},                                                 // ignored
		event{at: -time.Hour, account: "555566667777"},                                 // from the future: a dead letter
		event{at: time.Hour}, event{at: time.Hour}, event{}, event{at: 61 * time.Hour}, // late, and told once
		event{at: 64 * time.Hour}, event{at: 64 * time.Hour}, event{at: 100 * 24 * time.Hour}, // too late to say who speaks now
	)
	elsewhere := strings.Replace(event{}.json(), "us-east-1", "eu-west-1", 1)
	r.task.Record(&Raw{Source: topics.Source{Topic: "cloudtrail", Partition: 3}, Timestamp: noon.UnixMilli(), Value: []byte(elsewhere)}, out)
	var want []topics.Pulse
	for _, w := range []struct {
		account, region string
		at              time.Duration
	}{{"111122223333", "us-east-1", 0}, {"222233334444", "us-east-1", 0}, {"444455556666", "us-east-1", 0},
		{"111122223333", "us-east-1", time.Hour}, {"111122223333", "us-east-1", 61 * time.Hour}, {"111122223333", "eu-west-1", 0}} {
		at := noon.Add(-w.at)
		want = append(want, topics.Pulse{Account: w.account, Region: w.region, Topic: "cloudtrail", Partition: 3, Pane: at.Truncate(time.Hour).Unix(), EventTime: at.UnixMilli()})
	}
	if d := cmp.Diff(want, out.pulses); d != "" {
		t.Errorf("pulses (-want +got):\n%s", d)
	}
	if r.stats.Pulses != int64(len(want)) {
		t.Errorf("%d pulses counted, %d told", r.stats.Pulses, len(want))
	}

	cfg.Pulses = false
	if out := newRouter(t, cfg).tell(event{}); len(out.pulses) != 0 || len(out.visits) != 1 {
		t.Errorf("without pulses, %d are told, and %d visits", len(out.pulses), len(out.visits))
	}
}

// TestPulsesAreToldOnce: against a set without bounds, no pane is told twice, and each is told that was not far behind.
func TestPulsesAreToldOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, told, newest := pulses{}, map[string]bool{}, map[uint64]int64{}
		for range rapid.IntRange(1, 100).Draw(rt, "events") {
			key := rapid.Uint64Range(1, 2).Draw(rt, "key")
			pane := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(-200, 200)).Draw(rt, "pane")
			was, known := newest[key]
			if !known || pane > was {
				newest[key] = pane
			}
			is := fmt.Sprint(key, " ", pane)
			if got, want := p.first(key, pane), !told[is] && (!known || pane > was-64); got != want {
				rt.Fatalf("pane %d of %d, newest %d: told %t, want %t", pane, key, was, got, want)
			} else if got {
				told[is] = true
			}
		}
	})
	p := pulses{}
	for i := range uint64(MaxPulses + 1) {
		p.first(i, 0)
	}
	if len(p) != 1 {
		t.Errorf("%d accounts and regions are remembered after %d", len(p), MaxPulses+1)
	}
}
