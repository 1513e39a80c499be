package triage

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

type deaf struct{}

func (deaf) Alert(*alert.Alert) error        { return nil }
func (deaf) Retract(key, value []byte) error { return nil }

// BenchmarkSighting is a principal at home, once an hour: what nearly all records of the principals topic are; and, at the other
// end, one that nobody has seen before.
func BenchmarkSighting(b *testing.B) {
	const principals = 1000
	at := int64(1_700_006_400)
	for _, c := range []struct {
		name   string
		before int // sightings
		who    func(i int) int
	}{
		{"at home", principals * 24 * (settledDays + 1), func(i int) int { return i % principals }},
		{"never seen", 0, func(i int) int { return i }},
	} {
		b.Run(c.name, func(b *testing.B) {
			cache := state.NewCache(64<<20, 16<<20) // a process's, by default
			defer cache.Unref()
			store, err := state.Open("state", state.Options{FS: vfs.NewMem(), Cache: cache})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			task, err := NewTask(DefaultConfig(), store, 0)
			if err != nil {
				b.Fatal(err)
			}
			feed := func(i int) {
				when := at + int64(i/principals)*3600
				v := topics.Visit{
					Method: "s3:GetObject", Principal: fmt.Sprint("111122223333/user/", c.who(i)), Place: "DE", Pane: when - when%3600, Outcome: topics.Allowed, Horizon: when * 1000,
					Evidence: topics.Evidence{EventTime: when * 1000, EventID: "e", Account: "111122223333", Address: "78.47.22.10", UserAgent: "aws-cli/2.17"},
				}
				s := topics.Sighting{Client: "aws-cli on linux", KeyID: "AKIAEXAMPLE", Visit: v}
				if _, err := task.Record(s.Append(nil, nil), when*1000, deaf{}); err != nil {
					b.Fatal(err)
				}
				if i%1000 == 0 {
					if err := store.Commit(state.Position{}); err != nil {
						b.Fatal(err)
					}
				}
			}
			for i := range c.before {
				feed(i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				feed(c.before + i)
			}
		})
	}
}
