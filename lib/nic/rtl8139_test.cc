// SPDX-License-Identifier: Apache-2.0
// The RTL8139 in both of its modes, as drivers use it and as hostile guests do.
#include <algorithm>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/nic/rtl8139_registers.h"
#include "lib/nic/testing/rig.h"

namespace atl::nic {
namespace {

using namespace rtl8139;  // NOLINT: the registers' bits

enum : uint32_t {
  IDR0 = 0x00,
  MAR0 = 0x08,
  TSD0 = 0x10,
  TSAD0 = 0x20,
  RBSTART = 0x30,
  CR = 0x37,
  CAPR = 0x38,
  CBR = 0x3A,
  IMR = 0x3C,
  ISR = 0x3E,
  TCR = 0x40,
  RCR = 0x44,
  TCTR = 0x48,
  EECR = 0x50,
  CONFIG1 = 0x52,
  TIMERINT = 0x54,
  MSR = 0x58,
  TSAD = 0x60,
  BMCR = 0x62,
  BMSR = 0x64,
  TPPOLL = 0xD9,
  CPCR = 0xE0,
  RDSAR = 0xE4,
};

constexpr uint64_t kTxRing = 0x10000;
constexpr uint64_t kHighRing = 0x11000;
constexpr uint64_t kRxRing = 0x20000;
constexpr uint64_t kTxBuffer = 0x40000;
constexpr uint64_t kRxBuffers = 0x80000;

constexpr uint32_t kOwn = 1u << 31;
constexpr uint32_t kEnd = 1 << 30;
constexpr uint32_t kFirstLast = 3 << 28;

class Rtl8139Test : public ::testing::Test {
 protected:
  void Enable(uint32_t rcr = kRcrOwn | kRcrBroadcast, unsigned size = 0) {
    rig.Write(RBSTART, kRxBuffers);
    rig.Write(CR, kCrTransmit | kCrReceive, 1);
    rig.Write(RCR, rcr | size << 11);
  }
  void SendSlot(unsigned n, const Bytes& frame) {
    rig.Poke(kTxBuffer + 0x2000 * n, frame);
    rig.Write(TSAD0 + 4 * n, static_cast<uint32_t>(kTxBuffer + 0x2000 * n));
    rig.Write(TSD0 + 4 * n, static_cast<uint32_t>(frame.size()));
  }
  // As Linux' 8139too: reads what is there, by the ring's header.
  std::vector<Bytes> ReadRing(uint32_t size) {
    std::vector<Bytes> out;
    while ((rig.Read(CR, 1) & kCrEmpty) == 0 && out.size() < 1000) {
      const uint32_t at = read % size;
      const uint32_t header = rig.Load<uint32_t>(kRxBuffers + at);
      EXPECT_EQ(header & 1, 1u);
      const uint32_t length = header >> 16;
      Bytes frame = rig.Peek(kRxBuffers + at + 4, length);
      const uint32_t tail = LoadLe<uint32_t>(&frame[length - 4]);
      frame.resize(length - 4);
      EXPECT_EQ(tail, FrameCheck(frame));
      out.push_back(frame);
      read = (read + length + 4 + 3) & ~3u;
      rig.Write(CAPR, (read - 16) & 0xFFFF, 2);
    }
    return out;
  }

  void EnablePlus(uint32_t cpcr = 0, uint32_t rcr = kRcrOwn | kRcrBroadcast) {
    rig.Write(CPCR, kPlusTransmit | kPlusReceive | cpcr, 2);
    rig.Write(RDSAR, kRxRing);
    rig.Write(TSAD0, kTxRing);
    rig.Write(TSAD0 + 4, 0);
    rig.Write(TSAD0 + 8, kHighRing);
    rig.Write(CR, kCrTransmit | kCrReceive, 1);
    rig.Write(RCR, rcr);
    for (unsigned i = 0; i < 8; ++i) GiveBuffer(i, 2048);
  }
  void GiveBuffer(unsigned i, uint32_t size) {
    rig.Store<uint64_t>(kRxRing + 16 * i + 8, kRxBuffers + 0x2000 * i);
    rig.Store<uint32_t>(kRxRing + 16 * i, kOwn | (i == 7 ? kEnd : 0) | size);
  }
  void Descriptor(unsigned i, uint32_t word, uint64_t address, uint32_t vlan = 0) {
    rig.Store<uint64_t>(kTxRing + 16 * i + 8, address);
    rig.Store<uint32_t>(kTxRing + 16 * i + 4, vlan);
    rig.Store<uint32_t>(kTxRing + 16 * i, word);
  }
  uint32_t RxWord(unsigned i) { return rig.Load<uint32_t>(kRxRing + 16 * i); }
  Bytes Received(unsigned i) { return rig.Peek(kRxBuffers + 0x2000 * i, (RxWord(i) & 0x1FFF) - 4); }

