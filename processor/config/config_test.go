package config

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/topics"
)

// setting is one leaf of the tree.
type setting struct {
	path  string // kafka.tls.enabled
	env   string // FARCALL_KAFKA_TLS_ENABLED, "" where the environment can't set it
	owner string // name of the struct type that has it
	field string // and of its field
	value reflect.Value
}

// settings lists the leaves of c in the order of the source.
func settings(c *Config) []setting {
	var list []setting
	var walk func(v reflect.Value, path, prefix string)
	walk = func(v reflect.Value, path, prefix string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			s := setting{path: path + f.Tag.Get("yaml"), owner: v.Type().Name(), field: f.Name, value: v.Field(i)}
			if f.Type.Kind() == reflect.Struct {
				walk(v.Field(i), s.path+".", prefix+f.Tag.Get("envPrefix"))
				continue
			}
			if name := f.Tag.Get("env"); name != "-" {
				s.env = prefix + name
			}
			list = append(list, s)
		}
	}
	walk(reflect.ValueOf(c).Elem(), "", envPrefix)
	return list
}

// text spells a value as the environment does.
func text(v reflect.Value) string {
	if l, ok := v.Interface().([]string); ok {
		return strings.Join(l, ",")
	}
	return fmt.Sprint(v.Interface())
}

// other is a valid configuration that has no value in common with the default.
func other() Config {
	return Config{
		Stages: []string{"detect", "triage"},
		Kafka: Kafka{
			Brokers: []string{"a.example:9093", "[2001:db8::1]:9093"}, ClientID: "elsewhere",
			TLS:  TLS{Enabled: true, CAFile: "ca.pem", CertFile: "cert.pem", KeyFile: "key.pem"},
			SASL: SASL{Mechanism: "scram-sha-512", Username: "farcall", PasswordFile: "password"},
		},
		Topics: Topics{Raw: []string{"trail", "trail.eu"}, Prefix: "fc", Partitions: 8, Replication: 3, Retention: 72 * time.Hour, AlertRetention: 48 * time.Hour},
		Memory: Memory{BudgetBytes: 2 << 30},
		State:  State{Dir: "/var/lib/farcall", Slot: "pod-3", CacheBytes: 1 << 30, MemTablesBytes: 256 << 20, RestoreBytes: 8 << 20, Restores: 3},
		Geo:    Geo{Database: "GeoLite2-Country.mmdb", ASNDatabase: "GeoLite2-ASN.mmdb", CacheEntries: 4096, ReloadEvery: 90 * time.Second},
		Route: Route{
			Workers: 2, Start: "latest", OnOffsetOutOfRange: "earliest", Skew: time.Minute, Late: 2 * time.Hour, RecordBytes: 2 << 20, Depth: 100, ExpandedBytes: 32 << 20, MemoryEntries: 5000,
			Ignore: []route.Rule{
				{Name: "scanner", Category: "Management", Service: "iam", Method: "iam:List*", Principal: "*/role/scanner", Account: "111122223333", Network: "192.0.2.0/24"},
				{Name: "data", Category: "Data"},
			},
		},
		Detect:  Detect{Workers: 3, Scope: "account", Pane: 30 * time.Minute, Window: 14 * 24 * time.Hour, LookBack: 12 * time.Hour, Floor: 12.5, Silence: 4.5, CacheEntries: 80_000},
		Triage:  Triage{Workers: 4, Threshold: 62.5, Cap: 7, HostingNetworks: []string{"AS64496", "as64497"}, HostingNames: []string{"cloud"}},
		Stream:  Stream{CommitInterval: 50 * time.Millisecond, CommitStretch: 250 * time.Millisecond, SessionTimeout: 20 * time.Second, TransactionTimeout: 15 * time.Second, RestoreStall: time.Minute, FetchMaxBytes: 8 << 20},
		Console: Console{Listen: "0.0.0.0:9000", TokenFile: "token", CertFile: "console.pem", KeyFile: "console.key", Profiling: true},
		Log:     Log{Level: "debug", Format: "json"},
	}
}

