package stream

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/state/crashdisk"
	"github.com/farcall/farcall/topics"
)

// The installation that the tests run: one stage that reads one topic and writes another.
const (
	prefix    = "test"
	group     = prefix + ".count"
	input     = "in"
	output    = "out"
	changelog = "changelog"
	letters   = prefix + ".dead-letters"
	positions = "positions"
)

// patience is how long a condition may take to come true. It is no measure of speed. It is longer than a rebalance may take:
// the embedded broker miscounts a static member that joins anew while its predecessor waits for its assignment, and then only
// the timeout ends the rebalance.
const patience = 2 * rebalanceTimeout

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait most of the time, for timeouts of the group protocol above all.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// await waits until a condition holds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			var all strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
			t.Fatalf("gave up waiting for %s; goroutines:\n%s", what, &all)
		}
	}
}

// receive waits for a word from a hook of a stage.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("gave up waiting for %s", what)
		panic("unreachable")
	}
}

// broker is an embedded Kafka with the topics of the installation, and what was sent to it.
type broker struct {
	t    testing.TB
	c    *kfake.Cluster
	cl   *kgo.Client
	adm  *kadm.Client
	sent map[int32][]sent
	time int64 // timestamp of the last record sent, Unix milliseconds
}

type sent struct {
	offset int64
	key    string
	time   int64
}

func newBroker(t testing.TB, partitions int32) *broker {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for topic, n := range map[string]int32{input: partitions, output: 2, changelog: partitions, letters: 1, positions: 3} {
		if err := c.CreateTopic(topic, n, map[string]string{"max.message.bytes": "20000"}); err != nil {
			t.Fatal(err)
		}
	}
	b := &broker{t: t, c: c, sent: map[int32][]sent{}, time: 1_700_000_000_000}
	b.connect()
	return b
}

// connect makes the tests' own client, which knows the partitions that there are now.
func (b *broker) connect() {
	b.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.Close)
	b.cl, b.adm = cl, kadm.NewClient(cl)
}

// send produces records with these keys to an input partition.
func (b *broker) send(partition int32, keys ...string) {
	b.t.Helper()
	var rs []*kgo.Record
	for _, k := range keys {
		b.time++
		rs = append(rs, &kgo.Record{Topic: input, Partition: partition, Key: []byte(k), Timestamp: time.UnixMilli(b.time)})
	}
	for _, r := range b.cl.ProduceSync(b.t.Context(), rs...) {
		if r.Err != nil {
			b.t.Fatal(r.Err)
		}
		b.sent[partition] = append(b.sent[partition], sent{r.Record.Offset, string(r.Record.Key), r.Record.Timestamp.UnixMilli()})
	}
}

// spread produces n records over all input partitions, with a handful of keys.
func (b *broker) spread(n int) {
	b.t.Helper()
	partitions := int32(len(b.c.PartitionInfos(input)))
	for p := range partitions {
		var keys []string
		for i := range n / int(partitions) {
			keys = append(keys, "k"+strconv.Itoa(i%7))
		}
		b.send(p, keys...)
	}
}

// committed is the group's offset for an input partition, -1 for none.
func (b *broker) committed(partition int32) int64 {
	g := b.c.GroupInfo(group)
	if g == nil {
		return -1
	}
	c, ok := g.Commits[input][partition]
	if !ok {
		return -1
	}
	return c.Offset
}

// drained says whether the group has committed everything that was sent.
func (b *broker) drained() bool {
	for p, rs := range b.sent {
		if len(rs) > 0 && b.committed(p) != rs[len(rs)-1].offset+1 {
			return false
		}
	}
	return true
}

// dismiss removes all members from the group, dead static ones too, so that its offsets can be changed. A process that ended
// while one of its workers joined may leave a member for good otherwise: where the embedded broker cannot send its answer to a
// join, it starts no session timer.
func (b *broker) dismiss() {
	b.t.Helper()
	g := b.c.GroupInfo(group)
	if g == nil {
		return
	}
	var ids []string
	for _, m := range g.Members {
		ids = append(ids, *m.InstanceID)
	}
	if _, err := b.adm.LeaveGroup(b.t.Context(), kadm.LeaveGroup(group).InstanceIDs(ids...)); err != nil {
		b.t.Fatal(err)
	}
	await(b.t, "an empty group", func() bool { return len(b.c.GroupInfo(group).Members) == 0 })
}

// read returns the records of a topic that a read_committed consumer sees now.
func (b *broker) read(topic string) []*kgo.Record {
	b.t.Helper()
	ends, err := b.adm.ListCommittedOffsets(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	starts, err := b.adm.ListStartOffsets(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, o.Partition)
		if o.Offset > start.Offset {
			left[o.Partition] = o.Offset
			from[o.Partition] = kgo.NewOffset().At(start.Offset)
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var rs []*kgo.Record
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			b.t.Fatalf("read %s, left %v: %v", topic, left, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				rs = append(rs, r)
			}
		})
	}
	return rs
}

