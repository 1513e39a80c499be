package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/farcall/farcall/topics"
)

// Prefixes of the rows, the first byte of their keys. They are on disk: never reuse one.
const (
	prefixPane      = 'w' // method 0x00 pane block → places with their principals
	prefixSeen      = 's' // method → first and last pane of every place
	prefixAlert     = 'a' // alert id → what was alerted so far
	prefixProfile   = 'p' // principal → what is known of it
	prefixStays     = 'e' // principal → its stays, which its alerts are about
	prefixException = 'x' // exception id → exception
	prefixCap       = 'k' // one row: how many alerts there were
	prefixSince     = 'o' // account, or nothing for all → first pane
	prefixPulse     = 'u' // what speaks → in which beats; alone: the turn
)

// ErrRow is wrapped by every error about the bytes of a row.
var ErrRow = errors.New("corrupt state row")

const (
	// exactLimit is how many principals of one place a pane row spells out; past it a linear counter holds them. 32 keeps
	// the leave-one-out guard of scoring exact where a handful of principals could matter.
	exactLimit = 32
	// counterBits is the size of the linear counter: its standard error is 2.4 % at 100 principals, 2.7 % at 1,000, 4.3 % at
	// 3,000; it can count to 7,808.
	counterBits = 1024
	// splitBytes is the size past which a pane row is split by blocks of places, so that one new visit does not rewrite
	// all of a busy method's row.
	splitBytes = 1024
	blocks     = 16
	wholeBlock = 0
)

type counter [counterBits / 64]uint64

func (c *counter) set(h uint64)      { b := h >> 2 % counterBits; c[b/64] |= 1 << (b % 64) }
func (c *counter) has(h uint64) bool { b := h >> 2 % counterBits; return c[b/64]&(1<<(b%64)) != 0 }

func (c *counter) count() (n int) {
	for _, w := range c {
		n += bits.OnesCount64(w)
	}
	return n
}

// estimate turns set bits into distinct principals, by linear counting: -m ln(empty/m) (Whang et al., 1990). A full
// counter counts as if half a bit were empty.
var estimate = func() (t [counterBits + 1]int32) {
	for set := range t {
		empty := max(float64(counterBits-set), 0.5)
		t[set] = int32(math.Round(-counterBits * math.Log(empty/counterBits)))
	}
	return t
}()

// Cell is the presences of one place in one pane of one method: the exact hashes of up to 32 principals, each with its
// Outcome in the low bits, and beyond that a linear counter for each outcome.
type Cell struct {
	Place   string
	exact   []uint64 // sorted
	allowed *counter
	denied  *counter
	dirty   bool
}

// Exact returns the principals of the cell, each hash with its Outcome in the two low bits; false when it counts only.
func (c *Cell) Exact() ([]uint64, bool) { return c.exact, c.allowed == nil }

// Visits is how many principals were allowed here: exact, or estimated by the linear counter.
func (c *Cell) Visits() int64 {
	if c.allowed != nil {
		return int64(estimate[c.allowed.count()])
	}
	n := int64(0)
	for _, h := range c.exact {
		n += int64(h & uint64(topics.Allowed))
	}
	return n
}

func (c *Cell) search(hash uint64) (int, bool) {
	return slices.BinarySearchFunc(c.exact, hash, func(a, b uint64) int { return cmp.Compare(a&^3, b) })
}

func (c *Cell) known(hash uint64) (o topics.Outcome) {
	if c.allowed == nil {
		if i, found := c.search(hash); found {
			return topics.Outcome(c.exact[i] & 3)
		}
		return 0
	}
	if c.allowed.has(hash) {
		o |= topics.Allowed
	}
	if c.denied.has(hash) {
		o |= topics.Denied
	}
	return o
}

// add returns who was spelled out until now, if the cell only counts from now on.
func (c *Cell) add(hash uint64, o topics.Outcome) (spilled []uint64) {
	if c.allowed == nil {
		i, found := c.search(hash)
		switch {
		case found:
			c.exact[i] |= uint64(o)
			return nil
		case len(c.exact) < exactLimit:
			c.exact = slices.Insert(c.exact, i, hash|uint64(o))
			return nil
		}
		c.allowed, c.denied = new(counter), new(counter)
		for _, h := range c.exact {
			c.put(h, topics.Outcome(h&3))
		}
		spilled, c.exact = c.exact, nil
	}
	c.put(hash, o)
	return spilled
}

func (c *Cell) put(hash uint64, o topics.Outcome) {
	if o&topics.Allowed != 0 {
		c.allowed.set(hash)
	}
	if o&topics.Denied != 0 {
		c.denied.set(hash)
	}
}

// PaneRow is everything that one method did in one pane: its cells, sorted by place. Visits only make it grow, by set union, so
// the order and the number of times that they arrive leave no trace in it; only what a person calls malicious is taken out.
type PaneRow struct {
	Cells []Cell
	split bool // as stored
	fresh bool // never stored
}

