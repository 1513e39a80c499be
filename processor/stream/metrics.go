package stream

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/farcall/farcall/processor/detect"
)

// Metrics are the figures of a process. Every drop has a reason; nothing is lost silently.
type Metrics struct {
	Registry *prometheus.Registry

	Records            *prometheus.CounterVec   // stage: input records processed
	Transactions       *prometheus.CounterVec   // stage, result
	TransactionRecords *prometheus.HistogramVec // stage
	CommitSeconds      *prometheus.HistogramVec // stage
	Restarts           *prometheus.CounterVec   // stage: clients rebuilt
	RestoredRows       *prometheus.CounterVec   // stage
	RestoredBytes      *prometheus.CounterVec   // stage
	RestoreOffsetsLeft *prometheus.GaugeVec     // stage, partition: only while it restores
	RestoreSecondsLeft *prometheus.GaugeVec     // stage, partition: only while it restores
	RestoreSeconds     *prometheus.HistogramVec // stage
	Wiped              *prometheus.CounterVec   // stage, reason
	Tasks              *prometheus.GaugeVec     // stage, phase
	Dropped            *prometheus.CounterVec   // stage, reason: dead letters and everything else that raises nothing
	PassedOver         *prometheus.CounterVec   // stage
	Forgotten          *prometheus.CounterVec   // stage

	Events     *prometheus.CounterVec // kind of source address
	StreamTime *prometheus.GaugeVec   // stage, topic, partition
	Silent     *prometheus.GaugeVec   // what: account, region, partition; only in the process that hears the pulses

	Told          *prometheus.CounterVec // record: visit, presence, sighting, pulse
	Repeats       prometheus.Counter
	Ratio         prometheus.Gauge       // events per record told
	Visits        *prometheus.CounterVec // result
	Triaged       *prometheus.CounterVec // result
	HeldBack      *prometheus.CounterVec // why: cap, exception
	ExceptionHits *prometheus.CounterVec // exception
	Latency       prometheus.Histogram   // raw record's timestamp to alert written

	mu           sync.Mutex
	workers      []*worker
	history      map[int32]map[string]int64 // by partition of triage: account, first pane
	newest       int64                      // stream time of triage, Unix milliseconds
	events, tell int64
}

// NewMetrics makes the metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "farcall_" + name, Help: help}, labels)
		m.Registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "farcall_" + name, Help: help}, labels)
		m.Registry.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "farcall_" + name, Help: help, Buckets: buckets}, labels)
		m.Registry.MustRegister(h)
		return h
	}
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	m.Records = counter("records_total", "Input records processed, aborted attempts included.", "stage")
	m.Transactions = counter("transactions_total", "Transactions by result.", "stage", "result")
	m.TransactionRecords = histogram("transaction_records", "Input records per committed transaction.", prometheus.ExponentialBuckets(1, 4, 10), "stage")
	m.CommitSeconds = histogram("commit_seconds", "Time to end a transaction.", seconds, "stage")
	m.Restarts = counter("worker_restarts_total", "Workers that rebuilt their client.", "stage")
	m.RestoredRows = counter("restored_rows_total", "Rows read from changelogs.", "stage")
	m.RestoredBytes = counter("restored_bytes_total", "Bytes of keys and values read from changelogs.", "stage")
	m.RestoreOffsetsLeft = gauge("restore_offsets_left", "Offsets of its changelog that a partition has still to read before it runs; only while it restores.", "stage", "partition")
	m.RestoreSecondsLeft = gauge("restore_seconds_left", "What that takes at the rate so far.", "stage", "partition")
	m.RestoreSeconds = histogram("restore_seconds", "Time to restore a partition.", seconds, "stage")
	m.Wiped = counter("state_wiped_total", "Local stores thrown away because they were corrupt, or did not belong to their changelog.", "stage", "reason")
	m.Dropped = counter("dropped_total", "What was read and raises nothing, by reason; dead letters carry the stage's reason. Aborted attempts included.", "stage", "reason")
	m.PassedOver = counter("passed_over_records_total", "Input records never read: their offsets were gone, or on_offset_out_of_range is latest.", "stage")
	m.Forgotten = counter("forgotten_offsets_total", "Partitions whose group answered with an older offset than farcall had committed, so that it went on where its last transaction ended.", "stage")
	m.Events = counter("events_total", "CloudTrail events read, by kind of source address.", "kind")
	m.StreamTime = gauge("stream_time_seconds", "Newest event time of a partition's committed input, as a Unix time; only while the partition is here.", "stage", "topic", "partition")
	m.Silent = gauge("silent", "Accounts, regions and raw partitions that were told to have fallen silent and have not spoken since.", "what")
	m.Told = counter("told_total", "Records that route wrote for presences.", "record")
	m.Visits = counter("visits_total", "Visits received by detect, by result.", "result")
	m.Triaged = counter("triaged_total", "Records received by triage, by result.", "result")
	m.HeldBack = counter("alerts_held_back_total", "Versions of alerts kept from the SIEM, by why: cap or exception.", "why")
	m.ExceptionHits = counter("exception_hits_total", "Versions of alerts that fell under an exception, by its id.", "exception")
	m.Tasks = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "farcall_tasks", Help: "Partitions of this process by phase."}, []string{"stage", "phase"})
	m.Repeats = prometheus.NewCounter(prometheus.CounterOpts{Name: "farcall_repeats_total", Help: "Events whose presence was told before."})
	m.Ratio = prometheus.NewGauge(prometheus.GaugeOpts{Name: "farcall_telling_ratio", Help: "Events read per record told since the start of the process."})
	m.Latency = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "farcall_alert_latency_seconds", Help: "From the timestamp of the raw record to its alert being written, before the commit.", Buckets: seconds})
	m.Registry.MustRegister(m.Tasks, m.Repeats, m.Ratio, m.Latency)
	return m
}

