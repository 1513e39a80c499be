package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/farcall/farcall/processor/alert"
	"github.com/farcall/farcall/processor/decisions"
	"github.com/farcall/farcall/topics"
)

type exceptionsCommand struct {
	Add    exceptionsAdd    `cmd:"" help:"Hear no more about what matches. The alerts go to the topic of alerts held back instead."`
	List   exceptionsList   `cmd:"" help:"List the exceptions in force."`
	Remove exceptionsRemove `cmd:"" help:"Take an exception back."`
	Test   exceptionsTest   `cmd:"" help:"Show which alerts of the past an exception would have kept, and write nothing."`
}

// installation is what a command needs to speak with one.
func (f configFlag) installation() ([]kgo.Opt, topics.Names, error) {
	cfg, err := f.load()
	if err != nil {
		return nil, topics.Names{}, err
	}
	client, err := cfg.Kafka.Client()
	return client, topics.NamesFor(cfg.Topics.Prefix), err
}

// author is who decides, by default.
func author() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// matchFlags are the conditions of an exception.
type matchFlags struct {
	Principal string `help:"The principal, as the alert names it; * stands for any run of characters, here and below."`
	Role      string `help:"The name of the role whose session calls."`
	Account   string `help:"The account of the caller, or the one that is called."`
	Country   string `help:"The place: an ISO code such as NL, or aws:eu-west-1."`
	Network   string `help:"The network, such as AS64496: all networks of the alert must match."`
	Client    string `help:"The client, such as 'terraform*': all clients of the alert must match."`
	Method    string `help:"The method, such as 's3:*': all unusual methods of the alert must match."`
}

func (m *matchFlags) exception() *topics.Exception {
	return &topics.Exception{Principal: m.Principal, Role: m.Role, Account: m.Account, Place: m.Country, Network: m.Network, Client: m.Client, Method: m.Method}
}

type exceptionsAdd struct {
	configFlag
	matchFlags
	Reason  string        `required:"" help:"Why this is no news; whoever reads it in a year will ask."`
	Author  string        `help:"Who decided it; default: the user of this machine."`
	Expires time.Duration `default:"2160h" placeholder:"DURATION" help:"When it falls away, such as 720h; 0: never."`
}

func (c *exceptionsAdd) Run(ctx context.Context) error {
	client, names, err := c.installation()
	if err != nil {
		return err
	}
	e := c.exception()
	id := make([]byte, 6)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	now := time.Now()
	e.ID, e.Reason, e.Author, e.Created = hex.EncodeToString(id), c.Reason, c.Author, now.UnixMilli()
	if e.Author == "" {
		e.Author = author()
	}
	if c.Expires > 0 {
		e.Expires = now.Add(c.Expires).UnixMilli()
	}
	if err := decisions.Announce(ctx, client, names, e); err != nil {
		return err
	}
	fmt.Printf("exception %s: %s\n", e.ID, e.Match())
	return nil
}

type exceptionsList struct{ configFlag }

func (c *exceptionsList) Run(ctx context.Context) error {
	client, names, err := c.installation()
	if err != nil {
		return err
	}
	found, err := decisions.List(ctx, client, names)
	if err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	for _, e := range found {
		until := "for good"
		switch {
		case e.Expires != 0 && e.Expires <= now:
			until = "expired"
		case e.Expires != 0:
			until = "until " + time.UnixMilli(e.Expires).UTC().Format(time.DateOnly)
		}
		fmt.Printf("%s  %s  by %s on %s, %s\n              %s\n", e.ID, oneLine(e.Match()), oneLine(e.Author), time.UnixMilli(e.Created).UTC().Format(time.DateOnly), until, oneLine(e.Reason))
	}
	fmt.Printf("%d exceptions\n", len(found))
	return nil
}

type exceptionsRemove struct {
	configFlag
	ID string `arg:"" help:"The id of the exception; farcall exceptions list has them."`
}

func (c *exceptionsRemove) Run(ctx context.Context) error {
	client, names, err := c.installation()
	if err != nil {
		return err
	}
	found, err := decisions.List(ctx, client, names)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.ID == c.ID {
			e.Removed = true
			if err := decisions.Announce(ctx, client, names, e); err != nil {
				return err
			}
			fmt.Printf("removed exception %s: %s\n", e.ID, e.Match())
			return nil
		}
	}
	return fmt.Errorf("no exception has the id %q; farcall exceptions list has those in force", c.ID)
}

type exceptionsTest struct {
	configFlag
	matchFlags
	Since time.Duration `default:"720h" placeholder:"DURATION" help:"How far back to look."`
}

func (c *exceptionsTest) Run(ctx context.Context) error {
	client, names, err := c.installation()
	if err != nil {
		return err
	}
	e := c.exception()
	if e.Match() == "" {
		return errors.New("name at least one condition")
	}
	all, kept := 0, 0
	err = decisions.Alerts(ctx, client, names, time.Now().Add(-c.Since), func(b alert.Brief) error {
		if b.RollUp {
			return nil
		}
		all++
		if !decisions.Matches(e, &b) {
			return nil
		}
		if kept++; kept == 1 {
			if err := alert.WriteHeader(os.Stdout); err != nil {
				return err
			}
		}
		return b.WriteLine(os.Stdout, false)
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d of %d alerts fall under %s\n", kept, all, e.Match())
	return nil
}

type verdictCommand struct {
	configFlag
	Alert   string `arg:"" help:"The id of the alert, or the beginning of it."`
	Verdict string `arg:"" enum:"benign,malicious" help:"benign: the place is no news to the principal any more. malicious: what the intruder taught is taken back, and the place stays news."`
	Author  string `help:"Who decided it; default: the user of this machine."`
	Note    string `help:"What was found."`
}

func (c *verdictCommand) Run(ctx context.Context) error {
	client, names, err := c.installation()
	if err != nil {
		return err
	}
	b, err := decisions.Find(ctx, client, names, c.Alert)
	if err != nil {
		return err
	}
	if b.RollUp {
		return errors.New("that is a roll-up of alerts held back: give the verdict on each of them")
	}
	v := &topics.Verdict{Principal: b.Principal, AlertID: b.ID, Malicious: c.Verdict == "malicious", Author: c.Author, Note: c.Note, Created: time.Now().UnixMilli()}
	if v.Author == "" {
		v.Author = author()
	}
	if err := decisions.Decide(ctx, client, names, v); err != nil {
		return err
	}
	fmt.Printf("alert %s is %s: %s\n", b.ID, v.Word(), oneLine(b.Message))
	if v.Malicious {
		fmt.Println("What it taught about the methods of the alert is taken back; farcall_visits_total says how much could be.")
		return nil
	}
	fmt.Println("The profile of the principal has learned it. If others will do the same, the narrowest exception for it is:")
	fmt.Printf("  farcall exceptions add --principal %s --country %s", quoted(b.Principal), quoted(b.Place))
	if len(b.Clients) == 1 {
		fmt.Printf(" --client %s", quoted(b.Clients[0]))
	}
	fmt.Println(" --reason '…'")
	return nil
}

// quoted is a text as a shell takes it.
func quoted(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@+=,", r))
	}) < 0 && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
