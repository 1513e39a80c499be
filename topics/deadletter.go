package topics

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// MaxDeadLetterBytes is how much of a bad record a dead letter carries.
const MaxDeadLetterBytes = 64 << 10

// DeadLetter is a record, or a part of one, that could not be processed. Its value on the topic is the original bytes, cut
// at MaxDeadLetterBytes; everything else is in headers, so that any Kafka client can read it.
type DeadLetter struct {
	Stage  string // route, detect or triage
	Reason string // a metric label: few values
	Detail string // for a person
	Source Source
	// Last is the last offset, where the letter is about several source records. 0: about the one of Source alone.
	Last  int64
	Value []byte
	// Size is that of the original before the cut, and SHA256, in hexadecimal, that of what the letter carries of it: to hash a
	// record of ten megabytes would take as long as two thousand good records. Record finds them in Value, and ParseDeadLetter in
	// the headers.
	Size   int64
	SHA256 string
}

// Whole reports whether Value is the original, uncut and unharmed.
func (d *DeadLetter) Whole() bool {
	sum := sha256.Sum256(d.Value)
	return d.Size == int64(len(d.Value)) && d.SHA256 == hex.EncodeToString(sum[:])
}

// The headers of a dead letter.
const (
	HeaderStage     = "farcall.stage"
	HeaderReason    = "farcall.reason"
	HeaderDetail    = "farcall.detail"
	HeaderTopic     = "farcall.source.topic"
	HeaderPartition = "farcall.source.partition"
	HeaderOffset    = "farcall.source.offset"
	HeaderLast      = "farcall.source.last"
	HeaderByte      = "farcall.source.byte"
	HeaderSize      = "farcall.size"
	HeaderSHA256    = "farcall.sha256"
)

// HeaderReplayed marks a record that `farcall dead-letters replay` brought back: topic/partition/offset of the first one.
const HeaderReplayed = "farcall.replayed"

// Record makes the Kafka record. Its key is the source's coordinates, so that dead letters of one partition stay in order.
func (d *DeadLetter) Record(topic string) *kgo.Record {
	value := d.Value[:min(len(d.Value), MaxDeadLetterBytes)]
	sum := sha256.Sum256(value)
	r := &kgo.Record{
		Topic: topic,
		Key:   []byte(d.Source.Topic + "/" + strconv.Itoa(int(d.Source.Partition))),
		Value: append([]byte(nil), value...),
		Headers: []kgo.RecordHeader{
			{Key: HeaderStage, Value: []byte(d.Stage)},
			{Key: HeaderReason, Value: []byte(d.Reason)},
			{Key: HeaderDetail, Value: []byte(clip(d.Detail, MaxFieldBytes))},
			{Key: HeaderTopic, Value: []byte(d.Source.Topic)},
			{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(d.Source.Partition), 10)},
			{Key: HeaderOffset, Value: strconv.AppendInt(nil, d.Source.Offset, 10)},
			{Key: HeaderByte, Value: strconv.AppendInt(nil, d.Source.Byte, 10)},
			{Key: HeaderSize, Value: strconv.AppendInt(nil, int64(len(d.Value)), 10)},
			{Key: HeaderSHA256, Value: []byte(hex.EncodeToString(sum[:]))},
		},
	}
	if d.Last != 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderLast, Value: strconv.AppendInt(nil, d.Last, 10)})
	}
	return r
}

// ParseDeadLetter reads a dead letter back from its record. Fields whose header is missing stay zero.
func ParseDeadLetter(r *kgo.Record) DeadLetter {
	d := DeadLetter{Value: r.Value}
	for _, h := range r.Headers {
		switch v := string(h.Value); h.Key {
		case HeaderStage:
			d.Stage = v
		case HeaderReason:
			d.Reason = v
		case HeaderDetail:
			d.Detail = v
		case HeaderTopic:
			d.Source.Topic = v
		case HeaderPartition:
			n, _ := strconv.ParseInt(v, 10, 32)
			d.Source.Partition = int32(n)
		case HeaderOffset:
			d.Source.Offset, _ = strconv.ParseInt(v, 10, 64)
		case HeaderLast:
			d.Last, _ = strconv.ParseInt(v, 10, 64)
		case HeaderByte:
			d.Source.Byte, _ = strconv.ParseInt(v, 10, 64)
		case HeaderSize:
			d.Size, _ = strconv.ParseInt(v, 10, 64)
		case HeaderSHA256:
			d.SHA256 = v
		}
	}
	return d
}
