// Package config is farcall's configuration: one tree of structs, filled from defaults, then a YAML file, then the environment,
// and checked as a whole. It opens nothing and connects to nothing.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/topics"
)

// Config is the whole tree. Every setting can also be given in the environment: FARCALL_, the path in capitals, joined by
// underscores, such as FARCALL_KAFKA_BROKERS; lists are comma-separated there, and an empty variable is as good as none. The
// rules of route.ignore are for files alone. deploy/CONFIG.md is made of the comments on the fields.
type Config struct {
	// Stages that this process runs: route, detect, triage.
	Stages  []string `yaml:"stages" env:"STAGES"`
	Kafka   Kafka    `yaml:"kafka" envPrefix:"KAFKA_"`
	Topics  Topics   `yaml:"topics" envPrefix:"TOPICS_"`
	Memory  Memory   `yaml:"memory" envPrefix:"MEMORY_"`
	State   State    `yaml:"state" envPrefix:"STATE_"`
	Geo     Geo      `yaml:"geo" envPrefix:"GEO_"`
	Route   Route    `yaml:"route" envPrefix:"ROUTE_"`
	Detect  Detect   `yaml:"detect" envPrefix:"DETECT_"`
	Triage  Triage   `yaml:"triage" envPrefix:"TRIAGE_"`
	Stream  Stream   `yaml:"stream" envPrefix:"STREAM_"`
	Console Console  `yaml:"console" envPrefix:"CONSOLE_"`
	Log     Log      `yaml:"log" envPrefix:"LOG_"`
}

// Kafka says how to reach the brokers.
type Kafka struct {
	// Brokers to start from, each host:port.
	Brokers []string `yaml:"brokers" env:"BROKERS"`
	// What the brokers call this client, in their logs and quotas.
	ClientID string `yaml:"client_id" env:"CLIENT_ID"`
	TLS      TLS    `yaml:"tls" envPrefix:"TLS_"`
	SASL     SASL   `yaml:"sasl" envPrefix:"SASL_"`
}

// TLS to the brokers.
type TLS struct {
	// Encrypts the connections to the brokers with TLS 1.2 or newer.
	Enabled bool `yaml:"enabled" env:"ENABLED"`
	// PEM file of the authorities that may vouch for the brokers. Empty: those of the system.
	CAFile string `yaml:"ca_file" env:"CA_FILE"`
	// PEM file of the certificate that farcall shows the brokers; goes with key_file.
	CertFile string `yaml:"cert_file" env:"CERT_FILE"`
	// PEM file of the private key of that certificate.
	KeyFile string `yaml:"key_file" env:"KEY_FILE"`
}

// SASL to the brokers.
type SASL struct {
	// plain (over TLS alone), scram-sha-256 or scram-sha-512. Empty: none.
	Mechanism string `yaml:"mechanism" env:"MECHANISM"`
	// Name to log in with.
	Username string `yaml:"username" env:"USERNAME"`
	// Password to log in with. Better in the environment, or in password_file.
	Password string `yaml:"password" env:"PASSWORD"`
	// File that holds the password; the end of its line does not count.
	PasswordFile string `yaml:"password_file" env:"PASSWORD_FILE"`
}

// Topics names the raw topics and sizes farcall's own.
type Topics struct {
	// Topics on which CloudTrail arrives.
	Raw []string `yaml:"raw" env:"RAW"`
	// First part of the names of farcall's own topics, groups and transactions: two installations on one cluster differ in it.
	Prefix string `yaml:"prefix" env:"PREFIX"`
	// Partitions of the topics between the stages, 1 to 4096: the most workers of a stage. Fixed once the topics exist.
	Partitions int32 `yaml:"partitions" env:"PARTITIONS"`
	// Replicas of the topics that `farcall topics apply` creates. -1: the broker's default.
	Replication int16 `yaml:"replication" env:"REPLICATION"`
	// How long the topics between the stages keep records, 1h to 87600h: the longest outage of a stage that loses nothing.
	Retention time.Duration `yaml:"retention" env:"RETENTION"`
	// How long alerts and dead letters are kept, 1h to 87600h.
	AlertRetention time.Duration `yaml:"alert_retention" env:"ALERT_RETENTION"`
}

