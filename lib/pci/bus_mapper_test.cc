// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/bus_mapper.h"

#include "gtest/gtest.h"
#include "lib/dev/bus.h"
#include "lib/dev/device_lock.h"
#include "lib/pci/bus.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"

namespace atl::pci {
namespace {

class Latch : public PciDevice {
 public:
  explicit Latch(const PciWiring& wiring) : PciDevice(wiring, Spec()) {}
  absl::string_view name() const override { return "latch"; }

 protected:
  uint64_t ReadRegion(unsigned, uint64_t, unsigned) override { return value_; }
  void WriteRegion(unsigned, uint64_t, unsigned, uint64_t value) override { value_ = value; }

 private:
  static PciSpec Spec() {
    PciSpec spec;
    spec.vendor = 1;
    spec.bars = {{0, BarKind::kMemory32, 0x1000, false}};
    return spec;
  }
  uint64_t value_ = 0;
};

// From the configuration ports through the BAR to the device, on the real bus.
TEST(BusMapper, GuestMovesABarThroughThePorts) {
  dev::Bus machine;
  BusMapper mapper(&machine);
  FakeIntx intx;
  FakeMsi msi;
  PciBus bus(&mapper, &intx, &msi);
  dev::DeviceLock lock;
  dev::DeviceLock ports_lock;
  Latch latch(bus.Wire(DevFn(2, 0)));
  mapper.AddDevice(latch, lock);
  bus.Attach(&latch, &lock);
  ConfigPorts ports(&bus);
  ASSERT_TRUE(machine
                  .Map(Space::kPort, ports_lock, ports, 0, ConfigPorts::kPort, ConfigPorts::kPorts,
                       {.max_access = 4})
                  .ok());
  auto write_config = [&](unsigned offset, uint32_t value) {
    machine.Write(Space::kPort, 0xCF8, 4, 0x80000000 | 2 << 11 | offset);
    machine.Write(Space::kPort, 0xCFC, 4, value);
  };
  write_config(kBar0, 0xE0000000);
  EXPECT_EQ(machine.Read(Space::kMmio, 0xE0000000, 4), 0xFFFFFFFFu);
  write_config(kCommand, kCommandMemory);
  machine.Write(Space::kMmio, 0xE0000010, 4, 0x1234);
  EXPECT_EQ(machine.Read(Space::kMmio, 0xE0000000, 4), 0x1234u);
  write_config(kBar0, 0xE0100000);
  EXPECT_EQ(machine.Read(Space::kMmio, 0xE0000000, 4), 0xFFFFFFFFu);
  EXPECT_EQ(machine.Read(Space::kMmio, 0xE0100000, 4), 0x1234u);
}

}  // namespace
}  // namespace atl::pci
