package alert

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/farcall/farcall/topics"
)

var update = flag.Bool("update", false, "write testdata/*.json anew from what the code says")

// morning is when the examples happen.
var morning = time.Date(2026, 3, 4, 9, 26, 53, 589e6, time.UTC)

func at(d time.Duration) int64 { return morning.Add(d).UnixMilli() }

func pane(daysAgo int) int64 {
	return morning.Truncate(time.Hour).AddDate(0, 0, -daysAgo).Unix()
}

// example is an alert with one method: a user that creates a user from a country where nobody ever did.
func example() *Alert {
	a := &Alert{
		Version: 1, Score: 76.12, Created: at(800 * time.Millisecond), Window: 30 * 24 * time.Hour, Pane: time.Hour,
		Lead: topics.Anomaly{
			Score: 76.12, Probability: 0.000385, Level: topics.Unseen,
			Distribution: topics.Distribution{
				Visits: 1298, Places: 3, Own: -1, MethodSince: pane(212),
				Top: []topics.PlaceCount{{Place: "US", Visits: 1102}, {Place: "DE", Visits: 171}, {Place: "FR", Visits: 25}},
			},
			Visit: topics.Visit{
				Method: "iam:CreateUser", Principal: "111122223333/user/dana", Place: "RO", Pane: pane(0), Outcome: topics.Allowed, Horizon: at(0),
				Evidence: topics.Evidence{
					EventTime: at(0), Delivered: at(600 * time.Millisecond),
					Source:  topics.Source{Topic: "cloudtrail", Partition: 3, Offset: 90210, Byte: 4096},
					EventID: "4e1f3f1e-6b6f-4f0c-9d35-0b3b6a1a7c55", EventSource: "iam.amazonaws.com", EventName: "CreateUser",
					EventType: "AwsApiCall", EventCategory: "Management", Region: "us-east-1", Account: "111122223333", PrincipalAccount: "111122223333",
					IdentityType: "IAMUser", ARN: "arn:aws:iam::111122223333:user/dana", PrincipalID: "AIDAEXAMPLEDANA", UserName: "dana",
					AccessKeyID: "AKIAEXAMPLE", Address: "203.0.113.77", UserAgent: "aws-cli/2.15.0 Python/3.11",
					RequestParameters: `{"userName":"backup-svc"}`, MFA: topics.No, ReadOnly: topics.No, GeoBuild: "example 2026-03-01, aws 2026-02-22",
				},
			},
		},
	}
	a.Context = history()
	a.settle()
	return a
}

// history is what is known of dana: seven weeks of work in two countries, and a stranger with her key.
func history() Context {
	return Context{
		Since: pane(51), Days: 36, Places: []Seen{{Name: "US", Days: 34, Last: pane(0)}, {Name: "DE", Days: 2, Last: pane(20)}},
		Clients: []string{"aws-cli on kali"}, NewClients: []string{"aws-cli on kali"}, Keys: []string{"AKIAEXAMPLE"}, Networks: []string{"AS64500"}, NewNetworks: []string{"AS64500"},
		Overlap:      Overlap{Place: "US", Hours: 1, Kilometres: 5120},
		From:         Journey{Place: "US", Last: pane(0) - 2*3600, Hours: 2, Kilometres: 5120},
		Organisation: topics.Distribution{Visits: 9120, Places: 5, Own: 310, MethodSince: pane(212)}, OrganisationScore: 81.5,
		AllSince: pane(212), AccountSince: pane(100), Earlier: 1, Labels: []string{"traveller"},
		Factors: []Factor{
			{"method", 15.2, "iam:CreateUser scores 76 of 100 for its countries"}, {"new place", 32, "seen on 36 days, never from Romania"},
			{"organisation", 16.3, "Romania is unusual for the whole organisation: others there: 0"}, {"new client", 20, "client it never used before: aws-cli on kali"},
			{"two places", 20, "also in United States, at least 5120 km away, within 1 h"}, {"traveller", -10, "seen in 3 countries before"},
		},
	}
}

// settle derives what follows from the lead.
func (a *Alert) settle() {
	v := &a.Lead.Visit
	a.ID = ID(v.Principal, v.Place, v.Pane-v.Pane%(24*3600))
	a.Outcome = v.Outcome
	a.First, a.Last = v.Evidence.EventTime, v.Evidence.EventTime
	a.Methods = []Method{{Name: v.Method, Score: a.Lead.Score, Level: a.Lead.Level, Outcome: v.Outcome, First: v.Evidence.EventTime, EventID: v.Evidence.EventID, Account: v.Evidence.Account, New: true}}
}

