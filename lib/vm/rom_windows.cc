// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/rom_windows.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "lib/pci/device.h"

namespace atl::vm {

void RomWindows::Free::operator()(uint8_t* p) const { std::free(p); }

RomWindows::~RomWindows() {
  MutexLock lock(&mu_);
  for (auto& [device, window] : windows_) Apply(window, std::nullopt);
}

void RomWindows::Map(dev::Device& device, unsigned region, pci::Space space, uint64_t base,
                     uint64_t size) {
  bars_.Map(device, region, space, base, size);
  // A small one shares its page with who knows what.
  if (region != pci::PciDevice::kRomRegion || size % kPageSize != 0) return;
  MutexLock lock(&mu_);
  Window& window = windows_[&device];
  if (window.bytes == nullptr) {
    window.bytes.reset(static_cast<uint8_t*>(std::aligned_alloc(kPageSize, size)));
    if (window.bytes == nullptr) return;
    window.size = size;
    for (uint64_t at = 0; at < size; at += 4) {
      const auto value = static_cast<uint32_t>(device.Read(region, at, 4));
      std::memcpy(window.bytes.get() + at, &value, sizeof value);
    }
  }
  if (window.size == size) Request(window, Gpa(base));
}

void RomWindows::Unmap(dev::Device& device, unsigned region) {
  bars_.Unmap(device, region);
  if (region != pci::PciDevice::kRomRegion) return;
  MutexLock lock(&mu_);
  const auto it = windows_.find(&device);
  if (it != windows_.end() && it->second.bytes != nullptr) Request(it->second, std::nullopt);
}

void RomWindows::Request(Window& window, std::optional<Gpa> base) {
  if (guest_runs_) {
    at_standstill_([this, &window, base] { Apply(window, base); });
  } else {
    Apply(window, base);
  }
}

void RomWindows::Apply(Window& window, std::optional<Gpa> base) {
  if (window.placed == base) return;
  if (window.placed) memory_.SetSlot(*window.placed, window.size, nullptr, SlotKind::kRom);
  window.placed.reset();
  if (!base) return;
  // As with a frame buffer: what is there stays.
  for (const MemorySlot& s : memory_.slots()) {
    if (s.base < *base + window.size && *base < s.base + s.size) return;
  }
  memory_.SetSlot(*base, window.size, window.bytes.get(), SlotKind::kRom);
  window.placed = base;
}

}  // namespace atl::vm
