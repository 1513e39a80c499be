package geo

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// BenchmarkParse compares the parsers here with netip's. They also sort the address into public, private and reserved.
func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, address string }{
		{"ipv4", "203.112.198.254"},
		{"ipv6", "2a02:c7c:9b1f:8e00:1d3:53f4:7c1a:9d22"},
		{"ipv4 with port", "81.2.69.142:443"},
		{"name", "ec2.amazonaws.com"},
	} {
		b.Run(c.name+"/geo", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				readAddress(c.address)
			}
		})
		b.Run(c.name+"/netip", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				netip.ParseAddr(c.address)
			}
		})
	}
}

// BenchmarkLocate measures one look-up: of 1,000 addresses in turn, which the cache holds; of 100,000 by a Zipf law, as
// a stream has them; and of a million in turn, which it never holds.
func BenchmarkLocate(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	zipf := rand.NewZipf(r, 1.1, 1, 100_000-1)
	for _, db := range []struct {
		name string
		data func(*testing.B) []byte
	}{{"iploc", func(*testing.B) []byte { return nil }}, {"mmdb", benchmarkDB}} {
		l := open(b, db.data(b), Options{})
		for _, family := range []struct {
			name   string
			random func(*rand.Rand) netip.Addr
		}{{"ipv4", randomIPv4}, {"ipv6", randomIPv6}} {
			addresses := make([]string, 1<<20)
			for i := range addresses {
				addresses[i] = family.random(r).String()
			}
			for _, mix := range []struct {
				name string
				pick func(int) int
			}{
				{"hot", func(i int) int { return i % 1000 }},
				{"zipf", func(int) int { return int(zipf.Uint64()) }},
				{"cold", func(i int) int { return i }},
			} {
				stream := inOrder(len(addresses), func(i int) string { return addresses[mix.pick(i)] })
				b.Run(db.name+"/"+family.name+"/"+mix.name, func(b *testing.B) {
					k := l.NewLookup()
					for _, address := range stream {
						k.Locate(address)
					}
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						k.Locate(stream[i&(len(stream)-1)])
					}
				})
			}
		}
	}
}

// inOrder copies texts next to each other: an event's address has just been read, and is not what a look-up waits for.
func inOrder(n int, text func(int) string) []string {
	var all []byte
	ends := make([]int, n)
	for i := range n {
		all = append(all, text(i)...)
		ends[i] = len(all)
	}
	whole, start := string(all), 0
	texts := make([]string, n)
	for i, end := range ends {
		texts[i] = whole[start:end]
		start = end
	}
	return texts
}

// BenchmarkOpen measures what a start and a reload cost.
func BenchmarkOpen(b *testing.B) {
	data := benchmarkDB(b)
	b.Run(fmt.Sprintf("mmdb of %d KiB", len(data)>>10), func(b *testing.B) {
		for b.Loop() {
			if _, err := openMMDB(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list of AWS prefixes", func(b *testing.B) {
		for b.Loop() {
			if _, err := parseAWSRanges(awsData); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func randomIPv4(r *rand.Rand) netip.Addr {
	for {
		v4 := r.Uint32()
		if scopeIPv4(v4) == Public {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], v4)
			return netip.AddrFrom4(b)
		}
	}
}

// randomIPv6 returns an address from the blocks that registries give out.
func randomIPv6(r *rand.Rand) netip.Addr {
	tops := [...]uint64{0x2001, 0x2400, 0x2404, 0x2409, 0x240e, 0x2600, 0x2607, 0x2620, 0x2800, 0x2a00, 0x2a02, 0x2a10, 0x2c0f}
	for {
		hi := tops[r.IntN(len(tops))]<<48 | r.Uint64()>>16
		if scopeIPv6(hi) == Public {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:8], hi)
			binary.BigEndian.PutUint64(b[8:], r.Uint64())
			return netip.AddrFrom16(b)
		}
	}
}
