package state

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/farcall/farcall/topics"
)

// changelog is a topic on an embedded broker, and what a reader of all its committed records must find.
type changelog struct {
	t       *testing.T
	cluster *kfake.Cluster
	opts    []kgo.Opt
	adm     *kadm.Client
	topic   string
	want    rows
	meta    Meta
	written int // rows of committed transactions, tombstones too
}

func newChangelog(t *testing.T) *changelog {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l := &changelog{t: t, cluster: c, topic: "farcall.detect.changelog", want: rows{}}
	l.opts = []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(100 * time.Millisecond)}
	l.adm = kadm.NewClient(l.client())
	l.create()
	return l
}

func (l *changelog) create() {
	l.t.Helper()
	o := topics.DefaultOptions()
	o.Partitions = 1
	for _, d := range topics.Declare(o) {
		if d.Name == l.topic {
			configs := map[string]*string{}
			for k, v := range d.Configs {
				configs[k] = &v
			}
			if _, err := l.adm.CreateTopic(l.t.Context(), d.Partitions, 1, configs, d.Name); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

func (l *changelog) client(opts ...kgo.Opt) *kgo.Client {
	l.t.Helper()
	cl, err := kgo.NewClient(append(append(l.opts, kgo.RecordPartitioner(kgo.ManualPartitioner())), opts...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(cl.Close)
	return cl
}

// begin opens a transaction of a producer of its own and writes rows in it, "key=value" or "key" for a tombstone.
func (l *changelog) begin(id string, changes ...string) *kgo.Client {
	l.t.Helper()
	cl := l.client(kgo.TransactionalID(id))
	if err := cl.BeginTransaction(); err != nil {
		l.t.Fatal(err)
	}
	l.produce(cl, time.Time{}, changes...)
	return cl
}

func (l *changelog) produce(cl *kgo.Client, at time.Time, changes ...string) {
	l.t.Helper()
	var rs []*kgo.Record
	for _, c := range changes {
		k, v, live := strings.Cut(c, "=")
		r := &kgo.Record{Topic: l.topic, Key: []byte(k), Timestamp: at}
		if live {
			r.Value = []byte(v)
		}
		rs = append(rs, r)
	}
	if err := cl.ProduceSync(l.t.Context(), rs...).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *changelog) end(cl *kgo.Client, commit kgo.TransactionEndTry) {
	l.t.Helper()
	if err := cl.EndTransaction(l.t.Context(), commit); err != nil {
		l.t.Fatal(err)
	}
}

// learn takes committed changes into what must be found.
func (l *changelog) learn(changes ...string) {
	for _, c := range changes {
		l.written++
		if k, v, live := strings.Cut(c, "="); live {
			l.want[k] = []byte(v)
		} else {
			delete(l.want, k)
		}
	}
}

// commit writes one committed transaction with a meta row, as a stage does.
func (l *changelog) commit(changes ...string) {
	l.t.Helper()
	l.meta.Input++
	cl := l.begin("stage", changes...)
	meta := l.meta
	r := &kgo.Record{Topic: l.topic, Key: metaKey, Value: meta.append(nil)}
	if err := cl.ProduceSync(l.t.Context(), r).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
	l.end(cl, kgo.TryCommit)
	l.learn(changes...)
	l.written++
}

func (l *changelog) abort(changes ...string) {
	l.t.Helper()
	l.end(l.begin("stage", changes...), kgo.TryAbort)
}

func (l *changelog) id() TopicID {
	l.t.Helper()
	cl := l.client() // one that remembers no topic of the same name
	ts, err := kadm.NewClient(cl).ListTopics(l.t.Context(), l.topic)
	if err != nil {
		l.t.Fatal(err)
	}
	return TopicID(ts[l.topic].ID)
}

func (l *changelog) highWatermark() int64 {
	l.t.Helper()
	os, err := l.adm.ListEndOffsets(l.t.Context(), l.topic)
	if err != nil {
		l.t.Fatal(err)
	}
	o, _ := os.Lookup(l.topic, 0)
	return o.Offset
}

func (l *changelog) restore(opts ...kgo.Opt) Restore {
	return Restore{Client: append(l.opts[:len(l.opts):len(l.opts)], opts...), Topic: l.topic, Stall: 20 * time.Second, quiet: 100 * time.Millisecond}
}

func (l *changelog) run(s *Store) Restored {
	l.t.Helper()
	out, err := l.restore().Run(l.t.Context(), s)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// check holds a restored store against the changelog.
func (l *changelog) check(s *Store) {
	l.t.Helper()
	if got := committed(l.t, s); !maps.EqualFunc(l.want, got, bytes.Equal) {
		l.t.Errorf("rows (-want +got):\n%s", cmp.Diff(l.want, got))
	}
	meta, ok := s.Meta()
	if ok != (l.meta != Meta{}) || meta != l.meta {
		l.t.Errorf("meta %+v %v, want %+v", meta, ok, l.meta)
	}
	pos, known := s.Position()
	if hw := l.highWatermark(); !known || pos.Next < hw {
		l.t.Errorf("position %d, the high watermark is %d: the next restore would never be done", pos.Next, hw)
	}
	if pos.Topic != l.id() {
		l.t.Errorf("position in topic %x, want %x", pos.Topic, l.id())
	}
}

func memStore(t *testing.T) *Store {
	s := open(t, vfs.NewMem())
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func TestRestoreOfNothing(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	if out := l.run(s); out != (Restored{}) {
		t.Errorf("restored %+v of an empty changelog", out)
	}
	l.check(s)
	if pos, _ := s.Position(); pos.Next != 0 {
		t.Errorf("position %d", pos.Next)
	}
}

func TestRestore(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	l.commit("wa=1", "wb=1", "wc=1")
	l.commit("wb=2", "wa")
	l.abort("wb=never", "wx=never", "wc")
	l.commit("wd=", "we=1")
	l.commit("we")
	if out := l.run(s); out.Rows != int64(l.written) || out.Wiped != "" {
		t.Errorf("restored %+v, want %d rows", out, l.written)
	}
	l.check(s) // the position is behind the marker that ends the log

	// From there on only what is new is read, whatever it ends with.
	for _, more := range []func(){
		func() {},
		func() { l.commit("wa=3") },
		func() { l.abort("wa=never") },
		func() { l.abort("wa"); l.abort("wb") },
		func() { l.commit("wb"); l.commit("wf=1") },
	} {
		before := l.written
		more()
		if out := l.run(s); out.Rows != int64(l.written-before) || out.Wiped != "" {
			t.Errorf("restored %+v, want %d rows", out, l.written-before)
		}
		l.check(s)
	}

	// From the middle, in the store of a member that missed all after its first transaction; its position is that of its
	// own rows, before their marker.
	old := memStore(t)
	old.SetMeta(Meta{Input: 1})
	for k, v := range (rows{"wa": []byte("1"), "wb": []byte("1"), "wc": []byte("1")}) {
		old.Set([]byte(k), v)
	}
	if err := old.Commit(Position{l.id(), 4}); err != nil {
		t.Fatal(err)
	}
	if out := l.run(old); out.Rows != int64(l.written-4) || out.Wiped != "" {
		t.Errorf("restored %+v, want %d rows", out, l.written-4)
	}
	l.check(old)
}

// TestRestoreKeepsProgress runs a changelog that is larger than one batch.
func TestRestoreKeepsProgress(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	noise := make([]byte, 256<<10)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(noise)
	value := hex.EncodeToString(noise)
	for i := range 5 {
		var changes []string
		for j := range 5 {
			changes = append(changes, fmt.Sprintf("w%d%d=%s", i, j, value))
		}
		l.commit(changes...)
	}
	r := l.restore()
	r.Share = NewRestores(1, 4<<20)
	r.Share.smallBelow = 0
	calls, rows, size := 0, 0, 0
	last := l.highWatermark()
	r.Progress = func(n, bytes int, remaining int64) {
		calls++
		rows += n
		size += bytes
		if remaining > last || remaining < 0 || n > 0 && remaining == last {
			t.Errorf("call %d: %d rows read and %d offsets left, before it %d", calls, n, remaining, last)
		}
		last = remaining
	}
	if _, err := r.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if calls < 2 || rows != l.written || size < 25*len(value) || last != 0 {
		t.Errorf("told of %d rows, %d bytes in %d calls with %d offsets left, want %d rows", rows, size, calls, last, l.written)
	}
	if m := s.Metrics(); m.Ingest.Count < 3 {
		t.Errorf("%d sorted tables were taken over: an empty store must be filled with them", m.Ingest.Count)
	}
	l.check(s)
}

// background is a restore that runs aside.
type background struct {
	done    chan error
	fetches *atomic.Int64
}

func (l *changelog) background(r Restore, s *Store) background {
	b := background{done: make(chan error, 1), fetches: new(atomic.Int64)}
	l.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.fetches.Add(1)
		return nil, nil, false
	})
	go func() {
		_, err := r.Run(l.t.Context(), s)
		b.done <- err
	}()
	return b
}

// stillWaiting returns once the restore has asked the broker again a few times, and fails if it has ended.
func (b background) stillWaiting(t *testing.T) {
	t.Helper()
	for until := b.fetches.Load() + 4; b.fetches.Load() < until; {
		select {
		case err := <-b.done:
			t.Fatalf("the restore ended before its rows could be read: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestRestoreBehindOpenTransaction: another producer's transaction is open below rows that are committed. The last stable
// offset stands before them; a restore to it would miss them all.
func TestRestoreBehindOpenTransaction(t *testing.T) {
	for name, end := range map[string]kgo.TransactionEndTry{"committed": kgo.TryCommit, "aborted": kgo.TryAbort} {
		t.Run(name, func(t *testing.T) {
			l := newChangelog(t)
			s := memStore(t)
			l.commit("wa=1")
			other := l.begin("other", "wother=1")
			l.commit("wa=2", "wb=2")
			b := l.background(l.restore(), s)
			b.stillWaiting(t)
			l.end(other, end)
			if end == kgo.TryCommit {
				l.learn("wother=1")
			}
			if err := <-b.done; err != nil {
				t.Fatal(err)
			}
			l.check(s)
		})
	}
}

func TestRestoreStalls(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	l.commit("wa=1")
	other := l.begin("other", "wother=1")
	l.commit("wa=2")
	id, epoch, err := other.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := l.restore()
	r.Stall = 200 * time.Millisecond
	_, err = r.Run(t.Context(), s)
	if err == nil {
		t.Fatal("no error")
	}
	for _, says := range []string{
		l.topic + "/0 stalled for 200ms at offset 3 of 7",
		fmt.Sprintf("producer id %d epoch %d since offset 3", id, epoch),
		"kafka-transactions.sh abort ends it",
	} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("error %q does not say %q", err, says)
		}
	}
	// When a person has ended it, the next restore goes on.
	l.end(other, kgo.TryAbort)
	l.run(s)
	l.check(s)
}

func TestRestoreCancelled(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	l.begin("other", "wother=1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	l.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		return nil, nil, false
	})
	go func() {
		_, err := l.restore().Run(ctx, s)
		done <- err
	}()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestRestoreOfForeignState gives a restore local copies that are not of its changelog.
func TestRestoreOfForeignState(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(l *changelog, s *Store)
		wiped   string
	}{
		"another changelog": {func(l *changelog, s *Store) {
			l.commit("wa=1")
			commit(t, s, 1) // of topicA
		}, "foreign topic"},
		"the changelog was recreated": {func(l *changelog, s *Store) {
			l.commit("wold=1", "wa=old")
			l.run(s)
			if _, err := l.adm.DeleteTopics(t.Context(), l.topic); err != nil {
				t.Fatal(err)
			}
			l.create()
			l.want, l.meta, l.written = rows{}, Meta{}, 0
			l.commit("wa=1")
			l.commit("wb=1") // longer than before: the offset alone would tell nothing
			l.commit("wc=1")
		}, "foreign topic"},
		"the changelog lost its end": {func(l *changelog, s *Store) {
			l.commit("wa=1")
			if err := s.Commit(Position{l.id(), l.highWatermark() + 1}); err != nil {
				t.Fatal(err)
			}
		}, "past the end"},
		"the changelog lost its start": {func(l *changelog, s *Store) {
			l.commit("wa=1")
			if err := s.Commit(Position{l.id(), 1}); err != nil {
				t.Fatal(err)
			}
			l.commit("wb=1")
			l.commit("wc=1")
			var upTo kadm.Offsets
			upTo.Add(kadm.Offset{Topic: l.topic, At: 3})
			if rs, err := l.adm.DeleteRecords(t.Context(), upTo); err != nil || rs.Error() != nil {
				t.Fatal(err, rs.Error())
			}
			delete(l.want, "wa")
			l.written -= 2
		}, "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newChangelog(t)
			s := memStore(t)
			s.Set([]byte("wforeign"), []byte("row"))
			s.SetMeta(Meta{Input: 99, Fingerprint: "foreign"})
			c.prepare(l, s)
			s.Rollback()
			if out := l.run(s); out.Wiped != c.wiped || out.Rows != int64(l.written) {
				t.Errorf("restored %+v, want %d rows after a wipe because of %q", out, l.written, c.wiped)
			}
			l.check(s)
			if out := l.run(s); out != (Restored{}) {
				t.Errorf("the second time: %+v", out)
			}
		})
	}
}

// TestRestoreOfStaleState: while a store was away its row was deleted, and compaction has dropped the tombstone since. From
// where it stands nothing in the changelog says that the row is gone.
func TestRestoreOfStaleState(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	cl := l.client()
	long := time.Now().Add(-2 * topics.TombstoneRetention)
	at := func(when time.Time, changes ...string) {
		l.produce(cl, when, changes...)
		l.learn(changes...)
	}
	at(long, "wfirst=1") // compaction keeps it, and so the start of the log
	at(long, "wgone=1", "wkept=1")
	l.run(s)
	l.check(s)
	at(long, "wgone")
	at(long, "wkept=2")
	at(time.Now(), "wnew=1")
	at(time.Now(), "wend=1")
	l.cluster.Compact()
	out := l.run(s)
	if out.Wiped != "stale" || out.Rows != 4 {
		t.Errorf("restored %+v, want the 4 rows that compaction left, after a wipe", out)
	}
	l.check(s)
}

// TestRestoreOfQuietState: nothing was written for longer than tombstones live. A store that misses nothing but the marker
// behind its last transaction is as good as ever.
func TestRestoreOfQuietState(t *testing.T) {
	for name, more := range map[string][]string{"still quiet": nil, "busy again": {"wb=2", "wc=1"}} {
		t.Run(name, func(t *testing.T) {
			l := newChangelog(t)
			s := memStore(t)
			cl := l.client()
			long := time.Now().Add(-2 * topics.TombstoneRetention)
			l.produce(cl, long, "wa=1", "wb=1")
			l.learn("wa=1", "wb=1")
			l.run(s)
			l.produce(cl, long, "marker=") // an ordinary record stands for the marker, whose time the broker would choose
			l.learn("marker=")
			l.produce(cl, time.Now(), more...)
			l.learn(more...)
			if out := l.run(s); out.Wiped != "" || out.Rows != int64(1+len(more)) {
				t.Errorf("restored %+v, want %d rows and no wipe", out, 1+len(more))
			}
			l.check(s)
		})
	}
}

// probing says whether a fetch asks for what is left, and does not wait for more: it is no fetch of a consumer.
func probing(req *kmsg.FetchRequest) bool { return req.MaxWaitMillis == 0 }

// TestSilenceIsNotTheEnd: a broker that throttles its readers answers them with nothing for a while. All rows below are
// stable, but they were not read.
func TestSilenceIsNotTheEnd(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	l.commit("wa=1")
	l.run(s)
	l.commit("wa=2", "wb=2")
	var probes atomic.Int64
	l.cluster.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.FetchRequest)
		if probing(req) {
			probes.Add(1)
			return nil, nil, false
		}
		if probes.Load() >= 2 {
			return nil, nil, false
		}
		l.cluster.KeepControl()
		return req.ResponseKind(), nil, true
	})
	if out, err := l.restore(kgo.DisableFetchSessions()).Run(t.Context(), s); err != nil || out.Rows != 3 {
		t.Errorf("restored %+v, error %v, want 3 rows", out, err)
	}
	if probes.Load() < 2 {
		t.Errorf("the leader was asked %d times", probes.Load())
	}
	l.check(s)
}

// TestThrottledAnswerIsNotTheEnd: the leader's own word counts for nothing while it throttles.
func TestThrottledAnswerIsNotTheEnd(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	l.commit("wa=1", "wb=1")
	hw := l.highWatermark()
	var probes atomic.Int64
	l.cluster.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.FetchRequest)
		if probes.Load() >= 2 {
			return nil, nil, false
		}
		l.cluster.KeepControl()
		resp := emptyAnswer(req, hw)
		if probing(req) {
			probes.Add(1)
			resp.ThrottleMillis = 1
		}
		return resp, nil, true
	})
	if out, err := l.restore(kgo.DisableFetchSessions()).Run(t.Context(), s); err != nil || out.Rows != 3 {
		t.Errorf("restored %+v, error %v, want 3 rows", out, err)
	}
	l.check(s)
}

