// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/cd_drive.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/ide/cd_replies.h"

namespace atl::ide {
namespace {

constexpr uint8_t kNotReady = 2;
constexpr uint8_t kIllegalRequest = 5;
constexpr uint8_t kUnitAttention = 6;

constexpr Sense kBadOpcode{kIllegalRequest, 0x20, 0};
constexpr Sense kBadAddress{kIllegalRequest, 0x21, 0};
constexpr Sense kBadField{kIllegalRequest, 0x24, 0};
constexpr Sense kNoSavedPages{kIllegalRequest, 0x39, 0};
constexpr Sense kWrongMedium{kIllegalRequest, 0x30, 2};
constexpr Sense kRemovalPrevented{kIllegalRequest, 0x53, 2};
constexpr Sense kWrongTrackMode{kIllegalRequest, 0x64, 0};

// The sectors of a CD with the bytes around their data: sync pattern, address,
// mode, then codes that nobody who reads an image file can need.
class RawSectors final : public block::Disk {
 public:
  explicit RawSectors(std::shared_ptr<block::Disk> medium) : medium_(std::move(medium)) {}

  uint64_t size() const override {
    return medium_->size() / CdDrive::kSectorBytes * CdDrive::kRawSectorBytes;
  }
  bool read_only() const override { return true; }
  std::string name() const override { return medium_->name(); }

  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
    constexpr size_t kData = 16;
    std::array<uint8_t, CdDrive::kRawSectorBytes> frame{};
    std::fill(frame.begin() + 1, frame.begin() + 11, uint8_t{0xFF});
    frame[15] = 1;
    if (!RangeFits(offset, to.size(), size())) {
      return absl::OutOfRangeError(absl::StrCat(name(), ": raw sectors past the end"));
    }
    while (!to.empty()) {
      const uint64_t sector = offset / frame.size();
      const size_t within = offset % frame.size();
      const std::array<uint8_t, 3> msf = Msf(static_cast<uint32_t>(sector));
      for (size_t i = 0; i < 3; ++i) {
        frame[12 + i] = static_cast<uint8_t>(msf[i] / 10 % 10 << 4 | msf[i] % 10);
      }
      RETURN_IF_ERROR(medium_->Read(sector * CdDrive::kSectorBytes,
                                    std::span(frame).subspan(kData, CdDrive::kSectorBytes)));
      const size_t n = std::min(to.size(), frame.size() - within);
      std::memcpy(to.data(), frame.data() + within, n);
      to = to.subspan(n);
      offset += n;
    }
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, std::span<const uint8_t>) override { return ReadOnly(); }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status WriteZeroes(uint64_t, uint64_t, bool) override { return ReadOnly(); }
  absl::Status Discard(uint64_t, uint64_t) override { return ReadOnly(); }

 private:
  absl::Status ReadOnly() const {
    return absl::PermissionDeniedError(absl::StrCat(name(), ": a CD is read-only"));
  }
  const std::shared_ptr<block::Disk> medium_;
};

PacketResult Done() { return {}; }

// A reply, cut to what the host has room for.
PacketResult Data(std::vector<uint8_t> bytes, size_t room) {
  PacketResult out;
  bytes.resize(std::min(bytes.size(), room));
  if (bytes.empty()) return out;
  out.kind = PacketResult::Kind::kData;
  out.data = std::move(bytes);
  return out;
}

}  // namespace

struct CdDrive::Commands {
  enum Flags : uint8_t {
    kAlways = 1,  // also while the drive has something to tell
    kMedium = 2,  // only with a medium to read
  };
  struct Row {
    uint8_t opcode;
    uint8_t flags;
    PacketResult (*run)(CdDrive& d, Packet p);
  };

  static PacketResult Fail(CdDrive& d, Sense sense) {
    d.sense_ = sense;
    PacketResult out;
    out.kind = PacketResult::Kind::kFailed;
    return out;
  }

  static PacketResult Nothing(CdDrive&, Packet) { return Done(); }

  static PacketResult RequestSense(CdDrive& d, Packet p) {
    // What waits to be told is told here as well.
    Sense sense = d.sense_;
    if (sense.key == 0) sense = TakeAttention(d);
    d.sense_ = {};
    std::vector<uint8_t> out(18);
    out[0] = 0x70;
    out[2] = sense.key;
    out[7] = 10;
    out[12] = sense.code;
    out[13] = sense.qualifier;
    return Data(std::move(out), p[4]);
  }

