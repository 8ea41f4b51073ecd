// SPDX-License-Identifier: Apache-2.0
// The state of a vCPU as lib/cpu/saved.h has it. What is loaded is foreign: every
// field is checked for what this CPU can be in, before anything is changed.
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/msr_table.h"
#include "lib/cpu/saved.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/msr.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"
#include "lib/cpu/soft/walk.h"

namespace atl::cpu::soft {
namespace {

// XSAVE's standard form.
constexpr size_t kHeaderAt = 512, kAvxAt = 576, kAvxBytes = 256;
constexpr uint64_t kRflagsDefined = kCf | kPf | kAf | kZf | kSf | kTf | kIf | kDf | kOf | kIopl |
                                    kNt | kRf | kVm | kAc | kVif | kVip | kId;
constexpr uint64_t kEferDefined = kEferSce | kEferLme | kEferLma | kEferNxe;

absl::Status Refuse(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("vCPU state: ", field, ": ", why));
}
absl::Status RefuseBits(absl::string_view field, uint64_t bits) {
  return Refuse(field, absl::StrFormat("the software CPU has no bits 0x%x", bits));
}

template <typename T>
T Get(const std::vector<uint8_t>& from, size_t at) {
  T v;
  std::memcpy(&v, from.data() + at, sizeof v);
  return v;
}

std::vector<uint8_t> SaveFpu(const FpuState& f, CpuModel model) {
  const bool avx = (SupportedXcr0(model) & kXcr0Avx) != 0;
  std::vector<uint8_t> out(avx ? kAvxAt + kAvxBytes : kAvxAt);
  StoreX87Image(f, out.data(), true);
  const uint32_t mxcsr[2] = {FpuGet<uint32_t>(f, FpuState::kMxcsr), kMxcsrValid};
  std::memcpy(out.data() + FpuState::kMxcsr, mxcsr, sizeof mxcsr);
  std::memcpy(out.data() + FpuState::kXmm, f.image + FpuState::kXmm, 256);
  uint64_t parts = kXcr0X87 | kXcr0Sse;
  if (avx) {
    std::memcpy(out.data() + kAvxAt, f.ymm_high, kAvxBytes);
    for (size_t i = kAvxAt; i < out.size(); ++i) {
      if (out[i] != 0) parts |= kXcr0Avx;
    }
  }
  std::memcpy(out.data() + kHeaderAt, &parts, sizeof parts);
  return out;
}

absl::Status CheckFpu(const std::vector<uint8_t>& in, uint64_t supported) {
  if (in.size() < kAvxAt) return Refuse("xsave", absl::StrCat(in.size(), " bytes, at least 576"));
  const auto parts = Get<uint64_t>(in, kHeaderAt);
  if (Get<uint64_t>(in, kHeaderAt + 8) != 0) return Refuse("xsave", "in compacted form");
  if ((parts & ~(supported | kXcr0X87 | kXcr0Sse)) != 0) {
    return RefuseBits("xsave.xstate_bv", parts & ~(supported | kXcr0X87 | kXcr0Sse));
  }
  if ((parts & kXcr0Avx) != 0 && in.size() < kAvxAt + kAvxBytes) {
    return Refuse("xsave", absl::StrCat(in.size(), " bytes, with AVX at least 832"));
  }
  const auto mxcsr = Get<uint32_t>(in, FpuState::kMxcsr);
  if ((mxcsr & ~kMxcsrValid) != 0) return RefuseBits("xsave.mxcsr", mxcsr & ~kMxcsrValid);
  return absl::OkStatus();
}

void LoadFpu(const std::vector<uint8_t>& in, FpuState& f) {
  const auto parts = Get<uint64_t>(in, kHeaderAt);
  std::memset(f.image + FpuState::kXmm, 0, 256);
  std::memset(f.ymm_high, 0, sizeof f.ymm_high);
  if (parts & kXcr0X87) {
    LoadX87Image(f, in.data(), true);
  } else {
    InitX87(f);
    std::memset(f.image + FpuState::kSt, 0, 128);
  }
  FpuSet(f, FpuState::kMxcsr, Get<uint32_t>(in, FpuState::kMxcsr));
  if (parts & kXcr0Sse) std::memcpy(f.image + FpuState::kXmm, in.data() + FpuState::kXmm, 256);
  if (parts & kXcr0Avx) std::memcpy(f.ymm_high, in.data() + kAvxAt, kAvxBytes);
}

absl::Status CheckSegment(absl::string_view name, const Segment& g, bool wide) {
  if (wide ? !IsCanonical(g.base) : g.base >> 32 != 0) {
    return Refuse(name, absl::StrFormat("base 0x%x", g.base));
  }
  if (g.type > 15 || g.dpl > 3) return Refuse(name, "type or DPL");
  return absl::OkStatus();
}

absl::Status CheckSystem(const SystemRegs& r, uint64_t rflags, CpuModel model) {
  const bool paging = (r.cr0 & kCr0Pg) != 0, is_protected = (r.cr0 & kCr0Pe) != 0,
             wide = (r.efer & kEferLma) != 0;
  if ((r.cr0 & ~kCr0Defined) != 0) return RefuseBits("cr0", r.cr0 & ~kCr0Defined);
  if (paging && !is_protected) return Refuse("cr0", "PG without PE");
  if ((r.cr0 & kCr0Nw) && !(r.cr0 & kCr0Cd)) return Refuse("cr0", "NW without CD");
  if ((r.cr4 & ~OfferedCr4(model)) != 0) return RefuseBits("cr4", r.cr4 & ~OfferedCr4(model));
  if ((r.efer & ~kEferDefined) != 0) return RefuseBits("efer", r.efer & ~kEferDefined);
  if (wide != (paging && (r.efer & kEferLme))) return Refuse("efer", "LMA is not LME with paging");
  if (wide && !(r.cr4 & kCr4Pae)) return Refuse("cr4", "long mode without PAE");
  if ((r.cr4 & kCr4Pcide) && !wide) return Refuse("cr4", "PCIDE without long mode");
  if (r.cr3 >> (wide ? kPhysicalBits : 32) != 0) {
    return Refuse("cr3", absl::StrFormat("0x%x is too large", r.cr3));
  }
  if (r.cr8 > 15) return Refuse("cr8", absl::StrCat(r.cr8, " is more than 15"));
  constexpr absl::string_view kNames[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < 6; ++i) {
    RETURN_IF_ERROR(CheckSegment(kNames[i], r.segment[i], wide || i >= kFs));
  }
  RETURN_IF_ERROR(CheckSegment("tr", r.tr, true));
  RETURN_IF_ERROR(CheckSegment("ldt", r.ldt, true));
  if (!IsCanonical(r.gdt.base)) return Refuse("gdt", absl::StrFormat("base 0x%x", r.gdt.base));
  if (!IsCanonical(r.idt.base)) return Refuse("idt", absl::StrFormat("base 0x%x", r.idt.base));
  const Segment& cs = r.segment[kCs];
  if (wide && cs.l && cs.db) return Refuse("cs", "both of 64 and of 32 bits");
  if (cs.l && !wide) return Refuse("cs", "of 64 bits without long mode");
  if ((rflags & kVm) && (wide || !is_protected)) return Refuse("rflags", "VM in this mode");
  return absl::OkStatus();
}

absl::Status CheckEvents(const SavedVcpu& in) {
  const SavedEvents& e = in.events;
  if (e.smm || e.smi_pending || e.smm_inside_nmi || e.smm_latched_init)
    return Refuse("events", "the software CPU has no system management mode");
  if (e.exception && e.exception_vector > 31)
    return Refuse("events.exception_vector", absl::StrCat(e.exception_vector));
  if (e.exception + e.interrupt + e.nmi > 1)
    return Refuse("events", "more than one of exception, interrupt and NMI is being delivered");
  if ((e.debug & ~uint64_t{kDr6Writable}) != 0)
    return RefuseBits("events.debug", e.debug & ~uint64_t{kDr6Writable});
  if (e.shadow > (kShadowMovSs | kShadowSti))
    return Refuse("events.shadow", absl::StrCat(e.shadow));
  if (in.activity > Activity::kWaitForSipi)
    return Refuse("activity", absl::StrCat("a LAPIC of KVM's (", static_cast<int>(in.activity),
                                           ") is taking INIT or SIPI"));
  return absl::OkStatus();
}

absl::Status Check(const SavedVcpu& in, CpuModel model) {
  const uint64_t rflags = in.regs.rflags;
  if ((rflags & ~(kRflagsDefined | 2)) != 0)
    return RefuseBits("rflags", rflags & ~(kRflagsDefined | 2));
  RETURN_IF_ERROR(CheckSystem(in.system, rflags, model));
  const bool code64 = (in.system.efer & kEferLma) && in.system.segment[kCs].l;
  if (code64 ? !IsCanonical(in.regs.rip) : in.regs.rip >> 32 != 0)
    return Refuse("rip", absl::StrFormat("0x%x", in.regs.rip));
  if ((in.dr6 & ~kDr6Writable) != kDr6Fixed) return Refuse("dr6", absl::StrFormat("0x%x", in.dr6));
  if ((in.dr7 & ~kDr7Writable) != kDr7Fixed) return Refuse("dr7", absl::StrFormat("0x%x", in.dr7));
  const uint64_t supported = SupportedXcr0(model) | kXcr0X87;
  if ((in.xcr0 & ~supported) != 0) return RefuseBits("xcr0", in.xcr0 & ~supported);
  if (!(in.xcr0 & kXcr0X87) || ((in.xcr0 & kXcr0Avx) && !(in.xcr0 & kXcr0Sse)))
    return Refuse("xcr0", absl::StrFormat("0x%x", in.xcr0));
  RETURN_IF_ERROR(CheckFpu(in.xsave, SupportedXcr0(model)));
  if (in.msrs.size() > kMaxSavedMsrs) return Refuse("msrs", "too many");
  return CheckEvents(in);
}

absl::Status LoadMsr(SoftVcpu& c, const SavedMsr& m, StatePart part) {
  const MsrInfo* info = FindMsr(m.index);
  const std::string name = absl::StrFormat("MSR 0x%x", m.index);
  if (info == nullptr || info->kind == MsrKind::kElsewhere || info->kind == MsrKind::kNone)
    return Refuse(name, "is no state that is saved");
  const bool time = info->kind == MsrKind::kTime || info->kind == MsrKind::kLapic;
  if (time && part == StatePart::kRegisters) return absl::OkStatus();
  uint64_t now = info->reset;
  const bool known = ReadMsr(c, m.index, &now);
  if (now == m.value) return absl::OkStatus();
  if (known && WriteMsr(c, m.index, m.value)) return absl::OkStatus();
  return Refuse(absl::StrCat(name, " (", info->name, ")"),
                absl::StrFormat("the software CPU cannot have 0x%x in it", m.value));
}

// What was taken before it was saved and had to be delivered yet.
bool DeliverTaken(SoftVcpu& c, const SavedEvents& e) {
  if (e.nmi) {
    c.s.nmi_blocked = true;
    return DeliverInterrupt(c, kNmi);
  }
  if (e.interrupt) return DeliverInterrupt(c, e.interrupt_vector);
  if (!e.exception) return true;
  c.fault = {e.exception_vector, e.exception_has_code, e.exception_code, c.s.cr2};
  return DeliverFault(c);
}

}  // namespace

