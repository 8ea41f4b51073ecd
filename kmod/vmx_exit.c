// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why a guest of VMX came out, and what is done about it: one table, a row for
 * each reason. Intel's Software Developer's Manual, volume 3, appendix C; exit
 * qualifications are in the chapter on VM exits.
 */
#include <linux/kernel.h>
#include <linux/sched.h>
#include <asm/processor-flags.h>

#include "trace.h"
#include "vmx.h"

#define DB_VECTOR	1
#define AC_VECTOR	17
#define MC_VECTOR	18
/* What a debug exception's qualification has where DR6 has it: B0-B3, BD, BS. */
#define DR6_CAUSES	0x600fULL
#define DR6_BREAKPOINTS	0xfULL

int atl_vmx_next_rip(struct atl_vcpu *v, u64 *next)
{
	*next = v->rip + atl_vmx(v)->length;
	return ATL_EMUL_OK;
}

static int exception(struct atl_vcpu *v)
{
	const struct atl_vmx *x = atl_vmx(v);

	/* The host's, and it has had it. */
	if ((x->intr_info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_NMI_INTR)
		return ATL_RESUME;
	switch (x->intr_info & INTR_INFO_VECTOR_MASK) {
	case DB_VECTOR:
		v->dr6 = (v->dr6 & ~DR6_BREAKPOINTS) | (x->qualification & DR6_CAUSES);
		/* INT1 is a trap that exits like a fault. */
		if ((x->intr_info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_PRIV_SW_EXCEPTION)
			v->rip += x->length;
		atl_queue_exception(v, DB_VECTOR, false, 0);
		return ATL_RESUME;
	case AC_VECTOR:
		return atl_exit_alignment(v);
	case MC_VECTOR:
		return ATL_RESUME;
	}
	return atl_exit_unexpected(v);
}

static int triple_fault(struct atl_vcpu *v)
{
	v->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return ATL_TO_USER;
}

static int nmi_window(struct atl_vcpu *v)
{
	v->stats.nmi_window++;
	atl_vmx(v)->controls &= ~CPU_BASED_NMI_WINDOW_EXITING;
	return ATL_RESUME;
}

/* It spins. Whom it waits for may be waiting for this processor. */
static int pause_loop(struct atl_vcpu *v)
{
	schedule();
	return atl_exit_skip(v);
}

static int control_register(struct atl_vcpu *v)
{
	const struct atl_vmx *x = atl_vmx(v);
	const u64 q = x->qualification, next = v->rip + x->length;
	const unsigned int cr = q & 15, gpr = q >> 8 & 15;
	u64 value;

	switch (q >> 4 & 3) {
	case 0:		/* MOV to it */
		value = atl_get_gpr(v, gpr);
		switch (cr) {
		case 0:
			return atl_exit_conclude(v, atl_set_cr0(v, value), next);
		case 4:
			return atl_exit_conclude(v, atl_set_cr4(v, value), next);
		case 8:
			return atl_exit_write_cr8(v, value, next);
		}
		break;
	case 1:		/* MOV from it */
		if (cr != 8)
			break;
		atl_set_gpr(v, gpr, v->cr8);
		return atl_exit_conclude(v, 0, next);
	case 2:		/* CLTS */
		return atl_exit_conclude(v, atl_set_cr0(v, v->cr0 & ~(u64)X86_CR0_TS), next);
	case 3:		/* LMSW: PE, MP, EM, TS; PE cannot be cleared so */
		value = q >> LMSW_SOURCE_DATA_SHIFT & 15;
		return atl_exit_conclude(v, atl_set_cr0(v, (v->cr0 & ~0xeULL) | value), next);
	}
	return atl_exit_unexpected(v);
}

static int debug_register(struct atl_vcpu *v)
{
	const struct atl_vmx *x = atl_vmx(v);
	const u64 q = x->qualification;

	return atl_exit_debug_register(v, q & 7, !(q & TYPE_MOV_FROM_DR), q >> 8 & 15,
				       v->rip + x->length);
}

static int port(struct atl_vcpu *v)
{
	const struct atl_vmx *x = atl_vmx(v);
	const u64 q = x->qualification;

	v->io.size = (q & 7) + 1;
	v->io.in = q & BIT(3);
	v->io.string = q & BIT(4);
	v->io.rep = q & BIT(5);
	v->io.port = q >> 16;
	v->io.next_rip = v->rip + x->length;
	return atl_exit_port(v);
}

static int nested_fault(struct atl_vcpu *v)
{
	const struct atl_vmx *x = atl_vmx(v);
	const u64 final = EPT_VIOLATION_GVA_IS_VALID | EPT_VIOLATION_GVA_TRANSLATED;

	return atl_exit_nested_fault(v, x->gpa, x->qualification & EPT_VIOLATION_ACC_WRITE,
				     (x->qualification & final) == final);
}

static const struct row {
	u8 first, last;
	const char *name;
	int (*handle)(struct atl_vcpu *v);
} rows[] = {
	{ EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_EXCEPTION_NMI, "exception", exception },
	{ EXIT_REASON_EXTERNAL_INTERRUPT, EXIT_REASON_EXTERNAL_INTERRUPT, "interrupt",
	  atl_exit_host_interrupt },
	{ EXIT_REASON_TRIPLE_FAULT, EXIT_REASON_TRIPLE_FAULT, "triple_fault", triple_fault },
	{ EXIT_REASON_INIT_SIGNAL, EXIT_REASON_INIT_SIGNAL, "init", atl_exit_nothing },
	{ EXIT_REASON_INTERRUPT_WINDOW, EXIT_REASON_INTERRUPT_WINDOW, "irq_window",
	  atl_exit_irq_window },
	{ EXIT_REASON_NMI_WINDOW, EXIT_REASON_NMI_WINDOW, "nmi_window", nmi_window },
	{ EXIT_REASON_TASK_SWITCH, EXIT_REASON_TASK_SWITCH, "task_switch", atl_exit_task_switch },
	{ EXIT_REASON_CPUID, EXIT_REASON_CPUID, "cpuid", atl_exit_cpuid },
	{ EXIT_REASON_HLT, EXIT_REASON_HLT, "hlt", atl_exit_halt },
	{ EXIT_REASON_INVD, EXIT_REASON_INVD, "invd", atl_exit_skip },
	{ EXIT_REASON_RDPMC, EXIT_REASON_RDPMC, "rdpmc", atl_exit_protection },
	{ EXIT_REASON_VMCALL, EXIT_REASON_VMCALL, "hypercall", atl_exit_hypercall },
	{ EXIT_REASON_VMCLEAR, EXIT_REASON_VMON, "vmx_instruction", atl_exit_undefined },
	{ EXIT_REASON_CR_ACCESS, EXIT_REASON_CR_ACCESS, "cr_access", control_register },
	{ EXIT_REASON_DR_ACCESS, EXIT_REASON_DR_ACCESS, "dr_access", debug_register },
	{ EXIT_REASON_IO_INSTRUCTION, EXIT_REASON_IO_INSTRUCTION, "io", port },
	{ EXIT_REASON_MSR_READ, EXIT_REASON_MSR_READ, "rdmsr", atl_exit_rdmsr },
	{ EXIT_REASON_MSR_WRITE, EXIT_REASON_MSR_WRITE, "wrmsr", atl_exit_wrmsr },
	{ EXIT_REASON_MWAIT_INSTRUCTION, EXIT_REASON_MWAIT_INSTRUCTION, "mwait",
	  atl_exit_undefined },
	{ EXIT_REASON_MONITOR_INSTRUCTION, EXIT_REASON_MONITOR_INSTRUCTION, "monitor",
	  atl_exit_undefined },
	{ EXIT_REASON_PAUSE_INSTRUCTION, EXIT_REASON_PAUSE_INSTRUCTION, "pause", pause_loop },
	{ EXIT_REASON_MCE_DURING_VMENTRY, EXIT_REASON_MCE_DURING_VMENTRY, "machine_check",
	  atl_exit_nothing },
	{ EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EPT_VIOLATION, "ept_violation", nested_fault },
	{ EXIT_REASON_EPT_MISCONFIG, EXIT_REASON_EPT_MISCONFIG, "ept_misconfig",
	  atl_exit_unexpected },
	{ EXIT_REASON_INVEPT, EXIT_REASON_INVEPT, "invept", atl_exit_undefined },
	{ EXIT_REASON_INVVPID, EXIT_REASON_INVVPID, "invvpid", atl_exit_undefined },
	{ EXIT_REASON_WBINVD, EXIT_REASON_WBINVD, "wbinvd", atl_exit_skip },
	{ EXIT_REASON_XSETBV, EXIT_REASON_XSETBV, "xsetbv", atl_exit_xsetbv },
	{ EXIT_REASON_ENCLS, EXIT_REASON_ENCLS, "encls", atl_exit_undefined },
};

static_assert(ARRAY_SIZE(rows) < ATL_MAX_EXITS);

/* By reason: the row, plus one. */
static u8 row_of[EXIT_REASON_ENCLS + 1];
const char *atl_vmx_exit_names[ATL_MAX_EXITS];

void atl_vmx_init_exits(void)
{
	unsigned int i, reason;

	atl_vmx_exit_names[ATL_MAX_EXITS - 1] = "other";
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		atl_vmx_exit_names[i] = rows[i].name;
		for (reason = rows[i].first; reason <= rows[i].last; reason++)
			row_of[reason] = i + 1;
	}
}

/* What was to be injected still is, for the next entry. */
static int entry_failed(struct atl_vcpu *v, u32 why)
{
	pr_warn_ratelimited("atoll: VMX does not enter the guest: 0x%x\n", why);
	atl_vmx_dump(v);
	return atl_exit_fail_entry(v, why);
}

int atl_vmx_handle_exit(struct atl_vcpu *v)
{
	const struct atl_vmx *x = atl_vmx(v);
	const u16 reason = x->reason;
	u8 row;

	v->exit_reason = ATL_MAX_EXITS - 1;
	if (x->failed || (x->reason & VMX_EXIT_REASONS_FAILED_VMENTRY)) {
		v->stats.exit_count[v->exit_reason]++;
		return entry_failed(v, x->failed ? x->error : x->reason);
	}
	atl_finish_events(v, x->idt_info, x->idt_error);
	row = reason < ARRAY_SIZE(row_of) ? row_of[reason] : 0;
	if (row)
		v->exit_reason = row - 1;
	v->stats.exit_count[v->exit_reason]++;
	trace_atoll_exit(v->id, ATL_TRACE_VMX | reason, v->rip, x->qualification,
			 reason == EXIT_REASON_EPT_VIOLATION ? x->gpa : x->intr_info);
	return row ? rows[row - 1].handle(v) : atl_exit_unexpected(v);
}
