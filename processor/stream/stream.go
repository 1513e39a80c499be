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
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
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
	// Fingerprint spells the settings that its rows depend on.
	Fingerprint string
	// Start is where partitions begin that have no committed offset. Latest is for stages without a changelog; and a partition
	// that a topic gained since the group began with it is read from its first record in any case.
	Start Start
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

// TaskInfo is what a task starts from.
type TaskInfo struct {
	Topic     string
	Partition int32
	// View is the partition's rows; nil for a stage without changelog.
	View state.View
	// StreamTime is the newest event time that committed input held, Unix milliseconds, 0 for none.
	StreamTime int64
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

	CommitInterval time.Duration // between commits while batches are small: the floor of the latency
	CommitStretch  time.Duration // between commits under load
	SessionTimeout time.Duration
	TxnTimeout     time.Duration
	MaxPollRecords int
	MaxTxnRecords  int   // records in one transaction at the most
	FetchMaxBytes  int32 // of one fetch request, and half as much for a partition
	MemTableBytes  uint64
	RestoreStall   time.Duration
	// Restores bounds how many partitions of a worker restore at the same time.
	Restores int

	failed func(error) // told by a store that can't be written
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
	if o.FetchMaxBytes == 0 {
		o.FetchMaxBytes = 16 << 20
	}
	if o.Restores == 0 {
		o.Restores = 4
	}
}

// Errors are sorted here, once. Anything that is not fenced is fatal, since kgo retries what is transient.
var (
	// errFenced: another member has the partitions or the transactional id. The worker drops its batch and rejoins.
	errFenced = errors.New("fenced")
	// errRestart: the worker must rebuild its client, through no fault of its own.
	errRestart = errors.New("client must be rebuilt")
)

// sorted says what an error of Kafka means for the worker. What comes back as it was is fatal: a record or a right is wrong,
// and trying again would not help.
func sorted(err error) error {
	for _, e := range []error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.TransactionAbortable, kerr.InvalidProducerIDMapping} {
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
// first fatal error. After the failure of a disk it returns at once, with workers left behind that wait for their stores for
// ever: the process must end.
func RunWorkers(ctx context.Context, o Options, stages []Stage, workers map[string]int) error {
	o.defaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	broken := make(chan error, 1)
	o.failed = func(err error) {
		select {
		case broken <- err:
		default: // another store of the same disk was first
		}
	}
	var all []*worker
	for _, s := range stages {
		for i := range max(1, workers[s.Name]) {
			all = append(all, newWorker(s, i, o))
		}
	}
	done := make(chan error, len(all))
	for _, w := range all {
		go func() { done <- w.run(ctx) }()
	}
	var first error
	for range all {
		select {
		case err := <-broken:
			return err
		case err := <-done:
			if err != nil && first == nil {
				first = err
				cancel(err)
			}
		}
	}
	return first
}
