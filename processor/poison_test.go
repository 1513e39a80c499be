package processor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/deadletters"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/topics"
)

// poison is a raw record that can't be read, and the reason of its dead letter.
type poison struct {
	name, reason string
	value        []byte
}

// call is a good record of about 2 KB: calls of many users, by turns.
func call(i int, at time.Time) []byte {
	return fmt.Appendf(nil, `{"eventVersion":"1.09","userIdentity":{"type":"IAMUser","principalId":"AIDAEXAMPLE%06d","arn":"arn:aws:iam::111122223333:user/user-%d","accountId":"111122223333","accessKeyId":"AKIAEXAMPLE%06d","userName":"user-%d"},"eventTime":%q,"eventSource":"ec2.amazonaws.com","eventName":"DescribeInstances","awsRegion":"eu-west-1","sourceIPAddress":"81.2.69.%d","userAgent":"aws-cli/2.15.32","requestParameters":{"filler":%q},"responseElements":null,"eventID":"07d7cb7a-597b-4420-8f83-%012d","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}`,
		i%500, i%500, i%500, i%500, at.UTC().Format(time.RFC3339), i%200, strings.Repeat("x", 1200), i)
}

// poisons are one of each kind. The largest record has big bytes.
func poisons(tb testing.TB, now time.Time, big int) []poison {
	good := func(old, with string) []byte {
		b := call(1, now)
		if !bytes.Contains(b, []byte(old)) {
			tb.Fatalf("no %s in a good record", old)
		}
		return bytes.Replace(b, []byte(old), []byte(with), 1)
	}
	stamp := fmt.Sprintf("%q", now.UTC().Format(time.RFC3339))
	zip := func(start string, chunk []byte, times int) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(start))
		for range times {
			if err == nil {
				_, err = w.Write(chunk)
			}
		}
		if err = errors.Join(err, w.Close()); err != nil {
			tb.Fatal(err)
		}
		return b.Bytes()
	}
	return []poison{
		{"not JSON", "not_json", []byte(`203.0.113.9 - - "GET / HTTP/1.1" 200 17`)},
		{"truncated", "truncated", call(2, now)[:900]},
		{"large", "too_large", good(`"filler":"`, `"filler":"`+strings.Repeat("y", big))},
		{"gzip bomb of zeros", "not_json", zip("", make([]byte, 1<<20), 80)},
		{"gzip bomb of JSON", "expanded_too_large", zip(`{"Records":[{"eventVersion":"1.09","filler":"`, bytes.Repeat([]byte("z"), 1<<20), 80)},
		{"gzip bomb of brackets", "expanded_too_large", zip("", bytes.Repeat([]byte("["), 1<<20), 80)},
		{"damaged gzip", "gzip", zip("", call(3, now), 1)[:300]},
		{"wrong type", "wrong_type", good(`"userAgent":"aws-cli/2.15.32"`, `"userAgent":{"a":1}`)},
		{"deep", "too_deep", good(`{"filler":`, `{"deep":`+strings.Repeat(`[`, 9000)+strings.Repeat(`]`, 9000)+`,"filler":`)},
		{"no time", "no_event_time", good(`"eventTime":`+stamp+`,`, ``)},
		{"year 2099", "future", good(stamp, `"2099-01-01T00:00:00Z"`)},
		{"year 1970", "bad_event_time", good(stamp, `"1970-01-01T00:00:00Z"`)},
		{"no method", "no_event_name", good(`"eventName":"DescribeInstances",`, ``)},
		{"something else", "not_cloudtrail", []byte(`{"level":"info","msg":"hello"}`)},
	}
}

// TestPoison mixes one of each kind of bad record into good ones: each is one dead letter with its reason and coordinates, and
// the good ones are all there.
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
	kinds := poisons(t, now, 10<<20)
	for i := range 500 {
		records = append(records, &kgo.Record{Topic: "raw", Partition: int32(i % 2), Value: call(i, now)})
		if i%30 == 7 && len(kinds) > 0 {
			records = append(records, &kgo.Record{Topic: "raw", Partition: int32(i % 2), Value: kinds[0].value, Headers: []kgo.RecordHeader{{Key: "reason", Value: []byte(kinds[0].reason)}}})
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
		task, err := route.NewTask(route.DefaultConfig(), locator, time.Now, 0, route.NewStats())
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
	kinds := poisons(b, now, 1<<20)
	large := poisons(b, now, 10<<20)[2]
	large.name = "10 MB"
	for _, p := range append(kinds, large) {
		b.Run(p.name, func(b *testing.B) {
			mixed := make([][]byte, 0, len(good)+len(good)/100)
			for i, r := range good {
				if mixed = append(mixed, r); i%100 == 50 {
					mixed = append(mixed, p.value)
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