// alone says which settings of other must keep their default: password excludes password_file.
var alone = []string{"kafka.sasl.password"}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "farcall.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	loaded, err := Load("", nil)
	if err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(c, loaded); d != "" {
		t.Errorf("Load without a file and an environment: %s", d)
	}
	// What the stages' own defaults say is what runs by default.
	if d := cmp.Diff(route.DefaultConfig(), c.RouteConfig()); d != "" {
		t.Errorf("route: %s", d)
	}
	whole := detect.DefaultConfig() // of one task, which has all the entries if it is alone
	whole.CacheEntries /= int(c.Topics.Partitions)
	if d := cmp.Diff(whole, c.DetectConfig()); d != "" {
		t.Errorf("detect: %s", d)
	}
	all := triage.DefaultConfig() // of one task, which has all the alerts if it is alone
	all.Partitions = c.Topics.Partitions
	if d := cmp.Diff(all, c.TriageConfig()); d != "" {
		t.Errorf("triage: %s", d)
	}
	if d := cmp.Diff(topics.DefaultOptions(), c.TopicOptions()); d != "" {
		t.Errorf("topics: %s", d)
	}
}

// TestOther guards the tests that rest on it: a new setting must come into it.
func TestOther(t *testing.T) {
	o, d := other(), Default()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	defaults := settings(&d)
	for i, s := range settings(&o) {
		if same := reflect.DeepEqual(s.value.Interface(), defaults[i].value.Interface()); same != slices.Contains(alone, s.path) {
			t.Errorf("%s is %v in both configurations: %t", s.path, s.value, same)
		}
	}
}

// rule is a rule of Validate: a change to a valid configuration, and the problems that it causes.
type rule struct {
	name   string
	change func(*Config)
	want   []string // how each problem begins, in order: "path: ..."
}

