// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory: nested page tables that follow the VMM's address space.
 *
 * Theory of operation
 *
 * The guest's physical addresses are those of the memory slots, and a slot is
 * a range of the VMM's virtual addresses. The processor translates through one
 * nested page table per VM, which starts empty. An access that finds no entry,
 * or one that forbids it, exits; atl_mmu_fault() looks the slot up, asks the
 * host for the page behind its address (get_user_pages, which may sleep, swap
 * in, break a copy-on-write), and installs an entry. No slot, or a write to a
 * read-only one: a device's, and the instruction is emulated.
 *
 * The page is not pinned. The host may swap it out, migrate or merge it as it
 * likes, because it tells the mmu notifiers first:
 *
 *	host, any context			vCPU in atl_mmu_fault()
 *	invalidate_range_start:			seq = inval_seq
 *	    (m) inval_count++, entries cleared	page = get_user_pages()
 *	    flush				(m) inval_count or seq moved? again
 *	... changes its own tables ...		    else: entry installed
 *	invalidate_range_end:
 *	    (m) inval_seq++, inval_count--
 *
 * A page looked up before an invalidation is therefore never installed after
 * it, and what was installed before it is cleared by it.
 *
 * Flushes. tlb_gen is raised after entries went. A vCPU compares it with what
 * its TLB saw, at each entry, after it has said that it is in the guest; who
 * flushes raises it first and then interrupts the processors whose vCPU is in
 * the guest. One of both sees the other. Pages of tables are freed only after
 * such a flush.
 *
 * Tables grow with faults and shrink as a whole: a slot that goes or moves
 * takes the entire table with it (atl_mmu_zap_all), which is rare; what the
 * notifiers and the dirty log do clears leaves and keeps the tables. So a VM's
 * tables are bounded by its memory, and they are charged to the VMM's cgroup.
 *
 * Large pages: 2 MiB, where the host maps the same 2 MiB by one entry, the slot
 * contains them and does not log writes. A table that is there already gives way
 * when nothing is left in it, which is so after the host has collapsed its pages.
 *
 * Dirty log: pages of a logging slot are mapped writable by write faults only,
 * and these set the bit; reading the log takes the permission away again.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "atoll.h"
#include "trace.h"

#define ENTRIES		512
#define ADDRESS_MASK	GENMASK_ULL(51, 12)
#define LARGE_PAGES	512

static unsigned int index_of(gfn_t gfn, unsigned int level)
{
	return gfn >> (9 * (level - 1)) & (ENTRIES - 1);
}

static bool is_leaf(u64 entry, unsigned int level)
{
	return level == 1 || (entry & atl_ops->pte_large);
}

static u64 *table_of(u64 entry)
{
	return __va(entry & ADDRESS_MASK);
}

int atl_mmu_init(struct atl_vm *vm)
{
	/* With SVM the processor walks as many levels as the host uses itself. */
	vm->levels = atl_ops->host_levels && pgtable_l5_enabled() ? 5 : 4;
	vm->root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return vm->root ? 0 : -ENOMEM;
}

/* `level` is that of the table's entries. Nobody walks it any more. */
static void free_table(u64 *table, unsigned int level)
{
	unsigned int i;

	if (level > 1) {
		for (i = 0; i < ENTRIES; i++) {
			if ((table[i] & atl_ops->pte_present) && !is_leaf(table[i], level))
				free_table(table_of(table[i]), level - 1);
		}
		cond_resched();
	}
	free_page((unsigned long)table);
}

void atl_mmu_free(struct atl_vm *vm)
{
	if (vm->root)
		free_table(vm->root, vm->levels);
	vm->root = NULL;
}

static void acknowledge(void *unused)
{
}

