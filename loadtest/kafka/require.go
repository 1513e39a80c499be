package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Require gives a test or a benchmark a cluster of its own, and stops it when that ends. A test's cluster has FastStart,
// a benchmark's has not. Where Kafka can't be run the test is skipped, in a line that begins with "SKIPPED: no Apache
// Kafka"; with FARCALL_NO_SKIP=1 in the environment, which a build that must not be fooled sets, it fails instead.
func Require(t testing.TB, o Options) *Cluster {
	t.Helper()
	if _, ok := t.(*testing.B); !ok {
		o.FastStart = true
	}
	c, err := Start(context.Background(), o)
	skipUnavailable(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// skipUnavailable skips the test, or fails it, if err says that this machine can't run Kafka.
func skipUnavailable(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, errUnavailable) {
		return
	}
	if os.Getenv("FARCALL_NO_SKIP") == "1" {
		t.Fatalf("no Apache Kafka, and FARCALL_NO_SKIP=1 forbids to skip: %v", err)
	}
	if !testing.Verbose() {
		// Without -v the testing package keeps the reason of a skip to itself.
		fmt.Fprintf(os.Stderr, "SKIPPED: no Apache Kafka: %s: %v\n", t.Name(), err)
	}
	t.Skipf("SKIPPED: no Apache Kafka: %v", err)
}

// Kcat finds kcat, the Kafka client on the command line that shares no code with this project's, under either of its
// names.
func Kcat() (path string, err error) {
	for _, name := range []string{"kcat", "kafkacat"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("neither kcat nor kafkacat is in PATH: install the Debian package kcat (apt-get install kcat)")
}
