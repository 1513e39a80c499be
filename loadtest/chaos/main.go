// Command chaos runs several farcall processes on a three-node Apache Kafka under load, injects faults, and then proves from the
// topics alone that nothing was lost and nothing doubled: every planted incident is alerted once, every row is the one that the
// input leads to (those of triage as far as they don't depend on the order in which it came: lives.go), every bad record is in
// the dead letters.
//
//	chaos [--seed N] [--faults N] [--schedule FILE] [--short] [--rate N] [--session D] [--cleanup D] [--keep]
//
// A schedule has one fault a line, in order: KIND [TARGET] [now]; see parseSchedule and kinds. An interrupt leaves the rest of the
// schedule out and judges what was done; a second one ends it at once. The program exits with 1 when anything differs, and says
// what.
//
// The checker (check.go, lives.go, formats.go) shares no code with farcall, only hash functions of libraries, and the load's own word for
// where an address lies. Before it is believed it must reject copies of the reading that were tampered with (proof.go).
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/kafka"
)

const (
	rawTopic      = "cloudtrail"
	prefix        = "chaos"
	rawPartitions = 4
	partitions    = 4 // of the topics between the stages
	processes     = 3 // that run between the faults; a fourth joins when the number is scaled
	brokers       = 3
	// threshold is of triage: principals with a day of history and their usual client score low, and all that is planted must alert.
	threshold = 15
	// paneWidth is short, so that people are present anew every minute, and the stages behind route have work all the time.
	paneWidth = time.Minute
	// Panes that no window reaches any more are forgotten after the look-back.
	window   = 24 * time.Hour
	lookBack = time.Hour
	// patience is how long anything may take before it counts as never. It is no measure of speed.
	patience = 2 * time.Minute
	// diskBytes is the size of the disk that process 1 has its state on.
	diskBytes = 64 << 20
)

type options struct {
	seed    uint64
	faults  []fault
	rate    int           // events per second
	session time.Duration // session and transaction timeout of farcall
	cleanup time.Duration // how often the brokers look for transactions past their time
	keep    bool
	cluster *kafka.Cluster // nil: one of its own
	// enough, when it is closed, ends the faults early: what was done is judged all the same.
	enough <-chan struct{}
}

// clusterOptions ask for brokers that share a small machine with everything else.
func clusterOptions(cleanup time.Duration) kafka.Options {
	return kafka.Options{
		Nodes: brokers, FastStart: true, JavaOpts: []string{"-Xmx256m"},
		Properties: map[string]string{"transaction.abort.timed.out.transaction.cleanup.interval.ms": fmt.Sprint(cleanup.Milliseconds())},
	}
}

// documentedCleanup settles a dead member's transaction within a second of its timeout, as deploy/README.md asks brokers to do.
const documentedCleanup = time.Second

func main() {
	seed := flag.Uint64("seed", 0, "of schedule and load; 0: by chance")
	faults := flag.Int("faults", 200, "number of faults, at most 1000")
	schedule := flag.String("schedule", "", "file with a schedule of faults, one a line: KIND [TARGET] [now]")
	short := flag.Bool("short", false, "every kind of fault once, with the shortest timeouts")
	rate := flag.Int("rate", 150, "events per second")
	session := flag.Duration("session", 10*time.Second, "session and transaction timeout of farcall, 6s at the least")
	cleanup := flag.Duration("cleanup", documentedCleanup, "how often the brokers look for transactions past their time; their own default is 10s")
	keep := flag.Bool("keep", false, "leave data and logs behind")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: chaos [flags]")
		flag.PrintDefaults()
		fmt.Fprintln(flag.CommandLine.Output(), "kinds of fault:")
		for _, k := range kinds {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-19s %s\n", k.name, k.what)
		}
	}
	flag.Parse()
	o := options{seed: *seed, rate: *rate, session: *session, cleanup: *cleanup, keep: *keep}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	switch {
	case *schedule != "":
		f, err := os.Open(*schedule)
		if err == nil {
			o.faults, err = parseSchedule(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(2)
		}
	case *short:
		o.faults, o.session = chance(o.seed, len(kinds)), shortSession
	case *faults < 1 || *faults > 1000:
		fmt.Fprintln(os.Stderr, "chaos: --faults must be 1 to 1000")
		os.Exit(2)
	default:
		o.faults = chance(o.seed, *faults)
	}
	ctx, cancel := context.WithCancel(context.Background())
	enough := make(chan struct{})
	o.enough = enough
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		close(enough)
		<-signals
		cancel()
	}()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// shortSession is the shortest session timeout that Kafka takes by default.
