package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// passOver decides where to go on with partitions whose position is no offset of the topic. It is called between
// transactions, before rebalances are allowed.
//
// kgo could reset by itself, but says nothing of how much is lost, and where to go on is a decision that must be made once:
// two looks at the latest offset differ, and records between them would be skipped without a trace. So the new position is
// committed before anything is read from it.
func (w *worker) passOver(ctx context.Context, gone []partition) error {
	for _, p := range gone {
		t := w.tasks[p]
		if t == nil || t.at() != running {
			continue // the error came late
		}
		w.mu.Lock()
		ours := w.owned[p]
		w.mu.Unlock()
		if !ours {
			continue // the commit of somebody who may have moved on must not be undone
		}
		if err := w.passOverOne(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) passOverOne(ctx context.Context, t *partitionTask) error {
	cl := w.sess.Client()
	if loss := t.lost; loss != nil {
		t.lost = nil
		if loss.ResetTo < t.next {
			return w.readAgain(ctx, t, loss)
		}
		// What the client had read ahead of the position, or markers.
		w.log.Warn("a broker has lost records", "partition", t.partition.String(), "position", t.next, "err", loss)
	}
	first, last, err := bounds(ctx, kadm.NewClient(cl), t.partition)
	if err != nil {
		return sorted(err)
	}
	if !t.foreign && first <= t.next && t.next <= last {
		// A replica lagged behind; or the client was at markers past the position, and they are gone.
		cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{t.topic: {t.id: {Epoch: -1, Offset: t.next}}})
		return nil
	}
	wanted := fmt.Sprintf("%s: offset %d is next and the topic has %d to %d: retention has passed it by, or the topic was recreated", t.partition, t.next, first, last)
	if t.foreign {
		wanted = fmt.Sprintf("%s: offset %d is next in another topic of that name, and this one has %d to %d: it was recreated, or the group's offsets come from another cluster", t.partition, t.next, first, last)
	}
	switch {
	case w.stage.Changelog != "":
		return fmt.Errorf("%s. The rows of %s end there and can't be brought up to date: start a new installation under another topics.prefix and replay the raw topics into it: %w",
			wanted, w.stage.Changelog, kerr.OffsetOutOfRange)
	case w.stage.OutOfRange == Fail || w.stage.OutOfRange == "":
		return fmt.Errorf("%s. Set %s.on_offset_out_of_range to earliest or latest for one start, or the offset of group %s to where farcall should go on, knowing what is skipped: %w",
			wanted, w.stage.Name, w.o.group(w.stage.Name), kerr.OffsetOutOfRange)
	}
	to := first
	if w.stage.OutOfRange == ToLatest {
		to = last
	}
	from := t.next
	if t.foreign || from > last { // of a topic that is gone; how much it held unread, nobody knows
		from = first
	}
	at := kgo.EpochOffset{Epoch: -1, Offset: to}
	if err := w.commitOffsets(ctx, cl, t.topic, map[int32]kgo.EpochOffset{t.id: at}, t.metadata(t.horizon)); err != nil {
		return sorted(fmt.Errorf("commit where %s goes on: %w", t.partition, err))
	}
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{t.topic: {t.id: at}})
	w.o.Metrics.PassedOver.WithLabelValues(w.stage.Name).Add(float64(to - from))
	w.log.Error("records were passed over", "partition", t.partition.String(), "wanted", t.next, "first", first, "last", last, "goes_on_at", to, "records", to-from)
	t.next, t.committedNext, t.foreign = to, to, false
	return nil
}

// readAgain goes back to where records were lost that a task has processed: others may be in their place.
func (w *worker) readAgain(ctx context.Context, t *partitionTask, loss *kgo.ErrDataLoss) error {
	if w.stage.Changelog != "" {
		return fmt.Errorf("%s: the brokers have lost committed records from offset %d on, of which %s has those up to %d. What is there now is others: start a new installation under another topics.prefix and replay the raw topics into it: %w",
			t.partition, loss.ResetTo, w.stage.Changelog, t.next, loss)
	}
	at := kgo.EpochOffset{Epoch: -1, Offset: loss.ResetTo}
	if err := w.commitOffsets(ctx, w.sess.Client(), t.topic, map[int32]kgo.EpochOffset{t.id: at}, ""); err != nil {
		return sorted(fmt.Errorf("commit where %s goes on: %w", t.partition, err))
	}
	w.sess.Client().SetOffsets(map[string]map[int32]kgo.EpochOffset{t.topic: {t.id: at}})
	w.log.Error("a broker has lost records that were processed: what is in their place is read", "partition", t.partition.String(), "from", loss.ResetTo, "processed_to", t.next, "err", loss)
	t.next, t.committedNext = loss.ResetTo, loss.ResetTo
	return nil
}

// bounds are the first offset of a partition and the one behind its last.
func bounds(ctx context.Context, adm *kadm.Client, p partition) (first, last int64, err error) {
	starts, err := listed(adm.ListStartOffsets(ctx, p.topic))
	if err != nil {
		return 0, 0, fmt.Errorf("list the first offsets of %s: %w", p.topic, err)
	}
	ends, err := listed(adm.ListEndOffsets(ctx, p.topic))
	if err != nil {
		return 0, 0, fmt.Errorf("list the last offsets of %s: %w", p.topic, err)
	}
	first, ok := starts[p.id]
	last, and := ends[p.id]
	if !ok || !and {
		return 0, 0, errors.Join(fmt.Errorf("topic %s has no partition %d", p.topic, p.id), kerr.UnknownTopicOrPartition)
	}
	return first, last, nil
}
