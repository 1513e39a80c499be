// Package alert holds what a person or a SIEM sees: one alert for one intrusion, built from anomalies, and its encoding in
// the Elastic Common Schema. It decides nothing: scores and grouping come from detect and triage.
package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/topics"
)

// Severity is one of Elastic's four: consumers map rules and colours by these numbers.
type Severity int

// The severities.
const (
	Low      Severity = 21
	Medium   Severity = 47
	High     Severity = 73
	Critical Severity = 99
)

func (s Severity) String() string {
	switch s {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	case Critical:
		return "critical"
	}
	return "severity " + strconv.Itoa(int(s))
}

// SeverityOf maps an alert score to a severity.
func SeverityOf(score float64) Severity {
	switch {
	case score >= 95:
		return Critical
	case score >= 80:
		return High
	case score >= 65:
		return Medium
	}
	return Low
}

// Method is one unusual method of an alert.
type Method struct {
	Name    string
	Score   float64
	Level   topics.Level
	Outcome topics.Outcome
	First   int64 // event time of its first visit, Unix milliseconds
	EventID string
	Account string
	New     bool // the principal had not called it within the window, from anywhere
}

// Factor is one thing that speaks for an intrusion, with points above zero, or against one.
type Factor struct {
	Name   string
	Points float64
	Text   string
}

// Seen is how long a principal was seen in a place.
type Seen struct {
	Name string
	Days int64 // distinct days, of the last 64 of its presence there
	Last int64 // Unix seconds
}

// Overlap is another place that the principal was in at a time that leaves no way between the two. Place is "" for none.
type Overlap struct {
	Place      string
	Hours      int64 // apart at the most
	Kilometres int64 // apart at the least
}

// Journey is the way from where the principal was last. Place is "" for nowhere.
type Journey struct {
	Place      string
	Last       int64 // last pane there, Unix seconds
	Hours      int64 // from then to the first pane of the stay
	Kilometres int64 // apart at the least
}

// Context is what is known of the principal, as of the first event of the alert.
type Context struct {
	Since     int64 // first pane ever, Unix seconds; 0 for none before
	Days      int64 // distinct days with a presence anywhere, of the last 64
	HereDays  int64 // the same for the place of the alert
	HereSince int64
	Places    []Seen // the others, most days first, at most MaxPlaces

	Clients, Keys, Networks          []string // seen in the place
	NewClients, NewKeys, NewNetworks []string // of these, not seen with the principal before
	Overlap                          Overlap
	From                             Journey

	// OrganisationUsual says that the place is usual for the organisation; else Organisation has its distribution over all
	// methods, and OrganisationScore its score.
	OrganisationUsual bool
	Organisation      topics.Distribution
	OrganisationScore float64

	// AllSince and AccountSince are the first panes of anything, and of the account that was called, among the principals of the
	// task: how much history there is to judge by.
	AllSince, AccountSince int64

	Earlier int64    // alerts about the principal that began before
	Labels  []string // what the stay looks like
	Factors []Factor // they add up to the score, which is cut at 0 and 100
}

// MaxPlaces is how many other places of the principal an alert names.
const MaxPlaces = 5

// Alert is one intrusion: one stay of one principal in one place. A later version of the same ID replaces an earlier one.
type Alert struct {
	ID string
	// Version grows with every change, whether it is above the threshold or not. The highest is the last word.
	Version int64
	Score   float64
	Created int64 // Unix milliseconds: when this version was made
	First   int64 // event times, Unix milliseconds
	Last    int64
	Outcome topics.Outcome // of all that was called
	// Lead is the anomaly that tells most: of the highest score, the earliest.
	Lead topics.Anomaly
	// Where no method is unusual, it has the visit of the first sighting and a score of 0.
	// Methods are ordered by First. Dropped counts those past MaxMethods.
	Methods []Method
	Dropped int64
	// Window and Pane are the settings that the scores were made with.
	Window, Pane time.Duration
	Context      Context
	// HeldBack says what kept the alert from the SIEM, "cap" or "exception"; "" if nothing did. Exception is the latter's id.
	HeldBack, Exception string
	// RollUp is set for an alert about alerts.
	RollUp *RollUp
}

// RollUp announces alerts that the cap held back in a window of stream time. The rest of its Alert is about the strongest of
// them. It grows while more are held back, and its last version tells the whole count once the window is over.
type RollUp struct {
	Held              int64
	Low, Medium, High int64  // of these, by severity
	Strongest         string // id of the strongest, on the topic of alerts held back
	From, To          int64  // Unix milliseconds
}