// Memory is what the process may take.
type Memory struct {
	// Memory of the whole process, in bytes, 128 MiB to 1 TiB: what the other settings imply must fit in it, and unless GOMEMLIMIT is set Go is told to stay below it.
	BudgetBytes int64 `yaml:"budget_bytes" env:"BUDGET_BYTES"`
}

// State says where rows live on this machine.
type State struct {
	// Folder of the rows, on a disk of this machine. It belongs to one process at a time.
	Dir string `yaml:"dir" env:"DIR"`
	// Place of this process in the installation, such as a pod's ordinal. Empty: made once, and kept in the folder.
	Slot string `yaml:"slot" env:"SLOT"`
	// Block cache of all stores together, in bytes, 1 MiB to 1 TiB.
	CacheBytes int64 `yaml:"cache_bytes" env:"CACHE_BYTES"`
	// Memtables of all stores together, in bytes, 1 MiB to 1 TiB. Each partition of detect and triage has a store, with two of 256 KiB to 64 MiB.
	MemTablesBytes int64 `yaml:"memtables_bytes" env:"MEMTABLES_BYTES"`
	// Buffer in which one restore sorts rows, in bytes, 4 MiB to 1 GiB.
	RestoreBytes int `yaml:"restore_bytes" env:"RESTORE_BYTES"`
	// How many partitions of the process restore at a time, 1 to 64.
	Restores int `yaml:"restores" env:"RESTORES"`
}

// Geo names the geolocation database.
type Geo struct {
	// MaxMind DB file with countries or cities, reloaded when it changes. Empty: the embedded database.
	Database string `yaml:"database" env:"DATABASE"`
	// MaxMind DB file with autonomous systems (GeoLite2-ASN, DB-IP ASN, ipinfo), reloaded when it changes. Empty: nothing is known of networks.
	ASNDatabase string `yaml:"asn_database" env:"ASN_DATABASE"`
	// Addresses that each task of route remembers, 64 bytes each, 1 to 1048576.
	CacheEntries int `yaml:"cache_entries" env:"CACHE_ENTRIES"`
	// How often the files are looked at for a change, 1s to 24h.
	ReloadEvery time.Duration `yaml:"reload_every" env:"RELOAD_EVERY"`
}

// Route are the settings of route.
type Route struct {
	// Workers of route in this process, 1 to 64; each is a member of the group.
	Workers int `yaml:"workers" env:"WORKERS"`
	// Where a raw partition without a committed offset is begun: earliest or latest.
	Start string `yaml:"start" env:"START"`
	// What to do where the next offset of a raw partition is gone: fail, or go on at the earliest or latest record and count the gap.
	OnOffsetOutOfRange string `yaml:"on_offset_out_of_range" env:"ON_OFFSET_OUT_OF_RANGE"`
	// How far an event may lie ahead of its record's timestamp before it is refused, 0s to 24h.
	Skew time.Duration `yaml:"skew" env:"SKEW"`
	// How far an event may lie behind the newest of its raw partition, 1m to 720h: past that it teaches and wakes nobody.
	Late time.Duration `yaml:"late" env:"LATE"`
	// Largest CloudTrail record, in bytes of JSON, 1 KiB to 16 MiB.
	RecordBytes int `yaml:"record_bytes" env:"RECORD_BYTES"`
	// Levels of objects and arrays in a record, 8 to 1000.
	Depth int `yaml:"depth" env:"DEPTH"`
	// What the gzip in one raw record may expand to, in bytes, 1 MiB to 1 GiB. Past 256 KiB, it may not expand to more than 200 times its own size either.
	ExpandedBytes int64 `yaml:"expanded_bytes" env:"EXPANDED_BYTES"`
	// Presences remembered by route, for all its workers, about 20 bytes each, 1024 to 268435456. With too few, more is told twice.
	MemoryEntries int `yaml:"memory_entries" env:"MEMORY_ENTRIES"`
	// Share of a raw topic's records that may be unreadable, 0 to 1: with more, of at least 1000, the process stops, since the topic is most likely the wrong one. 1: it never does.
	MaxBadShare float64 `yaml:"max_bad_share" env:"MAX_BAD_SHARE"`
	// Rules that drop events at the door, each counted by its name.
	Ignore []route.Rule `yaml:"ignore" env:"-"`
}

