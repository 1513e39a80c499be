package state

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// restoreFetchBytes bounds one answer of the broker, compressed. A client holds two, one to read and one on its way.
	restoreFetchBytes = 2 << 20
	// restoreFetchWait is how long a broker may wait for rows that are not there yet. A client that goes on to the next partition
	// waits for this answer first.
	restoreFetchWait = 50 * time.Millisecond
	// fetchExpansion is an estimate of how far rows expand when compression is taken off them.
	fetchExpansion = 4
	// batchBytes bounds the rows that a restore writes in one Pebble batch; 8 MB batches measured fastest where rows arrive
	// unsorted.
	batchBytes = 8 << 20
	// ingestBytes is the least that is worth a sorted table of its own.
	ingestBytes = 1 << 20
	// heldRuns is how many tables a restore of an empty store takes over before the first compaction. Each covers all keys, so that
	// compactions meanwhile would write the same rows again and again: they took a third of the CPU of BenchmarkColdFill.
	heldRuns = 20
	// stopWrites is at how many levels of such tables Pebble makes writes wait for compactions: past what a restore may leave.
	stopWrites = heldRuns + 12
	// restoreBufferBytes is the default size of the buffer in which a restore gathers rows.
	restoreBufferBytes = 16 << 20
	// smallOffsets is how far behind a store may be for its restore to count as a small one: about a megabyte of rows.
	smallOffsets = 4000
	// smallRestores is how many small ones run at a time. After a clean stop all are small, and a process waits for the
	// broker's answers more than for anything else.
	smallRestores = 8
)

// gather is rows of a changelog on their way into a store, packed into one buffer, so that a row costs no allocation.
type gather struct {
	limit int // bytes of buffer and index together
	buf   []byte
	rows  []gathered
	small bool
	cl    *kgo.Client // that reads; kept for the next restore, since a connection costs more than a small one reads
}

// reader is a client that reads changelogs.
func (g *gather) reader(opts []kgo.Opt, pools *fetchPools) (_ *kgo.Client, err error) {
	if g.cl == nil {
		g.cl, err = kgo.NewClient(append(slices.Clone(opts),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.KeepControlRecords(),
			kgo.ConsumeResetOffset(kgo.NoResetOffset()),
			kgo.FetchMaxBytes(restoreFetchBytes),
			kgo.FetchMaxPartitionBytes(restoreFetchBytes),
			kgo.FetchMaxWait(restoreFetchWait),
			kgo.MaxDecompressBatchBytes(64<<20),
			kgo.WithPools(pools),
		)...)
	}
	if err != nil {
		err = fmt.Errorf("restore client: %w", err)
	}
	return g.cl, err
}

// hangUp closes the client.
func (g *gather) hangUp() {
	if g.cl != nil {
		g.cl.Close()
		g.cl = nil
	}
}

// gathered is one row in the buffer of a gather: its key is followed by its value.
type gathered struct {
	head  uint64 // first bytes of the key behind what all keys share, so that most comparisons end here
	at    uint32
	key   uint32
	value int32 // -1: tombstone
}

const gatheredBytes = 24

func (g *gather) reset()     { g.buf, g.rows = g.buf[:0], g.rows[:0] }
func (g *gather) len() int   { return len(g.rows) }
func (g *gather) bytes() int { return len(g.buf) }

// full says whether a row of n bytes has no room any more. The first always has.
func (g *gather) full(n int) bool {
	return len(g.rows) > 0 && len(g.buf)+n+gatheredBytes*(len(g.rows)+1) > g.limit
}

func (g *gather) add(key, value []byte) {
	r := gathered{at: uint32(len(g.buf)), key: uint32(len(key)), value: int32(len(value))}
	if value == nil {
		r.value = -1
	}
	g.buf = append(append(g.buf, key...), value...)
	g.rows = append(g.rows, r)
}

func (g *gather) key(r *gathered) []byte { return g.buf[r.at : r.at+r.key] }

// value is nil for a tombstone, and not for an empty row.
func (g *gather) value(r *gathered) []byte {
	if r.value < 0 {
		return nil
	}
	at := r.at + r.key
	return g.buf[at : at+uint32(r.value)]
}

