// SPDX-License-Identifier: Apache-2.0
// JSON that somebody else wrote, parsed within bounds.
#ifndef LIB_QMP_JSON_VALUE_H_
#define LIB_QMP_JSON_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::qmp {

class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Member = std::pair<std::string, JsonValue>;
  using Object = std::vector<Member>;  // in the order written, no name twice

  JsonValue();  // null
  explicit JsonValue(bool value);
  explicit JsonValue(int64_t value);
  explicit JsonValue(double value);
  explicit JsonValue(std::string value);
  explicit JsonValue(Array items);
  explicit JsonValue(Object members);
  // Out of line: the compiler takes what it inlines of these for uses of
  // uninitialised memory.
  JsonValue(const JsonValue&);
  JsonValue(JsonValue&&) noexcept;
  JsonValue& operator=(const JsonValue&);
  JsonValue& operator=(JsonValue&&) noexcept;
  ~JsonValue();

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  // Null where it is something else.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* real() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  // Of an object; null where there is no such member, or no object.
  const JsonValue* Find(absl::string_view name) const;

  // As JSON on one line, ASCII.
  std::string ToString() const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

// Bounds of a message. Depth counts open objects and arrays.
inline constexpr size_t kMaxJsonBytes = 256 * 1024;
inline constexpr unsigned kMaxJsonDepth = 64;

// One value with nothing but blanks around it. InvalidArgument says where it
// goes wrong.
absl::StatusOr<JsonValue> ParseJson(absl::string_view text);

// Cuts a stream of bytes into the texts of objects and arrays, without looking
// at what is in them. What is no JSON, or past the bounds, is skipped up to the
// end of its line, so that a client that lost its way can start anew.
class MessageSplitter {
 public:
  void Feed(absl::string_view bytes) { pending_.append(bytes.data(), bytes.size()); }
  // The next whole text, or an InvalidArgument for what was skipped; nothing
  // where more bytes are needed.
  std::optional<absl::StatusOr<std::string>> Next();
  // Bytes kept; at most kMaxJsonBytes and what was fed at once.
  size_t size() const { return pending_.size(); }

 private:
  absl::StatusOr<std::string> Fail(absl::string_view why);

  std::string pending_;  // a message starts at 0 when depth_ is not 0
  size_t scanned_ = 0;
  unsigned depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool skipping_ = false;  // to the end of the line
};

}  // namespace atl::qmp

#endif  // LIB_QMP_JSON_VALUE_H_
