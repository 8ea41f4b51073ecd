// SPDX-License-Identifier: GPL-2.0-only
/*
 * The decoder: prefixes, opcode, ModRM, SIB, displacement, immediates. AMD64
 * Architecture Programmer's Manual, volume 3, chapter 1 and appendix A. Total:
 * each sequence of bytes has a length, is no instruction, or is too short.
 */
#include "emul.h"

/* What follows an opcode. */
#define M	0x01	/* ModRM */
#define I8	0x02	/* immediate of one byte */
#define IZ	0x04	/* of two or four, by operand size */
#define IV	0x08	/* of two, four or eight */
#define I16	0x10	/* of two */
#define MOF	0x20	/* an address, by address size */
#define FAR	0x40	/* offset by operand size, and selector; not in 64-bit mode */
#define N64	0x80	/* not in 64-bit mode */
#define X	0x100	/* no instruction */
#define G3	0x200	/* immediate only for /0 and /1 */

#define ALU(base)							\
	[(base) + 0 ... (base) + 3] = M, [(base) + 4] = I8, [(base) + 5] = IZ

static const u16 one_byte[256] = {
	ALU(0x00), [0x06 ... 0x07] = N64,
	ALU(0x08), [0x0e] = N64,
	ALU(0x10), [0x16 ... 0x17] = N64,
	ALU(0x18), [0x1e ... 0x1f] = N64,
	ALU(0x20), [0x27] = N64,
	ALU(0x28), [0x2f] = N64,
	ALU(0x30), [0x37] = N64,
	ALU(0x38), [0x3f] = N64,
	[0x60 ... 0x61] = N64, [0x62] = M, [0x63] = M,
	[0x68] = IZ, [0x69] = M | IZ, [0x6a] = I8, [0x6b] = M | I8,
	[0x70 ... 0x7f] = I8,
	[0x80] = M | I8, [0x81] = M | IZ, [0x82] = M | I8 | N64, [0x83] = M | I8,
	[0x84 ... 0x8f] = M,
	[0x9a] = FAR | N64,
	[0xa0 ... 0xa3] = MOF,
	[0xa8] = I8, [0xa9] = IZ,
	[0xb0 ... 0xb7] = I8, [0xb8 ... 0xbf] = IV,
	[0xc0 ... 0xc1] = M | I8, [0xc2] = I16,
	[0xc4 ... 0xc5] = M | N64,
	[0xc6] = M | I8, [0xc7] = M | IZ,
	[0xc8] = I16 | I8, [0xca] = I16, [0xcd] = I8, [0xce] = N64,
	[0xd0 ... 0xd3] = M, [0xd4 ... 0xd5] = I8 | N64, [0xd6] = N64,
	[0xd8 ... 0xdf] = M,
	[0xe0 ... 0xe7] = I8, [0xe8 ... 0xe9] = IZ, [0xea] = FAR | N64, [0xeb] = I8,
	[0xf6] = M | I8 | G3, [0xf7] = M | IZ | G3,
	[0xfe ... 0xff] = M,
};

static const u16 two_byte[256] = {
	[0x00 ... 0x03] = M, [0x04] = X, [0x0a] = X, [0x0c] = X, [0x0d] = M, [0x0f] = M | I8,
	[0x10 ... 0x23] = M, [0x24 ... 0x27] = X, [0x28 ... 0x2f] = M,
	[0x36] = X, [0x39] = X, [0x3b ... 0x3f] = X,
	[0x40 ... 0x6f] = M, [0x70 ... 0x73] = M | I8, [0x74 ... 0x76] = M,
	[0x78 ... 0x79] = M, [0x7a ... 0x7b] = X, [0x7c ... 0x7f] = M,
	[0x80 ... 0x8f] = IZ, [0x90 ... 0x9f] = M,
	[0xa3] = M, [0xa4] = M | I8, [0xa5] = M, [0xa6 ... 0xa7] = X,
	[0xab] = M, [0xac] = M | I8, [0xad ... 0xb9] = M, [0xba] = M | I8, [0xbb ... 0xc1] = M,
	[0xc2] = M | I8, [0xc3] = M, [0xc4 ... 0xc6] = M | I8, [0xc7] = M,
	[0xd0 ... 0xff] = M,
};

struct reader {
	struct atl_insn *i;
	bool ended;
};

