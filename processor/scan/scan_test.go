package scan

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/demo"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
)

func run(t *testing.T, input io.Reader, paths ...string) (*Summary, []string) {
	t.Helper()
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer locator.Close()
	var docs []string
	tmp := t.TempDir()
	sum, err := Run(t.Context(), Options{
		Paths: paths, Input: input, Route: route.DefaultConfig(), Detect: detect.DefaultConfig(), Triage: triage.DefaultConfig(), Locator: locator, TempDir: tmp,
		Alert: func(a *alert.Alert) error {
			doc, err := a.ECS("test")
			docs = append(docs, string(doc))
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("the temporary folder keeps %v, %v", left, err)
	}
	return sum, docs
}

// TestStory scans the demo's story, twice, on four processors and on one: the same alerts, and every planted intrusion.
func TestStory(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	if _, err := demo.Save(3, now, dir); err != nil {
		t.Fatal(err)
	}
	all := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(all)
	sum, docs := run(t, nil, dir)
	runtime.GOMAXPROCS(1)
	_, again := run(t, nil, dir)
	runtime.GOMAXPROCS(all)
	if strings.Join(docs, "\n") != strings.Join(again, "\n") {
		t.Errorf("two scans of the same files differ: %d and %d alerts", len(docs), len(again))
	}
	if sum.Stats.Events < 250_000 || len(sum.Bad) > 0 || sum.Unreadable > 0 {
		t.Errorf("read %d events, bad %v", sum.Stats.Events, sum.Bad)
	}
	for _, p := range demo.NewStory(3, demo.Morning(now)).Plants() {
		found := false
		for _, d := range docs {
			b, err := alert.ParseBrief([]byte(d))
			if err != nil {
				t.Fatal(err)
			}
			found = found || b.Principal == p.Principal && b.Place == p.Country
		}
		if p.Kind == demo.Intrusion && !found {
			t.Errorf("no alert about %s by %s from %s", p.Name, p.Principal, p.Country)
		}
	}
	told := map[string]bool{}
	for _, d := range docs {
		b, err := alert.ParseBrief([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		if told[b.ID] {
			t.Errorf("alert %s is told twice: its stay was not over", b.ID)
		}
		told[b.ID] = true
	}
}

func event(i int) string {
	return fmt.Sprintf(`{"eventVersion":"1.08","eventTime":"2026-01-05T10:%02d:00Z","eventSource":"iam.amazonaws.com","eventName":"GetUser","sourceIPAddress":"78.47.22.%d","eventID":"e%d","userIdentity":{"type":"IAMUser","accountId":"111122223333","userName":"u%d"}}`,
		i%60, 1+i%200, i, i)
}

// TestBrokenFiles puts every kind of broken file beside good ones: all the good is read, all the bad is named.
func TestBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var events []string
	for i := range 500 {
		events = append(events, event(i))
	}
	good := []byte(`{"Records":[` + strings.Join(events, ",") + `]}`)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(good); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write("111122223333_CloudTrail_eu-central-1_20260105T1100Z_a.json", good)
	write("111122223333_CloudTrail_eu-central-1_20260105T1105Z_b.json.gz", z.Bytes())
	write("truncated.json", good[:len(good)/2])
	write("truncated.json.gz", z.Bytes()[:z.Len()/2])
	write("empty.json", nil)
	write("no-records.json", []byte(`{"Records":[]}`))
	write("digest.json", []byte(`{"awsAccountId":"111122223333","digestStartTime":"2026-01-05T10:00:00Z","digestEndTime":"2026-01-05T11:00:00Z","logFiles":[]}`))
	write("noise.bin", bytes.Repeat([]byte{0, 1, 2, 0xFF, '\n'}, 1000))
	write("future.json", []byte(strings.Replace(event(1), "2026-01-05", "2199-01-05", 1)))
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	sum, _ := run(t, nil, dir)
	if sum.Stats.Events < 1000 || sum.Files != 9 || sum.Empty != 1 || sum.Unreadable != 1 {
		t.Errorf("events %d, files %d, empty %d, unreadable %d", sum.Stats.Events, sum.Files, sum.Empty, sum.Unreadable)
	}
	if sum.Stats.Skipped["digest"] != 1 || sum.Stats.Skipped["empty_records"] != 1 || sum.Stats.Refused["future"] != 1 {
		t.Errorf("skipped %v, refused %v", sum.Stats.Skipped, sum.Stats.Refused)
	}
	for _, name := range []string{"truncated.json", "truncated.json.gz", "noise.bin", "future.json", "dangling"} {
		named := 0
		for _, b := range sum.Bad {
			if filepath.Base(b.Path) == name && b.Reason != "" && b.Detail != "" {
				named++
			}
		}
		if named == 0 || named > maxBadOfFile {
			t.Errorf("%s is named %d times among what is bad: %v", name, named, sum.Bad)
		}
	}
}

func TestStandardInput(t *testing.T) {
	sum, _ := run(t, strings.NewReader(event(1)+"\n"+event(2)+"\nnonsense\n"+event(3)), "-")
	if sum.Stats.Events != 3 || sum.Stats.Refused["not_json"] != 1 {
		t.Errorf("events %d, refused %v", sum.Stats.Events, sum.Stats.Refused)
	}
}

// TestMemoryIsBounded streams one file far larger than what a scan may hold.
func TestMemoryIsBounded(t *testing.T) {
	const events = 300_000
	r, w := io.Pipe()
	go func() {
		var err error
		for i := 0; i < events && err == nil; i++ {
			_, err = io.WriteString(w, event(i%5000)+"\n")
		}
		w.CloseWithError(err)
	}()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sum, _ := run(t, r, "-")
	runtime.ReadMemStats(&after)
	if sum.Stats.Events != events {
		t.Errorf("%d events", sum.Stats.Events)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 256<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

func TestUnknownPath(t *testing.T) {
	if _, err := Run(t.Context(), Options{Paths: []string{"/does/not/exist"}}); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("error %v", err)
	}
}
