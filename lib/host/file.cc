// SPDX-License-Identifier: Apache-2.0
#include "lib/host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"

namespace atl::host {

absl::StatusOr<File> File::Open(absl::string_view path) {
  std::string name(path);
  // Without O_NONBLOCK a FIFO would hang here until somebody writes.
  UniqueFd fd(open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, name);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoError(errno, name);
  uint64_t size = static_cast<uint64_t>(st.st_size);
  if (S_ISBLK(st.st_mode)) {
    const off_t end = lseek(fd.get(), 0, SEEK_END);
    if (end < 0) return ErrnoError(errno, name);
    size = static_cast<uint64_t>(end);
  } else if (!S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", S_ISDIR(st.st_mode) ? "is a directory" : "is not a file"));
  }
  return File(std::move(name), std::move(fd), size);
}

std::string File::Identity() const {
  // More than a tick of any file system's clock.
  constexpr time_t kSettled = 3;
  struct stat st;
  if (fstat(fd_.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  const time_t now = time(nullptr);
  if (now - st.st_ctime < kSettled || now - st.st_mtime < kSettled) return {};
  return absl::StrFormat("%x-%x-%x-%x.%x-%x.%x", st.st_dev, st.st_ino, st.st_size,
                         st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec,
                         st.st_ctim.tv_nsec);
}

absl::Status File::ReadAt(uint64_t offset, std::span<uint8_t> to) const {
  while (!to.empty()) {
    const ssize_t n = pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, path_);
    if (n == 0) return absl::OutOfRangeError(absl::StrCat(path_, ": ends at byte ", offset));
    offset += static_cast<uint64_t>(n);
    to = to.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> ReadFile(absl::string_view path, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(File file, File::Open(path));
  if (file.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is larger (", FormatSize(file.size()),
                                                   ") than what is read of such a file (",
                                                   FormatSize(max_bytes), ")"));
  }
  std::vector<uint8_t> bytes(file.size());
  RETURN_IF_ERROR(file.ReadAt(0, bytes));
  return bytes;
}

}  // namespace atl::host
