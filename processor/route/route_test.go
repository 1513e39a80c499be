package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/topics"
)

// noon is the clock of these tests, and the middle of a pane.
var noon = time.Date(2026, 3, 2, 12, 30, 0, 0, time.UTC)

// Addresses of the embedded database.
const (
	inUS = "8.8.8.8"
	inDE = "78.47.22.10"
)

// event is what the tests vary of a CloudTrail event; all else is the same for all.
type event struct {
	method, user, address, agent, key, account, code string
	at                                               time.Duration // before noon
}

func (e event) json() string {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	service, action, _ := strings.Cut(or(e.method, "iam:CreateUser"), ":")
	account := or(e.account, "111122223333")
	code := ""
	if e.code != "" {
		code = fmt.Sprintf(`"errorCode":%q,`, e.code)
	}
	return fmt.Sprintf(`{"eventVersion":"1.11","eventTime":%q,"eventID":"id of %s","eventSource":"%s.amazonaws.com","eventName":%q,"awsRegion":"us-east-1",`+
		`"sourceIPAddress":%q,"userAgent":%q,%s"recipientAccountId":%q,"eventType":"AwsApiCall","requestParameters":{"userName":"mallory"},`+
		`"userIdentity":{"type":"IAMUser","accountId":%q,"userName":%q,"accessKeyId":%q,"arn":"arn:aws:iam::111122223333:user/alice"}}`,
		noon.Add(-e.at).Format(time.RFC3339), action, service, action, or(e.address, inDE), or(e.agent, "aws-cli/2.17 md/Botocore#1.34 ua/2.0 os/linux"), code,
		account, account, or(e.user, "alice"), or(e.key, "AKIAEXAMPLE"))
}

// toldBy takes what route writes, decoded.
type toldBy struct {
	t         *testing.T
	visits    []topics.Visit // of methods
	presences []topics.Visit // of any method
	sightings []topics.Sighting
	pulses    []topics.Pulse
	letters   []string
}

func (o *toldBy) Visit(key, value []byte) {
	var v topics.Visit
	if err := v.Decode(slices.Clone(value)); err != nil {
		o.t.Fatal(err)
	}
	if string(key) != string(v.Key()) {
		o.t.Errorf("the visit of %s has the key %q", v.Method, key)
	}
	if v.Method == topics.AnyMethod {
		o.presences = append(o.presences, v)
	} else {
		o.visits = append(o.visits, v)
	}
}

func (o *toldBy) Pulse(key, value []byte) {
	var p topics.Pulse
	if err := p.Decode(slices.Clone(value)); err != nil {
		o.t.Fatal(err)
	}
	if string(key) != topics.AnyMethod {
		o.t.Errorf("a pulse has the key %q", key)
	}
	o.pulses = append(o.pulses, p)
}

func (o *toldBy) Sighting(key, value []byte) {
	var s topics.Sighting
	if err := s.Decode(slices.Clone(value)); err != nil {
		o.t.Fatal(err)
	}
	if string(key) != s.Visit.Principal {
		o.t.Errorf("the sighting of %s has the key %q", s.Visit.Principal, key)
	}
	o.sightings = append(o.sightings, s)
}

func (o *toldBy) DeadLetter(d *topics.DeadLetter) { o.letters = append(o.letters, d.Reason) }

type router struct {
	t     *testing.T
	task  *Task
	stats *Stats
}

