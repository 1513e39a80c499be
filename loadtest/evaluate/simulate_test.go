package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// tiny is a world that is simulated in a fraction of a second and still has everything in it.
func tiny(t *testing.T) world {
	t.Helper()
	w, ok := worldOf("noisy")
	if !ok {
		t.Fatal("no world noisy")
	}
	w.principals, w.accounts, w.incidents = 200, 3, 3
	w.openings, w.joiners = 1, 10
	return w
}

func simulated(t *testing.T, w world, seed uint64) *stream {
	t.Helper()
	s, err := simulate(readLists(), w, seed, 10, 5)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digest(t *testing.T, s *stream) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %x\n", strings.TrimPrefix(path, dir), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestSameSeedSameFiles(t *testing.T) {
	w := tiny(t)
	first := digest(t, simulated(t, w, 7))
	if again := digest(t, simulated(t, w, 7)); again != first {
		t.Error("the same seed made other files")
	}
	if other := digest(t, simulated(t, w, 8)); other == first {
		t.Error("another seed made the same files")
	}
}

func TestDelaysAndDuplicates(t *testing.T) {
	s := simulated(t, tiny(t), 7)
	var delays []float64
	behind, newest := 0, uint32(0)
	byDelivery := slices.Clone(s.events)
	slices.SortStableFunc(byDelivery, func(a, b event) int {
		return int(int64(a.at+uint32(a.delay)) - int64(b.at+uint32(b.delay)))
	})
	for _, e := range byDelivery {
		delays = append(delays, float64(e.delay))
		if e.at < newest {
			behind++
		}
		newest = max(newest, e.at)
	}
	slices.Sort(delays)
	if p := quantile(delays, .5); p < 180 || p > 200 {
		t.Errorf("half of the events are delivered after %v s, want about 191", p)
	}
	if p := quantile(delays, .99); p < 500 || p > 580 {
		t.Errorf("99 %% of the events are delivered after %v s, want about 542", p)
	}
	if share := float64(behind) / float64(len(delays)); share < .5 {
		t.Errorf("%.2f of the events come out of order, want most", share)
	}
	again := float64(len(s.events)-int(s.count)) / float64(s.count)
	if again < .19 || again > .21 {
		t.Errorf("%.3f of the events are delivered twice, want 0.2", again)
	}
}

func TestEventIDs(t *testing.T) {
	s := simulated(t, tiny(t), 7)
	for _, n := range []uint32{0, 1, s.count / 2, s.count - 1} {
		id := string(s.appendEventID(nil, n))
		if got, ok := s.numberOf(id); !ok || got != n {
			t.Errorf("event %d has id %s, which says %d, %t", n, id, got, ok)
		}
	}
	for _, id := range []string{"", "00000000-0000-4000-a000-000000000000", string(s.appendEventID(nil, s.count)), strings.Repeat("x", 36)} {
		if n, ok := s.numberOf(id); ok {
			t.Errorf("%q is no id of the stream, and was taken for event %d", id, n)
		}
	}
}

// TestIncidents: what is planted is there, as labelled.
func TestIncidents(t *testing.T) {
	s := simulated(t, tiny(t), 7)
	kinds, victims := map[string]int{}, map[uint32]bool{}
	homes := map[uint32]map[string]bool{} // places of a principal's own calls
	calls := map[int]int{}
	where := map[string]map[uint32]bool{} // who is in a place, ever
	own := map[uint32][]uint32{}          // times of a principal's own calls
	for i := range s.events {
		e := &s.events[i]
		x := &s.sessions[e.session]
		place := s.places[x.place]
		if where[place] == nil {
			where[place] = map[uint32]bool{}
		}
		where[place][x.principal] = true
		n := s.labelOf(e).incident
		if n < 0 {
			if homes[x.principal] == nil {
				homes[x.principal] = map[string]bool{}
			}
			homes[x.principal][place] = true
			own[x.principal] = append(own[x.principal], e.at)
			continue
		}
		if e.at < s.judgedFrom {
			t.Fatalf("incident %d begins before the judged days", n)
		}
		if in := s.incidents[n]; x.principal != in.principal || place != in.place || s.labelOf(e).kind != in.kind {
			t.Fatalf("an event of incident %d is by %d from %s as %s, want %d, %s, %s", n, x.principal, place, s.labelOf(e).kind, in.principal, in.place, in.kind)
		}
		if !e.again {
			calls[n]++
		}
	}
	for n, in := range s.incidents {
		kinds[in.kind]++
		if victims[in.principal] {
			t.Errorf("%d is robbed twice", in.principal)
		}
		victims[in.principal] = true
		if calls[n] == 0 || calls[n] != in.calls {
			t.Errorf("incident %d (%s) has %d calls in the stream, says %d", n, in.kind, calls[n], in.calls)
		}
		places, p := homes[in.principal], &s.principals[in.principal]
		switch in.kind {
		case farKey:
			if len(where[in.place]) != 1 {
				t.Errorf("%s is new to the organisation, and %d principals are there", in.place, len(where[in.place]))
			}
			if p.kind != iamUser {
				t.Errorf("a stolen key of principal kind %d", p.kind)
			}
		case roleOutside:
			if !p.machine || p.kind != role || strings.HasPrefix(in.place, "aws:") {
				t.Errorf("a role used outside AWS: %+v from %s", p, in.place)
			}
		case colleagues:
			if len(where[in.place]) < 2 || places[in.place] {
				t.Errorf("colleagues' country %s of %v has %d principals", in.place, places, len(where[in.place]))
			}
		case hosting:
			if !slices.Contains(hostingCountries, in.place) {
				t.Errorf("%s is no hosting country", in.place)
			}
		case lowAndSlow:
			if in.calls < 10 {
				t.Errorf("low and slow with %d calls", in.calls)
			}
		case homeCountry:
			if !places[in.place] {
				t.Errorf("the victim's own country is %v, not %s", places, in.place)
			}
		case patientAway:
			// A night of trouble calls people back from anywhere; none is called in this simulation.
			if at := slices.IndexFunc(own[in.principal], func(at uint32) bool { return at >= in.first && at < in.first+(quietDays+1)*day }); at >= 0 {
				t.Errorf("the victim of incident %d is away, and calls at %d", n, own[in.principal][at])
			}
		}
	}
	for _, k := range incidentKinds {
		if kinds[k] != s.world.incidents {
			t.Errorf("%d intrusions of kind %q, want %d", kinds[k], k, s.world.incidents)
		}
	}
}

