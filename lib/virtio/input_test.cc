// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/input.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/pci/testing/fakes.h"
#include "lib/ui/keys.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kBuffers = 0x40000;
constexpr uint16_t kDepth = 16;  // of the event queue

class Input : public testing::Test {
 protected:
  void Create(InputKind kind) {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    std::unique_ptr<InputDevice> device = NewInput(memory_.get(), kind);
    input_ = device.get();
    function_ = NewVirtioPci(wiring_.At(5), memory_.get(), std::move(device), {.legacy = false});
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), Driver::kModern);
  }
  void Start(InputKind kind, unsigned buffers = kDepth) {
    Create(kind);
    ASSERT_TRUE(driver_->Negotiate(0));
    events_ = driver_->SetUpQueue(0, 0x10000, kDepth);
    status_ = driver_->SetUpQueue(1, 0x20000, kDepth);
    driver_->Start();
    Supply(buffers);
  }
  void Supply(unsigned buffers) {
    for (unsigned i = 0; i < buffers; ++i, ++supplied_) {
      const uint64_t at = kBuffers + 8 * (supplied_ % kDepth);
      events_.Add(std::vector<Segment>{{at, 8, true}}, static_cast<uint16_t>(supplied_ % kDepth));
    }
    driver_->Kick(0);
  }
  // What has come, "type:code:value" each.
  std::string Events() {
    std::string out;
    while (const auto used = events_.TakeUsed()) {
      EXPECT_EQ(used->length, 8u);
      const Gpa at(kBuffers + 8 * used->id);
      absl::StrAppend(&out, out.empty() ? "" : " ", *memory_->Load<uint16_t>(at), ":",
                      *memory_->Load<uint16_t>(at + 2), ":",
                      static_cast<int32_t>(*memory_->Load<uint32_t>(at + 4)));
    }
    return out;
  }
  // The answer to a question, its size's bytes.
  std::vector<uint8_t> Ask(uint8_t select, uint8_t subselect) {
    driver_->WriteDeviceConfig(0, 1, select);
    driver_->WriteDeviceConfig(1, 1, subselect);
    std::vector<uint8_t> out(driver_->ReadDeviceConfig(2, 1));
    for (unsigned i = 0; i < out.size(); ++i) {
      out[i] = static_cast<uint8_t>(driver_->ReadDeviceConfig(8 + i, 1));
    }
    return out;
  }
  void Led(uint16_t code, uint32_t value) {
    const Gpa at(0x50000);
    memory_->Store<uint16_t>(at, uint16_t{0x11});
    memory_->Store<uint16_t>(at + 2, code);
    memory_->Store<uint32_t>(at + 4, value);
    status_.Add(std::vector<Segment>{{0x50000, 8, false}});
    driver_->Kick(1);
    EXPECT_TRUE(status_.TakeUsed().has_value());
  }

  std::unique_ptr<GuestMemory> memory_;
  pci::FakeWiring wiring_;
  InputDevice* input_ = nullptr;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue events_, status_;
  unsigned supplied_ = 0;
};

TEST_F(Input, KeysAreLinuxEvents) {
  Start(InputKind::kKeyboard);
  EXPECT_EQ(function_->ReadConfig(0, 4), 0x10521AF4u);
  EXPECT_TRUE(input_->active());
  input_->Key(0x1E, true);
  input_->Key(0x1E, false);
  input_->Key(0xC8, true);  // up
  input_->Key(0x6F, true);  // no key
  EXPECT_EQ(Events(), "1:30:1 0:0:0 1:30:0 0:0:0 1:103:1 0:0:0");
  EXPECT_TRUE(wiring_.intx.level);
  // Not this device's.
  input_->Move(1, 1, 0, 1);
  input_->MoveTo(1, 1, 0, 1);
  EXPECT_EQ(Events(), "");
}

TEST_F(Input, EveryNamedKeyHasANumber) {
  for (const ui::KeyName& k : ui::KeyNames()) EXPECT_NE(LinuxKey(k.code), 0) << k.name;
  EXPECT_EQ(LinuxKey(0x58), 88);
  EXPECT_EQ(LinuxKey(0xED), 226);
  EXPECT_EQ(LinuxKey(0xFF), 0);
}

TEST_F(Input, MovesAndButtons) {
  Start(InputKind::kMouse);
  input_->Move(3, -4, 0, 0);
  input_->Move(0, 0, 1, 1);
  input_->Move(0, 0, 0, 6);
  input_->Move(0, 0, 0, 6);
  EXPECT_EQ(Events(),
            "2:0:3 2:1:-4 0:0:0 "
            "1:272:1 2:8:-1 0:0:0 "
            "1:272:0 1:273:1 1:274:1 0:0:0");
}

TEST_F(Input, PlacesOfATablet) {
  Start(InputKind::kTablet);
  input_->MoveTo(0, InputDevice::kMaxPlace, 0, 0);
  input_->MoveTo(99, 1 << 20, -1, 1);
  EXPECT_EQ(Events(), "3:0:0 3:1:32767 0:0:0 3:0:99 3:1:32767 1:272:1 2:8:1 0:0:0");
}

