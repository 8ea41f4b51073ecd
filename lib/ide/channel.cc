// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/channel.h"

#include <algorithm>
#include <utility>

#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/ide/commands.h"

namespace atl::ide {
namespace {

// The command block.
constexpr unsigned kData = 0;
constexpr unsigned kFeatureOrError = 1;
constexpr unsigned kCount = 2;
constexpr unsigned kLbaLow = 3;
constexpr unsigned kLbaMid = 4;
constexpr unsigned kLbaHigh = 5;
constexpr unsigned kDevice = 6;
constexpr unsigned kCommandOrStatus = 7;

constexpr uint8_t kSecondDrive = 0x10;   // device register
constexpr uint8_t kNoInterrupts = 0x02;  // control register
constexpr uint8_t kSoftReset = 0x04;
constexpr uint8_t kHighOrder = 0x80;  // reads give what a register held before

constexpr uint8_t kDeviceReset = 0x08;
constexpr uint8_t kExecuteDiagnostic = 0x90;

}  // namespace

Channel::Channel(ChannelWiring wiring, DriveOptions first, DriveOptions second)
    : wiring_(std::move(wiring)), drives_{Drive(std::move(first)), Drive(std::move(second))} {}

Channel::~Channel() { wiring_.background->Cancel(); }

void Channel::Reset() {
  wiring_.background->Cancel();
  bus_master_.Reset();
  for (Drive& d : drives_) d.PowerOn();
  selected_ = 0;
  control_ = 0;
  phase_ = Phase::kIdle;
  transfer_ = {};
  buffer_.reset();
  buffer_at_ = 0;
  interrupt_ = false;
  UpdateIrq();
}

void Channel::Raise() {
  interrupt_ = true;
  bus_master_.OnInterrupt();
  UpdateIrq();
}

void Channel::UpdateIrq() {
  const bool level = interrupt_ && (control_ & kNoInterrupts) == 0;
  if (level == driven_) return;
  driven_ = level;
  wiring_.irq->Set(level);
}

uint8_t Channel::VisibleStatus() const {
  return drive().kind() == DriveKind::kNone ? 0 : drive().status;
}

uint32_t Channel::ReadCommandBlock(unsigned offset, unsigned size) {
  if (offset == kData) return ReadData(size);
  uint32_t out = 0;
  for (unsigned i = 0; i < size && i < 4; ++i) {
    out |= uint32_t{offset + i < 8 ? ReadRegister(offset + i) : uint8_t{0xFF}} << (8 * i);
  }
  return out;
}

void Channel::WriteCommandBlock(unsigned offset, unsigned size, uint32_t value) {
  if (offset == kData) {
    WriteData(size, value);
    return;
  }
  for (unsigned i = 0; i < size && i < 4 && offset + i < 8; ++i) {
    WriteRegister(offset + i, static_cast<uint8_t>(value >> (8 * i)));
  }
}

uint8_t Channel::ReadRegister(unsigned offset) {
  const Drive& d = drive();
  if (d.kind() == DriveKind::kNone) return 0;
  const bool high = (control_ & kHighOrder) != 0;
  switch (offset) {
    case kFeatureOrError:
      return d.error;
    case kCount:
      return high ? d.count.before : d.count.now;
    case kLbaLow:
      return high ? d.lba_low.before : d.lba_low.now;
    case kLbaMid:
      return high ? d.lba_mid.before : d.lba_mid.now;
    case kLbaHigh:
      return high ? d.lba_high.before : d.lba_high.now;
    case kDevice:
      return static_cast<uint8_t>(d.device | 0xA0);
    case kCommandOrStatus:
      interrupt_ = false;
      UpdateIrq();
      return VisibleStatus();
    default:
      return 0xFF;
  }
}

// Both drives listen; the device register says which one answers.
void Channel::WriteRegister(unsigned offset, uint8_t value) {
  if ((control_ & kSoftReset) != 0) return;
  if (phase_ == Phase::kWorking) {
    // A packet drive can be called back from whatever it does.
    const bool reset = offset == kCommandOrStatus && value == kDeviceReset;
    if (!reset || drive().kind() != DriveKind::kCd) return;
    wiring_.background->Cancel();
    bus_master_.Finish(/*error=*/false, /*active=*/false);
  }
  control_ &= static_cast<uint8_t>(~kHighOrder);
  if (offset == kCommandOrStatus) {
    RunCommand(value);
    return;
  }
  if (offset == kDevice) {
    // A drive with a block or DMA in hand stays selected.
    if (phase_ != Phase::kIdle)
      value = static_cast<uint8_t>((value & ~kSecondDrive) | (selected_ != 0 ? kSecondDrive : 0));
    selected_ = (value & kSecondDrive) != 0 ? 1 : 0;
  }
  for (Drive& d : drives_) {
    switch (offset) {
      case kFeatureOrError:
        d.feature = value;
        break;
      case kCount:
        d.count.Write(value);
        break;
      case kLbaLow:
        d.lba_low.Write(value);
        break;
      case kLbaMid:
        d.lba_mid.Write(value);
        break;
      case kLbaHigh:
        d.lba_high.Write(value);
        break;
      case kDevice:
        d.device = value;
        break;
      default:
        break;
    }
  }
}

void Channel::WriteControl(uint8_t value) {
  const uint8_t changed = control_ ^ value;
  control_ = value;
  if ((changed & kSoftReset) != 0) {
    if ((value & kSoftReset) != 0) {
      wiring_.background->Cancel();
      phase_ = Phase::kIdle;
      buffer_.reset();
      interrupt_ = false;
      bus_master_.Finish(false, false);
      for (Drive& d : drives_) {
        if (d.kind() != DriveKind::kNone) d.status = kBusy;
      }
    } else {
      SoftwareReset();
    }
  }
  UpdateIrq();
}

void Channel::SoftwareReset() {
  selected_ = 0;
  for (Drive& d : drives_) d.SetSignature();
}

void Channel::WriteBusMaster(unsigned offset, uint8_t value) {
  switch (bus_master_.Write(offset, value)) {
    case BusMaster::Event::kStarted:
      if (phase_ == Phase::kDmaWait) RunDma();
      break;
    case BusMaster::Event::kStopped:
      if (phase_ == Phase::kWorking && transfer_.dma) AbortDma();
      break;
    case BusMaster::Event::kNone:
      break;
  }
}

void Channel::RunCommand(uint8_t opcode) {
  if (drives_[0].kind() == DriveKind::kNone && drives_[1].kind() == DriveKind::kNone) return;
  // A command in the middle of another's data ends that.
  phase_ = Phase::kIdle;
  buffer_.reset();
  interrupt_ = false;
  UpdateIrq();
  if (opcode == kExecuteDiagnostic) {
    Diagnose();
    return;
  }
  if (drive().kind() == DriveKind::kNone) return;
  const Commands::Row* row = drive().kind() == DriveKind::kCd ? Commands::FindCdCommand(opcode)
                                                              : Commands::FindDiskCommand(opcode);
  if (row == nullptr) {
    Fail(kAborted);
    return;
  }
  row->run(*this, opcode);
}

// Runs on both drives; the first one reports.
void Channel::Diagnose() {
  SoftwareReset();
  Raise();
}

void Channel::Succeed() {
  phase_ = Phase::kIdle;
  drive().status = kReady | kSeekDone;
  drive().error = 0;
  Raise();
}

void Channel::Fail(uint8_t error) {
  phase_ = Phase::kIdle;
  buffer_.reset();
  drive().status = kReady | kSeekDone | kErrorBit;
  drive().error = error;
  Raise();
}

void Channel::Work(std::function<absl::Status()> work,
                   std::function<void(const absl::Status&)> then) {
  phase_ = Phase::kWorking;
  drive().status = kBusy;
  auto result = std::make_shared<absl::Status>();
  wiring_.background->Post([work = std::move(work), result] { *result = work(); },
                           [this, then = std::move(then), result] {
                             phase_ = Phase::kIdle;
                             if (!result->ok() && wiring_.on_error) wiring_.on_error(*result);
                             then(*result);
                           });
}

void Channel::HoldBuffer(Phase phase, Buffer buffer) {
  buffer_ = std::move(buffer);
  buffer_at_ = 0;
  buffer_end_ = static_cast<uint32_t>(buffer_->size());
  phase_ = phase;
}

void Channel::SendData(std::span<const uint8_t> bytes) {
  transfer_ = {};
  HoldBuffer(Phase::kPioIn, std::make_shared<std::vector<uint8_t>>(bytes.begin(), bytes.end()));
  drive().error = 0;
  drive().status = kReady | kSeekDone | kDataRequest;
  Raise();
}

void Channel::StartPio(const Transfer& transfer) {
  transfer_ = transfer;
  drive().error = 0;
  if (transfer_.write) {
    WaitForBlock(/*interrupt=*/false);
  } else {
    ReadBlock();
  }
}

void Channel::ReadBlock() {
  const uint32_t n = std::min<uint32_t>(transfer_.block, transfer_.sectors);
  auto buffer = std::make_shared<std::vector<uint8_t>>(n * kSectorBytes);
  Work([disk = drive().options.disk, buffer,
        at = transfer_.sector * kSectorBytes] { return disk->Read(at, *buffer); },
       [this, buffer, n](const absl::Status& read) {
         if (!read.ok()) return Fail(kUncorrectable);
         transfer_.sector += n;
         transfer_.sectors -= n;
         HoldBuffer(Phase::kPioIn, buffer);
         drive().status = kReady | kSeekDone | kDataRequest;
         Raise();
       });
}

void Channel::WaitForBlock(bool interrupt) {
  const uint32_t n = std::min<uint32_t>(transfer_.block, transfer_.sectors);
  HoldBuffer(Phase::kPioOut, std::make_shared<std::vector<uint8_t>>(n * kSectorBytes));
  drive().status = kReady | kSeekDone | kDataRequest;
  if (interrupt) Raise();
}

void Channel::WriteBlock() {
  const uint32_t n = static_cast<uint32_t>(buffer_->size() / kSectorBytes);
  const bool flush = !drive().write_cache && n == transfer_.sectors;
  Work(
      [disk = drive().options.disk, buffer = std::exchange(buffer_, nullptr), flush,
       at = transfer_.sector * kSectorBytes]() -> absl::Status {
        RETURN_IF_ERROR(disk->Write(at, *buffer));
        return flush ? disk->Flush() : absl::OkStatus();
      },
      [this, n](const absl::Status& written) {
        if (!written.ok()) return Fail(kAborted);
        transfer_.sector += n;
        transfer_.sectors -= n;
        if (transfer_.sectors == 0) return Succeed();
        WaitForBlock(/*interrupt=*/true);
      });
}

void Channel::OnBufferDone() {
  if (drive().kind() == DriveKind::kCd) {
    Commands::OnCdBlockDone(*this);
    return;
  }
  if (phase_ == Phase::kPioOut) {
    WriteBlock();
    return;
  }
  buffer_.reset();
  if (transfer_.sectors != 0) {
    ReadBlock();
    return;
  }
  // The host has all of it: no interrupt says so.
  phase_ = Phase::kIdle;
  drive().status = kReady | kSeekDone;
}

uint32_t Channel::ReadData(unsigned size) {
  if (phase_ != Phase::kPioIn) return 0;
  uint32_t out = 0;
  for (unsigned i = 0; i < size && i < 4 && buffer_at_ < buffer_end_; ++i) {
    out |= uint32_t{(*buffer_)[buffer_at_++]} << (8 * i);
  }
  if (buffer_at_ == buffer_end_) OnBufferDone();
  return out;
}

void Channel::WriteData(unsigned size, uint32_t value) {
  if (phase_ != Phase::kPioOut && phase_ != Phase::kPacket) return;
  for (unsigned i = 0; i < size && i < 4 && buffer_at_ < buffer_end_; ++i) {
    (*buffer_)[buffer_at_++] = static_cast<uint8_t>(value >> (8 * i));
  }
  if (buffer_at_ == buffer_end_) OnBufferDone();
}

void Channel::StartDma(const Transfer& transfer) {
  transfer_ = transfer;
  transfer_.dma = true;
  drive().error = 0;
  drive().status = kReady | kSeekDone | kDataRequest;
  phase_ = Phase::kDmaWait;
  if (bus_master_.started()) RunDma();
}

void Channel::RunDma() {
  if (drive().kind() == DriveKind::kCd) {
    Commands::RunCdDma(*this);
    return;
  }
  bool exhausted = false;
  std::optional<work::GuestPieces> gathered;
  if (bus_master_.to_memory() != transfer_.write) {
    gathered = bus_master_.Gather(*wiring_.memory, transfer_.sectors * kSectorBytes, &exhausted);
  }
  if (!gathered.has_value()) {
    bus_master_.Finish(/*error=*/true, /*active=*/false);
    Fail(kAborted);
    return;
  }
  auto pieces = std::make_shared<work::GuestPieces>(*std::move(gathered));
  const bool flush = transfer_.write && !drive().write_cache;
  Work(
      [disk = drive().options.disk, memory = wiring_.memory, pieces, flush, write = transfer_.write,
       at = transfer_.sector * kSectorBytes]() -> absl::Status {
        if (!write) return pieces->ReadFrom(*disk, at, *memory);
        RETURN_IF_ERROR(pieces->WriteTo(*disk, at));
        return flush ? disk->Flush() : absl::OkStatus();
      },
      [this, exhausted](const absl::Status& moved) {
        bus_master_.Finish(/*error=*/false, /*active=*/moved.ok() && !exhausted);
        if (!moved.ok()) return Fail(transfer_.write ? kAborted : kUncorrectable);
        Succeed();
      });
}

void Channel::AbortDma() {
  wiring_.background->Cancel();
  phase_ = Phase::kIdle;
  drive().status = kReady | kSeekDone | kErrorBit;
  drive().error = kAborted;
}

bool Channel::IsSoundDisk(const std::vector<uint8_t>& bytes) const {
  const bool pio = phase_ == Phase::kPioIn || phase_ == Phase::kPioOut;
  const bool whole =
      bytes.size() % kSectorBytes == 0 && bytes.size() / kSectorBytes <= transfer_.sectors;
  return phase_ != Phase::kPacket && (!pio || buffer_at_ < bytes.size()) &&
         buffer_end_ <= bytes.size() && (!pio || buffer_end_ == bytes.size()) &&
         transfer_.block != 0 && transfer_.sectors <= 65536 &&
         (transfer_.sectors == 0 ||
          RangeFits(transfer_.sector, transfer_.sectors, drive().sectors())) &&
         (phase_ != Phase::kPioOut || whole);
}

void Channel::VisitState(dev::StateVisitor& v) {
  if (v.loading()) {
    wiring_.background->Cancel();
    phase_ = Phase::kIdle;
  }
  for (Drive& d : drives_) {
    v.Begin("drive");
    d.VisitState(v);
    v.End();
  }
  v.Begin("bus_master");
  bus_master_.VisitState(v);
  v.End();
  v.Bounded("selected", selected_, 1);
  v.Field("control", control_);
  v.Field("interrupt", interrupt_);
  v.Bounded("phase", phase_, static_cast<uint64_t>(Phase::kDmaWait));
  v.Begin("transfer");
  v.Field("sector", transfer_.sector);
  v.Field("sectors", transfer_.sectors);
  v.Bounded("block", transfer_.block, kMaxMultiple);
  v.Field("write", transfer_.write);
  v.Field("dma", transfer_.dma);
  v.Field("raw", transfer_.raw);
  v.Field("limit", transfer_.limit);
  v.End();
  std::vector<uint8_t> bytes;
  if (buffer_ != nullptr) bytes = *buffer_;
  v.Blob("buffer", bytes, kMaxBuffer);
  v.Field("buffer_at", buffer_at_);
  v.Field("buffer_end", buffer_end_);
  if (!v.loading()) return;

  // What does not fit together (hostile state) is a channel that waits for a
  // command: every invariant below is one that other code relies on.
  const bool sound =
      v.status().ok() &&
      (phase_ == Phase::kIdle || (drive().kind() == DriveKind::kDisk && IsSoundDisk(bytes)) ||
       (drive().kind() == DriveKind::kCd && Commands::IsSoundCd(*this, bytes)));
  if (!sound) {
    phase_ = Phase::kIdle;
    transfer_ = {};
    buffer_at_ = buffer_end_ = 0;
    bytes.clear();
  }
  buffer_ = bytes.empty() ? nullptr : std::make_shared<std::vector<uint8_t>>(std::move(bytes));
  if (phase_ == Phase::kIdle) buffer_.reset();
  for (Drive& d : drives_) {
    if (d.kind() == DriveKind::kNone) {
      d.status = 0;
    } else if ((d.status & kBusy) != 0 && (control_ & kSoftReset) == 0) {
      d.status = kReady | kSeekDone;
    }
  }
  UpdateIrq();
}

}  // namespace atl::ide
