package deadletters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/topics"
)

// ReplayOptions say what Replay does with the letters that its filter chooses.
type ReplayOptions struct {
	// DryRun reads everything and writes nothing.
	DryRun bool
	// Again brings back, too, what came from a replay and was refused again.
	Again bool
	// Each, if set, is told what became of every source record, by one goroutine at a time.
	Each func(topics.Source, Outcome, error)
}

// Outcome is what became of a source record.
type Outcome string

// The outcomes.
const (
	Replayed   Outcome = "replayed"    // as it lies on its topic
	FromLetter Outcome = "from_letter" // gone from its topic, and the part that was bad came back from the letter
	Before     Outcome = "before"      // left alone: it came from a replay, and was refused again
	Lost       Outcome = "lost"        // gone from its topic, and the letter has only the beginning
	Failed     Outcome = "failed"      // could not be read or written now
)

// seekBeyond is how many records are read over to reach the next one that is wanted, before it is sought.
const seekBeyond = 5000

// Replay reads the source record of each letter that the filter chooses and writes it again, once, to the partition that it
// came from, with the time of now and the header topics.HeaderReplayed. Its good parts come again, too: the stages hold
// sets, so that this changes nothing. Where a source record is gone, the bad part is taken from its letter, if the letter
// holds it whole.
//
// A letter about a batch asks for all of its records, however many.
//
// It returns the number of source records by outcome, which is complete where the error is nil.
func Replay(ctx context.Context, client []kgo.Opt, topic string, f Filter, o ReplayOptions) (map[Outcome]int, error) {
	wanted := map[span]bool{}
	err := Read(ctx, client, topic, f, func(l *Letter) error {
		s := span{l.Source, min(max(l.Last, l.Source.Offset), l.Source.Offset+math.MaxInt32)} // a batch counts its offsets so far
		s.Byte = 0
		wanted[s] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := &replay{o: o, client: client, counts: map[Outcome]int{}, gone: map[topics.Source]bool{}}
	if r.producer, err = kgo.NewClient(append(slices.Clone(client), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(64<<20))...); err != nil {
		return nil, err
	}
	defer r.producer.Close()
	err = r.run(ctx, topic, f, wanted)
	return r.counts, errors.Join(err, r.producer.Flush(ctx))
}

// span is the source records that one letter is about: one, or those of a batch. Many letters may be about the same.
type span struct {
	topics.Source
	last int64 // offset
}

func (s span) batch() bool { return s.last > s.Offset }

func (r *replay) run(ctx context.Context, topic string, f Filter, wanted map[span]bool) error {
	// By partition, in the order of their offsets; a record's own letter before that of its batch.
	sources := slices.SortedFunc(maps.Keys(wanted), func(a, b span) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.last, b.last))
	})
	for len(sources) > 0 {
		n := 1
		for n < len(sources) && sources[n].Topic == sources[0].Topic && sources[n].Partition == sources[0].Partition {
			n++
		}
		if err := r.partition(ctx, sources[:n]); err != nil {
			return err
		}
		sources = sources[n:]
	}
	if len(r.gone) == 0 {
		return nil
	}
	return r.letters(ctx, topic, f)
}

// replay is one run of Replay.
type replay struct {
	o        ReplayOptions
	client   []kgo.Opt
	producer *kgo.Client
	counts   map[Outcome]int
	gone     map[topics.Source]bool
	mu       sync.Mutex // counts and o.Each: the producer reports from goroutines of its own
}

func (r *replay) done(s topics.Source, what Outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
	if r.o.Each != nil {
		r.o.Each(s, what, err)
	}
}

// partition brings back source records of one partition, in the order of their offsets, each once.
func (r *replay) partition(ctx context.Context, sources []span) error {
	in := &sourceReader{client: r.client, topic: sources[0].Topic, partition: sources[0].Partition}
	defer in.close()
	next := int64(0)
	for _, s := range sources {
		var gone int64
		at := s.Source
		for at.Offset = max(s.Offset, next); at.Offset <= s.last; at.Offset++ {
			next = at.Offset + 1
			what, err := r.record(ctx, in, at)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, errGone) && s.batch():
				from := at.Offset
				at.Offset = min(s.last, in.before(from))
				next = at.Offset + 1
				gone += next - from
			case errors.Is(err, errGone):
				r.gone[at] = true
			case what != "":
				r.done(at, what, err)
			}
		}
		if gone > 0 {
			r.done(s.Source, Lost, fmt.Errorf("%d of the records at %s/%d offsets %d to %d are %w, and their dead letter holds nothing of them", gone, s.Topic, s.Partition, s.Offset, s.last, errGone))
		}
	}
	return nil
}

// record writes one source record again. An outcome is what is known of it at once.
func (r *replay) record(ctx context.Context, in *sourceReader, s topics.Source) (Outcome, error) {
	rec, err := in.at(ctx, s.Offset)
	if err != nil {
		return Failed, err
	}
	if !r.o.Again && slices.ContainsFunc(rec.Headers, func(h kgo.RecordHeader) bool { return h.Key == topics.HeaderReplayed }) {
		return Before, nil
	}
	r.write(ctx, s, Replayed, rec.Key, rec.Value, rec.Headers)
	return "", nil
}