  Rig rig{"rtl8139"};
  uint32_t read = 0;
};

TEST_F(Rtl8139Test, AnnouncesItself) {
  EXPECT_EQ(rig.card->ReadConfig(0, 4), 0x813910ECu);
  EXPECT_EQ(rig.card->ReadConfig(8, 1), 0x20u);
  EXPECT_EQ(rig.Read(TCR) & 0x7CC00000, kVersionCPlus);
  EXPECT_EQ(rig.Read(IDR0), 0x12005452u);
  EXPECT_EQ(rig.Read(IDR0 + 4, 2), 0x5634u);
  // The same by the other window.
  EXPECT_EQ(rig.Read(IDR0, 4, 1), 0x12005452u);
  EXPECT_EQ(rig.Read(BMSR, 2) & 0x24, 0x24u);
  EXPECT_FALSE(rig.Read(MSR, 1) & kMsrNoLink);

  Rig plain("rtl8139c");
  EXPECT_EQ(plain.card->ReadConfig(8, 1), 0x10u);
  EXPECT_EQ(plain.Read(TCR) & 0x7CC00000, kVersionC);
  plain.Write(CPCR, 3, 2);
  EXPECT_EQ(plain.Read(CPCR, 2), 0u);
}

TEST_F(Rtl8139Test, EepromOnItsWires) {
  const auto bit = [&](bool in) {
    const uint32_t v = kEeModeProgram | kEeSelect | (in ? kEeIn : 0);
    rig.Write(EECR, v, 1);
    rig.Write(EECR, v | kEeClock, 1);
    return (rig.Read(EECR, 1) & kEeOut) != 0;
  };
  const auto word = [&](unsigned address) {
    for (int i = 8; i >= 0; --i) bit(((0x180 | address) >> i & 1) != 0);
    uint16_t out = 0;
    for (int i = 0; i < 16; ++i) out = static_cast<uint16_t>(out << 1 | bit(false));
    rig.Write(EECR, 0, 1);
    return out;
  };
  EXPECT_EQ(word(0), 0x8129);
  EXPECT_EQ(word(7), 0x5452);
  EXPECT_EQ(word(9), 0x5634);
  rig.Write(IDR0, 0);
  rig.Write(EECR, kEeModeAutoload, 1);
  EXPECT_EQ(rig.Read(IDR0), 0x12005452u);
}

TEST_F(Rtl8139Test, ConfigurationIsLocked) {
  rig.Write(CONFIG1, 0xFF, 1);
  EXPECT_EQ(rig.Read(CONFIG1, 1), 0x0Cu);
  rig.Write(EECR, kEeModeConfig, 1);
  rig.Write(CONFIG1, 0xFF, 1);
  EXPECT_EQ(rig.Read(CONFIG1, 1), 0xFFu);
}

TEST_F(Rtl8139Test, SendsFromSlots) {
  Enable();
  rig.Write(IMR, kSent, 2);
  for (unsigned n = 0; n < 10; ++n) {
    SendSlot(n % 4, Frame(100 + n));
    EXPECT_TRUE(rig.wiring.intx.level);
    EXPECT_EQ(rig.Read(TSD0 + 4 * (n % 4)) & (kTsdOwn | kTsdOk), kTsdOwn | kTsdOk);
    EXPECT_TRUE(rig.Read(TSAD, 2) >> (n % 4) & 0x1000);
    rig.Write(ISR, kSent, 2);
    EXPECT_FALSE(rig.wiring.intx.level);
  }
  SendSlot(2, Frame(20));
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 11u);
  for (unsigned n = 0; n < 10; ++n) EXPECT_EQ(sent[n], Frame(100 + n));
  EXPECT_EQ(sent[10].size(), 60u);
}

TEST_F(Rtl8139Test, SlotsAreSentInTurn) {
  Enable();
  SendSlot(1, Frame(101));
  EXPECT_TRUE(rig.port.sent.empty());
  SendSlot(0, Frame(100));
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0], Frame(100));
  EXPECT_EQ(sent[1], Frame(101));
}

