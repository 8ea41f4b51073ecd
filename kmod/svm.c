// SPDX-License-Identifier: GPL-2.0-only
/*
 * AMD's Secure Virtual Machine: the processor's side, the control block of a
 * vCPU, and the entry. AMD64 Architecture Programmer's Manual, volume 2,
 * chapter 15 and appendix B.
 */
#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/virtext.h>

#include "svm.h"
#include "trace.h"

#define VM_CR_SVMDIS	BIT(4)
#define NESTED_PAGING	BIT(0)
#define IOPM_PAGES	3
#define MSRPM_PAGES	2

struct svm_cpu {
	void *hsave;		/* VMRUN's: the host while a guest runs */
	void *host;		/* VMSAVE's: the rest of it */
	u64 generation;
	u32 next_asid;
	u64 tsc_aux;
};

static DEFINE_PER_CPU(struct svm_cpu, svm_cpu);
static u8 *iopm, *msrpm;	/* one for all: what is intercepted is the same */
static u32 nr_asids;

/* MSRs that the guest reads and writes itself: VMLOAD and VMSAVE move them. */
static const u32 direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_FS_BASE, MSR_GS_BASE,
	MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

static void pass_msr(u32 msr)
{
	static const u32 bases[] = { 0, 0xc0000000, 0xc0010000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bases); i++) {
		const u32 n = msr - bases[i];

		if (n < 0x2000)
			msrpm[i * 0x800 + n / 4] &= ~(3 << (n % 4 * 2));
	}
}

static void teardown(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpu, cpu);

		free_page((unsigned long)c->hsave);
		free_page((unsigned long)c->host);
		c->hsave = c->host = NULL;
	}
	if (iopm)
		free_pages_exact(iopm, IOPM_PAGES * PAGE_SIZE);
	if (msrpm)
		free_pages_exact(msrpm, MSRPM_PAGES * PAGE_SIZE);
	iopm = msrpm = NULL;
}

static int setup(void)
{
	unsigned int i;
	int cpu;
	u64 cr;

	if (rdmsrl_safe(MSR_VM_CR, &cr) || (cr & VM_CR_SVMDIS)) {
		pr_err("atoll: the firmware has switched SVM off\n");
		return -ENODEV;
	}
	if (!boot_cpu_has(X86_FEATURE_NPT)) {
		pr_err("atoll: the processor has no nested paging\n");
		return -ENODEV;
	}
	nr_asids = cpuid_ebx(0x8000000a);
	if (nr_asids < 2)
		return -ENODEV;
	iopm = alloc_pages_exact(IOPM_PAGES * PAGE_SIZE, GFP_KERNEL);
	msrpm = alloc_pages_exact(MSRPM_PAGES * PAGE_SIZE, GFP_KERNEL);
	if (!iopm || !msrpm)
		goto nomem;
	memset(iopm, 0xff, IOPM_PAGES * PAGE_SIZE);
	memset(msrpm, 0xff, MSRPM_PAGES * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		pass_msr(direct_msrs[i]);
	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpu, cpu);

		c->hsave = (void *)get_zeroed_page(GFP_KERNEL);
		c->host = (void *)get_zeroed_page(GFP_KERNEL);
		if (!c->hsave || !c->host)
			goto nomem;
	}
	atl_svm_init_exits();
	return 0;
nomem:
	teardown();
	return -ENOMEM;
}

static int enable_cpu(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME) {
		pr_warn_ratelimited("atoll: another hypervisor uses SVM\n");
		return -EBUSY;
	}
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	wrmsrl(MSR_VM_HSAVE_PA, __pa(c->hsave));
	/* The first entry here begins a generation, and flushes what VMs before left. */
	c->generation++;
	c->next_asid = nr_asids;
	if (boot_cpu_has(X86_FEATURE_RDTSCP))
		rdmsrl(MSR_TSC_AUX, c->tsc_aux);
	return 0;
}

static void disable_cpu(void)
{
	u64 efer;

	wrmsrl(MSR_VM_HSAVE_PA, 0);
	rdmsrl(MSR_EFER, efer);
	wrmsrl(MSR_EFER, efer & ~(u64)EFER_SVME);
}

