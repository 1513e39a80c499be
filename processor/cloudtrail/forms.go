package cloudtrail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/segmentio/encoding/json"
)

// wire is what Parse fills: the fields of a record, and those by which an envelope is told.
type wire struct {
	record
	envelope
}

// record is an event before the last step.
type record struct {
	Event
	// Fields that are decoded here, because Parse would allocate: for the free texts when they have escapes in them,
	// which names and ids cannot have, and for the flags always.
	UserAgentText       json.RawMessage `json:"userAgent"`
	ErrorMessageText    json.RawMessage `json:"errorMessage"`
	ReadOnlyText        json.RawMessage `json:"readOnly"`
	ManagementEventText json.RawMessage `json:"managementEvent"`
}

// envelope has the keys of all envelopes and of what else is recognised. Values stay undecoded.
type envelope struct {
	Records         json.RawMessage `json:"Records"`         // S3 objects; Lambda's Kinesis events
	Events          json.RawMessage `json:"Events"`          // LookupEvents
	FirehoseRecords json.RawMessage `json:"records"`         // Lambda's Firehose events
	LogEvents       json.RawMessage `json:"logEvents"`       // CloudWatch Logs
	MessageType     json.RawMessage `json:"messageType"`     // CloudWatch Logs: DATA_MESSAGE or CONTROL_MESSAGE
	Message         json.RawMessage `json:"message"`         // one of logEvents
	AWSLogs         json.RawMessage `json:"awslogs"`         // Lambda's CloudWatch Logs events
	Kinesis         json.RawMessage `json:"kinesis"`         // one of Lambda's Kinesis events
	Data            json.RawMessage `json:"data"`            // one of Lambda's Firehose events
	GetRecordsData  json.RawMessage `json:"Data"`            // one of Kinesis' GetRecords
	CloudTrailEvent json.RawMessage `json:"CloudTrailEvent"` // one of LookupEvents
	Detail          json.RawMessage `json:"detail"`          // EventBridge
	DetailType      json.RawMessage `json:"detail-type"`     // EventBridge
	DigestStartTime json.RawMessage `json:"digestStartTime"` // digest
	InsightDetails  json.RawMessage `json:"insightDetails"`  // Insights
}

// carrier is the inside of awslogs and kinesis.
type carrier struct {
	Data json.RawMessage `json:"data"`
}

func (v *envelope) empty() bool {
	return len(v.Records)|len(v.Events)|len(v.FirehoseRecords)|len(v.LogEvents)|len(v.MessageType)|len(v.Message)|
		len(v.AWSLogs)|len(v.Kinesis)|len(v.Data)|len(v.GetRecordsData)|len(v.CloudTrailEvent)|len(v.Detail)|
		len(v.DetailType)|len(v.DigestStartTime)|len(v.InsightDetails) == 0
}

// parse reads one value, at most d.window bytes or measured, into a clean d.w.
func (d *Decoder) parse(b []byte) (rest []byte, err error) {
	if c := cap(d.w.Resources); c > cap(d.resources) && c <= keepResources {
		d.resources = d.w.Resources
	}
	d.w.record = record{}
	if !d.w.envelope.empty() {
		d.w.envelope = envelope{}
	}
	clear(d.resources[:cap(d.resources)]) // Parse leaves what an element does not name as it was
	d.w.Resources = d.resources[:0]
	return json.Parse(b, &d.w, parseFlags)
}

// present tells a value from none and from null.
func present(v json.RawMessage) bool { return len(v) > 0 && v[0] != 'n' }

// within is where part, which Parse found in whole, starts in it.
func within(whole, part []byte) int64 { return int64(cap(whole) - cap(part)) }

