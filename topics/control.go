package topics

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Exception is what a person decided to hear no more about. Every field of the match that is set must match; texts are matched
// whole, with * for any run of characters. It goes to every partition of the principals topic, so that each task of triage meets
// it in the order of its own input, live and replayed, and to the exceptions topic, which lists them.
type Exception struct {
	ID string
	// The match.
	Principal string
	Role      string // name of the role whose session calls
	Account   string // of the caller, or the one that is called
	Place     string
	Network   string // all networks of the alert must match, and so for clients and methods
	Client    string
	Method    string

	Reason, Author   string
	Created, Expires int64 // Unix milliseconds; Expires 0: never
	Removed          bool  // takes back the exception of this ID
}

const exceptionVersion = 1

func (e *Exception) texts() [10]*string {
	return [10]*string{&e.ID, &e.Principal, &e.Role, &e.Account, &e.Place, &e.Network, &e.Client, &e.Method, &e.Reason, &e.Author}
}

// Key is the record key on the exceptions topic.
func (e *Exception) Key() []byte { return []byte(clip(e.ID, MaxKeyBytes)) }

// Check says what is wrong with an exception.
func (e *Exception) Check() error {
	var errs []error
	if e.Principal == "" && e.Role == "" && e.Account == "" && e.Place == "" && e.Network == "" && e.Client == "" && e.Method == "" {
		errs = append(errs, errors.New("it has no condition and would silence every alert"))
	}
	if e.Reason == "" || e.Author == "" {
		errs = append(errs, errors.New("it needs a reason and an author: whoever reads it in a year will ask"))
	}
	if e.Expires != 0 && e.Expires <= e.Created {
		errs = append(errs, fmt.Errorf("it expires at %s, before it begins", time.UnixMilli(e.Expires).UTC().Format(time.RFC3339)))
	}
	return errors.Join(errs...)
}

// Subject is what exceptions look at in an alert. Methods are all that were unusual.
type Subject struct {
	Principal, Role, Place               string
	Accounts, Networks, Clients, Methods []string
}

// Matches says whether an alert falls under the exception. What a pattern says of networks, clients and methods it must say of
// each: an intrusion that also does what is excepted is no exception.
func (e *Exception) Matches(s *Subject) bool {
	return like(e.Principal, s.Principal) && like(e.Role, s.Role) && like(e.Place, s.Place) &&
		slices.ContainsFunc(append(s.Accounts, ""), func(a string) bool { return like(e.Account, a) }) &&
		all(e.Network, s.Networks) && all(e.Client, s.Clients) && all(e.Method, s.Methods)
}

// all says whether a pattern matches each of some texts, and at least one.
func all(pattern string, texts []string) bool {
	return pattern == "" || len(texts) > 0 && !slices.ContainsFunc(texts, func(s string) bool { return !like(pattern, s) })
}

// like matches a text whole, with * for any run of characters. An empty pattern matches all.
func like(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// Match spells the conditions, as the flags of the command line do.
func (e *Exception) Match() string {
	var parts []string
	for _, f := range [...]struct{ name, text string }{
		{"principal", e.Principal}, {"role", e.Role}, {"account", e.Account}, {"country", e.Place}, {"network", e.Network},
		{"client", e.Client}, {"method", e.Method},
	} {
		if f.text != "" {
			parts = append(parts, f.name+"="+f.text)
		}
	}
	return strings.Join(parts, " ")
}

// Append appends the record in the newest version.
func (e *Exception) Append(dst []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindException))
	w.byte(exceptionVersion)
	for _, s := range e.texts() {
		w.string(*s, MaxKeyBytes)
	}
	w.varint(e.Created)
	w.varint(e.Expires)
	w.bool(e.Removed)
	return w.b
}

// Decode reads an exception. Its strings alias b.
func (e *Exception) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindException, exceptionVersion)
	for _, s := range e.texts() {
		*s = r.string()
	}
	e.Created = r.varint()
	e.Expires = r.varint()
	e.Removed = r.bool()
	if r.err == nil && e.ID == "" {
		r.fail("exception without an id")
	}
	return r.end(KindException)
}

// Verdict is what a person found an alert to be. It goes to triage under the principal's key, so that it takes effect in the
// order of its input.
type Verdict struct {
	Principal string
	AlertID   string
	Malicious bool // else benign
	Author    string
	Note      string
	Created   int64 // Unix milliseconds
}

const verdictVersion = 1

// Key is the record key.
func (v *Verdict) Key() []byte { return []byte(clip(v.Principal, MaxKeyBytes)) }

// Word is the verdict in a word.
func (v *Verdict) Word() string {
	if v.Malicious {
		return "malicious"
	}
	return "benign"
}

// Append appends the record in the newest version.
func (v *Verdict) Append(dst []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindVerdict))
	w.byte(verdictVersion)
	w.string(v.Principal, MaxKeyBytes)
	w.string(v.AlertID, MaxKeyBytes)
	w.bool(v.Malicious)
	w.string(v.Author, MaxKeyBytes)
	w.string(v.Note, MaxFieldBytes)
	w.varint(v.Created)
	return w.b
}

// Decode reads a verdict. Its strings alias b.
func (v *Verdict) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindVerdict, verdictVersion)
	v.Principal = r.string()
	v.AlertID = r.string()
	v.Malicious = r.bool()
	v.Author = r.string()
	v.Note = r.string()
	v.Created = r.varint()
	if r.err == nil && (v.Principal == "" || v.AlertID == "") {
		r.fail("verdict without a principal or an alert")
	}
	return r.end(KindVerdict)
}

// Retraction takes what an intruder taught out of the distribution of one method again. It goes to detect under the method's key.
type Retraction struct {
	Scope, Method string
	Place         string
	Principal     string
	From, To      int64 // panes, Unix seconds, both included
	AlertID       string
}

const retractionVersion = 1

// Key is the record key, that of the method's visits.
func (t *Retraction) Key() []byte { return AppendMethodKey(nil, t.Scope, t.Method) }

// Append appends the record in the newest version.
func (t *Retraction) Append(dst []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindRetraction))
	w.byte(retractionVersion)
	for _, s := range [...]string{t.Scope, t.Method, t.Place, t.Principal, t.AlertID} {
		w.string(s, MaxKeyBytes)
	}
	w.varint(t.From)
	w.varint(t.To)
	return w.b
}

// Decode reads a retraction. Its strings alias b.
func (t *Retraction) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindRetraction, retractionVersion)
	for _, s := range [...]*string{&t.Scope, &t.Method, &t.Place, &t.Principal, &t.AlertID} {
		*s = r.string()
	}
	t.From = r.varint()
	t.To = r.varint()
	if r.err == nil && (t.Method == "" || t.Place == "" || t.Principal == "" || t.From > t.To) {
		r.fail("retraction without method, place or principal, or of no time")
	}
	return r.end(KindRetraction)
}