func newRouter(t *testing.T, cfg Config) router {
	t.Helper()
	locator, err := geo.Open(geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := router{t: t, stats: NewStats()}
	if r.task, err = NewTask(cfg, nil, locator, func() time.Time { return noon }, 0, r.stats); err != nil {
		t.Fatal(err)
	}
	return r
}

// tell feeds each event as a raw record of its own and returns all that was told.
func (r router) tell(events ...event) *toldBy { return r.raw(&Raw{}, events...) }

func (r router) raw(raw *Raw, events ...event) *toldBy {
	out := &toldBy{t: r.t}
	for i, e := range events {
		raw.Source = topics.Source{Topic: "cloudtrail", Partition: 3, Offset: int64(i)}
		raw.Timestamp, raw.Value = noon.UnixMilli(), []byte(e.json())
		r.task.Record(raw, out)
	}
	return out
}

// TestSightingCarriesTheVisit: one event is told as a visit, as a presence and as a sighting that has the visit inside, byte by
// byte what detect gets.
func TestSightingCarriesTheVisit(t *testing.T) {
	out := newRouter(t, DefaultConfig()).tell(event{})
	if len(out.visits) != 1 || len(out.presences) != 1 || len(out.sightings) != 1 {
		t.Fatalf("told %d visits, %d presences and %d sightings, want one of each", len(out.visits), len(out.presences), len(out.sightings))
	}
	s, v, p := out.sightings[0], out.visits[0], out.presences[0]
	if d := cmp.Diff(v, s.Visit, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("the sighting has another visit (-told +inside):\n%s", d)
	}
	if s.Client != "aws-cli on linux" || s.KeyID != "AKIAEXAMPLE" || s.Network != "" {
		t.Errorf("client %q, key %q, network %q", s.Client, s.KeyID, s.Network)
	}
	if v.Method != "iam:CreateUser" || v.Place != "DE" || v.Pane != noon.Truncate(time.Hour).Unix() || v.Horizon != noon.UnixMilli() || v.Quiet != topics.Timely {
		t.Errorf("visit %+v", v)
	}
	if e := v.Evidence; e.EventID != "id of CreateUser" || e.Address != inDE || e.RequestParameters == "" || e.GeoBuild == "" {
		t.Errorf("evidence %+v", e)
	}
	// Of a presence only what finds the event again.
	if p.Principal != v.Principal || p.Place != v.Place || p.Pane != v.Pane || p.Horizon != v.Horizon || p.Scope != "" {
		t.Errorf("presence %+v of visit %+v", p, v)
	}
	if e := p.Evidence; e.EventTime != noon.UnixMilli() || e.EventID == "" || e.Source != v.Evidence.Source || e.GeoBuild == "" || e.Address != "" || e.RequestParameters != "" {
		t.Errorf("evidence of the presence: %+v", e)
	}
	if len(p.Append(nil)) > 250 {
		t.Errorf("a presence takes %d bytes: it has more evidence than anybody asks for", len(p.Append(nil)))
	}
}

// TestToldOnce counts what is told of several events.
func TestToldOnce(t *testing.T) {
	byAccount := DefaultConfig()
	byAccount.Scope = "account"
	for _, c := range []struct {
		name                         string
		cfg                          Config
		events                       []event
		visits, presences, sightings int
	}{
		{"a repeat", DefaultConfig(), []event{{}, {}}, 1, 1, 1},
		{"another method", DefaultConfig(), []event{{}, {method: "s3:ListBuckets"}}, 2, 1, 1},
		{"another principal", DefaultConfig(), []event{{}, {user: "bob"}}, 2, 2, 2},
		{"another country", DefaultConfig(), []event{{}, {address: inUS}}, 2, 2, 2},
		{"another pane", DefaultConfig(), []event{{at: time.Hour}, {}}, 2, 2, 2},
		{"denied, then allowed", DefaultConfig(), []event{{code: "AccessDenied"}, {}}, 2, 2, 1},
		{"another client", DefaultConfig(), []event{{}, {agent: "Boto3/1.34 md/Botocore#1.34 os/macos"}}, 1, 1, 2},
		{"another version of a client", DefaultConfig(), []event{{}, {agent: "aws-cli/2.18 os/linux#6.1"}}, 1, 1, 1},
		{"another system", DefaultConfig(), []event{{}, {agent: "aws-cli/2.17 os/windows"}}, 1, 1, 2},
		{"another long-term key", DefaultConfig(), []event{{}, {key: "AKIAOTHER"}}, 1, 1, 2},
		{"keys of sessions are always new", DefaultConfig(), []event{{key: "ASIA1"}, {key: "ASIA2"}}, 1, 1, 1},
		{"two accounts are one place for the organisation", byAccount, []event{{}, {account: "444455556666", user: "alice"}}, 2, 2, 2},
		{"no place", DefaultConfig(), []event{{address: "ec2.amazonaws.com"}}, 0, 0, 0},
		{"private addresses", DefaultConfig(), []event{{address: "10.0.0.7"}, {address: "fd00::7"}, {address: "10.0.0.8", method: "s3:ListBuckets"}}, 0, 0, 1},
		{"a private address, then a public one", DefaultConfig(), []event{{address: "10.0.0.7"}, {}}, 1, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t, c.cfg)
			out := r.tell(c.events...)
			if len(out.visits) != c.visits || len(out.presences) != c.presences || len(out.sightings) != c.sightings {
				t.Errorf("told %d visits, %d presences and %d sightings, want %d, %d and %d",
					len(out.visits), len(out.presences), len(out.sightings), c.visits, c.presences, c.sightings)
			}
			s := r.stats
			if s.Visits != int64(c.visits) || s.Presences != int64(c.presences) || s.Sightings != int64(c.sightings) {
				t.Errorf("counted %d visits, %d presences and %d sightings", s.Visits, s.Presences, s.Sightings)
			}
			noPlace := int64(0)
			for _, n := range s.NoPlace {
				noPlace += n
			}
			if s.Events != int64(len(c.events)) || s.Visits+s.Repeats+noPlace != s.Events {
				t.Errorf("%d events, but %d visits, %d repeats and %v without a place", s.Events, s.Visits, s.Repeats, s.NoPlace)
			}
			for _, p := range out.presences {
				if p.Scope != "" {
					t.Errorf("the presence has scope %q: who is where is a question about the organisation", p.Scope)
				}
			}
		})
	}
}

