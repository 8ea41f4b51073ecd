// SPDX-License-Identifier: Apache-2.0
// Packets of random bytes to a CD drive, by PIO and by DMA, while media come and
// go and the state is saved, damaged and loaded. The channel's other ports are
// ide_fuzz's.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/bytes_reader.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/ide/cd_drive.h"
#include "lib/ide/channel.h"
#include "lib/ide/piix_ide.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/work/background.h"

namespace {

using atl::ide::ChannelWiring;
using atl::ide::DriveOptions;
using atl::ide::kLegacyPorts;

constexpr uint64_t kTable = 0x1000;

struct World {
  World()
      : memory(*atl::GuestMemory::Create(1 << 20)),
        ide(atl::ide::NewPiix3Ide(
            wiring.At(1, 1),
            {ChannelWiring{&irqs[0], memory.get(), &background, nullptr},
             ChannelWiring{&irqs[1], memory.get(), &background, nullptr}},
            {DriveOptions{.cd = &cd}, DriveOptions{}, DriveOptions{}, DriveOptions{}})) {
    // A table of three regions, the last of them odd to the host.
    for (uint32_t i = 0; i < 3; ++i) {
      memory->Store<uint32_t>(atl::Gpa(kTable + 8 * i), 0x10000 + 0x10000 * i);
      memory->Store<uint32_t>(atl::Gpa(kTable + 8 * i + 4), i == 2 ? 0x80000FFE : 0x0800);
    }
  }
  std::unique_ptr<atl::GuestMemory> memory;
  std::shared_ptr<atl::block::MemoryDisk> media[2] = {
      std::make_shared<atl::block::MemoryDisk>(64 * 2048, true),
      std::make_shared<atl::block::MemoryDisk>(3 * 2048 + 512, true)};
  atl::work::InlineBackground background;
  atl::pci::FakeWiring wiring;
  atl::dev::FakeIrqLine irqs[2];
  atl::ide::CdDrive cd;
  std::unique_ptr<atl::pci::PciDevice> ide;
};

void Out(World& w, unsigned port, uint64_t value, unsigned size = 1) {
  w.ide->Write(kLegacyPorts[0].region, port, size, value);
}

void SendPacket(World& w, atl::BytesReader& in, uint8_t op) {
  Out(w, 6, 0xA0);
  Out(w, 1, op & 0x20 ? 1 : 0);
  const uint16_t limit = in.Read<uint16_t>().value_or(2048);
  Out(w, 4, limit & 0xFF);
  Out(w, 5, limit >> 8);
  Out(w, 7, 0xA0);
  for (int i = 0; i < 6; ++i) Out(w, 0, in.Read<uint16_t>().value_or(0), 2);
  if (op & 0x20) {
    w.ide->Write(atl::ide::kBusMasterBar, 4, 4, kTable);
    w.ide->Write(atl::ide::kBusMasterBar, 0, 1, 8);
    w.ide->Write(atl::ide::kBusMasterBar, 0, 1, 9);
    w.ide->Write(atl::ide::kBusMasterBar, 0, 1, 0);
  }
  if (op & 0x40) {
    for (int i = 0; i < 2000; ++i) w.ide->Read(kLegacyPorts[0].region, 0, 4);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World* world = new World;
  World& w = *world;
  w.cd.CloseTray();
  w.cd.Load(w.media[0]);
  w.ide->Reset();
  w.ide->WriteConfig(atl::pci::kCommand, 2, 5);
  atl::BytesReader in({data, size});
  for (int step = 0; step < 300 && in.remaining() != 0; ++step) {
    const uint8_t op = *in.Read<uint8_t>();
    switch (op & 7) {
      case 0:
      case 1:
      case 2:
      case 3:
        SendPacket(w, in, op);
        break;
      case 4:
        if (op & 0x10) w.cd.OpenTray();
        if (op & 0x20) w.cd.Remove();
        if (op & 0x40) w.cd.Insert(w.media[op >> 7]);
        if (op & 0x08) w.cd.CloseTray();
        break;
      case 5:
        for (int i = 0; i < 100; ++i) w.ide->Read(kLegacyPorts[0].region, 0, op & 8 ? 2 : 1);
        break;
      case 6:
        Out(w, op >> 3 & 7, in.Read<uint8_t>().value_or(0));
        break;
      case 7: {
        std::vector<uint8_t> state = atl::dev::SaveState(*w.ide);
        if (op & 16) {
          atl::dev::LoadHostileState(*w.ide, in);
        } else if (op & 8) {
          const size_t at = in.Read<uint16_t>().value_or(0) % state.size();
          state[at] ^= in.Read<uint8_t>().value_or(1);
          if (!atl::dev::LoadState(*w.ide, state).ok()) w.ide->Reset();
        } else {
          const std::string before = atl::dev::ShowState(*w.ide);
          const absl::Status loaded = atl::dev::LoadState(*w.ide, state);
          if (!loaded.ok() || atl::dev::SaveState(*w.ide) != state) {
            fprintf(stderr, "%s\n%s\nloaded again:\n%s", std::string(loaded.message()).c_str(),
                    before.c_str(), atl::dev::ShowState(*w.ide).c_str());
            abort();
          }
        }
        break;
      }
    }
  }
  return 0;
}
