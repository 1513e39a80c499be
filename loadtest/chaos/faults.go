package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// inject does what a fault says. It returns when the damage is mended; where nothing more than a probe is open, that goes on in
// the background, so that the next fault can come before it.
func (d *driver) inject(f fault, n, total int) error {
	if !f.now {
		d.healing.Wait()
	}
	d.injected[f.kind]++
	if k, _ := kindOf(f.kind); k.targets > 0 && f.target == 0 && !k.broker() {
		f.target = 1 + d.rng.IntN(processes)
	}
	p := d.procs[f.target] // nil without one
	d.logf("fault %d of %d: %s", n, total, f)
	switch f.kind {
	case "kill":
		return d.again(f.kind, p, syscall.SIGKILL, nil)
	case "term":
		return d.again(f.kind, p, syscall.SIGTERM, nil)
	case "wipe":
		return d.again(f.kind, p, syscall.SIGKILL, func() error { return empty(p.state) })
	case "roll":
		for n := 1; n <= processes; n++ {
			if err := d.again(f.kind, d.procs[n], syscall.SIGTERM, nil); err != nil {
				return err
			}
			d.healing.Wait()
		}
		return nil
	case "kill-away":
		since := time.Now()
		if err := d.stop(p, syscall.SIGKILL); err != nil {
			return err
		}
		d.heal(f.kind, since, d.probe())
		since = time.Now()
		if err := d.startAgain(p); err != nil {
			return err
		}
		probes := d.probe()
		d.healing.Go(func() { d.heal("kill-away, back again", since, probes) })
		return nil
	case "zombie":
		return d.zombie(p)
	case "scale":
		return d.scale()
	case "disk-full":
		return d.diskFull()
	case "broker-leader", "broker-group", "broker-transaction":
		return d.broker(f)
	case "brokers-roll":
		for n := 1; n <= brokers; n++ {
			since := time.Now()
			if err := d.cluster.Restart(n); err != nil {
				return err
			}
			d.heal(f.kind, since, d.probe())
			if err := d.inSync(); err != nil {
				return err
			}
		}
		return nil
	case "brokers-all":
		since := time.Now()
		logs := d.brokerLogs()
		for n := 1; n <= brokers; n++ {
			if err := d.cluster.Kill(n); err != nil {
				return err
			}
		}
		if err := d.cluster.RestartAll(); err != nil {
			return err
		}
		mended := make(chan error, 1)
		healed, done := context.WithCancel(d.ctx)
		go func() { mended <- d.mendCoordinators(healed, logs) }()
		d.heal(f.kind, since, d.probe())
		done()
		return errors.Join(<-mended, d.inSync())
	}
	return fmt.Errorf("no such fault: %s", f.kind)
}

// outOfSync is what a broker says of a coordinator that came back without part of its log, after which it answers with old offsets, or
// its group can't be joined at all, until the broker is restarted.
const outOfSync = "out of sync with the underlying log"

// brokerLogs are the sizes of the brokers' logs.
func (d *driver) brokerLogs() (sizes [brokers]int64) {
	for n := range sizes {
		if i, err := os.Stat(d.brokerLog(n + 1)); err == nil {
			sizes[n] = i.Size()
		}
	}
	return sizes
}

func (d *driver) brokerLog(n int) string {
	return filepath.Join(d.cluster.Dir(), fmt.Sprintf("node-%d", n), "server.log")
}

