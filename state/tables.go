package state

import (
	"bufio"
	"errors"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBufferBytes is how much of a table goes to the disk at a time. Pebble writes each block of four kilobytes by itself, and a
// third of the CPU time of BenchmarkColdFill was calls of the kernel.
const tableBufferBytes = 256 << 10

// ingestion is what Pebble is told of tables that a restore writes.
const ingestion = vfs.DiskWriteCategory("pebble-ingestion")

// buffered is a file system that writes tables through a buffer. A table counts only once it has been synced whole, so nothing
// is lost that a crash would have kept.
type buffered struct{ vfs.FS }

// Create implements vfs.FS.
func (b buffered) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := b.FS.Create(name, category)
	if err != nil || category != ingestion && !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	w := tableBuffers.Get().(*bufio.Writer)
	w.Reset(f)
	return &table{File: f, w: w}, nil
}

// tableBuffers are used again: a store whose rows change often writes several tables a second.
var tableBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, tableBufferBytes) }}

// Unwrap implements vfs.FS.
func (b buffered) Unwrap() vfs.FS { return b.FS }

// table is a file that is written once, from its beginning to its end.
type table struct {
	vfs.File
	w *bufio.Writer
}

// Write implements vfs.File.
func (t *table) Write(p []byte) (int, error) { return t.w.Write(p) }

// Sync implements vfs.File.
func (t *table) Sync() error { return errors.Join(t.w.Flush(), t.File.Sync()) }

// SyncData implements vfs.File.
func (t *table) SyncData() error { return errors.Join(t.w.Flush(), t.File.SyncData()) }

// SyncTo implements vfs.File.
func (t *table) SyncTo(length int64) (bool, error) {
	if err := t.w.Flush(); err != nil {
		return false, err
	}
	return t.File.SyncTo(length)
}

// Close implements vfs.File. It is called once.
func (t *table) Close() error {
	err := errors.Join(t.w.Flush(), t.File.Close())
	t.w.Reset(nil)
	tableBuffers.Put(t.w)
	t.w = nil // a write after this would be one into another table
	return err
}
