// SPDX-License-Identifier: GPL-2.0-only
/*
 * Execution of the instructions of the table at the end: moves, arithmetic,
 * bit tests and strings with an operand in memory.
 */
#include "emul.h"

#ifdef __KERNEL__
#include <linux/string.h>
#include <linux/kernel.h>
#else
#include <string.h>
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

#define F_CF	0x001
#define F_PF	0x004
#define F_AF	0x010
#define F_ZF	0x040
#define F_SF	0x080
#define F_DF	0x400
#define F_OF	0x800
#define F_ARITH	(F_CF | F_PF | F_AF | F_ZF | F_SF | F_OF)

static u64 mask(unsigned int bytes)
{
	return bytes == 8 ? ~0ULL : (1ULL << (8 * bytes)) - 1;
}

static s64 sign_extend(u64 v, unsigned int bytes)
{
	return bytes == 1 ? (s8)v : bytes == 2 ? (s16)v : bytes == 4 ? (s32)v : (s64)v;
}

static u64 get_reg(const struct atl_emul *e, unsigned int n, unsigned int bytes)
{
	if (bytes == 1 && !e->insn.rex && n >= 4 && n < 8)
		return e->reg[n - 4] >> 8 & 0xff;
	return e->reg[n] & mask(bytes);
}

static void set_reg(struct atl_emul *e, unsigned int n, unsigned int bytes, u64 v)
{
	if (bytes == 1 && !e->insn.rex && n >= 4 && n < 8)
		e->reg[n - 4] = (e->reg[n - 4] & ~0xff00ULL) | (v & 0xff) << 8;
	else if (bytes == 4)
		e->reg[n] = (u32)v;
	else
		e->reg[n] = (e->reg[n] & ~mask(bytes)) | (v & mask(bytes));
}

static u64 linear(const struct atl_emul *e, int seg, u64 offset)
{
	if (e->mode == 8)
		return offset + (seg >= SEG_FS ? e->seg_base[seg] : 0);
	return (u32)(offset + e->seg_base[seg]);
}

static u64 operand_address(const struct atl_emul *e)
{
	int seg;
	const u64 offset = atl_effective_address(e, &seg);

	return linear(e, seg, offset);
}

static int read_rm(struct atl_emul *e, unsigned int bytes, u64 *v)
{
	*v = 0;
	if (e->insn.mod == 3) {
		*v = get_reg(e, e->insn.rm, bytes);
		return ATL_EMUL_OK;
	}
	return e->read(e, operand_address(e), v, bytes);
}

static int write_rm(struct atl_emul *e, unsigned int bytes, u64 v)
{
	if (e->insn.mod == 3) {
		set_reg(e, e->insn.rm, bytes, v);
		return ATL_EMUL_OK;
	}
	return e->write(e, operand_address(e), &v, bytes);
}

/* Of opcodes whose lowest bit says so: a byte, or the operand size. */
static unsigned int width(const struct atl_emul *e)
{
	return e->insn.opcode & 1 ? e->insn.op_bytes : 1;
}

static bool parity(u8 v)
{
	v ^= v >> 4;
	return 0x9669 >> (v & 15) & 1;
}

static u64 result_flags(u64 v, unsigned int bytes)
{
	v &= mask(bytes);
	return (v ? 0 : F_ZF) | (v >> (8 * bytes - 1) ? F_SF : 0) | (parity(v) ? F_PF : 0);
}

