// Package model holds the stages, their stores and the workers that run them against a naive oracle, under random histories of
// traffic and faults. A history runs in a bubble of virtual time on the embedded broker, so that timeouts cost nothing. What
// it predicts must be its own: it calls the code under test for the curve of the score and the encoding of records, and for
// nothing else.
package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/decisions"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/stream"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/state/crashdisk"
	"github.com/farcall/farcall/topics"
)

const (
	prefix     = "model"
	partitions = 2
)

var (
	names   = topics.NamesFor(prefix)
	locator = sync.OnceValues(func() (*geo.Locator, error) { return geo.Open(geo.Options{}) })
)

// world is one installation in its bubble.
type world struct {
	rng     *rand.Rand
	crashes *rand.Rand // what survives of a disk; guarded by mu, like what follows it there
	net     kfake.VirtualNetwork
	c       *kfake.Cluster
	cl      *kgo.Client
	locator *geo.Locator
	sent    [][]raw
	serial  int
	inForce []*topics.Exception // as far as those who made them know
	mu      sync.Mutex          // of what follows: the broker asks for it
	clock   time.Time
	armed   string // the fault that the next commit meets
	m       *member
	dead    []*member
	groups  *coordinator
	faults  map[string]int
	err     error
}

type member struct {
	disk   *crashdisk.Disk
	left   *crashdisk.Disk // what a crash left of it
	mu     sync.Mutex
	cut    bool
	conns  map[net.Conn]bool
	cancel context.CancelFunc
	ended  chan error
}

// socket gives the pipe of the embedded broker's network the errors of a socket: a client goes on
// after net.ErrClosed, while it takes the pipe's own io.ErrClosedPipe for something that will not pass.
type socket struct{ net.Conn }

func (s socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	return n, asSocket(err)
}

func (s socket) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	return n, asSocket(err)
}

func asSocket(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return net.ErrClosed
	}
	return err
}

func (m *member) set(cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut = cut; cut {
		for c := range m.conns {
			c.Close()
		}
		clear(m.conns)
	}
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// count notes what a history met; control, which holds mu, does so by itself.
func (w *world) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[what] += n
}

func wait(d time.Duration) { <-time.After(d) }

func (w *world) start(disk *crashdisk.Disk) {
	m := &member{disk: disk, conns: map[net.Conn]bool{}, ended: make(chan error, 1)}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := w.net.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.cut {
			c.Close()
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("the network is cut")}
		}
		m.conns[c] = true
		return socket{c}, nil
	}
	metrics := stream.NewMetrics()
	s := stream.Stages{
		Raw: []string{"raw"}, Names: names, Start: stream.Earliest, Locator: w.locator, Breaker: route.NewBreaker(1), Metrics: metrics, Version: version,
		Route:  route.DefaultConfig(),
		Detect: detect.Config{Pane: time.Hour, Window: time.Duration(span) * time.Second, LookBack: time.Duration(lookBack) * time.Second, Floor: floor, CacheEntries: 1 << 16},
		Triage: triageConfig,
		Now:    func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock },
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	o := stream.Options{
		Client:      []kgo.Opt{kgo.SeedBrokers(w.c.ListenAddrs()...), kgo.Dialer(dial), kgo.MetadataMinAge(100 * time.Millisecond)},
		GroupPrefix: prefix, Slot: "a", Dir: "state", FS: disk, Metrics: metrics, Log: slog.New(slog.DiscardHandler),
		CommitInterval: 20 * time.Millisecond, SessionTimeout: 2 * time.Second, TxnTimeout: 2 * time.Second, MemTableBytes: 64 << 10,
	}
	w.mu.Lock()
	w.m = m
	w.mu.Unlock()
	go func() { m.ended <- stream.RunWorkers(ctx, o, s.Build(), nil) }()
}

// kill cuts the member off and keeps its disk as a power cut would leave it. It is called with mu held.
func (w *world) kill() {
	w.m.left = w.m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.crashes})
	w.m.set(true)
	w.m.cancel()
}

// revive puts another process in the place of one that was killed.
func (w *world) revive() {
	w.mu.Lock()
	m := w.m
	left := m.left
	if left != nil {
		w.dead = append(w.dead, m)
	}
	w.mu.Unlock()
	if left != nil {
		w.start(left)
	}
}

