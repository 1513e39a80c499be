package topics

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func header(t interface{ Fatalf(string, ...any) }, r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	t.Fatalf("no header %s", key)
	return ""
}

func TestDeadLetter(t *testing.T) {
	d := DeadLetter{
		Stage: "route", Reason: "future", Detail: "eventTime lies ahead", Value: []byte(`{"eventTime":"2199-01-01T00:00:00Z"}`),
		Source: Source{Topic: "cloudtrail", Partition: 12, Offset: 1 << 40, Byte: 77},
	}
	r := d.Record("farcall.dead-letters")
	if r.Topic != "farcall.dead-letters" || string(r.Key) != "cloudtrail/12" || string(r.Value) != string(d.Value) {
		t.Errorf("record is %s %q %q", r.Topic, r.Key, r.Value)
	}
	for key, want := range map[string]string{
		"farcall.stage": "route", "farcall.reason": "future", "farcall.detail": "eventTime lies ahead",
		"farcall.source.topic": "cloudtrail", "farcall.source.partition": "12", "farcall.source.offset": "1099511627776",
		"farcall.source.byte": "77", "farcall.size": "36",
		"farcall.sha256": "4cb342722484ea1d11e790812a12ac86244955345cf41690a3002181bda7e7d8",
	} {
		if got := header(t, r, key); got != want {
			t.Errorf("header %s is %q, want %q", key, got, want)
		}
	}
	if len(r.Headers) != 9 {
		t.Errorf("%d headers, want 9", len(r.Headers))
	}
	r.Value[0] = 'X'
	if d.Value[0] == 'X' {
		t.Error("the record shares the memory of a value that its owner will reuse")
	}
}

func TestDeadLetterOfGiant(t *testing.T) {
	d := DeadLetter{Value: bytes.Repeat([]byte("0123456789"), MaxDeadLetterBytes/5), Detail: strings.Repeat("é", MaxFieldBytes)}
	r := d.Record("t")
	if len(r.Value) != MaxDeadLetterBytes || !bytes.HasPrefix(d.Value, r.Value) {
		t.Errorf("carries %d bytes, want the first %d", len(r.Value), MaxDeadLetterBytes)
	}
	// By the original's size, and the hash of its beginning, the person who has it can tell that it is the one.
	sum := sha256.Sum256(d.Value[:MaxDeadLetterBytes])
	if got := header(t, r, HeaderSHA256); got != hex.EncodeToString(sum[:]) {
		t.Errorf("hash %s is not that of the first %d bytes", got, MaxDeadLetterBytes)
	}
	if got, want := header(t, r, HeaderSize), "131070"; got != want {
		t.Errorf("size %s, want %s", got, want)
	}
	if l := ParseDeadLetter(r); l.Whole() {
		t.Error("what was cut passes for the whole original")
	}
	if detail := header(t, r, HeaderDetail); len(detail) != MaxFieldBytes || !utf8.ValidString(detail) {
		t.Errorf("detail of %d bytes, want %d of valid UTF-8", len(detail), MaxFieldBytes)
	}
}

func TestDeadLetterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := DeadLetter{
			Stage: rapid.SampledFrom([]string{"route", "detect", "triage"}).Draw(t, "stage"), Reason: text(40).Draw(t, "reason"),
			Detail: text(MaxFieldBytes).Draw(t, "detail"), Value: rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "value"),
			Source: Source{
				Topic: text(249).Draw(t, "topic"), Partition: rapid.Int32().Draw(t, "partition"),
				Offset: rapid.Int64().Draw(t, "offset"), Byte: rapid.Int64().Draw(t, "byte"),
			},
		}
		sum := sha256.Sum256(want.Value)
		want.Size, want.SHA256 = int64(len(want.Value)), hex.EncodeToString(sum[:])
		got := ParseDeadLetter(want.Record("t"))
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("round trip (-want +got):\n%s", d)
		}
		if !got.Whole() {
			t.Fatal("the whole original does not pass for it")
		}
		if got.Value = got.Value[1:]; got.Whole() {
			t.Fatal("a part passes for the whole original")
		}
	})
}

func TestParseForeignDeadLetter(t *testing.T) {
	got := ParseDeadLetter(&kgo.Record{Value: []byte("v"), Headers: []kgo.RecordHeader{
		{Key: "traceparent", Value: []byte("00")}, {Key: HeaderReason, Value: []byte("corrupt")}, {Key: HeaderOffset, Value: []byte("no number")},
	}})
	if d := cmp.Diff(DeadLetter{Reason: "corrupt", Value: []byte("v")}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
