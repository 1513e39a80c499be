package demo

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/phuslu/iploc"

	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/geo"
)

// storyEnd is a Friday morning. The fixed time keeps the tests' figures the same.
var storyEnd = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// storyVisit is one visit: what farcall counts.
type storyVisit struct {
	method, place, principal string
	hour                     int64
}

// storyEvent is one record as farcall reads it.
type storyEvent struct {
	id, method, principal, place, country string
	at, delivered                         time.Time
	denied                                bool
}

// storyReading decodes a telling of a story the way farcall does.
type storyReading struct {
	t       testing.TB
	dec     *cloudtrail.Decoder
	look    *geo.Lookup
	current Record

	records             int
	bytes, least, most  int
	refused, skipped    []string
	unordered, disorder int // deliveries out of order; event times behind the newest of their partition
	newest              [Partitions]time.Time
	last                time.Time
	first, latest       time.Time // event times
	delays              []time.Duration
	again               int
	ids                 map[string]int
	allowed             map[storyVisit]bool
	denials             int
	methods             map[string]int
	principals          map[string]int
	kinds               map[geo.Kind]int
	events              []storyEvent // kept only where keep is set
	keep                bool
}

var storyLocator = sync.OnceValues(func() (*geo.Locator, error) { return geo.Open(geo.Options{}) })

func newStoryReading(t testing.TB, keep bool) *storyReading {
	t.Helper()
	l, err := storyLocator()
	if err != nil {
		t.Fatal(err)
	}
	return &storyReading{
		t: t, dec: cloudtrail.NewDecoder(cloudtrail.DefaultLimits()), look: l.NewLookup(), keep: keep, least: 1 << 30,
		ids: map[string]int{}, allowed: map[storyVisit]bool{}, methods: map[string]int{}, principals: map[string]int{}, kinds: map[geo.Kind]int{},
	}
}

func (r *storyReading) take(rec Record) bool {
	r.current = rec
	r.records++
	r.bytes += len(rec.JSON)
	r.least, r.most = min(r.least, len(rec.JSON)), max(r.most, len(rec.JSON))
	if rec.Delivered.Before(r.last) {
		r.unordered++
	}
	r.last = rec.Delivered
	if rec.Partition < 0 || rec.Partition >= Partitions {
		r.t.Fatalf("partition %d of a record, there are %d", rec.Partition, Partitions)
	}
	r.dec.Decode(rec.JSON, r)
	return true
}

func (r *storyReading) Event(e *cloudtrail.Event) {
	at, delivered := time.UnixMilli(e.TimeMillis).UTC(), r.current.Delivered
	if r.first.IsZero() || at.Before(r.first) {
		r.first = at
	}
	if at.After(r.latest) {
		r.latest = at
	}
	if at.Before(r.newest[r.current.Partition]) {
		r.disorder++
	} else {
		r.newest[r.current.Partition] = at
	}
	id := strings.Clone(e.EventID)
	if r.ids[id]++; r.ids[id] > 1 {
		r.again++
	} else {
		r.delays = append(r.delays, delivered.Sub(at))
	}
	place := r.look.Locate(e.SourceIPAddress)
	r.kinds[place.Kind]++
	s := storyEvent{
		id: id, method: string(e.AppendMethod(nil)), principal: string(e.AppendPrincipal(nil)), place: place.Name,
		country: place.Country, at: at, delivered: delivered, denied: e.Denied(),
	}
	r.methods[s.method]++
	r.principals[s.principal]++
	switch {
	case s.denied:
		r.denials++
	case s.place != "":
		r.allowed[storyVisit{s.method, s.place, s.principal, at.Unix() / 3600}] = true
	}
	if r.keep {
		r.events = append(r.events, s)
	}
}

func (r *storyReading) Skip(k cloudtrail.SkipKind) { r.skipped = append(r.skipped, k.String()) }

func (r *storyReading) Refuse(x *cloudtrail.Refusal) {
	r.refused = append(r.refused, fmt.Sprintf("%s: %s: %s", x.Reason, x.Detail, r.current.JSON))
}

