// Package state holds what one partition of a stage knows: rows in a local Pebble store, made durable by a compacted
// changelog topic and restored from it. It knows how rows are written, never what they mean: scores, thresholds and
// wall-clock time have no place here.
package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// View is what a stage sees of its partition's rows: reads include what the running transaction wrote.
type View interface {
	// Get returns the row, valid until the next write, or nil where there is none.
	Get(key []byte) ([]byte, error)
	// Set and Delete stage a change; it takes effect at the commit. Key and value are copied.
	Set(key, value []byte)
	Delete(key []byte)
	// Scan calls fn for every row whose key starts with prefix, in key order, until fn returns an error. Key and value are
	// valid during the call only, and fn must not write.
	Scan(prefix []byte, fn func(key, value []byte) error) error
	// Next returns the first key from from on that starts with prefix, nil where there is none: for walks that leave rows out.
	Next(prefix, from []byte) ([]byte, error)
}

// FormatVersion is the version of the local layout: bumped by any change that an older build could not read.
//
//	1: position row, meta row, rows as in FORMAT.md
const FormatVersion = 1

// Keys that start with this byte belong to the store itself; rows of a stage start with any other.
const systemPrefix = 0x00

var (
	positionKey = []byte{systemPrefix, 'p'}
	metaKey     = []byte{systemPrefix, 'm'}
)

// positionBytes are format version, topic id and offset.
const positionBytes = 1 + len(TopicID{}) + 8

// ErrFormat is wrapped when a store was written by a newer build.
var ErrFormat = errors.New("state folder has a newer format")

// ErrCorrupt is wrapped by errors about a store that Pebble can't read back: the disk changed what was written. Discard and
// Remove make room for a full restore.
var ErrCorrupt = errors.New("state store is corrupt")

// ErrDisk is wrapped when the disk takes no more writes.
var ErrDisk = errors.New("the disk does not take writes")

// TopicID identifies one incarnation of a topic: a recreated topic has another.
type TopicID [16]byte

// Position says how much of which changelog a store holds.
type Position struct {
	Topic TopicID
	Next  int64 // offset of the first changelog record that the store has not seen
}

func (p Position) append(b []byte) []byte {
	b = append(append(b, FormatVersion), p.Topic[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(p.Next))
}

// Options open a store.
type Options struct {
	FS    vfs.FS        // default the disk
	Cache *pebble.Cache // of NewCache, shared by the stores of a process; nil for a small own one
	Log   *slog.Logger
	// MemTableBytes bounds what is lost of the local copy in a crash, and so the tail that a restore reads. A store holds
	// at most two memtables.
	MemTableBytes uint64
	// FlushEvery and FlushRows flush the memtable when the store on disk is that far behind.
	FlushEvery time.Duration
	FlushRows  int
	// Fatal is told, once and from any goroutine, that the disk takes no more writes, with an error that wraps ErrDisk. Calls
	// of the store may then block for ever: the process must end without waiting for them. The default panics.
	Fatal func(error)
}

// NewCache makes a cache for so many bytes of blocks, beside memtables of so many bytes, of all stores that share it. Pebble takes
// the memtables out of the cache: one that is not larger than they are ends up holding nothing.
func NewCache(blocks, memTables int64) *pebble.Cache { return pebble.NewCache(blocks + memTables) }

func (o *Options) defaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.FS = buffered{o.FS}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 8 << 20
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = 30 * time.Second
	}
	if o.FlushRows == 0 {
		o.FlushRows = 500_000
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
}

// Store is the state of one partition. It is owned by one goroutine at a time.
//
// Writes gather in an overlay until Commit, which the owner calls only after the Kafka transaction that carries them has
// committed: so Pebble never runs ahead of the changelog. Pebble has no write-ahead log; after a crash it holds an older
// consistent prefix, together with the changelog position that prefix belongs to, and a restore reads the rest.
type Store struct {
	db      *pebble.DB
	o       Options
	dir     string
	pos     Position
	known   bool
	meta    Meta
	hasMeta bool
	overlay map[string][]byte // nil value: deleted
	ordered []Row             // what overlay holds, in key order; nil until it is asked for
	reader  *pebble.Iterator  // of Get; nil until it is needed
	reads   int               // Gets of the reader
	filling atomic.Bool       // compactions wait; they begin with the first change of the tables after that

	unflushed int
	flushing  <-chan struct{}
	asked     chan struct{} // closed once Pebble has taken the wish for the last flush; nil before there is one
	fault     *fault
}

