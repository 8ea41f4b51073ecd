// SPDX-License-Identifier: Apache-2.0
// Memory operands of native_*.cc, whose sizes are known by table: bytes in place
// where the TLB has them, else copied.
#ifndef LIB_CPU_SOFT_NATIVE_ACCESS_H_
#define LIB_CPU_SOFT_NATIVE_ACCESS_H_

#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/mmu.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

template <unsigned kSize>
struct ByteArray {
  uint8_t bytes[kSize];
};

// The linear address of the memory operand; false: a fault.
inline bool LinearOf(SoftVcpu& c, const Insn& in, unsigned size, bool write, uint64_t* linear) {
  return OperandLinear<kAny>(c, in, size, write, linear);
}

// Whether a fault of this operand is #SS, not #GP, where its address is not
// canonical.
inline bool IsStack(const Insn& in) { return in.seg == kSs; }

// What a misaligned image gives: that its address is not canonical counts first,
// unlike for SSE's operands.
inline Step RaiseMisaligned(SoftVcpu& c, const Insn& in, uint64_t linear) {
  const uint64_t upper = linear >> 47;
  return c.Raise(IsStack(in) && upper != 0 && upper != 0x1FFFF ? kSsFault : kGp, 0);
}

// The host address of the bytes to read or write in place, or null for the slow way.
inline uint8_t* FastPointer(SoftVcpu& c, uint64_t linear, unsigned size, bool write) {
  const bool user = c.user();
  auto find = [&]<unsigned kSize>() {
    return write ? c.mmu.FastWrite<ByteArray<kSize>>(linear, user)
                 : c.mmu.FastRead<ByteArray<kSize>>(linear, user);
  };
  switch (size) {
    case 1:
      return find.template operator()<1>();
    case 2:
      return find.template operator()<2>();
    case 4:
      return find.template operator()<4>();
    case 8:
      return find.template operator()<8>();
    case 10:
      return find.template operator()<10>();
    case 16:
      return find.template operator()<16>();
    case 32:
      return find.template operator()<32>();
    default:
      return nullptr;
  }
}

// The operand's bytes: in place, or copied to `bounce`. Null: a fault.
inline const uint8_t* LoadOperand(SoftVcpu& c, const Insn& in, uint64_t linear, unsigned size,
                                  uint8_t* bounce) {
  if (const uint8_t* p = FastPointer(c, linear, size, false)) [[likely]]
    return p;
  return c.mmu.ReadSlow(linear, bounce, size, c.rights(), IsStack(in)) ? bounce : nullptr;
}

// Stores the operand; kFault, or how the instruction ends.
inline Step StoreOperand(SoftVcpu& c, const Insn& in, uint64_t linear, unsigned size,
                         const void* bytes) {
  if (uint8_t* p = FastPointer(c, linear, size, true)) [[likely]] {
    memcpy(p, bytes, size);
    return Step::kNext;
  }
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, bytes, size, c.rights(), IsStack(in)));
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_NATIVE_ACCESS_H_
