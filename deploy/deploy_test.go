// Package deploy holds the files with which farcall is run elsewhere, and checks that they fit the program and each other.
// It must never hold code of its own.
package deploy

import (
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/stream"
)

type compose struct {
	Services map[string]service
	Secrets  map[string]struct{ Environment string }
	Volumes  map[string]any
}

type service struct {
	Image       string
	Build       *struct{ Context, Dockerfile string }
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	Secrets     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck *struct{ Test []string }
	Restart     string
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Privileged  bool
	NetworkMode string `yaml:"network_mode"`
	User        string
}

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(text(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) != 3 {
		t.Fatalf("services are %v: kafka, topics and farcall were expected", c.Services)
	}
	return c
}

// variables are what config reads from the environment.
func variables(t *testing.T) []string {
	t.Helper()
	c := config.Default()
	params, err := env.GetFieldParamsWithOptions(&c, env.Options{Prefix: "FARCALL_"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range params {
		if !p.Ignored {
			names = append(names, p.Key)
		}
	}
	if !slices.Contains(names, "FARCALL_KAFKA_BROKERS") {
		t.Fatalf("the settings are %v", names)
	}
	return names
}

// pinned is an image with at least a major and a minor version.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?$`)

func TestPinned(t *testing.T) {
	for image, want := range map[string]bool{
		"apache/kafka:4.3.0": true, "golang:1.26.8": true, "golang:1.26.8-bookworm": true,
		"apache/kafka": false, "apache/kafka:latest": false, "golang:1": false, "golang:alpine": false, "farcall:local": false,
	} {
		if pinned.MatchString(image) != want {
			t.Errorf("%s counts as pinned: %t", image, !want)
		}
	}
}

func TestComposeServices(t *testing.T) {
	c := readCompose(t)
	for name, s := range c.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q is not pinned to a version", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to other machines", name, p)
			}
		}
		if s.Privileged || s.NetworkMode != "" || s.User != "" {
			t.Errorf("%s: more rights than it needs: %+v", name, s)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, ".") {
				if _, err := os.Stat(source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s: volume %s is not declared", name, source)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s: secret %s is not declared", name, secret)
			}
		}
		for on, d := range s.DependsOn {
			on, ok := c.Services[on]
			if !ok || d.Condition == "service_healthy" && on.Healthcheck == nil || d.Condition == "service_completed_successfully" && on.Restart == "unless-stopped" {
				t.Errorf("%s: depends on %v, which can't be", name, d)
			}
		}
	}
	for _, name := range []string{"topics", "farcall"} {
		s := c.Services[name]
		if s.Build == nil || s.Build.Context != ".." || s.Build.Dockerfile != "deploy/Dockerfile" {
			t.Errorf("%s is built from %+v", name, s.Build)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: keeps rights that it does not need: %v %v", name, s.CapDrop, s.SecurityOpt)
		}
	}
	if on := c.Services["topics"].DependsOn["kafka"].Condition; on != "service_healthy" {
		t.Errorf("topics starts when kafka is %q", on)
	}
	if on := c.Services["farcall"].DependsOn["topics"].Condition; on != "service_completed_successfully" {
		t.Errorf("farcall starts when topics is %q", on)
	}
	if cmd := c.Services["topics"].Command; len(cmd) < 2 || cmd[0] != "topics" || cmd[1] != "apply" || !slices.Contains(cmd, "--raw-partitions") {
		t.Errorf("topics runs %q", cmd)
	}
	if cmd := c.Services["farcall"].Command; len(cmd) < 1 || cmd[0] != "run" {
		t.Errorf("farcall runs %q", cmd)
	}
}

