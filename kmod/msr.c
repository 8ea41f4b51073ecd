// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers, as a table. An access that the table does not know
 * is a general protection fault, or user space's where it asked for that.
 */
#include <linux/nospec.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/msr.h>
#include <asm/msr-index.h>
#include <asm/tsc.h>

#include "atoll.h"

#define NR_VARIABLE_MTRRS 8

static bool memory_type(u8 t)
{
	return t == 0 || t == 1 || t == 4 || t == 5 || t == 6;
}

static bool memory_types(u64 v, bool pat)
{
	unsigned int i;

	for (i = 0; i < 8; i++, v >>= 8)
		if (!memory_type(v) && !(pat && (u8)v == 7))
			return false;
	return true;
}

/*
 * User space sets the TSCs of a VM's vCPUs one after the other, and means the
 * same time: a value within a second of what the last one shows by now, or
 * zero, takes its offset over.
 */
static void set_tsc(struct atl_vcpu *v, u64 value, bool host)
{
	struct atl_vm *vm = v->vm;
	u64 now = rdtsc(), offset = value - now;

	if (host) {
		mutex_lock(&vm->lock);
		if (!value || abs((s64)(offset - vm->tsc_offset)) < (s64)tsc_khz * 1000)
			offset = vm->tsc_offset;
		vm->tsc_offset = offset;
		mutex_unlock(&vm->lock);
	} else {
		v->tsc_adjust += offset - v->tsc_offset;
	}
	v->tsc_offset = offset;
	atl_ops->state_changed(v);
	atl_clock_tsc_changed(v);
}

static int get_tsc(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = rdtsc() + v->tsc_offset;
	return 0;
}

static int put_tsc(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	set_tsc(v, value, host);
	return 0;
}

static int get_tsc_adjust(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->tsc_adjust;
	return 0;
}

static int put_tsc_adjust(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (!host) {
		v->tsc_offset += value - v->tsc_adjust;
		atl_ops->state_changed(v);
		atl_clock_tsc_changed(v);
	}
	v->tsc_adjust = value;
	return 0;
}

static int get_apic_base(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->apic_base;
	return 0;
}

static int put_apic_base(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	return atl_lapic_set_base(v, value, host);
}

static int get_efer(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->efer;
	return 0;
}

static int put_efer(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	return atl_set_efer(v, value, host);
}

static int get_pat(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->pat;
	return 0;
}

static int put_pat(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (!memory_types(value, true))
		return 1;
	v->pat = value;
	atl_ops->state_changed(v);
	return 0;
}

static int get_misc_enable(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->misc_enable;
	return 0;
}

static int put_misc_enable(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	v->misc_enable = value;
	return 0;
}

static int get_tsc_aux(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->tsc_aux;
	return 0;
}

static int put_tsc_aux(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (value >> 32 || !boot_cpu_has(X86_FEATURE_RDTSCP))
		return 1;
	v->tsc_aux = value;
	return 0;
}

/* Stored and shown; with nested paging the guest's PAT alone counts. */
static u64 *mtrr(struct atl_vcpu *v, u32 index)
{
	switch (index) {
	case MSR_MTRRdefType:
		return &v->mtrr_def;
	case MSR_MTRRfix64K_00000:
		return &v->mtrr_fixed[0];
	case MSR_MTRRfix16K_80000:
	case MSR_MTRRfix16K_A0000:
		return &v->mtrr_fixed[array_index_nospec(index - MSR_MTRRfix16K_80000, 2) + 1];
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		return &v->mtrr_fixed[array_index_nospec(index - MSR_MTRRfix4K_C0000, 8) + 3];
	default:
		return &v->mtrr_var[array_index_nospec(index - 0x200, 2 * NR_VARIABLE_MTRRS)];
	}
}

static int get_mtrr(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = *mtrr(v, index);
	return 0;
}

