// SPDX-License-Identifier: Apache-2.0
// Shorthand of the files that emit translated code.
#ifndef LIB_CPU_SOFT_TRANSLATE_WRITE_H_
#define LIB_CPU_SOFT_TRANSLATE_WRITE_H_

#include <xbyak/xbyak.h>

#include <cstddef>
#include <cstdint>

#include "lib/cpu/soft/host_code.h"
#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/translate_table.h"

namespace atl::cpu::soft {

using Xbyak::Reg32;
using Xbyak::Reg64;

inline const Reg64 rsp_(kRegStack), rcx_(kScratch0), r14_(kScratch1), rax_(0);
inline const Xbyak::AddressFrame ptr_(0), qword_(64), dword_(32), word_(16), byte_(8);

// Whether the host can sign-extend it from 32 bits.
inline bool Fits32(uint64_t v) { return static_cast<int64_t>(v) == static_cast<int32_t>(v); }

inline Xbyak::RegExp Expression(const HostMem& m) {
  Xbyak::RegExp e(static_cast<size_t>(static_cast<int64_t>(m.disp)));
  if (m.base >= 0) e = e + Reg64(m.base);
  if (m.index >= 0) e = e + Xbyak::RegExp(Reg64(m.index), static_cast<int>(m.scale));
  return e;
}

// The host's flags to CpuState::flags_of and flags_lo, `at` from RSP, and back.
// RCX is lost.
inline void SaveFlags(HostCode& a, int32_t at) {
  a.mov(rcx_, rax_);
  a.seto(Xbyak::Reg8(0));
  a.lahf();
  a.mov(word_[rsp_ + at], Xbyak::Reg16(0));
  a.mov(rax_, rcx_);
}

inline void RestoreFlags(HostCode& a, int32_t at) {
  a.mov(rcx_, rax_);
  a.movzx(Reg32(0), word_[rsp_ + at]);
  a.add(Xbyak::Reg8(0), 0x7F);
  a.sahf();
  a.mov(rax_, rcx_);
}

}  // namespace atl::cpu::soft

// The displacement from RSP of something in the vCPU `c` or behind it.
#define ATOLL_OFF(c, field)                                      \
  static_cast<int32_t>(reinterpret_cast<const char*>(&(field)) - \
                       reinterpret_cast<const char*>(&(c)))

#endif  // LIB_CPU_SOFT_TRANSLATE_WRITE_H_
