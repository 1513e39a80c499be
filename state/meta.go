package state

import (
	"encoding/binary"
	"fmt"
)

// Meta is the row that every transaction writes to each changelog partition it touches: what the rows were made from.
type Meta struct {
	// Input is the offset of the first input record that the rows do not contain.
	Input int64
	// StreamTime is the newest event time seen, in Unix milliseconds.
	StreamTime int64
	// Fingerprint spells the settings that the rows depend on: pane, window, scope, normaliser. Rows of another
	// fingerprint can't be read with these settings.
	Fingerprint string
}

const metaVersion = 1

var errMeta = fmt.Errorf("%w: meta row", ErrRow)

func (m *Meta) append(b []byte) []byte {
	b = append(b, metaVersion)
	b = binary.AppendVarint(b, m.Input)
	b = binary.AppendVarint(b, m.StreamTime)
	b = binary.AppendUvarint(b, uint64(len(m.Fingerprint)))
	return append(b, m.Fingerprint...)
}

func (m *Meta) decode(b []byte) error {
	if len(b) == 0 || b[0] == 0 {
		return errMeta
	}
	if b[0] > metaVersion {
		return fmt.Errorf("%w: meta row version %d, this build knows up to %d", ErrFormat, b[0], metaVersion)
	}
	b = b[1:]
	var nums [2]int64
	for i := range nums {
		v, n := binary.Varint(b)
		if n <= 0 {
			return errMeta
		}
		nums[i], b = v, b[n:]
	}
	l, n := binary.Uvarint(b)
	if n <= 0 || l != uint64(len(b)-n) {
		return errMeta
	}
	m.Input, m.StreamTime, m.Fingerprint = nums[0], nums[1], string(b[n:])
	return nil
}
