// SPDX-License-Identifier: Apache-2.0
// What an execution wrote to guest memory, so that it can be taken back and done
// again (verify.h). While the MMU has one, every store goes through it.
#ifndef LIB_CPU_SOFT_WRITE_LOG_H_
#define LIB_CPU_SOFT_WRITE_LOG_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace atl::cpu::soft {

class WriteLog {
 public:
  struct Entry {
    uint8_t* at;
    uint32_t size;
    uint32_t bytes;  // where in `before_` and `after_`
  };

  void Clear() {
    entries_.clear();
    before_.clear();
    repeatable_ = true;
  }
  // Before `size` bytes of guest memory at `at` change.
  void Add(uint8_t* at, unsigned size) {
    entries_.push_back({at, size, static_cast<uint32_t>(before_.size())});
    before_.insert(before_.end(), at, at + size);
  }
  // Something happened that cannot be taken back: a device was reached, or code
  // changed.
  void Unrepeatable() { repeatable_ = false; }
  bool repeatable() const { return repeatable_; }

  // Memory as it was; what the execution left there is kept for Entry's sake.
  void TakeBack() {
    Keep(&after_);
    for (size_t i = entries_.size(); i-- > 0;)
      std::memcpy(entries_[i].at, &before_[entries_[i].bytes], entries_[i].size);
  }
  // Copies what now stands where was written.
  void Keep(std::vector<uint8_t>* out) const {
    out->resize(before_.size());
    for (const Entry& e : entries_) std::memcpy(&(*out)[e.bytes], e.at, e.size);
  }
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<uint8_t>& after() const { return after_; }  // TakeBack()'s

 private:
  std::vector<Entry> entries_;
  std::vector<uint8_t> before_, after_;
  bool repeatable_ = true;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_WRITE_LOG_H_
