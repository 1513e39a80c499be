package generate

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/geo"
)

func newGenerator(t testing.TB, change func(o *Options)) *Generator {
	t.Helper()
	o := DefaultOptions()
	if change != nil {
		change(&o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func between(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %v, want %v to %v", what, got, low, high)
	}
}

// decoded takes the one event that a record must be.
type decoded struct {
	t       *testing.T
	event   *Event
	look    *geo.Lookup
	events  int
	denials int
}

func (d *decoded) Skip(k cloudtrail.SkipKind) { d.t.Errorf("skipped as %v", k) }
func (d *decoded) Refuse(r *cloudtrail.Refusal) {
	d.t.Errorf("refused: %v %s\n%s", r.Reason, r.Detail, r.Raw)
}

func (d *decoded) Event(e *cloudtrail.Event) {
	d.events++
	if e.Denied() {
		d.denials++
	}
	want := d.event
	got := Event{Time: e.TimeMillis / 1000, Method: string(e.AppendMethod(nil)), Account: e.Account(), Region: e.AWSRegion,
		Place:  d.look.Locate(e.SourceIPAddress).Name,
		Denied: e.Denied(), Intrusion: want.Intrusion, Duplicate: want.Duplicate}
	principal := string(e.AppendPrincipal(nil))
	if got.Time != want.Time || got.Method != want.Method || got.Account != want.Account || got.Region != want.Region ||
		got.Place != want.Place || got.Denied != want.Denied || principal != string(want.Principal) {
		d.t.Errorf("event %d is of %s, %+v\nwant %s, %+v\n%s", d.events, principal, got, want.Principal, *want, e.Raw)
	}
}

// TestWhatIsInIt: farcall's decoder and the embedded database find in every record what the generator says is there.
func TestWhatIsInIt(t *testing.T) {
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, world := range []string{Default, Worst} {
		t.Run(world, func(t *testing.T) {
			g := newGenerator(t, func(o *Options) { o.World, o.Intrusions = world, .01 })
			dec := cloudtrail.NewDecoder(cloudtrail.DefaultLimits())
			d := &decoded{t: t, look: locator.NewLookup()}
			var b []byte
			intrusions, noPlace := 0, 0
			const n = 60_000
			for range n {
				b, d.event = g.Append(b[:0])
				dec.Decode(b, d)
				if d.event.Intrusion {
					intrusions++
				}
				if d.event.Place == "" {
					noPlace++
				}
				if t.Failed() {
					return
				}
			}
			if d.events != n {
				t.Errorf("%d events in %d records", d.events, n)
			}
			between(t, "share of intrusions", float64(intrusions)/n, .008, .012)
			if world == Default {
				between(t, "share denied", float64(d.denials)/n, .001, .1)
				between(t, "share without a place", float64(noPlace)/n, .05, .35)
			}
		})
	}
}

// TestShape measures the default world: sizes, methods, who calls, delay, disorder and second deliveries.
func TestShape(t *testing.T) {
	g := newGenerator(t, nil)
	const n = 300_000
	var sizes []int
	methods, roles, people, accounts := map[string]int{}, map[string]int{}, map[string]int{}, map[string]bool{}
	ids := map[string]bool{}
	newest, behind, again := int64(0), []int64(nil), 0
	var b []byte
	var e *Event
	for i := range n {
		b, e = g.Append(b[:0])
		sizes = append(sizes, len(b))
		methods[e.Method]++
		accounts[e.Account] = true
		if p := string(e.Principal); strings.Contains(p, "/role/service/") || strings.HasPrefix(p, "service/") {
			roles[p]++
		} else {
			people[p]++
		}
		_, rest, _ := bytes.Cut(b, []byte(`"eventID":"`))
		if id := string(rest[:36]); ids[id] != e.Duplicate {
			t.Fatalf("record %d with event id %s: duplicate is %v, and the id was there before is %v", i, id, e.Duplicate, ids[id])
		} else {
			ids[id] = true
		}
		if e.Duplicate {
			again++
		}
		if !json.Valid(b) {
			t.Fatalf("not JSON: %s", b)
		}
		newest = max(newest, e.Time)
		behind = append(behind, newest-e.Time)
	}
	slices.Sort(sizes)
	slices.Sort(behind)
	between(t, "size at 0.5", float64(sizes[n/2]), 1100, 1300)
	between(t, "size at 0.99", float64(sizes[n*99/100]), 4500, 5500)
	between(t, "largest", float64(sizes[n-1]), 45_000, MaxBytes)
	between(t, "share of the most called method", float64(methods["s3:PutObject"])/n, .46, .49)
	between(t, "methods called", float64(len(methods)), 4_000, 15_206)
	between(t, "accounts", float64(len(accounts)), 1_500, 2_001)
	between(t, "roles", float64(len(roles)), 1_000, 3_000)
	calls := 0
	for _, c := range people {
		calls += c
	}
	between(t, "share of calls by people", float64(calls)/n, .045, .055)
	between(t, "people", float64(len(people)), 500, 15_000)
	between(t, "seconds behind the newest at 0.5", float64(behind[n/2]), 60, 300)
	between(t, "seconds behind the newest at 0.99", float64(behind[n*99/100]), 400, 610)
	between(t, "share that comes again", float64(again)/n, .008, .012)
	if names, shares := g.Methods(); len(names) != 15_206 || !slices.IsSortedFunc(shares, func(a,
		b float64) int {
		return int(b*1e12 - a*1e12)
	}) {
		t.Errorf("%d methods, or not by their shares", len(names))
	}
}

// TestSkew: the most called method has the share that was asked for, and the others keep their order.
func TestSkew(t *testing.T) {
	for _, skew := range []float64{.1, .4, .6} {
		g := newGenerator(t, func(o *Options) { o.Skew = skew })
		counts := map[string]int{}
		const n = 100_000
		var e *Event
		var b []byte
		for range n {
			b, e = g.Append(b[:0])
			counts[e.Method]++
		}
		between(t, "share", float64(counts["s3:PutObject"])/n, skew-.01, skew+.01)
		if counts["s3:GetBucketAcl"] < counts["kms:Sign"] {
			t.Errorf("with a skew of %v: %d of s3:GetBucketAcl, %d of kms:Sign", skew, counts["s3:GetBucketAcl"], counts["kms:Sign"])
		}
	}
}

// TestWorst: no principal comes twice, nor any record.
func TestWorst(t *testing.T) {
	g := newGenerator(t, func(o *Options) { o.World = Worst })
	seen := map[string]bool{}
	var e *Event
	var b []byte
	for range 100_000 {
		b, e = g.Append(b[:0])
		if seen[string(e.Principal)] || e.Duplicate || e.Place == "" {
			t.Fatalf("%s from %q, duplicate %v", e.Principal, e.Place, e.Duplicate)
		}
		seen[string(e.Principal)] = true
	}
}

// TestEventTime: a rate is one of the organisation's own time, and nothing lies past its end.
func TestEventTime(t *testing.T) {
	g := newGenerator(t, func(o *Options) { o.Rate = 50 })
	const n = 50 * 3600
	o := g.o
	if o.Span(n) != time.Hour {
		t.Errorf("%v", o.Span(n))
	}
	oldest, newest := int64(1<<62), int64(0)
	var e *Event
	var b []byte
	for range n {
		b, e = g.Append(b[:0])
		oldest, newest = min(oldest, e.Time), max(newest, e.Time)
	}
	between(t, "seconds from the oldest to the newest", float64(newest-oldest), 3600, 3600+620)
	if end := o.Start.Add(time.Hour).Unix(); newest >= end {
		t.Errorf("an event at %d, which the last delivery at %d can't hold", newest, end)
	}
}

// TestHour: a sample repeats its presences as often as the whole organisation does over the hour, and far more often than the
// organisation does in as many events.
func TestHour(t *testing.T) {
	whole := DefaultOptions()
	whole.Rate, whole.Methods, whole.Machines, whole.People, whole.Accounts = 150, 100, 400, 20_000, 300
	const events, part = 150 * 3600, 10
	news := func(o Options, n int) float64 {
		g, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		var b []byte
		var e *Event
		for range n {
			b, e = g.Append(b[:0])
			seen[e.Method+" "+e.Place+" "+string(e.Principal)] = true
		}
		return float64(len(seen)) / float64(n)
	}
	all, sample, start := news(whole, events), news(whole.Hour(events/part), events/part), news(whole, events/part)
	between(t, "what is new in a sample, to what is new in all", sample/all, .7, 1.4)
	between(t, "what is new in the first minutes, to what is new in all", start/all, 2, 10)
	if o := whole.Hour(events / part); o.Span(events/part) != time.Hour || o.Machines != 40 || o.People != 2_000 || o.Accounts != 30 {
		t.Errorf("%+v", o)
	}
	if o := whole.Hour(2 * events); o != whole {
		t.Errorf("two hours of it are %+v", o)
	}
}

// TestDeterministic: options alone decide what comes.
func TestDeterministic(t *testing.T) {
	sum := func(change func(o *Options)) [32]byte {
		g := newGenerator(t, change)
		h := sha256.New()
		var b []byte
		for range 20_000 {
			b, _ = g.Append(b[:0])
			h.Write(b)
		}
		return [32]byte(h.Sum(nil))
	}
	one := sum(nil)
	if sum(nil) != one {
		t.Error("the same options gave other records")
	}
	if sum(func(o *Options) { o.Seed = 2 }) == one {
		t.Error("another seed gave the same records")
	}
}

func TestOptions(t *testing.T) {
	for what, change := range map[string]func(o *Options){
		"world": func(o *Options) { o.World = "best" }, "rate": func(o *Options) { o.Rate = 0 }, "skew": func(o *Options) { o.Skew = 1 },
		"people": func(o *Options) { o.People = 0 }, "shares": func(o *Options) { o.ByPeople, o.Intrusions = .9, .2 },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: %+v was taken", what, o)
		}
	}
}

// TestNoAllocations: making a record of the default world costs no memory, but where a session begins.
func TestNoAllocations(t *testing.T) {
	g := newGenerator(t, func(o *Options) { o.ByPeople = 0 })
	b := make([]byte, 0, MaxBytes)
	for range 100_000 {
		b, _ = g.Append(b[:0])
	}
	if n := testing.AllocsPerRun(20_000, func() { b, _ = g.Append(b[:0]) }); n >= .2 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, world := range []string{Default, Worst} {
		b.Run(world, func(b *testing.B) {
			g := newGenerator(b, func(o *Options) { o.World = world })
			buf := make([]byte, 0, MaxBytes)
			n := 0
			for b.Loop() {
				buf, _ = g.Append(buf[:0])
				n += len(buf)
			}
			b.SetBytes(int64(n / b.N))
		})
	}
}
