package processor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/deadletters"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/poison"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/topics"
)

// call is a good record of about 2 KB: calls of many users, by turns.
func call(i int, at time.Time) []byte {
	return fmt.Appendf(nil, `{"eventVersion":"1.09","userIdentity":{"type":"IAMUser","principalId":"AIDAEXAMPLE%06d","arn":"arn:aws:iam::111122223333:user/user-%d","accountId":"111122223333","accessKeyId":"AKIAEXAMPLE%06d","userName":"user-%d"},"eventTime":%q,"eventSource":"ec2.amazonaws.com","eventName":"DescribeInstances","awsRegion":"eu-west-1","sourceIPAddress":"81.2.69.%d","userAgent":"aws-cli/2.15.32","requestParameters":{"filler":%q},"responseElements":null,"eventID":"07d7cb7a-597b-4420-8f83-%012d","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}`,
		i%500, i%500, i%500, i%500, at.UTC().Format(time.RFC3339), i%200, strings.Repeat("x", 1200), i)
}

// poisons are one of each kind, the large ones full of one text.
func poisons(now time.Time) []poison.Kind {
	good := call(1, now)
	return append(poison.Small(good), poison.Large(good, func(n int) []byte { return []byte(`"` + strings.Repeat("y", n) + `"`) })...)
}

// TestPoison mixes one of each kind of bad record into good ones: each is one dead letter with its reason and coordinates, or none if it
// can be read after all, and the good ones are all there.
func TestPoison(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.CreateTopic("raw", 2, map[string]string{"max.message.bytes": "20000000"}); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(20_000_000))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	now := time.Now()
	var records []*kgo.Record
	want := map[string]string{} // by coordinates: reason
	kinds := poisons(now)
	for i := range 500 {
		records = append(records, &kgo.Record{Topic: "raw", Partition: int32(i % 2), Value: call(i, now)})
		if i%30 == 7 && len(kinds) > 0 {
			bad := &kgo.Record{Topic: "raw", Partition: int32(i % 2), Value: kinds[0].Value}
			if kinds[0].Reason != "" {
				bad.Headers = []kgo.RecordHeader{{Key: "reason", Value: []byte(kinds[0].Reason)}}
			}
			records = append(records, bad)
			kinds = kinds[1:]
		}
	}
	if len(kinds) > 0 {
		t.Fatal("some kind was left out")
	}
	for _, r := range cl.ProduceSync(ctx, records...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if len(r.Record.Headers) > 0 {
			want[fmt.Sprintf("raw/%d/%d", r.Record.Partition, r.Record.Offset)] = string(r.Record.Headers[0].Value)
		}
	}
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Raw, cfg.State.Dir, cfg.Topics.Partitions = c.ListenAddrs(), []string{"raw"}, t.TempDir(), 2
	adm := kadm.NewClient(cl)
	if _, _, err := topics.Apply(ctx, adm, cfg.TopicOptions(), 1); err != nil {
		t.Fatal(err)
	}
	rctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- Run(rctx, cfg, Options{NoConsole: true, Log: slog.New(slog.DiscardHandler)}) }()
	names := topics.NamesFor(cfg.Topics.Prefix)
	// Each of the 500 users is a visit, and markers take offsets, too.
	for committedSum(ctx, t, adm, cfg.Topics.Prefix+".route", "raw") < int64(len(records)) || committedSum(ctx, t, adm, cfg.Topics.Prefix+".detect", names.Visits) < 500 {
		select {
		case err := <-done:
			t.Fatalf("farcall stopped: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	err = deadletters.Read(ctx, opts, names.DeadLetters, deadletters.Filter{}, func(l *deadletters.Letter) error {
		at := fmt.Sprintf("raw/%d/%d", l.Source.Partition, l.Source.Offset)
		if got[at] != "" {
			t.Errorf("%s has two dead letters", at)
		}
		got[at] = l.Reason
		if l.Detail == "" {
			t.Errorf("the dead letter of %s does not say why", at)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("dead letters (-want +got):\n%s", d)
	}
}

// nothing is an output that makes dead letters, and throws all away.
type nothing struct{}

func (nothing) Visit(_, _ []byte)               {}
func (nothing) Pulse(_, _ []byte)               {}
func (nothing) Sighting(_, _ []byte)            {}
func (nothing) DeadLetter(d *topics.DeadLetter) { d.Record("dead-letters") }

// BenchmarkPoison compares route over good records with route over the same and one bad one to each hundred, kind by kind, in
// turns: %-slower is what the good ones lose by it.
func BenchmarkPoison(b *testing.B) {
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	good := make([][]byte, 2000)
	for i := range good {
		good[i] = call(i, now)
	}
	run := func(records [][]byte) time.Duration {
		task, err := route.NewTask(route.DefaultConfig(), nil, locator, time.Now, 0, route.NewStats())
		if err != nil {
			b.Fatal(err)
		}
		pass := func() {
			for i, r := range records {
				task.Record(&route.Raw{Source: topics.Source{Offset: int64(i)}, Value: r}, nothing{})
			}
		}
		pass()
		start := time.Now()
		pass()
		return time.Since(start)
	}
	for _, p := range poisons(now) {
		b.Run(p.Name, func(b *testing.B) {
			mixed := make([][]byte, 0, len(good)+len(good)/100)
			for i, r := range good {
				if mixed = append(mixed, r); i%100 == 50 {
					mixed = append(mixed, p.Value)
				}
			}
			var plain, with []time.Duration
			for b.Loop() {
				plain = append(plain, run(good))
				with = append(with, run(mixed))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*(float64(slices.Min(with))/float64(slices.Min(plain))-1), "%-slower")
		})
	}
}
