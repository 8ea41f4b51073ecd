// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/bus_master.h"

#include <algorithm>

#include "lib/base/endian.h"

namespace atl::ide {
namespace {

struct RegionDescriptor {
  le32 base;   // even
  le16 count;  // bytes, even; 0 for 64 KiB
  le16 flags;
};
static_assert(sizeof(RegionDescriptor) == 8);
constexpr uint16_t kEndOfTable = 0x8000;

}  // namespace

uint8_t BusMaster::Read(unsigned offset) const {
  if (offset == 0) return command_;
  if (offset == 2) return status_;
  if (offset >= 4 && offset < kPorts) return static_cast<uint8_t>(table_ >> (8 * (offset - 4)));
  return 0;
}

BusMaster::Event BusMaster::Write(unsigned offset, uint8_t value) {
  if (offset == 0) {
    const bool was = started();
    // The direction of a transfer that runs does not change.
    command_ = was && (value & 1) != 0 ? command_ : value & 9;
    if (started() == was) return Event::kNone;
    status_ = static_cast<uint8_t>(was ? status_ & ~kActive : status_ | kActive);
    return was ? Event::kStopped : Event::kStarted;
  }
  if (offset == 2) {
    const uint8_t kept = status_ & static_cast<uint8_t>(~(value & (kError | kInterrupt)));
    status_ = static_cast<uint8_t>((kept & ~kDriveBits) | (value & kDriveBits));
  }
  if (offset >= 4 && offset < kPorts) {
    const unsigned shift = 8 * (offset - 4);
    table_ = ((table_ & ~(0xFFu << shift)) | uint32_t{value} << shift) & ~3u;
  }
  return Event::kNone;
}

std::optional<work::GuestPieces> BusMaster::Gather(GuestMemory& memory, uint64_t bytes,
                                                   bool* exhausted) {
  work::GuestPieces out;
  *exhausted = false;
  for (unsigned i = 0; i < kMaxDescriptors; ++i) {
    const std::optional<RegionDescriptor> d =
        memory.Load<RegionDescriptor>(Gpa(uint64_t{table_} + 8 * uint64_t{i}));
    if (!d.has_value()) return std::nullopt;
    const uint32_t count = d->count & ~1u;
    const uint64_t size = count == 0 ? 0x10000 : count;
    const bool last = (d->flags & kEndOfTable) != 0;
    const uint64_t wanted = std::min(size, bytes - out.bytes());
    if (!out.Append(memory, Gpa(d->base & ~1u), wanted)) return std::nullopt;
    if (out.bytes() == bytes) {
      *exhausted = last && wanted == size;
      return out;
    }
    if (last) return std::nullopt;
  }
  return std::nullopt;
}

void BusMaster::Finish(bool error, bool active) {
  status_ = static_cast<uint8_t>(status_ & ~kActive);
  if (error) status_ |= kError;
  if (active && started()) status_ |= kActive;
}

void BusMaster::VisitState(dev::StateVisitor& v) {
  v.Field("command", command_);
  v.Field("status", status_);
  v.Field("table", table_);
  command_ &= 9;
  table_ &= ~3u;
}

}  // namespace atl::ide
