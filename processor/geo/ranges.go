package geo

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// ranges finds the value of a key, where runs of neighbouring keys have the same. A look-up is two or three reads, each of which
// may miss the processor's caches, instead of one for each bit of a tree, and hardly a branch that can't be foreseen: the values of
// the keys' next bits lead to the one or few runs that are left to search.
type ranges[K uint32 | uint64] struct {
	topBits, topShift int // of a key, and from it to them
	tops              []top
	slots             []uint32 // the run that holds the first key of each slot
	runs              []run[K] // in ascending order; the first starts at 0
}

// top is a part of the keys that is cut into slots of equal size.
type top struct {
	slot  uint32 // its first
	shift uint32 // from a key without its top bits, moved to the left, to the number of its slot among those of this part
}

// run is a run of keys that ends before the next.
type run[K uint32 | uint64] struct {
	first K
	value uint32
}

// runs collects runs in ascending order.
type runs[K uint32 | uint64] struct {
	all       []run[K]
	next      K // no key below it may be added any more; 0 behind the last of all
	elsewhere uint32
}

// add gives the keys from first to last a value, but for those that have one already.
func (r *runs[K]) add(first, last K, value uint32) {
	if first < r.next || r.next == 0 && len(r.all) > 0 {
		return
	}
	if first > r.next {
		r.put(r.next, r.elsewhere)
	}
	r.put(first, value)
	r.next = last + 1
}

func (r *runs[K]) put(first K, value uint32) {
	if n := len(r.all); n == 0 || r.all[n-1].value != value {
		r.all = append(r.all, run[K]{first, value})
	}
}

// maxSlotBits bounds what slots take where all runs lie close together: 4 bytes each.
const maxSlotBits = 22

// newRanges makes ranges of what was added. Keys are cut by their topBits uppermost bits first: IPv6 addresses lie in few of those
// parts, and fill each of them on another level.
func newRanges[K uint32 | uint64](r *runs[K], topBits int) ranges[K] {
	if r.next > 0 || len(r.all) == 0 {
		r.put(r.next, r.elsewhere)
	}
	width := bits.Len64(uint64(^K(0)))
	out := ranges[K]{topBits: topBits, topShift: width - topBits, tops: make([]top, 1<<topBits), runs: r.all}
	at := 0 // the run that holds the current key
	for i := range out.tops {
		begin := K(i) << (width - topBits) // 0 for the only one
		end := at
		for end+1 < len(r.all) && (i == len(out.tops)-1 || r.all[end+1].first < K(i+1)<<(width-topBits)) {
			end++
		}
		slotBits := min(bits.Len(uint(end-at)), maxSlotBits, width-topBits)
		out.tops[i] = top{uint32(len(out.slots)), uint32(width - slotBits)}
		for s := range 1 << slotBits {
			key := begin + K(s)<<(width-slotBits)>>topBits
			for at+1 < len(r.all) && r.all[at+1].first <= key {
				at++
			}
			out.slots = append(out.slots, uint32(at))
		}
		at = end
	}
	out.slots = append(out.slots, uint32(len(r.all)-1))
	return out
}

func (r *ranges[K]) find(key K) uint32 {
	t := &r.tops[key>>r.topShift]
	slot := t.slot + uint32(key<<r.topBits>>t.shift)
	lo, hi := r.slots[slot], r.slots[slot+1]
	for lo < hi {
		if mid := (lo + hi + 1) >> 1; r.runs[mid].first <= key {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return r.runs[lo].value
}

// asIPv4 is an IPv4 address as a number.
func asIPv4(addr netip.Addr) uint32 {
	b := addr.As4()
	return binary.BigEndian.Uint32(b[:])
}

// asIPv6 is an IPv6 address as two.
func asIPv6(addr netip.Addr) (hi, lo uint64) {
	b := addr.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

const (
	topBitsIPv4 = 0
	topBitsIPv6 = 12 // 2a00::/12 and its like are what registries get
)

// finer is the value of an IPv6 key, which is the upper half of an address, where the lower half matters too, and of any address
// whose value ranges don't know.
const finer = 1<<32 - 1

// addressIndex finds the value of an address, or finer.
type addressIndex struct {
	v4 ranges[uint32]
	v6 ranges[uint64]
}

func (x *addressIndex) find(addr netip.Addr) uint32 {
	if addr.Is4() {
		return x.v4.find(asIPv4(addr))
	}
	hi, _ := asIPv6(addr)
	return x.v6.find(hi)
}

// addressRuns collects networks in the order of their addresses.
type addressRuns struct {
	v4 runs[uint32]
	v6 runs[uint64]
}

func newAddressRuns() *addressRuns {
	return &addressRuns{runs[uint32]{elsewhere: finer}, runs[uint64]{elsewhere: finer}}
}

func (r *addressRuns) add(p netip.Prefix, value uint32) {
	switch addr := p.Addr(); {
	case !p.IsValid():
	case addr.Is4():
		first := asIPv4(addr)
		r.v4.add(first, first|^uint32(0)>>p.Bits(), value)
	case p.Bits() > 64:
		hi, _ := asIPv6(addr)
		r.v6.add(hi, hi, finer)
	default:
		hi, _ := asIPv6(addr)
		r.v6.add(hi, hi|^uint64(0)>>p.Bits(), value)
	}
}

func (r *addressRuns) index() addressIndex {
	return addressIndex{newRanges(&r.v4, topBitsIPv4), newRanges(&r.v6, topBitsIPv6)}
}
