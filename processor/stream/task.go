package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// phase is where a partition stands in its life. The steps between phases are the only legal ones; any other is a bug in
// this package and panics.
type phase int32

const (
	assigned  phase = iota // the group gave it to us; its fetching is paused
	opening                // the store is being opened
	restoring              // the changelog is being read
	running                // records flow
	revoking               // taken away, or the worker ends
	closed
)

func (p phase) String() string {
	return [...]string{"assigned", "opening", "restoring", "running", "revoking", "closed"}[p]
}

var legal = map[phase][]phase{
	assigned:  {opening, revoking},
	opening:   {restoring, running, revoking},
	restoring: {running, revoking},
	running:   {revoking, opening}, // opening again: the partition came back to us, maybe by way of another member
	revoking:  {closed},
}

// partition names a topic partition.
type partition struct {
	topic string
	id    int32
}

func (p partition) String() string { return p.topic + "/" + strconv.Itoa(int(p.id)) }

// committedOffset is what the group has for a partition.
type committedOffset struct {
	offset   int64 // -1: none
	metadata string
	start    int64 // where to begin when there is none
	since    int32 // see offsetMetadata
	horizon  int64 // likewise
	topic    state.TopicID
}

// partitionTask is one assigned partition: its phase, its store, its stage task. The worker's loop owns it, but while it is
// opening or restoring its own goroutine does; ready hands it back.
type partitionTask struct {
	partition
	w         *worker
	phase     phase
	mu        sync.Mutex // phase, for metrics and health
	committed committedOffset
	store     *state.Store
	task      Task
	out       Output
	// next is the input position: the offset of the first record not processed. committedNext is that of the last commit.
	next, committedNext int64
	horizon             int64 // stream time of the last commit
	since               int32 // see offsetMetadata
	touched             bool  // in the running transaction
	skipped             *skipped
	lost                *kgo.ErrDataLoss // what the client says of the partition; passOver acts on it
	changelogNext       int64            // behind the rows of the running transaction
	produced            sync.Mutex
	cancel              context.CancelFunc
	ready               chan error
	seek                bool // the position did not come from the group: the consumer must be told
	foreign             bool // the position is of another topic
}

func (t *partitionTask) step(to phase) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ok := range legal[t.phase] {
		if ok == to {
			t.w.o.Metrics.phase(t.w.stage.Name, t.phase, to)
			t.phase = to
			return
		}
	}
	panic(fmt.Sprintf("task %s: illegal step from %s to %s", t.partition, t.phase, to))
}

func (t *partitionTask) at() phase {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase
}

// start opens and restores the task aside, so that other tasks run on and the group's callbacks return at once.
func (t *partitionTask) start(ctx context.Context) {
	ctx, t.cancel = context.WithCancel(ctx)
	t.ready = make(chan error, 1)
	t.step(opening)
	go func() {
		err := t.open(ctx)
		t.ready <- err
		t.w.wake()
	}()
}

