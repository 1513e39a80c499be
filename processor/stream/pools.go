package stream

import (
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pools lend the client the memory that it expands batches into, and get it back when the last record of a batch is recycled.
type pools struct {
	// bytes are of capacities from one power of two to the next. The client clears a buffer, all of it, each time it gives it back: a batch
	// of ten records in one that was made for a thousand would cost more there than to process it does.
	bytes   [24]sync.Pool
	records sync.Pool
}

// maxPooledBytes is the largest buffer that is kept: a batch is seldom larger, and the one that is must not stay in memory.
const maxPooledBytes = 4 << 20

// Batches of JSON expand to between so many times their size. What is lent has a capacity about between the two.
const (
	leastExpansion = 2
	mostExpansion  = 64
)

// GetDecompressBytes implements kgo.PoolDecompressBytes. The client makes a larger buffer where one is too small.
func (p *pools) GetDecompressBytes(batch []byte, _ kgo.CompressionCodecType) []byte {
	last := min(bits.Len(uint(mostExpansion*len(batch))), len(p.bytes))
	for k := bits.Len(uint(leastExpansion * len(batch))); k < last; k++ {
		if b, ok := p.bytes[k].Get().(*[]byte); ok {
			return *b
		}
	}
	return nil
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) PutDecompressBytes(b []byte) {
	if n := cap(b); n > 0 && n <= maxPooledBytes {
		p.bytes[bits.Len(uint(n))-1].Put(&b)
	}
}

// GetRecords implements kgo.PoolRecords.
func (p *pools) GetRecords(n int) []kgo.Record {
	if r, ok := p.records.Get().(*[]kgo.Record); ok && cap(*r) >= n {
		return *r
	}
	return make([]kgo.Record, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *pools) PutRecords(r []kgo.Record) { p.records.Put(&r) }
