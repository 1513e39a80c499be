package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/loadtest/kafka"
)

func TestMain(m *testing.M) {
	consumeIfAsked() // the bench starts itself as a consumer
	os.Exit(m.Run())
}

// TestBench is all of the bench on a small load: what it says of times means nothing here.
func TestBench(t *testing.T) {
	o := options{
		events: 12_000, partitions: 2, ownPartitions: 4, repeats: 1, rate: 2_000, codec: "zstd", worlds: []string{generate.Default,
			generate.Worst}, parts: parts, peers: false,
		plots: t.TempDir(), paced: 3 * time.Second, cluster: kafka.Require(t, kafka.Options{}),
		sizes: []grown{{"workers a stage", 1, "1", 2, 0, 1}, {"workers a stage", 2, "2", 2, 0, 2}, {"share of the most called method", .6,
			"60 %", 2, .6, 1}},
	}
	var out bytes.Buffer
	if err := run(context.Background(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	text := out.String()
	for _, want := range []string{
		`\*\*the limit\*\*[^|]*\|( [\d.]+ \|){4}[^|]*\|[^|]*\|( [\d.]+ \|){2}`, `\*\*farcall, all stages\*\* \|( [\d.]+ \|){4}[^|]*\|[^|]*\|( [\d.]+ \|){5}`, `\| worst world \|`,
		`All distributions are those of the load: \d{3,} rows`,
		`Raw lines \(wall s, CPU s, RSS MiB, events and CPU s at the middle\): bare [\d.]+`, `farcall \| 90 % of \d+ \| \d+ \| [1-9]`, `workers a stage \| 2 \| [\d.]+ \|`,
		`\| events late \| 0 \|`, `\| clients rebuilt, sessions lost \| 0 \|`,
		`\| small kinds \| 12000 \| farcall, all stages \|.*\| 10\d/10\d \|`, `\| every kind \| 12000 \| farcall, all stages \|`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("it does not say %s", want)
		}
	}
	for _, name := range []string{"throughput", "latency", "growth"} {
		if b, err := os.ReadFile(o.plot(name)); err != nil || !bytes.HasPrefix(b, []byte("\x89PNG")) {
			t.Errorf("plot of %s: %v", name, err)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestFromMiddle: the start is left out, and a load of which too little is left behind its middle says nothing.
func TestFromMiddle(t *testing.T) {
	f := &filled{events: 4_000_000, bad: 1000}
	s := sample{usage: usage{cpu: 20 * time.Second}, middle: mark{events: 2_001_000, cpu: 14 * time.Second}}
	if got, ok := s.fromMiddle(f); !ok || got != 3 {
		t.Errorf("%v %v, want 3 s per million", got, ok)
	}
	for _, events := range []int64{0, 3_500_000, 4_001_000} {
		s.middle.events = events
		if got, ok := s.fromMiddle(f); ok {
			t.Errorf("middle at %d: %v, want nothing", events, got)
		}
	}
	cpu := func() time.Duration {
		d, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for began := cpu(); cpu() < began+50*time.Millisecond; { // it takes what it asks for
	}
}

// TestRowsOfTheLoad: cells hold what was added, as state/FORMAT.md has it, whatever the order.
func TestRowsOfTheLoad(t *testing.T) {
	event := func(n int, denied bool) *generate.Event {
		return &generate.Event{Time: 7_205, Method: "iam:CreateUser", Principal: fmt.Appendf(nil, "444455556666/user/u-%d", n), Place: "DE",
			Denied: denied}
	}
	one := truth{}
	one.add(event(0, false))
	one.add(event(0, true))
	one.add(event(1, true))
	one.add(&generate.Event{Method: "iam:CreateUser", Principal: []byte("x")}) // without a place it is nowhere
	hashes := []uint64{xxhash.Sum64String("444455556666/user/u-0")&^3 | 3, xxhash.Sum64String("444455556666/user/u-1")&^3 | 2}
	slices.Sort(hashes)
	b := []byte{2}
	for _, h := range hashes {
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(h>>shift))
		}
	}
	if got, want := one.lines(), []string{fmt.Sprintf("iam:CreateUser\t7200\tDE\t1\t%016x", xxhash.Sum64(b))}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	up, down := truth{}, truth{}
	const many = 400
	for n := range many {
		up.add(event(n, n%10 == 0))
		down.add(event(many-1-n, (many-1-n)%10 == 0))
	}
	if !slices.Equal(up.lines(), down.lines()) {
		t.Errorf("%q, and in another order %q", up.lines(), down.lines())
	}
	var n int
	if _, err := fmt.Sscanf(strings.Split(up.lines()[0], "\t")[3], "%d", &n); err != nil || n < 330 || n > 390 {
		t.Errorf("%d principals are estimated, of 360", n)
	}
}

// TestCompare: every difference is found, and equal rows are no difference.
func TestCompare(t *testing.T) {
	want := []string{"a\t1", "b\t2", "c\t3"}
	if err := compare(want, slices.Clone(want)); err != nil {
		t.Error(err)
	}
	for _, got := range [][]string{nil, want[1:], want[:2], {"a\t1", "b\t3", "c\t3"}, {"a\t1", "a\t2", "b\t2", "c\t3"}, {"a\t1", "b\t2",
		"c\t3", "d\t4"}, {"a\t1", "a\t1", "b\t2", "c\t3"}} {
		if compare(want, got) == nil {
			t.Errorf("%q is taken for %q", got, want)
		}
	}
	if compare(nil, nil) == nil {
		t.Error("no rows at all are a success")
	}
}

func TestParts(t *testing.T) {
	if err := run(context.Background(), options{events: 1000, partitions: 1, repeats: 1, parts: []string{"speed"}},
		&bytes.Buffer{}); err == nil {
		t.Error("a part that does not exist was run")
	}
}