TEST_F(Rtl8139Test, WaitsWhereThePortHasNoRoom) {
  Enable();
  rig.port.room = 0;
  for (unsigned n = 0; n < 4; ++n) SendSlot(n, Frame(100 + n));
  rig.port.MakeRoom(2);
  rig.port.room = 2;
  rig.clock.Advance(100'000'000);  // it looks for itself
  EXPECT_EQ(rig.TakeSent().size(), 4u);
}

TEST_F(Rtl8139Test, FillsTheRingOfBytes) {
  for (const uint32_t wrap : {uint32_t{0}, kRcrWrap}) {
    for (unsigned size = 0; size < 4; ++size) {
      const uint32_t bytes = 8192u << size;
      rig.Write(CR, kCrReset, 1);
      read = 0;
      Enable(kRcrOwn | wrap, size);
      // With WRAP 0, frames come apart at the end, which this reader does not undo.
      const bool split = wrap == 0 || size == 3;
      for (unsigned n = 0; n < 300; ++n) {
        const size_t length = 60 + n * 97 % 1455;
        EXPECT_TRUE(rig.port.Deliver(Frame(length)));
        if (split && read % bytes + length + 8 > bytes) {
          const uint32_t first = bytes - read % bytes;
          rig.Poke(kRxBuffers + bytes, rig.Peek(kRxBuffers, length + 8 - first));
        }
        const std::vector<Bytes> got = ReadRing(bytes);
        ASSERT_EQ(got.size(), 1u) << n;
        EXPECT_EQ(got[0], Frame(length));
      }
      // Until it is full.
      unsigned taken = 0;
      rig.port.ready_calls = 0;
      while (rig.port.Deliver(Frame(1000)) && taken < 1000) ++taken;
      EXPECT_GE(taken, bytes / 1008 - 1);
      EXPECT_LT(taken, bytes / 1008 + 1);
      EXPECT_FALSE(rig.Read(CR, 1) & kCrEmpty);
      EXPECT_EQ(rig.port.ready_calls, 0u);
      rig.Write(CAPR, (rig.Read(CBR, 2) - 16) & 0xFFFF, 2);
      EXPECT_EQ(rig.port.ready_calls, 1u);
      read = rig.Read(CBR, 2);
      EXPECT_TRUE(rig.port.Deliver(Frame(1000)));
    }
  }
}

// Linux' 8139too acknowledges after each frame and reads at most 64 at a time: where
// the ring is full then, a frame that waits must make an interrupt.
TEST_F(Rtl8139Test, FullRingInterruptsAgain) {
  Enable();
  rig.Write(IMR, kReceived, 2);
  while (rig.port.Deliver(Frame(1000))) {
  }
  rig.Write(ISR, kReceived, 2);
  EXPECT_FALSE(rig.wiring.intx.level);
  EXPECT_EQ(rig.port.ready_calls, 1u);
  EXPECT_FALSE(rig.port.Deliver(Frame(1000)));
  EXPECT_TRUE(rig.wiring.intx.level);
}

