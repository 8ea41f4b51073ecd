// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/bzimage.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"

namespace atl::boot {
namespace {

constexpr uint64_t kSector = 512;

absl::Status Bad(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a bootable bzImage: ", why));
}

}  // namespace

bool LooksLikeBzImage(std::span<const uint8_t> file) {
  const auto magic = ReadAt<le32>(file, kSetupHeaderAt + offsetof(SetupHeader, header));
  return magic && *magic == kHeaderMagic;
}

uint64_t SetupBytes(const SetupHeader& h) {
  // Zero stands for four, for the sake of the oldest loaders.
  return (uint64_t{h.setup_sects == 0 ? uint8_t{4} : h.setup_sects} + 1) * kSector;
}

absl::StatusOr<SetupHeader> ParseSetupHeader(std::span<const uint8_t> file) {
  // The jump at 0x200 leads past the header, so its distance tells the length.
  const auto jump = ReadAt<uint8_t>(file, 0x201);
  if (!LooksLikeBzImage(file) || !jump) return Bad("it has no Linux boot header");
  const uint64_t length =
      std::min<uint64_t>(sizeof(SetupHeader), 0x202 + uint64_t{*jump} - kSetupHeaderAt);
  if (!RangeFits(kSetupHeaderAt, length, file.size())) return Bad("it ends in its boot header");
  SetupHeader h{};
  std::memcpy(&h, file.data() + kSetupHeaderAt, length);
  if (h.boot_flag != kBootFlag) {
    return Bad(absl::StrFormat("its boot flag is 0x%04x, not 0xaa55", h.boot_flag));
  }
  if (h.version < 0x206) {
    return Bad(absl::StrFormat("boot protocol %d.%02d; 2.06 (Linux 2.6.22) or later is needed",
                               h.version >> 8, h.version & 0xFF));
  }
  if ((h.loadflags & kLoadedHigh) == 0) return Bad("it is a zImage, which loads low");
  return h;
}

absl::StatusOr<BzImage> ParseBzImage(std::span<const uint8_t> file) {
  BzImage out{};
  ASSIGN_OR_RETURN(out.header, ParseSetupHeader(file));
  const SetupHeader& h = out.header;
  const uint64_t start = SetupBytes(h);
  const uint64_t size = uint64_t{h.syssize} * 16;
  if (start >= file.size()) {
    return Bad(absl::StrCat("it ends at byte ", file.size(), ", before its kernel at ", start));
  }
  // What follows the kernel, such as a signature, is not loaded. The last 16
  // bytes may be incomplete.
  const uint64_t present = file.size() - start;
  if (size > present + 15) {
    return Bad(absl::StrCat("it is cut off: the kernel has ", size, " bytes, the file ", present,
                            " of them"));
  }
  out.protected_mode = file.subspan(start, size == 0 ? present : std::min(size, present));
  if (h.version >= 0x208 && h.payload_length != 0) {
    if (!RangeFits(h.payload_offset, h.payload_length, out.protected_mode.size())) {
      return Bad("its payload lies past the end of the kernel");
    }
    out.payload = out.protected_mode.subspan(h.payload_offset, h.payload_length);
  }
  return out;
}

}  // namespace atl::boot
