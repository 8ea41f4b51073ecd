// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/i8237.h"

#include <algorithm>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint8_t kDisabled = 0x04;  // command
constexpr uint8_t kReload = 0x10;    // mode: the count begins anew at its end
constexpr uint8_t kDownward = 0x20;
constexpr uint8_t kSetMask = 0x04;  // the single mask register

// The page register of each channel; channel 4 moves nothing.
constexpr std::array<uint8_t, I8237::kChannels> kPageOf = {7, 3, 1, 2, 15, 11, 9, 10};

}  // namespace

void I8237::Reset() {
  ClearChip(0);
  ClearChip(1);
  for (Channel& c : channels_) {
    c.base_address = c.base_count = c.address = c.count = 0;
    c.mode = c.page = 0;
    c.requested = false;
  }
  std::fill(std::begin(pages_), std::end(pages_), uint8_t{0});
}

void I8237::ClearChip(unsigned chip) {
  controllers_[chip] = {};
  for (unsigned i = 0; i < 4; ++i) {
    channels_[chip * 4 + i].masked = true;
    channels_[chip * 4 + i].ended = false;
  }
}

bool I8237::Ready(unsigned channel) const {
  const Channel& c = channels_[channel];
  return c.requested && !c.masked && (controllers_[channel / 4].command & kDisabled) == 0;
}

size_t I8237::Left(unsigned channel) const {
  return (size_t{channels_[channel].count} + 1) << UnitShift(channel);
}

void I8237::SetRequest(unsigned channel, bool level) { channels_[channel].requested = level; }

// The address counter has 16 bits: it wraps within its page.
template <typename Piece>
I8237::Moved I8237::Move(unsigned channel, size_t bytes, Piece&& piece) {
  Channel& c = channels_[channel];
  const unsigned shift = UnitShift(channel);
  Moved moved;
  while (moved.bytes < bytes && Ready(channel)) {
    const bool down = (c.mode & kDownward) != 0;
    const size_t room = down ? 1 : size_t{0x10000} - c.address;
    const size_t units = std::min({(bytes - moved.bytes) >> shift, size_t{c.count} + 1, room});
    if (units == 0) break;  // half a word
    const uint64_t page = shift != 0 ? c.page & 0xFE : c.page;
    piece(Gpa(page << 16 | uint64_t{c.address} << shift), moved.bytes, units << shift);
    moved.bytes += units << shift;
    c.address = static_cast<uint16_t>(down ? c.address - 1 : c.address + units);
    if (units <= c.count) {
      c.count = static_cast<uint16_t>(c.count - units);
      continue;
    }
    c.ended = moved.ended = true;
    if ((c.mode & kReload) != 0) {
      c.address = c.base_address;
      c.count = c.base_count;
    } else {
      c.count = 0xFFFF;
      c.masked = true;
    }
    break;
  }
  return moved;
}

I8237::Moved I8237::ToMemory(unsigned channel, std::span<const uint8_t> bytes) {
  const bool moves = DirectionOf(channels_[channel]) == Direction::kToMemory;
  return Move(channel, bytes.size(), [&](Gpa to, size_t at, size_t n) {
    if (moves) memory_.Write(to, bytes.subspan(at, n));
  });
}

I8237::Moved I8237::FromMemory(unsigned channel, std::span<uint8_t> bytes) {
  const bool moves = DirectionOf(channels_[channel]) == Direction::kFromMemory;
  return Move(channel, bytes.size(), [&](Gpa from, size_t at, size_t n) {
    const std::span<uint8_t> to = bytes.subspan(at, n);
    if (!moves || !memory_.Read(from, to)) std::fill(to.begin(), to.end(), uint8_t{0xFF});
  });
}

// Whoever waits for a channel that the guest has just set free.
void I8237::Tell() {
  for (unsigned i = 0; i < kChannels; ++i) {
    if (channels_[i].client != nullptr && Ready(i)) channels_[i].client->OnDmaReady();
  }
}

