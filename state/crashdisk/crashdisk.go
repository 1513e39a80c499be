// Package crashdisk is a disk in memory whose machine may lose power at any moment, for tests.
package crashdisk

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is Pebble's disk in memory, whose CrashClone may be called while others write.
//
// In Pebble v2.1 the three methods here take the read lock of CrashClone twice, and wait for ever where CrashClone asks for it in
// between (https://github.com/cockroachdb/pebble/pull/5993). With a release that has the mend this package can go.
type Disk struct {
	*vfs.MemFS
	mu sync.RWMutex
}

// New is an empty disk.
func New() *Disk { return &Disk{MemFS: vfs.NewCrashableMem()} }

// CrashClone is the disk as it would be found if the machine lost power now.
func (d *Disk) CrashClone(cfg vfs.CrashCloneCfg) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{MemFS: d.MemFS.CrashClone(cfg)}
}

// Link is [vfs.FS.Link].
func (d *Disk) Link(from, to string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.MemFS.Link(from, to)
}

// Lock is [vfs.FS.Lock].
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.MemFS.Lock(name)
}

// ReuseForWrite is [vfs.FS.ReuseForWrite].
func (d *Disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.MemFS.ReuseForWrite(from, to, category)
}
