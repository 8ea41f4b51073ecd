// SPDX-License-Identifier: Apache-2.0
// Packet drives: how commands and their data travel. What a packet means is
// CdDrive's affair.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/ide/cd_drive.h"
#include "lib/ide/commands.h"
#include "lib/work/guest_io.h"

namespace atl::ide {
namespace {

// The feature register of PACKET.
constexpr uint8_t kByDma = 1;
constexpr uint8_t kOverlapped = 2;
// The count register is the interrupt reason.
constexpr uint8_t kCommandExpected = 1;
constexpr uint8_t kDataToHost = 2;
constexpr uint8_t kFinished = 3;

constexpr Sense kUnreadable{3, 0x11, 0};
constexpr Sense kMediumWentAway{2, 0x3A, 0};
constexpr Sense kBadLimit{5, 0x24, 0};
constexpr Sense kDmaFailed{0x0B, 0x4B, 0};

// Bytes as a disk, so that replies go by DMA as sectors do.
class ReplyBytes final : public block::Disk {
 public:
  explicit ReplyBytes(std::shared_ptr<const std::vector<uint8_t>> bytes)
      : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_->size(); }
  bool read_only() const override { return true; }
  std::string name() const override { return "reply"; }
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    if (!RangeFits(offset, to.size(), bytes_->size())) return absl::OutOfRangeError("reply");
    std::copy_n(bytes_->data() + offset, to.size(), to.data());
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, std::span<const uint8_t>) override { return Refuse(); }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status WriteZeroes(uint64_t, uint64_t, bool) override { return Refuse(); }
  absl::Status Discard(uint64_t, uint64_t) override { return Refuse(); }

 private:
  static absl::Status Refuse() { return absl::PermissionDeniedError("reply"); }
  const std::shared_ptr<const std::vector<uint8_t>> bytes_;
};

}  // namespace

struct Commands::Cd {
  using Phase = Channel::Phase;

  static CdDrive& Mechanism(Channel& c) { return *c.drive().options.cd; }

  static void Finish(Channel& c) {
    c.drive().count.now = kFinished;
    c.Succeed();
  }
  static void Fail(Channel& c) {
    c.drive().count.now = kFinished;
    c.Fail(static_cast<uint8_t>(Mechanism(c).sense().key << 4 | kAborted));
  }
  static void Fail(Channel& c, Sense sense) {
    Mechanism(c).Fail(sense);
    Fail(c);
  }

  static void Packet(Channel& c, uint8_t) {
    Drive& d = c.drive();
    if ((d.feature & kOverlapped) != 0) return c.Fail(kAborted);
    c.transfer_ = {};
    c.transfer_.dma = (d.feature & kByDma) != 0;
    const uint16_t limit = static_cast<uint16_t>(d.lba_mid.now | d.lba_high.now << 8);
    c.transfer_.limit = limit & 0xFFFE;
    c.HoldBuffer(Phase::kPacket, std::make_shared<std::vector<uint8_t>>(CdDrive::kPacketBytes));
    d.count.now = kCommandExpected;
    d.error = 0;
    d.status = kReady | kSeekDone | kDataRequest;
  }

  static void OnPacket(Channel& c) {
    const Channel::Buffer packet = std::exchange(c.buffer_, nullptr);
    c.phase_ = Phase::kIdle;
    PacketResult result =
        Mechanism(c).Execute(std::span<const uint8_t, CdDrive::kPacketBytes>(*packet));
    switch (result.kind) {
      case PacketResult::Kind::kDone:
        return Finish(c);
      case PacketResult::Kind::kFailed:
        return Fail(c);
      case PacketResult::Kind::kData:
        break;
      case PacketResult::Kind::kRead:
        c.transfer_.sector = result.sector;
        c.transfer_.sectors = result.sectors;
        c.transfer_.raw = result.raw;
        break;
    }
    if (!c.transfer_.dma && c.transfer_.limit == 0) return Fail(c, kBadLimit);
    if (result.kind == PacketResult::Kind::kData) {
      c.HoldBuffer(c.transfer_.dma ? Phase::kDmaWait : Phase::kPioIn,
                   std::make_shared<std::vector<uint8_t>>(std::move(result.data)));
    }
    if (c.transfer_.dma) {
      c.phase_ = Phase::kDmaWait;
      c.drive().count.now = kDataToHost;
      c.drive().status = kReady | kSeekDone | kDataRequest;
      if (c.bus_master_.started()) RunDma(c);
      return;
    }
    if (c.buffer_ != nullptr) return OfferBlock(c);
    ReadMore(c);
  }

