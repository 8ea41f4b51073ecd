// SPDX-License-Identifier: Apache-2.0
// Random port accesses to the IDE function, with a region descriptor table in
// guest memory that the input writes, and saved state of random bytes. Steps of
// four bytes: what, offset, value (or a patch of the table).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/bytes_reader.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/ide/channel.h"
#include "lib/ide/piix_ide.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/work/background.h"

namespace {

using atl::ide::ChannelWiring;
using atl::ide::DriveOptions;

struct World {
  World()
      : memory(*atl::GuestMemory::Create(1 << 20)),
        ide(atl::ide::NewPiix3Ide(wiring.At(1, 1),
                                  {ChannelWiring{&irqs[0], memory.get(), &background, nullptr},
                                   ChannelWiring{&irqs[1], memory.get(), &background, nullptr}},
                                  {DriveOptions{.disk = &disk}, DriveOptions{.disk = &second},
                                   DriveOptions{}, DriveOptions{.disk = &second}})) {}
  std::unique_ptr<atl::GuestMemory> memory;
  atl::block::MemoryDisk disk{64 << 10};
  atl::block::MemoryDisk second{32 << 10};
  atl::work::InlineBackground background;
  atl::pci::FakeWiring wiring;
  atl::dev::FakeIrqLine irqs[2];
  std::unique_ptr<atl::pci::PciDevice> ide;
};

void Steps(World& world, const uint8_t* data, size_t size) {
  atl::pci::PciDevice& ide = *world.ide;
  for (size_t at = 0; at + 4 <= size; at += 4) {
    const uint8_t* step = data + at;
    const unsigned bytes = 1u << (step[0] >> 4 & 3);
    const unsigned what = step[0] & 15;
    const uint64_t value = step[2] | uint64_t{step[3]} << 8;
    if (what == 15) {
      world.memory->Store<uint16_t>(atl::Gpa(step[1] * 2u), static_cast<uint16_t>(value));
    } else if (what == 14) {
      // A block's worth of data at once: single words would take all the input.
      for (unsigned i = 0; i < 256; ++i) ide.Read(8, 0, 2);
    } else if (what == 13) {
      for (unsigned i = 0; i < 256; ++i) ide.Write(8, 0, 2, value + i);
    } else if ((step[0] & 0x40) != 0) {
      ide.Read(what, step[1], bytes);
    } else {
      ide.Write(what, step[1], bytes, value);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World* world = new World;
  world->ide->Reset();
  if (size > 2 && data[0] == 0xFF) {
    const size_t state = std::min<size_t>(size - 2, data[1] * 16u);
    (void)atl::dev::LoadState(*world->ide, {data + 2, state});
    Steps(*world, data + 2 + state, size - 2 - state);
    return 0;
  }
  if (size > 2 && data[0] == 0xFE) {
    const size_t state = std::min<size_t>(size - 2, data[1]);
    atl::BytesReader in({data + 2, state});
    atl::dev::LoadHostileState(*world->ide, in);
    Steps(*world, data + 2 + state, size - 2 - state);
    return 0;
  }
  Steps(*world, data, size);
  return 0;
}