func (r *storyReading) wellFormed() {
	r.t.Helper()
	if len(r.refused) > 0 || len(r.skipped) > 0 {
		r.t.Errorf("%d records refused, %d skipped, the first %q", len(r.refused), len(r.skipped), slices.Concat(r.refused, r.skipped)[0])
	}
	if r.unordered > 0 {
		r.t.Errorf("%d records are delivered before the one in front of them", r.unordered)
	}
	if r.least < 600 || r.most > 2600 {
		r.t.Errorf("records of %d to %d bytes, want 600 to 2600", r.least, r.most)
	}
	slices.Sort(r.delays)
}

func (r *storyReading) delay(share float64) time.Duration {
	return r.delays[int(share*float64(len(r.delays)-1))]
}

// readHistory reads a history once for each seed that tests share.
var readHistory = func() func(testing.TB, uint64) *storyReading {
	var mu sync.Mutex
	read := map[uint64]*storyReading{}
	return func(t testing.TB, seed uint64) *storyReading {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if read[seed] == nil {
			r := newStoryReading(t, false)
			NewStory(seed, storyEnd).History(r.take)
			r.wellFormed()
			read[seed] = r
		}
		return read[seed]
	}
}()

func readLive(t testing.TB, s *Story) *storyReading {
	t.Helper()
	r := newStoryReading(t, true)
	s.Live(r.take)
	r.wellFormed()
	return r
}

func TestHistoryLooksLikeCloudTrail(t *testing.T) {
	r := readHistory(t, 1)
	begin := storyEnd.Add(-HistoryDays * 24 * time.Hour)
	if r.first.Before(begin) || r.first.After(begin.Add(time.Minute)) || !r.latest.Before(storyEnd) || r.latest.Before(storyEnd.Add(-time.Minute)) {
		t.Errorf("calls from %s to %s, want all of %s to %s", r.first, r.latest, begin, storyEnd)
	}
	if r.records < 200_000 || r.records > 320_000 {
		t.Errorf("%d records, want 200,000 to 320,000", r.records)
	}
	if share := float64(r.again) / float64(r.records); share < 0.02 || share > 0.04 {
		t.Errorf("%.3f of the records are duplicates, want 0.02 to 0.04", share)
	}
	if lo, hi := r.delay(0), r.delay(1); lo < quickest || hi > slowest {
		t.Errorf("first delivered after %s to %s, want %s to %s", lo, hi, quickest, slowest)
	}
	if share := float64(r.disorder) / float64(r.records); share < 0.5 || share > 0.95 {
		t.Errorf("%.2f of the records are behind one of their own trail, want 0.5 to 0.95", share)
	}
	if n := len(r.methods); n < 120 || n > 260 {
		t.Errorf("%d methods, want 120 to 260", n)
	}
	if share := float64(r.denials) / float64(r.records); share == 0 || share > 0.02 {
		t.Errorf("%.4f of the calls were denied, want some, at most 0.02", share)
	}
	for _, k := range []geo.Kind{geo.Public, geo.AWSOwned, geo.AWSService, geo.AWSInternal, geo.Private} {
		if r.kinds[k] == 0 {
			t.Errorf("no address of kind %s", k)
		}
	}
	if n := r.kinds[geo.Malformed] + r.kinds[geo.Reserved] + r.kinds[geo.Absent]; n > 0 {
		t.Errorf("%d addresses are no addresses: %v", n, r.kinds)
	}
	t.Logf("%d records of %d events, %d B to %d B, mean %d B; delay median %s, 90 %% %s, 99 %% %s; out of order %.0f %%; denied %d",
		r.records, len(r.ids), r.least, r.most, r.bytes/r.records, r.delay(.5).Round(time.Second), r.delay(.9).Round(time.Second),
		r.delay(.99).Round(time.Second), 100*float64(r.disorder)/float64(r.records), r.denials)
	t.Logf("%d methods, %d principals, %d presences; addresses %v", len(r.methods), len(r.principals), len(r.allowed), r.kinds)
}

