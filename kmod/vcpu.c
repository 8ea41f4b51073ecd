// SPDX-License-Identifier: GPL-2.0-only
/* A vCPU: its file, the pages it shares with user space, and its ioctls. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "atoll.h"

static int get_fpu(struct atl_vcpu *v, void __user *arg)
{
	const struct fxregs_state *fx = &v->fpu.fpstate->regs.fxsave;
	struct kvm_fpu f = {
		.fcw = fx->cwd, .fsw = fx->swd, .ftwx = fx->twd,
		.last_opcode = fx->fop, .last_ip = fx->rip, .last_dp = fx->rdp,
		.mxcsr = fx->mxcsr,
	};

	memcpy(f.fpr, fx->st_space, sizeof(f.fpr));
	memcpy(f.xmm, fx->xmm_space, sizeof(f.xmm));
	return copy_to_user(arg, &f, sizeof(f)) ? -EFAULT : 0;
}

static int set_fpu(struct atl_vcpu *v, void __user *arg)
{
	struct fxregs_state *fx = &v->fpu.fpstate->regs.fxsave;
	struct kvm_fpu f;

	if (copy_from_user(&f, arg, sizeof(f)))
		return -EFAULT;
	memcpy(fx->st_space, f.fpr, sizeof(f.fpr));
	memcpy(fx->xmm_space, f.xmm, sizeof(f.xmm));
	fx->cwd = f.fcw;
	fx->swd = f.fsw;
	fx->twd = f.ftwx;
	fx->fop = f.last_opcode;
	fx->rip = f.last_ip;
	fx->rdp = f.last_dp;
	/* A component whose bit is clear is loaded with its initial value. */
	if (boot_cpu_has(X86_FEATURE_XSAVE))
		v->fpu.fpstate->regs.xsave.header.xfeatures |= XFEATURE_MASK_FPSSE;
	return 0;
}

static int get_xsave(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_xsave *x = kzalloc(sizeof(*x), GFP_KERNEL_ACCOUNT);
	int r;

	if (!x)
		return -ENOMEM;
	fpu_copy_guest_fpstate_to_uabi(&v->fpu, x, sizeof(*x), atl_host_xcr0(), 0);
	r = copy_to_user(arg, x, sizeof(*x)) ? -EFAULT : 0;
	kfree(x);
	return r;
}

static int set_xsave(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_xsave *x = memdup_user(arg, sizeof(*x));
	u32 pkru = 0;
	int r;

	if (IS_ERR(x))
		return PTR_ERR(x);
	r = fpu_copy_uabi_to_guest_fpstate(&v->fpu, x, atl_host_xcr0(), &pkru);
	kfree(x);
	return r;
}

static void read_regs(struct atl_vcpu *v, struct kvm_regs *r)
{
	const u64 *g = v->reg;

	*r = (struct kvm_regs) {
		.rax = g[0], .rcx = g[1], .rdx = g[2], .rbx = g[3],
		.rsp = g[4], .rbp = g[5], .rsi = g[6], .rdi = g[7],
		.r8 = g[8], .r9 = g[9], .r10 = g[10], .r11 = g[11],
		.r12 = g[12], .r13 = g[13], .r14 = g[14], .r15 = g[15],
		.rip = v->rip, .rflags = v->rflags,
	};
}

static void write_regs(struct atl_vcpu *v, const struct kvm_regs *r)
{
	u64 *g = v->reg;

	g[0] = r->rax;
	g[1] = r->rcx;
	g[2] = r->rdx;
	g[3] = r->rbx;
	g[4] = r->rsp;
	g[5] = r->rbp;
	g[6] = r->rsi;
	g[7] = r->rdi;
	g[8] = r->r8;
	g[9] = r->r9;
	g[10] = r->r10;
	g[11] = r->r11;
	g[12] = r->r12;
	g[13] = r->r13;
	g[14] = r->r14;
	g[15] = r->r15;
	v->rip = r->rip;
	v->rflags = r->rflags | 2;
	v->exception.pending = false;
}

