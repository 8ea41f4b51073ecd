/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the module share: a VM, a vCPU, and the operations of the
 * processor's vendor.
 *
 * Locks, outermost first; a field's comment names the letter of its lock.
 *   (u) vcpu->mutex      one ioctl of a vCPU at a time, KVM_RUN among them
 *   (v) vm->lock         creation of vCPUs
 *   (s) vm->slots_sem    memory slots. Readers may sleep in page faults, which
 *                        run the mmu notifiers: those never take it
 *   (f) vm->irqfd_lock   the VM's irqfds
 *   (b) vm->bus_sem      ioeventfds, zones of the ring, the filter of MSRs
 *   (r) vm->ring_lock    who writes to the ring
 *   (m) vm->mmu_lock     nested page tables, and slots against the notifiers:
 *                        who writes slots holds (s) for writing and (m)
 *   (i) vm->irq_lock     interrupt controllers and the clock; interrupts off, in
 *                        callbacks too. Below it only wait queues and timers
 *   (g) atl_hw_lock      how many VMs keep the processors enabled; list of VMs
 *   (c) constant after creation
 *   (p) of the processor that runs the vCPU, with interrupts off
 */
#ifndef ATOLL_H
#define ATOLL_H

#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <linux/kvm_types.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>

#include "emul.h"
#include "irq.h"
#include "stats.h"

/* An architectural number, not our structure's: KVM's ABI has no name for it. */
#define ATL_CPUID_FEATURES	(KVM_CPUID_SIGNATURE | 1)

#define ATL_MAX_VCPUS		64
#define ATL_MAX_VCPU_ID		256
#define ATL_MAX_SLOTS		512
#define ATL_MAX_CPUID		256
#define ATL_MAX_MSRS		256
/* 2 TiB of guest memory in one slot: what a dirty bitmap of 64 MiB covers. */
#define ATL_MAX_SLOT_PAGES	((1UL << 29) - 1)

/* A vCPU's descriptor is mapped to kvm_run, port data, and the VM's ring. */
#define ATL_RUN_PAGES		3
#define ATL_RING_PAGE		2

/* Registers of struct atl_vcpu, as instructions number them. */
enum { R_AX, R_CX, R_DX, R_BX, R_SP, R_BP, R_SI, R_DI };

struct atl_vm;
struct atl_vcpu;

struct atl_slot {
	u32 id;
	u32 flags;
	gfn_t gfn;
	unsigned long npages;
	unsigned long hva;
	/* Set bit: written since KVM_GET_DIRTY_LOG. NULL: not logged. */
	unsigned long *dirty;
};

struct atl_vm {
	refcount_t refs;		/* its fd, and the fds of its vCPUs */
	struct mm_struct *mm;		/* (c) who created it; others get EIO */
	struct mutex lock;
	struct rw_semaphore slots_sem;
	spinlock_t mmu_lock;
	struct mmu_notifier notifier;

	struct atl_slot *slots;		/* (s)(m) sorted by gfn */
	unsigned int nr_slots;		/* (s)(m) */

	u64 *root;			/* (m) the nested page table's top, a page */
	unsigned int levels;		/* (c) 4, or 5 where the host has 5 */
	unsigned long nr_tables;	/* (m) pages of tables, the root not counted */
	unsigned long inval_seq;	/* (m) invalidations that are over */
	unsigned int inval_count;	/* (m) invalidations under way */
	bool dead;			/* (m) the address space is gone */
	/* Raised for each flush; vCPUs compare at entry. */
	atomic64_t tlb_gen;

	struct atl_vcpu *vcpus[ATL_MAX_VCPUS];	/* (v) for writing */
	unsigned int nr_vcpus;		/* (v); vcpus[] is valid below it */

	u64 tsc_offset;			/* (v) of the last TSC that was set */
	u64 msr_exits;			/* KVM_CAP_X86_USER_SPACE_MSR */