// rules has them all.
var rules = []rule{
	{"no stage", func(c *Config) { c.Stages = nil }, []string{"stages: name at least one"}},
	{"unknown stage", func(c *Config) { c.Stages = []string{"route", "judge"} }, []string{`stages: "judge" is not one of route, detect, triage`}},
	{"no broker", func(c *Config) { c.Kafka.Brokers = nil }, []string{"kafka.brokers: name at least one"}},
	{"broker without a port", func(c *Config) { c.Kafka.Brokers = []string{"a:1", "b"} }, []string{`kafka.brokers: "b" is not host:port`}},
	{"unknown mechanism", func(c *Config) { c.Kafka.SASL = SASL{Mechanism: "gssapi", Username: "u", Password: "p"} }, []string{`kafka.sasl.mechanism: "gssapi" is not one of , plain,`}},
	{"nobody to log in", func(c *Config) { c.Kafka.SASL = SASL{Mechanism: "scram-sha-256", Password: "p"} }, []string{"kafka.sasl.username: needed"}},
	{"nothing to log in with", func(c *Config) { c.Kafka.SASL = SASL{Mechanism: "scram-sha-256", Username: "u"} }, []string{"kafka.sasl: kafka.sasl.mechanism needs password"}},
	{"a password for nothing", func(c *Config) { c.Kafka.SASL = SASL{Password: "p"} }, []string{"kafka.sasl.mechanism: without one"}},
	{"a password file for nothing", func(c *Config) { c.Kafka.SASL = SASL{PasswordFile: "p"} }, []string{"kafka.sasl.mechanism: without one"}},
	{"a name for nothing", func(c *Config) { c.Kafka.SASL = SASL{Username: "u"} }, []string{"kafka.sasl.mechanism: without one"}},
	{"two passwords", func(c *Config) {
		c.Kafka.SASL = SASL{Mechanism: "scram-sha-256", Username: "u", Password: "p", PasswordFile: "f"}
	}, []string{"kafka.sasl: give password or password_file"}},
	{"password in the clear", func(c *Config) { c.Kafka.SASL = SASL{Mechanism: "plain", Username: "u", Password: "p"} }, []string{"kafka.sasl.mechanism: plain sends"}},
	{"plain over TLS", func(c *Config) {
		c.Kafka.SASL, c.Kafka.TLS.Enabled = SASL{Mechanism: "plain", Username: "u", Password: "p"}, true
	}, nil},
	{"authorities without TLS", func(c *Config) { c.Kafka.TLS.CAFile = "f" }, []string{"kafka.tls.enabled: is false"}},
	{"certificate without TLS", func(c *Config) { c.Kafka.TLS.CertFile, c.Kafka.TLS.KeyFile = "f", "g" }, []string{"kafka.tls.enabled: is false"}},
	{"certificate without a key", func(c *Config) { c.Kafka.TLS = TLS{Enabled: true, CertFile: "f"} }, []string{"kafka.tls: cert_file and key_file"}},
	{"key without a certificate", func(c *Config) { c.Kafka.TLS = TLS{Enabled: true, KeyFile: "f"} }, []string{"kafka.tls: cert_file and key_file"}},
	{"nothing to read", func(c *Config) { c.Topics.Raw = nil }, []string{"topics.raw: name at least one"}},
	{"nothing to read, and nobody who would", func(c *Config) { c.Topics.Raw, c.Stages = nil, []string{"detect"} }, nil},
	{"reads itself", func(c *Config) { c.Topics.Raw = []string{"farcall.visits"} }, []string{`topics.raw: "farcall.visits" lies among`}},
	{"no prefix", func(c *Config) { c.Topics.Prefix = "" }, []string{"topics.prefix: must not be empty"}},
	{"no partition", func(c *Config) { c.Topics.Partitions = 0 }, []string{"topics.partitions: 0 is outside 1 to 4096"}},
	{"too many partitions", func(c *Config) { c.Topics.Partitions = 4097 }, []string{"topics.partitions: 4097 is outside"}},
	{"no replica", func(c *Config) { c.Topics.Replication = 0 }, []string{"topics.replication: 0 is neither"}},
	{"fewer than no replica", func(c *Config) { c.Topics.Replication = -2 }, []string{"topics.replication: -2 is neither"}},
	{"short retention", func(c *Config) { c.Topics.Retention = time.Minute }, []string{"topics.retention: 1m0s is outside"}},
	{"short retention of alerts", func(c *Config) { c.Topics.AlertRetention = time.Minute }, []string{"topics.alert_retention: 1m0s is outside"}},
	{"no folder", func(c *Config) { c.State.Dir = "" }, []string{"state.dir: must not be empty"}},
	{"small block cache", func(c *Config) { c.State.CacheBytes = 1 << 10 }, []string{"state.cache_bytes: 1024 is outside"}},
	{"small memtables", func(c *Config) { c.State.MemTablesBytes = 1 }, []string{"state.memtables_bytes: 1 is outside"}},
	{"restores without a buffer", func(c *Config) { c.State.RestoreBytes = 0 }, []string{"state.restore_bytes: 0 is outside"}},
	{"no restore", func(c *Config) { c.State.Restores = 0 }, []string{"state.restores: 0 is outside 1 to 64"}},
	{"small budget", func(c *Config) { c.Memory.BudgetBytes = 1 << 20 }, []string{"memory.budget_bytes: 1048576 is outside"}},
	{"parts past the budget", func(c *Config) { c.State.CacheBytes = 480 << 20 }, []string{"memory.budget_bytes: 480 MiB are too few for program and runtime 48, block cache 480, "}},
	{"parts that fit a larger budget", func(c *Config) { c.State.CacheBytes, c.Memory.BudgetBytes = 480<<20, 1<<30 }, nil},
	{"more partitions than the budget has memtables for", func(c *Config) { c.Topics.Partitions = 1024 }, []string{"memory.budget_bytes: 480 MiB are too few for program and runtime 48, block cache 64, memtables 1024, stores 512, "}},
	{"no cache of addresses", func(c *Config) { c.Geo.CacheEntries = 0 }, []string{"geo.cache_entries: 0 is outside"}},
	{"reload without pause", func(c *Config) { c.Geo.ReloadEvery = 0 }, []string{"geo.reload_every: 0s is outside"}},
	{"no worker anywhere", func(c *Config) { c.Route.Workers, c.Detect.Workers, c.Triage.Workers = 0, -1, 65 },
		[]string{"detect.workers: -1 is outside 1 to 64", "route.workers: 0 is outside", "triage.workers: 65 is outside"}},
	{"start in the middle", func(c *Config) { c.Route.Start = "middle" }, []string{`route.start: "middle" is not one of earliest, latest`}},
	{"out of range, and into the middle", func(c *Config) { c.Route.OnOffsetOutOfRange = "middle" }, []string{`route.on_offset_out_of_range: "middle" is not one of fail, earliest, latest`}},
	{"nothing but late", func(c *Config) { c.Route.Late = 59 * time.Second }, []string{"route.late: 59s is outside 1m0s to 720h0m0s"}},
	{"negative cap", func(c *Config) { c.Triage.Cap = -1 }, []string{"triage.cap: -1 is outside 0 to 1000000"}},
	{"negative skew", func(c *Config) { c.Route.Skew = -1 }, []string{"route.skew: -1ns is outside"}},
	{"small records", func(c *Config) { c.Route.RecordBytes = 1 }, []string{"route.record_bytes: 1 is outside"}},
	{"flat records", func(c *Config) { c.Route.Depth = 1 }, []string{"route.depth: 1 is outside"}},
	{"gzip without bound", func(c *Config) { c.Route.ExpandedBytes = 1 << 40 }, []string{"route.expanded_bytes: 1099511627776 is outside"}},
	{"short memory", func(c *Config) { c.Route.MemoryEntries = 1 }, []string{"route.memory_entries: 1 is outside"}},
	{"more bad records than records", func(c *Config) { c.Route.MaxBadShare = 1.5 }, []string{"route.max_bad_share: 1.5 is outside 0 to 1"}},
	{"rules that drop all, or nothing known", func(c *Config) {
		c.Route.Ignore = []route.Rule{{Name: "fine", Service: "kms"}, {Name: "all"}, {Service: "kms"}, {Name: "net", Network: "10.0.0.0"}}
	}, []string{"route.ignore[1]: ", "route.ignore[2]: ", "route.ignore[3]: "}},
	{"unknown scope", func(c *Config) { c.Detect.Scope = "team" }, []string{`detect.scope: "team" is not one of organisation, account`}},
	{"pane of no width", func(c *Config) { c.Detect.Pane = 0 }, []string{"detect.pane: 0s is outside"}},
	{"pane with a fraction of a second", func(c *Config) {
		c.Detect.Pane = 90*time.Second + time.Millisecond
		c.Detect.Window = 1000 * c.Detect.Pane
	},
		[]string{"detect.pane: 1m30.001s is not a whole number"}},
	{"window between panes", func(c *Config) { c.Detect.Window = 90 * time.Minute; c.Detect.LookBack = 0 }, []string{"detect.window: 1h30m0s must be a multiple"}},
	{"window below a pane", func(c *Config) { c.Detect.Window = 30 * time.Minute; c.Detect.LookBack = 0 }, []string{"detect.window: 30m0s must be a multiple"}},
	{"window of years", func(c *Config) { c.Detect.Window = 10_000 * time.Hour }, []string{"detect.window: 10000h0m0s is outside"}},
	{"look back past the window", func(c *Config) { c.Detect.LookBack = 31 * 24 * time.Hour }, []string{"detect.look_back: 744h0m0s is outside"}},
	{"negative floor", func(c *Config) { c.Detect.Floor = -1 }, []string{"detect.floor: -1 is outside 0 to 100"}},
	{"silence at once", func(c *Config) { c.Detect.Silence = 0.5 }, []string{"detect.silence: 0.5 is neither 0 nor"}},
	{"nobody listens", func(c *Config) { c.Detect.Silence = 0 }, nil},
	{"no number", func(c *Config) { c.Detect.Floor, c.Triage.Threshold = math.NaN(), math.NaN() }, []string{"detect.floor: NaN is outside", "triage.threshold: NaN is outside"}},
	{"threshold past the curve", func(c *Config) { c.Triage.Threshold = 101 }, []string{"triage.threshold: 101 is outside"}},
	{"threshold below the floor", func(c *Config) { c.Triage.Threshold = 5 }, []string{"triage.threshold: 5 lies below detect.floor"}},
	{"negative cap", func(c *Config) { c.Triage.Cap = -1 }, []string{"triage.cap: -1 is outside"}},
	{"networks by bare number", func(c *Config) {
		c.Geo.ASNDatabase, c.Triage.HostingNetworks = "asn.mmdb", []string{"AS64496", "64497", "AS0"}
	}, []string{`triage.hosting_networks: "64497" is no network such as AS64496`, `triage.hosting_networks: "AS0" is no`}},
	{"networks that nobody knows", func(c *Config) { c.Triage.HostingNetworks = []string{"AS64496"} }, []string{"triage.hosting_networks: without geo.asn_database"}},
	{"networks that another process knows", func(c *Config) {
		c.Triage.HostingNetworks, c.Stages = []string{"AS64496"}, []string{"triage"}
	}, nil},
	{"a name that is in every name", func(c *Config) { c.Triage.HostingNames = []string{"vpn", " a "} }, []string{`triage.hosting_names: " a " has fewer than 3`}},
	{"small cache of windows", func(c *Config) { c.Detect.CacheEntries = 1 }, []string{"detect.cache_entries: 1 is outside"}},
	{"hasty session", func(c *Config) { c.Stream.SessionTimeout = time.Second }, []string{"stream.session_timeout: 1s is outside"}},
	{"endless transaction", func(c *Config) { c.Stream.TransactionTimeout = time.Hour }, []string{"stream.transaction_timeout: 1h0m0s is outside"}},
	{"commit all the time", func(c *Config) { c.Stream.CommitInterval = 0 }, []string{"stream.commit_interval: 0s is outside"}},
	{"commit too late for the transaction", func(c *Config) { c.Stream.CommitInterval, c.Stream.CommitStretch = 3*time.Second, 3*time.Second },
		[]string{"stream.commit_interval: 3s is outside 1ms to 2.5s"}},
	{"stretch that shrinks", func(c *Config) { c.Stream.CommitStretch = 50 * time.Millisecond }, []string{"stream.commit_stretch: 50ms is outside 100ms"}},
	{"impatient restore", func(c *Config) { c.Stream.RestoreStall = 0 }, []string{"stream.restore_stall: 0s is outside"}},
	{"small fetches", func(c *Config) { c.Stream.FetchMaxBytes = 1 }, []string{"stream.fetch_max_bytes: 1 is outside"}},
	{"console without a port", func(c *Config) { c.Console.Listen = "localhost" }, []string{`console.listen: "localhost" is not host:port`}},
	{"console for all, by address", func(c *Config) { c.Console.Listen = "0.0.0.0:9464" }, []string{`console.listen: "0.0.0.0:9464" is reachable`}},
	{"console for all, by port alone", func(c *Config) { c.Console.Listen = ":9464" }, []string{`console.listen: ":9464" is reachable`}},
	{"console for all, by name", func(c *Config) { c.Console.Listen = "farcall.example:9464" }, []string{`console.listen: "farcall.example:9464" is reachable`}},
	{"console for all, with a token", func(c *Config) { c.Console.Listen, c.Console.TokenFile = ":9464", "token" }, nil},
	{"console on loopback, by name", func(c *Config) { c.Console.Listen = "localhost:0" }, nil},
	{"console on loopback, IPv6", func(c *Config) { c.Console.Listen = "[::1]:9464" }, nil},
	{"console certificate without a key", func(c *Config) { c.Console.CertFile = "f" }, []string{"console: cert_file and key_file"}},
	{"console key without a certificate", func(c *Config) { c.Console.KeyFile = "f" }, []string{"console: cert_file and key_file"}},
	{"unknown level", func(c *Config) { c.Log.Level = "loud" }, []string{`log.level: "loud" is not one of debug, info, warn, error`}},
	{"unknown format", func(c *Config) { c.Log.Format = "xml" }, []string{`log.format: "xml" is not one of text, json`}},
}

