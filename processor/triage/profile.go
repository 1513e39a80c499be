package triage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// profile is what is known of one principal. It is a set of presences: what it holds does not depend on the order in which
// they came, nor on how often, up to its limits.
type profile struct {
	since, last int64 // first and last pane, Unix seconds
	days        trail // days on which the principal was seen anywhere
	places      []presence
	clients     []presence
	keys        []presence
	networks    []presence
	accepted    []string // places that a person found benign, sorted
	refused     []string // places that a person found malicious, sorted: they stay news
	// stayed is the last pane of that of its stays that went on last, Unix seconds, 0 for none: past it no stay is near. It follows
	// the order of records as far as stays do.
	stayed int64
}

// unsaid is what a row that does not tell of stays has for stayed.
const unsaid = math.MaxInt64

// emptied is an empty profile in the memory of p.
func (p *profile) emptied() profile {
	return profile{
		places: p.places[:0], clients: p.clients[:0], keys: p.keys[:0], networks: p.networks[:0],
		accepted: p.accepted[:0], refused: p.refused[:0],
	}
}

// presence is when a place, a client, a key or a network was seen with a principal.
type presence struct {
	name        string
	first, last int64 // panes, Unix seconds
	days        trail
	panes       trail     // for what happens in two places at once
	hours       weekHours // of places only
}

// Limits of a profile: past them the ones not seen for longest are forgotten.
const (
	maxPlaces = 32
	maxOthers = 24 // of clients, keys and networks each
)

const daySeconds = 24 * 3600

// trail is which of the last 64 units of time, of a day or of a pane, something was seen in: bit i stands for end − i.
type trail struct {
	end  int64 // number of the unit
	bits uint64
}

// add puts a unit in and says whether it is new. Units further back than the trail reaches are left out.
func (t *trail) add(unit int64) bool {
	if t.bits == 0 {
		t.end, t.bits = unit, 1
		return true
	}
	if d := unit - t.end; d > 0 {
		if t.end = unit; d >= 64 {
			t.bits = 1
		} else {
			t.bits = t.bits<<d | 1
		}
		return true
	}
	back := t.end - unit
	if back >= 64 || t.bits&(1<<back) != 0 {
		return false
	}
	t.bits |= 1 << back
	return true
}

// before is how many units before unit, and at most 64 before the last, are in.
func (t trail) before(unit int64) int {
	d := t.end - unit + 1 // that many of the lowest bits are unit or later
	switch {
	case d <= 0:
		return bits.OnesCount64(t.bits)
	case d >= 64:
		return 0
	}
	return bits.OnesCount64(t.bits >> d)
}

// last is the newest unit up to unit, and false when there is none.
func (t trail) last(unit int64) (int64, bool) {
	u := t.until(unit + 1)
	return u.end - int64(bits.TrailingZeros64(u.bits)), u.bits != 0
}

// nearest is how far the nearest two units of two trails lie apart, of this one only those from unit on, and false when
// there are none.
func (t trail) nearest(o trail, unit int64) (int64, bool) {
	best, ok := int64(0), false
	for b := t.bits; b != 0; b &= b - 1 {
		at := t.end - int64(bits.TrailingZeros64(b))
		if at < unit {
			break
		}
		for c := o.bits; c != 0; c &= c - 1 {
			d := o.end - int64(bits.TrailingZeros64(c)) - at
			if d = max(d, -d); !ok || d < best {
				best, ok = d, true
			}
		}
	}
	return best, ok
}

// until leaves of a trail the units before unit.
func (t trail) until(unit int64) trail {
	switch d := t.end - unit + 1; {
	case d <= 0:
		return t
	case d >= 64:
		return trail{}
	default:
		return trail{t.end - d, t.bits >> d}
	}
}

// meets says whether two trails have a unit in common.
func (t trail) meets(o trail) bool {
	if t.end < o.end {
		t, o = o, t
	}
	d := t.end - o.end
	return d < 64 && t.bits>>d&o.bits != 0
}

// weekHours is a set of the hours of the week, UTC, Monday first.
type weekHours [3]uint64