/* op as in the opcodes 00, 08 ... 38: add or adc sbb and sub xor cmp. */
static u64 arithmetic(struct atl_emul *e, unsigned int op, unsigned int bytes, u64 a, u64 b)
{
	const u64 m = mask(bytes), top = 1ULL << (8 * bytes - 1);
	const u64 carry = (op == 2 || op == 3) && (e->rflags & F_CF);
	u64 r, f = 0;

	a &= m;
	b &= m;
	switch (op) {
	case 0: case 2:
		r = (a + b + carry) & m;
		f = (r < a || (carry && r == a) ? F_CF : 0) | ((a ^ r) & (b ^ r) & top ? F_OF : 0) |
		    ((a ^ b ^ r) & 0x10);
		break;
	case 3: case 5: case 7:
		r = (a - b - carry) & m;
		f = (a < b || (carry && a == b) ? F_CF : 0) | ((a ^ b) & (a ^ r) & top ? F_OF : 0) |
		    ((a ^ b ^ r) & 0x10);
		break;
	case 1:
		r = a | b;
		break;
	case 4:
		r = a & b;
		break;
	default:
		r = a ^ b;
	}
	e->rflags = (e->rflags & ~(u64)F_ARITH) | f | result_flags(r, bytes);
	return r;
}

static int mov_store(struct atl_emul *e)	/* 88 89 */
{
	return write_rm(e, width(e), get_reg(e, e->insn.reg, width(e)));
}

static int mov_load(struct atl_emul *e)		/* 8A 8B */
{
	u64 v;
	const int r = read_rm(e, width(e), &v);

	if (r == ATL_EMUL_OK)
		set_reg(e, e->insn.reg, width(e), v);
	return r;
}

static int mov_moffs(struct atl_emul *e)	/* A0 to A3 */
{
	const unsigned int bytes = width(e);
	u64 v = 0;
	int r;

	if (e->insn.opcode & 2) {
		v = get_reg(e, 0, bytes);
		return e->write(e, operand_address(e), &v, bytes);
	}
	r = e->read(e, operand_address(e), &v, bytes);
	if (r == ATL_EMUL_OK)
		set_reg(e, 0, bytes, v);
	return r;
}

static int mov_imm(struct atl_emul *e)		/* C6 C7 */
{
	if (e->insn.reg & 7)
		return ATL_EMUL_UNKNOWN;
	return write_rm(e, width(e), e->insn.imm);
}

static int movnti(struct atl_emul *e)		/* 0F C3 */
{
	if (e->insn.mod == 3)
		return ATL_EMUL_UNKNOWN;
	return write_rm(e, e->insn.op_bytes, get_reg(e, e->insn.reg, e->insn.op_bytes));
}

static int movx(struct atl_emul *e)		/* 0F B6 B7 BE BF, 63 */
{
	const bool movsxd = e->insn.map == 0;
	const unsigned int from = movsxd ? 4 : e->insn.opcode & 1 ? 2 : 1;
	u64 v;
	int r;

	if (movsxd && e->mode != 8)
		return ATL_EMUL_UNKNOWN;	/* ARPL */
	r = read_rm(e, from, &v);
	if (r == ATL_EMUL_OK) {
		if (movsxd || e->insn.opcode & 8)
			v = sign_extend(v, from);
		set_reg(e, e->insn.reg, e->insn.op_bytes, v);
	}
	return r;
}

static int alu(struct atl_emul *e)		/* 00 to 3B with ModRM */
{
	const unsigned int op = e->insn.opcode >> 3, bytes = width(e);
	u64 a, b = get_reg(e, e->insn.reg, bytes);
	const int r = read_rm(e, bytes, &a);

	if (r != ATL_EMUL_OK)
		return r;
	if (e->insn.opcode & 2) {
		const u64 v = arithmetic(e, op, bytes, b, a);

		if (op != 7)
			set_reg(e, e->insn.reg, bytes, v);
		return ATL_EMUL_OK;
	}
	a = arithmetic(e, op, bytes, a, b);
	return op == 7 ? ATL_EMUL_OK : write_rm(e, bytes, a);
}

static int alu_imm(struct atl_emul *e)		/* 80 81 83 */
{
	const unsigned int op = e->insn.reg & 7, bytes = width(e);
	u64 a;
	const int r = read_rm(e, bytes, &a);

	if (r != ATL_EMUL_OK)
		return r;
	a = arithmetic(e, op, bytes, a, e->insn.imm);
	return op == 7 ? ATL_EMUL_OK : write_rm(e, bytes, a);
}

