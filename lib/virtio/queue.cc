// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/queue.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "absl/strings/str_format.h"
#include "lib/base/endian.h"

namespace atl::virtio {
namespace {

constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;

struct Descriptor {
  le64 address;
  le32 length;
  le16 flags;
  le16 next;
};
static_assert(sizeof(Descriptor) == 16);

struct UsedElement {
  le32 id;
  le32 length;
};
static_assert(sizeof(UsedElement) == 8);

// Both rings: flags, index, elements, then the other side's event index.
constexpr unsigned kFlags = 0;
constexpr unsigned kIndex = 2;
constexpr unsigned kRing = 4;
constexpr uint16_t kNoInterrupt = 1;
constexpr uint16_t kNoNotify = 1;

uint64_t DriverRingBytes(uint16_t size) { return kRing + 2 * uint64_t{size} + 2; }
uint64_t DeviceRingBytes(uint16_t size) { return kRing + 8 * uint64_t{size} + 2; }

// Visits the parts of `buffers` that make up [offset, offset + length) of their
// concatenation. False where they end before, or a visit fails.
template <typename Visit>
bool ForRange(const std::vector<Buffer>& buffers, uint64_t offset, uint64_t length, Visit&& visit) {
  uint64_t done = 0;
  for (const Buffer& b : buffers) {
    if (done == length) break;
    if (offset >= b.size) {
      offset -= b.size;
      continue;
    }
    const uint64_t n = std::min(b.size - offset, length - done);
    if (!visit(b.at + offset, done, n)) return false;
    done += n;
    offset = 0;
  }
  return done == length;
}

}  // namespace

bool Chain::Read(const GuestMemory& memory, uint64_t offset, std::span<uint8_t> to) const {
  return ForRange(readable, offset, to.size(), [&](Gpa at, uint64_t done, uint64_t n) {
    return memory.Read(at, to.subspan(done, n));
  });
}

bool Chain::Write(GuestMemory& memory, uint64_t offset, std::span<const uint8_t> from) const {
  return ForRange(writable, offset, from.size(), [&](Gpa at, uint64_t done, uint64_t n) {
    return memory.Write(at, from.subspan(done, n));
  });
}

VirtQueue::VirtQueue(GuestMemory* memory, const QueueLayout& layout)
    : memory_(memory), layout_(layout), in_flight_(layout.size) {}

absl::StatusOr<VirtQueue> VirtQueue::Create(GuestMemory* memory, const QueueLayout& layout) {
  if (layout.size > kMaxQueueSize || !std::has_single_bit(layout.size)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "queue size %d: must be a power of two up to %d", layout.size, kMaxQueueSize));
  }
  const struct {
    const char* name;
    Gpa at;
    uint64_t bytes;
    uint64_t alignment;
  } tables[] = {
      {"descriptor table", layout.descriptors, sizeof(Descriptor) * layout.size, 16},
      {"driver ring", layout.driver_ring, DriverRingBytes(layout.size), 2},
      {"device ring", layout.device_ring, DeviceRingBytes(layout.size), 4},
  };
  for (const auto& t : tables) {
    if (t.at.value % t.alignment != 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s at %#x: must be a multiple of %d", t.name, t.at.value, t.alignment));
    }
    if (memory->Find(t.at, t.bytes) == nullptr) {
      return absl::OutOfRangeError(absl::StrFormat("%s of %d bytes at %#x lies outside memory",
                                                   t.name, t.bytes, t.at.value));
    }
  }
  return VirtQueue(memory, layout);
}

absl::StatusOr<std::optional<Chain>> VirtQueue::Pop() {
  const std::optional<uint16_t> available = memory_->Load<uint16_t>(layout_.driver_ring + kIndex);
  if (!available.has_value()) return absl::OutOfRangeError("driver ring left memory");
  const uint16_t ahead = static_cast<uint16_t>(*available - next_available_);
  if (ahead == 0) return std::optional<Chain>();
  if (ahead > layout_.size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("driver ring index jumped by %d in a queue of %d", ahead, layout_.size));
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  const std::optional<uint16_t> head = memory_->Load<uint16_t>(
      layout_.driver_ring + kRing + 2 * (next_available_ & (layout_.size - 1)));
  if (!head.has_value()) return absl::OutOfRangeError("driver ring left memory");
  if (*head >= layout_.size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("head %d in a queue of %d", *head, layout_.size));
  }
  if (in_flight_[*head]) {
    return absl::InvalidArgumentError(absl::StrFormat("head %d is in flight already", *head));
  }
  Chain chain;
  chain.head = *head;
  if (absl::Status walked = Walk(*head, chain); !walked.ok()) return walked;
  ++next_available_;
  in_flight_[*head] = true;
  ++in_flight_count_;
  return std::optional<Chain>(std::move(chain));
}