func TestRecordsAreJSON(t *testing.T) {
	s := NewStory(1, storyEnd)
	check := func(r Record) bool {
		if !json.Valid(r.JSON) {
			t.Errorf("not JSON: %s", r.JSON)
		}
		return !t.Failed()
	}
	s.History(check)
	s.Live(check)
}

// TestOfficesAndTravellers asserts where people of history are: at the offices and, twice, abroad.
func TestOfficesAndTravellers(t *testing.T) {
	r := readHistory(t, 1)
	o := NewStory(1, storyEnd).Organisation()
	places := map[string]int{}
	for p := range r.allowed {
		places[p.place]++
	}
	main, branch := places[o.Offices[0]], places[o.Offices[1]]
	if branch < 5000 || main < branch {
		t.Errorf("%d presences in %s and %d in %s, want most in the first and thousands in the second", main, o.Offices[0], branch, o.Offices[1])
	}
	abroad := 0
	for place, n := range places {
		if len(place) != 2 || place == o.Offices[0] || place == o.Offices[1] {
			continue
		}
		abroad++
		if !slices.Contains(travelCountries, place) || n > 400 {
			t.Errorf("%d presences in %s", n, place)
		}
	}
	if abroad != 2 {
		t.Errorf("people in %d countries without an office, want 2", abroad)
	}
	for p := range r.allowed {
		if slices.Contains(travelCountries, p.place) && p.hour > storyEnd.Unix()/3600-15*24 {
			t.Fatalf("%+v is abroad in the second half of history", p)
		}
	}
	t.Logf("presences by place: %v", places)
}

func TestLiveHasEveryPlant(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := NewStory(seed, storyEnd)
			r := readLive(t, s)
			if r.records < 2800 || r.records > 5500 {
				t.Errorf("%d records, want 2,800 to 5,500", r.records)
			}
			if r.first.Before(storyEnd) || !r.latest.Before(storyEnd.Add(LiveSpan)) {
				t.Errorf("calls from %s to %s, want none outside %s and %s later", r.first, r.latest, storyEnd, LiveSpan)
			}
			byID := map[string][]storyEvent{}
			for _, e := range r.events {
				byID[e.id] = append(byID[e.id], e)
			}
			var names []string
			taken := map[string]string{}
			for _, p := range s.Plants() {
				names = append(names, p.Name)
				checkPlant(t, p, byID)
				for _, id := range p.EventIDs {
					if taken[id] != "" {
						t.Errorf("event %s belongs to both %q and %q", id, taken[id], p.Name)
					}
					taken[id] = p.Name
				}
			}
			want := []string{"stolen user key", "instance credentials used outside", "hijacked administrator session", "low and slow", "denied sweep",
				"new method from the office", "pipeline burst", "late file", "new AWS service"}
			if seed%2 == 1 {
				want = append(want, "honest traveller")
			}
			slices.Sort(names)
			slices.Sort(want)
			if !slices.Equal(names, want) {
				t.Errorf("plants %q, want %q", names, want)
			}
			t.Logf("%d records, %d planted events", r.records, len(taken))
		})
	}
}

