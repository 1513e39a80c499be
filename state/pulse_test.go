package state

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPulseRowAgainstNaive: a row fed in any order, with repeats, and read back, is that of the set of beats.
func TestPulseRowAgainstNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		beats := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-40, 40), rapid.Int64Range(-2000, 2000)), 1, 60).Draw(rt, "beats")
		within := rapid.SampledFrom([]int64{30, 720, 5000}).Draw(rt, "within")
		row := func(beats []int64) *PulseRow {
			r := NewPulseRow(beats[0], 7)
			for _, b := range beats[1:] {
				before := *r
				if r.Add(b) != (*r != before) {
					rt.Fatalf("Add(%d) does not say whether it changed %+v", b, before)
				}
			}
			return r
		}
		r := row(beats)
		if other := row(append(rapid.Permutation(beats).Draw(rt, "order"), beats...)); *other != *r {
			rt.Fatalf("another order gives %+v, not %+v", other, r)
		}
		set := slices.Compact(slices.Sorted(slices.Values(beats)))
		first, last := set[0], set[len(set)-1]
		reach := min(within, pulseBeats)
		longest, at := int64(0), last
		for _, b := range slices.Backward(set) {
			if last-b < reach {
				longest, at = max(longest, at-b), b
			}
		}
		if last-first >= reach {
			longest = max(longest, reach-(last-at))
		}
		if got := r.Longest(within); r.First != first || r.Last != last || got != longest {
			rt.Fatalf("%v: first %d, last %d, longest of %d is %d, want %d, %d, %d", set, r.First, r.Last, within, got, first, last, longest)
		}
		since, after := rapid.Int64Range(-50, 50).Draw(rt, "since"), int64(0)
		for _, b := range set {
			if b > since && last-b < pulseBeats {
				after++
			}
		}
		if got := r.Since(since); got != after {
			rt.Fatalf("%v: %d beats since %d, want %d", set, got, since, after)
		}
		r.Told = rapid.Bool().Draw(rt, "told")
		v := rows{}
		r.Stage(v, []byte("k"))
		var back PulseRow
		if err := back.Decode(v["k"]); err != nil || back != *r {
			rt.Fatalf("read back as %+v, not %+v: %v", back, r, err)
		}
	})
}

func TestPulseKeys(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		what := rapid.SampledFrom([]byte{PulseOfAccount, PulseOfRegion, PulseOfPartition}).Draw(rt, "what")
		text := rapid.StringMatching(`[a-z0-9?-]{0,12}`)
		name, part := text.Draw(rt, "name"), text.Draw(rt, "part")
		w, n, p, err := ParsePulseKey(PulseKey(what, name, part))
		if what == PulseOfAccount {
			part = ""
		}
		if err != nil || w != what || n != name || p != part {
			rt.Fatalf("%c %q %q reads as %c %q %q: %v", what, name, part, w, n, p, err)
		}
	})
	if k := string(PulseKey(PulseOfRegion, "a\x00b", "\x00")); k != "ura?b\x00?" {
		t.Errorf("a key with NUL in its names is %q", k)
	}
	for _, k := range []string{"", "u", "x", "ux1", "ua1\x00x", "ur1", "up\x00\x00", "wa1"} {
		if w, n, p, err := ParsePulseKey([]byte(k)); !errors.Is(err, ErrRow) {
			t.Errorf("key %q reads as %c %q %q, error %v", k, w, n, p, err)
		}
	}
}

func TestCorruptPulseRows(t *testing.T) {
	v := rows{}
	NewPulseRow(3, 4).Stage(v, []byte("k"))
	(&TurnRow{Written: 5, Count: 6}).Stage(v)
	pulse, turn := []byte(v["k"]), []byte(v[string(TurnKey())])
	var tr TurnRow
	if err := tr.Decode(turn); err != nil || tr != (TurnRow{5, 6}) {
		t.Fatalf("turn row is %+v: %v", tr, err)
	}
	change := func(b []byte, at int, to byte) []byte {
		b = slices.Clone(b)
		b[at] = to
		return b
	}
	for name, c := range map[string]struct {
		pulse, turn []byte
		want        error
	}{
		"empty":               {[]byte{}, []byte{}, ErrRow},
		"version 0":           {change(pulse, 0, 0), change(turn, 0, 0), ErrRow},
		"newer":               {change(pulse, 0, 2), change(turn, 0, 2), ErrFormat},
		"ends early":          {pulse[:len(pulse)-1], turn[:len(turn)-1], ErrRow},
		"ends late":           {append(slices.Clone(pulse), 0), append(slices.Clone(turn), 0), ErrRow},
		"told twice":          {change(pulse, 4, 2), nil, ErrRow},
		"first after last":    {change(pulse, 1, 8), nil, ErrRow},
		"silent in its last":  {change(pulse, 12, 0), nil, ErrRow},
		"numbers without end": {[]byte{1, 0xff}, []byte{1, 0xff}, ErrRow},
	} {
		var p PulseRow
		if err := p.Decode(c.pulse); !errors.Is(err, c.want) {
			t.Errorf("%s: pulse row % x: %v", name, c.pulse, err)
		}
		if c.turn != nil {
			if err := tr.Decode(c.turn); !errors.Is(err, c.want) {
				t.Errorf("%s: turn row % x: %v", name, c.turn, err)
			}
		}
	}
}
