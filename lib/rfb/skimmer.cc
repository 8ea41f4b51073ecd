// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/skimmer.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/rfb/output.h"
#include "lib/rfb/pixel_format.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

constexpr uint64_t kPixel = 4;
constexpr uint8_t kBell = 2;

template <typename... T>
absl::Status Wrong(const T&... text) {
  return absl::DataLossError(absl::StrCat(text...));
}

}  // namespace

absl::Status Skimmer::Read(std::span<uint8_t> bytes) {
  RETURN_IF_ERROR(stream_.Read(bytes));
  bytes_ += bytes.size();
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Skimmer::Number(size_t size) {
  uint8_t bytes[4] = {};
  RETURN_IF_ERROR(Read(std::span(bytes).first(size)));
  uint32_t out = 0;
  for (size_t i = 0; i < size; ++i) out = out << 8 | bytes[i];
  return out;
}

absl::Status Skimmer::Skip(uint64_t count) {
  uint8_t drop[16384];
  while (count > 0) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(count, sizeof drop));
    RETURN_IF_ERROR(Read(std::span(drop).first(n)));
    count -= n;
  }
  return absl::OkStatus();
}

absl::Status Skimmer::SkipCounted() {
  ASSIGN_OR_RETURN(const uint32_t count, Number(4));
  return Skip(count);
}

absl::Status Skimmer::Enter() {
  uint8_t version[12];
  RETURN_IF_ERROR(Read(version));
  const std::string text(reinterpret_cast<const char*>(version), sizeof version);
  if (text.substr(0, 8) != "RFB 003." || text.back() != '\n') return Wrong("no RFB is spoken");
  const bool newest = text.substr(8, 3) == "008";
  if (!newest && text.substr(8, 3) != "007") return Wrong("a version before 3.7");
  RETURN_IF_ERROR(stream_.Write(version));
  ASSIGN_OR_RETURN(const uint32_t count, Number(1));
  if (count == 0) return absl::PermissionDeniedError("the server lets nobody in");
  uint8_t types[255];
  RETURN_IF_ERROR(Read(std::span(types).first(count)));
  if (std::find(types, types + count, kSecurityNone) == types + count) {
    return absl::PermissionDeniedError("the server wants to know who one is");
  }
  const uint8_t none = kSecurityNone;
  RETURN_IF_ERROR(stream_.Write(std::span(&none, 1)));
  if (newest) {
    ASSIGN_OR_RETURN(const uint32_t result, Number(4));
    if (result != 0) return absl::PermissionDeniedError("the server refuses");
  }
  const uint8_t shared = 1;
  RETURN_IF_ERROR(stream_.Write(std::span(&shared, 1)));
  ASSIGN_OR_RETURN(width_, Number(2));
  ASSIGN_OR_RETURN(height_, Number(2));
  RETURN_IF_ERROR(Skip(PixelFormat::kWireSize));
  RETURN_IF_ERROR(SkipCounted());
  Output out;
  out.Zeros(4);
  EncodePixelFormat(PixelFormat(), &out);
  return stream_.Write(out.span());
}

absl::Status Skimmer::SetEncodings(std::span<const int32_t> encodings) {
  Output out;
  out.U8(2);
  out.U8(0);
  out.U16(static_cast<unsigned>(encodings.size()));
  for (const int32_t e : encodings) out.S32(e);
  return stream_.Write(out.span());
}

absl::Status Skimmer::Ask(bool incremental) {
  Output out;
  out.U8(3);
  out.U8(incremental ? 1 : 0);
  for (const unsigned v : {0u, 0u, width_, height_}) out.U16(v);
  return stream_.Write(out.span());
}

