// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "lib/base/status_macros.h"
#include "lib/base/status_matchers.h"
#include "lib/base/units.h"
#include "lib/cli/option.h"

namespace atl::cli {
namespace {

constexpr Option kDriveKeys[] = {
    {.name = "file", .arg = "FILE", .kind = Kind::kString, .help = "image"},
    {.name = "if", .arg = "BUS", .kind = Kind::kEnum, .help = "bus", .choices = "ide virtio none"},
    {.name = "index", .arg = "N", .kind = Kind::kUnsigned, .help = "place", .max = 3},
    {.name = "readonly", .arg = "ON", .kind = Kind::kBool, .help = "no writes"},
    {.name = "size", .arg = "SIZE", .kind = Kind::kSize, .help = "size"},
    {.name = "id", .arg = "ID", .kind = Kind::kString, .repeat = Repeat::kError},
};

constexpr Option kRunOptions[] = {
    {.name = "-m",
     .arg = "SIZE",
     .kind = Kind::kSize,
     .help = "memory",
     .min = kMiB,
     .max = kGiB,
     .unit = kMiB},
    {.name = "-smp",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "processors",
     .min = 1,
     .max = 64},
    {.name = "-hda",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "first disk",
     .repeat = Repeat::kError},
    {.name = "-drive",
     .arg = "KEY=VALUE,...",
     .kind = Kind::kKeyList,
     .help = "a disk",
     .repeat = Repeat::kEach,
     .keys = kDriveKeys,
     .implied_key = "file"},
    {.name = "-nographic", .help = "no screen"},
    {.name = "--events",
     .arg = "FORM",
     .kind = Kind::kEnum,
     .help = "events",
     .choices = "json text"},
};
constexpr Command kRun = {.name = "run",
                          .operands = "[FILE]",
                          .options = kRunOptions,
                          .style = Style::kSingleDash,
                          .max_operands = 1};

constexpr Option kConvertOptions[] = {
    {.name = "-f", .arg = "FMT", .kind = Kind::kString, .help = "source format"},
    {.name = "-p", .help = "progress"},
    {.name = "-q", .alias = "--quiet", .help = "quiet"},
    {.name = "-S", .arg = "SIZE", .kind = Kind::kSize, .help = "sparse size"},
    {.name = "-o",
     .arg = "OPTIONS",
     .kind = Kind::kString,
     .help = "format options",
     .repeat = Repeat::kEach},
    {.name = "--output",
     .arg = "FORM",
     .kind = Kind::kEnum,
     .help = "form",
     .choices = "human json"},
    {.name = "--target-is-zero", .help = "target is zero"},
};
constexpr Command kConvert = {.name = "convert",
                              .operands = "FILE... OUTPUT",
                              .options = kConvertOptions,
                              .min_operands = 2,
                              .max_operands = 9};
constexpr Command kResize = {.name = "resize",
                             .operands = "FILE SIZE",
                             .options = kConvertOptions,
                             .min_operands = 2,
                             .max_operands = 2,
                             .last_is_operand = true};

absl::StatusOr<Parsed> ParseWords(const Command& command, std::vector<std::string> args) {
  absl::StatusOr<ParseResult> r = Parse(command, args);
  if (!r.ok()) {
    EXPECT_TRUE(IsUsageError(r.status())) << r.status();
    return r.status();
  }
  if (r->help_wanted) return absl::CancelledError("help");
  return std::move(r->args);
}

TEST(Getopt, AllTheWaysToWriteAValue) {
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"-f", "raw", "--output=json", "a", "b"},
                                             {"a", "-fraw", "b", "--output", "json"},
                                             {"-f", "qcow2", "-pfraw", "--outp=json", "a", "b"},
                                             {"-fraw", "--output", "json", "--", "a", "b"}}) {
    ASSERT_OK_AND_ASSIGN(Parsed p, ParseWords(kConvert, args));
    EXPECT_EQ(p.Text("-f"), "raw");
    EXPECT_EQ(p.Text("--output"), "json");
    EXPECT_EQ(p.operands, (std::vector<std::string>{"a", "b"}));
  }
}

TEST(Getopt, ClustersAndAliases) {
  ASSERT_OK_AND_ASSIGN(Parsed p, ParseWords(kConvert, {"-pqS4k", "--", "-a", "-"}));
  EXPECT_TRUE(p.Has("-p"));
  EXPECT_TRUE(p.Has("--quiet"));
  EXPECT_TRUE(p.OnOr("-q", false));
  EXPECT_FALSE(p.OnOr("--target-is-zero", false));
  EXPECT_EQ(p.Number("-S"), 4096u);
  EXPECT_EQ(p.operands, (std::vector<std::string>{"-a", "-"}));
}

