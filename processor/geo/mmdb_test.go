package geo

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go4.org/netipx"
)

// buildEpoch is 2026-11-01 12:00:00 UTC.
const buildEpoch = 1793534400

type networks map[string]mmdbtype.DataType

// writeDB returns a database file of the given type.
func writeDB(t testing.TB, opts mmdbwriter.Options, records networks) []byte {
	t.Helper()
	if opts.BuildEpoch == 0 {
		opts.BuildEpoch = buildEpoch
	}
	tree, err := mmdbwriter.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range records {
		if err := tree.Insert(netipx.PrefixIPNet(netip.MustParsePrefix(network)), record); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if _, err := tree.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// nested is a record in MaxMind's form.
func nested(code string) mmdbtype.DataType {
	return mmdbtype.Map{
		"country":            mmdbtype.Map{"iso_code": mmdbtype.String(code), "names": mmdbtype.Map{"en": mmdbtype.String("some name")}},
		"registered_country": mmdbtype.Map{"iso_code": mmdbtype.String("FR")},
	}
}

func countryDB(t testing.TB, code string) []byte {
	return writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-Country"}, networks{
		"81.2.69.0/24": nested(code), "2a02:c7c::/32": nested(code),
	})
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// open opens a database in a temporary folder, or the embedded one if there are no data.
func open(t testing.TB, data []byte, opts Options) *Locator {
	t.Helper()
	if data != nil {
		opts.Path = filepath.Join(t.TempDir(), "geo.mmdb")
		writeFile(t, opts.Path, data)
	}
	l, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestDatabaseForms(t *testing.T) {
	for _, c := range []struct {
		name    string
		opts    mmdbwriter.Options
		records networks
		build   string
		want    map[string]string // address to country
	}{{
		name: "MaxMind",
		opts: mmdbwriter.Options{DatabaseType: "GeoLite2-Country"},
		records: networks{
			"81.2.69.0/24":  nested("GB"),
			"81.2.70.0/24":  nested("XK"),
			"81.2.71.0/24":  nested("ZZ"),
			"81.2.72.0/24":  mmdbtype.Map{"registered_country": mmdbtype.Map{"iso_code": mmdbtype.String("GB")}},
			"2a02:c7c::/32": nested("DE"),
		},
		build: "GeoLite2-Country 2026-11-01",
		want: map[string]string{
			"81.2.69.142": "GB", "::ffff:81.2.69.142": "GB", "81.2.70.1": "XK", "81.2.71.1": "", "81.2.72.1": "",
			"2a02:c7c::1": "DE", "2a02:c7d::1": "",
		},
	}, {
		name: "MaxMind's form under a name of its own",
		opts: mmdbwriter.Options{DatabaseType: "Our-Offices", RecordSize: 24},
		// Small letters are capitals.
		records: networks{"81.2.69.0/24": nested("gb"), "81.2.70.0/24": nested("United Kingdom")},
		build:   "Our-Offices 2026-11-01",
		want:    map[string]string{"81.2.69.142": "GB", "81.2.70.1": ""},
	}, {
		name:    "DB-IP",
		opts:    mmdbwriter.Options{DatabaseType: "DBIP-Country-Lite", RecordSize: 32},
		records: networks{"81.2.69.0/24": nested("GB")},
		build:   "DBIP-Country-Lite 2026-11-01",
		want:    map[string]string{"81.2.69.142": "GB"},
	}, {
		name: "flat",
		opts: mmdbwriter.Options{DatabaseType: "country ipvAll"},
		records: networks{
			"81.2.69.0/24": mmdbtype.Map{"country_code": mmdbtype.String("GB")},
			"81.2.70.0/24": mmdbtype.Map{"country_code": mmdbtype.Uint32(7)},
		},
		build: "country ipvAll 2026-11-01",
		want:  map[string]string{"81.2.69.142": "GB", "81.2.70.1": ""},
	}, {
		name:    "ipinfo, older",
		opts:    mmdbwriter.Options{DatabaseType: "ipinfo country.mmdb"},
		records: networks{"81.2.69.0/24": mmdbtype.Map{"country": mmdbtype.String("GB"), "continent": mmdbtype.String("EU")}},
		build:   "ipinfo country.mmdb 2026-11-01",
		want:    map[string]string{"81.2.69.142": "GB"},
	}, {
		name: "ipinfo, newer: country is a name",
		opts: mmdbwriter.Options{DatabaseType: "ipinfo bundle_location_lite.mmdb"},
		records: networks{"81.2.69.0/24": mmdbtype.Map{
			"country": mmdbtype.String("United Kingdom"), "country_code": mmdbtype.String("GB"),
		}},
		build: "ipinfo bundle_location_lite.mmdb 2026-11-01",
		want:  map[string]string{"81.2.69.142": "GB"},
	}, {
		name:    "IPv4 only",
		opts:    mmdbwriter.Options{DatabaseType: "GeoLite2-Country", IPVersion: 4},
		records: networks{"81.2.69.0/24": nested("GB")},
		build:   "GeoLite2-Country 2026-11-01",
		want:    map[string]string{"81.2.69.142": "GB", "::ffff:81.2.69.142": "GB", "2a02:c7c::1": ""},
	}, {
		name:    "a type that would spoil records",
		opts:    mmdbwriter.Options{DatabaseType: "a\nb\x00" + strings.Repeat("ü", 10) + strings.Repeat("x", 100)},
		records: networks{"81.2.69.0/24": nested("GB")},
		build:   "ab" + strings.Repeat("x", 16) + " 2026-11-01",
		want:    map[string]string{"81.2.69.142": "GB"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t, writeDB(t, c.opts, c.records), Options{NoAWSPrefixes: true})
			if got := l.Build(); got != c.build {
				t.Errorf("build is %q, want %q", got, c.build)
			}
			k := l.NewLookup()
			for address, country := range c.want {
				kind := Public
				if strings.HasPrefix(address, "::ffff") {
					kind = Mapped
				}
				want := Place{Kind: kind, Name: country, Country: country}
				if got := k.Locate(address); got != want {
					t.Errorf("%s is at %+v, want %+v", address, got, want)
				}
				if got := l.Detail(address).Place; got != want {
					t.Errorf("detail of %s is at %+v, want %+v", address, got, want)
				}
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	good := countryDB(t, "GB")
	noCountry := mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64500)}
	// A tree whose every record leads back to its root.
	circular := bytes.Clone(good)
	marker := bytes.LastIndex(circular, []byte("\xab\xcd\xefMaxMind.com"))
	clear(circular[:marker/2])
	// Each of 64 nodes leads to the next one twice: a walk through it has 2^64 ends.
	endless := writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-Country", RecordSize: 24}, networks{"81.2.69.0/24": nested("GB")})
	for i := range byte(64) {
		copy(endless[6*int(i):], []byte{0, 0, i + 1, 0, 0, i + 1})
	}
	nodes := endless[bytes.LastIndex(endless, []byte("node_count"))+len("node_count"):]
	if nodes[0]>>5 != 6 || nodes[0]&31 > 2 { // an unsigned number of at most two bytes
		t.Fatalf("node_count is written as % x", nodes[:4])
	}
	copy(endless[6*64:], []byte{0, nodes[1], nodes[2], 0, nodes[1], nodes[2]})
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty file", []byte{}, "invalid MaxMind DB file"},
		{"text", []byte("<html>quota exceeded</html>"), "invalid MaxMind DB file"},
		{"cut off", good[:len(good)/2], "invalid MaxMind DB file"},
		{"cut at the front", good[len(good)/2:], "invalid"},
		{"circular tree", circular, "invalid search tree"},
		{"endless tree", endless, "does not end"},
		{"type without countries", writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"}, networks{"81.2.69.0/24": noCountry}),
			"a database of type GeoLite2-ASN has no countries"},
		{"unknown type without countries", writeDB(t, mmdbwriter.Options{DatabaseType: "asn"}, networks{"81.2.69.0/24": noCountry}),
			"no record of this database of type asn names a country"},
		{"no records", writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-Country"}, nil), "names a country"},
		{"names only", writeDB(t, mmdbwriter.Options{DatabaseType: "x"}, networks{"81.2.69.0/24": mmdbtype.Map{"country": mmdbtype.String("France")}}),
			"names a country"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "geo.mmdb")
			writeFile(t, path, c.data)
			l, err := Open(Options{Path: path})
			if err == nil {
				t.Fatalf("opened as %s", l.Build())
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %q, want the path and %q", err, c.want)
			}
		})
	}
	if _, err := Open(Options{Path: filepath.Join(t.TempDir(), "absent.mmdb")}); err == nil || !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("opening a file that is not there: %v", err)
	}
	for _, entries := range []int{-1, MaxCacheEntries + 1} {
		if _, err := Open(Options{CacheEntries: entries}); err == nil {
			t.Errorf("opened with %d cache entries", entries)
		}
	}
}

