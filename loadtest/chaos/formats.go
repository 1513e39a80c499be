package main

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"maps"
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

// alertRow is what the checker wants of an alert row.
type alertRow struct {
	version int64
	score   float64
	sent    bool
}

func parseAlertRow(row string) (r alertRow, err error) {
	b := []byte(row)
	if len(b) == 0 || b[0] != 1 {
		return r, errors.New("is not of version 1")
	}
	b = b[1:]
	number := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			b, err = nil, errShort
			return 0
		}
		b = b[n:]
		return v
	}
	skip := func(n int) {
		if n > len(b) {
			b, err = nil, errShort
			return
		}
		b = b[n:]
	}
	text := func() {
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			b, err = nil, errShort
			return
		}
		b = b[n+int(l):]
	}
	r.version = number()
	r.sent = len(b) > 0 && b[0] == 1
	skip(4)       // route, verdict, timely, outcome
	for range 3 { // first, last, dropped
		number()
	}
	text()                                        // lead
	text()                                        // organisation
	for n := number(); n > 0 && err == nil; n-- { // methods
		text()
		text()
		text()
		number()
		skip(3)
		number()
	}
	for i := range 3 { // clients, keys, networks
		for n := number(); n > 0 && err == nil; n-- {
			text()
			if i == 2 { // and its name
				text()
			}
		}
	}
	text() // overlap
	number()
	number()
	r.score = float64(number()) / 100
	if skip(8); err == nil && len(b) > 0 {
		err = errors.New("is too long")
	}
	return r, err
}
