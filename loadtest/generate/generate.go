// Package generate makes the CloudTrail of a large organisation at any rate: 15,206 methods with the weights that published records
// have, thousands of accounts, a few thousand roles of machines that make most calls, and up to a million people; records of
// realistic sizes, delivered late, out of order and sometimes twice.
//
// What comes depends on the options alone. Everything that costs time is made beforehand, so that a record takes a microsecond or
// two. Each record comes with what a correct reader must find in it ([Event]), worked out here and not decoded.
//
// It must never use farcall's own code, so that it can contradict it.
package generate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The worlds.
const (
	// Default: roles and people come back, so that most calls repeat what the hour has seen.
	Default = "default"
	// Worst: every event is of another principal, so that each is news.
	Worst = "worst"
)

// Options say what comes. Start from [DefaultOptions].
type Options struct {
	Seed  uint64
	World string // Default or Worst
	// Rate is how many events the organisation makes in a second of its own time. With the number of events it says how much time
	// they span, and so how often a presence repeats.
	Rate float64
	// Start is when the first event is delivered. Nothing lies after Start + events / Rate.
	Start time.Time
	// Skew is the share of the most called method, up to 0.95; 0: as published records have it, 0.47.
	Skew       float64
	Methods    int // the most called ones; 0: all
	Accounts   int
	Machines   int     // roles and services
	People     int     // principals that are none
	ByPeople   float64 // share of the calls that people make
	Duplicates float64 // share of the records that come a second time; none in the worst world
	// Intrusions is the share of events that are each the only call of a new principal, from a country that nobody works in.
	Intrusions float64
}

// DefaultOptions are an organisation that makes ten thousand events a second.
func DefaultOptions() Options {
	return Options{
		Seed: 1, World: Default, Rate: 10_000, Start: time.Date(2026, 1, 12, 9, 30, 0, 0, time.UTC),
		Accounts: 2_000, Machines: 3_000, People: 1_000_000, ByPeople: .05, Duplicates: .01,
	}
}

func (o *Options) check() error {
	switch {
	case o.World != Default && o.World != Worst:
		return fmt.Errorf("generate: the world is %q, and must be %s or %s", o.World, Default, Worst)
	case !(o.Rate > 0) || o.Rate > 1e9:
		return fmt.Errorf("generate: the rate is %v events a second", o.Rate)
	case o.Skew < 0 || o.Skew > .95:
		return fmt.Errorf("generate: the skew is %v, and must be 0 to 0.95", o.Skew)
	case o.Methods < 0 || o.Accounts < 1 || o.Machines < 1 || o.People < 1:
		return fmt.Errorf("generate: %d methods, %d accounts, %d machines, %d people", o.Methods, o.Accounts, o.Machines, o.People)
	case o.Accounts > 1e6 || o.Machines > 1e6 || o.People > 1e9:
		return fmt.Errorf("generate: more accounts or machines than a million, or more people than a thousand million")
	case o.ByPeople < 0 || o.Duplicates < 0 || o.Intrusions < 0 || o.ByPeople+o.Intrusions > 1 || o.Duplicates > .9:
		return fmt.Errorf("generate: shares of %v by people, %v intrusions and %v duplicates", o.ByPeople, o.Intrusions, o.Duplicates)
	}
	return nil
}

// Event is what a reader must find in a record. Principal is valid until the next call of Append.
type Event struct {
	Time      int64  // Unix seconds
	Method    string // service:Action
	Account   string
	Region    string
	Principal []byte // in farcall's words, such as 444455556666/role/name
	Place     string // ISO 3166-1 alpha-2, aws:region, or "" where the address has none
	Denied    bool
	Intrusion bool
	Duplicate bool
}

// Generator makes records. It is not safe for concurrent use.
type Generator struct {
	o        Options
	pcg      *rand.PCG
	w        *outside
	methods  []method
	draw     alias
	machines []machine
	bodies   [][]byte
	delays   []int64 // seconds, of equal probability
	sessions []session
	kept     []copied
	n        int64 // made, without duplicates
	e        Event
	name     []byte
	date     [10]byte
	day      int64
}

// copied is a record that may come again.
type copied struct {
	value     []byte
	event     Event
	principal []byte
}

const (
	bodyPool  = 4096
	delayPool = 4096
	keptPool  = 512
	// Sessions last ten minutes of event time where they are few enough; with more than this they are shorter.
	sessionPool  = 4096
	sessionCalls = 15
)