static int regs_ioctl(struct atl_vcpu *v, void __user *arg, bool set)
{
	struct kvm_regs r;

	if (!set) {
		read_regs(v, &r);
		return copy_to_user(arg, &r, sizeof(r)) ? -EFAULT : 0;
	}
	if (copy_from_user(&r, arg, sizeof(r)))
		return -EFAULT;
	write_regs(v, &r);
	return 0;
}

/*
 * KVM_CAP_SYNC_REGS: registers in kvm_run instead of by ioctls. What user space
 * writes there meanwhile must not change under the checks: copies.
 */
int atl_take_synced(struct atl_vcpu *v)
{
	struct kvm_run *run = v->run;
	const u64 dirty = READ_ONCE(run->kvm_dirty_regs);
	int r = 0;

	if (((dirty | READ_ONCE(run->kvm_valid_regs)) & ~(u64)KVM_SYNC_X86_VALID_FIELDS))
		return -EINVAL;
	if (dirty & KVM_SYNC_X86_REGS) {
		const struct kvm_regs regs = run->s.regs.regs;

		write_regs(v, &regs);
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		const struct kvm_sregs sregs = run->s.regs.sregs;

		r = atl_set_sregs(v, &sregs);
	}
	if (!r && (dirty & KVM_SYNC_X86_EVENTS)) {
		const struct kvm_vcpu_events events = run->s.regs.events;

		r = atl_set_events(v, &events);
	}
	if (!r)
		run->kvm_dirty_regs = 0;
	return r;
}

void atl_give_synced(struct atl_vcpu *v)
{
	struct kvm_run *run = v->run;
	const u64 valid = READ_ONCE(run->kvm_valid_regs);

	if (valid & KVM_SYNC_X86_REGS)
		read_regs(v, &run->s.regs.regs);
	if (valid & KVM_SYNC_X86_SREGS)
		atl_get_sregs(v, &run->s.regs.sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		atl_get_events(v, &run->s.regs.events);
}

static int get_debugregs(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_debugregs d = { .dr6 = v->dr6, .dr7 = v->dr7 };

	memcpy(d.db, v->dr, sizeof(d.db));
	return copy_to_user(arg, &d, sizeof(d)) ? -EFAULT : 0;
}

static int set_debugregs(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_debugregs d;

	if (copy_from_user(&d, arg, sizeof(d)))
		return -EFAULT;
	if (d.flags || d.dr6 >> 32 || d.dr7 >> 32)
		return -EINVAL;
	memcpy(v->dr, d.db, sizeof(v->dr));
	v->dr6 = d.dr6;
	v->dr7 = d.dr7;
	atl_ops->state_changed(v);
	return 0;
}

static int get_xcrs(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .value = v->xcr0 } } };

	return copy_to_user(arg, &x, sizeof(x)) ? -EFAULT : 0;
}

static int set_xcrs(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_xcrs x;
	u32 i;

	if (copy_from_user(&x, arg, sizeof(x)))
		return -EFAULT;
	if (x.nr_xcrs > KVM_MAX_XCRS || x.flags)
		return -EINVAL;
	for (i = 0; i < x.nr_xcrs; i++)
		if (!x.xcrs[i].xcr)
			return atl_set_xcr(v, 0, x.xcrs[i].value) ? -EINVAL : 0;
	return 0;
}

static int sregs_ioctl(struct atl_vcpu *v, void __user *arg, bool set)
{
	struct kvm_sregs s;

	if (set)
		return copy_from_user(&s, arg, sizeof(s)) ? -EFAULT : atl_set_sregs(v, &s);
	atl_get_sregs(v, &s);
	return copy_to_user(arg, &s, sizeof(s)) ? -EFAULT : 0;
}

static int events_ioctl(struct atl_vcpu *v, void __user *arg, bool set)
{
	struct kvm_vcpu_events e;

	if (set)
		return copy_from_user(&e, arg, sizeof(e)) ? -EFAULT : atl_set_events(v, &e);
	atl_get_events(v, &e);
	return copy_to_user(arg, &e, sizeof(e)) ? -EFAULT : 0;
}