  static PacketResult Inquiry(CdDrive& d, Packet p) {
    const size_t room = LoadBe<uint16_t>(&p[3]);
    if ((p[1] & 1) != 0) {
      std::vector<uint8_t> page = VitalProductData(p[2]);
      if (page.empty()) return Fail(d, kBadField);
      return Data(std::move(page), room);
    }
    if (p[2] != 0) return Fail(d, kBadField);
    return Data(InquiryReply(), room);
  }

  static PacketResult StartStop(CdDrive& d, Packet p) {
    const bool start = (p[4] & 1) != 0;
    const bool load_or_eject = (p[4] & 2) != 0;
    if ((p[4] & 0xF0) != 0 || !load_or_eject) return Done();  // power, the motor
    if (start) {
      d.CloseTray();
    } else {
      if (d.locked_ && !d.tray_open_) return Fail(d, kRemovalPrevented);
      d.OpenTray();
    }
    return Done();
  }

  static PacketResult PreventRemoval(CdDrive& d, Packet p) {
    d.locked_ = (p[4] & 1) != 0;
    return Done();
  }

  static PacketResult ReadCapacity(CdDrive& d, Packet) {
    std::vector<uint8_t> out(8);
    StoreBe<uint32_t>(&out[0], d.capacity() - 1);
    StoreBe<uint32_t>(&out[4], kSectorBytes);
    const size_t room = out.size();
    return Data(std::move(out), room);
  }

  static PacketResult Sectors(CdDrive& d, uint32_t sector, uint32_t sectors, bool raw) {
    if (!RangeFits(sector, sectors, d.capacity())) return Fail(d, kBadAddress);
    PacketResult out;
    if (sectors == 0) return out;
    out.kind = PacketResult::Kind::kRead;
    out.sector = sector;
    out.sectors = sectors;
    out.raw = raw;
    return out;
  }
  static PacketResult Read10(CdDrive& d, Packet p) {
    return Sectors(d, LoadBe<uint32_t>(&p[2]), LoadBe<uint16_t>(&p[7]), false);
  }
  static PacketResult Read12(CdDrive& d, Packet p) {
    return Sectors(d, LoadBe<uint32_t>(&p[2]), LoadBe<uint32_t>(&p[6]), false);
  }
  static PacketResult Seek(CdDrive& d, Packet p) {
    return LoadBe<uint32_t>(&p[2]) < d.capacity() ? Done() : Fail(d, kBadAddress);
  }
  static PacketResult Verify(CdDrive& d, Packet p) {
    const bool fits = RangeFits(LoadBe<uint32_t>(&p[2]), LoadBe<uint16_t>(&p[7]), d.capacity());
    return fits ? Done() : Fail(d, kBadAddress);
  }

  // What of a sector the host wants: its data, or all of it.
  static PacketResult ReadParts(CdDrive& d, Packet p, uint32_t sector, uint32_t sectors) {
    const uint8_t type = p[1] >> 2 & 7;
    if (type != 0 && type != 2) return Fail(d, kWrongTrackMode);
    if ((p[10] & 7) != 0) return Fail(d, kBadField);  // no subchannels
    switch (p[9] & 0xFE) {
      case 0x00: {
        const PacketResult checked = Sectors(d, sector, sectors, false);
        return checked.kind == PacketResult::Kind::kFailed ? checked : Done();
      }
      case 0x10:
        return Sectors(d, sector, sectors, false);
      case 0xF8:
        return Sectors(d, sector, sectors, true);
      default:
        return Fail(d, kBadField);
    }
  }
  static PacketResult ReadCd(CdDrive& d, Packet p) {
    return ReadParts(d, p, LoadBe<uint32_t>(&p[2]), LoadBe<uint32_t>(&p[5]) & 0xFFFFFF);
  }
  static PacketResult ReadCdMsf(CdDrive& d, Packet p) {
    const auto sector = [&p](size_t at) { return (p[at] * 60u + p[at + 1]) * 75u + p[at + 2]; };
    const uint32_t begin = sector(3);
    const uint32_t end = sector(6);
    if (begin < kPregap || end < begin) return Fail(d, kBadField);
    return ReadParts(d, p, begin - kPregap, end - begin);
  }

