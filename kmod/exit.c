// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done about exits that both vendors have. Their tables, svm_exit.c and
 * vmx_exit.c, name these functions, or call them with what the hardware told.
 */
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "atoll.h"

int atl_exit_skip(struct atl_vcpu *v)
{
	u64 next;
	const int r = atl_ops->next_rip(v, &next);

	if (r == ATL_EMUL_FAULT)
		return ATL_RESUME;
	if (r != ATL_EMUL_OK)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	atl_skip(v, next);
	return ATL_RESUME;
}

int atl_exit_undefined(struct atl_vcpu *v)
{
	atl_inject_ud(v);
	return ATL_RESUME;
}

int atl_exit_protection(struct atl_vcpu *v)
{
	atl_inject_gp(v);
	return ATL_RESUME;
}

int atl_exit_nothing(struct atl_vcpu *v)
{
	return ATL_RESUME;
}

int atl_exit_conclude(struct atl_vcpu *v, int fault, u64 next_rip)
{
	if (fault == 2)
		return atl_exit_undefined(v);
	if (fault)
		return atl_exit_protection(v);
	atl_skip(v, next_rip);
	return ATL_RESUME;
}

void atl_set_gpr(struct atl_vcpu *v, unsigned int n, u64 value)
{
	v->reg[n] = atl_64bit(v) ? value : (u32)value;
}

u64 atl_get_gpr(struct atl_vcpu *v, unsigned int n)
{
	return atl_64bit(v) ? v->reg[n] : (u32)v->reg[n];
}

int atl_exit_write_cr8(struct atl_vcpu *v, u64 value, u64 next_rip)
{
	const u64 before = v->cr8;

	if (value > 15)
		return atl_exit_protection(v);
	atl_lapic_set_cr8(v, value);
	atl_skip(v, next_rip);
	if (value >= before || v->lapic)
		return ATL_RESUME;
	/* A lower priority may let an interrupt through: user space knows. */
	v->run->exit_reason = KVM_EXIT_SET_TPR;
	return ATL_TO_USER;
}

int atl_exit_debug_register(struct atl_vcpu *v, unsigned int n, bool write, unsigned int gpr,
			    u64 next_rip)
{
	u64 value;
	int fault;

	if (v->dr7 & 0x2000) {		/* GD */
		v->dr6 |= 0x2000;
		atl_ops->state_changed(v);
		atl_queue_exception(v, 1, false, 0);
		return ATL_RESUME;
	}
	if (write)
		return atl_exit_conclude(v, atl_set_dr(v, n, atl_get_gpr(v, gpr)), next_rip);
	fault = atl_get_dr(v, n, &value);
	if (!fault)
		atl_set_gpr(v, gpr, value);
	return atl_exit_conclude(v, fault, next_rip);
}

int atl_exit_alignment(struct atl_vcpu *v)
{
	atl_queue_exception(v, 17, true, 0);
	return ATL_RESUME;
}

int atl_exit_host_interrupt(struct atl_vcpu *v)
{
	v->stats.irq_exits++;
	return ATL_RESUME;
}

int atl_exit_irq_window(struct atl_vcpu *v)
{
	v->stats.irq_window++;
	atl_ops->irq_window(v, false);
	return ATL_RESUME;
}

int atl_exit_cpuid(struct atl_vcpu *v)
{
	atl_emulate_cpuid(v);
	return atl_exit_skip(v);
}

int atl_exit_halt(struct atl_vcpu *v)
{
	const int r = atl_exit_skip(v);

	if (r != ATL_RESUME || v->exception.pending)
		return r;
	return atl_halt(v);
}

int atl_exit_hypercall(struct atl_vcpu *v)
{
	const int r = atl_exit_skip(v);

	return r == ATL_RESUME ? atl_hypercall(v) : r;
}

