// SPDX-License-Identifier: Apache-2.0
// For selectors in exec_*.cc: which variant of a handler template fits a decoded
// instruction.
#ifndef LIB_CPU_SOFT_SELECT_H_
#define LIB_CPU_SOFT_SELECT_H_

#include <Zydis/Decoder.h>

#include <cstdint>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/handlers.h"

namespace atl::cpu::soft {

inline bool Is64(const DecodedView& v) {
  return v.insn->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
}

// Whether Mem kFlat serves the memory operand.
inline bool FlatOperand(const Insn& in, const DecodedView& v) {
  return Is64(v) && in.address_size == 8 && in.seg < kFs;
}

inline bool IsMem(const DecodedView& v, unsigned operand) {
  return v.operands[operand].type == ZYDIS_OPERAND_TYPE_MEMORY;
}
inline bool IsReg(const DecodedView& v, unsigned operand) {
  return v.operands[operand].type == ZYDIS_OPERAND_TYPE_REGISTER;
}
inline bool IsImm(const DecodedView& v, unsigned operand) {
  return v.operands[operand].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

// The unsigned type of `bytes` as a template argument:
//   return BySize(in.operand_size, []<typename T>() -> Handler { return &Bswap<T>; });
template <typename F>
Handler BySize(unsigned bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f.template operator()<uint8_t>();
    case 2:
      return f.template operator()<uint16_t>();
    case 4:
      return f.template operator()<uint32_t>();
    case 8:
      return f.template operator()<uint64_t>();
    default:
      return nullptr;
  }
}
// The same without 8-bit operands.
template <typename F>
Handler ByWideSize(unsigned bytes, F&& f) {
  switch (bytes) {
    case 2:
      return f.template operator()<uint16_t>();
    case 4:
      return f.template operator()<uint32_t>();
    case 8:
      return f.template operator()<uint64_t>();
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_SELECT_H_
