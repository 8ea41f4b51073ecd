// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::vm {
namespace {

DriveConfig Ide(const char* file, std::optional<unsigned> index = std::nullopt) {
  DriveConfig d;
  d.file = file;
  d.index = index;
  d.option = "-drive";
  return d;
}

TEST(PlaceIdeDrives, FillsTheGapsInOrder) {
  MachineConfig config;
  config.drives = {Ide("b", 1), Ide("a"), Ide("c")};
  ASSERT_OK_AND_ASSIGN(IdePlaces ide, PlaceIdeDrives(config));
  EXPECT_EQ(ide[0]->file, "a");
  EXPECT_EQ(ide[1]->file, "b");
  EXPECT_EQ(ide[2]->file, "c");
  EXPECT_EQ(ide[3], nullptr);
}

TEST(PlaceIdeDrives, NamesBothThatWantOnePlace) {
  MachineConfig config;
  config.drives = {Ide("a", 2), Ide("b", 2)};
  EXPECT_THAT(PlaceIdeDrives(config), StatusIs(absl::StatusCode::kInvalidArgument,
                                               "b: IDE place 2 is taken by '-drive' a"));
}

TEST(PlaceIdeDrives, RefusesAFifth) {
  MachineConfig config;
  config.drives = {Ide("a"), Ide("b"), Ide("c"), Ide("d"), Ide("e")};
  EXPECT_THAT(PlaceIdeDrives(config),
              StatusIs(absl::StatusCode::kInvalidArgument, "e: all four IDE places are taken"));
}

TEST(CheckConfig, RefusesWhatDoesNotFitTogether) {
  MachineConfig config;
  config.initrd = "x";
  EXPECT_THAT(CheckConfig(config),
              StatusIs(absl::StatusCode::kInvalidArgument, "'-initrd' needs '-kernel'"));
  config.initrd.clear();
  config.drives = {Ide("a")};
  config.drives[0].serial = std::string(21, 's');
  EXPECT_THAT(CheckConfig(config),
              StatusIs(absl::StatusCode::kInvalidArgument, "longer than 20 bytes"));
}

}  // namespace
}  // namespace atl::vm
