// Package demo shows farcall at work on an embedded broker: an invented organisation's thirty days of CloudTrail, then live
// traffic with intrusions in it. The processor that it runs is the real one; only the broker and the story are made up. It
// must never be used for anything but showing.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	pretty "github.com/jedib0t/go-pretty/v6/text"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor"
	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/topics"
)

// Options of a demo.
type Options struct {
	Seed  uint64
	Out   io.Writer
	Color bool // the terminal can show colours and rewrite its last line
	// Live is how long the live traffic, some hours of it, plays.
	Live time.Duration
	Now  time.Time
}

const (
	rawTopic      = "cloudtrail"
	rawPartitions = 4
)

// Run runs the demo until its summary is printed or ctx ends.
func Run(ctx context.Context, o Options) error {
	// Live traffic lies in the past too: an event from the future would be refused.
	story := NewStory(o.Seed, Morning(o.Now))
	v := &view{out: o.Out, color: o.Color}
	v.say("farcall demo, seed %d: an invented organisation, thirty days of its CloudTrail, then a live morning with %d intrusions in it.", o.Seed, intrusions(story.Plants()))
	v.say("The broker is embedded (kfake); the processor is the one that runs in production.\n")

	dir, err := os.MkdirTemp("", "farcall-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SleepOutOfOrder())
	if err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	defer cluster.Close()
	cfg := config.Default()
	cfg.Kafka.Brokers = cluster.ListenAddrs()
	cfg.State.Dir = filepath.Join(dir, "state")
	cfg.Topics.Partitions = 4
	cfg.Topics.Replication = 1

	cl, err := kgo.NewClient(kgo.SeedBrokers(cfg.Kafka.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.ProducerLinger(10*time.Millisecond), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, rawPartitions, 1, nil, rawTopic); err != nil {
		return fmt.Errorf("create topic %s: %w", rawTopic, err)
	}
	if _, _, err := topics.Apply(ctx, adm, cfg.TopicOptions(), cfg.Topics.Replication); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		log := slog.New(slog.NewTextHandler(o.Out, &slog.HandlerOptions{Level: slog.LevelError}))
		if err := processor.Run(ctx, cfg, processor.Options{Log: log, NoConsole: true}); err != nil {
			cancel(fmt.Errorf("the processor ended: %w", err))
		}
	})
	defer wg.Wait()
	defer cancel(nil)
	obs := newObserver(story.Plants(), v)
	wg.Go(func() {
		if err := obs.watch(ctx, cfg.Kafka.Brokers, topics.NamesFor(cfg.Topics.Prefix).Alerts); err != nil {
			cancel(err)
		}
	})
	d := &director{cl: cl, adm: adm, cfg: cfg, v: v, obs: obs}
	if err := d.play(ctx, story, o.Live); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	obs.summary(o.Seed)
	return nil
}

func intrusions(ps []Plant) (n int) {
	for _, p := range ps {
		if p.Kind == Intrusion {
			n++
		}
	}
	return n
}

// director plays the story into the raw topic.
type director struct {
	cl   *kgo.Client
	adm  *kadm.Client
	cfg  config.Config
	v    *view
	obs  *observer
	sent int64
	mu   sync.Mutex
	err  error
}

func (d *director) send(r Record) {
	d.sent++
	d.cl.Produce(context.Background(), &kgo.Record{Topic: rawTopic, Partition: int32(r.Partition % rawPartitions), Value: slices.Clone(r.JSON)}, func(_ *kgo.Record, err error) {
		if err != nil {
			d.mu.Lock()
			d.err = errors.Join(d.err, err)
			d.mu.Unlock()
		}
	})
}