static int create_vcpu(struct atl_vcpu *v)
{
	struct atl_svm *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return -ENOMEM;
	v->hw = s;
	s->vmcb = (struct vmcb *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!s->vmcb)
		return -ENOMEM;
	s->vmcb_pa = __pa(s->vmcb);
	s->asid_cpu = -1;
	return 0;
}

static void destroy_vcpu(struct atl_vcpu *v)
{
	struct atl_svm *s = v->hw;

	free_page((unsigned long)s->vmcb);
	kfree(s);
	v->hw = NULL;
}

/* Everything that touches the host, or that we emulate. */
static const u8 always[] = {
	INTERCEPT_CR0_WRITE, INTERCEPT_CR4_WRITE, INTERCEPT_CR8_WRITE,
	INTERCEPT_EXCEPTION_OFFSET + 1, INTERCEPT_EXCEPTION_OFFSET + 6,
	INTERCEPT_EXCEPTION_OFFSET + 17, INTERCEPT_EXCEPTION_OFFSET + 18,
	INTERCEPT_INTR, INTERCEPT_NMI, INTERCEPT_SMI, INTERCEPT_INIT, INTERCEPT_RDPMC,
	INTERCEPT_CPUID, INTERCEPT_INVD, INTERCEPT_HLT, INTERCEPT_INVLPGA,
	INTERCEPT_IOIO_PROT, INTERCEPT_MSR_PROT, INTERCEPT_TASK_SWITCH, INTERCEPT_SHUTDOWN,
	INTERCEPT_VMRUN, INTERCEPT_VMMCALL, INTERCEPT_VMLOAD, INTERCEPT_VMSAVE,
	INTERCEPT_STGI, INTERCEPT_CLGI, INTERCEPT_SKINIT, INTERCEPT_WBINVD,
	INTERCEPT_MONITOR, INTERCEPT_MWAIT, INTERCEPT_XSETBV, INTERCEPT_RDPRU,
	INTERCEPT_FERR_FREEZE, INTERCEPT_ICEBP, INTERCEPT_RSM,
};

static void reset_vcpu(struct atl_vcpu *v)
{
	struct atl_svm *s = v->hw;
	struct vmcb *c = s->vmcb;
	unsigned int i;

	memset(c, 0, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(always); i++)
		atl_svm_intercept(c, always[i], true);
	c->control.intercepts[INTERCEPT_DR] = ~0u;	/* reads and writes */
	c->control.iopm_base_pa = __pa(iopm);
	c->control.nested_ctl = NESTED_PAGING;
	c->control.nested_cr3 = __pa(v->vm->root);
	s->asid_cpu = -1;
}

static void state_changed(struct atl_vcpu *v)
{
	struct vmcb *c = atl_vmcb(v);

	/* Caches stay on: firmware switches them off and forgets about it. */
	c->save.cr0 = v->cr0 & ~(u64)(X86_CR0_CD | X86_CR0_NW);
	atl_svm_intercept(c, INTERCEPT_CR0_READ, c->save.cr0 != v->cr0);
	/* A machine check without MCE would shut the processor down. */
	c->save.cr4 = v->cr4 | X86_CR4_MCE;
	atl_svm_intercept(c, INTERCEPT_CR4_READ, c->save.cr4 != v->cr4);
	c->save.efer = v->efer | EFER_SVME;
	/*
	 * Without paging LME means nothing, and to write CR0 exits; but QEMU's #VMEXIT
	 * out of a guest with LME and without PAE leaves the host without its CR0.
	 */
	if (!(v->cr0 & X86_CR0_PG))
		c->save.efer &= ~(u64)EFER_LME;
	c->save.dr6 = v->dr6;
	c->save.dr7 = v->dr7;
	c->save.g_pat = v->pat;
	c->control.tsc_offset = v->tsc_offset;
}

/*
 * An ASID nobody has used on this processor since its TLB was flushed: a new
 * one is a flush. When they are used up all are flushed at once.
 */
