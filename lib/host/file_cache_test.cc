// SPDX-License-Identifier: Apache-2.0
#include "lib/host/file_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

using absl::StatusCode;
using Bytes = std::vector<uint8_t>;

constexpr size_t kHeader = 64;

Bytes Pattern(size_t size, uint8_t seed) {
  Bytes out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(seed + i * i / 7);
  return out;
}

class FileCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/cacheXXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name + "/one/two";
  }

  absl::Status Store(const std::string& name, const Bytes& bytes, uint64_t max = 1 << 20) {
    const std::span<const uint8_t> all(bytes);
    const size_t half = std::min<size_t>(bytes.size(), 13);
    const std::span<const uint8_t> parts[] = {all.first(half), all.subspan(half)};
    return FileCache(folder_, max).Store(name, parts);
  }
  absl::StatusOr<Bytes> Load(const std::string& name, uint64_t max = 1 << 20) {
    Bytes out;
    absl::Status status = FileCache(folder_, max).Load(name, [&](uint64_t size) {
      out.resize(size);
      return std::span<uint8_t>(out);
    });
    if (!status.ok()) return status;
    return out;
  }
  std::string Path(const std::string& name) { return folder_ + "/" + name; }
  std::set<std::string> Files() {
    std::set<std::string> out;
    DIR* list = opendir(folder_.c_str());
    while (const dirent* d = readdir(list)) out.insert(d->d_name);
    closedir(list);
    out.erase(".");
    out.erase("..");
    return out;
  }
  void Patch(const std::string& name, off_t at, uint8_t flip) {
    const int fd = open(Path(name).c_str(), O_RDWR);
    uint8_t byte = 0;
    ASSERT_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= flip;
    ASSERT_EQ(pwrite(fd, &byte, 1, at), 1);
    close(fd);
  }

  std::string folder_;
};