// oracle is what the counting stage should say and know of what was sent: the key of each record by its coordinates with
// its count so far, and the counts. skip leaves records out.
func (b *broker) oracle(skip func(partition int32, offset int64) bool) (out map[string]string, rows map[string]string) {
	out, rows = map[string]string{}, map[string]string{}
	for p, rs := range b.sent {
		counts := map[string]int{}
		for _, r := range rs {
			if skip != nil && skip(p, r.offset) {
				continue
			}
			counts[r.key]++
			out[coordinates(p, r.offset)] = r.key + "=" + strconv.Itoa(counts[r.key])
			rows[fmt.Sprintf("%d:%s", p, r.key)] = strconv.Itoa(counts[r.key])
		}
	}
	return out, rows
}

func coordinates(partition int32, offset int64) string {
	return input + "/" + strconv.Itoa(int(partition)) + "/" + strconv.FormatInt(offset, 10)
}

// written is the output, by the coordinates of the input record. None may be there twice.
func (b *broker) written() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for _, r := range b.read(output) {
		k := string(r.Key)
		if old, ok := out[k]; ok {
			b.t.Errorf("output of %s was written twice: %s and %s", k, old, r.Value)
		}
		out[k] = string(r.Value)
	}
	return out
}

// checkRead compares which records were processed with those from the given offsets on. It is for stages without rows, whose
// counts start anew with each task.
func (b *broker) checkRead(from map[int32]int64) {
	b.t.Helper()
	var want []string
	for p, rs := range b.sent {
		for _, r := range rs {
			if r.offset >= from[p] {
				want = append(want, coordinates(p, r.offset))
			}
		}
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(b.written()))); d != "" {
		b.t.Errorf("the records read differ (-want +got):\n%.3000s", d)
	}
}

// check compares output and rows with the oracle's, and the position in the state with the group's.
func (b *broker) check(skip func(partition int32, offset int64) bool) {
	b.t.Helper()
	wantOut, wantRows := b.oracle(skip)
	if d := cmp.Diff(wantOut, b.written()); d != "" {
		b.t.Errorf("output differs (-want +got):\n%.3000s", d)
	}
	rows := map[string]string{}
	for p := range int32(len(b.c.PartitionInfos(changelog))) {
		s := b.restored(p)
		if err := s.Scan([]byte{'c'}, func(k, v []byte) error {
			rows[fmt.Sprintf("%d:%s", p, k[1:])] = string(v)
			return nil
		}); err != nil {
			b.t.Fatal(err)
		}
		if m, ok := s.Meta(); ok && m.Input != b.committed(p) {
			b.t.Errorf("partition %d: the state is at %d, the group at %d", p, m.Input, b.committed(p))
		}
		if err := s.Close(); err != nil {
			b.t.Fatal(err)
		}
	}
	if d := cmp.Diff(wantRows, rows); d != "" {
		b.t.Errorf("rows differ (-want +got):\n%.3000s", d)
	}
}

