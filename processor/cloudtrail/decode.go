// Package cloudtrail turns every form in which AWS CloudTrail reaches a topic or a file into Events: a record on its own,
// lines of records, {"Records":[…]}, an array, EventBridge envelopes, CloudWatch Logs subscriptions (as they are, inside a
// Lambda event, inside a Kinesis record), LookupEvents answers; each of them also in gzip, and the carried ones in base64.
// The form is told by content alone.
//
// It must never lose anything silently: each thing that a payload holds ends in exactly one call of the Handler, as an
// Event, a Skip or a Refusal. It must never let one bad record take its neighbours with it, never trust the input's size,
// depth or expansion, and never judge what an event means: that is for others.
//
// # Speed
//
// A record is read once, from front to back, by a scanner that holds every byte of it against RFC 8259, what is not kept
// included, counts levels and finds the record's end on the way (json.go); the keys of a record and of every envelope lead
// from there to fields (record.go). Strings alias the payload. Nothing is read twice but what an envelope carries, what is
// broken, and the list of an object that does not begin with it. How it compares with segmentio's Parse and with
// encoding/json is in loadtest/RESULTS.md.
//
// # What is like encoding/json, and what is not
//
// Of two equal keys the last wins; two equal keys with objects merge. null is as good as absent. Invalid UTF-8 in a string
// and half surrogate pairs become U+FFFD, so that no key of a state can hold broken text (Event.Raw keeps the original).
// Unlike there, names are matched by exact case, and a wrong-typed field refuses its record, also where an equal key follows.
package cloudtrail

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Limits bound what a Decoder accepts.
type Limits struct {
	// RecordBytes is the largest JSON text of one record. A LookupEvents or CloudWatch Logs carrier counts as it is
	// written, with its escapes.
	RecordBytes int
	// Depth is how many levels of objects and arrays a record, or an envelope of one, may have. Fewer than the levels of the
	// fields of an Event count as those.
	Depth int
	// ExpandedBytes is the sum of what all gzip in one payload may expand to. In a stream, whose own gzip may be of any
	// size, it is the limit for what one value of the stream, or one element of a list in it, carries. Past
	// bombBytes, gzip must not expand to more than bombRatio times its own size either.
	ExpandedBytes int64
}

// DefaultLimits are 1 MiB a record, 256 levels and 64 MiB expanded.
//
// CloudTrail's own limit for a record is 256 KiB, and the largest seen in public data is 66 KB. The deepest seen there has
// 11 levels; the deepest document that an AWS API accepts, a DynamoDB item, has 32 levels of attributes at two JSON levels
// each, so that 256 leaves room for envelopes and for twice that. A file that CloudTrail delivers expands to a few dozen
// MiB at most.
func DefaultLimits() Limits {
	return Limits{RecordBytes: 1 << 20, Depth: 256, ExpandedBytes: 64 << 20}
}

const (
	// carrierBytes is the largest base64 text: a Lambda event is at most 6 MB.
	carrierBytes = 8 << 20
	// bombRatio is how many times its size gzip may expand to. Records differ in two random ids at the least, some forty bytes
	// of what can't be compressed, so that lists of them stay below 60. The first bombBytes, CloudTrail's own limit for a
	// record, may be of nothing but one letter.
	bombRatio = 200
	bombBytes = 256 << 10
	// probeBytes is how much of a gzip is expanded to see that it holds no text that anything could be found in.
	probeBytes = 16 << 10
	// maxLayers is how many envelopes may lie around a record. The deepest real one is base64 in a Lambda event in gzip,
	// around a subscription, around a message: five.
	maxLayers = 8
	// keepBytes is the most that a buffer may hold on to from one payload to the next.
	keepBytes = 4 << 20
	// keepResources is the same for the elements of Event.Resources.
	keepResources = 64
	// eventLevels is how deep the fields of an Event are: userIdentity.sessionContext.attributes has level 4.
	eventLevels = 4
)

