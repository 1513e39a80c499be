package cloudtrail

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpusFiles are the files of FARCALL_CORPUS that hold CloudTrail in some form.
func corpusFiles(t testing.TB) map[string][]byte {
	dir := os.Getenv("FARCALL_CORPUS")
	if dir == "" {
		t.Skip("FARCALL_CORPUS is not set: the public records are NOT tested")
	}
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case e.IsDir() && e.Name() == "mmdb":
			return fs.SkipDir
		case e.IsDir(), strings.HasSuffix(name, ".tsv"), strings.HasSuffix(name, ".md"):
			return nil
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no files under %s", dir)
	}
	return files
}

// TestCorpus decodes every public file as one payload and as a stream: both ways must agree, nothing may be silent, and
// every refusal must say what is wrong.
func TestCorpus(t *testing.T) {
	files := corpusFiles(t)
	d := NewDecoder(DefaultLimits())
	var table strings.Builder
	fmt.Fprintf(&table, "%-75s %7s %6s %8s\n", "file", "events", "skips", "refusals")
	sum := 0
	for _, name := range sortedKeys(files) {
		payload := files[name]
		var h, r collector
		d.Decode(payload, &h)
		d.DecodeReader(bytes.NewReader(payload), &r)
		if diff := h.diff(&r, true); diff != "" {
			t.Errorf("%s: Decode and DecodeReader differ: %s", name, diff)
		}
		if len(payload) > 0 && len(h.told) == 0 {
			t.Errorf("%s: %d bytes and nothing told", name, len(payload))
		}
		fmt.Fprintf(&table, "%-75s %7d %6d %8d\n", name, len(h.events), len(h.skips), len(h.refusals))
		for _, r := range h.refusals {
			if len(r.Detail) < 10 || len(r.Detail) > 400 {
				t.Errorf("%s: a detail nobody understands: %q", name, r.Detail)
			}
		}
		for what, n := range h.summary() {
			fmt.Fprintf(&table, "    %4d × %s\n", n, what)
		}
		sum += len(h.events)
	}
	t.Logf("%d events\n%s", sum, table.String())
}
