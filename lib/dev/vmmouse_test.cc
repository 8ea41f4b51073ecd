// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/vmmouse.h"

#include "gtest/gtest.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

constexpr uint32_t kEnable = 0x45414552, kDisable = 0xF5;
constexpr uint32_t kAbsolute = 0x53424152, kRelative = 0x4C455252;
constexpr uint32_t kId = 0x3442554A;

VmMouse::Registers Call(VmMouse& m, uint32_t number, uint32_t argument) {
  VmMouse::Registers r{VmMouse::kMagic, argument, number, 0x5658};
  EXPECT_TRUE(m.Call(r)) << number;
  return r;
}

uint32_t Status(VmMouse& m) { return Call(m, 40, 0).eax; }

// As Linux's driver begins.
void Enable(VmMouse& m, uint32_t mode) {
  Call(m, 41, kEnable);
  ASSERT_EQ(Status(m), 1u);
  ASSERT_EQ(Call(m, 39, 1).eax, kId);
  Call(m, 86, 1);
  Call(m, 41, mode);
}

TEST(VmMouse, TellsItsVersion) {
  VmMouse m;
  const VmMouse::Registers r = Call(m, 10, ~VmMouse::kMagic);
  EXPECT_EQ(r.ebx, VmMouse::kMagic);
  EXPECT_NE(r.eax, 0xFFFFFFFFu);
}

TEST(VmMouse, WhatIsNoCallChangesNothing) {
  VmMouse m;
  VmMouse::Registers r{VmMouse::kMagic + 1, 2, 10, 4};
  EXPECT_FALSE(m.Call(r));
  EXPECT_EQ(r.ebx, 2u);
  r = {VmMouse::kMagic, 2, 20, 4};  // a call that there is not
  EXPECT_FALSE(m.Call(r));
  EXPECT_EQ(r.ebx, 2u);
  EXPECT_EQ(m.Read(0, 0, 4), ~uint64_t{0});
}

TEST(VmMouse, PlacesAndMoves) {
  VmMouse m;
  EXPECT_EQ(Status(m), 0xFFFF0000u);
  m.MoveTo(1, 2, 0, 0);  // nobody listens
  EXPECT_EQ(Status(m), 0xFFFF0000u);
  Enable(m, kAbsolute);
  EXPECT_TRUE(m.absolute());
  m.MoveTo(0x12345, 7, -1, 5);
  EXPECT_EQ(Status(m), 4u);
  VmMouse::Registers r = Call(m, 39, 4);
  EXPECT_EQ(r.eax, 0x28u);
  EXPECT_EQ(r.ebx, 0xFFFFu);
  EXPECT_EQ(r.ecx, 7u);
  EXPECT_EQ(r.edx, 0xFFFFFFFFu);
  Call(m, 41, kRelative);
  EXPECT_TRUE(m.enabled());
  EXPECT_FALSE(m.absolute());
  m.Move(-3, 4, 1, 2);
  r = Call(m, 39, 4);
  EXPECT_EQ(r.eax, 0x10010u);
  EXPECT_EQ(static_cast<int32_t>(r.ebx), -3);
  EXPECT_EQ(static_cast<int32_t>(r.ecx), -4);  // up is positive
  EXPECT_EQ(r.edx, 1u);
  Call(m, 41, kDisable);
  EXPECT_EQ(Status(m), 0xFFFF0000u);
}

TEST(VmMouse, AGuestThatDoesNotAskLearnsTheLast) {
  VmMouse m;
  Enable(m, kAbsolute);
  for (uint32_t i = 0; i < 1000; ++i) m.MoveTo(i, 0, 0, i == 999 ? 0 : 1);
  EXPECT_EQ(Status(m), 4 * VmMouse::kMaxPackets);
  VmMouse::Registers r;
  for (unsigned i = 0; i < VmMouse::kMaxPackets; ++i) r = Call(m, 39, 4);
  EXPECT_EQ(r.eax, 0u);
  EXPECT_EQ(r.ebx, 999u);
  EXPECT_EQ(Status(m), 0u);
}

TEST(VmMouse, AskingForWhatIsNotThereEndsItUntilItIsEnabled) {
  for (const uint32_t words : {0u, 3u, 5u, 0xFFFFFFFFu}) {
    VmMouse m;
    Call(m, 41, kEnable);
    EXPECT_EQ(Call(m, 39, words).eax, 0xFFFF0000u);
    EXPECT_EQ(Status(m), 0xFFFF0000u);
    m.MoveTo(1, 1, 0, 0);
    EXPECT_EQ(Status(m), 0xFFFF0000u);
    Enable(m, kAbsolute);
    EXPECT_EQ(Status(m), 0u);
  }
}

TEST(VmMouse, StateRoundTrip) {
  VmMouse m, other;
  Enable(m, kAbsolute);
  m.MoveTo(5, 6, 7, 1);
  ExpectRoundTrip(m, other);
  EXPECT_EQ(Call(other, 39, 4).ebx, 5u);
  m.Reset();
  EXPECT_FALSE(m.enabled());
}

}  // namespace
}  // namespace atl::dev
