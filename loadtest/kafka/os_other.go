//go:build !linux

package kafka

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// Elsewhere than on Linux the package compiles, so that tests which use it do, and [Available] says no.

var errNotLinux = errors.New("kafka: only Linux can tell a process from another that got its id later")

type process struct {
	PID int `json:"pid"`
}

func childAttr(bool) *syscall.SysProcAttr                    { return nil }
func lockFile(context.Context, string) (func(), error)       { return nil, errNotLinux }
func tryLockFile(string) (func(), error)                     { return nil, errNotLinux }
func identify(int) (process, error)                          { return process{}, errNotLinux }
func (p process) alive() bool                                { return false }
func (p process) end(time.Duration) (killed bool, err error) { return false, errNotLinux }
