// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/progress.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace atl::cli {
namespace {

// A file in memory that a Progress writes to.
class Sink {
 public:
  Sink() : file_(open_memstream(&text_, &size_)) {}
  ~Sink() {
    fclose(file_);
    free(text_);
  }
  FILE* file() { return file_; }
  std::string text() {
    fflush(file_);
    return std::string(text_, size_);
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  FILE* file_;
};

TEST(Progress, PercentFormIsThatOfQemuImg) {
  Sink sink;
  double now = 100;
  {
    Progress p(ProgressForm::kPercent, sink.file(), "x", [&] { return now; });
    p.Update(0, 8);
    p.Update(1, 8);  // within the same tenth of a second
    now += 0.2;
    p.Update(4, 8);
    p.Finish();
    p.Finish();
  }
  EXPECT_EQ(sink.text(), "    (0.00/100%)\r    (50.00/100%)\r    (100.00/100%)\r\n");
}

TEST(Progress, AnInterruptedOneDoesNotSayAll) {
  Sink sink;
  {
    Progress(ProgressForm::kPercent, sink.file(), "x", [] { return 0.0; }).Update(1, 4);
  }
  EXPECT_EQ(sink.text(), "    (25.00/100%)\r\n");
}

TEST(Progress, JsonLines) {
  Sink sink;
  {
    Progress p(ProgressForm::kJson, sink.file(), "con\"vert", [] { return 0.0; });
    p.Update(1, 3);
    p.Finish();
  }
  EXPECT_EQ(
      sink.text(),
      "{\"progress\": {\"what\": \"con\\\"vert\", \"done\": 1, \"total\": 3, \"percent\": 33.33}}\n"
      "{\"progress\": {\"what\": \"con\\\"vert\", \"done\": 3, \"total\": 3, \"percent\": "
      "100.00}}\n");
}

TEST(Progress, NoBarWhereNobodyLooks) {
  Sink sink;
  {
    double now = 0;
    Progress p(ProgressForm::kAuto, sink.file(), "x", [&] { return now; });
    now = 60;
    p.Update(1, 2);
    p.Finish();
  }
  EXPECT_EQ(sink.text(), "");
}

// The bar needs a terminal: the far end of a pseudo-terminal reads it.
TEST(Progress, BarOnATerminalAfterASecond) {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(master, 0);
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  FILE* tty = fopen(ptsname(master), "w");
  ASSERT_NE(tty, nullptr);
  double now = 0;
  {
    Progress quick(ProgressForm::kAuto, tty, "quick", [&] { return now; });
    now = 0.9;
    quick.Update(1, 2);
    quick.Finish();
  }
  {
    Progress p(ProgressForm::kAuto, tty, "slow", [&] { return now; });
    now += 2;
    p.Update(1, 2);
    p.Finish();
  }
  fclose(tty);
  // Each write may arrive on its own; the end is EIO, as the terminal is closed.
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(master, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(master);
  EXPECT_FALSE(absl::StrContains(text, "quick")) << text;
  EXPECT_TRUE(
      absl::StrContains(text, "slow [####################....................]  50 %  2 s left"))
      << text;
  EXPECT_TRUE(absl::StrContains(text, "100 %")) << text;
}

TEST(Progress, ManyThreads) {
  Sink sink;
  {
    Progress p(ProgressForm::kJson, sink.file(), "x");
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (uint64_t n = 0; n < 2000; ++n) p.Update(n, 2000);
      });
    }
    for (std::thread& t : threads) t.join();
    p.Finish();
  }
  EXPECT_TRUE(absl::EndsWith(sink.text(), "\"percent\": 100.00}}\n"));
}

}  // namespace
}  // namespace atl::cli
