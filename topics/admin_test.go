package topics

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cluster starts a broker that makes any topic that is merely asked about, and a client of it.
func cluster(t *testing.T) (*kfake.Cluster, *kadm.Client) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, admin(t, c)
}

func admin(t *testing.T, c *kfake.Cluster) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

func options() Options {
	o := DefaultOptions()
	o.Partitions = 3
	return o
}

func applied(t *testing.T, adm *kadm.Client, o Options) {
	t.Helper()
	if _, findings, err := Apply(t.Context(), adm, o, -1); err != nil || len(findings) != 0 {
		t.Fatalf("apply: %v %v", findings, err)
	}
}

func topicNames(t *testing.T, adm *kadm.Client) []string {
	t.Helper()
	ts, err := adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ts.Names()
}

func declaredNames(o Options) (names []string) {
	for _, d := range Declare(o) {
		names = append(names, d.Name)
	}
	return names
}

// configsOf reads every config of the topics from the broker.
func configsOf(t *testing.T, adm *kadm.Client, names ...string) map[string]map[string]string {
	t.Helper()
	rcs, err := adm.DescribeTopicConfigs(t.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]string{}
	for _, rc := range rcs {
		all[rc.Name] = map[string]string{}
		for _, c := range rc.Configs {
			all[rc.Name][c.Key] = c.MaybeValue()
		}
	}
	return all
}

func TestApply(t *testing.T) {
	_, adm := cluster(t)
	o := options()
	created, findings, err := Apply(t.Context(), adm, o, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"farcall.alerts", "farcall.alerts.held-back", "farcall.dead-letters", "farcall.detect.changelog", "farcall.exceptions", "farcall.principals", "farcall.route.positions", "farcall.triage.changelog", "farcall.visits"}
	if !slices.Equal(created, want) {
		t.Errorf("created %v, want %v", created, want)
	}
	if len(findings) != 0 {
		t.Errorf("findings right after: %v", findings)
	}
	details, err := adm.ListTopics(t.Context(), want...)
	if err != nil {
		t.Fatal(err)
	}
	configs := configsOf(t, adm, want...)
	for _, d := range Declare(o) {
		if got := int32(len(details[d.Name].Partitions)); got != d.Partitions {
			t.Errorf("%s has %d partitions, want %d", d.Name, got, d.Partitions)
		}
		for k, v := range d.Configs {
			if configs[d.Name][k] != v {
				t.Errorf("%s has %s=%q, want %q", d.Name, k, configs[d.Name][k], v)
			}
		}
	}
	created, findings, err = Apply(t.Context(), adm, o, 1)
	if err != nil || len(created) != 0 || len(findings) != 0 {
		t.Errorf("the second time: created %v, findings %v, error %v", created, findings, err)
	}
}

func TestApplyCreatesOnlyWhatIsMissing(t *testing.T) {
	_, adm := cluster(t)
	o := options()
	if _, err := adm.CreateTopic(t.Context(), 5, 1, nil, "farcall.visits"); err != nil {
		t.Fatal(err)
	}
	created, findings, err := Apply(t.Context(), adm, o, 1)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(created, "farcall.visits") || len(created) != 8 {
		t.Errorf("created %v", created)
	}
	i := slices.IndexFunc(findings, func(f Finding) bool { return strings.Contains(f.Problem, "has 5 partitions where 3 are declared") })
	if i < 0 || findings[i].Topic != "farcall.visits" || !findings[i].Fatal {
		t.Errorf("nothing fatal is said of the topic that differs: %v", findings)
	}
}

// TestApplyRace holds that a member whose topic another member creates a moment earlier goes on.
func TestApplyRace(t *testing.T) {
	c, adm := cluster(t)
	other := admin(t, c)
	o := options()
	var asked atomic.Bool
	c.ControlKey(int16(kmsg.CreateTopics), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if asked.Swap(true) {
			return nil, nil, false
		}
		req := kreq.(*kmsg.CreateTopicsRequest)
		d := Declare(o)[slices.Index(declaredNames(o), req.Topics[0].Topic)]
		configs := map[string]*string{}
		for k, v := range d.Configs {
			configs[k] = &v
		}
		c.SleepControl(func() {
			if _, err := other.CreateTopic(context.Background(), d.Partitions, 1, configs, d.Name); err != nil {
				t.Errorf("the other member: %v", err)
			}
		})
		return nil, nil, false
	})
	created, findings, err := Apply(t.Context(), adm, o, 1)
	if err != nil || len(findings) != 0 || len(created) != 8 {
		t.Errorf("created %v, findings %v, error %v", created, findings, err)
	}
}

func TestApplyRefused(t *testing.T) {
	_, adm := cluster(t)
	_, _, err := Apply(t.Context(), adm, options(), 3)
	if err == nil || !strings.Contains(err.Error(), "create topic farcall.alerts with 8 partitions and replication factor 3") {
		t.Errorf("three replicas on one broker: error %v", err)
	}
}

func TestCheckOfMissingTopics(t *testing.T) {
	_, adm := cluster(t)
	o := options()
	for range 2 { // the second time too: the first must not have made them
		findings, err := Check(t.Context(), adm, o)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range findings {
			names = append(names, f.Topic)
			if f.Problem != "is missing" || f.Fix != "farcall topics apply" || !f.Fatal {
				t.Errorf("finding %+v", f)
			}
		}
		if !slices.Equal(names, declaredNames(o)) {
			t.Errorf("missing are %v, want %v", names, declaredNames(o))
		}
	}
	if names := topicNames(t, adm); len(names) != 0 {
		t.Errorf("Check made topics: %v", names)
	}
}

