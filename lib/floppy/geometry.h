// SPDX-License-Identifier: Apache-2.0
// Floppy disks and the drives that take them: formats that PCs have had, known
// by their size.
#ifndef LIB_FLOPPY_GEOMETRY_H_
#define LIB_FLOPPY_GEOMETRY_H_

#include <cstdint>
#include <optional>

namespace atl::floppy {

// By the numbers that a PC's CMOS has for them.
enum class DriveType : uint8_t {
  kNone = 0,
  k360K = 1,  // 5.25 inches, 40 tracks
  k1200K = 2,
  k720K = 3,  // 3.5 inches
  k1440K = 4,
  k2880K = 5,
};

// How dense the bits are: what data rates read it.
enum class Density : uint8_t { kDouble, kHigh, kExtra };

struct Geometry {
  uint32_t total;  // sectors of 512 bytes
  bool small;      // 3.5 inches
  uint8_t tracks;
  uint8_t heads;
  uint8_t sectors;  // of a track
  Density density;
};

// The format of a medium with so many bytes. A size that is no format's is taken
// as the beginning of a 1.44 or 2.88 MB disk; nothing for what is larger, or 0.
std::optional<Geometry> GeometryOf(uint64_t bytes);
// The drive that a PC would have for it.
DriveType DriveFor(const Geometry& geometry);
bool Takes(DriveType drive, const Geometry& geometry);

}  // namespace atl::floppy

#endif  // LIB_FLOPPY_GEOMETRY_H_