TEST_F(Input, WhatItSaysOfItself) {
  Create(InputKind::kKeyboard);
  const std::vector<uint8_t> name = Ask(1, 0);
  EXPECT_EQ(std::string(name.begin(), name.end()), "atoll keyboard");
  EXPECT_EQ(Ask(3, 0), (std::vector<uint8_t>{6, 0, 0xF4, 0x1A, 1, 0, 1, 0}));
  const std::vector<uint8_t> keys = Ask(0x11, 1);
  ASSERT_GE(keys.size(), 29u);  // up to KEY_MEDIA, 226
  EXPECT_EQ(keys[0] & 3, 2);    // 0 is no key
  EXPECT_EQ(Ask(0x11, 0x11), (std::vector<uint8_t>{7}));
  EXPECT_EQ(Ask(0x11, 0x14).size(), 1u);
  EXPECT_EQ(Ask(0x11, 3).size(), 0u);
  EXPECT_EQ(Ask(0x12, 0).size(), 0u);
  EXPECT_EQ(Ask(0x77, 0x77).size(), 0u);
  Create(InputKind::kTablet);
  EXPECT_EQ(Ask(0x11, 3), (std::vector<uint8_t>{3}));
  const std::vector<uint8_t> range = Ask(0x12, 1);
  ASSERT_EQ(range.size(), 20u);
  EXPECT_EQ(range[4], 0xFF);
  EXPECT_EQ(range[5], 0x7F);
  EXPECT_EQ(Ask(0x12, 2).size(), 0u);
  EXPECT_EQ(Ask(0x11, 1).size(), 35u);  // BTN_EXTRA
  // What cannot be written to is not.
  driver_->WriteDeviceConfig(2, 1, 200);
  EXPECT_EQ(driver_->ReadDeviceConfig(2, 1), 35u);
  EXPECT_EQ(driver_->ReadDeviceConfig(135, 4), 0u);
}

TEST_F(Input, TheDriverLightsTheLamps) {
  Start(InputKind::kKeyboard);
  EXPECT_EQ(input_->leds(), 0);
  Led(1, 1);
  Led(0, 1);
  EXPECT_EQ(input_->leds(), 6);
  Led(1, 0);
  Led(9, 1);  // no lamp of this keyboard
  EXPECT_EQ(input_->leds(), 2);
  driver_->SetStatus(0);
  EXPECT_EQ(input_->leds(), 0);
  EXPECT_FALSE(input_->active());
}

// A driver that gives no buffers: what waits is bounded, releases come through.
TEST_F(Input, AStoppedDriver) {
  Start(InputKind::kKeyboard, 0);
  for (int i = 0; i < 1000; ++i) input_->Key(0x1E, true);
  input_->Key(0x1E, false);
  EXPECT_FALSE(input_->taken());
  std::string last;
  unsigned events = 0;
  while (!input_->taken()) {
    Supply(kDepth);
    const std::string some = Events();
    ASSERT_FALSE(some.empty());
    events += 1 + static_cast<unsigned>(std::count(some.begin(), some.end(), ' '));
    last = some;
    ASSERT_LE(events, 2 * InputDevice::kMaxWaiting);
  }
  EXPECT_EQ(last.substr(last.size() - 12), "1:30:0 0:0:0");
}

// A driver that notifies only when it is asked to.
TEST_F(Input, AsksForTheNextNotification) {
  Start(InputKind::kKeyboard, 0);
  ASSERT_TRUE(driver_->Negotiate(kEventIndex));
  events_ = driver_->SetUpQueue(0, 0x10000, kDepth);
  status_ = driver_->SetUpQueue(1, 0x20000, kDepth);
  driver_->Start();
  for (uint16_t i = 0; i < 3; ++i) {
    EXPECT_EQ(status_.available_event(), i);
    Led(1, i & 1);
  }
  Supply(2);
  input_->Key(0x1E, true);
  input_->Key(0x1E, false);
  EXPECT_EQ(events_.available_event(), 2);
  Supply(2);
  EXPECT_TRUE(input_->taken());
}

TEST_F(Input, BadBuffersEndIt) {
  Start(InputKind::kKeyboard, 0);
  events_.Add(std::vector<Segment>{{kBuffers, 4, true}});
  driver_->Kick(0);
  input_->Key(0x1E, true);
  EXPECT_NE(driver_->status() & kStatusNeedsReset, 0);
  input_->Key(0x1E, false);
  EXPECT_FALSE(input_->active());
}

TEST_F(Input, BuffersOutsideMemory) {
  Start(InputKind::kTablet, 0);
  events_.Add(std::vector<Segment>{{uint64_t{1} << 40, 8, true}});
  driver_->Kick(0);
  input_->MoveTo(1, 1, 0, 0);
  EXPECT_NE(driver_->status() & kStatusNeedsReset, 0);
}

}  // namespace
}  // namespace atl::virtio
