package main

import (
	"testing"

	"github.com/farcall/farcall/loadtest/kafka"
)

// TestChaos is the short form: every kind of fault once.
func TestChaos(t *testing.T) {
	cluster := kafka.Require(t, clusterOptions(documentedCleanup))
	const seed = 1
	o := options{seed: seed, faults: chance(seed, len(kinds)), rate: 100, session: shortSession, cluster: cluster}
	if err := run(t.Context(), o, t.Output()); err != nil {
		t.Fatal(err)
	}
}
