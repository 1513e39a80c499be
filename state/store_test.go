package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/state/crashdisk"
)

const dir = "state/detect/0"

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func open(t fataler, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(dir, Options{FS: fs, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t fataler, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// committed are the rows of a stage in the store, as Rows yields them.
func committed(t fataler, s *Store) rows {
	t.Helper()
	out := rows{}
	last := ""
	for k, v := range s.Rows() {
		if string(k) <= last {
			t.Fatalf("row %q comes behind %q", k, last)
		}
		last = string(k)
		out[last] = bytes.Clone(v)
	}
	return out
}

// scanned are the rows that Scan shows below a prefix.
func scanned(t fataler, v View, prefix string) rows {
	t.Helper()
	out := rows{}
	last := ""
	err := v.Scan([]byte(prefix), func(k, v []byte) error {
		if string(k) <= last {
			t.Fatalf("row %q comes behind %q", k, last)
		}
		last = string(k)
		out[last] = bytes.Clone(v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t fataler, v View, key string) []byte {
	t.Helper()
	b, err := v.Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var topicA, topicB = TopicID{15: 1}, TopicID{0: 0xAA, 15: 2}

func commit(t fataler, s *Store, next int64) {
	t.Helper()
	if err := s.Commit(Position{topicA, next}); err != nil {
		t.Fatal(err)
	}
}

func TestOverlay(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	key, value := []byte("wk"), []byte("one")
	s.Set(key, value)
	key[0], value[0] = 'X', 'X' // both were copied
	if got := get(t, s, "wk"); string(got) != "one" {
		t.Errorf("before the commit: %q", got)
	}
	if len(committed(t, s)) != 0 {
		t.Error("a staged row counts as committed")
	}
	commit(t, s, 1)
	s.Set([]byte("wk"), []byte("two"))
	s.Delete([]byte("wk"))
	if got := get(t, s, "wk"); got != nil {
		t.Errorf("after a staged delete: %q", got)
	}
	if s.Dirty() != 1 {
		t.Errorf("%d rows staged, want 1", s.Dirty())
	}
	for k, v := range s.Changes() {
		if string(k) != "wk" || v != nil {
			t.Errorf("change %q = %q, want a tombstone", k, v)
		}
	}
	s.Rollback()
	if got := get(t, s, "wk"); string(got) != "one" || s.Dirty() != 0 {
		t.Errorf("after the rollback: %q, %d rows staged", got, s.Dirty())
	}
	s.Set([]byte("empty"), nil)
	for _, when := range []string{"staged", "committed"} {
		if got := get(t, s, "empty"); got == nil || len(got) != 0 {
			t.Errorf("an empty row that is %s reads as %v: it must differ from no row", when, got)
		}
		commit(t, s, 2)
	}
}

func TestChangesAreOrdered(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	for _, k := range []string{"wz", "a1", "wa", "sb"} {
		s.Set([]byte(k), []byte(k))
	}
	s.SetMeta(Meta{Input: 1})
	var got []string
	for k := range s.Changes() {
		got = append(got, string(k))
	}
	if want := []string{"\x00m", "a1", "sb", "wa", "wz"}; !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
	for range s.Changes() {
		break // a consumer may stop
	}
	commit(t, s, 1)
	for range s.Rows() {
		break
	}
}

// TestStoreAgainstMap does what stages do, at random, to a store and to a map.
func TestStoreAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		s := open(t, fs)
		defer func() { closeStore(t, s) }()
		staged, settled := rows{}, rows{} // what is seen, and what the last commit left
		key := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"w", "wa", "s", "\xFF", "\xFF\xFF"}).Draw(t, "head") + rapid.StringMatching(`[ab\x{0}]{0,3}`).Draw(t, "tail")
		})
		next := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch op := rapid.IntRange(0, 99).Draw(t, "op"); {
			case op < 45:
				k, v := key.Draw(t, "key"), rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "value")
				s.Set([]byte(k), v)
				staged[k] = append([]byte{}, v...)
			case op < 65:
				k := key.Draw(t, "key")
				s.Delete([]byte(k))
				delete(staged, k)
			case op < 80:
				next++
				commit(t, s, next)
				settled = maps.Clone(staged)
			case op < 87:
				s.Rollback()
				staged = maps.Clone(settled)
			case op < 92:
				if err := s.MaybeFlush(true); err != nil {
					t.Fatal(err)
				}
			default: // a restart: what was staged is gone
				closeStore(t, s)
				s = open(t, fs)
				staged = maps.Clone(settled)
			}
			k := key.Draw(t, "asked")
			if got := get(t, s, k); !bytes.Equal(got, staged[k]) || (got == nil) != (staged[k] == nil) {
				t.Fatalf("row %q reads as %v, want %v", k, got, staged[k])
			}
			prefix := k[:rapid.IntRange(1, len(k)).Draw(t, "prefix")]
			want := rows{}
			for k, v := range staged {
				if strings.HasPrefix(k, prefix) {
					want[k] = v
				}
			}
			if d := cmp.Diff(want, scanned(t, s, prefix)); d != "" {
				t.Fatalf("rows below %q (-want +got):\n%s", prefix, d)
			}
			if d := cmp.Diff(settled, committed(t, s)); d != "" {
				t.Fatalf("committed rows (-want +got):\n%s", d)
			}
			if pos, known := s.Position(); known != (next > 0) || known && pos != (Position{topicA, next}) {
				t.Fatalf("position %v %v, want %d", pos, known, next)
			}
		}
	})
}

