package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/facts"
	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/processor/poison"
	"github.com/farcall/farcall/topics"
)

const (
	// goodForBad is how many events there are for each bad record.
	goodForBad = 100
	// largest is what a raw topic takes: more than any batch with a bad record has.
	largest = 12 << 20
	// apart is the size from which bad records go through a client of their own, so that the good ones lie in the batches in which they
	// lie without them.
	apart = 512 << 10
	// aloneFewer is how many times fewer events there are where each bad record is a large one.
	aloneFewer = 20
)

// planter puts bad records of its kinds among good ones, in turn. A kind without a value is a call from everywhere.
type planter struct {
	kinds   []poison.Kind
	events  int
	planted int
	refused map[string]int // dead letters that they must leave, by reason
	large   *kgo.Client
	sent    kgo.FirstErrPromise
	world   []string // addresses
}

// plant hears of each event, before it is produced by the client, and produces a bad record behind every hundredth. r is all that
// a record needs but a value and a partition.
func (p *planter) plant(cl *kgo.Client, r *kgo.Record, partitions int, e *generate.Event) {
	if p.events++; p.events%goodForBad != 0 {
		return
	}
	n := len(p.kinds)
	k := &p.kinds[p.planted%n]
	if r.Value = k.Value; k.Value == nil {
		r.Value = fromEverywhere(p.planted, p.world[p.planted/n%len(p.world)], e.Time)
	}
	if k.Reason != "" {
		p.refused[k.Reason]++
	}
	if len(r.Value) > apart {
		cl = p.large
	}
	r.Partition = int32((p.planted + p.planted/n) % partitions) // no kind keeps to one partition
	p.planted++
	cl.Produce(context.Background(), r, p.sent.Promise())
}

// fromEverywhere is a good record: the n-th call of one method, by somebody who never called before, from the address.
func fromEverywhere(n int, address string, sec int64) []byte {
	return fmt.Appendf(nil, `{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDA%017[1]d","arn":"arn:aws:iam::111122223333:user/everywhere-%[1]d","accountId":"111122223333","accessKeyId":"AKIA%016[1]d","userName":"everywhere-%[1]d"},"eventTime":"%[2]s","eventSource":"%[3]s.amazonaws.com","eventName":"CallFromEverywhere","awsRegion":"us-east-1","sourceIPAddress":"%[4]s","userAgent":"aws-cli/2.22.12","requestParameters":null,"responseElements":null,"eventID":"00000000-0000-4000-8000-%012[1]d","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"eventCategory":"Management","recipientAccountId":"111122223333"}`,
		n, time.Unix(sec, 0).UTC().Format(time.RFC3339), poison.Service, address)
}

// everywhere has an address in each country that has networks, and in each of Amazon's regions.
func everywhere() (addresses []string) {
	facts.Lines("networks.txt", func(f []string) {
		if n := slices.IndexFunc(f[1:], func(n string) bool { return !strings.Contains(n, ":") }); n >= 0 {
			addresses = append(addresses, f[1+n]+".1")
		}
	})
	facts.Lines("amazon.txt", func(f []string) { addresses = append(addresses, netip.MustParsePrefix(f[1]).Addr().Next().String()) })
	return addresses
}

// badKinds are the kinds, made of records of the load.
func badKinds(o generate.Options) (small, large []poison.Kind, err error) {
	g, err := generate.New(o)
	if err != nil {
		return nil, nil, err
	}
	good, _ := g.Append(nil)
	return poison.Small(good), poison.Large(good, func(n int) []byte {
		b, _ := g.Append(make([]byte, 0, n+generate.MaxBytes))
		for len(b) < n {
			b, _ = g.Append(append(b, ','))
		}
		return b
	}), nil
}

// badSet are kinds that are measured together.
type badSet struct {
	name   string
	kinds  []poison.Kind
	events int
}

