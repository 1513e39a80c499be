package model

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/stream"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/state/crashdisk"
	"github.com/farcall/farcall/topics"
)

const (
	account     = "111122223333"
	fingerprint = "model"
	steps       = 300
	least       = 50 // times that each fault must have met each phase
)

// addresses are one for each place, as the embedded database has them.
var addresses = map[string]string{"US": "8.8.8.8", "DE": "78.47.22.10", "NL": "185.141.251.7", "BR": "200.149.247.2", "NG": "102.223.1.9"}

var changelogTopic = state.TopicID{1}

// coverage counts which fault met which phase of a task. A transaction, and so its abort, its commit and what a record is,
// exists only while a task runs; a zombie that was opening or restoring has nothing to commit.
type coverage map[string]int

var feasible = []string{
	"abort/running", "crash before commit/running", "crash between commit and Pebble/running", "crash after commit/running",
	"crash/opening", "crash/restoring", "crash/revoking", "revoke/opening", "revoke/restoring", "revoke/running", "zombie/running",
	"duplicate/running", "late/running",
	"write error/opening", "write error/restoring", "write error/running", "write error/revoking",
}

// task is what detect and triage have in common here.
type task interface {
	process(value []byte, at int64) (out [][]byte, err error)
	flush()
	streamTime() int64
}

type detectTask struct{ *detect.Task }

func (t detectTask) process(value []byte, _ int64) ([][]byte, error) {
	var v topics.Visit
	var a topics.Anomaly
	if topics.KindOf(value) == topics.KindRetraction {
		var r topics.Retraction
		if err := r.Decode(value); err != nil {
			return nil, err
		}
		_, _, err := t.Retract(&r)
		return nil, err
	}
	if err := v.Decode(value); err != nil {
		return nil, err
	}
	result, err := t.Visit(&v, &a)
	if err != nil || result != detect.Forwarded && (result != detect.Stale || a.Score < floor) {
		return nil, err
	}
	return [][]byte{a.Append(nil, value)}, nil
}

func (t detectTask) flush()            { t.Flush() }
func (t detectTask) streamTime() int64 { return t.StreamTime() }

type triageTask struct{ *triage.Task }

func (t triageTask) process(value []byte, at int64) (out [][]byte, err error) {
	_, err = t.Record(value, at, collect{&out})
	return out, err
}

// collect takes what triage writes.
type collect struct{ out *[][]byte }

func (c collect) Alert(a *alert.Alert) error {
	rec, err := stream.AlertRecord("", a, version)
	if err == nil {
		*c.out = append(*c.out, rec.Value)
	}
	return err
}

func (c collect) Retract(_, value []byte) error {
	*c.out = append(*c.out, value)
	return nil
}

func (t triageTask) flush()            {}
func (t triageTask) streamTime() int64 { return t.StreamTime() }

// history is one installation and what happens to it. What a broker would keep is kept in slices: only what is committed is in
// them.
type history struct {
	*testing.T
	rng     *rand.Rand
	disk    *rand.Rand // for what survives of a disk: how often it is asked depends on Pebble's own goroutines
	met     coverage
	locator *geo.Locator
	now     time.Time
	serial  int
	log     []string // steps, for a failure

	sent    [][]raw
	values  [][][]byte
	routes  []*router
	letters []string
	// visits have retractions among them; principals are the sightings and anomalies, and what people decided; alerts the documents.
	visits, principals, alerts [][]byte
	inForce                    []*topics.Exception
	detect, triage             *stage
}

// router is route for one raw partition.
type router struct {
	partition int
	committed int
	horizon   int64
	task      *route.Task
	// of the running transaction
	next              int
	visits, sightings [][]byte
	letters           []string
}

func (r *router) Visit(_, value []byte)    { r.visits = append(r.visits, bytes.Clone(value)) }
func (r *router) Pulse(_, _ []byte)        {}
func (r *router) Sighting(_, value []byte) { r.sightings = append(r.sightings, bytes.Clone(value)) }
func (r *router) DeadLetter(d *topics.DeadLetter) {
	r.letters = append(r.letters, d.Reason+" "+coordinates(d.Source.Partition, d.Source.Offset))
}

// stage is the one partition of detect or triage, on one of two machines.
type stage struct {
	h         *history
	name      string
	make      func(state.View, int64) (task, error)
	in        *[][]byte
	commitOut func([][]byte)
	committed int           // the group's offset
	changelog [][]state.Row // by transaction
	disks     [2]*crashdisk.Disk
	broken    [2]*atomic.Bool // by machine: its disk takes no more writes
	ended     chan error      // what the process ends with
	at        int
	store     *state.Store
	task      task
}

