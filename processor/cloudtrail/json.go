package cloudtrail

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// What a scan returns instead of where a value ends.
const (
	notJSON = -1 - iota
	cutOff  // the text ends first; all that is there is good
	tooDeep // more levels than there may be
)

const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
)

// hasByte has the high bit set in the lowest byte of w that equals the byte that x repeats, and may have it set in higher
// ones.
func hasByte(w, x uint64) uint64 {
	w ^= x
	return (w - eachByte) &^ w & highBits
}

// scanner passes over JSON text, once, and from front to back. It holds all it passes over against RFC 8259.
//
// Most of a record is strings of a few bytes. A loop over a string's bytes, or words, would leave at another turn each time,
// which no processor foresees; so the scanner marks the odd bytes of a whole block first, without a branch, and then finds
// each end by counting the zeros up to the next mark. Several blocks are marked at a time, with the processor's widest
// instructions where it has them.
type scanner struct {
	b []byte
	// odd has a bit for each byte of the block at base by which a string may end or need a closer look: quotes, backslashes,
	// control characters, what is not ASCII; and now and then another one. Marks of what has been passed over may be gone.
	odd    uint64
	base   int
	marked [markedBlocks]uint64 // odd, of the blocks from where on
	from   int
}

const (
	blockBytes   = 64
	markedBlocks = 8
)

func (s *scanner) reset(b []byte) {
	s.b, s.odd, s.base = b, 0, -blockBytes
	s.mark(0)
}

// mark marks the odd bytes of the blocks from base on. Behind the end all are odd.
func (s *scanner) mark(base int) {
	s.from = base
	rest := s.b[min(base, len(s.b)):]
	whole := min(len(rest)/blockBytes, markedBlocks)
	oddBlocks(rest, s.marked[:whole])
	if whole == markedBlocks {
		return
	}
	var last [blockBytes]byte
	copy(last[:], rest[whole*blockBytes:])
	s.marked[whole] = oddBytes(&last)
	for i := whole + 1; i < markedBlocks; i++ {
		s.marked[i] = ^uint64(0)
	}
}

// load is what is odd in the block at base, which is one of those marked or the next.
func (s *scanner) load(base int) uint64 {
	i := uint(base-s.from) / blockBytes
	if i >= markedBlocks {
		s.mark(base)
		i = 0
	}
	return s.marked[i]
}

// oddBlocks marks the odd bytes of whole blocks at the front of b, as many as there are marks for: by word, where the processor has
// nothing better.
var oddBlocks = oddBlocksByWord

func oddBlocksByWord(b []byte, odd []uint64) {
	for i := range odd {
		odd[i] = oddBytes((*[blockBytes]byte)(b[i*blockBytes:]))
	}
}

func oddBytes(p *[blockBytes]byte) uint64 {
	return oddOfWord(p[0:]) | oddOfWord(p[8:])<<8 | oddOfWord(p[16:])<<16 | oddOfWord(p[24:])<<24 |
		oddOfWord(p[32:])<<32 | oddOfWord(p[40:])<<40 | oddOfWord(p[48:])<<48 | oddOfWord(p[56:])<<56
}

// oddOfWord marks the odd ones of eight bytes. With its second bit flipped the quote is next above the control characters
// (the blank and the exclamation mark give way), so that one subtraction tells both. It borrows from the byte behind, and
// marks that too if it is # (or ] behind a backslash).
func oddOfWord(p []byte) uint64 {
	w := binary.LittleEndian.Uint64(p)
	odd := ((w ^ 2*eachByte - ('"'-1)*eachByte) | (w ^ '\\'*eachByte - eachByte) | w) & highBits
	return odd * 0x0002040810204081 >> 56 // gathers the high bits
}

// ahead goes on to the next block with a mark, if none is left.
func (s *scanner) ahead(odd uint64, base int) (uint64, int) {
	for odd == 0 {
		base += blockBytes
		odd = s.load(base)
	}
	return odd, base
}

// back goes back to the byte at i, whose mark, if it has one, is then the lowest.
func (s *scanner) back(i int) {
	s.base = i &^ (blockBytes - 1)
	s.odd = s.load(s.base) &^ (1<<(i%blockBytes) - 1)
}

// nextOdd is where the next odd byte is, at i or later; or the end. Its mark then is the lowest.
func (s *scanner) nextOdd(i int) int {
	for {
		s.odd, s.base = s.ahead(s.odd, s.base)
		if at := s.base + bits.TrailingZeros64(s.odd); at >= i {
			return min(at, len(s.b))
		}
		s.odd &= s.odd - 1
	}
}

