// Package decisions brings what people decide about alerts to the stages: exceptions and verdicts. It is the command line's way to
// Kafka, and must never be used by a stage: they take decisions from their own inputs.
package decisions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/topics"
)

// ErrNoAlert is returned when no alert has an id.
var ErrNoAlert = errors.New("no such alert")

// Announce writes an exception, or its removal, to the list and to every task of triage, all in one transaction: no task has it
// while another never will.
func Announce(ctx context.Context, client []kgo.Opt, names topics.Names, e *topics.Exception) error {
	if err := e.Check(); err != nil && !e.Removed {
		return fmt.Errorf("exception: %w", err)
	}
	cl, err := kgo.NewClient(append(slices.Clone(client), kgo.TransactionalID(names.Exceptions), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	details, err := kadm.NewClient(cl).ListTopics(ctx, names.Principals, names.Exceptions)
	if err != nil {
		return fmt.Errorf("find the topics: %w", err)
	}
	if err := details.Error(); err != nil {
		return fmt.Errorf("topics of this installation: %w", err)
	}
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	value := e.Append(nil)
	list := &kgo.Record{Topic: names.Exceptions, Key: e.Key(), Value: value}
	if e.Removed {
		list.Value = nil // a tombstone
	}
	records := []*kgo.Record{list}
	for _, p := range details[names.Principals].Partitions.Numbers() {
		records = append(records, &kgo.Record{Topic: names.Principals, Partition: p, Key: e.Key(), Value: value})
	}
	err = cl.ProduceSync(ctx, records...).FirstErr()
	if end := cl.EndTransaction(ctx, kgo.TransactionEndTry(err == nil)); err == nil {
		err = end
	}
	if err != nil {
		return fmt.Errorf("write the exception: %w", err)
	}
	return nil
}

// List reads the exceptions in force, by id.
func List(ctx context.Context, client []kgo.Opt, names topics.Names) ([]*topics.Exception, error) {
	found := map[string]*topics.Exception{}
	err := topics.Read(ctx, client, names.Exceptions, time.Time{}, func(r *kgo.Record) error {
		if r.Value == nil {
			delete(found, string(r.Key))
			return nil
		}
		e := &topics.Exception{}
		if err := e.Decode(r.Value); err != nil {
			return fmt.Errorf("%s offset %d: %w", r.Topic, r.Offset, err)
		}
		found[string(r.Key)] = e
		return nil
	})
	return slices.SortedFunc(maps.Values(found), func(a, b *topics.Exception) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	}), err
}

// Alerts calls fn with the newest version of every alert written since a time, sent or held back.
func Alerts(ctx context.Context, client []kgo.Opt, names topics.Names, since time.Time, fn func(alert.Brief) error) error {
	newest := map[string]alert.Brief{}
	for _, topic := range []string{names.Alerts, names.HeldBack} {
		err := topics.Read(ctx, client, topic, since, func(r *kgo.Record) error {
			b, err := alert.ParseBrief(r.Value)
			if err != nil {
				return fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			if old, ok := newest[b.ID]; !ok || b.Version >= old.Version {
				newest[b.ID] = b
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, b := range slices.SortedFunc(maps.Values(newest), func(a, b alert.Brief) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
	}) {
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

// Matches says whether an alert of the past would have fallen under an exception.
func Matches(e *topics.Exception, b *alert.Brief) bool {
	s := &topics.Subject{
		Principal: b.Principal, Role: b.Role, Place: b.Place, Accounts: []string{b.Account, b.Target}, Networks: b.Networks, Clients: b.Clients, Methods: b.Methods,
	}
	if len(s.Methods) == 0 {
		s.Methods = []string{b.Method}
	}
	return e.Matches(s)
}

// Find returns the newest version of an alert by its id, or by the beginning of it if only one alert's begins so.
func Find(ctx context.Context, client []kgo.Opt, names topics.Names, id string) (alert.Brief, error) {
	var found []alert.Brief
	err := Alerts(ctx, client, names, time.Time{}, func(b alert.Brief) error {
		if len(id) >= 6 && len(b.ID) >= len(id) && b.ID[:len(id)] == id {
			found = append(found, b)
		}
		return nil
	})
	switch {
	case err != nil:
		return alert.Brief{}, err
	case len(found) == 0:
		return alert.Brief{}, fmt.Errorf("%w on %s or %s: %q (give at least six characters of its id)", ErrNoAlert, names.Alerts, names.HeldBack, id)
	case len(found) > 1:
		return alert.Brief{}, fmt.Errorf("%d alerts have an id that begins with %q: give more of it", len(found), id)
	}
	return found[0], nil
}

// Decide brings a verdict to the task that owns the principal.
func Decide(ctx context.Context, client []kgo.Opt, names topics.Names, v *topics.Verdict) error {
	if v.Principal == "" {
		return fmt.Errorf("alert %s is about no principal: a silence is not benign or malicious, it ends", v.AlertID)
	}
	cl, err := kgo.NewClient(append(slices.Clone(client), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: names.Principals, Key: v.Key(), Value: v.Append(nil)}).FirstErr(); err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	return nil
}