func unwrapAll(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		if _, isPath := err.(*os.PathError); isPath {
			return err
		}
		err = inner.Unwrap()
	}
}

// A damaged file is refused or answers something, but never panics or hangs.
func FuzzDatabase(f *testing.F) {
	good := countryDB(f, "GB")
	f.Add(good, uint16(0), byte(0))
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f.Add(good, uint16(r.IntN(len(good))), byte(r.Uint32()))
	}
	addr4, addr6 := netip.MustParseAddr("81.2.69.142"), netip.MustParseAddr("2a02:c7c::1")
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte) {
		if int(at) < len(data) {
			data = bytes.Clone(data)
			data[at] ^= change
		}
		m, err := openMMDB(data)
		if err != nil {
			return
		}
		for _, addr := range []netip.Addr{addr4, addr6} {
			if id := m.country(addr); int(id) >= len(countryPlaces) {
				t.Errorf("%s has placeID %d", addr, id)
			}
			m.detail(addr, new(Detail))
		}
		buildOf(m.reader)
	})
}

func TestDetail(t *testing.T) {
	detail := func(city, region, code string, at *Location) Detail {
		return Detail{
			Place: Place{Kind: Public, Name: "GB", Country: "GB"}, CountryName: "United Kingdom",
			City: city, Region: region, RegionCode: code, Location: at,
		}
	}
	london := &Location{51.5142, -0.0931}
	city := func(name string) mmdbtype.DataType {
		return mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(name)}}
	}
	record := mmdbtype.Map{
		"country":      mmdbtype.Map{"iso_code": mmdbtype.String("GB")},
		"city":         city("London"),
		"subdivisions": mmdbtype.Slice{mmdbtype.Map{"iso_code": mmdbtype.String("ENG"), "names": mmdbtype.Map{"en": mmdbtype.String("England")}}},
		"location":     mmdbtype.Map{"latitude": mmdbtype.Float64(51.5142), "longitude": mmdbtype.Float64(-0.0931)},
	}
	for _, c := range []struct {
		databaseType string
		record       mmdbtype.Map
		want         Detail
	}{
		{"GeoLite2-City", record, detail("London", "England", "GB-ENG", london)},
		{"Our-Cities", record, detail("London", "England", "GB-ENG", london)},
		{"GeoLite2-Country", mmdbtype.Map{"country": record["country"]}, detail("", "", "", nil)},
		{"ipinfo standard_location.mmdb", mmdbtype.Map{
			"country": mmdbtype.String("GB"), "city": mmdbtype.String("London"), "region": mmdbtype.String("England"),
			"lat": mmdbtype.String("51.5142"), "lng": mmdbtype.String("-0.0931"),
		}, detail("London", "England", "", london)},
		{"ipinfo lite", mmdbtype.Map{
			"country_code": mmdbtype.String("GB"), "region": mmdbtype.String("England"), "region_code": mmdbtype.String("ENG"),
			"loc": mmdbtype.String("51.5142,-0.0931"),
		}, detail("", "England", "GB-ENG", london)},
		{"city ipvAll", mmdbtype.Map{
			"country_code": mmdbtype.String("GB"), "city": mmdbtype.String("London"), "state1": mmdbtype.String("England"),
			"latitude": mmdbtype.Float32(51.5), "longitude": mmdbtype.Float32(-0.5),
		}, detail("London", "England", "", &Location{51.5, -0.5})},
		{"off the globe", mmdbtype.Map{
			"country_code": mmdbtype.String("GB"), "latitude": mmdbtype.Float64(91), "longitude": mmdbtype.Float64(0),
		}, detail("", "", "", nil)},
	} {
		t.Run(c.databaseType, func(t *testing.T) {
			l := open(t, writeDB(t, mmdbwriter.Options{DatabaseType: c.databaseType}, networks{"81.2.69.0/24": c.record}), Options{})
			if diff := cmp.Diff(c.want, l.Detail("81.2.69.142")); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("without a country", func(t *testing.T) {
		l := open(t, writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-City"}, networks{
			"81.2.69.0/24": record,
			"3.5.64.0/24":  record,
			"81.2.70.0/24": mmdbtype.Map{"city": city("London")},
		}), Options{})
		for address, want := range map[string]Place{
			"3.5.64.1":          {Kind: AWSOwned, Name: "aws:eu-west-1"},
			"81.2.70.1":         {Kind: Public},
			"10.0.0.1":          {Kind: Private},
			"ec2.amazonaws.com": {Kind: AWSService},
			"":                  {Kind: Absent},
		} {
			if diff := cmp.Diff(Detail{Place: want}, l.Detail(address)); diff != "" {
				t.Errorf("%s: %s", address, diff)
			}
		}
		list := l.Detail("10.0.0.1, 81.2.69.142")
		if list.Kind != List || list.City != "London" {
			t.Errorf("detail of a list: %+v", list)
		}
	})
	t.Run("embedded", func(t *testing.T) {
		want := Detail{Place: Place{Kind: Public, Name: "GB", Country: "GB"}, CountryName: "United Kingdom"}
		if diff := cmp.Diff(want, open(t, nil, Options{}).Detail("81.2.69.142")); diff != "" {
			t.Error(diff)
		}
	})
}

