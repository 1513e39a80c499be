package triage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// exception takes an exception into the rows, or out of them.
func (t *Task) exception(value []byte) error {
	var e topics.Exception
	if err := e.Decode(value); err != nil {
		return err
	}
	if e.Removed {
		t.view.Delete(state.ExceptionKey(e.ID))
	} else {
		t.view.Set(state.ExceptionKey(e.ID), value)
	}
	return t.loadExceptions()
}

// loadExceptions reads the exceptions: in memory is what the rows say.
func (t *Task) loadExceptions() error {
	t.exceptions = t.exceptions[:0]
	err := t.view.Scan(state.ExceptionPrefix(), func(_, v []byte) error {
		e := &topics.Exception{}
		if err := e.Decode(slices.Clone(v)); err != nil {
			return fmt.Errorf("%w: exception: %w", state.ErrRow, err)
		}
		t.exceptions = append(t.exceptions, e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read exceptions: %w", err)
	}
	return nil
}

// dropExpired deletes the exceptions that expired before now, in Unix milliseconds.
func (t *Task) dropExpired(now int64) error {
	n := len(t.exceptions)
	for _, e := range t.exceptions {
		if e.Expires != 0 && e.Expires <= now {
			t.view.Delete(state.ExceptionKey(e.ID))
			n--
		}
	}
	if n == len(t.exceptions) {
		return nil
	}
	return t.loadExceptions()
}

// excepted returns the first exception that an alert falls under, as of the time of the record that changed it.
func (t *Task) excepted(a *alert.Alert) *topics.Exception {
	if len(t.exceptions) == 0 {
		return nil
	}
	s := subject(a)
	for _, e := range t.exceptions {
		if (e.Expires == 0 || a.Created < e.Expires) && e.Matches(s) {
			return e
		}
	}
	return nil
}

// subject is what exceptions look at in an alert.
func subject(a *alert.Alert) *topics.Subject {
	v := &a.Lead.Visit
	s := &topics.Subject{
		Principal: v.Principal, Role: alert.RoleName(v.Evidence.IssuerARN), Place: v.Place, Accounts: []string{v.Evidence.PrincipalAccount, v.Evidence.Account},
		Networks: a.Context.Networks, Clients: a.Context.Clients,
	}
	for i := range a.Methods {
		s.Methods = append(s.Methods, a.Methods[i].Name)
	}
	if len(s.Methods) == 0 {
		s.Methods = append(s.Methods, v.Method)
	}
	return s
}

// capWindow is the time that the cap on alerts is for.
const capWindow = 15 * time.Minute

// bucket is the cap on alerts of one task: tokens that stream time refills, and what was held back in the running window.
type bucket struct {
	tokens    int64 // thousandths of an alert
	at        int64 // stream time of the last refill, Unix milliseconds
	window    int64 // start of the running window, Unix milliseconds
	held      map[alert.Severity]int64
	heldAll   int64
	told      int64 // of them, as the roll-up says
	version   int64 // of the roll-up of the window
	strongest held
}

// held is what a roll-up says of the strongest alert that was held back.
type held struct {
	id          string
	score       int64 // hundredths
	first, last int64 // event times, Unix milliseconds
	outcome     topics.Outcome
	lead        topics.Anomaly
}

const capVersion = 2

func (b *bucket) append(d []byte) []byte {
	d = append(d, capVersion)
	for _, n := range [...]int64{b.tokens, b.at, b.window, b.heldAll, b.told, b.version, b.held[alert.Low], b.held[alert.Medium], b.held[alert.High], b.held[alert.Critical]} {
		d = binary.AppendVarint(d, n)
	}
	h := &b.strongest
	d = binary.AppendUvarint(d, uint64(len(h.id)))
	d = append(d, h.id...)
	if h.id == "" {
		return d
	}
	for _, n := range [...]int64{h.score, h.first, h.last} {
		d = binary.AppendVarint(d, n)
	}
	lead := h.lead.Append(nil, nil)
	d = binary.AppendUvarint(append(d, byte(h.outcome)), uint64(len(lead)))
	return append(d, lead...)
}

func (b *bucket) decode(d []byte) error {
	if len(d) == 0 || d[0] == 0 {
		return fmt.Errorf("%w: cap: empty", state.ErrRow)
	}
	if d[0] > capVersion {
		return fmt.Errorf("%w: cap version %d, this build knows up to %d", state.ErrFormat, d[0], capVersion)
	}
	r := rowReader{b: d[1:]}
	score := int64(0)
	fields := []*int64{&b.tokens, &b.at, &b.window, &b.heldAll, &b.told, &b.version}
	if d[0] == 1 { // which did not know what a roll-up had told, nor the strongest alert but by its id
		fields = []*int64{&b.tokens, &b.at, &b.window, &b.heldAll, &b.version, &score}
	}
	for _, n := range fields {
		*n = r.number()
	}
	b.held = map[alert.Severity]int64{}
	for _, s := range [...]alert.Severity{alert.Low, alert.Medium, alert.High, alert.Critical} {
		b.held[s] = r.number()
	}
	h := &b.strongest
	if h.id = r.text(); d[0] == 1 {
		h.id, b.told = "", b.heldAll // the next alert that is held back takes its place
	}
	if h.id == "" {
		return r.end("cap")
	}
	h.score, h.first, h.last, h.outcome = r.number(), r.number(), r.number(), topics.Outcome(r.byte())
	if err := h.lead.Decode(slices.Clone(r.bytes())); err != nil {
		return fmt.Errorf("%w: cap: %w", state.ErrRow, err)
	}
	return r.end("cap")
}

// capRow reads the row of the cap; nil where there is none yet.
func (t *Task) capRow() (*bucket, error) {
	row, err := t.view.Get(state.CapKey())
	if err != nil || row == nil {
		return nil, err
	}
	b := &bucket{}
	return b, b.decode(row)
}

func (b *bucket) end() int64 { return b.window + capWindow.Milliseconds() }

// owes says when a roll-up is due whose count has changed since it was told: at the end of its window. 0 if none is.
func (b *bucket) owes() int64 {
	if b == nil || b.told == b.heldAll {
		return 0
	}
	return b.end()
}

// take asks for leave to wake somebody. The tasks' shares add up to the cap of the group; a share below one saves up for one.
func (t *Task) take() (bool, *bucket, error) {
	if t.cfg.Cap == 0 {
		return true, nil, nil
	}
	share := int64(t.cfg.Cap) * 1000 / int64(max(t.cfg.Partitions, 1))
	full := max(share, 1000)
	b, err := t.capRow()
	if err != nil {
		return false, nil, err
	}
	if b == nil {
		b = &bucket{tokens: full, at: t.streamTime, held: map[alert.Severity]int64{}}
	}
	window := capWindow.Milliseconds()
	if passed := min(t.streamTime-b.at, window*1000); passed > 0 {
		b.tokens = min(full, b.tokens+passed*share/window)
		b.at = t.streamTime
	}
	if start := t.streamTime - t.streamTime%window; start != b.window {
		b.window, b.heldAll, b.told, b.version, b.strongest = start, 0, 0, 0, held{}
		clear(b.held)
	}
	ok := b.tokens >= 1000
	if ok {
		b.tokens -= 1000
	}
	return ok, b, nil
}

// holdBack counts an alert that the cap held back, and returns the roll-up that announces it: each time their number doubles.
func (t *Task) holdBack(b *bucket, a *alert.Alert) *alert.Alert {
	b.heldAll++
	b.held[alert.SeverityOf(a.Score)]++
	if s := int64(a.Score * 100); b.strongest.id == "" || s > b.strongest.score {
		b.strongest = held{a.ID, s, a.First, a.Last, a.Outcome, a.Lead}
	}
	defer func() { t.owed = b.owes() }()
	if b.heldAll&(b.heldAll-1) != 0 {
		return nil
	}
	return t.rollUp(b, a.Created)
}

// rollUp is the next version of what announces the alerts that the cap held back in a window.
func (t *Task) rollUp(b *bucket, created int64) *alert.Alert {
	b.version++
	b.told = b.heldAll
	h := &b.strongest
	account := h.lead.Visit.Evidence.Account
	return &alert.Alert{
		ID: alert.RollUpID(t.cfg.Partition, b.window), Version: b.version, Score: float64(h.score) / 100, Created: created, First: h.first, Last: h.last,
		Outcome: h.outcome, Lead: h.lead, Window: t.cfg.Window, Pane: t.cfg.Pane, Context: alert.Context{AllSince: t.since[""], AccountSince: t.since[account]},
		RollUp: &alert.RollUp{
			Held: b.heldAll, Strongest: h.id, From: b.window, To: b.end(), Low: b.held[alert.Low], Medium: b.held[alert.Medium], High: b.held[alert.High],
		},
	}
}

// settle tells the last count of a window of the cap that is over.
func (t *Task) settle(created int64, out Output) error {
	b, err := t.capRow()
	if err != nil {
		return err
	}
	up := t.rollUp(b, created)
	t.owed = 0
	t.view.Set(state.CapKey(), b.append(nil))
	return out.Alert(up)
}
