package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/farcall/farcall/topics"
)

// Restore says what to restore a store from.
type Restore struct {
	Client []kgo.Opt // how to reach the brokers
	// Ask answers questions about the changelog; nil for a client of its own. After a clean stop nothing is to be read, and then
	// a process with a hundred stores needs no other.
	Ask       *kgo.Client
	Topic     string // the changelog
	Partition int32
	// Stall is how long a restore may go without progress before it gives up; default 3 minutes.
	Stall time.Duration
	Log   *slog.Logger
	// Progress, if set, is told what was read since it was last called, and how many offsets are still to be read; every two
	// seconds at the least.
	Progress func(rows, bytes int, remaining int64)
	// Share bounds how many stores of a process restore at a time, and their memory together; nil for a share of its own.
	Share *Restores

	quiet time.Duration // without a record before the leader is asked whether any is left; default 4 seconds
}

// Restored is what a restore did.
type Restored struct {
	Rows int64
	// Wiped says why the local copy was thrown away first, "" if it was not: "foreign topic", "past the end", "truncated"
	// or "stale".
	Wiped string
}

// Run brings the store up to the high watermark of its changelog as it is now. Call it only after the group's offsets
// were fetched: by then the broker has settled the transaction of whoever owned the partition before.
//
// The target is the high watermark and never the last stable offset: an open transaction of another producer pins that
// below rows that are committed already (KAFKA-10167). Control records are kept, because transaction markers take
// offsets: without them the position would stop short of the target for ever.
func (r Restore) Run(ctx context.Context, s *Store) (out Restored, err error) {
	if r.Stall == 0 {
		r.Stall = 3 * time.Minute
	}
	if r.quiet == 0 {
		r.quiet = 4 * time.Second
	}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if r.Share == nil {
		r.Share = NewRestores(1, restoreBufferBytes)
	}
	if r.Ask == nil {
		cl, err := kgo.NewClient(r.Client...)
		if err != nil {
			return out, fmt.Errorf("restore client: %w", err)
		}
		defer cl.Close()
		r.Ask = cl
	}
	id, start, recent, target, err := r.bounds(ctx)
	if err != nil {
		return out, err
	}
	pos, known := s.Position()
	switch {
	case !known:
	case pos.Topic != id:
		out.Wiped = "foreign topic"
	case pos.Next > target:
		out.Wiped = "past the end"
	case pos.Next < start:
		out.Wiped = "truncated"
	case pos.Next < recent-1:
		// What it has not seen is so old that compaction may have dropped tombstones from it: their rows would stay here for
		// ever. One offset may always be missing, the marker behind the last transaction it took part in.
		out.Wiped = "stale"
	}
	if out.Wiped != "" {
		r.Log.Warn("local state can't be brought up to its changelog: wiped, to be restored in full", "topic", r.Topic, "partition", r.Partition,
			"why", out.Wiped, "local_next", pos.Next, "changelog_start", start, "changelog_end", target)
		if err := s.Wipe(); err != nil {
			return out, err
		}
		known = false
	}
	next := start
	if known {
		next = pos.Next
	}
	if next >= target {
		return out, s.Apply(nil, Position{Topic: id, Next: next})
	}
	g, err := r.Share.take(ctx, target-next)
	if err != nil {
		return out, err
	}
	defer r.Share.give(g)
	cl, err := g.reader(r.Client, &r.Share.pools)
	if err != nil {
		return out, err
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {r.Partition: kgo.NewOffset().At(next)}})
	defer func() {
		if err != nil {
			g.hangUp() // there is no telling what it would say to the next
			return
		}
		cl.RemoveConsumePartitions(map[string][]int32{r.Topic: {r.Partition}})
	}()

	progress := time.Now()
	cold := !known // and then nothing is in Pebble's memtables, and tombstones have nothing to bury
	tables := false
	defer s.filling.Store(false)
	apply := func(last bool) error {
		pos := Position{Topic: id, Next: next}
		var err error
		// Once there is a table the rest are tables, too: the last of them lets the compactions begin.
		if cold && (tables || g.bytes() >= ingestBytes) {
			tables = true
			s.filling.Store(!last)
			err = s.ingest(g, pos, out.Rows == 0)
		} else {
			err = s.applyBatch(g, pos)
			cold = false
		}
		out.Rows += int64(g.len())
		g.reset()
		return err
	}
	for next < target {
		pctx, cancel := context.WithTimeout(ctx, min(2*time.Second, r.Stall, r.quiet))
		fs := cl.PollFetches(pctx)
		cancel()
		if err := ctx.Err(); err != nil {
			return out, err
		}
		for _, fe := range fs.Errors() {
			if !errors.Is(fe.Err, context.DeadlineExceeded) {
				return out, fmt.Errorf("restore %s/%d at offset %d: %w", r.Topic, r.Partition, next, fe.Err)
			}
		}
		moved, rows, size := false, 0, 0
		var failed error
		fs.EachRecord(func(rec *kgo.Record) {
			defer rec.Recycle()
			if failed != nil || rec.Topic != r.Topic || rec.Partition != r.Partition {
				return
			}
			if !rec.Attrs.IsControl() {
				if full := g.full(len(rec.Key) + len(rec.Value)); full || !cold && g.bytes() >= batchBytes {
					if failed = apply(false); failed != nil {
						return
					}
				}
				g.add(rec.Key, rec.Value)
				rows++
				size += len(rec.Key) + len(rec.Value)
			}
			moved = true
			next = rec.Offset + 1
		})
		if failed != nil {
			return out, failed
		}
		if r.Progress != nil {
			r.Progress(rows, size, max(0, target-next))
		}
		switch {
		case moved:
			progress = time.Now()
		case time.Since(progress) > r.Stall:
			return out, r.stalled(ctx, next, target)
		case time.Since(progress) > r.quiet && r.ended(ctx, id, next, target):
			next = target
		}
	}
	return out, apply(true)
}

