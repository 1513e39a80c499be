// Command kafka runs an Apache Kafka in the background of a developer's machine: `make kafka-up` and `make kafka-down`.
// It starts no second one in the same folder and ends no process but the broker that it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/farcall/farcall/loadtest/kafka"
)

const usage = `usage: kafka up     [--dir DIR] [--port N]   start a broker, and print BROKERS=host:port
       kafka down   [--dir DIR] [--wipe]     stop it; with --wipe remove its data too
       kafka status [--dir DIR]              say whether it runs; exit code 1 if not
`

// errDown is the result of a status that finds no broker.
var errDown = errors.New("no broker runs")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is one command. BROKERS= goes to out, for a shell to read; what a person reads goes to msg.
func run(ctx context.Context, args []string, out, msg io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(msg, usage)
		return flag.ErrHelp
	}
	flags := flag.NewFlagSet("kafka "+args[0], flag.ContinueOnError)
	flags.SetOutput(msg)
	flags.Usage = func() { fmt.Fprint(msg, usage) }
	dir := flags.String("dir", "", "state folder")
	var port *int
	var wipe *bool
	switch args[0] {
	case "up":
		port = flags.Int("port", 0, "client port")
	case "down":
		wipe = flags.Bool("wipe", false, "remove the data")
	case "status":
	default:
		fmt.Fprint(msg, usage)
		return flag.ErrHelp
	}
	if err := flags.Parse(args[1:]); err != nil {
		return flag.ErrHelp
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(msg, "%q is not understood\n%s", flags.Arg(0), usage)
		return flag.ErrHelp
	}
	switch args[0] {
	case "up":
		return up(ctx, *dir, *port, out, msg)
	case "down":
		return down(ctx, *dir, *wipe, msg)
	default:
		return status(*dir, out, msg)
	}
}

func up(ctx context.Context, dir string, port int, out, msg io.Writer) error {
	b, started, err := kafka.Up(ctx, dir, port)
	if err != nil {
		return err
	}
	verb := "runs"
	if !started {
		verb = "runs already"
	}
	fmt.Fprintf(msg, "Apache Kafka %s %s: process %d, data in %s\n", kafka.Version, verb, b.PID, b.Dir)
	hint := ""
	if dir != "" {
		hint = " --dir " + b.Dir
	}
	fmt.Fprintf(msg, "To stop it: go run ./loadtest/kafka/cmd/kafka down%s\n", hint)
	fmt.Fprintf(out, "BROKERS=%s\n", b.Broker)
	return nil
}

func down(ctx context.Context, dir string, wipe bool, msg io.Writer) error {
	stopped, err := kafka.Down(ctx, dir, wipe)
	if err != nil {
		return err
	}
	done := "no broker ran"
	if stopped {
		done = "the broker is stopped"
	}
	if wipe {
		done += ", its data is removed"
	}
	fmt.Fprintln(msg, done)
	return nil
}

func status(dir string, out, msg io.Writer) error {
	b, running, err := kafka.Status(dir)
	if err != nil {
		return err
	}
	if !running {
		return errDown
	}
	fmt.Fprintf(msg, "the broker runs: process %d, data in %s\n", b.PID, b.Dir)
	fmt.Fprintf(out, "BROKERS=%s\n", b.Broker)
	return nil
}
