// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why a guest of SVM came out, and what is done about it: one table, a row for
 * each code. AMD64 Architecture Programmer's Manual, volume 2, appendix C.
 */
#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "svm.h"
#include "trace.h"

#define PF_WRITE	BIT_ULL(1)
#define NPF_FINAL	BIT_ULL(32)	/* the access itself, not the guest's tables */

/* The processor may not tell it. */
int atl_svm_next_rip(struct atl_vcpu *v, u64 *next)
{
	*next = atl_vmcb(v)->control.next_rip;
	return *next ? ATL_EMUL_OK : atl_insn_length(v, next);
}

/* After an instruction that was decoded. */
static int conclude(struct atl_vcpu *v, int fault)
{
	return atl_exit_conclude(v, fault, v->rip + v->emul.insn.len);
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
			return atl_exit_undefined(v);
		}
		atl_set_gpr(v, i->rm, value);
		return conclude(v, 0);
	case 0x22:
		value = atl_get_gpr(v, i->rm);
		/* LOCK MOV CR0 is CR8 where there is no REX. */
		switch (i->lock ? i->reg | 8 : i->reg) {
		case 0:
			return conclude(v, atl_set_cr0(v, value));
		case 4:
			return conclude(v, atl_set_cr4(v, value));
		case 8:
			return atl_exit_write_cr8(v, value, v->rip + i->len);
		}
		return atl_exit_undefined(v);
	}
	return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
}

