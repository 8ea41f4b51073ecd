// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two 8259A interrupt controllers of a PC. Intel 8259A datasheet; the
 * edge/level registers are the 82371's. The state is KVM_GET_IRQCHIP's.
 */
#include <linux/string.h>

#include "atoll.h"

#define CASCADE		2

/* The lines that may be levels: 0, 1, 2, 8 and 13 are edges by the board's wiring. */
static const u8 elcr_mask[2] = { 0xf8, 0xde };

/* What comes next at the data port after the first initialization word. */
enum { INIT_DONE, INIT_BASE, INIT_CASCADE, INIT_MODE };

void atl_pic_reset(struct atl_irq *irq)
{
	memset(irq->pic, 0, sizeof(irq->pic));
	irq->pic[0].elcr_mask = elcr_mask[0];
	irq->pic[1].elcr_mask = elcr_mask[1];
	irq->pic_output = false;
}

/* 0: the most urgent of the set as the chip's rotation has it; 8: the set is empty. */
static unsigned int rank(const struct kvm_pic_state *s, u8 set)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		if (set & BIT((i + s->priority_add) & 7))
			break;
	return i;
}

/* The line that interrupts, or -1. */
static int requested(const struct kvm_pic_state *s, bool master)
{
	const unsigned int wants = rank(s, s->irr & ~s->imr);
	u8 serving = s->isr;

	if (s->special_mask)
		serving &= ~s->imr;
	/* The second chip nests its own behind the one that is served. */
	if (s->special_fully_nested_mode && master)
		serving &= ~BIT(CASCADE);
	return wants < rank(s, serving) ? (wants + s->priority_add) & 7 : -1;
}

/* False: it asks, and did already. */
static bool set_line(struct kvm_pic_state *s, unsigned int n, bool level)
{
	const u8 bit = BIT(n), waited = s->irr & bit;
	bool asks = false;

	if (s->elcr & bit) {
		s->irr = level ? s->irr | bit : s->irr & ~bit;
		asks = level;
	} else if (level && !(s->last_irr & bit)) {
		s->irr |= bit;
		asks = true;
	}
	s->last_irr = level ? s->last_irr | bit : s->last_irr & ~bit;
	return !asks || !waited;
}

static void update(struct atl_vm *vm)
{
	struct kvm_pic_state *s = vm->irq->pic;
	const unsigned int n = atl_nr_vcpus(vm);
	unsigned int i;
	bool output;

	if (requested(&s[1], false) >= 0)
		s[0].irr |= BIT(CASCADE);
	else
		s[0].irr &= ~BIT(CASCADE);
	output = requested(&s[0], true) >= 0;
	if (output && !vm->irq->pic_output)
		for (i = 0; i < n; i++)
			if (atl_lapic_takes_pic(vm->vcpus[i]))
				atl_kick(vm->vcpus[i]);
	vm->irq->pic_output = output;
}

int atl_pic_set(struct atl_vm *vm, unsigned int pin, u8 from, bool level)
{
	struct kvm_pic_state *s = &vm->irq->pic[pin / 8];
	u8 *who = &vm->irq->pic_level[pin];
	bool new;

	*who = level ? *who | from : *who & ~from;
	new = set_line(s, pin % 8, *who);
	update(vm);
	return s->imr & BIT(pin % 8) ? -1 : new;
}

static void acknowledge(struct atl_vm *vm, unsigned int chip, unsigned int n)
{
	struct kvm_pic_state *s = &vm->irq->pic[chip];

	if (!(s->elcr & BIT(n)))
		s->irr &= ~BIT(n);
	if (s->auto_eoi) {
		if (s->rotate_on_auto_eoi)
			s->priority_add = (n + 1) & 7;
		atl_irq_acked(vm, chip, n);
	} else {
		s->isr |= BIT(n);
	}
}

/* The interrupt acknowledge cycle: the vector. */
u8 atl_pic_take(struct atl_vm *vm)
{
	struct kvm_pic_state *s = vm->irq->pic;
	const int n = requested(&s[0], true);
	int m;
	u8 vector;

	if (n < 0) {
		update(vm);
		return s[0].irq_base + 7;
	}
	acknowledge(vm, 0, n);
	vector = s[0].irq_base + n;
	if (n == CASCADE) {
		m = requested(&s[1], false);
		if (m >= 0)
			acknowledge(vm, 1, m);
		/* Gone meanwhile: line 7 without a request. */
		vector = s[1].irq_base + (m < 0 ? 7 : m);
	}
	update(vm);
	return vector;
}

