// SPDX-License-Identifier: Apache-2.0
#include "lib/net/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/net/testing/fake_port.h"
#include "lib/net/vnet_header.h"

namespace atl::net {
namespace {

std::vector<uint8_t> Bytes(size_t n, uint8_t seed) {
  std::vector<uint8_t> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(seed + i * 7);
  return out;
}
std::vector<uint8_t> Record(const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> out(4);
  StoreBe<uint32_t>(out.data(), static_cast<uint32_t>(bytes.size()));
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

class StreamTest : public testing::Test {
 protected:
  void Make(StreamOptions options = {.name = "test"}) {
    ASSERT_OK_AND_ASSIGN(loop_, host::EventLoop::Create());
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    peer_ = UniqueFd(ends[1]);
    ASSERT_EQ(fcntl(peer_.get(), F_SETFL, O_NONBLOCK), 0);
    ASSERT_OK_AND_ASSIGN(stream_, NewStream(UniqueFd(ends[0]), options));
    port_.Connect(stream_.get());
    ASSERT_OK(stream_->Start(
        *loop_, port_, [this](absl::string_view text) { warnings_.push_back(std::string(text)); }));
  }
  void TearDown() override { stream_.reset(); }
  void RunLoop(int rounds = 10) {
    for (int i = 0; i < rounds; ++i) {
      loop_->Post([this] { loop_->Quit(); });
      loop_->Run();
    }
  }
  void Write(const std::vector<uint8_t>& bytes) {
    ASSERT_EQ(write(peer_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  std::vector<uint8_t> ReadAll() {
    std::vector<uint8_t> out, part(1 << 16);
    for (;;) {
      const ssize_t n = read(peer_.get(), part.data(), part.size());
      if (n <= 0) return out;
      out.insert(out.end(), part.begin(), part.begin() + n);
    }
  }

  std::unique_ptr<host::EventLoop> loop_;
  FakePort port_;
  UniqueFd peer_;
  std::unique_ptr<Backend> stream_;
  std::vector<std::string> warnings_;
};

TEST_F(StreamTest, FramesStandBehindTheirLength) {
  Make();
  const std::vector<uint8_t> frame = Bytes(60, 1);
  EXPECT_TRUE(stream_->Receive({frame, {}}));
  EXPECT_EQ(ReadAll(), Record(frame));
  Write(Record(Bytes(1514, 2)));
  Write(Record(Bytes(kMaxPlainFrame, 3)));
  RunLoop();
  ASSERT_EQ(port_.sent.size(), 2u);
  EXPECT_EQ(port_.sent[0].bytes, Bytes(1514, 2));
  EXPECT_EQ(port_.sent[1].bytes, Bytes(kMaxPlainFrame, 3));
}

TEST_F(StreamTest, AnyPiecesMakeTheSameFrames) {
  Make();
  std::vector<uint8_t> all;
  for (uint8_t i = 0; i < 20; ++i) {
    const std::vector<uint8_t> record = Record(Bytes(14 + i * 17u, i));
    all.insert(all.end(), record.begin(), record.end());
  }
  for (size_t at = 0, step = 1; at < all.size(); at += step, step = step % 23 + 1) {
    step = std::min(step, all.size() - at);
    Write({all.begin() + static_cast<long>(at), all.begin() + static_cast<long>(at + step)});
    RunLoop(1);
  }
  RunLoop();
  ASSERT_EQ(port_.sent.size(), 20u);
  for (uint8_t i = 0; i < 20; ++i) EXPECT_EQ(port_.sent[i].bytes, Bytes(14 + i * 17u, i));
}

TEST_F(StreamTest, AGuestWithoutRoomStopsTheReading) {
  Make();
  port_.room = 1;
  for (uint8_t i = 0; i < 3; ++i) Write(Record(Bytes(100, i)));
  RunLoop();
  EXPECT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.refused, 1u) << "asked once, not all the time";
  port_.MakeRoom(10);
  RunLoop();
  ASSERT_EQ(port_.sent.size(), 3u);
  EXPECT_EQ(port_.sent[2].bytes, Bytes(100, 2));
}

TEST_F(StreamTest, APeerThatDoesNotReadStopsTheGuest) {
  Make();
  unsigned taken = 0;
  const std::vector<uint8_t> frame = Bytes(9000, 5);
  while (taken < 10000 && stream_->Receive({frame, {}})) ++taken;
  ASSERT_LT(taken, 10000u);
  ASSERT_GT(taken, 1u);
  EXPECT_FALSE(stream_->Receive({frame, {}}));
  RunLoop();
  EXPECT_EQ(port_.ready_calls, 0u);
  std::vector<uint8_t> all;
  for (int i = 0; i < 100; ++i) {
    const std::vector<uint8_t> part = ReadAll();
    all.insert(all.end(), part.begin(), part.end());
    RunLoop();
  }
  EXPECT_GE(port_.ready_calls, 1u);
  const std::vector<uint8_t> record = Record(frame);
  ASSERT_EQ(all.size(), taken * record.size()) << "whole records, nothing lost or torn";
  for (unsigned i = 0; i < taken; ++i) {
    ASSERT_TRUE(std::equal(record.begin(), record.end(), all.begin() + long(i * record.size())));
  }
  EXPECT_TRUE(stream_->Receive({frame, {}}));
}

TEST_F(StreamTest, AnAnnouncementOfTooMuchEndsIt) {
  Make();
  Write(Record(Bytes(64, 1)));
  Write({0xFF, 0xFF, 0xFF, 0xFF});
  Write(Record(Bytes(64, 2)));
  RunLoop();
  EXPECT_EQ(port_.sent.size(), 1u);
  EXPECT_FALSE(port_.link);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("4294967295 bytes"), std::string::npos) << warnings_[0];
  EXPECT_TRUE(stream_->Receive({Bytes(64, 1), {}})) << "into nothing";
}

TEST_F(StreamTest, EmptyAndShortRecordsAreNoFrames) {
  Make();
  Write(Record({}));
  Write(Record(Bytes(13, 1)));
  Write(Record(Bytes(14, 2)));
  RunLoop();
  EXPECT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.malformed, 2u);
}

TEST_F(StreamTest, APeerThatGoesTakesTheLinkWithIt) {
  Make();
  peer_.reset();
  RunLoop();
  EXPECT_FALSE(port_.link);
  EXPECT_EQ(warnings_.size(), 1u);
}

TEST_F(StreamTest, TellsOnceWhatMayBeLeftToThisSide) {
  Make({.name = "test", .vnet_header = true, .accepts = {.checksum = true, .tcp4 = true}});
  port_.peer_offloads = {.checksum = true, .tcp4 = true};
  stream_->OffloadsChanged();
  std::vector<uint8_t> record(4 + kVnetHeaderBytes);
  record[3] = kVnetHeaderBytes;
  record[4] = 1 | 2;
  EXPECT_EQ(ReadAll(), record);
  stream_->OffloadsChanged();
  port_.peer_offloads = {};
  stream_->OffloadsChanged();
  record[4] = 0;
  EXPECT_EQ(ReadAll(), record);
}

TEST_F(StreamTest, WorkTravelsInAHeaderWhereAgreed) {
  Make({.name = "test", .vnet_header = true, .accepts = {.checksum = true, .tcp4 = true}});
  port_.peer_offloads = {.checksum = true, .tcp4 = true};
  EXPECT_TRUE(stream_->offloads().tcp4);
  Work work;
  work.needs_checksum = true;
  work.checksum_start = 34;
  work.checksum_offset = 16;
  work.segmentation = Segmentation::kTcp4;
  work.segment_size = 1448;
  work.header_size = 66;
  const std::vector<uint8_t> frame = Bytes(kMaxFrame, 9);
  ASSERT_TRUE(stream_->Receive({frame, work}));
  std::vector<uint8_t> record = ReadAll();
  ASSERT_EQ(record.size(), 4 + kVnetHeaderBytes + frame.size());
  Write(record);
  RunLoop();
  ASSERT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.sent[0].bytes, frame);
  const Work& back = port_.sent[0].work;
  EXPECT_TRUE(back.needs_checksum);
  EXPECT_EQ(back.checksum_start, 34);
  EXPECT_EQ(back.checksum_offset, 16);
  EXPECT_EQ(back.segmentation, Segmentation::kTcp4);
  EXPECT_EQ(back.segment_size, 1448);
  EXPECT_EQ(back.header_size, 66);
  // Less than a header, and a segmentation that there is not.
  Write(Record(Bytes(5, 1)));
  record[4 + 1] = 0x7E;
  Write(record);
  RunLoop();
  EXPECT_EQ(port_.sent.size(), 1u);
  EXPECT_TRUE(port_.link);
}

TEST(Stream, WantsAStreamSocket) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(NewStream(UniqueFd(ends[0]), {.name = "a pipe"}).ok());
  EXPECT_FALSE(NewStream(UniqueFd(ends[1]), {.name = "a pipe"}).ok());
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
  UniqueFd other(ends[1]);
  EXPECT_THAT(NewStream(UniqueFd(ends[0]), {.name = "datagrams"}),
              StatusIs(absl::StatusCode::kInvalidArgument, "datagrams: no stream socket"));
}

}  // namespace
}  // namespace atl::net