// bury gives the zombies their network back: they must harm nobody.
func (w *world) bury() {
	for _, m := range w.dead {
		m.set(false)
		if err := <-m.ended; err != nil {
			w.fail("zombie: %w", err)
		}
	}
	w.dead = nil
}

// control stands between the members and the broker.
func (w *world) control(req kmsg.Request) (kmsg.Response, error, bool) {
	w.c.KeepControl()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r := req.(type) {
	case *kmsg.InitProducerIDRequest:
		if id := r.TransactionalID; id != nil {
			w.groups.supersede(*id)
		}
		return nil, nil, false
	case *kmsg.OffsetFetchRequest:
		if resp := w.groups.fetch(r); resp != nil {
			w.faults["asked a coordinator that forgot"]++
			return resp, nil, true
		}
		return nil, nil, false
	}
	if w.m.left != nil {
		return nil, nil, false
	}
	switch r := req.(type) {
	case *kmsg.TxnOffsetCommitRequest:
		if w.armed != "abort" {
			w.groups.commit(r)
			break
		}
		w.armed = ""
		w.faults["abort"]++
		resp := r.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.RebalanceInProgress.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	case *kmsg.EndTxnRequest:
		if r.TransactionalID == names.Exceptions || !r.Commit || !strings.HasPrefix(w.armed, "crash") {
			w.groups.end(producer{r.TransactionalID, r.ProducerID, r.ProducerEpoch}, r.Commit)
			break
		}
		before := w.armed == "crash before commit"
		w.faults[w.armed]++
		w.armed = ""
		w.kill()
		if before {
			return nil, errors.New("the member is dead"), true
		}
		w.groups.end(producer{r.TransactionalID, r.ProducerID, r.ProducerEpoch}, true)
	}
	return nil, nil, false
}

// send writes a few raw records to one partition.
func (w *world) send() {
	p := int32(w.rng.IntN(partitions))
	for range 1 + w.rng.IntN(8) {
		w.serial++
		r := raw{partition: p, timestamp: w.clock.UnixMilli(), id: "event-" + strconv.Itoa(w.serial), method: "iam:" + []string{"CreateUser", "DeleteUser", "ListRoles"}[w.rng.IntN(3)],
			user: "u" + strconv.Itoa(w.rng.IntN(25)), place: "US", denied: w.rng.IntN(8) == 0, at: w.clock.Add(-time.Duration(w.rng.IntN(900)) * time.Second).UnixMilli()}
		if w.rng.IntN(12) == 0 {
			r.place = []string{"DE", "BR"}[w.rng.IntN(2)]
		}
		switch w.rng.IntN(25) {
		case 0:
			r.at = w.clock.Add(-time.Duration(13+w.rng.IntN(8)) * time.Hour).UnixMilli()
			w.count("late", 1)
		case 1:
			r.at = w.clock.Add(-time.Duration(w.rng.IntN(11)) * time.Hour).UnixMilli()
		case 2:
			r.at = w.clock.Add(time.Hour).UnixMilli()
		case 3:
			r.bad = true
		case 4:
			if s := w.sent[p]; len(s) > 0 {
				at := r.timestamp
				r = s[w.rng.IntN(len(s))]
				r.timestamp = at
				w.count("duplicate", 1)
			}
		}
		agent := clients[w.rng.IntN(len(clients))]
		value := "no JSON"
		if r.at = r.at / 1000 * 1000; !r.bad {
			_, action, _ := strings.Cut(r.method, ":")
			code := ""
			if r.denied {
				code = `"errorCode":"AccessDenied",`
			}
			value = fmt.Sprintf(`{"eventVersion":"1.11","eventTime":%q,"eventID":%q,"eventSource":"iam.amazonaws.com","eventName":%q,%s"sourceIPAddress":%q,"recipientAccountId":%q,"eventType":"AwsApiCall","userAgent":%[8]q,"userIdentity":{"type":"IAMUser","accountId":%[6]q,"userName":%[7]q}}`,
				time.UnixMilli(r.at).UTC().Format(time.RFC3339), r.id, action, code, addresses[r.place], account, r.user, agent)
		}
		rec := &kgo.Record{Topic: "raw", Partition: p, Timestamp: time.UnixMilli(r.timestamp), Value: []byte(value)}
		if err := w.cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
			w.fail("send: %w", err)
			return
		}
		r.offset = rec.Offset
		w.sent[p] = append(w.sent[p], r)
	}
}