// checkPlant asserts that all that a plant says of its events is what farcall reads from them.
func checkPlant(t *testing.T, p Plant, byID map[string][]storyEvent) {
	t.Helper()
	var methods []string
	var first time.Time
	for _, id := range p.EventIDs {
		l := byID[id]
		if len(l) == 0 {
			t.Errorf("%s: event %s never comes", p.Name, id)
			continue
		}
		e := l[0]
		if first.IsZero() {
			first = e.at
		}
		if e.at.Before(first) {
			t.Errorf("%s: events are not in order of time", p.Name)
		}
		if p.Principal != "" && e.principal != p.Principal {
			t.Errorf("%s: event of principal %q, the plant says %q", p.Name, e.principal, p.Principal)
		}
		if p.Principal != "" && e.place != p.Country {
			t.Errorf("%s: event from %q, the plant says %q", p.Name, e.place, p.Country)
		}
		if !slices.Contains(methods, e.method) {
			methods = append(methods, e.method)
		}
		if p.Name == "denied sweep" && !e.denied && e.method != "sts:GetCallerIdentity" || p.Name != "denied sweep" && p.Kind == Intrusion && e.denied {
			t.Errorf("%s: %s denied: %t", p.Name, e.method, e.denied)
		}
		if late := e.delivered.Sub(e.at); p.Name == "late file" && late < 40*time.Minute || p.Name != "late file" && late > 15*time.Minute {
			t.Errorf("%s: an event is delivered after %s", p.Name, late)
		}
	}
	if !slices.Equal(methods, p.Methods) {
		t.Errorf("%s: methods %q, the plant says %q", p.Name, methods, p.Methods)
	}
	if !first.Equal(p.First) {
		t.Errorf("%s: first event at %s, the plant says %s", p.Name, first, p.First)
	}
	if p.Story == "" || p.Kind == Intrusion && (p.Principal == "" || len(p.Country) != 2) {
		t.Errorf("%s lacks something: %+v", p.Name, p)
	}
}

// TestHistoryKnowsTheIntrudersMethods asserts that what intruders do is common at home and never done from where they are:
// otherwise nothing could tell them from noise, or nothing would need to.
func TestHistoryKnowsTheIntrudersMethods(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s, r := NewStory(seed, storyEnd), readHistory(t, seed)
			visits, places := map[string]int{}, map[string]bool{}
			for p := range r.allowed {
				visits[p.method]++
				places[p.place] = true
			}
			countries := map[string]bool{}
			for _, p := range s.Plants() {
				if p.Kind != Intrusion {
					continue
				}
				if places[p.Country] {
					t.Errorf("%s comes from %s, which history knows", p.Name, p.Country)
				}
				countries[p.Country] = true
				least := 200
				if p.Name == "low and slow" || p.Name == "denied sweep" {
					least = 0
				}
				var l []string
				for _, m := range p.Methods {
					l = append(l, fmt.Sprintf("%s %d", m, visits[m]))
					if visits[m] < least {
						t.Errorf("%s: history has %d visits of %s, want %d", p.Name, visits[m], m, least)
					}
				}
				t.Logf("%s: %s", p.Name, strings.Join(l, ", "))
			}
			if len(countries) != 5 {
				t.Errorf("intruders of %d countries, want 5: %v", len(countries), slices.Sorted(maps.Keys(countries)))
			}
		})
	}
}

// TestUsualTrafficIsUsual asserts that live traffic besides the plants goes almost nowhere that history does not know.
func TestUsualTrafficIsUsual(t *testing.T) {
	for seed := range uint64(4) {
		s, r := NewStory(seed, storyEnd), readHistory(t, seed)
		planted := map[string]bool{}
		for _, p := range s.Plants() {
			for _, id := range p.EventIDs {
				planted[id] = p.Name != "late file"
			}
		}
		known := map[[2]string]bool{}
		for p := range r.allowed {
			known[[2]string{p.method, p.place}] = true
		}
		strange := map[[2]string]bool{}
		for _, e := range readLive(t, s).events {
			if k := [2]string{e.method, e.place}; !planted[e.id] && e.place != "" && !e.denied && !known[k] {
				strange[k] = true
			}
		}
		if len(strange) > 3 {
			t.Errorf("seed %d: %d methods from places new to them, want 3 at most: %v", seed, len(strange), strange)
		}
		t.Logf("seed %d: new to their method: %v", seed, strange)
	}
}

func TestEveryMethodIsCalled(t *testing.T) {
	called := maps.Clone(readHistory(t, 1).methods)
	for _, e := range readLive(t, NewStory(1, storyEnd)).events {
		called[e.method]++
	}
	for key := range catalogue() {
		if called[key] == 0 {
			t.Errorf("nobody calls %s", key)
		}
	}
}

