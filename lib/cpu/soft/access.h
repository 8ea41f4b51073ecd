// SPDX-License-Identifier: Apache-2.0
// How handlers reach registers, flags and memory operands.
//
// A store that ends well may still say kLeave (it changed the running block's
// own bytes), so stores return a Step that the handler passes on as its own:
//   return Store<T, kFlat>(c, in, value);
// or, where work is left after the store, looks at: only kFault ends it.
#ifndef LIB_CPU_SOFT_ACCESS_H_
#define LIB_CPU_SOFT_ACCESS_H_

#include <cstdint>
#include <type_traits>

#include "lib/base/mutex.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/mmu.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {

// ---- host accesses: one instruction each, so that they are atomic where the
// guest's would be ----

template <typename T>
using Unaligned [[gnu::aligned(1), gnu::may_alias]] = T;

template <typename T>
inline T HostLoad(const uint8_t* p) {
  return *reinterpret_cast<const volatile Unaligned<T>*>(p);
}
template <typename T>
inline void HostStore(uint8_t* p, T v) {
  *reinterpret_cast<volatile Unaligned<T>*>(p) = v;
}

// ---- registers ----

// Slot `n` of the general registers, rip and the zero behind them.
inline uint64_t Slot(const SoftVcpu& c, unsigned n) {
  return reinterpret_cast<const uint64_t*>(&c.s)[n];
}
static_assert(offsetof(CpuState, gpr) == 0 && offsetof(CpuState, rip) == 8 * kRipReg &&
              offsetof(CpuState, zero) == 8 * kZeroSlot);

template <typename T>
inline T ReadReg(const SoftVcpu& c, uint8_t r) {
  if constexpr (sizeof(T) == 1) {
    // kHigh8 + n: the second byte of register n.
    return static_cast<T>(reinterpret_cast<const uint8_t*>(&c.s)[(r & 15) * 8 + (r >> 5)]);
  } else {
    return static_cast<T>(c.s.gpr[r & 15]);
  }
}

// Always one store of 64 bits: a narrow one would stall the next wide read.
template <typename T>
inline void WriteReg(SoftVcpu& c, uint8_t r, T v) {
  using U = std::make_unsigned_t<T>;
  uint64_t& g = c.s.gpr[r & 15];
  if constexpr (sizeof(T) >= 4) {
    g = static_cast<U>(v);
  } else if constexpr (sizeof(T) == 2) {
    g = (g & ~uint64_t{0xFFFF}) | static_cast<U>(v);
  } else {
    unsigned shift = (r >> 5) * 8;
    g = (g & ~(uint64_t{0xFF} << shift)) | (static_cast<uint64_t>(static_cast<U>(v)) << shift);
  }
}

// Registers that string, stack and loop instructions use, by address size.
inline uint64_t MaskAddress(uint64_t v, unsigned address_size) {
  if (address_size == 8) return v;
  return address_size == 4 ? static_cast<uint32_t>(v) : static_cast<uint16_t>(v);
}
inline void WriteAddressReg(SoftVcpu& c, uint8_t r, uint64_t v, unsigned address_size) {
  if (address_size == 2) {
    WriteReg<uint16_t>(c, r, static_cast<uint16_t>(v));
  } else {
    c.s.gpr[r] = MaskAddress(v, address_size);
  }
}

// ---- flags ----

// `ax` as the host's LAHF and SETO AL leave it.
inline void SetArithmeticFlags(SoftVcpu& c, uint16_t ax) {
  static_assert(offsetof(CpuState, flags_lo) == offsetof(CpuState, flags_of) + 1);
  HostStore<uint16_t>(&c.s.flags_of, ax);
}
inline uint16_t ArithmeticFlags(const SoftVcpu& c) { return HostLoad<uint16_t>(&c.s.flags_of); }
inline bool Carry(const SoftVcpu& c) { return c.s.flags_lo & kCf; }
inline void SetCarry(SoftVcpu& c, bool v) {
  c.s.flags_lo = static_cast<uint8_t>((c.s.flags_lo & ~kCf) | v);
}