	spinlock_t irq_lock;
	struct atl_irq *irq;		/* (v) for writing, once; NULL: user space's */
	u32 boot_id;			/* (v) the vCPU that starts */
	u64 clock_tsc, clock_ns;	/* (i) at this TSC of the host it was this time */
	struct mutex irqfd_lock;
	struct list_head irqfds;	/* (f) */
	struct work_struct irqfd_work;
	struct rw_semaphore bus_sem;
	struct list_head ioeventfds;	/* (b) */
	unsigned int nr_ioeventfds;	/* (b) for writing */
	struct list_head zones;		/* (b) */
	unsigned int nr_zones;		/* (b) for writing */
	spinlock_t ring_lock;
	struct kvm_coalesced_mmio_ring *ring;	/* (r) shared with user space: read once */
	struct atl_msr_filter *msr_filter;	/* (b) NULL: none */
	bool all_msrs;				/* (b) it refuses what is not intercepted */

	u32 max_vcpu_id;			/* (v) as user space limited it; 0: not */
	u64 no_quirks;				/* KVM_X86_QUIRK_* that are off */
	bool no_platform_info;			/* the guest may not read that MSR */
	struct atl_vm_stats stats;
	struct list_head list;		/* (g) */
	struct dentry *debugfs;
	int id;
};

/* What a segment register holds beside its selector. */
struct atl_event {
	bool pending;			/* to be delivered */
	bool injected;			/* its delivery had begun: before all others */
	u8 vector;
	bool has_error;
	bool soft;
	u32 error;
};

/* One access of an emulated instruction that user space carries out. */
struct atl_fragment {
	u64 gpa;
	u8 len;
	u8 data[8];
};

/* What KVM_RUN has to do first, with the answer of user space. */
enum atl_pending {
	ATL_NOTHING,
	ATL_PIO_IN,
	ATL_PIO_OUT,
	ATL_MMIO_READ,
	ATL_MMIO_WRITE,
	ATL_MSR_READ,
	ATL_MSR_WRITE,
};

enum { ATL_OUTSIDE, ATL_IN_GUEST };

#define ATL_MAX_FRAGMENTS 8

struct atl_vcpu {
	struct atl_vm *vm;		/* (c) */
	struct mutex mutex;
	u32 id;				/* (c) */
	struct kvm_run *run;		/* (c) shared with user space: read once */
	void *pio;			/* (c) likewise, the page after it */
	void *hw;			/* (c) of the vendor */
	struct atl_lapic *lapic;	/* (c) NULL: user space's */
	struct wait_queue_head wait;	/* where it is halted */
	bool kicked;			/* something new: look before entering */
	bool woken;			/* by somebody, for a counter */
	bool clock_stale;		/* its page is to be written */

	/* All of the following is (u). */
	u64 reg[16];
	u64 rip, rflags;
	u64 cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	u64 dr[4], dr6, dr7;
	u64 apic_base;
	struct fpu_guest fpu;
	sigset_t sigset;
	bool sigset_active;

	struct atl_event exception, interrupt;
	bool triple_fault;		/* a third exception: shut down */
	u32 nmi_pending;
	bool nmi_injected, nmi_masked;
	/* An IRET is under way from this address; after it NMIs are open. */
	bool nmi_iret, nmi_step;
	u64 nmi_iret_rip;
	u32 mp_state;
	int extint;			/* user space's PIC: a vector, -1: none */
	int eoi_vector;			/* user space's IOAPIC is to be told; -1: none */

	struct kvm_cpuid_entry2 *cpuid;
	unsigned int nr_cpuid;
	u64 cr4_reserved;		/* from cpuid */
	u64 xcr0_allowed;
	u8 phys_bits;

	u64 tsc_offset, tsc_aux, tsc_adjust, pat, misc_enable, mcg_status, mcg_ctl;
	u64 power_ctl;
	u64 mtrr_def, mtrr_fixed[11], mtrr_var[16];
	u64 mce[4 * 32];
	u64 clock_msr, wall_clock_msr;
	u32 clock_version;
	bool clock_stopped;
	u64 steal_msr, steal_seen, stolen;	/* ns */
	const void *steal_thread;	/* whose steal_seen is; only compared */
	u32 steal_version;

