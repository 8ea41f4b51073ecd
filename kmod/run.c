// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN: the loop around the world switch.
 *
 * Theory of operation
 *
 *	what user space answered goes to who waits for it
 *	loop: a vCPU that is halted waits (halt.c)
 *	      events are chosen
 *	      interrupts off, mode = in guest
 *	      signal, flush or reschedule meanwhile? not entered
 *	      world switch
 *	      interrupts on: the one that ended the guest's time is taken here
 *	      the vendor's handler of the exit
 *	until a handler has something for user space, a signal is pending, or the
 *	interrupt window that was asked for is open
 *
 * The host's FPU registers are saved once per KVM_RUN, by the kernel's own
 * functions, so the thread may be preempted or migrated anywhere outside of
 * the section with interrupts off; nothing of a vCPU stays on a processor.
 */
#include <linux/context_tracking.h>
#include <linux/hw_breakpoint.h>
#include <linux/ktime.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#include <linux/vtime.h>
#include <asm/debugreg.h>
#include <asm/fpu/xcr.h>
#include <asm/processor-flags.h>

#include "atoll.h"
#include "trace.h"

int atl_internal_error(struct atl_vcpu *v, u32 suberror)
{
	struct kvm_run *run = v->run;
	const unsigned int n = min_t(unsigned int, v->emul.insn.nbytes, 15);

	v->stats.insn_emulation_fail++;
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = suberror;
	run->emulation_failure.ndata = 0;
	run->emulation_failure.flags = 0;
	if (suberror == KVM_INTERNAL_ERROR_EMULATION && n) {
		run->emulation_failure.ndata = 4;
		run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
		run->emulation_failure.insn_size = n;
		memset(run->emulation_failure.insn_bytes, 0x90, 15);
		memcpy(run->emulation_failure.insn_bytes, v->emul.insn.bytes, n);
	}
	return ATL_TO_USER;
}

static int msr_complete(struct atl_vcpu *v)
{
	const bool read = v->waiting == ATL_MSR_READ;
	u64 next_rip = v->io.next_rip;

	v->waiting = ATL_NOTHING;
	if (v->run->msr.error) {
		atl_inject_gp(v);
		return ATL_RESUME;
	}
	if (read) {
		const u64 value = v->run->msr.data;

		v->reg[R_AX] = (u32)value;
		v->reg[R_DX] = value >> 32;
	}
	atl_skip(v, next_rip);
	return ATL_RESUME;
}

static int take_answer(struct atl_vcpu *v)
{
	/* User space has reset it meanwhile, or the like: nobody waits any more. */
	if (v->waiting != ATL_NOTHING && v->rip != v->asked_rip) {
		v->waiting = ATL_NOTHING;
		v->nr_reads = v->nr_writes = 0;
	}
	switch (v->waiting) {
	case ATL_PIO_IN:
	case ATL_PIO_OUT:
		return atl_pio_complete(v);
	case ATL_MMIO_READ:
	case ATL_MMIO_WRITE:
		return atl_mmio_complete(v);
	case ATL_MSR_READ:
	case ATL_MSR_WRITE:
		return msr_complete(v);
	default:
		return ATL_RESUME;
	}
}

/* The host's time is counted as the guest's, and RCU may take it for idle. */
static __always_inline void switch_worlds(struct atl_vcpu *v)
{
	vtime_account_guest_enter();
	atl_ops->enter(v);
}

static bool must_stay(struct atl_vcpu *v)
{
	return READ_ONCE(v->kicked) || signal_pending(current) || need_resched() ||
	       READ_ONCE(current->task_works);
}