// dispatch passes on what has been parsed from raw: the event, or what is in the envelope.
func (d *Decoder) dispatch(raw []byte, off int64, fixed bool, layer int) {
	w := &d.w
	if w.envelope.empty() {
		d.event(raw, off)
		return
	}
	offset := func(part []byte) int64 {
		if fixed {
			return off
		}
		return off + within(raw, part)
	}
	if layer == maxLayers {
		d.refuse(ReasonLayers, off, raw, layersDetail)
		return
	}
	isRecord := w.EventTime != "" && w.EventSource != "" && w.EventName != ""
	switch {
	case string(w.MessageType) == `"CONTROL_MESSAGE"`:
		d.h.Skip(SkipControlMessage)
	case len(w.Records) > 0:
		d.listIn("Records", raw, w.Records, offset(w.Records), fixed, layer)
	case len(w.Events) > 0:
		d.listIn("Events", raw, w.Events, offset(w.Events), fixed, layer)
	case len(w.LogEvents) > 0:
		d.listIn("logEvents", raw, w.LogEvents, offset(w.LogEvents), fixed, layer)
	case present(w.AWSLogs):
		d.carrierIn("awslogs", raw, w.AWSLogs, off, layer)
	case present(w.CloudTrailEvent):
		d.recordIn("CloudTrailEvent", raw, w.CloudTrailEvent, offset(w.CloudTrailEvent), off, fixed, layer)
	case isRecord || w.isInsight():
		d.event(raw, off)
	case present(w.DetailType):
		d.eventBridge(raw, off, offset(w.Detail), fixed, layer)
	case present(w.DigestStartTime):
		d.h.Skip(SkipDigest)
	case len(w.FirehoseRecords) > 0:
		d.listIn("records", raw, w.FirehoseRecords, offset(w.FirehoseRecords), fixed, layer)
	case present(w.Kinesis):
		d.carrierIn("kinesis", raw, w.Kinesis, off, layer)
	case present(w.Data) && w.Data[0] == '{':
		d.recordIn("data", raw, w.Data, offset(w.Data), off, fixed, layer)
	case present(w.Data):
		d.dataIn("data", raw, w.Data, off, layer)
	case present(w.GetRecordsData):
		d.dataIn("Data", raw, w.GetRecordsData, off, layer)
	case present(w.Message):
		d.recordIn("message", raw, w.Message, offset(w.Message), off, fixed, layer)
	default:
		d.event(raw, off)
	}
}

// eventBridge passes on what EventBridge delivers of CloudTrail, by its detail-type: "AWS API Call via CloudTrail", "AWS
// Console Sign In via CloudTrail", "AWS Service Event via CloudTrail", "AWS Insight via CloudTrail".
func (d *Decoder) eventBridge(raw []byte, off, detailOff int64, fixed bool, layer int) {
	if !bytes.HasSuffix(d.w.DetailType, []byte(` via CloudTrail"`)) {
		d.h.Skip(SkipEventBridge)
		return
	}
	d.recordIn("detail", raw, d.w.Detail, detailOff, off, fixed, layer)
}

// listIn decodes a list of records that Parse has already found to be good JSON.
func (d *Decoder) listIn(name string, raw, list []byte, off int64, fixed bool, layer int) {
	switch {
	case list[0] == 'n':
		d.h.Skip(SkipEmptyRecords)
	case list[0] != '[':
		d.refuseType(name, list, "an array", raw, off)
	default:
		d.layered = true
		t := &d.layers[layer+1].text
		*t = text{buf: list, base: off, fixed: fixed}
		d.list(t, layer+1)
	}
}

// recordIn decodes a record, or a further envelope, that is an object or the text of one.
func (d *Decoder) recordIn(name string, raw, record []byte, off, rawOff int64, fixed bool, layer int) {
	switch {
	case !present(record):
		d.refuse(ReasonNotCloudTrail, rawOff, raw, name+" is missing")
	case record[0] == '"':
		d.quoted(record, rawOff, layer)
	case record[0] == '{':
		if _, err := d.parse(record); err != nil {
			d.mistyped(record, off, fixed, layer+1, err)
			return
		}
		d.dispatch(record, off, fixed, layer+1)
	default:
		d.refuseType(name, record, "an object", raw, rawOff)
	}
}

// carrierIn decodes {"data":"<base64>"}.
func (d *Decoder) carrierIn(name string, raw, value []byte, off int64, layer int) {
	if value[0] != '{' {
		d.refuseType(name, value, "an object", raw, off)
		return
	}
	d.carrier = carrier{}
	if _, err := json.Parse(value, &d.carrier, parseFlags); err != nil || !present(d.carrier.Data) {
		d.refuse(ReasonNotCloudTrail, off, raw, name+".data is missing")
		return
	}
	d.dataIn(name+".data", raw, d.carrier.Data, off, layer)
}

// dataIn decodes a base64 string.
func (d *Decoder) dataIn(name string, raw, data []byte, off int64, layer int) {
	if data[0] != '"' {
		d.refuseType(name, data, "a base64 string", raw, off)
		return
	}
	l := &d.layers[layer+1]
	text := data[1 : len(data)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		l.unquoted = appendUnquoted(l.unquoted[:0], text)
		text = l.unquoted
	}
	d.base64(text, raw, off, layer)
}

