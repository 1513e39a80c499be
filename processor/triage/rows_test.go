package triage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

var update = flag.Bool("update", false, "write the golden files of the newest versions")

// row is what the rows of triage have in common.
type row interface {
	append([]byte) []byte
	decode([]byte) error
}

// staysRow gives stays, which append by value, the form of a row.
type staysRow struct{ stays }

func (s *staysRow) append(b []byte) []byte { return s.stays.append(b) }

// rowKinds are the rows with fields of every kind set.
func rowKinds() map[string]row {
	trail := trail{end: 472_000, bits: 0b1011}
	seen := func(name string) presence {
		return presence{name: name, first: monday - 12*day, last: monday, days: trail, panes: trail, hours: weekHours{1, 2, 3}}
	}
	other := func(name string) presence { p := seen(name); p.hours = weekHours{}; return p }
	lead := anomaly("iam:CreateUser", 90, "NG", 3600)
	lead.Distribution.Top = []topics.PlaceCount{{Place: "DE", Visits: 200}}
	lead.Visit.Evidence.Resources = []string{"arn:aws:iam::111122223333:user/mallory"}
	everyone := anomaly(topics.AnyMethod, 70, "NG", 3600)
	return map[string]row{
		"profile": &profile{
			since: monday - 12*day, last: monday, days: trail, places: []presence{seen("DE"), seen("aws:us-east-1")},
			clients: []presence{other("aws-cli on linux")}, keys: []presence{other("AKIAUSUAL")}, networks: []presence{other("AS1"), other("AS2")},
			accepted: []string{"FR"}, refused: []string{"KP", "NG"}, stayed: monday + day,
		},
		"stays": &staysRow{stays{
			{place: "NG", day: monday, first: monday, last: monday + 7*hour, alerted: true},
			{place: "DE", day: monday + day, first: monday + day, last: monday + day, settled: true, facts: (&group{version: 1, clients: []string{"aws-cli on linux"}}).append(nil)},
		}},
		"alert": &group{
			version: 7, route: sent, verdict: malicious, timely: true, first: (monday + 60) * 1000, last: (monday + 3600) * 1000, outcome: topics.Allowed | topics.Denied,
			lead: lead, organisation: everyone, dropped: 3,
			methods: []alert.Method{
				{Name: "iam:CreateUser", Score: 90, Level: topics.Unseen, Outcome: topics.Allowed, First: (monday + 60) * 1000, EventID: "e1", Account: "111122223333", New: true},
				{Name: "s3:ListBuckets", Score: 12.34, Level: topics.Rare, Outcome: topics.Denied, First: (monday + 90) * 1000},
			},
			clients: []string{"Boto3 on kali"}, keys: []string{"AKIANEW", "AKIAUSUAL"}, networks: networks{{"AS1", "Example Hosting"}},
			overlap: overlap{place: "DE", hours: 1, km: 3911}, told: judgement{score: 8250, why: 1 << 63},
		},
		"cap": &bucket{
			tokens: 1500, at: monday * 1000, window: monday * 1000, heldAll: 5, told: 4, version: 3,
			strongest: held{id: "00112233445566778899aabbccddeeff", score: 7700, first: monday * 1000, last: (monday + 60) * 1000, outcome: topics.Allowed, lead: lead},
			held:      map[alert.Severity]int64{alert.Low: 2, alert.Medium: 2, alert.High: 1, alert.Critical: 0},
		},
	}
}

func freshRow(kind string) row {
	switch kind {
	case "profile":
		return &profile{}
	case "stays":
		return &staysRow{}
	case "alert":
		return &group{}
	}
	return &bucket{}
}

func newestRow(kind string) byte {
	return map[string]byte{"profile": profileVersion, "stays": staysVersion, "alert": groupVersion, "cap": capVersion}[kind]
}

func diffRows(a, b row) string {
	return cmp.Diff(a, b, cmp.AllowUnexported(profile{}, presence{}, trail{}, staysRow{}, stay{}, group{}, overlap{}, judgement{}, bucket{}, held{}), cmpopts.EquateEmpty())
}

func readGolden(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return b
}

// TestOldCap reads the first version of the cap row, whose counts were always told and whose strongest alert is not known.
func TestOldCap(t *testing.T) {
	want := rowKinds()["cap"].(*bucket)
	want.heldAll, want.told, want.strongest = 4, 4, held{}
	want.held[alert.Low] = 1
	got := &bucket{}
	if err := got.decode(readGolden(t, "testdata/cap.v1.hex")); err != nil {
		t.Fatal(err)
	}
	if d := diffRows(want, got); d != "" {
		t.Errorf("it reads as something else (-want +got):\n%s", d)
	}
}