static int put_mtrr(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (index == MSR_MTRRdefType) {
		if (value & ~0xcffULL || !memory_type(value))
			return 1;
	} else if (index >= MSR_MTRRfix64K_00000 && index <= MSR_MTRRfix4K_F8000) {
		if (!memory_types(value, false))
			return 1;
	} else if (index & 1 ? value & 0x7ff : !memory_type(value) || (value & 0xf00)) {
		return 1;
	}
	*mtrr(v, index) = value;
	return 0;
}

static int get_vendor(struct atl_vcpu *v, u32 index, u64 *value)
{
	return atl_ops->get_msr(v, index, value);
}

static int put_vendor(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	const bool address = index != MSR_STAR && index != MSR_SYSCALL_MASK &&
			     index != MSR_IA32_SYSENTER_CS;
	const unsigned int unused = pgtable_l5_enabled() ? 7 : 16;

	/* To load an address that is not canonical would be the host's fault. */
	if (address && (u64)((s64)(value << unused) >> unused) != value)
		return 1;
	return atl_ops->set_msr(v, index, value);
}

static int get_mcg_status(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->mcg_status;
	return 0;
}

static int put_mcg_status(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (value && !host)
		return 1;
	v->mcg_status = value;
	return 0;
}

/* What firmware sets once, and nobody looks at. */
static int get_power_ctl(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->power_ctl;
	return 0;
}

static int put_power_ctl(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	v->power_ctl = value;
	return 0;
}

/*
 * Banks of machine checks: user space may keep what it likes there, the guest's
 * MCG_CAP says that there are none.
 */
static u64 *mce(struct atl_vcpu *v, u32 index)
{
	return index == MSR_IA32_MCG_CTL ? &v->mcg_ctl :
	       &v->mce[array_index_nospec(index - MSR_IA32_MC0_CTL, ARRAY_SIZE(v->mce))];
}

static int get_mce(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = *mce(v, index);
	return 0;
}

static int put_mce(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (!host)
		return 1;
	*mce(v, index) = value;
	return 0;
}

static int get_platform_info(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->platform_info;
	return 0;
}

static int put_platform_info(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	/* Read-only but for user space. */
	if (!host)
		return 1;
	v->platform_info = value;
	return 0;
}

/* Which MSR the guest's own access does not find, though it is in the table. */
static bool hidden(struct atl_vcpu *v, u32 index)
{
	u32 features = 0;

	switch (index) {
	case MSR_PLATFORM_INFO:
		return READ_ONCE(v->vm->no_platform_info);
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
		features = BIT(KVM_FEATURE_CLOCKSOURCE);
		break;
	case MSR_KVM_WALL_CLOCK_NEW:
	case MSR_KVM_SYSTEM_TIME_NEW:
		features = BIT(KVM_FEATURE_CLOCKSOURCE2);
		break;
	case MSR_KVM_STEAL_TIME:
		features = BIT(KVM_FEATURE_STEAL_TIME);
		break;
	default:
		return false;
	}
	return v->pv_enforced && !atl_cpuid_has(v, ATL_CPUID_FEATURES, R_AX, features);
}

