package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errPortTaken is in the error of a node that found one of its ports in use.
var errPortTaken = errors.New("a port is in use")

// fatalAtStart is what Kafka logs when it has given up starting; its process takes ten more seconds to end.
const fatalAtStart = "due to fatal exception during startup"

const (
	// readyPoll is the time between two questions to a node that starts.
	readyPoll = 20 * time.Millisecond
	// askLimit bounds the wait for one answer. A node that is busy starting lets a question wait.
	askLimit = 2 * time.Second
	// tailBytes is how much of a node's log an error quotes.
	tailBytes = 8 << 10
)

// node is one broker and controller. The lock of its Cluster guards it.
type node struct {
	id             int
	dir            string
	clientPort     int
	controllerPort int

	proc     *child // nil until the first start
	asked    bool   // the process was told to end
	logStart int64  // where the output of this process begins in server.log
}

func (n *node) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.clientPort)) }
func (n *node) controller() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.controllerPort))
}
func (n *node) file(name string) string { return filepath.Join(n.dir, name) }
func (n *node) running() bool           { return n.proc != nil && n.proc.running() }

// reserved are the settings that the helper answers for: with another value the node would be another one than the
// helper waits for, or its data would be elsewhere.
var reserved = []string{
	"process.roles", "node.id", "broker.id", "controller.quorum.voters", "controller.quorum.bootstrap.servers",
	"controller.listener.names", "listeners", "advertised.listeners", "listener.security.protocol.map",
	"inter.broker.listener.name", "security.inter.broker.protocol", "log.dir", "log.dirs", "metadata.log.dir",
}

func checkProperties(p map[string]string) error {
	for _, key := range reserved {
		if _, ok := p[key]; ok {
			return fmt.Errorf("kafka: the property %s is the helper's own", key)
		}
	}
	return nil
}

// properties are a node's settings: those of the helper, over those of the caller, over those that suit a test.
func (c *Cluster) properties(n *node) map[string]string {
	replicas := strconv.Itoa(len(c.nodes))
	inSync := strconv.Itoa(len(c.nodes)/2 + 1)
	p := map[string]string{
		"auto.create.topics.enable":  "false",
		"default.replication.factor": replicas,
		"min.insync.replicas":        inSync,

		// Few partitions: each is a folder, and three files to open, at the first use of a group or a transaction.
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 replicas,
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    inSync,
		"share.coordinator.state.topic.num.partitions":     "4",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            inSync,

		// No wait for members that a test starts one by one, and a dead member's transaction is aborted within a
		// second of its timeout, not ten.
		"group.initial.rebalance.delay.ms":                            "0",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",

		// After a kill the controllers, in the same process or not, refuse the node until its old session is over: with
		// the default of 9 s a restart takes 11.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "300",

		// A quarter of the default heap would go to the compaction's table of keys.
		"log.cleaner.dedupe.buffer.size": "16777216",
	}
	maps.Copy(p, c.opts.Properties)

	var voters []string
	for _, m := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", m.id, m.controller()))
	}
	maps.Copy(p, map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(n.id),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"controller.listener.names":      "CONTROLLER",
		"listeners":                      "PLAINTEXT://" + n.addr() + ",CONTROLLER://" + n.controller(),
		"advertised.listeners":           "PLAINTEXT://" + n.addr(),
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "PLAINTEXT",
		"log.dirs":                       n.file("data"),
	})
	return p
}

// formatProperties writes settings in the form that Java reads: ISO 8859-1, everything else escaped.
func formatProperties(p map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(p)) {
		escapeProperty(&b, key, true)
		b.WriteByte('=')
		escapeProperty(&b, p[key], false)
		b.WriteByte('\n')
	}
	return b.String()
}

func escapeProperty(b *strings.Builder, s string, isKey bool) {
	for i, r := range s {
		switch {
		case r == '\\', isKey && strings.ContainsRune("=: #!", r), i == 0 && r == ' ':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(b, `\u%04x`, unit)
			}
		default:
			b.WriteRune(r)
		}
	}
}

// configure writes a node's settings and formats its storage, unless an earlier start did.
func (c *Cluster) configure(ctx context.Context, n *node) error {
	// The compression libraries unpack their native parts into Java's temporary folder, and a killed process leaves them
	// there.
	if err := os.RemoveAll(n.file("tmp")); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if err := os.MkdirAll(n.file("tmp"), 0o755); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if err := writeFile(n.file("server.properties"), formatProperties(c.properties(n))); err != nil {
		return err
	}
	if err := writeFile(n.file("log4j2.properties"), log4jProperties); err != nil {
		return err
	}
	// Kafka's formatter writes this file last.
	if _, err := os.Stat(n.file(filepath.Join("data", "meta.properties"))); err == nil {
		return nil
	}
	cmd := c.java(n, true, []string{defaultHeap}, "kafka.tools.StorageTool", "format",
		"--config", n.file("server.properties"), "--cluster-id", c.id, "--ignore-formatted")
	if out, err := run(ctx, cmd); err != nil {
		return fmt.Errorf("kafka: formatting the storage of node %d in %s: %w\n%s", n.id, n.dir, err, tail(out))
	}
	return nil
}

