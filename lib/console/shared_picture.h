// SPDX-License-Identifier: Apache-2.0
// The memory that viewers map: a picture in one of two halves, so that a viewer
// that does not know of a new mode yet sees the old one's picture, not the new
// one's with wrong rows. Nobody else can write to it or change its size. Pages
// are there once they were drawn to.
#ifndef LIB_CONSOLE_SHARED_PICTURE_H_
#define LIB_CONSOLE_SHARED_PICTURE_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/console/wire.h"
#include "lib/ui/surface.h"

namespace atl::console {

class SharedPicture {
 public:
  static absl::StatusOr<std::unique_ptr<SharedPicture>> Create();
  ~SharedPicture();
  SharedPicture(const SharedPicture&) = delete;
  SharedPicture& operator=(const SharedPicture&) = delete;

  int fd() const { return fd_.get(); }
  uint64_t size() const { return kMaxMemory; }
  // As it was last set; a width of 0 before.
  const Mode& mode() const { return mode_; }

  // Another size or kind: all of `surface`, into the half that is not shown.
  void SetMode(ui::ScreenKind kind, const ui::Surface& surface);
  // `rects` of a surface of the mode's size.
  void Draw(const ui::Surface& surface, std::span<const ui::Rect> rects);

 private:
  SharedPicture(UniqueFd fd, uint8_t* memory) : fd_(std::move(fd)), memory_(memory) {}

  const UniqueFd fd_;
  uint8_t* const memory_;
  Mode mode_;
};

}  // namespace atl::console

#endif  // LIB_CONSOLE_SHARED_PICTURE_H_