func (m *Metrics) add(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.workers = append(m.workers, w)
}

// told brings the telling ratio up to date.
func (m *Metrics) told(events, records int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events += events
	m.tell += records
	if m.tell > 0 {
		m.Ratio.Set(float64(m.events) / float64(m.tell))
	}
}

// silent shows who is silent.
func (m *Metrics) silent(now detect.Silent) {
	m.Silent.WithLabelValues("account").Set(float64(now.Accounts))
	m.Silent.WithLabelValues("region").Set(float64(now.Regions))
	m.Silent.WithLabelValues("partition").Set(float64(now.Partitions))
}

// phase moves a partition from one phase to another in the gauge.
func (m *Metrics) phase(stage string, from, to phase) {
	if from >= 0 {
		m.Tasks.WithLabelValues(stage, from.String()).Dec()
	}
	if to != closed {
		m.Tasks.WithLabelValues(stage, to.String()).Inc()
	}
}

// noteHistory takes since when accounts are known to a task of triage, whose stream time is now.
func (m *Metrics) noteHistory(partition int32, since map[string]int64, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.history == nil {
		m.history = map[int32]map[string]int64{}
	}
	m.history[partition] = since
	m.newest = max(m.newest, now)
}

// HistoryDays says how many days of history triage has, in this process, by account, "organisation" for all.
func (m *Metrics) HistoryDays() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	days := map[string]int64{"organisation": 0}
	for _, since := range m.history {
		for account, pane := range since {
			if account == "" {
				account = "organisation"
			}
			days[account] = max(days[account], (m.newest/1000-pane)/(24*3600))
		}
	}
	return days
}

// Health says whether every worker's loop turns, and whether every worker has joined its group and all its partitions run.
func (m *Metrics) Health(now time.Time) (live, ready bool, why []string) {
	live, ready = true, true
	m.mu.Lock()
	workers := slices.Clone(m.workers)
	m.mu.Unlock()
	for _, w := range workers {
		if at := w.alive.Load(); at != 0 && now.Sub(time.Unix(0, at)) > 2*time.Minute {
			live = false
			why = append(why, w.name+": its loop has not turned for "+now.Sub(time.Unix(0, at)).Round(time.Second).String())
		}
		joined, waiting := w.progress()
		if !joined {
			ready = false
			why = append(why, w.name+": has not joined its group")
		} else if waiting > 0 {
			ready = false
			why = append(why, w.name+": partitions not running yet")
		}
	}
	return live, ready && len(workers) > 0, why
}
