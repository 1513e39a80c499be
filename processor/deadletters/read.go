// Package deadletters reads the topic of dead letters for a person, and brings back what has been repaired: it reads the
// source records again, by the coordinates in the letters, and writes them to the topic that they came from. It never judges
// a record; the stages do, when it comes again.
package deadletters

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	return topics.Read(ctx, client, topic, f.Since, func(r *kgo.Record) error {
		l := Letter{DeadLetter: topics.ParseDeadLetter(r), Time: r.Timestamp, Partition: r.Partition, Offset: r.Offset}
		if !f.fits(&l) {
			return nil
		}
		return each(&l)
	})
}

// errGone is the error for a record that its topic no longer holds.
var errGone = errors.New("no longer on its topic")
