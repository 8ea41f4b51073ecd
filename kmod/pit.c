// SPDX-License-Identifier: GPL-2.0-only
/*
 * The 8254 timer, ports 0x40 to 0x43, and port 0x61 with the gate and output of
 * its third counter. Intel 8254 datasheet. The state is KVM_GET_PIT2's.
 *
 * A counter is not counted: its value follows from the time since it was loaded.
 * The first one's rising edges are IRQ 0, from a timer of the kernel. A tick that
 * comes while the last one is not acknowledged waits (unless user space wants it
 * dropped), and follows at the acknowledgment: systems that keep time by counting
 * ticks lose none when their processor was away.
 */
#include <linux/math64.h>
#include <linux/slab.h>

#include "atoll.h"

#define PIT_HZ		1193182
#define REFRESH_NS	15085
/* A guest that asks for a tick each microsecond must not eat the processor. */
#define MIN_PERIOD_NS	200000
#define MAX_LATE	1000

enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };
/* Of read_state and write_state, with ACCESS_LOW and ACCESS_HIGH. */
enum { NEXT_LOW = 3, NEXT_HIGH = 4 };

static u64 to_ns(u64 ticks)
{
	return mul_u64_u32_div(ticks, NSEC_PER_SEC, PIT_HZ);
}

static u64 ticks(const struct kvm_pit_channel_state *c)
{
	const s64 ns = ktime_get() - c->count_load_time;

	return ns <= 0 ? 0 : mul_u64_u32_div(ns, PIT_HZ, NSEC_PER_SEC);
}

static u32 from_bcd(u32 v)
{
	return (v >> 12 & 15) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
}

static u16 to_bcd(u32 v)
{
	return v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10;
}

static bool output(const struct kvm_pit_channel_state *c)
{
	const u64 t = ticks(c);
	u32 phase;

	switch (c->mode) {
	case 0:
	case 1:
		return t >= c->count;
	case 2:
		div_u64_rem(t, c->count, &phase);
		return !c->gate || phase != c->count - 1;
	case 3:
		div_u64_rem(t, c->count, &phase);
		return !c->gate || phase < (c->count + 1) / 2;
	default:
		return t != c->count;
	}
}

static u16 value(const struct kvm_pit_channel_state *c)
{
	const u32 around = c->bcd ? 10000 : 0x10000;
	const u64 t = ticks(c);
	u32 phase, left;

	switch (c->mode) {
	case 2:
		div_u64_rem(t, c->count, &phase);
		left = c->count - phase;
		break;
	case 3:		/* counts by two, twice a period */
		div_u64_rem(2 * t, max(c->count & ~1u, 2u), &phase);
		left = (c->count & ~1u) - phase;
		break;
	default:	/* goes on past zero */
		div_u64_rem(t, around, &phase);
		left = around + c->count - phase;
	}
	return c->bcd ? to_bcd(left % 10000) : left;
}

static void latch_count(struct kvm_pit_channel_state *c)
{
	if (c->count_latched)		/* until it is read */
		return;
	c->latched_count = value(c);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct kvm_pit_channel_state *c)
{
	if (c->status_latched)
		return;
	c->status = output(c) << 7 | c->rw_mode << 4 | c->mode << 1 | c->bcd;
	c->status_latched = 1;
}

static void set_gate(struct kvm_pit_channel_state *c, bool level)
{
	/* A rising edge triggers, or begins the period anew. */
	if (level && !c->gate && c->mode != 0 && c->mode != 4)
		c->count_load_time = ktime_get();
	c->gate = level;
}

static void pulse(struct atl_pit *p)
{
	int r = atl_irq_set_gsi(p->vm, 0, ATL_FROM_PIT, true);

	atl_irq_set_gsi(p->vm, 0, ATL_FROM_PIT, false);
	/* Masked everywhere: none of it will be acknowledged. */
	p->waiting = p->reinject && r >= 0;
}

static void tick(struct atl_pit *p)
{
	if (!p->waiting)
		pulse(p);
	else if (p->late < MAX_LATE)
		p->late++;
}

