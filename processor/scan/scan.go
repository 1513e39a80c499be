// Package scan judges CloudTrail files without a Kafka: the same stages as the live pipeline, in one process, in the order of
// event time. It holds bounded memory: what route tells goes to a sorted store in a temporary folder, and from there through
// detect and triage.
package scan

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// Options say what to scan and how.
type Options struct {
	Paths   []string // files, folders, or "-" for Input
	Input   io.Reader
	Route   route.Config
	Detect  detect.Config
	Triage  triage.Config
	Locator *geo.Locator
	TempDir string // default the system's
	Log     *slog.Logger
	Now     func() time.Time
	// Alert takes each alert in its final version, ordered by when it began.
	Alert func(*alert.Alert) error
	// Progress, if set, is told how far the scan is: bytes read of all bytes on disk, then visits judged of all.
	Progress func(step string, done, total int64)

	disk      vfs.FS // of the temporary folder: tests fill it
	memTables uint64 // bytes of each memtable of the sorted store
	broken    func(error)
}

// memTables of the sorted store: three at the most.
const memTables = 64 << 20

// Bad is one thing that could not be read.
type Bad struct {
	Path   string
	Byte   int64 // in the expanded file
	Reason string
	Detail string
}

// Summary is what a scan read and found.
type Summary struct {
	Files, Empty, Unreadable int64
	Bytes                    int64 // on disk
	First, Last              int64 // event times, Unix milliseconds
	Stats                    *route.Stats
	Bad                      []Bad // the first MaxBad; Stats.Refused counts all
	Results                  map[detect.Result]int64
	Alerts                   map[alert.Severity]int64
	Read, Judged             time.Duration
}

// MaxBad is how many bad things a summary spells out, and maxBadOfFile how many of one file.
const (
	MaxBad       = 50
	maxBadOfFile = 3
)

// shards is how many runs of files are read side by side. It is fixed, so that what is told, and with it the evidence of
// each alert, does not depend on the machine.
const shards = 8

type file struct {
	path  string
	size  int64
	when  string // sorts by time
	trail string // account and region, where the name says so
	shard int
}

// Run scans. Data that can't be read is in the summary and no error.
func Run(ctx context.Context, o Options) (*Summary, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Route.Pulses = false // files end, and nobody is silent for it
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.disk == nil {
		o.disk = vfs.Default
	}
	if o.memTables == 0 {
		o.memTables = memTables
	}
	sum := newSummary()
	files, err := find(o, sum)
	if err != nil {
		return sum, err
	}
	tmp, err := os.MkdirTemp(o.TempDir, "farcall-scan-")
	if err != nil {
		return sum, fmt.Errorf("temporary folder: %w", err)
	}
	// Pebble tries a write that failed again for ever, and its callers wait with it. So nobody waits for them: the folder is
	// moved away, for they would go on making files in it, and removed, and the process ends with what still runs.
	broken, done := make(chan error, 1), make(chan error, 1)
	o.broken = func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	var over atomic.Bool
	o.disk = gated{o.disk, &over}
	go func() { done <- scan(ctx, o, files, tmp, sum) }()
	select {
	case err = <-done:
		if errors.Is(err, state.ErrDisk) || full(err) {
			err = diskError(tmp, err)
		}
	case err = <-broken:
		over.Store(true)
		sum, err = newSummary(), diskError(tmp, err) // the other is still being written
	}
	gone := tmp + ".gone"
	return sum, errors.Join(err, os.Rename(tmp, gone), os.RemoveAll(gone))
}

// gated is a file system in which no folder is made any more once it is over: what still runs must not make the removed one anew.
type gated struct {
	vfs.FS
	over *atomic.Bool
}

func (g gated) MkdirAll(dir string, perm os.FileMode) error {
	if g.over.Load() {
		return os.ErrClosed
	}
	return g.FS.MkdirAll(dir, perm)
}

