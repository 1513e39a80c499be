package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/generate"
)

// intrusions is their share in the load of latency, or what makes five a second: each is of a principal of its own.
const intrusions = .002

// alerting is a system whose alerts are timed.
type alerting struct {
	name   string
	raw    string
	group  string // that reads the raw topic
	alerts string
	start  func() (*process, error)
	remove func(ctx context.Context) error
	// produced says when the raw record of a first alert about an intrusion was produced; others say no.
	produced func(r *kgo.Record, sent *journal) (time.Time, bool)
}

// journal is what was produced of intrusions: when, by principal. Those that were answered are taken out.
type journal struct {
	mu      sync.Mutex
	at      map[string]time.Time
	planted int
}

func (j *journal) note(e *generate.Event, at time.Time) {
	if !e.Intrusion {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at[string(e.Principal)] = at
	j.planted++
}

func (j *journal) take(principal string) (time.Time, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, ok := j.at[principal]
	delete(j.at, principal)
	return at, ok
}

// farcallAlerts times farcall. The cap would hold back what is timed.
func (b *bench) farcallAlerts(ctx context.Context, raw string) (*alerting, error) {
	// The one call of a new principal must make an alert, and its method is all that speaks for one.
	i, err := b.install(ctx, raw, map[string]string{"FARCALL_TRIAGE_CAP": "0", "FARCALL_TRIAGE_THRESHOLD": "19"})
	if err != nil {
		return nil, err
	}
	return &alerting{
		name: "farcall", raw: raw, group: i.prefix + ".route", alerts: i.names.Alerts,
		start:  func() (*process, error) { return i.start("route", "detect", "triage") },
		remove: func(ctx context.Context) error { return b.remove(ctx, i.owns) },
		produced: func(r *kgo.Record, sent *journal) (time.Time, bool) {
			var d struct{ Farcall struct{ Principal string } }
			if json.Unmarshal(r.Value, &d) != nil {
				return time.Time{}, false
			}
			return sent.take(d.Farcall.Principal)
		},
	}, nil
}

// peerAlerts times one of the Kafka Streams jobs, whose alerts carry the time at which their raw record was produced.
func (b *bench) peerAlerts(job, raw string) *alerting {
	b.installed++
	id := fmt.Sprint(job, b.installed)
	return &alerting{
		name: "Kafka Streams, " + job, raw: raw, group: id, alerts: id + ".alerts",
		start: func() (*process, error) { return b.streams.start(b, job, id, raw, commitLive) },
		remove: func(ctx context.Context) error {
			return b.remove(ctx, func(t string) bool { return strings.HasPrefix(t, id+"-") || strings.HasPrefix(t, id+".") })
		},
		produced: func(r *kgo.Record, sent *journal) (time.Time, bool) {
			var d struct{ Delivered int64 }
			if json.Unmarshal(r.Value, &d) != nil || d.Delivered == 0 {
				return time.Time{}, false
			}
			return time.UnixMilli(d.Delivered), true
		},
	}
}

// paced is what one rate gave.
type paced struct {
	system   string
	share    float64 // of the full rate
	rate     float64 // events/s
	planted  int
	latency  []time.Duration // sorted
	late     time.Duration   // of the producer, at the end
	lag      int64           // raw records not committed at the end
	cpu      time.Duration   // of the system while the rate was held
	events   int             // in that time
	fullRate float64
}

func (p *paced) quantile(q float64) time.Duration {
	if len(p.latency) == 0 {
		return 0
	}
	return p.latency[min(len(p.latency)-1, int(q*float64(len(p.latency))))]
}

// latency measures the time from a raw record's being produced to an alert's being read by a read_committed consumer, at half and at
// nine tenths of the full rate. The full rate is what the system does with the producer beside it: the producer keeps a backlog, and
// what is committed is counted.
func (b *bench) latency(ctx context.Context, o options) error {
	var all []paced
	systems := []string{"farcall"}
	if b.streams != nil {
		systems = append(systems, "dsl", "papi")
	}
	for _, name := range systems {
		raw := "cloudtrail-paced-" + name
		if _, err := b.adm.CreateTopic(ctx, int32(o.partitions), 1, nil, raw); err != nil {
			return err
		}
		a := (*alerting)(nil)
		if name == "farcall" {
			var err error
			if a, err = b.farcallAlerts(ctx, raw); err != nil {
				return err
			}
		} else {
			a = b.peerAlerts(name, raw)
		}
		ps, err := b.timed(ctx, o, a)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, ps...)
		if err := errors.Join(a.remove(ctx), b.remove(ctx, func(t string) bool { return t == raw })); err != nil {
			return err
		}
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"system", "of its full rate", "events/s", "alerts timed", "intrusions planted", "p50 ms", "p99 ms", "p99.9 ms",
		"longest ms", "CPU s per million", "producer behind ms", "records not committed at the end"})
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e6) }
	var curves []curve
	for _, p := range all {
		t.AppendRow(table.Row{p.system, fmt.Sprintf("%.0f %% of %.0f", 100*p.share, p.fullRate), fmt.Sprintf("%.0f", p.rate), len(p.latency),
			p.planted, ms(p.quantile(.5)), ms(p.quantile(.99)), ms(p.quantile(.999)), ms(p.quantile(1)),
			fmt.Sprintf("%.1f", p.cpu.Seconds()*1e6/float64(p.events)), ms(p.late), p.lag})
		c := curve{name: fmt.Sprintf("%s, %.0f %%", p.system, 100*p.share)}
		for q := 0.; q <= 3; q += .05 {
			c.x, c.y = append(c.x, q), append(c.y, math.Log10(max(1, p.quantile(1-math.Pow(10, -q)).Seconds()*1000)))
		}
		curves = append(curves, c)
	}
	fmt.Fprintf(b.out, "%s\n\nEach rate was held for %s, after a quarter of that which does not count.\n", t.RenderMarkdown(), o.paced)
	if o.plots == "" {
		return nil
	}
	x := axis{name: "quantile of alerts"}
	for i, q := range []string{"0", "0.9", "0.99", "0.999"} {
		x.ticks = append(x.ticks, tick(float64(i), q))
	}
	return plotCurves(o.plot("latency"), x, axis{"ms from produced to read", logTicks("", 1, 10, 100, 1000, 10_000)}, curves)
}