TEST(Getopt, RepeatedOnesKeepTheirOrder) {
  ASSERT_OK_AND_ASSIGN(Parsed p, ParseWords(kConvert, {"-o", "a=1", "x", "-o", "b=2", "y"}));
  ASSERT_EQ(p.All("-o").size(), 2u);
  EXPECT_EQ(p.All("-o")[0]->text, "a=1");
  EXPECT_EQ(p.Text("-o"), "b=2");
}

TEST(Getopt, Errors) {
  auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(ParseWords(kConvert, {"--ouptut=json", "a", "b"}),
              StatusIs(invalid, "unknown option '--ouptut': did you mean '--output'?"));
  EXPECT_THAT(ParseWords(kConvert, {"-z", "a", "b"}),
              StatusIs(invalid, "unknown option '-z' (valid: -f, -p, -q, --quiet, -S, -o, "));
  EXPECT_THAT(ParseWords(kConvert, {"-pz", "a", "b"}), StatusIs(invalid, "unknown option '-z'"));
  EXPECT_THAT(ParseWords(kConvert, {"a", "b", "-f"}),
              StatusIs(invalid, "option '-f' needs a value: -f FMT"));
  EXPECT_THAT(ParseWords(kConvert, {"--target-is-zero=1", "a", "b"}),
              StatusIs(invalid, "option '--target-is-zero' takes no value"));
  EXPECT_THAT(ParseWords(kConvert, {"--output=jsno", "a", "b"}),
              StatusIs(invalid,
                       "option '--output': unknown value 'jsno': did you mean 'json'? (valid: "
                       "human, json)"));
  EXPECT_THAT(ParseWords(kConvert, {"-S", "4q", "a", "b"}),
              StatusIs(invalid, "option '-S': not a size"));
  EXPECT_THAT(ParseWords(kConvert, {"a"}),
              StatusIs(invalid, "expecting FILE... OUTPUT, got only 'a'"));
  EXPECT_THAT(ParseWords(kConvert, {}), StatusIs(invalid, "expecting FILE... OUTPUT"));
  EXPECT_THAT(ParseWords(kResize, {"a", "b", "c"}), StatusIs(invalid, "unexpected argument 'c'"));
}

TEST(Getopt, LastWordCanBeANegativeSize) {
  ASSERT_OK_AND_ASSIGN(Parsed p, ParseWords(kResize, {"-q", "a", "-1G"}));
  EXPECT_EQ(p.operands, (std::vector<std::string>{"a", "-1G"}));
  EXPECT_THAT(ParseWords(kResize, {"--help"}), StatusIs(absl::StatusCode::kCancelled, "help"));
}

TEST(Getopt, Help) {
  for (const char* word : {"-h", "--help"}) {
    EXPECT_THAT(ParseWords(kConvert, {word}), StatusIs(absl::StatusCode::kCancelled, "help"))
        << word;
  }
  EXPECT_THAT(ParseWords(kConvert, {"-ph"}), StatusIs(absl::StatusCode::kCancelled, "help"));
  EXPECT_THAT(ParseWords(kConvert, {"-f", "--help", "a", "b"}), IsOk());  // a value
}

TEST(SingleDash, LongNamesAndSubTables) {
  ASSERT_OK_AND_ASSIGN(
      Parsed p, ParseWords(kRun, {"-m", "512", "-drive", "file=a,,b.img,if=virtio", "-nographic",
                                  "--hda", "x", "-drive", "c.img,readonly,index=2,size=1k",
                                  "--events=json", "-smp", "0x2"}));
  EXPECT_EQ(p.Number("-m"), 512 * kMiB);
  EXPECT_EQ(p.Number("-smp"), 2u);
  EXPECT_EQ(p.Text("-hda"), "x");
  EXPECT_EQ(p.Text("--events"), "json");
  EXPECT_TRUE(p.Has("-nographic"));
  std::vector<const Given*> drives = p.All("-drive");
  ASSERT_EQ(drives.size(), 2u);
  EXPECT_EQ(drives[0]->keys.Text("file"), "a,b.img");
  EXPECT_EQ(drives[0]->keys.Text("if"), "virtio");
  EXPECT_FALSE(drives[0]->keys.OnOr("readonly", false));
  EXPECT_EQ(drives[1]->keys.Text("file"), "c.img");
  EXPECT_TRUE(drives[1]->keys.OnOr("readonly", false));
  EXPECT_EQ(drives[1]->keys.NumberOr("index", 9), 2u);
  EXPECT_EQ(drives[1]->keys.NumberOr("size", 9), 1024u);
}

