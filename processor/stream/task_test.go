package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/farcall/farcall/state"
)

// TestNothingLeft looks for goroutines that outlive RunWorkers. A goroutine has the labels of the one that started it.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(*broker){
		"clean stop": func(b *broker) {
			m := b.run("a", disk(), &counting{})
			m.drains()
			m.stop()
		},
		"fatal error": func(b *broker) {
			b.run("a", disk(), &counting{before: func(*kgo.Record) { panic("every record is poison") }}).fails("panicked")
		},
		"stop in mid-restore": func(b *broker) {
			opening, release := make(chan int32, 4), make(chan bool)
			m := b.run("a", disk(), &counting{opening: func(i TaskInfo) { opening <- i.Partition; <-release }})
			receive(t, "a task", opening)
			m.cancel()
			close(release)
			if err := m.end(); err != nil {
				t.Error(err)
			}
		},
		"kill": func(b *broker) {
			m := b.run("a", disk(), &counting{})
			m.runs(2)
			m.kill()
			m.bury()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, 2)
			b.spread(20)
			label := "TestNothingLeft: " + name
			pprof.Do(t.Context(), pprof.Labels("test", label), func(context.Context) { run(b) })
			var left bytes.Buffer
			defer func() {
				if t.Failed() {
					t.Logf("goroutines:\n%s", &left)
				}
			}()
			await(t, "the last goroutine", func() bool {
				left.Reset()
				if err := pprof.Lookup("goroutine").WriteTo(&left, 1); err != nil {
					t.Fatal(err)
				}
				return !strings.Contains(left.String(), label)
			})
		})
	}
}

// lone is a worker that does not run.
func lone(s Stage) *worker {
	o := Options{Slot: "a"}
	o.defaults()
	return newWorker(s, 0, 0, o)
}

func TestPhases(t *testing.T) {
	t.Parallel()
	steps := map[[2]phase]bool{
		{assigned, opening}: true, {assigned, revoking}: true,
		{opening, restoring}: true, {opening, running}: true, {opening, revoking}: true,
		{restoring, running}: true, {restoring, revoking}: true,
		{running, revoking}: true, {running, opening}: true,
		{revoking, closed}: true,
	}
	w := lone(Stage{Name: "count"})
	for from := assigned; from <= closed; from++ {
		for to := assigned; to <= closed; to++ {
			task := &partitionTask{partition: partition{input, 3}, w: w, phase: from}
			said := func() (said any) {
				defer func() { said = recover() }()
				task.step(to)
				return nil
			}()
			switch {
			case steps[[2]phase{from, to}] && said != nil:
				t.Errorf("the step from %s to %s panics: %v", from, to, said)
			case !steps[[2]phase{from, to}] && said == nil:
				t.Errorf("the step from %s to %s is taken", from, to)
			case said != nil && fmt.Sprint(said) != fmt.Sprintf("task in/3: illegal step from %s to %s", from, to):
				t.Errorf("the step from %s to %s panics with %v", from, to, said)
			}
		}
	}
}

// TestHealth follows a process from its start to its end. One partition's task takes its time to open: the other one runs
// meanwhile, and the process is alive but not ready.
func TestHealth(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	says := func(when string, m *Metrics, now time.Time, wantLive, wantReady bool, why string) {
		t.Helper()
		live, ready, reasons := m.Health(now)
		if live != wantLive || ready != wantReady || !strings.Contains(strings.Join(reasons, "; "), why) {
			t.Errorf("%s: live %t, ready %t, because %q; want %t, %t, %q", when, live, ready, reasons, wantLive, wantReady, why)
		}
	}
	says("without workers", NewMetrics(), time.Now(), true, false, "")

	slow, release := make(chan bool, 2), make(chan bool)
	m := b.runWorkers("a", disk(), 1, &counting{opening: func(i TaskInfo) {
		if i.Partition == 1 {
			slow <- true
			<-release
		}
	}})
	receive(t, "the task that takes its time", slow)
	m.runs(1)
	b.send(0, "x")
	m.drains()
	says("while a task opens", m.metrics, time.Now(), true, false, "a-count-0: partitions not running yet")
	close(release)
	m.runs(2)
	await(t, "readiness", func() bool { _, ready, _ := m.metrics.Health(time.Now()); return ready })
	says("in operation", m.metrics, time.Now(), true, true, "")
	says("in operation, three minutes without a turn", m.metrics, time.Now().Add(3*time.Minute), false, true, "a-count-0: its loop has not turned for")
	m.stop()
	says("at the end", m.metrics, time.Now(), true, false, "a-count-0: has not joined its group")
	b.check(nil)
}

