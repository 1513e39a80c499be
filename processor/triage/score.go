package triage

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/topics"
)

// The points of the alert score. Each names what speaks for or against an intrusion, and how much; they add up to the score,
// which is cut at 0 and 100. They were chosen on simulated organisations and are reported on others (loadtest/evaluate).
const (
	pointsNewCountry   = 34.0 // the principal was never there, and has a history
	pointsNewRegion    = 15.0 // the same for an AWS region
	pointsOutsideAWS   = 25.0 // a principal that was only ever seen inside AWS, or an instance that was seen nowhere
	pointsMethod       = 0.15 // of the method score, where the principal has a history
	pointsFirstUse     = 55.0 // times the share of the methods that the principal calls for the first time
	pointsUsualWork    = -15.0
	pointsUsualStart   = -9.0 // the same of fewer methods, with the usual device, where others of the organisation are
	pointsOrganisation = 0.20 // of the score of the place over all methods, where the principal has a history
	pointsNewClient    = 20.0
	pointsNewTool      = 8.0 // only the tool is new, the system is not
	pointsNewKey       = 10.0
	pointsHosting      = 8.0  // from a network, new to the principal, that anyone can rent a way through
	pointsOverlap      = 15.0 // elsewhere at a time that leaves no way
	pointsHour         = 8.0
	pointsDenied       = 10.0
	pointsUsualDevice  = -11.0
	pointsTraveller    = -10.0
	pointsColleagues   = -4.0 // others of the organisation are there, and the device is the usual one
	pointsAttackTool   = 20.0 // the client is one that intruders use, whatever is known of the principal

	// Of a principal without a history only the place can speak, and for whom it is unusual: each new colleague in a young office
	// is the first there to call some method, but not the first to call any.
	pointsMethodAlone             = 0.25
	pointsOrganisationAlone       = 0.45
	pointsMethodAloneRegion       = 0.25
	pointsOrganisationAloneRegion = 0.25
)

const (
	// usedDays is after how many days of presence a place is no news by itself, to the devices that the principal has.
	usedDays = 4
	// settledDays is after how many of them nothing that is new about what happens there is news, and another stay begins: whoever
	// makes a place look used, quietly and for days, is still in the stay that began as news when he goes to work.
	settledDays = 14
	// wholeHistory is from how many days of history on the profile speaks with its full weight; with longKnown of it at the least
	// once knownDays have gone by, for one who is seldom seen is no stranger.
	wholeHistory = 5
	knownDays    = 14
	longKnown    = 0.8
	// travellerCountries make a traveller.
	travellerCountries = 3
	// officeSize is how many others in a place make it a new office.
	officeSize = 3
	// firstUses give their points in full; workMethods, hardly any of them new, are the principal's usual work.
	firstUses   = 5
	workMethods = 5
	workShare   = 0.15
	// sweepMethods, all denied, make a sweep.
	sweepMethods = 3
)

// judgement is a score and a hash of all that explains it, so that a change of either is seen.
type judgement struct {
	score int64 // hundredths
	why   uint64
}

func (t *Task) dayOf(pane int64) int64 { return pane / daySeconds }