// fault is the first failure that one opening of Pebble met, in the foreground or on a goroutine of its own.
type fault struct {
	err    atomic.Pointer[error]
	met    chan struct{} // closed once err is set
	closed atomic.Bool   // Pebble is being closed: what it says from here on is no news
}

// Open opens the store in dir, making it if there is none.
func Open(dir string, o Options) (*Store, error) {
	o.defaults()
	s := &Store{o: o, dir: dir, overlay: map[string][]byte{}}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.o.FS.RemoveAll(s.wiped()); err != nil {
		return fmt.Errorf("remove wiped state: %w", err)
	}
	if err := makeFolder(s.o.FS, s.dir); err != nil {
		return err
	}
	if err := s.removeRuns(); err != nil {
		return err
	}
	if err := markFormat(s.o.FS, s.dir); err != nil {
		return fmt.Errorf("make state folder %s: %w", s.dir, s.sort(err))
	}
	f := &fault{met: make(chan struct{})}
	s.fault = f
	opts := &pebble.Options{
		FS:                          s.o.FS,
		Cache:                       s.o.Cache,
		DisableWAL:                  true,
		FormatMajorVersion:          format,
		MemTableSize:                s.o.MemTableBytes,
		MemTableStopWritesThreshold: 2,
		Logger:                      pebbleLog{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.failed(f, err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { s.failed(f, i.Details) },
		},
	}
	opts.L0StopWritesThreshold = stopWrites
	opts.Experimental.L0CompactionConcurrency = heldRuns // tables above one another for each compaction past lower
	opts.CompactionConcurrencyRange = func() (lower, upper int) {
		if s.filling.Load() {
			return 0, 1
		}
		return 1, 1
	}
	// A table that waits among the memtables is known to the log alone, and there is none.
	opts.Experimental.DisableIngestAsFlushable = func() bool { return true }
	opts.L0CompactionThreshold = compactFrom
	opts.ApplyCompressionSettings(compression)
	filter(opts)
	db, err := pebble.Open(s.dir, opts)
	if errors.Is(err, fs.ErrNotExist) { // a crash while it was made, at worst: Pebble syncs its folder once for several files
		err = fmt.Errorf("%w: %s: %w", ErrCorrupt, s.dir, err)
	}
	if err != nil {
		return fmt.Errorf("open state folder %s: %w", s.dir, s.sort(err))
	}
	s.db = db
	if err := s.load(); err != nil {
		s.db = nil
		f.closed.Store(true)
		return errors.Join(err, s.release(), db.Close())
	}
	return nil
}

// format is what a store's files have.
const format = pebble.FormatNewest

// markFormat says which format a new store has, in the file in which Pebble looks for it. Pebble makes a new store in the oldest format that
// it knows and brings it up to date step by step, each of which makes, syncs and removes a file: two fifths of the CPU time of a
// process that starts with empty folders.
func markFormat(fs vfs.FS, dir string) error {
	files, err := fs.List(dir)
	if err != nil || len(files) > 0 {
		return err
	}
	m, _, err := atomicfs.LocateMarkerInListing(fs, dir, "format-version", files)
	if err != nil {
		return err
	}
	return errors.Join(m.Move(format.String()), m.Close())
}

// compactFrom is the L0CompactionThreshold: Pebble compacts as soon as half as many flushed memtables lie above one another. With its
// own 4 every second flush of half a megabyte has all below it written anew. 16 would save a little more, and have readers of a row that
// often changes look into eight tables.
const compactFrom = 8

// compression leaves the blocks of upper levels as they are, which a compaction soon writes again, and compresses those of the lowest, where
// most rows are.
func compression() pebble.DBCompressionSettings {
	c := pebble.DBCompressionNone
	c.Name = "lowest level"
	c.Levels[len(c.Levels)-1] = sstable.FastestCompression
	return c
}

// filter gives the tables of every level a Bloom filter, ten bits a key: what nobody has seen before is asked for as often as what
// is known, and would otherwise be looked for in every table.
func filter(o *pebble.Options) {
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
}

// sort says what an error of Pebble means.
func (s *Store) sort(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrCorrupt), errors.Is(err, ErrDisk):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, s.dir, err)
	case diskFull(err):
		return s.diskError(err)
	}
	return err
}

