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

// Bit 6 reads as one, 7 and 13 to 15 as zero.
void SetFcw(FpuState& f, uint16_t fcw) {
  FpuSet<uint16_t>(f, FpuState::kFcw, (fcw & 0x1F3F) | 0x40);
}

void StoreX87Image(const FpuState& f, uint8_t* image, bool wide) {
  memcpy(image, f.image, FpuState::kMxcsr);
  image[5] = 0;
  if (!wide) {
    memset(image + FpuState::kFip + 4, 0, 4);
    memset(image + FpuState::kFdp + 4, 0, 4);
  }
  for (unsigned i = 0; i < 8; i++) {
    uint64_t st[2];
    memcpy(st, f.image + FpuState::kSt + 16 * i, 16);
    st[1] &= 0xFFFF;
    memcpy(image + FpuState::kSt + 16 * i, st, 16);
  }
}

void LoadX87Image(FpuState& f, const uint8_t* image, bool wide) {
  memcpy(f.image, image, FpuState::kMxcsr);
  f.image[5] = 0;
  uint16_t fcw, fop;
  memcpy(&fcw, image + FpuState::kFcw, 2);
  memcpy(&fop, image + FpuState::kFop, 2);
  SetFcw(f, fcw);
  UpdateErrorSummary(f);
  FpuSet<uint16_t>(f, FpuState::kFop, fop & 0x7FF);
  if (!wide) {
    FpuSet<uint32_t>(f, FpuState::kFip + 4, 0);
    FpuSet<uint32_t>(f, FpuState::kFdp + 4, 0);
  }
  for (unsigned i = 0; i < 8; i++) {
    uint64_t st[2];
    memcpy(st, image + FpuState::kSt + 16 * i, 16);
    st[1] &= 0xFFFF;
    memcpy(f.image + FpuState::kSt + 16 * i, st, 16);
  }
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
