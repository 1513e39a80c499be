package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// golden reads rows as farcall wrote them once: what state keeps for ever.
func golden(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "state", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	key := ""
	for line := range strings.Lines(string(text)) {
		line, isKey := strings.CutPrefix(strings.TrimSpace(line), "key ")
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if isKey {
			key = string(b)
		} else {
			rows[key] += string(b)
		}
	}
	return rows
}

// triageGolden is a row as triage wrote it once.
func triageGolden(t *testing.T, kind string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "processor", "triage", "testdata", kind+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRowsAreAsStateWritesThem(t *testing.T) {
	pane := func(n int, places ...string) map[string]string {
		p := presences{}
		for _, place := range places {
			for i := range n {
				p.add(place, fmt.Sprint(place, i), byte(1+i%3))
			}
		}
		return p.rows("iam:CreateUser", 1_699_999_200)
	}
	for name, got := range map[string]map[string]string{
		"pane.v1.hex":         pane(3, "DE", "US"),
		"pane-counter.v1.hex": pane(33, "DE", "US"),
		"pane-split.v1.hex":   pane(20, "BR", "DE", "FR", "GB", "IN", "JP", "US", "aws:eu-central-1", "aws:us-east-1"),
		"seen.v1.hex": {"s123456789012|iam:CreateUser": seenRow(map[string]span{
			"DE": {1_690_000_000, 1_699_999_200}, "US": {1_600_000_000, 1_600_000_000}, "aws:us-east-1": {0, 3600},
		})},
	} {
		if diff := cmp.Diff(golden(t, name), got); diff != "" {
			t.Errorf("%s (-state +here):\n%s", name, diff)
		}
	}
	days := trail{472_000, 0b1011}
	const monday, twelve = 1_700_438_400, 12 * 86_400
	seen := func(name string, hours *[3]uint64) seenWith {
		return seenWith{name, monday - twelve, monday, days, days, hours}
	}
	p := profile{since: monday - twelve, last: monday, days: days, accepted: []string{"FR"}, refused: []string{"KP", "NG"}, lists: [4][]seenWith{
		{seen("DE", &[3]uint64{1, 2, 3}), seen("aws:us-east-1", &[3]uint64{1, 2, 3})}, {seen("aws-cli on linux", nil)}, {seen("AKIAUSUAL", nil)},
		{seen("AS1", nil), seen("AS2", nil)},
	}, stayed: monday + 86_400}
	if diff := cmp.Diff(triageGolden(t, "profile.v2"), p.row()); diff != "" {
		t.Errorf("profile (-triage +here):\n%s", diff)
	}
	stays, err := parseStays(triageGolden(t, "stays.v2"))
	if want := (stay{"NG", monday, monday, monday + 7*3600, true, false, ""}); err != nil || len(stays) != 2 || stays[0] != want || !stays[1].settled {
		t.Errorf("triage's stays are read as %+v, %v", stays, err)
	}
	if a, err := parseAlertRow(stays[len(stays)-1].facts); err != nil || !a.quiet() || !slices.Equal(a.clients, []string{"aws-cli on linux"}) {
		t.Errorf("the facts of triage's stay are read as %+v, %v", a, err)
	}
	a, err := parseAlertRow(triageGolden(t, "alert.v1"))
	want := fact{"iam:CreateUser", "e1", "111122223333", 9000, 1, allowed, true, (monday + 60) * 1000}
	if err != nil || a.version != 7 || !a.sent() || a.verdict != 2 || len(a.methods) != 2 || a.methods[0] != want || a.networks != 1 || a.elsewhere != "DE" || a.score != 82.5 ||
		a.lead.score != 90 || a.lead.place != "NG" || a.organisation.method != anyMethod {
		t.Errorf("triage's alert row is read as %+v, %v", a, err)
	}
	if at, err := metaInput(golden(t, "meta.v1.hex")[metaKey]); err != nil || at != 123_456_789 {
		t.Errorf("the meta row of state is read as %d, %v", at, err)
	}
}

func TestPartitionsAreKafkas(t *testing.T) {
	java := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for i := range 500 {
		key := strings.Repeat("x", i%7) + fmt.Sprint(i)
		if got, want := partitionOf(key, 4), int32(java.Partition(&kgo.Record{Key: []byte(key)}, 4)); got != want {
			t.Fatalf("key %q: partition %d, want %d", key, got, want)
		}
	}
}

// goodRun is a plan, and a reading of what an undisturbed run makes of it.
func goodRun(t *testing.T) (plan, reading) {
	t.Helper()
	l := &load{rng: rand.New(rand.NewPCG(1, 2))}
	now := time.Unix(1_800_000_030, 0)
	p := plan{
		incidents: []incident{
			{principal: account + "/user/alice", country: "NG", methods: []string{"iam:CreateUser"}, pane: now.Truncate(paneWidth).Unix()},
			{principal: account + "/user/bob", country: "VN", methods: []string{"kms:Decrypt", "s3:GetObject"}, pane: now.Truncate(paneWidth).Unix()},
		},
		bad: []badRecord{{partition: 1, offset: 0, reason: "not_json", value: "rubbish"}},
	}
	r := reading{
		inputs:    map[string]map[int32]int64{"route": {}, "detect": {}, "triage": {}},
		committed: map[string]map[int32]int64{"route": {}, "detect": {}, "triage": {}},
	}
	send := func(partition int32, value []byte) {
		r.raw = append(r.raw, record{at: at{partition, r.inputs["route"][partition]}, value: string(value)})
		r.inputs["route"][partition]++
		p.produced++
	}
	send(1, []byte("rubbish"))
	usual := l.event(now, "carol", "DE", "iam:CreateUser", "")
	send(0, records([][]byte{usual, l.event(now, "carol", "DE", "kms:Decrypt", "AccessDenied")}))
	send(2, zipped(records([][]byte{usual})))
	// What is older than any window is known by its seen rows alone.
	send(3, l.event(now.Add(-3*window), "carol", "DE", "iam:CreateUser", ""))
	told := func(in incident, methods int, score string) {
		day := in.pane - in.pane%daySecond
		id := alertID(in.principal, in.country, day)
		var names []string
		for _, m := range in.methods[:methods] {
			names = append(names, fmt.Sprintf(`{"name":%q}`, m))
		}
		r.alerts = append(r.alerts, record{at: at{0, int64(len(r.alerts))}, key: id, value: fmt.Sprintf(
			`{"event":{"id":%q,"sequence":%d,"risk_score":%s,"start":%q},"farcall":{"principal":%q,"place":%q,"methods":[%s]}}`,
			id, methods, score, now.UTC().Format(time.RFC3339), in.principal, in.country, strings.Join(names, ","))})
	}
	for _, in := range p.incidents {
		who := strings.TrimPrefix(in.principal, account+"/user/")
		for v, m := range in.methods {
			send(int32(v), l.event(now, who, in.country, m, ""))
			told(in, v+1, "61.5")
		}
	}
	// Somebody was in more places than a row of stays holds.
	for _, place := range slices.Sorted(maps.Values(countryOf))[:maxStays+1] {
		send(1, l.event(now, "carol", place, "kms:Decrypt", ""))
	}
	r.busy = []string{account + "/user/carol"}
	// Somebody was at home, and nobody was told of it.
	send(1, l.event(now, "dave", "NL", "kms:Decrypt", ""))
	// A victim was at home meanwhile: an alert of its own.
	home := incident{account + "/user/bob", "BO", []string{"kms:Decrypt"}, now.Truncate(paneWidth).Unix()}
	send(1, l.event(now, "bob", home.country, home.methods[0], ""))
	told(home, 1, "61.5")
	r.letters = []record{{key: "cloudtrail/1", value: "rubbish", headers: map[string]string{
		"farcall.stage": "route", "farcall.reason": "not_json", "farcall.source.topic": rawTopic, "farcall.source.partition": "1",
		"farcall.source.offset": "0", "farcall.source.byte": "0", "farcall.size": "7",
		"farcall.sha256": fmt.Sprintf("%x", sha256.Sum256([]byte("rubbish"))),
	}}}
	d, err := derive(p, r.raw)
	if err != nil {
		t.Fatal(err)
	}
	r.detect, r.triage = d.detect, triageRows(d, r.alerts)
	for n, end := range r.inputs["route"] {
		r.committed["route"][n] = end
	}
	for _, rows := range []map[int32]map[string]string{r.detect, r.triage} {
		for n := range rows {
			rows[n][metaKey] = string(append(binary.AppendVarint([]byte{1}, 7), 0, 0))
		}
	}
	for _, stage := range []string{"detect", "triage"} {
		for n := range int32(partitions) {
			r.inputs[stage][n], r.committed[stage][n] = 6, 7
		}
	}
	return p, r
}

// triageRows are rows as triage would have them, if everything in a place were unusual, and nothing before it.
func triageRows(d derived, alerts []record) map[int32]map[string]string {
	rows := map[int32]map[string]string{}
	for n := range int32(partitions) {
		rows[n] = map[string]string{}
	}
	for who, l := range d.lives {
		mine := rows[partitionOf(who, partitions)]
		mine["p"+who] = l.profile().row()
		spells := l.spells()
		slices.SortFunc(spells, func(a, b spell) int { return int(a.first - b.first) })
		stays := binary.AppendVarint([]byte{2}, int64(len(spells)))
		for _, s := range spells {
			id := alertID(who, s.place, s.first-s.first%daySecond)
			version := 0
			for _, a := range alerts {
				if a.key == id {
					version++
				}
			}
			stays = appendText(stays, s.place)
			for _, n := range [...]int64{s.first - s.first%daySecond, s.first, s.last} {
				stays = binary.AppendVarint(stays, n)
			}
			stays = append(stays, byte(min(version, 1)), 0)
			facts := rowOfAlert(who, l, s, version)
			if version > 0 {
				mine["a"+id], facts = facts, ""
			}
			stays = appendText(stays, facts)
		}
		mine["e"+who] = string(stays)
		for account, pane := range l.accounts {
			for _, of := range []string{"", account} {
				old, n := binary.Varint([]byte(mine["o"+of])[min(1, len(mine["o"+of])):])
				if n == 0 || pane < old {
					mine["o"+of] = string(binary.AppendVarint([]byte{1}, pane))
				}
			}
		}
	}
	return rows
}

// rowOfAlert is the alert row of a spell with so many versions, of which each method is one: unsent, and without methods, for none.
func rowOfAlert(who string, l *life, s spell, version int) string {
	b := binary.AppendVarint([]byte{1}, int64(version))
	b = append(b, byte(min(version, 1)), 0, 1, s.deeds[0].outcome) // no verdict, timely
	for _, n := range [...]int64{s.deeds[0].millis, s.last * 1000, 0} {
		b = binary.AppendVarint(b, n)
	}
	score := 61.5 * float64(min(version, 1))
	b = appendText(b, anomalyOf(who, s, s.deeds[0].method, score))
	if version == 0 {
		b = appendText(b, "")
	} else {
		b = appendText(b, anomalyOf(who, s, anyMethod, 20))
	}
	b = binary.AppendVarint(b, int64(version))
	for _, d := range s.deeds[:version] {
		b = binary.AppendVarint(appendText(appendText(appendText(b, d.method), d.id), account), 6150)
		b = binary.AppendVarint(append(b, 1, d.outcome, 1), d.millis)
	}
	for _, set := range []map[string]map[int64]bool{l.clients, l.keys} {
		b = appendText(binary.AppendVarint(b, 1), slices.Collect(maps.Keys(set))[0])
	}
	b = append(b, 0, 0, 0, 0) // no networks, no overlap
	return string(append(binary.AppendVarint(b, int64(score*100)), 1, 2, 3, 4, 5, 6, 7, 8))
}

// anomalyOf is an anomaly record of the first deed of a spell.
func anomalyOf(who string, s spell, method string, score float64) string {
	d := s.deeds[0]
	v := []byte{1, 1, 0} // a visit, in no scope
	for _, text := range []string{method, who, s.place} {
		v = appendText(v, text)
	}
	v = append(binary.AppendVarint(v, d.pane), d.outcome)
	for _, n := range []int64{d.millis, d.millis, d.millis, int64(d.partition), d.offset, 0} {
		v = binary.AppendVarint(v, n)
	}
	v = appendText(append(v, 0), d.id)
	b := binary.BigEndian.AppendUint64([]byte{3, 1}, math.Float64bits(score))
	b = append(b, make([]byte, 8+1+9)...)
	return string(appendText(append(b, 1, 2, 'D', 'E', 4), string(v)))
}

func TestCheckerAcceptsAGoodRun(t *testing.T) {
	p, r := goodRun(t)
	panes := 0
	for key := range r.detect[partitionOf("iam:CreateUser", partitions)] {
		if strings.HasPrefix(key, "wiam:CreateUser\x00") {
			panes++
		}
	}
	if panes != 1 {
		t.Errorf("%d panes of a method that was called in one within the window", panes)
	}
	v := check(p, r)
	if len(v.differs) > 0 || v.lost > 0 || v.doubled > 0 {
		t.Errorf("a good run differs:\n%s", strings.Join(v.differs, "\n"))
	}
	if v.incidents != 2 || v.alerts != 4 || v.letters != 1 || v.rows < 8 {
		t.Errorf("the checker looked at %+v", v)
	}
}

// A stay that a busy principal's row had no room for may begin again on any day of its spell: the row of that alert is no surprise, and
// one about another place is.
func TestCheckerLeavesTheBusyAlone(t *testing.T) {
	const who = account + "/user/carol"
	today := time.Unix(1_800_000_030, 0)
	l := newLife()
	l.keys["AKIA"], l.clients[client] = map[int64]bool{today.Unix(): true}, map[int64]bool{today.Unix(): true}
	for _, place := range slices.Sorted(maps.Values(countryOf))[:maxStays+1] {
		pane := today.Truncate(paneWidth)
		l.places[place] = []deed{{method: "kms:Decrypt", pane: pane.Add(-2 * window).Unix()}, {method: "kms:Decrypt", pane: pane.Unix()}}
	}
	d := derived{lives: map[string]*life{who: l}}
	r := reading{triage: triageRows(d, nil)}
	mine := r.triage[partitionOf(who, partitions)]
	place := slices.Sorted(maps.Keys(l.places))[0]
	mine["a"+alertID(who, place, today.Truncate(24*time.Hour).Unix())] = "begun again"
	v := new(verdict)
	v.checkTriage(d, r)
	if len(v.differs) > 0 || !slices.Equal(v.busy, []string{who}) {
		t.Errorf("%v are busy, and differing is %q", v.busy, v.differs)
	}
	mine["a"+alertID(who, "XX", today.Truncate(24*time.Hour).Unix())] = "of no input"
	v.checkTriage(d, r)
	if len(v.differs) != 1 {
		t.Errorf("an alert about a place where nobody was differs in %q", v.differs)
	}
}

// Every way to tamper with a reading must be noticed, and for what it is.
func TestCheckerNoticesTampering(t *testing.T) {
	want := map[string]string{
		"one alert removed":                         "the last version, 1, of alert",
		"one alert doubled":                         "is there twice",
		"one row altered":                           "want\n",
		"one row of triage a version behind":        "triage's row of alert",
		"one row gone":                              "is missing, want",
		"one dead letter missing":                   "no dead letter of raw record 1/0 byte 0 (not_json)",
		"one dead letter doubled":                   "is there twice",
		"one raw record skipped by detect":          "detect's row",
		"one raw record skipped by triage":          "triage's row \"p",
		"one profile altered":                       "triage's row \"p",
		"one profile gone":                          "is missing, want",
		"one account known since another pane":      "triage's row \"o",
		"one stay ends in another pane":             "triage's stay of",
		"one stay founded by another event":         "the evidence",
		"one alert row of another event":            "which did not happen",
		"one alert row gone":                        "triage has no row of alert",
		"one input offset not committed":            "route has committed offset",
		"rows of another position than the group's": "the group committed 8",
	}
	for _, tm := range tamperings {
		p, r := goodRun(t)
		if err := tm.do(p, &r); err != nil {
			t.Errorf("%s: %v", tm.name, err)
			continue
		}
		v := check(p, r)
		if want[tm.name] == "" || !strings.Contains(strings.Join(v.differs, "\n"), want[tm.name]) {
			t.Errorf("%s: the checker says %q, want something with %q", tm.name, v.differs, want[tm.name])
		}
	}
	p, r := goodRun(t)
	if rejected, err := prove(p, r, r.busy); err != nil || rejected != len(want) {
		t.Errorf("prove: %d rejected of %d, %v", rejected, len(want), err)
	}
}

// What no tampering of prove does.
func TestCheckerNoticesMore(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(p *plan, r *reading)
		want string
	}{
		"an alert that was not planted": {func(p *plan, _ *reading) { p.incidents = p.incidents[1:] }, "which was not planted"},
		"an alert elsewhere about a victim": {func(_ *plan, r *reading) {
			a := r.alerts[0]
			r.alerts = append(r.alerts, record{key: "f", value: strings.NewReplacer(`"NG"`, `"BR"`, a.key, "f").Replace(a.value)})
		}, "which was not planted"},
		"all alerts of one incident gone": {func(_ *plan, r *reading) { r.alerts = r.alerts[1:] }, "no alert about " + account + "/user/alice from NG"},
		"a second alert about one incident": {func(_ *plan, r *reading) {
			a := r.alerts[0]
			other := strings.Repeat("f", 32)
			r.alerts = append(r.alerts, record{key: other, value: strings.Replace(a.value, a.key, other, 1)})
		}, "2 alerts about"},
		"a version too many": {func(_ *plan, r *reading) {
			a := r.alerts[0]
			a.value = strings.Replace(a.value, `"sequence":1`, `"sequence":2`, 1)
			r.alerts = append(r.alerts, a)
		}, "is at version 1 and score 61.5, the last alert at 2"},
		"a version left out": {func(_ *plan, r *reading) {
			a := &r.alerts[0]
			early := *a
			a.value = strings.Replace(a.value, `"sequence":1`, `"sequence":3`, 1)
			r.alerts = append(r.alerts, early)
		}, "version 2 of alert"},
		"a row of no input":    {func(_ *plan, r *reading) { r.detect[0]["sx:Y"] = "\x01\x00" }, "is of no input"},
		"a raw record too few": {func(p *plan, _ *reading) { p.produced++ }, "were produced"},
		"another reason":       {func(p *plan, _ *reading) { p.bad[0].reason = "syntax" }, "has the reason not_json, want syntax"},
		"another offset":       {func(p *plan, _ *reading) { p.bad[0].offset = 9 }, "was not planted"},
		"another byte":         {func(_ *plan, r *reading) { r.letters[0].headers["farcall.source.byte"] = "3" }, "byte 3, was not planted"},
		"a letter cut":         {func(_ *plan, r *reading) { r.letters[0].value = "rub" }, `bytes "rub" of sum`},
		"another sum":          {func(_ *plan, r *reading) { r.letters[0].headers["farcall.sha256"] = "00" }, "of sum 00"},
		"an alert without a row": {func(_ *plan, r *reading) {
			a := r.alerts[0]
			r.alerts = append(r.alerts, record{key: "f", value: strings.NewReplacer(`"NG"`, `"AL"`, a.key, "f").Replace(a.value)})
		}, "triage has no row of alert f"},
		"a row of nobody":  {func(_ *plan, r *reading) { r.triage[0]["pnobody"] = "\x01" }, "is of no input"},
		"a row of the cap": {func(_ *plan, r *reading) { r.triage[0]["k"] = "\x02" }, "is of no input"},
		"a stay too many":  {func(p *plan, r *reading) { alterAll(r, 'e', doubled) }, "in the order of their first panes"},
		"facts of what was told in the row of its stays": {func(p *plan, r *reading) {
			for _, rows := range r.triage {
				for key, row := range rows {
					if stays, err := parseStays(row); key[0] == 'e' && err == nil && stays[len(stays)-1].facts == "" {
						s := stays[len(stays)-1]
						id := "a" + alertID(key[1:], s.place, s.day)
						rows[key] = string(appendText([]byte(row[:len(row)-1]), rows[id]))
						delete(rows, id)
					}
				}
			}
		}, "in the row of its stays: true"},
		"nobody was alerted": {func(p *plan, r *reading) { r.alerts = nil }, "alerted: false"},
		"late alert rows": {func(p *plan, r *reading) {
			alterAll(r, 'a', func(row string) string { return row[:4] + "\x00" + row[5:] })
		}, "timely false"},
		"alert rows of denied calls": {func(p *plan, r *reading) {
			alterAll(r, 'a', func(row string) string { return row[:5] + string([]byte{row[5] ^ 3}) + row[6:] })
		}, "the outcome"},
		"evidence from elsewhere": {func(p *plan, r *reading) {
			alterAll(r, 'a', func(row string) string { return strings.Replace(row, "NG", "VN", 1) })
		}, "the evidence"},
		"another key": {func(p *plan, r *reading) {
			alterAll(r, 'a', func(row string) string { return strings.Replace(row, "AKIA", "ASIA", 1) })
		}, "keys [ASIA"},
		"no committed offset":  {func(_ *plan, r *reading) { delete(r.committed["triage"], 2) }, "triage has committed offset 0 of partition 2"},
		"no meta row":          {func(_ *plan, r *reading) { delete(r.triage[1], metaKey) }, "triage's meta row of partition 1"},
		"an alert under a key": {func(_ *plan, r *reading) { r.alerts[0].key = "k" }, `has the key "k"`},
		"an alert of rubbish":  {func(_ *plan, r *reading) { r.alerts[0].value = "k" }, "is no JSON"},
		"a row in another place": {func(_ *plan, r *reading) {
			r.detect[0], r.detect[1], r.detect[2], r.detect[3] = r.detect[3], r.detect[0], r.detect[1], r.detect[2]
		}, "is of no input"},
	} {
		p, r := goodRun(t)
		c.do(&p, &r)
		if got := strings.Join(check(p, r).differs, "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: the checker says\n%s\nwant something with %q", name, got, c.want)
		}
	}
}

