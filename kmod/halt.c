// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU that does not run: halted, or before its INIT and SIPI. Where its APIC is
 * in the kernel it waits here, otherwise that is user space's.
 *
 * What others sent it (INIT, SIPI, NMI) stands in its local APIC until its own
 * thread gets here: nobody else writes its registers.
 */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/processor-flags.h>

#include "atoll.h"

/* The HLT has been skipped. */
int atl_halt(struct atl_vcpu *v)
{
	v->stats.halt_exits++;
	if (v->lapic) {
		v->mp_state = KVM_MP_STATE_HALTED;
		return ATL_RESUME;
	}
	v->run->exit_reason = KVM_EXIT_HLT;
	return ATL_TO_USER;
}

static bool event_waits(struct atl_vcpu *v)
{
	return v->exception.pending || v->exception.injected || v->interrupt.injected ||
	       v->nmi_injected || (v->nmi_pending && !v->nmi_masked) ||
	       ((v->rflags & X86_EFLAGS_IF) && atl_irq_waits(v));
}

/* Something ends the state it is in. */
static bool wakes(struct atl_vcpu *v)
{
	const struct atl_lapic *a = v->lapic;

	if (READ_ONCE(a->init))
		return true;
	switch (v->mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		return true;
	case KVM_MP_STATE_HALTED:
		return READ_ONCE(a->nmi) || event_waits(v);
	case KVM_MP_STATE_INIT_RECEIVED:
		return READ_ONCE(a->sipi);
	default:
		return false;
	}
}

static void start_at(struct atl_vcpu *v, u8 page)
{
	struct kvm_segment cs;

	atl_ops->get_segment(v, &cs, SEG_CS);
	cs.selector = page << 8;
	cs.base = page << 12;
	atl_ops->set_segment(v, &cs, SEG_CS);
	v->rip = 0;
	v->mp_state = KVM_MP_STATE_RUNNABLE;
}

static void take_messages(struct atl_vcpu *v)
{
	struct atl_lapic *a = v->lapic;
	unsigned long flags;
	bool init, sipi;
	u8 nmi, page;

	if (!READ_ONCE(a->init) && !READ_ONCE(a->sipi) && !READ_ONCE(a->nmi))
		return;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	init = a->init;
	sipi = a->sipi;
	nmi = a->nmi;
	page = a->sipi_vector;
	a->init = false;
	a->sipi = false;
	a->nmi = 0;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);

	v->nmi_pending = min(v->nmi_pending + nmi, 2u);
	if (init) {
		atl_reset(v, true);
		atl_lapic_reset(v, true);
		v->mp_state = v->id == v->vm->boot_id ? KVM_MP_STATE_RUNNABLE :
							KVM_MP_STATE_INIT_RECEIVED;
	}
	if (sipi && v->mp_state == KVM_MP_STATE_INIT_RECEIVED)
		start_at(v, page);
}

/* What there is to do before an entry; waits while the vCPU does not run. */
int atl_before_entry(struct atl_vcpu *v)
{
	WRITE_ONCE(v->kicked, false);
	smp_mb();	/* before what is looked at below and in event.c */
	if (v->clock_stale)
		atl_clock_update(v);
	atl_steal_update(v);
	if (!v->lapic)
		return ATL_RESUME;
	atl_irqfd_resample(v->vm);
	if (v->eoi_vector >= 0) {
		v->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		v->run->eoi.vector = v->eoi_vector;
		v->eoi_vector = -1;
		return ATL_TO_USER;
	}
	take_messages(v);
	while (v->mp_state != KVM_MP_STATE_RUNNABLE) {
		v->woken = false;
		if (wait_event_interruptible(v->wait, wakes(v)))
			return -EINTR;
		v->stats.halt_wakeup += v->woken;
		take_messages(v);
		if (v->mp_state == KVM_MP_STATE_HALTED)
			v->mp_state = KVM_MP_STATE_RUNNABLE;
	}
	return ATL_RESUME;
}

int atl_get_mp_state(struct atl_vcpu *v, void __user *arg)
{
	const struct kvm_mp_state m = { .mp_state = v->mp_state };

	return copy_to_user(arg, &m, sizeof(m)) ? -EFAULT : 0;
}

int atl_set_mp_state(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_mp_state m;
	unsigned long flags;

	if (copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	switch (m.mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_SIPI_RECEIVED:
		if (v->lapic)
			break;
		fallthrough;
	default:
		return -EINVAL;
	}
	v->mp_state = m.mp_state;
	if (m.mp_state == KVM_MP_STATE_SIPI_RECEIVED) {
		v->mp_state = KVM_MP_STATE_INIT_RECEIVED;
		spin_lock_irqsave(&v->vm->irq_lock, flags);
		v->lapic->sipi = true;
		spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	}
	return 0;
}