// TestSessionKeysStayOutOfSightings: a session's key is evidence, and no part of a profile.
func TestSessionKeysStayOutOfSightings(t *testing.T) {
	out := newRouter(t, DefaultConfig()).tell(event{key: "ASIAEXAMPLE"})
	if s := out.sightings[0]; s.KeyID != "" || s.Visit.Evidence.AccessKeyID != "ASIAEXAMPLE" {
		t.Errorf("key of the sighting %q, of its evidence %q", s.KeyID, s.Visit.Evidence.AccessKeyID)
	}
}

// TestQuiet says which visits wake nobody: those far behind their own raw partition, and those that were imported.
func TestQuiet(t *testing.T) {
	late := DefaultConfig().Late
	for _, c := range []struct {
		name     string
		before   time.Duration // of the event, behind the newest of its partition
		imported bool
		want     topics.Quiet
	}{
		{"the newest", 0, false, topics.Timely},
		{"just in time", late, false, topics.Timely},
		{"too late", late + time.Second, false, topics.Late},
		{"imported", 0, true, topics.Imported},
		{"imported is the stronger word", 2 * late, true, topics.Imported},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t, DefaultConfig())
			r.tell(event{user: "somebody else"})
			out := r.raw(&Raw{Imported: c.imported}, event{at: c.before})
			if len(out.visits) != 1 || len(out.presences) != 1 || len(out.sightings) != 1 {
				t.Fatalf("told %d visits, %d presences and %d sightings: quiet is no reason not to tell", len(out.visits), len(out.presences), len(out.sightings))
			}
			for what, v := range map[string]topics.Visit{"visit": out.visits[0], "presence": out.presences[0], "sighting": out.sightings[0].Visit} {
				if v.Quiet != c.want {
					t.Errorf("the %s is %s, want %s", what, v.Quiet, c.want)
				}
			}
		})
	}
}