// TestEmptiedTail: compaction has emptied the batches before the end, so that no record carries the last offsets.
func TestEmptiedTail(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	l.commit("wa=1")
	l.abort("wb=never")
	const tail = 3 // where the aborted transaction starts
	hw := l.highWatermark()
	l.cluster.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.FetchRequest)
		if req.Topics[0].Partitions[0].FetchOffset < tail {
			// Its batches end before the tail.
			req.Topics[0].Partitions[0].PartitionMaxBytes, req.MaxBytes = 1, 1
			return nil, nil, false
		}
		l.cluster.KeepControl()
		return emptyAnswer(req, hw), nil, true
	})
	out, err := l.restore(kgo.DisableFetchSessions()).Run(t.Context(), s)
	if err != nil || out.Rows != 2 {
		t.Errorf("restored %+v, error %v, want 2 rows", out, err)
	}
	l.check(s)
}

// emptyAnswer is a leader's answer that no batch is left, though the log ends at hw.
func emptyAnswer(req *kmsg.FetchRequest, hw int64) *kmsg.FetchResponse {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	t := kmsg.NewFetchResponseTopic()
	t.Topic, t.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = hw, hw, 0
	p.RecordBatches = []byte{}
	t.Partitions = append(t.Partitions, p)
	resp.Topics = append(resp.Topics, t)
	return resp
}

