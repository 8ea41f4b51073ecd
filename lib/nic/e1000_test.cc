// SPDX-License-Identifier: Apache-2.0
// The 82540EM as drivers use it and as hostile guests do.
#include <algorithm>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/nic/e1000_registers.h"
#include "lib/nic/testing/rig.h"

namespace atl::nic {
namespace {

using namespace e1000;  // NOLINT: the registers' bits

// Offsets, as a driver's author would write them down again from the manual.
enum : uint32_t {
  CTRL = 0x0000,
  STATUS = 0x0008,
  EECD = 0x0010,
  EERD = 0x0014,
  MDIC = 0x0020,
  ICR = 0x00C0,
  ITR = 0x00C4,
  ICS = 0x00C8,
  IMS = 0x00D0,
  IMC = 0x00D8,
  RCTL = 0x0100,
  TCTL = 0x0400,
  RDBAL = 0x2800,
  RDLEN = 0x2808,
  RDH = 0x2810,
  RDT = 0x2818,
  RDTR = 0x2820,
  RADV = 0x282C,
  TDBAL = 0x3800,
  TDLEN = 0x3808,
  TDH = 0x3810,
  TDT = 0x3818,
  TIDV = 0x3820,
  TADV = 0x382C,
  RXCSUM = 0x5000,
  MTA = 0x5200,
  RAL0 = 0x5400,
  RAH0 = 0x5404,
  VFTA = 0x5600,
  GPRC = 0x4074,
  GPTC = 0x4080,
};

constexpr uint64_t kTxRing = 0x10000;
constexpr uint64_t kRxRing = 0x20000;
constexpr uint64_t kTxBuffer = 0x40000;
constexpr uint64_t kRxBuffers = 0x80000;
constexpr unsigned kCount = 16;

class E1000Test : public ::testing::Test {
 protected:
  void StartReceive(uint32_t rctl = 0) {
    for (unsigned i = 0; i < kCount; ++i) {
      rig.Store<uint64_t>(kRxRing + 16 * i, kRxBuffers + 0x4000 * i);
      rig.Store<uint64_t>(kRxRing + 16 * i + 8, 0);
    }
    rig.Write(RDBAL, kRxRing);
    rig.Write(RDLEN, 16 * kCount);
    rig.Write(RDH, 0);
    rig.Write(RDT, kCount - 1);
    rig.Write(RCTL, kRctlEnable | kRctlBroadcast | rctl);
  }
  void StartTransmit(uint32_t tctl = kTctlPadShort) {
    rig.Write(TDBAL, kTxRing);
    rig.Write(TDLEN, 16 * kCount);
    rig.Write(TDH, 0);
    rig.Write(TDT, 0);
    rig.Write(TCTL, kTctlEnable | tctl);
  }
  void Descriptor(uint64_t address, uint64_t rest) {
    rig.Store<uint64_t>(kTxRing + 16 * tail, address);
    rig.Store<uint64_t>(kTxRing + 16 * tail + 8, rest);
    tail = (tail + 1) % kCount;
  }
  // EOP, IFCS, RS.
  static constexpr uint64_t kWhole = uint64_t{0x0B} << 24;
  static constexpr uint64_t kExtendedData = uint64_t{1} << 29 | uint64_t{1} << 20;
  void Kick() { rig.Write(TDT, tail); }
  void Send(const Bytes& frame) {
    rig.Poke(kTxBuffer, frame);
    Descriptor(kTxBuffer, kWhole | frame.size());
    Kick();
  }
  // A context for Ipv4Packet()s of TCP.
  void Context(uint8_t tucmd, uint8_t headers, uint16_t mss, uint32_t payload_length) {
    Descriptor(14 | 24 << 8 | 33 << 16 | uint64_t{34} << 32 | uint64_t{50} << 40,
               uint64_t{1} << 29 | uint64_t{tucmd} << 24 | payload_length |
                   uint64_t{headers} << 40 | uint64_t{mss} << 48);
  }
  uint8_t TxStatus(unsigned i) { return rig.Load<uint8_t>(kTxRing + 16 * i + 12); }
  uint64_t RxRest(unsigned i) { return rig.Load<uint64_t>(kRxRing + 16 * i + 8); }
  Bytes Received(unsigned i) { return rig.Peek(kRxBuffers + 0x4000 * i, RxRest(i) & 0xFFFF); }

