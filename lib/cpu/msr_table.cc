// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/msr_table.h"

#include <algorithm>
#include <iterator>

namespace atl::cpu {
namespace {

constexpr MsrKind kRegister = MsrKind::kRegister, kTime = MsrKind::kTime, kLapic = MsrKind::kLapic,
                  kElsewhere = MsrKind::kElsewhere, kNone = MsrKind::kNone;
constexpr absl::string_view kConstant = "says what the processor is, as CPUID does",
                            kCounters = "performance counters are not offered",
                            kNested = "nested virtualization is not offered",
                            kHyperV = "Hyper-V's interface is not offered",
                            kFaults = "asynchronous page faults are not offered",
                            kBranches = "branch records and traces are not offered";

constexpr MsrInfo kTable[] = {
    {0x0, 0x1, "P5_MC", kNone, "the Pentium's machine checks: always 0"},
    {0x10, 0x10, "TSC", kElsewhere, "SavedVcpu::tsc", 0, true},
    {0x11, 0x12, "KVM_CLOCK_OLD", kElsewhere, "the same as 0x4B564D00 and 0x4B564D01"},
    {0x17, 0x17, "PLATFORM_ID", kNone, kConstant},
    {0x1B, 0x1B, "APIC_BASE", kElsewhere, "SystemRegs::apic_base"},
    {0x2A, 0x2C, "EBL_CR_POWERON", kNone, kConstant},
    {0x34, 0x34, "SMI_COUNT", kRegister},
    {0x3A, 0x3A, "FEATURE_CONTROL", kNone, kNested},
    {0x3B, 0x3B, "TSC_ADJUST", kTime},
    {0x48, 0x48, "SPEC_CTRL", kRegister},
    {0x49, 0x49, "PRED_CMD", kNone, "a command"},
    {0x79, 0x79, "BIOS_UPDT_TRIG", kNone, "a command"},
    {0x8B, 0x8B, "BIOS_SIGN_ID", kNone, kConstant},
    {0x9E, 0x9E, "SMBASE", kRegister, "", 0x30000},
    {0xC1, 0xC8, "PMC", kNone, kCounters},
    {0xCD, 0xCE, "PLATFORM_INFO", kNone, kConstant},
    {0xE1, 0xE1, "UMWAIT_CONTROL", kRegister},
    {0xFE, 0xFE, "MTRRCAP", kNone, kConstant},
    {0x10A, 0x10A, "ARCH_CAPABILITIES", kNone, kConstant},
    {0x11E, 0x11E, "BBL_CR_CTL3", kNone, kConstant},
    {0x122, 0x122, "TSX_CTRL", kRegister},
    {0x140, 0x140, "MISC_FEATURES_ENABLES", kRegister},
    {0x174, 0x174, "SYSENTER_CS", kRegister, "", 0, true},
    {0x175, 0x175, "SYSENTER_ESP", kRegister, "", 0, true},
    {0x176, 0x176, "SYSENTER_EIP", kRegister, "", 0, true},
    {0x179, 0x179, "MCG_CAP", kNone, kConstant},
    {0x17A, 0x17A, "MCG_STATUS", kRegister},
    {0x17B, 0x17B, "MCG_CTL", kRegister},
    {0x186, 0x18D, "PERFEVTSEL", kNone, kCounters},
    {0x198, 0x199, "PERF_STATUS", kNone, kConstant},
    {0x1A0, 0x1A0, "MISC_ENABLE", kRegister, "", 1, true},
    {0x1C4, 0x1C4, "XFD", kRegister},
    {0x1C5, 0x1C5, "XFD_ERR", kRegister},
    {0x1D9, 0x1D9, "DEBUGCTL", kRegister},
    {0x1DB, 0x1DE, "LASTBRANCH", kNone, kBranches},
    {0x1FC, 0x1FC, "POWER_CTL", kRegister},
    {0x200, 0x20F, "MTRR_PHYS", kRegister},
    {0x250, 0x250, "MTRR_FIX64K", kRegister},
    {0x258, 0x259, "MTRR_FIX16K", kRegister},
    {0x268, 0x26F, "MTRR_FIX4K", kRegister},
    {0x277, 0x277, "PAT", kRegister, "", 0x0007040600070406, true},
    {0x280, 0x29F, "MC_CTL2", kRegister},
    {0x2FF, 0x2FF, "MTRR_DEF_TYPE", kRegister, "", 0, true},
    {0x309, 0x30C, "FIXED_CTR", kNone, kCounters},
    {0x345, 0x345, "PERF_CAPABILITIES", kNone, kConstant},
    {0x38D, 0x390, "FIXED_CTR_CTRL", kNone, kCounters},
    {0x3F1, 0x3F2, "PEBS", kNone, kCounters},
    {0x400, 0x47F, "MC", kRegister},
    {0x480, 0x493, "VMX", kNone, kNested},
    {0x4C1, 0x4C8, "PMC_FULL", kNone, kCounters},
    {0x4D0, 0x4D0, "MCG_EXT_CTL", kRegister},
    {0x560, 0x58F, "RTIT", kNone, kBranches},
    {0x600, 0x600, "DS_AREA", kNone, kCounters},
    {0x606, 0x641, "RAPL", kNone, kConstant},
    {0x6E0, 0x6E0, "TSC_DEADLINE", kLapic, "", 0, true},
    {0x800, 0x8FF, "X2APIC", kElsewhere, "SavedVcpu::lapic, or the machine's LAPICs"},
    {0xD90, 0xD90, "BNDCFGS", kRegister},
    {0xDA0, 0xDA0, "XSS", kRegister},
    {0x40000000, 0x400001FF, "HYPERV", kNone, kHyperV},
    // Of those of KVM's own that name guest memory a stale one would write there.
    {0x4B564D00, 0x4B564D00, "KVM_WALL_CLOCK", kTime, "", 0, true},
    {0x4B564D01, 0x4B564D01, "KVM_SYSTEM_TIME", kTime, "", 0, true},
    {0x4B564D02, 0x4B564D02, "KVM_ASYNC_PF", kNone, kFaults},
    {0x4B564D03, 0x4B564D03, "KVM_STEAL_TIME", kTime, "", 0, true},
    {0x4B564D04, 0x4B564D04, "KVM_PV_EOI", kLapic, "", 0, true},
    {0x4B564D05, 0x4B564D05, "KVM_POLL_CONTROL", kTime, "", 1, true},
    {0x4B564D06, 0x4B564D07, "KVM_ASYNC_PF_INT", kNone, kFaults},
    {0x4B564D08, 0x4B564D08, "KVM_MIGRATION_CONTROL", kNone, "memory is not encrypted"},
    {0xC0000080, 0xC0000080, "EFER", kElsewhere, "SystemRegs::efer"},
    {0xC0000081, 0xC0000081, "STAR", kRegister, "", 0, true},
    {0xC0000082, 0xC0000082, "LSTAR", kRegister, "", 0, true},
    {0xC0000083, 0xC0000083, "CSTAR", kRegister, "", 0, true},
    {0xC0000084, 0xC0000084, "SFMASK", kRegister, "", 0, true},
    {0xC0000100, 0xC0000101, "FS_GS_BASE", kElsewhere, "SystemRegs::segment"},
    {0xC0000102, 0xC0000102, "KERNEL_GS_BASE", kRegister, "", 0, true},
    {0xC0000103, 0xC0000103, "TSC_AUX", kRegister, "", 0, true},
    {0xC0000104, 0xC0000104, "TSC_RATIO", kNone, kNested},
    {0xC0010000, 0xC0010007, "K7_PERF", kNone, kCounters},
    {0xC0010010, 0xC0010010, "SYSCFG", kNone, kConstant},
    {0xC0010015, 0xC0010015, "HWCR", kNone, kConstant},
    {0xC001001B, 0xC001001F, "NB_CFG", kNone, kConstant},
    {0xC0010055, 0xC0010058, "INT_PENDING", kNone, kConstant},
    {0xC0010111, 0xC0010113, "SMM_ADDRESS", kNone, kConstant},
    {0xC0010114, 0xC0010117, "SVM", kNone, kNested},
    {0xC001011F, 0xC001011F, "VIRT_SPEC_CTRL", kRegister},
    {0xC0010200, 0xC001020B, "PERF_CORE", kNone, kCounters},
    {0xC0011020, 0xC001102C, "CONFIG", kNone, kConstant},
};

constexpr bool Sorted() {
  for (size_t i = 0; i < std::size(kTable); ++i) {
    if (kTable[i].first > kTable[i].last) return false;
    if (i != 0 && kTable[i - 1].last >= kTable[i].first) return false;
  }
  return true;
}
static_assert(Sorted());

}  // namespace

std::span<const MsrInfo> MsrInfos() { return kTable; }

const MsrInfo* FindMsr(uint32_t msr) {
  const MsrInfo* e = std::upper_bound(std::begin(kTable), std::end(kTable), msr,
                                      [](uint32_t n, const MsrInfo& x) { return n < x.first; });
  if (e == std::begin(kTable)) return nullptr;
  --e;
  return msr <= e->last ? e : nullptr;
}

}  // namespace atl::cpu
