// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why a guest of SVM came out, and what is done about it: one table, a row for
 * each code. AMD64 Architecture Programmer's Manual, volume 2, appendix C.
 */
#include <linux/kernel.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "svm.h"
#include "trace.h"

#define PF_WRITE	BIT_ULL(1)
#define NPF_FINAL	BIT_ULL(32)	/* the access itself, not the guest's tables */

/* Past the instruction that exited, whose length the processor may not tell. */
static int skip(struct atl_vcpu *v)
{
	u64 next = atl_vmcb(v)->control.next_rip;
	int r;

	if (!next) {
		r = atl_insn_length(v, &next);
		if (r == ATL_EMUL_FAULT)
			return ATL_RESUME;
		if (r != ATL_EMUL_OK)
			return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	}
	atl_skip(v, next);
	return ATL_RESUME;
}

static int undefined(struct atl_vcpu *v)
{
	atl_inject_ud(v);
	return ATL_RESUME;
}

static int nothing(struct atl_vcpu *v)
{
	return ATL_RESUME;
}

/* 0, 1 for #GP and 2 for #UD, of what the setters of x86.c say. */
static int conclude(struct atl_vcpu *v, int fault)
{
	if (fault == 2)
		return undefined(v);
	if (fault) {
		atl_inject_gp(v);
		return ATL_RESUME;
	}
	atl_skip(v, v->rip + v->emul.insn.len);
	return ATL_RESUME;
}

static void set_gpr(struct atl_vcpu *v, unsigned int n, u64 value)
{
	v->reg[n] = atl_64bit(v) ? value : (u32)value;
}

static u64 get_gpr(struct atl_vcpu *v, unsigned int n)
{
	return atl_64bit(v) ? v->reg[n] : (u32)v->reg[n];
}

/* LMSW, SMSW: the low half of CR0, also from and to memory. */
static int machine_status(struct atl_vcpu *v)
{
	struct atl_emul *e = &v->emul;
	const struct atl_insn *i = &e->insn;
	const bool load = (i->reg & 7) == 6;
	const unsigned int bytes = load || i->mod != 3 ? 2 : i->op_bytes;
	u64 value = v->cr0, linear;
	int seg, r = ATL_EMUL_OK;

	if (!load && (i->reg & 7) != 4)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	if (i->mod != 3) {
		const u64 offset = atl_effective_address(e, &seg);

		if (atl_linear(v, seg, offset, 2, !load, &linear))
			return conclude(v, 1);
		r = atl_gva_access(v, linear, &value, 2, !load);
	} else if (load) {
		value = v->reg[i->rm];
	} else if (bytes == 2) {
		v->reg[i->rm] = (v->reg[i->rm] & ~0xffffULL) | (u16)value;
	} else {
		v->reg[i->rm] = bytes == 8 ? value : (u32)value;
	}
	if (r == ATL_EMUL_FAULT)
		return ATL_RESUME;
	if (r != ATL_EMUL_OK)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	/* PE, MP, EM, TS; PE cannot be cleared so. */
	if (load)
		return conclude(v, atl_set_cr0(v, (v->cr0 & ~0xeULL) | (value & 0xf)));
	return conclude(v, 0);
}

static int write_cr8(struct atl_vcpu *v, u64 value)
{
	const u64 before = v->cr8;

	if (value > 15)
		return conclude(v, 1);
	v->cr8 = value;
	conclude(v, 0);
	if (value >= before)
		return ATL_RESUME;
	/* A lower priority may let an interrupt through: user space knows. */
	v->run->exit_reason = KVM_EXIT_SET_TPR;
	return ATL_TO_USER;
}

static int control_register(struct atl_vcpu *v)
{
	const struct atl_insn *i = &v->emul.insn;
	const int r = atl_emul_prepare(v);
	u64 value;

	if (r == ATL_EMUL_FAULT)
		return ATL_RESUME;
	if (r != ATL_EMUL_OK || i->map != 1)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	switch (i->opcode) {
	case 0x01:
		return machine_status(v);
	case 0x06:	/* CLTS */
		return conclude(v, atl_set_cr0(v, v->cr0 & ~(u64)X86_CR0_TS));
	case 0x20:
		switch (i->lock ? i->reg | 8 : i->reg) {
		case 0:
			value = v->cr0;
			break;
		case 4:
			value = v->cr4;
			break;
		case 8:
			value = v->cr8;
			break;
		default:
			return undefined(v);
		}
		set_gpr(v, i->rm, value);
		return conclude(v, 0);
	case 0x22:
		value = get_gpr(v, i->rm);
		/* LOCK MOV CR0 is CR8 where there is no REX. */
		switch (i->lock ? i->reg | 8 : i->reg) {
		case 0:
			return conclude(v, atl_set_cr0(v, value));
		case 4:
			return conclude(v, atl_set_cr4(v, value));
		case 8:
			return write_cr8(v, value);
		}
		return undefined(v);
	}
	return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
}