  Rig rig{"e1000"};
  unsigned tail = 0;
};

TEST_F(E1000Test, AnnouncesItself) {
  EXPECT_EQ(rig.card->ReadConfig(0, 4), 0x100E8086u);
  EXPECT_EQ(rig.card->ReadConfig(8, 4) >> 8, 0x020000u);
  EXPECT_EQ(rig.Read(STATUS) & 0xC3, 0x83u);  // full duplex, link up, 1000 Mb/s
  EXPECT_EQ(rig.Read(RAL0), 0x12005452u);
  EXPECT_EQ(rig.Read(RAH0), 0x80005634u);
  EXPECT_EQ(rig.card->Read(pci::PciDevice::kRomRegion, 0, 4), 0x55555555u);
}

TEST_F(E1000Test, EepromHasAddressAndChecksum) {
  uint16_t sum = 0;
  for (unsigned i = 0; i < 64; ++i) {
    rig.Write(EERD, i << 8 | 1);
    EXPECT_TRUE(rig.Read(EERD) & kEerdDone);
    sum = static_cast<uint16_t>(sum + (rig.Read(EERD) >> 16));
  }
  EXPECT_EQ(sum, 0xBABA);
  rig.Write(EERD, 1);
  EXPECT_EQ(rig.Read(EERD) >> 16, 0x5452u);

  // The same by the wires, as Linux reads them.
  rig.Write(EECD, kEecdRequest);
  EXPECT_TRUE(rig.Read(EECD) & kEecdGrant);
  const auto bit = [&](bool in) {
    const uint32_t v = kEecdRequest | kEecdSelect | (in ? kEecdIn : 0);
    rig.Write(EECD, v);
    rig.Write(EECD, v | kEecdClock);
    return (rig.Read(EECD) & kEecdOut) != 0;
  };
  for (const int b : {1, 1, 0, 0, 0, 0, 0, 0, 1}) bit(b != 0);  // READ 1
  uint16_t word = 0;
  for (int i = 0; i < 16; ++i) word = static_cast<uint16_t>(word << 1 | bit(false));
  EXPECT_EQ(word, 0x1200);
}

TEST_F(E1000Test, TransceiverIsMarvells) {
  const auto read = [&](unsigned reg, unsigned phy = 1) {
    rig.Write(MDIC, kMdicRead | phy << 21 | reg << 16);
    return rig.Read(MDIC);
  };
  EXPECT_EQ(read(2) & 0xFFFF, 0x0141u);
  EXPECT_EQ(read(3) & 0xFFFF, 0x0C20u);
  EXPECT_TRUE(read(1) & 1 << 2);
  EXPECT_TRUE(read(1) & kMdicReady);
  EXPECT_TRUE(read(2, 2) & kMdicError);
  rig.port.ChangeLink(false);
  EXPECT_FALSE(read(1) & 1 << 2);
  EXPECT_FALSE(rig.Read(STATUS) & kStatusLinkUp);
  EXPECT_TRUE(rig.Read(ICR) & kIcrLinkChanged);
}

TEST_F(E1000Test, ResetsThroughTheIoWindow) {
  rig.Write(RCTL, kRctlEnable);
  rig.Write(IMS, kIcrLinkChanged);
  rig.Write(0, CTRL, 4, 2);
  rig.Write(4, kCtrlReset, 4, 2);
  EXPECT_EQ(rig.Read(RCTL), 0u);
  EXPECT_EQ(rig.Read(IMS), 0u);
  EXPECT_FALSE(rig.Read(CTRL) & kCtrlReset);
  rig.Write(0, 0x20000, 4, 2);  // past the registers
  EXPECT_EQ(rig.Read(4, 4, 2), 0u);
}

TEST_F(E1000Test, SendsFrames) {
  StartTransmit();
  Send(Frame(100));
  Send(Frame(1514));
  Send(Frame(20));  // padded
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0], Frame(100));
  EXPECT_EQ(sent[1], Frame(1514));
  EXPECT_EQ(sent[2].size(), 60u);
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(TxStatus(i) & 1, 1);
  EXPECT_EQ(rig.Read(TDH), 3u);
  EXPECT_EQ(rig.Read(ICR) & 3, kIcrTxDescWritten | kIcrTxQueueEmpty);
  EXPECT_EQ(rig.Read(GPTC), 3u);
  EXPECT_EQ(rig.Read(GPTC), 0u);  // read once
}

