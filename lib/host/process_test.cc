// SPDX-License-Identifier: Apache-2.0
#include "lib/host/process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

using std::chrono::seconds;

std::string Content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}
std::string NewPath(const char* name) {
  const std::string path = std::string(getenv("TEST_TMPDIR")) + "/" + name;
  unlink(path.c_str());
  return path;
}

TEST(RunProgram, GivesStatusAndOutput) {
  ASSERT_OK_AND_ASSIGN(
      ProgramResult r,
      RunProgram({"/bin/sh", "-c", "echo $0; echo err >&2; exit 3", "tap0"}, seconds(30)));
  EXPECT_EQ(r.status, 3);
  EXPECT_EQ(r.output, "tap0\nerr\n");
  ASSERT_OK_AND_ASSIGN(r, RunProgram({"/bin/sh", "-c", "kill -9 $$"}, seconds(30)));
  EXPECT_EQ(r.status, 128 + 9);
}

TEST(RunProgram, NamesWhatIsNotThere) {
  EXPECT_THAT(RunProgram({"/no/such/script", "tap0"}, seconds(30)),
              StatusIs(absl::StatusCode::kNotFound, "/no/such/script: No such file"));
}

TEST(RunProgram, OutputHasABound) {
  ASSERT_OK_AND_ASSIGN(ProgramResult r,
                       RunProgram({"/bin/sh", "-c", "head -c 1000000 /dev/zero"}, seconds(60)));
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.output.size(), kMaxProgramOutput);
}

TEST(RunProgram, KillsWhatDoesNotEnd) {
  EXPECT_THAT(RunProgram({"/bin/sh", "-c", "sleep 1000"}, std::chrono::milliseconds(300)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, "/bin/sh"));
}

TEST(RunProgram, DoesNotWaitForADaemonThatItLeaves) {
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_OK_AND_ASSIGN(ProgramResult r,
                       RunProgram({"/bin/sh", "-c", "sleep 20 & echo on"}, seconds(15)));
  EXPECT_EQ(r.output, "on\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(10));
}

TEST(RunProgram, SignalsAreAsProgramsExpectThem) {
  sigset_t blocked, old;
  sigfillset(&blocked);
  pthread_sigmask(SIG_BLOCK, &blocked, &old);
  ASSERT_OK_AND_ASSIGN(ProgramResult r,
                       RunProgram({"/bin/sh", "-c", "grep SigBlk /proc/self/status"}, seconds(30)));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(r.output, "SigBlk:\t0000000000000000\n");
}

TEST(AtEnd, RunsWhenAskedAndTellsOfFailure) {
  const std::string path = NewPath("asked");
  ASSERT_OK_AND_ASSIGN(
      std::unique_ptr<AtEnd> end,
      AtEnd::Create({"/bin/sh", "-c", "echo \"$1 gone\" >" + path, "sh", "tap0 with blanks"}));
  EXPECT_EQ(access(path.c_str(), F_OK), -1) << "not before";
  EXPECT_OK(end->Run(seconds(30)));
  EXPECT_EQ(Content(path), "tap0 with blanks gone\n");
  ASSERT_OK_AND_ASSIGN(end, AtEnd::Create({"/bin/false"}));
  EXPECT_THAT(end->Run(seconds(30)), StatusIs(absl::StatusCode::kAborted, "status 1"));
}

TEST(AtEnd, RunsAfterItsProcessWasKilled) {
  const std::string path = NewPath("killed");
  const pid_t pid = fork();
  if (pid == 0) {
    auto end = AtEnd::Create({"/bin/sh", "-c", "echo ran >" + path});
    if (!end.ok()) _exit(1);
    kill(getpid(), SIGKILL);
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status));
  for (int i = 0; i < 600 && Content(path) != "ran\n"; ++i) usleep(50000);
  EXPECT_EQ(Content(path), "ran\n");
}

}  // namespace
}  // namespace atl::host
