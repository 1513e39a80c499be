package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/plugin/kprom"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// worker is one member of a stage's group, with one transactional id and so one transaction at a time.
type worker struct {
	stage  Stage
	order  int // of the stage in the flow
	number int
	name   string // <slot>-<stage>-<number>: group instance and transactional id
	o      Options
	log    *slog.Logger
	woken  chan struct{}
	alive  atomic.Int64 // Unix nanoseconds of the last turn of the loop

	sess  *kgo.GroupTransactSession
	tasks map[partition]*partitionTask
	crew  crew // of the session

	// Group callbacks run on the client's goroutines and only record what the group wants; settle acts on it.
	mu       sync.Mutex
	owned    map[partition]bool // by the assignor's latest word; nil before the first
	ownedAt  time.Time          // of that word
	up       map[partition]bool // those whose tasks run
	arrivals map[partition]committedOffset
	fetched  map[partition]committedOffset
	joined   *kgo.Client // that the callbacks last came from: they may come before the session is known to the loop

	// poison holds records whose processing panicked: they become dead letters when they come again.
	poison map[source]string
	panics []time.Time

	refused    atomic.Pointer[error]    // first record of the transaction that the broker did not take
	promise    func(*kgo.Record, error) // acked, made once
	inTxn      bool
	rewound    bool // the last transaction aborted in this turn
	txnBegan   time.Time
	txnRecords int
	full       bool // the last poll
	behind     bool // all that was polled in this transaction
	lastCommit time.Time
	lastIdle   time.Time
	lastFlush  time.Time
	shared     Shared
}

type source struct {
	partition
	offset int64
}

// rebalanceTimeout is how long the group waits for a member to join a rebalance before it goes on without it.
const rebalanceTimeout = 30 * time.Second

// maxBatchBytes is what a batch may expand to: 64 times the largest that a broker takes with its own default.
const maxBatchBytes = 64 << 20

// skipped is a batch that a task passes over in the running transaction.
type skipped struct {
	topic kadm.TopicID
	to    kgo.EpochOffset
}

// commit puts the offset behind the batch into a request to commit. The client, which knows nothing of the skip, has there
// what it read of the partition before the batch, or nothing.
func (s *skipped) commit(req *kmsg.TxnOffsetCommitRequest, p partition) {
	at := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	at.Partition, at.Offset, at.LeaderEpoch = p.id, s.to.Offset, s.to.Epoch
	for i := range req.Topics {
		if t := &req.Topics[i]; t.Topic == p.topic {
			t.Partitions = append(slices.DeleteFunc(t.Partitions, func(o kmsg.TxnOffsetCommitRequestTopicPartition) bool { return o.Partition == p.id }), at)
			return
		}
	}
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID, t.Partitions = p.topic, s.topic, append(t.Partitions, at)
	req.Topics = append(req.Topics, t)
}

// panicked is a record whose processing panicked.
type panicked struct {
	source
	err error
}

func newWorker(s Stage, order, number int, o Options) *worker {
	name := fmt.Sprintf("%s-%s-%d", o.Slot, s.Name, number)
	w := &worker{
		stage: s, order: order, number: number, name: name, o: o, log: o.Log.With("stage", s.Name, "worker", number),
		woken: make(chan struct{}, 1), poison: map[source]string{},
	}
	w.promise = w.acked
	o.Metrics.add(w)
	return w
}

// run runs the worker until ctx ends or a fatal error. A session that was fenced is thrown away with its client: a fenced
// client that lives on keeps heart-beating and holds its partitions for ever.
func (w *worker) run(ctx context.Context) error {
	backoff := 100 * time.Millisecond
	for {
		began := time.Now()
		err := w.session(ctx)
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
			return nil
		case errors.Is(err, errCorruptTwice), errors.Is(err, state.ErrDisk):
			return fmt.Errorf("stage %s: %w", w.stage.Name, err)
		case errors.Is(err, errFenced), errors.Is(err, errRestart), errors.Is(err, state.ErrCorrupt):
			w.log.Warn("worker starts anew", "err", err)
			w.o.Metrics.Restarts.WithLabelValues(w.stage.Name).Inc()
		default:
			return fmt.Errorf("stage %s: %w", w.stage.Name, err)
		}
		if time.Since(began) > time.Minute {
			backoff = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, 10*time.Second)
	}
}

// progress says whether the worker has its assignment, and how many of its partitions do not run yet.
func (w *worker) progress() (joined bool, waiting int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.owned {
		if !w.up[p] {
			waiting++
		}
	}
	return w.owned != nil, waiting
}

// forget takes back what the group said, between two sessions.
func (w *worker) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned, w.up, w.arrivals, w.fetched = nil, map[partition]bool{}, map[partition]committedOffset{}, nil
}

