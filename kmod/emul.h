/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instruction decoder and emulator. It knows nothing of the kernel: memory
 * is reached by two functions, so that the same files are compiled in user
 * space and tested and fuzzed there.
 *
 * Decoding gives the length of every instruction. Executing covers what
 * kernels and firmware use on device memory; registers change in struct
 * atl_emul alone, and the caller takes them over when the result says so.
 */
#ifndef ATOLL_EMUL_H
#define ATOLL_EMUL_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
#endif

enum atl_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

enum atl_emul_result {
	ATL_EMUL_OK,		/* executed: take the registers over */
	ATL_EMUL_EXIT,		/* user space answers first; nothing has changed */
	ATL_EMUL_FAULT,		/* memory functions have queued an exception */
	ATL_EMUL_UNKNOWN,	/* not in the table, or no instruction */
	ATL_EMUL_SHORT,		/* decoding needs more bytes than there are */
};

#define ATL_INSN_MAX 15

struct atl_insn {
	u8 bytes[ATL_INSN_MAX];
	u8 nbytes;		/* how many of them are there */
	u8 len;
	u8 map;			/* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	u8 opcode;
	u8 rex, rep, lock;	/* rep: 0, 0xF2 or 0xF3 */
	bool opsize;		/* prefix 66 */
	bool vex;
	u8 op_bytes, ad_bytes;	/* 2, 4, 8 */
	s8 seg_override;	/* -1: none */
	bool has_modrm;
	u8 modrm, mod, reg, rm;	/* with the bits of REX */
	u8 sib;
	s64 disp;
	u64 imm;
};

struct atl_emul {
	u64 reg[16];
	u64 rip, rflags;
	u8 mode;		/* bytes of an address by default: 2, 4, 8 */
	bool protected_mode;	/* PE set and VM clear: where VEX exists */
	u64 seg_base[6];
	struct atl_insn insn;
	/*
	 * `linear` is an address after segmentation. Both return a result; a
	 * write that returns ATL_EMUL_OK may still be on its way.
	 */
	int (*read)(struct atl_emul *e, u64 linear, void *data, unsigned int len);
	int (*write)(struct atl_emul *e, u64 linear, const void *data, unsigned int len);
	void *context;
};

/* insn.bytes, insn.nbytes and mode are set. OK, UNKNOWN or SHORT. */
int atl_decode(struct atl_emul *e);

/*
 * Executes what was decoded; of repeated string instructions one turn. rip is
 * the next instruction's, or, while turns are left, its own.
 */
int atl_execute(struct atl_emul *e);

/* The offset of the memory operand in its segment, and that segment. */
u64 atl_effective_address(const struct atl_emul *e, int *seg);

#endif
