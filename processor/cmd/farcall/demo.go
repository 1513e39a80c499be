package main

import (
	"context"
	"os"
	"time"

	"github.com/farcall/farcall/processor/demo"
)

type demoCommand struct {
	Seed uint64        `default:"7" help:"Fixes the organisation and what happens to it."`
	Live time.Duration `default:"20s" help:"How long the live traffic, some hours of it, plays."`
}

func (c *demoCommand) Run(ctx context.Context) error {
	return demo.Run(ctx, demo.Options{Seed: c.Seed, Live: c.Live, Out: os.Stdout, Color: isTerminal(os.Stdout), Now: time.Now()})
}
