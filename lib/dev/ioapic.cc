// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/ioapic.h"

namespace atl::dev {
namespace {

// Offsets in the page.
constexpr uint64_t kSelect = 0x00;
constexpr uint64_t kWindow = 0x10;
constexpr uint64_t kEoi = 0x40;

// Registers behind the window.
constexpr uint8_t kId = 0x00;
constexpr uint8_t kVersion = 0x01;
constexpr uint8_t kArbitration = 0x02;
constexpr uint8_t kFirstEntry = 0x10;

constexpr uint32_t kVersionValue = 0x20 | (Ioapic::kPins - 1) << 16;

// A redirection entry.
constexpr uint64_t kVectorMask = 0xFF;
constexpr unsigned kDeliveryShift = 8;
constexpr uint64_t kLogical = 1 << 11;
constexpr uint64_t kDeliveryStatus = 1 << 12;
constexpr uint64_t kRemoteIrr = 1 << 14;
constexpr uint64_t kLevel = 1 << 15;
constexpr uint64_t kMasked = 1 << 16;
constexpr uint64_t kReadOnly = kDeliveryStatus | kRemoteIrr;
constexpr uint64_t kWritable = 0xFF0000000001FFFF & ~kReadOnly;
constexpr unsigned kDestinationShift = 56;

}  // namespace

void Ioapic::Reset() {
  index_ = 0;
  id_ = 0;
  for (uint64_t& e : entries_) e = kMasked;
}

void Ioapic::SetLine(unsigned pin, bool level) {
  const uint32_t bit = 1u << pin;
  const bool rises = level && !(lines_ & bit);
  lines_ = level ? lines_ | bit : lines_ & ~bit;
  if (!rises) return;
  if (entries_[pin] & kLevel) {
    ServeLevel(pin);
  } else if (!(entries_[pin] & kMasked)) {  // an edge at a masked pin is lost
    Deliver(pin);
  }
}

void Ioapic::ServeLevel(unsigned pin) {
  uint64_t& e = entries_[pin];
  if (!(e & kLevel) || !(lines_ >> pin & 1) || (e & (kMasked | kRemoteIrr))) return;
  const auto delivery = static_cast<Delivery>(e >> kDeliveryShift & 7);
  if (delivery == Delivery::kFixed || delivery == Delivery::kLowestPriority) e |= kRemoteIrr;
  Deliver(pin);
}

void Ioapic::Deliver(unsigned pin) {
  const uint64_t e = entries_[pin];
  fabric_.Send({.destination = static_cast<uint32_t>(e >> kDestinationShift),
                .logical = (e & kLogical) != 0,
                .delivery = static_cast<Delivery>(e >> kDeliveryShift & 7),
                .vector = static_cast<uint8_t>(e & kVectorMask),
                .level = (e & kLevel) != 0});
}

void Ioapic::EndOfInterrupt(uint8_t vector) {
  for (unsigned pin = 0; pin < kPins; ++pin) {
    uint64_t& e = entries_[pin];
    if (!(e & kRemoteIrr) || (e & kVectorMask) != vector) continue;
    e &= ~kRemoteIrr;
    ServeLevel(pin);
  }
}

uint32_t Ioapic::Read(uint64_t offset) const {
  if (offset == kSelect) return index_;
  if (offset == kWindow) return ReadIndexed();
  return 0;
}

void Ioapic::Write(uint64_t offset, uint32_t value) {
  if (offset == kSelect) index_ = static_cast<uint8_t>(value);
  if (offset == kWindow) WriteIndexed(value);
  if (offset == kEoi) EndOfInterrupt(static_cast<uint8_t>(value));
}

uint32_t Ioapic::ReadIndexed() const {
  if (index_ == kId || index_ == kArbitration) return static_cast<uint32_t>(id_) << 24;
  if (index_ == kVersion) return kVersionValue;
  const unsigned pin = (index_ - kFirstEntry) / 2u;
  if (index_ < kFirstEntry || pin >= kPins) return 0;
  return static_cast<uint32_t>(entries_[pin] >> (index_ & 1 ? 32 : 0));
}

void Ioapic::WriteIndexed(uint32_t value) {
  if (index_ == kId) id_ = value >> 24 & 0xF;
  const unsigned pin = (index_ - kFirstEntry) / 2u;
  if (index_ < kFirstEntry || pin >= kPins) return;
  uint64_t& e = entries_[pin];
  const unsigned shift = index_ & 1 ? 32 : 0;
  const uint64_t half = uint64_t{0xFFFFFFFF} << shift;
  const uint64_t wanted = (e & ~half) | (uint64_t{value} << shift);
  e = (wanted & kWritable) | (e & kReadOnly);
  if (!(e & kLevel)) e &= ~kRemoteIrr;  // how Linux clears a stuck one
  ServeLevel(pin);
}

void Ioapic::VisitState(StateVisitor& v) {
  v.Field("index", index_);
  v.Bounded("id", id_, 0xF);
  v.Field("lines", lines_);
  v.Array("entries", entries_);
}

}  // namespace atl::dev
