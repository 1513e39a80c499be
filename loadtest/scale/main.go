// Command scale says what an installation of farcall takes at ten thousand, a hundred thousand and a million events a second, and what
// breaks first. It computes from measured costs, which are flags, and from an hour of a simulated organisation, which it counts event
// by event. It prints the page, or writes it:
//
//	go run ./loadtest/scale -write loadtest/SCALE.md
package main

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/farcall/farcall/loadtest/generate"
)

//go:embed scale.md.tmpl
var page string

// What the simulation tries: numbers of raw partitions, and of farcall's own.
var (
	rawPartitions = []int{1, 8, 64, 512}
	spreadRaw     = 64
	partitions    = []int{32, 64, 128, 256, 512, 1024}
)

func main() {
	c := defaults()
	c.flags(flag.CommandLine)
	o := generate.DefaultOptions()
	flag.Float64Var(&o.Skew, "skew", 0, "share of the most called method; 0: as published records have it")
	flag.IntVar(&o.Accounts, "accounts", o.Accounts, "accounts of the simulated organisation")
	flag.IntVar(&o.Machines, "machines", o.Machines, "its roles")
	flag.IntVar(&o.People, "people", o.People, "its people")
	events := flag.Int("events", 36_000_000, "events of the simulated hour")
	write := flag.String("write", "", "file to write the page to; empty: print it")
	flag.Parse()
	text, err := render(c, o, *events)
	if err == nil && *write == "" {
		_, err = os.Stdout.Write(text)
	} else if err == nil {
		err = os.WriteFile(*write, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// render makes the page.
func render(c costs, o generate.Options, events int) ([]byte, error) {
	// The events fill an hour.
	o.Rate = float64(events) / 3600
	s, err := simulate(o, events, rawPartitions, spreadRaw, partitions)
	if err != nil {
		return nil, err
	}
	t, err := template.New("page").Parse(page)
	if err != nil {
		return nil, err
	}
	var sizes []size
	for i, times := range growths {
		sizes = append(sizes, c.size(1e4*float64(times), s, float64(s.rowBytes[i])/float64(s.rows), times*(o.People+o.Machines)))
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Costs": c.table(), "Sizes": sizeTable(sizes), "Spread": spreadTable(s), "Told": toldTable(s), "First": breaks(c, s),
		"Events": thousands(events), "Rate": thousands(int(o.Rate)), "Accounts": thousands(o.Accounts), "Machines": thousands(o.Machines),
		"People": thousands(o.People),
		"Rows":   thousands(s.rows), "RowBytes": s.rowBytes[0] / s.rows, "Known": thousands(s.known), "RawOfSpread": spreadRaw,
	})
	return b.Bytes(), err
}

func toldTable(s *spread) string {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"processes (of signs of life: raw partitions)", "visits an event", "of any method", "sightings", "signs of life",
		"events for each record told"})
	for _, n := range s.told {
		t.AppendRow(table.Row{n.raw, fmt.Sprintf("%.4f", n.visits), fmt.Sprintf("%.4f", n.presences), fmt.Sprintf("%.4f", n.presences),
			fmt.Sprintf("%.4f", n.pulses), fmt.Sprintf("%.1f", 1/n.records())})
	}
	return t.RenderMarkdown()
}

func spreadTable(s *spread) string {
	t := table.NewWriter()
	head := table.Row{"records and their key", "hottest key", "its share"}
	for _, n := range partitions {
		head = append(head, n)
	}
	t.AppendHeader(head)
	for _, k := range s.keyings {
		row := table.Row{k.name, "`" + k.top + "`", fmt.Sprintf("%.1f %%", 100*k.topShare)}
		for _, x := range k.hottest {
			row = append(row, fmt.Sprintf("%.1f", x))
		}
		t.AppendRow(row)
	}
	return t.RenderMarkdown()
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// sizeTable has a column for each rate.
func sizeTable(sizes []size) string {
	t := table.NewWriter()
	head := table.Row{""}
	for _, s := range sizes {
		head = append(head, thousands(int(s.rate))+" events/s")
	}
	t.AppendHeader(head)
	for _, l := range lines {
		row := table.Row{l.name}
		for i := range sizes {
			row = append(row, l.value(&sizes[i]))
		}
		t.AppendRow(row)
	}
	return strings.TrimSpace(t.RenderMarkdown())
}
