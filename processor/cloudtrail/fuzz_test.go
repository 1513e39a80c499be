package cloudtrail

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// fuzzLimits are small, so that fuzzing comes to them.
func fuzzLimits() Limits { return Limits{RecordBytes: 4 << 10, Depth: 20, ExpandedBytes: 1 << 20} }

func seeds(f *testing.F) {
	a, b := rec("a"), rec("b")
	looked := `{"EventId":"x","CloudTrailEvent":` + quoteJSON(a) + `}`
	subscription := `{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","message":` + quoteJSON(a) + `}]}`
	for _, s := range []string{
		"", "null", "{}", "[]", a, fullRecord, a + "\n" + b, a + b, `{"Records":[` + a + `,` + b + `]}`, `{"x":1,"Records":[` + a + `],"y":2}`,
		`[` + a + `,` + b + `]`, looked, `{"Events":[` + looked + `]}`, subscription, string(zip([]byte(subscription))), b64(string(zip([]byte(a)))),
		`{"awslogs":{"data":"` + b64(string(zip([]byte(subscription)))) + `"}}`,
		`{"Records":[{"kinesis":{"data":"` + b64(a) + `"},"eventSource":"aws:kinesis"}]}`,
		`{"detail-type":"AWS API Call via CloudTrail","resources":["x"],"detail":` + a + `}`,
		`{"messageType":"CONTROL_MESSAGE","logEvents":[]}`, `{"digestStartTime":"x"}`, `{"eventType":"AwsCloudTrailInsight"}`,
		`{"Records":[` + a + `,{"eventVersion":tru},` + b[:90] + `,` + b + `]}`, a + "\n" + a[:77] + "\n" + b, nested(30),
		`{"userAgent":"\u00e9\ud83d\ude00\ud800\n","errorMessage":"x","readOnly":true,"managementEvent":false,"resources":[{"ARN":"a"},{}],` + a[1:],
		strings.Replace(a, `"198.51.100.7"`, `{"a":[1.5e3,-0,null]}`, 1), strings.Replace(a, "ann", "a\xffn", 1),
	} {
		f.Add([]byte(s))
	}
	for _, r := range benchRecords(4) {
		f.Add(r)
	}
	if dir := os.Getenv("FARCALL_CORPUS"); dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "formats", "*"))
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil && len(b) < 8<<10 {
				f.Add(b)
			}
		}
	}
}

// FuzzDecode: no payload makes a Decoder panic, be silent, tell what it may not, or be changed by what it decoded before;
// and a stream of the same bytes, however sliced, tells the same.
func FuzzDecode(f *testing.F) {
	seeds(f)
	used := NewDecoder(fuzzLimits())
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		var c collector
		NewDecoder(fuzzLimits()).Decode(payload, &c)
		if !bytes.Equal(before, payload) {
			t.Fatal("the payload was changed")
		}
		if len(c.told) == 0 {
			t.Fatal("silence")
		}
		for _, e := range c.events {
			if e.EventTime == "" || e.EventSource == "" || e.EventName == "" || e.TimeMillis < 1136073600000-86400000 || e.TimeMillis > 7289654400000+86400000 {
				t.Errorf("no record: %+v", plain(e))
			}
			if !stdjson.Valid(e.Raw) {
				t.Errorf("Raw is no JSON: %q", e.Raw)
			}
			if len(e.Raw) > fuzzLimits().RecordBytes {
				t.Errorf("a record of %d bytes", len(e.Raw))
			}
			for _, name := range [][]byte{e.AppendPrincipal(nil), e.AppendMethod(nil)} {
				if !utf8.Valid(name) || len(name) == 0 {
					t.Errorf("name %q", name)
				}
			}
			if p := e.AppendPrincipal(nil); len(p) > PrincipalBytes {
				t.Errorf("a principal of %d bytes", len(p))
			}
		}
		for _, r := range c.refusals {
			if r.Detail == "" && c.refusals[len(c.refusals)-1].Reason != ReasonMore || len(r.Detail) > 500 {
				t.Errorf("detail %q", r.Detail)
			}
		}
		var again collector
		used.Decode(payload, &again)
		if diff := c.diff(&again, true); diff != "" {
			t.Errorf("a used Decoder tells otherwise: %s", diff)
		}
		if len(c.refusals) > maxRefusals {
			return // from here on a stream tells more
		}
		for _, r := range c.refusals {
			if r.Reason == ReasonExpanded || strings.HasPrefix(r.Detail, "gzip whose first") {
				return // a stream has no such limits, or each of its values has them
			}
		}
		for name, r := range map[string]io.Reader{"at once": bytes.NewReader(payload), "halves": iotest.HalfReader(bytes.NewReader(payload)), "ahead": newAhead(bytes.NewReader(payload), 100)} {
			var o collector
			used.DecodeReader(r, &o)
			if diff := c.diff(&o, true); diff != "" {
				t.Errorf("DecodeReader %s differs: %s", name, diff)
			}
		}
	})
}

