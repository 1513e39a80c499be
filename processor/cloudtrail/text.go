package cloudtrail

import (
	"bytes"
	"io"
)

// text is a run of JSON text that is read from front to back: a payload, something that a payload carried, or a stream.
type text struct {
	buf   []byte
	pos   int       // buf[pos:] is unread
	base  int64     // offset of buf[0]
	fixed bool      // every offset is base, because this text travelled inside a JSON string
	src   io.Reader // what more comes from; nil when buf holds all there is
	ahead *Ahead    // what src reads from, if it reads ahead: buf is then its
	cut   *cut      // why the text ends where it does, when that is not its own end
}

// cut says why a text is incomplete.
type cut struct {
	reason Reason
	detail string
}

// Streaming reads streamBytes at a time, and looks for a record only when lookahead bytes of it, or all there is, are at
// hand: whether the guess at its end was good then never depends on how the reader slices its input.
const (
	streamBytes = 512 << 10
	lookahead   = 64 << 10
)

func (t *text) rest() []byte { return t.buf[t.pos:] }

// offset of the byte that is n bytes after the first unread one.
func (t *text) offset(n int) int64 {
	if t.fixed {
		return t.base
	}
	return t.base + int64(t.pos+n)
}

// fill makes n unread bytes available, or all there are.
func (t *text) fill(n int) {
	if t.src != nil && len(t.buf)-t.pos < n {
		t.read(n)
	}
}

func (t *text) read(n int) {
	if t.ahead != nil {
		t.take(n)
		return
	}
	if cap(t.buf)-t.pos < n+streamBytes/2 {
		unread := t.buf[t.pos:]
		to := t.buf[:0]
		if cap(to) < n+streamBytes {
			to = make([]byte, 0, n+streamBytes)
		}
		t.base += int64(t.pos)
		t.buf = append(to, unread...)
		t.pos = 0
	}
	for idle := 0; t.src != nil && len(t.buf)-t.pos < n; {
		got, err := t.src.Read(t.buf[len(t.buf):cap(t.buf)])
		t.buf = t.buf[:len(t.buf)+got]
		if got > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			err = io.ErrNoProgress
		}
		if err != nil {
			t.cut = cutBy(t.src, err)
			t.src = nil
		}
	}
}

// take is read where buffers of what was read ahead are taken as they are.
func (t *text) take(n int) {
	for t.src != nil && len(t.buf)-t.pos < n {
		var err error
		t.base += int64(t.pos)
		t.buf, err = t.ahead.next(t.buf[t.pos:])
		t.pos = 0
		if err != nil {
			if err != io.EOF {
				err = &readError{err}
			}
			t.cut = cutBy(t.src, err)
			t.src = nil
		}
	}
}

// next skips blanks and says which byte comes then; ok is false at the end of the text.
func (t *text) next() (c byte, ok bool) {
	if t.pos < len(t.buf) && t.buf[t.pos] > ' ' {
		return t.buf[t.pos], true
	}
	return t.nextAfterBlanks()
}

func (t *text) nextAfterBlanks() (c byte, ok bool) {
	for {
		for t.pos < len(t.buf) {
			switch c := t.buf[t.pos]; c {
			case ' ', '\t', '\n', '\r':
				t.pos++
			default:
				return c, true
			}
		}
		if t.src == nil {
			return 0, false
		}
		t.fill(1)
	}
}

// head keeps the beginning of what is about to be thrown away.
func (t *text) head(buf []byte) []byte {
	rest := t.rest()
	return append(buf[:0], rest[:min(len(rest), headBytes)]...)
}

// brackets finds the end of a JSON value by its brackets and quotes alone. It does not care whether the value is good
// JSON, and needs no stack however deep the value is. It can be fed piece by piece.
type brackets struct {
	depth int
	str   bool // inside a string
	esc   bool // behind a backslash
}

// scan returns how much of b belongs to the value, and whether it ends there.
func (s *brackets) scan(b []byte) (n int, done bool) {
	for i := 0; i < len(b); i++ {
		if s.str {
			n := s.stringEnd(b[i:])
			if n == 0 {
				break
			}
			if i += n - 1; s.depth == 0 {
				return i + 1, true
			}
			continue
		}
		switch b[i] {
		case '"':
			s.str = true
		case '{', '[':
			s.depth++
		case '}', ']':
			s.depth--
			if s.depth <= 0 {
				return i + 1, true
			}
		}
	}
	return len(b), false
}

