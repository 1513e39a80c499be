// Package processor is one member of farcall: it puts configuration, stages, stream and console together and runs them.
package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/cloudtrail"
	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/console"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/route"
	"github.com/farcall/farcall/processor/stream"
	"github.com/farcall/farcall/state"
	"github.com/farcall/farcall/topics"
)

// Version is the version of this build: the module's, or "devel".
var Version = func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}()

// Options are what a caller may set beyond the configuration.
type Options struct {
	Log *slog.Logger
	// Metrics, if given, are used in place of new ones.
	Metrics *stream.Metrics
	// Leave gives up the seats in the consumer groups at the end, for a process that won't come back.
	Leave bool
	// NoConsole leaves the HTTP port out.
	NoConsole bool
}

// Run is a member of the consumer groups until ctx ends. It returns nil after a clean stop, or the first fatal error.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = stream.NewMetrics()
	}
	for _, w := range cfg.Warnings() {
		o.Log.Warn(w)
	}
	slot, lock, err := stream.Slot(cfg.State.Dir, cfg.State.Slot)
	if err != nil {
		return err
	}
	defer lock.Close()
	client, err := cfg.Kafka.Client()
	if err != nil {
		return err
	}
	client = append(client, kgo.WithLogger(kafkaLog{o.Log}))
	if err := checkTopics(ctx, client, &cfg, o.Log); err != nil {
		return err
	}
	locator, err := geo.Open(geo.Options{
		Path: cfg.Geo.Database, ASNPath: cfg.Geo.ASNDatabase, CacheEntries: cfg.Geo.CacheEntries, Log: o.Log, OnReload: reloads(o.Metrics.Registry),
	})
	if err != nil {
		return err
	}
	defer locator.Close()
	o.Metrics.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	budget := cfg.Budget()
	cache := state.NewCache(budget.Cache, budget.MemTables)
	defer cache.Unref()

	stages := stream.Stages{
		Raw: cfg.Topics.Raw, Names: topics.NamesFor(cfg.Topics.Prefix), Start: stream.Start(cfg.Route.Start),
		OutOfRange: stream.OutOfRange(cfg.Route.OnOffsetOutOfRange), Partitions: cfg.Topics.Partitions,
		Route: cfg.RouteConfig(), Detect: cfg.DetectConfig(), Triage: cfg.TriageConfig(),
		Locator: locator, Breaker: route.NewBreaker(cfg.Route.MaxBadShare), Metrics: o.Metrics, Log: o.Log, Now: time.Now, Version: Version,
	}.Build()
	stages = slices.DeleteFunc(stages, func(s stream.Stage) bool { return !slices.Contains(cfg.Stages, s.Name) })

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go locator.Watch(ctx, cfg.Geo.ReloadEvery)
	var consoleErr error
	consoleDone := make(chan struct{})
	go func() {
		defer close(consoleDone)
		if o.NoConsole {
			return
		}
		consoleErr = console.Serve(ctx, console.Options{
			Listen: cfg.Console.Listen, TokenFile: cfg.Console.TokenFile, CertFile: cfg.Console.CertFile, KeyFile: cfg.Console.KeyFile,
			Registry: o.Metrics.Registry, Health: o.Metrics.Health, History: o.Metrics.HistoryDays, Profiling: cfg.Console.Profiling, Log: o.Log,
		}, func(addr string) { o.Log.Info("console listens", "addr", addr) })
		if consoleErr != nil {
			cancel()
		}
	}()
	o.Log.Info("farcall starts", "version", Version, "slot", slot, "stages", strings.Join(cfg.Stages, ","), "raw", strings.Join(cfg.Topics.Raw, ","),
		"geo", locator.Build(), "method_normaliser", cloudtrail.MethodNormaliser, "memory_budget_mib", cfg.Memory.BudgetBytes>>20, "memory_mib", budget)
	err = stream.RunWorkers(ctx, stream.Options{
		Client: client, GroupPrefix: cfg.Topics.Prefix, Slot: slot, Dir: cfg.State.Dir, Cache: cache, Log: o.Log, Metrics: o.Metrics,
		CommitInterval: cfg.Stream.CommitInterval, CommitStretch: cfg.Stream.CommitStretch,
		SessionTimeout: cfg.Stream.SessionTimeout, TxnTimeout: cfg.Stream.TransactionTimeout, RestoreStall: cfg.Stream.RestoreStall,
		FetchMaxBytes: cfg.Stream.FetchMaxBytes, ProduceMaxBytes: config.ProduceBytes, MemTableBytes: cfg.MemTableBytes(), Restores: cfg.Restores(), Leave: o.Leave,
	}, stages, map[string]int{"route": cfg.Route.Workers, "detect": cfg.Detect.Workers, "triage": cfg.Triage.Workers})
	cancel()
	<-consoleDone
	return errors.Join(err, consoleErr)
}

// checkTopics refuses to run on topics that would lose state, and says how to mend them.
func checkTopics(ctx context.Context, client []kgo.Opt, cfg *config.Config, log *slog.Logger) error {
	cl, err := kgo.NewClient(client...)
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	findings, err := topics.Check(ctx, adm, cfg.TopicOptions())
	if err != nil {
		return fmt.Errorf("check topics on %s: %w", strings.Join(cfg.Kafka.Brokers, ","), err)
	}
	var fatal []error
	for _, f := range findings {
		if f.Fatal {
			fatal = append(fatal, errors.New(f.String()))
		} else {
			log.Warn("topic differs from its declaration", "topic", f.Topic, "problem", f.Problem, "fix", f.Fix)
		}
	}
	if len(fatal) > 0 {
		return fmt.Errorf("topics are not as farcall needs them:\n%w", errors.Join(fatal...))
	}
	if !slices.Contains(cfg.Stages, "route") {
		return nil
	}
	raw, err := adm.ListTopics(ctx, cfg.Topics.Raw...)
	if err != nil {
		return fmt.Errorf("list raw topics: %w", err)
	}
	for _, t := range cfg.Topics.Raw {
		if !raw.Has(t) {
			return fmt.Errorf("raw topic %q does not exist: create it, or name the topic that your CloudTrail goes to in topics.raw", t)
		}
	}
	return nil
}

func reloads(reg *prometheus.Registry) func(error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "farcall_geo_reloads_total", Help: "Reloads of the geolocation databases, by result."}, []string{"result"})
	reg.MustRegister(c)
	return func(err error) {
		if err != nil {
			c.WithLabelValues("kept_old").Inc()
			return
		}
		c.WithLabelValues("loaded").Inc()
	}
}

// kafkaLog passes on what the client logs as warnings and errors; the rest is for debugging the client.
type kafkaLog struct{ log *slog.Logger }

func (l kafkaLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) && os.Getenv("FARCALL_KAFKA_DEBUG") != "" {
		return kgo.LogLevelDebug
	}
	return kgo.LogLevelWarn
}

func (l kafkaLog) Log(level kgo.LogLevel, msg string, kv ...any) {
	switch level {
	case kgo.LogLevelError:
		l.log.Error("kafka: "+msg, kv...)
	case kgo.LogLevelWarn:
		l.log.Warn("kafka: "+msg, kv...)
	default:
		l.log.Debug("kafka: "+msg, kv...)
	}
}
