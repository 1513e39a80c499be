// Command recovery measures how soon farcall is ready again, and in how much memory, when its state has millions of rows: after
// a clean stop, after kill -9 under load, without its folder from a compacted changelog, and from one with as many rows again
// that were not compacted. It runs the binary against an Apache Kafka on the same machine and prints rows for RESULTS.md.
//
// Times begin with the process, and once more when its last worker has joined its group. Memory is what the kernel says of the
// process. The kill counts only if detect was committing, with raw records still to be read, and if its rows had to be restored.
//
// The rows are pane rows as state/FORMAT.md has them, about 115 bytes in the median and 150 on average with their keys. farcall itself
// writes the first meta rows and offsets, so that what is written here is the state of a group that exists.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/kafka"
	"github.com/farcall/farcall/topics"
)

const (
	raw    = "cloudtrail"
	prefix = "recovery"
	// panes of each method, of the 720 of the window, so that none expires.
	panes = 600
)

func main() {
	rows := flag.Int("rows", 1_000_000, "rows in the changelog of detect")
	partitions := flag.Int("partitions", 64, "partitions of farcall's own topics")
	load := flag.Duration("load", 20*time.Second, "how long events come at full rate before kill -9")
	binary := flag.String("farcall", "", "binary to measure, for a comparison; built from this tree if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rows, *partitions, *load, *binary); err != nil {
		log.Fatal(err)
	}
}

// bench is one installation on one broker.
type bench struct {
	binary, dir, console string
	env                  []string
	partitions           int
	cl                   *kgo.Client
	changelog            string
	metas                [][]byte // by partition, as farcall wrote them
	rounds               uint64   // how often the rows were written
}

