// Package stream runs stages on Kafka: poll, one transaction for everything that a batch causes, tasks with a life of their
// own, restore, rebalance. It knows nothing of CloudTrail or countries; what a stage does with a record is the stage's
// business. It adds no coordination to Kafka's: consumer groups, transactions and compacted changelogs are the engine.
package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/state"
)

// Stage is one consumer group.
type Stage struct {
	Name   string   // route, detect or triage
	Inputs []string // topics consumed
	// Changelog is the topic of the stage's rows, partition by partition like its only input; "" for a stage whose state
	// may be lost.
	Changelog string
	// Positions is the topic in which a stage without a changelog keeps how far it has come, beside the group's offsets; "" for none.
	Positions string
	// Fingerprint spells the settings that its rows depend on.
	Fingerprint string
	// Start is where partitions begin that have no committed offset. Latest is for stages without a changelog; and a partition
	// that a topic gained since the group began with it is read from its first record in any case.
	Start Start
	// OutOfRange is what happens at a position that the topic no longer has, or does not have yet. Other than Fail is for
	// stages without a changelog: rows and position move together or not at all.
	OutOfRange OutOfRange
	// Partitions that the inputs have for ever; 0 for topics that may grow.
	Partitions int32
	// Recycle says that tasks keep nothing of a record that they have processed, its topic's name aside: its memory is used again.
	Recycle bool
	// Share, if set, makes what the tasks of one worker share: their records are committed together.
	Share func() Shared
	// Open makes the task of one partition.
	Open func(TaskInfo) (Task, error)
}

// Start is where a partition without a committed offset begins: "earliest" or "latest".
type Start string

// The starts.
const (
	Earliest Start = "earliest"
	Latest   Start = "latest"
)

// OutOfRange is what a stage does about a position that is no offset of its input: retention has passed it by, or the topic
// was recreated.
type OutOfRange string

// The answers. Fail, the default, stops the process; the others go on at the first or behind the last record that there is,
// and count what they pass over.
const (
	Fail       OutOfRange = "fail"
	ToEarliest OutOfRange = "earliest"
	ToLatest   OutOfRange = "latest"
)

// TaskInfo is what a task starts from.
type TaskInfo struct {
	Topic     string
	Partition int32
	// View is the partition's rows; nil for a stage without changelog.
	View state.View
	// Shared is what the stage's Share made for the worker, nil without one.
	Shared Shared
	// StreamTime is the newest event time that committed input held, Unix milliseconds, 0 for none.
	StreamTime int64
}

// Shared is what tasks of one worker share. It may hold nothing that could not be lost.
type Shared interface {
	Commit() // the transaction committed
	Forget() // it aborted
}

// Task processes the records of one partition, in order, on one goroutine at a time. After an abort it is dropped and made
// anew from rolled-back state, so it needs no undo.
type Task interface {
	// Process takes one record. Bad data is no error: it becomes a dead letter in out. An error is fatal to the process.
	Process(r *kgo.Record, out *Output) error
	// Flush stages what changed into the view. It is called once per transaction.
	Flush() error
	// StreamTime is the newest event time seen, Unix milliseconds.
	StreamTime() int64
}

// Options are what the workers of all stages share.
type Options struct {
	Client      []kgo.Opt // how to reach the brokers
	GroupPrefix string    // groups are <prefix>.<stage>
	Slot        string    // identity of this process's place, see Slot
	Dir         string    // state folder
	FS          vfs.FS    // default the disk
	Cache       *pebble.Cache
	Log         *slog.Logger
	Metrics     *Metrics

	CommitInterval time.Duration // between commits while batches are small, half of it behind the first stage: the floor of the latency
	CommitStretch  time.Duration // between commits under load; a tenth of TxnTimeout, where that is longer, in a backlog
	SessionTimeout time.Duration
	TxnTimeout     time.Duration
	MaxPollRecords int
	MaxTxnRecords  int   // records in one transaction at the most
	FetchMaxBytes  int32 // of one fetch request, and half as much for a partition
	// ProduceMaxBytes is what a worker may hold of records on their way to the brokers; past it, producing waits.
	ProduceMaxBytes int
	MemTableBytes   uint64
	RestoreStall    time.Duration
	// FlushEvery is how far, in time, a store on disk may lie behind its changelog, traffic or not.
	FlushEvery time.Duration
	// Leave gives the seats of the workers up at the end. Without it their partitions wait a session timeout for them.
	Leave bool
	// Restores bounds how many partitions of the process restore at a time, and their memory together.
	Restores *state.Restores

	aside       int // records from which on the partitions of a poll, or of a commit, are worked on side by side
	pace        pace
	corruptions *corruptions
	fatal       func(error) // ends the process without waiting for its workers
}

// corruptions counts the stores of this process that were found corrupt. A second time is no accident of the disk.
type corruptions struct {
	mu   sync.Mutex
	seen map[string]bool
}

// found notes that a store is corrupt, before it is thrown away. An error means that it was so before.
func (c *corruptions) found(dir string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[dir] {
		return fmt.Errorf("%w: %w (the disk or the memory of this machine is broken: start on another one; nothing is lost, the changelog has all of it)", errCorruptTwice, err)
	}
	c.seen[dir] = true
	return nil
}

