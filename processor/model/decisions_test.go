package model

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// decided are the counters of what people decided and what came of it: each must have happened.
var decided = []string{
	"exceptions", "exceptions removed", "exceptions expired", "held back by an exception", "told once its exception was gone",
	"excepted by principal", "excepted by role or network", "excepted by account", "excepted by country", "excepted by client",
	"excepted by method",
	"verdicts benign", "verdicts malicious", "verdicts on no alert", "retractions", "visits taken back",
}

// never are those of decided that must never have happened: nobody here has a role or a network.
var never = map[string]bool{"excepted by role or network": true}

// checkDecided says which of decided happened too seldom, or at all where they must not.
func checkDecided(met map[string]int, least int) error {
	var errs []error
	for _, what := range decided {
		if n := met[what]; never[what] && n > 0 || !never[what] && n < least {
			errs = append(errs, fmt.Errorf("%s: happened %d times", what, n))
		}
	}
	return errors.Join(errs...)
}

// clients are what people of the histories call with.
var clients = []string{
	"aws-cli/2.15.32 os/linux#6.1", "aws-cli/2.15.32 os/linux#6.1", "aws-cli/2.15.32 os/linux#6.1", "Boto3/1.34 os/macos#14",
}

// exception makes up one that holds from created on, if it expires then within life.
func exception(rng *rand.Rand, serial int, created, life int64) *topics.Exception {
	// An id that says nothing of when it was made: where several match, the first id counts.
	e := &topics.Exception{ID: fmt.Sprintf("%04x-%d", rng.IntN(1<<16), serial), Reason: "model", Author: "model", Created: created}
	if rng.IntN(2) == 0 {
		e.Expires = created + 1 + rng.Int64N(life)
	}
	for range 1 + rng.IntN(2) {
		switch rng.IntN(8) {
		case 0:
			e.Principal = account + "/user/u" + strconv.Itoa(rng.IntN(20))
		case 1:
			e.Principal = account + "/user/u" + strconv.Itoa(rng.IntN(10)) + "*"
		case 2:
			e.Place = []string{"DE", "BR", "N*", "*"}[rng.IntN(4)]
		case 3:
			e.Client = []string{"aws-cli*", "Boto3 on macos", "*linux"}[rng.IntN(3)]
		case 4:
			e.Method = []string{"iam:*User", "iam:M1", "iam:*", "*:List*s"}[rng.IntN(4)]
		case 5:
			e.Account, e.Place = account[:4]+"*", "BR"
		case 6:
			e.Account, e.Method = strings.Repeat("9", 12), "*"
		default:
			if e.Role = "Admin*"; rng.IntN(2) == 0 {
				e.Role, e.Network = "", "*"
			}
		}
	}
	return e
}

// verdict makes up one about some alert.
func verdict(rng *rand.Rand, b *alert.Brief, created int64) *topics.Verdict {
	v := &topics.Verdict{Principal: b.Principal, AlertID: b.ID, Malicious: rng.IntN(3) > 0, Author: "model", Created: created}
	if rng.IntN(10) == 0 {
		v.AlertID = strings.Repeat("0", 32)
	}
	return v
}

// people is what follows, by a reading of the documents alone, from what people decided: which versions of alerts exceptions keep
// back, what verdicts have alerts say, and which retractions they lead to.
type people struct {
	exceptions map[string]*topics.Exception // in force, by id
	values     map[string]string            // their records
	day        int64                        // of stream time
	now        int64                        // timestamp of the record that is heard
	newest     map[string]*alert.Alert      // by id: the newest version
	where      map[string]string            // by id: "sent", "cap" or "exception"
	found      map[string]string            // by id: the verdict
	refused    map[presence]bool            // principal and place: the last verdict was malicious
	due        map[string]bool              // retractions that the record must lead to, encoded
	met        map[string]int
	errs       []error
}

func newPeople() *people {
	return &people{
		exceptions: map[string]*topics.Exception{}, values: map[string]string{}, newest: map[string]*alert.Alert{}, where: map[string]string{},
		found: map[string]string{}, refused: map[presence]bool{}, due: map[string]bool{}, met: map[string]int{},
	}
}

func (p *people) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// hear takes a record of triage's input before triage does. It keeps value.
func (p *people) hear(value []byte, created int64) error {
	p.now = created
	switch topics.KindOf(value) {
	case topics.KindSighting:
		var s topics.Sighting
		err := s.Decode(value)
		p.advance(s.Visit.Evidence.EventTime)
		return err
	case topics.KindAnomaly:
		var a topics.Anomaly
		err := a.Decode(value)
		p.advance(a.Visit.Evidence.EventTime)
		return err
	case topics.KindException:
		e := &topics.Exception{}
		if err := e.Decode(value); err != nil {
			return err
		}
		if !e.Removed {
			p.met["exceptions"]++
			p.exceptions[e.ID], p.values[e.ID] = e, string(value)
			return nil
		}
		if p.exceptions[e.ID] != nil {
			p.met["exceptions removed"]++
		}
		delete(p.exceptions, e.ID)
		delete(p.values, e.ID)
		return nil
	}
	var v topics.Verdict
	if err := v.Decode(value); err != nil {
		return err
	}
	a := p.newest[v.AlertID]
	if a == nil {
		p.met["verdicts on no alert"]++
		return nil
	}
	p.found[v.AlertID] = "benign"
	at := presence{principal: v.Principal, place: a.Lead.Visit.Place}
	if p.refused[at] = v.Malicious; v.Malicious {
		p.found[v.AlertID] = "malicious"
		methods := []string{topics.AnyMethod}
		for _, m := range a.Methods {
			methods = append(methods, m.Name)
		}
		for _, m := range methods {
			r := topics.Retraction{
				Method: m, Place: at.place, Principal: at.principal, From: paneOf(a.First), To: paneOf(a.Last), AlertID: v.AlertID,
			}
			p.due[string(r.Append(nil))] = true
		}
	}
	p.met["verdicts "+p.found[v.AlertID]]++
	return nil
}

