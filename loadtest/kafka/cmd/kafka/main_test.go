//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/farcall/farcall/loadtest/kafka"
)

// command runs one command and gives what it printed for a shell and for a person.
func command(t *testing.T, args ...string) (out, msg string, err error) {
	t.Helper()
	var o, m strings.Builder
	err = run(t.Context(), args, &o, &m)
	return o.String(), m.String(), err
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"start"},
		{"up", "--wipe"},
		{"down", "--port", "1"},
		{"status", "now"},
		{"up", "--help"},
	} {
		out, msg, err := command(t, args...)
		if !errors.Is(err, flag.ErrHelp) || !strings.Contains(msg, "usage: kafka up") || out != "" {
			t.Errorf("%q: %v, printed %q and %q; want the usage", args, err, out, msg)
		}
	}
}

func TestNothingRuns(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := command(t, "status", "--dir", dir); !errors.Is(err, errDown) {
		t.Errorf("status: %v, want %v", err, errDown)
	}
	if _, msg, err := command(t, "down", "--dir", dir); err != nil || msg != "no broker ran\n" {
		t.Errorf("down: %q, %v", msg, err)
	}
}

func TestUpAndDown(t *testing.T) {
	// For its judgement whether this machine can run a broker, and as one that the commands must leave alone.
	beside := kafka.Require(t, kafka.Options{})
	dir := t.TempDir()
	t.Cleanup(func() { kafka.Down(context.Background(), dir, true) })

	out, msg, err := command(t, "up", "--dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "BROKERS=127.0.0.1:") || !strings.Contains(msg, "down --dir "+dir+"\n") {
		t.Errorf("up printed %q and %q", out, msg)
	}
	again, msg, err := command(t, "up", "--dir", dir)
	if err != nil || again != out || !strings.Contains(msg, "runs already") {
		t.Errorf("a second up printed %q and %q, %v", again, msg, err)
	}
	if status, _, err := command(t, "status", "--dir", dir); err != nil || status != out {
		t.Errorf("status printed %q, %v, want %q", status, err, out)
	}
	if _, msg, err := command(t, "down", "--dir", dir, "--wipe"); err != nil || msg != "the broker is stopped, its data is removed\n" {
		t.Errorf("down printed %q, %v", msg, err)
	}
	if beside.PID(1) == 0 {
		t.Error("another broker ended too")
	}
	if out, _, err := command(t, "up", "--dir", dir); err != nil || !strings.HasPrefix(out, "BROKERS=") {
		t.Errorf("up after down printed %q, %v", out, err)
	}
	if _, _, err := command(t, "down", "--dir", dir); err != nil {
		t.Error(err)
	}

	taken := strings.TrimPrefix(beside.Brokers()[0], "127.0.0.1:")
	if _, _, err := command(t, "up", "--dir", dir, "--port", taken); err == nil || !strings.Contains(err.Error(), "port "+taken) {
		t.Errorf("up on a port that is taken: %v", err)
	}
}
