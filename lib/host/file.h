// SPDX-License-Identifier: Apache-2.0
// Files that are read: kernels, firmware, tables.
#ifndef LIB_HOST_FILE_H_
#define LIB_HOST_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

// A regular file or block device open for reading. Errors name the path.
class File {
 public:
  // A directory, socket or the like is InvalidArgument.
  static absl::StatusOr<File> Open(absl::string_view path);

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  uint64_t size() const { return size_; }  // bytes, as at Open()

  // Tells this content of the file from any other on this host: device, inode,
  // size and times of change, as letters, digits, '.' and '-'. Empty where it cannot
  // be told: no regular file, or one changed so recently that its next change
  // may bear the same time.
  std::string Identity() const;

  // All of `to`, or an error; OutOfRange where the file ends before.
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> to) const;

 private:
  File(std::string path, UniqueFd fd, uint64_t size)
      : path_(std::move(path)), fd_(std::move(fd)), size_(size) {}

  std::string path_;
  UniqueFd fd_;
  uint64_t size_;
};

// The whole file. Larger than `max_bytes` is InvalidArgument and names both sizes.
absl::StatusOr<std::vector<uint8_t>> ReadFile(absl::string_view path, uint64_t max_bytes);

}  // namespace atl::host

#endif  // LIB_HOST_FILE_H_