void atl_pit_acked(struct atl_vm *vm)
{
	struct atl_pit *p = vm->irq->pit;

	if (!p || !p->waiting)
		return;
	p->waiting = false;
	if (p->late) {
		p->late--;
		pulse(p);
	}
}

/* IRQ 0 goes another way from now on: what was sent the old way is lost. */
void atl_pit_unmasked(struct atl_vm *vm)
{
	struct atl_pit *p = vm->irq->pit;

	if (!p)
		return;
	p->waiting = false;
	p->late = 0;
}

static void arm(struct atl_pit *p, ktime_t expires)
{
	p->armed = true;
	p->expires = expires;
	hrtimer_start(&p->timer, expires, HRTIMER_MODE_ABS);
}

static enum hrtimer_restart expired(struct hrtimer *timer)
{
	struct atl_pit *p = container_of(timer, struct atl_pit, timer);
	unsigned long flags;
	ktime_t now;

	spin_lock_irqsave(&p->vm->irq_lock, flags);
	now = ktime_get();
	if (p->armed && now >= p->expires) {
		p->armed = false;
		tick(p);
		if (p->period)
			arm(p, max(p->expires + (s64)p->period, now));
	}
	spin_unlock_irqrestore(&p->vm->irq_lock, flags);
	return HRTIMER_NORESTART;
}

/* The first counter begins a count. */
static void start(struct atl_pit *p)
{
	const struct kvm_pit_channel_state *c = &p->state.channels[0];
	const u64 ns = to_ns(c->count);

	p->armed = false;
	p->waiting = false;
	p->late = 0;
	hrtimer_try_to_cancel(&p->timer);
	if (p->state.flags & KVM_PIT_FLAGS_HPET_LEGACY || c->mode == 5)
		return;
	p->period = c->mode == 2 || c->mode == 3 ? max_t(u64, ns, MIN_PERIOD_NS) : 0;
	arm(p, c->count_load_time + ns);
}

static void load_count(struct atl_pit *p, unsigned int n, u32 count)
{
	struct kvm_pit_channel_state *c = &p->state.channels[n];

	c->count = c->bcd ? from_bcd(count) : count;
	if (!c->count)
		c->count = c->bcd ? 10000 : 0x10000;
	if ((c->mode == 2 || c->mode == 3) && c->count == 1)
		c->count = 2;		/* 1 is illegal there */
	c->count_load_time = ktime_get();
	if (!n)
		start(p);
}

static void write_control(struct atl_pit *p, u8 v)
{
	struct kvm_pit_channel_state *c;
	unsigned int i;

	if (v >> 6 == 3) {		/* read-back */
		for (i = 0; i < 3; i++) {
			c = &p->state.channels[i];
			if (!(v >> (i + 1) & 1))
				continue;
			if (!(v & 0x20))
				latch_count(c);
			if (!(v & 0x10))
				latch_status(c);
		}
		return;
	}
	c = &p->state.channels[v >> 6];
	if ((v >> 4 & 3) == ACCESS_LATCH) {
		latch_count(c);
		return;
	}
	c->rw_mode = v >> 4 & 3;
	c->read_state = c->rw_mode == ACCESS_BOTH ? NEXT_LOW : c->rw_mode;
	c->write_state = c->read_state;
	c->mode = v >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4;
	c->bcd = v & 1;
	c->count_latched = 0;
	c->status_latched = 0;
	if (!(v >> 6))
		p->armed = false;	/* until a count is loaded */
}

static void write_counter(struct atl_pit *p, unsigned int n, u8 v)
{
	struct kvm_pit_channel_state *c = &p->state.channels[n];

	switch (c->write_state) {
	case ACCESS_LOW:
		load_count(p, n, v);
		break;
	case ACCESS_HIGH:
		load_count(p, n, v << 8);
		break;
	case NEXT_LOW:
		c->write_latch = v;
		c->write_state = NEXT_HIGH;
		break;
	case NEXT_HIGH:
		c->write_state = NEXT_LOW;
		load_count(p, n, c->write_latch | v << 8);
		break;
	}
}

