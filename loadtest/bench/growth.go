package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/farcall/farcall/loadtest/generate"
)

// grown is one size of something that grows.
type grown struct {
	what       string
	size       float64
	label      string
	partitions int
	skew       float64
	workers    int
}

// sizes are what growth measures by default.
func sizes(o options) (all []grown) {
	for _, w := range []int{1, 2, 4} {
		all = append(all, grown{"workers a stage", float64(w), fmt.Sprint(w), o.partitions, o.skew, w})
	}
	for _, p := range []int{1, 4, 16, 64} {
		all = append(all, grown{"raw partitions", float64(p), fmt.Sprint(p), p, o.skew, 1})
	}
	for _, s := range []float64{.2, .4, .6} {
		all = append(all, grown{"share of the most called method", s, fmt.Sprintf("%.0f %%", 100*s), o.partitions, s, 1})
	}
	return all
}

// growth measures all stages with more workers, more raw partitions and more skew, against the first of each. The events are half of
// those of throughput.
func (b *bench) growth(ctx context.Context, o options, sizes []grown) error {
	events := o.events / 2
	// Sizes that read the same topic take turns on it.
	type shape struct {
		partitions int
		skew       float64
	}
	var shapes []shape
	of := map[shape][]int{}
	for i, g := range sizes {
		s := shape{g.partitions, g.skew}
		if of[s] == nil {
			shapes = append(shapes, s)
		}
		of[s] = append(of[s], i)
	}
	results := make([]sample, len(sizes))
	raw := make([][]sample, len(sizes))
	var f *filled
	for n, s := range shapes {
		w := o.world(generate.Default)
		w.Skew = s.skew
		var err error
		if f, err = b.fill(ctx, fmt.Sprint("cloudtrail-growth-", n), o.codec, o.sampled(w, events), events, s.partitions, nil); err != nil {
			return err
		}
		var systems []system
		for _, i := range of[s] {
			systems = append(systems, system{name: sizes[i].label, short: sizes[i].what, run: func(ctx context.Context, b *bench,
				f *filled) (sample, error) {
				return b.farcall(ctx, f, workerSettings(sizes[i].workers), "route", "detect", "triage")
			}})
		}
		ms, err := b.turns(ctx, f, systems, o.repeats)
		if err != nil {
			return err
		}
		for k, i := range of[s] {
			results[i], raw[i] = ms[k].median(), ms[k].samples
		}
		if err := b.remove(ctx, func(topic string) bool { return topic == f.topic }); err != nil {
			return err
		}
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"grows", "to", "CPU s per million", "to the first", "from the middle on: CPU s per million", "to the first", "events/s", "peak RSS MiB",
		"telling ratio", "raw: CPU s"})
	var curves []curve
	first := 0
	for i, g := range sizes {
		if i > 0 && g.what != sizes[i-1].what {
			first = i
		}
		if i == first {
			curves = append(curves, curve{name: g.what})
		}
		s := results[i]
		var cpu []string
		for _, r := range raw[i] {
			cpu = append(cpu, fmt.Sprintf("%.2f", r.cpu.Seconds()))
		}
		ratio := s.cpu.Seconds() / results[first].cpu.Seconds()
		late, lateRatio := "", ""
		if cpu, ok := s.fromMiddle(f); ok {
			late = fmt.Sprintf("%.2f", cpu)
			if before, ok := results[first].fromMiddle(f); ok {
				lateRatio = fmt.Sprintf("%.2f", cpu/before)
			}
		}
		t.AppendRow(table.Row{g.what, g.label, fmt.Sprintf("%.2f", s.perEvent(f)), fmt.Sprintf("%.2f", ratio), late, lateRatio, fmt.Sprintf("%.0f", s.rate(f)),
			s.peak >> 20, fmt.Sprintf("%.2f", s.telling), strings.Join(cpu, ", ")})
		c := &curves[len(curves)-1]
		c.x, c.y = append(c.x, math.Log2(g.size/sizes[first].size)), append(c.y, ratio)
	}
	fmt.Fprintf(b.out, "\n%s\n\nAll stages, %d events, default world; the rows of each run were those of its load. From the middle on: from when half of the events were committed,\nwithout the start and what the first half tells for the first time.\n", t.RenderMarkdown(), events)
	if o.plots == "" {
		return nil
	}
	x, y := axis{name: "times the first"}, axis{name: "CPU of an event, times the first"}
	for n := range 7 {
		x.ticks = append(x.ticks, tick(float64(n), fmt.Sprint(1<<n)))
	}
	for n := range 9 {
		y.ticks = append(y.ticks, tick(float64(n)/4, fmt.Sprint(float64(n)/4)))
	}
	return plotCurves(o.plot("growth"), x, y, curves)
}

// workerSettings give each stage so many workers, and the process the memory that their fetches may take.
func workerSettings(n int) map[string]string {
	w := fmt.Sprint(n)
	return map[string]string{"FARCALL_ROUTE_WORKERS": w, "FARCALL_DETECT_WORKERS": w, "FARCALL_TRIAGE_WORKERS": w,
		"FARCALL_MEMORY_BUDGET_BYTES": fmt.Sprint((280 + 200*n) << 20)}
}

