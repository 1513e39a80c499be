package decisions_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor"
	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/config"
	"github.com/farcall/farcall/processor/decisions"
	"github.com/farcall/farcall/topics"
)

// installation is farcall's later stages on an embedded broker.
type installation struct {
	*testing.T
	ctx    context.Context
	client []kgo.Opt
	names  topics.Names
	cl     *kgo.Client
	serial int64
	began  time.Time
}

func start(t *testing.T) *installation {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Partitions, cfg.State.Dir, cfg.Stages = c.ListenAddrs(), 3, t.TempDir(), []string{"detect", "triage"}
	cfg.Triage.Threshold = 20 // below what one method of a principal without a history comes to
	i := &installation{T: t, ctx: ctx, client: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, names: topics.NamesFor("farcall"), began: time.Now().Truncate(time.Hour)}
	if i.cl, err = kgo.NewClient(append(i.client, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.cl.Close)
	if _, _, err := topics.Apply(ctx, kadm.NewClient(i.cl), cfg.TopicOptions(), 1); err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(run, cfg, processor.Options{NoConsole: true, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return i
}

// happen writes an anomaly that wakes somebody, and waits until the alert is written, here or there.
func (i *installation) happen(principal, method string) alert.Brief {
	i.Helper()
	i.serial++
	at := i.began.Add(time.Duration(i.serial) * time.Second)
	a := topics.Anomaly{
		Score: 100, Probability: 0.0001, Level: topics.Unseen, Distribution: topics.Distribution{Visits: 400, Own: -1},
		Visit: topics.Visit{
			Method: method, Principal: principal, Place: "NG", Pane: i.began.Unix(), Outcome: topics.Allowed, Horizon: at.UnixMilli(),
			Evidence: topics.Evidence{EventTime: at.UnixMilli(), EventID: fmt.Sprint("e", i.serial), Account: "111122223333", PrincipalAccount: "111122223333"},
		},
	}
	if err := i.cl.ProduceSync(i.ctx, &kgo.Record{Topic: i.names.Principals, Key: a.Key(), Value: a.Append(nil, nil)}).FirstErr(); err != nil {
		i.Fatal(err)
	}
	return i.await(func(b alert.Brief) bool { return b.Principal == principal && slices.Contains(b.Methods, method) })
}

func (i *installation) await(is func(alert.Brief) bool) (found alert.Brief) {
	i.Helper()
	for ok := false; !ok; {
		err := decisions.Alerts(i.ctx, i.client, i.names, time.Time{}, func(b alert.Brief) error {
			if is(b) {
				found, ok = b, true
			}
			return nil
		})
		if err != nil {
			i.Fatal(err)
		}
	}
	return found
}

func TestExceptionLives(t *testing.T) {
	t.Parallel()
	i := start(t)
	if b := i.happen("1/user/anna", "iam:CreateUser"); b.HeldBack != "" {
		t.Fatalf("held back by %s without an exception", b.HeldBack)
	}
	e := &topics.Exception{ID: "aabbcc", Principal: "*/user/b*", Place: "NG", Reason: "they work there", Author: "ops", Created: time.Now().UnixMilli()}
	if err := decisions.Announce(i.ctx, i.client, i.names, e); err != nil {
		t.Fatal(err)
	}
	// Whichever task owns them.
	for _, who := range []string{"bert", "bob", "boris", "bella", "bruno", "bea"} {
		if b := i.happen("1/user/"+who, "iam:CreateUser"); b.HeldBack != "exception" {
			t.Errorf("%s was held back by %q", who, b.HeldBack)
		}
	}
	if b := i.happen("1/user/carl", "iam:CreateUser"); b.HeldBack != "" {
		t.Errorf("carl was held back by %q", b.HeldBack)
	}
	listed, err := decisions.List(i.ctx, i.client, i.names)
	if err != nil || len(listed) != 1 || listed[0].ID != e.ID || listed[0].Match() != "principal=*/user/b* country=NG" {
		t.Fatalf("listed: %+v, %v", listed, err)
	}
	fits := 0
	if err := decisions.Alerts(i.ctx, i.client, i.names, time.Time{}, func(b alert.Brief) error {
		if decisions.Matches(e, &b) {
			fits++
		}
		return nil
	}); err != nil || fits != 6 {
		t.Errorf("%d alerts of the past fit, %v", fits, err)
	}
	e.Removed = true
	if err := decisions.Announce(i.ctx, i.client, i.names, e); err != nil {
		t.Fatal(err)
	}
	if b := i.happen("1/user/benno", "iam:CreateUser"); b.HeldBack != "" {
		t.Errorf("held back by %q after the exception was removed", b.HeldBack)
	}
	if listed, err := decisions.List(i.ctx, i.client, i.names); err != nil || len(listed) != 0 {
		t.Errorf("listed after its removal: %+v, %v", listed, err)
	}
}

func TestExceptionIsChecked(t *testing.T) {
	t.Parallel()
	for _, e := range []topics.Exception{
		{ID: "x", Reason: "r", Author: "a"},
		{ID: "x", Place: "NG", Author: "a"},
		{ID: "x", Place: "NG", Reason: "r"},
		{ID: "x", Place: "NG", Reason: "r", Author: "a", Created: 10, Expires: 5},
	} {
		if err := decisions.Announce(t.Context(), nil, topics.NamesFor("farcall"), &e); err == nil {
			t.Errorf("%+v was taken", e)
		}
	}
}

func TestVerdictLives(t *testing.T) {
	t.Parallel()
	i := start(t)
	b := i.happen("1/user/mallory", "iam:CreateUser")
	if _, err := decisions.Find(i.ctx, i.client, i.names, "ffffff"); !errors.Is(err, decisions.ErrNoAlert) {
		t.Errorf("an alert that does not exist: %v", err)
	}
	found, err := decisions.Find(i.ctx, i.client, i.names, b.ID[:8])
	if err != nil || found.ID != b.ID {
		t.Fatalf("found %s, %v", found.ID, err)
	}
	if err := decisions.Decide(i.ctx, i.client, i.names, &topics.Verdict{Principal: b.Principal, AlertID: b.ID, Malicious: true, Author: "ops", Created: 1}); err != nil {
		t.Fatal(err)
	}
	i.await(func(n alert.Brief) bool { return n.ID == b.ID && n.Version > b.Version })
	retracted := map[string]bool{}
	if err := topics.Read(i.ctx, i.client, i.names.Visits, time.Time{}, func(r *kgo.Record) error {
		var back topics.Retraction
		if err := back.Decode(r.Value); err != nil {
			return err
		}
		retracted[back.Method] = back.Principal == b.Principal && back.Place == "NG"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(retracted) != 2 || !retracted["iam:CreateUser"] || !retracted[topics.AnyMethod] {
		t.Errorf("retracted: %v", retracted)
	}
}