// quoted decodes what a JSON string, which Parse has found to be good, has inside.
func (d *Decoder) quoted(str []byte, off int64, layer int) {
	if layer == maxLayers {
		d.refuse(ReasonLayers, off, str, layersDetail)
		return
	}
	l := &d.layers[layer+1]
	l.unquoted = appendUnquoted(l.unquoted[:0], str[1:len(str)-1])
	d.carried(l.unquoted, layer+1, off, true)
}

func (e *Event) isInsight() bool {
	return e.EventType == "AwsCloudTrailInsight" || e.EventCategory == "Insight"
}

// event delivers the record that has been parsed from raw, if it is one.
func (d *Decoder) event(raw []byte, off int64) {
	w := &d.w
	e := &w.Event
	if e.isInsight() || len(w.InsightDetails) > 0 && e.EventName == "" {
		d.h.Skip(SkipInsight)
		return
	}
	if e.EventTime == "" || e.EventSource == "" || e.EventName == "" {
		d.refuseMissing(raw, off)
		return
	}
	var ok bool
	if e.TimeMillis, ok = d.clock.parse(e.EventTime); !ok {
		d.refuse(ReasonBadEventTime, off, raw, "eventTime "+quote([]byte(e.EventTime))+
			" is no time from "+strconv.Itoa(firstYear)+" to "+strconv.Itoa(lastYear))
		return
	}
	if len(e.EventSource) > 4 && e.EventSource[:4] == "aws:" {
		d.refuse(ReasonNotCloudTrail, off, raw, "eventSource "+quote([]byte(e.EventSource))+
			" marks a service's notification, not a CloudTrail record")
		return
	}
	if name, value, want := d.texts(); want != "" {
		d.refuseType(name, value, want, raw, off)
		return
	}
	e.Offset, e.Raw = off, raw
	d.h.Event(e)
}

// texts fills in the fields that Parse has left undecoded. want is empty, or the type that the named value should have had.
func (d *Decoder) texts() (name string, value []byte, want string) {
	w := &d.w
	e := &w.Event
	d.unquoted = d.unquoted[:0]
	var ok bool
	if len(w.UserAgentText) > 0 {
		if e.UserAgent, ok = d.text(w.UserAgentText); !ok {
			return "userAgent", w.UserAgentText, "a string"
		}
	}
	if len(w.ErrorMessageText) > 0 {
		if e.ErrorMessage, ok = d.text(w.ErrorMessageText); !ok {
			return "errorMessage", w.ErrorMessageText, "a string"
		}
	}
	if len(w.ReadOnlyText) > 0 {
		if e.ReadOnly, ok = d.flag(w.ReadOnlyText); !ok {
			return "readOnly", w.ReadOnlyText, "a boolean"
		}
	}
	if len(w.ManagementEventText) > 0 {
		if e.ManagementEvent, ok = d.flag(w.ManagementEventText); !ok {
			return "managementEvent", w.ManagementEventText, "a boolean"
		}
	}
	if a := &e.UserIdentity.SessionContext.Attributes; len(a.MFAText) > 0 {
		switch string(a.MFAText) {
		case "true", `"true"`:
			a.MFAAuthenticated = "true"
		case "false", `"false"`:
			a.MFAAuthenticated = "false"
		default:
			if a.MFAAuthenticated, ok = d.text(a.MFAText); !ok {
				return "userIdentity.sessionContext.attributes.mfaAuthenticated", a.MFAText, "a string"
			}
		}
	}
	return "", nil, ""
}

// text is the string that a good JSON value means; null means none.
func (d *Decoder) text(v json.RawMessage) (s string, ok bool) {
	if v[0] != '"' {
		return "", v[0] == 'n'
	}
	b := v[1 : len(v)-1]
	if !verbatim(b) {
		start := len(d.unquoted)
		d.unquoted = appendUnquoted(d.unquoted, b)
		b = d.unquoted[start:]
	}
	return unsafe.String(unsafe.SliceData(b), len(b)), true
}

// verbatim reports whether the inside of a good JSON string means what it says: no byte of it is a backslash, a control
// character or outside of ASCII. It is one pass of eight bytes at a time, since segmentio's vector code leaves the
// processor in a state in which that of the standard library costs several times as much on Intel's (no VZEROUPPER).
func verbatim(b []byte) bool {
	var bad uint64 // by its high bits: what is not ASCII, backslashes, and what is below the blank
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		bad |= w | (w ^ '\\'*eachByte - eachByte) | (w - ' '*eachByte)
	}
	for ; i < len(b); i++ {
		w := uint64(b[i])
		bad |= w | (w ^ '\\' - 1) | (w - ' ')
	}
	return bad&highBits == 0
}