uint8_t I8237::ReadChip(unsigned chip, unsigned reg) {
  Controller& k = controllers_[chip];
  if (reg < 8) {
    const Channel& c = channels_[chip * 4 + reg / 2];
    const uint16_t value = reg % 2 == 0 ? c.address : c.count;
    k.high_byte = !k.high_byte;
    return static_cast<uint8_t>(k.high_byte ? value : value >> 8);
  }
  uint8_t out = 0;
  for (unsigned i = 0; i < 4; ++i) {
    Channel& c = channels_[chip * 4 + i];
    if (reg == 8) {
      out = static_cast<uint8_t>(out | (c.ended ? 1 : 0) << i | (c.requested ? 0x10 : 0) << i);
      c.ended = false;
    } else if (reg == 15) {
      out = static_cast<uint8_t>(out | (c.masked ? 1 : 0) << i);
    }
  }
  return reg == 15 ? static_cast<uint8_t>(out | 0xF0) : out;
}

void I8237::WriteChip(unsigned chip, unsigned reg, uint8_t value) {
  Controller& k = controllers_[chip];
  if (reg < 8) {
    Channel& c = channels_[chip * 4 + reg / 2];
    uint16_t& base = reg % 2 == 0 ? c.base_address : c.base_count;
    base =
        static_cast<uint16_t>(k.high_byte ? (base & 0xFF) | value << 8 : (base & 0xFF00) | value);
    (reg % 2 == 0 ? c.address : c.count) = base;
    k.high_byte = !k.high_byte;
    return;
  }
  Channel& named = channels_[chip * 4 + (value & 3)];
  switch (reg) {
    case 8:
      k.command = value;
      break;
    case 10:
      named.masked = (value & kSetMask) != 0;
      break;
    case 11:
      named.mode = value;
      break;
    case 12:
      k.high_byte = false;
      break;
    case 13:
      ClearChip(chip);
      break;
    case 14:
      for (unsigned i = 0; i < 4; ++i) channels_[chip * 4 + i].masked = false;
      break;
    case 15:
      for (unsigned i = 0; i < 4; ++i) channels_[chip * 4 + i].masked = (value >> i & 1) != 0;
      break;
    default:  // software requests: there is no device behind them
      break;
  }
  Tell();
}

uint64_t I8237::Read(unsigned region, uint64_t offset, unsigned) {
  if (region == kPages) return pages_[offset % kPageRegisters];
  return region == kBytes ? ReadChip(0, offset & 15) : ReadChip(1, offset >> 1 & 15);
}

void I8237::Write(unsigned region, uint64_t offset, unsigned, uint64_t value) {
  const uint8_t byte = static_cast<uint8_t>(value);
  if (region != kPages) {
    region == kBytes ? WriteChip(0, offset & 15, byte) : WriteChip(1, offset >> 1 & 15, byte);
    return;
  }
  pages_[offset % kPageRegisters] = byte;
  for (unsigned i = 0; i < kChannels; ++i) channels_[i].page = pages_[kPageOf[i]];
}

void I8237::VisitState(StateVisitor& v) {
  for (Channel& c : channels_) {
    v.Begin("channel");
    v.Field("base_address", c.base_address);
    v.Field("base_count", c.base_count);
    v.Field("address", c.address);
    v.Field("count", c.count);
    v.Field("mode", c.mode);
    v.Field("masked", c.masked);
    v.Field("requested", c.requested);
    v.Field("ended", c.ended);
    v.End();
  }
  for (Controller& k : controllers_) {
    v.Begin("controller");
    v.Field("command", k.command);
    v.Field("high_byte", k.high_byte);
    v.End();
  }
  v.Array("pages", pages_);
  for (unsigned i = 0; i < kChannels; ++i) channels_[i].page = pages_[kPageOf[i]];
}

}  // namespace atl::dev
