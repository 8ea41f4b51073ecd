// SPDX-License-Identifier: Apache-2.0
// How much of the host's instruction set guests are offered.
#ifndef LIB_CPU_SOFT_MODEL_H_
#define LIB_CPU_SOFT_MODEL_H_

#include <cstdint>

namespace atl::cpu::soft {

enum class CpuModel : uint8_t {
  kBase,  // x86-64-v2 with AES, PCLMULQDQ, SHA, ADX, MOVBE and LZCNT
  kMax,   // and XSAVE, and what the host has of AVX, AVX2, FMA, F16C, BMI1 and BMI2
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_MODEL_H_
