package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/triage"
	"github.com/farcall/farcall/topics"
)

// Stages are the settings of the three stages.
type Stages struct {
	Raw   []string // raw topics
	Names topics.Names
	Start Start // of raw partitions without a committed offset
	// OutOfRange is what happens at a raw position that is gone. farcall's own topics always fail: their rows would not follow.
	OutOfRange OutOfRange
	Partitions int32 // of farcall's own topics
	Route      route.Config
	Detect     detect.Config
	Triage     triage.Config
	Locator    *geo.Locator
	Breaker    *route.Breaker
	Metrics    *Metrics
	Log        *slog.Logger
	Now        func() time.Time // the clock of route
	Version    string           // of this build, for the alerts
}

// Build makes the stages, in flow order.
func (s Stages) Build() []Stage {
	return []Stage{s.route(), s.detect(), s.triage()}
}

func (s Stages) route() Stage {
	memory := route.NewMemory(s.Route.MemoryEntries)
	return Stage{
		Name: "route", Inputs: s.Raw, Positions: s.Names.Positions, Start: s.Start, OutOfRange: s.OutOfRange, Recycle: true,
		Share: func() Shared {
			memory.Forget() // a worker starts anew: the topics that it told of presences may be others now
			return memory.Teller()
		},
		Open: func(i TaskInfo) (Task, error) {
			stats := route.NewStats()
			t, err := route.NewTask(s.Route, i.Shared.(*route.Teller), s.Locator, s.Now, i.StreamTime, stats)
			return &routeTask{Task: t, s: s, topic: i.Topic, stats: stats, told: *route.NewStats()}, err
		},
	}
}

// routeTask feeds raw records to route.
type routeTask struct {
	*route.Task
	s     Stages
	topic string
	stats *route.Stats
	told  route.Stats // what the metrics know of stats
	out   *Output
	raw   route.Raw         // that is processed
	good  int64             // records, and not yet told to the breaker
	last  topics.DeadLetter // without its value
}

func (t *routeTask) Process(r *kgo.Record, out *Output) error {
	t.out = out
	t.good++
	t.raw = route.Raw{
		Source: topics.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, Timestamp: r.Timestamp.UnixMilli(), Value: r.Value,
		Imported: slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == topics.HeaderImported }),
	}
	if t.Record(&t.raw, t) {
		return nil
	}
	t.good--
	return t.breaker(1)
}

// breaker tells the breaker what was read since it was last told.
func (t *routeTask) breaker(bad int64) error {
	good := t.good
	t.good = 0
	return t.s.Breaker.Note(t.topic, good, bad, &t.last)
}

func (t *routeTask) Visit(key, value []byte) { t.out.Tell(t.s.Names.Visits, key, value) }

func (t *routeTask) Pulse(key, value []byte) { t.out.Tell(t.s.Names.Visits, key, value) }

func (t *routeTask) Sighting(key, value []byte) { t.out.Tell(t.s.Names.Principals, key, value) }

func (t *routeTask) DeadLetter(d *topics.DeadLetter) {
	t.last = topics.DeadLetter{Reason: d.Reason, Detail: d.Detail, Source: d.Source}
	t.out.DeadLetter(d)
}

func (t *routeTask) StreamTime() int64 { return t.Horizon() }

// Flush brings the breaker and the metrics up to the counts of the transaction.
func (t *routeTask) Flush() error {
	if err := t.breaker(0); err != nil {
		return err
	}
	m, now, was := t.s.Metrics, t.stats, &t.told
	delta := func(now, was map[string]int64, add func(label string, n float64)) {
		for k, v := range now {
			if d := v - was[k]; d > 0 {
				add(k, float64(d))
				was[k] = v
			}
		}
	}
	for k, n := range now.Places.Sub(&was.Places).ByName() {
		m.Events.WithLabelValues(k).Add(float64(n))
	}
	for k, n := range now.NoPlace.Sub(&was.NoPlace).ByName() {
		m.Dropped.WithLabelValues("route", "no_place_"+k).Add(float64(n))
	}
	was.Places, was.NoPlace = now.Places, now.NoPlace
	delta(now.Ignored, was.Ignored, func(k string, n float64) { m.Dropped.WithLabelValues("route", "ignored_"+k).Add(n) })
	delta(now.Skipped, was.Skipped, func(k string, n float64) { m.Dropped.WithLabelValues("route", "skipped_"+k).Add(n) })
	m.Told.WithLabelValues("visit").Add(float64(now.Visits - was.Visits))
	m.Told.WithLabelValues("presence").Add(float64(now.Presences - was.Presences))
	m.Told.WithLabelValues("sighting").Add(float64(now.Sightings - was.Sightings))
	m.Repeats.Add(float64(now.Repeats - was.Repeats))
	m.Told.WithLabelValues("pulse").Add(float64(now.Pulses - was.Pulses))
	m.told(now.Events-was.Events, now.Visits-was.Visits+now.Presences-was.Presences+now.Sightings-was.Sightings+now.Pulses-was.Pulses)
	was.Visits, was.Presences, was.Sightings, was.Pulses, was.Repeats, was.Events = now.Visits, now.Presences, now.Sightings, now.Pulses, now.Repeats, now.Events
	return nil
}

