// Package alert holds what a person or a SIEM sees: one alert for one intrusion, built from anomalies, and its encoding in
// the Elastic Common Schema. It decides nothing: scores and grouping come from detect and triage.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// SeverityOf maps an alert score to a severity. The method score alone never makes an alert critical: a busy method meets
// its first traveller with a score of 100.
func SeverityOf(score float64) Severity {
	switch {
	case score >= 90:
		return High
	case score >= 75:
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
}

// Alert is one intrusion: what one principal did from one place within one pane. A later version of the same ID replaces
// an earlier one.
type Alert struct {
	ID string
	// Version grows with every anomaly that joins, whether it is above the threshold or not: it does not depend on the
	// order in which they come, and the highest is the last word.
	Version int64
	Score   float64
	Created int64 // Unix milliseconds: when this version was made
	First   int64 // event times, Unix milliseconds
	Last    int64
	// Lead is the anomaly that tells most: of the highest score, the earliest.
	Lead topics.Anomaly
	// Methods are ordered by First. Dropped counts those past MaxMethods.
	Methods []Method
	Dropped int64
	// Window and Pane are the settings that the scores were made with.
	Window, Pane time.Duration
}

// MaxMethods is how many methods an alert names.
const MaxMethods = 100

// ID is the identity of the alert about a principal in a place in a pane: 128 bits of SHA-256, in hex. It depends on
// nothing else, so that a replay makes the same.
func ID(principal, place string, pane int64) string {
	h := sha256.New()
	fmt.Fprintf(h, "farcall alert 1\x00%s\x00%s\x00%d", principal, place, pane)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// PlaceName is a place as a person calls it.
func PlaceName(place string) string {
	if region, ok := strings.CutPrefix(place, "aws:"); ok {
		return "AWS region " + region
	}
	if name := geo.CountryName(place); name != "" {
		return name
	}
	return place
}

// Title is one line that names what happened.
func (a *Alert) Title() string {
	v := &a.Lead.Visit
	what := v.Method
	if n := int64(len(a.Methods)) + a.Dropped - 1; n == 1 {
		what += " and 1 other method"
	} else if n > 1 {
		what += fmt.Sprintf(" and %d other methods", n)
	}
	return fmt.Sprintf("%s called from %s by %s", what, PlaceName(v.Place), v.Principal)
}

// Reason says in one sentence why the lead is unusual, with the counts behind it.
func (a *Alert) Reason() string {
	d := &a.Lead.Distribution
	v := &a.Lead.Visit
	days := int(a.Window.Hours() / 24)
	span := fmt.Sprintf("in %d days", days)
	if days < 2 {
		span = "in " + a.Window.String()
	}
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
		b.WriteString("; usual: ")
		for i, pc := range d.Top[:min(3, len(d.Top))] {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %s", pc.Place, group(pc.Visits))
		}
		fmt.Fprintf(&b, " of %s visits", group(d.Visits))
	}
	switch v.Outcome {
	case topics.Denied:
		b.WriteString("; the call was denied")
	}
	return b.String()
}

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }

// group writes a number with its thousands apart.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