func (w *world) client() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.c.ListenAddrs()...), kgo.Dialer(w.net.DialContext)}
}

// except makes an exception, or takes one back.
func (w *world) except() {
	e := exception(w.rng, w.serial, time.Now().UnixMilli(), 300)
	if n := len(w.inForce); n > 0 && w.rng.IntN(3) == 0 {
		at := w.rng.IntN(n)
		old := *w.inForce[at]
		e, w.inForce = &old, slices.Delete(w.inForce, at, at+1)
		e.Removed = true
	} else {
		w.serial++
		w.inForce = append(w.inForce, e)
	}
	if err := decisions.Announce(context.Background(), w.client(), names, e); err != nil {
		w.fail("announce: %w", err)
	}
}

// decide says of some alert what it was.
func (w *world) decide() {
	var known []alert.Brief
	for _, topic := range []string{names.Alerts, names.HeldBack} {
		for _, rs := range w.read(topic) {
			for _, r := range rs {
				b, err := alert.ParseBrief(r.Value)
				if err != nil {
					w.fail("alert: %w", err)
				}
				if !b.RollUp {
					known = append(known, b)
				}
			}
		}
	}
	if len(known) == 0 {
		return
	}
	if err := decisions.Decide(context.Background(), w.client(), names, verdict(w.rng, &known[w.rng.IntN(len(known))], time.Now().UnixMilli())); err != nil {
		w.fail("decide: %w", err)
	}
}

// read returns what a read_committed consumer sees of a topic, by partition.
func (w *world) read(topic string) [][]*kgo.Record {
	out := make([][]*kgo.Record, partitions)
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.c.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.fail("read: %w", err)
		return out
	}
	defer cl.Close()
	left := map[int32]int64{}
	for _, p := range w.c.PartitionInfos(topic) {
		if p.LastStableOffset > 0 {
			left[p.Partition] = p.LastStableOffset
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			w.fail("read %s: %w", topic, err)
			return out
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
		})
	}
	return out
}

// settle waits until the transactions that are open on a topic have ended. One that a killed member left behind hides from
// every reader what others wrote after it, until the next member or its timeout aborts it.
func (w *world) settle(topic string) {
	end := map[int32]int64{}
	for _, p := range w.c.PartitionInfos(topic) {
		end[p.Partition] = p.HighWatermark
	}
	for range 6000 {
		w.revive()
		if !slices.ContainsFunc(w.c.PartitionInfos(topic), func(p *kfake.PartitionInfo) bool { return p.LastStableOffset < end[p.Partition] }) {
			return
		}
		wait(20 * time.Millisecond)
	}
	w.fail("a transaction stays open on %s", topic)
}

// drain waits until a group has committed behind the last of these records.
func (w *world) drain(stage, topic string, rs [][]*kgo.Record) {
	for range 6000 {
		w.revive()
		done := true
		g := w.c.GroupInfo(prefix + "." + stage)
		for p, prs := range rs {
			if len(prs) == 0 {
				continue
			}
			c := int64(-1)
			if g != nil {
				if o, ok := g.Commits[topic][int32(p)]; ok {
					c = o.Offset
				}
			}
			done = done && c >= prs[len(prs)-1].Offset+1
		}
		if done {
			return
		}
		select {
		case err := <-w.m.ended:
			w.m.ended <- err
			w.mu.Lock()
			crashed := w.m.left != nil
			w.mu.Unlock()
			if !crashed {
				w.fail("the member ended by itself: %w", err)
				return
			}
		default:
		}
		wait(20 * time.Millisecond)
	}
	w.fail("%s does not come to the end of its input", stage)
}

