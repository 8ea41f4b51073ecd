// SPDX-License-Identifier: Apache-2.0
// pc-testdev, the device by which test kernels for virtual machines (as
// kvm-unit-tests) look at ports, MMIO and interrupt lines: registers that keep
// what is written, and ports that drive the lines of the IOAPIC's pins. Places and
// meaning are QEMU's (hw/misc/pc-testdev.c's interface).
#ifndef LIB_DEV_PC_TESTDEV_H_
#define LIB_DEV_PC_TESTDEV_H_

#include <array>
#include <cstdint>
#include <vector>

#include "lib/dev/device.h"
#include "lib/dev/irq.h"

namespace atl::dev {

class PcTestdev final : public Device {
 public:
  // Regions, with the place they have.
  enum Region : unsigned {
    kData,   // ports 0xE0, 4: keeps what is written, of 1, 2 or 4 bytes
    kFlush,  // ports 0xE4, 4: takes a page's address, by which QEMU unmaps and maps it
    kBytes,  // ports 0xE8, 4: kData, a byte an access
    kLines,  // ports 0x2000, 24: writing sets the line of that number
    kMemory  // MMIO 0xFF000000, 64 KiB: memory that is none
  };
  static constexpr uint16_t kDataPort = 0xE0, kFlushPort = 0xE4, kBytePort = 0xE8,
                            kLinePort = 0x2000;
  static constexpr uint64_t kMemoryBase = 0xFF000000;
  static constexpr unsigned kMemorySize = 0x10000;
  static constexpr unsigned kLineCount = 24;
  using Lines = std::array<IrqLine*, kLineCount>;  // null: not there

  explicit PcTestdev(const Lines& lines) : lines_(lines), memory_(kMemorySize) {}

  absl::string_view name() const override { return "pc-testdev"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  void SetLines();

  const Lines lines_;
  uint32_t data_ = 0;
  uint32_t levels_ = 0;  // of the lines, a bit each
  std::vector<uint8_t> memory_;
};

}  // namespace atl::dev

#endif  // LIB_DEV_PC_TESTDEV_H_