static int interrupt(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_interrupt i;

	if (copy_from_user(&i, arg, sizeof(i)))
		return -EFAULT;
	if (i.irq >= 256)
		return -EINVAL;
	if (atl_pic_here(v))
		return -ENXIO;
	if (v->lapic) {		/* the APIC's LINT0 decides when */
		if (v->extint >= 0)
			return -EEXIST;
		v->extint = i.irq;
		return 0;
	}
	v->interrupt = (struct atl_event) { .pending = true, .vector = i.irq };
	v->stats.irq_injections++;
	return 0;
}

static int signal_mask(struct atl_vcpu *v, struct kvm_signal_mask __user *arg)
{
	sigset_t set;
	u32 len;

	if (!arg) {
		v->sigset_active = false;
		return 0;
	}
	if (get_user(len, &arg->len))
		return -EFAULT;
	if (len != sizeof(set))
		return -EINVAL;
	if (copy_from_user(&set, arg->sigset, sizeof(set)))
		return -EFAULT;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	v->sigset = set;
	v->sigset_active = true;
	return 0;
}

static int translate(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_translation t;
	struct atl_event fault;
	u64 cr2;

	if (copy_from_user(&t, arg, sizeof(t)))
		return -EFAULT;
	t.valid = !atl_gva_to_gpa(v, t.linear_address, 0, &t.physical_address, &fault, &cr2);
	if (!t.valid)
		t.physical_address = ~0ULL;
	t.writeable = 1;
	t.usermode = 0;
	return copy_to_user(arg, &t, sizeof(t)) ? -EFAULT : 0;
}

static int vcpu_enable_cap(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_enable_cap cap;

	if (copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	if (cap.flags || cap.cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID)
		return -EINVAL;
	v->pv_enforced = cap.args[0];
	return 0;
}

static long locked_ioctl(struct atl_vcpu *v, unsigned int ioctl, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (ioctl) {
	case KVM_RUN:
		return arg ? -EINVAL : atl_run(v);
	case KVM_GET_REGS:
		return regs_ioctl(v, argp, false);
	case KVM_SET_REGS:
		return regs_ioctl(v, argp, true);
	case KVM_GET_SREGS:
		return sregs_ioctl(v, argp, false);
	case KVM_SET_SREGS:
		return sregs_ioctl(v, argp, true);
	case KVM_GET_FPU:
		return get_fpu(v, argp);
	case KVM_SET_FPU:
		return set_fpu(v, argp);
	case KVM_GET_XSAVE:
		return get_xsave(v, argp);
	case KVM_SET_XSAVE:
		return set_xsave(v, argp);
	case KVM_GET_XCRS:
		return boot_cpu_has(X86_FEATURE_XSAVE) ? get_xcrs(v, argp) : -EINVAL;
	case KVM_SET_XCRS:
		return boot_cpu_has(X86_FEATURE_XSAVE) ? set_xcrs(v, argp) : -EINVAL;
	case KVM_GET_DEBUGREGS:
		return get_debugregs(v, argp);
	case KVM_SET_DEBUGREGS:
		return set_debugregs(v, argp);
	case KVM_GET_VCPU_EVENTS:
		return events_ioctl(v, argp, false);
	case KVM_SET_VCPU_EVENTS:
		return events_ioctl(v, argp, true);
	case KVM_GET_MSRS:
		return atl_msrs_ioctl(v, argp, false);
	case KVM_SET_MSRS:
		return atl_msrs_ioctl(v, argp, true);
	case KVM_SET_CPUID2:
		return atl_set_cpuid(v, argp);
	case KVM_GET_CPUID2:
		return atl_get_cpuid(v, argp);
	case KVM_INTERRUPT:
		return interrupt(v, argp);
	case KVM_NMI:
		v->nmi_pending = min(v->nmi_pending + 1, 2u);
		return 0;
	case KVM_GET_MP_STATE:
		return atl_get_mp_state(v, argp);
	case KVM_SET_MP_STATE:
		return atl_set_mp_state(v, argp);
	case KVM_SET_SIGNAL_MASK:
		return signal_mask(v, argp);
	case KVM_TRANSLATE:
		return translate(v, argp);
	case KVM_ENABLE_CAP:
		return vcpu_enable_cap(v, argp);
	case KVM_GET_TSC_KHZ:
		return tsc_khz;
	case KVM_SET_TSC_KHZ:
		/* Without scaling only the host's own rate can be had. */
		return !arg || arg == tsc_khz ? 0 : -EINVAL;
	default:
		return atl_irq_vcpu_ioctl(v, ioctl, arg);
	}
}

static long vcpu_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct atl_vcpu *v = file->private_data;
	long r;

	if (v->vm->mm != current->mm || READ_ONCE(v->vm->dead))
		return -EIO;
	if (_IOC_TYPE(ioctl) != KVMIO)
		return -EINVAL;
	if (ioctl == KVM_GET_STATS_FD)
		return atl_stats_fd(v->vm, v);
	if (mutex_lock_killable(&v->mutex))
		return -EINTR;
	r = locked_ioctl(v, ioctl, arg);
	mutex_unlock(&v->mutex);
	return r;
}