static void assign_asid(struct atl_vcpu *v, struct svm_cpu *p)
{
	struct atl_svm *s = v->hw;
	struct vmcb *c = s->vmcb;

	c->control.tlb_ctl = TLB_CONTROL_DO_NOTHING;
	if (v->tlb_gen && s->asid_cpu == v->cpu && s->asid_generation == p->generation)
		return;
	if (p->next_asid >= nr_asids) {
		p->generation++;
		p->next_asid = 1;
		c->control.tlb_ctl = TLB_CONTROL_FLUSH_ALL_ASID;
	}
	c->control.asid = p->next_asid++;
	s->asid_generation = p->generation;
	s->asid_cpu = v->cpu;
}

static void enter(struct atl_vcpu *v)
{
	struct svm_cpu *p = this_cpu_ptr(&svm_cpu);
	struct atl_svm *s = v->hw;
	struct vmcb *c = s->vmcb;
	const bool aux = boot_cpu_has(X86_FEATURE_RDTSCP) && v->tsc_aux != p->tsc_aux;
	const u32 shadowed = c->control.int_state & SVM_INTERRUPT_SHADOW_MASK;
	const u64 rip = v->rip;
	bool stepped;

	/* What is injected would save our TF for the guest: it exits at once instead. */
	if (v->nmi_step && (c->control.event_inj & SVM_EVTINJ_VALID)) {
		v->nmi_step = false;
		smp_send_reschedule(v->cpu);
	}
	stepped = v->nmi_step && !(v->rflags & X86_EFLAGS_TF);
	assign_asid(v, p);
	c->save.rax = v->reg[R_AX];
	c->save.rsp = v->reg[R_SP];
	c->save.rip = v->rip;
	c->save.rflags = v->rflags;
	if (v->nmi_step)
		c->save.rflags |= X86_EFLAGS_TF;
	c->save.cr2 = v->cr2;
	c->save.cr3 = v->cr3;
	/* Masking anew: QEMU's #VMEXIT for a state that VMRUN refuses has written 0. */
	c->control.int_ctl = (c->control.int_ctl & ~V_TPR_MASK) | V_INTR_MASKING_MASK |
			     (v->cr8 & V_TPR_MASK);
	/* All MSRs are intercepted where that is needed: a map of ones, as iopm is. */
	c->control.msrpm_base_pa = __pa(READ_ONCE(v->vm->all_msrs) ? iopm : msrpm);
	c->control.clean = 0;

	asm volatile("clgi" : : : "memory");
	if (aux)
		wrmsrl(MSR_TSC_AUX, v->tsc_aux);
	asm volatile("vmsave %0" : : "a" (__pa(p->host)) : "memory");
	atl_svm_switch(s->vmcb_pa, v->reg, __pa(p->host));
	if (aux)
		wrmsrl(MSR_TSC_AUX, p->tsc_aux);
	asm volatile("stgi" : : : "memory");

	v->reg[R_AX] = c->save.rax;
	v->reg[R_SP] = c->save.rsp;
	v->rip = c->save.rip;
	v->rflags = c->save.rflags;
	/* No instruction was executed: what VMRUN was told still holds, if it forgot it or not. */
	if (c->control.exit_code == SVM_EXIT_INTR && v->rip == rip)
		c->control.int_state |= shadowed;
	/* Our TF; an IRET that is done has loaded the guest's. */
	if (stepped && (v->rip == rip || !v->nmi_iret))
		v->rflags &= ~(u64)X86_EFLAGS_TF;
	v->cr2 = c->save.cr2;
	v->cr3 = c->save.cr3;
	v->dr6 = c->save.dr6;
	v->dr7 = c->save.dr7;
	if (c->control.exit_code == SVM_EXIT_EXCP_BASE + 18)
		asm volatile("int $18");	/* the host's machine check */
}

static void inject(struct atl_vcpu *v, u8 kind, const struct atl_event *e)
{
	struct vmcb *c = atl_vmcb(v);
	u32 type = kind == ATL_INJECT_NMI ? SVM_EVTINJ_TYPE_NMI | 2 :
		   kind == ATL_INJECT_INTERRUPT ? SVM_EVTINJ_TYPE_INTR | e->vector :
		   SVM_EVTINJ_TYPE_EXEPT | e->vector;

	c->control.event_inj_err = 0;
	if (kind == ATL_INJECT_EXCEPTION && e->has_error) {
		type |= SVM_EVTINJ_VALID_ERR;
		c->control.event_inj_err = e->error;
	}
	c->control.event_inj = type | SVM_EVTINJ_VALID;
	trace_atoll_inject(v->id, kind, type & 0xff);
	if (kind == ATL_INJECT_NMI)
		atl_svm_intercept(c, INTERCEPT_IRET, true);
}