// diskError is one line that says what to do.
func (s *Store) diskError(err error) error {
	what := "mend the disk or its rights"
	if diskFull(err) {
		what = "it is full: free some space"
	}
	return fmt.Errorf("%w: state folder %s: %w (%s and start again; nothing is lost, the changelog has all of it)", ErrDisk, s.dir, err, what)
}

// failed notes the first failure. Pebble tries a flush or compaction that failed again at once and for ever, so a disk that is
// full would look like a process that hangs.
func (s *Store) failed(f *fault, err error) {
	if f.closed.Load() {
		return
	}
	if err = s.sort(err); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrDisk) {
		err = s.diskError(err)
	}
	if !f.err.CompareAndSwap(nil, &err) {
		return
	}
	close(f.met)
	if errors.Is(err, ErrDisk) {
		s.o.Fatal(err)
	}
}

// Err is the first failure that the store met, nil for none. One that wraps ErrCorrupt ends when the store is discarded.
func (s *Store) Err() error {
	if err := s.fault.err.Load(); err != nil {
		return *err
	}
	return nil
}

// load reads position and meta row back from Pebble.
func (s *Store) load() error {
	s.pos, s.known = Position{}, false
	b, err := s.Get(positionKey)
	if err != nil {
		return err
	}
	if b != nil {
		if len(b) > 0 && b[0] > FormatVersion {
			return fmt.Errorf("%w: %s has version %d, this build knows up to %d: run the newer build, or delete the folder to restore it from the changelog",
				ErrFormat, s.dir, b[0], FormatVersion)
		}
		if len(b) != positionBytes || b[0] == 0 {
			return fmt.Errorf("%w: position row %x of state folder %s: delete the folder to restore it from the changelog", ErrRow, b, s.dir)
		}
		copy(s.pos.Topic[:], b[1:17])
		s.pos.Next = int64(binary.BigEndian.Uint64(b[17:]))
		s.known = true
	}
	return s.loadMeta()
}

func (s *Store) loadMeta() error {
	b, err := s.Get(metaKey)
	if err != nil {
		return err
	}
	return s.takeMeta(b)
}

// takeMeta takes over what the meta row says, nil for none.
func (s *Store) takeMeta(row []byte) error {
	s.meta, s.hasMeta = Meta{}, false
	if row == nil {
		return nil
	}
	if err := s.meta.decode(row); err != nil {
		return fmt.Errorf("state folder %s: %w", s.dir, err)
	}
	s.hasMeta = true
	return nil
}

// Position says how much of which changelog the store holds; false for an empty store.
func (s *Store) Position() (Position, bool) { return s.pos, s.known }

// Meta returns the newest committed meta row; false where there is none yet.
func (s *Store) Meta() (Meta, bool) { return s.meta, s.hasMeta }

// SetMeta stages the meta row of the running transaction.
func (s *Store) SetMeta(m Meta) { s.Set(metaKey, m.append(nil)) }

// Get implements View.
func (s *Store) Get(key []byte) (value []byte, err error) {
	if v, ok := s.overlay[string(key)]; ok {
		return v, nil
	}
	if s.reader == nil {
		// Pebble's own Get passes over the filters of the lowest level, where most tables are: it takes what is asked for to exist.
		it, err := s.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
		if err != nil {
			return nil, fmt.Errorf("read state row: %w", s.noted(err))
		}
		s.reader, s.reads = it, 0
	}
	if s.reads++; s.reads >= maxReads {
		defer func() { err = errors.Join(err, s.release()) }()
	}
	if s.reader.SeekPrefixGE(key) && bytes.Equal(s.reader.Key(), key) {
		v, err := s.reader.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read state row: %w", s.noted(err))
		}
		return append([]byte{}, v...), nil // an empty row is not an absent one
	}
	if err := s.reader.Error(); err != nil {
		return nil, fmt.Errorf("read state row: %w", s.noted(err))
	}
	return nil, nil
}

// maxReads is how many rows one reader reads. It keeps all memtables of its time, flushed or not, and what they take of the cache.
const maxReads = 64

// release lets go of what Get reads from, which does not see what is written after it and keeps what was deleted.
func (s *Store) release() error {
	if s.reader == nil {
		return nil
	}
	err := s.reader.Close()
	s.reader = nil
	return s.noted(err)
}