// Handler receives what a payload holds, in the order in which it holds it. Whatever is passed is valid only during the
// call. A Handler must not use the Decoder that calls it.
type Handler interface {
	// Event receives a record that has an eventTime, an eventSource and an eventName.
	Event(*Event)
	// Skip is told of what is recognised and deliberately not an event.
	Skip(SkipKind)
	// Refuse receives bad input.
	Refuse(*Refusal)
}

// Decoder decodes payloads, one after the other. It reuses its buffers, holds on to the last payload until the next, and is
// not safe for concurrent use.
type Decoder struct {
	limits Limits
	scanner

	h          Handler
	payload    bool // Decode, not DecodeReader
	refusals   int
	moreOffset int64
	expanded   int64 // by gzip, so far
	effort     int64 // bytes that were scanned for the end of values that had none

	w         wire
	resources []Resource // backs w.Resources
	unquoted  []byte     // backs the strings of w that are not as they were written
	clock     clock
	yes, no   bool    // what Event.ReadOnly and Event.ManagementEvent point to
	wrong     mistake // the first in w by which it is no record
	doubtful  mistake // the first in w of those that a record without another fault is refused for
	refusal   Refusal
	head      []byte // the beginning of what streaming threw away
	layers    [maxLayers + 1]layer
	used      int // layers
	stream    text
}

// layer holds the buffers of one level of envelopes.
type layer struct {
	text     text
	last     model  // of the list that is being decoded
	unquoted []byte // the inside of a JSON string
	binary   []byte // decoded base64
	plain    []byte // expanded gzip
	gzip     gzip.Reader
	reused   bool // gzip has been used before
	source   bytes.Reader
}

// NewDecoder makes a Decoder. A limit that is zero or negative takes its default.
func NewDecoder(l Limits) *Decoder {
	def := DefaultLimits()
	if l.RecordBytes <= 0 {
		l.RecordBytes = def.RecordBytes
	}
	if l.Depth <= 0 {
		l.Depth = def.Depth
	}
	l.Depth = max(l.Depth, eventLevels)
	if l.ExpandedBytes <= 0 {
		l.ExpandedBytes = def.ExpandedBytes
	}
	return &Decoder{limits: l, yes: true, resources: make([]Resource, 0, 4)}
}

func (d *Decoder) begin(h Handler, payload bool) {
	d.h = h
	d.payload = payload
	d.refusals = 0
	d.expanded = 0
	d.effort = 0
	d.yes, d.no = true, false
}

// end reports what is left to report, and lets go of buffers that one large payload has left behind.
func (d *Decoder) end() {
	if d.refusals > maxRefusals {
		d.refuseMore()
	}
	d.h = nil
	for i := range d.layers[:d.used] {
		l := &d.layers[i]
		l.text = text{}
		l.source.Reset(nil)
		for _, buf := range [...]*[]byte{&l.unquoted, &l.binary, &l.plain} {
			if cap(*buf) > keepBytes {
				*buf = nil
			}
		}
	}
	d.used = 0
}

// Decode decodes one payload, such as the value of a Kafka record, and tells h what it holds. An empty payload is a skip.
func (d *Decoder) Decode(payload []byte, h Handler) {
	d.begin(h, true)
	d.carried(payload, 0, 0, false)
	d.end()
}

