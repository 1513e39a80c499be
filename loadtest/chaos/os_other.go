//go:build !linux

package main

import (
	"errors"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func smallDisk(string, int) (unmount func() error, err error) {
	return nil, errors.New("a small disk is mounted on Linux only")
}
