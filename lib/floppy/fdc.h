// SPDX-License-Identifier: Apache-2.0
// The 82077AA floppy disk controller with two drives (Intel 82077AA datasheet),
// as a PC has it: IRQ 6, DMA channel 2.
//
// Theory of operation. A command's bytes are collected in `fifo_`, whose length
// is known from the first; then it runs, moves data or not, and leaves its
// result there. Phase says what the controller waits for:
//
//   kCommand  the host, to write a command byte
//   kData     data to be moved: by the DMA channel when it is ready, or through
//             the FIFO port; or the background, which has the disk (`working_`)
//   kResult   the host, to take a result byte
//
// Data goes track by track through `buffer_`: read from the disk before it is
// moved, written after. Seeks take no time.
//
// A medium tells of its change by the change line, until the head is stepped.
// Its data rate must be the one that the host has set: that is how hosts find
// out what they have.
//
// Left out: SCAN, drive specifications, saving of registers, sectors of other
// sizes than 512 bytes, delays.
//
// Thread rule: with the device's lock held. To be saved only while no work is in
// flight.
#ifndef LIB_FLOPPY_FDC_H_
#define LIB_FLOPPY_FDC_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "lib/block/disk.h"
#include "lib/dev/device.h"
#include "lib/dev/i8237.h"
#include "lib/dev/irq.h"
#include "lib/floppy/geometry.h"
#include "lib/work/background.h"

namespace atl::floppy {

struct FdcWiring {
  dev::IrqLine* irq = nullptr;
  dev::I8237* dma = nullptr;  // under the same lock
  work::Background* background = nullptr;
  // Told of each failed disk access. May be empty.
  std::function<void(const absl::Status&)> on_error;
};

class Fdc final : public dev::Device, public dev::DmaClient {
 public:
  static constexpr unsigned kDrives = 2;
  static constexpr unsigned kDmaChannel = 2;
  static constexpr unsigned kIrq = 6;

  // Regions, with the place they have on a PC; max_access 1.
  enum Region : unsigned {
    kRegisters,  // ports 0x3F0, 6
    kInput,      // port 0x3F7, 1
  };

  explicit Fdc(FdcWiring wiring);
  ~Fdc() override;

  // From outside. Drives are not there before they have a type; a medium gives
  // one to a drive that has none, else the drive must take it (geometry.h).
  DriveType type(unsigned drive) const { return drives_[drive].type; }
  void SetType(unsigned drive, DriveType type) { drives_[drive].type = type; }
  void Insert(unsigned drive, std::shared_ptr<block::Disk> medium);
  void Remove(unsigned drive);

  absl::string_view name() const override { return "i82077"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(dev::StateVisitor& v) override;
  void OnDmaReady() override;

 private:
  struct Commands;

  enum class Phase : uint8_t { kCommand, kData, kResult };
  enum class Job : uint8_t { kRead, kWrite, kFormat, kVerify };

  struct Drive {
    DriveType type = DriveType::kNone;
    std::shared_ptr<block::Disk> medium;
    Geometry geometry{};
    bool changed = true;
    uint8_t track = 0;  // where the head stands
    uint8_t next_id = 0;
  };

  // Where data is moved, and how far: the command's C, H, R and limits.
  struct Transfer {
    Job job = Job::kRead;
    uint8_t drive = 0;
    uint8_t cylinder = 0;  // as the host counts
    uint8_t head = 0;
    uint8_t sector = 0;  // the next one, from 1
    uint8_t last = 0;    // of a track
    uint8_t filler = 0;
    bool both_heads = false;
    bool ended = false;       // no sector follows
    bool terminated = false;  // by the DMA channel's count
    uint8_t chunk = 0;        // sectors that the buffer holds
  };

  static constexpr size_t kFifo = 16;
  static constexpr size_t kMaxBuffer = 36 * 512;
  static constexpr uint8_t kMaxTrack = 84;

  Drive& selected() { return drives_[transfer_.drive]; }
  bool dma_mode() const { return !no_dma_; }

  uint8_t ReadStatus() const;
  uint8_t ReadFifo();
  void WriteFifo(uint8_t value);
  void WriteOutput(uint8_t value);
  void Still();
  void SoftReset();

  void Result(std::initializer_list<uint8_t> bytes, bool interrupt);
  void WaitForCommand();

  // The medium's track below the head, or nothing where none can be read.
  std::optional<uint8_t> TrackBelow(const Drive& d) const;
  bool RateFits(const Drive& d) const;
  void Step(Drive& d, uint8_t track);
  void OnChange(unsigned drive);

  void BeginData(size_t bytes);
  void Pump();
  void MoveByDma();
  void LoadChunk();
  void StoreChunk();
  void Advance();
  uint8_t Chunk() const;
  uint64_t Offset() const;
  void Finish();
  void Fail(uint8_t st0, uint8_t st1, uint8_t st2);
  void Work(std::function<absl::Status()> work, std::function<void(const absl::Status&)> then);

  void SetIrq(bool pending);
  bool IsSound() const;

  const FdcWiring wiring_;
  std::array<Drive, kDrives> drives_;

  uint8_t output_ = 0;  // the digital output register
  uint8_t tape_ = 0;
  uint8_t rate_ = 0;  // 0: 500, 1: 300, 2: 250, 3: 1000 kbit/s
  bool pending_ = false;
  Phase phase_ = Phase::kCommand;
  bool working_ = false;

  uint8_t fifo_[kFifo] = {};
  uint8_t fifo_at_ = 0;
  uint8_t fifo_end_ = 0;

  // What SENSE INTERRUPT STATUS has to tell.
  uint8_t reset_senses_ = 0;  // drives that a reset has still to report
  bool seek_done_ = false;
  uint8_t seek_status_ = 0;

  // Settings.
  uint8_t step_rate_ = 0;
  uint8_t head_load_ = 0;
  bool no_dma_ = false;
  uint8_t configuration_ = 0;
  uint8_t precompensation_ = 0;
  uint8_t perpendicular_ = 0;
  bool locked_ = false;

  Transfer transfer_;
  std::vector<uint8_t> buffer_;
  uint32_t buffer_at_ = 0;
};

}  // namespace atl::floppy

#endif  // LIB_FLOPPY_FDC_H_
