// SPDX-License-Identifier: Apache-2.0
// Random configuration accesses to a bus with the chipset, the panic notifier and
// a function with BARs of each kind and MSI-X. The fake mapper counts a region that is mapped
// twice, or unmapped without being mapped, as an error. Steps of eight bytes.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/strings/string_view.h"
#include "lib/base/bytes_reader.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/mem/address.h"
#include "lib/pci/bus.h"
#include "lib/pci/device.h"
#include "lib/pci/i440fx.h"
#include "lib/pci/piix.h"
#include "lib/pci/pirq.h"
#include "lib/pci/pvpanic.h"
#include "lib/pci/testing/fakes.h"

namespace {

using atl::pci::DevFn;
using atl::pci::PciDevice;

class Function : public PciDevice {
 public:
  explicit Function(const atl::pci::PciWiring& wiring) : PciDevice(wiring, Spec()) {}
  absl::string_view name() const override { return "function"; }
  using PciDevice::SetIntx;
  using PciDevice::TriggerMsix;

 private:
  static atl::pci::PciSpec Spec() {
    atl::pci::PciSpec spec;
    spec.vendor = 0x1234;
    spec.interrupt_pin = 2;
    spec.bars = {{0, atl::pci::BarKind::kIo, 4, false},
                 {1, atl::pci::BarKind::kMemory32, 0x1000, false},
                 {2, atl::pci::BarKind::kMemory64, 0x80000000, true}};
    spec.msix = atl::pci::MsixSpec{65, 1, 0, 0x800};
    return spec;
  }
};

class NullShadow : public atl::pci::ShadowMap {
 public:
  void SetShadow(atl::Gpa, uint64_t, atl::pci::ShadowMode) override {}
  void SetSmramOpen(bool) override {}
};

struct World {
  World() {
    for (PciDevice* f : {bridge.get(), isa.get(), pm.get(), panic.get()}) bus.Attach(f, nullptr);
    bus.Attach(&function, nullptr);
  }
  atl::pci::FakeWiring fakes;
  std::array<atl::dev::FakeIrqLine, atl::pci::kIsaIrqs> lines;
  atl::pci::PirqRouter router{{&lines[0], &lines[1], &lines[2], &lines[3], &lines[4], &lines[5],
                               &lines[6], &lines[7], &lines[8], &lines[9], &lines[10], &lines[11],
                               &lines[12], &lines[13], &lines[14], nullptr}};
  atl::pci::PciBus bus{&fakes.mapper, &router, &fakes.msi};
  NullShadow shadow;
  Function function{bus.Wire(DevFn(2, 0))};
  std::unique_ptr<PciDevice> bridge = atl::pci::NewI440fx(bus.Wire(DevFn(0, 0)), &shadow);
  std::unique_ptr<PciDevice> isa = atl::pci::NewPiix3Isa(bus.Wire(DevFn(1, 0)), &router);
  std::unique_ptr<PciDevice> pm =
      atl::pci::NewPiix4Pm(bus.Wire(DevFn(1, 3)), {&function, 10}, {&function, 11});
  std::unique_ptr<PciDevice> panic =
      atl::pci::NewPvpanic(bus.Wire(DevFn(3, 0)), [](atl::pci::PanicEvent) {});
  atl::pci::ConfigPorts ports{&bus};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  World world;
  for (size_t at = 0; at + 8 <= size; at += 8) {
    const uint8_t* step = data + at;
    const uint64_t value =
        step[4] | uint32_t{step[5]} << 8 | uint32_t{step[6]} << 16 | uint32_t{step[7]} << 24;
    const unsigned bytes = 1u << (step[1] & 3);
    const uint64_t offset = step[2] | uint64_t{step[3]} << 8;
    switch (step[0] & 7) {
      case 0:
        world.ports.Write(0, 0, 4, 0x80000000 | value);
        break;
      case 1:
        world.ports.Read(0, offset & 15, bytes);
        break;
      case 2:
        world.ports.Write(0, offset & 15, bytes, value);
        break;
      case 3:
        world.function.Read(step[1] >> 4, offset, bytes);
        world.panic->Read(step[1] >> 4, offset, bytes);
        break;
      case 4:
        world.function.Write(step[1] >> 4, offset, bytes, value * 0x100000001);
        world.panic->Write(step[1] >> 4, offset, bytes, value);
        break;
      case 5:
        world.function.TriggerMsix(static_cast<unsigned>(offset));
        world.function.SetIntx((value & 1) != 0);
        break;
      case 6:
        for (PciDevice* f : world.bus.Functions()) {
          if ((value & 1) != 0) f->Reset();
        }
        break;
      case 7:
        if ((value & 1) != 0) {
          atl::BytesReader in({step + 2, std::min<size_t>(size - at - 2, 64)});
          atl::dev::LoadHostileState((value & 2) != 0 ? *world.panic : world.function, in);
        } else {
          (void)atl::dev::LoadState(world.function, {step + 2, size - at - 2});
        }
        break;
    }
  }
  if (world.fakes.mapper.errors != 0) std::abort();
  return 0;
}