// Detect are the settings of detect.
type Detect struct {
	// Workers of detect in this process, 1 to 64; each is a member of the group.
	Workers int `yaml:"workers" env:"WORKERS"`
	// What a method is counted in: organisation or account. Fixed once there is state.
	Scope string `yaml:"scope" env:"SCOPE"`
	// Width of a pane, 1m to 24h, in whole seconds. Fixed once there is state.
	Pane time.Duration `yaml:"pane" env:"PANE"`
	// How far back the distribution of a method reaches, at most 9600h: a multiple of the pane.
	Window time.Duration `yaml:"window" env:"WINDOW"`
	// How far raw partitions may lie apart in event time, 0s to the window: rows outlive the window by it.
	LookBack time.Duration `yaml:"look_back" env:"LOOK_BACK"`
	// Least method score that is forwarded to triage, 0 to 100.
	Floor float64 `yaml:"floor" env:"FLOOR"`
	// How many times its longest pause of 30 days an account, a region of one or a raw partition may be silent before a notice says so, 1 to 100; never before 6 panes or hours, and not in its first week. 0: nobody listens.
	Silence float64 `yaml:"silence" env:"SILENCE"`
	// Principals and panes held in memory by all partitions of detect together, about 50 bytes each, 1024 to 1073741824.
	CacheEntries int `yaml:"cache_entries" env:"CACHE_ENTRIES"`
}

// Triage are the settings of triage.
type Triage struct {
	// Workers of triage in this process, 1 to 64; each is a member of the group.
	Workers int `yaml:"workers" env:"WORKERS"`
	// Least alert score that makes an alert, from detect.floor to 100.
	Threshold float64 `yaml:"threshold" env:"THRESHOLD"`
	// Most alerts in 15 minutes of stream time, over the group, 0 to 1000000; 0: no cap. Critical ones go out, others are held back.
	Cap int `yaml:"cap" env:"CAP"`
	// Networks that anyone can rent a machine or a tunnel in, such as AS64496: one that is new to a principal adds to the score. Needs geo.asn_database.
	HostingNetworks []string `yaml:"hosting_networks" env:"HOSTING_NETWORKS"`
	// Texts in the names of organisations whose networks count likewise, found anywhere in the name and in any case. The default is a guess at the trade by its name.
	HostingNames []string `yaml:"hosting_names" env:"HOSTING_NAMES"`
}

// Stream are the settings of the transactional loop.
type Stream struct {
	// Time between commits while batches are small, half of it in detect and triage, from 1ms to a quarter of the transaction timeout: the floor of the latency.
	CommitInterval time.Duration `yaml:"commit_interval" env:"COMMIT_INTERVAL"`
	// Time between commits under load, from the commit interval to a quarter of the transaction timeout. In a backlog it is a tenth of the transaction timeout, where that is longer.
	CommitStretch time.Duration `yaml:"commit_stretch" env:"COMMIT_STRETCH"`
	// How long a member may be silent before its partitions go to others, 6s to 5m.
	SessionTimeout time.Duration `yaml:"session_timeout" env:"SESSION_TIMEOUT"`
	// How long a dead member's transaction may stay open, 1s to 15m: readers of what it wrote wait for its end.
	TransactionTimeout time.Duration `yaml:"transaction_timeout" env:"TRANSACTION_TIMEOUT"`
	// How long a restore may stand still before it is given up, 1s to 1h.
	RestoreStall time.Duration `yaml:"restore_stall" env:"RESTORE_STALL"`
	// Answer to one fetch, in bytes, 1 MiB to 256 MiB; a worker may buffer two. Brokers that take long to answer need more.
	FetchMaxBytes int32 `yaml:"fetch_max_bytes" env:"FETCH_MAX_BYTES"`
}

