package main

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

//go:embed places.txt
var placesFile string

// networks are one /24 network of each country, all of which lies there by the embedded database.
var networks, countryOf = func() (map[string]string, map[string]string) {
	to, from := map[string]string{}, map[string]string{}
	for line := range strings.Lines(placesFile) {
		country, network, _ := strings.Cut(strings.TrimSpace(line), " ")
		to[country], from[network] = network, country
	}
	return to, from
}()

// The organisation: people at home in five countries, and the methods that all of them call. Sets of these sizes give rows of
// every form: principals spelled out, counters, split rows.
var (
	homes = []struct {
		country string
		people  int
	}{{"DE", 40}, {"NL", 30}, {"US", 30}, {"GB", 30}, {"FR", 20}}
	services = []string{"iam", "s3", "sts", "ec2", "kms", "ssm", "rds", "sqs", "logs", "lambda"}
	actions  = []string{"CreateUser", "ListAll", "Decrypt", "GetObject", "DescribeAll", "PutPolicy"}
)

const (
	account = "444455556666"
	// Everybody calls with one tool, and the load says what profiles call it.
	userAgent = "aws-cli/2.17.1 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 lang/python#3.11"
	client    = "aws-cli on linux"
)

type person struct{ name, home string }

func (p person) principal() string { return account + "/user/" + p.name }

// incident is planted: one principal calls methods from a country that none of them was ever called from, within one pane.
type incident struct {
	principal, country string
	methods            []string
	pane               int64 // Unix seconds
}

func (i incident) String() string {
	return fmt.Sprintf("%s from %s in pane %d calling %s", i.principal, i.country, i.pane, strings.Join(i.methods, ", "))
}

// badRecord is planted too: a part of a raw record that must become a dead letter.
type badRecord struct {
	partition    int32
	offset, byte int64
	reason       string
	value        string
}

// load makes the raw topic: the history, the traffic, the incidents and the bad records. What it planted is the plan that the
// checker holds the end against.
type load struct {
	cl      *kgo.Client
	people  []person
	methods []string
	spare   map[int32][]pair // by partition of detect: what an incident may use, each once

	mu        sync.Mutex
	rng       *rand.Rand
	seq       int
	produced  int
	incidents []incident
	bad       []badRecord

	// What the broker said. Its answers must not wait for mu, whose holder may be waiting for room in the client's buffer.
	acks   sync.Mutex
	landed map[int]int64 // offsets, by index in bad
	failed error
}

// pair is a method and a country that it is never called from, but by one incident.
type pair struct{ method, country string }

func newLoad(cl *kgo.Client, seed uint64) *load {
	l := &load{cl: cl, rng: rand.New(rand.NewPCG(seed, 1)), spare: map[int32][]pair{}, landed: map[int]int64{}}
	home := map[string]bool{}
	for _, h := range homes {
		home[h.country] = true
		for n := range h.people {
			l.people = append(l.people, person{fmt.Sprintf("%s-%02d", strings.ToLower(h.country), n), h.country})
		}
	}
	for _, s := range services {
		for _, a := range actions {
			l.methods = append(l.methods, s+":"+a)
		}
	}
	for _, m := range l.methods {
		p := partitionOf(m, partitions)
		for c := range networks {
			if !home[c] {
				l.spare[p] = append(l.spare[p], pair{m, c})
			}
		}
	}
	for p := range int32(partitions) {
		s := l.spare[p]
		slices.SortFunc(s, func(a, b pair) int { return strings.Compare(a.method+a.country, b.method+b.country) })
		l.rng.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	}
	return l
}

