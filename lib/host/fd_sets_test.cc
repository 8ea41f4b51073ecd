// SPDX-License-Identifier: Apache-2.0
#include "lib/host/fd_sets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

using absl::StatusCode;

class FdSetsTest : public testing::Test {
 protected:
  FdSetsTest() : path_(testing::TempDir() + "/fd_sets." + std::to_string(getpid())) {
    std::ofstream(path_) << "bytes";
  }
  ~FdSetsTest() override { unlink(path_.c_str()); }
  UniqueFd File(int flags) { return UniqueFd(open(path_.c_str(), flags | O_CLOEXEC)); }
  static int Access(const absl::StatusOr<UniqueFd>& fd) {
    return fd.ok() ? fcntl(fd->get(), F_GETFL) & O_ACCMODE : -1;
  }

  const std::string path_;
  FdSets sets_;
};

TEST_F(FdSetsTest, NewSetsTakeTheLowestFreeNumber) {
  ASSERT_OK_AND_ASSIGN(const FdSets::Added zero, sets_.Add(File(O_RDONLY), std::nullopt, ""));
  ASSERT_OK_AND_ASSIGN(const FdSets::Added two, sets_.Add(File(O_RDONLY), 2, "two"));
  ASSERT_OK_AND_ASSIGN(const FdSets::Added one, sets_.Add(File(O_RDONLY), std::nullopt, ""));
  ASSERT_OK_AND_ASSIGN(const FdSets::Added three, sets_.Add(File(O_RDONLY), std::nullopt, ""));
  EXPECT_EQ(zero.set, 0);
  EXPECT_EQ(two.set, 2);
  EXPECT_EQ(one.set, 1);
  EXPECT_EQ(three.set, 3);
  EXPECT_EQ(sets_.sets().at(2)[0].opaque, "two");
  EXPECT_OK(sets_.Remove(1, std::nullopt));
  ASSERT_OK_AND_ASSIGN(const FdSets::Added again, sets_.Add(File(O_RDONLY), std::nullopt, ""));
  EXPECT_EQ(again.set, 1);
}

TEST_F(FdSetsTest, OpensByAccess) {
  ASSERT_OK(sets_.Add(File(O_RDWR), 4, "").status());
  EXPECT_EQ(Access(sets_.Open("/dev/fdset/4", true)), O_RDWR);
  EXPECT_EQ(Access(sets_.Open("/dev/fdset/4", false)), O_RDWR);
  ASSERT_OK(sets_.Add(File(O_RDONLY), 4, "").status());
  EXPECT_EQ(Access(sets_.Open("/dev/fdset/4", false)), O_RDONLY);
  EXPECT_EQ(Access(sets_.Open("/dev/fdset/4", true)), O_RDWR);
  ASSERT_OK(sets_.Add(File(O_RDONLY), 5, "").status());
  EXPECT_EQ(sets_.Open("/dev/fdset/5", true).status().message(),
            "/dev/fdset/5: no descriptor of the set is open for reading and writing");
  for (const int flags : {O_WRONLY, O_RDWR | O_APPEND, O_PATH}) {
    ASSERT_OK_AND_ASSIGN(const FdSets::Added added, sets_.Add(File(flags), 6, ""));
    EXPECT_EQ(sets_.Open("/dev/fdset/6", false).status().code(), StatusCode::kFailedPrecondition);
    EXPECT_OK(sets_.Remove(6, added.fd));
  }
}

TEST_F(FdSetsTest, WhatIsOpenOutlivesTheSet) {
  ASSERT_OK_AND_ASSIGN(const FdSets::Added added, sets_.Add(File(O_RDONLY), std::nullopt, ""));
  ASSERT_OK_AND_ASSIGN(UniqueFd copy, sets_.Open("/dev/fdset/0", false));
  EXPECT_NE(copy.get(), added.fd);
  EXPECT_NE(fcntl(copy.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_OK(sets_.Remove(0, added.fd));
  EXPECT_EQ(fcntl(added.fd, F_GETFD), -1);
  EXPECT_TRUE(sets_.sets().empty());
  char text[5];
  EXPECT_EQ(pread(copy.get(), text, sizeof text, 0), 5);
}

TEST_F(FdSetsTest, Refusals) {
  EXPECT_TRUE(FdSets::Names("/dev/fdset/1"));
  EXPECT_FALSE(FdSets::Names("/dev/fd/1"));
  for (const char* path : {"/dev/fdset/", "/dev/fdset/x", "/dev/fdset/1/2", "/dev/fdset/1",
                           "/dev/fdset/-1", "/dev/fdset/99999999999999999999", "/dev/zero"}) {
    EXPECT_EQ(sets_.Open(path, false).status().code(), StatusCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(sets_.Add(File(O_RDONLY), -1, "").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(sets_.Add(File(O_RDONLY), 1, std::string(FdSets::kMaxOpaque + 1, 'x')).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(sets_.sets().empty());
  EXPECT_EQ(sets_.Remove(1, std::nullopt).code(), StatusCode::kInvalidArgument);
  ASSERT_OK(sets_.Add(File(O_RDONLY), 1, "").status());
  EXPECT_EQ(sets_.Remove(1, 1000000).code(), StatusCode::kInvalidArgument);
  for (size_t i = 1; i < FdSets::kMaxFds; ++i) ASSERT_OK(sets_.Add(File(O_RDONLY), 1, "").status());
  EXPECT_EQ(sets_.Add(File(O_RDONLY), 1, "").status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace atl::host
