package cloudtrail

import (
	"bytes"
	"strconv"

	"github.com/segmentio/encoding/json"
)

// present tells a value from none and from null.
func present(v json.RawMessage) bool { return len(v) > 0 && v[0] != 'n' }

// within is where part, which was found in whole, starts in it.
func within(whole, part []byte) int64 { return int64(cap(whole) - cap(part)) }

// dispatch passes on what has been parsed from raw: the event, or what is in the envelope.
func (d *Decoder) dispatch(raw []byte, off int64, fixed bool, layer int) {
	w := &d.w
	if d.wrong.path != "" {
		if !w.enveloped || !w.envelope.certain() {
			d.refuse(ReasonWrongType, off, raw, d.wrong.String())
			return
		}
		w.Event = Event{}
	}
	if !w.enveloped {
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

// certain reports whether the object is an envelope whatever its other fields are: some are named like a record's and have
// another type (EventBridge's resources is a list of strings).
func (v *envelope) certain() bool {
	return present(v.DetailType) || len(v.Records) > 0 || len(v.Events) > 0 || len(v.LogEvents) > 0 || present(v.AWSLogs) ||
		present(v.CloudTrailEvent) || present(v.Kinesis)
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

// listIn decodes a list of records that has already been found to be good JSON.
func (d *Decoder) listIn(name string, raw, list []byte, off int64, fixed bool, layer int) {
	switch {
	case list[0] == 'n':
		d.h.Skip(SkipEmptyRecords)
	case list[0] != '[':
		d.refuseType(name, list, "an array", raw, off)
	default:
		d.used = max(d.used, layer+2)
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
		d.parse(record)
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
	data := d.member(value, "data")
	if !present(data) {
		d.refuse(ReasonNotCloudTrail, off, raw, name+".data is missing")
		return
	}
	d.dataIn(name+".data", raw, data, off, layer)
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

// quoted decodes what a good JSON string has inside.
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
	if d.doubtful.path != "" {
		d.refuse(ReasonWrongType, off, raw, d.doubtful.String())
		return
	}
	e.Offset, e.Raw = off, raw
	d.h.Event(e)
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