TEST_F(Rtl8139Test, FiltersAddresses) {
  const net::MacAddress kBroadcast = {255, 255, 255, 255, 255, 255};
  const net::MacAddress kGroup = {0x01, 0x00, 0x5E, 0x00, 0x12, 0x34};
  Enable(0);
  const auto taken = [&](const net::MacAddress& to, uint32_t rcr) {
    rig.Write(RCR, rcr);
    const uint32_t before = rig.Read(CBR, 2);
    EXPECT_TRUE(rig.port.Deliver(Frame(64, to)));
    const bool moved = rig.Read(CBR, 2) != before;
    rig.Write(CAPR, (rig.Read(CBR, 2) - 16) & 0xFFFF, 2);
    return moved;
  };
  EXPECT_FALSE(taken(kMac, 0));
  EXPECT_TRUE(taken(kMac, kRcrOwn));
  EXPECT_FALSE(taken(kOther, kRcrOwn | kRcrBroadcast | kRcrMulticast));
  EXPECT_TRUE(taken(kOther, kRcrAll));
  EXPECT_FALSE(taken(kBroadcast, kRcrOwn));
  EXPECT_TRUE(taken(kBroadcast, kRcrBroadcast));
  EXPECT_FALSE(taken(kGroup, kRcrMulticast));
  const unsigned hash = MulticastHash(kGroup.data());
  rig.Write(MAR0 + 4 * (hash / 32), 1u << hash % 32);
  EXPECT_TRUE(taken(kGroup, kRcrMulticast));
  EXPECT_FALSE(taken(kGroup, kRcrOwn));
}

TEST_F(Rtl8139Test, TimerInterrupts) {
  rig.Write(IMR, kTimeout, 2);
  rig.Write(TCTR, 0);
  rig.clock.Advance(3000);
  EXPECT_EQ(rig.Read(TCTR), 100u);
  rig.Write(TIMERINT, 300);
  rig.clock.Advance(5999);
  EXPECT_FALSE(rig.wiring.intx.level);
  rig.clock.Advance(1);
  EXPECT_TRUE(rig.wiring.intx.level);
  rig.Write(ISR, kTimeout, 2);
  rig.clock.Advance((uint64_t{1} << 32) * 30);
  EXPECT_TRUE(rig.wiring.intx.level);  // comes by again
}

TEST_F(Rtl8139Test, LinkChanges) {
  rig.Write(IMR, kLinkChanged, 2);
  rig.port.ChangeLink(false);
  EXPECT_TRUE(rig.wiring.intx.level);
  EXPECT_TRUE(rig.Read(MSR, 1) & kMsrNoLink);
  EXPECT_FALSE(rig.Read(BMSR, 2) & 4);
}

TEST_F(Rtl8139Test, PlusSendsAndReceives) {
  EnablePlus();
  rig.Poke(kTxBuffer, Frame(900));
  Descriptor(0, kOwn | 1 << 29 | 100, kTxBuffer);
  Descriptor(1, kOwn | 200, kTxBuffer + 100);
  Descriptor(2, kOwn | kEnd | 1 << 28 | 600, kTxBuffer + 300);
  rig.Write(TPPOLL, kPollNormal, 1);
  ASSERT_EQ(rig.port.sent.size(), 1u);
  EXPECT_EQ(rig.port.sent[0].bytes, Frame(900));
  for (unsigned i = 0; i < 3; ++i) EXPECT_FALSE(rig.Load<uint32_t>(kTxRing + 16 * i) & kOwn);
  EXPECT_TRUE(rig.Load<uint32_t>(kTxRing + 32) & kEnd);
  EXPECT_EQ(rig.Read(ISR, 2), kSent | kAllSent);
  // After the ring's end comes its beginning.
  Descriptor(0, kOwn | kFirstLast | 900, kTxBuffer);
  rig.Write(TPPOLL, kPollNormal, 1);
  EXPECT_EQ(rig.port.sent.size(), 2u);

  for (unsigned n = 0; n < 20; ++n) {
    EXPECT_TRUE(rig.port.Deliver(Frame(64 + n)));
    EXPECT_EQ(RxWord(n % 8) & (kOwn | kFirstLast | 0x1FFF), kFirstLast | (64 + n + 4));
    EXPECT_EQ(Received(n % 8), Frame(64 + n));
    GiveBuffer(n % 8, 2048);
  }
}

