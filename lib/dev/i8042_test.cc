// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/i8042.h"

#include <vector>

#include "gtest/gtest.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

using Bytes = std::vector<int>;

class I8042Test : public testing::Test {
 protected:
  uint8_t Status() { return static_cast<uint8_t>(kbc_.Read(I8042::kCommand, 0, 1)); }
  uint8_t Data() { return static_cast<uint8_t>(kbc_.Read(I8042::kData, 0, 1)); }
  void Command(uint8_t c) { kbc_.Write(I8042::kCommand, 0, 1, c); }
  void Write(uint8_t v) { kbc_.Write(I8042::kData, 0, 1, v); }
  void Mouse(uint8_t v) {
    Command(0xD4);
    Write(v);
  }
  Bytes Drain(bool mouse = false) {
    Bytes out;
    while (Status() & 1) {
      EXPECT_EQ((Status() & 0x20) != 0, mouse);
      out.push_back(Data());
    }
    return out;
  }
  Bytes Ask(uint8_t command) {
    Command(command);
    return Drain();
  }
  void SetConfig(uint8_t v) {
    Command(0x60);
    Write(v);
  }

  FakeIrqLine irq1_, irq12_;
  FakeSystemControl system_;
  I8042 kbc_{irq1_, irq12_, system_};
};

// The steps of Linux' i8042 probe.
TEST_F(I8042Test, ControllerProbe) {
  EXPECT_EQ(Status() & 1, 0);
  EXPECT_EQ(Ask(0x20), Bytes{0x47});
  SetConfig(0x34);  // interrupts and ports off
  EXPECT_EQ(Ask(0x20), Bytes{0x34});
  EXPECT_EQ(Ask(0xAA), Bytes{0x55});
  EXPECT_EQ(Ask(0xAB), Bytes{0x00});
  EXPECT_EQ(Ask(0xA9), Bytes{0x00});
  for (uint8_t echo : {0xF0, 0x56, 0xA4, 0x5A}) {
    Command(0xD3);
    Write(echo);
    EXPECT_EQ(Drain(true), Bytes{echo});
  }
  Command(0xA7);
  EXPECT_EQ(Ask(0x20).at(0) & 0x20, 0x20);
  Command(0xA8);
  EXPECT_EQ(Ask(0x20).at(0) & 0x20, 0);
  SetConfig(0x06);  // the mouse's interrupt
  Command(0xD3);
  Write(0xA5);
  EXPECT_TRUE(irq12_.level());
  EXPECT_FALSE(irq1_.level());
  EXPECT_EQ(Data(), 0xA5);
  EXPECT_FALSE(irq12_.level());
}

TEST_F(I8042Test, KeyboardProbe) {
  SetConfig(0x07);  // no translation
  Write(0xF2);
  EXPECT_EQ(irq1_.TakeEdges(), 1u);
  EXPECT_EQ(Data(), 0xFA);
  EXPECT_EQ(irq1_.TakeEdges(), 1u);  // an edge for each byte
  EXPECT_EQ(Drain(), (Bytes{0xAB, 0x83}));
  SetConfig(0x47);
  Write(0xF2);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xAB, 0x41}));
  Write(0xFF);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xAA}));
  Write(0xED);
  EXPECT_EQ(Drain(), Bytes{0xFA});
  Write(0x05);
  EXPECT_EQ(Drain(), Bytes{0xFA});
  EXPECT_EQ(kbc_.leds(), 5);
  Write(0xF3);
  Write(0x00);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xFA}));
  Write(0xEE);
  EXPECT_EQ(Drain(), Bytes{0xEE});
  Write(0xF0);
  Write(0x00);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xFA, 0x41}));  // set 2, translated
  Write(0xF0);
  Write(0x04);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xFE}));
  Write(0xE5);
  EXPECT_EQ(Drain(), Bytes{0xFE});
}

TEST_F(I8042Test, KeysInBothSets) {
  kbc_.Key(0x1E, true);  // a
  kbc_.Key(0x1E, false);
  kbc_.Key(0xC8, true);  // up
  kbc_.Key(0xC8, false);
  EXPECT_EQ(Drain(), (Bytes{0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8}));
  kbc_.Key(0xC6, true);  // Pause
  kbc_.Key(0xC6, false);
  EXPECT_EQ(Drain(), (Bytes{0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5}));
  kbc_.Key(0xB7, true);  // Print Screen
  kbc_.Key(0xB7, false);
  EXPECT_EQ(Drain(), (Bytes{0xE0, 0x2A, 0xE0, 0x37, 0xE0, 0xB7, 0xE0, 0xAA}));
  SetConfig(0x07);
  kbc_.Key(0x1E, true);
  kbc_.Key(0x1E, false);
  kbc_.Key(0xC8, false);
  EXPECT_EQ(Drain(), (Bytes{0x1C, 0xF0, 0x1C, 0xE0, 0xF0, 0x75}));
  Write(0xF0);
  Write(0x01);
  Drain();
  kbc_.Key(0x1E, false);
  EXPECT_EQ(Drain(), Bytes{0x9E});
  Write(0xF5);  // disabled: nothing comes
  Drain();
  kbc_.Key(0x1E, true);
  EXPECT_EQ(Drain(), Bytes{});
}

