package geo

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// Source addresses as they stand in records, and what must be made of them.
var addresses = []struct {
	address string
	kind    Kind
	located string // the address that may be looked up
}{
	{"81.2.69.142", Public, "81.2.69.142"},
	{"1.0.0.0", Public, "1.0.0.0"},
	{"223.255.255.255", Public, "223.255.255.255"},
	{" 81.2.69.142\t", Public, "81.2.69.142"},
	{"2a02:c7c:9b1f:8e00:1d3:53f4:7c1a:9d22", Public, "2a02:c7c:9b1f:8e00:1d3:53f4:7c1a:9d22"},
	{"2A02:C7C::1", Public, "2a02:c7c::1"},
	{"2a02:c7c::1%eth0", Public, "2a02:c7c::1"},
	{"2606:4700::81.2.69.142", Public, "2606:4700::5102:458e"},

	{"::ffff:81.2.69.142", Mapped, "81.2.69.142"},
	{"::FFFF:5102:458e", Mapped, "81.2.69.142"},
	{"0:0:0:0:0:ffff:81.2.69.142", Mapped, "81.2.69.142"},
	{"::ffff:81.2.69.142%1", Mapped, "81.2.69.142"},

	{"10.0.0.1", Private, ""},
	{"172.31.255.255", Private, ""},
	{"192.168.10.10", Private, ""},
	{"100.64.0.1", Private, ""},
	{"::ffff:10.0.0.1", Private, ""},
	{"fd00:ec2::254", Private, ""},

	{"0.0.0.0", Reserved, ""},
	{"127.0.0.1", Reserved, ""},
	{"169.254.169.254", Reserved, ""},
	{"192.0.2.1", Reserved, ""},
	{"198.51.100.7", Reserved, ""},
	{"203.0.113.42", Reserved, ""},
	{"198.18.0.1", Reserved, ""},
	{"224.0.0.1", Reserved, ""},
	{"255.255.255.255", Reserved, ""},
	{"::ffff:203.0.113.42", Reserved, ""},
	{"::", Reserved, ""},
	{"::1", Reserved, ""},
	{"fe80::1%eth0", Reserved, ""},
	{"ff02::1", Reserved, ""},
	{"2001:db8::1", Reserved, ""},
	{"::81.2.69.142", Reserved, ""},          // IPv4-compatible, deprecated
	{"2002:5102:458e::1", Reserved, ""},      // 6to4
	{"2001:0:5102:458e::1", Reserved, ""},    // Teredo
	{"64:ff9b::81.2.69.142", Reserved, ""},   // NAT64
	{"64:ff9b:1::81.2.69.142", Reserved, ""}, // local NAT64
	{"4000::1", Reserved, ""},                // not given to anyone
	{"192.168.10.10,", List, ""},             // a list of one
	{"10.0.0.1, 192.0.2.1, fe80::1", List, ""},
	{"81.2.69.142, 192.168.10.10", List, "81.2.69.142"},
	{"192.168.10.10,81.2.69.142 , 2.125.160.216", List, "81.2.69.142"},
	{"unknown, ::ffff:81.2.69.142", List, "81.2.69.142"},
	{"10.0.0.1, 2a02:c7c::1", List, "2a02:c7c::1"},
	{strings.Repeat("10.0.0.1, ", 24) + "81.2.69.142", List, "81.2.69.142"},

	{"ec2.amazonaws.com", AWSService, ""},
	{"apigateway.amazonaws.com", AWSService, ""},
	{"dynamodb.application-autoscaling.amazonaws.com", AWSService, ""},
	{"EC2.AmazonAWS.com", AWSService, ""},
	{"ec2.amazonaws.com.cn", AWSService, ""},
	{"ec2.amazonaws.eu", AWSService, ""},
	{"api-service.dnssec.route53.aws.internal", AWSService, ""},
	{"AWS Internal", AWSInternal, ""},
	{"AWS Internal/10.0.0.1", AWSInternal, ""},

	{"", Absent, ""},
	{"-", Absent, ""},
	{"  ", Absent, ""},

	{"30.*.0.210", Malformed, ""},
	{"XXXX", Malformed, ""},
	{"redacted", Malformed, ""},
	{"null", Malformed, ""},
	{"081.002.069.142", Malformed, ""},
	{"81.2.69.01", Malformed, ""},
	{"81.2.69.256", Malformed, ""},
	{"81.2.69", Malformed, ""},
	{"81.2.69.142.1", Malformed, ""},
	{"81.2.69.142:443", Malformed, ""},
	{"81.2.69.142/32", Malformed, ""},
	{"81.2.69.142%eth0", Malformed, ""},
	{"[2a02:c7c::1]:443", Malformed, ""},
	{"2a02:c7c::1%", Malformed, ""},
	{"2a02:c7c:::1", Malformed, ""},
	{"2a02::c7c::1", Malformed, ""},
	{"1:2:3:4:5:6:7:8:9", Malformed, ""},
	{"1:2:3:4:5:6:7::8", Malformed, ""},
	{"12345::1", Malformed, ""},
	{"::ffff:081.2.69.142", Malformed, ""},
	{"::81.2.69.142:1", Malformed, ""},
	{":", Malformed, ""},
	{"AWS Internals", Malformed, ""},
	{"aws internal", Malformed, ""},
	{".amazonaws.com", Malformed, ""},
	{"amazonaws.com", Malformed, ""},
	{"a..amazonaws.com.evil.example", Malformed, ""},
	{"ec2.amazonaws.com/81.2.69.142", Malformed, ""},
	{"81.2.69.142 ec2.amazonaws.com", Malformed, ""},
	{"www.example.com", Malformed, ""},
	{",", Malformed, ""},
	{"unknown, XXXX", Malformed, ""},
	{strings.Repeat("10.0.0.1, ", 25) + "81.2.69.142", Malformed, ""}, // longer than an address may be
	{"\xff\xfe", Malformed, ""},
}

