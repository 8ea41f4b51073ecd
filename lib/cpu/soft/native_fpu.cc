// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/native_fpu.h"

namespace atl::cpu::soft {

void SetTop(FpuState& f, unsigned top) {
  const unsigned old = TopOf(f);
  if (old == top) return;
  uint8_t before[8][16];
  memcpy(before, StAt(f, 0), sizeof before);
  for (unsigned i = 0; i < 8; i++) memcpy(StAt(f, i), before[(i + top - old) & 7], 16);
  const uint16_t fsw = FpuGet<uint16_t>(f, FpuState::kFsw);
  FpuSet<uint16_t>(f, FpuState::kFsw, static_cast<uint16_t>((fsw & ~(7 << 11)) | top << 11));
}

void EnterMmx(FpuState& f) {
  SetTop(f, 0);
  f.image[FpuState::kFtw] = 0xFF;
}

void UpdateErrorSummary(FpuState& f) {
  const uint16_t fcw = FpuGet<uint16_t>(f, FpuState::kFcw);
  uint16_t fsw = FpuGet<uint16_t>(f, FpuState::kFsw) & ~(kFswEs | kFswB);
  if (fsw & ~fcw & kFswFlags) fsw |= kFswEs | kFswB;
  FpuSet(f, FpuState::kFsw, fsw);
}

void InitX87(FpuState& f) {
  SetTop(f, 0);
  FpuSet<uint16_t>(f, FpuState::kFcw, 0x37F);
  FpuSet<uint16_t>(f, FpuState::kFsw, 0);
  f.image[FpuState::kFtw] = 0;
  FpuSet<uint16_t>(f, FpuState::kFop, 0);
  FpuSet<uint64_t>(f, FpuState::kFip, 0);
  FpuSet<uint64_t>(f, FpuState::kFdp, 0);
}

}  // namespace atl::cpu::soft
