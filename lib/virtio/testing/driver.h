// SPDX-License-Identifier: Apache-2.0
// A guest's virtio driver for tests: finds the device by its PCI capabilities,
// negotiates, lays queues into guest memory and drives them, through the modern
// or the legacy registers. It can also be told to break every rule.
#ifndef LIB_VIRTIO_TESTING_DRIVER_H_
#define LIB_VIRTIO_TESTING_DRIVER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/checked.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"

namespace atl::virtio {

struct Segment {
  uint64_t at = 0;
  uint32_t size = 0;
  bool writable = false;
};

struct Used {
  uint32_t id = 0;
  uint32_t length = 0;
};

// A queue's tables at addresses that the test knows, to write into by hand.
class DriverQueue {
 public:
  DriverQueue() = default;
  DriverQueue(GuestMemory* memory, uint64_t base, uint16_t size)
      : size(size),
        descriptors(base),
        driver_ring(base + 16 * uint64_t{size}),
        device_ring(RoundUp(driver_ring + 6 + 2 * uint64_t{size}, 4096)),
        memory_(memory) {}

  void SetDescriptor(unsigned i, uint64_t at, uint32_t length, uint16_t flags, uint16_t next) {
    SetDescriptorAt(descriptors, i, at, length, flags, next);
  }
  void SetDescriptorAt(uint64_t table, unsigned i, uint64_t at, uint32_t length, uint16_t flags,
                       uint16_t next) {
    const Gpa d(table + 16 * uint64_t{i});
    memory_->Store<uint64_t>(d, at);
    memory_->Store<uint32_t>(d + 8, length);
    memory_->Store<uint16_t>(d + 12, flags);
    memory_->Store<uint16_t>(d + 14, next);
  }

  // Lays the segments into descriptors from `first` on and makes them available.
  void Add(std::span<const Segment> segments, uint16_t first = 0) {
    LaySegments(descriptors, first, segments);
    MakeAvailable(first);
  }
  // The same through an indirect table at `table`, one descriptor in the queue.
  void AddIndirect(std::span<const Segment> segments, uint64_t table, uint16_t head = 0) {
    LaySegments(table, 0, segments);
    SetDescriptor(head, table, static_cast<uint32_t>(16 * segments.size()), 4, 0);
    MakeAvailable(head);
  }
  void MakeAvailable(uint16_t head) {
    memory_->Store<uint16_t>(Gpa(driver_ring + 4 + 2 * uint64_t(available % size)), head);
    memory_->Store<uint16_t>(Gpa(driver_ring + 2), ++available);
  }
  std::optional<Used> TakeUsed() {
    if (*memory_->Load<uint16_t>(Gpa(device_ring + 2)) == used) return std::nullopt;
    const Gpa element(device_ring + 4 + 8 * uint64_t(used++ % size));
    return Used{*memory_->Load<uint32_t>(element), *memory_->Load<uint32_t>(element + 4)};
  }
  void SetInterruptFlags(uint16_t flags) { memory_->Store<uint16_t>(Gpa(driver_ring), flags); }
  void SetUsedEvent(uint16_t index) {
    memory_->Store<uint16_t>(Gpa(driver_ring + 4 + 2 * uint64_t{size}), index);
  }
  uint16_t device_flags() const { return *memory_->Load<uint16_t>(Gpa(device_ring)); }
  uint16_t available_event() const {
    return *memory_->Load<uint16_t>(Gpa(device_ring + 4 + 8 * uint64_t{size}));
  }

  uint16_t size = 0;
  uint64_t descriptors = 0;
  uint64_t driver_ring = 0;
  uint64_t device_ring = 0;
  uint16_t available = 0;
  uint16_t used = 0;

