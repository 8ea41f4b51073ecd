// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exceptions, interrupts and NMIs on their way into the guest.
 *
 * Theory of operation
 *
 * An event is pending until it is handed to the processor with an entry, and
 * injected from then until an exit shows that its delivery is complete. When
 * the delivery itself exits (the guest's stack is not mapped yet), the
 * processor tells what it was about to deliver, atl_finish_events() marks it
 * injected again, and it goes in with the next entry, before anything else.
 *
 * Order at an entry: what was injected; then a pending exception, which belongs
 * to the instruction before; then an NMI; interrupts last. Where the interrupt
 * controllers are in the kernel, a vector is taken from them when the guest can
 * take it (irq.c). Where they are in user space, that puts a vector in with
 * KVM_INTERRUPT when kvm_run says that the guest can take one; an exception that
 * comes of user space's answer (an MSR refused) still goes first. Both ask for
 * an interrupt window when it cannot: an exit as soon as the guest can.
 *
 * After an NMI others wait until its IRET is done. The IRET exits before it
 * executes; where nothing waits, the next exit at another address opens NMIs
 * again. Where an NMI waits the IRET is single-stepped.
 */
#include <linux/string.h>
#include <asm/processor-flags.h>

#include "atoll.h"

#define DE_VECTOR	0
#define DB_VECTOR	1
#define BP_VECTOR	3
#define OF_VECTOR	4
#define UD_VECTOR	6
#define DF_VECTOR	8
#define TS_VECTOR	10
#define GP_VECTOR	13
#define PF_VECTOR	14

static bool contributory(u8 vector)
{
	return vector == DE_VECTOR || (vector >= TS_VECTOR && vector <= GP_VECTOR);
}

/* A second exception while one is on its way may be a double or triple fault. */
void atl_queue_exception(struct atl_vcpu *v, u8 vector, bool has_error, u32 error)
{
	struct atl_event *e = &v->exception;

	if (e->pending || e->injected) {
		if (e->vector == DF_VECTOR) {
			v->triple_fault = true;
			return;
		}
		if ((contributory(e->vector) && contributory(vector)) ||
		    (e->vector == PF_VECTOR && vector != DB_VECTOR)) {
			vector = DF_VECTOR;
			has_error = true;
			error = 0;
		}
	}
	if (vector == PF_VECTOR)
		v->stats.pf_guest++;
	*e = (struct atl_event) {
		.pending = true,
		.vector = vector,
		/* Real mode pushes no error codes. */
		.has_error = has_error && (v->cr0 & X86_CR0_PE),
		.error = error,
	};
}

void atl_inject_gp(struct atl_vcpu *v)
{
	atl_queue_exception(v, GP_VECTOR, true, 0);
}

void atl_inject_ud(struct atl_vcpu *v)
{
	atl_queue_exception(v, UD_VECTOR, false, 0);
}

bool atl_interrupt_allowed(struct atl_vcpu *v)
{
	return (v->rflags & X86_EFLAGS_IF) && !atl_ops->shadow(v);
}

bool atl_ready_for_interrupt(struct atl_vcpu *v)
{
	return atl_interrupt_allowed(v) && v->extint < 0 && !v->interrupt.injected &&
	       !v->interrupt.pending && !v->exception.injected && !v->exception.pending &&
	       !v->nmi_injected;
}

/* ATL_RESUME, or ATL_TO_USER when the guest is shut down. */
int atl_prepare_events(struct atl_vcpu *v)
{
	struct atl_event *x = &v->exception;
	bool busy = true;

	atl_ops->no_injection(v);
	v->nmi_step = false;
	if (v->triple_fault) {
		v->triple_fault = false;
		v->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return ATL_TO_USER;
	}
	if (x->injected) {
		atl_ops->inject(v, ATL_INJECT_EXCEPTION, x);
	} else if (v->nmi_injected) {
		atl_ops->inject(v, ATL_INJECT_NMI, NULL);
	} else if (v->interrupt.injected) {
		atl_ops->inject(v, ATL_INJECT_INTERRUPT, &v->interrupt);
	} else if (x->pending) {
		x->pending = false;
		x->injected = true;
		/* A fault resumes its instruction without hitting the breakpoint again. */
		if (x->vector != DB_VECTOR && x->vector != BP_VECTOR && x->vector != OF_VECTOR)
			v->rflags |= X86_EFLAGS_RF;
		if (x->vector == DB_VECTOR && (v->dr7 & 0x2000)) {
			v->dr7 &= ~0x2000ULL;		/* GD */
			atl_ops->state_changed(v);
		}
		atl_ops->inject(v, ATL_INJECT_EXCEPTION, x);
	} else if (v->interrupt.pending && atl_interrupt_allowed(v)) {
		v->interrupt.pending = false;
		v->interrupt.injected = true;
		atl_ops->inject(v, ATL_INJECT_INTERRUPT, &v->interrupt);
	} else {
		busy = false;
	}

	if (v->nmi_pending) {
		if (!busy && !v->nmi_masked && !atl_ops->shadow(v)) {
			v->nmi_pending--;
			v->nmi_injected = true;
			v->nmi_masked = true;
			v->stats.nmi_injections++;
			atl_ops->inject(v, ATL_INJECT_NMI, NULL);
		}
		if (v->nmi_pending || !v->nmi_injected)
			atl_ops->nmi_window(v);
	} else if (v->nmi_masked) {
		atl_ops->nmi_window(v);
	}
	if (!busy && !v->nmi_injected && atl_irq_waits(v) && atl_interrupt_allowed(v)) {
		const int vector = atl_irq_take(v);

		if (vector >= 0) {
			v->interrupt = (struct atl_event){ .injected = true, .vector = vector };
			v->stats.irq_injections++;
			atl_ops->inject(v, ATL_INJECT_INTERRUPT, &v->interrupt);
		}
	}
	atl_ops->irq_window(v, atl_irq_waits(v) || v->interrupt.pending ||
			       (!atl_pic_here(v) && !atl_ready_for_interrupt(v) &&
				READ_ONCE(v->run->request_interrupt_window)));
	return ATL_RESUME;
}

/*
 * After an exit: `info` is what the processor was delivering, in the form that
 * SVM's EXITINTINFO and VMX's IDT-vectoring information share.
 */
void atl_finish_events(struct atl_vcpu *v, u32 info, u32 error)
{
	const u8 vector = info, type = info >> 8 & 7;

	v->exception.injected = false;
	v->interrupt.injected = false;
	v->nmi_injected = false;
	if (v->nmi_iret && v->rip != v->nmi_iret_rip) {
		v->nmi_iret = false;
		v->nmi_masked = false;
	}
	if (!(info & BIT(31)))
		return;
	switch (type) {
	case 0:
		v->interrupt.injected = true;
		v->interrupt.vector = vector;
		break;
	case 2:
		v->nmi_injected = true;
		break;
	case 3:
		/* INT3 and INTO are executed again instead. */
		if (vector == BP_VECTOR || vector == OF_VECTOR)
			break;
		v->exception = (struct atl_event) {
			.injected = true,
			.vector = vector,
			.has_error = info & BIT(11),
			.error = error,
		};
		break;
	}
}

int atl_get_events(struct atl_vcpu *v, struct kvm_vcpu_events *e)
{
	memset(e, 0, sizeof(*e));
	e->exception.injected = v->exception.injected || v->exception.pending;
	e->exception.nr = v->exception.vector;
	e->exception.has_error_code = v->exception.has_error;
	e->exception.error_code = v->exception.error;
	e->interrupt.injected = v->interrupt.injected || v->interrupt.pending;
	e->interrupt.nr = v->interrupt.vector;
	e->interrupt.shadow = atl_ops->shadow(v);
	e->nmi.injected = v->nmi_injected;
	e->nmi.pending = v->nmi_pending;
	e->nmi.masked = v->nmi_masked;
	e->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	return 0;
}

int atl_set_events(struct atl_vcpu *v, const struct kvm_vcpu_events *e)
{
	if (e->flags & ~(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			 KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM))
		return -EINVAL;
	if (e->exception.injected && (e->exception.nr > 31 || e->exception.nr == 2))
		return -EINVAL;
	v->exception = (struct atl_event) {
		.injected = e->exception.injected,
		.vector = e->exception.nr,
		.has_error = e->exception.has_error_code,
		.error = e->exception.error_code,
	};
	v->interrupt = (struct atl_event) {
		.injected = e->interrupt.injected,
		.vector = e->interrupt.nr,
		.soft = e->interrupt.soft,
	};
	if (e->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR && v->lapic)
		WRITE_ONCE(v->lapic->sipi_vector, e->sipi_vector);
	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW)
		atl_ops->set_shadow(v, e->interrupt.shadow);
	v->nmi_injected = e->nmi.injected;
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		v->nmi_pending = min_t(u32, e->nmi.pending, 2);
	v->nmi_masked = e->nmi.masked;
	v->nmi_iret = v->nmi_step = false;
	v->triple_fault = false;
	return 0;
}
