// SPDX-License-Identifier: Apache-2.0
// Gives the different pixels of a block small numbers, in the order in which they
// come, until there are too many.
#ifndef LIB_RFB_PALETTE_H_
#define LIB_RFB_PALETTE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace atl::rfb {

class Palette {
 public:
  static constexpr unsigned kMax = 256;

  // Forgets all.
  void Clear() {
    size_ = 0;
    if (++epoch_ == 0) {
      slots_ = {};
      epoch_ = 1;
    }
  }
  // The number of `pixel`; kMax and nothing noted where it is one too many.
  unsigned Add(uint32_t pixel) {
    uint32_t at = pixel * 2654435761u >> (32 - kSlotBits);
    while (slots_[at].epoch == epoch_) {
      if (slots_[at].pixel == pixel) return slots_[at].index;
      at = (at + 1) % kSlots;
    }
    if (size_ == kMax) return kMax;
    slots_[at] = {pixel, epoch_, static_cast<uint16_t>(size_)};
    pixels_[size_] = pixel;
    return size_++;
  }
  unsigned size() const { return size_; }
  uint32_t operator[](unsigned index) const { return pixels_[index]; }
  std::span<const uint32_t> pixels() const { return {pixels_.data(), size_}; }

 private:
  static constexpr unsigned kSlotBits = 10;
  static constexpr unsigned kSlots = 1u << kSlotBits;
  struct Slot {
    uint32_t pixel = 0;
    uint16_t epoch = 0;
    uint16_t index = 0;
  };
  std::array<Slot, kSlots> slots_{};
  std::array<uint32_t, kMax> pixels_{};
  unsigned size_ = 0;
  uint16_t epoch_ = 1;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_PALETTE_H_
