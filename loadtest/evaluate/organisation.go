package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// stay is a time abroad, or at a second home.
type stay struct {
	from, to int // days, to exclusive
	country  string
	label    uint32
	busy     float64 // chance of work on a day
	tunnel   float64 // chance that a session goes home through the organisation's own VPN
}

// fresh is a service that somebody takes into use.
type fresh struct {
	from    int // day
	methods []uint16
	label   uint32
}

// person works with AWS. Some people share a principal: a role of their team.
type person struct {
	principals []uint32
	account    []string // of the calls, by principal
	home       string
	label      uint32 // of ordinary work: 0, or why this person is new
	labelUntil int    // day
	atOffice   bool
	six        bool
	family     *family
	methods    []uint16
	weights    []float64 // cumulative
	agents     []string
	activity   float64 // chance of work on a working day
	joined     int     // day; before 0 for most
	stays      []stay
	exit       string // country and address of a commercial VPN, label
	exitAt     string
	exitLabel  uint32
	exitSince  int
	roams      string // country in which mobile sessions come out
	roamLabel  uint32
	fresh      []fresh
	nights     []int // days
	nightLabel []uint32
}

// machine is a role or user that programs use.
type machine struct {
	principal uint32
	from      int    // day
	region    string // where it runs; "" outside of AWS
	country   string // outside of AWS
	address   []string
	rotating  bool // a new address each session, as functions have
	private   bool // through a VPC endpoint
	methods   []uint16
	agent     string
	rate      float64 // runs an hour
	working   bool    // in working hours mostly
	sweeps    bool    // all its methods once a day
	label     uint32
}

// generator makes one stream.
type generator struct {
	*stream
	r        *rand.Rand
	accounts []string
	regions  []string // in use from the start
	offices  []string
	nat      map[string][]string // office addresses
	exits    [][2]string         // VPN exits: country, address
	tourism  []string            // far destinations
	virgin   []string            // countries that nobody ever goes to
	people   []*person
	machines []*machine
	chores   []uint16
	names    map[string]bool
	teams    []uint32 // shared roles that are not full yet
	spaces   int      // in the last of them
}