const shortSession = 6 * time.Second

// driver is one run.
type driver struct {
	ctx       context.Context // ends with an interrupt
	producing context.Context // outlives the traffic
	session   time.Duration
	cluster   *kafka.Cluster
	adm       *kadm.Client
	procs     [processes + 2]*process // from 1
	load      *load
	watch     *watcher
	rng       *rand.Rand
	noDisk    error // why process 1 has no small disk
	unmount   func() error
	began     time.Time

	life    sync.Mutex     // held while processes are ended and started
	healing sync.WaitGroup // probes that are open

	out        io.Writer
	mu         sync.Mutex
	injected   map[string]int
	takeovers  map[string][]time.Duration
	mended     int // coordinators that needed their broker restarted
	violations []string
}

// logf says what happens, and when. The caller may hold mu.
func (d *driver) logf(format string, args ...any) {
	fmt.Fprintf(d.out, "%7.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *driver) violation(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.violations = append(d.violations, fmt.Sprintf(format, args...))
	d.logf("VIOLATION: %s", d.violations[len(d.violations)-1])
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "farcall-chaos-")
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintln(out, "data and logs are in", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &driver{
		ctx: ctx, producing: ctx, session: o.session, out: &syncWriter{w: out}, rng: random(o.seed), began: time.Now(),
		watch: &watcher{first: map[about]time.Time{}}, injected: map[string]int{}, takeovers: map[string][]time.Duration{},
	}
	d.logf("seed %d, %d faults, session timeout %v, brokers look for old transactions every %v", o.seed, len(o.faults), o.session, o.cleanup)
	binary, err := build(ctx, dir)
	if err != nil {
		return err
	}
	if d.cluster = o.cluster; d.cluster == nil {
		c := clusterOptions(o.cleanup)
		c.Dir = filepath.Join(dir, "kafka")
		if d.cluster, err = kafka.Start(ctx, c); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.cluster.Stop()) }()
	}
	// A broker that is killed while it takes a connection is no misconfiguration here.
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cluster.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AlwaysRetryEOF(),
		kgo.MaxBufferedRecords(1_000_000), kgo.ProducerLinger(5*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	d.adm = kadm.NewClient(cl)
	d.load = newLoad(cl, o.seed)
	defer func() { err = errors.Join(err, d.endAll()) }()
	if err := d.setUp(dir, binary); err != nil {
		return err
	}
	if err := d.misbehave(o); err != nil {
		return err
	}
	return d.judge()
}

