package cloudtrail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// SkipKind says what a payload holds that is recognised and deliberately not an event.
type SkipKind uint8

// The kinds of Skip.
const (
	SkipInsight        SkipKind = iota // a CloudTrail Insights event: a statistic about calls, not a call
	SkipDigest                         // a log file integrity digest
	SkipControlMessage                 // CloudWatch Logs' check that the destination is reachable
	SkipEventBridge                    // an EventBridge event of another source than CloudTrail
	SkipEmptyPayload                   // nothing at all, blanks or null: a tombstone
	SkipEmptyRecords                   // a list of records with nothing in it
	NumSkipKinds       = iota
)

var skipNames = [NumSkipKinds]string{
	"insight", "digest", "control_message", "eventbridge_other", "empty_payload", "empty_records",
}

// String is the kind's name as metrics write it.
func (k SkipKind) String() string {
	if int(k) < len(skipNames) {
		return skipNames[k]
	}
	return "skip_" + strconv.Itoa(int(k))
}

// Reason sorts refusals.
type Reason uint8

// The reasons of a Refusal.
const (
	ReasonNotJSON       Reason = iota // neither JSON nor gzip nor base64 of them
	ReasonSyntax                      // JSON that is broken somewhere inside
	ReasonTruncated                   // the text ends in the middle of a record
	ReasonTooLarge                    // a record of more than Limits.RecordBytes
	ReasonTooDeep                     // a record nested deeper than Limits.Depth
	ReasonExpanded                    // gzip that expands to more than Limits.ExpandedBytes
	ReasonGzip                        // damaged or truncated gzip
	ReasonBase64                      // damaged base64
	ReasonRead                        // the reader failed
	ReasonWrongType                   // a field of another JSON type than CloudTrail gives it
	ReasonNotCloudTrail               // good JSON, but nothing of CloudTrail's
	ReasonNoEventTime                 // a record without eventTime
	ReasonBadEventTime                // an eventTime that is no time, or outside of the years 2006 to 2200
	ReasonNoEventSource               // a record without eventSource
	ReasonNoEventName                 // a record without eventName
	ReasonLayers                      // an envelope in an envelope in an envelope …
	ReasonMore                        // the refusals of one payload past the first maxRefusals, as one
	NumReasons          = iota
)

var reasonNames = [NumReasons]string{
	"not_json", "syntax", "truncated", "too_large", "too_deep", "expanded_too_large", "gzip", "base64", "read",
	"wrong_type", "not_cloudtrail", "no_event_time", "bad_event_time", "no_event_source", "no_event_name", "layers", "more",
}

// String is the reason's name as metrics write it.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "reason_" + strconv.Itoa(int(r))
}

// Refusal is bad input: a part of a payload of which no event could be made. It is valid only during the call.
type Refusal struct {
	Reason Reason
	// Detail says to a person what is wrong and where. It quotes at most quoteBytes of the input.
	Detail string
	// Offset is where the bad part starts, in bytes of the text that it was found in (see Event.Offset).
	Offset int64
	// Raw is the bad part; it aliases the payload. When streaming, only the first 64 KiB of a part that is larger than
	// Limits.RecordBytes. It is empty for what is missing: a comma, or what gzip did not expand to.
	Raw []byte
	// Count is how many bad parts this stands for: 1, except under ReasonMore.
	Count int
}

const (
	// quoteBytes caps what a Detail quotes of the input, so that a log line or a dead letter's header stays short.
	quoteBytes = 60
	// maxRefusals is how many parts of one payload are refused one by one. A payload of a few kilobytes can expand to
	// millions of broken records; they are counted, and the good ones among them go on, but they do not each become a
	// dead letter.
	maxRefusals = 1000
	// headBytes is how much of a discarded part streaming keeps for Refusal.Raw.
	headBytes = 64 << 10
)

// refuse reports one bad part.
func (d *Decoder) refuse(r Reason, off int64, raw []byte, detail string) {
	d.refusals++
	if d.payload && d.refusals > maxRefusals {
		if d.refusals == maxRefusals+1 {
			d.moreOffset = off
		}
		return
	}
	d.refusal = Refusal{Reason: r, Detail: detail, Offset: off, Raw: raw, Count: 1}
	d.h.Refuse(&d.refusal)
}

// refuseMore reports what refuse only counted.
func (d *Decoder) refuseMore() {
	more := d.refusals - maxRefusals
	if !d.payload {
		return
	}
	d.refusal = Refusal{
		Reason: ReasonMore,
		Detail: fmt.Sprintf("%d more bad records after the first %d of this payload", more, maxRefusals),
		Offset: d.moreOffset,
		Count:  more,
	}
	d.h.Refuse(&d.refusal)
}

// quote is the beginning of raw, fit for a log line.
func quote(raw []byte) string {
	if len(raw) > quoteBytes {
		return strconv.QuoteToASCII(string(raw[:quoteBytes])) + "…"
	}
	return strconv.QuoteToASCII(string(raw))
}

// kindOf names the JSON type of a value by its first byte.
func kindOf(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// verdict is encoding/json's opinion of the value that a text begins with.
type verdict struct {
	end        int               // where it ends, if it is good
	incomplete bool              // it is good so far, but the text ends
	bad        *json.SyntaxError // where and why it breaks
}

// grammar asks encoding/json, because the scanner, which has no time for it, says neither where a value breaks nor why.
func grammar(text []byte) verdict {
	var raw json.RawMessage
	d := json.NewDecoder(&byteReader{text})
	err := d.Decode(&raw)
	var bad *json.SyntaxError
	switch {
	case err == nil:
		return verdict{end: int(d.InputOffset())}
	case errors.As(err, &bad):
		return verdict{bad: bad}
	}
	return verdict{incomplete: true}
}

// byteReader hands out little at a time: encoding/json's Decoder reads until its buffer is full, and a break is usually
// near the front of a text of a megabyte.
type byteReader struct{ rest []byte }

func (r *byteReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest[:min(len(r.rest), 2048)])
	r.rest = r.rest[n:]
	return n, nil
}
