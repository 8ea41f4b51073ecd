// SPDX-License-Identifier: Apache-2.0
// Runs the generated script in bash and asks it for completions.
#include "lib/cli/completion.h"

#include <stdlib.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/cli/option.h"

namespace atl::cli {
namespace {

constexpr Option kDriveKeys[] = {
    {.name = "file", .arg = "FILE", .kind = Kind::kString},
    {.name = "if", .arg = "BUS", .kind = Kind::kEnum, .choices = "ide virtio"},
};
constexpr Option kInfoOptions[] = {
    {.name = "-f",
     .arg = "FMT",
     .kind = Kind::kString,
     .more_choices = [] { return std::string("raw qcow qcow2"); }},
    {.name = "--output", .arg = "FORM", .kind = Kind::kEnum, .choices = "human json"},
    {.name = "--backing-chain"},
    {.name = "-m", .arg = "N", .kind = Kind::kUnsigned},
};
constexpr Option kRunOptions[] = {
    {.name = "-drive", .arg = "KEY=VALUE", .kind = Kind::kKeyList, .keys = kDriveKeys},
    {.name = "-hda", .arg = "FILE", .kind = Kind::kString},
    {.name = "-hdb", .arg = "FILE", .kind = Kind::kString},
};
constexpr Command kInfo = {.name = "info", .options = kInfoOptions};
constexpr Command kIndex = {.name = "index"};
constexpr const Command* kCommands[] = {&kInfo, &kIndex};
constexpr Command kRun = {.name = "run", .options = kRunOptions, .style = Style::kSingleDash};

// What bash offers for `line`, blanks between; the words after the first are
// left to the script, which reads COMP_LINE.
std::string Complete(const std::string& script, absl::string_view program,
                     const std::string& line) {
  const std::string dir = testing::TempDir();
  std::ofstream(dir + "/completion.sh")
      << script << "compopt() { :; }\nCOMP_LINE='" << line << "'\nCOMP_POINT=${#COMP_LINE}\n_atoll_"
      << program << "\necho \"${COMPREPLY[*]}\"\n";
  FILE* p = popen(absl::StrCat("cd ", dir, " && bash -eu completion.sh 2>&1").c_str(), "r");
  char buffer[4096];
  std::string out;
  while (size_t n = fread(buffer, 1, sizeof buffer, p)) out.append(buffer, n);
  EXPECT_EQ(pclose(p), 0) << out;
  if (!out.empty()) out.pop_back();
  return out;
}

TEST(BashCompletion, CommandsOptionsValues) {
  const std::string script = BashCompletion("img", kCommands);
  EXPECT_EQ(Complete(script, "img", "img in"), "info index");
  EXPECT_EQ(Complete(script, "img", "img inf"), "info");
  EXPECT_EQ(Complete(script, "img", "img info --b"), "--backing-chain");
  EXPECT_EQ(Complete(script, "img", "img info --o"), "--output=");
  EXPECT_EQ(Complete(script, "img", "img info --output=j"), "json");
  EXPECT_EQ(Complete(script, "img", "img info --output h"), "human");
  EXPECT_EQ(Complete(script, "img", "img info -f q"), "qcow qcow2");
  EXPECT_EQ(Complete(script, "img", "img info -m "), "");
  EXPECT_EQ(Complete(script, "img", "img info compl"), "completion.sh");
}

TEST(BashCompletion, ToolWithoutSubcommands) {
  const std::string script = BashCompletion("run", kRun);
  EXPECT_EQ(Complete(script, "run", "run -hd"), "-hda -hdb");
  EXPECT_EQ(Complete(script, "run", "run -drive i"), "if=ide if=virtio");
  EXPECT_EQ(Complete(script, "run", "run -drive if=ide,f"), "ide,file=");
  EXPECT_EQ(Complete(script, "run", "run -hda compl"), "completion.sh");
}

TEST(BashCompletion, IsForBothNames) {
  const std::string script = BashCompletion("img", kCommands);
  EXPECT_NE(script.find("complete -F _atoll_img img atoll-img\n"), std::string::npos);
}

}  // namespace
}  // namespace atl::cli
