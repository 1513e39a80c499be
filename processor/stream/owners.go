package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// watchOwners has the group share out partitions that nobody owns, until ctx ends.
//
// The cooperative protocol moves a partition in two rounds: its old owner gives it up, and joins again for it to be given to the
// new one. An old owner that dies between the two comes back under the name of its static membership, gets its assignment of the
// first round without a rebalance, and never joins for the second. The partition would wait for whatever rebalances the group next.
//
// All that begins with an assignment, so it looks often for a session timeout after each, and seldom from then on.
func (w *worker) watchOwners(ctx context.Context, cl *kgo.Client) {
	adm := kadm.NewClient(cl)
	often, seldom := w.o.SessionTimeout/10, w.o.SessionTimeout/2
	wait := often
	var before []partition
	var patience time.Duration // between looks that did not help
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		w.mu.Lock()
		since := time.Since(w.ownedAt)
		w.mu.Unlock()
		if wait = seldom; since < w.o.SessionTimeout {
			wait = often
		}
		wait = max(wait, patience)
		now, err := w.unowned(ctx, adm)
		if err != nil {
			w.log.Debug("the group was not asked for partitions without an owner", "err", err)
			continue
		}
		// Between two rounds there are such partitions too, for a moment.
		if stuck := slices.DeleteFunc(slices.Clone(now), func(p partition) bool { return !slices.Contains(before, p) }); len(stuck) > 0 {
			w.log.Warn("partitions have no owner: the group rebalances", "partitions", names(stuck))
			cl.ForceRebalance()
			before, patience = nil, min(max(2*patience, seldom), 10*time.Minute)
			wait = patience
			continue
		}
		if before = now; len(now) == 0 {
			patience = 0
		}
	}
}

// unowned are the partitions of the inputs that no member has, while the group is at rest.
func (w *worker) unowned(ctx context.Context, adm *kadm.Client) ([]partition, error) {
	name := w.o.group(w.stage.Name)
	groups, err := adm.DescribeGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	g := groups[name]
	if g.Err != nil || g.State != "Stable" {
		return nil, g.Err
	}
	owned := map[partition]bool{}
	for _, m := range g.Members {
		a, ok := m.Assigned.AsConsumer()
		if !ok {
			return nil, fmt.Errorf("the assignment of %s is none of a consumer", m.MemberID)
		}
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				owned[partition{t.Topic, p}] = true
			}
		}
	}
	details, err := adm.ListTopics(ctx, w.stage.Inputs...)
	if err != nil {
		return nil, err
	}
	var missing []partition
	for _, t := range details {
		if t.Err != nil { // one of several raw topics may not be there yet
			continue
		}
		for id := range t.Partitions {
			if p := (partition{t.Topic, id}); !owned[p] {
				missing = append(missing, p)
			}
		}
	}
	return missing, nil
}

func names(ps []partition) string {
	all := make([]string, len(ps))
	for i, p := range ps {
		all[i] = p.String()
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
