// SPDX-License-Identifier: Apache-2.0
#ifndef LIB_DEV_TESTING_FAKE_STREAM_H_
#define LIB_DEV_TESTING_FAKE_STREAM_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "lib/char/stream.h"

namespace atl::dev {

// Two strings.
class FakeStream final : public chr::Stream {
 public:
  size_t Read(std::span<uint8_t> to) override {
    const size_t n = std::min(to.size(), input.size());
    std::copy_n(input.begin(), n, to.begin());
    input.erase(0, n);
    return n;
  }
  void Write(std::span<const uint8_t> bytes) override {
    output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  std::string input;
  std::string output;
};

}  // namespace atl::dev

#endif  // LIB_DEV_TESTING_FAKE_STREAM_H_
