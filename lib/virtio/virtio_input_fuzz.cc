// SPDX-License-Identifier: Apache-2.0
// A driver whose queues and status events hold anything, while keys are pressed,
// the pointer moves and hostile saved states are loaded. The first bytes choose the kind and the
// actions, the rest lies in memory where the queues are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/bytes_reader.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/input.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"

namespace {

using atl::virtio::Driver;

struct World {
  explicit World(atl::virtio::InputKind kind) : memory(*atl::GuestMemory::Create(1 << 20)) {
    std::unique_ptr<atl::virtio::InputDevice> made = atl::virtio::NewInput(memory.get(), kind);
    device = made.get();
    function =
        atl::virtio::NewVirtioPci(wiring.At(3), memory.get(), std::move(made), {.legacy = false});
    driver = std::make_unique<Driver>(function.get(), memory.get(), Driver::kModern);
  }
  std::unique_ptr<atl::GuestMemory> memory;
  atl::pci::FakeWiring wiring;
  atl::virtio::InputDevice* device;
  std::unique_ptr<atl::pci::PciDevice> function;
  std::unique_ptr<Driver> driver;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using atl::virtio::InputKind;
  static World* const worlds[] = {new World(InputKind::kKeyboard), new World(InputKind::kMouse),
                                  new World(InputKind::kTablet)};
  constexpr size_t kActions = 24;
  if (size < 1 + kActions) return 0;
  World& w = *worlds[data[0] % 3];
  Driver& driver = *w.driver;
  if (!driver.Negotiate(atl::virtio::kIndirectDesc | atl::virtio::kEventIndex)) return 0;
  constexpr uint64_t kQueues = 0x1000;
  driver.SetUpQueue(0, kQueues, 8);
  driver.SetUpQueue(1, kQueues + 0x3000, 8);
  // Both queues' tables, within the bytes that follow.
  const size_t tables = std::min<size_t>(size - 1 - kActions, 0x6000);
  w.memory->Write(atl::Gpa(kQueues), {data + 1 + kActions, tables});
  driver.Start();
  for (size_t i = 0; i < kActions; i += 2) {
    const uint8_t what = data[1 + i], value = data[2 + i];
    switch (what % 7) {
      case 0:
        driver.Kick(value & 1);
        break;
      case 1:
        w.device->Key(value, (what & 0x80) != 0);
        break;
      case 2:
        w.device->Move(value - 128, what - 128, value & 3, value >> 3);
        break;
      case 3:
        w.device->MoveTo(value * 257u, what * 1000u, value & 3, value >> 3);
        break;
      case 4:
        driver.WriteDeviceConfig(what & 1, 1, value);
        break;
      case 5:
        driver.ReadDeviceConfig(value, 4);
        break;
      case 6: {
        // From the tables' bytes, or from none.
        const size_t at = std::min<size_t>(size, 1 + kActions + value * 16u);
        atl::BytesReader state({data + at, std::min<size_t>(size - at, 64)});
        atl::dev::LoadHostileState(*w.function, state);
        for (uint16_t q = 0; q < 2; ++q) w.function->Write(4, atl::virtio::kNotifyOffset, 2, q);
        w.device->Key(value, true);
        w.device->Move(value, -value, 1, 1);
        w.function->Reset();
        driver.Negotiate(atl::virtio::kIndirectDesc | atl::virtio::kEventIndex);
        driver.SetUpQueue(0, kQueues, 8);
        driver.SetUpQueue(1, kQueues + 0x3000, 8);
        driver.Start();
        break;
      }
    }
    (void)w.device->leds();
  }
  driver.SetStatus(0);
  return 0;
}
