/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupt controllers in the kernel: what their files share. How they work
 * together stands at the head of irq.c.
 */
#ifndef ATOLL_IRQ_H
#define ATOLL_IRQ_H

#include <linux/hrtimer.h>
#include <linux/kvm.h>
#include <linux/types.h>
#include <asm/apicdef.h>

struct atl_vm;
struct atl_vcpu;

#define ATL_MAX_ROUTES		4096
#define ATL_IOAPIC_BASE		0xfec00000
#define ATL_NO_GSI		0xffff

/* Who holds a line up; it is high while anybody does. A pin has a bit for each. */
enum { ATL_FROM_USER = BIT(0), ATL_FROM_RESAMPLE = BIT(1), ATL_FROM_PIT = BIT(2) };

/*
 * A message on the bus of the local APICs: from an IOAPIC, as an MSI, or an
 * IPI. The modes are those of the ICR, shifted down.
 */
struct atl_message {
	u32 dest;
	bool logical;
	bool wide;		/* dest has 32 bits: 0xff is no broadcast */
	u8 mode;
	u8 vector;
	bool level;
};

enum {
	MODE_FIXED, MODE_LOWEST, MODE_SMI, MODE_REMOTE, MODE_NMI, MODE_INIT, MODE_SIPI,
	MODE_EXTINT,
};

/* All of it is (i) but for what is (c). */
struct atl_lapic {
	struct atl_vcpu *v;	/* (c) */
	u32 reg[64];		/* the page's registers, 16 bytes apart there */
	u32 errors;		/* for ESR, when it is written */
	struct hrtimer timer;
	bool armed;
	ktime_t expires;	/* of the timer, when armed */
	u64 period;		/* ns; 0: once */
	u64 deadline;		/* the guest's TSC; 0: none */
	bool init, sipi;	/* received, not acted upon */
	u8 sipi_vector;
	u8 nmi;
};

struct atl_route {
	u16 gsi;
	u8 chip;		/* KVM_IRQCHIP_*; ATL_MSI */
	u8 pin;
	struct atl_message msi;
};

enum { ATL_MSI = KVM_NR_IRQCHIPS };

struct atl_routes {
	u32 nr;
	u16 gsi_of[KVM_NR_IRQCHIPS][KVM_IOAPIC_NUM_PINS];
	struct atl_route route[];	/* sorted by gsi */
};

struct atl_pit {
	struct kvm_pit_state2 state;	/* (i), as the rest */
	struct atl_vm *vm;		/* (c) */
	struct hrtimer timer;
	bool armed;
	bool speaker;			/* (c) port 0x61 is here too */
	bool reinject;			/* ticks that come too early wait */
	bool waiting;			/* for the acknowledgment of a tick */
	u32 late;			/* ticks that wait */
	ktime_t expires;
	u64 period;			/* ns; 0: once */
};

/* The VM's controllers; all of it is (i) but for what is (c). */
struct atl_irq {
	bool split;			/* (c) only the local APICs are here */
	u32 split_pins;			/* (c) of user space's IOAPIC */
	bool wide_ids;			/* KVM_CAP_X2APIC_API */
	bool no_quirk;
	struct kvm_pic_state pic[2];
	u8 pic_level[16];		/* ATL_FROM_* */
	bool pic_output;
	struct kvm_ioapic_state ioapic;
	u8 ioapic_level[KVM_IOAPIC_NUM_PINS];
	struct atl_pit *pit;
	struct atl_routes *routes;
	unsigned int next;		/* where the search for lowest priority begins */
	unsigned int nr_resample;	/* irqfds that want to know of the end */
	bool acked_any;
	DECLARE_BITMAP(resample, ATL_MAX_ROUTES);
	DECLARE_BITMAP(acked, ATL_MAX_ROUTES);
};

/*
 * The functions below are called with (i) unless something else is said. A
 * delivery gives how many took it, 0 where it merged with one that waits, and
 * less than 0 where nobody is asked or it is masked.
 */

/* irq.c */
int atl_irq_set_gsi(struct atl_vm *vm, u32 gsi, u8 from, bool level);
int atl_irq_send(struct atl_vm *vm, const struct atl_message *m);
void atl_irq_acked(struct atl_vm *vm, unsigned int chip, unsigned int pin);
void atl_irq_from_msi(struct atl_vm *vm, u64 address, u32 data, struct atl_message *m);

/* lapic.c */
int atl_lapic_create(struct atl_vcpu *v);			/* without (i) */
void atl_lapic_free(struct atl_vcpu *v);			/* without (i) */
void atl_lapic_reset(struct atl_vcpu *v, bool init);		/* without (i) */
int atl_lapic_accept(struct atl_vcpu *v, const struct atl_message *m);
bool atl_lapic_match(struct atl_vcpu *v, const struct atl_message *m, bool quirk);
bool atl_lapic_enabled(struct atl_vcpu *v);
bool atl_lapic_takes_pic(struct atl_vcpu *v);
int atl_lapic_vector(struct atl_vcpu *v);			/* -1: none that may be taken */
void atl_lapic_take(struct atl_vcpu *v, u8 vector);
u8 atl_lapic_priority(struct atl_vcpu *v);
u32 atl_lapic_read(struct atl_vcpu *v, unsigned int reg);
void atl_lapic_write(struct atl_vcpu *v, unsigned int reg, u32 value);

/* ioapic.c, pic.c, pit.c */
void atl_ioapic_reset(struct atl_irq *irq);
int atl_ioapic_set(struct atl_vm *vm, unsigned int pin, u8 from, bool level);
void atl_ioapic_eoi(struct atl_vm *vm, u8 vector);
u32 atl_ioapic_read(struct atl_vm *vm, unsigned int offset);
void atl_ioapic_write(struct atl_vm *vm, unsigned int offset, u32 value);
void atl_ioapic_load(struct atl_vm *vm, const struct kvm_ioapic_state *s);
void atl_pic_reset(struct atl_irq *irq);
int atl_pic_set(struct atl_vm *vm, unsigned int pin, u8 from, bool level);
u8 atl_pic_take(struct atl_vm *vm);
u8 atl_pic_read(struct atl_vm *vm, u16 port);
void atl_pic_write(struct atl_vm *vm, u16 port, u8 value);
void atl_pic_load(struct atl_vm *vm, unsigned int chip, const struct kvm_pic_state *s);
int atl_pit_create(struct atl_vm *vm, u32 flags);		/* without (i) */
void atl_pit_free(struct atl_vm *vm);				/* without (i) */
u8 atl_pit_read(struct atl_vm *vm, u16 port);
void atl_pit_write(struct atl_vm *vm, u16 port, u8 value);
void atl_pit_load(struct atl_vm *vm, const struct kvm_pit_state2 *s);
void atl_pit_acked(struct atl_vm *vm);
void atl_pit_unmasked(struct atl_vm *vm);

/* irqfd.c; without (i) */
int atl_irqfd(struct atl_vm *vm, void __user *arg);
void atl_irqfd_resample(struct atl_vm *vm);

#endif