// hourOfWeek of a pane; the Unix epoch was a Thursday.
func hourOfWeek(pane int64) int { return int((pane/3600 + 3*24) % 168) }

func (h *weekHours) add(hour int) bool {
	was := h[hour/64]
	h[hour/64] |= 1 << (hour % 64)
	return h[hour/64] != was
}

// near says whether the set has this hour on any day of the week, or one beside it.
func (h *weekHours) near(hour int) bool {
	for d := range 7 {
		for _, o := range [...]int{-1, 0, 1} {
			at := (hour + o + d*24 + 168) % 168
			if h[at/64]&(1<<(at%64)) != 0 {
				return true
			}
		}
	}
	return false
}

func find(ps []presence, name string) *presence {
	for i := range ps {
		if ps[i].name == name {
			return &ps[i]
		}
	}
	return nil
}

// note puts a presence into one of the lists of the profile and says whether that changed anything.
func (t *Task) note(list *[]presence, name string, pane int64, limit int) bool {
	if name == "" {
		return false
	}
	p := find(*list, name)
	if p == nil {
		if len(*list) >= limit {
			oldest := 0
			for i := range *list {
				if o := &(*list)[i]; cmp.Or(cmp.Compare(o.last, (*list)[oldest].last), cmp.Compare(o.name, (*list)[oldest].name)) < 0 {
					oldest = i
				}
			}
			if (*list)[oldest].last >= pane {
				return false
			}
			*list = slices.Delete(*list, oldest, oldest+1)
		}
		at, _ := slices.BinarySearchFunc(*list, name, func(p presence, n string) int { return cmp.Compare(p.name, n) })
		*list = slices.Insert(*list, at, presence{name: name, first: pane, last: pane})
		p = &(*list)[at]
	}
	changed := p.days.add(pane / daySeconds)
	if p.panes.add(pane / t.width) {
		changed = true
	}
	if pane < p.first {
		p.first, changed = pane, true
	}
	if pane > p.last {
		p.last, changed = pane, true
	}
	return changed
}

// learn puts a sighting into the profile and says whether that changed anything.
func (t *Task) learn(p *profile, s *topics.Sighting) bool {
	v := &s.Visit
	changed := false
	if p.days.bits == 0 {
		p.since, p.last, changed = v.Pane, v.Pane, true
	}
	for _, c := range [...]bool{
		p.days.add(v.Pane / daySeconds),
		t.note(&p.places, v.Place, v.Pane, maxPlaces),
		t.note(&p.clients, s.Client, v.Pane, maxOthers),
		t.note(&p.keys, s.KeyID, v.Pane, maxOthers),
		t.note(&p.networks, s.Network, v.Pane, maxOthers),
	} {
		changed = changed || c
	}
	if here := find(p.places, v.Place); here != nil && here.hours.add(hourOfWeek(v.Pane)) {
		changed = true
	}
	if v.Pane < p.since {
		p.since, changed = v.Pane, true
	}
	if v.Pane > p.last {
		p.last, changed = v.Pane, true
	}
	return changed
}

// settled says whether a place is no news to the principal, as of a day.
func (p *profile) settled(place string, day int64) bool {
	if _, no := slices.BinarySearch(p.refused, place); no {
		return false
	}
	if _, yes := slices.BinarySearch(p.accepted, place); yes {
		return true
	}
	here := find(p.places, place)
	return here != nil && here.days.before(day) >= settledDays
}

// decide notes what a person found a stay to be.
func (p *profile) decide(e *stay, malicious bool) {
	in, out := &p.accepted, &p.refused
	if malicious {
		in, out = out, in
	}
	if at, found := slices.BinarySearch(*out, e.place); found {
		*out = slices.Delete(*out, at, at+1)
	}
	if at, found := slices.BinarySearch(*in, e.place); !found && len(*in) < maxPlaces {
		*in = slices.Insert(*in, at, e.place)
	}
}