func run(ctx context.Context, rows, partitions int, load time.Duration, binary string) (err error) {
	b := &bench{partitions: partitions, changelog: topics.NamesFor(prefix).DetectChangelog}
	if b.dir, err = os.MkdirTemp("", "farcall-recovery-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.binary = binary; b.binary == "" {
		b.binary = filepath.Join(b.dir, "farcall")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "github.com/farcall/farcall/processor/cmd/farcall")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	// Compaction at a moment of the broker's choosing would make the runs differ. The compacted changelog is written as what
	// compaction leaves: each key once.
	cluster, err := kafka.Start(ctx, kafka.Options{
		Dir: filepath.Join(b.dir, "kafka"), JavaOpts: []string{"-Xmx1g"}, Properties: map[string]string{"log.cleaner.enable": "false"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	ports, err := kafka.FreePorts(1)
	if err != nil {
		return err
	}
	b.console = fmt.Sprint("127.0.0.1:", ports[0])
	b.env = append(os.Environ(), "FARCALL_KAFKA_BROKERS="+strings.Join(cluster.Brokers(), ","), "FARCALL_TOPICS_PREFIX="+prefix, fmt.Sprint("FARCALL_TOPICS_PARTITIONS=", partitions),
		"FARCALL_STATE_DIR="+b.state(), "FARCALL_CONSOLE_LISTEN="+b.console, "FARCALL_LOG_LEVEL=info", "FARCALL_TOPICS_REPLICATION=1", "FARCALL_TOPICS_RAW="+raw)
	if b.cl, err = kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("recovery-rows"),
		kgo.TransactionTimeout(5*time.Minute), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(50_000)); err != nil {
		return err
	}
	defer b.cl.Close()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	fmt.Printf("\n| start | joined after s | ready after s | after joining s | rows restored | rows/s | peak RSS when ready MB | RSS when ready MB | peak RSS at the end MB |\n|---|---|---|---|---|---|---|---|---|\n")
	type start struct {
		name string
		tail bool // it has rows to restore
		end  func(p *process) error
	}
	for _, starts := range [][]start{
		{{"cold, compacted changelog", true, (*process).stop}, {"after a clean stop", false, (*process).stop}},
		{{"cold, with an equal tail that is not compacted", true, (*process).stop}, {"after a clean stop", false, func(p *process) error {
			return b.killUnderLoad(ctx, p, load, (rows+panes-1)/panes)
		}}, {"after kill -9 at full rate", true, (*process).stop}},
	} {
		// Each half begins without the local stores, and with as many rows again.
		if err := errors.Join(b.fill(ctx, rows), b.wipe()); err != nil {
			return err
		}
		for _, s := range starts {
			if err := b.measure(ctx, s.name, s.tail, s.end); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// measure starts farcall, ends it, and prints a row.
func (b *bench) measure(ctx context.Context, name string, tail bool, end func(p *process) error) error {
	p, err := b.start(ctx)
	if err != nil {
		return err
	}
	n, err := p.metric("farcall_restored_rows_total")
	ready := p.memory
	err = errors.Join(err, end(p))
	after := p.ready - p.joined
	fmt.Printf("| %s | %.1f | %.1f | %.1f | %.0f | %.0f | %.0f | %.0f | %.0f |\n", name, p.joined.Seconds(), p.ready.Seconds(), after.Seconds(), n, n/after.Seconds(),
		float64(ready.peak)/1e6, float64(ready.resident)/1e6, float64(p.memory.peak)/1e6)
	if tail != (n > 0) {
		err = errors.Join(err, fmt.Errorf("%.0f rows were restored", n))
	}
	return err
}

// killUnderLoad sends events as fast as they go, and kills farcall while it is behind them and detect commits.
func (b *bench) killUnderLoad(ctx context.Context, p *process, load time.Duration, methods int) error {
	ctx, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() { sent <- b.events(ctx, math.MaxInt, 2000, methods) }()
	// How fast it goes is told over the last second: a commit under load comes three times in it.
	const last = time.Second
	var probes [2]struct{ commits, visits float64 }
	err := func() error {
		for i, wait := range []time.Duration{load - last, last} {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-p.ended:
				return fmt.Errorf("farcall ended: %w\n%s", err, p.log.String())
			case err := <-sent:
				return fmt.Errorf("no more events: %w", err)
			case <-time.After(wait):
			}
			var commits, visits error
			probes[i].commits, commits = p.metric(`farcall_transactions_total{result="committed",stage="detect"`)
			probes[i].visits, visits = p.metric("farcall_visits_total")
			if err := errors.Join(commits, visits); err != nil {
				return err
			}
		}
		return nil
	}()
	err = errors.Join(err, p.kill())
	stop()
	if failed := <-sent; failed != nil && !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	if err != nil {
		return err
	}
	commits, visits := probes[1].commits-probes[0].commits, probes[1].visits-probes[0].visits
	lags, err := kadm.NewClient(b.cl).Lag(context.WithoutCancel(ctx), prefix+".route")
	if err != nil {
		return err
	}
	behind := lags[prefix+".route"].Lag.Total()
	fmt.Fprintf(os.Stderr, "killed when detect made %.0f commits and took %.0f visits a second, with %d raw records to be read\n", commits, visits, behind)
	if commits == 0 || visits == 0 || behind == 0 {
		return errors.New("detect was not committing at full rate when it was killed: give it longer (-load)")
	}
	return nil
}

func (b *bench) state() string { return filepath.Join(b.dir, "state") }

// wipe removes the local stores, and keeps the slot.
func (b *bench) wipe() error {
	return errors.Join(os.RemoveAll(filepath.Join(b.state(), "detect")), os.RemoveAll(filepath.Join(b.state(), "triage")))
}

// prepare lets farcall found the installation on a few events, enough that every partition of detect has a meta row.
func (b *bench) prepare(ctx context.Context) error {
	apply := exec.CommandContext(ctx, b.binary, "topics", "apply", "--raw-partitions", "4")
	apply.Env = b.env
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("topics apply: %w\n%s", err, out)
	}
	p, err := b.start(ctx)
	if err != nil {
		return err
	}
	if err := b.events(ctx, 40*b.partitions, 10, 40*b.partitions); err != nil {
		return errors.Join(err, p.kill())
	}
	for {
		lags, err := kadm.NewClient(b.cl).Lag(ctx, prefix+".route", prefix+".detect")
		if err == nil && settled(lags) {
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.kill())
		case err := <-p.ended:
			return fmt.Errorf("farcall ended: %w\n%s", err, p.log.String())
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err := p.stop(); err != nil {
		return err
	}
	return b.remember(ctx)
}

// settled allows for the marker behind the last record of each partition.
func settled(lags kadm.DescribedGroupLags) bool {
	for _, l := range lags {
		if l.Error() != nil || len(l.Lag) == 0 {
			return false
		}
		for _, p := range l.Lag.Sorted() {
			if p.Lag > 1 || p.Err != nil || p.Commit.At <= 0 {
				return false
			}
		}
	}
	return len(lags) == 2
}

// remember reads the newest meta row of every partition.
func (b *bench) remember(ctx context.Context) error {
	ends, err := kadm.NewClient(b.cl).ListEndOffsets(ctx, b.changelog)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.cl.OptValue(kgo.SeedBrokers).([]string)...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer cl.Close()
	from := map[int32]kgo.Offset{}
	left := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			from[o.Partition] = kgo.NewOffset().At(max(0, o.Offset-5000)) // a transaction of farcall's is shorter
			left++
		}
	})
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{b.changelog: from})
	b.metas = make([][]byte, b.partitions)
	for left > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		fs.EachRecord(func(r *kgo.Record) {
			if string(r.Key) == "\x00m" {
				b.metas[r.Partition] = slices.Clone(r.Value)
			}
			if end, _ := ends.Lookup(b.changelog, r.Partition); r.Offset == end.Offset-1 {
				left--
			}
		})
	}
	for p, m := range b.metas {
		if m == nil {
			return fmt.Errorf("partition %d of %s has no meta row", p, b.changelog)
		}
	}
	return nil
}

