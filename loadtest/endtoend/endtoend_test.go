package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/loadtest/kafka"
	"github.com/farcall/farcall/topics"
)

// raw is the raw topic: both installations read it, so that they see the same records at the same offsets.
const raw = "cloudtrail"

// patience is how long anything may take before a test gives up. It is no measure of speed.
const patience = 90 * time.Second

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "farcall-endtoend-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "farcall")
	out, err := exec.Command("go", "build", "-o", path, "github.com/farcall/farcall/processor/cmd/farcall").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build farcall: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// installation is one farcall on the broker: topics of its own, a state folder, and a process that comes and goes.
type installation struct {
	t       *testing.T
	brokers string
	prefix  string
	dir     string
	console string
	cmd     *exec.Cmd
	log     *syncBuffer
	ended   chan error
	lag     string // as last seen
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newInstallation(t *testing.T, c *kafka.Cluster, prefix string) *installation {
	i := &installation{t: t, brokers: strings.Join(c.Brokers(), ","), prefix: prefix, dir: t.TempDir(), log: &syncBuffer{}}
	ports, err := kafka.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	i.console = fmt.Sprint("127.0.0.1:", ports[0])
	t.Cleanup(func() {
		if i.cmd != nil {
			i.end(syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", prefix, i.log)
		}
	})
	return i
}

func (i *installation) command(args ...string) *exec.Cmd {
	i.t.Helper()
	path, err := binary()
	if err != nil {
		i.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(),
		"FARCALL_KAFKA_BROKERS="+i.brokers, "FARCALL_TOPICS_PREFIX="+i.prefix, "FARCALL_TOPICS_RAW="+raw, "FARCALL_TOPICS_PARTITIONS=4",
		"FARCALL_STATE_DIR="+filepath.Join(i.dir, "state"), "FARCALL_CONSOLE_LISTEN="+i.console,
	)
	return cmd
}

func (i *installation) output(args ...string) (string, error) {
	out, err := i.command(args...).CombinedOutput()
	return string(out), err
}

func (i *installation) start(args ...string) {
	i.t.Helper()
	i.cmd = i.command(append([]string{"run"}, args...)...)
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	i.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(i.cmd, i.ended)
}

// end signals the process and waits for it. A clean stop must exit with 0.
func (i *installation) end(sig syscall.Signal) {
	i.t.Helper()
	select {
	case err := <-i.ended:
		i.t.Fatalf("farcall ended by itself: %v", err)
	default:
	}
	if err := i.cmd.Process.Signal(sig); err != nil {
		i.t.Fatal(err)
	}
	select {
	case err := <-i.ended:
		if sig == syscall.SIGTERM && err != nil {
			i.t.Fatalf("farcall did not stop cleanly: %v", err)
		}
	case <-time.After(patience):
		i.t.Fatal("farcall did not stop")
	}
	i.cmd = nil
}

// await waits for a condition, and fails early when the process dies.
func (i *installation) await(what string, ok func() bool) {
	i.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case err := <-i.ended:
			i.t.Fatalf("farcall ended by itself while waiting for %s: %v", what, err)
		case <-deadline:
			i.t.Fatalf("gave up waiting for %s; lag:\n%s", what, i.lag)
		}
	}
}

