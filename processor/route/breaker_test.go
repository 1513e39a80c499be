package route

import (
	"strings"
	"testing"

	"github.com/farcall/farcall/topics"
)

func TestBreaker(t *testing.T) {
	last := &topics.DeadLetter{Reason: "not_json", Detail: "neither JSON nor gzip", Source: topics.Source{Topic: "logs", Partition: 3, Offset: 88}}
	feed := func(b *Breaker, good, bad int) (stopped int, err error) {
		for i := range good + bad {
			one := int64(0)
			if i%(good+bad) >= good {
				one = 1
			}
			if err := b.Note("logs", 1-one, one, last); err != nil {
				return i + 1, err
			}
		}
		return 0, nil
	}
	t.Run("nothing but junk", func(t *testing.T) {
		n, err := feed(NewBreaker(0.5), 0, 5000)
		if n != breakerRecords {
			t.Fatalf("stopped after %d records, want %d", n, breakerRecords)
		}
		for _, word := range []string{"1000 of the last 1000 records of topic logs", "logs/3 offset 88", "not_json, neither JSON nor gzip", "route.max_bad_share (0.5)", "topics.raw"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is missing from %q", word, err)
			}
		}
	})
	t.Run("few records say nothing", func(t *testing.T) {
		if n, err := feed(NewBreaker(0.5), 0, breakerRecords-1); err != nil {
			t.Errorf("stopped after %d", n)
		}
	})
	t.Run("a burst in a good topic", func(t *testing.T) {
		if n, err := feed(NewBreaker(0.5), 1_000_000, 600); err != nil {
			t.Errorf("stopped after %d: %v", n, err)
		}
	})
	t.Run("a good topic that turns bad", func(t *testing.T) {
		n, err := feed(NewBreaker(0.5), 1_000_000, 1_000_000)
		if err == nil || n > 1_000_000+4*breakerRecords {
			t.Errorf("stopped after %d: %v", n, err)
		}
	})
	t.Run("another topic", func(t *testing.T) {
		b := NewBreaker(0.5)
		for range 3000 {
			if err := b.Note("good", 1, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := feed(b, 0, 2000); err == nil {
			t.Error("good records of one topic excuse the bad ones of another")
		}
	})
	t.Run("never", func(t *testing.T) {
		if _, err := feed(NewBreaker(1), 0, 5000); err != nil {
			t.Error(err)
		}
	})
}