// catchUp measures what comes after farcall was away for an hour, against a steady state: memory, rate, rebalances, how far the
// stream times of the raw partitions come apart, and whether any event is late because of it.
func (b *bench) catchUp(ctx context.Context, o options) (err error) {
	const raw = "cloudtrail-lag"
	if _, err := b.adm.CreateTopic(ctx, int32(o.partitions), 1, nil, raw); err != nil {
		return err
	}
	i, err := b.install(ctx, raw, nil)
	if err != nil {
		return err
	}
	cl, err := generate.Client(b.brokers, o.codec)
	if err != nil {
		return err
	}
	defer cl.Close()
	w := o.world(generate.Default)
	w.Rate = float64(o.events) / 3600
	w.Start = time.Now().Add(-2*time.Hour - 10*time.Minute)
	g, err := generate.New(w)
	if err != nil {
		return err
	}
	all := i.steps(raw, []string{"route", "detect", "triage"})
	run := func() (*process, error) { return i.start("route", "detect", "triage") }
	wait := func(p *process) error {
		for _, s := range all {
			if err := b.committed(ctx, p, s); err != nil {
				return errors.Join(err, p.kill())
			}
		}
		return nil
	}
	// The steady state: as many events as the hour has, at a fifth of the speed at which they can be made up for, or less.
	p, err := run()
	if err != nil {
		return err
	}
	steadyRate := min(20_000, float64(o.events)/o.paced.Seconds())
	sent, err := g.Produce(ctx, cl, generate.Load{Topic: raw, Partitions: o.partitions, Records: o.events, Pace: steadyRate})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return errors.Join(err, p.kill())
	}
	if err := wait(p); err != nil {
		return err
	}
	steady, err := p.stop()
	if err != nil {
		return err
	}
	// An hour of the organisation's time while nobody reads.
	if _, err := g.Produce(ctx, cl, generate.Load{Topic: raw, Partitions: o.partitions, Records: o.events}); err != nil {
		return err
	}
	if p, err = run(); err != nil {
		return err
	}
	spread, samples := 0., 0
	var last map[string]float64
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for watching.Err() == nil {
			if m, err := metrics(i.console); err == nil {
				low, high, n := math.Inf(1), math.Inf(-1), 0
				for name, v := range m {
					if strings.HasPrefix(name, "farcall_stream_time_seconds{") && strings.Contains(name, `stage="route"`) && v > 0 {
						low, high, n = min(low, v), max(high, v), n+1
					}
				}
				if n == o.partitions {
					spread = max(spread, high-low)
					samples++
				}
				last = m
			}
			select {
			case <-watching.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	err = errors.Join(b.begun(ctx, p, all[0].group), wait(p))
	took := time.Since(p.began)
	stop()
	<-watched
	if err != nil {
		return err
	}
	if m, err := metrics(i.console); err == nil {
		last = m
	}
	after, err := p.stop()
	if err != nil {
		return err
	}
	got, err := farcallLines(ctx, b, i)
	if err != nil {
		return err
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"after an hour's lag", ""})
	t.AppendRow(table.Row{"events of that hour", o.events})
	t.AppendRow(table.Row{"made up for in s, start and restore included", fmt.Sprintf("%.1f", took.Seconds())})
	t.AppendRow(table.Row{"events/s", fmt.Sprintf("%.0f", float64(o.events)/took.Seconds())})
	t.AppendRow(table.Row{"hours of lag made up for in an hour", fmt.Sprintf("%.0f", 3600/took.Seconds())})
	t.AppendRow(table.Row{fmt.Sprintf("peak RSS MiB: steady at %.0f events/s", steadyRate), steady.peak >> 20})
	t.AppendRow(table.Row{"peak RSS MiB: catching up", after.peak >> 20})
	t.AppendRow(table.Row{"to steady", fmt.Sprintf("%.2f", float64(after.peak)/float64(steady.peak))})
	t.AppendRow(table.Row{"clients rebuilt, sessions lost", sum(last, "farcall_worker_restarts_total")})
	t.AppendRow(table.Row{"transactions aborted", sum(last, `farcall_transactions_total{result="aborted"`)})
	t.AppendRow(table.Row{fmt.Sprintf("stream times of raw partitions apart, at the most, s (%d looks)", samples), fmt.Sprintf("%.0f", spread)})
	t.AppendRow(table.Row{"events late", sum(last, `farcall_dropped_total{reason="late"`) + sum(last, `farcall_visits_total{verdict="stale"`)})
	fmt.Fprintf(b.out, "%s\n\n%d events at a steady rate before; %d rows in the end.\n", t.RenderMarkdown(), sent.Records, len(got))
	return errors.Join(b.remove(ctx, func(topic string) bool { return topic == raw || i.owns(topic) }),
		os.RemoveAll(i.env["FARCALL_STATE_DIR"]))
}