TEST_F(FileCacheTest, GivesBackWhatWasStored) {
  EXPECT_THAT(Load("a").status(), StatusIs(StatusCode::kNotFound, "one/two"));
  for (const size_t size : {0u, 1u, 31u, 32u, 33u, 100'000u}) {
    const Bytes bytes = Pattern(size, static_cast<uint8_t>(size));
    EXPECT_OK(Store("a", bytes));
    ASSERT_OK_AND_ASSIGN(const Bytes got, Load("a"));
    EXPECT_EQ(got, bytes) << size;
  }
  EXPECT_THAT(Load("b").status(), StatusIs(StatusCode::kNotFound, "/b"));
  struct stat st;
  ASSERT_EQ(stat(folder_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  ASSERT_EQ(stat(Path("a").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_THAT(Files(), testing::ElementsAre("a"));
}

TEST_F(FileCacheTest, EveryDamagedByteIsSeenAndTheEntryGoes) {
  const Bytes bytes = Pattern(200, 1);
  for (size_t at = 0; at < kHeader + bytes.size(); ++at) {
    if (at >= 24 && at < kHeader) continue;  // reserved
    EXPECT_OK(Store("a", bytes));
    Patch("a", static_cast<off_t>(at), static_cast<uint8_t>(1u << at % 8));
    EXPECT_THAT(Load("a").status(), StatusIs(StatusCode::kDataLoss, "/a")) << at;
    EXPECT_THAT(Files(), testing::IsEmpty());
  }
}

TEST_F(FileCacheTest, EveryOtherLengthIsSeen) {
  const Bytes bytes = Pattern(100, 1);
  for (off_t size = 0; size < 170; ++size) {
    if (size == 164) continue;
    EXPECT_OK(Store("a", bytes));
    ASSERT_EQ(truncate(Path("a").c_str(), size), 0);
    EXPECT_THAT(Load("a").status(), StatusIs(StatusCode::kDataLoss, "/a")) << size;
  }
}

TEST_F(FileCacheTest, WhatOthersMayWriteIsNotUsed) {
  EXPECT_OK(Store("a", Pattern(10, 1)));
  chmod(Path("a").c_str(), 0620);
  EXPECT_THAT(Load("a").status(), StatusIs(StatusCode::kPermissionDenied, "others"));
  chmod(Path("a").c_str(), 0600);
  EXPECT_OK(Load("a").status());
  chmod(folder_.c_str(), 0777);
  EXPECT_THAT(Load("a").status(), StatusIs(StatusCode::kPermissionDenied, "others"));
  EXPECT_THAT(Store("b", Pattern(10, 1)), StatusIs(StatusCode::kPermissionDenied, "others"));
  chmod(folder_.c_str(), 0700);
  // Where this user may give files away: not in every sandbox.
  if (chown(Path("a").c_str(), 12345, 12345) == 0) {
    EXPECT_THAT(Load("a").status(), StatusIs(StatusCode::kPermissionDenied, "others"));
  }
}

TEST_F(FileCacheTest, LinksAndOtherThingsAreNotFollowed) {
  EXPECT_OK(Store("a", Pattern(10, 1)));
  ASSERT_EQ(symlink("a", Path("link").c_str()), 0);
  EXPECT_FALSE(Load("link").ok());
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_FALSE(Load("fifo").ok());
  ASSERT_EQ(mkdir(Path("folder").c_str(), 0700), 0);
  EXPECT_FALSE(Load("folder").ok());
  for (const char* name : {"", ".", "..", "../a", "x/y", ".hidden", "new.1", "a b"}) {
    EXPECT_THAT(Load(name).status(), StatusIs(StatusCode::kInvalidArgument, "name")) << name;
    EXPECT_THAT(Store(name, {}), StatusIs(StatusCode::kInvalidArgument, "name")) << name;
  }
  const std::string other = folder_ + "-link";
  ASSERT_EQ(symlink(folder_.c_str(), other.c_str()), 0);
  folder_ = other;
  EXPECT_FALSE(Load("a").ok());
}

TEST_F(FileCacheTest, LeastRecentlyUsedEntriesMakeRoom) {
  const uint64_t max = 3 * (1000 + kHeader);
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_OK(Store(name, Pattern(1000, 1), max));
    usleep(20'000);  // the clock of file times ticks every few milliseconds
  }
  EXPECT_OK(Load("a", max).status());
  EXPECT_OK(Store("d", Pattern(1000, 2), max));
  EXPECT_THAT(Files(), testing::ElementsAre("a", "c", "d"));
  EXPECT_THAT(Store("e", Pattern(max + 1, 2), max),
              StatusIs(StatusCode::kResourceExhausted, "larger"));
  EXPECT_THAT(Files(), testing::ElementsAre("a", "c", "d"));
}

TEST_F(FileCacheTest, WhatADeadWriterLeftIsSweptAndALiveOneIsNot) {
  EXPECT_OK(Store("a", Pattern(10, 1)));
  std::ofstream(Path("new.1.1")) << "half";
  std::ofstream(Path("new.2.2")) << "half";
  const timespec old[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("new.1.1").c_str(), old, 0), 0);
  EXPECT_OK(Store("b", Pattern(10, 1)));
  EXPECT_THAT(Files(), testing::ElementsAre("a", "b", "new.2.2"));
}

TEST_F(FileCacheTest, ManyWritersLeaveAWholeEntry) {
  std::vector<std::thread> threads;
  for (uint8_t i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      for (int round = 0; round < 20; ++round) {
        EXPECT_OK(Store("a", Pattern(5000, i)));
        auto got = Load("a");
        EXPECT_OK(got.status());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_THAT(Files(), testing::ElementsAre("a"));
}

TEST_F(FileCacheTest, AFolderThatCannotBeMadeIsAnError) {
  folder_ = "/proc/self/no-such/folder";
  EXPECT_FALSE(Store("a", Pattern(10, 1)).ok());
  EXPECT_FALSE(Load("a").ok());
}

TEST(CacheFolder, ComesFromTheEnvironment) {
  setenv("HOME", "/home/me", 1);
  unsetenv("XDG_CACHE_HOME");
  unsetenv("ATOLL_CACHE");
  EXPECT_EQ(CacheFolder(), "/home/me/.cache/atoll");
  setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(CacheFolder(), "/x/atoll");
  setenv("ATOLL_CACHE", "/own", 1);
  EXPECT_EQ(CacheFolder(), "/own");
  setenv("ATOLL_CACHE", "", 1);
  EXPECT_EQ(CacheFolder(), "");
  unsetenv("ATOLL_CACHE");
  setenv("XDG_CACHE_HOME", "relative", 1);
  unsetenv("HOME");
  EXPECT_EQ(CacheFolder(), "");
}

}  // namespace
}  // namespace atl::host
