// SPDX-License-Identifier: GPL-2.0-only
/*
 * Emulation of the guest's current instruction.
 *
 * Theory of operation
 *
 * The emulator works on a copy of the registers. Its memory functions, below,
 * walk the guest's page tables; what lies in a slot is read and written there
 * at once, so are devices in the kernel, whose registers bear to be read twice; the
 * rest is user space's: a read that has no answer yet ends the
 * attempt, KVM_EXIT_MMIO asks, and the instruction is emulated from its start
 * with the answers so far. Nothing has changed until then. Writes are only
 * collected; when the instruction is complete its registers are taken over,
 * and the writes go out, one exit each.
 */
#include <linux/string.h>
#include <asm/processor-flags.h>

#include "atoll.h"

static void queue(struct atl_vcpu *v, const struct atl_event *fault, u64 cr2)
{
	if (fault->vector == 14)
		v->cr2 = cr2;
	atl_queue_exception(v, fault->vector, fault->has_error, fault->error);
}

/* The physical addresses of both pages, before anything is touched. */
static int translate(struct atl_vcpu *v, u64 linear, unsigned int len, bool write, u64 gpa[2],
		     unsigned int *first)
{
	const u32 access = (write ? ATL_ACC_WRITE : 0) |
			   (atl_ops->cpl(v) == 3 ? ATL_ACC_USER : 0);
	struct atl_event fault;
	u64 cr2;
	int r;

	*first = min_t(unsigned int, len, PAGE_SIZE - offset_in_page(linear));
	r = atl_gva_to_gpa(v, linear, access, &gpa[0], &fault, &cr2);
	if (!r && *first < len)
		r = atl_gva_to_gpa(v, linear + *first, access, &gpa[1], &fault, &cr2);
	if (r)
		queue(v, &fault, cr2);
	return r;
}

static int read_part(struct atl_vcpu *v, u64 gpa, void *data, unsigned int len)
{
	while (len) {
		const unsigned int n = min(len, 8u);
		struct atl_fragment *f;
		const int r = atl_gpa_read(v->vm, gpa, data, n);

		if (r == -EFAULT)
			return ATL_EMUL_UNKNOWN;
		if (r && !atl_bus_read(v, true, gpa, n, data)) {
			if (v->replayed == ATL_MAX_FRAGMENTS)
				return ATL_EMUL_UNKNOWN;
			f = &v->reads[v->replayed];
			if (v->replayed >= v->nr_reads || f->gpa != gpa || f->len != n) {
				/* Not known, or not any more. */
				f->gpa = gpa;
				f->len = n;
				v->nr_reads = v->replayed;
				return ATL_EMUL_EXIT;
			}
			memcpy(data, f->data, n);
			v->replayed++;
		}
		gpa += n;
		data += n;
		len -= n;
	}
	return ATL_EMUL_OK;
}

static int write_part(struct atl_vcpu *v, u64 gpa, const void *data, unsigned int len)
{
	while (len) {
		const unsigned int n = min(len, 8u);
		struct atl_fragment *f;
		const int r = atl_gpa_write(v->vm, gpa, data, n);

		if (r == -EFAULT)
			return ATL_EMUL_UNKNOWN;
		if (r) {
			if (v->nr_writes == ATL_MAX_FRAGMENTS)
				return ATL_EMUL_UNKNOWN;
			f = &v->writes[v->nr_writes++];
			f->gpa = gpa;
			f->len = n;
			memcpy(f->data, data, n);
		}
		gpa += n;
		data += n;
		len -= n;
	}
	return ATL_EMUL_OK;
}

static int emul_read(struct atl_emul *e, u64 linear, void *data, unsigned int len)
{
	struct atl_vcpu *v = e->context;
	unsigned int first;
	u64 gpa[2];
	int r = translate(v, linear, len, false, gpa, &first);

	if (!r)
		r = read_part(v, gpa[0], data, first);
	if (!r && first < len)
		r = read_part(v, gpa[1], data + first, len - first);
	return r;
}

static int emul_write(struct atl_emul *e, u64 linear, const void *data, unsigned int len)
{
	struct atl_vcpu *v = e->context;
	unsigned int first;
	u64 gpa[2];
	int r = translate(v, linear, len, true, gpa, &first);

	if (!r)
		r = write_part(v, gpa[0], data, first);
	if (!r && first < len)
		r = write_part(v, gpa[1], data + first, len - first);
	return r;
}

/* For string I/O: memory alone. ATL_EMUL_OK, ATL_EMUL_FAULT or ATL_EMUL_UNKNOWN. */
int atl_gva_access(struct atl_vcpu *v, u64 linear, void *data, unsigned int len, bool write)
{
	unsigned int first;
	u64 gpa[2];
	int r = translate(v, linear, len, write, gpa, &first);

	if (r)
		return r;
	r = write ? atl_gpa_write(v->vm, gpa[0], data, first) :
		    atl_gpa_read(v->vm, gpa[0], data, first);
	if (!r && first < len)
		r = write ? atl_gpa_write(v->vm, gpa[1], data + first, len - first) :
			    atl_gpa_read(v->vm, gpa[1], data + first, len - first);
	return r ? ATL_EMUL_UNKNOWN : ATL_EMUL_OK;
}

