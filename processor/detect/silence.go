package detect

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

const (
	// silenceMemory is how far back the pauses of a thing are looked at: a month, so that a weekend is no news, nor a job of every week.
	silenceMemory = 30 * 24 * time.Hour
	// silenceHistory is how long a thing must have been known before its silence says anything: it has a weekend in it.
	silenceHistory = 7 * 24 * time.Hour
	// leastBeat is the least width of a beat, and leastSilence how many of them a silence has at the least: CloudTrail delivers within
	// minutes, and quiet accounts have quiet hours.
	leastBeat    = time.Hour
	leastSilence = 6
	// MaxPulseRows bounds what is listened to, at some 250 bytes each: three thousand accounts that are active in three regions each.
	// What comes later is counted, and not listened to.
	MaxPulseRows = 12_000
)

// silence is what one task of detect, the one that owns the key of topics.AnyMethod, knows of who speaks. Its rows are read at the
// first pulse: the other tasks have none, and none of them costs a start anything.
//
// A thing is silent when events of the others went on, in event time, for longer than factor times its own longest pause; and when
// detect itself has heard others for leastSilence beats of wall time since. The second condition keeps a backlog from raising false
// cries, in which one raw partition is read days ahead of another for a minute; nor does an outage of farcall's count as theirs. Wall
// time is that of the records, so that a replay of them says the same.
type silence struct {
	loaded bool
	rows   map[string]*state.PulseRow // by key
	clock  int64                      // newest beat of all
	turn   state.TurnRow
	dirty  map[string]bool // keys; that of the turn row among them
	quiet  Silent
}

// Silent is how many things are silent now, as far as was told.
type Silent struct{ Accounts, Regions, Partitions int64 }

// count adds n to the figure of what a row is about.
func (s *Silent) count(what byte, n int64) {
	switch what {
	case state.PulseOfAccount:
		s.Accounts += n
	case state.PulseOfRegion:
		s.Regions += n
	case state.PulseOfPartition:
		s.Partitions += n
	}
}

// Silent is false in tasks that hear no pulses.
func (t *Task) Silent() (Silent, bool) { return t.silence.quiet, t.silence.loaded }

// beat is the width of a beat in seconds: a pane, or an hour where panes are shorter.
func (c Config) beat() int64 { return max(c.paneSeconds(), int64(leastBeat/time.Second)) }

// beatsIn is how many beats fit into d, at least one.
func (c Config) beatsIn(d time.Duration) int64 { return max(1, int64(d/time.Second)/c.beat()) }

// Pulse takes one sign of life, written at a time in Unix milliseconds, and tells who has fallen silent, or speaks again. It returns
// false for one that is not listened to, because too many others are.
func (t *Task) Pulse(p *topics.Pulse, written int64, tell func(*alert.Silence) error) (bool, error) {
	if want := t.paneOf(p.EventTime); p.Pane != want {
		return false, fmt.Errorf("%w: event of %d s lies in pane %d here, route said %d: route and detect run with different panes",
			ErrPane, p.EventTime/1000, want, p.Pane)
	}
	if t.cfg.Silence == 0 {
		return true, nil
	}
	s := &t.silence
	if err := t.loadSilence(); err != nil {
		return false, err
	}
	moved := false
	if w := floor(written/1000, t.cfg.beat()); w > s.turn.Written {
		s.turn = state.TurnRow{Written: w, Count: s.turn.Count + 1}
		s.dirty[string(state.TurnKey())] = true
		moved = true
	}
	beat := floor(p.Pane, t.cfg.beat())
	if beat > s.clock {
		s.clock, moved = beat, true
	}
	keys := [][]byte{state.PulseKey(state.PulseOfPartition, p.Topic, strconv.Itoa(int(p.Partition)))}
	if p.Account != "" {
		keys = append(keys, state.PulseKey(state.PulseOfAccount, p.Account, ""))
		if p.Region != "" {
			keys = append(keys, state.PulseKey(state.PulseOfRegion, p.Account, p.Region))
		}
	}
	heard := true
	for _, key := range keys {
		ok, err := t.hear(key, beat, p.EventTime, written, tell)
		if err != nil {
			return false, err
		}
		heard = heard && ok
	}
	if !moved {
		return heard, nil
	}
	return heard, t.listen(p.EventTime, written, tell)
}

func floor(n, width int64) int64 { return (n - ((n%width)+width)%width) / width }