TEST_F(E1000Test, GathersAndGoesRoundTheRing) {
  StartTransmit();
  const Bytes frame = Frame(900);
  for (unsigned n = 0; n < 3 * kCount; n += 3) {
    rig.Poke(kTxBuffer, frame);
    Descriptor(kTxBuffer, 14);
    Descriptor(kTxBuffer + 14, 0);
    Descriptor(kTxBuffer + 14, kWhole | 886);
    Kick();
  }
  for (const Bytes& b : rig.TakeSent()) EXPECT_EQ(b, frame);
}

TEST_F(E1000Test, InsertsLegacyChecksum) {
  StartTransmit();
  Bytes packet = Ipv4Packet(77);
  LeaveChecksum(packet, true);
  rig.Poke(kTxBuffer, packet);
  Descriptor(kTxBuffer, kWhole | uint64_t{4} << 24 | packet.size() | 50 << 16 | uint64_t{34} << 40);
  Kick();
  ASSERT_EQ(rig.port.sent.size(), 1u);
  EXPECT_EQ(rig.port.sent[0].bytes, Ipv4Packet(77));
}

TEST_F(E1000Test, InsertsChecksumsByContext) {
  StartTransmit();
  Bytes packet = Ipv4Packet(500);
  LeaveChecksum(packet, true);
  StoreBe<uint16_t>(&packet[24], 0);
  rig.Poke(kTxBuffer, packet);
  Context(0x03, 0, 0, 0);
  Descriptor(kTxBuffer, kWhole | kExtendedData | packet.size() | uint64_t{3} << 40);
  Kick();
  ASSERT_EQ(rig.port.sent.size(), 1u);
  EXPECT_EQ(rig.port.sent[0].bytes, Ipv4Packet(500));
}

TEST_F(E1000Test, CutsSegments) {
  StartTransmit();
  Bytes packet = Ipv4Packet(10000);
  LeaveChecksum(packet, false);
  StoreBe<uint16_t>(&packet[24], 0);
  rig.Poke(kTxBuffer, packet);
  Context(0x07, 54, 1460, 10000);
  const uint64_t segment = uint64_t{4} << 24;
  Descriptor(kTxBuffer, kExtendedData | segment | 54 | uint64_t{3} << 40);
  Descriptor(kTxBuffer + 54, kWhole | kExtendedData | segment | 10000 | uint64_t{3} << 40);
  Kick();
  ASSERT_EQ(rig.port.sent.size(), 7u);
  for (const auto& s : rig.port.sent) EXPECT_TRUE(ChecksumsGood(s.bytes));
  EXPECT_EQ(rig.port.sent[6].bytes.size(), 54 + 10000 - 6 * 1460u);
}

TEST_F(E1000Test, InsertsAndRemovesTags) {
  rig.Write(CTRL, rig.Read(CTRL) | kCtrlVlanMode);
  StartTransmit();
  StartReceive(kRctlStripCheck);
  rig.Poke(kTxBuffer, Frame(100));
  Descriptor(kTxBuffer, kWhole | uint64_t{0x40} << 24 | 100 | uint64_t{0x2005} << 48);
  Kick();
  ASSERT_EQ(rig.port.sent.size(), 1u);
  const Bytes tagged = rig.port.sent[0].bytes;
  ASSERT_EQ(tagged.size(), 104u);
  EXPECT_EQ(LoadBe<uint32_t>(&tagged[12]), 0x81002005u);
  EXPECT_TRUE(rig.port.Deliver(tagged));
  EXPECT_EQ(Received(0), Frame(100));
  EXPECT_EQ(RxRest(0) >> 48, 0x2005u);
  EXPECT_TRUE(RxRest(0) >> 32 & 8);
}

TEST_F(E1000Test, WaitsWhereThePortHasNoRoom) {
  StartTransmit();
  rig.port.room = 1;
  for (unsigned i = 0; i < 3; ++i) Send(Frame(100 + i));
  EXPECT_EQ(rig.port.sent.size(), 1u);
  EXPECT_LT(rig.Read(TDH), 3u);
  rig.port.MakeRoom(5);
  const std::vector<Bytes> sent = rig.TakeSent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(rig.Read(TDH), 3u);
  // Without SendReady(), it looks for itself.
  rig.port.room = 0;
  Send(Frame(200));
  rig.port.room = 1;
  rig.clock.Advance(100'000'000);
  EXPECT_EQ(rig.port.sent.size(), 1u);
}

