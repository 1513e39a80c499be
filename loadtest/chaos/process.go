package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one farcall with a state folder of its own. It comes and goes; its place in the installation stays.
type process struct {
	number int
	state  string // folder
	log    string // file
	env    []string
	binary string

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when the running one has ended; nil before the first start
	told bool          // it was told to end
	from int64         // where the log of the running one begins
}

// start launches the process. It dies with this program, whatever ends that: Linux watches the thread that made a child, so
// the child is made on one that stays for as long.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	cmd := exec.Command(p.binary, "run")
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.env, out, out, dieWithParent()
	started, gone := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // what it says is in cmd.ProcessState
		close(gone)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start process %d: %w", p.number, err)
	}
	p.cmd, p.gone, p.told, p.from = cmd, gone, false, info.Size()
	return nil
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone == nil {
		return false
	}
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// died says whether the process has ended without having been told to.
func (p *process) died() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone == nil || p.told {
		return false
	}
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// signal reaches this process or none: the handle is held until it has been waited for.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // one that has ended by itself is noticed elsewhere
	}
}

// end makes the process end, and waits. One that is asked, and not killed, must exit with 0.
func (p *process) end(ctx context.Context, s syscall.Signal) error {
	p.mu.Lock()
	gone := p.gone
	p.told = true
	p.mu.Unlock()
	if gone == nil {
		return nil
	}
	p.signal(s)
	if err := p.wait(ctx, patience); err != nil {
		return err
	}
	// One that was asked before its first line may not have been listening yet: then the signal itself ended it.
	early := p.output() == "" && p.cmd.ProcessState.String() == "signal: terminated"
	if s == syscall.SIGTERM && p.cmd.ProcessState.ExitCode() != 0 && !early {
		return fmt.Errorf("process %d, asked to stop, ended with %v: %s", p.number, p.cmd.ProcessState, p.lastLine())
	}
	return nil
}

// wait waits until the process has ended.
func (p *process) wait(ctx context.Context, limit time.Duration) error {
	select {
	case <-p.gone:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d has not ended within %v", p.number, limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// output is what the latest process has printed.
func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil || int64(len(b)) < p.from {
		return ""
	}
	return strings.TrimSpace(string(b[p.from:]))
}

func (p *process) lastLine() string {
	out := p.output()
	return out[strings.LastIndexByte(out, '\n')+1:]
}

// slot is the identity that the process is given, as a pod gets its ordinal.
func (p *process) slot() string { return fmt.Sprint("p", p.number) }

// apply makes the topics.
func (p *process) apply(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, p.binary, "topics", "apply", "--raw-partitions", fmt.Sprint(rawPartitions))
	cmd.Env = p.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("topics apply: %w\n%s", err, out)
	}
	return nil
}

// build makes the farcall binary.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "farcall")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/farcall/farcall/processor/cmd/farcall")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build farcall: %w\n%s", err, out.Bytes())
	}
	return path, nil
}