static int debug_register(struct atl_vcpu *v)
{
	const struct atl_insn *i = &v->emul.insn;
	const int r = atl_emul_prepare(v);
	u64 value;
	int fault;

	if (r == ATL_EMUL_FAULT)
		return ATL_RESUME;
	if (r != ATL_EMUL_OK || i->map != 1 || (i->opcode & ~2) != 0x21)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	if (v->dr7 & 0x2000) {		/* GD */
		v->dr6 |= 0x2000;
		atl_ops->state_changed(v);
		atl_queue_exception(v, 1, false, 0);
		return ATL_RESUME;
	}
	if (i->opcode == 0x23)
		return conclude(v, atl_set_dr(v, i->reg & 7, get_gpr(v, i->rm)));
	fault = atl_get_dr(v, i->reg & 7, &value);
	if (!fault)
		set_gpr(v, i->rm, value);
	return conclude(v, fault);
}

static int debug_exception(struct atl_vcpu *v)
{
	if (v->nmi_step) {
		/* Our own step; the guest's flag is as it was, unless it set it. */
		v->nmi_step = false;
		if (v->nmi_iret) {
			v->nmi_iret = false;
			v->nmi_masked = false;
		}
		v->dr6 &= ~0x4000ULL;
		atl_ops->state_changed(v);
		return ATL_RESUME;
	}
	atl_queue_exception(v, 1, false, 0);
	return ATL_RESUME;
}

static int alignment_check(struct atl_vcpu *v)
{
	atl_queue_exception(v, 17, true, 0);
	return ATL_RESUME;
}

static int host_interrupt(struct atl_vcpu *v)
{
	v->stats.irq_exits++;
	return ATL_RESUME;
}

static int interrupt_window(struct atl_vcpu *v)
{
	v->stats.irq_window++;
	atl_ops->irq_window(v, false);
	return ATL_RESUME;
}

static int iret(struct atl_vcpu *v)
{
	v->stats.nmi_window++;
	atl_svm_intercept(atl_vmcb(v), INTERCEPT_IRET, false);
	v->nmi_iret = true;
	v->nmi_iret_rip = v->rip;
	return ATL_RESUME;
}

static int cpuid_exit(struct atl_vcpu *v)
{
	atl_emulate_cpuid(v);
	return skip(v);
}

static int halt_exit(struct atl_vcpu *v)
{
	const int r = skip(v);

	if (r != ATL_RESUME || v->exception.pending)
		return r;
	v->stats.halt_exits++;
	v->run->exit_reason = KVM_EXIT_HLT;
	return ATL_TO_USER;
}

static int hypercall(struct atl_vcpu *v)
{
	const int r = skip(v);

	return r == ATL_RESUME ? atl_hypercall(v) : r;
}

static int general_protection(struct atl_vcpu *v)
{
	atl_inject_gp(v);
	return ATL_RESUME;
}