// Console is the HTTP port.
type Console struct {
	// host:port of health checks and metrics. Other than loopback needs token_file.
	Listen string `yaml:"listen" env:"LISTEN"`
	// File that holds the bearer token which every request but the health checks must carry.
	TokenFile string `yaml:"token_file" env:"TOKEN_FILE"`
	// PEM file of the certificate of the port, which then speaks TLS; goes with key_file.
	CertFile string `yaml:"cert_file" env:"CERT_FILE"`
	// PEM file of the private key of that certificate.
	KeyFile string `yaml:"key_file" env:"KEY_FILE"`
	// Whether Go's profiles are served under /debug/pprof/: for go tool pprof, where farcall takes more than it should.
	Profiling bool `yaml:"profiling" env:"PROFILING"`
}

// Log says what is logged and how.
type Log struct {
	// debug, info, warn or error.
	Level string `yaml:"level" env:"LEVEL"`
	// text or json.
	Format string `yaml:"format" env:"FORMAT"`
}

// Default is the configuration without a file.
func Default() Config {
	r, d, tr, o := route.DefaultConfig(), detect.DefaultConfig(), triage.DefaultConfig(), topics.DefaultOptions()
	lim := cloudtrail.DefaultLimits()
	return Config{
		Stages:  []string{"route", "detect", "triage"},
		Kafka:   Kafka{Brokers: []string{"127.0.0.1:9092"}, ClientID: "farcall"},
		Topics:  Topics{Raw: []string{"cloudtrail"}, Prefix: o.Prefix, Partitions: o.Partitions, Replication: -1, Retention: o.Retention, AlertRetention: o.AlertRetention},
		Memory:  Memory{BudgetBytes: 480 << 20},
		State:   State{Dir: "farcall-state", CacheBytes: 64 << 20, MemTablesBytes: 64 << 20, RestoreBytes: 16 << 20, Restores: 2},
		Geo:     Geo{CacheEntries: geo.DefaultCacheEntries, ReloadEvery: time.Minute},
		Route:   Route{Workers: 1, Start: "earliest", OnOffsetOutOfRange: "fail", Skew: r.Skew, Late: r.Late, RecordBytes: lim.RecordBytes, Depth: lim.Depth, ExpandedBytes: lim.ExpandedBytes, MemoryEntries: r.MemoryEntries, MaxBadShare: 0.5},
		Detect:  Detect{Workers: 1, Scope: r.Scope, Pane: d.Pane, Window: d.Window, LookBack: d.LookBack, Floor: d.Floor, Silence: d.Silence, CacheEntries: d.CacheEntries},
		Triage:  Triage{Workers: 1, Threshold: tr.Threshold, Cap: tr.Cap, HostingNetworks: []string{}, HostingNames: tr.HostingNames},
		Stream:  Stream{CommitInterval: 100 * time.Millisecond, CommitStretch: 300 * time.Millisecond, SessionTimeout: 10 * time.Second, TransactionTimeout: 10 * time.Second, RestoreStall: 3 * time.Minute, FetchMaxBytes: 2 << 20},
		Console: Console{Listen: "127.0.0.1:9464"},
		Log:     Log{Level: "info", Format: "text"},
	}
}

// Load reads defaults, then the file at path if there is one named, then the variables in environ, of the form of os.Environ,
// and checks the result. Unknown keys in the file are errors; it holds one YAML document at the most. The error holds every
// problem that was found, or the first of a file that can't be read as settings.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		if err := c.read(b); err != nil {
			return c, fmt.Errorf("configuration %s:\n%s", path, yaml.FormatError(err, false, true))
		}
	}
	problems := c.readEnvironment(environ)
	return c, errors.Join(append(problems, c.Validate())...)
}

