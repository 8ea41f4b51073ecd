// SPDX-License-Identifier: Apache-2.0
// Rings, descriptors and requests of random bytes against virtio-blk: memory is
// filled from the input, and the queue is kicked. The input: a byte of feature
// choices, then (offset, length, bytes) patches of the first 64 KiB, where all
// the tables and a request lie.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/block/testing/memory_disk.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/blk.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace {

constexpr uint64_t kWindow = 64 << 10;
constexpr uint16_t kQueueSize = 16;

struct World {
  World()
      : memory(*atl::GuestMemory::Create(1 << 20)),
        function(atl::virtio::NewVirtioPci(
            wiring.At(3), memory.get(),
            atl::virtio::NewBlk(memory.get(), &disk, &background, {.queue_size = kQueueSize}))) {}
  std::unique_ptr<atl::GuestMemory> memory;
  atl::block::MemoryDisk disk{64 << 10};
  atl::work::InlineBackground background;
  atl::pci::FakeWiring wiring;
  std::unique_ptr<atl::pci::PciDevice> function;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World* world = new World;
  if (size < 2) return 0;
  const uint8_t choices = data[0];
  const auto mode =
      (choices & 1) != 0 ? atl::virtio::Driver::kLegacy : atl::virtio::Driver::kModern;
  atl::GuestMemory& memory = *world->memory;
  memory.Fill(atl::Gpa(0), 0, kWindow);
  atl::virtio::Driver driver(world->function.get(), &memory, mode);
  driver.Negotiate((choices & 2) != 0 ? 0xFFFFFFFF : 0xCFFFFFFF);
  atl::virtio::DriverQueue queue = driver.SetUpQueue(0, 0x1000);
  driver.Start();
  // A good request for the fuzzer to spoil.
  const atl::virtio::Segment segments[] = {{0x8000, 16}, {0x9000, 512, true}, {0xA000, 1, true}};
  queue.Add(segments);
  size_t at = 1;
  while (at + 3 <= size) {
    const uint64_t offset = data[at] | uint64_t{data[at + 1]} << 8;
    const size_t length = std::min<size_t>(data[at + 2] & 63, size - at - 3);
    at += 3;
    memory.Write(atl::Gpa(offset), {data + at, length});
    at += length;
    if ((choices & 4) != 0) driver.Kick(0);
  }
  driver.Kick(0);
  driver.SetStatus(0);
  return 0;
}
