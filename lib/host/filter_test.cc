// SPDX-License-Identifier: Apache-2.0
#include "lib/host/filter.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

TEST(Filter, OutputErrorsAndCodeComeBack) {
  ASSERT_OK_AND_ASSIGN(const FilterResult result,
                       RunFilter({"sh", "-c", "cat; echo wrong >&2; exit 7"}, "given"));
  EXPECT_EQ(result.output, "given");
  EXPECT_EQ(result.errors, "wrong\n");
  EXPECT_EQ(result.exit_code, 7);
}

TEST(Filter, PipesThatFillDoNotBlock) {
  const std::string much(1 << 20, 'x');
  ASSERT_OK_AND_ASSIGN(const FilterResult all, RunFilter({"cat"}, much));
  EXPECT_EQ(all.output, much);
  // It reads nothing of what it is given.
  ASSERT_OK_AND_ASSIGN(const FilterResult none, RunFilter({"true"}, much));
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_THAT(RunFilter({"yes"}, "", 100000),
              StatusIs(absl::StatusCode::kResourceExhausted, "more than 100000 bytes"));
}

TEST(Filter, SignalsAndAbsenceAreTold) {
  ASSERT_OK_AND_ASSIGN(const FilterResult killed, RunFilter({"sh", "-c", "kill -9 $$"}));
  EXPECT_EQ(killed.exit_code, 128 + SIGKILL);
  EXPECT_THAT(RunFilter({"no-such-program-here"}),
              StatusIs(absl::StatusCode::kNotFound, "no-such-program-here"));
  EXPECT_THAT(RunFilter({"/no/such/program"}), StatusIs(absl::StatusCode::kNotFound, "/no/such"));
}

TEST(Filter, EndsWithItsInput) {
  int output = -1;
  pid_t pid = -1;
  {
    ASSERT_OK_AND_ASSIGN(Coprocess program, Coprocess::Start({"cat"}));
    pid = program.pid();
    ASSERT_OK(program.Write("hello"));
    char buffer[6] = "";
    ASSERT_EQ(read(program.output_fd(), buffer, 5), 5);
    EXPECT_STREQ(buffer, "hello");
    pollfd ended = {.fd = program.ended_fd(), .events = POLLIN};
    EXPECT_EQ(poll(&ended, 1, 0), 0);
    output = program.output_fd();
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(close(output), -1);
}

}  // namespace
}  // namespace atl::host
