// SPDX-License-Identifier: Apache-2.0
// What a viewer says once it is in (RFC 6143, 7.5, and rfbproto). A viewer is
// hostile: each message has a bound, and one of unknown type is an error, for
// its length is unknown.
#ifndef LIB_RFB_MESSAGES_H_
#define LIB_RFB_MESSAGES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/rfb/pixel_format.h"
#include "lib/ui/surface.h"

namespace atl::rfb {

struct SetPixelFormat {
  PixelFormat format;
};
struct SetEncodings {
  std::vector<int32_t> encodings;
};
struct UpdateRequest {
  bool incremental = false;
  ui::Rect rect;  // as sent: it may lie anywhere
};
struct KeyEvent {
  bool down = false;
  uint32_t keysym = 0;
  uint32_t code = 0;  // of an extended event: an XT scancode; else 0
};
struct PointerEvent {
  uint8_t buttons = 0;
  uint16_t x = 0, y = 0;
};
struct CutText {
  std::string latin1;
};
struct ExtendedClipboard {
  uint32_t flags = 0;
  std::vector<uint8_t> data;
};
struct EnableContinuousUpdates {
  bool enable = false;
  ui::Rect rect;
};
struct Fence {
  uint32_t flags = 0;
  std::vector<uint8_t> payload;
};
struct Xvp {
  uint8_t version = 0, code = 0;
};
struct SetDesktopSize {
  uint16_t width = 0, height = 0;
  unsigned screens = 0;
};

using ClientMessage =
    std::variant<SetPixelFormat, SetEncodings, UpdateRequest, KeyEvent, PointerEvent, CutText,
                 ExtendedClipboard, EnableContinuousUpdates, Fence, Xvp, SetDesktopSize>;

struct ParsedMessage {
  size_t consumed = 0;  // 0: there is more to come of it
  ClientMessage message;
};

// The first message of `bytes`. InvalidArgument says what is wrong.
// `extended_clipboard`: it was agreed on, so that cut texts may be negative.
absl::StatusOr<ParsedMessage> ParseClientMessage(std::span<const uint8_t> bytes,
                                                 bool extended_clipboard);

}  // namespace atl::rfb

#endif  // LIB_RFB_MESSAGES_H_
