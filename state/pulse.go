package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// pulseBeats is how many beats a pulse row tells apart: 32 days of hours.
const pulseBeats = 768

// PulseRow says in which beats something spoke: an account, a region of one, or a partition of a raw topic. A beat is the number of a
// span of event time whose width detect chooses. It is a set, so that the order in which pulses came leaves no trace, and neither do
// repeats, but for Turn.
type PulseRow struct {
	First, Last int64                   // beats
	beats       [pulseBeats / 64]uint64 // bit i: it spoke in Last − i
	// Turn is detect's own count of beats at the latest word, also if that was a repeat.
	Turn int64
	// Told says that its silence since Last was told.
	Told bool
}

// NewPulseRow is the row of what spoke in one beat alone.
func NewPulseRow(beat, turn int64) *PulseRow {
	r := &PulseRow{First: beat, Last: beat, Turn: turn}
	r.beats[0] = 1
	return r
}

// Add puts a beat in and says whether it is new to the row. Beats further back than the row reaches count for First alone.
func (r *PulseRow) Add(beat int64) bool {
	known := *r
	if ahead := beat - r.Last; ahead > 0 {
		r.shift(ahead)
		r.Last = beat
	}
	r.First = min(r.First, beat)
	if back := r.Last - beat; back < pulseBeats {
		r.beats[back/64] |= 1 << (back % 64)
	}
	return *r != known
}

// shift moves every bit up by n, and out at the end.
func (r *PulseRow) shift(n int64) {
	var moved [len(r.beats)]uint64
	for i := range int64(len(moved)) {
		from, by := i-n/64, n%64
		if from >= 0 {
			moved[i] = r.beats[from] << by
		}
		if from > 0 && by > 0 {
			moved[i] |= r.beats[from-1] >> (64 - by)
		}
	}
	r.beats = moved
}

// Longest is the longest way between two beats in a row of the last within beats up to Last; 1 where it spoke in each, 0 if nothing
// but Last is known. Of what is known for longer, the way into that span counts too, as far as it lies inside.
func (r *PulseRow) Longest(within int64) int64 {
	within = min(within, pulseBeats)
	longest, before := int64(0), int64(0)
	for w, word := range r.beats {
		for ; word != 0; word &= word - 1 {
			at := int64(w*64 + bits.TrailingZeros64(word))
			if at >= within {
				break
			}
			longest, before = max(longest, at-before), at
		}
	}
	if r.Last-r.First >= within {
		longest = max(longest, within-before)
	}
	return longest
}

// Since is in how many beats it spoke after one, as far as the row reaches.
func (r *PulseRow) Since(beat int64) int64 {
	n := int64(0)
	for w, word := range r.beats {
		for ; word != 0; word &= word - 1 {
			if r.Last-int64(w*64+bits.TrailingZeros64(word)) <= beat {
				return n
			}
			n++
		}
	}
	return n
}

const pulseRowVersion = 1

// What a pulse row is about, in its key. They are on disk: never reuse one.
const (
	PulseOfAccount   = 'a'
	PulseOfRegion    = 'r'
	PulseOfPartition = 'p'
)

// PulsePrefix is the common prefix of all pulse rows, and of the turn row.
func PulsePrefix() []byte { return []byte{prefixPulse} }

// PulseKey is the key of a pulse row: of an account, of an account and a region, or of a topic and the number of a partition. A NUL in
// a name stands there as "?".
func PulseKey(what byte, name, part string) []byte {
	k := append([]byte{prefixPulse, what}, name...)
	clean := func(from int) {
		for i, c := range k[from:] {
			if c == 0 {
				k[from+i] = '?'
			}
		}
	}
	clean(2)
	if what != PulseOfAccount {
		k = append(k, 0)
		at := len(k)
		k = append(k, part...)
		clean(at)
	}
	return k
}

// ParsePulseKey takes a key of PulseKey apart. The texts are copies.
func ParsePulseKey(key []byte) (what byte, name, part string, err error) {
	if len(key) >= 2 && key[0] == prefixPulse {
		n, p, two := bytes.Cut(key[2:], []byte{0})
		switch what = key[1]; {
		case what == PulseOfAccount && !two, (what == PulseOfRegion || what == PulseOfPartition) && two && bytes.IndexByte(p, 0) < 0:
			return what, string(n), string(p), nil
		}
	}
	return 0, "", "", fmt.Errorf("%w: pulse key %q", ErrRow, key)
}

// Stage writes the row.
func (r *PulseRow) Stage(v View, key []byte) {
	b := append(make([]byte, 0, 24+pulseBeats/8), pulseRowVersion)
	b = binary.AppendVarint(b, r.First)
	b = binary.AppendVarint(b, r.Last)
	b = binary.AppendVarint(b, r.Turn)
	told := byte(0)
	if r.Told {
		told = 1
	}
	b = append(b, told)
	for _, w := range r.beats {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	v.Set(key, b)
}

// Decode reads a stored row.
func (r *PulseRow) Decode(b []byte) error {
	b, err := numbers("pulse row", pulseRowVersion, b, &r.First, &r.Last, &r.Turn)
	if err != nil {
		return err
	}
	if len(b) != 1+len(r.beats)*8 || b[0] > 1 {
		return fmt.Errorf("%w: pulse row", ErrRow)
	}
	r.Told, b = b[0] == 1, b[1:]
	for i := range r.beats {
		r.beats[i], b = binary.BigEndian.Uint64(b), b[8:]
	}
	if r.First > r.Last || r.beats[0]&1 == 0 {
		return fmt.Errorf("%w: pulse row without its last beat", ErrRow)
	}
	return nil
}

// TurnRow counts the beats of wall time in which detect heard anything, whatever the event time: so a silence of farcall's own, or a
// backlog that is read in a minute, is not taken for one of what it listens to.
type TurnRow struct {
	Written int64 // beat of the newest timestamp of a pulse
	Count   int64
}

const turnRowVersion = 1

// TurnKey is the key of the one turn row.
func TurnKey() []byte { return []byte{prefixPulse} }

// Stage writes the row.
func (r *TurnRow) Stage(v View) {
	b := binary.AppendVarint([]byte{turnRowVersion}, r.Written)
	v.Set(TurnKey(), binary.AppendVarint(b, r.Count))
}

// Decode reads a stored row.
func (r *TurnRow) Decode(b []byte) error {
	b, err := numbers("turn row", turnRowVersion, b, &r.Written, &r.Count)
	if err == nil && len(b) != 0 {
		return fmt.Errorf("%w: turn row has %d bytes too many", ErrRow, len(b))
	}
	return err
}

// numbers reads the version of a row and the numbers it begins with, and returns what follows.
func numbers(what string, newest byte, b []byte, into ...*int64) ([]byte, error) {
	if len(b) == 0 || b[0] == 0 {
		return nil, fmt.Errorf("%w: empty %s", ErrRow, what)
	}
	if b[0] > newest {
		return nil, fmt.Errorf("%w: %s version %d, this build knows up to %d", ErrFormat, what, b[0], newest)
	}
	b = b[1:]
	for _, p := range into {
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: %s", ErrRow, what)
		}
		*p, b = v, b[n:]
	}
	return b, nil
}
