// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes that user space need not know of at once: those to a zone it has named
 * go to a ring in a page that all vCPUs' descriptors share with it, and the
 * guest goes on. When the ring is full the write is an exit like any other.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "atoll.h"

#define MAX_ZONES	1000

struct atl_zone {
	struct list_head list;
	u64 addr;
	u32 size;
	bool pio;
};

/* Whether all of [addr, addr + len) is in it. */
static bool covers(const struct atl_zone *z, u64 addr, u64 len)
{
	return addr >= z->addr && addr - z->addr <= z->size && len <= z->size - (addr - z->addr);
}

/* User space writes to the ring as well, at any time. False: it is full. */
static bool put(struct atl_vm *vm, bool pio, u64 addr, u32 len, const void *data)
{
	struct kvm_coalesced_mmio_ring *ring = vm->ring;
	bool room;
	u32 at;

	spin_lock(&vm->ring_lock);
	at = READ_ONCE(ring->last);
	/* In 32 bits as KVM reckons, which leaves half of it empty where `first` is less. */
	room = at < KVM_COALESCED_MMIO_MAX &&
	       (READ_ONCE(ring->first) - at - 1) % KVM_COALESCED_MMIO_MAX;
	if (room) {
		struct kvm_coalesced_mmio *m = &ring->coalesced_mmio[at];

		m->phys_addr = addr;
		m->len = len;
		memcpy(m->data, data, len);
		m->pio = pio;
		/* The entry is there before it is told. */
		smp_store_release(&ring->last, (at + 1) % KVM_COALESCED_MMIO_MAX);
	}
	spin_unlock(&vm->ring_lock);
	return room;
}

/* False: not of a zone, or no room. `len` is at most 8. */
bool atl_coalesce(struct atl_vm *vm, bool mmio, u64 addr, u32 len, const void *data)
{
	struct atl_zone *z;
	bool done = false;

	if (!READ_ONCE(vm->nr_zones))
		return false;
	/* Who takes a zone away sees nothing more of it afterwards. */
	down_read(&vm->bus_sem);
	list_for_each_entry(z, &vm->zones, list) {
		if (z->pio == !mmio && covers(z, addr, len)) {
			done = put(vm, !mmio, addr, len, data);
			break;
		}
	}
	up_read(&vm->bus_sem);
	return done;
}

static void drop(struct atl_vm *vm, struct atl_zone *z)
{
	list_del(&z->list);
	vm->nr_zones--;
	kfree(z);
}

int atl_register_zone(struct atl_vm *vm, void __user *arg)
{
	struct kvm_coalesced_mmio_zone a;
	struct atl_zone *z;
	int r = 0;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.pio > 1)
		return -EINVAL;
	z = kzalloc(sizeof(*z), GFP_KERNEL_ACCOUNT);
	if (!z)
		return -ENOMEM;
	z->addr = a.addr;
	z->size = a.size;
	z->pio = a.pio;
	down_write(&vm->bus_sem);
	if (vm->nr_zones < MAX_ZONES) {
		list_add_tail(&z->list, &vm->zones);
		vm->nr_zones++;
	} else {
		r = -ENOSPC;
	}
	up_write(&vm->bus_sem);
	if (r)
		kfree(z);
	return r;
}

/* Each that contains the named one. */
int atl_unregister_zone(struct atl_vm *vm, void __user *arg)
{
	struct kvm_coalesced_mmio_zone a;
	struct atl_zone *z, *next;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.pio > 1)
		return -EINVAL;
	down_write(&vm->bus_sem);
	list_for_each_entry_safe(z, next, &vm->zones, list)
		if (z->pio == a.pio && covers(z, a.addr, a.size))
			drop(vm, z);
	up_write(&vm->bus_sem);
	return 0;
}

int atl_coalesced_init(struct atl_vm *vm)
{
	INIT_LIST_HEAD(&vm->zones);
	spin_lock_init(&vm->ring_lock);
	vm->ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return vm->ring ? 0 : -ENOMEM;
}

void atl_coalesced_free(struct atl_vm *vm)
{
	struct atl_zone *z, *next;

	list_for_each_entry_safe(z, next, &vm->zones, list)
		drop(vm, z);
	free_page((unsigned long)vm->ring);
}
