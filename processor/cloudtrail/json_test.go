package cloudtrail

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// skipped is what skip says of the value that text begins with, or what parse does when it is an object: both must agree.
func skipped(t testing.TB, d *Decoder, text []byte) int {
	t.Helper()
	d.reset(text)
	n := d.skip(0, d.limits.Depth)
	if len(text) > 0 && text[0] == '{' {
		if p := d.parse(text); p != n {
			t.Fatalf("%q: skip says %d, parse %d", text, n, p)
		}
	}
	return n
}

// endless lets values be as deep as they like.
func endless() *Decoder {
	l := DefaultLimits()
	l.Depth = math.MaxInt
	return NewDecoder(l)
}

// eachWay runs a test with blocks marked by word, and as this machine marks them.
func eachWay(t *testing.T, test func(t *testing.T)) {
	own := oddBlocks
	defer func() { oddBlocks = own }()
	t.Run("own", test)
	oddBlocks = oddBlocksByWord
	t.Run("by word", test)
}

// TestOddBlocks looks at each byte in each place of a block: what is odd has a mark, and what is not has none, but for what a mark by
// word borrows from.
func TestOddBlocks(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		b := bytes.Repeat([]byte{'x'}, 3*blockBytes+1)
		for c := range 256 {
			for i := range 3 * blockBytes {
				for _, before := range []byte{'x', '"', '\\', 0xff} {
					marks := [3]uint64{}
					if i > 0 {
						b[i-1] = before
					}
					b[i] = byte(c)
					oddBlocks(b, marks[:])
					for j := range 3 * blockBytes {
						marked := marks[j/blockBytes]>>(j%blockBytes)&1 == 1
						odd := b[j] < ' ' || b[j] == '"' || b[j] == '\\' || b[j] >= 0x80
						if odd && !marked || !odd && marked && b[j] != '#' && b[j] != ']' {
							t.Fatalf("%q at %d behind %q: byte %d has mark %t", rune(c), i, before, j, marked)
						}
					}
					b[i], b[max(i-1, 0)] = 'x', 'x'
				}
			}
		}
		oddBlocks(nil, nil)
	})
}

func TestSkip(t *testing.T) { eachWay(t, testSkip) }

func testSkip(t *testing.T) {
	d := endless()
	for text, want := range map[string]int{
		``: cutOff, ` 1`: notJSON, `x`: notJSON, `"`: cutOff, `""`: 2, `"a`: cutOff, `"a"b`: 3, "\"\x1f\"": notJSON, "\"\x7f\"": 3, "\"\x00\"": notJSON,
		`"\`: cutOff, `"\"`: cutOff, `"\""`: 4, `"\\"`: 4, `"\a"`: notJSON, `"\u12`: cutOff, `"\u12g4"`: notJSON, `"\u12Fa"`: 8, `"\ud800"`: 8, "\"\xff\xc3\"": 4,
		`"#"`: 3, `"##"`: 4, `"\\]"`: 5, `"\"#"`: 5, `"]\n#"`: 6, "\"\n#\"": notJSON,
		`0`: 1, `-0`: 2, `01`: 1, `-`: cutOff, `-a`: notJSON, `+1`: notJSON, `.5`: notJSON, `1.`: cutOff, `1.x`: notJSON, `1.5`: 3, `1e`: cutOff, `1e+`: cutOff, `1E-07`: 5,
		`1ex`: notJSON, `12,`: 2, `true`: 4, `truE`: notJSON, `tru`: cutOff, `false`: 5, `fals`: cutOff, `null`: 4, `nul1`: notJSON, `n`: cutOff, `nulll`: 4, `NaN`: notJSON,
		`[]`: 2, `[ ]`: 3, `[`: cutOff, `[1`: cutOff, `[1 ,2]`: 6, `[1,]`: notJSON, `[,1]`: notJSON, `[1 2]`: notJSON, `[1}`: notJSON, `]`: notJSON, `["a","b"]`: 9, `["a"`: cutOff,
		`[01]`: notJSON, `[1.5e3,-0,null]`: 15, "[1,\v2]": notJSON, "[1,\u00a02]": notJSON,
		`{}`: 2, "{\t\r\n}": 5, `{`: cutOff, `{"a"`: cutOff, `{"a":`: cutOff, `{"a":1`: cutOff, `{"a":1,`: cutOff, `{"a":1,}`: notJSON, `{"a" : 1 , "b":2}`: 17, `{"a"}`: notJSON,
		`{"a":}`: notJSON, `{"a",1}`: notJSON, `{1:2}`: notJSON, `{a:1}`: notJSON, `{"a":"b""c":1}`: notJSON, `{"a":"b","c"}`: notJSON, `{"a":"b":1}`: notJSON,
		`{"a":"b","c":"d"}`: 17, `{"a":"b", "c":"d"}`: 18, `{"a":"b" ,"c":"d"}`: 18, `{"a": "b","c":"d"}`: 18, `{"a":"b",1}`: notJSON, `{"a":"b"]`: notJSON, `{,}`: notJSON,
		`{"a":{"b":[{"c":"d"},[]]},"e":[]}x`: 33, `{"a":[}`: notJSON, `{"a":[{]}`: notJSON, `{"a":"b",,"c":1}`: notJSON, `{null:1}`: notJSON,
		strings.Repeat("[", 1000): cutOff, strings.Repeat("[", 1000) + strings.Repeat("]", 1000): 2000, strings.Repeat(`{"":`, 300) + `0` + strings.Repeat("}", 300): 1501,
	} {
		if got := skipped(t, d, []byte(text)); got != want {
			t.Errorf("%.80q: %d, want %d", text, got, want)
		}
	}
}