func TestScanStops(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	s.Set([]byte("wb"), nil)
	s.Set([]byte("wd"), nil)
	commit(t, s, 1)
	enough := errors.New("enough")
	for _, stage := range []string{"wa", "wb", "wc", "we"} {
		s.Rollback()
		s.Set([]byte(stage), nil)
		for stop := 1; stop <= 2; stop++ {
			n := 0
			err := s.Scan([]byte("w"), func(_, _ []byte) error {
				if n++; n == stop {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) || n != stop {
				t.Errorf("with %s staged: %d rows and error %v, want to stop at row %d", stage, n, err, stop)
			}
		}
	}
	s.Set([]byte("wz"), nil)
	last := 0
	err := s.Scan([]byte("w"), func(k, _ []byte) error {
		if last++; string(k) == "wz" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("an error at the last row of the overlay is lost: %v", err)
	}
}

func TestPositionAndMetaPersist(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if _, known := s.Position(); known {
		t.Error("a new store has a position")
	}
	if _, ok := s.Meta(); ok {
		t.Error("a new store has a meta row")
	}
	want := Meta{Input: 42, StreamTime: 1_700_000_000_000, Fingerprint: "pane=1h"}
	s.SetMeta(want)
	s.Set([]byte("wk"), []byte("v"))
	if _, ok := s.Meta(); ok {
		t.Error("a staged meta row counts as committed")
	}
	if err := s.Commit(Position{topicB, 1 << 40}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m, ok := s.Meta(); !ok || m != want {
			t.Errorf("meta %+v %v, want %+v", m, ok, want)
		}
		if p, known := s.Position(); !known || p != (Position{topicB, 1 << 40}) {
			t.Errorf("position %+v %v", p, known)
		}
		if got := committed(t, s); len(got) != 1 {
			t.Errorf("rows %v: position and meta must not be among them", got)
		}
		closeStore(t, s)
		s = open(t, fs)
	}
	// The meta row is a row like others: its tombstone takes it away.
	if err := s.Apply([]Row{{Key: metaKey}}, Position{topicB, 1<<40 + 1}); err != nil {
		t.Fatal(err)
	}
	if m, ok := s.Meta(); ok {
		t.Errorf("after its tombstone there is still meta %+v", m)
	}
	closeStore(t, s)
}

func TestPositionRowBytes(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	if err := s.Commit(Position{TopicID{0: 0xAA, 15: 0xBB}, 0x0102030405060708}); err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(get(t, s, "\x00p")), "01"+"aa0000000000000000000000000000bb"+"0102030405060708"; got != want {
		t.Errorf("position row %s, want %s: stores of older builds could not be read", got, want)
	}
}

// TestUnreadableStores puts system rows on disk that this build can't read.
func TestUnreadableStores(t *testing.T) {
	position := append(append([]byte{FormatVersion}, topicA[:]...), 0, 0, 0, 0, 0, 0, 0, 9)
	newer := append([]byte{FormatVersion + 1}, bytes.Repeat([]byte{7}, 60)...)
	for _, c := range []struct {
		what           string
		position, meta []byte
		want           error
		says           string
	}{
		{"newer position row", newer, nil, ErrFormat, "run the newer build, or delete the folder"},
		{"newer position row of the same length", newer[:25], nil, ErrFormat, "version 2, this build knows up to 1"},
		{"newer meta row", position, []byte{metaVersion + 1, 1, 2}, ErrFormat, "meta row version 2"},
		{"short position row", position[:24], nil, ErrRow, "delete the folder"},
		{"position row of version 0", append([]byte{0}, position[1:]...), nil, ErrRow, "delete the folder"},
		{"empty position row", []byte{}, nil, ErrRow, "delete the folder"},
		{"corrupt meta row", position, []byte{metaVersion, 0x80}, ErrRow, "meta row"},
	} {
		fs := vfs.NewMem()
		s := open(t, fs)
		s.Set(positionKey, c.position)
		if c.meta != nil {
			s.Set(metaKey, c.meta)
		}
		b := s.db.NewBatch()
		for k, v := range s.overlay {
			if err := b.Set([]byte(k), v, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(b.Commit(pebble.NoSync), b.Close()); err != nil {
			t.Fatal(err)
		}
		s.unflushed = 1
		closeStore(t, s)
		for range 2 { // the second time too: the first must have let go of the folder, and changed nothing
			if _, err := Open(dir, Options{FS: fs}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: error %v, want one that wraps %q, says %q and names the folder", c.what, err, c.want, c.says)
			}
		}
	}
}

// TestNewStore makes a store without a file for each format that Pebble ever had, again where a crash left nothing but the mark of
// the format, and again after a wipe.
func TestNewStore(t *testing.T) {
	mem := vfs.NewMem()
	var made []string
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.Contains(op.Path, "format-version") {
			made = append(made, filepath.Base(op.Path))
		}
		return nil
	}))
	s := open(t, fs)
	want := "marker.format-version.000001." + format.String()
	check := func(when string, n int) {
		t.Helper()
		if v := s.db.FormatMajorVersion(); v != format || len(made) != n || n > 0 && made[n-1] != want {
			t.Errorf("%s: a store of format %s, made with %q, want %s and %d of %q", when, v, made, format, n, want)
		}
	}
	check("a new store", 1)
	closeStore(t, s)
	files, err := mem.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f != want {
			if err := mem.Remove(mem.PathJoin(dir, f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s = open(t, fs)
	check("after a crash", 1)
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	check("after a wipe", 2)
	s.Set([]byte("k"), []byte("v"))
	commit(t, s, 1)
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	check("opened again", 2)
	if v := get(t, s, "k"); string(v) != "v" {
		t.Errorf("after it was opened again the row is %q, want v", v)
	}
}

func TestWipe(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	s.Set([]byte("wk"), []byte("v"))
	s.SetMeta(Meta{Input: 1})
	commit(t, s, 1)
	s.Set([]byte("staged"), []byte("v"))
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, known := s.Position()
		_, meta := s.Meta()
		if known || meta || s.Dirty() != 0 || len(scanned(t, s, "w")) != 0 || get(t, s, "staged") != nil {
			t.Errorf("something is left: position %v, meta %v, %d staged rows", known, meta, s.Dirty())
		}
		closeStore(t, s)
		s = open(t, fs)
	}
	s.Set([]byte("wk"), []byte("again"))
	commit(t, s, 2)
	if string(get(t, s, "wk")) != "again" {
		t.Error("a wiped store does not keep rows")
	}
	closeStore(t, s)
}

// TestWipeThatFails holds that the owner can close what a failed wipe left, and that the next start has an empty store or
// the whole old one.
func TestWipeThatFails(t *testing.T) {
	broken := errors.New("broken disk")
	for kind, rowsLeft := range map[errorfs.OpKind]int{errorfs.OpRename: 1, errorfs.OpRemoveAll: 0} {
		fs := vfs.NewMem()
		toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == kind && strings.Contains(op.Path, dir) {
				return broken
			}
			return nil
		})}
		s := open(t, errorfs.Wrap(fs, toggle))
		s.Set([]byte("wk"), []byte("v"))
		commit(t, s, 1)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		toggle.On()
		if err := s.Wipe(); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		closeStore(t, s)
		s = open(t, fs)
		if got := len(committed(t, s)); got != rowsLeft {
			t.Errorf("%d rows are left, want %d", got, rowsLeft)
		}
		closeStore(t, s)
		if names, err := fs.List("state/detect"); err != nil || !slices.Equal(names, []string{"0"}) {
			t.Errorf("left behind: %v, error %v", names, err)
		}
	}
}

func TestFlush(t *testing.T) {
	fs := crashdisk.New()
	s, err := Open(dir, Options{FS: fs, FlushRows: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	// survives says how many rows a crash would leave; the power goes with everything that was not synced.
	survives := func() int {
		c := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
		defer closeStore(t, c)
		return len(committed(t, c))
	}
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			s.Set(fmt.Appendf(nil, "w%d", i), []byte("v"))
		}
		commit(t, s, int64(to))
	}
	flush := func(due bool) (began bool) {
		t.Helper()
		before := s.flushing
		if err := s.MaybeFlush(due); err != nil {
			t.Fatal(err)
		}
		if s.flushing == before {
			return false
		}
		<-s.flushing
		return true
	}
	if flush(true) {
		t.Error("an empty store was flushed")
	}
	fill(0, 9)
	if flush(false) || survives() != 0 {
		t.Error("flushed before FlushRows rows came")
	}
	fill(9, 10)
	if !flush(false) || survives() != 10 {
		t.Errorf("after FlushRows rows a crash leaves %d of them", survives())
	}
	if flush(true) {
		t.Error("flushed again without a new row")
	}
	fill(10, 11)
	if flush(false) {
		t.Error("one row is not enough")
	}
	if !flush(true) || survives() != 11 {
		t.Errorf("when it is due a quiet store keeps %d of 11 rows", survives())
	}
	if s.FlushEvery() <= 0 {
		t.Error("nothing is ever due")
	}
}

// TestCloseKeepsEverything: a clean stop leaves nothing to restore, wherever its flushes stand.
func TestCloseKeepsEverything(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	fs := crashdisk.New()
	n := 0
	for range 20 {
		s := open(t, fs)
		if got := len(committed(t, s)); got != n {
			t.Fatalf("%d of %d rows came back", got, n)
		}
		for range 1 + rng.IntN(4) {
			for range rng.IntN(20) {
				s.Set(fmt.Appendf(nil, "w%05d", n), bytes.Repeat([]byte{byte(n)}, rng.IntN(3000)))
				n++
			}
			commit(t, s, int64(n))
			if rng.IntN(2) == 0 {
				if err := s.MaybeFlush(true); err != nil {
					t.Fatal(err)
				}
			}
		}
		closeStore(t, s)
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
	}
}

// TestCloseWaitsForFlushThatHasNotBegun: behind a flush that Pebble runs of its own, the one that MaybeFlush asked for waits
// its turn; closing Pebble would drop it.
func TestCloseWaitsForFlushThatHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashdisk.New()
		proceed := make(chan struct{})
		slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
				<-proceed
			}
			return nil
		})
		s, err := Open(dir, Options{FS: errorfs.Wrap(disk, slow)})
		if err != nil {
			t.Fatal(err)
		}
		s.Set([]byte("wa"), []byte("v"))
		commit(t, s, 1)
		if _, err := s.db.AsyncFlush(); err != nil { // as Pebble does when a memtable is full
			t.Fatal(err)
		}
		synctest.Wait() // it stands before its first write
		s.Set([]byte("wb"), []byte("v"))
		commit(t, s, 2)
		if err := s.MaybeFlush(true); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait() // Close waits too
		close(proceed)
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		s = open(t, disk.CrashClone(vfs.CrashCloneCfg{}))
		defer closeStore(t, s)
		if pos, _ := s.Position(); pos.Next != 2 {
			t.Errorf("position %d of 2 is left", pos.Next)
		}
	})
}