// wake ends the wait of a poll: a task is ready, or the group wants something.
func (w *worker) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// balancer takes ownership from the assignor's word. kgo's session skips the revoke callback after the first revoke of a
// transaction, so that an idle member would believe in partitions that it lost.
type balancer struct {
	kgo.GroupBalancer
	w *worker
}

func (b balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	m, err := b.GroupBalancer.ParseSyncAssignment(assignment)
	if err != nil {
		return m, err
	}
	owned := map[partition]bool{}
	for topic, ps := range m {
		for _, p := range ps {
			owned[partition{topic, p}] = true
		}
	}
	b.w.mu.Lock()
	b.w.owned, b.w.ownedAt = owned, time.Now()
	b.w.mu.Unlock()
	b.w.wake()
	return m, nil
}

// partitioner sends a changelog record where its task says, and any other by key, as Java's default does.
type partitioner struct {
	changelog string
	manual    kgo.Partitioner
	byKey     kgo.Partitioner
}

// keyed is Java's default.
var keyed = kgo.StickyKeyPartitioner(nil)

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.changelog {
		return p.manual.ForTopic(topic)
	}
	return p.byKey.ForTopic(topic)
}

func (w *worker) client(ctx context.Context) (*kgo.GroupTransactSession, error) {
	o := &w.o
	opts := append([]kgo.Opt{}, o.Client...)
	opts = append(opts,
		kgo.ConsumerGroup(o.group(w.stage.Name)),
		kgo.ConsumeTopics(w.stage.Inputs...),
		kgo.InstanceID(w.name),
		kgo.TransactionalID(o.GroupPrefix+"."+w.name),
		kgo.TransactionTimeout(o.TxnTimeout),
		kgo.SessionTimeout(o.SessionTimeout),
		kgo.HeartbeatInterval(o.SessionTimeout/10),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.Balancers(balancer{kgo.CooperativeStickyBalancer(), w}),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(time.Second),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxBytes(o.FetchMaxBytes),
		kgo.FetchMaxPartitionBytes(o.FetchMaxBytes/2),
		kgo.MaxDecompressBatchBytes(maxBatchBytes),
		// An offset that retention has passed by is an error that a person must decide on, never a silent jump.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.RecordPartitioner(partitioner{w.stage.Changelog, kgo.ManualPartitioner(), keyed}),
		kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(1<<20),
		// What a transaction writes goes out with its commit, which waits for no linger, or once a batch is full.
		kgo.ProducerLinger(min(o.CommitStretch, time.Second)),
		kgo.MaxBufferedRecords(100_000),
		kgo.MaxBufferedBytes(o.ProduceMaxBytes),
		kgo.MetadataMinAge(250*time.Millisecond),
		// A client registers its metrics when it is made and takes them back when it is closed.
		kgo.WithHooks(kprom.NewMetrics("farcall_kafka",
			kprom.Registerer(prometheus.WrapRegistererWith(prometheus.Labels{"stage": w.stage.Name, "worker": strconv.Itoa(w.number)}, o.Metrics.Registry)),
			kprom.Gatherer(o.Metrics.Registry),
			kprom.FetchAndProduceDetail(kprom.ByTopic, kprom.Records, kprom.CompressedBytes))),
		kgo.OnPartitionsAssigned(w.onAssigned),
		kgo.OnOffsetsFetched(w.onFetched),
		kgo.AdjustFetchOffsetsFn(w.onOffsets),
		kgo.WithContext(ctx),
	)
	if w.stage.Recycle {
		opts = append(opts, kgo.WithPools(&pools{}))
	}
	return kgo.NewGroupTransactSession(opts...)
}

// onAssigned pauses what came, before its first fetch: nothing is read until the task is ready.
func (w *worker) onAssigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	cl.PauseFetchPartitions(added)
}

// onFetched notes the metadata of the committed offsets, which kgo passes on in no other way.
func (w *worker) onFetched(_ context.Context, cl *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.joined = cl
	w.fetched = map[partition]committedOffset{}
	note := func(topic string, p int32, offset int64, metadata *string) {
		c := committedOffset{offset: offset}
		if metadata != nil {
			c.metadata = *metadata
		}
		w.fetched[partition{topic, p}] = c
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			note(t.Topic, p.Partition, p.Offset, p.Metadata)
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				note(t.Topic, p.Partition, p.Offset, p.Metadata)
			}
		}
	}
	return nil
}

