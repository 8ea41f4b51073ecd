// SPDX-License-Identifier: GPL-2.0-only
/*
 * The IOAPIC: 24 pins, each with an entry that says which message its interrupt
 * becomes. 82093AA datasheet. The state is KVM_GET_IRQCHIP's.
 *
 * A pin that is edge-triggered sends at the rising edge, or not at all when it is
 * masked then. One that is level-triggered sends, sets its remote IRR, and sends
 * again when the end of the interrupt comes while the line is still high.
 */
#include <linux/nospec.h>
#include <linux/string.h>

#include "atoll.h"

#define VERSION		(0x11 | (KVM_IOAPIC_NUM_PINS - 1) << 16)
#define ENTRY_STATUS	BIT_ULL(12)
#define ENTRY_REMOTE	BIT_ULL(14)
#define ENTRY_LEVEL	BIT_ULL(15)
#define ENTRY_MASKED	BIT_ULL(16)

enum { OFFSET_SELECT = 0, OFFSET_WINDOW = 0x10 };
enum { REG_ID, REG_VERSION, REG_ARBITRATION, REG_ENTRIES = 0x10 };

void atl_ioapic_reset(struct atl_irq *irq)
{
	struct kvm_ioapic_state *s = &irq->ioapic;
	unsigned int i;

	memset(s, 0, sizeof(*s));
	s->base_address = ATL_IOAPIC_BASE;
	for (i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		s->redirtbl[i].bits = ENTRY_MASKED;
}

static int send(struct atl_vm *vm, unsigned int pin)
{
	u64 *entry = &vm->irq->ioapic.redirtbl[pin].bits;
	const struct atl_message m = {
		.dest = *entry >> 56,
		.logical = *entry & BIT(11),
		.mode = *entry >> 8 & 7,
		.vector = *entry,
		.level = *entry & ENTRY_LEVEL,
	};
	int r;

	if (*entry & ENTRY_MASKED || (m.level && (*entry & ENTRY_REMOTE)))
		return -1;
	r = atl_irq_send(vm, &m);
	if (m.level && r > 0)
		*entry |= ENTRY_REMOTE;
	return r;
}

int atl_ioapic_set(struct atl_vm *vm, unsigned int pin, u8 from, bool level)
{
	struct atl_irq *irq = vm->irq;
	struct kvm_ioapic_state *s = &irq->ioapic;
	const u32 bit = BIT(pin);
	bool was_high;

	if (level)
		irq->ioapic_level[pin] |= from;
	else
		irq->ioapic_level[pin] &= ~from;
	was_high = s->irr & bit;
	if (!irq->ioapic_level[pin]) {
		s->irr &= ~bit;
		return 1;
	}
	s->irr |= bit;
	if (!(s->redirtbl[pin].bits & ENTRY_LEVEL) && was_high)
		return 0;
	return send(vm, pin);
}

void atl_ioapic_eoi(struct atl_vm *vm, u8 vector)
{
	struct kvm_ioapic_state *s = &vm->irq->ioapic;
	unsigned int pin;

	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		u64 *entry = &s->redirtbl[pin].bits;

		if ((u8)*entry != vector)
			continue;
		atl_irq_acked(vm, KVM_IRQCHIP_IOAPIC, pin);
		if (!(*entry & ENTRY_LEVEL))
			continue;
		*entry &= ~ENTRY_REMOTE;
		if (s->irr & BIT(pin))
			send(vm, pin);
	}
}

u32 atl_ioapic_read(struct atl_vm *vm, unsigned int offset)
{
	struct kvm_ioapic_state *s = &vm->irq->ioapic;
	const u32 reg = s->ioregsel, i = (reg - REG_ENTRIES) / 2;

	if (offset == OFFSET_SELECT)
		return reg;
	if (offset != OFFSET_WINDOW)
		return 0;
	switch (reg) {
	case REG_VERSION:
		return VERSION;
	case REG_ID:
	case REG_ARBITRATION:
		return s->id << 24;
	}
	if (reg < REG_ENTRIES || i >= KVM_IOAPIC_NUM_PINS)
		return ~0u;
	return s->redirtbl[array_index_nospec(i, KVM_IOAPIC_NUM_PINS)].bits >> (reg & 1 ? 32 : 0);
}

static void write_entry(struct atl_vm *vm, unsigned int pin, bool upper, u32 value)
{
	struct kvm_ioapic_state *s = &vm->irq->ioapic;
	u64 *entry = &s->redirtbl[pin].bits;
	const u64 kept = *entry & (ENTRY_STATUS | ENTRY_REMOTE);
	const u64 writable = 0x1ffff & ~(ENTRY_STATUS | ENTRY_REMOTE);
	const bool was_masked = *entry & ENTRY_MASKED;

	if (upper) {
		*entry = (u32)*entry | (u64)value << 32;
		return;
	}
	*entry = (*entry & GENMASK_ULL(63, 32)) | (value & writable) | kept;
	/* How systems get rid of a remote IRR whose end was lost. */
	if (!(*entry & ENTRY_LEVEL))
		*entry &= ~ENTRY_REMOTE;
	if (was_masked && !(*entry & ENTRY_MASKED))
		atl_pit_unmasked(vm);
	if ((*entry & ENTRY_LEVEL) && (s->irr & BIT(pin)))
		send(vm, pin);
}

void atl_ioapic_write(struct atl_vm *vm, unsigned int offset, u32 value)
{
	struct kvm_ioapic_state *s = &vm->irq->ioapic;
	const u32 reg = s->ioregsel, i = (reg - REG_ENTRIES) / 2;

	if (offset == OFFSET_SELECT)
		s->ioregsel = value & 0xff;
	if (offset != OFFSET_WINDOW)
		return;
	if (reg == REG_ID)
		s->id = value >> 24 & 0xf;
	else if (reg >= REG_ENTRIES && i < KVM_IOAPIC_NUM_PINS)
		write_entry(vm, array_index_nospec(i, KVM_IOAPIC_NUM_PINS), reg & 1, value);
}

/* KVM_SET_IRQCHIP; what was on its way comes again. */
void atl_ioapic_load(struct atl_vm *vm, const struct kvm_ioapic_state *from)
{
	struct kvm_ioapic_state *s = &vm->irq->ioapic;
	unsigned int pin;

	*s = *from;
	s->base_address = ATL_IOAPIC_BASE;
	s->ioregsel &= 0xff;
	s->irr &= BIT(KVM_IOAPIC_NUM_PINS) - 1;
	s->id &= 0xf;
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		vm->irq->ioapic_level[pin] = s->irr & BIT(pin) ? ATL_FROM_USER : 0;
		if (s->irr & BIT(pin))
			send(vm, pin);
	}
}
