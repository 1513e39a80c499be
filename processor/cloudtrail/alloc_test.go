package cloudtrail

import (
	"bytes"
	stdjson "encoding/json"
	"testing"
)

// TestNoAllocations: once its buffers have grown, a Decoder allocates nothing, whatever the form.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	records := benchRecords(64)
	escaped := bytes.Replace(records[0], []byte(`"userAgent":"`), []byte(`"userAgent":"caf\u00e9 \"x\" \n`), 1)
	resources := append([]byte(`{"resources":[{"ARN":"a"},{"ARN":"b","type":"t"},{"ARN":"c"}],`), records[0][1:]...)
	null := append([]byte(`{"resources":null,`), records[0][1:]...)
	eventBridge := append(append([]byte(`{"detail-type":"AWS API Call via CloudTrail","resources":[],"detail":`), records[0]...), '}')
	quoted, err := stdjson.Marshal(string(records[0]))
	if err != nil {
		t.Fatal(err)
	}
	looked := append(append([]byte(`{"CloudTrailEvent":`), quoted...), '}')
	subscription := append(append([]byte(`{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","message":`), quoted...), `}]}`...)
	lambda := []byte(`{"awslogs":{"data":"` + b64(string(zip(subscription))) + `"}}`)
	large := append(append([]byte(`{"responseElements":["`), bytes.Repeat([]byte("x"), 64<<10)...), `"],`+string(records[0][1:])...)
	forms := map[string][][]byte{
		"single":       records,
		"escapes":      {escaped, escapeAll(records[0])},
		"resources":    {resources, null},
		"Records":      {benchList(records)},
		"array":        {benchList(records)[len(`{"Records":`) : len(benchList(records))-1]},
		"lines":        {bytes.Join(records, []byte{'\n'})},
		"gzip":         {zip(benchList(records))},
		"EventBridge":  {eventBridge},
		"LookupEvents": {looked},
		"subscription": {subscription},
		"Lambda":       {lambda},
		"large":        {large, bytes.Join([][]byte{large, large}, []byte{'\n'})},
		"skips":        {[]byte(`{"Records":[]}`), nil, []byte(`{"digestStartTime":"x"}`)},
	}
	for name, payloads := range forms {
		d := NewDecoder(DefaultLimits())
		var c counter
		all := func() {
			for _, p := range payloads {
				d.Decode(p, &c)
			}
		}
		all()
		if c.refusals > 0 || c.events+c.skips < len(payloads) {
			t.Fatalf("%s: %+v", name, c)
		}
		if n := testing.AllocsPerRun(20, all); n != 0 {
			t.Errorf("%s: %v allocations for %d payloads", name, n, len(payloads))
		}
	}
}

// TestNoAllocationsOfNames: nor do the methods that append.
func TestNoAllocationsOfNames(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := NewDecoder(DefaultLimits())
	buf := make([]byte, 0, 1024)
	appends := checks{event: func(e *Event) {
		buf = e.AppendMethod(e.AppendPrincipal(buf[:0]))
		if e.Denied() && e.Account() == e.SessionName() {
			t.Error("an account is no session")
		}
	}}
	var h Handler = appends
	for i, r := range benchRecords(4) {
		if n := testing.AllocsPerRun(20, func() { d.Decode(r, h) }); n != 0 {
			t.Errorf("record %d: %v allocations", i, n)
		}
	}
}

// TestCorpusAllocations decodes all public records. Allowed are one allocation for the file name that gzip may have in
// front, and those of what is refused.
func TestCorpusAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, payload := range corpusFiles(t) {
		d := NewDecoder(DefaultLimits())
		var c counter
		d.Decode(payload, &c)
		if c.refusals > 0 {
			continue
		}
		allowed := 0.0
		if isGzip(payload) {
			allowed = 1
		}
		if n := testing.AllocsPerRun(5, func() { d.Decode(payload, &c) }); n > allowed {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
