package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEndToEnd shows a tiny world to the built binary and all baselines, and reports.
func TestEndToEnd(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "farcall")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/farcall/farcall/processor/cmd/farcall").CombinedOutput(); err != nil {
		t.Fatalf("build farcall: %v\n%s", err, out)
	}
	l := readLists()
	places, err := askPlaces(t.Context(), binary, l)
	if err != nil {
		t.Fatal(err)
	}
	// The networks were chosen so; a newer database may move some.
	if places.Addresses < 5000 || places.Differ > places.Addresses/50 {
		t.Errorf("of %d addresses %d are elsewhere for farcall: %v", places.Addresses, places.Differ, places.Examples)
	}
	o := &options{history: 10, judged: 5, binary: binary, least: 10, threshold: 50, keep: filepath.Join(dir, "kept")}
	w := tiny(t)
	r, err := evaluate(t.Context(), o, l, w, tuneSeeds[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 6 || r.Results[0].Engine != "farcall" {
		t.Fatalf("results of %d engines", len(r.Results))
	}
	for _, x := range r.Results {
		if x.ByPlace.Of != w.incidents*(len(incidentKinds)-1) {
			t.Errorf("%s: %d intrusions, want %d", x.Engine, x.ByPlace.Of, w.incidents*(len(incidentKinds)-1))
		}
		for i, at := range x.RecallAt {
			if at < 0 || at > 1 || i > 0 && at < x.RecallAt[i-1]-1e-9 {
				t.Errorf("%s: recall by budget %v", x.Engine, x.RecallAt)
				break
			}
		}
	}
	// Not how good farcall is, but that its alerts are found and matched: a stolen key in a country that nobody ever was in.
	if f := r.Results[0]; f.ByPlace.Caught == 0 || f.Benign == 0 || len(f.Delays) == 0 || f.RecallAt[len(budgets)-1] < .5 {
		t.Errorf("farcall: %+v", f)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept", "noisy-1", "AWSLogs")); err != nil {
		t.Errorf("the files were not kept: %v", err)
	}
	path := filepath.Join(dir, "report", "EVALUATION.md")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	e := &evaluation{Date: "2026-01-02", Flags: "--days 5", History: 10, Judged: 5, Threshold: 50, Places: places, Runs: []run{*r}}
	saved := filepath.Join(dir, "results.json")
	if err := conclude(e, saved, path); err != nil {
		t.Fatal(err)
	}
	again, err := readResults([]string{saved, saved})
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Runs) != 2 || !cmp.Equal(again.Runs[1], *r) || !cmp.Equal(again.Places, places) {
		t.Errorf("results don't survive as JSON: %s", cmp.Diff(again.Runs, []run{*r, *r}))
	}
	e.Threshold = 60
	other := filepath.Join(dir, "other.json")
	if err := conclude(e, other, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := readResults([]string{saved, other}); err == nil || !strings.Contains(err.Error(), "other conditions") {
		t.Errorf("results of two thresholds together: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append([]string{"noisy", "impossible travel", "not those of a report"}, incidentKinds...) {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report does not mention %q", want)
		}
	}
	for _, plot := range []string{"evaluation-recall.png", "evaluation-kinds.png"} {
		b, err := os.ReadFile(filepath.Join(dir, "report", plot))
		if err != nil || !strings.HasPrefix(string(b), "\x89PNG") {
			t.Errorf("%s is no PNG: %v", plot, err)
		}
	}
}

// TestBinaryFails: what the binary says reaches the user.
func TestBinaryFails(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "farcall")
	script := func(text string) {
		if err := os.WriteFile(fake, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := simulated(t, tiny(t), 7)
	for _, c := range []struct{ script, want string }{
		{"echo no disk >&2; exit 1", "no disk"},
		{"echo nonsense", "read the alerts"},
		{`echo '{"aws":{"cloudtrail":{"event_id":"other"}}}'`, "none of the simulation"},
	} {
		script(c.script)
		_, err := farcallAlerts(t.Context(), fake, dir, s, 10, 50)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.script, err, c.want)
		}
	}
	if _, err := farcallAlerts(t.Context(), filepath.Join(dir, "missing"), dir, s, 10, 50); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("no binary: %v", err)
	}
}
