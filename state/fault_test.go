package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/farcall/farcall/state/crashdisk"
)

// fill puts rows that don't compress into a store on fs and closes it.
func fill(t *testing.T, fs vfs.FS) rows {
	t.Helper()
	s := open(t, fs)
	rng := rand.NewChaCha8([32]byte{3})
	for i := range 400 {
		v := make([]byte, 300)
		rng.Read(v)
		s.Set(fmt.Appendf(nil, "w%04d", i), v)
	}
	commit(t, s, 400)
	want := committed(t, s)
	closeStore(t, s)
	return want
}

// flip turns over bits of every file whose name ends so, in place, and says how many files there were.
func flip(t *testing.T, fs vfs.FS, suffix string, at func(size int) []int) (files int) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !strings.HasSuffix(n, suffix) && !strings.HasPrefix(n, suffix) {
			continue
		}
		path := fs.PathJoin(dir, n)
		f, err := fs.OpenReadWrite(path, "test")
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, info.Size())
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for _, i := range at(len(b)) {
			if _, err := f.WriteAt([]byte{b[i] ^ 0x10}, int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		files++
	}
	return files
}

// TestFlipsInData: a bit that turned over in the blocks of rows is found when they are read. The store says so from then on,
// takes no more commits, and can be discarded; an empty one then stands in its place.
func TestFlipsInData(t *testing.T) {
	fs := vfs.NewMem()
	want := fill(t, fs)
	s := open(t, fs)
	all := func(size int) (at []int) { // the first half is blocks of rows
		for i := 100; i < size/2; i += 500 {
			at = append(at, i)
		}
		return at
	}
	if flip(t, fs, ".sst", all) == 0 {
		t.Fatal("no table to damage")
	}
	found := 0
	for k, v := range want {
		got, err := s.Get([]byte(k))
		switch {
		case errors.Is(err, ErrCorrupt):
			found++
		case err != nil:
			t.Fatalf("row %q: %v", k, err)
		case !bytes.Equal(got, v):
			t.Fatalf("row %q reads as something else, and nobody noticed", k)
		}
	}
	if found == 0 {
		t.Fatal("nothing was found")
	}
	if err := s.Scan([]byte("w"), func(_, _ []byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a scan over it says %v", err)
	}
	if err := s.Err(); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the store says %v, want corruption, and its folder", err)
	}
	s.Set([]byte("wnew"), nil)
	if err := s.Commit(Position{topicA, 401}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a commit on a corrupt store: %v", err)
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs)
	defer closeStore(t, s)
	if _, known := s.Position(); known || len(committed(t, s)) != 0 {
		t.Error("something is left of a discarded store")
	}
}

// TestFlipsAtOpen: damage anywhere in a store's files is either found when it is opened, or when its rows are read, or hurts
// nothing. No row is ever wrong, and what is found can be removed.
func TestFlipsAtOpen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	opened, read, harmless := 0, 0, 0
	for range 60 {
		fs := vfs.NewMem()
		want := fill(t, fs)
		files := []string{".sst", "MANIFEST"}[rng.IntN(2)]
		flip(t, fs, files, func(size int) []int { return []int{rng.IntN(size)} })
		s, err := Open(dir, Options{FS: fs})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("a flip in %s: %v, want corruption", files, err)
			}
			opened++
			if err := Remove(fs, dir); err != nil {
				t.Fatal(err)
			}
			s = open(t, fs)
			if _, known := s.Position(); known {
				t.Error("a removed store has a position")
			}
			closeStore(t, s)
			continue
		}
		got := rows{}
		err = s.Scan([]byte("w"), func(k, v []byte) error {
			got[string(k)] = bytes.Clone(v)
			return nil
		})
		switch {
		case errors.Is(err, ErrCorrupt):
			read++
			if err := s.Discard(); err != nil {
				t.Fatal(err)
			}
			continue
		case err != nil:
			t.Errorf("a flip in %s: %v, want corruption", files, err)
		case s.known && !maps.EqualFunc(want, got, bytes.Equal):
			t.Errorf("a flip in %s changed rows, and nobody noticed", files)
		}
		harmless++
		closeStore(t, s)
	}
	t.Logf("%d found at the opening, %d at a read, %d harmless", opened, read, harmless)
	if opened == 0 || read == 0 {
		t.Error("too few kinds of damage")
	}
}

