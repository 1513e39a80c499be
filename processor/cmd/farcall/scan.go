package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/farcall/farcall/processor"
	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/detect"
	"github.com/farcall/farcall/processor/geo"
	"github.com/farcall/farcall/processor/scan"
)

type scanCommand struct {
	configFlag
	Paths     []string `arg:"" name:"path" help:"Folders of CloudTrail files (such as AWSLogs), files, or - for standard input. Every wire form is read, gzip or not."`
	Output    string   `enum:"table,ndjson" default:"table" help:"table, or ndjson: the ECS documents that farcall run would write, one a line."`
	Threshold float64  `default:"-1" placeholder:"SCORE" help:"Least score that makes an alert, 0 to 100; default from the configuration (50)."`
	TempDir   string   `type:"existingdir" placeholder:"DIR" help:"Where to keep what does not fit into memory."`
	Quiet     bool     `short:"q" help:"No progress and no summary."`
}

// Help teaches.
func (scanCommand) Help() string {
	return `Events are judged in the order of their time, as if they had come live; the first days teach what is usual, so scan
at least a week. Alerts go to standard output, progress and summary to standard error.

  farcall scan AWSLogs/
  aws s3 cp s3://bucket/key.json.gz - | farcall scan -
  farcall scan --output ndjson AWSLogs/ > alerts.ndjson`
}

func (c *scanCommand) Run(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.Threshold >= 0 {
		cfg.Triage.Threshold = c.Threshold
		if err := cfg.Validate(); err != nil {
			return err
		}
	}
	cfg.Triage.Cap = 0 // a scan wakes nobody: whoever reads it wants all
	windows := cfg.DetectConfig()
	windows.CacheEntries = cfg.Detect.CacheEntries // a scan has no partitions to share it
	locator, err := geo.Open(geo.Options{Path: cfg.Geo.Database, ASNPath: cfg.Geo.ASNDatabase, CacheEntries: cfg.Geo.CacheEntries, Log: logger(cfg.Log)})
	if err != nil {
		return err
	}
	defer locator.Close()
	bar := newBar(os.Stderr, !c.Quiet && isTerminal(os.Stderr))
	p := newPrinter(os.Stdout, c.Output)
	sum, err := scan.Run(ctx, scan.Options{
		Paths: c.Paths, Input: os.Stdin, Route: cfg.RouteConfig(), Detect: windows, Triage: cfg.TriageConfig(),
		Locator: locator, TempDir: c.TempDir, Now: time.Now, Log: logger(cfg.Log), Progress: bar.update,
		Alert: func(a *alert.Alert) error {
			if c.Output == "ndjson" {
				doc, err := a.ECS(processor.Version)
				if err != nil {
					return err
				}
				return p.print(doc)
			}
			return p.line(a.Brief())
		},
	})
	bar.stop()
	if err != nil {
		return err
	}
	if !c.Quiet {
		summarise(os.Stderr, sum, locator.Build(), cfg.Triage.Threshold)
	}
	if sum.Stats.Events == 0 && sum.Stats.Records > 0 {
		return errors.New("nothing in there is a CloudTrail event; the summary says what was found")
	}
	return nil
}

// bar shows how far a scan is.
type bar struct {
	mu    sync.Mutex
	w     progress.Writer
	steps map[string]*progress.Tracker
}

func newBar(w io.Writer, on bool) *bar {
	b := &bar{steps: map[string]*progress.Tracker{}}
	if !on {
		return b
	}
	b.w = progress.NewWriter()
	b.w.SetOutputWriter(w)
	b.w.SetUpdateFrequency(200 * time.Millisecond)
	b.w.SetTrackerLength(30)
	b.w.SetStyle(progress.StyleBlocks)
	b.w.SetMessageLength(10)
	go b.w.Render()
	return b
}

func (b *bar) update(step string, done, total int64) {
	if b.w == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.steps[step]
	if t == nil {
		t = &progress.Tracker{Message: step, Total: total}
		if step == "reading" {
			t.Units = progress.UnitsBytes
		}
		for _, other := range b.steps {
			other.MarkAsDone()
		}
		b.steps[step] = t
		b.w.AppendTracker(t)
	}
	t.SetValue(done)
}

func (b *bar) stop() {
	if b.w == nil {
		return
	}
	b.mu.Lock()
	for _, t := range b.steps {
		t.MarkAsDone()
	}
	b.mu.Unlock()
	b.w.Stop()
	for b.w.IsRenderInProgress() {
		time.Sleep(10 * time.Millisecond)
	}
}

// summarise says what was read, skipped and why.
func summarise(w io.Writer, s *scan.Summary, build string, threshold float64) {
	st := s.Stats
	fmt.Fprintf(w, "\nread      %d files, %.1f MB in %s", s.Files, float64(s.Bytes)/1e6, s.Read.Round(time.Millisecond))
	if sec := s.Read.Seconds(); sec > 0 && st.Events > 0 {
		fmt.Fprintf(w, " (%.0f events/s)", float64(st.Events)/sec)
	}
	fmt.Fprintf(w, "\nevents    %d", st.Events)
	if st.Events > 0 && s.Last > 0 {
		day := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04") }
		fmt.Fprintf(w, ", located ones from %s to %s", day(s.First), day(s.Last))
	}
	fmt.Fprintf(w, "\nvisits    %d judged in %s; places by %s\n", st.Visits, s.Judged.Round(time.Millisecond), build)
	list := func(title string, m map[string]int64) {
		if len(m) == 0 {
			return
		}
		keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = fmt.Sprintf("%d %s", m[k], k)
		}
		fmt.Fprintf(w, "%-9s %s\n", title, strings.Join(parts, ", "))
	}
	list("no place", st.NoPlace.ByName())
	list("skipped", st.Skipped)
	list("ignored", st.Ignored)
	list("refused", st.Refused)
	if s.Empty+s.Unreadable > 0 {
		fmt.Fprintf(w, "files     %d empty, %d unreadable\n", s.Empty, s.Unreadable)
	}
	if n := s.Results[detect.Stale] + s.Results[detect.Late]; n > 0 {
		fmt.Fprintf(w, "late      %d visits came too late to be judged\n", n)
	}
	for i, b := range s.Bad {
		if i == 10 {
			fmt.Fprintf(w, "  … and more of the kind\n")
			break
		}
		detail := []rune(b.Detail)
		if len(detail) > 120 {
			detail = append(detail[:120], '…')
		}
		fmt.Fprintf(w, "  %s at byte %d: %s: %s\n", b.Path, b.Byte, b.Reason, string(detail))
	}
	total := int64(0)
	for _, n := range s.Alerts {
		total += n
	}
	fmt.Fprintf(w, "alerts    %d at or above %g", total, threshold)
	for _, sev := range []alert.Severity{alert.Critical, alert.High, alert.Medium, alert.Low} {
		if n := s.Alerts[sev]; n > 0 {
			fmt.Fprintf(w, ", %d %s", n, sev)
		}
	}
	fmt.Fprintln(w)
	if days := time.Duration(s.Last-s.First) * time.Millisecond; st.Events > 0 && days < 7*24*time.Hour {
		fmt.Fprintf(w, "hint      %s of events teach little about what is usual: a method needs about 200 visits before a new country scores 50\n", days.Round(time.Minute))
	}
}