// read lays the settings of a file over those in c.
func (c *Config) read(b []byte) error {
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		return err
	}
	var settings ast.Node
	for _, doc := range f.Docs {
		// A file of comments has a document without a body; decoding that would clear every default.
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType:
		case settings != nil:
			return fmt.Errorf("line %d: a second YAML document, where one is all that is read", doc.Body.GetToken().Position.Line)
		default:
			settings = doc.Body
		}
	}
	if settings == nil {
		return nil
	}
	return yaml.NodeToValue(settings, c, yaml.Strict())
}

const envPrefix = "FARCALL_"

// readEnvironment lays the variables over the settings in c. One by one, so that each problem names its variable.
func (c *Config) readEnvironment(environ []string) (problems []error) {
	known, err := env.GetFieldParamsWithOptions(c, env.Options{Prefix: envPrefix})
	if err != nil {
		return []error{err}
	}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(known, func(p env.FieldParams) bool { return p.Key == name }) {
			continue
		}
		if err := env.ParseWithOptions(c, env.Options{Prefix: envPrefix, Environment: env.ToMap([]string{kv})}); err != nil {
			var parse env.ParseError // its own text names the Go field, not the variable
			if errors.As(err, &parse) {
				err = parse.Err
			}
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return problems
}

// Warnings are what is legal and unwise. A worker answers the group between commits, and a commit that meets a slow broker
// takes several times its interval: with less than ten intervals in a timeout, a hiccup is taken for a death.
func (c *Config) Warnings() (ws []string) {
	for _, every := range []struct {
		path string
		d    time.Duration
	}{{"stream.commit_interval", c.Stream.CommitInterval}, {"stream.commit_stretch", c.Stream.CommitStretch}} {
		for _, limit := range []struct {
			path string
			d    time.Duration
		}{{"stream.session_timeout", c.Stream.SessionTimeout}, {"stream.transaction_timeout", c.Stream.TransactionTimeout}} {
			if every.d > limit.d/10 {
				ws = append(ws, fmt.Sprintf("%s is %s, more than a tenth of %s, %s: a slow commit may cost the worker its partitions", every.path, every.d, limit.path, limit.d))
			}
		}
	}
	return ws
}

// minHostingName is the shortest text that says something of a name.
const minHostingName = 3

// Validate reports every illegal setting and combination at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	oneOf := func(path, v string, allowed ...string) {
		if !slices.Contains(allowed, v) {
			bad(path, "%q is not one of %s", v, strings.Join(allowed, ", "))
		}
	}
	between := func(path string, v, lo, hi int64) {
		if v < lo || v > hi {
			bad(path, "%d is outside %d to %d", v, lo, hi)
		}
	}
	span := func(path string, v, lo, hi time.Duration) {
		if v < lo || v > hi {
			bad(path, "%s is outside %s to %s", v, lo, hi)
		}
	}
	if len(c.Stages) == 0 {
		bad("stages", "name at least one of route, detect, triage")
	}
	for _, s := range c.Stages {
		oneOf("stages", s, "route", "detect", "triage")
	}
	if len(c.Kafka.Brokers) == 0 {
		bad("kafka.brokers", "name at least one broker as host:port")
	}
	for _, b := range c.Kafka.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			bad("kafka.brokers", "%q is not host:port", b)
		}
	}
	oneOf("kafka.sasl.mechanism", c.Kafka.SASL.Mechanism, "", "plain", "scram-sha-256", "scram-sha-512")
	if c.Kafka.SASL.Mechanism != "" && c.Kafka.SASL.Username == "" {
		bad("kafka.sasl.username", "needed by kafka.sasl.mechanism")
	}
	if c.Kafka.SASL.Mechanism != "" && c.Kafka.SASL.Password == "" && c.Kafka.SASL.PasswordFile == "" {
		bad("kafka.sasl", "kafka.sasl.mechanism needs password or password_file")
	}
	if c.Kafka.SASL.Mechanism == "" && (c.Kafka.SASL.Username != "" || c.Kafka.SASL.Password != "" || c.Kafka.SASL.PasswordFile != "") {
		bad("kafka.sasl.mechanism", "without one nobody logs in, and the name and password below kafka.sasl are for nothing")
	}
	if c.Kafka.SASL.Password != "" && c.Kafka.SASL.PasswordFile != "" {
		bad("kafka.sasl", "give password or password_file, not both")
	}
	if c.Kafka.SASL.Mechanism == "plain" && !c.Kafka.TLS.Enabled {
		bad("kafka.sasl.mechanism", "plain sends the password in the clear: enable kafka.tls, or use scram-sha-512")
	}
	if !c.Kafka.TLS.Enabled && (c.Kafka.TLS.CAFile != "" || c.Kafka.TLS.CertFile != "" || c.Kafka.TLS.KeyFile != "") {
		bad("kafka.tls.enabled", "is false, and the files below kafka.tls are for nothing: the connections are in the clear")
	}
	if (c.Kafka.TLS.CertFile == "") != (c.Kafka.TLS.KeyFile == "") {
		bad("kafka.tls", "cert_file and key_file go together")
	}
	if len(c.Topics.Raw) == 0 && slices.Contains(c.Stages, "route") {
		bad("topics.raw", "name at least one raw topic")
	}
	for _, t := range c.Topics.Raw {
		if strings.HasPrefix(t, c.Topics.Prefix+".") {
			bad("topics.raw", "%q lies among farcall's own topics (topics.prefix is %q)", t, c.Topics.Prefix)
		}
	}
	if c.Topics.Prefix == "" {
		bad("topics.prefix", "must not be empty")
	}
	between("topics.partitions", int64(c.Topics.Partitions), 1, 4096)
	if c.Topics.Replication == 0 || c.Topics.Replication < -1 {
		bad("topics.replication", "%d is neither a number of replicas nor -1, the broker's default", c.Topics.Replication)
	}
	span("topics.retention", c.Topics.Retention, time.Hour, 10*365*24*time.Hour)
	span("topics.alert_retention", c.Topics.AlertRetention, time.Hour, 10*365*24*time.Hour)
	if c.State.Dir == "" {
		bad("state.dir", "must not be empty")
	}
	between("state.cache_bytes", c.State.CacheBytes, 1<<20, 1<<40)
	between("state.memtables_bytes", c.State.MemTablesBytes, 1<<20, 1<<40)
	between("state.restore_bytes", int64(c.State.RestoreBytes), 4<<20, 1<<30)
	between("state.restores", int64(c.State.Restores), 1, 64)
	between("memory.budget_bytes", c.Memory.BudgetBytes, 128<<20, 1<<40)
	between("geo.cache_entries", int64(c.Geo.CacheEntries), 1, geo.MaxCacheEntries)
	span("geo.reload_every", c.Geo.ReloadEvery, time.Second, 24*time.Hour)
	for path, n := range map[string]int{"route.workers": c.Route.Workers, "detect.workers": c.Detect.Workers, "triage.workers": c.Triage.Workers} {
		between(path, int64(n), 1, 64)
	}
	oneOf("route.start", c.Route.Start, "earliest", "latest")
	oneOf("route.on_offset_out_of_range", c.Route.OnOffsetOutOfRange, "fail", "earliest", "latest")
	span("route.skew", c.Route.Skew, 0, 24*time.Hour)
	span("route.late", c.Route.Late, time.Minute, 30*24*time.Hour)
	between("route.record_bytes", int64(c.Route.RecordBytes), 1<<10, 16<<20)
	between("route.depth", int64(c.Route.Depth), 8, 1000)
	between("route.expanded_bytes", c.Route.ExpandedBytes, 1<<20, 1<<30)
	between("route.memory_entries", int64(c.Route.MemoryEntries), 1<<10, 1<<28)
	if !(c.Route.MaxBadShare >= 0 && c.Route.MaxBadShare <= 1) {
		bad("route.max_bad_share", "%g is outside 0 to 1", c.Route.MaxBadShare)
	}
	for i, r := range c.Route.Ignore {
		if err := r.Check(); err != nil {
			bad(fmt.Sprintf("route.ignore[%d]", i), "%s", err)
		}
	}
	oneOf("detect.scope", c.Detect.Scope, "organisation", "account")
	span("detect.pane", c.Detect.Pane, time.Minute, 24*time.Hour)
	if c.Detect.Pane >= time.Minute && (c.Detect.Window < c.Detect.Pane || c.Detect.Window%c.Detect.Pane != 0) {
		bad("detect.window", "%s must be a multiple of detect.pane, %s", c.Detect.Window, c.Detect.Pane)
	}
	if c.Detect.Pane%time.Second != 0 {
		bad("detect.pane", "%s is not a whole number of seconds", c.Detect.Pane)
	}
	span("detect.window", c.Detect.Window, time.Minute, 400*24*time.Hour)
	span("detect.look_back", c.Detect.LookBack, 0, c.Detect.Window)
	score := func(path string, v float64) {
		if !(v >= 0 && v <= 100) {
			bad(path, "%g is outside 0 to 100", v)
		}
	}
	score("detect.floor", c.Detect.Floor)
	if s := c.Detect.Silence; !(s == 0 || s >= 1 && s <= 100) {
		bad("detect.silence", "%g is neither 0 nor within 1 to 100", s)
	}
	score("triage.threshold", c.Triage.Threshold)
	for _, n := range c.Triage.HostingNetworks {
		if _, ok := geo.ParseNetwork(n); !ok {
			bad("triage.hosting_networks", "%q is no network such as AS64496", n)
		}
	}
	for _, n := range c.Triage.HostingNames {
		if len(strings.TrimSpace(n)) < minHostingName {
			bad("triage.hosting_names", "%q has fewer than %d characters and would be found in names of all kinds", n, minHostingName)
		}
	}
	if len(c.Triage.HostingNetworks) > 0 && c.Geo.ASNDatabase == "" && slices.Contains(c.Stages, "route") {
		bad("triage.hosting_networks", "without geo.asn_database no network is known, and the list is for nothing")
	}
	between("triage.cap", int64(c.Triage.Cap), 0, 1_000_000)
	if c.Detect.Floor > c.Triage.Threshold {
		bad("triage.threshold", "%g lies below detect.floor, %g: anomalies between them never reach triage", c.Triage.Threshold, c.Detect.Floor)
	}
	between("detect.cache_entries", int64(c.Detect.CacheEntries), 1<<10, 1<<30)
	span("stream.session_timeout", c.Stream.SessionTimeout, 6*time.Second, 5*time.Minute)
	span("stream.transaction_timeout", c.Stream.TransactionTimeout, time.Second, 15*time.Minute)
	span("stream.commit_interval", c.Stream.CommitInterval, time.Millisecond, c.Stream.TransactionTimeout/4)
	span("stream.commit_stretch", c.Stream.CommitStretch, c.Stream.CommitInterval, max(c.Stream.CommitInterval, c.Stream.TransactionTimeout/4))
	span("stream.restore_stall", c.Stream.RestoreStall, time.Second, time.Hour)
	between("stream.fetch_max_bytes", int64(c.Stream.FetchMaxBytes), 1<<20, 256<<20)
	if host, _, err := net.SplitHostPort(c.Console.Listen); err != nil {
		bad("console.listen", "%q is not host:port", c.Console.Listen)
	} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && c.Console.TokenFile == "" {
		bad("console.listen", "%q is reachable from other machines: set console.token_file, or listen on 127.0.0.1", c.Console.Listen)
	}
	if (c.Console.CertFile == "") != (c.Console.KeyFile == "") {
		bad("console", "cert_file and key_file go together")
	}
	if len(errs) == 0 { // else the parts are not what they seem
		if b := c.Budget(); b.Sum() > c.Memory.BudgetBytes {
			bad("memory.budget_bytes", "%d MiB are too few for %s: raise it, or lower the largest part", c.Memory.BudgetBytes>>20, b)
		}
	}
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", c.Log.Format, "text", "json")
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// YAML prints the configuration as a file that Load reads, without secrets.
func (c Config) YAML() ([]byte, error) {
	if c.Kafka.SASL.Password != "" {
		c.Kafka.SASL.Password = "(hidden)"
	}
	return yaml.Marshal(c)
}

