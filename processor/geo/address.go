package geo

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// maxAddressBytes bounds the work that one address may cause. A list of five full IPv6 addresses fits.
const maxAddressBytes = 256

// serviceDomains are the domains of the names that AWS services are given: commercial and GovCloud, China, the European
// Sovereign Cloud, and the one of internal service principals.
var serviceDomains = [...]string{".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".aws.internal"}

const internalName = "AWS Internal"

// read returns the kind of an address and, where it may have a place (Public, Mapped, List), the address to look up.
// That address is never private, reserved or IPv4-mapped. It does not know of AWS's ranges.
func read(s string) (Kind, netip.Addr) {
	if len(s) > maxAddressBytes {
		return Malformed, netip.Addr{}
	}
	s = trim(s)
	if s == "" || s == "-" {
		return Absent, netip.Addr{}
	}
	if kind, addr := readAddress(s); kind != Malformed {
		return kind, addr
	}
	if rest, ok := strings.CutPrefix(s, internalName); ok && (rest == "" || rest[0] == '/') {
		return AWSInternal, netip.Addr{}
	}
	if isServiceName(s) {
		return AWSService, netip.Addr{}
	}
	if strings.IndexByte(s, ',') >= 0 {
		return readList(s)
	}
	return Malformed, netip.Addr{}
}

// readList returns the first public address of a list. Text that is no address is passed over, because proxies write
// "unknown"; a list without any address is Malformed.
func readList(s string) (Kind, netip.Addr) {
	kind := Malformed
	for more := true; more; {
		var member string
		member, s, more = strings.Cut(s, ",")
		k, addr := readAddress(trim(member))
		if addr.IsValid() {
			return List, addr
		}
		if k != Malformed {
			kind = List
		}
	}
	return kind, netip.Addr{}
}

// readAddress returns Public, Mapped, Private, Reserved or Malformed, and the address if it is public.
func readAddress(s string) (Kind, netip.Addr) {
	if v4, ok := parseIPv4(s); ok {
		return locatable(scopeIPv4(v4), v4)
	}
	hi, lo, ok := parseIPv6(s)
	if !ok {
		return Malformed, netip.Addr{}
	}
	if hi == 0 && lo>>32 == 0xffff {
		v4 := uint32(lo)
		scope := scopeIPv4(v4)
		if scope == Public {
			return locatable(Mapped, v4)
		}
		return scope, netip.Addr{}
	}
	scope := scopeIPv6(hi)
	if scope != Public {
		return scope, netip.Addr{}
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return Public, netip.AddrFrom16(b)
}

func locatable(kind Kind, v4 uint32) (Kind, netip.Addr) {
	if kind != Public && kind != Mapped {
		return kind, netip.Addr{}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v4)
	return kind, netip.AddrFrom4(b)
}

func trim(s string) string {
	for len(s) > 0 && s[0] <= ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	return s
}

// isServiceName reports whether s is a DNS name below one of the service domains.
func isServiceName(s string) bool {
	for _, domain := range serviceDomains {
		n := len(s) - len(domain)
		if n > 0 && strings.EqualFold(s[n:], domain) {
			return isHostname(s[:n])
		}
	}
	return false
}

func isHostname(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' && s[i] != '.' && s[i] != '_' {
			return false
		}
	}
	return s[0] != '.' && s[len(s)-1] != '.'
}

// parseIPv4 and parseIPv6 accept exactly what netip.ParseAddr accepts, which a fuzz test holds them to, plus a zone on
// any IPv6 address. They exist because ParseAddr allocates an error for text that is no address, and such text comes in
// streams; they are also faster (BenchmarkParse).

func parseIPv4(s string) (addr uint32, ok bool) {
	if len(s) < len("0.0.0.0") || len(s) > len("255.255.255.255") {
		return 0, false
	}
	var octet uint32
	digits, dots := 0, 0
	for i := range len(s) {
		c := s[i]
		if d := uint32(c) - '0'; d <= 9 {
			if digits > 0 && octet == 0 {
				return 0, false // a leading zero: some readers take it for octal
			}
			octet = octet*10 + d
			if octet > 255 {
				return 0, false
			}
			digits++
			continue
		}
		if c != '.' || digits == 0 || dots == 3 {
			return 0, false
		}
		addr = addr<<8 | octet
		octet, digits = 0, 0
		dots++
	}
	return addr<<8 | octet, dots == 3 && digits > 0
}

