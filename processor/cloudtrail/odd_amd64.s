#include "textflag.h"

// func oddBlocksAVX2(p *byte, blocks int, odd *uint64)
//
// With its second bit flipped the quote is next above the control characters, and what is not ASCII is below zero, so that one
// signed comparison with '!' tells all of them, and # besides.
TEXT ·oddBlocksAVX2(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	MOVQ blocks+8(FP), CX
	MOVQ odd+16(FP), DI
	MOVL $0x02020202, AX
	MOVQ AX, X0
	VPBROADCASTD X0, Y0
	MOVL $0x21212121, AX
	MOVQ AX, X1
	VPBROADCASTD X1, Y1
	MOVL $0x5e5e5e5e, AX // a backslash with its second bit flipped
	MOVQ AX, X2
	VPBROADCASTD X2, Y2

block:
	VPXOR (SI), Y0, Y3
	VPXOR 32(SI), Y0, Y4
	VPCMPGTB Y3, Y1, Y5
	VPCMPGTB Y4, Y1, Y6
	VPCMPEQB Y3, Y2, Y3
	VPCMPEQB Y4, Y2, Y4
	VPOR Y3, Y5, Y5
	VPOR Y4, Y6, Y6
	VPMOVMSKB Y5, AX
	VPMOVMSKB Y6, BX
	SHLQ $32, BX
	ORQ BX, AX
	MOVQ AX, (DI)
	ADDQ $64, SI
	ADDQ $8, DI
	DECQ CX
	JNZ block
	VZEROUPPER
	RET
