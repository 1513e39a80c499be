package cloudtrail

import "io"

// Ahead is a reader that reads ahead on a goroutine of its own, so that decoding waits neither for the disk nor for the kernel's
// copying: DecodeReader decodes in its buffers. It is for long streams, which must be read to their end.
type Ahead struct {
	full chan piece
	free chan []byte
	lent []byte // the buffer that is being decoded
	rest []byte // what Read has left of a piece
	err  error
}

// piece is so many bytes of a stream in a buffer, behind aheadRoom. All are full but the last, which has an error.
type piece struct {
	buf []byte
	n   int
	err error
}

// Reading ahead takes aheadPieces buffers of aheadBytes, each with room before it for what of the last one is not decoded yet.
const (
	aheadPieces = 4
	aheadBytes  = 256 << 10
	aheadRoom   = lookahead
)

// NewAhead begins to read from r.
func NewAhead(r io.Reader) *Ahead { return newAhead(r, aheadBytes) }

func newAhead(r io.Reader, bytes int) *Ahead {
	a := &Ahead{full: make(chan piece, aheadPieces), free: make(chan []byte, aheadPieces)}
	for range aheadPieces {
		a.free <- make([]byte, aheadRoom+bytes)
	}
	go a.run(r)
	return a
}

func (a *Ahead) run(r io.Reader) {
	for buf := range a.free {
		p := piece{buf: buf}
		for idle := 0; p.n < len(buf)-aheadRoom && p.err == nil; {
			var n int
			n, p.err = r.Read(buf[aheadRoom+p.n:])
			if p.n += n; n > 0 {
				idle = 0
			} else if idle++; idle == 100 && p.err == nil {
				p.err = io.ErrNoProgress
			}
		}
		a.full <- p // there is room for all there are
		if p.err != nil {
			return
		}
	}
}

// next returns what was not decoded and, right behind it, what comes next. What it returned before is valid no more.
func (a *Ahead) next(undecoded []byte) ([]byte, error) {
	if a.err != nil {
		return undecoded, a.err
	}
	p := <-a.full
	a.err = p.err
	if len(undecoded) > aheadRoom { // a large record
		joined := append(undecoded, p.buf[aheadRoom:aheadRoom+p.n]...)
		a.free <- p.buf
		return joined, a.err
	}
	start := aheadRoom - len(undecoded)
	copy(p.buf[start:], undecoded)
	if a.lent != nil {
		a.free <- a.lent
	}
	a.lent = p.buf
	return p.buf[start : aheadRoom+p.n], a.err
}

// Read implements io.Reader.
func (a *Ahead) Read(to []byte) (int, error) {
	for len(a.rest) == 0 {
		var err error
		if a.rest, err = a.next(nil); err != nil && len(a.rest) == 0 {
			return 0, err
		}
	}
	n := copy(to, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}