func (i *installation) get(path string) (int, string) {
	resp, err := http.Get("http://" + i.console + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, b.String()
}

// drained says whether all three groups have committed everything below the end of their inputs. Behind the last record of a
// partition lies the marker of its transaction, which takes an offset; behind a killed process's, records that were aborted.
// So where the lag is not one or less, it must have stood still for a long time.
func (i *installation) drained(adm *kadm.Client) func() bool {
	groups := []string{i.prefix + ".route", i.prefix + ".detect", i.prefix + ".triage"}
	still, last := time.Now(), ""
	return func() bool {
		lags, err := adm.Lag(i.t.Context(), slices.Clone(groups)...) // which reorders what it gets
		if err != nil {
			i.lag = err.Error()
			return false
		}
		state, behind := "", false
		for _, g := range groups {
			l := lags[g]
			if err := l.Error(); err != nil || len(l.Lag) == 0 {
				i.lag = fmt.Sprintf("%s: %d topics, %v", g, len(l.Lag), err)
				return false
			}
			for _, p := range l.Lag.Sorted() {
				behind = behind || p.Lag > 1
				state += fmt.Sprintln(g, p.Topic, p.Partition, p.Commit.At, p.End.Offset)
			}
		}
		i.lag = state
		if state != last {
			still, last = time.Now(), state
		}
		stood := time.Since(still)
		return (!behind && stood > time.Second) || stood > 15*time.Second
	}
}

// alerts reads the alerts topic with kcat, read_committed, and returns the highest version of every alert.
func (i *installation) alerts() map[string]map[string]any {
	i.t.Helper()
	kcat, err := kafka.Kcat()
	if err != nil {
		if os.Getenv("FARCALL_NO_SKIP") != "" {
			i.t.Fatal(err)
		}
		i.t.Skipf("SKIPPED: no independent client: %v", err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(kcat, "-C", "-b", i.brokers, "-t", topics.NamesFor(i.prefix).Alerts, "-o", "beginning", "-e", "-q", "-X", "isolation.level=read_committed", "-f", "%s\n")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		i.t.Fatalf("kcat: %v\n%s", err, stderr.String())
	}
	newest := map[string]map[string]any{}
	versions := map[string]bool{}
	for _, line := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var doc map[string]any
		if err := json.Unmarshal(line, &doc); err != nil {
			i.t.Fatalf("alert is no JSON: %v\n%s", err, line)
		}
		event := doc["event"].(map[string]any)
		id, version := event["id"].(string), event["sequence"].(float64)
		if key := fmt.Sprint(id, "/", version); versions[key] {
			i.t.Errorf("version %v of alert %s was written twice", version, id)
		} else {
			versions[key] = true
		}
		if old := newest[id]; old == nil || version > old["event"].(map[string]any)["sequence"].(float64) {
			newest[id] = doc
		}
	}
	return newest
}

// rows reads a changelog and returns what compaction would leave of it, without farcall's own meta rows.
func (i *installation) rows(topic string) map[string]string {
	i.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(i.brokers, ",")...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		i.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(i.t.Context(), topic)
	if err != nil {
		i.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	rows := map[string]string{}
	ctx, cancel := context.WithTimeout(i.t.Context(), patience)
	defer cancel()
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			i.t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			key := fmt.Sprintf("%d:%x", r.Partition, r.Key)
			switch {
			case r.Attrs.IsControl() || r.Key[0] == 0:
			case r.Value == nil:
				delete(rows, key)
			default:
				rows[key] = string(r.Value)
			}
		})
	}
	return rows
}

