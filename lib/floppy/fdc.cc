// SPDX-License-Identifier: Apache-2.0
#include "lib/floppy/fdc.h"

#include <algorithm>
#include <utility>

#include "lib/base/checked.h"
#include "lib/dev/state.h"
#include "lib/floppy/fdc_commands.h"

namespace atl::floppy {
namespace {

// Digital output register.
constexpr uint8_t kNotReset = 0x04;
constexpr uint8_t kGate = 0x08;  // interrupts and DMA reach the bus
// Data rate select register.
constexpr uint8_t kResetNow = 0x80;
constexpr uint8_t kRateMask = 0x03;
// Main status register.
constexpr uint8_t kRequest = 0x80;
constexpr uint8_t kToHost = 0x40;
constexpr uint8_t kNonDma = 0x20;
constexpr uint8_t kBusy = 0x10;
// Digital input register.
constexpr uint8_t kChangeLine = 0x80;

}  // namespace

Fdc::Fdc(FdcWiring wiring) : wiring_(std::move(wiring)) {
  wiring_.dma->Connect(kDmaChannel, this);
  Reset();
}

Fdc::~Fdc() {
  wiring_.background->Cancel();
  wiring_.dma->Connect(kDmaChannel, nullptr);
}

void Fdc::Insert(unsigned drive, std::shared_ptr<block::Disk> medium) {
  Drive& d = drives_[drive];
  const std::optional<Geometry> geometry = GeometryOf(medium->size());
  if (!geometry.has_value()) return;
  if (d.type == DriveType::kNone) d.type = DriveFor(*geometry);
  d.medium = std::move(medium);
  d.geometry = *geometry;
  OnChange(drive);
}

void Fdc::Remove(unsigned drive) {
  drives_[drive].medium.reset();
  OnChange(drive);
}

// What waits for the host has lost its place; what the background does, finds
// out when it comes back.
void Fdc::OnChange(unsigned drive) {
  drives_[drive].changed = true;
  drives_[drive].next_id = 0;
  if (phase_ == Phase::kData && !working_ && transfer_.drive == drive) {
    Fail(kAbnormal, kNoAddressMark, 0);
  }
}

void Fdc::Reset() {
  output_ = 0x0C;
  tape_ = 0;
  rate_ = 2;
  step_rate_ = head_load_ = precompensation_ = 0;
  no_dma_ = locked_ = false;
  for (Drive& d : drives_) {
    d.track = d.next_id = 0;
    d.changed = true;
  }
  Still();
  reset_senses_ = 0;
}

// What a reset does, but for its interrupt.
void Fdc::Still() {
  wiring_.background->Cancel();
  working_ = false;
  transfer_ = {};
  seek_done_ = false;
  reset_senses_ = 4;
  perpendicular_ &= 0x3C;
  if (!locked_) configuration_ = precompensation_ = 0;
  WaitForCommand();
  SetIrq(false);
}

void Fdc::SoftReset() {
  Still();
  SetIrq(true);
}

void Fdc::SetIrq(bool pending) {
  pending_ = pending;
  wiring_.irq->Set(pending_ && (output_ & kGate) != 0);
}

void Fdc::WaitForCommand() {
  phase_ = Phase::kCommand;
  fifo_at_ = fifo_end_ = 0;
  buffer_.clear();
  buffer_at_ = 0;
  wiring_.dma->SetRequest(kDmaChannel, false);
}

uint8_t Fdc::ReadStatus() const {
  if ((output_ & kNotReset) == 0) return 0;
  switch (phase_) {
    case Phase::kCommand:
      return static_cast<uint8_t>(kRequest | (fifo_at_ != 0 ? kBusy : 0));
    case Phase::kResult:
      return kRequest | kToHost | kBusy;
    case Phase::kData:
      if (working_ || dma_mode()) return kBusy;
      return static_cast<uint8_t>(kRequest | kNonDma | kBusy |
                                  (transfer_.job == Job::kRead ? kToHost : 0));
  }
  return 0;
}

uint64_t Fdc::Read(unsigned region, uint64_t offset, unsigned) {
  if (region == kInput) {
    const unsigned drive = output_ & 3;
    if (drive >= kDrives || drives_[drive].type == DriveType::kNone) return 0;
    return drives_[drive].changed ? kChangeLine : 0;
  }
  switch (offset) {
    case 0:
      return pending_ ? 0x80 : 0x00;
    case 1:
      return static_cast<uint8_t>(0xC0 | (output_ & 1) << 5 | (output_ >> 4 & 3));
    case 2:
      return output_;
    case 3:
      return tape_;
    case 4:
      return ReadStatus();
    case 5:
      return ReadFifo();
    default:
      return 0xFF;
  }
}

void Fdc::Write(unsigned region, uint64_t offset, unsigned, uint64_t value) {
  const uint8_t byte = static_cast<uint8_t>(value);
  if (region == kInput) {
    rate_ = byte & kRateMask;
    return;
  }
  switch (offset) {
    case 2:
      WriteOutput(byte);
      break;
    case 3:
      tape_ = byte & 3;
      break;
    case 4:
      rate_ = byte & kRateMask;
      if ((byte & kResetNow) != 0) SoftReset();
      break;
    case 5:
      WriteFifo(byte);
      break;
    default:
      break;
  }
}

void Fdc::WriteOutput(uint8_t value) {
  const uint8_t changed = output_ ^ value;
  output_ = value;
  if ((changed & kNotReset) != 0) {
    // The interrupt comes when it is let go; one before that is lost on hosts,
    // which then find no controller.
    (value & kNotReset) == 0 ? Still() : SoftReset();
  }
  SetIrq(pending_);
}

uint8_t Fdc::ReadFifo() {
  if ((output_ & kNotReset) == 0) return 0;
  if (phase_ == Phase::kResult) {
    SetIrq(false);
    const uint8_t out = fifo_[fifo_at_++];
    if (fifo_at_ == fifo_end_) WaitForCommand();
    return out;
  }
  if (phase_ != Phase::kData || working_ || dma_mode() || transfer_.job != Job::kRead ||
      buffer_at_ >= buffer_.size()) {
    return 0;
  }
  SetIrq(false);
  const uint8_t out = buffer_[buffer_at_++];
  if (buffer_at_ == buffer_.size()) {
    Advance();
    Pump();
  }
  return out;
}

void Fdc::WriteFifo(uint8_t value) {
  if ((output_ & kNotReset) == 0) return;
  if (phase_ == Phase::kData) {
    const bool takes = transfer_.job == Job::kWrite || transfer_.job == Job::kFormat;
    if (working_ || dma_mode() || !takes || buffer_at_ >= buffer_.size()) return;
    SetIrq(false);
    buffer_[buffer_at_++] = value;
    if (buffer_at_ == buffer_.size()) StoreChunk();
    return;
  }
  if (phase_ != Phase::kCommand) return;
  if (fifo_at_ == 0) fifo_end_ = Commands::Length(value);
  // The attack: a command that takes bytes for ever. Its length is the table's.
  fifo_[fifo_at_++] = value;
  if (fifo_at_ == fifo_end_) Commands::Run(*this);
}

void Fdc::Result(std::initializer_list<uint8_t> bytes, bool interrupt) {
  WaitForCommand();
  phase_ = Phase::kResult;
  std::copy(bytes.begin(), bytes.end(), fifo_);
  fifo_end_ = static_cast<uint8_t>(bytes.size());
  if (interrupt) SetIrq(true);
}

std::optional<uint8_t> Fdc::TrackBelow(const Drive& d) const {
  if (d.medium == nullptr) return std::nullopt;
  // A head for 80 tracks finds those of a 40-track disk at every other step.
  const bool narrow = d.type != DriveType::k360K && d.geometry.tracks <= 42;
  if (narrow && d.track % 2 != 0) return std::nullopt;
  const uint8_t track = narrow ? d.track / 2 : d.track;
  if (track >= d.geometry.tracks) return std::nullopt;
  return track;
}

bool Fdc::RateFits(const Drive& d) const {
  switch (d.geometry.density) {
    case Density::kDouble:
      return rate_ == 1 || rate_ == 2;
    case Density::kHigh:
      return rate_ == 0;
    case Density::kExtra:
      return rate_ == 3;
  }
  return false;
}

void Fdc::Step(Drive& d, uint8_t track) {
  d.track = std::min(track, kMaxTrack);
  if (d.medium != nullptr) d.changed = false;
}

// The data phase.

uint8_t Fdc::Chunk() const {
  const Drive& d = drives_[transfer_.drive];
  const uint8_t end = std::min(transfer_.last, d.geometry.sectors);
  unsigned n = end >= transfer_.sector ? end - transfer_.sector + 1u : 1u;
  if (!dma_mode()) n = 1;
  if (dma_mode()) {
    n = static_cast<unsigned>(
        std::min<uint64_t>(n, DivRoundUp(wiring_.dma->Left(kDmaChannel), 512)));
  }
  return static_cast<uint8_t>(n);
}

uint64_t Fdc::Offset() const {
  const Drive& d = drives_[transfer_.drive];
  const uint64_t track = TrackBelow(d).value_or(0);
  return ((track * d.geometry.heads + transfer_.head) * d.geometry.sectors + transfer_.sector - 1) *
         512;
}

// Sectors, or a format's list: for the host to take or to fill.
void Fdc::BeginData(size_t bytes) {
  buffer_.assign(bytes, 0);
  buffer_at_ = 0;
  phase_ = Phase::kData;
}

// Goes on with the data phase as far as it can.
void Fdc::Pump() {
  if (phase_ != Phase::kData || working_) return;
  if (transfer_.ended || transfer_.terminated) {
    Finish();
    return;
  }
  if (buffer_at_ == buffer_.size()) {
    const Drive& d = selected();
    if (!TrackBelow(d).has_value() || transfer_.head >= d.geometry.heads) {
      Fail(kAbnormal, kNoAddressMark, 0);
      return;
    }
    if (transfer_.sector > d.geometry.sectors) {
      Fail(kAbnormal, kNoData, 0);
      return;
    }
    wiring_.dma->SetRequest(kDmaChannel, dma_mode() && (output_ & kGate) != 0);
    if (dma_mode() && !wiring_.dma->Ready(kDmaChannel)) return;
    transfer_.chunk = Chunk();
    if (transfer_.job == Job::kRead) {
      LoadChunk();
      return;
    }
    BeginData(size_t{transfer_.chunk} * 512);
  }
  if (dma_mode()) {
    MoveByDma();
  } else {
    SetIrq(true);
  }
}

void Fdc::MoveByDma() {
  wiring_.dma->SetRequest(kDmaChannel, (output_ & kGate) != 0);
  const std::span<uint8_t> rest = std::span(buffer_).subspan(buffer_at_);
  const dev::I8237::Moved moved = transfer_.job == Job::kRead
                                      ? wiring_.dma->ToMemory(kDmaChannel, rest)
                                      : wiring_.dma->FromMemory(kDmaChannel, rest);
  buffer_at_ += static_cast<uint32_t>(moved.bytes);
  transfer_.terminated = moved.ended;
  if (!moved.ended && buffer_at_ < buffer_.size()) return;  // the channel was taken away
  if (transfer_.job == Job::kRead) {
    transfer_.chunk = static_cast<uint8_t>(DivRoundUp(buffer_at_, 512));
    Advance();
    Pump();
  } else {
    StoreChunk();
  }
}

void Fdc::Advance() {
  transfer_.sector = static_cast<uint8_t>(transfer_.sector + transfer_.chunk);
  transfer_.chunk = 0;
  buffer_at_ = static_cast<uint32_t>(buffer_.size());
  if (transfer_.sector <= transfer_.last) return;
  if (transfer_.both_heads && transfer_.head == 0) {
    transfer_.head = 1;
    transfer_.sector = 1;
  } else {
    transfer_.ended = true;
  }
}

void Fdc::LoadChunk() {
  auto bytes = std::make_shared<std::vector<uint8_t>>(size_t{transfer_.chunk} * 512);
  Work(
      [disk = selected().medium, bytes, at = Offset()]() -> absl::Status {
        // An image that is shorter than its format is empty behind its end.
        if (at >= disk->size()) return absl::OkStatus();
        const size_t n = std::min<uint64_t>(bytes->size(), disk->size() - at);
        return disk->Read(at, std::span(*bytes).first(n));
      },
      [this, bytes](const absl::Status& read) {
        if (!read.ok()) return Fail(kAbnormal, kDataError, kDataErrorInData);
        buffer_ = std::move(*bytes);
        buffer_at_ = 0;
        Pump();
      });
}

void Fdc::StoreChunk() {
  const Drive& d = selected();
  if (!TrackBelow(d).has_value()) {
    Fail(kAbnormal, kNoAddressMark, 0);
    return;
  }
  if (transfer_.job == Job::kFormat) {
    buffer_.resize(buffer_at_ / 4 * 4);
    const uint8_t track = *TrackBelow(d);
    std::vector<uint64_t> sectors;
    for (size_t i = 0; i + 4 <= buffer_.size(); i += 4) {
      const uint8_t* id = &buffer_[i];
      if (id[0] != track || id[1] != transfer_.head || id[2] == 0 || id[2] > d.geometry.sectors ||
          id[3] != 2) {
        Fail(kAbnormal, kNoData, 0);
        return;
      }
      transfer_.sector = id[2];
      sectors.push_back(Offset());
    }
    Work(
        [disk = d.medium, sectors = std::move(sectors),
         bytes = std::vector<uint8_t>(512, transfer_.filler)]() -> absl::Status {
          for (uint64_t at : sectors) {
            const absl::Status status = disk->Write(at, bytes);
            if (!status.ok()) return status;
          }
          return absl::OkStatus();
        },
        [this](const absl::Status& written) {
          if (!written.ok()) return Fail(kAbnormal | kEquipment, kDataError, 0);
          transfer_.terminated = true;
          Finish();
        });
    return;
  }
  // A sector that the host's count cuts short is zeroes from there.
  transfer_.chunk = static_cast<uint8_t>(DivRoundUp(buffer_at_, 512));
  buffer_.resize(size_t{transfer_.chunk} * 512);
  Work([disk = d.medium, bytes = std::exchange(buffer_, {}),
        at = Offset()] { return disk->Write(at, bytes); },
       [this](const absl::Status& written) {
         if (!written.ok()) return Fail(kAbnormal | kEquipment, kDataError, 0);
         Advance();
         Pump();
       });
}

void Fdc::Work(std::function<absl::Status()> work, std::function<void(const absl::Status&)> then) {
  working_ = true;
  auto result = std::make_shared<absl::Status>();
  wiring_.background->Post([work = std::move(work), result] { *result = work(); },
                           [this, then = std::move(then), result] {
                             working_ = false;
                             if (!result->ok() && wiring_.on_error) wiring_.on_error(*result);
                             then(*result);
                           });
}

// The result names the sector that would be next.
void Fdc::Finish() {
  uint8_t c = transfer_.cylinder;
  uint8_t h = transfer_.head;
  uint8_t r = transfer_.sector;
  if (transfer_.ended) {
    ++c;
    r = 1;
    if (transfer_.both_heads) h = 0;
  }
  // Only the host's count ends a transfer well: without it the track's end did.
  const bool well = transfer_.terminated || transfer_.job == Job::kVerify;
  const uint8_t st0 =
      static_cast<uint8_t>((well ? 0 : kAbnormal) | transfer_.head << 2 | transfer_.drive);
  Result({st0, static_cast<uint8_t>(well ? 0 : kEndOfCylinder), 0, c, h, r, 2},
         /*interrupt=*/true);
}

void Fdc::Fail(uint8_t st0, uint8_t st1, uint8_t st2) {
  Result({static_cast<uint8_t>(st0 | transfer_.head << 2 | transfer_.drive), st1, st2,
          transfer_.cylinder, transfer_.head, transfer_.sector, 2},
         /*interrupt=*/true);
}

void Fdc::OnDmaReady() {
  if (dma_mode()) Pump();
}

void Fdc::VisitState(dev::StateVisitor& v) {
  if (v.loading()) {
    wiring_.background->Cancel();
    working_ = false;
  }
  for (Drive& d : drives_) {
    v.Begin("drive");
    v.Field("changed", d.changed);
    v.Bounded("track", d.track, kMaxTrack);
    v.Field("next_id", d.next_id);
    v.End();
  }
  v.Field("output", output_);
  v.Bounded("tape", tape_, 3);
  v.Bounded("rate", rate_, kRateMask);
  v.Field("pending", pending_);
  v.Bounded("phase", phase_, static_cast<uint64_t>(Phase::kResult));
  v.Array("fifo", fifo_);
  v.Bounded("fifo_at", fifo_at_, kFifo - 1);
  v.Bounded("fifo_end", fifo_end_, kFifo - 1);
  v.Bounded("reset_senses", reset_senses_, 4);
  v.Field("seek_done", seek_done_);
  v.Field("seek_status", seek_status_);
  v.Field("step_rate", step_rate_);
  v.Field("head_load", head_load_);
  v.Field("no_dma", no_dma_);
  v.Field("configuration", configuration_);
  v.Field("precompensation", precompensation_);
  v.Field("perpendicular", perpendicular_);
  v.Field("locked", locked_);
  v.Begin("transfer");
  v.Bounded("job", transfer_.job, static_cast<uint64_t>(Job::kVerify));
  v.Bounded("drive", transfer_.drive, kDrives - 1);
  v.Field("cylinder", transfer_.cylinder);
  v.Bounded("head", transfer_.head, 1);
  v.Field("sector", transfer_.sector);
  v.Field("last", transfer_.last);
  v.Field("filler", transfer_.filler);
  v.Field("both_heads", transfer_.both_heads);
  v.Field("ended", transfer_.ended);
  v.Field("terminated", transfer_.terminated);
  v.Bounded("chunk", transfer_.chunk, kMaxBuffer / 512);
  v.End();
  v.Blob("buffer", buffer_, kMaxBuffer);
  v.Field("buffer_at", buffer_at_);
  if (!v.loading()) return;
  if (!v.status().ok() || !IsSound()) WaitForCommand();
  wiring_.irq->Set(pending_ && (output_ & kGate) != 0);
}

// What the code above relies on, of a state that anybody may have made.
bool Fdc::IsSound() const {
  switch (phase_) {
    case Phase::kCommand:
      return fifo_at_ == 0 || (fifo_at_ < fifo_end_ && fifo_end_ == Commands::Length(fifo_[0]));
    case Phase::kResult:
      return fifo_at_ < fifo_end_;
    case Phase::kData:
      break;
  }
  const Drive& d = drives_[transfer_.drive];
  const bool sectors = transfer_.job == Job::kRead || transfer_.job == Job::kWrite;
  const bool format =
      transfer_.job == Job::kFormat && buffer_.size() % 4 == 0 && buffer_at_ < buffer_.size();
  const bool whole = buffer_.size() == size_t{transfer_.chunk} * 512 ||
                     (transfer_.chunk == 0 && buffer_at_ == buffer_.size());
  return TrackBelow(d).has_value() && transfer_.head < d.geometry.heads && transfer_.sector != 0 &&
         buffer_at_ <= buffer_.size() &&
         ((sectors && whole && transfer_.sector + transfer_.chunk <= d.geometry.sectors + 1) ||
          format);
}

}  // namespace atl::floppy
