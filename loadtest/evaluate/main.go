// Command evaluate says how many of the intrusions in an organisation's CloudTrail farcall alerts on, and how much noise it
// makes, beside simpler engines over the same events. It simulates organisations with what is new and benign in them, plants
// intrusions, writes the events as CloudTrail files, runs the built binary over them and measures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The seeds and worlds to report are others than those to tune by: numbers got by tuning say nothing of what comes next.
var (
	reportSeeds = []uint64{101, 102, 103}
	tuneSeeds   = []uint64{1, 2, 3}
)

type options struct {
	worlds           []world
	seeds            []uint64
	history, judged  int
	principals       int
	incidents        int
	binary           string
	least, threshold float64
	keep             string
	misses           bool
	models           bool
	tune             bool
}

// evaluation is all that was measured, and under which conditions.
type evaluation struct {
	Date      string  `json:"date"`
	Flags     string  `json:"flags"`
	Machine   string  `json:"machine"`
	History   int     `json:"history_days"`
	Judged    int     `json:"judged_days"`
	Threshold float64 `json:"threshold"`
	Places    *asked  `json:"places"`
	Runs      []run   `json:"runs"`
}

// run is one simulation and what the engines made of it.
type run struct {
	World        string         `json:"world"`
	Seed         uint64         `json:"seed"`
	Days         float64        `json:"judged_days"`
	Events       int            `json:"events"`
	Principals   int            `json:"principals"`
	Incidents    map[string]int `json:"incidents"`
	Duplicates   int            `json:"duplicates"`
	Simulated    float64        `json:"simulate_seconds"`
	Wrote        float64        `json:"write_seconds"`
	FarcallTook  float64        `json:"farcall_seconds"`
	BaselineTook float64        `json:"baseline_seconds"`
	Results      []result       `json:"results"`
	Models       []result       `json:"models,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "evaluate:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context) error {
	var o options
	names := flag.String("world", "", "worlds, separated by commas; default all, with --tune those to tune by")
	seeds := flag.String("seed", "", "seeds, separated by commas; default 101,102,103, with --tune 1,2,3")
	flag.IntVar(&o.history, "history", 30, "days to learn from before the judged ones")
	flag.IntVar(&o.judged, "days", 15, "judged days")
	flag.IntVar(&o.principals, "principals", 0, "how large the organisation is, in place of the world's own size")
	flag.IntVar(&o.incidents, "incidents", 0, "intrusions of each kind, in place of the world's own number")
	flag.StringVar(&o.binary, "binary", "bin/farcall", "the binary to judge")
	flag.Float64Var(&o.least, "least", 10, "least score that farcall is asked for, so that budgets can be drawn")
	flag.Float64Var(&o.threshold, "threshold", 50, "farcall's own threshold")
	flag.StringVar(&o.keep, "keep", "", "folder to keep the CloudTrail files in")
	flag.BoolVar(&o.misses, "misses", false, "list the incidents that farcall misses and the loudest benign alerts")
	flag.BoolVar(&o.models, "models", false, "judge other models of the method score too, each without what is known of principals")
	flag.BoolVar(&o.tune, "tune", false, "use the worlds and seeds that are free to look at while tuning")
	asJSON := flag.String("json", "", "file for the results, as JSON")
	report := flag.String("report", "", "file for the report, as Markdown; its plots lie beside it")
	from := flag.String("from", "", "files that earlier runs wrote with --json, separated by commas: report them together, in place of running")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag; --help lists them", flag.Arg(0))
	}
	if *from != "" {
		e, err := readResults(strings.Split(*from, ","))
		if err != nil {
			return err
		}
		return conclude(e, *asJSON, *report)
	}
	if o.history < 8 || o.judged < 1 {
		return errors.New("engines learn for a week: --history must be 8 or more, --days 1 or more")
	}
	o.worlds, o.seeds = worlds, reportSeeds
	if o.tune {
		o.worlds, o.seeds = worlds[:tuning], tuneSeeds
	}
	if *names != "" {
		o.worlds = nil
		for _, n := range strings.Split(*names, ",") {
			w, ok := worldOf(n)
			if !ok {
				return fmt.Errorf("no world %q: there are plain, global, noisy, growing and small", n)
			}
			o.worlds = append(o.worlds, w)
		}
	}
	if *seeds != "" {
		o.seeds = nil
		for _, n := range strings.Split(*seeds, ",") {
			v, err := strconv.ParseUint(n, 10, 64)
			if err != nil {
				return fmt.Errorf("--seed %q is no whole number", n)
			}
			o.seeds = append(o.seeds, v)
		}
	}
	l := readLists()
	places, err := askPlaces(ctx, o.binary, l)
	if err != nil {
		return fmt.Errorf("look up addresses: %w", err)
	}
	fmt.Printf("of %d addresses %d are elsewhere for farcall %s\n", places.Addresses, places.Differ, strings.Join(places.Examples, ", "))
	e := evaluation{Date: time.Now().UTC().Format(time.DateOnly), Flags: conditions(), Machine: machineName(),
		History: o.history, Judged: o.judged, Threshold: o.threshold, Places: places}
	for _, w := range o.worlds {
		if o.principals > 0 {
			w.principals = o.principals
		}
		if o.incidents > 0 {
			w.incidents = o.incidents
		}
		for _, seed := range o.seeds {
			r, err := evaluate(ctx, &o, l, w, seed)
			if err != nil {
				return fmt.Errorf("world %s, seed %d: %w", w.name, seed, err)
			}
			e.Runs = append(e.Runs, *r)
			printRun(os.Stdout, r)
		}
	}
	return conclude(&e, *asJSON, *report)
}

// readResults reads what runs under the same conditions wrote, as one.
func readResults(paths []string) (*evaluation, error) {
	var all *evaluation
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
		var e evaluation
		if err := json.Unmarshal(b, &e); err != nil {
			return nil, fmt.Errorf("read results %s: %w", p, err)
		}
		if len(e.Runs) == 0 {
			return nil, fmt.Errorf("read results %s: it holds no simulation", p)
		}
		if all == nil {
			all = &e
			continue
		}
		if e.Flags != all.Flags || e.History != all.History || e.Judged != all.Judged || e.Threshold != all.Threshold {
			return nil, fmt.Errorf("results %s were made under other conditions than %s: report them apart", p, paths[0])
		}
		all.Runs = append(all.Runs, e.Runs...)
	}
	return all, nil
}

// conclude prints and writes what was measured.
func conclude(e *evaluation, asJSON, report string) error {
	if len(e.Runs) > 1 {
		printSummary(os.Stdout, e.Runs)
	}
	if asJSON != "" {
		b, err := json.MarshalIndent(e, "", " ")
		if err != nil {
			return fmt.Errorf("encode results: %w", err)
		}
		if err := os.WriteFile(asJSON, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
	}
	if report != "" {
		return writeReport(report, e)
	}
	return nil
}

// conditions are the flags that results depend on, as given.
func conditions() string {
	var given []string
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "world", "seed", "binary", "keep", "json", "report", "misses": // the runs say the first two
		default:
			given = append(given, "--"+f.Name+" "+f.Value.String())
		}
	})
	return strings.Join(given, " ")
}

// evaluate simulates a world and shows it to every engine.
func evaluate(ctx context.Context, o *options, l *lists, w world, seed uint64) (*run, error) {
	began := time.Now()
	lap := func() float64 {
		d := time.Since(began).Seconds()
		began = time.Now()
		return d
	}
	s, err := simulate(l, w, seed, o.history, o.judged)
	if err != nil {
		return nil, err
	}
	r := &run{World: w.name, Seed: seed, Days: s.judgedDays(), Events: len(s.events), Principals: len(s.principals), Incidents: map[string]int{},
		Duplicates: len(s.events) - int(s.count), Simulated: lap()}
	for _, in := range s.incidents {
		r.Incidents[in.kind]++
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "farcall-evaluate-"); err != nil {
			return nil, fmt.Errorf("temporary folder: %w", err)
		}
		defer os.RemoveAll(dir)
	}
	dir = filepath.Join(dir, fmt.Sprintf("%s-%d", w.name, seed))
	if _, err := s.write(dir); err != nil {
		return nil, err
	}
	r.Wrote = lap()
	found, err := farcallAlerts(ctx, o.binary, dir, s, o.least, o.threshold)
	if err != nil {
		return nil, err
	}
	// Live, an alert that sinks below the threshold has woken somebody all the same.
	fired, err := farcallAlerts(ctx, o.binary, dir, s, o.threshold, o.threshold)
	if err != nil {
		return nil, err
	}
	r.FarcallTook = lap() / 2
	r.Results = append(r.Results, measure(s, "farcall", o.threshold, found, fired))
	engines := baselines(s)
	for i, alerts := range runBaselines(s, engines) {
		r.Results = append(r.Results, measure(s, engines[i].name(), engines[i].threshold(), alerts, atOrAbove(alerts, engines[i].threshold())))
	}
	r.BaselineTook = lap()
	if o.models {
		var engines []engine
		for _, m := range models() {
			engines = append(engines, newMethodScore(m))
		}
		for i, alerts := range runBaselines(s, engines) {
			r.Models = append(r.Models, measure(s, engines[i].name(), engines[i].threshold(), alerts, atOrAbove(alerts, engines[i].threshold())))
		}
	}
	if o.misses {
		printMisses(os.Stdout, s, found, fired, o.threshold)
	}
	return r, nil
}
