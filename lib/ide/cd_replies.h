// SPDX-License-Identifier: Apache-2.0
// The bytes of a CD drive's replies (MMC-6, SPC-4), for cd_drive.cc. An empty
// reply is one that the drive does not have.
#ifndef LIB_IDE_CD_REPLIES_H_
#define LIB_IDE_CD_REPLIES_H_

#include <array>
#include <cstdint>
#include <vector>

namespace atl::ide {

// Sector 0 is the one after two seconds of pregap.
inline constexpr uint32_t kPregap = 150;
inline constexpr uint16_t kProfileCd = 0x0008;
inline constexpr uint16_t kProfileDvd = 0x0010;

// Minutes, seconds, frames of a sector; what is past 255 minutes stays there.
std::array<uint8_t, 3> Msf(uint32_t sector);

std::vector<uint8_t> InquiryReply();
std::vector<uint8_t> VitalProductData(uint8_t page);
// READ TOC/PMA/ATIP, formats 0 to 2; `msf`: addresses as minutes, seconds, frames.
std::vector<uint8_t> Toc(uint8_t format, bool msf, uint8_t first_track, uint32_t capacity);
std::vector<uint8_t> Subchannel(bool wanted, uint8_t format);
std::vector<uint8_t> DiscInformation();
std::vector<uint8_t> TrackInformation(uint32_t capacity);
std::vector<uint8_t> DvdStructure(uint8_t format, uint32_t capacity);

struct ModeState {
  bool locked = false;
  bool tray_open = false;
  bool medium = false;
};
// MODE SENSE (10); page 0x3F is all. `changeable`: which bits the host may change.
std::vector<uint8_t> ModePages(uint8_t page, bool changeable, const ModeState& state);
// GET CONFIGURATION; `which`: 0 all, 1 current features, 2 the first one only.
std::vector<uint8_t> Configuration(uint8_t which, uint16_t first, uint16_t profile);

}  // namespace atl::ide

#endif  // LIB_IDE_CD_REPLIES_H_