// FuzzAgainstEncodingJSON decodes a JSON value, alone, and holds what comes out against what encoding/json finds in it.
func FuzzAgainstEncodingJSON(f *testing.F) {
	seeds(f)
	d := NewDecoder(DefaultLimits())
	f.Fuzz(func(t *testing.T, payload []byte) {
		var c collector
		d.Decode(payload, &c)
		// Whatever the form: an event is what encoding/json reads in its Raw.
		for i := range c.events {
			e := &c.events[i]
			if repeatsKey(e.Raw) {
				continue // the oracle does not merge what it finds twice
			}
			want, refusal := oracle(e.Raw)
			if refusal != "" {
				t.Fatalf("delivered %q, which is %s", e.Raw, refusal)
			}
			want.Offset, want.Raw = e.Offset, e.Raw
			if got, want := fmt.Sprintf("%+v", plain(*e)), fmt.Sprintf("%+v", plain(*want)); got != want {
				t.Fatalf("%q:\ngot  %s\nwant %s", e.Raw, got, want)
			}
		}
		// A single object: it comes out if encoding/json sees a record in it, and only then.
		trimmed := bytes.TrimLeft(payload, " \t\r\n")
		if len(trimmed) == 0 || trimmed[0] != '{' || !stdjson.Valid(trimmed) || repeatsKey(trimmed) {
			return
		}
		var keys map[string]stdjson.RawMessage
		if err := stdjson.Unmarshal(trimmed, &keys); err != nil {
			return
		}
		v := reflect.TypeFor[envelope]()
		for i := range v.NumField() {
			if _, ok := keys[v.Field(i).Tag.Get("json")]; ok {
				return // an envelope
			}
		}
		if len(c.told) != 1 {
			t.Fatalf("%q: told %v", trimmed, c.told)
		}
		if levelsOf(trimmed) > DefaultLimits().Depth {
			if len(c.refusals) != 1 || c.refusals[0].Reason != ReasonTooDeep {
				t.Fatalf("%q is too deep: told %v", trimmed, c.told)
			}
			return
		}
		_, refusal := oracle(trimmed)
		if got := len(c.events) == 1; got != (refusal == "") {
			t.Fatalf("%q: told %v, but encoding/json: %q", trimmed, c.told, refusal)
		}
	})
}

// oracle reads a record with encoding/json, matching names exactly; refusal says why it is none.
func oracle(raw []byte) (e *Event, refusal string) {
	if !stdjson.Valid(raw) {
		return nil, "no JSON"
	}
	w := new(wire)
	if refusal := oracleStruct(raw, reflect.ValueOf(w).Elem()); refusal != "" {
		return nil, refusal
	}
	e = &w.Event
	if e.EventType == "AwsCloudTrailInsight" || e.EventCategory == "Insight" {
		return nil, "an insight"
	}
	if e.EventTime == "" || e.EventSource == "" || e.EventName == "" || strings.HasPrefix(e.EventSource, "aws:") {
		return nil, "no record"
	}
	var ok bool
	if e.TimeMillis, ok = parseTime(e.EventTime); !ok {
		return nil, "without a time"
	}
	return e, ""
}

// oracleStruct fills the fields of a struct one by one.
func oracleStruct(raw []byte, v reflect.Value) string {
	var keys map[string]stdjson.RawMessage
	if err := stdjson.Unmarshal(raw, &keys); err != nil {
		return err.Error()
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("json")
		if f.Anonymous {
			if refusal := oracleStruct(raw, reflect.NewAt(f.Type, v.Field(i).Addr().UnsafePointer()).Elem()); refusal != "" {
				return refusal
			}
			continue
		}
		text, ok := keys[name]
		if !ok || name == "-" || name == "" {
			continue
		}
		if name == "mfaAuthenticated" && (string(text) == "true" || string(text) == "false") {
			v.Field(i).SetString(string(text))
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			if refusal := oracleStruct(text, v.Field(i)); refusal != "" {
				return name + ": " + refusal
			}
			continue
		}
		if f.Type == reflect.TypeFor[[]Resource]() {
			var items []stdjson.RawMessage
			if err := stdjson.Unmarshal(text, &items); err != nil {
				return name + ": " + err.Error()
			}
			list := make([]Resource, len(items))
			for i, item := range items {
				if refusal := oracleStruct(item, reflect.ValueOf(&list[i]).Elem()); refusal != "" {
					return name + ": " + refusal
				}
			}
			v.Field(i).Set(reflect.ValueOf(list))
			continue
		}
		if err := stdjson.Unmarshal(text, v.Field(i).Addr().Interface()); err != nil {
			return name + ": " + err.Error()
		}
	}
	return ""
}

// repeatsKey reports whether any object in a good JSON value has a key twice.
func repeatsKey(raw []byte) bool {
	d := stdjson.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	type level struct {
		keys  map[string]bool // nil: an array
		isKey bool
	}
	var open []level
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		top := len(open) - 1
		if top >= 0 && open[top].keys != nil {
			if key, ok := token.(string); ok && open[top].isKey {
				if open[top].keys[key] {
					return true
				}
				open[top].keys[key] = true
				open[top].isKey = false
				continue
			}
			open[top].isKey = true
		}
		switch token {
		case stdjson.Delim('{'):
			open = append(open, level{map[string]bool{}, true})
		case stdjson.Delim('['):
			open = append(open, level{})
		case stdjson.Delim('}'), stdjson.Delim(']'):
			open = open[:top]
		}
	}
}
