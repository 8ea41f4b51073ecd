// SPDX-License-Identifier: Apache-2.0
#include "lib/vga/vram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::vga {

absl::StatusOr<std::unique_ptr<Vram>> Vram::Create(uint64_t bytes) {
  if (bytes < kMinBytes || bytes > kMaxBytes || !std::has_single_bit(bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "video memory of ", bytes, " bytes: must be a power of two from 256K to 256M"));
  }
  UniqueFd fd(memfd_create("vga-vram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoError(errno, "memfd_create for video memory");
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return ErrnoError(errno, absl::StrCat("video memory of ", bytes >> 10, "K"));
  }
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (p == MAP_FAILED) return ErrnoError(errno, "mmap of video memory");
  return std::unique_ptr<Vram>(new Vram(std::move(fd), static_cast<uint8_t*>(p), bytes));
}

Vram::~Vram() { munmap(data_, size_); }

void Vram::Clear() {
  if (fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                static_cast<off_t>(size_)) != 0) {
    std::memset(data_, 0, size_);
  }
}

}  // namespace atl::vga
