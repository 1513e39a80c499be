package alert

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func exampleSilence() *Silence {
	return &Silence{
		Account: "111122223333", Since: pane(1), First: pane(200), Pause: 19 * time.Hour, Longest: 4 * time.Hour, Known: 30 * 24 * time.Hour,
		Time: at(0), Created: at(time.Second),
	}
}

// TestSilenceGolden holds the whole document.
func TestSilenceGolden(t *testing.T) {
	over := exampleSilence()
	over.Until = pane(0)
	region := exampleSilence()
	region.Region = "eu-west-1"
	partition := exampleSilence()
	partition.Account, partition.Topic, partition.Partition = "", "cloudtrail", "3"
	for name, s := range map[string]*Silence{"account": exampleSilence(), "over": over, "region": region, "partition": partition} {
		doc, err := s.ECS("1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "silence", name+".json")
		var got bytes.Buffer
		if err := json.Indent(&got, doc, "", "  "); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got.String()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		b, err := ParseBrief(doc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var line strings.Builder
		if err := b.WriteLine(&line, false); err != nil {
			t.Fatal(err)
		}
		if b.ID != s.ID() || b.Version != s.Version() || b.Severity != "low" || !strings.Contains(line.String(), SilenceRuleName) || !strings.Contains(line.String(), s.Reason()) {
			t.Errorf("%s is read back as %+v, and printed as\n%s", name, b, &line)
		}
	}
}

func TestSilenceReason(t *testing.T) {
	for _, c := range []struct {
		change func(*Silence)
		want   string
	}{
		{func(*Silence) {}, "account 111122223333 has been silent for 19 h; its longest pause in 30 days was 4 h"},
		{func(s *Silence) { s.Pause = 95 * time.Hour }, "account 111122223333 has been silent for 95 h; its longest pause in 30 days was 4 h"},
		{func(s *Silence) { s.Pause, s.Longest = 9*24*time.Hour, 65*time.Hour }, "account 111122223333 has been silent for 9 days; its longest pause in 30 days was 65 h"},
		{func(s *Silence) { s.Region = "eu-west-1" }, "region eu-west-1 of account 111122223333 has been silent for 19 h; its longest pause in 30 days was 4 h"},
		{func(s *Silence) { s.Account, s.Topic, s.Partition = "", "cloudtrail", "3" }, "partition 3 of topic cloudtrail has been silent for 19 h; its longest pause in 30 days was 4 h"},
		{func(s *Silence) { s.Until = pane(0) }, "account 111122223333 speaks again, after 19 h of silence"},
	} {
		s := exampleSilence()
		c.change(s)
		if got := s.Reason(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestSilenceID: who and since when make the identity, and nothing else does.
func TestSilenceID(t *testing.T) {
	is := exampleSilence().ID()
	for name, change := range map[string]func(*Silence){
		"account": func(s *Silence) { s.Account = "444455556666" }, "region": func(s *Silence) { s.Region = "eu-west-1" },
		"topic": func(s *Silence) { s.Account, s.Topic = "", "111122223333" }, "partition": func(s *Silence) { s.Partition = "1" },
		"since": func(s *Silence) { s.Since += 3600 },
	} {
		s := exampleSilence()
		if change(s); s.ID() == is {
			t.Errorf("another %s has the same id", name)
		}
	}
	s := exampleSilence()
	s.Until, s.Pause, s.Longest, s.Known, s.First, s.Time, s.Created = 1, 2, 3, 4, 5, 6, 7
	if s.ID() != is || len(is) != 32 {
		t.Errorf("the same silence has the ids %s and %s", is, s.ID())
	}
}
