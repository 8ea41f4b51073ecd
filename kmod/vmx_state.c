// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU's registers in the VMCS, between entries: segments, descriptor tables,
 * MSRs; and all of it in the log where an entry failed.
 */
#include <linux/module.h>
#include <asm/msr.h>

#include "vmx.h"

static bool dump;
module_param(dump, bool, 0644);
MODULE_PARM_DESC(dump, "log the VMCS when an entry fails (VMX)");

/* Fields of a segment lie alike, and segments in KVM's order but the last two. */
static unsigned int segment(int seg)
{
	return 2 * (seg == SEG_TR ? 7 : seg == SEG_LDTR ? 6 : seg);
}

void atl_vmx_get_segment(struct atl_vcpu *v, struct kvm_segment *k, int seg)
{
	const unsigned int n = segment(seg);
	u32 rights;

	memset(k, 0, sizeof(*k));
	atl_vmx_grab(v);
	k->base = vmread(GUEST_ES_BASE + n);
	k->limit = vmread(GUEST_ES_LIMIT + n);
	k->selector = vmread(GUEST_ES_SELECTOR + n);
	rights = vmread(GUEST_ES_AR_BYTES + n);
	atl_vmx_release();
	k->type = rights & 0xf;
	k->s = rights >> 4 & 1;
	k->dpl = rights >> 5 & 3;
	k->avl = rights >> 12 & 1;
	k->l = rights >> 13 & 1;
	k->db = rights >> 14 & 1;
	k->g = rights >> 15 & 1;
	k->unusable = rights >> 16 & 1;
	k->present = !k->unusable && (rights >> 7 & 1);
}

void atl_vmx_set_segment(struct atl_vcpu *v, const struct kvm_segment *k, int seg)
{
	const unsigned int n = segment(seg);
	u32 rights = (k->type & 15) | (k->s & 1) << 4 | (k->dpl & 3) << 5 | (k->avl & 1) << 12 |
		     (k->l & 1) << 13 | (k->db & 1) << 14 | (k->g & 1) << 15;

	if (k->unusable || !k->present)
		rights |= VMX_AR_UNUSABLE_MASK;
	else
		rights |= VMX_AR_P_MASK;
	/* A loaded segment has been accessed, and a task is busy; the entry insists. */
	if (seg == SEG_TR)
		rights = (rights & ~VMX_AR_UNUSABLE_MASK) | VMX_AR_P_MASK | 2;
	else if (seg != SEG_LDTR)
		rights |= VMX_AR_TYPE_ACCESSES_MASK;
	atl_vmx_grab(v);
	vmwrite(GUEST_ES_BASE + n, k->base);
	vmwrite(GUEST_ES_LIMIT + n, k->limit);
	vmwrite(GUEST_ES_SELECTOR + n, k->selector);
	vmwrite(GUEST_ES_AR_BYTES + n, rights);
	atl_vmx_release();
}

void atl_vmx_get_table(struct atl_vcpu *v, struct kvm_dtable *t, bool idt)
{
	memset(t, 0, sizeof(*t));
	atl_vmx_grab(v);
	t->base = vmread(idt ? GUEST_IDTR_BASE : GUEST_GDTR_BASE);
	t->limit = vmread(idt ? GUEST_IDTR_LIMIT : GUEST_GDTR_LIMIT);
	atl_vmx_release();
}

void atl_vmx_set_table(struct atl_vcpu *v, const struct kvm_dtable *t, bool idt)
{
	atl_vmx_grab(v);
	vmwrite(idt ? GUEST_IDTR_BASE : GUEST_GDTR_BASE, t->base);
	vmwrite(idt ? GUEST_IDTR_LIMIT : GUEST_GDTR_LIMIT, t->limit);
	atl_vmx_release();
}

/* Also where SS is unusable. */
u8 atl_vmx_cpl(struct atl_vcpu *v)
{
	u8 dpl;

	atl_vmx_grab(v);
	dpl = vmread(GUEST_SS_AR_BYTES) >> 5 & 3;
	atl_vmx_release();
	return dpl;
}

/* Those of the VMCS; 0: others. */
static unsigned long msr_field(u32 index)
{
	switch (index) {
	case MSR_FS_BASE:
		return GUEST_FS_BASE;
	case MSR_GS_BASE:
		return GUEST_GS_BASE;
	case MSR_IA32_SYSENTER_CS:
		return GUEST_SYSENTER_CS;
	case MSR_IA32_SYSENTER_ESP:
		return GUEST_SYSENTER_ESP;
	case MSR_IA32_SYSENTER_EIP:
		return GUEST_SYSENTER_EIP;
	default:
		return 0;
	}
}