// Every key is one byte, its release two.
TEST_F(I8042Test, Set3) {
  SetConfig(0x07);
  Write(0xF0);
  Write(0x03);
  Write(0xF0);
  Write(0x00);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xFA, 0xFA, 0xFA, 0x03}));
  Write(0xF8);  // make and break of all keys, as Linux asks
  Write(0xFB);  // and of some
  Write(0x39);
  Write(0x58);
  Write(0xED);  // a command ends the list
  Write(0x04);
  EXPECT_EQ(Drain(), (Bytes{0xFA, 0xFA, 0xFA, 0xFA, 0xFA, 0xFA}));
  EXPECT_EQ(kbc_.leds(), 4);
  for (uint8_t key : {0x1E, 0xC8, 0x3B, 0xC6, 0xB7, 0x4E}) {
    kbc_.Key(key, true);
    kbc_.Key(key, false);
  }
  kbc_.Key(0xFF, true);  // no such key
  EXPECT_EQ(Drain(), (Bytes{0x1C, 0xF0, 0x1C, 0x63, 0xF0, 0x63, 0x07, 0xF0, 0x07, 0x62, 0xF0, 0x62,
                            0x57, 0xF0, 0x57, 0x7C, 0xF0, 0x7C}));
}

// Each set 1 code survives the way through set 2 and back.
TEST(Ps2Translation, IsAnInverse) {
  for (unsigned code = 1; code < 0x59; ++code) {
    const uint8_t set2 = Set1ToSet2(static_cast<uint8_t>(code));
    if (set2 == 0) continue;
    EXPECT_EQ(Set2ToSet1(set2), code);
  }
}

TEST_F(I8042Test, KeysWaitForTheirPort) {
  Command(0xAD);
  kbc_.Key(0x1E, true);
  EXPECT_EQ(Drain(), Bytes{});
  Command(0xAE);
  kbc_.Key(0x30, true);
  Command(0x20);  // an answer goes before the key in the buffer, which comes again
  EXPECT_EQ(Drain(), (Bytes{0x47, 0x1E, 0x30}));
}

TEST_F(I8042Test, QueueIsBounded) {
  for (int i = 0; i < 1000; ++i) kbc_.Key(0xC8, true);
  EXPECT_LE(Drain().size(), Ps2Queue::kCapacity + 2);
  Command(0xA8);
  Mouse(0xF4);
  Drain(true);
  for (int i = 0; i < 100000; ++i) kbc_.MoveMouse(100, -100, 1, i & 1);
  EXPECT_LT(Drain(true).size(), 3000u);  // summed, not queued
}

TEST_F(I8042Test, MouseProbeAndPackets) {
  Mouse(0xFF);
  EXPECT_EQ(irq12_.TakeEdges(), 1u);
  EXPECT_EQ(Drain(true), (Bytes{0xFA, 0xAA, 0x00}));
  Mouse(0xF2);
  EXPECT_EQ(Drain(true), (Bytes{0xFA, 0x00}));
  kbc_.MoveMouse(1, 1, 0, 0);
  EXPECT_EQ(Drain(true), Bytes{});  // reporting is off
  Mouse(0xF6);
  Mouse(0xF4);
  Drain(true);
  kbc_.MoveMouse(10, 20, 0, 1);
  EXPECT_EQ(Drain(true), (Bytes{0x29, 10, 0x100 - 20}));
  const auto knock = [&](std::vector<uint8_t> rates) {
    for (uint8_t r : rates) {
      Mouse(0xF3);
      Mouse(r);
    }
    Drain(true);
    Mouse(0xF2);
    return Drain(true);
  };
  EXPECT_EQ(knock({200, 200, 80}), (Bytes{0xFA, 0}));
  EXPECT_EQ(knock({200, 100, 80}), (Bytes{0xFA, 3}));
  EXPECT_EQ(knock({200, 200, 80}), (Bytes{0xFA, 4}));
  kbc_.MoveMouse(-300, 0, -1, 0x12);
  EXPECT_EQ(Drain(true), (Bytes{0x1A, 1, 0, 0x2F, 0x1A, 0x100 - 45, 0, 0x20}));
  Mouse(0xE9);
  EXPECT_EQ(Drain(true), (Bytes{0xFA, 0x21, 2, 80}));
  Mouse(0xEB);
  EXPECT_EQ(Drain(true), (Bytes{0xFA, 0x0A, 0, 0, 0x20}));
  Mouse(0xEE);  // wrap
  Mouse(0x55);
  Mouse(0xEC);
  EXPECT_EQ(Drain(true), (Bytes{0xFA, 0x55, 0xFA}));
}

TEST_F(I8042Test, A20AndReset) {
  EXPECT_TRUE(system_.a20);
  EXPECT_EQ(kbc_.Read(I8042::kPortA, 0, 1), 0x02u);
  kbc_.Write(I8042::kPortA, 0, 1, 0);
  EXPECT_FALSE(system_.a20);
  EXPECT_EQ(Ask(0xD0).at(0) & 0x02, 0);
  Command(0xD1);
  Write(0xDF);
  EXPECT_TRUE(system_.a20);
  Command(0xDD);
  EXPECT_FALSE(system_.a20);
  Command(0xDF);
  EXPECT_TRUE(system_.a20);
  EXPECT_EQ(system_.resets, 0u);
  Command(0xFE);
  EXPECT_EQ(system_.resets, 1u);
  kbc_.Write(I8042::kPortA, 0, 1, 0x03);
  EXPECT_EQ(system_.resets, 2u);
  Command(0xD1);
  Write(0x02);
  EXPECT_EQ(system_.resets, 3u);
}

TEST_F(I8042Test, StateRoundTrip) {
  kbc_.Key(0x1E, true);
  kbc_.Key(0x30, true);
  Mouse(0xF4);
  Command(0x20);
  kbc_.MoveMouse(500, 1, 0, 1);
  FakeIrqLine irq1, irq12;
  FakeSystemControl system;
  I8042 other(irq1, irq12, system);
  ExpectRoundTrip(kbc_, other);
  EXPECT_TRUE(irq1.level());
}

}  // namespace
}  // namespace atl::dev
