package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// child is a process that this program started. Its handle is the operating system's, held until the process has been
// waited for, so that a signal reaches this process or none.
type child struct {
	cmd  *exec.Cmd
	pid  int
	done chan struct{} // closed when the process is gone and its output has been copied
	err  error         // what Wait said; read it after done
}

// startChild launches a command. Unless it is detached, the kernel kills it (SIGKILL) when this program ends, however
// that happens: by a test's time limit, by os.Exit or by SIGKILL, where no clean-up of ours would run.
//
// Linux watches the *thread* that made the child, not the process, and Go ends and parks threads as it likes. So the
// child is made on a thread that is locked to one goroutine, and that goroutine stays until the child is gone: the
// thread lives as long as the child or this program, whichever ends first.
//
// A detached child gets a session of its own, so that an interrupt typed at the terminal doesn't reach it.
func startChild(cmd *exec.Cmd, detached bool) (*child, error) {
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = childAttr(detached)
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	c.pid = cmd.Process.Pid
	return c, nil
}

func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// signal does nothing to a process that has ended.
func (c *child) signal(s os.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		// The child is ours and alive: the kernel has no reason to refuse.
		panic(fmt.Sprintf("kafka: signal %v to process %d: %v", s, c.pid, err))
	}
}

// run runs a command to its end and gives all that it printed. It is killed when ctx ends.
func run(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A process of its own that the command left behind can hold the output open.
	cmd.WaitDelay = 5 * time.Second
	c, err := startChild(cmd, false)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return out.Bytes(), c.err
	case <-ctx.Done():
		c.signal(os.Kill)
		<-c.done
		return out.Bytes(), context.Cause(ctx)
	}
}
