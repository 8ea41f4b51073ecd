// SPDX-License-Identifier: GPL-2.0-only
/* A VM: its file, its memory slots, access to its memory, and its end. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "atoll.h"

/* The slot of a guest frame; (s) or (m). */
struct atl_slot *atl_slot_find(struct atl_vm *vm, gfn_t gfn)
{
	unsigned int low = 0, high = vm->nr_slots;

	while (low < high) {
		const unsigned int mid = (low + high) / 2;
		struct atl_slot *s = &vm->slots[mid];

		if (gfn < s->gfn)
			high = mid;
		else if (gfn - s->gfn >= s->npages)
			low = mid + 1;
		else
			return s;
	}
	return NULL;
}

static unsigned int slot_index(struct atl_vm *vm, u32 id)
{
	unsigned int i;

	for (i = 0; i < vm->nr_slots; i++)
		if (vm->slots[i].id == id)
			break;
	return i;
}

static bool overlaps(struct atl_vm *vm, u32 id, gfn_t gfn, unsigned long npages)
{
	unsigned int i;

	for (i = 0; i < vm->nr_slots; i++) {
		const struct atl_slot *s = &vm->slots[i];

		if (s->id != id && gfn < s->gfn + s->npages && s->gfn < gfn + npages)
			return true;
	}
	return false;
}

/*
 * The new array is `old` without slot `id`, with `add` where it belongs.
 * A slot that moves or goes takes its translations with it.
 */
