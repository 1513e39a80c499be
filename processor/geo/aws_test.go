package geo

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// embeddedAWS returns the text of the embedded list.
func embeddedAWS(t testing.TB) string {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(awsData))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awsDate returns the date of the embedded list.
func awsDate(t testing.TB) string {
	header, _, _ := strings.Cut(embeddedAWS(t), "\n")
	date := strings.TrimPrefix(header, "aws-prefixes 1 ")
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		t.Fatal(err)
	}
	return date
}

func TestAWSOwned(t *testing.T) {
	l := open(t, countryDB(t, "GB"), Options{})
	k := l.NewLookup()
	if got, want := l.Build(), "GeoLite2-Country 2026-11-01, aws "+awsDate(t); got != want {
		t.Errorf("build is %q, want %q", got, want)
	}
	for address, want := range map[string]Place{
		"3.5.64.1":                 {Kind: AWSOwned, Name: "aws:eu-west-1"},
		"::ffff:3.5.64.1":          {Kind: AWSOwned, Name: "aws:eu-west-1"},
		"10.0.0.1, 3.5.64.1":       {Kind: List, Name: "aws:eu-west-1"},
		"15.193.63.1":              {Kind: AWSOwned, Name: "aws:global"},
		"15.193.0.1":               {Kind: AWSOwned, Name: "aws:ap-south-1"}, // a prefix inside the one before
		"240f:80f9:8000::1":        {Kind: AWSOwned, Name: "aws:cn-north-1"},
		"81.2.69.142":              {Kind: Public, Name: "GB", Country: "GB"},
		"81.2.69.142, 3.5.64.1":    {Kind: List, Name: "GB", Country: "GB"},
		"10.0.0.1, 192.168.10.10":  {Kind: List},
		"ec2.amazonaws.com":        {Kind: AWSService},
		"2a02:c7c::1":              {Kind: Public, Name: "GB", Country: "GB"},
		"2001:db8::1, 2001:db8::2": {Kind: List},
	} {
		for range 2 { // from the database and from the cache
			if got := k.Locate(address); got != want {
				t.Errorf("%s is at %+v, want %+v", address, got, want)
			}
		}
	}
	off := open(t, countryDB(t, "GB"), Options{NoAWSPrefixes: true})
	if got, want := off.NewLookup().Locate("3.5.64.1"), (Place{Kind: Public}); got != want {
		t.Errorf("without the list 3.5.64.1 is at %+v, want %+v", got, want)
	}
	if got, want := off.Build(), "GeoLite2-Country 2026-11-01"; got != want {
		t.Errorf("build is %q, want %q", got, want)
	}
}

// Each edge of each prefix of the list gets the region of the narrowest prefix that holds it.
func TestAWSRangesAgainstList(t *testing.T) {
	regions := map[netip.Prefix]string{}
	region := ""
	_, body, _ := strings.Cut(embeddedAWS(t), "\n")
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "/") {
			region = line
			continue
		}
		p := netip.MustParsePrefix(line)
		if _, ok := regions[p]; ok {
			t.Errorf("the list has %s twice", p)
		}
		regions[p] = region
	}
	narrowest := func(addr netip.Addr) string {
		for bits := addr.BitLen(); bits >= 0; bits-- {
			p, _ := addr.Prefix(bits)
			if region, ok := regions[p]; ok {
				return "aws:" + strings.ToLower(region)
			}
		}
		return ""
	}
	aws, err := ownList()
	if err != nil {
		t.Fatal(err)
	}
	name := func(addr netip.Addr) string {
		if id := aws.find(addr); id != noPlace {
			return aws.places[id-firstRegion].name
		}
		return ""
	}
	names := map[string]bool{}
	outside := 0
	for p := range regions {
		last := lastOf(p)
		for _, addr := range []netip.Addr{p.Addr(), p.Addr().Prev(), last, last.Next()} {
			want := narrowest(addr)
			if got := name(addr); got != want {
				t.Errorf("%s (an edge of %s) is at %q, want %q", addr, p, got, want)
			}
			if want == "" {
				outside++
			}
			names[want] = true
		}
	}
	if len(regions) < 6000 || len(names) < 40 || outside < 1000 {
		t.Errorf("only %d prefixes, %d places, %d addresses outside", len(regions), len(names), outside)
	}
}

func TestNestedRanges(t *testing.T) {
	const a, b, c = uint32(firstRegion), uint32(firstRegion) + 1, uint32(firstRegion) + 2
	r := flatten(topBitsIPv4, []block[uint32]{
		{0x01000000, 0x01ffffff, a},
		{0x01000000, 0x0100ffff, b}, // at the start of the one around
		{0x01000010, 0x0100001f, c}, // inside both
		{0x01ff0000, 0x01ffffff, c}, // at the end
		{0x02000000, 0x0200ffff, c}, // next to it, of the same place
		{0xffff0000, 0xffffffff, b}, // up to the last address
	})
	for key, want := range map[uint32]uint32{
		0x00ffffff: 0, 0x01000000: b, 0x0100000f: b, 0x01000010: c, 0x0100001f: c, 0x01000020: b, 0x0100ffff: b,
		0x01010000: a, 0x01feffff: a, 0x01ff0000: c, 0x01ffffff: c, 0x02000000: c, 0x0200ffff: c, 0x02010000: 0,
		0xfffeffff: 0, 0xffff0000: b, 0xffffffff: b,
	} {
		if got := r.find(key); got != want {
			t.Errorf("%08x is at %d, want %d", key, got, want)
		}
	}
	if len(r.runs) != 8 { // six of places, and two of none
		t.Errorf("%d runs, want 8: %x", len(r.runs), r.runs)
	}
}

func TestBrokenAWSLists(t *testing.T) {
	compress := func(text string) []byte {
		var buf bytes.Buffer
		zw := gzip.NewWriter(&buf)
		if _, err := zw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	const good = "aws-prefixes 1 2026-08-22\neu-west-1\n3.5.64.0/21\n2600:1f18::/36\n"
	if _, err := parseAWSRanges(compress(good)); err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string][]byte{
		"gzip":           []byte("aws-prefixes"),
		"unexpected EOF": compress(good)[:40],
		"first line is":  compress("aws-prefixes 2 2026-08-22\n"),
		"no IPv4":        compress("aws-prefixes 1 2026-08-22\neu-west-1\n2600:1f18::/36\n"),
		"has no region":  compress("aws-prefixes 1 2026-08-22\n3.5.64.0/21\n"),
		"no public":      compress(good + "10.0.0.0/8\n"),
		"3.5.65.0/21 is": compress(good + "3.5.65.0/21\n"),
		"ParsePrefix":    compress(good + "3.5.64.0/33\n"),
		"more than":      compress(good + strings.Repeat("\n", maxAWSListBytes)),
	} {
		if _, err := parseAWSRanges(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
