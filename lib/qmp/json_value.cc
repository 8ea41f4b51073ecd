// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/json_value.h"

#include <jansson.h>

#include <charconv>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cli/json.h"

namespace atl::qmp {
namespace {

// How deep the library itself goes before it gives up; ours is less.
static_assert(kMaxJsonDepth < JSON_PARSER_MAX_DEPTH);

absl::Status TooDeep() {
  return absl::InvalidArgumentError(
      absl::StrCat("JSON parse error, more than ", kMaxJsonDepth, " levels of nesting"));
}

absl::StatusOr<JsonValue> FromLibrary(json_t* from, unsigned depth) {
  if (depth > kMaxJsonDepth) return TooDeep();
  switch (json_typeof(from)) {
    case JSON_NULL:
      return JsonValue();
    case JSON_TRUE:
      return JsonValue(true);
    case JSON_FALSE:
      return JsonValue(false);
    case JSON_INTEGER:
      return JsonValue(static_cast<int64_t>(json_integer_value(from)));
    case JSON_REAL:
      return JsonValue(json_real_value(from));
    case JSON_STRING:
      return JsonValue(std::string(json_string_value(from), json_string_length(from)));
    case JSON_ARRAY: {
      JsonValue::Array out;
      for (size_t i = 0; i < json_array_size(from); ++i) {
        ASSIGN_OR_RETURN(JsonValue value, FromLibrary(json_array_get(from, i), depth + 1));
        out.push_back(std::move(value));
      }
      return JsonValue(std::move(out));
    }
    case JSON_OBJECT: {
      JsonValue::Object out;
      for (void* i = json_object_iter(from); i != nullptr; i = json_object_iter_next(from, i)) {
        ASSIGN_OR_RETURN(JsonValue value, FromLibrary(json_object_iter_value(i), depth + 1));
        out.emplace_back(json_object_iter_key(i), std::move(value));
      }
      return JsonValue(std::move(out));
    }
  }
  return absl::InternalError("JSON of no known type");
}

// The nesting of a text, without recursion: the library's parser recurses, and
// is not to be asked how deep a stranger can take it.
bool DepthIsBounded(absl::string_view text) {
  unsigned depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxJsonDepth) return false;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return true;
}

}  // namespace

JsonValue::JsonValue() = default;
JsonValue::JsonValue(bool value) : value_(value) {}
JsonValue::JsonValue(int64_t value) : value_(value) {}
JsonValue::JsonValue(double value) : value_(value) {}
JsonValue::JsonValue(std::string value) : value_(std::move(value)) {}
JsonValue::JsonValue(Array items) : value_(std::move(items)) {}
JsonValue::JsonValue(Object members) : value_(std::move(members)) {}
JsonValue::JsonValue(const JsonValue&) = default;
JsonValue::JsonValue(JsonValue&&) noexcept = default;
JsonValue& JsonValue::operator=(const JsonValue&) = default;
JsonValue& JsonValue::operator=(JsonValue&&) noexcept = default;
JsonValue::~JsonValue() = default;

const JsonValue* JsonValue::Find(absl::string_view name) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  for (const Member& m : *members) {
    if (m.first == name) return &m.second;
  }
  return nullptr;
}

std::string JsonValue::ToString() const {
  if (const bool* b = boolean()) return *b ? "true" : "false";
  if (const int64_t* i = integer()) return absl::StrCat(*i);
  // A number that JSON can write has a point or an exponent, to stay one.
  if (const double* d = real()) {
    char digits[32];
    std::string out(digits, std::to_chars(digits, digits + sizeof digits, *d).ptr);
    if (out.find_first_of(".e") == std::string::npos) out += ".0";
    return out;
  }
  if (const std::string* s = string()) return cli::JsonQuote(*s);
  std::string out;
  if (const Array* items = array()) {
    for (const JsonValue& v : *items) absl::StrAppend(&out, out.empty() ? "" : ", ", v.ToString());
    return absl::StrCat("[", out, "]");
  }
  if (const Object* members = object()) {
    for (const Member& m : *members) {
      absl::StrAppend(&out, out.empty() ? "" : ", ", cli::JsonQuote(m.first), ": ",
                      m.second.ToString());
    }
    return absl::StrCat("{", out, "}");
  }
  return "null";
}

absl::StatusOr<JsonValue> ParseJson(absl::string_view text) {
  if (text.size() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON parse error, longer than ", kMaxJsonBytes, " bytes"));
  }
  if (!DepthIsBounded(text)) return TooDeep();
  json_error_t error;
  // Integers past 64 bits are errors of the library, names that stand twice too.
  const std::unique_ptr<json_t, void (*)(json_t*)> root(
      json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error),
      [](json_t* j) { json_decref(j); });
  if (root == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON parse error, ", error.text, " (column ", error.column, ")"));
  }
  return FromLibrary(root.get(), 0);
}

absl::StatusOr<std::string> MessageSplitter::Fail(absl::string_view why) {
  // The byte at scanned_ may be the line's end: it is looked at again.
  pending_.erase(0, scanned_);
  scanned_ = 0;
  depth_ = 0;
  in_string_ = escaped_ = false;
  skipping_ = true;
  return absl::InvalidArgumentError(absl::StrCat("JSON parse error, ", why));
}

std::optional<absl::StatusOr<std::string>> MessageSplitter::Next() {
  for (; scanned_ < pending_.size(); ++scanned_) {
    const char c = pending_[scanned_];
    if (skipping_) {
      if (c == '\n') skipping_ = false;
      continue;
    }
    if (depth_ == 0) {
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
      if (c != '{' && c != '[') return Fail("expecting value");
      pending_.erase(0, scanned_);
      scanned_ = 0;
      depth_ = 1;
      continue;
    }
    if (in_string_) {
      if (static_cast<unsigned char>(c) < 0x20) return Fail("control character in a string");
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      if (++depth_ > kMaxJsonDepth) return Fail("too many levels of nesting");
    } else if (c == '}' || c == ']') {
      if (--depth_ == 0) {
        std::string out = pending_.substr(0, scanned_ + 1);
        pending_.erase(0, scanned_ + 1);
        scanned_ = 0;
        return out;
      }
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      return Fail("stray byte");
    }
    if (scanned_ >= kMaxJsonBytes) return Fail("message too long");
  }
  if (depth_ == 0) {
    pending_.clear();
    scanned_ = 0;
  } else if (pending_.size() > kMaxJsonBytes) {
    return Fail("message too long");
  }
  return std::nullopt;
}

}  // namespace atl::qmp