// DecodeReader decodes a stream of any length, such as a file of lines, a huge {"Records":[…]}, or either in gzip, in
// bounded memory: a few times Limits.RecordBytes. A record is delivered once 64 KiB behind its start, or the end, have been
// read. When the reader fails or its gzip is truncated, all complete records before are delivered and the rest is one
// refusal.
func (d *Decoder) DecodeReader(r io.Reader, h Handler) {
	d.begin(h, false)
	t := &d.stream
	own := t.buf[:0]
	*t = text{buf: own, src: &source{r: r}}
	if a, ok := r.(*Ahead); ok {
		t.buf, t.ahead = nil, a
	}
	layers := 0
	for {
		t.fill(lookahead)
		if !isGzip(t.rest()) || layers == maxLayers {
			break
		}
		layers++
		in := &source{r: t.src, gzip: true}
		head := bytes.NewReader(bytes.Clone(t.rest()))
		if t.src == nil {
			in.r = &ended{t.cut}
		}
		z, err := gzip.NewReader(io.MultiReader(head, in.r))
		if err != nil {
			*t = text{buf: own, cut: cutBy(in, headerError(err))}
			break
		}
		in.r = z
		*t = text{buf: own, src: in}
	}
	d.sequence(t, 0)
	if t.ahead != nil {
		t.buf = own
	}
	if cap(t.buf) > keepBytes {
		t.buf = nil
	}
	*t = text{buf: t.buf[:0]}
	d.end()
}

// source is a reader that a stream comes from, and knows whether its errors mean damage (gzip) or a failure to read.
type source struct {
	r    io.Reader
	gzip bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF && !s.gzip {
		err = &readError{err}
	}
	return n, err
}

// readError marks an error as the reader's own, through whatever reads from it.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// ended is the end of a stream that has been read to it.
type ended struct{ cut *cut }

func (e *ended) Read([]byte) (int, error) {
	if e.cut != nil {
		return 0, &readError{errors.New(e.cut.detail)}
	}
	return 0, io.EOF
}

// cutBy says what the end of src means; nil for a good one.
func cutBy(src io.Reader, err error) *cut {
	if err == io.EOF {
		return nil
	}
	var read *readError
	if errors.As(err, &read) {
		return &cut{ReasonRead, "reading failed: " + clip(read.Error())}
	}
	if s, ok := src.(*source); ok && s.gzip {
		return gzipCut(err)
	}
	return &cut{ReasonRead, "reading failed: " + clip(err.Error())}
}

func gzipCut(err error) *cut {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &cut{ReasonGzip, "the gzip data end before their end"}
	}
	return &cut{ReasonGzip, "damaged gzip data: " + clip(err.Error())}
}

