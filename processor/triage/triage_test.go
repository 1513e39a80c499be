package triage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// monday is a Monday's midnight, and the first moment of the tests.
const (
	monday = int64(1_700_438_400)
	hour   = int64(3600)
	day    = 24 * hour
)

func newStore(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open("state", state.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// heard is what a task wrote: the newest version of each alert, what was held back, the roll-ups and the retractions.
type heard struct {
	t           testing.TB
	alerts      map[string]*alert.Alert
	written     int
	held        map[string]*alert.Alert
	rollUps     []*alert.Alert
	retractions []topics.Retraction
}

func newHeard(t testing.TB) *heard {
	return &heard{t: t, alerts: map[string]*alert.Alert{}, held: map[string]*alert.Alert{}}
}

func (h *heard) Alert(a *alert.Alert) error {
	h.written++
	in := h.alerts
	switch {
	case a.RollUp != nil:
		h.rollUps = append(h.rollUps, a)
		return nil
	case a.HeldBack != "":
		in = h.held
	}
	if old := in[a.ID]; old != nil && old.Version >= a.Version {
		h.t.Errorf("version %d of an alert after version %d", a.Version, old.Version)
	}
	in[a.ID] = a
	return nil
}

func (h *heard) Retract(key, value []byte) error {
	var r topics.Retraction
	if err := r.Decode(slices.Clone(value)); err != nil {
		h.t.Error(err)
	}
	if !bytes.Equal(key, r.Key()) {
		h.t.Errorf("the retraction of %s has the key %q", r.Method, key)
	}
	h.retractions = append(h.retractions, r)
	return nil
}

// of returns the newest alerts about a place, the earliest first.
func (h *heard) of(place string) (found []*alert.Alert) {
	for _, a := range h.alerts {
		if a.Lead.Visit.Place == place {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *alert.Alert) int { return int(a.First - b.First) })
	return found
}

// desk is a task with its store and what was heard of it.
type desk struct {
	*heard
	cfg   Config
	store *state.Store
	task  *Task
	now   int64 // of the records, Unix milliseconds
}

func newDesk(t testing.TB, cfg Config) *desk {
	t.Helper()
	d := &desk{heard: newHeard(t), cfg: cfg, store: newStore(t), now: monday * 1000}
	d.reopen(0)
	return d
}

// reopen makes the task anew from the store.
func (d *desk) reopen(streamTime int64) {
	d.t.Helper()
	task, err := NewTask(d.cfg, d.store, streamTime)
	if err != nil {
		d.t.Fatal(err)
	}
	d.task = task
}

func (d *desk) commit() {
	d.t.Helper()
	if err := d.store.Commit(state.Position{}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) feed(record []byte) Result {
	d.t.Helper()
	v, err := d.task.Record(record, d.now, d.heard)
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

func (d *desk) sight(s topics.Sighting) Result       { d.t.Helper(); return d.feed(s.Append(nil, nil)) }
func (d *desk) find(a topics.Anomaly) Result         { d.t.Helper(); return d.feed(a.Append(nil, nil)) }
func (d *desk) decided(v topics.Verdict) Result      { d.t.Helper(); return d.feed(v.Append(nil)) }
func (d *desk) excepts(e topics.Exception) Result    { d.t.Helper(); return d.feed(e.Append(nil)) }
func (d *desk) rows(prefix []byte) map[string][]byte { return rowsOf(d.store, prefix) }

func rowsOf(s *state.Store, prefix []byte) map[string][]byte {
	rows := map[string][]byte{}
	for k, v := range s.Rows() {
		if bytes.HasPrefix(k, prefix) {
			rows[string(k)] = bytes.Clone(v)
		}
	}
	return rows
}

// visit is one of principal "alice" in a place, some seconds after monday.
func visit(place string, second int64) topics.Visit {
	at := monday + second
	return topics.Visit{
		Method: "iam:ListUsers", Principal: "alice", Place: place, Pane: at - at%hour, Outcome: topics.Allowed, Horizon: at * 1000,
		Evidence: topics.Evidence{EventTime: at * 1000, EventID: fmt.Sprint("event ", place, second), Account: "111122223333", PrincipalAccount: "111122223333"},
	}
}

// sighting is one with alice's usual client and key.
func sighting(place string, second int64) topics.Sighting {
	return topics.Sighting{Network: "AS1", Client: "aws-cli on linux", KeyID: "AKIAUSUAL", Visit: visit(place, second)}
}

// with is a sighting with another client.
func (c client) at(place string, second int64) topics.Sighting {
	s := sighting(place, second)
	s.Client = string(c)
	return s
}

type client string

const (
	newClient client = "Boto3 on windows"   // neither tool nor system were seen before
	newTool   client = "terraform on linux" // the system was
)

func anomaly(method string, score float64, place string, second int64) topics.Anomaly {
	a := topics.Anomaly{Score: score, Probability: 0.001, Level: topics.Unseen, Distribution: topics.Distribution{Visits: 300, Own: 5}, Visit: visit(place, second)}
	a.Visit.Method = method
	a.Visit.Evidence.EventID = fmt.Sprint("event ", method, place, second)
	return a
}

// officeDays feeds the working days of alice: from 9 to 17 o'clock, on days days up to the midnight of monday.
func (d *desk) officeDays(place string, days int64) {
	d.t.Helper()
	for n := -days; n < 0; n++ {
		for h := int64(9); h < 17; h++ {
			d.sight(sighting(place, n*day+h*hour))
		}
	}
}

// drawStay draws what may reach triage of one stay of alice in Nigeria, and of what she does elsewhere meanwhile: sightings that
// several raw partitions tell, anomalies of methods and of the organisation, all within two days.
func drawStay(rt *rapid.T) (records [][]byte) {
	second := func() int64 {
		return rapid.Int64Range(0, 47).Draw(rt, "hour")*hour + rapid.Int64Range(0, 3).Draw(rt, "quarter")*900
	}
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, label) }
	dress := func(v *topics.Visit) {
		v.Outcome = rapid.SampledFrom([]topics.Outcome{topics.Allowed, topics.Denied}).Draw(rt, "outcome")
		v.Quiet = rapid.SampledFrom([]topics.Quiet{topics.Timely, topics.Timely, topics.Late, topics.Imported}).Draw(rt, "quiet")
		v.Evidence.Account = pick("account", "111122223333", "444455556666")
		v.Evidence.EventID = fmt.Sprint("event ", len(records)) // no two events have the same
	}
	for range rapid.IntRange(1, 25).Draw(rt, "sightings") {
		s := sighting(pick("from", "NG", "NG", "NG", "DE", "VN"), second())
		s.Client = pick("client", "aws-cli on linux", "Boto3 on linux", "Boto3 on windows", "browser on macos")
		s.KeyID, s.Network = pick("key", "", "AKIAUSUAL", "AKIAOTHER"), pick("network", "", "AS1", "AS2")
		dress(&s.Visit)
		s.Visit.Method = pick("method", "iam:ListUsers", "s3:ListBuckets")
		records = append(records, s.Append(nil, nil))
	}
	for range rapid.IntRange(0, 25).Draw(rt, "anomalies") {
		a := anomaly(fmt.Sprint("s:M", rapid.IntRange(0, 6).Draw(rt, "method")), float64(rapid.IntRange(10, 14).Draw(rt, "score"))*7, pick("from", "NG", "NG", "VN"), second())
		if rapid.IntRange(0, 4).Draw(rt, "of all methods") == 0 {
			a.Visit.Method = topics.AnyMethod
		}
		a.Distribution.Own = rapid.Int64Range(-1, 1).Draw(rt, "own")
		a.Distribution.Others = rapid.Int64Range(0, 5).Draw(rt, "others")
		dress(&a.Visit)
		records = append(records, a.Append(nil, nil))
	}
	return records
}

// finally is what triage has to say of a stay in a place, in the end.
type finally struct {
	group group
	alert *alert.Alert
}

// runInOrder feeds a history and then the records in an order, and returns the rows of the profile and what is said of each place.
func runInOrder(t testing.TB, records [][]byte, order []int) (profiles map[string][]byte, places map[string]finally) {
	d := newDesk(t, DefaultConfig())
	d.officeDays("DE", 12)
	for _, i := range order {
		d.feed(records[i])
	}
	d.commit()
	places = map[string]finally{}
	for _, row := range d.rows(state.StaysPrefix()) {
		var l stays
		if err := l.decode(row); err != nil {
			t.Fatal(err)
		}
		for _, s := range l {
			id := alert.ID("alice", s.place, s.day)
			var g group
			d.load(id, &g)
			// How often a group changed, and whether it crossed the threshold on its way, is for the order to say. What it would
			// tell now is not.
			g.version, g.route = 0, untold
			var p profile
			if err := d.task.load(state.ProfileKey("alice"), p.decode); err != nil {
				t.Fatal(err)
			}
			score, context := d.task.weigh(&p, &g, s.place)
			g.told = judged(score, &context)
			if _, twice := places[s.place]; twice {
				t.Fatalf("two stays in %s", s.place)
			}
			f := finally{group: g}
			if a := d.alerts[id]; a != nil {
				b := *a
				// Nor since when an account is known: what others do there is no reason to tell the alert again.
				b.ID, b.Version, b.Context.Earlier, b.Context.AccountSince = "", 0, 0, 0
				f.alert = &b
			}
			places[s.place] = f
		}
	}
	return d.rows(state.ProfilePrefix()), places
}

// TestOrderLeavesNoTrace feeds what is known of one stay in two orders: the profile must be the same, and so must the facts, the
// score and the reasons of the last version of the alert.
func TestOrderLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		records := drawStay(rt)
		forward := make([]int, len(records))
		for i := range forward {
			forward[i] = i
		}
		shuffled := slices.Clone(forward)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		// And some come twice, as after an abort in route.
		for range rapid.IntRange(0, 10).Draw(rt, "repeats") {
			shuffled = append(shuffled, r.IntN(len(records)))
		}
		profileA, placesA := runInOrder(t, records, forward)
		profileB, placesB := runInOrder(t, records, shuffled)
		if d := cmp.Diff(profileA, profileB); d != "" {
			rt.Fatalf("profiles differ:\n%s", d)
		}
		if len(placesA) != len(placesB) {
			rt.Fatalf("stays in %d places, and in %d", len(placesA), len(placesB))
		}
		for place, a := range placesA {
			b := placesB[place]
			if d := cmp.Diff(a.group, b.group, cmp.AllowUnexported(group{}, overlap{}, judgement{}), cmpopts.EquateEmpty()); d != "" {
				rt.Fatalf("the rows about %s differ:\n%s", place, d)
			}
			if a.alert == nil || b.alert == nil {
				continue
			}
			if d := cmp.Diff(a.alert, b.alert, cmpopts.EquateEmpty()); d != "" {
				rt.Fatalf("the alerts about %s differ:\n%s", place, d)
			}
		}
	})
}

