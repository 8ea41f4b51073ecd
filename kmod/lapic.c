// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC of a vCPU, in xAPIC and x2APIC mode, and its timer. Intel's
 * Software Developer's Manual, volume 3, chapter 11 (APIC).
 *
 * Registers are kept as user space sees them with KVM_GET_LAPIC, one for each 16
 * bytes of the page; but for those that follow from others (PPR, the current
 * count), which are made when they are read. The low half of the ICR is a
 * register and the high half the next, in both modes.
 *
 * The timer counts nanoseconds times the divider: its bus runs at 1 GHz. Its
 * callback checks under the lock whether it is still what was asked for: nobody
 * has to wait for one that is under way.
 */
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "atoll.h"

#define R(offset)	((offset) >> 4)
#define NR_LVT		6
#define VERSION		(0x14 | (NR_LVT - 1) << 16)
#define BASE_X2		BIT(10)
#define BASE_ENABLED	BIT(11)
#define TIMER_MODE	(3 << 17)
#define FIRST_VECTOR	16
#define X2_MSR_FIRST	0x800
/* A guest that asks for a tick each nanosecond must not eat the processor. */
#define MIN_PERIOD_NS	200000

static const u32 lvt_writable[NR_LVT] = {
	APIC_VECTOR_MASK | APIC_LVT_MASKED | TIMER_MODE,
	APIC_VECTOR_MASK | APIC_MODE_MASK | APIC_LVT_MASKED,
	APIC_VECTOR_MASK | APIC_MODE_MASK | APIC_LVT_MASKED,
	APIC_VECTOR_MASK | APIC_MODE_MASK | APIC_LVT_MASKED | APIC_INPUT_POLARITY |
		APIC_LVT_LEVEL_TRIGGER,
	APIC_VECTOR_MASK | APIC_MODE_MASK | APIC_LVT_MASKED | APIC_INPUT_POLARITY |
		APIC_LVT_LEVEL_TRIGGER,
	APIC_VECTOR_MASK | APIC_LVT_MASKED,
};

static bool is_lvt(unsigned int reg)
{
	return reg >= R(APIC_LVTT) && reg < R(APIC_LVTT) + NR_LVT;
}

static int highest(const u32 *set)
{
	int i;

	for (i = 7; i >= 0; i--)
		if (set[i])
			return 32 * i + fls(set[i]) - 1;
	return -1;
}

static bool test(const u32 *set, u8 n)
{
	return set[n / 32] >> (n % 32) & 1;
}

static void put(u32 *set, u8 n, bool on)
{
	if (on)
		set[n / 32] |= BIT(n % 32);
	else
		set[n / 32] &= ~BIT(n % 32);
}

static bool hw_enabled(struct atl_vcpu *v)
{
	return v->apic_base & BASE_ENABLED;
}

static bool is_x2(struct atl_vcpu *v)
{
	return (v->apic_base & (BASE_ENABLED | BASE_X2)) == (BASE_ENABLED | BASE_X2);
}

bool atl_lapic_enabled(struct atl_vcpu *v)
{
	return hw_enabled(v) && (v->lapic->reg[R(APIC_SPIV)] & APIC_SPIV_APIC_ENABLED);
}

/* The 8259s' output comes in at LINT0; past an APIC that is off. */
bool atl_lapic_takes_pic(struct atl_vcpu *v)
{
	const u32 lvt = v->lapic->reg[R(APIC_LVT0)];

	return !hw_enabled(v) ||
	       (!(lvt & APIC_LVT_MASKED) && GET_APIC_DELIVERY_MODE(lvt) == APIC_MODE_EXTINT);
}

u8 atl_lapic_priority(struct atl_vcpu *v)
{
	const u32 *reg = v->lapic->reg;
	const int serving = highest(&reg[R(APIC_ISR)]);
	const u8 class = serving < 0 ? 0 : serving & 0xf0, tpr = reg[R(APIC_TASKPRI)];

	return (tpr & 0xf0) >= class ? tpr : class;
}

int atl_lapic_vector(struct atl_vcpu *v)
{
	const int vector = atl_lapic_enabled(v) ? highest(&v->lapic->reg[R(APIC_IRR)]) : -1;

	return vector >= 0 && vector >> 4 > atl_lapic_priority(v) >> 4 ? vector : -1;
}