// headerError is an error of a gzip header. That one that is not all there is an io.EOF says nothing: something was there.
func headerError(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// clip shortens an error text that may quote what it failed on.
func clip(s string) string { return s[:min(len(s), 200)] }

func isGzip(b []byte) bool { return len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b }

// carried decodes what a payload is or what an envelope carries: JSON text in any number of gzip wrappings.
func (d *Decoder) carried(b []byte, layer int, base int64, fixed bool) {
	d.used = max(d.used, layer+1)
	l := &d.layers[layer]
	l.text = text{buf: b, base: base, fixed: fixed}
	for range maxLayers {
		if !isGzip(l.text.buf) || l.text.cut != nil {
			break
		}
		l.text = d.expand(l, l.text.buf)
	}
	d.sequence(&l.text, layer)
}

// expand undoes gzip, as far as it is good and allowed. The text belongs to l.
func (d *Decoder) expand(l *layer, b []byte) text {
	if cap(l.plain) > 0 && len(b) > 0 && &b[0] == &l.plain[:1][0] {
		b = bytes.Clone(b) // gzip in gzip
	}
	before := d.expanded
	t := d.expandInto(l, b)
	if t.cut != nil && l.reused {
		// A reused gzip.Reader answers damaged data (an empty Huffman table) from the tables of the data before. What a
		// payload decodes to must depend on that payload alone.
		l.gzip, d.expanded = gzip.Reader{}, before
		t = d.expandInto(l, b)
	}
	l.reused = true
	return t
}

func (d *Decoder) expandInto(l *layer, b []byte) text {
	l.source.Reset(b)
	if err := l.gzip.Reset(&l.source); err != nil {
		return text{cut: gzipCut(headerError(err))}
	}
	out := l.plain[:0]
	for {
		if len(out) == cap(out) {
			out = append(out, make([]byte, max(4*len(b), 4096, cap(out)))...)[:len(out)]
		}
		left := d.limits.ExpandedBytes - d.expanded
		n, err := l.gzip.Read(out[len(out):min(int64(cap(out)), int64(len(out))+left+1)])
		if int64(n) > left {
			d.expanded += left
			l.plain = out[:len(out)+int(left)]
			return text{buf: l.plain, cut: &cut{
				ReasonExpanded, fmt.Sprintf("gzip expands to more than %d bytes", d.limits.ExpandedBytes),
			}}
		}
		before := len(out)
		out = out[:before+n]
		d.expanded += int64(n)
		if before < probeBytes && len(out) >= probeBytes && !promising(out[:probeBytes]) {
			l.plain = out
			return text{buf: out[:probeBytes], cut: &cut{ReasonNotJSON, fmt.Sprintf("gzip whose first %d bytes are one line", probeBytes)}}
		}
		if len(out) > bombBytes && len(out)/bombRatio > len(b)-l.source.Len() {
			l.plain = out
			return text{buf: out, cut: &cut{ReasonExpanded, fmt.Sprintf("gzip expands to more than %d times its size", bombRatio)}}
		}
		if err != nil {
			l.plain = out
			if err == io.EOF {
				return text{buf: out}
			}
			return text{buf: out, cut: gzipCut(err)}
		}
	}
}

// promising says whether a text may begin so: with what values, gzip or base64 begin with, or with a line of rubbish before others.
func promising(b []byte) bool {
	if bytes.IndexByte(b, '\n') >= 0 {
		return true
	}
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r")
	if len(b) == 0 || startsValue(b[0]) || isGzip(b) || looksBase64(b) {
		return true
	}
	return b[0] == '-' || b[0] == 't' || b[0] == 'f' || b[0] == 'n' || isDigit(b[0])
}

// sequence decodes JSON values that follow each other, with or without line breaks between them.
func (d *Decoder) sequence(t *text, layer int) {
	t.fill(lookahead)
	if bytes.HasPrefix(t.rest(), []byte("\xef\xbb\xbf")) {
		t.pos += 3
	}
	some := false
	for {
		t.fill(lookahead)
		d.nextValue(layer)
		c, ok := t.next()
		if !ok {
			break
		}
		some = true
		t.fill(lookahead)
		switch c {
		case '[':
			d.list(t, layer)
		case '{':
			if at := listFirst(t.rest()); at > 0 {
				d.lists(t, layer, at)
				continue
			}
			d.value(t, layer, nil)
		case '"':
			d.value(t, layer, nil)
		default:
			d.token(t, layer)
		}
	}
	switch {
	case t.cut != nil:
		d.refuse(t.cut.reason, t.offset(0), nil, t.cut.detail)
	case !some:
		d.h.Skip(SkipEmptyPayload)
	}
}

// nextValue starts the count of expanded bytes anew for each value of a stream.
func (d *Decoder) nextValue(layer int) {
	if !d.payload && layer == 0 {
		d.expanded = 0
	}
}

// list decodes the array at the front of t, element by element. Like value and lists it reports whether what follows can
// be decoded; if not, it has refused the rest, up to the next line that starts like a value.
func (d *Decoder) list(t *text, layer int) bool {
	last := &d.layers[layer].last
	*last = model{}
	t.pos++
	for first := true; ; first = false {
		t.fill(lookahead)
		d.nextValue(layer)
		c, ok := t.next()
		if !ok {
			return d.ended(t)
		}
		t.fill(lookahead)
		switch {
		case c == ']' && first:
			t.pos++
			d.h.Skip(SkipEmptyRecords)
			return true
		case c == ']' || c == ',':
			d.refuse(ReasonSyntax, t.offset(0), nil, "a comma with no record beside it")
		case !d.value(t, layer, last):
			return false
		}
		for {
			if c, ok = t.next(); !ok {
				return d.ended(t)
			}
			if c == ',' {
				t.pos++
				break
			}
			if c == ']' {
				t.pos++
				return true
			}
			t.fill(lookahead)
			if c == '{' || c == '"' {
				d.refuse(ReasonSyntax, t.offset(0), nil, "no comma between two records")
				break
			}
			n := bytes.IndexAny(t.rest()[:min(len(t.rest()), lookahead)], ",]")
			if n <= 0 {
				return d.abandon(t, ReasonSyntax, "neither a comma nor ] follows a record")
			}
			raw := trimRight(t.rest()[:n])
			d.refuse(ReasonSyntax, t.offset(0), raw, "neither a comma nor ] follows a record, but "+quote(raw))
			t.pos += n
		}
	}
}

// lists decodes an object that holds lists of records, the first of them at bytes from the front of t.
func (d *Decoder) lists(t *text, layer, at int) bool {
	t.pos += at
	isList := true
	for {
		if c, ok := t.next(); !ok {
			return d.ended(t)
		} else if isList && c == '[' {
			if !d.list(t, layer) {
				return false
			}
		} else if !d.attribute(t) {
			return d.abandon(t, ReasonSyntax, "broken JSON beside a list of records")
		}
		switch c, ok := t.next(); {
		case !ok:
			return d.ended(t)
		case c == '}':
			t.pos++
			return true
		case c != ',':
			return d.abandon(t, ReasonSyntax, "neither a comma nor } follows a list of records")
		}
		t.pos++
		if c, ok := t.next(); !ok {
			return d.ended(t)
		} else if c != '"' {
			return d.abandon(t, ReasonSyntax, "no key behind a comma")
		}
		n := d.valueEnd(t)
		if n < 0 {
			return d.abandon(t, ReasonSyntax, "a broken key, or one without an end")
		}
		isList = isListKey(t.rest()[:n])
		t.pos += n
		if c, ok := t.next(); !ok {
			return d.ended(t)
		} else if c != ':' {
			return d.abandon(t, ReasonSyntax, "no colon behind a key")
		}
		t.pos++
	}
}

// attribute passes over a value that stands beside a list of records. False: it is not good JSON.
func (d *Decoder) attribute(t *text) bool {
	t.fill(lookahead)
	rest := t.rest()
	if startsValue(rest[0]) {
		switch n := d.valueEnd(t); n {
		case notJSON:
			return false
		case cutOff, tooDeep:
			t.discard() // if it has no end, that is noticed behind it
		default:
			t.pos += n
		}
		return true
	}
	n := bytes.IndexAny(rest[:min(len(rest), lookahead)], ",}] \t\r\n")
	if n < 0 {
		n = len(rest)
	}
	if !d.isWord(rest[:n]) {
		return false
	}
	t.pos += n
	return true
}

// marker is how a record starts, for guessing where the next one does: up to the end of its first key.
type marker struct {
	text []byte
	// anchor is where its first capital letter is. Brackets, quotes and small letters are everywhere in a record.
	anchor int
}

func markerOf(record []byte) marker {
	m := marker{text: firstKey(record)}
	for i, c := range m.text {
		if 'A' <= c && c <= 'Z' {
			m.anchor = i
			break
		}
	}
	return m
}

// find is where the marker next stands in b, at from or later, or -1.
func (m *marker) find(b []byte, from int) int {
	if len(m.text) == 0 {
		return -1
	}
	for i := from + m.anchor; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], m.text[m.anchor])
		if j < 0 {
			break
		}
		i += j
		if start := i - m.anchor; bytes.HasPrefix(b[start:], m.text) {
			return start
		}
	}
	return -1
}

