// SPDX-License-Identifier: Apache-2.0
// When a driver is interrupted for what it sent: not at once where a frame that it
// receives is about to interrupt it anyway.
//
// Theory of operation. A driver that asks and is answered (a ping, a request, a segment
// and its ACK) gets two interrupts close together: one for the frame that left, one for
// the answer. In the second's handler drivers look at what left, too (Linux does), so that
// the first is for nothing; on a virtual machine it costs a way out of the guest for a halt
// that it broke, or two where both interrupts are pending and the hypervisor wants to
// hear of the end of one. Network cards have had timers against that for long, and
// VIRTIO_NET_F_NOTF_COAL is one; here the time is learned:
//  - At first, and while it does not pay, the driver is interrupted at once.
//  - Where frames were received soon after each of kLearn sent ones (in half of kMostNs),
//    sent ones wait for kPatience times as long as the slowest of those took, at most
//    kMostNs.
//  - The used ring is up to date all the time: a driver that looks finds its buffers.
//    Whether it has looked, the event index tells: then that interrupt is not due any more.
//  - Where it has not looked in time, it is interrupted and the next wait is half as long.
//    Below kLeastNs there is none, and all begins anew.
//  - More than a few frames or bytes never wait: who sends much must get its buffers
//    back to send more (TCP small queues, a socket's buffer).
//
// Thread rule: with the device's lock held.
#ifndef LIB_VIRTIO_MODERATION_H_
#define LIB_VIRTIO_MODERATION_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "lib/dev/clock.h"

namespace atl::virtio {

class InterruptModeration {
 public:
  static constexpr unsigned kLearn = 16;
  static constexpr uint64_t kPatience = 4;
  static constexpr uint64_t kLeastNs = 50'000;
  static constexpr uint64_t kMostNs = 5'000'000;
  static constexpr unsigned kMostFrames = 8;
  static constexpr uint64_t kMostBytes = 4096;

  // `wanted`: whether the driver, as it says now, wants an interrupt for what waits;
  // `raise` interrupts it. `clock` is of the device's lock.
  InterruptModeration(dev::Clock* clock, std::function<bool()> wanted, std::function<void()> raise);

  // Before further frames are given back: whether the earlier ones' interrupt waited in
  // vain, that is with success. The caller then forgets that it was due.
  bool Settle();
  // Frames were given back, and the driver wants an interrupt for that. False: now.
  bool Wait(unsigned frames, uint64_t bytes);
  // The driver was interrupted for frames that it receives.
  void Received();
  void Reset();
  // After a load: what waited when the state was saved is looked at soon.
  void Loaded();

  uint64_t wait_ns() const { return wait_ns_; }

 private:
  void OnTimer();
  void Interrupted();

  dev::Clock* const clock_;
  const std::function<bool()> wanted_;
  const std::function<void()> raise_;
  const std::unique_ptr<dev::Timer> timer_;
  uint64_t wait_ns_ = 0;
  bool waiting_ = false;
  unsigned frames_ = 0;  // that wait
  uint64_t bytes_ = 0;
  // The latest frame that left and has not been followed by another either way.
  bool asked_ = false;
  uint64_t asked_at_ = 0;
  unsigned answers_ = 0;     // in a row, while nothing waits
  uint64_t slowest_ns_ = 0;  // of those
};

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_MODERATION_H_
