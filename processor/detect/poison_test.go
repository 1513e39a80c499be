package detect

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// BenchmarkManyCountries compares detect over visits of 200 methods from five places with the same and one to each hundred that is of a
// method called from as many places as there are, or from a thousand, in turns: %-slower is what the others lose by it.
func BenchmarkManyCountries(b *testing.B) {
	for _, places := range []int{300, 1000} {
		b.Run(fmt.Sprint(places), func(b *testing.B) { manyCountries(b, places) })
	}
}

func manyCountries(b *testing.B, places int) {
	const start = int64(1_700_006_400)
	visit := func(method, place, who string, second int) topics.Visit {
		at := start + int64(second)
		return topics.Visit{Method: method, Place: place, Principal: who, Pane: at - at%3600, Outcome: topics.Allowed, Horizon: at * 1000,
			Evidence: topics.Evidence{EventTime: at * 1000}}
	}
	var good, mixed []topics.Visit
	for i := range 100_000 {
		v := visit(fmt.Sprint("iam:M", i%200), []string{"DE", "US", "FR", "NL", "GB"}[i/200%5], fmt.Sprint("user ", i/1000%25), i*3600/20_000)
		good, mixed = append(good, v), append(mixed, v)
		if i%100 == 50 {
			n := i / 100
			mixed = append(mixed, visit("iam:Many", fmt.Sprint("P", n%places), fmt.Sprint("many ", n), i*3600/20_000))
		}
	}
	run := func(visits []topics.Visit) time.Duration {
		store, err := state.Open("state", state.Options{FS: vfs.NewMem()})
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		task := NewTask(DefaultConfig(), store, 0)
		begin := time.Now()
		for i := range visits {
			var a topics.Anomaly
			if _, err := task.Visit(&visits[i], &a); err != nil {
				b.Fatal(err)
			}
			if i%2000 == 1999 {
				task.Flush()
				if err := store.Commit(state.Position{}); err != nil {
					b.Fatal(err)
				}
			}
		}
		return time.Since(begin)
	}
	var plain, with []time.Duration
	for b.Loop() {
		plain, with = append(plain, run(good)), append(with, run(mixed))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(slices.Min(plain).Nanoseconds())/float64(len(good)), "ns/visit")
	b.ReportMetric(100*(float64(slices.Min(with))/float64(slices.Min(plain))-1), "%-slower")
}
