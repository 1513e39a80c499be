package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/farcall/farcall/loadtest/generate"
)

// measured is what the repetitions of one system gave.
type measured struct {
	system
	samples []sample
}

// median is the sample in the middle by CPU.
func (m *measured) median() sample {
	s := slices.Clone(m.samples)
	slices.SortFunc(s, func(a, b sample) int { return cmp.Compare(a.cpu, b.cpu) })
	return s[len(s)/2]
}

// result is what systems gave on one topic.
type result struct {
	filled  *filled
	systems []measured
}

// turns lets systems read a topic in turns. No time is printed before all of them have come to the rows of the load.
func (b *bench) turns(ctx context.Context, f *filled, systems []system, repeats int) ([]measured, error) {
	ms := make([]measured, len(systems))
	for i, s := range systems {
		ms[i].system = s
	}
	for n := range repeats {
		for i := range ms {
			// Each repetition begins with another system, so that none always follows the same.
			m := &ms[(i+n)%len(ms)]
			s, err := m.run(ctx, b, f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.short, err)
			}
			m.samples = append(m.samples, s)
		}
	}
	return ms, nil
}

// worstFewer is how many times fewer events the worst world has, where each takes ten times as long.
const worstFewer = 4

func (b *bench) throughput(ctx context.Context, o options) error {
	var systems []system
	for _, s := range b.systems() {
		if len(o.only) == 0 || slices.Contains(o.only, s.short) {
			systems = append(systems, s)
		}
	}
	if len(systems) == 0 {
		return fmt.Errorf("none of the systems %v can be measured here", o.only)
	}
	results := map[string]*result{}
	for _, world := range o.worlds {
		events := o.events
		if world == generate.Worst {
			events /= worstFewer
		}
		f, err := b.fill(ctx, "cloudtrail-"+world, o.codec, o.sampled(o.world(world), events), events, o.partitions, nil)
		if err != nil {
			return err
		}
		ms, err := b.turns(ctx, f, systems, o.repeats)
		if err != nil {
			return err
		}
		b.report(f, ms)
		results[world] = &result{f, ms}
		if err := b.remove(ctx, func(topic string) bool { return topic == f.topic }); err != nil {
			return err
		}
	}
	if o.plots == "" {
		return nil
	}
	return plotThroughput(o.plot("throughput"), o.worlds, results)
}

const measuredHow = `CPU is user and system of the client's process, start and end included; from the middle on: from when half of the events were committed by what
reads them, without the start, what a JVM compiles first and what the first half tells for the first time. Memory is VmHWM; events/s from the start
to the last commit. The telling ratio is events by record in the topics that are partitioned anew, signs of life and markers of transactions among them.`

// report prints a world's table, its raw lines, and how its systems compare.
func (b *bench) report(f *filled, ms []measured) {
	by := map[string]sample{}
	for i := range ms {
		by[ms[i].short] = ms[i].median()
	}
	ratio := func(of, to string) string {
		a, ok := by[of]
		c, there := by[to]
		if !ok || !there {
			return ""
		}
		return fmt.Sprintf("%.2f", a.cpu.Seconds()/c.cpu.Seconds())
	}
	late := func(of, to string) string { // to "": as it is
		a, ok := by[of].fromMiddle(f)
		if ok && to != "" {
			var c float64
			c, ok = by[to].fromMiddle(f)
			a /= c
		}
		if !ok {
			return ""
		}
		return fmt.Sprintf("%.2f", a)
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{f.world.World + " world", "events/s", "CPU s per million", "CPU to bare", "CPU to the limit", "from the middle on: CPU s per million", "to the limit", "peak RSS MiB",
		"first commit after s", "own topics: records/event", "own topics: bytes/event", "telling ratio"})
	for i := range ms {
		s := by[ms[i].short]
		row := table.Row{ms[i].name, fmt.Sprintf("%.0f", s.rate(f)), fmt.Sprintf("%.2f", s.perEvent(f)), ratio(ms[i].short, "bare"),
			ratio(ms[i].short, "limit"), late(ms[i].short, ""), late(ms[i].short, "limit"), s.peak >> 20, fmt.Sprintf("%.1f", s.startup.Seconds()), "", "", ""}
		if s.records > 0 {
			n := float64(f.events)
			row[9], row[10], row[11] = fmt.Sprintf("%.3f", float64(s.records)/n), fmt.Sprintf("%.1f", float64(s.bytes)/n), fmt.Sprintf("%.2f", s.telling)
		}
		t.AppendRow(row)
	}
	fmt.Fprintf(b.out, "\nAll distributions are those of the load: %d rows, equal to the bit.\n\n%s\n\n%s\n\nRaw lines (wall s, CPU s, RSS MiB, events and CPU s at the middle): ",
		len(f.want), t.RenderMarkdown(), measuredHow)
	for i := range ms {
		fmt.Fprintf(b.out, "%s", ms[i].short)
		for j, s := range ms[i].samples {
			if j > 0 {
				fmt.Fprint(b.out, ",")
			}
			fmt.Fprintf(b.out, " %.2f %.2f %d %d %.2f", s.wall.Seconds(), s.cpu.Seconds(), s.peak>>20, s.middle.events, s.middle.cpu.Seconds())
		}
		fmt.Fprint(b.out, "; ")
	}
	fmt.Fprintln(b.out)
	for _, p := range []string{"dsl", "papi"} {
		if k, ok := by[p]; ok && by["all"].cpu > 0 {
			a := by["all"]
			fmt.Fprintf(b.out, "\n%s to farcall, all stages: %.2f times the CPU of an event, %.2f of the events/s, %.2f times the memory", p,
				k.cpu.Seconds()/a.cpu.Seconds(), k.rate(f)/a.rate(f), float64(k.peak)/float64(a.peak))
			if theirs, ok := k.fromMiddle(f); ok {
				if ours, ok := a.fromMiddle(f); ok {
					fmt.Fprintf(b.out, "; from the middle on %.2f times the CPU", theirs/ours)
				}
			}
			fmt.Fprint(b.out, ".")
		}
	}
	fmt.Fprintln(b.out)
}
