// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel's VMX: the processor's side, the control structure (VMCS) of a vCPU,
 * and the entry. Intel's Software Developer's Manual, volume 3, the chapters on
 * virtual machine extensions, and appendices A and B.
 *
 * Theory of operation
 *
 * The processor may keep a VMCS in itself, where only that processor reaches it,
 * with VMREAD and VMWRITE, as long as it is the current one. atl_vmx_load()
 * makes it so: it has the processor that holds the VMCS write it to memory
 * (VMCLEAR, by an interrupt), if that is another one, and loads it here. A list
 * per processor has what it holds, so that all is cleared before VMX goes off.
 * atl_vmx_grab() and atl_vmx_release() enclose accesses outside of an entry.
 *
 * All writes of CR0 and CR4 exit, and so do those of EFER and of the MSRs that
 * SYSCALL uses; what the guest sees of CR0 and CR4 is in the read shadows. The
 * processor switches segments, SYSENTER's MSRs, EFER and PAT by itself, and
 * enter() the rest. After an exit it repairs what the processor leaves changed
 * of the host: limits of GDT and TSS, data segments, LDT, DEBUGCTL. (Of the IDT
 * the limit stays at 0xffff: no vector reaches beyond the table.)
 *
 * VMX instructions have entries in the exception table: VMX is switched off
 * for a reboot on all processors at once, whatever they do.
 */
#include <linux/cpu.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/fsgsbase.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>

#include "trace.h"
#include "vmx.h"

/* Fields that the header has no name for, and bits of MSRs. */
#define VMX_BASIC_REVISION	GENMASK_ULL(30, 0)
#define EPT_MEMORY_WB		(6ULL << 3)
#define BS			BIT(14)		/* pending: a single step */
/* In cycles: PAUSEs that follow each other so are a loop, and how long it may last. */
#define PAUSE_GAP		128
#define PAUSE_WINDOW		4096

struct vmx_cpu {
	u32 *vmxon;			/* a page that VMX keeps while it is on */
	struct list_head held;		/* (p) VMCSs */
	struct atl_vmx *current_vmcs;	/* (p) */
	u64 tsc_aux;
};

static DEFINE_PER_CPU(struct vmx_cpu, vmx_cpu);
static DEFINE_IDA(vpids);
static u8 *msr_bitmap;			/* one for all */
static u32 revision;
static bool invept_context, has_debugctl;
static u64 host_syscall[VMX_SYSCALL_MSRS];

static const u32 syscall_msrs[VMX_SYSCALL_MSRS] = {
	[VMX_STAR] = MSR_STAR,
	[VMX_LSTAR] = MSR_LSTAR,
	[VMX_CSTAR] = MSR_CSTAR,
	[VMX_SYSCALL_MASK] = MSR_SYSCALL_MASK,
};