/* Segmentation, for accesses that the processor has not checked. 0 or 1: #GP. */
int atl_linear(struct atl_vcpu *v, int seg, u64 offset, unsigned int len, bool write, u64 *linear)
{
	struct kvm_segment s;

	atl_ops->get_segment(v, &s, seg);
	if (v->emul.mode == 8) {
		*linear = offset + (seg >= SEG_FS ? s.base : 0);
		return 0;
	}
	*linear = (u32)(offset + s.base);
	if (!(v->cr0 & X86_CR0_PE) || (v->rflags & X86_EFLAGS_VM))
		return offset + len - 1 > s.limit;
	if (s.unusable || !s.present || (write ? (s.type & 0xa) != 2 : (s.type & 0xa) == 8))
		return 1;
	if ((s.type & 0xc) == 4)	/* grows down */
		return offset <= s.limit || offset + len - 1 > (s.db ? 0xffffffff : 0xffff);
	return offset + len - 1 > s.limit;
}

/* Registers and code into v->emul, and decodes. */
int atl_emul_prepare(struct atl_vcpu *v)
{
	struct atl_emul *e = &v->emul;
	struct kvm_segment s;
	unsigned int i;
	int r;

	memcpy(e->reg, v->reg, sizeof(e->reg));
	e->rip = v->rip;
	e->rflags = v->rflags;
	for (i = SEG_ES; i <= SEG_GS; i++) {
		atl_ops->get_segment(v, &s, i);
		e->seg_base[i] = s.base;
		if (i == SEG_CS)
			e->mode = atl_long_mode(v) && s.l ? 8 : s.db ? 4 : 2;
	}
	e->protected_mode = (v->cr0 & X86_CR0_PE) && !(v->rflags & X86_EFLAGS_VM);
	if (!e->protected_mode)
		e->mode = 2;
	e->read = emul_read;
	e->write = emul_write;
	e->context = v;
	e->insn.nbytes = atl_fetch(v, e->mode == 8 ? v->rip : (u32)(v->rip + e->seg_base[SEG_CS]),
				   e->insn.bytes, ATL_INSN_MAX);
	if (!e->insn.nbytes)
		return v->exception.pending ? ATL_EMUL_FAULT : ATL_EMUL_UNKNOWN;
	r = atl_decode(e);
	if (r != ATL_EMUL_SHORT)
		return r;
	/* The rest is on a page that cannot be read: that is the exception. */
	atl_fetch(v, (e->mode == 8 ? v->rip : (u32)(v->rip + e->seg_base[SEG_CS])) +
		     e->insn.nbytes, e->insn.bytes + e->insn.nbytes, 1);
	return v->exception.pending ? ATL_EMUL_FAULT : ATL_EMUL_UNKNOWN;
}

/* The address after the current instruction, for processors that do not tell it. */
int atl_insn_length(struct atl_vcpu *v, u64 *next_rip)
{
	const int r = atl_emul_prepare(v);

	if (r == ATL_EMUL_OK)
		*next_rip = v->rip + v->emul.insn.len;
	return r;
}

static int mmio_exit(struct atl_vcpu *v, const struct atl_fragment *f, bool write)
{
	struct kvm_run *run = v->run;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = f->gpa;
	run->mmio.len = f->len;
	run->mmio.is_write = write;
	if (write)
		memcpy(run->mmio.data, f->data, 8);
	v->waiting = write ? ATL_MMIO_WRITE : ATL_MMIO_READ;
	v->stats.mmio_exits++;
	return ATL_TO_USER;
}

/* Those that are for devices here are done, the next other one is user space's. */
static int write_out(struct atl_vcpu *v)
{
	for (; v->next_write < v->nr_writes; v->next_write++) {
		const struct atl_fragment *f = &v->writes[v->next_write];

		if (!atl_bus_write(v, true, f->gpa, f->len, f->data))
			return mmio_exit(v, f, true);
	}
	v->nr_writes = 0;
	return ATL_RESUME;
}

int atl_emulate(struct atl_vcpu *v)
{
	struct atl_emul *e = &v->emul;
	int r;

	v->replayed = 0;
	v->nr_writes = 0;
	v->stats.insn_emulation++;
	r = atl_emul_prepare(v);
	if (r == ATL_EMUL_OK)
		r = atl_execute(e);
	if (r == ATL_EMUL_EXIT)
		return mmio_exit(v, &v->reads[v->nr_reads], false);
	v->nr_reads = 0;
	if (r == ATL_EMUL_FAULT)
		return ATL_RESUME;
	if (r != ATL_EMUL_OK)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	memcpy(v->reg, e->reg, sizeof(v->reg));
	v->rflags = e->rflags;
	atl_skip(v, e->rip);
	v->next_write = 0;
	return write_out(v);
}

int atl_mmio_complete(struct atl_vcpu *v)
{
	if (v->waiting == ATL_MMIO_READ) {
		v->waiting = ATL_NOTHING;
		memcpy(v->reads[v->nr_reads].data, v->run->mmio.data, 8);
		v->nr_reads++;
		return atl_emulate(v);
	}
	v->waiting = ATL_NOTHING;
	v->next_write++;
	return write_out(v);
}
