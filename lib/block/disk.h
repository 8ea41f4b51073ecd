// SPDX-License-Identifier: Apache-2.0
// A guest's disk as devices see it: bytes at offsets, nothing of formats.
//
// Thread rule: every call from any thread, any number at once; calls block. A
// write is in the image when the call returns and safe from a crash of the
// host after the next Flush(). Overlapping concurrent writes land in any order.
// Errors name the file and the offset in it.
#ifndef LIB_BLOCK_DISK_H_
#define LIB_BLOCK_DISK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"

namespace atl::block {

class Disk {
 public:
  virtual ~Disk() = default;

  virtual uint64_t size() const = 0;  // bytes, a multiple of 512
  virtual bool read_only() const = 0;
  // What the disk is called in messages: its file name.
  virtual std::string name() const = 0;

  // Ranges must lie within size(): OutOfRange else, and nothing is done. Any
  // offset and length; multiples of 4096 are fastest.
  virtual absl::Status Read(uint64_t offset, std::span<uint8_t> to) = 0;
  virtual absl::Status Write(uint64_t offset, std::span<const uint8_t> from) = 0;
  virtual absl::Status Flush() = 0;
  // The range reads as zeroes afterwards. `unmap` allows, not demands, that the
  // space is given back.
  virtual absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool unmap) = 0;
  // The range's contents are no longer needed: a hint.
  virtual absl::Status Discard(uint64_t offset, uint64_t length) = 0;

  // Where the range's bytes stand in a file as they are, in one piece, for who reads or
  // writes them there instead of calling Read() or Write(). Nothing where they do not. Who
  // has transferred fewer bytes than asked for does it by the calls. `until` is let go
  // after the transfer: the place is the range's as long.
  struct Place {
    int fd = -1;
    uint64_t offset = 0;
    std::shared_ptr<const void> until;
  };
  virtual std::optional<Place> PlaceOf(uint64_t /*offset*/, uint64_t /*length*/, bool /*write*/) {
    return std::nullopt;
  }
};

}  // namespace atl::block

#endif  // LIB_BLOCK_DISK_H_
