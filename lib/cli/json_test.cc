// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/json.h"

#include <string>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace atl::cli {
namespace {

TEST(JsonQuote, EscapesWhatJsonMustHaveEscaped) {
  EXPECT_EQ(JsonQuote("a\"b\\c\n\r\t\b\f"), R"("a\"b\\c\n\r\t\b\f")");
  EXPECT_EQ(JsonQuote(absl::string_view("\0\x1f\x7f", 3)), R"("\u0000\u001f\u007f")");
  EXPECT_EQ(JsonQuote("é€😀"), R"("\u00e9\u20ac\ud83d\ude00")");
  EXPECT_EQ(JsonQuote(""), "\"\"");
}

TEST(JsonQuote, ReplacesWhatIsNoUtf8) {
  // A lone continuation, overlong forms, a surrogate, past U+10FFFF, cut short.
  EXPECT_EQ(JsonQuote("\x80x"), R"("\ufffdx")");
  EXPECT_EQ(JsonQuote("\xc0\xaf"), R"("\ufffd\ufffd")");
  EXPECT_EQ(JsonQuote("\xe0\x80\xaf"), R"("\ufffd\ufffd\ufffd")");
  EXPECT_EQ(JsonQuote("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")");
  EXPECT_EQ(JsonQuote("\xf4\x90\x80\x80"), R"("\ufffd\ufffd\ufffd\ufffd")");
  EXPECT_EQ(JsonQuote("\xe2\x82"), R"("\ufffd\ufffd")");
}

TEST(JsonWriter, Indented) {
  JsonWriter json;
  json.BeginObject().Key("name").String("a").Key("sizes").BeginArray().Number(1).Signed(-2);
  json.EndArray().Key("none").BeginArray().EndArray().Key("on").Bool(true).Key("no").Null();
  json.EndObject();
  EXPECT_EQ(json.text(),
            "{\n"
            "    \"name\": \"a\",\n"
            "    \"sizes\": [\n"
            "        1,\n"
            "        -2\n"
            "    ],\n"
            "    \"none\": [\n"
            "    ],\n"
            "    \"on\": true,\n"
            "    \"no\": null\n"
            "}");
}

TEST(JsonWriter, OneLine) {
  JsonWriter json(0);
  json.BeginArray().BeginObject().Key("a").Number(~uint64_t{0}).EndObject().Bool(false).EndArray();
  EXPECT_EQ(json.text(), "[{\"a\": 18446744073709551615}, false]");
}

}  // namespace
}  // namespace atl::cli