static int test(struct atl_emul *e)		/* 84 85 */
{
	u64 a;
	const int r = read_rm(e, width(e), &a);

	if (r == ATL_EMUL_OK)
		arithmetic(e, 4, width(e), a, get_reg(e, e->insn.reg, width(e)));
	return r;
}

static int group3(struct atl_emul *e)		/* F6 F7: test not neg */
{
	const unsigned int bytes = width(e);
	u64 a;
	int r;

	if ((e->insn.reg & 7) > 3)
		return ATL_EMUL_UNKNOWN;
	r = read_rm(e, bytes, &a);
	if (r != ATL_EMUL_OK)
		return r;
	switch (e->insn.reg & 7) {
	case 2:
		return write_rm(e, bytes, ~a);
	case 3:
		return write_rm(e, bytes, arithmetic(e, 5, bytes, 0, a));
	default:
		arithmetic(e, 4, bytes, a, e->insn.imm);
		return ATL_EMUL_OK;
	}
}

static u64 stack_pointer(const struct atl_emul *e, int delta, unsigned int bytes)
{
	const u64 sp = e->reg[4] + delta;

	/* Of a 16-bit stack in 32-bit code nobody keeps devices. */
	return e->mode == 8 ? sp : bytes ? (e->mode == 4 ? (u32)sp : (u16)sp) : sp;
}

static int push(struct atl_emul *e, u64 v, unsigned int bytes)
{
	const u64 sp = stack_pointer(e, -(int)bytes, bytes);
	const int r = e->write(e, linear(e, SEG_SS, sp), &v, bytes);

	if (r == ATL_EMUL_OK)
		set_reg(e, 4, e->mode, sp);
	return r;
}

static int group45(struct atl_emul *e)		/* FE FF: inc dec push call jmp */
{
	const unsigned int op = e->insn.reg & 7, bytes = width(e);
	const unsigned int branch = e->mode == 8 ? 8 : bytes;
	const u64 carry = e->rflags & F_CF;
	u64 a, next = e->rip + e->insn.len;
	int r;

	if (op > 1 && (bytes == 1 || op == 3 || op == 5 || op == 7))
		return ATL_EMUL_UNKNOWN;
	r = read_rm(e, op > 1 ? branch : bytes, &a);
	if (r != ATL_EMUL_OK)
		return r;
	switch (op) {
	case 0: case 1:
		a = arithmetic(e, op ? 5 : 0, bytes, a, 1);
		e->rflags = (e->rflags & ~(u64)F_CF) | carry;
		return write_rm(e, bytes, a);
	case 2:
		r = push(e, next, branch);
		if (r != ATL_EMUL_OK)
			return r;
		break;
	case 6:
		return push(e, a, branch);
	}
	e->rip = a - e->insn.len;	/* the caller adds it */
	return ATL_EMUL_OK;
}

static int pop(struct atl_emul *e)		/* 8F */
{
	const unsigned int bytes = e->mode == 8 && e->insn.op_bytes != 2 ? 8 : e->insn.op_bytes;
	u64 v = 0;
	int r = e->read(e, linear(e, SEG_SS, stack_pointer(e, 0, bytes)), &v, bytes);

	if (r != ATL_EMUL_OK)
		return r;
	/* The address counts with the stack pointer as it is afterwards. */
	set_reg(e, 4, e->mode, stack_pointer(e, bytes, bytes));
	return write_rm(e, bytes, v);
}

static int exchange(struct atl_emul *e)		/* 86 87 */
{
	u64 v;
	int r = read_rm(e, width(e), &v);

	if (r == ATL_EMUL_OK)
		r = write_rm(e, width(e), get_reg(e, e->insn.reg, width(e)));
	if (r == ATL_EMUL_OK)
		set_reg(e, e->insn.reg, width(e), v);
	return r;
}

