// Package kafka starts the real Apache Kafka for tests, benchmarks and a developer's own machine: KRaft, every node
// broker and controller at once, plain text on 127.0.0.1, from the jars that pom.xml names and Maven fetches.
//
// What holds everywhere:
//
//   - It ends exactly the processes that it started, each by a handle that a reused process id cannot fool. It never
//     looks for a process by its name.
//   - A broker of [Start] dies with the program that started it, whatever kills that program. A broker of [Up] outlives
//     it: that is what Up is for.
//   - It writes in its data folder and in the user's cache folder, and nowhere else; Maven has its own repository.
//
// It must never be part of the processor: a broker without replication, encryption and access control, with its memory
// cut to the least, is for trying things out.
package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Version is the version of Apache Kafka that this package runs: the one in pom.xml.
const Version = "4.3.1"

const (
	// startLimit bounds the time from launching the nodes to their answering, where the caller's context sets none.
	// A node takes 2 s on an idle machine of two cores, and took 40 s on one with seven processes to a core.
	startLimit = 2 * time.Minute
	// stopLimit bounds the wait for a node that was asked to end; after it the node is killed. It takes 0.2 to 0.5 s
	// on the idle machine, and took 10 s on the other.
	stopLimit = time.Minute
	// portAttempts is how often a start is tried again because another process took a port between its choice and the
	// broker's bind.
	portAttempts = 5
	maxNodes     = 3
	defaultHeap  = "-Xmx512m"
)

// errLocked is in the error of a start in a folder that another cluster has.
var errLocked = errors.New("another process or cluster holds the lock")

// Options say how to run a cluster. The zero value is one node, in a temporary folder, with the settings of a broker
// that is measured: the full just-in-time compiler and the heap of the default JavaOpts.
type Options struct {
	// Dir is the data folder. One that holds the data of an earlier cluster is started again with that data, on new
	// ports. If empty, a temporary folder is made, and removed by Stop.
	Dir string
	// Properties override and extend the broker's settings on every node. Those that the helper answers for
	// (identity, listeners, folders) are refused.
	Properties map[string]string
	// Nodes is the number of nodes, 1 (the default) or 3. With three, topics have three replicas by default, of which
	// two must be in sync.
	Nodes int
	// JavaOpts replace the default -Xmx512m. They come after the helper's own options, so that they win.
	JavaOpts []string
	// FastStart trades speed for start-up time: only the first, quick compiler and the simplest garbage collector.
	// It uses half the processor time to start, and serves a sustained load much slower: never measure with it.
	FastStart bool
	// Log receives a copy of what the nodes print, warnings and errors, from one goroutine at a time. It is always
	// kept in server.log of each node's folder.
	Log io.Writer
}

// Cluster is a running Kafka. Its methods may be called from several goroutines.
type Cluster struct {
	dir      string
	ownsDir  bool
	id       string
	dist     distribution
	opts     Options
	detached bool
	unlock   func() // gives the data folder back

	mu      sync.Mutex
	nodes   []*node
	stopped bool
}

// Start fetches the jars if this machine has none, formats the storage in o.Dir if it is new, starts the nodes and
// waits until every one answers and knows all others. ctx bounds the start alone, two minutes for the nodes if it has no
// deadline; it does not end the cluster later. On an error nothing is left running, and the error holds the end of the
// server's log. The first start on a machine fetches and prepares, which takes some ten seconds more.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dist, err := prepare(ctx)
	if err != nil {
		return nil, err
	}
	return launch(ctx, dist, o, 0, false)
}

// launch is Start on a prepared distribution. clientPort is the port of the first node's client listener, 0 for a free
// one. A detached cluster survives this program.
func launch(ctx context.Context, dist distribution, o Options, clientPort int, detached bool) (_ *Cluster, err error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Nodes != 1 && o.Nodes != maxNodes {
		return nil, fmt.Errorf("kafka: Nodes is %d, and must be 1 or %d", o.Nodes, maxNodes)
	}
	if err := checkProperties(o.Properties); err != nil {
		return nil, err
	}
	if o.JavaOpts == nil {
		o.JavaOpts = []string{defaultHeap}
	}
	if o.Log != nil {
		o.Log = &sharedWriter{w: o.Log}
	}
	c := &Cluster{dir: o.Dir, dist: dist, opts: o, detached: detached}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "farcall-kafka-"); err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
		c.ownsDir = true
	}
	defer func() {
		if err != nil {
			c.abandon()
		}
	}()
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if strings.Contains(c.dir, ",") {
		return nil, fmt.Errorf("kafka: the data folder %s has a comma in its name, which Kafka takes for the end of it", c.dir)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	// Kafka locks its part of the folder too, but not before this start would have replaced its settings.
	if c.unlock, err = tryLockFile(filepath.Join(c.dir, "cluster.lock")); err != nil {
		return nil, err
	}
	if c.id, err = clusterID(c.dir); err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startLimit)
		defer cancel()
	}
	for attempt := 1; ; attempt++ {
		err := c.startAll(ctx, clientPort)
		if err == nil {
			return c, nil
		}
		// A port that was asked for won't be another one next time.
		if !errors.Is(err, errPortTaken) || clientPort != 0 || attempt == portAttempts {
			return nil, err
		}
		c.killAll()
	}
}