// stringEnd is where the string at i ends. plain: it is what it means, ASCII without escapes.
func (s *scanner) stringEnd(i int) (end int, plain bool) {
	if s.odd == 0 || s.base+bits.TrailingZeros64(s.odd) != i {
		s.nextOdd(i)
	}
	odd, base := s.ahead(s.odd&(s.odd-1), s.base)
	s.odd, s.base = odd, base
	if e := base + bits.TrailingZeros64(odd); e < len(s.b) && s.b[e] == '"' {
		s.odd = odd & (odd - 1)
		return e + 1, true
	}
	return s.insideEnd(i + 1)
}

// insideEnd is stringEnd of a string whose inside, or what is left of it, starts at i.
func (s *scanner) insideEnd(i int) (end int, plain bool) {
	plain = true
	for {
		i = s.nextOdd(i)
		if i >= len(s.b) {
			return cutOff, false
		}
		switch c := s.b[i]; {
		case c == '"':
			s.odd &= s.odd - 1
			return i + 1, plain
		case c == '\\':
			plain = false
			if i = escapeEnd(s.b, i+1); i < 0 {
				return i, false
			}
		case c < ' ':
			return notJSON, false
		case c < utf8.RuneSelf:
			i++
		default:
			plain = false
			for i++; i < len(s.b) && s.b[i] >= utf8.RuneSelf; i++ {
			}
		}
	}
}

// escapeEnd is where the escape ends whose backslash is before b[i].
func escapeEnd(b []byte, i int) int {
	if i == len(b) {
		return cutOff
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for _, c := range b[i+1 : min(i+5, len(b))] {
			if !isDigit(c) && (c < 'a' || 'f' < c) && (c < 'A' || 'F' < c) {
				return notJSON
			}
		}
		if i+5 > len(b) {
			return cutOff
		}
		return i + 5
	}
	return notJSON
}

// blanks is where the next byte is that is no blank, at i or later; or the end.
func blanks(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ' ', '\n', '\t', '\r':
			i++
		default:
			return i
		}
		for i+8 <= len(b) && binary.LittleEndian.Uint64(b[i:]) == ' '*eachByte {
			i += 8
		}
	}
	return i
}

// wordEnd is where the number, boolean or null at b[i] ends.
func wordEnd(b []byte, i int) int {
	word := ""
	switch b[i] {
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return numberEnd(b, i)
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return notJSON
	}
	rest := b[i:min(i+len(word), len(b))]
	switch {
	case string(rest) == word:
		return i + len(word)
	case strings.HasPrefix(word, string(rest)):
		return cutOff
	}
	return notJSON
}