// model is how the last good record of a list starts: its marker.
type model struct {
	marker
	buf [firstKeyReach]byte // backs marker.text
}

func (m *model) learn(good []byte) {
	if len(m.text) > 0 && bytes.HasPrefix(good, m.text) {
		return
	}
	m.marker = markerOf(good)
	m.text = append(m.buf[:0], m.text...)
}

// value decodes one element of a list, or the object or string at the front of a sequence (last is nil).
func (d *Decoder) value(t *text, layer int, last *model) bool {
	c := t.buf[t.pos]
	if !startsValue(c) {
		return d.broken(t, layer, last, grammar(d.fillWindow(t)))
	}
	n := d.valueEnd(t)
	if n < 0 {
		return d.unparsed(t, layer, last, n)
	}
	raw, off := t.rest()[:n], t.offset(0)
	t.pos += n
	switch c {
	case '{':
		if last != nil {
			last.learn(raw)
		}
		d.dispatch(raw, off, t.fixed, layer)
	case '"':
		d.quoted(raw, off, layer)
	default:
		d.refuse(ReasonNotCloudTrail, off, raw, "an array where a record was expected")
	}
	return true
}

// valueEnd is where the value at the front of t ends, if that is within a record's limit; an object is parsed into d.w on the
// way.
func (d *Decoder) valueEnd(t *text) int {
	for {
		b := t.rest()
		b = b[:min(len(b), d.limits.RecordBytes)]
		var n int
		if b[0] == '{' {
			n = d.parse(b)
		} else {
			d.reset(b)
			n = d.skip(0, d.limits.Depth)
		}
		if n != cutOff || t.src == nil || len(b) == d.limits.RecordBytes {
			return n
		}
		t.fill(min(2*len(b)+lookahead, d.limits.RecordBytes))
	}
}

