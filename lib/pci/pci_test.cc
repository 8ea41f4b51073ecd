// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/pci/bus.h"
#include "lib/pci/device.h"
#include "lib/pci/i440fx.h"
#include "lib/pci/piix.h"
#include "lib/pci/pirq.h"
#include "lib/pci/resources.h"
#include "lib/pci/testing/fakes.h"

namespace atl::pci {
namespace {

constexpr uint32_t kTable = 0x000;
constexpr uint32_t kPba = 0x800;
constexpr unsigned kVectors = 3;

PciSpec TestSpec() {
  PciSpec spec;
  spec.vendor = 0x1234;
  spec.device = 0x5678;
  spec.revision = 7;
  spec.class_code = 0x020000;
  spec.interrupt_pin = 1;
  spec.bars = {{0, BarKind::kIo, 0x40, false},
               {1, BarKind::kMemory32, 0x1000, false},
               {4, BarKind::kMemory64, 0x4000, true}};
  spec.msix = MsixSpec{kVectors, 1, kTable, kPba};
  spec.registers = {{0x90, 4, 0x11223344, 0x0000FF00, 0x000000FF}};
  return spec;
}

class TestFunction : public PciDevice {
 public:
  explicit TestFunction(const PciWiring& wiring, const PciSpec& spec = TestSpec())
      : PciDevice(wiring, spec) {}
  absl::string_view name() const override { return "test"; }
  using PciDevice::SetIntx;
  using PciDevice::TriggerMsix;
};

class PciFunction : public testing::Test {
 protected:
  ~PciFunction() override { EXPECT_EQ(wiring_.mapper.errors, 0); }

  void EnableMsix(bool function_mask = false) {
    f_.WriteConfig(kCommand, 2, kCommandMemory | kCommandBusMaster);
    f_.WriteConfig(Capability(0x11) + 2, 2, function_mask ? 0xC000 : 0x8000);
  }
  unsigned Capability(uint8_t id) {
    for (unsigned at = f_.ReadConfig(kCapabilities, 1); at != 0; at = f_.ReadConfig(at + 1, 1)) {
      if (f_.ReadConfig(at, 1) == id) return at;
    }
    return 0;
  }
  static uint8_t ReadRom(TestFunction& f, unsigned at) {
    return static_cast<uint8_t>(f.Read(PciDevice::kRomRegion, at, 1));
  }
  void SetVector(unsigned i, uint64_t address, uint32_t data, bool masked) {
    f_.Write(1, kTable + 16 * i, 8, address);
    f_.Write(1, kTable + 16 * i + 8, 4, data);
    f_.Write(1, kTable + 16 * i + 12, 4, masked);
  }

