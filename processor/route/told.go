package route

import (
	"hash/maphash"
	"slices"
	"sync"
)

// Memory remembers which presences were told. It may forget at any time, for a repeat changes nothing downstream; what it must
// never do is claim a presence that was not told. So it belongs to tasks whose records are committed together, all of them or none:
// what one of them told the others need not tell again, and after an abort it must forget. It is safe for concurrent use.
//
// Presences are kept as 64-bit hashes: at a million presences the odds that any two collide, and a visit goes untold, are
// one in 37 million. The seed is drawn when the process starts: an intruder who knew it could choose names whose presences pass for
// some that were told.
type Memory struct{ parts [memoryParts]part }

// memoryParts is how many parts there are, each with a lock: so many that tasks seldom meet at one.
const memoryParts = 64

type part struct {
	mu sync.Mutex
	told
	_ [64]byte // the locks of two parts share no cache line
}

// NewMemory makes a memory of so many presences, at about 20 bytes each.
func NewMemory(entries int) *Memory {
	m := new(Memory)
	for i := range m.parts {
		m.parts[i].limit = max(1, entries/memoryParts)
	}
	return m
}

// Forget forgets everything.
func (m *Memory) Forget() {
	for i := range m.parts {
		p := &m.parts[i]
		p.mu.Lock()
		p.told = told{limit: p.limit}
		p.mu.Unlock()
	}
}

// first says whether this presence is told for the first time, and remembers it.
func (m *Memory) first(at int64, h uint64) bool {
	p := &m.parts[h>>58]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first(at, h)
}

// told is a part of a memory, pane by pane.
type told struct {
	panes []*pane // newest first
	made  int     // panes so far
	size  int
	limit int
}

// pane is a set of hashes: open addressing in a table of 2^n, of which at most three quarters are taken, so that a look touches one
// cache line, rarely two. Zero is a free slot.
type pane struct {
	at    int64
	asked int // what made was when it was last asked for
	slots []uint64
	size  int
}

// keepPanes is the most panes that are remembered. CloudTrail delivers within 15 minutes, so with hourly panes nearly all repeats
// fall into two; a raw partition that lags behind the others has two of its own.
const keepPanes = 8

const fewestSlots = 64

var seed = maphash.MakeSeed()

// hash is never zero.
func hash(b []byte) uint64 { return max(maphash.Bytes(seed, b), 1) }

func (t *told) first(at int64, h uint64) bool {
	i := 0
	for i < len(t.panes) && t.panes[i].at > at {
		i++
	}
	if i == len(t.panes) || t.panes[i].at != at {
		t.make(at)
		i = slices.IndexFunc(t.panes, func(p *pane) bool { return p.at == at })
	}
	p := t.panes[i]
	p.asked = t.made
	if !p.add(h) {
		return false
	}
	if t.size++; t.size > t.limit {
		t.drop()
	}
	return true
}

// make makes room for a pane.
func (t *told) make(at int64) {
	t.made++
	if len(t.panes) == keepPanes {
		t.drop()
	}
	i := slices.IndexFunc(t.panes, func(p *pane) bool { return p.at < at })
	if i < 0 {
		i = len(t.panes)
	}
	t.panes = slices.Insert(t.panes, i, &pane{at: at, slots: make([]uint64, fewestSlots)})
}

// drop forgets the pane that was not asked for the longest, the oldest of several; none of the two newest, which history that is
// brought in would push out, if there is another.
func (t *told) drop() {
	last := min(2, len(t.panes)-1)
	for i, p := range t.panes {
		if i > last && p.asked <= t.panes[last].asked {
			last = i
		}
	}
	t.size -= t.panes[last].size
	t.panes = slices.Delete(t.panes, last, last+1)
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
