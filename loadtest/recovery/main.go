// Command recovery measures how soon farcall is ready again, and in how much memory, when its state has millions of rows: after
// a clean stop, after kill -9 under load, without its folder from a compacted changelog, and from one with as many rows again
// that were not compacted. It runs the binary against an Apache Kafka on the same machine and prints rows for RESULTS.md.
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
	"log"
	"math"
	"math/rand/v2"
	"net"
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
)

func main() {
	rows := flag.Int("rows", 1_000_000, "rows in the changelog of detect")
	partitions := flag.Int("partitions", 64, "partitions of farcall's own topics")
	load := flag.Duration("load", 20*time.Second, "how long events come at full rate before kill -9")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rows, *partitions, *load); err != nil {
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
}

func run(ctx context.Context, rows, partitions int, load time.Duration) (err error) {
	b := &bench{partitions: partitions, changelog: topics.NamesFor(prefix).DetectChangelog}
	if b.dir, err = os.MkdirTemp("", "farcall-recovery-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.binary = filepath.Join(b.dir, "farcall")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "github.com/farcall/farcall/processor/cmd/farcall")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.console = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
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
	began := time.Now()
	sizes, err := b.fill(ctx, rows, 0)
	if err != nil {
		return err
	}
	fmt.Printf("%d rows over %d partitions: %d bytes in the median, %.0f on average, %.0f MB; written in %.0f s\n", rows, partitions, sizes.median(), sizes.mean(), sizes.total()/1e6, time.Since(began).Seconds())
	fmt.Printf("\n| start | ready after s | rows restored | rows/s | peak RSS MB |\n|---|---|---|---|---|\n")
	measure := func(name string, end func(p *process) error) error {
		p, err := b.start(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n := p.restored()
		err = end(p)
		fmt.Printf("| %s | %.1f | %.0f | %.0f | %.0f |\n", name, p.ready.Seconds(), n, n/p.ready.Seconds(), float64(p.peak)/1e6)
		return err
	}
	if err := b.wipe(); err != nil {
		return err
	}
	if err := measure("cold, compacted changelog", (*process).stop); err != nil {
		return err
	}
	if err := measure("after a clean stop", func(p *process) error {
		lctx, cancel := context.WithTimeout(ctx, load)
		defer cancel()
		if err := b.events(lctx, math.MaxInt, 2000, 400); err != nil && lctx.Err() == nil {
			return errors.Join(err, p.kill())
		}
		return p.kill()
	}); err != nil {
		return err
	}
	if err := measure("after kill -9 at full rate", (*process).stop); err != nil {
		return err
	}
	if err := b.remember(ctx); err != nil {
		return err
	}
	if _, err := b.fill(ctx, rows, 1); err != nil {
		return err
	}
	if err := b.wipe(); err != nil {
		return err
	}
	return measure("cold, with an equal tail that is not compacted", (*process).stop)
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
func (b *bench) fill(ctx context.Context, rows int, round uint64) (sizes, error) {
	rng := rand.New(rand.NewPCG(7, round))
	const panes = 600 // of the 720 of the window, so that none expires
	now := time.Now().Unix() / 3600 * 3600
	var all sizes
	var failed error
	for n := 0; n < rows; {
		if err := b.cl.BeginTransaction(); err != nil {
			return nil, err
		}
		touched := map[int32]bool{}
		for range 200_000 {
			if n == rows {
				break
			}
			method, pane := n/panes, n%panes
			p := int32(method % b.partitions)
			touched[p] = true
			r := &kgo.Record{Topic: b.changelog, Partition: p, Key: paneKey(fmt.Sprintf("service%03d:Operation%06d", method%97, method), now-int64(pane)*3600), Value: paneRow(rng)}
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
			return nil, err
		}
		if failed != nil {
			return nil, failed
		}
		if err := b.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return nil, err
		}
	}
	return all, nil
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
	cmd   *exec.Cmd
	ended chan error
	log   *bytes.Buffer
	b     *bench
	ready time.Duration // from the start of the process
	peak  int64         // bytes resident at the most, as the kernel has it
}

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
		resp, err := http.Get("http://" + b.console + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
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

// look reads the peak of the resident set.
func (p *process) look() error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			p.peak = kib << 10
			return err
		}
	}
	return errors.New("no VmHWM in /proc")
}

// restored asks the metrics how many rows were read.
func (p *process) restored() (n float64) {
	resp, err := http.Get("http://" + p.b.console + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "farcall_restored_rows_total{"); ok {
			v, _ := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			n += v
		}
	}
	return n
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
