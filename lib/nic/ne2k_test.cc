// SPDX-License-Identifier: Apache-2.0
// The NE2000 as drivers use it and as hostile guests do.
#include <algorithm>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/nic/testing/rig.h"

namespace atl::nic {
namespace {

// Registers of page 0, and two of page 1.
enum : uint32_t {
  CR = 0,
  PSTART = 1,
  PSTOP = 2,
  BNRY = 3,
  TPSR = 4,
  TSR = 4,
  TBCR0 = 5,
  TBCR1 = 6,
  ISR = 7,
  RSAR0 = 8,
  RSAR1 = 9,
  RBCR0 = 10,
  RBCR1 = 11,
  RCR = 12,
  TCR = 13,
  DCR = 14,
  IMR = 15,
  PAR0 = 1,
  CURR = 7,
  MAR0 = 8,
  DATA = 0x10,
  RESET = 0x1F,
};
constexpr uint8_t kStop = 0x21, kStart = 0x22, kPage1 = 0x40;
constexpr unsigned kRingStart = 0x46, kRingStop = 0x80;

class Ne2kTest : public ::testing::Test {
 protected:
  void Out(uint32_t port, unsigned value) { rig.Write(port, value, 1); }
  unsigned In(uint32_t port) { return rig.Read(port, 1); }
  void Remote(uint16_t address, uint16_t count, uint8_t command) {
    Out(CR, kStart);
    Out(RBCR0, count & 0xFF);
    Out(RBCR1, count >> 8);
    Out(RSAR0, address & 0xFF);
    Out(RSAR1, address >> 8);
    Out(CR, command | 0x02);
  }
  Bytes ReadMemory(uint16_t address, uint16_t count, unsigned width = 2) {
    Remote(address, count, 0x08);
    Bytes out;
    while (out.size() < count) {
      const uint32_t v = rig.Read(DATA, width);
      for (unsigned i = 0; i < width; ++i) out.push_back(static_cast<uint8_t>(v >> 8 * i));
    }
    out.resize(count);
    return out;
  }
  void WriteMemory(uint16_t address, Bytes bytes, unsigned width = 2) {
    bytes.resize((bytes.size() + width - 1) / width * width);
    Remote(address, static_cast<uint16_t>(bytes.size()), 0x10);
    for (size_t at = 0; at < bytes.size(); at += width) {
      uint32_t v = 0;
      for (unsigned i = 0; i < width; ++i) v |= uint32_t{bytes[at + i]} << 8 * i;
      rig.Write(DATA, v, width);
    }
  }
  // As Linux' 8390.c starts it.
  void Start(uint8_t rcr = 0x04) {
    Out(CR, kStop);
    Out(DCR, 0x49);
    Out(RBCR0, 0);
    Out(RBCR1, 0);
    Out(RCR, 0x20);
    Out(TCR, 0x02);
    Out(TPSR, 0x40);
    Out(PSTART, kRingStart);
    Out(BNRY, kRingStop - 1);
    Out(PSTOP, kRingStop);
    Out(ISR, 0xFF);
    Out(IMR, 0);
    Out(CR, kPage1 | kStop);
    for (unsigned i = 0; i < 6; ++i) Out(PAR0 + i, kMac[i]);
    Out(CURR, kRingStart);
    Out(CR, kStart);
    Out(TCR, 0);
    Out(RCR, rcr);
    Out(IMR, 0x3F);
  }
  unsigned Current() {
    Out(CR, kPage1 | kStart);
    const unsigned page = In(CURR);
    Out(CR, kStart);
    return page;
  }
  std::vector<Bytes> ReadRing() {
    std::vector<Bytes> out;
    unsigned boundary = In(BNRY);
    while (out.size() < 1000) {
      unsigned page = boundary + 1;
      if (page >= kRingStop) page = kRingStart;
      if (page == Current()) break;
      const Bytes header = ReadMemory(static_cast<uint16_t>(page << 8), 4);
      EXPECT_EQ(header[0] & 1, 1);
      const uint16_t count = LoadLe<uint16_t>(&header[2]);
      out.push_back(ReadMemory(static_cast<uint16_t>((page << 8) + 4), count - 4));
      boundary = header[1] == kRingStart ? kRingStop - 1 : header[1] - 1u;
      Out(BNRY, boundary);
    }
    return out;
  }
  void Send(const Bytes& frame) {
    WriteMemory(0x4000, frame);
    Out(TPSR, 0x40);
    Out(TBCR0, frame.size() & 0xFF);
    Out(TBCR1, static_cast<unsigned>(frame.size() >> 8));
    Out(CR, 0x26);
  }