// TestOldProfile reads the first versions of the rows of a principal, which did not say how long it stayed, and had no facts.
func TestOldProfile(t *testing.T) {
	rows := rowKinds()
	rows["profile"].(*profile).stayed = unsaid
	rows["stays"].(*staysRow).stays[1].facts = nil
	for _, kind := range []string{"profile", "stays"} {
		got := freshRow(kind)
		if err := got.decode(readGolden(t, "testdata/"+kind+".v1.hex")); err != nil {
			t.Fatal(err)
		}
		if d := diffRows(rows[kind], got); d != "" {
			t.Errorf("%s reads as something else (-want +got):\n%s", kind, d)
		}
	}
}

// TestGoldenRows reads rows as the newest version of each writes them. Files of old versions stay for ever.
func TestGoldenRows(t *testing.T) {
	for kind, want := range rowKinds() {
		file := filepath.Join("testdata", fmt.Sprintf("%s.v%d.hex", kind, newestRow(kind)))
		if *update {
			var lines []byte
			for b := want.append(nil); len(b) > 0; {
				n := min(32, len(b))
				lines = append(hex.AppendEncode(lines, b[:n]), '\n')
				b = b[n:]
			}
			if err := os.WriteFile(file, lines, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b := readGolden(t, file)
		got := freshRow(kind)
		if err := got.decode(b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d := diffRows(want, got); d != "" {
			t.Errorf("%s reads as something else (-want +got):\n%s", file, d)
		}
		if !bytes.Equal(want.append(nil), b) {
			t.Errorf("%s: the row is written in other bytes", file)
		}
	}
}

// TestRowsAreRefused: a row that was cut or lengthened is corrupt, one of a newer build is not for this one to judge.
func TestRowsAreRefused(t *testing.T) {
	for kind, r := range rowKinds() {
		whole := r.append(nil)
		for n := range whole {
			if err := freshRow(kind).decode(whole[:n]); !errors.Is(err, state.ErrRow) {
				t.Errorf("%s cut at %d of %d: error %v, want ErrRow", kind, n, len(whole), err)
			}
		}
		if err := freshRow(kind).decode(append(bytes.Clone(whole), 0)); !errors.Is(err, state.ErrRow) {
			t.Errorf("%s with a byte more: error %v, want ErrRow", kind, err)
		}
		for version, want := range map[byte]error{0: state.ErrRow, newestRow(kind) + 1: state.ErrFormat, 255: state.ErrFormat} {
			other := bytes.Clone(whole)
			other[0] = version
			if err := freshRow(kind).decode(other); !errors.Is(err, want) {
				t.Errorf("%s of version %d: error %v, want %v", kind, version, err, want)
			}
		}
	}
}

// TestBadRowStopsTheTask: what can't be read is not taken for nothing.
func TestBadRowStopsTheTask(t *testing.T) {
	for _, key := range [][]byte{state.ProfileKey("alice"), state.StaysKey("alice"), state.AlertKey(alert.ID("alice", "NG", monday)), state.CapKey()} {
		d := newDesk(t, easily())
		d.store.Set(key, []byte{1, 0xff})
		a := anomaly("s:A", 100, "NG", 0)
		if _, err := d.task.Record(a.Append(nil, nil), d.now, d); !errors.Is(err, state.ErrRow) || d.written != 0 {
			t.Errorf("row %q: error %v, %d alerts written", key, err, d.written)
		}
	}
	for _, key := range [][]byte{state.ExceptionKey("x"), state.SinceKey("1")} {
		d := newDesk(t, DefaultConfig())
		d.store.Set(key, []byte{1, 0xff, 0xff})
		if _, err := NewTask(d.cfg, d.store, 0); !errors.Is(err, state.ErrRow) {
			t.Errorf("row %q: error %v", key, err)
		}
	}
}

// TestTrails holds the bits of a trail against the set that they stand for.
func TestTrails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := func(label string) (trail, map[int64]bool) {
			var tr trail
			all := rapid.SliceOfN(rapid.Int64Range(1000, 1100), 0, 12).Draw(t, label)
			last := int64(0)
			for _, u := range all {
				last = max(last, u)
			}
			set := map[int64]bool{}
			for _, u := range all {
				tr.add(u)
			}
			for _, u := range all {
				if last-u < 64 {
					set[u] = true
				}
			}
			return tr, set
		}
		a, setA := units("a")
		b, setB := units("b")
		at := rapid.Int64Range(990, 1110).Draw(t, "unit")
		before, nearest, near, meets := 0, int64(0), false, false
		for u := range setA {
			if u < at {
				before++
			}
			for o := range setB {
				meets = meets || u == o
				if d := max(u-o, o-u); u >= at && (!near || d < nearest) {
					nearest, near = d, true
				}
			}
		}
		if got := a.before(at); got != before {
			t.Fatalf("%d units before %d, want %d", got, at, before)
		}
		if got := a.until(at); got.before(1<<40) != before {
			t.Fatalf("%d units are left before %d, want %d", got.before(1<<40), at, before)
		}
		if got, ok := a.nearest(b, at); ok != near || got != nearest {
			t.Fatalf("nearest %d, %v, want %d, %v", got, ok, nearest, near)
		}
		if got := a.meets(b); got != meets {
			t.Fatalf("meets %v, want %v", got, meets)
		}
		u := rapid.Int64Range(1000, 1100).Draw(t, "more")
		was := a
		if added := a.add(u); added != (a != was) {
			t.Fatalf("adding %d to %+v says %v and makes it %+v", u, was, added, a)
		}
		if a.add(u) {
			t.Fatalf("adding %d twice changes something", u)
		}
	})
}

