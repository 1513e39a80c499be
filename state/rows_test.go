package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/topics"
)

var update = flag.Bool("update", false, "write the golden files of the newest versions")

// rows is a View over a map: what a store without a disk would be.
type rows map[string][]byte

func (r rows) Get(key []byte) ([]byte, error) { return r[string(key)], nil }
func (r rows) Set(key, value []byte)          { r[string(key)] = append([]byte{}, value...) }
func (r rows) Delete(key []byte)              { delete(r, string(key)) }

func (r rows) Next(prefix, from []byte) ([]byte, error) {
	for _, k := range slices.Sorted(maps.Keys(r)) {
		if k >= string(from) && strings.HasPrefix(k, string(prefix)) {
			return []byte(k), nil
		}
	}
	return nil, nil
}

func (r rows) Scan(prefix []byte, fn func(key, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(r)) {
		if strings.HasPrefix(k, string(prefix)) {
			if err := fn([]byte(k), r[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

func name(b []byte) string { return string(b) }

// load reads the pane row of a method back, nil where there is none.
func load(tb interface{ Fatalf(string, ...any) }, v View, method string, pane int64) *PaneRow {
	var row *PaneRow
	err := v.Scan(PanePrefix([]byte(method)), func(k, b []byte) error {
		m, p, block, err := ParsePaneKey(k)
		if err != nil || string(m) != method || p != pane {
			return err
		}
		if row == nil {
			row = &PaneRow{}
		}
		return row.DecodeBlock(block, b, name)
	})
	if err != nil {
		tb.Fatalf("read the row back: %v", err)
	}
	return row
}

// presence is one Add.
type presence struct {
	place   string
	hash    uint64
	outcome topics.Outcome
}

// naive is a pane row as FORMAT.md describes it, written for its plainness: sets of presences, and the bytes they make.
type naive map[string]map[uint64]topics.Outcome

func (n naive) add(p presence) {
	if n[p.place] == nil {
		n[p.place] = map[uint64]topics.Outcome{}
	}
	n[p.place][p.hash] |= p.outcome
}

func (n naive) bits(place string, o topics.Outcome) (bits [128]byte) {
	for h, has := range n[place] {
		if has&o != 0 {
			b := h / 4 % 1024
			word, bit := b/64, b%64
			bits[8*word+7-bit/8] |= 1 << (bit % 8) // words are written big-endian
		}
	}
	return bits
}

func fnv1a(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// stored is what the changelog holds of the row.
func (n naive) stored(method string, pane int64) rows {
	if len(n) == 0 {
		return rows{}
	}
	size := 2
	for place, set := range n {
		size += 3 + len(place) + 8*min(len(set), 32)
	}
	blocks := map[byte][]string{}
	for place := range n {
		b := byte(0)
		if size > 1024 {
			b = byte(fnv1a(place)%16) + 1
		}
		blocks[b] = append(blocks[b], place)
	}
	out := rows{}
	for b, places := range blocks {
		slices.Sort(places)
		v := append([]byte{1}, binary.AppendUvarint(nil, uint64(len(places)))...)
		for _, place := range places {
			v = append(append(v, byte(len(place))), place...)
			if set := n[place]; len(set) <= 32 {
				v = append(v, byte(len(set)))
				for _, h := range slices.Sorted(maps.Keys(set)) {
					v = binary.BigEndian.AppendUint64(v, h+uint64(set[h]))
				}
				continue
			}
			v = append(v, 0xFF)
			for _, o := range []topics.Outcome{topics.Allowed, topics.Denied} {
				bits := n.bits(place, o)
				v = append(v, bits[:]...)
			}
		}
		k := append([]byte{'w'}, method...)
		k = append(k, 0)
		k = binary.BigEndian.AppendUint64(k, uint64(pane)+1<<63)
		out[string(append(k, b))] = v
	}
	return out
}

func (n naive) count(place string, o topics.Outcome) (c int64) {
	for _, has := range n[place] {
		if has&o != 0 {
			c++
		}
	}
	return c
}

// presences draws adds that are few enough to meet each other: from rows of one place to rows of forty, of handfuls to
// hundreds of principals, around both thresholds.
func presences() *rapid.Generator[[]presence] {
	return rapid.Custom(func(t *rapid.T) []presence {
		places := rapid.IntRange(1, 40).Draw(t, "places")
		principals := rapid.SampledFrom([]int{3, 31, 32, 33, 34, 100, 2000}).Draw(t, "principals")
		ps := make([]presence, rapid.SampledFrom([]int{0, 1, 20, 200, 500}).Draw(t, "presences"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "contents"), 0))
		for i := range ps {
			place := rng.IntN(places)
			ps[i] = presence{
				place:   fmt.Sprintf("%c%c", 'A'+place%7, 'A'+place),
				hash:    topics.PrincipalHash(fmt.Sprint(rng.IntN(principals))),
				outcome: topics.Outcome(1 + rng.IntN(3)),
			}
		}
		return ps
	})
}

// TestPaneRowAgainstNaive holds that the stored bytes follow from the set of presences alone: not from their order, from
// repeats, from where transactions ended, or from when the row was dropped from the cache and read again.
func TestPaneRowAgainstNaive(t *testing.T) {
	const method, pane = "iam:CreateUser", int64(1_700_000_000 / 3600 * 3600)
	var split, whole, counted int
	rapid.Check(t, func(t *rapid.T) {
		ps := presences().Draw(t, "presences")
		want := naive{}
		for _, p := range ps {
			want.add(p)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		for range 2 {
			view := rows{}
			row := NewPaneRow()
			seen := naive{}
			for _, p := range withRepeats(ps, rng) {
				known := row.Known(p.place, p.hash)
				if has := seen[p.place][p.hash]; known&has != has {
					t.Fatalf("forgot a presence: known %v, was told %v", known, has)
				} else if known != has && len(seen[p.place]) <= exactLimit {
					t.Fatalf("claims presence %v where %v was told", known, has)
				}
				row.Add(p.place, p.hash, p.outcome)
				seen.add(p)
				switch rng.IntN(20) {
				case 0:
					row.Stage(view, []byte(method), pane)
				case 1: // evicted from the cache
					row.Stage(view, []byte(method), pane)
					row = load(t, view, method, pane)
				case 2: // a transaction that changed nothing
					row.Stage(view, []byte(method), pane)
					before := maps.Clone(view)
					writes := &counting{View: view}
					row.Add(p.place, p.hash, p.outcome)
					row.Stage(writes, []byte(method), pane)
					if writes.n != 0 || !maps.EqualFunc(before, view, bytes.Equal) {
						t.Fatalf("a repeat wrote %d rows", writes.n)
					}
				}
			}
			if len(ps) > 0 {
				row.Stage(view, []byte(method), pane)
			}
			if d := cmp.Diff(map[string][]byte(want.stored(method, pane)), map[string][]byte(view)); d != "" {
				t.Fatalf("stored rows (-want +got):\n%s", d)
			}
			if len(ps) == 0 {
				return
			}
			if len(view) > 1 || strings.HasPrefix(slices.Collect(maps.Keys(view))[0][len(method)+10:], "\x01") {
				split++
			} else {
				whole++
			}
			for _, r := range []*PaneRow{row, load(t, view, method, pane)} {
				if len(r.Cells) != len(want) {
					t.Fatalf("%d places, want %d", len(r.Cells), len(want))
				}
				for place, set := range want {
					c := r.Cell(place)
					exact, ok := c.Exact()
					if ok != (len(set) <= 32) {
						t.Fatalf("%s with %d principals: exact is %v", place, len(set), ok)
					}
					if !ok {
						counted++
						bits := want.bits(place, topics.Allowed)
						if got, want := c.Visits(), int64(estimate[ones(bits[:])]); got != want {
							t.Fatalf("%s counts %d visits, want %d", place, got, want)
						}
						continue
					}
					if len(exact) != len(set) || c.Visits() != want.count(place, topics.Allowed) {
						t.Fatalf("%s has %d principals and %d visits, want %d and %d", place, len(exact), c.Visits(), len(set), want.count(place, topics.Allowed))
					}
				}
			}
			row.Delete(view, []byte(method), pane)
			if len(view) != 0 {
				t.Fatalf("%d blocks are left of a deleted row", len(view))
			}
		}
	})
	if split == 0 || whole == 0 || counted == 0 {
		t.Errorf("drew %d split rows, %d whole ones and %d counted cells: one kind is missing", split, whole, counted)
	}
}

// withRepeats shuffles the presences and tells some of them more than once, some with their outcomes apart.
func withRepeats(ps []presence, rng *rand.Rand) []presence {
	out := slices.Clone(ps)
	for _, p := range ps {
		switch rng.IntN(4) {
		case 0:
			out = append(out, p)
		case 1:
			if p.outcome == topics.Allowed|topics.Denied {
				out = append(out, presence{p.place, p.hash, topics.Allowed}, presence{p.place, p.hash, topics.Denied})
			}
		}
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func ones(bits []byte) (n int) {
	for _, b := range bits {
		for ; b != 0; b &= b - 1 {
			n++
		}
	}
	return n
}

// counting counts writes.
type counting struct {
	View
	n int
}

func (c *counting) Set(k, v []byte) { c.n++; c.View.Set(k, v) }
func (c *counting) Delete(k []byte) { c.n++; c.View.Delete(k) }

func TestCellTurnsIntoCounter(t *testing.T) {
	row := NewPaneRow()
	hash := func(i int) uint64 { return topics.PrincipalHash(fmt.Sprint("principal ", i)) }
	for i := range 32 {
		row.Add("DE", hash(i), topics.Allowed)
	}
	row.Add("DE", hash(0), topics.Denied)
	c := row.Cell("DE")
	if exact, ok := c.Exact(); !ok || len(exact) != 32 || c.Visits() != 32 {
		t.Fatalf("32 principals: exact %v, %d of them, %d visits", ok, len(exact), c.Visits())
	}
	if got := row.Known("DE", hash(0)); got != topics.Allowed|topics.Denied {
		t.Errorf("principal 0 is known as %v", got)
	}
	if got := row.Known("DE", hash(1)); got != topics.Allowed {
		t.Errorf("principal 1 is known as %v", got)
	}
	row.Add("DE", hash(32), topics.Denied)
	if _, ok := c.Exact(); ok {
		t.Fatal("33 principals are spelled out")
	}
	for i := range 33 {
		want := topics.Allowed
		if i == 32 {
			want = topics.Denied
		}
		if row.Known("DE", hash(i))&want == 0 {
			t.Errorf("principal %d was forgotten", i)
		}
	}
	// The denied one is no visit. 32 bits or a few less, where principals share one.
	if v := c.Visits(); v < 30 || v > 33 {
		t.Errorf("32 allowed principals count as %d visits", v)
	}
	if row.Known("FR", hash(1)) != 0 {
		t.Error("knows a principal in a place that has none")
	}
	if row.Cell("FR") != nil {
		t.Error("asking made a cell")
	}
}

func TestEstimate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n   int
		std float64 // standard error, relative
	}{{33, .035}, {100, .025}, {300, .025}, {1000, .03}, {3000, .06}, {5000, .15}} {
		const trials = 400
		var sum, squares float64
		for range trials {
			var cell Cell
			for range c.n {
				cell.add(rng.Uint64()&^3, topics.Allowed)
			}
			e := float64(cell.Visits())/float64(c.n) - 1
			sum += e
			squares += e * e
		}
		mean, std := sum/trials, math.Sqrt(squares/trials)
		t.Logf("%5d principals: bias %+.2f %%, standard error %.2f %%", c.n, 100*mean, 100*std)
		if std > c.std || math.Abs(mean) > c.std/2 {
			t.Errorf("%d principals are estimated with a bias of %.3f and a standard error of %.3f, want at most %.3f", c.n, mean, std, c.std)
		}
	}
	if estimate[0] != 0 || estimate[1] != 1 || !slices.IsSorted(estimate[:]) {
		t.Error("the estimate does not grow from 0 and 1 with the set bits")
	}
	if full := estimate[counterBits]; full != 7808 {
		t.Errorf("a full counter counts %d, want 7808", full)
	}
}

// TestSplitAtThreshold walks a row over splitBytes in its last step and looks at each write.
func TestSplitAtThreshold(t *testing.T) {
	method, pane := []byte("s3:GetObject"), int64(7200)
	view := rows{}
	row := NewPaneRow()
	add := func(place string, i int) { row.Add(place, topics.PrincipalHash(fmt.Sprint(place, i)), topics.Allowed) }
	for _, p := range []string{"DE", "FR", "US"} {
		for i := range 32 {
			add(p, i)
		}
	}
	for i := range 29 {
		add("GB", i)
	}
	row.Stage(view, method, pane)
	if size := 2 + 4*5 + 8*(3*32+29); size != 1022 || len(view) != 1 || view[string(PaneKey(method, pane, 0))] == nil {
		t.Fatalf("a row of %d bytes is stored as %d rows", size, len(view))
	}
	add("DE", 32) // the 33rd turns the cell into a counter of the same size: nothing is split yet
	row.Stage(view, method, pane)
	if len(view) != 1 {
		t.Fatalf("stored as %d rows", len(view))
	}
	add("GB", 29)
	row.Stage(view, method, pane)
	if _, ok := view[string(PaneKey(method, pane, 0))]; ok {
		t.Error("the whole row is still there beside its blocks")
	}
	for _, p := range []string{"DE", "FR", "GB", "US"} {
		if view[string(PaneKey(method, pane, blockOf(p)))] == nil {
			t.Errorf("the block of %s is missing", p)
		}
	}
	writes := &counting{View: view}
	add("US", 1000)
	row.Stage(writes, method, pane)
	if writes.n != 1 {
		t.Errorf("one new visit rewrote %d blocks", writes.n)
	}

	// A build with a higher limit would find the row split where it writes it whole: it moves it back.
	small := &PaneRow{}
	small.split = true
	small.Cells = []Cell{{Place: "DE", exact: []uint64{4 | 1}}, {Place: "US", exact: []uint64{8 | 1}}}
	view = rows{}
	for _, k := range small.keys(method, pane) {
		view.Set(k, small.encode(k[len(k)-1]))
	}
	row = load(t, view, string(method), pane)
	row.Add("US", 12, topics.Denied)
	row.Stage(view, method, pane)
	if len(view) != 1 || view[string(PaneKey(method, pane, 0))] == nil {
		t.Errorf("a small row that was split is stored as %d rows", len(view))
	}
}

func TestPaneKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		method := topics.AppendMethodKey(nil, rapid.String().Draw(t, "scope"), rapid.StringN(1, -1, -1).Draw(t, "method"))
		pane, block := rapid.Int64().Draw(t, "pane"), rapid.ByteRange(0, blocks).Draw(t, "block")
		k := PaneKey(method, pane, block)
		m, p, b, err := ParsePaneKey(k)
		if err != nil || string(m) != string(method) || p != pane || b != block {
			t.Fatalf("key %x reads as %q %d %d, error %v", k, m, p, b, err)
		}
		if !bytes.HasPrefix(k, PanePrefix(method)) || !bytes.HasPrefix(k, AllPanes()) {
			t.Fatalf("key %x lies outside its prefixes", k)
		}
		// Rows of a method are sorted by time, also before 1970; no other method's rows lie among them.
		later := rapid.Int64Range(pane, math.MaxInt64).Draw(t, "later")
		if later > pane && bytes.Compare(k, PaneKey(method, later, 0)) >= 0 {
			t.Fatalf("pane %d sorts behind %d", pane, later)
		}
		other := topics.AppendMethodKey(nil, "", string(method)+rapid.StringN(1, -1, -1).Draw(t, "more"))
		if bytes.HasPrefix(PaneKey(other, pane, block), PanePrefix(method)) {
			t.Fatalf("rows of %q lie among those of %q", other, method)
		}
	})
	for _, k := range []string{"", "w", "w\x00", "wm\x0012345678", "w\x00123456789", "xm\x00123456789", "wm\x01123456789"} {
		if m, p, b, err := ParsePaneKey([]byte(k)); !errors.Is(err, ErrRow) {
			t.Errorf("key %q reads as %q %d %d, error %v", k, m, p, b, err)
		}
	}
}

func TestOtherKeys(t *testing.T) {
	keys := map[string][]byte{"pane": PaneKey([]byte("m"), 0, 0), "seen": SeenKey([]byte("m")), "alert": AlertKey("0123"), "pulse": PulseKey(PulseOfAccount, "m", ""), "position": positionKey, "meta": metaKey}
	first := map[byte]string{}
	for what, k := range keys {
		if other, taken := first[k[0]]; taken && k[0] != systemPrefix {
			t.Errorf("%s and %s rows share a prefix", what, other)
		}
		first[k[0]] = what
	}
	if !bytes.HasPrefix(keys["alert"], AlertPrefix()) || string(keys["alert"]) != "a0123" || string(keys["seen"]) != "sm" {
		t.Errorf("keys %q", keys)
	}
}

func TestSeenRowAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type visit struct {
			place string
			pane  int64
		}
		visits := rapid.SliceOf(rapid.Custom(func(t *rapid.T) visit {
			return visit{rapid.SampledFrom([]string{"DE", "FR", "US", "aws:us-east-1"}).Draw(t, "place"), 3600 * rapid.Int64Range(-2, 500_000).Draw(t, "hour")}
		})).Draw(t, "visits")
		want := map[string]Span{}
		first := int64(0)
		for i, v := range visits {
			if s, ok := want[v.place]; ok {
				want[v.place] = Span{min(s.First, v.pane), max(s.Last, v.pane)}
			} else {
				want[v.place] = Span{v.pane, v.pane}
			}
			if i == 0 || v.pane < first {
				first = v.pane
			}
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		var stored [2][]byte
		for i := range stored {
			view := rows{}
			var row SeenRow
			order := slices.Concat(visits, visits)
			rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			for _, v := range order {
				row.Add(v.place, v.pane)
				if rng.IntN(5) == 0 {
					row.Stage(view, []byte("m"))
					row = SeenRow{}
					if err := row.Decode(view[string(SeenKey([]byte("m")))], name); err != nil {
						t.Fatal(err)
					}
				}
			}
			row.Stage(view, []byte("m"))
			if d := cmp.Diff(want, row.Places); d != "" && len(want)+len(row.Places) > 0 {
				t.Fatalf("spans (-want +got):\n%s", d)
			}
			if row.First() != first {
				t.Fatalf("first pane %d, want %d", row.First(), first)
			}
			writes := &counting{View: view}
			if row.Stage(writes, []byte("m")); writes.n != 0 {
				t.Fatal("an unchanged row was written")
			}
			stored[i] = view[string(SeenKey([]byte("m")))]
		}
		if !bytes.Equal(stored[0], stored[1]) {
			t.Fatalf("two orders make two rows:\n%x\n%x", stored[0], stored[1])
		}
	})
}

func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Meta{rapid.Int64().Draw(t, "input"), rapid.Int64().Draw(t, "stream time"), rapid.String().Draw(t, "fingerprint")}
		b := want.append(nil)
		var got Meta
		if err := got.decode(b); err != nil || got != want {
			t.Fatalf("%+v reads as %+v, error %v", want, got, err)
		}
		for n := range len(b) {
			if err := got.decode(b[:n]); !errors.Is(err, ErrRow) {
				t.Fatalf("the first %d of %d bytes: error %v", n, len(b), err)
			}
		}
		if err := got.decode(append(b, 0)); !errors.Is(err, ErrRow) {
			t.Fatalf("one byte more: error %v", err)
		}
	})
	if err := new(Meta).decode([]byte{metaVersion + 1}); !errors.Is(err, ErrFormat) {
		t.Errorf("a newer meta row: error %v, want ErrFormat", err)
	}
}

