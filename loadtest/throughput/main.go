// Command throughput measures farcall against the least that any consumer must do, in one run: it fills a topic of Apache Kafka
// with CloudTrail, then lets a bare franz-go consumer and the farcall binary read it in turn, each repetition from the
// beginning, and prints client CPU and wall time per event as rows for RESULTS.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/kafka"
)

const raw = "cloudtrail"

func main() {
	events := flag.Int("events", 1_000_000, "events in the raw topic")
	partitions := flag.Int("partitions", 4, "partitions of the raw topic, and of farcall's own topics")
	repeats := flag.Int("repeats", 3, "repetitions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *events, *partitions, *repeats); err != nil {
		log.Fatal(err)
	}
}

// sample is one reading of the whole topic.
type sample struct {
	wall, cpu time.Duration
	rss       int64 // KiB, peak
}

func run(ctx context.Context, events, partitions, repeats int) error {
	dir, err := os.MkdirTemp("", "farcall-throughput-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if os.Getenv("THROUGHPUT_BARE") != "" {
		return bare(ctx, strings.Split(os.Getenv("THROUGHPUT_BARE"), ","), int64(events))
	}
	binary := filepath.Join(dir, "farcall")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/farcall/farcall/processor/cmd/farcall")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	cluster, err := kafka.Start(ctx, kafka.Options{Dir: filepath.Join(dir, "kafka"), JavaOpts: []string{"-Xmx1g"}})
	if err != nil {
		return err
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			log.Print(err)
		}
	}()
	brokers := strings.Join(cluster.Brokers(), ",")
	size, err := fill(ctx, cluster.Brokers(), events, partitions)
	if err != nil {
		return err
	}
	fmt.Printf("%d events of %d bytes on average, %d partitions, zstd\n", events, size/int64(events), partitions)
	var bares, farcalls []sample
	for i := range repeats {
		cmd := exec.CommandContext(ctx, self, "-events", fmt.Sprint(events))
		cmd.Env = append(os.Environ(), "THROUGHPUT_BARE="+brokers)
		s, err := timed(cmd, nil)
		if err != nil {
			return fmt.Errorf("bare consumer: %w", err)
		}
		bares = append(bares, s)
		s, err = pipeline(ctx, binary, brokers, dir, fmt.Sprint("run", i), events, partitions)
		if err != nil {
			return err
		}
		farcalls = append(farcalls, s)
	}
	fmt.Printf("\n| system | events/s (wall) | client CPU µs/event | peak RSS MiB | CPU ratio to bare |\n|---|---|---|---|---|\n")
	b, f := median(bares), median(farcalls)
	for _, r := range []struct {
		name string
		s    sample
	}{{"bare kgo consumer (poll and drop)", b}, {"farcall, all three stages, exactly once", f}} {
		fmt.Printf("| %s | %.0f | %.2f | %d | %.2f |\n", r.name, float64(events)/r.s.wall.Seconds(), r.s.cpu.Seconds()*1e6/float64(events), r.s.rss>>10, r.s.cpu.Seconds()/b.cpu.Seconds())
	}
	fmt.Printf("\nraw lines (wall s, cpu s, rss MiB):\n")
	for i := range bares {
		fmt.Printf("  bare %.2f %.2f %d   farcall %.2f %.2f %d\n", bares[i].wall.Seconds(), bares[i].cpu.Seconds(), bares[i].rss>>10,
			farcalls[i].wall.Seconds(), farcalls[i].cpu.Seconds(), farcalls[i].rss>>10)
	}
	return nil
}

func median(s []sample) sample {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b sample) int { return int(a.cpu - b.cpu) })
	return s[len(s)/2]
}

// timed runs a command; when until is given, the command is terminated once it returns.
func timed(cmd *exec.Cmd, until func() error) (sample, error) {
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	var wall time.Duration
	var uerr error
	if until != nil {
		uerr = until()
		wall = time.Since(began)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return sample{}, err
		}
	}
	err := cmd.Wait()
	if wall == 0 {
		wall = time.Since(began)
	}
	st := cmd.ProcessState
	s := sample{wall: wall, cpu: st.UserTime() + st.SystemTime()}
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		s.rss = ru.Maxrss
	}
	if uerr != nil {
		return s, uerr
	}
	return s, err
}

// bare is the least a consumer can do: poll, decompress, drop.
func bare(ctx context.Context, brokers []string, events int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(raw), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(8<<20), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	defer cl.Close()
	for n := int64(0); n < events; {
		fs := cl.PollRecords(ctx, 10_000)
		if err := fs.Err(); err != nil {
			return err
		}
		n += int64(fs.NumRecords())
	}
	return nil
}