 private:
  void LaySegments(uint64_t table, uint16_t first, std::span<const Segment> segments) {
    for (size_t i = 0; i < segments.size(); ++i) {
      const bool last = i + 1 == segments.size();
      const uint16_t flags = static_cast<uint16_t>((last ? 0 : 1) | (segments[i].writable ? 2 : 0));
      const unsigned at = first + static_cast<unsigned>(i);
      SetDescriptorAt(table, at, segments[i].at, segments[i].size, flags,
                      static_cast<uint16_t>(at + 1));
    }
  }

  GuestMemory* memory_ = nullptr;
};

class Driver {
 public:
  enum Mode { kModern, kLegacy };
  static constexpr uint64_t kVersion1Feature = uint64_t{1} << 32;

  Driver(pci::PciDevice* device, GuestMemory* memory, Mode mode)
      : device_(device), memory_(memory), mode_(mode) {
    device_->WriteConfig(pci::kCommand, 2, 7);
    FindStructures();
  }

  // Type → (region, offset, length) of the modern structures.
  struct Structure {
    unsigned bar = 0;
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  std::map<unsigned, Structure> structures;
  unsigned pci_cap = 0;
  uint32_t notify_multiplier = 0;

  uint64_t ReadCommon(uint32_t offset, unsigned size) {
    return device_->Read(structures[1].bar, structures[1].offset + offset, size);
  }
  void WriteCommon(uint32_t offset, unsigned size, uint64_t value) {
    device_->Write(structures[1].bar, structures[1].offset + offset, size, value);
  }
  uint64_t ReadLegacy(uint32_t offset, unsigned size) { return device_->Read(0, offset, size); }
  void WriteLegacy(uint32_t offset, unsigned size, uint64_t value) {
    device_->Write(0, offset, size, value);
  }
  uint64_t ReadDeviceConfig(uint32_t offset, unsigned size) {
    if (mode_ == kModern) {
      return device_->Read(structures[4].bar, structures[4].offset + offset, size);
    }
    return ReadLegacy(legacy_header() + offset, size);
  }
  void WriteDeviceConfig(uint32_t offset, unsigned size, uint64_t value) {
    if (mode_ == kModern) {
      device_->Write(structures[4].bar, structures[4].offset + offset, size, value);
    } else {
      WriteLegacy(legacy_header() + offset, size, value);
    }
  }

  uint8_t status() {
    return static_cast<uint8_t>(mode_ == kModern ? ReadCommon(0x14, 1) : ReadLegacy(0x12, 1));
  }
  void SetStatus(uint8_t value) {
    mode_ == kModern ? WriteCommon(0x14, 1, value) : WriteLegacy(0x12, 1, value);
  }
  uint8_t ReadIsr() {
    return static_cast<uint8_t>(mode_ == kModern
                                    ? device_->Read(structures[3].bar, structures[3].offset, 1)
                                    : ReadLegacy(0x13, 1));
  }

  uint64_t OfferedFeatures() {
    if (mode_ == kLegacy) return ReadLegacy(0, 4);
    WriteCommon(0, 4, 0);
    const uint64_t low = ReadCommon(4, 4);
    WriteCommon(0, 4, 1);
    return low | ReadCommon(4, 4) << 32;
  }
  // Resets, and takes those of `wanted` that are offered. False where the
  // device refused them.
  bool Negotiate(uint64_t wanted) {
    SetStatus(0);
    SetStatus(1);
    SetStatus(3);
    const uint64_t features = OfferedFeatures() & wanted;
    return AcceptFeatures(mode_ == kModern ? features | kVersion1Feature : features);
  }
  bool AcceptFeatures(uint64_t features) {
    if (mode_ == kLegacy) {
      WriteLegacy(4, 4, features);
      return true;
    }
    WriteCommon(8, 4, 0);
    WriteCommon(0xC, 4, features & 0xFFFFFFFF);
    WriteCommon(8, 4, 1);
    WriteCommon(0xC, 4, features >> 32);
    SetStatus(0xB);
    return (status() & 8) != 0;
  }
  void Start() { SetStatus(mode_ == kModern ? 0xF : 0x7); }