void atl_lapic_take(struct atl_vcpu *v, u8 vector)
{
	put(&v->lapic->reg[R(APIC_IRR)], vector, false);
	put(&v->lapic->reg[R(APIC_ISR)], vector, true);
}

/* Addressing. */

static u32 x2_logical(u32 id)
{
	return id >> 4 << 16 | BIT(id & 15);
}

bool atl_lapic_match(struct atl_vcpu *v, const struct atl_message *m, bool quirk)
{
	const u32 *reg = v->lapic->reg;
	u32 mine;

	if (!hw_enabled(v))
		return false;
	if (m->dest == ~0u || (m->dest == 0xff && (!is_x2(v) || (quirk && !m->wide))))
		return true;
	mine = reg[R(APIC_ID)];
	if (!m->logical)
		return is_x2(v) ? m->dest == mine : m->dest == mine >> 24;
	mine = reg[R(APIC_LDR)];
	if (is_x2(v))
		return m->dest >> 16 == mine >> 16 && (m->dest & mine & 0xffff);
	mine >>= 24;
	if (m->dest > 0xff)
		return false;
	if (reg[R(APIC_DFR)] == APIC_DFR_FLAT)
		return m->dest & mine;
	return m->dest >> 4 == mine >> 4 && (m->dest & mine & 0xf);
}

static void error(struct atl_vcpu *v, u32 bit)
{
	const u32 lvt = v->lapic->reg[R(APIC_LVTERR)];
	const struct atl_message m = { .mode = MODE_FIXED, .vector = lvt };
	const bool known = v->lapic->errors & bit;

	v->lapic->errors |= bit;
	/* An entry whose own vector is illegal must not report itself for ever. */
	if (!known && !(lvt & APIC_LVT_MASKED))
		atl_lapic_accept(v, &m);
}

int atl_lapic_accept(struct atl_vcpu *v, const struct atl_message *m)
{
	struct atl_lapic *a = v->lapic;
	bool known;

	switch (m->mode) {
	case MODE_FIXED:
	case MODE_LOWEST:
		if (!atl_lapic_enabled(v))
			return 0;
		if (m->vector < FIRST_VECTOR) {
			error(v, APIC_ESR_RECVILL);
			return 0;
		}
		known = test(&a->reg[R(APIC_IRR)], m->vector);
		put(&a->reg[R(APIC_IRR)], m->vector, true);
		put(&a->reg[R(APIC_TMR)], m->vector, m->level);
		if (!known)
			atl_kick(v);
		return 1;
	case MODE_NMI:
		a->nmi = min(a->nmi + 1, 2);
		break;
	case MODE_INIT:
		a->init = true;
		a->sipi = false;
		break;
	case MODE_SIPI:
		a->sipi_vector = m->vector;
		a->sipi = true;
		break;
	default:
		return 0;
	}
	atl_kick(v);
	return 1;
}

static void send_ipi(struct atl_vcpu *v)
{
	const u32 *reg = v->lapic->reg;
	const u32 low = reg[R(APIC_ICR)], high = reg[R(APIC_ICR2)];
	struct atl_vm *vm = v->vm;
	const struct atl_message m = {
		.dest = is_x2(v) ? high : high >> 24,
		.logical = low & APIC_DEST_LOGICAL,
		.wide = is_x2(v),
		.mode = low >> 8 & 7,
		.vector = low,
	};
	const unsigned int n = atl_nr_vcpus(vm);
	unsigned int i;

	/* The end of a level-triggered INIT, which nobody needs any more. */
	if (m.mode == MODE_INIT && (low & APIC_INT_LEVELTRIG) && !(low & APIC_INT_ASSERT))
		return;
	if ((m.mode == MODE_FIXED || m.mode == MODE_LOWEST) && m.vector < FIRST_VECTOR) {
		error(v, APIC_ESR_SENDILL);
		return;
	}
	switch (low & APIC_DEST_ALLBUT) {
	case 0:
		atl_irq_send(vm, &m);
		break;
	case APIC_DEST_SELF:
		atl_lapic_accept(v, &m);
		break;
	default:
		for (i = 0; i < n; i++)
			if (vm->vcpus[i] != v || (low & APIC_DEST_ALLBUT) == APIC_DEST_ALLINC)
				atl_lapic_accept(vm->vcpus[i], &m);
	}
}