absl::Status Skimmer::Update() {
  for (;;) {
    ASSIGN_OR_RETURN(const uint32_t type, Number(1));
    if (type == kFramebufferUpdate) break;
    if (type == kServerCutText) {
      RETURN_IF_ERROR(Skip(3));
      RETURN_IF_ERROR(SkipCounted());
    } else if (type != kBell) {
      return Wrong("a message of type ", type);
    }
  }
  RETURN_IF_ERROR(Skip(1));
  ASSIGN_OR_RETURN(const uint32_t count, Number(2));
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const bool more, Rectangle());
    if (!more) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Skimmer::Rectangle() {
  uint8_t head[12];
  RETURN_IF_ERROR(Read(head));
  const unsigned width = LoadBe<uint16_t>(head + 4), height = LoadBe<uint16_t>(head + 6);
  const uint64_t area = uint64_t{width} * height;
  const auto encoding = static_cast<int32_t>(LoadBe<uint32_t>(head + 8));
  absl::Status status;
  switch (encoding) {
    case kEncodingRaw:
      status = Skip(area * kPixel);
      break;
    case kEncodingCopyRect:
      status = Skip(4);
      break;
    case kEncodingRre: {
      ASSIGN_OR_RETURN(const uint32_t count, Number(4));
      status = Skip(kPixel + uint64_t{count} * (kPixel + 8));
      break;
    }
    case kEncodingHextile:
      status = Hextile(width, height);
      break;
    case kEncodingZlib:
    case kEncodingZrle:
      status = SkipCounted();
      break;
    case kEncodingTight:
      status = Tight(width, height);
      break;
    case kPseudoDesktopSize:
      width_ = width;
      height_ = height;
      break;
    case kPseudoLastRect:
      return false;
    default:
      return Wrong("encoding ", encoding);
  }
  RETURN_IF_ERROR(status);
  return true;
}

absl::Status Skimmer::Tight(uint64_t width, uint64_t height) {
  // RGB, as Tight has pixels of this format.
  constexpr uint64_t kTightPixel = 3, kUncompressed = 12;
  ASSIGN_OR_RETURN(uint32_t control, Number(1));
  control >>= 4;
  if (control == 8) return Skip(kTightPixel);
  if (control > 9) return Wrong("Tight's control ", control);
  if (control < 8) {
    uint64_t size = width * height * kTightPixel;
    if ((control & 4) != 0) {
      ASSIGN_OR_RETURN(const uint32_t filter, Number(1));
      if (filter == 1) {
        ASSIGN_OR_RETURN(const uint32_t last, Number(1));
        RETURN_IF_ERROR(Skip((last + 1) * kTightPixel));
        size = last == 1 ? (width + 7) / 8 * height : width * height;
      }
    }
    if (size < kUncompressed) return Skip(size);
  }
  uint64_t length = 0;
  for (const unsigned shift : {0u, 7u, 14u}) {
    ASSIGN_OR_RETURN(const uint32_t byte, Number(1));
    length |= uint64_t{shift == 14 ? byte : byte & 127} << shift;
    if (byte < 128) break;
  }
  return Skip(length);
}

absl::Status Skimmer::Hextile(unsigned width, unsigned height) {
  constexpr unsigned kTile = 16;
  for (unsigned y = 0; y < height; y += kTile) {
    for (unsigned x = 0; x < width; x += kTile) {
      ASSIGN_OR_RETURN(const uint32_t what, Number(1));
      if ((what & 1) != 0) {
        RETURN_IF_ERROR(
            Skip(uint64_t{std::min(kTile, width - x)} * std::min(kTile, height - y) * kPixel));
        continue;
      }
      RETURN_IF_ERROR(Skip(((what & 2) != 0 ? kPixel : 0) + ((what & 4) != 0 ? kPixel : 0)));
      if ((what & 8) == 0) continue;
      ASSIGN_OR_RETURN(const uint32_t count, Number(1));
      RETURN_IF_ERROR(Skip(count * ((what & 16) != 0 ? kPixel + 2 : 2)));
    }
  }
  return absl::OkStatus();
}

}  // namespace atl::rfb
