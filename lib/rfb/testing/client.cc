// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/testing/client.h"

#include <png.h>
#include <turbojpeg.h>
#include <zlib.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/rfb/output.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb::testing {
namespace {

template <typename... T>
absl::Status Wrong(const T&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

std::string Text(const Output& out) {
  return std::string(reinterpret_cast<const char*>(out.data()), out.size());
}

// Tight's four streams, zlib's and ZRLE's.
constexpr size_t kStreamZlib = 4, kStreamZrle = 5, kStreamCount = 6;

}  // namespace

std::string ClientInit(bool shared) { return std::string(1, shared ? '\1' : '\0'); }

std::string SetPixelFormatMessage(const PixelFormat& format) {
  Output out;
  out.Zeros(4);
  EncodePixelFormat(format, &out);
  return Text(out);
}

std::string SetEncodingsMessage(std::span<const int32_t> encodings) {
  Output out;
  out.U8(2);
  out.U8(0);
  out.U16(static_cast<unsigned>(encodings.size()));
  for (const int32_t e : encodings) out.S32(e);
  return Text(out);
}

std::string RequestMessage(bool incremental, const ui::Rect& r) {
  Output out;
  out.U8(3);
  out.U8(incremental ? 1 : 0);
  for (const unsigned v : {r.x, r.y, r.width, r.height}) out.U16(v);
  return Text(out);
}

std::string KeyMessage(bool down, uint32_t keysym) {
  Output out;
  out.U8(4);
  out.U8(down ? 1 : 0);
  out.U16(0);
  out.U32(keysym);
  return Text(out);
}

std::string ExtendedKeyMessage(bool down, uint32_t keysym, uint32_t code) {
  Output out;
  out.U8(255);
  out.U8(0);
  out.U16(down ? 1 : 0);
  out.U32(keysym);
  out.U32(code);
  return Text(out);
}

std::string PointerMessage(uint8_t buttons, unsigned x, unsigned y) {
  Output out;
  out.U8(5);
  out.U8(buttons);
  out.U16(x);
  out.U16(y);
  return Text(out);
}

std::string FenceMessage(uint32_t flags, absl::string_view payload) {
  Output out;
  out.U8(248);
  out.Zeros(3);
  out.U32(flags);
  out.U8(static_cast<uint8_t>(payload.size()));
  out.Append(payload);
  return Text(out);
}

std::string ContinuousMessage(bool on, const ui::Rect& r) {
  Output out;
  out.U8(150);
  out.U8(on ? 1 : 0);
  for (const unsigned v : {r.x, r.y, r.width, r.height}) out.U16(v);
  return Text(out);
}

// Reads front to back; what is missing reads as 0 and is an error at the end.
class Client::Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  bool bad() const { return bad_; }
  std::span<const uint8_t> Take(size_t n) {
    if (n > bytes_.size()) {
      bad_ = true;
      bytes_ = {};
      return {};
    }
    const std::span<const uint8_t> out = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return out;
  }
  uint32_t U(size_t n) {
    uint32_t v = 0;
    for (const uint8_t b : Take(n)) v = v << 8 | b;
    return v;
  }
  std::string Text(size_t n) {
    const std::span<const uint8_t> t = Take(n);
    return std::string(t.begin(), t.end());
  }

 private:
  std::span<const uint8_t> bytes_;
  bool bad_ = false;
};

struct Client::Streams {
  z_stream stream[kStreamCount] = {};
  bool made[kStreamCount] = {};
  void Reset(size_t i) {
    if (made[i]) inflateEnd(&stream[i]);
    made[i] = false;
  }
  ~Streams() {
    for (size_t i = 0; i < kStreamCount; ++i) Reset(i);
  }
};

Client::Client(unsigned width, unsigned height) : streams_(std::make_unique<Streams>()) {
  picture_.Resize(width, height);
}
Client::~Client() = default;

uint32_t Client::Colour(uint32_t v) const {
  if (!format_.true_colour) return map_[v & 255];
  const auto scale = [](uint32_t c, uint32_t max) { return (c * 255 + max / 2) / max; };
  return scale(v >> format_.red_shift & format_.red_max, format_.red_max) << 16 |
         scale(v >> format_.green_shift & format_.green_max, format_.green_max) << 8 |
         scale(v >> format_.blue_shift & format_.blue_max, format_.blue_max);
}