// weigh scores a group by what the profile says as of its first event: only what is older counts, for the intruder's own
// sightings are in the profile by now.
func (t *Task) weigh(p *profile, g *group, place string) (float64, alert.Context) {
	start := t.paneOf(g.first)
	day := t.dayOf(start)
	c := alert.Context{Since: p.since, Days: int64(p.days.before(day))}
	if c.Since >= start {
		c.Since = 0
	}
	c.AllSince, c.AccountSince = t.since[""], t.since[g.lead.Visit.Evidence.Account]
	region := strings.HasPrefix(place, "aws:")

	hereDays, countries, inAWS, private, others := 0, 0, 0, 0, 0
	hourKnown := false
	for i := range p.places {
		e := &p.places[i]
		if e.first >= start {
			continue
		}
		if e.name == place {
			hereDays = e.days.before(day)
			if hereDays == 0 { // earlier on the same day
				hereDays = 1
			}
			c.HereDays, c.HereSince = int64(hereDays), e.first
			continue
		}
		others++
		switch {
		case e.name == topics.PrivatePlace:
			private++
		case strings.HasPrefix(e.name, "aws:"):
			inAWS++
		default:
			countries++
		}
		if e.name == topics.PrivatePlace { // which may be anywhere
		} else if unit, ok := e.panes.last(start / t.width); ok && unit*t.width > c.From.Last {
			km, _ := geo.Distance(e.name, place)
			c.From = alert.Journey{Place: e.name, Last: unit * t.width, Hours: (start - unit*t.width) / 3600, Kilometres: int64(km)}
		}
		hourKnown = hourKnown || e.hours.near(hourOfWeek(start))
		c.Places = append(c.Places, alert.Seen{Name: e.name, Days: int64(e.days.before(day)), Last: min(e.last, start)})
	}
	slices.SortFunc(c.Places, func(a, b alert.Seen) int {
		return cmp.Or(cmp.Compare(b.Days, a.Days), cmp.Compare(b.Last, a.Last), cmp.Compare(a.Name, b.Name))
	})
	c.Places = c.Places[:min(len(c.Places), alert.MaxPlaces)]

	newOnes := func(names []string, known []presence) (unknown []string) {
		for _, n := range names {
			if e := find(known, n); e == nil || e.first >= start {
				unknown = append(unknown, n)
			}
		}
		return unknown
	}
	c.Clients, c.Keys, c.Networks = g.clients, g.keys, g.networks.numbers()
	c.NewClients, c.NewKeys, c.NewNetworks = newOnes(g.clients, p.clients), newOnes(g.keys, p.keys), newOnes(c.Networks, p.networks)
	c.Overlap = alert.Overlap{Place: g.overlap.place, Hours: g.overlap.hours, Kilometres: g.overlap.km}
	if o := &g.organisation; o.Visit.Method != "" {
		c.Organisation = o.Distribution
		c.OrganisationScore = o.Score
	}
	c.OrganisationUsual = g.organisation.Visit.Method == ""

	if _, no := slices.BinarySearch(p.refused, place); no {
		hereDays = 0
		c.Labels = append(c.Labels, "malicious before")
	}
	switch g.verdict {
	case benign:
		c.Labels = append(c.Labels, "benign")
	case malicious:
		c.Labels = append(c.Labels, "malicious")
	}
	if _, yes := slices.BinarySearch(p.accepted, place); yes {
		hereDays = settledDays
	}
	home := hereDays > 0 && int64(hereDays) >= c.Days // it was never seen on a day on which it was not here
	history := min(1, float64(c.Days)/wholeHistory)
	if c.Since > 0 && !home {
		history = max(history, longKnown*min(1, float64(day-t.dayOf(c.Since))/knownDays))
	}
	newSystem := slices.ContainsFunc(c.NewClients, func(n string) bool { return !knowsSystem(p, n, start) })
	newKey := len(c.NewKeys) > 0 && len(p.keys) > len(c.NewKeys)
	strange := 1 - min(1, float64(hereDays)/usedDays)
	unsettled := 1 - min(1, float64(hereDays)/settledDays)
	if newSystem || newKey { // who was here on some days need not be who is here now
		strange = unsettled
	}
	if home {
		strange = 0
	}
	speaks := history * strange    // of the place
	changes := history * unsettled // of what is done there, and with what
	methodScore, firstUse, denied := g.lead.Score, 0, 0
	for i := range g.methods {
		if g.methods[i].New {
			firstUse++
		}
		if g.methods[i].Outcome == topics.Denied {
			denied++
		}
	}
	// Most of what could speak says nothing, and is not put into words.
	add := func(name string, points float64, text func() string) {
		if points = math.Round(points*10) / 10; points != 0 {
			c.Factors = append(c.Factors, alert.Factor{Name: name, Points: points, Text: text()})
		}
	}
	usualDevice := c.Days > 0 && len(c.NewClients) == 0 && len(c.NewKeys) == 0 && len(g.clients) > 0
	here := func() string { return alert.PlaceName(place) }
	methodAlone, organisationAlone := pointsMethodAlone, pointsOrganisationAlone
	if region {
		methodAlone, organisationAlone = pointsMethodAloneRegion, pointsOrganisationAloneRegion
	}
	add("method", methodScore*(history*pointsMethod+(1-history)*methodAlone), func() string {
		return fmt.Sprintf("%s scores %.0f of 100 for its countries", g.lead.Visit.Method, methodScore)
	})
	switch {
	case region:
		add("new place", speaks*pointsNewRegion, func() string { return fmt.Sprintf("seen on %s, never from %s", days(c.Days), here()) })
	case hereDays > 0:
		add("new place", speaks*pointsNewCountry, func() string { return fmt.Sprintf("seen in %s on %d of %s before", here(), hereDays, days(c.Days)) })
	default:
		add("new place", speaks*pointsNewCountry, func() string { return fmt.Sprintf("seen on %s, never from %s", days(c.Days), here()) })
	}
	switch {
	case region:
	case others > 0 && inAWS == others:
		add("outside AWS", speaks*pointsOutsideAWS, func() string { return "seen only inside AWS until now" })
	case others == private && isInstance(g.lead.Visit.Evidence.SessionName):
		add("outside AWS", strange*pointsOutsideAWS, func() string {
			return fmt.Sprintf("credentials of the EC2 instance %s, used outside AWS", g.lead.Visit.Evidence.SessionName)
		})
	}
	if n := len(g.methods); n > 0 && private == 0 { // what it calls by private addresses is in no window
		share := float64(firstUse) / float64(n)
		switch {
		case firstUse > 0 && (n < workMethods || share >= workShare):
			add("first use", changes*pointsFirstUse*share*min(1, float64(firstUse)/firstUses), func() string {
				return fmt.Sprintf("of %d unusual methods it had called %d nowhere within the window", n, firstUse)
			})
		case n >= workMethods || firstUse == 0 && usualDevice && (c.OrganisationUsual || c.Organisation.Others > 0):
			points, text := pointsUsualWork, fmt.Sprintf("of %d unusual methods it calls %d elsewhere", n, n-firstUse)
			if n < workMethods {
				points = pointsUsualStart
			}
			if firstUse == 0 {
				text = "what is unusual here it calls elsewhere"
			}
			add("usual work", changes*points, func() string { return text })
		}
	}
	add("organisation", strange*c.OrganisationScore*(history*pointsOrganisation+(1-history)*organisationAlone), func() string {
		return fmt.Sprintf("%s is unusual for the whole organisation: others there: %d", here(), c.Organisation.Others)
	})
	if len(c.NewClients) > 0 {
		points, text := pointsNewClient, "client it never used before: %s"
		if !newSystem {
			points, text = pointsNewTool, "tool it never used before, on a system that it does use: %s"
		}
		add("new client", changes*points, func() string { return fmt.Sprintf(text, strings.Join(c.NewClients, ", ")) })
	}
	strangers := g.clients // to the principal
	if c.Days > 0 {
		strangers = c.NewClients
	}
	if i := slices.IndexFunc(strangers, topics.IsAttackTool); i >= 0 {
		add("attack tool", pointsAttackTool, func() string { return fmt.Sprintf("a client that intruders use: %s", strangers[i]) })
		c.Labels = append(c.Labels, "attack tool")
	}
	if newKey {
		add("new key", changes*pointsNewKey, func() string { return fmt.Sprintf("access key never used before: %s", strings.Join(c.NewKeys, ", ")) })
	}
	if i := slices.IndexFunc(g.networks, func(n network) bool { return slices.Contains(c.NewNetworks, n.Number) && t.hosting(n.Number, n.Name) }); i >= 0 {
		add("hosting network", pointsHosting, func() string {
			return fmt.Sprintf("from a hosting or VPN network: %s", strings.TrimSpace(g.networks[i].Number+" "+g.networks[i].Name))
		})
		c.Labels = append(c.Labels, "hosting network")
	}
	shared := t.shared(p, place, start)
	if shared {
		c.Labels = append(c.Labels, "shared principal")
	}
	if o := &c.Overlap; o.Place != "" && !region && !shared {
		add("two places", strange*pointsOverlap, func() string {
			return fmt.Sprintf("also in %s, at least %d km away, within %d h", alert.PlaceName(o.Place), o.Kilometres, o.Hours)
		})
	}
	if others > 0 && c.Days >= 10 && !hourKnown {
		add("hour", speaks*pointsHour, func() string { return "never active at this hour" })
	}
	if len(g.methods) >= sweepMethods && denied == len(g.methods) {
		add("denied", pointsDenied, func() string { return fmt.Sprintf("all of %d unusual methods were denied", denied) })
	}
	if usualDevice && !region {
		add("usual device", changes*pointsUsualDevice, func() string { return "the principal's usual client and key" })
		c.Labels = append(c.Labels, "usual device")
	}
	if countries >= travellerCountries {
		add("traveller", changes*pointsTraveller, func() string { return fmt.Sprintf("seen in %d countries before", countries) })
		c.Labels = append(c.Labels, "traveller")
	}
	if c.Organisation.Others >= officeSize && usualDevice {
		add("colleagues", changes*pointsColleagues, func() string {
			return fmt.Sprintf("%d others of the organisation are there, and the device is the usual one", c.Organisation.Others)
		})
		c.Labels = append(c.Labels, "new office")
	}
	if c.Days < wholeHistory {
		c.Labels = append(c.Labels, "new principal")
	}
	if !g.timely {
		c.Labels = append(c.Labels, "late")
	}
	score := 0.0
	for i := range c.Factors {
		score += c.Factors[i].Points
	}
	return math.Round(100*min(max(score, 0), 100)) / 100, c
}

