package demo

import (
	"cmp"
	"slices"
	"time"
)

const (
	hourMillis = int64(time.Hour / time.Millisecond)
	fileTurn   = int64(time.Minute / time.Millisecond) // a trail writes its files this often
	// quickest and slowest bound how long after a call its first delivery comes.
	quickest = 120 * time.Second
	slowest  = 600 * time.Second
	// duplicates is the share of records that a second file carries too.
	duplicates = 0.03
)

// traffic makes an organisation's calls hour by hour. Any hour can be asked for by itself: what happens in it follows from
// the seed and the hour alone. Sessions are kept only so that they need not be made again for each call.
type traffic struct {
	org      *organisation
	sessions map[sessionKey]*session
	day      int64
	calls    []call
	late     lateFile
}

type sessionKey struct {
	owner uint64
	sort  uint64
	day   int64
}

// lateFile is a log file that one trail delivers long after its turn.
type lateFile struct {
	part     int
	from, to int64 // of event time, Unix milliseconds
	due      int64
}

func newTraffic(o *organisation) *traffic {
	return &traffic{org: o, sessions: map[sessionKey]*session{}, late: lateFile{part: -1}}
}

// hour appends the calls of an hour, counted since the epoch, to t.calls. They are not in order.
func (t *traffic) hour(h int64) {
	if day := h / 24; day != t.day {
		clear(t.sessions)
		t.day = day
	}
	for _, p := range t.org.people {
		t.person(p, h)
	}
	for _, m := range t.org.machines {
		t.machine(m, h)
	}
}

// plan is what a person does on one day.
type plan struct {
	works      bool
	from, to   int64 // hours of work, local
	afterHours bool  // looks in again in the evening
	address    string
	localHour  int64
}

func (o *organisation) planOf(p *person, h int64) plan {
	local := h + utcOffset[o.offices[p.office]]
	day := local / 24
	d := dice(mix(p.salt, uint64(day)))
	// 1 January 1970 was a Thursday.
	weekend := (day+3)%7 >= 5
	x := plan{localHour: local % 24, from: p.start + int64(d.below(2)), address: p.desk}
	x.to = x.from + p.day
	x.works = d.chance(0.93)
	if d.chance(p.atHome) {
		x.address = p.home
	}
	onCall := d.chance(0.04)
	x.afterHours = d.chance(0.12)
	if weekend {
		x.works, x.address = onCall, p.home
		x.from, x.to = 10, 14
	}
	if h >= p.trip.from && h < p.trip.to {
		x.works, x.address = true, p.trip.address
	}
	return x
}

// bustle is how much is done in each hour of a working day, counted from its first.
var bustle = [...]float64{0.8, 1, 1, 0.95, 0.5, 0.85, 0.95, 0.9, 0.7, 0.5, 0.4}

func (t *traffic) person(p *person, h int64) {
	if p.leaves != 0 && h >= p.leaves {
		return
	}
	x := t.org.planOf(p, h)
	if !x.works {
		return
	}
	d := dice(mix(p.salt^0x9e50, uint64(h)))
	var busy float64
	switch {
	case x.localHour >= x.from && x.localHour < x.to:
		busy = 0.8 * bustle[x.localHour-x.from]
	case x.afterHours && x.localHour >= x.to+2 && x.localHour < x.to+4:
		busy = 0.6
		if x.address == p.desk {
			x.address = p.home
		}
	}
	if !d.chance(busy) {
		return
	}
	if x.localHour == x.from {
		if d.chance(p.cli) {
			t.run(&d, tasks()["identify"], t.staff(p, x.address, p.accounts[0], false, h), h)
		} else {
			t.signIn(&d, p, t.staff(p, x.address, p.accounts[0], true, h), h)
		}
	}
	for range 1 + d.below(4) {
		account := p.accounts[0]
		if len(p.accounts) > 1 && d.chance(0.3) {
			account = p.accounts[1]
		}
		s := t.staff(p, x.address, account, !d.chance(p.cli), h)
		t.run(&d, p.chore(&d), s, h)
		if p.set != nil && p.set.name == "PowerUserAccess" && d.chance(0.06) {
			t.run(&d, tasks()["assume"], s, h)
			t.run(&d, tasks()["logs"], t.operator(p, x.address, h), h)
		}
	}
}