TEST_F(E1000Test, Receives) {
  StartReceive();
  rig.Write(IMS, kIcrRxTimer);
  EXPECT_TRUE(rig.port.Deliver(Frame(1514)));
  EXPECT_TRUE(rig.wiring.intx.level);
  EXPECT_EQ(rig.Read(RDH), 1u);
  Bytes got = Received(0);
  ASSERT_EQ(got.size(), 1518u);
  EXPECT_EQ(LoadLe<uint32_t>(&got[1514]), FrameCheck(Frame(1514)));
  got.resize(1514);
  EXPECT_EQ(got, Frame(1514));
  EXPECT_EQ(RxRest(0) >> 32 & 0x83, 3u);
  EXPECT_TRUE(rig.Read(ICR) & kIcrRxTimer);
  EXPECT_FALSE(rig.wiring.intx.level);
  // A short one grows to what a medium carries.
  EXPECT_TRUE(rig.port.Deliver(Frame(20)));
  EXPECT_EQ(Received(1).size(), 64u);
  EXPECT_EQ(rig.Read(GPRC), 2u);
}

TEST_F(E1000Test, SpreadsLongFramesOverDescriptors) {
  StartReceive(kRctlLong | kRctlStripCheck | 3 << 16);  // 256 bytes
  EXPECT_TRUE(rig.port.Deliver(Frame(1000)));
  Bytes all;
  for (unsigned i = 0; i < 4; ++i) {
    const Bytes piece = Received(i);
    all.insert(all.end(), piece.begin(), piece.end());
    EXPECT_EQ(RxRest(i) >> 33 & 1, i == 3 ? 1u : 0u);
  }
  EXPECT_EQ(all, Frame(1000));
}

TEST_F(E1000Test, FiltersAddresses) {
  StartReceive();
  const auto taken = [&](const net::MacAddress& to) {
    const uint32_t before = rig.Read(RDH);
    rig.Write(RDT, (before + kCount - 1) % kCount);
    EXPECT_TRUE(rig.port.Deliver(Frame(64, to)));
    return rig.Read(RDH) != before;
  };
  const net::MacAddress kBroadcast = {255, 255, 255, 255, 255, 255};
  const net::MacAddress kGroup = {0x01, 0x00, 0x5E, 0x00, 0x12, 0x34};
  EXPECT_TRUE(taken(kMac));
  EXPECT_FALSE(taken(kOther));
  EXPECT_TRUE(taken(kBroadcast));
  EXPECT_FALSE(taken(kGroup));
  // Bits 47 to 36 of the address, for RCTL.MO 0.
  const unsigned hash = 0x341;
  rig.Write(MTA + 4 * (hash >> 5), 1u << (hash & 31));
  EXPECT_TRUE(taken(kGroup));
  rig.Write(MTA + 4 * (hash >> 5), 0);
  rig.Write(RCTL, kRctlEnable | kRctlMulticastAll);
  EXPECT_TRUE(taken(kGroup));
  rig.Write(RCTL, kRctlEnable | kRctlUnicastAll);
  EXPECT_TRUE(taken(kOther));
  EXPECT_FALSE(taken(kBroadcast));
  rig.Write(RAL0 + 8, LoadLe<uint32_t>(&kOther[0]));
  rig.Write(RAH0 + 8, LoadLe<uint16_t>(&kOther[4]) | kAddressValid);
  rig.Write(RCTL, kRctlEnable);
  EXPECT_TRUE(taken(kOther));
  // VLANs.
  rig.Write(RCTL, kRctlEnable | kRctlVlanFilter);
  EXPECT_TRUE(taken(kMac));
  Bytes tagged = Frame(64);
  StoreBe<uint32_t>(&tagged[12], 0x81000005);
  const uint32_t before = rig.Read(RDH);
  rig.port.Deliver(tagged);
  EXPECT_EQ(rig.Read(RDH), before);
  rig.Write(VFTA, 1 << 5);
  rig.port.Deliver(tagged);
  EXPECT_NE(rig.Read(RDH), before);
}

