package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/farcall/farcall/loadtest/kafka"
	"github.com/farcall/farcall/loadtest/peers"
	"github.com/farcall/farcall/topics"
)

// system is one of those that are measured: it reads the topic from its beginning, in a process of its own.
type system struct {
	name  string
	short string // in raw lines
	run   func(ctx context.Context, b *bench, f *filled) (sample, error)
}

// mark is how far a process had come, and what that had taken.
type mark struct {
	events int64 // committed, or read
	cpu    time.Duration
}

// sample is one reading of the whole topic.
type sample struct {
	wall    time.Duration // from the start of the process until all is committed, or read
	startup time.Duration // until the first commit, or the first records
	usage
	middle         mark
	bytes, records int64   // in the system's own topics: on the broker's disk, and with markers
	told           int64   // records in the topics that are partitioned anew, with markers
	telling        float64 // events for each of these; 0 where there are none
	letters        int     // dead ones
}

func (s sample) perEvent(f *filled) float64 { return s.cpu.Seconds() * 1e6 / float64(f.events) }

// fromMiddle is what an event takes from the middle of the load on, in CPU seconds per million: without the start, without what a JVM
// compiles first, and without what an organisation's first minutes tell. The end is in it. ok is false where a load is too small to say.
func (s sample) fromMiddle(f *filled) (cpu float64, ok bool) {
	left := int64(f.events+f.bad) - s.middle.events
	if s.middle.events == 0 || left < int64(f.events)/4 {
		return 0, false
	}
	return (s.cpu - s.middle.cpu).Seconds() * 1e6 / float64(left), true
}

func (s sample) rate(f *filled) float64 { return float64(f.events) / s.wall.Seconds() }

// systems are measured in this order, in turns.
func (b *bench) systems() []system {
	s := []system{
		{"bare consumer: poll and drop", "bare", consumer(bareConsumer)},
		{"**the limit**: poll and one validated decode", "limit", consumer(decodeConsumer)},
		{"farcall, route", "route", farcall("route")},
		{"farcall, route and detect", "detect", farcall("route", "detect")},
		{"**farcall, all stages**", "all", farcall("route", "detect", "triage")},
	}
	if b.streams != nil {
		s = append(s, system{"Kafka Streams, DSL", "dsl", b.streams.job("dsl")}, system{"Kafka Streams, Processor API, telling once", "papi",
			b.streams.job("papi")})
	}
	return s
}

// consumer is a client without a group, which is this program.
func consumer(kind string) func(ctx context.Context, b *bench, f *filled) (sample, error) {
	return func(ctx context.Context, b *bench, f *filled) (s sample, err error) {
		self, err := os.Executable()
		if err != nil {
			return s, err
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", consumerVariable, kind, f.events+f.bad, f.topic, strings.Join(b.brokers, ",")))
		p, err := start(cmd)
		if err != nil {
			return s, err
		}
		says := func(word string) func() (bool, error) {
			return func() (bool, error) { return strings.Contains(p.out.String(), word), nil }
		}
		if err := p.waitFor(ctx, says(saysFirst)); err != nil {
			return s, errors.Join(err, p.kill())
		}
		s.startup = time.Since(p.began)
		if err := p.waitFor(ctx, says(saysDone)); err != nil {
			return s, errors.Join(err, p.kill())
		}
		s.wall = time.Since(p.began)
		if s.middle, err = saidMiddle(p.out.String()); err != nil {
			return s, errors.Join(err, p.kill())
		}
		s.usage, err = p.stop()
		return s, err
	}
}

// installation is one farcall: topics, groups, state and console of its own.
type installation struct {
	b       *bench
	prefix  string
	console string
	env     map[string]string
	names   topics.Names
}

// install makes an installation on a raw topic, with settings beside those that it needs.
func (b *bench) install(ctx context.Context, raw string, settings map[string]string) (*installation, error) {
	b.installed++
	i := &installation{b: b, prefix: fmt.Sprint("farcall", b.installed)}
	i.names = topics.NamesFor(i.prefix)
	ports, err := kafka.FreePorts(1)
	if err != nil {
		return nil, err
	}
	i.console = fmt.Sprint("127.0.0.1:", ports[0])
	i.env = map[string]string{
		"FARCALL_KAFKA_BROKERS": strings.Join(b.brokers, ","), "FARCALL_TOPICS_PREFIX": i.prefix, "FARCALL_TOPICS_RAW": raw,
		"FARCALL_TOPICS_REPLICATION": "1",
		"FARCALL_TOPICS_PARTITIONS":  fmt.Sprint(b.ownPartitions), "FARCALL_STATE_DIR": filepath.Join(b.dir, i.prefix),
		"FARCALL_CONSOLE_LISTEN": i.console, "FARCALL_LOG_LEVEL": "warn",
	}
	maps.Copy(i.env, settings)
	apply := exec.CommandContext(ctx, b.binary, "topics", "apply")
	apply.Env = environment(i.env)
	if out, err := apply.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("topics apply: %w\n%s", err, out)
	}
	return i, nil
}