	u64 platform_info;
	bool pv_enforced;		/* MSRs of KVM only where CPUID has the feature */

	enum atl_pending waiting;
	u64 asked_rip;			/* where it was when user space was asked */
	struct atl_emul emul;
	struct atl_fragment reads[ATL_MAX_FRAGMENTS], writes[ATL_MAX_FRAGMENTS];
	unsigned int nr_reads, nr_writes, next_write, replayed;
	struct {
		u16 port;
		u8 size;
		u8 seg, ad_bytes;
		bool in, string, rep;
		u32 count;
		u64 next_rip;
	} io;
	u32 msr_index;

	/* Table pages for the next fault, so that none is made under (m). */
	u64 *cache[5];
	unsigned int nr_cache;

	int mode;			/* ATL_IN_GUEST from just before entry */
	int cpu;			/* that it ran on last; -1: none */
	u64 tlb_gen;			/* what its TLB has seen of vm->tlb_gen */

	u32 exit_reason;		/* of the hardware, as an index of names */
	u64 exit_time;			/* ns; 0: none to account for */
	struct atl_vcpu_stats stats;
	struct dentry *debugfs;
};

/* The PIC is the kernel's: user space puts no interrupts in. */
static inline bool atl_pic_here(const struct atl_vcpu *v)
{
	return v->lapic && !v->vm->irq->split;
}

/* vcpus[] is valid below it, also without (v). */
static inline unsigned int atl_nr_vcpus(const struct atl_vm *vm)
{
	return smp_load_acquire(&vm->nr_vcpus);	/* pairs with atl_create_vcpu()'s */
}

/* Results of exit handlers and of what they call. Negative: an errno. */
enum { ATL_TO_USER = 0, ATL_RESUME = 1 };

/*
 * The vendor's side. The general side keeps registers in struct atl_vcpu;
 * enter() carries them into the processor's structure and back.
 */
struct atl_hw_ops {
	const char *name;
	int (*setup)(void);			/* -ENODEV, -EBUSY: and says why */
	void (*teardown)(void);
	int (*enable_cpu)(void);		/* interrupts off */
	void (*disable_cpu)(void);
	int (*create_vcpu)(struct atl_vcpu *v);
	void (*destroy_vcpu)(struct atl_vcpu *v);
	void (*reset_vcpu)(struct atl_vcpu *v);
	/* NULL, or: preemption is off, interrupts are on, enter() comes next. */
	void (*load)(struct atl_vcpu *v);
	/* Interrupts are off; afterwards exit information is in v->hw. */
	void (*enter)(struct atl_vcpu *v);
	int (*handle_exit)(struct atl_vcpu *v);
	/* The address after the instruction that exited; enum atl_emul_result. */
	int (*next_rip)(struct atl_vcpu *v, u64 *next);
	void (*inject)(struct atl_vcpu *v, u8 kind, const struct atl_event *e);
	void (*no_injection)(struct atl_vcpu *v);
	void (*irq_window)(struct atl_vcpu *v, bool wanted);
	void (*nmi_window)(struct atl_vcpu *v);
	u8 (*shadow)(struct atl_vcpu *v);	/* KVM_X86_SHADOW_INT_* */
	void (*set_shadow)(struct atl_vcpu *v, u8 shadow);
	void (*get_segment)(struct atl_vcpu *v, struct kvm_segment *s, int seg);
	void (*set_segment)(struct atl_vcpu *v, const struct kvm_segment *s, int seg);
	void (*get_table)(struct atl_vcpu *v, struct kvm_dtable *t, bool idt);
	void (*set_table)(struct atl_vcpu *v, const struct kvm_dtable *t, bool idt);
	u8 (*cpl)(struct atl_vcpu *v);
	/* cr0, cr4, efer, dr7, pat or tsc_offset of struct atl_vcpu changed. */
	void (*state_changed)(struct atl_vcpu *v);
	/* -ENOENT: not an MSR of the vendor's structure. */
	int (*get_msr)(struct atl_vcpu *v, u32 index, u64 *value);
	int (*set_msr)(struct atl_vcpu *v, u32 index, u64 value);
	const char **exit_names;		/* ATL_MAX_EXITS; NULL: none */
	/* Nested tables have 5 levels where the host's have; else 4. */
	bool host_levels;
	u64 pte_present, pte_write, pte_large, pte_accessed, pte_leaf;
};

