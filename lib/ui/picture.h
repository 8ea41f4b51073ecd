// SPDX-License-Identifier: Apache-2.0
// Pictures of a screen as files.
#ifndef LIB_UI_PICTURE_H_
#define LIB_UI_PICTURE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/ui/screen.h"
#include "lib/ui/surface.h"

namespace atl::ui {

enum class PictureFormat : uint8_t {
  kPng,
  kPpm,   // binary, P6
  kText,  // of a text screen: its words, UTF-8
};

// By the name's ending: .ppm, .txt, or PNG for everything else.
PictureFormat PictureFormatOf(absl::string_view path);

// The file's bytes. A surface has no words: kText is InvalidArgument.
absl::StatusOr<std::string> EncodePicture(const Surface& surface, PictureFormat format);

// Writes a file, replacing what was there only when the new one is whole.
absl::Status WriteWhole(absl::string_view bytes, const std::string& path);
absl::Status WritePicture(const Surface& surface, PictureFormat format, const std::string& path);
// What the screen shows now. FailedPrecondition for the words of a screen that
// shows none.
absl::Status WriteScreen(Screen& screen, PictureFormat format, const std::string& path);

}  // namespace atl::ui

#endif  // LIB_UI_PICTURE_H_
