package main

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// tampering is a way in which a run could have gone wrong.
type tampering struct {
	name string
	do   func(p plan, r *reading) error // on a copy; an error says that the reading has nothing to do it to
}

var errNothing = errors.New("the reading has nothing to try this on")

func cloneRows(rows map[int32]map[string]string) map[int32]map[string]string {
	c := map[int32]map[string]string{}
	for n, m := range rows {
		c[n] = maps.Clone(m)
	}
	return c
}

// tamperings are what the checker must notice, each alone.
var tamperings = []tampering{
	{"one alert removed", func(_ plan, r *reading) error {
		if len(r.alerts) == 0 {
			return errNothing
		}
		// The newest version: which one is the first above the threshold only farcall can say.
		newest, sequence := 0, int64(-1)
		for i, rec := range r.alerts {
			var d document
			if rec.key == r.alerts[len(r.alerts)/2].key && json.Unmarshal([]byte(rec.value), &d) == nil && d.Event.Sequence > sequence {
				newest, sequence = i, d.Event.Sequence
			}
		}
		r.alerts = slices.Delete(slices.Clone(r.alerts), newest, newest+1)
		return nil
	}},
	{"one alert doubled", func(_ plan, r *reading) error {
		if len(r.alerts) == 0 {
			return errNothing
		}
		r.alerts = append(slices.Clone(r.alerts), r.alerts[len(r.alerts)/2])
		return nil
	}},
	{"one row altered", func(_ plan, r *reading) error {
		r.detect = cloneRows(r.detect)
		for _, rows := range r.detect {
			for key, row := range rows {
				if key[0] == 'w' {
					rows[key] = row[:len(row)-1] + string([]byte{row[len(row)-1] ^ 1})
					return nil
				}
			}
		}
		return errNothing
	}},
	{"one row of triage a version behind", func(_ plan, r *reading) error {
		r.triage = cloneRows(r.triage)
		for _, rows := range r.triage {
			for key, row := range rows {
				if key[0] != 'a' {
					continue
				}
				if a, err := parseAlertRow(row); err == nil && a.sent() {
					rows[key] = row[:1] + string([]byte{row[1] - 2}) + row[2:] // a varint below 64: zigzag, in one byte
					return nil
				}
			}
		}
		return errNothing
	}},
	{"one row gone", func(_ plan, r *reading) error {
		r.detect = cloneRows(r.detect)
		for _, rows := range r.detect {
			for key := range rows {
				if key[0] == 'w' {
					delete(rows, key)
					return nil
				}
			}
		}
		return errNothing
	}},
	{"one dead letter missing", func(_ plan, r *reading) error {
		if len(r.letters) == 0 {
			return errNothing
		}
		r.letters = slices.Delete(slices.Clone(r.letters), len(r.letters)/2, len(r.letters)/2+1)
		return nil
	}},
	{"one dead letter doubled", func(_ plan, r *reading) error {
		if len(r.letters) == 0 {
			return errNothing
		}
		r.letters = append(slices.Clone(r.letters), r.letters[0])
		return nil
	}},
	{"one profile altered", func(_ plan, r *reading) error {
		return alterRow(r, 'p', func(row string) string { return flip(row, len(row)-3) }) // until when its principal stayed
	}},
	{"one profile gone", func(_ plan, r *reading) error { return alterRow(r, 'p', nil) }},
	{"one account known since another pane", func(_ plan, r *reading) error {
		return alterRow(r, 'o', func(row string) string { return flip(row, 2) })
	}},
	{"one stay ends in another pane", func(_ plan, r *reading) error {
		return alterRow(r, 'e', func(row string) string {
			stays, err := parseStays(row)
			if err != nil || len(stays) == 0 {
				return row
			}
			b := []byte(stays[0].place)
			for _, n := range [...]int64{stays[0].day, stays[0].first, stays[0].last} {
				b = binary.AppendVarint(b, n)
			}
			return flip(row, strings.Index(row, string(b))+len(b)-2)
		})
	}},
	{"one stay founded by another event", func(_ plan, r *reading) error {
		return alterRow(r, 'e', func(row string) string {
			stays, err := parseStays(row)
			if err != nil {
				return row
			}
			for _, s := range stays {
				if a, err := parseAlertRow(s.facts); err == nil {
					return flip(row, strings.Index(row, a.lead.id))
				}
			}
			return row
		})
	}},
	{"one alert row of another event", func(_ plan, r *reading) error {
		return alterRow(r, 'a', func(row string) string {
			a, err := parseAlertRow(row)
			if err != nil || len(a.methods) == 0 {
				return row
			}
			// The last place that names the event is its method's: the lead stands before.
			return flip(row, strings.LastIndex(row, a.methods[0].id))
		})
	}},
	{"one alert row gone", func(_ plan, r *reading) error { return alterRow(r, 'a', nil) }},
	{"one raw record skipped by detect", func(p plan, r *reading) error {
		i, err := alone(p, r.raw, func(c *call) string { return fmt.Sprint(c.method(), c.place(), c.principal(), c.pane(), c.outcome()) })
		if err != nil {
			return err
		}
		// The rows are those of all other raw records.
		fewer, err := derive(p, slices.Delete(slices.Clone(r.raw), i, i+1))
		if err != nil {
			return err
		}
		for n := range fewer.detect {
			fewer.detect[n][metaKey] = r.detect[n][metaKey]
		}
		r.detect = fewer.detect
		return nil
	}},
	{"one raw record skipped by triage", func(p plan, r *reading) error {
		i, err := alone(p, r.raw, func(c *call) string {
			if slices.Contains(r.busy, c.principal()) {
				return "of somebody busy"
			}
			return fmt.Sprint(c.place(), c.principal(), c.pane())
		})
		if err != nil {
			return err
		}
		cs, err := calls(r.raw[i].value, p.badValues())
		if err != nil {
			return err
		}
		fewer, err := derive(p, slices.Delete(slices.Clone(r.raw), i, i+1))
		if err != nil {
			return err
		}
		who := cs[0].principal()
		l := fewer.lives[who]
		if l == nil {
			l = newLife()
		}
		r.triage = cloneRows(r.triage)
		r.triage[partitionOf(who, partitions)]["p"+who] = l.profile().row()
		return nil
	}},
	{"one input offset not committed", func(_ plan, r *reading) error {
		for n, end := range r.inputs["route"] {
			if end > 0 {
				route := maps.Clone(r.committed["route"])
				route[n] = end - 1
				r.committed = maps.Clone(r.committed)
				r.committed["route"] = route
				return nil
			}
		}
		return errNothing
	}},
	{"rows of another position than the group's", func(_ plan, r *reading) error {
		for n := range r.inputs["detect"] {
			if at, ok := r.committed["detect"][n]; ok {
				detect := maps.Clone(r.committed["detect"])
				detect[n] = at + 1
				r.committed = maps.Clone(r.committed)
				r.committed["detect"] = detect
				return nil
			}
		}
		return errNothing
	}},
}