// poison measures the bare consumer and farcall with all stages over good events, and over the same with one bad record to each hundred.
func (b *bench) poison(ctx context.Context, o options) error {
	small, large, err := badKinds(o.sampled(o.world(generate.Default), o.events))
	if err != nil {
		return err
	}
	world := everywhere()
	last := poison.Kind{Name: fmt.Sprintf("a method called from %d places", len(world))}
	sets := []badSet{{"small kinds", small, o.events}, {"every kind", slices.Concat(small, large, []poison.Kind{last}), o.events}}
	if o.alone {
		for _, k := range append(large, last) {
			sets = append(sets, badSet{k.Name, []poison.Kind{k}, max(1000, o.events/aloneFewer)})
		}
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"one bad record to each hundred events", "events", "read by", "CPU s per million events: clean", "with bad ones",
		"CPU: slower", "wall: slower", "CPU ms a bad record", "peak RSS MiB: clean", "with bad ones", "dead letters: seen/expected",
		"raw: CPU s clean; with"})
	var clean *filled
	for n, s := range sets {
		w := o.sampled(o.world(generate.Default), s.events)
		if clean == nil || clean.events != s.events {
			if clean, err = b.fill(ctx, fmt.Sprint("cloudtrail-clean-", n), o.codec, w, s.events, o.partitions, nil); err != nil {
				return err
			}
		}
		cl, err := generate.Client(b.brokers, o.codec, kgo.ProducerBatchMaxBytes(largest), kgo.MaxBufferedBytes(4*largest))
		if err != nil {
			return err
		}
		p := &planter{kinds: s.kinds, refused: map[string]int{}, large: cl, world: world}
		with, err := b.fill(ctx, fmt.Sprint("cloudtrail-poison-", n), o.codec, w, s.events, o.partitions, p)
		cl.Close()
		if err != nil {
			return err
		}
		var systems []system
		for _, r := range []system{{name: "bare consumer", run: consumer(bareConsumer)}, {name: "farcall, all stages", run: farcall("route",
			"detect", "triage")}} {
			for _, f := range []*filled{clean, with} {
				systems = append(systems, system{r.name, r.name + " on " + f.topic, func(ctx context.Context, b *bench, _ *filled) (sample, error) {
					return r.run(ctx, b, f)
				}})
			}
		}
		ms, err := b.turns(ctx, clean, systems, o.repeats)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for i := 0; i < len(ms); i += 2 {
			t.AppendRow(badRow(s.name, &ms[i], &ms[i+1], clean, with))
		}
		last := n == len(sets)-1 || sets[n+1].events != s.events
		if err := b.remove(ctx, func(topic string) bool { return topic == with.topic || last && topic == clean.topic }); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "\n%s\n\nDefault world. The rows of each run were those of its load, and its dead letters those of the bad records, reason by reason.\n%s",
		t.RenderMarkdown(), "Kinds of a set are mixed in equal shares.\n")
	return nil
}

// badRow is how a system fared with bad records, and without.
func badRow(set string, without, with *measured, clean, mixed *filled) table.Row {
	a, c := without.median(), with.median()
	cpu := func(m *measured) string {
		var all []string
		for _, s := range m.samples {
			all = append(all, fmt.Sprintf("%.2f", s.cpu.Seconds()))
		}
		return strings.Join(all, ", ")
	}
	slower := func(a, c time.Duration) string { return fmt.Sprintf("%+.1f %%", 100*(float64(c)/float64(a)-1)) }
	letters, expected := "", 0
	for _, n := range mixed.refused {
		expected += n
	}
	if without.name != "bare consumer" {
		letters = fmt.Sprintf("%d/%d", c.letters, expected)
	}
	return table.Row{set, clean.events, without.name, fmt.Sprintf("%.2f", a.perEvent(clean)), fmt.Sprintf("%.2f", c.perEvent(mixed)),
		slower(a.cpu, c.cpu), slower(a.wall, c.wall), fmt.Sprintf("%.3f", (c.cpu-a.cpu).Seconds()*1000/float64(mixed.bad)), a.peak >> 20, c.peak >> 20,
		letters, cpu(without) + "; " + cpu(with)}
}

// deadLetters counts those of an installation. They must be those of the topic, reason by reason.
func (b *bench) deadLetters(ctx context.Context, f *filled, i *installation) (n int, err error) {
	got := map[string]int{}
	err = b.readFrom(ctx, i.names.DeadLetters, func(int64) int64 { return 0 }, func(r *kgo.Record) {
		if !r.Attrs.IsControl() {
			d := topics.ParseDeadLetter(r)
			got[d.Reason]++
			n++
		}
	})
	if err == nil && !maps.Equal(got, f.refused) {
		err = fmt.Errorf("dead letters of %s: %v, and %v are expected", f.topic, got, f.refused)
	}
	return n, err
}

// withoutPoison leaves out the rows of methods that only bad records call.
func withoutPoison(lines []string) []string {
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, poison.Service+":") })
}