func alterAll(r *reading, kind byte, alter func(row string) string) {
	for _, rows := range r.triage {
		for key, row := range rows {
			if key[0] == kind {
				rows[key] = alter(row)
			}
		}
	}
}

// doubled has the one stay of a row there twice.
func doubled(row string) string {
	if row[1] != 2 { // a varint: zigzag
		return row
	}
	return row[:1] + "\x04" + row[2:] + row[2:]
}

// The load must be what the checker takes for granted: history enough, and no two incidents alike.
func TestLoad(t *testing.T) {
	l := newLoad(nil, 7)
	for n, s := range l.spare {
		if len(s) < 2000 { // 1,000 faults, with one and a half probes in each partition, and something besides
			t.Errorf("partition %d of detect has only %d pairs of method and country", n, len(s))
		}
	}
	if len(networks) != len(countryOf) {
		t.Errorf("%d countries, %d networks", len(networks), len(countryOf))
	}
	again := newLoad(nil, 7)
	for n := range l.spare {
		if !slices.Equal(l.spare[n], again.spare[n]) {
			t.Error("one seed makes two loads")
		}
	}
	for n := range int32(partitions) {
		if !slices.ContainsFunc(l.people, func(p person) bool { return partitionOf(p.principal(), partitions) == n }) {
			t.Errorf("nobody is in partition %d of triage", n)
		}
	}
}

func TestSchedule(t *testing.T) {
	faults := chance(3, 200)
	if !slices.Equal(faults, chance(3, 200)) || slices.Equal(faults, chance(4, 200)) {
		t.Error("a schedule does not follow from its seed")
	}
	first := map[string]bool{}
	var text bytes.Buffer
	for i, f := range faults {
		if i < len(kinds) {
			first[f.kind] = true
		}
		fmt.Fprintf(&text, "%s # fault %d\n\n", f, i)
	}
	if len(first) != len(kinds) {
		t.Errorf("the first %d faults are of the kinds %v only", len(kinds), slices.Sorted(maps.Keys(first)))
	}
	read, err := parseSchedule(&text)
	if err != nil || !slices.Equal(read, faults) {
		t.Errorf("a schedule is read as another: %v", err)
	}
	for line, want := range map[string]string{
		"kil": "is no kind", "kill 4": "from 1 to 3", "kill 0": "from 1 to 3", "kill x": "from 1 to 3", "roll 1": "roll takes", "kill 1 2": `"2"`,
	} {
		if _, err := parseSchedule(strings.NewReader("\nterm now\n" + line)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%q: %v, want line 3 and %q", line, err, want)
		}
	}
}