void atl_mmu_flush(struct atl_vm *vm)
{
	cpumask_var_t mask;
	bool some = false, all;
	unsigned int i, n = atl_nr_vcpus(vm);

	atomic64_inc(&vm->tlb_gen);
	smp_mb__after_atomic();		/* pairs with that of enter() in run.c */
	all = !zalloc_cpumask_var(&mask, GFP_ATOMIC);
	preempt_disable();
	for (i = 0; i < n; i++) {
		struct atl_vcpu *v = vm->vcpus[i];
		const int cpu = READ_ONCE(v->cpu);

		if (READ_ONCE(v->mode) != ATL_IN_GUEST || cpu < 0)
			continue;
		some = true;
		if (!all)
			cpumask_set_cpu(cpu, mask);
	}
	/* The interrupt itself is what brings them out. */
	if (some) {
		vm->stats.remote_tlb_flush++;
		smp_call_function_many(all ? cpu_online_mask : mask, acknowledge, NULL, 1);
	}
	preempt_enable();
	if (!all)
		free_cpumask_var(mask);
}

void atl_mmu_zap_all(struct atl_vm *vm)
{
	u64 *old = (u64 *)__get_free_page(GFP_KERNEL | __GFP_NOFAIL);

	spin_lock(&vm->mmu_lock);
	memcpy(old, vm->root, PAGE_SIZE);
	memset(vm->root, 0, PAGE_SIZE);
	vm->nr_tables = 0;
	vm->stats.largepages = 0;
	vm->stats.mmu_shadow_zapped++;
	/* A fault that looked at the old slots starts again. */
	vm->inval_seq++;
	spin_unlock(&vm->mmu_lock);
	atl_mmu_flush(vm);
	free_table(old, vm->levels);
}

enum change { CLEAR, PROTECT, AGE, TEST };

static bool change_leaf(struct atl_vm *vm, u64 *entry, unsigned int level, enum change what)
{
	const u64 old = READ_ONCE(*entry), accessed = atl_ops->pte_accessed;

	switch (what) {
	case CLEAR:
		WRITE_ONCE(*entry, 0);
		if (level == 2)
			vm->stats.largepages--;
		return true;
	case PROTECT:
		if (!(old & atl_ops->pte_write))
			return false;
		/* The processor may set A or D meanwhile. */
		atomic64_andnot(atl_ops->pte_write, (atomic64_t *)entry);
		return true;
	case AGE:
		if (old & accessed)
			atomic64_andnot(accessed, (atomic64_t *)entry);
		return old & accessed;
	default:
		return old & accessed;
	}
}

/* Of the leaves in [gfn, end); (m). True if one changed, or is accessed. */
static bool change_range(struct atl_vm *vm, u64 *table, unsigned int level, gfn_t gfn, gfn_t end,
			 enum change what)
{
	const unsigned long pages = 1UL << (9 * (level - 1));
	bool any = false;

	while (gfn < end) {
		const gfn_t next = min_t(gfn_t, (gfn | (pages - 1)) + 1, end);
		u64 *entry = &table[index_of(gfn, level)];

		if (*entry & atl_ops->pte_present) {
			if (is_leaf(*entry, level))
				any |= change_leaf(vm, entry, level, what);
			else
				any |= change_range(vm, table_of(*entry), level - 1, gfn, next,
						    what);
		}
		gfn = next;
	}
	return any;
}

void atl_mmu_write_protect(struct atl_vm *vm, gfn_t gfn, unsigned long npages)
{
	lockdep_assert_held(&vm->mmu_lock);
	change_range(vm, vm->root, vm->levels, gfn, gfn + npages, PROTECT);
}

/* Of host addresses; (m). */
static bool change_addresses(struct atl_vm *vm, unsigned long start, unsigned long end,
			     enum change what)
{
	unsigned int i;
	bool any = false;

	for (i = 0; i < vm->nr_slots; i++) {
		const struct atl_slot *s = &vm->slots[i];
		const unsigned long from = max(start, s->hva);
		const unsigned long to = min(end, s->hva + (s->npages << PAGE_SHIFT));

		if (from < to)
			any |= change_range(vm, vm->root, vm->levels,
					    s->gfn + ((from - s->hva) >> PAGE_SHIFT),
					    s->gfn + ((to - s->hva + PAGE_SIZE - 1) >> PAGE_SHIFT),
					    what);
	}
	return any;
}

static struct atl_vm *vm_of(struct mmu_notifier *n)
{
	return container_of(n, struct atl_vm, notifier);
}

