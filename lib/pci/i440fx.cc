// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/i440fx.h"

#include <array>

namespace atl::pci {
namespace {

constexpr unsigned kPam0 = 0x59;
constexpr unsigned kSmram = 0x72;
constexpr uint8_t kSmramOpen = 1 << 6;
constexpr uint8_t kSmramLock = 1 << 4;
constexpr uint8_t kSmramEnable = 1 << 3;
// Open, closed, lock, enable.
constexpr uint32_t kSmramWritable = 0x78;

struct PamRange {
  uint32_t base;
  uint32_t size;
  unsigned offset;
  unsigned shift;  // of the two bits: read, write
};
constexpr std::array<PamRange, 13> kPam = {{
    {0xF0000, 0x10000, 0x59, 4},
    {0xC0000, 0x4000, 0x5A, 0},
    {0xC4000, 0x4000, 0x5A, 4},
    {0xC8000, 0x4000, 0x5B, 0},
    {0xCC000, 0x4000, 0x5B, 4},
    {0xD0000, 0x4000, 0x5C, 0},
    {0xD4000, 0x4000, 0x5C, 4},
    {0xD8000, 0x4000, 0x5D, 0},
    {0xDC000, 0x4000, 0x5D, 4},
    {0xE0000, 0x4000, 0x5E, 0},
    {0xE4000, 0x4000, 0x5E, 4},
    {0xE8000, 0x4000, 0x5F, 0},
    {0xEC000, 0x4000, 0x5F, 4},
}};

PciSpec Spec() {
  PciSpec spec;
  spec.vendor = 0x8086;
  spec.device = 0x1237;
  spec.revision = 2;
  spec.class_code = 0x060000;
  // A host bridge answers at all times.
  spec.registers = {
      {kCommand, 2, 0x0006, 0x0140},
      {kPam0, 1, 0, 0x30},
      {kSmram, 1, 0x02, kSmramWritable},
  };
  for (uint8_t at = kPam0 + 1; at <= 0x5F; ++at) spec.registers.push_back({at, 1, 0, 0x33});
  return spec;
}

class I440fx : public PciDevice {
 public:
  I440fx(const PciWiring& wiring, ShadowMap* map) : PciDevice(wiring, Spec()), map_(map) {}

  absl::string_view name() const override { return "i440fx"; }

 protected:
  void ResetDevice() override {
    config().Define({kSmram, 1, 0x02, kSmramWritable});
    Apply();
  }
  void OnConfigWrite(unsigned, unsigned) override {
    const uint8_t smram = config().Get<uint8_t>(kSmram);
    // Locked until reset: also closed, and nothing but a reset opens it.
    if ((smram & kSmramLock) != 0) {
      const uint8_t locked = static_cast<uint8_t>(smram & ~kSmramOpen);
      config().Define({kSmram, 1, locked, 0x20});
    }
    Apply();
  }

 private:
  void Apply() {
    for (unsigned i = 0; i < kPam.size(); ++i) {
      const unsigned bits = config().Get<uint8_t>(kPam[i].offset) >> kPam[i].shift;
      const ShadowMode mode{(bits & 1) != 0, (bits & 2) != 0};
      if (mode == modes_[i]) continue;
      modes_[i] = mode;
      map_->SetShadow(Gpa(kPam[i].base), kPam[i].size, mode);
    }
    const uint8_t smram = config().Get<uint8_t>(kSmram);
    const bool open = (smram & kSmramOpen) != 0 && (smram & kSmramEnable) != 0;
    if (open == smram_open_) return;
    smram_open_ = open;
    map_->SetSmramOpen(open);
  }

  ShadowMap* map_;
  std::array<ShadowMode, kPam.size()> modes_{};
  bool smram_open_ = false;
};

}  // namespace

std::unique_ptr<PciDevice> NewI440fx(const PciWiring& wiring, ShadowMap* map) {
  return std::make_unique<I440fx>(wiring, map);
}

}  // namespace atl::pci