// setUp makes the topics, the processes and the history.
func (d *driver) setUp(dir, binary string) error {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FARCALL_") })
	env = append(env,
		"FARCALL_KAFKA_BROKERS="+strings.Join(d.cluster.Brokers(), ","), "FARCALL_TOPICS_RAW="+rawTopic, "FARCALL_TOPICS_PREFIX="+prefix,
		fmt.Sprint("FARCALL_TOPICS_PARTITIONS=", partitions), "FARCALL_DETECT_PANE="+paneWidth.String(), "FARCALL_DETECT_WINDOW="+window.String(),
		"FARCALL_DETECT_LOOK_BACK="+lookBack.String(), fmt.Sprint("FARCALL_TRIAGE_THRESHOLD=", threshold), "FARCALL_TRIAGE_CAP=0",
		"FARCALL_STREAM_SESSION_TIMEOUT="+d.session.String(), "FARCALL_STREAM_TRANSACTION_TIMEOUT="+d.session.String(),
		// Small memtables, so that stores flush all the time.
		"FARCALL_STATE_MEMTABLE_BYTES=262144", "FARCALL_STATE_CACHE_BYTES=8388608", "FARCALL_CONSOLE_LISTEN=127.0.0.1:0",
		"FARCALL_ROUTE_WORKERS=2", // which share what they remember of what they told
	)
	for n := 1; n < len(d.procs); n++ {
		p := &process{number: n, binary: binary, state: filepath.Join(dir, fmt.Sprint("state-", n)), log: filepath.Join(dir, fmt.Sprintf("farcall-%d.log", n))}
		p.env = append(slices.Clone(env), "FARCALL_STATE_DIR="+p.state)
		if n != 2 { // which makes its own, and loses it with its folder
			p.env = append(p.env, "FARCALL_STATE_SLOT="+p.slot())
		}
		d.procs[n] = p
	}
	unmount, err := smallDisk(d.procs[1].state, diskBytes)
	if d.noDisk = err; err != nil && os.Getenv("FARCALL_NO_SKIP") != "" {
		return fmt.Errorf("FARCALL_NO_SKIP forbids to leave out disk-full: %w", err)
	}
	if err == nil {
		d.unmount = unmount
	}
	if err := d.procs[1].apply(d.ctx); err != nil {
		return err
	}
	if err := d.watch.run(d.ctx, d.cluster.Brokers()); err != nil {
		return err
	}
	if err := d.load.past(d.ctx, time.Now()); err != nil {
		return err
	}
	for n := 1; n <= processes; n++ {
		if err := d.procs[n].start(); err != nil {
			return err
		}
	}
	go d.supervise()
	// Before it knows the history, a method has no opinion. And the past comes before it on all partitions.
	if err := d.drain(d.ctx); err != nil {
		return err
	}
	if err := d.load.history(d.ctx, time.Now()); err != nil {
		return err
	}
	if err := d.drain(d.ctx); err != nil {
		return err
	}
	d.heal("nothing", time.Now(), d.probe())
	return nil
}

// drain waits until the stages have come to the end of their inputs.
func (d *driver) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		text, err := behind(ctx, d.adm, d.cluster.Brokers())
		if err == nil && text == "" {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the stages did not come to the end of their inputs within %v: %s %w", patience, text, err)
		}
	}
}

// supervise starts again what ended by itself, as an orchestrator would. That it ended is a violation.
func (d *driver) supervise() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			return
		}
		d.life.Lock()
		for _, p := range d.procs[1:] {
			if !p.died() {
				continue
			}
			d.violation("process %d ended by itself (%v): %s", p.number, p.cmd.ProcessState, p.lastLine())
			if err := p.start(); err != nil {
				d.violation("%v", err)
			}
		}
		d.life.Unlock()
	}
}

// misbehave injects the faults under traffic.
func (d *driver) misbehave(o options) error {
	working, rest := context.WithCancel(d.ctx)
	defer rest()
	var traffic sync.WaitGroup
	traffic.Go(func() { d.load.traffic(working, d.producing, o.rate) })
faults:
	for n, f := range o.faults {
		if err := d.inject(f, n+1, len(o.faults)); err != nil {
			return fmt.Errorf("fault %d, %s: %w", n+1, f, err)
		}
		// An incident that is no probe: several methods, anywhere.
		d.load.plant(d.producing, d.rng.Int32N(rawPartitions), d.rng.Int32N(partitions), -1, 1+d.rng.IntN(3))
		if d.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		select {
		case <-o.enough:
			d.logf("interrupted: the rest of the schedule is left out")
			break faults
		default:
		}
	}
	d.healing.Wait()
	rest()
	traffic.Wait()
	d.load.newcomers(d.producing)
	return nil
}

