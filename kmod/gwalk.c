// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's own page tables, walked for the emulator: none, 32-bit, PAE, four
 * and five levels, with the permissions, the accessed and the dirty bit, as the
 * processor does. AMD64 Architecture Programmer's Manual, volume 2, chapter 5.
 */
#include <linux/uaccess.h>
#include <asm/msr-index.h>
#include <asm/pgtable_types.h>
#include <asm/processor-flags.h>

#include "atoll.h"

#define PF_PRESENT	1
#define PF_WRITE	2
#define PF_USER		4
#define PF_RESERVED	8
#define PF_FETCH	16

struct walk {
	u32 access;
	u64 gva, cr2;
	struct atl_event *fault;
};

static int page_fault(struct walk *w, u32 error)
{
	if (w->access & ATL_ACC_WRITE)
		error |= PF_WRITE;
	if (w->access & ATL_ACC_USER)
		error |= PF_USER;
	if (w->access & ATL_ACC_FETCH)
		error |= PF_FETCH;
	*w->fault = (struct atl_event) { .vector = 14, .has_error = true, .error = error };
	w->cr2 = w->gva;
	return ATL_EMUL_FAULT;
}

/*
 * Sets bits of an entry unless it has changed meanwhile: then the walk starts
 * again. 0, 1: again, or -EFAULT.
 */
static int set_bits(struct atl_vm *vm, u64 gpa, u64 old, u64 bits, unsigned int size)
{
	struct atl_slot *s;
	int r = -EFAULT;

	down_read(&vm->slots_sem);
	s = atl_slot_find(vm, gpa >> PAGE_SHIFT);
	if (s && !(s->flags & KVM_MEM_READONLY)) {
		void __user *at = (void __user *)(s->hva + (gpa - (s->gfn << PAGE_SHIFT)));
		u64 seen = old;
		u32 seen32 = old;

		if (!user_access_begin(at, size))
			goto out;
		if (size == 8)
			r = !unsafe_try_cmpxchg_user((u64 __user *)at, &seen, old | bits, failed);
		else
			r = !unsafe_try_cmpxchg_user((u32 __user *)at, &seen32, (u32)(old | bits),
						     failed);
		user_access_end();
		if (s->dirty)
			set_bit((gpa >> PAGE_SHIFT) - s->gfn, s->dirty);
		goto out;
failed:
		user_access_end();
		r = -EFAULT;
	}
out:
	up_read(&vm->slots_sem);
	return r;
}

static bool allowed(struct atl_vcpu *v, const struct walk *w, bool user, bool writable, bool nx)
{
	const bool from_user = w->access & ATL_ACC_USER;

	if (from_user && !user)
		return false;
	if ((w->access & ATL_ACC_WRITE) && !writable && (from_user || (v->cr0 & X86_CR0_WP)))
		return false;
	if ((w->access & ATL_ACC_FETCH) && (nx || (!from_user && user && (v->cr4 & X86_CR4_SMEP))))
		return false;
	return !(user && !from_user && (v->cr4 & X86_CR4_SMAP) && !(w->access & ATL_ACC_FETCH) &&
		 !(v->rflags & X86_EFLAGS_AC));
}

