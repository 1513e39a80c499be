// Command farcall finds AWS API calls made from a country that is unusual for the called method.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/farcall/farcall/processor/config"
)

// cli is the command line. Each command lives in the file of its name.
type cli struct {
	Demo        demoCommand        `cmd:"" help:"Watch farcall find intrusions in an invented organisation, on an embedded broker. Needs nothing."`
	Scan        scanCommand        `cmd:"" help:"Judge a folder of CloudTrail files, files, or standard input, without a Kafka."`
	Run         runCommand         `cmd:"" help:"Be a member of the consumer groups: read raw topics, write alerts."`
	Topics      topicsCommand      `cmd:"" help:"Create farcall's topics, or check them for drift."`
	Alerts      alertsCommand      `cmd:"" help:"Read the alerts topic."`
	Exceptions  exceptionsCommand  `cmd:"" help:"Say what is no news: add, list, remove or test exceptions."`
	Verdict     verdictCommand     `cmd:"" help:"Say what an alert was found to be."`
	DeadLetters deadLettersCommand `cmd:"" help:"List what could not be read, and bring back what has been repaired."`
	Config      configCommand      `cmd:"" help:"Print or check the configuration."`
	Version     versionCommand     `cmd:"" help:"Print the version of this build."`
}

// configFlag is shared by the commands that need a configuration.
type configFlag struct {
	Config string `short:"c" type:"existingfile" placeholder:"FILE" help:"YAML configuration; without one, defaults and FARCALL_ environment variables apply."`
}

func (f configFlag) load() (config.Config, error) { return config.Load(f.Config, os.Environ()) }

func logger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("farcall"), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Description("farcall reads AWS CloudTrail and says, within a second, when an API method is called from a country that is unusual for it.\n\nStart with: farcall demo. Then: farcall scan YOUR/AWSLogs, or farcall topics apply and farcall run against your Kafka."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		fmt.Fprintln(os.Stderr, "farcall:", err)
		os.Exit(1)
	}
}