func newHistory(t *testing.T, seed uint64, locator *geo.Locator, met coverage) *history {
	h := &history{T: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: rand.New(rand.NewPCG(seed, 2)), met: met, locator: locator, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	for p := range 2 {
		h.sent, h.values = append(h.sent, nil), append(h.values, nil)
		r := &router{partition: p}
		h.routes = append(h.routes, r)
		h.remake(r)
	}
	h.detect = &stage{h: h, name: "detect", in: &h.visits, commitOut: func(out [][]byte) { h.principals = append(h.principals, out...) },
		make: func(v state.View, at int64) (task, error) {
			return detectTask{detect.NewTask(detect.Config{Pane: time.Duration(pane) * time.Second, Window: time.Duration(span) * time.Second, LookBack: time.Duration(lookBack) * time.Second, Floor: floor, CacheEntries: 1 << 10}, v, at)}, nil
		}}
	h.triage = &stage{h: h, name: "triage", in: &h.principals, commitOut: h.commitTriage,
		make: func(v state.View, at int64) (task, error) {
			t, err := triage.NewTask(triageConfig, v, at)
			return triageTask{t}, err
		}}
	for _, s := range []*stage{h.detect, h.triage} {
		s.disks = [2]*crashdisk.Disk{crashdisk.New(), crashdisk.New()}
		s.broken = [2]*atomic.Bool{{}, {}}
		s.ended = make(chan error, 1)
		s.assign("")
	}
	return h
}

func (h *history) commitTriage(out [][]byte) {
	for _, b := range out {
		if topics.KindOf(b) == topics.KindRetraction {
			h.visits = append(h.visits, b)
		} else {
			h.alerts = append(h.alerts, b)
		}
	}
}

// except makes an exception, or takes one back. Time is counted in records here.
func (h *history) except() {
	e := exception(h.rng, h.serial, int64(len(h.principals)), 150)
	if n := len(h.inForce); n > 0 && h.rng.IntN(3) == 0 {
		at := h.rng.IntN(n)
		old := *h.inForce[at]
		e, h.inForce = &old, slices.Delete(h.inForce, at, at+1)
		e.Removed = true
	} else {
		h.serial++
		h.inForce = append(h.inForce, e)
	}
	h.principals = append(h.principals, e.Append(nil))
}

// decide says of some alert what it was.
func (h *history) decide() {
	for range 10 { // but not of a roll-up
		if len(h.alerts) == 0 {
			return
		}
		b, err := alert.ParseBrief(h.alerts[h.rng.IntN(len(h.alerts))])
		h.check(err)
		if !b.RollUp {
			h.principals = append(h.principals, verdict(h.rng, &b, int64(len(h.principals))).Append(nil))
			return
		}
	}
}

func (h *history) step(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *history) check(err error) {
	if err != nil {
		h.Helper()
		h.fail("%v", err)
	}
}

func (h *history) fail(format string, args ...any) {
	h.Helper()
	h.Fatalf("%s\nafter %d steps, the last ones being %q", fmt.Sprintf(format, args...), len(h.log), h.log[max(0, len(h.log)-12):])
}

// remake makes route's task anew: it remembers nothing of what it told, and the horizon that it committed.
func (h *history) remake(r *router) {
	cfg := route.DefaultConfig()
	cfg.Pane, cfg.Skew, cfg.Late = time.Duration(pane)*time.Second, skew, late
	t, err := route.NewTask(cfg, nil, h.locator, func() time.Time { return h.now }, r.horizon, route.NewStats())
	h.check(err)
	r.task, r.next, r.visits, r.sightings, r.letters = t, r.committed, nil, nil, nil
}

// send produces raw records: events of now, late ones, such as are past the window, from the future, twice delivered, and junk.
func (h *history) send() {
	h.now = h.now.Add(time.Duration(h.rng.IntN(25)) * time.Minute)
	for range 1 + h.rng.IntN(12) {
		p := h.rng.IntN(2)
		r := raw{partition: int32(p), timestamp: h.now.UnixMilli(), at: h.now.Add(-time.Duration(h.rng.IntN(600)) * time.Second).UnixMilli()}
		h.serial++
		r.id, r.method = fmt.Sprintf("id-%d", h.serial), fmt.Sprintf("iam:M%d", h.rng.IntN(3))
		r.user, r.denied = fmt.Sprintf("u%d", h.rng.IntN(20)), h.rng.IntN(8) == 0
		places := slices.Sorted(maps.Keys(addresses))
		if r.place = places[0]; h.rng.IntN(12) == 0 {
			r.place = places[h.rng.IntN(len(places))]
		}
		switch h.rng.IntN(20) {
		case 0:
			r.at = h.now.Add(-time.Duration(h.rng.IntN(20)) * time.Hour).UnixMilli()
			h.met["late/running"]++
		case 1:
			r.at = h.now.Add(skew + time.Second + time.Duration(h.rng.IntN(1000))*time.Hour).UnixMilli()
		case 2:
			r.bad = true
		case 3:
			if n := len(h.sent[1-p]); n > 0 { // delivered before, to the other partition
				again := h.sent[1-p][h.rng.IntN(n)]
				again.partition, again.timestamp = r.partition, r.timestamp
				r = again
				h.met["duplicate/running"]++
			}
		}
		h.produce(r)
	}
}

func (h *history) produce(r raw) {
	r.offset = int64(len(h.sent[r.partition]))
	value := []byte("junk " + r.id)
	if !r.bad {
		code := ""
		if r.denied {
			code = `,"errorCode":"AccessDenied"`
		}
		value = fmt.Appendf(nil, `{"eventTime":%q,"eventSource":"iam.amazonaws.com","eventName":%q,"eventID":%q,"sourceIPAddress":%q,"userAgent":%q,"userIdentity":{"type":"IAMUser","userName":%q,"accountId":%q}%s}`,
			time.UnixMilli(r.at).UTC().Format("2006-01-02T15:04:05Z"), r.method[len("iam:"):], r.id, addresses[r.place], clients[h.rng.IntN(len(clients))], r.user, account, code)
		r.at = r.at / 1000 * 1000
	}
	h.sent[r.partition], h.values[r.partition] = append(h.sent[r.partition], r), append(h.values[r.partition], value)
}

// route runs a transaction of route, which may abort or crash before its commit: both lose its memory.
func (h *history) route(r *router, lose bool) {
	end := min(len(h.values[r.partition]), r.next+1+h.rng.IntN(20))
	for ; r.next < end; r.next++ {
		r.task.Record(&route.Raw{
			Source: topics.Source{Topic: "raw", Partition: int32(r.partition), Offset: int64(r.next)}, Timestamp: h.sent[r.partition][r.next].timestamp, Value: h.values[r.partition][r.next],
		}, r)
	}
	if lose {
		h.remake(r)
		return
	}
	h.visits, h.principals, h.letters = append(h.visits, r.visits...), append(h.principals, r.sightings...), append(h.letters, r.letters...)
	r.visits, r.sightings, r.letters = nil, nil, nil
	r.committed, r.horizon = r.next, r.task.Horizon()
}

// assign opens, restores and checks, as stream does. fault is what happens on the way, "" for nothing.
func (s *stage) assign(fault string) {
	h := s.h
	open := func() { h.check(s.open()) }
	interrupted := func(kind, phase string) {
		h.met[kind+"/"+phase]++
		switch kind {
		case "crash":
			s.crash()
		case "write error":
			s.breaks()
		default:
			h.check(s.store.Close())
			s.at = 1 - s.at
		}
		open()
	}
	if fault == "write error/opening" {
		h.met[fault]++
		fault = ""
		s.broken[s.at].Store(true)
		if err := s.open(); !errors.Is(err, errWrite) {
			h.fail("%s: opened on a disk that takes no writes: %v", s.name, err)
		}
		s.broken[s.at].Store(false)
	}
	open()
	if kind, phase, _ := cut(fault); phase == "opening" {
		interrupted(kind, phase)
	}
	pos, _ := s.store.Position()
	if pos.Next > int64(len(s.changelog)) {
		h.fail("%s: the store is at %d, ahead of the changelog, which ends at %d", s.name, pos.Next, len(s.changelog))
	}
	half := pos.Next + (int64(len(s.changelog))-pos.Next)/2
	for n := pos.Next; n < int64(len(s.changelog)); n++ {
		if kind, phase, _ := cut(fault); phase == "restoring" && n >= half {
			fault = ""
			interrupted(kind, phase)
			pos, _ = s.store.Position()
			n = pos.Next - 1
			continue
		}
		h.check(s.store.Apply(s.changelog[n], state.Position{Topic: changelogTopic, Next: n + 1}))
	}
	meta, ok := s.store.Meta()
	if ok != (len(s.changelog) > 0) || ok && (meta.Input != int64(s.committed) || meta.Fingerprint != fingerprint) {
		h.fail("%s: the state is at input offset %d (%t) and the group at %d", s.name, meta.Input, ok, s.committed)
	}
	s.remake()
}

func cut(fault string) (kind, phase string, ok bool) {
	for _, phase := range []string{"opening", "restoring", "running", "revoking"} {
		if n := len(fault) - len(phase) - 1; n > 0 && fault[n:] == "/"+phase {
			return fault[:n], phase, true
		}
	}
	return fault, "", false
}

func (s *stage) remake() {
	s.store.Rollback()
	meta, _ := s.store.Meta()
	var err error
	s.task, err = s.make(s.store, meta.StreamTime)
	s.h.check(err)
}

// errWrite is what a broken disk says.
var errWrite = syscall.EIO

// open opens the store of the machine that the partition is on. Once it is open its manifest is spared: a goroutine of Pebble's
// that can't write that stands still for ever, with what it has locked (state.TestDiskFull), and a history has many.
func (s *stage) open() (err error) {
	broken, spared := s.broken[s.at], new(atomic.Bool)
	disk := errorfs.Wrap(s.disks[s.at], errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && !(spared.Load() && strings.Contains(op.Path, "MANIFEST")) {
			return errWrite
		}
		return nil
	}))
	defer spared.Store(true)
	s.store, err = state.Open("state", state.Options{FS: disk, MemTableBytes: 256 << 10, FlushRows: 200, Fatal: func(err error) { s.ended <- err }})
	return err
}

