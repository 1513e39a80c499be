package cloudtrail

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// benchRecords are n records of about 2 KB each, minified and with their keys in the order in which CloudTrail writes
// them: of an assumed role, an IAM user, an SSO role and a service, with parameters and answers of usual size.
func benchRecords(n int) [][]byte {
	records := make([][]byte, n)
	for i := range records {
		account := fmt.Sprintf("%012d", 111122223333+i%7)
		identity, ip := "", fmt.Sprintf("198.51.%d.%d", i%100, i%250)
		switch i % 4 {
		case 0:
			identity = fmt.Sprintf(`"type":"AssumedRole","principalId":"AROAEXAMPLE%08d:i-0%015x","arn":"arn:aws:sts::%s:assumed-role/app-server-%d/i-0%015x","accountId":"%s","accessKeyId":"ASIAEXAMPLE%09d","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE%08d","arn":"arn:aws:iam::%s:role/services/app-server-%d","accountId":"%s","userName":"app-server-%d"},"webIdFederationData":{},"attributes":{"creationDate":"2024-05-22T06:35:53Z","mfaAuthenticated":"false"},"ec2RoleDelivery":"2.0"}`,
				i, i, account, i%50, i, account, i, i, account, i%50, account, i%50)
		case 1:
			identity = fmt.Sprintf(`"type":"IAMUser","principalId":"AIDAEXAMPLE%09d","arn":"arn:aws:iam::%s:user/developers/user-%d","accountId":"%s","accessKeyId":"AKIAEXAMPLE%09d","userName":"user-%d","sessionContext":{"attributes":{"creationDate":"2024-05-22T06:35:53Z","mfaAuthenticated":"true"}}`,
				i, account, i%90, account, i, i%90)
		case 2:
			identity = fmt.Sprintf(`"type":"AssumedRole","principalId":"AROAEXAMPLE%08d:person-%d@example.com","arn":"arn:aws:sts::%s:assumed-role/AWSReservedSSO_PowerUser_0123456789abcdef/person-%d@example.com","accountId":"%s","accessKeyId":"ASIAEXAMPLE%09d","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE%08d","arn":"arn:aws:iam::%s:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_PowerUser_0123456789abcdef","accountId":"%s","userName":"AWSReservedSSO_PowerUser_0123456789abcdef"},"webIdFederationData":{},"attributes":{"creationDate":"2024-05-22T06:35:53Z","mfaAuthenticated":"false"}}`,
				i, i%40, account, i%40, account, i, i, account, account)
		case 3:
			identity, ip = `"type":"AWSService","invokedBy":"autoscaling.amazonaws.com"`, "autoscaling.amazonaws.com"
		}
		var items strings.Builder
		for j := range 3 {
			fmt.Fprintf(&items, `{"instanceId":"i-0%015x","currentState":{"code":%d,"name":"running"},"tagSet":{"items":[{"key":"team","value":"t-%d"},{"key":"stage","value":"production"}]},"monitoring":{"state":"disabled"},"ebsOptimized":false}`, i*3+j, 16*j, j)
			if j < 2 {
				items.WriteByte(',')
			}
		}
		first, _, _ := strings.Cut(items.String(), `,{"instanceId"`)
		tail := ""
		if i%10 == 5 {
			tail = `"errorCode":"Client.UnauthorizedOperation","errorMessage":"You are not authorized to perform this operation. Encoded authorization failure message: ` + strings.Repeat("Zx9", 40) + `",`
		}
		records[i] = fmt.Appendf(nil, `{"eventVersion":"1.09","userIdentity":{%s},"eventTime":"2024-05-22T%02d:%02d:%02dZ","eventSource":"ec2.amazonaws.com","eventName":"%s","awsRegion":"eu-west-1","sourceIPAddress":"%s","userAgent":"aws-cli/2.15.32 Python/3.11.8 Linux/5.10.215-203.850.amzn2.x86_64 exe/x86_64.amzn.2 prompt/off command/ec2.describe-instances",%s"requestParameters":{"instancesSet":{"items":[%s]},"filterSet":{},"maxResults":100},"responseElements":{"requestId":"8567e078-0cd7-433e-91c3-%012d","instancesSet":{"items":[%s]}},"requestID":"8567e078-0cd7-433e-91c3-%012d","eventID":"07d7cb7a-597b-4420-8f83-%012d","readOnly":%t,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"%s","eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"ec2.eu-west-1.amazonaws.com"}}`,
			identity, i%24, i%60, i%60, []string{"DescribeInstances", "RunInstances", "StopInstances"}[i%3], ip, tail,
			items.String(), i, first, i, i, i%3 == 0, account)
	}
	return records
}

func benchList(records [][]byte) []byte {
	return append(append([]byte(`{"Records":[`), bytes.Join(records, []byte{','})...), `]}`...)
}

