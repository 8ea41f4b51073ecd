// SPDX-License-Identifier: Apache-2.0
// Random accesses to a virtio function: configuration space, every region, any
// offset and size, and saved state of random bytes. The input is a sequence of
// twelve-byte steps.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/bytes_reader.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/blk.h"
#include "lib/virtio/pci.h"
#include "lib/work/background.h"

namespace {

struct World {
  World()
      : memory(*atl::GuestMemory::Create(1 << 20)),
        function(atl::virtio::NewVirtioPci(
            wiring.At(3), memory.get(),
            atl::virtio::NewBlk(memory.get(), &disk, &background, {.queues = 2}))) {}
  std::unique_ptr<atl::GuestMemory> memory;
  atl::block::MemoryDisk disk{64 << 10};
  atl::work::InlineBackground background;
  atl::pci::FakeWiring wiring;
  std::unique_ptr<atl::pci::PciDevice> function;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World* world = new World;
  atl::pci::PciDevice& f = *world->function;
  f.Reset();
  world->wiring.msi.sent.clear();
  if (size > 0 && data[0] == 0xFF) {
    // Refused or not, the device must stay usable.
    (void)atl::dev::LoadState(f, {data + 1, size - 1});
    f.Write(4, atl::virtio::kNotifyOffset, 2, 0);
    f.Reset();
    return 0;
  }
  size_t at = 0;
  if (size > 2 && data[0] == 0xFE) {
    at = 2 + std::min<size_t>(size - 2, data[1]);
    atl::BytesReader in({data + 2, at - 2});
    atl::dev::LoadHostileState(f, in);
    for (uint16_t queue = 0; queue < 2; ++queue) {
      f.Write(4, atl::virtio::kNotifyOffset, 2, queue);
    }
  }
  for (; at + 12 <= size; at += 12) {
    const uint8_t* step = data + at;
    const unsigned bytes = 1u << (step[0] >> 4 & 3);
    const bool write = (step[0] & 0x40) != 0;
    const unsigned target = step[0] & 7;
    const uint64_t offset = step[1] | uint64_t{step[2]} << 8 | uint64_t{step[3] & 1u} << 32;
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; ++i) value |= uint64_t{step[4 + i]} << (8 * i);
    if (target == 7) {
      const unsigned config_bytes = bytes == 8 ? 4 : bytes;
      if (write) {
        f.WriteConfig(static_cast<unsigned>(offset), config_bytes, static_cast<uint32_t>(value));
      } else {
        f.ReadConfig(static_cast<unsigned>(offset), config_bytes);
      }
    } else if (write) {
      f.Write(target, offset, bytes, value);
    } else {
      f.Read(target, offset, bytes);
    }
  }
  return 0;
}