// TestComposeKafka: the broker's settings on which exactly-once on one node depends, and listeners that lead where clients go.
func TestComposeKafka(t *testing.T) {
	c := readCompose(t)
	kafka := c.Services["kafka"]
	if !strings.HasPrefix(kafka.Image, "apache/kafka:4.") {
		t.Errorf("the broker is %s", kafka.Image)
	}
	for key, want := range map[string]string{
		"KAFKA_PROCESS_ROLES":                                               "broker,controller",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                                   "false",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":                            "1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR":                    "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":                               "1",
		"KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
	} {
		if got := kafka.Environment[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	advertised := map[string]string{}
	for _, l := range strings.Split(kafka.Environment["KAFKA_ADVERTISED_LISTENERS"], ",") {
		name, addr, _ := strings.Cut(l, "://")
		advertised[name] = addr
	}
	listens := map[string]string{}
	for _, l := range strings.Split(kafka.Environment["KAFKA_LISTENERS"], ",") {
		name, addr, _ := strings.Cut(l, "://")
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		listens[name] = port
		if !strings.Contains(kafka.Environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"], name+":PLAINTEXT") {
			t.Errorf("listener %s has no protocol", name)
		}
	}
	for name, addr := range advertised {
		if _, port, err := net.SplitHostPort(addr); err != nil || listens[name] != port {
			t.Errorf("%s is advertised as %s and listens on port %s", name, addr, listens[name])
		}
	}
	for _, s := range []string{"topics", "farcall"} {
		if got := c.Services[s].Environment["FARCALL_KAFKA_BROKERS"]; got != advertised["INSIDE"] {
			t.Errorf("%s looks for the broker at %s, which is at %s", s, got, advertised["INSIDE"])
		}
	}
	if want := advertised["OUTSIDE"] + ":" + listens["OUTSIDE"]; !slices.Equal(kafka.Ports, []string{want}) {
		t.Errorf("the ports are %v, want %s: clients on this machine are sent to %s", kafka.Ports, want, advertised["OUTSIDE"])
	}
	if dir := kafka.Environment["KAFKA_LOG_DIRS"]; !slices.Contains(kafka.Volumes, "kafka:"+dir) {
		t.Errorf("the broker keeps its data in %s, which is in no volume of %v", dir, kafka.Volumes)
	}
}

// TestComposeConfiguration: what the containers of farcall would load is accepted, and means what it should.
func TestComposeConfiguration(t *testing.T) {
	c := readCompose(t)
	known := variables(t)
	image := readDockerfile(t)
	for _, name := range []string{"topics", "farcall"} {
		s := c.Services[name]
		environ := slices.Clone(image.environment)
		for key, value := range s.Environment {
			environ = append(environ, key+"="+value)
			if !slices.Contains(known, key) {
				t.Errorf("%s: %s is no setting", name, key)
			}
		}
		i := slices.Index(s.Command, "--config")
		if i < 0 || !slices.Contains(s.Volumes, "./farcall.yaml:"+s.Command[i+1]+":ro") {
			t.Fatalf("%s: %q with %q does not read farcall.yaml", name, s.Command, s.Volumes)
		}
		cfg, err := config.Load("farcall.yaml", environ)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(cfg.Kafka.Brokers, []string{"kafka:19092"}) || !slices.Equal(cfg.Topics.Raw, []string{"cloudtrail"}) {
			t.Errorf("%s reads %v on %v", name, cfg.Topics.Raw, cfg.Kafka.Brokers)
		}
		if !slices.Contains(s.Volumes, "state:"+cfg.State.Dir) {
			t.Errorf("%s keeps its state in %s, which is in no volume of %v", name, cfg.State.Dir, s.Volumes)
		}
		if name != "farcall" {
			continue
		}
		if dir, secret := path.Split(cfg.Console.TokenFile); dir != "/run/secrets/" || !slices.Contains(s.Secrets, secret) || c.Secrets[secret].Environment == "" {
			t.Errorf("the token is to be in %s, and the secrets are %v %v", cfg.Console.TokenFile, s.Secrets, c.Secrets)
		}
		_, port, err := net.SplitHostPort(cfg.Console.Listen)
		if err != nil || !slices.Equal(s.Ports, []string{"127.0.0.1:" + port + ":" + port}) {
			t.Errorf("the console listens on %s and the ports are %v", cfg.Console.Listen, s.Ports)
		}
	}
}

// off matches a setting that is turned off: "#" without a space after it.
var off = regexp.MustCompile(`(?m)^( *)#(\S)`)

// TestExample: the example is accepted as it is, and with all that is turned off in it turned on.
func TestExample(t *testing.T) {
	if _, err := config.Load("farcall.yaml", nil); err != nil {
		t.Error(err)
	}
	source := text(t, "farcall.yaml")
	if n := len(off.FindAllString(source, -1)); n < 10 {
		t.Fatalf("%d settings are turned off in farcall.yaml: this test no longer understands it", n)
	}
	all := filepath.Join(t.TempDir(), "farcall.yaml")
	if err := os.WriteFile(all, []byte(off.ReplaceAllString(source, "$1$2")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Route.Ignore) != 2 || !cfg.Kafka.TLS.Enabled || cfg.Kafka.SASL.Mechanism == "" || cfg.Geo.Database == "" || cfg.State.Slot == "" {
		t.Errorf("turned on, it says %+v", cfg)
	}
}

// TestVariables: whatever a file of this folder says of a FARCALL_ variable, there is one.
func TestVariables(t *testing.T) {
	known := variables(t)
	files, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\bFARCALL_[A-Z0-9_]+`)
	found := 0
	for _, f := range files {
		if filepath.Ext(f) == ".go" {
			continue
		}
		for _, v := range name.FindAllString(text(t, f), -1) {
			found++
			if !slices.Contains(known, v) {
				t.Errorf("%s names %s, which nothing reads", f, v)
			}
		}
	}
	if found < len(known) {
		t.Errorf("%d variables found in %v, and CONFIG.md alone has %d", found, files, len(known))
	}
}

// TestReadme: every file that the page names is there, and every file of the folder is on the page.
func TestReadme(t *testing.T) {
	readme := text(t, "README.md")
	for _, link := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(link[1]); err != nil {
			t.Error(err)
		}
	}
	for _, f := range []string{"Dockerfile", "compose.yaml", "farcall.yaml", "CONFIG.md"} {
		if !strings.Contains(readme, "("+f+")") {
			t.Errorf("README.md does not speak of %s", f)
		}
	}
	for name := range readCompose(t).Secrets {
		if variable := readCompose(t).Secrets[name].Environment; !strings.Contains(readme, "\""+variable+"=") {
			t.Errorf("README.md does not say how to set %s", variable)
		}
	}
	if !strings.Contains(text(t, ".gitignore"), ".env\n") {
		t.Error("git would take the token along")
	}
}

// dockerfile is what the checks want to know of a Dockerfile.
type dockerfile struct {
	bases       []string // of each stage
	run         []string // of all stages
	user        string   // the rest is of the last stage
	environment []string
	volumes     []string
	entrypoint  string
	copies      []string
}

// parseDockerfile reads instructions, joined where a line ends in a backslash.
func parseDockerfile(source string) (d dockerfile) {
	source = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(source, "")
	source = strings.ReplaceAll(source, "\\\n", " ")
	for _, line := range strings.Split(source, "\n") {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.Join(strings.Fields(rest), " ")
		switch instruction {
		case "FROM":
			base := regexp.MustCompile(`^(--\S+ )*`).ReplaceAllString(rest, "")
			base, _, _ = strings.Cut(base, " ")
			d = dockerfile{bases: append(d.bases, base), run: d.run}
		case "RUN":
			d.run = append(d.run, rest)
		case "USER":
			d.user = rest
		case "ENV":
			d.environment = append(d.environment, rest)
		case "VOLUME":
			d.volumes = append(d.volumes, rest)
		case "ENTRYPOINT":
			d.entrypoint = rest
		case "COPY":
			d.copies = append(d.copies, rest)
		}
	}
	return d
}

func readDockerfile(t *testing.T) dockerfile {
	t.Helper()
	return parseDockerfile(text(t, "Dockerfile"))
}

// faults of an image that is to be static, without root, and the same tomorrow.
func (d dockerfile) faults() (list []string) {
	for i, base := range d.bases {
		if base != "scratch" && !pinned.MatchString(base) {
			list = append(list, "base "+base+" is not pinned")
		}
		if i == len(d.bases)-1 && base != "scratch" {
			list = append(list, "the last stage has more in it than farcall: "+base)
		}
	}
	if uid, _, _ := strings.Cut(d.user, ":"); !regexp.MustCompile(`^[1-9]\d*$`).MatchString(uid) {
		list = append(list, "it runs as user "+d.user+", and scratch knows numbers only")
	}
	built := false
	for _, r := range d.run {
		if strings.Contains(r, "go build") {
			built = true
			if !strings.Contains(r, "CGO_ENABLED=0 ") {
				list = append(list, "the binary needs a C library: "+r)
			}
		}
	}
	if !built {
		list = append(list, "nothing is built")
	}
	return list
}

func TestDockerfile(t *testing.T) {
	d := readDockerfile(t)
	for _, fault := range d.faults() {
		t.Error(fault)
	}
	mod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(text(t, "../go.mod"))
	if mod == nil || !strings.HasPrefix(d.bases[0], "golang:"+mod[1]+".") {
		t.Errorf("built with %s, while go.mod says %v", d.bases[0], mod)
	}
	if !slices.Equal(d.volumes, []string{"/var/lib/farcall"}) || !slices.Equal(d.environment, []string{"FARCALL_STATE_DIR=/var/lib/farcall"}) {
		t.Errorf("volumes %q, environment %q", d.volumes, d.environment)
	}
	// A volume takes the owner of the folder that it covers: another one's could not be written.
	if !slices.ContainsFunc(d.copies, func(c string) bool {
		return strings.Contains(c, "--chown="+d.user+" ") && strings.HasSuffix(c, " /var/lib/farcall")
	}) {
		t.Errorf("/var/lib/farcall does not belong to %s: %q", d.user, d.copies)
	}
	if !slices.ContainsFunc(d.copies, func(c string) bool { return c == "LICENSE NOTICE /" }) {
		t.Errorf("the image lacks LICENSE and NOTICE: %q", d.copies)
	}
	if d.entrypoint != `["/farcall"]` || !slices.ContainsFunc(d.copies, func(c string) bool { return strings.HasSuffix(c, " /farcall") }) {
		t.Errorf("it starts %s: %q", d.entrypoint, d.copies)
	}
}

// TestFaults shows each check of the Dockerfile an image that it must not let through.
func TestFaults(t *testing.T) {
	sound := "FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build\n# USER root\nRUN --mount=type=cache,target=/x \\\n    CGO_ENABLED=0 \\\n    go build ./...\nFROM scratch\nUSER 65532:65532\n"
	if faults := parseDockerfile(sound).faults(); len(faults) > 0 {
		t.Errorf("wrongly found: %q", faults)
	}
	for _, change := range [][2]string{
		{"golang:1.26.8", "golang"}, {"golang:1.26.8", "golang:latest"}, {"CGO_ENABLED=0", ""}, {"CGO_ENABLED=0", "CGO_ENABLED=1"}, {"go build", "true"},
		{"USER 65532:65532\n", ""}, {"USER 65532:65532", "USER root"}, {"USER 65532:65532", "USER 0:0"}, {"USER 65532:65532", "USER nobody"},
		{"FROM scratch", "FROM debian:12.1"}, {"FROM scratch\nUSER 65532:65532", "USER 65532:65532\nFROM scratch"},
	} {
		if faults := parseDockerfile(strings.Replace(sound, change[0], change[1], 1)).faults(); len(faults) == 0 {
			t.Errorf("%q for %q was let through", change[1], change[0])
		}
	}
}

// TestRules: every rule asks for metrics and labels that farcall has, and has a section in the runbook, which has no other.
func TestRules(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions([]byte(text(t, "rules.yaml")), &rules, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{} // by metric, as its description has them
	description := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z_,]*)\}`)
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		stream.NewMetrics().Registry.Describe(all)
	}()
	for d := range all {
		if found := description.FindStringSubmatch(d.String()); found != nil {
			labels[found[1]] = found[2]
		}
	}
	var sections []string
	for _, found := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(text(t, "RUNBOOK.md"), -1) {
		sections = append(sections, found[1])
	}
	var names []string
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["runbook"] != "RUNBOOK.md#"+strings.ToLower(r.Alert) {
				t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
			}
			asked := regexp.MustCompile(`(farcall_[a-z_]+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(r.Expr, -1)
			if len(asked) == 0 {
				t.Errorf("%s asks for nothing: %s", r.Alert, r.Expr)
			}
			for _, a := range asked {
				has, ok := labels[strings.TrimSuffix(a[1], "_bucket")]
				if !ok {
					t.Errorf("%s asks for %s, which there is not", r.Alert, a[1])
				}
				for _, label := range regexp.MustCompile(`([a-z_]+)(?:=|!=|=~|!~)"`).FindAllStringSubmatch(a[2], -1) {
					if !slices.Contains(strings.Split(has, ","), label[1]) {
						t.Errorf("%s asks for %s, which has the labels %q", r.Alert, a[0], has)
					}
				}
			}
		}
	}
	if len(names) == 0 || !slices.Equal(names, sections) {
		t.Errorf("the rules are %v, and the sections of the runbook %v", names, sections)
	}
}