/* v->io has all but what only the bytes of a string instruction tell everywhere. */
int atl_exit_port(struct atl_vcpu *v)
{
	if (v->io.string) {
		const int r = atl_emul_prepare(v);

		if (r == ATL_EMUL_FAULT)
			return ATL_RESUME;
		if (r != ATL_EMUL_OK)
			return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
		v->io.ad_bytes = v->emul.insn.ad_bytes;
		v->io.seg = v->emul.insn.seg_override >= 0 ? v->emul.insn.seg_override : SEG_DS;
	}
	return atl_pio(v);
}

/* Unknown, or a value that is refused: user space's if it asked for these. */
static int msr_fails(struct atl_vcpu *v, bool write, int why, u64 value)
{
	const u64 reason = why == -EPERM ? KVM_MSR_EXIT_REASON_FILTER :
			   why == -ENOENT ? KVM_MSR_EXIT_REASON_UNKNOWN :
					    KVM_MSR_EXIT_REASON_INVAL;
	struct kvm_run *run = v->run;

	if (!(READ_ONCE(v->vm->msr_exits) & reason))
		return atl_exit_protection(v);
	if (atl_ops->next_rip(v, &v->io.next_rip) != ATL_EMUL_OK)
		return v->exception.pending ? ATL_RESUME :
		       atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	run->msr.reason = reason;
	run->msr.index = v->reg[R_CX];
	run->msr.data = value;
	v->waiting = write ? ATL_MSR_WRITE : ATL_MSR_READ;
	return ATL_TO_USER;
}

int atl_exit_rdmsr(struct atl_vcpu *v)
{
	const u32 index = v->reg[R_CX];
	u64 value;
	const int r = atl_msr_allowed(v->vm, index, false) ?
			      atl_get_msr(v, index, &value, false) : -EPERM;

	if (r)
		return msr_fails(v, false, r, 0);
	v->reg[R_AX] = (u32)value;
	v->reg[R_DX] = value >> 32;
	return atl_exit_skip(v);
}

int atl_exit_wrmsr(struct atl_vcpu *v)
{
	const u64 value = (u32)v->reg[R_AX] | v->reg[R_DX] << 32;
	const u32 index = v->reg[R_CX];
	const int r = atl_msr_allowed(v->vm, index, true) ?
			      atl_set_msr(v, index, value, false) : -EPERM;

	return r ? msr_fails(v, true, r, value) : atl_exit_skip(v);
}

int atl_exit_task_switch(struct atl_vcpu *v)
{
	v->emul.insn.nbytes = 0;
	return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
}

int atl_exit_xsetbv(struct atl_vcpu *v)
{
	if (!(v->cr4 & X86_CR4_OSXSAVE))
		return atl_exit_undefined(v);
	if (atl_ops->cpl(v) || atl_set_xcr(v, v->reg[R_CX], (u32)v->reg[R_AX] |
					   v->reg[R_DX] << 32))
		return atl_exit_protection(v);
	return atl_exit_skip(v);
}

/* `final`: the access itself, not the walk of the guest's tables on the way. */
int atl_exit_nested_fault(struct atl_vcpu *v, u64 gpa, bool write, bool final)
{
	const int r = atl_mmu_fault(v, gpa, write);

	if (r != -ENOENT)
		return r;
	/* Page tables of the guest where no memory is, or read-only memory. */
	if (!final) {
		v->emul.insn.nbytes = 0;
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	}
	/* Delivering an event touched a device: there is no instruction. */
	if (v->exception.injected || v->interrupt.injected || v->nmi_injected)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_DELIVERY_EV);
	return atl_emulate(v);
}

int atl_exit_unexpected(struct atl_vcpu *v)
{
	v->emul.insn.nbytes = 0;
	return atl_internal_error(v, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
}

int atl_exit_fail_entry(struct atl_vcpu *v, u64 reason)
{
	v->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	v->run->fail_entry.hardware_entry_failure_reason = reason;
	v->run->fail_entry.cpu = v->cpu;
	return ATL_TO_USER;
}
