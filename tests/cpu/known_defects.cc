// SPDX-License-Identifier: Apache-2.0
// Whoever adds a line has seen the difference under mainline's KVM too.
#include "tests/cpu/guest_programs.h"

namespace atl::cpu::test {
namespace {

constexpr absl::string_view kMainline = "/dev/kvm", kOwn = "/dev/atoll";

constexpr KnownDefect kDefects[] = {
    {"mmio_rare", "", kOwn, "the module's emulator has no shifts, IMUL, SETcc"},
    {"protected_task", "vmx", kOwn, "the module does not switch tasks on VMX"},
    {"task_switched_flag", "vmx", kOwn, "the module does not switch tasks on VMX"},
    {"long_breakpoints", "svm", kOwn,
     "QEMU's VMRUN arms no breakpoints; mainline lets guests write DR7 themselves"},
    {"segment_access", "svm", "", "QEMU's processor looks at no limit and no type at an access"},
    {"resume_flag", "svm", "", "QEMU's processor pushes no RF"},
    {"task_switched_flag", "svm", "", "TS is clear after a task switch"},
    {"idt_limit", "svm", "", "QEMU's processor gives the vector times 16 as the error code"},
    {"cr8_reserved", "svm", kMainline, "QEMU's processor takes any CR8 that is not intercepted"},
    {"debug_general_detect", "svm", kMainline, "QEMU's processor has no DR7.GD"},
    {"msrs_not_canonical_entry", "svm", "", "QEMU's processor takes any LSTAR and KERNEL_GS_BASE"},
    {"xcr0", "svm", kMainline,
     "QEMU's processor does not intercept XSETBV: KVM sets its own next time"},
    {"xcr0", "vmx", "", "a kernel on Bochs' processor does without XSAVE"},
    {"sse_exceptions", "svm", "", "QEMU's processor raises no #XM and takes any MXCSR"},
    {"stack_faults", "svm", "", "QEMU's processor gives #GP for some of #SS"},
    {"stack_faults_long", "svm", "", "QEMU's processor gives #GP for #SS"},
    {"msrs_not_canonical", "svm", "", "QEMU's processor takes any base of FS and GS"},
};

}  // namespace

std::span<const KnownDefect> KnownDefects() { return kDefects; }

}  // namespace atl::cpu::test