// TopicOptions are the sizes of farcall's own topics.
func (c *Config) TopicOptions() topics.Options {
	return topics.Options{Prefix: c.Topics.Prefix, Partitions: c.Topics.Partitions, Retention: c.Topics.Retention, AlertRetention: c.Topics.AlertRetention}
}

// RouteConfig is the settings of route.
func (c *Config) RouteConfig() route.Config {
	return route.Config{
		Pane: c.Detect.Pane, Skew: c.Route.Skew, Late: c.Route.Late, Scope: c.Detect.Scope, Ignore: c.Route.Ignore, Pulses: c.Detect.Silence > 0, MemoryEntries: c.Route.MemoryEntries,
		Limits: cloudtrail.Limits{RecordBytes: c.Route.RecordBytes, Depth: c.Route.Depth, ExpandedBytes: c.Route.ExpandedBytes},
	}
}

// DetectConfig is the settings of detect.
func (c *Config) DetectConfig() detect.Config {
	return detect.Config{Pane: c.Detect.Pane, Window: c.Detect.Window, LookBack: c.Detect.LookBack, Floor: c.Detect.Floor, Silence: c.Detect.Silence, CacheEntries: max(1<<10, c.Detect.CacheEntries/int(c.Topics.Partitions))}
}

// TriageConfig is the settings of triage.
func (c *Config) TriageConfig() triage.Config {
	var networks []string
	for _, n := range c.Triage.HostingNetworks {
		networks = append(networks, strings.ToUpper(n))
	}
	return triage.Config{
		HostingNetworks: networks,
		Threshold:       c.Triage.Threshold, Pane: c.Detect.Pane, Window: c.Detect.Window, LookBack: c.Detect.LookBack,
		Cap: c.Triage.Cap, Partitions: c.Topics.Partitions, HostingNames: c.Triage.HostingNames,
	}
}