uint32_t Client::Through(uint32_t p) const {
  const auto down = [](uint32_t c, uint32_t max) { return (c * max + 127) / 255; };
  if (!format_.true_colour) {
    return map_[down(p >> 16 & 255, 7) << 5 | down(p >> 8 & 255, 7) << 2 | down(p & 255, 3)];
  }
  return Colour(down(p >> 16 & 255, format_.red_max) << format_.red_shift |
                down(p >> 8 & 255, format_.green_max) << format_.green_shift |
                down(p & 255, format_.blue_max) << format_.blue_shift);
}

absl::Status Client::Put(unsigned x, unsigned y, uint32_t pixel) {
  if (x >= picture_.width || y >= picture_.height) return Wrong("pixel ", x, ",", y, " is outside");
  picture_.Row(y)[x] = pixel;
  return absl::OkStatus();
}

absl::Status Client::Fill(const ui::Rect& r, uint32_t pixel) {
  for (unsigned y = 0; y < r.height; ++y) {
    for (unsigned x = 0; x < r.width; ++x) RETURN_IF_ERROR(Put(r.x + x, r.y + y, pixel));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Client::Pixel(Reader& in) {
  const size_t n = format_.bits_per_pixel / 8;
  uint32_t v = in.U(n);
  if (!format_.big_endian) v = __builtin_bswap32(v) >> (32 - 8 * n);
  if (in.bad()) return Wrong("a pixel is missing");
  return Colour(v);
}

absl::StatusOr<uint32_t> Client::CompactPixel(Reader& in) {
  const uint64_t used = uint64_t{format_.red_max} << format_.red_shift |
                        uint64_t{format_.green_max} << format_.green_shift |
                        uint64_t{format_.blue_max} << format_.blue_shift;
  if (format_.bits_per_pixel != 32 || !format_.true_colour || format_.depth > 24 ||
      (used >> 24 != 0 && (used & 255) != 0)) {
    return Pixel(in);
  }
  uint32_t v = in.U(3);
  if (!format_.big_endian) v = (v & 255) << 16 | (v & 0xFF00) | v >> 16;
  if (used >> 24 != 0) v <<= 8;
  if (in.bad()) return Wrong("a compact pixel is missing");
  return Colour(v);
}

absl::StatusOr<uint32_t> Client::TightPixel(Reader& in) {
  if (format_.bits_per_pixel != 32 || format_.depth != 24 || format_.red_max != 255 ||
      format_.green_max != 255 || format_.blue_max != 255) {
    return Pixel(in);
  }
  const uint32_t v = in.U(3);
  if (in.bad()) return Wrong("a Tight pixel is missing");
  return v;
}

absl::StatusOr<std::vector<uint8_t>> Client::Inflate(size_t i, std::span<const uint8_t> bytes,
                                                     size_t expected) {
  z_stream& z = streams_->stream[i];
  if (!streams_->made[i]) {
    z = {};
    if (inflateInit(&z) != Z_OK) return Wrong("inflateInit");
    streams_->made[i] = true;
  }
  std::vector<uint8_t> out(expected + 1);
  z.next_in = const_cast<Bytef*>(bytes.data());
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = out.data();
  z.avail_out = static_cast<uInt>(out.size());
  const int code = inflate(&z, Z_SYNC_FLUSH);
  const size_t got = out.size() - z.avail_out;
  if ((code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) || z.avail_in != 0) {
    return Wrong("stream ", i, ": zlib says ", code, ", ", z.avail_in, " bytes are left");
  }
  if (expected != SIZE_MAX - 1 && got != expected) {
    return Wrong("stream ", i, ": ", got, " bytes, not ", expected);
  }
  out.resize(got);
  return out;
}

absl::Status Client::Take(std::span<const uint8_t> bytes) {
  Reader in(bytes);
  while (!in.empty()) {
    const uint32_t type = in.U(1);
    switch (type) {
      case 0:
        RETURN_IF_ERROR(Update(in));
        break;
      case 1: {
        in.U(1);
        const uint32_t first = in.U(2), count = in.U(2);
        for (uint32_t i = 0; i < count; ++i) {
          const uint32_t r = in.U(2) >> 8, g = in.U(2) >> 8, b = in.U(2) >> 8;
          if (first + i < 256) map_[first + i] = r << 16 | g << 8 | b;
        }
        break;
      }
      case 3: {
        if (in.U(3) != 0) return Wrong("padding of a cut text says something");
        const auto size = static_cast<int32_t>(in.U(4));
        cut_texts.push_back(in.Text(static_cast<size_t>(size < 0 ? -int64_t{size} : size)));
        break;
      }
      case 150:
        ++ends_of_continuous;
        break;
      case 248: {
        in.U(3);
        const uint32_t flags = in.U(4);
        fences.push_back({flags, in.Text(in.U(1))});
        break;
      }
      case 250:
        xvp += in.Text(3);
        break;
      default:
        return Wrong("message of type ", type);
    }
    if (in.bad()) return Wrong("message of type ", type, " is cut short");
  }
  return absl::OkStatus();
}

absl::Status Client::Update(Reader& in) {
  ++updates;
  in.U(1);
  const uint32_t count = in.U(2);
  for (uint32_t i = 0; i < count; ++i) {
    const unsigned ends = rectangles[kPseudoLastRect];
    absl::Status status = Rectangle(in);
    if (!status.ok()) return Annotate(status, absl::StrCat("rectangle ", i, " of ", count));
    if (rectangles[kPseudoLastRect] != ends) {
      return count == 0xFFFF ? absl::OkStatus() : Wrong("LastRect in an update that counts");
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Rectangle(Reader& in) {
  ui::Rect r;
  r.x = in.U(2);
  r.y = in.U(2);
  r.width = in.U(2);
  r.height = in.U(2);
  const auto encoding = static_cast<int32_t>(in.U(4));
  if (in.bad()) return Wrong("a head is missing");
  ++rectangles[encoding];
  switch (encoding) {
    case kEncodingRaw:
      return Raw(in, r);
    case kEncodingCopyRect:
      return Copy(in, r);
    case kEncodingRre:
      return Rre(in, r);
    case kEncodingHextile:
      return Hextile(in, r);
    case kEncodingZlib:
      return Zlib(in, r);
    case kEncodingZrle:
      return Zrle(in, r);
    case kEncodingTight:
      return Tight(in, r, false);
    case kEncodingTightPng:
      return Tight(in, r, true);
    case kPseudoLastRect:
      return absl::OkStatus();
    case kPseudoDesktopSize:
      picture_.Resize(r.width, r.height);
      return absl::OkStatus();
    case kPseudoExtendedDesktopSize: {
      size_reason = r.x;
      size_status = r.y;
      const uint32_t screens = in.U(1);
      in.U(3);
      in.Take(16 * screens);
      if (screens != 1) return Wrong(screens, " screens");
      if (r.width != picture_.width || r.height != picture_.height) {
        picture_.Resize(r.width, r.height);
      }
      return absl::OkStatus();
    }
    case kPseudoDesktopName:
      name = in.Text(in.U(4));
      return absl::OkStatus();
    case kPseudoQemuLedState:
      leds = static_cast<int>(in.U(1));
      return absl::OkStatus();
    case kPseudoQemuPointerMotion:
      pointer_absolute = static_cast<int>(r.x);
      return absl::OkStatus();
    case kPseudoQemuExtendedKey:
      return absl::OkStatus();
    case kPseudoCursor:
      cursor = {r.width, r.height, r.x, r.y,
                in.Text(size_t{r.width} * r.height * format_.bits_per_pixel / 8 +
                        size_t{(r.width + 7) / 8} * r.height)};
      return absl::OkStatus();
    case kPseudoCursorWithAlpha:
      if (in.U(4) != 0) return Wrong("a cursor in another encoding");
      cursor = {r.width, r.height, r.x, r.y, in.Text(size_t{r.width} * r.height * 4)};
      return absl::OkStatus();
    default:
      return Wrong("encoding ", encoding);
  }
}

absl::Status Client::Raw(Reader& in, const ui::Rect& r) {
  for (unsigned y = 0; y < r.height; ++y) {
    for (unsigned x = 0; x < r.width; ++x) {
      ASSIGN_OR_RETURN(const uint32_t p, Pixel(in));
      RETURN_IF_ERROR(Put(r.x + x, r.y + y, p));
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Copy(Reader& in, const ui::Rect& r) {
  const unsigned from_x = in.U(2), from_y = in.U(2);
  if (from_x + r.width > picture_.width || from_y + r.height > picture_.height) {
    return Wrong("a copy from outside");
  }
  const ui::Surface before = picture_;
  for (unsigned y = 0; y < r.height; ++y) {
    for (unsigned x = 0; x < r.width; ++x) {
      RETURN_IF_ERROR(Put(r.x + x, r.y + y, before.Row(from_y + y)[from_x + x]));
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Rre(Reader& in, const ui::Rect& r) {
  const uint32_t count = in.U(4);
  ASSIGN_OR_RETURN(const uint32_t background, Pixel(in));
  RETURN_IF_ERROR(Fill(r, background));
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const uint32_t p, Pixel(in));
    const unsigned x = in.U(2), y = in.U(2), w = in.U(2), h = in.U(2);
    if (in.bad() || x + w > r.width || y + h > r.height) return Wrong("a subrectangle is outside");
    RETURN_IF_ERROR(Fill({r.x + x, r.y + y, w, h}, p));
  }
  return absl::OkStatus();
}

absl::Status Client::Hextile(Reader& in, const ui::Rect& r) {
  bool has_background = false, has_foreground = false;
  uint32_t background = 0, foreground = 0;
  for (unsigned ty = 0; ty < r.height; ty += 16) {
    for (unsigned tx = 0; tx < r.width; tx += 16) {
      const ui::Rect t{r.x + tx, r.y + ty, std::min(16u, r.width - tx),
                       std::min(16u, r.height - ty)};
      const uint32_t what = in.U(1);
      if ((what & 1) != 0) {
        RETURN_IF_ERROR(Raw(in, t));
        // What went before is not to be relied on.
        has_background = has_foreground = false;
        continue;
      }
      if ((what & 2) != 0) {
        ASSIGN_OR_RETURN(background, Pixel(in));
        has_background = true;
      }
      if ((what & 4) != 0) {
        if ((what & 16) != 0) return Wrong("a foreground and coloured subrectangles");
        ASSIGN_OR_RETURN(foreground, Pixel(in));
        has_foreground = true;
      }
      if (!has_background) return Wrong("a background that was never given");
      RETURN_IF_ERROR(Fill(t, background));
      const uint32_t count = (what & 8) != 0 ? in.U(1) : 0;
      for (uint32_t i = 0; i < count; ++i) {
        uint32_t p = foreground;
        if ((what & 16) != 0) {
          ASSIGN_OR_RETURN(p, Pixel(in));
        } else if (!has_foreground) {
          return Wrong("a foreground that was never given");
        }
        const uint32_t xy = in.U(1), wh = in.U(1);
        const ui::Rect s{t.x + (xy >> 4), t.y + (xy & 15), (wh >> 4) + 1, (wh & 15) + 1};
        if (s.x + s.width > t.x + t.width || s.y + s.height > t.y + t.height) {
          return Wrong("a subrectangle is outside its tile");
        }
        RETURN_IF_ERROR(Fill(s, p));
      }
      if ((what & 16) != 0) has_foreground = false;
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Zlib(Reader& in, const ui::Rect& r) {
  const uint32_t length = in.U(4);
  const size_t expected = size_t{r.width} * r.height * format_.bits_per_pixel / 8;
  ASSIGN_OR_RETURN(const std::vector<uint8_t> plain,
                   Inflate(kStreamZlib, in.Take(length), expected));
  Reader inner(plain);
  return Raw(inner, r);
}

absl::Status Client::Zrle(Reader& in, const ui::Rect& r) {
  const uint32_t length = in.U(4);
  const std::span<const uint8_t> bytes = in.Take(length);
  if (in.bad()) return Wrong("ZRLE is cut short");
  // The most it can be: a byte more a tile than raw, or runs of one.
  const size_t most = size_t{r.width + 64} * (r.height + 64) * 6 + 65536;
  z_stream& z = streams_->stream[kStreamZrle];
  if (!streams_->made[kStreamZrle]) {
    z = {};
    if (inflateInit(&z) != Z_OK) return Wrong("inflateInit");
    streams_->made[kStreamZrle] = true;
  }
  std::vector<uint8_t> plain(most);
  z.next_in = const_cast<Bytef*>(bytes.data());
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = plain.data();
  z.avail_out = static_cast<uInt>(plain.size());
  const int code = inflate(&z, Z_SYNC_FLUSH);
  if ((code != Z_OK && code != Z_BUF_ERROR) || z.avail_in != 0) {
    return Wrong("ZRLE: zlib says ", code, ", ", z.avail_in, " bytes are left");
  }
  plain.resize(plain.size() - z.avail_out);
  Reader inner(plain);
  for (unsigned y = 0; y < r.height; y += 64) {
    for (unsigned x = 0; x < r.width; x += 64) {
      RETURN_IF_ERROR(ZrleTile(
          inner, {r.x + x, r.y + y, std::min(64u, r.width - x), std::min(64u, r.height - y)}));
    }
  }
  if (!inner.empty()) return Wrong("ZRLE: bytes behind the last tile");
  return absl::OkStatus();
}

absl::Status Client::ZrleTile(Reader& in, const ui::Rect& r) {
  const uint32_t kind = in.U(1);
  const size_t count = size_t{r.width} * r.height;
  const auto put = [&](size_t i, uint32_t p) {
    return Put(r.x + static_cast<unsigned>(i % r.width), r.y + static_cast<unsigned>(i / r.width),
               p);
  };
  const auto length = [&] {
    size_t n = 1;
    for (uint32_t b = 255; b == 255 && !in.bad();) n += b = in.U(1);
    return n;
  };
  if (kind == 0) {
    for (size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const uint32_t p, CompactPixel(in));
      RETURN_IF_ERROR(put(i, p));
    }
    return absl::OkStatus();
  }
  if (kind == 128) {
    for (size_t i = 0; i < count;) {
      ASSIGN_OR_RETURN(const uint32_t p, CompactPixel(in));
      size_t n = length();
      if (n > count - i) return Wrong("ZRLE: a run leaves its tile");
      for (; n > 0; --n) RETURN_IF_ERROR(put(i++, p));
    }
    return absl::OkStatus();
  }
  const uint32_t size = kind < 128 ? kind : kind - 128;
  if ((kind > 16 && kind < 128) || kind == 129) return Wrong("ZRLE: a tile of kind ", kind);
  std::vector<uint32_t> palette;
  for (uint32_t i = 0; i < size; ++i) {
    ASSIGN_OR_RETURN(const uint32_t p, CompactPixel(in));
    palette.push_back(p);
  }
  if (kind == 1) return Fill(r, palette[0]);
  if (kind < 128) {
    const unsigned bits = size == 2 ? 1 : size <= 4 ? 2 : 4;
    for (unsigned y = 0; y < r.height; ++y) {
      uint32_t byte = 0;
      unsigned left = 0;
      for (unsigned x = 0; x < r.width; ++x) {
        if (left == 0) {
          byte = in.U(1);
          left = 8;
        }
        left -= bits;
        const uint32_t index = byte >> left & ((1u << bits) - 1);
        if (index >= size) return Wrong("ZRLE: no such colour");
        RETURN_IF_ERROR(Put(r.x + x, r.y + y, palette[index]));
      }
    }
    return absl::OkStatus();
  }
  for (size_t i = 0; i < count;) {
    const uint32_t index = in.U(1);
    if ((index & 127) >= size) return Wrong("ZRLE: no such colour");
    size_t n = (index & 128) != 0 ? length() : 1;
    if (n > count - i) return Wrong("ZRLE: a run leaves its tile");
    for (; n > 0; --n) RETURN_IF_ERROR(put(i++, palette[index & 127]));
  }
  return in.bad() ? Wrong("ZRLE: a tile is cut short") : absl::OkStatus();
}

absl::Status Client::Tight(Reader& in, const ui::Rect& r, bool png) {
  if (r.width > 2048) return Wrong("Tight: ", r.width, " pixels wide");
  const uint32_t control = in.U(1);
  for (size_t i = 0; i < 4; ++i) {
    if ((control >> i & 1) != 0) streams_->Reset(i);
  }
  const uint32_t kind = control >> 4;
  if (kind < 8) {
    if (png) return Wrong("TightPNG: basic compression");
    return TightBasic(in, r, kind);
  }
  if (kind == 8) {
    ASSIGN_OR_RETURN(const uint32_t p, TightPixel(in));
    return Fill(r, p);
  }
  if (kind != 9 && (kind != 10 || !png)) return Wrong("Tight: control byte ", control);
  uint32_t length = 0;
  for (unsigned shift = 0; shift < 21; shift += 7) {
    const uint32_t b = in.U(1);
    length |= (shift == 14 ? b : b & 127) << shift;
    if (b < 128) break;
  }
  const std::span<const uint8_t> file = in.Take(length);
  return kind == 9 ? Jpeg(file, r) : Png(file, r);
}

absl::Status Client::TightBasic(Reader& in, const ui::Rect& r, unsigned kind) {
  const size_t stream = kind & 3;
  const uint32_t filter = (kind & 4) != 0 ? in.U(1) : 0;
  std::vector<uint32_t> palette;
  const bool rgb = format_.bits_per_pixel == 32 && format_.depth == 24 && format_.red_max == 255 &&
                   format_.green_max == 255 && format_.blue_max == 255;
  size_t bytes = size_t{r.width} * r.height * (rgb ? 3u : format_.bits_per_pixel / 8u);
  if (filter == 1) {
    const uint32_t n = in.U(1) + 1;
    for (uint32_t i = 0; i < n; ++i) {
      ASSIGN_OR_RETURN(const uint32_t p, TightPixel(in));
      palette.push_back(p);
    }
    if (n < 2) return Wrong("Tight: a palette of one");
    bytes = n == 2 ? size_t{(r.width + 7) / 8} * r.height : size_t{r.width} * r.height;
  } else if (filter != 0) {
    return Wrong("Tight: filter ", filter);
  }
  std::vector<uint8_t> plain;
  if (bytes < 12) {
    const std::span<const uint8_t> raw = in.Take(bytes);
    plain.assign(raw.begin(), raw.end());
  } else {
    uint32_t length = 0;
    for (unsigned shift = 0; shift < 21; shift += 7) {
      const uint32_t b = in.U(1);
      length |= (shift == 14 ? b : b & 127) << shift;
      if (b < 128) break;
    }
    ASSIGN_OR_RETURN(plain, Inflate(stream, in.Take(length), bytes));
  }
  if (in.bad()) return Wrong("Tight is cut short");
  Reader inner(plain);
  for (unsigned y = 0; y < r.height; ++y) {
    uint32_t byte = 0;
    for (unsigned x = 0; x < r.width; ++x) {
      uint32_t p = 0;
      if (palette.empty()) {
        ASSIGN_OR_RETURN(p, TightPixel(inner));
      } else if (palette.size() == 2) {
        if (x % 8 == 0) byte = inner.U(1);
        p = palette[byte >> (7 - x % 8) & 1];
      } else {
        const uint32_t index = inner.U(1);
        if (index >= palette.size()) return Wrong("Tight: no such colour");
        p = palette[index];
      }
      RETURN_IF_ERROR(Put(r.x + x, r.y + y, p));
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Jpeg(std::span<const uint8_t> file, const ui::Rect& r) {
  tjhandle tj = tjInitDecompress();
  std::vector<uint32_t> pixels(size_t{r.width} * r.height);
  const int code =
      tjDecompress2(tj, file.data(), file.size(), reinterpret_cast<unsigned char*>(pixels.data()),
                    static_cast<int>(r.width), 0, static_cast<int>(r.height), TJPF_BGRX, 0);
  tjDestroy(tj);
  if (code != 0) return Wrong("a JPEG that is none");
  lossy_pixels += pixels.size();
  for (unsigned y = 0; y < r.height; ++y) {
    for (unsigned x = 0; x < r.width; ++x) {
      RETURN_IF_ERROR(Put(r.x + x, r.y + y, pixels[size_t{y} * r.width + x] & 0xFFFFFF));
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Png(std::span<const uint8_t> file, const ui::Rect& r) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, file.data(), file.size()) == 0 ||
      image.width != r.width || image.height != r.height) {
    png_image_free(&image);
    return Wrong("a PNG that is none, or of another size");
  }
  image.format = PNG_FORMAT_BGRA;
  std::vector<uint32_t> pixels(size_t{r.width} * r.height);
  if (png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr) == 0) {
    return Wrong("a PNG that is broken");
  }
  for (unsigned y = 0; y < r.height; ++y) {
    for (unsigned x = 0; x < r.width; ++x) {
      RETURN_IF_ERROR(Put(r.x + x, r.y + y, pixels[size_t{y} * r.width + x] & 0xFFFFFF));
    }
  }
  return absl::OkStatus();
}

}  // namespace atl::rfb::testing
