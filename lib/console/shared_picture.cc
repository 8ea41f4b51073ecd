// SPDX-License-Identifier: Apache-2.0
#include "lib/console/shared_picture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "lib/base/status_macros.h"

// Of linux/fcntl.h, since Linux 5.1: mappings that are there may be written
// through, no others.
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace atl::console {

absl::StatusOr<std::unique_ptr<SharedPicture>> SharedPicture::Create() {
  UniqueFd fd(memfd_create("atoll-console", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ftruncate(fd.get(), kMaxMemory) != 0) {
    return ErrnoError(errno, "console: memory");
  }
  void* const memory =
      mmap(nullptr, kMaxMemory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (memory == MAP_FAILED) return ErrnoError(errno, "console: memory");
  std::unique_ptr<SharedPicture> out(
      new SharedPicture(std::move(fd), static_cast<uint8_t*>(memory)));
  if (fcntl(out->fd(), F_ADD_SEALS,
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
    return ErrnoError(errno, "console: sealing memory");
  }
  return out;
}

SharedPicture::~SharedPicture() { munmap(memory_, kMaxMemory); }

void SharedPicture::SetMode(ui::ScreenKind kind, const ui::Surface& surface) {
  const uint64_t half = kMaxMemory / 2;
  mode_.offset = mode_.width != 0 && mode_.offset == 0 ? half : 0;
  mode_.kind = kind;
  mode_.width = surface.width;
  mode_.height = surface.height;
  mode_.stride = surface.width * 4;
  const ui::Rect all{0, 0, surface.width, surface.height};
  Draw(surface, {&all, 1});
}

void SharedPicture::Draw(const ui::Surface& surface, std::span<const ui::Rect> rects) {
  for (const ui::Rect& r : rects) {
    for (unsigned y = r.y; y < r.y + r.height; ++y) {
      memcpy(memory_ + mode_.offset + uint64_t{mode_.stride} * y + size_t{4} * r.x,
             surface.Row(y) + r.x, size_t{4} * r.width);
    }
  }
}

}  // namespace atl::console