TEST_F(E1000Test, ChecksChecksums) {
  StartReceive();
  rig.Write(RXCSUM, kRxcsumIp | kRxcsumTcpUdp);
  Bytes packet = Ipv4Packet(300);
  rig.port.Deliver(packet);
  EXPECT_EQ(RxRest(0) >> 32 & 0xFF64, 0x60u);  // IPCS, TCPCS, not IXSM, no errors
  packet[60] ^= 1;
  rig.port.Deliver(packet);
  EXPECT_EQ(RxRest(1) >> 32 & 0xFF64, 0x2060u);
  packet[22] ^= 1;
  rig.port.Deliver(packet);
  EXPECT_EQ(RxRest(2) >> 32 & 0xFF64, 0x6060u);
  rig.port.Deliver(Frame(100));
  EXPECT_EQ(RxRest(3) >> 32 & 0x64, 0x04u);
}

TEST_F(E1000Test, HoldsFramesUntilThereAreDescriptors) {
  StartReceive();
  for (unsigned i = 0; i < kCount - 1; ++i) EXPECT_TRUE(rig.port.Deliver(Frame(64)));
  EXPECT_FALSE(rig.port.Deliver(Frame(64)));
  EXPECT_EQ(rig.port.ready_calls, 0u);
  rig.Write(RDT, 3);
  EXPECT_EQ(rig.port.ready_calls, 1u);
  EXPECT_TRUE(rig.port.Deliver(Frame(64)));
}

TEST_F(E1000Test, FramesThatNobodyWaitsForAreDropped) {
  EXPECT_TRUE(rig.port.Deliver(Frame(64)));  // switched off
  StartReceive();
  for (unsigned i = 0; i < kCount - 1; ++i) rig.port.Deliver(Frame(64));
  EXPECT_FALSE(rig.port.Deliver(Frame(64)));
  rig.Write(CTRL, kCtrlReset);
  EXPECT_EQ(rig.port.ready_calls, 1u);
  EXPECT_TRUE(rig.port.Deliver(Frame(64)));
}

TEST_F(E1000Test, InterruptsAreThrottled) {
  constexpr uint32_t kInterval = 400;  // times 256 ns
  rig.clock.Advance(1'000'000);
  rig.Write(ITR, kInterval);
  rig.Write(IMS, kIcrRxTimer);
  rig.Write(ICS, kIcrRxTimer);
  EXPECT_TRUE(rig.wiring.intx.level);
  rig.Read(ICR);
  EXPECT_FALSE(rig.wiring.intx.level);
  rig.Write(ICS, kIcrRxTimer);
  EXPECT_FALSE(rig.wiring.intx.level);
  rig.clock.Advance(kInterval * 256 - 1);
  EXPECT_FALSE(rig.wiring.intx.level);
  rig.clock.Advance(1);
  EXPECT_TRUE(rig.wiring.intx.level);
  EXPECT_EQ(rig.wiring.intx.edges, 2u);
  // A cause that is masked meanwhile is none.
  rig.Read(ICR);
  rig.Write(ICS, kIcrRxTimer);
  rig.Write(IMC, kIcrRxTimer);
  rig.clock.Advance(kInterval * 512);
  EXPECT_EQ(rig.wiring.intx.edges, 2u);
}

TEST_F(E1000Test, ReceiveInterruptsAreDelayed) {
  StartReceive();
  rig.Write(RDTR, 10);
  rig.Write(RADV, 25);
  rig.Write(IMS, kIcrRxTimer);
  for (int i = 0; i < 5; ++i) {  // each within the delay of the one before
    rig.port.Deliver(Frame(64));
    rig.clock.Advance(5 * 1024 - 1);
    EXPECT_FALSE(rig.wiring.intx.level) << i;
  }
  rig.clock.Advance(5);
  EXPECT_TRUE(rig.wiring.intx.level);  // the absolute limit
  rig.Read(ICR);
  rig.port.Deliver(Frame(64));
  EXPECT_FALSE(rig.wiring.intx.level);
  rig.Write(RDTR, kFlushDelay | 10);
  EXPECT_TRUE(rig.wiring.intx.level);
}

TEST_F(E1000Test, TransmitInterruptsAreDelayed) {
  StartTransmit();
  rig.Write(TIDV, 8);
  rig.Write(IMS, kIcrTxDescWritten);
  rig.Poke(kTxBuffer, Frame(64));
  Descriptor(kTxBuffer, kWhole | uint64_t{0x80} << 24 | 64);
  Kick();
  EXPECT_EQ(TxStatus(0) & 1, 1);
  EXPECT_FALSE(rig.wiring.intx.level);
  rig.clock.Advance(8 * 1024);
  EXPECT_TRUE(rig.wiring.intx.level);
}

