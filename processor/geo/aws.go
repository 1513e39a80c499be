package geo

import (
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
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
	index  addressIndex  // of placeIDs
	narrow []narrowRange // the few IPv6 prefixes longer than 64 bits
}

type narrowRange struct {
	hi, first, last uint64 // addresses hi:first to hi:last
	place, around   placeID
}

// find returns the place of an address that AWS owns, or noPlace.
func (a *awsRanges) find(addr netip.Addr) placeID {
	v := a.index.find(addr)
	if v == finer {
		return a.findNarrow(addr)
	}
	return placeID(v)
}

func (a *awsRanges) findNarrow(addr netip.Addr) placeID {
	around := noPlace
	hi, lo := asIPv6(addr)
	for i := range a.narrow {
		r := &a.narrow[i]
		if r.hi != hi {
			continue
		}
		if r.first <= lo && lo <= r.last {
			return r.place
		}
		around = r.around
	}
	return around
}

// block is one prefix of the list. A block lies inside another or they are disjoint.
type block[K uint32 | uint64] struct {
	first, last K
	value       uint32
}

// flatten turns nested blocks, of which the smallest one that holds a key says its value, into ranges. Elsewhere it is noPlace.
func flatten[K uint32 | uint64](topBits int, blocks []block[K]) ranges[K] {
	slices.SortFunc(blocks, func(a, b block[K]) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last))
	})
	flat := &runs[K]{elsewhere: uint32(noPlace)}
	var open []block[K] // the blocks around the current position, the innermost last
	var next K          // the first key that no run holds yet
	closeUpTo := func(done func(block[K]) bool) {
		for len(open) > 0 && done(open[len(open)-1]) {
			b := open[len(open)-1]
			open = open[:len(open)-1]
			if next <= b.last {
				flat.add(next, b.last, b.value)
				next = b.last + 1
			}
		}
	}
	for _, b := range blocks {
		closeUpTo(func(o block[K]) bool { return o.last < b.first })
		if len(open) > 0 && next < b.first {
			flat.add(next, b.first-1, open[len(open)-1].value)
		}
		next = b.first
		open = append(open, b)
	}
	closeUpTo(func(block[K]) bool { return true })
	return newRanges(flat, topBits)
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
			first := asIPv4(p.Addr())
			v4 = append(v4, block[uint32]{first, first | ^uint32(0)>>p.Bits(), uint32(region)})
			continue
		}
		hi, lo := asIPv6(p.Addr())
		if p.Bits() <= 64 {
			v6 = append(v6, block[uint64]{hi, hi | ^uint64(0)>>p.Bits(), uint32(region)})
		} else {
			a.narrow = append(a.narrow, narrowRange{hi: hi, first: lo, last: lo | ^uint64(0)>>(p.Bits()-64), place: region})
		}
	}
	if len(v4) == 0 || len(v6) == 0 {
		return nil, errors.New("list of AWS prefixes: no IPv4 or no IPv6 prefix")
	}
	a.index = addressIndex{flatten(topBitsIPv4, v4), flatten(topBitsIPv6, v6)}
	if len(a.narrow) > 0 {
		slices.SortFunc(a.narrow, func(a, b narrowRange) int { return cmp.Compare(b.first, a.first) }) // of nested ones, the inner first
		for i := range a.narrow {
			r := &a.narrow[i]
			r.around = placeID(a.index.v6.find(r.hi))
			v6 = append(v6, block[uint64]{r.hi, r.hi, finer})
		}
		a.index.v6 = flatten(topBitsIPv6, v6)
	}
	return a, nil
}