func TestRead(t *testing.T) {
	seen := map[Kind]bool{AWSOwned: true} // which read does not know
	for _, c := range addresses {
		var want netip.Addr
		if c.located != "" {
			want = netip.MustParseAddr(c.located)
		}
		if kind, addr := read(c.address); kind != c.kind || addr != want {
			t.Errorf("%q is %s at %s, want %s at %s", c.address, kind, addr, c.kind, want)
		}
		seen[c.kind] = true
	}
	for _, kind := range Kinds() {
		if !seen[kind] {
			t.Errorf("no address of kind %s", kind)
		}
	}
}

func TestKindsHaveLabels(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		label := k.String()
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz_0123456789") != "" || seen[label] {
			t.Errorf("kind %d has label %q", k, label)
		}
		seen[label] = true
	}
	if len(seen) != int(kindCount) || kindCount.String() != "invalid" {
		t.Errorf("%d labels for %d kinds, and %q for none", len(seen), kindCount, kindCount)
	}
}

// IANA's registries of special-purpose addresses, the parts of IPv6 that are not given out, and multicast.
var special = []struct {
	prefix netip.Prefix
	kind   Kind
}{
	{netip.MustParsePrefix("0.0.0.0/8"), Reserved},
	{netip.MustParsePrefix("10.0.0.0/8"), Private},
	{netip.MustParsePrefix("100.64.0.0/10"), Private},
	{netip.MustParsePrefix("127.0.0.0/8"), Reserved},
	{netip.MustParsePrefix("169.254.0.0/16"), Reserved},
	{netip.MustParsePrefix("172.16.0.0/12"), Private},
	{netip.MustParsePrefix("192.0.0.0/24"), Reserved},
	{netip.MustParsePrefix("192.0.2.0/24"), Reserved},
	{netip.MustParsePrefix("192.31.196.0/24"), Reserved},
	{netip.MustParsePrefix("192.52.193.0/24"), Reserved},
	{netip.MustParsePrefix("192.88.99.0/24"), Reserved},
	{netip.MustParsePrefix("192.168.0.0/16"), Private},
	{netip.MustParsePrefix("192.175.48.0/24"), Reserved},
	{netip.MustParsePrefix("198.18.0.0/15"), Reserved},
	{netip.MustParsePrefix("198.51.100.0/24"), Reserved},
	{netip.MustParsePrefix("203.0.113.0/24"), Reserved},
	{netip.MustParsePrefix("224.0.0.0/4"), Reserved},
	{netip.MustParsePrefix("240.0.0.0/4"), Reserved},
	{netip.MustParsePrefix("fc00::/7"), Private},
	{netip.MustParsePrefix("::/3"), Reserved}, // ::1, ::, 64:ff9b::/96, 64:ff9b:1::/48, 100::/64, 100:0:0:1::/64
	{netip.MustParsePrefix("2001::/23"), Reserved},
	{netip.MustParsePrefix("2001:db8::/32"), Reserved},
	{netip.MustParsePrefix("2002::/16"), Reserved},
	{netip.MustParsePrefix("2620:4f:8000::/48"), Reserved},
	{netip.MustParsePrefix("3fff::/20"), Reserved},
	{netip.MustParsePrefix("4000::/2"), Reserved}, // 5f00::/16
	{netip.MustParsePrefix("8000::/2"), Reserved},
	{netip.MustParsePrefix("c000::/3"), Reserved},
	{netip.MustParsePrefix("e000::/4"), Reserved},
	{netip.MustParsePrefix("f000::/5"), Reserved},
	{netip.MustParsePrefix("f800::/6"), Reserved},
	{netip.MustParsePrefix("fe00::/7"), Reserved}, // fe80::/10, fec0::/10, ff00::/8
}