// stringEnd leaves the string whose inside b begins with, and returns how much of b belongs to it; 0 if it does not end there.
// It goes from quote to quote, for which the library has the processor's widest instructions.
func (s *brackets) stringEnd(b []byte) int {
	for i := 0; ; {
		q := bytes.IndexByte(b[i:], '"')
		end := i + q
		if q < 0 {
			end = len(b)
		}
		// A quote behind an odd number of backslashes does not end it. Those before i were counted with the quote before.
		esc := s.esc
		run := end
		for run > i && b[run-1] == '\\' {
			run--
		}
		if odd := (end-run)%2 == 1; run > i {
			esc = odd
		} else {
			esc = esc != odd
		}
		if q < 0 {
			s.esc = esc
			return 0
		}
		s.esc = false
		if i = end + 1; !esc {
			s.str = false
			return i
		}
	}
}

// measure finds the end of the object, array or string at the front of t by its brackets, if that is at most limit bytes
// away. All up to there, or up to the limit, then is at hand.
func (t *text) measure(limit int) (n int, whole bool) {
	var s brackets
	for {
		rest := t.rest()
		more, done := s.scan(rest[n:min(len(rest), limit)])
		n += more
		if done || n >= limit || t.src == nil {
			return n, done
		}
		t.fill(min(2*n+lookahead, limit))
	}
}

// discard throws away the object, array or string at the front of t, however long it is. It reports whether it had an end.
func (t *text) discard() bool {
	var s brackets
	for {
		n, done := s.scan(t.rest())
		t.pos += n
		if done {
			return true
		}
		if t.src == nil {
			return false
		}
		t.fill(1)
	}
}

// discardToLine throws away everything up to the next line break, at from bytes or later, behind which a record may start
// (or any line break).
func (t *text) discardToLine(from int, anyLine bool) {
	t.pos += min(from, len(t.buf)-t.pos)
	for {
		i := bytes.IndexByte(t.rest(), '\n')
		if i < 0 {
			t.pos = len(t.buf)
			if t.src == nil {
				return
			}
			t.fill(1)
			continue
		}
		t.pos += i
		t.fill(2)
		if rest := t.rest(); anyLine || len(rest) < 2 || startsLine(rest[1]) {
			return
		}
		t.pos++
	}
}

// untilCut is why something bad that has just been passed over is refused. Where it goes on up to where the text was cut, such as
// the zeros of a gzip bomb, the two are one bad thing.
func (t *text) untilCut(r Reason, detail string) (Reason, string) {
	if t.cut == nil || t.src != nil || t.pos < len(t.buf) {
		return r, detail
	}
	cut := t.cut
	t.cut = nil
	return cut.reason, cut.detail + ", and holds " + detail
}

func startsValue(c byte) bool { return c == '{' || c == '[' || c == '"' }

// startsLine tells the first byte of a record, or of a list of them, on a line of its own. A line that starts with a quote
// is more likely the next key of a record that was printed over several lines without indentation.
func startsLine(c byte) bool { return c == '{' || c == '[' }

const firstKeyReach = 64

// firstKey is the beginning of an object up to the end of its first key, `{"eventVersion"`, or empty if that is not
// within reach. The records of one file are written by one writer, so that the next one very likely starts the same way.
func firstKey(object []byte) []byte {
	object = object[:min(len(object), firstKeyReach)]
	i := bytes.IndexByte(object, '"')
	if i < 0 {
		return nil
	}
	j := bytes.IndexByte(object[i+1:], '"')
	if j < 0 {
		return nil
	}
	return object[:i+j+2]
}

// trimRight cuts off blanks.
func trimRight(b []byte) []byte {
	for len(b) > 0 {
		switch b[len(b)-1] {
		case ' ', '\t', '\n', '\r':
			b = b[:len(b)-1]
		default:
			return b
		}
	}
	return b
}