  FakeWiring wiring_;
  TestFunction f_{wiring_.At(3)};
};

TEST_F(PciFunction, HeaderReadsAtEverySizeAndKeepsItsIdentity) {
  EXPECT_EQ(f_.ReadConfig(0, 4), 0x56781234u);
  EXPECT_EQ(f_.ReadConfig(2, 2), 0x5678u);
  EXPECT_EQ(f_.ReadConfig(1, 1), 0x12u);
  EXPECT_EQ(f_.ReadConfig(8, 4), 0x02000007u);
  EXPECT_EQ(f_.ReadConfig(kInterruptPin, 1), 1u);
  for (unsigned at : {0u, 8u, 0x2Cu}) {
    const uint32_t before = f_.ReadConfig(at, 4);
    f_.WriteConfig(at, 4, ~before);
    EXPECT_EQ(f_.ReadConfig(at, 4), before);
  }
}

TEST_F(PciFunction, RegistersFollowTheirMasks) {
  f_.WriteConfig(0x90, 4, 0xFFFFAA40);
  EXPECT_EQ(f_.ReadConfig(0x90, 4), 0x1122AA04u);
  f_.WriteConfig(0x91, 1, 0x55);
  EXPECT_EQ(f_.ReadConfig(0x90, 4), 0x11225504u);
}

TEST_F(PciFunction, AccessesPastTheEndAreOnesAndDoNothing) {
  EXPECT_EQ(f_.ReadConfig(254, 4), 0xFFFF0000u);
  EXPECT_EQ(f_.ReadConfig(256, 4), 0xFFFFFFFFu);
  EXPECT_EQ(f_.ReadConfig(~0u, 4), 0xFFFFFFFFu);
  f_.WriteConfig(254, 4, 0);
  f_.WriteConfig(~0u, 4, 0);
}

TEST_F(PciFunction, BarsAnswerSizingWithoutBeingMapped) {
  f_.WriteConfig(kCommand, 2, kCommandIo | kCommandMemory);
  for (unsigned i : {0u, 1u, 4u, 5u, 2u}) f_.WriteConfig(kBar0 + 4 * i, 4, 0xFFFFFFFF);
  EXPECT_EQ(f_.ReadConfig(kBar0, 4), 0xFFFFFFC1u);
  EXPECT_EQ(f_.ReadConfig(kBar0 + 4, 4), 0xFFFFF000u);
  EXPECT_EQ(f_.ReadConfig(kBar0 + 16, 4), 0xFFFFC00Cu);
  EXPECT_EQ(f_.ReadConfig(kBar0 + 20, 4), 0xFFFFFFFFu);
  EXPECT_EQ(f_.ReadConfig(kBar0 + 8, 4), 0u);
  EXPECT_TRUE(wiring_.mapper.ranges.empty());
}

TEST_F(PciFunction, BarsAreMappedWhileDecodingIsOn) {
  f_.WriteConfig(kBar0, 4, 0xC000);
  f_.WriteConfig(kBar0 + 4, 4, 0xE0001000);
  f_.WriteConfig(kBar0 + 16, 4, 0x00004000);
  f_.WriteConfig(kBar0 + 20, 4, 0x12);
  EXPECT_TRUE(wiring_.mapper.ranges.empty());
  f_.WriteConfig(kCommand, 2, kCommandIo);
  ASSERT_NE(wiring_.mapper.Find(f_, 0), nullptr);
  EXPECT_EQ(*wiring_.mapper.Find(f_, 0), (FakeMapper::Range{Space::kPort, 0xC000, 0x40}));
  EXPECT_EQ(wiring_.mapper.ranges.size(), 1u);
  f_.WriteConfig(kCommand, 2, kCommandMemory);
  EXPECT_EQ(wiring_.mapper.Find(f_, 0), nullptr);
  EXPECT_EQ(*wiring_.mapper.Find(f_, 1), (FakeMapper::Range{Space::kMmio, 0xE0001000, 0x1000}));
  EXPECT_EQ(*wiring_.mapper.Find(f_, 4), (FakeMapper::Range{Space::kMmio, 0x1200004000, 0x4000}));
  f_.WriteConfig(kBar0 + 4, 4, 0xE0002000);
  EXPECT_EQ(wiring_.mapper.Find(f_, 1)->base, 0xE0002000u);
  f_.Reset();
  EXPECT_TRUE(wiring_.mapper.ranges.empty());
}

TEST_F(PciFunction, AddressesThatLeaveTheSpaceAreNotMapped) {
  f_.WriteConfig(kCommand, 2, kCommandIo | kCommandMemory);
  f_.WriteConfig(kBar0, 4, 0x00010000);  // past 64 KiB of ports
  f_.WriteConfig(kBar0 + 4, 4, 0xFFFFF000);
  f_.WriteConfig(kBar0 + 16, 4, 0xFFFFC000);
  f_.WriteConfig(kBar0 + 20, 4, 0xFFFFFFFF);
  EXPECT_TRUE(wiring_.mapper.ranges.empty());
}

TEST_F(PciFunction, IntxFollowsDisableBitAndStatus) {
  f_.SetIntx(true);
  EXPECT_TRUE(wiring_.intx.level);
  EXPECT_EQ(wiring_.intx.last.slot(), 3u);
  EXPECT_NE(f_.ReadConfig(kStatus, 2) & kStatusInterrupt, 0u);
  f_.WriteConfig(kCommand, 2, kCommandIntxDisable);
  EXPECT_FALSE(wiring_.intx.level);
  EXPECT_NE(f_.ReadConfig(kStatus, 2) & kStatusInterrupt, 0u);
  f_.WriteConfig(kCommand, 2, 0);
  EXPECT_TRUE(wiring_.intx.level);
  EnableMsix();
  EXPECT_FALSE(wiring_.intx.level);
  f_.Reset();
  EXPECT_EQ(f_.ReadConfig(kStatus, 2) & kStatusInterrupt, 0u);
}

// CVE-2020-13754: QEMU let accesses of sizes that the tables did not expect
// through to memory past them.
TEST_F(PciFunction, Cve2020_13754_MsixTableTakesAnySizeAtAnyOffset) {
  SetVector(0, 0xFEE00000, 0x1111, false);
  for (uint64_t offset = 0; offset < 0x1000; ++offset) {
    for (unsigned size : {1u, 2u, 4u, 8u}) {
      f_.Read(1, offset, size);
      f_.Write(1, offset, size, ~uint64_t{0});
      f_.Write(1, offset, size, 0);
    }
  }
  for (uint64_t offset : {uint64_t{0x1000}, uint64_t{1} << 32, ~uint64_t{0}, ~uint64_t{7}}) {
    f_.Read(1, offset, 8);
    f_.Write(1, offset, 8, ~uint64_t{0});
  }
  // The last dword of the table read as eight bytes: nothing of what follows.
  f_.Write(1, kVectors * 16 - 4, 8, ~uint64_t{0});
  EXPECT_EQ(f_.Read(1, kVectors * 16 - 4, 8), 1u);
  // Byte by byte is as good as dwords.
  for (unsigned i = 0; i < 8; ++i) f_.Write(1, i, 1, 0x10 + i);
  EXPECT_EQ(f_.Read(1, 0, 8), 0x1716151413121110u);
  EXPECT_EQ(f_.Read(1, 2, 4), 0x15141312u);
}

TEST_F(PciFunction, MsixSendsMasksAndKeepsPending) {
  SetVector(0, 0xFEE01000, 0x41, false);
  SetVector(2, 0xFEE02000, 0x43, true);
  f_.TriggerMsix(0);
  EXPECT_TRUE(wiring_.msi.TakeSent().empty()) << "MSI-X is off";
  EnableMsix();
  EXPECT_TRUE(wiring_.msi.TakeSent().empty()) << "what came while off is lost";
  f_.TriggerMsix(0);
  EXPECT_EQ(wiring_.msi.TakeSent(),
            (std::vector<std::pair<uint64_t, uint32_t>>{{0xFEE01000, 0x41}}));
  f_.TriggerMsix(2);
  f_.TriggerMsix(2);
  EXPECT_TRUE(wiring_.msi.TakeSent().empty());
  EXPECT_EQ(f_.Read(1, kPba, 8), 4u);
  f_.Write(1, kPba, 8, 0);
  EXPECT_EQ(f_.Read(1, kPba, 1), 4u) << "the array is read-only";
  f_.Write(1, kTable + 2 * 16 + 12, 1, 0);
  EXPECT_EQ(wiring_.msi.TakeSent(),
            (std::vector<std::pair<uint64_t, uint32_t>>{{0xFEE02000, 0x43}}));
  EXPECT_EQ(f_.Read(1, kPba, 8), 0u);
  EnableMsix(/*function_mask=*/true);
  f_.TriggerMsix(0);
  EXPECT_TRUE(wiring_.msi.TakeSent().empty());
  EnableMsix();
  EXPECT_EQ(wiring_.msi.TakeSent().size(), 1u);
  f_.TriggerMsix(kVectors);
  f_.TriggerMsix(0xFFFF);
  EXPECT_TRUE(wiring_.msi.TakeSent().empty());
}

// A sound image is made to name the function, and its bytes still sum up to the
// same; what is none, or points outside of itself, stays as it is.
TEST_F(PciFunction, RomNamesTheFunction) {
  for (const unsigned pointer : {0x1Cu, 0x40u, 2044u, 2045u, 0xFFFFu}) {
    PciSpec spec = TestSpec();
    spec.rom.assign(2048, 0x77);
    spec.rom[0] = 0x55;
    spec.rom[1] = 0xAA;
    spec.rom[0x18] = static_cast<uint8_t>(pointer);
    spec.rom[0x19] = static_cast<uint8_t>(pointer >> 8);
    const bool sound = pointer <= 2048 - 8;
    for (unsigned i = 0; i < 4 && pointer + i < 2048; ++i) {
      spec.rom[pointer + i] = static_cast<uint8_t>("PCIR"[i]);
    }
    TestFunction f(wiring_.At(4), spec);
    uint8_t before = 0, after = 0;
    for (unsigned i = 0; i < 2048; ++i) {
      before = static_cast<uint8_t>(before + spec.rom[i]);
      after = static_cast<uint8_t>(after + ReadRom(f, i));
    }
    EXPECT_EQ(after, before);
    EXPECT_EQ(ReadRom(f, 6), sound ? uint8_t(5 * 0x77 - 0x12 - 0x34 - 0x56 - 0x78) : 0x77)
        << pointer;
    if (sound) {
      EXPECT_EQ(ReadRom(f, pointer + 4), 0x34);
    }
  }
}

TEST_F(PciFunction, StateRoundTrip) {
  f_.WriteConfig(kBar0 + 4, 4, 0xE0001000);
  EnableMsix();
  SetVector(1, 0xFEE01000, 0x41, true);
  f_.TriggerMsix(1);
  FakeWiring other_wiring;
  TestFunction other(other_wiring.At(3));
  dev::ExpectRoundTrip(f_, other);
  ASSERT_NE(other_wiring.mapper.Find(other, 1), nullptr);
  EXPECT_EQ(other_wiring.mapper.Find(other, 1)->base, 0xE0001000u);
  other.Write(1, kTable + 16 + 12, 4, 0);
  EXPECT_EQ(other_wiring.msi.TakeSent().size(), 1u);
}

class FakeShadow : public ShadowMap {
 public:
  void SetShadow(Gpa base, uint64_t size, ShadowMode mode) override {
    changes.push_back({base.value, size, mode});
  }
  void SetSmramOpen(bool now) override { open = now; }
  struct Change {
    uint64_t base;
    uint64_t size;
    ShadowMode mode;
    friend bool operator==(const Change&, const Change&) = default;
  };
  std::vector<Change> changes;
  bool open = false;
};

class Chipset : public testing::Test {
 protected:
  Chipset() {
    for (unsigned i = 0; i < kIsaIrqs; ++i) isa_[i] = &lines_[i];
    router_ = std::make_unique<PirqRouter>(isa_);
    bus_ = std::make_unique<PciBus>(&wiring_.mapper, router_.get(), &wiring_.msi);
    bridge_ = NewI440fx(bus_->Wire(DevFn(0, 0)), &shadow_);
    isa_bridge_ = NewPiix3Isa(bus_->Wire(DevFn(1, 0)), router_.get());
    function_ = std::make_unique<TestFunction>(bus_->Wire(DevFn(3, 0)));
    pm_ = NewPiix4Pm(bus_->Wire(DevFn(1, 3)), {function_.get(), 10}, {function_.get(), 11});
    for (PciDevice* f : {bridge_.get(), isa_bridge_.get(), pm_.get()}) bus_->Attach(f, nullptr);
    bus_->Attach(function_.get(), nullptr);
    for (PciDevice* f : bus_->Functions()) f->Reset();
    ports_ = std::make_unique<ConfigPorts>(bus_.get());
  }

