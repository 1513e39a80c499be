package topics

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Read passes on every committed record of a topic, from since up to where it ends now, partition by partition.
func Read(ctx context.Context, client []kgo.Opt, topic string, since time.Time, each func(*kgo.Record) error) error {
	cl, err := kgo.NewClient(client...)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var starts kadm.ListedOffsets
	if since.IsZero() {
		starts, err = adm.ListStartOffsets(ctx, topic)
	} else {
		starts, err = adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topic)
	}
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("list the first offsets of %s: %w", topic, err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("list the last offsets of %s: %w", topic, err)
	}
	for _, p := range slices.Sorted(maps.Keys(ends[topic])) {
		start, _ := starts.Lookup(topic, p)
		if err := ReadPartition(ctx, client, topic, p, start.Offset, ends[topic][p].Offset, each); err != nil {
			return err
		}
	}
	return nil
}

// ReadPartition passes on the committed records from start to end. Control records take offsets, and are kept for that.
func ReadPartition(ctx context.Context, client []kgo.Opt, topic string, p int32, start, end int64, each func(*kgo.Record) error) error {
	if start >= end {
		return nil
	}
	cl, err := kgo.NewClient(append(slices.Clone(client),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().At(start)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return fmt.Errorf("read %s/%d from offset %d: %w", topic, p, start, err)
		}
		for it := fs.RecordIter(); !it.Done(); {
			r := it.Next()
			if r.Offset >= end {
				return nil
			}
			if !r.Attrs.IsControl() {
				if err := each(r); err != nil {
					return err
				}
			}
			if start = r.Offset + 1; start >= end {
				return nil
			}
		}
	}
}
