// SPDX-License-Identifier: GPL-2.0-only
/*
 * Port I/O. The exit tells port, size and direction; of string instructions,
 * as many elements as the page after kvm_run holds go to user space at once.
 */
#include <linux/string.h>
#include <asm/processor-flags.h>

#include "atoll.h"

static u64 address_mask(struct atl_vcpu *v)
{
	return v->io.ad_bytes == 8 ? ~0ULL : (1ULL << (8 * v->io.ad_bytes)) - 1;
}

static void add_to_reg(struct atl_vcpu *v, int reg, s64 delta)
{
	const u64 m = address_mask(v);

	if (v->io.ad_bytes == 4)
		v->reg[reg] = (u32)(v->reg[reg] + delta);
	else
		v->reg[reg] = (v->reg[reg] & ~m) | ((v->reg[reg] + delta) & m);
}

static int io_exit(struct atl_vcpu *v)
{
	struct kvm_run *run = v->run;
	const u32 done = atl_bus_pio(v);

	v->stats.io_exits++;
	if (done) {		/* the instruction comes back for the rest */
		v->io.count = done;
		return atl_pio_complete(v);
	}
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = v->io.in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = v->io.size;
	run->io.port = v->io.port;
	run->io.count = v->io.count;
	run->io.data_offset = PAGE_SIZE;
	v->waiting = v->io.in ? ATL_PIO_IN : ATL_PIO_OUT;
	return ATL_TO_USER;
}

/* One element between its segment and the buffer. */
static int element(struct atl_vcpu *v, u32 i)
{
	const int seg = v->io.in ? SEG_ES : v->io.seg, reg = v->io.in ? R_DI : R_SI;
	void *data = v->pio + i * v->io.size;
	u8 copy[4];
	u64 linear;

	if (atl_linear(v, seg, v->reg[reg] & address_mask(v), v->io.size, v->io.in, &linear)) {
		atl_inject_gp(v);
		return ATL_EMUL_FAULT;
	}
	/* User space may write to the page at any time. */
	memcpy(copy, data, v->io.size);
	return atl_gva_access(v, linear, v->io.in ? copy : data, v->io.size, v->io.in);
}

static void step(struct atl_vcpu *v)
{
	add_to_reg(v, v->io.in ? R_DI : R_SI, v->rflags & X86_EFLAGS_DF ? -v->io.size : v->io.size);
	if (v->io.rep)
		add_to_reg(v, R_CX, -1);
}

static int finish(struct atl_vcpu *v, int r, bool done)
{
	if (r == ATL_EMUL_UNKNOWN)
		return atl_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	if (r == ATL_EMUL_OK && done)
		atl_skip(v, v->io.next_rip);
	return ATL_RESUME;
}

static int string_io(struct atl_vcpu *v)
{
	const u64 left = v->io.rep ? v->reg[R_CX] & address_mask(v) : 1;
	const int reg = v->io.in ? R_DI : R_SI;
	u32 i, n = min_t(u64, left, PAGE_SIZE / v->io.size);
	u64 saved_reg = v->reg[reg], saved_cx = v->reg[R_CX];
	int r = ATL_EMUL_OK;

	if (!n)
		return finish(v, ATL_EMUL_OK, true);
	if (v->rflags & X86_EFLAGS_DF)
		n = 1;
	v->io.count = n;
	if (v->io.in) {
		/* That the memory is there is checked before the port is read. */
		u64 linear;

		if (atl_linear(v, SEG_ES, v->reg[reg] & address_mask(v), v->io.size, true,
			       &linear)) {
			atl_inject_gp(v);
			return ATL_RESUME;
		}
		return io_exit(v);
	}
	for (i = 0; i < n && r == ATL_EMUL_OK; i++) {
		r = element(v, i);
		if (r == ATL_EMUL_OK)
			step(v);
	}
	/* The registers change when user space has taken what there is. */
	v->reg[reg] = saved_reg;
	v->reg[R_CX] = saved_cx;
	if (r != ATL_EMUL_OK) {
		i--;
		if (!i)
			return finish(v, r, false);
		/* What came before the fault goes out first; then it faults again. */
		memset(&v->exception, 0, sizeof(v->exception));
		v->io.count = i;
	}
	return io_exit(v);
}

/* v->io is filled in by the vendor's exit handler. */
int atl_pio(struct atl_vcpu *v)
{
	if (v->io.string)
		return string_io(v);
	v->io.count = 1;
	if (!v->io.in)
		memcpy(v->pio, &v->reg[R_AX], v->io.size);
	return io_exit(v);
}

int atl_pio_complete(struct atl_vcpu *v)
{
	int r = ATL_EMUL_OK;
	u32 i;

	v->waiting = ATL_NOTHING;
	if (!v->io.string) {
		if (v->io.in) {
			u32 value = 0;

			memcpy(&value, v->pio, v->io.size);
			if (v->io.size == 4)
				v->reg[R_AX] = value;
			else
				memcpy(&v->reg[R_AX], &value, v->io.size);
		}
		return finish(v, ATL_EMUL_OK, true);
	}
	/* User space may have changed the guest's count. */
	for (i = 0; i < v->io.count && r == ATL_EMUL_OK; i++) {
		if (v->io.rep && !(v->reg[R_CX] & address_mask(v)))
			break;
		if (v->io.in)
			r = element(v, i);
		if (r == ATL_EMUL_OK)
			step(v);
	}
	return finish(v, r, !v->io.rep || !(v->reg[R_CX] & address_mask(v)));
}
