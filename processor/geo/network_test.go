package geo

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// asn is a record in MaxMind's form.
func asn(number uint32, organisation string) mmdbtype.DataType {
	return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(number), "autonomous_system_organization": mmdbtype.String(organisation)}
}

func asnDB(t testing.TB, number uint32, organisation string) []byte {
	return writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"}, networks{
		"81.2.69.0/24": asn(number, organisation), "2a02:c7c::/32": asn(number, organisation),
	})
}

// openBoth opens a country database in which all of 81.2.64.0/19 is in GB, and a database of networks.
func openBoth(t testing.TB, asns []byte) *Locator {
	t.Helper()
	path := filepath.Join(t.TempDir(), "asn.mmdb")
	writeFile(t, path, asns)
	return open(t, writeDB(t, mmdbwriter.Options{DatabaseType: "GeoLite2-Country"}, networks{"81.2.64.0/19": nested("GB"), "2a02:c7c::/32": nested("GB")}), Options{ASNPath: path})
}

func TestNetworkForms(t *testing.T) {
	long := strings.Repeat("ü", maxOrganisationBytes)
	for _, c := range []struct {
		name    string
		opts    mmdbwriter.Options
		records networks
		want    map[string]network
	}{{
		name: "MaxMind and DB-IP",
		opts: mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"},
		records: networks{
			"81.2.69.0/24":  asn(64496, "Example Hosting GmbH"),
			"81.2.70.0/24":  asn(4294967295, ""),
			"81.2.71.0/24":  asn(0, "Nobody"),
			"81.2.72.0/24":  mmdbtype.Map{"autonomous_system_organization": mmdbtype.String("Nobody")},
			"2a02:c7c::/32": asn(64497, "Télé"),
		},
		want: map[string]network{
			"81.2.69.1": {"AS64496", "Example Hosting GmbH"}, "::ffff:81.2.69.142": {"AS64496", "Example Hosting GmbH"},
			"10.0.0.1, 81.2.69.142": {"AS64496", "Example Hosting GmbH"}, "81.2.70.1": {"AS4294967295", ""}, "81.2.71.1": {}, "81.2.72.1": {},
			"81.2.73.1": {}, "2a02:c7c::1": {"AS64497", "Télé"}, "2a02:c7d::1": {}, "10.0.0.1": {}, "ec2.amazonaws.com": {},
		},
	}, {
		name: "ipinfo",
		opts: mmdbwriter.Options{DatabaseType: "ipinfo generic_asn_free.mmdb"},
		records: networks{
			"81.2.69.0/24": mmdbtype.Map{"asn": mmdbtype.String("AS64496"), "name": mmdbtype.String("Example"), "domain": mmdbtype.String("example.com")},
			"81.2.70.0/24": mmdbtype.Map{"asn": mmdbtype.String("as64497"), "as_name": mmdbtype.String("Other"), "name": mmdbtype.Uint32(1)},
			"81.2.71.0/24": mmdbtype.Map{"asn": mmdbtype.String("example"), "name": mmdbtype.String("Nobody")},
			"81.2.72.0/24": mmdbtype.Map{"asn": mmdbtype.Uint32(64498), "name": mmdbtype.String(long)},
		},
		want: map[string]network{
			"81.2.69.1": {"AS64496", "Example"}, "81.2.70.1": {"AS64497", "Other"}, "81.2.71.1": {}, "81.2.72.1": {"AS64498", long[:maxOrganisationBytes]},
		},
	}, {
		name:    "IPv4 only",
		opts:    mmdbwriter.Options{DatabaseType: "DBIP-ASN-Lite", IPVersion: 4},
		records: networks{"81.2.69.0/24": asn(64496, "Example")},
		want:    map[string]network{"81.2.69.1": {"AS64496", "Example"}, "2a02:c7c::1": {}},
	}, {
		name:    "AWS's own",
		opts:    mmdbwriter.Options{DatabaseType: "GeoLite2-ASN", IncludeReservedNetworks: true},
		records: networks{"3.5.64.0/24": asn(16509, "AMAZON-02"), "10.0.0.0/8": asn(64496, "Nobody's")},
		want:    map[string]network{"3.5.64.1": {}, "10.0.0.1": {}},
	}} {
		t.Run(c.name, func(t *testing.T) {
			l := openBoth(t, writeDB(t, c.opts, c.records))
			k := l.NewLookup()
			for range 2 { // the second time from the cache
				for address, want := range c.want {
					if p := k.Locate(address); (network{p.Network, p.Organisation}) != want {
						t.Errorf("%s is in %q of %q, want %v", address, p.Network, p.Organisation, want)
					}
				}
			}
			if d := l.Detail("81.2.69.1"); d.Network != c.want["81.2.69.1"].name {
				t.Errorf("the detail of 81.2.69.1 has the network %q", d.Network)
			}
			if want := "GeoLite2-Country 2026-11-01, " + c.opts.DatabaseType + " 2026-11-01, aws "; !strings.HasPrefix(l.Build(), want) {
				t.Errorf("build is %q, want %q first", l.Build(), want)
			}
		})
	}
}