func (i *installation) start(stages ...string) (*process, error) {
	cmd := exec.Command(i.b.binary, "run")
	cmd.Env = append(environment(i.env), "FARCALL_STAGES="+strings.Join(stages, ","))
	return start(cmd)
}

var errNoAnswer = errors.New("no answer")

// profile writes what the process says of itself, if it is asked for, into files whose names begin so: its processor over the first
// three seconds after it began to read, and then its mutexes and its memory. A run that is shorter has none.
func (i *installation) profile(ctx context.Context, p *process, name string) error {
	b := i.b
	if b.profiles == "" {
		return nil
	}
	get := func(what string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.console+"/debug/pprof/"+what, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return errors.Join(errNoAnswer, err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return errors.Join(errNoAnswer, err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("profile %s: %s: %s", what, resp.Status, body)
		}
		what, _, _ = strings.Cut(what, "?")
		return os.WriteFile(filepath.Join(b.profiles, fmt.Sprintf("%s-%d.%s", name, b.installed, what)), body, 0o644)
	}
	if err := errors.Join(os.MkdirAll(b.profiles, 0o755), b.begun(ctx, p, i.prefix+".route")); err != nil {
		return err
	}
	for _, what := range []string{"profile?seconds=3", "mutex", "allocs", "heap"} {
		err := get(what)
		if errors.Is(err, errNoAnswer) { // there was no time for it
			<-p.ended
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (i *installation) owns(topic string) bool { return strings.HasPrefix(topic, i.prefix+".") }

// steps are what stages must have read: each writes what the next reads.
func (i *installation) steps(raw string, stages []string) (steps []step) {
	input := map[string]string{"route": raw, "detect": i.names.Visits, "triage": i.names.Principals}
	for _, s := range stages {
		steps = append(steps, step{i.prefix + "." + s, input[s]})
	}
	return steps
}

// farcall runs stages of the shipped binary in one process, exactly once and configured as it is by default. Where detect is among
// them its rows must be those of the load. What it refused must be what was planted.
func farcall(stages ...string) func(ctx context.Context, b *bench, f *filled) (sample, error) {
	return func(ctx context.Context, b *bench, f *filled) (sample, error) {
		return b.farcall(ctx, f, nil, stages...)
	}
}

func (b *bench) farcall(ctx context.Context, f *filled, settings map[string]string, stages ...string) (s sample, err error) {
	if b.profiles != "" {
		settings = maps.Clone(settings)
		if settings == nil {
			settings = map[string]string{}
		}
		settings["FARCALL_CONSOLE_PROFILING"] = "true"
	}
	i, err := b.install(ctx, f.topic, settings)
	if err != nil {
		return s, err
	}
	p, err := i.start(stages...)
	if err != nil {
		return s, err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- i.profile(ctx, p, strings.Join(append([]string{f.topic}, stages...), "-")) }()
	steps := i.steps(f.topic, stages)
	if s, err = b.follow(ctx, p, steps, int64(f.events+f.bad)/2); err != nil {
		return s, err
	}
	if err := <-profiled; err != nil {
		return s, err
	}
	if s.bytes, s.records, err = b.written(ctx, i.owns); err != nil {
		return s, err
	}
	if _, s.told, err = b.written(ctx, func(name string) bool { return name == i.names.Visits || name == i.names.Principals }); err != nil {
		return s, err
	}
	s.telling = float64(f.events) / float64(s.told)
	if s.letters, err = b.deadLetters(ctx, f, i); err != nil {
		return s, err
	}
	if len(stages) > 1 {
		got, err := farcallLines(ctx, b, i)
		if err := errors.Join(err, compare(f.want, withoutPoison(got))); err != nil {
			return s, fmt.Errorf("farcall's rows: %w", err)
		}
	}
	return s, errors.Join(b.remove(ctx, i.owns), os.RemoveAll(i.env["FARCALL_STATE_DIR"]))
}

// follow waits until the process has done its steps, ends it, and says what it took; half is half of what the first step has to read.
func (b *bench) follow(ctx context.Context, p *process, steps []step, half int64) (s sample, err error) {
	if err := b.begun(ctx, p, steps[0].group); err != nil {
		return s, errors.Join(err, p.kill())
	}
	s.startup = time.Since(p.began)
	if s.middle, err = b.middle(ctx, p, steps[0], half); err != nil {
		return s, errors.Join(err, p.kill())
	}
	for _, st := range steps {
		if err := b.committed(ctx, p, st); err != nil {
			return s, errors.Join(fmt.Errorf("%s on %s: %w", st.group, st.topic, err), p.kill())
		}
	}
	s.wall = time.Since(p.began)
	s.usage, err = p.stop()
	return s, err
}

// streams are the Kafka Streams jobs of loadtest/peers/kafka-streams.
type streams struct{ folder, places string }

// peersFolder is where they are, from the root of the module.
const peersFolder = "loadtest/peers/kafka-streams"

// readyPeers builds the Kafka Streams jobs, if this machine has what that needs, and else says why not.
func (b *bench) readyPeers(ctx context.Context, root string) (why string, err error) {
	p := &streams{folder: filepath.Join(root, peersFolder), places: filepath.Join(b.dir, "places.tsv")}
	if _, err := os.Stat(filepath.Join(p.folder, "pom.xml")); err != nil {
		return "there is no " + peersFolder, nil
	}
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "there is no " + tool, nil
		}
	}
	build := exec.CommandContext(ctx, "mvn", "-q", "package", "-DskipTests")
	build.Dir = p.folder
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the Kafka Streams jobs: %w\n%s", err, out)
	}
	places, err := os.Create(p.places)
	if err != nil {
		return "", err
	}
	if err := errors.Join(peers.WritePlaces(places), places.Close()); err != nil {
		return "", fmt.Errorf("list of places for the Kafka Streams jobs: %w", err)
	}
	b.streams = p
	return "", nil
}

func (p *streams) command(args ...string) *exec.Cmd {
	return exec.Command("java", append([]string{"@" + filepath.Join(p.folder, "jvm.options"), "-jar", filepath.Join(p.folder, "target",
		"peer.jar")}, args...)...)
}

// start runs a job that commits so often.
func (p *streams) start(b *bench, job, id, raw string, commit time.Duration) (*process, error) {
	return start(p.command("--job", job, "--brokers", strings.Join(b.brokers, ","), "--raw", raw, "--application-id", id, "--state-dir",
		filepath.Join(b.dir, id), "--places", p.places,
		"--threads", fmt.Sprint(runtime.NumCPU()), "--partitions", fmt.Sprint(b.ownPartitions), "--commit-ms", fmt.Sprint(commit.Milliseconds())))
}

// told is the topic that a job partitions anew.
func told(job, id string) string {
	if job == "dsl" {
		return id + "-visits-repartition"
	}
	return id + ".visits"
}

// Between commits: what detect and triage do while batches are small, where route takes twice as long, and all of farcall in a backlog. A
// Kafka Streams job has one interval for all that it does, and gets the shorter.
const (
	commitLive   = 50 * time.Millisecond
	commitBehind = time.Second
)

// job measures one of the jobs, whose rows must be those of the load.
func (p *streams) job(name string) func(ctx context.Context, b *bench, f *filled) (sample, error) {
	return func(ctx context.Context, b *bench, f *filled) (s sample, err error) {
		b.installed++
		id := fmt.Sprint(name, b.installed)
		owns := func(topic string) bool { return strings.HasPrefix(topic, id+"-") || strings.HasPrefix(topic, id+".") }
		proc, err := p.start(b, name, id, f.topic, commitBehind)
		if err != nil {
			return s, err
		}
		if s, err = b.follow(ctx, proc, []step{{id, f.topic}, {id, told(name, id)}}, int64(f.events+f.bad)/2); err != nil {
			return s, err
		}
		if s.bytes, s.records, err = b.written(ctx, owns); err != nil {
			return s, err
		}
		if _, s.told, err = b.written(ctx, func(topic string) bool { return topic == told(name, id) }); err != nil {
			return s, err
		}
		s.telling = float64(f.events) / float64(s.told)
		dump := filepath.Join(b.dir, id+".rows")
		cmd := p.command("--dump", dump, "--brokers", strings.Join(b.brokers, ","), "--application-id", id)
		if out, err := cmd.CombinedOutput(); err != nil {
			return s, fmt.Errorf("rows of %s: %w\n%s", id, err, out)
		}
		got, err := fileLines(dump)
		if err := errors.Join(err, compare(f.want, got)); err != nil {
			return s, fmt.Errorf("rows of the Kafka Streams job %s: %w", name, err)
		}
		return s, errors.Join(b.remove(ctx, owns), os.RemoveAll(filepath.Join(b.dir, id)), os.Remove(dump))
	}
}
