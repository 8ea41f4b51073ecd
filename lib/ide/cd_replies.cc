// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/cd_replies.h"

#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "lib/base/endian.h"

namespace atl::ide {
namespace {

// Grows at its end, numbers big-endian.
struct Bytes {
  std::vector<uint8_t> bytes;

  Bytes& Add(std::initializer_list<uint8_t> more) {
    bytes.insert(bytes.end(), more);
    return *this;
  }
  Bytes& Add16(uint32_t v) { return Add({static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v)}); }
  Bytes& Add32(uint32_t v) { return Add16(v >> 16).Add16(v); }
  Bytes& Text(const char* text, size_t width) {
    while (width-- > 0) bytes.push_back(*text != 0 ? static_cast<uint8_t>(*text++) : ' ');
    return *this;
  }
  Bytes& Zeros(size_t n) {
    bytes.resize(bytes.size() + n);
    return *this;
  }
  // Says at the front how many bytes follow.
  std::vector<uint8_t> Sized16() {
    StoreBe<uint16_t>(bytes.data(), static_cast<uint16_t>(bytes.size() - 2));
    return std::move(bytes);
  }
};

constexpr const char* kVendor = "ATOLL";
constexpr const char* kProduct = "DVD-ROM";
constexpr uint8_t kCdRom = 0x05;      // peripheral device type
constexpr uint8_t kDataTrack = 0x14;  // position in Q, data track
constexpr uint8_t kLeadOut = 0xAA;
constexpr uint8_t kMechanism = 0x29;    // a tray, can eject, can lock
constexpr uint32_t kKbPerSecond = 706;  // what a CD makes at speed 4

}  // namespace

std::array<uint8_t, 3> Msf(uint32_t sector) {
  const uint64_t frames = uint64_t{sector} + kPregap;
  return {static_cast<uint8_t>(std::min<uint64_t>(frames / (60 * 75), 255)),
          static_cast<uint8_t>(frames / 75 % 60), static_cast<uint8_t>(frames % 75)};
}

std::vector<uint8_t> InquiryReply() {
  Bytes out;
  out.Add({kCdRom, 0x80, 0x00, 0x21, 31, 0, 0, 0});  // removable, ATAPI
  return out.Text(kVendor, 8).Text(kProduct, 16).Text("1.0", 4).bytes;
}

std::vector<uint8_t> VitalProductData(uint8_t page) {
  Bytes out;
  out.Add({kCdRom, page, 0, 0});
  switch (page) {
    case 0x00:  // the pages there are
      out.Add({0x00, 0x83});
      break;
    case 0x83:  // one designator: vendor and product
      out.Add({0x02, 0x01, 0, 24}).Text(kVendor, 8).Text(kProduct, 16);
      break;
    default:
      return {};
  }
  out.bytes[3] = static_cast<uint8_t>(out.bytes.size() - 4);
  return out.bytes;
}

std::vector<uint8_t> Toc(uint8_t format, bool msf, uint8_t first_track, uint32_t capacity) {
  const auto address = [msf](Bytes& out, uint32_t sector) {
    if (!msf) {
      out.Add32(sector);
      return;
    }
    const std::array<uint8_t, 3> at = Msf(sector);
    out.Add({0, at[0], at[1], at[2]});
  };
  Bytes out;
  out.Add({0, 0, 1, 1});  // the first and last track, or session
  switch (format) {
    case 0:
      if (first_track > 1 && first_track != kLeadOut) return {};
      if (first_track <= 1) {
        out.Add({0, kDataTrack, 1, 0});
        address(out, 0);
      }
      out.Add({0, kDataTrack, kLeadOut, 0});
      address(out, capacity);
      return out.Sized16();
    case 1:  // sessions: the first track of the last
      out.Add({0, kDataTrack, 1, 0});
      address(out, 0);
      return out.Sized16();
    case 2: {  // as it stands in the lead-in: always minutes, seconds, frames
      const std::array<uint8_t, 3> end = Msf(capacity);
      out.Add({1, kDataTrack, 0, 0xA0, 0, 0, 0, 0, 1, 0, 0});
      out.Add({1, kDataTrack, 0, 0xA1, 0, 0, 0, 0, 1, 0, 0});
      out.Add({1, kDataTrack, 0, 0xA2, 0, 0, 0, 0, end[0], end[1], end[2]});
      out.Add({1, kDataTrack, 0, 1, 0, 0, 0, 0, 0, 2, 0});
      return out.Sized16();
    }
    default:
      return {};
  }
}

std::vector<uint8_t> Subchannel(bool wanted, uint8_t format) {
  Bytes out;
  out.Add({0, 0x15, 0, 0});  // no audio status
  if (!wanted) return out.bytes;
  switch (format) {
    case 1:  // the current position: the beginning
      out.Add({1, kDataTrack, 1, 1}).Zeros(8);
      break;
    case 2:  // catalogue number, recording code: there is none
    case 3:
      out.Add({format, 0, 0, 0}).Zeros(16);
      break;
    default:
      return {};
  }
  out.bytes[3] = static_cast<uint8_t>(out.bytes.size() - 4);
  return out.bytes;
}