  // Lays queue `index` of `size` entries (legacy: the device's size) at `base`,
  // page-aligned and cleared. Takes 4 pages for 256 entries.
  DriverQueue SetUpQueue(uint16_t index, uint64_t base, uint16_t size = 0) {
    if (mode_ == kLegacy) {
      WriteLegacy(0xE, 2, index);
      size = static_cast<uint16_t>(ReadLegacy(0xC, 2));
    } else {
      WriteCommon(0x16, 2, index);
      if (size == 0) size = static_cast<uint16_t>(ReadCommon(0x18, 2));
    }
    DriverQueue q(memory_, base, size);
    memory_->Fill(Gpa(base), 0, q.device_ring + 6 + 8 * uint64_t{size} - base);
    if (mode_ == kLegacy) {
      WriteLegacy(8, 4, base >> 12);
    } else {
      WriteCommon(0x18, 2, size);
      Place(q);
      WriteCommon(0x1C, 2, 1);
    }
    return q;
  }
  // The selected queue's addresses, as two dwords each like Linux.
  void Place(const DriverQueue& q) {
    const uint64_t addresses[] = {q.descriptors, q.driver_ring, q.device_ring};
    for (unsigned i = 0; i < 3; ++i) {
      WriteCommon(0x20 + 8 * i, 4, addresses[i] & 0xFFFFFFFF);
      WriteCommon(0x24 + 8 * i, 4, addresses[i] >> 32);
    }
  }
  void Kick(uint16_t index) {
    if (mode_ == kLegacy) {
      WriteLegacy(0x10, 2, index);
      return;
    }
    WriteCommon(0x16, 2, index);
    const uint64_t at = ReadCommon(0x1E, 2) * notify_multiplier;
    device_->Write(structures[2].bar, structures[2].offset + at, 2, index);
  }

  // Turns MSI-X on with vector i sending data 0x40 + i to 0xFEE00000; queues and
  // configuration changes get the vectors by SetVectors().
  void EnableMsix(unsigned vectors) {
    for (unsigned i = 0; i < vectors; ++i) {
      device_->Write(1, 16 * i, 8, 0xFEE00000);
      device_->Write(1, 16 * i + 8, 4, 0x40 + i);
      device_->Write(1, 16 * i + 12, 4, 0);
    }
    device_->WriteConfig(msix_ + 2, 2, 0x8000);
    msix_on_ = true;
  }
  // Returns what the device reads back.
  uint16_t SetQueueVector(uint16_t queue, uint16_t vector) {
    if (mode_ == kLegacy) {
      WriteLegacy(0xE, 2, queue);
      WriteLegacy(0x16, 2, vector);
      return static_cast<uint16_t>(ReadLegacy(0x16, 2));
    }
    WriteCommon(0x16, 2, queue);
    WriteCommon(0x1A, 2, vector);
    return static_cast<uint16_t>(ReadCommon(0x1A, 2));
  }

 private:
  uint32_t legacy_header() const { return msix_on_ ? 0x18 : 0x14; }

  void FindStructures() {
    for (unsigned at = device_->ReadConfig(pci::kCapabilities, 1); at != 0;
         at = device_->ReadConfig(at + 1, 1)) {
      const uint32_t id = device_->ReadConfig(at, 1);
      if (id == 0x11) msix_ = at;
      if (id != 0x09) continue;
      const unsigned type = device_->ReadConfig(at + 3, 1);
      structures[type] = {device_->ReadConfig(at + 4, 1), device_->ReadConfig(at + 8, 4),
                          device_->ReadConfig(at + 12, 4)};
      if (type == 2) notify_multiplier = device_->ReadConfig(at + 16, 4);
      if (type == 5) pci_cap = at;
    }
  }

  pci::PciDevice* device_;
  GuestMemory* memory_;
  Mode mode_;
  unsigned msix_ = 0;
  bool msix_on_ = false;
};

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_TESTING_DRIVER_H_
