package triage

import (
	"fmt"
	"slices"
	"testing"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/topics"
)

// TestStays tells which presences make one stay. Panes are hours after monday.
func TestStays(t *testing.T) {
	type seen struct {
		place   string
		hour    int64
		settled bool
	}
	const gap = stayGap / hour
	for _, c := range []struct {
		name    string
		seen    []seen
		alerted bool // every stay, as soon as it begins
		want    []string
	}{
		{"one", []seen{{"NG", 0, false}}, false, []string{"NG 0..0"}},
		{"hours", []seen{{"NG", 0, false}, {"NG", 5, false}, {"NG", 3, false}}, false, []string{"NG 0..5"}},
		{"over a weekend", []seen{{"NG", 20, false}, {"NG", 20 + 61, false}}, false, []string{"NG 20..81"}},
		{"the longest gap", []seen{{"NG", 0, false}, {"NG", gap, false}}, false, []string{fmt.Sprint("NG 0..", gap)}},
		{"too long a gap", []seen{{"NG", 0, false}, {"NG", gap + 1, false}}, false, []string{"NG 0..0", "NG 73..73"}},
		{"too long a gap, the later first", []seen{{"NG", gap + 1, false}, {"NG", 0, false}}, false, []string{"NG 0..0", "NG 73..73"}},
		{"the later first", []seen{{"NG", 40, false}, {"NG", 0, false}}, false, []string{"NG 0..40"}},
		{"two places", []seen{{"NG", 0, false}, {"VN", 1, false}, {"NG", 2, false}}, false, []string{"NG 0..2", "VN 1..1"}},
		{"no news any more", []seen{{"NG", 0, false}, {"NG", 30, true}, {"NG", 31, true}}, false, []string{"NG 0..0", "NG 30..31"}},
		{"no news, but somebody was woken", []seen{{"NG", 0, false}, {"NG", 30, true}}, true, []string{"NG 0..30"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l stays
			for _, s := range c.seen {
				e, _ := l.at(s.place, monday+s.hour*hour, s.settled)
				e.alerted = c.alerted
				if _, again := l.at(s.place, monday+s.hour*hour, s.settled); again {
					t.Errorf("%+v changed something the second time", s)
				}
			}
			var got []string
			for _, s := range l {
				got = append(got, fmt.Sprintf("%s %d..%d", s.place, (s.first-monday)/hour, (s.last-monday)/hour))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("stays %v, want %v", got, c.want)
			}
		})
	}
}

// TestStayEnds: a stay without a pause ends after 30 days, so that its alert has an end.
func TestStayEnds(t *testing.T) {
	var l stays
	for d := int64(0); d <= 61; d++ {
		e, _ := l.at("NG", monday+d*day, false)
		e.alerted = true
	}
	var days []int64
	for _, s := range l {
		days = append(days, (s.day-monday)/day)
		if s.last-s.first > maxStay {
			t.Errorf("a stay of %d days", (s.last-s.first)/day)
		}
	}
	if want := []int64{0, 31}; !slices.Equal(days, want) {
		t.Errorf("stays began on the days %v, want %v", days, want)
	}
}

// TestStaysAreBounded: of too many stays the ones that went on last are remembered.
func TestStaysAreBounded(t *testing.T) {
	var l stays
	for i := range int64(3 * maxStays) {
		l.at("home", monday+i*hour, true)
		l.at(fmt.Sprint("place ", i), monday+i*hour, false)
	}
	if len(l) != maxStays || l[1].place != fmt.Sprint("place ", 2*maxStays+1) {
		t.Errorf("%d stays, the second in %s", len(l), l[1].place)
	}
	if home := l[0]; home.place != "home" || home.first != monday || home.last != monday+(3*maxStays-1)*hour {
		t.Errorf("the one that went on all the time is %+v", home)
	}
}

// TestOneIntrusionIsOneAlert: what an intruder does from Friday evening to Monday morning is one alert that grows.
func TestOneIntrusionIsOneAlert(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.officeDays("DE", 12)
	const friday = 4 * day
	for _, h := range []int64{20, 21, 22, 23, 24 + 3, 72 + 9, 72 + 10} { // the last two on Monday
		d.sight(newClient.at("NG", friday+h*hour))
		d.find(anomaly(fmt.Sprint("iam:M", h), 90, "NG", friday+h*hour+60))
	}
	of := d.of("NG")
	if len(of) != 1 || len(d.alerts) != 1 {
		t.Fatalf("%d alerts about the intrusion, %d in all", len(of), len(d.alerts))
	}
	a := of[0]
	if first, last := (a.First/1000-monday-friday)/hour, (a.Last/1000-monday-friday)/hour; first != 20 || last != 82 || len(a.Methods) != 7 {
		t.Errorf("it goes from hour %d to %d with %d methods", first, last, len(a.Methods))
	}
	if a.ID != alert.ID("alice", "NG", monday+friday) {
		t.Errorf("its id does not follow from principal, place and first day")
	}
	// The next time is another alert, which says so.
	d.sight(client("curl on freebsd").at("VN", friday+14*day))
	if of = d.of("VN"); len(of) != 1 || of[0].Context.Earlier != 1 {
		t.Errorf("ten days later: %+v", of)
	}
}

// TestNewHomeIsOneAlert: who moves and stays is one alert, or none, and no news from then on.
func TestNewHomeIsOneAlert(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.officeDays("DE", 12)
	for n := range int64(60) {
		for h := int64(9); h < 17; h++ {
			d.sight(newClient.at("FR", n*day+h*hour))
			d.find(anomaly(fmt.Sprint("iam:M", n), 60, "FR", n*day+h*hour))
		}
	}
	if n := len(d.of("FR")); n != 1 {
		t.Errorf("%d alerts about one who moved", n)
	}
	if n := len(d.alerts); n != 1 {
		t.Errorf("%d alerts in all", n)
	}
}

// TestManyMethods: an alert names some and counts the rest.
func TestManyMethods(t *testing.T) {
	d := newDesk(t, easily())
	const n = alert.MaxMethods + 17
	for i := range int64(n) {
		d.find(anomaly(fmt.Sprintf("s:M%03d", i), 100, "NG", i))
	}
	a := d.of("NG")[0]
	if len(a.Methods) != alert.MaxMethods || a.Dropped != n-alert.MaxMethods {
		t.Errorf("%d methods named, %d counted", len(a.Methods), a.Dropped)
	}
	if a.Methods[0].Name != "s:M000" {
		t.Errorf("the first is %s", a.Methods[0].Name)
	}
	denied := anomaly("s:M000", 95, "NG", 5)
	denied.Visit.Outcome = topics.Denied
	d.find(denied)
	if m := d.of("NG")[0].Methods[0]; m.Outcome != topics.Allowed|topics.Denied || m.Score != 100 || m.First != monday*1000 {
		t.Errorf("the first is %+v after its second anomaly", m)
	}
}