/* After the six of enum atl_seg. */
enum { SEG_TR = 6, SEG_LDTR = 7 };
enum { ATL_INJECT_EXCEPTION, ATL_INJECT_NMI, ATL_INJECT_INTERRUPT };

extern const struct atl_hw_ops *atl_ops;
extern const struct atl_hw_ops atl_svm_ops, atl_vmx_ops;

/* main.c */
int atl_hw_get(struct atl_vm *vm);
void atl_hw_put(struct atl_vm *vm);
int atl_check_extension(long cap);
extern struct mutex atl_hw_lock;
extern struct list_head atl_vms;

/* vm.c */
int atl_create_vm(unsigned long type);
void atl_vm_put(struct atl_vm *vm);
struct atl_slot *atl_slot_find(struct atl_vm *vm, gfn_t gfn);
int atl_gpa_read(struct atl_vm *vm, u64 gpa, void *data, unsigned int len);
int atl_gpa_write(struct atl_vm *vm, u64 gpa, const void *data, unsigned int len);

/* mmu.c */
extern const struct mmu_notifier_ops atl_mmu_notifier_ops;
int atl_mmu_init(struct atl_vm *vm);
void atl_mmu_free(struct atl_vm *vm);
void atl_mmu_zap_all(struct atl_vm *vm);
void atl_mmu_write_protect(struct atl_vm *vm, gfn_t gfn, unsigned long npages);
void atl_mmu_flush(struct atl_vm *vm);
void atl_mmu_drop_cache(struct atl_vcpu *v);
/* ATL_RESUME: mapped or to be tried again. -ENOENT: no memory there for this access. */
int atl_mmu_fault(struct atl_vcpu *v, u64 gpa, bool write);

/* gwalk.c */
#define ATL_ACC_WRITE	1
#define ATL_ACC_USER	2
#define ATL_ACC_FETCH	4
int atl_gva_to_gpa(struct atl_vcpu *v, u64 gva, u32 access, u64 *gpa, struct atl_event *fault,
		   u64 *cr2);
int atl_fetch(struct atl_vcpu *v, u64 linear, u8 *data, unsigned int len);

/* vcpu.c, run.c */
int atl_create_vcpu(struct atl_vm *vm, unsigned long id);
void atl_vcpu_free(struct atl_vcpu *v);
int atl_take_synced(struct atl_vcpu *v);
void atl_give_synced(struct atl_vcpu *v);
int atl_run(struct atl_vcpu *v);
int atl_internal_error(struct atl_vcpu *v, u32 suberror);

/* event.c */
void atl_queue_exception(struct atl_vcpu *v, u8 vector, bool has_error, u32 error);
void atl_inject_gp(struct atl_vcpu *v);
void atl_inject_ud(struct atl_vcpu *v);
int atl_prepare_events(struct atl_vcpu *v);
void atl_finish_events(struct atl_vcpu *v, u32 info, u32 error);
bool atl_interrupt_allowed(struct atl_vcpu *v);
bool atl_ready_for_interrupt(struct atl_vcpu *v);
int atl_get_events(struct atl_vcpu *v, struct kvm_vcpu_events *e);
int atl_set_events(struct atl_vcpu *v, const struct kvm_vcpu_events *e);

