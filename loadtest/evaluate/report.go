package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

//go:embed report.md.tmpl
var reportText string

// reported is what the report's template is filled with.
type reported struct {
	*evaluation
	Worlds, Seeds, TuneWorlds, TuneSeeds string
	Events, Speed, Scan, Home            string
	Engines, Kinds, KindsAt, Noise       string
	Incidents, PerRun                    int
	HeldOut                              bool
	Models                               string // Markdown, or nothing
	PerWorld                             []section
	Assumed                              []string
}

type section struct{ Name, Text string }

// writeReport writes the Markdown report, and its plots beside it.
func writeReport(path string, e *evaluation) error {
	runs := e.Runs
	markdown := func(f func(table.Writer, []run), of []run) string {
		t := table.NewWriter()
		f(t, of)
		return t.RenderMarkdown()
	}
	models := ""
	if len(runs[0].Models) > 0 {
		models = markdown(modelTable, runs)
	}
	rep := reported{evaluation: e, HeldOut: heldOut(runs),
		Engines: markdown(engineTable, runs), Kinds: markdown(kindTable, runs), KindsAt: markdown(kindBudgetTable, runs), Noise: markdown(noiseTable, runs), Models: models, Home: homeText(runs),
		TuneSeeds: strings.ReplaceAll(strings.Trim(fmt.Sprint(tuneSeeds), "[]"), " ", ", ")}
	var names, seeds, tune []string
	events, seconds, scans := 0, 0.0, []float64{}
	for _, r := range runs {
		if s := fmt.Sprint(r.Seed); !slices.Contains(seeds, s) {
			seeds = append(seeds, s)
		}
		events += r.Events
		rep.Incidents += sum(r.Incidents)
		seconds += r.Simulated
		scans = append(scans, r.FarcallTook)
	}
	for _, w := range worlds[:tuning] {
		tune = append(tune, w.name)
	}
	slices.Sort(scans)
	rep.Seeds, rep.TuneWorlds = strings.Join(seeds, ", "), strings.Join(tune, ", ")
	rep.Events, rep.Speed = thousands(events), thousands(int(float64(events)/seconds))
	rep.Scan = fmt.Sprintf("%.0f to %.0f s", scans[0], scans[len(scans)-1])
	rep.PerRun = rep.Incidents / len(runs)
	for _, w := range worlds {
		var of []run
		for _, r := range runs {
			if r.World == w.name {
				of = append(of, r)
			}
		}
		if len(of) == 0 {
			continue
		}
		names = append(names, w.name)
		rep.PerWorld = append(rep.PerWorld, section{w.name, markdown(engineTable, of)})
		rep.Assumed = append(rep.Assumed, assumed(&w))
	}
	rep.Worlds = strings.Join(names, ", ")
	t, err := template.New("report").Parse(reportText)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, &rep); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	dir := filepath.Dir(path)
	return firstOf(plotRecall(filepath.Join(dir, "evaluation-recall.png"), runs), plotKinds(filepath.Join(dir, "evaluation-kinds.png"), runs))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}

// heldOut says whether nothing that may be tuned on is among the runs.
func heldOut(runs []run) bool {
	return !slices.ContainsFunc(runs, func(r run) bool { return slices.Contains(tuneSeeds, r.Seed) })
}

// homeText says how often each engine alerted on an intruder in the victim's own country.
func homeText(runs []run) string {
	var parts []string
	for _, n := range engineNames(runs) {
		all := share{}
		for _, r := range resultsOf(runs, n) {
			all.Caught += r.Caught[homeCountry].Caught
			all.Of += r.Caught[homeCountry].Of
		}
		parts = append(parts, fmt.Sprintf("%s %d of %d", n, all.Caught, all.Of))
	}
	return "An intruder in the victim's own country: " + strings.Join(parts, ", ") + "."
}

func assumed(w *world) string {
	var also []string
	add := func(n float64, text string) {
		if n > 0 {
			also = append(also, fmt.Sprintf(text, n))
		}
	}
	add(w.movers, "movers to another country %.1f a month")
	add(float64(w.openings), "offices opened %.0f")
	add(w.automation, "new machine roles %.1f a week")
	add(w.services, "new services %.1f a week")
	add(float64(w.regions), "new regions %.0f")
	add(w.nights, "nights of trouble %.0f a week")
	add(100*w.wrongHomes, "home lines that a month puts into a neighbour country for 2 to 10 days %.0f %%")
	add(100*w.roaming, "people who roam %.0f %%")
	add(100*w.twoHomes, "people with a second home abroad %.0f %%")
	add(100*w.duplicates, "second deliveries %.0f %%")
	return fmt.Sprintf("| %s | %d | %d | %.0f %% | %.1f | %.0f %% | %.1f | %s |", w.name, w.principals, w.offices, 100*w.remote, w.trips, 100*w.vpn, w.joiners, strings.Join(also, "; "))
}