// paneRow makes a row of n principals in each place.
func paneRow(n int, places ...string) *PaneRow {
	row := NewPaneRow()
	for _, p := range places {
		for i := range n {
			row.Add(p, topics.PrincipalHash(fmt.Sprint(p, i)), topics.Outcome(1+i%3))
		}
	}
	return row
}

func TestCorruptPaneRows(t *testing.T) {
	u := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	h := func(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }
	for what, b := range map[string]string{
		"nothing":                "",
		"version 0":              "\x00\x00",
		"no count":               "\x01",
		"count past the end":     "\x01\x02\x02DE\x01" + h(5),
		"count of all memory":    "\x01" + u(math.MaxUint64),
		"place past the end":     "\x01\x01\x09DE",
		"place of all memory":    "\x01\x01" + u(math.MaxUint64) + "DE\x01" + h(5),
		"place and nothing":      "\x01\x01\x02DE",
		"no principals":          "\x01\x01\x02DE\x00",
		"33 principals":          "\x01\x01\x02DE\x21" + strings.Repeat(h(5), 33),
		"principals cut":         "\x01\x01\x02DE\x02" + h(5) + "1234567",
		"principals unsorted":    "\x01\x01\x02DE\x02" + h(9) + h(5),
		"one principal twice":    "\x01\x01\x02DE\x02" + h(5) + h(6),
		"no outcome":             "\x01\x01\x02DE\x01" + h(4),
		"counter cut":            "\x01\x01\x02DE\xFF" + strings.Repeat("\x00", 255),
		"unknown form":           "\x01\x01\x02DE\xFE" + strings.Repeat("\x00", 256),
		"one place twice":        "\x01\x02\x02DE\x01" + h(5) + "\x02DE\x01" + h(5),
		"places unsorted":        "\x01\x02\x02FR\x01" + h(5) + "\x02DE\x01" + h(5),
		"a byte too many":        "\x01\x01\x02DE\x01" + h(5) + "\x00",
		"place of another block": "block",
	} {
		row := &PaneRow{}
		block := byte(wholeBlock)
		if b == "block" {
			b, block = "\x01\x01\x02DE\x01"+h(5), blockOf("DE")%blocks+1
		}
		if err := row.DecodeBlock(block, []byte(b), name); !errors.Is(err, ErrRow) {
			t.Errorf("%s: error %v, want ErrRow", what, err)
		}
	}
	if err := new(PaneRow).DecodeBlock(0, []byte{paneRowVersion + 1}, name); !errors.Is(err, ErrFormat) {
		t.Errorf("newer version: error %v, want ErrFormat", err)
	}
	// A row that is stored whole and in blocks as well.
	row := paneRow(1, "DE", "FR")
	if err := row.DecodeBlock(blockOf("DE"), paneRow(1, "DE").encode(wholeBlock), name); !errors.Is(err, ErrRow) {
		t.Errorf("a place in two blocks: error %v, want ErrRow", err)
	}
	whole := paneRow(40, "DE", "FR").encode(wholeBlock)
	for n := range len(whole) {
		if err := new(PaneRow).DecodeBlock(wholeBlock, whole[:n], name); !errors.Is(err, ErrRow) {
			t.Fatalf("the first %d of %d bytes: error %v", n, len(whole), err)
		}
	}
}

