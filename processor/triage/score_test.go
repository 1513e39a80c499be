package triage

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/topics"
)

// points is a score spelled as its factors.
type points map[string]float64

// TestFactors plays what a principal does in a place where it never was, and holds every factor and the alert.
func TestFactors(t *testing.T) {
	germany := func(d *desk) { d.officeDays("DE", 12) }
	organisation := func(score float64, others int64) topics.Anomaly {
		a := anomaly(topics.AnyMethod, score, "NG", 10*hour)
		a.Distribution.Others = others
		return a
	}
	key := func(s topics.Sighting) topics.Sighting { s.KeyID = "AKIANEW"; return s }
	method := func(score float64, own int64, o topics.Outcome) topics.Anomaly {
		a := anomaly(fmt.Sprint("s:M", score), score, "NG", 10*hour)
		a.Distribution.Own, a.Visit.Outcome = own, o
		return a
	}
	for _, c := range []struct {
		name    string
		history func(*desk)
		do      func(*desk)
		want    points
		labels  []string
		from    string
	}{
		{name: "with the usual device", history: germany,
			do:   func(d *desk) { d.sight(sighting("NG", 10*hour)) },
			want: points{"new place": pointsNewCountry, "usual device": pointsUsualDevice}, labels: []string{"usual device"}},
		{name: "with a client on a system of its own", history: germany,
			do:   func(d *desk) { d.sight(newClient.at("NG", 10*hour)) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient}},
		{name: "with a new tool on the usual system", history: germany,
			do:   func(d *desk) { d.sight(newTool.at("NG", 10*hour)) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewTool}},
		{name: "with a tool of intruders", history: germany,
			do:     func(d *desk) { d.sight(client("aws-cli on kali").at("NG", 10*hour)) },
			want:   points{"new place": pointsNewCountry, "new client": pointsNewClient, "attack tool": pointsAttackTool},
			labels: []string{"attack tool"}},
		{name: "with a tool of intruders, by a principal without a history",
			do:     func(d *desk) { d.sight(client("TruffleHog").at("NG", 10*hour)) },
			want:   points{"attack tool": pointsAttackTool},
			labels: []string{"attack tool", "new principal"}},
		{name: "with a tool of intruders that it always uses",
			history: func(d *desk) {
				for n := range int64(12) {
					d.sight(client("aws-cli on kali").at("DE", (n-12)*day+9*hour))
				}
			},
			do:     func(d *desk) { d.sight(client("aws-cli on kali").at("NG", 10*hour)) },
			want:   points{"new place": pointsNewCountry, "usual device": pointsUsualDevice},
			labels: []string{"usual device"}},
		{name: "with a new key", history: germany,
			do:   func(d *desk) { d.sight(key(sighting("NG", 10*hour))) },
			want: points{"new place": pointsNewCountry, "new key": pointsNewKey}},
		{name: "with a new client and key, at night", history: germany,
			do:   func(d *desk) { d.sight(key(newClient.at("NG", 2*hour))) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "new key": pointsNewKey, "hour": pointsHour}},
		{name: "where nobody of the organisation is", history: germany,
			do:   func(d *desk) { d.sight(newClient.at("NG", 10*hour)); d.find(organisation(80, 0)) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "organisation": 80 * pointsOrganisation}},
		{name: "where colleagues are, with the usual device", history: germany,
			do:     func(d *desk) { d.sight(sighting("NG", 10*hour)); d.find(organisation(20, officeSize)) },
			want:   points{"new place": pointsNewCountry, "usual device": pointsUsualDevice, "organisation": 20 * pointsOrganisation, "colleagues": pointsColleagues},
			labels: []string{"new office", "usual device"}},
		{name: "where colleagues are, with another device", history: germany,
			do:   func(d *desk) { d.sight(newClient.at("NG", 10*hour)); d.find(organisation(20, officeSize)) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "organisation": 20 * pointsOrganisation}},
		{name: "by a method, with the usual device", history: germany,
			do:     func(d *desk) { d.sight(sighting("NG", 10*hour)); d.find(method(80, 3, topics.Allowed)) },
			want:   points{"new place": pointsNewCountry, "usual device": pointsUsualDevice, "method": 80 * pointsMethod, "usual work": pointsUsualStart},
			labels: []string{"usual device"}},
		{name: "by a method, with the usual device, where nobody of the organisation is", history: germany,
			do: func(d *desk) {
				d.sight(sighting("NG", 10*hour))
				d.find(method(80, 3, topics.Allowed))
				d.find(organisation(100, 0))
			},
			want:   points{"new place": pointsNewCountry, "usual device": pointsUsualDevice, "method": 80 * pointsMethod, "organisation": 100 * pointsOrganisation},
			labels: []string{"usual device"}},
		{name: "by a method that it calls elsewhere, with another device", history: germany,
			do:   func(d *desk) { d.sight(newTool.at("NG", 10*hour)); d.find(method(80, 3, topics.Allowed)) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewTool, "method": 80 * pointsMethod}},
		{name: "by a method that it never called, with another device", history: germany,
			do:   func(d *desk) { d.sight(newClient.at("NG", 10*hour)); d.find(method(90, 0, topics.Allowed)) },
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "method": 90 * pointsMethod, "first use": pointsFirstUse / firstUses}},
		{name: "by methods of which it never called some", history: germany,
			do: func(d *desk) {
				d.sight(newClient.at("NG", 10*hour))
				for i := range int64(4) {
					d.find(method(50+float64(i), i%2, topics.Allowed))
				}
			},
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "method": 53 * pointsMethod, "first use": pointsFirstUse * 0.5 * 2 / firstUses}},
		{name: "by methods of its usual work", history: germany,
			do: func(d *desk) {
				d.sight(newTool.at("NG", 10*hour))
				for i := int64(workMethods + 2); i >= 0; i-- {
					d.find(method(20+float64(i), i, topics.Allowed)) // the last one is new
				}
			},
			want: points{"new place": pointsNewCountry, "new client": pointsNewTool, "method": 27 * pointsMethod, "usual work": pointsUsualWork}},
		{name: "a sweep that is denied", history: germany,
			do: func(d *desk) {
				d.sight(newClient.at("NG", 10*hour))
				for i := range int64(sweepMethods) {
					d.find(method(10+float64(i), -1, topics.Denied))
				}
			},
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "method": 12 * pointsMethod, "denied": pointsDenied}},
		{name: "by a principal without a history",
			do:     func(d *desk) { d.find(method(80, 0, topics.Allowed)) },
			want:   points{"method": 80 * pointsMethodAlone},
			labels: []string{"new principal"}},
		{name: "by a service role without a history", from: "aws:eu-west-1",
			do:     func(d *desk) { a := method(80, 0, topics.Allowed); a.Visit.Place = "aws:eu-west-1"; d.find(a) },
			want:   points{"method": 80 * pointsMethodAloneRegion},
			labels: []string{"new principal"}},
		{name: "by a principal without a history, where nobody of the organisation is",
			do:     func(d *desk) { d.find(method(80, 0, topics.Allowed)); d.find(organisation(100, 0)) },
			want:   points{"method": 80 * pointsMethodAlone, "organisation": 100 * pointsOrganisationAlone},
			labels: []string{"new principal"}},
		{name: "by a principal of two days, where nobody of the organisation is",
			history: func(d *desk) { d.officeDays("DE", 2) },
			do:      func(d *desk) { d.find(organisation(100, 0)) },
			want:    points{"new place": pointsNewCountry * 0.4, "organisation": 100 * (pointsOrganisation*0.4 + pointsOrganisationAlone*0.6)},
			labels:  []string{"new principal"}},
		{name: "by a principal that is seldom seen", history: func(d *desk) { d.sight(sighting("DE", -20*day)); d.sight(sighting("DE", -10*day)) },
			do:     func(d *desk) { d.sight(newClient.at("NG", 10*hour)) },
			want:   points{"new place": pointsNewCountry * longKnown, "new client": pointsNewClient * longKnown},
			labels: []string{"new principal"}},
		{name: "by a young principal in the only place where it ever was", from: "DE", history: func(d *desk) { d.sight(sighting("DE", -4*day)); d.sight(sighting("DE", -5*day)) },
			do:     func(d *desk) { d.sight(newClient.at("DE", 10*hour)) },
			want:   points{"new client": pointsNewClient * 0.4 * 12 / 14},
			labels: []string{"new principal"}},
		{name: "by a role that was only ever seen by private addresses", history: func(d *desk) { d.officeDays(topics.PrivatePlace, 12) },
			do: func(d *desk) {
				s := newClient.at("NG", 10*hour)
				s.Visit.Evidence.SessionName = "i-0123456789abcdef0"
				d.sight(s)
				a := method(80, 0, topics.Allowed)
				a.Visit.Evidence.SessionName = s.Visit.Evidence.SessionName
				d.find(a)
			},
			want: points{"new place": pointsNewCountry, "new client": pointsNewClient, "outside AWS": pointsOutsideAWS, "method": 80 * pointsMethod}},
		{name: "by a principal without a history, and nothing unusual",
			do:     func(d *desk) { d.sight(newClient.at("NG", 10*hour)) },
			want:   points{},
			labels: []string{"new principal"}},
		{name: "by a role that was only ever inside AWS", history: func(d *desk) { d.officeDays("aws:us-east-1", 12) },
			do:   func(d *desk) { d.sight(newClient.at("NG", 10*hour)) },
			want: points{"new place": pointsNewCountry, "outside AWS": pointsOutsideAWS, "new client": pointsNewClient}},
		{name: "by the credentials of an instance that nothing is known of",
			do: func(d *desk) {
				s := sighting("NG", 10*hour)
				s.Visit.Evidence.SessionName = "i-0123456789abcdef0"
				d.sight(s)
			},
			want: points{"outside AWS": pointsOutsideAWS}, labels: []string{"new principal"}},
		{name: "by a session that only looks like an instance's",
			do: func(d *desk) {
				s := sighting("NG", 10*hour)
				s.Visit.Evidence.SessionName = "i-0123456789abcdefg"
				d.sight(s)
			},
			want: points{}, labels: []string{"new principal"}},
		{name: "into another region", history: func(d *desk) { d.officeDays("aws:us-east-1", 12) }, from: "aws:eu-west-1",
			do:   func(d *desk) { d.sight(sighting("aws:eu-west-1", 10*hour)) },
			want: points{"new place": pointsNewRegion}},
		{name: "by a traveller", from: "NG",
			history: func(d *desk) {
				for i, place := range []string{"FR", "JP", "US", "DE"} {
					for n := range int64(5) {
						d.sight(sighting(place, (int64(i)*5+n-20)*day+9*hour))
					}
				}
			},
			do:     func(d *desk) { d.sight(sighting("NG", 9*hour)) },
			want:   points{"new place": pointsNewCountry, "usual device": pointsUsualDevice, "traveller": pointsTraveller},
			labels: []string{"traveller", "usual device"}},
		{name: "where it was once before",
			history: func(d *desk) { d.officeDays("DE", 12); d.sight(newTool.at("NG", -7*day)) },
			do:      func(d *desk) { d.sight(newClient.at("NG", 10*hour)) },
			want:    points{"new place": pointsNewCountry * 13 / 14, "new client": pointsNewClient * 13 / 14}},
		{name: "where it was once before, with the usual device",
			history: func(d *desk) { d.officeDays("DE", 12); d.sight(newTool.at("NG", -7*day)) },
			do:      func(d *desk) { d.sight(sighting("NG", 10*hour)) },
			want:    points{"new place": pointsNewCountry * 0.75, "usual device": pointsUsualDevice * 13 / 14}, labels: []string{"usual device"}},
		{name: "where it has been for a week, a fortnight ago",
			history: func(d *desk) {
				d.officeDays("DE", 12)
				for n := range int64(7) {
					d.sight(sighting("NG", (n-20)*day))
				}
			},
			do:   func(d *desk) { d.sight(newClient.at("NG", 10*hour)); d.find(method(100, 0, topics.Allowed)) },
			want: points{"new place": pointsNewCountry / 2, "method": 100 * pointsMethod, "new client": pointsNewClient / 2, "first use": pointsFirstUse / 2 / firstUses}},
		{name: "where it is at home", history: func(d *desk) { d.officeDays("DE", settledDays) }, from: "DE",
			do: func(d *desk) {
				d.sight(newClient.at("DE", 10*hour))
				a := method(100, 0, topics.Allowed)
				a.Visit.Place = "DE"
				d.find(a)
			},
			want:   points{"method": 100 * pointsMethod},
			labels: []string{}},
		{name: "while it is at home",
			history: func(d *desk) { d.officeDays("DE", 12); d.sight(sighting("DE", 10*hour)) },
			do:      func(d *desk) { d.sight(sighting("NG", 10*hour)) },
			want:    points{"new place": pointsNewCountry, "two places": pointsOverlap, "usual device": pointsUsualDevice}, labels: []string{"usual device"}},
		{name: "and is at home an hour later", history: germany,
			do:   func(d *desk) { d.sight(sighting("NG", 10*hour)); d.sight(sighting("DE", 11*hour)) },
			want: points{"new place": pointsNewCountry, "two places": pointsOverlap, "usual device": pointsUsualDevice}, labels: []string{"usual device"}},
		{name: "and is at home a day later", history: germany,
			do:   func(d *desk) { d.sight(sighting("NG", 10*hour)); d.sight(sighting("DE", 34*hour)) },
			want: points{"new place": pointsNewCountry, "usual device": pointsUsualDevice}, labels: []string{"usual device"}},
		{name: "shared by people in two places",
			history: func(d *desk) { d.officeDays("DE", 12); d.officeDays("US", 12); d.sight(sighting("DE", 10*hour)) },
			do:      func(d *desk) { d.sight(sighting("NG", 10*hour)) },
			want:    points{"new place": pointsNewCountry, "usual device": pointsUsualDevice}, labels: []string{"shared principal", "usual device"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			if c.history != nil {
				c.history(d)
			}
			before := len(d.alerts)
			c.do(d)
			place := c.from
			if place == "" {
				place = "NG"
			}
			var g group
			for _, s := range d.staysOf("alice") {
				if s.place == place && s.first >= monday {
					d.load(alert.ID("alice", place, s.day), &g)
				}
			}
			var p profile
			d.profileOf("alice", &p)
			score, context := d.task.weigh(&p, &g, place)
			got, sum := points{}, 0.0
			for _, f := range context.Factors {
				got[f.Name] = f.Points
				sum += f.Points
				if f.Text == "" {
					t.Errorf("factor %s says nothing", f.Name)
				}
			}
			for name := range c.want {
				if _, ok := got[name]; !ok {
					t.Errorf("no factor %q", name)
				}
			}
			for name, p := range got {
				if math.Abs(p-c.want[name]) > 0.051 {
					t.Errorf("factor %q has %g points, want %g", name, p, c.want[name])
				}
			}
			if math.Abs(score-min(max(sum, 0), 100)) > 0.005 {
				t.Errorf("the factors add up to %g, the score is %g", sum, score)
			}
			slices.Sort(context.Labels)
			if !slices.Equal(context.Labels, c.labels) {
				t.Errorf("labels %q, want %q", context.Labels, c.labels)
			}
			if woke := len(d.alerts) > before; woke != (score >= d.cfg.Threshold) {
				t.Errorf("a score of %g wakes somebody: %v", score, woke)
			}
			if of := d.of(place); len(of) == 1 && of[0].Score != score {
				t.Errorf("the alert has a score of %g, the facts make it %g", of[0].Score, score)
			}
		})
	}
}

