package detect

import (
	"bytes"
	"errors"
	"slices"

	"github.com/farcall/farcall/state"
)

// expiry knows when each method next has a row to lose. It lists a method once, under the oldest pane that the method has a row
// in, so it grows with the methods and not with their rows, and moves it on as that pane goes.
//
// It is made when stream time first leaves the pane that the task began in, by one look at each method, and not at the start: so
// neither a restart nor an abort reads the rows of a partition.
type expiry struct {
	made   bool
	due    map[int64][]string // by pane; a method counts where oldest agrees
	oldest map[string]int64
}

func newExpiry() expiry { return expiry{due: map[int64][]string{}, oldest: map[string]int64{}} }

// enlist notes that a method has a row in a pane.
func (e *expiry) enlist(method []byte, pane int64) {
	if at, ok := e.oldest[string(method)]; ok && at <= pane {
		return
	}
	name := string(method)
	e.oldest[name] = pane
	e.due[pane] = append(e.due[pane], name)
}

// none says that a method is known to have no row.
func (e *expiry) none(method []byte) bool {
	_, some := e.oldest[string(method)]
	return e.made && !some
}

// take removes the methods that have a row in a pane up to limit, and returns them.
func (e *expiry) take(limit int64) (methods []string) {
	for pane, names := range e.due {
		if pane > limit {
			continue
		}
		for _, name := range names {
			if e.oldest[name] == pane {
				methods = append(methods, name)
				delete(e.oldest, name)
			}
		}
		delete(e.due, pane)
	}
	slices.Sort(methods)
	return methods
}

// make enlists every method that the store has rows of. Rows are keyed by method first, so the oldest row of the next method is
// the first behind all rows of this one.
func (e *expiry) make(view state.View) error {
	var method []byte
	for from := state.AllPanes(); ; from = state.PanesEnd(method) {
		k, err := view.Next(state.AllPanes(), from)
		if k == nil || err != nil {
			e.made = err == nil
			return err
		}
		var pane int64
		if method, pane, _, err = state.ParsePaneKey(k); err != nil {
			return err
		}
		e.enlist(method, pane)
	}
}

// expire writes a tombstone for every stored block of the rows in panes up to limit, and takes them out of their windows.
func (t *Task) expire(limit int64) error {
	if !t.expiry.made {
		if err := t.expiry.make(t.view); err != nil {
			return err
		}
		// What a retraction has changed since the last transaction is in no row now, and will be again at its end.
		for _, w := range t.windows {
			if len(w.panes) > 0 {
				t.expiry.enlist(w.method, w.panes[0])
			}
		}
	}
	var gone [][]byte
	for _, name := range t.expiry.take(limit) {
		method := []byte(name)
		w := t.windows[name]
		if w != nil {
			if err := t.slide(w); err != nil { // the sums must let go of the rows while they can still be read
				return err
			}
			n, _ := slices.BinarySearch(w.panes, limit+1)
			for _, p := range w.panes[:n] {
				delete(w.rows, p)
			}
			w.panes = slices.Delete(w.panes, 0, n)
			w.cost -= n
			t.weigh(w)
			if len(w.panes) > 0 { // maybe a row that is not stored yet
				t.expiry.enlist(method, w.panes[0])
			}
		}
		err := t.view.Scan(state.PanePrefix(method), func(k, _ []byte) error {
			_, pane, _, err := state.ParsePaneKey(k)
			if err != nil {
				return err
			}
			if pane > limit {
				t.expiry.enlist(method, pane)
				return errEnough
			}
			gone = append(gone, bytes.Clone(k))
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
	}
	for _, k := range gone {
		t.view.Delete(k)
	}
	return nil
}

// errEnough ends a scan whose rest nobody needs.
var errEnough = errors.New("enough")