  // The next block of the buffer, as much as the host takes at once.
  static void OfferBlock(Channel& c) {
    Drive& d = c.drive();
    const uint32_t left = static_cast<uint32_t>(c.buffer_->size()) - c.buffer_at_;
    const uint32_t n = std::min<uint32_t>(left, c.transfer_.limit);
    c.buffer_end_ = c.buffer_at_ + n;
    c.phase_ = Phase::kPioIn;
    d.lba_mid.now = static_cast<uint8_t>(n);
    d.lba_high.now = static_cast<uint8_t>(n >> 8);
    d.count.now = kDataToHost;
    d.status = kReady | kSeekDone | kDataRequest;
    c.Raise();
  }

  static uint32_t SectorBytes(const Channel& c) {
    return c.transfer_.raw ? CdDrive::kRawSectorBytes : CdDrive::kSectorBytes;
  }

  // What the transfer reads from, or null where the medium is gone or another
  // that is too short.
  static std::shared_ptr<block::Disk> Source(Channel& c) {
    std::shared_ptr<block::Disk> medium = Mechanism(c).readable();
    if (medium == nullptr ||
        !RangeFits(c.transfer_.sector, c.transfer_.sectors, Mechanism(c).capacity())) {
      return nullptr;
    }
    return c.transfer_.raw ? CdDrive::RawView(std::move(medium)) : medium;
  }

  // Whole sectors: those of one block, or one that goes in several.
  static void ReadMore(Channel& c) {
    std::shared_ptr<block::Disk> source = Source(c);
    if (source == nullptr) return Fail(c, kMediumWentAway);
    const uint32_t bytes = SectorBytes(c);
    const uint32_t n = std::min(c.transfer_.sectors, std::max(c.transfer_.limit / bytes, 1u));
    auto buffer = std::make_shared<std::vector<uint8_t>>(n * bytes);
    c.Work([source = std::move(source), buffer,
            at = c.transfer_.sector * bytes] { return source->Read(at, *buffer); },
           [&c, buffer, n](const absl::Status& read) {
             if (!read.ok()) return Fail(c, kUnreadable);
             c.transfer_.sector += n;
             c.transfer_.sectors -= n;
             c.HoldBuffer(Phase::kPioIn, buffer);
             OfferBlock(c);
           });
  }

  static void OnBlockDone(Channel& c) {
    if (c.phase_ == Phase::kPacket) return OnPacket(c);
    if (c.buffer_at_ < c.buffer_->size()) return OfferBlock(c);
    c.buffer_.reset();
    if (c.transfer_.sectors != 0) return ReadMore(c);
    if (c.transfer_.limit != 0) return Finish(c);
    // What no packet asked for ends without an interrupt.
    c.phase_ = Phase::kIdle;
    c.drive().status = kReady | kSeekDone;
  }

  static void RunDma(Channel& c) {
    std::shared_ptr<block::Disk> source;
    uint64_t at = 0;
    uint64_t bytes = 0;
    if (c.buffer_ != nullptr) {
      bytes = c.buffer_->size();
      source = std::make_shared<ReplyBytes>(std::exchange(c.buffer_, nullptr));
    } else {
      source = Source(c);
      at = c.transfer_.sector * SectorBytes(c);
      bytes = uint64_t{c.transfer_.sectors} * SectorBytes(c);
    }
    if (source == nullptr) {
      c.bus_master_.Finish(/*error=*/false, /*active=*/true);
      return Fail(c, kMediumWentAway);
    }
    bool exhausted = false;
    std::optional<work::GuestPieces> gathered;
    if (c.bus_master_.to_memory()) {
      gathered = c.bus_master_.Gather(*c.wiring_.memory, bytes, &exhausted);
    }
    if (!gathered.has_value()) {
      c.bus_master_.Finish(/*error=*/true, /*active=*/false);
      return Fail(c, kDmaFailed);
    }
    auto pieces = std::make_shared<work::GuestPieces>(*std::move(gathered));
    c.Work([source = std::move(source), memory = c.wiring_.memory, pieces,
            at] { return pieces->ReadFrom(*source, at, *memory); },
           [&c, exhausted](const absl::Status& moved) {
             c.bus_master_.Finish(/*error=*/false, /*active=*/moved.ok() && !exhausted);
             if (!moved.ok()) return Fail(c, kUnreadable);
             c.transfer_.sectors = 0;
             Finish(c);
           });
  }