static void no_injection(struct atl_vcpu *v)
{
	atl_vmcb(v)->control.event_inj = 0;
}

static u8 shadow(struct atl_vcpu *v)
{
	return atl_vmcb(v)->control.int_state & SVM_INTERRUPT_SHADOW_MASK ?
	       KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
}

static u8 cpl(struct atl_vcpu *v)
{
	return atl_vmcb(v)->save.cpl;
}

/* In the shadow of STI, and HLT comes next. */
static bool halts_next(struct atl_vcpu *v)
{
	const struct atl_event exception = v->exception;
	const u64 cr2 = v->cr2;
	bool hlt;

	if (!(v->rflags & X86_EFLAGS_IF) || !shadow(v) || cpl(v))
		return false;
	hlt = atl_emul_prepare(v) == ATL_EMUL_OK && !v->emul.insn.map &&
	      v->emul.insn.opcode == 0xf4;
	/* Not what fetching it here met. */
	v->exception = exception;
	v->cr2 = cr2;
	return hlt;
}

/*
 * A virtual interrupt of no vector: it exits when the guest could take it. None
 * where HLT exits next: QEMU's VMRUN forgets the shadow between STI and HLT, and
 * the guest would then sleep through the interrupt that it waits for.
 */
static void irq_window(struct atl_vcpu *v, bool wanted)
{
	struct vmcb *c = atl_vmcb(v);

	wanted = wanted && !halts_next(v);
	c->control.int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
	if (wanted)
		c->control.int_ctl |= V_IRQ_MASK | V_IGN_TPR_MASK | V_INTR_PRIO_MASK;
	c->control.int_vector = 0;
	atl_svm_intercept(c, INTERCEPT_VINTR, wanted);
}

static void nmi_window(struct atl_vcpu *v)
{
	struct vmcb *c = atl_vmcb(v);

	if (v->nmi_iret) {
		/* At the IRET: one step, if somebody waits. */
		v->nmi_step = v->nmi_pending;
		return;
	}
	if (v->nmi_masked)
		atl_svm_intercept(c, INTERCEPT_IRET, true);
	else if (v->nmi_pending)
		v->nmi_step = true;	/* past the shadow of STI or MOV SS */
}

static void set_shadow(struct atl_vcpu *v, u8 shadow)
{
	atl_vmcb(v)->control.int_state = shadow ? SVM_INTERRUPT_SHADOW_MASK : 0;
}

static struct vmcb_seg *segment(struct atl_vcpu *v, int seg)
{
	struct vmcb_save_area *s = &atl_vmcb(v)->save;

	switch (seg) {
	case SEG_ES:
		return &s->es;
	case SEG_CS:
		return &s->cs;
	case SEG_SS:
		return &s->ss;
	case SEG_DS:
		return &s->ds;
	case SEG_FS:
		return &s->fs;
	case SEG_GS:
		return &s->gs;
	case SEG_TR:
		return &s->tr;
	default:
		return &s->ldtr;
	}
}

static void get_segment(struct atl_vcpu *v, struct kvm_segment *k, int seg)
{
	const struct vmcb_seg *s = segment(v, seg);

	memset(k, 0, sizeof(*k));
	k->base = s->base;
	k->limit = s->limit;
	k->selector = s->selector;
	k->type = s->attrib & 0xf;
	k->s = s->attrib >> 4 & 1;
	k->dpl = s->attrib >> 5 & 3;
	k->present = s->attrib >> 7 & 1;
	k->avl = s->attrib >> 8 & 1;
	k->l = s->attrib >> 9 & 1;
	k->db = s->attrib >> 10 & 1;
	k->g = s->attrib >> 11 & 1;
	k->unusable = !k->present;
	if (seg == SEG_SS)
		k->dpl = atl_vmcb(v)->save.cpl;
	/* Some processors lose the busy bit; others' registers want it. */
	if (seg == SEG_TR)
		k->type |= 2;
}

