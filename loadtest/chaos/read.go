package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics and groups, from topics/FORMAT.md.
const (
	visitsTopic     = prefix + ".visits"
	principalsTopic = prefix + ".principals"
	alertsTopic     = prefix + ".alerts"
	lettersTopic    = prefix + ".dead-letters"
	detectTopic     = prefix + ".detect.changelog"
	triageTopic     = prefix + ".triage.changelog"
)

var inputOf = map[string]string{"route": rawTopic, "detect": visitsTopic, "triage": principalsTopic}

// readTopic gives every committed record of a topic to each, in order within a partition, from the given offset of each partition
// on (none: the first). Nobody may write to it any more.
func readTopic(ctx context.Context, brokers []string, topic string, from map[int32]int64, each func(r *kgo.Record)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.MetadataMinAge(250*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("%s could not be read to its end", topic))
	defer cancel()
	left, err := settled(ctx, kadm.NewClient(cl), topic)
	if err != nil {
		return err
	}
	maps.DeleteFunc(left, func(n int32, end int64) bool { return end <= from[n] })
	starts := map[int32]kgo.Offset{}
	for n := range left {
		starts[n] = kgo.NewOffset().AtStart()
		if at, ok := from[n]; ok {
			starts[n] = kgo.NewOffset().At(at)
		}
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts})
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				each(r)
			}
		})
		// Aborted records are not handed out, their markers are: the last record of a partition is seen in any case.
	}
	return nil
}

// settled waits until no transaction is open on a topic, and returns the ends of its partitions that hold anything.
func settled(ctx context.Context, adm *kadm.Client, topic string) (map[int32]int64, error) {
	for {
		stable, err := adm.ListCommittedOffsets(ctx, topic)
		if err == nil {
			err = stable.Error()
		}
		ends, err2 := adm.ListEndOffsets(ctx, topic)
		if err := errors.Join(err, err2, ends.Error()); err == nil {
			open := false
			left := map[int32]int64{}
			ends.Each(func(o kadm.ListedOffset) {
				s, _ := stable.Lookup(topic, o.Partition)
				open = open || s.Offset < o.Offset
				if o.Offset > 0 {
					left[o.Partition] = o.Offset
				}
			})
			if !open {
				return left, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// read reads what the run left behind.
func read(ctx context.Context, brokers []string) (reading, error) {
	r := reading{
		detect: map[int32]map[string]string{}, triage: map[int32]map[string]string{},
		inputs: map[string]map[int32]int64{}, committed: map[string]map[int32]int64{},
	}
	ends := func(stage string) func(rec *kgo.Record) {
		r.inputs[stage] = map[int32]int64{}
		return func(rec *kgo.Record) { r.inputs[stage][rec.Partition] = rec.Offset + 1 }
	}
	keep := func(to *[]record, also func(*kgo.Record)) func(*kgo.Record) {
		return func(rec *kgo.Record) {
			c := record{at: at{rec.Partition, rec.Offset}, key: string(rec.Key), value: string(rec.Value), headers: map[string]string{}}
			for _, h := range rec.Headers {
				c.headers[h.Key] = string(h.Value)
			}
			*to = append(*to, c)
			if also != nil {
				also(rec)
			}
		}
	}
	compact := func(to map[int32]map[string]string) func(*kgo.Record) {
		for n := range int32(partitions) {
			to[n] = map[string]string{}
		}
		return func(rec *kgo.Record) {
			if rec.Value == nil {
				delete(to[rec.Partition], string(rec.Key))
			} else {
				to[rec.Partition][string(rec.Key)] = string(rec.Value)
			}
		}
	}
	for topic, each := range map[string]func(*kgo.Record){
		rawTopic: keep(&r.raw, ends("route")), visitsTopic: ends("detect"), principalsTopic: ends("triage"),
		alertsTopic: keep(&r.alerts, nil), lettersTopic: keep(&r.letters, nil),
		detectTopic: compact(r.detect), triageTopic: compact(r.triage),
	} {
		if err := readTopic(ctx, brokers, topic, nil, each); err != nil {
			return r, fmt.Errorf("read %s: %w", topic, err)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return r, err
	}
	defer cl.Close()
	for stage := range inputOf {
		if r.committed[stage], err = committed(ctx, kadm.NewClient(cl), stage); err != nil {
			return r, err
		}
	}
	return r, nil
}

// committed are the offsets of a stage's group.
func committed(ctx context.Context, adm *kadm.Client, stage string) (map[int32]int64, error) {
	os, err := adm.FetchOffsets(ctx, prefix+"."+stage)
	if err == nil {
		err = os.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the offsets of group %s: %w", prefix+"."+stage, err)
	}
	at := map[int32]int64{}
	for n, o := range os[inputOf[stage]] {
		if o.At >= 0 {
			at[n] = o.At
		}
	}
	return at, nil
}

// behind says which records the stages have not committed yet: nothing, when they have come to the end of their inputs. Behind the
// last record of a partition lie the markers of its transactions, and what was aborted, so that offsets alone do not tell.
func behind(ctx context.Context, adm *kadm.Client, brokers []string) (string, error) {
	for _, stage := range []string{"route", "detect", "triage"} {
		done, err := committed(ctx, adm, stage)
		if err != nil {
			return "", err
		}
		topic := inputOf[stage]
		left, err := settled(ctx, adm, topic)
		if err != nil {
			return "", err
		}
		for n, end := range left {
			if end-done[n] > 100 {
				return fmt.Sprintf("%s has committed offset %d of %s/%d, which ends at %d", stage, done[n], topic, n, end), nil
			}
		}
		records := 0
		if err := readTopic(ctx, brokers, topic, done, func(*kgo.Record) { records++ }); err != nil {
			return "", err
		}
		if records > 0 {
			return fmt.Sprintf("%s has not committed %d records of %s", stage, records, topic), nil
		}
	}
	return "", nil
}
