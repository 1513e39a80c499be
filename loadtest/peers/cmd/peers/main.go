// Command peers writes what the peers of farcall load, and compares what they have learned with what farcall has.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/farcall/farcall/loadtest/peers"
)

const usage = `usage: peers places                                   write the table of places
       peers rows --brokers HOST:PORT --prefix PREFIX  write the rows of farcall
       peers compare FILE FILE                         say where two files of rows differ; exit code 1 if they do
`

var errDiffer = errors.New("the rows differ")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return flag.ErrHelp
	}
	switch args[0] {
	case "places":
		return peers.WritePlaces(out)
	case "rows":
		flags := flag.NewFlagSet("rows", flag.ContinueOnError)
		brokers := flags.String("brokers", "", "brokers, separated by commas")
		prefix := flags.String("prefix", "farcall", "prefix of the topics")
		if flags.Parse(args[1:]) != nil || *brokers == "" {
			return flag.ErrHelp
		}
		return peers.Rows(ctx, strings.Split(*brokers, ","), *prefix, out)
	case "compare":
		if len(args) != 3 {
			return flag.ErrHelp
		}
		return compare(args[1], args[2], out)
	}
	return flag.ErrHelp
}

func compare(a, b string, out io.Writer) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	w := bufio.NewWriter(out)
	defer w.Flush()
	difference, rows, err := peers.Compare(fa, fb)
	if err != nil {
		return err
	}
	if difference != "" {
		fmt.Fprint(w, difference)
		return errDiffer
	}
	fmt.Fprintf(w, "%d rows, all the same\n", rows)
	return nil
}