// Set implements View.
func (s *Store) Set(key, value []byte) {
	s.overlay[string(key)], s.ordered = append(make([]byte, 0, len(value)), value...), nil
}

// Delete implements View.
func (s *Store) Delete(key []byte) { s.overlay[string(key)], s.ordered = nil, nil }

// Scan implements View.
func (s *Store) Scan(prefix []byte, fn func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return fmt.Errorf("scan state: %w", s.noted(err))
	}
	err = s.merge(it, prefix, fn)
	return errors.Join(err, s.noted(it.Close()))
}

// Next implements View.
func (s *Store) Next(prefix, from []byte) (key []byte, err error) {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, fmt.Errorf("scan state: %w", s.noted(err))
	}
	for ok := it.First(); ok; ok = it.Next() {
		if v, staged := s.overlay[string(it.Key())]; !staged || v != nil {
			key = bytes.Clone(it.Key())
			break
		}
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("scan state: %w", s.noted(err))
	}
	for k, v := range s.overlay {
		if v != nil && k >= string(from) && strings.HasPrefix(k, string(prefix)) && (key == nil || k < string(key)) {
			key = []byte(k)
		}
	}
	return key, nil
}

// noted is the sorted error of a read; corruption stays with the store until it is discarded.
func (s *Store) noted(err error) error {
	if err = s.sort(err); errors.Is(err, ErrCorrupt) {
		s.failed(s.fault, err)
	}
	return err
}

// merge walks Pebble and the overlay together; the overlay wins.
func (s *Store) merge(it *pebble.Iterator, prefix []byte, fn func(key, value []byte) error) error {
	var staged []string
	for k := range s.overlay {
		if bytes.HasPrefix([]byte(k), prefix) {
			staged = append(staged, k)
		}
	}
	slices.Sort(staged)
	emit := func() error {
		k := staged[0]
		staged = staged[1:]
		if v := s.overlay[k]; v != nil {
			return fn([]byte(k), v)
		}
		return nil
	}
	for ok := it.First(); ok; ok = it.Next() {
		for len(staged) > 0 && staged[0] < string(it.Key()) {
			if err := emit(); err != nil {
				return err
			}
		}
		if len(staged) > 0 && staged[0] == string(it.Key()) {
			if err := emit(); err != nil {
				return err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan state: %w", s.noted(err))
		}
		if err := fn(it.Key(), v); err != nil {
			return err
		}
	}
	// Before the rest of the overlay: rows behind an error were not seen.
	if err := it.Error(); err != nil {
		return fmt.Errorf("scan state: %w", s.noted(err))
	}
	for len(staged) > 0 {
		if err := emit(); err != nil {
			return err
		}
	}
	return nil
}

// Rows yields every committed row of the stage, in key order, for dumps and comparisons.
func (s *Store) Rows() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{systemPrefix + 1}})
		if err != nil {
			panic(err) // only invalid options make this fail
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			if !yield(it.Key(), it.Value()) {
				return
			}
		}
		if err := it.Error(); err != nil {
			panic(fmt.Errorf("read state: %w", err)) // a dump that ends early would pass for the whole
		}
	}
}

// Changes yields the staged changes in key order: what the transaction must write to the changelog. A nil value is a
// tombstone.
func (s *Store) Changes() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, r := range s.staged() {
			if !yield(r.Key, r.Value) {
				return
			}
		}
	}
}

// staged are the staged changes in key order: the changelog wants them so, and a memtable takes them so at less cost.
func (s *Store) staged() []Row {
	if s.ordered == nil {
		s.ordered = make([]Row, 0, len(s.overlay))
		for k, v := range s.overlay {
			s.ordered = append(s.ordered, Row{Key: []byte(k), Value: v})
		}
		slices.SortFunc(s.ordered, func(a, b Row) int { return bytes.Compare(a.Key, b.Key) })
	}
	return s.ordered
}

// unstage forgets the staged changes.
func (s *Store) unstage() {
	clear(s.overlay)
	s.ordered = nil
}

// Dirty says how many rows are staged.
func (s *Store) Dirty() int { return len(s.overlay) }

