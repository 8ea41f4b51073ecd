// SPDX-License-Identifier: Apache-2.0
// How native_*.cc divide the instructions that SelectNative() is asked for. Each
// call gives a handler, or null: not mine.
#ifndef LIB_CPU_SOFT_NATIVE_SELECT_H_
#define LIB_CPU_SOFT_NATIVE_SELECT_H_

#include "lib/cpu/soft/handlers.h"
#include "lib/cpu/soft/insn.h"

namespace atl::cpu::soft {

// In the order asked.
Handler SelectFpuState(Insn& in, const DecodedView& view);  // native_state.cc: FXSAVE, FLDENV ...
Handler SelectMove(Insn& in, const DecodedView& view);      // native_move.cc: moves, logic in C++
Handler SelectXsave(Insn& in, const DecodedView& view);     // native_xsave.cc: XSAVE, XGETBV ...
Handler SelectMasked(Insn& in, const DecodedView& view);    // native_masked.cc: gathers, MASKMOV
Handler SelectVex(Insn& in, const DecodedView& view);       // native_vex.cc: AVX thunks
Handler SelectX87(Insn& in, const DecodedView& view);       // native_x87.cc: x87 thunks
Handler SelectSimd(Insn& in, const DecodedView& view);      // native_simd.cc: MMX and SSE thunks

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_NATIVE_SELECT_H_
