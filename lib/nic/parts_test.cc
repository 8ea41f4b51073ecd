// SPDX-License-Identifier: Apache-2.0
// Frames' sums and hashes, the EEPROM's wires, and transmissions that are cut into
// segments: against the plainest way to say the same.
#include <algorithm>
#include <array>
#include <string>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/nic/ethernet.h"
#include "lib/nic/microwire.h"
#include "lib/nic/testing/rig.h"
#include "lib/nic/transmission.h"

namespace atl::nic {
namespace {

TEST(EthernetTest, FrameCheckIsCrc32) {
  const std::string digits = "123456789";
  EXPECT_EQ(FrameCheck({reinterpret_cast<const uint8_t*>(digits.data()), 9}), 0xCBF43926);
  // The residue: a frame with its sequence behind it always has the same.
  for (size_t size : {14, 15, 60, 61, 1514}) {
    Bytes frame = Frame(size);
    const uint32_t check = FrameCheck(frame);
    frame.resize(size + 4);
    StoreLe(&frame[size], check);
    EXPECT_EQ(~FrameCheck(frame), 0xDEBB20E3u) << size;
  }
}

TEST(EthernetTest, MulticastHashIsTheUpperBitsOfTheCrcFirstBitFirst) {
  for (unsigned n = 0; n < 256; ++n) {
    const uint8_t address[6] = {0x01,
                                0x00,
                                0x5E,
                                static_cast<uint8_t>(n * 3),
                                static_cast<uint8_t>(n),
                                static_cast<uint8_t>(n ^ 0x5A)};
    uint32_t crc = 0xFFFFFFFF;
    for (const uint8_t byte : address) {
      for (int bit = 0; bit < 8; ++bit) {
        const bool feedback = (crc >> 31 ^ (byte >> bit & 1)) != 0;
        crc = crc << 1 ^ (feedback ? 0x04C11DB7 : 0);
      }
    }
    EXPECT_EQ(MulticastHash(address), crc >> 26);
  }
}

TEST(EthernetTest, OnesSumOfAnyLength) {
  for (size_t size = 0; size < 40; ++size) {
    Bytes bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(0xF3 - 17 * i);
    uint32_t sum = 0;
    for (size_t i = 0; i < size; ++i) sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
    while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
    EXPECT_EQ(OnesSum(bytes), sum) << size;
  }
}

TEST(EthernetTest, CheckIpv4SeesEveryFlippedBit) {
  for (const uint8_t protocol : {kProtocolTcp, kProtocolUdp}) {
    const Bytes packet = Ipv4Packet(37, protocol);
    EXPECT_TRUE(ChecksumsGood(packet));
    for (size_t bit = 14 * 8; bit < packet.size() * 8; ++bit) {
      Bytes bad = packet;
      bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      EXPECT_FALSE(ChecksumsGood(bad)) << bit;
    }
  }
}

TEST(EthernetTest, CheckIpv4OfCutOffPacketsStaysInside) {
  const Bytes packet = Ipv4Packet(10);
  for (size_t n = 14; n < packet.size(); ++n) {
    // Of its own allocation, so that a sanitizer sees the end.
    EXPECT_FALSE(ChecksumsGood(Bytes(packet.begin(), packet.begin() + static_cast<long>(n))));
  }
}

class MicrowireTest : public ::testing::Test {
 protected:
  static std::array<uint16_t, Microwire::kWords> Words() {
    std::array<uint16_t, Microwire::kWords> words{};
    for (unsigned i = 0; i < Microwire::kWords; ++i) words[i] = static_cast<uint16_t>(i * 0x0301);
    return words;
  }
  void Bit(bool data) {
    chip.Set(true, false, data);
    chip.Set(true, true, data);
  }
  void Bits(uint32_t value, unsigned count) {
    while (count-- > 0) Bit((value >> count & 1) != 0);
  }
  uint16_t Word() {
    uint16_t out = 0;
    for (int i = 0; i < 16; ++i) {
      Bit(false);
      out = static_cast<uint16_t>(out << 1 | (chip.data_out() ? 1 : 0));
    }
    return out;
  }
  void End() { chip.Set(false, false, false); }
  uint16_t ReadWord(unsigned address) {
    Bits(0x180 | address, 9);  // start, READ, address
    EXPECT_FALSE(chip.data_out());
    const uint16_t out = Word();
    End();
    return out;
  }
  Microwire chip{Words()};
};

TEST_F(MicrowireTest, ReadsWordsAndGoesOnWithTheNext) {
  EXPECT_EQ(ReadWord(7), 7 * 0x0301);
  Bits(0x180 | 63, 9);
  EXPECT_EQ(Word(), 63 * 0x0301);
  EXPECT_EQ(Word(), 0);
  EXPECT_EQ(Word(), 0x0301);
}

TEST_F(MicrowireTest, WritesOnlyWhileEnabled) {
  Bits(0x140 | 9, 9);
  Bits(0xBEEF, 16);
  End();
  EXPECT_EQ(ReadWord(9), 9 * 0x0301);
  Bits(0x130, 9);  // EWEN
  End();
  Bits(0x140 | 9, 9);
  Bits(0xBEEF, 16);
  End();
  EXPECT_TRUE(chip.data_out());  // ready
  EXPECT_EQ(ReadWord(9), 0xBEEF);
  Bits(0x1C0 | 10, 9);  // ERASE
  End();
  EXPECT_EQ(ReadWord(10), 0xFFFF);
  Bits(0x100, 9);  // EWDS
  End();
  Bits(0x110, 9);  // WRAL
  Bits(0, 16);
  End();
  EXPECT_EQ(ReadWord(9), 0xBEEF);
}

class TransmissionTest : public ::testing::Test {
 protected:
  Transmission out{[this](const net::Frame& f) {
                     if (room == 0) return false;
                     --room;
                     EXPECT_TRUE(net::WellFormed(f));
                     sent.emplace_back(f.bytes.begin(), f.bytes.end());
                     work = f.work;
                     return true;
                   },
                   [this] { return offloads; }};
  void Add(const Bytes& bytes) {
    const std::span<uint8_t> to = out.Add(bytes.size());
    ASSERT_EQ(to.size(), bytes.size());
    std::copy(bytes.begin(), bytes.end(), to.begin());
  }
  // For a TCP packet of Ipv4Packet(); segments of `segment` bytes.
  static Transmission::Plan TcpPlan(uint16_t segment) {
    Transmission::Plan plan;
    plan.ip = {true, 14, 24, 34};
    plan.payload = {true, 34, 50, 0};
    plan.segment = segment;
    plan.headers = segment == 0 ? 0 : 54;
    return plan;
  }
  static Bytes Unfinished(size_t payload, bool segments) {
    Bytes packet = Ipv4Packet(payload);
    LeaveChecksum(packet, !segments);
    StoreBe<uint16_t>(&packet[24], 0);
    return packet;
  }
  unsigned room = ~0u;
  std::vector<Bytes> sent;
  net::Work work;
  net::Offloads offloads;
};

TEST_F(TransmissionTest, InsertsChecksums) {
  for (const size_t payload : {0, 1, 6, 100, 1460}) {
    Add(Unfinished(payload, false));
    EXPECT_TRUE(out.Send(TcpPlan(0)));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], Ipv4Packet(payload));
    sent.clear();
  }
}