// TestSkipLengths moves strings and blanks of every length over the borders of the blocks.
func TestSkipLengths(t *testing.T) { eachWay(t, testSkipLengths) }

func testSkipLengths(t *testing.T) {
	d := endless()
	for n := range 3*blockBytes + 2 {
		for _, c := range []string{"x", "#", "]", "é", `\n`, `\\`, " "} {
			text := fmt.Sprintf(`{"k%[1]s":"#v","k":"%[1]s","%[1]s":[%[2]s1,%[2]s"%[1]s"%[2]s,"#"],"s":"%[1]sé"}`, strings.Repeat(c, n), strings.Repeat(" \n", n))
			if !stdjson.Valid([]byte(text)) {
				t.Fatal(text)
			}
			if got := skipped(t, d, []byte(text)); got != len(text) {
				t.Fatalf("%s: %d", text, got)
			}
			for _, broken := range []string{strings.Replace(text, `"s":"`, "\"s\":\"\x01", 1), text[:len(text)-3] + `\x"}`} {
				if got := skipped(t, d, []byte(broken)); got != notJSON {
					t.Fatalf("%s: %d", broken, got)
				}
			}
		}
	}
}

// TestSkipEveryByte cuts records off at every byte, and replaces every byte by each that means something to JSON.
func TestSkipEveryByte(t *testing.T) { eachWay(t, testSkipEveryByte) }

func testSkipEveryByte(t *testing.T) {
	d := endless()
	for _, record := range [][]byte{[]byte(fullRecord), []byte(rec("é#"))} {
		for i := range record {
			if got := skipped(t, d, record[:i]); got != cutOff {
				t.Fatalf("%s: %d", record[:i], got)
			}
		}
		changed := bytes.Clone(record)
		for i, was := range record {
			for _, c := range "\x00\x1f\t\n #\"\\/,:{}[]0-.eutfn]\x7f\xff" {
				changed[i] = byte(c)
				if got, want := skipped(t, d, changed) == len(changed), stdjson.Valid(changed); got != want {
					t.Fatalf("%s: valid: %t", changed, want)
				}
			}
			changed[i] = was
		}
	}
}

// TestSkipLevels: the limit is what it says, also where levels no longer fit a word.
func TestSkipLevels(t *testing.T) {
	var s scanner
	for _, open := range []string{"[", `{"a":`, `{"a":"b","c":`, `[1,{"x":[],"y":`} {
		levels := strings.Count(open, "[") + strings.Count(open, "{") - strings.Count(open, "[]")
		for n := 1; n < 300; n++ {
			text := strings.Repeat(open, n) + `[]` + strings.Repeat("}", n)
			switch open[0] {
			case '[':
				text = strings.Repeat(open, n) + `[]` + strings.Repeat("]", n)
				if levels == 2 {
					text = strings.Repeat(open, n) + `[]` + strings.Repeat("}]", n)
				}
			}
			deepest := n*levels + 1
			for limit, want := range map[int]int{deepest: len(text), deepest - 1: tooDeep, 0: tooDeep, math.MaxInt: len(text)} {
				s.reset([]byte(text))
				if got := s.skip(0, limit); got != want {
					t.Fatalf("%d times %s, up to %d levels: %d, want %d", n, open, limit, got, want)
				}
			}
		}
	}
}

// FuzzSkip holds the scanner's opinion of any bytes against encoding/json's: whether they begin with a value, where it ends,
// and whether what is no value could have become one.
func FuzzSkip(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		d := endless()
		text = bytes.TrimLeft(text, " \t\r\n")
		if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > 9000 {
			return // encoding/json has a limit of its own
		}
		before := bytes.Clone(text)
		n, want := skipped(t, d, text), grammar(text)
		switch {
		case want.bad != nil && n != notJSON, want.incomplete && n != cutOff, want.bad == nil && !want.incomplete && n != want.end:
			t.Fatalf("%q: %d, but encoding/json: %+v", text, n, want)
		}
		// The same behind something else, so that the blocks lie otherwise.
		shift := 1 + len(text)*7%blockBytes
		d.reset(append(bytes.Repeat([]byte(`"`), shift), text...))
		if got := d.skip(shift, d.limits.Depth); got != n && got != n+shift {
			t.Fatalf("%q: %d, but %d behind %d bytes", text, n, got, shift)
		}
		if n > 0 {
			deepest := levelsOf(text[:n])
			d.reset(text)
			if got := d.skip(0, deepest); got != n {
				t.Fatalf("%q has %d levels: %d", text, deepest, got)
			}
			if d.reset(text); deepest > 0 && d.skip(0, deepest-1) != tooDeep {
				t.Fatalf("%q has %d levels", text, deepest)
			}
		}
		if !bytes.Equal(before, text) {
			t.Fatal("the text was changed")
		}
	})
}

// levelsOf counts the levels of a good value.
func levelsOf(value []byte) (deepest int) {
	d := stdjson.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	for level := 0; ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case stdjson.Delim('{'), stdjson.Delim('['):
			level++
			deepest = max(deepest, level)
		case stdjson.Delim('}'), stdjson.Delim(']'):
			level--
		}
	}
}
