// SPDX-License-Identifier: Apache-2.0
// Segment and gate descriptors (vol. 3, 3.4.5, 5.8 and 6.11), the reading of
// them from the guest's tables, and the stacks that transfers push on and pop
// from. Inside sys_*.cc.
//
// `ext` is what is ORed into error codes: 1 while an event from outside the
// instruction stream is delivered, else 0. Calls that give bool: false, the
// exception is in SoftVcpu::fault.
#ifndef LIB_CPU_SOFT_SYS_DESCRIPTOR_H_
#define LIB_CPU_SOFT_SYS_DESCRIPTOR_H_

#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

// SegmentState::attributes.
inline constexpr uint16_t kAttrAccessed = 1, kAttrWritable = 2, kAttrExpandDown = 4, kAttrCode = 8,
                          kAttrS = 0x10, kAttrPresent = 0x80, kAttrL = 0x2000, kAttrDb = 0x4000,
                          kAttrG = 0x8000;
inline unsigned AttrDpl(uint16_t attributes) { return attributes >> 5 & 3; }

// Types of system descriptors.
enum SystemType : uint8_t {
  kTss16 = 1,
  kLdtType = 2,
  kTss16Busy = 3,
  kCallGate16 = 4,
  kTaskGate = 5,
  kInterruptGate16 = 6,
  kTrapGate16 = 7,
  kTss32 = 9,
  kTss32Busy = 11,
  kCallGate32 = 12,
  kInterruptGate32 = 14,
  kTrapGate32 = 15,
};

struct Descriptor {
  uint32_t low = 0, high = 0;
  uint32_t upper = 0;  // of a 16-byte descriptor: bits 32 to 63 of base or offset

  unsigned type() const { return high >> 8 & 15; }
  bool s() const { return (high >> 12 & 1) != 0; }
  unsigned dpl() const { return high >> 13 & 3; }
  bool present() const { return (high >> 15 & 1) != 0; }
  bool l() const { return (high >> 21 & 1) != 0; }
  bool db() const { return (high >> 22 & 1) != 0; }
  uint16_t attributes() const { return static_cast<uint16_t>(high >> 8 & 0xF0FF); }

  bool is_code() const { return s() && (type() & 8) != 0; }
  bool conforming() const { return is_code() && (type() & 4) != 0; }
  bool readable() const { return s() && ((type() & 8) == 0 || (type() & 2) != 0); }
  bool writable_data() const { return s() && (type() & 10) == 2; }

  uint64_t base() const {
    return static_cast<uint64_t>(upper) << 32 |
           ((low >> 16) | (high & 0xFF) << 16 | (high & 0xFF000000));
  }
  uint32_t limit() const {
    const uint32_t v = (low & 0xFFFF) | (high & 0xF0000);
    return (high >> 23 & 1) != 0 ? v << 12 | 0xFFF : v;
  }

  // Of a gate.
  uint16_t gate_selector() const { return static_cast<uint16_t>(low >> 16); }
  uint64_t gate_offset() const {
    return static_cast<uint64_t>(upper) << 32 | (low & 0xFFFF) | (high & 0xFFFF0000);
  }
  unsigned gate_parameters() const { return high & 31; }
  unsigned gate_ist() const { return high & 7; }
};

inline bool Fail(SoftVcpu& c, Vector v, uint32_t error_code) {
  c.Raise(v, error_code);
  return false;
}

inline bool IsNull(uint16_t selector) { return (selector & 0xFFFC) == 0; }

// The processor's own accesses to its tables.
template <typename T>
bool ReadSystem(SoftVcpu& c, uint64_t linear, T* out) {
  if (const uint8_t* p = c.mmu.FastReadImplicit<T>(linear)) [[likely]] {
    std::memcpy(out, p, sizeof(T));
    return true;
  }
  return c.mmu.ReadSlow(linear, out, sizeof(T), Rights::kImplicitSupervisor);
}
template <typename T>
bool WriteSystem(SoftVcpu& c, uint64_t linear, const T& v) {
  if (uint8_t* p = c.mmu.FastWriteImplicit<T>(linear)) [[likely]] {
    std::memcpy(p, &v, sizeof(T));
    return true;
  }
  return c.mmu.WriteSlow(linear, &v, sizeof(T), Rights::kImplicitSupervisor);
}