// mendCoordinators does what the runbook tells an operator: a broker that says that a coordinator is out of sync is restarted. It
// reads the brokers' logs from the sizes on that are given, until ctx ends.
func (d *driver) mendCoordinators(ctx context.Context, from [brokers]int64) error {
	for {
		for n := range from {
			b, err := os.ReadFile(d.brokerLog(n + 1))
			if err != nil || int64(len(b)) < from[n] || !bytes.Contains(b[from[n]:], []byte(outOfSync)) {
				continue
			}
			d.logf("  broker %d says that a coordinator is %s: it is restarted, as the runbook has it", n+1, outOfSync)
			if err := d.inSync(); err != nil {
				return err
			}
			d.mu.Lock()
			d.mended++
			d.mu.Unlock()
			if err := d.cluster.Restart(n + 1); err != nil {
				return err
			}
			from = d.brokerLogs() // what it said until it stopped is dealt with
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// stop ends a process; startAgain brings one back. The supervisor looks the other way meanwhile.
func (d *driver) stop(p *process, s syscall.Signal) error {
	d.life.Lock()
	defer d.life.Unlock()
	err := p.end(d.ctx, s)
	if err != nil && p.running() {
		return err
	}
	if err != nil {
		d.violation("%v", err)
	}
	return nil
}

func (d *driver) startAgain(p *process) error {
	d.life.Lock()
	defer d.life.Unlock()
	return p.start()
}

// again ends a process, does something while it is away, and starts it at once.
func (d *driver) again(what string, p *process, s syscall.Signal, away func() error) error {
	since := time.Now()
	if err := d.stop(p, s); err != nil {
		return err
	}
	if away != nil {
		if err := away(); err != nil {
			return err
		}
	}
	if err := d.startAgain(p); err != nil {
		return err
	}
	probes := d.probe()
	d.healing.Go(func() { d.heal(what, since, probes) })
	return nil
}

// empty removes what is in a folder, which may be the root of a disk.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// zombie stops a process for longer than the session timeout. The others take over; when it wakes, in the middle of whatever it
// was doing, nothing that it still does may count.
func (d *driver) zombie(p *process) error {
	since := time.Now()
	p.signal(syscall.SIGSTOP)
	d.heal("zombie", since, d.probe())
	select {
	case <-time.After(time.Until(since.Add(d.session + 2*time.Second))):
	case <-d.ctx.Done():
	}
	woken := time.Now()
	p.signal(syscall.SIGCONT)
	d.heal("zombie, awake", woken, d.probe())
	return nil
}

// scale goes down to one process, up to four, down to two and back to three.
func (d *driver) scale() error {
	for _, step := range []struct {
		what        string
		stop, start []int
	}{{"scale to 1", []int{2, 3}, nil}, {"scale to 4", nil, []int{2, 3, 4}}, {"scale to 2", []int{3, 4}, nil}, {"scale to 3", nil, []int{3}}} {
		since := time.Now()
		for _, n := range step.stop {
			if err := d.stop(d.procs[n], syscall.SIGTERM); err != nil {
				return err
			}
		}
		for _, n := range step.start {
			if err := d.startAgain(d.procs[n]); err != nil {
				return err
			}
		}
		d.heal(step.what, since, d.probe())
	}
	return nil
}

// diskFull fills the small disk of process 1 until that ends, and makes room again.
func (d *driver) diskFull() error {
	if d.noDisk != nil {
		d.logf("SKIPPED: disk-full: %v", d.noDisk)
		d.injected["disk-full"]--
		return nil
	}
	p := d.procs[1]
	d.life.Lock()
	p.mu.Lock()
	p.told = true // it may end
	p.mu.Unlock()
	d.life.Unlock()
	ballast := filepath.Join(p.state, "ballast")
	deadline := time.Now().Add(patience)
	for p.running() {
		if time.Now().After(deadline) {
			d.violation("disk-full: process 1 went on for %v on a full disk; its last line: %s", patience, p.lastLine())
			if err := d.stop(p, syscall.SIGKILL); err != nil {
				return err
			}
			break
		}
		if err := fill(ballast); err != nil { // again and again: the process may free some of its own
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-d.ctx.Done():
			return nil
		}
	}
	since := time.Now()
	d.logf("  process 1 ended with %v: %s", p.cmd.ProcessState, p.lastLine())
	switch last := p.lastLine(); {
	case p.cmd.ProcessState.ExitCode() != 1:
		d.violation("disk-full: process 1 ended with %v, want exit status 1", p.cmd.ProcessState)
	case !strings.HasPrefix(last, "farcall: ") || !strings.Contains(last, "no space left"):
		d.violation("disk-full: the last line of process 1 is not one that says that the disk is full: %s", last)
	case strings.Contains(p.output(), "goroutine "):
		d.violation("disk-full: process 1 ended with a stack trace")
	}
	d.heal("disk-full", since, d.probe())
	if err := os.Remove(ballast); err != nil {
		return err
	}
	since = time.Now()
	if err := d.startAgain(p); err != nil {
		return err
	}
	d.heal("disk-full, space again", since, d.probe())
	return nil
}

// fill appends to a file until the disk is full.
func fill(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 64<<10); ; {
		switch _, err := f.Write(block); {
		case errors.Is(err, syscall.ENOSPC) && len(block) > 4<<10:
			block = block[:4<<10]
		case errors.Is(err, syscall.ENOSPC):
			return nil
		case err != nil:
			return err
		}
	}
}

// broker kills the broker of a role, and brings it back once the others have taken over.
func (d *driver) broker(f fault) error {
	node, role := int32(f.target), "as the schedule says"
	if node == 0 {
		var err error
		if node, role, err = d.roleOf(f.kind); err != nil {
			return err
		}
	}
	d.logf("  broker %d, %s", node, role)
	since := time.Now()
	if err := d.cluster.Kill(int(node)); err != nil {
		return err
	}
	d.heal(f.kind, since, d.probe())
	if err := d.cluster.Restart(int(node)); err != nil {
		return err
	}
	return d.inSync()
}

func (d *driver) roleOf(kind string) (node int32, role string, err error) {
	switch kind {
	case "broker-group":
		group := prefix + "." + []string{"route", "detect", "triage"}[d.rng.IntN(3)]
		c := d.adm.FindGroupCoordinators(d.ctx, group)[group]
		return c.NodeID, "coordinator of group " + group, c.Err
	case "broker-transaction":
		id := prefix + "." + d.procs[1].slot() + "-" + []string{"route", "detect", "triage"}[d.rng.IntN(3)] + "-0"
		c := d.adm.FindTxnCoordinators(d.ctx, id)[id]
		return c.NodeID, "coordinator of the transactions of " + id, c.Err
	}
	topic := []string{rawTopic, visitsTopic, principalsTopic, alertsTopic, detectTopic, triageTopic}[d.rng.IntN(6)]
	ts, err := d.adm.ListTopics(d.ctx, topic)
	if err == nil {
		err = ts.Error()
	}
	if err != nil {
		return 0, "", err
	}
	ps := ts[topic].Partitions.Sorted()
	p := ps[d.rng.IntN(len(ps))]
	return p.Leader, fmt.Sprintf("leader of %s/%d", topic, p.Partition), p.Err
}

// inSync waits until every partition has all of its replicas: until then another broker's end would take it down for reasons
// that are not farcall's.
func (d *driver) inSync() error {
	deadline := time.Now().Add(patience)
	for {
		var missing string
		ts, err := d.adm.ListTopicsWithInternal(d.ctx)
		if err == nil {
			err = ts.Error()
		}
		ts.EachPartition(func(p kadm.PartitionDetail) {
			if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
				missing = fmt.Sprintf("%s/%d has %v in sync of %v", p.Topic, p.Partition, p.ISR, p.Replicas)
			}
		})
		if err == nil && missing == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the brokers did not come back in sync within %v: %s %w", patience, missing, err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-d.ctx.Done():
			return nil
		}
	}
}

// random is the driver's own chance, apart from the schedule's and the load's.
func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 3)) }