static int compare_exchange(struct atl_emul *e)		/* 0F B0 B1 */
{
	const unsigned int bytes = width(e);
	u64 v;
	int r = read_rm(e, bytes, &v);

	if (r != ATL_EMUL_OK)
		return r;
	arithmetic(e, 7, bytes, get_reg(e, 0, bytes), v);
	if (e->rflags & F_ZF)
		return write_rm(e, bytes, get_reg(e, e->insn.reg, bytes));
	r = write_rm(e, bytes, v);
	if (r == ATL_EMUL_OK)
		set_reg(e, 0, bytes, v);
	return r;
}

static int exchange_add(struct atl_emul *e)		/* 0F C0 C1 */
{
	const unsigned int bytes = width(e);
	u64 v, sum;
	int r = read_rm(e, bytes, &v);

	if (r != ATL_EMUL_OK)
		return r;
	sum = arithmetic(e, 0, bytes, v, get_reg(e, e->insn.reg, bytes));
	/* The register may be the address's. */
	r = write_rm(e, bytes, sum);
	if (r == ATL_EMUL_OK)
		set_reg(e, e->insn.reg, bytes, v);
	return r;
}

static int bit_test(struct atl_emul *e)		/* 0F A3 AB B3 BB, BA */
{
	const bool imm = e->insn.opcode == 0xba;
	const unsigned int op = imm ? e->insn.reg & 7 : 4 + (e->insn.opcode >> 3 & 3);
	const unsigned int bytes = e->insn.op_bytes;
	s64 bit = imm ? (u8)e->insn.imm : sign_extend(get_reg(e, e->insn.reg, bytes), bytes);
	u64 v, b, address = 0;
	int seg, r;

	if (op < 4)
		return ATL_EMUL_UNKNOWN;
	if (e->insn.mod == 3) {
		v = get_reg(e, e->insn.rm, bytes);
	} else {
		/* A register's bit may lie outside of the operand. */
		address = atl_effective_address(e, &seg);
		if (!imm)
			address += (bit >> (bytes == 8 ? 6 : bytes == 4 ? 5 : 4)) * bytes;
		if (e->insn.ad_bytes != 8)
			address &= mask(e->insn.ad_bytes);
		address = linear(e, seg, address);
		v = 0;
		r = e->read(e, address, &v, bytes);
		if (r != ATL_EMUL_OK)
			return r;
	}
	b = 1ULL << (bit & (8 * bytes - 1));
	e->rflags = (e->rflags & ~(u64)F_CF) | (v & b ? F_CF : 0);
	if (op == 4)
		return ATL_EMUL_OK;
	v = op == 5 ? v | b : op == 6 ? v & ~b : v ^ b;
	if (e->insn.mod != 3)
		return e->write(e, address, &v, bytes);
	set_reg(e, e->insn.rm, bytes, v);
	return ATL_EMUL_OK;
}

/* A4 A5 AA AB AC AD A6 A7 AE AF: one turn. */
static int string(struct atl_emul *e)
{
	const struct atl_insn *i = &e->insn;
	const unsigned int bytes = width(e), ad = i->ad_bytes;
	const u8 kind = i->opcode & 0xfe;
	const bool uses_si = kind == 0xa4 || kind == 0xac || kind == 0xa6;
	const bool uses_di = kind != 0xac;
	const int step = e->rflags & F_DF ? -(int)bytes : (int)bytes;
	const u64 si = linear(e, i->seg_override >= 0 ? i->seg_override : SEG_DS,
			      e->reg[6] & mask(ad));
	const u64 di = linear(e, SEG_ES, e->reg[7] & mask(ad));
	u64 v = 0, w = 0;
	int r = ATL_EMUL_OK;
	bool again = false;

	if (i->rep && !(e->reg[1] & mask(ad)))
		return ATL_EMUL_OK;
	v = get_reg(e, 0, bytes);
	if (uses_si)
		r = e->read(e, si, &v, bytes);
	if (r == ATL_EMUL_OK && (kind == 0xa6 || kind == 0xae))
		r = e->read(e, di, &w, bytes);
	if (r == ATL_EMUL_OK && (kind == 0xa4 || kind == 0xaa))
		r = e->write(e, di, &v, bytes);
	if (r != ATL_EMUL_OK)
		return r;
	if (kind == 0xac)
		set_reg(e, 0, bytes, v);
	if (uses_si)
		set_reg(e, 6, ad, e->reg[6] + step);
	if (uses_di)
		set_reg(e, 7, ad, e->reg[7] + step);
	if (i->rep) {
		set_reg(e, 1, ad, e->reg[1] - 1);
		again = e->reg[1] & mask(ad);
	}
	if (kind == 0xa6 || kind == 0xae) {
		arithmetic(e, 7, bytes, v, w);
		if (i->rep)
			again &= !!(e->rflags & F_ZF) == (i->rep == 0xf3);
	}
	if (again)
		e->rip -= i->len;
	return ATL_EMUL_OK;
}

