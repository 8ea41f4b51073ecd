// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/clipboard.h"

#include <zlib.h>

#include <vector>

#include "absl/status/status.h"
#include "lib/base/endian.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

// A ServerCutText header; the length is patched when it is known.
size_t Begin(uint32_t flags, Output* out) {
  out->U8(kServerCutText);
  out->Zeros(3);
  const size_t at = out->size();
  out->U32(0);
  out->U32(flags);
  return at;
}

void End(size_t at, Output* out) {
  const auto length = static_cast<int32_t>(out->size() - at - 4);
  StoreBe(out->data() + at, static_cast<uint32_t>(-length));
}

// Calls `take` with each character; bad bytes are skipped.
template <typename Take>
void ForEachCharacter(absl::string_view text, Take take) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t length = lead < 0x80            ? 1
                          : lead >> 5 == 0b110   ? 2
                          : lead >> 4 == 0b1110  ? 3
                          : lead >> 3 == 0b11110 ? 4
                                                 : 0;
    if (length == 0 || i + length > text.size()) {
      ++i;
      continue;
    }
    char32_t c = length == 1 ? lead : lead & (0x7Fu >> length);
    bool good = true;
    for (size_t j = 1; j < length; ++j) {
      const auto b = static_cast<uint8_t>(text[i + j]);
      good = good && b >> 6 == 0b10;
      c = c << 6 | (b & 0x3F);
    }
    constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    good = good && c >= kLeast[length] && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
    if (!good) {
      ++i;
      continue;
    }
    take(c, text.substr(i, length));
    i += length;
  }
}

}  // namespace

void WriteClipboardFlags(uint32_t flags, Output* out) {
  const size_t at = Begin(flags, out);
  if ((flags & kClipboardCaps) != 0) out->U32(kMaxCutText / 2);
  End(at, out);
}

void WriteClipboardText(absl::string_view text, Output* out) {
  // Lines end as on Windows, the text with a NUL.
  Output plain;
  plain.U32(0);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) plain.U8('\r');
    plain.U8(static_cast<uint8_t>(text[i]));
  }
  plain.U8(0);
  StoreBe(plain.data(), static_cast<uint32_t>(plain.size() - 4));
  uLongf size = compressBound(plain.size());
  const size_t at = Begin(kClipboardProvide | kClipboardText, out);
  const size_t before = out->size();
  if (compress2(out->Grow(size), &size, plain.data(), plain.size(), 6) != Z_OK) size = 0;
  out->Truncate(before + size);
  End(at, out);
}

absl::StatusOr<std::optional<std::string>> ReadClipboardText(uint32_t flags,
                                                             std::span<const uint8_t> data) {
  // Formats come in the order of their bits, so a text is the first.
  if ((flags & kClipboardText) == 0) return std::nullopt;
  std::vector<uint8_t> plain(4 + kMaxCutText);
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return absl::ResourceExhaustedError("clipboard: no memory");
  stream.next_in = const_cast<Bytef*>(data.data());
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = plain.data();
  stream.avail_out = static_cast<uInt>(plain.size());
  // Once: what does not fit is not wanted, and no input makes it turn in circles.
  const int result = inflate(&stream, Z_SYNC_FLUSH);
  const size_t got = plain.size() - stream.avail_out;
  inflateEnd(&stream);
  if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
    return absl::InvalidArgumentError("clipboard: what is provided cannot be decompressed");
  }
  if (got < 4) return absl::InvalidArgumentError("clipboard: less is provided than announced");
  const size_t size = LoadBe<uint32_t>(plain.data());
  if (size > kMaxCutText) return std::nullopt;
  if (size > got - 4) {
    return absl::InvalidArgumentError("clipboard: less is provided than announced");
  }
  std::string out;
  for (size_t i = 0; i < size; ++i) {
    const char c = static_cast<char>(plain[4 + i]);
    if (c == '\0') break;
    if (c == '\r' && i + 1 < size && plain[5 + i] == '\n') continue;
    out.push_back(c);
  }
  return CleanUtf8(out);
}

std::string Latin1ToUtf8(absl::string_view latin1) {
  std::string out;
  for (const char ch : latin1) {
    const auto c = static_cast<uint8_t>(ch);
    if (c == 0 || c == '\r') continue;
    if (c < 0x80) {
      out.push_back(ch);
    } else {
      out.push_back(static_cast<char>(0xC0 | c >> 6));
      out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
  }
  return out;
}

std::string Utf8ToLatin1(absl::string_view utf8) {
  std::string out;
  ForEachCharacter(utf8, [&](char32_t c, absl::string_view) {
    out.push_back(c < 256 ? static_cast<char>(c) : '?');
  });
  return out;
}

std::string CleanUtf8(absl::string_view text) {
  std::string out;
  ForEachCharacter(text, [&](char32_t c, absl::string_view bytes) {
    if (c != 0) out.append(bytes.data(), bytes.size());
  });
  return out;
}

}  // namespace atl::rfb