func rareWithGuard() *Alert {
	a := example()
	a.Score, a.Lead.Score, a.Lead.Probability, a.Lead.Level = 58.4, 58.4, 0.001405, topics.Rare
	a.Lead.Distribution = topics.Distribution{
		Visits: 4102, PlaceVisits: 37, Support: 5, Places: 4, Others: 3, Own: 12, MethodSince: pane(400), PlaceSince: pane(90), PlaceLast: pane(1),
		Top: []topics.PlaceCount{{Place: "IE", Visits: 3001}, {Place: "GB", Visits: 1040}, {Place: "RO", Visits: 37}, {Place: "PT", Visits: 24}},
	}
	a.settle()
	return a
}

func awsRegion() *Alert {
	a := example()
	v := &a.Lead.Visit
	v.Method, v.Place, v.Principal = "s3:GetObject", "aws:ap-southeast-1", "111122223333/role/etl"
	e := &v.Evidence
	e.EventSource, e.EventName, e.EventCategory, e.Region, e.Address = "s3.amazonaws.com", "GetObject", "Data", "eu-central-1", "13.212.0.10"
	e.IdentityType, e.UserName, e.PrincipalID, e.AccessKeyID = "AssumedRole", "", "AROAEXAMPLE:i-0abc", "ASIAEXAMPLE"
	e.ARN, e.IssuerARN, e.SessionName = "arn:aws:sts::111122223333:assumed-role/etl/i-0abc", "arn:aws:iam::111122223333:role/service/etl", "i-0abc"
	e.RequestParameters, e.Resources = `{"bucketName":"payroll","key":"2026/02.csv"}`, []string{"arn:aws:s3:::payroll/2026/02.csv", "arn:aws:s3:::payroll"}
	e.ReadOnly, e.MFA = topics.Yes, topics.Unknown
	a.Score, a.Lead.Score, a.Lead.Probability = 100, 100, 0.00001
	a.Context = Context{Labels: []string{"new principal"}, Factors: []Factor{{"method", 45, "s3:GetObject scores 100 of 100 for its countries"}}, OrganisationUsual: true}
	a.Lead.Distribution = topics.Distribution{
		Visits: 48210, Places: 2, MethodSince: pane(300), PlaceSince: pane(120), PlaceLast: pane(61),
		Top: []topics.PlaceCount{{Place: "aws:eu-central-1", Visits: 47990}, {Place: "DE", Visits: 220}},
	}
	a.settle()
	return a
}

func deniedConsoleLogin() *Alert {
	a := example()
	v := &a.Lead.Visit
	v.Method, v.Outcome, v.Place = "signin:ConsoleLogin", topics.Denied, "BR"
	e := &v.Evidence
	e.EventSource, e.EventName, e.EventType = "signin.amazonaws.com", "ConsoleLogin", "AwsConsoleSignIn"
	e.ErrorMessage, e.Address, e.AccessKeyID, e.UserAgent = "Failed authentication", "2001:db8::7", "", "Mozilla/5.0"
	e.RequestParameters, e.ReadOnly = "", topics.Unknown
	a.settle()
	return a
}

// manyMethods is a later version: the same principal went on, and the lead is not the first call.
func manyMethods() *Alert {
	a := example()
	first := a.Methods[0]
	a.Version, a.Created, a.Last = 14, at(11*time.Minute), at(10*time.Minute+30*time.Second)
	for i, name := range []string{"ListUsers", "ListRoles", "ListAccessKeys", "GetUser", "GetAccountSummary", "CreateAccessKey", "AttachUserPolicy", "PutUserPolicy", "CreateLoginProfile", "UpdateAssumeRolePolicy", "DeleteUser"} {
		m := first
		m.Name, m.Score, m.Level = "iam:"+name, 76.12-5*float64(i), topics.Rare
		m.First = at(time.Duration(i+1) * 57 * time.Second)
		m.EventID = "4e1f3f1e-6b6f-4f0c-9d35-0b3b6a1a7c" + string("abcdefghijk"[i]) + "0"
		switch i % 3 {
		case 1:
			m.Outcome = topics.Denied
		case 2:
			m.Outcome = topics.Allowed | topics.Denied
		}
		a.Methods = append(a.Methods, m)
		a.Outcome |= m.Outcome
	}
	return a
}

// sightingAlone is an alert that no method makes: where the principal is, and with what, is news enough.
func sightingAlone() *Alert {
	a := example()
	a.Score = 52
	a.Lead = topics.Anomaly{Level: topics.Frequent, Visit: a.Lead.Visit}
	a.Context = history()
	a.Context.OrganisationUsual, a.Context.Organisation, a.Context.OrganisationScore, a.Context.Overlap, a.Context.Earlier, a.Context.Labels = true, topics.Distribution{}, 0, Overlap{}, 0, nil
	a.Context.Factors = []Factor{{"new place", 32, "seen on 36 days, never from Romania"}, {"new client", 20, "client it never used before: aws-cli on kali"}}
	a.settle()
	a.Methods = nil
	return a
}

// excepted is what somebody decided to hear no more about.
func excepted() *Alert {
	a := example()
	a.HeldBack, a.Exception = "exception", "x-20260301-offsite"
	return a
}