  Rig rig{"ne2k_pci"};
};

TEST_F(Ne2kTest, AnnouncesItself) {
  EXPECT_EQ(rig.card->ReadConfig(0, 4), 0x802910ECu);
  Out(CR, kStop);
  EXPECT_EQ(In(0x0A), 'P');
  EXPECT_EQ(In(0x0B), 'C');
  // The reset port, as the probe does.
  Out(RESET, In(RESET));
  EXPECT_TRUE(In(ISR) & 0x80);
  // The address, each byte twice; the mark of a 16-bit card.
  Out(DCR, 0x49);
  const Bytes prom = ReadMemory(0, 32);
  for (unsigned i = 0; i < 6; ++i) {
    EXPECT_EQ(prom[2 * i], kMac[i]);
    EXPECT_EQ(prom[2 * i + 1], kMac[i]);
  }
  EXPECT_EQ(prom[28], 0x57);
  EXPECT_EQ(prom[30], 0x57);
  EXPECT_TRUE(In(ISR) & 0x40);
}

TEST_F(Ne2kTest, RemoteDmaInEveryWidth) {
  Start();
  Bytes bytes = Frame(1000);
  for (const unsigned width : {2u, 4u}) {
    WriteMemory(0x4100, bytes, width);
    EXPECT_EQ(ReadMemory(0x4100, 1000, width), bytes);
    std::reverse(bytes.begin(), bytes.end());
  }
  Out(DCR, 0x48);  // bytes
  WriteMemory(0x5000, bytes, 1);
  EXPECT_EQ(ReadMemory(0x5000, 1000, 1), bytes);
}

TEST_F(Ne2kTest, Sends) {
  Start();
  for (const size_t size : {60, 61, 1000, 1514}) {
    Send(Frame(size));
    EXPECT_TRUE(rig.wiring.intx.level);
    EXPECT_EQ(In(TSR) & 1, 1u);
    EXPECT_FALSE(In(CR) & 4);
    Out(ISR, 0x02);
    EXPECT_FALSE(rig.wiring.intx.level);
  }
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_EQ(sent[1], Frame(61));
  EXPECT_EQ(sent[3], Frame(1514));
}

TEST_F(Ne2kTest, WaitsWhereThePortHasNoRoom) {
  Start();
  rig.port.room = 0;
  Send(Frame(100));
  EXPECT_TRUE(In(CR) & 4);
  EXPECT_FALSE(In(ISR) & 2);
  rig.port.MakeRoom(1);
  EXPECT_FALSE(In(CR) & 4);
  EXPECT_TRUE(In(ISR) & 2);
  EXPECT_EQ(rig.TakeSent()[0], Frame(100));
}

TEST_F(Ne2kTest, ReceivesRoundTheRing) {
  Start();
  for (unsigned n = 0; n < 300; ++n) {
    const size_t size = 60 + n * 97 % 1455;
    EXPECT_TRUE(rig.port.Deliver(Frame(size)));
    EXPECT_TRUE(rig.wiring.intx.level);
    Out(ISR, 0x01);
    std::vector<Bytes> got = ReadRing();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0], Frame(size)) << n;
  }
  // Until it is full.
  unsigned taken = 0;
  while (rig.port.Deliver(Frame(1000)) && taken < 100) ++taken;
  EXPECT_EQ(taken, (kRingStop - kRingStart - 1) / 4);
  rig.port.ready_calls = 0;
  EXPECT_EQ(ReadRing().size(), taken);
  EXPECT_EQ(rig.port.ready_calls, 1u);
  EXPECT_TRUE(rig.port.Deliver(Frame(20)));
  EXPECT_EQ(ReadRing()[0].size(), 60u);
}