// alterRow has one row of triage, whose key begins with kind, say something else, or takes it away.
func alterRow(r *reading, kind byte, alter func(row string) string) error {
	r.triage = cloneRows(r.triage)
	for _, rows := range r.triage {
		for key, row := range rows {
			if key[0] != kind || kind != 'o' && slices.Contains(r.busy, owner(key, row)) {
				continue
			}
			if alter == nil {
				delete(rows, key)
				return nil
			}
			if rows[key] = alter(row); rows[key] != row {
				return nil
			}
		}
	}
	return errNothing
}

// owner is the principal of a row of triage.
func owner(key, row string) string {
	if key[0] != 'a' {
		return key[1:]
	}
	a, err := parseAlertRow(row)
	if err != nil {
		return ""
	}
	return cmp.Or(a.lead.principal, a.organisation.principal)
}

func flip(s string, i int) string { return s[:i] + string([]byte{s[i] ^ 2}) + s[i+1:] }

// alone finds a raw record that tells of a presence, as spelled, that no other tells of, and that is not forgotten.
func alone(p plan, raw []record, spell func(*call) string) (index int, err error) {
	times := map[string]int{}
	single := map[int]string{}
	when := map[int]time.Time{}
	var newest time.Time
	bad := p.badValues()
	for i, rec := range raw {
		cs, err := calls(rec.value, bad)
		if err != nil {
			return 0, err
		}
		for _, c := range cs {
			presence := spell(&c)
			times[presence]++
			if len(cs) == 1 {
				single[i], when[i] = presence, c.Time
			}
			if c.Time.After(newest) {
				newest = c.Time
			}
		}
	}
	for i, presence := range single {
		if times[presence] == 1 && newest.Sub(when[i]) < window {
			return i, nil
		}
	}
	return 0, errNothing
}

// prove shows that the checker would have noticed: it takes a reading without fault and must reject each tampered copy of it.
func prove(p plan, r reading, busy []string) (rejected int, err error) {
	r.busy = busy
	var errs []error
	for _, t := range tamperings {
		c := r
		switch err := t.do(p, &c); {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		case len(check(p, c).differs) == 0:
			errs = append(errs, fmt.Errorf("the checker accepts a reading with %s", t.name))
		default:
			rejected++
		}
	}
	return rejected, errors.Join(errs...)
}
