// SPDX-License-Identifier: Apache-2.0
// A CD and DVD reader as its packet commands show it (MMC-6, SPC-4): a tray, a
// medium that comes and goes, sense data. How packets and data travel is the
// channel's affair (atapi.cc).
//
// A medium is a disk of whole 2048-byte sectors: one session, one data track in
// mode 1. More than a CD holds is a DVD.
//
// Two sides call: the guest, by Execute(), and whoever changes media from
// outside. A change while the guest runs is told it by a unit attention and by
// a media event.
//
// Thread rule: with the lock of the device that it belongs to.
#ifndef LIB_IDE_CD_DRIVE_H_
#define LIB_IDE_CD_DRIVE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/block/disk.h"
#include "lib/dev/state.h"

namespace atl::ide {

// Key, additional code and qualifier: MMC-6 annex F.
struct Sense {
  uint8_t key = 0;
  uint8_t code = 0;
  uint8_t qualifier = 0;
};

// What a packet command comes to.
struct PacketResult {
  enum class Kind : uint8_t {
    kDone,    // no data
    kData,    // `data` for the host
    kRead,    // sectors for the host, which the medium has
    kFailed,  // see CdDrive::sense()
  };
  Kind kind = Kind::kDone;
  std::vector<uint8_t> data;
  uint32_t sector = 0;
  uint32_t sectors = 0;
  bool raw = false;  // 2352 bytes each instead of 2048
};

class CdDrive {
 public:
  static constexpr size_t kPacketBytes = 12;
  static constexpr uint32_t kSectorBytes = 2048;
  static constexpr uint32_t kRawSectorBytes = 2352;
  // An 80-minute CD; what is larger is shown as a DVD.
  static constexpr uint32_t kMaxCdSectors = 80 * 60 * 75;

  using Packet = std::span<const uint8_t, kPacketBytes>;

  CdDrive() = default;
  CdDrive(const CdDrive&) = delete;
  CdDrive& operator=(const CdDrive&) = delete;

  // Told of the tray's movements, whoever moves it.
  void SetTrayHandler(std::function<void(bool open)> handler) { on_tray_ = std::move(handler); }

  // The guest's side.
  void PowerOn();  // the medium and the tray stay as they are
  PacketResult Execute(Packet packet);
  const Sense& sense() const { return sense_; }
  // A transfer that Execute() had begun failed.
  void Fail(Sense sense) { sense_ = sense; }
  // Null while no medium can be read.
  std::shared_ptr<block::Disk> readable() const { return ready() ? medium_ : nullptr; }
  // Sectors of the medium, 0 while none can be read.
  uint32_t capacity() const;
  // A disk that reads as the medium's sectors of 2352 bytes, with what a CD
  // stores beside the data. Correction codes are zero.
  static std::shared_ptr<block::Disk> RawView(std::shared_ptr<block::Disk> medium);

  // The other side. The medium has at least one sector.
  bool tray_open() const { return tray_open_; }
  bool locked() const { return locked_; }
  const std::shared_ptr<block::Disk>& medium() const { return medium_; }
  void OpenTray();
  void CloseTray();
  void RequestEject() { event_ = Event::kEjectRequest; }
  std::shared_ptr<block::Disk> Remove();
  void Insert(std::shared_ptr<block::Disk> medium);
  // As Insert(), before the guest first runs: it is told nothing.
  void Load(std::shared_ptr<block::Disk> medium) { medium_ = std::move(medium); }

  void VisitState(dev::StateVisitor& v);

 private:
  struct Commands;

  // What the guest has still to be told.
  enum class Attention : uint8_t { kNone, kReset, kChanged };
  // Media events, by their codes.
  enum class Event : uint8_t { kNone, kEjectRequest, kNewMedia, kRemoval };

  bool ready() const { return medium_ != nullptr && !tray_open_; }
  bool dvd() const { return capacity() > kMaxCdSectors; }
  Sense NoMedium() const;

  std::function<void(bool open)> on_tray_;
  std::shared_ptr<block::Disk> medium_;
  bool tray_open_ = false;
  bool locked_ = false;
  Attention attention_ = Attention::kReset;
  Event event_ = Event::kNone;
  Sense sense_;
};

}  // namespace atl::ide

#endif  // LIB_IDE_CD_DRIVE_H_
