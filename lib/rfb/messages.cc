// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/messages.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

using Bytes = std::span<const uint8_t>;
using Result = absl::StatusOr<ParsedMessage>;

// Where a message's length is in doubt nothing behind it can be read.
template <typename... T>
absl::Status Wrong(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

ParsedMessage Done(size_t consumed, ClientMessage message) {
  return {consumed, std::move(message)};
}

uint16_t U16(Bytes b, size_t at) { return LoadBe<uint16_t>(b.data() + at); }
uint32_t U32(Bytes b, size_t at) { return LoadBe<uint32_t>(b.data() + at); }
ui::Rect RectAt(Bytes b, size_t at) {
  return {U16(b, at), U16(b, at + 2), U16(b, at + 4), U16(b, at + 6)};
}

Result ParseSetPixelFormat(Bytes b, bool) {
  ASSIGN_OR_RETURN(PixelFormat format, DecodePixelFormat(b.subspan<4, PixelFormat::kWireSize>()));
  return Done(20, SetPixelFormat{format});
}

Result ParseSetEncodings(Bytes b, bool) {
  const size_t count = U16(b, 2);
  if (count > kMaxEncodings) return Wrong("SetEncodings: ", count, " encodings");
  if (b.size() < 4 + 4 * count) return ParsedMessage{};
  SetEncodings out;
  out.encodings.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    out.encodings.push_back(static_cast<int32_t>(U32(b, 4 + 4 * i)));
  }
  return Done(4 + 4 * count, std::move(out));
}

Result ParseUpdateRequest(Bytes b, bool) {
  return Done(10, UpdateRequest{b[1] != 0, RectAt(b, 2)});
}

Result ParseKeyEvent(Bytes b, bool) { return Done(8, KeyEvent{b[1] != 0, U32(b, 4), 0}); }

Result ParsePointerEvent(Bytes b, bool) {
  return Done(6, PointerEvent{b[1], U16(b, 2), U16(b, 4)});
}

Result ParseCutText(Bytes b, bool extended) {
  const int64_t length = static_cast<int32_t>(U32(b, 4));
  if (length >= 0) {
    if (static_cast<uint64_t>(length) > kMaxCutText) return Wrong("cut text of ", length, " bytes");
    const auto n = static_cast<size_t>(length);
    if (b.size() < 8 + n) return ParsedMessage{};
    return Done(8 + n, CutText{std::string(reinterpret_cast<const char*>(b.data()) + 8, n)});
  }
  if (!extended) return Wrong("cut text of ", length, " bytes, and no extended clipboard");
  const auto n = static_cast<uint64_t>(-length);
  if (n < 4 || n > kMaxCutText) return Wrong("extended clipboard of ", n, " bytes");
  if (b.size() < 8 + n) return ParsedMessage{};
  const Bytes data = b.subspan(12, n - 4);
  return Done(8 + n, ExtendedClipboard{U32(b, 8), {data.begin(), data.end()}});
}

Result ParseContinuous(Bytes b, bool) {
  return Done(10, EnableContinuousUpdates{b[1] != 0, RectAt(b, 2)});
}

Result ParseFence(Bytes b, bool) {
  const size_t length = b[8];
  if (length > kMaxFencePayload) return Wrong("fence with ", length, " bytes");
  if (b.size() < 9 + length) return ParsedMessage{};
  const Bytes payload = b.subspan(9, length);
  return Done(9 + length, Fence{U32(b, 4), {payload.begin(), payload.end()}});
}

Result ParseXvp(Bytes b, bool) { return Done(4, Xvp{b[2], b[3]}); }

Result ParseSetDesktopSize(Bytes b, bool) {
  const size_t screens = b[6];
  if (screens > kMaxScreens) return Wrong("SetDesktopSize: ", screens, " screens");
  if (b.size() < 8 + 16 * screens) return ParsedMessage{};
  return Done(8 + 16 * screens,
              SetDesktopSize{U16(b, 2), U16(b, 4), static_cast<unsigned>(screens)});
}

Result ParseQemu(Bytes b, bool) {
  if (b[1] != 0) return Wrong("QEMU message ", unsigned{b[1]}, " is unknown");
  if (b.size() < 12) return ParsedMessage{};
  return Done(12, KeyEvent{U16(b, 2) != 0, U32(b, 4), U32(b, 8)});
}

// By type, with the bytes that must be there before the parser looks.
struct Type {
  uint8_t type;
  size_t head;
  Result (*parse)(Bytes, bool);
};
constexpr Type kTypes[] = {
    {0, 20, ParseSetPixelFormat}, {2, 4, ParseSetEncodings}, {3, 10, ParseUpdateRequest},
    {4, 8, ParseKeyEvent},        {5, 6, ParsePointerEvent}, {150, 10, ParseContinuous},
    {248, 9, ParseFence},         {250, 4, ParseXvp},        {251, 8, ParseSetDesktopSize},
    {255, 2, ParseQemu},
};

}  // namespace

absl::StatusOr<ParsedMessage> ParseClientMessage(Bytes bytes, bool extended_clipboard) {
  if (bytes.empty()) return ParsedMessage{};
  if (bytes[0] == 6) {
    // A negative length has four bytes of flags behind it.
    if (bytes.size() < 8) return ParsedMessage{};
    if (static_cast<int32_t>(U32(bytes, 4)) < 0 && bytes.size() < 12) {
      if (!extended_clipboard || static_cast<int32_t>(U32(bytes, 4)) > -4) {
        return Wrong("cut text of a length that cannot be");
      }
      return ParsedMessage{};
    }
    return ParseCutText(bytes, extended_clipboard);
  }
  for (const Type& t : kTypes) {
    if (t.type != bytes[0]) continue;
    if (bytes.size() < t.head) return ParsedMessage{};
    return t.parse(bytes, extended_clipboard);
  }
  return Wrong("message of unknown type ", unsigned{bytes[0]});
}

}  // namespace atl::rfb
