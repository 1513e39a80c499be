package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/state/crashdisk"
)

// TestIngestAgainstMap gives rows to a store in sorted tables and batches that overlap, at random, and to a map: the newest of
// each key is what counts, whichever way it came.
func TestIngestAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		s := open(t, fs)
		defer func() { closeStore(t, s) }()
		want := rows{}
		cold := true
		for next := range rapid.Int64Range(1, 8).Draw(t, "runs") {
			g := &gather{limit: 1 << 20}
			meta := Meta{Input: next + 1, Fingerprint: "f"}
			for range rapid.IntRange(0, 30).Draw(t, "rows") {
				k := rapid.SampledFrom([]string{"s", "wa", "wmethod\x00", "wmethod\x00\x80"}).Draw(t, "head") + rapid.StringMatching(`[ab\x{0}]{0,9}`).Draw(t, "tail")
				var v []byte
				if rapid.IntRange(0, 3).Draw(t, "kind") > 0 {
					v = rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "value")
					v = append([]byte{}, v...)
					want[k] = v
				} else {
					delete(want, k)
				}
				g.add([]byte(k), v)
				if rapid.IntRange(0, 9).Draw(t, "meta") == 0 {
					g.add(metaKey, (&Meta{Input: -1}).append(nil))
				}
			}
			g.add(metaKey, meta.append(nil))
			var err error
			if rapid.Bool().Draw(t, "sorted") {
				err = s.ingest(g, Position{topicA, next + 1}, cold)
			} else {
				err = s.applyBatch(g, Position{topicA, next + 1})
			}
			cold = false
			if err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				closeStore(t, s)
				s = open(t, fs)
			}
			if got := committed(t, s); !maps.EqualFunc(want, got, bytes.Equal) {
				t.Fatalf("rows %q, want %q", got, want)
			}
			if m, ok := s.Meta(); !ok || m != meta {
				t.Fatalf("meta %v %v, want %v", m, ok, meta)
			}
			if pos, known := s.Position(); !known || pos != (Position{topicA, next + 1}) {
				t.Fatalf("position %v %v, want %d", pos, known, next+1)
			}
		}
	})
}

// TestColdTombstones: a store without rows has nothing for a tombstone to bury, and one that stayed would slow scans for ever.
func TestColdTombstones(t *testing.T) {
	s := memStore(t)
	g := &gather{limit: 1 << 20}
	g.add([]byte("wa"), []byte("1"))
	g.add([]byte("wa"), nil)
	g.add([]byte("wb"), []byte("1"))
	if err := s.ingest(g, Position{topicA, 3}, true); err != nil {
		t.Fatal(err)
	}
	tables, err := s.db.SSTables(pebble.WithProperties())
	if err != nil {
		t.Fatal(err)
	}
	var entries, deletes, n uint64
	for _, level := range tables {
		for _, table := range level {
			n++
			entries += table.Properties.NumEntries
			deletes += table.Properties.NumDeletions
		}
	}
	if n != 1 || entries != 2 || deletes != 0 {
		t.Errorf("%d tables with %d rows and %d tombstones, want one with the position and one row", n, entries, deletes)
	}
	if got := committed(t, s); len(got) != 1 || got["wb"] == nil {
		t.Errorf("rows %v", got)
	}
}

// TestCompactionsWaitForTheRestore hands tables over that all cover the same keys: none is written again before the last, and all are behind
// it, with nothing more to ask for them.
func TestCompactionsWaitForTheRestore(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	rows := map[string]string{}
	run := func(n int) {
		t.Helper()
		g := &gather{limit: 1 << 20}
		for i := range 200 {
			k, v := fmt.Sprintf("w%d", i), fmt.Sprint(n, i)
			g.add([]byte(k), []byte(v))
			rows[k] = v
		}
		if err := s.ingest(g, Position{topicA, int64(n)}, n == 1); err != nil {
			t.Fatal(err)
		}
	}
	s.filling.Store(true)
	for n := range heldRuns - 1 {
		run(n + 1)
	}
	<-time.After(300 * time.Millisecond)                                                  // three looks of Pebble's scheduler
	if m := s.db.Metrics(); m.Compact.Count != 0 || m.Levels[0].Sublevels != heldRuns-2 { // the first went to the lowest level
		t.Errorf("%d compactions, %d tables above one another, want none and %d", m.Compact.Count, m.Levels[0].Sublevels, heldRuns-2)
	}
	s.filling.Store(false)
	run(heldRuns)
	for wait := 0; s.db.Metrics().Levels[0].Sublevels > 4; wait++ {
		if wait == 100 {
			t.Fatalf("%d tables above one another, and nobody compacts them", s.db.Metrics().Levels[0].Sublevels)
		}
		<-time.After(100 * time.Millisecond)
	}
	for k, v := range rows {
		if got := get(t, s, k); string(got) != v {
			t.Fatalf("row %s is %q, want %q", k, got, v)
		}
	}
}

