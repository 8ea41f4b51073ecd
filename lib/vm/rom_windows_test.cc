// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/rom_windows.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"

namespace atl::vm {
namespace {

constexpr uint32_t kEnable = 1;

class Function : public pci::PciDevice {
 public:
  Function(const pci::PciWiring& wiring, size_t rom) : PciDevice(wiring, Spec(rom)) {}
  absl::string_view name() const override { return "function"; }
  void PlaceRom(uint32_t base, uint32_t enable = kEnable) {
    WriteConfig(4, 2, 2);
    WriteConfig(0x30, 4, base | enable);
  }

 private:
  static pci::PciSpec Spec(size_t rom) {
    pci::PciSpec spec;
    for (size_t i = 0; i < rom; ++i) spec.rom.push_back(static_cast<uint8_t>(i * 7 + (i >> 8)));
    return spec;
  }
};

class RomWindowsTest : public testing::Test {
 protected:
  std::unique_ptr<Function> Make(unsigned slot, size_t rom) {
    pci::PciWiring wiring = fakes_.At(slot);
    wiring.mapper = &roms_;
    return std::make_unique<Function>(wiring, rom);
  }
  // Whether memory there reads as the function does.
  bool Shows(Function& function, uint64_t base, size_t size) {
    for (uint64_t at = 0; at < size; at += 4) {
      const std::optional<uint32_t> word = memory_->Load<uint32_t>(Gpa(base + at));
      if (word != function.Read(pci::PciDevice::kRomRegion, at, 4)) return false;
    }
    return true;
  }
  bool Memory(uint64_t at) { return memory_->Find(Gpa(at), 1) != nullptr; }
  void RunWork() {
    for (const auto& w : std::exchange(work_, {})) w();
  }

  std::unique_ptr<GuestMemory> memory_ = GuestMemory::Create(64 << 20).value();
  std::vector<std::function<void()>> work_;
  pci::FakeWiring fakes_;
  RomWindows roms_{fakes_.mapper, *memory_,
                   [this](std::function<void()> w) { work_.push_back(std::move(w)); }};
};

TEST_F(RomWindowsTest, ARomIsReadOnlyMemoryWhereItIsMapped) {
  const auto f = Make(2, 40000), g = Make(3, 4096);
  f->PlaceRom(0xFE000000);
  EXPECT_TRUE(Shows(*f, 0xFE000000, 65536));
  EXPECT_FALSE(Memory(0xFE010000));
  memory_->Store(Gpa(0xFE000000), uint32_t{0});
  EXPECT_TRUE(Shows(*f, 0xFE000000, 65536));
  EXPECT_EQ(memory_->Find(Gpa(0xFE000000), 1)->kind, SlotKind::kRom);
  // Two of them; one moves, one is switched off.
  g->PlaceRom(0xFE100000);
  f->PlaceRom(0xFE200000);
  EXPECT_FALSE(Memory(0xFE000000));
  EXPECT_TRUE(Shows(*f, 0xFE200000, 65536));
  EXPECT_TRUE(Shows(*g, 0xFE100000, 4096));
  f->PlaceRom(0xFE200000, 0);
  EXPECT_FALSE(Memory(0xFE200000));
  EXPECT_TRUE(Memory(0xFE100000));
}

TEST_F(RomWindowsTest, FollowsAtAStandstillOnceTheGuestRuns) {
  const auto f = Make(2, 4096);
  roms_.GuestRuns(true);
  f->PlaceRom(0xFE000000);
  EXPECT_FALSE(Memory(0xFE000000));
  f->PlaceRom(0xFE100000);
  RunWork();
  EXPECT_FALSE(Memory(0xFE000000));
  EXPECT_TRUE(Shows(*f, 0xFE100000, 4096));
  f->PlaceRom(0, 0);
  RunWork();
  EXPECT_FALSE(Memory(0xFE100000));
}

TEST_F(RomWindowsTest, NeverTakesThePlaceOfMemory) {
  const auto f = Make(2, 65536);
  const uint32_t first = *memory_->Load<uint32_t>(Gpa(0x100000));
  f->PlaceRom(0x100000);
  EXPECT_EQ(*memory_->Load<uint32_t>(Gpa(0x100000)), first);
  EXPECT_EQ(memory_->Find(Gpa(0x100000), 1)->kind, SlotKind::kRam);
  f->PlaceRom(0xFE000000);
  EXPECT_TRUE(Shows(*f, 0xFE000000, 65536));
  EXPECT_TRUE(Memory(0x100000));
}

// It has but half a page: it stays the bus'.
TEST_F(RomWindowsTest, LeavesSmallOnesToTheBus) {
  const auto f = Make(2, 2048);
  f->PlaceRom(0xFE000000);
  EXPECT_FALSE(Memory(0xFE000000));
}

}  // namespace
}  // namespace atl::vm