// restored is a changelog partition as a new store.
func (b *broker) restored(partition int32) *state.Store {
	b.t.Helper()
	s, err := state.Open("store", state.Options{FS: vfs.NewMem()})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := (state.Restore{Client: []kgo.Opt{kgo.SeedBrokers(b.c.ListenAddrs()...)}, Topic: changelog, Partition: partition, Stall: patience}).Run(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// letter is one dead letter in short.
func (b *broker) letters() []string {
	b.t.Helper()
	var ls []string
	for _, r := range b.read(letters) {
		d := topics.ParseDeadLetter(r)
		ls = append(ls, fmt.Sprintf("%s %s %s", d.Stage, d.Reason, coordinates(d.Source.Partition, d.Source.Offset)))
	}
	return ls
}

// counting is a stage that counts the records of each key and writes, for each record, its key and its count so far. Its
// tasks cache what they read and stage rows only in Flush, like farcall's own.
type counting struct {
	stateless   bool
	fingerprint string
	start       Start
	outOfRange  OutOfRange
	partitions  int32
	// before, if set, is called before a record is counted; it may panic or block.
	before func(r *kgo.Record)
	// value, if set, makes the value of an output record.
	value func(r *kgo.Record) []byte

	// opening, if set, is called before a task is made; it may block.
	opening func(i TaskInfo)

	mu     sync.Mutex
	opened []TaskInfo
	counts map[string]int // attempts by coordinates
}

func (c *counting) stage() Stage {
	s := Stage{Name: "count", Inputs: []string{input}, Changelog: changelog, Fingerprint: c.fingerprint, Start: c.start, OutOfRange: c.outOfRange, Partitions: c.partitions, Open: c.open}
	if c.stateless {
		s.Changelog, s.Positions = "", positions
	}
	return s
}

func (c *counting) open(i TaskInfo) (Task, error) {
	if c.opening != nil {
		c.opening(i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = append(c.opened, i)
	return &countingTask{c: c, info: i, time: i.StreamTime, cache: map[string]int{}, changed: map[string]bool{}}, nil
}

// openings are the tasks made so far, for one partition.
func (c *counting) openings(partition int32) []TaskInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	var is []TaskInfo
	for _, i := range c.opened {
		if i.Partition == partition {
			is = append(is, i)
		}
	}
	return is
}

// attempts is how often a record was given to a task of this stage.
func (c *counting) attempts(partition int32, offset int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[coordinates(partition, offset)]
}

type countingTask struct {
	c       *counting
	info    TaskInfo
	time    int64
	cache   map[string]int
	changed map[string]bool
}

func (t *countingTask) Process(r *kgo.Record, out *Output) error {
	key := string(r.Key)
	t.c.mu.Lock()
	if t.c.counts == nil {
		t.c.counts = map[string]int{}
	}
	t.c.counts[coordinates(r.Partition, r.Offset)]++
	t.c.mu.Unlock()
	if t.c.before != nil {
		t.c.before(r)
	}
	n, ok := t.cache[key]
	if !ok && t.info.View != nil {
		b, err := t.info.View.Get([]byte("c" + key))
		if err != nil {
			return err
		}
		if b != nil {
			if n, err = strconv.Atoi(string(b)); err != nil {
				return err
			}
		}
	}
	n++
	t.cache[key], t.changed[key] = n, true
	t.time = max(t.time, r.Timestamp.UnixMilli())
	value := []byte(key + "=" + strconv.Itoa(n))
	if t.c.value != nil {
		value = t.c.value(r)
	}
	out.Produce(&kgo.Record{Topic: output, Key: []byte(coordinates(r.Partition, r.Offset)), Value: value})
	return nil
}

func (t *countingTask) Flush() error {
	if t.info.View != nil {
		for _, k := range slices.Sorted(maps.Keys(t.changed)) {
			t.info.View.Set([]byte("c"+k), []byte(strconv.Itoa(t.cache[k])))
		}
	}
	clear(t.changed)
	return nil
}

func (t *countingTask) StreamTime() int64 { return t.time }

// network is a member's way to the brokers, which can be cut.
type network struct {
	mu     sync.Mutex
	cut    bool
	failed int // dials since it was cut
	conns  map[net.Conn]bool
}

func newNetwork() *network { return &network{conns: map[net.Conn]bool{}} }

type cable struct {
	net.Conn
	n *network
}

func (c cable) Close() error {
	c.n.mu.Lock()
	delete(c.n.conns, c.Conn)
	c.n.mu.Unlock()
	return c.Conn.Close()
}

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		n.failed++
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	n.conns[conn] = true
	return cable{conn, n}, nil
}

func (n *network) set(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut, n.failed = cut, 0
	if cut {
		for c := range n.conns {
			c.Close()
		}
		clear(n.conns)
	}
}

// missed waits until the process has tried to reach the brokers in vain.
func (n *network) missed(t testing.TB) {
	t.Helper()
	await(t, "dials that fail", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.failed >= 3
	})
}

// disk is a state folder that remembers what a crash would leave of it.
func disk() *crashdisk.Disk { return crashdisk.New() }

// member is one process of the installation.
type member struct {
	t       testing.TB
	b       *broker
	slot    string
	disk    *crashdisk.Disk
	net     *network
	metrics *Metrics
	log     *logBuffer
	cancel  context.CancelFunc
	ended   chan error
	over    bool
	// forgotten is how many partitions should be found at older offsets than were committed; one that the group moves before anything is
	// committed there is found so twice.
	forgotten int
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run starts a process with two workers.
func (b *broker) run(slot string, disk *crashdisk.Disk, c *counting, set ...func(*Options)) *member {
	return b.runWorkers(slot, disk, 2, c, set...)
}

// options are those of a process. Its timeouts are short, and its client looks for new partitions twice a second.
func (b *broker) options(slot string, disk *crashdisk.Disk, n *network, log *logBuffer) Options {
	return Options{
		Client: []kgo.Opt{
			kgo.SeedBrokers(b.c.ListenAddrs()...), kgo.Dialer(n.dial),
			kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(500 * time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		},
		GroupPrefix: prefix, Slot: slot, Dir: "state", FS: disk, Metrics: NewMetrics(),
		Log:            slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		CommitInterval: 20 * time.Millisecond, SessionTimeout: 6 * time.Second, TxnTimeout: 10 * time.Second, RestoreStall: patience,
		aside: 1, // for the race detector
	}
}

func (b *broker) runWorkers(slot string, disk *crashdisk.Disk, workers int, c *counting, set ...func(*Options)) *member {
	b.t.Helper()
	m := &member{t: b.t, b: b, slot: slot, disk: disk, net: newNetwork(), log: &logBuffer{}, ended: make(chan error, 1)}
	if c.start == "" {
		c.start = Earliest
	}
	o := b.options(slot, disk, m.net, m.log)
	for _, f := range set {
		f(&o)
	}
	m.metrics = o.Metrics
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	m.cancel = cancel
	go func() { m.ended <- RunWorkers(ctx, o, []Stage{c.stage()}, map[string]int{"count": workers}) }()
	b.t.Cleanup(func() {
		if !m.over {
			m.net.set(false)
			m.cancel()
			if err := m.end(); err != nil {
				b.t.Errorf("%s: %v", slot, err)
			}
		}
		if b.t.Failed() {
			b.t.Logf("log of %s:\n%s", slot, m.log)
		}
	})
	return m
}

// end waits for the end of the process.
func (m *member) end() error {
	m.t.Helper()
	err := receive(m.t, "the end of "+m.slot, m.ended)
	m.over = true
	if n := int(m.value("farcall_forgotten_offsets_total")); n < m.forgotten || n > 0 && m.forgotten == 0 {
		m.t.Errorf("%s found that the group had forgotten the offsets of %d partitions, want at least %d", m.slot, n, m.forgotten)
	}
	for p := assigned; p <= closed; p++ {
		if n := m.value("farcall_tasks", "phase", p.String()); n != 0 {
			m.t.Errorf("%s has ended, its gauge of %s tasks says %v", m.slot, p, n)
		}
	}
	return err
}

// stop ends the process as a signal would.
func (m *member) stop() {
	m.t.Helper()
	m.cancel()
	if err := m.end(); err != nil {
		m.t.Fatalf("%s did not stop cleanly: %v", m.slot, err)
	}
}

// fails waits for a fatal error that says all of this.
func (m *member) fails(says ...string) {
	m.t.Helper()
	err := m.end()
	if err == nil {
		m.t.Fatalf("%s stopped without an error, want one that says %q", m.slot, says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			m.t.Errorf("%s stopped with\n\t%v\nwhich does not say %q", m.slot, err, s)
		}
	}
}

// kill cuts the process off in the middle of what it does and returns its disk as a power cut would leave it. What remains is
// a zombie that believes in its partitions and its transaction; bury lets it try.
func (m *member) kill() *crashdisk.Disk {
	m.net.set(true)
	left := m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})
	m.cancel()
	return left
}

// bury gives a killed process its network back and waits for its end: it must harm nobody.
func (m *member) bury() {
	m.t.Helper()
	m.net.set(false)
	if err := m.end(); err != nil {
		m.t.Errorf("zombie of %s: %v", m.slot, err)
	}
}

// value adds up a metric over all its labels but these pairs of name and value, which must match.
func (m *member) value(name string, labels ...string) float64 {
	m.t.Helper()
	families, err := m.metrics.Registry.Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, s := range f.Metric {
			for i := 0; i < len(labels); i += 2 {
				if !slices.ContainsFunc(s.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
					continue series
				}
			}
			sum += s.GetCounter().GetValue() + s.GetGauge().GetValue()
		}
	}
	return sum
}