// TestSameSeedSameStory pins a story byte for byte: a seed that one person tells of must be the same story for another. It
// fails when the story is changed on purpose too; the new sums then go here.
func TestSameSeedSameStory(t *testing.T) {
	const wantHistory, wantLive uint64 = 0xa0246687fe0cd308, 0xd9779c38136344f2
	sums := func(s *Story) (uint64, uint64) {
		h, l := xxhash.New(), xxhash.New()
		write := func(d *xxhash.Digest) func(Record) bool {
			return func(r Record) bool {
				fmt.Fprintln(d, r.Partition, r.Delivered.UnixMilli())
				d.Write(r.JSON)
				return true
			}
		}
		s.History(write(h))
		s.Live(write(l))
		return h.Sum64(), l.Sum64()
	}
	s := NewStory(42, storyEnd)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if h, l := sums(s); h != wantHistory || l != wantLive {
				t.Errorf("sums %#x and %#x, want %#x and %#x", h, l, wantHistory, wantLive)
			}
		})
	}
	wg.Wait()
	if h, l := sums(NewStory(43, storyEnd.Add(59*time.Minute))); h == wantHistory || l == wantLive {
		t.Error("another seed tells the same story")
	}
}

func TestTellingStops(t *testing.T) {
	s := NewStory(2, storyEnd)
	for name, tell := range map[string]func(func(Record) bool){"history": s.History, "live": s.Live} {
		n := 0
		tell(func(Record) bool { n++; return n < 1000 })
		if n != 1000 {
			t.Errorf("%s went on to %d records after it was stopped at 1000", name, n)
		}
	}
}

// TestAnyEnd asserts that a story may end at any hour, when the offices are empty too.
func TestAnyEnd(t *testing.T) {
	for _, storyEnd := range []time.Time{
		time.Date(2026, 11, 22, 3, 20, 0, 0, time.UTC), // a Sunday night
		time.Date(2024, 2, 29, 22, 0, 0, 0, time.FixedZone("", 3600)),
		time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		s := NewStory(5, storyEnd)
		r := readLive(t, s)
		byID := map[string][]storyEvent{}
		for _, e := range r.events {
			byID[e.id] = append(byID[e.id], e)
		}
		for _, p := range s.Plants() {
			checkPlant(t, p, byID)
		}
		if r.first.Before(storyEnd.Truncate(time.Hour)) {
			t.Errorf("a live call at %s, before %s", r.first, storyEnd)
		}
		t.Logf("end %s: %d live records", storyEnd, r.records)
	}
}

func TestMorning(t *testing.T) {
	for _, c := range []struct{ now, want string }{
		{"2026-11-20T11:05:00Z", "2026-11-20T08:00:00Z"}, // Friday, all delivered
		{"2026-11-20T11:04:59Z", "2026-11-19T08:00:00Z"},
		{"2026-11-20T00:10:00Z", "2026-11-19T08:00:00Z"},
		{"2026-11-22T20:00:00Z", "2026-11-20T08:00:00Z"}, // Sunday
		{"2026-11-23T09:00:00Z", "2026-11-20T08:00:00Z"}, // Monday, too early
		{"2026-11-24T01:30:00+14:00", "2026-11-23T08:00:00Z"},
		{"2027-01-01T05:00:00Z", "2026-12-31T08:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := Morning(now).Format(time.RFC3339); got != c.want {
			t.Errorf("Morning(%s) = %s, want %s", c.now, got, c.want)
		}
	}
}

// TestMorningIsOverByNow asserts what Morning promises: at now, the last record has been delivered.
func TestMorningIsOverByNow(t *testing.T) {
	now := time.Date(2026, 11, 20, 11, 5, 0, 0, time.UTC)
	for seed := range uint64(10) {
		NewStory(seed, Morning(now)).Live(func(r Record) bool {
			if r.Delivered.After(now) {
				t.Errorf("seed %d: a record is delivered at %s, after %s", seed, r.Delivered, now)
			}
			return true
		})
	}
}

