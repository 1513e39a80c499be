package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// maxEvents bounds the memory of a simulation: an event takes 20 bytes.
const maxEvents = 8_000_000

// dayZero is the Monday, at midnight UTC, on which every simulation begins.
const dayZero = 1_772_409_600 // 2026-03-02

const (
	hour = 3600
	day  = 24 * hour
)

// stream is all that happens in one simulation.
type stream struct {
	world      world
	seed       uint64
	days       int
	judgedFrom uint32 // seconds after dayZero
	lists      *lists
	principals []principal
	places     []string // places[0] is none
	placeIndex map[string]uint16
	sessions   []session
	labels     []label // labels[0] is ordinary
	incidents  []incident
	// events are sorted by time, then number; a duplicate stands beside its original.
	events []event
	count  uint32 // events, without duplicates
}

// event is one call, or the second delivery of one.
type event struct {
	at      uint32 // seconds after dayZero
	id      uint32 // duplicates share it
	session uint32
	method  uint16
	delay   uint16 // seconds until it is delivered
	denied  bool
	again   bool // a second delivery
}

// principalKind says how a principal signs.
type principalKind uint8

const (
	iamUser principalKind = iota
	ssoRole               // one person's sessions under a role that everyone shares
	role
	awsService
)

// principal is who, by the definition that farcall documents: one account, one user or role.
type principal struct {
	kind    principalKind
	account string
	name    string // user, role, or DNS name of the service
	session string // for ssoRole: the e-mail
	id      string // unique id, AIDA… or AROA…
	key     string // of a user
	machine bool
}

// session is what a caller shows with each call.
type session struct {
	principal uint32
	place     uint16
	label     uint32
	address   string
	agent     string
	key       string
	name      string
	account   string // that is called: a role may reach into others
	region    string
	began     uint32
	mfa       bool
}

// label says why something is not as usual.
type label struct {
	kind     string
	incident int // -1: benign
}

// incident is a planted intrusion.
type incident struct {
	kind       string
	principal  uint32
	place      string
	label      uint32
	first      uint32 // event time of its first call
	known      uint32 // when its first call to be delivered was delivered
	calls      int
	sameClient bool
	sameKey    bool
}

func (s *stream) place(name string) uint16 {
	if n, ok := s.placeIndex[name]; ok {
		return n
	}
	n := uint16(len(s.places))
	s.places = append(s.places, name)
	s.placeIndex[name] = n
	return n
}

func (s *stream) label(kind string, incident int) uint32 {
	s.labels = append(s.labels, label{kind, incident})
	return uint32(len(s.labels) - 1)
}

func (s *stream) labelOf(e *event) label { return s.labels[s.sessions[e.session].label] }

func (s *stream) judgedDays() float64 { return float64(s.days) - float64(s.judgedFrom)/day }

// Event ids carry the number of their event in their last twelve digits, scrambled by an odd multiplier, so that an alert
// that names one can be looked up without an index.
const (
	scramble   = 0x9E3779B97F4B
	unscramble = 0x393DEE219263 // scramble's inverse modulo 2^48
	low48      = 1<<48 - 1
)

func (s *stream) appendEventID(b []byte, id uint32) []byte {
	x := mix(s.seed, uint64(id))
	b = appendHex(b, x>>32, 8)
	b = append(b, '-')
	b = appendHex(b, x>>16, 4)
	b = append(b, "-4"...)
	b = appendHex(b, x, 3)
	b = append(b, "-a"...)
	b = appendHex(b, x>>12, 3)
	b = append(b, '-')
	return appendHex(b, (uint64(id)+1)*scramble&low48, 12)
}

// numberOf is the number of the event that an id names.
func (s *stream) numberOf(eventID string) (uint32, bool) {
	if len(eventID) != 36 {
		return 0, false
	}
	x, err := strconv.ParseUint(eventID[24:], 16, 64)
	if err != nil {
		return 0, false
	}
	id := x*unscramble&low48 - 1
	if id >= uint64(s.count) || string(s.appendEventID(nil, uint32(id))) != eventID {
		return 0, false
	}
	return uint32(id), true
}

func mix(a, b uint64) uint64 {
	x := a*0x9E3779B97F4A7C15 + b
	x ^= x >> 30
	x *= 0xBF58476D1CE4E5B9
	x ^= x >> 27
	x *= 0x94D049BB133111EB
	return x ^ x>>31
}

func appendHex(b []byte, x uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[x>>(4*i)&15])
	}
	return b
}

// The delivery delay is log-normal with a median of 191 s and a 99th percentile of 542 s, as a published trail has it.
const (
	delayMedian = 191
	delaySigma  = 0.448
	delayMax    = 608
)

func deliveryDelay(r *rand.Rand) uint16 {
	return uint16(min(delayMedian*math.Exp(delaySigma*r.NormFloat64()), delayMax))
}

// finish puts the events in order and delivers some of them twice.
func (s *stream) finish() error {
	if len(s.events) > maxEvents {
		return fmt.Errorf("world %s makes %d events, %d are the most: simulate fewer days or principals", s.world.name, len(s.events), maxEvents)
	}
	end := uint32(s.days) * day
	s.events = slices.DeleteFunc(s.events, func(e event) bool { return e.at >= end })
	slices.SortStableFunc(s.events, func(a, b event) int { return int(int64(a.at) - int64(b.at)) })
	r := rand.New(rand.NewPCG(s.seed, 'd'))
	for i := range s.events {
		s.events[i].id = uint32(i)
		s.events[i].delay = deliveryDelay(r)
	}
	s.count = uint32(len(s.events))
	if s.world.duplicates > 0 {
		all := make([]event, 0, len(s.events)+int(float64(len(s.events))*(s.world.duplicates+.01)))
		for _, e := range s.events {
			all = append(all, e)
			if r.Float64() < s.world.duplicates {
				e.delay, e.again = deliveryDelay(r), true
				all = append(all, e)
			}
		}
		s.events = all
	}
	for i := range s.incidents {
		s.incidents[i].first, s.incidents[i].known, s.incidents[i].calls = 1<<32-1, 1<<32-1, 0
	}
	for i := range s.events {
		e := &s.events[i]
		if n := s.labelOf(e).incident; n >= 0 {
			in := &s.incidents[n]
			in.first = min(in.first, e.at)
			in.known = min(in.known, e.at+uint32(e.delay))
			if !e.again {
				in.calls++
			}
		}
	}
	return nil
}