/* MSRs that the guest reads and writes itself. */
static const u32 direct_msrs[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS,
	MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

/* The instructions. True: refused. */

static bool vmxon(u64 pa)
{
	bool refused = true;

	asm volatile("1: vmxon %1\n"
		     "setbe %0\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b) : "+qm" (refused) : "m" (pa) : "cc", "memory");
	return refused;
}

static void vmxoff(void)
{
	asm volatile("1: vmxoff\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b) : : : "cc", "memory");
}

static void vmclear(u64 pa)
{
	asm volatile("1: vmclear %0\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b) : : "m" (pa) : "cc", "memory");
}

static void vmptrld(u64 pa)
{
	asm volatile("1: vmptrld %0\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b) : : "m" (pa) : "cc", "memory");
}

/* What was translated with this table, or, where the processor knows no better, any. */
static void invept(u64 eptp)
{
	const struct {
		u64 eptp, zero;
	} what = { eptp, 0 };
	const unsigned long type = invept_context ? VMX_EPT_EXTENT_CONTEXT : VMX_EPT_EXTENT_GLOBAL;

	asm volatile("1: invept %0, %1\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b) : : "m" (what), "r" (type) : "cc", "memory");
}

static void pass_msr(u32 msr)
{
	const u32 n = msr & 0x1fff, base = msr >> 31 ? 0x400 : 0;

	msr_bitmap[base + n / 8] &= ~BIT(n % 8);
	msr_bitmap[0x800 + base + n / 8] &= ~BIT(n % 8);
}

static void teardown(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *p = per_cpu_ptr(&vmx_cpu, cpu);

		free_page((unsigned long)p->vmxon);
		p->vmxon = NULL;
	}
	free_page((unsigned long)msr_bitmap);
	msr_bitmap = NULL;
	ida_destroy(&vpids);
}

static int setup(void)
{
	const u64 ept_needed = VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT | VMX_EPT_2MB_PAGE_BIT |
			       VMX_EPT_INVEPT_BIT;
	u64 basic, ept, control;
	unsigned int i;
	int cpu, r;

	rdmsrl(MSR_IA32_FEAT_CTL, control);
	if ((control & FEAT_CTL_LOCKED) && !(control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX)) {
		pr_err("atoll: the firmware has switched VMX off\n");
		return -ENODEV;
	}
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	revision = basic & VMX_BASIC_REVISION;
	if (vmx_basic_vmcs_size(basic) > PAGE_SIZE ||
	    (basic & VMX_BASIC_MEM_TYPE_MASK) >> VMX_BASIC_MEM_TYPE_SHIFT != VMX_BASIC_MEM_TYPE_WB)
		return -ENODEV;
	r = atl_vmx_negotiate(basic & VMX_BASIC_TRUE_CTLS);
	if (r)
		return r;
	rdmsrl(MSR_IA32_VMX_EPT_VPID_CAP, ept);
	if ((ept & ept_needed) != ept_needed ||
	    !(ept & (VMX_EPT_EXTENT_CONTEXT_BIT | VMX_EPT_EXTENT_GLOBAL_BIT))) {
		pr_err("atoll: extended page tables lack features: 0x%llx\n", ept);
		return -ENODEV;
	}
	invept_context = ept & VMX_EPT_EXTENT_CONTEXT_BIT;
	has_debugctl = !rdmsrl_safe(MSR_IA32_DEBUGCTLMSR, &control);	/* not in Bochs */

	for (i = 0; i < VMX_SYSCALL_MSRS; i++)
		rdmsrl(syscall_msrs[i], host_syscall[i]);
	msr_bitmap = (u8 *)get_zeroed_page(GFP_KERNEL);
	if (!msr_bitmap)
		return -ENOMEM;
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		pass_msr(direct_msrs[i]);
	for_each_possible_cpu(cpu) {
		struct vmx_cpu *p = per_cpu_ptr(&vmx_cpu, cpu);

		INIT_LIST_HEAD(&p->held);
		p->vmxon = (u32 *)get_zeroed_page(GFP_KERNEL);
		if (!p->vmxon) {
			teardown();
			return -ENOMEM;
		}
		*p->vmxon = revision;
	}
	atl_vmx_init_exits();
	return 0;
}

static int enable_cpu(void)
{
	struct vmx_cpu *p = this_cpu_ptr(&vmx_cpu);

	if (__read_cr4() & X86_CR4_VMXE) {
		pr_warn_ratelimited("atoll: another hypervisor uses VMX\n");
		return -EBUSY;
	}
	cr4_set_bits(X86_CR4_VMXE);
	if (vmxon(__pa(p->vmxon))) {
		cr4_clear_bits(X86_CR4_VMXE);
		pr_warn_ratelimited("atoll: VMXON is refused\n");
		return -EBUSY;
	}
	p->current_vmcs = NULL;
	if (boot_cpu_has(X86_FEATURE_RDTSCP))
		rdmsrl(MSR_TSC_AUX, p->tsc_aux);
	return 0;
}

/* On the processor that holds it, with interrupts off: into memory. */
static void clear_here(void *arg)
{
	struct vmx_cpu *p = this_cpu_ptr(&vmx_cpu);
	struct atl_vmx *x = arg;

	if (x->cpu != smp_processor_id())
		return;
	vmclear(x->vmcs_pa);
	if (p->current_vmcs == x)
		p->current_vmcs = NULL;
	list_del(&x->link);
	x->launched = false;
	x->flushed_cpu = -1;
	smp_store_release(&x->cpu, -1);	/* after it is cleared */
}

static void disable_cpu(void)
{
	struct vmx_cpu *p = this_cpu_ptr(&vmx_cpu);
	struct atl_vmx *x, *next;

	list_for_each_entry_safe(x, next, &p->held, link)
		clear_here(x);
	vmxoff();
	cr4_clear_bits(X86_CR4_VMXE);
}

/* The host that this processor is: what an exit loads, and is constant here. */
static void write_host(int cpu)
{
	struct desc_ptr idt;
	u64 value;

	store_idt(&idt);
	vmwrite(HOST_IDTR_BASE, idt.address);
	vmwrite(HOST_GDTR_BASE, (unsigned long)get_cpu_gdt_ro(cpu));
	vmwrite(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	rdmsrl(MSR_GS_BASE, value);
	vmwrite(HOST_GS_BASE, value);
	rdmsrl(MSR_IA32_SYSENTER_CS, value);
	vmwrite(HOST_IA32_SYSENTER_CS, value);
	rdmsrl(MSR_IA32_SYSENTER_ESP, value);
	vmwrite(HOST_IA32_SYSENTER_ESP, value);
	rdmsrl(MSR_IA32_SYSENTER_EIP, value);
	vmwrite(HOST_IA32_SYSENTER_EIP, value);
}

/* Preemption is off, interrupts are on: the VMCS becomes the current one here. */
static void load(struct atl_vcpu *v)
{
	struct vmx_cpu *p = this_cpu_ptr(&vmx_cpu);
	struct atl_vmx *x = v->hw;
	const int cpu = smp_processor_id();
	int holder;

	if (likely(READ_ONCE(p->current_vmcs) == x))
		return;
	holder = smp_load_acquire(&x->cpu);	/* -1: it is cleared */
	if (holder >= 0 && holder != cpu)
		smp_call_function_single(holder, clear_here, x, 1);
	local_irq_disable();
	holder = x->cpu;
	if (holder < 0) {
		vmclear(x->vmcs_pa);	/* as memory is that never was one */
		list_add(&x->link, &p->held);
		x->cpu = cpu;
	}
	vmptrld(x->vmcs_pa);
	p->current_vmcs = x;
	if (holder < 0)
		write_host(cpu);
	local_irq_enable();
}

struct atl_vmx *atl_vmx_grab(struct atl_vcpu *v)
{
	preempt_disable();
	load(v);
	return v->hw;
}

void atl_vmx_release(void)
{
	preempt_enable();
}

static int create_vcpu(struct atl_vcpu *v)
{
	struct atl_vmx *x = kzalloc(sizeof(*x), GFP_KERNEL_ACCOUNT);
	int vpid;

	if (!x)
		return -ENOMEM;
	v->hw = x;
	x->cpu = -1;
	x->flushed_cpu = -1;
	x->vmcs = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!x->vmcs)
		return -ENOMEM;
	*(u32 *)x->vmcs = revision;
	x->vmcs_pa = __pa(x->vmcs);
	/* Not the processor's accessed bits: it would write where tables are read-only. */
	x->eptp = __pa(v->vm->root) | VMX_EPTP_MT_WB | VMX_EPTP_PWL_4;
	if (atl_vmx_controls.cpu2 & SECONDARY_EXEC_ENABLE_VPID) {
		vpid = ida_alloc_range(&vpids, 1, VMX_NR_VPIDS - 1, GFP_KERNEL);
		/* Where there are no more, each entry and exit flushes. */
		x->vpid = vpid > 0 ? vpid : 0;
	}
	return 0;
}

static void destroy_vcpu(struct atl_vcpu *v)
{
	struct atl_vmx *x = v->hw;
	const int holder = smp_load_acquire(&x->cpu);	/* as above */

	if (holder >= 0)
		smp_call_function_single(holder, clear_here, x, 1);
	if (x->vpid)
		ida_free(&vpids, x->vpid);
	free_page((unsigned long)x->vmcs);
	kfree(x);
	v->hw = NULL;
}

/* All of the VMCS but the host's fields of write_host() and of each entry. */
static void reset_vcpu(struct atl_vcpu *v)
{
	struct atl_vmx *x = atl_vmx_grab(v);
	u64 value;
	u32 second = atl_vmx_controls.cpu2;

	if (!x->vpid)
		second &= ~SECONDARY_EXEC_ENABLE_VPID;
	vmwrite(PIN_BASED_VM_EXEC_CONTROL, atl_vmx_controls.pin);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, atl_vmx_controls.cpu);
	vmwrite(SECONDARY_VM_EXEC_CONTROL, second);
	vmwrite(VM_EXIT_CONTROLS, atl_vmx_controls.exit);
	vmwrite(VM_ENTRY_CONTROLS, atl_vmx_controls.entry);
	x->controls = x->written_controls = atl_vmx_controls.cpu;
	/* #DB and #AC: their delivery may raise them again, for ever. #MC is the host's. */
	vmwrite(EXCEPTION_BITMAP, BIT(1) | BIT(17) | BIT(18));
	vmwrite(PAGE_FAULT_ERROR_CODE_MASK, 0);
	vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, 0);
	vmwrite(CR3_TARGET_COUNT, 0);
	vmwrite(VM_EXIT_MSR_STORE_COUNT, 0);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, 0);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
	vmwrite(MSR_BITMAP, __pa(msr_bitmap));
	vmwrite(EPT_POINTER, x->eptp);
	if (x->vpid)
		vmwrite(VIRTUAL_PROCESSOR_ID, x->vpid);
	if (second & SECONDARY_EXEC_PAUSE_LOOP_EXITING) {
		vmwrite(PLE_GAP, PAUSE_GAP);
		vmwrite(PLE_WINDOW, PAUSE_WINDOW);
	}
	if (second & SECONDARY_EXEC_ENCLS_EXITING)
		vmwrite(ENCLS_EXITING_BITMAP, ~0ULL);
	vmwrite(CR0_GUEST_HOST_MASK, ~0ULL);
	vmwrite(CR4_GUEST_HOST_MASK, ~0ULL);
	vmwrite(VMCS_LINK_POINTER, ~0ULL);

	vmwrite(HOST_CR0, read_cr0());
	x->host_cr3 = __read_cr3();
	vmwrite(HOST_CR3, x->host_cr3);
	x->host_cr4 = __read_cr4();
	vmwrite(HOST_CR4, x->host_cr4);
	rdmsrl(MSR_EFER, value);
	vmwrite(HOST_IA32_EFER, value);
	rdmsrl(MSR_IA32_CR_PAT, value);
	vmwrite(HOST_IA32_PAT, value);
	vmwrite(HOST_CS_SELECTOR, __KERNEL_CS);
	vmwrite(HOST_SS_SELECTOR, __KERNEL_DS);
	vmwrite(HOST_DS_SELECTOR, 0);
	vmwrite(HOST_ES_SELECTOR, 0);
	vmwrite(HOST_FS_SELECTOR, 0);
	vmwrite(HOST_GS_SELECTOR, 0);
	vmwrite(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	x->host_fs_base = 0;
	vmwrite(HOST_FS_BASE, 0);
	vmwrite(HOST_RIP, (unsigned long)atl_vmx_exit);
	x->host_perf = 0;
	if (atl_vmx_controls.entry & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL) {
		vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, 0);
		vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, 0);
	}

	vmwrite(GUEST_IA32_DEBUGCTL, 0);
	vmwrite(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
	vmwrite(GUEST_SYSENTER_CS, 0);
	vmwrite(GUEST_SYSENTER_ESP, 0);
	vmwrite(GUEST_SYSENTER_EIP, 0);
	x->rip = x->rsp = x->cr3 = 0;
	x->rflags = X86_EFLAGS_FIXED;
	vmwrite(GUEST_RIP, x->rip);
	vmwrite(GUEST_RSP, x->rsp);
	vmwrite(GUEST_CR3, x->cr3);
	vmwrite(GUEST_RFLAGS, x->rflags);
	x->blocking = x->written_blocking = 0;
	x->event = 0;
	x->pae = x->pdptrs_stale = false;
	x->stale = true;
	x->flushed_cpu = -1;
	atl_vmx_release();
}

/*
 * The four entries of PAE's first table are registers, loaded with CR3, and when
 * CR0 or CR4 turn paging on or change how it works. Loads of CR3 the processor
 * does itself.
 */
static void load_pdptrs(struct atl_vcpu *v, struct atl_vmx *x)
{
	const bool pae = (v->cr0 & X86_CR0_PG) && (v->cr4 & X86_CR4_PAE) && !(v->efer & EFER_LMA);
	const u64 cr4 = v->cr4 & (X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP);

	if (pae && (!x->pae || x->pae_cr4 != cr4 || v->cr3 != x->cr3)) {
		if (atl_gpa_read(v->vm, v->cr3 & 0xffffffe0, x->pdptr, sizeof(x->pdptr)))
			memset(x->pdptr, 0, sizeof(x->pdptr));
		x->pdptrs_stale = true;
	}
	x->pae = pae;
	x->pae_cr4 = cr4;
}

static void state_changed(struct atl_vcpu *v)
{
	struct atl_vmx *x = v->hw;

	x->stale = true;
	load_pdptrs(v, x);
}

static void write_state(struct atl_vcpu *v, struct atl_vmx *x)
{
	const u64 efer = v->efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NX);
	unsigned int i;

	x->stale = false;
	/* Caches stay on: firmware switches them off and forgets about it. */
	vmwrite(GUEST_CR0, (v->cr0 & ~(u64)(X86_CR0_CD | X86_CR0_NW)) | X86_CR0_NE);
	vmwrite(CR0_READ_SHADOW, v->cr0);
	/* A machine check without MCE would shut the processor down. */
	vmwrite(GUEST_CR4, v->cr4 | X86_CR4_VMXE | X86_CR4_MCE);
	vmwrite(CR4_READ_SHADOW, v->cr4);
	vmwrite(GUEST_IA32_EFER, efer);
	vmwrite(VM_ENTRY_CONTROLS,
		atl_vmx_controls.entry | (efer & EFER_LMA ? VM_ENTRY_IA32E_MODE : 0));
	vmwrite(GUEST_DR7, v->dr7);
	vmwrite(GUEST_IA32_PAT, v->pat);
	vmwrite(TSC_OFFSET, v->tsc_offset);
	if (x->pdptrs_stale) {
		x->pdptrs_stale = false;
		for (i = 0; i < 4; i++)
			vmwrite(GUEST_PDPTR0 + 2 * i, x->pdptr[i]);
	}
}

/* A field that has been written before, if it differs. */
static void update(unsigned long field, u64 *written, u64 value)
{
	if (*written != value) {
		*written = value;
		vmwrite(field, value);
	}
}

static void write_guest(struct atl_vcpu *v, struct atl_vmx *x)
{
	const bool nmi = (x->event & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_NMI_INTR;
	u32 blocking = x->blocking, controls = x->controls;
	u64 pending;

	if (x->stale)
		write_state(v, x);
	update(GUEST_RIP, &x->rip, v->rip);
	update(GUEST_RSP, &x->rsp, v->reg[R_SP]);
	update(GUEST_RFLAGS, &x->rflags, v->rflags);
	update(GUEST_CR3, &x->cr3, v->cr3 & ~BIT_ULL(63));
	if (READ_ONCE(v->vm->all_msrs))
		controls &= ~CPU_BASED_USE_MSR_BITMAPS;
	if (controls != x->written_controls) {
		x->written_controls = controls;
		vmwrite(CPU_BASED_VM_EXEC_CONTROL, controls);
	}

	if (!(v->rflags & X86_EFLAGS_IF))
		blocking &= ~GUEST_INTR_STATE_STI;
	if (v->nmi_masked && !(x->event && nmi))
		blocking |= GUEST_INTR_STATE_NMI;
	/* A step that waits for the end of the shadow goes with it, or must be there. */
	if ((blocking | x->written_blocking) & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)) {
		pending = vmread(GUEST_PENDING_DBG_EXCEPTIONS) & ~(u64)BS;
		if (!(blocking & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)))
			pending = 0;
		else if (v->rflags & X86_EFLAGS_TF)
			pending |= BS;
		vmwrite(GUEST_PENDING_DBG_EXCEPTIONS, pending);
	}
	if (blocking != x->written_blocking) {
		x->written_blocking = blocking;
		vmwrite(GUEST_INTERRUPTIBILITY_INFO, blocking);
	}

	vmwrite(VM_ENTRY_INTR_INFO_FIELD, x->event);
	if (x->event & INTR_INFO_DELIVER_CODE_MASK)
		vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, x->event_error);
}