type sizes []int

func (s sizes) median() int { slices.Sort(s); return s[len(s)/2] }
func (s sizes) total() (n float64) {
	for _, v := range s {
		n += float64(v)
	}
	return n
}
func (s sizes) mean() float64 { return s.total() / float64(len(s)) }

// fill writes pane rows of many methods over the 30 days up to now, each key once, in transactions as a stage does. Another
// round writes the same keys with other values.
func (b *bench) fill(ctx context.Context, rows int) error {
	began := time.Now()
	rng := rand.New(rand.NewPCG(7, b.rounds))
	b.rounds++
	place := kgo.StickyKeyPartitioner(nil).ForTopic(topics.NamesFor(prefix).Visits) // as route does
	now := time.Now().Unix() / 3600 * 3600
	var all sizes
	var failed error
	for n := 0; n < rows; {
		if err := b.cl.BeginTransaction(); err != nil {
			return err
		}
		touched := map[int32]bool{}
		for range 200_000 {
			if n == rows {
				break
			}
			method, pane := n/panes, n%panes
			name := fmt.Sprintf("service%03d:Operation%06d", method%97, method)
			p := int32(place.Partition(&kgo.Record{Key: []byte(name)}, b.partitions))
			touched[p] = true
			r := &kgo.Record{Topic: b.changelog, Partition: p, Key: paneKey(name, now-int64(pane)*3600), Value: paneRow(rng)}
			all = append(all, len(r.Key)+len(r.Value))
			b.cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil && failed == nil {
					failed = err
				}
			})
			n++
		}
		for p := range touched {
			b.cl.Produce(ctx, &kgo.Record{Topic: b.changelog, Partition: p, Key: []byte("\x00m"), Value: b.metas[p]}, nil)
		}
		if err := b.cl.Flush(ctx); err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		if err := b.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return err
		}
	}
	if b.rounds == 1 {
		fmt.Fprintf(os.Stderr, "%d rows over %d partitions: %d bytes in the median, %.0f on average, %.0f MB; written in %.0f s\n",
			rows, b.partitions, all.median(), all.mean(), all.total()/1e6, time.Since(began).Seconds())
	}
	return nil
}

// paneKey is the key of a whole pane row in state/FORMAT.md.
func paneKey(method string, pane int64) []byte {
	k := append([]byte{'w'}, method...)
	k = binary.BigEndian.AppendUint64(append(k, 0), uint64(pane)^1<<63)
	return append(k, 0)
}