// machineName says what it was measured on.
func machineName() string {
	return fmt.Sprintf("%s, %d cores, %s", processorName(), runtime.NumCPU(), runtime.Version())
}

// processorName is what Linux calls the processor.
func processorName() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
			}
		}
	}
	return runtime.GOARCH
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// The colours of the engines, in order: told apart by the colour-blind too (Okabe and Ito).
var colours = []drawing.Color{
	{R: 213, G: 94, A: 255}, {A: 255}, {R: 86, G: 180, B: 233, A: 255}, {G: 114, B: 178, A: 255}, {G: 158, B: 115, A: 255}, {R: 230, G: 159, A: 255},
}

// plotRecall draws the mean share caught against the budget of benign alerts a day.
func plotRecall(path string, runs []run) error {
	g := chart.Chart{Width: 1000, Height: 560, Background: chart.Style{Padding: chart.Box{Top: 30, Left: 250, Right: 30, Bottom: 20}},
		XAxis: chart.XAxis{Name: "benign alerts a day", Range: &chart.ContinuousRange{Min: 0, Max: math.Log10(budgets[len(budgets)-1])}},
		YAxis: chart.YAxis{Name: "intrusions caught", Range: &chart.ContinuousRange{Min: 0, Max: 1}, Ticks: shareTicks()}}
	for _, b := range []float64{1, 2, 5, 10, 20, 50, 100, 200} {
		g.XAxis.Ticks = append(g.XAxis.Ticks, chart.Tick{Value: math.Log10(b), Label: fmt.Sprint(b)})
	}
	for n, name := range engineNames(runs) {
		var x, y []float64
		for i, b := range budgets {
			var at []float64
			for _, r := range resultsOf(runs, name) {
				at = append(at, r.RecallAt[i])
			}
			x, y = append(x, math.Log10(b)), append(y, mean(at))
		}
		width := 2.0
		if n == 0 {
			width = 4
		}
		g.Series = append(g.Series, chart.ContinuousSeries{Name: name, XValues: x, YValues: y, Style: chart.Style{StrokeColor: colours[n%len(colours)], StrokeWidth: width}})
	}
	g.Elements = []chart.Renderable{chart.LegendLeft(&g)}
	return save(path, &g)
}

// plotKinds draws the share caught of each kind: a line a kind, a dot an engine.
func plotKinds(path string, runs []run) error {
	g := chart.Chart{Width: 1000, Height: 560, Background: chart.Style{Padding: chart.Box{Top: 30, Left: 250, Right: 30, Bottom: 20}},
		XAxis: chart.XAxis{Name: "caught at the engine's own threshold", Range: &chart.ContinuousRange{Min: -.02, Max: 1.02}, Ticks: shareTicks()},
		// Ticks decide the range, so empty ones make room.
		YAxis: chart.YAxis{Ticks: []chart.Tick{{Value: -.6}, {Value: float64(len(incidentKinds)) - .4}}}}
	for i, k := range incidentKinds {
		g.YAxis.Ticks = append(g.YAxis.Ticks, chart.Tick{Value: float64(len(incidentKinds) - 1 - i), Label: k})
	}
	for n, name := range engineNames(runs) {
		var x, y []float64
		for i, k := range incidentKinds {
			all := share{}
			for _, r := range resultsOf(runs, name) {
				all.Caught += r.Caught[k].Caught
				all.Of += r.Caught[k].Of
			}
			// Engines are set apart, so that equal ones don't hide each other.
			x, y = append(x, all.ratio()), append(y, float64(len(incidentKinds)-1-i)+.3-.12*float64(n))
		}
		c := colours[n%len(colours)]
		g.Series = append(g.Series, chart.ContinuousSeries{Name: name, XValues: x, YValues: y, Style: chart.Style{StrokeWidth: chart.Disabled, DotWidth: 5, DotColor: c, StrokeColor: c}})
	}
	g.Elements = []chart.Renderable{chart.LegendLeft(&g)}
	return save(path, &g)
}

func shareTicks() []chart.Tick {
	var t []chart.Tick
	for i := 0; i <= 10; i += 2 {
		t = append(t, chart.Tick{Value: float64(i) / 10, Label: fmt.Sprintf("%d %%", 10*i)})
	}
	return t
}

func save(path string, g *chart.Chart) error {
	var out bytes.Buffer
	if err := g.Render(chart.PNG, &out); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