static void read_exit(struct atl_vcpu *v, struct atl_vmx *x)
{
	u32 info;

	x->reason = vmread(VM_EXIT_REASON);
	x->qualification = vmread(EXIT_QUALIFICATION);
	if (x->reason & VMX_EXIT_REASONS_FAILED_VMENTRY)
		return;
	x->launched = true;
	v->rip = x->rip = vmread(GUEST_RIP);
	v->reg[R_SP] = x->rsp = vmread(GUEST_RSP);
	v->rflags = x->rflags = vmread(GUEST_RFLAGS);
	v->cr3 = x->cr3 = vmread(GUEST_CR3);
	info = vmread(GUEST_INTERRUPTIBILITY_INFO);
	x->written_blocking = info;
	x->blocking = info & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS);
	v->nmi_masked = info & GUEST_INTR_STATE_NMI;
	x->idt_info = vmread(IDT_VECTORING_INFO_FIELD);
	x->idt_error = x->idt_info & INTR_INFO_DELIVER_CODE_MASK ?
		       vmread(IDT_VECTORING_ERROR_CODE) : 0;
	x->length = vmread(VM_EXIT_INSTRUCTION_LEN);
	x->intr_info = 0;

	switch ((u16)x->reason) {
	case EXIT_REASON_EXCEPTION_NMI:
		x->intr_info = vmread(VM_EXIT_INTR_INFO);
		x->intr_error = vmread(VM_EXIT_INTR_ERROR_CODE);
		info = x->intr_info;
		break;
	case EXIT_REASON_EPT_VIOLATION:
		x->gpa = vmread(GUEST_PHYSICAL_ADDRESS);
		info = x->qualification;	/* the bit below is at the same place */
		break;
	default:
		return;
	}
	/* An IRET that faulted has unblocked NMIs too early. */
	if ((info & INTR_INFO_UNBLOCK_NMI) && !(x->idt_info & VECTORING_INFO_VALID_MASK))
		v->nmi_masked = true;
}

