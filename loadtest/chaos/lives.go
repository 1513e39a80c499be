package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What triage knows of a principal follows from the raw topic, but for what depends on the order in which its input came. The
// checker recomputes profile and since rows byte by byte, and stays and alert rows field by field. It does not judge of an alert
// row: how many changes it took, beyond that the last alert says the same; scores and levels; which of the first pane's events
// triage was told of; whether a method was new that had been called shortly before, or in rows that only count; since when the
// principal was too far away, and how far; and the hash of its reasons.

// Limits of the rows of a principal.
const (
	maxStays  = 16
	stayGap   = int64(72 * time.Hour / time.Second)
	daySecond = int64(24 * time.Hour / time.Second)
	// longBefore is how long before another an event must be for detect to have learned it first, whatever stood still meanwhile.
	longBefore = 5 * patience
)

// deed is one call of a principal.
type deed struct {
	at
	method, id string
	pane       int64 // Unix seconds
	millis     int64
	outcome    byte
}

// life is all that one principal did: deeds by place, and in which panes it had which key and client.
type life struct {
	places        map[string][]deed
	keys, clients map[string]map[int64]bool
	accounts      map[string]int64 // that it called: first pane
}

func newLife() *life {
	return &life{map[string][]deed{}, map[string]map[int64]bool{}, map[string]map[int64]bool{}, map[string]int64{}}
}

func (l *life) add(c *call, where at) {
	pane := c.pane()
	l.places[c.place()] = append(l.places[c.place()], deed{where, c.method(), c.ID, pane, c.Time.UnixMilli(), c.outcome()})
	tool := c.Agent
	if tool == userAgent {
		tool = client
	}
	for _, list := range [...]struct {
		of   map[string]map[int64]bool
		name string
	}{{l.keys, c.Identity.Key}, {l.clients, tool}} {
		if list.of[list.name] == nil {
			list.of[list.name] = map[int64]bool{}
		}
		list.of[list.name][pane] = true
	}
	if first, ok := l.accounts[c.Account]; !ok || pane < first {
		l.accounts[c.Account] = pane
	}
}

func panesOf(deeds []deed) map[int64]bool {
	panes := map[int64]bool{}
	for _, d := range deeds {
		panes[d.pane] = true
	}
	return panes
}

// profile is the profile row that the life leads to. Nobody decides anything here, and there is no network database.
func (l *life) profile() profile {
	all := map[int64]bool{}
	seen := func(name string, panes map[int64]bool) seenWith {
		maps.Copy(all, panes)
		sorted := slices.Sorted(maps.Keys(panes))
		return seenWith{
			name: name, first: sorted[0], last: sorted[len(sorted)-1],
			days: trailOf(panes, daySecond), panes: trailOf(panes, int64(paneWidth/time.Second)),
		}
	}
	p := profile{}
	for _, place := range slices.Sorted(maps.Keys(l.places)) {
		panes := panesOf(l.places[place])
		s := seen(place, panes)
		s.hours = &[3]uint64{}
		for pane := range panes {
			t := time.Unix(pane, 0).UTC()
			hour := (int(t.Weekday())+6)%7*24 + t.Hour() // Monday first
			s.hours[hour/64] |= 1 << (hour % 64)
		}
		p.lists[0] = append(p.lists[0], s)
	}
	for i, of := range [...]map[string]map[int64]bool{l.clients, l.keys} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			p.lists[1+i] = append(p.lists[1+i], seen(name, of[name]))
		}
	}
	if len(all) == 0 {
		return p
	}
	sorted := slices.Sorted(maps.Keys(all))
	p.since, p.last, p.days = sorted[0], sorted[len(sorted)-1], trailOf(all, daySecond)
	p.stayed = p.last // nobody is anywhere for long enough to be at home there
	return p
}

// spell is a stay as a life has it: what happened in one place without a long pause.
type spell struct {
	place       string
	first, last int64
	deeds       []deed
}

// days are those on which the stay may have been noticed first: that of its first pane, and near midnight the next.
func (s *spell) days() []int64 {
	days := []int64{s.first - s.first%daySecond}
	for _, d := range s.deeds {
		if day := d.pane - d.pane%daySecond; d.pane <= s.first+3600 && !slices.Contains(days, day) {
			days = append(days, day)
		}
	}
	return days
}

func alertID(principal, place string, day int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "farcall alert 1\x00%s\x00%s\x00%d", principal, place, day))
	return fmt.Sprintf("%x", sum[:16])
}