static int invalidate_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct atl_vm *vm = vm_of(n);
	bool any;

	spin_lock(&vm->mmu_lock);
	vm->inval_count++;
	any = change_addresses(vm, range->start, range->end, CLEAR);
	spin_unlock(&vm->mmu_lock);
	if (any)
		atl_mmu_flush(vm);
	return 0;
}

static void invalidate_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct atl_vm *vm = vm_of(n);

	spin_lock(&vm->mmu_lock);
	vm->inval_seq++;
	vm->inval_count--;
	spin_unlock(&vm->mmu_lock);
}

static int young(struct mmu_notifier *n, unsigned long start, unsigned long end, enum change what)
{
	struct atl_vm *vm = vm_of(n);
	bool any;

	spin_lock(&vm->mmu_lock);
	any = change_addresses(vm, start, end, what);
	spin_unlock(&vm->mmu_lock);
	return any;
}

static int clear_flush_young(struct mmu_notifier *n, struct mm_struct *mm, unsigned long start,
			     unsigned long end)
{
	const int any = young(n, start, end, AGE);

	if (any)
		atl_mmu_flush(vm_of(n));
	return any;
}

/* A stale TLB entry only makes a page look older than it is. */
static int clear_young(struct mmu_notifier *n, struct mm_struct *mm, unsigned long start,
		       unsigned long end)
{
	return young(n, start, end, AGE);
}

static int test_young(struct mmu_notifier *n, struct mm_struct *mm, unsigned long address)
{
	return young(n, address, address + 1, TEST);
}

/* The address space ends while fds of the VM live on elsewhere. */
static void release(struct mmu_notifier *n, struct mm_struct *mm)
{
	struct atl_vm *vm = vm_of(n);

	WRITE_ONCE(vm->dead, true);
	atl_mmu_zap_all(vm);
}

const struct mmu_notifier_ops atl_mmu_notifier_ops = {
	.invalidate_range_start = invalidate_start,
	.invalidate_range_end = invalidate_end,
	.clear_flush_young = clear_flush_young,
	.clear_young = clear_young,
	.test_young = test_young,
	.release = release,
};

void atl_mmu_drop_cache(struct atl_vcpu *v)
{
	while (v->nr_cache)
		free_page((unsigned long)v->cache[--v->nr_cache]);
}

static int fill_cache(struct atl_vcpu *v)
{
	while (v->nr_cache < ARRAY_SIZE(v->cache)) {
		u64 *page = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

		if (!page)
			return -ENOMEM;
		v->cache[v->nr_cache++] = page;
	}
	return 0;
}

/*
 * Whether the host maps the 2 MiB around `hva` by one entry. Interrupts are
 * off: who frees host page tables waits for this processor. (m) is held and no
 * invalidation is under way: what is seen stays until it is installed.
 */
