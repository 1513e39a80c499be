// Command generate writes the CloudTrail of a large simulated organisation to a topic of Kafka, or as lines to standard output:
//
//	generate --brokers 127.0.0.1:9092 --records 1000000
//	generate --records 1000 > cloudtrail.ndjson
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/farcall/farcall/loadtest/generate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := generate.DefaultOptions()
	flag.Uint64Var(&o.Seed, "seed", o.Seed, "of everything that is by chance")
	flag.StringVar(&o.World, "world", o.World, "default, or worst: every event of another principal")
	flag.Float64Var(&o.Rate, "rate", o.Rate, "events that the organisation makes in a second of its own time")
	flag.Float64Var(&o.Skew, "skew", o.Skew, "share of the most called method, 0 to 0.95; 0: as published records have it")
	flag.IntVar(&o.Methods, "methods", o.Methods, "number of methods; 0: all")
	flag.IntVar(&o.Accounts, "accounts", o.Accounts, "number of accounts")
	flag.IntVar(&o.Machines, "machines", o.Machines, "number of roles of machines, and services")
	flag.IntVar(&o.People, "people", o.People, "number of people")
	flag.Float64Var(&o.ByPeople, "by-people", o.ByPeople, "share of the calls that people make")
	flag.Float64Var(&o.Duplicates, "duplicates", o.Duplicates, "share of the records that come a second time")
	flag.Float64Var(&o.Intrusions, "intrusions", o.Intrusions, "share of the events that are intrusions")
	start := flag.String("start", o.Start.Format(time.RFC3339), "when the first event is delivered; now: now")
	l := generate.Load{}
	brokers := flag.String("brokers", "", "host:port, comma-separated; empty: lines to standard output")
	flag.StringVar(&l.Topic, "topic", "cloudtrail", "topic; it is made if it does not exist")
	flag.IntVar(&l.Partitions, "partitions", 4, "partitions of the topic")
	flag.IntVar(&l.Records, "records", 1_000_000, "number of records")
	flag.Float64Var(&l.Pace, "pace", 0, "records to produce in a second; 0: as many as go")
	codec := flag.String("codec", "zstd", "zstd, lz4, snappy or none")
	flag.Parse()
	if *start == "now" {
		o.Start = time.Now()
	} else {
		var err error
		if o.Start, err = time.Parse(time.RFC3339, *start); err != nil {
			return err
		}
	}
	g, err := generate.New(o)
	if err != nil {
		return err
	}
	began := time.Now()
	if *brokers == "" {
		out := bufio.NewWriterSize(os.Stdout, 1<<20)
		var line []byte
		for range l.Records {
			line, _ = g.Append(line[:0])
			if _, err := out.Write(append(line, '\n')); err != nil {
				return err
			}
		}
		return out.Flush()
	}
	cl, err := generate.Client(strings.Split(*brokers, ","), *codec)
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, int32(l.Partitions), -1, nil, l.Topic); err != nil && !errors.Is(err,
		kerr.TopicAlreadyExists) {
		return err
	}
	sent, err := g.Produce(ctx, cl, l)
	took := time.Since(began)
	fmt.Fprintf(os.Stderr, "%d records of %d bytes on average, %s of event time, in %.1f s: %.0f a second\n", sent.Records,
		sent.Bytes/int64(max(1, sent.Records)),
		o.Span(sent.Records), took.Seconds(), float64(sent.Records)/took.Seconds())
	return err
}