// event is one CloudTrail record.
func (l *load) event(at time.Time, p, country, method, code string) []byte {
	service, action, _ := strings.Cut(method, ":")
	l.seq++
	e := map[string]any{
		"eventVersion": "1.11", "eventTime": at.UTC().Format(time.RFC3339), "eventID": fmt.Sprintf("00000000-0000-4000-8000-%012d", l.seq),
		"eventSource": service + ".amazonaws.com", "eventName": action, "awsRegion": "eu-central-1",
		"sourceIPAddress": fmt.Sprintf("%s.%d", networks[country], 1+l.rng.IntN(250)),
		"userAgent":       userAgent, "requestID": fmt.Sprintf("%016x", l.rng.Uint64()),
		"recipientAccountId": account, "eventType": "AwsApiCall", "eventCategory": "Management", "readOnly": true, "managementEvent": true,
		"requestParameters": map[string]any{"n": l.seq}, "responseElements": nil,
		"userIdentity": map[string]any{"type": "IAMUser", "principalId": "AIDA" + strings.ToUpper(p), "accountId": account, "userName": p, "arn": "arn:aws:iam::" + account + ":user/" + p, "accessKeyId": "AKIAEXAMPLE" + strings.ToUpper(p)},
	}
	if code != "" {
		e["errorCode"] = code
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return b
}

// produce sends one raw record. bad is its index in l.bad, or good.
func (l *load) produce(ctx context.Context, partition int32, value []byte, bad int) {
	l.produced++
	l.cl.Produce(ctx, &kgo.Record{Topic: rawTopic, Partition: partition, Value: value}, func(r *kgo.Record, err error) {
		l.acks.Lock()
		defer l.acks.Unlock()
		if err != nil {
			l.failed = fmt.Errorf("the load could not produce: %w", err)
		} else if bad != good {
			l.landed[bad] = r.Offset
		}
	})
}

const good = -1

func records(events [][]byte) []byte {
	return append(append([]byte(`{"Records":[`), bytes.Join(events, []byte(","))...), "]}"...)
}

func zipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(b)
	if err := w.Close(); err != nil {
		panic(err) // memory takes all
	}
	if err != nil {
		panic(err)
	}
	return z.Bytes()
}

// past is what happened before the window of any pane that comes later: its rows must go, with a tombstone each.
func (l *load) past(ctx context.Context, now time.Time) error {
	at := now.Truncate(paneWidth).Add(-3 * window)
	l.mu.Lock()
	for _, m := range l.methods {
		for range 5 {
			p := l.people[l.rng.IntN(len(l.people))]
			l.produce(ctx, int32(l.rng.IntN(rawPartitions)), l.event(at.Add(time.Duration(l.rng.IntN(600))*time.Second), p.name, p.home, m, ""), good)
		}
	}
	l.mu.Unlock()
	return l.flush(ctx)
}

// history gives every method hundreds of visits before anything else happens: a method without them has no opinion.
func (l *load) history(ctx context.Context, now time.Time) error {
	for pane := range 4 {
		at := now.Truncate(paneWidth).Add(time.Duration(pane-14) * paneWidth)
		var events [][]byte
		for _, m := range l.methods {
			for _, p := range l.people {
				if l.rng.IntN(4) > 0 {
					events = append(events, l.event(at.Add(time.Duration(l.rng.IntN(60))*time.Second), p.name, p.home, m, ""))
				}
			}
		}
		l.rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		l.mu.Lock()
		for i := 0; i < len(events); i += 5 {
			l.produce(ctx, int32(l.rng.IntN(rawPartitions)), records(events[i:min(i+5, len(events))]), good)
		}
		l.mu.Unlock()
	}
	return l.flush(ctx)
}

// traffic keeps the pipeline busy until ctx ends: people at work, some calls denied, some delivered twice, in every form that
// CloudTrail arrives in; and now and then a bad record.
func (l *load) traffic(ctx, produce context.Context, perSecond int) {
	const ticks = 10 // a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		now := time.Now()
		var batch [][]byte
		for range perSecond / ticks {
			p := l.people[l.rng.IntN(len(l.people))]
			code := ""
			if l.rng.IntN(50) == 0 {
				code = "AccessDenied"
			}
			e := l.event(now.Add(-time.Duration(l.rng.IntN(20))*time.Second), p.name, p.home, l.methods[l.rng.IntN(len(l.methods))], code)
			if batch = append(batch, e); l.rng.IntN(30) == 0 {
				l.produce(produce, int32(l.rng.IntN(rawPartitions)), e, good) // delivered twice
			}
		}
		to := int32(l.rng.IntN(rawPartitions))
		switch n % 3 {
		case 0:
			l.produce(produce, to, records(batch), good)
		case 1:
			l.produce(produce, to, zipped(records(batch)), good)
		default:
			for _, e := range batch {
				l.produce(produce, int32(l.rng.IntN(rawPartitions)), e, good)
			}
		}
		if n%ticks == 0 {
			l.plantBad(produce, now)
		}
		l.mu.Unlock()
	}
}

// newcomers call once each, from home, after all else: nothing is to be told of their stays, whatever happened to everybody else's.
func (l *load) newcomers(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range homes {
		e := l.event(time.Now(), strings.ToLower(h.country)+"-new", h.country, l.methods[l.rng.IntN(len(l.methods))], "")
		l.produce(ctx, int32(l.rng.IntN(rawPartitions)), e, good)
	}
}

