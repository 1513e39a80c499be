package topics

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Kind is the first byte of every record of farcall's own topics and says what it is.
type Kind byte

// The kinds are written to disk and wire: never reuse a number.
const (
	KindVisit      Kind = 1
	KindSighting   Kind = 2
	KindAnomaly    Kind = 3
	KindException  Kind = 4
	KindVerdict    Kind = 5
	KindRetraction Kind = 6
	KindPulse      Kind = 7
	KindPosition   Kind = 8
)

func (k Kind) String() string {
	switch k {
	case KindVisit:
		return "visit"
	case KindSighting:
		return "sighting"
	case KindAnomaly:
		return "anomaly"
	case KindException:
		return "exception"
	case KindVerdict:
		return "verdict"
	case KindRetraction:
		return "retraction"
	case KindPulse:
		return "pulse"
	case KindPosition:
		return "position"
	}
	return "unknown"
}

// KindOf returns the kind of an encoded record, 0 for an empty one.
func KindOf(b []byte) Kind {
	if len(b) == 0 {
		return 0
	}
	return Kind(b[0])
}

// Outcome says whether the calls of a visit were allowed, denied or both: a set of two bits, joined by |.
type Outcome byte

// Allowed and Denied are the two bits of an Outcome.
const (
	Allowed Outcome = 1
	Denied  Outcome = 2
)

func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case Denied:
		return "denied"
	case Allowed | Denied:
		return "allowed and denied"
	}
	return "none"
}

// Quiet says why a visit wakes nobody, though it is scored, learned and recorded.
type Quiet byte

// The values of Quiet.
const (
	Timely   Quiet = 0 // not quiet
	Late     Quiet = 1 // it came long after newer events of its own raw partition
	Imported Quiet = 2 // history that was brought in
)

func (q Quiet) String() string {
	switch q {
	case Timely:
		return "timely"
	case Late:
		return "late"
	case Imported:
		return "imported"
	}
	return "unknown"
}

// Answer is a three-valued flag of a CloudTrail record: such fields may be absent.
type Answer byte

// The values of Answer.
const (
	Unknown Answer = 0
	Yes     Answer = 1
	No      Answer = 2
)

// Limits in bytes on what outsiders write into the fields of a record. Together they keep a visit below MaxVisitBytes
// (checked by a test), so that no record reaches the max.message.bytes of its topic.
const (
	MaxKeyBytes     = 512  // method, principal
	MaxFieldBytes   = 1024 // any other field of the evidence
	MaxRequestBytes = 4096 // requestParameters
	MaxResources    = 8
	MaxVisitBytes   = 48 << 10
	MaxTopCountries = 5
)

// Source names the raw record that an event was read from.
type Source struct {
	Topic     string
	Partition int32
	Offset    int64
	// Byte is where the event starts in the expanded payload of the raw record.
	Byte int64
}

// Evidence is what is kept of the first event of a visit, for the person who reads the alert. Empty fields were absent.
type Evidence struct {
	EventTime int64 // Unix milliseconds
	Delivered int64 // Unix milliseconds: timestamp of the raw record
	Source    Source

	EventID, SharedEventID   string
	EventSource, EventName   string
	EventType, EventCategory string
	Region                   string
	Account                  string // the account that the call was made in
	PrincipalAccount         string // the account that the caller belongs to
	IdentityType, ARN        string
	PrincipalID, UserName    string
	AccessKeyID              string
	SessionName, IssuerARN   string
	SourceIdentity           string
	OnBehalfOf               string
	InvokedBy                string
	Address, UserAgent       string // sourceIPAddress and userAgent as written
	Network, NetworkName     string // of the address: "AS<number>" and whose it is; "" without an ASN database
	VPCEndpointID            string
	ErrorCode, ErrorMessage  string
	RequestParameters        string // JSON, cut at MaxRequestBytes
	Resources                []string
	MFA, ReadOnly            Answer
	// GeoBuild names the geolocation database that the place came from.
	GeoBuild string
}

