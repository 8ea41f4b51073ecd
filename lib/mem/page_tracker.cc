// SPDX-License-Identifier: Apache-2.0
#include "lib/mem/page_tracker.h"

#include <algorithm>
#include <utility>

namespace atl {

PageTracker::PageTracker(GuestMemory& memory, std::span<uint8_t> bytes)
    : memory_(memory),
      bytes_(bytes),
      marks_(new std::atomic<uint8_t>[bytes.size() >> kPageShift]()),
      written_(bytes.size() >> kPageShift) {
  memory_.SetTracker(this);
}

PageTracker::~PageTracker() {
  OnNextMark(nullptr);
  memory_.SetTracker(nullptr);
}

// A mark that is there already has not been taken off: whoever takes it off looks at
// the page, and once more when the rights are back.
void PageTracker::Mark(const uint8_t* host) {
  std::atomic<uint8_t>& mark = marks_[PageOf(host)];
  if (mark.load(std::memory_order_seq_cst) != 0) return;
  mark.store(1, std::memory_order_seq_cst);
  any_.store(true, std::memory_order_seq_cst);
  if (!waited_for_.load(std::memory_order_seq_cst)) return;
  MutexLock lock(&call_mu_);
  waited_for_.store(false, std::memory_order_relaxed);
  if (call_) std::exchange(call_, nullptr)();
}

bool PageTracker::RightsOut() const {
  return !open_.empty() && !memory_.watcher()->RightsRevoked(ticket_);
}

void PageTracker::MarkLogged(Gpa at, uint64_t size) {
  // Whoever begins the log looks at all bytes after that: at these as well, or the load
  // sees that it has begun.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!logged_.load(std::memory_order_relaxed)) return;
  for (uint64_t done = 0; done < size;) {
    const Gpa next = at + done;
    const MemorySlot* const slot = memory_.Find(next, 1);
    if (slot == nullptr) return;
    const uint8_t* const host = slot->host + (next - slot->base);
    if (Covers(host)) Mark(host);
    done += kPageSize - (next.value & (kPageSize - 1));
  }
}

void PageTracker::LookAtLog(uint64_t now) {
  if (!logged_.load(std::memory_order_relaxed)) {
    memory_.write_log()->Begin(bytes_);
    logged_.store(true, std::memory_order_seq_cst);
    std::fill(written_.begin(), written_.end(), now);
  }
  memory_.write_log()->Collect();
  if (!any_.exchange(false, std::memory_order_seq_cst)) return;
  for (size_t page = 0; page < written_.size(); ++page) {
    if (marks_[page].load(std::memory_order_relaxed) == 0) continue;
    marks_[page].exchange(0, std::memory_order_seq_cst);
    written_[page] = now;
  }
}

uint64_t PageTracker::Look(uint64_t since, std::vector<bool>* written) {
  MutexLock lock(&mu_);
  const uint64_t now = ++looks_;
  if (memory_.write_log() != nullptr) {
    LookAtLog(now);
    written->assign(written_.size(), false);
    for (size_t page = 0; page < written_.size(); ++page) (*written)[page] = written_[page] > since;
    return now;
  }
  // Before the marks: a write under a right that is out now is seen at this look, or
  // at the next, as is what a right allowed that has come back.
  const bool out = RightsOut();
  for (const size_t page : open_) written_[page] = now;
  if (!out) open_.clear();
  if (any_.exchange(false, std::memory_order_seq_cst)) {
    for (size_t page = 0; page < written_.size(); ++page) {
      if (marks_[page].load(std::memory_order_relaxed) == 0) continue;
      written_[page] = now;
      if (out) {
        // Its turn comes when the rights that are out are back.
        any_.store(true, std::memory_order_relaxed);
        continue;
      }
      marks_[page].exchange(0, std::memory_order_seq_cst);
      open_.push_back(page);
    }
    if (!out && !open_.empty()) ticket_ = memory_.watcher()->RevokeRights();
  }
  written->assign(written_.size(), false);
  for (size_t page = 0; page < written_.size(); ++page) (*written)[page] = written_[page] > since;
  return now;
}

bool PageTracker::OnNextMark(std::function<void()> written) {
  MutexLock lock(&mu_);
  if (WriteLog* const log = memory_.write_log()) {
    if (written != nullptr) return false;
    if (logged_.exchange(false)) log->End();
    return true;
  }
  MutexLock call_lock(&call_mu_);
  call_ = std::move(written);
  waited_for_.store(call_ != nullptr, std::memory_order_seq_cst);
  if (call_ == nullptr) return true;
  if (!open_.empty()) return false;
  if (any_.load(std::memory_order_seq_cst)) {
    waited_for_.store(false, std::memory_order_relaxed);
    std::exchange(call_, nullptr)();
  }
  return true;
}

}  // namespace atl
