package alert

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/segmentio/encoding/json"
)

// Brief is what a line about an alert shows, read back from its ECS document.
type Brief struct {
	ID, Message, Reason, Severity    string
	Version, MethodsTotal            int64
	Score                            float64
	Time                             time.Time
	Method, Principal, Place, Source string
	EventID                          string
	Account, Target, Role            string // account of the caller, and the one that was called
	Clients, Networks, Methods       []string
	HeldBack                         string
	RollUp                           bool
}

// ParseBrief reads an ECS document that this or an older farcall wrote.
func ParseBrief(doc []byte) (Brief, error) {
	var d ecsDoc
	if err := json.Unmarshal(doc, &d); err != nil {
		return Brief{}, fmt.Errorf("alert is no ECS document of farcall: %w", err)
	}
	at, err := time.Parse(time.RFC3339, d.Timestamp)
	if err != nil || d.Farcall.AlertID == "" {
		return Brief{}, fmt.Errorf("alert is no ECS document of farcall: no alert id or time in %.100q", doc)
	}
	b := Brief{
		Account: d.AWS.CloudTrail.UserIdentity.AccountID, Target: d.AWS.CloudTrail.RecipientAccountID, Clients: d.Farcall.Profile.Clients, Networks: d.Farcall.Profile.Networks,
		HeldBack: d.Farcall.HeldBack, RollUp: d.Farcall.RollUp != nil,
		ID: d.Farcall.AlertID, Message: d.Message, Reason: d.Event.Reason, Severity: d.Farcall.Severity, Version: d.Farcall.Version,
		MethodsTotal: d.Farcall.MethodsTotal, Score: d.Farcall.Score, Time: at, Method: d.Farcall.Method, Principal: d.Farcall.Principal,
		Place: d.Farcall.Place, Source: d.Source.Address, EventID: d.AWS.CloudTrail.EventID,
	}
	if i := d.AWS.CloudTrail.UserIdentity.SessionContext.SessionIssuer; i != nil {
		b.Role = RoleName(i.ARN)
	}
	if b.Method == "" { // a notice of silence is about none
		b.Method = d.Rule.Name
	}
	for _, m := range d.Farcall.Methods {
		b.Methods = append(b.Methods, m.Name)
	}
	return b, nil
}

// RoleName is the last part of a role's ARN, "" of anything else.
func RoleName(arn string) string {
	_, role, _ := strings.Cut(arn, ":role/")
	return role[strings.LastIndexByte(role, '/')+1:]
}

// Brief is the brief of an alert that was not encoded.
func (a *Alert) Brief() Brief {
	v := &a.Lead.Visit
	b := Brief{
		Account: v.Evidence.PrincipalAccount, Target: v.Evidence.Account, Role: RoleName(v.Evidence.IssuerARN), Clients: a.Context.Clients, Networks: a.Context.Networks,
		HeldBack: a.HeldBack, RollUp: a.RollUp != nil,
		ID: a.ID, Message: a.Title(), Reason: a.Reason(), Severity: SeverityOf(a.Score).String(), Version: a.Version,
		MethodsTotal: int64(len(a.Methods)) + a.Dropped, Score: a.Score, Time: time.UnixMilli(v.Evidence.EventTime).UTC(),
		Method: v.Method, Principal: v.Principal, Place: v.Place, Source: v.Evidence.Address, EventID: v.Evidence.EventID,
	}
	for i := range a.Methods {
		b.Methods = append(b.Methods, a.Methods[i].Name)
	}
	return b
}

// WriteHeader writes the column names of WriteLine.
func WriteHeader(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%-16s  %5s  %-8s  %-14s  %-33s  %s\n", "TIME (UTC)", "SCORE", "SEVERITY", "PLACE", "METHOD", "PRINCIPAL")
	return err
}

// WriteLine writes an alert in two lines: what, and why.
func (b Brief) WriteLine(w io.Writer, color bool) error {
	method := b.Method
	if b.MethodsTotal > 1 {
		method += fmt.Sprintf(" +%d", b.MethodsTotal-1)
	}
	severity := fmt.Sprintf("%-8s", clip(b.Severity, 8))
	reason := printable(b.Reason)
	if color {
		severity = map[string]text.Colors{"low": {text.FgCyan}, "medium": {text.FgYellow}, "high": {text.FgHiRed, text.Bold}, "critical": {text.BgRed, text.FgHiWhite}}[b.Severity].Sprint(severity)
		reason = text.Colors{text.Faint}.Sprint(reason)
	}
	_, err := fmt.Fprintf(w, "%s  %5.1f  %s  %-14s  %-33s  %s\n%18s%s\n", b.Time.Format("2006-01-02 15:04"), b.Score, severity,
		clip(b.Place, 14), clip(method, 33), middle(b.Principal, 60), "", reason)
	return err
}

func clip(s string, n int) string {
	s = printable(s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// middle leaves out the middle of a long text: account and name stay readable.
func middle(s string, n int) string {
	r := []rune(printable(s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n/2]) + "…" + string(r[len(r)-(n-n/2-1):])
}

// printable keeps what an intruder put into a name away from a terminal: control characters, which command it, and
// characters that show nothing or turn the direction of the text around.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}