// judge waits for the end of the stream, stops the processes, and reads and checks what is there.
func (d *driver) judge() error {
	d.heal("nothing", time.Now(), d.probe())
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	if err := d.load.flush(ctx); err != nil {
		return err
	}
	p := d.load.plan()
	if _, err := d.watch.await(ctx, p.incidents); err != nil {
		d.violation("at the end: %v", err)
	}
	if err := d.drain(d.ctx); err != nil {
		d.violation("at the end: %v", err)
	}
	d.logf("stopping the processes")
	for n := 1; n <= processes; n++ {
		if err := d.stop(d.procs[n], syscall.SIGTERM); err != nil {
			return err
		}
	}
	r, err := read(d.ctx, d.cluster.Brokers())
	if err != nil {
		return err
	}
	v := check(p, r)
	d.report(p, v)
	if len(v.differs) > 0 {
		return fmt.Errorf("%d differences, %d other violations", len(v.differs), len(d.violations))
	}
	rejected, err := prove(p, r, v.busy)
	if err != nil {
		return fmt.Errorf("the checker can't be believed: %w", err)
	}
	fmt.Fprintf(d.out, "the checker rejected %d of %d tampered copies of this reading\n", rejected, len(tamperings))
	if len(d.violations) > 0 {
		return fmt.Errorf("%d violations", len(d.violations))
	}
	return nil
}

// forgotten is how often a group was found to have forgotten commits.
func (d *driver) forgotten() (n int) {
	for _, p := range d.procs[1:] {
		if b, err := os.ReadFile(p.log); err == nil {
			n += bytes.Count(b, []byte("answers with an older offset"))
		}
	}
	return n
}

// report prints what was done and what came of it.
func (d *driver) report(p plan, v *verdict) {
	w := d.out
	total := 0
	fmt.Fprintf(w, "\nfaults injected:\n")
	for _, k := range kinds {
		if n := d.injected[k.name]; n > 0 {
			fmt.Fprintf(w, "  %4d  %s\n", n, k.name)
			total += n
		}
	}
	fmt.Fprintf(w, "  %4d  in all\ntakeover, from the fault until every partition of every stage has alerted again (median, longest, number):\n", total)
	for _, what := range slices.Sorted(maps.Keys(d.takeovers)) {
		ds := d.takeovers[what]
		fmt.Fprintf(w, "  %5.1f s  %5.1f s  %4d  %s\n", median(ds).Seconds(), slices.Max(ds).Seconds(), len(ds), what)
	}
	fmt.Fprintf(w, "%d raw records, %d incidents in %d alert records, %d rows, %d dead letters\n", p.produced, v.incidents, v.alerts, v.rows, v.letters)
	if d.mended > 0 {
		fmt.Fprintf(w, "%d times a broker's coordinator was %s, and the broker was restarted\n", d.mended, outOfSync)
	}
	if n := d.forgotten(); n > 0 {
		fmt.Fprintf(w, "%d times a partition's group answered with older offsets than were committed, and farcall went on where it had come to\n", n)
	}
	if len(v.busy) > 0 {
		fmt.Fprintf(w, "not looked at: the profile, stays and alert rows of %d principals with more than %d stays: %s\n", len(v.busy), maxStays, strings.Join(v.busy, ", "))
	}
	fmt.Fprintf(w, "lost: %d\ndoubled: %d\ndiffering: %d\nother violations: %d\n", v.lost, v.doubled, len(v.differs), len(d.violations))
	for i, what := range v.differs {
		if i == 50 {
			fmt.Fprintf(w, "  and %d more\n", len(v.differs)-i)
			break
		}
		fmt.Fprintln(w, " ", what)
	}
	for _, what := range d.violations {
		fmt.Fprintln(w, "  violation:", what)
	}
}

// endAll leaves nothing running and nothing mounted.
func (d *driver) endAll() error {
	d.life.Lock()
	defer d.life.Unlock()
	for _, p := range d.procs {
		if p == nil || !p.running() {
			continue
		}
		if err := p.end(context.Background(), syscall.SIGKILL); err != nil {
			return err
		}
	}
	if d.unmount != nil {
		return d.unmount()
	}
	return nil
}

// syncWriter lets several goroutines write whole lines.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