// timed finds the full rate of a system, and times its alerts at shares of it, or at the rates that are asked for. Before, it gives it a
// history: a method without one has no opinion.
func (b *bench) timed(ctx context.Context, o options, a *alerting) (_ []paced, err error) {
	p, err := a.start()
	if err != nil {
		return nil, err
	}
	defer func() {
		select {
		case <-p.ended:
		default:
			err = errors.Join(err, p.kill())
		}
	}()
	cl, err := generate.Client(b.brokers, o.codec)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	full, err := b.fullRate(ctx, o, a, p, cl)
	if err != nil {
		return nil, err
	}
	rates := o.held
	if len(rates) == 0 {
		rates = []float64{.5 * full, .9 * full}
	}
	var all []paced
	for n, rate := range rates {
		// The backlog is gone before the next rate begins.
		if err := b.committed(ctx, p, step{a.group, a.raw}); err != nil {
			return nil, err
		}
		r, err := b.hold(ctx, o, a, p, cl, rate, uint64(n))
		if err != nil {
			return nil, err
		}
		r.share, r.fullRate = rate/full, full
		all = append(all, r)
	}
	_, err = p.stop()
	return all, err
}

// fullRate is how many events a second the system commits while the producer keeps a backlog. Where the producer could not keep one,
// the rate is the producer's, and it says so.
func (b *bench) fullRate(ctx context.Context, o options, a *alerting, p *process, cl *kgo.Client) (float64, error) {
	w := o.world(generate.Default)
	// Behind the clock, however fast it goes: events of the future are refused.
	w.Start, w.Seed, w.Intrusions = time.Now().Add(-2*time.Hour), 11, 0
	g, err := generate.New(w)
	if err != nil {
		return 0, err
	}
	const backlog, looks = 200_000, 5_000
	pctx, stop := context.WithCancel(ctx)
	defer stop()
	var sent, done atomic.Int64
	produced := make(chan error, 1)
	keep := func(*generate.Event, time.Time) {
		for n := sent.Add(1); n%looks == 0 && n-done.Load() > backlog && pctx.Err() == nil; {
			select {
			case <-pctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	go func() {
		_, err := g.Produce(pctx, cl, generate.Load{Topic: a.raw, Partitions: o.partitions, Records: math.MaxInt, Each: keep})
		produced <- err
	}()
	// Commits may come a second apart: what lies between two of them is counted, not what lies in a time of the clock.
	type commit struct {
		at   time.Time
		done int64
	}
	var commits []commit
	look := func() error {
		n, err := b.progress(ctx, step{a.group, a.raw})
		if done.Swap(n) != n {
			commits = append(commits, commit{time.Now(), n})
		}
		return err
	}
	// The beginning, with its start-up and its many new presences, does not count.
	err = b.begun(ctx, p, a.group)
	var rate float64
	until := func(d time.Duration) error {
		end := time.Now().Add(d)
		return p.waitFor(ctx, func() (bool, error) { return time.Now().After(end) && len(commits) > 2, look() })
	}
	if err == nil {
		err = until(o.paced / 4)
	}
	if err == nil {
		commits = nil
		if err = until(o.paced / 2); err != nil {
			stop()
			return 0, errors.Join(err, <-produced)
		}
		first, last := commits[0], commits[len(commits)-1]
		rate = float64(last.done-first.done) / last.at.Sub(first.at).Seconds()
		if sent.Load()-done.Load() < backlog/4 {
			fmt.Fprintf(b.out, "%s: the producer kept no backlog, so the full rate is the producer's beside it.\n", a.name)
		}
	}
	stop()
	return rate, errors.Join(err, <-produced)
}

// hold produces at a rate and times the alerts.
func (b *bench) hold(ctx context.Context, o options, a *alerting, p *process, cl *kgo.Client, rate float64, seed uint64) (paced, error) {
	r := paced{system: a.name, rate: rate}
	w := o.world(generate.Default)
	w.Start, w.Rate, w.Seed, w.Intrusions = time.Now(), rate, 12+seed, max(intrusions, min(5/rate, .1))
	g, err := generate.New(w)
	if err != nil {
		return r, err
	}
	j := &journal{at: map[string]time.Time{}}
	began := time.Now()
	counts := began.Add(o.paced / 4)
	var mu sync.Mutex
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.ConsumeTopics(a.alerts), kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return r, err
	}
	defer reader.Close()
	rctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		for {
			fs := reader.PollFetches(rctx)
			now := time.Now()
			if rctx.Err() != nil {
				ended <- nil
				return
			}
			if err := fs.Err(); err != nil {
				ended <- fmt.Errorf("read %s: %w", a.alerts, err)
				return
			}
			fs.EachRecord(func(rec *kgo.Record) {
				if at, ok := a.produced(rec, j); ok && at.After(counts) {
					mu.Lock()
					r.latency = append(r.latency, now.Sub(at))
					mu.Unlock()
				}
			})
		}
	}()
	r.events = int(rate * (o.paced + o.paced/4).Seconds())
	took, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	s, err := g.Produce(ctx, cl, generate.Load{Topic: a.raw, Partitions: o.partitions, Records: r.events, Pace: rate,
		Each: func(e *generate.Event, at time.Time) {
			if at.After(counts) {
				j.note(e, at)
			}
		}})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return r, err
	}
	r.late, r.planted = s.Late, j.planted
	if r.cpu, err = cpuTime(p.cmd.Process.Pid); err != nil {
		return r, err
	}
	r.cpu -= took
	ends, err := b.adm.ListEndOffsets(ctx, a.raw)
	if err := errors.Join(err, ends.Error()); err != nil {
		return r, err
	}
	done, err := b.progress(ctx, step{a.group, a.raw})
	if err != nil {
		return r, err
	}
	for n := range int32(o.partitions) {
		e, _ := ends.Lookup(a.raw, n)
		r.lag += e.Offset
	}
	r.lag -= done
	// What is on its way counts too.
	if err := b.committed(ctx, p, step{a.group, a.raw}); err != nil {
		return r, err
	}
	select {
	case err := <-ended:
		return r, err
	case <-ctx.Done():
		return r, ctx.Err()
	case <-time.After(3 * time.Second):
	}
	stop()
	if err := <-ended; err != nil {
		return r, err
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(r.latency)
	if len(r.latency) == 0 {
		return r, fmt.Errorf("no alert about any of %d intrusions at %.0f events/s", r.planted, rate)
	}
	return r, nil
}
