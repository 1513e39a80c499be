package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent: whatever ends the bench ends what it started, and an interrupt typed at the terminal is for the bench alone.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
