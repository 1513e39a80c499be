package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// plan is what was planted.
type plan struct {
	produced  int // raw records
	incidents []incident
	bad       []badRecord
}

func (p plan) badValues() map[string]bool {
	bad := map[string]bool{}
	for _, b := range p.bad {
		bad[b.value] = true
	}
	return bad
}

// at is a place in a topic.
type at struct {
	partition int32
	offset    int64
}

// record is one record of a topic.
type record struct {
	at
	key, value string
	headers    map[string]string
}

// reading is what a run left behind, read_committed. The checker looks at nothing else.
type reading struct {
	raw, alerts, letters []record
	detect, triage       map[int32]map[string]string // what compaction leaves of the changelogs, by partition
	// inputs has the first offset behind the last committed record, and committed the group's offset, of every partition of
	// each stage's input.
	inputs, committed map[string]map[int32]int64
	busy              []string // whose rows of triage are not looked at: to tamper with them proves nothing
}

// verdict is what the checker found: everything that differs, in words.
type verdict struct {
	incidents, alerts, rows, letters int      // looked at
	lost, doubled                    int      // incidents without an alert, versions of alerts that are there twice
	busy                             []string // principals with more stays than their row holds, whose profile, stays and alert rows were not looked at
	differs                          []string
}

func (v *verdict) differ(format string, args ...any) {
	v.differs = append(v.differs, fmt.Sprintf(format, args...))
}

// check holds a reading against the plan.
func check(p plan, r reading) *verdict {
	v := &verdict{}
	if len(r.raw) != p.produced {
		v.differ("raw topic: %d records are there, %d were produced", len(r.raw), p.produced)
	}
	v.checkAlerts(p, r)
	if d, err := derive(p, r.raw); err != nil {
		v.differ("%v", err)
	} else {
		v.checkRows(d, r)
		v.checkTriage(d, r)
	}
	v.checkOffsets(r)
	v.checkLetters(p, r)
	return v
}

// document is what the checker wants of an alert.
type document struct {
	Event struct {
		ID       string  `json:"id"`
		Sequence int64   `json:"sequence"`
		Score    float64 `json:"risk_score"`
	} `json:"event"`
	Farcall struct {
		Principal string `json:"principal"`
		Place     string `json:"place"`
		Methods   []struct {
			Name string `json:"name"`
		} `json:"methods"`
	} `json:"farcall"`
}

