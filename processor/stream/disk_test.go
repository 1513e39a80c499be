package stream

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestFullDisk is a process whose disk has no space left, when it flushes before it ends. Pebble would try for ever; the process
// ends with one line, and nothing is lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 2)
	var full atomic.Bool
	d := disk()
	m := b.run("a", d, &counting{}, func(o *Options) {
		o.FS = errorfs.Wrap(d, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if full.Load() && op.Kind == errorfs.OpFileWrite {
				return syscall.ENOSPC
			}
			return nil
		}))
	})
	b.spread(100)
	m.drains()
	full.Store(true)
	m.cancel()
	err := receive(t, "the end of a process with a full disk", m.ended)
	m.over = true
	if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a process with a full disk ended with %v, want one line about it", err)
	}
	full.Store(false) // what the process left behind comes to an end too
	b.dismiss()
	again := b.run("b", disk(), &counting{})
	b.spread(20)
	again.drains()
	again.stop()
	b.check(nil)
}