/* What the host has in registers that the guest's entry and exit change. */
struct host {
	u16 ds, es, fs, gs, ldt;
	u64 fs_base, gs_base, debugctl;
};

static void save_host(struct atl_vmx *x, struct host *h)
{
	savesegment(ds, h->ds);
	savesegment(es, h->es);
	savesegment(fs, h->fs);
	savesegment(gs, h->gs);
	store_ldt(h->ldt);
	if (boot_cpu_has(X86_FEATURE_FSGSBASE))
		h->fs_base = rdfsbase();
	else
		rdmsrl(MSR_FS_BASE, h->fs_base);
	rdmsrl(MSR_KERNEL_GS_BASE, h->gs_base);
	h->debugctl = 0;
	if (has_debugctl)
		rdmsrl(MSR_IA32_DEBUGCTLMSR, h->debugctl);
	update(HOST_FS_BASE, &x->host_fs_base, h->fs_base);
	update(HOST_CR3, &x->host_cr3, __read_cr3());
	update(HOST_CR4, &x->host_cr4, __read_cr4());
	if (atl_vmx_controls.exit & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL) {
		u64 perf;

		rdmsrl(MSR_CORE_PERF_GLOBAL_CTRL, perf);
		update(HOST_IA32_PERF_GLOBAL_CTRL, &x->host_perf, perf);
	}
}