// Visit is the presence of one principal in one (method, place, pane), told by route to detect, with the evidence of the
// event that it was told for. A presence may be told more than once; receivers hold sets.
type Visit struct {
	Scope     string // "" for the organisation, else the account that the method is counted in
	Method    string
	Principal string
	Place     string // ISO 3166-1 alpha-2, or aws:<region>
	Pane      int64  // start of the pane, Unix seconds
	Outcome   Outcome
	Quiet     Quiet
	// Horizon is the stream time of the event's own raw partition when the event was read, in Unix milliseconds: lateness
	// is measured against it, so that a partition that lags is late for nobody.
	Horizon  int64
	Evidence Evidence
}

const visitVersion = 1

// PrincipalHash is how state tells principals apart: xxhash64 of the name with the two low bits cleared, which rows use
// for the Outcome.
func PrincipalHash(principal string) uint64 { return xxhash.Sum64String(principal) &^ 3 }

// Key is the record key: visits are partitioned by scope and method.
func (v *Visit) Key() []byte { return AppendMethodKey(nil, v.Scope, v.Method) }

// AppendMethodKey appends the key under which a method is partitioned and stored: method, or scope|method. It never holds
// a NUL, which ends the method in the keys of state: a "?" stands for one.
func AppendMethodKey(dst []byte, scope, method string) []byte {
	start := len(dst)
	if scope != "" {
		dst = append(dst, clip(scope, MaxKeyBytes)...)
		dst = append(dst, '|')
	}
	dst = append(dst, clip(method, MaxKeyBytes)...)
	for key := dst[start:]; ; {
		at := bytes.IndexByte(key, 0)
		if at < 0 {
			return dst
		}
		key[at] = '?'
	}
}

// Append appends the record in the newest version.
func (v *Visit) Append(dst []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindVisit))
	w.byte(visitVersion)
	w.string(v.Scope, MaxKeyBytes)
	w.string(v.Method, MaxKeyBytes)
	w.string(v.Principal, MaxKeyBytes)
	w.string(v.Place, MaxKeyBytes)
	w.varint(v.Pane)
	w.byte(byte(v.Outcome) | byte(v.Quiet)<<2)
	w.varint(v.Horizon)
	v.Evidence.append(&w)
	return w.b
}

// appendVisit appends a visit with its length before it, encoded if nil.
func appendVisit(dst []byte, v *Visit, encoded []byte) []byte {
	if encoded != nil {
		return append(binary.AppendUvarint(dst, uint64(len(encoded))), encoded...)
	}
	at := len(dst)
	dst = v.Append(dst)
	var length [binary.MaxVarintLen64]byte
	return slices.Insert(dst, at, length[:binary.PutUvarint(length[:], uint64(len(dst)-at))]...)
}

// Decode reads a visit. Its strings alias b.
func (v *Visit) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindVisit, visitVersion)
	v.Scope = r.string()
	v.Method = r.string()
	v.Principal = r.string()
	v.Place = r.string()
	v.Pane = r.varint()
	flags := r.byte()
	v.Outcome, v.Quiet = Outcome(flags&3), Quiet(flags>>2)
	v.Horizon = r.varint()
	v.Evidence.read(&r)
	if r.err == nil && (v.Method == "" || v.Principal == "" || v.Place == "" || v.Outcome == 0) {
		r.fail("method, principal, place or outcome missing")
	}
	if r.err == nil && v.Quiet > Imported {
		r.fail("unknown flags")
	}
	return r.end(KindVisit)
}

// EventTime is when the event of an encoded visit or sighting happened, in Unix milliseconds. Of the rest it checks nothing.
func EventTime(b []byte) (int64, error) {
	r := reader{b: b}
	kind := KindOf(b)
	if kind == KindSighting {
		r.header(KindSighting, sightingVersion)
		for range 3 {
			r.bytes()
		}
		r = reader{b: r.bytes(), err: r.err}
	}
	r.header(KindVisit, visitVersion)
	for range 4 {
		r.bytes()
	}
	r.varint() // pane
	r.byte()
	r.varint() // horizon
	at := r.varint()
	if r.err != nil {
		return 0, fmt.Errorf("%s: %w", kind, r.err)
	}
	return at, nil
}