absl::Status VirtQueue::Walk(uint16_t head, Chain& chain) const {
  Gpa table = layout_.descriptors;
  uint32_t entries = layout_.size;
  bool in_indirect = false;
  uint32_t index = head;
  uint64_t total = 0;
  // Counts direct and indirect descriptors alike: a loop runs into it.
  for (unsigned count = 0; count < kMaxChain; ++count) {
    const std::optional<Descriptor> d =
        memory_->Load<Descriptor>(table + uint64_t{index} * sizeof(Descriptor));
    if (!d.has_value()) {
      return absl::OutOfRangeError(absl::StrFormat(
          "descriptor %d of the table at %#x lies outside memory", index, table.value));
    }
    const uint16_t flags = d->flags;
    const uint32_t length = d->length;
    if ((flags & kIndirect) != 0) {
      if (!layout_.indirect) {
        return absl::InvalidArgumentError("indirect descriptor without the feature");
      }
      if (in_indirect) {
        return absl::InvalidArgumentError("indirect descriptor in an indirect table");
      }
      if ((flags & kNext) != 0) {
        return absl::InvalidArgumentError("indirect descriptor with a next one");
      }
      if (length == 0 || length % sizeof(Descriptor) != 0) {
        return absl::InvalidArgumentError(
            absl::StrFormat("indirect table of %d bytes: must be a multiple of 16", length));
      }
      table = Gpa(d->address);
      entries = length / sizeof(Descriptor);
      in_indirect = true;
      index = 0;
      continue;
    }
    total += length;
    if (total > 0xFFFFFFFF) {
      return absl::InvalidArgumentError("a chain's buffers are 4 GiB or more together");
    }
    // Empty buffers are of no use and of no harm.
    if ((flags & kWrite) != 0) {
      if (length != 0) chain.writable.push_back({Gpa(d->address), length});
      chain.writable_bytes += length;
    } else {
      if (!chain.writable.empty()) {
        return absl::InvalidArgumentError("readable descriptor after a writable one");
      }
      if (length != 0) chain.readable.push_back({Gpa(d->address), length});
      chain.readable_bytes += length;
    }
    if ((flags & kNext) == 0) return absl::OkStatus();
    index = d->next;
    if (index >= entries) {
      return absl::InvalidArgumentError(
          absl::StrFormat("descriptor %d of a table of %d", index, entries));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("a chain of more than %d descriptors, or a loop", kMaxChain));
}

void VirtQueue::Unpop(uint16_t head) {
  in_flight_[head] = false;
  --in_flight_count_;
  --next_available_;
}

absl::Status VirtQueue::Push(uint16_t head, uint32_t written) {
  const Done done{head, written};
  return Push({&done, 1});
}

absl::Status VirtQueue::Push(std::span<const Done> chains) {
  for (const Done& done : chains) {
    if (done.head >= layout_.size || !in_flight_[done.head]) {
      return absl::InternalError(absl::StrFormat("head %d is not in flight", done.head));
    }
    in_flight_[done.head] = false;
    --in_flight_count_;
    const UsedElement element = {uint32_t{done.head}, done.written};
    const Gpa slot = layout_.device_ring + kRing +
                     sizeof(UsedElement) * uint64_t{next_used_ & (layout_.size - 1u)};
    if (!memory_->Store(slot, element)) return absl::OutOfRangeError("device ring left memory");
    ++next_used_;
  }
  std::atomic_thread_fence(std::memory_order_release);
  if (!memory_->Store<uint16_t>(layout_.device_ring + kIndex, next_used_)) {
    return absl::OutOfRangeError("device ring left memory");
  }
  return absl::OkStatus();
}

void VirtQueue::ComeBack(uint16_t next_available) {
  next_available_ = next_available;
  next_used_ = memory_->Load<uint16_t>(layout_.device_ring + kIndex).value_or(next_used_);
  interrupted_at_ = next_used_;
}

bool VirtQueue::TakeInterrupt() {
  const bool wanted = WantsInterrupt();
  interrupted_at_ = next_used_;
  return wanted;
}

bool VirtQueue::WantsInterrupt() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint16_t pushed = static_cast<uint16_t>(next_used_ - interrupted_at_);
  if (pushed == 0) return false;
  if (!layout_.event_index) {
    const std::optional<uint16_t> flags = memory_->Load<uint16_t>(layout_.driver_ring + kFlags);
    return flags.has_value() && (*flags & kNoInterrupt) == 0;
  }
  const std::optional<uint16_t> event =
      memory_->Load<uint16_t>(layout_.driver_ring + kRing + 2 * uint64_t{layout_.size});
  // Whether the index passed `event`, mod 2^16 (VIRTIO 1.2, 2.7.7.2).
  return event.has_value() && static_cast<uint16_t>(next_used_ - *event - 1) < pushed;
}

bool VirtQueue::SetKicks(bool wanted) {
  kicks_wanted_ = wanted;
  if (layout_.event_index) {
    // The driver tells of the next chain after those that stand there already,
    // whether or not these were popped. Without kicks: an index that it will not
    // pass in a while.
    const uint16_t event =
        static_cast<uint16_t>(next_available_ + (wanted ? waiting() : uint16_t{0xFFFF}));
    memory_->Store<uint16_t>(layout_.device_ring + kRing + 8 * uint64_t{layout_.size}, event);
  } else {
    memory_->Store<uint16_t>(layout_.device_ring + kFlags, wanted ? 0 : kNoNotify);
  }
  if (!wanted) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return waiting() != 0;
}

uint16_t VirtQueue::waiting() const {
  const std::optional<uint16_t> available = memory_->Load<uint16_t>(layout_.driver_ring + kIndex);
  return available.has_value() ? static_cast<uint16_t>(*available - next_available_) : 0;
}

void VirtQueue::VisitState(dev::StateVisitor& v) {
  v.Field("next_available", next_available_);
  v.Field("next_used", next_used_);
  v.Field("interrupted_at", interrupted_at_);
  v.Field("kicks_wanted", kicks_wanted_);
  if (v.loading()) {
    in_flight_.assign(layout_.size, false);
    in_flight_count_ = 0;
  }
}

}  // namespace atl::virtio