static bool host_maps_large(struct mm_struct *mm, unsigned long hva)
{
	unsigned long flags;
	bool large = false;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(mm, hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	large = pud_large(pud);
	if (large)
		goto out;
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	large = pmd_present(pmd) && pmd_large(pmd);
out:
	local_irq_restore(flags);
	return large;
}

static bool may_be_large(struct atl_vm *vm, const struct atl_slot *s, gfn_t gfn,
			 unsigned long hva)
{
	const gfn_t first = gfn & ~(gfn_t)(LARGE_PAGES - 1);

	return !s->dirty && first >= s->gfn && first + LARGE_PAGES <= s->gfn + s->npages &&
	       !(((hva >> PAGE_SHIFT) ^ gfn) & (LARGE_PAGES - 1)) && host_maps_large(vm->mm, hva);
}

static bool is_empty(const u64 *table)
{
	return !memchr_inv(table, 0, PAGE_SIZE);
}

/*
 * (m) is held, and the cache has a page for each level. Returns a table that is
 * to be freed after a flush, or NULL.
 */
static u64 *install(struct atl_vcpu *v, struct atl_slot *s, gfn_t gfn, unsigned long hva,
		    kvm_pfn_t pfn, bool writable)
{
	struct atl_vm *vm = v->vm;
	unsigned int level, target = may_be_large(vm, s, gfn, hva) ? 2 : 1;
	u64 *entry, *table = vm->root, *unused = NULL, value;

	for (level = vm->levels; ; level--) {
		entry = &table[index_of(gfn, level)];
		if (level == 2 && target == 2 && (*entry & atl_ops->pte_present) &&
		    !is_leaf(*entry, 2)) {
			if (is_empty(table_of(*entry))) {
				unused = table_of(*entry);
				vm->nr_tables--;
				WRITE_ONCE(*entry, 0);
			} else {
				target = 1;
			}
		}
		if (level == target)
			break;
		if ((*entry & atl_ops->pte_present) && is_leaf(*entry, level)) {
			/* The host has split what was large; the notifier cleared it. */
			WRITE_ONCE(*entry, 0);
			vm->stats.largepages--;
			atomic64_inc(&vm->tlb_gen);
		}
		if (!(*entry & atl_ops->pte_present)) {
			u64 *new = v->cache[--v->nr_cache];

			vm->nr_tables++;
			vm->stats.mmu_cache_miss++;
			WRITE_ONCE(*entry, __pa(new) | atl_ops->pte_present | atl_ops->pte_write |
						   atl_ops->pte_accessed);
		}
		table = table_of(*entry);
	}
	if (level == 2)
		pfn &= ~(kvm_pfn_t)(LARGE_PAGES - 1);
	value = (u64)pfn << PAGE_SHIFT | atl_ops->pte_present | atl_ops->pte_leaf |
		atl_ops->pte_accessed | (writable ? atl_ops->pte_write : 0) |
		(level == 2 ? atl_ops->pte_large : 0);
	if (level == 2 && !(*entry & atl_ops->pte_present))
		vm->stats.largepages++;
	WRITE_ONCE(*entry, value);
	v->stats.pf_fixed++;
	return unused;
}

static int get_page_of(unsigned long hva, bool write, bool may_write, struct page **page,
		       bool *writable)
{
	long n;

	*writable = may_write;
	/* A page that is writable already costs no second fault later. */
	if (may_write && get_user_page_fast_only(hva, FOLL_WRITE, page))
		return 0;
	*writable = write;
	n = get_user_pages_unlocked(hva, 1, page, (write ? FOLL_WRITE : 0) | FOLL_HWPOISON);
	return n == 1 ? 0 : n < 0 ? n : -EFAULT;
}

int atl_mmu_fault(struct atl_vcpu *v, u64 gpa, bool write)
{
	struct atl_vm *vm = v->vm;
	const gfn_t gfn = gpa >> PAGE_SHIFT;
	struct atl_slot *s;
	struct page *page;
	unsigned long hva, seq;
	u64 *unused = NULL;
	bool writable, read_only;
	int r;

	/* What the tables do not reach, no slot is mapped at. */
	if (gfn >> (9 * vm->levels))
		return -ENOENT;
	r = fill_cache(v);
	if (r)
		return r;
	down_read(&vm->slots_sem);
	s = atl_slot_find(vm, gfn);
	read_only = s && (s->flags & KVM_MEM_READONLY);
	if (!s || (write && read_only)) {
		r = -ENOENT;
		goto out;
	}
	hva = s->hva + ((gfn - s->gfn) << PAGE_SHIFT);
	seq = READ_ONCE(vm->inval_seq);
	smp_rmb();	/* the sequence before the page */
	r = get_page_of(hva, write, !read_only && (write || !s->dirty), &page, &writable);
	if (r == -EINTR || r == -EAGAIN) {
		r = ATL_RESUME;		/* the signal is seen before the next entry */
		goto out;
	}
	if (r)
		goto out;
	r = ATL_RESUME;
	spin_lock(&vm->mmu_lock);
	if (!vm->inval_count && vm->inval_seq == seq && !vm->dead) {
		unused = install(v, s, gfn, hva, page_to_pfn(page), writable);
		if (writable)
			SetPageDirty(page);
		if (write && s->dirty)
			set_bit(gfn - s->gfn, s->dirty);
	}
	spin_unlock(&vm->mmu_lock);
	put_page(page);
	if (unused) {
		atl_mmu_flush(vm);
		free_page((unsigned long)unused);
	}
out:
	up_read(&vm->slots_sem);
	trace_atoll_page_fault(v->id, gpa, write, r);
	return r;
}
