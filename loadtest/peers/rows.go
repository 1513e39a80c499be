package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/topics"
)

// Rows writes the distributions of an installation that has stopped, from detect's changelog: sorted lines of
//
//	method <tab> pane, Unix seconds <tab> place <tab> visits <tab> hash of the cell
//
// Visits are the distinct principals that were allowed, as the cell counts them. The hash is the XXH64, in 16 digits, of the
// cell's bytes behind its place, so that equal hashes are the same principals with the same outcomes. Rows of any method are
// left out: no peer has them. It knows the bytes from state/FORMAT.md.
func Rows(ctx context.Context, brokers []string, prefix string, w io.Writer) error {
	rows := map[string][]byte{}
	err := eachCommitted(ctx, brokers, topics.NamesFor(prefix).DetectChangelog, func(r *kgo.Record) {
		if r.Value == nil {
			delete(rows, string(r.Key))
		} else {
			rows[string(r.Key)] = r.Value
		}
	})
	if err != nil {
		return err
	}
	var lines []string
	for key, row := range rows {
		if key[0] != 'w' {
			continue
		}
		n := len(key) - 10 // 00, pane, block
		if n < 1 || key[n] != 0 {
			return fmt.Errorf("%w: key %q", errRow, key)
		}
		method, pane := key[1:n], int64(binary.BigEndian.Uint64([]byte(key[n+1:n+9]))^1<<63)
		if method == topics.AnyMethod {
			continue
		}
		cells, err := parseCells(row)
		if err != nil {
			return fmt.Errorf("row of %s: %w", method, err)
		}
		for place, cell := range cells {
			lines = append(lines, fmt.Sprintf("%s\t%d\t%s\t%d\t%016x\n", method, pane, place, cell.visits(), xxhash.Sum64(cell)))
		}
	}
	slices.Sort(lines)
	b := bufio.NewWriter(w)
	for _, l := range lines {
		b.WriteString(l)
	}
	return b.Flush()
}

var errRow = errors.New("not a row of state/FORMAT.md")

// cell is a cell of a pane row, behind its place.
type cell []byte

func parseCells(row []byte) (map[string]cell, error) {
	if len(row) < 2 || row[0] != 1 {
		return nil, fmt.Errorf("%w: version", errRow)
	}
	count, n := binary.Uvarint(row[1:])
	b := row[1+max(n, 0):]
	cells := map[string]cell{}
	for range count {
		size, n := binary.Uvarint(b)
		if n <= 0 || size >= uint64(len(b)-n) {
			return nil, fmt.Errorf("%w: place", errRow)
		}
		place := string(b[n : n+int(size)])
		b = b[n+int(size):]
		length := 1 + 8*int(b[0])
		if b[0] == 0xFF {
			length = 1 + 256
		}
		if length > len(b) {
			return nil, fmt.Errorf("%w: cell", errRow)
		}
		cells[place], b = b[:length:length], b[length:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: too long", errRow)
	}
	return cells, nil
}

// visits counts the principals that were allowed, or estimates them by linear counting.
func (c cell) visits() int64 {
	n := 0
	if c[0] != 0xFF {
		for at := 8; at < len(c); at += 8 {
			n += int(c[at] & 1)
		}
		return int64(n)
	}
	for at := 1; at < 129; at += 8 {
		n += bits.OnesCount64(binary.BigEndian.Uint64(c[at:]))
	}
	return int64(math.Round(-1024 * math.Log(max(float64(1024-n), 0.5)/1024)))
}

// eachCommitted gives every committed record of a topic to each. Nobody may write to it any more.
func eachCommitted(ctx context.Context, brokers []string, topic string, each func(*kgo.Record)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, fmt.Errorf("%s could not be read to its end", topic))
	defer cancel()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("offsets of %s: %w", topic, err)
	}
	left, starts := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition], starts[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts})
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Each transaction ends in a marker, which is handed out even where its records were aborted.
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				each(r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return nil
}

// Compare says how two sets of rows differ, in at most a few lines; "" if they don't. rows is how many the first has.
func Compare(a, b io.Reader) (difference string, rows int, err error) {
	var sets [2]map[string]bool
	for i, r := range [...]io.Reader{a, b} {
		sets[i] = map[string]bool{}
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			sets[i][lines.Text()] = true
		}
		if err := lines.Err(); err != nil {
			return "", 0, err
		}
	}
	const most = 10
	var out bytes.Buffer
	for i, name := range [...]string{"first", "second"} {
		other := sets[1-i]
		only := slices.Sorted(maps.Keys(sets[i]))
		only = slices.DeleteFunc(only, func(line string) bool { return other[line] })
		for _, line := range only[:min(len(only), most)] {
			fmt.Fprintf(&out, "only in the %s: %s\n", name, line)
		}
		if len(only) > most {
			fmt.Fprintf(&out, "and %d more only in the %s\n", len(only)-most, name)
		}
	}
	return out.String(), len(sets[0]), nil
}