static void end(struct atl_vm *vm, unsigned int chip, unsigned int n)
{
	struct kvm_pic_state *s = &vm->irq->pic[chip];

	if (!(s->isr & BIT(n)))
		return;
	s->isr &= ~BIT(n);
	atl_irq_acked(vm, chip, n);
}

/* OCW2: rotate, specific, EOI in the top bits. */
static void write_ocw2(struct atl_vm *vm, unsigned int chip, u8 value)
{
	struct kvm_pic_state *s = &vm->irq->pic[chip];
	const bool rotate = value & 0x80, specific = value & 0x40;
	unsigned int n = value & 7;

	if (!(value & 0x20)) {
		if (specific && rotate)
			s->priority_add = (n + 1) & 7;
		else if (!specific)
			s->rotate_on_auto_eoi = rotate;
		return;
	}
	if (!specific) {
		n = rank(s, s->special_mask ? s->isr & ~s->imr : s->isr);
		if (n == 8)
			return;
		n = (n + s->priority_add) & 7;
	}
	end(vm, chip, n);
	if (rotate)
		s->priority_add = (n + 1) & 7;
}

static void write_command(struct atl_vm *vm, unsigned int chip, u8 value)
{
	struct kvm_pic_state *s = &vm->irq->pic[chip];

	if (value & 0x10) {		/* ICW1 */
		const struct kvm_pic_state before = *s;
		unsigned int n;

		memset(s, 0, sizeof(*s));
		s->irq_base = before.irq_base;
		s->elcr = before.elcr;
		s->elcr_mask = before.elcr_mask;
		s->last_irr = before.last_irr;
		s->irr = before.last_irr & before.elcr;
		s->init_state = INIT_BASE;
		s->init4 = value & 1;
		/* Nobody will tell the end of what was in service. */
		for (n = 0; n < 8; n++)
			if ((before.isr | before.irr) & BIT(n))
				atl_irq_acked(vm, chip, n);
	} else if (value & 0x08) {	/* OCW3 */
		if (value & 0x40)
			s->special_mask = !!(value & 0x20);
		if (value & 0x04)
			s->poll = 1;
		if (value & 0x02)
			s->read_reg_select = value & 1;
	} else {
		write_ocw2(vm, chip, value);
	}
}

static void write_data(struct atl_vm *vm, unsigned int chip, u8 value)
{
	struct kvm_pic_state *s = &vm->irq->pic[chip];
	u8 opened;

	switch (s->init_state) {
	case INIT_DONE:
		opened = s->imr & ~value;
		s->imr = value;
		if (!chip && (opened & 1))
			atl_pit_unmasked(vm);
		break;
	case INIT_BASE:
		s->irq_base = value & 0xf8;
		s->init_state = INIT_CASCADE;
		break;
	case INIT_CASCADE:	/* who cascades where is wired */
		s->init_state = s->init4 ? INIT_MODE : INIT_DONE;
		break;
	case INIT_MODE:
		s->special_fully_nested_mode = value >> 4 & 1;
		s->auto_eoi = value >> 1 & 1;
		s->init_state = INIT_DONE;
		break;
	}
}

/* Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1. */
u8 atl_pic_read(struct atl_vm *vm, u16 port)
{
	const unsigned int chip = port >> 8 ? port & 1 : port >> 7;
	struct kvm_pic_state *s = &vm->irq->pic[chip];
	int n;

	if (port >> 8)
		return s->elcr;
	if (s->poll) {		/* the read is an acknowledge cycle */
		s->poll = 0;
		n = requested(s, !chip);
		if (n < 0)
			return 0;
		acknowledge(vm, chip, n);
		update(vm);
		return 0x80 | n;
	}
	if (port & 1)
		return s->imr;
	return s->read_reg_select ? s->isr : s->irr;
}

void atl_pic_write(struct atl_vm *vm, u16 port, u8 value)
{
	const unsigned int chip = port >> 8 ? port & 1 : port >> 7;
	struct kvm_pic_state *s = &vm->irq->pic[chip];

	if (port >> 8) {
		s->elcr = value & elcr_mask[chip];
		s->irr = (s->irr & ~s->elcr) | (s->last_irr & s->elcr);
	} else if (port & 1) {
		write_data(vm, chip, value);
	} else {
		write_command(vm, chip, value);
	}
	update(vm);
}

void atl_pic_load(struct atl_vm *vm, unsigned int chip, const struct kvm_pic_state *from)
{
	struct kvm_pic_state *s = &vm->irq->pic[chip];

	*s = *from;
	s->priority_add &= 7;
	s->irq_base &= 0xf8;
	s->init_state &= 3;
	s->elcr &= elcr_mask[chip];
	s->elcr_mask = elcr_mask[chip];
	update(vm);
}
