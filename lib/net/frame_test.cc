// SPDX-License-Identifier: Apache-2.0
#include "lib/net/frame.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "lib/base/status_matchers.h"
#include "lib/net/mac.h"
#include "lib/net/testing/fake_port.h"

namespace atl::net {
namespace {

std::vector<uint8_t> Bytes(size_t n) { return std::vector<uint8_t>(n, 0x5A); }

TEST(Frame, LengthHasItsBounds) {
  const std::vector<uint8_t> bytes = Bytes(kMaxFrame + 1);
  const auto well = [&bytes](size_t n, Work work = {}) {
    return WellFormed({std::span(bytes).first(n), work});
  };
  EXPECT_FALSE(well(0));
  EXPECT_FALSE(well(kEthernetHeader - 1));
  EXPECT_TRUE(well(kEthernetHeader));
  EXPECT_TRUE(well(kMaxPlainFrame));
  EXPECT_FALSE(well(kMaxPlainFrame + 1));
  Work gso;
  gso.needs_checksum = true;
  gso.segmentation = Segmentation::kTcp4;
  gso.segment_size = 1448;
  EXPECT_TRUE(well(kMaxFrame, gso));
  EXPECT_FALSE(well(kMaxFrame + 1, gso));
  gso.segment_size = 0;
  EXPECT_FALSE(well(kMaxFrame, gso)) << "segments of nothing are without end";
}

TEST(Frame, ChecksumLiesWithin) {
  const std::vector<uint8_t> bytes = Bytes(64);
  Work work;
  work.needs_checksum = true;
  work.checksum_start = 34;
  work.checksum_offset = 28;
  EXPECT_TRUE(WellFormed({bytes, work}));
  work.checksum_offset = 29;
  EXPECT_FALSE(WellFormed({bytes, work}));
  work.checksum_start = 0xFFFF;
  work.checksum_offset = 0xFFFF;
  EXPECT_FALSE(WellFormed({bytes, work}));
}

TEST(Frame, AllowedWork) {
  Work work;
  EXPECT_TRUE(Allows({}, work));
  work.checksum_valid = true;
  EXPECT_TRUE(Allows({}, work)) << "a hint costs nothing";
  work.needs_checksum = true;
  EXPECT_FALSE(Allows({}, work));
  EXPECT_TRUE(Allows({.checksum = true}, work));
  work.segmentation = Segmentation::kTcp6;
  EXPECT_FALSE(Allows({.checksum = true, .tcp4 = true}, work));
  EXPECT_TRUE(Allows({.checksum = true, .tcp6 = true}, work));
  work.ecn = true;
  EXPECT_FALSE(Allows({.checksum = true, .tcp6 = true}, work));
  EXPECT_EQ(Common({.checksum = true, .tcp4 = true}, {.checksum = true, .udp4 = true}),
            Offloads{.checksum = true});
}

TEST(Mac, ParsesWhatItPrints) {
  ASSERT_OK_AND_ASSIGN(const MacAddress mac, ParseMac("52:54:00:12:34:56"));
  EXPECT_EQ(mac, (MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0x56}));
  ASSERT_OK_AND_ASSIGN(const MacAddress dashes, ParseMac("0-0-0-0-99-AB"));
  EXPECT_EQ(dashes, (MacAddress{0, 0, 0, 0, 0x99, 0xAB}));
  EXPECT_EQ(FormatMac({0, 0, 0, 0, 0x99, 1}), "00:00:00:00:99:01");
  for (const char* wrong :
       {"", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5g", "525400123456",
        "52:54:00:12:34:567", "01:00:5e:00:00:01", "00:00:00:00:00:00", "52:54::12:34:56"}) {
    EXPECT_FALSE(ParseMac(wrong).ok()) << wrong;
  }
}

TEST(Mac, DefaultsAreStableLocalAndDistinct) {
  EXPECT_EQ(MacFor("web", 0), MacFor("web", 0));
  std::set<MacAddress> all;
  for (int vm = 0; vm < 200; ++vm) {
    for (unsigned index = 0; index < 4; ++index) {
      const MacAddress mac = MacFor("vm-" + std::to_string(vm), index);
      EXPECT_EQ(mac[0] & 3, 2) << FormatMac(mac);
      all.insert(mac);
    }
  }
  EXPECT_EQ(all.size(), 800u);
}

class Sink : public Client {
 public:
  bool Receive(const Frame& frame) override {
    if (room == 0) return false;
    --room;
    last.assign(frame.bytes.begin(), frame.bytes.end());
    return true;
  }
  unsigned room = 0;
  std::vector<uint8_t> last;
};

TEST(FakePort, LoopsBackWithBackPressure) {
  FakePort port;
  Sink sink;
  port.Connect(&sink);
  const std::vector<uint8_t> bytes = Bytes(60);
  EXPECT_TRUE(port.Send({bytes, {}}));
  EXPECT_FALSE(port.DeliverSent());
  sink.room = 1;
  EXPECT_TRUE(port.DeliverSent());
  EXPECT_EQ(sink.last, bytes);
  port.room = 0;
  EXPECT_FALSE(port.Send({bytes, {}}));
  EXPECT_TRUE(port.Send({std::span(bytes).first(3), {}})) << "dropped, not refused";
  EXPECT_EQ(port.malformed, 1u);
}

}  // namespace
}  // namespace atl::net