func scopeOf(addr netip.Addr) Kind {
	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.kind
		}
	}
	return Public
}

// spy is a database that knows every address, and takes note of what it is asked.
type spy struct{ asked []netip.Addr }

func (s *spy) country(addr netip.Addr) placeID {
	s.asked = append(s.asked, addr)
	return countryID("GB")
}

func (s *spy) detail(addr netip.Addr, _ *Detail) { s.asked = append(s.asked, addr) }

func TestNoDatabaseIsAskedAboutSpecialAddresses(t *testing.T) {
	l := open(t, nil, Options{NoAWSPrefixes: true})
	db := &spy{}
	l.use(func(d *database) { d.source, d.places = db, "spy" })
	k := l.NewLookup()
	r := rand.New(rand.NewPCG(9, 10))

	var addrs []netip.Addr
	for _, s := range special {
		first, last := s.prefix.Addr(), lastOf(s.prefix)
		addrs = append(addrs, first, last)
		for _, next := range []netip.Addr{first.Prev(), last.Next()} {
			if next.IsValid() {
				addrs = append(addrs, next)
			}
		}
		for range 50 {
			addrs = append(addrs, randomIn(r, s.prefix))
		}
	}
	for range 2000 {
		addrs = append(addrs, randomIn(r, netip.MustParsePrefix("0.0.0.0/0")), randomIn(r, netip.MustParsePrefix("2000::/3")))
	}
	asked := 0
	for _, addr := range addrs {
		if addr.Is4In6() {
			continue // tested as the mapped form of its IPv4 address
		}
		scope := scopeOf(addr)
		forms := map[string]Kind{addr.String(): scope, addr.StringExpanded(): scope, "10.0.0.1, " + addr.String(): List}
		if addr.Is4() {
			mapped := netip.AddrFrom16(addr.As16())
			forms[mapped.String()], forms[mapped.StringExpanded()] = scope, scope
			if scope == Public {
				forms[mapped.String()], forms[mapped.StringExpanded()] = Mapped, Mapped
			}
		} else {
			forms[addr.String()+"%eth0"] = scope
		}
		for form, kind := range forms {
			db.asked = db.asked[:0]
			place := k.Locate(form)
			if place.Kind != kind {
				t.Errorf("%s is %s, want %s", form, place.Kind, kind)
			}
			if public := scope == Public; public != (place.Name == "GB") || public != (len(db.asked) > 0) {
				t.Errorf("%s is at %q, and the database was asked about %v", form, place.Name, db.asked)
			}
			l.Detail(form)
			for _, got := range db.asked {
				asked++
				if got != addr {
					t.Errorf("for %s the database was asked about %s", form, got)
				}
			}
		}
	}
	if asked < 1000 {
		t.Errorf("the database was asked about only %d public addresses", asked)
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func randomIn(r *rand.Rand, p netip.Prefix) netip.Addr {
	var random [16]byte
	binary.BigEndian.PutUint64(random[:8], r.Uint64())
	binary.BigEndian.PutUint64(random[8:], r.Uint64())
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= random[i/8] & (0x80 >> (i % 8))
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// The parsers accept what netip accepts, except that a zone may follow every IPv6 address.
func FuzzParse(f *testing.F) {
	for _, c := range addresses {
		f.Add(c.address)
	}
	for _, s := range []string{"1.2.3.4", "1::", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1:2:3:4:5:6:7", "a::b:1.2.3.4", "1::%", "::%z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v4, is4 := parseIPv4(s)
		hi, lo, is6 := parseIPv6(s)
		if is4 && is6 {
			t.Fatalf("%q is both IPv4 and IPv6", s)
		}
		want, err := netip.ParseAddr(s)
		if err != nil && is6 {
			address, zone, _ := strings.Cut(s, "%")
			if zone == "" {
				t.Fatalf("%q: accepted, but %v", s, err)
			}
			want, err = netip.ParseAddr(address)
		}
		if (err == nil) != (is4 || is6) {
			t.Fatalf("%q: IPv4 %v, IPv6 %v, but %v", s, is4, is6, err)
		}
		if is4 {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], v4)
			if got := netip.AddrFrom4(b); got != want {
				t.Fatalf("%q is %s, want %s", s, got, want)
			}
		}
		if is6 {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:8], hi)
			binary.BigEndian.PutUint64(b[8:], lo)
			if got := netip.AddrFrom16(b); got != want.WithZone("") {
				t.Fatalf("%q is %s, want %s", s, got, want)
			}
		}
	})
}
