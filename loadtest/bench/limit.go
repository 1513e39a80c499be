package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/cloudtrail"
)

// consumerVariable makes this program a consumer of its own, a process that is measured like the others. It has the kind of consumer,
// the number of events, the topic, and the brokers, with spaces between.
const consumerVariable = "FARCALL_BENCH_CONSUMER"

const (
	bareConsumer   = "bare"   // polls and drops
	decodeConsumer = "decode" // and decodes each event once, with everything checked
)

// consumeIfAsked runs the consumer, if that is what this process is for, and ends the process.
func consumeIfAsked() {
	asked := strings.Fields(os.Getenv(consumerVariable))
	if len(asked) == 0 {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// decoded counts what the decoder found.
type decoded struct{ events, others int64 }

func (d *decoded) Event(*cloudtrail.Event)    { d.events++ }
func (d *decoded) Skip(cloudtrail.SkipKind)   { d.others++ }
func (d *decoded) Refuse(*cloudtrail.Refusal) { d.others++ }

// consume reads the topic from its beginning, says so when it has read all, and waits to be ended.
func consume(ctx context.Context, asked []string) error {
	if len(asked) != 4 {
		return fmt.Errorf("%s has %d fields", consumerVariable, len(asked))
	}
	kind, topic := asked[0], asked[2]
	events, err := strconv.ParseInt(asked[1], 10, 64)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(asked[3], ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(8<<20), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	defer cl.Close()
	dec := cloudtrail.NewDecoder(cloudtrail.DefaultLimits())
	var d decoded
	first, half := true, true
	for n := int64(0); n < events; {
		fs := cl.PollRecords(ctx, 10_000)
		if err := fs.Err(); err != nil {
			return err
		}
		n += int64(fs.NumRecords())
		if first && n > 0 {
			first = false
			fmt.Println(saysFirst)
		}
		if kind == decodeConsumer {
			fs.EachRecord(func(r *kgo.Record) { dec.Decode(r.Value, &d) })
		}
		if half && n >= events/2 {
			half = false
			cpu, err := cpuTime(os.Getpid())
			if err != nil {
				return err
			}
			fmt.Println(saysMiddle, n, int64(cpu))
		}
	}
	if kind == decodeConsumer && (d.events != events || d.others != 0) {
		return fmt.Errorf("%d events and %d other things in %d records", d.events, d.others, events)
	}
	fmt.Println(saysDone)
	<-ctx.Done()
	return nil
}

// What a consumer prints when it has its first records, when it has half of them, and when it has read all.
const (
	saysFirst  = "FIRST"
	saysMiddle = "MIDDLE" // with the number of records, and CPU in nanoseconds
	saysDone   = "DONE"
)

// saidMiddle finds what a consumer printed in the middle.
func saidMiddle(out string) (m mark, err error) {
	_, rest, ok := strings.Cut(out, saysMiddle)
	if !ok {
		return m, fmt.Errorf("the consumer did not say %s", saysMiddle)
	}
	_, err = fmt.Sscan(rest, &m.events, (*int64)(&m.cpu))
	return m, err
}
