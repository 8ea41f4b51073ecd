/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters. Their names and order stand here alone: the structures, the stats
 * fds and the files of debugfs are made from these lists. The classic 32 are
 * what hypervisors for this processor counted from the first; those that only
 * shadow paging counts stay zero.
 */
#ifndef ATOLL_STATS_H
#define ATOLL_STATS_H

#include <linux/types.h>

#define ATL_VCPU_STATS(X)						\
	X(pf_fixed) X(pf_guest) X(tlb_flush) X(invlpg) X(exits)		\
	X(io_exits) X(mmio_exits) X(signal_exits) X(irq_window)		\
	X(nmi_window) X(halt_exits) X(halt_wakeup) X(request_irq)	\
	X(irq_exits) X(host_state_reload) X(efer_reload) X(fpu_reload)	\
	X(insn_emulation) X(insn_emulation_fail) X(hypercalls)		\
	X(irq_injections) X(nmi_injections)

#define ATL_VM_STATS(X)							\
	X(mmu_shadow_zapped) X(mmu_pte_write) X(mmu_pte_updated)	\
	X(mmu_pde_zapped) X(mmu_flooded) X(mmu_recycled)		\
	X(mmu_cache_miss) X(mmu_unsync) X(remote_tlb_flush) X(largepages)

/* Hardware exit reasons that are counted apart, and powers of two of ns. */
#define ATL_MAX_EXITS	64
#define ATL_BUCKETS	32

#define ATL_FIELD(name) u64 name;

struct atl_vcpu_stats {
	ATL_VCPU_STATS(ATL_FIELD)
	u64 exit_count[ATL_MAX_EXITS];
	/* From an exit to the next entry, or to user space. */
	u64 exit_ns[ATL_MAX_EXITS][ATL_BUCKETS];
};

struct atl_vm_stats {
	ATL_VM_STATS(ATL_FIELD)
};

#undef ATL_FIELD

#endif
