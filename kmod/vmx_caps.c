// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which controls a VMCS has: what is needed, what is taken where it can be had,
 * and what must be possible to leave out, beside what the processor says in its
 * MSRs. Intel's Software Developer's Manual, volume 3, appendix A.
 */
#include <asm/cpufeature.h>
#include <asm/msr.h>

#include "vmx.h"

struct atl_vmx_controls atl_vmx_controls;

/*
 * What is wanted of a kind of controls, within what the processor allows: the
 * MSR's low half has bits that must be 1, its high half those that may be.
 */
static int negotiate(const char *what, u32 msr, u32 needed, u32 wanted, u32 unwanted, u32 *result)
{
	u32 must, may;

	rdmsr(msr, must, may);
	*result = ((needed | wanted) & may) | must;
	if ((needed & ~may) || (unwanted & must)) {
		pr_err("atoll: VMX: the processor lacks %s controls 0x%x, insists on 0x%x\n", what,
		       needed & ~may, unwanted & must);
		return -ENODEV;
	}
	return 0;
}

int atl_vmx_negotiate(bool exact)
{
	u32 may, needed2 = SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST;
	u64 control;
	int r;

	r = negotiate("pin-based",
		      exact ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS,
		      PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS, 0,
		      0, &atl_vmx_controls.pin);
	if (r)
		return r;
	r = negotiate("processor-based",
		      exact ? MSR_IA32_VMX_TRUE_PROCBASED_CTLS : MSR_IA32_VMX_PROCBASED_CTLS,
		      CPU_BASED_HLT_EXITING | CPU_BASED_MWAIT_EXITING | CPU_BASED_RDPMC_EXITING |
		      CPU_BASED_CR8_LOAD_EXITING | CPU_BASED_CR8_STORE_EXITING |
		      CPU_BASED_MOV_DR_EXITING | CPU_BASED_UNCOND_IO_EXITING |
		      CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_MONITOR_EXITING |
		      CPU_BASED_USE_TSC_OFFSETTING | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS |
		      CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING, 0,
		      CPU_BASED_CR3_LOAD_EXITING | CPU_BASED_CR3_STORE_EXITING |
		      CPU_BASED_INVLPG_EXITING, &atl_vmx_controls.cpu);
	if (r)
		return r;
	/* Those are opened by events. */
	atl_vmx_controls.cpu &= ~(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING);

	rdmsrl(MSR_IA32_VMX_PROCBASED_CTLS2, control);
	may = control >> 32;
	if (!(may & SECONDARY_EXEC_ENABLE_EPT)) {
		pr_err("atoll: the processor has no extended page tables\n");
		return -ENODEV;
	}
	if (!(may & SECONDARY_EXEC_UNRESTRICTED_GUEST)) {
		pr_err("atoll: the processor cannot run guests in real mode (unrestricted guest)\n");
		return -ENODEV;
	}
	/* Without these the guest's instruction is undefined. */
	if (boot_cpu_has(X86_FEATURE_RDTSCP))
		needed2 |= SECONDARY_EXEC_ENABLE_RDTSCP;
	if (boot_cpu_has(X86_FEATURE_INVPCID))
		needed2 |= SECONDARY_EXEC_ENABLE_INVPCID;
	r = negotiate("secondary", MSR_IA32_VMX_PROCBASED_CTLS2, needed2,
		      SECONDARY_EXEC_ENABLE_VPID | SECONDARY_EXEC_WBINVD_EXITING |
		      SECONDARY_EXEC_ENCLS_EXITING | SECONDARY_EXEC_PAUSE_LOOP_EXITING, 0,
		      &atl_vmx_controls.cpu2);
	if (r)
		return r;
	r = negotiate("exit", exact ? MSR_IA32_VMX_TRUE_EXIT_CTLS : MSR_IA32_VMX_EXIT_CTLS,
		      VM_EXIT_HOST_ADDR_SPACE_SIZE | VM_EXIT_LOAD_IA32_EFER | VM_EXIT_LOAD_IA32_PAT,
		      VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL, 0, &atl_vmx_controls.exit);
	if (r)
		return r;
	r = negotiate("entry", exact ? MSR_IA32_VMX_TRUE_ENTRY_CTLS : MSR_IA32_VMX_ENTRY_CTLS,
		      VM_ENTRY_LOAD_IA32_EFER | VM_ENTRY_LOAD_IA32_PAT |
		      VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_IA32E_MODE,
		      VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL, 0, &atl_vmx_controls.entry);
	atl_vmx_controls.entry &= ~VM_ENTRY_IA32E_MODE;
	/* Counters of the host stop in guests; both or none. */
	if (rdmsrl_safe(MSR_CORE_PERF_GLOBAL_CTRL, &control) ||
	    !(atl_vmx_controls.exit & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL) ||
	    !(atl_vmx_controls.entry & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL)) {
		atl_vmx_controls.exit &= ~VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL;
		atl_vmx_controls.entry &= ~VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL;
	}
	return r;
}
