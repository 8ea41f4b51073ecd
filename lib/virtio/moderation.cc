// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/moderation.h"

#include <algorithm>
#include <utility>

namespace atl::virtio {

InterruptModeration::InterruptModeration(dev::Clock* clock, std::function<bool()> wanted,
                                         std::function<void()> raise)
    : clock_(clock),
      wanted_(std::move(wanted)),
      raise_(std::move(raise)),
      timer_(clock->NewTimer([this] { OnTimer(); })) {}

bool InterruptModeration::Settle() {
  if (!waiting_ || wanted_()) return false;
  Interrupted();
  return true;
}

bool InterruptModeration::Wait(unsigned frames, uint64_t bytes) {
  // One that is not answered before the next leaves ends the row.
  if (asked_) answers_ = 0;
  if (wait_ns_ == 0) {
    asked_ = true;
    asked_at_ = clock_->NowNs();
    return false;
  }
  frames_ += frames;
  bytes_ += bytes;
  if (frames_ > kMostFrames || bytes_ > kMostBytes) {
    Interrupted();
    return false;
  }
  if (waiting_) return true;
  waiting_ = true;
  asked_ = true;
  asked_at_ = clock_->NowNs();
  timer_->Arm(asked_at_ + wait_ns_);
  return true;
}

void InterruptModeration::Received() {
  if (!asked_) return;
  asked_ = false;
  const uint64_t took = clock_->NowNs() - asked_at_;
  if (wait_ns_ != 0) {
    // Slower by and by, longer at once.
    wait_ns_ = std::clamp(std::max(kPatience * took, wait_ns_ - wait_ns_ / 8), kLeastNs, kMostNs);
    return;
  }
  if (took > kMostNs / 2) {
    answers_ = 0;
    return;
  }
  slowest_ns_ = answers_ == 0 ? took : std::max(slowest_ns_, took);
  if (++answers_ < kLearn) return;
  answers_ = 0;
  wait_ns_ = std::clamp(kPatience * slowest_ns_, kLeastNs, kMostNs);
}

void InterruptModeration::Reset() {
  timer_->Disarm();
  Interrupted();
  wait_ns_ = 0;
  asked_ = false;
  answers_ = 0;
}

void InterruptModeration::Loaded() {
  Reset();
  waiting_ = true;
  timer_->Arm(clock_->NowNs() + kMostNs);
}

// The timer stays armed: a later wait sets it anew, and else it finds nothing to do. To
// turn it off at each answer would be a call to the kernel each.
void InterruptModeration::Interrupted() {
  waiting_ = false;
  frames_ = 0;
  bytes_ = 0;
}

void InterruptModeration::OnTimer() {
  if (!waiting_) return;
  const bool wanted = wanted_();
  Interrupted();
  if (!wanted) return;
  asked_ = false;
  wait_ns_ /= 2;
  if (wait_ns_ < kLeastNs) wait_ns_ = 0;
  raise_();
}

}  // namespace atl::virtio
