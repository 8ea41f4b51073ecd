// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which addresses devices in the kernel answer, and ioeventfd: an address that is
 * an eventfd. What nobody here wants is user space's.
 *
 * Accesses come from the thread of a vCPU that holds no spinlock. Ports of the PC's
 * controllers are bytes: a wider access is one of each.
 */
#include <linux/eventfd.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "atoll.h"

#define MAX_IOEVENTFDS	1000

struct atl_ioeventfd {
	struct list_head list;
	u64 addr, data;
	u32 len;		/* 0: any */
	bool mmio, any_data;
	struct eventfd_ctx *eventfd;
};

/* ioeventfd */

static bool matches(const struct atl_ioeventfd *e, bool mmio, u64 addr, u32 len, const void *data)
{
	u64 value = 0;

	if (e->mmio != mmio || e->addr != addr || (e->len && e->len != len))
		return false;
	memcpy(&value, data, len);
	return e->any_data || value == e->data;
}

static bool write_ioeventfd(struct atl_vm *vm, bool mmio, u64 addr, u32 len, const void *data)
{
	struct atl_ioeventfd *e;
	bool found = false;

	if (!READ_ONCE(vm->nr_ioeventfds))
		return false;
	down_read(&vm->bus_sem);
	list_for_each_entry(e, &vm->ioeventfds, list) {
		if (matches(e, mmio, addr, len, data)) {
			eventfd_signal(e->eventfd, 1);
			found = true;
			break;
		}
	}
	up_read(&vm->bus_sem);
	return found;
}

static bool same(const struct atl_ioeventfd *a, const struct atl_ioeventfd *b)
{
	return a->mmio == b->mmio && a->addr == b->addr &&
	       (!a->len || !b->len ||
		(a->len == b->len && (a->any_data || b->any_data || a->data == b->data)));
}

static int assign(struct atl_vm *vm, struct atl_ioeventfd *new)
{
	struct atl_ioeventfd *e;
	int r = 0;

	down_write(&vm->bus_sem);
	list_for_each_entry(e, &vm->ioeventfds, list)
		if (same(e, new))
			r = -EEXIST;
	if (!r && vm->nr_ioeventfds >= MAX_IOEVENTFDS)
		r = -ENOSPC;
	if (!r) {
		list_add_tail(&new->list, &vm->ioeventfds);
		vm->nr_ioeventfds++;
	}
	up_write(&vm->bus_sem);
	return r;
}

static void drop(struct atl_vm *vm, struct atl_ioeventfd *e)
{
	list_del(&e->list);
	vm->nr_ioeventfds--;
	eventfd_ctx_put(e->eventfd);
	kfree(e);
}

static int deassign(struct atl_vm *vm, const struct atl_ioeventfd *like)
{
	struct atl_ioeventfd *e;
	int r = -ENOENT;

	down_write(&vm->bus_sem);
	list_for_each_entry(e, &vm->ioeventfds, list) {
		if (e->eventfd == like->eventfd && e->mmio == like->mmio && e->addr == like->addr &&
		    e->len == like->len && e->any_data == like->any_data &&
		    (e->any_data || e->data == like->data)) {
			drop(vm, e);
			r = 0;
			break;
		}
	}
	up_write(&vm->bus_sem);
	return r;
}

static int check(const struct kvm_ioeventfd *a)
{
	const u32 known = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO |
			  KVM_IOEVENTFD_FLAG_DEASSIGN;

	if (a->len > 8 || (a->len & (a->len - 1)) || a->addr + a->len < a->addr)
		return -EINVAL;
	if (a->flags & ~known || (!a->len && (a->flags & KVM_IOEVENTFD_FLAG_DATAMATCH)))
		return -EINVAL;
	return 0;
}