/* False: not entered, because something waits for this thread. */
static bool enter(struct atl_vcpu *v)
{
	u64 host_xcr0 = 0, gen;
	const u64 now = ktime_get_ns();

	if (v->exit_time)
		atl_stats_account(v, now);
	trace_atoll_entry(v->id, v->rip);
	preempt_disable();
	if (atl_ops->load)
		atl_ops->load(v);
	local_irq_disable();
	v->cpu = smp_processor_id();
	WRITE_ONCE(v->mode, ATL_IN_GUEST);
	smp_mb();	/* pairs with those of atl_mmu_flush() and atl_kick() */
	gen = atomic64_read(&v->vm->tlb_gen);
	if (must_stay(v)) {
		WRITE_ONCE(v->mode, ATL_OUTSIDE);
		local_irq_enable();
		preempt_enable();
		return false;
	}
	fpregs_assert_state_consistent();
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	if (boot_cpu_has(X86_FEATURE_OSXSAVE)) {
		host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
		if (v->xcr0 != host_xcr0 && (v->cr4 & X86_CR4_OSXSAVE))
			xsetbv(XCR_XFEATURE_ENABLED_MASK, v->xcr0);
	}
	if (v->dr7 & 0xff) {
		set_debugreg(0, 7);
		set_debugreg(v->dr[0], 0);
		set_debugreg(v->dr[1], 1);
		set_debugreg(v->dr[2], 2);
		set_debugreg(v->dr[3], 3);
	}
	if (v->tlb_gen != gen) {
		/* The vendor's enter() flushes when it is 0. */
		v->tlb_gen = 0;
		v->stats.tlb_flush++;
	}

	switch_worlds(v);

	v->tlb_gen = gen;
	if (host_xcr0) {
		const u64 xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);

		/* QEMU's SVM lets a guest's XSETBV through, intercepted or not. */
		if (v->cr4 & X86_CR4_OSXSAVE)
			v->xcr0 = xcr0;
		if (xcr0 != host_xcr0)
			xsetbv(XCR_XFEATURE_ENABLED_MASK, host_xcr0);
	}
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
	v->exit_time = ktime_get_ns();
	v->stats.exits++;
	WRITE_ONCE(v->mode, ATL_OUTSIDE);
	/* The interrupt that is pending is taken before the time is accounted. */
	local_irq_enable();
	local_irq_disable();
	vtime_account_guest_exit();
	local_irq_enable();
	preempt_enable();
	return true;
}

static int loop(struct atl_vcpu *v)
{
	int r;

	for (;;) {
		if (READ_ONCE(v->vm->dead))
			return -EIO;
		r = atl_before_entry(v);
		if (r == -EINTR) {
			v->run->exit_reason = KVM_EXIT_INTR;
			v->stats.signal_exits++;
		}
		if (r <= 0)
			return r;
		r = atl_prepare_events(v);
		if (r <= 0)
			return r;
		if (enter(v)) {
			r = atl_ops->handle_exit(v);
			if (r <= 0)
				return r;
		}
		if (!atl_pic_here(v) && READ_ONCE(v->run->request_interrupt_window) &&
		    atl_ready_for_interrupt(v)) {
			v->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
			v->stats.request_irq++;
			return 0;
		}
		if (signal_pending(current) || READ_ONCE(current->task_works)) {
			v->run->exit_reason = KVM_EXIT_INTR;
			v->stats.signal_exits++;
			return -EINTR;
		}
		cond_resched();
	}
}

static void tell_user(struct atl_vcpu *v)
{
	struct kvm_run *run = v->run;

	run->if_flag = !!(v->rflags & X86_EFLAGS_IF);
	run->flags = 0;
	run->cr8 = v->cr8;
	run->apic_base = v->apic_base;
	run->ready_for_interrupt_injection = atl_pic_here(v) || atl_ready_for_interrupt(v);
}

int atl_run(struct atl_vcpu *v)
{
	struct kvm_run *run = v->run;
	const u64 cr8 = READ_ONCE(run->cr8);
	sigset_t saved;
	int r;

	if (v->sigset_active)
		sigprocmask(SIG_SETMASK, &v->sigset, &saved);
	run->flags = 0;
	fpu_swap_kvm_fpstate(&v->fpu, true);
	v->stats.host_state_reload++;
	/* Where the APIC is here its priority is the truth. */
	if (!v->lapic && cr8 > 15) {
		r = -EINVAL;
		goto out;
	}
	if (!v->lapic)
		v->cr8 = cr8;
	r = atl_take_synced(v);
	if (r)
		goto out;
	r = take_answer(v);
	if (r <= 0)
		goto out;
	if (READ_ONCE(run->immediate_exit)) {
		r = -EINTR;
		goto out;
	}
	r = loop(v);
out:
	if (v->exit_time)
		atl_stats_account(v, ktime_get_ns());
	v->exit_time = 0;
	v->asked_rip = v->rip;
	fpu_swap_kvm_fpstate(&v->fpu, false);
	v->stats.fpu_reload++;
	tell_user(v);
	atl_give_synced(v);
	if (v->sigset_active)
		sigprocmask(SIG_SETMASK, &saved, NULL);
	return r;
}