// New makes a generator. It takes about a tenth of a second.
func New(o Options) (*Generator, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Generator{o: o, pcg: rand.NewPCG(o.Seed, 0x6661726c6f616400), w: readOutside(), day: math.MinInt64}
	g.weigh()
	r := rand.New(rand.NewPCG(o.Seed, 2))
	for i := range bodyPool {
		g.bodies = append(g.bodies, body(r, int(sizeAt((float64(i)+r.Float64())/bodyPool))-usualRest))
	}
	for i := range delayPool {
		g.delays = append(g.delays, delayAt((float64(i)+.5)/delayPool))
	}
	for i := range o.Machines {
		g.machines = append(g.machines, g.machine(uint64(i)))
	}
	active := o.Rate * o.ByPeople / sessionCalls * 600
	g.sessions = make([]session, max(16, min(sessionPool, int(active))))
	return g, nil
}

// Span is how much event time so many events take.
func (o Options) Span(events int) time.Duration {
	return time.Duration(float64(events) / o.Rate * float64(time.Second))
}

// Hour samples the organisation: of its accounts, machines and people it keeps so many that they make about so many events in an hour.
// Each of them calls as often as before, so that presences repeat as often as over a whole hour of the organisation, where so many events
// of all of it span but its first minutes, in which most is new. Only rare methods repeat less: each keeps one caller at the least.
// Where the organisation makes no more events than that in an hour, it is kept whole.
func (o Options) Hour(events int) Options {
	part := float64(events) / (3600 * o.Rate)
	if part >= 1 {
		return o
	}
	o.Rate *= part
	for _, n := range []*int{&o.Accounts, &o.Machines, &o.People} {
		*n = max(1, int(math.Round(float64(*n)*part)))
	}
	return o
}

// sizeAt is the size of a record at a quantile, in bytes: half below 1,200, one in a hundred above 5,000, one in a thousand above
// 16,000, none above 64 KB. Published records have 600 to 1,700 at the half and 1,000 to 7,000 at 0.99, and up to 66,385.
func sizeAt(q float64) float64 {
	knots := [...][2]float64{{0, 750}, {.5, 1200}, {.9, 2200}, {.99, 5000}, {.999, 16_000}, {1, 64_000}}
	for i := 1; ; i++ {
		if a, b := knots[i-1], knots[i]; q <= b[0] {
			return a[1] * math.Pow(b[1]/a[1], (q-a[0])/(b[0]-a[0]))
		}
	}
}

// delayAt is the time from an event to its delivery at a quantile: lognormal, half below 191 s and nine of ten below 397 s, within
// 5 to 608 s, as in published trails.
func delayAt(q float64) int64 {
	z := math.Sqrt2 * math.Erfinv(2*q-1)
	return int64(min(608, max(5, 191*math.Exp(z*math.Log(397./191)/1.2816))))
}

// mix hashes two numbers into one (splitmix64).
func mix(a, b uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 + b + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit is a number in [0, 1) made from a hash.
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// below is a number below n made from the high bits of a hash.
func below(h uint64, n int) int { return int((h >> 32) * uint64(n) >> 32) }

func (g *Generator) random() uint64 { return g.pcg.Uint64() }

// Append appends the next record, in the order of delivery, and says what is in it.
func (g *Generator) Append(dst []byte) ([]byte, *Event) {
	if g.o.World == Default && g.o.Duplicates > 0 && len(g.kept) == keptPool && unit(g.random()) < g.o.Duplicates {
		c := &g.kept[below(g.random(), keptPool)]
		g.e = c.event
		g.e.Duplicate, g.e.Principal = true, c.principal
		return append(dst, c.value...), &g.e
	}
	g.n++
	delivered := g.o.Start.Unix() + int64(float64(g.n-1)/g.o.Rate)
	g.e = Event{Time: delivered - g.delays[below(g.random(), delayPool)]}
	start := len(dst)
	dst = g.record(dst)
	if g.o.Duplicates > 0 && g.n%64 == 0 {
		g.keep(dst[start:])
	}
	return dst, &g.e
}

// keep remembers a record, so that it may come again.
func (g *Generator) keep(value []byte) {
	at := int(g.n / 64 % keptPool)
	if len(g.kept) < keptPool {
		at = len(g.kept)
		g.kept = append(g.kept, copied{})
	}
	c := &g.kept[at]
	c.value = append(c.value[:0], value...)
	c.principal = append(c.principal[:0], g.e.Principal...)
	c.event = g.e
}

// Methods lists the methods with the share of calls that each has, the most called first.
func (g *Generator) Methods() (names []string, shares []float64) {
	order := make([]int, len(g.methods))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case g.methods[a].share > g.methods[b].share:
			return -1
		case g.methods[a].share < g.methods[b].share:
			return 1
		}
		return 0
	})
	for _, i := range order {
		names, shares = append(names, g.methods[i].name), append(shares, g.methods[i].share)
	}
	return names, shares
}