func newSummary() *Summary {
	return &Summary{Stats: route.NewStats(), Results: map[detect.Result]int64{}, Alerts: map[alert.Severity]int64{}}
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// diskError is one line that says what to do.
func diskError(tmp string, err error) error {
	what := ""
	if full(err) {
		what = "free some space there, or "
	}
	if why := syscall.Errno(0); errors.As(err, &why) {
		err = why // the rest names files that are gone
	}
	return fmt.Errorf("temporary folder in %s: %w: %sname one on another disk with --temp-dir", filepath.Dir(tmp), err, what)
}

// scan is Run with a temporary folder.
func scan(ctx context.Context, o Options, files []file, tmp string, sum *Summary) (fault error) {
	cache := state.NewCache(64<<20, 5*int64(o.memTables)) // three of the sorted store, two halves of triage's, and two of all parts of detect's
	defer cache.Unref()
	sorted, err := pebble.Open(filepath.Join(tmp, "told"), &pebble.Options{
		// Written once and read once, in order: merging the flushed tables while reading is all the sorting it takes.
		DisableAutomaticCompactions: true, L0StopWritesThreshold: 1 << 20, L0CompactionThreshold: 1 << 20,
		FS: o.disk, Cache: cache, DisableWAL: true, MemTableSize: o.memTables, MemTableStopWritesThreshold: 3, Logger: quiet{o.broken},
		FormatMajorVersion: pebble.FormatNewest, EventListener: &pebble.EventListener{BackgroundError: o.broken},
	})
	if err != nil {
		return fmt.Errorf("temporary store: %w", err)
	}
	defer sorted.Close()
	var j judging
	opened := make(chan error, 1)
	go func() { opened <- j.open(o, filepath.Join(tmp, "rows"), cache, sum) }()
	began := time.Now()
	err = read(ctx, o, files, sorted, sum)
	sum.Read = time.Since(began)
	err = errors.Join(err, <-opened)
	defer func() { fault = errors.Join(fault, j.discard()) }()
	if err != nil {
		return err
	}
	began = time.Now()
	err = j.run(ctx, o, sorted, sum)
	sum.Judged = time.Since(began)
	return err
}

// stamp finds the delivery time in the name that CloudTrail gives its files.
var stamp = regexp.MustCompile(`_(\d{8}T\d{4}Z)_`)

// find lists the files in the order of their delivery, so that most of each pane comes together.
func find(o Options, sum *Summary) ([]file, error) {
	var files []file
	add := func(path string, info fs.FileInfo) {
		f := file{path: path, size: info.Size(), when: info.ModTime().UTC().Format("20060102T1504Z")}
		if name := filepath.Base(path); stamp.MatchString(name) {
			at := stamp.FindStringSubmatchIndex(name)
			f.when, f.trail = name[at[2]:at[3]], name[:at[0]]
		}
		files = append(files, f)
	}
	for _, p := range o.Paths {
		if p == "-" {
			files = append(files, file{path: "-"})
			continue
		}
		err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if path == p {
					return err
				}
				sum.unreadable(path, err)
				return nil
			}
			info, err := d.Info()
			if err == nil && info.Mode()&fs.ModeSymlink != 0 {
				info, err = os.Stat(path)
			}
			switch {
			case err != nil:
				sum.unreadable(path, err)
			case info.Mode().IsRegular():
				add(path, info)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", p, err)
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(cmp.Compare(a.when, b.when), cmp.Compare(a.path, b.path)) })
	for i := range files {
		sum.Bytes += files[i].size
		files[i].shard = files[i].pickShard(i, len(files))
	}
	sum.Files = int64(len(files))
	return files, nil
}

// pickShard keeps together what tells the same presences: the files of one trail and hour, or else neighbours. A shard that
// saw a presence does not tell it again; eight shards that each saw it would.
func (f *file) pickShard(i, n int) int {
	if f.trail == "" {
		return i * shards / n
	}
	h := fnv.New32a()
	h.Write([]byte(f.trail))
	h.Write([]byte(f.when[:len("20060102T15")]))
	return int(h.Sum32() % shards)
}

func (s *Summary) unreadable(path string, err error) {
	s.Unreadable++
	s.bad(Bad{Path: path, Reason: "unreadable", Detail: err.Error()})
}

func (s *Summary) bad(b Bad) {
	if len(s.Bad) < MaxBad {
		s.Bad = append(s.Bad, b)
	}
}

// read routes every file. Each shard has a memory of its own, so a presence may be told up to once a shard.
func read(ctx context.Context, o Options, files []file, sorted *pebble.DB, sum *Summary) error {
	var done atomic.Int64
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for n := range shards {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s := &shard{number: byte(n), o: o, sorted: sorted, first: 1<<63 - 1, stats: route.NewStats(), full: make(chan *pebble.Batch, 1), committed: make(chan error, 1)}
			err := s.run(ctx, files, turn, func(bytes int64) { o.Progress("reading", done.Add(bytes), sum.Bytes) })
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			sum.merge(s)
		}()
	}
	wg.Wait()
	slices.SortFunc(sum.Bad, func(a, b Bad) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Byte, b.Byte)) })
	return errors.Join(errs...)
}

func (s *Summary) merge(sh *shard) {
	into := func(to, from map[string]int64) {
		for k, v := range from {
			to[k] += v
		}
	}
	a, b := s.Stats, sh.stats
	a.Records += b.Records
	a.Events += b.Events
	a.Visits += b.Visits
	a.Presences += b.Presences
	a.Repeats += b.Repeats
	a.Sightings += b.Sightings
	into(a.Skipped, b.Skipped)
	into(a.Refused, b.Refused)
	into(a.Ignored, b.Ignored)
	for k := range b.Places {
		a.Places[k] += b.Places[k]
		a.NoPlace[k] += b.NoPlace[k]
	}
	for _, b := range sh.bad {
		s.bad(b)
	}
	s.Empty += sh.empty
	s.Unreadable += sh.unreadable
	if sh.last > 0 {
		s.Last = max(s.Last, sh.last)
		if s.First == 0 || sh.first < s.First {
			s.First = sh.first
		}
	}
}