  static void IdentifyPacket(Channel& c, uint8_t) {
    const Drive& d = c.drive();
    std::array<uint8_t, 512> data{};
    auto word = [&data](unsigned i, uint32_t value) {
      StoreLe<uint16_t>(&data[2 * i], static_cast<uint16_t>(value));
    };
    word(0, 0x85C0);  // a packet CD drive, removable, 12-byte packets at once
    d.FillIdentity(data.data());
    word(48, 1);       // 32-bit data accesses
    word(49, 0x0B00);  // IORDY, LBA, DMA
    word(50, 0x4000);
    word(53, 0x0006);  // words 64-70 and 88 are valid
    const unsigned mode = d.transfer_mode & 7;
    const bool ultra = (d.transfer_mode & 0x40) != 0;
    word(63, 0x0007 | (ultra ? 0 : 0x0100u << mode));  // multiword DMA
    word(64, 0x0003);                                  // PIO 3 and 4
    for (unsigned i = 65; i <= 68; ++i) word(i, 120);  // cycle times in ns
    word(71, 30);                                      // times to the bus' release
    word(72, 30);
    word(80, 0x00F0);  // ATA-4 to ATA-7
    word(81, 0x0016);
    word(82, 0x4210);  // NOP, DEVICE RESET, PACKET
    word(83, 0x4000);
    word(84, 0x4000);
    word(85, 0x4210);
    word(87, 0x4000);
    word(88, 0x003F | (ultra ? 0x0100u << mode : 0));  // Ultra DMA
    word(93, 0x6001);                                  // an 80-wire cable
    c.SendData(data);
  }

  // Disk commands by which hosts tell what a drive is: it shows its signature.
  static void NotADisk(Channel& c, uint8_t) {
    const uint8_t selected = c.drive().device;
    c.drive().SetSignature();
    c.drive().device = selected;
    c.Fail(kAborted);
  }
  // No interrupt tells its end, and the drive is not ready after it.
  static void DeviceReset(Channel& c, uint8_t) {
    const uint8_t selected = c.drive().device;
    c.drive().SetSignature();
    c.drive().device = selected & 0x10;
  }
  static void SetFeatures(Channel& c, uint8_t) {
    Drive& d = c.drive();
    const bool known = (d.feature == 0x03 && d.SetTransferMode(d.count.now)) || d.feature == 0x66 ||
                       d.feature == 0xCC;
    known ? c.Succeed() : c.Fail(kAborted);
  }
  static void Nothing(Channel& c, uint8_t) { c.Succeed(); }
  static void Nop(Channel& c, uint8_t) { c.Fail(kAborted); }
  static void CheckPower(Channel& c, uint8_t) {
    c.drive().count.now = 0xFF;  // active
    c.Succeed();
  }

  static constexpr std::array kRows = {
      Row{0x00, Nop},        Row{0x08, DeviceReset},    Row{0x20, NotADisk},
      Row{0xA0, Packet},     Row{0xA1, IdentifyPacket}, Row{0xE0, Nothing},
      Row{0xE1, Nothing},    Row{0xE2, Nothing},        Row{0xE3, Nothing},
      Row{0xE5, CheckPower}, Row{0xE6, Nothing},        Row{0xE7, Nothing},
      Row{0xEC, NotADisk},   Row{0xEF, SetFeatures},
  };
};

const Commands::Row* Commands::FindCdCommand(uint8_t opcode) {
  for (const Row& row : Cd::kRows) {
    if (row.opcode == opcode) return &row;
  }
  return nullptr;
}

void Commands::OnCdBlockDone(Channel& channel) { Cd::OnBlockDone(channel); }
void Commands::RunCdDma(Channel& channel) { Cd::RunDma(channel); }

bool Commands::IsSoundCd(const Channel& c, const std::vector<uint8_t>& buffer) {
  using Phase = Channel::Phase;
  const bool range = uint64_t{c.transfer_.sector} + c.transfer_.sectors <= UINT32_MAX;
  const bool block = c.buffer_at_ < c.buffer_end_ && c.buffer_end_ <= buffer.size();
  switch (c.phase_) {
    case Phase::kPacket:
      return block && buffer.size() == CdDrive::kPacketBytes && c.buffer_end_ == buffer.size();
    case Phase::kPioIn:
      return range && block && (c.transfer_.limit >= 2 || c.buffer_end_ == buffer.size()) &&
             (c.transfer_.limit >= 2 || c.transfer_.sectors == 0);
    case Phase::kDmaWait:
      return range && (!buffer.empty() || c.transfer_.sectors != 0);
    default:
      return false;
  }
}

}  // namespace atl::ide