func TestCorruptSeenRows(t *testing.T) {
	u := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	for what, b := range map[string]string{
		"no bytes":            "",
		"version 0":           "\x00\x00",
		"no count":            "\x01",
		"count past the end":  "\x01\x02\x02DE\x02\x04",
		"count of all memory": "\x01" + u(math.MaxUint64),
		"place past the end":  "\x01\x01\x09DE",
		"place of all memory": "\x01\x01" + u(math.MaxUint64) + "DE\x02\x04",
		"no last pane":        "\x01\x01\x02DE\x02",
		"last before first":   "\x01\x01\x02DE\x04\x02",
		"one place twice":     "\x01\x02\x02DE\x02\x04\x02DE\x02\x04",
		"places unsorted":     "\x01\x02\x02FR\x02\x04\x02DE\x02\x04",
		"a byte too many":     "\x01\x01\x02DE\x02\x04\x00",
	} {
		if err := new(SeenRow).Decode([]byte(b), name); !errors.Is(err, ErrRow) {
			t.Errorf("%s: error %v, want ErrRow", what, err)
		}
	}
	if err := new(SeenRow).Decode([]byte{seenRowVersion + 1}, name); !errors.Is(err, ErrFormat) {
		t.Errorf("newer version: error %v, want ErrFormat", err)
	}
	row := SeenRow{Places: map[string]Span{"DE": {1, 2}}}
	if err := row.Decode(nil, name); err != nil || len(row.Places) != 0 || row.First() != 0 {
		t.Errorf("no row reads as %v, error %v", row.Places, err)
	}
}