// texts lists the text fields of the evidence in wire order.
func (e *Evidence) texts() [28]*string {
	return [28]*string{
		&e.EventID, &e.SharedEventID, &e.EventSource, &e.EventName, &e.EventType, &e.EventCategory, &e.Region,
		&e.Account, &e.PrincipalAccount, &e.IdentityType, &e.ARN, &e.PrincipalID, &e.UserName, &e.AccessKeyID,
		&e.SessionName, &e.IssuerARN, &e.SourceIdentity, &e.OnBehalfOf, &e.InvokedBy, &e.Address, &e.UserAgent,
		&e.VPCEndpointID, &e.ErrorCode, &e.ErrorMessage, &e.GeoBuild, &e.Source.Topic,
		&e.Network, &e.NetworkName,
	}
}

func (e *Evidence) append(w *writer) {
	w.varint(e.EventTime)
	w.varint(e.Delivered)
	w.varint(int64(e.Source.Partition))
	w.varint(e.Source.Offset)
	w.varint(e.Source.Byte)
	w.byte(byte(e.MFA) | byte(e.ReadOnly)<<2)
	for _, s := range e.texts() {
		w.string(*s, MaxFieldBytes)
	}
	w.string(e.RequestParameters, MaxRequestBytes)
	res := e.Resources[:min(len(e.Resources), MaxResources)]
	w.uvarint(uint64(len(res)))
	for _, s := range res {
		w.string(s, MaxFieldBytes)
	}
}

func (e *Evidence) read(r *reader) {
	e.EventTime = r.varint()
	e.Delivered = r.varint()
	partition := r.varint()
	if partition != int64(int32(partition)) {
		r.fail("partition past 32 bits")
	}
	e.Source.Partition = int32(partition)
	e.Source.Offset = r.varint()
	e.Source.Byte = r.varint()
	flags := r.byte()
	e.MFA, e.ReadOnly = Answer(flags&3), Answer(flags>>2)
	if e.MFA > No || e.ReadOnly > No {
		r.fail("unknown flags")
	}
	for _, s := range e.texts() {
		*s = r.string()
	}
	e.RequestParameters = r.string()
	e.Resources = e.Resources[:0]
	for range r.count(MaxResources) {
		e.Resources = append(e.Resources, r.string())
	}
}

// HeaderImported marks a raw record as history that is brought in: it teaches and wakes nobody. Its value does not matter.
const HeaderImported = "farcall.import"

// AnyMethod stands for all methods together: its visits are the presences of principals in places, whatever they called, and
// its distribution is that of the organisation. No method has this name, for theirs hold a colon.
const AnyMethod = "*"

// PrivatePlace is where a principal is that calls from a private address: in some network, AWS's or the organisation's own. Only
// sightings name it.
const PrivatePlace = "private"

// ClientSystem stands between the tool and the system in the name of a client.
const ClientSystem = " on "

// Sighting is the presence of one principal in one (place, network, client, key, pane), told by route to triage for the
// principal's profile.
type Sighting struct {
	Network string // "AS<number>", or "" without an ASN database
	Client  string // tool of the user agent, and ClientSystem and the system it runs on where the text has one
	KeyID   string // long-term access key; "" for the keys of sessions, which are always new
	// Visit is that of the event that it was told for: who, where, when, and the evidence for an alert that no method alone
	// makes.
	Visit Visit
}

const sightingVersion = 1

// Key is the record key: sightings are partitioned by principal.
func (s *Sighting) Key() []byte { return []byte(clip(s.Visit.Principal, MaxKeyBytes)) }

// Append appends the record in the newest version. visit is the encoded form of s.Visit, or nil to encode it.
func (s *Sighting) Append(dst, visit []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindSighting))
	w.byte(sightingVersion)
	w.string(s.Network, MaxKeyBytes)
	w.string(s.Client, MaxKeyBytes)
	w.string(s.KeyID, MaxKeyBytes)
	return appendVisit(w.b, &s.Visit, visit)
}

// Decode reads a sighting. Its strings alias b.
func (s *Sighting) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindSighting, sightingVersion)
	s.Network = r.string()
	s.Client = r.string()
	s.KeyID = r.string()
	visit := r.bytes()
	if err := r.end(KindSighting); err != nil {
		return err
	}
	return s.Visit.Decode(visit)
}

// Level says in a word how usual a country is for a method. The words are those of GuardDuty and OCSF.
type Level byte

