// SPDX-License-Identifier: Apache-2.0
// A hostile guest at the floppy controller and its DMA channel, while media come
// and go.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "lib/block/testing/memory_disk.h"
#include "lib/dev/bus.h"
#include "lib/dev/device.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/i8237.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/fuzz_device.h"
#include "lib/floppy/fdc.h"
#include "lib/floppy/geometry.h"
#include "lib/mem/guest_memory.h"
#include "lib/work/background.h"

namespace {

using atl::dev::Device;
using atl::dev::I8237;
using atl::floppy::Fdc;

// The two chips as one device: their regions one after the other.
class Both final : public Device {
 public:
  static constexpr unsigned kDmaRegions = 3;

  Both(atl::GuestMemory& memory, std::span<const std::shared_ptr<atl::block::Disk>> media)
      : dma_(memory), fdc_({&irq_, &dma_, &background_, nullptr}), media_(media) {
    fdc_.SetType(0, atl::floppy::DriveType::k1440K);
    fdc_.SetType(1, atl::floppy::DriveType::k1200K);
    fdc_.Insert(0, media_[0]);
  }
  absl::string_view name() const override { return "fdc"; }
  void Reset() override {
    dma_.Reset();
    fdc_.Reset();
  }
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override {
    return region < kDmaRegions ? dma_.Read(region, offset, size)
                                : fdc_.Read(region - kDmaRegions, offset, size);
  }
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override {
    region < kDmaRegions ? dma_.Write(region, offset, size, value)
                         : fdc_.Write(region - kDmaRegions, offset, size, value);
  }
  void VisitState(atl::dev::StateVisitor& v) override {
    v.Begin("dma");
    dma_.VisitState(v);
    v.End();
    v.Begin("fdc");
    fdc_.VisitState(v);
    v.End();
  }
  void ChangeMedium(uint8_t how) {
    const unsigned drive = how & 1;
    if (how & 2) return fdc_.Remove(drive);
    fdc_.Insert(drive, media_[drive + (how & 4) / 2]);
  }

 private:
  atl::dev::FakeIrqLine irq_;
  atl::work::InlineBackground background_;
  I8237 dma_;
  Fdc fdc_;
  const std::span<const std::shared_ptr<atl::block::Disk>> media_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using atl::block::MemoryDisk;
  static const std::array<std::shared_ptr<atl::block::Disk>, 4> media = {
      std::make_shared<MemoryDisk>(1440 << 10), std::make_shared<MemoryDisk>(1200 << 10),
      std::make_shared<MemoryDisk>(720 << 10, true), std::make_shared<MemoryDisk>(360 << 10)};
  static atl::GuestMemory* memory = atl::GuestMemory::Create(1 << 20).value().release();
  atl::dev::ManualClock clock;
  atl::dev::DeviceLock lock(&clock);
  Both device(*memory, media);
  Both twin(*memory, media);
  constexpr atl::dev::MapOptions kBytes{.max_access = 1};
  const atl::dev::FuzzRegion regions[] = {
      {Both::kDmaRegions + Fdc::kRegisters, 6, atl::dev::Space::kPort, kBytes},
      {I8237::kBytes, 16, atl::dev::Space::kPort, kBytes},
      {Both::kDmaRegions + Fdc::kInput, 1, atl::dev::Space::kPort, kBytes},
      {I8237::kPages, 16, atl::dev::Space::kPort, kBytes},
      // Again, so that commands come about.
      {Both::kDmaRegions + Fdc::kRegisters, 6, atl::dev::Space::kPort, kBytes},
      {I8237::kWords, 32, atl::dev::Space::kPort, kBytes},
  };
  atl::dev::FuzzDevice({data, size}, lock, clock, device, twin, regions, [&](uint8_t b) {
    device.ChangeMedium(b);
    twin.ChangeMedium(b);
  });
  return 0;
}