// The host's flags from `ax` (ADD gives OF) and back: around an instruction in
// inline assembly that has "+a"(ax).
#define ATOLL_FLAGS_IN "addb $0x7f, %%al\n\tsahf\n\t"
#define ATOLL_FLAGS_OUT "\n\tlahf\n\tseto %%al"

// Condition `cc` as Jcc, SETcc and CMOVcc encode it (vol. 1, appendix B).
template <unsigned cc>
inline bool Condition(const SoftVcpu& c) {
  const uint8_t lo = c.s.flags_lo;
  bool r = false;
  switch (cc >> 1) {
    case 0:
      r = c.s.flags_of;
      break;
    case 1:
      r = lo & kCf;
      break;
    case 2:
      r = lo & kZf;
      break;
    case 3:
      r = lo & (kCf | kZf);
      break;
    case 4:
      r = lo & kSf;
      break;
    case 5:
      r = lo & kPf;
      break;
    case 6:
      r = (lo >> 7) != c.s.flags_of;
      break;
    case 7:
      r = (lo & kZf) || (lo >> 7) != c.s.flags_of;
      break;
  }
  return r != (cc & 1);
}

// ---- addresses ----

// kFlat: 64-bit mode, 64-bit addresses, no FS or GS: the offset is the linear
// address. Selectors ask FlatOperand().
enum Mem : uint8_t { kFlat, kAny };

// base + index * scale + disp, cut to the address size.
inline uint64_t EffectiveOffset(const SoftVcpu& c, const Insn& in) {
  return MaskAddress(Slot(c, in.base_slot) + (Slot(c, in.index_slot) << in.scale_shift) +
                         static_cast<uint64_t>(in.disp),
                     in.address_size);
}

// Segmentation's slow part: limits, types, null selectors.
bool CheckSegment(SoftVcpu& c, uint8_t seg, uint64_t offset, unsigned size, bool write);

// The linear address of [seg:offset, size); false: #GP(0) or #SS(0) is in
// c.fault. In 64-bit mode non-canonical addresses are the MMU's to find.
inline bool SegmentLinear(SoftVcpu& c, uint8_t seg, uint64_t offset, unsigned size, bool write,
                          uint64_t* out) {
  const SegmentState& g = c.s.seg[seg];
  if (c.s.code_size == CodeSize::k64) {
    *out = seg >= kFs ? g.base + offset : offset;
    return true;
  }
  if (!(write ? g.flat_write : g.flat_read) && !CheckSegment(c, seg, offset, size, write))
    return false;
  *out = static_cast<uint32_t>(g.base + offset);
  return true;
}

template <Mem M>
inline bool OperandLinear(SoftVcpu& c, const Insn& in, unsigned size, bool write, uint64_t* out) {
  if constexpr (M == kFlat) {
    *out = Slot(c, in.base_slot) + (Slot(c, in.index_slot) << in.scale_shift) +
           static_cast<uint64_t>(in.disp);
    return true;
  } else {
    return SegmentLinear(c, in.seg, EffectiveOffset(c, in), size, write, out);
  }
}

// ---- memory ----

// kFault, kNext, or kLeave where the store changed the running block's page.
inline Step AfterSlowStore(const SoftVcpu& c, bool ok) {
  if (!ok) return Step::kFault;
  if (c.block_version_at != nullptr &&
      c.block_version_at->load(std::memory_order_relaxed) != c.block_version)
    return Step::kLeave;
  return Step::kNext;
}

template <typename T>
[[gnu::noinline]] bool LoadSlow(SoftVcpu& c, uint64_t linear, T* v, bool stack) {
  return c.mmu.ReadSlow(linear, v, sizeof(T), c.rights(), stack);
}
template <typename T>
[[gnu::noinline]] Step StoreSlow(SoftVcpu& c, uint64_t linear, T v, bool stack) {
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, &v, sizeof(T), c.rights(), stack));
}

template <typename T>
inline bool LoadLinear(SoftVcpu& c, uint64_t linear, T* v, bool stack = false) {
  if (const uint8_t* p = c.mmu.FastRead<T>(linear, c.user())) [[likely]] {
    *v = HostLoad<T>(p);
    return true;
  }
  T slow;
  if (!LoadSlow(c, linear, &slow, stack)) return false;
  *v = slow;
  return true;
}
template <typename T>
inline Step StoreLinear(SoftVcpu& c, uint64_t linear, T v, bool stack = false) {
  if (uint8_t* p = c.mmu.FastWrite<T>(linear, c.user())) [[likely]] {
    HostStore<T>(p, v);
    return Step::kNext;
  }
  return StoreSlow<T>(c, linear, v, stack);
}