// breaks lets the disk take no more writes. The flush that meets this ends the process, which leaves what was on the disk.
func (s *stage) breaks() {
	s.h.check(s.store.Apply(nil, must(s.store.Position()))) // so that there is something to flush
	s.broken[s.at].Store(true)
	for ; s.store.Err() == nil; <-time.After(time.Millisecond) { // a flush that has begun may have nothing left to write, and there is no second one beside it
		if err := s.store.MaybeFlush(true); err != nil && !errors.Is(err, state.ErrDisk) {
			s.h.fail("%s: the flush says %v", s.name, err)
		}
	}
	s.ends()
}

// ends waits for the end of a process whose disk is broken.
func (s *stage) ends() {
	h := s.h
	select {
	case err := <-s.ended:
		if !errors.Is(err, state.ErrDisk) || !errors.Is(err, errWrite) {
			h.fail("%s: the process ends with %v", s.name, err)
		}
	case <-time.After(time.Minute):
		h.fail("%s: a disk that takes no writes does not end the process", s.name)
	}
	left := s.disks[s.at].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[h.rng.IntN(3)], RNG: h.disk})
	s.store.Rollback()
	if err := s.store.Close(); !errors.Is(err, state.ErrDisk) {
		h.fail("%s: the store closes with %v", s.name, err)
	}
	s.broken[s.at].Store(false) // the disk that is no more, so that Pebble's goroutines end
	h.check(s.store.Discard())
	s.disks[s.at], s.broken[s.at] = left, new(atomic.Bool)
}

