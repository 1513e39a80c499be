// Package route turns raw CloudTrail into visits and sightings: it decodes, geolocates, and tells each presence once. It
// keeps no state that could not be lost at any time; it knows nothing of Kafka or disk, and of wall time only the clock that
// it is given.
package route

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/topics"
)

// Config are the settings of route.
type Config struct {
	Pane time.Duration
	// Skew is how far an event may lie ahead of the clock before it counts as from the future.
	Skew time.Duration
	// Late is how far an event may lie behind the stream time of its raw partition before it wakes nobody any more.
	Late time.Duration
	// Scope is "organisation" or "account": what a method is counted in.
	Scope  string
	Ignore []Rule
	Limits cloudtrail.Limits
	// Pulses says whether signs of life are told, for detect to notice who falls silent.
	Pulses bool
	// MemoryEntries bounds the presences that the process remembers, about 20 bytes each.
	MemoryEntries int
}

// DefaultConfig are the settings for most.
func DefaultConfig() Config {
	return Config{Pane: time.Hour, Skew: 5 * time.Minute, Late: time.Hour, Scope: "organisation", Limits: cloudtrail.DefaultLimits(), Pulses: true, MemoryEntries: 1 << 20}
}

// Raw is one raw record.
type Raw struct {
	Source    topics.Source // Byte is ignored
	Timestamp int64         // Unix milliseconds, 0 or less if unknown
	Imported  bool          // history that teaches and wakes nobody
	Value     []byte
}

// Output takes what route tells. Slices are valid during the call only.
type Output interface {
	Visit(key, value []byte)
	Pulse(key, value []byte)
	Sighting(key, value []byte)
	DeadLetter(d *topics.DeadLetter)
}

// Reasons of dead letters that are not the decoder's.
const (
	ReasonFuture    = "future"
	ReasonOversized = "oversized"
)

// Stats counts what became of everything that was read. All of it: events equals visits told, repeats, ignored, without a
// place, and dead letters.
type Stats struct {
	Records   int64
	Events    int64
	Visits    int64 // told
	Presences int64 // told: visits of any method
	Repeats   int64 // told before
	Sightings int64
	Pulses    int64
	Skipped   map[string]int64 // by kind: recognised, but not events
	Refused   map[string]int64 // by reason: dead letters
	Ignored   map[string]int64 // by rule
	Places    geo.Counts       // events by kind of source address
	NoPlace   geo.Counts       // those without a place
}

// NewStats returns counters at zero.
func NewStats() *Stats {
	return &Stats{Skipped: map[string]int64{}, Refused: map[string]int64{}, Ignored: map[string]int64{}}
}

// Task is route for one raw partition. It is not safe for concurrent use. After a transaction that aborted it must be
// dropped, and its memory must forget: they remember presences that were not told after all.
type Task struct {
	cfg     Config
	pane    int64
	now     func() time.Time
	dec     *cloudtrail.Decoder
	look    *geo.Lookup
	rules   []compiled
	recent  recent
	teller  *Teller
	pulses  pulses
	clients clients
	horizon int64
	skew    int64 // milliseconds
	clock   int64 // the latest that now said, Unix milliseconds
	stats   *Stats

	raw  *Raw
	out  Output
	fine bool // something of the record is no dead letter
	dead bool // something is one
	// scratch
	method, principal, hashed, key, buf, more []byte
	resources                                 []string
	told                                      topics.Visit
	subject                                   subject
}

// NewTask makes the task of a raw partition whose stream time is horizon, in Unix milliseconds, 0 for a fresh one. Without a teller that
// it shares with others it has one of its own, and what it told counts at once.
func NewTask(cfg Config, teller *Teller, locator *geo.Locator, now func() time.Time, horizon int64, stats *Stats) (*Task, error) {
	t := &Task{
		cfg: cfg, pane: int64(cfg.Pane / time.Second), skew: cfg.Skew.Milliseconds(), now: now, dec: cloudtrail.NewDecoder(cfg.Limits),
		look: locator.NewLookup(), horizon: horizon, stats: stats,
		teller: teller, clients: clients{}, pulses: pulses{},
	}
	if teller == nil {
		t.teller = &Teller{pending: NewMemory(cfg.MemoryEntries)}
	}
	for _, r := range cfg.Ignore {
		c, err := r.compile()
		if err != nil {
			return nil, err
		}
		t.rules = append(t.rules, c)
	}
	return t, nil
}

