package stream

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pools lend the client the memory that it expands batches into, and get it back when the last record of a batch is recycled.
type pools struct{ bytes, records sync.Pool }

// maxPooledBytes is the largest buffer that is kept: a batch is seldom larger, and the one that is must not stay in memory.
const maxPooledBytes = 4 << 20

// GetDecompressBytes implements kgo.PoolDecompressBytes. The client lets a buffer grow that is too small.
func (p *pools) GetDecompressBytes([]byte, kgo.CompressionCodecType) []byte {
	if b, ok := p.bytes.Get().(*[]byte); ok {
		return *b
	}
	return nil
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) PutDecompressBytes(b []byte) {
	if cap(b) <= maxPooledBytes {
		p.bytes.Put(&b)
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