// Commit writes the staged changes to Pebble together with the changelog position that holds them. Call it only after
// the transaction that wrote them to the changelog has committed. An error means that the local store is unusable; the
// changelog has everything.
//
// Where they are many they go in several batches, meta row and position in the last. Pebble keeps a batch of half a memtable beside the
// memtables, for a flush of its own, and as many of them as come. What a crash leaves of the earlier ones is what the changelog says
// behind the position, and a restore writes it again. The first commit is one batch all the same: rows without a position would
// pass for none.
func (s *Store) Commit(pos Position) error {
	if err := errors.Join(s.Err(), s.release()); err != nil {
		return err
	}
	rows := make([]Row, 0, len(s.overlay))
	size, limit := 0, int(s.o.MemTableBytes/4)
	var meta []Row
	for _, r := range s.staged() {
		if bytes.Equal(r.Key, metaKey) {
			meta = append(meta, r)
			continue
		}
		if size += len(r.Key) + len(r.Value) + batchRowBytes; size > limit && len(rows) > 0 && s.known {
			if err := s.write(rows, nil); err != nil {
				return err
			}
			rows, size = rows[:0], len(r.Key)+len(r.Value)+batchRowBytes
		}
		rows = append(rows, r)
	}
	s.unstage()
	return s.Apply(append(rows, meta...), pos)
}

// Rollback drops the staged changes.
func (s *Store) Rollback() { s.unstage() }

// Row is one changelog record; a nil Value is a tombstone.
type Row struct{ Key, Value []byte }

// Apply writes rows that the changelog already holds, in one Pebble batch with the position behind them.
func (s *Store) Apply(rows []Row, pos Position) error {
	if err := errors.Join(s.Err(), s.release()); err != nil {
		return err
	}
	if err := s.write(rows, &pos); err != nil {
		return err
	}
	s.pos, s.known = pos, true
	for _, r := range slices.Backward(rows) {
		if bytes.Equal(r.Key, metaKey) {
			return s.takeMeta(r.Value)
		}
	}
	return nil
}

// batchRowBytes is about what a batch takes for a row beside key and value.
const batchRowBytes = 8

// write writes rows in one batch, with the position behind them if there is one.
func (s *Store) write(rows []Row, pos *Position) error {
	size := positionBytes
	for _, r := range rows {
		size += len(r.Key) + len(r.Value) + batchRowBytes
	}
	b := s.db.NewBatchWithSize(size)
	defer b.Close()
	for _, r := range rows {
		var err error
		if r.Value == nil {
			err = b.Delete(r.Key, nil)
		} else {
			err = b.Set(r.Key, r.Value, nil)
		}
		if err != nil {
			return fmt.Errorf("write state: %w", err)
		}
	}
	if pos != nil {
		if err := b.Set(positionKey, pos.append(nil), nil); err != nil {
			return fmt.Errorf("write state: %w", err)
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("write state to %s: %w", s.dir, s.sort(err))
	}
	s.unflushed += max(1, len(rows)) // a position alone counts too
	return nil
}

// MaybeFlush starts a flush in the background when the store on disk is FlushRows behind, or anything at all behind and
// due is set: a quiet store must not fall behind its changelog for ever.
func (s *Store) MaybeFlush(due bool) error {
	if err := s.Err(); err != nil {
		return err
	}
	if s.unflushed == 0 || (!due && s.unflushed < s.o.FlushRows) {
		return nil
	}
	if s.flushing != nil {
		select {
		case <-s.flushing:
		default:
			return nil
		}
	}
	if err := s.release(); err != nil { // it would keep the memtable
		return err
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush state: %w", err)
	}
	s.flushing, s.unflushed = done, 0
	return nil
}

// FlushEvery is how often the owner should call MaybeFlush with due set.
func (s *Store) FlushEvery() time.Duration { return s.o.FlushEvery }

// Wipe removes everything and opens an empty store in the same place.
func (s *Store) Wipe() error {
	s.fault.closed.Store(true)
	err := errors.Join(s.release(), s.db.Close())
	s.db = nil // should the rest fail, Close has nothing left to do
	if err != nil {
		return fmt.Errorf("close state folder %s to wipe it: %w", s.dir, err)
	}
	if err := moveAway(s.o.FS, s.dir, s.wiped()); err != nil {
		return err
	}
	s.unstage()
	s.unflushed, s.flushing = 0, nil
	return s.open()
}

// Discard closes a store that is corrupt and removes it. What Pebble says to being closed does not matter any more.
func (s *Store) Discard() error {
	if s.db != nil {
		s.fault.closed.Store(true)
		if s.asked != nil { // Pebble panics where it is asked for a flush while it closes
			<-s.asked
		}
		if err := errors.Join(s.release(), s.db.Close()); err != nil {
			s.o.Log.Debug("close of a corrupt store", "dir", s.dir, "err", err)
		}
		s.db = nil
	}
	return Remove(s.o.FS, s.dir)
}

// Remove removes a store that does not open.
func Remove(disk vfs.FS, dir string) error {
	gone := dir + wipedSuffix
	if err := disk.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove wiped state: %w", err)
	}
	if err := moveAway(disk, dir, gone); err != nil {
		return err
	}
	if err := disk.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove wiped state: %w", err)
	}
	return nil
}