func TestCheckOfDrift(t *testing.T) {
	_, adm := cluster(t)
	o := options()
	applied(t, adm, o)
	ctx := t.Context()
	alter := func(topic, key, value string) {
		t.Helper()
		rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, topic)
		if err == nil {
			err = rs[0].Err
		}
		if err != nil {
			t.Fatalf("alter %s of %s: %v", key, topic, err)
		}
	}
	alter("farcall.detect.changelog", "cleanup.policy", "compact,delete")
	alter("farcall.visits", "cleanup.policy", "compact")
	alter("farcall.visits", "retention.ms", "3600000")
	alter("farcall.alerts", "message.timestamp.type", "LogAppendTime")
	if rs, err := adm.CreatePartitions(ctx, 1, "farcall.principals", "farcall.dead-letters"); err != nil || rs.Error() != nil {
		t.Fatal(err, rs.Error())
	}
	if _, err := adm.DeleteTopics(ctx, "farcall.triage.changelog"); err != nil {
		t.Fatal(err)
	}
	names := topicNames(t, adm)
	before := configsOf(t, adm, names...)

	adm = kadm.NewClient(freshClient(t, adm)) // no memory of the topics
	got, err := Check(ctx, adm, o)
	if err != nil {
		t.Fatal(err)
	}
	alterCommand := "kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name "
	want := []Finding{
		{"farcall.dead-letters", "has 5 partitions where 4 are declared", "nothing: more partitions than declared do no harm here", false},
		{"farcall.principals", "has 4 partitions where 3 are declared",
			"if the configuration was changed, set topics.partitions back to 4; if the topic was, its keys have moved between partitions, away from their state: start a new installation under another topics.prefix", true},
		{"farcall.triage.changelog", "is missing", "farcall topics apply", true},
		{"farcall.alerts", `message.timestamp.type is "LogAppendTime" where "CreateTime" is declared`,
			alterCommand + "farcall.alerts --add-config message.timestamp.type=CreateTime", false},
		{"farcall.detect.changelog", `cleanup.policy is "compact,delete" where "compact" is declared`,
			alterCommand + "farcall.detect.changelog --add-config cleanup.policy=compact", true},
		{"farcall.visits", `cleanup.policy is "compact" where "delete" is declared`,
			alterCommand + "farcall.visits --add-config cleanup.policy=delete", true},
		{"farcall.visits", `retention.ms is "3600000" where "604800000" is declared`,
			alterCommand + "farcall.visits --add-config retention.ms=604800000", false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("findings:\n%v\nwant:\n%v", lines(got), lines(want))
	}
	if after := configsOf(t, adm, names...); !maps.EqualFunc(before, after, maps.Equal[map[string]string, map[string]string]) {
		t.Error("Check changed a config")
	}
	if after := topicNames(t, adm); !slices.Equal(after, names) {
		t.Errorf("Check changed the topics: %v, before %v", after, names)
	}
}

func freshClient(t *testing.T, adm *kadm.Client) *kgo.Client {
	t.Helper()
	brokers, err := adm.ListBrokers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seeds := make([]string, len(brokers))
	for i, b := range brokers {
		seeds[i] = b.Host + ":" + strconv.Itoa(int(b.Port))
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func lines(fs []Finding) string {
	var b strings.Builder
	for _, f := range fs {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestCheckOfTooFewPartitions(t *testing.T) {
	_, adm := cluster(t)
	o := options()
	if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, "farcall.alerts"); err != nil {
		t.Fatal(err)
	}
	findings, err := Check(t.Context(), adm, o)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Topic == "farcall.alerts" })
	want := Finding{"farcall.alerts", "has 2 partitions where 8 are declared", "kafka-topics.sh --bootstrap-server BROKER --alter --topic farcall.alerts --partitions 8", false}
	if i < 0 || findings[i] != want {
		t.Errorf("findings:\n%s\nwant among them:\n%s", lines(findings), want)
	}
}

func TestCheckOfUnreachableCluster(t *testing.T) {
	c, adm := cluster(t)
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if findings, err := Check(ctx, adm, options()); err == nil {
		t.Errorf("no error without a broker, findings %v", findings)
	}
}

func TestDeclare(t *testing.T) {
	o := options()
	o.Prefix = "lab"
	n := NamesFor("lab")
	compacted := map[string]bool{n.DetectChangelog: true, n.TriageChangelog: true, n.Positions: true, n.Exceptions: true}
	ordered := map[string]int32{n.Visits: 3, n.Principals: 3, n.DetectChangelog: 3, n.TriageChangelog: 3, n.Positions: 3}
	declared := Declare(o)
	if len(declared) != 9 || !slices.IsSortedFunc(declared, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d topics declared, or not in order", len(declared))
	}
	for _, d := range declared {
		if !strings.HasPrefix(d.Name, "lab.") || d.Why == "" {
			t.Errorf("topic %+v", d)
		}
		// What is state, or a list, is compacted and knows no retention by time; what is a stream is never compacted.
		_, byTime := d.Configs["retention.ms"]
		if policy := d.Configs["cleanup.policy"]; compacted[d.Name] != (policy == "compact") || compacted[d.Name] == byTime {
			t.Errorf("%s: cleanup.policy %s, retention %v", d.Name, policy, byTime)
		}
		if want, fixed := ordered[d.Name]; d.Fixed != fixed || fixed && d.Partitions != want {
			t.Errorf("%s: %d partitions, fixed %v", d.Name, d.Partitions, d.Fixed)
		}
	}
}
