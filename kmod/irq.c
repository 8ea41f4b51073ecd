// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts inside the kernel: lines and messages to their controllers, and from
 * there to vCPUs.
 *
 * Theory of operation
 *
 *	KVM_IRQ_LINE, irqfd, PIT ---> GSI --routes--+--> PIC --(LINT0)-----+
 *	                                            +--> IOAPIC --+        v
 *	KVM_SIGNAL_MSI -----------------------------+--> message -+--> local APIC --> vCPU
 *	ICR, LVT, the APIC's timer -------------------------------+
 *
 * A VM has all of them (KVM_CREATE_IRQCHIP), only the local APICs
 * (KVM_CAP_SPLIT_IRQCHIP: PIC and IOAPIC are user space's, whose pins are MSIs
 * here), or none: then vm->irq is NULL and the vCPUs have no v->lapic.
 *
 * One spinlock of the VM, (i), covers the state of all controllers and the
 * routes. It is taken with interrupts off, in the thread of a vCPU, in callbacks
 * of timers and of eventfds; below it only wait queues and timers are locked. What
 * has to be told to an eventfd (a level-triggered interrupt has ended) is marked,
 * and the vCPU's thread tells it when it holds no lock.
 *
 * Nobody puts an interrupt into a vCPU from outside. A local APIC that accepts one
 * sets a bit and kicks the vCPU: it wakes it where it waits, or brings it out of
 * the guest by an interrupt of the host. Before each entry the vCPU asks what
 * there is for it (atl_irq_waits(), in event.c) and takes it (atl_irq_take()) when
 * the guest's flags allow; when they do not, it asks for the interrupt window. As
 * with TLB flushes, the order that matters is: the sender writes its bit, a
 * barrier, then reads v->mode; the vCPU writes v->mode, a barrier, then looks for
 * v->kicked. Either sees the other.
 *
 * A GSI's line is high while any source holds it: each pin has a bit for each
 * source. The end of an interrupt travels back the same way: EOI to the local
 * APIC, from there to the IOAPIC's pins with that vector (or PIC's end), from the
 * pin to its GSI: who resamples it and the PIT, which may have another tick.
 */
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>

#include "atoll.h"

/* Out of the guest, or out of its wait, to look what there is. */
void atl_kick(struct atl_vcpu *v)
{
	int cpu;

	WRITE_ONCE(v->kicked, true);
	smp_mb();	/* pairs with that of enter() in run.c */
	if (wq_has_sleeper(&v->wait)) {
		v->woken = true;
		wake_up(&v->wait);
	}
	cpu = READ_ONCE(v->cpu);
	preempt_disable();
	if (READ_ONCE(v->mode) == ATL_IN_GUEST && cpu != smp_processor_id() && cpu >= 0)
		smp_send_reschedule(cpu);
	preempt_enable();
}

static int send_lowest(struct atl_vm *vm, const struct atl_message *m, bool quirk)
{
	const unsigned int n = atl_nr_vcpus(vm);
	struct atl_vcpu *best = NULL;
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct atl_vcpu *v = vm->vcpus[(vm->irq->next + i) % n];

		if (!atl_lapic_match(v, m, quirk) || !atl_lapic_enabled(v))
			continue;
		if (!best || atl_lapic_priority(v) < atl_lapic_priority(best))
			best = v;
	}
	if (!best)
		return 0;
	vm->irq->next = (vm->irq->next + 1) % n;
	return atl_lapic_accept(best, m);
}

int atl_irq_send(struct atl_vm *vm, const struct atl_message *m)
{
	const unsigned int n = atl_nr_vcpus(vm);
	const bool quirk = !vm->irq->no_quirk;
	unsigned int i;
	int r = 0;

	if (m->mode == MODE_LOWEST)
		return send_lowest(vm, m, quirk);
	for (i = 0; i < n; i++)
		if (atl_lapic_match(vm->vcpus[i], m, quirk))
			r += atl_lapic_accept(vm->vcpus[i], m);
	return r;
}

void atl_irq_from_msi(struct atl_vm *vm, u64 address, u32 data, struct atl_message *m)
{
	m->dest = address >> 12 & 0xff;
	m->wide = vm->irq->wide_ids;
	if (m->wide)
		m->dest |= (u32)(address >> 32) & 0xffffff00;
	m->logical = address & BIT(2);
	m->mode = data >> 8 & 7;
	/* The hint: any one of them. */
	if (address & BIT(3) && m->mode == MODE_FIXED)
		m->mode = MODE_LOWEST;
	m->vector = data;
	m->level = data & BIT(15);
}