// ended asks the leader itself whether nothing is left to read in [next, target): compaction can empty the batches there,
// and then no record will ever carry the position on. Silence alone proves nothing, a throttled or slow broker is silent
// too. Where the answer is not certain it is no.
func (r Restore) ended(ctx context.Context, id TopicID, next, target int64) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	leader, err := r.leader(ctx)
	if err != nil {
		return false
	}
	for next < target {
		got, err := r.fetch(ctx, leader, id, next)
		switch {
		case err != nil || got.stable < target:
			return false
		case len(got.records) > 0:
			return got.records[0].Offset >= target
		case got.after <= next:
			return got.empty
		}
		next = got.after
	}
	return true
}

// leader is the broker that has the partition.
func (r Restore) leader(ctx context.Context) (*kgo.Broker, error) {
	md, err := kadm.NewClient(r.Ask).ListTopics(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	p, ok := md[r.Topic].Partitions[r.Partition]
	if !ok {
		return nil, kerr.UnknownTopicOrPartition
	}
	return r.Ask.Broker(int(p.Leader)), p.Err
}

// fetched is what a broker has behind an offset.
type fetched struct {
	records []*kgo.Record // committed ones, and control records
	after   int64         // where to go on
	stable  int64         // the last stable offset
	empty   bool          // there were no batches at all
}

// fetch asks a broker once, for what is committed from an offset on.
func (r Restore) fetch(ctx context.Context, leader *kgo.Broker, id TopicID, next int64) (fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel = 1
	req.MaxBytes = restoreFetchBytes
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = r.Partition, next, restoreFetchBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = r.Topic, id
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, leader)
	switch {
	case err != nil:
		return fetched{}, err
	case resp.ErrorCode != 0:
		return fetched{}, kerr.ErrorForCode(resp.ErrorCode)
	case len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1:
		return fetched{}, fmt.Errorf("the broker answered for %d topics", len(resp.Topics))
	}
	got := &resp.Topics[0].Partitions[0]
	if resp.ThrottleMillis != 0 && len(got.RecordBatches) == 0 { // that proves nothing
		return fetched{}, kerr.ThrottlingQuotaExceeded
	}
	fp, after := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: next, IsolationLevel: kgo.ReadCommitted(), Topic: r.Topic, Partition: r.Partition,
	}, got, kgo.DefaultDecompressor(), nil)
	return fetched{fp.Records, after, got.LastStableOffset, len(got.RecordBatches) == 0}, fp.Err
}

// Last returns the value of the last committed record with this key, as of now; none where there is no such record. It reads
// backwards from the end, a few kilobytes of a compacted topic whose keys are written all the time, however long that is.
// Like Run, it reads to the high watermark and waits for the transactions that are open below it.
func (r Restore) Last(ctx context.Context, key []byte) (value []byte, ok bool, err error) {
	if r.Stall == 0 {
		r.Stall = 3 * time.Minute
	}
	id, start, _, end, err := r.bounds(ctx)
	if err != nil {
		return nil, false, err
	}
	for step := int64(64); end > start; step *= 8 {
		from := max(start, end-step)
		if value, ok, err = r.lastIn(ctx, id, key, from, end); ok || err != nil {
			return value, ok, err
		}
		end = from
	}
	return nil, false, nil
}

