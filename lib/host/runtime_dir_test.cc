// SPDX-License-Identifier: Apache-2.0
#include "lib/host/runtime_dir.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

class RuntimeDirTest : public testing::Test {
 protected:
  std::string root_ = absl::StrCat(testing::TempDir(), "/rt-",
                                   testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(RuntimeDirTest, WhereItIs) {
  setenv("ATOLL_RUNTIME_DIR", "/a", 1);
  setenv("XDG_RUNTIME_DIR", "/b", 1);
  EXPECT_EQ(RuntimeRoot(), "/a");
  unsetenv("ATOLL_RUNTIME_DIR");
  EXPECT_EQ(RuntimeRoot(), "/b/atoll");
  unsetenv("XDG_RUNTIME_DIR");
  EXPECT_EQ(RuntimeRoot(), geteuid() == 0 ? "/run/atoll" : "");
}

TEST_F(RuntimeDirTest, IsThereWhileTheVmIs) {
  EXPECT_TRUE(ListVms(root_).empty());
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<VmFolder> web, VmFolder::Create(root_, "web"));
  EXPECT_EQ(web->path(), root_ + "/web");
  struct stat st;
  ASSERT_EQ(stat(web->path().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<VmFolder> other, VmFolder::Create(root_, "../x y"));
  EXPECT_EQ(other->name(), "_.._x_y");
  ASSERT_EQ(ListVms(root_).size(), 2u);
  EXPECT_EQ(ListVms(root_)[1].name, "web");
  EXPECT_EQ(ListVms(root_)[1].pid, getpid());
  other.reset();
  web.reset();
  EXPECT_NE(access((root_ + "/web").c_str(), F_OK), 0);
  EXPECT_TRUE(ListVms(root_).empty());
}

TEST_F(RuntimeDirTest, ANameThatIsTaken) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<VmFolder> one, VmFolder::Create(root_, "web"));
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<VmFolder> two, VmFolder::Create(root_, "web"));
  EXPECT_EQ(two->name(), absl::StrCat("web.", getpid()));
  EXPECT_THAT(VmFolder::Create(root_, "web"), StatusIs(absl::StatusCode::kAlreadyExists, "web"));
  EXPECT_EQ(ListVms(root_).size(), 2u);
}

TEST_F(RuntimeDirTest, WhatWasKilledIsSwept) {
  const pid_t child = fork();
  if (child == 0) {
    auto folder = VmFolder::Create(root_, "dead");
    if (!folder.ok()) _exit(1);
    raise(SIGKILL);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(access((root_ + "/dead/pid").c_str(), F_OK), 0);
  EXPECT_TRUE(ListVms(root_).empty());
  // Somebody's own folder is left alone.
  ASSERT_EQ(mkdir((root_ + "/mine").c_str(), 0700), 0);
  ASSERT_EQ(mkdir((root_ + "/mine/sub").c_str(), 0700), 0);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<VmFolder> web, VmFolder::Create(root_, "web"));
  EXPECT_NE(access((root_ + "/dead").c_str(), F_OK), 0);
  EXPECT_EQ(access((root_ + "/mine").c_str(), F_OK), 0);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<VmFolder> again, VmFolder::Create(root_, "dead"));
}

TEST_F(RuntimeDirTest, Errors) {
  EXPECT_THAT(VmFolder::Create("", "x"), StatusIs(absl::StatusCode::kNotFound, "runtime"));
  EXPECT_THAT(VmFolder::Create("/proc/nothing", "x"),
              StatusIs(absl::StatusCode::kNotFound, "/proc"));
}

}  // namespace
}  // namespace atl::host
