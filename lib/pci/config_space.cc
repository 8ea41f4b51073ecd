// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/config_space.h"

#include <algorithm>

namespace atl::pci {

void ConfigSpace::Define(const ConfigRegister& r) {
  for (unsigned i = 0; i < r.width && r.offset + i < kBytes; ++i) {
    const unsigned at = r.offset + i;
    reset_[at] = static_cast<uint8_t>(r.reset >> (8 * i));
    writable_[at] = static_cast<uint8_t>(r.writable >> (8 * i));
    clear_[at] = static_cast<uint8_t>(r.write_one_to_clear >> (8 * i));
    value_[at] = reset_[at];
  }
}

uint32_t ConfigSpace::Read(unsigned offset, unsigned size) const {
  uint32_t out = 0;
  for (unsigned i = 0; i < std::min(size, 4u); ++i) {
    const uint32_t byte = offset < kBytes - i ? value_[offset + i] : 0xFF;
    out |= byte << (8 * i);
  }
  return out;
}

void ConfigSpace::Write(unsigned offset, unsigned size, uint32_t value) {
  for (unsigned i = 0; i < std::min(size, 4u); ++i) {
    if (offset >= kBytes - i) return;
    const unsigned at = offset + i;
    const uint8_t byte = static_cast<uint8_t>(value >> (8 * i));
    const uint8_t kept = value_[at] & static_cast<uint8_t>(~writable_[at]);
    value_[at] = static_cast<uint8_t>((kept & ~(byte & clear_[at])) | (byte & writable_[at]));
  }
}

void ConfigSpace::VisitState(dev::StateVisitor& v) {
  std::array<uint8_t, kBytes> bytes = value_;
  v.Bytes("config", bytes);
  if (!v.loading()) return;
  for (unsigned i = 0; i < kBytes; ++i) {
    const uint8_t guests = writable_[i] | clear_[i];
    value_[i] = static_cast<uint8_t>((value_[i] & ~guests) | (bytes[i] & guests));
  }
}

}  // namespace atl::pci
