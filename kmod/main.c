// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module: its device, the ioctls of the device, and when the processors
 * are enabled. They are while a VM exists: then another hypervisor cannot use
 * them, and where one already does, the first VM is refused with EBUSY.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/syscore_ops.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "atoll.h"

const struct atl_hw_ops *atl_ops;

DEFINE_MUTEX(atl_hw_lock);
LIST_HEAD(atl_vms);			/* (g) */
static unsigned int hw_users;		/* (g) */
static int hw_state;			/* (g) of cpuhp */
static atomic_t hw_failed;
static DEFINE_PER_CPU(bool, hw_enabled);

static void enable_cpu(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!__this_cpu_read(hw_enabled)) {
		if (atl_ops->enable_cpu())
			atomic_inc(&hw_failed);
		else
			__this_cpu_write(hw_enabled, true);
	}
	local_irq_restore(flags);
}

static void disable_cpu(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	if (__this_cpu_read(hw_enabled)) {
		__this_cpu_write(hw_enabled, false);
		atl_ops->disable_cpu();
	}
	local_irq_restore(flags);
}

static int cpu_starts(unsigned int cpu)
{
	atomic_set(&hw_failed, 0);
	enable_cpu(NULL);
	return atomic_read(&hw_failed) ? -EBUSY : 0;
}

static int cpu_dies(unsigned int cpu)
{
	disable_cpu(NULL);
	return 0;
}

/* The first VM enables the processors, those that come later included. */
int atl_hw_get(struct atl_vm *vm)
{
	int r = 0;

	mutex_lock(&atl_hw_lock);
	if (!hw_users) {
		/* Calls cpu_starts() on each processor, and undoes it when one fails. */
		r = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "x86/atoll:online", cpu_starts,
				      cpu_dies);
		if (r >= 0) {
			hw_state = r;
			r = 0;
		}
	}
	if (!r) {
		hw_users++;
		list_add(&vm->list, &atl_vms);
	}
	mutex_unlock(&atl_hw_lock);
	return r;
}

void atl_hw_put(struct atl_vm *vm)
{
	mutex_lock(&atl_hw_lock);
	list_del(&vm->list);
	if (!--hw_users)
		cpuhp_remove_state(hw_state);
	mutex_unlock(&atl_hw_lock);
}

/* Only the processor that sleeps is left then, with interrupts off. */
static int sleep_begins(void)
{
	disable_cpu(NULL);
	return 0;
}

static void sleep_ends(void)
{
	if (READ_ONCE(hw_users))
		enable_cpu(NULL);
}

static struct syscore_ops sleep_ops = { .suspend = sleep_begins, .resume = sleep_ends };

/* INIT does not reach a processor whose SVM or VMX is on. */
static int reboot_begins(struct notifier_block *n, unsigned long event, void *data)
{
	on_each_cpu(disable_cpu, NULL, 1);
	return NOTIFY_OK;
}

static struct notifier_block reboot_notifier = { .notifier_call = reboot_begins };