// onOffsets sees where each new partition starts. By now the broker has settled the transaction of its last owner (KIP-447),
// so the high watermark of the changelog is final. A partition without a commit gets a definite offset: an abort rewinds to
// it, where it would otherwise rewind to zero.
func (w *worker) onOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	arrivals := map[partition]committedOffset{}
	w.mu.Lock()
	cl := w.joined
	w.mu.Unlock()
	ids, err := topicIDs(ctx, cl, slices.Collect(maps.Keys(offsets)))
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	for topic, ps := range offsets {
		for p, at := range ps {
			c := committedOffset{offset: at.EpochOffset().Offset}
			if f, ok := w.fetched[partition{topic, p}]; ok {
				c = f
			}
			c.topic = ids[topic]
			arrivals[partition{topic, p}] = c
		}
	}
	w.mu.Unlock()
	for topic, ps := range offsets {
		var unread []int32
		for p := range ps {
			if arrivals[partition{topic, p}].offset < 0 {
				unread = append(unread, p)
			}
		}
		if len(unread) == 0 {
			continue
		}
		starts, err := w.begin(ctx, cl, topic, ids[topic], unread)
		if err != nil {
			return nil, err
		}
		for p, c := range starts {
			arrivals[partition{topic, p}] = c
			ps[p] = kgo.NewOffset().At(c.start)
		}
	}
	w.mu.Lock()
	maps.Copy(w.arrivals, arrivals)
	w.mu.Unlock()
	w.wake()
	return offsets, nil
}

// begin says where partitions begin that the group has no offset for: where the last transaction ended, if there was one and the
// group has forgotten.
//
// The latest offset is a decision that must be made once: between two looks at it, records would be skipped without a trace.
// So it is committed before anything is read, together with the number of partitions that the topic had when the group began
// with it. A partition past those came later: nothing in it is older than the installation, and it is read from its start.
func (w *worker) begin(ctx context.Context, cl *kgo.Client, topic string, id state.TopicID, unread []int32) (map[int32]committedOffset, error) {
	adm := kadm.NewClient(cl)
	first, err := listed(adm.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("list the first offsets of %s: %w", topic, err)
	}
	starts := map[int32]committedOffset{}
	var fresh []int32
	for _, p := range unread {
		starts[p] = committedOffset{offset: -1, start: first[p], topic: id}
		last, err := w.position(ctx, cl, partition{topic, p}, id)
		switch {
		case err != nil:
			return nil, err
		case last == nil:
			fresh = append(fresh, p)
		default:
			starts[p] = committedOffset{offset: -1, start: last.Next, horizon: last.StreamTime, since: last.Since, topic: id}
			w.log.Warn("the group has no offset for a partition that was processed: going on where the last transaction ended", "partition", partition{topic, p}.String(), "offset", last.Next)
		}
	}
	if len(fresh) == 0 {
		return starts, nil
	}
	if w.stage.Start != Latest || w.stage.Changelog != "" {
		return starts, nil
	}
	last, err := listed(adm.ListEndOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("list the last offsets of %s: %w", topic, err)
	}
	since := int32(len(last))
	known, err := adm.FetchOffsets(ctx, w.o.group(w.stage.Name))
	if err != nil {
		return nil, fmt.Errorf("fetch the group's offsets: %w", err)
	}
	for _, o := range known[topic] {
		if o.Err != nil {
			return nil, fmt.Errorf("fetch the group's offsets: %w", o.Err)
		}
		m, _ := parseMetadata(o.Metadata)
		since = min(since, m.since)
	}
	commit := map[int32]kgo.EpochOffset{}
	for _, p := range fresh {
		c := committedOffset{offset: -1, start: first[p], since: since, topic: id}
		if p < since {
			c.start = last[p]
		}
		starts[p] = c
		commit[p] = kgo.EpochOffset{Epoch: -1, Offset: c.start}
	}
	if err := w.commitOffsets(ctx, cl, topic, commit, offsetMetadata{since: since, topic: id}.String()); err != nil {
		return nil, fmt.Errorf("commit where %s begins: %w", topic, err)
	}
	return starts, nil
}

// position is what the topic of positions has for a partition of an input; nil for nothing, or for nothing about this topic id.
func (w *worker) position(ctx context.Context, cl *kgo.Client, p partition, id state.TopicID) (*topics.Position, error) {
	if w.stage.Positions == "" {
		return nil, nil
	}
	details, err := kadm.NewClient(cl).ListTopics(ctx, w.stage.Positions)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("describe %s (farcall topics apply creates it): %w", w.stage.Positions, err)
	}
	key := topics.PositionKey(p.topic, p.id)
	at := keyed.ForTopic(w.stage.Positions).Partition(&kgo.Record{Key: key}, len(details[w.stage.Positions].Partitions))
	value, ok, err := state.Restore{Ask: cl, Topic: w.stage.Positions, Partition: int32(at), Stall: w.o.RestoreStall}.Last(ctx, key)
	if err != nil || !ok {
		return nil, err
	}
	last := new(topics.Position)
	if err := last.Decode(value); err != nil {
		return nil, fmt.Errorf("the position of %s in %s/%d: %w", p, w.stage.Positions, at, err)
	}
	if last.TopicID != id {
		w.log.Warn("the input was recreated since farcall last read it", "partition", p.String(), "processed_to", last.Next)
		return nil, nil
	}
	return last, nil
}