// pipeline runs farcall on topics and state of its own until it has committed the whole topic.
func pipeline(ctx context.Context, binary, brokers, dir, prefix string, events, partitions int) (sample, error) {
	env := append(os.Environ(), "FARCALL_KAFKA_BROKERS="+brokers, "FARCALL_TOPICS_PREFIX="+prefix, fmt.Sprint("FARCALL_TOPICS_PARTITIONS=", partitions),
		"FARCALL_STATE_DIR="+filepath.Join(dir, prefix), "FARCALL_CONSOLE_LISTEN=127.0.0.1:0", "FARCALL_LOG_LEVEL=warn", "FARCALL_TOPICS_REPLICATION=1")
	apply := exec.CommandContext(ctx, binary, "topics", "apply")
	apply.Env = env
	if out, err := apply.CombinedOutput(); err != nil {
		return sample{}, fmt.Errorf("topics apply: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, binary, "run")
	cmd.Env = env
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		return sample{}, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	return timed(cmd, func() error {
		for {
			lags, err := adm.Lag(ctx, prefix+".route", prefix+".detect", prefix+".triage")
			if err == nil && drained(lags) {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

// drained allows for the transaction marker behind the last record of each partition.
func drained(lags kadm.DescribedGroupLags) bool {
	for _, l := range lags {
		if l.Error() != nil || len(l.Lag) == 0 {
			return false
		}
		committed := false
		for _, p := range l.Lag.Sorted() {
			if p.Lag > 1 || p.Err != nil {
				return false
			}
			committed = committed || p.Commit.At > 0
		}
		if !committed {
			return false
		}
	}
	return len(lags) == 3
}

// fill produces an hour and a half of an organisation in which a few thousand machine roles make most calls.
func fill(ctx context.Context, brokers []string, events, partitions int) (bytes int64, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerLinger(50*time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, int32(partitions), 1, nil, raw); err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(3, 4))
	principals := rand.NewZipf(rng, 1.2, 8, 3000)
	methods := rand.NewZipf(rng, 1.3, 4, 400)
	services := []string{"sts", "s3", "ec2", "kms", "dynamodb", "logs", "ssm", "sqs", "lambda", "iam"}
	networks := []string{"78.47.22.%d", "185.141.251.%d", "3.80.0.%d", "195.35.66.%d"}
	start := time.Now().Add(-2 * time.Hour).UTC()
	pad := strings.Repeat("arn:aws:s3:::example-bucket/prefix/2026/11/object-", 10)
	var failed error
	for i := range events {
		at := start.Add(90 * time.Minute * time.Duration(i) / time.Duration(events))
		p, m := principals.Uint64(), methods.Uint64()
		role := fmt.Sprintf("service-role-%04d", p)
		value := fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE%012[1]d:i-%016[2]x","arn":"arn:aws:sts::444455556666:assumed-role/%[3]s/i-%016[2]x","accountId":"444455556666","accessKeyId":"ASIA%016[1]X","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE%012[1]d","arn":"arn:aws:iam::444455556666:role/%[3]s","accountId":"444455556666","userName":"%[3]s"},"attributes":{"creationDate":"%[4]s","mfaAuthenticated":"false"}}},"eventTime":"%[4]s","eventSource":"%[5]s.amazonaws.com","eventName":"Operation%[6]d","awsRegion":"eu-central-1","sourceIPAddress":"%[7]s","userAgent":"aws-sdk-go-v2/1.32.%[8]d os/linux lang/go#1.23 md/GOOS#linux api/s3#1.66","requestParameters":{"bucketName":"example-%[6]d","key":"%[9]s%[10]d","Host":"example-%[6]d.s3.eu-central-1.amazonaws.com"},"responseElements":null,"additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"%[11]x","bytesTransferredOut":%[10]d},"requestID":"%[11]x","eventID":"%08[10]x-0000-4000-8000-%012[2]x","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"444455556666","eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"example-%[6]d.s3.eu-central-1.amazonaws.com"}}`,
			p, rng.Uint64()>>16, role, at.Format(time.RFC3339), services[m%10], m, fmt.Sprintf(networks[p%4], 1+p%250), m%40, pad, i, rng.Uint64())
		bytes += int64(len(value))
		cl.Produce(ctx, &kgo.Record{Topic: raw, Partition: int32(i % partitions), Value: []byte(value)}, func(_ *kgo.Record, err error) {
			if err != nil && failed == nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return bytes, err
	}
	return bytes, failed
}