// hear notes that a thing spoke in a beat, and tells if that ends a silence that was told.
func (t *Task) hear(key []byte, beat, eventTime, written int64, tell func(*alert.Silence) error) (bool, error) {
	s := &t.silence
	row := s.rows[string(key)]
	if row == nil {
		if len(s.rows) >= MaxPulseRows {
			return false, nil
		}
		s.rows[string(key)] = state.NewPulseRow(beat, s.turn.Count)
		s.dirty[string(key)] = true
		return true, nil
	}
	if row.Told && beat > row.Last {
		notice, what, err := t.notice(string(key), row, beat, eventTime, written)
		if err != nil {
			return false, err
		}
		notice.Until = beat * t.cfg.beat()
		if err := tell(notice); err != nil {
			return false, err
		}
		row.Told = false
		s.quiet.count(what, -1)
	}
	if row.Add(beat) || row.Turn != s.turn.Count {
		row.Turn = s.turn.Count
		s.dirty[string(key)] = true
	}
	return true, nil
}

// listen tells of each thing that has become silent, and forgets those that have been so for longer than any pause of theirs
// explains.
func (t *Task) listen(eventTime, written int64, tell func(*alert.Silence) error) error {
	s := &t.silence
	memory := t.cfg.beatsIn(silenceMemory)
	type finding struct {
		key    string
		now    int64
		forget bool
	}
	var found []finding
	for key, row := range s.rows {
		if s.clock-row.Last <= leastSilence {
			continue
		}
		now, silent, err := t.silent(key, row)
		if err != nil {
			return err
		}
		switch {
		case float64(s.clock-row.Last) > (t.cfg.Silence+1)*float64(memory):
			found = append(found, finding{key: key, forget: true})
		case row.Told, s.turn.Count-row.Turn < leastSilence, row.Last-row.First < t.cfg.beatsIn(silenceHistory):
		case silent > leastSilence && float64(silent) > t.cfg.Silence*float64(row.Longest(memory)):
			found = append(found, finding{key: key, now: now})
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.key, b.key) })
	for _, f := range found {
		row := s.rows[f.key]
		notice, what, err := t.notice(f.key, row, f.now, eventTime, written)
		if err != nil {
			return err
		}
		s.dirty[f.key] = true
		if f.forget {
			delete(s.rows, f.key)
			if row.Told {
				s.quiet.count(what, -1)
			}
			continue
		}
		if err := tell(notice); err != nil {
			return err
		}
		row.Told = true
		s.quiet.count(what, 1)
	}
	return nil
}

// silent is up to which beat a thing is silent, and for how many. A region is silent only while its account speaks, so of a region the
// beats count in which the account did: whoever switches off an account is told of once.
func (t *Task) silent(key string, row *state.PulseRow) (now, beats int64, err error) {
	s := &t.silence
	what, account, _, err := state.ParsePulseKey([]byte(key))
	if err != nil || what != state.PulseOfRegion {
		return s.clock, s.clock - row.Last, err
	}
	if a := s.rows[string(state.PulseKey(state.PulseOfAccount, account, ""))]; a != nil {
		return a.Last, a.Since(row.Last), nil
	}
	return row.Last, 0, nil
}

// notice says of a thing how long it has been silent up to a beat.
func (t *Task) notice(key string, row *state.PulseRow, now, eventTime, written int64) (*alert.Silence, byte, error) {
	what, name, part, err := state.ParsePulseKey([]byte(key))
	if err != nil {
		return nil, 0, err
	}
	width, memory := time.Duration(t.cfg.beat())*time.Second, t.cfg.beatsIn(silenceMemory)
	n := &alert.Silence{
		Since: row.Last * t.cfg.beat(), Pause: time.Duration(now-row.Last) * width, Longest: time.Duration(row.Longest(memory)) * width,
		Known: time.Duration(min(memory, row.Last-row.First)) * width, First: row.First * t.cfg.beat(), Time: eventTime, Created: written,
	}
	switch what {
	case state.PulseOfPartition:
		n.Topic, n.Partition = name, part
	default:
		n.Account, n.Region = name, part
	}
	return n, what, nil
}

func (t *Task) loadSilence() error {
	s := &t.silence
	if s.loaded {
		return nil
	}
	s.rows, s.dirty = map[string]*state.PulseRow{}, map[string]bool{}
	err := t.view.Scan(state.PulsePrefix(), func(k, v []byte) error {
		if bytes.Equal(k, state.TurnKey()) {
			return s.turn.Decode(v)
		}
		what, _, _, err := state.ParsePulseKey(k)
		if err != nil {
			return err
		}
		row := &state.PulseRow{}
		if err := row.Decode(v); err != nil {
			return err
		}
		s.rows[strings.Clone(string(k))] = row
		s.clock = max(s.clock, row.Last)
		if row.Told {
			s.quiet.count(what, 1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read pulses: %w", err)
	}
	s.loaded = true
	return nil
}

// flush stages the rows that changed.
func (s *silence) flush(view state.View) {
	for key := range s.dirty {
		switch row := s.rows[key]; {
		case key == string(state.TurnKey()):
			s.turn.Stage(view)
		case row == nil:
			view.Delete([]byte(key))
		default:
			row.Stage(view, []byte(key))
		}
	}
	clear(s.dirty)
}
