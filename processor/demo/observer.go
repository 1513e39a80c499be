package demo

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/alert"
)

// observer judges the processor from outside: it knows the plants, and reads the alerts topic like any SIEM would. It
// shares nothing with the processor.
type observer struct {
	plants []Plant
	v      *view

	mu     sync.Mutex
	seen   map[string]alert.Brief // newest version by id
	order  []string
	first  map[string]time.Time // when the first version was received
	next   map[int32]int64      // offsets read up to, by partition of the alerts topic
	isLive bool
	before int                  // alerts before live traffic
	starts map[string]time.Time // when the first event of a plant was produced, by plant
}

func newObserver(plants []Plant, v *view) *observer {
	return &observer{plants: plants, v: v, seen: map[string]alert.Brief{}, first: map[string]time.Time{}, next: map[int32]int64{}, starts: map[string]time.Time{}}
}

// sent notes when the first event of a plant goes out.
func (o *observer) sent(event []byte, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.plants {
		if _, ok := o.starts[p.Name]; ok {
			continue
		}
		if slices.ContainsFunc(p.EventIDs, func(id string) bool { return bytes.Contains(event, []byte(id)) }) {
			o.starts[p.Name] = at
		}
	}
}

func (o *observer) live() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.isLive, o.before = true, len(o.order)
}

func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.order)
}

// watch reads the alerts topic until ctx ends.
func (o *observer) watch(ctx context.Context, brokers []string, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fs.Err(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		var failed error
		fs.EachRecord(func(r *kgo.Record) {
			if err := o.take(r); err != nil && failed == nil {
				failed = err
			}
		})
		if failed != nil {
			return failed
		}
	}
}

func (o *observer) take(r *kgo.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next[r.Partition] = r.Offset + 1
	if r.Attrs.IsControl() {
		return nil
	}
	b, err := alert.ParseBrief(r.Value)
	if err != nil {
		return err
	}
	_, known := o.seen[b.ID]
	o.seen[b.ID] = b
	if known {
		return nil
	}
	o.order = append(o.order, b.ID)
	o.first[b.ID] = time.Now()
	return o.v.alert(b)
}

// settle waits until everything on the alerts topic was read.
func (o *observer) settle(ctx context.Context, adm *kadm.Client, topic string) error {
	for {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		behind := false
		o.mu.Lock()
		ends.Each(func(l kadm.ListedOffset) { behind = behind || o.next[l.Partition] < l.Offset })
		o.mu.Unlock()
		if !behind {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// about says whether an alert is about a plant.
func about(b alert.Brief, p Plant) bool {
	return b.Principal == p.Principal && b.Place == p.Country
}

// summary says what was caught, missed, and falsely raised.
func (o *observer) summary(seed uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	live := o.order[o.before:]
	claimed := map[string]bool{}
	o.v.say("\nWhat was planted in the live traffic, and what an observer of the alerts topic saw:\n")
	missed := 0
	for _, p := range o.plants {
		var hits []alert.Brief
		var at time.Time
		for _, id := range live {
			if b := o.seen[id]; about(b, p) {
				hits = append(hits, b)
				if f := o.first[id]; at.IsZero() || f.Before(at) {
					at = f
				}
				if p.Kind == Intrusion {
					claimed[id] = true
				}
			}
		}
		switch {
		case p.Kind == Intrusion && len(hits) > 0:
			methods := int64(0)
			best := 0.0
			for _, b := range hits {
				methods += b.MethodsTotal
				best = max(best, b.Score)
			}
			after := "?"
			if start, ok := o.starts[p.Name]; ok {
				after = fmt.Sprintf("%.2f s", at.Sub(start).Seconds())
			}
			o.v.say("  caught    %-34s score %5.1f, %d alert%s naming %d method%s, first %s after its first call was delivered", p.Name, best,
				len(hits), plural(len(hits)), methods, plural(int(methods)), after)
		case p.Kind == Intrusion:
			missed++
			o.v.say("  MISSED    %-34s %s", p.Name, p.Story)
		case len(hits) > 0:
			o.v.say("  FALSE     %-34s %s", p.Name, p.Story)
		default:
			o.v.say("  quiet     %-34s %s", p.Name, p.Story)
		}
	}
	falsely := 0
	for _, id := range live {
		if !claimed[id] {
			falsely++
		}
	}
	o.v.say("\n%d of %d intrusions caught; %d false alarm%s in the live hours, %d alert%s in the thirty days before.",
		intrusions(o.plants)-missed, intrusions(o.plants), falsely, plural(falsely), o.before, plural(o.before))
	o.v.say("\n%s", strings.TrimSpace(fmt.Sprintf(`
Go on:
  make demo ARGS="--seed %d"                     another organisation, other intrusions
  bin/farcall scan AWSLogs/                     your own CloudTrail files, no Kafka needed
  bin/farcall topics apply; bin/farcall run     your own Kafka: see README.md`, seed+1)))
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