  uint32_t ReadAt(unsigned slot, unsigned fn, unsigned offset, unsigned size) {
    ports_->Write(0, 0, 4, 0x80000000 | slot << 11 | fn << 8 | (offset & 0xFC));
    return static_cast<uint32_t>(ports_->Read(0, 4 + (offset & 3), size));
  }

  FakeWiring wiring_;
  std::array<dev::FakeIrqLine, kIsaIrqs> lines_;
  std::array<dev::IrqLine*, kIsaIrqs> isa_{};
  std::unique_ptr<PirqRouter> router_;
  std::unique_ptr<PciBus> bus_;
  FakeShadow shadow_;
  std::unique_ptr<PciDevice> bridge_, isa_bridge_, pm_;
  std::unique_ptr<TestFunction> function_;
  std::unique_ptr<ConfigPorts> ports_;
};

TEST_F(Chipset, ConfigurationMechanismOne) {
  EXPECT_EQ(ReadAt(0, 0, 0, 4), 0x12378086u);
  EXPECT_EQ(ReadAt(1, 0, 0, 4), 0x70008086u);
  EXPECT_EQ(ReadAt(1, 3, 2, 2), 0x7113u);
  EXPECT_EQ(ReadAt(1, 0, kHeaderType, 1), 0x80u);
  EXPECT_EQ(ReadAt(0, 0, kHeaderType, 1), 0u);
  EXPECT_EQ(ReadAt(2, 0, 0, 4), 0xFFFFFFFFu);
  EXPECT_EQ(ReadAt(2, 0, 0, 1), 0xFFu);
  EXPECT_EQ(ReadAt(3, 0, 3, 1), 0x56u);
  // Another bus, or disabled.
  ports_->Write(0, 0, 4, 0x80010000);
  EXPECT_EQ(ports_->Read(0, 4, 4), 0xFFFFFFFFu);
  ports_->Write(0, 0, 4, 0);
  EXPECT_EQ(ports_->Read(0, 4, 4), 0xFFFFFFFFu);
  // The address is a dword and keeps no reserved bits.
  ports_->Write(0, 0, 4, 0xFFFFFFFF);
  EXPECT_EQ(ports_->Read(0, 0, 4), 0x80FFFFFCu);
  ports_->Write(0, 1, 1, 0);
  ports_->Write(0, 0, 2, 0);
  EXPECT_EQ(ports_->Read(0, 0, 4), 0x80FFFFFCu);
}

TEST_F(Chipset, EveryOffsetAndSizeOfThePortsIsHarmless) {
  ports_->Write(0, 0, 4, 0x80000000 | 3 << 11 | 0xFC);
  for (uint64_t offset = 0; offset < 16; ++offset) {
    for (unsigned size : {1u, 2u, 4u, 8u}) {
      ports_->Read(0, offset, size);
      if (offset >= 4) ports_->Write(0, offset, size, ~uint64_t{0});
    }
  }
}

TEST_F(Chipset, PamRegistersReportWhatChanges) {
  using Change = FakeShadow::Change;
  EXPECT_TRUE(shadow_.changes.empty());
  bridge_->WriteConfig(0x59, 1, 0x30);
  EXPECT_EQ(shadow_.changes, (std::vector<Change>{{0xF0000, 0x10000, {true, true}}}));
  shadow_.changes.clear();
  bridge_->WriteConfig(0x59, 1, 0xFF);  // reserved bits do nothing
  EXPECT_TRUE(shadow_.changes.empty());
  bridge_->WriteConfig(0x59, 1, 0x10);
  bridge_->WriteConfig(0x5A, 4, 0x00000021);
  EXPECT_EQ(shadow_.changes, (std::vector<Change>{{0xF0000, 0x10000, {true, false}},
                                                  {0xC0000, 0x4000, {true, false}},
                                                  {0xC4000, 0x4000, {false, true}}}));
  shadow_.changes.clear();
  bridge_->Reset();
  EXPECT_EQ(shadow_.changes.size(), 3u);
  for (const Change& c : shadow_.changes) EXPECT_EQ(c.mode, ShadowMode{});
}

TEST_F(Chipset, LockedSmramStaysClosedUntilReset) {
  bridge_->WriteConfig(0x72, 1, 0x48);
  EXPECT_TRUE(shadow_.open);
  bridge_->WriteConfig(0x72, 1, 0x58);
  EXPECT_FALSE(shadow_.open);
  bridge_->WriteConfig(0x72, 1, 0x48);
  EXPECT_FALSE(shadow_.open);
  EXPECT_EQ(bridge_->ReadConfig(0x72, 1) & 0x50, 0x10u);
  bridge_->Reset();
  bridge_->WriteConfig(0x72, 1, 0x48);
  EXPECT_TRUE(shadow_.open);
}

TEST_F(Chipset, PirqsAreSharedAndRouted) {
  TestFunction second(bus_->Wire(DevFn(7, 0)));  // slots 3 and 7: the same PIRQ
  isa_bridge_->WriteConfig(kPirqRoute, 4, 0x0A0B0A0B);
  ASSERT_EQ(PirqOf(3, 1), 2u);
  function_->SetIntx(true);
  second.SetIntx(true);
  EXPECT_TRUE(lines_[11].level());
  function_->SetIntx(false);
  EXPECT_TRUE(lines_[11].level()) << "the other function holds it";
  isa_bridge_->WriteConfig(kPirqRoute + 2, 1, 5);
  EXPECT_FALSE(lines_[11].level());
  EXPECT_TRUE(lines_[5].level());
  isa_bridge_->WriteConfig(kPirqRoute + 2, 1, kPirqDisabled | 5);
  EXPECT_FALSE(lines_[5].level());
  isa_bridge_->WriteConfig(kPirqRoute + 2, 1, 5);
  second.SetIntx(false);
  EXPECT_FALSE(lines_[5].level());
}

// SeaBIOS would otherwise start its SMM handler and wait for it.
TEST_F(Chipset, PmSaysThatSmmIsSetUp) { EXPECT_EQ(pm_->ReadConfig(0x5B, 1) & 2, 2u); }

TEST_F(Chipset, PmPlacesItsPorts) {
  EXPECT_EQ(wiring_.mapper.Find(*function_, 10), nullptr);
  pm_->WriteConfig(kPmBase, 4, 0x601);
  EXPECT_EQ(wiring_.mapper.Find(*function_, 10), nullptr);
  pm_->WriteConfig(kPmRegMisc, 1, 1);
  ASSERT_NE(wiring_.mapper.Find(*function_, 10), nullptr);
  EXPECT_EQ(*wiring_.mapper.Find(*function_, 10), (FakeMapper::Range{Space::kPort, 0x600, 64}));
  pm_->WriteConfig(kPmBase, 4, 0xB000);
  EXPECT_EQ(wiring_.mapper.Find(*function_, 10)->base, 0xB000u);
  pm_->WriteConfig(kSmbusBase, 4, 0x700);
  pm_->WriteConfig(kSmbusHostConfig, 1, 9);
  EXPECT_EQ(wiring_.mapper.Find(*function_, 11)->base, 0x700u);
  pm_->Reset();
  EXPECT_TRUE(wiring_.mapper.ranges.empty());
}

TEST_F(Chipset, AssignResourcesDoesWhatFirmwareDoes) {
  TestFunction second(bus_->Wire(DevFn(5, 0)));
  bus_->Attach(&second, nullptr);
  ASSERT_OK(AssignResources(*bus_, {}));
  EXPECT_EQ(wiring_.mapper.ranges.size(), 8u);
  std::set<std::pair<Space, uint64_t>> starts;
  for (const auto& [key, range] : wiring_.mapper.ranges) {
    EXPECT_EQ(range.base % range.size, 0u);
    EXPECT_TRUE(starts.emplace(range.space, range.base).second);
    if (key.second >= 10) continue;
    EXPECT_GE(range.base, range.space == Space::kPort ? 0xC000u : 0xE0000000u);
  }
  EXPECT_EQ(isa_bridge_->ReadConfig(kPirqRoute, 4), 0x0B0B0A0Au);
  EXPECT_EQ(function_->ReadConfig(kInterruptLine, 1), 11u);
  EXPECT_EQ(second.ReadConfig(kInterruptLine, 1), 10u);
  EXPECT_EQ(pm_->ReadConfig(kInterruptLine, 1), 9u);
  function_->SetIntx(true);
  EXPECT_TRUE(lines_[11].level());
}

TEST_F(Chipset, AssignResourcesSaysWhatDoesNotFit) {
  ResourceWindows windows;
  windows.memory_end = windows.memory_base + 0x4000;
  EXPECT_THAT(AssignResources(*bus_, windows),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "PCI 03.0 (test): no room for BAR 1 of 4096 bytes in the memory window"));
}

TEST_F(Chipset, IntxRoutesCoverAllSlots) {
  const std::vector<IntxRoute> routes = IntxRoutes();
  EXPECT_EQ(routes.size(), 31u * 4);
  for (const IntxRoute& r : routes) EXPECT_EQ(r.pirq, (r.slot + r.pin + 2) % 4);
  // As the DSDT and SeaBIOS have it.
  EXPECT_EQ(PirqOf(1, 1), 0u);
  EXPECT_EQ(PirqOf(4, 1), 3u);
  EXPECT_EQ(PirqOf(0, 1), 3u);
}

TEST_F(Chipset, StateRoundTrips) {
  bridge_->WriteConfig(0x59, 1, 0x30);
  bridge_->WriteConfig(0x72, 1, 0x18);
  isa_bridge_->WriteConfig(kPirqRoute, 4, 0x0B0A0B0A);
  pm_->WriteConfig(kPmBase, 4, 0x600);
  pm_->WriteConfig(kPmRegMisc, 1, 1);
  ports_->Write(0, 0, 4, 0x80001234);

  FakeWiring wiring;
  FakeShadow shadow;
  PirqRouter router(isa_);
  auto bridge = NewI440fx(wiring.At(0), &shadow);
  auto isa = NewPiix3Isa(wiring.At(1), &router);
  auto pm = NewPiix4Pm(wiring.At(1, 3), {function_.get(), 10}, {});
  ConfigPorts ports(bus_.get());
  dev::ExpectRoundTrip(*bridge_, *bridge);
  dev::ExpectRoundTrip(*isa_bridge_, *isa);
  dev::ExpectRoundTrip(*pm_, *pm);
  dev::ExpectRoundTrip(*ports_, ports);
  EXPECT_EQ(shadow.changes.size(), 1u);
  EXPECT_EQ(wiring.mapper.Find(*function_, 10)->base, 0x600u);
}

}  // namespace
}  // namespace atl::pci
