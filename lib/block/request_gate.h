// SPDX-License-Identifier: Apache-2.0
// Tells when all requests that began before a moment have ended, without making
// requests wait for anything: a request that looked up where a cluster lies may
// still read or write there after the cluster was dropped, so the cluster may
// get a new owner only once such requests are gone.
//
// Requests count themselves into the current of two phases, on one of several
// counters so that threads do not share a cache line. Advance() turns the phase
// when the other one is empty.
#ifndef LIB_BLOCK_REQUEST_GATE_H_
#define LIB_BLOCK_REQUEST_GATE_H_

#include <array>
#include <atomic>
#include <cstdint>

namespace atl::block {

class RequestGate {
 public:
  // A request; any thread.
  class Pass {
   public:
    explicit Pass(RequestGate* gate) {
      unsigned slot = Slot();
      for (;;) {
        uint64_t phase = gate->phase_.load();
        count_ = &gate->counts_[phase % 2][slot].n;
        count_->fetch_add(1);
        // Counted into a phase that had just been turned away from: the turner
        // may have seen it empty.
        if (gate->phase_.load() == phase) return;
        count_->fetch_sub(1);
      }
    }
    ~Pass() { count_->fetch_sub(1); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    std::atomic<int64_t>* count_;
  };

  // A number for "now"; Passed(number) turns true once every request that began
  // before has ended. Calls of these two come one at a time.
  uint64_t Now() const { return phase_.load() + 2; }
  bool Passed(uint64_t when) {
    while (phase_.load() < when && Empty((phase_.load() + 1) % 2)) phase_.fetch_add(1);
    return phase_.load() >= when;
  }

 private:
  static constexpr unsigned kSlots = 16;
  struct alignas(64) Count {
    std::atomic<int64_t> n{0};
  };

  static unsigned Slot() {
    static std::atomic<unsigned> next{0};
    thread_local unsigned slot = next.fetch_add(1) % kSlots;
    return slot;
  }
  bool Empty(uint64_t side) const {
    for (const Count& c : counts_[side]) {
      if (c.n.load() != 0) return false;
    }
    return true;
  }

  std::atomic<uint64_t> phase_{0};
  std::array<std::array<Count, kSlots>, 2> counts_;
};

}  // namespace atl::block

#endif  // LIB_BLOCK_REQUEST_GATE_H_