// The instruction's memory operand.
template <typename T, Mem M>
inline bool Load(SoftVcpu& c, const Insn& in, T* v) {
  uint64_t linear;
  return OperandLinear<M>(c, in, sizeof(T), false, &linear) &&
         LoadLinear<T>(c, linear, v, in.seg == kSs);
}
template <typename T, Mem M>
inline Step Store(SoftVcpu& c, const Insn& in, T v) {
  uint64_t linear;
  if (!OperandLinear<M>(c, in, sizeof(T), true, &linear)) return Step::kFault;
  return StoreLinear<T>(c, linear, v, in.seg == kSs);
}

// The operand as bytes, up to 4096, any mode.
bool LoadBytes(SoftVcpu& c, const Insn& in, void* to, unsigned size);
Step StoreBytes(SoftVcpu& c, const Insn& in, const void* from, unsigned size);

// Read-modify-write: `change(uint8_t* p)` works on T at p, once, and may set
// registers and flags: nothing faults after it was called. For p in guest
// memory it runs there (LOCKed forms use a locked host instruction), for MMIO
// and page-crossing operands on a copy under the VM's split lock.
using ChangeFunction = void (*)(void* context, uint8_t* p);
Step ModifySlow(SoftVcpu& c, uint64_t linear, unsigned size, bool stack, ChangeFunction change,
                void* context);

template <typename T, typename F>
inline Step ModifyLinear(SoftVcpu& c, uint64_t linear, bool stack, F change) {
  if (uint8_t* p = c.mmu.FastWrite<T>(linear, c.user())) [[likely]] {
    change(p);
    return Step::kNext;
  }
  return ModifySlow(
      c, linear, sizeof(T), stack,
      [](void* context, uint8_t* p) { (*static_cast<F*>(context))(p); }, &change);
}

template <typename T, Mem M, typename F>
inline Step Modify(SoftVcpu& c, const Insn& in, F change) {
  uint64_t linear;
  if (!OperandLinear<M>(c, in, sizeof(T), true, &linear)) return Step::kFault;
  return ModifyLinear<T>(c, linear, in.seg == kSs, change);
}

// ---- stack (PUSH, POP, CALL, RET at the current CPL) ----

inline uint64_t StackPointer(const SoftVcpu& c) {
  if (c.in_64bit()) return c.s.gpr[kRsp];
  return c.s.stack32 ? static_cast<uint32_t>(c.s.gpr[kRsp]) : static_cast<uint16_t>(c.s.gpr[kRsp]);
}
inline unsigned StackAddressSize(const SoftVcpu& c) {
  return c.in_64bit() ? 8 : c.s.stack32 ? 4 : 2;
}
inline void SetStackPointer(SoftVcpu& c, uint64_t v) {
  WriteAddressReg(c, kRsp, v, StackAddressSize(c));
}

template <typename T>
inline Step Push(SoftVcpu& c, T v) {
  uint64_t sp = MaskAddress(StackPointer(c) - sizeof(T), StackAddressSize(c)), linear;
  if (!SegmentLinear(c, kSs, sp, sizeof(T), true, &linear)) return Step::kFault;
  Step step = StoreLinear<T>(c, linear, v, true);
  if (step != Step::kFault) SetStackPointer(c, sp);
  return step;
}
// Reads the top of the stack `skip` bytes up; the pointer stays.
template <typename T>
inline bool Peek(SoftVcpu& c, T* v, unsigned skip = 0) {
  uint64_t sp = MaskAddress(StackPointer(c) + skip, StackAddressSize(c)), linear;
  return SegmentLinear(c, kSs, sp, sizeof(T), false, &linear) && LoadLinear<T>(c, linear, v, true);
}
inline void Drop(SoftVcpu& c, uint64_t bytes) { SetStackPointer(c, StackPointer(c) + bytes); }

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_ACCESS_H_
