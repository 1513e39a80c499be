package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/farcall/farcall/loadtest/facts"
)

// country is what a world knows of a country.
type country struct {
	lat, lon float64
	offset   int // hours that its clock is ahead of UTC
	networks []string
	six      []string // /64 networks
}

// method is one API method.
type method struct {
	service, action string
	calls           int // how often published records have it: its weight
	reads           bool
}

func (m method) name() string { return m.service + ":" + m.action }

// attack is a method that intrusions use.
type attack struct {
	method int // in lists.methods
	tactic string
	seen   bool // in an intrusion that was published
}

// lists is all that worlds are drawn from. It is read once and never changed.
type lists struct {
	countries map[string]*country
	codes     []string // of the countries, sorted
	amazon    map[string][]netip.Prefix
	methods   []method
	byName    map[string]int
	services  map[string][]int
	attacks   []attack
}

func readLists() *lists {
	l := &lists{countries: map[string]*country{}, amazon: map[string][]netip.Prefix{}, byName: map[string]int{}, services: map[string][]int{}}
	facts.Lines("countries.txt", func(f []string) {
		c := &country{lat: number(f[1]), lon: number(f[2]), offset: int(number(f[3]))}
		l.countries[f[0]] = c
		l.codes = append(l.codes, f[0])
	})
	facts.Lines("networks.txt", func(f []string) {
		c := l.countries[f[0]]
		if c == nil {
			return
		}
		for _, n := range f[1:] {
			if strings.Contains(n, ":") {
				c.six = append(c.six, n)
			} else {
				c.networks = append(c.networks, n)
			}
		}
	})
	slices.Sort(l.codes)
	facts.Lines("amazon.txt", func(f []string) {
		for _, p := range f[1:] {
			l.amazon[f[0]] = append(l.amazon[f[0]], netip.MustParsePrefix(p))
		}
	})
	facts.Lines("methods.txt", func(f []string) { l.add(method{f[0], f[1], int(number(f[2])), f[3] == "1"}) })
	facts.Lines("attacks.txt", func(f []string) {
		n := l.add(method{f[0], f[1], 0, f[3] == "1"})
		tactic, _, _ := strings.Cut(f[4], ";")
		l.attacks = append(l.attacks, attack{n, tactic, f[2] == "1"})
	})
	return l
}

func (l *lists) add(m method) int {
	if n, ok := l.byName[m.name()]; ok {
		return n
	}
	n := len(l.methods)
	l.methods = append(l.methods, m)
	l.byName[m.name()] = n
	l.services[m.service] = append(l.services[m.service], n)
	return n
}

// method is the number of a method that the code names.
func (l *lists) method(name string) uint16 {
	n, ok := l.byName[name]
	if !ok {
		panic("no list has the method " + name)
	}
	return uint16(n)
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err) // the list is part of the binary
	}
	return v
}

// host is an IPv4 address of the country.
func (c *country) host(r *rand.Rand) string {
	return pick(r, c.networks) + "." + strconv.Itoa(1+r.IntN(254))
}

// host6 is an IPv6 address of the country, or an IPv4 address where no network is known.
func (c *country) host6(r *rand.Rand) string {
	if len(c.six) == 0 {
		return c.host(r)
	}
	x := r.Uint64()
	text := fmt.Sprintf("%s:%x:%x:%x:%x", pick(r, c.six), x>>48, x>>32&0xffff, x>>16&0xffff, x&0xffff)
	return netip.MustParseAddr(text).String()
}

// host is an IPv4 address of a country.
func (l *lists) host(r *rand.Rand, code string) string { return l.countries[code].host(r) }

// instance is an address that Amazon owns in a region.
func (l *lists) instance(r *rand.Rand, region string, six bool) string {
	for {
		p := l.amazon[region][r.IntN(len(l.amazon[region]))]
		if p.Addr().Is6() != six {
			continue
		}
		b := p.Addr().AsSlice()
		for bit := p.Bits(); bit < len(b)*8; bit++ {
			if r.IntN(2) == 1 {
				b[bit/8] |= 1 << (7 - bit%8)
			}
		}
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	}
}

// kilometres between the middles of two countries, on a sphere.
func (l *lists) kilometres(a, b string) float64 {
	p, q := l.countries[a], l.countries[b]
	const radian = math.Pi / 180
	h := func(x float64) float64 { s := math.Sin(x / 2); return s * s }
	x := h((q.lat-p.lat)*radian) + math.Cos(p.lat*radian)*math.Cos(q.lat*radian)*h((q.lon-p.lon)*radian)
	return 2 * 6371 * math.Asin(math.Sqrt(x))
}

// nearest are the n countries nearest to one, itself left out.
func (l *lists) nearest(code string, n int) []string {
	near := slices.DeleteFunc(slices.Clone(l.codes), func(c string) bool { return c == code })
	slices.SortStableFunc(near, func(a, b string) int {
		return int(l.kilometres(code, a) - l.kilometres(code, b))
	})
	return near[:n]
}

// countryOf says in which country a region lies.
var countryOf = map[string]string{
	"af-south-1": "ZA", "ap-east-1": "HK", "ap-northeast-1": "JP", "ap-northeast-2": "KR", "ap-south-1": "IN", "ap-southeast-1": "SG",
	"ap-southeast-2": "AU", "ca-central-1": "CA", "eu-central-1": "DE", "eu-central-2": "CH", "eu-north-1": "SE", "eu-south-1": "IT",
	"eu-south-2": "ES", "eu-west-1": "IE", "eu-west-2": "GB", "eu-west-3": "FR", "il-central-1": "IL", "me-central-1": "AE",
	"sa-east-1": "BR", "us-east-1": "US", "us-east-2": "US", "us-west-1": "US", "us-west-2": "US",
}

// countryOfPlace is the country of a place: of a region that in which it lies.
func countryOfPlace(place string) string {
	if region, ok := strings.CutPrefix(place, "aws:"); ok {
		return countryOf[region]
	}
	return place
}