// plantBad sends one bad record of each kind in turn.
func (l *load) plantBad(ctx context.Context, now time.Time) {
	p, m := l.people[l.rng.IntN(len(l.people))], l.methods[l.rng.IntN(len(l.methods))]
	whole := string(l.event(now, p.name, p.home, m, ""))
	without := func(field string) string { return strings.Replace(whole, `"`+field+`"`, `"`+field+`-gone"`, 1) }
	kinds := []struct{ reason, value string }{
		{"not_json", fmt.Sprintf("rubbish, number %d", l.seq)},
		{"truncated", whole[:len(whole)/2]},
		{"no_event_time", without("eventTime")},
		{"no_event_name", without("eventName")},
		{"bad_event_time", strings.Replace(whole, now.UTC().Format("2006-01-02"), "yesterday", 1)},
		{"wrong_type", strings.Replace(whole, `"awsRegion":"eu-central-1"`, `"awsRegion":7`, 1)},
		{"future", string(l.event(now.AddDate(50, 0, 0), p.name, p.home, m, ""))},
		{"bad_event_time", string(l.event(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), p.name, p.home, m, ""))},
	}
	k := kinds[len(l.bad)%len(kinds)]
	b := badRecord{partition: int32(l.rng.IntN(rawPartitions)), reason: k.reason, value: k.value}
	payload := k.value
	if k.reason == "no_event_name" { // between good ones
		payload = string(records([][]byte{[]byte(whole), []byte(k.value), l.event(now, p.name, p.home, m, "")}))
		b.byte = int64(strings.Index(payload, k.value))
	}
	at := len(l.bad)
	l.bad = append(l.bad, b)
	l.produce(ctx, b.partition, []byte(payload), at)
}

// plant sends one incident: a principal calls methods of the given partition of detect from a country that is new to them,
// by way of the given partition of the raw topic. by, unless negative, is the partition of triage that its principal is in.
func (l *load) plant(ctx context.Context, raw, detect, by int32, methods int) incident {
	l.mu.Lock()
	defer l.mu.Unlock()
	who := l.victim(by)
	now := time.Now().Truncate(time.Second)
	in := incident{principal: who.principal(), pane: now.Truncate(paneWidth).Unix()}
	for i, p := range l.spare[detect] {
		// The alert is about the stay of a principal in a place: another incident there would be the same.
		taken := slices.ContainsFunc(l.incidents, func(o incident) bool {
			return o.principal == in.principal && o.country == p.country
		})
		if !taken && (in.country == "" || p.country == in.country) {
			in.country = p.country
			in.methods = append(in.methods, p.method)
			l.spare[detect][i].method = ""
			if len(in.methods) == methods {
				break
			}
		}
	}
	l.spare[detect] = slices.DeleteFunc(l.spare[detect], func(p pair) bool { return p.method == "" })
	code := ""
	if l.rng.IntN(5) == 0 {
		code = "AccessDenied"
	}
	for _, m := range in.methods {
		e := l.event(now, who.name, in.country, m, code)
		l.produce(ctx, raw, e, good)
		if l.rng.IntN(3) == 0 {
			l.produce(ctx, (raw+1)%rawPartitions, e, good) // delivered twice
		}
	}
	l.incidents = append(l.incidents, in)
	return in
}

// victim draws whom an incident befalls. Each is a stay, and of a principal with more of them than a row holds the checker can't say
// much: as long as there is anybody with fewer it is one of them.
func (l *load) victim(by int32) (who person) {
	stays := map[string]int{}
	for _, in := range l.incidents {
		stays[in.principal]++
	}
	for tries := 0; ; tries++ {
		who = l.people[l.rng.IntN(len(l.people))]
		if by >= 0 && partitionOf(who.principal(), partitions) != by {
			continue
		}
		if stays[who.principal()] < maxStays-2 || tries > 1000 { // at home it has one, and near midnight perhaps two
			return who
		}
	}
}

// flush waits until the broker has everything.
func (l *load) flush(ctx context.Context) error {
	if err := l.cl.Flush(ctx); err != nil {
		return fmt.Errorf("the load could not produce: %w", err)
	}
	l.acks.Lock()
	defer l.acks.Unlock()
	return l.failed
}

// plan is what the end is held against. Call it after flush.
func (l *load) plan() plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := plan{produced: l.produced, incidents: slices.Clone(l.incidents), bad: slices.Clone(l.bad)}
	l.acks.Lock()
	defer l.acks.Unlock()
	for i := range p.bad {
		p.bad[i].offset = l.landed[i]
	}
	return p
}