// topicIDs are the ids of topics.
func topicIDs(ctx context.Context, cl *kgo.Client, names []string) (map[string]state.TopicID, error) {
	details, err := kadm.NewClient(cl).ListTopics(ctx, names...)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("describe the input: %w", err)
	}
	ids := map[string]state.TopicID{}
	for name, d := range details {
		ids[name] = state.TopicID(d.ID)
	}
	return ids, nil
}

// committed is the group's offset of a partition, once no transaction is open that may change it; -1 where there is none.
func (w *worker) committed(ctx context.Context, p partition) (int64, error) {
	offsets, err := kadm.NewClient(w.sess.Client()).FetchOffsets(kadm.RequireStable(ctx), w.o.group(w.stage.Name))
	if err != nil {
		return 0, err
	}
	at, ok := offsets.Lookup(p.topic, p.id)
	if !ok {
		return -1, nil
	}
	return at.At, at.Err
}

// commitOffsets commits positions outside a transaction: for decisions about where to read, which must be made once.
func (w *worker) commitOffsets(ctx context.Context, cl *kgo.Client, topic string, commit map[int32]kgo.EpochOffset, metadata string) (err error) {
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for _, t := range req.Topics {
			for i := range t.Partitions {
				t.Partitions[i].Metadata = &metadata
			}
		}
		return nil
	})
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: commit},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, failed error) {
			err = failed
			if err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
				}
			}
		})
	return err
}

// listed are the offsets of one topic, by partition.
func listed(l kadm.ListedOffsets, err error) (map[int32]int64, error) {
	offsets := map[int32]int64{}
	l.Each(func(o kadm.ListedOffset) {
		offsets[o.Partition] = o.Offset
		err = errors.Join(err, o.Err)
	})
	return offsets, err
}

// session is the life of one client.
func (w *worker) session(ctx context.Context) (err error) {
	w.forget()
	w.tasks = map[partition]*partitionTask{}
	w.inTxn = false
	w.crew = newCrew()
	defer close(w.crew)
	if w.stage.Share != nil {
		w.shared = w.stage.Share()
	}
	alive, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	if w.sess, err = w.client(alive); err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	go w.watchOwners(alive, w.sess.Client())
	defer func() {
		// The client goes first: it must not hold partitions whose tasks are gone. Closing waits for the answer to a join,
		// which the broker gives when all other members have joined: too long for a stop, and a static member has nothing to
		// say in it.
		late := time.AfterFunc(w.o.SessionTimeout/5, kill)
		defer late.Stop()
		w.sess.CloseAllowingRebalance()
		for _, t := range w.tasks {
			err = errors.Join(err, t.close())
		}
		w.tasks = nil
		w.forget()
	}()
	for {
		w.alive.Store(time.Now().UnixNano())
		if err := w.turn(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return w.finish()
		}
	}
}

// finish commits what is processed before the worker ends.
func (w *worker) finish() error {
	if !w.inTxn {
		return nil
	}
	return w.commit()
}