func (d *document) methods() (names []string) {
	for _, m := range d.Farcall.Methods {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// about is what an alert is about: no two incidents share it.
type about struct{ principal, place string }

// homeOf is the country that the people of the load work in: their names begin with it.
func homeOf(principal string) string {
	name := principal[strings.LastIndexByte(principal, '/')+1:]
	return strings.ToUpper(name[:min(2, len(name))])
}

func (i incident) about() about { return about{i.principal, i.country} }

// checkAlerts wants for every incident one alert, with each of its versions once and none missing between them, up to one that has
// all of its methods; no alert besides, but of victims,
// who were at home and elsewhere at once; and the rows of triage to say the same. What an alert scores is not for it to judge.
func (v *verdict) checkAlerts(p plan, r reading) {
	v.incidents = len(p.incidents)
	planted, atHome := map[about]bool{}, map[about]bool{}
	for _, i := range p.incidents {
		planted[i.about()] = true
		atHome[about{i.principal, homeOf(i.principal)}] = true
	}
	versions := map[string]map[int64]at{}
	newest := map[string]document{}
	ids := map[about]map[string]bool{}
	for _, rec := range r.alerts {
		v.alerts++
		var d document
		if err := json.Unmarshal([]byte(rec.value), &d); err != nil {
			v.differ("alert at %d/%d is no JSON: %v", rec.partition, rec.offset, err)
			continue
		}
		id := d.Event.ID
		if rec.key != id {
			v.differ("alert at %d/%d has the key %q and the id %q", rec.partition, rec.offset, rec.key, id)
		}
		what := about{d.Farcall.Principal, d.Farcall.Place}
		if !planted[what] && !atHome[what] {
			v.differ("alert %s at %d/%d about %+v, which was not planted", id, rec.partition, rec.offset, what)
		}
		if versions[id] == nil {
			versions[id] = map[int64]at{}
		}
		if first, ok := versions[id][d.Event.Sequence]; ok {
			v.doubled++
			v.differ("version %d of alert %s is there twice, at %d/%d and %d/%d", d.Event.Sequence, id, first.partition, first.offset, rec.partition, rec.offset)
			continue
		}
		versions[id][d.Event.Sequence] = rec.at
		if n, ok := newest[id]; !ok || n.Event.Sequence < d.Event.Sequence {
			newest[id] = d
		}
		if ids[what] == nil {
			ids[what] = map[string]bool{}
		}
		ids[what][id] = true
	}
	for _, i := range p.incidents {
		switch found := slices.Sorted(maps.Keys(ids[i.about()])); len(found) {
		case 0:
			v.lost++
			v.differ("no alert about %s", i)
		case 1:
			id := found[0]
			d := newest[id]
			if want := slices.Sorted(slices.Values(i.methods)); !slices.Equal(d.methods(), want) {
				v.lost++
				v.differ("the last version, %d, of alert %s about %s has the methods %v", d.Event.Sequence, id, i, d.methods())
			}
			// An alert may cross the threshold with any of its versions; from then on each of them is written.
			for n := slices.Min(slices.Collect(maps.Keys(versions[id]))); n < d.Event.Sequence; n++ {
				if _, ok := versions[id][n]; !ok {
					v.lost++
					v.differ("version %d of alert %s about %s is missing", n, id, i)
				}
			}
			row, ok := r.triage[partitionOf(i.principal, partitions)]["a"+id]
			if !ok {
				v.differ("triage has no row of alert %s about %s", id, i)
				continue
			}
			if a, err := parseAlertRow(row); err != nil {
				v.differ("triage's row of alert %s: %v", id, err)
			} else if a.version != d.Event.Sequence || a.score != d.Event.Score {
				v.differ("triage's row of alert %s is at version %d and score %v, the last alert at %d and %v", id, a.version, a.score, d.Event.Sequence, d.Event.Score)
			}
		default:
			v.doubled++
			v.differ("%d alerts about %s: %s", len(found), i, strings.Join(found, ", "))
		}
	}
	for id, d := range newest {
		if _, ok := r.triage[partitionOf(d.Farcall.Principal, partitions)]["a"+id]; !ok {
			v.differ("triage has no row of alert %s", id)
		}
	}
	for partition, rows := range r.triage {
		for key, row := range rows {
			if key[0] != 'a' {
				continue
			}
			a, err := parseAlertRow(row)
			if err != nil {
				v.differ("triage's row %q of partition %d: %v", key, partition, err)
			} else if n := newest[key[1:]].Event.Sequence; a.sent() != (n > 0) || a.sent() && a.version != n {
				v.differ("triage's row of alert %s is at version %d and was sent: %t, the last alert is at %d", key[1:], a.version, a.sent(), n)
			}
		}
	}
}

// anyMethod is what all methods together are called.
const anyMethod = "*"

// call is what the checker wants of a CloudTrail record.
type call struct {
	Time     time.Time `json:"eventTime"`
	Source   string    `json:"eventSource"`
	Name     string    `json:"eventName"`
	Address  string    `json:"sourceIPAddress"`
	Error    string    `json:"errorCode"`
	ID       string    `json:"eventID"`
	Account  string    `json:"recipientAccountId"`
	Agent    string    `json:"userAgent"`
	Identity struct {
		Account string `json:"accountId"`
		User    string `json:"userName"`
		Key     string `json:"accessKeyId"`
	} `json:"userIdentity"`
}

func (c *call) principal() string { return c.Identity.Account + "/user/" + c.Identity.User }
func (c *call) place() string     { return countryOf[c.Address[:strings.LastIndexByte(c.Address, '.')]] }
func (c *call) method() string    { return strings.TrimSuffix(c.Source, ".amazonaws.com") + ":" + c.Name }
func (c *call) pane() int64       { return c.Time.Truncate(paneWidth).Unix() }
func (c *call) outcome() byte {
	if c.Error != "" {
		return denied
	}
	return allowed
}

// calls are the good events of a raw record.
func calls(value string, bad map[string]bool) ([]call, error) {
	b := []byte(value)
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		if b, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	if bad[string(b)] {
		return nil, nil
	}
	var list struct{ Records []json.RawMessage }
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	if list.Records == nil {
		list.Records = []json.RawMessage{b}
	}
	var cs []call
	for _, one := range list.Records {
		if bad[string(one)] {
			continue
		}
		var c call
		if err := json.Unmarshal(one, &c); err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// derived is what follows from the raw topic.
type derived struct {
	detect map[int32]map[string]string // the rows that detect must have, by partition
	lives  map[string]*life            // by principal
}

func derive(p plan, raw []record) (derived, error) {
	bad := p.badValues()
	type where struct {
		method string
		pane   int64
	}
	panes := map[where]presences{}
	seen := map[string]map[string]span{}
	lives := map[string]*life{}
	for _, rec := range raw {
		cs, err := calls(rec.value, bad)
		if err != nil {
			return derived{}, fmt.Errorf("raw record %d/%d: %w", rec.partition, rec.offset, err)
		}
		for _, c := range cs {
			who, place, outcome := c.principal(), c.place(), c.outcome()
			if lives[who] == nil {
				lives[who] = newLife()
			}
			lives[who].add(&c, rec.at)
			for _, method := range []string{c.method(), anyMethod} {
				w := where{method, c.pane()}
				if panes[w] == nil {
					panes[w] = presences{}
				}
				if seen[method] == nil {
					seen[method] = map[string]span{}
				}
				if outcome == allowed {
					s, ok := seen[method][place]
					if !ok {
						s = span{w.pane, w.pane}
					}
					seen[method][place] = span{min(s.first, w.pane), max(s.last, w.pane)}
				}
				panes[w].add(place, who, outcome)
			}
		}
	}
	rows := map[int32]map[string]string{}
	for n := range int32(partitions) {
		rows[n] = map[string]string{}
	}
	newest := map[int32]int64{}
	for w := range panes {
		n := partitionOf(w.method, partitions)
		newest[n] = max(newest[n], w.pane)
	}
	for w, who := range panes {
		if w.pane <= newest[partitionOf(w.method, partitions)]-int64((window+lookBack)/time.Second) {
			continue // forgotten
		}
		maps.Copy(rows[partitionOf(w.method, partitions)], who.rows(w.method, w.pane))
	}
	for method, places := range seen {
		rows[partitionOf(method, partitions)]["s"+method] = seenRow(places)
	}
	return derived{rows, lives}, nil
}

// checkRows wants detect's rows to be those that follow from the raw topic, byte by byte and no others.
func (v *verdict) checkRows(d derived, r reading) {
	want := d.detect
	for n := range int32(partitions) {
		got := maps.Clone(r.detect[n])
		delete(got, metaKey)
		// When a pulse was last heard of depends on how often route told it.
		maps.DeleteFunc(got, func(key, _ string) bool { return key[0] == 'u' })
		for _, key := range slices.Sorted(maps.Keys(want[n])) {
			v.rows++
			row, ok := got[key]
			switch {
			case !ok:
				v.differ("detect's row %q of partition %d is missing, want %x", key, n, want[n][key])
			case row != want[n][key]:
				v.differ("detect's row %q of partition %d is\n   %x, want\n   %x", key, n, row, want[n][key])
			}
			delete(got, key)
		}
		for _, key := range slices.Sorted(maps.Keys(got)) {
			v.differ("detect's row %q of partition %d is of no input: %x", key, n, got[key])
		}
	}
}

// checkOffsets wants every stage to have committed its input to the end, and the rows to be of that very position.
func (v *verdict) checkOffsets(r reading) {
	for _, stage := range []string{"route", "detect", "triage"} {
		for _, n := range slices.Sorted(maps.Keys(r.inputs[stage])) {
			end := r.inputs[stage][n]
			done, ok := r.committed[stage][n]
			// Behind the last record lie markers, and what was aborted: the position may be anywhere there.
			if end > 0 && (!ok || done < end) {
				v.differ("%s has committed offset %d of partition %d of its input, whose last record ends at %d", stage, done, n, end)
			}
			rows := map[string]map[int32]map[string]string{"detect": r.detect, "triage": r.triage}[stage]
			if rows == nil || !ok {
				continue
			}
			meta, err := metaInput(rows[n][metaKey])
			if err != nil {
				v.differ("%s's meta row of partition %d: %v", stage, n, err)
			} else if meta != done {
				v.differ("%s's rows of partition %d are of input offset %d, the group committed %d", stage, n, meta, done)
			}
		}
	}
}

// letter names a dead letter by its source.
type letter struct {
	at
	byte string
}

// checkLetters wants every bad record that was planted in the dead letters once, with reason and coordinates, and no other.
func (v *verdict) checkLetters(p plan, r reading) {
	want := map[letter]badRecord{}
	for _, b := range p.bad {
		want[letter{at{b.partition, b.offset}, fmt.Sprint(b.byte)}] = b
	}
	found := map[letter]bool{}
	for _, rec := range r.letters {
		v.letters++
		h := rec.headers
		var l letter
		if _, err := fmt.Sscan(h["farcall.source.partition"]+" "+h["farcall.source.offset"], &l.partition, &l.offset); err != nil {
			v.differ("dead letter at %d/%d: coordinates: %v", rec.partition, rec.offset, err)
			continue
		}
		l.byte = h["farcall.source.byte"]
		where := fmt.Sprintf("dead letter at %d/%d, of raw record %d/%d byte %s,", rec.partition, rec.offset, l.partition, l.offset, l.byte)
		b, ok := want[l]
		switch {
		case h["farcall.stage"] != "route" || h["farcall.source.topic"] != rawTopic:
			v.differ("%s comes from %s by %s", where, h["farcall.source.topic"], h["farcall.stage"])
		case !ok:
			v.differ("%s was not planted: %s %s", where, h["farcall.reason"], h["farcall.detail"])
		case found[l]:
			v.doubled++
			v.differ("%s is there twice", where)
		case h["farcall.reason"] != b.reason:
			v.differ("%s has the reason %s, want %s", where, h["farcall.reason"], b.reason)
		case rec.value != b.value || h["farcall.size"] != fmt.Sprint(len(b.value)) || h["farcall.sha256"] != fmt.Sprintf("%x", sha256.Sum256([]byte(b.value))):
			v.differ("%s holds %s bytes %q of sum %s, want %q", where, h["farcall.size"], rec.value, h["farcall.sha256"], b.value)
		}
		found[l] = true
	}
	for l, b := range want {
		if !found[l] {
			v.lost++
			v.differ("no dead letter of raw record %d/%d byte %s (%s)", l.partition, l.offset, l.byte, b.reason)
		}
	}
}
