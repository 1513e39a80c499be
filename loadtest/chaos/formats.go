package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// What follows is written from topics/FORMAT.md and state/FORMAT.md alone, so that a mistake in farcall's own codecs is not
// made twice. It reads what the checker needs, and writes the rows that an input must lead to.

// partitionOf is where Java's default partitioner puts a key: murmur2, positive, modulo the partitions.
func partitionOf(key string, partitions int32) int32 {
	const m = 0x5bd1e995
	b := []byte(key)
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		h = h*m ^ (k^k>>24)*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return int32((h^h>>15)&0x7fffffff) % partitions
}

// The outcomes of a presence.
const (
	allowed = 1
	denied  = 2
)

// presences are what one method did in one pane: by place and principal hash, the outcomes.
type presences map[string]map[uint64]byte

func (p presences) add(place, principal string, outcome byte) {
	if p[place] == nil {
		p[place] = map[uint64]byte{}
	}
	p[place][xxhash.Sum64String(principal)&^3] |= outcome
}

// span is the first and last pane in which a method was called from a place.
type span struct{ first, last int64 }

const (
	spelledOut = 32   // principals of a cell, at the most; one more makes it a counter
	wholeRow   = 1024 // size of a row past which it is split
	blocks     = 16
)

// rows are the changelog records of one pane of a method, by key.
func (p presences) rows(method string, pane int64) map[string]string {
	size := 2
	inBlock := map[byte][]string{}
	for _, place := range slices.Sorted(maps.Keys(p)) {
		size += 3 + len(place)
		if n := len(p[place]); n > spelledOut {
			size += 256
		} else {
			size += 8 * n
		}
		h := fnv.New32a()
		h.Write([]byte(place))
		block := byte(1 + h.Sum32()%blocks)
		inBlock[block] = append(inBlock[block], place)
	}
	if size <= wholeRow {
		return map[string]string{paneKey(method, pane, 0): p.block(slices.Sorted(maps.Keys(p)))}
	}
	rows := map[string]string{}
	for block, places := range inBlock {
		rows[paneKey(method, pane, block)] = p.block(places)
	}
	return rows
}

func paneKey(method string, pane int64, block byte) string {
	b := append([]byte("w"+method), 0)
	return string(append(binary.BigEndian.AppendUint64(b, uint64(pane)^1<<63), block))
}

func (p presences) block(places []string) string {
	b := []byte{1}
	b = binary.AppendUvarint(b, uint64(len(places)))
	for _, place := range places {
		b = appendText(b, place)
		who := p[place]
		if len(who) <= spelledOut {
			b = append(b, byte(len(who)))
			for _, hash := range slices.Sorted(maps.Keys(who)) {
				b = binary.BigEndian.AppendUint64(b, hash|uint64(who[hash]))
			}
			continue
		}
		var words [2][16]uint64
		for hash, outcome := range who {
			bit := hash >> 2 % 1024
			if outcome&allowed != 0 {
				words[0][bit/64] |= 1 << (bit % 64)
			}
			if outcome&denied != 0 {
				words[1][bit/64] |= 1 << (bit % 64)
			}
		}
		b = append(b, 0xff)
		for _, half := range words {
			for _, w := range half {
				b = binary.BigEndian.AppendUint64(b, w)
			}
		}
	}
	return string(b)
}

