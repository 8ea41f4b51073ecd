// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/block/fd_storage.h"
#include "lib/block/lock.h"
#include "lib/block/storage.h"

namespace atl::block {
namespace {

constexpr uint64_t kMaxOffset = INT64_MAX;
// The kernel moves at most 2 GiB - 4 KiB a call.
constexpr size_t kMaxTransfer = size_t{1} << 30;

class FileStorage final : public Storage {
 public:
  FileStorage(std::string name, UniqueFd fd, bool writable, bool device)
      : name_(std::move(name)), fd_(std::move(fd)), writable_(writable), device_(device) {}

  const std::string& name() const override { return name_; }
  bool writable() const override { return writable_; }
  bool grows_zeroed() const override { return !device_; }
  int fd() const override { return fd_.get(); }

  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    size_t done = 0;
    while (done < to.size()) {
      if (offset + done > kMaxOffset) return PastEnd(offset, to.size());
      ssize_t n = pread(fd_.get(), to.data() + done, std::min(to.size() - done, kMaxTransfer),
                        static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        return Failed(errno, "read", offset + done, to.size() - done);
      }
      if (n == 0) return PastEnd(offset, to.size());
      done += static_cast<size_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override {
    if (offset > kMaxOffset || from.size() > kMaxOffset - offset) {
      return Failed(EFBIG, "write", offset, from.size());
    }
    size_t done = 0;
    while (done < from.size()) {
      ssize_t n = pwrite(fd_.get(), from.data() + done, std::min(from.size() - done, kMaxTransfer),
                         static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        return Failed(n == 0 ? ENOSPC : errno, "write", offset + done, from.size() - done);
      }
      done += static_cast<size_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override {
    if (fdatasync(fd_.get()) == 0) return absl::OkStatus();
    return ErrnoError(errno, absl::StrCat(name_, ": flush"));
  }

  absl::StatusOr<uint64_t> Size() override {
    if (device_) {
      uint64_t bytes = 0;
      if (ioctl(fd_.get(), BLKGETSIZE64, &bytes) == 0) return bytes;
      return ErrnoError(errno, absl::StrCat(name_, ": size"));
    }
    struct stat st;
    if (fstat(fd_.get(), &st) != 0) return ErrnoError(errno, absl::StrCat(name_, ": size"));
    return static_cast<uint64_t>(st.st_size);
  }

  absl::Status Truncate(uint64_t size) override {
    if (device_) {
      ASSIGN_OR_RETURN(uint64_t have, Size());
      if (size <= have) return absl::OkStatus();
      return absl::OutOfRangeError(
          absl::StrCat(name_, ": a block device of ", have, " bytes cannot grow to ", size));
    }
    if (size > kMaxOffset) return ErrnoError(EFBIG, absl::StrCat(name_, ": resize to ", size));
    while (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return ErrnoError(errno, absl::StrCat(name_, ": resize to ", size));
    }
    return absl::OkStatus();
  }

  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    return Fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch hole", offset, length);
  }

  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    return Fallocate(0, "allocate", offset, length);
  }

  absl::StatusOr<StorageExtent> ExtentAt(uint64_t offset) override {
    ASSIGN_OR_RETURN(uint64_t size, Size());
    if (offset >= size) return PastEnd(offset, 1);
    StorageExtent all{.length = size - offset, .data = true};
    if (device_) return all;
    off_t at = static_cast<off_t>(offset);
    off_t data = lseek(fd_.get(), at, SEEK_DATA);
    if (data < 0) {
      // A hole up to the end; or a file system that does not know holes.
      if (errno == ENXIO) all.data = false;
      return all;
    }
    if (data > at) return StorageExtent{.length = static_cast<uint64_t>(data - at), .data = false};
    off_t hole = lseek(fd_.get(), at, SEEK_HOLE);
    if (hole <= at) return all;
    return StorageExtent{.length = static_cast<uint64_t>(hole - at), .data = true};
  }

  absl::StatusOr<uint64_t> AllocatedBytes() override {
    if (device_) return 0;
    struct stat st;
    if (fstat(fd_.get(), &st) != 0) return ErrnoError(errno, absl::StrCat(name_, ": size"));
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

 private:
  absl::Status Fallocate(int mode, const char* what, uint64_t offset, uint64_t length) {
    if (length == 0) return absl::OkStatus();
    if (offset > kMaxOffset || length > kMaxOffset - offset) {
      return Failed(EFBIG, what, offset, length);
    }
    while (fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)) !=
           0) {
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV) {
        return absl::UnimplementedError(absl::StrCat(name_, ": ", what, ": ", strerror(errno)));
      }
      return Failed(errno, what, offset, length);
    }
    return absl::OkStatus();
  }

  absl::Status Failed(int error, const char* what, uint64_t offset, uint64_t length) const {
    return ErrnoError(error,
                      absl::StrFormat("%s: %s of %d bytes at 0x%x", name_, what, length, offset));
  }
  absl::Status PastEnd(uint64_t offset, uint64_t length) const {
    return absl::OutOfRangeError(absl::StrFormat(
        "%s: read of %d bytes at 0x%x passes the end of the file", name_, length, offset));
  }

