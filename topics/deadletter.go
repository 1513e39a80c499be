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
	Value  []byte
}

// The headers of a dead letter.
const (
	HeaderStage     = "farcall.stage"
	HeaderReason    = "farcall.reason"
	HeaderDetail    = "farcall.detail"
	HeaderTopic     = "farcall.source.topic"
	HeaderPartition = "farcall.source.partition"
	HeaderOffset    = "farcall.source.offset"
	HeaderByte      = "farcall.source.byte"
	HeaderSize      = "farcall.size"
	HeaderSHA256    = "farcall.sha256"
)

// Record makes the Kafka record. Its key is the source's coordinates, so that dead letters of one partition stay in order.
func (d *DeadLetter) Record(topic string) *kgo.Record {
	sum := sha256.Sum256(d.Value)
	value := d.Value[:min(len(d.Value), MaxDeadLetterBytes)]
	return &kgo.Record{
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
		case HeaderByte:
			d.Source.Byte, _ = strconv.ParseInt(v, 10, 64)
		}
	}
	return d
}
