package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// sameClientShare is how often an intruder's client is of the kind that the victim uses.
const sameClientShare = .25

// newKeyShare is how often an intruder works with a temporary key made from the stolen one.
const newKeyShare = .2

// quietDays are how long a patient intruder only does what the victim does, with the victim's client, a few times a day.
const quietDays = 6

// awayDays are how long the victim of a patient intruder calls nothing, where the intruder has waited for that: a holiday.
const awayDays = 14

// intrude plants the intrusions of each kind over the judged days. No two have the same victim, and countries new to the
// organisation are used again only when all of them were, so that intrusions teach each other little.
func (g *generator) intrude() error {
	used := map[uint32]bool{}
	virgin := slices.Clone(g.virgin)
	newCountry := func() string {
		if len(virgin) == 0 {
			virgin = slices.Clone(g.virgin)
		}
		c := virgin[0]
		virgin = virgin[1:]
		return c
	}
	// The kinds that want a user's key come first, as long as there are users.
	for _, kind := range []string{farKey, lowAndSlow, colleagues, hosting, deniedSweep, housekeeping, homeCountry, roleOutside, patient, patientAway} {
		for i := range g.world.incidents {
			r := rand.New(rand.NewPCG(g.seed, mix(uint64(i), uint64(len(g.incidents))+77)))
			span := int(g.judgedFrom)
			length := 2 * hour
			switch kind {
			case lowAndSlow:
				length = 5 * day
			case patient, patientAway:
				length = (quietDays + 1) * day
			}
			room := g.days*day - span - length
			if room < day {
				room = day
			}
			at := span + r.IntN(room)
			newOrHosting := func() string {
				if r.Float64() < .5 {
					return pick(r, hostingCountries)
				}
				return newCountry()
			}
			if kind == roleOutside {
				m := g.robbed(r, used, at)
				if m == nil {
					return fmt.Errorf("world %s has too few machines to rob %d of them", g.world.name, g.world.incidents)
				}
				c := newOrHosting()
				g.plant(r, kind, m.principal, c, machineRegion(g, m), []string{m.agent}, m.methods, at)
				continue
			}
			p := g.victim(r, used, kind, at)
			if p == nil {
				return fmt.Errorf("world %s has too few people to rob %d of them for each kind of intrusion", g.world.name, g.world.incidents)
			}
			c := ""
			switch kind {
			case farKey:
				c = newCountry()
			case colleagues:
				c = g.colleagueCountry(r, p)
			case patient, patientAway:
				if c = newOrHosting(); r.Float64() < .5 {
					c = g.colleagueCountry(r, p)
				}
			case hosting:
				c = pick(r, hostingCountries)
			case homeCountry:
				c = p.home
			default:
				c = newOrHosting()
			}
			if kind == patientAway { // first, since the first stay of a day is where a person is
				p.stays = slices.Insert(p.stays, 0, stay{from: at/day - 1, to: at/day - 1 + awayDays, country: p.home})
			}
			g.plant(r, kind, p.principals[0], c, pick(r, g.regions), p.agents, p.methods, at)
		}
	}
	return nil
}

func machineRegion(g *generator, m *machine) string {
	if m.region != "" {
		return m.region
	}
	return g.regions[0]
}

// robbed picks a machine role that runs within AWS.
func (g *generator) robbed(r *rand.Rand, used map[uint32]bool, at int) *machine {
	for range 100_000 {
		m := pick(r, g.machines)
		if m.region != "" && g.principals[m.principal].kind == role && !used[m.principal] && m.from*day < at {
			used[m.principal] = true
			return m
		}
	}
	return nil
}

// victim picks somebody who is at home: newcomers, people with a VPN and roles that a team shares are robbed too.
func (g *generator) victim(r *rand.Rand, used map[uint32]bool, kind string, at int) *person {
	on := at / day
	for range 100_000 {
		p := pick(r, g.people)
		k := g.principals[p.principals[0]].kind
		ok := !used[p.principals[0]] && p.joined < on
		switch kind {
		case farKey, lowAndSlow:
			ok = ok && k == iamUser
		case patient:
			ok = ok && k == iamUser && g.colleagueCountry(r, p) != ""
		case colleagues, patientAway:
			ok = ok && k != role && g.colleagueCountry(r, p) != ""
		}
		for _, s := range p.stays {
			ok = ok && (s.from > on+6 || s.to < on)
		}
		if ok {
			used[p.principals[0]] = true
			return p
		}
	}
	return nil
}

