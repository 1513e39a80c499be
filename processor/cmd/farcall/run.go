package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor"
	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/topics"
)

type runCommand struct {
	configFlag
	Stages []string `placeholder:"STAGE,…" help:"Run only these stages: route, detect, triage. Default: all in one process."`
	Leave  bool     `help:"On SIGTERM give up the seats in the consumer groups, so that other processes take over at once. Without it they wait a session timeout for this one to come back."`
}

func (c *runCommand) Run(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if len(c.Stages) > 0 {
		cfg.Stages = c.Stages
		if err := cfg.Validate(); err != nil {
			return err
		}
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.RuntimeLimit())
	}
	return processor.Run(ctx, cfg, processor.Options{Log: logger(cfg.Log), Leave: c.Leave})
}

type topicsCommand struct {
	Apply topicsApply `cmd:"" help:"Create the topics that are missing. Topics that exist are never altered: what differs is reported with the exact fix."`
	Check topicsCheck `cmd:"" help:"Report every difference from the declaration. Exit status 1 when there is one."`
}

type topicsApply struct {
	configFlag
	RawPartitions int32 `placeholder:"N" help:"Also create the raw topics (topics.raw) that are missing, with N partitions: for a first try. Yours are your own business."`
}

func (c *topicsApply) Run(ctx context.Context) error {
	return withTopics(ctx, c.configFlag, func(ctx context.Context, adm *kadm.Client, cfg *config.Config) ([]topics.Finding, error) {
		for _, raw := range cfg.Topics.Raw {
			if c.RawPartitions <= 0 {
				break
			}
			_, err := adm.CreateTopic(ctx, c.RawPartitions, cfg.Topics.Replication, nil, raw)
			switch {
			case errors.Is(err, kerr.TopicAlreadyExists):
			case err != nil:
				return nil, fmt.Errorf("create raw topic %s: %w", raw, err)
			default:
				fmt.Println("created", raw)
			}
		}
		created, findings, err := topics.Apply(ctx, adm, cfg.TopicOptions(), cfg.Topics.Replication)
		for _, t := range created {
			fmt.Println("created", t)
		}
		return findings, err
	})
}

type topicsCheck struct{ configFlag }

func (c *topicsCheck) Run(ctx context.Context) error {
	return withTopics(ctx, c.configFlag, func(ctx context.Context, adm *kadm.Client, cfg *config.Config) ([]topics.Finding, error) {
		return topics.Check(ctx, adm, cfg.TopicOptions())
	})
}

func withTopics(ctx context.Context, f configFlag, do func(context.Context, *kadm.Client, *config.Config) ([]topics.Finding, error)) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	opts, err := cfg.Kafka.Client()
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	findings, err := do(ctx, kadm.NewClient(cl), &cfg)
	if err != nil {
		return err
	}
	for _, t := range findings {
		fmt.Fprintln(os.Stderr, t)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%d differences from the declared topics", len(findings))
	}
	fmt.Println("all topics are as declared")
	return nil
}

type alertsCommand struct {
	Tail alertsTail `cmd:"" help:"Print alerts as they come."`
}

type alertsTail struct {
	configFlag
	FromStart bool   `help:"Begin with the oldest alert that the topic holds."`
	Output    string `enum:"table,ndjson" default:"table" help:"table, or ndjson: the ECS documents, one a line."`
	Exit      bool   `help:"Stop at the end of the topic."`
}

func (c *alertsTail) Run(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	opts, err := cfg.Kafka.Client()
	if err != nil {
		return err
	}
	topic := topics.NamesFor(cfg.Topics.Prefix).Alerts
	at := kgo.NewOffset().AtEnd()
	if c.FromStart {
		at = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(at), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	p := newPrinter(os.Stdout, c.Output)
	for {
		pctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		fs := cl.PollFetches(pctx)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		for _, fe := range fs.Errors() {
			if !errors.Is(fe.Err, context.DeadlineExceeded) {
				return fmt.Errorf("read %s: %w", topic, fe.Err)
			}
		}
		var failed error
		fs.EachRecord(func(r *kgo.Record) {
			if err := p.print(r.Value); err != nil && failed == nil {
				failed = err
			}
		})
		if failed != nil {
			return failed
		}
		if c.Exit && fs.NumRecords() == 0 {
			return nil
		}
	}
}

type configCommand struct {
	Print configPrint `cmd:"" help:"Print the configuration in force, defaults included and secrets left out."`
	Check configCheck `cmd:"" help:"Report every problem at once."`
}

type configPrint struct{ configFlag }

func (c *configPrint) Run() error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	b, err := cfg.YAML()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}

type configCheck struct{ configFlag }

func (c *configCheck) Run() error {
	if _, err := c.load(); err != nil {
		return err
	}
	fmt.Println("the configuration is sound")
	return nil
}

type versionCommand struct{}

func (versionCommand) Run() error {
	fmt.Println("farcall", processor.Version)
	return nil
}
