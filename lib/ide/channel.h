// SPDX-License-Identifier: Apache-2.0
// An ATA channel: two drives behind one set of registers (ATA/ATAPI-7, volumes
// 1 and 2). Chip only: ports, interrupt line, disk and background are given.
//
// Theory of operation. One command runs at a time, on the selected drive. A
// command ends at once, or moves data: through the data register, in blocks of
// one or `multiple` sectors, or by the bus master. Phase says what the channel
// waits for:
//
//   kIdle     a command
//   kPioIn    the host, to take the block in `buffer_`
//   kPioOut   the host, to fill it
//   kPacket   the host, to write a packet command into it
//   kDmaWait  the bus master, to be started
//   kWorking  the background, which has the disk; the drive is busy
//
// kWorking is left by the completion alone, or by a reset, which cancels it.
// What is in flight is in `transfer_`; its sectors were checked against the
// disk when the command came.
//
// Commands are rows of a table for each kind of drive (commands.cc, atapi.cc).
// A packet drive's data goes in blocks that the drive chooses, within the
// host's limit; `buffer_` may hold several, `buffer_end_` is where the present
// one ends.
//
// Thread rule: with the device's lock held. To be saved only while no work is
// in flight (the phase is not kWorking).
#ifndef LIB_IDE_CHANNEL_H_
#define LIB_IDE_CHANNEL_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "lib/dev/irq.h"
#include "lib/dev/state.h"
#include "lib/ide/bus_master.h"
#include "lib/ide/drive.h"
#include "lib/mem/guest_memory.h"
#include "lib/work/background.h"

namespace atl::ide {

struct ChannelWiring {
  dev::IrqLine* irq = nullptr;
  GuestMemory* memory = nullptr;           // of the bus master
  work::Background* background = nullptr;  // this channel's own
  // Told of each failed disk access: for the log. May be empty.
  std::function<void(const absl::Status&)> on_error;
};

class Channel {
 public:
  Channel(ChannelWiring wiring, DriveOptions first, DriveOptions second);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void Reset();

  // The command block (0x1F0 to 0x1F7): `offset` 0 to 7. Offset 0 takes 1, 2 or
  // 4 bytes of data; elsewhere wider accesses are bytes in a row.
  uint32_t ReadCommandBlock(unsigned offset, unsigned size);
  void WriteCommandBlock(unsigned offset, unsigned size, uint32_t value);
  // The control block's one register (0x3F6).
  uint8_t ReadAltStatus() const { return VisibleStatus(); }
  void WriteControl(uint8_t value);
  // The channel's half of the bus master's ports: `offset` 0 to 7.
  uint8_t ReadBusMaster(unsigned offset) const { return bus_master_.Read(offset); }
  void WriteBusMaster(unsigned offset, uint8_t value);

  void VisitState(dev::StateVisitor& v);

 private:
  friend struct Commands;

  // kWorking last: a loaded state is never in it.
  enum class Phase : uint8_t { kIdle, kPioIn, kPioOut, kPacket, kDmaWait, kWorking };

  struct Transfer {
    uint64_t sector = 0;
    uint32_t sectors = 0;  // left
    uint8_t block = 1;     // sectors for each interrupt
    bool write = false;    // to the disk
    bool dma = false;
    bool raw = false;    // a CD's sectors with all their bytes
    uint16_t limit = 0;  // of a packet drive's block, bytes
  };
  static constexpr uint32_t kMaxBuffer = 64 << 10;  // bytes

  using Buffer = std::shared_ptr<std::vector<uint8_t>>;

  Drive& drive() { return drives_[selected_]; }
  const Drive& drive() const { return drives_[selected_]; }
  uint8_t VisibleStatus() const;
  uint8_t ReadRegister(unsigned offset);
  void WriteRegister(unsigned offset, uint8_t value);
  uint32_t ReadData(unsigned size);
  void WriteData(unsigned size, uint32_t value);

  void RunCommand(uint8_t opcode);
  void Diagnose();
  void SoftwareReset();

  // How commands end and move data.
  void Succeed();                                 // with an interrupt
  void Fail(uint8_t error);                       // the same
  void SendData(std::span<const uint8_t> bytes);  // one block to the host
  void HoldBuffer(Phase phase, Buffer buffer);    // for the host, all of it
  void StartPio(const Transfer& transfer);
  void StartDma(const Transfer& transfer);
  // `work` without the lock, then `then` with its result; the drive is busy.
  void Work(std::function<absl::Status()> work, std::function<void(const absl::Status&)> then);

  void ReadBlock();
  void WaitForBlock(bool interrupt);
  void WriteBlock();
  void OnBufferDone();
  void RunDma();
  void AbortDma();
  // Loaded state that the code here can work with.
  bool IsSoundDisk(const std::vector<uint8_t>& buffer) const;

  void Raise();
  void UpdateIrq();

  ChannelWiring wiring_;
  std::array<Drive, 2> drives_;
  BusMaster bus_master_;
  unsigned selected_ = 0;
  uint8_t control_ = 0;
  bool interrupt_ = false;  // pending in the drive
  bool driven_ = false;     // on the line
  Phase phase_ = Phase::kIdle;
  Transfer transfer_;
  Buffer buffer_;
  uint32_t buffer_at_ = 0;
  uint32_t buffer_end_ = 0;
};

}  // namespace atl::ide

#endif  // LIB_IDE_CHANNEL_H_
