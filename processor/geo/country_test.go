package geo

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/phuslu/iploc"
)

func TestCountryTable(t *testing.T) {
	names := map[string]string{}
	for i, c := range countries {
		if i > 0 && c.code <= countries[i-1].code {
			t.Errorf("%s follows %s", c.code, countries[i-1].code)
		}
		if len(c.code) != 2 || c.name == "" || names[c.name] != "" {
			t.Errorf("%s has the name %q, as has %q", c.code, c.name, names[c.name])
		}
		names[c.name] = c.code
		if got := CountryName(c.code); got != c.name {
			t.Errorf("CountryName(%s) = %q, want %q", c.code, got, c.name)
		}
	}
	if len(countries) != 249+1 {
		t.Errorf("%d countries, want the 249 of ISO 3166-1 and XK", len(countries))
	}
	if len(countries) >= int(firstRegion) {
		t.Error("places of countries and regions overlap")
	}
	for code, want := range map[string]string{
		"gb": "United Kingdom", "Us": "United States", "XK": "Kosovo",
		"ZZ": "", "EU": "", "AP": "", "A1": "", "": "", "G": "", "GBR": "", "@@": "", "[{": "", "\x07\x02": "", "é": "",
	} {
		if got := CountryName(code); got != want {
			t.Errorf("CountryName(%q) = %q, want %q", code, got, want)
		}
	}
}

// Every code that the embedded database answers with is a country or ZZ.
func TestEmbeddedCodesAreCountries(t *testing.T) {
	seen := map[string]int{}
	for v4 := uint64(0); v4 < 1<<32; v4 += 1 << 10 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(v4))
		seen[iploc.IPCountry(netip.AddrFrom4(b))]++
	}
	r := rand.New(rand.NewPCG(11, 12))
	for range 200_000 {
		seen[iploc.IPCountry(randomIPv6(r))]++
	}
	delete(seen, "ZZ")
	for code, n := range seen {
		if countryID(code) == noPlace {
			t.Errorf("%d networks are in %q, which is no country here", n, code)
		}
	}
	if len(seen) < 240 {
		t.Errorf("only %d countries", len(seen))
	}
}
