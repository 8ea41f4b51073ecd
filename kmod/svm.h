/* SPDX-License-Identifier: GPL-2.0-only */
/* What svm.c and svm_exit.c share. */
#ifndef ATOLL_SVM_H
#define ATOLL_SVM_H

#include <asm/svm.h>

#include "atoll.h"

struct atl_svm {
	struct vmcb *vmcb;
	u64 vmcb_pa;
	u64 asid_generation;	/* (p) of which processor's counter: v->cpu's */
	int asid_cpu;
};

static inline struct vmcb *atl_vmcb(struct atl_vcpu *v)
{
	return ((struct atl_svm *)v->hw)->vmcb;
}

static inline void atl_svm_intercept(struct vmcb *c, unsigned int bit, bool on)
{
	if (on)
		c->control.intercepts[bit / 32] |= BIT(bit % 32);
	else
		c->control.intercepts[bit / 32] &= ~BIT(bit % 32);
}

extern const char *atl_svm_exit_names[ATL_MAX_EXITS];	/* NULL: no such reason */
int atl_svm_handle_exit(struct atl_vcpu *v);
int atl_svm_next_rip(struct atl_vcpu *v, u64 *next);
void atl_svm_init_exits(void);

/* svm_enter.S */
void atl_svm_switch(u64 vmcb_pa, u64 *reg, u64 host_pa);

#endif