// TestBatchBoundaries cuts the same records into batches at random, aborts some of them, and makes the task anew from the store:
// alerts, retractions and rows must be the same.
func TestBatchBoundaries(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := DefaultConfig()
		cfg.Cap = rapid.SampledFrom([]int{0, 1, 100}).Draw(rt, "cap")
		var records [][]byte
		for week := range rapid.Int64Range(1, 4).Draw(rt, "weeks") {
			for _, b := range drawStay(rt) {
				records = append(records, movedBy(rt, b, week*8*day, rapid.SampledFrom([]string{"alice", "bob"}).Draw(rt, "who")))
			}
			if rapid.Bool().Draw(rt, "an exception") {
				e := topics.Exception{ID: fmt.Sprint("x", week), Client: rapid.SampledFrom([]string{"Boto3*", "*"}).Draw(rt, "excepted"), Removed: week > 2}
				records = append(records, e.Append(nil))
			}
			if rapid.Bool().Draw(rt, "a verdict") {
				v := topics.Verdict{Principal: "alice", AlertID: alert.ID("alice", "NG", monday+week*8*day), Malicious: rapid.Bool().Draw(rt, "malicious")}
				records = append(records, v.Append(nil))
			}
		}
		run := func(cut func(i int) int) (written []string, rows map[string][]byte) {
			d := newDesk(t, cfg)
			committed, streamTime := 0, int64(0)
			note := 0 // of written, at the commit
			for i := 0; i < len(records); i++ {
				d.now = monday*1000 + int64(i)
				if _, err := d.task.Record(records[i], d.now, &transcript{&written}); err != nil {
					rt.Fatal(err)
				}
				switch cut(i) {
				case 1, 2:
					d.commit()
					committed, streamTime, note = i+1, d.task.StreamTime(), len(written)
					if cut(i) == 2 {
						d.reopen(streamTime)
					}
				case 3: // an abort: what was written since the commit was not
					d.store.Rollback()
					d.reopen(streamTime)
					written = written[:note]
					for i = committed; i < len(records); i++ { // once is enough: go on to the end
						d.now = monday*1000 + int64(i)
						if _, err := d.task.Record(records[i], d.now, &transcript{&written}); err != nil {
							rt.Fatal(err)
						}
					}
				}
			}
			d.commit()
			return written, d.rows(nil)
		}
		cuts := rapid.SliceOfN(rapid.IntRange(0, 3), len(records), len(records)).Draw(rt, "cuts")
		for i, c := range cuts {
			if c == 3 && i%5 != 0 { // else no run gets far before its abort
				cuts[i] = 2
			}
		}
		whole, rowsWhole := run(func(int) int { return 0 })
		pieces, rowsPieces := run(func(i int) int { return cuts[i] })
		if d := cmp.Diff(whole, pieces); d != "" {
			rt.Fatalf("output differs:\n%s", d)
		}
		if d := cmp.Diff(rowsWhole, rowsPieces); d != "" {
			rt.Fatalf("rows differ:\n%s", d)
		}
	})
}

