package triage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/farcall/farcall/state"
)

// stay is a principal's being in one place without a long pause: what one alert is about. The stays of a principal have a row
// of their own beside its profile, because where one ends and the next begins depends on the order in which records come, and
// nothing in a profile does.
type stay struct {
	place string
	// day on which it began when it was noticed, a second into it where the place was settled: with principal and place it makes
	// the alert's id.
	day         int64
	first, last int64 // panes
	alerted     bool
	settled     bool // the place was no news to the principal when it began
	// facts are the row of its alert while there is nothing to tell but that the principal is there: without a row of their own.
	facts []byte
}

// StayGap is how long a principal may be unseen in a place before another stay begins: longer than a weekend.
const StayGap = 72 * time.Hour

const (
	stayGap = int64(StayGap / time.Second)
	// maxStay is how long a stay may take before the next begins, so that an alert has an end.
	maxStay = 30 * daySeconds
	// maxStays of one principal are remembered, those that went on last: an intruder who comes from everywhere does not cut one short.
	maxStays = 16
)

// holds says whether a pane belongs to the stay.
func (s *stay) holds(pane int64) bool {
	first, last := min(s.first, pane), max(s.last, pane)
	return pane >= s.first-stayGap && pane <= s.last+stayGap && last-first <= maxStay
}

// stays are ordered by their first pane.
type stays []stay

// at returns the stay that a pane in a place belongs to, a new one if there is none, and whether that changed anything. settled
// says whether the place is no news to the principal: what happens there from then on is another stay, if nobody was woken over
// the one that made it so.
func (l *stays) at(place string, pane int64, settled bool) (s *stay, changed bool) {
	i := slices.IndexFunc(*l, func(s stay) bool { return s.place == place && s.holds(pane) && (s.alerted || s.settled == settled) })
	if i < 0 {
		if len(*l) >= maxStays {
			oldest := 0
			for j := range *l {
				if (*l)[j].last < (*l)[oldest].last {
					oldest = j
				}
			}
			*l = slices.Delete(*l, oldest, oldest+1)
		}
		i, _ = slices.BinarySearchFunc(*l, pane, func(s stay, pane int64) int {
			if s.first <= pane {
				return -1
			}
			return 1
		})
		*l = slices.Insert(*l, i, stay{place: strings.Clone(place), day: pane - pane%daySeconds + int64(truth(settled)), first: pane, last: pane, settled: settled})
		return &(*l)[i], true
	}
	s = &(*l)[i]
	if pane < s.first || pane > s.last {
		s.first, s.last, changed = min(s.first, pane), max(s.last, pane), true
	}
	for ; i > 0 && (*l)[i].first < (*l)[i-1].first; i-- {
		(*l)[i], (*l)[i-1] = (*l)[i-1], (*l)[i]
	}
	return &(*l)[i], changed
}

// staysVersion 1 had no facts.
const staysVersion = 2

func (l stays) append(b []byte) []byte {
	b = append(b, staysVersion)
	b = binary.AppendVarint(b, int64(len(l)))
	for i := range l {
		s := &l[i]
		b = binary.AppendUvarint(b, uint64(len(s.place)))
		b = append(b, s.place...)
		for _, n := range [...]int64{s.day, s.first, s.last} {
			b = binary.AppendVarint(b, n)
		}
		b = append(b, truth(s.alerted), truth(s.settled))
		b = binary.AppendUvarint(b, uint64(len(s.facts)))
		b = append(b, s.facts...)
	}
	return b
}

// decode reads a row. The facts alias b.
func (l *stays) decode(b []byte) error {
	if len(b) == 0 || b[0] == 0 {
		return fmt.Errorf("%w: stays: empty", state.ErrRow)
	}
	if b[0] > staysVersion {
		return fmt.Errorf("%w: stays version %d, this build knows up to %d", state.ErrFormat, b[0], staysVersion)
	}
	version, r := b[0], rowReader{b: b[1:]}
	for range r.count() {
		s := stay{place: r.text(), day: r.number(), first: r.number(), last: r.number(), alerted: r.truth(), settled: r.truth()}
		if version > 1 {
			if f := r.bytes(); len(f) > 0 {
				s.facts = f
			}
		}
		*l = append(*l, s)
	}
	return r.end("stays")
}