func (t *partitionTask) open(ctx context.Context) error {
	o := &t.w.o
	if n := t.w.stage.Partitions; n > 0 && t.id >= n {
		return fmt.Errorf("%s: topic %s was made with %d partitions and has more: its keys have moved between partitions, away from their rows; start a new installation under another topics.prefix and replay the raw topics into it",
			t.partition, t.topic, n)
	}
	t.next = t.committed.offset
	if t.committed.offset < 0 {
		t.next = t.committed.start
	}
	if m, ok := parseMetadata(t.committed.metadata); ok && m.topic != (state.TopicID{}) {
		t.foreign = m.topic != t.committed.topic
	}
	if t.w.stage.Changelog == "" {
		if err := t.checkPosition(ctx); err != nil {
			return err
		}
		t.committedNext = t.next
		return t.rebuild()
	}
	if t.store == nil {
		if err := t.openStore(ctx); err != nil {
			return err
		}
	}
	t.step(restoring)
	t.store.Rollback()
	began := time.Now()
	log := o.Log.With("stage", t.w.stage.Name, "partition", t.id)
	progress := restoreProgress{t: t, log: log}
	defer progress.end()
	res, err := state.Restore{
		Client: o.Client, Ask: t.w.sess.Client(), Topic: t.w.stage.Changelog, Partition: t.id, Stall: o.RestoreStall, Log: log, Share: o.Restores,
		Progress: progress.read,
	}.Run(ctx, t.store)
	if res.Wiped != "" { // though the restore after it failed
		o.Metrics.Wiped.WithLabelValues(t.w.stage.Name, res.Wiped).Inc()
	}
	if err != nil {
		return sorted(err)
	}
	if err := t.check(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	o.Metrics.RestoreSeconds.WithLabelValues(t.w.stage.Name).Observe(took.Seconds())
	log.Debug("restored", "rows", res.Rows, "took", took, "position", t.next)
	t.committedNext = t.next
	return t.rebuild()
}

// restoreProgress tells people how far a restore is: in the log every 10 s, and in the metrics.
type restoreProgress struct {
	t             *partitionTask
	log           *slog.Logger
	began, logged time.Time // of the first answer: a restore may have waited for room before it
	rows, bytes   int
}

func (p *restoreProgress) read(rows, bytes int, remaining int64) {
	now := time.Now()
	if p.began.IsZero() {
		p.began, p.logged = now, now
	}
	p.rows += rows
	p.bytes += bytes
	m, stage, id := p.t.w.o.Metrics, p.t.w.stage.Name, strconv.Itoa(int(p.t.id))
	m.RestoredRows.WithLabelValues(stage).Add(float64(rows))
	m.RestoredBytes.WithLabelValues(stage).Add(float64(bytes))
	took := max(now.Sub(p.began).Seconds(), 0.001)
	rate := max(float64(p.rows)/took, 1)
	left := float64(remaining) / rate
	m.RestoreOffsetsLeft.WithLabelValues(stage, id).Set(float64(remaining))
	m.RestoreSecondsLeft.WithLabelValues(stage, id).Set(left)
	if now.Sub(p.logged) >= 10*time.Second {
		p.log.Info("restoring", "rows", p.rows, "bytes", p.bytes, "rows_per_second", int(rate), "megabytes_per_second", int(float64(p.bytes)/took/1e6),
			"offsets_left", remaining, "seconds_left", int(left))
		p.logged = now
	}
}

// end takes the gauges of a partition back that restores no more.
func (p *restoreProgress) end() {
	m, stage, id := p.t.w.o.Metrics, p.t.w.stage.Name, strconv.Itoa(int(p.t.id))
	m.RestoreOffsetsLeft.DeleteLabelValues(stage, id)
	m.RestoreSecondsLeft.DeleteLabelValues(stage, id)
}

// dir is the folder of the partition's store.
func (t *partitionTask) dir() string {
	return t.w.o.FS.PathJoin(t.w.o.Dir, t.w.stage.Name, strconv.Itoa(int(t.id)))
}

// corrupt says that the partition's store can't be read back and will be thrown away, to be restored in full. The second time
// it is an error that ends the process.
func (t *partitionTask) corrupt(err error) error {
	t.w.o.Metrics.Wiped.WithLabelValues(t.w.stage.Name, "corrupt").Inc()
	if twice := t.w.o.corruptions.found(t.dir(), err); twice != nil {
		return twice
	}
	t.w.log.Warn("local state is corrupt: wiped, to be restored in full", "partition", t.partition.String(), "err", err)
	return nil
}

// openStore opens the partition's folder. Another worker of this process may still have it: it was revoked there a moment
// ago, or that worker lost its group and will notice when the end of its transaction times out.
func (t *partitionTask) openStore(ctx context.Context) error {
	o := &t.w.o
	dir := t.dir()
	deadline := time.Now().Add(o.SessionTimeout + 2*o.TxnTimeout)
	for {
		s, err := state.Open(dir, state.Options{FS: o.FS, Cache: o.Cache, Log: o.Log, MemTableBytes: o.MemTableBytes, Fatal: o.fatal})
		if err == nil {
			t.store = s
			return nil
		}
		if errors.Is(err, state.ErrCorrupt) {
			if err := errors.Join(t.corrupt(err), state.Remove(o.FS, dir)); err != nil {
				return err
			}
			continue
		}
		if time.Now().After(deadline) || errors.Is(err, state.ErrFormat) || errors.Is(err, state.ErrDisk) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// check holds the restored position against the group's. Equal is the rule; a group that was empty for a week has lost its
// offsets, and then the state's count, as they do where the group answers with an older offset of farcall's own; anything else
// means that rows and offsets did not commit together.
func (t *partitionTask) check(ctx context.Context) error {
	meta, ok := t.store.Meta()
	fp := t.w.stage.Fingerprint
	switch {
	case ok && meta.Fingerprint != fp:
		return fmt.Errorf("%s: the rows of %s were written with %q and the configuration now says %q: restore the old settings, or rebuild under a new topics.prefix (farcall topics apply creates its topics; replay the raw topics into it)",
			t.partition, t.w.stage.Changelog, meta.Fingerprint, fp)
	case !ok && t.committed.offset < 0:
		return nil // a fresh installation
	case !ok && t.committed.offset >= 0:
		return fmt.Errorf("%s: the group committed offset %d but changelog %s holds no position: the changelog was deleted or recreated; reset the group's offsets to rebuild from the input, or start a new installation under another topics.prefix",
			t.partition, t.committed.offset, t.w.stage.Changelog)
	case t.committed.offset < 0:
		t.next, t.seek = meta.Input, true
		t.horizon = meta.StreamTime
		t.w.o.Log.Warn("the group has no offset for a partition whose state has one: taken from the state", "partition", t.partition.String(), "offset", meta.Input)
	case meta.Input != t.committed.offset:
		if err := t.askAgain(ctx); err != nil {
			return err
		}
		if t.forgotten(meta.Input) {
			t.horizon = meta.StreamTime
			return nil
		}
		return fmt.Errorf("%s: state is at input offset %d and the group at %d: they must be equal; the group's offsets were reset or the changelog was restored from elsewhere. Set the group's offset back to %d, or start a new installation under another topics.prefix",
			t.partition, meta.Input, t.committed.offset, meta.Input)
	default:
		t.horizon = meta.StreamTime
	}
	return nil
}

// askAgain asks where the group is now. A process that stood still since the group gave it the partition finds what its heir did
// since then.
func (t *partitionTask) askAgain(ctx context.Context) error {
	now, err := t.w.committed(ctx, t.partition)
	if err != nil {
		return sorted(fmt.Errorf("%s: ask for the group's offset again: %w", t.partition, err))
	}
	if now != t.committed.offset {
		return fmt.Errorf("%w: %s was at %d when it was given to us, and the group is at %d by now", errFenced, t.partition, t.committed.offset, now)
	}
	return nil
}

// forgotten says whether the group has forgotten what was committed up to next: it answers with an older offset, and that carries
// farcall's mark for this very topic. Then the task goes on at next. An offset that a person has set carries no mark, and one
// that was brought here from another cluster carries that of another topic.
func (t *partitionTask) forgotten(next int64) bool {
	m, ok := parseMetadata(t.committed.metadata)
	if !ok || m.topic == (state.TopicID{}) || m.topic != t.committed.topic || next <= t.committed.offset {
		return false
	}
	t.w.o.Metrics.Forgotten.WithLabelValues(t.w.stage.Name).Inc()
	t.w.log.Error("the group answers with an older offset than was committed: its coordinator has lost some; going on where the last transaction ended",
		"partition", t.partition.String(), "group", t.committed.offset, "goes_on_at", next)
	t.next, t.seek = next, true
	return true
}

// checkPosition is check for a stage without rows: against the topic of positions.
func (t *partitionTask) checkPosition(ctx context.Context) error {
	if t.committed.offset < 0 {
		t.horizon, t.since = t.committed.horizon, t.committed.since
		return nil
	}
	m, _ := parseMetadata(t.committed.metadata)
	t.horizon, t.since = m.horizon, m.since
	p, err := t.w.position(ctx, t.w.sess.Client(), t.partition, t.committed.topic)
	switch {
	case err != nil:
		return sorted(err)
	case p == nil, t.foreign, p.Next <= t.committed.offset: // less where the worker decided to pass something over
		return nil
	}
	if err := t.askAgain(ctx); err != nil {
		return err
	}
	if t.forgotten(p.Next) {
		t.horizon, t.since = p.StreamTime, p.Since
		return nil
	}
	t.w.log.Warn("the group's offset was set back: records are processed again", "partition", t.partition.String(), "from", t.committed.offset, "processed_to", p.Next)
	return nil
}

// rebuild makes the stage's task anew from committed state.
func (t *partitionTask) rebuild() error {
	info := TaskInfo{Topic: t.topic, Partition: t.id, StreamTime: t.horizon, Shared: t.w.shared}
	if t.store != nil {
		t.store.Rollback()
		info.View = t.store
	}
	var err error
	t.task, err = t.w.stage.Open(info)
	t.next = max(t.next, 0)
	t.showTime()
	return err
}

// showTime brings the metric up to the stream time of the last commit.
func (t *partitionTask) showTime() {
	if t.horizon > 0 {
		t.w.o.Metrics.StreamTime.WithLabelValues(t.w.stage.Name, t.topic, strconv.Itoa(int(t.id))).Set(float64(t.horizon) / 1000)
	}
}

// rollback forgets the running transaction.
func (t *partitionTask) rollback() error {
	t.touched = false
	t.next = t.committedNext
	return t.rebuild()
}

// close ends the task wherever it stands.
func (t *partitionTask) close() error {
	at := t.at()
	if at == closed {
		return nil
	}
	if t.cancel != nil {
		t.cancel()
	}
	if (at == opening || at == restoring) && t.ready != nil {
		<-t.ready // its goroutine owns the store until then
	}
	t.step(revoking)
	t.w.o.Metrics.StreamTime.DeleteLabelValues(t.w.stage.Name, t.topic, strconv.Itoa(int(t.id)))
	if c, ok := t.task.(interface{ Close() }); ok {
		c.Close()
	}
	var err error
	if t.store != nil {
		t.store.Rollback()
		if bad := t.store.Err(); errors.Is(bad, state.ErrCorrupt) {
			err = errors.Join(t.corrupt(bad), t.store.Discard())
		} else {
			err = t.store.Close()
		}
	}
	t.step(closed)
	return err
}

// stageRows brings the task's changes into the transaction.
func (t *partitionTask) stageRows() error {
	if err := t.task.Flush(); err != nil {
		return err
	}
	if t.store == nil {
		if t.w.stage.Positions != "" {
			r := t.out.record()
			r.Topic, r.Key = t.w.stage.Positions, topics.PositionKey(t.topic, t.id)
			r.Value = (&topics.Position{TopicID: t.committed.topic, Next: t.next, StreamTime: t.task.StreamTime(), Since: t.since}).Append(nil)
			t.out.Produce(r)
		}
		return nil
	}
	t.store.SetMeta(state.Meta{Input: t.next, StreamTime: t.task.StreamTime(), Fingerprint: t.w.stage.Fingerprint})
	t.changelogNext = 0
	acked := func(r *kgo.Record, err error) {
		if err != nil {
			t.w.acked(r, err)
			return
		}
		t.produced.Lock()
		t.changelogNext = max(t.changelogNext, r.Offset+1)
		t.produced.Unlock()
	}
	for k, v := range t.store.Changes() {
		r := t.out.record()
		r.Topic, r.Partition, r.Key, r.Value = t.w.stage.Changelog, t.id, k, v
		t.w.produce(r, acked)
	}
	return nil
}

// commit takes over what the transaction made true.
func (t *partitionTask) commit() error {
	t.touched = false
	t.committedNext = t.next
	t.horizon = t.task.StreamTime()
	t.showTime()
	if t.store == nil {
		return nil
	}
	pos, _ := t.store.Position()
	pos.Next = t.changelogNext
	if err := t.store.Commit(pos); err != nil {
		return err
	}
	return t.store.MaybeFlush(false)
}

// metadata is what the offset of the partition carries.
func (t *partitionTask) metadata(horizon int64) string {
	return offsetMetadata{horizon, t.since, t.committed.topic}.String()
}

// offsetMetadata is what farcall writes beside each offset that it commits.
type offsetMetadata struct {
	horizon int64         // stream time of the partition, for a stage that has no rows to keep it
	since   int32         // partitions that the topic had when the group began to read its latest records; 0: it began with the earliest
	topic   state.TopicID // of the input; zero where a build wrote it that did not know
}

const metadataFormat = "farcall/1 horizon=%d since=%d"

func (m offsetMetadata) String() string {
	return fmt.Sprintf(metadataFormat+" topic=%x", m.horizon, m.since, m.topic[:])
}

// parseMetadata reads it back; not ok where somebody else made the commit.
func parseMetadata(s string) (m offsetMetadata, ok bool) {
	var topic []byte
	n, _ := fmt.Sscanf(s, metadataFormat+" topic=%x", &m.horizon, &m.since, &topic)
	if n < 2 {
		return offsetMetadata{}, false
	}
	if len(topic) == len(m.topic) {
		m.topic = state.TopicID(topic)
	}
	return m, true
}
