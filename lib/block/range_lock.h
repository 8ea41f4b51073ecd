// SPDX-License-Identifier: Apache-2.0
// The table of requests in flight: ranges of guest bytes that someone is
// allocating, copying or dropping. Whoever overlaps one of them waits.
//
// A thread holds at most one range at a time, so no two can wait for each other.
#ifndef LIB_BLOCK_RANGE_LOCK_H_
#define LIB_BLOCK_RANGE_LOCK_H_

#include <cstdint>
#include <list>

#include "lib/base/mutex.h"

namespace atl::block {

class RangeLock {
 public:
  // Holds [begin, end) while it lives.
  class Hold {
   public:
    Hold(RangeLock* table, uint64_t begin, uint64_t end) : table_(table) {
      MutexLock lock(&table_->mu_);
      while (table_->Overlaps(begin, end)) table_->released_.Wait(&table_->mu_);
      it_ = table_->held_.insert(table_->held_.end(), {begin, end});
    }
    ~Hold() {
      MutexLock lock(&table_->mu_);
      table_->held_.erase(it_);
      table_->released_.NotifyAll();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    RangeLock* const table_;
    std::list<std::pair<uint64_t, uint64_t>>::iterator it_;
  };

 private:
  bool Overlaps(uint64_t begin, uint64_t end) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (const auto& [b, e] : held_) {
      if (b < end && begin < e) return true;
    }
    return false;
  }

  Mutex mu_;
  CondVar released_;
  std::list<std::pair<uint64_t, uint64_t>> held_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::block

#endif  // LIB_BLOCK_RANGE_LOCK_H_
