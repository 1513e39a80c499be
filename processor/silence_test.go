package processor

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/stream"
	"github.com/farcall/farcall/topics"
)

// TestSilenceLives: an account falls silent while a process runs; it is told of once, over a restart, and once more when an event of
// its own arrives on the raw topic.
func TestSilenceLives(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	cl, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Raw, cfg.State.Dir, cfg.Topics.Partitions = c.ListenAddrs(), []string{"raw"}, t.TempDir(), 2
	names := topics.NamesFor(cfg.Topics.Prefix)
	if _, _, err := topics.Apply(ctx, kadm.NewClient(cl), cfg.TopicOptions(), 1); err != nil {
		t.Fatal(err)
	}
	send := func(records ...*kgo.Record) {
		t.Helper()
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	run := func() (m *stream.Metrics, stop func()) {
		m = stream.NewMetrics()
		rctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- Run(rctx, cfg, Options{NoConsole: true, Log: slog.New(slog.DiscardHandler), Metrics: m})
		}()
		return m, func() {
			t.Helper()
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	// until waits for a figure: the sum of a metric over its labels.
	until := func(m *stream.Metrics, name string, ok func(float64) bool) {
		t.Helper()
		for {
			families, err := m.Registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, f := range families {
				if f.GetName() == name {
					for _, s := range f.GetMetric() {
						sum += s.GetGauge().GetValue()
					}
				}
			}
			if ok(sum) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s stays at %g", name, sum)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}

	// Ten days of two accounts; then one goes on alone. Each pulse is written when it happens.
	now := time.Now().UTC()
	pane := now.Truncate(time.Hour)
	var records []*kgo.Record
	const silentFor, callAccount = 20, "111122223333"
	for h := int64(260); h >= 0; h-- {
		at := pane.Add(-time.Duration(h) * time.Hour)
		for _, account := range []string{"999999999999", callAccount} {
			if account == callAccount && h < silentFor {
				continue
			}
			p := topics.Pulse{Account: account, Region: "eu-west-1", Topic: "raw", Pane: at.Unix(), EventTime: at.UnixMilli()}
			records = append(records, &kgo.Record{Topic: names.Visits, Key: p.Key(), Value: p.Append(nil), Timestamp: at})
		}
	}
	m, stop := run()
	send(records...)
	until(m, "farcall_silent", func(v float64) bool { return v == 1 })
	stop()

	m, stop = run()
	send(&kgo.Record{Topic: "raw", Value: call(1, now)}, &kgo.Record{Topic: "raw", Value: call(2, now)})
	until(m, "farcall_stream_time_seconds", func(v float64) bool { return v > 2*float64(now.Unix()) }) // of route, and of what came of it
	var got []string
	for len(got) < 2 {
		got = nil
		if err := topics.Read(ctx, opts, names.Alerts, time.Time{}, func(r *kgo.Record) error {
			b, err := alert.ParseBrief(r.Value)
			if err != nil || string(r.Key) != b.ID {
				t.Errorf("key %q of %s: %v", r.Key, r.Value, err)
			}
			got = append(got, b.Reason)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("said %q", got)
		case <-time.After(10 * time.Millisecond):
		}
	}
	until(m, "farcall_silent", func(v float64) bool { return v == 0 })
	stop()
	want := []string{
		"account " + callAccount + " has been silent for 7 h; its longest pause in 10 days was 1 h",
		"account " + callAccount + " speaks again, after 20 h of silence",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("said (-want +got):\n%s", d)
	}
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := f.GetName(); (n == "farcall_silent" || n == "farcall_stream_time_seconds") && len(f.GetMetric()) > 0 {
			t.Errorf("once stopped, %s still has %d figures", n, len(f.GetMetric()))
		}
	}
}
