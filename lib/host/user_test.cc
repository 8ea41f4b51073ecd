// SPDX-License-Identifier: Apache-2.0
#include "lib/host/user.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

// What `attempt` returns in a child.
int In(const std::function<int()>& attempt) {
  const pid_t child = fork();
  if (child == 0) _exit(attempt());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

TEST(User, ByNameAndByNumbers) {
  ASSERT_OK_AND_ASSIGN(const User root, FindUser("root"));
  EXPECT_EQ(root.uid, 0u);
  EXPECT_TRUE(root.named);
  ASSERT_OK_AND_ASSIGN(const User numbers, FindUser("70000:70001"));
  EXPECT_EQ(numbers.uid, 70000u);
  EXPECT_EQ(numbers.gid, 70001u);
  EXPECT_FALSE(numbers.named);
}

TEST(User, WhatIsNone) {
  for (const char* text : {"", "no such user", "1:", ":1", "1:2:3", "-1:0", "0:-1", "4294967295:0",
                           "0:4294967295", "root:root"}) {
    const absl::StatusOr<User> found = FindUser(text);
    ASSERT_FALSE(found.ok()) << text;
    EXPECT_NE(std::string(found.status().message()).find(text), std::string::npos);
  }
}

// Whoever runs this may become who he is, or be refused; nobody becomes half of it.
TEST(User, AllOrAnError) {
  const User other = {"12345:12345", 12345, 12345, false};
  const int how = In([&] {
    if (!BecomeUser(other).ok()) return 1;
    uid_t r, e, s;
    if (getresuid(&r, &e, &s) != 0 || r != 12345 || e != 12345 || s != 12345) return 2;
    if (getegid() != 12345 || getgroups(0, nullptr) != 0) return 3;
    return setuid(0) == 0 ? 4 : 0;
  });
  EXPECT_LE(how, 1);
  if (geteuid() != 0) {
    EXPECT_EQ(how, 1);
  }
}

TEST(User, RootsAreFoldersThatAreThere) {
  EXPECT_EQ(In([] { return ChangeRoot("/no/such/folder").ok() ? 1 : 0; }), 0);
  const std::string folder = testing::TempDir();
  const int how = In([&] {
    const absl::Status status = ChangeRoot(folder);
    if (!status.ok()) return absl::IsPermissionDenied(status) ? 1 : 3;
    return access("/etc/passwd", F_OK) == 0 ? 2 : 0;
  });
  EXPECT_LE(how, 1);
  if (geteuid() != 0) {
    EXPECT_EQ(how, 1);
  }
}

}  // namespace
}  // namespace atl::host
