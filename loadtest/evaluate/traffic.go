package main

import (
	"math/rand/v2"
)

// open starts a session; the key of a role's session is temporary and new each time.
func (s *stream) open(r *rand.Rand, x session) uint32 {
	p := &s.principals[x.principal]
	if x.key == "" {
		if x.key = p.key; p.kind == ssoRole || p.kind == role {
			x.key = keyID(r, "ASIA")
		}
	}
	if x.account == "" {
		x.account = p.account
	}
	s.sessions = append(s.sessions, x)
	return uint32(len(s.sessions) - 1)
}

func (s *stream) call(session, at uint32, method uint16, denied bool) {
	s.events = append(s.events, event{at: at, session: session, method: method, denied: denied})
}

// live makes the calls of a person.
func (g *generator) live(p *person, r *rand.Rand) {
	for on := range g.days {
		if on < p.joined {
			continue
		}
		country, label, busy, tunnel := p.home, uint32(0), p.activity, 0.0
		if p.label != 0 {
			label = p.label
		}
		away := p.where(on)
		if away != nil {
			country, label, tunnel = away.country, away.label, away.tunnel
			busy *= away.busy
		}
		offset := g.lists.countries[country].offset
		if on%7 >= 5 { // day zero is a Monday
			busy *= .1
		}
		for i, n := range p.nights {
			if n == on {
				g.trouble(p, r, on, p.home, p.nightLabel[i])
			}
		}
		if r.Float64() >= busy {
			continue
		}
		which := r.IntN(len(p.principals))
		key := "" // one a day: a sign-in lasts for it
		if k := g.principals[p.principals[which]].kind; k != iamUser {
			key = keyID(r, "ASIA")
		}
		for range 1 + r.IntN(3) {
			begin := on*day + int((8.5+9*r.Float64()+.7*r.NormFloat64())*hour) - offset*hour
			x := session{principal: p.principals[which], agent: p.agents[min(int(r.ExpFloat64()), len(p.agents)-1)], key: key, label: label,
				region: g.regions[min(int(1.2*r.ExpFloat64()), len(g.regions)-1)], name: g.sessionName(p, which), mfa: true}
			place := country
			switch y := r.Float64(); {
			case r.Float64() < tunnel:
				place, x.address = g.offices[0], pick(r, g.nat[g.offices[0]])
			case p.exit != "" && on >= p.exitSince && y < .3:
				place, x.address, x.label = p.exit, p.exitAt, p.exitLabel
			case p.roams != "" && away == nil && y < .15:
				place, x.label = p.roams, p.roamLabel
				x.address = g.lists.host(r, place)
			case away == nil && p.atOffice && y < .6:
				x.address = pick(r, g.nat[p.home])
			default:
				x.address = g.line(p, on, country, y < .92)
			}
			x.place, x.began = g.place(place), uint32(max(begin, 0))
			g.work(p, r, x, begin, 3+min(int(7*r.ExpFloat64()), 60))
			for _, f := range p.fresh {
				if on >= f.from && away == nil && r.Float64() < .4 {
					x.label = f.label
					n := g.open(r, x)
					for range 2 + r.IntN(8) {
						g.callAt(n, begin+r.IntN(2*hour), pick(r, f.methods), r.Float64() < .1)
					}
				}
			}
		}
	}
}

// line is the address of a person's line in a country: it stays for weeks. Mobile addresses change each time.
func (g *generator) line(p *person, on int, country string, fixed bool) string {
	seed := homeNetwork(p, on)
	if !fixed {
		seed = uint64(len(g.sessions)) << 30
	}
	r := rand.New(rand.NewPCG(seed, g.seed))
	if p.six {
		return g.lists.countries[country].host6(r)
	}
	return g.lists.host(r, country)
}

func (g *generator) sessionName(p *person, which int) string {
	pr := &g.principals[p.principals[which]]
	if pr.kind == ssoRole {
		return pr.session
	}
	return pr.name
}

func (g *generator) callAt(session uint32, at int, method uint16, denied bool) {
	if at >= 0 && at < g.days*day {
		g.call(session, uint32(at), method, denied)
	}
}

