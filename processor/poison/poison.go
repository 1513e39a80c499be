// Package poison makes raw records that can't be read, or only with effort, and says what must become of each: for tests and
// for measurements of what they cost the good ones. It must never be part of a program that runs for anybody.
package poison

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Kind is one kind of bad record.
type Kind struct {
	Name string
	// Reason of its one dead letter; "" where it is read in spite of all, as a call of a method of Service.
	Reason string
	Value  []byte
}

// Service is that of the methods of records that are read in spite of all, so that they touch no other method's rows.
const Service = "poison"

// Small are kinds of a usual size, up to 20 KB, made of a good record. It panics where that lacks a field that all have.
func Small(good []byte) []Kind {
	half := func(b []byte) []byte { return b[:len(b)/2] }
	return []Kind{
		{"not JSON", "not_json", []byte(`203.0.113.9 - - "GET / HTTP/1.1" 200 17`)},
		{"truncated", "truncated", half(good)},
		{"wrong type", "wrong_type", change(good, `"userAgent":"[^"]*"`, `"userAgent":{"a":1}`)},
		{"deep", "too_deep", within(good, `"deep":`+strings.Repeat(`[`, 9000)+strings.Repeat(`]`, 9000))},
		{"invalid UTF-8", "", change(change(good, `"eventSource":"[^"]*"`, `"eventSource":"`+Service+`.amazonaws.com"`),
			`"userAgent":"`, "\"userAgent\":\"\xff\xfe\xc3")},
		{"no time", "no_event_time", change(good, `"eventTime":"[^"]*",`, ``)},
		{"year 2099", "future", change(good, `"eventTime":"[^"]*"`, `"eventTime":"2099-01-01T00:00:00Z"`)},
		{"year 1970", "bad_event_time", change(good, `"eventTime":"[^"]*"`, `"eventTime":"1970-01-01T00:00:00Z"`)},
		{"no method", "no_event_name", change(good, `"eventName":"[^"]*",`, ``)},
		{"damaged gzip", "gzip", half(zip(good, nil, 0))},
		{"not CloudTrail", "not_cloudtrail", []byte(`{"level":"info","msg":"hello"}`)},
	}
}

// Large are kinds that are large, or become so, made of a good record as in Small. inside makes JSON values, with commas between, of
// at least so many bytes: what fills the large records.
func Large(good []byte, inside func(bytes int) []byte) []Kind {
	filled := func(size int) []byte { return within(good, `"inside":[`+string(inside(size))+`]`) }
	mega := func(char byte) []byte { return bytes.Repeat([]byte{char}, 1<<20) }
	return []Kind{
		{"1 MiB", "too_large", filled(1 << 20)},
		{"10 MB", "too_large", filled(10_000_000)},
		{"gzip bomb of zeros", "not_json", zip(nil, mega(0), 80)},
		{"gzip bomb of JSON", "expanded_too_large", zip([]byte(`{"Records":[{"eventVersion":"1.09","filler":"`), mega('z'), 80)},
		{"gzip bomb of brackets", "expanded_too_large", zip(nil, mega('['), 80)},
	}
}

// change replaces the first match of a pattern.
func change(good []byte, pattern, with string) []byte {
	at := regexp.MustCompile(pattern).FindIndex(good)
	if at == nil {
		panic(fmt.Sprintf("poison: no %s in the good record", pattern))
	}
	return slices.Concat(good[:at[0]], []byte(with), good[at[1]:])
}

// within puts a field in front of all others.
func within(good []byte, field string) []byte { return change(good, `^\{`, `{`+field+`,`) }

// zip compresses a start and then a chunk so many times.
func zip(start, chunk []byte, times int) []byte {
	var b bytes.Buffer // which takes all
	w := gzip.NewWriter(&b)
	w.Write(start)
	for range times {
		w.Write(chunk)
	}
	w.Close()
	return b.Bytes()
}