TEST_F(Rtl8139Test, PlusHighRing) {
  EnablePlus();
  rig.Poke(kTxBuffer, Frame(99));
  rig.Store<uint64_t>(kHighRing + 8, kTxBuffer);
  rig.Store<uint32_t>(kHighRing, kOwn | kEnd | kFirstLast | 99);
  rig.Write(TPPOLL, kPollHigh, 1);
  EXPECT_EQ(rig.port.sent.size(), 1u);
  rig.Write(TPPOLL, kPollSoftware, 1);
  EXPECT_TRUE(rig.Read(ISR, 2) & kSoftware);
}

TEST_F(Rtl8139Test, PlusSpreadsFramesOverDescriptors) {
  EnablePlus();
  for (unsigned i = 0; i < 8; ++i) GiveBuffer(i, 256);
  EXPECT_TRUE(rig.port.Deliver(Frame(700)));
  Bytes all;
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(RxWord(i) & kFirstLast, i == 0 ? 1u << 29 : i == 2 ? 1u << 28 : 0u);
    const Bytes piece = rig.Peek(kRxBuffers + 0x2000 * i, 256);
    all.insert(all.end(), piece.begin(), piece.end());
  }
  all.resize(700);
  EXPECT_EQ(all, Frame(700));
}

TEST_F(Rtl8139Test, PlusHoldsFramesUntilThereAreDescriptors) {
  EnablePlus();
  rig.Write(IMR, kNoDescriptor, 2);
  for (unsigned i = 0; i < 8; ++i) EXPECT_TRUE(rig.port.Deliver(Frame(64)));
  EXPECT_FALSE(rig.port.Deliver(Frame(64)));
  EXPECT_TRUE(rig.wiring.intx.level);
  GiveBuffer(0, 2048);
  EXPECT_EQ(rig.port.ready_calls, 0u);
  rig.Write(ISR, kNoDescriptor, 2);  // the driver has been here
  EXPECT_EQ(rig.port.ready_calls, 1u);
  EXPECT_TRUE(rig.port.Deliver(Frame(64)));
  EXPECT_FALSE(rig.port.Deliver(Frame(64)));
  rig.clock.Advance(2'000'000);  // or not, and it looks again
  EXPECT_EQ(rig.port.ready_calls, 2u);
}

TEST_F(Rtl8139Test, PlusChecksums) {
  EnablePlus(kPlusChecksums);
  for (const uint8_t protocol : {kProtocolTcp, kProtocolUdp}) {
    const Bytes good = Ipv4Packet(333, protocol);
    Bytes bare = good;
    StoreBe<uint16_t>(&bare[24], 0xDEAD);  // it does not look at what is there
    StoreBe<uint16_t>(&bare[34 + (protocol == kProtocolTcp ? 16 : 6)], 0xDEAD);
    rig.Poke(kTxBuffer, bare);
    Descriptor(0, kOwn | kEnd | kFirstLast | 7 << 16 | static_cast<uint32_t>(bare.size()),
               kTxBuffer);
    rig.Write(TPPOLL, kPollNormal, 1);
    ASSERT_EQ(rig.port.sent.size(), 1u);
    EXPECT_EQ(rig.TakeSent()[0], good);
  }
  rig.port.Deliver(Ipv4Packet(99, kProtocolTcp));
  rig.port.Deliver(Ipv4Packet(99, kProtocolUdp));
  Bytes bad = Ipv4Packet(99, kProtocolTcp);
  bad[80] ^= 1;
  rig.port.Deliver(bad);
  bad[20] ^= 1;
  rig.port.Deliver(bad);
  rig.port.Deliver(Frame(99));
  EXPECT_EQ(RxWord(0) >> 13 & 0x1F, 1u << 3);
  EXPECT_EQ(RxWord(1) >> 13 & 0x1F, 2u << 3);
  EXPECT_EQ(RxWord(2) >> 13 & 0x1F, 1u << 3 | 1);
  EXPECT_EQ(RxWord(3) >> 13 & 0x04, 4u);
  EXPECT_EQ(RxWord(4) >> 13 & 0x1F, 0u);
}