/* exit.c: all return what a handler returns. */
int atl_exit_skip(struct atl_vcpu *v);
int atl_exit_undefined(struct atl_vcpu *v);
int atl_exit_protection(struct atl_vcpu *v);
int atl_exit_nothing(struct atl_vcpu *v);
int atl_exit_alignment(struct atl_vcpu *v);
int atl_exit_host_interrupt(struct atl_vcpu *v);
int atl_exit_irq_window(struct atl_vcpu *v);
int atl_exit_cpuid(struct atl_vcpu *v);
int atl_exit_halt(struct atl_vcpu *v);
int atl_exit_hypercall(struct atl_vcpu *v);
int atl_exit_port(struct atl_vcpu *v);
int atl_exit_rdmsr(struct atl_vcpu *v);
int atl_exit_wrmsr(struct atl_vcpu *v);
int atl_exit_task_switch(struct atl_vcpu *v);
int atl_exit_xsetbv(struct atl_vcpu *v);
int atl_exit_unexpected(struct atl_vcpu *v);
int atl_exit_fail_entry(struct atl_vcpu *v, u64 reason);
int atl_exit_nested_fault(struct atl_vcpu *v, u64 gpa, bool write, bool final);
/* `fault` is what the setters of x86.c return: 0, 1 for #GP, 2 for #UD. */
int atl_exit_conclude(struct atl_vcpu *v, int fault, u64 next_rip);
int atl_exit_write_cr8(struct atl_vcpu *v, u64 value, u64 next_rip);
int atl_exit_debug_register(struct atl_vcpu *v, unsigned int n, bool write, unsigned int gpr,
			    u64 next_rip);
void atl_set_gpr(struct atl_vcpu *v, unsigned int n, u64 value);
u64 atl_get_gpr(struct atl_vcpu *v, unsigned int n);

/* irq.c */
void atl_kick(struct atl_vcpu *v);
bool atl_irq_waits(struct atl_vcpu *v);
int atl_irq_take(struct atl_vcpu *v);
void atl_irq_free(struct atl_vm *vm);
int atl_irq_enable_cap(struct atl_vm *vm, const struct kvm_enable_cap *cap);
long atl_irq_vm_ioctl(struct atl_vm *vm, unsigned int ioctl, unsigned long arg);
long atl_irq_vcpu_ioctl(struct atl_vcpu *v, unsigned int ioctl, unsigned long arg);

/* halt.c */
int atl_halt(struct atl_vcpu *v);
int atl_before_entry(struct atl_vcpu *v);
int atl_get_mp_state(struct atl_vcpu *v, void __user *arg);
int atl_set_mp_state(struct atl_vcpu *v, void __user *arg);

/* lapic.c, what others than irq.c use; without (i) */
void atl_lapic_set_cr8(struct atl_vcpu *v, u64 cr8);
bool atl_lapic_base_valid(struct atl_vcpu *v, u64 value);
int atl_lapic_set_base(struct atl_vcpu *v, u64 value, bool host);
bool atl_lapic_page(struct atl_vcpu *v, u64 gpa);
void atl_lapic_tsc_changed(struct atl_vcpu *v);
int atl_lapic_get_msr(struct atl_vcpu *v, u32 index, u64 *value);
int atl_lapic_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host);
int atl_lapic_get_deadline(struct atl_vcpu *v, u32 index, u64 *value);
int atl_lapic_set_deadline(struct atl_vcpu *v, u32 index, u64 value, bool host);
int atl_lapic_get(struct atl_vcpu *v, void __user *arg);
int atl_lapic_put(struct atl_vcpu *v, void __user *arg);

/* irqfd.c, bus.c */
void atl_irqfd_init(struct atl_vm *vm);
void atl_irqfd_release(struct atl_vm *vm);
void atl_bus_init(struct atl_vm *vm);
void atl_bus_free(struct atl_vm *vm);
int atl_ioeventfd(struct atl_vm *vm, void __user *arg);
bool atl_bus_read(struct atl_vcpu *v, bool mmio, u64 addr, u32 len, void *data);
bool atl_bus_write(struct atl_vcpu *v, bool mmio, u64 addr, u32 len, const void *data);
u32 atl_bus_pio(struct atl_vcpu *v);

/* coalesced.c */
int atl_coalesced_init(struct atl_vm *vm);
void atl_coalesced_free(struct atl_vm *vm);
bool atl_coalesce(struct atl_vm *vm, bool mmio, u64 addr, u32 len, const void *data);
int atl_register_zone(struct atl_vm *vm, void __user *arg);
int atl_unregister_zone(struct atl_vm *vm, void __user *arg);

