package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/segmentio/encoding/json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/deadletters"
	"github.com/farcall/farcall/topics"
)

type deadLettersCommand struct {
	List   deadLettersList   `cmd:"" help:"List dead letters with reason and source, and count them by reason."`
	Replay deadLettersReplay `cmd:"" help:"Read the source records of dead letters again and write them to where they came from: after an update or another setting, they may be good."`
}

// letterFilter is shared by both.
type letterFilter struct {
	configFlag
	Stage  string        `enum:"route,detect,triage," default:"" help:"Only those of this stage."`
	Reason string        `help:"Only those with this reason, such as too_large."`
	Source string        `placeholder:"TOPIC[/PARTITION[/OFFSET]]" help:"Only those of this source."`
	Since  time.Duration `placeholder:"DURATION" help:"Only those written in the last DURATION, such as 24h."`
}

func (f *letterFilter) open() (client []kgo.Opt, topic string, filter deadletters.Filter, err error) {
	filter = deadletters.Filter{Stage: f.Stage, Reason: f.Reason}
	if f.Source != "" {
		if filter.Source, err = deadletters.ParseSource(f.Source); err != nil {
			return nil, "", filter, err
		}
	}
	if f.Since > 0 {
		filter.Since = time.Now().Add(-f.Since)
	}
	cfg, err := f.load()
	if err != nil {
		return nil, "", filter, err
	}
	client, err = cfg.Kafka.Client()
	return client, topics.NamesFor(cfg.Topics.Prefix).DeadLetters, filter, err
}

type deadLettersList struct {
	letterFilter
	Limit  int    `default:"1000" help:"Print this many at the most; all are counted. 0: no limit."`
	Output string `enum:"table,ndjson" default:"table" help:"table, or ndjson: one JSON object a letter, with its value."`
}

// letterDocument is a dead letter in --output ndjson.
type letterDocument struct {
	Time   time.Time `json:"time"`
	Stage  string    `json:"stage"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
	Source struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
		Byte      int64  `json:"byte"`
	} `json:"source"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Value  string `json:"value,omitempty"`        // where it is text
	Binary []byte `json:"value_base64,omitempty"` // where it is not
}

func (c *deadLettersList) Run(ctx context.Context) error {
	client, topic, filter, err := c.open()
	if err != nil {
		return err
	}
	reasons, n := map[string]int{}, 0
	out := json.NewEncoder(os.Stdout)
	err = deadletters.Read(ctx, client, topic, filter, func(l *deadletters.Letter) error {
		reasons[l.Stage+" "+l.Reason]++
		if n++; c.Limit > 0 && n > c.Limit {
			return nil
		}
		if c.Output == "ndjson" {
			d := letterDocument{Time: l.Time.UTC(), Stage: l.Stage, Reason: l.Reason, Detail: l.Detail, Size: l.Size, SHA256: l.SHA256}
			d.Source.Topic, d.Source.Partition, d.Source.Offset, d.Source.Byte = l.Source.Topic, l.Source.Partition, l.Source.Offset, l.Source.Byte
			if utf8.Valid(l.Value) {
				d.Value = string(l.Value)
			} else {
				d.Binary = l.Value
			}
			return out.Encode(d)
		}
		if n == 1 {
			fmt.Printf("%-19s  %-7s %-15s %9s  %s\n", "TIME (UTC)", "STAGE", "REASON", "BYTES", "SOURCE, DETAIL")
		}
		_, err := fmt.Printf("%-19s  %-7s %-15s %9d  %s/%d offset %d byte %d\n%56s%s\n", l.Time.UTC().Format(time.DateTime), l.Stage, l.Reason, l.Size,
			l.Source.Topic, l.Source.Partition, l.Source.Offset, l.Source.Byte, "", oneLine(l.Detail))
		return err
	})
	if err != nil || c.Output == "ndjson" {
		return err
	}
	fmt.Printf("\n%d dead letters in %s", n, topic)
	for i, r := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int { return reasons[b] - reasons[a] }) {
		sep := ": "
		if i > 0 {
			sep = ", "
		}
		fmt.Printf("%s%d %s", sep, reasons[r], r)
	}
	fmt.Println()
	if c.Limit > 0 && n > c.Limit {
		fmt.Printf("%d were printed; --limit 0 prints all\n", c.Limit)
	}
	return nil
}

// oneLine keeps what a record says of itself from moving the cursor: a detail quotes the bad bytes.
func oneLine(s string) string {
	r := []rune(s)
	for i := range r {
		if r[i] < ' ' || r[i] == 0x7f || r[i] >= 0x80 && r[i] < 0xa0 {
			r[i] = '·'
		}
	}
	return string(r[:min(len(r), 200)])
}

type deadLettersReplay struct {
	letterFilter
	All    bool `help:"Replay every dead letter there is; else at least one filter is needed."`
	DryRun bool `help:"Say what would be done, and write nothing."`
	Again  bool `help:"Also what has been replayed before and was refused again."`
}

func (c *deadLettersReplay) Run(ctx context.Context) error {
	if !c.All && c.Stage == "" && c.Reason == "" && c.Source == "" && c.Since == 0 {
		return errors.New("name what to replay, by --stage, --reason, --source or --since; or --all")
	}
	client, topic, filter, err := c.open()
	if err != nil {
		return err
	}
	counts, err := deadletters.Replay(ctx, client, topic, filter, deadletters.ReplayOptions{
		DryRun: c.DryRun, Again: c.Again,
		Each: func(s topics.Source, what deadletters.Outcome, err error) {
			switch {
			case err != nil:
				fmt.Fprintf(os.Stderr, "%s/%d offset %d: %s: %v\n", s.Topic, s.Partition, s.Offset, what, err)
			case c.DryRun:
				fmt.Printf("%s/%d offset %d: %s\n", s.Topic, s.Partition, s.Offset, what)
			}
		},
	})
	done := "written again"
	if c.DryRun {
		done = "would be written again"
	}
	fmt.Printf("%d source records %s, %d more from their dead letters; %d left alone, since they came from a replay (--again takes them too); %d lost, %d failed\n",
		counts[deadletters.Replayed], done, counts[deadletters.FromLetter], counts[deadletters.Before], counts[deadletters.Lost], counts[deadletters.Failed])
	if err == nil && counts[deadletters.Lost]+counts[deadletters.Failed] > 0 {
		err = errors.New("not everything could be replayed")
	}
	return err
}