absl::Status SoftVcpu::Save(SavedVcpu* out) {
  *out = SavedVcpu();
  ASSIGN_OR_RETURN(out->regs, GetRegs());
  ASSIGN_OR_RETURN(out->system, GetSystemRegs());
  if (mmu.paging().kind == Paging::Kind::kPae) {
    out->has_pdptes = true;
    std::memcpy(out->pdpte, mmu.paging().pdpte, sizeof out->pdpte);
  }
  std::memcpy(out->dr, s.dr, sizeof out->dr);
  out->dr6 = s.dr[6];
  out->dr7 = s.dr[7];
  out->xcr0 = s.xcr0;
  out->xsave = SaveFpu(s.fpu, vm.model());
  for (const MsrInfo& info : MsrInfos()) {
    if (info.kind != MsrKind::kRegister && info.kind != MsrKind::kTime) continue;
    for (uint32_t msr = info.first; msr <= info.last; ++msr) {
      uint64_t value;
      if (ReadMsr(*this, msr, &value)) out->msrs.push_back({msr, value});
    }
  }
  const uint32_t posted = requests.load(std::memory_order_acquire);
  SavedEvents& e = out->events;
  e.debug = s.pending_debug;
  if (s.interrupt_shadow && s.shadow_rip == s.rip) {
    // STI's needs IF on a processor.
    e.shadow = (s.rflags_rest & kIf) != 0 ? kShadowSti : kShadowMovSs;
  }
  e.nmi_pending = (posted & kNmiRequest) != 0;
  e.nmi_masked = s.nmi_blocked;
  e.init = (posted & kInitRequest) != 0;
  e.sipi = (posted & kSipiRequest) != 0;
  e.sipi_vector = e.sipi ? sipi_vector.load(std::memory_order_acquire) : 0;
  out->activity = s.wait_for_sipi ? Activity::kWaitForSipi
                  : s.halted      ? Activity::kHalted
                                  : Activity::kRunning;
  out->tsc_khz = kTscHz / 1000;
  out->tsc = ReadTsc(*this);
  return absl::OkStatus();
}

