// SPDX-License-Identifier: Apache-2.0
// The FXSAVE image in FpuState as native_*.cc use it, and the checks that come
// before x87, MMX and SSE instructions.
#ifndef LIB_CPU_SOFT_NATIVE_FPU_H_
#define LIB_CPU_SOFT_NATIVE_FPU_H_

#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

// MXCSR (vol. 1, 10.2.3). No misaligned-SSE bit (AMD's 17) is offered.
inline constexpr uint32_t kMxcsrValid = 0xFFFF, kMxcsrFlags = 0x3F, kMxcsrMasks = 0x1F80,
                          kMxcsrFtz = 0x8000;
// x87 status word (vol. 1, 8.1.3).
inline constexpr uint16_t kFswFlags = 0x3F, kFswEs = 0x80, kFswB = 0x8000;

template <typename T>
T FpuGet(const FpuState& f, unsigned at) {
  T v;
  memcpy(&v, f.image + at, sizeof v);
  return v;
}
template <typename T>
void FpuSet(FpuState& f, unsigned at, T v) {
  memcpy(f.image + at, &v, sizeof v);
}

inline uint8_t* XmmAt(SoftVcpu& c, unsigned n) { return c.s.fpu.image + FpuState::kXmm + 16 * n; }
inline uint8_t* YmmHighAt(SoftVcpu& c, unsigned n) { return c.s.fpu.ymm_high[n]; }
inline uint8_t* StAt(FpuState& f, unsigned i) { return f.image + FpuState::kSt + 16 * i; }
inline unsigned TopOf(const FpuState& f) { return FpuGet<uint16_t>(f, FpuState::kFsw) >> 11 & 7; }

// MMX registers are the physical x87 registers; the image has them from the top
// of the stack on.
inline uint8_t* MmxAt(SoftVcpu& c, unsigned n) { return StAt(c.s.fpu, (n - TopOf(c.s.fpu)) & 7); }

// Sets the top of stack; the physical registers stay what they are, so that the
// image turns.
void SetTop(FpuState& f, unsigned top);

// What every MMX instruction does to the x87 state (vol. 1, 9.5.1): top of stack
// 0, all tags valid.
void EnterMmx(FpuState& f);
// After MMX register `n` was written: the exponent and sign all ones.
inline void MmxWritten(SoftVcpu& c, unsigned n) { memset(MmxAt(c, n) + 8, 0xFF, 2); }

// Sets or clears ES and B by the flags and masks, after either was loaded.
void UpdateErrorSummary(FpuState& f);

// FNINIT.
void InitX87(FpuState& f);

// The x87 part of FXSAVE's and XSAVE's images: bytes 0 to 23 and 32 to 159. `wide`:
// pointers of 64 bits, else of 32 with selectors, which are not kept.
void StoreX87Image(const FpuState& f, uint8_t* image, bool wide);
void LoadX87Image(FpuState& f, const uint8_t* image, bool wide);

// FLDCW's value as the unit keeps it.
void SetFcw(FpuState& f, uint16_t fcw);

// kNext where the instruction may run, else kFault.
inline Step CheckSse(SoftVcpu& c) {
  if (((c.s.cr0 & (kCr0Em | kCr0Ts)) | (~c.s.cr4 & kCr4Osfxsr)) == 0) [[likely]]
    return Step::kNext;
  return c.Raise((c.s.cr0 & kCr0Em) || !(c.s.cr4 & kCr4Osfxsr) ? kUd : kNm);
}
// For VEX encodings on vector registers (vol. 2, 2.4).
inline constexpr uint64_t kXcr0X87 = 1, kXcr0Sse = 2, kXcr0Avx = 4;
inline Step CheckAvx(SoftVcpu& c) {
  const bool enabled = (c.s.cr4 & kCr4Osxsave) &&
                       (c.s.xcr0 & (kXcr0Sse | kXcr0Avx)) == (kXcr0Sse | kXcr0Avx) &&
                       c.s.protected_mode && !c.s.v8086;
  if (enabled && !(c.s.cr0 & kCr0Ts)) [[likely]]
    return Step::kNext;
  return c.Raise(enabled ? kNm : kUd);
}
inline bool X87Pending(const SoftVcpu& c) {
  return FpuGet<uint16_t>(c.s.fpu, FpuState::kFsw) & kFswEs;
}
// With CR0.NE clear an unmasked error is FERR# and by way of the chipset IRQ 13;
// it is #MF here all the same: no operating system since DOS extenders cares.
inline Step CheckMmx(SoftVcpu& c, bool needs_xmm) {
  if ((c.s.cr0 & kCr0Em) || (needs_xmm && !(c.s.cr4 & kCr4Osfxsr))) return c.Raise(kUd);
  if (c.s.cr0 & kCr0Ts) return c.Raise(kNm);
  return X87Pending(c) ? c.Raise(kMf) : Step::kNext;
}
// `waiting`: the instruction raises pending errors first.
inline Step CheckX87(SoftVcpu& c, bool waiting) {
  if (c.s.cr0 & (kCr0Em | kCr0Ts)) return c.Raise(kNm);
  return waiting && X87Pending(c) ? c.Raise(kMf) : Step::kNext;
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_NATIVE_FPU_H_