// unlearn takes out what the profile knows from a stay alone.
func (p *profile) unlearn(g *group, e *stay) {
	since := e.first
	p.places = slices.DeleteFunc(p.places, func(o presence) bool { return o.name == e.place && o.first >= since })
	for _, l := range [...]struct {
		list  *[]presence
		names []string
	}{{&p.clients, g.clients}, {&p.keys, g.keys}, {&p.networks, g.networks.numbers()}} {
		*l.list = slices.DeleteFunc(*l.list, func(o presence) bool { return o.first >= since && slices.Contains(l.names, o.name) })
	}
}

// profileVersion 1 had no stayed.
const profileVersion = 2

func (p *profile) append(b []byte) []byte {
	b = append(b, profileVersion)
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	trailOf := func(t trail) {
		number(t.end)
		b = binary.LittleEndian.AppendUint64(b, t.bits)
	}
	number(p.since)
	number(p.last)
	trailOf(p.days)
	for l, list := range [...][]presence{p.places, p.clients, p.keys, p.networks} {
		number(int64(len(list)))
		for i := range list {
			e := &list[i]
			text(e.name)
			number(e.first)
			number(e.last)
			trailOf(e.days)
			trailOf(e.panes)
			if l == 0 {
				for _, h := range e.hours {
					b = binary.LittleEndian.AppendUint64(b, h)
				}
			}
		}
	}
	for _, list := range [...][]string{p.accepted, p.refused} {
		number(int64(len(list)))
		for _, s := range list {
			text(s)
		}
	}
	number(p.stayed)
	return b
}

func truth(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// head reads of a row when the principal was seen, and returns what is left of it.
func (p *profile) head(b []byte) (rowReader, error) {
	if len(b) == 0 || b[0] == 0 {
		return rowReader{}, fmt.Errorf("%w: profile: empty", state.ErrRow)
	}
	if b[0] > profileVersion {
		return rowReader{}, fmt.Errorf("%w: profile version %d, this build knows up to %d", state.ErrFormat, b[0], profileVersion)
	}
	r := rowReader{b: b[1:]}
	p.since, p.last = r.number(), r.number()
	return r, r.fault("profile")
}

// decode reads a row. Its strings are copies.
func (p *profile) decode(b []byte) error {
	r, err := p.head(b)
	if err != nil {
		return err
	}
	trailOf := func() trail { return trail{r.number(), r.word()} }
	p.days = trailOf()
	for l, list := range [...]*[]presence{&p.places, &p.clients, &p.keys, &p.networks} {
		for range r.count() {
			e := presence{name: r.text(), first: r.number(), last: r.number(), days: trailOf(), panes: trailOf()}
			for i := range e.hours {
				if l == 0 {
					e.hours[i] = r.word()
				}
			}
			*list = append(*list, e)
		}
	}
	for _, list := range [...]*[]string{&p.accepted, &p.refused} {
		for range r.count() {
			*list = append(*list, r.text())
		}
	}
	if p.stayed = unsaid; b[0] > 1 {
		p.stayed = r.number()
	}
	return r.end("profile")
}

// rowReader reads the fields of a row. After a fault it returns zeros, and end says so.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) fail() { r.b, r.bad = nil, true }

func (r *rowReader) number() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count is a number of things, each of which takes a byte at the least.
func (r *rowReader) count() int64 {
	n := r.number()
	if n < 0 || n > int64(len(r.b)) {
		r.fail()
		return 0
	}
	return n
}

func (r *rowReader) word() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *rowReader) bytes() []byte {
	l, n := binary.Uvarint(r.b)
	if n <= 0 || l > uint64(len(r.b)-n) {
		r.fail()
		return nil
	}
	t := r.b[n : n+int(l)]
	r.b = r.b[n+int(l):]
	return t
}

func (r *rowReader) text() string { return string(r.bytes()) }

func (r *rowReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *rowReader) truth() bool { return r.byte() != 0 }

// fault is an error if what was read so far was cut.
func (r *rowReader) fault(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s: wrong length", state.ErrRow, what)
	}
	return nil
}

// end is an error if what was read is not all that there is.
func (r *rowReader) end(what string) error {
	r.bad = r.bad || len(r.b) != 0
	return r.fault(what)
}