// NewPaneRow returns a row without cells that is not stored yet.
func NewPaneRow() *PaneRow { return &PaneRow{fresh: true} }

// Cell returns the cell of a place, nil where there is none.
func (r *PaneRow) Cell(place string) *Cell {
	i, found := r.find(place)
	if !found {
		return nil
	}
	return &r.Cells[i]
}

func (r *PaneRow) find(place string) (int, bool) {
	return slices.BinarySearchFunc(r.Cells, place, func(c Cell, p string) int { return strings.Compare(c.Place, p) })
}

// Known says which outcomes of this presence the row holds already, 0 for none. hash is a topics.PrincipalHash. Of a place
// that only counts, it may claim a principal that was never there: it never forgets one.
func (r *PaneRow) Known(place string, hash uint64) topics.Outcome {
	if c := r.Cell(place); c != nil {
		return c.known(hash)
	}
	return 0
}

// Add unites a presence with the row. place is kept. It returns whom the place spelled out until now, as Cell.Exact does, if from now
// on it only counts.
func (r *PaneRow) Add(place string, hash uint64, o topics.Outcome) (spilled []uint64) {
	i, found := r.find(place)
	if !found {
		r.Cells = slices.Insert(r.Cells, i, Cell{Place: place})
	}
	c := &r.Cells[i]
	if c.known(hash)|o != c.known(hash) {
		spilled = c.add(hash, o)
		c.dirty = true
	}
	return spilled
}

// Retract takes a presence out of the row and stages what it takes to store it anew: ok is false if the place only counts, so that
// nobody can say which bit was whose.
func (r *PaneRow) Retract(v View, method []byte, pane int64, place string, hash uint64) (o topics.Outcome, ok bool) {
	i, found := r.find(place)
	if !found {
		return 0, true
	}
	c := &r.Cells[i]
	if c.allowed != nil {
		return c.known(hash), c.known(hash) == 0
	}
	at, found := c.search(hash)
	if !found {
		return 0, true
	}
	if !r.fresh {
		r.Delete(v, method, pane)
	}
	r.fresh = true
	o = topics.Outcome(c.exact[at] & 3)
	if c.exact = slices.Delete(c.exact, at, at+1); len(c.exact) == 0 {
		r.Cells = slices.Delete(r.Cells, i, i+1)
	}
	return o, true
}

const paneRowVersion = 1

func blockOf(place string) byte {
	h := fnv.New32a()
	h.Write([]byte(place))
	return byte(h.Sum32()%blocks) + 1
}

// PanePrefix is the common prefix of all pane rows of a method; methods are those of topics.AppendMethodKey.
func PanePrefix(method []byte) []byte { return append(append([]byte{prefixPane}, method...), 0) }

// AllPanes is the common prefix of all pane rows.
func AllPanes() []byte { return []byte{prefixPane} }

// PanesEnd is behind all pane rows of a method, and before those of the next.
func PanesEnd(method []byte) []byte { return append(append([]byte{prefixPane}, method...), 1) }

// PaneKey is the key of one block of a pane row; pane is its start in Unix seconds.
func PaneKey(method []byte, pane int64, block byte) []byte {
	k := append([]byte{prefixPane}, method...)
	k = append(k, 0)
	k = binary.BigEndian.AppendUint64(k, uint64(pane)^1<<63)
	return append(k, block)
}

// ParsePaneKey takes a key of PaneKey apart. method aliases key.
func ParsePaneKey(key []byte) (method []byte, pane int64, block byte, err error) {
	n := len(key) - 10
	if n < 2 || key[0] != prefixPane || key[n] != 0 {
		return nil, 0, 0, fmt.Errorf("%w: pane key %q", ErrRow, key)
	}
	return key[1:n], int64(binary.BigEndian.Uint64(key[n+1:]) ^ 1<<63), key[len(key)-1], nil
}

// keys lists the keys under which the cells of the row are stored.
func (r *PaneRow) keys(method []byte, pane int64) [][]byte {
	if !r.split {
		return [][]byte{PaneKey(method, pane, wholeBlock)}
	}
	var ks [][]byte
	for b := byte(1); b <= blocks; b++ {
		if slices.ContainsFunc(r.Cells, func(c Cell) bool { return blockOf(c.Place) == b }) {
			ks = append(ks, PaneKey(method, pane, b))
		}
	}
	return ks
}