// TestAddresses asserts of every address that a story could use that the embedded database agrees on its country.
func TestAddresses(t *testing.T) {
	l, err := storyLocator()
	if err != nil {
		t.Fatal(err)
	}
	look := l.NewLookup()
	check := func(country string, a netip.Addr) {
		if got := iploc.IPCountry(a); got != country {
			t.Errorf("%s is in %s by the embedded database, the story has it in %s", a, got, country)
		}
		if got := look.Locate(a.String()); got.Name != country || got.Kind != geo.Public {
			t.Errorf("%s is %s %q, the story has it in %s", a, got.Kind, got.Name, country)
		}
	}
	for country, l := range networks {
		for _, n := range l {
			for i := range 256 {
				check(country, netip.MustParseAddr(fmt.Sprintf("%s.%d", n, i)))
			}
		}
	}
	d := dice(1)
	for country := range networks6 {
		for range 200 {
			check(country, netip.MustParseAddr(hostIn6(&d, country)))
		}
	}
	for region := range amazonPrefixes {
		for range 500 {
			a := amazonAddress(&d, region)
			if got := look.Locate(a); got.Name != "aws:"+region {
				t.Errorf("%s is %q, the story has it in %s", a, got.Name, region)
			}
		}
	}
}

func TestCountriesAreKnown(t *testing.T) {
	all := slices.Concat(travelCountries, hostingCountries, farCountries)
	for _, p := range officePairs {
		for _, c := range p {
			if len(networks[c]) < 12 || networks6[c] == nil {
				t.Errorf("office country %s has too few networks", c)
			}
			if _, ok := utcOffset[c]; !ok {
				t.Errorf("office country %s has no clock", c)
			}
			if slices.Contains(all, c) {
				t.Errorf("office country %s is in another list too", c)
			}
		}
	}
	slices.Sort(all)
	if n := len(all); len(slices.Compact(all)) != n {
		t.Error("a country is in two lists")
	}
	for _, c := range all {
		if len(networks[c]) == 0 {
			t.Errorf("country %s has no networks", c)
		}
	}
}

func TestCompile(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "null",
		"{}":                "{}",
		`{"a":"$acct"}`:     `{"a":"111111111111"}`,
		"$region$self.":     "eu-central-1me.",
		"$$LATEST$$ $acct$": "", // a dollar that names nothing
		"$nosuch":           "",
	} {
		t.Run(in, func(t *testing.T) {
			defer func() {
				if failed := recover() != nil; failed != (want == "") {
					t.Errorf("refused: %t", failed)
				}
			}()
			o := &organisation{regions: [regionCount]string{"eu-central-1"}, accounts: [accountCount]Account{{ID: "111111111111"}}}
			w := scribe{org: o}
			if got := string(w.append(nil, compile(in), &call{by: &session{self: "me"}})); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestSlotsKeepTheirValueWithinARecord(t *testing.T) {
	w := scribe{org: newOrganisation(3)}
	c := &call{id: 99, by: &session{}}
	for name := range slotNames {
		pair := string(w.append(nil, compile("$"+name+"|$"+name), c))
		if a, b, _ := strings.Cut(pair, "|"); a != b {
			t.Errorf("$%s is %q and %q in one record", name, a, b)
		}
	}
	a := string(w.append(nil, compile("$uuid"), c))
	c.id++
	if b := string(w.append(nil, compile("$uuid"), c)); a == b {
		t.Error("two records draw the same values")
	}
}

// BenchmarkHistory reports how fast a story is told, in records a second.
func BenchmarkHistory(b *testing.B) {
	records, size := 0, 0
	for b.Loop() {
		NewStory(1, storyEnd).History(func(r Record) bool {
			records++
			size += len(r.JSON)
			return true
		})
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
	b.SetBytes(int64(size / b.N))
}

func BenchmarkNewStory(b *testing.B) {
	for b.Loop() {
		NewStory(1, storyEnd)
	}
}