// simulate makes the stream of a world: history days to learn from, then judged days with intrusions among them.
func simulate(l *lists, w world, seed uint64, history, judged int) (*stream, error) {
	s := &stream{world: w, seed: seed, days: history + judged, judgedFrom: uint32(history) * day, lists: l,
		places: []string{""}, placeIndex: map[string]uint16{"": 0}, labels: []label{{ordinary, -1}}}
	g := &generator{stream: s, r: rand.New(rand.NewPCG(seed, 1)), nat: map[string][]string{}, names: map[string]bool{}}
	g.found()
	g.hire()
	g.deploy()
	g.plan()
	if err := g.intrude(); err != nil {
		return nil, err
	}
	for i, p := range g.people {
		g.live(p, rand.New(rand.NewPCG(seed, 1000+uint64(i))))
	}
	for i, m := range g.machines {
		g.run(m, rand.New(rand.NewPCG(seed, 1_000_000+uint64(i))))
	}
	g.steal()
	return s, s.finish()
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// poisson draws a count, by Knuth's method: means are small here.
func poisson(r *rand.Rand, mean float64) int {
	n, p, limit := 0, 1.0, math.Exp(-mean)
	for {
		if p *= r.Float64(); p < limit {
			return n
		}
		n++
	}
}

// found draws accounts, offices, regions and the countries that matter.
func (g *generator) found() {
	r := g.r
	for range g.world.accounts {
		g.accounts = append(g.accounts, fmt.Sprintf("%012d", 100_000_000_000+r.Int64N(900_000_000_000)))
	}
	order := r.Perm(len(officeCountries))
	for _, i := range order[:g.world.offices] {
		g.offices = append(g.offices, officeCountries[i])
	}
	for _, c := range g.offices {
		g.openOffice(c)
	}
	g.regions = regionsNear[g.offices[0]]
	if g.regions == nil {
		g.regions = regionsNear[""]
	}
	g.regions = g.regions[:3]
	for range 6 {
		c := pick(r, hostingCountries)
		g.exits = append(g.exits, [2]string{c, g.lists.host(r, c)})
	}
	far := slices.Concat(officeCountries, remoteCountries, hostingCountries, hubCountries)
	for _, c := range slices.Concat(g.offices, remoteCountries) {
		far = append(far, g.lists.nearest(c, 3)...)
	}
	rest := slices.DeleteFunc(slices.Clone(g.lists.codes), func(c string) bool { return slices.Contains(far, c) })
	r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	g.tourism, g.virgin = rest[:len(rest)/4], rest[len(rest)/4:]
	for _, c := range chores {
		g.chores = append(g.chores, g.lists.method(c))
	}
}

func (g *generator) openOffice(c string) {
	for range 2 {
		g.nat[c] = append(g.nat[c], g.lists.host(g.r, c))
	}
}

var givenNames = strings.Fields("ada alan alma amir anna arun bela beth boris carla chen clara dana diego elena emil erik eva fatima felix gina hana hugo ida ines ivan jana joao jonas julia karim kofi lars lena leo lina luca maja marco maria mei mila nadia nils nina noor olga omar otto paula petra pia rafael raj rosa ruth sam sara sofia tariq theo tom uma vera viktor wei yara yuki zoe")

var familyNames = strings.Fields("abel adler bauer becker berg blanc braun brown chan cohen costa cruz diaz dubois evans fischer fontana garcia gomez grant green haas hansen hill huber ito jansen jones kaur keller khan kim klein kovac kumar lang larsen lee lopez maier martin meyer mori moreau mueller nagy novak olsen park patel perez popov reyes ricci rossi roth santos sato schmid silva singh smith sousa stein suzuki tanaka taylor torres vogel wagner walker wang weber white wolf wood yang young zhang")

func (g *generator) name() string {
	for {
		n := pick(g.r, givenNames) + "." + pick(g.r, familyNames)
		if g.names[n] {
			n += fmt.Sprint(2 + g.r.IntN(98))
		}
		if !g.names[n] {
			g.names[n] = true
			return n
		}
	}
}

const keyDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

func keyID(r *rand.Rand, prefix string) string {
	b := []byte(prefix)
	for range 16 {
		b = append(b, keyDigits[r.IntN(32)])
	}
	return string(b)
}

func (g *generator) principal(p principal) uint32 {
	prefix := "AROA"
	if p.kind == iamUser {
		prefix, p.key = "AIDA", keyID(g.r, "AKIA")
	}
	p.id = keyID(g.r, prefix)
	g.principals = append(g.principals, p)
	return uint32(len(g.principals) - 1)
}

// hire makes the people who are there from the start.
func (g *generator) hire() {
	n := int(float64(g.world.principals) * g.world.people / 1.15) // some have two principals
	for range n {
		home, office := g.offices[0], true
		if x := g.r.Float64(); x < g.world.remote {
			home, office = pick(g.r, remoteCountries), false
		} else if len(g.offices) > 1 && x > g.world.remote+(1-g.world.remote)/2 {
			home = pick(g.r, g.offices[1:])
		}
		g.person(home, office, -1, 0)
	}
}

func (g *generator) person(home string, office bool, joined int, label uint32) *person {
	r := g.r
	p := &person{home: home, atOffice: office, joined: joined, label: label, labelUntil: 1 << 30, six: r.Float64() < .25,
		activity: .35 + .55*r.Float64()}
	x := r.Float64()
	for i := range families {
		if p.family = &families[i]; x < p.family.share {
			break
		}
		x -= p.family.share
	}
	name := g.name()
	account := pick(g.r, g.accounts)
	add := func(pr principal) {
		p.principals = append(p.principals, g.principal(pr))
		p.account = append(p.account, pr.account)
	}
	switch x := r.Float64(); {
	case x < .36:
		add(principal{kind: iamUser, account: account, name: name})
	case x < .82:
		set := "AWSReservedSSO_" + strings.ToUpper(p.family.name[:1]) + p.family.name[1:] + "_" + string(appendHex(nil, mix(g.seed, uint64(p.family.breadth)), 16))
		add(principal{kind: ssoRole, account: account, name: set, session: name + "@example.com"})
		if other := pick(r, g.accounts); other != account && r.Float64() < .3 {
			add(principal{kind: ssoRole, account: other, name: set, session: name + "@example.com"})
		}
	case x < .92:
		if g.spaces == 0 {
			g.teams = append(g.teams, g.principal(principal{kind: role, account: account, name: "team-" + name}))
			g.spaces = 3 + r.IntN(8)
		}
		g.spaces--
		p.principals, p.account = []uint32{g.teams[len(g.teams)-1]}, []string{g.principals[g.teams[len(g.teams)-1]].account}
	default:
		add(principal{kind: role, account: account, name: "person-" + name})
	}
	p.methods = g.repertoire(p.family.services, int(float64(p.family.breadth)*(.5+r.Float64())))
	p.weights = zipf(len(p.methods))
	p.agents = append(p.agents, pick(r, peopleClients))
	for r.Float64() < .5 {
		p.agents = append(p.agents, pick(r, peopleClients))
	}
	g.people = append(g.people, p)
	return p
}

// repertoire draws methods of some services, the much used ones first.
func (g *generator) repertoire(services []string, n int) []uint16 {
	var all []uint16
	var weight []float64
	for rank, s := range services {
		for _, m := range g.lists.services[s] {
			w := math.Pow(float64(g.lists.methods[m].calls)+1, .6) / float64(rank+1)
			if g.lists.methods[m].reads {
				w *= 3
			}
			all = append(all, uint16(m))
			weight = append(weight, w)
		}
	}
	// Weighted sampling without replacement: the n largest of u^(1/w) (Efraimidis and Spirakis, 2006).
	score := make([]float64, len(all))
	order := make([]int, len(all))
	for i := range all {
		score[i], order[i] = math.Log(g.r.Float64())/weight[i], i
	}
	slices.SortFunc(order, func(a, b int) int {
		if score[a] > score[b] {
			return -1
		}
		return 1
	})
	var got []uint16
	for _, i := range order[:min(max(n, 1), len(order))] {
		got = append(got, all[i])
	}
	return got
}

// zipf are cumulative weights 1, 1/2, 1/3, …
func zipf(n int) []float64 {
	w := make([]float64, n)
	sum := 0.0
	for i := range w {
		sum += 1 / float64(i+1)
		w[i] = sum
	}
	return w
}

func draw(r *rand.Rand, cumulative []float64) int {
	x := r.Float64() * cumulative[len(cumulative)-1]
	n, _ := slices.BinarySearch(cumulative, x)
	return min(n, len(cumulative)-1)
}

// deploy makes the machines that run from the start.
func (g *generator) deploy() {
	n := int(float64(g.world.principals) * (1 - g.world.people))
	for i := range n {
		g.machine(i, -1, 0)
	}
	// Posture scanners of two vendors: a role in each account, called from one country outside.
	for v := range 1 + min(1, g.world.principals/500) {
		c := []string{"US", "IE", "GB"}[g.r.IntN(3)]
		at := []string{g.lists.host(g.r, c), g.lists.host(g.r, c)}
		methods := g.sweep(160)
		for _, a := range g.accounts {
			g.machines = append(g.machines, &machine{principal: g.principal(principal{kind: role, account: a, name: fmt.Sprintf("posture-scanner-%d", v+1), machine: true}),
				from: -1, country: c, address: at, methods: methods, agent: machineClients[0], sweeps: true, label: g.stream.label(scannerKind, -1)})
		}
	}
	// Services of AWS that act on the organisation's behalf.
	for _, s := range []string{"autoscaling", "cloudtrail", "config", "ecs", "lambda", "s3", "ec2", "rds", "elasticloadbalancing", "guardduty"} {
		host := s + ".amazonaws.com"
		g.machines = append(g.machines, &machine{principal: g.principal(principal{kind: awsService, account: g.accounts[0], name: host, machine: true}),
			from: -1, region: g.regions[0], private: true, address: []string{host, "AWS Internal"}, methods: []uint16{g.lists.method("sts:AssumeRole"), g.lists.method("kms:Decrypt")}, agent: host, rate: 1.5 * float64(g.world.principals) / 1000})
	}
}

// sweep are the methods that a scanner calls: reading ones, of many services.
func (g *generator) sweep(n int) []uint16 {
	var reads []uint16
	for i, m := range g.lists.methods {
		if m.reads && m.calls > 0 {
			reads = append(reads, uint16(i))
		}
	}
	g.r.Shuffle(len(reads), func(i, j int) { reads[i], reads[j] = reads[j], reads[i] })
	return reads[:min(n, len(reads))]
}

func (g *generator) machine(i, from int, label uint32) *machine {
	r := g.r
	f := pick(r, families[:3])
	account := pick(r, g.accounts)
	m := &machine{from: from, label: label, methods: g.repertoire(f.services, 2+r.IntN(8)), agent: pick(r, machineClients),
		rate: .25 * math.Exp(.8*r.NormFloat64())}
	kind, name := role, fmt.Sprintf("%s-job-%d", f.name, i)
	switch x := r.Float64(); {
	case x < .45: // instances
		m.region = pick(r, g.regions[:1+r.IntN(len(g.regions))])
		for range 1 + r.IntN(4) {
			m.address = append(m.address, g.lists.instance(r, m.region, false))
		}
	case x < .60: // functions
		m.region, m.rotating, m.agent = pick(r, g.regions), true, machineClients[3]
	case x < .66: // instances with IPv6
		m.region = g.regions[0]
		m.address = []string{g.lists.instance(r, m.region, true)}
	case x < .84: // through a VPC endpoint
		m.region, m.private = pick(r, g.regions), true
		m.address = []string{fmt.Sprintf("10.%d.%d.%d", r.IntN(256), r.IntN(256), 1+r.IntN(254))}
	case x < .92: // CI and other services outside of AWS
		m.country, m.working = pick(r, []string{"US", "US", "US", "NL", "DE"}), true
		for range 2 + r.IntN(6) {
			m.address = append(m.address, g.lists.host(r, m.country))
		}
		name = fmt.Sprintf("ci-deploy-%d", i)
	default: // servers of their own
		m.country, kind, name = g.offices[0], iamUser, fmt.Sprintf("svc-%s-%d", f.name, i)
		m.address = []string{pick(r, g.nat[m.country])}
	}
	m.principal = g.principal(principal{kind: kind, account: account, name: name, machine: true})
	g.machines = append(g.machines, m)
	return m
}
