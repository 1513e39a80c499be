package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/loadtest/kafka"
)

// bench is one broker, one binary, and the topics that systems read in turn.
type bench struct {
	dir, binary string
	brokers     []string
	cl          *kgo.Client
	adm         *kadm.Client
	streams     *streams // nil where they can't be run
	installed   int      // how many installations there were
	// ownPartitions are those of farcall's topics between the stages, and of the peers'.
	ownPartitions int
	profiles      string // folder, or none
	out           io.Writer
}

// open starts what all measurements need. cluster is one that runs already, or nil.
func open(ctx context.Context, out io.Writer, cluster *kafka.Cluster) (_ *bench, _ func() error, err error) {
	b := &bench{out: out}
	var undo []func() error
	end := func() (err error) {
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "farcall-bench-"); err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() error { return os.RemoveAll(b.dir) })
	b.binary = filepath.Join(b.dir, "farcall")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "github.com/farcall/farcall/processor/cmd/farcall")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	if cluster == nil {
		if cluster, err = kafka.Start(ctx, kafka.Options{Dir: filepath.Join(b.dir, "kafka"), JavaOpts: []string{"-Xmx1g"}}); err != nil {
			return nil, nil, err
		}
		undo = append(undo, cluster.Stop)
	}
	b.brokers = cluster.Brokers()
	if b.cl, err = kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.MetadataMinAge(250*time.Millisecond)); err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() error { b.cl.Close(); return nil })
	b.adm = kadm.NewClient(b.cl)
	return b, end, nil
}

// filled is a raw topic.
type filled struct {
	topic      string
	world      generate.Options
	partitions int
	events     int
	bytes      int64 // of values, as they are before compression
	stored     int64 // on the broker
	want       []string
	bad        int            // records beside the events
	refused    map[string]int // dead letters that they must leave, by reason
}

// fill makes a raw topic and writes the load to it, once, with the bad records of p among it, which may be nil.
func (b *bench) fill(ctx context.Context, topic, codec string, o generate.Options, events, partitions int, p *planter) (*filled, error) {
	g, err := generate.New(o)
	if err != nil {
		return nil, err
	}
	cl, err := generate.Client(b.brokers, codec)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if _, err := b.adm.CreateTopic(ctx, int32(partitions), 1, map[string]*string{"max.message.bytes": kadm.StringPtr(fmt.Sprint(largest))},
		topic); err != nil {
		return nil, err
	}
	t := truth{}
	began := time.Now()
	sent, err := g.Produce(ctx, cl, generate.Load{Topic: topic, Partitions: partitions, Records: events, Each: func(e *generate.Event,
		at time.Time) {
		t.add(e)
		if p != nil {
			p.plant(cl, &kgo.Record{Topic: topic, Timestamp: at}, partitions, e)
		}
	}})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	f := &filled{topic: topic, world: o, partitions: partitions, events: events, bytes: sent.Bytes, want: t.lines()}
	if p != nil {
		if err := p.sent.Err(); err != nil {
			return nil, fmt.Errorf("bad records: %w", err)
		}
		f.bad, f.refused = p.planted, p.refused
	}
	if f.stored, _, err = b.written(ctx, func(name string) bool { return name == topic }); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.out, "%s: %d events of %d bytes (%d on the broker, %s) and %d bad records in %d partitions, %.0f s of event time at %.0f events/s; %d accounts, %d roles, %d people, %d rows; filled in %.1f s\n",
		topic, events, sent.Bytes/int64(events), f.stored/int64(events), codec, f.bad, partitions, o.Span(events).Seconds(), o.Rate, o.Accounts,
		o.Machines, o.People, len(f.want), time.Since(began).Seconds())
	return f, nil
}