func zip(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

// counter is the cheapest Handler.
type counter struct{ events, skips, refusals int }

func (c *counter) Event(*Event)    { c.events++ }
func (c *counter) Skip(SkipKind)   { c.skips++ }
func (c *counter) Refuse(*Refusal) { c.refusals++ }

func perEvent(b *testing.B, events int, bytes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(float64(bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDecode measures each form, per event.
func BenchmarkDecode(b *testing.B) {
	records := benchRecords(256)
	list := benchList(records)
	quoted := make([][]byte, len(records))
	for i, r := range records {
		text, _ := stdjson.Marshal(string(r))
		quoted[i] = append(append([]byte(`{"EventName":"x","CloudTrailEvent":`), text...), '}')
	}
	var pretty bytes.Buffer
	if err := stdjson.Indent(&pretty, list, "", "  "); err != nil {
		b.Fatal(err)
	}
	forms := []struct {
		name     string
		payloads [][]byte
	}{
		{"single", records},
		{"Records", [][]byte{list}},
		{"RecordsPretty", [][]byte{pretty.Bytes()}},
		{"RecordsGzip", [][]byte{zip(list)}},
		{"lines", [][]byte{bytes.Join(records, []byte{'\n'})}},
		{"LookupEvents", quoted},
	}
	for _, f := range forms {
		b.Run(f.name, func(b *testing.B) {
			d := NewDecoder(DefaultLimits())
			var c counter
			bytes := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := f.payloads[i%len(f.payloads)]
				bytes += len(p)
				d.Decode(p, &c)
			}
			if c.skips+c.refusals > 0 {
				b.Fatalf("%+v", c)
			}
			perEvent(b, c.events, bytes)
		})
	}
	b.Run("reader", func(b *testing.B) {
		d := NewDecoder(DefaultLimits())
		var c counter
		read := 0
		for b.Loop() {
			d.DecodeReader(bytes.NewReader(list), &c)
			read += len(list)
		}
		perEvent(b, c.events, read)
	})
}

// BenchmarkBareParse is segmentio's Parse of the yardstick, and nothing else.
func BenchmarkBareParse(b *testing.B) {
	records := benchRecords(256)
	var w bareWire
	bytes, n := 0, 0
	for i := 0; b.Loop(); i++ {
		r := records[i%len(records)]
		if _, err := bareParse(r, &w); err != nil {
			b.Fatal(err)
		}
		bytes += len(r)
		n++
	}
	perEvent(b, n, bytes)
}

// BenchmarkEncodingJSON is encoding/json into the same struct, fresh for each record.
func BenchmarkEncodingJSON(b *testing.B) {
	records := benchRecords(256)
	bytes, n := 0, 0
	for i := 0; b.Loop(); i++ {
		r := records[i%len(records)]
		var w bareWire
		if err := stdjson.Unmarshal(r, &w); err != nil {
			b.Fatal(err)
		}
		bytes += len(r)
		n++
	}
	perEvent(b, n, bytes)
}

// BenchmarkRatios runs these against each other in turns, each once to warm up and once for the clock, and reports the
// ratios of the fastest turn of each, which other work on the machine disturbs least.
func BenchmarkRatios(b *testing.B) {
	records := benchRecords(256)
	list := benchList(records)
	d := NewDecoder(DefaultLimits())
	var c counter
	var w bareWire
	turns := [...]func(){
		func() {
			for _, r := range records {
				d.Decode(r, &c)
			}
		},
		func() {
			for _, r := range records {
				if _, err := bareParse(r, &w); err != nil {
					b.Fatal(err)
				}
			}
		},
		func() {
			for _, r := range records {
				var w bareWire
				if err := stdjson.Unmarshal(r, &w); err != nil {
					b.Fatal(err)
				}
			}
		},
		func() { d.Decode(list, &c) },
	}
	best := [len(turns)]time.Duration{}
	for b.Loop() {
		for range 5 {
			for i, turn := range turns {
				turn()
				start := time.Now()
				turn()
				if took := time.Since(start); best[i] == 0 || took < best[i] {
					best[i] = took
				}
			}
		}
	}
	per := func(i int) float64 { return float64(best[i].Nanoseconds()) / float64(len(records)) }
	size := 0
	for _, r := range records {
		size += len(r)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(size)/float64(len(records)), "bytes/event")
	b.ReportMetric(per(0), "decode-ns")
	b.ReportMetric(per(1), "parse-ns")
	b.ReportMetric(per(2), "std-ns")
	b.ReportMetric(100*(per(0)/per(1)-1), "%-over-parse")
	b.ReportMetric(100*(per(3)/per(1)-1), "%-over-parse-in-Records")
	b.ReportMetric(per(2)/per(0), "x-encoding/json")
}
