// SPDX-License-Identifier: Apache-2.0
// One drive of a channel: its registers as the host sees them, and what it is.
#ifndef LIB_IDE_DRIVE_H_
#define LIB_IDE_DRIVE_H_

#include <cstdint>
#include <string>

#include "lib/block/disk.h"
#include "lib/dev/state.h"
#include "lib/ide/cd_drive.h"

namespace atl::ide {

// Status register.
inline constexpr uint8_t kBusy = 0x80;
inline constexpr uint8_t kReady = 0x40;
inline constexpr uint8_t kFault = 0x20;
inline constexpr uint8_t kSeekDone = 0x10;
inline constexpr uint8_t kDataRequest = 0x08;
inline constexpr uint8_t kErrorBit = 0x01;
// Error register.
inline constexpr uint8_t kUncorrectable = 0x40;
inline constexpr uint8_t kIdNotFound = 0x10;
inline constexpr uint8_t kAborted = 0x04;

enum class DriveKind : uint8_t { kNone, kDisk, kCd };

inline constexpr uint64_t kSectorBytes = 512;
inline constexpr uint8_t kMaxMultiple = 16;  // sectors

struct DriveOptions {
  // At most one of them; neither: no drive. Both outlive the channel.
  block::Disk* disk = nullptr;
  CdDrive* cd = nullptr;
  std::string serial;            // 20 characters are shown
  std::string model = "";        // 40; empty: "ATOLL HARDDISK", "ATOLL DVD-ROM"
  std::string firmware = "1.0";  // 8
};

// A register of the task file and what was in it before: 48-bit commands take
// both.
struct Doubled {
  uint8_t now = 0;
  uint8_t before = 0;
  void Write(uint8_t v) {
    before = now;
    now = v;
  }
};

struct Drive {
  explicit Drive(DriveOptions o);

  DriveKind kind() const {
    if (options.cd != nullptr) return DriveKind::kCd;
    return options.disk != nullptr ? DriveKind::kDisk : DriveKind::kNone;
  }
  // Of a disk.
  uint64_t sectors() const { return options.disk->size() / kSectorBytes; }

  // To the state after power-on; a software reset keeps the settings.
  void PowerOn();
  void SetSignature();
  // SET FEATURES 03h. False for a mode that there is not.
  bool SetTransferMode(uint8_t mode);
  // What IDENTIFY says by whatever name: the words that all kinds share.
  void FillIdentity(uint8_t* words) const;
  void VisitState(dev::StateVisitor& v);

  const DriveOptions options;
  // The geometry that the drive has by default: what BIOSes are told.
  uint16_t cylinders = 0;
  uint8_t heads = 0;
  uint8_t track_sectors = 0;

  uint8_t feature = 0;
  Doubled count, lba_low, lba_mid, lba_high;
  uint8_t device = 0;
  uint8_t status = 0;
  uint8_t error = 0;

  // Settings.
  uint8_t multiple = 0;  // sectors a block; 0: not set
  uint8_t current_heads = 0;
  uint8_t current_track_sectors = 0;
  bool write_cache = true;
  bool smart = true;
  uint8_t transfer_mode = 0x42;  // SET FEATURES 03h: Ultra DMA 2
};

}  // namespace atl::ide

#endif  // LIB_IDE_DRIVE_H_
