package cloudtrail

import (
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
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "eventVersion":
			i = d.text(i, &w.EventVersion, "eventVersion")
		case "userIdentity":
			i = d.identity(i)
		case "eventTime":
			i = d.text(i, &w.EventTime, "eventTime")
		case "eventSource":
			i = d.text(i, &w.EventSource, "eventSource")
		case "eventName":
			i = d.text(i, &w.EventName, "eventName")
		case "awsRegion":
			i = d.text(i, &w.AWSRegion, "awsRegion")
		case "sourceIPAddress":
			i = d.text(i, &w.SourceIPAddress, "sourceIPAddress")
		case "userAgent":
			i = d.text(i, &w.UserAgent, "userAgent")
		case "errorCode":
			i = d.text(i, &w.ErrorCode, "errorCode")
		case "errorMessage":
			i = d.text(i, &w.ErrorMessage, "errorMessage")
		case "requestParameters":
			i = d.raw(i, d.limits.Depth-1, &w.RequestParameters)
		case "eventID":
			i = d.text(i, &w.EventID, "eventID")
		case "readOnly":
			i = d.flag(i, &w.ReadOnly, "readOnly")
		case "resources":
			i = d.resourceList(i)
		case "eventType":
			i = d.text(i, &w.EventType, "eventType")
		case "managementEvent":
			i = d.flag(i, &w.ManagementEvent, "managementEvent")
		case "recipientAccountId":
			i = d.text(i, &w.RecipientAccount, "recipientAccountId")
		case "sharedEventID":
			i = d.text(i, &w.SharedEventID, "sharedEventID")
		case "vpcEndpointId":
			i = d.text(i, &w.VPCEndpointID, "vpcEndpointId")
		case "eventCategory":
			i = d.text(i, &w.EventCategory, "eventCategory")
		default:
			if to := w.field(key); to != nil {
				w.enveloped = true
				i = d.raw(i, d.limits.Depth-1, to)
			} else {
				i = d.skip(i, d.limits.Depth-1)
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
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "type":
			i = d.text(i, &id.Type, "userIdentity.type")
		case "principalId":
			i = d.text(i, &id.PrincipalID, "userIdentity.principalId")
		case "arn":
			i = d.text(i, &id.ARN, "userIdentity.arn")
		case "accountId":
			i = d.text(i, &id.AccountID, "userIdentity.accountId")
		case "accessKeyId":
			i = d.text(i, &id.AccessKeyID, "userIdentity.accessKeyId")
		case "userName":
			i = d.text(i, &id.UserName, "userIdentity.userName")
		case "sessionContext":
			i = d.sessionContext(i)
		case "invokedBy":
			i = d.text(i, &id.InvokedBy, "userIdentity.invokedBy")
		case "identityProvider":
			i = d.text(i, &id.IdentityProvider, "userIdentity.identityProvider")
		case "credentialId":
			i = d.text(i, &id.CredentialID, "userIdentity.credentialId")
		case "sourceIdentity":
			i = d.text(i, &id.SourceIdentity, "userIdentity.sourceIdentity")
		case "onBehalfOf":
			i = d.onBehalfOf(i)
		default:
			i = d.skip(i, d.limits.Depth-2)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) sessionContext(i int) int {
	session := &d.w.UserIdentity.SessionContext
	i, more := d.object(i, "userIdentity.sessionContext")
	for more {
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "sessionIssuer":
			i = d.sessionIssuer(i)
		case "attributes":
			i = d.sessionAttributes(i)
		case "sourceIdentity":
			i = d.text(i, &session.SourceIdentity, "userIdentity.sessionContext.sourceIdentity")
		default:
			i = d.skip(i, d.limits.Depth-3)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) sessionIssuer(i int) int {
	issuer := &d.w.UserIdentity.SessionContext.SessionIssuer
	i, more := d.object(i, "userIdentity.sessionContext.sessionIssuer")
	for more {
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "type":
			i = d.text(i, &issuer.Type, "userIdentity.sessionContext.sessionIssuer.type")
		case "principalId":
			i = d.text(i, &issuer.PrincipalID, "userIdentity.sessionContext.sessionIssuer.principalId")
		case "arn":
			i = d.text(i, &issuer.ARN, "userIdentity.sessionContext.sessionIssuer.arn")
		case "accountId":
			i = d.text(i, &issuer.AccountID, "userIdentity.sessionContext.sessionIssuer.accountId")
		case "userName":
			i = d.text(i, &issuer.UserName, "userIdentity.sessionContext.sessionIssuer.userName")
		default:
			i = d.skip(i, d.limits.Depth-4)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) sessionAttributes(i int) int {
	attributes := &d.w.UserIdentity.SessionContext.Attributes
	i, more := d.object(i, "userIdentity.sessionContext.attributes")
	for more {
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "creationDate":
			i = d.text(i, &attributes.CreationDate, "userIdentity.sessionContext.attributes.creationDate")
		case "mfaAuthenticated":
			i = d.textOrFlag(i, &attributes.MFAAuthenticated, "userIdentity.sessionContext.attributes.mfaAuthenticated")
		default:
			i = d.skip(i, d.limits.Depth-4)
		}
		i, more = d.next(i, '}')
	}
	return i
}

func (d *Decoder) onBehalfOf(i int) int {
	user := &d.w.UserIdentity.OnBehalfOf
	i, more := d.object(i, "userIdentity.onBehalfOf")
	for more {
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "userId":
			i = d.text(i, &user.UserID, "userIdentity.onBehalfOf.userId")
		case "identityStoreArn":
			i = d.text(i, &user.IdentityStoreARN, "userIdentity.onBehalfOf.identityStoreArn")
		default:
			i = d.skip(i, d.limits.Depth-3)
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
		var key []byte
		key, i = d.key(i)
		switch string(key) {
		case "ARN":
			i = d.text(i, &r.ARN, "resources.#.ARN")
		case "accountId":
			i = d.text(i, &r.AccountID, "resources.#.accountId")
		case "type":
			i = d.text(i, &r.Type, "resources.#.type")
		default:
			i = d.skip(i, d.limits.Depth-3)
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
		var key []byte
		key, i = d.key(i)
		if string(key) == name {
			i = d.raw(i, d.limits.Depth, &value)
		} else {
			i = d.skip(i, d.limits.Depth)
		}
		i, more = d.next(i, '}')
	}
	return value
}

// key reads the key at d.b[i], and returns where its value starts.
func (d *Decoder) key(i int) (key []byte, at int) {
	if i >= len(d.b) {
		return nil, cutOff
	}
	if d.b[i] != '"' {
		return nil, notJSON
	}
	end, plain := d.stringEnd(i)
	if end < 0 {
		return nil, end
	}
	key = d.b[i+1 : end-1]
	if !plain {
		key = d.unquote(key)
	}
	if end+1 < len(d.b) && d.b[end] == ':' && d.b[end+1] > ' ' {
		return key, end + 1
	}
	return key, colonEnd(d.b, end)
}

// text reads a string.
func (d *Decoder) text(i int, to *string, path string) int {
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
func (d *Decoder) textOrFlag(i int, to *string, path string) int {
	if i >= 0 && i < len(d.b) {
		switch d.b[i] {
		case 't':
			*to = "true"
			return wordEnd(d.b, i)
		case 'f':
			*to = "false"
			return wordEnd(d.b, i)
		}
	}
	return d.text(i, to, path)
}

// raw reads a value of any type as it is written.
func (d *Decoder) raw(i, levels int, to *json.RawMessage) int {
	end := d.skip(i, levels)
	if end >= 0 {
		*to = d.b[i:end]
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