func (l *life) spells() (spells []spell) {
	for place, deeds := range l.places {
		deeds = slices.Clone(deeds)
		slices.SortStableFunc(deeds, func(a, b deed) int { return int(a.pane - b.pane) })
		begin := 0
		for i := range deeds {
			if i+1 < len(deeds) && deeds[i+1].pane-deeds[i].pane <= stayGap {
				continue
			}
			spells = append(spells, spell{place, deeds[begin].pane, deeds[i].pane, deeds[begin : i+1]})
			begin = i + 1
		}
	}
	return spells
}

// checkTriage wants triage's rows to be those that follow from the raw topic, and no others.
func (v *verdict) checkTriage(d derived, r reading) {
	since := map[int32]map[string]int64{}
	left := map[int32]map[string]string{}
	for n := range int32(partitions) {
		since[n] = map[string]int64{}
		left[n] = maps.Clone(r.triage[n])
		delete(left[n], metaKey)
	}
	exact := func(n int32, key, want string) {
		v.rows++
		switch row, ok := left[n][key]; {
		case !ok:
			v.differ("triage's row %q of partition %d is missing, want %x", key, n, want)
		case row != want:
			v.differ("triage's row %q of partition %d is\n   %x, want\n   %x", key, n, row, want)
		}
		delete(left[n], key)
	}
	alerted := map[string]bool{}
	for _, rec := range r.alerts {
		alerted[rec.key] = true
	}
	for _, who := range slices.Sorted(maps.Keys(d.lives)) {
		l := d.lives[who]
		n := partitionOf(who, partitions)
		for account, pane := range l.accounts {
			for _, of := range []string{"", account} {
				if first, ok := since[n][of]; !ok || pane < first {
					since[n][of] = pane
				}
			}
		}
		spells := l.spells()
		if len(spells) > maxStays { // which of them are remembered, and so where the next begins, depends on the order
			v.busy = append(v.busy, who)
			delete(left[n], "p"+who)
			delete(left[n], "e"+who)
			for i := range spells { // a stay that was forgotten may have begun again on any day of the spell
				s := &spells[i]
				for day := s.first - s.first%daySecond; day <= s.last; day += daySecond {
					delete(left[n], "a"+alertID(who, s.place, day))
				}
			}
			continue
		}
		exact(n, "p"+who, l.profile().row())
		v.checkStays(n, who, l, spells, left[n], alerted)
	}
	for n, accounts := range since {
		for of, pane := range accounts {
			exact(n, "o"+of, string(binary.AppendVarint([]byte{1}, pane)))
		}
	}
	for n := range int32(partitions) {
		for _, key := range slices.Sorted(maps.Keys(left[n])) {
			v.differ("triage's row %q of partition %d is of no input: %x", key, n, left[n][key])
		}
	}
}

// checkStays wants the stays of a principal to be its spells, and each to have its alert row. It takes both out of rows.
func (v *verdict) checkStays(n int32, who string, l *life, spells []spell, rows map[string]string, alerted map[string]bool) {
	v.rows++
	stays, err := parseStays(rows["e"+who])
	delete(rows, "e"+who)
	if err != nil {
		v.differ("triage's stays of %s in partition %d: %v", who, n, err)
		return
	}
	if !slices.IsSortedFunc(stays, func(a, b stay) int { return int(a.first - b.first) }) || len(stays) != len(spells) {
		v.differ("triage's stays of %s in partition %d are %+v, want %d in the order of their first panes", who, n, stays, len(spells))
	}
	for i := range spells {
		s := &spells[i]
		at := slices.IndexFunc(stays, func(o stay) bool { return o.place == s.place && o.first == s.first })
		if at < 0 {
			v.differ("triage knows of no stay of %s in %s from pane %d on", who, s.place, s.first)
			continue
		}
		o := stays[at]
		id := alertID(who, o.place, o.day)
		if o.last != s.last || !slices.Contains(s.days(), o.day) || o.settled || o.alerted != alerted[id] {
			v.differ("triage's stay of %s is %+v, want one until pane %d, of a day of %v, not settled, alerted: %t",
				who, o, s.last, s.days(), alerted[id])
		}
		v.rows++
		row, ok := o.facts, true
		if row == "" {
			row, ok = rows["a"+id]
			delete(rows, "a"+id)
		}
		if !ok {
			v.differ("triage has no row of alert %s about %s in %s", id, who, o.place)
			continue
		}
		a, err := parseAlertRow(row)
		if err != nil && o.facts == "" {
			continue // as checkAlerts says
		}
		if err != nil || a.quiet() != (o.facts != "") {
			v.differ("triage's facts of the stay of %s in %s are %+v, %v; in the row of its stays: %t", who, o.place, a, err, o.facts != "")
			continue
		}
		for _, what := range l.contradicts(who, s, &a) {
			v.differ("triage's row of alert %s about %s in %s: %s", id, who, o.place, what)
		}
	}
}

