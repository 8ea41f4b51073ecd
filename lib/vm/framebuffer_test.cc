// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/framebuffer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"

namespace atl::vm {
namespace {

constexpr unsigned kBar = 0;

class Function : public pci::PciDevice {
 public:
  explicit Function(const pci::PciWiring& wiring) : PciDevice(wiring, Spec()) {}
  absl::string_view name() const override { return "function"; }
  // Places the BAR, with decoding on.
  void Place(uint32_t base) {
    WriteConfig(0x10, 4, base);
    WriteConfig(4, 2, 2);
  }

 private:
  static pci::PciSpec Spec() {
    pci::PciSpec spec;
    spec.bars = {{kBar, pci::BarKind::kMemory32, 1 << 20, true},
                 {2, pci::BarKind::kMemory32, 4096, false}};
    return spec;
  }
};

class FramebufferTest : public testing::Test {
 protected:
  FramebufferTest() {
    framebuffer_.SetMemory(kBar, bytes_);
    pci::PciWiring wiring = fakes_.At(2);
    wiring.mapper = &framebuffer_;
    function_ = std::make_unique<Function>(wiring);
  }
  // Whether the framebuffer is memory there.
  bool Shows(uint64_t at) {
    const MemorySlot* slot = memory_->Find(Gpa(at), 1);
    return slot != nullptr && slot->host + (at - slot->base.value) == bytes_.data();
  }
  void RunWork() {
    for (const auto& w : std::exchange(work_, {})) w();
  }

  std::unique_ptr<GuestMemory> memory_ = GuestMemory::Create(64 << 20).value();
  std::vector<uint8_t> bytes_ = std::vector<uint8_t>(1 << 20);
  std::vector<std::function<void()>> work_;
  pci::FakeWiring fakes_;
  Framebuffer framebuffer_{fakes_.mapper, *memory_,
                           [this](std::function<void()> w) { work_.push_back(std::move(w)); }};
  std::unique_ptr<Function> function_;
};

TEST_F(FramebufferTest, FollowsItsBar) {
  function_->Place(0xFD000000);
  EXPECT_TRUE(Shows(0xFD000000));
  EXPECT_NE(fakes_.mapper.Find(*function_, kBar), nullptr);
  const uint8_t value[] = {1, 2, 3, 4};
  EXPECT_TRUE(memory_->Write(Gpa(0xFD000FFE), value));
  EXPECT_EQ(bytes_[0xFFF], 2);
  function_->Place(0xE0000000);
  EXPECT_FALSE(Shows(0xFD000000));
  EXPECT_TRUE(Shows(0xE0000000));
  function_->WriteConfig(4, 2, 0);
  EXPECT_EQ(memory_->Find(Gpa(0xE0000000), 1), nullptr);
  EXPECT_EQ(memory_->slots().size(), 1u);
  EXPECT_EQ(fakes_.mapper.errors, 0);
}

// While vCPUs run, slots change at standstill only.
TEST_F(FramebufferTest, WaitsForTheStandstill) {
  framebuffer_.GuestRuns(true);
  function_->Place(0xFD000000);
  EXPECT_FALSE(Shows(0xFD000000));
  function_->Place(0xFE000000);
  RunWork();
  EXPECT_FALSE(Shows(0xFD000000));
  EXPECT_TRUE(Shows(0xFE000000));
}

// The guest puts the BAR over its RAM and over the BIOS: they stay.
TEST_F(FramebufferTest, NeverReplacesRamOrRom) {
  uint8_t* const ram = memory_->ram_host();
  std::vector<uint8_t> rom(65536);
  memory_->SetSlot(Gpa(0xFFFF0000), rom.size(), rom.data(), SlotKind::kRom);
  for (uint32_t base : {0x02000000u, 0x03F00000u, 0xFFE00000u, 0xFFF00000u}) {
    function_->Place(base);
    EXPECT_EQ(memory_->Find(Gpa(0x02000000), 1)->host, ram);
    EXPECT_TRUE(memory_->Find(Gpa(0x03FFFFFF), 1) != nullptr);
    EXPECT_EQ(memory_->Find(Gpa(0xFFFF0000), 1)->host, rom.data());
    function_->WriteConfig(4, 2, 0);
    EXPECT_EQ(memory_->low_ram_bytes(), 64u << 20);
    EXPECT_EQ(memory_->slots().size(), 2u);
    EXPECT_EQ(memory_->slots()[0].size, 64u << 20);
  }
  memory_->SetSlot(Gpa(0xFFFF0000), rom.size(), nullptr, SlotKind::kRom);
}

}  // namespace
}  // namespace atl::vm
