// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqfd: an eventfd that is a GSI. Its wait queue calls wakeup(), with its lock
 * held and interrupts off: the line goes up and down there at once, without a
 * thread between.
 *
 * One that resamples is level-triggered: its line stays up until the guest's end
 * of interrupt, then falls, and a second eventfd tells that; whose device still
 * asks signals the first again.
 *
 * vm->irqfds is (f). When user space closes an eventfd, wakeup() may not take the
 * mutex: it marks the irqfd, and a work item removes those that are marked. That
 * one and all irqfds go when the VM's file does.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "atoll.h"

struct atl_irqfd {
	struct list_head list;		/* (f) */
	struct atl_vm *vm;		/* (c), as the next three */
	struct eventfd_ctx *eventfd;
	struct eventfd_ctx *resample;	/* NULL: an edge */
	u32 gsi;
	wait_queue_entry_t wait;
	poll_table poll;
	bool closed;
};

static void inject(struct atl_irqfd *f)
{
	unsigned long flags;

	spin_lock_irqsave(&f->vm->irq_lock, flags);
	if (f->resample) {
		atl_irq_set_gsi(f->vm, f->gsi, ATL_FROM_RESAMPLE, true);
	} else {
		atl_irq_set_gsi(f->vm, f->gsi, ATL_FROM_USER, true);
		atl_irq_set_gsi(f->vm, f->gsi, ATL_FROM_USER, false);
	}
	spin_unlock_irqrestore(&f->vm->irq_lock, flags);
}

static int wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct atl_irqfd *f = container_of(wait, struct atl_irqfd, wait);
	const __poll_t events = key_to_poll(key);
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(f->eventfd, &count);
		inject(f);
	}
	if (events & EPOLLHUP) {
		f->closed = true;
		schedule_work(&f->vm->irqfd_work);
	}
	return 0;
}

static void queue(struct file *file, wait_queue_head_t *head, poll_table *poll)
{
	add_wait_queue(head, &container_of(poll, struct atl_irqfd, poll)->wait);
}

/* (f). Afterwards no wakeup() of it runs. */
static void drop(struct atl_irqfd *f)
{
	struct atl_vm *vm = f->vm;
	struct atl_irqfd *other;
	unsigned long flags;
	bool last = true;
	u64 count;

	eventfd_ctx_remove_wait_queue(f->eventfd, &f->wait, &count);
	list_del(&f->list);
	if (f->resample) {
		list_for_each_entry(other, &vm->irqfds, list)
			if (other->resample && other->gsi == f->gsi)
				last = false;
		spin_lock_irqsave(&vm->irq_lock, flags);
		vm->irq->nr_resample--;
		if (last && f->gsi < ATL_MAX_ROUTES) {
			__clear_bit(f->gsi, vm->irq->resample);
			atl_irq_set_gsi(vm, f->gsi, ATL_FROM_RESAMPLE, false);
		}
		spin_unlock_irqrestore(&vm->irq_lock, flags);
		eventfd_ctx_put(f->resample);
	}
	eventfd_ctx_put(f->eventfd);
	kfree(f);
}

static void drop_closed(struct work_struct *work)
{
	struct atl_vm *vm = container_of(work, struct atl_vm, irqfd_work);
	struct atl_irqfd *f, *next;

	mutex_lock(&vm->irqfd_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds, list)
		if (READ_ONCE(f->closed))
			drop(f);
	mutex_unlock(&vm->irqfd_lock);
}

static int deassign(struct atl_vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *eventfd = eventfd_ctx_fdget(args->fd);
	struct atl_irqfd *f, *next;

	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	mutex_lock(&vm->irqfd_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds, list)
		if (f->eventfd == eventfd && f->gsi == args->gsi)
			drop(f);
	mutex_unlock(&vm->irqfd_lock);
	eventfd_ctx_put(eventfd);
	return 0;
}