static int port(struct atl_vcpu *v)
{
	const struct vmcb_control_area *c = &atl_vmcb(v)->control;
	const u32 info = c->exit_info_1;

	v->io.port = info >> 16;
	v->io.in = info & BIT(0);
	v->io.string = info & BIT(2);
	v->io.rep = info & BIT(3);
	v->io.size = info >> 4 & 7;
	v->io.next_rip = c->exit_info_2;
	if (v->io.string) {
		/* Only the bytes tell segment and address size everywhere. */
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
	const u64 reason = why == -ENOENT ? KVM_MSR_EXIT_REASON_UNKNOWN : KVM_MSR_EXIT_REASON_INVAL;
	struct kvm_run *run = v->run;
	u64 next = atl_vmcb(v)->control.next_rip;

	if (!(READ_ONCE(v->vm->msr_exits) & reason))
		return general_protection(v);
	if (!next && atl_insn_length(v, &next) != ATL_EMUL_OK)
		return v->exception.pending ? ATL_RESUME :
		       atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	v->io.next_rip = next;
	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	run->msr.reason = reason;
	run->msr.index = v->reg[R_CX];
	run->msr.data = value;
	v->waiting = write ? ATL_MSR_WRITE : ATL_MSR_READ;
	return ATL_TO_USER;
}

static int msr(struct atl_vcpu *v)
{
	const bool write = atl_vmcb(v)->control.exit_info_1;
	const u32 index = v->reg[R_CX];
	u64 value = (u32)v->reg[R_AX] | v->reg[R_DX] << 32;
	int r;

	if (write) {
		r = atl_set_msr(v, index, value, false);
		return r ? msr_fails(v, true, r, value) : skip(v);
	}
	r = atl_get_msr(v, index, &value, false);
	if (r)
		return msr_fails(v, false, r, 0);
	v->reg[R_AX] = (u32)value;
	v->reg[R_DX] = value >> 32;
	return skip(v);
}

static int task_switch(struct atl_vcpu *v)
{
	v->emul.insn.nbytes = 0;
	return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
}

static int shutdown_exit(struct atl_vcpu *v)
{
	/* The control block is undefined now: as after INIT. */
	atl_reset(v, true);
	v->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return ATL_TO_USER;
}

static int xsetbv(struct atl_vcpu *v)
{
	if (!(v->cr4 & X86_CR4_OSXSAVE))
		return undefined(v);
	if (atl_ops->cpl(v) || atl_set_xcr(v, v->reg[R_CX], (u32)v->reg[R_AX] |
					   v->reg[R_DX] << 32))
		return general_protection(v);
	return skip(v);
}

static int nested_fault(struct atl_vcpu *v)
{
	const struct vmcb_control_area *c = &atl_vmcb(v)->control;
	const int r = atl_mmu_fault(v, c->exit_info_2, c->exit_info_1 & PF_WRITE);

	if (r != -ENOENT)
		return r;
	/* Page tables of the guest where no memory is, or read-only memory. */
	if (!(c->exit_info_1 & NPF_FINAL)) {
		v->emul.insn.nbytes = 0;
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	}
	/* Delivering an event touched a device: there is no instruction. */
	if (v->exception.injected || v->interrupt.injected || v->nmi_injected)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_DELIVERY_EV);
	return atl_emulate(v);
}

