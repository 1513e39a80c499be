package cloudtrail

import (
	"math/bits"
	"strconv"
	"strings"
	"unsafe"

	"github.com/segmentio/encoding/json"
)

// wire is what parse fills: the fields of a record, and those by which an envelope is told.
type wire struct {
	Event
	envelope
	enveloped bool // the envelope is not empty
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

// mistake is a value of a type that its field never has.
type mistake struct {
	path     string // with # for the index of a resource; empty: there is no mistake
	index    int
	is, want string // the types, for a person
}

// parse reads the object at the front of b into a clean d.w, and returns where it ends. What is read of a field or passed over
// may have the levels of the limit, less those around it.
func (d *Decoder) parse(b []byte) int {
	w := &d.w
	if c := cap(w.Resources); c > cap(d.resources) && c <= keepResources {
		d.resources = w.Resources
	}
	w.Event = Event{}
	w.Resources = d.resources[:0]
	if w.enveloped {
		w.envelope, w.enveloped = envelope{}, false
	}
	d.wrong, d.doubtful = mistake{}, mistake{}
	d.unquoted = d.unquoted[:0]
	d.reset(b)
	i, more := d.open(0, '}')
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "eventVersion":
			i = d.text(value, at, end, &w.EventVersion, "eventVersion")
		case "userIdentity":
			i = d.identity(d.again(at, end))
		case "eventTime":
			i = d.text(value, at, end, &w.EventTime, "eventTime")
		case "eventSource":
			i = d.text(value, at, end, &w.EventSource, "eventSource")
		case "eventName":
			i = d.text(value, at, end, &w.EventName, "eventName")
		case "awsRegion":
			i = d.text(value, at, end, &w.AWSRegion, "awsRegion")
		case "sourceIPAddress":
			i = d.text(value, at, end, &w.SourceIPAddress, "sourceIPAddress")
		case "userAgent":
			i = d.text(value, at, end, &w.UserAgent, "userAgent")
		case "errorCode":
			i = d.text(value, at, end, &w.ErrorCode, "errorCode")
		case "errorMessage":
			i = d.text(value, at, end, &w.ErrorMessage, "errorMessage")
		case "requestParameters":
			i = d.raw(at, end, d.limits.Depth-1, &w.RequestParameters)
		case "eventID":
			i = d.text(value, at, end, &w.EventID, "eventID")
		case "readOnly":
			i = d.flag(d.again(at, end), &w.ReadOnly, "readOnly")
		case "resources":
			i = d.resourceList(d.again(at, end))
		case "eventType":
			i = d.text(value, at, end, &w.EventType, "eventType")
		case "managementEvent":
			i = d.flag(d.again(at, end), &w.ManagementEvent, "managementEvent")
		case "recipientAccountId":
			i = d.text(value, at, end, &w.RecipientAccount, "recipientAccountId")
		case "sharedEventID":
			i = d.text(value, at, end, &w.SharedEventID, "sharedEventID")
		case "vpcEndpointId":
			i = d.text(value, at, end, &w.VPCEndpointID, "vpcEndpointId")
		case "eventCategory":
			i = d.text(value, at, end, &w.EventCategory, "eventCategory")
		default:
			if to := w.field(key); to != nil {
				w.enveloped = true
				i = d.raw(at, end, d.limits.Depth-1, to)
			} else {
				i = d.pass(at, end, d.limits.Depth-1)
			}
		}
		i, more = d.next(i, '}')
	}
	return i
}

// field is what a key of an envelope names, nil if it is none.
func (v *envelope) field(key []byte) *json.RawMessage {
	switch string(key) {
	case "Records":
		return &v.Records
	case "Events":
		return &v.Events
	case "records":
		return &v.FirehoseRecords
	case "logEvents":
		return &v.LogEvents
	case "messageType":
		return &v.MessageType
	case "message":
		return &v.Message
	case "awslogs":
		return &v.AWSLogs
	case "kinesis":
		return &v.Kinesis
	case "data":
		return &v.Data
	case "Data":
		return &v.GetRecordsData
	case "CloudTrailEvent":
		return &v.CloudTrailEvent
	case "detail":
		return &v.Detail
	case "detail-type":
		return &v.DetailType
	case "digestStartTime":
		return &v.DigestStartTime
	case "insightDetails":
		return &v.InsightDetails
	}
	return nil
}

