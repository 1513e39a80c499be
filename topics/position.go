package topics

import "strconv"

// Position is how far route has come in a raw partition. It is written in the transaction that carries what the records before it led
// to, like the position in the rows of the other stages.
type Position struct {
	TopicID    [16]byte // of the raw topic: in one that was recreated, its offsets mean nothing
	Next       int64    // offset of the first record that was not processed
	StreamTime int64    // newest event time seen, Unix milliseconds, 0 for none
	Since      int32    // partitions that the topic had when its latest records were begun with, 0 if it was read from its earliest
}

const positionVersion = 1

// PositionKey is the record key of the position in a raw partition.
func PositionKey(topic string, partition int32) []byte {
	return strconv.AppendInt(append([]byte(topic), '/'), int64(partition), 10)
}

// Append appends the record in the newest version.
func (p *Position) Append(dst []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindPosition))
	w.byte(positionVersion)
	w.bytes(p.TopicID[:])
	w.varint(p.Next)
	w.varint(p.StreamTime)
	w.varint(int64(p.Since))
	return w.b
}

// Decode reads a position.
func (p *Position) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindPosition, positionVersion)
	id := r.bytes()
	if r.err == nil && len(id) != len(p.TopicID) {
		r.fail("topic id of another length")
	}
	copy(p.TopicID[:], id)
	p.Next = r.varint()
	p.StreamTime = r.varint()
	since := r.varint()
	if since != int64(int32(since)) {
		r.fail("partitions past 32 bits")
	}
	p.Since = int32(since)
	if r.err == nil && p.Next < 0 {
		r.fail("position before the first record")
	}
	return r.end(KindPosition)
}