// Stage writes what changed of the row since it was read. How a row is split follows from its content alone.
func (r *PaneRow) Stage(v View, method []byte, pane int64) {
	if len(r.Cells) == 0 {
		return
	}
	size := 2
	for i := range r.Cells {
		size += r.Cells[i].size()
	}
	split := size > splitBytes
	moved := split != r.split && !r.fresh
	if moved {
		r.Delete(v, method, pane)
	}
	all := moved || r.fresh
	r.split, r.fresh = split, false
	if !split {
		if all || slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.dirty }) {
			v.Set(PaneKey(method, pane, wholeBlock), r.encode(wholeBlock))
		}
	} else {
		var due [blocks + 1]bool
		for i := range r.Cells {
			if all || r.Cells[i].dirty {
				due[blockOf(r.Cells[i].Place)] = true
			}
		}
		for b, d := range due {
			if d {
				v.Set(PaneKey(method, pane, byte(b)), r.encode(byte(b)))
			}
		}
	}
	for i := range r.Cells {
		r.Cells[i].dirty = false
	}
}

// Delete stages tombstones for every block of the row.
func (r *PaneRow) Delete(v View, method []byte, pane int64) {
	for _, k := range r.keys(method, pane) {
		v.Delete(k)
	}
}

func (c *Cell) size() int {
	n := 3 + len(c.Place)
	if c.allowed == nil {
		return n + 8*len(c.exact)
	}
	return n + 2*counterBits/8
}