// unparsed deals with the value at the front of t, whose end valueEnd has not found, and why not.
func (d *Decoder) unparsed(t *text, layer int, last *model, why int) bool {
	if why == notJSON {
		return d.broken(t, layer, last, grammar(d.fillWindow(t)))
	}
	// What is cut off is good as far as it goes, and so its brackets do not close either.
	n, whole := min(len(t.rest()), d.limits.RecordBytes), false
	if why == tooDeep {
		n, whole = t.measure(d.limits.RecordBytes)
	}
	if whole {
		d.refuse(ReasonTooDeep, t.offset(0), t.rest()[:n], d.deepDetail())
		t.pos += n
		return true
	}
	d.effort += int64(n)
	if d.spent(t) {
		return d.abandon(t, ReasonSyntax, "too much is broken to go on looking for records")
	}
	found := verdict{incomplete: true}
	if why == tooDeep {
		found = grammar(d.fillWindow(t))
	}
	return d.broken(t, layer, last, found)
}

// What a Decoder may spend on looking for the ends of values that have none: without a limit, a payload of nothing but
// opening brackets would cost its length squared.
const (
	effortBytes = 64 << 20
	effortShare = 8 // times the length of what has been decoded
	// hopeless is after how many refusals the rest of a payload is one: a gzip bomb of broken records must not keep a
	// transaction open.
	hopeless = 100 * maxRefusals
)

func (d *Decoder) spent(t *text) bool {
	return d.effort > effortBytes+effortShare*(t.base+int64(t.pos))
}

// closes is where the brackets of the value at the front of t close within window, 0 if they do not.
func (d *Decoder) closes(t *text, window []byte) int {
	if !startsValue(window[0]) || d.spent(t) {
		return 0
	}
	var s brackets
	n, done := s.scan(window)
	if !done {
		d.effort += int64(n)
		return 0
	}
	return n
}

// fillWindow makes a whole record available, as far as one may be, and something behind it.
func (d *Decoder) fillWindow(t *text) []byte {
	t.fill(d.limits.RecordBytes + lookahead)
	rest := t.rest()
	return rest[:min(len(rest), d.limits.RecordBytes)]
}

