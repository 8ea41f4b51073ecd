// SPDX-License-Identifier: Apache-2.0
#include "lib/base/units.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl {
namespace {

TEST(ParseSize, TakesSuffixesFractionsAndHex) {
  EXPECT_EQ(*ParseSize("64"), 64u);
  EXPECT_EQ(*ParseSize("64", kMiB), 64 * kMiB);
  EXPECT_EQ(*ParseSize("10M"), 10 * kMiB);
  EXPECT_EQ(*ParseSize("10m"), 10 * kMiB);
  EXPECT_EQ(*ParseSize("512b", kMiB), 512u);
  EXPECT_EQ(*ParseSize("1.5G"), 3 * kGiB / 2);
  EXPECT_EQ(*ParseSize("0x40"), 64u);
  EXPECT_EQ(*ParseSize("2T"), 2 * kTiB);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", "M", "-1", "+1", " 1", "1 ", "1MM", "1.M", "9999999999999G", "8E", "1e3", "0x", "x"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(absl::StatusCode::kInvalidArgument, text)) << text;
  }
}

TEST(FormatSize, ShowsThreeDigits) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(20 * kGiB), "20 GiB");
  EXPECT_EQ(FormatSize(3 * kGiB / 2), "1.5 GiB");
  EXPECT_EQ(FormatSize(196 * kKiB), "196 KiB");
}

}  // namespace
}  // namespace atl