func TestValidate(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			c := Default()
			r.change(&c)
			var got []string
			if err := c.Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			fits := len(got) == len(r.want)
			for i := range r.want {
				fits = fits && strings.HasPrefix(got[i], r.want[i])
			}
			if !fits {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(r.want, "\n  "))
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*Stream)
		want []string // how each warning begins
	}{
		"default":      {func(*Stream) {}, nil},
		"just a tenth": {func(s *Stream) { s.CommitInterval, s.CommitStretch = time.Second, time.Second }, nil},
		"slow under load": {func(s *Stream) { s.CommitStretch = 1001 * time.Millisecond }, []string{
			"stream.commit_stretch is 1.001s, more than a tenth of stream.session_timeout, 10s", "stream.commit_stretch is 1.001s, more than a tenth of stream.transaction_timeout, 10s"}},
		"hasty session": {func(s *Stream) {
			s.CommitInterval, s.CommitStretch, s.SessionTimeout = 700*time.Millisecond, 700*time.Millisecond, 6*time.Second
		}, []string{
			"stream.commit_interval is 700ms, more than a tenth of stream.session_timeout, 6s", "stream.commit_stretch is 700ms, more than a tenth of stream.session_timeout"}},
		"hasty transaction": {func(s *Stream) { s.TransactionTimeout = 2 * time.Second }, []string{"stream.commit_stretch is 300ms, more than a tenth of stream.transaction_timeout, 2s"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			c.set(&cfg.Stream)
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			got := cfg.Warnings()
			fits := len(got) == len(c.want)
			for i := range c.want {
				fits = fits && strings.HasPrefix(got[i], c.want[i])
			}
			if !fits {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestRulesAreComplete reads Validate for the settings that it complains of, and wants a rule of the table for each.
func TestRulesAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	complaints := map[string]bool{}
	literal := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			path, err := strconv.Unquote(l.Value)
			if err != nil {
				t.Fatal(err)
			}
			complaints[path] = true
		}
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "Validate" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"bad", "oneOf", "between", "span", "score"}, f.Name) {
					literal(n.Args[0])
				}
			case *ast.KeyValueExpr:
				literal(n.Key)
			}
			return true
		})
	}
	if len(complaints) < 40 {
		t.Fatalf("only %d settings found in Validate: this test no longer understands it", len(complaints))
	}
	for path := range complaints {
		if !slices.ContainsFunc(rules, func(r rule) bool {
			return slices.ContainsFunc(r.want, func(w string) bool { return strings.HasPrefix(w, path+": ") })
		}) {
			t.Errorf("no rule of the table makes Validate complain of %s", path)
		}
	}
}

