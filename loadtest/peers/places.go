// Package peers is what the streams processors that farcall is measured against need of Go: the table of places that they load,
// so that nobody's look-ups differ, and the rows of farcall in the form in which the peers write theirs, so that both can be
// compared before any time is reported. It must never run a peer or time one.
package peers

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go4.org/netipx"
)

// span is a range of addresses with one place; both ends are of one family.
type span struct {
	first, last netip.Addr
	place       string
}

// nowhere is the place of public addresses that have none. Other addresses are in no span.
const nowhere = "-"

// WritePlaces writes where each public address is for farcall without a database of its own, as lines of first address, last
// address and place with tabs between them: IPv4 first, in order, without overlaps. The country ranges come from the module
// that farcall has inside, which the go command must find, AWS's from processor/geo/data.
func WritePlaces(w io.Writer) error {
	spans, err := places()
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	for _, s := range spans {
		fmt.Fprintf(b, "%s\t%s\t%s\n", s.first, s.last, s.place)
	}
	return b.Flush()
}

func places() ([]span, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/farcall/farcall", "github.com/phuslu/iploc").Output()
	if err != nil {
		return nil, fmt.Errorf("find the modules: %w", err)
	}
	dirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(dirs) != 2 {
		return nil, fmt.Errorf("find the modules: %q", out)
	}
	spans, err := countries(dirs[1])
	if err != nil {
		return nil, fmt.Errorf("country ranges: %w", err)
	}
	prefixes, err := awsPrefixes(filepath.Join(dirs[0], "processor", "geo", "data", "aws-prefixes.txt.gz"))
	if err != nil {
		return nil, fmt.Errorf("AWS's ranges: %w", err)
	}
	// The narrowest prefix that holds an address says its place: the wide ones are laid first.
	for len(prefixes) > 0 {
		wide := prefixes[0].bits
		n := slices.IndexFunc(prefixes, func(p awsPrefix) bool { return p.bits != wide })
		if n < 0 {
			n = len(prefixes)
		}
		over := make([]span, n)
		for i, p := range prefixes[:n] {
			over[i] = p.span
		}
		spans = lay(spans, over)
		prefixes = prefixes[n:]
	}
	var none []span
	for _, p := range notPublic {
		r := netipx.RangeOfPrefix(netip.MustParsePrefix(p))
		none = append(none, span{r.From(), r.To(), ""})
	}
	return slices.DeleteFunc(lay(spans, none), func(s span) bool { return s.place == "" }), nil
}

// countries reads the ranges of the embedded country database: the first addresses of all ranges in one file, their codes in
// another. Each range ends where the next begins.
func countries(dir string) (spans []span, err error) {
	read := func(name string) []byte {
		b, e := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = e
		}
		return b
	}
	first4, codes4, packed, codes6 := read("ipv4le.bin"), read("ipv4.txt"), read("ipv6le.gz"), read("ipv6.txt")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	first6, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	if len(first4)/4 != len(codes4)/2 || len(first6)/16 != len(codes6)/2 {
		return nil, fmt.Errorf("%d and %d IPv4 ranges, %d and %d IPv6 ranges", len(first4)/4, len(codes4)/2, len(first6)/16, len(codes6)/2)
	}
	for i := range len(codes4) / 2 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], binary.LittleEndian.Uint32(first4[4*i:]))
		spans = append(spans, span{first: netip.AddrFrom4(b), place: string(codes4[2*i : 2*i+2])})
	}
	for i := range len(codes6) / 2 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], binary.LittleEndian.Uint64(first6[16*i:]))
		binary.BigEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(first6[16*i+8:]))
		spans = append(spans, span{first: netip.AddrFrom16(b), place: string(codes6[2*i : 2*i+2])})
	}
	for i := range spans {
		s := &spans[i]
		if s.place == "ZZ" {
			s.place = nowhere
		}
		switch {
		case i+1 < len(spans) && spans[i+1].first.BitLen() == s.first.BitLen():
			s.last = spans[i+1].first.Prev()
		default:
			s.last = netipx.PrefixLastIP(netip.PrefixFrom(s.first, 0))
		}
	}
	return spans, nil
}

type awsPrefix struct {
	span
	bits int
}

// awsPrefixes reads the list, and sorts it by length and then by address.
func awsPrefixes(path string) (list []awsPrefix, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(z)
	lines.Scan() // the header
	region := ""
	for lines.Scan() {
		p, err := netip.ParsePrefix(lines.Text())
		if err != nil {
			region = "aws:" + strings.ToLower(lines.Text())
			continue
		}
		r := netipx.RangeOfPrefix(p)
		list = append(list, awsPrefix{span{r.From(), r.To(), region}, p.Bits()})
	}
	slices.SortFunc(list, func(a, b awsPrefix) int { return cmp.Or(cmp.Compare(a.bits, b.bits), a.first.Compare(b.first)) })
	return list, lines.Err()
}

// lay puts spans over others, which give way. Both are in order and without overlaps.
func lay(under, over []span) []span {
	spans := make([]span, 0, len(under)+2*len(over))
	for _, u := range under {
		for len(over) > 0 && over[0].last.Less(u.first) {
			spans, over = append(spans, over[0]), over[1:]
		}
		for left := true; left; {
			if len(over) == 0 || u.last.Less(over[0].first) {
				spans = append(spans, u)
				break
			}
			o := over[0]
			if u.first.Less(o.first) {
				spans = append(spans, span{u.first, o.first.Prev(), u.place})
			}
			if left = o.last.Less(u.last); left { // the rest of u lies behind o
				spans, over = append(spans, o), over[1:]
				u.first = o.last.Next()
			} else if o.last == u.last {
				spans, over = append(spans, o), over[1:]
			}
			// Otherwise o covers the rest of u, and reaches beyond.
		}
	}
	return append(spans, over...)
}

// notPublic are the ranges that nobody calls from, in order: IANA's special-purpose addresses, and what is not given out.
var notPublic = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/3",
	"::/3", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "4000::/2", "8000::/1",
}
