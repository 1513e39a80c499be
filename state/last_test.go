package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLast looks for the last record of a key near the end of the changelog, at its start, and nowhere, past what was aborted.
func TestLast(t *testing.T) {
	l := newChangelog(t)
	last := func(key, want string) {
		t.Helper()
		v, ok, err := Restore{Ask: l.client(), Topic: l.topic, Stall: 200 * time.Millisecond}.Last(t.Context(), []byte(key))
		if err != nil || ok != (want != "") || string(v) != want {
			t.Errorf("the last record of %q holds %q, %v, %v, want %q", key, v, ok, err, want)
		}
	}
	last("wa", "")
	l.commit("wold=1")
	for i := range 400 { // several steps backwards
		l.commit(fmt.Sprintf("wa=%d", i), fmt.Sprintf("wa=%d.5", i))
	}
	l.abort("wa=never", "wold=never")
	last("wa", "399.5")
	last("wold", "1")
	last("w", "")

	// An open transaction holds back what was committed behind its start, and is waited for, up to a point.
	other := l.begin("other", "wa=open")
	l.commit("wa=behind")
	_, _, err := Restore{Ask: l.client(), Topic: l.topic, Stall: 200 * time.Millisecond}.Last(t.Context(), []byte("wa"))
	if says := "stalled for 200ms"; err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("behind an open transaction it says %v, not that it %q", err, says)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := (Restore{Ask: l.client(), Topic: l.topic}).Last(ctx, []byte("wa")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled, it says %v", err)
	}
	l.end(other, kgo.TryAbort)
	last("wa", "behind")
}