// The levels, from unusual to usual. They are written to wire: never reuse a number.
const (
	Unseen     Level = 1 // no allowed visit in the window
	Rare       Level = 2 // at most 1 visit in 100
	Infrequent Level = 3 // at most 1 visit in 10
	Frequent   Level = 4
)

func (l Level) String() string {
	switch l {
	case Unseen:
		return "UNSEEN"
	case Rare:
		return "RARE"
	case Infrequent:
		return "INFREQUENT"
	case Frequent:
		return "FREQUENT"
	}
	return "UNKNOWN"
}

// PlaceCount is how often a method was called from a place within the window.
type PlaceCount struct {
	Place  string
	Visits int64
}

// Distribution is what detect knew of a method just before it scored a visit. Counts are allowed visits within the window.
type Distribution struct {
	Visits      int64 // from everywhere
	PlaceVisits int64 // from the visit's place
	// Support is PlaceVisits with the busiest other principal counted once: what the score was made of.
	Support int64
	Places  int64        // distinct places
	Others  int64        // distinct other principals at the visit's place, as far as rows spell them out
	Own     int64        // visits of the same principal from anywhere; -1 where rows no longer tell
	Top     []PlaceCount // most visited first, at most MaxTopCountries
	// MethodSince, PlaceSince and PlaceLast are the first pane of the method, and the first and last of the place, ever
	// learned: Unix seconds, 0 for never or unknown. They outlive the window.
	MethodSince, PlaceSince, PlaceLast int64
}

// Anomaly is a visit whose method score reached the forwarding floor, written by detect to triage.
type Anomaly struct {
	Score        float64 // method score, 0..100
	Probability  float64 // how likely a country at most this likely is, for this method
	Level        Level
	Distribution Distribution
	Visit        Visit
}

const anomalyVersion = 1

// Key is the record key: anomalies are partitioned by principal, like sightings.
func (a *Anomaly) Key() []byte { return []byte(clip(a.Visit.Principal, MaxKeyBytes)) }

// Append appends the record in the newest version. visit is the encoded form of a.Visit, or nil to encode it.
func (a *Anomaly) Append(dst, visit []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindAnomaly))
	w.byte(anomalyVersion)
	w.float(a.Score)
	w.float(a.Probability)
	w.byte(byte(a.Level))
	d := &a.Distribution
	w.varint(d.Visits)
	w.varint(d.PlaceVisits)
	w.varint(d.Support)
	w.varint(d.Places)
	w.varint(d.Others)
	w.varint(d.Own)
	w.varint(d.MethodSince)
	w.varint(d.PlaceSince)
	w.varint(d.PlaceLast)
	top := d.Top[:min(len(d.Top), MaxTopCountries)]
	w.uvarint(uint64(len(top)))
	for i := range top {
		w.string(top[i].Place, MaxKeyBytes)
		w.varint(top[i].Visits)
	}
	return appendVisit(w.b, &a.Visit, visit)
}

// Decode reads an anomaly. Its strings alias b.
func (a *Anomaly) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindAnomaly, anomalyVersion)
	a.Score = r.float()
	a.Probability = r.float()
	a.Level = Level(r.byte())
	d := &a.Distribution
	d.Visits = r.varint()
	d.PlaceVisits = r.varint()
	d.Support = r.varint()
	d.Places = r.varint()
	d.Others = r.varint()
	d.Own = r.varint()
	d.MethodSince = r.varint()
	d.PlaceSince = r.varint()
	d.PlaceLast = r.varint()
	d.Top = d.Top[:0]
	for range r.count(MaxTopCountries) {
		d.Top = append(d.Top, PlaceCount{Place: r.string(), Visits: r.varint()})
	}
	visit := r.bytes()
	// Comparisons that NaN fails too: it could not be written to the alert's JSON.
	if r.err == nil && !(a.Score >= 0 && a.Score <= 100 && a.Probability >= 0 && a.Probability <= 1) {
		r.fail("score outside 0..100, or probability outside 0..1")
	}
	if r.err == nil && (a.Level < Unseen || a.Level > Frequent) {
		r.fail("unknown level")
	}
	if err := r.end(KindAnomaly); err != nil {
		return err
	}
	return a.Visit.Decode(visit)
}
