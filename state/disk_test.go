package state

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestFullDisk: a flush that finds no space is reported once, in a line that says what to do, and Pebble's own attempts do not
// fill the log. With space again the store is whole.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	var attempts atomic.Int64
	tried := make(chan struct{})
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !full.Load() || op.Kind != errorfs.OpFileWrite || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		if attempts.Add(1) == 3 {
			close(tried)
		}
		return syscall.ENOSPC
	}))
	failures := make(chan error, 100)
	s, err := Open("full", Options{FS: disk, Failed: func(err error) { failures <- err }})
	if err != nil {
		t.Fatal(err)
	}
	s.Set([]byte("wrow"), []byte("value"))
	if err := s.Commit(Position{topicA, 1}); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if err := s.MaybeFlush(true); err != nil {
		t.Fatal(err)
	}
	select {
	case <-tried:
	case <-time.After(time.Minute):
		t.Fatal("Pebble did not try to flush")
	}
	full.Store(false)
	closeStore(t, s)
	if n := len(failures); n != 1 {
		t.Fatalf("%d failures were reported, want 1", n)
	}
	if err := <-failures; !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a full disk is reported as %v", err)
	}
	if s, err = Open("full", Options{FS: disk}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get([]byte("wrow")); err != nil || string(v) != "value" {
		t.Errorf("after the disk had space again the row is %q, %v", v, err)
	}
	closeStore(t, s)
}
