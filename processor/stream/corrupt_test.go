package stream

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/state"
)

// TestCorruptStore flips a bit in every block of what a process left on its disk. The next one notices, throws the store away,
// restores it in full, and nothing is lost.
func TestCorruptStore(t *testing.T) {
	t.Parallel()
	b, m := stopped(t, &counting{})
	files := 0
	for _, dir := range []string{"state/count/0", "state/count/1"} {
		names, err := m.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".sst") {
				files++
				rot(t, m.disk, m.disk.PathJoin(dir, n))
			}
		}
	}
	if files == 0 {
		t.Fatal("the process left no tables")
	}
	again := b.run("a", m.disk, &counting{})
	b.spread(60)
	again.drains()
	if n := again.value("farcall_state_wiped_total", "stage", "count", "reason", "corrupt"); n != 2 {
		t.Errorf("%v stores were wiped for being corrupt, want 2", n)
	}
	again.stop()
	b.check(nil)
}

// rot turns over a bit in every hundredth byte of a file.
func rot(t *testing.T, fs vfs.FS, path string) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 100 {
		if _, err := f.WriteAt([]byte{b[i] ^ 0x10}, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCorruptTwice: the disk that breaks a restored store again is broken.
func TestCorruptTwice(t *testing.T) {
	o := Options{}
	o.defaults()
	broken := errors.Join(state.ErrCorrupt, errors.New("checksum"))
	if err := o.corruptions.found("state/count/0", broken); err != nil {
		t.Fatalf("the first time: %v", err)
	}
	if err := o.corruptions.found("state/count/1", broken); err != nil {
		t.Fatalf("the first time for another store: %v", err)
	}
	if err := o.corruptions.found("state/count/0", broken); !errors.Is(err, errCorruptTwice) || !strings.Contains(err.Error(), "checksum") {
		t.Fatalf("the second time: %v", err)
	}
}
