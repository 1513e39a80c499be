package route

import (
	"fmt"
	"testing"
	"time"

	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/topics"
)

// nobody takes what is told and forgets it.
type nobody struct{}

func (nobody) Visit(_, _ []byte)             {}
func (nobody) Pulse(_, _ []byte)             {}
func (nobody) Sighting(_, _ []byte)          {}
func (nobody) DeadLetter(*topics.DeadLetter) {}

// BenchmarkRecord measures one event that was told before, which nearly all are: 4,096 different ones in turn, of 40 accounts in
// 4 regions, by 400 principals with 60 methods, one event a record.
func BenchmarkRecord(b *testing.B) {
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		b.Fatal(err)
	}
	records := make([][]byte, 4096)
	for i := range records {
		records[i] = fmt.Appendf(nil, `{"eventVersion":"1.11","eventTime":%q,"eventID":"id-%d","eventSource":"service%d.amazonaws.com","eventName":"Do%d","awsRegion":"eu-west-%d",`+
			`"sourceIPAddress":"78.47.%d.%d","userAgent":"aws-cli/2.17 md/Botocore#1.34 ua/2.0 os/linux","recipientAccountId":"1111222233%02d","eventType":"AwsApiCall","requestParameters":{"userName":"mallory"},`+
			`"userIdentity":{"type":"IAMUser","accountId":"1111222233%02d","userName":"user-%d","accessKeyId":"AKIA%d","arn":"arn:aws:iam::111122223333:user/alice"}}`,
			noon.Format(time.RFC3339), i, i%6, i%10, i%4, i%8, i%250, i%40, i%40, i%400, i%400)
	}
	quiet := DefaultConfig()
	quiet.Pulses = false
	for _, c := range []struct {
		name string
		cfg  Config
	}{{"default", DefaultConfig()}, {"without pulses", quiet}} {
		b.Run(c.name, func(b *testing.B) {
			task, err := NewTask(c.cfg, nil, locator, func() time.Time { return noon }, 0, NewStats())
			if err != nil {
				b.Fatal(err)
			}
			raw := &Raw{Source: topics.Source{Topic: "cloudtrail"}, Timestamp: noon.UnixMilli()}
			for _, raw.Value = range records {
				task.Record(raw, nobody{})
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				raw.Value = records[i&(len(records)-1)]
				task.Record(raw, nobody{})
			}
		})
	}
}