func (d *director) play(ctx context.Context, s *Story, live time.Duration) error {
	began := time.Now()
	s.History(func(r Record) bool {
		d.send(r)
		if d.sent%20_000 == 0 {
			d.v.status("history: %s events produced", thousands(d.sent))
		}
		return ctx.Err() == nil
	})
	if err := d.drain(ctx, "history"); err != nil {
		return err
	}
	took := time.Since(began)
	d.v.say("\n%s events of history through all three stages in %.1f s: %s events/s, broker included. %d alerts in those thirty days.",
		thousands(d.sent), took.Seconds(), thousands(int64(float64(d.sent)/took.Seconds())), d.obs.count())
	d.v.say("\nLive now: what follows comes as it happens, some hours in %s.\n", live.Round(time.Second))
	d.obs.live()

	// Deliveries keep their order and proportion.
	var first, last time.Time
	total := 0
	s.Live(func(r Record) bool {
		if first.IsZero() {
			first = r.Delivered
		}
		last = r.Delivered
		total++
		return true
	})
	scale := live.Seconds() / math.Max(last.Sub(first).Seconds(), 1)
	began = time.Now()
	n := 0
	s.Live(func(r Record) bool {
		due := began.Add(time.Duration(r.Delivered.Sub(first).Seconds() * scale * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return false
			}
		}
		d.obs.sent(r.JSON, time.Now())
		d.send(r)
		if n++; n%50 == 0 {
			d.v.status("live: %s  %d of %d events", r.Delivered.UTC().Format("15:04"), n, total)
		}
		return true
	})
	if err := d.drain(ctx, "live"); err != nil {
		return err
	}
	return ctx.Err()
}

// drain waits until every stage has committed everything that was produced.
func (d *director) drain(ctx context.Context, what string) error {
	if err := d.cl.Flush(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	err := d.err
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("produce to %s: %w", rawTopic, err)
	}
	p := d.cfg.Topics.Prefix
	groups := []string{p + ".route", p + ".detect", p + ".triage"}
	last, moved := [3]int64{}, time.Now()
	for quiet := 0; quiet < 2; {
		lags, err := d.adm.Lag(ctx, slices.Clone(groups)...) // which reorders what it gets
		if err != nil {
			return err
		}
		left := [3]int64{}
		known := true
		for i, g := range groups {
			l := lags[g]
			known = known && l.Error() == nil && len(l.Lag) > 0
			for _, p := range l.Lag.Sorted() {
				// What lies behind the last record is its transaction's marker, which takes an offset and is no record.
				left[i] += max(0, p.Lag-1)
			}
		}
		if left != last {
			last, moved = left, time.Now()
		}
		// So do the records of a transaction that aborted: what nobody reads for longer than a session may last is no record.
		if known && (left == [3]int64{} || time.Since(moved) > d.cfg.Stream.SessionTimeout+d.cfg.Stream.TransactionTimeout) {
			quiet++ // twice, for a stage may be about to write to the next
		} else {
			quiet = 0
			d.v.status("%s: %s events produced, %s records to route, %s visits to detect, %s to triage", what, thousands(d.sent), thousands(left[0]), thousands(left[1]), thousands(left[2]))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	d.v.status("")
	return d.obs.settle(ctx, d.adm, topics.NamesFor(p).Alerts)
}

// view writes lines, with a status line below them where the terminal allows.
type view struct {
	mu     sync.Mutex
	out    io.Writer
	color  bool
	last   string
	headed bool
}

func (v *view) say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clear()
	fmt.Fprintf(v.out, format+"\n", args...)
	v.restore()
}

func (v *view) alert(b alert.Brief) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clear()
	defer v.restore()
	if !v.headed {
		v.headed = true
		if err := alert.WriteHeader(v.out); err != nil {
			return err
		}
	}
	return b.WriteLine(v.out, v.color)
}

func (v *view) status(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clear()
	v.last = fmt.Sprintf(format, args...)
	v.restore()
}

func (v *view) clear() {
	if v.color && v.last != "" {
		fmt.Fprint(v.out, "\r", pretty.EraseLine.Sprint())
	}
}

func (v *view) restore() {
	if v.color {
		fmt.Fprint(v.out, v.last)
	}
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}