// TestPipelineOnKafka runs two installations over the same events. One is left in peace; the other is stopped, killed and
// restarted on the way. In the end both must have said and learned the same.
func TestPipelineOnKafka(t *testing.T) {
	cluster := kafka.Require(t, kafka.Options{FastStart: true})
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	load := newLoad(time.Now().UTC().Truncate(time.Hour))
	corpus := corpusPayloads(t)

	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, raw); err != nil {
		t.Fatal(err)
	}
	calm, shaken := newInstallation(t, cluster, "calm"), newInstallation(t, cluster, "shaken")
	for _, i := range []*installation{calm, shaken} {
		if out, err := i.output("run"); err == nil || !strings.Contains(out, "topics apply") {
			t.Fatalf("without topics, farcall run says (%v):\n%s", err, out)
		}
		if out, err := i.output("topics", "apply"); err != nil {
			t.Fatalf("topics apply: %v\n%s", err, out)
		}
		if out, err := i.output("topics", "check"); err != nil {
			t.Fatalf("topics check: %v\n%s", err, out)
		}
		i.start()
	}
	produced := int64(0)
	produce := func(payloads [][]byte) {
		t.Helper()
		for _, p := range payloads {
			cl.Produce(t.Context(), &kgo.Record{Topic: raw, Value: p}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		produced += int64(len(payloads))
	}
	reached := func(i *installation, offset int64) func() bool {
		return func() bool {
			os, err := adm.FetchOffsets(t.Context(), i.prefix+".route")
			if err != nil {
				return false
			}
			o, ok := os.Lookup(raw, 0)
			return ok && o.At >= offset
		}
	}

	quarter := len(load.payloads) / 4
	produce(corpus)
	produce(load.payloads[:quarter])
	shaken.await("a first commit", reached(shaken, 1))
	shaken.end(syscall.SIGTERM)
	produce(load.payloads[quarter : 2*quarter])
	before := produced
	shaken.start()
	shaken.await("going on after a clean stop", reached(shaken, before))
	produce(load.payloads[2*quarter : 3*quarter])
	shaken.end(syscall.SIGKILL)
	shaken.start()
	produce(load.payloads[3*quarter:])

	for _, i := range []*installation{calm, shaken} {
		i.await("the end of the raw topic", reached(i, produced))
		i.await("the end of the stream", i.drained(adm))
		if code, body := i.get("/readyz"); code != http.StatusOK {
			t.Errorf("%s: /readyz says %d: %s", i.prefix, code, body)
		}
		_, metrics := i.get("/metrics")
		for _, name := range []string{"farcall_events_total", "farcall_dropped_total", "farcall_telling_ratio", "farcall_kafka_fetch_records_total"} {
			if !strings.Contains(metrics, name) {
				t.Errorf("%s: /metrics lacks %s", i.prefix, name)
			}
		}
		i.end(syscall.SIGTERM)
	}

	want, got := calm.alerts(), shaken.alerts()
	for _, m := range []map[string]map[string]any{want, got} {
		for _, doc := range m {
			delete(doc["event"].(map[string]any), "created")
			// How often an alert changed depends on how sightings and anomalies came to lie between each other.
			delete(doc["event"].(map[string]any), "sequence")
			delete(doc["farcall"].(map[string]any), "version")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts differ (-undisturbed +restarted):\n%s", diff)
	}
	load.expect(t, want)
	for _, topic := range []func(topics.Names) string{
		func(n topics.Names) string { return n.DetectChangelog }, func(n topics.Names) string { return n.TriageChangelog },
	} {
		a, b := calm.rows(topic(topics.NamesFor("calm"))), shaken.rows(topic(topics.NamesFor("shaken")))
		// What alert rows count, and where stays begin, depends on how sightings and anomalies lie between each other; when a pulse was
		// last heard of, on how often it was told. The alerts themselves were compared above.
		for _, rows := range []map[string]string{a, b} {
			maps.DeleteFunc(rows, func(key, _ string) bool {
				_, row, _ := strings.Cut(key, ":")
				return slices.ContainsFunc([]string{"a", "e", "k", "u"}, func(kind string) bool { return strings.HasPrefix(row, fmt.Sprintf("%x", kind)) })
			})
		}
		if len(a) == 0 {
			t.Errorf("no rows in %s", topic(topics.NamesFor("calm")))
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("rows of %s differ:\n%.4000s", topic(topics.NamesFor("*")), diff)
		}
	}
	letters := func(i *installation) []string {
		var keys []string
		for _, d := range i.deadLetters() {
			keys = append(keys, fmt.Sprintf("%s %d/%d %s", d.Stage, d.Source.Offset, d.Source.Byte, d.Reason))
		}
		slices.Sort(keys)
		return keys
	}
	a, b := letters(calm), letters(shaken)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("dead letters differ:\n%s", diff)
	}
	if want := load.bad; len(corpus) == 0 && len(a) != want {
		t.Errorf("%d dead letters, %d bad records were planted", len(a), want)
	}
	t.Logf("%d payloads, %d of the corpus; %d alerts, %d dead letters", len(load.payloads), len(corpus), len(want), len(a))
}

func (i *installation) deadLetters() (ds []topics.DeadLetter) {
	topic := topics.NamesFor(i.prefix).DeadLetters
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(i.brokers, ",")...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		i.t.Fatal(err)
	}
	defer cl.Close()
	for {
		ctx, cancel := context.WithTimeout(i.t.Context(), 3*time.Second)
		fs := cl.PollFetches(ctx)
		cancel()
		if errors.Is(fs.Err0(), context.DeadlineExceeded) {
			return ds
		}
		if err := fs.Err0(); err != nil {
			i.t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) { ds = append(ds, topics.ParseDeadLetter(r)) })
	}
}