func TestParseNetwork(t *testing.T) {
	for name, want := range map[string]uint32{
		"AS64496": 64496, "as1": 1, "AS4294967295": 4294967295, "AS0": 0, "AS4294967296": 0, "AS": 0, "": 0, "64496": 0, "AS64496 ": 0, "AS+1": 0, "AS-1": 0, "ASN1": 0,
	} {
		if got, ok := ParseNetwork(name); got != want && ok || ok != (want != 0) {
			t.Errorf("ParseNetwork(%q) = %d, %t", name, got, ok)
		}
	}
}

func TestOpenRefusesNetworks(t *testing.T) {
	good := asnDB(t, 64496, "Example")
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"text", []byte("<html>quota exceeded</html>"), "invalid MaxMind DB file"},
		{"cut off", good[:len(good)/2], "invalid MaxMind DB file"},
		{"countries", countryDB(t, "GB"), "no record of this database of type GeoLite2-Country names a network"},
		{"numbers of 0", asnDB(t, 0, "Example"), "names a network, in autonomous_system_number or asn"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "asn.mmdb")
			writeFile(t, path, c.data)
			l, err := Open(Options{ASNPath: path})
			if err == nil {
				t.Fatalf("opened as %s", l.Build())
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "ASN database "+path) {
				t.Errorf("error is %q, want the path and %q", err, c.want)
			}
		})
	}
}

// TestReloadOfBoth: the two files are reloaded on their own, and a broken one leaves both old ones in use.
func TestReloadOfBoth(t *testing.T) {
	folder := t.TempDir()
	places, asns := filepath.Join(folder, "geo.mmdb"), filepath.Join(folder, "asn.mmdb")
	now := time.Unix(1_700_000_000, 0)
	write := func(path string, data []byte) {
		writeFile(t, path, data)
		now = now.Add(time.Second)
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
	}
	write(places, countryDB(t, "GB"))
	write(asns, asnDB(t, 64496, "Example"))
	var log bytes.Buffer
	var reports []error
	l, err := Open(Options{Path: places, ASNPath: asns, NoAWSPrefixes: true, Log: slog.New(slog.NewTextHandler(&log, nil)), OnReload: func(err error) { reports = append(reports, err) }})
	if err != nil {
		t.Fatal(err)
	}
	k := l.NewLookup()
	after := func(country, network string, failed ...bool) {
		t.Helper()
		for range 3 {
			l.poll()
		}
		if p := k.Locate("81.2.69.142"); p.Name != country || p.Network != network {
			t.Errorf("81.2.69.142 is at %q in %q, want %q in %q", p.Name, p.Network, country, network)
		}
		if len(reports) != len(failed) {
			t.Fatalf("reports are %v, want %d", reports, len(failed))
		}
		for i, f := range failed {
			if (reports[i] != nil) != f {
				t.Errorf("report %d is %v", i, reports[i])
			}
		}
	}
	after("GB", "AS64496")
	write(asns, asnDB(t, 64497, "Example"))
	after("GB", "AS64497", false)
	write(places, countryDB(t, "FR"))
	after("FR", "AS64497", false, false)
	write(asns, []byte("broken"))
	write(places, countryDB(t, "DE"))
	after("DE", "AS64497", false, false, false, true)
	if err := reports[3]; !strings.Contains(err.Error(), "ASN database "+asns) || !strings.Contains(log.String(), "geo ASN database file can't be used") {
		t.Errorf("report %v, log:\n%s", err, &log)
	}
	write(asns, asnDB(t, 64498, "Example"))
	after("DE", "AS64498", false, false, false, true, false)
}