static bool split_route(struct atl_vm *vm, u8 vector)
{
	const struct atl_routes *r = vm->irq->routes;
	u32 i;

	for (i = 0; r && i < r->nr && r->route[i].gsi < vm->irq->split_pins; i++)
		if (r->route[i].chip == ATL_MSI && r->route[i].msi.level &&
		    r->route[i].msi.vector == vector)
			return true;
	return false;
}

static void end_of_interrupt(struct atl_vcpu *v)
{
	u32 *reg = v->lapic->reg;
	const int vector = highest(&reg[R(APIC_ISR)]);

	if (vector < 0)
		return;
	put(&reg[R(APIC_ISR)], vector, false);
	if (!v->vm->irq->split)
		atl_ioapic_eoi(v->vm, vector);
	else if (test(&reg[R(APIC_TMR)], vector) && split_route(v->vm, vector))
		v->eoi_vector = vector;
}

/* The timer. */

static u32 timer_mode(struct atl_lapic *a)
{
	return a->reg[R(APIC_LVTT)] & TIMER_MODE;
}

static unsigned int divider(struct atl_lapic *a)
{
	const u32 d = a->reg[R(APIC_TDCR)], code = (d & 3) | (d >> 1 & 4);

	return code == 7 ? 1 : 2 << code;
}

static void stop(struct atl_lapic *a)
{
	a->armed = false;
	a->deadline = 0;
	/* One that runs finds that it is not armed. */
	hrtimer_try_to_cancel(&a->timer);
}

static void arm(struct atl_lapic *a, ktime_t expires)
{
	a->armed = true;
	a->expires = expires;
	hrtimer_start(&a->timer, expires, HRTIMER_MODE_ABS);
}

static void tick(struct atl_lapic *a)
{
	const u32 lvt = a->reg[R(APIC_LVTT)];
	const struct atl_message m = { .mode = MODE_FIXED, .vector = lvt };

	if (!(lvt & APIC_LVT_MASKED))
		atl_lapic_accept(a->v, &m);
}

static enum hrtimer_restart expired(struct hrtimer *timer)
{
	struct atl_lapic *a = container_of(timer, struct atl_lapic, timer);
	struct atl_vm *vm = a->v->vm;
	unsigned long flags;
	ktime_t now;