// TestDiskFull: a disk without room is told of once, in a line that says what to do, whatever Pebble was at: a flush, a table
// of a restore, its manifest. Nobody waits for ever to close the store. What is on disk is what some commit left, and with room
// again the store goes on.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		what string
		hits func(errorfs.Op) bool
	}{
		{"flush", func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") }},
		{"manifest", func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST") }},
	} {
		t.Run(c.what, func(t *testing.T) {
			disk := crashdisk.New()
			var full atomic.Bool
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && c.hits(op) {
					return syscall.ENOSPC
				}
				return nil
			}))
			fatal := make(chan error, 10)
			s, err := Open(dir, Options{FS: fs, Fatal: func(err error) { fatal <- err }})
			if err != nil {
				t.Fatal(err)
			}
			s.Set([]byte("wa"), []byte("1"))
			commit(t, s, 1)
			if err := s.MaybeFlush(true); err != nil {
				t.Fatal(err)
			}
			<-s.flushing
			full.Store(true)
			s.Set([]byte("wa"), []byte("2"))
			commit(t, s, 2)
			if err := s.MaybeFlush(true); err != nil {
				t.Fatal(err)
			}
			err = <-fatal
			if !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") ||
				!strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "free some space and start again; nothing is lost") {
				t.Errorf("told %q", err)
			}
			if err := s.Apply(nil, Position{topicA, 3}); !errors.Is(err, ErrDisk) {
				t.Errorf("a commit on a full disk: %v", err)
			}
			if err := s.MaybeFlush(true); !errors.Is(err, ErrDisk) {
				t.Errorf("a flush on a full disk: %v", err)
			}
			if err := s.Close(); !errors.Is(err, ErrDisk) {
				t.Errorf("closing says %v", err)
			}
			if len(fatal) > 0 {
				t.Errorf("told again: %v", <-fatal)
			}
			// The process ends here. The next finds room.
			next := open(t, disk.CrashClone(vfs.CrashCloneCfg{}))
			defer closeStore(t, next)
			if pos, _ := next.Position(); pos.Next != 1 || string(get(t, next, "wa")) != "1" {
				t.Errorf("position %d and row %q are left, want those of the first commit", pos.Next, get(t, next, "wa"))
			}
			next.Set([]byte("wa"), []byte("2"))
			commit(t, next, 2)
		})
	}
}

// TestDiskFullWhileRestoring: a table that does not fit is no table, and the position stays where it was.
func TestDiskFullWhileRestoring(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	s := open(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, runPrefix) {
			return syscall.ENOSPC
		}
		return nil
	})))
	g := &gather{limit: 1 << 20}
	g.add([]byte("wa"), []byte("1"))
	if err := s.ingest(g, Position{topicA, 1}, true); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	g.reset()
	g.add([]byte("wa"), []byte("2"))
	if err := s.ingest(g, Position{topicA, 2}, false); !errors.Is(err, ErrDisk) {
		t.Errorf("error %v, want one that says that the disk is full", err)
	}
	if pos, _ := s.Position(); pos.Next != 1 || string(get(t, s, "wa")) != "1" {
		t.Errorf("position %d, row %q", pos.Next, get(t, s, "wa"))
	}
	full.Store(false)
	if err := s.ingest(g, Position{topicA, 2}, false); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, mem)
	defer closeStore(t, s)
	if pos, _ := s.Position(); pos.Next != 2 || string(get(t, s, "wa")) != "2" {
		t.Errorf("with room again: position %d, row %q", pos.Next, get(t, s, "wa"))
	}
}

// BenchmarkColdFill is the store alone: a million rows, 120 bytes in the median and 300 on average, handed over from memory
// to an empty store on disk: in sorted tables, by one goroutine and by two with a store each, as a process restores, and in batches,
// one after the other in each iteration.
func BenchmarkColdFill(b *testing.B) {
	const n = 1_000_000
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	type pair struct{ key, value []byte }
	pairs := make([]pair, n)
	total := 0
	for i := range pairs {
		key := PaneKey(fmt.Appendf(nil, "service%02d:Operation%05d", i%37, rng.IntN(2000)), int64(i/700)*3600, 0)
		size := 80
		if i%2 == 0 {
			size = 40 + rng.IntN(80)
		} else if size = 85 + int(rng.ExpFloat64()*360); size > 4000 {
			size = 4000
		}
		at := rng.IntN(len(noise) - size)
		pairs[i] = pair{key, noise[at : at+size]}
		total += len(key) + size
	}
	fill := func(cold bool) time.Duration {
		s, err := Open(b.TempDir(), Options{MemTableBytes: 512 << 10})
		if err != nil {
			b.Error(err)
			return 0
		}
		began := time.Now()
		g := &gather{limit: restoreBufferBytes}
		first := true
		put := func(next int) {
			pos := Position{topicA, int64(next)}
			var err error
			if cold {
				s.filling.Store(next < n)
				err = s.ingest(g, pos, first)
			} else {
				err = s.applyBatch(g, pos)
			}
			if err != nil {
				b.Error(err)
			}
			first = false
			g.reset()
		}
		for i, p := range pairs {
			if g.full(len(p.key)+len(p.value)) || !cold && g.bytes() >= batchBytes {
				put(i)
			}
			g.add(p.key, p.value)
		}
		put(n)
		if err := s.Close(); err != nil { // with all of it on disk
			b.Error(err)
		}
		return time.Since(began)
	}
	var tables, two, batches time.Duration
	for b.Loop() {
		tables += fill(true)
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() { fill(true) })
		both.Go(func() { fill(true) })
		both.Wait()
		two += time.Since(began)
		batches += fill(false)
	}
	rows := float64(n) * float64(b.N)
	b.ReportMetric(rows/tables.Seconds(), "tables-rows/s")
	b.ReportMetric(float64(total)*float64(b.N)/tables.Seconds()/1e6, "tables-MB/s")
	b.ReportMetric(2*rows/two.Seconds(), "two-stores-rows/s")
	b.ReportMetric(2*float64(total)*float64(b.N)/two.Seconds()/1e6, "two-stores-MB/s")
	b.ReportMetric(rows/batches.Seconds(), "batches-rows/s")
	b.ReportMetric(batches.Seconds()/tables.Seconds(), "ratio")
	b.ReportMetric(float64(total)/n, "B/row")
}