// rolledUp announces what the cap held back.
func rolledUp() *Alert {
	a := example()
	a.ID, a.Version, a.Methods = RollUpID(3, at(0)), 5, nil
	a.RollUp = &RollUp{Held: 1024, Low: 900, Medium: 120, High: 4, Strongest: example().ID, From: at(0), To: at(15 * time.Minute)}
	return a
}

var examples = map[string]func() *Alert{
	"unseen-country":       example,
	"rare-with-guard":      rareWithGuard,
	"aws-region":           awsRegion,
	"denied-console-login": deniedConsoleLogin,
	"many-methods":         manyMethods,
	"sighting-alone":       sightingAlone,
	"excepted":             excepted,
	"roll-up":              rolledUp,
}

// TestGolden keeps the documents that a SIEM has learned to read: a change shows in testdata, and is a decision.
func TestGolden(t *testing.T) {
	for name, make := range examples {
		t.Run(name, func(t *testing.T) {
			doc, err := make().ECS("v1.2.3")
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, doc, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("the document changed; if it should have: go test ./processor/alert -update\n%s", d)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(examples) {
		t.Errorf("%d documents in testdata for %d examples", len(files), len(examples))
	}
}

// Checks of values by the type that the Elastic Common Schema gives a field.
var (
	keyword = func(v any) bool { s, ok := v.(string); return ok && s != "" }
	date    = func(v any) bool {
		s, ok := v.(string)
		_, err := time.Parse(time.RFC3339, s)
		return ok && err == nil
	}
	number   = func(v any) bool { _, ok := v.(float64); return ok }
	keywords = func(v any) bool {
		l, ok := v.([]any)
		return ok && len(l) > 0 && !slices.ContainsFunc(l, func(v any) bool { return !keyword(v) })
	}
	ip = func(v any) bool {
		s, ok := v.(string)
		a, err := netip.ParseAddr(s)
		return ok && err == nil && a.Zone() == ""
	}
	// list may be empty, but is never null: readers go over it.
	list    = func(v any) bool { _, ok := v.([]any); return ok }
	exactly = func(want any) func(any) bool { return func(v any) bool { return reflect.DeepEqual(v, want) } }
	among   = func(allowed ...any) func(any) bool { return func(v any) bool { return slices.Contains(allowed, v) } }
	subset  = func(allowed ...any) func(any) bool {
		return func(v any) bool {
			return keywords(v) && !slices.ContainsFunc(v.([]any), func(v any) bool { return !slices.Contains(allowed, v) })
		}
	}
)

// schema is what every alert must say, and how.
var schema = map[string]func(any) bool{
	"@timestamp":                              date,
	"ecs.version":                             exactly("8.17.0"),
	"message":                                 keyword,
	"tags":                                    keywords,
	"event.kind":                              exactly("alert"),
	"event.category":                          subset("intrusion_detection"),
	"event.type":                              subset("info", "allowed", "denied"), // what ECS allows with intrusion_detection
	"event.action":                            keyword,
	"event.provider":                          keyword,
	"event.outcome":                           among("success", "failure", "unknown"),
	"event.id":                                keyword,
	"event.code":                              exactly("unusual-country-for-method"),
	"event.module":                            exactly("farcall"),
	"event.dataset":                           exactly("farcall.alert"),
	"event.severity":                          among(21., 47., 73., 99.),
	"event.risk_score":                        number,
	"event.risk_score_norm":                   number,
	"event.sequence":                          number,
	"event.created":                           date,
	"event.start":                             date,
	"event.end":                               date,
	"event.reason":                            keyword,
	"rule.id":                                 keyword,
	"rule.name":                               keyword,
	"rule.version":                            keyword,
	"rule.category":                           keyword,
	"rule.ruleset":                            keyword,
	"source.ip":                               ip,
	"source.address":                          keyword,
	"user.id":                                 keyword,
	"user.name":                               keyword,
	"user_agent.original":                     keyword,
	"cloud.provider":                          exactly("aws"),
	"cloud.account.id":                        keyword,
	"cloud.region":                            keyword,
	"cloud.service.name":                      keyword,
	"threat.framework":                        exactly("MITRE ATT&CK"),
	"threat.tactic.id":                        keywords,
	"threat.tactic.name":                      keywords,
	"threat.tactic.reference":                 keywords,
	"threat.technique.id":                     exactly([]any{"T1078"}),
	"threat.technique.subtechnique.id":        exactly([]any{"T1078.004"}),
	"related.ip":                              keywords,
	"related.user":                            keywords,
	"observer.vendor":                         keyword,
	"observer.product":                        keyword,
	"observer.type":                           keyword,
	"observer.version":                        keyword,
	"aws.cloudtrail.event_id":                 keyword,
	"aws.cloudtrail.user_identity.arn":        keyword,
	"aws.cloudtrail.user_identity.type":       keyword,
	"farcall.alert_id":                        keyword,
	"farcall.score":                           number,
	"farcall.level":                           among("UNSEEN", "RARE", "INFREQUENT", "FREQUENT"),
	"farcall.window.visits":                   number,
	"farcall.window.top_countries":            list,
	"farcall.methods":                         list,
	"farcall.factors":                         list,
	"farcall.labels":                          list,
	"farcall.profile.places":                  list,
	"farcall.profile.days":                    number,
	"farcall.organisation.usual":              among(true, false),
	"farcall.organisation.others":             number,
	"farcall.earlier_alerts":                  number,
	"farcall.history.organisation_days":       number,
	"farcall.history.principal_days":          number,
	"farcall.methods_total":                   number,
	"farcall.source.topic":                    keyword,
	"farcall.source.offset":                   number,
	"aws.cloudtrail.recipient_account_id":     keyword,
	"aws.cloudtrail.user_identity.account_id": keyword,
}

func field(doc map[string]any, path string) (any, bool) {
	head, rest, nested := strings.Cut(path, ".")
	v, ok := doc[head]
	if !ok || !nested {
		return v, ok
	}
	inner, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	return field(inner, rest)
}

func decoded(t *testing.T, a *Alert) map[string]any {
	t.Helper()
	b, err := a.ECS("v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestECSFields(t *testing.T) {
	for name, make := range examples {
		doc := decoded(t, make())
		for path, good := range schema {
			if v, ok := field(doc, path); !ok {
				t.Errorf("%s: %s is missing", name, path)
			} else if !good(v) {
				t.Errorf("%s: %s is %v", name, path, v)
			}
		}
		start, _ := field(doc, "event.start")
		end, _ := field(doc, "event.end")
		if start.(string) > end.(string) {
			t.Errorf("%s: starts at %s, after its end, %s", name, start, end)
		}
	}
}

func TestECSValues(t *testing.T) {
	both := example()
	both.Lead.Visit.Outcome = topics.Allowed | topics.Denied
	both.settle()
	silent := example() // denied without a word about it
	silent.Lead.Visit.Outcome = topics.Denied
	failed := example() // allowed, and failed for another reason
	failed.Lead.Visit.Evidence.ErrorCode = "EntityAlreadyExists"
	zoned := example()
	zoned.Lead.Visit.Evidence.Address = "2001:db8::1%eth0"
	list := example()
	list.Lead.Visit.Evidence.Address = "203.0.113.77, 10.0.0.1"
	for _, c := range []struct {
		name string
		a    *Alert
		path string
		want any // nil: the field is absent
	}{
		{"unseen", example(), "event.type", []any{"info", "allowed"}},
		{"unseen", example(), "event.outcome", "success"},
		{"unseen", example(), "source.geo.country_iso_code", "RO"},
		{"unseen", example(), "source.geo.country_name", "Romania"},
		{"unseen", example(), "user.name", "dana"},
		{"unseen", example(), "aws.cloudtrail.user_identity.session_context.mfa_authenticated", false},
		{"unseen", example(), "farcall.window.place_since", nil},
		{"both outcomes", both, "event.type", []any{"info", "allowed", "denied"}},
		{"both outcomes", both, "event.outcome", "success"},
		{"both outcomes", both, "farcall.outcome", "allowed and denied"},
		{"denied without an error", silent, "event.outcome", "failure"},
		{"failed, not denied", failed, "event.outcome", "failure"},
		{"failed, not denied", failed, "event.type", []any{"info", "allowed"}},
		{"denied login", deniedConsoleLogin(), "event.type", []any{"info", "denied"}},
		{"denied login", deniedConsoleLogin(), "event.outcome", "failure"},
		{"denied login", deniedConsoleLogin(), "aws.cloudtrail.read_only", nil},
		{"region", awsRegion(), "source.geo", nil},
		{"region", awsRegion(), "farcall.place_name", "AWS region ap-southeast-1"},
		{"region", awsRegion(), "user.name", "etl"},
		{"region", awsRegion(), "related.user", []any{"etl", "i-0abc"}},
		{"region", awsRegion(), "aws.cloudtrail.user_identity.session_context.mfa_authenticated", nil},
		{"address with a zone", zoned, "source.ip", "2001:db8::1"},
		{"address with a zone", zoned, "source.address", "2001:db8::1%eth0"},
		{"list of addresses", list, "source.ip", nil},
		{"list of addresses", list, "related.ip", nil},
		{"list of addresses", list, "source.address", "203.0.113.77, 10.0.0.1"},
		{"many methods", manyMethods(), "farcall.methods_total", 12.},
		{"many methods", manyMethods(), "event.sequence", 14.},
		{"many methods", manyMethods(), "farcall.outcome", "allowed and denied"},
		{"unseen", example(), "farcall.earlier_alerts", 1.},
		{"unseen", example(), "farcall.labels", []any{"traveller"}},
		{"unseen", example(), "farcall.profile.days", 36.},
		{"unseen", example(), "farcall.profile.here_days", 0.},
		{"unseen", example(), "farcall.profile.here_since", nil},
		{"unseen", example(), "farcall.profile.new_clients", []any{"aws-cli on kali"}},
		{"unseen", example(), "farcall.profile.new_keys", nil},
		{"unseen", example(), "farcall.overlap.place", "US"},
		{"unseen", example(), "farcall.overlap.speed", 5120.},
		{"unseen", example(), "farcall.organisation.usual", false},
		{"unseen", example(), "farcall.organisation.score", 81.5},
		{"unseen", example(), "farcall.organisation.visits", 9120.},
		{"unseen", example(), "farcall.history.organisation_days", 212.},
		{"unseen", example(), "farcall.history.account_days", 100.},
		{"unseen", example(), "farcall.history.principal_days", 51.},
		{"unseen", example(), "farcall.held_back", nil},
		{"unseen", example(), "farcall.roll_up", nil},
		{"region", awsRegion(), "farcall.overlap", nil},
		{"region", awsRegion(), "farcall.profile.since", nil},
		{"region", awsRegion(), "farcall.organisation.usual", true},
		{"sighting alone", sightingAlone(), "farcall.methods", []any{}},
		{"sighting alone", sightingAlone(), "farcall.methods_total", 0.},
		{"sighting alone", sightingAlone(), "farcall.method", "iam:CreateUser"},
		{"sighting alone", sightingAlone(), "farcall.labels", []any{}},
		{"excepted", excepted(), "farcall.held_back", "exception"},
		{"excepted", excepted(), "farcall.exception", "x-20260301-offsite"},
		{"roll-up", rolledUp(), "farcall.roll_up.held", 1024.},
		{"roll-up", rolledUp(), "farcall.roll_up.strongest", example().ID},
	} {
		got, ok := field(decoded(t, c.a), c.path)
		if ok != (c.want != nil) || ok && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %s is %v, want %v", c.name, c.path, got, c.want)
		}
	}
}

func TestTitle(t *testing.T) {
	two, dropped := example(), manyMethods()
	two.Methods = append(two.Methods, two.Methods[0])
	dropped.Dropped = 7
	nameless := example()
	nameless.Lead.Visit.Place = "Q9"
	for _, c := range []struct {
		a    *Alert
		want string
	}{
		{example(), "iam:CreateUser called from Romania by 111122223333/user/dana"},
		{two, "iam:CreateUser and 1 other method called from Romania by 111122223333/user/dana"},
		{manyMethods(), "iam:CreateUser and 11 other methods called from Romania by 111122223333/user/dana"},
		{dropped, "iam:CreateUser and 18 other methods called from Romania by 111122223333/user/dana"},
		{awsRegion(), "s3:GetObject called from AWS region ap-southeast-1 by 111122223333/role/etl"},
		{nameless, "iam:CreateUser called from Q9 by 111122223333/user/dana"},
		{sightingAlone(), "iam:CreateUser called from Romania by 111122223333/user/dana"},
		{rolledUp(), "1,024 alerts were held back by the cap between 2026-03-04 09:26 and 2026-03-04 09:41 UTC"},
	} {
		if got := c.a.Title(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestReason(t *testing.T) {
	// bare is an alert of which only the method's distribution is known.
	bare := func(a *Alert) *Alert {
		a.Context = Context{OrganisationUsual: true}
		return a
	}
	alone := bare(example())
	alone.Lead.Distribution.Top = nil
	short := bare(rareWithGuard())
	short.Window = 12 * time.Hour
	unguarded := bare(rareWithGuard())
	unguarded.Lead.Distribution.Support = 37
	unlearned := bare(awsRegion())
	unlearned.Lead.Distribution.PlaceLast = 0
	here := example()
	here.Context = Context{Days: 36, HereDays: 2, Places: []Seen{{Name: "US", Days: 34}}, Clients: []string{"aws-cli on linux"}, Organisation: topics.Distribution{Others: 1204}}
	only := example()
	only.Context = Context{Days: 36, HereDays: 36, Organisation: topics.Distribution{Others: 1}}
	only.Methods[0].New = false
	later := bare(example())
	later.Context.Since = pane(0)
	rented := example()
	rented.Context = Context{Days: 36, Clients: []string{"aws-cli on linux"}, OrganisationUsual: true, Factors: []Factor{
		{"outside AWS", 25, "seen only inside AWS until now"}, {"new key", 10, "access key never used before: AKIAEXAMPLE"},
		{"hosting network", 8, "from a hosting or VPN network: AS64500 Example Hosting"}, {"hour", 5, "never active at this hour"}, {"usual device", -9, "the principal's usual client and key"},
	}}
	rented.Methods[0].New = false
	several := manyMethods()
	several.Context = Context{Days: 3, OrganisationUsual: true}
	several.Methods[4].New = false
	outside := example()
	outside.Context = Context{Days: 1, OrganisationUsual: true, Places: []Seen{{Name: "aws:us-east-1", Days: 1}}, Factors: []Factor{{"outside AWS", 25, "seen only inside AWS until now"}}}
	outside.Methods[0].New = false
	network := example()
	network.Context = Context{Days: 30, OrganisationUsual: true, Places: []Seen{{Name: topics.PrivatePlace, Days: 30}}, Clients: []string{"aws-cli on kali"}, Factors: []Factor{
		{"attack tool", 20, "a client that intruders use: aws-cli on kali"}, {"usual work", -15, "of 7 unusual methods it calls 6 elsewhere"}}}
	const none = "the principal was never seen before; "
	for _, c := range []struct {
		name string
		a    *Alert
		want string
	}{
		{"all of it", example(), "the principal, seen on 36 days from United States, Germany, was never in Romania before; it was also in United States, at least 5,120 km away, within 1 h; " +
			"with a client it never used before: aws-cli on kali; seen in 3 countries before; it had not called the method in 30 days, from anywhere; nobody else of the organisation was there; iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"a sighting alone", sightingAlone(), "the principal, seen on 36 days from United States, Germany, was never in Romania before; with a client it never used before: aws-cli on kali"},
		{"it was here before", here, "the principal was in Romania on 2 of 36 days before, else in United States; with its usual client; it had not called the method in 30 days, from anywhere; 1,204 others of the organisation were there; " +
			"iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"it is always here", only, "the principal was in Romania on 36 of 36 days before; one other of the organisation was there; iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"several methods", several, "the principal, seen on 3 days, was never in Romania before; it was allowed to call iam:CreateUser, iam:CreateAccessKey, iam:AttachUserPolicy; 11 of its 12 unusual methods it had not called in 30 days, from anywhere; " +
			"iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"what only factors tell", rented, "the principal, seen on 36 days, was never in Romania before; with its usual client; seen only inside AWS until now; " +
			"access key never used before: AKIAEXAMPLE; from a hosting or VPN network: AS64500 Example Hosting; never active at this hour; " +
			"iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"out of AWS", outside, "the principal, seen on 1 day from AWS region us-east-1, was never outside AWS before, and is in Romania now; " +
			"iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"out of a private network", network, "the principal, seen on 30 days from private addresses, was never in Romania before; with its usual client; with a client that intruders use: aws-cli on kali; " +
			"of 7 unusual methods it calls 6 elsewhere; iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"on its first day", later, "the principal was never seen before that day; iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"never", bare(example()), none + "iam:CreateUser was never called from Romania before (usual: US 1,102, DE 171, FR 25 of 1,298 visits)"},
		{"never, and no history to show", alone, none + "iam:CreateUser was never called from Romania before"},
		{"rare, mostly one principal", bare(rareWithGuard()), none + "iam:CreateUser came from Romania in 37 of 4,102 visits in 30 days, 33 of them by one principal (usual: IE 3,001, GB 1,040, RO 37 of 4,102 visits)"},
		{"rare, by many", unguarded, none + "iam:CreateUser came from Romania in 37 of 4,102 visits in 30 days (usual: IE 3,001, GB 1,040, RO 37 of 4,102 visits)"},
		{"a window below two days", short, none + "iam:CreateUser came from Romania in 37 of 4,102 visits in 12h0m0s, 33 of them by one principal (usual: IE 3,001, GB 1,040, RO 37 of 4,102 visits)"},
		{"before the window", bare(awsRegion()), none + "s3:GetObject was not called from AWS region ap-southeast-1 in 30 days (last on 2026-01-02) (usual: aws:eu-central-1 47,990, DE 220 of 48,210 visits)"},
		{"before the window, date unknown", unlearned, none + "s3:GetObject was not called from AWS region ap-southeast-1 in 30 days (usual: aws:eu-central-1 47,990, DE 220 of 48,210 visits)"},
		{"denied", bare(deniedConsoleLogin()), none + "signin:ConsoleLogin was never called from Brazil before (usual: US 1,102, DE 171, FR 25 of 1,298 visits); all calls were denied"},
		{"a roll-up", rolledUp(), "4 of high severity, 120 medium, 900 low; the strongest scores 76: alert " + example().ID + " on the topic of alerts held back"},
	} {
		if got := c.a.Reason(); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestGroup(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", -999: "-999", -1000: "-1,000"} {
		if got := group(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

// TestIDStable: an alert that a replay makes, or the next release, must be the same alert.
func TestIDStable(t *testing.T) {
	for _, c := range []struct {
		principal, place string
		pane             int64
		want             string
	}{
		{"111122223333/user/dana", "RO", 1772614800, "02127034322a5978c4520e4c8a42e70b"},
		{"111122223333/user/dana", "RO", 1772618400, "a6a4ba8b768b7d512a6f0e31517095ca"},
		{"111122223333/user/dana", "aws:eu-west-1", 1772614800, "c00f381e1e42c85639b678d82ed6c69b"},
		{"", "", 0, "da35e43fb8ba94034718a67ea80fa3be"},
	} {
		if got := ID(c.principal, c.place, c.pane); got != c.want {
			t.Errorf("ID(%q, %q, %d) is %s, was %s", c.principal, c.place, c.pane, got, c.want)
		}
	}
}

func TestSeverity(t *testing.T) {
	for score, want := range map[float64]Severity{0: Low, 50: Low, 64.99: Low, 65: Medium, 79.99: Medium, 80: High, 94.99: High, 95: Critical, 100: Critical} {
		if got := SeverityOf(score); got != want {
			t.Errorf("score %g is %s, want %s", score, got, want)
		}
	}
	for s, want := range map[Severity]string{Low: "low", Medium: "medium", High: "high", Critical: "critical", 12: "severity 12"} {
		if s.String() != want {
			t.Errorf("severity %d is called %s, want %s", s, s, want)
		}
	}
}

// TestBrief: a line about an alert is the same whether it comes from the alert or from its document.
func TestBrief(t *testing.T) {
	for name, make := range examples {
		a := make()
		doc, err := a.ECS("v1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseBrief(doc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(a.Brief(), got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for _, doc := range []string{"", "{}", "[]", `{"@timestamp":"2026-03-04T09:26:53.589Z"}`, `{"farcall":{"alert_id":"x"}}`, `{"@timestamp":"yesterday","farcall":{"alert_id":"x"}}`} {
		if b, err := ParseBrief([]byte(doc)); err == nil {
			t.Errorf("%q was read as %+v", doc, b)
		}
	}
}

func TestWriteLine(t *testing.T) {
	text.EnableColors()
	var out bytes.Buffer
	if err := WriteHeader(&out); err != nil {
		t.Fatal(err)
	}
	b := manyMethods().Brief()
	if err := b.WriteLine(&out, false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("a header and two lines expected:\n%s", &out)
	}
	for _, column := range []struct{ head, value string }{{"TIME", "2026-03-04 09:26"}, {"SEVERITY", "medium"}, {"PLACE", "RO"}, {"METHOD", "iam:CreateUser +11"}, {"PRINCIPAL", "111122223333/user/dana"}} {
		if i := strings.Index(lines[0], column.head); i < 0 || strings.Index(lines[1], column.value) != i {
			t.Errorf("%s does not stand under %s:\n%s", column.value, column.head, &out)
		}
	}
	if !strings.HasSuffix(lines[2], b.Reason) {
		t.Errorf("the second line lacks the reason:\n%s", &out)
	}
	for _, severity := range []string{"low", "medium", "high", "critical", "unheard of"} {
		var plain, colored bytes.Buffer
		b.Severity = severity
		if err := b.WriteLine(&plain, false); err != nil {
			t.Fatal(err)
		}
		if err := b.WriteLine(&colored, true); err != nil {
			t.Fatal(err)
		}
		if plain.String() == colored.String() || text.StripEscape(colored.String()) != plain.String() {
			t.Errorf("%s: colours change more than colours:\n%q\n%q", severity, plain.String(), colored.String())
		}
	}
}

// hostile are texts that an intruder would like to see on an analyst's terminal, or in a parser.
var hostile = []string{
	"\x1b[2J\x1b[1;1Hall is well", "\x1b]0;title\a", "a\rb\nc\td", "\x9b31m", "\u009b31m", "\u0085", "\x7f\x08\x00",
	"admin\u202egnp.exe", "zero\u200bwidth", "line\u2028break", "\xff\xfe\xed\xa0\x80", `"},"x":{"`, "<script>", strings.Repeat("é", 5000),
}

// checkLine fails if a line says anything to the terminal but what can be seen.
func checkLine(t *testing.T, b Brief) {
	t.Helper()
	var out bytes.Buffer
	if err := b.WriteLine(&out, false); err != nil {
		t.Fatal(err)
	}
	line := out.String()
	if strings.Count(line, "\n") != 2 || !strings.HasSuffix(line, "\n") {
		t.Errorf("not two lines: %q", line)
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(line) {
		t.Errorf("the terminal gets %q", line[max(i, 0):])
	}
}

func TestTerminalGetsNoControlCharacters(t *testing.T) {
	for _, h := range hostile {
		b := Brief{ID: h, Message: h, Reason: h, Severity: h, MethodsTotal: 3, Method: h, Principal: h, Place: h, Source: h, EventID: h, Time: morning}
		checkLine(t, b)
	}
}

// fill puts a text of an outsider wherever an outsider can put one.
func fill(a *Alert, s string) {
	v := &a.Lead.Visit
	v.Method, v.Principal = s, s
	e := reflect.ValueOf(&v.Evidence).Elem()
	for i := range e.NumField() {
		if f := e.Field(i); f.Kind() == reflect.String {
			f.SetString(s)
		}
	}
	v.Evidence.Source.Topic = s
	for range topics.MaxResources {
		v.Evidence.Resources = append(v.Evidence.Resources, s)
	}
	for i := range a.Methods {
		m := &a.Methods[i]
		m.Name, m.EventID, m.Account = s, s, s
	}
	// What route makes of the rest: clients have 64 bytes of the user agent, keys are as long as the codec lets them be.
	c := &a.Context
	key, client := s[:min(len(s), topics.MaxKeyBytes)], s[:min(len(s), 64)]+topics.ClientSystem+"amazon-linux"
	for list, name := range map[*[]string]string{&c.Clients: client, &c.NewClients: client, &c.Keys: key, &c.NewKeys: key, &c.Networks: "AS4294967295", &c.NewNetworks: "AS4294967295"} {
		*list = slices.Repeat([]string{name}, 24) // as many as a profile has
	}
	c.Places = slices.Repeat([]Seen{{Name: key, Days: 64}}, MaxPlaces)
	c.Overlap.Place = key
	c.Factors = []Factor{{"new client", 20, strings.Join(c.NewClients, ", ")}, {"new key", 10, strings.Join(c.NewKeys, ", ")}, {"two places", 20, key}, {"new place", 32, key}}
}

func FuzzECS(f *testing.F) {
	for _, h := range hostile {
		f.Add(h, "203.0.113.77", "RO", byte(3), int64(0))
	}
	f.Add("x", "fe80::1%\x00", "aws:\x1b", byte(0), int64(-1))
	f.Fuzz(func(t *testing.T, s, address, place string, outcome byte, when int64) {
		a := manyMethods()
		// What the codec of an anomaly lets through.
		v := &a.Lead.Visit
		v.Place, v.Outcome = place, topics.Outcome(outcome&3)
		fill(a, s[:min(len(s), topics.MaxFieldBytes)])
		v.Evidence.Address = address[:min(len(address), topics.MaxFieldBytes)]
		v.Evidence.EventTime = when % (1 << 43) // before the year 2249
		checkDocument(t, a)
	})
}

func checkDocument(t *testing.T, a *Alert) {
	t.Helper()
	doc, err := a.ECS("v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.Valid(doc) {
		t.Errorf("no UTF-8: %q", doc)
	}
	var d map[string]any
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatalf("no JSON: %v\n%q", err, doc)
	}
	if bytes.IndexByte(doc, '\n') >= 0 {
		t.Errorf("the document spans lines: %q", doc)
	}
	if v, ok := field(d, "source.ip"); ok && !ip(v) {
		t.Errorf("source.ip is %v", v)
	}
	if v, _ := field(d, "event.type"); !schema["event.type"](v) {
		t.Errorf("event.type is %v", v)
	}
	b, err := ParseBrief(doc)
	if err != nil {
		t.Fatal(err)
	}
	if b.ID != a.ID || b.MethodsTotal != int64(len(a.Methods))+a.Dropped {
		t.Errorf("read back as %+v", b)
	}
	checkLine(t, b)
}

// TestSizeIsBounded: the largest alert that the codecs of anomalies let through fits into a record, even if it is made of
// nothing but control characters, of which JSON makes six bytes each. Otherwise one such alert would stop triage for good.
func TestSizeIsBounded(t *testing.T) {
	worst := strings.Repeat("\x01", topics.MaxFieldBytes)
	a := example()
	for len(a.Methods) < MaxMethods {
		a.Methods = append(a.Methods, a.Methods[0])
	}
	a.Dropped = 5
	fill(a, worst)
	v := &a.Lead.Visit
	v.Method, v.Principal, v.Place = worst[:topics.MaxKeyBytes], worst[:topics.MaxKeyBytes], worst[:topics.MaxKeyBytes]
	v.Evidence.RequestParameters = strings.Repeat("\x01", topics.MaxRequestBytes)
	a.Lead.Distribution.Top = nil
	for range topics.MaxTopCountries {
		a.Lead.Distribution.Top = append(a.Lead.Distribution.Top, topics.PlaceCount{Place: worst[:topics.MaxKeyBytes], Visits: 1})
	}
	checkDocument(t, a)
	doc, err := a.ECS("v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	left, _ := field(decoded(t, a), "farcall.methods")
	if n := len(left.([]any)); len(doc) > MaxBytes || n == 0 || n == MaxMethods {
		t.Errorf("%d bytes with %d methods", len(doc), n)
	}
	empty := example()
	empty.Methods = nil
	fill(empty, worst)
	checkDocument(t, empty)
	for _, topic := range topics.Declare(topics.DefaultOptions()) {
		if limit := topic.Configs["max.message.bytes"]; limit != "1048588" {
			t.Errorf("%s takes records of %s bytes: MaxBytes was chosen for 1048588", topic.Name, limit)
		}
	}
}

func TestPlaceName(t *testing.T) {
	for place, want := range map[string]string{"RO": "Romania", "aws:eu-west-1": "AWS region eu-west-1", "ZZ": "ZZ", "": ""} {
		if got := PlaceName(place); got != want {
			t.Errorf("%q is called %q, want %q", place, got, want)
		}
	}
}
