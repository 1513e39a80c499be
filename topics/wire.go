package topics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"
)

// ErrCorrupt is wrapped by every decoding error of this package: the bytes are not what the codec of their version wrote.
var ErrCorrupt = errors.New("corrupt record")

// ErrNewer is wrapped when a record carries a version that this build does not know: a newer farcall wrote it.
var ErrNewer = errors.New("record of a newer version")

// writer appends the primitive forms of FORMAT.md to a buffer.
type writer struct{ b []byte }

func (w *writer) byte(v byte)      { w.b = append(w.b, v) }
func (w *writer) uvarint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) varint(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) float(v float64) {
	w.b = binary.BigEndian.AppendUint64(w.b, math.Float64bits(v))
}

// string writes at most limit bytes of s: a field that an outsider filled can't grow a record past its cap.
func (w *writer) string(s string, limit int) {
	if len(s) > limit {
		s = clip(s, limit)
	}
	w.b = binary.AppendUvarint(w.b, uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

func (w *writer) bytes(p []byte) {
	w.b = binary.AppendUvarint(w.b, uint64(len(p)))
	w.b = append(w.b, p...)
}

// clip cuts s to at most limit bytes and never inside a UTF-8 sequence. Text that is no UTF-8 is cut at the limit: looking
// for the start of its sequence could leave nothing of it.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for cut := limit; cut > 0 && cut > limit-utf8.UTFMax; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut]
		}
	}
	return s[:limit]
}

// reader takes the primitive forms off a buffer. The first error sticks; later reads return zero values.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("ends early")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail("neither true nor false")
	}
	return v == 1
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("bad unsigned number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail("ends early in a float")
		return 0
	}
	v := math.Float64frombits(binary.BigEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

// string returns text that aliases the buffer.
func (r *reader) string() string {
	p := r.bytes()
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// bytes returns a slice that aliases the buffer.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("length past the end")
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// count reads the length of a list. The most elements of a list are part of its version: a forged length can't allocate
// more.
func (r *reader) count(most int) int {
	n := r.uvarint()
	if n > uint64(most) {
		r.fail(fmt.Sprintf("list of %d where %d are the most", n, most))
		return 0
	}
	return int(n)
}

// header reads and checks the two leading bytes of a record.
func (r *reader) header(kind Kind, newest byte) byte {
	if k := Kind(r.byte()); r.err == nil && k != kind {
		r.fail(fmt.Sprintf("kind %d where %d (%s) was expected", k, kind, kind))
		return 0
	}
	v := r.byte()
	switch {
	case r.err != nil:
	case v == 0:
		r.fail("version 0")
	case v > newest:
		r.err = fmt.Errorf("%w: %s version %d, this build knows up to %d: upgrade every member", ErrNewer, kind, v, newest)
		r.b = nil
	}
	return v
}

// end reports the sticky error, or trailing bytes.
func (r *reader) end(kind Kind) error {
	if r.err != nil {
		return fmt.Errorf("%s: %w", kind, r.err)
	}
	if len(r.b) != 0 {
		return fmt.Errorf("%s: %w: %d bytes too many", kind, ErrCorrupt, len(r.b))
	}
	return nil
}
