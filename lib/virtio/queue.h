// SPDX-License-Identifier: Apache-2.0
// A split virtqueue, the device's side (VIRTIO 1.2, 2.7).
//
// Theory of operation. A queue is three tables in guest memory: descriptors (an
// address, a length, flags, the next descriptor), the driver's ring of heads
// that it made available, the device's ring of heads that it has used. The
// driver writes the first two and the device the third; each side announces by
// an index that only grows (mod 2^16).
//
// The driver may be hostile, and its other vCPUs may rewrite every table while
// the device reads it. So:
//  - Each descriptor is copied once and judged in the copy; nothing of a chain
//    is read a second time. Pop() returns addresses and lengths by value.
//  - The device's own indices live here, not in guest memory: what the driver
//    writes into the used ring has no effect.
//  - A chain has at most kMaxChain descriptors over direct and indirect tables
//    together, which ends loops; an indirect descriptor neither continues nor
//    stands in an indirect table; readable buffers precede writable ones; the
//    bytes of a chain are fewer than 2^32.
//  - An available index that is ahead by more than the queue's size, and a head
//    that is in flight already, are errors: so at most `size` chains are in
//    flight, and a device's memory for them is bounded.
//  - Buffers may overlap each other and the rings; that harms only the guest.
// Whatever breaks these rules breaks the queue: the device asks for a reset
// (DEVICE_NEEDS_RESET) and touches the queue no more.
//
// Addresses are checked at each access (the memory map can change), never kept
// as pointers here.
//
// Barriers: the available index is loaded with acquire before the ring is read;
// a used element is stored before the used index is (release); a full fence
// stands between storing the used index and reading what the driver says about
// interrupts, and between asking for kicks and looking at the ring again.
//
// Thread rule: one thread at a time (the device's lock).
#ifndef LIB_VIRTIO_QUEUE_H_
#define LIB_VIRTIO_QUEUE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/dev/state.h"
#include "lib/mem/address.h"
#include "lib/mem/guest_memory.h"

namespace atl::virtio {

inline constexpr uint16_t kMaxQueueSize = 1024;

struct QueueLayout {
  Gpa descriptors;           // 16-byte aligned
  Gpa driver_ring;           // "available", 2-byte aligned
  Gpa device_ring;           // "used", 4-byte aligned
  uint16_t size = 0;         // power of two, at most kMaxQueueSize
  bool event_index = false;  // VIRTIO_F_EVENT_IDX was negotiated
  bool indirect = false;     // VIRTIO_F_INDIRECT_DESC was negotiated
};

struct Buffer {
  Gpa at;
  uint32_t size = 0;
};

// A request as the driver laid it out. The buffers are checked for nothing but
// their number and total: any address may lie outside memory.
struct Chain {
  uint16_t head = 0;
  std::vector<Buffer> readable;
  std::vector<Buffer> writable;
  uint32_t readable_bytes = 0;
  uint32_t writable_bytes = 0;

  // Copies between the bytes at `offset` of all readable (writable) buffers
  // together and host memory. False where the range or the memory ends before.
  bool Read(const GuestMemory& memory, uint64_t offset, std::span<uint8_t> to) const;
  bool Write(GuestMemory& memory, uint64_t offset, std::span<const uint8_t> from) const;
};

class VirtQueue {
 public:
  static constexpr unsigned kMaxChain = 1024;

  // InvalidArgument where the tables are misplaced, OutOfRange where they do
  // not lie in memory. `memory` outlives the queue.
  static absl::StatusOr<VirtQueue> Create(GuestMemory* memory, const QueueLayout& layout);

  uint16_t size() const { return layout_.size; }

  // For who serves the queue in place of this object: where it lies and from which
  // available index on; and that it is this object's again, at that index.
  const QueueLayout& layout() const { return layout_; }
  uint64_t driver_ring_bytes() const { return 4 + 2 * uint64_t{layout_.size} + 2; }
  uint64_t device_ring_bytes() const { return 4 + 8 * uint64_t{layout_.size} + 2; }
  uint16_t next_available() const { return next_available_; }
  void ComeBack(uint16_t next_available);

  // The next chain that the driver made available, nothing where there is none,
  // or an error that broke the queue.
  absl::StatusOr<std::optional<Chain>> Pop();

  // Undoes the latest Pop() that was neither undone nor pushed: the chain stands
  // in the ring again, to be popped (and judged) another time.
  void Unpop(uint16_t head);

  // Gives a popped chain back, `written` bytes of it written. Chains come back
  // in any order.
  absl::Status Push(uint16_t head, uint32_t written);
  // The same for several, which the driver sees at once.
  struct Done {
    uint16_t head = 0;
    uint32_t written = 0;
  };
  absl::Status Push(std::span<const Done> chains);

  // Whether the driver wants to be interrupted for the chains pushed since the
  // last TakeInterrupt(), as it says now.
  bool WantsInterrupt() const;
  // The same, and what was pushed is settled.
  bool TakeInterrupt();

  // Asks the driver to notify of new chains, or not to: a hint that it may
  // ignore. True where chains are there now (look at them: no notification
  // will come for these).
  bool SetKicks(bool wanted);

  // How many chains stand in the ring, as the driver says now: at most size(),
  // or a number that makes Pop() fail.
  uint16_t waiting() const;

  unsigned in_flight() const { return in_flight_count_; }

  // To be saved only with nothing in flight.
  void VisitState(dev::StateVisitor& v);

 private:
  VirtQueue(GuestMemory* memory, const QueueLayout& layout);

  absl::Status Walk(uint16_t head, Chain& chain) const;

  GuestMemory* memory_;
  QueueLayout layout_;
  uint16_t next_available_ = 0;  // the driver ring's index up to which Pop() is
  uint16_t next_used_ = 0;
  uint16_t interrupted_at_ = 0;  // next_used_ when the driver was last asked about
  bool kicks_wanted_ = true;
  unsigned in_flight_count_ = 0;
  std::vector<bool> in_flight_;  // by head
};

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_QUEUE_H_