static int or_reg8_pop(struct atl_emul *e)
{
	return e->insn.reg & 7 ? ATL_EMUL_UNKNOWN : pop(e);
}

#define MEM	1	/* an operand in memory, or none of this table's */
#define LOCK	2	/* LOCK is allowed */

struct operation {
	u8 map, first, last;
	u8 flags;
	int (*execute)(struct atl_emul *e);
};

static const struct operation operations[] = {
	{ 0, 0x00, 0x3b, MEM | LOCK, alu },
	{ 0, 0x63, 0x63, MEM, movx },
	{ 0, 0x80, 0x81, MEM | LOCK, alu_imm },
	{ 0, 0x83, 0x83, MEM | LOCK, alu_imm },
	{ 0, 0x84, 0x85, MEM, test },
	{ 0, 0x86, 0x87, MEM | LOCK, exchange },
	{ 0, 0x88, 0x89, MEM, mov_store },
	{ 0, 0x8a, 0x8b, MEM, mov_load },
	{ 0, 0x8f, 0x8f, MEM, or_reg8_pop },
	{ 0, 0xa0, 0xa3, 0, mov_moffs },
	{ 0, 0xa4, 0xa7, 0, string },
	{ 0, 0xaa, 0xaf, 0, string },
	{ 0, 0xc6, 0xc7, MEM, mov_imm },
	{ 0, 0xf6, 0xf7, MEM | LOCK, group3 },
	{ 0, 0xfe, 0xff, MEM | LOCK, group45 },
	{ 1, 0xa3, 0xa3, MEM, bit_test },
	{ 1, 0xab, 0xab, MEM | LOCK, bit_test },
	{ 1, 0xb0, 0xb1, MEM | LOCK, compare_exchange },
	{ 1, 0xb3, 0xb3, MEM | LOCK, bit_test },
	{ 1, 0xb6, 0xb7, MEM, movx },
	{ 1, 0xba, 0xba, MEM | LOCK, bit_test },
	{ 1, 0xbb, 0xbb, MEM | LOCK, bit_test },
	{ 1, 0xbe, 0xbf, MEM, movx },
	{ 1, 0xc0, 0xc1, MEM | LOCK, exchange_add },
	{ 1, 0xc3, 0xc3, MEM, movnti },
};

int atl_execute(struct atl_emul *e)
{
	const struct atl_insn *i = &e->insn;
	unsigned int n;
	int r;

	if (i->vex)
		return ATL_EMUL_UNKNOWN;
	for (n = 0; n < ARRAY_SIZE(operations); n++) {
		const struct operation *o = &operations[n];

		if (o->map != i->map || i->opcode < o->first || i->opcode > o->last)
			continue;
		/* Of 00 to 3B those without ModRM have no operand in memory. */
		if ((o->flags & MEM) && (!i->has_modrm || i->mod == 3))
			return ATL_EMUL_UNKNOWN;
		if (i->lock && !(o->flags & LOCK))
			return ATL_EMUL_UNKNOWN;
		r = o->execute(e);
		if (r == ATL_EMUL_OK) {
			e->rip += i->len;
			if (e->mode != 8)
				e->rip &= mask(e->mode == 2 ? 4 : e->mode);
		}
		return r;
	}
	return ATL_EMUL_UNKNOWN;
}