// Horizon is the stream time of the raw partition: its newest event time, in Unix milliseconds.
func (t *Task) Horizon() int64 { return t.horizon }

// Decoder is the task's decoder, for callers that feed it from elsewhere than a Raw: their events go through Begin and the
// task's Handler methods.
func (t *Task) Decoder() *cloudtrail.Decoder { return t.dec }

// Begin names the record whose events follow.
func (t *Task) Begin(r *Raw, out Output) {
	t.raw, t.out = r, out
	t.fine, t.dead = false, false
	t.stats.Records++
}

// Record takes one raw record, and says whether it was good: false, if all that it held became dead letters.
func (t *Task) Record(r *Raw, out Output) (good bool) {
	t.Begin(r, out)
	t.dec.Decode(r.Value, t)
	return t.fine || !t.dead
}

// Skip implements cloudtrail.Handler.
func (t *Task) Skip(k cloudtrail.SkipKind) {
	t.fine = true
	t.stats.Skipped[k.String()]++
}

// Refuse implements cloudtrail.Handler.
func (t *Task) Refuse(r *cloudtrail.Refusal) {
	t.deadLetter(r.Reason.String(), r.Detail, r.Offset, r.Raw)
}

func (t *Task) deadLetter(reason, detail string, at int64, raw []byte) {
	t.dead = true
	t.stats.Refused[reason]++
	src := t.raw.Source
	src.Byte = at
	t.out.DeadLetter(&topics.DeadLetter{Stage: "route", Reason: reason, Detail: detail, Source: src, Value: raw})
}

// Event implements cloudtrail.Handler.
func (t *Task) Event(e *cloudtrail.Event) {
	t.stats.Events++
	if ahead := t.ahead(e.TimeMillis); ahead > 0 {
		t.deadLetter(ReasonFuture, fmt.Sprintf("eventTime %s lies %s ahead of the record's own time", e.EventTime,
			(time.Duration(ahead)*time.Millisecond).Round(time.Second)), e.Offset, e.Raw)
		return
	}
	t.fine = true
	sec := e.TimeMillis / 1000
	pane := sec - ((sec%t.pane)+t.pane)%t.pane
	t.method = e.AppendMethod(t.method[:0])
	t.principal = e.AppendPrincipal(t.principal[:0])
	place := t.look.Locate(e.SourceIPAddress)
	outcome := topics.Allowed
	if e.Denied() {
		outcome = topics.Denied
	}
	whole := t.whole(e, pane, &place, outcome)
	known := t.recent.has(whole)
	if !known && t.cfg.Pulses { // of what is ignored too: whoever is not judged is alive all the same
		t.pulse(e, pane)
	}
	if !known {
		if rule := t.ignored(e); rule != "" {
			t.stats.Ignored[rule]++
			return
		}
	}
	t.horizon = max(t.horizon, e.TimeMillis)
	t.stats.Places[place.Kind]++
	switch {
	case place.Name == "":
		t.stats.NoPlace[place.Kind]++
		if !known && place.Kind == geo.Private {
			t.tellPrivate(e, pane, outcome)
		}
	case known:
		t.stats.Repeats++
	default:
		t.tell(e, pane, &place, outcome)
	}
	t.recent.add(whole)
}

// ahead is how far, in milliseconds, an event lies ahead of the clock, or of its record if that is older; 0 if it is not
// further than the skew. The clock is read again only where what it last said is not enough.
func (t *Task) ahead(at int64) int64 {
	if at-t.skew > t.clock {
		t.clock = t.now().UnixMilli()
	}
	latest := t.clock
	if ts := t.raw.Timestamp; ts > 0 && ts < latest {
		latest = ts
	}
	if at-t.skew > latest {
		return at - latest
	}
	return 0
}

// whole is the hash of everything that decides what is told of an event: of two with the same, the second tells nothing.
func (t *Task) whole(e *cloudtrail.Event, pane int64, place *geo.Place, outcome topics.Outcome) uint64 {
	b := binary.LittleEndian.AppendUint64(t.hashed[:0], uint64(pane))
	b = append(b, byte(outcome), byte(t.quiet(e)), byte(place.Kind))
	b = append(append(b, t.method...), 0)
	b = append(append(b, t.principal...), 0)
	b = append(append(b, place.Name...), 0)
	b = append(append(b, place.Network...), 0)
	b = append(append(b, t.clients.name(e.UserAgent)...), 0)
	b = append(append(b, longTerm(e.UserIdentity.AccessKeyID)...), 0)
	b = append(append(b, e.Account()...), 0)
	b = append(append(b, e.AWSRegion...), 0)
	if len(t.rules) > 0 { // they look at more
		b = append(append(b, e.EventCategory...), 0)
		b = append(b, e.SourceIPAddress...)
	}
	t.hashed = b
	return hash(b)
}