// Each segment is a right packet; put together they are the whole one.
void ExpectSegments(const std::vector<Bytes>& segments, size_t payload, uint16_t size) {
  const Bytes whole = Ipv4Packet(payload);
  ASSERT_EQ(segments.size(), (payload + size - 1) / size);
  size_t done = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Bytes& s = segments[i];
    ASSERT_GE(s.size(), 54u);
    const size_t n = s.size() - 54;
    EXPECT_TRUE(ChecksumsGood(s)) << i;
    EXPECT_EQ(LoadBe<uint16_t>(&s[16]), s.size() - 14);
    EXPECT_EQ(LoadBe<uint16_t>(&s[18]), 0x1234 + i);
    EXPECT_EQ(LoadBe<uint32_t>(&s[38]), static_cast<uint32_t>(0xFFFFFF00 + done));
    EXPECT_EQ(s[47], i + 1 == segments.size() ? 0x19 : 0x10);
    EXPECT_TRUE(std::equal(s.begin() + 54, s.end(), whole.begin() + 54 + static_cast<long>(done)));
    done += n;
  }
  EXPECT_EQ(done, payload);
}

TEST_F(TransmissionTest, CutsSegments) {
  for (const size_t payload : {49, 1460, 1461, 4000, 65000}) {
    for (const uint16_t size : {48, 536, 1460}) {
      Add(Unfinished(payload, true));
      EXPECT_TRUE(out.Send(TcpPlan(size)));
      ExpectSegments(sent, payload, size);
      EXPECT_EQ(out.TakeCount(), sent.size());
      sent.clear();
    }
  }
}

TEST_F(TransmissionTest, WaitsBetweenSegments) {
  Add(Unfinished(10000, true));
  room = 2;
  EXPECT_FALSE(out.Send(TcpPlan(1000)));
  EXPECT_TRUE(out.busy());
  EXPECT_TRUE(out.Add(10).empty());
  while (out.busy()) {
    room = 3;
    out.Continue();
  }
  ExpectSegments(sent, 10000, 1000);
}