static u64 *msr_place(struct atl_vmx *x, u32 index)
{
	switch (index) {
	case MSR_STAR:
		return &x->syscall[VMX_STAR];
	case MSR_LSTAR:
		return &x->syscall[VMX_LSTAR];
	case MSR_CSTAR:
		return &x->syscall[VMX_CSTAR];
	case MSR_SYSCALL_MASK:
		return &x->syscall[VMX_SYSCALL_MASK];
	case MSR_KERNEL_GS_BASE:
		return &x->kernel_gs_base;
	default:
		return NULL;
	}
}

int atl_vmx_get_msr(struct atl_vcpu *v, u32 index, u64 *value)
{
	const unsigned long field = msr_field(index);
	const u64 *place = msr_place(v->hw, index);

	if (!field && !place)
		return -ENOENT;
	if (place) {
		*value = *place;
		return 0;
	}
	atl_vmx_grab(v);
	*value = vmread(field);
	atl_vmx_release();
	return 0;
}

int atl_vmx_set_msr(struct atl_vcpu *v, u32 index, u64 value)
{
	const unsigned long field = msr_field(index);
	u64 *place = msr_place(v->hw, index);

	if (!field && !place)
		return -ENOENT;
	/* The host would fault when it loads what is reserved. */
	if (index == MSR_SYSCALL_MASK && value >> 32)
		return 1;
	if (place) {
		*place = value;
		return 0;
	}
	atl_vmx_grab(v);
	vmwrite(field, index == MSR_IA32_SYSENTER_CS ? (u32)value : value);
	atl_vmx_release();
	return 0;
}

#define FIELD(name) { #name, name }

static const struct {
	const char *name;
	unsigned long field;
} dumped[] = {
	FIELD(VM_INSTRUCTION_ERROR), FIELD(VM_EXIT_REASON), FIELD(EXIT_QUALIFICATION),
	FIELD(PIN_BASED_VM_EXEC_CONTROL), FIELD(CPU_BASED_VM_EXEC_CONTROL),
	FIELD(SECONDARY_VM_EXEC_CONTROL), FIELD(VM_EXIT_CONTROLS), FIELD(VM_ENTRY_CONTROLS),
	FIELD(VM_ENTRY_INTR_INFO_FIELD), FIELD(EXCEPTION_BITMAP), FIELD(EPT_POINTER),
	FIELD(VIRTUAL_PROCESSOR_ID), FIELD(VMCS_LINK_POINTER),
	FIELD(GUEST_RIP), FIELD(GUEST_RSP), FIELD(GUEST_RFLAGS), FIELD(GUEST_CR0),
	FIELD(GUEST_CR3), FIELD(GUEST_CR4), FIELD(GUEST_IA32_EFER), FIELD(GUEST_IA32_PAT),
	FIELD(GUEST_DR7), FIELD(GUEST_INTERRUPTIBILITY_INFO), FIELD(GUEST_ACTIVITY_STATE),
	FIELD(GUEST_PENDING_DBG_EXCEPTIONS), FIELD(GUEST_GDTR_BASE), FIELD(GUEST_GDTR_LIMIT),
	FIELD(GUEST_IDTR_BASE), FIELD(GUEST_IDTR_LIMIT), FIELD(GUEST_PDPTR0),
	FIELD(HOST_CR0), FIELD(HOST_CR3), FIELD(HOST_CR4), FIELD(HOST_IA32_EFER),
	FIELD(HOST_IA32_PAT), FIELD(HOST_FS_BASE), FIELD(HOST_GS_BASE), FIELD(HOST_TR_BASE),
	FIELD(HOST_GDTR_BASE), FIELD(HOST_IDTR_BASE), FIELD(HOST_IA32_SYSENTER_ESP),
	FIELD(HOST_IA32_SYSENTER_EIP), FIELD(HOST_RSP), FIELD(HOST_RIP), FIELD(HOST_CS_SELECTOR),
	FIELD(HOST_SS_SELECTOR), FIELD(HOST_TR_SELECTOR),
};

void atl_vmx_dump(struct atl_vcpu *v)
{
	static const char names[8][5] = { "ES", "CS", "SS", "DS", "FS", "GS", "TR", "LDTR" };
	unsigned int i;

	if (!READ_ONCE(dump))
		return;
	atl_vmx_grab(v);
	for (i = 0; i < ARRAY_SIZE(dumped); i++)
		pr_info("atoll: %s 0x%llx\n", dumped[i].name, vmread(dumped[i].field));
	for (i = 0; i < 8; i++)
		pr_info("atoll: %s %04llx rights %05llx limit %08llx base %llx\n", names[i],
			vmread(GUEST_ES_SELECTOR + segment(i)),
			vmread(GUEST_ES_AR_BYTES + segment(i)),
			vmread(GUEST_ES_LIMIT + segment(i)), vmread(GUEST_ES_BASE + segment(i)));
	atl_vmx_release();
}