TEST_F(Rtl8139Test, PlusLargeSend) {
  EnablePlus();
  rig.Poke(kTxBuffer, Ipv4Packet(10000));
  Descriptor(0, kOwn | kEnd | kFirstLast | 1 << 27 | 1400 << 16 | 10054, kTxBuffer);
  rig.Write(TPPOLL, kPollNormal, 1);
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 8u);
  for (const Bytes& s : sent) EXPECT_TRUE(ChecksumsGood(s));
  EXPECT_EQ(sent[7].size(), 54 + 10000 - 7 * 1400u);
}

TEST_F(Rtl8139Test, PlusTags) {
  EnablePlus(kPlusUntag);
  rig.Poke(kTxBuffer, Frame(100));
  Descriptor(0, kOwn | kEnd | kFirstLast | 100, kTxBuffer, 1 << 17 | 0x0520);
  rig.Write(TPPOLL, kPollNormal, 1);
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(LoadBe<uint32_t>(&sent[0][12]), 0x81002005u);
  rig.port.Deliver(sent[0]);
  EXPECT_EQ(Received(0), Frame(100));
  EXPECT_EQ(rig.Load<uint32_t>(kRxRing + 4), 1u << 16 | 0x0520);
}

TEST_F(Rtl8139Test, DumpsItsTally) {
  EnablePlus();
  for (int i = 0; i < 3; ++i) rig.port.Deliver(Frame(64));
  rig.Write(TSD0 + 4, 0);
  rig.Write(TSD0, 0x60000 | kDumpTally);
  EXPECT_FALSE(rig.Read(TSD0) & kDumpTally);
  EXPECT_EQ(rig.Load<uint64_t>(0x60008), 3u);
}

TEST_F(Rtl8139Test, StateSurvives) {
  EnablePlus();
  rig.port.room = 1;
  rig.Poke(kTxBuffer, Ipv4Packet(3000));
  Descriptor(0, kOwn | kFirstLast | 1 << 27 | 1000 << 16 | 3054, kTxBuffer);
  Descriptor(1, kOwn | kEnd | 1 << 29 | 1000, kTxBuffer);
  rig.Write(TPPOLL, kPollNormal, 1);
  rig.Write(TIMERINT, 1000);
  Rig other("rtl8139");
  dev::ExpectRoundTrip(*rig.card, *other.card);
  other.clock.Advance(50'000'000);
  EXPECT_EQ(other.port.sent.size(), 2u);
}

// ---- Hostile guests, by the reports that found others wanting.

// CVE-2015-5165: IP and TCP lengths in a packet that disagree with each other and
// with the packet, so that what is between them underflows.
TEST_F(Rtl8139Test, Cve2015_5165_LengthsThatDisagree) {
  EnablePlus();
  const Bytes packet = Ipv4Packet(100);
  for (const uint32_t flags : {1u << 27 | 1000u << 16, 7u << 16, 1u << 27}) {
    for (unsigned ihl = 0; ihl < 16; ++ihl) {
      for (const unsigned total : {0u, 19u, 20u, 39u, 40u, 141u, 1000u, 0xFFFFu}) {
        for (const unsigned doff : {0u, 4u, 5u, 15u}) {
          for (const size_t size : {14u, 33u, 34u, 53u, 54u, 60u, 154u}) {
            Bytes bad = packet;
            bad[14] = static_cast<uint8_t>(0x40 | ihl);
            StoreBe<uint16_t>(&bad[16], static_cast<uint16_t>(total));
            bad[46] = static_cast<uint8_t>(doff << 4);
            rig.Poke(kTxBuffer, bad);
            Descriptor(0, kOwn | kEnd | kFirstLast | flags | static_cast<uint32_t>(size),
                       kTxBuffer);
            rig.Write(TPPOLL, kPollNormal, 1);
            for (const Bytes& s : rig.TakeSent()) EXPECT_EQ(s.size(), std::max(size, kMinFrame));
          }
        }
      }
    }
  }
}

