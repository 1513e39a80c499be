package generate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Codecs are what a topic may be compressed with, by name.
var Codecs = map[string]kgo.CompressionCodec{
	"zstd": kgo.ZstdCompression(), "lz4": kgo.Lz4Compression(), "snappy": kgo.SnappyCompression(), "none": kgo.NoCompression(),
}

// Client makes a producer for Produce, with options beside those that it needs. The caller closes it.
func Client(brokers []string, codec string, more ...kgo.Opt) (*kgo.Client, error) {
	c, ok := Codecs[codec]
	if !ok {
		return nil, fmt.Errorf("generate: codec %q: zstd, lz4, snappy and none are known", codec)
	}
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ProducerBatchCompression(c), kgo.ProducerLinger(10 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(20_000), kgo.MetadataMinAge(250 * time.Millisecond)}, more...)...)
}

// Load is what is to be produced.
type Load struct {
	Topic      string
	Partitions int // the topic's; records go to them in turn
	Records    int
	// Pace is how many records are produced in a second of wall time; 0: as many as go.
	Pace float64
	// Each, if it is there, hears of each record before it is produced, with the time that it will carry.
	Each func(e *Event, produced time.Time)
}

// Sent is what was produced.
type Sent struct {
	Records int
	Bytes   int64 // of values, before compression
	Late    time.Duration
}

// tick is how often a paced load produces. A load that is late makes up for it.
const tick = 5 * time.Millisecond

// slab is how much memory is made for records at a time: they must live until the broker has them.
const slab = 1 << 20

// Produce writes the generator's next records to the topic, each with the time at which it is produced as its timestamp, and
// returns when the broker has all of them. When ctx ends early it says how many were produced, without an error. Late is
// how far a paced load was behind at its end.
func (g *Generator) Produce(ctx context.Context, cl *kgo.Client, l Load) (Sent, error) {
	var sent Sent
	var mu sync.Mutex
	var failed error
	delivered := func(_ *kgo.Record, err error) {
		if err != nil {
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
		}
	}
	began := time.Now()
	var buf []byte
	due := l.Records
	for sent.Records < l.Records && ctx.Err() == nil {
		if l.Pace > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(tick):
			}
			due = min(l.Records, int(time.Since(began).Seconds()*l.Pace))
		}
		for ; sent.Records < due && ctx.Err() == nil; sent.Records++ {
			if cap(buf)-len(buf) < 2*MaxBytes {
				buf = make([]byte, 0, slab)
			}
			at := len(buf)
			var e *Event
			buf, e = g.Append(buf)
			now := time.Now()
			if l.Each != nil {
				l.Each(e, now)
			}
			value := buf[at:len(buf):len(buf)]
			sent.Bytes += int64(len(value))
			// Not under ctx: what was counted must get there.
			cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: l.Topic, Partition: int32(sent.Records % l.Partitions), Value: value,
				Timestamp: now}, delivered)
		}
	}
	if l.Pace > 0 {
		sent.Late = time.Since(began) - time.Duration(float64(sent.Records)/l.Pace*float64(time.Second))
	}
	if err := cl.Flush(context.WithoutCancel(ctx)); err != nil {
		return sent, fmt.Errorf("generate: %w", err)
	}
	if failed != nil {
		return sent, fmt.Errorf("generate: produce: %w", failed)
	}
	return sent, nil
}

// MaxBytes is more than any record has.
const MaxBytes = 66 << 10