  static PacketResult ReadToc(CdDrive& d, Packet p) {
    // Old hosts put the format into the last byte.
    const uint8_t format = (p[2] & 15) != 0 ? p[2] & 15 : p[9] >> 6;
    std::vector<uint8_t> out = Toc(format, (p[1] & 2) != 0, p[6], d.capacity());
    if (out.empty()) return Fail(d, kBadField);
    return Data(std::move(out), LoadBe<uint16_t>(&p[7]));
  }

  static PacketResult ReadSubchannel(CdDrive& d, Packet p) {
    std::vector<uint8_t> out = Subchannel((p[2] & 0x40) != 0, p[3]);
    if (out.empty()) return Fail(d, kBadField);
    return Data(std::move(out), LoadBe<uint16_t>(&p[7]));
  }

  static PacketResult ReadDiscInformation(CdDrive& d, Packet p) {
    if ((p[1] & 7) != 0) return Fail(d, kBadField);
    return Data(DiscInformation(), LoadBe<uint16_t>(&p[7]));
  }
  static PacketResult ReadTrackInformation(CdDrive& d, Packet p) {
    const uint32_t address = LoadBe<uint32_t>(&p[2]);
    const uint8_t kind = p[1] & 3;
    const bool there = kind == 0 ? address < d.capacity() : kind < 3 && address == 1;
    if (!there) return Fail(d, kind == 0 ? kBadAddress : kBadField);
    return Data(TrackInformation(d.capacity()), LoadBe<uint16_t>(&p[7]));
  }
  static PacketResult ReadDvdStructure(CdDrive& d, Packet p) {
    if (!d.dvd()) return Fail(d, kWrongMedium);
    std::vector<uint8_t> out = DvdStructure(p[7], d.capacity());
    if (p[6] != 0 || out.empty()) return Fail(d, kBadField);
    return Data(std::move(out), LoadBe<uint16_t>(&p[8]));
  }

  static PacketResult ModeSense(CdDrive& d, Packet p) {
    if (p[2] >> 6 == 3) return Fail(d, kNoSavedPages);
    ModeState state;
    state.locked = d.locked_;
    state.tray_open = d.tray_open_;
    state.medium = d.medium_ != nullptr;
    std::vector<uint8_t> out = ModePages(p[2] & 0x3F, p[2] >> 6 == 1, state);
    if (out.empty()) return Fail(d, kBadField);
    return Data(std::move(out), LoadBe<uint16_t>(&p[7]));
  }

  static PacketResult GetConfiguration(CdDrive& d, Packet p) {
    const uint8_t which = p[1] & 3;
    if (which == 3) return Fail(d, kBadField);
    uint16_t profile = 0;
    if (d.capacity() != 0) profile = d.dvd() ? kProfileDvd : kProfileCd;
    return Data(Configuration(which, LoadBe<uint16_t>(&p[2]), profile), LoadBe<uint16_t>(&p[7]));
  }

  static PacketResult GetEvent(CdDrive& d, Packet p) {
    constexpr uint8_t kMediaClass = 4;
    if ((p[1] & 1) == 0) return Fail(d, kBadField);  // it would have to wait for one
    if ((p[4] & 1 << kMediaClass) == 0) {
      return Data({0, 2, 0x80, 1 << kMediaClass}, LoadBe<uint16_t>(&p[7]));
    }
    const size_t room = LoadBe<uint16_t>(&p[7]);
    // A medium in an open tray is not there: hosts look no further.
    uint8_t status = d.tray_open_ ? 1 : 0;
    if (d.ready()) status = 2;
    std::vector<uint8_t> out = {
        0, 6, kMediaClass, 1 << kMediaClass, static_cast<uint8_t>(d.event_), status, 0, 0};
    // Only who sees the event has been told.
    if (room > 4) d.event_ = Event::kNone;
    return Data(std::move(out), room);
  }

  static PacketResult MechanismStatus(CdDrive& d, Packet p) {
    std::vector<uint8_t> out(8);
    out[1] = d.tray_open_ ? 0x10 : 0;
    out[5] = 1;
    return Data(std::move(out), LoadBe<uint16_t>(&p[8]));
  }