// sort orders the rows by key, the newest of a key first.
func (g *gather) sort() { g.sortFrom(g.rows, 0) }

// fewRows are compared whole rather than sorted by heads of their own.
const fewRows = 12

// sortFrom sorts rows whose keys are the same up to from: by the eight bytes behind all that they share, which lie in the rows
// themselves, and then what is equal in those by the next eight. Comparing whole keys instead goes to the buffer for both of
// them each time, and takes half as long again (BenchmarkSort).
func (g *gather) sortFrom(rows []gathered, from int) {
	if len(rows) <= fewRows {
		slices.SortFunc(rows, g.compare)
		return
	}
	shared := g.key(&rows[0])
	for i := range rows {
		k := g.key(&rows[i])
		n := from
		for n < len(shared) && n < len(k) && shared[n] == k[n] {
			n++
		}
		shared = shared[:n]
	}
	from = len(shared)
	ended := 0 // keys that end within their heads: what is padded does not tell them from zeroes
	for i := range rows {
		var head [8]byte
		if copy(head[:], g.key(&rows[i])[from:]) < len(head) {
			ended++
		}
		rows[i].head = binary.BigEndian.Uint64(head[:])
	}
	slices.SortFunc(rows, func(a, b gathered) int { return cmp.Compare(a.head, b.head) })
	for begin, end := 0, 0; begin < len(rows); begin = end {
		for end = begin + 1; end < len(rows) && rows[end].head == rows[begin].head; {
			end++
		}
		switch same := rows[begin:end]; {
		case len(same) == 1:
		case ended > 0:
			slices.SortFunc(same, g.compare)
		default:
			g.sortFrom(same, from+8)
		}
	}
}

// compare orders by key, the newest of a key first.
func (g *gather) compare(a, b gathered) int {
	if c := bytes.Compare(g.key(&a), g.key(&b)); c != 0 {
		return c
	}
	return cmp.Compare(b.at, a.at) // later rows lie further behind
}

// Restores is what the restores of a process share, so that what they take together is bounded however many partitions come
// at once.
type Restores struct {
	buffer      int
	large       chan *gather
	small       chan *gather
	pools       fetchPools
	largeNumber int
	smallBelow  int64         // offsets
	giving      chan struct{} // holds one while somebody gives
}

// NewRestores allows parallel restores at a time, each with a buffer of so many bytes; and, besides, a few small ones.
func NewRestores(parallel, buffer int) *Restores {
	r := &Restores{
		buffer: buffer, large: make(chan *gather, parallel), small: make(chan *gather, smallRestores), giving: make(chan struct{}, 1),
		largeNumber: parallel, smallBelow: smallOffsets,
	}
	for range parallel {
		r.large <- &gather{limit: buffer}
	}
	for range smallRestores {
		r.small <- &gather{limit: ingestBytes, small: true}
	}
	return r
}

// Bytes is the most that so many restores take: for each the buffer and its index, two batches of Pebble's or the blocks of a
// table, two answers of the broker as they came and one of them unpacked.
func (r *Restores) Bytes() int64 {
	return int64(r.largeNumber)*(int64(r.buffer)+2*min(batchBytes, int64(r.buffer))+(2+fetchExpansion)*restoreFetchBytes) +
		smallRestores*(3*ingestBytes)
}

// take waits for the room to read so many offsets.
func (r *Restores) take(ctx context.Context, offsets int64) (*gather, error) {
	from := r.large
	if offsets <= r.smallBelow {
		from = r.small
	}
	select {
	case g := <-from:
		if g.buf == nil {
			g.buf = make([]byte, 0, g.limit) // growing it would hold two of them for a while
		}
		return g, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// give hands the room on. Buffers and clients are let go once nobody waits for them, for a process restores seldom. One gives at
// a time: else a client that comes back while others are being closed would stay open until the next restore.
func (r *Restores) give(g *gather) {
	r.giving <- struct{}{}
	defer func() { <-r.giving }()
	g.reset()
	room, all := r.large, r.largeNumber
	if g.small {
		room, all = r.small, smallRestores
		g.buf, g.rows = nil, nil
	}
	room <- g
	if len(room) < all {
		return
	}
	for range all {
		select {
		case idle := <-room:
			idle.buf, idle.rows = nil, nil
			idle.hangUp()
			room <- idle
		default:
		}
	}
}

// fetchPools take back what the client unpacked, so that a restore makes no garbage of its records.
type fetchPools struct{ unpacked, records sync.Pool }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPools) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if b, ok := p.unpacked.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, fetchExpansion*len(compressed))
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPools) PutDecompressBytes(b []byte) { p.unpacked.Put(&b) }

