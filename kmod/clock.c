// SPDX-License-Identifier: GPL-2.0-only
/*
 * kvmclock: the time of a VM, that its guests read without an exit.
 *
 * Theory of operation
 *
 * A VM's clock is the host's TSC, scaled: at some moment (vm->clock_tsc) it was
 * vm->clock_ns. Guest and host compute it from these two with the same multiplier,
 * so that all vCPUs and KVM_GET_CLOCK agree, and nothing has to be written again as
 * time goes by. A vCPU's page says it in terms of its own TSC. It is written by the
 * vCPU's thread before an entry, when something has changed: the guest gave its
 * address, a TSC or the clock was set.
 *
 * Guests that see the flag "stable" read one vCPU's page on all of them: it is set
 * while all their TSCs are the same. Where the host's TSCs are not, there is no
 * kvmclock: KVM_CAP_ADJUST_CLOCK is 0 and CPUID does not have it.
 *
 * Stolen time, which a guest reads likewise, is how long the vCPU's thread could have
 * run and did not, as the scheduler counts it.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/sched.h>
#include <linux/sched/stat.h>
#include <linux/uaccess.h>
#include <asm/pvclock.h>
#include <asm/tsc.h>

#include "atoll.h"

bool atl_clock_usable(void)
{
	return boot_cpu_has(X86_FEATURE_TSC) && tsc_khz && !check_tsc_unstable();
}

/* ns = (ticks << shift) * mul >> 32; a negative shift is to the right. */
static void scale(u32 *mul, s8 *shift)
{
	u64 hz = tsc_khz * 1000ULL, ns = NSEC_PER_SEC;

	*shift = 0;
	for (; ns >= hz; hz *= 2)
		++*shift;
	for (; ns * 2 < hz; ns *= 2)
		--*shift;
	*mul = mul_u64_u64_div_u64(ns, 1ULL << 32, hz);
}

/* (i) */
static u64 clock_at(struct atl_vm *vm, u64 tsc)
{
	u32 mul;
	s8 shift;

	scale(&mul, &shift);
	return vm->clock_ns + pvclock_scale_delta(tsc - vm->clock_tsc, mul, shift);
}

static u64 clock_now(struct atl_vm *vm)
{
	unsigned long flags;
	u64 ns;

	spin_lock_irqsave(&vm->irq_lock, flags);
	ns = clock_at(vm, rdtsc_ordered());
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return ns;
}

/* Pages of all vCPUs are to be written again. */
static void all_stale(struct atl_vm *vm)
{
	const unsigned int n = atl_nr_vcpus(vm);
	unsigned int i;

	for (i = 0; i < n; i++) {
		WRITE_ONCE(vm->vcpus[i]->clock_stale, true);
		atl_kick(vm->vcpus[i]);
	}
}

/* A vCPU's TSC was set. */
void atl_clock_tsc_changed(struct atl_vcpu *v)
{
	if (v->lapic)
		atl_lapic_tsc_changed(v);
	all_stale(v->vm);
}

static bool tscs_agree(struct atl_vm *vm)
{
	const unsigned int n = atl_nr_vcpus(vm);
	unsigned int i;

	for (i = 1; i < n; i++)
		if (READ_ONCE(vm->vcpus[i]->tsc_offset) != READ_ONCE(vm->vcpus[0]->tsc_offset))
			return false;
	return true;
}

/*
 * Both structures begin with a version that is odd while they change. What is not
 * memory is not written; the guest's mistake.
 */
static void publish(struct atl_vm *vm, u64 gpa, void *data, u32 size, u32 version)
{
	u32 *first = data;

	*first = version - 1;
	if (atl_gpa_write(vm, gpa, first, sizeof(*first)))
		return;
	smp_wmb();	/* odd before anything changes */
	atl_gpa_write(vm, gpa, data, size);
	*first = version;
	smp_wmb();	/* all has changed before it is even */
	atl_gpa_write(vm, gpa, first, sizeof(*first));
}

/* Before an entry. */
void atl_clock_update(struct atl_vcpu *v)
{
	struct pvclock_vcpu_time_info t = {};
	unsigned long flags;

	WRITE_ONCE(v->clock_stale, false);
	if (!(v->clock_msr & 1))
		return;
	scale(&t.tsc_to_system_mul, &t.tsc_shift);
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	t.tsc_timestamp = v->vm->clock_tsc + v->tsc_offset;
	t.system_time = v->vm->clock_ns;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	if (tscs_agree(v->vm))
		t.flags |= PVCLOCK_TSC_STABLE_BIT;
	if (v->clock_stopped)
		t.flags |= PVCLOCK_GUEST_STOPPED;
	v->clock_stopped = false;
	v->clock_version += 2;
	publish(v->vm, v->clock_msr & ~1ULL, &t, sizeof(t), v->clock_version);
}

/* When the clock was zero. */
static void write_wall_clock(struct atl_vcpu *v, u64 gpa)
{
	struct pvclock_wall_clock w = {};
	u32 ns;

	if (!gpa || atl_gpa_read(v->vm, gpa, &w.version, sizeof(w.version)))
		return;
	w.sec = div_u64_rem(ktime_get_real_ns() - clock_now(v->vm), NSEC_PER_SEC, &ns);
	w.nsec = ns;
	publish(v->vm, gpa, &w, sizeof(w), (w.version | 1) + 1);
}