// broken refuses the value at the front of t, which is no good record, and finds out where to go on behind it.
func (d *Decoder) broken(t *text, layer int, last *model, found verdict) bool {
	off := t.offset(0)
	window := d.fillWindow(t)
	rest := t.rest()
	bad := found.bad
	if d.payload && d.refusals >= hopeless {
		t.pos = len(t.buf)
		d.refuse(ReasonSyntax, off, rest, "")
		return false
	}
	if (found.incomplete || bad != nil) && last == nil && window[0] == '{' {
		if at := listAt(window, len(window)); at > 0 {
			return d.lists(t, layer, at)
		}
	}
	switch {
	case bad != nil:
		at := max(0, int(bad.Offset)-1)
		reason, detail := ReasonSyntax, ""
		if strings.Contains(bad.Error(), "max depth") {
			reason, detail = ReasonTooDeep, d.deepDetail()
		} else if !d.payload || d.refusals < maxRefusals {
			detail = fmt.Sprintf("broken JSON: %s, %d bytes into the record", clip(bad.Error()), at)
		}
		n := 0
		if last == nil {
			n = d.resyncLine(t, window)
		} else {
			n = d.resyncList(t, window, at, last)
		}
		if n == 0 {
			return d.abandon(t, reason, detail)
		}
		d.refuse(reason, off, trimRight(rest[:n]), detail)
		t.pos += n
		return true
	case !found.incomplete:
		raw := window[:found.end]
		t.pos += found.end
		d.refuse(ReasonNotCloudTrail, off, raw, kindOf(raw)+" where a record was expected")
		return true
	case len(rest) == len(window):
		return d.ended(t)
	}
	var ok bool
	if t.src == nil {
		ok = t.discard()
		rest = rest[:len(rest)-len(t.rest())]
	} else {
		d.head = t.head(d.head)
		ok = t.discard()
		rest = d.head
	}
	reason, detail := t.untilCut(ReasonTooLarge, fmt.Sprintf("a record of more than %d bytes", d.limits.RecordBytes))
	d.refuse(reason, off, rest, detail)
	return ok
}

func (d *Decoder) deepDetail() string {
	return fmt.Sprintf("a record with more than %d levels", d.limits.Depth)
}

// ended refuses what is left of a text that ends too early.
func (d *Decoder) ended(t *text) bool {
	why := t.cut
	if why == nil {
		why = &cut{ReasonTruncated, "the text ends in the middle"}
	}
	raw := t.rest()
	if len(raw) > 0 && why.reason == ReasonTruncated {
		why.detail = "the text ends in the middle of a record"
	}
	d.refuse(why.reason, t.offset(0), raw, why.detail)
	t.cut = nil
	t.pos = len(t.buf)
	return false
}

// abandon refuses all up to the next line that starts like a record, because nothing between says where one begins.
func (d *Decoder) abandon(t *text, r Reason, detail string) bool {
	d.discardLine(t, 0, false, r, detail)
	return false
}

func (d *Decoder) discardLine(t *text, from int, anyLine bool, r Reason, detail string) {
	off := t.offset(0)
	var raw []byte
	if t.src == nil {
		raw = t.rest()
		t.discardToLine(from, anyLine)
		raw = raw[:len(raw)-len(t.rest())]
	} else {
		start := t.base + int64(t.pos)
		d.head = t.head(d.head)
		t.discardToLine(from, anyLine)
		raw = d.head[:min(int64(len(d.head)), t.base+int64(t.pos)-start)]
	}
	r, detail = t.untilCut(r, detail)
	d.refuse(r, off, trimRight(raw), detail)
}

// resyncList says how much of an element of a list is broken: up to where its brackets close, if a separator follows; else
// up to the comma before something that starts like the last good record did, or like this one. 0: no saying. The break
// was found at bytes into the element, and window is how far to look. Brackets go first, because what starts like a record
// may lie inside of one.
func (d *Decoder) resyncList(t *text, window []byte, at int, last *model) int {
	if n := d.closes(t, window); n > 0 {
		behind := bytes.TrimLeft(t.rest()[n:], " \t\r\n")
		if len(behind) > 0 && (behind[0] == ',' || behind[0] == ']') {
			return n
		}
	} else if !startsValue(window[0]) {
		if n := bytes.IndexAny(window, ",]"); n > 0 {
			return n
		}
	}
	mark := last.marker
	if len(mark.text) == 0 {
		mark = markerOf(window)
	}
	for from := max(1, at-len(mark.text)); from < len(window); {
		i := mark.find(window, from)
		if i < 0 {
			break
		}
		before := trimRight(window[:i])
		if len(before) > 1 && before[len(before)-1] == ',' {
			return len(before) - 1
		}
		from = i + 1
	}
	return 0
}

