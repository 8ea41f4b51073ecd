// SPDX-License-Identifier: Apache-2.0
// Machine code to Insn, by Zydis. Stateless and thread-safe.
#ifndef LIB_CPU_SOFT_DECODE_H_
#define LIB_CPU_SOFT_DECODE_H_

#include <cstddef>
#include <cstdint>

#include "lib/cpu/soft/handlers.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/model.h"
#include "lib/cpu/soft/state.h"

namespace atl::cpu::soft {

enum class DecodeResult : uint8_t {
  kOk,        // also for what is #UD or #GP: the Insn's handler raises it
  kNeedMore,  // the instruction goes on behind `size` bytes (fewer than 15)
};

// Decodes the instruction that starts at `bytes`. `ends_block`: nothing after
// it may be decoded into the same block.
DecodeResult Decode(const uint8_t* bytes, size_t size, CodeSize mode, CpuModel model, Insn* out,
                    bool* ends_block);

// Whether CPUID offers the instruction, so that what it hides is #UD.
bool IsaOffered(const DecodedView& view, CpuModel model);

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_DECODE_H_