// TestNovelty: every kind of what is new and benign happens.
func TestNovelty(t *testing.T) {
	got := map[string]int{}
	for seed := range uint64(4) {
		s := simulated(t, tiny(t), seed)
		for i := range s.events {
			got[s.labelOf(&s.events[i]).kind]++
		}
	}
	for _, k := range benignKinds {
		if got[k] == 0 {
			t.Errorf("nothing of kind %q happened", k)
		}
	}
	if all := got[ordinary]; all < got[travel]*5 {
		t.Errorf("%d ordinary events against %d of travel", all, got[travel])
	}
}

// TestKeys: an intruder mostly has the key that the victim used last, and none that was never theirs by accident.
func TestKeys(t *testing.T) {
	s := simulated(t, tiny(t), 7)
	keys := map[string]uint32{}
	for i := range s.sessions {
		if x := &s.sessions[i]; s.labels[x.label].incident < 0 && x.key != "" {
			if p, ok := keys[x.key]; ok && p != x.principal {
				t.Fatalf("key %s has two owners", x.key)
			}
			keys[x.key] = x.principal
		}
	}
	same := 0
	for i := range s.sessions {
		x := &s.sessions[i]
		n := s.labels[x.label].incident
		if n < 0 {
			continue
		}
		owner, known := keys[x.key]
		if known && owner != x.principal {
			t.Errorf("incident %d uses a key of %d against %d", n, owner, x.principal)
		}
		if known {
			same++
		}
		if !s.incidents[n].sameKey && known {
			t.Errorf("incident %d has a key of its own, and it is the victim's", n)
		}
	}
	if same < len(s.incidents)/2 {
		t.Errorf("%d of %d intruders have a key that the victim used, want most", same, len(s.incidents))
	}
}

// TestFiles: what is written is what CloudTrail would write, and all of it.
func TestFiles(t *testing.T) {
	s := simulated(t, tiny(t), 7)
	dir := t.TempDir()
	files, err := s.write(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^AWSLogs/\d{12}/CloudTrail/[a-z0-9-]+/2026/\d\d/\d\d/\d{12}_CloudTrail_[a-z0-9-]+_\d{8}T\d{4}Z_[0-9a-f]{16}\.json\.gz$`)
	found, records, denied := 0, 0, 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		if rel, _ := filepath.Rel(dir, path); !name.MatchString(rel) {
			t.Errorf("a file is named %s", rel)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(z)
		if err != nil {
			return err
		}
		var doc struct {
			Records []struct {
				EventID, EventName, EventSource, SourceIPAddress, ErrorCode string
				UserIdentity                                                struct{ Type, ARN, AccessKeyID string }
			}
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			return err
		}
		for _, r := range doc.Records {
			records++
			n, ok := s.numberOf(r.EventID)
			if !ok || n >= s.count {
				t.Fatalf("a record has id %q", r.EventID)
			}
			if r.ErrorCode != "" {
				denied++
			}
			if _, err := netip.ParseAddr(r.SourceIPAddress); err != nil && !strings.HasSuffix(r.SourceIPAddress, ".amazonaws.com") && r.SourceIPAddress != "AWS Internal" {
				t.Errorf("a source address is %q", r.SourceIPAddress)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != files || records != len(s.events) || denied == 0 {
		t.Errorf("%d files with %d records, %d of them denied; want %d with %d", found, records, denied, files, len(s.events))
	}
}

func TestTooManyEvents(t *testing.T) {
	s := &stream{events: make([]event, maxEvents+1)}
	if err := s.finish(); err == nil || !strings.Contains(err.Error(), "fewer days") {
		t.Errorf("%d events: %v, want an error that says what to do", len(s.events), err)
	}
}