static const struct row {
	u16 first, last;
	const char *name;
	int (*handle)(struct atl_vcpu *v);
} rows[] = {
	{ SVM_EXIT_READ_CR0, SVM_EXIT_READ_CR0, "read_cr0", control_register },
	{ SVM_EXIT_READ_CR4, SVM_EXIT_READ_CR4, "read_cr4", control_register },
	{ SVM_EXIT_READ_CR8, SVM_EXIT_READ_CR8, "read_cr8", control_register },
	{ SVM_EXIT_WRITE_CR0, SVM_EXIT_WRITE_CR0, "write_cr0", control_register },
	{ SVM_EXIT_WRITE_CR4, SVM_EXIT_WRITE_CR4, "write_cr4", control_register },
	{ SVM_EXIT_WRITE_CR8, SVM_EXIT_WRITE_CR8, "write_cr8", control_register },
	{ SVM_EXIT_READ_DR0, SVM_EXIT_READ_DR0 + 15, "read_dr", debug_register },
	{ SVM_EXIT_WRITE_DR0, SVM_EXIT_WRITE_DR0 + 15, "write_dr", debug_register },
	{ SVM_EXIT_EXCP_BASE + 1, SVM_EXIT_EXCP_BASE + 1, "excp_db", debug_exception },
	{ SVM_EXIT_EXCP_BASE + 17, SVM_EXIT_EXCP_BASE + 17, "excp_ac", alignment_check },
	{ SVM_EXIT_EXCP_BASE + 18, SVM_EXIT_EXCP_BASE + 18, "excp_mc", nothing },
	{ SVM_EXIT_INTR, SVM_EXIT_INTR, "interrupt", host_interrupt },
	{ SVM_EXIT_NMI, SVM_EXIT_NMI, "nmi", nothing },
	{ SVM_EXIT_SMI, SVM_EXIT_SMI, "smi", nothing },
	{ SVM_EXIT_INIT, SVM_EXIT_INIT, "init", nothing },
	{ SVM_EXIT_VINTR, SVM_EXIT_VINTR, "vintr", interrupt_window },
	{ SVM_EXIT_RDPMC, SVM_EXIT_RDPMC, "rdpmc", general_protection },
	{ SVM_EXIT_CPUID, SVM_EXIT_CPUID, "cpuid", cpuid_exit },
	{ SVM_EXIT_RSM, SVM_EXIT_RSM, "rsm", undefined },
	{ SVM_EXIT_IRET, SVM_EXIT_IRET, "iret", iret },
	{ SVM_EXIT_INVD, SVM_EXIT_INVD, "invd", skip },
	{ SVM_EXIT_HLT, SVM_EXIT_HLT, "hlt", halt_exit },
	{ SVM_EXIT_INVLPGA, SVM_EXIT_INVLPGA, "invlpga", undefined },
	{ SVM_EXIT_IOIO, SVM_EXIT_IOIO, "io", port },
	{ SVM_EXIT_MSR, SVM_EXIT_MSR, "msr", msr },
	{ SVM_EXIT_TASK_SWITCH, SVM_EXIT_TASK_SWITCH, "task_switch", task_switch },
	{ SVM_EXIT_FERR_FREEZE, SVM_EXIT_FERR_FREEZE, "ferr_freeze", nothing },
	{ SVM_EXIT_SHUTDOWN, SVM_EXIT_SHUTDOWN, "shutdown", shutdown_exit },
	{ SVM_EXIT_VMRUN, SVM_EXIT_VMRUN, "vmrun", undefined },
	{ SVM_EXIT_VMMCALL, SVM_EXIT_VMMCALL, "hypercall", hypercall },
	{ SVM_EXIT_VMLOAD, SVM_EXIT_SKINIT, "svm_instruction", undefined },
	{ SVM_EXIT_ICEBP, SVM_EXIT_ICEBP, "icebp", debug_exception },
	{ SVM_EXIT_WBINVD, SVM_EXIT_WBINVD, "wbinvd", skip },
	{ SVM_EXIT_MONITOR, SVM_EXIT_MWAIT_COND, "mwait", undefined },
	{ SVM_EXIT_XSETBV, SVM_EXIT_XSETBV, "xsetbv", xsetbv },
	{ SVM_EXIT_RDPRU, SVM_EXIT_RDPRU, "rdpru", undefined },
	{ SVM_EXIT_NPF, SVM_EXIT_NPF, "npf", nested_fault },
};

static_assert(ARRAY_SIZE(rows) < ATL_MAX_EXITS);

/* By code: the row, plus one. */
static u8 row_of[SVM_EXIT_NPF + 1];
const char *atl_svm_exit_names[ATL_MAX_EXITS];

void atl_svm_init_exits(void)
{
	unsigned int i, code;

	atl_svm_exit_names[ATL_MAX_EXITS - 1] = "other";
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		atl_svm_exit_names[i] = rows[i].name;
		for (code = rows[i].first; code <= rows[i].last; code++)
			row_of[code] = i + 1;
	}
}

int atl_svm_handle_exit(struct atl_vcpu *v)
{
	const struct vmcb_control_area *c = &atl_vmcb(v)->control;
	const u32 code = c->exit_code;
	u8 row;

	atl_finish_events(v, c->exit_int_info, c->exit_int_info_err);
	row = code < ARRAY_SIZE(row_of) ? row_of[code] : 0;
	v->exit_reason = row ? row - 1 : ATL_MAX_EXITS - 1;
	v->stats.exit_count[v->exit_reason]++;
	trace_atoll_exit(v->id, code, v->rip, c->exit_info_1, c->exit_info_2);
	if (row)
		return rows[row - 1].handle(v);
	if (code == (u32)SVM_EXIT_ERR) {
		v->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
		v->run->fail_entry.hardware_entry_failure_reason = SVM_EXIT_ERR;
		v->run->fail_entry.cpu = v->cpu;
		return ATL_TO_USER;
	}
	v->emul.insn.nbytes = 0;
	return atl_internal_error(v, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
}
