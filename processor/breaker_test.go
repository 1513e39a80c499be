package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/topics"
)

// TestWrongTopic points a process at a topic of web server logs: it stops before it eats the topic, and says why.
func TestWrongTopic(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "weblogs"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const lines = 3000
	records := make([]*kgo.Record, lines)
	for i := range records {
		records[i] = &kgo.Record{Topic: "weblogs", Value: fmt.Appendf(nil, `203.0.113.%d - - "GET /item/%d HTTP/1.1" 200 %d`, i%250, i, i*7)}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Raw, cfg.State.Dir, cfg.Topics.Partitions = c.ListenAddrs(), []string{"weblogs"}, t.TempDir(), 2
	adm := kadm.NewClient(cl)
	if _, _, err := topics.Apply(ctx, adm, cfg.TopicOptions(), 1); err != nil {
		t.Fatal(err)
	}
	err = Run(ctx, cfg, Options{NoConsole: true, Log: slog.New(slog.DiscardHandler)})
	for _, word := range []string{"stage route", "topic weblogs hold no CloudTrail", "route.max_bad_share (0.5)", "not_json"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q is missing from the error: %v", word, err)
		}
	}
	if n := committedSum(ctx, t, adm, cfg.Topics.Prefix+".route", "weblogs"); n >= lines {
		t.Errorf("all of the topic was eaten: the group stands at %d", n)
	}

	cfg.Route.MaxBadShare = 1
	rctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- Run(rctx, cfg, Options{NoConsole: true, Log: slog.New(slog.DiscardHandler)}) }()
	for committedSum(ctx, t, adm, cfg.Topics.Prefix+".route", "weblogs") < lines {
		select {
		case err := <-done:
			t.Fatalf("with route.max_bad_share 1 it stopped: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// committedSum is where a group stands, over all partitions of a topic: 0 for a group that there is not yet.
func committedSum(ctx context.Context, t *testing.T, adm *kadm.Client, group, topic string) (sum int64) {
	offsets, err := adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		t.Fatal(err)
	}
	for _, o := range offsets[topic] {
		sum += max(0, o.At)
	}
	return sum
}