// colleagueCountry is where somebody else lives and a person never is.
func (g *generator) colleagueCountry(r *rand.Rand, p *person) string {
	for range 1000 {
		c := pick(r, g.people).home
		ok := c != p.home && c != p.roams && c != p.exit
		for _, s := range p.stays {
			ok = ok && s.country != c
		}
		if ok {
			return c
		}
	}
	return ""
}

// plant makes the calls of one intrusion. agents and methods are what the victim uses.
func (g *generator) plant(r *rand.Rand, kind string, victim uint32, country, region string, agents []string, methods []uint16, at int) {
	n := len(g.incidents)
	p := &g.principals[victim]
	in := incident{kind: kind, principal: victim, place: country, label: g.stream.label(kind, n), sameClient: r.Float64() < sameClientShare, sameKey: true}
	x := session{principal: victim, place: g.place(country), label: in.label, address: g.lists.host(r, country), agent: pick(r, intruderClients),
		region: region, began: uint32(at), name: p.session}
	if in.sameClient {
		x.agent = agents[0]
	}
	if p.kind != ssoRole {
		x.name = p.name
	}
	if r.Float64() < newKeyShare {
		x.key, in.sameKey = keyID(r, "ASIA"), false
	}
	if kind == patient || kind == patientAway {
		quiet := x
		quiet.agent = agents[0]
		s := g.open(r, quiet)
		for end := at + quietDays*day; at < end; at += 8*hour + r.IntN(10*hour) {
			g.callAt(s, at, pick(r, methods), false)
		}
		x.began = uint32(at)
	}
	s := g.open(r, x)
	g.incidents = append(g.incidents, in)
	switch kind {
	case lowAndSlow:
		for end := at + (3+r.IntN(3))*day; at < end; at += 2*hour + r.IntN(4*hour) {
			g.callAt(s, at, g.attackMethod(r, "TA0007"), r.Float64() < .2)
		}
	case deniedSweep:
		for range 30 + r.IntN(60) {
			g.callAt(s, at, g.attackMethod(r, "TA0007"), r.Float64() < .93)
			at += 1 + r.IntN(20)
		}
	case housekeeping:
		for range 1 + r.IntN(3) {
			g.callAt(s, at, g.lists.method(pick(r, []string{"sts:GetCallerIdentity", "s3:ListBuckets", "ec2:DescribeRegions", "ec2:DescribeInstances"})), false)
			at += 5 + r.IntN(600)
		}
	default:
		calls := 6 + r.IntN(25)
		if r.Float64() < .7 {
			g.callAt(s, at, g.lists.method("sts:GetCallerIdentity"), false)
		}
		for i := range calls {
			at += 10 + int(200*r.ExpFloat64())
			tactic := "TA0007"
			if i > calls/2 {
				tactic = ""
			}
			g.callAt(s, at, g.attackMethod(r, tactic), r.Float64() < .3)
		}
	}
}

// attackMethod draws a method of a tactic, of any if tactic is empty: one that was seen in a published intrusion thrice as
// likely as one that was not, one of a service that everybody has ten times as likely as one of another.
func (g *generator) attackMethod(r *rand.Rand, tactic string) uint16 {
	for {
		a := pick(r, g.lists.attacks)
		if tactic != "" && a.tactic != tactic || !a.seen && r.Float64() > 1.0/3 {
			continue
		}
		if !slices.Contains([]string{"iam", "s3", "ec2", "sts", "secretsmanager", "ssm", "lambda", "organizations", "kms", "rds", "bedrock", "ses", "cloudtrail"}, g.lists.methods[a.method].service) && r.Float64() > .1 {
			continue
		}
		return uint16(a.method)
	}
}

// steal gives the intruders with a role's session the key that its owner had at the time. It needs the owners' sessions.
func (g *generator) steal() {
	latest := make([]uint32, len(g.incidents)) // session, 0 for none
	robber := map[uint32]int{}
	for n, in := range g.incidents {
		if in.sameKey && g.principals[in.principal].kind != iamUser {
			robber[in.principal] = n
		}
	}
	own := make([]uint32, len(g.incidents))
	for i := range g.sessions {
		if n := g.labels[g.sessions[i].label].incident; n >= 0 {
			own[n] = uint32(i)
		}
	}
	for i := range g.sessions {
		x := &g.sessions[i]
		n, ok := robber[x.principal]
		if ok && uint32(i) != own[n] && x.began <= g.sessions[own[n]].began && (latest[n] == 0 || x.began > g.sessions[latest[n]].began) {
			latest[n] = uint32(i)
		}
	}
	for n, i := range latest {
		if i > 0 {
			g.sessions[own[n]].key, g.sessions[own[n]].name = g.sessions[i].key, g.sessions[i].name
		}
	}
}
