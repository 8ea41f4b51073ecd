// SPDX-License-Identifier: Apache-2.0
// The bounded buffer between the loop thread, which reads an fd, and a device.
#ifndef LIB_CHAR_INPUT_BUFFER_H_
#define LIB_CHAR_INPUT_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/mutex.h"

namespace atl::chr {

class InputBuffer {
 public:
  static constexpr size_t kCapacity = 4096;

  size_t room() const {
    MutexLock hold(&mutex_);
    return kCapacity - bytes_.size();
  }
  // At most room() bytes; only the loop thread adds.
  void Add(std::span<const uint8_t> bytes) {
    MutexLock hold(&mutex_);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  // `room_again` is called, unlocked, where a full buffer has room from now on.
  size_t Take(std::span<uint8_t> to, const std::function<void()>& room_again) {
    bool was_full;
    size_t n;
    {
      MutexLock hold(&mutex_);
      was_full = bytes_.size() == kCapacity;
      n = std::min(to.size(), bytes_.size());
      std::copy_n(bytes_.begin(), n, to.begin());
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(n));
    }
    if (was_full && n != 0 && room_again) room_again();
    return n;
  }

 private:
  mutable Mutex mutex_;
  std::vector<uint8_t> bytes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace atl::chr

#endif  // LIB_CHAR_INPUT_BUFFER_H_
