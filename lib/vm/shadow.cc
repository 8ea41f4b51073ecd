// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/shadow.h"

#include <algorithm>

namespace atl::vm {
namespace {

constexpr uint64_t kShadowBegin = 0xC0000;
constexpr uint64_t kBiosWindow = 0xE0000;
constexpr uint64_t kBiosEnd = 0x100000;

}  // namespace

void Shadow::SetBios(std::span<uint8_t> image) {
  bios_ = image;
  // As after power-on: the bridge tells only changes.
  Apply(Gpa(kShadowBegin), kBiosEnd - kShadowBegin, {});
}

void Shadow::SetShadow(Gpa base, uint64_t size, pci::ShadowMode mode) {
  if (bios_.empty()) return;
  if (guest_runs_) {
    at_standstill_([this, base, size, mode] { Apply(base, size, mode); });
  } else {
    Apply(base, size, mode);
  }
}

void Shadow::Apply(Gpa base, uint64_t size, pci::ShadowMode mode) {
  uint8_t* ram = memory_.ram_host() + base.value;
  if (mode.read_ram) {
    // RAM that may not be written reads as RAM and drops writes, like ROM.
    memory_.SetSlot(base, size, ram, mode.write_ram ? SlotKind::kRam : SlotKind::kRom);
    return;
  }
  // Reads go to the ROM behind; where there is none, to nothing.
  memory_.SetSlot(base, size, nullptr, SlotKind::kRom);
  const uint64_t window = std::min<uint64_t>(bios_.size(), kBiosEnd - kBiosWindow);
  const uint64_t from = std::max(base.value, kBiosEnd - window);
  const uint64_t to = base.value + size;
  if (from >= to) return;
  memory_.SetSlot(Gpa(from), to - from, bios_.data() + bios_.size() - (kBiosEnd - from),
                  SlotKind::kRom);
}

// There is no system management mode here and no RAM behind the VGA window that
// anything would look for.
void Shadow::SetSmramOpen(bool) {}

}  // namespace atl::vm