func (s Stages) detect() Stage {
	return Stage{
		Name: "detect", Inputs: []string{s.Names.Visits}, Changelog: s.Names.DetectChangelog, Fingerprint: fmt.Sprintf("%s scope=%s normaliser=%d", s.Detect.Fingerprint(), s.Route.Scope, cloudtrail.MethodNormaliser), Start: Earliest, Partitions: s.Partitions,
		Open: func(i TaskInfo) (Task, error) {
			return &detectTask{Task: detect.NewTask(s.Detect, i.View, i.StreamTime), s: s, results: counters(s.Metrics.Visits, detect.Results())}, nil
		},
	}
}

// detectTask feeds visits to detect and writes the anomalies.
type detectTask struct {
	*detect.Task
	s       Stages
	results []prometheus.Counter // by detect.Result
	visit   topics.Visit
	anomaly topics.Anomaly
}

// counters are those of all results, by result, found once and not for each record.
func counters[R fmt.Stringer](of *prometheus.CounterVec, results []R) (c []prometheus.Counter) {
	for _, r := range results {
		c = append(c, of.WithLabelValues(r.String()))
	}
	return c
}

func (t *detectTask) Process(r *kgo.Record, out *Output) error {
	switch topics.KindOf(r.Value) {
	case topics.KindRetraction:
		return t.retract(r, out)
	case topics.KindPulse:
		return t.pulse(r, out)
	}
	if err := t.visit.Decode(r.Value); err != nil {
		return dataError("detect", r, err, out)
	}
	result, err := t.Visit(&t.visit, &t.anomaly)
	if errors.Is(err, detect.ErrPane) {
		return dataError("detect", r, err, out)
	}
	if err != nil {
		return err
	}
	t.results[result].Inc()
	switch {
	case result == detect.Late:
		t.s.Metrics.Dropped.WithLabelValues("detect", "late").Inc()
	case result == detect.Forwarded, result == detect.Stale && t.anomaly.Score >= t.s.Detect.Floor:
		out.Produce(&kgo.Record{Topic: t.s.Names.Principals, Key: t.anomaly.Key(), Value: t.anomaly.Append(nil, r.Value)})
	}
	return nil
}

func (t *detectTask) retract(r *kgo.Record, out *Output) error {
	var back topics.Retraction
	if err := back.Decode(r.Value); err != nil {
		return dataError("detect", r, err, out)
	}
	removed, kept, err := t.Retract(&back)
	if err != nil {
		return err
	}
	t.s.Metrics.Visits.WithLabelValues("retracted").Add(float64(removed))
	t.s.Metrics.Visits.WithLabelValues("irretrievable").Add(float64(kept))
	if kept > 0 {
		t.s.Log.Warn("visits can't be taken back: their rows only count, and leave with the window", "method", back.Method, "place", back.Place, "principal", back.Principal,
			"visits", kept, "alert", back.AlertID)
	}
	return nil
}

func (t *detectTask) pulse(r *kgo.Record, out *Output) error {
	var p topics.Pulse
	if err := p.Decode(r.Value); err != nil {
		return dataError("detect", r, err, out)
	}
	heard, err := t.Pulse(&p, r.Timestamp.UnixMilli(), func(s *alert.Silence) error {
		doc, err := s.ECS(t.s.Version)
		if err == nil {
			out.Produce(ecsRecord(t.s.Names.Alerts, s.ID(), doc))
		}
		return err
	})
	if errors.Is(err, detect.ErrPane) {
		return dataError("detect", r, err, out)
	}
	if err == nil && !heard {
		t.s.Metrics.Dropped.WithLabelValues("detect", "too_many_to_listen_to").Inc()
	}
	return err
}