func (o *Options) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.CommitInterval, 100*time.Millisecond)
	def(&o.CommitStretch, 300*time.Millisecond)
	def(&o.SessionTimeout, 10*time.Second)
	def(&o.TxnTimeout, 10*time.Second)
	def(&o.RestoreStall, 3*time.Minute)
	def(&o.FlushEvery, 30*time.Second)
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.MaxPollRecords == 0 {
		o.MaxPollRecords = 10_000
	}
	if o.MaxTxnRecords == 0 {
		o.MaxTxnRecords = 100_000
	}
	if o.aside == 0 {
		o.aside = 256
	}
	if o.FetchMaxBytes == 0 {
		o.FetchMaxBytes = 16 << 20
	}
	if o.ProduceMaxBytes == 0 {
		o.ProduceMaxBytes = 8 << 20
	}
	if o.Restores == nil {
		o.Restores = state.NewRestores(2, 16<<20)
	}
	if o.corruptions == nil {
		o.corruptions = &corruptions{seen: map[string]bool{}}
	}
	if o.fatal == nil {
		o.fatal = func(error) {}
	}
}

// Errors are sorted here, once. Anything that is not fenced is fatal, since kgo retries what is transient.
var (
	// errFenced: another member has the partitions or the transactional id. The worker drops its batch and rejoins.
	errFenced = errors.New("fenced")
	// errRestart: the worker must rebuild its client, through no fault of its own.
	errRestart = errors.New("client must be rebuilt")
	// errCorruptTwice: a store that was wiped because it was corrupt is so again.
	errCorruptTwice = errors.New("a restored store is corrupt again")
)

// sorted says what an error of Kafka means for the worker. What comes back as it was is fatal: a record or a right is wrong,
// and trying again would not help.
func sorted(err error) error {
	for _, e := range []error{
		kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.TransactionAbortable, kerr.InvalidProducerIDMapping,
		kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.RebalanceInProgress,
	} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", errFenced, err)
		}
	}
	// The client has tried again for as long as it is told to, so this is an outage.
	if kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err) || errors.As(err, new(net.Error)) || errors.Is(err, io.EOF) ||
		errors.Is(err, kgo.ErrRecordTimeout) || errors.Is(err, kgo.ErrRecordRetries) || errors.Is(err, kgo.ErrClientClosed) {
		return fmt.Errorf("%w: %w", errRestart, err)
	}
	return err
}

// RunWorkers runs n workers for each stage until ctx ends, then finishes their transactions and returns nil; or returns the
// first fatal error.
func RunWorkers(ctx context.Context, o Options, stages []Stage, workers map[string]int) error {
	o.defaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	broken := make(chan error, 1)
	o.fatal = func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	done := make(chan error, 64*len(stages)) // nobody may be left to take it
	running := 0
	seats := map[string][]string{}
	o.pace = make(pace, len(stages))
	for order, s := range stages {
		for i := range max(1, workers[s.Name]) {
			w := newWorker(s, order, i, o)
			running++
			seats[o.group(s.Name)] = append(seats[o.group(s.Name)], w.name)
			go func() { done <- w.run(ctx) }()
		}
	}
	var first error
	var late <-chan time.Time
	for running > 0 {
		select {
		case err := <-done:
			running--
			if err != nil && first == nil {
				first = err
				cancel(err)
			}
		case first = <-broken:
			// Whoever waits for the disk may wait for ever. The others get a moment to finish their transactions.
			cancel(first)
			late = time.After(o.SessionTimeout / 2)
		case <-late:
			return first
		}
	}
	if first == nil && o.Leave {
		o.leave(seats)
	}
	return first
}

// group is the consumer group of a stage.
func (o *Options) group(stage string) string { return o.GroupPrefix + "." + stage }

// leave gives up seats, by group: a static member does not leave by closing its client. All of a group go in one request, so
// that it rebalances once. It is a courtesy: where it fails, the session timeout says the same a little later.
func (o *Options) leave(seats map[string][]string) {
	ctx, cancel := context.WithTimeout(context.Background(), o.SessionTimeout)
	defer cancel()
	cl, err := kgo.NewClient(o.Client...)
	if err != nil {
		o.Log.Warn("seats are kept until their sessions end", "err", err)
		return
	}
	defer cl.Close()
	for group, names := range seats {
		left, err := kadm.NewClient(cl).LeaveGroup(ctx, kadm.LeaveGroup(group).Reason("farcall run --leave").InstanceIDs(names...))
		for _, member := range left {
			if member.Err != nil && !errors.Is(member.Err, kerr.UnknownMemberID) { // it had not joined yet
				err = errors.Join(err, fmt.Errorf("%s: %w", member.InstanceID, member.Err))
			}
		}
		if err != nil {
			o.Log.Warn("seats are kept until their sessions end", "group", group, "err", err)
			continue
		}
		o.Log.Info("seats given up", "group", group, "members", names)
	}
}