func numberEnd(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = digitsEnd(b, i); i < 0 {
		return i
	}
	if i < len(b) && b[i] == '.' {
		if i = digitsEnd(b, i+1); i < 0 {
			return i
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		i = digitsEnd(b, i)
	}
	return i
}

// digitsEnd is where the digits at b[i] end, of which there must be one.
func digitsEnd(b []byte, i int) int {
	start := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	switch {
	case i > start:
		return i
	case i == len(b):
		return cutOff
	}
	return notJSON
}

// levelBits is how many levels skip keeps in one word.
const levelBits = 64

// skip is where the value at i ends. It may have that many levels of objects and arrays; each levelBits of them cost one call
// of skip by itself.
func (s *scanner) skip(i, levels int) int {
	var (
		b, odd, base = s.b, s.odd, s.base // kept here while no other method needs them
		objects      uint64               // a bit for each open level, the innermost lowest: is it an object?
		level        int
		end          int
	)

value:
	if uint(i) >= uint(len(b)) {
		if i < 0 {
			return i
		}
		return cutOff
	}
	switch c := b[i]; c {
	case '"':
		s.odd, s.base = odd, base
		if i, _ = s.stringEnd(i); i < 0 {
			return i
		}
		odd, base = s.odd, s.base
	case '{', '[':
		if level >= levels {
			return tooDeep
		}
		if level == levelBits {
			s.odd, s.base = odd, base
			if i = s.skip(i, levels-levelBits); i < 0 {
				return i
			}
			odd, base = s.odd, s.base
			break
		}
		level++
		objects <<= 1
		i++
		if i < len(b) && b[i] <= ' ' {
			i = blanks(b, i)
		}
		if i == len(b) {
			return cutOff
		}
		if c == '[' {
			if b[i] != ']' {
				goto value
			}
		} else {
			objects |= 1
			if b[i] != '}' {
				goto key
			}
		}
		i++
		level--
		objects >>= 1
	default:
		if i = wordEnd(b, i); i < 0 {
			return i
		}
	}

behind: // a value
	if level == 0 {
		s.odd, s.base = odd, base
		return i
	}
	if i < len(b) && b[i] <= ' ' {
		i = blanks(b, i)
	}
	if i >= len(b) {
		return cutOff
	}
	switch c := b[i]; {
	case c == ',':
		i++
		if i < len(b) && b[i] <= ' ' {
			i = blanks(b, i)
		}
		if objects&1 == 0 {
			goto value
		}
		goto key
	case c == '}' && objects&1 == 1, c == ']' && objects&1 == 0:
		i++
		level--
		objects >>= 1
		goto behind
	}
	return notJSON

key:
	if i >= len(b) {
		return cutOff
	}
	if b[i] != '"' {
		return notJSON
	}
	for { // past the marks of line breaks
		if odd, base = s.ahead(odd, base); base+bits.TrailingZeros64(odd) == i {
			break
		}
		odd &= odd - 1
	}

keyMarked: // The key's opening quote has the lowest mark. Most keys end with the next, and touch their colon.
	odd, base = s.ahead(odd&(odd-1), base)
	end = base + bits.TrailingZeros64(odd)
	if end+3 > len(b) || binary.LittleEndian.Uint16(b[end:]) != '"'|':'<<8 {
		s.odd, s.base = odd, base
		if i, _ = s.insideEnd(i + 1); i < 0 {
			return i
		}
		odd, base = s.odd, s.base
		if i = colonEnd(b, i); i < 0 {
			return i
		}
		goto value
	}
	odd &= odd - 1
	i = end + 2
	if b[i] != '"' {
		if b[i] <= ' ' {
			i = blanks(b, i)
		}
		goto value
	}

	// Most values are strings that touch the colon, so that the lowest mark is theirs, and a key touches the comma behind them.
	odd, base = s.ahead(odd, base)
	odd, base = s.ahead(odd&(odd-1), base)
	end = base + bits.TrailingZeros64(odd)
	if end+3 > len(b) || b[end] != '"' {
		s.odd, s.base = odd, base
		if i, _ = s.insideEnd(i + 1); i < 0 {
			return i
		}
		odd, base = s.odd, s.base
		goto behind
	}
	odd &= odd - 1
	i = end + 1
	if b[i] == ',' && b[i+1] == '"' {
		i++
		odd, base = s.ahead(odd, base)
		goto keyMarked
	}
	goto behind
}

// colonEnd is where the value starts behind the key that ends at i.
func colonEnd(b []byte, i int) int {
	i = blanks(b, i)
	if i == len(b) {
		return cutOff
	}
	if b[i] != ':' {
		return notJSON
	}
	return blanks(b, i+1)
}

// open is where the first element is of the object or array at i, which ends with the bracket; or where it ends, if it has
// none.
func (s *scanner) open(i int, bracket byte) (at int, some bool) {
	i++
	if i < len(s.b) && s.b[i] <= ' ' {
		i = blanks(s.b, i)
	}
	switch {
	case i == len(s.b):
		return cutOff, false
	case s.b[i] == bracket:
		return i + 1, false
	}
	return i, true
}

// next is where the next element is of an object or array that ends with the bracket, when the last ends at i; or where it
// ends, if there is none. What has failed, goes on to fail.
func (s *scanner) next(i int, bracket byte) (at int, more bool) {
	if i < 0 {
		return i, false
	}
	if i < len(s.b) && s.b[i] <= ' ' {
		i = blanks(s.b, i)
	}
	if i >= len(s.b) {
		return cutOff, false
	}
	switch s.b[i] {
	case ',':
		i++
		if i < len(s.b) && s.b[i] <= ' ' {
			i = blanks(s.b, i)
		}
		return i, true
	case bracket:
		return i + 1, false
	}
	return notJSON, false
}

// appendUnquoted appends what the inside of a good JSON string means. Like encoding/json it replaces invalid UTF-8 and half
// surrogate pairs by U+FFFD.
func appendUnquoted(dst, s []byte) []byte {
	if !utf8.Valid(s) {
		s = []byte(string([]rune(string(s))))
	}
	// What is unquoted is never longer, so that it can be written without looking, eight bytes at a time.
	dst = slices.Grow(dst, len(s)+8)
	out, n := dst[:cap(dst)], len(dst)
	for {
		for len(s) >= 8 {
			w := binary.LittleEndian.Uint64(s)
			binary.LittleEndian.PutUint64(out[n:], w)
			if m := hasByte(w, '\\'*eachByte); m != 0 {
				k := bits.TrailingZeros64(m) / 8
				n += k
				s = s[k:]
				break
			}
			n += 8
			s = s[8:]
		}
		for len(s) > 0 && s[0] != '\\' {
			out[n] = s[0]
			n++
			s = s[1:]
		}
		if len(s) < 2 {
			return out[:n]
		}
		c := s[1]
		s = s[2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hexRune(s)
			s = s[min(4, len(s)):]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
					pair = utf16.DecodeRune(r, hexRune(s[2:]))
				}
				if r = pair; r != utf8.RuneError {
					s = s[6:]
				}
			}
			n += utf8.EncodeRune(out[n:], r)
			continue
		}
		out[n] = c
		n++
	}
}

// hexRune reads four hexadecimal digits.
func hexRune(s []byte) rune {
	r := rune(0)
	for _, c := range s[:min(4, len(s))] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
