package cloudtrail

import (
	"bytes"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"
	"unsafe"
)

// longText is too much for one look, and little enough to be at hand at once.
const longText = 16 << 10

// rec is a small record with the given eventID.
func rec(id string) string {
	return `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","userName":"ann","accountId":"111122223333"},` +
		`"eventTime":"2024-05-22T06:35:54Z","eventSource":"iam.amazonaws.com","eventName":"CreateUser",` +
		`"sourceIPAddress":"198.51.100.7","eventID":"` + id + `"}`
}

func quoteJSON(s string) string {
	b, err := stdjson.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// brief is what a collector was told, one word each: the id of an event, "skip:<kind>", "<reason>@<offset>".
func brief(c *collector) string {
	var words []string
	e, s, r := 0, 0, 0
	for _, t := range c.told {
		switch {
		case strings.HasPrefix(t, "event"):
			words = append(words, c.events[e].EventID)
			e++
		case strings.HasPrefix(t, "skip"):
			words = append(words, "skip:"+c.skips[s].String())
			s++
		default:
			words = append(words, fmt.Sprintf("%s@%d", c.refusals[r].Reason, c.refusals[r].Offset))
			r++
		}
	}
	return strings.Join(words, " ")
}

// decode runs payload through Decode, and through DecodeReader in several slicings, which all must tell the same.
func decode(t testing.TB, l Limits, payload string) *collector {
	t.Helper()
	var c collector
	NewDecoder(l).Decode([]byte(payload), &c)
	for name, r := range map[string]io.Reader{
		"at once":       strings.NewReader(payload),
		"byte by byte":  iotest.OneByteReader(strings.NewReader(payload)),
		"data with EOF": iotest.DataErrReader(strings.NewReader(payload)),
		"read ahead":    newAhead(iotest.HalfReader(strings.NewReader(payload)), 7000),
	} {
		var o collector
		NewDecoder(l).DecodeReader(r, &o)
		if diff := c.diff(&o, len(payload) < headBytes); diff != "" {
			t.Errorf("Decode and DecodeReader %s differ: %s", name, diff)
		}
	}
	return &c
}

func TestForms(t *testing.T) {
	a, b := rec("a"), rec("b")
	subscription := `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[` +
		`{"id":"1","timestamp":1,"message":` + quoteJSON(a) + `},{"id":"2","timestamp":2,"message":` + quoteJSON(b) + `,"extractedFields":{"x":"y"}}]}`
	envelope := func(record string) string {
		return `{"version":"0","id":"x","detail-type":"AWS API Call via CloudTrail","source":"aws.iam","account":"1","resources":["arn:aws:iam::1:user/x"],"detail":` + record + `}`
	}
	looked := func(record string) string {
		return `{"EventId":"x","EventName":"CreateUser","ReadOnly":"false","EventTime":"2022-02-08 09:23:37+11:00","EventSource":"iam.amazonaws.com","Resources":[{"ResourceType":"t"}],"CloudTrailEvent":` + record + `}`
	}
	forms := map[string]struct{ payload, want string }{
		"single":                         {a, "a"},
		"single, blanks around":          {" \r\n" + a + "\n\n", "a"},
		"single, byte order mark":        {"\ufeff" + a, "a"},
		"lines":                          {a + "\n" + b + "\n", "a b"},
		"lines, CRLF and empty":          {a + "\r\n\r\n" + b + "\r\n", "a b"},
		"no separator":                   {a + b, "a b"},
		"Records":                        {`{"Records":[` + a + `,` + b + `]}`, "a b"},
		"Records, blanks":                {"{\n \"Records\" : [ " + a + " ,\n" + b + " ] }\n", "a b"},
		"Records, not first":             {`{"x":{"Records":1},"Records":[` + a + `,` + b + `],"y":[1]}`, "a b"},
		"Records, something behind":      {`{"Records":[` + a + `,` + b + `],"y":[1],"z":"]","n":-1.5e3,"t":true}`, "a b"},
		"Records, two of them":           {`{"Records":[` + a + `],"Records":[` + b + `]}`, "a b"},
		"lines of Records":               {`{"Records":[` + a + `]}` + "\n" + `{"Records":[` + b + `]}`, "a b"},
		"array":                          {`[` + a + `,` + b + `]`, "a b"},
		"array of strings":               {`[` + quoteJSON(a) + `,` + quoteJSON(b) + `]`, "a b"},
		"a string":                       {quoteJSON(a + "\n" + b), "a b"},
		"EventBridge":                    {envelope(a), "a"},
		"EventBridge, lines":             {envelope(a) + "\n" + envelope(b), "a b"},
		"EventBridge, array":             {`[` + envelope(a) + `,` + envelope(b) + `]`, "a b"},
		"subscription":                   {subscription, "a b"},
		"subscription, logEvents first":  {`{"logEvents":[{"message":` + quoteJSON(a) + `}],"messageType":"DATA_MESSAGE"}`, "a"},
		"Lambda":                         {`{"awslogs":{"data":"` + b64(string(zip([]byte(subscription)))) + `"}}`, "a b"},
		"Lambda, escaped slashes":        {`{"awslogs":{"data":"` + strings.ReplaceAll(b64(string(zip([]byte(subscription)))), "/", `\/`) + `"}}`, "a b"},
		"Lambda, no padding":             {`{"awslogs":{"data":"` + strings.TrimRight(b64(subscription), "=") + `"}}`, "a b"},
		"Kinesis":                        {string(zip([]byte(subscription))), "a b"},
		"Kinesis, base64":                {b64(string(zip([]byte(subscription)))), "a b"},
		"Kinesis, base64 without gzip":   {b64(subscription), "a b"},
		"base64 of an array":             {b64(`[` + a + `]`), "a"},
		"base64, URL alphabet":           {base64.RawURLEncoding.EncodeToString([]byte(subscription + "???>>>")), "a b not_json@" + fmt.Sprint(len(subscription))},
		"lines of base64":                {b64(a) + "\n" + b64(string(zip([]byte(b)))) + "\n", "a b"},
		"Kinesis, Lambda event":          {`{"Records":[{"kinesis":{"partitionKey":"p","data":"` + b64(string(zip([]byte(subscription)))) + `"},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shard","eventName":"aws:kinesis:record"}]}`, "a b"},
		"Kinesis, GetRecords":            {`{"Records":[{"Data":"` + b64(a) + `","PartitionKey":"p"},{"Data":"` + b64(b) + `"}],"NextShardIterator":"x"}`, "a b"},
		"Firehose, Lambda event":         {`{"invocationId":"i","records":[{"recordId":"1","data":"` + b64(subscription) + `"}]}`, "a b"},
		"Firehose, an object in S3":      {string(zip([]byte(subscription))) + string(zip([]byte(subscription))), "a b a b"},
		"subscription, unpacked already": {`[{"data":` + subscription + `}]`, "a b"},
		"LookupEvents":                   {`{"Events":[` + looked(quoteJSON(a)) + `,` + looked(quoteJSON(b)) + `],"NextToken":"x"}`, "a b"},
		"LookupEvents, NextToken first":  {`{"NextToken":"x","Events":[` + looked(quoteJSON(a)) + `]}`, "a"},
		"LookupEvents, lines":            {looked(quoteJSON(a)) + "\n" + looked(quoteJSON(b)), "a b"},
		"LookupEvents, parsed already":   {looked(a), "a"},
		"lines of all kinds": {strings.Join([]string{
			a, envelope(a), `{"Records":[` + a + `,` + b + `]}`, subscription, looked(quoteJSON(b)), `[` + a + `]`, quoteJSON(b), b64(a),
		}, "\n"), "a a a b a b b a b a"},
	}
	for name, f := range forms {
		t.Run(name, func(t *testing.T) {
			want := f.want
			payload := f.payload
			for _, wrapping := range []string{"plain", "gzip", "gzip twice"} {
				c := decode(t, DefaultLimits(), payload)
				if got := brief(c); got != want {
					t.Fatalf("%s: got %s, want %s\n%s", wrapping, got, want, strings.Join(c.told, "\n"))
				}
				for _, e := range c.events {
					if string(e.Raw) != rec(e.EventID) {
						t.Errorf("%s: Raw is %s", wrapping, e.Raw)
					}
				}
				payload = string(zip([]byte(payload)))
			}
		})
	}
}

func TestOffsets(t *testing.T) {
	a, b := rec("a"), rec("b")
	offsets := func(payload string) (list []int64) {
		for _, e := range decode(t, DefaultLimits(), payload).events {
			list = append(list, e.Offset)
		}
		return list
	}
	looked := `{"EventId":"x","CloudTrailEvent":` + quoteJSON(a) + `}`
	for name, c := range map[string]struct {
		payload string
		want    []int64
	}{
		"lines":                 {" " + a + "\n" + b, []int64{1, int64(len(a) + 2)}},
		"Records":               {`{"Records":[` + a + `,` + b + `]}`, []int64{12, int64(13 + len(a))}},
		"not first":             {`{"x":1,"Records":[` + a + `,` + b + `]}`, []int64{18, int64(19 + len(a))}},
		"detail":                {`{"detail-type":"AWS API Call via CloudTrail","detail":` + a + `}`, []int64{54}},
		"carriers":              {looked + "\n" + looked, []int64{0, int64(len(looked) + 1)}},
		"gzip":                  {string(zip([]byte(a + "\n" + b))), []int64{0, int64(len(a) + 1)}},
		"envelopes in a string": {`[7, ` + quoteJSON(looked) + `]`, []int64{4}},
		"in a string":           {`["` + `", ` + quoteJSON(a+"\n"+b) + `]`, []int64{5, 5}},
	} {
		if got := offsets(c.payload); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

// fullRecord has every field that an Event has.
const fullRecord = `{"eventVersion":"1.09","userIdentity":{"type":"AssumedRole","principalId":"AROAX:s","arn":"arn:aws:sts::111122223333:assumed-role/r/s",
	"accountId":"111122223333","accessKeyId":"ASIAX","userName":"u","invokedBy":"cloudformation.amazonaws.com","identityProvider":"p","credentialId":"c","sourceIdentity":"direct",
	"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAX","arn":"arn:aws:iam::111122223333:role/p/r","accountId":"111122223333","userName":"r"},
		"webIdFederationData":{"federatedProvider":"x","attributes":{}},"attributes":{"creationDate":"2024-05-22T06:35:53Z","mfaAuthenticated":"true"},"sourceIdentity":"in session"},
	"onBehalfOf":{"userId":"91","identityStoreArn":"arn:aws:identitystore::1:identitystore/d-1"}},
	"eventTime":"2024-05-22T06:35:54Z","eventSource":"iam.amazonaws.com","eventName":"CreateUser","awsRegion":"us-east-1","sourceIPAddress":"198.51.100.7",
	"userAgent":"tool \"x\" \u00e9 \uD83D\ude00 \b\f\n\r\t\/\\","errorCode":"AccessDenied","errorMessage":"no\nway","requestParameters":{"userName":"x","deep":[{"a":1}]},
	"responseElements":{"user":{}},"requestID":"q","eventID":"id","readOnly":false,"resources":[{"ARN":"arn:1","accountId":"1","type":"T"},{"type":"U"}],
	"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"444455556666","sharedEventID":"shared","vpcEndpointId":"vpce-1","eventCategory":"Management"}`

func TestFields(t *testing.T) {
	c := decode(t, DefaultLimits(), fullRecord)
	if len(c.events) != 1 {
		t.Fatal(c.told)
	}
	yes, no := true, false
	want := Event{
		EventVersion: "1.09", EventTime: "2024-05-22T06:35:54Z", EventID: "id", SharedEventID: "shared", EventSource: "iam.amazonaws.com",
		EventName: "CreateUser", AWSRegion: "us-east-1", SourceIPAddress: "198.51.100.7", UserAgent: "tool \"x\" é 😀 \b\f\n\r\t/\\",
		ErrorCode: "AccessDenied", ErrorMessage: "no\nway", EventType: "AwsApiCall", EventCategory: "Management",
		RecipientAccount: "444455556666", VPCEndpointID: "vpce-1", ReadOnly: &no, ManagementEvent: &yes,
		Resources:         []Resource{{"arn:1", "1", "T"}, {Type: "U"}},
		RequestParameters: []byte(`{"userName":"x","deep":[{"a":1}]}`),
		TimeMillis:        1716359754000, Raw: []byte(fullRecord),
		UserIdentity: Identity{
			Type: "AssumedRole", PrincipalID: "AROAX:s", ARN: "arn:aws:sts::111122223333:assumed-role/r/s", AccountID: "111122223333",
			AccessKeyID: "ASIAX", UserName: "u", InvokedBy: "cloudformation.amazonaws.com", IdentityProvider: "p", CredentialID: "c",
			SourceIdentity: "direct",
			SessionContext: SessionContext{
				SessionIssuer:  SessionIssuer{"Role", "AROAX", "arn:aws:iam::111122223333:role/p/r", "111122223333", "r"},
				Attributes:     SessionAttributes{CreationDate: "2024-05-22T06:35:53Z", MFAAuthenticated: "true"},
				SourceIdentity: "in session",
			},
			OnBehalfOf: OnBehalfOf{"91", "arn:aws:identitystore::1:identitystore/d-1"},
		},
	}
	if got := c.events[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", plain(got), plain(want))
	}
	eachField(reflect.ValueOf(want), "", func(path string, v reflect.Value) {
		if v.IsZero() {
			t.Errorf("fullRecord has no %s", path)
		}
	})
}

// eachField visits the fields that come from a record.
func eachField(v reflect.Value, path string, visit func(string, reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("json")
		switch {
		case name == "-":
		case f.Type.Kind() == reflect.Struct:
			eachField(v.Field(i), path+name+".", visit)
		default:
			visit(path+name, v.Field(i))
		}
	}
}

// TestNothingStays decodes a full record and then an empty one: nothing of the first may show in the second.
func TestNothingStays(t *testing.T) {
	full := `{"resources":[{"ARN":"x","accountId":"y","type":"z"},{"ARN":"x"}],"userAgent":"u\n","errorMessage":"e","readOnly":true,` +
		`"managementEvent":false,"requestParameters":{"a":1},"userIdentity":{"type":"Root","sessionContext":{"attributes":{"mfaAuthenticated":true}}},` + rec("full")[1:]
	bare := `{"resources":[{},{"type":"t"}],"eventTime":"2024-05-22T06:35:54Z","eventSource":"iam.amazonaws.com","eventName":"CreateUser"}`
	broken := `{"resources":[{"ARN":"x","accountId":"y","type":"z"},{"ARN":"x","type":1}],"message":"m","detail":{}}`
	for _, first := range []string{full, broken, full + broken, `{"message":"x"}`} {
		d := NewDecoder(DefaultLimits())
		var alone, after collector
		NewDecoder(DefaultLimits()).Decode([]byte(bare), &alone)
		d.Decode([]byte(first), &collector{})
		d.Decode([]byte(bare), &after)
		if diff := alone.diff(&after, true); diff != "" {
			t.Errorf("after %s: %s", first, diff)
		}
	}
}

func TestSkips(t *testing.T) {
	for payload, want := range map[string]string{
		"":                      "skip:empty_payload",
		" \n\t":                 "skip:empty_payload",
		"null":                  "skip:empty_payload",
		string(zip(nil)):        "skip:empty_payload",
		`{"Records":[]}`:        "skip:empty_records",
		`{"Records":null}`:      "skip:empty_records",
		`{"a":1,"Records":[ ]}`: "skip:empty_records",
		`[]`:                    "skip:empty_records",
		`{"Events":[]}`:         "skip:empty_records",
		`{"messageType":"DATA_MESSAGE","logEvents":[]}`: "skip:empty_records",
		`{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE: Checking health"}]}`:           "skip:control_message",
		`{"detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","resources":["arn:x"],"detail":{"state":"pending"}}`:     "skip:eventbridge_other",
		`{"detail-type":"AWS Insight via CloudTrail","detail":{"eventType":"AwsCloudTrailInsight","eventTime":"2024-05-22T06:35:54Z"}}`:      "skip:insight",
		`{"eventType":"AwsCloudTrailInsight","eventTime":"x","insightDetails":{"eventSource":"s3.amazonaws.com"},"eventCategory":"Insight"}`: "skip:insight",
		`{"awsAccountId":"1","digestStartTime":"2015-08-17T14:01:31Z","logFiles":[{"s3Bucket":"b"}]}`:                                        "skip:digest",
		`{"EventId":"x","CloudTrailEvent":""}`: "skip:empty_payload",
	} {
		if got := brief(decode(t, DefaultLimits(), payload)); got != want {
			t.Errorf("%s: got %q, want %q", payload, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	without := func(field string) string {
		var m map[string]any
		if err := stdjson.Unmarshal([]byte(rec("a")), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, field)
		b, _ := stdjson.Marshal(m)
		return string(b)
	}
	with := func(field, value string) string { return `{"` + field + `":` + value + "," + rec("a")[1:] }
	for _, c := range []struct {
		payload string
		reason  Reason
		detail  string // a part of it
	}{
		{"hello world", ReasonNotJSON, `"hello world"`},
		{"\x00\x01\x02", ReasonNotJSON, `"\x00\x01\x02"`},
		{"(\xb5/\xfd", ReasonNotJSON, "neither JSON nor gzip"},
		{"123", ReasonNotCloudTrail, "a number where a record"},
		{"true", ReasonNotCloudTrail, "a boolean where a record"},
		{`[1]`, ReasonNotCloudTrail, "a number where a record"},
		{`[null]`, ReasonNotCloudTrail, "null where a record"},
		{`[[` + rec("a") + `]]`, ReasonNotCloudTrail, "an array where a record"},
		{`{}`, ReasonNotCloudTrail, `neither a CloudTrail record nor an envelope`},
		{`{"foo":"` + strings.Repeat("x", 1000) + `"}`, ReasonNotCloudTrail, `{\"foo\":\"xxx`},
		{`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2024-05-22T06:35:54.000Z","eventName":"ObjectCreated:Put","s3":{}}]}`, ReasonNotCloudTrail, `"aws:s3"`},
		{without("eventTime"), ReasonNoEventTime, "eventTime is missing"},
		{without("eventSource"), ReasonNoEventSource, "eventSource is missing"},
		{without("eventName"), ReasonNoEventName, "eventName is missing"},
		{strings.Replace(rec("a"), "2024-05-22T06:35:54Z", "foo", 1), ReasonBadEventTime, `"foo" is no time from 2006 to 2200`},
		{strings.Replace(rec("a"), "2024-05-22", "1970-01-01", 1), ReasonBadEventTime, "1970"},
		{strings.Replace(rec("a"), "2024-05-22T06:35:54Z", strings.Repeat("y", 5000), 1), ReasonBadEventTime, "…"},
		{with("userIdentity", `"x"`), ReasonWrongType, "userIdentity is a string, not an object"},
		{with("userIdentity", `"`+strings.Repeat("x", 2*markedBlocks*blockBytes)+`"`), ReasonWrongType, "userIdentity is a string, not an object"},
		{with("awsRegion", `{"ip":1}`), ReasonWrongType, "awsRegion is an object, not a string"},
		{with("eventID", `7`), ReasonWrongType, "eventID is a number, not a string"},
		{strings.Replace(rec("a"), `"198.51.100.7"`, `{"x":"y"}`, 1), ReasonWrongType, "sourceIPAddress is an object, not a string"},
		{strings.Replace(rec("a"), `"198.51.100.7"`, `["y"]`, 1), ReasonWrongType, "sourceIPAddress is an array, not a string"},
		{with("resources", `[{"ARN":false}]`), ReasonWrongType, "resources.0.ARN is a boolean, not a string"},
		{with("resources", `"r"`), ReasonWrongType, "resources is a string, not an array"},
		{with("userAgent", `1`), ReasonWrongType, "userAgent is a number, not a string"},
		{with("errorMessage", `{}`), ReasonWrongType, "errorMessage is an object, not a string"},
		{with("readOnly", `"false"`), ReasonWrongType, "readOnly is a string, not a boolean"},
		{with("managementEvent", `0`), ReasonWrongType, "managementEvent is a number, not a boolean"},
		{strings.Replace(rec("a"), `"type":"IAMUser"`, `"sessionContext":{"attributes":{"mfaAuthenticated":{}}}`, 1), ReasonWrongType, "userIdentity.sessionContext.attributes.mfaAuthenticated is an object"},
		{strings.Replace(rec("a"), `"type":"IAMUser"`, `"sessionContext":{"sessionIssuer":{"arn":5}}`, 1), ReasonWrongType, "userIdentity.sessionContext.sessionIssuer.arn is a number, not a string"},
		{`{"Records":{"a":1}}`, ReasonWrongType, "Records is an object, not an array"},
		{`{"detail-type":"AWS API Call via CloudTrail","detail":"x"}`, ReasonNotJSON, `"x"`},
		{`{"detail-type":"AWS API Call via CloudTrail","detail":[]}`, ReasonWrongType, "detail is an array, not an object"},
		{`{"detail-type":"AWS API Call via CloudTrail","detail":` + with("awsRegion", "1") + `}`, ReasonWrongType, "awsRegion is a number, not a string"},
		{`{"message":null,"eventVersion":"1"}`, ReasonNotCloudTrail, "neither"},
		{b64(`{"a":"` + strings.Repeat("x", carrierBytes) + `"}`), ReasonTooLarge, "base64 of more than"},
		{`{"detail-type":"AWS API Call via CloudTrail"}`, ReasonNotCloudTrail, "detail is missing"},
		{`{"awslogs":{}}`, ReasonNotCloudTrail, "awslogs.data is missing"},
		{`{"awslogs":"x"}`, ReasonWrongType, "awslogs is a string, not an object"},
		{`{"awslogs":{"data":1}}`, ReasonWrongType, "awslogs.data is a number, not a base64 string"},
		{`{"awslogs":{"data":"H4sI!"}}`, ReasonBase64, "damaged base64"},
		{`{"awslogs":{"data":"H4sIAAAA"}}`, ReasonGzip, "end before their end"},
		{`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"START RequestId: 1"}]}`, ReasonNotJSON, `"START RequestId: 1"`},
		{"H4sI", ReasonGzip, "gzip"},
		{"\x1f\x8bxxxxxxxxxxxxxxxxxxxxx", ReasonGzip, "damaged gzip"},
		{rec("a")[:100], ReasonTruncated, "the text ends in the middle of a record"},
		{`{"Records":[`, ReasonTruncated, "the text ends in the middle"},
		{strings.Replace(rec("a"), `:"1.08"`, `:1.0.8`, 1), ReasonSyntax, "bytes into the record"},
		{strings.Replace(rec("a"), `,`, `;`, 1), ReasonSyntax, "22 bytes into the record"},
	} {
		got := decode(t, DefaultLimits(), c.payload)
		if len(got.told) != 1 || len(got.refusals) != 1 {
			t.Errorf("%.80s: told %v", c.payload, got.told)
			continue
		}
		r := got.refusals[0]
		if r.Reason != c.reason || !strings.Contains(r.Detail, c.detail) {
			t.Errorf("%.80s: %s: %s; want %s: …%s…", c.payload, r.Reason, r.Detail, c.reason, c.detail)
		}
		if len(r.Detail) > 300 {
			t.Errorf("%.80s: a detail of %d bytes", c.payload, len(r.Detail))
		}
		if r.Count != 1 {
			t.Errorf("%.80s: counts for %d", c.payload, r.Count)
		}
	}
}

func TestMFABooleans(t *testing.T) {
	for text, want := range map[string]string{`true`: "true", `false`: "false", `"true"`: "true", `"f\u0061lse"`: "false", `null`: ""} {
		record := strings.Replace(rec("a"), `"type":"IAMUser"`, `"sessionContext":{"attributes":{"mfaAuthenticated":`+text+`}}`, 1)
		c := decode(t, DefaultLimits(), record)
		if len(c.events) != 1 || c.events[0].UserIdentity.SessionContext.Attributes.MFAAuthenticated != want {
			t.Errorf("%s: %v", text, c.told)
		}
	}
}

// TestNeighbours puts bad records between good ones, in every form that holds several.
func TestNeighbours(t *testing.T) {
	a, b := rec("a"), rec("b")
	cut := rec("x")[:150]
	bad := map[string]string{ // a bad record, and the reason for its refusal
		strings.Replace(rec("x"), `:"1.08"`, `:1.0.8`, 1):               "syntax",
		strings.Replace(rec("x"), `"eventTime":`, `"eventTime"`, 1):     "syntax",
		strings.Replace(rec("x"), `"eventVersion"`, `"eventVersion`, 1): "syntax",
		strings.Replace(rec("x"), `},`, `,`, 1):                         "syntax", // a bracket short
		strings.Replace(rec("x"), `"198.51.100.7"`, `"198.51.100.7`, 1): "syntax", // a quote short
		cut: "syntax",
		strings.Replace(rec("x"), `"198.51.100.7"`, `{}`, 1): "wrong_type",
		`{"eventVersion":"1.08"}`:                            "not_cloudtrail",
		`7`:                                                  "not_cloudtrail",
		`"eventVersion"`:                                     "not_json",
		`foo`:                                                "?",
	}
	for x, reason := range bad {
		for form, text := range map[string][3]string{
			"lines":              {"", "\n", ""},
			"Records":            {`{"Records":[`, ",", "]}"},
			"array":              {"[\n  ", ",\n  ", "\n]"},
			"Records, not first": {`{"x":1,"Records":[`, ",", "]}"},
		} {
			if reason == "?" {
				reason = "syntax"
			}
			want := reason
			if form == "lines" && x == "foo" {
				want = "not_json"
			}
			payload := text[0] + strings.Join([]string{a, x, b, b}, text[1]) + text[2]
			offset := len(text[0]) + len(a) + len(text[1])
			c := decode(t, DefaultLimits(), payload)
			if got, want := brief(c), fmt.Sprintf("a %s@%d b b", want, offset); got != want {
				t.Errorf("%s, %s: got %s, want %s\n%s", form, x, got, want, strings.Join(c.told, "\n"))
				continue
			}
			if got := string(c.refusals[0].Raw); reason != "not_json" && got != x {
				t.Errorf("%s, %s: Raw is %s", form, x, got)
			}
		}
	}
}

func TestStructure(t *testing.T) {
	a, b := rec("a"), rec("b")
	n := len(a)
	for payload, want := range map[string]string{
		a + `}` + "\n" + b:                                                      fmt.Sprintf("a not_json@%d b", n),
		a + ` trailing` + "\n" + b:                                              fmt.Sprintf("a not_json@%d b", n+1),
		a + `,` + "\n" + b:                                                      fmt.Sprintf("a not_json@%d b", n),
		`{"Records":[` + a + ` ` + b + `]}`:                                     fmt.Sprintf("a syntax@%d b", n+13),
		`{"Records":[` + a + `,]}`:                                              fmt.Sprintf("a syntax@%d", n+13),
		`{"Records":[,` + a + `]}`:                                              "syntax@12 a",
		`{"Records":[` + a + `,,` + b + `]}`:                                    fmt.Sprintf("a syntax@%d b", n+13),
		`{"Records":[` + a + `}},` + b + `]}`:                                   fmt.Sprintf("a syntax@%d b", n+12),
		`{"Records":[` + a + `]`:                                                fmt.Sprintf("a truncated@%d", n+13),
		`{"Records":[` + a + `],"x":}` + b:                                      fmt.Sprintf("a syntax@%d", n+18),
		`{"Records":[` + a + `],x}`:                                             fmt.Sprintf("a syntax@%d", n+14),
		`{"Records":[` + a + `],"x":[1,}]}`:                                     fmt.Sprintf("a syntax@%d", n+18),
		`{"Records":[` + a + `]]` + "\n" + b:                                    fmt.Sprintf("a syntax@%d b", n+13),
		`{"Records":[` + a + `]}}` + "\n" + b:                                   fmt.Sprintf("a not_json@%d b", n+14),
		`{"Records":[` + a + `],"x\z":1}`:                                       fmt.Sprintf("a syntax@%d", n+14),
		`{"Records":[` + a + `],"x":[1,{"a"":"]"}]}`:                            fmt.Sprintf("a syntax@%d", n+18),
		`{"Records":[` + a + `],"x":tru}`:                                       fmt.Sprintf("a syntax@%d", n+18),
		`{"Records":[` + a + `,` + b[:50]:                                       fmt.Sprintf("a truncated@%d", n+13),
		`{"Records":[` + a + `],x:1}`:                                           fmt.Sprintf("a syntax@%d", n+14),
		`{"Records":[` + a + `],"x" 1}`:                                         fmt.Sprintf("a syntax@%d", n+18),
		`{"Records":[` + a + `],"x}`:                                            fmt.Sprintf("a syntax@%d", n+14),
		`{"Records":[` + a + `],"x":`:                                           fmt.Sprintf("a truncated@%d", n+18),
		`{"Records":[` + a + `],"x"`:                                            fmt.Sprintf("a truncated@%d", n+17),
		`{"Records":[` + a + `],`:                                               fmt.Sprintf("a truncated@%d", n+14),
		`{"Records":[` + a + `],"x":nul`:                                        fmt.Sprintf("a syntax@%d", n+18),
		`{"Records":[` + a + `],"x":7`:                                          fmt.Sprintf("a truncated@%d", n+19),
		`{"Records":[` + a + `} x`:                                              fmt.Sprintf("a syntax@%d", n+12),
		`{"Records":[` + a + `],"x":"` + strings.Repeat("x", 2*longText) + `"}`: "a",
		`{"Records":[` + a + `],"x":"` + strings.Repeat("x", 2*longText):        fmt.Sprintf("a truncated@%d", n+19+2*longText),
		`{"Records":[` + a + `] x` + "\n y\n" + b:                               fmt.Sprintf("a syntax@%d b", n+14),
		`{"x": `:                                "truncated@0",
		`{"x":nul` + "\n" + a:                   "syntax@0 a",
		`{"x"`:                                  "truncated@0",
		`{"x":1 `:                               "truncated@0",
		`{"x":"y" 1`:                            "syntax@0",
		a + "\n" + b[:50]:                       fmt.Sprintf("a truncated@%d", n+1),
		b[:50] + "\n" + a:                       "syntax@0 a",
		"garbage\nmore garbage\n" + a:           "not_json@0 not_json@8 a",
		"{\"x\":\n\n{\"y\":1}\n" + a + "\n" + b: "syntax@0 not_cloudtrail@7 a b",
	} {
		if c := decode(t, DefaultLimits(), payload); brief(c) != want {
			t.Errorf("%s:\ngot  %s\nwant %s\n%s", payload, brief(c), want, strings.Join(c.told, "\n"))
		}
	}
}

// TestInsideIsNotBeside makes sure that what lies inside of a broken record is not taken for a record, where brackets tell.
func TestInsideIsNotBeside(t *testing.T) {
	inner := rec("forged")
	broken := `{"eventVersion":"1.08","x":tru,"requestParameters":{"items":[{"eventVersion":"1"},` + inner + `]}}`
	for _, payload := range []string{
		`{"Records":[` + rec("a") + `,` + broken + `,` + rec("b") + `]}`,
		rec("a") + "\n" + broken + "\n" + rec("b"),
	} {
		c := decode(t, DefaultLimits(), payload)
		if len(c.events) != 2 || c.events[0].EventID != "a" || c.events[1].EventID != "b" || len(c.refusals) != 1 {
			t.Errorf("%s: %v", payload, c.told)
		}
	}
}

func TestRecordBytes(t *testing.T) {
	a, b := rec("a"), rec("b")
	limits := DefaultLimits()
	for _, size := range []int{1000, longText, lookahead - 1, lookahead, lookahead + 1, 3 * lookahead} {
		limits.RecordBytes = size
		pad := func(n int) string {
			head := strings.TrimSuffix(rec("x"), "}") + `,"pad":"`
			return head + strings.Repeat("p", n-len(head)-2) + `"}`
		}
		for _, form := range [][3]string{{"", "\n", ""}, {`{"Records":[`, ",", "]}"}, {"[", ",\n", "]"}} {
			join := func(x string) string { return form[0] + a + form[1] + x + form[1] + b + form[2] }
			if got := brief(decode(t, limits, join(pad(size)))); got != "a x b" {
				t.Errorf("%q, exactly %d: %s", form[0], size, got)
			}
			want := fmt.Sprintf("a too_large@%d b", len(form[0])+len(a)+len(form[1]))
			c := decode(t, limits, join(pad(size+1)))
			if got := brief(c); got != want {
				t.Errorf("%q, one more than %d: %s, want %s", form[0], size, got, want)
			} else if len(c.refusals[0].Raw) != size+1 {
				t.Errorf("%q, one more than %d: %d bytes refused", form[0], size, len(c.refusals[0].Raw))
			}
		}
		if got := brief(decode(t, limits, pad(size+1))); got != "too_large@0" {
			t.Errorf("alone, one more than %d: %s", size, got)
		}
		if got := brief(decode(t, limits, pad(size + 1)[:size])); got != "truncated@0" {
			t.Errorf("cut off at %d: %s", size, got)
		}
		if got := brief(decode(t, limits, a+"\n"+pad(3 * size)[:2*size])); got != fmt.Sprintf("a too_large@%d", len(a)+1) {
			t.Errorf("cut off behind %d: %s", size, got)
		}
	}
}

func nested(levels int) string {
	return strings.TrimSuffix(rec("x"), "}") + `,"deep":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + `}`
}

func TestDepth(t *testing.T) {
	pad := `,"pad":"` + strings.Repeat("p", longText) + `"}`
	large := func(levels int) string { return strings.TrimSuffix(nested(levels), "}") + pad }
	a, b := rec("a"), rec("b")
	limits := DefaultLimits()
	for _, form := range [][3]string{{"", "\n", ""}, {`{"Records":[`, ",", "]}"}} {
		join := func(x string) string { return form[0] + a + form[1] + x + form[1] + b + form[2] }
		if got := brief(decode(t, limits, join(large(limits.Depth-1)))); got != "a x b" {
			t.Errorf("%q: at the limit: %s", form[0], got)
		}
		want := fmt.Sprintf("a too_deep@%d b", len(form[0])+len(a)+len(form[1]))
		for _, levels := range []int{limits.Depth, 2000, 20_000, 200_000} {
			if got := brief(decode(t, limits, join(large(levels)))); got != want {
				t.Errorf("%q: %d levels: %s, want %s", form[0], levels, got, want)
			}
		}
	}
	// Brackets in strings are no levels.
	quoted := strings.TrimSuffix(rec("x"), "}") + `,"s":"` + strings.Repeat(`[{\"`, 10_000) + `"}`
	if got := brief(decode(t, limits, quoted)); got != "x" {
		t.Errorf("brackets in a string: %s", got)
	}
}

// TestBombs decodes what kills a parser without limits. The stack is limited so that recursion along the input would end
// the test.
func TestBombs(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(64 << 20))
	const size = 4 << 20
	for name, payload := range map[string]string{
		"[":                  strings.Repeat("[", size),
		"{":                  strings.Repeat("{", size),
		`{"a":`:              strings.Repeat(`{"a":`, size/5),
		`{"Records":[`:       strings.Repeat(`{"Records":[`, size/12),
		`{"Records":[[`:      `{"Records":[` + strings.Repeat(`[`, size),
		`{"userIdentity":`:   strings.Repeat(`{"userIdentity":`, size/16),
		`[[…]]`:              strings.Repeat("[", size/2) + strings.Repeat("]", size/2),
		`{"a":[[…]]}`:        `{"a":` + strings.Repeat("[", size/2) + strings.Repeat("]", size/2) + `}`,
		"quotes":             strings.Repeat(`"`, size),
		"backslashes":        `"` + strings.Repeat(`\`, size),
		"unbalanced records": `{"Records":[` + strings.Repeat(`{{"a":1},`, size/9),
		"unbalanced, keys":   unbalanced(size),
		"unbalanced, large":  `{"Records":[` + strings.Repeat(`{{"a":"`+strings.Repeat("x", longText)+`"},`, size/longText),
		"unbalanced lines":   strings.Repeat(`{"a":{"b":1}`+"\n", size/13),
		"commas":             `[` + strings.Repeat(`,`, size/4),
		"zeros":              strings.Repeat("0,", size/8),
		"lines of zeros":     strings.Repeat("0\n", size/8),
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDecoder(DefaultLimits())
			var c collector
			d.Decode([]byte(payload), &c)
			if len(c.events) > 0 || len(c.refusals)+len(c.skips) == 0 || len(c.refusals) > maxRefusals+1 {
				t.Errorf("%d events, %d refusals", len(c.events), len(c.refusals))
			}
			if limit := int64(effortBytes + effortShare*len(payload) + 2*d.limits.RecordBytes); d.effort > limit {
				t.Errorf("scanned %d bytes in vain, for a payload of %d", d.effort, len(payload))
			}
			// In gzip it is a bomb where it repeats itself: all past its beginning is one more bad thing, if not the only one.
			var z collector
			d.Decode(zip([]byte(payload)), &z)
			if n := len(z.refusals); n == 0 || n > maxRefusals+1 ||
				z.refusals[n-1].Reason != ReasonExpanded && n != len(c.refusals) || z.refusals[n-1].Reason == ReasonExpanded && n > len(c.refusals)+1 {
				t.Errorf("%d refusals in gzip, %d without", n, len(c.refusals))
			}
		})
	}
}

// TestBombRatio: gzip may expand as far as records do, and not as far as nothing but repetition.
func TestBombRatio(t *testing.T) {
	var list []byte
	for i := range 3000 {
		list = append(list, strings.Replace(rec(fmt.Sprintf("%016x-%016x", uint64(i)*0x9e3779b97f4a7c15, uint64(i)*0xbf58476d1ce4e5b9)), "{", `{"requestParameters":"`+strings.Repeat("r", 1500)+`",`, 1)+"\n"...)
	}
	var good counter
	NewDecoder(DefaultLimits()).Decode(zip(list), &good)
	if ratio := len(list) / len(zip(list)); good.events != 3000 || good.refusals != 0 || ratio < 30 {
		t.Errorf("%d events, %d refusals of records that repeat themselves, packed %d to 1", good.events, good.refusals, ratio)
	}
	a := rec("a")
	for name, c := range map[string]struct{ payload, want string }{
		"zeros":               {string(zip(make([]byte, 8<<20))), "not_json@0"},
		"zeros, damaged":      {string(zip(make([]byte, 8<<20))[:2000]), "not_json@0"},
		"zeros behind a line": {string(zip([]byte(a + "\n" + strings.Repeat("\x00", 8<<20)))), "a expanded_too_large"},
		"a line of zeros":     {string(zip([]byte(strings.Repeat("\x00", 1000) + "\n" + a))), "not_json@0 a"},
		"blanks":              {string(zip([]byte(strings.Repeat(" ", 200<<10) + a))), "a"},
		"too many blanks":     {string(zip([]byte(strings.Repeat(" ", 8<<20) + a))), "expanded_too_large"},
		"one long string":     {string(zip([]byte(a + "\n" + `{"x":"` + strings.Repeat("x", 8<<20) + `"}`))), "a expanded_too_large"},
		"no gzip":             {a + "\n" + strings.Repeat("\x00", 8<<20) + "\n" + a, "a not_json"},
	} {
		var got collector
		NewDecoder(DefaultLimits()).Decode([]byte(c.payload), &got)
		if !strings.HasPrefix(brief(&got), c.want) || len(got.refusals) > 1 {
			t.Errorf("%s: %s, want %s", name, brief(&got), c.want)
		}
	}
}

// TestBrackets holds scan, which leaps from quote to quote, against reading byte by byte, however the text is cut into pieces.
func TestBrackets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	slow := func(b []byte) int {
		depth, str := 0, false
		for i := 0; i < len(b); i++ {
			switch c := b[i]; {
			case str && c == '\\':
				i++
			case c == '"':
				if str = !str; !str && depth == 0 {
					return i + 1
				}
			case str:
			case c == '{' || c == '[':
				depth++
			case c == '}' || c == ']':
				if depth--; depth <= 0 {
					return i + 1
				}
			}
		}
		return -1
	}
	for range 200_000 {
		b := []byte{"{[\""[rng.IntN(3)]}
		for range rng.IntN(20) {
			b = append(b, `""\\\{}a`[rng.IntN(8)])
		}
		want := slow(b)
		var s brackets
		got, rest := 0, b
		for {
			piece := rest[:rng.IntN(len(rest)+1)]
			n, done := s.scan(piece)
			got += n
			if rest = rest[n:]; done {
				break
			}
			if len(rest) == 0 {
				got = -1
				break
			}
		}
		if got != want {
			t.Fatalf("%s ends at %d, want %d", b, got, want)
		}
	}
}

func unbalanced(size int) string {
	var b strings.Builder
	b.WriteString(`{"Records":[`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `{{"k%d":1},`, i)
	}
	return b.String()
}

// TestDepthOfSmall: small payloads are held to the limit too, however deep they would go.
func TestDepthOfSmall(t *testing.T) {
	limits := DefaultLimits()
	limits.Depth = 10
	a := rec("a")
	for payload, want := range map[string]string{
		nested(9):             "x",
		nested(10):            "too_deep@0",
		nested(10) + "\n" + a: "too_deep@0 a",
		`{"Records":[` + nested(10) + `,` + a + `]}`:                                                                                         "too_deep@12 a",
		`{"x":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `,"Records":[` + a + `]}`:                                                "a",
		`{"Records":[` + a + `],"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`:                                          "a",
		`{"eventID":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `,` + a[1:]:                                                        "wrong_type@0",
		`{"eventID":` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `,` + a[1:]:                                                      "too_deep@0",
		`{"userIdentity":{"sessionContext":{"attributes":{"x":` + strings.Repeat("[", 6) + strings.Repeat("]", 6) + `}}},` + a[1:]:           "a",
		`{"userIdentity":{"sessionContext":{"attributes":{"x":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}}},` + a[1:]:           "too_deep@0",
		`{"resources":[{"ARN":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}],` + a[1:]:                                            "wrong_type@0",
		`{"resources":[{"ARN":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}],` + a[1:]:                                            "too_deep@0",
		`{"detail-type":"AWS API Call via CloudTrail","detail":{"eventID":"x","y":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}}`: "not_cloudtrail@54",
		strings.Repeat("[", 5000):                                      "truncated@1",
		`{"Records":` + strings.Repeat("[", 5000):                      "truncated@12",
		strings.TrimSuffix(nested(10), "}") + "\n" + a:                 "syntax@0 a",
		`{"Records":[` + strings.TrimSuffix(nested(10), "}") + `,` + a: fmt.Sprintf("syntax@12 a truncated@%d", 12+len(nested(10))+len(a)),
	} {
		if got := brief(decode(t, limits, payload)); got != want {
			t.Errorf("%.100s: %s, want %s", payload, got, want)
		}
	}
}

func TestExpandedBytes(t *testing.T) {
	a := rec("a")
	limits := DefaultLimits()
	limits.ExpandedBytes = int64(2*len(a) + 2)
	lines := zip([]byte(strings.Repeat(a+"\n", 10)))
	var c collector
	d := NewDecoder(limits)
	d.Decode(lines, &c)
	if got, want := brief(&c), fmt.Sprintf("a a expanded_too_large@%d", limits.ExpandedBytes); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c = collector{}
	d.Decode(zip([]byte(a+"\n"+a+"\n")), &c)
	if got := brief(&c); got != "a a" {
		t.Errorf("exactly the limit: %s", got)
	}
	// Together, not each.
	c = collector{}
	two := fmt.Sprintf(`["%s","%s"]`, b64(string(zip([]byte(a+"\n"+a)))), b64(string(zip([]byte(a)))))
	d.Decode([]byte(two), &c)
	if len(c.events) != 2 || len(c.refusals) != 1 || c.refusals[0].Reason != ReasonExpanded {
		t.Errorf("two of them: %v", c.told)
	}
	// A stream may be of any size, and each of its values may carry as much.
	c = collector{}
	d.DecodeReader(bytes.NewReader(lines), &c)
	if got := brief(&c); got != strings.TrimSpace(strings.Repeat("a ", 10)) {
		t.Errorf("stream: %s", got)
	}
	// A bomb in a bomb.
	c = collector{}
	bomb := zip(bytes.Repeat([]byte(" "), 200<<20))
	NewDecoder(DefaultLimits()).Decode(zip(bomb), &c)
	if got := brief(&c); !strings.HasPrefix(got, "expanded_too_large@") {
		t.Errorf("bomb: %s", got)
	}
}

func TestLayers(t *testing.T) {
	text := rec("a")
	for layer := range 12 {
		c := decode(t, DefaultLimits(), text)
		want := "a"
		if layer > maxLayers {
			want = "layers@0"
		}
		if got := brief(c); got != want {
			t.Errorf("%d strings around: %s", layer, got)
		}
		text = quoteJSON(text)
	}
	text = rec("a")
	for layer := range 12 {
		c := decode(t, DefaultLimits(), text)
		if events := len(c.events); (events == 1) != (layer <= maxLayers) || len(c.told) != 1 {
			t.Errorf("%d times base64: %v", layer, c.told)
		}
		text = b64(text)
		if layer == 0 {
			text = b64(rec("a"))
			continue
		}
		text = `{"awslogs":{"data":"` + text + `"}}`
	}
	text = rec("a")
	for layer := range 12 {
		c := decode(t, DefaultLimits(), text)
		if events := len(c.events); (events == 1) != (layer <= maxLayers) || len(c.told) != 1 {
			t.Errorf("%d details around: %v", layer, c.told)
		}
		text = `{"detail-type":"AWS API Call via CloudTrail","detail":` + text + `}`
	}
	text = rec("a")
	for layer := range 12 {
		c := decode(t, DefaultLimits(), text)
		if len(c.told) != 1 {
			t.Errorf("%d lists around: %v", layer, c.told)
		}
		text = `{"Records":[` + text + `]}`
	}
	b := []byte(rec("a"))
	for range 12 {
		b = zip(b)
	}
	var c collector
	NewDecoder(DefaultLimits()).Decode(b, &c)
	if len(c.told) != 1 || len(c.refusals) != 1 {
		t.Errorf("gzip twelve times: %v", c.told)
	}
}

func TestManyRefusals(t *testing.T) {
	payload := strings.Repeat("nonsense\n", maxRefusals+500) + rec("a")
	var c collector
	NewDecoder(DefaultLimits()).Decode([]byte(payload), &c)
	last := c.refusals[len(c.refusals)-1]
	if len(c.events) != 1 || len(c.refusals) != maxRefusals+1 || last.Reason != ReasonMore || last.Count != 500 ||
		last.Offset != int64(maxRefusals*len("nonsense\n")) {
		t.Errorf("%d events, %d refusals, the last %+v", len(c.events), len(c.refusals), last)
	}
	c = collector{}
	NewDecoder(DefaultLimits()).DecodeReader(strings.NewReader(payload), &c)
	if len(c.events) != 1 || len(c.refusals) != maxRefusals+500 {
		t.Errorf("stream: %d events, %d refusals", len(c.events), len(c.refusals))
	}
}

func TestDuplicateKeys(t *testing.T) {
	record := `{"eventName":"First","userIdentity":{"type":"Root","userName":"x"},` + strings.Replace(rec("a"), `"type":"IAMUser"`, `"type":"A","type":"IAMUser"`, 1)[1:]
	c := decode(t, DefaultLimits(), record)
	if len(c.events) != 1 {
		t.Fatal(c.told)
	}
	e := c.events[0]
	if e.EventName != "CreateUser" || e.UserIdentity.Type != "IAMUser" || e.UserIdentity.UserName != "ann" {
		t.Errorf("%+v", plain(e))
	}
	for twice, want := range map[string]string{
		`"resources":[{"ARN":"a","type":"t"}],"resources":[{"ARN":"b"},{}]`: `[{b  } {  }]  `,
		`"resources":[{"ARN":"a"}],"resources":null`:                        `[]  `,
		`"resources":[{"ARN":"a","ARN":"b"}]`:                               `[{b  }]  `,
		`"userAgent":"a","userAgent":"b"`:                                   `[] b `,
		`"userAgent":"a","userAgent":null`:                                  `[] a `,
		`"userAgent":"a","\u0075serAgent":"\u0062"`:                         `[] b `,
		`"requestParameters":{"a":1},"requestParameters":[2]`:               `[]  [2]`,
		`"requestParameters":{"a":1},"requestParameters":null`:              `[]  null`,
		`"userAgent":1,"userAgent":"a"`:                                     "wrong_type",
		`"eventID":1,"eventID":"a"`:                                         "wrong_type",
	} {
		c := decode(t, DefaultLimits(), "{"+twice+","+rec("a")[1:])
		got := ""
		if len(c.events) == 1 {
			got = fmt.Sprintf("%v %s %s", c.events[0].Resources, c.events[0].UserAgent, c.events[0].RequestParameters)
		} else if len(c.refusals) == 1 {
			got = c.refusals[0].Reason.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", twice, got, want)
		}
	}
}

func TestExactCase(t *testing.T) {
	record := `{"EVENTNAME":"Other","EventSource":"other",` + rec("a")[1:]
	record = strings.TrimSuffix(record, "}") + `,"eventname":"Other","useridentity":{"type":"Root"}}`
	c := decode(t, DefaultLimits(), record)
	if len(c.events) != 1 || c.events[0].EventName != "CreateUser" || c.events[0].UserIdentity.Type != "IAMUser" {
		t.Errorf("%v", c.told)
	}
}

func TestInvalidUTF8(t *testing.T) {
	record := strings.Replace(rec("a"), "ann", "a\xffn\xc3\xa9 \\ud800x", 1)
	record = "{\"userAgent\":\"b\xffd \\udc00\\ud83d\\ude00\"," + record[1:]
	c := decode(t, DefaultLimits(), record)
	if len(c.events) != 1 {
		t.Fatal(c.told)
	}
	e := c.events[0]
	if want := "a\ufffdné \ufffdx"; e.UserIdentity.UserName != want {
		t.Errorf("userName %q, want %q", e.UserIdentity.UserName, want)
	}
	if want := "b\ufffdd \ufffd😀"; e.UserAgent != want {
		t.Errorf("userAgent %q, want %q", e.UserAgent, want)
	}
	if string(e.Raw) != record {
		t.Errorf("Raw %q", e.Raw)
	}
}

// TestRawAliases holds Decode to its promise not to copy.
func TestRawAliases(t *testing.T) {
	payload := []byte(`{"Records":[` + rec("a") + `,` + rec("b") + `,7]}`)
	inside := func(b *byte) bool {
		p, start := uintptr(unsafe.Pointer(b)), uintptr(unsafe.Pointer(&payload[0]))
		return start <= p && p < start+uintptr(len(payload))
	}
	NewDecoder(DefaultLimits()).Decode(payload, checks{
		event: func(e *Event) {
			if !inside(&e.Raw[0]) || !inside(unsafe.StringData(e.UserIdentity.UserName)) {
				t.Errorf("%s was copied", e.EventID)
			}
		},
		refuse: func(r *Refusal) {
			if !inside(&r.Raw[0]) {
				t.Error("the refused was copied")
			}
		},
	})
}

// checks is a Handler made of functions; those that are missing do nothing.
type checks struct {
	event  func(*Event)
	refuse func(*Refusal)
}

func (c checks) Event(e *Event) {
	if c.event != nil {
		c.event(e)
	}
}
func (c checks) Skip(SkipKind) {}
func (c checks) Refuse(r *Refusal) {
	if c.refuse != nil {
		c.refuse(r)
	}
}

// TestHandlerPanics makes sure that a Decoder survives the Handler: whoever decodes catches the panic of one record and
// goes on with the same Decoder.
func TestHandlerPanics(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	list := []byte(`{"a":"b","Records":[` + rec("a") + `,` + rec("b") + `]}`)
	func() {
		defer func() { recover() }()
		d.Decode(list, checks{event: func(*Event) { panic("no") }})
	}()
	var c collector
	d.Decode(list, &c)
	if got := brief(&c); got != "a b" {
		t.Error(got)
	}
}

func TestReaderFails(t *testing.T) {
	a, b := rec("a"), rec("b")
	gone := errors.New("the disk is gone")
	list := `{"Records":[` + a + `,` + b
	zipped := zip([]byte(a + "\n" + b + "\n" + strings.Repeat(" ", 1<<20)))
	for name, c := range map[string]struct {
		r      func() io.Reader
		want   string
		detail string
	}{
		"between": {func() io.Reader { return io.MultiReader(strings.NewReader(a+"\n"), iotest.ErrReader(gone)) }, fmt.Sprintf("a read@%d", len(a)+1), "the disk is gone"},
		"within":  {func() io.Reader { return io.MultiReader(strings.NewReader(list[:len(list)-9]), iotest.ErrReader(gone)) }, fmt.Sprintf("a read@%d", len(a)+13), "the disk is gone"},
		"in gzip": {func() io.Reader {
			return io.MultiReader(bytes.NewReader(zipped[:len(zipped)-9]), iotest.ErrReader(gone))
		}, "a b read@", "the disk is gone"},
		"gzip cut off": {func() io.Reader { return bytes.NewReader(zipped[:len(zipped)-9]) }, "a b gzip@", "end before their end"},
		"gzip damaged": {func() io.Reader { return bytes.NewReader(append(zipped[:len(zipped)-6:len(zipped)-6], "xxxxxx"...)) }, "a b gzip@", "damaged gzip"},
		"gzip, more":   {func() io.Reader { return bytes.NewReader(append(bytes.Clone(zipped), "something trailing"...)) }, "a b gzip@", "damaged gzip"},
		"at once":      {func() io.Reader { return iotest.ErrReader(gone) }, "read@0", "the disk is gone"},
		"no progress":  {func() io.Reader { return stuck{} }, "read@0", "no data or error"},
	} {
		for _, r := range []io.Reader{c.r(), NewAhead(c.r())} {
			var got collector
			NewDecoder(DefaultLimits()).DecodeReader(r, &got)
			if !strings.HasPrefix(brief(&got), c.want) || len(got.refusals) != 1 || !strings.Contains(got.refusals[0].Detail, c.detail) {
				t.Errorf("%s: %v", name, got.told)
			}
		}
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestTruncatedGzip: in a payload too, what is complete is delivered.
func TestTruncatedGzip(t *testing.T) {
	a, b := rec("a"), rec("b")
	whole := []byte(`{"Records":[` + a + `,` + b + `]}`)
	zipped := zip(whole)
	var c collector
	NewDecoder(DefaultLimits()).Decode(zipped[:len(zipped)-8], &c) // all but the checksum and length
	if got := brief(&c); got != fmt.Sprintf("a b gzip@%d", len(whole)) {
		t.Error(c.told)
	}
	for n := range len(zipped) {
		var c collector
		NewDecoder(DefaultLimits()).Decode(zipped[:n], &c)
		if n > 2 && len(c.refusals) != 1 || len(c.told) == 0 {
			t.Fatalf("%d of %d bytes: %v", n, len(zipped), c.told)
		}
	}
}

// TestStreamsAreBounded streams far more than may stay in memory.
func TestStreamsAreBounded(t *testing.T) {
	records := benchRecords(64)
	const rounds = 500
	lines := append(bytes.Join(records, []byte{'\n'}), '\n')
	items := append(bytes.Join(records, []byte{','}), ',')
	for name, c := range map[string]struct{ head, body, tail []byte }{
		"lines":          {nil, lines, nil},
		"Records":        {[]byte(`{"Records":[`), items, append(bytes.Clone(records[0]), "]}"...)},
		"later Records":  {[]byte(`{"a":1,"Records":[`), items, append(bytes.Clone(records[0]), "]}"...)},
		"endless string": {[]byte(`{"a":"`), items, []byte(`"}`)},
		"endless noise":  {[]byte(`x`), items, nil},
	} {
		d := NewDecoder(DefaultLimits())
		var k counter
		r := &repeat{rest: c.head, body: c.body, tail: c.tail, n: rounds}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d.DecodeReader(r, &k)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 12<<20 {
			t.Errorf("%s: %d MiB allocated for %d MiB", name, used>>20, r.total>>20)
		}
		if want := rounds * len(records); !strings.HasPrefix(name, "endless") && (k.events < want || k.refusals > 0) {
			t.Errorf("%s: %+v, want %d events", name, k, want)
		} else if strings.HasPrefix(name, "endless") && (k.events > 0 || k.refusals == 0) {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

// repeat reads as its rest, n times body, and tail.
type repeat struct {
	rest, body, tail []byte
	n                int
	total            int64
}

func (r *repeat) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		switch {
		case r.n > 0:
			r.rest = r.body
		case r.n == 0:
			r.rest = r.tail
		default:
			return 0, io.EOF
		}
		r.n--
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.total += int64(n)
	return n, nil
}

// TestBuffersShrink: one large payload is not remembered for ever.
func TestBuffersShrink(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	large := rec("a") + strings.Repeat(" ", 3*keepBytes)
	many := `{"resources":[` + strings.Repeat(`{},`, 1000) + `{}],` + rec("b")[1:]
	for _, payload := range []string{string(zip([]byte(large))), quoteJSON(rec("a")), b64(rec("a")), many} {
		var c counter
		d.Decode([]byte(payload), &c)
		d.DecodeReader(strings.NewReader(payload), &c)
		if c.events != 2 {
			t.Errorf("%+v", c)
		}
	}
	limits := DefaultLimits()
	limits.RecordBytes = 4 * keepBytes
	d2 := NewDecoder(limits)
	d2.DecodeReader(strings.NewReader(`["`+strings.Repeat(" ", 3*keepBytes)+`"]`), &counter{})
	for _, d := range []*Decoder{d, d2} {
		held := cap(d.stream.buf)
		for i := range d.layers {
			held = max(held, cap(d.layers[i].plain), cap(d.layers[i].binary), cap(d.layers[i].unquoted))
		}
		if held > keepBytes || cap(d.resources) > keepResources {
			t.Errorf("a buffer of %d bytes, %d resources", held, cap(d.resources))
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reason(NumReasons) {
		if n := r.String(); n == "" || seen[n] {
			t.Errorf("reason %d is named %q", r, n)
		} else {
			seen[n] = true
		}
	}
	for k := range SkipKind(NumSkipKinds) {
		if n := k.String(); n == "" || seen[n] {
			t.Errorf("kind %d is named %q", k, n)
		} else {
			seen[n] = true
		}
	}
	if Reason(200).String() != "reason_200" || SkipKind(200).String() != "skip_200" {
		t.Error("unknown ones have no name")
	}
}

func TestDefaults(t *testing.T) {
	if got := NewDecoder(Limits{}).limits; got != DefaultLimits() {
		t.Errorf("%+v", got)
	}
	if got := NewDecoder(Limits{Depth: 1}); got.limits.Depth != eventLevels {
		t.Errorf("%+v", got.limits)
	}
}
