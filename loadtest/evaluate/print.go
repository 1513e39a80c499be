package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// tableBudgets are the benign alerts a day that tables show.
var tableBudgets = []float64{5, 10, 20, 50}

func budgetIndex(b float64) int { return slices.Index(budgets, b) }

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

// row says how an engine did on average over some simulations, with the range where there are several.
func row(results []result) table.Row {
	over := func(f func(*result) float64) []float64 {
		var x []float64
		for i := range results {
			x = append(x, f(&results[i]))
		}
		return x
	}
	ranged := func(x []float64, format, of string, times float64) string {
		text := fmt.Sprintf(format+of, times*mean(x))
		if len(x) > 1 {
			text += fmt.Sprintf(" ("+format+"–"+format+")", times*slices.Min(x), times*slices.Max(x))
		}
		return text
	}
	cells := table.Row{results[0].Engine, ranged(over(func(r *result) float64 { return r.ByPlace.ratio() }), "%.0f", " %%", 100),
		ranged(over(func(r *result) float64 { return r.Benign }), "%.1f", "", 1)}
	for _, b := range tableBudgets {
		cells = append(cells, percent(mean(over(func(r *result) float64 { return r.RecallAt[budgetIndex(b)] }))))
	}
	var delays []float64
	for _, r := range results {
		delays = append(delays, r.Delays...)
	}
	slices.Sort(delays)
	return append(cells, ranged(over(func(r *result) float64 { return r.AP }), "%.2f", "", 1), delayText(delays))
}

func delayText(sorted []float64) string {
	if len(sorted) == 0 {
		return "–"
	}
	at := func(q float64) string { return brief(time.Duration(quantile(sorted, q)) * time.Second) }
	return at(.5) + ", " + at(.9)
}

func brief(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}

var header = table.Row{"engine", "caught", "benign a day", "at 5 a day", "at 10", "at 20", "at 50", "average precision", "delay: half, 9 of 10"}

// engineNames are the engines of the runs, in order.
func engineNames(runs []run) []string {
	var names []string
	for _, r := range runs[0].Results {
		names = append(names, r.Engine)
	}
	return names
}

func resultsOf(runs []run, engine string) []result {
	var got []result
	for _, r := range runs {
		for _, x := range slices.Concat(r.Results, r.Models) {
			if x.Engine == engine {
				got = append(got, x)
			}
		}
	}
	return got
}

// modelTable has the models of the method score, each without what is known of principals; nothing where none was judged.
func modelTable(t table.Writer, runs []run) {
	h := slices.Clone(header)
	h[0] = "model of the method score"
	for i, r := range runs[0].Models {
		if i == 0 {
			t.AppendHeader(h)
		}
		t.AppendRow(row(resultsOf(runs, r.Engine)))
	}
}

func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	return t
}

func engineTable(t table.Writer, runs []run) {
	t.AppendHeader(header)
	for _, n := range engineNames(runs) {
		t.AppendRow(row(resultsOf(runs, n)))
	}
}

func kindTable(t table.Writer, runs []run) {
	h := table.Row{"caught at the engine's threshold"}
	for _, n := range engineNames(runs) {
		h = append(h, n)
	}
	t.AppendHeader(h)
	for _, k := range incidentKinds {
		cells := table.Row{k}
		for _, n := range engineNames(runs) {
			sum := share{}
			for _, r := range resultsOf(runs, n) {
				sum.Caught += r.Caught[k].Caught
				sum.Of += r.Caught[k].Of
			}
			cells = append(cells, fmt.Sprintf("%d of %d", sum.Caught, sum.Of))
		}
		t.AppendRow(cells)
	}
}

// kindBudgetTable sets all engines to the same noise.
func kindBudgetTable(t table.Writer, runs []run) {
	h := table.Row{fmt.Sprintf("caught at %d benign alerts a day", kindBudget)}
	for _, n := range engineNames(runs) {
		h = append(h, n)
	}
	t.AppendHeader(h)
	for _, k := range incidentKinds {
		if k == homeCountry {
			continue
		}
		cells := table.Row{k}
		for _, n := range engineNames(runs) {
			var at []float64
			for _, r := range resultsOf(runs, n) {
				at = append(at, r.KindsAt[k])
			}
			cells = append(cells, percent(mean(at)))
		}
		t.AppendRow(cells)
	}
}