// transcript spells all that a task writes, in order.
type transcript struct{ lines *[]string }

func (o *transcript) Alert(a *alert.Alert) error {
	doc, err := a.ECS("test")
	*o.lines = append(*o.lines, a.HeldBack+string(doc))
	return err
}

func (o *transcript) Retract(key, value []byte) error {
	*o.lines = append(*o.lines, fmt.Sprintf("%q %x", key, value))
	return nil
}

// movedBy is a record some time later, about somebody.
func movedBy(rt *rapid.T, b []byte, seconds int64, who string) []byte {
	move := func(v *topics.Visit) {
		v.Principal = who
		v.Pane += seconds
		v.Horizon += seconds * 1000
		v.Evidence.EventTime += seconds * 1000
	}
	if topics.KindOf(b) == topics.KindSighting {
		var s topics.Sighting
		if err := s.Decode(b); err != nil {
			rt.Fatal(err)
		}
		move(&s.Visit)
		return s.Append(nil, nil)
	}
	var a topics.Anomaly
	if err := a.Decode(b); err != nil {
		rt.Fatal(err)
	}
	move(&a.Visit)
	return a.Append(nil, nil)
}

// TestAlertsMayBeKept: who takes an alert may hold it while the task goes on to other records.
func TestAlertsMayBeKept(t *testing.T) {
	d := newDesk(t, easily())
	first := anomaly("iam:CreateUser", 100, "NG", 0)
	first.Distribution.Top = []topics.PlaceCount{{Place: "US", Visits: 200}, {Place: "DE", Visits: 100}}
	first.Visit.Evidence.Resources = []string{"arn:of:the:first"}
	d.find(first)
	second := anomaly("s3:GetObject", 100, "BR", hour)
	second.Visit.Principal = "bob"
	second.Distribution.Top = []topics.PlaceCount{{Place: "JP", Visits: 2}, {Place: "KR", Visits: 1}}
	second.Visit.Evidence.Resources = []string{"arn:of:the:second"}
	d.find(second)
	if got := d.of("NG"); len(got) != 1 {
		t.Fatalf("%d alerts", len(got))
	} else if diff := cmp.Diff(first, got[0].Lead, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the alert changed while it was held:\n%s", diff)
	}
}

