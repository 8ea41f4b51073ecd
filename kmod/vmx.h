/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of VMX share. */
#ifndef ATOLL_VMX_H
#define ATOLL_VMX_H

#include <asm/asm.h>
#include <asm/vmx.h>

#include "atoll.h"

/* MSRs of SYSCALL: the guest's are in the processor while it runs. */
enum { VMX_STAR, VMX_LSTAR, VMX_CSTAR, VMX_SYSCALL_MASK, VMX_SYSCALL_MSRS };

struct atl_vmx {
	void *vmcs;			/* (c) a page; the processor's own format */
	u64 vmcs_pa, eptp;		/* (c) */
	u16 vpid;			/* (c) 0: none */
	/* The processor that holds the VMCS; -1: it is in memory. Written there, with (p). */
	int cpu;
	struct list_head link;		/* (p) VMCSs that processor holds */
	bool launched;			/* (p) */
	int flushed_cpu;		/* where no stale translation of it is left */

	/* The rest is (u). What the VMCS has, so that it is written only when it differs. */
	u64 rip, rsp, rflags, cr3;
	u32 written_controls, written_blocking;
	u64 host_cr3, host_cr4, host_fs_base, host_perf;

	bool stale;			/* state_changed() since the last entry */
	/* PAE: four entries that the processor reads when CR3 is loaded. */
	bool pae, pdptrs_stale;
	u64 pae_cr4, pdptr[4];
	u32 controls;			/* processor-based, with the windows */
	u32 blocking;			/* GUEST_INTR_STATE_STI and _MOV_SS */
	u32 event, event_error;		/* to be injected; 0: none */
	u64 syscall[VMX_SYSCALL_MSRS], kernel_gs_base;

	/* About the last exit. */
	bool failed;			/* the guest was not entered: `error` */
	u32 error;
	u32 reason, intr_info, intr_error, idt_info, idt_error, length;
	u64 qualification, gpa;
};

/* vmx_caps.c; `exact`: the processor has the MSRs that tell which reserved bits may be 0. */
extern struct atl_vmx_controls {
	u32 pin, cpu, cpu2, entry, exit;
} atl_vmx_controls;
int atl_vmx_negotiate(bool exact);

static inline struct atl_vmx *atl_vmx(struct atl_vcpu *v)
{
	return v->hw;
}

/*
 * Of the VMCS that is the current one here: between atl_vmx_grab() and
 * atl_vmx_release(), or in an entry.
 */
static inline u64 vmread(unsigned long field)
{
	u64 value = 0;

	asm volatile("1: vmread %1, %0\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b) : "+r" (value) : "r" (field) : "cc");
	return value;
}

static inline void vmwrite(unsigned long field, u64 value)
{
	bool refused = false;

	asm volatile("1: vmwrite %2, %1\n"
		     "setbe %0\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b)
		     : "+qm" (refused) : "r" (field), "r" (value) : "cc");
	if (unlikely(refused))
		pr_err_ratelimited("atoll: VMX has no field 0x%lx\n", field);
}

struct atl_vmx *atl_vmx_grab(struct atl_vcpu *v);
void atl_vmx_release(void);

/* vmx_state.c; as atl_hw_ops has them. */
void atl_vmx_get_segment(struct atl_vcpu *v, struct kvm_segment *k, int seg);
void atl_vmx_set_segment(struct atl_vcpu *v, const struct kvm_segment *k, int seg);
void atl_vmx_get_table(struct atl_vcpu *v, struct kvm_dtable *t, bool idt);
void atl_vmx_set_table(struct atl_vcpu *v, const struct kvm_dtable *t, bool idt);
u8 atl_vmx_cpl(struct atl_vcpu *v);
int atl_vmx_get_msr(struct atl_vcpu *v, u32 index, u64 *value);
int atl_vmx_set_msr(struct atl_vcpu *v, u32 index, u64 value);

extern const char *atl_vmx_exit_names[ATL_MAX_EXITS];	/* NULL: no such reason */
int atl_vmx_handle_exit(struct atl_vcpu *v);
int atl_vmx_next_rip(struct atl_vcpu *v, u64 *next);
void atl_vmx_init_exits(void);
void atl_vmx_dump(struct atl_vcpu *v);

/*
 * vmx_enter.S. False: the processor refused, and the VMCS may say why. The exit
 * comes out at the second.
 */
bool atl_vmx_switch(u64 *reg, bool launched);
extern char atl_vmx_exit[];

#endif