int atl_ioeventfd(struct atl_vm *vm, void __user *arg)
{
	struct atl_ioeventfd *e;
	struct kvm_ioeventfd a;
	int r;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	r = check(&a);
	if (r)
		return r;
	e = kzalloc(sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	e->addr = a.addr;
	e->len = a.len;
	e->mmio = !(a.flags & KVM_IOEVENTFD_FLAG_PIO);
	e->any_data = !(a.flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	e->data = a.datamatch;
	if (a.len < 8)
		e->data &= (1ULL << 8 * a.len) - 1;
	e->eventfd = eventfd_ctx_fdget(a.fd);
	if (IS_ERR(e->eventfd)) {
		r = PTR_ERR(e->eventfd);
		kfree(e);
		return r;
	}
	if (!(a.flags & KVM_IOEVENTFD_FLAG_DEASSIGN)) {
		r = assign(vm, e);
		if (!r)
			return 0;
	} else {
		r = deassign(vm, e);
	}
	eventfd_ctx_put(e->eventfd);
	kfree(e);
	return r;
}

void atl_bus_init(struct atl_vm *vm)
{
	init_rwsem(&vm->bus_sem);
	INIT_LIST_HEAD(&vm->ioeventfds);
}

void atl_bus_free(struct atl_vm *vm)
{
	struct atl_ioeventfd *e, *next;

	list_for_each_entry_safe(e, next, &vm->ioeventfds, list)
		drop(vm, e);
}

/* Ports. (i) */

static bool has_port(struct atl_vm *vm, u16 port)
{
	switch (port) {
	case 0x20 ... 0x21:
	case 0xa0 ... 0xa1:
	case 0x4d0 ... 0x4d1:
		return true;
	case 0x40 ... 0x43:
		return vm->irq->pit;
	case 0x61:
		return vm->irq->pit && vm->irq->pit->speaker;
	}
	return false;
}

static bool is_pit(u16 port)
{
	return (port & ~3) == 0x40 || port == 0x61;
}

static bool access_ports(struct atl_vm *vm, u16 port, u32 len, u8 *data, bool write)
{
	unsigned long flags;
	bool ours;
	u32 i;

	if (!vm->irq || vm->irq->split)
		return false;
	spin_lock_irqsave(&vm->irq_lock, flags);
	ours = has_port(vm, port);
	for (i = 0; ours && i < len; i++) {
		const u16 p = port + i;

		if (!has_port(vm, p)) {
			if (!write)
				data[i] = 0xff;
		} else if (write) {
			if (is_pit(p))
				atl_pit_write(vm, p, data[i]);
			else
				atl_pic_write(vm, p, data[i]);
		} else {
			data[i] = is_pit(p) ? atl_pit_read(vm, p) : atl_pic_read(vm, p);
		}
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return ours;
}

/* The APICs' pages: registers of 32 bits, each 16 bytes. */

static bool is_ioapic(struct atl_vm *vm, u64 gpa)
{
	return vm->irq && !vm->irq->split && gpa >> 8 == ATL_IOAPIC_BASE >> 8;
}

static bool read_apic(struct atl_vcpu *v, u64 gpa, u32 len, void *data)
{
	const bool local = atl_lapic_page(v, gpa);
	const unsigned int shift = 8 * (gpa & 3);
	unsigned long flags;
	u64 value = 0;

	if (!local && !is_ioapic(v->vm, gpa))
		return false;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	if (gpa & 0xc)
		value = 0;
	else if (!local)
		value = atl_ioapic_read(v->vm, gpa & 0xf0);
	else if (offset_in_page(gpa) < 0x400)
		value = atl_lapic_read(v, offset_in_page(gpa) >> 4);
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	value >>= shift;
	memcpy(data, &value, len);
	return true;
}

static bool write_apic(struct atl_vcpu *v, u64 gpa, u32 len, const void *data)
{
	const bool local = atl_lapic_page(v, gpa);
	unsigned long flags;
	u32 value = 0;

	if (!local && !is_ioapic(v->vm, gpa))
		return false;
	memcpy(&value, data, min_t(u32, len, 4));
	/* The select register alone is written as a byte, by some. */
	if ((gpa & 0xf) || (local && len < 4))
		return true;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	if (!local)
		atl_ioapic_write(v->vm, gpa & 0xf0, value);
	else if (offset_in_page(gpa) < 0x400)
		atl_lapic_write(v, offset_in_page(gpa) >> 4, value);
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return true;
}

/* `len` is at most 8. False: user space's. */
bool atl_bus_read(struct atl_vcpu *v, bool mmio, u64 addr, u32 len, void *data)
{
	return mmio ? read_apic(v, addr, len, data) : access_ports(v->vm, addr, len, data, false);
}

bool atl_bus_write(struct atl_vcpu *v, bool mmio, u64 addr, u32 len, const void *data)
{
	if (mmio ? write_apic(v, addr, len, data) :
		   access_ports(v->vm, addr, len, (u8 *)data, true))
		return true;
	return write_ioeventfd(v->vm, mmio, addr, len, data) ||
	       atl_coalesce(v->vm, mmio, addr, len, data);
}

/* The accesses of v->io, as many as were for devices here. */
u32 atl_bus_pio(struct atl_vcpu *v)
{
	u8 data[4];
	u32 i;

	for (i = 0; i < v->io.count; i++) {
		void *shared = v->pio + i * v->io.size;

		if (v->io.in) {
			if (!atl_bus_read(v, false, v->io.port, v->io.size, data))
				break;
			memcpy(shared, data, v->io.size);
		} else {
			/* User space may write to the page at any time. */
			memcpy(data, shared, v->io.size);
			if (!atl_bus_write(v, false, v->io.port, v->io.size, data))
				break;
		}
	}
	return i;
}
