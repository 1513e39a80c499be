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
// underscores, such as FARCALL_KAFKA_BROKERS; lists are comma-separated there.
type Config struct {
	Stages  []string `yaml:"stages" env:"STAGES"`
	Kafka   Kafka    `yaml:"kafka" envPrefix:"KAFKA_"`
	Topics  Topics   `yaml:"topics" envPrefix:"TOPICS_"`
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
	Brokers  []string `yaml:"brokers" env:"BROKERS"`
	ClientID string   `yaml:"client_id" env:"CLIENT_ID"`
	TLS      TLS      `yaml:"tls" envPrefix:"TLS_"`
	SASL     SASL     `yaml:"sasl" envPrefix:"SASL_"`
}

// TLS to the brokers.
type TLS struct {
	Enabled  bool   `yaml:"enabled" env:"ENABLED"`
	CAFile   string `yaml:"ca_file" env:"CA_FILE"`
	CertFile string `yaml:"cert_file" env:"CERT_FILE"`
	KeyFile  string `yaml:"key_file" env:"KEY_FILE"`
}

// SASL to the brokers.
type SASL struct {
	Mechanism    string `yaml:"mechanism" env:"MECHANISM"` // "", plain, scram-sha-256 or scram-sha-512
	Username     string `yaml:"username" env:"USERNAME"`
	Password     string `yaml:"password" env:"PASSWORD"`
	PasswordFile string `yaml:"password_file" env:"PASSWORD_FILE"`
}

// Topics names the raw topics and sizes farcall's own.
type Topics struct {
	Raw            []string      `yaml:"raw" env:"RAW"`
	Prefix         string        `yaml:"prefix" env:"PREFIX"`
	Partitions     int32         `yaml:"partitions" env:"PARTITIONS"`
	Replication    int16         `yaml:"replication" env:"REPLICATION"`
	Retention      time.Duration `yaml:"retention" env:"RETENTION"`
	AlertRetention time.Duration `yaml:"alert_retention" env:"ALERT_RETENTION"`
}

// State says where rows live on this machine.
type State struct {
	Dir           string `yaml:"dir" env:"DIR"`
	Slot          string `yaml:"slot" env:"SLOT"`
	CacheBytes    int64  `yaml:"cache_bytes" env:"CACHE_BYTES"`
	MemTableBytes uint64 `yaml:"memtable_bytes" env:"MEMTABLE_BYTES"`
}

// Geo names the geolocation database.
type Geo struct {
	Database     string        `yaml:"database" env:"DATABASE"`
	CacheEntries int           `yaml:"cache_entries" env:"CACHE_ENTRIES"`
	ReloadEvery  time.Duration `yaml:"reload_every" env:"RELOAD_EVERY"`
}

// Route are the settings of route.
type Route struct {
	Workers       int           `yaml:"workers" env:"WORKERS"`
	Start         string        `yaml:"start" env:"START"`
	Skew          time.Duration `yaml:"skew" env:"SKEW"`
	RecordBytes   int           `yaml:"record_bytes" env:"RECORD_BYTES"`
	Depth         int           `yaml:"depth" env:"DEPTH"`
	ExpandedBytes int64         `yaml:"expanded_bytes" env:"EXPANDED_BYTES"`
	MemoryEntries int           `yaml:"memory_entries" env:"MEMORY_ENTRIES"`
	Ignore        []route.Rule  `yaml:"ignore" env:"-"`
}

// Detect are the settings of detect.
type Detect struct {
	Workers      int           `yaml:"workers" env:"WORKERS"`
	Scope        string        `yaml:"scope" env:"SCOPE"`
	Pane         time.Duration `yaml:"pane" env:"PANE"`
	Window       time.Duration `yaml:"window" env:"WINDOW"`
	LookBack     time.Duration `yaml:"look_back" env:"LOOK_BACK"`
	Floor        float64       `yaml:"floor" env:"FLOOR"`
	CacheEntries int           `yaml:"cache_entries" env:"CACHE_ENTRIES"`
}

// Triage are the settings of triage.
type Triage struct {
	Workers   int     `yaml:"workers" env:"WORKERS"`
	Threshold float64 `yaml:"threshold" env:"THRESHOLD"`
}

// Stream are the settings of the transactional loop.
type Stream struct {
	CommitInterval     time.Duration `yaml:"commit_interval" env:"COMMIT_INTERVAL"`
	CommitStretch      time.Duration `yaml:"commit_stretch" env:"COMMIT_STRETCH"`
	SessionTimeout     time.Duration `yaml:"session_timeout" env:"SESSION_TIMEOUT"`
	TransactionTimeout time.Duration `yaml:"transaction_timeout" env:"TRANSACTION_TIMEOUT"`
	RestoreStall       time.Duration `yaml:"restore_stall" env:"RESTORE_STALL"`
	FetchMaxBytes      int32         `yaml:"fetch_max_bytes" env:"FETCH_MAX_BYTES"`
}

