package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// at is the place of an address in spans, "" if it is in none.
func at(spans []span, address string) string {
	a := netip.MustParseAddr(address)
	for _, s := range spans {
		if s.first.BitLen() == a.BitLen() && !a.Less(s.first) && !s.last.Less(a) {
			return s.place
		}
	}
	return ""
}

func TestPlaces(t *testing.T) {
	spans, err := places()
	if err != nil {
		t.Fatal(err)
	}
	for i := range spans[1:] {
		if a, b := spans[i], spans[i+1]; a.last.Less(a.first) || !a.last.Less(b.first) {
			t.Fatalf("%v and then %v", a, b)
		}
	}
	for address, want := range map[string]string{
		"8.8.8.8": "US", "78.47.22.10": "DE", "3.80.0.1": "aws:us-east-1", "10.1.2.3": "", "203.0.113.7": "", "0.1.2.3": "", "255.255.255.255": "",
		"2a01:4f8::1": "DE", "2001:db8::1": "", "fe80::1": "", "::1": "", "ffff::1": "",
	} {
		if got := at(spans, address); got != want {
			t.Errorf("%s is in %q, want %q", address, got, want)
		}
	}
}

// TestLay lays random spans over others, and looks at each address.
func TestLay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const size = 200
	some := func(share float64, name string) (spans []span, by [size]string) {
		for i := 0; i < size; {
			n := min(1+rng.IntN(20), size-i)
			if rng.Float64() < share {
				place := fmt.Sprint(name, i)
				spans = append(spans, span{netip.AddrFrom4([4]byte{1, 0, 0, byte(i)}), netip.AddrFrom4([4]byte{1, 0, 0, byte(i + n - 1)}), place})
				for k := range n {
					by[i+k] = place
				}
			}
			i += n
		}
		return spans, by
	}
	for range 2000 {
		under, want := some(0.8, "u")
		over, top := some(0.4, "o")
		for i, place := range top {
			if place != "" {
				want[i] = place
			}
		}
		got := lay(under, over)
		for i := range size {
			if p := at(got, fmt.Sprintf("1.0.0.%d", i)); p != want[i] {
				t.Fatalf("%v over %v is %v: at %d %q, want %q", over, under, got, i, p, want[i])
			}
		}
	}
}

func TestCells(t *testing.T) {
	row := []byte{1, 2, 2, 'D', 'E', 2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 10, 2, 'U', 'S', 0xFF}
	row = append(row, make([]byte, 256)...)
	row[len(row)-256], row[len(row)-1] = 0x81, 0xFF // two bits of allowed, eight of denied
	cells, err := parseCells(row)
	if err != nil || len(cells) != 2 {
		t.Fatal(cells, err)
	}
	if n := cells["DE"].visits(); n != 1 {
		t.Errorf("%d visits of DE, of which one was allowed", n)
	}
	if n := cells["US"].visits(); n != 2 {
		t.Errorf("%d visits of US, of which two are counted", n)
	}
	for i := range row {
		if _, err := parseCells(row[:i]); !errors.Is(err, errRow) {
			t.Errorf("%d bytes of a row: %v", i, err)
		}
	}
	if _, err := parseCells(append(row, 0)); !errors.Is(err, errRow) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestCompare(t *testing.T) {
	compare := func(a, b string) string {
		d, _, err := Compare(strings.NewReader(a), strings.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := compare("a\nb\n", "b\na\n"); d != "" {
		t.Errorf("the same rows differ: %s", d)
	}
	if d := compare("a\nb\n", "b\nc\n"); d != "only in the first: a\nonly in the second: c\n" {
		t.Errorf("got %q", d)
	}
	if d := compare(strings.Repeat("x", 3)+"\n", ""); !strings.Contains(d, "xxx") {
		t.Errorf("got %q", d)
	}
	if _, n, _ := Compare(strings.NewReader("a\nb\n"), &bytes.Buffer{}); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// TestKafkaStreams builds the Kafka Streams jobs and runs their own tests, so that they can't rot.
func TestKafkaStreams(t *testing.T) {
	if _, err := exec.LookPath("mvn"); err != nil || runtime.GOOS != "linux" {
		if os.Getenv("FARCALL_NO_SKIP") == "1" {
			t.Fatal("no mvn in PATH, and FARCALL_NO_SKIP=1 forbids to skip")
		}
		fmt.Fprintln(os.Stderr, "SKIPPED: no mvn in PATH, so the Kafka Streams jobs are not built")
		t.Skip("no mvn in PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-C", "package")
	cmd.Dir = "kafka-streams"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mvn package: %v\n%s", err, out[max(0, len(out)-8000):])
	}
}