// seenRow is the value of a method's seen row.
func seenRow(places map[string]span) string {
	b := []byte{1}
	b = binary.AppendUvarint(b, uint64(len(places)))
	for _, place := range slices.Sorted(maps.Keys(places)) {
		b = appendText(b, place)
		b = binary.AppendVarint(b, places[place].first)
		b = binary.AppendVarint(b, places[place].last)
	}
	return string(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errShort = errors.New("ends early")

// metaInput is the input offset of a meta row.
func metaInput(row string) (int64, error) {
	if len(row) == 0 || row[0] != 1 {
		return 0, errors.New("is not of version 1")
	}
	at, n := binary.Varint([]byte(row[1:]))
	if n <= 0 {
		return 0, errShort
	}
	return at, nil
}

// metaKey is the key of a meta row.
const metaKey = "\x00m"

// trail is which of 64 units of time up to the last one something was seen in.
type trail struct {
	end  int64
	bits uint64
}

// trailOf makes the trail of panes, in units of so many seconds.
func trailOf(panes map[int64]bool, unit int64) (t trail) {
	for pane := range panes {
		t.end = max(t.end, pane/unit)
	}
	for pane := range panes {
		if back := t.end - pane/unit; back < 64 {
			t.bits |= 1 << back
		}
	}
	return t
}

// seenWith is one presence of a profile row.
type seenWith struct {
	name        string
	first, last int64
	days, panes trail
	hours       *[3]uint64 // of a place alone
}

// profile is a profile row: places, clients, keys and networks, and what people found.
type profile struct {
	since, last       int64
	days              trail
	lists             [4][]seenWith
	accepted, refused []string
	stayed            int64
}

func (p profile) row() string {
	b := []byte{2}
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	word := func(w uint64) { b = binary.LittleEndian.AppendUint64(b, w) }
	trail := func(t trail) {
		number(t.end)
		word(t.bits)
	}
	number(p.since)
	number(p.last)
	trail(p.days)
	for _, list := range p.lists {
		number(int64(len(list)))
		for _, s := range list {
			b = appendText(b, s.name)
			number(s.first)
			number(s.last)
			trail(s.days)
			trail(s.panes)
			if s.hours != nil {
				for _, w := range s.hours {
					word(w)
				}
			}
		}
	}
	for _, list := range [...][]string{p.accepted, p.refused} {
		number(int64(len(list)))
		for _, place := range list {
			b = appendText(b, place)
		}
	}
	number(p.stayed)
	return string(b)
}

// stay is one of a stays row.
type stay struct {
	place            string
	day, first, last int64
	alerted, settled bool
	facts            string // its alert row, or nothing
}

func parseStays(row string) (stays []stay, err error) {
	r := rowReader{b: []byte(row)}
	r.version(2)
	for range r.count() {
		stays = append(stays, stay{r.text(), r.number(), r.number(), r.number(), r.truth(), r.truth(), r.text()})
	}
	return stays, r.end()
}

// fact is one method of an alert row.
type fact struct {
	name, id, account string
	score             int64 // hundredths
	level, outcome    byte
	isNew             bool
	first             int64
}

// alertRow is an alert row, but for the hash of its reasons.
type alertRow struct {
	version              int64
	route, verdict       byte
	timely               bool
	outcome              byte
	first, last, dropped int64
	lead, organisation   anomaly
	methods              []fact
	clients, keys        []string
	networks             int
	elsewhere            string
	score                float64
}

func (a alertRow) sent() bool { return a.route == 1 }

// quiet says whether the row stands with its stay.
func (a alertRow) quiet() bool {
	return a.route == 0 && a.verdict == 0 && a.dropped == 0 && len(a.methods) == 0 && a.organisation.method == ""
}

func parseAlertRow(row string) (a alertRow, err error) {
	r := rowReader{b: []byte(row)}
	r.version(1)
	a.version = r.number()
	a.route, a.verdict, a.timely, a.outcome = r.byte(), r.byte(), r.truth(), r.byte()
	a.first, a.last, a.dropped = r.number(), r.number(), r.number()
	for _, to := range [...]*anomaly{&a.lead, &a.organisation} {
		if text := r.text(); text != "" {
			if *to, err = parseAnomaly(text); err != nil {
				return a, err
			}
		}
	}
	for range r.count() {
		a.methods = append(a.methods, fact{r.text(), r.text(), r.text(), r.number(), r.byte(), r.byte(), r.truth(), r.number()})
	}
	for _, to := range [...]*[]string{&a.clients, &a.keys} {
		for range r.count() {
			*to = append(*to, r.text())
		}
	}
	a.networks = int(r.count())
	for range 2 * a.networks {
		r.text()
	}
	a.elsewhere = r.text()
	r.number()
	r.number()
	a.score = float64(r.number()) / 100
	r.skip(8)
	return a, r.end()
}

// anomaly is what the checker wants of an anomaly record, most of it of the visit in it.
type anomaly struct {
	score                    float64
	method, principal, place string
	pane                     int64
	outcome                  byte
	millis                   int64
	at                       at
	id                       string
}

func parseAnomaly(record string) (a anomaly, err error) {
	r := rowReader{b: []byte(record)}
	if r.byte() != 3 {
		return a, errors.New("is no anomaly")
	}
	r.version(1)
	a.score = math.Float64frombits(r.word())
	r.skip(8 + 1) // probability, level
	for range 9 {
		r.number()
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		r.text()
		r.number()
	}
	visit := rowReader{b: []byte(r.text())}
	if err := r.end(); err != nil {
		return a, err
	}
	r = visit
	if r.byte() != 1 {
		return a, errors.New("holds no visit")
	}
	r.version(1)
	r.text() // scope
	a.method, a.principal, a.place = r.text(), r.text(), r.text()
	a.pane, a.outcome = r.number(), r.byte()&3
	r.number() // horizon
	a.millis = r.number()
	r.number() // delivered
	a.at = at{int32(r.number()), r.number()}
	r.number() // byte
	r.skip(1)  // flags
	a.id = r.text()
	return a, r.err
}

// rowReader reads fields. After a fault it returns zeros, and end says so.
type rowReader struct {
	b   []byte
	err error
}

func (r *rowReader) skip(n int) []byte {
	if n > len(r.b) {
		r.b, r.err = nil, errShort
		return make([]byte, n)
	}
	skipped := r.b[:n]
	r.b = r.b[n:]
	return skipped
}

func (r *rowReader) version(want byte) {
	if v := r.byte(); v != want {
		r.b, r.err = nil, fmt.Errorf("is of version %d, not %d", v, want)
	}
}

func (r *rowReader) byte() byte   { return r.skip(1)[0] }
func (r *rowReader) truth() bool  { return r.byte() != 0 }
func (r *rowReader) word() uint64 { return binary.BigEndian.Uint64(r.skip(8)) }

func (r *rowReader) number() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errShort
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errShort
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count is a number of things that take a byte each at the least.
func (r *rowReader) count() int64 {
	n := r.number()
	if n < 0 || n > int64(len(r.b)) {
		r.b, r.err = nil, errShort
		return 0
	}
	return n
}

func (r *rowReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.err = nil, errShort
		return ""
	}
	return string(r.skip(int(n)))
}

func (r *rowReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errors.New("is too long")
	}
	return r.err
}