// TestSightingAlone: an alert needs no unusual method. It leads with the earliest sighting.
func TestSightingAlone(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.officeDays("DE", 12)
	later := newClient.at("NG", 10*hour+1800)
	if got := d.sight(later); got != Created {
		t.Fatalf("a sighting in a new country with a new client is %s", got)
	}
	earlier := newClient.at("NG", 10*hour+60)
	earlier.Network = "AS2"
	if got := d.sight(earlier); got != Updated {
		t.Fatalf("an earlier sighting is %s", got)
	}
	a := d.of("NG")[0]
	if a.Lead.Score != 0 || a.Lead.Visit.Evidence.EventID != earlier.Visit.Evidence.EventID || len(a.Methods) != 0 {
		t.Errorf("it leads with %+v and has %d methods", a.Lead, len(a.Methods))
	}
	if want := []string{"AS1", "AS2"}; !slices.Equal(a.Context.Networks, want) {
		t.Errorf("networks %v, want %v", a.Context.Networks, want)
	}
	// A method that is unusual takes the lead.
	d.find(anomaly("iam:CreateUser", 70, "NG", 12*hour))
	if a = d.of("NG")[0]; a.Lead.Visit.Method != "iam:CreateUser" || len(a.Methods) != 1 {
		t.Errorf("it leads with %s", a.Lead.Visit.Method)
	}
}

