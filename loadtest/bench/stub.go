package main

import "context"

func (b *bench) latency(ctx context.Context, o options) error { return nil }
func (b *bench) growth(ctx context.Context, o options) error  { return nil }
func (b *bench) catchUp(ctx context.Context, o options) error { return nil }
