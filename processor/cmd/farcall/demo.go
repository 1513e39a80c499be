package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/farcall/farcall/processor/demo"
)

type demoCommand struct {
	Seed uint64        `default:"7" help:"Fixes the organisation and what happens to it."`
	Live time.Duration `default:"20s" help:"How long the live traffic, some hours of it, plays."`
	Save string        `placeholder:"DIR" help:"Play nothing: write the story below DIR as CloudTrail files, to try farcall scan on."`
}

func (c *demoCommand) Run(ctx context.Context) error {
	if c.Save == "" {
		return demo.Run(ctx, demo.Options{Seed: c.Seed, Live: c.Live, Out: os.Stdout, Color: isTerminal(os.Stdout), Now: time.Now()})
	}
	n, err := demo.Save(c.Seed, time.Now(), c.Save)
	if err != nil {
		return err
	}
	fmt.Printf("%d files; now try: farcall scan %s\n", n, filepath.Join(c.Save, "AWSLogs"))
	return nil
}
