// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/json.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace atl::cli {
namespace {

constexpr uint32_t kReplacement = 0xfffd;

// The code point at the front of `text`, and how many bytes it takes: 1 and
// U+FFFD for what is no UTF-8 (RFC 3629: no overlong forms, no surrogates).
uint32_t TakeCodePoint(absl::string_view text, size_t* length) {
  auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  *length = 1;
  const uint8_t lead = at(0);
  if (lead < 0x80) return lead;
  const size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < n) return kReplacement;
  uint32_t c = lead & (0x7f >> n);
  for (size_t i = 1; i < n; ++i) {
    if ((at(i) & 0xc0) != 0x80) return kReplacement;
    c = c << 6 | (at(i) & 0x3f);
  }
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < kLeast[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return kReplacement;
  *length = n;
  return c;
}

}  // namespace

std::string JsonQuote(absl::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    size_t length;
    const uint32_t c = TakeCodePoint(text, &length);
    text.remove_prefix(length);
    switch (c) {
      case '"':
        absl::StrAppend(&out, "\\\"");
        break;
      case '\\':
        absl::StrAppend(&out, "\\\\");
        break;
      case '\b':
        absl::StrAppend(&out, "\\b");
        break;
      case '\f':
        absl::StrAppend(&out, "\\f");
        break;
      case '\n':
        absl::StrAppend(&out, "\\n");
        break;
      case '\r':
        absl::StrAppend(&out, "\\r");
        break;
      case '\t':
        absl::StrAppend(&out, "\\t");
        break;
      default:
        if (c >= 0x20 && c < 0x7f) {
          out.push_back(static_cast<char>(c));
        } else if (c < 0x10000) {
          absl::StrAppendFormat(&out, "\\u%04x", c);
        } else {
          const uint32_t v = c - 0x10000;
          absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xd800 | v >> 10, 0xdc00 | (v & 0x3ff));
        }
    }
  }
  out.push_back('"');
  return out;
}

void JsonWriter::NewLine() {
  if (indent_ == 0) return;
  out_.push_back('\n');
  out_.append(indent_ * has_items_.size(), ' ');
}

void JsonWriter::NewItem() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (has_items_.empty()) return;
  if (has_items_.back()) absl::StrAppend(&out_, indent_ == 0 ? ", " : ",");
  has_items_.back() = true;
  NewLine();
}

JsonWriter& JsonWriter::Begin(char open) {
  NewItem();
  out_.push_back(open);
  has_items_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::End(char close) {
  if (has_items_.empty()) return *this;
  has_items_.pop_back();
  NewLine();
  out_.push_back(close);
  return *this;
}

JsonWriter& JsonWriter::Key(absl::string_view key) {
  NewItem();
  absl::StrAppend(&out_, JsonQuote(key), ": ");
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(absl::string_view value) {
  NewItem();
  absl::StrAppend(&out_, JsonQuote(value));
  return *this;
}

JsonWriter& JsonWriter::Number(uint64_t value) {
  NewItem();
  absl::StrAppend(&out_, value);
  return *this;
}

JsonWriter& JsonWriter::Signed(int64_t value) {
  NewItem();
  absl::StrAppend(&out_, value);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  NewItem();
  absl::StrAppend(&out_, value ? "true" : "false");
  return *this;
}

JsonWriter& JsonWriter::Null() {
  NewItem();
  absl::StrAppend(&out_, "null");
  return *this;
}

}  // namespace atl::cli