/* (f). From here on it may be called. */
static int add(struct atl_vm *vm, struct atl_irqfd *f, struct file *file)
{
	struct atl_irqfd *other;
	unsigned long flags;

	list_for_each_entry(other, &vm->irqfds, list)
		if (other->eventfd == f->eventfd)
			return -EBUSY;
	list_add_tail(&f->list, &vm->irqfds);
	if (f->resample) {
		spin_lock_irqsave(&vm->irq_lock, flags);
		vm->irq->nr_resample++;
		if (f->gsi < ATL_MAX_ROUTES)	/* others have no route */
			__set_bit(f->gsi, vm->irq->resample);
		spin_unlock_irqrestore(&vm->irq_lock, flags);
	}
	init_waitqueue_func_entry(&f->wait, wakeup);
	init_poll_funcptr(&f->poll, queue);
	/* It was signalled before. */
	if (vfs_poll(file, &f->poll) & EPOLLIN)
		inject(f);
	return 0;
}

static int assign(struct atl_vm *vm, const struct kvm_irqfd *args)
{
	struct atl_irqfd *f;
	struct fd fd;
	int r;

	if (!vm->irq || (args->flags & KVM_IRQFD_FLAG_RESAMPLE && vm->irq->split))
		return -EINVAL;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->vm = vm;
	f->gsi = args->gsi;
	fd = fdget(args->fd);
	if (!fd.file) {
		r = -EBADF;
		goto free;
	}
	f->eventfd = eventfd_ctx_fileget(fd.file);
	if (IS_ERR(f->eventfd)) {
		r = PTR_ERR(f->eventfd);
		goto fdput;
	}
	if (args->flags & KVM_IRQFD_FLAG_RESAMPLE) {
		f->resample = eventfd_ctx_fdget(args->resamplefd);
		if (IS_ERR(f->resample)) {
			r = PTR_ERR(f->resample);
			goto put;
		}
	}
	mutex_lock(&vm->irqfd_lock);
	r = add(vm, f, fd.file);
	mutex_unlock(&vm->irqfd_lock);
	fdput(fd);
	if (!r)
		return 0;
	if (f->resample)
		eventfd_ctx_put(f->resample);
	eventfd_ctx_put(f->eventfd);
	kfree(f);
	return r;
put:
	eventfd_ctx_put(f->eventfd);
fdput:
	fdput(fd);
free:
	kfree(f);
	return r;
}

int atl_irqfd(struct atl_vm *vm, void __user *arg)
{
	struct kvm_irqfd args;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	return args.flags & KVM_IRQFD_FLAG_DEASSIGN ? deassign(vm, &args) : assign(vm, &args);
}

/* Tells who wants to know which interrupts have ended. Holds no lock but its own. */
void atl_irqfd_resample(struct atl_vm *vm)
{
	DECLARE_BITMAP(acked, ATL_MAX_ROUTES);
	struct atl_irqfd *f;
	unsigned long flags;

	if (!vm->irq || !READ_ONCE(vm->irq->acked_any))
		return;
	mutex_lock(&vm->irqfd_lock);
	spin_lock_irqsave(&vm->irq_lock, flags);
	vm->irq->acked_any = false;
	bitmap_copy(acked, vm->irq->acked, ATL_MAX_ROUTES);
	bitmap_zero(vm->irq->acked, ATL_MAX_ROUTES);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	list_for_each_entry(f, &vm->irqfds, list)
		if (f->resample && f->gsi < ATL_MAX_ROUTES && test_bit(f->gsi, acked))
			eventfd_signal(f->resample, 1);
	mutex_unlock(&vm->irqfd_lock);
}

void atl_irqfd_init(struct atl_vm *vm)
{
	mutex_init(&vm->irqfd_lock);
	INIT_LIST_HEAD(&vm->irqfds);
	INIT_WORK(&vm->irqfd_work, drop_closed);
}

/* The VM's file goes: no more of them. */
void atl_irqfd_release(struct atl_vm *vm)
{
	struct atl_irqfd *f, *next;

	mutex_lock(&vm->irqfd_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds, list)
		drop(f);
	mutex_unlock(&vm->irqfd_lock);
	cancel_work_sync(&vm->irqfd_work);
}
