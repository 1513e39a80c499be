package state

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden is what one version wrote for some content: rows, as a changelog carries them.
type golden struct {
	file    string
	version byte // of its rows
	newest  byte
	// write stages the content as the newest version does.
	write func(v View)
	// read reads the rows with this build and says what it found, to be held against write's content.
	read func(t *testing.T, v View) (got, want any)
}

// goldens are the rows as each version wrote them. Entries and files of old versions stay for ever.
func goldens() []golden {
	const method, pane = "iam:CreateUser", int64(1_699_999_200)
	places := []string{"BR", "DE", "FR", "GB", "IN", "JP", "US", "aws:eu-central-1", "aws:us-east-1"}
	paneGolden := func(file string, row *PaneRow) golden {
		return golden{file, 1, paneRowVersion,
			func(v View) { row.fresh = true; row.Stage(v, []byte(method), pane) },
			func(t *testing.T, v View) (got, want any) { return contents(load(t, v, method, pane)), contents(row) }}
	}
	seen := SeenRow{Places: map[string]Span{"DE": {1_690_000_000, 1_699_999_200}, "US": {1_600_000_000, 1_600_000_000}, "aws:us-east-1": {0, 3600}}}
	pulse := NewPulseRow(472_000, 17)
	for _, beat := range []int64{472_001, 472_222, 471_999, 470_000} {
		pulse.Add(beat)
	}
	pulse.Told = true
	turn := TurnRow{Written: 472_223, Count: 4711}
	meta := Meta{Input: 123_456_789, StreamTime: 1_700_000_123_456, Fingerprint: "detect pane=1h0m0s scope=organisation normaliser=1"}
	return []golden{
		paneGolden("pane.v1.hex", paneRow(3, "DE", "US")),
		paneGolden("pane-counter.v1.hex", paneRow(33, "DE", "US")),
		paneGolden("pane-split.v1.hex", paneRow(20, places...)),
		{"seen.v1.hex", 1, seenRowVersion,
			func(v View) { seen.dirty = true; seen.Stage(v, []byte("123456789012|iam:CreateUser")) },
			func(t *testing.T, v View) (got, want any) {
				b, err := v.Get(SeenKey([]byte("123456789012|iam:CreateUser")))
				if err != nil {
					t.Fatal(err)
				}
				var r SeenRow
				if err := r.Decode(b, name); err != nil {
					t.Fatal(err)
				}
				return r.Places, seen.Places
			}},
		{"pulse.v1.hex", 1, pulseRowVersion,
			func(v View) { pulse.Stage(v, PulseKey(PulseOfRegion, "123456789012", "eu-central-1")) },
			func(t *testing.T, v View) (got, want any) {
				b, err := v.Get(PulseKey(PulseOfRegion, "123456789012", "eu-central-1"))
				if err != nil {
					t.Fatal(err)
				}
				var r PulseRow
				if err := r.Decode(b); err != nil {
					t.Fatal(err)
				}
				return []any{r.First, r.Last, r.beats, r.Turn, r.Told}, []any{pulse.First, pulse.Last, pulse.beats, pulse.Turn, pulse.Told}
			}},
		{"turn.v1.hex", 1, turnRowVersion,
			func(v View) { turn.Stage(v) },
			func(t *testing.T, v View) (got, want any) {
				b, err := v.Get(TurnKey())
				if err != nil {
					t.Fatal(err)
				}
				var r TurnRow
				if err := r.Decode(b); err != nil {
					t.Fatal(err)
				}
				return r, turn
			}},
		{"meta.v1.hex", 1, metaVersion,
			func(v View) { v.Set(metaKey, meta.append(nil)) },
			func(t *testing.T, v View) (got, want any) {
				b, err := v.Get(metaKey)
				if err != nil {
					t.Fatal(err)
				}
				var m Meta
				if err := m.decode(b); err != nil {
					t.Fatal(err)
				}
				return m, meta
			}},
	}
}

// contents is all that a pane row says, for comparison.
func contents(r *PaneRow) map[string][]any {
	out := map[string][]any{}
	for i := range r.Cells {
		c := &r.Cells[i]
		exact, ok := c.Exact()
		var bits [2]counter
		if !ok {
			bits = [2]counter{*c.allowed, *c.denied}
		}
		out[c.Place] = []any{exact, ok, bits, c.Visits()}
	}
	return out
}

func dump(v rows) []byte {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(v)) {
		fmt.Fprintf(&b, "key %x\n", k)
		for value := v[k]; len(value) > 0; {
			n := min(32, len(value))
			fmt.Fprintf(&b, "    %x\n", value[:n])
			value = value[n:]
		}
	}
	return []byte(b.String())
}

func undump(t *testing.T, text []byte) rows {
	v := rows{}
	key := ""
	for line := range strings.Lines(string(text)) {
		line, isKey := strings.CutPrefix(strings.TrimSpace(line), "key ")
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if isKey {
			key = string(b)
			b = nil
		}
		v[key] = append(v[key], b...)
	}
	return v
}

func TestGolden(t *testing.T) {
	covered := map[string]bool{}
	for _, g := range goldens() {
		covered[g.file] = true
		t.Run(g.file, func(t *testing.T) {
			path := filepath.Join("testdata", g.file)
			written := rows{}
			g.write(written)
			if *update && g.version == g.newest {
				if err := os.WriteFile(path, dump(written), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			stored := undump(t, text)
			for k, v := range stored {
				if v[0] != g.version {
					t.Errorf("row %x has version %d, want %d", k, v[0], g.version)
				}
			}
			got, want := g.read(t, stored)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("reads as something else (-want +got):\n%s", d)
			}
			if g.version == g.newest && !bytes.Equal(dump(written), text) {
				t.Errorf("writes other rows than version %d did:\n%s", g.version, dump(written))
			}
		})
	}
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !covered[filepath.Base(f)] {
			t.Errorf("%s is in no test: golden files stay for ever, and so do their entries", f)
		}
	}
	for row, newest := range map[string]byte{"pane": paneRowVersion, "seen": seenRowVersion, "meta": metaVersion} {
		for v := byte(1); v <= newest; v++ {
			if name := fmt.Sprintf("%s.v%d.hex", row, v); !covered[name] {
				t.Errorf("version %d of the %s row has no golden file %s", v, row, name)
			}
		}
	}
}