// TestAsOf: only what is older than the stay counts. The intruder's sightings come before its anomalies, go on for hours, and
// teach the profile; none of it makes the place, the client or the key known.
func TestAsOf(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.officeDays("DE", 12)
	for h := int64(10); h < 58; h++ {
		s := newClient.at("NG", h*hour)
		s.KeyID = "AKIANEW"
		d.sight(s)
	}
	d.find(anomaly("iam:CreateUser", 90, "NG", 57*hour))
	a := d.of("NG")[0]
	c := &a.Context
	if c.HereDays != 0 || c.HereSince != 0 || c.Days != 12 || len(c.Places) != 1 || c.Places[0].Name != "DE" || c.Places[0].Days != 12 {
		t.Errorf("here on %d days since %d, seen on %d days in %+v", c.HereDays, c.HereSince, c.Days, c.Places)
	}
	if !slices.Equal(c.NewClients, []string{string(newClient)}) || !slices.Equal(c.NewKeys, []string{"AKIANEW"}) || len(c.NewNetworks) != 0 {
		t.Errorf("new: clients %v, keys %v, networks %v", c.NewClients, c.NewKeys, c.NewNetworks)
	}
	before := a.Score
	// A late event of an earlier day counts, for it is older.
	late := newTool.at("NG", -3*day)
	late.Visit.Quiet = topics.Late
	d.sight(late)
	d.find(anomaly("iam:CreateRole", 20, "NG", 57*hour+1))
	if a = d.of("NG")[0]; a.Context.HereDays != 1 || a.Score >= before {
		t.Errorf("here on %d days, the score went from %g to %g", a.Context.HereDays, before, a.Score)
	}
}

