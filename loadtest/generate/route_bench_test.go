package generate_test

import (
	"testing"
	"time"

	"github.com/farcall/farcall/loadtest/generate"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/topics"
)

// nobody takes what is told and forgets it.
type nobody struct{}

func (nobody) Visit(_, _ []byte)             {}
func (nobody) Pulse(_, _ []byte)             {}
func (nobody) Sighting(_, _ []byte)          {}
func (nobody) DeadLetter(*topics.DeadLetter) {}

// BenchmarkRoute measures route, decoding included, over 300,000 events of the default world in four raw partitions.
func BenchmarkRoute(b *testing.B) {
	const events, partitions = 300_000, 4
	g, err := generate.New(generate.DefaultOptions())
	if err != nil {
		b.Fatal(err)
	}
	var values []byte
	records := make([]route.Raw, events)
	at := make([]int, events+1)
	for i := range records {
		var e *generate.Event
		values, e = g.Append(values)
		at[i+1] = len(values)
		records[i] = route.Raw{Timestamp: e.Time*1000 + 60_000, Source: topics.Source{Topic: "cloudtrail"}}
	}
	for i := range records {
		records[i].Value = values[at[i]:at[i+1]]
	}
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var tasks [partitions]*route.Task
	i := events
	for b.Loop() {
		if i == events {
			b.StopTimer()
			for p := range tasks {
				if tasks[p], err = route.NewTask(route.DefaultConfig(), nil, locator, time.Now, 0, route.NewStats()); err != nil {
					b.Fatal(err)
				}
			}
			i = 0
			b.StartTimer()
		}
		tasks[i/1000%partitions].Record(&records[i], nobody{})
		i++
	}
}
