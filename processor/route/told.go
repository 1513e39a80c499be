package route

import "hash/maphash"

// told remembers, pane by pane, which presences were written already. It may forget at any time, for a repeat changes
// nothing downstream; what it must never do is claim a presence that was not told.
//
// Presences are kept as 64-bit hashes: at a million presences the odds that any two collide, and a visit goes untold, are
// one in 37 million. The seed is drawn when the process starts: an intruder who knew it could choose names whose presences pass for
// some that were told.
type told struct {
	panes []*pane // newest first
	size  int
	limit int
}

// pane is a set of hashes: open addressing in a table of 2^n, of which at most three quarters are taken, so that a look touches one
// cache line, rarely two. Zero is a free slot.
type pane struct {
	at    int64
	slots []uint64
	size  int
}

// keepPanes is how many panes back from the newest are remembered: CloudTrail delivers within 15 minutes, so with hourly
// panes nearly all repeats fall into two.
const keepPanes = 3

const fewestSlots = 64

var seed = maphash.MakeSeed()

// hash is never zero.
func hash(b []byte) uint64 { return max(maphash.Bytes(seed, b), 1) }

func newTold(limit int) *told { return &told{limit: limit} }

// first says whether this presence is told for the first time, and remembers it.
func (t *told) first(at int64, h uint64) bool {
	i := 0
	for i < len(t.panes) && t.panes[i].at > at {
		i++
	}
	if i == len(t.panes) || t.panes[i].at != at {
		if i == keepPanes {
			return true // older than all that is kept: told, not remembered
		}
		t.panes = append(t.panes, nil)
		copy(t.panes[i+1:], t.panes[i:])
		t.panes[i] = &pane{at: at, slots: make([]uint64, fewestSlots)}
		if len(t.panes) > keepPanes {
			t.drop()
		}
	}
	if !t.panes[i].add(h) {
		return false
	}
	if t.size++; t.size > t.limit {
		t.drop()
	}
	return true
}

// drop forgets the oldest pane.
func (t *told) drop() {
	last := len(t.panes) - 1
	t.size -= t.panes[last].size
	t.panes[last] = nil
	t.panes = t.panes[:last]
}

// add says whether h was not there yet.
func (p *pane) add(h uint64) bool {
	mask := uint64(len(p.slots) - 1)
	i := h & mask
	for p.slots[i] != 0 {
		if p.slots[i] == h {
			return false
		}
		i = (i + 1) & mask
	}
	p.slots[i] = h
	if p.size++; p.size > len(p.slots)/4*3 {
		p.grow()
	}
	return true
}

func (p *pane) grow() {
	old := p.slots
	p.slots = make([]uint64, 2*len(old))
	mask := uint64(len(p.slots) - 1)
	for _, h := range old {
		if h == 0 {
			continue
		}
		i := h & mask
		for p.slots[i] != 0 {
			i = (i + 1) & mask
		}
		p.slots[i] = h
	}
}

// recent is a small memory before the large ones: events that told everything that they had to tell, each in the one slot that
// its hash may take. Most events repeat one that came not long before, and one look at it, which stays in the processor's cache,
// saves three at memories that do not. What it forgets is asked of them.
type recent [recentSlots]uint64

const recentSlots = 1 << 15

func (r *recent) has(h uint64) bool { return r[h%recentSlots] == h }

func (r *recent) add(h uint64) { r[h%recentSlots] = h }
