// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/main.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "lib/cli/option.h"

namespace atl::cli {
namespace {

constexpr Option kOptions[] = {
    {.name = "-f", .arg = "FMT", .kind = Kind::kString, .help = "format"},
};
constexpr Command kCreate = {
    .name = "create",
    .operands = "FILE",
    .summary = "makes",
    .options = kOptions,
    .min_operands = 1,
    .max_operands = 1,
    .run = [](const Parsed& args) -> absl::StatusOr<int> {
      if (args.operands[0] == "bad") return absl::NotFoundError("bad: No such file or directory");
      Print("made " + args.operands[0] + " as " + args.TextOr("-f", "raw") + "\n");
      return args.operands[0] == "three" ? 3 : 0;
    }};
constexpr const Command* kCommands[] = {&kCreate};
constexpr Tool kTool = {.name = "img",
                        .summary = "disk images",
                        .version = "0.1",
                        .commands = kCommands,
                        .implied = &kCreate};

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

template <typename Fn>
Outcome Capture(std::vector<std::string> words, Fn fn) {
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome o;
  o.code = fn(static_cast<int>(words.size()), argv.data());
  o.out = testing::internal::GetCapturedStdout();
  o.err = testing::internal::GetCapturedStderr();
  return o;
}
Outcome Call(std::vector<std::string> words) {
  return Capture(std::move(words), [](int c, char** v) { return ToolMain(kTool, c, v); });
}

TEST(ToolMain, RunsTheCommand) {
  Outcome o = Call({"/usr/bin/img", "create", "-f", "qcow2", "a"});
  EXPECT_EQ(o.code, 0);
  EXPECT_EQ(o.out, "made a as qcow2\n");
  EXPECT_EQ(o.err, "");
  EXPECT_EQ(Call({"img", "create", "three"}).code, 3);
}

TEST(ToolMain, ImpliedCommand) {
  EXPECT_EQ(Call({"img", "-f", "qcow", "a"}).out, "made a as qcow\n");
}

TEST(ToolMain, FailureIsOneUsageIsTwo) {
  Outcome o = Call({"img", "create", "bad"});
  EXPECT_EQ(o.code, 1);
  EXPECT_EQ(o.err, "img: bad: No such file or directory\n");
  o = Call({"img", "create"});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err, "img: expecting FILE\nTry 'img create --help' for more information\n");
  o = Call({"img", "craete", "a"});
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(
      absl::StrContains(o.err, "Command not found: craete: did you mean 'create'? (valid: create)"))
      << o.err;
  EXPECT_EQ(Call({"img"}).code, 2);
}

TEST(ToolMain, SpeaksByTheNameItWasCalled) {
  EXPECT_EQ(Call({"/x/qemu-img", "create", "bad"}).err,
            "qemu-img: bad: No such file or directory\n");
}

TEST(ToolMain, HelpVersionCompletion) {
  Outcome o = Call({"img", "--help"});
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(absl::StrContains(o.out, "  create      makes\n")) << o.out;
  EXPECT_TRUE(absl::StrContains(Call({"img", "create", "--help"}).out, "  -f FMT "));
  EXPECT_EQ(Call({"img", "-V"}).out, "img version 0.1\n");
  EXPECT_TRUE(absl::StrContains(Call({"img", "--completion", "bash"}).out, "complete -F"));
  o = Call({"img", "--completion=fish"});
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(absl::StrContains(o.err, "unknown shell 'fish' (valid: bash)")) << o.err;
}

TEST(ToolMain, FullDiskUnderStdoutIsAnError) {
  int saved = dup(1);
  int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  fflush(stdout);
  dup2(full, 1);
  testing::internal::CaptureStderr();
  std::string words[] = {"img", "create", "a"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  int code = ToolMain(kTool, 3, argv);
  std::string err = testing::internal::GetCapturedStderr();
  dup2(saved, 1);
  clearerr(stdout);
  close(saved);
  close(full);
  EXPECT_EQ(code, 1);
  EXPECT_EQ(err, "img: standard output: No space left on device\n");
}

TEST(CommandMain, ToolWithoutSubcommands) {
  auto call = [](std::vector<std::string> words) {
    return Capture(std::move(words),
                   [](int c, char** v) { return CommandMain(kCreate, "7", c, v); });
  };
  EXPECT_EQ(call({"mk", "a"}).out, "made a as raw\n");
  EXPECT_EQ(call({"mk", "--version"}).out, "mk version 7\n");
  EXPECT_EQ(call({"mk"}).err, "mk: expecting FILE\nTry 'mk --help' for more information\n");
  EXPECT_TRUE(absl::StartsWith(call({"mk", "-h"}).out, "usage: mk [-f FMT] FILE\n"));
}

}  // namespace
}  // namespace atl::cli