// TestQuiet: what comes late or is imported wakes nobody and teaches all the same; a timely word about the same stay wakes.
func TestQuiet(t *testing.T) {
	for _, quiet := range []topics.Quiet{topics.Late, topics.Imported} {
		t.Run(quiet.String(), func(t *testing.T) {
			d := newDesk(t, DefaultConfig())
			d.officeDays("DE", 12)
			s, a := newClient.at("NG", 10*hour), anomaly("iam:CreateUser", 90, "NG", 10*hour)
			s.Visit.Quiet, a.Visit.Quiet = quiet, quiet
			if got := d.sight(s); got != Below {
				t.Errorf("the sighting is %s", got)
			}
			if got := d.find(a); got != Below || d.written != 0 {
				t.Errorf("the anomaly is %s", got)
			}
			var p profile
			if d.profileOf("alice", &p); find(p.places, "NG") == nil || find(p.clients, string(newClient)) == nil {
				t.Error("it taught nothing")
			}
			if got := d.find(anomaly("iam:CreateUser", 90, "NG", 11*hour)); got != Created {
				t.Errorf("the timely anomaly is %s", got)
			}
			if got := d.of("NG")[0]; got.First != monday*1000+10*hour*1000 || slices.Contains(got.Context.Labels, "late") {
				t.Errorf("the alert begins at %d, with labels %v", got.First, got.Context.Labels)
			}
		})
	}
	t.Run("imported history is history", func(t *testing.T) {
		d := newDesk(t, DefaultConfig())
		d.officeDays("DE", 20)
		for n := range int64(settledDays) {
			s := newClient.at("NG", (n-20)*day)
			s.Visit.Quiet = topics.Imported
			d.sight(s)
		}
		if d.sight(newClient.at("NG", 10*hour)); d.written != 0 {
			t.Error("a place that imported history knows woke somebody")
		}
	})
}

// TestMadeToLookUsed: who does only what the victim does, with the victim's client, and for days while the victim is away, is in
// one stay with what he does then.
func TestMadeToLookUsed(t *testing.T) {
	for quiet := int64(1); quiet < settledDays; quiet++ {
		d := newDesk(t, DefaultConfig())
		d.officeDays("DE", 12)
		for n := range quiet {
			if d.sight(sighting("NG", n*day+10*hour)); d.written != 0 {
				t.Fatalf("the usual device wakes somebody on day %d", n)
			}
		}
		d.sight(newClient.at("NG", quiet*day+10*hour))
		a := anomaly("iam:CreateUser", 40, "NG", quiet*day+10*hour)
		a.Distribution.Own = 0
		d.find(a)
		of := d.of("NG")
		if len(of) != 1 {
			t.Fatalf("after %d quiet days there are %d alerts", quiet, len(of))
		}
		if of[0].Context.HereDays != 0 || !slices.Equal(of[0].Context.NewClients, []string{string(newClient)}) {
			t.Errorf("after %d quiet days: here on %d days, new clients %v", quiet, of[0].Context.HereDays, of[0].Context.NewClients)
		}
	}
}