// running is how many partitions the process has in operation.
func (m *member) running() int { return int(m.value("farcall_tasks", "phase", running.String())) }

// runs waits until the process runs so many partitions.
func (m *member) runs(n int) {
	m.t.Helper()
	await(m.t, fmt.Sprintf("%s to run %d partitions", m.slot, n), func() bool {
		select {
		case err := <-m.ended:
			m.over = true
			m.t.Fatalf("%s ended by itself: %v", m.slot, err)
		default:
		}
		return m.running() == n
	})
}

// drains waits until the group has committed everything that was sent.
func (m *member) drains() {
	m.t.Helper()
	await(m.t, "the group to commit everything", func() bool {
		select {
		case err := <-m.ended:
			m.over = true
			m.t.Fatalf("%s ended by itself: %v", m.slot, err)
		default:
		}
		return m.b.drained()
	})
}

// restarts is how many clients were rebuilt.
func (m *member) restarts() float64 { return m.value("farcall_worker_restarts_total") }

// openTransaction says whether records of a transaction lie in the output that is neither committed nor aborted.
func (b *broker) openTransaction() bool {
	return slices.ContainsFunc(b.c.PartitionInfos(output), func(p *kfake.PartitionInfo) bool { return p.LastStableOffset < p.HighWatermark })
}
