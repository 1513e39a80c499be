package scan

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
)

// A disk that fills while a scan reads, while it judges, or in the midst of a manifest, ends the scan with one line that says what
// to do, and nothing of the temporary folder stays.
func TestFullDisk(t *testing.T) {
	// Presences enough for a commit of the rows while they are judged.
	var input bytes.Buffer
	for i := range commitEvery + 1 {
		fmt.Fprintf(&input, `{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","accountId":"444455556666","userName":"u%[1]d","arn":"arn:aws:iam::444455556666:user/u%[1]d"},"eventTime":"2026-03-02T09:00:00Z","eventSource":"iam.amazonaws.com","eventName":"GetRole%[2]d","awsRegion":"eu-central-1","sourceIPAddress":"78.47.22.1","eventID":"%08[1]x-0000-4000-8000-000000000000","eventType":"AwsApiCall","eventCategory":"Management","recipientAccountId":"444455556666"}`+"\n", i, i%5000)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, input.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer locator.Close()
	for _, c := range []struct {
		name, folder, file string
		why                error
		want               string
	}{
		{"reading", "/told/", ".sst", syscall.ENOSPC, ": no space left on device: free some space there, or name one on another disk with --temp-dir"},
		{"reading, in the manifest", "/told/", "MANIFEST", syscall.ENOSPC, ": no space left on device: free some space there, or name one on another disk with --temp-dir"},
		{"judging", "/rows/", ".sst", syscall.EDQUOT, ": disk quota exceeded: free some space there, or name one on another disk with --temp-dir"},
		{"judging, in the manifest", "/rows/", "MANIFEST", syscall.ENOSPC, ": no space left on device: free some space there, or name one on another disk with --temp-dir"},
		{"a broken disk", "/told/", ".sst", syscall.EIO, ": input/output error: name one on another disk with --temp-dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmp := t.TempDir()
			var failed, over atomic.Bool
			// Pebble tries again at once and for ever. A process would end; here it stands still, and other tests have the processors.
			defer over.Store(true)
			disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if over.Load() {
					select {}
				}
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, c.folder) && strings.Contains(op.Path, c.file) {
					failed.Store(true)
					return &os.PathError{Op: "write", Path: op.Path, Err: c.why}
				}
				return nil
			}))
			_, err := Run(t.Context(), Options{
				Paths: []string{file}, Route: route.DefaultConfig(), Detect: detect.DefaultConfig(), Triage: triage.DefaultConfig(), Locator: locator, TempDir: tmp,
				Alert: func(*alert.Alert) error { return nil }, disk: disk, memTables: 1 << 20,
			})
			if want := "temporary folder in " + tmp + c.want; err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if !failed.Load() {
				t.Error("nothing was written")
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("the temporary folder keeps %v, %v", left, err)
			}
		})
	}
}
