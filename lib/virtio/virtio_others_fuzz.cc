// SPDX-License-Identifier: Apache-2.0
// Rings, descriptors, requests and saved state of random bytes against the small
// devices: balloon, console and random numbers. The input: a byte that chooses the
// device and the driver, then operations: a patch of the first 64 KiB, where all
// tables and buffers lie, a kick, a register, input from outside, a state, a reset.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/bytes_reader.h"
#include "lib/char/stream.h"
#include "lib/dev/testing/hostile_state.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/balloon.h"
#include "lib/virtio/console.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/rng.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace {

using atl::Gpa;
using atl::GuestMemory;
using atl::virtio::Driver;
using atl::virtio::DriverQueue;
using atl::virtio::Segment;

constexpr uint64_t kWindow = 64 << 10;
constexpr size_t kMaxPatch = 63;
constexpr unsigned kQueues = 2;

class EndlessStream final : public atl::chr::Stream {
 public:
  size_t Read(std::span<uint8_t> to) override {
    const size_t n = std::min(to.size(), left);
    std::memset(to.data(), 'a', n);
    left -= n;
    return n;
  }
  void Write(std::span<const uint8_t> bytes) override {
    for (const uint8_t b : bytes) sum += b;  // each byte is there
  }
  size_t left = 0;
  uint64_t sum = 0;
};

// One of the devices, in a guest of 1 MiB.
class World {
 public:
  explicit World(unsigned kind) : memory_(*GuestMemory::Create(1 << 20)) {
    std::unique_ptr<atl::virtio::VirtioDevice> device;
    if (kind == 0) {
      // As the machine does it: what is no memory is left alone.
      auto made = atl::virtio::NewBalloon(memory_.get(), &background_, [this](Gpa page) {
        const std::span<uint8_t> bytes = memory_->Span(page, 4096);
        std::fill(bytes.begin(), bytes.end(), uint8_t{0});
      });
      from_outside_ = [balloon = made.get()](uint8_t value) {
        balloon->SetTarget(value * 0x01010101u);
        (void)balloon->actual();
      };
      device = std::move(made);
    } else if (kind == 1) {
      auto made = atl::virtio::NewConsole(memory_.get(), &background_, &stream_);
      from_outside_ = [this, console = made.get()](uint8_t value) {
        stream_.left = value * 64u;
        console->InputReady();
      };
      device = std::move(made);
    } else {
      device = atl::virtio::NewRng(memory_.get(), &background_, [this](std::span<uint8_t> to) {
        std::fill(to.begin(), to.end(), uint8_t{0x5A});
        return gives_;
      });
      from_outside_ = [this](uint8_t value) { gives_ = (value & 1) != 0; };
    }
    function_ = atl::virtio::NewVirtioPci(wiring_.At(3), memory_.get(), std::move(device));
  }

  void Run(bool legacy, std::span<const uint8_t> in);

 private:
  void Attach(Driver& driver);

  const std::unique_ptr<GuestMemory> memory_;
  atl::work::InlineBackground background_;
  EndlessStream stream_;
  bool gives_ = true;
  std::function<void(uint8_t)> from_outside_;
  atl::pci::FakeWiring wiring_;
  std::unique_ptr<atl::pci::PciDevice> function_;
};

void World::Attach(Driver& driver) {
  driver.Negotiate(~uint64_t{0});
  DriverQueue queues[kQueues];
  for (uint16_t i = 0; i < kQueues; ++i) {
    queues[i] = driver.SetUpQueue(i, 0x1000 + 0x3000 * i, 16);
  }
  driver.Start();
  // A good request each way for the fuzzer to spoil.
  queues[0].Add(std::vector<Segment>{{0xA000, 64, true}}, 0);
  // Random numbers have one queue.
  if (queues[1].size != 0) queues[1].Add(std::vector<Segment>{{0xB000, 64}}, 0);
}

void World::Run(bool legacy, std::span<const uint8_t> in) {
  function_->Reset();
  wiring_.msi.sent.clear();
  stream_.left = 0;
  gives_ = true;
  memory_->Fill(Gpa(0), 0, kWindow);
  Driver driver(function_.get(), memory_.get(), legacy ? Driver::kLegacy : Driver::kModern);
  Attach(driver);
  while (!in.empty()) {
    const uint8_t operation = in[0];
    in = in.subspan(1);
    if (operation < 0xC0) {
      if (in.size() < 2) break;
      const uint64_t offset = in[0] | uint64_t{in[1]} << 8;
      const size_t length = std::min<size_t>(operation & kMaxPatch, in.size() - 2);
      memory_->Write(Gpa(offset), in.subspan(2, length));
      in = in.subspan(2 + length);
    } else if (operation < 0xE0) {
      driver.Kick(operation & 3);
    } else if (operation < 0xF0) {
      from_outside_(static_cast<uint8_t>(operation << 4 | (in.empty() ? 0 : in[0])));
    } else if (operation < 0xF8) {
      const unsigned bytes = 1u << (operation & 3);
      const uint32_t offset = in.empty() ? 0 : in[0];
      (operation & 4) != 0 ? driver.WriteDeviceConfig(offset, bytes, operation * 0x01010101u)
                           : static_cast<void>(driver.ReadDeviceConfig(offset, bytes));
    } else if (operation < 0xFC) {
      atl::BytesReader state(in.first(std::min<size_t>(in.size(), 64)));
      atl::dev::LoadHostileState(*function_, state);
      for (uint16_t i = 0; i < kQueues; ++i) {
        function_->Write(4, atl::virtio::kNotifyOffset, 2, i);
      }
      function_->Reset();
      Attach(driver);
    } else {
      Attach(driver);
    }
  }
  for (uint16_t i = 0; i < kQueues; ++i) driver.Kick(i);
  driver.SetStatus(0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World* const worlds[] = {new World(0), new World(1), new World(2)};
  if (size < 1) return 0;
  worlds[(data[0] >> 1) % 3]->Run((data[0] & 1) != 0, {data + 1, size - 1});
  return 0;
}
