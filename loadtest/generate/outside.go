package generate

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/farcall/farcall/loadtest/facts"
)

// outside is what exists without the organisation.
type outside struct {
	countries []string            // in which people live, the most populous first
	far       []string            // in which nobody does
	networks  map[string][]string // /24 networks of a country
	six       map[string][]string // /64 networks of a country
	regions   []string
	amazon    map[string][]netip.Prefix // IPv4, by region
}

// homes are where an international organisation has most of its people; a few live in each of the next countries of the list.
var homes = []string{"US", "DE", "GB", "IN", "NL", "FR", "CA", "AU", "PL", "ES", "IE", "BR", "JP", "SG", "IL", "SE", "IT", "CH", "PT", "RO"}

// busy are the regions that machines run in, the busiest first.
var busy = []string{"us-east-1", "eu-central-1", "eu-west-1", "us-west-2", "ap-southeast-1", "us-east-2", "ap-northeast-1", "eu-west-2"}

func readOutside() *outside {
	w := &outside{countries: homes, regions: busy, networks: map[string][]string{}, six: map[string][]string{},
		amazon: map[string][]netip.Prefix{}}
	facts.Lines("networks.txt", func(f []string) {
		for _, n := range f[1:] {
			if strings.Contains(n, ":") {
				w.six[f[0]] = append(w.six[f[0]], n)
			} else {
				w.networks[f[0]] = append(w.networks[f[0]], n)
			}
		}
	})
	var codes []string
	for code, n := range w.networks {
		if len(n) >= 4 && !slices.Contains(homes, code) {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	w.countries, w.far = slices.Concat(homes, codes[:20]), codes[20:]
	facts.Lines("amazon.txt", func(f []string) {
		for _, p := range f[1:] {
			if p := netip.MustParsePrefix(p); p.Addr().Is4() {
				w.amazon[f[0]] = append(w.amazon[f[0]], p)
			}
		}
	})
	return w
}

// home is a country of one of the organisation's people: a third live in the first, and each next has a sixth less.
func (w *outside) home(h uint64) string {
	return w.countries[min(int(-math.Log(1-unit(h))*6), len(w.countries)-1)]
}

// appendAddress appends an address in a country: one in ten is of IPv6, where a network is known.
func (w *outside) appendAddress(dst []byte, country string, h uint64) []byte {
	if six := w.six[country]; len(six) > 0 && h%10 == 0 {
		x := mix(h, 6)
		a := netip.MustParseAddr(fmt.Sprintf("%s:%x:%x:%x:%x", six[below(h, len(six))], x>>48, x>>32&0xffff, x>>16&0xffff, x&0xffff))
		return a.AppendTo(dst)
	}
	n := w.networks[country]
	dst = append(append(dst, n[below(h, len(n))]...), '.')
	return strconv.AppendUint(dst, 1+h%254, 10)
}

// appendInstance appends an address that Amazon owns in a region.
func (w *outside) appendInstance(dst []byte, region string, h uint64) []byte {
	p := w.amazon[region][below(h, len(w.amazon[region]))]
	b := p.Addr().As4()
	host := uint32(mix(h, 4)) >> p.Bits()
	for i := range b {
		b[i] |= byte(host >> (24 - 8*i))
	}
	return netip.AddrFrom4(b).AppendTo(dst)
}
