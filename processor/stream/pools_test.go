package stream

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A buffer that was made for a thousand records is not lent for ten: the client clears all of it each time.
func TestPoolsFit(t *testing.T) {
	const expansion, large, small = 8, 1 << 20, 10 << 10
	p := &pools{}
	lend := func(size int) []byte { return p.GetDecompressBytes(make([]byte, size/expansion), kgo.CodecZstd) }
	var again int
	for range 100 { // the race detector has pools lose some of what they get
		p.PutDecompressBytes(make([]byte, large))
		if b := lend(small); cap(b) >= large/2 {
			t.Fatalf("lent %d bytes for a batch of %d", cap(b), small)
		}
		if cap(lend(large)) == large {
			again++
		}
		p.PutDecompressBytes(make([]byte, small))
		if b := lend(large); cap(b) == small {
			t.Fatalf("lent %d bytes for a batch of %d", cap(b), large)
		}
		if cap(lend(small)) == small {
			again++
		}
	}
	if again < 100 {
		t.Errorf("%d of 200 buffers were lent again", again)
	}
	p.PutDecompressBytes(make([]byte, maxPooledBytes+1))
	if b := lend(maxPooledBytes); b != nil {
		t.Errorf("a buffer of %d bytes was kept", cap(b))
	}
}