// Console is the HTTP port.
type Console struct {
	Listen    string `yaml:"listen" env:"LISTEN"`
	TokenFile string `yaml:"token_file" env:"TOKEN_FILE"`
	CertFile  string `yaml:"cert_file" env:"CERT_FILE"`
	KeyFile   string `yaml:"key_file" env:"KEY_FILE"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" env:"LEVEL"`
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
		State:   State{Dir: "farcall-state", CacheBytes: 128 << 20, MemTableBytes: 8 << 20},
		Geo:     Geo{CacheEntries: geo.DefaultCacheEntries, ReloadEvery: time.Minute},
		Route:   Route{Workers: 1, Start: "earliest", Skew: r.Skew, RecordBytes: lim.RecordBytes, Depth: lim.Depth, ExpandedBytes: lim.ExpandedBytes, MemoryEntries: r.MemoryEntries},
		Detect:  Detect{Workers: 1, Scope: r.Scope, Pane: d.Pane, Window: d.Window, LookBack: d.LookBack, Floor: d.Floor, CacheEntries: d.CacheEntries},
		Triage:  Triage{Workers: 1, Threshold: tr.Threshold},
		Stream:  Stream{CommitInterval: 100 * time.Millisecond, CommitStretch: 300 * time.Millisecond, SessionTimeout: 10 * time.Second, TransactionTimeout: 10 * time.Second, RestoreStall: 3 * time.Minute, FetchMaxBytes: 16 << 20},
		Console: Console{Listen: "127.0.0.1:9464"},
		Log:     Log{Level: "info", Format: "text"},
	}
}

// Load reads defaults, then the file at path if there is one named, then the environment, and checks the result. Unknown
// keys are errors. The error holds every problem that was found.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		if err := yaml.UnmarshalWithOptions(b, &c, yaml.Strict()); err != nil {
			return c, fmt.Errorf("configuration %s:\n%s", path, yaml.FormatError(err, false, true))
		}
	}
	vars := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	var problems []error
	if err := env.ParseWithOptions(&c, env.Options{Prefix: "FARCALL_", Environment: vars}); err != nil {
		problems = append(problems, fmt.Errorf("environment: %w", err))
	}
	return c, errors.Join(append(problems, c.Validate())...)
}

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
	if c.Kafka.SASL.Password != "" && c.Kafka.SASL.PasswordFile != "" {
		bad("kafka.sasl", "give password or password_file, not both")
	}
	if c.Kafka.SASL.Mechanism == "plain" && !c.Kafka.TLS.Enabled {
		bad("kafka.sasl.mechanism", "plain sends the password in the clear: enable kafka.tls, or use scram-sha-512")
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
	between("state.memtable_bytes", int64(c.State.MemTableBytes), 256<<10, 1<<30)
	between("geo.cache_entries", int64(c.Geo.CacheEntries), 1, geo.MaxCacheEntries)
	span("geo.reload_every", c.Geo.ReloadEvery, time.Second, 24*time.Hour)
	for path, n := range map[string]int{"route.workers": c.Route.Workers, "detect.workers": c.Detect.Workers, "triage.workers": c.Triage.Workers} {
		between(path, int64(n), 1, 64)
	}
	oneOf("route.start", c.Route.Start, "earliest", "latest")
	span("route.skew", c.Route.Skew, 0, 24*time.Hour)
	between("route.record_bytes", int64(c.Route.RecordBytes), 1<<10, 16<<20)
	between("route.depth", int64(c.Route.Depth), 8, 1000)
	between("route.expanded_bytes", c.Route.ExpandedBytes, 1<<20, 1<<30)
	between("route.memory_entries", int64(c.Route.MemoryEntries), 1<<10, 1<<28)
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
	score("triage.threshold", c.Triage.Threshold)
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
		Pane: c.Detect.Pane, Skew: c.Route.Skew, Scope: c.Detect.Scope, Ignore: c.Route.Ignore, MemoryEntries: c.Route.MemoryEntries,
		Limits: cloudtrail.Limits{RecordBytes: c.Route.RecordBytes, Depth: c.Route.Depth, ExpandedBytes: c.Route.ExpandedBytes},
	}
}

// DetectConfig is the settings of detect.
func (c *Config) DetectConfig() detect.Config {
	return detect.Config{Pane: c.Detect.Pane, Window: c.Detect.Window, LookBack: c.Detect.LookBack, Floor: c.Detect.Floor, CacheEntries: c.Detect.CacheEntries}
}

// TriageConfig is the settings of triage.
func (c *Config) TriageConfig() triage.Config {
	return triage.Config{Threshold: c.Triage.Threshold, Pane: c.Detect.Pane, Window: c.Detect.Window, LookBack: c.Detect.LookBack}
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
