// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which MSRs a guest may read and write itself, as user space says: ranges with a
 * bit for each MSR, and what holds outside of them. A refused access is a general
 * protection fault, or user space's where it asked for that.
 *
 * While a VM has a filter of what guests read and write themselves, the vendor
 * intercepts all. Only the APIC's in x2APIC mode are never filtered.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "atoll.h"

struct msr_range {
	u32 flags, base, nr;
	unsigned long *bitmap;
};

/* What the one vendor or the other lets a guest reach without an exit. */
static const u32 direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_FS_BASE, MSR_GS_BASE,
	MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

struct atl_msr_filter {
	bool deny;		/* what no range has */
	unsigned int nr;
	struct msr_range range[KVM_MSR_FILTER_MAX_RANGES];
};

static void free_filter(struct atl_msr_filter *f)
{
	unsigned int i;

	for (i = 0; f && i < f->nr; i++)
		kfree(f->range[i].bitmap);
	kfree(f);
}

static int copy_range(struct atl_msr_filter *f, const struct kvm_msr_filter_range *r)
{
	const size_t size = BITS_TO_LONGS((size_t)r->nmsrs) * sizeof(long);
	unsigned long *bitmap;

	if (!r->nmsrs)
		return 0;
	if (size > KVM_MSR_FILTER_MAX_BITMAP_SIZE ||
	    r->flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE))
		return -EINVAL;
	bitmap = memdup_user((__force u8 __user *)r->bitmap, size);
	if (IS_ERR(bitmap))
		return PTR_ERR(bitmap);
	f->range[f->nr++] = (struct msr_range) {
		.flags = r->flags, .base = r->base, .nr = r->nmsrs, .bitmap = bitmap,
	};
	return 0;
}

static bool allows(const struct atl_msr_filter *f, u32 index, u32 access)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		const struct msr_range *r = &f->range[i];

		if (index - r->base < r->nr && (r->flags & access))
			return test_bit(index - r->base, r->bitmap);
	}
	return !f->deny;
}

static bool refuses_direct(const struct atl_msr_filter *f)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(direct_msrs); i++) {
		if (!allows(f, direct_msrs[i], KVM_MSR_FILTER_READ) ||
		    !allows(f, direct_msrs[i], KVM_MSR_FILTER_WRITE))
			return true;
	}
	return false;
}

/* KVM_X86_SET_MSR_FILTER; one that denies nothing is none. */
int atl_set_msr_filter(struct atl_vm *vm, void __user *arg)
{
	struct atl_msr_filter *f, *old;
	struct kvm_msr_filter *from;
	unsigned int i;
	bool direct;
	int r = 0;

	from = memdup_user(arg, sizeof(*from));
	if (IS_ERR(from))
		return PTR_ERR(from);
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f) {
		r = -ENOMEM;
		goto out;
	}
	if (from->flags & ~KVM_MSR_FILTER_DEFAULT_DENY)
		r = -EINVAL;
	f->deny = from->flags & KVM_MSR_FILTER_DEFAULT_DENY;
	for (i = 0; !r && i < KVM_MSR_FILTER_MAX_RANGES; i++)
		r = copy_range(f, &from->ranges[i]);
	if (!r && f->deny && !f->nr)
		r = -EINVAL;
	if (r)
		goto out;
	if (!f->nr) {
		free_filter(f);
		f = NULL;
	}
	direct = f && refuses_direct(f);
	down_write(&vm->bus_sem);
	old = vm->msr_filter;
	WRITE_ONCE(vm->msr_filter, f);
	WRITE_ONCE(vm->all_msrs, direct);
	up_write(&vm->bus_sem);
	f = old;
out:
	free_filter(f);
	kfree(from);
	return r;
}

void atl_free_msr_filter(struct atl_vm *vm)
{
	free_filter(vm->msr_filter);
}

bool atl_msr_allowed(struct atl_vm *vm, u32 index, bool write)
{
	bool yes;

	if (!READ_ONCE(vm->msr_filter) || (index >= APIC_BASE_MSR && index <= APIC_BASE_MSR + 0xff))
		return true;
	down_read(&vm->bus_sem);
	yes = !vm->msr_filter ||
	      allows(vm->msr_filter, index, write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ);
	up_read(&vm->bus_sem);
	return yes;
}
