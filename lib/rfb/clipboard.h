// SPDX-License-Identifier: Apache-2.0
// The extended clipboard of rfbproto: UTF-8 texts, zlib-compressed, sent when
// asked for.
#ifndef LIB_RFB_CLIPBOARD_H_
#define LIB_RFB_CLIPBOARD_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/rfb/output.h"

namespace atl::rfb {

inline constexpr uint32_t kClipboardText = 1;
inline constexpr uint32_t kClipboardCaps = 1u << 24;
inline constexpr uint32_t kClipboardRequest = 1u << 25;
inline constexpr uint32_t kClipboardPeek = 1u << 26;
inline constexpr uint32_t kClipboardNotify = 1u << 27;
inline constexpr uint32_t kClipboardProvide = 1u << 28;

// A ServerCutText with those flags and nothing else; with kClipboardCaps, the
// largest text that is taken unasked.
void WriteClipboardFlags(uint32_t flags, Output* out);
// One that provides a text.
void WriteClipboardText(absl::string_view text, Output* out);

// The text of what a viewer provides: behind the flags of a message. Nothing
// where there is none, or it is too long; InvalidArgument where it is nonsense.
// Never makes more than kMaxCutText bytes, whatever `data` would inflate to.
absl::StatusOr<std::optional<std::string>> ReadClipboardText(uint32_t flags,
                                                             std::span<const uint8_t> data);

// Between the clipboards' character sets. What Latin-1 has not becomes '?'; what
// is no UTF-8 is left out.
std::string Latin1ToUtf8(absl::string_view latin1);
std::string Utf8ToLatin1(absl::string_view utf8);
// Without what is no UTF-8, and without NUL.
std::string CleanUtf8(absl::string_view text);

}  // namespace atl::rfb

#endif  // LIB_RFB_CLIPBOARD_H_
