// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/help.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "lib/cli/option.h"

namespace atl::cli {
namespace {

constexpr Option kKeys[] = {
    {.name = "file", .arg = "FILE", .kind = Kind::kString, .help = "the image"},
    {.name = "if",
     .arg = "BUS",
     .kind = Kind::kEnum,
     .help = "bus",
     .default_text = "ide",
     .choices = "ide virtio"},
};
constexpr Option kOptions[] = {
    {.name = "-f", .arg = "FMT", .kind = Kind::kString, .help = "format", .default_text = "raw"},
    {.name = "-q", .alias = "--quiet", .help = "print errors only"},
    {.name = "-u", .help = "do not open the backing file"},
    {.name = "--size",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "how many",
     .group = "Other",
     .min = 1,
     .max = 8,
     .required = true},
    {.name = "--drive",
     .arg = "KEY=VALUE,...",
     .kind = Kind::kKeyList,
     .help = "a disk",
     .group = "Other",
     .repeat = Repeat::kEach,
     .keys = kKeys},
};
constexpr Command kCreate = {.name = "create",
                             .operands = "FILE [SIZE]",
                             .summary = "makes an image",
                             .options = kOptions,
                             .min_operands = 1,
                             .max_operands = 2,
                             .notes = "See also: info."};

TEST(Synopsis, GathersFlags) {
  EXPECT_EQ(Synopsis("img create", kCreate),
            "img create [-qu] [-f FMT] --size=N [--drive=KEY=VALUE,...]... FILE [SIZE]");
}

TEST(Synopsis, SingleDashNamesStandAlone) {
  constexpr Option kRun[] = {
      {.name = "-m", .arg = "SIZE", .kind = Kind::kSize},
      {.name = "-nographic"},
  };
  EXPECT_EQ(Synopsis("run", {.options = kRun, .style = Style::kSingleDash}),
            "run [-m SIZE] [-nographic]");
}

TEST(CommandHelp, ShowsEverythingOfTheTable) {
  EXPECT_EQ(CommandHelp("img create", kCreate),
            "usage: img create [-qu] [-f FMT] --size=N [--drive=KEY=VALUE,...]... FILE "
            "[SIZE]\n"
            "\n"
            "makes an image\n"
            "\n"
            "  -f FMT                format (default raw)\n"
            "  -q, --quiet           print errors only\n"
            "  -u                    do not open the backing file\n"
            "\n"
            "Other:\n"
            "  --size=N              how many (1 to 8; required)\n"
            "  --drive=KEY=VALUE,...\n"
            "                        a disk (may be repeated)\n"
            "      file=FILE         the image\n"
            "      if=BUS            bus (one of ide, virtio; default ide)\n"
            "\n"
            "See also: info.\n");
}

TEST(CommandHelp, KeepsToItsWidth) {
  for (absl::string_view line : absl::StrSplit(CommandHelp("img create", kCreate, 60), '\n')) {
    EXPECT_LE(line.size(), 60u) << line;
  }
}

}  // namespace
}  // namespace atl::cli