// parseIPv6 returns the two halves of an address. A zone must not be empty; it is dropped.
func parseIPv6(s string) (hi, lo uint64, ok bool) {
	if i := strings.IndexByte(s, '%'); i >= 0 {
		if i == len(s)-1 {
			return 0, 0, false
		}
		s = s[:i]
	}
	if len(s) < 2 {
		return 0, 0, false
	}
	var groups [8]uint16
	n, gap := 0, -1 // groups read, and how many of them came before "::"
	if s[0] == ':' {
		if s[1] != ':' {
			return 0, 0, false
		}
		gap, s = 0, s[2:]
	}
	for len(s) > 0 {
		if n == 8 {
			return 0, 0, false
		}
		var group uint32
		i := 0
		for ; i < len(s) && i < 5; i++ {
			d := hexDigit[s[i]]
			if d > 15 {
				break
			}
			group = group<<4 | uint32(d)
		}
		if i < len(s) && s[i] == '.' {
			v4, ok := parseIPv4(s)
			if !ok || n > 6 {
				return 0, 0, false
			}
			groups[n], groups[n+1] = uint16(v4>>16), uint16(v4)
			n += 2
			break
		}
		if i == 0 || i > 4 {
			return 0, 0, false
		}
		groups[n] = uint16(group)
		n++
		s = s[i:]
		if s == "" {
			break
		}
		if s[0] != ':' || len(s) == 1 {
			return 0, 0, false
		}
		s = s[1:]
		if s[0] == ':' {
			if gap >= 0 {
				return 0, 0, false
			}
			gap, s = n, s[1:]
		}
	}
	if gap < 0 {
		if n != 8 {
			return 0, 0, false
		}
	} else {
		if n == 8 {
			return 0, 0, false // "::" stands for at least one group
		}
		moved := copy(groups[8-(n-gap):], groups[gap:n])
		clear(groups[gap : 8-moved])
	}
	for i := range 4 {
		hi = hi<<16 | uint64(groups[i])
		lo = lo<<16 | uint64(groups[i+4])
	}
	return hi, lo, true
}

// hexDigit holds the value of each hexadecimal digit, and 0xff for every other byte.
var hexDigit = func() (t [256]uint8) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range 10 {
		t['0'+i] = uint8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = uint8(10+i), uint8(10+i)
	}
	return t
}()

// scopeIPv4 sorts an address into Public, Private and Reserved by IANA's registry of special-purpose IPv4 addresses.
// The AS112 and AMT anycast ranges are reserved too: they may be routed, but nobody calls AWS from them.
func scopeIPv4(v4 uint32) Kind {
	switch v4 >> 24 {
	case 0, 127: // this network, loopback
		return Reserved
	case 10:
		return Private
	case 100: // 100.64.0.0/10, carrier-grade NAT
		if v4>>22 == 100<<2|1 {
			return Private
		}
	case 169: // 169.254.0.0/16, link-local
		if v4>>16 == 169<<8|254 {
			return Reserved
		}
	case 172: // 172.16.0.0/12
		if v4>>20 == 172<<4|1 {
			return Private
		}
	case 192:
		switch v4 >> 8 {
		case 0xc00000, // 192.0.0.0/24, IETF protocol assignments
			0xc00002, // 192.0.2.0/24, documentation (TEST-NET-1)
			0xc01fc4, // 192.31.196.0/24, AS112
			0xc034c1, // 192.52.193.0/24, AMT
			0xc05863, // 192.88.99.0/24, 6to4 relays, deprecated
			0xc0af30: // 192.175.48.0/24, AS112 direct delegation
			return Reserved
		}
		if v4>>16 == 192<<8|168 {
			return Private
		}
	case 198:
		if v4>>17 == (198<<8|18)>>1 || // 198.18.0.0/15, benchmarking
			v4>>8 == 198<<16|51<<8|100 { // documentation (TEST-NET-2)
			return Reserved
		}
	case 203: // 203.0.113.0/24, documentation (TEST-NET-3)
		if v4>>8 == 203<<16|113 {
			return Reserved
		}
	}
	if v4 >= 224<<24 { // multicast, future use, broadcast
		return Reserved
	}
	return Public
}

// scopeIPv6 does for the upper half of an IPv6 address what scopeIPv4 does for an IPv4 address: no range of IANA's
// registry that lies inside 2000::/3 is longer than 64 bits. IPv4-mapped addresses must not get here.
func scopeIPv6(hi uint64) Kind {
	if hi>>57 == 0xfc>>1 { // fc00::/7, unique local
		return Private
	}
	if hi>>61 != 1 { // only 2000::/3 is given out
		return Reserved
	}
	switch {
	case hi>>41 == 0x2001_0000>>9, // 2001::/23, protocol assignments: Teredo, ORCHID, benchmarking
		hi>>32 == 0x2001_0db8,      // documentation
		hi>>48 == 0x2002,           // 6to4
		hi>>16 == 0x2620_004f_8000, // AS112 direct delegation
		hi>>44 == 0x3fff_0:         // documentation
		return Reserved
	}
	return Public
}
