// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID: what the module can show to guests (KVM_GET_SUPPORTED_CPUID) and what
 * a guest was given (KVM_SET_CPUID2). A feature is shown when the processor has
 * it and the table below lets it through: nothing new appears by itself.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/fpu/xcr.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>

#include "atoll.h"

#define B(n) BIT(n)

/* Of leaf 1, edx, that leaf 80000001 repeats on AMD's processors. */
#define BASIC_EDX (GENMASK(9, 0) | B(12) | B(13) | B(14) | B(15) | B(16) | B(17) | B(23) | B(24))

/* SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
#define L1_ECX (B(0) | B(1) | B(9) | B(12) | B(13) | B(17) | B(19) | B(20) | B(22) | B(23) | \
		B(25) | B(26) | B(28) | B(29) | B(30))
/* ... SEP CLFLUSH SSE SSE2 */
#define L1_EDX (BASIC_EDX | B(11) | B(19) | B(25) | B(26))
/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512 RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
#define L7_EBX (B(0) | B(3) | B(5) | B(7) | B(8) | B(9) | B(10) | B(16) | B(17) | B(18) | B(19) | \
		B(20) | B(21) | B(23) | B(24) | B(28) | B(29) | B(30) | B(31))
/* AVX512_VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ */
#define L7_ECX (B(1) | B(2) | B(6) | B(8) | B(9) | B(10) | B(11) | B(12) | B(14))
/* LAHF CR8 ABM SSE4A MISALIGNSSE PREFETCH XOP FMA4 TBM TOPOEXT */
#define X1_ECX (B(0) | B(4) | B(5) | B(6) | B(7) | B(8) | B(11) | B(16) | B(21) | B(22))
/* ... SYSCALL NX MMXEXT FXSR_OPT GBPAGES RDTSCP LM 3DNOWEXT 3DNOW */
#define X1_EDX (BASIC_EDX | B(11) | B(20) | B(22) | B(25) | B(26) | B(27) | B(29) | B(30) | B(31))

/* Of the above what needs XSAVE, which a host may have and not use. */
#define L1_ECX_XSAVE (B(12) | B(26) | B(28) | B(29))
#define L7_EBX_XSAVE (B(5) | B(16) | B(17) | B(21) | B(28) | B(30) | B(31))
#define L7_ECX_XSAVE (B(1) | B(6) | B(9) | B(10) | B(11) | B(12) | B(14))

#define ALL (~0u)

/* The registers' bits that pass, of each leaf that is shown. */
static const struct leaf {
	u32 function;
	bool indexed;		/* subleaves 0 to last */
	u32 last;
	u32 eax, ebx, ecx, edx;
} leaves[] = {
	{ 0x0, false, 0, ALL, ALL, ALL, ALL },
	{ 0x1, false, 0, ALL, 0x0000ffff, L1_ECX, L1_EDX },
	{ 0x2, false, 0, ALL, ALL, ALL, ALL },
	{ 0x4, true, 3, ALL, ALL, ALL, ALL },
	{ 0x6, false, 0, B(2), 0, 0, 0 },
	{ 0x7, true, 0, 0, L7_EBX, L7_ECX, B(4) },
	{ 0xd, true, 7, ALL, ALL, ALL, ALL },
	{ 0x80000000, false, 0, ALL, ALL, ALL, ALL },
	{ 0x80000001, false, 0, ALL, ALL, X1_ECX, X1_EDX },
	{ 0x80000002, false, 0, ALL, ALL, ALL, ALL },
	{ 0x80000003, false, 0, ALL, ALL, ALL, ALL },
	{ 0x80000004, false, 0, ALL, ALL, ALL, ALL },
	{ 0x80000005, false, 0, ALL, ALL, ALL, ALL },
	{ 0x80000006, false, 0, ALL, ALL, ALL, ALL },
	{ 0x80000007, false, 0, 0, 0, 0, B(8) },
	{ 0x80000008, false, 0, 0xffff, B(0) | B(2) | B(9), 0, 0 },
	{ 0x8000001d, true, 3, ALL, ALL, ALL, ALL },
	{ 0x8000001e, false, 0, 0, 0, 0, 0 },
};

u64 atl_host_xcr0(void)
{
	if (!boot_cpu_has(X86_FEATURE_OSXSAVE))
		return 0;
	return xgetbv(XCR_XFEATURE_ENABLED_MASK) &
	       (XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512);
}