func (d *Decoder) identity(i int) int {
	id := &d.w.UserIdentity
	i, more := d.object(i, "userIdentity")
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "type":
			i = d.text(value, at, end, &id.Type, "userIdentity.type")
		case "principalId":
			i = d.text(value, at, end, &id.PrincipalID, "userIdentity.principalId")
		case "arn":
			i = d.text(value, at, end, &id.ARN, "userIdentity.arn")
		case "accountId":
			i = d.text(value, at, end, &id.AccountID, "userIdentity.accountId")
		case "accessKeyId":
			i = d.text(value, at, end, &id.AccessKeyID, "userIdentity.accessKeyId")
		case "userName":
			i = d.text(value, at, end, &id.UserName, "userIdentity.userName")
		case "sessionContext":
			i = d.sessionContext(d.again(at, end))
		case "invokedBy":
			i = d.text(value, at, end, &id.InvokedBy, "userIdentity.invokedBy")
		case "identityProvider":
			i = d.text(value, at, end, &id.IdentityProvider, "userIdentity.identityProvider")
		case "credentialId":
			i = d.text(value, at, end, &id.CredentialID, "userIdentity.credentialId")
		case "sourceIdentity":
			i = d.text(value, at, end, &id.SourceIdentity, "userIdentity.sourceIdentity")
		case "onBehalfOf":
			i = d.onBehalfOf(d.again(at, end))
		default:
			i = d.pass(at, end, d.limits.Depth-2)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) sessionContext(i int) int {
	session := &d.w.UserIdentity.SessionContext
	i, more := d.object(i, "userIdentity.sessionContext")
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "sessionIssuer":
			i = d.sessionIssuer(d.again(at, end))
		case "attributes":
			i = d.sessionAttributes(d.again(at, end))
		case "sourceIdentity":
			i = d.text(value, at, end, &session.SourceIdentity, "userIdentity.sessionContext.sourceIdentity")
		default:
			i = d.pass(at, end, d.limits.Depth-3)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) sessionIssuer(i int) int {
	issuer := &d.w.UserIdentity.SessionContext.SessionIssuer
	i, more := d.object(i, "userIdentity.sessionContext.sessionIssuer")
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "type":
			i = d.text(value, at, end, &issuer.Type, "userIdentity.sessionContext.sessionIssuer.type")
		case "principalId":
			i = d.text(value, at, end, &issuer.PrincipalID, "userIdentity.sessionContext.sessionIssuer.principalId")
		case "arn":
			i = d.text(value, at, end, &issuer.ARN, "userIdentity.sessionContext.sessionIssuer.arn")
		case "accountId":
			i = d.text(value, at, end, &issuer.AccountID, "userIdentity.sessionContext.sessionIssuer.accountId")
		case "userName":
			i = d.text(value, at, end, &issuer.UserName, "userIdentity.sessionContext.sessionIssuer.userName")
		default:
			i = d.pass(at, end, d.limits.Depth-4)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) sessionAttributes(i int) int {
	attributes := &d.w.UserIdentity.SessionContext.Attributes
	i, more := d.object(i, "userIdentity.sessionContext.attributes")
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "creationDate":
			i = d.text(value, at, end, &attributes.CreationDate, "userIdentity.sessionContext.attributes.creationDate")
		case "mfaAuthenticated":
			i = d.textOrFlag(value, at, end, &attributes.MFAAuthenticated, "userIdentity.sessionContext.attributes.mfaAuthenticated")
		default:
			i = d.pass(at, end, d.limits.Depth-4)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) onBehalfOf(i int) int {
	user := &d.w.UserIdentity.OnBehalfOf
	i, more := d.object(i, "userIdentity.onBehalfOf")
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "userId":
			i = d.text(value, at, end, &user.UserID, "userIdentity.onBehalfOf.userId")
		case "identityStoreArn":
			i = d.text(value, at, end, &user.IdentityStoreARN, "userIdentity.onBehalfOf.identityStoreArn")
		default:
			i = d.pass(at, end, d.limits.Depth-3)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) resourceList(i int) int {
	d.w.Resources = d.w.Resources[:0]
	if i < 0 || i >= len(d.b) || d.b[i] != '[' {
		return d.other(i, "resources", "an array")
	}
	i, more := d.open(i, ']')
	for more {
		i = d.resource(i)
		i, more = d.next(i, ']')
	}
	return i
}

func (d *Decoder) resource(i int) int {
	d.w.Resources = append(d.w.Resources, Resource{})
	r := &d.w.Resources[len(d.w.Resources)-1]
	i, more := d.object(i, "resources.#")
	for more {
		key, value, at, end := d.pair(i)
		switch string(key) {
		case "ARN":
			i = d.text(value, at, end, &r.ARN, "resources.#.ARN")
		case "accountId":
			i = d.text(value, at, end, &r.AccountID, "resources.#.accountId")
		case "type":
			i = d.text(value, at, end, &r.Type, "resources.#.type")
		default:
			i = d.pass(at, end, d.limits.Depth-3)
		}
		i, more = d.next(i, '}')
	}
	return i
}

// member is the value in the good JSON object that a key names, nil if it has none.
func (d *Decoder) member(object []byte, name string) (value json.RawMessage) {
	d.reset(object)
	i, more := d.open(0, '}')
	for more {
		key, _, at, end := d.pair(i)
		if string(key) == name {
			i = d.raw(at, end, d.limits.Depth, &value)
		} else {
			i = d.pass(at, end, d.limits.Depth)
		}
		i, more = d.next(i, '}')
	}
	return value
}