// flag is where the boolean that a good JSON value means stands; nil for null.
func (d *Decoder) flag(v json.RawMessage) (b *bool, ok bool) {
	switch v[0] {
	case 't':
		return &d.yes, true
	case 'f':
		return &d.no, true
	}
	return nil, v[0] == 'n'
}

// refuseMissing says which of the fields that make a record are not there.
func (d *Decoder) refuseMissing(raw []byte, off int64) {
	e := &d.w.Event
	switch {
	case e.EventTime == "" && e.EventSource == "" && e.EventName == "":
		d.refuse(ReasonNotCloudTrail, off, raw, "neither a CloudTrail record nor an envelope of one: "+quote(raw))
	case e.EventTime == "":
		d.refuse(ReasonNoEventTime, off, raw, "eventTime is missing")
	case e.EventSource == "":
		d.refuse(ReasonNoEventSource, off, raw, "eventSource is missing")
	default:
		d.refuse(ReasonNoEventName, off, raw, "eventName is missing")
	}
}

func (d *Decoder) refuseType(name string, value []byte, want string, raw []byte, off int64) {
	d.refuse(ReasonWrongType, off, raw, name+" is "+kindOf(value)+", not "+want)
}

// isType tells the one error that Parse has for good JSON.
func isType(err error) bool {
	var t *json.UnmarshalTypeError
	return errors.As(err, &t)
}

// mistyped deals with an object that is good JSON and has a field of a type that a record's never has: an envelope whose
// own fields are named like a record's (EventBridge's resources is a list of strings), or a bad record.
func (d *Decoder) mistyped(raw []byte, off int64, fixed bool, layer int, err error) {
	d.w = wire{}
	if _, err := json.Parse(raw, &d.w.envelope, parseFlags); err == nil {
		v := &d.w.envelope
		if present(v.DetailType) || len(v.Records) > 0 || len(v.Events) > 0 || len(v.LogEvents) > 0 ||
			present(v.AWSLogs) || present(v.CloudTrailEvent) || present(v.Kinesis) {
			d.dispatch(raw, off, fixed, layer)
			return
		}
	}
	d.refuse(ReasonWrongType, off, raw, typeDetail(err))
}

// typeDetail names the field that has the wrong type, and both types. Parse's own words quote the input.
func typeDetail(err error) string {
	var t *json.UnmarshalTypeError
	if !errors.As(err, &t) {
		return "broken JSON"
	}
	want := "a string"
	switch t.Type.Kind() {
	case reflect.Struct:
		want = "an object"
	case reflect.Slice:
		want = "an array"
	}
	// Value is the offending value, quoted.
	value := strings.TrimLeft(t.Value, `"\`)
	if value == "" || strings.HasPrefix(t.Value, `"\`) {
		value = `"`
	}
	return t.Field + " is " + kindOf([]byte(value[:1])) + ", not " + want
}

// listKeys are the keys of lists of records, as they are written.
var listKeys = [...]string{`"Records"`, `"Events"`, `"logEvents"`, `"records"`}

func isListKey(key []byte) bool {
	for _, k := range listKeys {
		if string(key) == k {
			return true
		}
	}
	return false
}

// listFirst is where the list starts in an object that has one as its first value, else 0.
func listFirst(object []byte) int {
	if len(object) > 2 && object[1] == '"' {
		switch object[2] {
		case 'R', 'E', 'l', 'r':
		default:
			return 0
		}
	}
	return listAt(object, 1)
}

// listAt is where the first list of records starts in an object, if it is among the first values; else 0. It goes by
// brackets and quotes alone.
func listAt(object []byte, values int) int {
	i := 1
	blanks := func() bool {
		for i < len(object) && (object[i] == ' ' || object[i] == '\t' || object[i] == '\n' || object[i] == '\r') {
			i++
		}
		return i < len(object)
	}
	for range values {
		if !blanks() || object[i] != '"' {
			return 0
		}
		var s brackets
		n, done := s.scan(object[i:])
		if !done {
			return 0
		}
		isList := isListKey(object[i : i+n])
		i += n
		if !blanks() || object[i] != ':' {
			return 0
		}
		i++
		if !blanks() {
			return 0
		}
		if isList && object[i] == '[' {
			return i
		}
		if values == 1 {
			return 0
		}
		if c := object[i]; startsValue(c) {
			s = brackets{}
			n, done = s.scan(object[i:])
			if !done {
				return 0
			}
			i += n
		} else if n = bytes.IndexAny(object[i:], ",}"); n >= 0 {
			i += n
		} else {
			return 0
		}
		if !blanks() || object[i] != ',' {
			return 0
		}
		i++
	}
	return 0
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
