// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "lib/nic/nic.h"
#include "lib/virtio/net.h"
#include "lib/virtio/pci.h"

namespace atl::nic {
namespace {

std::unique_ptr<pci::PciDevice> Create(NicParts parts) {
  virtio::PciTransportOptions transport;
  transport.rom = std::move(parts.rom);
  transport.bells = parts.bells;
  // What the card's own code sends it sends on the vCPU's thread, within the exit.
  transport.bells_of_delegated_only = true;
  return virtio::NewVirtioPci(
      parts.wiring, parts.memory,
      virtio::NewNet(parts.memory, parts.port, parts.background,
                     {.mac = parts.mac, .clock = parts.clock, .delegates = parts.bells != nullptr}),
      std::move(transport));
}

}  // namespace

extern const NicModel kVirtioNet;
const NicModel kVirtioNet = {
    .name = "virtio",
    .summary = "virtio-net, modern and transitional; the fastest where the guest has a driver",
    .rom = "pxe-virtio.rom",
    .create = Create,
};

}  // namespace atl::nic
