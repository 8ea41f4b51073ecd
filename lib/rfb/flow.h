// SPDX-License-Identifier: Apache-2.0
// How much may be under way to a viewer that is sent updates without asking:
// about what the line carries in a round trip and a frame, so that what is sent
// next is new. Measured with fences, which a viewer echoes when it has worked
// through all before them.
#ifndef LIB_RFB_FLOW_H_
#define LIB_RFB_FLOW_H_

#include <cstddef>
#include <cstdint>
#include <deque>

namespace atl::rfb {

class FlowControl {
 public:
  static constexpr size_t kLeastWindow = 64 * 1024;
  static constexpr size_t kMostWindow = 16 * 1024 * 1024;
  static constexpr uint64_t kFrameNs = 16'000'000;
  // Fences that may be under way.
  static constexpr size_t kMaxFences = 16;

  // Another update may be sent.
  bool Open() const {
    return fences_.empty() || (in_flight_ < window_ && fences_.size() < kMaxFences);
  }
  // An update of that many bytes is followed by a fence with the number returned.
  uint32_t Sent(size_t bytes, uint64_t now) {
    fences_.push_back({++last_, bytes, now});
    in_flight_ += bytes;
    return last_;
  }
  // Numbers that were not sent are ignored.
  void Echoed(uint32_t number, uint64_t now) {
    if (fences_.empty() || number - fences_.front().number >= fences_.size()) return;
    size_t bytes = 0;
    uint64_t sent = now;
    while (!fences_.empty() && fences_.front().number != number + 1) {
      bytes += fences_.front().bytes;
      sent = fences_.front().sent;
      fences_.pop_front();
    }
    in_flight_ -= bytes;
    const uint64_t round_trip = now > sent ? now - sent : 1;
    if (round_trip < best_round_trip_) best_round_trip_ = round_trip;
    // Bytes a nanosecond, of what came in while there was something to bring.
    const uint64_t since = now - (last_echo_ > sent ? last_echo_ : sent);
    if (since > 0 && bytes > 0) {
      const double rate = static_cast<double>(bytes) / static_cast<double>(since);
      rate_ = rate_ == 0 ? rate : rate_ * 0.75 + rate * 0.25;
    }
    last_echo_ = now;
    const double window = rate_ * static_cast<double>(best_round_trip_ + kFrameNs);
    window_ = window < kLeastWindow  ? kLeastWindow
              : window > kMostWindow ? kMostWindow
                                     : static_cast<size_t>(window);
  }
  size_t window() const { return window_; }
  size_t in_flight() const { return in_flight_; }

 private:
  struct Sending {
    uint32_t number;
    size_t bytes;
    uint64_t sent;
  };
  std::deque<Sending> fences_;
  uint32_t last_ = 0;
  size_t in_flight_ = 0;
  size_t window_ = kLeastWindow;
  uint64_t best_round_trip_ = ~uint64_t{0} / 4;
  uint64_t last_echo_ = 0;
  double rate_ = 0;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_FLOW_H_
