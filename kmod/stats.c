// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters as user space reads them: file descriptors in KVM's binary format
 * (KVM_GET_STATS_FD), and files in debugfs atoll/, of all VMs together and in a
 * folder PID-FD of each.
 *
 * A counter is written by its vCPU alone, without a lock, and read while it
 * changes: 64 bits at a time, so no value is torn.
 */
#include <linux/anon_inodes.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "atoll.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

struct counter {
	const char *name;
	u32 offset;
	bool instant;		/* not a sum of events but what there is now */
};

#define VCPU_COUNTER(n) { #n, offsetof(struct atl_vcpu_stats, n) },
#define VM_COUNTER(n) { #n, offsetof(struct atl_vm_stats, n) },

static const struct counter vcpu_counters[] = { ATL_VCPU_STATS(VCPU_COUNTER) };
static const struct counter vm_counters[] = { ATL_VM_STATS(VM_COUNTER) };

static struct dentry *debugfs;

/* The time since the last exit counts for its reason. */
void atl_stats_account(struct atl_vcpu *v, u64 now)
{
	const u64 ns = now - v->exit_time;

	v->stats.exit_ns[v->exit_reason][min(ns ? ilog2(ns) + 1 : 0, ATL_BUCKETS - 1)]++;
	v->exit_time = 0;
}

/* A stats fd: what never changes, and where the values are. */
struct stats_file {
	struct atl_vm *vm;
	const void *values;
	size_t values_size, head_size;
	u8 head[];
};

static void describe(struct kvm_stats_desc *d, const char *name, u32 type, u32 offset)
{
	const bool histogram = type == KVM_STATS_TYPE_LOG_HIST;

	d->flags = type | (histogram ? KVM_STATS_UNIT_SECONDS | KVM_STATS_BASE_POW10 :
				       KVM_STATS_UNIT_NONE);
	d->exponent = histogram ? -9 : 0;
	d->size = histogram ? ATL_BUCKETS : 1;
	d->offset = offset;
	strscpy(d->name, name, KVM_STATS_NAME_SIZE);
}

static u32 describe_all(void *to, bool vcpu)
{
	const u32 size = sizeof(struct kvm_stats_desc) + KVM_STATS_NAME_SIZE;
	const struct counter *c = vcpu ? vcpu_counters : vm_counters;
	const u32 nr = vcpu ? ARRAY_SIZE(vcpu_counters) : ARRAY_SIZE(vm_counters);
	char name[KVM_STATS_NAME_SIZE];
	u32 i, n = 0;

	for (i = 0; i < nr; i++) {
		const bool now = !strcmp(c[i].name, "largepages") ||
				 !strcmp(c[i].name, "mmu_unsync");

		describe(to + size * n++, c[i].name,
			 now ? KVM_STATS_TYPE_INSTANT : KVM_STATS_TYPE_CUMULATIVE, c[i].offset);
	}
	for (i = 0; vcpu && i < ATL_MAX_EXITS; i++) {
		if (!atl_ops->exit_names[i])
			continue;
		snprintf(name, sizeof(name), "exit_%s", atl_ops->exit_names[i]);
		describe(to + size * n++, name, KVM_STATS_TYPE_CUMULATIVE,
			 offsetof(struct atl_vcpu_stats, exit_count[i]));
		snprintf(name, sizeof(name), "exit_%s_ns", atl_ops->exit_names[i]);
		describe(to + size * n++, name, KVM_STATS_TYPE_LOG_HIST,
			 offsetof(struct atl_vcpu_stats, exit_ns[i]));
	}
	return n;
}

static ssize_t stats_read(struct file *file, char __user *to, size_t size, loff_t *pos)
{
	const struct stats_file *f = file->private_data;
	ssize_t n = 0, m;
	loff_t at;

	if (*pos < f->head_size) {
		n = simple_read_from_buffer(to, size, pos, f->head, f->head_size);
		if (n < 0 || n == size)
			return n;
	}
	at = *pos - f->head_size;
	m = simple_read_from_buffer(to + n, size - n, &at, f->values, f->values_size);
	if (m < 0)
		return n ? n : m;
	*pos += m;
	return n + m;
}

static int stats_release(struct inode *inode, struct file *file)
{
	struct stats_file *f = file->private_data;
	struct atl_vm *vm = f->vm;

	kvfree(f);
	atl_vm_put(vm);
	return 0;
}

static const struct file_operations stats_fops = {
	.owner = THIS_MODULE,
	.read = stats_read,
	.release = stats_release,
	.llseek = noop_llseek,
};

