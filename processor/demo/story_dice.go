package demo

import "math/bits"

// dice is a stream of numbers that its starting value fixes for ever (splitmix64). A story must come out byte for byte
// the same on every machine and under every Go release, which the standard library promises of its sources but not of
// the functions that shape their output.
type dice uint64

// mix folds two numbers into one that looks unrelated to either.
func mix(a, b uint64) uint64 {
	d := dice(a ^ bits.RotateLeft64(b*0x9e3779b97f4a7c15, 29))
	return d.next()
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in [0, n); n must be positive.
func (d *dice) below(n int) int { return scale(d.next(), n) }

// share returns a number in [0, 1).
func (d *dice) share() float64 { return float64(d.next()>>11) / (1 << 53) }

func (d *dice) chance(p float64) bool { return d.share() < p }

// times turns a mean into a whole number that has it.
func (d *dice) times(mean float64) int { return int(mean + d.share()) }

// scale maps a number that is even over 64 bits to one that is even over [0, n).
func scale(x uint64, n int) int {
	hi, _ := bits.Mul64(x, uint64(n))
	return int(hi)
}

func pick[T any](d *dice, from []T) T { return from[d.below(len(from))] }

// take removes a random element from a list and returns it.
func take[T any](d *dice, from *[]T) T {
	l := *from
	i := d.below(len(l))
	v := l[i]
	l[i] = l[len(l)-1]
	*from = l[:len(l)-1]
	return v
}

const (
	hexDigits = "0123456789abcdef"
	keyDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

// appendHex appends the n lowest hexadecimal digits of x, n at most 16.
func appendHex(b []byte, x uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, hexDigits[x>>(4*uint(i))&15])
	}
	return b
}

// appendUUID appends a version 4 UUID made of 122 of the 128 given bits.
func appendUUID(b []byte, hi, lo uint64) []byte {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	b = appendHex(b, hi>>32, 8)
	b = append(b, '-')
	b = appendHex(b, hi>>16, 4)
	b = append(b, '-')
	b = appendHex(b, hi, 4)
	b = append(b, '-')
	b = appendHex(b, lo>>48, 4)
	b = append(b, '-')
	return appendHex(b, lo, 12)
}

// keyID returns an identifier of the form that IAM gives to keys, roles and users.
func keyID(prefix string, n int, salt uint64) string {
	d := dice(salt)
	b := append(make([]byte, 0, len(prefix)+n), prefix...)
	for range n {
		b = append(b, keyDigits[d.below(len(keyDigits))])
	}
	return string(b)
}