// TestResults walks over the threshold, which is the configured one and the least score that makes an alert: a principal
// without a history is judged by the method alone.
func TestResults(t *testing.T) {
	bob := func(a topics.Anomaly) topics.Anomaly { a.Visit.Principal = "bob"; return a }
	alone := func(score float64) float64 { return math.Round(score*pointsMethodAlone*10) / 10 }
	cfg := DefaultConfig()
	cfg.Threshold = alone(56)
	d := newDesk(t, cfg)
	for i, step := range []struct {
		a     topics.Anomaly
		want  Result
		score float64 // of the alert
	}{
		{anomaly("s:A", 55, "NG", 0), Below, 0},
		{anomaly("s:B", 56, "NG", 10), Created, alone(56)},
		{anomaly("s:B", 56, "NG", 10), Unchanged, alone(56)},
		{anomaly("s:C", 12, "NG", 20), Updated, alone(56)},
		{anomaly("s:C", 80, "NG", 3700), Updated, alone(80)}, // the next pane, the same stay
		{bob(anomaly("s:C", 80, "NG", 3700)), Created, alone(80)},
		{anomaly("s:C", 40, "BR", 3700), Below, 0}, // another place
	} {
		if got := d.find(step.a); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
		of := d.alerts[alert.ID(step.a.Visit.Principal, step.a.Visit.Place, monday)]
		if (of != nil) != (step.score > 0) || of != nil && of.Score != step.score {
			t.Errorf("step %d: alert %+v, want a score of %g", i, of, step.score)
		}
	}
	if d.written != 4 {
		t.Errorf("%d versions were written, want one for each change of what is said: 4", d.written)
	}
}