static void show(const struct leaf *l, u32 index, struct kvm_cpuid_entry2 *e)
{
	const u64 xcr0 = atl_host_xcr0();

	memset(e, 0, sizeof(*e));
	e->function = l->function;
	e->index = index;
	e->flags = l->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	cpuid_count(l->function, index, &e->eax, &e->ebx, &e->ecx, &e->edx);
	e->eax &= l->eax;
	e->ebx &= l->ebx;
	e->ecx &= l->ecx;
	e->edx &= l->edx;
	if (!boot_cpu_has(X86_FEATURE_XSAVE)) {
		if (l->function == 0x1) {
			e->ecx &= ~L1_ECX_XSAVE;
		} else if (l->function == 0x7) {
			e->ebx &= ~L7_EBX_XSAVE;
			e->ecx &= ~L7_ECX_XSAVE;
		} else if (l->function == 0xd) {
			e->eax = e->ebx = e->ecx = e->edx = 0;
			return;
		}
	}
	switch (l->function) {
	case 0x0:
		e->eax = min(e->eax, 0xdu);
		break;
	case 0x1:
		e->ecx |= B(31);	/* a hypervisor */
		e->ecx |= B(21);	/* x2APIC, whatever the processor has */
		break;
	case 0x6:
		e->eax = B(2);		/* the APIC's timer does not stop */
		break;
	case 0xd:
		if (index == 0) {
			e->eax &= xcr0;
			e->edx &= xcr0 >> 32;
		} else if (index == 1) {
			e->eax &= B(0) | B(1) | B(2);	/* not XSAVES */
			e->ebx = e->ecx = e->edx = 0;
		} else if (!(xcr0 >> index & 1)) {
			e->eax = e->ebx = e->ecx = e->edx = 0;
		}
		break;
	case 0x80000000:
		e->eax = min(e->eax, 0x8000001eu);
		break;
	}
}

static void show_hypervisor(struct kvm_cpuid_entry2 *e)
{
	static const char signature[12] = "KVMKVMKVM\0\0";
	const u32 *s = (const u32 *)signature;

	memset(e, 0, 2 * sizeof(*e));
	e[0].function = KVM_CPUID_SIGNATURE;
	e[0].eax = ATL_CPUID_FEATURES;
	e[0].ebx = s[0];
	e[0].ecx = s[1];
	e[0].edx = s[2];
	e[1].function = ATL_CPUID_FEATURES;
	e[1].eax = BIT(KVM_FEATURE_NOP_IO_DELAY);
	if (atl_clock_usable())
		e[1].eax |= BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_CLOCKSOURCE2) |
			    BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
	if (atl_steal_usable())
		e[1].eax |= BIT(KVM_FEATURE_STEAL_TIME);
}

static int copy_in(struct kvm_cpuid2 __user *arg, u32 *n)
{
	struct kvm_cpuid2 head;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	*n = head.nent;
	return 0;
}

static int copy_out(struct kvm_cpuid2 __user *arg, const struct kvm_cpuid_entry2 *e, u32 n)
{
	if (copy_to_user(arg->entries, e, n * sizeof(*e)) || put_user(n, &arg->nent))
		return -EFAULT;
	return 0;
}

int atl_supported_cpuid(struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *e;
	const u32 basic = cpuid_eax(0), extended = cpuid_eax(0x80000000);
	u32 room, n = 0, i, k;
	int r = copy_in(arg, &room);

	if (r)
		return r;
	if (room < 1)
		return -E2BIG;
	e = kvcalloc(ATL_MAX_CPUID, sizeof(*e), GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(leaves); i++) {
		const struct leaf *l = &leaves[i];

		if (l->function > (l->function >> 31 ? extended : basic))
			continue;
		for (k = 0; k <= l->last; k++)
			show(l, k, &e[n++]);
		if (l->function == 0xd) {
			show_hypervisor(&e[n]);
			n += 2;
		}
	}
	r = n > room ? -E2BIG : copy_out(arg, e, n);
	kvfree(e);
	return r;
}

