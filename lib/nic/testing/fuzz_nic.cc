// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/testing/fuzz_nic.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/fuzz_device.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/testing/fake_port.h"
#include "lib/nic/nic.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"

namespace atl::nic {
namespace {

constexpr uint64_t kRam = 1 << 20;
constexpr size_t kSeed = 1024;

struct Card {
  Card(const FuzzSubject& subject, GuestMemory& memory, dev::DeviceLock& lock) {
    device = FindNicModel(subject.model)
                 ->create({wiring.At(3), &memory, &lock.clock(), &port, {2, 0, 0, 0, 0, 1}, {}});
    device->WriteConfig(pci::kCommand, 2, 7);
    for (const FuzzSubject::Setting& s : subject.settings)
      device->Write(0, s.offset, s.size, s.value);
  }
  net::FakePort port;
  pci::FakeWiring wiring;
  std::unique_ptr<pci::PciDevice> device;
};

}  // namespace

void FuzzNic(const FuzzSubject& subject, const uint8_t* data, size_t size) {
  std::span<const uint8_t> bytes(data, size);
  static GuestMemory* const memory = GuestMemory::Create(kRam).value().release();
  const size_t seed = std::min(bytes.size() / 2, kSeed);
  (void)memory->Fill(Gpa(0), 0, 0x10000);
  (void)memory->Write(Gpa(kFuzzRings), bytes.first(seed));
  bytes = bytes.subspan(seed);

  dev::ManualClock clock;
  dev::DeviceLock lock(&clock);
  Card card(subject, *memory, lock), twin(subject, *memory, lock);
  dev::FuzzDevice(bytes, lock, clock, *card.device, *twin.device, subject.regions, [&](uint8_t b) {
    card.port.sent.clear();
    twin.port.sent.clear();
    switch (b & 7) {
      case 0:
        card.port.room = b >> 3;
        break;
      case 1:
        card.port.MakeRoom(~0u);
        break;
      case 2:
        card.port.ChangeLink((b & 8) != 0);
        break;
      case 3:
        card.port.peer_offloads = {(b & 8) != 0, (b & 16) != 0, (b & 32) != 0, false, false, false};
        break;
      case 4:
        // Rings as a driver would set them up again.
        for (const FuzzSubject::Setting& s : subject.settings)
          card.device->Write(0, s.offset, s.size, s.value);
        break;
      default: {
        // A frame of any length, to the card or to all, cut from the memory.
        std::vector<uint8_t> frame(14 + size_t{b} * 8 + (b > 250 ? size_t{b} * 64 : 0));
        (void)memory->Read(Gpa(kFuzzRings + 16 * b), frame);
        std::fill(frame.begin(), frame.begin() + 6, (b & 8) != 0 ? 0xFF : 0);
        if ((b & 8) == 0) frame[0] = 2, frame[5] = 1;
        card.port.Deliver(frame);
        break;
      }
    }
  });
}

}  // namespace atl::nic