// asOld writes alice's rows as their first versions were: the facts of every stay in a row of their own, and in the profile no word of
// how long she stayed.
func (d *desk) asOld() {
	d.t.Helper()
	var p profile
	d.profileOf("alice", &p)
	if p.days.bits == 0 {
		return
	}
	row := p.append(nil)
	row = row[:len(row)-len(binary.AppendVarint(nil, p.stayed))]
	row[0] = 1
	d.store.Set(state.ProfileKey("alice"), row)
	l := d.staysOf("alice")
	if l == nil {
		return
	}
	row = binary.AppendVarint([]byte{1}, int64(len(l)))
	for _, s := range l {
		if s.facts != nil {
			d.store.Set(state.AlertKey(alert.ID("alice", s.place, s.day)), s.facts)
			s.facts = nil
		}
		one := stays{s}.append(nil)
		row = append(row, one[2:len(one)-1]...) // behind version and count, before the length of no facts
	}
	d.store.Set(state.StaysKey("alice"), row)
}

// TestRowsOfOlderBuilds goes on from rows as older builds wrote them, at each record anew, and says the same of it. Since those send it to
// the stays with each sighting, it shows besides that no stay is missed where the profile says that none is near.
func TestRowsOfOlderBuilds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var records [][]byte
		at := -40 * day
		for at < 0 { // with pauses in which stays end, and others in which they go on
			s := sighting(rapid.SampledFrom([]string{"DE", "DE", "DE", "NG", topics.PrivatePlace}).Draw(rt, "place"), at)
			records = append(records, s.Append(nil, nil))
			at += rapid.SampledFrom([]int64{hour, day, 3 * day, 3*day + hour, 9 * day}).Draw(rt, "pause")
		}
		records = append(records, rapid.Permutation(drawStay(rt)).Draw(rt, "order")...)
		now, old := newDesk(t, DefaultConfig()), newDesk(t, DefaultConfig())
		now.officeDays("DE", 20)
		old.officeDays("DE", 20)
		for i, r := range records {
			old.asOld()
			if a, b := now.feed(r), old.feed(r); a != b {
				rt.Fatalf("record %d: %s, and from the rows of an older build %s", i, a, b)
			}
		}
		if d := cmp.Diff(old.alerts, now.alerts); d != "" || old.written != now.written {
			rt.Fatalf("%d versions of alerts, from the rows of an older build %d (-old +now):\n%s", now.written, old.written, d)
		}
		var p, q profile
		now.profileOf("alice", &p)
		old.profileOf("alice", &q)
		if q.stayed == unsaid { // the last record changed nothing in it
			q.stayed = p.stayed
		}
		if d := diffRows(&q, &p); d != "" {
			rt.Fatalf("the profile (-old +now):\n%s", d)
		}
		l, m := now.staysOf("alice"), old.staysOf("alice")
		if len(l) != len(m) {
			rt.Fatalf("%d stays, from the rows of an older build %d", len(l), len(m))
		}
		for i := range l {
			var g, h group
			id := alert.ID("alice", l[i].place, l[i].day)
			now.load(id, &g)
			old.load(id, &h)
			l[i].facts, m[i].facts = nil, nil
			if d := diffRows(&staysRow{m[i : i+1]}, &staysRow{l[i : i+1]}) + diffRows(&h, &g); d != "" {
				rt.Fatalf("stay %d of %d (-old +now):\n%s", i, len(l), d)
			}
		}
	})
}