func (t *detectTask) Flush() error {
	t.Task.Flush()
	if now, hears := t.Silent(); hears {
		t.s.Metrics.silent(now)
	}
	return nil
}

// Close takes the figures of the task out of those of the process: another may hear the pulses from now on.
func (t *detectTask) Close() {
	if _, hears := t.Silent(); hears {
		t.s.Metrics.Silent.Reset()
	}
}

func (s Stages) triage() Stage {
	return Stage{
		Name: "triage", Inputs: []string{s.Names.Principals}, Changelog: s.Names.TriageChangelog, Fingerprint: s.Triage.Fingerprint(), Start: Earliest, Partitions: s.Partitions,
		Open: func(i TaskInfo) (Task, error) {
			cfg := s.Triage
			cfg.Partition, cfg.Partitions = i.Partition, max(s.Partitions, 1)
			t, err := triage.NewTask(cfg, i.View, i.StreamTime)
			return &triageTask{Task: t, s: s, results: counters(s.Metrics.Triaged, triage.Results()), partition: i.Partition}, err
		},
	}
}

// triageTask feeds anomalies and sightings to triage and writes the alerts.
type triageTask struct {
	*triage.Task
	s         Stages
	results   []prometheus.Counter // by triage.Result
	partition int32
	out       *Output
	day       int64 // and accounts that the metrics know of
	accounts  int
}

// Alert implements triage.Output.
func (t *triageTask) Alert(a *alert.Alert) error {
	topic := t.s.Names.Alerts
	if a.HeldBack != "" {
		topic = t.s.Names.HeldBack
		t.s.Metrics.HeldBack.WithLabelValues(a.HeldBack).Inc()
	}
	if a.Exception != "" {
		t.s.Metrics.ExceptionHits.WithLabelValues(a.Exception).Inc()
	}
	rec, err := AlertRecord(topic, a, t.s.Version)
	if err != nil {
		return err
	}
	t.out.Produce(rec)
	if d := a.Lead.Visit.Evidence.Delivered; d > 0 && a.HeldBack == "" && a.RollUp == nil {
		t.s.Metrics.Latency.Observe(max(0, t.s.Now().Sub(time.UnixMilli(d)).Seconds()))
	}
	return nil
}

// Retract implements triage.Output.
func (t *triageTask) Retract(key, value []byte) error {
	t.out.Produce(&kgo.Record{Topic: t.s.Names.Visits, Key: key, Value: value})
	return nil
}

func (t *triageTask) Process(r *kgo.Record, out *Output) error {
	t.out = out
	result, err := t.Record(r.Value, r.Timestamp.UnixMilli(), t)
	if errors.Is(err, topics.ErrCorrupt) {
		return dataError("triage", r, err, out)
	}
	if err != nil {
		return err
	}
	t.results[result].Inc()
	return nil
}

// AlertRecord is the record of an alert: the ECS document, keyed by alert id.
func AlertRecord(topic string, a *alert.Alert, version string) (*kgo.Record, error) {
	doc, err := a.ECS(version)
	if err != nil {
		return nil, err
	}
	return ecsRecord(topic, a.ID, doc), nil
}

func ecsRecord(topic, id string, doc []byte) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: []byte(id), Value: doc,
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}, {Key: "schema", Value: []byte("ecs/" + alert.ECSVersion)}},
	}
}

func (t *triageTask) Flush() error {
	// A new day or a new account is seldom; the rest is a comparison.
	if day, n := t.StreamTime()/(24*3600*1000), t.Accounts(); day != t.day || n != t.accounts {
		t.day, t.accounts = day, n
		t.s.Metrics.noteHistory(t.partition, t.History(), t.StreamTime())
	}
	return nil
}

// dataError makes a dead letter of a record of farcall's own topics that can't be read, and lets the rest go on. A record of
// a newer version is no bad data: a newer member wrote it, and this one must stop rather than drop it.
func dataError(stage string, r *kgo.Record, err error, out *Output) error {
	if errors.Is(err, topics.ErrNewer) {
		return fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	out.DeadLetter(&topics.DeadLetter{
		Stage: stage, Reason: "corrupt", Detail: err.Error(), Value: r.Value,
		Source: topics.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset},
	})
	return nil
}
