// SPDX-License-Identifier: Apache-2.0
// What the software CPU says it is (vol. 2, CPUID): features that it has and no
// others, each in a table with the reason it is there.
#ifndef LIB_CPU_SOFT_CPUID_H_
#define LIB_CPU_SOFT_CPUID_H_

#include <cstdint>
#include <span>

#include "absl/strings/string_view.h"
#include "lib/cpu/soft/model.h"

namespace atl::cpu::soft {

struct CpuidResult {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// Which of a VM's vCPUs asks, and what of its state shows.
struct CpuidTopology {
  unsigned index = 0;  // also the APIC id
  unsigned count = 1;
  CpuModel model = CpuModel::kMax;
  bool osxsave = false;  // CR4.OSXSAVE
  uint64_t xcr0 = 1;
};

CpuidResult Cpuid(const CpuidTopology& topology, uint32_t leaf, uint32_t subleaf);

enum class CpuidRegister : uint8_t { kEax, kEbx, kEcx, kEdx };

// A feature bit that guests see.
struct CpuidFeature {
  uint32_t leaf;
  uint32_t subleaf;
  CpuidRegister reg;
  uint8_t bit;
  absl::string_view name;
  absl::string_view why;  // what here makes it true
  // The instructions run on the host's: offered where the host has the same bit.
  bool needs_host = false;
  CpuModel since = CpuModel::kBase;  // the models that have it: this and larger ones
};
std::span<const CpuidFeature> CpuidFeatures();
// Whether a feature's bit is set: all of the model but those that need a host with
// them. AVX and what rests on it needs the host's system to save the registers too.
bool Offered(const CpuidFeature& feature, CpuModel model);

// XCR0's bits that a guest can set: 0 without XSAVE.
uint64_t SupportedXcr0(CpuModel model);

// Instruction sets that not every model or host has, as CPUID says.
struct InstructionSets {
  bool lzcnt, bmi1, bmi2, xsave, avx, avx2, fma, f16c;
};
const InstructionSets& SetsOf(CpuModel model);

// Family 6, model 0x2C, stepping 2.
inline constexpr uint32_t kCpuSignature = 0x000206C2;

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_CPUID_H_