  const std::string name_;
  const UniqueFd fd_;
  const bool writable_;
  const bool device_;
};

class BorrowedStorage final : public Storage {
 public:
  explicit BorrowedStorage(Storage* s) : s_(s) {}
  const std::string& name() const override { return s_->name(); }
  bool writable() const override { return s_->writable(); }
  absl::Status Read(uint64_t at, std::span<uint8_t> to) override { return s_->Read(at, to); }
  absl::Status Write(uint64_t at, std::span<const uint8_t> from) override {
    return s_->Write(at, from);
  }
  absl::Status Flush() override { return s_->Flush(); }
  absl::StatusOr<uint64_t> Size() override { return s_->Size(); }
  absl::Status Truncate(uint64_t size) override { return s_->Truncate(size); }
  absl::Status PunchHole(uint64_t at, uint64_t n) override { return s_->PunchHole(at, n); }
  absl::Status Allocate(uint64_t at, uint64_t n) override { return s_->Allocate(at, n); }
  absl::StatusOr<StorageExtent> ExtentAt(uint64_t at) override { return s_->ExtentAt(at); }
  absl::StatusOr<uint64_t> AllocatedBytes() override { return s_->AllocatedBytes(); }
  bool grows_zeroed() const override { return s_->grows_zeroed(); }
  int fd() const override { return s_->fd(); }

 private:
  Storage* const s_;
};

int OpenAt(const std::string& path, int flags, const FileOptions& opts) {
  if (opts.beneath.empty()) return open(path.c_str(), flags, opts.mode);
  UniqueFd dir(open(opts.beneath.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return -1;
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.mode = opts.create ? opts.mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, dir.get(), path.c_str(), &how, sizeof how));
}

}  // namespace

std::unique_ptr<Storage> Borrow(Storage* storage) {
  return std::make_unique<BorrowedStorage>(storage);
}

absl::StatusOr<std::unique_ptr<Storage>> OpenFile(absl::string_view path, const FileOptions& opts) {
  const std::string name =
      opts.beneath.empty() ? std::string(path) : absl::StrCat(opts.beneath, "/", path);
  // Emptied only once the lock is had. Non-blocking, or a FIFO with no writer
  // would hold us for ever.
  int flags = (opts.writable ? O_RDWR : O_RDONLY) | (opts.create ? O_CREAT : 0) | O_CLOEXEC |
              O_NOCTTY | O_NONBLOCK;
  UniqueFd fd;
  do fd.reset(OpenAt(std::string(path), flags, opts));
  while (!fd.valid() && errno == EINTR);
  if (!fd.valid() && errno == EXDEV) {
    return absl::PermissionDeniedError(
        absl::StrCat(name, ": lies outside the folder of the image that names it"));
  }
  if (!fd.valid()) return ErrnoError(errno, name);
  ASSIGN_OR_RETURN(std::unique_ptr<Storage> storage, OpenFd(std::move(fd), name, opts));
  if (opts.create) RETURN_IF_ERROR(storage->Truncate(0));
  return storage;
}

absl::StatusOr<std::unique_ptr<Storage>> OpenFd(UniqueFd fd, absl::string_view name,
                                                const FileOptions& opts) {
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoError(errno, name);
  if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": ",
        S_ISDIR(st.st_mode) ? "Is a directory" : "is neither a file nor a block device"));
  }
  RETURN_IF_ERROR(LockFile(fd.get(), name, opts.lock));
  return std::make_unique<FileStorage>(std::string(name), std::move(fd), opts.writable,
                                       S_ISBLK(st.st_mode));
}

absl::Status ReadPadded(Storage& storage, uint64_t offset, std::span<uint8_t> to) {
  absl::Status status = storage.Read(offset, to);
  if (!absl::IsOutOfRange(status)) return status;
  ASSIGN_OR_RETURN(uint64_t size, storage.Size());
  uint64_t have = offset < size ? std::min<uint64_t>(size - offset, to.size()) : 0;
  if (have == to.size()) return status;
  RETURN_IF_ERROR(storage.Read(offset, to.first(have)));
  std::fill(to.begin() + static_cast<ptrdiff_t>(have), to.end(), uint8_t{0});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> ReadVector(Storage& storage, uint64_t offset,
                                                uint64_t length) {
  ASSIGN_OR_RETURN(uint64_t size, storage.Size());
  if (!RangeFits(offset, length, size)) {
    return absl::OutOfRangeError(absl::StrFormat(
        "%s: read of %d bytes at 0x%x passes the end of the file", storage.name(), length, offset));
  }
  std::vector<uint8_t> bytes(length);
  RETURN_IF_ERROR(storage.Read(offset, bytes));
  return bytes;
}

}  // namespace atl::block