int atl_stats_fd(struct atl_vm *vm, struct atl_vcpu *v)
{
	const u32 desc = sizeof(struct kvm_stats_desc) + KVM_STATS_NAME_SIZE;
	const u32 most = ARRAY_SIZE(vcpu_counters) + 2 * ATL_MAX_EXITS;
	struct kvm_stats_header *h;
	struct stats_file *f;
	struct file *file;
	int fd;

	f = kvzalloc(sizeof(*f) + sizeof(*h) + KVM_STATS_NAME_SIZE + most * desc,
		     GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	h = (struct kvm_stats_header *)f->head;
	h->name_size = KVM_STATS_NAME_SIZE;
	h->id_offset = sizeof(*h);
	h->desc_offset = h->id_offset + KVM_STATS_NAME_SIZE;
	h->num_desc = describe_all(f->head + h->desc_offset, v);
	h->data_offset = h->desc_offset + h->num_desc * desc;
	f->head_size = h->data_offset;
	if (v)
		snprintf(f->head + h->id_offset, KVM_STATS_NAME_SIZE, "kvm-%d/vcpu-%u", vm->id,
			 v->id);
	else
		snprintf(f->head + h->id_offset, KVM_STATS_NAME_SIZE, "kvm-%d", vm->id);
	f->values = v ? (void *)&v->stats : (void *)&vm->stats;
	f->values_size = v ? sizeof(v->stats) : sizeof(vm->stats);
	f->vm = vm;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free;
	file = anon_inode_getfile("atoll-stats", &stats_fops, f, O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free;
	}
	file->f_mode |= FMODE_PREAD;
	refcount_inc(&vm->refs);
	fd_install(fd, file);
	return fd;
free:
	kvfree(f);
	return fd;
}

static u64 sum_vcpus(struct atl_vm *vm, u32 offset)
{
	const unsigned int n = atl_nr_vcpus(vm);
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < n; i++)
		sum += READ_ONCE(*(u64 *)((void *)&vm->vcpus[i]->stats + offset));
	return sum;
}

static u64 value_of(struct atl_vm *vm, const struct counter *c, bool vcpu)
{
	return vcpu ? sum_vcpus(vm, c->offset) :
		      READ_ONCE(*(u64 *)((void *)&vm->stats + c->offset));
}

/* The file's name is the counter's; its data is the VM, or NULL for all. */
static int counter_show(struct seq_file *m, void *unused)
{
	const char *name = m->file->f_path.dentry->d_name.name;
	const struct counter *c = NULL;
	struct atl_vm *vm = m->private;
	bool vcpu = false;
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < ARRAY_SIZE(vm_counters); i++)
		if (!strcmp(name, vm_counters[i].name))
			c = &vm_counters[i];
	for (i = 0; i < ARRAY_SIZE(vcpu_counters); i++) {
		if (!strcmp(name, vcpu_counters[i].name)) {
			c = &vcpu_counters[i];
			vcpu = true;
		}
	}
	if (!c)
		return -EIO;
	if (vm) {
		sum = value_of(vm, c, vcpu);
	} else {
		mutex_lock(&atl_hw_lock);
		list_for_each_entry(vm, &atl_vms, list)
			sum += value_of(vm, c, vcpu);
		mutex_unlock(&atl_hw_lock);
	}
	seq_printf(m, "%llu\n", sum);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counter);

static int reasons_show(struct seq_file *m, void *unused)
{
	struct atl_vm *vm = m->private;
	unsigned int i;

	for (i = 0; i < ATL_MAX_EXITS; i++)
		if (atl_ops->exit_names[i])
			seq_printf(m, "%s %llu\n", atl_ops->exit_names[i],
				   sum_vcpus(vm, offsetof(struct atl_vcpu_stats, exit_count[i])));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(reasons);

static void create_files(struct dentry *dir, struct atl_vm *vm)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vm_counters); i++)
		debugfs_create_file(vm_counters[i].name, 0444, dir, vm, &counter_fops);
	for (i = 0; i < ARRAY_SIZE(vcpu_counters); i++)
		debugfs_create_file(vcpu_counters[i].name, 0444, dir, vm, &counter_fops);
}

void atl_stats_add_vm(struct atl_vm *vm, int fd)
{
	struct dentry *old;
	char name[24];

	vm->id = task_pid_nr(current);
	snprintf(name, sizeof(name), "%d-%d", vm->id, fd);
	/* A VM whose fd had this number may live on by its vCPUs: the name is its. */
	old = debugfs_lookup(name, debugfs);
	if (old) {
		dput(old);
		return;
	}
	vm->debugfs = debugfs_create_dir(name, debugfs);
	create_files(vm->debugfs, vm);
	debugfs_create_file("exit_reasons", 0444, vm->debugfs, vm, &reasons_fops);
}

/* Waits for who reads. */
void atl_stats_drop_vm(struct atl_vm *vm)
{
	debugfs_remove(vm->debugfs);
}

void atl_stats_init(void)
{
	debugfs = debugfs_create_dir("atoll", NULL);
	create_files(debugfs, NULL);
}

void atl_stats_exit(void)
{
	debugfs_remove(debugfs);
}
