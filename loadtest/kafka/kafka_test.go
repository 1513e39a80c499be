//go:build linux

package kafka

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// asHelper is set where a test runs a second time, in a process of its own, to play the other part.
const asHelper = "FARCALL_KAFKA_TEST_HELPER"

// TestMain fails a run that leaves a process behind, whatever its tests say.
func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(asHelper) != "" {
		os.Exit(code) // to leave a process behind is what a helper may be for
	}
	if left := children(os.Getpid()); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the tests are over, and these processes of theirs still run: %v\n", left)
		code = 1
	}
	os.Exit(code)
}

// children are the ids of the running children of a process.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended since
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if state, ppid := fields[0], fields[1]; state != "Z" && ppid == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// requireKafka is Require for a test that starts its clusters itself.
func requireKafka(t testing.TB) distribution {
	t.Helper()
	dist, err := prepare(t.Context())
	skipUnavailable(t, err)
	if err != nil {
		t.Fatal(err)
	}
	return dist
}

// deadline is for a wait that should take moments: when it passes, something is broken.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	t.Cleanup(cancel)
	return ctx
}

func createTopic(t *testing.T, brokers []string, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(deadline(t), 1, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

// transact writes one record in a transaction of its own, and commits or aborts it.
func transact(t *testing.T, brokers []string, topic, value string, end kgo.TransactionEndTry) {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.DefaultProduceTopic(topic),
		kgo.TransactionalID("writer"),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(deadline(t), kgo.StringRecord(value)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(deadline(t), end); err != nil {
		t.Fatal(err)
	}
}

// wantCommitted reads a topic from its beginning, committed records only, until it has as many as wanted.
func wantCommitted(t *testing.T, brokers []string, topic string, want ...string) {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := deadline(t)
	var got []string
	for len(got) < len(want) {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %q, and no more came; want %q", got, want)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if !slices.Equal(got, want) {
		t.Fatalf("read %q, want %q", got, want)
	}
}

func mustIdentify(t *testing.T, pid int) process {
	t.Helper()
	p, err := identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantFree fails unless a server could listen on the address.
func wantFree(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Errorf("the port is still taken: %v", err)
		return
	}
	l.Close()
}

func TestLifeOfACluster(t *testing.T) {
	dir := t.TempDir()
	c := Require(t, Options{Dir: dir})
	first := mustIdentify(t, c.PID(1))
	addr := c.Brokers()[0]

	createTopic(t, c.Brokers(), "events")
	transact(t, c.Brokers(), "events", "one", kgo.TryCommit)
	transact(t, c.Brokers(), "events", "aborted", kgo.TryAbort)
	transact(t, c.Brokers(), "events", "two", kgo.TryCommit)
	wantCommitted(t, c.Brokers(), "events", "one", "two")

	if err := c.Kill(1); err != nil {
		t.Fatal(err)
	}
	if first.alive() || c.PID(1) != 0 {
		t.Fatalf("after Kill: process alive %v, PID %d", first.alive(), c.PID(1))
	}
	if err := c.Restart(1); err != nil {
		t.Fatal(err)
	}
	if c.Brokers()[0] != addr {
		t.Fatalf("restarted at %s, was at %s", c.Brokers()[0], addr)
	}
	transact(t, c.Brokers(), "events", "three", kgo.TryCommit)
	wantCommitted(t, c.Brokers(), "events", "one", "two", "three")

	// A restart of a node that runs stops it in good order first.
	second := mustIdentify(t, c.PID(1))
	if err := c.Restart(1); err != nil {
		t.Fatal(err)
	}
	third := mustIdentify(t, c.PID(1))
	if second.alive() || second == third {
		t.Fatalf("Restart left %+v running, and %+v is the node", second, third)
	}

	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if third.alive() || c.PID(1) != 0 {
		t.Fatalf("after Stop: process alive %v, PID %d", third.alive(), c.PID(1))
	}
	wantFree(t, addr)
	wantFree(t, c.nodes[0].controller())
	if err := c.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
	if c.Kill(1) == nil || c.Restart(1) == nil {
		t.Error("a stopped cluster takes Kill or Restart")
	}

	// Another cluster object on the folder finds the data, on new ports.
	again := Require(t, Options{Dir: dir})
	wantCommitted(t, again.Brokers(), "events", "one", "two", "three")
}

func TestKcatReads(t *testing.T) {
	kcat, err := Kcat()
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	c := Require(t, Options{})
	createTopic(t, c.Brokers(), "events")
	transact(t, c.Brokers(), "events", "one", kgo.TryCommit)
	transact(t, c.Brokers(), "events", "aborted", kgo.TryAbort)
	out, err := exec.CommandContext(deadline(t), kcat, "-C", "-q", "-e", "-b", c.Brokers()[0], "-t", "events",
		"-o", "beginning", "-X", "isolation.level=read_committed").CombinedOutput()
	if err != nil || string(out) != "one\n" {
		t.Errorf("kcat read %q, %v", out, err)
	}
}

func TestThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers are too much for a short run")
	}
	c := Require(t, Options{Nodes: 3})
	createTopic(t, c.Brokers(), "events")
	transact(t, c.Brokers(), "events", "one", kgo.TryCommit)
	if err := c.Kill(2); err != nil {
		t.Fatal(err)
	}
	transact(t, c.Brokers(), "events", "two", kgo.TryCommit)
	if err := c.Restart(2); err != nil {
		t.Fatal(err)
	}
	wantCommitted(t, c.Brokers()[1:2], "events", "one", "two")
	for n := 1; n <= 3; n++ { // alone, none of them would answer again
		if err := c.Kill(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RestartAll(); err != nil {
		t.Fatal(err)
	}
	wantCommitted(t, c.Brokers()[2:], "events", "one", "two")
	if err := c.Kill(4); err == nil {
		t.Error("there is a node 4 of 3")
	}
}

// A temporary folder goes with the cluster, one of the caller's stays.
func TestTemporaryFolder(t *testing.T) {
	c := Require(t, Options{Properties: map[string]string{"message.max.bytes": "123456"}})
	settings, err := os.ReadFile(filepath.Join(c.Dir(), "node-1", "server.properties"))
	if err != nil || !strings.Contains(string(settings), "message.max.bytes=123456\n") {
		t.Errorf("server.properties: %v\n%s", err, settings)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if exists(c.Dir()) {
		t.Errorf("%s is still there", c.Dir())
	}
}

func TestWhatGoesWrong(t *testing.T) {
	c := Require(t, Options{})

	t.Run("folder in use", func(t *testing.T) {
		settings := filepath.Join(c.Dir(), "node-1", "server.properties")
		before, err := os.ReadFile(settings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Start(t.Context(), Options{Dir: c.Dir()}); !errors.Is(err, errLocked) {
			t.Errorf("got %v, want errLocked", err)
		}
		if after, err := os.ReadFile(settings); err != nil || !bytes.Equal(before, after) || !c.nodes[0].running() {
			t.Errorf("the start that was refused changed the other broker: %v", err)
		}
	})
	t.Run("formatting", func(t *testing.T) {
		_, err := Start(t.Context(), Options{Properties: map[string]string{"num.io.threads": "many"}})
		if err == nil || !strings.Contains(err.Error(), "num.io.threads") {
			t.Errorf("got %v, want an error with the name of the setting", err)
		}
	})
	t.Run("ended by itself", func(t *testing.T) {
		p := mustIdentify(t, c.PID(1))
		if killed, err := p.end(stopLimit); killed || err != nil {
			t.Fatal(killed, err)
		}
		<-c.nodes[0].proc.done
		if err := c.Stop(); err == nil || !strings.Contains(err.Error(), "by itself") {
			t.Errorf("Stop says %v, want that the node had ended", err)
		}
		// Stop has been called: the clean-up of Require does nothing.
	})
}

// A start that finds its port taken says so in a way that start-up understands as a reason to try again.
func TestPortTaken(t *testing.T) {
	dist := requireKafka(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = launch(t.Context(), dist, Options{FastStart: true}, l.Addr().(*net.TCPAddr).Port, false)
	if !errors.Is(err, errPortTaken) || !strings.Contains(err.Error(), "failed to bind") {
		t.Errorf("got %v, want errPortTaken and the server's words", err)
	}
}

// onOutput calls do the first time that something is printed which has text in it.
type onOutput struct {
	text string
	do   func()
	once sync.Once
}

func (o *onOutput) Write(p []byte) (int, error) {
	if strings.Contains(string(p), o.text) {
		o.once.Do(o.do)
	}
	return len(p), nil
}

// A node comes back on its own port, though another process had it for a while.
func TestRestartWaitsForItsPort(t *testing.T) {
	var thief net.Listener
	c := Require(t, Options{Log: &onOutput{text: "failed to bind", do: func() { thief.Close() }}})
	if err := c.Kill(1); err != nil {
		t.Fatal(err)
	}
	var err error
	if thief, err = net.Listen("tcp", c.Brokers()[0]); err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if err := c.Restart(1); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(c.Dir(), "node-1", "server.log"))
	if err != nil || !strings.Contains(string(log), "failed to bind") {
		t.Errorf("the port was never in the way: %v\n%s", err, log)
	}
	createTopic(t, c.Brokers(), "events")
}

func TestStartObeysItsContext(t *testing.T) {
	requireKafka(t)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Options{Dir: t.TempDir()}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if left := children(os.Getpid()); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"nodes":    {Options{Nodes: 2}, "Nodes is 2"},
		"listener": {Options{Properties: map[string]string{"listeners": "PLAINTEXT://:1"}}, "listeners"},
		"comma":    {Options{Dir: filepath.Join(t.TempDir(), "a,b")}, "comma"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := launch(t.Context(), distribution{}, tc.o, 0, false)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v, want an error about %q", c, err, tc.want)
			}
		})
	}
}

// helper runs the test again, in a process of its own that is told to play the other part, and gives its output.
func helper(t *testing.T, env ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(deadline(t), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), asHelper+"=1")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// readPID finds the line "PID=n" in a helper's output.
func readPID(t *testing.T, out *bufio.Scanner) int {
	t.Helper()
	for out.Scan() {
		if value, ok := strings.CutPrefix(out.Text(), "PID="); ok {
			pid, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the helper ended without a PID")
	return 0
}

func TestDiesWithItsParent(t *testing.T) {
	if os.Getenv(asHelper) != "" {
		c, err := Start(t.Context(), Options{Dir: os.Getenv("DIR"), FastStart: true})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("PID=%d\n", c.PID(1))
		<-t.Context().Done() // which never comes: the test is killed here
	}
	requireKafka(t)
	cmd, out := helper(t, "DIR="+t.TempDir())
	broker, err := unix.PidfdOpen(readPID(t, out), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(broker)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	gone, err := awaitExit(broker, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !gone {
		unix.PidfdSendSignal(broker, unix.SIGKILL, nil, 0)
		t.Error("the broker outlived the program that started it")
	}
}

func TestUp(t *testing.T) {
	if os.Getenv(asHelper) != "" {
		b, started, err := Up(t.Context(), os.Getenv("DIR"), 0)
		if err != nil || !started {
			t.Fatalf("Up: started %v, %v", started, err)
		}
		fmt.Printf("PID=%d\n", b.PID)
		return
	}
	beside := Require(t, Options{}) // a broker that Down must not touch
	dir := t.TempDir()
	up := func() process {
		t.Helper()
		cmd, out := helper(t, "DIR="+dir)
		p := mustIdentify(t, readPID(t, out))
		t.Cleanup(func() { p.end(0) })
		for out.Scan() {
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		return p
	}

	broker := up()
	if !broker.alive() {
		t.Fatal("the broker ended with the program that started it")
	}
	b, running, err := Status(dir)
	if err != nil || !running || b.PID != broker.PID {
		t.Fatalf("Status says %+v, %v, %v; want process %d", b, running, err, broker.PID)
	}
	createTopic(t, []string{b.Broker}, "events")
	transact(t, []string{b.Broker}, "events", "one", kgo.TryCommit)

	if again, started, err := Up(t.Context(), dir, 0); err != nil || started || again != b {
		t.Fatalf("a second Up says %+v, %v, %v; want %+v, false", again, started, err, b)
	}
	if stopped, err := Down(t.Context(), dir, false); err != nil || !stopped {
		t.Fatalf("Down says %v, %v", stopped, err)
	}
	if broker.alive() {
		t.Fatal("the broker runs after Down")
	}
	if stopped, err := Down(t.Context(), dir, false); err != nil || stopped {
		t.Fatalf("a second Down says %v, %v", stopped, err)
	}

	second := up()
	b, _, err = Status(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantCommitted(t, []string{b.Broker}, "events", "one")
	if _, err := Down(t.Context(), dir, true); err != nil {
		t.Fatal(err)
	}
	if second.alive() || exists(filepath.Join(dir, "node-1")) {
		t.Error("Down with wipe left the broker or its data")
	}
	if beside.PID(1) == 0 {
		t.Error("Down ended a broker that is not its own")
	}
}

// BenchmarkStart measures the time from nothing to a broker that answers, format included, jars and class archive
// cached; and the processor time of the broker alone, its stop included.
func BenchmarkStart(b *testing.B) {
	requireKafka(b)
	for _, fast := range []bool{true, false} {
		b.Run(fmt.Sprintf("fast=%v", fast), func(b *testing.B) {
			var cpu time.Duration
			for b.Loop() {
				c, err := Start(b.Context(), Options{FastStart: fast})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := c.Stop(); err != nil {
					b.Fatal(err)
				}
				state := c.nodes[0].proc.cmd.ProcessState
				cpu += state.UserTime() + state.SystemTime()
				b.StartTimer()
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}