/* Always the value of the table's row; writes of anything are swallowed, or not. */
static const struct row {
	u32 first, last;
	bool listed;
	int (*get)(struct atl_vcpu *v, u32 index, u64 *value);
	int (*set)(struct atl_vcpu *v, u32 index, u64 value, bool host);
	u64 fixed;		/* where get is NULL */
	bool swallow;		/* where set is NULL: no fault */
	bool feature;		/* the device tells it, before there is a vCPU */
} rows[] = {
	{ MSR_IA32_TSC, MSR_IA32_TSC, true, get_tsc, put_tsc },
	{ MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, true, atl_clock_get_msr, atl_clock_set_msr },
	{ MSR_IA32_APICBASE, MSR_IA32_APICBASE, false, get_apic_base, put_apic_base },
	{ MSR_IA32_TSC_ADJUST, MSR_IA32_TSC_ADJUST, true, get_tsc_adjust, put_tsc_adjust },
	{ MSR_IA32_UCODE_REV, MSR_IA32_UCODE_REV, false, NULL, NULL, 0x01000065, true, true },
	{ MSR_MTRRcap, MSR_MTRRcap, false, NULL, NULL, 0x500 | NR_VARIABLE_MTRRS },
	{ MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_EIP, true, get_vendor, put_vendor },
	{ MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, false, NULL, NULL, 0 },
	{ MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, true, get_platform_info, put_platform_info },
	{ MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, true, get_mcg_status, put_mcg_status },
	{ MSR_IA32_MCG_CTL, MSR_IA32_MCG_CTL, true, get_mce, put_mce },
	{ MSR_IA32_MC0_CTL, MSR_IA32_MC0_CTL + 4 * 32 - 1, false, get_mce, put_mce },
	{ MSR_IA32_MISC_ENABLE, MSR_IA32_MISC_ENABLE, true, get_misc_enable, put_misc_enable },
	{ MSR_IA32_POWER_CTL, MSR_IA32_POWER_CTL, true, get_power_ctl, put_power_ctl },
	{ 0x200, 0x200 + 2 * NR_VARIABLE_MTRRS - 1, false, get_mtrr, put_mtrr },
	{ MSR_MTRRfix64K_00000, MSR_MTRRfix64K_00000, false, get_mtrr, put_mtrr },
	{ MSR_MTRRfix16K_80000, MSR_MTRRfix16K_A0000, false, get_mtrr, put_mtrr },
	{ MSR_MTRRfix4K_C0000, MSR_MTRRfix4K_F8000, false, get_mtrr, put_mtrr },
	{ MSR_IA32_CR_PAT, MSR_IA32_CR_PAT, true, get_pat, put_pat },
	{ MSR_MTRRdefType, MSR_MTRRdefType, false, get_mtrr, put_mtrr },
	{ MSR_IA32_TSC_DEADLINE, MSR_IA32_TSC_DEADLINE, true, atl_lapic_get_deadline,
	  atl_lapic_set_deadline },
	{ APIC_BASE_MSR, APIC_BASE_MSR + 0xff, false, atl_lapic_get_msr, atl_lapic_set_msr },
	{ MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW, true, atl_clock_get_msr,
	  atl_clock_set_msr },
	{ MSR_KVM_STEAL_TIME, MSR_KVM_STEAL_TIME, true, atl_steal_get_msr, atl_steal_set_msr },
	{ MSR_EFER, MSR_EFER, false, get_efer, put_efer },
	{ MSR_STAR, MSR_SYSCALL_MASK, true, get_vendor, put_vendor },
	{ MSR_FS_BASE, MSR_KERNEL_GS_BASE, false, get_vendor, put_vendor },
	{ MSR_TSC_AUX, MSR_TSC_AUX, true, get_tsc_aux, put_tsc_aux },
	{ MSR_AMD64_SYSCFG, MSR_AMD64_SYSCFG, false, NULL, NULL, 0, true },
	{ MSR_K7_HWCR, MSR_K7_HWCR, false, NULL, NULL, BIT(24), true },	/* TSC at P0's rate */
	{ MSR_K8_INT_PENDING_MSG, MSR_K8_INT_PENDING_MSG, false, NULL, NULL, 0, true },
	{ MSR_AMD64_NB_CFG, MSR_AMD64_NB_CFG, false, NULL, NULL, 0, true },
	{ MSR_AMD64_PATCH_LOADER, MSR_AMD64_PATCH_LOADER, false, NULL, NULL, 0, true },
	{ MSR_VM_HSAVE_PA, MSR_VM_HSAVE_PA, false, NULL, NULL, 0, true },
	{ MSR_AMD64_LS_CFG, MSR_AMD64_LS_CFG, false, NULL, NULL, 0, true },
	{ MSR_AMD64_DC_CFG, MSR_AMD64_DC_CFG, false, NULL, NULL, 0, true },
	/* LFENCE waits */
	{ MSR_AMD64_DE_CFG, MSR_AMD64_DE_CFG, false, NULL, NULL, BIT(1), true, true },
	{ MSR_AMD64_BU_CFG2, MSR_AMD64_BU_CFG2, false, NULL, NULL, 0, true },
};

