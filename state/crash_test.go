package state

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/farcall/farcall/state/crashdisk"
)

// history is what the store must hold after each commit, by position.
type history struct {
	mu    sync.Mutex
	after map[int64]snapshot
	log   [][]Row // the commit of each position: what the changelog holds
}

type snapshot struct {
	rows rows
	meta Meta
}

// difference says in what way a store is not the one of its position.
func (h *history) difference(s *Store) string {
	got := rows{}
	for k, v := range s.Rows() {
		got[string(k)] = bytes.Clone(v)
	}
	pos, known := s.Position()
	meta, hasMeta := s.Meta()
	if !known {
		if len(got) != 0 || hasMeta {
			return fmt.Sprintf("%d rows and meta %v without a position", len(got), hasMeta)
		}
		return ""
	}
	h.mu.Lock()
	want, ok := h.after[pos.Next]
	h.mu.Unlock()
	switch {
	case !ok || pos.Topic != topicA:
		return fmt.Sprintf("position %v was never committed", pos)
	case !hasMeta || meta != want.meta:
		return fmt.Sprintf("at position %d meta is %v, want %v", pos.Next, meta, want.meta)
	case !maps.EqualFunc(got, want.rows, bytes.Equal):
		return fmt.Sprintf("at position %d there are %d rows, and they are not the %d of its commit", pos.Next, len(got), len(want.rows))
	}
	return ""
}

// torn says in what way a store is neither the one of its position nor that one with some of the rows of the commit behind it.
func (h *history) torn(s *Store) string {
	pos, known := s.Position()
	h.mu.Lock()
	now, next := h.after[pos.Next], h.after[pos.Next+1]
	h.mu.Unlock()
	if !known || now.rows == nil {
		return h.difference(s)
	}
	if meta, _ := s.Meta(); pos.Topic != topicA || meta != now.meta {
		return fmt.Sprintf("at position %v meta is %v, want %v", pos, meta, now.meta)
	}
	got := rows{}
	for k, v := range s.Rows() {
		got[string(k)] = bytes.Clone(v)
	}
	is := func(in rows, k string) bool {
		v, ok := in[k]
		w, there := got[k]
		return ok == there && bytes.Equal(v, w)
	}
	all := maps.Clone(got)
	maps.Copy(all, now.rows)
	for k := range all {
		if !is(now.rows, k) && (next.rows == nil || !is(next.rows, k)) {
			return fmt.Sprintf("at position %d row %s is neither that of its commit nor that of the next", pos.Next, k)
		}
	}
	return ""
}

// TestCrash stops the machine before writes to the disk all through the life of a store, in Pebble's own flushes and
// compactions too, with none, some or all of what was not synced surviving. Whatever is found then is what some
// commit left: its rows, its position, its meta row; and of a commit that takes several batches, some of its rows more. The rest of the
// changelog brings it up to date.
func TestCrash(t *testing.T) {
	const commits = 250
	disk := crashdisk.New()
	h := &history{after: map[int64]snapshot{}}
	rng := rand.New(rand.NewPCG(3, 5))

	var mu sync.Mutex // of what follows: Pebble writes from several goroutines
	var crashes, behind, halves int
	reached := map[int64]bool{}
	crashRNG := rand.New(rand.NewPCG(11, 13))
	crash := func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		crashes++
		left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 80, 100}[crashes%4], RNG: crashRNG})
		s, err := Open(dir, Options{FS: left})
		if err != nil {
			t.Errorf("crash %d, before %v of %s: the store does not open: %v", crashes, op.Kind, op.Path, err)
			return nil
		}
		defer s.Close()
		if d := h.torn(s); d != "" {
			t.Errorf("crash %d, before %v of %s: %s", crashes, op.Kind, op.Path, d)
			return nil
		}
		pos, _ := s.Position()
		reached[pos.Next] = true
		whole := h.difference(s) == ""
		if !whole {
			halves++
		}
		if crashes%10 != 0 && whole {
			return nil
		}
		h.mu.Lock()
		log := h.log
		h.mu.Unlock()
		if pos.Next < int64(len(log)) {
			behind++
		}
		for n := pos.Next; n < int64(len(log)); n++ {
			if err := s.Apply(log[n], Position{topicA, n + 1}); err != nil {
				t.Errorf("crash %d: apply: %v", crashes, err)
			}
		}
		if d := h.difference(s); d != "" {
			t.Errorf("crash %d, brought up to date: %s", crashes, d)
		}
		return nil
	}

	s, err := Open(dir, Options{FS: errorfs.Wrap(disk, errorfs.InjectorFunc(crash)), MemTableBytes: 32 << 10, FlushRows: 200})
	if err != nil {
		t.Fatal(err)
	}
	now := rows{}
	for n := int64(1); n <= commits; n++ {
		for range 1 + rng.IntN(12) {
			k := fmt.Sprintf("w%d", rng.IntN(150))
			if rng.IntN(4) == 0 {
				s.Delete([]byte(k))
				delete(now, k)
				continue
			}
			v := make([]byte, rng.IntN(400))
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			s.Set([]byte(k), v)
			now[k] = v
		}
		if n%40 == 0 { // one that does not fit the memtable, and comes first
			v := make([]byte, 24<<10)
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			s.Set([]byte("w-large"), v)
			now["w-large"] = v
		}
		meta := Meta{Input: 10 * n, StreamTime: n, Fingerprint: "crash"}
		s.SetMeta(meta)
		var log []Row
		for k, v := range s.Changes() {
			log = append(log, Row{k, v})
		}
		h.mu.Lock()
		h.after[n] = snapshot{maps.Clone(now), meta}
		h.log = append(h.log, log)
		h.mu.Unlock()
		commit(t, s, n)
		if err := s.MaybeFlush(n%30 == 0); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d crashes found the store at %d positions", crashes, len(reached))
	if crashes < 200 || len(reached) < 10 || behind == 0 || halves == 0 {
		t.Errorf("too few: %d crashes, %d positions, %d of them behind the changelog, %d between two batches", crashes, len(reached), behind, halves)
	}
	if s, err = Open(dir, Options{FS: disk.CrashClone(vfs.CrashCloneCfg{})}); err != nil {
		t.Fatal(err)
	}
	if pos, _ := s.Position(); pos.Next != commits || h.difference(s) != "" {
		t.Errorf("after a clean stop: position %d of %d; %s", pos.Next, commits, h.difference(s))
	}
	closeStore(t, s)
}