// shard routes its files, in order.
type shard struct {
	number            byte
	o                 Options
	sorted            *pebble.DB
	batch             *pebble.Batch
	full              chan *pebble.Batch
	committed         chan error // the first error, or closed at the end
	key               []byte
	seq               uint64
	stats             *route.Stats
	bad               []Bad
	badOfFile         int
	empty, unreadable int64
	first, last       int64
	path              string
	err               error
}

func (s *shard) run(ctx context.Context, files []file, turn chan struct{}, progress func(int64)) (err error) {
	task, err := route.NewTask(s.o.Route, nil, s.o.Locator, s.o.Now, 0, s.stats)
	if err != nil {
		return err
	}
	s.batch = s.newBatch()
	go s.commit()
	defer func() {
		close(s.full)
		err = errors.Join(err, <-s.committed)
	}()
	for _, f := range files {
		if f.shard != int(s.number) {
			continue
		}
		turn <- struct{}{}
		s.read(task, f, progress)
		<-turn
		if s.err != nil {
			return s.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	s.full <- s.batch
	return nil
}

// batchBytes is how much a shard commits at a time: one batch fills while another is committed beside it, and a third may wait.
const batchBytes = 256 << 10

func (s *shard) newBatch() *pebble.Batch {
	return s.sorted.NewBatch(pebble.WithInitialSizeBytes(batchBytes + 2*topics.MaxVisitBytes))
}

// commit commits what is full, on a goroutine of its own: putting things in order takes as long as telling them.
func (s *shard) commit() {
	defer close(s.committed)
	var err error
	for b := range s.full {
		if err == nil {
			err = b.Commit(pebble.NoSync)
		}
		err = errors.Join(err, b.Close())
	}
	if err != nil {
		s.committed <- fmt.Errorf("temporary store: %w", err)
	}
}

func (s *shard) read(task *route.Task, f file, progress func(int64)) {
	s.path, s.badOfFile = f.path, 0
	var r io.Reader = s.o.Input
	if f.path != "-" {
		fd, err := os.Open(f.path)
		if err != nil {
			s.unreadable++
			s.note(Bad{Path: f.path, Reason: "unreadable", Detail: err.Error()})
			return
		}
		defer fd.Close()
		r = fd
	}
	c := &counted{r: r, progress: progress}
	task.Begin(&route.Raw{Source: topics.Source{Topic: f.path}}, s)
	r = c
	if f.size >= longFile || f.path == "-" {
		r = cloudtrail.NewAhead(c)
	}
	task.Decoder().DecodeReader(r, task)
	c.report()
	if c.n == 0 {
		s.empty++
	}
}

// longFile is from how many bytes on a file is read ahead of its decoding.
const longFile = 8 << 20

func (s *shard) note(b Bad) {
	if s.badOfFile++; s.badOfFile <= maxBadOfFile && len(s.bad) < MaxBad {
		s.bad = append(s.bad, b)
	}
}

// The store of what was told is keyed by event time, then shard and number: that order is the order of the scan. Behind them stands
// which part of detect it is for.
func appendKey(dst []byte, at int64, shard byte, seq uint64, part byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(at)^1<<63)
	dst = append(dst, shard)
	dst = binary.BigEndian.AppendUint64(dst, seq)
	return append(dst, part)
}

func parseKey(key []byte) (at int64, part byte) {
	return int64(binary.BigEndian.Uint64(key) ^ 1<<63), key[len(key)-1]
}

func (s *shard) put(value []byte, part byte) {
	if s.err != nil {
		return
	}
	var at int64
	if at, s.err = topics.EventTime(value); s.err != nil {
		return
	}
	s.first, s.last = min(s.first, at), max(s.last, at)
	s.key = appendKey(s.key[:0], at, s.number, s.seq, part)
	s.seq++
	if s.err = s.batch.Set(s.key, value, nil); s.err != nil {
		return
	}
	if s.batch.Len() >= batchBytes {
		s.full <- s.batch
		s.batch = s.newBatch()
	}
}

// Visit implements route.Output.
func (s *shard) Visit(method, value []byte) { s.put(value, partOf(method)) }

// Pulse implements route.Output.
func (s *shard) Pulse(_, _ []byte) {}

// Sighting implements route.Output.
func (s *shard) Sighting(_, value []byte) { s.put(value, noPart) }

// DeadLetter implements route.Output.
func (s *shard) DeadLetter(d *topics.DeadLetter) {
	s.note(Bad{Path: s.path, Byte: d.Source.Byte, Reason: d.Reason, Detail: d.Detail})
}

type counted struct {
	r        io.Reader
	n, told  int64
	progress func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); c.n-c.told >= 1<<20 {
		c.report()
	}
	return n, err
}

func (c *counted) report() {
	c.progress(c.n - c.told)
	c.told = c.n
}

// quiet is Pebble's log: what matters of it is told otherwise.
type quiet struct{ broken func(error) }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf is called on a write to the manifest that failed, and must not return.
func (q quiet) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	q.broken(err)
	select {}
}