/* ATL_EMUL_OK, ATL_EMUL_FAULT, or -EAGAIN when a table changed under the walk. */
static int walk_tables(struct atl_vcpu *v, struct walk *w, u64 *gpa)
{
	const bool longmode = atl_long_mode(v), pae = v->cr4 & X86_CR4_PAE;
	const bool nxe = (v->efer & EFER_NX) && pae;
	const unsigned int size = pae ? 8 : 4, bits = pae ? 9 : 10;
	unsigned int level = longmode ? (v->cr4 & X86_CR4_LA57 ? 5 : 4) : pae ? 3 : 2;
	u64 table = longmode ? v->cr3 & GENMASK_ULL(51, 12) :
		    pae ? v->cr3 & 0xffffffe0 : v->cr3 & 0xfffff000;
	bool user = true, writable = true, nx = false;

	for (;; level--) {
		const unsigned int shift = 12 + bits * (level - 1);
		const unsigned int index = w->gva >> shift & ((1u << bits) - 1);
		/* Of PAE's four uppermost entries no bit but P means anything. */
		const bool pdpte = pae && !longmode && level == 3;
		const u64 at = table + (pdpte ? index & 3 : index) * size;
		u64 entry = 0, set = _PAGE_ACCESSED;
		bool leaf;
		int r;

		if (atl_gpa_read(v->vm, at, &entry, size))
			return page_fault(w, PF_PRESENT | PF_RESERVED);
		if (!(entry & _PAGE_PRESENT))
			return page_fault(w, 0);
		if (pae && (entry & GENMASK_ULL(51, 0)) >> v->phys_bits)
			return page_fault(w, PF_PRESENT | PF_RESERVED);
		if ((entry & _PAGE_NX) && pae && !nxe)
			return page_fault(w, PF_PRESENT | PF_RESERVED);
		if (pdpte) {
			table = entry & GENMASK_ULL(51, 12);
			continue;
		}
		user &= !!(entry & _PAGE_USER);
		writable &= !!(entry & _PAGE_RW);
		nx |= nxe && (entry & _PAGE_NX);
		leaf = level == 1 || ((entry & _PAGE_PSE) && level <= 3 &&
				      (pae || (v->cr4 & X86_CR4_PSE)));
		if (leaf && !allowed(v, w, user, writable, nx))
			return page_fault(w, PF_PRESENT);
		if (leaf && (w->access & ATL_ACC_WRITE))
			set |= _PAGE_DIRTY;
		if ((entry & set) != set) {
			r = set_bits(v->vm, at, entry, set, size);
			if (r > 0)
				return -EAGAIN;
			/* Tables in read-only memory stay as they are. */
		}
		if (leaf) {
			u64 base = entry & GENMASK_ULL(51, 12);

			if (!pae && level == 2)		/* PSE-36 */
				base = (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
			*gpa = (base & ~((1ULL << shift) - 1)) | (w->gva & ((1ULL << shift) - 1));
			return ATL_EMUL_OK;
		}
		table = entry & GENMASK_ULL(51, 12);
	}
}

static bool canonical(struct atl_vcpu *v, u64 gva)
{
	const unsigned int shift = v->cr4 & X86_CR4_LA57 ? 7 : 16;

	return (u64)((s64)(gva << shift) >> shift) == gva;
}

int atl_gva_to_gpa(struct atl_vcpu *v, u64 gva, u32 access, u64 *gpa, struct atl_event *fault,
		   u64 *cr2)
{
	struct walk w = { .access = access, .gva = gva, .fault = fault };
	int r, tries;

	if (!(v->cr0 & X86_CR0_PG)) {
		*gpa = (u32)gva;
		return ATL_EMUL_OK;
	}
	if (atl_long_mode(v) && !canonical(v, gva)) {
		*fault = (struct atl_event) { .vector = 13, .has_error = true };
		*cr2 = v->cr2;
		return ATL_EMUL_FAULT;
	}
	/* Another vCPU that changes the entry for ever must not hold us. */
	for (tries = 0; tries < 8; tries++) {
		r = walk_tables(v, &w, gpa);
		if (r != -EAGAIN)
			break;
	}
	if (r == -EAGAIN)
		r = page_fault(&w, 0);
	*cr2 = w.cr2;
	return r;
}

/* Code. How many bytes there are; 0 with an exception queued. */
int atl_fetch(struct atl_vcpu *v, u64 linear, u8 *data, unsigned int len)
{
	const u32 access = ATL_ACC_FETCH | (atl_ops->cpl(v) == 3 ? ATL_ACC_USER : 0);
	unsigned int done = 0;

	while (done < len) {
		const unsigned int n = min_t(unsigned int, len - done,
					     PAGE_SIZE - offset_in_page(linear + done));
		struct atl_event fault;
		u64 gpa, cr2;

		if (atl_gva_to_gpa(v, linear + done, access, &gpa, &fault, &cr2)) {
			if (!done) {
				v->cr2 = cr2;
				atl_queue_exception(v, fault.vector, true, fault.error);
			}
			break;
		}
		if (atl_gpa_read(v->vm, gpa, data + done, n))
			break;
		done += n;
	}
	return done;
}