static int replace_slot(struct atl_vm *vm, u32 id, const struct atl_slot *add)
{
	struct atl_slot *new, *old = vm->slots;
	unsigned int i, n = 0;

	new = kvmalloc_array(vm->nr_slots + 1, sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	for (i = 0; i < vm->nr_slots; i++) {
		if (add && old[i].gfn > add->gfn) {
			new[n++] = *add;
			add = NULL;
		}
		if (old[i].id != id)
			new[n++] = old[i];
	}
	if (add)
		new[n++] = *add;
	spin_lock(&vm->mmu_lock);
	vm->slots = new;
	vm->nr_slots = n;
	spin_unlock(&vm->mmu_lock);
	kvfree(old);
	return 0;
}

static int check_region(const struct kvm_userspace_memory_region *r)
{
	if (r->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (r->slot >= ATL_MAX_SLOTS)
		return -EINVAL;
	if ((r->memory_size | r->guest_phys_addr | r->userspace_addr) & ~PAGE_MASK)
		return -EINVAL;
	if (r->guest_phys_addr + r->memory_size < r->guest_phys_addr)
		return -EINVAL;
	/* What four levels of nested tables reach. */
	if (r->memory_size && (r->guest_phys_addr + r->memory_size - 1) >> 48)
		return -EINVAL;
	if (r->memory_size >> PAGE_SHIFT > ATL_MAX_SLOT_PAGES)
		return -EINVAL;
	if (!access_ok((void __user *)(unsigned long)r->userspace_addr, r->memory_size))
		return -EINVAL;
	return 0;
}

static int set_region(struct atl_vm *vm, const struct kvm_userspace_memory_region *r)
{
	const unsigned long npages = r->memory_size >> PAGE_SHIFT;
	struct atl_slot new = {
		.id = r->slot,
		.flags = r->flags,
		.gfn = r->guest_phys_addr >> PAGE_SHIFT,
		.npages = npages,
		.hva = r->userspace_addr,
	};
	unsigned long *dirty = NULL;
	unsigned int i;
	int ret;

	i = slot_index(vm, r->slot);
	if (i < vm->nr_slots) {
		struct atl_slot *old = &vm->slots[i];

		if (!npages) {
			dirty = old->dirty;
			ret = replace_slot(vm, r->slot, NULL);
			if (ret)
				return ret;
			atl_mmu_zap_all(vm);
			kvfree(dirty);
			return 0;
		}
		if (npages != old->npages || new.hva != old->hva ||
		    ((new.flags ^ old->flags) & KVM_MEM_READONLY))
			return -EINVAL;
		if (new.gfn == old->gfn && new.flags == old->flags)
			return 0;
		new.dirty = old->dirty;
	} else if (!npages) {
		return -EINVAL;
	}
	if (overlaps(vm, r->slot, new.gfn, npages))
		return -EEXIST;

	if (!(new.flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		dirty = new.dirty;
		new.dirty = NULL;
	} else if (!new.dirty) {
		new.dirty = kvcalloc(BITS_TO_LONGS(npages), sizeof(long), GFP_KERNEL_ACCOUNT);
		if (!new.dirty)
			return -ENOMEM;
	}
	ret = replace_slot(vm, r->slot, &new);
	if (ret) {
		if (i == vm->nr_slots || !vm->slots[i].dirty)
			kvfree(new.dirty);
		return ret;
	}
	/* Also where logging begins: large pages go, and all is read-only. */
	if (i < vm->nr_slots)
		atl_mmu_zap_all(vm);
	kvfree(dirty);
	return 0;
}

static int set_memory_region(struct atl_vm *vm, void __user *arg)
{
	struct kvm_userspace_memory_region r;
	int ret;

	if (copy_from_user(&r, arg, sizeof(r)))
		return -EFAULT;
	ret = check_region(&r);
	if (ret)
		return ret;
	if (down_write_killable(&vm->slots_sem))
		return -EINTR;
	ret = set_region(vm, &r);
	up_write(&vm->slots_sem);
	return ret;
}

static int get_dirty_log(struct atl_vm *vm, void __user *arg)
{
	struct kvm_dirty_log log;
	struct atl_slot *s;
	unsigned long *copy = NULL;
	unsigned long bytes;
	unsigned int i;
	bool any;
	int ret = -ENOENT;

	if (copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	if (log.slot >= ATL_MAX_SLOTS)
		return -EINVAL;
	if (down_write_killable(&vm->slots_sem))
		return -EINTR;
	i = slot_index(vm, log.slot);
	if (i == vm->nr_slots || !vm->slots[i].dirty)
		goto out;
	s = &vm->slots[i];
	bytes = BITS_TO_LONGS(s->npages) * sizeof(long);
	ret = -ENOMEM;
	copy = kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!copy)
		goto out;
	/* From here on a write faults, and is in the next log; as before where none is. */
	spin_lock(&vm->mmu_lock);
	memcpy(copy, s->dirty, bytes);
	any = !bitmap_empty(s->dirty, s->npages);
	if (any) {
		memset(s->dirty, 0, bytes);
		atl_mmu_write_protect(vm, s->gfn, s->npages);
	}
	spin_unlock(&vm->mmu_lock);
	if (any)
		atl_mmu_flush(vm);
	ret = copy_to_user(log.dirty_bitmap, copy, bytes) ? -EFAULT : 0;
out:
	up_write(&vm->slots_sem);
	kvfree(copy);
	return ret;
}

/*
 * Guest memory by physical address, for the emulator: the caller's address
 * space is the VM's. -ENOENT where there is none, or none that can be written.
 */
static int access(struct atl_vm *vm, u64 gpa, void *data, unsigned int len, bool write)
{
	while (len) {
		const unsigned int n = min_t(unsigned int, len, PAGE_SIZE - offset_in_page(gpa));
		struct atl_slot *s;
		int ret = -ENOENT;

		down_read(&vm->slots_sem);
		s = atl_slot_find(vm, gpa >> PAGE_SHIFT);
		if (s && !(write && (s->flags & KVM_MEM_READONLY))) {
			void __user *at = (void __user *)(s->hva + (gpa - (s->gfn << PAGE_SHIFT)));

			if (write)
				ret = __copy_to_user(at, data, n) ? -EFAULT : 0;
			else
				ret = __copy_from_user(data, at, n) ? -EFAULT : 0;
			if (!ret && write && s->dirty)
				set_bit((gpa >> PAGE_SHIFT) - s->gfn, s->dirty);
		}
		up_read(&vm->slots_sem);
		if (ret)
			return ret;
		data += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int atl_gpa_read(struct atl_vm *vm, u64 gpa, void *data, unsigned int len)
{
	return access(vm, gpa, data, len, false);
}

int atl_gpa_write(struct atl_vm *vm, u64 gpa, const void *data, unsigned int len)
{
	return access(vm, gpa, (void *)data, len, true);
}

static int enable_cap(struct atl_vm *vm, void __user *arg)
{
	struct kvm_enable_cap cap;

	if (copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	if (cap.flags)
		return -EINVAL;
	switch (cap.cap) {
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (cap.args[0] & ~(u64)(KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL |
					 KVM_MSR_EXIT_REASON_FILTER))
			return -EINVAL;
		WRITE_ONCE(vm->msr_exits, cap.args[0]);
		return 0;
	case KVM_CAP_DISABLE_QUIRKS2:
		if (cap.args[0] & ~(u64)atl_check_extension(cap.cap))
			return -EINVAL;
		WRITE_ONCE(vm->no_quirks, cap.args[0]);
		return 0;
	case KVM_CAP_MSR_PLATFORM_INFO:
		WRITE_ONCE(vm->no_platform_info, !cap.args[0]);
		return 0;
	case KVM_CAP_MAX_VCPU_ID: {
		int r = -EINVAL;

		/* Once, and before there are any. */
		mutex_lock(&vm->lock);
		if (cap.args[0] && cap.args[0] <= ATL_MAX_VCPU_ID && !vm->nr_vcpus &&
		    (!vm->max_vcpu_id || vm->max_vcpu_id == cap.args[0])) {
			WRITE_ONCE(vm->max_vcpu_id, cap.args[0]);
			r = 0;
		}
		mutex_unlock(&vm->lock);
		return r;
	}
	default:
		return atl_irq_enable_cap(vm, &cap);
	}
}

static long vm_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct atl_vm *vm = file->private_data;
	void __user *argp = (void __user *)arg;

	if (vm->mm != current->mm || READ_ONCE(vm->dead))
		return -EIO;
	switch (ioctl) {
	case KVM_CREATE_VCPU:
		return atl_create_vcpu(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return set_memory_region(vm, argp);
	case KVM_GET_DIRTY_LOG:
		return get_dirty_log(vm, argp);
	case KVM_CHECK_EXTENSION:
		return atl_check_extension(arg);
	case KVM_ENABLE_CAP:
		return enable_cap(vm, argp);
	case KVM_SET_TSS_ADDR:
		/* Only VMX without unrestricted guests would use it. */
		return arg > (unsigned int)(-3 * PAGE_SIZE) ? -EINVAL : 0;
	case KVM_SET_IDENTITY_MAP_ADDR: {
		u64 address;

		if (vm->nr_vcpus)
			return -EINVAL;
		return copy_from_user(&address, argp, sizeof(address)) ? -EFAULT : 0;
	}
	case KVM_SET_NR_MMU_PAGES:
		/* Of shadow page tables, which there are none of. */
		return arg < 64 ? -EINVAL : 0;
	case KVM_REGISTER_COALESCED_MMIO:
		return atl_register_zone(vm, argp);
	case KVM_UNREGISTER_COALESCED_MMIO:
		return atl_unregister_zone(vm, argp);
	case KVM_X86_SET_MSR_FILTER:
		return atl_set_msr_filter(vm, argp);
	case KVM_GET_STATS_FD:
		return atl_stats_fd(vm, NULL);
	default:
		return atl_irq_vm_ioctl(vm, ioctl, arg);
	}
}

static int vm_release(struct inode *inode, struct file *file)
{
	atl_irqfd_release(file->private_data);
	atl_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = vm_release,
	.llseek = noop_llseek,
};

static void free_vm(struct atl_vm *vm)
{
	unsigned int i;

	/* Its timer tells vCPUs of its ticks. */
	if (vm->irq)
		atl_pit_free(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		atl_vcpu_free(vm->vcpus[i]);
	atl_irq_free(vm);
	atl_bus_free(vm);
	atl_coalesced_free(vm);
	atl_free_msr_filter(vm);
	atl_mmu_free(vm);
	for (i = 0; i < vm->nr_slots; i++)
		kvfree(vm->slots[i].dirty);
	kvfree(vm->slots);
	kfree(vm);
}

void atl_vm_put(struct atl_vm *vm)
{
	if (!refcount_dec_and_test(&vm->refs))
		return;
	atl_stats_drop_vm(vm);
	/* Waits for notifiers that are under way. */
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	atl_hw_put(vm);
	free_vm(vm);
}

int atl_create_vm(unsigned long type)
{
	struct atl_vm *vm;
	int fd, r;

	if (type)
		return -EINVAL;
	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return -ENOMEM;
	refcount_set(&vm->refs, 1);
	vm->mm = current->mm;
	mutex_init(&vm->lock);
	init_rwsem(&vm->slots_sem);
	spin_lock_init(&vm->mmu_lock);
	spin_lock_init(&vm->irq_lock);
	atl_irqfd_init(vm);
	atl_bus_init(vm);
	atomic64_set(&vm->tlb_gen, 1);
	vm->clock_tsc = rdtsc();
	vm->tsc_offset = -vm->clock_tsc;
	r = atl_coalesced_init(vm);
	if (!r)
		r = atl_mmu_init(vm);
	if (r)
		goto fail;
	r = atl_hw_get(vm);
	if (r)
		goto fail;
	vm->notifier.ops = &atl_mmu_notifier_ops;
	r = mmu_notifier_register(&vm->notifier, current->mm);
	if (r) {
		atl_hw_put(vm);
		goto fail;
	}
	/* Known before anybody can close it. */
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd >= 0) {
		struct file *file = anon_inode_getfile("atoll-vm", &vm_fops, vm, O_RDWR);

		if (!IS_ERR(file)) {
			atl_stats_add_vm(vm, fd);
			fd_install(fd, file);
			return fd;
		}
		put_unused_fd(fd);
		fd = PTR_ERR(file);
	}
	atl_vm_put(vm);
	return fd;
fail:
	free_vm(vm);
	return r;
}
