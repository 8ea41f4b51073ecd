// SPDX-License-Identifier: Apache-2.0
// The network cards that -net nic,model= knows. Each stands in one .cc with one
// `extern const Model`, listed in models.cc.
#ifndef LIB_NIC_MODEL_H_
#define LIB_NIC_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/dev/clock.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/mac.h"
#include "lib/net/port.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"
#include "lib/work/background.h"

namespace atl::nic {

// What a card hangs on; everything outlives it.
struct NicWiring {
  pci::PciWiring pci;
  GuestMemory* memory = nullptr;
  net::Port* port = nullptr;  // the card connects itself, see port.h
  dev::Clock* clock = nullptr;
  // For what goes on after a bounded piece of work: Post(nullptr, done).
  work::Background* background = nullptr;
};

struct NicOptions {
  net::MacAddress mac{};
  std::vector<uint8_t> rom;  // for booting over the network; empty: none
};

struct Model {
  absl::string_view name;     // "e1000", as model= has it
  absl::string_view device;   // dev::Device::name() of it, in lib/dev/types.cc
  absl::string_view summary;  // one line, lower case, no full stop
  absl::string_view rom;      // the option ROM's file name, as Debian's ipxe-qemu has it
  std::unique_ptr<pci::PciDevice> (*create)(const NicWiring& wiring, const NicOptions& options);
};

// The first is the default of -net nic.
std::span<const Model* const> Models();
// Null where there is none of that name.
const Model* FindModel(absl::string_view name);

}  // namespace atl::nic

#endif  // LIB_NIC_MODEL_H_