static void restore_host(const struct host *h)
{
	if (unlikely(h->ldt))
		asm volatile("lldt %w0" : : "r" ((u32)h->ldt));
	if (unlikely(h->gs))
		load_gs_index(h->gs);
	wrmsrl(MSR_KERNEL_GS_BASE, h->gs_base);
	if (unlikely(h->fs)) {
		loadsegment(fs, h->fs);
		wrmsrl(MSR_FS_BASE, h->fs_base);
	}
	if (unlikely(h->ds | h->es)) {
		loadsegment(ds, h->ds);
		loadsegment(es, h->es);
	}
	load_fixmap_gdt(smp_processor_id());
	invalidate_tss_limit();
	if (h->debugctl)
		wrmsrl(MSR_IA32_DEBUGCTLMSR, h->debugctl);
}

/* What the guest could find by speculation is emptied before it runs. */
static void clear_caches(void)
{
	static const u16 selector = __KERNEL_DS;

	if (boot_cpu_has_bug(X86_BUG_L1TF) && boot_cpu_has(X86_FEATURE_FLUSH_L1D) &&
	    !cpu_mitigations_off())
		wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	else if (boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF) ||
		 boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM))
		asm volatile("verw %0" : : "m" (selector) : "cc");
}

static void enter(struct atl_vcpu *v)
{
	struct vmx_cpu *p = this_cpu_ptr(&vmx_cpu);
	struct atl_vmx *x = v->hw;
	const bool aux = boot_cpu_has(X86_FEATURE_RDTSCP) && v->tsc_aux != p->tsc_aux;
	struct host host;
	unsigned int i;

	if (!v->tlb_gen || x->flushed_cpu != v->cpu) {
		invept(x->eptp);
		x->flushed_cpu = v->cpu;
	}
	write_guest(v, x);
	save_host(x, &host);
	for (i = 0; i < VMX_SYSCALL_MSRS; i++)
		if (x->syscall[i] != host_syscall[i])
			wrmsrl(syscall_msrs[i], x->syscall[i]);
	wrmsrl(MSR_KERNEL_GS_BASE, x->kernel_gs_base);
	if (aux)
		wrmsrl(MSR_TSC_AUX, v->tsc_aux);
	if (native_read_cr2() != v->cr2)
		native_write_cr2(v->cr2);
	clear_caches();

	x->failed = !atl_vmx_switch(v->reg, x->launched);

	if (cpu_feature_enabled(X86_FEATURE_KERNEL_IBRS))
		wrmsrl(MSR_IA32_SPEC_CTRL, spec_ctrl_current());
	v->cr2 = native_read_cr2();
	rdmsrl(MSR_KERNEL_GS_BASE, x->kernel_gs_base);
	restore_host(&host);
	if (aux)
		wrmsrl(MSR_TSC_AUX, p->tsc_aux);
	for (i = 0; i < VMX_SYSCALL_MSRS; i++)
		if (x->syscall[i] != host_syscall[i])
			wrmsrl(syscall_msrs[i], host_syscall[i]);
	if (x->failed) {
		x->error = vmread(VM_INSTRUCTION_ERROR);
		return;
	}
	read_exit(v, x);
	/*
	 * The host's own events. An exit for an NMI blocks NMIs as its delivery
	 * would have; the handler's IRET opens them.
	 */
	if ((u16)x->reason == EXIT_REASON_MCE_DURING_VMENTRY)
		asm volatile("int $18");
	if ((u16)x->reason != EXIT_REASON_EXCEPTION_NMI)
		return;
	if ((x->intr_info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_NMI_INTR)
		asm volatile("int $2");
	else if ((x->intr_info & INTR_INFO_VECTOR_MASK) == 18)
		asm volatile("int $18");
}

static void inject(struct atl_vcpu *v, u8 kind, const struct atl_event *e)
{
	struct atl_vmx *x = v->hw;

	x->event = kind == ATL_INJECT_NMI ? INTR_TYPE_NMI_INTR | 2 :
		   kind == ATL_INJECT_INTERRUPT ? INTR_TYPE_EXT_INTR | e->vector :
		   INTR_TYPE_HARD_EXCEPTION | e->vector;
	x->event |= INTR_INFO_VALID_MASK;
	/* None in real mode, whatever an exit said of an exception under way. */
	if (kind == ATL_INJECT_EXCEPTION && e->has_error && (v->cr0 & X86_CR0_PE)) {
		x->event |= INTR_INFO_DELIVER_CODE_MASK;
		x->event_error = e->error;
	}
	trace_atoll_inject(v->id, kind, x->event & 0xff);
}

static void no_injection(struct atl_vcpu *v)
{
	atl_vmx(v)->event = 0;
}

static void irq_window(struct atl_vcpu *v, bool wanted)
{
	struct atl_vmx *x = v->hw;

	x->controls &= ~CPU_BASED_INTR_WINDOW_EXITING;
	/* In STI's shadow an NMI's window may count as open already, but none is injected. */
	if (wanted || (v->nmi_pending && (x->blocking & GUEST_INTR_STATE_STI)))
		x->controls |= CPU_BASED_INTR_WINDOW_EXITING;
}

/* The processor itself knows when the guest's NMI handler is done. */
static void nmi_window(struct atl_vcpu *v)
{
	struct atl_vmx *x = v->hw;

	x->controls &= ~CPU_BASED_NMI_WINDOW_EXITING;
	if (v->nmi_pending && !(x->blocking & GUEST_INTR_STATE_STI))
		x->controls |= CPU_BASED_NMI_WINDOW_EXITING;
}

static u8 shadow(struct atl_vcpu *v)
{
	const u32 blocking = atl_vmx(v)->blocking;

	return (blocking & GUEST_INTR_STATE_STI ? KVM_X86_SHADOW_INT_STI : 0) |
	       (blocking & GUEST_INTR_STATE_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
}

/* The processor wants one of both at most. */
static void set_shadow(struct atl_vcpu *v, u8 shadow)
{
	atl_vmx(v)->blocking = shadow & KVM_X86_SHADOW_INT_MOV_SS ? GUEST_INTR_STATE_MOV_SS :
			       shadow & KVM_X86_SHADOW_INT_STI ? GUEST_INTR_STATE_STI : 0;
}

const struct atl_hw_ops atl_vmx_ops = {
	.name = "VMX",
	.setup = setup,
	.teardown = teardown,
	.enable_cpu = enable_cpu,
	.disable_cpu = disable_cpu,
	.create_vcpu = create_vcpu,
	.destroy_vcpu = destroy_vcpu,
	.reset_vcpu = reset_vcpu,
	.load = load,
	.enter = enter,
	.handle_exit = atl_vmx_handle_exit,
	.next_rip = atl_vmx_next_rip,
	.inject = inject,
	.no_injection = no_injection,
	.irq_window = irq_window,
	.nmi_window = nmi_window,
	.shadow = shadow,
	.set_shadow = set_shadow,
	.get_segment = atl_vmx_get_segment,
	.set_segment = atl_vmx_set_segment,
	.get_table = atl_vmx_get_table,
	.set_table = atl_vmx_set_table,
	.cpl = atl_vmx_cpl,
	.state_changed = state_changed,
	.get_msr = atl_vmx_get_msr,
	.set_msr = atl_vmx_set_msr,
	.exit_names = atl_vmx_exit_names,
	.pte_present = VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK,
	.pte_write = VMX_EPT_WRITABLE_MASK,
	/* The processor ignores it: set with the entry, cleared with age. */
	.pte_accessed = VMX_EPT_ACCESS_BIT,
	.pte_large = BIT_ULL(7),
	/* Memory is write-back, whatever the guest's PAT says: there is no device in it. */
	.pte_leaf = EPT_MEMORY_WB | VMX_EPT_IPAT_BIT,
};