// Linux' 8390.c acknowledges after it has read at most ten frames: where the ring is
// full then, a frame that waits must make an interrupt.
// As Linux' 8390.c does when the frame that it has read ends with the ring.
TEST_F(Ne2kTest, ABoundaryBelowTheRingIsItsLastPage) {
  Start();
  Out(BNRY, kRingStart - 1);
  unsigned taken = 0;
  while (rig.port.Deliver(Frame(1000 + taken)) && taken < 100) ++taken;
  EXPECT_EQ(taken, (kRingStop - kRingStart - 1) / 4);
  Out(BNRY, kRingStop - 1);
  const std::vector<Bytes> got = ReadRing();
  ASSERT_EQ(got.size(), taken);
  for (unsigned i = 0; i < taken; ++i) EXPECT_EQ(got[i], Frame(1000 + i)) << i;
}

TEST_F(Ne2kTest, FullRingInterruptsAgain) {
  Start();
  while (rig.port.Deliver(Frame(1000))) {
  }
  rig.port.ready_calls = 0;
  Out(ISR, 0x01);
  EXPECT_FALSE(rig.wiring.intx.level);
  EXPECT_EQ(rig.port.ready_calls, 1u);
  EXPECT_FALSE(rig.port.Deliver(Frame(1000)));
  EXPECT_TRUE(rig.wiring.intx.level);
}

TEST_F(Ne2kTest, TurningPagesNeitherStartsNorStops) {
  Start();
  Out(CR, kPage1);
  EXPECT_EQ(In(CURR), kRingStart);
  Out(CR, 0);
  EXPECT_TRUE(rig.port.Deliver(Frame(100)));
  EXPECT_EQ(ReadRing().size(), 1u);
  Out(CR, kStop);
  Out(CR, 0);
  EXPECT_TRUE(rig.port.Deliver(Frame(100)));
  EXPECT_EQ(ReadRing().size(), 0u);
}

TEST_F(Ne2kTest, FiltersAddresses) {
  const net::MacAddress kBroadcast = {255, 255, 255, 255, 255, 255};
  const net::MacAddress kGroup = {0x01, 0x00, 0x5E, 0x00, 0x12, 0x34};
  const auto taken = [&](const net::MacAddress& to, uint8_t rcr) {
    Start(rcr);
    rig.port.Deliver(Frame(64, to));
    return Current() != kRingStart;
  };
  EXPECT_TRUE(taken(kMac, 0));
  EXPECT_FALSE(taken(kOther, 0x0C));
  EXPECT_TRUE(taken(kOther, 0x10));
  EXPECT_FALSE(taken(kBroadcast, 0));
  EXPECT_TRUE(taken(kBroadcast, 0x04));
  EXPECT_FALSE(taken(kGroup, 0x08));
  const unsigned hash = MulticastHash(kGroup.data());
  Out(CR, kPage1 | kStart);
  Out(MAR0 + hash / 8, 1u << hash % 8);
  EXPECT_TRUE(taken(kGroup, 0x08));
  EXPECT_FALSE(taken(kMac, 0x20));  // monitor
}

TEST_F(Ne2kTest, LoopbackKeepsFramesIn) {
  Start();
  Out(TCR, 0x02);
  Send(Frame(100));
  EXPECT_TRUE(rig.port.sent.empty());
  EXPECT_TRUE(In(ISR) & 2);
  EXPECT_EQ(Current(), kRingStart);
}