func TestRestoreWithoutChangelog(t *testing.T) {
	l := newChangelog(t)
	s := memStore(t)
	r := l.restore()
	r.Partition = 7
	if _, err := r.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "changelog "+l.topic+" has no partition 7") {
		t.Errorf("error %v", err)
	}
	r = l.restore()
	r.Topic = "nowhere"
	ctx, cancel := context.WithCancel(t.Context())
	l.cluster.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		return nil, nil, false
	})
	// The topic may be a moment from being known: it is asked for again until the context ends.
	if _, err := r.Run(ctx, s); !errors.Is(err, context.Canceled) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("error %v", err)
	}
	if _, known := s.Position(); known {
		t.Error("a failed restore left a position")
	}
}

// TestRestoreEqualsCommits: the member that wrote the rows and the member that restores them have the same store.
func TestRestoreEqualsCommits(t *testing.T) {
	l := newChangelog(t)
	owner, restored := memStore(t), memStore(t)
	cl := l.client(kgo.TransactionalID("stage"))
	l.run(owner)
	for n := range 20 {
		for i := range 10 {
			k := fmt.Appendf(nil, "w%d", n*7%13+i)
			if (n+i)%4 == 0 {
				owner.Delete(k)
			} else {
				owner.Set(k, fmt.Append(nil, n, i))
			}
		}
		l.meta = Meta{Input: int64(n), StreamTime: int64(n) * 1000, Fingerprint: "f"}
		owner.SetMeta(l.meta)
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		var rs []*kgo.Record
		for k, v := range owner.Changes() {
			rs = append(rs, &kgo.Record{Topic: l.topic, Key: k, Value: v})
		}
		if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if n%5 == 4 {
			l.end(cl, kgo.TryAbort)
			owner.Rollback()
			continue
		}
		l.end(cl, kgo.TryCommit)
		if err := owner.Commit(Position{l.id(), rs[len(rs)-1].Offset + 1}); err != nil {
			t.Fatal(err)
		}
	}
	l.meta, _ = owner.Meta()
	l.want = committed(t, owner)
	l.run(restored)
	l.check(restored)
	l.run(owner) // has only markers and aborted rows to read
	l.check(owner)
	if !maps.EqualFunc(committed(t, owner), committed(t, restored), bytes.Equal) {
		t.Error("two stores of one changelog differ")
	}
}
