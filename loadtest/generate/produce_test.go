package generate

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// newBroker is an embedded one with topics of two partitions.
func newBroker(t *testing.T, topics ...string) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// TestProduce: every record arrives once, in turn over the partitions, compressed as was asked, with the time that was told.
func TestProduce(t *testing.T) {
	kinds := map[string]uint8{"none": 0, "snappy": 2, "lz4": 3, "zstd": 4} // of the record format
	if len(kinds) != len(Codecs) {
		t.Fatalf("%d codecs are known, %d tried", len(Codecs), len(kinds))
	}
	for codec, kind := range kinds {
		t.Run(codec, func(t *testing.T) {
			brokers := newBroker(t, "raw")
			cl, err := Client(brokers, codec)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			const n = 3_000
			told := map[int64]int{}
			sent, err := newGenerator(t, nil).Produce(t.Context(), cl, Load{Topic: "raw", Partitions: 2, Records: n, Each: func(_ *Event,
				at time.Time) {
				told[at.UnixMilli()]++
			}})
			if err != nil || sent.Records != n || sent.Bytes < n*700 {
				t.Fatalf("%+v, %v", sent, err)
			}
			reader, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("raw"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			of := map[int32]int{}
			var bytes int64
			for of[0]+of[1] < n {
				fs := reader.PollFetches(t.Context())
				if err := fs.Err(); err != nil {
					t.Fatal(err)
				}
				fs.EachRecord(func(r *kgo.Record) {
					of[r.Partition]++
					bytes += int64(len(r.Value))
					told[r.Timestamp.UnixMilli()]--
					if got := r.Attrs.CompressionType(); got != kind {
						t.Fatalf("codec %d, want %d", got, kind)
					}
				})
			}
			if of[0] != n/2 || of[1] != n/2 || bytes != sent.Bytes {
				t.Errorf("%v records of %d bytes, sent were %d", of, bytes, sent.Bytes)
			}
			for at, left := range told {
				if left != 0 {
					t.Errorf("at %d, %d more were told than came", at, left)
				}
			}
		})
	}
	if _, err := Client(nil, "gzip"); err == nil {
		t.Error("an unknown codec was taken")
	}
}

// TestPace: a paced load is never ahead, and ends with its context.
func TestPace(t *testing.T) {
	cl, err := Client(newBroker(t, "raw"), "none")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const pace, n = 4_000, 2_000
	began := time.Now()
	count := 0
	sent, err := newGenerator(t, nil).Produce(t.Context(), cl, Load{Topic: "raw", Partitions: 2, Records: n, Pace: pace, Each: func(_ *Event,
		at time.Time) {
		count++
		if most := at.Sub(began).Seconds()*pace + 1; float64(count) > most {
			t.Fatalf("%d records after %v", count, at.Sub(began))
		}
	}})
	if err != nil || sent.Records != n {
		t.Fatalf("%+v, %v", sent, err)
	}
	if took := time.Since(began); took < n*time.Second/pace || sent.Late < 0 {
		t.Errorf("%d records took %v, late by %v", n, took, sent.Late)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sent, err = newGenerator(t, nil).Produce(ctx, cl, Load{Topic: "raw", Partitions: 2, Records: n, Each: func(*Event, time.Time) {
		if count++; count == n+100 {
			cancel()
		}
	}})
	if err != nil || sent.Records != 100 {
		t.Errorf("%+v, %v: want the 100 records before the end", sent, err)
	}
}
