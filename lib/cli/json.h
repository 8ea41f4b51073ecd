// SPDX-License-Identifier: Apache-2.0
// Writes JSON (RFC 8259) front to back into a string. The output is ASCII:
// everything else is escaped as \uXXXX, and bytes that are no UTF-8 become
// \ufffd, so that a hostile name in an image cannot break a consumer.
#ifndef LIB_CLI_JSON_H_
#define LIB_CLI_JSON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace atl::cli {

// A JSON string with its quotes.
std::string JsonQuote(absl::string_view text);

// Calls must nest properly: within an object every value needs its key.
//
//   JsonWriter json;
//   json.BeginObject().Key("filename").String(name).Key("size").Number(n).EndObject();
class JsonWriter {
 public:
  // Columns of indentation a level; 0 puts all on one line.
  explicit JsonWriter(unsigned indent = 4) : indent_(indent) {}

  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(absl::string_view key);
  JsonWriter& String(absl::string_view value);
  JsonWriter& Number(uint64_t value);
  JsonWriter& Signed(int64_t value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  // The text so far.
  const std::string& text() const { return out_; }

 private:
  JsonWriter& Begin(char open);
  JsonWriter& End(char close);
  void NewItem();
  void NewLine();

  const unsigned indent_;
  std::string out_;
  std::vector<bool> has_items_;  // one for each open object or array
  bool after_key_ = false;
};

}  // namespace atl::cli

#endif  // LIB_CLI_JSON_H_