// TestPrivate: who calls from a private address is in no country, and told of once to triage alone.
func TestPrivate(t *testing.T) {
	out := newRouter(t, DefaultConfig()).tell(event{address: "10.0.0.7"})
	if len(out.sightings) != 1 {
		t.Fatalf("%d sightings", len(out.sightings))
	}
	if s := out.sightings[0]; s.Visit.Place != topics.PrivatePlace || s.Client != "aws-cli on linux" || s.Visit.Evidence.Address != "10.0.0.7" || s.Network != "" {
		t.Errorf("sighting %+v", s)
	}
}

// TestClients names the client of user agents as they are found in the field.
func TestClients(t *testing.T) {
	names := clients{}
	for agent, want := range map[string]string{
		"aws-cli/2.15.30 Python/3.11.8 Linux/6.1.0-18-amd64 exe/x86_64":                                 "aws-cli on linux",
		"aws-cli/2.17.0 md/awscrt#0.20 ua/2.0 os/macos#23.5.0 md/arch#arm64":                            "aws-cli on macos",
		"aws-cli/2.17.0 md/awscrt#0.20 ua/2.0 os/linux#6.6.9-amd64 md/distrib#kali.2024.1":              "aws-cli on kali",
		"Boto3/1.34.11 md/Botocore#1.34.11 ua/2.0 os/windows#10 md/arch#amd64":                          "Boto3 on windows",
		"APN/1.0 HashiCorp/1.0 Terraform/1.7.5 (+https://www.terraform.io) aws-sdk-go-v2/1.26 os/linux": "terraform on linux",
		"[aws-sdk-java/1.12.600 Linux/5.10.205-195.807.amzn2.x86_64]":                                   "aws-sdk-java on amazon-linux",
		"Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36":                                            "browser on android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15":                          "browser on macos",
		"[S3 Browser/11.4.5 (https://s3browser.com)]":                                                   "S3 Browser",
		"[TruffleHog]": "TruffleHog",
		"aws-sdk-js/3.540 ua/2.0 os/darwin#23.5.0 lang/js": "aws-sdk-js on macos",
		"signin.amazonaws.com":                             "console",
		"cloudformation.amazonaws.com":                     "aws-service",
		"":                                                 "none",
		strings.Repeat("x", 5000):                          strings.Repeat("x", 64),
		"something-of-our-own/1 (linux)":                   "something-of-our-own on linux",
	} {
		for range 2 { // looked at, then remembered
			if got := names.name(agent); got != want {
				t.Errorf("%q is called %q, want %q", agent, got, want)
			}
		}
	}
	for i := range 3 * maxClients {
		names.name(fmt.Sprint("tool-", i))
	}
	if len(names) > maxClients {
		t.Errorf("%d names are remembered, %d are the most", len(names), maxClients)
	}
}

// TestNoMethodIsAnyMethod: an event can't take the name that stands for all methods.
func TestNoMethodIsAnyMethod(t *testing.T) {
	for _, e := range []string{
		strings.Replace(event{}.json(), `"iam.amazonaws.com"`, `"*"`, 1),
		strings.Replace(event{}.json(), `"iam.amazonaws.com"`, `""`, 1),
		strings.Replace(strings.Replace(event{}.json(), `"CreateUser"`, `"*"`, 1), `"iam.amazonaws.com"`, `".amazonaws.com"`, 1),
	} {
		r := newRouter(t, DefaultConfig())
		out := &toldBy{t: t}
		r.task.Record(&Raw{Source: topics.Source{Topic: "cloudtrail"}, Timestamp: noon.UnixMilli(), Value: []byte(e)}, out)
		if len(out.presences) != len(out.visits) {
			t.Errorf("%d visits of any method, %d of a method, letters %v", len(out.presences), len(out.visits), out.letters)
		}
		for _, v := range out.visits {
			if !strings.Contains(v.Method, ":") {
				t.Errorf("a method is called %q", v.Method)
			}
		}
	}
}
