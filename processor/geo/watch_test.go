package geo

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maxmind/mmdbwriter"
)

// watched is a Locator whose polls the test makes itself.
type watched struct {
	*Locator
	t       *testing.T
	path    string
	log     *bytes.Buffer
	reports []error
	now     time.Time // of the next file
	lookup  *Lookup
}

func watch(t *testing.T) *watched {
	w := &watched{t: t, path: filepath.Join(t.TempDir(), "geo.mmdb"), log: &bytes.Buffer{}, now: time.Unix(1_700_000_000, 0)}
	w.write(w.path, countryDB(t, "GB"))
	l, err := Open(Options{
		Path: w.path, NoAWSPrefixes: true, Log: slog.New(slog.NewTextHandler(w.log, nil)),
		OnReload: func(err error) { w.reports = append(w.reports, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Locator, w.lookup = l, l.NewLookup()
	return w
}

// write writes a file with a time of its own: those of the file system are too coarse for a test.
func (w *watched) write(path string, data []byte) {
	w.t.Helper()
	writeFile(w.t, path, data)
	w.now = w.now.Add(time.Second)
	if err := os.Chtimes(path, w.now, w.now); err != nil {
		w.t.Fatal(err)
	}
}

// after makes n polls and says what must be true then.
func (w *watched) after(polls int, country string, reports ...string) {
	w.t.Helper()
	for range polls {
		w.poll()
	}
	if got := w.lookup.Locate("81.2.69.142").Name; got != country {
		w.t.Errorf("81.2.69.142 is at %q, want %q", got, country)
	}
	if got := w.Detail("2a02:c7c::1").Name; got != country {
		w.t.Errorf("2a02:c7c::1 is at %q, want %q", got, country)
	}
	if len(w.reports) != len(reports) {
		w.t.Errorf("reports are %v, want %q", w.reports, reports)
		return
	}
	for i, want := range reports {
		if err := w.reports[i]; (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			w.t.Errorf("report %d is %v, want %q", i, err, want)
		}
	}
	if lines := strings.Count(w.log.String(), "\n"); lines != len(reports) {
		w.t.Errorf("%d lines in the log for %d reports:\n%s", lines, len(reports), w.log)
	}
}

func TestReload(t *testing.T) {
	t.Run("nothing changed", func(t *testing.T) {
		w := watch(t)
		w.after(5, "GB")
	})
	t.Run("overwritten in place", func(t *testing.T) {
		w := watch(t)
		w.write(w.path, countryDB(t, "FR"))
		w.after(1, "GB")
		w.after(1, "FR", "")
		w.after(5, "FR", "")
	})
	t.Run("replaced by a rename, of the same size and time", func(t *testing.T) {
		w := watch(t)
		old, err := os.Stat(w.path)
		if err != nil {
			t.Fatal(err)
		}
		data := countryDB(t, "NO")
		if int64(len(data)) != old.Size() {
			t.Fatalf("the new file has %d bytes, the old one %d", len(data), old.Size())
		}
		w.write(w.path+".new", data)
		if err := os.Chtimes(w.path+".new", old.ModTime(), old.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(w.path+".new", w.path); err != nil {
			t.Fatal(err)
		}
		w.after(2, "NO", "")
	})
	t.Run("a link to another file", func(t *testing.T) {
		w := watch(t)
		next := filepath.Join(filepath.Dir(w.path), "next.mmdb")
		w.write(next, countryDB(t, "FR"))
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(next, w.path); err != nil {
			t.Skip(err)
		}
		w.after(2, "FR", "")
	})
	t.Run("written slowly", func(t *testing.T) {
		w := watch(t)
		data := countryDB(t, "FR")
		for n := 1; n < len(data); n += len(data) / 5 {
			w.write(w.path, data[:n])
			w.after(1, "GB")
		}
		w.write(w.path, data)
		w.after(1, "GB")
		w.after(1, "FR", "")
	})
	t.Run("broken, then good", func(t *testing.T) {
		w := watch(t)
		build := w.Build()
		w.write(w.path, []byte("<html>quota exceeded</html>"))
		w.after(1, "GB")
		w.after(5, "GB", "invalid MaxMind DB file")
		if !strings.Contains(w.log.String(), w.path) || w.Build() != build {
			t.Errorf("build is %q, log is %s", w.Build(), w.log)
		}
		w.write(w.path, countryDB(t, "FR"))
		w.after(5, "FR", "invalid MaxMind DB file", "")
	})
	t.Run("truncated", func(t *testing.T) {
		w := watch(t)
		data := countryDB(t, "FR")
		w.write(w.path, data[:len(data)-100])
		w.after(5, "GB", "geo.mmdb")
		w.write(w.path, nil)
		w.after(5, "GB", "geo.mmdb", "invalid MaxMind DB file")
	})
	t.Run("gone, then back", func(t *testing.T) {
		w := watch(t)
		if err := os.Rename(w.path, w.path+".away"); err != nil {
			t.Fatal(err)
		}
		w.after(5, "GB", "no such file")
		if err := os.Rename(w.path+".away", w.path); err != nil {
			t.Fatal(err)
		}
		w.after(5, "GB", "no such file", "")
	})
	t.Run("gone for a moment", func(t *testing.T) {
		w := watch(t)
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		w.after(1, "GB")
		w.write(w.path, countryDB(t, "FR"))
		w.after(2, "FR", "")
	})
	t.Run("without countries", func(t *testing.T) {
		w := watch(t)
		w.write(w.path, countryDB(t, "ZZ"))
		w.after(5, "GB", "names a country")
	})
}

func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	writeFile(t, path, countryDB(t, "GB"))
	synctest.Test(t, func(t *testing.T) {
		reloaded := make(chan error)
		l, err := Open(Options{Path: path, OnReload: func(err error) { reloaded <- err }})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ended := make(chan string)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			l.Watch(ctx, time.Minute)
			ended <- "cancelled"
		}()
		replace(t, path, countryDB(t, "FR"))
		if err := <-reloaded; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("reloaded after %s, want two intervals of a minute", took)
		}
		if got := l.NewLookup().Locate("81.2.69.142").Name; got != "FR" {
			t.Errorf("81.2.69.142 is at %q", got)
		}
		cancel()
		<-ended

		start = time.Now()
		go func() {
			l.Watch(t.Context(), 0)
			ended <- "closed"
		}()
		replace(t, path, []byte("broken"))
		if err := <-reloaded; err == nil {
			t.Error("a broken file was accepted")
		}
		if took := time.Since(start); took != 2*DefaultPoll {
			t.Errorf("noticed after %s, want two intervals of %s", took, DefaultPoll)
		}
		for range 2 { // closing again does nothing
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		<-ended
		if got := l.NewLookup().Locate("81.2.69.142").Name; got != "FR" {
			t.Errorf("once closed, 81.2.69.142 is at %q", got)
		}
	})
	embedded := open(t, nil, Options{})
	embedded.Watch(context.Background(), time.Nanosecond) // returns: there is nothing to watch
}

func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	writeFile(t, path+".new", data)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Look-ups and reloads at the same time: each answer is that of the build that the Lookup names.
func TestLookupsDuringReloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	gb := countryDB(t, "GB")
	fr := writeDB(t, mmdbwriter.Options{DatabaseType: "GeoIP2-Country"}, networks{"81.2.69.0/24": nested("FR"), "2a02:c7c::/32": nested("FR")})
	writeFile(t, path, gb)
	l, err := Open(Options{Path: path, NoAWSPrefixes: true, CacheEntries: 16})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"GeoLite2-Country 2026-11-01": "GB", "GeoIP2-Country 2026-11-01": "FR"}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			k := l.NewLookup()
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, address := range []string{"81.2.69.142", "81.2.69.1", "2a02:c7c::1", "10.0.0.1"} {
					place := k.Locate(address)
					country := want[k.Build()]
					if address == "10.0.0.1" {
						country = ""
					}
					if place.Name != country {
						t.Errorf("%s is at %q by %s", address, place.Name, k.Build())
						return
					}
				}
				l.Detail("81.2.69.142")
			}
		})
	}
	reloads := 0
	for build := l.Build(); reloads < 50; {
		replace(t, path, map[bool][]byte{true: gb, false: fr}[reloads%2 == 1])
		l.poll()
		l.poll()
		if l.Build() == build {
			t.Errorf("reload %d did not happen", reloads)
			break
		}
		build = l.Build()
		reloads++
	}
	close(stop)
	wg.Wait()
}