static bool is_wall_clock(u32 index)
{
	return index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_NEW;
}

int atl_clock_get_msr(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = is_wall_clock(index) ? v->wall_clock_msr : v->clock_msr;
	return 0;
}

int atl_clock_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (is_wall_clock(index)) {
		v->wall_clock_msr = value;
		write_wall_clock(v, value);
	} else {
		v->clock_msr = value;
		WRITE_ONCE(v->clock_stale, true);
	}
	return 0;
}

bool atl_steal_usable(void)
{
	return sched_info_on();
}

/* By the vCPU's thread, before an entry. */
void atl_steal_update(struct atl_vcpu *v)
{
#ifdef CONFIG_SCHED_INFO
	const u64 gpa = v->steal_msr & KVM_STEAL_VALID_BITS, now = current->sched_info.run_delay;
	struct kvm_steal_time s;

	const bool same = v->steal_thread == current;

	if (!(v->steal_msr & KVM_MSR_ENABLED) || (same && now == v->steal_seen))
		return;
	/* What another thread waited before it had this vCPU counts for nothing. */
	if (same)
		v->stolen += now - v->steal_seen;
	v->steal_thread = current;
	v->steal_seen = now;
	if (atl_gpa_read(v->vm, gpa, &s, sizeof(s)))
		return;
	s.steal = v->stolen;
	s.flags = 0;
	s.preempted = 0;
	v->steal_version += 2;
	s.version = v->steal_version - 1;
	atl_gpa_write(v->vm, gpa + offsetof(typeof(s), version), &s.version, sizeof(s.version));
	smp_wmb();	/* odd before anything changes */
	atl_gpa_write(v->vm, gpa, &s, sizeof(s));
	s.version++;
	smp_wmb();	/* all has changed before it is even */
	atl_gpa_write(v->vm, gpa + offsetof(typeof(s), version), &s.version, sizeof(s.version));
#endif
}

int atl_steal_get_msr(struct atl_vcpu *v, u32 index, u64 *value)
{
	*value = v->steal_msr;
	return 0;
}

int atl_steal_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	if (!sched_info_on() || value & KVM_STEAL_RESERVED_MASK)
		return 1;
	v->steal_msr = value;
	v->steal_thread = NULL;
	return 0;
}

int atl_get_clock(struct atl_vm *vm, void __user *arg)
{
	struct kvm_clock_data d = {};
	unsigned long flags;

	spin_lock_irqsave(&vm->irq_lock, flags);
	d.host_tsc = rdtsc_ordered();
	d.realtime = ktime_get_real_ns();
	d.clock = clock_at(vm, d.host_tsc);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	d.flags = KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	if (tscs_agree(vm))
		d.flags |= KVM_CLOCK_TSC_STABLE;
	return copy_to_user(arg, &d, sizeof(d)) ? -EFAULT : 0;
}

int atl_set_clock(struct atl_vm *vm, void __user *arg)
{
	struct kvm_clock_data d;
	unsigned long flags;

	if (copy_from_user(&d, arg, sizeof(d)))
		return -EFAULT;
	if (d.flags & ~(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC))
		return -EINVAL;
	spin_lock_irqsave(&vm->irq_lock, flags);
	vm->clock_tsc = rdtsc_ordered();
	vm->clock_ns = d.clock;
	/* What has gone by since it was read, on this host or another. */
	if (d.flags & KVM_CLOCK_REALTIME) {
		const u64 now = ktime_get_real_ns();

		if (now > d.realtime)
			vm->clock_ns += now - d.realtime;
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	all_stale(vm);
	return 0;
}

/* KVM_KVMCLOCK_CTRL: the guest is told that it was stopped, once. */
int atl_clock_stopped(struct atl_vcpu *v)
{
	if (!(v->clock_msr & 1))
		return -EINVAL;
	v->clock_stopped = true;
	WRITE_ONCE(v->clock_stale, true);
	return 0;
}

/* KVM_VCPU_TSC_OFFSET. */
int atl_tsc_attr(struct atl_vcpu *v, unsigned int ioctl, void __user *arg)
{
	struct kvm_device_attr a;
	u64 __user *at;
	u64 offset;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.group != KVM_VCPU_TSC_CTRL || a.attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	at = (u64 __user *)(unsigned long)a.addr;
	if (ioctl == KVM_HAS_DEVICE_ATTR)
		return 0;
	if (ioctl == KVM_GET_DEVICE_ATTR)
		return put_user(v->tsc_offset, at) ? -EFAULT : 0;
	if (get_user(offset, at))
		return -EFAULT;
	mutex_lock(&v->vm->lock);
	v->vm->tsc_offset = offset;
	mutex_unlock(&v->vm->lock);
	v->tsc_offset = offset;
	atl_ops->state_changed(v);
	atl_clock_tsc_changed(v);
	return 0;
}
