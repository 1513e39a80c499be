package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

const (
	defaultPort = 9092
	stateFile   = "broker.json"
)

// Background is a broker that [Up] left running.
type Background struct {
	Broker string // host:port
	PID    int
	Dir    string // the state folder, absolute
}

// record is the state file: what a later command must know to find the broker and to tell it from another process.
type record struct {
	Process process `json:"process"`
	Broker  string  `json:"broker"`
	Version string  `json:"version"`
}

// DefaultDir is the state folder that [Up], [Down] and [Status] take for an empty one: farcall/kafka-up in the user's
// cache folder.
func DefaultDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("kafka: %w", err)
	}
	return filepath.Join(cache, "farcall", "kafka-up"), nil
}

// Up starts a broker that outlives this program, with its data in dir, and returns when it answers. If the broker of
// that folder runs already, it is returned as it is, and started is false. port is the client port; 0 means 9092, or a
// free one if that is taken. If ctx ends before the broker answers, the broker is killed.
func Up(ctx context.Context, dir string, port int) (b Background, started bool, err error) {
	dir, unlock, err := openState(ctx, dir)
	if err != nil {
		return Background{}, false, err
	}
	defer unlock()
	if b, running, err := readState(dir); err != nil || running {
		return b, false, err
	}
	asked := port
	if port, err = clientPort(asked); err != nil {
		return Background{}, false, err
	}
	dist, err := prepare(ctx)
	if err != nil {
		return Background{}, false, err
	}
	c, err := launch(ctx, dist, Options{Dir: dir}, port, true)
	if asked == 0 && errors.Is(err, errPortTaken) { // somebody was faster to the usual port
		c, err = launch(ctx, dist, Options{Dir: dir}, 0, true)
	}
	if err != nil {
		return Background{}, false, err
	}
	// The broker keeps its own lock on its data; ours would only outlive it while this program goes on.
	c.unlock()
	return Background{Broker: c.Brokers()[0], PID: c.PID(1), Dir: dir}, true, nil
}

// Down ends the broker of a state folder, and no other process, and returns when it is gone; stopped is false if none
// ran. With wipe the data is removed too, whether one ran or not.
func Down(ctx context.Context, dir string, wipe bool) (stopped bool, err error) {
	dir, unlock, err := openState(ctx, dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	r, err := readRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	default:
		stopped = r.Process.alive()
		killed, err := r.Process.end(stopLimit)
		if err != nil {
			return false, fmt.Errorf("kafka: %w", err)
		}
		if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
			return stopped, fmt.Errorf("kafka: %w", err)
		}
		if killed {
			return true, fmt.Errorf("kafka: the broker did not end within %v and was killed", stopLimit)
		}
	}
	if !wipe {
		return stopped, nil
	}
	// By name, and not the folder: it may be one in which a person keeps other things.
	for _, name := range []string{"node-1", "cluster.id"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return stopped, fmt.Errorf("kafka: %w", err)
		}
	}
	return stopped, nil
}

// Status says whether the broker of a state folder runs, and how to reach it.
func Status(dir string) (b Background, running bool, err error) {
	if dir, err = stateDir(dir); err != nil {
		return Background{}, false, err
	}
	return readState(dir)
}

func stateDir(dir string) (string, error) {
	if dir == "" {
		return DefaultDir()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("kafka: %w", err)
	}
	return dir, nil
}

// openState makes the state folder and takes its lock, so that of two commands the second sees what the first did.
func openState(ctx context.Context, dir string) (abs string, unlock func(), err error) {
	if dir, err = stateDir(dir); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("kafka: %w", err)
	}
	unlock, err = lockFile(ctx, filepath.Join(dir, "lock"))
	return dir, unlock, err
}

func readRecord(dir string) (r record, err error) {
	path := filepath.Join(dir, stateFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return record{}, fmt.Errorf("kafka: %w", err)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return record{}, fmt.Errorf("kafka: %s: %w", path, err)
	}
	return r, nil
}

func readState(dir string) (b Background, running bool, err error) {
	r, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Background{}, false, nil
	}
	if err != nil || !r.Process.alive() {
		return Background{}, false, err
	}
	return Background{Broker: r.Broker, PID: r.Process.PID, Dir: dir}, true, nil
}

// writeState records the process of a detached node. A record of a process that is gone counts as none.
func writeState(dir string, n *node) error {
	p, err := identify(n.proc.pid)
	if err != nil {
		return n.failure("ended at once")
	}
	raw, err := json.MarshalIndent(record{Process: p, Broker: n.addr(), Version: Version}, "", "  ")
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return writeFile(filepath.Join(dir, stateFile), string(raw)+"\n")
}

// clientPort settles on the port of a background broker: the one that was asked for or an error, else the usual one if
// it is free, else 0, any.
func clientPort(asked int) (int, error) {
	port := asked
	if port == 0 {
		port = defaultPort
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		return port, l.Close()
	}
	if asked == 0 {
		return 0, nil
	}
	return 0, fmt.Errorf("kafka: port %d: %w", asked, err)
}
