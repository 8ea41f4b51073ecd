// SPDX-License-Identifier: Apache-2.0
// Bytes that took long to make, kept in a folder for the next start: a file an
// entry, found by name.
//
// What stands there is believed only where it must be ours: folder and file
// belong to this process' user and nobody else may write them, the file is not a
// link, its size is what its header says, and so is the checksum of its bytes
// (a crash of the host may leave a file of the right size and wrong bytes). An
// entry appears whole or not at all. Losing entries costs time, nothing else:
// callers go on without the cache on any error.
#ifndef LIB_HOST_FILE_CACHE_H_
#define LIB_HOST_FILE_CACHE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

// $ATOLL_CACHE, else $XDG_CACHE_HOME/atoll, else ~/.cache/atoll. Empty, which stands
// for no cache, where ATOLL_CACHE is set to nothing or no folder can be told.
std::string CacheFolder();

// Against lost and torn writes, not against enemies, whom owner and mode keep
// out. Four lanes, so that it runs at the memory's speed.
class Checksum {
 public:
  void Add(std::span<const uint8_t> bytes);
  uint64_t Finish();

 private:
  static constexpr size_t kBlock = 32;

  void Mix(std::span<const uint8_t> blocks);

  std::array<uint64_t, 4> lanes_ = {1, 2, 3, 4};
  uint64_t total_ = 0;
  uint8_t tail_[kBlock];
  size_t filled_ = 0;  // of the tail, always less than a block
};

// An entry while it is read, from its begin.
class CachedFile {
 public:
  uint64_t left() const { return left_; }
  // The next bytes, as many as `to` has. What they are worth is known at the end.
  absl::Status Read(std::span<uint8_t> to);
  // All has been read: whether the bytes were right. An entry that is damaged, in
  // Read() or here, is removed.
  absl::Status Finish();

 private:
  friend class FileCache;
  CachedFile() = default;
  absl::Status Damaged(absl::string_view why) const;

  UniqueFd folder_;
  UniqueFd file_;
  std::string name_, path_;
  uint64_t left_ = 0;
  uint64_t checksum_ = 0;  // as the header has it
  Checksum sum_;
};

class FileCache {
 public:
  // Entries of more than `max_bytes` together push out those that have not been
  // used for longest. The folder need not be there.
  FileCache(std::string folder, uint64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}

  // Calls `room` with the entry's size, fills what it gives (that many bytes, or
  // none to decline) and says whether the bytes are right. NotFound, or why the
  // entry is not used; one that is damaged is removed.
  absl::Status Load(absl::string_view name,
                    const std::function<std::span<uint8_t>(uint64_t)>& room) const;
  // The same by parts, for bytes that belong in several places.
  absl::StatusOr<CachedFile> Open(absl::string_view name) const;

  // `name`: letters, digits, '-', '_' and '.', and no '.' first. The bytes are those
  // of `parts`, one after the other. An entry of the same name is replaced.
  absl::Status Store(absl::string_view name, std::span<const std::span<const uint8_t>> parts) const;

 private:
  absl::StatusOr<UniqueFd> OpenFolder() const;
  void Trim(int folder) const;

  const std::string folder_;
  const uint64_t max_bytes_;
};

}  // namespace atl::host

#endif  // LIB_HOST_FILE_CACHE_H_