// startAll gives the nodes ports, writes their settings, formats new storage, starts them all, because controllers need
// a majority to elect their leader, and waits until each answers.
func (c *Cluster) startAll(ctx context.Context, clientPort int) error {
	ports, err := FreePorts(2 * c.opts.Nodes)
	if err != nil {
		return err
	}
	if clientPort != 0 {
		ports[0] = clientPort
	}
	c.nodes = nil
	var all []int
	for i := range c.opts.Nodes {
		all = append(all, i+1)
		c.nodes = append(c.nodes, &node{
			id:             i + 1,
			dir:            filepath.Join(c.dir, fmt.Sprintf("node-%d", i+1)),
			clientPort:     ports[2*i],
			controllerPort: ports[2*i+1],
		})
	}
	for _, n := range c.nodes {
		if err := c.configure(ctx, n); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := c.start(n); err != nil {
			return err
		}
		// Before the wait: were this program killed during it, nobody else would know the process.
		if c.detached {
			if err := writeState(c.dir, n); err != nil {
				return err
			}
		}
	}
	for _, n := range c.nodes {
		if err := c.awaitReady(ctx, n, all); err != nil {
			return err
		}
	}
	return nil
}

// Brokers are the addresses of the nodes' client listeners, host:port, in the order of the nodes, those that are down
// included.
func (c *Cluster) Brokers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.addr())
	}
	return addrs
}

// Dir is the data folder, absolute: node-1 and so on, each with server.properties, server.log and data.
func (c *Cluster) Dir() string { return c.dir }

// PID is the process id of a node, counted from 1; 0 if the node is down or there is none of that number.
func (c *Cluster) PID(node int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.node(node)
	if err != nil || !n.running() {
		return 0
	}
	return n.proc.pid
}

// Kill ends a node, counted from 1, at once and without warning (SIGKILL), and returns when its process is gone.
// A node that is down stays down.
func (c *Cluster) Kill(node int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.node(node)
	if err != nil {
		return err
	}
	n.kill()
	return nil
}

// Restart starts a node, counted from 1, that was killed, on the ports and with the data that it had, and returns when
// it answers. One that runs is stopped first, in good order.
func (c *Cluster) Restart(node int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.node(node)
	if err != nil {
		return err
	}
	if n.running() {
		if err := n.stop(stopLimit); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for attempt := 1; ; attempt++ {
		if err := c.start(n); err != nil {
			return err
		}
		err := c.awaitReady(ctx, n, []int{n.id})
		if err == nil {
			return nil
		}
		n.kill()
		if !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return err
		}
	}
}

// RestartAll starts every node that is down, all together, and returns when each answers and knows all others. Where no
// majority of the controllers is left, none would ever answer that is started alone.
func (c *Cluster) RestartAll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := c.startDown(ctx)
		if !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return err
		}
	}
}

func (c *Cluster) startDown(ctx context.Context) error {
	if c.stopped {
		return errors.New("kafka: the cluster is stopped")
	}
	var all []int
	for _, n := range c.nodes {
		all = append(all, n.id)
		if !n.running() {
			if err := c.start(n); err != nil {
				return err
			}
		}
	}
	for _, n := range c.nodes {
		if err := c.awaitReady(ctx, n, all); err != nil {
			n.kill()
			return err
		}
	}
	return nil
}

// Stop asks the nodes to end (SIGTERM), one after the other, kills what does not end in time, and removes the data
// folder if Start made it. It returns when all processes are gone. An error says that a node had to be killed, or that
// it had ended by itself. A second call does nothing.
func (c *Cluster) Stop() error { return c.stop(stopLimit) }

func (c *Cluster) stop(limit time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	var errs []error
	for _, n := range c.nodes {
		// A node leaves in good order only by leave of the controllers. Once they have no majority none can give it,
		// and the rest would wait for minutes. Their logs are recovered at the next start.
		if 2*c.alive() <= len(c.nodes) {
			n.kill()
		}
		errs = append(errs, n.stop(limit))
	}
	c.unlock()
	if c.ownsDir {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// abandon leaves nothing behind of a cluster whose start failed, but the data in a folder of the caller's.
func (c *Cluster) abandon() {
	c.killAll()
	if c.unlock != nil {
		c.unlock()
	}
	if c.ownsDir {
		os.RemoveAll(c.dir)
	}
}

func (c *Cluster) killAll() {
	for _, n := range c.nodes {
		n.kill()
	}
}

// alive counts the nodes that run.
func (c *Cluster) alive() int {
	alive := 0
	for _, n := range c.nodes {
		if n.running() {
			alive++
		}
	}
	return alive
}

// node finds a node by its number.
func (c *Cluster) node(id int) (*node, error) {
	if c.stopped {
		return nil, errors.New("kafka: the cluster is stopped")
	}
	if id < 1 || id > len(c.nodes) {
		return nil, fmt.Errorf("kafka: there is no node %d: the nodes are 1 to %d", id, len(c.nodes))
	}
	return c.nodes[id-1], nil
}

// clusterID reads the identity that all nodes' storage shares, or makes it. It is written before any node is formatted,
// so that a start that was interrupted between two nodes can be taken up again.
func clusterID(dir string) (string, error) {
	path := filepath.Join(dir, "cluster.id")
	old, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(old)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("kafka: %w", err)
	}
	var random [16]byte
	rand.Read(random[:])
	// Kafka refuses an identity that starts with a dash, which its own tools would take for an option.
	random[0] &= 0x7f
	id := base64.RawURLEncoding.EncodeToString(random[:])
	if err := writeFile(path, id+"\n"); err != nil {
		return "", err
	}
	return id, nil
}

// writeFile replaces a file in one step: a reader sees the old content or the new one.
func writeFile(path, content string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// sharedWriter lets several nodes write to one writer.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