// lastIn is Last of the offsets [next, end).
func (r Restore) lastIn(ctx context.Context, id TopicID, key []byte, next, end int64) (value []byte, ok bool, err error) {
	progress := time.Now()
	for next < end {
		leader, err := r.leader(ctx)
		var got fetched
		if err == nil {
			got, err = r.fetch(ctx, leader, id, next)
		}
		switch {
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case err != nil && !kerr.IsRetriable(err) && !kgo.IsRetryableBrokerErr(err):
			return nil, false, fmt.Errorf("read %s/%d at offset %d: %w", r.Topic, r.Partition, next, err)
		case err == nil && (got.after > next || got.empty && got.stable >= end):
			for _, rec := range got.records {
				if rec.Offset < end && !rec.Attrs.IsControl() && bytes.Equal(rec.Key, key) {
					value, ok = rec.Value, true
				}
			}
			if progress = time.Now(); got.empty {
				return value, ok, nil // compaction has emptied the rest
			}
			next = got.after
			continue
		case time.Since(progress) > r.Stall:
			return nil, false, r.stalled(ctx, next, end)
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return value, ok, nil
}

// bounds reads the topic id of the changelog and, of its partition, the first offset, the first that is too recent for its
// tombstones to be gone, and the high watermark.
func (r Restore) bounds(ctx context.Context) (id TopicID, start, recent, end int64, err error) {
	for attempt := 0; ; attempt++ {
		id, start, recent, end, err = r.boundsOnce(ctx)
		if err == nil || !kerr.IsRetriable(err) || attempt == 20 {
			return id, start, recent, end, err
		}
		select {
		case <-ctx.Done():
			return id, 0, 0, 0, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (r Restore) boundsOnce(ctx context.Context) (id TopicID, start, recent, end int64, err error) {
	md, err := kadm.NewClient(r.Ask).ListTopics(ctx, r.Topic)
	if err != nil {
		return id, 0, 0, 0, fmt.Errorf("describe changelog %s: %w", r.Topic, err)
	}
	t, ok := md[r.Topic]
	if !ok {
		return id, 0, 0, 0, fmt.Errorf("changelog %s: %w", r.Topic, kerr.UnknownTopicOrPartition)
	}
	if t.Err != nil {
		return id, 0, 0, 0, fmt.Errorf("changelog %s (farcall topics apply creates it): %w", r.Topic, t.Err)
	}
	if _, ok := t.Partitions[r.Partition]; !ok {
		return id, 0, 0, 0, fmt.Errorf("changelog %s has no partition %d", r.Topic, r.Partition)
	}
	// Half the retention, for clocks that differ.
	halfway := time.Now().Add(-topics.TombstoneRetention / 2).UnixMilli()
	const first, latest = -2, -1 // timestamps that stand for the ends of a partition
	for _, at := range []struct {
		timestamp int64
		to        *int64
	}{{first, &start}, {halfway, &recent}, {latest, &end}} {
		if *at.to, err = r.offset(ctx, at.timestamp); err != nil {
			return id, 0, 0, 0, fmt.Errorf("list offsets of %s/%d: %w", r.Topic, r.Partition, err)
		}
	}
	if recent < 0 { // no record is that recent
		recent = end
	}
	return TopicID(t.ID), start, recent, end, nil
}

// offset asks for one offset of this partition alone: a process restores a hundred of them at a time.
func (r Restore) offset(ctx context.Context, timestamp int64) (int64, error) {
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = r.Partition, timestamp
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = r.Topic, append(t.Partitions, p)
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	resp, err := req.RequestWith(ctx, r.Ask)
	if err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("the broker answered for %d topics", len(resp.Topics))
	}
	got := resp.Topics[0].Partitions[0]
	return got.Offset, kerr.ErrorForCode(got.ErrorCode)
}

// stalled says who holds the restore up.
func (r Restore) stalled(ctx context.Context, next, target int64) error {
	var open []string
	var set kadm.TopicsSet
	set.Add(r.Topic, r.Partition)
	if ps, err := kadm.NewClient(r.Ask).DescribeProducers(ctx, set); err == nil {
		ps.EachProducer(func(p kadm.DescribedProducer) {
			if p.CurrentTxnStartOffset >= 0 {
				open = append(open, fmt.Sprintf("producer id %d epoch %d since offset %d", p.ProducerID, p.ProducerEpoch, p.CurrentTxnStartOffset))
			}
		})
	}
	who := "no open transaction is reported there"
	if len(open) > 0 {
		who = "an open transaction holds it: " + strings.Join(open, "; ") + " (kafka-transactions.sh abort ends it)"
	}
	return fmt.Errorf("restore of %s/%d stalled for %s at offset %d of %d: %s", r.Topic, r.Partition, r.Stall, next, target, who)
}
