package route

// told remembers, pane by pane, which presences were written already. It may forget at any time, for a repeat changes
// nothing downstream; what it must never do is claim a presence that was not told.
//
// Presences are kept as 64-bit hashes: at a million presences the odds that any two collide, and a visit goes untold, are
// one in 37 million.
type told struct {
	panes map[int64]map[uint64]struct{}
	size  int
	limit int
}

// keepPanes is how many panes back from the newest are remembered: CloudTrail delivers within 15 minutes, so with hourly
// panes nearly all repeats fall into two.
const keepPanes = 3

func newTold(limit int) *told { return &told{panes: map[int64]map[uint64]struct{}{}, limit: limit} }

// first says whether this presence is told for the first time, and remembers it.
func (t *told) first(pane int64, h uint64) bool {
	set := t.panes[pane]
	if _, ok := set[h]; ok {
		return false
	}
	if t.size >= t.limit {
		t.drop()
		set = t.panes[pane]
	}
	if set == nil {
		set = map[uint64]struct{}{}
		t.panes[pane] = set
		if len(t.panes) > keepPanes {
			t.drop()
			if t.panes[pane] == nil {
				return true // older than all that is kept: told, not remembered
			}
		}
	}
	set[h] = struct{}{}
	t.size++
	return true
}

// drop forgets the oldest pane.
func (t *told) drop() {
	oldest, found := int64(0), false
	for p := range t.panes {
		if !found || p < oldest {
			oldest, found = p, true
		}
	}
	t.size -= len(t.panes[oldest])
	delete(t.panes, oldest)
}
