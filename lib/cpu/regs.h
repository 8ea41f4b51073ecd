// SPDX-License-Identifier: Apache-2.0
// A vCPU's architectural state as the backends exchange it. The shapes follow
// struct kvm_regs and kvm_sregs (linux/kvm.h) so that the kvm backend copies.
#ifndef LIB_CPU_REGS_H_
#define LIB_CPU_REGS_H_

#include <cstdint>

namespace atl::cpu {

// Index into Regs::gpr and the number that instructions encode.
enum Gpr : uint8_t {
  kRax,
  kRcx,
  kRdx,
  kRbx,
  kRsp,
  kRbp,
  kRsi,
  kRdi,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
};

struct Regs {
  uint64_t gpr[16] = {};
  uint64_t rip = 0xFFF0;
  uint64_t rflags = 2;
};

// The hidden part of a segment register. `limit` is in bytes, inclusive,
// already scaled by G.
struct Segment {
  uint64_t base = 0;
  uint32_t limit = 0xFFFF;
  uint16_t selector = 0;
  uint8_t type = 3;  // 4 bits: for code and data bit 0 is "accessed"
  uint8_t dpl = 0;
  bool present = true;
  bool s = true;    // code or data, not system
  bool db = false;  // 32-bit
  bool l = false;   // 64-bit code
  bool g = false;
  bool avl = false;
  bool unusable = false;  // loaded with a null selector
};

enum SegmentIndex : uint8_t { kEs, kCs, kSs, kDs, kFs, kGs };

struct DescriptorTable {
  uint64_t base = 0;
  uint16_t limit = 0xFFFF;
};

struct SystemRegs {
  Segment segment[6];  // by SegmentIndex
  Segment tr;
  Segment ldt;
  DescriptorTable gdt;
  DescriptorTable idt;
  uint64_t cr0 = 0x60000010;
  uint64_t cr2 = 0;
  uint64_t cr3 = 0;
  uint64_t cr4 = 0;
  uint64_t cr8 = 0;
  uint64_t efer = 0;
  uint64_t apic_base = 0xFEE00900;  // enabled, on the first vCPU
};

}  // namespace atl::cpu

#endif  // LIB_CPU_REGS_H_
