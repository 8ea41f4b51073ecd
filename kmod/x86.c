// SPDX-License-Identifier: GPL-2.0-only
/*
 * The processor's system registers: what may be written to them, and what
 * follows from it. AMD64 Architecture Programmer's Manual, volume 2, chapter 3.
 * The setters return 0, or 1 for a general protection fault that the caller
 * delivers.
 */
#include <linux/string.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "atoll.h"

#define CR0_DEFINED	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
			 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
			 X86_CR0_PG)
#define APIC_BASE_ENABLED	BIT(11)

bool atl_long_mode(struct atl_vcpu *v)
{
	return v->efer & EFER_LMA;
}

bool atl_64bit(struct atl_vcpu *v)
{
	struct kvm_segment cs;

	if (!atl_long_mode(v))
		return false;
	atl_ops->get_segment(v, &cs, SEG_CS);
	return cs.l;
}

static void reset_segment(struct atl_vcpu *v, int seg, u16 selector, u64 base, u8 type, bool s)
{
	const struct kvm_segment k = {
		.base = base, .limit = 0xffff, .selector = selector,
		.type = type, .present = 1, .s = s,
	};

	atl_ops->set_segment(v, &k, seg);
}

/* After power-on, or INIT, which keeps MSRs and the FPU. */
void atl_reset(struct atl_vcpu *v, bool init)
{
	const struct kvm_dtable table = { .limit = 0xffff };
	unsigned int i;

	memset(v->reg, 0, sizeof(v->reg));
	v->reg[R_DX] = 0x600;
	v->rip = 0xfff0;
	v->rflags = X86_EFLAGS_FIXED;
	v->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	v->cr2 = v->cr3 = v->cr4 = v->cr8 = v->efer = 0;
	memset(v->dr, 0, sizeof(v->dr));
	v->dr6 = DR6_RESERVED;
	v->dr7 = 0x400;
	memset(&v->exception, 0, sizeof(v->exception));
	memset(&v->interrupt, 0, sizeof(v->interrupt));
	v->nmi_pending = 0;
	v->nmi_injected = v->nmi_masked = v->nmi_iret = v->nmi_step = false;
	v->triple_fault = false;
	v->waiting = ATL_NOTHING;
	v->nr_reads = v->nr_writes = 0;
	if (!init) {
		v->apic_base = 0xfee00000 | APIC_BASE_ENABLED |
			       (v->id == v->vm->boot_id ? BIT(8) : 0);
		v->pat = 0x0007040600070406ULL;
		v->misc_enable = 1;
		v->xcr0 = XFEATURE_MASK_FP;
		v->mp_state = KVM_MP_STATE_RUNNABLE;
		if (v->lapic) {
			atl_lapic_reset(v, false);
			if (v->id != v->vm->boot_id)
				v->mp_state = KVM_MP_STATE_UNINITIALIZED;
		}
	}
	atl_ops->reset_vcpu(v);
	for (i = SEG_ES; i <= SEG_GS; i++)
		reset_segment(v, i, 0, 0, 3, true);
	reset_segment(v, SEG_CS, 0xf000, 0xffff0000, 0xb, true);
	reset_segment(v, SEG_TR, 0, 0, 0xb, false);
	reset_segment(v, SEG_LDTR, 0, 0, 2, false);
	atl_ops->set_table(v, &table, false);
	atl_ops->set_table(v, &table, true);
	atl_ops->state_changed(v);
}

static bool cr0_valid(u64 cr0)
{
	if (cr0 >> 32 || (cr0 & ~(u64)CR0_DEFINED))
		return false;
	if ((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD))
		return false;
	return !(cr0 & X86_CR0_PG) || (cr0 & X86_CR0_PE);
}

int atl_set_cr0(struct atl_vcpu *v, u64 value)
{
	const u64 changed = (value ^ v->cr0) & X86_CR0_PG;

	if (value >> 32)
		return 1;
	value = (value & CR0_DEFINED) | X86_CR0_ET;
	if (!cr0_valid(value))
		return 1;
	if (changed && (value & X86_CR0_PG) && (v->efer & EFER_LME)) {
		struct kvm_segment cs;

		atl_ops->get_segment(v, &cs, SEG_CS);
		if (!(v->cr4 & X86_CR4_PAE) || cs.l)
			return 1;
	}
	if (!(value & X86_CR0_PG) && (atl_64bit(v) || (v->cr4 & X86_CR4_PCIDE)))
		return 1;
	if (changed && (v->efer & EFER_LME))
		v->efer = value & X86_CR0_PG ? v->efer | EFER_LMA : v->efer & ~(u64)EFER_LMA;
	v->cr0 = value;
	atl_ops->state_changed(v);
	if (changed)
		v->tlb_gen = 0;
	return 0;
}

