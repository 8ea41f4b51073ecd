// SPDX-License-Identifier: Apache-2.0
// A timer with its deadline as state.
#ifndef LIB_NIC_ALARM_H_
#define LIB_NIC_ALARM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "lib/dev/clock.h"
#include "lib/dev/state.h"

namespace atl::nic {

class Alarm {
 public:
  Alarm(dev::Clock& clock, std::function<void()> ring)
      : ring_(std::move(ring)), timer_(clock.NewTimer([this] {
          deadline_ = 0;
          ring_();
        })) {}

  bool set() const { return deadline_ != 0; }
  void Set(uint64_t deadline_ns) {
    deadline_ = deadline_ns == 0 ? 1 : deadline_ns;
    timer_->Arm(deadline_);
  }
  void Clear() {
    deadline_ = 0;
    timer_->Disarm();
  }
  void VisitState(dev::StateVisitor& v, absl::string_view name) {
    v.Field(name, deadline_);
    if (v.loading()) deadline_ == 0 ? timer_->Disarm() : timer_->Arm(deadline_);
  }

 private:
  std::function<void()> ring_;
  uint64_t deadline_ = 0;  // 0: none
  std::unique_ptr<dev::Timer> timer_;
};

}  // namespace atl::nic

#endif  // LIB_NIC_ALARM_H_
