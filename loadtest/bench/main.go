// Command bench measures farcall against the least that any consumer must do, and against Kafka Streams doing the same, in one run
// on one Apache Kafka: throughput, CPU, memory, what goes through the broker, latency of alerts, what growth costs, and what bad records
// cost the good ones.
//
//	bench [flags] [throughput] [latency] [growth] [catch-up] [poison]
//
// Without a part it does all of them. The topic of each world is filled once (loadtest/generate). Systems then take turns, each
// repetition in a process of its own that reads from the beginning into topics and state of its own; what it took is what the kernel
// says of the process, start-up and end included. Before any time is printed, the distributions that farcall and the peers came
// to are compared, row by row, with those that the load has.
//
// It prints tables and raw lines for RESULTS.md. Everything runs on the machine that it is started on, the broker too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/loadtest/kafka"
)

// options are the flags.
type options struct {
	events, partitions, repeats int
	ownPartitions               int
	rate                        float64
	skew                        float64
	hour                        bool
	codec                       string
	worlds                      []string
	parts                       []string
	only                        []string // systems, by short name; empty: all
	peers                       bool
	root                        string         // of the module
	plots                       string         // folder, or none
	profiles                    string         // likewise
	paced                       time.Duration  // how long each rate of latency, and the steady state of catch-up, is held
	held                        []float64      // events/s of latency, for all systems; none: shares of what each can
	sizes                       []grown        // of growth
	alone                       bool           // poison: each large kind by itself, too
	cluster                     *kafka.Cluster // nil: one of its own
}

var parts = []string{"throughput", "latency", "growth", "catch-up", "poison"}

func main() {
	consumeIfAsked()
	var o options
	flag.IntVar(&o.events, "events", 2_000_000, "events in a raw topic; growth takes half as many, the worst world a quarter")
	flag.IntVar(&o.partitions, "partitions", 4, "partitions of the raw topic")
	flag.IntVar(&o.ownPartitions, "own-partitions", 32, "partitions of farcall's topics between the stages, and of the peers'")
	flag.IntVar(&o.repeats, "repeats", 3, "repetitions, of which the median counts")
	flag.Float64Var(&o.rate, "rate", generate.DefaultOptions().Rate,
		"events that the organisation makes in a second of its own time: what the telling ratio depends on")
	flag.Float64Var(&o.skew, "skew", 0, "share of the most called method; 0: as published records have it")
	flag.BoolVar(&o.hour, "hour", false, "fill throughput and growth with a whole hour of a sample of the organisation, not the first minutes of all of it")
	flag.StringVar(&o.codec, "codec", "zstd", "of the raw topic: zstd, lz4, snappy or none")
	worlds := flag.String("worlds", "default,worst", "default, worst: what the raw topics hold")
	only := flag.String("only", "", "systems to measure: bare, limit, route, detect, all, dsl, papi; empty: all")
	flag.BoolVar(&o.peers, "peers", true, "measure the Kafka Streams jobs, where there are Java and Maven")
	flag.StringVar(&o.root, "root", ".", "root of the module")
	flag.StringVar(&o.plots, "plots", "", "folder for plots; empty: none")
	flag.StringVar(&o.profiles, "profiles", "", "folder for profiles of farcall in throughput, for go tool pprof; empty: none. Taking them costs a little")
	flag.DurationVar(&o.paced, "paced", time.Minute, "how long each rate of latency is held")
	held := flag.String("held", "", "latency: events/s to hold for every system, like 6000,12000; empty: half and nine tenths of what each can")
	flag.BoolVar(&o.alone, "alone", false, "poison: measure each large kind of bad record by itself, too, with a twentieth of the events")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "bench [flags] [%s]\n\nWithout a part it does all of them.\n\n", strings.Join(parts, "] ["))
		flag.PrintDefaults()
	}
	flag.Parse()
	o.worlds = strings.Split(*worlds, ",")
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, f := range strings.FieldsFunc(*held, func(r rune) bool { return r == ',' }) {
		r, err := strconv.ParseFloat(f, 64)
		if err != nil || r < 1 || r > 1e6 {
			fmt.Fprintf(os.Stderr, "bench: -held %s: %q is no rate from 1 to a million\n", *held, f)
			os.Exit(2)
		}
		o.held = append(o.held, r)
	}
	if o.parts = flag.Args(); len(o.parts) == 0 {
		o.parts = parts
	}
	o.sizes = sizes(o)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	for _, p := range o.parts {
		if !slices.Contains(parts, p) {
			return fmt.Errorf("part %q: %s are known", p, strings.Join(parts, ", "))
		}
	}
	if o.events < 1000 || o.partitions < 1 || o.repeats < 1 {
		return fmt.Errorf("%d events, %d partitions, %d repetitions", o.events, o.partitions, o.repeats)
	}
	b, end, err := open(ctx, out, o.cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	b.ownPartitions, b.profiles = o.ownPartitions, o.profiles
	fmt.Fprintf(out, "%s; Apache Kafka %s, one broker, on the same machine; load %s; %s\n", machineName(), kafka.Version, load(),
		time.Now().UTC().Format("2006-01-02 15:04"))
	if o.peers {
		why, err := b.readyPeers(ctx, o.root)
		if err != nil {
			return err
		}
		if why != "" {
			fmt.Fprintf(out, "Kafka Streams is left out: %s\n", why)
		}
	}
	for _, p := range o.parts {
		fmt.Fprintf(out, "\n## %s\n\n", p)
		switch p {
		case "throughput":
			err = b.throughput(ctx, o)
		case "latency":
			err = b.latency(ctx, o)
		case "growth":
			err = b.growth(ctx, o, o.sizes)
		case "catch-up":
			err = b.catchUp(ctx, o)
		case "poison":
			err = b.poison(ctx, o)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// load is the machine's load average over the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// machineName says what it was measured on.
func machineName() string {
	name := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if model, ok := strings.CutPrefix(line, "model name"); ok {
				name = strings.TrimSpace(strings.TrimLeft(model, "\t :"))
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s", name, runtime.NumCPU(), runtime.Version())
}

// world is the load of these options.
func (o *options) world(name string) generate.Options {
	g := generate.DefaultOptions()
	g.World, g.Rate, g.Skew = name, o.rate, o.skew
	return g
}

// sampled is the load of so many events that are read from a topic.
func (o *options) sampled(w generate.Options, events int) generate.Options {
	if o.hour {
		return w.Hour(events)
	}
	return w
}

func (o *options) plot(name string) string { return filepath.Join(o.plots, "bench-"+name+".png") }