func noiseTable(t table.Writer, runs []run) {
	h := table.Row{"benign alerts a day"}
	for _, n := range engineNames(runs) {
		h = append(h, n)
	}
	t.AppendHeader(h)
	for _, k := range benignKinds {
		cells, any := table.Row{k}, false
		for _, n := range engineNames(runs) {
			sum := 0.0
			for _, r := range resultsOf(runs, n) {
				sum += r.BenignDay[k]
			}
			any = any || sum > 0
			cells = append(cells, fmt.Sprintf("%.1f", sum/float64(len(runs))))
		}
		if any {
			t.AppendRow(cells)
		}
	}
}

func printRun(w io.Writer, r *run) {
	fmt.Fprintf(w, "\n%s, seed %d: %d events (%d of them second deliveries), %d principals, %.0f judged days, %d intrusions\n", r.World, r.Seed, r.Events, r.Duplicates, r.Principals, r.Days, sum(r.Incidents))
	fmt.Fprintf(w, "simulated in %.1f s (%.0f events/s), written in %.1f s, farcall scan %.1f s, baselines %.1f s\n", r.Simulated, float64(r.Events)/r.Simulated, r.Wrote, r.FarcallTook, r.BaselineTook)
	for _, f := range []func(table.Writer, []run){engineTable, modelTable, kindTable, kindBudgetTable, noiseTable} {
		t := newTable(w)
		f(t, []run{*r})
		t.Render()
	}
}

func sum(m map[string]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}

func printSummary(w io.Writer, runs []run) {
	fmt.Fprintf(w, "\nall %d simulations\n", len(runs))
	for _, f := range []func(table.Writer, []run){engineTable, modelTable, kindTable, kindBudgetTable, noiseTable} {
		t := newTable(w)
		f(t, runs)
		t.Render()
	}
}

// loudest is how many benign alerts printMisses lists.
const loudest = 40

// printMisses lists the incidents that no alert at or above the threshold caught, and the benign alerts of the highest scores.
func printMisses(w io.Writer, s *stream, alerts, fired []*alert, threshold float64) {
	best, caught := map[int]float64{}, map[int]bool{}
	for _, a := range fired {
		caught[a.incident] = true
	}
	for _, a := range alerts {
		if a.incident >= 0 {
			best[a.incident] = max(best[a.incident], a.score)
		}
	}
	moment := func(at uint32) string { return time.Unix(dayZero+int64(at), 0).UTC().Format("01-02 15:04") }
	who := func(n uint32) string {
		p := &s.principals[n]
		return strings.TrimSuffix(p.account+"/"+p.name+"/"+p.session, "/")
	}
	fmt.Fprintf(w, "\n%s, seed %d: missed at %g\n", s.world.name, s.seed, threshold)
	for n, in := range s.incidents {
		if !caught[n] {
			fmt.Fprintf(w, "  %-24s %s %s from %s, %d calls, best score %.1f, same client %t, same key %t\n", in.kind, moment(in.first), who(in.principal), in.place, in.calls, best[n], in.sameClient, in.sameKey)
		}
	}
	benign := slices.DeleteFunc(slices.Clone(alerts), func(a *alert) bool { return a.incident >= 0 })
	slices.SortStableFunc(benign, func(a, b *alert) int { return cmp.Compare(b.score, a.score) })
	some := len(slices.DeleteFunc(slices.Clone(fired), func(a *alert) bool { return a.incident >= 0 }))
	fmt.Fprintf(w, "loudest benign alerts, %d were at or above %g\n", some, threshold)
	delivered := s.delivered()
	for _, a := range benign[:min(loudest, len(benign))] {
		e := &s.events[delivered[a.event].index]
		x := &s.sessions[e.session]
		fmt.Fprintf(w, "  %5.1f %-24s %s %s %s from %s (%s)\n", a.score, a.kind, moment(a.at), who(x.principal), s.lists.methods[e.method].name(), s.places[x.place], x.address)
	}
}