func (r *PaneRow) encode(block byte) []byte {
	b := []byte{paneRowVersion}
	n := 0
	for i := range r.Cells {
		if block == wholeBlock || blockOf(r.Cells[i].Place) == block {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := range r.Cells {
		c := &r.Cells[i]
		if block != wholeBlock && blockOf(c.Place) != block {
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(c.Place)))
		b = append(b, c.Place...)
		if c.allowed == nil {
			b = append(b, byte(len(c.exact)))
			for _, h := range c.exact {
				b = binary.BigEndian.AppendUint64(b, h)
			}
			continue
		}
		b = append(b, 0xFF)
		for _, cnt := range []*counter{c.allowed, c.denied} {
			for _, w := range cnt {
				b = binary.BigEndian.AppendUint64(b, w)
			}
		}
	}
	return b
}

// DecodeBlock adds the cells of one stored block to the row. intern returns a lasting copy of a place name.
func (r *PaneRow) DecodeBlock(block byte, b []byte, intern func([]byte) string) error {
	if len(b) == 0 || b[0] == 0 {
		return fmt.Errorf("%w: empty pane row", ErrRow)
	}
	if b[0] > paneRowVersion {
		return fmt.Errorf("%w: pane row version %d, this build knows up to %d", ErrFormat, b[0], paneRowVersion)
	}
	n, l := binary.Uvarint(b[1:])
	if l <= 0 || n > uint64(len(b)) {
		return fmt.Errorf("%w: pane row", ErrRow)
	}
	r.split = r.split || block != wholeBlock
	r.fresh = false
	b = b[1+l:]
	last := ""
	for k := range n {
		pl, l := binary.Uvarint(b)
		if l <= 0 || pl >= uint64(len(b)-l) {
			return fmt.Errorf("%w: pane row place", ErrRow)
		}
		c := Cell{Place: intern(b[l : l+int(pl)])}
		b = b[l+int(pl):]
		form := b[0]
		b = b[1:]
		switch {
		case form == 0xFF && len(b) >= 2*counterBits/8:
			c.allowed, c.denied = new(counter), new(counter)
			for _, cnt := range []*counter{c.allowed, c.denied} {
				for i := range cnt {
					cnt[i], b = binary.BigEndian.Uint64(b), b[8:]
				}
			}
		case form > 0 && form <= exactLimit && len(b) >= 8*int(form):
			c.exact = make([]uint64, form)
			for i := range c.exact {
				h := binary.BigEndian.Uint64(b)
				if h&3 == 0 || i > 0 && h&^3 <= c.exact[i-1]&^3 {
					return fmt.Errorf("%w: pane row principals of %q", ErrRow, c.Place)
				}
				c.exact[i], b = h, b[8:]
			}
		default:
			return fmt.Errorf("%w: pane row cell", ErrRow)
		}
		i, found := r.find(c.Place)
		switch {
		case found:
			return fmt.Errorf("%w: pane row names %q twice", ErrRow, c.Place)
		case k > 0 && c.Place < last, block != wholeBlock && blockOf(c.Place) != block:
			return fmt.Errorf("%w: pane row has %q in the wrong place", ErrRow, c.Place)
		}
		last = c.Place
		r.Cells = slices.Insert(r.Cells, i, c)
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: pane row has %d bytes too many", ErrRow, len(b))
	}
	return nil
}

// Span is the first and last pane of something, as Unix seconds.
type Span struct{ First, Last int64 }

// SeenRow says since when, and until when, a method was called from each place. It outlives the window. Only allowed
// visits count.
type SeenRow struct {
	Places map[string]Span
	dirty  bool
}

const seenRowVersion = 1

// SeenKey is the key of a method's SeenRow.
func SeenKey(method []byte) []byte { return append([]byte{prefixSeen}, method...) }

// Forget takes a place out if it was never seen before a pane.
func (r *SeenRow) Forget(place string, from int64) {
	if s, ok := r.Places[place]; ok && s.First >= from {
		delete(r.Places, place)
		r.dirty = true
	}
}

// Add widens the span of a place to hold pane.
func (r *SeenRow) Add(place string, pane int64) {
	s, ok := r.Places[place]
	switch {
	case !ok:
		s = Span{pane, pane}
	case pane >= s.First && pane <= s.Last:
		return
	}
	if r.Places == nil {
		r.Places = map[string]Span{}
	}
	r.Places[place] = Span{min(s.First, pane), max(s.Last, pane)}
	r.dirty = true
}

// First is the first pane of the method from anywhere, 0 for none.
func (r *SeenRow) First() int64 {
	if len(r.Places) == 0 {
		return 0
	}
	first := int64(math.MaxInt64)
	for _, s := range r.Places {
		first = min(first, s.First)
	}
	return first
}

// Stage writes the row if it changed since it was read.
func (r *SeenRow) Stage(v View, method []byte) {
	if !r.dirty {
		return
	}
	r.dirty = false
	places := make([]string, 0, len(r.Places))
	for p := range r.Places {
		places = append(places, p)
	}
	slices.Sort(places)
	b := []byte{seenRowVersion}
	b = binary.AppendUvarint(b, uint64(len(places)))
	for _, p := range places {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
		b = binary.AppendVarint(b, r.Places[p].First)
		b = binary.AppendVarint(b, r.Places[p].Last)
	}
	v.Set(SeenKey(method), b)
}

// Decode reads a stored row; nil bytes are a row without places.
func (r *SeenRow) Decode(b []byte, intern func([]byte) string) error {
	r.Places, r.dirty = map[string]Span{}, false
	if b == nil {
		return nil
	}
	if len(b) == 0 || b[0] == 0 {
		return fmt.Errorf("%w: empty seen row", ErrRow)
	}
	if b[0] > seenRowVersion {
		return fmt.Errorf("%w: seen row version %d, this build knows up to %d", ErrFormat, b[0], seenRowVersion)
	}
	n, l := binary.Uvarint(b[1:])
	if l <= 0 {
		return fmt.Errorf("%w: seen row", ErrRow)
	}
	b = b[1+l:]
	last := ""
	for k := range n {
		pl, l := binary.Uvarint(b)
		if l <= 0 || pl > uint64(len(b)-l) {
			return fmt.Errorf("%w: seen row place", ErrRow)
		}
		place := intern(b[l : l+int(pl)])
		if k > 0 && place <= last {
			return fmt.Errorf("%w: seen row has %q in the wrong place", ErrRow, place)
		}
		last = place
		b = b[l+int(pl):]
		var s Span
		for _, p := range []*int64{&s.First, &s.Last} {
			v, l := binary.Varint(b)
			if l <= 0 {
				return fmt.Errorf("%w: seen row span", ErrRow)
			}
			*p, b = v, b[l:]
		}
		if s.First > s.Last {
			return fmt.Errorf("%w: seen row span of %q", ErrRow, place)
		}
		r.Places[place] = s
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: seen row has %d bytes too many", ErrRow, len(b))
	}
	return nil
}

// AlertPrefix is the common prefix of all alert rows.
func AlertPrefix() []byte { return []byte{prefixAlert} }

// AlertKey is the key of an alert's row.
func AlertKey(id string) []byte { return append([]byte{prefixAlert}, id...) }

// ProfilePrefix is the common prefix of all profiles.
func ProfilePrefix() []byte { return []byte{prefixProfile} }

// ProfileKey is the key of a principal's profile.
func ProfileKey(principal string) []byte { return append([]byte{prefixProfile}, principal...) }

// StaysPrefix is the common prefix of all rows of stays.
func StaysPrefix() []byte { return []byte{prefixStays} }

// StaysKey is the key of the row of a principal's stays.
func StaysKey(principal string) []byte { return append([]byte{prefixStays}, principal...) }

// ExceptionPrefix is the common prefix of all exceptions.
func ExceptionPrefix() []byte { return []byte{prefixException} }

// ExceptionKey is the key of an exception's row.
func ExceptionKey(id string) []byte { return append([]byte{prefixException}, id...) }

// CapKey is the key of the row that remembers how many alerts there were.
func CapKey() []byte { return []byte{prefixCap} }

// SincePrefix is the common prefix of all rows that say since when an account is known.
func SincePrefix() []byte { return []byte{prefixSince} }

// SinceKey is the key of the row that says since when an account is known, "" for all accounts together.
func SinceKey(account string) []byte { return append([]byte{prefixSince}, account...) }
