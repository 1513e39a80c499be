package geo

import (
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// awsData is written by genaws; data/README.md describes it.
//
//go:embed data/aws-prefixes.txt.gz
var awsData []byte

// maxAWSListBytes bounds what the embedded list may expand to: nearly five times what it does today.
const maxAWSListBytes = 512 << 10

// ownList is the embedded list of AWS's ranges, parsed once and shared by every Locator.
var ownList = sync.OnceValues(func() (*awsRanges, error) { return parseAWSRanges(awsData) })

// awsRanges finds the region of an address that AWS owns.
type awsRanges struct {
	date   string // day of AWS's publication, "2026-08-22"
	places []place
	v4     ranges[uint32]
	v6     ranges[uint64] // by the upper half of the address
	narrow []narrowRange  // the few IPv6 prefixes longer than 64 bits
}

type narrowRange struct {
	hi, first, last uint64 // addresses hi:first to hi:last
	place           placeID
}

// find returns the place of an address that AWS owns, or noPlace.
func (a *awsRanges) find(addr netip.Addr) placeID {
	if addr.Is4() {
		b := addr.As4()
		return a.v4.find(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	hi := binary.BigEndian.Uint64(b[:8])
	if !a.v6.maybe(hi) {
		return noPlace
	}
	lo := binary.BigEndian.Uint64(b[8:])
	for i := range a.narrow {
		if r := &a.narrow[i]; r.hi == hi && r.first <= lo && lo <= r.last {
			return r.place
		}
	}
	return a.v6.find(hi)
}

// ranges is a set of disjoint ranges of addresses in ascending order, each with its place. One bit for each value of
// the upper 16 bits turns most addresses away without a search.
type ranges[K uint32 | uint64] struct {
	shift       int // from a key to its upper 16 bits
	some        [1 << 16 / 64]uint64
	first, last []K
	place       []placeID
}

func (r *ranges[K]) maybe(key K) bool {
	top := uint16(key >> r.shift)
	return r.some[top>>6]>>(top&63)&1 != 0
}

func (r *ranges[K]) find(key K) placeID {
	if !r.maybe(key) {
		return noPlace
	}
	lo, hi := 0, len(r.first)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if r.first[mid] <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || key > r.last[lo-1] {
		return noPlace
	}
	return r.place[lo-1]
}

// block is one prefix of the list. A block lies inside another or they are disjoint.
type block[K uint32 | uint64] struct {
	first, last K
	place       placeID
}

// newRanges flattens nested blocks, of which the smallest one that holds an address says its place, and joins
// neighbours of one place.
func newRanges[K uint32 | uint64](shift int, blocks []block[K]) ranges[K] {
	slices.SortFunc(blocks, func(a, b block[K]) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last))
	})
	r := ranges[K]{shift: shift}
	add := func(first, last K, p placeID) {
		if n := len(r.first); n > 0 && r.place[n-1] == p && r.last[n-1]+1 == first {
			r.last[n-1] = last
			return
		}
		r.first, r.last, r.place = append(r.first, first), append(r.last, last), append(r.place, p)
	}
	var open []block[K] // the blocks around the current position, the innermost last
	var next K          // the first address that no range holds yet
	closeUpTo := func(done func(block[K]) bool) {
		for len(open) > 0 && done(open[len(open)-1]) {
			b := open[len(open)-1]
			open = open[:len(open)-1]
			if next <= b.last {
				add(next, b.last, b.place)
				next = b.last + 1
			}
		}
	}
	for _, b := range blocks {
		closeUpTo(func(o block[K]) bool { return o.last < b.first })
		if len(open) > 0 && next < b.first {
			outer := open[len(open)-1]
			add(next, b.first-1, outer.place)
		}
		next = b.first
		open = append(open, b)
		for top := b.first >> shift; top <= b.last>>shift; top++ {
			r.some[top>>6] |= 1 << (top & 63)
		}
	}
	closeUpTo(func(block[K]) bool { return true })
	return r
}

// parseAWSRanges reads a list as genaws writes it: a line "aws-prefixes 1 2026-08-22", then for each region a line with
// its name and its prefixes on lines of their own.
func parseAWSRanges(compressed []byte) (*awsRanges, error) {
	zr, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("list of AWS prefixes: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(zr, maxAWSListBytes+1))
	if err != nil {
		return nil, fmt.Errorf("list of AWS prefixes: %w", err)
	}
	if len(text) > maxAWSListBytes {
		return nil, fmt.Errorf("list of AWS prefixes: more than %d bytes", maxAWSListBytes)
	}
	header, body, _ := strings.Cut(string(text), "\n")
	date, ok := strings.CutPrefix(header, "aws-prefixes 1 ")
	if !ok {
		return nil, fmt.Errorf("list of AWS prefixes: first line is %.40q", header)
	}
	a := &awsRanges{date: date}
	var v4 []block[uint32]
	var v6 []block[uint64]
	var region placeID
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.Contains(line, "/") {
			region = firstRegion + placeID(len(a.places))
			a.places = append(a.places, place{name: "aws:" + strings.ToLower(line)})
			continue
		}
		p, err := netip.ParsePrefix(line)
		if err != nil {
			return nil, fmt.Errorf("list of AWS prefixes: %w", err)
		}
		if region == noPlace {
			return nil, fmt.Errorf("list of AWS prefixes: %s has no region", p)
		}
		if kind, addr := readAddress(p.Addr().String()); kind != Public || addr != p.Masked().Addr() {
			return nil, fmt.Errorf("list of AWS prefixes: %s is no public prefix", p)
		}
		if p.Addr().Is4() {
			b := p.Addr().As4()
			first := binary.BigEndian.Uint32(b[:])
			v4 = append(v4, block[uint32]{first, first | ^uint32(0)>>p.Bits(), region})
			continue
		}
		b := p.Addr().As16()
		hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		if p.Bits() <= 64 {
			v6 = append(v6, block[uint64]{hi, hi | ^uint64(0)>>p.Bits(), region})
		} else {
			a.narrow = append(a.narrow, narrowRange{hi, lo, lo | ^uint64(0)>>(p.Bits()-64), region})
		}
	}
	if len(v4) == 0 || len(v6) == 0 {
		return nil, errors.New("list of AWS prefixes: no IPv4 or no IPv6 prefix")
	}
	a.v4, a.v6 = newRanges(16, v4), newRanges(48, v6)
	for i := range a.narrow {
		top := uint16(a.narrow[i].hi >> 48)
		a.v6.some[top>>6] |= 1 << (top & 63)
	}
	return a, nil
}