static const struct row *find(u32 index)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (index >= rows[i].first && index <= rows[i].last)
			return &rows[i];
	return NULL;
}

/* 0; 1: the value is refused; -ENOENT: unknown. */
int atl_get_msr(struct atl_vcpu *v, u32 index, u64 *value, bool host)
{
	const struct row *r = find(index);

	if (!r)
		return -ENOENT;
	if (!host && hidden(v, index))
		return 1;
	if (r->get) {
		const int ret = r->get(v, index, value);

		/* One that is listed for all VMs, of an APIC that this one has not. */
		if (ret != -ENOENT || !host || !r->listed)
			return ret;
		*value = 0;
		return 0;
	}
	*value = r->fixed;
	return 0;
}

int atl_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	const struct row *r = find(index);

	if (!r)
		return -ENOENT;
	if (!host && hidden(v, index))
		return 1;
	if (r->set) {
		const int ret = r->set(v, index, value, host);

		return ret == -ENOENT && host && r->listed ? 0 : ret;
	}
	return r->swallow || (host && value == r->fixed) ? 0 : 1;
}

static bool listed(const struct row *r, bool feature)
{
	return feature ? r->feature : r->listed;
}

static int list(struct kvm_msr_list __user *arg, bool feature)
{
	u32 room, n = 0, index;
	unsigned int i;

	if (get_user(room, &arg->nmsrs))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (listed(&rows[i], feature))
			n += rows[i].last - rows[i].first + 1;
	if (put_user(n, &arg->nmsrs))
		return -EFAULT;
	if (room < n)
		return -E2BIG;
	n = 0;
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		for (index = rows[i].first; listed(&rows[i], feature) && index <= rows[i].last;
		     index++)
			if (put_user(index, &arg->indices[n++]))
				return -EFAULT;
	return 0;
}

int atl_msr_list(struct kvm_msr_list __user *arg)
{
	return list(arg, false);
}

int atl_feature_msr_list(struct kvm_msr_list __user *arg)
{
	return list(arg, true);
}

/* KVM_GET_MSRS of the device: how many were read before one that is no feature's. */
int atl_feature_msrs(struct kvm_msrs __user *arg)
{
	struct kvm_msr_entry e;
	const struct row *r;
	u32 n, i;

	if (get_user(n, &arg->nmsrs))
		return -EFAULT;
	if (n >= ATL_MAX_MSRS)
		return -E2BIG;
	for (i = 0; i < n; i++) {
		if (copy_from_user(&e, &arg->entries[i], sizeof(e)))
			return -EFAULT;
		r = find(e.index);
		if (!r || !r->feature)
			break;
		e.data = r->fixed;
		if (copy_to_user(&arg->entries[i], &e, sizeof(e)))
			return -EFAULT;
	}
	return i;
}

/* How many were read or written before the first that could not be. */
int atl_msrs_ioctl(struct atl_vcpu *v, struct kvm_msrs __user *arg, bool set)
{
	struct kvm_msr_entry *e;
	u32 n, i;
	int r;

	if (get_user(n, &arg->nmsrs))
		return -EFAULT;
	if (n >= ATL_MAX_MSRS)
		return -E2BIG;
	e = memdup_user(arg->entries, n * sizeof(*e));
	if (IS_ERR(e))
		return PTR_ERR(e);
	for (i = 0; i < n; i++)
		if (set ? atl_set_msr(v, e[i].index, e[i].data, true) :
			  atl_get_msr(v, e[i].index, &e[i].data, true))
			break;
	r = i;
	if (!set && copy_to_user(arg->entries, e, n * sizeof(*e)))
		r = -EFAULT;
	kfree(e);
	return r;
}