// TestReadyMeansRunning is the moment after the assignment: a worker that knows its partitions and has not begun with them is
// not ready.
func TestReadyMeansRunning(t *testing.T) {
	t.Parallel()
	w := lone((&counting{}).stage())
	if joined, _ := w.progress(); joined {
		t.Error("a worker has joined its group before it ran")
	}
	var a kmsg.ConsumerMemberAssignment
	a.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: input, Partitions: []int32{0, 1}}}
	if _, err := (balancer{kgo.CooperativeStickyBalancer(), w}).ParseSyncAssignment(a.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if joined, waiting := w.progress(); !joined || waiting != 2 {
		t.Errorf("joined %t with %d partitions to go, want 2", joined, waiting)
	}
}

// TestIdleIsShort measures the empty transactions of a worker without traffic: a record that arrives during one waits for it.
// kgo's own pause for old brokers takes 500 ms.
func TestIdleIsShort(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	w := newWorker((&counting{}).stage(), 0, 0, b.options("a", disk(), newNetwork(), &logBuffer{}))
	w.forget()
	var err error
	if w.sess, err = w.client(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer w.sess.CloseAllowingRebalance()
	shortest := time.Hour
	for range 5 {
		w.lastIdle = time.Time{}
		began := time.Now()
		if err := w.idle(); err != nil {
			t.Fatal(err)
		}
		shortest = min(shortest, time.Since(began))
	}
	if shortest > 250*time.Millisecond {
		t.Errorf("an empty transaction takes %s at the least", shortest)
	}
}

// TestStopDuringJoin stops a process that waits for the answer to its join, which comes when all others have joined: too late
// for a stop.
func TestStopDuringJoin(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 1)
	joining, release := make(chan bool), make(chan bool)
	b.c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.c.DropControl()
		b.c.SleepControl(func() { close(joining); <-release })
		return nil, nil, false
	})
	m := b.runWorkers("a", disk(), 1, &counting{})
	receive(t, "the join", joining)
	m.stop()
	close(release)
}

// TestPositionIsChecked is about the two assertions that would stop a worker before it did harm.
func TestPositionIsChecked(t *testing.T) {
	t.Parallel()
	w := lone((&counting{}).stage())
	p := partition{input, 0}
	task := &partitionTask{partition: p, w: w, phase: running, next: 10, since: 4, committed: committedOffset{topic: state.TopicID{15: 9}}, task: &countingTask{time: 77}}
	w.tasks = map[partition]*partitionTask{p: task}

	bad, err := w.feed(task, []*kgo.Record{{Topic: input, Offset: 9}})
	if bad != nil || !errors.Is(err, errRestart) || !strings.Contains(err.Error(), "offset 9 of in/0 came again at position 10") {
		t.Errorf("a record that was processed comes again: %v, %v", bad, err)
	}

	precommit := func(topic string, at int64) (string, error) {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 0, Offset: at}}}}
		err := w.precommit(req)
		if m := req.Topics[0].Partitions[0].Metadata; m != nil {
			return *m, err
		}
		return "", err
	}
	task.touched = true
	if m, err := precommit(input, 10); err != nil || m != "farcall/1 horizon=77 since=4 topic=00000000000000000000000000000009" {
		t.Errorf("a commit of the position carries %q: %v", m, err)
	}
	if _, err := precommit(input, 11); !errors.Is(err, errPosition) || !strings.Contains(err.Error(), "in/0 processed up to 10, the client would commit 11") {
		t.Errorf("a commit past the position: %v", err)
	}
	if _, err := precommit("elsewhere", 11); err == nil {
		t.Error("a commit for a partition without a task is let through")
	}
}