// TestEveryProblemAtOnce: whoever mends a configuration wants to do it once.
func TestEveryProblemAtOnce(t *testing.T) {
	path := write(t, "stages: [judge]\ntopics:\n  partitions: 0\nlog:\n  format: xml\n")
	_, err := Load(path, []string{"FARCALL_DETECT_WINDOW=a month", "FARCALL_TRIAGE_WORKERS=many", "FARCALL_LOG_LEVEL=loud"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"stages: ", "topics.partitions: ", "log.format: ", "log.level: ", "FARCALL_DETECT_WINDOW: ", "FARCALL_TRIAGE_WORKERS: "} {
		if strings.Count("\n"+err.Error(), "\n"+want) != 1 {
			t.Errorf("%q is not in there once:\n%v", want, err)
		}
	}
}

func TestFileErrors(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"unknown section", "log:\n  level: info\ncache:\n  size: 1\n", `[3:1] unknown field "cache"`},
		{"unknown key", "kafka:\n  # ours\n  brokerz: [a:1]\n", `[3:3] unknown field "brokerz"`},
		{"unknown key of a rule", "route:\n  ignore:\n    - name: a\n      servce: kms\n", `[4:7] unknown field "servce"`},
		{"key given twice", "stages: [route]\nlog:\n  level: info\nstages: [detect]\n", `[4:1] mapping key "stages" already defined at [1:1]`},
		{"text for a list", "kafka:\n  brokers: a:1\n", "[2:12] string was used where sequence is expected"},
		{"number for a section", "topics: 3\n", "[1:9] "},
		{"number for a duration", "detect:\n  window: 720\n", "[2:11] "},
		{"days", "detect:\n  window: 30d\n", `unknown unit "d" in duration "30d"`},
		{"no YAML", "stages: [route,\n", "[1:9] "},
		{"a second document", "stages: [route]\n---\nlog:\n  level: info\n", "line 3: a second YAML document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.content)
			_, err := Load(path, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v\nwant %s, and the file's name", err, c.want)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := Load(missing, nil); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing file: %v", err)
	}
}

// TestFileWithoutSettings: a file in which all is commented out is as good as none.
func TestFileWithoutSettings(t *testing.T) {
	for _, content := range []string{"", "\n\n", "# log:\n#   level: debug\n", "---\n", "---\n# nothing\n---\n", "null\n", "log:\n", "topics:\n  raw:\n"} {
		c, err := Load(write(t, content), nil)
		if d := cmp.Diff(Default(), c); err != nil || d != "" {
			t.Errorf("%q: %v %s", content, err, d)
		}
	}
}

// TestPrecedence: environment over file over default, setting by setting; a list replaces a list.
func TestPrecedence(t *testing.T) {
	path := write(t, "kafka:\n  brokers: [a:1, b:2]\n  client_id: from-file\ntopics:\n  raw: [x, y, z]\n")
	c, err := Load(path, []string{
		"FARCALL_KAFKA_CLIENT_ID=from-environment", "FARCALL_TOPICS_RAW=one,two", "FARCALL_STATE_DIR=", "FARCALL_UNHEARD_OF=1",
		"KAFKA_CLIENT_ID=other program", "FARCALL_KAFKA_SASL_PASSWORD=a=b,c", "FARCALL_KAFKA_SASL_USERNAME=u", "FARCALL_KAFKA_SASL_MECHANISM=scram-sha-512",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Kafka.Brokers = []string{"a:1", "b:2"}
	want.Kafka.ClientID = "from-environment"
	want.Kafka.SASL = SASL{Mechanism: "scram-sha-512", Username: "u", Password: "a=b,c"}
	want.Topics.Raw = []string{"one", "two"}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
}

// TestLoadReadsNoOtherEnvironment: what Load is not given does not count, whatever the process has.
func TestLoadReadsNoOtherEnvironment(t *testing.T) {
	t.Setenv("FARCALL_KAFKA_CLIENT_ID", "of the process")
	for _, environ := range [][]string{nil, {}, {"FARCALL_LOG_LEVEL=info"}} {
		if c, err := Load("", environ); err != nil || c.Kafka.ClientID != "farcall" {
			t.Errorf("%q: client_id %q, %v", environ, c.Kafka.ClientID, err)
		}
	}
}

// TestEnvironment sets everything through variables: lists, durations, numbers, truths. Their names follow from the path.
func TestEnvironment(t *testing.T) {
	o := other()
	var environ []string
	for _, s := range settings(&o) {
		if s.env == "" {
			if s.path != "route.ignore" {
				t.Errorf("%s has no variable", s.path)
			}
			continue
		}
		if want := "FARCALL_" + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_")); s.env != want {
			t.Errorf("%s is %s in the environment, want %s", s.path, s.env, want)
		}
		environ = append(environ, s.env+"="+text(s.value))
	}
	c, err := Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	o.Route.Ignore = nil
	if d := cmp.Diff(o, c); d != "" {
		t.Error(d)
	}
}

func TestYAMLRoundTrip(t *testing.T) {
	for name, c := range map[string]Config{"default": Default(), "other": other()} {
		b, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(write(t, string(b)), nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, b)
		}
		if len(c.Route.Ignore) == 0 {
			c.Route.Ignore = loaded.Route.Ignore[:0]
		}
		if d := cmp.Diff(c, loaded); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestYAMLHidesThePassword(t *testing.T) {
	c := Default()
	c.Kafka.SASL = SASL{Mechanism: "scram-sha-512", Username: "farcall", Password: "correct horse"}
	b, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "horse") || !strings.Contains(string(b), "password: (hidden)") {
		t.Errorf("the password is to be hidden:\n%s", b)
	}
	if c.Kafka.SASL.Password != "correct horse" {
		t.Error("printing changed the configuration")
	}
}

// TestConversions: what the stages get is what was set.
func TestConversions(t *testing.T) {
	c := other()
	r := c.RouteConfig()
	if r.Pane != c.Detect.Pane || r.Scope != "account" || r.Skew != time.Minute || r.Late != 2*time.Hour || len(r.Ignore) != 2 || r.MemoryEntries != 5000 ||
		r.Limits.RecordBytes != 2<<20 || r.Limits.Depth != 100 || r.Limits.ExpandedBytes != 32<<20 {
		t.Errorf("route: %+v", r)
	}
	if d := cmp.Diff(detect.Config{Pane: 30 * time.Minute, Window: 14 * 24 * time.Hour, LookBack: 12 * time.Hour, Floor: 12.5, Silence: 4.5, CacheEntries: 80_000 / 8}, c.DetectConfig()); d != "" {
		t.Errorf("detect: %s", d)
	}
	if d := cmp.Diff(triage.Config{Threshold: 62.5, Pane: 30 * time.Minute, Window: 14 * 24 * time.Hour, LookBack: 12 * time.Hour, Cap: 7, Partitions: 8,
		HostingNetworks: []string{"AS64496", "AS64497"}, HostingNames: []string{"cloud"}}, c.TriageConfig()); d != "" {
		t.Errorf("triage: %s", d)
	}
	if d := cmp.Diff(topics.Options{Prefix: "fc", Partitions: 8, Retention: 72 * time.Hour, AlertRetention: 48 * time.Hour}, c.TopicOptions()); d != "" {
		t.Errorf("topics: %s", d)
	}
}

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func TestClient(t *testing.T) {
	cert, key := certificate(t)
	password := write(t, "a pass word \r\n")
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		k := Kafka{Brokers: []string{"a.example:9093"}, ClientID: "me", TLS: TLS{Enabled: true, CAFile: cert, CertFile: cert, KeyFile: key},
			SASL: SASL{Mechanism: mechanism, Username: "u", PasswordFile: password}}
		opts, err := k.Client()
		if err != nil {
			t.Fatal(err)
		}
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if got := cl.OptValue(kgo.SeedBrokers); !reflect.DeepEqual(got, []string{"a.example:9093"}) {
			t.Errorf("brokers %v", got)
		}
		if got := cl.OptValue(kgo.ClientID); got != "me" {
			t.Errorf("client id %v", got)
		}
		conf, _ := cl.OptValue(kgo.DialTLSConfig).(*tls.Config)
		if conf == nil || conf.MinVersion != tls.VersionTLS12 || conf.RootCAs == nil || len(conf.Certificates) != 1 || conf.InsecureSkipVerify {
			t.Errorf("TLS %+v", conf)
		}
		list, _ := cl.OptValue(kgo.SASL).([]sasl.Mechanism)
		if len(list) != 1 || !strings.EqualFold(list[0].Name(), mechanism) {
			t.Fatalf("mechanisms %v, want %s", list, mechanism)
		}
		_, first, err := list[0].Authenticate(context.Background(), "a.example:9093")
		if err != nil {
			t.Fatal(err)
		}
		if mechanism == "plain" && string(first) != "\x00u\x00a pass word " {
			t.Errorf("plain sends %q", first)
		}
		if mechanism != "plain" && strings.Contains(string(first), "pass") {
			t.Errorf("%s sends the password: %q", mechanism, first)
		}
	}
	plain := Kafka{Brokers: []string{"a:1"}}
	opts, err := plain.Client()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if conf, _ := cl.OptValue(kgo.DialTLSConfig).(*tls.Config); conf != nil {
		t.Errorf("TLS %+v, where none was asked for", conf)
	}
}

func TestClientErrors(t *testing.T) {
	cert, _ := certificate(t)
	junk := write(t, "no certificate\n")
	missing := filepath.Join(t.TempDir(), "none")
	for want, k := range map[string]Kafka{
		"kafka.tls.ca_file: open ":                     {TLS: TLS{Enabled: true, CAFile: missing}},
		"kafka.tls.ca_file: " + junk + " holds no PEM": {TLS: TLS{Enabled: true, CAFile: junk}},
		"kafka.tls.cert_file: ":                        {TLS: TLS{Enabled: true, CertFile: cert, KeyFile: junk}},
		"kafka.sasl.password_file: open " + missing:    {SASL: SASL{Mechanism: "plain", PasswordFile: missing}},
	} {
		if _, err := k.Client(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
