// Package topics declares every Kafka topic that farcall owns, once, with its reasons, and holds the codec of every record
// on them (FORMAT.md has the bytes). It is the contract between the stages, the load tools and whoever reads the alerts:
// it must never depend on the stages or on state.
package topics

import (
	"slices"
	"strconv"
	"time"
)

// Topic is the declaration of one topic.
type Topic struct {
	Name       string
	Partitions int32
	// Configs are the topic configs that farcall depends on. Others are the broker's business.
	Configs map[string]string
	// Why says what the topic is for and why it is configured so.
	Why string
	// Fixed marks a topic whose partition count is part of where state lives: it can never change under a running group.
	Fixed bool
}

// TombstoneRetention is how long a changelog keeps the tombstone of a row. A local store that was away for longer may have
// missed some, so that the rows that they deleted would stay.
const TombstoneRetention = 24 * time.Hour

// Options choose the sizes of the topics.
type Options struct {
	// Prefix names an installation; default "farcall". Two installations on one cluster differ in it.
	Prefix string
	// Partitions of the topics between the stages, and so the most workers a stage can use.
	Partitions int32
	// Retention of the topics between the stages: the longest outage of a stage that loses nothing.
	Retention time.Duration
	// AlertRetention of alerts and dead letters.
	AlertRetention time.Duration
}

// DefaultOptions are the sizes for most installations. 32 partitions, because each commit writes a marker to every
// partition that it touched, and markers are what breaks first at scale.
func DefaultOptions() Options {
	return Options{Prefix: "farcall", Partitions: 32, Retention: 7 * 24 * time.Hour, AlertRetention: 30 * 24 * time.Hour}
}

// Names are the topics by role.
type Names struct {
	Visits          string
	Principals      string
	Positions       string
	Alerts          string
	HeldBack        string
	Exceptions      string
	DeadLetters     string
	DetectChangelog string
	TriageChangelog string
}

// NamesFor returns the topic names of the installation called prefix.
func NamesFor(prefix string) Names {
	return Names{
		Visits:          prefix + ".visits",
		Principals:      prefix + ".principals",
		Positions:       prefix + ".route.positions",
		Alerts:          prefix + ".alerts",
		HeldBack:        prefix + ".alerts.held-back",
		Exceptions:      prefix + ".exceptions",
		DeadLetters:     prefix + ".dead-letters",
		DetectChangelog: prefix + ".detect.changelog",
		TriageChangelog: prefix + ".triage.changelog",
	}
}

// Declare returns every topic of an installation, ordered by name.
func Declare(o Options) []Topic {
	n := NamesFor(o.Prefix)
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	// CreateTime, because farcall's reader measures lateness and latency by the producer's clock. An old event replayed
	// is written now, with the time of now, so no retention can delete it unread.
	stream := func(retention time.Duration) map[string]string {
		return map[string]string{
			"cleanup.policy":         "delete",
			"retention.ms":           ms(retention),
			"message.timestamp.type": "CreateTime",
			"max.message.bytes":      "1048588",
		}
	}
	// A changelog is compacted and nothing else: retention by time would delete live state. Segments roll early, because
	// the active segment is never compacted, and a restore reads all of it.
	changelog := func() map[string]string {
		return map[string]string{
			"cleanup.policy":            "compact",
			"segment.bytes":             "67108864",
			"segment.ms":                ms(6 * time.Hour),
			"min.cleanable.dirty.ratio": "0.2",
			"delete.retention.ms":       ms(TombstoneRetention),
			"message.timestamp.type":    "CreateTime",
			"max.message.bytes":         "1048588",
		}
	}
	// Of a position the last one counts, and it is found from the end: small segments keep what is behind it short. None is ever
	// deleted, so nobody waits for a tombstone, and markers, of which there are as many as records, go with the records.
	positions := changelog()
	positions["segment.bytes"], positions["delete.retention.ms"] = "16777216", ms(time.Hour)
	listed := map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "CreateTime", "max.message.bytes": "1048588"}
	ts := []Topic{
		{Name: n.Visits, Partitions: o.Partitions, Configs: stream(o.Retention), Fixed: true,
			Why: "visits and pulses from route to detect, keyed by method: what makes the distribution of a method live in one place"},
		{Name: n.Principals, Partitions: o.Partitions, Configs: stream(o.Retention), Fixed: true,
			Why: "sightings and anomalies to triage, keyed by principal: one topic, so that its order is the order, live and replayed"},
		{Name: n.Positions, Partitions: o.Partitions, Configs: positions, Fixed: true,
			Why: "how far route has come in each raw partition: what its rows would say, if it had any, should the group forget its offsets"},
		{Name: n.Alerts, Partitions: 8, Configs: stream(o.AlertRetention),
			Why: "alerts for the SIEM, keyed by alert id: later versions of an alert follow earlier ones"},
		{Name: n.HeldBack, Partitions: 8, Configs: stream(o.AlertRetention),
			Why: "alerts that an exception or the cap kept from the SIEM, keyed like those that went there: nothing disappears"},
		{Name: n.Exceptions, Partitions: 1, Configs: listed,
			Why: "what was decided to be no news, keyed by exception id: the list that people read; triage takes them from its own input"},
		{Name: n.DeadLetters, Partitions: 4, Configs: stream(o.AlertRetention),
			Why: "what could not be processed, with reason and coordinates"},
		{Name: n.DetectChangelog, Partitions: o.Partitions, Configs: changelog(), Fixed: true,
			Why: "the rows of detect, partition by partition like its visits"},
		{Name: n.TriageChangelog, Partitions: o.Partitions, Configs: changelog(), Fixed: true,
			Why: "the rows of triage, partition by partition like its input"},
	}
	slices.SortFunc(ts, func(a, b Topic) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return ts
}