// The public test databases of MaxMind, read record by record.
func TestMaxMindDatabases(t *testing.T) {
	corpus := os.Getenv("FARCALL_CORPUS")
	if corpus == "" {
		t.Skip("FARCALL_CORPUS names no corpus: MaxMind's test databases are NOT tested")
	}
	folder := filepath.Join(corpus, "mmdb")
	if _, err := Open(Options{Path: filepath.Join(folder, "GeoLite2-ASN-Test.mmdb")}); err == nil ||
		!strings.Contains(err.Error(), "GeoLite2-ASN has no countries") {
		t.Errorf("opening an ASN database: %v", err)
	}
	for _, name := range []string{"GeoLite2-Country-Test", "GeoIP2-Country-Test", "GeoIP2-City-Test"} {
		t.Run(name, func(t *testing.T) {
			l, err := Open(Options{Path: filepath.Join(folder, name+".mmdb"), NoAWSPrefixes: true})
			if err != nil {
				t.Fatal(err)
			}
			k := l.NewLookup()
			for address, want := range map[string]string{
				"81.2.69.142": "GB", "::ffff:81.2.69.142": "GB", "2.125.160.216": "GB", "2001:218::1": "JP", "10.0.0.1": "",
				"127.0.0.1": "", "2002:5102:458e::1": "",
			} {
				if got := k.Locate(address).Name; got != want {
					t.Errorf("%s is at %q, want %q", address, got, want)
				}
			}
			m := l.current.Load().source.(*mmdb)
			located := 0
			for r := range m.reader.Networks() {
				var code string
				if err := r.DecodePath(&code, "country", "iso_code"); err != nil {
					t.Fatal(err)
				}
				addr := r.Prefix().Addr()
				got := k.Locate(addr.String())
				if got.Kind == Public && got.Name != code {
					t.Errorf("%s is at %q, the database says %q", addr, got.Name, code)
				}
				if got.Kind != Public && got.Name != "" {
					t.Errorf("%s is %s and at %q", addr, got.Kind, got.Name)
				}
				if got.Name != "" {
					located++
				}
			}
			if located < 50 {
				t.Errorf("only %d networks had a country", located)
			}
			if name == "GeoIP2-City-Test" {
				d := l.Detail("81.2.69.142")
				if d.City != "London" || d.RegionCode != "GB-ENG" || d.Location == nil {
					t.Errorf("detail is %+v", d)
				}
			}
		})
	}
}

// benchmarkDB has a country for each of 300,000 random networks of 16 to 24 bits and for as many IPv6 networks.
func benchmarkDB(b *testing.B) []byte {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-Country", BuildEpoch: buildEpoch, RecordSize: 24})
	if err != nil {
		b.Fatal(err)
	}
	records := make([]mmdbtype.DataType, len(countries))
	for i, c := range countries {
		records[i] = nested(c.code)
	}
	r := rand.New(rand.NewPCG(5, 6))
	insert := func(addr netip.Addr, bits int) {
		p, _ := addr.Prefix(bits)
		if k, a := readAddress(p.Addr().String()); k != Public || a != p.Addr() {
			return
		}
		n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(bits, addr.BitLen())}
		// A network around a reserved one is refused; there is no need of each.
		_ = tree.Insert(n, records[r.IntN(len(records))])
	}
	for range 300_000 {
		insert(randomIPv4(r), 16+r.IntN(9))
	}
	for range 100_000 {
		insert(randomIPv6(r), 32+r.IntN(17))
	}
	var buf bytes.Buffer
	if _, err := tree.WriteTo(&buf); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}
