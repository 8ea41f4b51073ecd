// SPDX-License-Identifier: Apache-2.0
// SYSCALL, SYSRET, SYSENTER, SYSEXIT, with Intel's rules: the first two in
// 64-bit mode only, the others in every protected mode.
#include <cstdint>

#include "Zydis/Zydis.h"
#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_select.h"
#include "lib/cpu/soft/sys_state.h"

namespace atl::cpu::soft {
namespace {

// The segments that these load without looking at a table: flat, 4 GiB.
void FixedCs(SoftVcpu& c, uint16_t selector, unsigned cpl, bool wide) {
  SegmentState& g = c.s.seg[kCs];
  g.base = 0;
  g.limit = 0xFFFFFFFF;
  g.selector = selector;
  g.attributes =
      static_cast<uint16_t>(kAttrG | (wide ? kAttrL : kAttrDb) | kAttrPresent | cpl << 5 | kAttrS |
                            kAttrCode | kAttrWritable | kAttrAccessed);
  g.unusable = false;
  g.flat_read = true;
  g.flat_write = false;
  c.s.cpl = static_cast<uint8_t>(cpl);
  CodeSegmentChanged(c.s);
}

void FixedSs(SoftVcpu& c, uint16_t selector, unsigned cpl) {
  SegmentState& g = c.s.seg[kSs];
  g.base = 0;
  g.limit = 0xFFFFFFFF;
  g.selector = selector;
  g.attributes = static_cast<uint16_t>(kAttrG | kAttrDb | kAttrPresent | cpl << 5 | kAttrS |
                                       kAttrWritable | kAttrAccessed);
  g.unusable = false;
  g.flat_read = g.flat_write = true;
  c.s.stack32 = true;
}

Step Syscall(SoftVcpu& c, const Insn& in) {
  CpuState& s = c.s;
  if (!c.in_64bit() || (s.efer & kEferSce) == 0) return c.Raise(kUd);
  const uint64_t flags = GetRflags(s);
  s.gpr[kRcx] = s.rip + in.length;
  s.gpr[kR11] = flags & ~kRf;
  s.rip = s.lstar;
  SetRflags(s, flags & ~(s.sfmask | kRf));
  const uint16_t selector = static_cast<uint16_t>(s.star >> 32 & 0xFFFC);
  FixedCs(c, selector, 0, true);
  FixedSs(c, static_cast<uint16_t>(selector + 8), 0);
  c.mmu.AcChanged();
  return Step::kBranch;
}

Step Sysret(SoftVcpu& c, const Insn& in) {
  CpuState& s = c.s;
  if (!c.in_64bit() || (s.efer & kEferSce) == 0) return c.Raise(kUd);
  if (s.cpl != 0) return c.Raise(kGp, 0);
  const bool wide = in.operand_size == 8;
  if (wide && !IsCanonical(s.gpr[kRcx])) return c.Raise(kGp, 0);
  s.rip = wide ? s.gpr[kRcx] : static_cast<uint32_t>(s.gpr[kRcx]);
  SetRflags(s, (s.gpr[kR11] & 0x3C7FD7) | 2);
  const uint16_t base = static_cast<uint16_t>(s.star >> 48);
  FixedCs(c, static_cast<uint16_t>((base + (wide ? 16 : 0)) | 3), 3, wide);
  FixedSs(c, static_cast<uint16_t>((base + 8) | 3), 3);
  c.mmu.AcChanged();
  return Step::kBranch;
}

Step Sysenter(SoftVcpu& c, const Insn&) {
  CpuState& s = c.s;
  const uint16_t selector = static_cast<uint16_t>(s.sysenter_cs & 0xFFFC);
  if (!s.protected_mode || selector == 0) return c.Raise(kGp, 0);
  const bool wide = s.long_mode;
  SetRflags(s, GetRflags(s) & ~(kVm | kIf | kRf));
  s.v8086 = false;
  s.rip = wide ? s.sysenter_eip : static_cast<uint32_t>(s.sysenter_eip);
  s.gpr[kRsp] = wide ? s.sysenter_esp : static_cast<uint32_t>(s.sysenter_esp);
  FixedCs(c, selector, 0, wide);
  FixedSs(c, static_cast<uint16_t>(selector + 8), 0);
  return Step::kBranch;
}

Step Sysexit(SoftVcpu& c, const Insn& in) {
  CpuState& s = c.s;
  const uint16_t base = static_cast<uint16_t>(s.sysenter_cs & 0xFFFC);
  if (!s.protected_mode || base == 0 || s.cpl != 0) return c.Raise(kGp, 0);
  const bool wide = c.in_64bit() && in.operand_size == 8;
  if (wide && (!IsCanonical(s.gpr[kRcx]) || !IsCanonical(s.gpr[kRdx]))) return c.Raise(kGp, 0);
  s.rip = wide ? s.gpr[kRdx] : static_cast<uint32_t>(s.gpr[kRdx]);
  s.gpr[kRsp] = wide ? s.gpr[kRcx] : static_cast<uint32_t>(s.gpr[kRcx]);
  FixedCs(c, static_cast<uint16_t>((base + (wide ? 32 : 16)) | 3), 3, wide);
  FixedSs(c, static_cast<uint16_t>((base + (wide ? 40 : 24)) | 3), 3);
  return Step::kBranch;
}

}  // namespace

Handler SelectFastCall(Insn& in, const DecodedView& view) {
  const bool rex_w = (view.insn->attributes & ZYDIS_ATTRIB_HAS_REX) != 0 && view.insn->raw.rex.W;
  in.operand_size = rex_w ? 8 : 4;
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
      return Syscall;
    case ZYDIS_MNEMONIC_SYSRET:
      return Sysret;
    case ZYDIS_MNEMONIC_SYSENTER:
      return Sysenter;
    case ZYDIS_MNEMONIC_SYSEXIT:
      return Sysexit;
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft
