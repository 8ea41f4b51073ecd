// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/picture.h"

#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"

namespace atl::ui {
namespace {

std::vector<uint8_t> Rgb(const Surface& surface) {
  std::vector<uint8_t> out;
  out.reserve(surface.pixels.size() * 3);
  for (const uint32_t p : surface.pixels) {
    out.push_back(static_cast<uint8_t>(p >> 16));
    out.push_back(static_cast<uint8_t>(p >> 8));
    out.push_back(static_cast<uint8_t>(p));
  }
  return out;
}

absl::StatusOr<std::string> EncodePng(const Surface& surface) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = surface.width;
  image.height = surface.height;
  image.format = PNG_FORMAT_RGB;
  // Screens compress well by any effort; a screen dump should not hold up a guest.
  image.flags = PNG_IMAGE_FLAG_FAST;
  const std::vector<uint8_t> rgb = Rgb(surface);
  std::string out(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t size = out.size();
  if (png_image_write_to_memory(&image, out.data(), &size, 0, rgb.data(), 0, nullptr) == 0) {
    return absl::InternalError(absl::StrCat("PNG: ", image.message));
  }
  out.resize(size);
  return out;
}

}  // namespace

PictureFormat PictureFormatOf(absl::string_view path) {
  if (absl::EndsWithIgnoreCase(path, ".txt")) return PictureFormat::kText;
  return absl::EndsWithIgnoreCase(path, ".ppm") ? PictureFormat::kPpm : PictureFormat::kPng;
}

absl::StatusOr<std::string> EncodePicture(const Surface& surface, PictureFormat format) {
  if (surface.width == 0 || surface.height == 0) {
    return absl::InvalidArgumentError("a picture without pixels");
  }
  if (format == PictureFormat::kPng) return EncodePng(surface);
  if (format == PictureFormat::kText) {
    return absl::InvalidArgumentError("a picture of pixels has no words");
  }
  std::string out = absl::StrCat("P6\n", surface.width, " ", surface.height, "\n255\n");
  const std::vector<uint8_t> rgb = Rgb(surface);
  out.append(reinterpret_cast<const char*>(rgb.data()), rgb.size());
  return out;
}

absl::Status WritePicture(const Surface& surface, PictureFormat format, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, EncodePicture(surface, format));
  return WriteWhole(bytes, path);
}

absl::Status WriteScreen(Screen& screen, PictureFormat format, const std::string& path) {
  if (format != PictureFormat::kText) return WritePicture(screen.Capture(), format, path);
  const std::optional<TextScreen> text = screen.Text();
  if (!text.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": the guest's screen shows no text"));
  }
  return WriteWhole(TextOf(*text), path);
}

absl::Status WriteWhole(absl::string_view bytes, const std::string& path) {
  const std::string part = absl::StrCat(path, ".", getpid(), ".part");
  UniqueFd fd(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644));
  if (!fd.valid()) return ErrnoError(errno, path);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ENOSPC;
      unlink(part.c_str());
      return ErrnoError(error, path);
    }
    done += static_cast<size_t>(n);
  }
  if (rename(part.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(part.c_str());
    return ErrnoError(error, path);
  }
  return absl::OkStatus();
}

}  // namespace atl::ui
