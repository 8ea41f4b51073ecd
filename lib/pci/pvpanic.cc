// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/pvpanic.h"

#include <utility>

namespace atl::pci {
namespace {

constexpr unsigned kBar = 0;
constexpr uint8_t kPanickedBit = 1;
constexpr uint8_t kCrashLoadedBit = 2;

PciSpec Spec() {
  PciSpec spec;
  spec.vendor = 0x1B36;
  spec.device = 0x0011;
  spec.revision = 1;
  spec.class_code = 0x088000;
  spec.bars = {{kBar, BarKind::kMemory32, 16, false}};
  return spec;
}

class Pvpanic final : public PciDevice {
 public:
  Pvpanic(const PciWiring& wiring, std::function<void(PanicEvent)> told)
      : PciDevice(wiring, Spec()), told_(std::move(told)) {}

  absl::string_view name() const override { return "pvpanic"; }

 protected:
  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override {
    if (region != kBar || offset != 0) return PciDevice::ReadRegion(region, offset, size);
    return kPanickedBit | kCrashLoadedBit;  // what is understood
  }
  void WriteRegion(unsigned region, uint64_t offset, unsigned, uint64_t value) override {
    if (region != kBar || offset != 0) return;
    if ((value & kPanickedBit) != 0) {
      told_(PanicEvent::kPanicked);
    } else if ((value & kCrashLoadedBit) != 0) {
      told_(PanicEvent::kCrashLoaded);
    }
  }

 private:
  const std::function<void(PanicEvent)> told_;
};

}  // namespace

std::unique_ptr<PciDevice> NewPvpanic(const PciWiring& wiring,
                                      std::function<void(PanicEvent)> told) {
  return std::make_unique<Pvpanic>(wiring, std::move(told));
}

}  // namespace atl::pci
