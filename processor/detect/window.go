package detect

import (
	"cmp"
	"container/list"
	"slices"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// window is the distribution of one method, kept hot: running sums over the pane rows in (end − span, end]. It is derived
// from the rows and never a second truth: dropping it loses nothing.
type window struct {
	method []byte // topics.AppendMethodKey
	end    int64  // newest pane of the sums, Unix seconds
	visits int64
	exact  int64 // visits whose principals rows spell out
	places map[string]*support
	panes  []int64 // sorted: panes with a row, also those that left the window but not yet the store
	rows   map[int64]*state.PaneRow
	seen   state.SeenRow
	cost   int // entries of byPrincipal and panes
	weight int // entries, as the cache last counted them
	used   *list.Element
	asked  bool // since the cache last counted
	dirty  bool
}

// support is what one place adds to the sums.
type support struct {
	visits int64
	// byPrincipal counts the panes of each principal that rows spell out: what the guard of scoring looks at.
	byPrincipal map[uint64]int64
}

// guardLimit is the number of principals of a place past which no single one can carry it, so that nobody asks.
const guardLimit = 64

// add puts a cell into the sums, or takes it out with sign -1.
func (w *window) add(c *state.Cell, sign int64) {
	s := w.places[c.Place]
	if s == nil {
		s = &support{byPrincipal: map[uint64]int64{}}
		w.places[c.Place] = s
	}
	n := sign * c.Visits()
	s.visits += n
	w.visits += n
	if exact, ok := c.Exact(); ok {
		for _, h := range exact {
			if topics.Outcome(h&3)&topics.Allowed != 0 {
				w.count(s, h&^3, sign)
			}
		}
	}
	if s.visits == 0 {
		delete(w.places, c.Place)
	}
}

// grow puts into the sums what a cell of theirs gained by one visit: before is what its visits were, spilled who it spelled out until
// now, where from now on it only counts.
func (w *window) grow(c *state.Cell, before int64, principal uint64, gained topics.Outcome, spilled []uint64) {
	n := c.Visits() - before
	s := w.places[c.Place]
	if s == nil {
		if n == 0 {
			return
		}
		s = &support{byPrincipal: map[uint64]int64{}}
		w.places[c.Place] = s
	}
	s.visits += n
	w.visits += n
	for _, h := range spilled {
		if topics.Outcome(h&3)&topics.Allowed != 0 {
			w.count(s, h&^3, -1)
		}
	}
	if _, exact := c.Exact(); exact && gained&topics.Allowed != 0 {
		w.count(s, principal, 1)
	}
}

func (w *window) count(s *support, principal uint64, sign int64) {
	w.exact += sign
	before := len(s.byPrincipal)
	if s.byPrincipal[principal] += sign; s.byPrincipal[principal] == 0 {
		delete(s.byPrincipal, principal)
	}
	w.cost += len(s.byPrincipal) - before
}

func (w *window) hasPane(pane int64) (int, bool) { return slices.BinarySearch(w.panes, pane) }

// mostScore is what a visit scores at the most, whatever the other places are: what they have makes it likelier. It is 100 where the
// sums don't say.
func (w *window) mostScore(pane int64, place string, principal uint64) float64 {
	here := w.places[place]
	if here == nil || pane != w.end {
		return 100
	}
	return Score(counts{visits: w.visits, place: here.visits, support: guarded(here.visits, here.byPrincipal, principal)}.probability())
}

// guarded is what the visits of a place support a principal's: the busiest other one counts once, however long it stayed.
func guarded(visits int64, byPrincipal map[uint64]int64, principal uint64) int64 {
	busiest := int64(0)
	if len(byPrincipal) <= guardLimit {
		for h, n := range byPrincipal {
			if h != principal {
				busiest = max(busiest, n)
			}
		}
	}
	return visits - max(busiest-1, 0)
}

// distribution is what the method's rows say of a visit, with the panes in (pane − span, pane] only: an event that arrives
// late is judged by what came before it, not by what an intruder did since.
func (w *window) distribution(t *Task, pane int64, place string, principal uint64) (topics.Distribution, counts, error) {
	tally := t.tally[:0]
	own := int64(0)
	for p, s := range w.places {
		tally = append(tally, topics.PlaceCount{Place: p, Visits: s.visits})
		own += s.byPrincipal[principal]
	}
	here := &support{}
	if s := w.places[place]; s != nil {
		here = s
	}
	c := counts{visits: w.visits, place: here.visits}
	exact := w.exact
	byPrincipal := here.byPrincipal
	if pane != w.end {
		adjusted := map[uint64]int64{}
		for h, n := range byPrincipal {
			adjusted[h] = n
		}
		byPrincipal = adjusted
		for _, p := range w.panes {
			sign := int64(0)
			switch inSums, inAsked := p > w.end-t.span && p <= w.end, p > pane-t.span && p <= pane; {
			case inSums && !inAsked:
				sign = -1
			case inAsked && !inSums:
				sign = 1
			default:
				continue
			}
			row, err := t.row(w, p)
			if err != nil {
				return topics.Distribution{}, counts{}, err
			}
			for i := range row.Cells {
				cell := &row.Cells[i]
				n := sign * cell.Visits()
				c.visits += n
				at := slices.IndexFunc(tally, func(pc topics.PlaceCount) bool { return pc.Place == cell.Place })
				if at < 0 {
					tally = append(tally, topics.PlaceCount{Place: cell.Place})
					at = len(tally) - 1
				}
				tally[at].Visits += n
				if cell.Place == place {
					c.place += n
				}
				hashes, ok := cell.Exact()
				if !ok {
					continue
				}
				for _, h := range hashes {
					if topics.Outcome(h&3)&topics.Allowed == 0 {
						continue
					}
					exact += sign
					if h&^3 == principal {
						own += sign
					}
					if cell.Place == place {
						if byPrincipal[h&^3] += sign; byPrincipal[h&^3] == 0 {
							delete(byPrincipal, h&^3) // who only came later must not put the guard off
						}
					}
				}
			}
		}
		tally = slices.DeleteFunc(tally, func(pc topics.PlaceCount) bool { return pc.Visits <= 0 })
	}
	t.tally = tally

	c.support = guarded(c.place, byPrincipal, principal)
	others := int64(0)
	for h, n := range byPrincipal {
		if h != principal && n > 0 {
			others++
		}
	}
	if own == 0 && exact < c.visits {
		own = -1
	}
	c.usual = true
	for _, pc := range tally {
		if pc.Place == place {
			continue
		}
		if pc.Visits <= c.support {
			c.below += pc.Visits
		}
		c.usual = c.usual && pc.Visits <= c.place
	}
	d := topics.Distribution{
		Visits: c.visits, PlaceVisits: c.place, Support: c.support, Places: int64(len(tally)),
		Others: others, Own: own, MethodSince: w.seen.First(),
	}
	// Of a late event's future nothing is said.
	if d.MethodSince > pane {
		d.MethodSince = 0
	}
	if s, ok := w.seen.Places[place]; ok && s.First <= pane {
		d.PlaceSince = s.First
		if s.Last <= pane {
			d.PlaceLast = s.Last
		}
	}
	return d, c, nil
}

// top returns the most visited places of the last distribution. It does not sort them all: some methods are called from hundreds.
func (t *Task) top() []topics.PlaceCount {
	top := make([]topics.PlaceCount, 0, topics.MaxTopCountries+1)
	for _, pc := range t.tally {
		if len(top) == topics.MaxTopCountries && byVisits(pc, top[len(top)-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, pc, byVisits)
		top = slices.Insert(top, at, pc)
		top = top[:min(len(top), topics.MaxTopCountries)]
	}
	return top
}

// byVisits orders places by their visits, most first, and equal ones by name.
func byVisits(a, b topics.PlaceCount) int {
	return cmp.Or(cmp.Compare(b.Visits, a.Visits), cmp.Compare(a.Place, b.Place))
}

// window returns the window of a method with its sums up to the pane of stream time.
func (t *Task) window(method []byte) (*window, error) {
	w := t.windows[string(method)]
	if w == nil {
		var err error
		if w, err = t.fill(method); err != nil {
			return nil, err
		}
		w.used = t.lru.PushFront(w)
		t.windows[string(method)] = w
	} else {
		t.lru.MoveToFront(w.used)
	}
	if !w.asked {
		w.asked = true
		t.asked = append(t.asked, w)
	}
	return w, t.slide(w)
}

// weigh brings the size of the cache up to what a window holds now.
func (t *Task) weigh(w *window) {
	n := w.cost + len(w.places) + len(w.rows) + 16
	t.cached += n - w.weight
	w.weight = n
}

// trim takes the windows that were asked for least recently out of the cache, down to its bound.
func (t *Task) trim() {
	for _, w := range t.asked {
		t.weigh(w)
		w.asked = false
	}
	clear(t.asked)
	t.asked = t.asked[:0]
	for t.cached > t.cfg.CacheEntries {
		w := t.lru.Remove(t.lru.Back()).(*window)
		t.cached -= w.weight
		delete(t.windows, string(w.method))
	}
}

// fill reads a method's rows: one short scan, since rows are keyed by method first.
func (t *Task) fill(method []byte) (*window, error) {
	w := &window{method: slices.Clone(method), end: t.pane, places: map[string]*support{}, rows: map[int64]*state.PaneRow{}}
	seen, err := t.view.Get(state.SeenKey(method))
	if err != nil {
		return nil, err
	}
	if err := w.seen.Decode(seen, t.intern); err != nil {
		return nil, err
	}
	if t.expiry.none(method) {
		return w, nil
	}
	var row *state.PaneRow
	at := int64(0)
	settle := func() {
		if row == nil {
			return
		}
		w.panes = append(w.panes, at)
		if at > w.end-t.span && at <= w.end {
			for i := range row.Cells {
				w.add(&row.Cells[i], 1)
			}
		}
		if at >= w.end-t.cfg.paneSeconds() {
			w.rows[at] = row
		}
	}
	err = t.view.Scan(state.PanePrefix(method), func(k, v []byte) error {
		_, pane, block, err := state.ParsePaneKey(k)
		if err != nil {
			return err
		}
		if row == nil || pane != at {
			settle()
			row, at = &state.PaneRow{}, pane
		}
		return row.DecodeBlock(block, v, t.intern)
	})
	settle()
	return w, err
}

// slide moves the sums of a window on to the pane of stream time.
func (t *Task) slide(w *window) error {
	if w.end == t.pane {
		return nil
	}
	for _, p := range w.panes {
		var sign int64
		switch was, is := p > w.end-t.span && p <= w.end, p > t.pane-t.span && p <= t.pane; {
		case was && !is:
			sign = -1
		case is && !was:
			sign = 1
		default:
			continue
		}
		row, err := t.row(w, p)
		if err != nil {
			return err
		}
		for i := range row.Cells {
			w.add(&row.Cells[i], sign)
		}
	}
	w.end = t.pane
	return nil
}

// row returns the decoded row of a pane, or a new one.
func (t *Task) row(w *window, pane int64) (*state.PaneRow, error) {
	if r := w.rows[pane]; r != nil {
		return r, nil
	}
	if _, ok := w.hasPane(pane); !ok {
		return state.NewPaneRow(), nil
	}
	r := &state.PaneRow{}
	err := t.view.Scan(state.PaneKey(w.method, pane, 0)[:len(w.method)+10], func(k, v []byte) error {
		_, _, block, err := state.ParsePaneKey(k)
		if err != nil {
			return err
		}
		return r.DecodeBlock(block, v, t.intern)
	})
	w.rows[pane] = r
	return r, err
}
