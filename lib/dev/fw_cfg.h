// SPDX-License-Identifier: Apache-2.0
// The firmware configuration device: named byte strings that SeaBIOS, OVMF and
// Linux read (QEMU's docs/specs/fw_cfg.txt), by ports and by DMA.
//
// Items are the machine's configuration, made before vCPUs run or with the
// device's lock held; saved state has only where the guest is in reading them.
#ifndef LIB_DEV_FW_CFG_H_
#define LIB_DEV_FW_CFG_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/dev/device.h"
#include "lib/mem/guest_memory.h"

namespace atl::dev {

class FwCfg final : public Device {
 public:
  // Regions, with the place they have on a PC.
  enum Region : unsigned {
    kPorts,  // ports 0x510, 2 bytes: the selector (16 bits) and, at +1, the data; max_access 2
    kDma,    // ports 0x514, 8 bytes, big-endian address; max_access 4
  };
  static constexpr uint16_t kPortBase = 0x510;
  static constexpr uint16_t kDmaBase = 0x514;

  // Selectors that firmware knows by number.
  static constexpr uint16_t kSignature = 0x00;
  static constexpr uint16_t kInterface = 0x01;
  static constexpr uint16_t kUuid = 0x02;
  static constexpr uint16_t kRamSize = 0x03;    // le64 of all RAM
  static constexpr uint16_t kNoGraphic = 0x04;  // le16
  static constexpr uint16_t kCpuCount = 0x05;   // le16
  static constexpr uint16_t kKernelAddress = 0x07;
  static constexpr uint16_t kKernelSize = 0x08;
  static constexpr uint16_t kInitrdAddress = 0x0A;
  static constexpr uint16_t kInitrdSize = 0x0B;
  static constexpr uint16_t kNuma = 0x0D;
  static constexpr uint16_t kBootMenu = 0x0E;  // le16
  static constexpr uint16_t kMaxCpus = 0x0F;   // le16
  static constexpr uint16_t kKernelEntry = 0x10;
  static constexpr uint16_t kKernelData = 0x11;
  static constexpr uint16_t kInitrdData = 0x12;
  static constexpr uint16_t kCommandLineAddress = 0x13;
  static constexpr uint16_t kCommandLineSize = 0x14;
  static constexpr uint16_t kCommandLineData = 0x15;
  static constexpr uint16_t kSetupAddress = 0x16;
  static constexpr uint16_t kSetupSize = 0x17;
  static constexpr uint16_t kSetupData = 0x18;
  static constexpr uint16_t kFileDirectory = 0x19;
  static constexpr uint16_t kIrq0Override = 0x8002;
  static constexpr uint16_t kE820 = 0x8003;

  static constexpr unsigned kMaxFiles = 256;
  static constexpr size_t kMaxName = 55;

  // DMA goes to `memory` and nowhere else.
  explicit FwCfg(GuestMemory& memory);

  // Replaces what the selector had.
  void Add(uint16_t selector, std::vector<uint8_t> bytes);
  // Without a copy: `bytes` outlive the device.
  void AddView(uint16_t selector, std::span<const uint8_t> bytes);
  void AddInteger(uint16_t selector, uint64_t value, unsigned size);  // little-endian
  // A file of the directory, "etc/e820"; the same name again replaces it.
  // InvalidArgument, ResourceExhausted: the name is too long, too many files.
  absl::Status AddFile(absl::string_view name, std::vector<uint8_t> bytes);
  absl::Status AddFileView(absl::string_view name, std::span<const uint8_t> bytes);

  absl::string_view name() const override { return "fw_cfg"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  struct Item {
    std::vector<uint8_t> owned;
    std::span<const uint8_t> bytes;  // of `owned`, or somebody's
  };

  absl::Status PlaceFile(absl::string_view name, uint16_t* selector);
  void WriteDirectory();
  std::span<const uint8_t> Selected() const;
  uint8_t NextByte();
  void RunDma();

  GuestMemory& memory_;
  std::map<uint16_t, Item> items_;
  std::map<std::string, uint16_t> files_;

  uint16_t selector_ = 0;
  uint32_t offset_ = 0;
  uint64_t dma_address_ = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_FW_CFG_H_
