// Package deadletters reads the topic of dead letters for a person, and brings back what has been repaired: it reads the
// source records again, by the coordinates in the letters, and writes them to the topic that they came from. It never judges
// a record; the stages do, when it comes again.
package deadletters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/topics"
)

// Letter is one dead letter, and where it lies.
type Letter struct {
	topics.DeadLetter
	Time      time.Time // when it was written
	Partition int32     // of the dead letters' topic
	Offset    int64
}

// Filter chooses letters. The zero value chooses all.
type Filter struct {
	Stage, Reason string
	Source        Source
	Since         time.Time
}

// Source chooses source records: those of a topic, of one of its partitions, or a single one. The zero value chooses all.
type Source struct {
	Topic             string
	Partition, Offset *int64
}

// ParseSource reads TOPIC, TOPIC/PARTITION or TOPIC/PARTITION/OFFSET. No topic's name has a slash in it.
func ParseSource(s string) (Source, error) {
	parts := strings.Split(s, "/")
	src := Source{Topic: parts[0]}
	for i, to := range []**int64{&src.Partition, &src.Offset} {
		if len(parts) <= i+1 {
			break
		}
		n, err := strconv.ParseInt(parts[i+1], 10, 64)
		if err != nil || n < 0 {
			return Source{}, fmt.Errorf("source %q is not TOPIC, TOPIC/PARTITION or TOPIC/PARTITION/OFFSET", s)
		}
		*to = &n
	}
	if src.Topic == "" || len(parts) > 3 {
		return Source{}, fmt.Errorf("source %q is not TOPIC, TOPIC/PARTITION or TOPIC/PARTITION/OFFSET", s)
	}
	return src, nil
}

func (s *Source) fits(o *topics.Source) bool {
	return (s.Topic == "" || s.Topic == o.Topic) &&
		(s.Partition == nil || *s.Partition == int64(o.Partition)) &&
		(s.Offset == nil || *s.Offset == o.Offset)
}

func (f *Filter) fits(l *Letter) bool {
	return (f.Stage == "" || f.Stage == l.Stage) && (f.Reason == "" || f.Reason == l.Reason) && f.Source.fits(&l.Source) &&
		!l.Time.Before(f.Since)
}

// Read passes on the letters that the topic holds at the time of the call and that the filter chooses: oldest first within a
// partition of the topic, and one partition after the other. A letter is valid during the call only. client are the options
// that reach the brokers.
func Read(ctx context.Context, client []kgo.Opt, topic string, f Filter, each func(*Letter) error) error {
	return readAll(ctx, client, topic, f.Since, func(r *kgo.Record) error {
		l := Letter{DeadLetter: topics.ParseDeadLetter(r), Time: r.Timestamp, Partition: r.Partition, Offset: r.Offset}
		if !f.fits(&l) {
			return nil
		}
		return each(&l)
	})
}

// readAll passes on every committed record of a topic, from since up to where it ends now.
func readAll(ctx context.Context, client []kgo.Opt, topic string, since time.Time, each func(*kgo.Record) error) error {
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
		if err := readPartition(ctx, client, topic, p, start.Offset, ends[topic][p].Offset, each); err != nil {
			return err
		}
	}
	return nil
}

// readPartition passes on the committed records from start to end. Control records take offsets, and are kept for that.
func readPartition(ctx context.Context, client []kgo.Opt, topic string, p int32, start, end int64, each func(*kgo.Record) error) error {
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

// errGone is the error for a record that its topic no longer holds.
var errGone = errors.New("no longer on its topic")