// called says whether a method was called, and allowed, from anywhere between two panes, in Unix seconds.
func (l *life) called(method string, from, to int64) bool {
	for _, deeds := range l.places {
		if slices.ContainsFunc(deeds, func(d deed) bool { return d.method == method && d.outcome == allowed && d.pane > from && d.pane <= to }) {
			return true
		}
	}
	return false
}

// contradicts says what an alert row says of a spell that did not happen so.
func (l *life) contradicts(who string, s *spell, a *alertRow) (what []string) {
	wrong := func(format string, args ...any) { what = append(what, fmt.Sprintf(format, args...)) }
	outcomes := map[string]byte{} // by method, and of all
	var firsts, lasts []int64
	lasts = append(lasts, s.last*1000)
	for _, d := range s.deeds {
		outcomes[d.method] |= d.outcome
		outcomes[""] |= d.outcome
		if d.pane == s.first {
			firsts = append(firsts, d.millis)
		}
		if d.pane == s.last {
			lasts = append(lasts, d.millis)
		}
	}
	within := func(outcome, of byte) bool { return outcome != 0 && outcome&^of == 0 }
	if !a.timely || a.verdict != 0 || a.dropped != 0 || a.route > 1 {
		wrong("timely %t, verdict %d, %d dropped, route %d", a.timely, a.verdict, a.dropped, a.route)
	}
	if !within(a.outcome, outcomes[""]) {
		wrong("the outcome %d of %d", a.outcome, outcomes[""])
	}
	if !slices.Contains(firsts, a.first) || !slices.Contains(lasts, a.last) {
		wrong("from %d to %d, where nothing happened", a.first, a.last)
	}
	keys, clients := map[string]bool{}, map[string]bool{}
	for pane := range panesOf(s.deeds) {
		for _, list := range [...]struct {
			to map[string]bool
			of map[string]map[int64]bool
		}{{keys, l.keys}, {clients, l.clients}} {
			for name, panes := range list.of {
				if panes[pane] {
					list.to[name] = true
				}
			}
		}
	}
	if !slices.Equal(a.keys, slices.Sorted(maps.Keys(keys))) || !slices.Equal(a.clients, slices.Sorted(maps.Keys(clients))) ||
		a.networks != 0 {
		wrong("keys %v, clients %v, %d networks", a.keys, a.clients, a.networks)
	}
	if _, ok := l.places[a.elsewhere]; a.elsewhere == s.place || a.elsewhere != "" && !ok {
		wrong("elsewhere in %q", a.elsewhere)
	}
	best := int64(0)
	for i, m := range a.methods {
		best = max(best, m.score)
		if m.account != account || !within(m.outcome, outcomes[m.name]) ||
			!slices.ContainsFunc(s.deeds, func(d deed) bool { return d.method == m.name && d.id == m.id && d.millis == m.first }) {
			wrong("%+v, which did not happen", m)
		}
		if i > 0 && (a.methods[i-1].first > m.first || a.methods[i-1].first == m.first && a.methods[i-1].name >= m.name) {
			wrong("%s behind %s", m.name, a.methods[i-1].name)
		}
		if m.isNew && l.called(m.name, m.first/1000-int64(window/time.Second), m.first/1000-int64(longBefore/time.Second)) {
			wrong("%s is new, and was called before", m.name)
		}
	}
	for _, said := range [...]*anomaly{&a.lead, &a.organisation} {
		if said.method == "" && said == &a.organisation {
			continue
		}
		whatever := said == &a.organisation
		if said.principal != who || said.place != s.place || whatever != (said.method == anyMethod) ||
			!slices.ContainsFunc(s.deeds, func(d deed) bool {
				return (whatever || d.method == said.method) && d.id == said.id && d.at == said.at &&
					d.millis == said.millis && d.pane == said.pane && d.outcome == said.outcome
			}) {
			wrong("the evidence %+v, which is none", *said)
		}
	}
	named := slices.ContainsFunc(a.methods, func(m fact) bool { return m.name == a.lead.method })
	if int64(a.lead.score*100+0.5) != best || len(a.methods) > 0 && !named {
		wrong("the lead %s of score %v among %s", a.lead.method, a.lead.score, strings.TrimSpace(fmt.Sprint(a.methods)))
	}
	return what
}
