// SPDX-License-Identifier: Apache-2.0
// The PCI transport (VIRTIO 1.2, 4.1): a transitional function by default, with
// the legacy registers in BAR 0 (I/O), MSI-X in BAR 1 and the modern structures
// in BAR 4; or a modern one without BAR 0.
#ifndef LIB_VIRTIO_PCI_H_
#define LIB_VIRTIO_PCI_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "lib/dev/bells.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"
#include "lib/virtio/device.h"

namespace atl::virtio {

struct PciTransportOptions {
  bool legacy = true;  // false: VIRTIO 1.x only
  // Told once per Fail(), with the device's lock held: for the log.
  std::function<void(const absl::Status&)> on_fail;
  std::vector<uint8_t> rom;  // an option ROM; empty: none
  // By which drivers' notifications come, where that can be; outlive the function. Null:
  // by the bus.
  dev::Bells* bells = nullptr;
  // Only those of queues that the device delegates.
  bool bells_of_delegated_only = false;
};

// `memory` outlives the function.
std::unique_ptr<pci::PciDevice> NewVirtioPci(const pci::PciWiring& wiring, GuestMemory* memory,
                                             std::unique_ptr<VirtioDevice> device,
                                             PciTransportOptions options = {});

// Where the function's structures lie, for tests.
inline constexpr unsigned kLegacyBar = 0;
inline constexpr unsigned kMsixBar = 1;
inline constexpr unsigned kModernBar = 4;
inline constexpr uint32_t kCommonOffset = 0x0000;
inline constexpr uint32_t kIsrOffset = 0x1000;
inline constexpr uint32_t kDeviceOffset = 0x2000;
inline constexpr uint32_t kNotifyOffset = 0x3000;  // 4 bytes a queue
inline constexpr uint32_t kNotifyMultiplier = 4;
inline constexpr uint32_t kModernBytes = 0x4000;
inline constexpr uint64_t kLegacyNotify = 0x10;

inline constexpr uint8_t kStatusAcknowledge = 1;
inline constexpr uint8_t kStatusDriver = 2;
inline constexpr uint8_t kStatusDriverOk = 4;
inline constexpr uint8_t kStatusFeaturesOk = 8;
inline constexpr uint8_t kStatusNeedsReset = 64;
inline constexpr uint8_t kStatusFailed = 128;
inline constexpr uint16_t kNoVector = 0xFFFF;

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_PCI_H_