// turn is one round of the loop: poll, act on what the group wants, process, commit when it is due.
func (w *worker) turn(ctx context.Context) error {
	wait := time.Second
	if w.inTxn {
		wait = max(0, time.Until(w.due()))
	} else if len(w.tasks) > 0 {
		wait = min(wait, w.o.CommitInterval*5)
	}
	w.rewound = false
	fs := w.poll(ctx, wait)
	oversized, gone, err := w.fetchErrors(fs)
	if err != nil {
		return err
	}
	if err := w.settle(ctx, fs); err != nil {
		return err
	}
	for p, t := range w.tasks {
		if t.at() == running && t.foreign { // in this order: until it runs, the task is its own
			gone = append(gone, p)
		}
	}
	if n := fs.NumRecords(); n > 0 {
		if err := w.process(fs, n); err != nil {
			return err
		}
	}
	for _, batch := range oversized {
		if err := w.skip(ctx, batch); err != nil {
			return err
		}
	}
	switch {
	case w.inTxn && (len(gone) > 0 || !time.Now().Before(w.due()) || w.txnRecords >= w.o.MaxTxnRecords):
		if err := w.commit(); err != nil {
			return err
		}
		if err := w.passOver(ctx, gone); err != nil {
			return err
		}
		w.sess.AllowRebalance()
	case !w.inTxn:
		if err := w.passOver(ctx, gone); err != nil {
			return err
		}
		if err := w.idle(); err != nil {
			return err
		}
		w.sess.AllowRebalance()
	}
	if time.Since(w.lastFlush) > w.o.FlushEvery {
		w.lastFlush = time.Now()
		for _, t := range w.tasks {
			if t.at() == running && t.store != nil {
				if err := t.store.MaybeFlush(true); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *worker) poll(ctx context.Context, wait time.Duration) kgo.Fetches {
	pctx, cancel := context.WithTimeout(ctx, wait)
	// The watcher has ended before poll returns: a wake that it took for itself is acted on in this turn, any other stays for
	// the next.
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		select {
		case <-w.woken:
			cancel()
		case <-pctx.Done():
		}
	}()
	return w.sess.PollRecords(pctx, w.o.MaxPollRecords)
}

// fetchErrors sorts what a poll could not fetch. Batches that expand past the cap are returned, where they may be skipped; and
// gone, the partitions whose position is no offset of the topic.
func (w *worker) fetchErrors(fs kgo.Fetches) (oversized []*kgo.ErrDecompressTooLarge, gone []partition, err error) {
	for _, fe := range fs.Errors() {
		var batch *kgo.ErrDecompressTooLarge
		var loss *kgo.ErrDataLoss
		switch {
		case errors.Is(fe.Err, context.DeadlineExceeded), errors.Is(fe.Err, context.Canceled):
		case errors.Is(fe.Err, kgo.ErrClientClosed):
			return nil, nil, fmt.Errorf("%w: %w", errRestart, fe.Err)
		case errors.Is(fe.Err, kerr.OffsetOutOfRange):
			gone = append(gone, partition{fe.Topic, fe.Partition})
		case errors.As(fe.Err, &loss):
			p := partition{fe.Topic, fe.Partition}
			if t := w.tasks[p]; t != nil && t.at() == running {
				t.lost = loss
				gone = append(gone, p)
			}
		case errors.As(fe.Err, &batch):
			if w.stage.Changelog != "" { // farcall's own topic, and farcall writes no such batch
				return nil, nil, fmt.Errorf("%s/%d: a batch expands to more than %d bytes: %w", fe.Topic, fe.Partition, maxBatchBytes, fe.Err)
			}
			oversized = append(oversized, batch)
		case kerr.IsRetriable(fe.Err), isGroupError(fe.Err):
			w.log.Info("fetch failed, will go on", "topic", fe.Topic, "partition", fe.Partition, "err", fe.Err)
		default:
			return nil, nil, sorted(fmt.Errorf("fetch %s/%d: %w", fe.Topic, fe.Partition, fe.Err))
		}
	}
	return oversized, gone, nil
}

// ReasonBatch is the reason of the dead letter of a batch that expands past the cap.
const ReasonBatch = "batch_too_large"

// skip makes one dead letter of a batch that expands past the cap. The client has stopped fetching the partition and goes on
// behind the batch once the transaction has committed, not before: an abort must meet the batch again.
func (w *worker) skip(ctx context.Context, batch *kgo.ErrDecompressTooLarge) error {
	t := w.tasks[partition{batch.Topic, batch.Partition}]
	if t == nil || t.at() != running {
		return nil // taken away: the next owner meets it
	}
	if w.rewound {
		// The records before the batch come again, and nothing makes the client tell of the batch again.
		return fmt.Errorf("%w: %s was rewound before a batch that is too large", errRestart, t.partition)
	}
	details, err := kadm.NewClient(w.sess.Client()).ListTopics(ctx, batch.Topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return fmt.Errorf("%w: metadata of %s: %w", errRestart, batch.Topic, err)
	}
	if err := w.beginTxn(); err != nil {
		return err
	}
	w.behind = false // nothing says whether it is
	w.log.Error("a batch expands past the cap and will become a dead letter", "partition", t.partition.String(), "from", batch.Offset, "to", batch.NextOffset-1)
	first := max(t.next, batch.Offset)
	t.out.DeadLetter(&topics.DeadLetter{
		Stage: w.stage.Name, Reason: ReasonBatch, Last: batch.NextOffset - 1,
		Detail: fmt.Sprintf("a batch that expands to more than %d bytes: its records, offsets %d to %d, were not read", maxBatchBytes, first, batch.NextOffset-1),
		Source: topics.Source{Topic: batch.Topic, Partition: batch.Partition, Offset: first},
	})
	t.touched = true
	t.next = batch.NextOffset
	t.skipped = &skipped{topic: details[batch.Topic].ID, to: kgo.EpochOffset{Epoch: batch.Epoch, Offset: batch.NextOffset}}
	w.txnRecords++
	return nil
}

// isGroupError says whether an injected group error is one that the client recovers from by itself.
func isGroupError(err error) bool {
	var g *kgo.ErrGroupSession
	return errors.As(err, &g)
}

// settle makes the tasks what the group wants them to be. polled is what the loop is about to process.
func (w *worker) settle(ctx context.Context, polled kgo.Fetches) error {
	w.mu.Lock()
	owned := w.owned
	arrivals := w.arrivals
	w.arrivals = map[partition]committedOffset{}
	w.mu.Unlock()
	busy := map[partition]bool{}
	polled.EachPartition(func(f kgo.FetchTopicPartition) { busy[partition{f.Topic, f.Partition}] = len(f.Records) > 0 })
	for p, t := range w.tasks {
		// The assignor's word comes before the client lets go of a partition, which it does between transactions. What was
		// read of the partition until then commits with the offsets of the others, so its task stays to add its rows.
		if owned == nil || owned[p] || t.touched || busy[p] {
			continue
		}
		w.log.Info("partition revoked", "partition", p.String())
		w.sess.Client().PauseFetchPartitions(map[string][]int32{p.topic: {p.id}}) // until it is ours again
		if err := t.close(); err != nil {
			return err
		}
		delete(w.tasks, p)
		maps.DeleteFunc(w.poison, func(s source, _ string) bool { return s.partition == p })
	}
	for p, c := range arrivals {
		if owned != nil && !owned[p] {
			continue
		}
		t := w.tasks[p]
		if t != nil && (t.touched || busy[p]) {
			return fmt.Errorf("%w: %s was given to us again in the middle of a transaction", errRestart, p)
		}
		if t != nil && t.at() != running { // it was taken away and given back while it opened
			if err := t.close(); err != nil {
				return err
			}
			t = nil
		}
		if t == nil {
			t = &partitionTask{partition: p, w: w, out: Output{w: w}}
			w.o.Metrics.phase(w.stage.Name, -1, assigned)
			w.tasks[p] = t
		}
		t.committed = c
		t.start(ctx)
	}
	for p, t := range w.tasks {
		if at := t.at(); at != opening && at != restoring {
			continue
		}
		select {
		case err := <-t.ready:
			t.ready = nil
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err != nil {
				continue // the worker ends, and the other tasks commit first
			}
			t.step(running)
			if t.seek {
				w.sess.Client().SetOffsets(map[string]map[int32]kgo.EpochOffset{p.topic: {p.id: {Epoch: -1, Offset: t.next}}})
				t.seek = false
			}
			w.sess.Client().ResumeFetchPartitions(map[string][]int32{p.topic: {p.id}})
			w.log.Info("partition running", "partition", p.String(), "position", t.next)
		default:
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.up)
	for p, t := range w.tasks {
		w.up[p] = t.at() == running
	}
	return nil
}

// idle begins and ends an empty transaction now and then: only End resets the session's note of a revoke. It aborts, because
// kgo takes a commit without offsets for one on a broker older than KIP-447 and holds the session's lock for 500 ms.
func (w *worker) idle() error {
	if time.Since(w.lastIdle) < time.Second {
		return nil
	}
	w.lastIdle = time.Now()
	if err := w.sess.Begin(); err != nil {
		return fmt.Errorf("%w: begin: %w", errRestart, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.o.TxnTimeout)
	defer cancel()
	if _, err := w.sess.End(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("%w: end of an idle transaction: %w", errRestart, err)
	}
	return nil
}

// beginTxn begins a transaction, if none is running.
func (w *worker) beginTxn() error {
	if w.inTxn {
		return nil
	}
	if err := w.sess.Begin(); err != nil {
		return fmt.Errorf("%w: begin: %w", errRestart, err)
	}
	w.inTxn, w.txnBegan, w.txnRecords, w.behind = true, time.Now(), 0, true
	w.refused.Store(nil)
	return nil
}

// crew are goroutines, as many as run at a time, that do what can be done side by side. They live as long as a session: the stack of a
// new one would grow step by step, for each partition of each poll. It ends when the channel is closed.
type crew chan func()

func newCrew() crew {
	c := make(crew)
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for do := range c {
				do()
			}
		}()
	}
	return c
}

// run has one of the crew do something, once one has nothing else to do. Of a few records it does it itself: to wake somebody takes as
// long as a record does.
func (c crew) run(wg *sync.WaitGroup, few bool, do func()) {
	if few {
		do()
		return
	}
	wg.Add(1)
	c <- func() {
		defer wg.Done()
		do()
	}
}

// process runs the records of a poll through their tasks, side by side unless they are few.
func (w *worker) process(fs kgo.Fetches, n int) error {
	if err := w.beginTxn(); err != nil {
		return err
	}
	w.txnRecords += n
	w.full = n >= w.o.MaxPollRecords/2
	w.behind = w.behind && waits(fs, w.o.MaxPollRecords, w.o.MaxTxnRecords)
	w.o.pace.note(w.order, w.behind)
	w.o.Metrics.Records.WithLabelValues(w.stage.Name).Add(float64(n))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	var found []panicked
	feed := func(t *partitionTask, records []*kgo.Record) {
		bad, err := w.feed(t, records)
		mu.Lock()
		defer mu.Unlock()
		if bad != nil {
			found = append(found, *bad)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	var last func() // runs here, where the stack has grown already
	fs.EachPartition(func(ftp kgo.FetchTopicPartition) {
		if len(ftp.Records) == 0 {
			return
		}
		t := w.tasks[partition{ftp.Topic, ftp.Partition}]
		if t == nil || t.at() != running {
			mu.Lock()
			errs = append(errs, fmt.Errorf("%w: records of %s/%d arrived before its task was running", errRestart, ftp.Topic, ftp.Partition))
			mu.Unlock()
			return
		}
		if last != nil {
			w.crew.run(&wg, n < w.o.aside, last)
		}
		last = func() { feed(t, ftp.Records) }
	})
	if last != nil {
		last()
	}
	wg.Wait()
	if len(errs) == 0 && len(found) > 0 {
		return w.recoverPanics(found)
	}
	return errors.Join(errs...)
}

// feed gives records to a task. A record whose processing panics is returned.
func (w *worker) feed(t *partitionTask, records []*kgo.Record) (bad *panicked, err error) {
	var at *kgo.Record
	defer func() {
		if p := recover(); p != nil {
			bad = &panicked{source{t.partition, at.Offset}, fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	if r := records[0]; r.Offset < t.next {
		return nil, fmt.Errorf("%w: offset %d of %s came again at position %d", errRestart, r.Offset, t.partition, t.next)
	}
	t.touched = true
	for _, r := range records {
		at = r
		if why, ok := w.poison[source{t.partition, r.Offset}]; ok {
			t.out.DeadLetter(&topics.DeadLetter{
				Stage: w.stage.Name, Reason: "panic", Detail: why, Value: r.Value,
				Source: topics.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset},
			})
		} else if err := t.task.Process(r, &t.out); err != nil {
			return nil, fmt.Errorf("%s offset %d: %w", t.partition, r.Offset, err)
		}
		t.next = r.Offset + 1
		if w.stage.Recycle {
			r.Recycle() // here, while what the client clears of it is still in the processor's cache
		}
	}
	return nil, nil
}

// recoverPanics aborts, so that nothing half-done is kept, and marks the records for the dead letters. Three in a minute mean
// that the program is broken, not the record.
func (w *worker) recoverPanics(found []panicked) error {
	now := time.Now()
	w.panics = slices.DeleteFunc(w.panics, func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	var errs []error
	for _, p := range found {
		w.log.Error("a record panicked and will become a dead letter", "partition", p.partition.String(), "offset", p.offset, "err", p.err)
		w.poison[p.source] = "processing it panicked; the log of " + w.name + " has the stack"
		w.panics = append(w.panics, now)
		errs = append(errs, fmt.Errorf("%s offset %d: %w", p.partition, p.offset, p.err))
	}
	if len(w.panics) >= 3 {
		return fmt.Errorf("three records panicked within a minute, the last ones being: %w", errors.Join(errs...))
	}
	return w.end(kgo.TryAbort)
}

// commit ends the running transaction: rows and offsets of every touched task join its output, then Kafka decides, and only
// then do the stores follow.
func (w *worker) commit() error {
	var wg sync.WaitGroup
	errs := make(chan error, len(w.tasks))
	for _, t := range w.tasks {
		if !t.touched {
			continue
		}
		w.crew.run(&wg, w.txnRecords < w.o.aside, func() {
			if err := t.stageRows(); err != nil {
				errs <- fmt.Errorf("%s: %w", t.partition, err)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	// A record that was refused must not be missing from a transaction that commits; kgo fails the transaction for some
	// refusals and not for others.
	ctx, cancel := context.WithTimeout(context.Background(), w.o.TxnTimeout)
	defer cancel()
	if err := w.sess.Client().Flush(ctx); err != nil {
		return fmt.Errorf("%w: flush: %w", errRestart, err)
	}
	if err := w.refused.Load(); err != nil {
		return sorted(*err)
	}
	return w.end(kgo.TryCommit)
}

func (w *worker) end(try kgo.TransactionEndTry) error {
	began := time.Now()
	// Past its timeout the broker aborts the transaction. And End would wait for ever where the member lost its group during
	// it: for a heartbeat that nobody sends, while the word of the loss waits for rebalances to be allowed.
	ctx, cancel := context.WithTimeout(context.Background(), w.o.TxnTimeout)
	defer cancel()
	committed, err := w.sess.End(kgo.PreTxnCommitFnContext(ctx, w.precommit), try)
	w.inTxn, w.lastCommit = false, time.Now()
	if err != nil {
		w.o.Metrics.Transactions.WithLabelValues(w.stage.Name, "error").Inc()
		if errors.Is(err, errPosition) {
			return err
		}
		// Whether the transaction committed may be unknown. A new client fences it and the stores restore what it wrote.
		return fmt.Errorf("%w: end of a transaction: %w", errFenced, err)
	}
	if !committed {
		w.o.Metrics.Transactions.WithLabelValues(w.stage.Name, "aborted").Inc()
		w.rewound = true
		if w.shared != nil {
			w.shared.Forget()
		}
		for _, t := range w.tasks {
			if t.skipped != nil {
				return fmt.Errorf("%w: the transaction that skips a batch of %s aborted", errRestart, t.partition)
			}
			if t.touched {
				if err := t.rollback(); err != nil {
					return err
				}
			}
		}
		w.lastCommit = time.Time{}
		return nil
	}
	if w.shared != nil {
		w.shared.Commit()
	}
	w.o.Metrics.Transactions.WithLabelValues(w.stage.Name, "committed").Inc()
	w.o.Metrics.CommitSeconds.WithLabelValues(w.stage.Name).Observe(time.Since(began).Seconds())
	w.o.Metrics.TransactionRecords.WithLabelValues(w.stage.Name).Observe(float64(w.txnRecords))
	for _, t := range w.tasks {
		if t.touched {
			if err := t.commit(); err != nil {
				return err
			}
		}
		if t.skipped != nil {
			w.sess.Client().SetOffsets(map[string]map[int32]kgo.EpochOffset{t.topic: {t.id: t.skipped.to}})
			t.skipped = nil
		}
	}
	maps.DeleteFunc(w.poison, func(s source, _ string) bool {
		t := w.tasks[s.partition]
		return t != nil && s.offset < t.committedNext
	})
	return nil
}

var errPosition = errors.New("position differs from the offset about to be committed")

// precommit checks that what is committed is what the tasks processed, and adds their stream times.
func (w *worker) precommit(req *kmsg.TxnOffsetCommitRequest) error {
	for _, t := range w.tasks {
		if t.skipped != nil {
			t.skipped.commit(req, t.partition)
		}
	}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			t := w.tasks[partition{req.Topics[i].Topic, p.Partition}]
			if t == nil {
				return fmt.Errorf("the client would commit %s/%d at %d, which has no task", req.Topics[i].Topic, p.Partition, p.Offset)
			}
			if t.touched && p.Offset != t.next {
				return fmt.Errorf("%w: %s processed up to %d, the client would commit %d", errPosition, t.partition, t.next, p.Offset)
			}
			if t.at() == running {
				m := t.metadata(t.task.StreamTime())
				p.Metadata = &m
			}
		}
	}
	return nil
}

// Output collects what a task writes into the running transaction. It is not safe for concurrent use.
type Output struct {
	w *worker
	// Records and their bytes are made by the slab: most are small, and many.
	records []kgo.Record
	bytes   []byte
}

// The sizes of slabs.
const (
	slabRecords = 64
	slabBytes   = 16 << 10
)

// Produce writes a record. Key and value must not be reused by the caller.
func (o *Output) Produce(r *kgo.Record) { o.w.produce(r, o.w.promise) }

// Tell writes a record with copies of key and value.
func (o *Output) Tell(topic string, key, value []byte) {
	r := o.record()
	if len(key)+len(value) > cap(o.bytes)-len(o.bytes) {
		o.bytes = make([]byte, 0, max(slabBytes, len(key)+len(value)))
	}
	from := len(o.bytes)
	o.bytes = append(append(o.bytes, key...), value...)
	at, end := from+len(key), len(o.bytes)
	r.Topic, r.Key, r.Value = topic, o.bytes[from:at:at], o.bytes[at:end:end]
	o.Produce(r)
}

func (o *Output) record() *kgo.Record {
	if len(o.records) == 0 {
		o.records = make([]kgo.Record, slabRecords)
	}
	r := &o.records[0]
	o.records = o.records[1:]
	return r
}

// DeadLetter writes a dead letter and counts it.
func (o *Output) DeadLetter(d *topics.DeadLetter) {
	o.w.o.Metrics.Dropped.WithLabelValues(d.Stage, d.Reason).Inc()
	o.Produce(d.Record(topics.NamesFor(o.w.o.GroupPrefix).DeadLetters))
}

func (w *worker) produce(r *kgo.Record, acked func(*kgo.Record, error)) {
	w.sess.Produce(context.Background(), r, acked)
}

// acked notes the first record of a transaction that the broker did not take.
func (w *worker) acked(r *kgo.Record, err error) {
	if err != nil && !errors.Is(err, kgo.ErrAborting) {
		why := fmt.Errorf("produce %d bytes to %s: %w", len(r.Key)+len(r.Value), r.Topic, err) // the address of err itself would put it on the heap each time
		w.refused.CompareAndSwap(nil, &why)
	}
}