// The descriptor that `selector` names, in the GDT or the LDT; where it lies
// beyond the table: `vector` with the selector as error code. 8 bytes; the rest
// of a system descriptor in long mode is ReadUpper()'s.
bool ReadDescriptor(SoftVcpu& c, uint16_t selector, Vector vector, uint32_t ext, Descriptor* out);
// The second half of a 16-byte descriptor, whose type must be 0.
bool ReadUpper(SoftVcpu& c, uint16_t selector, Vector vector, uint32_t ext, Descriptor* d);
// Whether a selector's descriptor lies in its table at all; no fault raised.
// For LAR and the like. `*linear`: where.
bool FindDescriptor(const SoftVcpu& c, uint16_t selector, unsigned size, uint64_t* linear);
// Sets the accessed bit in the table, where it is clear, and in `d`.
bool MarkAccessed(SoftVcpu& c, uint16_t selector, Descriptor* d);
// Sets or clears the busy bit of a TSS descriptor in the GDT.
bool MarkBusy(SoftVcpu& c, uint16_t selector, bool busy);

SegmentState MakeSegment(uint16_t selector, const Descriptor& d);
SegmentState NullSegment(uint16_t selector);
// The derived bits of a segment after its base, limit or attributes changed.
void SetFlat(SegmentState& g);

// CS and CPL together; IP apart. Sets code_size.
void SetCs(SoftVcpu& c, uint16_t selector, const Descriptor& d, unsigned cpl);
void SetSs(SoftVcpu& c, const SegmentState& ss);

// The checks of vol. 2, IRET and RET, on the SS that an outer or task return
// loads: rights for `cpl`. `vector` for wrong ones (#GP or #TS).
bool CheckStackSegment(SoftVcpu& c, uint16_t selector, unsigned cpl, Vector vector, uint32_t ext,
                       Descriptor* d);

// A stack being pushed on or popped from, which need not be the current one:
// nothing of the vCPU changes but memory until Commit().
class TransferStack {
 public:
  // The current stack, with the CPL's rights.
  explicit TransferStack(SoftVcpu& c);
  // Another one; `error_code` is that of its #SS.
  TransferStack(SoftVcpu& c, const SegmentState& ss, uint64_t sp, Rights rights,
                uint32_t error_code);
  // In 64-bit mode: no segment.
  TransferStack(SoftVcpu& c, uint64_t rsp, Rights rights);

  bool Push(uint64_t value, unsigned size);
  bool Pop(uint64_t* value, unsigned size);
  // Reads without moving, `skip` bytes up.
  bool Peek(uint64_t* value, unsigned size, uint64_t skip);
  void Skip(uint64_t bytes) { sp_ = (sp_ + bytes) & mask_; }
  uint64_t sp() const { return sp_; }
  // Writes rsp as far as the stack's width goes.
  void Commit();

 private:
  bool Linear(uint64_t sp, unsigned size, uint64_t* linear);

  SoftVcpu& c_;
  uint64_t base_ = 0;
  uint64_t sp_ = 0;
  uint64_t mask_ = 0;
  uint32_t limit_ = 0;
  uint16_t attributes_ = 0;
  bool flat64_ = false;
  Rights rights_;
  uint32_t error_code_ = 0;
};

// SSn and ESPn, or RSPn, of the current TSS.
struct InnerStack {
  uint16_t ss = 0;
  uint64_t sp = 0;
};
bool ReadInnerStack(SoftVcpu& c, unsigned cpl, uint32_t ext, InnerStack* out);
// Long mode: RSP0 to RSP2 (`index` 0 to 2) or IST1 to IST7 (`index` 3 + n).
bool ReadLongStack(SoftVcpu& c, unsigned index, uint32_t ext, uint64_t* rsp);

// What a task switch comes from.
enum class TaskCause : uint8_t { kJump, kCall, kIret, kEvent };
// Switches to the task of `selector` (a TSS). `next_rip` is saved in the old
// task. With `error_code`, it is pushed on the new task's stack. After the new
// task's state is loaded, faults are the new task's.
bool SwitchTask(SoftVcpu& c, uint16_t selector, TaskCause cause, uint64_t next_rip, uint32_t ext,
                const uint32_t* error_code);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_SYS_DESCRIPTOR_H_