/* clock.c */
bool atl_clock_usable(void);
void atl_clock_tsc_changed(struct atl_vcpu *v);
void atl_clock_update(struct atl_vcpu *v);
int atl_clock_get_msr(struct atl_vcpu *v, u32 index, u64 *value);
int atl_clock_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host);
bool atl_steal_usable(void);
void atl_steal_update(struct atl_vcpu *v);
int atl_steal_get_msr(struct atl_vcpu *v, u32 index, u64 *value);
int atl_steal_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host);
int atl_get_clock(struct atl_vm *vm, void __user *arg);
int atl_set_clock(struct atl_vm *vm, void __user *arg);
int atl_clock_stopped(struct atl_vcpu *v);
int atl_tsc_attr(struct atl_vcpu *v, unsigned int ioctl, void __user *arg);

/* x86.c */
void atl_reset(struct atl_vcpu *v, bool init);
int atl_set_cr0(struct atl_vcpu *v, u64 value);
int atl_set_cr4(struct atl_vcpu *v, u64 value);
int atl_set_efer(struct atl_vcpu *v, u64 value, bool host);
int atl_set_xcr(struct atl_vcpu *v, u32 index, u64 value);
int atl_get_dr(struct atl_vcpu *v, unsigned int n, u64 *value);
int atl_set_dr(struct atl_vcpu *v, unsigned int n, u64 value);
void atl_get_sregs(struct atl_vcpu *v, struct kvm_sregs *s);
int atl_set_sregs(struct atl_vcpu *v, const struct kvm_sregs *s);
void atl_skip(struct atl_vcpu *v, u64 next_rip);
int atl_hypercall(struct atl_vcpu *v);
bool atl_long_mode(struct atl_vcpu *v);
bool atl_64bit(struct atl_vcpu *v);

/* cpuid.c */
int atl_supported_cpuid(struct kvm_cpuid2 __user *to);
void atl_derive_cpuid(struct atl_vcpu *v);
int atl_set_cpuid(struct atl_vcpu *v, struct kvm_cpuid2 __user *from);
int atl_get_cpuid(struct atl_vcpu *v, struct kvm_cpuid2 __user *to);
void atl_emulate_cpuid(struct atl_vcpu *v);
bool atl_cpuid_has(struct atl_vcpu *v, u32 function, int reg, u32 bit);
u64 atl_host_xcr0(void);

/* msr.c, msr_filter.c */
int atl_set_msr_filter(struct atl_vm *vm, void __user *arg);
void atl_free_msr_filter(struct atl_vm *vm);
bool atl_msr_allowed(struct atl_vm *vm, u32 index, bool write);
int atl_get_msr(struct atl_vcpu *v, u32 index, u64 *value, bool host);
int atl_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host);
int atl_msr_list(struct kvm_msr_list __user *to);
int atl_feature_msr_list(struct kvm_msr_list __user *to);
int atl_feature_msrs(struct kvm_msrs __user *arg);
int atl_msrs_ioctl(struct atl_vcpu *v, struct kvm_msrs __user *arg, bool set);

/* emulate.c, pio.c */
int atl_emul_prepare(struct atl_vcpu *v);
int atl_emulate(struct atl_vcpu *v);
int atl_mmio_complete(struct atl_vcpu *v);
int atl_insn_length(struct atl_vcpu *v, u64 *next_rip);
int atl_pio(struct atl_vcpu *v);
int atl_pio_complete(struct atl_vcpu *v);
int atl_linear(struct atl_vcpu *v, int seg, u64 offset, unsigned int len, bool write, u64 *linear);
int atl_gva_access(struct atl_vcpu *v, u64 linear, void *data, unsigned int len, bool write);

/* stats.c */
int atl_stats_fd(struct atl_vm *vm, struct atl_vcpu *v);
void atl_stats_init(void);
void atl_stats_exit(void);
void atl_stats_add_vm(struct atl_vm *vm, int fd);
void atl_stats_drop_vm(struct atl_vm *vm);
void atl_stats_account(struct atl_vcpu *v, u64 now);

#endif