func (p *person) chore(d *dice) *task {
	n := d.below(p.weights)
	for _, c := range p.chores {
		if n -= c.weight; n < 0 {
			return tasks()[c.task]
		}
	}
	panic("demo: chores weigh less than their sum")
}

func (t *traffic) signIn(d *dice, p *person, s *session, h int64) {
	c := t.add(d, catalogue()["signin:ConsoleLogin"], s, h*hourMillis+int64(d.below(int(hourMillis))))
	// A wrong password for an SSO role fails before AWS is asked.
	if p.user != "" && d.chance(0.1) {
		c.fault = faultPassword
	}
}

// run has a session do a task once, at some moment of the hour.
func (t *traffic) run(d *dice, k *task, s *session, h int64) {
	at := h*hourMillis + int64(d.below(int(hourMillis)))
	n, first := k.draw(d)
	for i := range n {
		c := t.add(d, k.calls[(first+i)%len(k.calls)], s, at)
		if d.chance(s.failing) {
			switch {
			case d.chance(s.denials):
				c.fault = faultDenied
			case s.console || d.chance(0.5):
				c.fault = faultMissing
			default:
				c.fault = faultThrottled
			}
			if c.fault != faultThrottled && c.do.key == "sts:GetCallerIdentity" {
				c.fault = faultNone // it needs no permission and names nothing that could be missing
			}
		}
		at += int64(150 + d.below(2500))
	}
}

func (t *traffic) add(d *dice, m *method, s *session, at int64) *call {
	c := call{at: at, id: d.next(), by: s, do: m, region: s.region}
	if m.flags&flagGlobal != 0 {
		c.region = regionGlobal
	}
	c.part = s.account*regionCount + c.region
	t.calls = append(t.calls, c)
	return &t.calls[len(t.calls)-1]
}

// machine has every host of a machine do its jobs.
func (t *traffic) machine(m *machine, h int64) {
	d := dice(mix(m.salt, uint64(h)))
	often := 1.0
	if m.officeDay {
		local := h + utcOffset[t.org.offices[0]]
		often = 0.05
		if (local/24+3)%7 < 5 && local%24 >= 8 && local%24 < 18 {
			often = 2
		}
	}
	for i := range m.hosts {
		for _, j := range m.jobs {
			for range d.times(j.perHour * often) {
				t.run(&d, tasks()[j.task], t.host(m, i, h), h)
			}
		}
	}
}

// schedule gives each call its delivery, adds the duplicates and sorts all by delivery. Records that come together are in
// no order, as in a real log file.
func (t *traffic) schedule(from int) {
	for i, n := from, len(t.calls); i < n; i++ {
		c := &t.calls[i]
		if c.part == t.late.part && c.at >= t.late.from && c.at < t.late.to {
			c.due = t.late.due
			continue
		}
		d := dice(mix(c.id, saltDelivery))
		c.due = t.delivery(&d, c.part, c.at)
		if d.chance(duplicates) {
			again := *c
			again.due += fileTurn * int64(1+d.below(4))
			t.calls = append(t.calls, again)
		}
	}
	slices.SortFunc(t.calls, func(a, b call) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.id, b.id)) })
}

// delivery returns when a call made at a moment is delivered. Most calls are in a file within
// four minutes, all within ten. Half of public CloudTrail sets' events came within 191 to 201 s of being made, nine
// in ten within 397 to 419 s, and none took longer than 608 s.
func (t *traffic) delivery(d *dice, part int, at int64) int64 {
	slow := d.share()
	at += quickest.Milliseconds() + int64(45_000*d.share()+360_000*slow*slow*slow)
	phase := int64(mix(t.org.salt, uint64(part)) % uint64(fileTurn))
	return (at-phase+fileTurn-1)/fileTurn*fileTurn + phase
}