func must(pos state.Position, _ bool) state.Position { return pos }

// crash leaves of the disk what was synced and some of the rest.
func (s *stage) crash() {
	left := s.disks[s.at].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[s.h.rng.IntN(3)], RNG: s.h.disk})
	s.store.Rollback()
	s.h.check(s.store.Close()) // on the disk that is no more
	s.disks[s.at] = left
}

// turn is a transaction with one fault, or none.
func (s *stage) turn(fault string) {
	h := s.h
	next := min(len(*s.in), s.committed+1+h.rng.IntN(40))
	var out [][]byte
	for i := s.committed; i < next; i++ {
		o, err := s.task.process((*s.in)[i], int64(i))
		h.check(err)
		out = append(out, o...)
	}
	if fault == "abort/running" && h.rng.IntN(2) == 0 { // before anything was staged
		h.met[fault]++
		s.remake()
		return
	}
	s.task.flush()
	s.store.SetMeta(state.Meta{Input: int64(next), StreamTime: s.task.streamTime(), Fingerprint: fingerprint})
	var rows []state.Row
	for k, v := range s.store.Changes() {
		rows = append(rows, state.Row{Key: bytes.Clone(k), Value: bytes.Clone(v)})
	}
	switch fault {
	case "abort/running":
		h.met[fault]++
		s.remake()
		return
	case "crash before commit/running":
		h.met[fault]++
		s.crash()
		s.assign("")
		return
	case "revoke/running": // in mid-transaction
		h.met[fault]++
		s.store.Rollback()
		h.check(s.store.Close())
		s.at = 1 - s.at
		s.assign("")
		return
	case "zombie/running":
		// The other machine has taken over and commits past the sleeper, which then is refused.
		h.met[fault]++
		sleeper := s.store
		s.at = 1 - s.at
		s.assign("")
		s.turn("")
		sleeper.Rollback()
		h.check(sleeper.Close())
		return
	}
	s.changelog = append(s.changelog, rows)
	s.commitOut(out)
	s.committed = next
	if fault == "crash between commit and Pebble/running" {
		h.met[fault]++
		s.crash()
		s.assign("")
		return
	}
	h.check(s.store.Commit(state.Position{Topic: changelogTopic, Next: int64(len(s.changelog))}))
	switch fault {
	case "crash after commit/running":
		h.met[fault]++
		s.crash()
		s.assign("")
		return
	case "write error/running":
		h.met[fault]++
		s.breaks()
		s.assign("")
		return
	}
	h.check(s.store.MaybeFlush(h.rng.IntN(6) == 0))
}