// Rings that lead into themselves: no end mark, descriptors that stay the card's
// because they lie in memory that takes no writes, or in the frames themselves.
TEST_F(Rtl8139Test, RingsWithoutEnd) {
  EnablePlus();
  for (unsigned i = 0; i < 4096 / 16; ++i) Descriptor(i, kOwn | kFirstLast | 64, kTxRing);
  rig.Write(TPPOLL, kPollNormal, 1);
  EXPECT_LE(rig.TakeSent().size(), 64u);
  // Nobody's memory, and the last bytes of it.
  for (const uint32_t at : {0xFFFFFF00u, static_cast<uint32_t>(Rig::kRam - 256)}) {
    rig.Write(TSAD0, at);
    rig.Write(RDSAR, at);
    rig.Write(TPPOLL, kPollNormal | kPollHigh, 1);
    rig.port.Deliver(Frame(64));
  }
  // A receive ring of empty buffers, which never holds a frame.
  rig.Write(CR, 0, 1);
  rig.Write(RDSAR, kRxRing);
  rig.Write(CR, kCrReceive | kCrTransmit, 1);
  for (unsigned i = 0; i < 64; ++i) rig.Store<uint32_t>(kRxRing + 16 * i, kOwn);
  EXPECT_TRUE(rig.port.Deliver(Frame(64)));
}

// Loopback: a frame that is received over the ring that sends it, which then says
// that there is more to send (the stack overflows and endless loops of 2010 to
// 2021: CVE-2020-15859, CVE-2021-3416).
TEST_F(Rtl8139Test, Cve2021_3416_LoopbackOverTheOwnRings) {
  rig.Write(TCR, kTcrLoopback);
  EnablePlus(0, kRcrAll);
  for (unsigned i = 0; i < 8; ++i) rig.Store<uint64_t>(kRxRing + 16 * i + 8, kTxRing);
  Bytes frame(1024);
  for (unsigned i = 0; i < frame.size() / 16; ++i) {
    StoreLe<uint32_t>(&frame[16 * i], kOwn | kFirstLast | 1024);
    StoreLe<uint64_t>(&frame[16 * i + 8], kTxRing);
  }
  rig.Poke(kTxRing, frame);
  for (int i = 0; i < 50; ++i) {
    for (unsigned n = 0; n < 8; ++n) {
      rig.Store<uint32_t>(kRxRing + 16 * n, kOwn | (n == 7 ? kEnd : 0) | 0x1FF8);
    }
    rig.Write(TPPOLL, kPollNormal, 1);
  }
  EXPECT_TRUE(rig.port.sent.empty());

  // The same in C mode: the ring of bytes over the frames.
  rig.Write(CR, kCrReset, 1);
  rig.Write(TCR, kTcrLoopback);
  Enable(kRcrAll);
  rig.Write(RBSTART, kTxBuffer);
  for (unsigned n = 0; n < 100; ++n) {
    SendSlot(n % 4, Frame(1500));
    rig.Write(CAPR, (rig.Read(CBR, 2) - 16) & 0xFFFF, 2);
  }
  EXPECT_TRUE(rig.port.sent.empty());
}

TEST_F(Rtl8139Test, AnyPlaceInTheRingOfBytes) {
  Enable(kRcrAll | kRcrWrap, 3);
  for (unsigned capr = 0; capr < 0x10000; capr += 0x3FFD) {
    rig.Write(RBSTART, 0xFFFFFFF0);
    rig.Write(CAPR, capr, 2);
    rig.Write(RCR, kRcrAll | (capr & 3) << 11);
    for (int i = 0; i < 100; ++i) rig.port.Deliver(Frame(1500));
  }
}

TEST_F(Rtl8139Test, SlotsThatAreTooLong) {
  Enable();
  rig.Write(TSAD0, kTxBuffer);
  rig.Write(TSD0, 0x701);
  EXPECT_TRUE(rig.Read(TSD0) & kTsdAbort);
  EXPECT_TRUE(rig.Read(ISR, 2) & kSendError);
  rig.Write(TSAD0 + 4, 0xFFFFFFF0);
  rig.Write(TSD0 + 4, 0x700);
  EXPECT_EQ(rig.port.sent.size(), 1u);
}

}  // namespace
}  // namespace atl::nic
