// SPDX-License-Identifier: Apache-2.0
// A VGA's memory: shared memory, so that it can be a slot of the guest's
// memory, and be looked at while the guest draws into it.
//
// The planes of the old modes lie in it byte by byte: byte `n` of plane `p` is
// at 4 * n + p. The linear modes use it as it is.
#ifndef LIB_VGA_VRAM_H_
#define LIB_VGA_VRAM_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace atl::vga {

class Vram {
 public:
  static constexpr uint64_t kMinBytes = 256 << 10;
  static constexpr uint64_t kMaxBytes = 256 << 20;

  // A power of two.
  static absl::StatusOr<std::unique_ptr<Vram>> Create(uint64_t bytes);
  ~Vram();
  Vram(const Vram&) = delete;
  Vram& operator=(const Vram&) = delete;

  uint64_t size() const { return size_; }
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  std::span<uint8_t> bytes() { return {data_, size_}; }
  int memfd() const { return fd_.get(); }
  // To zeros, and the pages back to the host.
  void Clear();

 private:
  Vram(UniqueFd fd, uint8_t* data, uint64_t size) : fd_(std::move(fd)), data_(data), size_(size) {}

  UniqueFd fd_;
  uint8_t* data_;
  uint64_t size_;
};

}  // namespace atl::vga

#endif  // LIB_VGA_VRAM_H_