static int debug_register(struct atl_vcpu *v)
{
	const struct atl_insn *i = &v->emul.insn;
	const int r = atl_emul_prepare(v);

	if (r == ATL_EMUL_FAULT)
		return ATL_RESUME;
	if (r != ATL_EMUL_OK || i->map != 1 || (i->opcode & ~2) != 0x21)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	return atl_exit_debug_register(v, i->reg & 7, i->opcode == 0x23, i->rm, v->rip + i->len);
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

static int iret(struct atl_vcpu *v)
{
	v->stats.nmi_window++;
	atl_svm_intercept(atl_vmcb(v), INTERCEPT_IRET, false);
	v->nmi_iret = true;
	v->nmi_iret_rip = v->rip;
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
	return atl_exit_port(v);
}

static int msr(struct atl_vcpu *v)
{
	return atl_vmcb(v)->control.exit_info_1 ? atl_exit_wrmsr(v) : atl_exit_rdmsr(v);
}

static int shutdown_exit(struct atl_vcpu *v)
{
	/* The control block is undefined now: as after INIT. */
	atl_reset(v, true);
	v->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return ATL_TO_USER;
}

static int nested_fault(struct atl_vcpu *v)
{
	const struct vmcb_control_area *c = &atl_vmcb(v)->control;

	return atl_exit_nested_fault(v, c->exit_info_2, c->exit_info_1 & PF_WRITE,
				     c->exit_info_1 & NPF_FINAL);
}

/*
 * The other vendor's hypercall, of a guest that did not ask whose processor this
 * is, becomes this one's; user space may forbid that (KVM_CAP_DISABLE_QUIRKS2).
 */
static int invalid_opcode(struct atl_vcpu *v)
{
	static const u8 vmcall[] = { 0x0f, 0x01, 0xc1 }, vmmcall[] = { 0x0f, 0x01, 0xd9 };
	const struct atl_emul *e = &v->emul;
	const u64 cr2 = v->cr2;

	if (!(READ_ONCE(v->vm->no_quirks) & KVM_X86_QUIRK_FIX_HYPERCALL_INSN) &&
	    atl_emul_prepare(v) == ATL_EMUL_OK && !memcmp(e->insn.bytes, vmcall, 3)) {
		const u64 linear = e->mode == 8 ? v->rip : (u32)(v->rip + e->seg_base[SEG_CS]);

		if (atl_gva_access(v, linear, (void *)vmmcall, 3, true) == ATL_EMUL_OK)
			return ATL_RESUME;
	}
	/* Not what fetching it here or writing to it met. */
	v->exception.pending = false;
	v->cr2 = cr2;
	return atl_exit_undefined(v);
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
	{ SVM_EXIT_EXCP_BASE + 6, SVM_EXIT_EXCP_BASE + 6, "excp_ud", invalid_opcode },
	{ SVM_EXIT_EXCP_BASE + 17, SVM_EXIT_EXCP_BASE + 17, "excp_ac", atl_exit_alignment },
	{ SVM_EXIT_EXCP_BASE + 18, SVM_EXIT_EXCP_BASE + 18, "excp_mc", atl_exit_nothing },
	{ SVM_EXIT_INTR, SVM_EXIT_INTR, "interrupt", atl_exit_host_interrupt },
	{ SVM_EXIT_NMI, SVM_EXIT_NMI, "nmi", atl_exit_nothing },
	{ SVM_EXIT_SMI, SVM_EXIT_SMI, "smi", atl_exit_nothing },
	{ SVM_EXIT_INIT, SVM_EXIT_INIT, "init", atl_exit_nothing },
	{ SVM_EXIT_VINTR, SVM_EXIT_VINTR, "vintr", atl_exit_irq_window },
	{ SVM_EXIT_RDPMC, SVM_EXIT_RDPMC, "rdpmc", atl_exit_protection },
	{ SVM_EXIT_CPUID, SVM_EXIT_CPUID, "cpuid", atl_exit_cpuid },
	{ SVM_EXIT_RSM, SVM_EXIT_RSM, "rsm", atl_exit_undefined },
	{ SVM_EXIT_IRET, SVM_EXIT_IRET, "iret", iret },
	{ SVM_EXIT_INVD, SVM_EXIT_INVD, "invd", atl_exit_skip },
	{ SVM_EXIT_HLT, SVM_EXIT_HLT, "hlt", atl_exit_halt },
	{ SVM_EXIT_INVLPGA, SVM_EXIT_INVLPGA, "invlpga", atl_exit_undefined },
	{ SVM_EXIT_IOIO, SVM_EXIT_IOIO, "io", port },
	{ SVM_EXIT_MSR, SVM_EXIT_MSR, "msr", msr },
	{ SVM_EXIT_TASK_SWITCH, SVM_EXIT_TASK_SWITCH, "task_switch", atl_exit_task_switch },
	{ SVM_EXIT_FERR_FREEZE, SVM_EXIT_FERR_FREEZE, "ferr_freeze", atl_exit_nothing },
	{ SVM_EXIT_SHUTDOWN, SVM_EXIT_SHUTDOWN, "shutdown", shutdown_exit },
	{ SVM_EXIT_VMRUN, SVM_EXIT_VMRUN, "vmrun", atl_exit_undefined },
	{ SVM_EXIT_VMMCALL, SVM_EXIT_VMMCALL, "hypercall", atl_exit_hypercall },
	{ SVM_EXIT_VMLOAD, SVM_EXIT_SKINIT, "svm_instruction", atl_exit_undefined },
	{ SVM_EXIT_ICEBP, SVM_EXIT_ICEBP, "icebp", debug_exception },
	{ SVM_EXIT_WBINVD, SVM_EXIT_WBINVD, "wbinvd", atl_exit_skip },
	{ SVM_EXIT_MONITOR, SVM_EXIT_MWAIT_COND, "mwait", atl_exit_undefined },
	{ SVM_EXIT_XSETBV, SVM_EXIT_XSETBV, "xsetbv", atl_exit_xsetbv },
	{ SVM_EXIT_RDPRU, SVM_EXIT_RDPRU, "rdpru", atl_exit_undefined },
	{ SVM_EXIT_NPF, SVM_EXIT_NPF, "npf", nested_fault },
};

/* The index of codes without a row: the next one, so that values have no gap. */
#define OTHER ARRAY_SIZE(rows)
static_assert(OTHER < ATL_MAX_EXITS);

/* By code: the row, plus one. */
static u8 row_of[SVM_EXIT_NPF + 1];
const char *atl_svm_exit_names[ATL_MAX_EXITS];

void atl_svm_init_exits(void)
{
	unsigned int i, code;

	atl_svm_exit_names[OTHER] = "other";
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
	v->exit_reason = row ? row - 1 : OTHER;
	v->stats.exit_count[v->exit_reason]++;
	trace_atoll_exit(v->id, code, v->rip, c->exit_info_1, c->exit_info_2);
	if (row)
		return rows[row - 1].handle(v);
	if (code == (u32)SVM_EXIT_ERR)
		return atl_exit_fail_entry(v, SVM_EXIT_ERR);
	return atl_exit_unexpected(v);
}
