// SPDX-License-Identifier: Apache-2.0
// An exception on its way to the guest.
#ifndef LIB_CPU_SOFT_FAULT_H_
#define LIB_CPU_SOFT_FAULT_H_

#include <cstdint>

namespace atl::cpu::soft {

struct Fault {
  uint8_t vector = 0;
  bool has_error_code = false;
  uint32_t error_code = 0;
  uint64_t address = 0;  // #PF: for CR2
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_FAULT_H_