// TestForgets expires what nothing can reach any more: alerts and stays after window, look-back and the longest stay, profiles
// another 60 days after the window.
func TestForgets(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.sight(sighting("NG", 0))
	d.find(anomaly("s:A", 90, "NG", 0))
	others := func(second int64) {
		t.Helper()
		s := sighting("DE", second)
		s.Visit.Principal = "bob"
		d.sight(s)
		d.commit()
	}
	count := func(what string, prefix []byte, want int) {
		t.Helper()
		if got := len(d.rows(prefix)); got != want {
			t.Errorf("%d rows of %s, want %d", got, what, want)
		}
	}
	reach := int64((d.cfg.Window+d.cfg.LookBack)/time.Second) + maxStay
	others(reach + day - 1)
	count("alerts", state.AlertPrefix(), 1) // of bob's stay there is nothing to tell
	count("stays", state.StaysPrefix(), 2)
	count("profiles", state.ProfilePrefix(), 2)
	others(reach + day)
	count("alerts", state.AlertPrefix(), 0)
	count("stays", state.StaysPrefix(), 1)
	count("profiles", state.ProfilePrefix(), 2)
	last := int64((d.cfg.Window+d.cfg.LookBack)/time.Second) + profileMemory
	others(last + day - 1)
	count("profiles", state.ProfilePrefix(), 2)
	others(last + day)
	count("profiles", state.ProfilePrefix(), 1)
}

// TestForgetsInTurn: the partitions of an installation do not all look through their rows at midnight, however few panes a day has.
func TestForgetsInTurn(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Pane, cfg.Partitions = 24*time.Hour, 32
	last := int64((cfg.Window+cfg.LookBack)/time.Second) + profileMemory + day
	for p := range cfg.Partitions {
		cfg.Partition = p
		d := newDesk(t, cfg)
		d.sight(sighting("NG", 0))
		at := func(second int64) (profiles int) {
			s := sighting("DE", second)
			s.Visit.Principal = "bob"
			d.sight(s)
			d.commit()
			return len(d.rows(state.ProfilePrefix()))
		}
		turn := last + int64(p)*day/32
		if before, after := at(turn-1), at(turn); before != 2 || after != 1 {
			t.Errorf("partition %d has %d profiles before its turn and %d after it, want 2 and 1", p, before, after)
		}
	}
}

func TestBadRecords(t *testing.T) {
	s, a := sighting("NG", 0), anomaly("s:A", 90, "NG", 0)
	v, e := topics.Verdict{Principal: "alice", AlertID: "a"}, topics.Exception{ID: "x", Place: "NG"}
	for what, whole := range map[string][]byte{"sighting": s.Append(nil, nil), "anomaly": a.Append(nil, nil), "verdict": v.Append(nil), "exception": e.Append(nil)} {
		d := newDesk(t, DefaultConfig())
		for n := range whole {
			if _, err := d.task.Record(whole[:n], d.now, d); !errors.Is(err, topics.ErrCorrupt) {
				t.Fatalf("%s cut at %d: %v", what, n, err)
			}
		}
		newer := slices.Clone(whole)
		newer[1] = 99
		if _, err := d.task.Record(newer, d.now, d); !errors.Is(err, topics.ErrNewer) {
			t.Errorf("%s of a newer version: %v", what, err)
		}
		if d.store.Dirty() != 0 || d.written != 0 || d.task.StreamTime() != 0 {
			t.Errorf("a bad %s left something behind", what)
		}
	}
	d := newDesk(t, DefaultConfig())
	stray := visit("NG", 0)
	if _, err := d.task.Record(stray.Append(nil), d.now, d); !errors.Is(err, topics.ErrCorrupt) {
		t.Errorf("a visit on the principals topic: %v", err)
	}
}

// staysOf, profileOf and load read rows.
func (d *desk) staysOf(principal string) (l stays) {
	d.t.Helper()
	if err := d.task.load(state.StaysKey(principal), l.decode); err != nil {
		d.t.Fatal(err)
	}
	return l
}

func (d *desk) profileOf(principal string, p *profile) {
	d.t.Helper()
	if err := d.task.load(state.ProfileKey(principal), p.decode); err != nil {
		d.t.Fatal(err)
	}
}

// load reads the facts of an alert, wherever they are.
func (d *desk) load(id string, g *group) {
	d.t.Helper()
	if err := d.task.load(state.AlertKey(id), g.decode); err != nil {
		d.t.Fatal(err)
	}
	err := d.task.view.Scan(state.StaysPrefix(), func(key, row []byte) error {
		principal := string(key[len(state.StaysPrefix()):])
		var l stays
		if err := l.decode(bytes.Clone(row)); err != nil {
			return err
		}
		for _, s := range l {
			if s.facts == nil || alert.ID(principal, s.place, s.day) != id {
				continue
			}
			if g.version != 0 {
				d.t.Fatalf("the facts of %s in %s are in two rows", principal, s.place)
			}
			if err := g.decode(s.facts); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
}
