// SPDX-License-Identifier: Apache-2.0
// The devices that are one port.
#include "gtest/gtest.h"
#include "lib/dev/debug_port.h"
#include "lib/dev/reset_port.h"
#include "lib/dev/testing/fake_stream.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

TEST(DebugExit, StatusIsOddAndFitsAProcess) {
  FakeSystemControl system;
  DebugExit exit(system);
  exit.Write(0, 0, 1, 0x10);
  EXPECT_EQ(system.exit_status, 0x21);
  exit.Write(0, 0, 4, 0xFFFFFFFF);
  EXPECT_EQ(system.exit_status, 0xFF);
}

TEST(DebugConsole, WritesAndIdentifies) {
  FakeStream stream;
  DebugConsole console(stream);
  for (char c : std::string("SeaBIOS")) console.Write(0, 0, 1, static_cast<uint8_t>(c));
  EXPECT_EQ(stream.output, "SeaBIOS");
  EXPECT_EQ(console.Read(0, 0, 1), 0xE9u);
}

TEST(ResetPort, ResetsOnTheEdgeOfBit2) {
  FakeSystemControl system;
  ResetPort port(system);
  port.Write(0, 0, 1, 0x02);  // as Linux does it
  EXPECT_EQ(system.resets, 0u);
  EXPECT_EQ(port.Read(0, 0, 1), 0x02u);
  port.Write(0, 0, 1, 0x06);
  EXPECT_EQ(system.resets, 1u);
  ResetPort other(system);
  ExpectRoundTrip(port, other);
}

}  // namespace
}  // namespace atl::dev