std::vector<uint8_t> DiscInformation() {
  Bytes out;
  // Complete; one session of one track; unrestricted use.
  out.Add({0, 0, 0x0E, 1, 1, 1, 1, 0x20}).Zeros(26);
  return out.Sized16();
}

std::vector<uint8_t> TrackInformation(uint32_t capacity) {
  Bytes out;
  out.Add({0, 0, 1, 1, 0, 0x04, 0x01, 0}).Zeros(16).Add32(capacity).Zeros(8);
  return out.Sized16();
}

std::vector<uint8_t> DvdStructure(uint8_t format, uint32_t capacity) {
  constexpr uint32_t kFirstSector = 0x30000;
  Bytes out;
  out.Zeros(4);
  switch (format) {
    case 0x00:  // physical: a DVD-ROM of one layer
      out.Add({0x01, 0x0F, 0x01, 0}).Add32(kFirstSector);
      out.Add32(std::min(capacity - 1, 0xFFFFFFu - kFirstSector) + kFirstSector);
      out.Zeros(2048 - 12);
      break;
    case 0x01:  // not protected, all regions
      out.Zeros(4);
      break;
    case 0x04:  // manufacturing
      out.Zeros(2048);
      break;
    case 0xFF:  // the formats there are
      out.Add({0x00, 0x40, 0x08, 0x04, 0x01, 0x40, 0x00, 0x08, 0x04, 0x40, 0x08, 0x04});
      break;
    default:
      return {};
  }
  return out.Sized16();
}

std::vector<uint8_t> ModePages(uint8_t page, bool changeable, const ModeState& state) {
  Bytes out;
  uint8_t medium = 0x70;  // closed, no disc
  if (state.tray_open) {
    medium = 0x71;
  } else if (state.medium) {
    medium = 0x01;  // a data disc of 120 mm
  }
  out.Add({0, 0, medium, 0, 0, 0, 0, 0});
  const size_t header = out.bytes.size();
  const bool all = page == 0x3F;
  if (all || page == 0x01) {  // error recovery
    out.Add({0x01, 0x06, 0x00, 0x05, 0, 0, 0, 0});
  }
  if (all || page == 0x0E) {  // audio: two channels, loud
    out.Add({0x0E, 0x0E, 0x04, 0, 0, 0, 0, 0, 1, 0xFF, 2, 0xFF, 0, 0, 0, 0});
  }
  if (all || page == 0x2A) {  // capabilities: reads CD-R, CD-RW, DVD; multi-session
    const uint8_t locked = state.locked ? 2 : 0;
    out.Add({0x2A, 0x14, 0x3B, 0x00, 0x70, 0x00, static_cast<uint8_t>(kMechanism | locked), 0});
    out.Add16(kKbPerSecond).Add16(2).Add16(512).Add16(kKbPerSecond).Zeros(6);
  }
  if (out.bytes.size() == header) return {};
  if (changeable) {  // nothing is
    for (size_t at = header; at < out.bytes.size();) {
      const size_t length = out.bytes[at + 1];
      std::fill_n(out.bytes.begin() + static_cast<ptrdiff_t>(at + 2), length, uint8_t{0});
      at += 2 + length;
    }
  }
  return out.Sized16();
}

std::vector<uint8_t> Configuration(uint8_t which, uint16_t first, uint16_t profile) {
  const bool cd = profile == kProfileCd;
  const bool dvd = profile == kProfileDvd;
  struct Feature {
    uint16_t code;
    uint8_t version;
    bool persistent;
    bool current;
    Bytes data;
  };
  Bytes profiles;
  profiles.Add16(kProfileDvd).Add({dvd, 0}).Add16(kProfileCd).Add({cd, 0});
  const std::array<Feature, 10> features = {{
      {0x0000, 0, true, true, profiles},
      {0x0001, 2, true, true, Bytes().Add32(2).Add({1, 0, 0, 0})},  // core: ATAPI, device busy
      {0x0002, 1, true, true, Bytes().Zeros(4)},                    // morphing
      {0x0003, 0, true, true, Bytes().Add({kMechanism, 0, 0, 0})},  // removable medium
      {0x0010, 0, false, cd || dvd, Bytes().Add32(2048).Add16(dvd ? 16 : 1).Add({0, 0})},
      {0x001D, 0, false, cd, Bytes()},
      {0x001E, 2, false, cd, Bytes().Zeros(4)},
      {0x001F, 0, false, dvd, Bytes()},
      {0x0100, 0, true, true, Bytes()},           // power management
      {0x0105, 0, true, true, Bytes().Zeros(4)},  // timeout
  }};
  Bytes out;
  out.Zeros(6).Add16(profile);
  for (const Feature& f : features) {
    if (which == 2 ? f.code != first : f.code < first) continue;
    if (which == 1 && !f.current) continue;
    const uint8_t flags =
        static_cast<uint8_t>(f.version << 2 | (f.persistent ? 2 : 0) | (f.current ? 1 : 0));
    out.Add16(f.code).Add({flags, static_cast<uint8_t>(f.data.bytes.size())});
    out.bytes.insert(out.bytes.end(), f.data.bytes.begin(), f.data.bytes.end());
  }
  StoreBe<uint32_t>(out.bytes.data(), static_cast<uint32_t>(out.bytes.size() - 4));
  return out.bytes;
}

}  // namespace atl::ide
