// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/table.h"

#include "gtest/gtest.h"

namespace atl::cli {
namespace {

TEST(TextTable, AlignsColumns) {
  TextTable t;
  t.AddColumn("ID");
  t.AddColumn("SIZE", TextTable::Align::kRight);
  t.AddColumn("NAME");
  t.AddRow({"1", "20 GiB", "first"});
  t.AddRow({"22", "0 B", "é", "beyond the columns"});
  t.AddRow({"3"});
  EXPECT_EQ(t.ToString(),
            "ID    SIZE  NAME\n"
            "1   20 GiB  first\n"
            "22     0 B  é\n"
            "3\n");
}

TEST(TextTable, NoHeadingWithoutNames) {
  TextTable t;
  t.AddColumn("", TextTable::Align::kLeft, 4);
  t.AddColumn("");
  t.AddRow({"a", "b"});
  EXPECT_EQ(t.ToString(1), "a    b\n");
}

TEST(Printable, KeepsTheCursorWhereItIs) {
  EXPECT_EQ(Printable("a\x1b[2Jb\n\x7f"), "a?[2Jb??");
  EXPECT_EQ(Printable("é€😀"), "é€😀");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "x\xff\xe2\x82"),
            "??x???");
}

}  // namespace
}  // namespace atl::cli