static u8 read_counter(struct kvm_pit_channel_state *c)
{
	u16 v;
	bool high;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	v = c->count_latched ? c->latched_count : value(c);
	high = c->read_state == ACCESS_HIGH || c->read_state == NEXT_HIGH;
	if (c->read_state >= NEXT_LOW)
		c->read_state = high ? NEXT_LOW : NEXT_HIGH;
	if (c->rw_mode != ACCESS_BOTH || high)
		c->count_latched = 0;
	return high ? v >> 8 : v;
}

u8 atl_pit_read(struct atl_vm *vm, u16 port)
{
	struct atl_pit *p = vm->irq->pit;
	const struct kvm_pit_channel_state *c = &p->state.channels[2];
	u32 unused;

	if (port != 0x61)
		return port == 0x43 ? 0 : read_counter(&p->state.channels[port & 3]);
	return c->gate | (p->state.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? 2 : 0) |
	       (div_u64_rem(ktime_get(), REFRESH_NS, &unused) & 1) << 4 | output(c) << 5;
}

void atl_pit_write(struct atl_vm *vm, u16 port, u8 v)
{
	struct atl_pit *p = vm->irq->pit;

	if (port == 0x61) {
		set_gate(&p->state.channels[2], v & 1);
		p->state.flags &= ~KVM_PIT_FLAGS_SPEAKER_DATA_ON;
		if (v & 2)
			p->state.flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	} else if (port == 0x43) {
		write_control(p, v);
	} else {
		write_counter(p, port & 3, v);
	}
}

/* KVM_SET_PIT2: the first counter begins anew. */
void atl_pit_load(struct atl_vm *vm, const struct kvm_pit_state2 *from)
{
	struct atl_pit *p = vm->irq->pit;
	unsigned int i;

	p->state = *from;
	p->state.flags &= KVM_PIT_FLAGS_HPET_LEGACY | KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	memset(p->state.reserved, 0, sizeof(p->state.reserved));
	for (i = 0; i < 3; i++) {
		struct kvm_pit_channel_state *c = &p->state.channels[i];

		c->count = !c->count || c->count > 0x10000 ? 0x10000 : c->count;
		if (c->mode > 5)
			c->mode = 0;
		c->bcd = !!c->bcd;
		c->gate = !!c->gate;
		c->rw_mode &= 3;
		if ((c->mode == 2 || c->mode == 3) && c->count == 1)
			c->count = 2;
	}
	p->state.channels[0].count_load_time = ktime_get();
	start(p);
}

int atl_pit_create(struct atl_vm *vm, u32 flags)
{
	struct atl_pit *p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	unsigned long irqflags;
	unsigned int i;

	if (!p)
		return -ENOMEM;
	p->vm = vm;
	p->speaker = flags & KVM_PIT_SPEAKER_DUMMY;
	p->reinject = true;
	hrtimer_init(&p->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	p->timer.function = expired;
	for (i = 0; i < 3; i++) {
		struct kvm_pit_channel_state *c = &p->state.channels[i];

		c->mode = 3;
		c->rw_mode = ACCESS_BOTH;
		c->read_state = NEXT_LOW;
		c->write_state = NEXT_LOW;
		c->gate = i != 2;
		c->count = 0x10000;
		c->count_load_time = ktime_get();
	}
	spin_lock_irqsave(&vm->irq_lock, irqflags);
	vm->irq->pit = p;
	spin_unlock_irqrestore(&vm->irq_lock, irqflags);
	return 0;
}

void atl_pit_free(struct atl_vm *vm)
{
	struct atl_pit *p = vm->irq->pit;
	unsigned long flags;

	if (!p)
		return;
	spin_lock_irqsave(&vm->irq_lock, flags);
	p->armed = false;
	vm->irq->pit = NULL;
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	hrtimer_cancel(&p->timer);
	kfree(p);
}