// live runs steps and compares what is there in the end.
func live(seed uint64, steps int, l *geo.Locator, faults map[string]int) error {
	wait(26 * 365 * 24 * time.Hour) // CloudTrail did not exist when virtual time begins
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), crashes: rand.New(rand.NewPCG(seed, 11)), locator: l, sent: make([][]raw, partitions), clock: time.Now(), groups: newCoordinator(), faults: faults}
	var err error
	if w.c, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.ListenFn(w.net.Listen)); err != nil {
		return err
	}
	defer w.c.Close()
	for _, t := range []string{"raw", names.Visits, names.Principals, names.Positions, names.Exceptions, names.Alerts, names.HeldBack, names.DeadLetters, names.DetectChangelog, names.TriageChangelog} {
		if err := w.c.CreateTopic(t, partitions, nil); err != nil {
			return err
		}
		w.groups.named[w.c.TopicInfo(t).TopicID] = t
	}
	if w.cl, err = kgo.NewClient(kgo.SeedBrokers(w.c.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return err
	}
	defer w.cl.Close()
	w.start(crashdisk.New())
	w.c.ControlKey(int16(kmsg.EndTxn), w.control)
	for _, k := range []kmsg.Key{kmsg.TxnOffsetCommit, kmsg.InitProducerID, kmsg.OffsetFetch} {
		w.c.ControlKey(int16(k), w.control)
	}
	arm := func(fault string) { w.mu.Lock(); w.armed = fault; w.mu.Unlock() }
	for step := 0; step < steps && w.err == nil; step++ {
		switch n := w.rng.IntN(44); {
		case n < 20:
			w.send()
		case n < 30:
			wait(time.Duration(1+w.rng.IntN(60)) * time.Millisecond)
		case n < 32:
			w.mu.Lock()
			w.clock = w.clock.Add(time.Duration(1+w.rng.IntN(90)) * time.Minute)
			w.mu.Unlock()
		case n < 34:
			arm("abort")
		case n < 35:
			arm("crash before commit")
		case n < 36:
			arm("crash between commit and Pebble")
		case n < 38:
			w.revive()
		case n < 39:
			w.bury()
		case n < 40:
			w.except()
		case n < 41:
			w.decide()
		case n < 43:
			w.mu.Lock()
			group := prefix + "." + []string{"route", "detect", "triage"}[w.rng.IntN(3)]
			if w.groups.stale[group] != nil {
				delete(w.groups.stale, group)
			} else if w.groups.forget(group, 1+w.rng.IntN(20)) {
				w.faults["coordinator forgets"]++
			}
			w.mu.Unlock()
		default:
			w.mu.Lock()
			m, stop := w.m, w.m.left == nil
			w.mu.Unlock()
			if stop {
				m.cancel()
				err := <-m.ended
				w.mu.Lock()
				crashed := m.left != nil
				w.mu.Unlock()
				if crashed {
					m.ended <- err
				} else if err != nil {
					w.fail("stop: %w", err)
				} else {
					w.count("restart", 1)
					w.start(m.disk)
				}
			}
		}
	}
	arm("")
	if w.err == nil {
		w.compare()
	}
	w.revive()
	w.bury()
	w.m.cancel()
	if err := <-w.m.ended; err != nil {
		w.fail("end: %w", err)
	}
	if w.err == nil {
		w.compareRows()
	}
	return w.err
}

func (w *world) differ(what string, want, got any) {
	if d := cmp.Diff(want, got); d != "" {
		w.fail("%s differ (-want +got):\n%.2000s", what, d)
	}
}