func rowError(err error) bool { return errors.Is(err, ErrRow) || errors.Is(err, ErrFormat) }

func FuzzPaneRow(f *testing.F) {
	for _, r := range []*PaneRow{paneRow(1, "DE"), paneRow(32, "DE", "FR"), paneRow(40, "DE", "FR", "aws:us-east-1")} {
		f.Add(byte(wholeBlock), r.encode(wholeBlock))
		f.Add(blockOf("DE"), r.encode(blockOf("DE")))
	}
	f.Fuzz(func(t *testing.T, block byte, b []byte) {
		row := &PaneRow{}
		if err := row.DecodeBlock(block, b, name); err != nil {
			if !rowError(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		once := row.encode(block)
		again := &PaneRow{}
		if err := again.DecodeBlock(block, once, name); err != nil {
			t.Fatalf("does not read what it wrote: %v", err)
		}
		if twice := again.encode(block); !bytes.Equal(once, twice) || len(once) > len(b) {
			t.Fatalf("%x is written as %x and %x", b, once, twice)
		}
		for i := range row.Cells {
			row.Cells[i].Visits()
			row.Add(row.Cells[i].Place, 1<<40, topics.Allowed)
			if row.Known(row.Cells[i].Place, 1<<40)&topics.Allowed == 0 {
				t.Fatal("a row that was read forgets")
			}
		}
	})
}

func FuzzSeenRow(f *testing.F) {
	for _, b := range []string{"\x01\x00", "\x01\x01\x02DE\x02\x04", "\x01\x02\x02DE\x02\x04\x02FR\x01\x04"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var row SeenRow
		if err := row.Decode(b, name); err != nil {
			if !rowError(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		row.dirty = true
		view := rows{}
		row.Stage(view, nil)
		var again SeenRow
		if err := again.Decode(view["s"], name); err != nil || !maps.Equal(row.Places, again.Places) {
			t.Fatalf("%x is written as %x: %v", b, view["s"], err)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add((&Meta{}).append(nil))
	f.Add((&Meta{Input: 1 << 40, StreamTime: -1, Fingerprint: "pane=1h"}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again Meta
		if err := m.decode(b); err != nil {
			if !rowError(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if err := again.decode(m.append(nil)); err != nil || again != m {
			t.Fatalf("%+v is written as %+v: %v", m, again, err)
		}
	})
}

func FuzzPaneKey(f *testing.F) {
	f.Add(PaneKey([]byte("iam:CreateUser"), 1_699_999_200, 3))
	f.Fuzz(func(t *testing.T, k []byte) {
		method, pane, block, err := ParsePaneKey(k)
		if err != nil {
			if !errors.Is(err, ErrRow) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if !bytes.Equal(PaneKey(method, pane, block), k) {
			t.Fatalf("%x is not what its parts make", k)
		}
	})
}