// RollUpID is the identity of the roll-up of a window, by its start in Unix milliseconds, of one partition of triage.
func RollUpID(partition int32, window int64) string {
	h := sha256.New()
	fmt.Fprintf(h, "farcall roll-up 1\x00%d\x00%d", partition, window)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// MaxMethods is how many methods an alert names.
const MaxMethods = 100

// ID is the identity of the alert about a stay of a principal in a place that began on a day, given as its first second, Unix
// time: 128 bits of SHA-256, in hex. It depends on nothing else, so that a replay makes the same.
func ID(principal, place string, day int64) string {
	b := append(make([]byte, 0, 256), "farcall alert 1\x00"...)
	b = append(append(b, principal...), 0)
	b = append(append(b, place...), 0)
	sum := sha256.Sum256(strconv.AppendInt(b, day, 10))
	return hex.EncodeToString(sum[:16])
}

// PlaceName is a place as a person calls it.
func PlaceName(place string) string {
	if region, ok := strings.CutPrefix(place, "aws:"); ok {
		return "AWS region " + region
	}
	if place == topics.PrivatePlace {
		return "private addresses"
	}
	if name := geo.CountryName(place); name != "" {
		return name
	}
	return place
}

// Title is one line that names what happened.
func (a *Alert) Title() string {
	if r := a.RollUp; r != nil {
		return fmt.Sprintf("%s alerts were held back by the cap between %s and %s UTC", group(r.Held), clock(r.From), clock(r.To))
	}
	v := &a.Lead.Visit
	what := v.Method
	if n := int64(len(a.Methods)) + a.Dropped - 1; n == 1 {
		what += " and 1 other method"
	} else if n > 1 {
		what += fmt.Sprintf(" and %d other methods", n)
	}
	return fmt.Sprintf("%s called from %s by %s", what, PlaceName(v.Place), v.Principal)
}

// Reason says in one sentence what speaks for an intrusion and against it, with the counts behind it.
func (a *Alert) Reason() string {
	if r := a.RollUp; r != nil {
		return fmt.Sprintf("%s of high severity, %s medium, %s low; the strongest scores %.0f: alert %s on the topic of alerts held back", group(r.High), group(r.Medium), group(r.Low), a.Score, r.Strongest)
	}
	parts := []string{a.where()}
	c := &a.Context
	if o := &c.Overlap; o.Place != "" {
		parts = append(parts, fmt.Sprintf("it was also in %s, at least %s km away, within %d h", PlaceName(o.Place), group(o.Kilometres), max(1, o.Hours)))
	}
	if len(c.NewClients) == 0 && len(c.Clients) > 0 && c.Days > 0 {
		parts = append(parts, "with its usual client")
	}
	usualWork := ""
	for _, f := range c.Factors {
		switch f.Name {
		case "new client":
			parts = append(parts, "with a "+f.Text)
		case "outside AWS":
			if !a.leavesAWS() { // or else it was said with the place
				parts = append(parts, f.Text)
			}
		case "attack tool":
			if len(c.NewClients) == 0 {
				parts = append(parts, "with "+f.Text)
			}
		case "new key", "hosting network", "hour", "traveller": // nothing else here tells them
			parts = append(parts, f.Text)
		case "usual work":
			usualWork = f.Text
		}
	}
	if w := a.changes(); len(w) > 1 || len(w) == 1 && w[0] != a.Lead.Visit.Method {
		parts = append(parts, "it was allowed to call "+strings.Join(w, ", "))
	}
	first := int64(0)
	for i := range a.Methods {
		if a.Methods[i].New {
			first++
		}
	}
	switch n := int64(len(a.Methods)); {
	case usualWork != "":
		parts = append(parts, usualWork)
	case first == 0 || c.Days == 0:
	case n == 1:
		parts = append(parts, "it had not called the method "+a.span()+", from anywhere")
	default:
		parts = append(parts, fmt.Sprintf("%s of its %s unusual methods it had not called %s, from anywhere", group(first), group(n), a.span()))
	}
	switch others := c.Organisation.Others; {
	case c.OrganisationUsual:
	case others == 0:
		parts = append(parts, "nobody else of the organisation was there")
	case others == 1:
		parts = append(parts, "one other of the organisation was there")
	default:
		parts = append(parts, group(others)+" others of the organisation were there")
	}
	if a.Lead.Score > 0 {
		parts = append(parts, a.unusual())
	}
	if a.Outcome == topics.Denied {
		parts = append(parts, "all calls were denied")
	}
	return strings.Join(parts, "; ")
}

// where says what the principal's own history makes of the place.
func (a *Alert) where() string {
	c := &a.Context
	here := PlaceName(a.Lead.Visit.Place)
	switch {
	case c.Days == 0 && c.Since == 0:
		return "the principal was never seen before"
	case c.Days == 0:
		return "the principal was never seen before that day"
	}
	seen := group(c.Days) + " days"
	if c.Days == 1 {
		seen = "1 day"
	}
	var usual []string
	for _, p := range c.Places[:min(3, len(c.Places))] {
		usual = append(usual, PlaceName(p.Name))
	}
	from := ""
	if len(usual) > 0 {
		from = " from " + strings.Join(usual, ", ")
	}
	if c.HereDays > 0 {
		return fmt.Sprintf("the principal was in %s on %d of %s before%s", here, c.HereDays, seen, strings.Replace(from, " from ", ", else in ", 1))
	}
	if a.leavesAWS() {
		return fmt.Sprintf("the principal, seen on %s%s, was never outside AWS before, and is in %s now", seen, from, here)
	}
	return fmt.Sprintf("the principal, seen on %s%s, was never in %s before", seen, from, here)
}

// leavesAWS says whether the principal has a history, all of it inside AWS.
func (a *Alert) leavesAWS() bool {
	inAWS := func(place string) bool { return strings.HasPrefix(place, "aws:") }
	return len(a.Context.Places) > 0 && !inAWS(a.Lead.Visit.Place) && !slices.ContainsFunc(a.Context.Places, func(s Seen) bool { return !inAWS(s.Name) })
}

// maxChanges is how many of them a reason names.
const maxChanges = 3

// changes names the allowed methods that change something, those first with which intruders stay or hide, then the most unusual.
func (a *Alert) changes() []string {
	var named []*Method
	for i := range a.Methods {
		if m := &a.Methods[i]; m.Outcome&topics.Allowed != 0 && isChange(m.Name) {
			named = append(named, m)
		}
	}
	slices.SortStableFunc(named, func(a, b *Method) int {
		return cmp.Or(cmp.Compare(rank(a.Name), rank(b.Name)), cmp.Compare(b.Score, a.Score), cmp.Compare(a.Name, b.Name))
	})
	var names []string
	for _, m := range named {
		if len(names) < maxChanges && !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

// changing are the first words of methods that change something.
var changing = [...]string{
	"Accept", "Add", "Associate", "Attach", "Authorize", "Cancel", "Change", "Copy", "Create", "Deactivate", "Delete", "Deregister", "Detach", "Disable",
	"Disassociate", "Enable", "Import", "Invoke", "Leave", "Modify", "Move", "Purge", "Put", "Reboot", "Register", "Remove", "Replace", "Reset", "Restore",
	"Resync", "Revoke", "Run", "Schedule", "Send", "Set", "Share", "Start", "Stop", "Terminate", "Update", "Upload",
}

func isChange(method string) bool {
	_, name, _ := strings.Cut(method, ":")
	for _, word := range changing {
		if rest, ok := strings.CutPrefix(name, word); ok && (rest == "" || 'A' <= rest[0] && rest[0] <= 'Z') {
			return true
		}
	}
	return false
}

// rank of a method among changes: who may do what, and who watches, come first.
func rank(method string) int {
	service, _, _ := strings.Cut(method, ":")
	switch service {
	case "iam", "cloudtrail", "guardduty", "organizations", "sso", "sso-directory", "identitystore", "signin":
		return 0
	case "config", "kms", "secretsmanager", "securityhub", "access-analyzer", "logs", "lambda", "ssm":
		return 1
	}
	return 2
}

// span is how far back the windows reach, as a person says it.
func (a *Alert) span() string {
	if days := int(a.Window.Hours() / 24); days >= 2 {
		return fmt.Sprintf("in %d days", days)
	}
	return "in " + a.Window.String()
}

// unusual says why the lead's place is unusual for its method.
func (a *Alert) unusual() string {
	d := &a.Lead.Distribution
	v := &a.Lead.Visit
	span := a.span()
	var b strings.Builder
	switch {
	case d.PlaceVisits == 0 && d.PlaceSince == 0:
		fmt.Fprintf(&b, "%s was never called from %s before", v.Method, PlaceName(v.Place))
	case d.PlaceVisits == 0:
		fmt.Fprintf(&b, "%s was not called from %s %s", v.Method, PlaceName(v.Place), span)
		if d.PlaceLast > 0 {
			fmt.Fprintf(&b, " (last on %s)", day(d.PlaceLast))
		}
	default:
		fmt.Fprintf(&b, "%s came from %s in %s of %s visits %s", v.Method, PlaceName(v.Place), group(d.PlaceVisits), group(d.Visits), span)
		if d.Support < d.PlaceVisits {
			fmt.Fprintf(&b, ", %s of them by one principal", group(d.PlaceVisits-d.Support+1))
		}
	}
	if len(d.Top) > 0 {
		b.WriteString(" (usual: ")
		for i, pc := range d.Top[:min(3, len(d.Top))] {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %s", pc.Place, group(pc.Visits))
		}
		fmt.Fprintf(&b, " of %s visits)", group(d.Visits))
	}
	return b.String()
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04") }

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }

// group writes a number with its thousands apart.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