// move takes the partition away between two transactions and gives it to the other machine, or back.
func (s *stage) move(fault string) {
	switch fault {
	case "crash/revoking":
		s.h.met[fault]++
		s.crash()
	case "write error/revoking":
		s.h.met[fault]++
		s.h.check(s.store.Apply(nil, must(s.store.Position()))) // so that there is something to flush
		s.broken[s.at].Store(true)
		if err := s.store.Close(); !errors.Is(err, state.ErrDisk) {
			s.h.fail("%s: the store closes with %v", s.name, err)
		}
		s.ends()
	default:
		s.h.check(s.store.Close())
	}
	if s.h.rng.IntN(2) == 0 {
		s.at = 1 - s.at
	}
	s.assign(fault)
}

func (h *history) play(n int) {
	var faults []string
	for _, f := range feasible {
		if kind, _, _ := cut(f); kind != "late" && kind != "duplicate" {
			faults = append(faults, f)
		}
	}
	for range n {
		s := []*stage{h.detect, h.triage}[h.rng.IntN(2)]
		switch k := h.rng.IntN(12); {
		case k < 2:
			h.step("send")
			h.send()
		case k < 4:
			r, lose := h.routes[h.rng.IntN(2)], h.rng.IntN(4) == 0
			h.step("route %d lose=%t", r.partition, lose)
			h.route(r, lose)
		case k < 7:
			h.step("turn of %s", s.name)
			s.turn("")
		case k == 10:
			h.step("an exception")
			h.except()
		case k == 11:
			h.step("a verdict")
			h.decide()
		default:
			f := faults[h.rng.IntN(len(faults))]
			h.step("%s: %s", s.name, f)
			if _, phase, _ := cut(f); phase == "running" {
				s.turn(f)
			} else {
				s.move(f)
			}
		}
	}
	for _, r := range h.routes {
		for r.next < len(h.values[r.partition]) {
			h.route(r, false)
		}
	}
	for _, s := range []*stage{h.detect, h.triage, h.detect} { // which retractions come back to
		for s.committed < len(*s.in) {
			s.turn("")
		}
	}
}

