// SPDX-License-Identifier: Apache-2.0
// Rings, descriptors, headers and control requests of random bytes against
// virtio-net. The input: a byte of choices, then operations: a patch of the first
// 64 KiB, where all tables and buffers lie, a kick of a queue, a frame from
// outside, a hostile saved state, a reset.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/bytes_reader.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/testing/fake_port.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/net.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace {

using atl::Gpa;
using atl::virtio::Driver;
using atl::virtio::DriverQueue;
using atl::virtio::Segment;

constexpr uint64_t kWindow = 64 << 10;
constexpr size_t kMaxPatch = 63;
// What a call may cost: frames that one input makes the device send.
constexpr size_t kMaxSent = 100000;

void Attach(Driver& driver, DriverQueue (&queues)[3]) {
  for (uint16_t i = 0; i < 3; ++i) queues[i] = driver.SetUpQueue(i, 0x1000 + 0x3000 * i, 16);
  driver.Start();
  queues[0].Add(std::vector<Segment>{{0xA000, 1000, true}}, 0);
  queues[0].Add(std::vector<Segment>{{0xA800, 1000, true}}, 1);
  queues[1].Add(std::vector<Segment>{{0xB000, 12}, {0xB100, 100}});
  queues[2].Add(std::vector<Segment>{{0xC000, 16}, {0xC100, 1, true}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static atl::GuestMemory* memory = atl::GuestMemory::Create(1 << 20)->release();
  if (size < 2) return 0;
  const uint8_t choices = data[0];
  atl::pci::FakeWiring wiring;
  atl::net::FakePort port;
  atl::work::InlineBackground background;
  if ((choices & 1) != 0) port.peer_offloads = {true, true, true, true, true, true};
  auto function = atl::virtio::NewVirtioPci(
      wiring.At(3), memory,
      atl::virtio::NewNet(memory, &port, &background, {.mac = {2}, .queue_size = 16}));
  memory->Fill(Gpa(0), 0, kWindow);
  Driver driver(function.get(), memory, Driver::kModern);
  uint64_t features = ~uint64_t{0};
  if ((choices & 2) != 0) features &= ~(uint64_t{1} << 15);
  if ((choices & 4) != 0) features &= ~(uint64_t{1} << 29);
  driver.Negotiate(features);
  DriverQueue queues[3];
  Attach(driver, queues);
  for (size_t at = 1; at < size && port.sent.size() < kMaxSent;) {
    const uint8_t operation = data[at++];
    if (operation < 0xC0) {
      if (at + 2 > size) break;
      const uint64_t offset = data[at] | uint64_t{data[at + 1]} << 8;
      at += 2;
      const size_t length = std::min<size_t>(operation & kMaxPatch, size - at);
      memory->Write(Gpa(offset), {data + at, length});
      at += length;
    } else if (operation < 0xE0) {
      driver.Kick(operation % 4);
    } else if (operation < 0xF8) {
      std::vector<uint8_t> frame((operation & 31) * 37 + 1, operation);
      atl::net::Work work;
      work.needs_checksum = (operation & 1) != 0;
      port.Deliver(frame, work);
    } else if (operation < 0xFC) {
      port.MakeRoom(operation & 3);
    } else if (operation < 0xFE) {
      atl::BytesReader state({data + at, std::min<size_t>(size - at, 64)});
      atl::dev::LoadHostileState(*function, state);
      for (uint16_t i = 0; i < 3; ++i) function->Write(4, atl::virtio::kNotifyOffset, 2, i);
      port.Deliver(std::vector<uint8_t>(60, operation), {});
      port.MakeRoom(1);
      function->Reset();
      driver.Negotiate(features);
      Attach(driver, queues);
    } else {
      driver.Negotiate(features);
      Attach(driver, queues);
    }
  }
  for (uint16_t i = 0; i < 3; ++i) driver.Kick(i);
  return 0;
}
