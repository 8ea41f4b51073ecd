// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/access.h"

namespace atl::cpu::soft {

// Intel SDM vol. 3, 5.3 and 5.4. Attributes as SegmentState has them.
bool CheckSegment(SoftVcpu& c, uint8_t seg, uint64_t offset, unsigned size, bool write) {
  const SegmentState& g = c.s.seg[seg];
  const Vector vector = seg == kSs ? kSsFault : kGp;
  const bool code = g.attributes & 8;
  const bool typed = c.s.protected_mode && !c.s.v8086;
  if (g.unusable) return c.Raise(kGp, 0), false;
  if (typed && (write ? code || !(g.attributes & 2) : code && !(g.attributes & 2)))
    return c.Raise(vector, 0), false;
  const uint64_t last = offset + size - 1;
  bool inside;
  if (!code && (g.attributes & 4)) {
    // Expand-down: above the limit, up to 64 KiB or 4 GiB by B.
    inside = offset > g.limit && last <= ((g.attributes & 0x4000) ? 0xFFFFFFFFu : 0xFFFFu);
  } else {
    inside = last <= g.limit;
  }
  if (!inside) return c.Raise(vector, 0), false;
  return true;
}

Step ModifySlow(SoftVcpu& c, uint64_t linear, unsigned size, bool stack, ChangeFunction change,
                void* context) {
  bool faulted = false;
  uint8_t* p = c.mmu.RmwPointer(linear, size, c.rights(), stack, &faulted);
  if (p != nullptr) {
    change(context, p);
    c.mmu.Stored(p, size);
    return AfterSlowStore(c, true);
  }
  if (faulted || !c.mmu.Probe(linear, size, Access::kWrite, c.rights(), stack)) return Step::kFault;
  MutexLock lock(&c.vm.split_lock());
  alignas(16) uint8_t copy[16];
  if (!c.mmu.ReadSlow(linear, copy, size, c.rights(), stack)) return Step::kFault;
  change(context, copy);
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, copy, size, c.rights(), stack));
}

bool LoadBytes(SoftVcpu& c, const Insn& in, void* to, unsigned size) {
  uint64_t linear;
  return SegmentLinear(c, in.seg, EffectiveOffset(c, in), size, false, &linear) &&
         c.mmu.ReadSlow(linear, to, size, c.rights(), in.seg == kSs);
}

Step StoreBytes(SoftVcpu& c, const Insn& in, const void* from, unsigned size) {
  uint64_t linear;
  if (!SegmentLinear(c, in.seg, EffectiveOffset(c, in), size, true, &linear)) return Step::kFault;
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, from, size, c.rights(), in.seg == kSs));
}

}  // namespace atl::cpu::soft
