package deadletters_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor"
	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/deadletters"
	"github.com/farcall/farcall/topics"
)

const letters = "farcall.dead-letters"

type broker struct {
	*testing.T
	c   *kfake.Cluster
	cl  *kgo.Client
	ctx context.Context
}

func newBroker(t *testing.T, seed ...string) *broker {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, seed...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := &broker{T: t, c: c}
	b.cl = b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	b.ctx = ctx
	return b
}

func (b *broker) opts() []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(b.c.ListenAddrs()...)} }

func (b *broker) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(b.opts(), opts...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cl.Close)
	return cl
}

func (b *broker) write(rs ...*kgo.Record) {
	b.Helper()
	if err := b.cl.ProduceSync(b.ctx, rs...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// letter writes the dead letter of a source record.
func (b *broker) letter(partition int32, offset int64, reason, value string) {
	d := topics.DeadLetter{Stage: "route", Reason: reason, Detail: "why", Value: []byte(value), Source: topics.Source{Topic: "raw", Partition: partition, Offset: offset, Byte: 7}}
	b.write(d.Record(letters))
}

// batch writes the dead letter of a batch of source records.
func (b *broker) batch(partition int32, first, last int64) {
	d := topics.DeadLetter{Stage: "route", Reason: "batch_too_large", Detail: "why", Last: last, Source: topics.Source{Topic: "raw", Partition: partition, Offset: first}}
	b.write(d.Record(letters))
}

// listed are the letters that a filter chooses, "partition/offset reason".
func (b *broker) listed(f deadletters.Filter) (got []string) {
	b.Helper()
	err := deadletters.Read(b.ctx, b.opts(), letters, f, func(l *deadletters.Letter) error {
		got = append(got, fmt.Sprintf("%d/%d %s", l.Source.Partition, l.Source.Offset, l.Reason))
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func (b *broker) replay(f deadletters.Filter, o deadletters.ReplayOptions) map[deadletters.Outcome]int {
	b.Helper()
	counts, err := deadletters.Replay(b.ctx, b.opts(), letters, f, o)
	if err != nil {
		b.Fatal(err)
	}
	return counts
}

// came are the values in a partition of the raw topic from an offset on, with what the replay header says.
func (b *broker) came(partition int32, from int64) (got []string) {
	b.Helper()
	ends, err := kadm.NewClient(b.cl).ListEndOffsets(b.ctx, "raw")
	if err != nil {
		b.Fatal(err)
	}
	end, _ := ends.Lookup("raw", partition)
	if from >= end.Offset {
		return nil
	}
	cl := b.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"raw": {partition: kgo.NewOffset().At(from)}}))
	for from < end.Offset {
		for _, r := range cl.PollFetches(b.ctx).Records() {
			from = r.Offset + 1
			mark := ""
			for _, h := range r.Headers {
				if h.Key == topics.HeaderReplayed {
					mark += " from " + string(h.Value)
				}
			}
			got = append(got, string(r.Key)+"="+string(r.Value)+mark)
		}
		if b.ctx.Err() != nil {
			b.Fatal(b.ctx.Err())
		}
	}
	return got
}

func TestReadFilters(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "raw", letters)
	b.letter(0, 1, "not_json", "a")
	b.letter(0, 2, "too_large", "b")
	b.letter(1, 2, "not_json", "c")
	src := func(s string) deadletters.Source {
		src, err := deadletters.ParseSource(s)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	for name, c := range map[string]struct {
		f    deadletters.Filter
		want []string
	}{
		"all":           {deadletters.Filter{}, []string{"0/1 not_json", "0/2 too_large", "1/2 not_json"}},
		"reason":        {deadletters.Filter{Reason: "not_json"}, []string{"0/1 not_json", "1/2 not_json"}},
		"stage":         {deadletters.Filter{Stage: "detect"}, nil},
		"topic":         {deadletters.Filter{Source: src("other")}, nil},
		"partition":     {deadletters.Filter{Source: src("raw/0")}, []string{"0/1 not_json", "0/2 too_large"}},
		"record":        {deadletters.Filter{Source: src("raw/1/2")}, []string{"1/2 not_json"}},
		"partition 0":   {deadletters.Filter{Source: src("raw/0/2")}, []string{"0/2 too_large"}},
		"recent":        {deadletters.Filter{Since: time.Now().Add(-time.Hour)}, []string{"0/1 not_json", "0/2 too_large", "1/2 not_json"}},
		"in the future": {deadletters.Filter{Since: time.Now().Add(time.Hour)}, nil},
	} {
		if d := cmp.Diff(c.want, b.listed(c.f)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for _, s := range []string{"", "/1", "raw/x", "raw/1/", "raw/1/2/3", "raw/-1"} {
		if _, err := deadletters.ParseSource(s); err == nil {
			t.Errorf("%q passes for a source", s)
		}
	}
}

// TestReplay has records near each other and far apart, some of them gone, one between the markers of transactions.
func TestReplay(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "raw", letters)
	fill := func(partition int32, n int) {
		rs := make([]*kgo.Record, n)
		for i := range rs {
			rs[i] = &kgo.Record{Topic: "raw", Partition: partition, Key: []byte("k"), Value: fmt.Appendf(nil, "v%d", i)}
		}
		b.write(rs...)
	}
	fill(0, 12_000)
	txn := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("t"))
	inTxn := func(try kgo.TransactionEndTry, value string) {
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := txn.ProduceSync(b.ctx, &kgo.Record{Topic: "raw", Partition: 1, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := txn.EndTransaction(b.ctx, try); err != nil {
			t.Fatal(err)
		}
	}
	inTxn(kgo.TryAbort, "aborted")     // offset 0, marker at 1
	inTxn(kgo.TryCommit, "committed")  // offset 2, marker at 3
	b.letter(0, 3, "not_json", "part") // its source goes
	b.letter(0, 4, "too_large", strings.Repeat("x", topics.MaxDeadLetterBytes+1))
	for _, o := range []int64{10, 11, 11_990} {
		b.letter(0, o, "not_json", "bad")
		b.letter(0, o, "wrong_type", "bad, too")
	}
	b.letter(1, 0, "not_json", "aborted")
	b.letter(1, 2, "not_json", "committed")
	if err := b.c.DeleteRecords("raw", 0, 9); err != nil {
		t.Fatal(err)
	}

	dry := map[deadletters.Outcome]int{deadletters.Replayed: 4, deadletters.FromLetter: 2, deadletters.Lost: 1}
	if d := cmp.Diff(dry, b.replay(deadletters.Filter{}, deadletters.ReplayOptions{DryRun: true})); d != "" {
		t.Errorf("dry run (-want +got):\n%s", d)
	}
	if got := b.came(0, 12_000); got != nil {
		t.Fatalf("a dry run wrote %q", got)
	}
	var lost []string
	counts := b.replay(deadletters.Filter{}, deadletters.ReplayOptions{Each: func(s topics.Source, o deadletters.Outcome, err error) {
		if o == deadletters.Lost {
			lost = append(lost, err.Error())
		}
	}})
	if d := cmp.Diff(dry, counts); d != "" {
		t.Errorf("outcomes (-want +got):\n%s", d)
	}
	if len(lost) != 1 || !strings.Contains(lost[0], "raw/0 offset 4") || !strings.Contains(lost[0], "65536 of 65537 bytes") {
		t.Errorf("lost: %q", lost)
	}
	if d := cmp.Diff([]string{"k=v10 from raw/0/10", "k=v11 from raw/0/11", "k=v11990 from raw/0/11990", "=part from raw/0/3"}, b.came(0, 12_000)); d != "" {
		t.Errorf("partition 0 (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"=committed from raw/1/2", "=aborted from raw/1/0"}, b.came(1, 4)); d != "" {
		t.Errorf("partition 1 (-want +got):\n%s", d)
	}

	// One of them is refused again: a replay of all leaves it alone, until told otherwise.
	b.letter(0, 12_000, "not_json", "bad")
	f := deadletters.Filter{Source: deadletters.Source{Topic: "raw", Offset: new(int64)}}
	*f.Source.Offset = 12_000
	if d := cmp.Diff(map[deadletters.Outcome]int{deadletters.Before: 1}, b.replay(f, deadletters.ReplayOptions{})); d != "" {
		t.Errorf("second refusal (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[deadletters.Outcome]int{deadletters.Replayed: 1}, b.replay(f, deadletters.ReplayOptions{Again: true})); d != "" {
		t.Errorf("second refusal, again (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"k=v10 from raw/0/12000"}, b.came(0, 12_004)); d != "" {
		t.Errorf("again (-want +got):\n%s", d)
	}
}

// TestRepaired refuses a record under a limit that is too small. Under a larger one, the replayed record passes.
func TestRepaired(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "raw")
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Raw, cfg.Topics.Partitions, cfg.State.Dir = b.c.ListenAddrs(), []string{"raw"}, 2, t.TempDir()
	cfg.Route.RecordBytes = 1 << 10
	adm := kadm.NewClient(b.cl)
	if _, _, err := topics.Apply(b.ctx, adm, cfg.TopicOptions(), 1); err != nil {
		t.Fatal(err)
	}
	b.write(&kgo.Record{Topic: "raw", Value: fmt.Appendf(nil, `{"eventTime":%q,"eventSource":"iam.amazonaws.com","eventName":"CreateUser","sourceIPAddress":"81.2.69.142","userIdentity":{"type":"IAMUser","userName":"ann","accountId":"111122223333"},"requestParameters":{"x":%q}}`,
		time.Now().UTC().Format(time.RFC3339), strings.Repeat("x", 2<<10))})
	processed := func(what string, ok func() bool) {
		t.Helper()
		ctx, stop := context.WithCancel(b.ctx)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(ctx, cfg, processor.Options{NoConsole: true, Log: slog.New(slog.DiscardHandler)})
		}()
		for !ok() {
			select {
			case err := <-done:
				t.Fatalf("farcall stopped: %v", err)
			case <-b.ctx.Done():
				t.Fatalf("gave up waiting for %s", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	ends := func(topic string) (sum int64) {
		offsets, err := adm.ListEndOffsets(b.ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range slices.Collect(maps.Keys(offsets[topic])) {
			sum += offsets[topic][p].Offset
		}
		return sum
	}
	processed("the dead letter", func() bool { return len(b.listed(deadletters.Filter{})) == 1 })
	if got := b.listed(deadletters.Filter{Reason: "too_large"}); len(got) != 1 {
		t.Fatalf("dead letters: %q", b.listed(deadletters.Filter{}))
	}
	if n := ends("farcall.visits"); n != 0 {
		t.Fatalf("the visits end at %d", n)
	}
	cfg.Route.RecordBytes = 1 << 20
	if d := cmp.Diff(map[deadletters.Outcome]int{deadletters.Replayed: 1}, b.replay(deadletters.Filter{Reason: "too_large"}, deadletters.ReplayOptions{})); d != "" {
		t.Fatalf("outcomes (-want +got):\n%s", d)
	}
	processed("the visit", func() bool { return ends("farcall.visits") > 0 })
	if n := len(b.listed(deadletters.Filter{})); n != 1 {
		t.Errorf("%s dead letters, want the one of before", strconv.Itoa(n))
	}
}

// A letter about a batch brings back every record of it, past a million too, and each once, whatever other letters there are; what is
// gone of it is said, however much that would be.
func TestReplayOfBatches(t *testing.T) {
	const many = 1<<20 + 10
	b := newBroker(t, "raw", letters)
	rs := make([]*kgo.Record, many)
	for i := range rs {
		rs[i] = &kgo.Record{Topic: "raw", Partition: 0, Value: []byte("x")}
	}
	b.write(rs...)
	b.write(&kgo.Record{Topic: "raw", Partition: 1, Value: []byte("one")}, &kgo.Record{Topic: "raw", Partition: 1, Value: []byte("two")}, &kgo.Record{Topic: "raw", Partition: 1, Value: []byte("three")})
	b.batch(0, 0, many-1)
	b.batch(0, 5, 7) // again, and a part of it
	b.letter(0, 6, "not_json", "x")
	b.batch(1, 1, 1<<40) // what was behind two and three is gone
	var lost []string
	got := b.replay(deadletters.Filter{}, deadletters.ReplayOptions{DryRun: true, Each: func(_ topics.Source, what deadletters.Outcome, err error) {
		if what == deadletters.Lost {
			lost = append(lost, err.Error())
		}
	}})
	if d := cmp.Diff(map[deadletters.Outcome]int{deadletters.Replayed: many + 2, deadletters.Lost: 1}, got); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	if want := fmt.Sprintf("%d of the records at raw/1 offsets 1 to %d are ", math.MaxInt32-1, 1+math.MaxInt32); len(lost) != 1 || !strings.HasPrefix(lost[0], want) {
		t.Errorf("lost %q, want %q", lost, want)
	}
	one := int64(1)
	b.replay(deadletters.Filter{Source: deadletters.Source{Topic: "raw", Partition: &one}}, deadletters.ReplayOptions{})
	if d := cmp.Diff([]string{"=two from raw/1/1", "=three from raw/1/2"}, b.came(1, 3)); d != "" {
		t.Errorf("came again (-want +got):\n%s", d)
	}
}