func TestLock(t *testing.T) {
	for name, c := range map[string]struct {
		fs  vfs.FS
		dir string
	}{"memory": {vfs.NewMem(), "state"}, "disk": {vfs.Default, filepath.Join(t.TempDir(), "new", "state")}} {
		t.Run(name, func(t *testing.T) {
			first, err := Lock(c.fs, c.dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Lock(c.fs, c.dir)
			if want := "state folder " + c.dir + " is in use by another farcall process (stop it, or give this one another state.dir): "; err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the second lock says %q, want one line that starts with %q", err, want)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Lock(c.fs, c.dir)
			if err != nil {
				t.Fatalf("after the first let go: %v", err)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestLockOfAnotherProcess runs this test a second time, as the other process.
func TestLockOfAnotherProcess(t *testing.T) {
	const env = "FARCALL_TEST_LOCK"
	if dir := os.Getenv(env); dir != "" {
		_, err := Lock(vfs.Default, dir)
		fmt.Println("second process:", err)
		return
	}
	dir := t.TempDir()
	l, err := Lock(vfs.Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockOfAnotherProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), env+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "second process: state folder " + dir + " is in use by another farcall process"; !strings.Contains(string(out), want) {
		t.Errorf("it says\n%s\nwant %q", out, want)
	}
}

func TestLockThatCannotBeMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(filepath.Join(dir, "LOCK"), 0o755); err != nil { // a folder stands where the lock file should
		t.Fatal(err)
	}
	if _, err := Lock(vfs.Default, dir); err == nil || strings.Contains(err.Error(), "another farcall process") || !strings.Contains(err.Error(), "LOCK") {
		t.Errorf("error %q blames a process that does not exist", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(vfs.Default, filepath.Join(dir, "file", "state")); err == nil || !strings.Contains(err.Error(), "make state folder") {
		t.Errorf("error %v", err)
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xFF": "b", "\xFF\xFF": "", "a\x00": "a\x01"} {
		if got := prefixEnd([]byte(prefix)); string(got) != want || (got == nil) != (want == "") {
			t.Errorf("rows below %q end at %q, want %q", prefix, got, want)
		}
	}
}

// Next walks over what is stored and what is staged together, and over nothing that is deleted.
func TestNext(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open("state", Options{FS: vfs.NewMem()})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		keys := rapid.SampledFrom([]string{"wa", "wa\x00", "wab", "wb", "w", "x", "v", "wz\xff"})
		live := map[string]bool{}
		for i := range rapid.IntRange(0, 20).Draw(rt, "writes") {
			k := keys.Draw(rt, "key")
			if live[k] = rapid.Bool().Draw(rt, "set"); live[k] {
				s.Set([]byte(k), nil)
			} else {
				s.Delete([]byte(k))
			}
			if rapid.Bool().Draw(rt, "commit") {
				if err := s.Commit(Position{Next: int64(i)}); err != nil {
					rt.Fatal(err)
				}
			}
		}
		prefix, from := rapid.SampledFrom([]string{"w", "wa"}).Draw(rt, "prefix"), keys.Draw(rt, "from")
		want := ""
		for k, is := range live {
			if is && k >= from && strings.HasPrefix(k, prefix) && (want == "" || k < want) {
				want = k
			}
		}
		if got, err := s.Next([]byte(prefix), []byte(from)); err != nil || string(got) != want {
			rt.Fatalf("Next(%q, %q) = %q, %v, want %q", prefix, from, got, err, want)
		}
	})
}

// TestCacheBesideMemTables: what stores read stays in the cache, however full their memtables are.
func TestCacheBesideMemTables(t *testing.T) {
	const memTable, stores = 1 << 20, 8
	cache := NewCache(8<<20, 2*stores*memTable)
	defer cache.Unref()
	rows := make([]Row, 200)
	for i := range rows {
		rows[i] = Row{Key: fmt.Appendf(nil, "row %04d", i), Value: bytes.Repeat([]byte{byte(i)}, 1000)}
	}
	var all []*Store
	for i := range stores {
		s, err := Open(fmt.Sprint("state/", i), Options{FS: vfs.NewMem(), Cache: cache, MemTableBytes: memTable})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		all = append(all, s)
		for n := range int64(50) { // far more than a memtable
			if err := s.Apply(rows, Position{Next: n + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		for _, s := range all {
			for _, r := range rows {
				if v, err := s.Get(r.Key); err != nil || !bytes.Equal(v, r.Value) {
					t.Fatalf("%s: %q, %v", r.Key, v, err)
				}
			}
		}
	}
	read()
	before := cache.Metrics().Misses
	read()
	// A compaction that ends in between brings new blocks; a cache without room brings none at all, and more misses than rows.
	if misses := cache.Metrics().Misses - before; misses > int64(stores*len(rows)/4) {
		t.Errorf("%d of the second look at %d rows had to be read from disk", misses, stores*len(rows))
	}
}
