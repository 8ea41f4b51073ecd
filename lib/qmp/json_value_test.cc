// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/json_value.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_matchers.h"

namespace atl::qmp {
namespace {

TEST(JsonValue, EveryKindComesBackAsItWas) {
  for (const char* text :
       {"null", "true", "false", "0", "-9223372036854775808", "9223372036854775807", "\"\"",
        "\"a\\\"b\\u0001\"", "[]", "{}", "[1, [2, {\"a\": null}]]", "{\"b\": 1, \"a\": [true]}",
        "1.5", "1e+300"}) {
    absl::StatusOr<JsonValue> value = ParseJson(text);
    ASSERT_OK(value.status()) << text;
    EXPECT_EQ(value->ToString(), text);
  }
}

TEST(JsonValue, WhatIsNoJsonIsRefused) {
  for (const std::string text :
       {"", " ", "{", "{\"a\"}", "[1,]", "{\"a\": 1, \"a\": 2}", "nul", "1 2", "\"\n\"", "'a'",
        "\"\xff\"", "99999999999999999999", "\"\\u0000\"", "\"\\ud800\""}) {
    EXPECT_FALSE(ParseJson(text).ok()) << text;
  }
}

TEST(JsonValue, DepthIsBounded) {
  const auto nest = [](unsigned depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_OK(ParseJson(nest(kMaxJsonDepth)).status());
  EXPECT_FALSE(ParseJson(nest(kMaxJsonDepth + 1)).ok());
  EXPECT_FALSE(ParseJson(nest(100'000)).ok());
  EXPECT_FALSE(ParseJson(std::string(kMaxJsonBytes + 1, ' ')).ok());
}

std::vector<std::string> Split(const std::string& bytes, size_t step) {
  MessageSplitter splitter;
  std::vector<std::string> out;
  for (size_t i = 0; i < bytes.size(); i += step) {
    splitter.Feed(bytes.substr(i, step));
    while (auto next = splitter.Next()) out.push_back(next->ok() ? **next : "error");
  }
  return out;
}

TEST(MessageSplitter, CutsWhereverBytesAreCut) {
  const std::string bytes = " {\"a\": \"}\\\"{\"}\r\n[1]{}\n{\"b\":\n 2}";
  const std::vector<std::string> want = {"{\"a\": \"}\\\"{\"}", "[1]", "{}", "{\"b\":\n 2}"};
  for (size_t step = 1; step <= bytes.size(); ++step) EXPECT_EQ(Split(bytes, step), want) << step;
}

TEST(MessageSplitter, FindsItsWayAfterGarbage) {
  const std::vector<std::string> want = {"error", "{}", "error", "{}"};
  const std::string bytes = "hello {} world\n{}\n{\"half\n{}\n";
  for (size_t step = 1; step <= bytes.size(); ++step) EXPECT_EQ(Split(bytes, step), want) << step;
}

TEST(MessageSplitter, KeepsNoMoreThanItsBound) {
  MessageSplitter splitter;
  splitter.Feed("{");
  const std::string spaces(64 * 1024, ' ');
  int errors = 0;
  for (int i = 0; i < 100; ++i) {
    splitter.Feed(spaces);
    while (auto next = splitter.Next()) errors += !next->ok();
    EXPECT_LE(splitter.size(), kMaxJsonBytes + spaces.size());
  }
  EXPECT_EQ(errors, 1);
  splitter.Feed("\n{}");
  auto next = splitter.Next();
  ASSERT_TRUE(next && next->ok());
  EXPECT_EQ(**next, "{}");
}

TEST(MessageSplitter, DeepNestingIsAnError) {
  EXPECT_EQ(Split(std::string(1000, '[') + "\n{}", 7), (std::vector<std::string>{"error", "{}"}));
}

}  // namespace
}  // namespace atl::qmp