// moveAway takes a folder out of use in one step, so that no crash leaves half a store, which would not open.
func moveAway(fs vfs.FS, dir, to string) error {
	err := fs.Rename(dir, to)
	if err == nil {
		err = syncFolder(fs, fs.PathDir(dir))
	}
	if err != nil {
		return fmt.Errorf("wipe state folder: %w", err)
	}
	return nil
}

const wipedSuffix = ".wiped"

// wiped is where a folder is on its way out.
func (s *Store) wiped() string { return s.dir + wipedSuffix }

// Close flushes and closes the store, so that the next start has nothing to restore but what others wrote meanwhile. After
// a Wipe that failed it does nothing. On a disk that takes no more writes it returns at once and leaves Pebble to the end of
// the process: closing it would wait for a flush that can't succeed. What is on disk is an older prefix, as after a crash.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	released := s.release()
	if s.unflushed > 0 && s.Err() == nil {
		if err := s.lastFlush(); err != nil {
			return errors.Join(released, fmt.Errorf("flush state: %w", err), s.db.Close())
		}
	}
	if s.flushing != nil { // closing Pebble does not wait for a flush that has not begun
		select {
		case <-s.flushing:
		case <-s.fault.met:
		}
	}
	if errors.Is(s.Err(), ErrDisk) {
		return s.Err()
	}
	s.fault.closed.Store(true)
	return errors.Join(released, s.db.Close())
}

// lastFlush asks for a flush of all that there is. Pebble takes the wish itself only once there is room for another memtable, and
// where the disk breaks in that moment there never is.
func (s *Store) lastFlush() error {
	var flushing <-chan struct{}
	var err error
	asked, db := make(chan struct{}), s.db // the store may let go of it before the goroutine begins
	go func() {
		defer close(asked)
		flushing, err = db.AsyncFlush()
	}()
	s.asked = asked
	select {
	case <-asked:
	case <-s.fault.met:
		if errors.Is(s.Err(), ErrDisk) {
			return nil
		}
		<-asked
	}
	s.flushing = flushing
	return err
}

// Metrics are Pebble's own.
func (s *Store) Metrics() *pebble.Metrics { return s.db.Metrics() }

func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// makeFolder makes dir and what is missing above it, and syncs the folders that gained an entry: else a power failure could
// take the whole store with it.
func makeFolder(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeFolder(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	if err := syncFolder(fs, parent); err != nil {
		return fmt.Errorf("make state folder %s: %w", dir, err)
	}
	return nil
}

func syncFolder(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock takes the lock of a state folder, so that two processes never share one. The error of the second is one clear line.
func Lock(fs vfs.FS, dir string) (io.Closer, error) {
	if err := makeFolder(fs, dir); err != nil {
		return nil, err
	}
	l, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if errors.As(err, new(*os.PathError)) { // the file can't be made; a lock that is held is another kind of error
		return nil, fmt.Errorf("lock state folder: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("state folder %s is in use by another farcall process (stop it, or give this one another state.dir): %w", dir, err)
	}
	return l, nil
}

type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(format string, args ...any) { l.s.o.Log.Debug(fmt.Sprintf(format, args...)) }
func (l pebbleLog) Errorf(format string, args ...any) {
	l.s.o.Log.Error(fmt.Sprintf(format, args...))
}

// Fatalf is called on a write to the manifest that failed. Pebble requires that it does not return, so the goroutine ends here,
// with whatever it has locked, and Options.Fatal sees to the end of the process.
func (l pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	l.s.failed(l.s.fault, l.s.diskError(err))
	select {}
}

// diskFull says whether a write failed for want of room.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