// days is a number of days, as a person says it.
func days(n int64) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// isInstance says whether a session has the name that EC2 gives to those of an instance's role: the instance's id.
func isInstance(session string) bool {
	id, ok := strings.CutPrefix(session, "i-")
	return ok && (len(id) == 8 || len(id) == 17) && strings.Trim(id, "0123456789abcdef") == ""
}

// knowsSystem says whether the principal used another client on the same system before start.
func knowsSystem(p *profile, client string, start int64) bool {
	_, system, ok := strings.Cut(client, topics.ClientSystem)
	return ok && slices.ContainsFunc(p.clients, func(k presence) bool {
		_, known, _ := strings.Cut(k.name, topics.ClientSystem)
		return known == system && k.first < start
	})
}

// shared says whether several people seem to use the principal: before start it was in two places at once, with no way
// between them.
func (t *Task) shared(p *profile, place string, start int64) bool {
	for i := range p.places {
		a := &p.places[i]
		if a.name == place || a.first >= start {
			continue
		}
		for j := range p.places[:i] {
			b := &p.places[j]
			if b.name == place || b.first >= start {
				continue
			}
			if km, ok := geo.Distance(a.name, b.name); ok && km > impossibleSpeed && a.panes.until(start/t.width).meets(b.panes) {
				return true
			}
		}
	}
	return false
}

// judged hashes what a version of an alert says of its context.
func judged(score float64, c *alert.Context) judgement {
	h := xxhash.New()
	fmt.Fprintf(h, "%+v", *c)
	return judgement{score: int64(math.Round(score * 100)), why: h.Sum64()}
}
