// SPDX-License-Identifier: Apache-2.0
// The block device as the machine assembles it: on the real bus, behind the
// configuration ports, with resources as firmware assigns them, worker threads
// and an interrupt that arrives at an ISA IRQ.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/bus.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/irq.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/bus.h"
#include "lib/pci/bus_mapper.h"
#include "lib/pci/piix.h"
#include "lib/pci/pirq.h"
#include "lib/pci/resources.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/blk.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/worker_pool.h"

namespace atl::virtio {
namespace {

using dev::Space;

class AtomicLine : public dev::IrqLine {
 public:
  void Set(bool now) override { level = now; }
  std::atomic<bool> level = false;
};

TEST(Assembly, GuestReadsASectorThroughTheWholeMachine) {
  ASSERT_OK_AND_ASSIGN(auto memory, GuestMemory::Create(4 << 20));
  block::MemoryDisk disk(1 << 20);
  for (size_t i = 0; i < 512; ++i) disk.bytes()[i + 5 * 512] = static_cast<uint8_t>(i * 3);

  dev::Bus bus;
  pci::BusMapper mapper(&bus);
  AtomicLine irq11;
  std::array<dev::IrqLine*, pci::kIsaIrqs> isa{};
  isa[11] = &irq11;
  pci::PirqRouter router(isa);
  pci::FakeMsi msi;
  pci::PciBus pci_bus(&mapper, &router, &msi);
  work::WorkerPool pool(2);
  dev::DeviceLock ports_lock;
  dev::DeviceLock bridge_lock;
  dev::DeviceLock blk_lock;
  auto background = pool.NewBackground(&blk_lock);

  auto bridge = pci::NewPiix3Isa(pci_bus.Wire(pci::DevFn(1, 0)), &router);
  auto blk = NewVirtioPci(pci_bus.Wire(pci::DevFn(3, 0)), memory.get(),
                          NewBlk(memory.get(), &disk, background.get()));
  mapper.AddDevice(*bridge, bridge_lock);
  mapper.AddDevice(*blk, blk_lock);
  pci_bus.Attach(bridge.get(), &bridge_lock);
  pci_bus.Attach(blk.get(), &blk_lock);
  pci::ConfigPorts ports(&pci_bus);
  ASSERT_OK(bus.Map(Space::kPort, ports_lock, ports, 0, pci::ConfigPorts::kPort,
                    pci::ConfigPorts::kPorts));
  for (pci::PciDevice* f : pci_bus.Functions()) f->Reset();
  ASSERT_OK(pci::AssignResources(pci_bus, {}));

  auto config = [&](unsigned offset) {
    bus.Write(Space::kPort, 0xCF8, 4, 0x80000000 | 3 << 11 | (offset & 0xFC));
    return static_cast<uint32_t>(bus.Read(Space::kPort, 0xCFC + (offset & 3), 4));
  };
  ASSERT_EQ(config(0), 0x10011AF4u);
  EXPECT_EQ(config(pci::kInterruptLine) & 0xFF, 11u);
  const uint64_t io = config(pci::kBar0) & ~3u;
  const uint64_t base = (config(pci::kBar0 + 4 * kModernBar) & ~15u) |
                        uint64_t{config(pci::kBar0 + 4 * kModernBar + 4)} << 32;
  EXPECT_GE(base, 0xE0000000u);
  EXPECT_EQ(bus.Read(Space::kPort, io + 0x0C, 2), 256u);

  auto common = [&](uint32_t offset, unsigned size, uint64_t value) {
    bus.Write(Space::kMmio, base + offset, size, value);
  };
  common(0x14, 1, 0);
  common(0x14, 1, 3);
  common(0x08, 4, 1);
  common(0x0C, 4, 1);
  common(0x14, 1, 11);
  ASSERT_EQ(bus.Read(Space::kMmio, base + 0x14, 1), 11u);
  common(0x16, 2, 0);
  common(0x18, 2, 64);
  DriverQueue queue(memory.get(), 0x10000, 64);
  common(0x20, 8, queue.descriptors);
  common(0x28, 8, queue.driver_ring);
  common(0x30, 4, queue.device_ring);
  common(0x34, 4, 0);
  common(0x1C, 2, 1);
  common(0x14, 1, 15);

  memory->Store<uint64_t>(Gpa(0x1000), 0);
  memory->Store<uint64_t>(Gpa(0x1008), 5);
  queue.Add(std::vector<Segment>{{0x1000, 16}, {0x2000, 512, true}, {0x3000, 1, true}});
  bus.Write(Space::kMmio, base + kNotifyOffset, 2, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!irq11.level && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  ASSERT_TRUE(irq11.level);
  EXPECT_EQ(bus.Read(Space::kMmio, base + kIsrOffset, 1), 1u);
  EXPECT_FALSE(irq11.level);
  EXPECT_EQ(queue.TakeUsed()->length, 513u);
  std::vector<uint8_t> got(512);
  ASSERT_TRUE(memory->Read(Gpa(0x2000), got));
  EXPECT_EQ(got,
            std::vector<uint8_t>(disk.bytes().begin() + 5 * 512, disk.bytes().begin() + 6 * 512));
  pool.WaitIdle();
}

}  // namespace
}  // namespace atl::virtio