static u64 take(struct reader *r, unsigned int n)
{
	u64 out = 0;
	unsigned int k;

	if (r->i->len + n > r->i->nbytes) {
		r->ended = true;
		return 0;
	}
	for (k = 0; k < n; k++)
		out |= (u64)r->i->bytes[r->i->len + k] << (8 * k);
	r->i->len += n;
	return out;
}

static s64 take_signed(struct reader *r, unsigned int n)
{
	const u64 v = take(r, n);

	return n == 1 ? (s8)v : n == 2 ? (s16)v : n == 4 ? (s32)v : (s64)v;
}

/* The prefix, or 0, which is none. */
static bool prefix(struct atl_insn *i, u8 byte)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e:
		i->seg_override = (byte >> 3) & 3;
		return true;
	case 0x64: case 0x65:
		i->seg_override = byte - 0x64 + SEG_FS;
		return true;
	case 0x66:
		i->opsize = true;
		return true;
	case 0x67:
		i->ad_bytes = 0;	/* the other one; chosen below */
		return true;
	case 0xf0:
		i->lock = 1;
		return true;
	case 0xf2: case 0xf3:
		i->rep = byte;
		return true;
	default:
		return false;
	}
}

static void displacement(struct reader *r)
{
	struct atl_insn *i = r->i;
	const u8 rm = i->modrm & 7;
	unsigned int bytes = i->mod == 1 ? 1 : 0;

	if (i->mod == 3)
		return;
	if (i->ad_bytes == 2) {
		if (i->mod == 2 || (i->mod == 0 && rm == 6))
			bytes = 2;
	} else {
		if (rm == 4)
			i->sib = take(r, 1);
		if (i->mod == 2 || (i->mod == 0 && (rm == 5 || (rm == 4 && (i->sib & 7) == 5))))
			bytes = 4;
	}
	if (bytes)
		i->disp = take_signed(r, bytes);
}

/* After C4, C5 or 62 that is not LES, LDS or BOUND. */
static u16 vector_prefix(struct reader *r, u8 first)
{
	struct atl_insn *i = r->i;
	u8 map = 1;

	i->vex = true;
	if (first == 0xc4) {
		map = take(r, 1) & 0x1f;
		take(r, 1);
	} else if (first == 0xc5) {
		take(r, 1);
	} else {
		map = take(r, 1) & 7;
		take(r, 2);
	}
	i->map = map;
	i->opcode = take(r, 1);
	if (map == 1)
		return i->opcode == 0x77 && first != 0x62 ? 0 :
		       two_byte[i->opcode] & I8 ? M | I8 : M;
	return map == 2 ? M : map == 3 ? M | I8 : X;
}

static u16 opcode(struct atl_emul *e, struct reader *r)
{
	struct atl_insn *i = r->i;
	u8 byte = take(r, 1);

	while (!r->ended) {
		if (e->mode == 8 && (byte & 0xf0) == 0x40)
			i->rex = byte;
		else if (prefix(i, byte))
			i->rex = 0;	/* REX counts only before the opcode */
		else
			break;
		byte = take(r, 1);
	}
	if (r->ended)
		return 0;
	i->ad_bytes = i->ad_bytes ? e->mode : e->mode == 4 ? 2 : 4;
	if (byte == 0xc4 || byte == 0xc5 || byte == 0x62) {
		if (i->len >= i->nbytes) {
			r->ended = true;
			return 0;
		}
		if (e->mode == 8 || (e->protected_mode && i->bytes[i->len] >= 0xc0))
			return vector_prefix(r, byte);
	}
	if (byte == 0x8f && i->len < i->nbytes && (i->bytes[i->len] & 0x38))
		return X;	/* XOP */
	if (byte != 0x0f) {
		i->opcode = byte;
		return one_byte[byte];
	}
	byte = take(r, 1);
	if (byte == 0x38 || byte == 0x3a) {
		i->map = byte == 0x38 ? 2 : 3;
		i->opcode = take(r, 1);
		return i->map == 2 ? M : M | I8;
	}
	i->map = 1;
	i->opcode = byte;
	return two_byte[byte];
}

static bool is_branch(const struct atl_insn *i)
{
	return !i->vex && (i->map == 0 ? (i->opcode & 0xfe) == 0xe8 :
			   i->map == 1 && (i->opcode & 0xf0) == 0x80);
}

