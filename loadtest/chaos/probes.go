package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// watcher reads the alerts as they come, as a SIEM would, and notes when each incident was first alerted.
type watcher struct {
	mu    sync.Mutex
	first map[about]time.Time
}

func (w *watcher) run(ctx context.Context, brokers []string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(alertsTopic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond))
	if err != nil {
		return err
	}
	go func() {
		defer cl.Close()
		for ctx.Err() == nil {
			fs := cl.PollFetches(ctx) // errors are those of brokers that are away: the client goes on
			now := time.Now()
			fs.EachRecord(func(r *kgo.Record) {
				var d document
				if json.Unmarshal(r.Value, &d) != nil {
					return // the checker will say so
				}
				a := about{d.Farcall.Principal, d.Farcall.Place}
				w.mu.Lock()
				if _, ok := w.first[a]; !ok {
					w.first[a] = now
				}
				w.mu.Unlock()
			})
		}
	}()
	return nil
}

// await waits until all incidents were alerted, and returns when the last one was.
func (w *watcher) await(ctx context.Context, incidents []incident) (last time.Time, err error) {
	deadline := time.After(patience)
	for {
		var missing []incident
		w.mu.Lock()
		for _, i := range incidents {
			at, ok := w.first[i.about()]
			if !ok {
				missing = append(missing, i)
			} else if at.After(last) {
				last = at
			}
		}
		w.mu.Unlock()
		if len(missing) == 0 {
			return last, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			return last, fmt.Errorf("%d incidents were not alerted within %v, the first of them %s", len(missing), patience, missing[0])
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
	}
}

// probe plants one incident by way of each partition of each stage: of raw, detect and triage the same number. When all are
// alerted, every partition produces.
func (d *driver) probe() (probes []incident) {
	for n := range int32(partitions) {
		probes = append(probes, d.load.plant(d.producing, n%rawPartitions, n, n, 1))
	}
	return probes
}

// heal waits for probes, and notes how long after the fault the last one was alerted.
func (d *driver) heal(what string, since time.Time, probes []incident) {
	last, err := d.watch.await(d.ctx, probes)
	if err != nil {
		d.violation("after %s: %v", what, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takeovers[what] = append(d.takeovers[what], last.Sub(since))
	d.logf("  %s: alerting again after %.1f s", what, last.Sub(since).Seconds())
}

// median and longest of some durations.
func median(ds []time.Duration) time.Duration {
	ds = slices.Sorted(slices.Values(ds))
	return ds[len(ds)/2]
}
