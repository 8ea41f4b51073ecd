// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/pc_testdev.h"

#include <algorithm>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint64_t Mask(unsigned size) { return size >= 8 ? ~uint64_t{0} : (1ull << 8 * size) - 1; }

}  // namespace

void PcTestdev::Reset() {
  data_ = 0;
  levels_ = 0;
  std::fill(memory_.begin(), memory_.end(), uint8_t{0});
  SetLines();
}

void PcTestdev::SetLines() {
  for (unsigned i = 0; i < kLineCount; ++i) {
    if (lines_[i] != nullptr) lines_[i]->Set(levels_ >> i & 1);
  }
}

uint64_t PcTestdev::Read(unsigned region, uint64_t offset, unsigned size) {
  switch (region) {
    case kData:
    case kBytes:
      return data_ >> 8 * offset & Mask(size);
    case kMemory: {
      uint64_t value = 0;
      for (unsigned i = 0; i < size && offset + i < memory_.size(); ++i) {
        value |= uint64_t{memory_[offset + i]} << 8 * i;
      }
      return value;
    }
    case kFlush:
      return 0;
    default:
      return Mask(size);
  }
}

void PcTestdev::Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) {
  switch (region) {
    case kData:
    case kBytes: {
      const auto mask = static_cast<uint32_t>(Mask(size) << 8 * offset);
      data_ = (data_ & ~mask) | (static_cast<uint32_t>(value << 8 * offset) & mask);
      return;
    }
    case kLines:
      if (offset >= kLineCount) return;
      levels_ = (levels_ & ~(1u << offset)) | ((value & 1) != 0 ? 1u << offset : 0);
      if (lines_[offset] != nullptr) lines_[offset]->Set(value & 1);
      return;
    case kMemory:
      for (unsigned i = 0; i < size && offset + i < memory_.size(); ++i) {
        memory_[offset + i] = static_cast<uint8_t>(value >> 8 * i);
      }
      return;
    default:  // kFlush: there is no mapping that could be stale
      return;
  }
}

void PcTestdev::VisitState(StateVisitor& v) {
  v.Field("data", data_);
  v.Bounded("levels", levels_, (1u << kLineCount) - 1);
  v.Bytes("memory", memory_);
  if (v.loading()) SetLines();
}

}  // namespace atl::dev