TEST_F(Ne2kTest, StateSurvives) {
  Start();
  rig.port.Deliver(Frame(700));
  Remote(0x4100, 99, 0x08);
  Rig other("ne2k_pci");
  dev::ExpectRoundTrip(*rig.card, *other.card);
}

// ---- Hostile guests, by the reports that found others wanting.

// CVE-2015-5278, CVE-2015-5279, CVE-2016-2841: rings that are none, that lie
// outside of the card's memory, or whose pointers lie outside of the ring: frames
// must neither go on for ever nor land elsewhere.
TEST_F(Ne2kTest, Cve2015_5278_Cve2016_2841_RingsThatAreNone) {
  const unsigned kPages[] = {0, 1, 0x3F, 0x40, 0x46, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xFF};
  for (const unsigned start : kPages) {
    for (const unsigned stop : kPages) {
      for (const unsigned current : kPages) {
        for (const unsigned boundary : kPages) {
          Start(0x10);
          Out(PSTART, start);
          Out(PSTOP, stop);
          Out(BNRY, boundary);
          Out(CR, kPage1 | kStart);
          Out(CURR, current);
          Out(CR, kStart);
          for (int i = 0; i < 3; ++i) rig.port.Deliver(Frame(1514));
          const unsigned after = Current();
          if (after != current) {
            EXPECT_TRUE(after >= start && after < stop) << start << " " << stop;
          }
        }
      }
    }
  }
  // The address ROM is as it was.
  Out(RESET, In(RESET));
  Out(DCR, 0x49);
  EXPECT_EQ(ReadMemory(0, 2)[0], kMac[0]);
}

// CVE-2015-5279: a frame that ends exactly at the ring's end, or past it.
TEST_F(Ne2kTest, Cve2015_5279_FramesAtTheEndOfMemory) {
  for (size_t size = 60; size <= 1514; ++size) {
    Start(0x10);
    Out(PSTART, 0x40);
    Out(PSTOP, 0xC0);
    Out(CR, kPage1 | kStart);
    Out(CURR, 0xBF);
    Out(CR, kStart);
    Out(BNRY, 0x60);
    EXPECT_TRUE(rig.port.Deliver(Frame(size)));
    const size_t pages = (size + 8 + 255) / 256;
    EXPECT_EQ(Current(), 0x40 + pages - 1);
  }
}

// CVE-2015-8743: accesses at the edges of the ports, in every size.
TEST_F(Ne2kTest, Cve2015_8743_PortsInEverySize) {
  Start();
  for (uint32_t port = 0; port < 0x28; ++port) {
    for (const unsigned size : {1u, 2u, 4u, 8u}) {
      rig.card->Read(0, port, size);
      rig.card->Write(0, port, size, 0xFFFFFFFFFFFFFFFF);
    }
  }
  for (const unsigned width : {1u, 2u, 4u}) {
    Remote(0xFFFD, 0xFFFF, 0x08);
    for (int i = 0; i < 0x10010; ++i) rig.Read(DATA, width);
    Remote(0xFFFD, 0xFFFF, 0x10);
    for (int i = 0; i < 0x10010; ++i) rig.Write(DATA, 0xA5A5A5A5, width);
  }
}

// Frames from where there is no memory, and longer than any frame.
TEST_F(Ne2kTest, SendsFromAnywhere) {
  Start();
  for (unsigned page = 0; page < 256; ++page) {
    for (const unsigned size : {0u, 1u, 14u, 1514u, 1518u, 1519u, 0xFFFFu}) {
      Out(TPSR, page);
      Out(TBCR0, size & 0xFF);
      Out(TBCR1, size >> 8);
      Out(CR, 0x26);
      EXPECT_FALSE(In(CR) & 4);
    }
  }
  for (const Bytes& b : rig.TakeSent()) EXPECT_LE(b.size(), 1518u);
}

}  // namespace
}  // namespace atl::nic
