package geo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// DefaultPoll is how often Watch looks at the files if it is not told.
const DefaultPoll = 10 * time.Second

// Watch looks at the database files once in each interval, and puts a changed one in use, until the context is cancelled
// or the Locator closed. It blocks. Without files there is nothing to watch, and it returns at once.
//
// A changed file is read when two looks in a row found it the same, so that one being written is left alone. If it
// can't be used, or is gone, the old database stays in use, and that is logged and reported once for each change.
func (l *Locator) Watch(ctx context.Context, every time.Duration) {
	if len(l.files) == 0 {
		return
	}
	if every <= 0 {
		every = DefaultPoll
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.closed:
			return
		case <-ticker.C:
			l.poll()
		}
	}
}

// watchedFile is a database file, and what Watch remembers of it between two looks.
type watchedFile struct {
	name, path string
	open       func(data []byte) (use func(*database), err error)

	inUse   fileStamp // the content that the database in use was read from
	changed fileStamp // another one, seen once
	refused fileStamp // one that could not be used
}

func (l *Locator) poll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		l.look(f)
	}
}

func (l *Locator) look(f *watchedFile) {
	now := stampOf(f.path)
	switch {
	case now.equal(f.inUse):
		f.changed = fileStamp{}
		if f.refused.known() {
			f.refused = fileStamp{}
			l.opts.Log.Info("geo "+f.name+" file is back", "path", f.path, "build", l.Build())
			l.report(nil)
		}
		return
	case now.equal(f.refused):
		return
	case !now.equal(f.changed):
		f.changed = now
		return
	}
	f.changed = fileStamp{}
	old := l.Build()
	stamp, err := l.load(f)
	if errors.Is(err, errChanging) {
		return
	}
	if err != nil {
		f.refused = now
		err = fmt.Errorf("geo: %s %s: %w", f.name, f.path, err)
		l.opts.Log.Warn("geo "+f.name+" file can't be used; the old one stays in use", "error", err, "build", old)
		l.report(err)
		return
	}
	f.inUse, f.refused = stamp, fileStamp{}
	l.opts.Log.Info("geo "+f.name+" reloaded", "path", f.path, "old", old, "build", l.Build())
	l.report(nil)
}

func (l *Locator) report(err error) {
	if l.opts.OnReload != nil {
		l.opts.OnReload(err)
	}
}

// fileStamp tells one content of a path from another by size, time of change, and which file it is: a file renamed over
// the old one may have the old one's size and time. The zero value is no stamp, and equals none.
type fileStamp struct {
	info fs.FileInfo
	err  error // why there is no info
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	return fileStamp{info, err}
}

func (s fileStamp) known() bool { return s.info != nil || s.err != nil }

func (s fileStamp) equal(other fileStamp) bool {
	if s.err != nil && other.err != nil {
		return s.err.Error() == other.err.Error()
	}
	return s.info != nil && other.info != nil && s.info.Size() == other.info.Size() &&
		s.info.ModTime().Equal(other.info.ModTime()) && os.SameFile(s.info, other.info)
}