// Client returns the options with which a Kafka client reaches the brokers. It reads the files that TLS and SASL name.
func (k *Kafka) Client() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(k.Brokers...), kgo.ClientID(k.ClientID)}
	if k.TLS.Enabled {
		t := &tls.Config{MinVersion: tls.VersionTLS12}
		if k.TLS.CAFile != "" {
			pem, err := os.ReadFile(k.TLS.CAFile)
			if err != nil {
				return nil, fmt.Errorf("kafka.tls.ca_file: %w", err)
			}
			t.RootCAs = x509.NewCertPool()
			if !t.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("kafka.tls.ca_file: %s holds no PEM certificate", k.TLS.CAFile)
			}
		}
		if k.TLS.CertFile != "" {
			cert, err := tls.LoadX509KeyPair(k.TLS.CertFile, k.TLS.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("kafka.tls.cert_file: %w", err)
			}
			t.Certificates = []tls.Certificate{cert}
		}
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if k.SASL.Mechanism == "" {
		return opts, nil
	}
	pass := k.SASL.Password
	if k.SASL.PasswordFile != "" {
		b, err := os.ReadFile(k.SASL.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("kafka.sasl.password_file: %w", err)
		}
		pass = strings.TrimRight(string(b), "\r\n")
	}
	switch k.SASL.Mechanism {
	case "plain":
		return append(opts, kgo.SASL(plain.Auth{User: k.SASL.Username, Pass: pass}.AsMechanism())), nil
	case "scram-sha-256":
		return append(opts, kgo.SASL(scram.Auth{User: k.SASL.Username, Pass: pass}.AsSha256Mechanism())), nil
	}
	return append(opts, kgo.SASL(scram.Auth{User: k.SASL.Username, Pass: pass}.AsSha512Mechanism())), nil
}