func TestHoursOfTheWeek(t *testing.T) {
	if got := hourOfWeek(monday); got != 0 {
		t.Errorf("a Monday's midnight is hour %d of the week", got)
	}
	var h weekHours
	if h.near(9) {
		t.Error("an empty set has an hour")
	}
	if !h.add(hourOfWeek(monday+9*hour)) || h.add(hourOfWeek(monday+7*day+9*hour)) {
		t.Error("the same hour of two weeks is not one")
	}
	for at, want := range map[int64]bool{7: false, 8: true, 9: true, 10: true, 11: false, 24 + 10: true, 6*24 + 8: true, 6*24 + 7: false} {
		if got := h.near(int(at)); got != want {
			t.Errorf("hour %d is near Monday's ninth on some day: %v, want %v", at, got, want)
		}
	}
	var midnight weekHours
	midnight.add(0)
	if !midnight.near(167) || !midnight.near(1) || midnight.near(2) {
		t.Error("the hours do not go round")
	}
}

// TestProfileIsBounded: past its limits a profile forgets what was not seen for longest.
func TestProfileIsBounded(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	for i := range int64(3 * maxPlaces) {
		s := sighting(string([]byte{'A' + byte(i/26), 'A' + byte(i%26)}), i*hour)
		s.Client, s.KeyID, s.Network = "c"+s.Visit.Place, "k"+s.Visit.Place, "n"+s.Visit.Place
		d.sight(s)
	}
	var p profile
	d.profileOf("alice", &p)
	for what, list := range map[string][]presence{"places": p.places, "clients": p.clients, "keys": p.keys, "networks": p.networks} {
		limit := maxOthers
		if what == "places" {
			limit = maxPlaces
		}
		if len(list) != limit {
			t.Errorf("%d %s, want %d", len(list), what, limit)
		}
		for i, e := range list {
			if e.first < monday+int64(3*maxPlaces-limit)*hour || i > 0 && list[i-1].name >= e.name {
				t.Errorf("%s: %s of hour %d at %d", what, e.name, (e.first-monday)/hour, i)
			}
		}
	}
	// What is older than all of them is not worth forgetting one of them for.
	old := sighting("ZZ-old", -hour)
	d.sight(old)
	var after profile
	d.profileOf("alice", &after)
	if find(after.places, "ZZ-old") != nil {
		t.Error("an old place took the room of a newer one")
	}
}

// fuzzRow holds for any bytes: they are refused with an error of the store's kinds, or read, written and read again the same.
func fuzzRow(f *testing.F, kind string) {
	for _, r := range rowKinds() {
		b := r.append(nil)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := freshRow(kind)
		if err := r.decode(b); err != nil {
			if !errors.Is(err, state.ErrRow) && !errors.Is(err, state.ErrFormat) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		once := r.append(nil)
		again := freshRow(kind)
		if err := again.decode(once); err != nil {
			t.Fatalf("does not read what it wrote: %v", err)
		}
		if !bytes.Equal(once, again.append(nil)) {
			t.Fatal("writes the same row in two ways")
		}
	})
}

func FuzzProfile(f *testing.F) { fuzzRow(f, "profile") }
func FuzzStays(f *testing.F)   { fuzzRow(f, "stays") }
func FuzzGroup(f *testing.F)   { fuzzRow(f, "alert") }
func FuzzCap(f *testing.F)     { fuzzRow(f, "cap") }
