package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

// The colours of series, in order: told apart by the colour-blind too (Okabe and Ito).
var colours = []drawing.Color{
	{R: 213, G: 94, A: 255}, {G: 114, B: 178, A: 255}, {G: 158, B: 115, A: 255}, {R: 230, G: 159, A: 255}, {R: 86, G: 180, B: 233, A: 255}, {A: 255},
}

var plotted = chart.Style{Padding: chart.Box{Top: 30, Left: 250, Right: 30, Bottom: 20}}

// plotThroughput draws the CPU of an event: a line a system, a dot a repetition, a colour a world. Its scale is logarithmic.
func plotThroughput(path string, worlds []string, results map[string]*result) error {
	ms := results[worlds[0]].systems
	g := chart.Chart{Width: 1000, Height: 420, Background: plotted, XAxis: chart.XAxis{Name: "CPU µs/event",
		Range: &chart.ContinuousRange{Min: math.Log10(.5), Max: math.Log10(200)}},
		// Ticks decide the range, so empty ones make room.
		YAxis: chart.YAxis{Ticks: []chart.Tick{{Value: -.6}, {Value: float64(len(ms)) - .4}}}}
	for _, v := range []float64{.5, 1, 2, 5, 10, 20, 50, 100, 200} {
		g.XAxis.Ticks = append(g.XAxis.Ticks, chart.Tick{Value: math.Log10(v), Label: fmt.Sprint(v)})
	}
	for i := range ms {
		g.YAxis.Ticks = append(g.YAxis.Ticks, chart.Tick{Value: float64(len(ms) - 1 - i), Label: ms[i].short})
	}
	for n, w := range worlds {
		var x, y []float64
		for i, m := range results[w].systems {
			for _, s := range m.samples {
				x, y = append(x, math.Log10(s.perEvent(results[w].filled))), append(y, float64(len(ms)-1-i)+.1-.2*float64(n))
			}
		}
		g.Series = append(g.Series, chart.ContinuousSeries{Name: w + " world", XValues: x, YValues: y,
			Style: chart.Style{StrokeWidth: chart.Disabled, DotWidth: 5, DotColor: colours[n], StrokeColor: colours[n]}})
	}
	g.Elements = []chart.Renderable{chart.LegendLeft(&g)}
	return save(path, &g)
}

// curve is one line of a plot.
type curve struct {
	name string
	x, y []float64
}

// axis is one of a plot: what it shows, and values with their labels, in order.
type axis struct {
	name  string
	ticks []chart.Tick
}

// plotCurves draws lines.
func plotCurves(path string, x, y axis, curves []curve) error {
	g := chart.Chart{Width: 1000, Height: 560, Background: plotted,
		XAxis: chart.XAxis{Name: x.name, Ticks: x.ticks, Range: &chart.ContinuousRange{Min: x.ticks[0].Value,
			Max: x.ticks[len(x.ticks)-1].Value}},
		YAxis: chart.YAxis{Name: y.name, Ticks: y.ticks, Range: &chart.ContinuousRange{Min: y.ticks[0].Value,
			Max: y.ticks[len(y.ticks)-1].Value}}}
	for n, c := range curves {
		colour := colours[n%len(colours)]
		g.Series = append(g.Series, chart.ContinuousSeries{Name: c.name, XValues: c.x, YValues: c.y, Style: chart.Style{StrokeColor: colour,
			StrokeWidth: 2, DotColor: colour, DotWidth: 3}})
	}
	g.Elements = []chart.Renderable{chart.LegendLeft(&g)}
	return save(path, &g)
}

// logTicks are ticks of a logarithmic axis.
func logTicks(unit string, values ...float64) (ticks []chart.Tick) {
	slices.Sort(values)
	for _, v := range slices.Compact(values) {
		ticks = append(ticks, chart.Tick{Value: math.Log10(v), Label: fmt.Sprint(v, unit)})
	}
	return ticks
}

func save(path string, g *chart.Chart) error {
	var out bytes.Buffer
	if err := g.Render(chart.PNG, &out); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func tick(at float64, label string) chart.Tick { return chart.Tick{Value: at, Label: label} }