static const struct kvm_cpuid_entry2 *find(struct atl_vcpu *v, u32 function, u32 index)
{
	u32 i;

	for (i = 0; i < v->nr_cpuid; i++) {
		const struct kvm_cpuid_entry2 *e = &v->cpuid[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

bool atl_cpuid_has(struct atl_vcpu *v, u32 function, int reg, u32 bit)
{
	const struct kvm_cpuid_entry2 *e = find(v, function, 0);

	if (!e)
		return false;
	return (reg == R_AX ? e->eax : reg == R_BX ? e->ebx : reg == R_CX ? e->ecx : e->edx) & bit;
}

/* Which bits of CR4 a feature brings; the others are always there. */
static const struct {
	u32 function;
	int reg;
	u32 bit;
	u64 cr4;
} cr4_features[] = {
	{ 0x1, R_CX, B(17), X86_CR4_PCIDE },
	{ 0x1, R_CX, B(26), X86_CR4_OSXSAVE },
	{ 0x7, R_BX, B(0), X86_CR4_FSGSBASE },
	{ 0x7, R_BX, B(7), X86_CR4_SMEP },
	{ 0x7, R_BX, B(20), X86_CR4_SMAP },
	{ 0x7, R_CX, B(2), X86_CR4_UMIP },
};

/* Whether the module can show a feature at all. */
static bool offered(u32 function, int reg, u32 bit)
{
	struct kvm_cpuid_entry2 e;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(leaves); i++) {
		if (leaves[i].function != function)
			continue;
		show(&leaves[i], 0, &e);
		return (reg == R_BX ? e.ebx : e.ecx) & bit;
	}
	return false;
}

/* Without CPUID, which user space may set last, all that the module offers is allowed. */
void atl_derive_cpuid(struct atl_vcpu *v)
{
	const struct kvm_cpuid_entry2 *e;
	u64 cr4 = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |
		  X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cr4_features); i++) {
		const u32 function = cr4_features[i].function, bit = cr4_features[i].bit;
		const int reg = cr4_features[i].reg;

		if (v->nr_cpuid ? atl_cpuid_has(v, function, reg, bit) :
				  offered(function, reg, bit))
			cr4 |= cr4_features[i].cr4;
	}
	v->cr4_reserved = ~cr4;
	e = find(v, 0xd, 0);
	v->xcr0_allowed = e ? (e->eax | (u64)e->edx << 32) & atl_host_xcr0() : 0;
	e = find(v, 0x80000008, 0);
	v->phys_bits = e && (u8)e->eax ? min_t(u8, e->eax, 52) : 36;
}

/* What of it follows the registers of the moment. */
static u32 xsave_size(u64 xcr0)
{
	u32 size = 576, i;

	for (i = 2; i < 32; i++) {
		u32 eax, ebx, ecx, edx;

		if (!(xcr0 >> i & 1))
			continue;
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		size = max(size, eax + ebx);
	}
	return size;
}

static void follow(struct atl_vcpu *v, struct kvm_cpuid_entry2 *e)
{
	if (e->function == 1) {
		e->ecx = v->cr4 & X86_CR4_OSXSAVE ? e->ecx | B(27) : e->ecx & ~B(27);
		if (!(v->apic_base & B(11)))
			e->edx &= ~B(9);
	}
	if (e->function == 0xd && e->index == 0)
		e->ebx = xsave_size(v->xcr0);
}

static bool same(struct atl_vcpu *v, struct kvm_cpuid_entry2 *e, u32 n)
{
	u32 i;

	if (n != v->nr_cpuid)
		return false;
	for (i = 0; i < n; i++) {
		struct kvm_cpuid_entry2 now = v->cpuid[i];

		follow(v, &now);
		follow(v, &e[i]);
		if (e[i].function != now.function || e[i].index != now.index ||
		    e[i].flags != now.flags || e[i].eax != now.eax || e[i].ebx != now.ebx ||
		    e[i].ecx != now.ecx || e[i].edx != now.edx)
			return false;
	}
	return true;
}

int atl_set_cpuid(struct atl_vcpu *v, struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *e = NULL;
	u32 n;
	int r = copy_in(arg, &n);

	if (r)
		return r;
	if (n > ATL_MAX_CPUID)
		return -E2BIG;
	if (n) {
		e = vmemdup_user(arg->entries, n * sizeof(*e));
		if (IS_ERR(e))
			return PTR_ERR(e);
	}
	if (v->cpu >= 0) {
		/* The guest has run with what it has: only the same again. */
		r = same(v, e, n) ? 0 : -EINVAL;
		kvfree(e);
		return r;
	}
	kvfree(v->cpuid);
	v->cpuid = e;
	v->nr_cpuid = n;
	atl_derive_cpuid(v);
	return 0;
}

/* As the guest would see it now. */
int atl_get_cpuid(struct atl_vcpu *v, struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *e;
	u32 room, i;
	int r = copy_in(arg, &room);

	if (r)
		return r;
	if (room < v->nr_cpuid)
		return -E2BIG;
	e = kvmalloc_array(ATL_MAX_CPUID, sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	for (i = 0; i < v->nr_cpuid; i++) {
		e[i] = v->cpuid[i];
		follow(v, &e[i]);
	}
	r = copy_out(arg, e, v->nr_cpuid);
	kvfree(e);
	return r;
}

void atl_emulate_cpuid(struct atl_vcpu *v)
{
	const struct kvm_cpuid_entry2 *found = find(v, v->reg[R_AX], v->reg[R_CX]);
	struct kvm_cpuid_entry2 e = { };

	if (found) {
		e = *found;
		follow(v, &e);
	}
	v->reg[R_AX] = e.eax;
	v->reg[R_BX] = e.ebx;
	v->reg[R_CX] = e.ecx;
	v->reg[R_DX] = e.edx;
}