int atl_decode(struct atl_emul *e)
{
	struct atl_insn *i = &e->insn;
	struct reader r = { .i = i };
	u16 what;

	i->len = i->map = i->opcode = i->rex = i->rep = i->lock = 0;
	i->modrm = i->mod = i->reg = i->rm = i->sib = 0;
	i->opsize = i->vex = i->has_modrm = false;
	i->ad_bytes = 1;
	i->seg_override = -1;
	i->disp = 0;
	i->imm = 0;

	what = opcode(e, &r);
	if (r.ended)
		goto out;
	i->op_bytes = i->rex & 8 ? 8 : (e->mode == 2) == i->opsize ? 4 : 2;
	if ((what & X) || ((what & N64) && e->mode == 8))
		return ATL_EMUL_UNKNOWN;

	if (what & M) {
		i->has_modrm = true;
		i->modrm = take(&r, 1);
		i->mod = i->modrm >> 6;
		i->reg = (i->modrm >> 3 & 7) | (i->rex & 4) << 1;
		i->rm = (i->modrm & 7) | (i->rex & 1) << 3;
		/* MOV of control and debug registers knows registers only. */
		if (i->map == 1 && !i->vex && (i->opcode & 0xfc) == 0x20)
			i->mod = 3;
		displacement(&r);
		if ((what & G3) && (i->modrm & 0x30))
			what &= ~(I8 | IZ);
	}
	/* Branches have 32 bits in 64-bit mode, prefix or not, on Intel's processors. */
	if (what & IZ)
		i->imm = take_signed(&r, i->op_bytes == 2 &&
					 !(e->mode == 8 && is_branch(i)) ? 2 : 4);
	if (what & IV)
		i->imm = take(&r, i->op_bytes);
	if (what & I16)
		i->imm = take(&r, 2);
	if (what & MOF)
		i->disp = take(&r, i->ad_bytes);
	if (what & FAR) {
		i->imm = take(&r, i->op_bytes == 2 ? 2 : 4);
		take(&r, 2);
	}
	if (what & I8) {
		if (what & I16)
			take(&r, 1);
		else
			i->imm = take_signed(&r, 1);
	}
out:
	if (!r.ended)
		return ATL_EMUL_OK;
	return i->nbytes < ATL_INSN_MAX ? ATL_EMUL_SHORT : ATL_EMUL_UNKNOWN;
}

static u64 address_register(const struct atl_emul *e, unsigned int n)
{
	const u64 v = e->reg[n];

	return e->insn.ad_bytes == 8 ? v : e->insn.ad_bytes == 4 ? (u32)v : (u16)v;
}

u64 atl_effective_address(const struct atl_emul *e, int *seg)
{
	static const s8 base16[8] = { 3, 3, 5, 5, 6, 7, 5, 3 };
	static const s8 index16[8] = { 6, 7, 6, 7, -1, -1, -1, -1 };
	const struct atl_insn *i = &e->insn;
	const u8 rm = i->modrm & 7;
	u64 a = i->disp;
	int s = SEG_DS;

	if (!i->has_modrm) {
		/* the address is all there is */
	} else if (i->ad_bytes == 2) {
		if (i->mod != 0 || rm != 6) {
			a += e->reg[base16[rm]];
			if (index16[rm] >= 0)
				a += e->reg[index16[rm]];
			if (base16[rm] == 5)
				s = SEG_SS;
		}
	} else if (rm == 4) {
		const u8 base = (i->sib & 7) | (i->rex & 1) << 3;
		const u8 index = (i->sib >> 3 & 7) | (i->rex & 2) << 2;

		if ((base & 7) != 5 || i->mod != 0) {
			a += e->reg[base];
			if (base == 4 || base == 5)
				s = SEG_SS;
		}
		if (index != 4)
			a += e->reg[index] << (i->sib >> 6);
	} else if (rm == 5 && i->mod == 0) {
		if (e->mode == 8)
			a += e->rip + i->len;
	} else {
		a += address_register(e, i->rm);
		if (i->rm == 5)
			s = SEG_SS;
	}
	*seg = i->seg_override >= 0 ? i->seg_override : s;
	/* 64-bit mode knows only the bases of FS and GS. */
	return i->ad_bytes == 8 ? a : i->ad_bytes == 4 ? (u32)a : (u16)a;
}
