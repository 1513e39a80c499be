package main

import (
	"math"
	"slices"
)

// plan gives the people and machines what is new and benign, over all days: travel, VPNs, offices, staff, automation.
func (g *generator) plan() {
	g.planPeople(g.people)
	g.planJoiners()
	g.planOpenings()
	g.planMovers()
	g.planMachines()
	g.planServices()
	g.planNights()
}

func (g *generator) planPeople(people []*person) {
	r, w := g.r, &g.world
	for _, p := range people {
		// Who travels much is exponential: some never do, some all the time.
		trips := poisson(r, w.trips*float64(g.days)/60*r.ExpFloat64())
		for range min(trips, 6) {
			from := r.IntN(g.days)
			s := stay{from: from, to: from + 2 + min(int(4*r.ExpFloat64()), 14), country: g.destination(p.home), label: g.stream.label(travel, -1), busy: .5}
			if r.Float64() < .2 {
				s.tunnel = .7
			}
			if s.country != p.home {
				p.stays = append(p.stays, s)
			}
		}
		if r.Float64() < w.vpn {
			x := pick(r, g.exits)
			if r.Float64() < .15 {
				c := pick(r, hostingCountries)
				x = [2]string{c, g.lists.host(r, c)}
			}
			p.exit, p.exitAt, p.exitLabel = x[0], x[1], g.stream.label(vpn, -1)
			if r.Float64() < .5 {
				p.exitSince = r.IntN(g.days)
			}
		}
		if r.Float64() < w.roaming {
			p.roams, p.roamLabel = pick(r, g.lists.nearest(p.home, 4)), g.stream.label(roaming, -1)
		}
		if r.Float64() < w.twoHomes {
			// Every other weekend and the days around it.
			c, l := pick(r, g.lists.nearest(p.home, 3)), g.stream.label(secondHome, -1)
			for d := r.IntN(14); d < g.days; d += 14 {
				p.stays = append(p.stays, stay{from: d, to: d + 4, country: c, label: l, busy: .6})
			}
		}
		for range poisson(r, w.wrongHomes*float64(g.days)/30) {
			// The databases put the home line into a neighbour country for some days.
			from := r.IntN(g.days)
			p.stays = append(p.stays, stay{from: from, to: from + 2 + r.IntN(9), country: pick(r, g.lists.nearest(p.home, 3)), label: g.stream.label(wrongHome, -1), busy: 1})
		}
	}
}

// destination of a trip: a neighbour, a hub of business or anywhere.
func (g *generator) destination(home string) string {
	r := g.r
	switch x := r.Float64(); {
	case x < .45:
		return g.lists.nearest(home, 6)[min(int(2*r.ExpFloat64()), 5)]
	case x < .60 && len(g.offices) > 1:
		return pick(r, g.offices)
	case x < .85:
		return hubCountries[draw(r, zipf(len(hubCountries)))]
	}
	return pick(r, g.tourism)
}

func (g *generator) planJoiners() {
	for range poisson(g.r, g.world.joiners*float64(g.days)/7) {
		on := g.r.IntN(g.days)
		home, office, kind := pick(g.r, g.offices), true, joiner
		switch x := g.r.Float64(); {
		case x < .12:
			home, office, kind = pick(g.r, g.tourism), false, joinerAway
		case x < .25:
			home, office = pick(g.r, remoteCountries), false
		}
		p := g.person(home, office, on, g.stream.label(kind, -1))
		g.planPeople([]*person{p})
	}
}

func (g *generator) planOpenings() {
	free := slices.DeleteFunc(slices.Concat(officeCountries, remoteCountries), func(c string) bool { return slices.Contains(g.offices, c) })
	for i := range g.world.openings {
		c := free[g.r.IntN(len(free))]
		free = slices.DeleteFunc(free, func(x string) bool { return x == c })
		g.openOffice(c)
		on := (i*g.days + g.r.IntN(g.days)) / g.world.openings
		for range 2 {
			// The founders move there.
			p := pick(g.r, g.people)
			p.stays = append(p.stays, stay{from: on, to: g.days, country: c, label: g.stream.label(newOffice, -1), busy: .8})
		}
		for range 5 + g.r.IntN(10) {
			g.person(c, true, on+g.r.IntN(10), g.stream.label(newOffice, -1))
		}
	}
}

func (g *generator) planMovers() {
	for range poisson(g.r, g.world.movers*float64(g.days)/30) {
		p := pick(g.r, g.people)
		c := pick(g.r, slices.Concat(g.offices, remoteCountries))
		if c != p.home {
			p.stays = append(p.stays, stay{from: max(p.joined, 0) + g.r.IntN(g.days), to: g.days, country: c, label: g.stream.label(mover, -1), busy: .8})
		}
	}
}

func (g *generator) planMachines() {
	r := g.r
	for i := range poisson(r, g.world.automation*float64(g.days)/7) {
		m := g.machine(10_000+i, r.IntN(g.days), g.stream.label(automation, -1))
		m.rate *= 2
	}
	known := regionsNear[g.offices[0]]
	if known == nil {
		known = regionsNear[""]
	}
	fresh := slices.DeleteFunc([]string{known[3], "eu-north-1", "ca-central-1", "ap-southeast-2", "ap-south-1", "sa-east-1"}, func(s string) bool { return slices.Contains(g.regions, s) })
	for i := range g.world.regions {
		from := r.IntN(g.days)
		l := g.stream.label(newRegion, -1)
		for j := range 4 + r.IntN(6) {
			// Some are new roles, most are roles that ran elsewhere before.
			m := g.machine(20_000+100*i+j, from+r.IntN(5), l)
			m.region, m.country, m.private, m.rotating = fresh[i], "", false, false
			m.address = []string{g.lists.instance(r, m.region, false)}
			if old := pick(r, g.machines[:len(g.machines)-1]); r.Float64() < .7 && old.region != "" && !old.sweeps && g.principals[old.principal].kind == role {
				m.principal, m.methods = old.principal, old.methods
			}
		}
	}
}

func (g *generator) planServices() {
	r := g.r
	for range poisson(r, g.world.services*float64(g.days)/7) {
		f, s := pick(r, families), pick(r, freshServices)
		var team []*person
		for _, p := range g.people {
			if p.family.name == f.name {
				team = append(team, p)
			}
		}
		from, l := r.IntN(g.days), g.stream.label(newService, -1)
		for range min(len(team), 3+r.IntN(10)) {
			p := pick(r, team)
			p.fresh = append(p.fresh, fresh{from + r.IntN(10), g.repertoire([]string{s}, 3+r.IntN(8)), l})
		}
	}
}

func (g *generator) planNights() {
	var admins []*person
	for _, p := range g.people {
		if p.family.name == "operations" || p.family.name == "security" {
			admins = append(admins, p)
		}
	}
	for range poisson(g.r, g.world.nights*float64(g.days)/7) {
		p := pick(g.r, admins)
		p.nights = append(p.nights, g.r.IntN(g.days))
		p.nightLabel = append(p.nightLabel, g.stream.label(night, -1))
	}
}

// where says in which country a person is on a day, and why.
func (p *person) where(on int) (at *stay) {
	for i := range p.stays {
		if s := &p.stays[i]; s.from <= on && on < s.to {
			return s
		}
	}
	return nil
}

// homeNetwork numbers the address a home line has: it changes every few weeks.
func homeNetwork(p *person, on int) uint64 {
	return uint64(p.principals[0])<<20 | uint64(math.Floor(float64(on)/17))
}
