package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a system under measurement, looked at from outside.
type process struct {
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{} // closed when it has ended
	err   error         // of its end
	out   *buffer       // standard output
	log   *buffer       // standard error
	mu    sync.Mutex
	peak  int64 // bytes resident at the most, as last seen
}

// buffer keeps what a process printed.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, began: time.Now(), ended: make(chan struct{}), out: &buffer{}, log: &buffer{}}
	cmd.Stdout, cmd.Stderr = p.out, p.log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	go p.watch()
	return p, nil
}

// watch reads the peak of the memory until the process has ended. The peak that the kernel reports at the end (ru_maxrss) is no good:
// it counts what the parent had when the child began.
func (p *process) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if peak, _, err := memory(p.cmd.Process.Pid); err == nil {
			p.mu.Lock()
			p.peak = max(p.peak, peak)
			p.mu.Unlock()
		}
		select {
		case <-p.ended:
			return
		case <-tick.C:
		}
	}
}

// memory is what the kernel says of a process: bytes resident at the most, and now.
func memory(pid int) (peak, resident int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		for name, to := range map[string]*int64{"VmHWM:": &peak, "VmRSS:": &resident} {
			if rest, ok := strings.CutPrefix(s.Text(), name); ok {
				kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					return 0, 0, err
				}
				*to = kib << 10
			}
		}
	}
	if peak == 0 {
		return 0, 0, errors.New("no VmHWM in /proc") // it is ending
	}
	return peak, resident, nil
}

// cpuTime is what a process that runs has taken, user and system.
func cpuTime(pid int) (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ, which is 100 on every machine that Go runs on
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses, which may have anything in it; behind it user and system are the 12th and 13th.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err, err2)
}

// waitFor asks again and again until the answer is yes. It ends with the process, and with ctx.
func (p *process) waitFor(ctx context.Context, ok func() (bool, error)) error {
	for {
		yes, err := ok()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.err, p.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// usage is what a process took, from its start to its end.
type usage struct {
	cpu  time.Duration // user and system
	peak int64         // bytes resident at the most
}

// stop asks the process to end, waits, and says what it took. It must end well.
func (p *process) stop() (usage, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return usage{}, err
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		return usage{}, errors.Join(fmt.Errorf("%s did not end within a minute", p.cmd.Path), p.kill())
	}
	if p.err != nil {
		return usage{}, fmt.Errorf("%s did not end well: %w\n%s", p.cmd.Path, p.err, p.log)
	}
	st := p.cmd.ProcessState
	p.mu.Lock()
	defer p.mu.Unlock()
	return usage{st.UserTime() + st.SystemTime(), p.peak}, nil
}

// kill ends the process, if it has not ended.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// metrics are farcall's samples, by name and labels as they are written.
func metrics(console string) (map[string]float64, error) {
	resp, err := http.Get("http://" + console + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		if at := strings.LastIndexByte(strings.TrimSpace(line), ' '); at > 0 && line[0] != '#' {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			if err != nil {
				return nil, err
			}
			m[line[:at]] = v
		}
	}
	return m, nil
}

// sum adds the samples whose names begin so.
func sum(m map[string]float64, prefix string) (n float64) {
	for name, v := range m {
		if strings.HasPrefix(name, prefix) {
			n += v
		}
	}
	return n
}
