package cloudtrail

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/encoding/json"
)

// bareFlags make segmentio's Parse as fast as it gets, and let it match names by exact case.
const bareFlags = json.ZeroCopy | json.DontMatchCaseInsensitiveStructFields

// bareParse is the yardstick that a Decoder is measured against and compared with. It checks nothing besides: not what
// follows the record, how deep it is, whether a flag is one, or what a free text with escapes means.
func bareParse(b []byte, w *bareWire) (rest []byte, err error) { return json.Parse(b, w, bareFlags) }

// bareWire has the keys that wire has. Free texts and flags stay undecoded, because Parse would allocate for them.
type bareWire struct {
	Event
	UserAgentText       json.RawMessage `json:"userAgent"`
	ErrorMessageText    json.RawMessage `json:"errorMessage"`
	ReadOnlyText        json.RawMessage `json:"readOnly"`
	ManagementEventText json.RawMessage `json:"managementEvent"`
	envelope
}

// event is what the yardstick has read, as a Decoder would have told it.
func (w *bareWire) event(t testing.TB) Event {
	e := w.Event
	for _, f := range []struct {
		text json.RawMessage
		to   any
	}{
		{w.UserAgentText, &e.UserAgent}, {w.ErrorMessageText, &e.ErrorMessage}, {w.ReadOnlyText, &e.ReadOnly}, {w.ManagementEventText, &e.ManagementEvent},
	} {
		if len(f.text) > 0 {
			if err := stdjson.Unmarshal(f.text, f.to); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.TimeMillis, _ = parseTime(e.EventTime)
	return e
}

// againstBareParse decodes one record, and compares every field with what the yardstick reads.
func againstBareParse(t testing.TB, d *Decoder, record []byte) {
	t.Helper()
	var w bareWire
	// The yardstick has no second type for a field.
	simple := bytes.ReplaceAll(bytes.ReplaceAll(record, []byte(`"mfaAuthenticated":true`), []byte(`"mfaAuthenticated":"true"`)),
		[]byte(`"mfaAuthenticated":false`), []byte(`"mfaAuthenticated":"false"`))
	if rest, err := bareParse(simple, &w); err != nil || len(rest) > 0 {
		t.Fatalf("%s: %v, %d bytes behind", record, err, len(rest))
	}
	want := w.event(t)
	want.Raw = record
	var c collector
	d.Decode(record, &c)
	if len(c.events) != 1 || len(c.told) != 1 {
		t.Fatalf("%s: %v", record, c.told)
	}
	if got, want := fmt.Sprintf("%+v", plain(c.events[0])), fmt.Sprintf("%+v", plain(want)); got != want {
		t.Fatalf("%s:\ngot  %s\nwant %s", record, got, want)
	}
}

// TestAgainstBareParse compares records of all shapes, written in several ways.
func TestAgainstBareParse(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, record := range append(benchRecords(200), []byte(fullRecord), []byte(rec("a"))) {
		var indented, compact bytes.Buffer
		if err := stdjson.Indent(&indented, record, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		if err := stdjson.Compact(&compact, record); err != nil {
			t.Fatal(err)
		}
		for _, r := range [][]byte{record, indented.Bytes(), compact.Bytes(), escapeAll(record)} {
			againstBareParse(t, d, r)
		}
	}
}

// escapeAll writes every letter of every string, names included, as \u escapes.
func escapeAll(record []byte) []byte {
	var b strings.Builder
	for inside, i := false, 0; i < len(record); i++ {
		c := record[i]
		switch {
		case inside && c == '\\' && record[i+1] == 'u':
			b.Write(record[i : i+6])
			i += 5
		case inside && c == '\\':
			b.Write(record[i : i+2])
			i++
		case inside && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'):
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			inside = inside != (c == '"')
			b.WriteByte(c)
		}
	}
	return []byte(b.String())
}

// TestCorpusAgainstBareParse compares every public record.
func TestCorpusAgainstBareParse(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	n := 0
	for _, payload := range corpusFiles(t) {
		var c collector
		NewDecoder(DefaultLimits()).Decode(payload, &c)
		for _, e := range c.events {
			againstBareParse(t, d, e.Raw)
			n++
		}
	}
	t.Logf("%d records", n)
}
