// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/bus.h"

namespace atl::pci {
namespace {

constexpr uint32_t kEnable = 0x80000000;
// Enable, bus, device and function, dword number.
constexpr uint32_t kAddressBits = 0x80FFFFFC;
constexpr uint64_t kDataPorts = 4;

// Enters a device that may have no lock. A thread that is in the device already
// (DMA or a window that leads back to the configuration ports) stays out.
template <typename Access>
void Enter(dev::DeviceLock* lock, Access&& access) {
  if (lock == nullptr) {
    access();
    return;
  }
  dev::DeviceLock::Scope scope(*lock);
  if (scope.entered()) access();
}

}  // namespace

void PciBus::Attach(PciDevice* function, dev::DeviceLock* lock) {
  functions_[function->where().value] = {function, lock};
}

std::vector<PciDevice*> PciBus::Functions() const {
  std::vector<PciDevice*> out;
  for (const Slot& slot : functions_) {
    if (slot.device != nullptr) out.push_back(slot.device);
  }
  return out;
}

uint32_t PciBus::ReadConfig(DevFn where, unsigned offset, unsigned size) {
  const Slot& slot = functions_[where.value];
  if (slot.device == nullptr) return 0xFFFFFFFF;
  uint32_t value = 0xFFFFFFFF;
  Enter(slot.lock, [&] { value = slot.device->ReadConfig(offset, size); });
  return value;
}

void PciBus::WriteConfig(DevFn where, unsigned offset, unsigned size, uint32_t value) {
  const Slot& slot = functions_[where.value];
  if (slot.device == nullptr) return;
  Enter(slot.lock, [&] { slot.device->WriteConfig(offset, size, value); });
}

// Bus 0 alone exists.
bool ConfigPorts::Selected() const {
  return (address_ & kEnable) != 0 && (address_ >> 16 & 0xFF) == 0;
}

DevFn ConfigPorts::Function() const { return DevFn(address_ >> 11 & 31, address_ >> 8 & 7); }

unsigned ConfigPorts::Register(uint64_t offset) const {
  return (address_ & 0xFC) + static_cast<unsigned>(offset - kDataPorts);
}

uint64_t ConfigPorts::Read(unsigned, uint64_t offset, unsigned size) {
  const uint64_t ones = size >= 4 ? 0xFFFFFFFF : (uint64_t{1} << (8 * size)) - 1;
  if (offset < kDataPorts) {
    // Only a dword at 0xCF8 is the address; the rest belongs to other chips.
    if (offset == 0 && size == 4) return address_;
    return ones;
  }
  if (!Selected() || offset >= kPorts || offset + size > kPorts) return ones;
  return bus_->ReadConfig(Function(), Register(offset), size) & ones;
}

void ConfigPorts::Write(unsigned, uint64_t offset, unsigned size, uint64_t value) {
  if (offset < kDataPorts) {
    if (offset == 0 && size == 4) address_ = static_cast<uint32_t>(value) & kAddressBits;
    return;
  }
  if (!Selected() || offset >= kPorts || offset + size > kPorts) return;
  bus_->WriteConfig(Function(), Register(offset), size, static_cast<uint32_t>(value));
}

void ConfigPorts::VisitState(dev::StateVisitor& v) {
  v.Field("address", address_);
  address_ &= kAddressBits;
}

}  // namespace atl::pci