TEST(SingleDash, Errors) {
  auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(ParseWords(kRun, {"-hdaa", "x"}),
              StatusIs(invalid, "unknown option '-hdaa': did you mean '-hda'?"));
  EXPECT_THAT(ParseWords(kRun, {"-elephant"}), StatusIs(invalid, "(valid: -m, -smp, "));
  EXPECT_THAT(ParseWords(kRun, {"-m", "0"}),
              StatusIs(invalid, "option '-m': 0 is out of range: valid is 1 MiB to 1 GiB"));
  EXPECT_THAT(ParseWords(kRun, {"-smp", "65"}),
              StatusIs(invalid, "65 is out of range: valid is 1 to 64"));
  for (const char* bad : {"", "-1", "+1", " 1", "1 ", "2x", "0x", "99999999999999999999"}) {
    EXPECT_THAT(ParseWords(kRun, {"-smp", bad}), StatusIs(invalid, "not a number")) << bad;
  }
  EXPECT_THAT(ParseWords(kRun, {"-hda", "a", "-hda", "b"}),
              StatusIs(invalid, "option '-hda' is given twice"));
  EXPECT_THAT(ParseWords(kRun, {"-drive", "file=a,fi=virtio"}),
              StatusIs(invalid,
                       "option '-drive': unknown key 'fi': did you mean 'if'? (valid: file, if, "
                       "index, readonly, size, id)"));
  EXPECT_THAT(ParseWords(kRun, {"-drive", "a,if=floppy"}),
              StatusIs(invalid, "option '-drive': key 'if': unknown value 'floppy' (valid: ide"));
  EXPECT_THAT(ParseWords(kRun, {"-drive", "a,readonly=maybe"}),
              StatusIs(invalid, "key 'readonly': 'maybe' is neither on nor off"));
  EXPECT_THAT(ParseWords(kRun, {"-drive", "a,index"}),
              StatusIs(invalid, "key 'index' needs a value: index=N"));
  EXPECT_THAT(ParseWords(kRun, {"-drive", "a,"}), StatusIs(invalid, "empty item in 'a,'"));
  EXPECT_THAT(ParseWords(kRun, {"-drive", "id=1,id=2"}),
              StatusIs(invalid, "key 'id' is given twice"));
  EXPECT_THAT(ParseWords(kRun, {"a", "b"}), StatusIs(invalid, "unexpected argument 'b'"));
}

TEST(KeyList, SplitsAtSingleCommasOnly) {
  std::vector<KeyItem> items = SplitKeyList("a,,b=c,,,d,e==f");
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].key, "a,b");
  EXPECT_EQ(items[0].value, "c,");
  EXPECT_EQ(items[1].key, "d");
  EXPECT_EQ(items[1].value, std::nullopt);
  EXPECT_EQ(items[2].value, "=f");
  EXPECT_TRUE(SplitKeyList("").empty());
}

TEST(KeyList, EscapingIsTheInverseOfSplitting) {
  for (const char* value : {"", ",", "a,b", ",,", "x=y,z"}) {
    std::vector<KeyItem> items = SplitKeyList("k=" + EscapeKeyValue(value));
    ASSERT_EQ(items.size(), 1u) << value;
    EXPECT_EQ(items[0].value, value);
  }
}

TEST(KeyList, RequiredKeys) {
  constexpr Option kKeys[] = {
      {.name = "ifname", .arg = "NAME", .kind = Kind::kString, .help = "the tap", .required = true},
  };
  EXPECT_THAT(ParseKeyList("option '-net'", "", kKeys),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "option '-net': key 'ifname NAME' is missing: the tap"));
  EXPECT_THAT(ParseKeyList("option '-net'", "ifname=t0", kKeys), IsOk());
}

TEST(UsageErrors, AreKnownFromOthers) {
  EXPECT_TRUE(IsUsageError(UsageError("x")));
  EXPECT_TRUE(IsUsageError(Annotate(UsageError("x"), "y")));
  EXPECT_FALSE(IsUsageError(absl::InvalidArgumentError("x")));
  EXPECT_FALSE(IsUsageError(absl::OkStatus()));
}

}  // namespace
}  // namespace atl::cli