/* What is not here is 0: a VMM then does without. */
int atl_check_extension(long cap)
{
	switch (cap) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_XSAVE:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_GET_TSC_KHZ:
	case KVM_CAP_GET_MSR_FEATURES:
	case KVM_CAP_BINARY_STATS_FD:
	case KVM_CAP_HLT:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_PIT2:
	case KVM_CAP_PIT_STATE2:
	case KVM_CAP_REINJECT_CONTROL:
	case KVM_CAP_IRQ_INJECT_STATUS:
	case KVM_CAP_IRQFD:
	case KVM_CAP_IRQFD_RESAMPLE:
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
	case KVM_CAP_IOEVENTFD_NO_LENGTH:
	case KVM_CAP_SIGNAL_MSI:
	case KVM_CAP_SPLIT_IRQCHIP:
	case KVM_CAP_SET_BOOT_CPU_ID:
	case KVM_CAP_TSC_DEADLINE_TIMER:
	case KVM_CAP_VCPU_ATTRIBUTES:
	case KVM_CAP_X86_MSR_FILTER:
	case KVM_CAP_MSR_PLATFORM_INFO:
	case KVM_CAP_ENFORCE_PV_FEATURE_CPUID:
	case KVM_CAP_COALESCED_PIO:
		return 1;
	case KVM_CAP_COALESCED_MMIO:
		return ATL_RING_PAGE;
	case KVM_CAP_DISABLE_QUIRKS2:
		return atl_ops == &atl_svm_ops ? KVM_X86_QUIRK_FIX_HYPERCALL_INSN : 0;
	case KVM_CAP_SYNC_REGS:
		return KVM_SYNC_X86_VALID_FIELDS;
	case KVM_CAP_X2APIC_API:
		return KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
	case KVM_CAP_IRQ_ROUTING:
		return ATL_MAX_ROUTES;
	case KVM_CAP_CLOCKSOURCE:
	case KVM_CAP_KVMCLOCK_CTRL:
		return atl_clock_usable();
	case KVM_CAP_ADJUST_CLOCK:
		return !atl_clock_usable() ? 0 :
		       KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	case KVM_CAP_XCRS:
		return boot_cpu_has(X86_FEATURE_XSAVE);
	case KVM_CAP_X86_USER_SPACE_MSR:
		return KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL |
		       KVM_MSR_EXIT_REASON_FILTER;
	case KVM_CAP_NR_VCPUS:
		return min_t(unsigned int, num_online_cpus(), ATL_MAX_VCPUS);
	case KVM_CAP_MAX_VCPUS:
		return ATL_MAX_VCPUS;
	case KVM_CAP_MAX_VCPU_ID:
		return ATL_MAX_VCPU_ID;
	case KVM_CAP_NR_MEMSLOTS:
		return ATL_MAX_SLOTS;
	default:
		return 0;
	}
}

static long device_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	switch (ioctl) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return atl_create_vm(arg);
	case KVM_CHECK_EXTENSION:
		return atl_check_extension(arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : ATL_RUN_PAGES * PAGE_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return atl_supported_cpuid((void __user *)arg);
	case KVM_GET_MSR_INDEX_LIST:
		return atl_msr_list((void __user *)arg);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return atl_feature_msr_list((void __user *)arg);
	case KVM_GET_MSRS:
		return atl_feature_msrs((void __user *)arg);
	default:
		return -EINVAL;
	}
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "atoll",
	.fops = &device_fops,
	.mode = 0660,
};

static int __init atoll_init(void)
{
	int r;

	if (boot_cpu_has(X86_FEATURE_SVM)) {
		atl_ops = &atl_svm_ops;
	} else if (boot_cpu_has(X86_FEATURE_VMX)) {
		atl_ops = &atl_vmx_ops;
	} else {
		pr_err("atoll: the processor has neither SVM nor VMX, or it is switched off\n");
		return -ENODEV;
	}
	if (tsc_khz < 10000) {
		pr_err("atoll: the rate of the TSC is not known\n");
		return -ENODEV;
	}
	r = atl_ops->setup();
	if (r)
		return r;
	atl_stats_init();
	register_syscore_ops(&sleep_ops);
	register_reboot_notifier(&reboot_notifier);
	r = misc_register(&device);
	if (r) {
		unregister_reboot_notifier(&reboot_notifier);
		unregister_syscore_ops(&sleep_ops);
		atl_stats_exit();
		atl_ops->teardown();
		return r;
	}
	pr_info("atoll: %s, /dev/atoll\n", atl_ops->name);
	return 0;
}

static void __exit atoll_exit(void)
{
	misc_deregister(&device);
	unregister_reboot_notifier(&reboot_notifier);
	unregister_syscore_ops(&sleep_ops);
	atl_stats_exit();
	atl_ops->teardown();
}

module_init(atoll_init);
module_exit(atoll_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Hypervisor behind the ioctls of linux/kvm.h");