// letters brings back from the letters what is gone from its topic. A source record may have several letters.
func (r *replay) letters(ctx context.Context, topic string, f Filter) error {
	return Read(ctx, r.client, topic, f, func(l *Letter) error {
		s := l.Source
		s.Byte = 0
		if !r.gone[s] || l.Last > s.Offset {
			return nil
		}
		if !l.Whole() {
			r.done(l.Source, Lost, fmt.Errorf("%s/%d offset %d is %w, and its dead letter holds %d of %d bytes", s.Topic, s.Partition, s.Offset, errGone, len(l.Value), l.Size))
			return nil
		}
		r.write(ctx, l.Source, FromLetter, nil, slices.Clone(l.Value), nil)
		return ctx.Err()
	})
}

// write writes one record to where it came from.
func (r *replay) write(ctx context.Context, s topics.Source, what Outcome, key, value []byte, headers []kgo.RecordHeader) {
	if r.o.DryRun {
		r.done(s, what, nil)
		return
	}
	headers = slices.DeleteFunc(slices.Clone(headers), func(h kgo.RecordHeader) bool { return h.Key == topics.HeaderReplayed })
	rec := &kgo.Record{
		Topic: s.Topic, Partition: s.Partition, Key: key, Value: value,
		Headers: append(headers, kgo.RecordHeader{Key: topics.HeaderReplayed, Value: fmt.Appendf(nil, "%s/%d/%d", s.Topic, s.Partition, s.Offset)}),
	}
	r.producer.Produce(ctx, rec, func(_ *kgo.Record, err error) {
		if err != nil {
			r.done(s, Failed, fmt.Errorf("write %d bytes to %s/%d: %w", len(value), s.Topic, s.Partition, err))
			return
		}
		r.done(s, what, nil)
	})
}

// sourceReader reads single records of a partition, in ascending order of their offsets.
type sourceReader struct {
	client    []kgo.Opt
	topic     string
	partition int32
	cl        *kgo.Client
	first     int64 // of the partition
	end       int64 // of what is committed
	next      int64 // where the client stands, -1 for nowhere
	buf       []*kgo.Record
}

func (s *sourceReader) close() {
	if s.cl != nil {
		s.cl.Close()
	}
}

// before is the last offset of those from offset on of which nothing is left, as far as the ends of the partition tell.
func (s *sourceReader) before(offset int64) int64 {
	switch {
	case s.cl == nil || offset >= s.end:
		return math.MaxInt64
	case offset < s.first:
		return s.first - 1
	}
	return offset
}

// at returns the record at an offset. The error is errGone where the topic no longer has it, or never had it in the open.
func (s *sourceReader) at(ctx context.Context, offset int64) (*kgo.Record, error) {
	if s.cl == nil {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
	}
	if offset < s.first || offset >= s.end {
		return nil, errGone
	}
	if s.next < 0 || offset > s.next+seekBeyond {
		s.cl.RemoveConsumePartitions(map[string][]int32{s.topic: {s.partition}})
		s.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {s.partition: kgo.NewOffset().At(offset)}})
		s.buf, s.next = nil, offset
	}
	for {
		for len(s.buf) > 0 {
			rec := s.buf[0]
			if rec.Offset > offset {
				return nil, errGone // compacted or cut out
			}
			s.buf = s.buf[1:]
			if rec.Offset == offset {
				if rec.Attrs.IsControl() {
					return nil, errGone
				}
				return rec, nil
			}
		}
		if s.next > offset {
			return nil, errGone
		}
		fs := s.cl.PollFetches(ctx)
		for _, fe := range fs.Errors() {
			if errors.Is(fe.Err, kerr.OffsetOutOfRange) {
				return nil, errGone
			}
			return nil, fmt.Errorf("read %s/%d offset %d: %w", s.topic, s.partition, offset, fe.Err)
		}
		if s.buf = fs.Records(); len(s.buf) > 0 {
			s.next = s.buf[len(s.buf)-1].Offset + 1
		}
	}
}

func (s *sourceReader) open(ctx context.Context) error {
	cl, err := kgo.NewClient(append(slices.Clone(s.client),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{}), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	first, err := adm.ListStartOffsets(ctx, s.topic)
	if err == nil {
		err = first.Error()
	}
	var end kadm.ListedOffsets
	if err == nil {
		if end, err = adm.ListCommittedOffsets(ctx, s.topic); err == nil {
			err = end.Error()
		}
	}
	if err != nil {
		cl.Close()
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return errGone
		}
		return fmt.Errorf("list the offsets of %s: %w", s.topic, err)
	}
	a, _ := first.Lookup(s.topic, s.partition)
	b, _ := end.Lookup(s.topic, s.partition)
	s.cl, s.first, s.end, s.next = cl, a.Offset, b.Offset, -1
	return nil
}
