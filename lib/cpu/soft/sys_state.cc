// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/sys_state.h"

#include "lib/cpu/soft/sys_descriptor.h"

namespace atl::cpu::soft {
uint64_t ReadTsc(const SoftVcpu& c) {
  static_assert(kTscHz == 1000000000, "a TSC tick is a nanosecond");
  return c.bus.NowNs() + c.s.tsc_offset;
}

void ModeChanged(SoftVcpu& c) {
  CpuState& s = c.s;
  const bool was_protected = s.protected_mode;
  s.protected_mode = (s.cr0 & kCr0Pe) != 0;
  s.paging = (s.cr0 & kCr0Pg) != 0;
  s.long_mode = (s.efer & kEferLma) != 0;
  s.v8086 = (s.rflags_rest & kVm) != 0;
  if (!s.protected_mode) {
    s.cpl = 0;
    // In real mode CS can be written, whatever its descriptor said.
    if (was_protected) {
      uint16_t& a = s.seg[kCs].attributes;
      a = static_cast<uint16_t>((a & kAttrDb) | kAttrPresent | kAttrS | kAttrWritable |
                                kAttrAccessed);
    }
  }
  // In protected mode the CPL is SS's DPL, wherever the state came from.
  if (s.v8086) {
    s.cpl = 3;
  } else if (s.protected_mode && !s.seg[kSs].unusable) {
    s.cpl = static_cast<uint8_t>(AttrDpl(s.seg[kSs].attributes));
  }
  for (SegmentState& g : s.seg) SetFlat(g);
  CodeSegmentChanged(s);
  s.stack32 = (s.seg[kSs].attributes & kAttrDb) != 0;
  c.mmu.ModeChanged();
}

}  // namespace atl::cpu::soft