  static constexpr std::array kRows = {
      Row{0x00, kMedium, Nothing},  // TEST UNIT READY
      Row{0x03, kAlways, RequestSense},
      Row{0x12, kAlways, Inquiry},
      Row{0x1B, 0, StartStop},
      Row{0x1E, 0, PreventRemoval},
      Row{0x25, kMedium, ReadCapacity},
      Row{0x28, kMedium, Read10},
      Row{0x2B, kMedium, Seek},
      Row{0x2F, kMedium, Verify},
      Row{0x42, kMedium, ReadSubchannel},
      Row{0x43, kMedium, ReadToc},
      Row{0x46, kAlways, GetConfiguration},
      Row{0x4A, kAlways, GetEvent},
      Row{0x4E, kMedium, Nothing},  // STOP PLAY/SCAN
      Row{0x51, kMedium, ReadDiscInformation},
      Row{0x52, kMedium, ReadTrackInformation},
      Row{0x5A, 0, ModeSense},
      Row{0xA8, kMedium, Read12},
      Row{0xAD, kMedium, ReadDvdStructure},
      Row{0xB9, kMedium, ReadCdMsf},
      Row{0xBB, 0, Nothing},  // SET CD SPEED
      Row{0xBD, 0, MechanismStatus},
      Row{0xBE, kMedium, ReadCd},
  };

  // The next thing that the guest must hear before anything else works.
  static Sense TakeAttention(CdDrive& d) {
    switch (d.attention_) {
      case Attention::kNone:
        return {};
      case Attention::kReset:
        d.attention_ = Attention::kNone;
        return {kUnitAttention, 0x29, 0};
      case Attention::kChanged:
        d.attention_ = Attention::kNone;
        return {kUnitAttention, 0x28, 0};
    }
    return {};
  }
};

PacketResult CdDrive::Execute(Packet packet) {
  for (const Commands::Row& row : Commands::kRows) {
    if (row.opcode != packet[0]) continue;
    if ((row.flags & Commands::kAlways) == 0) {
      // A change is told with the new medium in place.
      const bool told = attention_ == Attention::kReset || ready();
      if (told && attention_ != Attention::kNone) {
        return Commands::Fail(*this, Commands::TakeAttention(*this));
      }
    }
    if ((row.flags & Commands::kMedium) != 0 && capacity() == 0) {
      return Commands::Fail(*this, NoMedium());
    }
    if (packet[0] != 0x03) sense_ = {};
    return row.run(*this, packet);
  }
  return Commands::Fail(*this, kBadOpcode);
}

Sense CdDrive::NoMedium() const {
  return {kNotReady, 0x3A, static_cast<uint8_t>(tray_open_ ? 2 : 1)};
}

uint32_t CdDrive::capacity() const {
  if (!ready()) return 0;
  const uint64_t sectors = medium_->size() / kSectorBytes;
  return static_cast<uint32_t>(
      std::min<uint64_t>(sectors, std::numeric_limits<uint32_t>::max() - 1));
}

std::shared_ptr<block::Disk> CdDrive::RawView(std::shared_ptr<block::Disk> medium) {
  return std::make_shared<RawSectors>(std::move(medium));
}

void CdDrive::PowerOn() {
  locked_ = false;
  attention_ = Attention::kReset;
  event_ = Event::kNone;
  sense_ = {};
}

void CdDrive::OpenTray() {
  if (tray_open_) return;
  tray_open_ = true;
  locked_ = false;
  if (on_tray_) on_tray_(true);
}

void CdDrive::CloseTray() {
  if (!tray_open_) return;
  tray_open_ = false;
  // The same medium again is news for those who ask for events; a unit attention
  // would make reads fail at hosts that close the tray in order to read.
  if (medium_ != nullptr) event_ = Event::kNewMedia;
  if (on_tray_) on_tray_(false);
}

std::shared_ptr<block::Disk> CdDrive::Remove() {
  if (medium_ != nullptr) event_ = Event::kRemoval;
  return std::exchange(medium_, nullptr);
}

void CdDrive::Insert(std::shared_ptr<block::Disk> medium) {
  medium_ = std::move(medium);
  attention_ = Attention::kChanged;
  event_ = Event::kNewMedia;
}

void CdDrive::VisitState(dev::StateVisitor& v) {
  v.Field("tray_open", tray_open_);
  v.Field("locked", locked_);
  v.Bounded("attention", attention_, static_cast<uint64_t>(Attention::kChanged));
  v.Bounded("event", event_, static_cast<uint64_t>(Event::kRemoval));
  v.Field("sense_key", sense_.key);
  v.Field("sense_code", sense_.code);
  v.Field("sense_qualifier", sense_.qualifier);
}

}  // namespace atl::ide
