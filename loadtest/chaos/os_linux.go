package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// dieWithParent is for processes that end with this program, and only then: an interrupt typed at the terminal is not for them.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// smallDisk mounts a small disk of memory on a folder.
func smallDisk(dir string, bytes int) (unmount func() error, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can mount a small disk")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := syscall.Mount("farcall-chaos", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		return nil, fmt.Errorf("mount a small disk: %w", err)
	}
	return func() error { return syscall.Unmount(dir, 0) }, nil
}