TEST_F(E1000Test, StateSurvives) {
  StartTransmit();
  StartReceive();
  rig.Write(RDTR, 10);
  rig.port.Deliver(Frame(64));
  rig.port.room = 0;
  Bytes packet = Ipv4Packet(3000);
  rig.Poke(kTxBuffer, packet);
  Context(0x07, 54, 1000, 3000);
  Descriptor(kTxBuffer,
             kWhole | kExtendedData | uint64_t{4} << 24 | packet.size() | uint64_t{3} << 40);
  Kick();
  Rig other("e1000");
  dev::ExpectRoundTrip(*rig.card, *other.card);
  other.clock.Advance(50'000'000);
  EXPECT_EQ(other.port.sent.size(), 3u);
}

// ---- Hostile guests, by the reports that found others wanting.

// CVE-2016-1981: a ring's head and tail outside of the ring, so that one never
// meets the other.
TEST_F(E1000Test, Cve2016_1981_HeadAndTailOutsideOfTheRing) {
  for (const uint32_t head : {0u, 15u, 16u, 0xFFFFu}) {
    for (const uint32_t end : {0u, 15u, 16u, 0xFFFFu}) {
      for (const uint32_t length : {0u, 128u, 256u, 0xFFF80u}) {
        rig.Write(TDBAL, kTxRing);
        rig.Write(TDLEN, length);
        rig.Write(TDH, head);
        rig.Write(TCTL, kTctlEnable);
        rig.Write(TDT, end);
        StartReceive();
        rig.Write(RDLEN, length);
        rig.Write(RDH, head);
        rig.Write(RDT, end);
        rig.port.Deliver(Frame(1514));
        rig.Write(CTRL, kCtrlReset);
      }
    }
  }
}

// The greatest ring, full of the longest descriptors without an end: one write
// does a bounded part of it, and the rest goes on by itself.
TEST_F(E1000Test, LongRingsTakeTurns) {
  rig.Write(TDBAL, 0);
  rig.Write(TDLEN, 0xFFF80);
  for (uint64_t at = 0; at < Rig::kRam / 2; at += 16) {
    rig.Store<uint64_t>(at, 0);
    rig.Store<uint64_t>(at + 8, kExtendedData | 0xFFFFF);
  }
  rig.Write(TCTL, kTctlEnable);
  rig.Write(TDT, 65527);
  EXPECT_LT(rig.Read(TDH), 1000u);
  const uint32_t before = rig.Read(TDH);
  rig.clock.Advance(1);
  EXPECT_GT(rig.Read(TDH), before);
  EXPECT_TRUE(rig.port.sent.empty());
  // Who writes again at once gains nothing but a turn.
  rig.Write(TCTL, 0);
  const uint32_t stopped = rig.Read(TDH);
  rig.clock.Advance(1'000'000);
  EXPECT_EQ(rig.Read(TDH), stopped);
}

// CVE-2021-20257: segmentation contexts that make no progress: no payload, headers
// longer than the frame, segments of nothing.
TEST_F(E1000Test, Cve2021_20257_SegmentationWithoutProgress) {
  StartTransmit();
  for (const unsigned headers : {0, 13, 54, 255}) {
    for (const unsigned mss : {0, 1, 47, 0xFFFF}) {
      for (const unsigned size : {0, 1, 54, 60}) {
        Context(0x07, static_cast<uint8_t>(headers), static_cast<uint16_t>(mss), 0xFFFFF);
        Descriptor(kTxBuffer,
                   kWhole | kExtendedData | uint64_t{4} << 24 | size | uint64_t{3} << 40);
        Kick();
        EXPECT_EQ(rig.Read(TDH), tail);
      }
    }
  }
  for (const Bytes& b : rig.TakeSent()) EXPECT_LE(b.size(), 64u);
}

