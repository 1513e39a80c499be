package demo

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/farcall/farcall/processor/alert"
)

// TestDemo runs the demo as a user would, only faster: every intrusion must be caught, and what is no intrusion named as
// what it is.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the whole demo takes some ten seconds")
	}
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Seed: 7, Out: &out, Live: time.Second, Now: time.Now()}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text := out.String()
	for _, want := range []string{"5 of 5 intrusions caught", "events/s", "Go on:"} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^  caught `).FindAllString(text, -1)); n != 5 {
		t.Errorf("%d plants caught", n)
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestObserverOwnsUp gives the observer alerts that miss a plant and accuse somebody honest: the summary must say both.
func TestObserverOwnsUp(t *testing.T) {
	var out bytes.Buffer
	o := newObserver([]Plant{
		{Name: "stolen key", Kind: Intrusion, Principal: "1/user/alice", Country: "NG"},
		{Name: "missed one", Kind: Intrusion, Principal: "1/user/bob", Country: "VN"},
		{Name: "honest traveller", Kind: Benign, Principal: "1/user/carol", Country: "PT"},
		{Name: "pipeline burst", Kind: Benign, Principal: "1/role/ci", Country: "DE"},
	}, &view{out: &out})
	see := func(id, principal, place string) {
		o.order = append(o.order, id)
		o.seen[id] = alert.Brief{ID: id, Principal: principal, Place: place, Score: 80, MethodsTotal: 2}
		o.first[id] = time.Now()
	}
	see("history", "1/user/zoe", "FR")
	o.live()
	see("a", "1/user/alice", "NG")
	see("b", "1/user/carol", "PT")
	see("c", "1/user/nobody", "BR")
	o.summary(1)
	for _, want := range []string{
		`caught +stolen key`, `MISSED +missed one`, `FALSE +honest traveller`, `quiet +pipeline burst`,
		`1 of 2 intrusions caught; 2 false alarms in the live hours, 1 alert in the thirty days before`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the summary lacks %q:\n%s", want, out.String())
		}
	}
}
