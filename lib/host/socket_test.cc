// SPDX-License-Identifier: Apache-2.0
#include "lib/host/socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

class UnixListenerTest : public ::testing::Test {
 protected:
  UnixListenerTest() {
    char name[] = "/tmp/socket-test-XXXXXX";  // a socket's path is short
    folder_ = mkdtemp(name);
    path_ = folder_ + "/socket";
  }
  ~UnixListenerTest() override { std::filesystem::remove_all(folder_); }
  size_t Names() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  std::string folder_, path_;
};

TEST_F(UnixListenerTest, ReplacesWhatNobodyListensOn) {
  {
    // Somebody who was killed: the name stays.
    absl::StatusOr<UnixListener> listener = UnixListener::Create(path_);
    ASSERT_OK(listener.status());
    struct stat st;
    ASSERT_EQ(lstat(path_.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    ASSERT_OK(ConnectUnix(path_).status());
    EXPECT_THAT(UnixListener::Create(path_).status(),
                StatusIs(absl::StatusCode::kAlreadyExists, "somebody listens"));
    EXPECT_EQ(Names(), 1u);
    ASSERT_EQ(rename(path_.c_str(), (folder_ + "/kept").c_str()), 0);
  }
  ASSERT_EQ(rename((folder_ + "/kept").c_str(), path_.c_str()), 0);
  {
    absl::StatusOr<UnixListener> listener = UnixListener::Create(path_, SOCK_SEQPACKET);
    ASSERT_OK(listener.status());
    ASSERT_OK(ConnectUnix(path_, SOCK_SEQPACKET).status());
    EXPECT_EQ(Names(), 1u);
  }
  EXPECT_EQ(Names(), 0u);
}

TEST_F(UnixListenerTest, WhatAKilledProcessHasLeftIsRemoved) {
  EXPECT_FALSE(UnixListener::RemoveLeft(path_));
  EXPECT_FALSE(UnixListener::RemoveLeft(""));
  EXPECT_FALSE(UnixListener::RemoveLeft(folder_ + "/"));
  {
    absl::StatusOr<UnixListener> listener = UnixListener::Create(path_);
    ASSERT_OK(listener.status());
    EXPECT_FALSE(UnixListener::RemoveLeft(path_));  // somebody listens
    ASSERT_EQ(link(path_.c_str(), (folder_ + "/socke~").c_str()), 0);
    EXPECT_FALSE(UnixListener::RemoveLeft(path_));
    ASSERT_EQ(rename(path_.c_str(), (folder_ + "/kept").c_str()), 0);
  }
  ASSERT_EQ(rename((folder_ + "/kept").c_str(), path_.c_str()), 0);
  EXPECT_EQ(Names(), 2u);
  EXPECT_TRUE(UnixListener::RemoveLeft(path_));
  EXPECT_EQ(Names(), 0u);
  std::ofstream(path_) << "a file";
  EXPECT_FALSE(UnixListener::RemoveLeft(path_));
  EXPECT_EQ(Names(), 1u);
}

TEST_F(UnixListenerTest, LeavesFilesAlone) {
  std::ofstream(path_) << "text";
  EXPECT_THAT(UnixListener::Create(path_).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, "is no socket"));
  EXPECT_EQ(std::filesystem::file_size(path_), 4u);
  EXPECT_EQ(Names(), 1u);
  EXPECT_THAT(UnixListener::Create(folder_ + "/none/socket").status(),
              StatusIs(absl::StatusCode::kNotFound, "/none/socket"));
}

// Names as long as a socket's may be, and what already ends as a draft does.
TEST_F(UnixListenerTest, AnyNameThatFits) {
  for (const std::string& name : {std::string("x"), std::string("~"), std::string("a~"),
                                  std::string(107 - folder_.size() - 1, 'n')}) {
    absl::StatusOr<UnixListener> listener = UnixListener::Create(folder_ + "/" + name);
    ASSERT_OK(listener.status());
    ASSERT_OK(ConnectUnix(folder_ + "/" + name).status());
    EXPECT_EQ(Names(), 1u);
  }
}

// Whoever waits for the name to appear may connect as soon as it does.
TEST_F(UnixListenerTest, TheNameAppearsWhenItListens) {
  std::atomic<int> round{0}, seen{0};
  constexpr int kRounds = 100;
  std::thread watcher([&] {
    for (int i = 1; i <= kRounds; ++i) {
      while (access(path_.c_str(), F_OK) != 0) {
        if (round.load() < 0) return;
        std::this_thread::yield();
      }
      EXPECT_OK(ConnectUnix(path_).status());
      seen.store(i);
      while (round.load() == i - 1) std::this_thread::yield();
    }
  });
  for (int i = 1; i <= kRounds; ++i) {
    absl::StatusOr<UnixListener> listener = UnixListener::Create(path_);
    if (!listener.ok()) {
      round.store(-1);
      ADD_FAILURE() << listener.status();
      break;
    }
    while (seen.load() < i) std::this_thread::yield();
    { const UnixListener gone = *std::move(listener); }
    round.store(i);
  }
  watcher.join();
}

}  // namespace
}  // namespace atl::host