// CVE-2012-6075: frames that are longer than what the driver said it takes.
TEST_F(E1000Test, Cve2012_6075_OversizedFrames) {
  StartReceive();
  EXPECT_TRUE(rig.port.Deliver(Frame(1519)));
  EXPECT_TRUE(rig.port.Deliver(Frame(9000)));
  EXPECT_EQ(rig.Read(RDH), 0u);
  EXPECT_TRUE(rig.port.Deliver(Frame(1518)));
  EXPECT_EQ(rig.Read(RDH), 1u);
  rig.Write(RCTL, kRctlEnable | kRctlLong);
  EXPECT_TRUE(rig.port.Deliver(Frame(16381)));
  EXPECT_EQ(rig.Read(RDH), 1u);
  EXPECT_TRUE(rig.port.Deliver(Frame(16380)));
  EXPECT_NE(rig.Read(RDH), 1u);
  // One that no number of its descriptors can hold does not block the others.
  rig.Write(RDLEN, 128);
  rig.Write(RDH, 0);
  rig.Write(RDT, 7);
  rig.Write(RCTL, kRctlEnable | kRctlLong | 3 << 16);  // 7 times 256 bytes
  EXPECT_TRUE(rig.port.Deliver(Frame(4000)));
  EXPECT_TRUE(rig.port.Deliver(Frame(1000)));
}

// CVE-2025-12464: short frames in loopback, which are padded on their way in.
TEST_F(E1000Test, Cve2025_12464_ShortFramesInLoopback) {
  for (unsigned size = 1; size < 70; ++size) {
    StartReceive(kRctlLoopback | kRctlUnicastAll);
    StartTransmit(0);
    tail = 0;
    Send(Frame(size));
    const unsigned expected = size < 14 ? 0 : std::max(size, 60u) + 4;
    EXPECT_EQ(RxRest(0) & 0xFFFF, expected) << size;
  }
  EXPECT_TRUE(rig.port.sent.empty());
}

// Frames that come back over the descriptors that are being worked through, so
// that the ring changes under the transmitter and never ends.
TEST_F(E1000Test, LoopbackOverTheOwnRing) {
  StartReceive(kRctlLoopback | kRctlUnicastAll | kRctlStripCheck);
  for (unsigned i = 0; i < kCount; ++i) rig.Store<uint64_t>(kRxRing + 16 * i, kTxRing);
  StartTransmit();
  Bytes frame(16 * kCount);
  for (unsigned i = 0; i < kCount; ++i) {
    StoreLe<uint64_t>(&frame[16 * i], kTxRing);
    StoreLe<uint64_t>(&frame[16 * i + 8], kWhole | frame.size());
  }
  rig.Poke(kTxRing, frame);
  for (int i = 0; i < 100; ++i) {
    rig.Write(RDT, (rig.Read(RDH) + kCount - 1) % kCount);
    rig.Write(TDT, (rig.Read(TDH) + kCount - 1) % kCount);
  }
}

// CVE-2021-20255 and its class: DMA to the card's own registers. Memory that is
// none takes nothing and gives zeroes, wherever the card's windows lie.
TEST_F(E1000Test, Cve2021_20255_DmaToOwnRegisters) {
  constexpr uint32_t kBar = 0xFEB00000;
  rig.card->WriteConfig(0x10, 4, kBar);
  StartReceive();
  StartTransmit();
  for (unsigned i = 0; i < kCount; ++i) rig.Store<uint64_t>(kRxRing + 16 * i, kBar + CTRL);
  rig.port.Deliver(Frame(1514));
  EXPECT_EQ(rig.Read(RDH), 1u);
  EXPECT_TRUE(rig.Read(RCTL) & kRctlEnable);
  Descriptor(kBar + ICR, kWhole | 64);
  Kick();
  ASSERT_EQ(rig.port.sent.size(), 1u);
  EXPECT_EQ(rig.port.sent[0].bytes, Bytes(64));
  // And the rings themselves.
  rig.Write(TDBAL, kBar);
  rig.Write(RDBAL, kBar);
  rig.port.Deliver(Frame(1514));
  rig.Write(TDT, 9);
}

TEST_F(E1000Test, WithoutBusMasteringThereIsNoDma) {
  StartReceive();
  StartTransmit();
  rig.card->WriteConfig(pci::kCommand, 2, pci::kCommandMemory);
  Send(Frame(64));
  EXPECT_TRUE(rig.port.Deliver(Frame(64)));
  EXPECT_EQ(rig.Read(RDH), 0u);
  EXPECT_TRUE(rig.port.sent.empty());
  rig.card->WriteConfig(pci::kCommand, 2, pci::kCommandMemory | pci::kCommandBusMaster);
  EXPECT_EQ(rig.port.sent.size(), 1u);
}

}  // namespace
}  // namespace atl::nic