// work is a session: chores first, then what the person usually does, some of it denied.
func (g *generator) work(p *person, r *rand.Rand, x session, begin, calls int) {
	n := g.open(r, x)
	at := begin
	for i := range calls {
		m := p.methods[draw(r, p.weights)]
		if i < 2 || r.Float64() < .12 {
			m = g.chores[min(int(2.5*r.ExpFloat64()), len(g.chores)-1)]
		}
		g.callAt(n, at, m, r.Float64() < .015)
		at += 5 + int(150*r.ExpFloat64())
	}
}

// trouble is a night on which somebody looks everywhere.
func (g *generator) trouble(p *person, r *rand.Rand, on int, country string, label uint32) {
	begin := on*day + (22+r.IntN(5))*hour - g.lists.countries[country].offset*hour
	n := g.open(r, session{principal: p.principals[0], agent: p.agents[0], label: label, region: g.regions[0], place: g.place(country),
		address: g.line(p, on, country, true), name: g.sessionName(p, 0), began: uint32(max(begin, 0)), mfa: true})
	for range 15 + r.IntN(40) {
		s := g.lists.services[pick(r, p.family.services)]
		g.callAt(n, begin+r.IntN(3*hour), uint16(pick(r, s)), r.Float64() < .05)
	}
}

// rotation is how long the temporary key of a machine lasts.
const rotation = 6 * hour

// run makes the calls of a machine.
func (g *generator) run(m *machine, r *rand.Rand) {
	pr := &g.principals[m.principal]
	weights := zipf(len(m.methods))
	place := m.country
	switch {
	case m.private:
		place = ""
	case m.region != "":
		place = "aws:" + m.region
	}
	x := session{principal: m.principal, place: g.place(place), label: m.label, agent: m.agent, region: m.region, name: "i-0" + string(appendHex(nil, r.Uint64(), 16))}
	if m.rotating || !m.private && m.region == "" { // no instance of EC2
		x.name = pr.name
	}
	if x.region == "" {
		x.region = g.regions[0]
	}
	if pr.kind == awsService {
		x.agent = pr.name
	}
	for begin := max(m.from, 0) * day; begin < g.days*day; begin += rotation {
		if m.rotating {
			x.address = g.lists.instance(r, m.region, false)
		} else {
			x.address = pick(r, m.address)
		}
		x.began, x.key = uint32(begin), ""
		if m.sweeps {
			if begin%day == 0 {
				n := g.open(r, x)
				start := begin + int(mix(g.seed, uint64(m.principal))%uint64(20*hour))
				for i, method := range m.methods {
					g.callAt(n, start+i*7, method, r.Float64() < .01)
				}
			}
			continue
		}
		runs := poisson(r, m.rate*rotation/hour*g.tide(m, begin))
		if runs == 0 {
			continue
		}
		n := g.open(r, x)
		for range runs {
			at := begin + r.IntN(rotation)
			for range 1 + r.IntN(4) {
				g.callAt(n, at, m.methods[draw(r, weights)], r.Float64() < .004)
				at += 1 + r.IntN(40)
			}
		}
	}
}

// tide is how much a machine does at a time of day, against its mean.
func (g *generator) tide(m *machine, begin int) float64 {
	if !m.working {
		return 1
	}
	if begin/day%7 >= 5 {
		return .1
	}
	local := (begin/hour + g.lists.countries[g.offices[0]].offset + 24) % 24
	if local >= 4 && local < 19 {
		return 2
	}
	return .2
}

// arn of the principal's session.
func (p *principal) arn(session string) string {
	switch p.kind {
	case iamUser:
		return "arn:aws:iam::" + p.account + ":user/" + p.name
	case awsService:
		return ""
	}
	return "arn:aws:sts::" + p.account + ":assumed-role/" + p.name + "/" + session
}

// issuer is the ARN of the principal's role.
func (p *principal) issuer() string {
	if p.kind == ssoRole {
		return "arn:aws:iam::" + p.account + ":role/aws-reserved/sso.amazonaws.com/" + p.name
	}
	return "arn:aws:iam::" + p.account + ":role/" + p.name
}