// judge holds what is left against the oracle.
func (h *history) judge() {
	want := expected(h.sent)
	slices.Sort(h.letters)
	h.same("dead letters", want.letters, h.letters)
	told, due := map[string]bool{}, map[string]bool{}
	spell := func(v *topics.Visit) string {
		return fmt.Sprint(v.Method, " ", v.Place, " ", v.Principal, " ", v.Pane, " ", v.Outcome)
	}
	ofEvent := func(v *topics.Visit) {
		one := want.visits[spot(v)]
		h.same("a visit and its event", fmt.Sprint(spell(&one), one.Horizon, one.Quiet, one.Evidence.EventTime, one.Evidence.EventID),
			fmt.Sprint(spell(v), v.Horizon, v.Quiet, v.Evidence.EventTime, v.Evidence.EventID))
	}
	w := newWindows()
	var retractions []string
	for _, b := range h.visits {
		h.check(w.record(b))
		if topics.KindOf(b) == topics.KindRetraction {
			retractions = append(retractions, string(b))
			continue
		}
		var v topics.Visit
		h.check(v.Decode(b))
		told[spell(&v)] = true
		ofEvent(&v)
	}
	for _, v := range want.visits {
		due[spell(&v)] = true
	}
	h.same("presences told", slices.Sorted(maps.Keys(due)), slices.Sorted(maps.Keys(told)))

	g, err := newUndisturbed(0)
	h.check(err)
	var anomalies []string
	sightings := map[string]bool{}
	for i, b := range h.principals {
		switch topics.KindOf(b) {
		case topics.KindAnomaly:
			anomalies = append(anomalies, string(b))
		case topics.KindSighting:
			var s topics.Sighting
			h.check(s.Decode(b))
			sightings[fmt.Sprint(s.Visit.Principal, s.Visit.Place, s.Visit.Pane)] = true
			ofEvent(&s.Visit)
		}
		h.check(g.record(b, int64(i)))
	}
	h.check(g.people.check(g.view))
	h.same("retractions", g.back, retractions)
	h.same("sightings", slices.Sorted(maps.Keys(want.sightings)), slices.Sorted(maps.Keys(sightings)))
	h.same("anomalies", w.out, anomalies)
	h.same("rows of detect", w.rows(), h.detectRows())
	var alerts []string
	for _, a := range h.alerts {
		alerts = append(alerts, string(a))
	}
	h.same("alerts", g.out, alerts)
	rows := map[string]string{}
	for k, v := range h.triage.store.Rows() {
		rows[string(k)] = string(v)
	}
	h.same("rows of triage", g.rows(), rows)
	h.met["alerts"] += len(alerts)
	h.met["visits taken back"] += w.back
	for what, n := range g.people.met {
		h.met[what] += n
	}
	h.met["rows"] += len(rows) + len(h.detectRows())
}

func (h *history) same(what string, want, got any) {
	h.Helper()
	if d := cmp.Diff(want, got); d != "" {
		h.fail("%s differ (-want +got):\n%.3000s", what, d)
	}
}

// detectRows spells the rows of detect as the oracle does.
func (h *history) detectRows() map[string]string {
	rows := map[string]string{}
	text := func(b []byte) string { return string(b) }
	h.check(h.detect.store.Scan(state.AllPanes(), func(k, v []byte) error {
		method, pane, block, err := state.ParsePaneKey(k)
		if err != nil {
			return err
		}
		row := state.NewPaneRow()
		if err := row.DecodeBlock(block, v, text); err != nil {
			return err
		}
		for _, c := range row.Cells {
			hashes, exact := c.Exact()
			if !exact {
				return fmt.Errorf("%s in %s counts only: the test has too many principals", method, c.Place)
			}
			for _, hash := range hashes {
				rows[fmt.Sprintf("visit %s %d %s %x", method, pane, c.Place, hash&^3)] = topics.Outcome(hash & 3).String()
			}
		}
		return nil
	}))
	h.check(h.detect.store.Scan(state.SeenKey(nil), func(k, v []byte) error {
		var seen state.SeenRow
		if err := seen.Decode(v, text); err != nil {
			return err
		}
		for place, s := range seen.Places {
			rows["seen "+string(k[len(state.SeenKey(nil)):])+" "+place] = fmt.Sprint(s.First, s.Last)
		}
		return nil
	}))
	return rows
}

func (h *history) close() {
	for _, s := range []*stage{h.detect, h.triage} {
		h.check(s.store.Close())
	}
}

// TestHistories plays random histories. FARCALL_SEED plays one alone; FARCALL_TORTURE, a duration, goes on with new ones.
func TestHistories(t *testing.T) {
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	met := coverage{}
	play := func(seed uint64) {
		t.Run("seed="+strconv.FormatUint(seed, 10), func(t *testing.T) {
			h := newHistory(t, seed, locator, met)
			h.play(steps/2 + h.rng.IntN(steps+1)) // the median is steps
			h.judge()
			h.close()
		})
	}
	if s := os.Getenv("FARCALL_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		play(seed)
		return
	}
	first, deadline := uint64(1), time.Time{}
	if s := os.Getenv("FARCALL_TORTURE"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		first, deadline = uint64(time.Now().UnixNano()), time.Now().Add(d)
	}
	for seed := first; (seed < first+60 || time.Now().Before(deadline)) && !t.Failed(); seed++ {
		play(seed)
	}
	for _, f := range feasible {
		if met[f] < least {
			t.Errorf("%s happened %d times, want %d", f, met[f], least)
		}
	}
	if err := checkDecided(met, 20); err != nil {
		t.Error(err)
	}
	if met["alerts"] == 0 {
		t.Error("no history had an alert")
	}
	t.Logf("what happened: %v", met)
}