	spin_lock_irqsave(&vm->irq_lock, flags);
	now = ktime_get();
	if (a->armed && now >= a->expires) {
		a->armed = false;
		a->deadline = 0;
		tick(a);
		/* What was missed is missed; the phase stays. */
		if (a->period)
			arm(a, a->expires + a->period *
				   (div64_u64(now - a->expires, a->period) + 1));
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return HRTIMER_NORESTART;
}

/* The count that is left begins now; what follows it is the whole period. */
static void start_count(struct atl_lapic *a, u32 left)
{
	const u64 whole = (u64)a->reg[R(APIC_TMICT)] * divider(a);

	stop(a);
	a->period = 0;
	if (!left || timer_mode(a) == APIC_LVT_TIMER_TSCDEADLINE)
		return;
	if (timer_mode(a) == APIC_LVT_TIMER_PERIODIC)
		a->period = max_t(u64, whole, MIN_PERIOD_NS);
	arm(a, ktime_get() + (u64)left * divider(a));
}

static u32 current_count(struct atl_lapic *a)
{
	const s64 left = a->expires - ktime_get();

	if (!a->armed || timer_mode(a) == APIC_LVT_TIMER_TSCDEADLINE)
		return 0;
	/* Due, and its interrupt still to come: a state with 0 would be one that had it. */
	if (left <= 0)
		return 1;
	return min_t(u64, div_u64(left + divider(a) - 1, divider(a)), ~0u);
}

/* In units of the guest's TSC. */
static void set_deadline(struct atl_vcpu *v, u64 deadline)
{
	struct atl_lapic *a = v->lapic;
	const u64 now = rdtsc() + v->tsc_offset;

	stop(a);
	a->period = 0;
	if (!deadline)
		return;
	if (deadline <= now) {
		tick(a);
		return;
	}
	a->deadline = deadline;
	/* Some months from now is far enough; what divides must not overflow. */
	arm(a, ktime_add_safe(ktime_get(), mul_u64_u64_div_u64(min(deadline - now, 1ULL << 56),
							       1000000, tsc_khz)));
}

/* The TSC of the guest jumped: what it waits for comes at another time. */
void atl_lapic_tsc_changed(struct atl_vcpu *v)
{
	unsigned long flags;

	spin_lock_irqsave(&v->vm->irq_lock, flags);
	if (v->lapic->armed && v->lapic->deadline)
		set_deadline(v, v->lapic->deadline);
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
}

/* Registers. */

u32 atl_lapic_read(struct atl_vcpu *v, unsigned int reg)
{
	struct atl_lapic *a = v->lapic;

	reg = array_index_nospec(reg, ARRAY_SIZE(a->reg));
	switch (reg) {
	case R(APIC_TMCCT):
		return current_count(a);
	case R(APIC_PROCPRI):
	case R(APIC_ARBPRI):
		return atl_lapic_priority(v);
	case R(APIC_EOI):
		return 0;
	default:
		return a->reg[reg];
	}
}

static void write_lvt(struct atl_lapic *a, unsigned int lvt, u32 value)
{
	const u32 before = timer_mode(a);

	value &= lvt_writable[array_index_nospec(lvt, NR_LVT)];
	if (!(a->reg[R(APIC_SPIV)] & APIC_SPIV_APIC_ENABLED))
		value |= APIC_LVT_MASKED;
	a->reg[R(APIC_LVTT) + lvt] = value;
	if (lvt)
		return;
	/* Between a count and a deadline: it stops. Between once and for ever: it goes on. */
	if ((before ^ timer_mode(a)) & APIC_LVT_TIMER_TSCDEADLINE) {
		stop(a);
		a->reg[R(APIC_TMICT)] = 0;
	} else if (before != timer_mode(a)) {
		a->period = timer_mode(a) == APIC_LVT_TIMER_PERIODIC ?
			    max_t(u64, (u64)a->reg[R(APIC_TMICT)] * divider(a), MIN_PERIOD_NS) : 0;
	}
}

static void write_spurious(struct atl_lapic *a, u32 value)
{
	unsigned int i;

	a->reg[R(APIC_SPIV)] = value & 0x3ff;
	for (i = 0; !(value & APIC_SPIV_APIC_ENABLED) && i < NR_LVT; i++)
		a->reg[R(APIC_LVTT) + i] |= APIC_LVT_MASKED;
}

void atl_lapic_write(struct atl_vcpu *v, unsigned int reg, u32 value)
{
	struct atl_lapic *a = v->lapic;
	u32 left;

	if (is_lvt(reg)) {
		write_lvt(a, reg - R(APIC_LVTT), value);
		return;
	}
	switch (reg) {
	case R(APIC_ID):
		if (!is_x2(v))
			a->reg[reg] = value & 0xff000000;
		break;
	case R(APIC_TASKPRI):
		a->reg[reg] = value & APIC_TPRI_MASK;
		v->cr8 = a->reg[reg] >> 4;
		break;
	case R(APIC_EOI):
		end_of_interrupt(v);
		break;
	case R(APIC_LDR):
		if (!is_x2(v))
			a->reg[reg] = value & APIC_LDR_MASK;
		break;
	case R(APIC_DFR):
		if (!is_x2(v))
			a->reg[reg] = value | APIC_DFR_CLUSTER;
		break;
	case R(APIC_SPIV):
		write_spurious(a, value);
		break;
	case R(APIC_ESR):
		a->reg[reg] = a->errors;
		a->errors = 0;
		break;
	case R(APIC_ICR):
		a->reg[reg] = value & ~APIC_ICR_BUSY;
		send_ipi(v);
		break;
	case R(APIC_ICR2):
		a->reg[reg] = is_x2(v) ? value : value & 0xff000000;
		break;
	case R(APIC_TMICT):
		if (timer_mode(a) == APIC_LVT_TIMER_TSCDEADLINE)
			break;
		a->reg[reg] = value;
		start_count(a, value);
		break;
	case R(APIC_TDCR):
		left = current_count(a);
		a->reg[reg] = value & 0xb;
		if (left)
			start_count(a, left);
		break;
	}
}

/* The page, as far as it is there: x2APIC mode hides it. */
bool atl_lapic_page(struct atl_vcpu *v, u64 gpa)
{
	return v->lapic && hw_enabled(v) && !is_x2(v) && gpa >> 12 == v->apic_base >> 12;
}

/* MSRs 0x800 and up. 1: not in this mode, or not that register. */
static bool x2_readable(unsigned int reg)
{
	switch (reg) {
	case R(APIC_ID):
	case R(APIC_LVR):
	case R(APIC_TASKPRI):
	case R(APIC_PROCPRI):
	case R(APIC_LDR):
	case R(APIC_SPIV):
	case R(APIC_ISR) ... R(APIC_ESR):
	case R(APIC_ICR):
	case R(APIC_LVTT) ... R(APIC_TMCCT):
	case R(APIC_TDCR):
		return true;
	}
	return false;
}

static bool x2_writable(unsigned int reg)
{
	switch (reg) {
	case R(APIC_TASKPRI):
	case R(APIC_EOI):
	case R(APIC_SPIV):
	case R(APIC_ESR):
	case R(APIC_ICR):
	case R(APIC_LVTT) ... R(APIC_TMICT):
	case R(APIC_TDCR):
	case R(APIC_SELF_IPI):
		return true;
	}
	return false;
}

int atl_lapic_get_msr(struct atl_vcpu *v, u32 index, u64 *value)
{
	const unsigned int reg = index - X2_MSR_FIRST;
	unsigned long flags;

	if (!v->lapic)
		return -ENOENT;
	if (!is_x2(v) || !x2_readable(reg))
		return 1;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	*value = atl_lapic_read(v, reg);
	if (reg == R(APIC_ICR))
		*value |= (u64)v->lapic->reg[R(APIC_ICR2)] << 32;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return 0;
}

int atl_lapic_set_msr(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	const unsigned int reg = index - X2_MSR_FIRST;
	unsigned long flags;

	if (!v->lapic)
		return -ENOENT;
	if (!is_x2(v) || !x2_writable(reg))
		return 1;
	if (reg != R(APIC_ICR) && value >> 32)
		return 1;
	if (value && reg == R(APIC_ESR))
		return 1;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	if (reg == R(APIC_ICR))
		v->lapic->reg[R(APIC_ICR2)] = value >> 32;
	if (reg == R(APIC_SELF_IPI)) {
		const struct atl_message m = { .mode = MODE_FIXED, .vector = value };

		atl_lapic_accept(v, &m);
	} else {
		atl_lapic_write(v, reg, value);
	}
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return 0;
}

int atl_lapic_get_deadline(struct atl_vcpu *v, u32 index, u64 *value)
{
	if (!v->lapic)
		return -ENOENT;
	*value = READ_ONCE(v->lapic->deadline);
	return 0;
}

int atl_lapic_set_deadline(struct atl_vcpu *v, u32 index, u64 value, bool host)
{
	unsigned long flags;

	if (!v->lapic)
		return -ENOENT;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	if (timer_mode(v->lapic) == APIC_LVT_TIMER_TSCDEADLINE)
		set_deadline(v, value);
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return 0;
}

/* CR8 is another name of the priority's upper half. */
void atl_lapic_set_cr8(struct atl_vcpu *v, u64 cr8)
{
	unsigned long flags;

	v->cr8 = cr8;
	if (!v->lapic)
		return;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	v->lapic->reg[R(APIC_TASKPRI)] = cr8 << 4;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
}

static void take_ids(struct atl_vcpu *v)
{
	u32 *reg = v->lapic->reg;

	reg[R(APIC_ID)] = is_x2(v) ? v->id : v->id << 24;
	if (is_x2(v))
		reg[R(APIC_LDR)] = x2_logical(v->id);
}

static void reset_registers(struct atl_vcpu *v)
{
	struct atl_lapic *a = v->lapic;
	unsigned int i;

	stop(a);
	a->period = 0;
	a->errors = 0;
	memset(a->reg, 0, sizeof(a->reg));
	a->reg[R(APIC_LVR)] = VERSION;
	a->reg[R(APIC_DFR)] = APIC_DFR_FLAT;
	a->reg[R(APIC_SPIV)] = 0xff;
	for (i = 0; i < NR_LVT; i++)
		a->reg[R(APIC_LVTT) + i] = APIC_LVT_MASKED;
	/* Virtual wire mode, as firmware finds it. */
	if (v->id == v->vm->boot_id)
		a->reg[R(APIC_LVT0)] = APIC_MODE_EXTINT << 8;
	v->cr8 = 0;
	take_ids(v);
}

void atl_lapic_reset(struct atl_vcpu *v, bool init)
{
	const u32 id = v->lapic->reg[R(APIC_ID)];
	unsigned long flags;

	spin_lock_irqsave(&v->vm->irq_lock, flags);
	reset_registers(v);
	/* INIT keeps an ID that the guest has changed. */
	if (init)
		v->lapic->reg[R(APIC_ID)] = id;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
}

/* IA32_APIC_BASE: what may stand there, in whatever state it is now. */
bool atl_lapic_base_valid(struct atl_vcpu *v, u64 value)
{
	const bool x2 = v->lapic && atl_cpuid_has(v, 1, R_CX, BIT(21));
	const u64 defined = GENMASK_ULL(v->phys_bits - 1, 12) | BIT(8) | BASE_ENABLED |
			    (x2 ? BASE_X2 : 0);

	return !(value & ~defined) && (value & (BASE_X2 | BASE_ENABLED)) != BASE_X2;
}

/*
 * 1: refused. The guest comes to x2APIC mode from xAPIC mode and leaves it by
 * switching the APIC off.
 */
int atl_lapic_set_base(struct atl_vcpu *v, u64 value, bool host)
{
	const u64 before = v->apic_base;
	unsigned long flags;

	if (!atl_lapic_base_valid(v, value))
		return 1;
	if (!host && (value & BASE_X2) && !(before & BASE_ENABLED))
		return 1;
	if (!host && is_x2(v) && (value & BASE_ENABLED) && !(value & BASE_X2))
		return 1;
	if (!v->lapic) {
		v->apic_base = value;
		return 0;
	}
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	v->apic_base = value;
	if ((before ^ value) & (BASE_ENABLED | BASE_X2)) {
		if (!(value & BASE_ENABLED))
			stop(v->lapic);
		else
			take_ids(v);
	}
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	return 0;
}

/* KVM_GET_LAPIC. Without KVM_X2APIC_API_USE_32BIT_IDS the ID is at the top in both modes. */
int atl_lapic_get(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_lapic_state *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	unsigned long flags;
	unsigned int i;
	u32 value;
	int r;

	if (!s)
		return -ENOMEM;
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	for (i = 0; i < ARRAY_SIZE(v->lapic->reg); i++) {
		value = atl_lapic_read(v, i);
		if (i == R(APIC_ID) && is_x2(v) && !v->vm->irq->wide_ids)
			value <<= 24;
		memcpy(s->regs + 16 * i, &value, sizeof(value));
	}
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	r = copy_to_user(arg, s, sizeof(*s)) ? -EFAULT : 0;
	kfree(s);
	return r;
}

int atl_lapic_put(struct atl_vcpu *v, void __user *arg)
{
	struct kvm_lapic_state *s = memdup_user(arg, sizeof(*s));
	struct atl_lapic *a = v->lapic;
	unsigned long flags;
	unsigned int i;
	u32 id, left;

	if (IS_ERR(s))
		return PTR_ERR(s);
	memcpy(&id, s->regs + APIC_ID, sizeof(id));
	if (is_x2(v) && id != (v->vm->irq->wide_ids ? v->id : v->id << 24)) {
		kfree(s);
		return -EINVAL;
	}
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	stop(a);
	for (i = 0; i < ARRAY_SIZE(a->reg); i++)
		memcpy(&a->reg[i], s->regs + 16 * i, sizeof(a->reg[i]));
	a->reg[R(APIC_LVR)] = VERSION;
	a->reg[R(APIC_TASKPRI)] &= APIC_TPRI_MASK;
	a->reg[R(APIC_TDCR)] &= 0xb;
	v->cr8 = a->reg[R(APIC_TASKPRI)] >> 4;
	if (is_x2(v))
		take_ids(v);
	left = a->reg[R(APIC_TMCCT)];
	start_count(a, left);
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	kfree(s);
	return 0;
}

int atl_lapic_create(struct atl_vcpu *v)
{
	struct atl_lapic *a = kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);

	if (!a)
		return -ENOMEM;
	a->v = v;
	hrtimer_init(&a->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	a->timer.function = expired;
	v->lapic = a;
	return 0;
}

void atl_lapic_free(struct atl_vcpu *v)
{
	unsigned long flags;

	if (!v->lapic)
		return;
	/* A callback under way may arm it once more, but not when disarmed. */
	spin_lock_irqsave(&v->vm->irq_lock, flags);
	v->lapic->armed = false;
	spin_unlock_irqrestore(&v->vm->irq_lock, flags);
	hrtimer_cancel(&v->lapic->timer);
	kfree(v->lapic);
	v->lapic = NULL;
}