// tell tells what of an event was not told yet.
func (t *Task) tell(e *cloudtrail.Event, pane int64, place *geo.Place, outcome topics.Outcome) {
	scope := ""
	if t.cfg.Scope == "account" {
		scope = e.Account()
	}
	sighted := t.firstSighting(e, pane, place)
	first := t.firstVisit(e, scope, t.method, place.Name, pane, outcome)
	if !first {
		t.stats.Repeats++
	}
	if !sighted && !first {
		return
	}
	v := t.visit(e, scope, pane, place, outcome)
	t.buf = v.Append(t.buf[:0])
	if len(t.buf) > topics.MaxVisitBytes {
		if first {
			t.deadLetter(ReasonOversized, fmt.Sprintf("its visit takes %d bytes, %d are the most", len(t.buf), topics.MaxVisitBytes), e.Offset, e.Raw)
		}
		return
	}
	if sighted {
		t.tellSighting(e, v)
	}
	if !first {
		return
	}
	t.stats.Visits++
	t.key = topics.AppendMethodKey(t.key[:0], v.Scope, v.Method)
	t.out.Visit(t.key, t.buf)
	// Who is where is a question about the organisation, whatever methods are counted in.
	if t.firstVisit(e, "", anyMethod, place.Name, pane, outcome) {
		t.tellPresence(v)
	}
}

// tellPrivate tells triage of a principal that calls from inside a network: no place to judge, but a role that only ever does so is
// no stranger when it is seen elsewhere.
func (t *Task) tellPrivate(e *cloudtrail.Event, pane int64, outcome topics.Outcome) {
	place := geo.Place{Kind: geo.Private, Name: topics.PrivatePlace}
	if !t.firstSighting(e, pane, &place) {
		return
	}
	v := t.visit(e, "", pane, &place, outcome)
	if t.buf = v.Append(t.buf[:0]); len(t.buf) <= topics.MaxVisitBytes {
		t.tellSighting(e, v)
	}
}

var anyMethod = []byte(topics.AnyMethod)

// What was told quietly, of an event that came late, is told again of one that was in time.
func (t *Task) firstVisit(e *cloudtrail.Event, scope string, method []byte, place string, pane int64, outcome topics.Outcome) bool {
	t.hashed = append(t.hashed[:0], byte(outcome), byte(t.quiet(e)))
	t.hashed = append(append(t.hashed, scope...), 0)
	t.hashed = append(append(t.hashed, method...), 0)
	t.hashed = append(append(t.hashed, place...), 0)
	t.hashed = append(t.hashed, t.principal...)
	return t.teller.first(pane, hash(t.hashed))
}

func (t *Task) ignored(e *cloudtrail.Event) string {
	if len(t.rules) == 0 {
		return ""
	}
	s := &t.subject
	s.texts[fieldCategory] = append(s.texts[fieldCategory][:0], e.EventCategory...)
	s.texts[fieldService] = append(s.texts[fieldService][:0], t.method...)
	for i, c := range t.method {
		if c == ':' {
			s.texts[fieldService] = s.texts[fieldService][:i]
			break
		}
	}
	s.texts[fieldMethod] = append(s.texts[fieldMethod][:0], t.method...)
	s.texts[fieldPrincipal] = append(s.texts[fieldPrincipal][:0], t.principal...)
	s.texts[fieldAccount] = append(s.texts[fieldAccount][:0], e.Account()...)
	s.address = e.SourceIPAddress
	for i := range t.rules {
		if t.rules[i].matches(s) {
			return t.rules[i].name
		}
	}
	return ""
}

func (t *Task) firstSighting(e *cloudtrail.Event, pane int64, place *geo.Place) bool {
	t.hashed = append(t.hashed[:0], 0, byte(t.quiet(e))) // no outcome is zero: it is no visit
	t.hashed = append(t.hashed, t.principal...)
	t.hashed = append(append(t.hashed, 0), place.Name...)
	t.hashed = append(append(t.hashed, 0), place.Network...)
	t.hashed = append(append(t.hashed, 0), t.clients.name(e.UserAgent)...)
	t.hashed = append(append(t.hashed, 0), longTerm(e.UserIdentity.AccessKeyID)...)
	return t.teller.first(pane, hash(t.hashed))
}

