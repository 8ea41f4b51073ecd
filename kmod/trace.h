/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints. What a format prints for a number is in the format itself, so
 * that a reader of raw records finds the names of reasons there.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM atoll

#if !defined(ATOLL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ATOLL_TRACE_H

#include <linux/tracepoint.h>

#define ATL_SVM_REASONS							\
	{ 0x000, "read_cr0" }, { 0x004, "read_cr4" },			\
	{ 0x008, "read_cr8" }, { 0x010, "write_cr0" },			\
	{ 0x014, "write_cr4" }, { 0x018, "write_cr8" },			\
	{ 0x020, "read_dr" }, { 0x021, "read_dr" },			\
	{ 0x022, "read_dr" }, { 0x023, "read_dr" },			\
	{ 0x024, "read_dr" }, { 0x025, "read_dr" },			\
	{ 0x026, "read_dr" }, { 0x027, "read_dr" },			\
	{ 0x030, "write_dr" }, { 0x031, "write_dr" },			\
	{ 0x032, "write_dr" }, { 0x033, "write_dr" },			\
	{ 0x034, "write_dr" }, { 0x035, "write_dr" },			\
	{ 0x036, "write_dr" }, { 0x037, "write_dr" },			\
	{ 0x041, "excp_db" }, { 0x046, "excp_ud" },			\
	{ 0x051, "excp_ac" }, { 0x052, "excp_mc" },			\
	{ 0x060, "interrupt" }, { 0x061, "nmi" }, { 0x062, "smi" },	\
	{ 0x063, "init" }, { 0x064, "vintr" }, { 0x06f, "rdpmc" },	\
	{ 0x072, "cpuid" }, { 0x073, "rsm" }, { 0x074, "iret" },	\
	{ 0x076, "invd" }, { 0x078, "hlt" }, { 0x07a, "invlpga" },	\
	{ 0x07b, "io" }, { 0x07c, "msr" }, { 0x07d, "task_switch" },	\
	{ 0x07e, "ferr_freeze" }, { 0x07f, "shutdown" },		\
	{ 0x080, "vmrun" }, { 0x081, "hypercall" },			\
	{ 0x082, "svm_instruction" }, { 0x083, "svm_instruction" },	\
	{ 0x084, "svm_instruction" }, { 0x085, "svm_instruction" },	\
	{ 0x086, "svm_instruction" }, { 0x088, "icebp" },		\
	{ 0x089, "wbinvd" }, { 0x08a, "mwait" }, { 0x08b, "mwait" },	\
	{ 0x08c, "mwait" }, { 0x08d, "xsetbv" }, { 0x08e, "rdpru" },	\
	{ 0x400, "npf" }

/* Of VMX, above those of SVM. */
#define ATL_TRACE_VMX	0x10000
#define ATL_VMX_REASONS							\
	{ 0x10000, "exception" }, { 0x10001, "interrupt" },		\
	{ 0x10002, "triple_fault" }, { 0x10003, "init" },		\
	{ 0x10007, "irq_window" }, { 0x10008, "nmi_window" },		\
	{ 0x10009, "task_switch" }, { 0x1000a, "cpuid" },		\
	{ 0x1000c, "hlt" }, { 0x1000d, "invd" }, { 0x1000f, "rdpmc" },	\
	{ 0x10012, "hypercall" }, { 0x10013, "vmx_instruction" },	\
	{ 0x10014, "vmx_instruction" }, { 0x10015, "vmx_instruction" },	\
	{ 0x10016, "vmx_instruction" }, { 0x10017, "vmx_instruction" },	\
	{ 0x10018, "vmx_instruction" }, { 0x10019, "vmx_instruction" },	\
	{ 0x1001a, "vmx_instruction" }, { 0x1001b, "vmx_instruction" },	\
	{ 0x1001c, "cr_access" }, { 0x1001d, "dr_access" },		\
	{ 0x1001e, "io" }, { 0x1001f, "rdmsr" }, { 0x10020, "wrmsr" },	\
	{ 0x10024, "mwait" }, { 0x10027, "monitor" },			\
	{ 0x10028, "pause" }, { 0x10029, "machine_check" },		\
	{ 0x10030, "ept_violation" }, { 0x10031, "ept_misconfig" },	\
	{ 0x10032, "invept" }, { 0x10035, "invvpid" },			\
	{ 0x10036, "wbinvd" }, { 0x10037, "xsetbv" },			\
	{ 0x1003c, "encls" }

TRACE_EVENT(atoll_entry,
	TP_PROTO(u32 vcpu, u64 rip),
	TP_ARGS(vcpu, rip),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->rip = rip;
	),
	TP_printk("vcpu %u rip 0x%llx", __entry->vcpu, __entry->rip)
);

TRACE_EVENT(atoll_exit,
	TP_PROTO(u32 vcpu, u32 reason, u64 rip, u64 info1, u64 info2),
	TP_ARGS(vcpu, reason, rip, info1, info2),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, reason)
		__field(u64, rip)
		__field(u64, info1)
		__field(u64, info2)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->reason = reason;
		__entry->rip = rip;
		__entry->info1 = info1;
		__entry->info2 = info2;
	),
	TP_printk("vcpu %u reason %s rip 0x%llx info 0x%llx 0x%llx", __entry->vcpu,
		  __print_symbolic(__entry->reason, ATL_SVM_REASONS, ATL_VMX_REASONS), __entry->rip,
		  __entry->info1, __entry->info2)
);

TRACE_EVENT(atoll_page_fault,
	TP_PROTO(u32 vcpu, u64 gpa, bool write, int result),
	TP_ARGS(vcpu, gpa, write, result),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, gpa)
		__field(bool, write)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->gpa = gpa;
		__entry->write = write;
		__entry->result = result;
	),
	TP_printk("vcpu %u gpa 0x%llx %s: %d", __entry->vcpu, __entry->gpa,
		  __entry->write ? "write" : "read", __entry->result)
);

TRACE_EVENT(atoll_inject,
	TP_PROTO(u32 vcpu, u32 kind, u32 vector),
	TP_ARGS(vcpu, kind, vector),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, kind)
		__field(u32, vector)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->kind = kind;
		__entry->vector = vector;
	),
	TP_printk("vcpu %u %s %u", __entry->vcpu,
		  __print_symbolic(__entry->kind, { 0, "exception" }, { 1, "nmi" },
				   { 2, "interrupt" }), __entry->vector)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
