// SPDX-License-Identifier: Apache-2.0
#include "lib/floppy/geometry.h"

namespace atl::floppy {
namespace {

constexpr Geometry kFormats[] = {
    {320, false, 40, 1, 8, Density::kDouble},  // 160 KiB
    {360, false, 40, 1, 9, Density::kDouble},  // 180
    {640, false, 40, 2, 8, Density::kDouble},  // 320
    {720, false, 40, 2, 9, Density::kDouble},  // 360
    {1440, true, 80, 2, 9, Density::kDouble},  // 720
    {2400, false, 80, 2, 15, Density::kHigh},  // 1.2 MB
    {2880, true, 80, 2, 18, Density::kHigh},   // 1.44
    {3360, true, 80, 2, 21, Density::kHigh},   // 1.68, DMF
    {3444, true, 82, 2, 21, Density::kHigh},   // 1.72
    {5760, true, 80, 2, 36, Density::kExtra},  // 2.88
};

constexpr bool AllTotalsAreRight() {
  for (const Geometry& g : kFormats) {
    if (g.total != uint32_t{g.tracks} * g.heads * g.sectors) return false;
  }
  return true;
}
static_assert(AllTotalsAreRight());

}  // namespace

std::optional<Geometry> GeometryOf(uint64_t bytes) {
  if (bytes == 0) return std::nullopt;
  for (const Geometry& g : kFormats) {
    if (uint64_t{g.total} * 512 == bytes) return g;
  }
  for (const Geometry& g : kFormats) {
    if ((g.total == 2880 || g.total == 5760) && bytes < uint64_t{g.total} * 512) return g;
  }
  return std::nullopt;
}

DriveType DriveFor(const Geometry& g) {
  switch (g.density) {
    case Density::kDouble:
      return g.small ? DriveType::k1440K : DriveType::k360K;
    case Density::kHigh:
      return g.small ? DriveType::k1440K : DriveType::k1200K;
    case Density::kExtra:
      return DriveType::k2880K;
  }
  return DriveType::kNone;
}

bool Takes(DriveType drive, const Geometry& g) {
  switch (drive) {
    case DriveType::kNone:
      return false;
    case DriveType::k360K:
      return !g.small && g.density == Density::kDouble;
    case DriveType::k1200K:
      return !g.small;
    case DriveType::k720K:
      return g.small && g.density == Density::kDouble;
    case DriveType::k1440K:
      return g.small && g.density != Density::kExtra;
    case DriveType::k2880K:
      return g.small;
  }
  return false;
}

}  // namespace atl::floppy