static vm_fault_t shared_fault(struct vm_fault *vmf)
{
	struct atl_vcpu *v = vmf->vma->vm_file->private_data;
	void *const pages[] = { v->run, v->pio, v->vm->ring };

	static_assert(ARRAY_SIZE(pages) == ATL_RUN_PAGES);
	if (vmf->pgoff >= ATL_RUN_PAGES)
		return VM_FAULT_SIGBUS;
	vmf->page = virt_to_page(pages[vmf->pgoff]);
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct shared_ops = { .fault = shared_fault };

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &shared_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct atl_vcpu *v = file->private_data;

	atl_vm_put(v->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
	.llseek = noop_llseek,
};

void atl_vcpu_free(struct atl_vcpu *v)
{
	atl_lapic_free(v);
	if (v->hw)
		atl_ops->destroy_vcpu(v);
	if (v->fpu.fpstate)
		fpu_free_guest_fpstate(&v->fpu);
	atl_mmu_drop_cache(v);
	kvfree(v->cpuid);
	free_page((unsigned long)v->pio);
	free_page((unsigned long)v->run);
	kvfree(v);
}

static struct atl_vcpu *new_vcpu(struct atl_vm *vm, u32 id)
{
	struct atl_vcpu *v = kvzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);

	if (!v)
		return ERR_PTR(-ENOMEM);
	mutex_init(&v->mutex);
	init_waitqueue_head(&v->wait);
	v->extint = v->eoi_vector = -1;
	v->vm = vm;
	v->id = id;
	v->cpu = -1;
	v->phys_bits = 36;
	atl_derive_cpuid(v);
	v->tsc_offset = vm->tsc_offset;
	v->run = (struct kvm_run *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	v->pio = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!v->run || !v->pio || !fpu_alloc_guest_fpstate(&v->fpu) || atl_ops->create_vcpu(v) ||
	    (vm->irq && atl_lapic_create(v))) {
		atl_vcpu_free(v);
		return ERR_PTR(-ENOMEM);
	}
	atl_reset(v, false);
	return v;
}

int atl_create_vcpu(struct atl_vm *vm, unsigned long id)
{
	struct atl_vcpu *v;
	struct file *file;
	char name[24];
	unsigned int i;
	int fd;

	if (id >= (READ_ONCE(vm->max_vcpu_id) ?: ATL_MAX_VCPU_ID))
		return -EINVAL;
	mutex_lock(&vm->lock);
	for (i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpus[i]->id == id) {
			fd = -EEXIST;
			goto unlock;
		}
	}
	if (vm->nr_vcpus == ATL_MAX_VCPUS) {
		fd = -EINVAL;
		goto unlock;
	}
	v = new_vcpu(vm, id);
	if (IS_ERR(v)) {
		fd = PTR_ERR(v);
		goto unlock;
	}
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free;
	snprintf(name, sizeof(name), "atoll-vcpu:%lu", id);
	file = anon_inode_getfile(name, &vcpu_fops, v, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free;
	}
	refcount_inc(&vm->refs);
	vm->vcpus[vm->nr_vcpus] = v;
	/* Who flushes reads the number first, without the lock. */
	smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);
	fd_install(fd, file);
	goto unlock;
free:
	atl_vcpu_free(v);
unlock:
	mutex_unlock(&vm->lock);
	return fd;
}
