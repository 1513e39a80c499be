package crashdisk

import (
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCrashWhileOthersWrite ends; with the disk of Pebble v2.1 itself it hangs.
func TestCrashWhileOthersWrite(t *testing.T) {
	d := New()
	f, err := d.Create("file", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const links = 20_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range links {
			to := strconv.Itoa(i)
			if err := d.Link("file", to); err != nil {
				t.Error(err)
			}
			if err := d.Remove(to); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range links / 10 {
			l, err := d.Lock("LOCK")
			if err != nil {
				t.Error(err)
				return
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for range links / 10 {
		if _, err := d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0}).Stat("/"); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