// TestNetworkAllocatesNothing: a look-up of an address, cached or not, makes no garbage.
func TestNetworkAllocatesNothing(t *testing.T) {
	k := openBoth(t, asnDB(t, 64496, "Example")).NewLookup()
	addresses := []string{"81.2.69.142", "2a02:c7c::1", "81.2.95.1", "::ffff:81.2.69.142", "10.0.0.1, 81.2.69.142"}
	for name, address := range map[string]func(int) string{
		"cached":     func(int) string { return addresses[0] },
		"not cached": func(i int) string { clear(k.cache); return addresses[i%len(addresses)] },
	} {
		i := 0
		if n := testing.AllocsPerRun(100, func() { k.Locate(address(i)); i++ }); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

// FuzzNetworks: a damaged file is refused or answers something, but never panics or hangs.
func FuzzNetworks(f *testing.F) {
	good := asnDB(f, 64496, "Example")
	f.Add(good, uint16(0), byte(0))
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f.Add(good, uint16(r.IntN(len(good))), byte(r.Uint32()))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte) {
		if int(at) < len(data) {
			data = bytes.Clone(data)
			data[at] ^= change
		}
		a, err := openASN(data)
		if err != nil {
			return
		}
		for _, addr := range []string{"81.2.69.142", "2a02:c7c::1"} {
			n := a.all[a.find(netip.MustParseAddr(addr))]
			if _, ok := ParseNetwork(n.name); !ok && n != (network{}) || len(n.organisation) > maxOrganisationBytes {
				t.Errorf("%s is in %+v", addr, n)
			}
		}
	})
}

// The public test database of MaxMind, read record by record.
func TestMaxMindNetworks(t *testing.T) {
	corpus := os.Getenv("FARCALL_CORPUS")
	if corpus == "" {
		t.Skip("FARCALL_CORPUS names no corpus: MaxMind's test database of networks is NOT tested")
	}
	l, err := Open(Options{ASNPath: filepath.Join(corpus, "mmdb", "GeoLite2-ASN-Test.mmdb"), NoAWSPrefixes: true})
	if err != nil {
		t.Fatal(err)
	}
	k, db := l.NewLookup(), l.current.Load().networks
	named := 0
	for r := range db.reader.Networks() {
		var want struct {
			Number       uint32 `maxminddb:"autonomous_system_number"`
			Organisation string `maxminddb:"autonomous_system_organization"`
		}
		if err := r.Decode(&want); err != nil {
			t.Fatal(err)
		}
		p := k.Locate(r.Prefix().Addr().String())
		if p.Kind != Public {
			if p.Network != "" {
				t.Errorf("%s is %s and in %s", r.Prefix(), p.Kind, p.Network)
			}
			continue
		}
		if got, _ := ParseNetwork(p.Network); got != want.Number || p.Organisation != want.Organisation {
			t.Errorf("%s is in %s of %q, the database says %+v", r.Prefix(), p.Network, p.Organisation, want)
		}
		named++
	}
	if named < 50 {
		t.Errorf("only %d networks had a number", named)
	}
}