func (w *world) compare() {
	sent := make([][]*kgo.Record, partitions)
	for p, rs := range w.sent {
		for _, r := range rs {
			sent[p] = append(sent[p], &kgo.Record{Offset: r.offset})
		}
	}
	w.drain("route", "raw", sent)
	w.settle(names.Visits)
	w.drain("detect", names.Visits, w.read(names.Visits))
	w.settle(names.Principals)
	principals := w.read(names.Principals)
	w.drain("triage", names.Principals, principals)
	w.settle(names.Visits)
	visits := w.read(names.Visits) // and retractions
	w.drain("detect", names.Visits, visits)
	if w.err != nil {
		return
	}
	want := expected(w.sent)
	var letters []string
	for _, rs := range w.read(names.DeadLetters) {
		for _, r := range rs {
			d := topics.ParseDeadLetter(r)
			letters = append(letters, d.Reason+" "+coordinates(d.Source.Partition, d.Source.Offset))
		}
	}
	slices.Sort(letters)
	w.differ("dead letters", want.letters, letters)
	told, retractions := map[string]bool{}, []string(nil)
	var all []string // told, for people
	for _, rs := range visits {
		for _, r := range rs {
			switch topics.KindOf(r.Value) {
			case topics.KindPulse: // nobody listens to them here
				continue
			case topics.KindRetraction:
				retractions = append(retractions, string(r.Value))
				continue
			}
			var v topics.Visit
			if err := v.Decode(r.Value); err != nil {
				w.fail("visit: %w", err)
				return
			}
			at := spot(&v)
			all = append(all, fmt.Sprintf("%s/%d offset %d: %s %s %s %d %s %s", r.Topic, r.Partition, r.Offset, at, v.Method, v.Principal, v.Pane, v.Outcome, v.Quiet))
			if told[at] {
				w.fail("the visit of %s was told twice", at)
			}
			told[at] = true
			w.differ("visits of "+at, want.visits[at], bare(&v))
		}
	}
	for presence, spots := range want.first {
		if !slices.ContainsFunc(spots, func(at string) bool { return told[at] }) {
			w.fail("the presence %s was not told, of %v; told were\n%s", presence, spots, strings.Join(all, "\n"))
		}
	}
	sightings, anomalies, alerts := map[string]bool{}, []string(nil), []string(nil)
	for _, rs := range principals {
		for _, r := range rs {
			switch topics.KindOf(r.Value) {
			case topics.KindAnomaly:
				anomalies = append(anomalies, string(r.Value))
				continue
			case topics.KindException, topics.KindVerdict:
				continue
			}
			var s topics.Sighting
			if err := s.Decode(r.Value); err != nil {
				w.fail("sighting: %w", err)
			}
			sightings[fmt.Sprint(s.Visit.Principal, s.Visit.Place, s.Visit.Pane)] = true
			w.differ("the sighting of "+spot(&s.Visit), want.visits[spot(&s.Visit)], bare(&s.Visit))
		}
	}
	w.differ("sightings", want.sightings, sightings)
	wantAnomalies, wantAlerts, wantRetractions := []string(nil), []string(nil), []string(nil)
	for p := range partitions {
		win, g := w.oracle(p, visits, principals)
		wantAnomalies = append(wantAnomalies, win.out...)
		wantAlerts = append(wantAlerts, g.out...)
		wantRetractions = append(wantRetractions, g.back...)
		w.count("visits that came late", win.late)
		w.count("visits taken back", win.back)
		for what, n := range g.people.met {
			w.count(what, n)
		}
	}
	for _, topic := range []string{names.Alerts, names.HeldBack} {
		for _, rs := range w.read(topic) {
			for _, r := range rs {
				alerts = append(alerts, string(r.Value))
			}
			w.count(topic, len(rs))
		}
	}
	for _, s := range [][]string{wantAnomalies, anomalies, wantAlerts, alerts, wantRetractions, retractions} {
		slices.Sort(s)
	}
	w.differ("anomalies", wantAnomalies, anomalies)
	w.differ("alerts", wantAlerts, alerts)
	w.differ("retractions", wantRetractions, retractions)
	w.count("alerts", len(alerts))
}

// bare is what the oracle says of a visit.
func bare(v *topics.Visit) topics.Visit {
	e := &v.Evidence
	return topics.Visit{Method: v.Method, Principal: v.Principal, Place: v.Place, Pane: v.Pane, Outcome: v.Outcome, Quiet: v.Quiet, Horizon: v.Horizon,
		Evidence: topics.Evidence{EventTime: e.EventTime, EventID: e.EventID, Source: topics.Source{Partition: e.Source.Partition, Offset: e.Source.Offset}}}
}

func (w *world) oracle(p int, visits, principals [][]*kgo.Record) (*windows, *undisturbed) {
	win := newWindows()
	g, err := newUndisturbed(int32(p))
	if err != nil {
		w.fail("triage: %w", err)
	}
	for _, r := range visits[p] {
		if err := win.record(bytes.Clone(r.Value)); err != nil {
			w.fail("visits: %w", err)
		}
	}
	for _, r := range principals[p] {
		if err := g.record(r.Value, r.Timestamp.UnixMilli()); err != nil {
			w.fail("principals: %w", err)
		}
	}
	if err := g.people.check(g.view); err != nil {
		w.fail("what people decided: %w", err)
	}
	return win, g
}