static void set_segment(struct atl_vcpu *v, const struct kvm_segment *k, int seg)
{
	struct vmcb_seg *s = segment(v, seg);

	s->base = k->base;
	s->limit = k->limit;
	s->selector = k->selector;
	s->attrib = (k->type & 15) | (k->s & 1) << 4 | (k->dpl & 3) << 5 |
		    ((k->present & 1) && !k->unusable) << 7 | (k->avl & 1) << 8 |
		    (k->l & 1) << 9 | (k->db & 1) << 10 | (k->g & 1) << 11;
	if (seg == SEG_SS)
		atl_vmcb(v)->save.cpl = k->dpl & 3;
}

static void get_table(struct atl_vcpu *v, struct kvm_dtable *t, bool idt)
{
	const struct vmcb_seg *s = idt ? &atl_vmcb(v)->save.idtr : &atl_vmcb(v)->save.gdtr;

	memset(t, 0, sizeof(*t));
	t->base = s->base;
	t->limit = s->limit;
}

static void set_table(struct atl_vcpu *v, const struct kvm_dtable *t, bool idt)
{
	struct vmcb_seg *s = idt ? &atl_vmcb(v)->save.idtr : &atl_vmcb(v)->save.gdtr;

	s->base = t->base;
	s->limit = t->limit;
}

static u64 *msr_field(struct atl_vcpu *v, u32 index)
{
	struct vmcb_save_area *s = &atl_vmcb(v)->save;

	switch (index) {
	case MSR_STAR:
		return &s->star;
	case MSR_LSTAR:
		return &s->lstar;
	case MSR_CSTAR:
		return &s->cstar;
	case MSR_SYSCALL_MASK:
		return &s->sfmask;
	case MSR_FS_BASE:
		return &s->fs.base;
	case MSR_GS_BASE:
		return &s->gs.base;
	case MSR_KERNEL_GS_BASE:
		return &s->kernel_gs_base;
	case MSR_IA32_SYSENTER_CS:
		return &s->sysenter_cs;
	case MSR_IA32_SYSENTER_ESP:
		return &s->sysenter_esp;
	case MSR_IA32_SYSENTER_EIP:
		return &s->sysenter_eip;
	default:
		return NULL;
	}
}

static int get_msr(struct atl_vcpu *v, u32 index, u64 *value)
{
	const u64 *field = msr_field(v, index);

	if (!field)
		return -ENOENT;
	*value = *field;
	return 0;
}

static int set_msr(struct atl_vcpu *v, u32 index, u64 value)
{
	u64 *field = msr_field(v, index);

	if (!field)
		return -ENOENT;
	*field = value;
	return 0;
}

const struct atl_hw_ops atl_svm_ops = {
	.name = "SVM",
	.setup = setup,
	.teardown = teardown,
	.enable_cpu = enable_cpu,
	.disable_cpu = disable_cpu,
	.create_vcpu = create_vcpu,
	.destroy_vcpu = destroy_vcpu,
	.reset_vcpu = reset_vcpu,
	.enter = enter,
	.handle_exit = atl_svm_handle_exit,
	.next_rip = atl_svm_next_rip,
	.inject = inject,
	.no_injection = no_injection,
	.irq_window = irq_window,
	.nmi_window = nmi_window,
	.shadow = shadow,
	.set_shadow = set_shadow,
	.get_segment = get_segment,
	.set_segment = set_segment,
	.get_table = get_table,
	.set_table = set_table,
	.cpl = cpl,
	.state_changed = state_changed,
	.get_msr = get_msr,
	.set_msr = set_msr,
	.exit_names = atl_svm_exit_names,
	.host_levels = true,
	/* Nested walks are user accesses. */
	.pte_present = BIT_ULL(0) | BIT_ULL(2),
	.pte_write = BIT_ULL(1),
	.pte_accessed = BIT_ULL(5),
	.pte_large = BIT_ULL(7),
	.pte_leaf = 0,
};
