// SPDX-License-Identifier: Apache-2.0
#include "lib/work/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/unique_fd.h"

namespace atl::work {
namespace {

class RingTest : public testing::Test {
 protected:
  void SetUp() override {
    ring_ = Ring::Create(8);
    ASSERT_NE(ring_, nullptr) << "this kernel has no io_uring, or forbids it";
    file_ = UniqueFd(memfd_create("disk", MFD_CLOEXEC));
    std::string text;
    for (unsigned i = 0; i < 1000; ++i) text += static_cast<char>('a' + i % 26);
    ASSERT_EQ(write(file_.get(), text.data(), text.size()), 1000);
  }
  void WaitAndReap(unsigned left = 0) {
    while (ring_->under_way() > left) {
      pollfd p{ring_->fd(), POLLIN, 0};
      ASSERT_EQ(poll(&p, 1, 10000), 1);
      ring_->Reap();
    }
  }
  std::string Contents(size_t at, size_t n) {
    std::string out(n, 0);
    EXPECT_EQ(pread(file_.get(), out.data(), n, static_cast<off_t>(at)), static_cast<ssize_t>(n));
    return out;
  }

  std::unique_ptr<Ring> ring_;
  UniqueFd file_;
};

TEST_F(RingTest, ReadsAndWritesPieces) {
  char a[3] = {}, b[4] = {};
  std::vector<int64_t> results;
  const auto note = [&](int64_t r) { results.push_back(r); };
  ASSERT_TRUE(ring_->Add(false, file_.get(), 2, {{a, 3}, {b, 4}}, note));
  EXPECT_TRUE(results.empty());
  ring_->Submit();
  WaitAndReap();
  EXPECT_EQ(results, std::vector<int64_t>{7});
  EXPECT_EQ(std::string(a, 3) + std::string(b, 4), "cdefghi");
  char x[] = "XYZ";
  ASSERT_TRUE(ring_->Add(true, file_.get(), 10, {{x, 2}, {x + 2, 1}}, note));
  ring_->Submit();
  WaitAndReap();
  EXPECT_EQ(results, (std::vector<int64_t>{7, 3}));
  EXPECT_EQ(Contents(9, 5), "jXYZn");
}

TEST_F(RingTest, SaysWhatWasNotTransferred) {
  char a[64];
  std::vector<int64_t> results;
  const auto note = [&](int64_t r) { results.push_back(r); };
  ASSERT_TRUE(ring_->Add(false, file_.get(), 990, {{a, 64}}, note));
  ring_->Submit();
  WaitAndReap();
  ASSERT_TRUE(ring_->Add(false, -1, 0, {{a, 64}}, note));
  ring_->Submit();
  WaitAndReap();
  EXPECT_EQ(results, (std::vector<int64_t>{10, -EBADF}));
}

TEST_F(RingTest, HasRoomForSoManyAndAddsFromWithinDone) {
  char a[8];
  unsigned done = 0;
  for (unsigned i = 0; i < 8; ++i) {
    ASSERT_TRUE(ring_->Add(false, file_.get(), i, {{a + i, 1}}, [&](int64_t) {
      // Its place is free by now.
      if (++done == 1) {
        EXPECT_TRUE(ring_->Add(false, file_.get(), 0, {{a, 1}}, [&](int64_t) { ++done; }));
      }
    }));
  }
  EXPECT_FALSE(ring_->Add(false, file_.get(), 0, {{a, 1}}, [](int64_t) {}));
  EXPECT_FALSE(ring_->Add(false, file_.get(), 0, std::vector<iovec>(1025), [](int64_t) {}));
  ring_->Submit();
  WaitAndReap(1);
  EXPECT_EQ(done, 8u);
  ring_->Submit();
  WaitAndReap();
  EXPECT_EQ(done, 9u);
}

TEST_F(RingTest, CancelWaitsAndTellsNobody) {
  char a[8];
  for (unsigned i = 0; i < 8; ++i) {
    ASSERT_TRUE(ring_->Add(true, file_.get(), 100 + i, {{a, 1}}, [](int64_t) { FAIL(); }));
    if (i == 4) ring_->Submit();
  }
  ring_->Cancel();
  EXPECT_EQ(ring_->under_way(), 0u);
  bool done = false;
  ASSERT_TRUE(ring_->Add(false, file_.get(), 0, {{a, 1}}, [&](int64_t) { done = true; }));
  ring_->Submit();
  WaitAndReap();
  EXPECT_TRUE(done);
}

// What takes over the process finds a ring that opens and connects nothing.
TEST_F(RingTest, DoesNothingElse) {
  io_uring* const raw = ring_->raw_for_test();
  const auto result = [raw](auto prepare) {
    io_uring_sqe* const entry = io_uring_get_sqe(raw);
    prepare(entry);
    io_uring_submit(raw);
    io_uring_cqe* ended = nullptr;
    EXPECT_EQ(io_uring_wait_cqe(raw, &ended), 0);
    const int out = ended->res;
    io_uring_cqe_seen(raw, ended);
    return out;
  };
  EXPECT_EQ(result([](io_uring_sqe* e) { io_uring_prep_openat(e, AT_FDCWD, "/", O_RDONLY, 0); }),
            -EACCES);
  EXPECT_EQ(result([](io_uring_sqe* e) { io_uring_prep_connect(e, 0, nullptr, 0); }), -EACCES);
  EXPECT_EQ(result([](io_uring_sqe* e) { io_uring_prep_nop(e); }), -EACCES);
  EXPECT_EQ(
      io_uring_register(static_cast<unsigned>(ring_->fd()), IORING_REGISTER_FILES, nullptr, 0),
      -EACCES);
}

}  // namespace
}  // namespace atl::work