// longTerm is a key that belongs to a user; those of sessions change with every session.
func longTerm(key string) string {
	if strings.HasPrefix(key, "AKIA") {
		return key
	}
	return ""
}

// tellSighting tells triage of the visit v, whose encoded form is in t.buf.
func (t *Task) tellSighting(e *cloudtrail.Event, v *topics.Visit) {
	s := topics.Sighting{Network: v.Evidence.Network, Client: t.clients.name(e.UserAgent), KeyID: longTerm(e.UserIdentity.AccessKeyID), Visit: *v}
	t.stats.Sightings++
	t.more = s.Append(t.more[:0], t.buf)
	t.out.Sighting(s.Key(), t.more)
}

// tellPresence tells detect that a principal is somewhere. The evidence is that of the sighting, so that little is needed.
func (t *Task) tellPresence(v *topics.Visit) {
	p := topics.Visit{
		Method: topics.AnyMethod, Principal: v.Principal, Place: v.Place, Pane: v.Pane, Outcome: v.Outcome, Quiet: v.Quiet, Horizon: v.Horizon,
		Evidence: topics.Evidence{
			EventTime: v.Evidence.EventTime, Delivered: v.Evidence.Delivered, Source: v.Evidence.Source, EventID: v.Evidence.EventID,
			Account: v.Evidence.Account, GeoBuild: v.Evidence.GeoBuild,
		},
	}
	t.stats.Presences++
	t.buf = p.Append(t.buf[:0])
	t.key = topics.AppendMethodKey(t.key[:0], p.Scope, p.Method)
	t.out.Visit(t.key, t.buf)
}

func (t *Task) quiet(e *cloudtrail.Event) topics.Quiet {
	switch {
	case t.raw.Imported:
		return topics.Imported
	case t.horizon-e.TimeMillis > t.cfg.Late.Milliseconds():
		return topics.Late
	}
	return topics.Timely
}

// alias is text in the memory of b.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// visit is what is told of an event. It is valid until the next.
func (t *Task) visit(e *cloudtrail.Event, scope string, pane int64, place *geo.Place, outcome topics.Outcome) *topics.Visit {
	id := &e.UserIdentity
	t.resources = t.resources[:0]
	for i := range e.Resources[:min(len(e.Resources), topics.MaxResources)] {
		t.resources = append(t.resources, e.Resources[i].ARN)
	}
	src := t.raw.Source
	src.Byte = e.Offset
	v := &t.told
	*v = topics.Visit{
		Scope: scope, Method: alias(t.method), Principal: alias(t.principal), Place: place.Name, Pane: pane, Outcome: outcome, Quiet: t.quiet(e), Horizon: t.horizon,
		Evidence: topics.Evidence{
			EventTime: e.TimeMillis, Delivered: t.raw.Timestamp, Source: src,
			EventID: e.EventID, SharedEventID: e.SharedEventID, EventSource: e.EventSource, EventName: e.EventName,
			EventType: e.EventType, EventCategory: e.EventCategory, Region: e.AWSRegion,
			Account: e.Account(), PrincipalAccount: e.PrincipalAccount(),
			IdentityType: id.Type, ARN: id.ARN, PrincipalID: id.PrincipalID, UserName: id.UserName, AccessKeyID: id.AccessKeyID,
			SessionName: e.SessionName(), IssuerARN: id.SessionContext.SessionIssuer.ARN, SourceIdentity: e.SourceIdentity(),
			OnBehalfOf: id.OnBehalfOf.UserID, InvokedBy: id.InvokedBy, Address: e.SourceIPAddress, UserAgent: e.UserAgent,
			Network: place.Network, NetworkName: place.Organisation,
			VPCEndpointID: e.VPCEndpointID, ErrorCode: e.ErrorCode, ErrorMessage: e.ErrorMessage,
			RequestParameters: alias(e.RequestParameters), Resources: t.resources,
			MFA: answer(id.SessionContext.Attributes.MFAAuthenticated), GeoBuild: t.look.Build(),
		},
	}
	if e.ReadOnly != nil {
		v.Evidence.ReadOnly = topics.No
		if *e.ReadOnly {
			v.Evidence.ReadOnly = topics.Yes
		}
	}
	return v
}

func answer(s string) topics.Answer {
	switch s {
	case "true":
		return topics.Yes
	case "false":
		return topics.No
	}
	return topics.Unknown
}
