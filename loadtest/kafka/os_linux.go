package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func childAttr(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	// A group of its own: an interrupt typed at the terminal is for this program, which may want to read what is there first.
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// lockFile takes the lock that the file at path stands for, waiting while another process or goroutine has it.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		unlock, err := tryLockFile(path)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// tryLockFile is lockFile without the wait: errLocked if another has the lock. The kernel gives it back when the holder
// dies. The file stays: removing it would give two holders two locks.
func tryLockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return func() { f.Close() }, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("kafka: %w: %s", errLocked, path)
	}
	return nil, fmt.Errorf("kafka: locking %s: %w", path, err)
}

// process is a process that may not be a child of ours, told for ever from others that get its id later: by when it
// was made, in clock ticks since the boot, and by which boot.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// identify describes the process that has the id now. A zombie, which only waits for its parent to look, is no process:
// in a container nobody may ever look.
func identify(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	start, state, err := parseStat(stat)
	if err != nil {
		return process{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	if state == "Z" || state == "X" {
		return process{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// parseStat reads the start time (field 22) and the state (field 3) of a process. The name before them is in
// parentheses, and may hold spaces and parentheses of its own.
func parseStat(stat []byte) (start uint64, state string, err error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, "", errors.New("no name in parentheses")
	}
	const afterName = 22 - 3
	fields := strings.Fields(string(stat[i+1:]))
	if len(fields) <= afterName {
		return 0, "", fmt.Errorf("%d fields after the name, want more than %d", len(fields), afterName)
	}
	start, err = strconv.ParseUint(fields[afterName], 10, 64)
	return start, fields[0], err
}

// alive says whether the process still runs.
func (p process) alive() bool {
	now, err := identify(p.PID)
	return err == nil && now == p
}

// end asks the process to end, kills it after limit, and returns when it is gone. It does nothing to another process
// that got the id since: the handle is opened first and the identity compared afterwards, so that the one compared is
// the one signalled.
func (p process) end(limit time.Duration) (killed bool, err error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.alive() {
		return false, nil
	}
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, limit}, {unix.SIGKILL, math.MaxInt32 * time.Millisecond}} {
		if err := unix.PidfdSendSignal(fd, step.signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fmt.Errorf("process %d: %w", p.PID, err)
		}
		gone, err := awaitExit(fd, step.wait)
		if err != nil {
			return false, fmt.Errorf("process %d: %w", p.PID, err)
		}
		if gone {
			return step.signal == unix.SIGKILL, nil
		}
	}
	return false, fmt.Errorf("process %d: neither SIGTERM nor SIGKILL ended it", p.PID)
}

// awaitExit waits at most limit for the end of the process behind a handle, a child or not.
func awaitExit(pidfd int, limit time.Duration) (gone bool, err error) {
	deadline := time.Now().Add(limit)
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}