// compareRows holds the rows of the changelogs, and those of the last member's disk brought up to date, against the oracle's.
func (w *world) compareRows() {
	visits, principals := w.read(names.Visits), w.read(names.Principals)
	for p := range partitions {
		win, g := w.oracle(p, visits, principals)
		for stage, want := range map[string]map[string]string{"detect": win.rows(), "triage": g.rows()} {
			for _, disk := range []vfs.FS{w.m.disk, vfs.NewMem()} {
				got, err := w.stored(disk, stage, p)
				if err != nil {
					w.fail("%s/%d: %w", stage, p, err)
					return
				}
				w.differ(fmt.Sprintf("rows of %s/%d", stage, p), want, got)
			}
		}
	}
}

func (w *world) stored(disk vfs.FS, stage string, p int) (map[string]string, error) {
	s, err := state.Open(disk.PathJoin("state", stage, strconv.Itoa(p)), state.Options{FS: disk})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r := state.Restore{Client: []kgo.Opt{kgo.SeedBrokers(w.c.ListenAddrs()...), kgo.Dialer(w.net.DialContext)}, Topic: prefix + "." + stage + ".changelog", Partition: int32(p)}
	if _, err := r.Run(context.Background(), s); err != nil {
		return nil, err
	}
	rows := map[string]string{}
	same := func(b []byte) string { return string(b) }
	for k, v := range s.Rows() {
		switch k[0] {
		case 'w':
			method, at, block, err := state.ParsePaneKey(k)
			if err != nil {
				return nil, err
			}
			var row state.PaneRow
			if err := row.DecodeBlock(block, v, same); err != nil {
				return nil, err
			}
			for i := range row.Cells {
				exact, _ := row.Cells[i].Exact()
				for _, h := range exact {
					rows[fmt.Sprintf("visit %s %d %s %x", method, at, row.Cells[i].Place, h&^3)] = topics.Outcome(h & 3).String()
				}
			}
		case 's':
			var row state.SeenRow
			if err := row.Decode(v, same); err != nil {
				return nil, err
			}
			for place, at := range row.Places {
				rows["seen "+string(k[1:])+" "+place] = fmt.Sprint(at.First, at.Last)
			}
		default:
			rows[string(k)] = string(v)
		}
	}
	return rows, nil
}

// TestWorkers runs random histories. FARCALL_SEED runs one again; FARCALL_TORTURE goes on with new ones for a duration.
func TestWorkers(t *testing.T) {
	l, err := locator()
	if err != nil {
		t.Fatal(err)
	}
	faults := map[string]int{}
	run := func(seed uint64) {
		steps := 200 + int(seed%201)
		synctest.Test(t, func(t *testing.T) {
			if err := live(seed, steps, l, faults); err != nil {
				t.Errorf("FARCALL_SEED=%d, %d steps: %v", seed, steps, err)
			}
		})
	}
	defer func() {
		for _, k := range slices.Sorted(maps.Keys(faults)) {
			t.Logf("%6d %s", faults[k], k)
		}
	}()
	if s := os.Getenv("FARCALL_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		run(seed)
		return
	}
	if s := os.Getenv("FARCALL_TORTURE"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); {
			seed := uint64(rand.Uint32())
			fmt.Println("seed", seed)
			run(seed)
		}
		return
	}
	for seed := uint64(1); seed <= 60 && !t.Failed(); seed++ {
		run(seed)
	}
	for _, f := range []string{"abort", "crash before commit", "crash between commit and Pebble", "restart", "coordinator forgets", "asked a coordinator that forgot", "duplicate", "late", "alerts"} {
		if faults[f] < 50 && !t.Failed() {
			t.Errorf("%s happened %d times, want 50", f, faults[f])
		}
	}
	if err := checkDecided(faults, 10); err != nil && !t.Failed() {
		t.Error(err)
	}
}
