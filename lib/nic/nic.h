// SPDX-License-Identifier: Apache-2.0
// Network cards on the PCI bus, as -net nic,model= and -device name them. A card
// is built on a port (lib/net), which it connects to as long as it lives.
#ifndef LIB_NIC_NIC_H_
#define LIB_NIC_NIC_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/dev/bells.h"
#include "lib/dev/clock.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/mac.h"
#include "lib/net/port.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"
#include "lib/work/background.h"

namespace atl::nic {

// What a card is built from; the pointees outlive it.
struct NicParts {
  pci::PciWiring wiring;
  GuestMemory* memory = nullptr;
  dev::Clock* clock = nullptr;  // of the card's lock
  net::Port* port = nullptr;
  net::MacAddress mac{};
  std::vector<uint8_t> rom;                // option ROM; empty for none
  dev::Bells* bells = nullptr;             // null: none
  work::Background* background = nullptr;  // for the rest of long work, in a later turn
};

struct NicModel {
  absl::string_view name;  // of -net nic,model=, and of the device
  absl::string_view summary;
  absl::string_view rom;  // the file that boots it, in Debian's ipxe-qemu
  std::unique_ptr<pci::PciDevice> (*create)(NicParts parts);
};

// Sorted by name.
std::span<const NicModel* const> NicModels();
// Null where there is none of that name.
const NicModel* FindNicModel(absl::string_view name);

}  // namespace atl::nic

#endif  // LIB_NIC_NIC_H_
