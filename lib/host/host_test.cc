// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/host/event.h"
#include "lib/host/event_loop.h"
#include "lib/host/file.h"
#include "lib/host/signals.h"

namespace atl::host {
namespace {

std::string InTmp(const std::string& name) { return testing::TempDir() + "/" + name; }

TEST(Event, IsSignalledOnceUntilCleared) {
  ASSERT_OK_AND_ASSIGN(Event event, Event::Create());
  EXPECT_FALSE(event.Clear());
  event.Signal();
  event.Signal();
  EXPECT_TRUE(event.Clear());
  EXPECT_FALSE(event.Clear());
}

TEST(SignalWatch, TurnsSignalsIntoCallsAndRestoresTheMask) {
  sigset_t before, during, after;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  ASSERT_FALSE(sigismember(&before, SIGTERM));
  ASSERT_OK_AND_ASSIGN(auto loop, EventLoop::Create());
  std::vector<int> seen;
  {
    ASSERT_OK_AND_ASSIGN(auto watch,
                         SignalWatch::Create(loop.get(), {SIGTERM, SIGWINCH}, [&](int s) {
                           seen.push_back(s);
                           if (seen.size() == 2) loop->Quit();
                         }));
    pthread_sigmask(SIG_BLOCK, nullptr, &during);
    EXPECT_TRUE(sigismember(&during, SIGTERM));
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGWINCH);
    loop->Run();
  }
  EXPECT_THAT(seen, testing::UnorderedElementsAre(SIGTERM, SIGWINCH));
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  EXPECT_FALSE(sigismember(&after, SIGTERM));
}

TEST(File, HasAnIdentityOnceItHasSettled) {
  const auto identity = [](const std::string& path) {
    auto file = File::Open(path);
    EXPECT_OK(file.status());
    return file.ok() ? file->Identity() : "";
  };
  const std::string own = identity("/bin/sh");
  EXPECT_NE(own, "");
  EXPECT_EQ(own, identity("/bin/sh"));
  EXPECT_EQ(own.find_first_not_of("0123456789abcdef.-"), std::string::npos) << own;
  EXPECT_NE(own, identity("/usr/bin/env"));
  std::ofstream(InTmp("fresh")) << "hello";
  EXPECT_EQ(identity(InTmp("fresh")), "");
}

TEST(File, ReadsWithinBounds) {
  const std::string path = InTmp("hello");
  std::ofstream(path) << "hello, world";
  ASSERT_OK_AND_ASSIGN(auto all, ReadFile(path, 12));
  EXPECT_EQ(std::string(all.begin(), all.end()), "hello, world");
  EXPECT_THAT(ReadFile(path, 11), StatusIs(absl::StatusCode::kInvalidArgument, path));
  ASSERT_OK_AND_ASSIGN(File file, File::Open(path));
  EXPECT_EQ(file.size(), 12u);
  uint8_t part[5];
  ASSERT_OK(file.ReadAt(7, part));
  EXPECT_EQ(std::string(part, part + 5), "world");
  EXPECT_THAT(file.ReadAt(8, part), StatusIs(absl::StatusCode::kOutOfRange, "ends at byte 12"));
}

TEST(File, NamesWhatCannotBeRead) {
  EXPECT_THAT(File::Open("/no/such"),
              StatusIs(absl::StatusCode::kNotFound, "/no/such: No such file or directory"));
  EXPECT_THAT(File::Open("/tmp"), StatusIs(absl::StatusCode::kInvalidArgument, "is a directory"));
  const std::string fifo = InTmp("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(File::Open(fifo), StatusIs(absl::StatusCode::kInvalidArgument, "is not a file"));
}

}  // namespace
}  // namespace atl::host