static bool cr4_valid(struct atl_vcpu *v, u64 cr4)
{
	return !(cr4 & v->cr4_reserved);
}

int atl_set_cr4(struct atl_vcpu *v, u64 value)
{
	const u64 flush = X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PCIDE | X86_CR4_SMEP |
			  X86_CR4_SMAP;
	const u64 changed = value ^ v->cr4;

	if (!cr4_valid(v, value))
		return 1;
	if (atl_long_mode(v) && (!(value & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
		return 1;
	if ((changed & value & X86_CR4_PCIDE) && (!atl_long_mode(v) || (v->cr3 & 0xfff)))
		return 1;
	v->cr4 = value;
	atl_ops->state_changed(v);
	if (changed & flush) {
		v->tlb_gen = 0;
		v->stats.tlb_flush++;
	}
	return 0;
}

static u64 efer_defined(struct atl_vcpu *v)
{
	u64 bits = EFER_SCE;

	if (atl_cpuid_has(v, 0x80000001, R_DX, BIT(29)))
		bits |= EFER_LME | EFER_LMA;
	if (atl_cpuid_has(v, 0x80000001, R_DX, BIT(20)))
		bits |= EFER_NX;
	if (atl_cpuid_has(v, 0x80000001, R_DX, BIT(25)))
		bits |= EFER_FFXSR;
	return bits;
}

int atl_set_efer(struct atl_vcpu *v, u64 value, bool host)
{
	/* User space may restore registers before it sets CPUID. */
	const u64 defined = host && !v->nr_cpuid ? EFER_SCE | EFER_LME | EFER_LMA | EFER_NX |
						   EFER_FFXSR : efer_defined(v);

	if (value & ~defined)
		return 1;
	if (!host) {
		if (((value ^ v->efer) & EFER_LME) && (v->cr0 & X86_CR0_PG))
			return 1;
		value = (value & ~(u64)EFER_LMA) | (v->efer & EFER_LMA);
	}
	if ((value ^ v->efer) & EFER_NX)
		v->tlb_gen = 0;
	v->efer = value;
	atl_ops->state_changed(v);
	return 0;
}

int atl_set_xcr(struct atl_vcpu *v, u32 index, u64 value)
{
	if (index || !(value & XFEATURE_MASK_FP) || (value & ~(v->xcr0_allowed | XFEATURE_MASK_FP)))
		return 1;
	if ((value & XFEATURE_MASK_YMM) && !(value & XFEATURE_MASK_SSE))
		return 1;
	if ((value & XFEATURE_MASK_AVX512) &&
	    ((value & XFEATURE_MASK_AVX512) != XFEATURE_MASK_AVX512 ||
	     !(value & XFEATURE_MASK_YMM)))
		return 1;
	v->xcr0 = value;
	return 0;
}

/* 0; 1: general protection; 2: undefined opcode. */
int atl_get_dr(struct atl_vcpu *v, unsigned int n, u64 *value)
{
	if (n == 4 || n == 5) {
		if (v->cr4 & X86_CR4_DE)
			return 2;
		n += 2;
	}
	*value = n < 4 ? v->dr[n] : n == 6 ? v->dr6 : v->dr7;
	return 0;
}

int atl_set_dr(struct atl_vcpu *v, unsigned int n, u64 value)
{
	if (n == 4 || n == 5) {
		if (v->cr4 & X86_CR4_DE)
			return 2;
		n += 2;
	}
	if (n >= 6 && value >> 32)
		return 1;
	if (n < 4)
		v->dr[n] = value;
	else if (n == 6)
		v->dr6 = (value & 0x1e00f) | 0xffff0ff0;
	else
		v->dr7 = (value & 0xffff2bff) | 0x400;
	atl_ops->state_changed(v);
	return 0;
}

void atl_get_sregs(struct atl_vcpu *v, struct kvm_sregs *s)
{
	memset(s, 0, sizeof(*s));
	atl_ops->get_segment(v, &s->cs, SEG_CS);
	atl_ops->get_segment(v, &s->ds, SEG_DS);
	atl_ops->get_segment(v, &s->es, SEG_ES);
	atl_ops->get_segment(v, &s->fs, SEG_FS);
	atl_ops->get_segment(v, &s->gs, SEG_GS);
	atl_ops->get_segment(v, &s->ss, SEG_SS);
	atl_ops->get_segment(v, &s->tr, SEG_TR);
	atl_ops->get_segment(v, &s->ldt, SEG_LDTR);
	atl_ops->get_table(v, &s->gdt, false);
	atl_ops->get_table(v, &s->idt, true);
	s->cr0 = v->cr0;
	s->cr2 = v->cr2;
	s->cr3 = v->cr3;
	s->cr4 = v->cr4;
	s->cr8 = v->cr8;
	s->efer = v->efer;
	s->apic_base = v->apic_base;
	if ((v->interrupt.injected || v->interrupt.pending) && !v->interrupt.soft)
		s->interrupt_bitmap[v->interrupt.vector / 64] = BIT_ULL(v->interrupt.vector % 64);
}

static bool sregs_valid(struct atl_vcpu *v, const struct kvm_sregs *s)
{
	if ((s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG)) {
		if (!(s->cr4 & X86_CR4_PAE) || !(s->efer & EFER_LMA))
			return false;
		if ((s->cr3 & ~BIT_ULL(63)) >> v->phys_bits)
			return false;
	} else if ((s->efer & EFER_LMA) || s->cs.l) {
		return false;
	}
	return cr4_valid(v, s->cr4) && cr0_valid(s->cr0) && s->cr8 <= 15 &&
	       atl_lapic_base_valid(v, s->apic_base);
}

/* All of it, or EINVAL and nothing. */
int atl_set_sregs(struct atl_vcpu *v, const struct kvm_sregs *s)
{
	const struct kvm_dtable gdt = s->gdt, idt = s->idt;
	unsigned int i;

	if (!sregs_valid(v, s) || atl_set_efer(v, s->efer, true))
		return -EINVAL;
	v->cr0 = s->cr0 | X86_CR0_ET;
	v->cr2 = s->cr2;
	v->cr3 = s->cr3;
	v->cr4 = s->cr4;
	atl_lapic_set_cr8(v, s->cr8);
	atl_lapic_set_base(v, s->apic_base, true);
	atl_ops->set_table(v, &gdt, false);
	atl_ops->set_table(v, &idt, true);
	atl_ops->set_segment(v, &s->cs, SEG_CS);
	atl_ops->set_segment(v, &s->ds, SEG_DS);
	atl_ops->set_segment(v, &s->es, SEG_ES);
	atl_ops->set_segment(v, &s->fs, SEG_FS);
	atl_ops->set_segment(v, &s->gs, SEG_GS);
	atl_ops->set_segment(v, &s->ss, SEG_SS);
	atl_ops->set_segment(v, &s->tr, SEG_TR);
	atl_ops->set_segment(v, &s->ldt, SEG_LDTR);
	v->tlb_gen = 0;
	for (i = 0; i < 256; i++) {
		if (s->interrupt_bitmap[i / 64] >> (i % 64) & 1) {
			v->interrupt = (struct atl_event) { .injected = true, .vector = i };
			break;
		}
	}
	atl_ops->state_changed(v);
	return 0;
}

/* The instruction that exited is done. */
void atl_skip(struct atl_vcpu *v, u64 next_rip)
{
	v->rip = atl_64bit(v) ? next_rip : (u32)next_rip;
	atl_ops->set_shadow(v, 0);
	v->rflags &= ~(u64)X86_EFLAGS_RF;
	if (v->rflags & X86_EFLAGS_TF) {
		v->dr6 |= DR_STEP;
		atl_ops->state_changed(v);
		atl_queue_exception(v, 1, false, 0);
	}
}

/* Giving the processor up is the only one known; guests ask CPUID first which there are. */
int atl_hypercall(struct atl_vcpu *v)
{
	const bool wide = atl_64bit(v);
	s64 r = -KVM_ENOSYS;

	v->stats.hypercalls++;
	if (atl_ops->cpl(v)) {
		r = -KVM_EPERM;
	} else if ((wide ? v->reg[R_AX] : (u32)v->reg[R_AX]) == KVM_HC_SCHED_YIELD &&
		   (!v->pv_enforced || atl_cpuid_has(v, ATL_CPUID_FEATURES, R_AX,
						     BIT(KVM_FEATURE_PV_SCHED_YIELD)))) {
		schedule();
		r = 0;
	}
	v->reg[R_AX] = wide ? r : (u32)r;
	return ATL_RESUME;
}
