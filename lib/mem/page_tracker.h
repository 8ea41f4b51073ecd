// SPDX-License-Identifier: Apache-2.0
// Which pages of a memory that is no RAM, a frame buffer, the guest may have written
// to: found by who writes, not by looking at the bytes.
//
// A writer marks a page: the guest's devices after they wrote to it, a vCPU before it
// does or before it gives itself the right to write to it unseen (the software CPU:
// an entry of its TLB). Whoever looks takes the marks off and has the rights taken
// back. Until every vCPU has let go of them, the pages they may be of count as
// written to, and so they do once more at the look after that.
//
// A backend that cannot say so before (KVM) is asked afterwards, at each look
// (WriteLog): from the first look on, and until nobody waits for marks any more. Where
// it keeps no books at all, nothing is known.
//
// Thread rule: any thread, but the constructor and the destructor run while no vCPU
// does.
#ifndef LIB_MEM_PAGE_TRACKER_H_
#define LIB_MEM_PAGE_TRACKER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/mem/address.h"
#include "lib/mem/guest_memory.h"

namespace atl {

class PageTracker {
 public:
  // Of `bytes`, which begin at a page and are not of the RAM; one tracker for a
  // memory. Both outlive it.
  PageTracker(GuestMemory& memory, std::span<uint8_t> bytes);
  ~PageTracker();
  PageTracker(const PageTracker&) = delete;
  PageTracker& operator=(const PageTracker&) = delete;

  // --- Those who write ---

  std::span<uint8_t> bytes() const { return bytes_; }
  bool Covers(const uint8_t* host) const {
    return static_cast<uint64_t>(host - bytes_.data()) < bytes_.size();
  }
  size_t pages() const { return bytes_.size() >> kPageShift; }
  // Of a byte that is covered.
  size_t PageOf(const uint8_t* host) const {
    return static_cast<size_t>(host - bytes_.data()) >> kPageShift;
  }
  // The page of `host`, which is covered.
  void Mark(const uint8_t* host);
  // By a device, of memory of the guest that may be covered: where a log is kept.
  void MarkLogged(Gpa at, uint64_t size);

  // --- Those who look ---

  bool knows() const {
    return memory_.write_log() != nullptr ||
           (memory_.watcher() != nullptr && memory_.watcher()->KeepsRights());
  }
  // A look's number, from 1; and for each page whether it may have been written to
  // since the look of number `since` began. Only where knows().
  uint64_t Look(uint64_t since, std::vector<bool>* written);
  // Calls `written` once, when a page is marked that was not at the last look: at
  // once, or on any thread, with locks held, so that it may only wake somebody. Null
  // ends the wait, and is not called after that, and a log ends: looks after it find
  // everything written to. False: not every write will be told, since rights are still
  // out or there is but a log; look again soon.
  bool OnNextMark(std::function<void()> written);

 private:
  void LookAtLog(uint64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool RightsOut() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  GuestMemory& memory_;
  const std::span<uint8_t> bytes_;
  const std::unique_ptr<std::atomic<uint8_t>[]> marks_;  // a page each
  std::atomic<bool> any_{false};                         // of the marks may be set
  std::atomic<bool> waited_for_{false};
  std::atomic<bool> logged_{false};  // the log is kept; changed under mu_

  Mutex mu_;
  uint64_t looks_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> written_ ABSL_GUARDED_BY(mu_);  // the last look that a page was new at
  std::vector<size_t> open_ ABSL_GUARDED_BY(mu_);       // pages that there may be rights to
  uint64_t ticket_ ABSL_GUARDED_BY(mu_) = 0;            // of the last revocation
  Mutex call_mu_;                                       // inside mu_, or alone
  std::function<void()> call_ ABSL_GUARDED_BY(call_mu_);
};

}  // namespace atl

#endif  // LIB_MEM_PAGE_TRACKER_H_