// resyncLine says how much of a value between lines is broken: up to where its brackets close, or up to the next line
// that starts like a record, whichever comes first. 0: no saying.
func (d *Decoder) resyncLine(t *text, window []byte) int {
	line := 0
	for i := 0; line == 0; i++ {
		j := bytes.IndexByte(window[i:], '\n')
		if i += j; j < 0 || i+1 == len(window) {
			break
		}
		if startsLine(window[i+1]) {
			line = i
		}
	}
	if line > 0 {
		window = window[:line]
	}
	if n := d.closes(t, window); n > 0 {
		return n
	}
	return line
}

// token decodes what starts like no object, array or string: base64, null, or nothing good.
func (d *Decoder) token(t *text, layer int) {
	rest := t.rest()
	if looksBase64(rest) {
		d.base64Line(t, layer)
		return
	}
	word := rest[:min(len(rest), 32)]
	if i := bytes.IndexAny(word, " \t\r\n"); i >= 0 {
		word = word[:i]
	}
	off := t.offset(0)
	switch {
	case string(word) == "null":
		t.pos += len(word)
		d.h.Skip(SkipEmptyPayload)
	case d.isWord(word):
		t.pos += len(word)
		d.refuse(ReasonNotCloudTrail, off, word, kindOf(word)+" where a record was expected")
	default:
		rest = rest[:min(len(rest), 2*quoteBytes)]
		d.discardLine(t, 0, true, ReasonNotJSON, "neither JSON nor gzip nor base64 of either: "+quote(rest))
	}
}

// isWord tells a number, boolean or null.
func (d *Decoder) isWord(b []byte) bool {
	d.reset(b)
	return d.skip(0, 0) == len(b)
}

// base64Line decodes the line at the front of t.
func (d *Decoder) base64Line(t *text, layer int) {
	n := 0
	for {
		rest := t.rest()
		for n < len(rest) && isBase64(rest[n]) {
			n++
		}
		if n < len(rest) || t.src == nil || n > carrierBytes {
			break
		}
		t.fill(2*n + lookahead)
	}
	off := t.offset(0)
	if n > carrierBytes {
		d.discardLine(t, n, true, ReasonTooLarge, fmt.Sprintf("base64 of more than %d bytes", carrierBytes))
		return
	}
	line := t.rest()[:n]
	t.pos += n
	d.base64(line, line, off, layer)
}

// base64 decodes what text carries; raw is what to refuse if it carries nothing.
func (d *Decoder) base64(text, raw []byte, off int64, layer int) {
	if layer == maxLayers {
		d.refuse(ReasonLayers, off, raw, layersDetail)
		return
	}
	l := &d.layers[layer+1]
	encoding := base64.RawStdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	text = bytes.TrimRight(text, "=")
	if need := encoding.DecodedLen(len(text)); cap(l.binary) < need {
		l.binary = make([]byte, need)
	}
	n, err := encoding.Decode(l.binary[:cap(l.binary)], text)
	if err != nil {
		d.refuse(ReasonBase64, off, raw, "damaged base64: "+clip(err.Error()))
		return
	}
	d.carried(l.binary[:n], layer+1, 0, false)
}

const layersDetail = "too many envelopes around each other"

// looksBase64 tells base64 of gzip, of an object and of an array, which start so.
func looksBase64(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	if string(b[:4]) == "H4sI" {
		return true
	}
	second := 'w' <= b[1] && b[1] <= 'z' || isDigit(b[1]) || b[1] == '+' || b[1] == '/'
	return (b[0] == 'e' || b[0] == 'W') && second
}

func isBase64(c byte) bool {
	switch c {
	case '+', '/', '-', '_', '=':
		return true
	}
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
}
