package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Finding is one way in which the cluster differs from the declaration.
type Finding struct {
	Topic   string
	Problem string
	// Fix is the command, or the steps, that mend it.
	Fix string
	// Fatal says that farcall must not run like this: it would lose data or state.
	Fatal bool
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s\n    fix: %s", f.Topic, f.Problem, f.Fix)
}

// Check compares the cluster with the declaration and changes nothing. No finding means that all is as declared.
func Check(ctx context.Context, adm *kadm.Client, o Options) ([]Finding, error) {
	declared := Declare(o)
	names := make([]string, len(declared))
	for i, t := range declared {
		names[i] = t.Name
	}
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var present []string
	var findings []Finding
	for _, t := range declared {
		d, ok := details[t.Name]
		switch {
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			findings = append(findings, Finding{Topic: t.Name, Problem: missing, Fix: "farcall topics apply", Fatal: true})
			continue
		case d.Err != nil:
			return nil, fmt.Errorf("describe topic %s: %w", t.Name, d.Err)
		}
		present = append(present, t.Name)
		if got := int32(len(d.Partitions)); got != t.Partitions {
			findings = append(findings, partitionFinding(t, got))
		}
	}
	if len(present) == 0 {
		return findings, nil
	}
	configs, err := adm.DescribeTopicConfigs(ctx, present...)
	if err != nil {
		return nil, fmt.Errorf("describe topic configs: %w", err)
	}
	for _, t := range declared {
		if !slices.Contains(present, t.Name) {
			continue
		}
		rc, err := configs.On(t.Name, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return nil, fmt.Errorf("describe configs of %s: %w", t.Name, err)
		}
		got := map[string]string{}
		for _, c := range rc.Configs {
			got[c.Key] = c.MaybeValue()
		}
		for _, key := range slices.Sorted(maps.Keys(t.Configs)) {
			want := t.Configs[key]
			if got[key] == want {
				continue
			}
			findings = append(findings, Finding{
				Topic:   t.Name,
				Problem: fmt.Sprintf("%s is %q where %q is declared", key, got[key], want),
				Fix: fmt.Sprintf("kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name %s --add-config %s=%s",
					t.Name, key, want),
				// A changelog that loses rows by time, or a stream that keeps only the last record of a key, is lost state.
				Fatal: key == "cleanup.policy",
			})
		}
	}
	return findings, nil
}

func partitionFinding(t Topic, got int32) Finding {
	f := Finding{Topic: t.Name, Problem: fmt.Sprintf("has %d partitions where %d are declared", got, t.Partitions)}
	switch {
	case t.Fixed:
		f.Fatal = true
		f.Fix = fmt.Sprintf("if the configuration was changed, set topics.partitions back to %d; if the topic was, its keys have moved between partitions, away from their state: start a new installation under another topics.prefix", got)
	case got < t.Partitions:
		f.Fix = fmt.Sprintf("kafka-topics.sh --bootstrap-server BROKER --alter --topic %s --partitions %d", t.Name, t.Partitions)
	default:
		f.Fix = "nothing: more partitions than declared do no harm here"
	}
	return f
}

// Apply creates the declared topics that are missing and returns their names, with what Check finds afterwards. It never
// alters a topic that exists. A replication factor of -1 leaves it to the broker's default.
func Apply(ctx context.Context, adm *kadm.Client, o Options, replication int16) (created []string, findings []Finding, err error) {
	before, err := Check(ctx, adm, o)
	if err != nil {
		return nil, nil, err
	}
	declared := Declare(o)
	for _, f := range before {
		if f.Problem != missing {
			continue
		}
		t := declared[slices.IndexFunc(declared, func(t Topic) bool { return t.Name == f.Topic })]
		configs := make(map[string]*string, len(t.Configs))
		for k, v := range t.Configs {
			configs[k] = &v
		}
		resp, err := adm.CreateTopic(ctx, t.Partitions, replication, configs, t.Name)
		if err == nil {
			err = resp.Err
		}
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists): // another member was quicker
			continue
		case err != nil:
			return created, nil, fmt.Errorf("create topic %s with %d partitions and replication factor %d: %w", t.Name, t.Partitions, replication, err)
		}
		created = append(created, t.Name)
	}
	for {
		findings, err = Check(ctx, adm, o)
		// A topic that was just created takes a moment to be known everywhere.
		unknown := slices.ContainsFunc(findings, func(f Finding) bool { return f.Problem == missing && slices.Contains(created, f.Topic) })
		if err != nil || !unknown {
			return created, findings, err
		}
		select {
		case <-ctx.Done():
			return created, findings, fmt.Errorf("wait for the created topics: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const missing = "is missing"
