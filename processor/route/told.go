package route

import (
	"hash/maphash"
	"slices"
	"sync"
)

// Memory remembers which presences the process has told and committed. It may forget at any time, for a repeat changes nothing
// downstream; what it must never do is claim a presence that was not told. It is safe for concurrent use.
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

func (m *Memory) part(h uint64) *part { return &m.parts[h>>58] }

// first says whether this presence is told for the first time, and remembers it.
func (m *Memory) first(at int64, h uint64) bool {
	p := m.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first(at, h)
}

func (m *Memory) has(at int64, h uint64) bool {
	p := m.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has(at, h)
}

// Teller remembers what the tasks of one worker tell, whose records are committed together, all of them or none: what one of them told
// the others need not tell again. What is committed it hands on to the memory of the process, for the other workers, whose
// transactions are others. It is safe for concurrent use.
type Teller struct {
	committed *Memory // nil where nothing is ever committed
	pending   *Memory
}

// PendingEntries is how many presences a worker remembers until they are committed: what is more than that may be told twice.
const PendingEntries = 1 << 18

// Teller makes that of a worker.
func (m *Memory) Teller() *Teller {
	return &Teller{committed: m, pending: NewMemory(PendingEntries)}
}

// first says whether nobody has told this presence who surely is heard, and takes it for told from now on.
func (t *Teller) first(at int64, h uint64) bool {
	return (t.committed == nil || !t.committed.has(at, h)) && t.pending.first(at, h)
}

// Commit says that what was told since the last one is committed.
func (t *Teller) Commit() {
	if t.committed == nil {
		return
	}
	for i := range t.pending.parts {
		p, c := &t.pending.parts[i], &t.committed.parts[i]
		p.mu.Lock()
		if p.size > 0 {
			c.mu.Lock()
			for _, pane := range p.panes {
				for _, h := range pane.slots {
					if h != 0 {
						c.first(pane.at, h)
					}
				}
			}
			c.mu.Unlock()
			p.told = told{limit: p.limit}
		}
		p.mu.Unlock()
	}
}

// Forget says that what was told since the last Commit was not.
func (t *Teller) Forget() { t.pending.Forget() }

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

func (t *told) has(at int64, h uint64) bool {
	for _, p := range t.panes {
		if p.at == at {
			p.asked = t.made
			return p.has(h)
		}
	}
	return false
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

// find returns the slot that has h, or where it would go.
func (p *pane) find(h uint64) uint64 {
	mask := uint64(len(p.slots) - 1)
	i := h & mask
	for p.slots[i] != 0 && p.slots[i] != h {
		i = (i + 1) & mask
	}
	return i
}

func (p *pane) has(h uint64) bool { return p.slots[p.find(h)] != 0 }

// add says whether h was not there yet.
func (p *pane) add(h uint64) bool {
	i := p.find(h)
	if p.slots[i] != 0 {
		return false
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
	for _, h := range old {
		if h != 0 {
			p.slots[p.find(h)] = h
		}
	}
}

// recent is a small memory before the large ones: events that told everything that they had to tell, each in the one slot that
// its hash may take. Most events repeat one that came not long before, and one look at it, which stays in the processor's cache,
// saves three at memories that do not. What it forgets is asked of them.
type recent [recentSlots]uint64

const recentSlots = 1 << 15

func (r *recent) has(h uint64) bool { return r[h%recentSlots] == h }

func (r *recent) add(h uint64) { r[h%recentSlots] = h }
