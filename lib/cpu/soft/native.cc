// SPDX-License-Identifier: Apache-2.0
// Which instructions are native, and whether the host has them.
#include <Zydis/Zydis.h>
#include <cpuid.h>

#include "lib/cpu/soft/handlers.h"
#include "lib/cpu/soft/native_select.h"

namespace atl::cpu::soft {
namespace {

struct HostFeatures {
  bool sse3 = false, ssse3 = false, sse41 = false, sse42 = false, aes = false, pclmul = false,
       sha = false, avx = false, avx2 = false, fma = false, f16c = false;
};

const HostFeatures& Host() {
  static const HostFeatures host = [] {
    HostFeatures h;
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
      h.sse3 = c & bit_SSE3;
      h.ssse3 = c & bit_SSSE3;
      h.sse41 = c & bit_SSE4_1;
      h.sse42 = c & bit_SSE4_2;
      h.aes = c & bit_AES;
      h.pclmul = c & bit_PCLMUL;
      __builtin_cpu_init();
      h.avx = __builtin_cpu_supports("avx");  // and its system saves the registers
      h.fma = h.avx && (c & bit_FMA);
      h.f16c = h.avx && (c & bit_F16C);
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
      h.sha = b & bit_SHA;
      h.avx2 = h.avx && (b & bit_AVX2);
    }
    return h;
  }();
  return host;
}

bool HostHas(ZydisISASet set) {
  switch (set) {
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE3X87:
      return Host().sse3;
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
      return Host().ssse3;
    case ZYDIS_ISA_SET_SSE4:
      return Host().sse41;
    case ZYDIS_ISA_SET_SSE42:
      return Host().sse42;
    case ZYDIS_ISA_SET_AES:
      return Host().aes;
    case ZYDIS_ISA_SET_PCLMULQDQ:
      return Host().pclmul;
    case ZYDIS_ISA_SET_SHA:
      return Host().sha;
    case ZYDIS_ISA_SET_AVX:
      return Host().avx;
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER:
      return Host().avx2;
    case ZYDIS_ISA_SET_AVXAES:
      return Host().avx && Host().aes;
    case ZYDIS_ISA_SET_FMA:
      return Host().fma;
    case ZYDIS_ISA_SET_F16C:
      return Host().f16c;
    default:
      return true;  // part of x86-64
  }
}

}  // namespace

bool IsNative(const DecodedView& view) {
  switch (view.insn->meta.isa_set) {
    case ZYDIS_ISA_SET_AVX:
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER:
    case ZYDIS_ISA_SET_AVXAES:
    case ZYDIS_ISA_SET_FMA:
    case ZYDIS_ISA_SET_F16C:
      return true;
    default:
      break;
  }
  if (view.insn->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;
  switch (view.insn->meta.isa_set) {
    case ZYDIS_ISA_SET_XSAVE:
    case ZYDIS_ISA_SET_XSAVEC:
    case ZYDIS_ISA_SET_XSAVEOPT:
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_SSE3X87:
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
    case ZYDIS_ISA_SET_SSE4:
    case ZYDIS_ISA_SET_SSEMXCSR:
    case ZYDIS_ISA_SET_SSE_PREFETCH:
    case ZYDIS_ISA_SET_FXSAVE:
    case ZYDIS_ISA_SET_FXSAVE64:
    case ZYDIS_ISA_SET_AES:
    case ZYDIS_ISA_SET_PCLMULQDQ:
    case ZYDIS_ISA_SET_SHA:
      return true;
    case ZYDIS_ISA_SET_SSE42:
      return view.insn->mnemonic != ZYDIS_MNEMONIC_CRC32;
    case ZYDIS_ISA_SET_PPRO:
      return view.insn->meta.category == ZYDIS_CATEGORY_X87_ALU;
    default:
      return false;
  }
}

Handler SelectNative(Insn& in, const DecodedView& view) {
  if (!HostHas(view.insn->meta.isa_set)) return nullptr;
  if (Handler h = SelectFpuState(in, view)) return h;
  if (Handler h = SelectXsave(in, view)) return h;
  if (Handler h = SelectMasked(in, view)) return h;
  if (view.insn->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) return SelectVex(in, view);
  if (Handler h = SelectMove(in, view)) return h;
  if (Handler h = SelectX87(in, view)) return h;
  return SelectSimd(in, view);
}

}  // namespace atl::cpu::soft