// java is the command of one of Kafka's programs for a node.
func (c *Cluster) java(n *node, fast bool, opts []string, mainClass string, args ...string) *exec.Cmd {
	var a []string
	if c.dist.archive != "" {
		a = append(a, "-XX:SharedArchiveFile="+c.dist.archive)
	}
	if fast {
		a = append(a, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
	}
	a = append(a,
		"-XX:+ExitOnOutOfMemoryError",
		"-XX:-UsePerfData", // its files in the system's temporary folder outlive a killed process
		"-Djava.awt.headless=true",
		"-Djava.io.tmpdir="+n.file("tmp"),
		"-Dlog4j2.configurationFile="+n.file("log4j2.properties"),
	)
	a = append(a, opts...)
	a = append(a, "-cp", c.dist.classpath, mainClass)
	return exec.Command(c.dist.java, append(a, args...)...)
}

// start launches the node's process, whose output is appended to server.log.
func (c *Cluster) start(n *node) error {
	out, err := os.OpenFile(n.file("server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	info, err := out.Stat()
	if err != nil {
		out.Close()
		return fmt.Errorf("kafka: %w", err)
	}
	n.logStart, n.asked = info.Size(), false
	cmd := c.java(n, c.opts.FastStart, c.opts.JavaOpts, "kafka.Kafka", n.file("server.properties"))
	cmd.Stdout = out
	// A detached process gets the file itself: a pipe would break when this program ends.
	if c.opts.Log != nil && !c.detached {
		cmd.Stdout = io.MultiWriter(out, c.opts.Log)
	}
	cmd.Stderr = cmd.Stdout
	proc, err := startChild(cmd, c.detached)
	if err != nil {
		out.Close()
		return fmt.Errorf("kafka: starting node %d: %w", n.id, err)
	}
	n.proc = proc
	go func() {
		<-proc.done
		out.Close()
	}()
	return nil
}

// awaitReady returns when the node itself says that all of want are alive. A node opens its client listener only after
// the controller has let it in, so one that lists itself serves. The cluster's identity tells it from a stranger that
// took the port.
func (c *Cluster) awaitReady(ctx context.Context, n *node, want []int) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(n.addr()),
		kgo.DialTimeout(askLimit),
		kgo.RequestTimeoutOverhead(askLimit),
	)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	// A stranger on the node's port may never answer: no question outlives the node.
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	go func(done <-chan struct{}) {
		select {
		case <-done:
			cancel()
		case <-asking.Done():
		}
	}(n.proc.done)
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	answer := errors.New("nothing was asked")
	for {
		select {
		case <-n.proc.done:
			return n.failure("ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w; the last answer: %w", n.failure("was not ready in time"), context.Cause(ctx), answer)
		case <-ticker.C:
		}
		if log, err := n.log(); err == nil && bytes.Contains(log, []byte(fatalAtStart)) {
			n.kill()
			return n.failure("could not start")
		}
		if answer = ask(asking, client, c.id, want); answer == nil {
			return nil
		}
	}
}

// ask asks the client's one node whether it belongs to the cluster and knows all of want to be alive.
func ask(ctx context.Context, client *kgo.Client, cluster string, want []int) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	question := kmsg.NewPtrMetadataRequest()
	question.Topics = []kmsg.MetadataRequestTopic{} // none; nil would mean all
	// Of this very node, and not through kadm: that answers from what its client learned once, of any node.
	answer, err := client.SeedBrokers()[0].Request(ctx, question)
	if err != nil {
		return err
	}
	m := answer.(*kmsg.MetadataResponse)
	if m.ClusterID == nil || *m.ClusterID != cluster {
		return errors.New("another cluster is at its port")
	}
	var alive []int
	for _, b := range m.Brokers {
		alive = append(alive, int(b.NodeID))
	}
	for _, id := range want {
		if !slices.Contains(alive, id) {
			return fmt.Errorf("the nodes %v are alive, want %v", alive, want)
		}
	}
	return nil
}

// failure describes what became of the node, with the end of its log.
func (n *node) failure(what string) error {
	log, err := n.log()
	if err != nil {
		return fmt.Errorf("kafka: node %d %s, and its log can't be read: %w", n.id, what, err)
	}
	state := "still running"
	if !n.running() {
		state = n.proc.cmd.ProcessState.String()
	}
	text := fmt.Sprintf("node %d %s (%s); the end of %s:\n%s", n.id, what, state, n.file("server.log"), tail(log))
	if !n.running() && bytes.Contains(log, []byte("Address already in use")) {
		return fmt.Errorf("kafka: %w: %s", errPortTaken, text)
	}
	return errors.New("kafka: " + text)
}

// log is what the node's latest process printed.
func (n *node) log() ([]byte, error) {
	f, err := os.Open(n.file("server.log"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(n.logStart, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// tail is the last tailBytes of some output, from the start of a line where there is one.
func tail(out []byte) string {
	out = bytes.TrimSpace(out)
	if len(out) > tailBytes {
		out = out[len(out)-tailBytes:]
		if _, rest, ok := bytes.Cut(out, []byte("\n")); ok {
			out = rest
		}
	}
	if len(out) == 0 {
		return "(nothing)"
	}
	return string(out)
}

// stop asks the node to end, and kills it after limit.
func (n *node) stop(limit time.Duration) error {
	if !n.running() {
		if n.proc == nil || n.asked {
			return nil
		}
		return n.failure("had ended by itself")
	}
	n.asked = true
	n.proc.signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-n.proc.done:
		return nil
	case <-timer.C:
		n.kill()
		return n.failure(fmt.Sprintf("did not end within %v of being asked and was killed", limit))
	}
}

// kill ends the node at once and waits until its process is gone.
func (n *node) kill() {
	if !n.running() {
		return
	}
	n.asked = true
	n.proc.signal(syscall.SIGKILL)
	<-n.proc.done
}