// paneRow is a whole pane row in state/FORMAT.md: one to six places, with a number of principals that has a long tail.
func paneRow(rng *rand.Rand) []byte {
	places := []string{"DE", "FR", "GB", "NL", "US", "aws:eu-central-1"}[:1+min(5, int(rng.ExpFloat64()*1.2))]
	b := []byte{1, byte(len(places))}
	for _, place := range places {
		b = append(append(b, byte(len(place))), place...)
		hashes := make([]uint64, min(32, 1+int(math.Exp(1.45+1.1*rng.NormFloat64()))))
		for i := range hashes {
			hashes[i] = rng.Uint64()&^3 | 1
		}
		slices.Sort(hashes)
		hashes = slices.Compact(hashes)
		b = append(b, byte(len(hashes)))
		for _, h := range hashes {
			b = binary.BigEndian.AppendUint64(b, h)
		}
	}
	return b
}

// events sends so many CloudTrail records of so many principals and methods.
func (b *bench) events(ctx context.Context, n, principals, methods int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.cl.OptValue(kgo.SeedBrokers).([]string)...), kgo.MaxBufferedRecords(20_000), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		return err
	}
	defer cl.Close()
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m := rng.IntN(methods)
		if n < math.MaxInt {
			m = i % methods
		}
		user := fmt.Sprintf("user-%05d", rng.IntN(principals))
		cl.Produce(ctx, &kgo.Record{Topic: raw, Value: fmt.Appendf(nil,
			`{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","accountId":"444455556666","userName":"%[1]s","arn":"arn:aws:iam::444455556666:user/%[1]s"},"eventTime":"%[2]s","eventSource":"service%[3]03d.amazonaws.com","eventName":"Operation%06[4]d","awsRegion":"eu-central-1","sourceIPAddress":"78.47.22.%[5]d","userAgent":"aws-cli","eventID":"%08[6]x-0000-4000-8000-000000000000","eventType":"AwsApiCall","eventCategory":"Management","recipientAccountId":"444455556666"}`,
			user, time.Now().UTC().Format(time.RFC3339), m%97, m, 1+i%200, i)}, nil)
	}
	return cl.Flush(ctx)
}

// process is farcall, ready.
type process struct {
	cmd           *exec.Cmd
	ended         chan error
	log           *bytes.Buffer
	b             *bench
	joined, ready time.Duration // from the start of the process
	memory        memory
}

// memory is what the kernel says of a process: bytes resident at the most, and now.
type memory struct{ peak, resident int64 }

// start starts farcall and waits until all its partitions run.
func (b *bench) start(ctx context.Context) (*process, error) {
	p := &process{cmd: exec.Command(b.binary, "run"), ended: make(chan error, 1), log: &bytes.Buffer{}, b: b}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = b.env, p.log, p.log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	for {
		if status, why, err := p.get("/readyz"); err == nil {
			if p.joined == 0 && !strings.Contains(why, "has not joined") {
				p.joined = time.Since(began)
			}
			if status == http.StatusOK {
				p.ready = time.Since(began)
				return p, p.look()
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.kill())
		case err := <-p.ended:
			return nil, fmt.Errorf("farcall ended: %w\n%s", err, p.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) get(path string) (status int, body string, err error) {
	resp, err := http.Get("http://" + p.b.console + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// look reads what is resident.
func (p *process) look() error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	defer f.Close()
	p.memory = memory{}
	for s := bufio.NewScanner(f); s.Scan(); {
		for name, to := range map[string]*int64{"VmHWM:": &p.memory.peak, "VmRSS:": &p.memory.resident} {
			if rest, ok := strings.CutPrefix(s.Text(), name); ok {
				kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					return err
				}
				*to = kib << 10
			}
		}
	}
	if p.memory.peak == 0 || p.memory.resident == 0 {
		return errors.New("no VmHWM or VmRSS in /proc")
	}
	return nil
}

// metric sums the samples whose lines begin so.
func (p *process) metric(prefix string) (n float64, err error) {
	_, body, err := p.get("/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, prefix) {
			fields := strings.Fields(line)
			v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return 0, err
			}
			n += v
		}
	}
	return n, nil
}

func (p *process) stop() error { return p.end(syscall.SIGTERM) }
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

func (p *process) end(sig syscall.Signal) error {
	err := p.look()
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	if ended := <-p.ended; sig == syscall.SIGTERM && ended != nil {
		return fmt.Errorf("farcall did not stop cleanly: %w\n%s", ended, p.log.String())
	}
	return err
}