/* Routes. */

static int compare(const void *a, const void *b)
{
	return ((const struct atl_route *)a)->gsi - ((const struct atl_route *)b)->gsi;
}

static u32 first_route(const struct atl_routes *r, u32 gsi)
{
	u32 low = 0, high = r->nr;

	while (low < high) {
		const u32 mid = (low + high) / 2;

		if (r->route[mid].gsi < gsi)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int atl_irq_set_gsi(struct atl_vm *vm, u32 gsi, u8 from, bool level)
{
	const struct atl_routes *routes = vm->irq->routes;
	int sum = -1;
	u32 i;

	for (i = first_route(routes, gsi); i < routes->nr && routes->route[i].gsi == gsi; i++) {
		const struct atl_route *r = &routes->route[i];
		int one = -1;

		switch (r->chip) {
		case KVM_IRQCHIP_PIC_MASTER:
			one = atl_pic_set(vm, r->pin, from, level);
			break;
		case KVM_IRQCHIP_PIC_SLAVE:
			one = atl_pic_set(vm, 8 + r->pin, from, level);
			break;
		case KVM_IRQCHIP_IOAPIC:
			one = atl_ioapic_set(vm, r->pin, from, level);
			break;
		case ATL_MSI:
			if (level)
				one = atl_irq_send(vm, &r->msi);
			break;
		}
		if (one >= 0)
			sum = max(sum, 0) + one;
	}
	return sum;
}

/* The interrupt of a pin has ended. */
void atl_irq_acked(struct atl_vm *vm, unsigned int chip, unsigned int pin)
{
	struct atl_irq *irq = vm->irq;
	const u16 gsi = irq->routes->gsi_of[chip][pin];

	if (gsi == ATL_NO_GSI)
		return;
	if (!gsi)
		atl_pit_acked(vm);
	if (irq->nr_resample && test_bit(gsi, irq->resample)) {
		atl_irq_set_gsi(vm, gsi, ATL_FROM_RESAMPLE, false);
		__set_bit(gsi, irq->acked);
		irq->acked_any = true;
	}
}

static struct atl_routes *new_routes(u32 nr)
{
	struct atl_routes *r = kvzalloc(struct_size(r, route, nr), GFP_KERNEL_ACCOUNT);

	if (r) {
		memset(r->gsi_of, 0xff, sizeof(r->gsi_of));
		r->nr = nr;
	}
	return r;
}

static int make_route(struct atl_vm *vm, struct atl_routes *routes, struct atl_route *r,
		      const struct kvm_irq_routing_entry *e)
{
	const u32 pins = e->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC ? KVM_IOAPIC_NUM_PINS : 8;

	if (e->gsi >= ATL_MAX_ROUTES || e->flags)
		return -EINVAL;
	r->gsi = e->gsi;
	switch (e->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (vm->irq->split || e->u.irqchip.irqchip >= KVM_NR_IRQCHIPS ||
		    e->u.irqchip.pin >= pins)
			return -EINVAL;
		r->chip = array_index_nospec(e->u.irqchip.irqchip, KVM_NR_IRQCHIPS);
		r->pin = array_index_nospec(e->u.irqchip.pin, pins);
		routes->gsi_of[r->chip][r->pin] = r->gsi;
		return 0;
	case KVM_IRQ_ROUTING_MSI:
		if (vm->irq->wide_ids && (e->u.msi.address_hi & 0xff))
			return -EINVAL;
		r->chip = ATL_MSI;
		atl_irq_from_msi(vm, e->u.msi.address_lo | (u64)e->u.msi.address_hi << 32,
				 e->u.msi.data, &r->msi);
		return 0;
	default:
		return -EINVAL;
	}
}

/* A GSI is a pin of each chip at most, or one MSI. */
static bool consistent(const struct atl_routes *r)
{
	u32 i, k;

	for (i = 0; i < r->nr; i++)
		for (k = i + 1; k < r->nr && r->route[k].gsi == r->route[i].gsi; k++)
			if (r->route[k].chip == r->route[i].chip || r->route[k].chip == ATL_MSI ||
			    r->route[i].chip == ATL_MSI)
				return false;
	return true;
}

static void replace_routes(struct atl_vm *vm, struct atl_routes *new)
{
	struct atl_routes *old;
	unsigned long flags;

	spin_lock_irqsave(&vm->irq_lock, flags);
	old = vm->irq->routes;
	vm->irq->routes = new;
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	kvfree(old);
}

static int set_routing(struct atl_vm *vm, struct kvm_irq_routing __user *arg)
{
	struct kvm_irq_routing_entry *e = NULL;
	struct kvm_irq_routing head;
	struct atl_routes *new;
	int r = 0;
	u32 i;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (!vm->irq || head.nr > ATL_MAX_ROUTES || head.flags)
		return -EINVAL;
	if (head.nr) {
		e = vmemdup_user(arg->entries, array_size(head.nr, sizeof(*e)));
		if (IS_ERR(e))
			return PTR_ERR(e);
	}
	new = new_routes(head.nr);
	if (!new)
		r = -ENOMEM;
	for (i = 0; !r && i < head.nr; i++)
		r = make_route(vm, new, &new->route[i], &e[i]);
	kvfree(e);
	if (!r) {
		sort(new->route, new->nr, sizeof(new->route[0]), compare, NULL);
		if (!consistent(new))
			r = -EINVAL;
	}
	if (r)
		kvfree(new);
	else
		replace_routes(vm, new);
	return r;
}

/* Each of the first 16 GSIs is a PIC's pin and the IOAPIC's, the others the IOAPIC's. */
static int default_routes(struct atl_irq *irq)
{
	struct atl_routes *r = new_routes(irq->split ? 0 : 16 + KVM_IOAPIC_NUM_PINS);
	struct atl_route *next;
	u16 gsi;

	if (!r)
		return -ENOMEM;
	next = r->route;
	for (gsi = 0; !irq->split && gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		if (gsi < 16) {
			*next++ = (struct atl_route){ .gsi = gsi, .chip = gsi / 8, .pin = gsi % 8 };
			r->gsi_of[gsi / 8][gsi % 8] = gsi;
		}
		*next++ = (struct atl_route){ .gsi = gsi, .chip = KVM_IRQCHIP_IOAPIC, .pin = gsi };
		r->gsi_of[KVM_IRQCHIP_IOAPIC][gsi] = gsi;
	}
	irq->routes = r;
	return 0;
}

/* KVM_CREATE_IRQCHIP, KVM_CAP_SPLIT_IRQCHIP: before the first vCPU. */
static int create(struct atl_vm *vm, bool split, u64 pins)
{
	struct atl_irq *irq;
	int r = 0;

	mutex_lock(&vm->lock);
	if (vm->irq)
		r = -EEXIST;
	else if (vm->nr_vcpus)
		r = split ? -EEXIST : -EINVAL;
	if (r)
		goto unlock;
	irq = kvzalloc(sizeof(*irq), GFP_KERNEL_ACCOUNT);
	if (!irq) {
		r = -ENOMEM;
		goto unlock;
	}
	irq->split = split;
	irq->split_pins = pins;
	atl_pic_reset(irq);
	atl_ioapic_reset(irq);
	r = default_routes(irq);
	if (r)
		kvfree(irq);
	else
		smp_store_release(&vm->irq, irq);	/* ioctls read it without the lock */
unlock:
	mutex_unlock(&vm->lock);
	return r;
}

void atl_irq_free(struct atl_vm *vm)
{
	if (!vm->irq)
		return;
	kvfree(vm->irq->routes);
	kvfree(vm->irq);
	vm->irq = NULL;
}

/* What a vCPU takes from them. Called by its thread, without (i). */

static bool pic_waits(struct atl_vcpu *v)
{
	if (v->vm->irq->split ? v->extint < 0 : !v->vm->irq->pic_output)
		return false;
	return atl_lapic_takes_pic(v);
}

bool atl_irq_waits(struct atl_vcpu *v)
{
	unsigned long flags;
	bool yes;

	if (!v->lapic)
		return false;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	yes = pic_waits(v) || atl_lapic_vector(v) >= 0;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return yes;
}

/* The vector, which is in service from now on, or -1. */
int atl_irq_take(struct atl_vcpu *v)
{
	unsigned long flags;
	int vector;

	spin_lock_irqsave(&v->vm->irq_lock, flags);
	if (pic_waits(v)) {
		vector = v->vm->irq->split ? v->extint : atl_pic_take(v->vm);
		v->extint = -1;
	} else {
		vector = atl_lapic_vector(v);
		if (vector >= 0)
			atl_lapic_take(v, vector);
	}
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return vector;
}

/* ioctls */

static int irq_line(struct atl_vm *vm, struct kvm_irq_level __user *arg, bool tell)
{
	struct kvm_irq_level l;
	unsigned long flags;

	if (copy_from_user(&l, arg, sizeof(l)))
		return -EFAULT;
	if (!vm->irq)
		return -ENXIO;
	spin_lock_irqsave(&vm->irq_lock, flags);
	l.status = atl_irq_set_gsi(vm, l.irq, ATL_FROM_USER, l.level);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return tell && copy_to_user(arg, &l, sizeof(l)) ? -EFAULT : 0;
}

static int irqchip(struct atl_vm *vm, void __user *arg, bool set)
{
	struct kvm_irqchip *c = memdup_user(arg, sizeof(*c));
	unsigned long flags;
	int r = 0;

	if (IS_ERR(c))
		return PTR_ERR(c);
	if (!vm->irq || vm->irq->split)
		r = -ENXIO;
	else if (c->chip_id >= KVM_NR_IRQCHIPS)
		r = -EINVAL;
	if (r)
		goto out;
	spin_lock_irqsave(&vm->irq_lock, flags);
	if (c->chip_id == KVM_IRQCHIP_IOAPIC) {
		if (set)
			atl_ioapic_load(vm, &c->chip.ioapic);
		else
			c->chip.ioapic = vm->irq->ioapic;
	} else {
		const unsigned int chip = array_index_nospec(c->chip_id, 2);

		if (set)
			atl_pic_load(vm, chip, &c->chip.pic);
		else
			c->chip.pic = vm->irq->pic[chip];
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	if (!set && copy_to_user(arg, c, sizeof(*c)))
		r = -EFAULT;
out:
	kfree(c);
	return r;
}

static int create_pit(struct atl_vm *vm, void __user *arg, bool second)
{
	struct kvm_pit_config c = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int r;

	if (second && copy_from_user(&c, arg, sizeof(c)))
		return -EFAULT;
	mutex_lock(&vm->lock);
	if (!vm->irq || vm->irq->split)
		r = -ENOENT;
	else if (vm->irq->pit)
		r = -EEXIST;
	else
		r = atl_pit_create(vm, c.flags);
	mutex_unlock(&vm->lock);
	return r;
}

/* The state of KVM_GET_PIT is the beginning of KVM_GET_PIT2's. */
static int pit(struct atl_vm *vm, void __user *arg, bool set, size_t size)
{
	struct kvm_pit_state2 s = {};
	unsigned long flags;

	if (set && copy_from_user(&s, arg, size))
		return -EFAULT;
	if (!vm->irq || !READ_ONCE(vm->irq->pit))
		return -ENXIO;
	spin_lock_irqsave(&vm->irq_lock, flags);
	if (set)
		atl_pit_load(vm, &s);
	else
		s = vm->irq->pit->state;
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return !set && copy_to_user(arg, &s, size) ? -EFAULT : 0;
}

static int reinject(struct atl_vm *vm, void __user *arg)
{
	struct kvm_reinject_control c;
	unsigned long flags;

	if (copy_from_user(&c, arg, sizeof(c)))
		return -EFAULT;
	if (!vm->irq || !READ_ONCE(vm->irq->pit))
		return -ENXIO;
	spin_lock_irqsave(&vm->irq_lock, flags);
	vm->irq->pit->reinject = c.pit_reinject;
	atl_pit_unmasked(vm);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return 0;
}

static int signal_msi(struct atl_vm *vm, void __user *arg)
{
	struct kvm_msi msi;
	struct atl_message m;
	unsigned long flags;
	int r;

	if (copy_from_user(&msi, arg, sizeof(msi)))
		return -EFAULT;
	if (!vm->irq || msi.flags & ~KVM_MSI_VALID_DEVID)
		return -EINVAL;
	if (vm->irq->wide_ids && (msi.address_hi & 0xff))
		return -EINVAL;
	/* A device's ID, where it is said, means nothing on this processor. */
	atl_irq_from_msi(vm, msi.address_lo | (u64)msi.address_hi << 32, msi.data, &m);
	spin_lock_irqsave(&vm->irq_lock, flags);
	r = atl_irq_send(vm, &m);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return r;
}

static int set_boot_id(struct atl_vm *vm, unsigned long id)
{
	int r = 0;

	mutex_lock(&vm->lock);
	if (vm->nr_vcpus)
		r = -EBUSY;
	else
		vm->boot_id = id;
	mutex_unlock(&vm->lock);
	return r;
}

/* The ioctls of a VM that are about interrupts and time; -ENOTTY for others. */
long atl_irq_vm_ioctl(struct atl_vm *vm, unsigned int ioctl, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (ioctl) {
	case KVM_CREATE_IRQCHIP:
		return create(vm, false, 0);
	case KVM_CREATE_PIT:
		return create_pit(vm, argp, false);
	case KVM_CREATE_PIT2:
		return create_pit(vm, argp, true);
	case KVM_IRQ_LINE:
		return irq_line(vm, argp, false);
	case KVM_IRQ_LINE_STATUS:
		return irq_line(vm, argp, true);
	case KVM_GET_IRQCHIP:
		return irqchip(vm, argp, false);
	case KVM_SET_IRQCHIP:
		return irqchip(vm, argp, true);
	case KVM_GET_PIT:
		return pit(vm, argp, false, sizeof(struct kvm_pit_state));
	case KVM_SET_PIT:
		return pit(vm, argp, true, sizeof(struct kvm_pit_state));
	case KVM_GET_PIT2:
		return pit(vm, argp, false, sizeof(struct kvm_pit_state2));
	case KVM_SET_PIT2:
		return pit(vm, argp, true, sizeof(struct kvm_pit_state2));
	case KVM_REINJECT_CONTROL:
		return reinject(vm, argp);
	case KVM_SET_GSI_ROUTING:
		return set_routing(vm, argp);
	case KVM_SIGNAL_MSI:
		return signal_msi(vm, argp);
	case KVM_IRQFD:
		return atl_irqfd(vm, argp);
	case KVM_SET_BOOT_CPU_ID:
		return set_boot_id(vm, arg);
	case KVM_IOEVENTFD:
		return atl_ioeventfd(vm, argp);
	case KVM_GET_CLOCK:
		return atl_get_clock(vm, argp);
	case KVM_SET_CLOCK:
		return atl_set_clock(vm, argp);
	default:
		return -ENOTTY;
	}
}

static int set_vapic(void __user *arg)
{
	struct kvm_vapic_addr a;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	/* There is none: KVM_CAP_VAPIC is 0. What switches it off is heard. */
	return a.vapic_addr ? -EINVAL : 0;
}

/* KVM_ENABLE_CAP of a VM; -EINVAL for what is not here. */
int atl_irq_enable_cap(struct atl_vm *vm, const struct kvm_enable_cap *cap)
{
	const u64 known = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
	unsigned long flags;

	switch (cap->cap) {
	case KVM_CAP_SPLIT_IRQCHIP:
		return cap->args[0] > ATL_MAX_ROUTES ? -EINVAL :
		       create(vm, true, cap->args[0]);
	case KVM_CAP_X2APIC_API:
		if (cap->args[0] & ~known || !vm->irq)
			return -EINVAL;
		spin_lock_irqsave(&vm->irq_lock, flags);
		vm->irq->wide_ids |= !!(cap->args[0] & KVM_X2APIC_API_USE_32BIT_IDS);
		vm->irq->no_quirk |= !!(cap->args[0] & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
		spin_unlock_irqrestore(&vm->irq_lock, flags);
		return 0;
	default:
		return -EINVAL;
	}
}

/* Those of a vCPU; -EINVAL for others. */
long atl_irq_vcpu_ioctl(struct atl_vcpu *v, unsigned int ioctl, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (ioctl) {
	case KVM_GET_LAPIC:
		return v->lapic ? atl_lapic_get(v, argp) : -EINVAL;
	case KVM_SET_LAPIC:
		return v->lapic ? atl_lapic_put(v, argp) : -EINVAL;
	case KVM_SET_VAPIC_ADDR:
		return v->lapic ? set_vapic(argp) : -EINVAL;
	case KVM_KVMCLOCK_CTRL:
		return atl_clock_stopped(v);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return atl_tsc_attr(v, ioctl, argp);
	default:
		return -EINVAL;
	}
}