// TestCrashOfColdRestore stops the machine before every write to the disk while a restore fills an empty store in sorted
// tables that overlap, goes on in batches, and flushes. What is found is empty, or exactly the rows of its position.
func TestCrashOfColdRestore(t *testing.T) {
	const runs = 12
	disk := crashdisk.New()
	h := &history{after: map[int64]snapshot{}}
	rng := rand.New(rand.NewPCG(5, 9))
	var mu sync.Mutex
	crashes := 0
	reached := map[int64]bool{}
	empty := 0
	crashRNG := rand.New(rand.NewPCG(17, 19))
	crash := func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			crashes++
			left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: crashRNG})
			s, err := Open(dir, Options{FS: left})
			if errors.Is(err, ErrCorrupt) && len(reached) == 0 { // half made, and so removed and made anew
				err = Remove(left, dir)
				if err == nil {
					s, err = Open(dir, Options{FS: left})
				}
			}
			if err != nil {
				t.Errorf("crash %d, before %v of %s: the store does not open: %v", crashes, op.Kind, op.Path, err)
				return nil
			}
			if d := h.difference(s); d != "" {
				t.Errorf("crash %d, before %v of %s: %s", crashes, op.Kind, op.Path, d)
			}
			if pos, known := s.Position(); known {
				reached[pos.Next] = true
			} else {
				empty++
			}
			names, err := left.List(dir)
			if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, runPrefix) }) {
				t.Errorf("crash %d leaves %v, error %v", crashes, names, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	s, err := Open(dir, Options{FS: errorfs.Wrap(disk, errorfs.InjectorFunc(crash)), MemTableBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	now := rows{}
	for n := int64(1); n <= runs; n++ {
		g := &gather{limit: 1 << 20}
		for range 60 {
			k := fmt.Sprintf("w%d", rng.IntN(150))
			if rng.IntN(4) == 0 {
				g.add([]byte(k), nil)
				delete(now, k)
				continue
			}
			v := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(400))
			g.add([]byte(k), v)
			now[k] = v
		}
		meta := Meta{Input: 10 * n, Fingerprint: "crash"}
		g.add(metaKey, meta.append(nil))
		h.mu.Lock()
		h.after[n] = snapshot{maps.Clone(now), meta}
		h.mu.Unlock()
		switch {
		case n <= 6 || n == 10: // the last one over rows in a memtable
			err = s.ingest(g, Position{topicA, n}, n == 1)
		default:
			err = s.applyBatch(g, Position{topicA, n})
		}
		if err == nil && n == 8 {
			err = s.MaybeFlush(true)
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := h.difference(s); d != "" {
			t.Errorf("run %d: %s", n, d)
		}
	}
	closeStore(t, s)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d crashes found the store at %d positions and %d times empty", crashes, len(reached), empty)
	if crashes < 100 || len(reached) < 7 || empty == 0 {
		t.Errorf("too few: %d crashes, %d positions, %d times empty", crashes, len(reached), empty)
	}
}

// TestRestoresShare: however many partitions come at once, no more than allowed hold a buffer.
func TestRestoresShare(t *testing.T) {
	r := NewRestores(2, 4<<20)
	a, err := r.take(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.take(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.take(ctx, 1<<20); err == nil {
		t.Fatal("a third restore has room where two are allowed")
	}
	small, err := r.take(t.Context(), 3)
	if err != nil {
		t.Fatal("a small restore waits for large ones")
	}
	for _, g := range []*gather{a, b, small} {
		if got := int64(cap(g.buf)); got > int64(g.limit) {
			t.Errorf("a buffer of %d bytes where %d are allowed", got, g.limit)
		}
		row := bytes.Repeat([]byte("x"), 1000)
		for !g.full(2 * len(row)) {
			g.add(row, row)
		}
		if used := len(g.buf) + gatheredBytes*len(g.rows); used > g.limit || used < g.limit*9/10 {
			t.Errorf("full at %d of %d bytes", used, g.limit)
		}
		r.give(g)
	}
	if a.buf != nil || b.buf != nil || small.buf != nil {
		t.Error("buffers are kept when nobody restores")
	}
	if least := int64(2 * 4 << 20); r.Bytes() < least {
		t.Errorf("%d bytes are said to be the most, and two buffers alone are %d", r.Bytes(), least)
	}
}

// BenchmarkSort sorts a full buffer of pane rows: many panes of each of two thousand methods.
func BenchmarkSort(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	g := &gather{limit: restoreBufferBytes}
	value := make([]byte, 200)
	for i := 0; ; i++ {
		key := PaneKey(fmt.Appendf(nil, "service%02d:Operation%05d", i%37, rng.IntN(2000)), int64(i/700)*3600, 0)
		if g.full(len(key) + len(value)) {
			break
		}
		g.add(key, value)
	}
	rows := slices.Clone(g.rows)
	for b.Loop() {
		copy(g.rows, rows)
		g.sort()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
}