// advance forgets, at each new day, the exceptions that have expired.
func (p *people) advance(eventTime int64) {
	day := eventTime / (24 * 3600 * 1000)
	if day <= p.day {
		return
	}
	p.day = day
	for id, e := range p.exceptions {
		if e.Expires != 0 && e.Expires <= p.now {
			p.met["exceptions expired"]++
			delete(p.exceptions, id)
			delete(p.values, id)
		}
	}
}

// glob matches a text whole, with * for anything.
func glob(pattern, text string) bool {
	return pattern == "" || regexp.MustCompile("^"+strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")+"$").MatchString(text)
}

func globAll(pattern string, texts []string) bool {
	for _, t := range texts {
		if !glob(pattern, t) {
			return false
		}
	}
	return pattern == "" || len(texts) > 0
}

// exceptionOf is the first exception by its id that an alert falls under.
func (p *people) exceptionOf(a *alert.Alert) *topics.Exception {
	v := &a.Lead.Visit
	methods := []string{v.Method}
	for i, m := range a.Methods {
		methods = append(methods[:i:i], m.Name)
	}
	var first *topics.Exception
	for _, e := range p.exceptions {
		if (e.Expires == 0 || p.now < e.Expires) && glob(e.Principal, v.Principal) && glob(e.Place, v.Place) && glob(e.Account, account) &&
			glob(e.Role, "") && globAll(e.Network, nil) && globAll(e.Client, a.Context.Clients) && globAll(e.Method, methods) &&
			(first == nil || e.ID < first.ID) {
			first = e
		}
	}
	return first
}

// alert takes a version that triage writes.
func (p *people) alert(a *alert.Alert) {
	if a.RollUp != nil {
		return
	}
	was, want, by := p.where[a.ID], a.HeldBack, ""
	switch x := p.exceptionOf(a); {
	case was == "sent":
		want = ""
	case x != nil:
		want, by = "exception", x.ID
		p.met["held back by an exception"]++
		for what, pattern := range map[string]string{
			"principal": x.Principal, "role or network": x.Role + x.Network, "account": x.Account, "country": x.Place, "client": x.Client,
			"method": x.Method,
		} {
			if pattern != "" {
				p.met["excepted by "+what]++
			}
		}
	case was == "exception" && a.Score < threshold:
		want = "exception"
	case a.Score >= 95:
		want = ""
	case a.HeldBack != "":
		want = "cap" // for the tests of triage to judge
	}
	if a.HeldBack != want || a.Exception != by {
		p.fail("version %d of alert %s is held back by %q %q, want %q %q", a.Version, a.ID, a.HeldBack, a.Exception, want, by)
	}
	if was == "exception" && want == "" {
		p.met["told once its exception was gone"]++
	}
	if p.where[a.ID] = want; want == "" {
		p.where[a.ID] = "sent"
	}
	says := map[string]bool{}
	for _, l := range a.Context.Labels {
		says[l] = true
	}
	found, refused := p.found[a.ID], p.refused[presence{principal: a.Lead.Visit.Principal, place: a.Lead.Visit.Place}]
	if says["benign"] != (found == "benign") || says["malicious"] != (found == "malicious") || says["malicious before"] != refused {
		p.fail("version %d of alert %s has the labels %q after the verdict %q, place refused: %t",
			a.Version, a.ID, a.Context.Labels, found, refused)
	}
	if old := p.newest[a.ID]; old != nil && a.Version != old.Version+1 {
		p.fail("version %d of alert %s follows on %d", a.Version, a.ID, old.Version)
	}
	c := *a
	c.Methods = slices.Clone(a.Methods)
	p.newest[a.ID] = &c
}

// retraction takes one that triage writes.
func (p *people) retraction(value []byte) {
	if !p.due[string(value)] {
		p.fail("a retraction that nobody asked for: %q", value)
		return
	}
	p.met["retractions"]++
	delete(p.due, string(value))
}

// done is called when triage has taken the record.
func (p *people) done() {
	if len(p.due) > 0 {
		p.fail("%d retractions were not told", len(p.due))
		clear(p.due)
	}
}

// check holds the exceptions among triage's rows against those in force, and returns all that went wrong.
func (p *people) check(rows view) error {
	got := map[string]string{}
	for k, v := range rows {
		if id, ok := strings.CutPrefix(k, string(state.ExceptionPrefix())); ok {
			got[id] = string(v)
		}
	}
	if d := cmp.Diff(p.values, got); d != "" {
		p.fail("exceptions in force (-want +got):\n%s", d)
	}
	return errors.Join(p.errs...)
}
