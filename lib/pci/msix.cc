// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/msix.h"

#include <algorithm>

#include "lib/base/endian.h"

namespace atl::pci {
namespace {

// An entry: address (8), data (4), vector control (4).
constexpr unsigned kDataOffset = 8;
constexpr unsigned kControlOffset = 12;
constexpr uint32_t kVectorMasked = 1;

uint64_t ReadBytes(const std::vector<uint8_t>& from, uint64_t offset, unsigned size) {
  uint64_t out = 0;
  for (unsigned i = 0; i < std::min(size, 8u); ++i) {
    if (offset < from.size() && i < from.size() - offset) {
      out |= uint64_t{from[offset + i]} << (8 * i);
    }
  }
  return out;
}

}  // namespace

Msix::Msix(unsigned vectors, dev::MsiSink* sink)
    : vectors_(std::clamp(vectors, 1u, kMaxVectors)),
      sink_(sink),
      table_(vectors_ * kEntryBytes),
      pending_((vectors_ + 63) / 64 * 8) {
  Reset();
}

void Msix::Reset() {
  std::fill(table_.begin(), table_.end(), 0);
  std::fill(pending_.begin(), pending_.end(), 0);
  for (unsigned i = 0; i < vectors_; ++i) {
    StoreLe<uint32_t>(&table_[i * kEntryBytes + kControlOffset], kVectorMasked);
  }
  enabled_ = function_masked_ = bus_master_ = false;
}

void Msix::SetControl(bool enabled, bool function_masked, bool bus_master) {
  enabled_ = enabled;
  function_masked_ = function_masked;
  bus_master_ = bus_master;
  for (unsigned i = 0; i < vectors_; ++i) SendIfPending(i);
}

bool Msix::Masked(unsigned vector) const {
  return function_masked_ || !bus_master_ ||
         (table_[vector * kEntryBytes + kControlOffset] & kVectorMasked) != 0;
}

std::optional<Msix::Message> Msix::MessageOf(unsigned vector) const {
  if (!enabled_ || vector >= vectors_ || Masked(vector)) return std::nullopt;
  const uint8_t* entry = &table_[vector * kEntryBytes];
  return Message{LoadLe<uint64_t>(entry), LoadLe<uint32_t>(entry + kDataOffset)};
}

void Msix::SendIfPending(unsigned vector) {
  const uint8_t bit = static_cast<uint8_t>(1 << (vector % 8));
  if (!enabled_ || (pending_[vector / 8] & bit) == 0 || Masked(vector)) return;
  pending_[vector / 8] &= static_cast<uint8_t>(~bit);
  const uint8_t* entry = &table_[vector * kEntryBytes];
  sink_->SendMsi(LoadLe<uint64_t>(entry), LoadLe<uint32_t>(entry + kDataOffset));
}

uint64_t Msix::ReadTable(uint64_t offset, unsigned size) const {
  return ReadBytes(table_, offset, size);
}

void Msix::WriteTable(uint64_t offset, unsigned size, uint64_t value) {
  for (unsigned i = 0; i < std::min(size, 8u); ++i) {
    if (offset >= table_.size() || i >= table_.size() - offset) return;
    const uint64_t at = offset + i;
    uint8_t byte = static_cast<uint8_t>(value >> (8 * i));
    // Of the control word only the mask bit exists; the address is of dwords.
    const uint64_t field = at % kEntryBytes;
    if (field == kControlOffset) byte &= kVectorMasked;
    if (field > kControlOffset) byte = 0;
    if (field == 0) byte &= 0xFC;
    table_[at] = byte;
  }
  const uint64_t first = offset / kEntryBytes;
  const uint64_t last = (offset + std::min(size, 8u) - 1) / kEntryBytes;
  for (uint64_t i = first; i <= last && i < vectors_; ++i) SendIfPending(static_cast<unsigned>(i));
}

uint64_t Msix::ReadPba(uint64_t offset, unsigned size) const {
  return ReadBytes(pending_, offset, size);
}

bool Msix::Trigger(unsigned vector) {
  if (!enabled_ || vector >= vectors_) return false;
  pending_[vector / 8] |= static_cast<uint8_t>(1 << (vector % 8));
  SendIfPending(vector);
  return true;
}

void Msix::VisitState(dev::StateVisitor& v) {
  v.Begin("msix");
  v.Bytes("table", table_);
  v.Bytes("pending", pending_);
  v.End();
  if (!v.loading()) return;
  for (unsigned i = 0; i < vectors_; ++i) {
    uint8_t* entry = &table_[i * kEntryBytes];
    entry[0] &= 0xFC;
    StoreLe<uint32_t>(entry + kControlOffset,
                      LoadLe<uint32_t>(entry + kControlOffset) & kVectorMasked);
  }
}

}  // namespace atl::pci
