package cloudtrail

import "golang.org/x/sys/cpu"

func init() {
	if cpu.X86.HasAVX2 {
		oddBlocks = oddBlocksWide
	}
}

func oddBlocksWide(b []byte, odd []uint64) {
	if len(odd) > 0 {
		_ = b[len(odd)*blockBytes-1]
		oddBlocksAVX2(&b[0], len(odd), &odd[0])
	}
}

//go:noescape
func oddBlocksAVX2(p *byte, blocks int, odd *uint64)
