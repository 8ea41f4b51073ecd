// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/framebuffer.h"

namespace atl::vm {

void Framebuffer::Map(dev::Device& device, unsigned region, pci::Space space, uint64_t base,
                      uint64_t size) {
  bars_.Map(device, region, space, base, size);
  if (region == region_ && !bytes_.empty()) Request(Gpa(base));
}

void Framebuffer::Unmap(dev::Device& device, unsigned region) {
  bars_.Unmap(device, region);
  if (region == region_ && !bytes_.empty()) Request(std::nullopt);
}

void Framebuffer::Request(std::optional<Gpa> base) {
  if (guest_runs_) {
    at_standstill_([this, base] { Apply(base); });
  } else {
    Apply(base);
  }
}

void Framebuffer::Apply(std::optional<Gpa> base) {
  if (placed_ == base) return;
  if (placed_) memory_.SetSlot(*placed_, bytes_.size(), nullptr, SlotKind::kRam);
  placed_.reset();
  if (!base) return;
  // A slot would take the place of what is there: the guest's own RAM, the BIOS.
  for (const MemorySlot& s : memory_.slots()) {
    if (s.base < *base + bytes_.size() && *base < s.base + s.size) return;
  }
  memory_.SetSlot(*base, bytes_.size(), bytes_.data(), SlotKind::kRam);
  placed_ = base;
}

}  // namespace atl::vm