// GetRecords implements kgo.PoolRecords.
func (p *fetchPools) GetRecords(n int) []kgo.Record {
	if r, ok := p.records.Get().(*[]kgo.Record); ok && cap(*r) >= n {
		return *r
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *fetchPools) PutRecords(r []kgo.Record) { p.records.Put(&r) }

// applyBatch writes what was gathered as Apply does.
func (s *Store) applyBatch(g *gather, pos Position) error {
	rows := make([]Row, len(g.rows))
	for i := range g.rows {
		rows[i] = Row{Key: g.key(&g.rows[i]), Value: g.value(&g.rows[i])}
	}
	return s.Apply(rows, pos)
}

const runPrefix = "run-"

// ingest writes what was gathered, and the position behind it, as one sorted table that Pebble takes over whole. It is twice as
// fast as batches (BenchmarkColdFill), since rows pass no memtable and no compaction. Of each key the newest row is written.
//
// The position row is part of the table. So they come to be by one edit of the manifest, and no crash leaves one without the
// other: a memtable, which is lost in a crash, must never hold the position of rows on disk, nor the reverse. A later table
// shadows an earlier one, for Pebble numbers them as it takes them. Rows that wait in the memtable are flushed first.
//
// Into a store without rows no tombstones need to be written.
func (s *Store) ingest(g *gather, pos Position, empty bool) error {
	if err := s.Err(); err != nil {
		return err
	}
	path := s.o.FS.PathJoin(s.dir, fmt.Sprintf("%s%d", runPrefix, pos.Next))
	if err := s.writeRun(path, g, pos, empty); err != nil {
		return fmt.Errorf("write rows to %s: %w", s.dir, s.sort(err))
	}
	if err := s.release(); err != nil {
		return err
	}
	if err := s.db.Ingest(context.Background(), []string{path}); err != nil {
		return fmt.Errorf("take over rows in %s: %w", s.dir, s.sort(err))
	}
	s.pos, s.known = pos, true
	return s.loadMeta()
}

// writeRun writes the table.
func (s *Store) writeRun(path string, g *gather, pos Position, empty bool) (err error) {
	g.sort()
	f, err := s.o.FS.Create(path, ingestion)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), s.tables())
	defer func() { err = errors.Join(err, w.Close()) }()
	var last []byte
	written := false
	position := func() error {
		written = true
		return w.Set(positionKey, pos.append(nil))
	}
	for i := range g.rows {
		k := g.key(&g.rows[i])
		if i > 0 && bytes.Equal(k, last) {
			continue
		}
		last = k
		if !written && bytes.Compare(k, positionKey) > 0 {
			if err := position(); err != nil {
				return err
			}
		}
		switch v := g.value(&g.rows[i]); {
		case v != nil:
			err = w.Set(k, v)
		case !empty:
			err = w.Delete(k)
		}
		if err != nil {
			return err
		}
	}
	if !written {
		return position()
	}
	return nil
}

// tables is how Pebble itself would write a table. Not one of its lowest level, whatever level it may come to lie in: there a
// tombstone counts as obsolete from the start, and the row that it buries would be seen again.
func (s *Store) tables() sstable.WriterOptions {
	o := &pebble.Options{}
	filter(o)
	o.EnsureDefaults()
	w := o.MakeWriterOptions(0, s.db.TableFormat())
	w.WritingToLowestLevel = false
	return w
}

// removeRuns removes what a crash left of a table before Pebble took it over.
func (s *Store) removeRuns() error {
	names, err := s.o.FS.List(s.dir)
	if err != nil {
		return fmt.Errorf("read state folder: %w", err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, runPrefix) {
			if err := s.o.FS.Remove(s.o.FS.PathJoin(s.dir, n)); err != nil {
				return fmt.Errorf("remove half a table: %w", err)
			}
		}
	}
	return nil
}