absl::Status SoftVcpu::Load(const SavedVcpu& in, StatePart part) {
  RETURN_IF_ERROR(Check(in, vm.model()));
  if (part == StatePart::kWhole) {
    if (!in.lapic.empty()) return Refuse("lapic", "the machine's LAPICs are devices here");
    if (in.tsc_khz != kTscHz / 1000) {
      return Refuse("tsc_khz",
                    absl::StrFormat("the time-stamp counter ran at %u kHz, here it does at %u",
                                    in.tsc_khz, kTscHz / 1000));
    }
  }
  Reset();
  s.wait_for_sipi = in.activity == Activity::kWaitForSipi;
  s.halted = in.activity == Activity::kHalted;
  // In this order: the system registers' part looks at no general one.
  absl::Status system = SetSystemRegs(in.system);
  // PDPTEs as they were loaded, whatever is in memory now.
  const bool pdptes = in.has_pdptes && mmu.paging().kind == Paging::Kind::kPae;
  if (!system.ok() && !pdptes) return Refuse("cr3", system.message());
  if (pdptes && !mmu.SetPdptes(in.pdpte)) return Refuse("pdpte", "reserved bits");
  RETURN_IF_ERROR(SetRegs(in.regs));
  std::memcpy(s.dr, in.dr, sizeof in.dr);
  s.dr[6] = in.dr6;
  s.dr[7] = in.dr7;
  s.xcr0 = in.xcr0;
  LoadFpu(in.xsave, s.fpu);
  // Before the MSRs, of which some are times.
  if (part == StatePart::kWhole) s.tsc_offset += in.tsc - ReadTsc(*this);
  for (const SavedMsr& m : in.msrs) RETURN_IF_ERROR(LoadMsr(*this, m, part));
  ModeChanged(*this);
  mmu.FlushAll();
  mmu.BreakpointsChanged();

  const SavedEvents& e = in.events;
  s.pending_debug = e.debug;
  s.nmi_blocked = e.nmi_masked;
  s.interrupt_shadow = e.shadow != 0;
  s.shadow_rip = s.rip;
  uint32_t request = kInternalRequest;
  if (e.nmi_pending) request |= kNmiRequest;
  if (e.init) request |= kInitRequest;
  if (e.sipi) request |= kSipiRequest;
  sipi_vector.store(e.sipi_vector, std::memory_order_release);
  Ask(request);
  if (!DeliverTaken(*this, e)) {
    return Refuse("events", "what was being delivered has nowhere to go: a triple fault");
  }
  return absl::OkStatus();
}

absl::Status SoftVm::Save(SavedVm* out) {
  *out = SavedVm();
  return absl::OkStatus();
}

absl::Status SoftVm::Load(const SavedVm& in) {
  if (in.has_clock) return absl::InvalidArgumentError("VM state: clock: kvmclock is KVM's own");
  if (!in.pic[0].empty() || !in.pic[1].empty() || !in.ioapic.empty() || !in.pit.empty())
    return absl::InvalidArgumentError("VM state: interrupt controllers: they are devices here");
  return absl::OkStatus();
}

}  // namespace atl::cpu::soft
