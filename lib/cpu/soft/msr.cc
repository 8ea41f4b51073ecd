// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/msr.h"

#include <algorithm>
#include <chrono>

#include "lib/base/endian.h"
#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/walk.h"

namespace atl::cpu::soft {
namespace {

// ARCH_CAPABILITIES: none of the flaws is here, since the guest's instructions
// are not what the host's processor speculates on.
constexpr uint64_t kRdclNo = 1 << 0, kIbrsAll = 1 << 1, kSkipL1dFlush = 1 << 3, kSsbNo = 1 << 4,
                   kMdsNo = 1 << 5, kPschangeMcNo = 1 << 6, kTaaNo = 1 << 8, kSbdrSsdpNo = 1 << 13,
                   kFbsdpNo = 1 << 14, kPsdpNo = 1 << 15, kBhiNo = 1 << 20, kPbrsbNo = 1 << 24,
                   kGdsNo = 1 << 26, kRfdsNo = 1 << 27, kItsNo = uint64_t{1} << 62;
constexpr uint64_t kArchCapabilities = kRdclNo | kIbrsAll | kSkipL1dFlush | kSsbNo | kMdsNo |
                                       kPschangeMcNo | kTaaNo | kSbdrSsdpNo | kFbsdpNo | kPsdpNo |
                                       kBhiNo | kPbrsbNo | kGdsNo | kRfdsNo | kItsNo;

// ---- Rules that many entries share ----

template <uint64_t kValue>
bool ReadConstant(SoftVcpu&, uint32_t, uint64_t* value) {
  *value = kValue;
  return true;
}
bool Ignore(SoftVcpu&, uint32_t, uint64_t) { return true; }
// Only zero, or the bits of kMask, which are forgotten.
template <uint64_t kMask>
bool IgnoreBits(SoftVcpu&, uint32_t, uint64_t value) {
  return (value & ~kMask) == 0;
}

template <uint64_t CpuState::*kField>
bool ReadField(SoftVcpu& c, uint32_t, uint64_t* value) {
  *value = c.s.*kField;
  return true;
}
template <uint64_t CpuState::*kField, uint64_t kMask = ~uint64_t{0}>
bool WriteField(SoftVcpu& c, uint32_t, uint64_t value) {
  if ((value & ~kMask) != 0) return false;
  c.s.*kField = value;
  return true;
}
template <uint64_t CpuState::*kField>
bool WriteCanonical(SoftVcpu& c, uint32_t, uint64_t value) {
  if (!IsCanonical(value)) return false;
  c.s.*kField = value;
  return true;
}

template <SegmentIndex kIndex>
bool ReadBase(SoftVcpu& c, uint32_t, uint64_t* value) {
  *value = c.s.seg[kIndex].base;
  return true;
}
template <SegmentIndex kIndex>
bool WriteBase(SoftVcpu& c, uint32_t, uint64_t value) {
  if (!IsCanonical(value)) return false;
  c.s.seg[kIndex].base = value;
  return true;
}

// ---- Single ones ----

bool ReadTscMsr(SoftVcpu& c, uint32_t, uint64_t* value) {
  *value = ReadTsc(c);
  return true;
}
bool WriteTscMsr(SoftVcpu& c, uint32_t, uint64_t value) {
  c.s.tsc_offset += value - ReadTsc(c);
  return true;
}

bool ReadApic(SoftVcpu& c, uint32_t msr, uint64_t* value) {
  return c.bus.ReadApicMsr(c.index, msr, value);
}
bool WriteApic(SoftVcpu& c, uint32_t msr, uint64_t value) {
  return c.bus.WriteApicMsr(c.index, msr, value);
}
// The LAPIC compares with the clock, which knows of no offset.
bool ReadDeadline(SoftVcpu& c, uint32_t msr, uint64_t* value) {
  if (!c.bus.ReadApicMsr(c.index, msr, value)) return false;
  if (*value != 0) *value += c.s.tsc_offset;
  return true;
}
bool WriteDeadline(SoftVcpu& c, uint32_t msr, uint64_t value) {
  if (value != 0) {
    // Zero disarms: a deadline that the offset brings to it has passed.
    value -= c.s.tsc_offset;
    if (value == 0) value = 1;
  }
  return c.bus.WriteApicMsr(c.index, msr, value);
}

bool WriteEfer(SoftVcpu& c, uint32_t, uint64_t value) {
  CpuState& s = c.s;
  if ((value & ~(kEferSce | kEferLme | kEferLma | kEferNxe)) != 0) return false;
  value = (value & ~kEferLma) | (s.efer & kEferLma);
  const uint64_t changed = value ^ s.efer;
  if ((changed & kEferLme) != 0 && s.paging) return false;
  s.efer = value;
  if ((changed & kEferNxe) != 0) {
    c.mmu.ModeChanged();
    c.mmu.FlushAll();
  }
  return true;
}

bool WritePat(SoftVcpu& c, uint32_t, uint64_t value) {
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned type = value >> (8 * i) & 0xFF;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  c.s.pat = value;
  return true;
}

bool ReadMtrrVariable(SoftVcpu& c, uint32_t msr, uint64_t* value) {
  *value = c.s.mtrr_variable[msr - 0x200];
  return true;
}
bool WriteMtrrVariable(SoftVcpu& c, uint32_t msr, uint64_t value) {
  if (value >> kPhysicalBits != 0) return false;
  c.s.mtrr_variable[msr - 0x200] = value;
  return true;
}

// 0x250; 0x258, 0x259; 0x268 to 0x26F.
unsigned FixedIndex(uint32_t msr) {
  if (msr == 0x250) return 0;
  return msr < 0x260 ? msr - 0x258 + 1 : msr - 0x268 + 3;
}
bool ReadMtrrFixed(SoftVcpu& c, uint32_t msr, uint64_t* value) {
  *value = c.s.mtrr_fixed[FixedIndex(msr)];
  return true;
}
bool WriteMtrrFixed(SoftVcpu& c, uint32_t msr, uint64_t value) {
  c.s.mtrr_fixed[FixedIndex(msr)] = value;
  return true;
}

// Microcode: a revision in the upper half, so that nobody offers us another.
bool ReadRevision(SoftVcpu&, uint32_t, uint64_t* value) {
  *value = uint64_t{0x1F} << 32;
  return true;
}

// ---- kvmclock: Documentation/virt/kvm/x86/msr.rst of Linux ----

struct TimeInfo {
  le32 version;
  le32 pad0;
  le64 tsc_timestamp;
  le64 system_time;
  le32 tsc_to_system_mul;
  uint8_t tsc_shift;  // signed
  uint8_t flags;
  uint8_t pad[2];
};
static_assert(sizeof(TimeInfo) == 32);

struct WallClock {
  le32 version;
  le32 sec;
  le32 nsec;
};
static_assert(sizeof(WallClock) == 12);

bool WriteSystemTime(SoftVcpu& c, uint32_t, uint64_t value) {
  c.s.kvm_system_time = value;
  if ((value & 1) == 0) return true;
  // The rate never changes, so the page is written once. A tick is a nanosecond:
  // (ticks << 1) * 2^31 / 2^32.
  const uint64_t now = c.bus.NowNs();
  TimeInfo info = {};
  info.version = 2;
  info.tsc_timestamp = now + c.s.tsc_offset;
  info.system_time = now;
  info.tsc_to_system_mul = 0x80000000;
  info.tsc_shift = 1;
  info.flags = 1;  // stable: may be compared across vCPUs
  c.memory.Store(Gpa(value & ~uint64_t{1}), info);
  return true;
}

bool WriteWallClock(SoftVcpu& c, uint32_t, uint64_t value) {
  c.s.kvm_wall_clock = value;
  const uint64_t wall =
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count());
  const uint64_t at_start = wall - c.bus.NowNs();
  WallClock clock;
  clock.version = 2;
  clock.sec = static_cast<uint32_t>(at_start / 1000000000);
  clock.nsec = static_cast<uint32_t>(at_start % 1000000000);
  c.memory.Store(Gpa(value), clock);
  return true;
}

using S = CpuState;

constexpr MsrEntry kTable[] = {
    {0x0, 0x1, "P5_MC", ReadConstant<0>, Ignore},
    {0x10, 0x10, "TSC", ReadTscMsr, WriteTscMsr},
    {0x11, 0x11, "KVM_WALL_CLOCK", ReadField<&S::kvm_wall_clock>, WriteWallClock},
    {0x12, 0x12, "KVM_SYSTEM_TIME", ReadField<&S::kvm_system_time>, WriteSystemTime},
    {0x17, 0x17, "PLATFORM_ID", ReadConstant<0>, nullptr},
    {0x1B, 0x1B, "APIC_BASE", ReadApic, WriteApic},
    {0x2A, 0x2A, "EBL_CR_POWERON", ReadConstant<0>, Ignore},
    {0x3A, 0x3A, "FEATURE_CONTROL", ReadConstant<1>, nullptr},  // locked, nothing enabled
    {0x48, 0x48, "SPEC_CTRL", ReadField<&S::spec_ctrl>, WriteField<&S::spec_ctrl, 0x403>},
    {0x49, 0x49, "PRED_CMD", nullptr, IgnoreBits<1>},
    {0x79, 0x79, "BIOS_UPDT_TRIG", nullptr, Ignore},
    {0x8B, 0x8B, "BIOS_SIGN_ID", ReadRevision, Ignore},
    {0xCE, 0xCE, "PLATFORM_INFO", ReadConstant<0>, nullptr},
    {0xFE, 0xFE, "MTRRCAP", ReadConstant<0x508>, nullptr},  // 8 variable, fixed, WC
    {0x10A, 0x10A, "ARCH_CAPABILITIES", ReadConstant<kArchCapabilities>, nullptr},
    {0x140, 0x140, "MISC_FEATURES_ENABLES", ReadConstant<0>, IgnoreBits<0>},
    {0x174, 0x174, "SYSENTER_CS", ReadField<&S::sysenter_cs>, WriteField<&S::sysenter_cs>},
    {0x175, 0x175, "SYSENTER_ESP", ReadField<&S::sysenter_esp>, WriteCanonical<&S::sysenter_esp>},
    {0x176, 0x176, "SYSENTER_EIP", ReadField<&S::sysenter_eip>, WriteCanonical<&S::sysenter_eip>},
    {0x179, 0x179, "MCG_CAP", ReadConstant<0>, nullptr},
    {0x17A, 0x17A, "MCG_STATUS", ReadConstant<0>, IgnoreBits<0>},
    {0x198, 0x198, "PERF_STATUS", ReadConstant<0>, nullptr},
    {0x1A0, 0x1A0, "MISC_ENABLE", ReadField<&S::misc_enable>, WriteField<&S::misc_enable>},
    // Branch single-stepping and last-branch records are accepted and not done.
    {0x1D9, 0x1D9, "DEBUGCTL", ReadConstant<0>, IgnoreBits<3>},
    {0x1DB, 0x1DE, "LASTBRANCH", ReadConstant<0>, nullptr},
    {0x200, 0x20F, "MTRR_PHYS", ReadMtrrVariable, WriteMtrrVariable},
    {0x250, 0x250, "MTRR_FIX64K", ReadMtrrFixed, WriteMtrrFixed},
    {0x258, 0x259, "MTRR_FIX16K", ReadMtrrFixed, WriteMtrrFixed},
    {0x268, 0x26F, "MTRR_FIX4K", ReadMtrrFixed, WriteMtrrFixed},
    {0x277, 0x277, "PAT", ReadField<&S::pat>, WritePat},
    {0x2FF, 0x2FF, "MTRR_DEF_TYPE", ReadField<&S::mtrr_def_type>,
     WriteField<&S::mtrr_def_type, 0xCFF>},
    {0x6E0, 0x6E0, "TSC_DEADLINE", ReadDeadline, WriteDeadline},
    {0x800, 0x8FF, "X2APIC", ReadApic, WriteApic},
    {0x4B564D00, 0x4B564D00, "KVM_WALL_CLOCK_NEW", ReadField<&S::kvm_wall_clock>, WriteWallClock},
    {0x4B564D01, 0x4B564D01, "KVM_SYSTEM_TIME_NEW", ReadField<&S::kvm_system_time>,
     WriteSystemTime},
    {0xC0000080, 0xC0000080, "EFER", ReadField<&S::efer>, WriteEfer},
    {0xC0000081, 0xC0000081, "STAR", ReadField<&S::star>, WriteField<&S::star>},
    {0xC0000082, 0xC0000082, "LSTAR", ReadField<&S::lstar>, WriteCanonical<&S::lstar>},
    {0xC0000083, 0xC0000083, "CSTAR", ReadField<&S::cstar>, WriteCanonical<&S::cstar>},
    {0xC0000084, 0xC0000084, "SFMASK", ReadField<&S::sfmask>, WriteField<&S::sfmask, 0xFFFFFFFF>},
    {0xC0000100, 0xC0000100, "FS_BASE", ReadBase<kFs>, WriteBase<kFs>},
    {0xC0000101, 0xC0000101, "GS_BASE", ReadBase<kGs>, WriteBase<kGs>},
    {0xC0000102, 0xC0000102, "KERNEL_GS_BASE", ReadField<&S::kernel_gs_base>,
     WriteCanonical<&S::kernel_gs_base>},
    {0xC0000103, 0xC0000103, "TSC_AUX", ReadField<&S::tsc_aux>,
     WriteField<&S::tsc_aux, 0xFFFFFFFF>},
};

const MsrEntry* Find(uint32_t msr) {
  const MsrEntry* e = std::upper_bound(std::begin(kTable), std::end(kTable), msr,
                                       [](uint32_t n, const MsrEntry& x) { return n < x.first; });
  if (e == std::begin(kTable)) return nullptr;
  --e;
  return msr <= e->last ? e : nullptr;
}

}  // namespace

std::span<const MsrEntry> MsrTable() { return kTable; }

bool ReadMsr(SoftVcpu& c, uint32_t msr, uint64_t* value) {
  const MsrEntry* e = Find(msr);
  return e != nullptr && e->read != nullptr && e->read(c, msr, value);
}

bool WriteMsr(SoftVcpu& c, uint32_t msr, uint64_t value) {
  const MsrEntry* e = Find(msr);
  return e != nullptr && e->write != nullptr && e->write(c, msr, value);
}

}  // namespace atl::cpu::soft