// pair reads the key at d.b[i], and says where its value starts. If that is a string to be taken as it is written, like most, value is
// its inside and end where it ends, and otherwise end is 0.
func (d *Decoder) pair(i int) (key []byte, value string, at, end int) {
	b := d.b
	if i >= len(b) {
		return nil, "", cutOff, 0
	}
	if b[i] != '"' {
		return nil, "", notJSON, 0
	}
	if d.odd == 0 || d.base+bits.TrailingZeros64(d.odd) != i {
		d.nextOdd(i)
	}
	odd, base := d.ahead(d.odd&(d.odd-1), d.base)
	e := base + bits.TrailingZeros64(odd)
	if e+2 >= len(b) || b[e] != '"' || b[e+1] != ':' || b[e+2] <= ' ' {
		d.odd, d.base = odd, base
		return d.oddKey(i)
	}
	key, at = b[i+1:e], e+2
	odd &= odd - 1
	if b[at] == '"' { // its mark is the lowest
		odd, base := d.ahead(odd, base)
		odd, base = d.ahead(odd&(odd-1), base)
		if e = base + bits.TrailingZeros64(odd); e < len(b) && b[e] == '"' {
			d.odd, d.base = odd&(odd-1), base
			return key, unsafe.String(&b[at+1], e-at-1), at, e + 1
		}
	}
	d.odd, d.base = odd, base
	return key, "", at, 0
}

// oddKey is pair of a key that is not as it is written, or does not touch its colon, or its value; the mark of its opening quote has
// been passed over.
func (d *Decoder) oddKey(i int) (key []byte, value string, at, end int) {
	e, plain := d.insideEnd(i + 1)
	if e < 0 {
		return nil, "", e, 0
	}
	key = d.b[i+1 : e-1]
	if !plain {
		key = d.unquote(key)
	}
	return key, "", colonEnd(d.b, e), 0
}

// again goes back to a value that pair has passed over, and returns where it starts.
func (d *Decoder) again(at, end int) int {
	if end > 0 {
		d.back(at)
	}
	return at
}

// pass is where a value ends of which nothing is kept.
func (d *Decoder) pass(at, end, levels int) int {
	if end > 0 {
		return end
	}
	return d.skip(at, levels)
}

// text reads a string.
func (d *Decoder) text(value string, at, end int, to *string, path string) int {
	if end > 0 {
		*to = value
		return end
	}
	return d.oddText(at, to, path)
}

// oddText is text of what is no string to be taken as it is written.
func (d *Decoder) oddText(i int, to *string, path string) int {
	if i < 0 || i >= len(d.b) || d.b[i] != '"' {
		return d.other(i, path, "a string")
	}
	end, plain := d.stringEnd(i)
	if end < 0 {
		return end
	}
	inside := d.b[i+1 : end-1]
	if !plain {
		inside = d.unquote(inside)
	}
	*to = unsafe.String(unsafe.SliceData(inside), len(inside))
	return end
}

// unquote is what the inside of a good JSON string means. It is valid until the next record is parsed.
func (d *Decoder) unquote(inside []byte) []byte {
	start := len(d.unquoted)
	d.unquoted = appendUnquoted(d.unquoted, inside)
	return d.unquoted[start:]
}

// flag reads a boolean.
func (d *Decoder) flag(i int, to **bool, path string) int {
	if i >= 0 && i < len(d.b) {
		switch d.b[i] {
		case 't':
			*to = &d.yes
			return wordEnd(d.b, i)
		case 'f':
			*to = &d.no
			return wordEnd(d.b, i)
		}
	}
	*to = nil
	return d.other(i, path, "a boolean")
}

// textOrFlag reads a string, or a boolean as one.
func (d *Decoder) textOrFlag(value string, at, end int, to *string, path string) int {
	if at >= 0 && at < len(d.b) {
		switch d.b[at] {
		case 't':
			*to = "true"
			return wordEnd(d.b, at)
		case 'f':
			*to = "false"
			return wordEnd(d.b, at)
		}
	}
	return d.text(value, at, end, to, path)
}

// raw reads a value of any type as it is written.
func (d *Decoder) raw(at, end, levels int, to *json.RawMessage) int {
	if end = d.pass(at, end, levels); end >= 0 {
		*to = d.b[at:end]
	}
	return end
}

// object opens the object at d.b[i], and returns where its first key is; or where it ends, if it has none.
func (d *Decoder) object(i int, path string) (at int, some bool) {
	if i < 0 || i >= len(d.b) || d.b[i] != '{' {
		return d.other(i, path, "an object"), false
	}
	return d.open(i, '}')
}

// other passes over a value that has another type than wanted, which is a mistake unless it is null.
func (d *Decoder) other(i int, path, want string) int {
	end := d.skip(i, d.limits.Depth-1-strings.Count(path, "."))
	if end < 0 || d.b[i] == 'n' {
		return end
	}
	first := &d.wrong
	switch path {
	case "userAgent", "errorMessage", "readOnly", "managementEvent", "userIdentity.sessionContext.attributes.mfaAuthenticated":
		first = &d.doubtful
	}
	if first.path == "" {
		*first = mistake{path, len(d.w.Resources) - 1, kindOf(d.b[i:]), want}
	}
	return end
}

func (m *mistake) String() string {
	return strings.Replace(m.path, "#", strconv.Itoa(m.index), 1) + " is " + m.is + ", not " + m.want
}