TEST_F(TransmissionTest, LeavesWorkToWhoCanDoIt) {
  offloads.checksum = true;
  Add(Unfinished(100, false));
  EXPECT_TRUE(out.Send(TcpPlan(0)));
  EXPECT_TRUE(work.needs_checksum);
  EXPECT_EQ(work.checksum_start, 34);
  EXPECT_EQ(work.checksum_offset, 16);
  ASSERT_EQ(sent.size(), 1u);
  // IP's is there; TCP's is as virtio and the tap want it.
  EXPECT_EQ(LoadBe<uint16_t>(&sent[0][24]), LoadBe<uint16_t>(&Ipv4Packet(100)[24]));
  Bytes expected = Ipv4Packet(100);
  LeaveChecksum(expected, true);
  EXPECT_EQ(sent[0], expected);

  sent.clear();
  Add(Unfinished(5000, true));
  EXPECT_TRUE(out.Send(TcpPlan(1000)));
  EXPECT_EQ(sent.size(), 5u);  // no segmentation there
  EXPECT_FALSE(work.needs_checksum);

  sent.clear();
  offloads.tcp4 = true;
  Add(Unfinished(5000, true));
  EXPECT_TRUE(out.Send(TcpPlan(1000)));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(work.segmentation, net::Segmentation::kTcp4);
  EXPECT_EQ(work.segment_size, 1000);
  EXPECT_EQ(work.header_size, 54);
  expected = Ipv4Packet(5000);
  LeaveChecksum(expected, true);
  EXPECT_EQ(sent[0], expected);
}

TEST_F(TransmissionTest, OthersThatChangeGetNoHalfDoneFrame) {
  offloads.checksum = offloads.tcp4 = true;
  room = 0;
  Add(Unfinished(5000, true));
  EXPECT_FALSE(out.Send(TcpPlan(1000)));
  offloads = {};
  room = ~0u;
  EXPECT_TRUE(out.Continue());
  EXPECT_TRUE(sent.empty());  // lost, as port.h has it
  Add(Unfinished(100, false));
  EXPECT_TRUE(out.Send(TcpPlan(0)));
  EXPECT_EQ(sent.size(), 1u);
}

TEST_F(TransmissionTest, TagsEveryFrame) {
  Transmission::Plan plan = TcpPlan(1000);
  plan.tagged = true;
  plan.tag = 0x6123;
  Add(Unfinished(2500, true));
  EXPECT_TRUE(out.Send(plan));
  ASSERT_EQ(sent.size(), 3u);
  for (const Bytes& s : sent) {
    EXPECT_EQ(LoadBe<uint32_t>(&s[12]), 0x81006123u);
    EXPECT_TRUE(ChecksumsGood(s));
  }
}

// Every place of a plan is the guest's. What lies outside is not done.
TEST_F(TransmissionTest, PlansThatPointOutside) {
  const uint16_t kPlaces[] = {0, 1, 13, 33, 59, 60, 61, 255, 0x7FFF, 0xFFFF};
  for (const uint16_t start : kPlaces) {
    for (const uint16_t at : kPlaces) {
      for (const uint16_t headers : {0, 14, 59, 60, 255}) {
        Transmission::Plan plan;
        plan.ip = plan.payload = {true, start, at, at};
        plan.headers = headers;
        plan.segment = headers == 0 ? 0 : 48;
        for (const bool flag : {false, true}) {
          plan.ipv6 = plan.udp = flag;
          offloads.checksum = offloads.tcp4 = offloads.tcp6 = flag;
          Add(Bytes(60, 0xFF));
          EXPECT_TRUE(out.Send(plan));
          EXPECT_EQ(out.size(), 0u);
        }
      }
    }
  }
}

TEST_F(TransmissionTest, FramesThatAreTooLongAreDropped) {
  EXPECT_FALSE(out.Add(Transmission::kMaxBytes).empty());
  EXPECT_TRUE(out.Add(1).empty());
  EXPECT_TRUE(out.too_long());
  EXPECT_TRUE(out.Send({}));
  EXPECT_TRUE(sent.empty());
  EXPECT_FALSE(out.Add(60).empty());
  EXPECT_TRUE(out.Send({}));
  EXPECT_EQ(sent.size(), 1u);
}

// One frame of 64 KiB in segments of a byte would be 65536 frames.
TEST_F(TransmissionTest, SegmentsThatAreNoneAreDropped) {
  Add(Unfinished(60000, true));
  EXPECT_TRUE(out.Send(TcpPlan(1)));
  EXPECT_TRUE(sent.empty());
}

}  // namespace
}  // namespace atl::nic