// written is what topics hold: bytes on the broker's disk, and records, markers of transactions among them.
func (b *bench) written(ctx context.Context, of func(topic string) bool) (bytes, records int64, err error) {
	all, err := b.adm.ListTopics(ctx)
	if err != nil {
		return 0, 0, err
	}
	var names []string
	for _, name := range all.Names() {
		if of(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return 0, 0, nil
	}
	ends, err := b.adm.ListEndOffsets(ctx, names...)
	if err := errors.Join(err, ends.Error()); err != nil {
		return 0, 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { records += o.Offset })
	dirs, err := b.adm.DescribeAllLogDirs(ctx, all.TopicsSet())
	if err != nil {
		return 0, 0, err
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if of(p.Topic) {
				bytes += p.Size
			}
		})
	})
	return bytes, records, nil
}

// remove deletes the topics of an installation, so that the broker's disk does not fill.
func (b *bench) remove(ctx context.Context, of func(topic string) bool) error {
	all, err := b.adm.ListTopics(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, name := range all.Names() {
		if of(name) {
			names = append(names, name)
		}
	}
	resp, err := b.adm.DeleteTopics(ctx, names...)
	return errors.Join(err, resp.Error())
}

// readFrom gives the records of a topic to each, markers too, from an offset that follows from the end of the partition.
func (b *bench) readFrom(ctx context.Context, topic string, from func(end int64) int64, each func(r *kgo.Record)) error {
	ends, err := b.adm.ListEndOffsets(ctx, topic)
	if err := errors.Join(err, ends.Error()); err != nil {
		return err
	}
	left := map[int32]int64{}
	starts := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
			starts[o.Partition] = kgo.NewOffset().At(max(0, from(o.Offset)))
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, fmt.Errorf("%s could not be read to its end", topic))
	defer cancel()
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			each(r)
		})
	}
	return nil
}

// step is a group and the topic that it must have read to the end.
type step struct{ group, topic string }

// committed waits until the group has committed all records of the topic, to which nobody may write any more. Behind the last record
// of a partition lie markers of transactions, which a group need not have passed.
func (b *bench) committed(ctx context.Context, p *process, s step) error {
	const tail = 64 // more than the markers that may follow the last record
	want := map[int32]int64{}
	err := b.readFrom(ctx, s.topic, func(end int64) int64 { return end - tail }, func(r *kgo.Record) {
		if !r.Attrs.IsControl() {
			want[r.Partition] = r.Offset + 1
		}
	})
	if err != nil {
		return err
	}
	return p.waitFor(ctx, func() (bool, error) {
		os, err := b.adm.FetchOffsets(ctx, s.group)
		if err != nil {
			return false, fmt.Errorf("offsets of %s: %w", s.group, err)
		}
		for n, end := range want {
			if o, ok := os.Lookup(s.topic, n); !ok || o.At < end {
				return false, nil
			}
		}
		return true, nil
	})
}

// begun waits until the group has committed something.
func (b *bench) begun(ctx context.Context, p *process, group string) error {
	return p.waitFor(ctx, func() (bool, error) {
		os, err := b.adm.FetchOffsets(ctx, group)
		if err != nil {
			return false, nil // there is no group yet
		}
		found := false
		os.Each(func(o kadm.OffsetResponse) { found = found || o.At > 0 })
		return found, nil
	})
}

// middle waits until the group has committed so much of a topic, and says how much that is, and what the process took for it: right behind a
// commit, when least is on its way.
func (b *bench) middle(ctx context.Context, p *process, s step, half int64) (m mark, err error) {
	err = p.waitFor(ctx, func() (bool, error) {
		n, err := b.progress(ctx, s)
		if err != nil || n < half {
			return false, err
		}
		m.events = n
		m.cpu, err = cpuTime(p.cmd.Process.Pid)
		return true, err
	})
	return m, err
}

// progress is the sum of what a group has committed of a topic.
func (b *bench) progress(ctx context.Context, s step) (n int64, err error) {
	os, err := b.adm.FetchOffsets(ctx, s.group)
	if err != nil {
		return 0, err
	}
	os.Each(func(o kadm.OffsetResponse) {
		if o.Topic == s.topic {
			n += max(0, o.At)
		}
	})
	return n, nil
}

// environment is this process's without farcall's settings, and with the given ones.
func environment(settings map[string]string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FARCALL_") {
			env = append(env, v)
		}
	}
	for k, v := range maps.All(settings) {
		env = append(env, k+"="+v)
	}
	return env
}
