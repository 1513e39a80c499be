package geo

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"go4.org/netipx"
)

// TestIndexAgainstTree holds the index of a database against the tree that it was made from, at both edges of each network, beside
// them, within them and anywhere: of databases of all sizes of records, of one family and of both, with and without the IPv4
// networks among those of IPv6 again, and with networks that are finer than the index.
func TestIndexAgainstTree(t *testing.T) {
	for _, size := range []int{24, 28, 32} {
		for _, version := range []int{4, 6} {
			for _, plain := range []bool{false, true} {
				t.Run(fmt.Sprintf("IPv%d, %d bits, without aliases %t", version, size, plain), func(t *testing.T) {
					r := rand.New(rand.NewPCG(uint64(size), uint64(version)))
					tree, err := mmdbwriter.New(mmdbwriter.Options{
						DatabaseType: "GeoLite2-Country", BuildEpoch: buildEpoch, RecordSize: size, IPVersion: version, DisableIPv4Aliasing: plain,
					})
					if err != nil {
						t.Fatal(err)
					}
					var all []netip.Prefix
					insert := func(addr netip.Addr, bits int) {
						p, _ := addr.Prefix(bits)
						// A network around a reserved one is refused.
						if tree.Insert(netipx.PrefixIPNet(p), nested(countries[r.IntN(len(countries))].code)) == nil {
							all = append(all, p)
						}
					}
					for range 3000 {
						insert(randomIPv4(r), 3+r.IntN(30))
						if version == 6 {
							insert(randomIPv6(r), 20+r.IntN(109))
							insert(netip.MustParseAddr("2a00::").Next(), 100+r.IntN(29))
						}
					}
					var buf bytes.Buffer
					if _, err := tree.WriteTo(&buf); err != nil {
						t.Fatal(err)
					}
					m, err := openMMDB(buf.Bytes())
					if err != nil {
						t.Fatal(err)
					}
					addresses := []netip.Addr{netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255")}
					if version == 6 {
						for _, a := range []string{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002:5102:458e::1", "2001:0:5102:458e::", "64:ff9b::5102:458e"} {
							addresses = append(addresses, netip.MustParseAddr(a))
						}
					}
					for _, p := range all {
						last := lastOf(p)
						addresses = append(addresses, p.Addr(), p.Addr().Prev(), last, last.Next(), randomIn(r, p))
					}
					for range 20_000 {
						addresses = append(addresses, randomIPv4(r), randomIPv6(r))
					}
					finerOnes, countries := 0, 0
					for _, addr := range addresses {
						if !addr.IsValid() || version == 4 && !addr.Is4() {
							continue
						}
						want := noPlace
						if found := m.reader.Lookup(addr); found.Found() {
							want = m.countries[uint32(found.Offset())]
						}
						v := m.index.find(addr)
						if v == finer {
							finerOnes++
						} else if placeID(v) != want {
							t.Fatalf("%s: %d in the index, %d in the tree", addr, v, want)
						}
						if got := m.country(addr); got != want {
							t.Fatalf("%s: %d, want %d", addr, got, want)
						}
						if want != noPlace {
							countries++
						}
					}
					if countries < 10_000 || finerOnes > len(addresses)/3 || version == 6 && finerOnes == 0 {
						t.Errorf("of %d addresses, %d had a country, and %d went to the tree", len(addresses), countries, finerOnes)
					}
				})
			}
		}
	}
}

// TestRanges holds ranges against a search through all of them, with runs close together and far apart, up to both ends.
func TestRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, topBits := range []int{0, 5, 16} {
		for n := range 60 {
			var starts []uint64
			for range n {
				key := r.Uint64() >> r.IntN(64)
				if r.IntN(3) == 0 {
					key = ^key
				}
				starts = append(starts, key)
			}
			slices.Sort(starts)
			starts = slices.Compact(starts)
			b := &runs[uint64]{elsewhere: finer}
			type given struct {
				first, last uint64
				value       uint32
			}
			var all []given
			for i, first := range starts {
				last := ^uint64(0)
				if i+1 < len(starts) {
					last = starts[i+1] - 1
				}
				if r.IntN(2) == 0 {
					last -= r.Uint64N((last-first)/2 + 1)
				}
				all = append(all, given{first, last, r.Uint32N(3)})
				b.add(first, last, all[len(all)-1].value)
				b.add(first, first, 7) // comes too late
			}
			x := newRanges(b, topBits)
			keys := []uint64{0, 1, ^uint64(0)}
			for _, g := range all {
				keys = append(keys, g.first, g.first-1, g.last, g.last+1)
			}
			for _, key := range keys {
				want := uint32(finer)
				for _, g := range all {
					if g.first <= key && key <= g.last {
						want = g.value
					}
				}
				if got := x.find(key); got != want {
					t.Fatalf("%d top bits, %d runs: %x has %d, want %d", topBits, n, key, got, want)
				}
			}
		}
	}
}
