// Command genaws makes processor/geo/data/aws-prefixes.txt.gz from the list that AWS publishes at
// https://ip-ranges.amazonaws.com/ip-ranges.json, which it reads from standard input:
//
//	go run ./processor/geo/genaws <ip-ranges.json >processor/geo/data/aws-prefixes.txt.gz
//
// It keeps prefixes and regions, drops services and what other prefixes already say, and is deterministic: the same list
// gives the same bytes.
package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "genaws:", err)
		os.Exit(1)
	}
}

// published is the part of ip-ranges.json that matters here.
type published struct {
	CreateDate string `json:"createDate"` // 2026-08-22-05-12-10
	Prefixes   []struct {
		Prefix netip.Prefix `json:"ip_prefix"`
		Region string       `json:"region"`
	} `json:"prefixes"`
	IPv6Prefixes []struct {
		Prefix netip.Prefix `json:"ipv6_prefix"`
		Region string       `json:"region"`
	} `json:"ipv6_prefixes"`
}

func run(r io.Reader, w io.Writer) error {
	var list published
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return fmt.Errorf("reading the list: %w", err)
	}
	if len(list.CreateDate) < len(time.DateOnly) {
		return fmt.Errorf("createDate is %q", list.CreateDate)
	}
	date := list.CreateDate[:len(time.DateOnly)]
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return fmt.Errorf("createDate is %q", list.CreateDate)
	}
	regions := map[netip.Prefix]string{}
	for _, p := range list.Prefixes {
		if err := add(regions, p.Prefix, p.Region); err != nil {
			return err
		}
	}
	for _, p := range list.IPv6Prefixes {
		if err := add(regions, p.Prefix, p.Region); err != nil {
			return err
		}
	}
	reduce(regions)
	return write(w, date, regions)
}

// global is the region of what is announced from everywhere, such as CloudFront.
const global = "GLOBAL"

// add takes note of one prefix. The list has it once for each service; a region says more than GLOBAL does.
func add(regions map[netip.Prefix]string, p netip.Prefix, region string) error {
	if !p.IsValid() || p != p.Masked() || region == "" || strings.ContainsAny(region, "/ \n") {
		return fmt.Errorf("prefix %s with region %q", p, region)
	}
	old, ok := regions[p]
	switch {
	case !ok || old == global:
		regions[p] = region
	case region != global && region != old:
		return fmt.Errorf("prefix %s is in %s and in %s", p, old, region)
	}
	return nil
}

// reduce drops a prefix if the smallest one around it has the same region, and joins two halves of one region.
func reduce(regions map[netip.Prefix]string) {
	narrowestFirst := slices.SortedFunc(maps.Keys(regions), func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return b.Bits() - a.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	for len(narrowestFirst) > 0 {
		p := narrowestFirst[0]
		narrowestFirst = narrowestFirst[1:]
		region, ok := regions[p]
		if !ok {
			continue // joined
		}
		if around(regions, p) == region {
			delete(regions, p)
			continue
		}
		if p.Bits() == 0 {
			continue
		}
		half, parent := sibling(p), netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		if _, taken := regions[parent]; regions[half] != region || taken {
			continue
		}
		delete(regions, p)
		delete(regions, half)
		regions[parent] = region
		at, _ := slices.BinarySearchFunc(narrowestFirst, parent, func(a, b netip.Prefix) int {
			if a.Bits() != b.Bits() {
				return b.Bits() - a.Bits()
			}
			return a.Addr().Compare(b.Addr())
		})
		narrowestFirst = slices.Insert(narrowestFirst, at, parent)
	}
}

func around(regions map[netip.Prefix]string, p netip.Prefix) string {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		if region, ok := regions[netip.PrefixFrom(p.Addr(), bits).Masked()]; ok {
			return region
		}
	}
	return ""
}

// sibling returns the other half of the prefix that is one bit shorter than p.
func sibling(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	last := p.Bits() - 1
	b[last/8] ^= 0x80 >> (last % 8)
	addr, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, p.Bits())
}

func write(w io.Writer, date string, regions map[netip.Prefix]string) error {
	byRegion := map[string][]netip.Prefix{}
	for p, region := range regions {
		byRegion[region] = append(byRegion[region], p)
	}
	zw, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	fmt.Fprintf(zw, "aws-prefixes 1 %s\n", date)
	for _, region := range slices.Sorted(maps.Keys(byRegion)) {
		fmt.Fprintln(zw, region)
		prefixes := byRegion[region]
		slices.SortFunc(prefixes, netip.Prefix.Compare)
		for _, p := range prefixes {
			fmt.Fprintln(zw, p)
		}
	}
	return zw.Close()
}
