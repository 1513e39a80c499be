package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"os"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/loadtest/peers"
)

// All systems must come to the same distributions, and to those that the load has: lines of
//
//	method<TAB>pane<TAB>place<TAB>principals<TAB>cell
//
// by bytes in order, with pane in Unix seconds, the number of principals that were allowed, estimated where a counter is all there is,
// and XXH64 of the cell's bytes in hexadecimal. The bytes are those of state/FORMAT.md behind the place, so that equal sums mean equal
// principals with equal outcomes. Written from that page alone.

const (
	paneSeconds = 3600
	spelledOut  = 32 // principals of a cell; one more makes it a counter
	counterBits = 1024
)

// where says what a cell is of.
type where struct {
	method string
	pane   int64
	place  string
}

// cell holds the principals of one method in one pane and place.
type cell struct {
	hashes  map[uint64]byte              // with outcomes
	counter *[2][counterBits / 64]uint64 // allowed, denied
}

const (
	allowed = 1
	denied  = 2
)

func (c *cell) add(hash uint64, outcome byte) {
	if c.counter == nil {
		if _, ok := c.hashes[hash]; ok || len(c.hashes) < spelledOut {
			c.hashes[hash] |= outcome
			return
		}
		c.counter = new([2][counterBits / 64]uint64)
		for h, o := range c.hashes {
			c.mark(h, o)
		}
		c.hashes = nil
	}
	c.mark(hash, outcome)
}

func (c *cell) mark(hash uint64, outcome byte) {
	bit := hash >> 2 % counterBits
	for i := range c.counter {
		if outcome>>i&1 == 1 {
			c.counter[i][bit/64] |= 1 << (bit % 64)
		}
	}
}

func (c *cell) bytes() []byte {
	if c.counter != nil {
		b := []byte{0xff}
		for _, half := range c.counter {
			for _, w := range half {
				b = binary.BigEndian.AppendUint64(b, w)
			}
		}
		return b
	}
	b := []byte{byte(len(c.hashes))}
	for _, h := range slices.Sorted(maps.Keys(c.hashes)) {
		b = binary.BigEndian.AppendUint64(b, h|uint64(c.hashes[h]))
	}
	return b
}

// line is a cell as it is compared; b is its bytes behind the place.
func (w where) line(b []byte) string {
	n := 0
	if b[0] == 0xff {
		set := 0
		for i := range counterBits / 64 {
			set += bits.OnesCount64(binary.BigEndian.Uint64(b[1+8*i:]))
		}
		n = int(math.Round(-counterBits * math.Log(max(.5, float64(counterBits-set))/counterBits)))
	} else {
		for i := range int(b[0]) {
			n += int(b[8*(i+1)] & allowed)
		}
	}
	return fmt.Sprintf("%s\t%d\t%s\t%d\t%016x", w.method, w.pane, w.place, n, xxhash.Sum64(b))
}

// truth is what the load has.
type truth map[where]*cell

func (t truth) add(e *generate.Event) {
	if e.Place == "" {
		return
	}
	w := where{e.Method, e.Time / paneSeconds * paneSeconds, e.Place}
	c := t[w]
	if c == nil {
		c = &cell{hashes: map[uint64]byte{}}
		t[w] = c
	}
	outcome := byte(allowed)
	if e.Denied {
		outcome = denied
	}
	c.add(xxhash.Sum64(e.Principal)&^3, outcome)
}

func (t truth) lines() []string {
	var lines []string
	for w, c := range t {
		lines = append(lines, w.line(c.bytes()))
	}
	slices.Sort(lines)
	return lines
}

// farcallLines are the cells in the changelog of detect of an installation that has stopped.
func farcallLines(ctx context.Context, b *bench, i *installation) ([]string, error) {
	var rows bytes.Buffer
	if err := peers.Rows(ctx, b.brokers, i.prefix, &rows); err != nil {
		return nil, err
	}
	return slices.Collect(strings.FieldsFuncSeq(rows.String(), func(r rune) bool { return r == '\n' })), nil
}

// fileLines reads the lines that a peer wrote.
func fileLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines, s.Err()
}

// compare says how lines differ from what they must be, with the first few differences.
func compare(want, got []string) error {
	const shown = 5
	var differ []string
	n := 0
	note := func(format, line string) {
		if n++; n <= shown {
			differ = append(differ, fmt.Sprintf(format, line))
		}
	}
	for i, j := 0, 0; i < len(want) || j < len(got); {
		order := 0
		switch {
		case i == len(want):
			order = 1
		case j == len(got):
			order = -1
		default:
			order = cmp.Compare(want[i], got[j])
		}
		switch {
		case order < 0:
			note("missing: %s", want[i])
			i++
		case order > 0:
			note("not in the load: %s", got[j])
			j++
		default:
			i++
			j++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d of %d rows differ from the load's:\n%s", n, len(want), strings.Join(differ, "\n"))
	}
	if len(want) == 0 {
		return errors.New("the load has no rows")
	}
	return nil
}
