package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/segmentio/encoding/json"
)

// The rule of notices of silence.
const (
	SilenceRuleID      = "farcall.silence"
	SilenceRuleName    = "Silence In CloudTrail"
	SilenceRuleVersion = "1"
)

// Silence is a notice that something that used to speak no longer does, or does again: an account, a region of one, or a partition of
// a raw topic. Nothing of it can be judged meanwhile. A notice about its end has the same ID and the next version.
type Silence struct {
	Account, Region  string // Region "": the whole account
	Topic, Partition string // of a raw partition; Account is "" then

	Since   int64         // start of the last pane it spoke in, Unix seconds
	Until   int64         // start of the pane it spoke in again; 0 while it is silent
	Pause   time.Duration // how long it was silent, so far
	Longest time.Duration // its longest pause before, over the time Known
	Known   time.Duration
	First   int64 // start of the first pane it ever spoke in, Unix seconds
	Time    int64 // of the event that showed it, Unix milliseconds
	Created int64 // Unix milliseconds
}

// What is "account", "region" or "partition".
func (s *Silence) What() string {
	switch {
	case s.Account == "":
		return "partition"
	case s.Region == "":
		return "account"
	}
	return "region"
}

// ID is the identity of a silence: it depends on who is silent and since when alone, so that a replay makes the same.
func (s *Silence) ID() string {
	h := sha256.New()
	fmt.Fprintf(h, "farcall silence 1\x00%s\x00%s\x00%s\x00%s\x00%d", s.Account, s.Region, s.Topic, s.Partition, s.Since)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Version is 1 while it is silent, and 2 once it spoke again.
func (s *Silence) Version() int64 {
	if s.Until == 0 {
		return 1
	}
	return 2
}

// Reason is the notice in one sentence.
func (s *Silence) Reason() string {
	who := "account " + s.Account
	switch s.What() {
	case "region":
		who = "region " + s.Region + " of account " + s.Account
	case "partition":
		who = "partition " + s.Partition + " of topic " + s.Topic
	}
	if s.Until != 0 {
		return fmt.Sprintf("%s speaks again, after %s of silence", who, span(s.Pause))
	}
	return fmt.Sprintf("%s has been silent for %s; its longest pause in %s was %s", who, span(s.Pause), span(s.Known), span(s.Longest))
}

// span spells a time of silence: in hours, and in days from four on.
func span(d time.Duration) string {
	if d < 4*24*time.Hour {
		return fmt.Sprintf("%d h", int64(d.Hours()))
	}
	return fmt.Sprintf("%d days", int64(d.Hours()/24))
}

// The types below are the ECS document of a notice: it shares with that of an alert what a SIEM sorts and routes by.
type (
	silenceDoc struct {
		Timestamp string         `json:"@timestamp"`
		Message   string         `json:"message"`
		Tags      []string       `json:"tags"`
		ECS       ecsVersion     `json:"ecs"`
		Event     ecsEvent       `json:"event"`
		Rule      ecsRule        `json:"rule"`
		Threat    ecsThreat      `json:"threat"`
		Cloud     *ecsCloud      `json:"cloud,omitempty"`
		Observer  ecsObserver    `json:"observer"`
		Farcall   silenceFarcall `json:"farcall"`
	}
	silenceFarcall struct {
		AlertID  string     `json:"alert_id"`
		Version  int64      `json:"version"`
		Severity string     `json:"severity"`
		Silence  ecsSilence `json:"silence"`
	}
	ecsSilence struct {
		What           string `json:"what"`
		Account        string `json:"account,omitempty"`
		Region         string `json:"region,omitempty"`
		Topic          string `json:"topic,omitempty"`
		Partition      string `json:"partition,omitempty"`
		Since          string `json:"since"`
		Until          string `json:"until,omitempty"`
		Seconds        int64  `json:"seconds"`
		LongestSeconds int64  `json:"longest_seconds"`
		KnownSeconds   int64  `json:"known_seconds"`
		First          string `json:"first"`
	}
)

// ECS encodes the notice as one JSON document in the Elastic Common Schema. version is farcall's own, for observer.version.
func (s *Silence) ECS(version string) ([]byte, error) {
	doc := silenceDoc{
		Timestamp: millis(s.Time), Message: s.Reason(),
		Tags: []string{"Domain: Cloud", "Data Source: AWS", "Data Source: AWS CloudTrail", "Tactic: Defense Evasion"},
		ECS:  ecsVersion{ECSVersion},
		Event: ecsEvent{
			Kind: "alert", Category: []string{"configuration"}, Type: []string{"info"}, Action: "silence", Provider: "farcall", Outcome: "unknown",
			ID: s.ID(), Code: "silence", Module: "farcall", Dataset: "farcall.alert",
			Severity: int(Low), RiskScore: float64(Low), RiskScoreNorm: float64(Low), Reason: s.Reason(), Sequence: s.Version(),
			Created: millis(s.Created), Start: millis(s.Since * 1000), End: millis(s.Time),
		},
		Rule: ecsRule{
			ID: SilenceRuleID, Name: SilenceRuleName, Version: SilenceRuleVersion, Category: "visibility", Ruleset: "farcall",
			Description: "Something that used to appear in CloudTrail no longer does: its trail was stopped, its delivery is broken, or it is no longer used.",
		},
		Threat: ecsThreat{
			Framework: "MITRE ATT&CK",
			Tactic:    ecsNamed{[]string{"TA0005"}, []string{"Defense Evasion"}, []string{"https://attack.mitre.org/tactics/TA0005/"}},
			Technique: ecsTechnique{
				ecsNamed{[]string{"T1562"}, []string{"Impair Defenses"}, []string{"https://attack.mitre.org/techniques/T1562/"}},
				ecsNamed{[]string{"T1562.008"}, []string{"Disable or Modify Cloud Logs"}, []string{"https://attack.mitre.org/techniques/T1562/008/"}},
			},
		},
		Observer: ecsObserver{"farcall", "farcall", "stream processor", version},
		Farcall: silenceFarcall{
			AlertID: s.ID(), Version: s.Version(), Severity: Low.String(),
			Silence: ecsSilence{
				What: s.What(), Account: s.Account, Region: s.Region, Topic: s.Topic, Partition: s.Partition,
				Since: seconds(s.Since), Until: seconds(s.Until), First: seconds(s.First),
				Seconds: int64(s.Pause.Seconds()), LongestSeconds: int64(s.Longest.Seconds()), KnownSeconds: int64(s.Known.Seconds()),
			},
		},
	}
	if s.Account != "" {
		doc.Cloud = &ecsCloud{Provider: "aws", Account: ecsID{s.Account}, Region: s.Region}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode notice %s: %w", s.ID(), err)
	}
	return b, nil
}
