// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/config.h"

#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::vm {

namespace {

// What of a drive stands in messages.
std::string Named(const DriveConfig& d) {
  return absl::StrCat("option '", d.option, "': ", d.file.empty() ? "empty drive" : d.file);
}

template <size_t kPlaces>
absl::StatusOr<std::array<const DriveConfig*, kPlaces>> Place(const MachineConfig& config,
                                                              DiskInterface interface,
                                                              absl::string_view kind,
                                                              absl::string_view when_full) {
  std::array<const DriveConfig*, kPlaces> out{};
  for (const DriveConfig& d : config.drives) {
    if (d.interface != interface || !d.index) continue;
    if (*d.index >= kPlaces) {
      return absl::InvalidArgumentError(
          absl::StrCat(Named(d), ": ", kind, " places are 0 to ", kPlaces - 1));
    }
    const DriveConfig*& place = out[*d.index];
    if (place != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(Named(d), ": ", kind, " place ", *d.index,
                                                     " is taken by '", place->option, "' ",
                                                     place->file));
    }
    place = &d;
  }
  for (const DriveConfig& d : config.drives) {
    if (d.interface != interface || d.index) continue;
    size_t place = 0;
    while (place < kPlaces && out[place] != nullptr) ++place;
    if (place == kPlaces) return absl::InvalidArgumentError(absl::StrCat(Named(d), when_full));
    out[place] = &d;
  }
  return out;
}

absl::Status CheckBootOrder(absl::string_view what, absl::string_view order) {
  for (size_t i = 0; i < order.size(); ++i) {
    if (absl::string_view("acdn").find(order[i]) == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("option '-boot': ", what, "='", order, "': no such place '",
                       order.substr(i, 1), "': a (floppy), c (disk), d (CD) and n (network) are"));
    }
    if (order.find(order[i], i + 1) != absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("option '-boot': ", what, "='", order, "': '",
                                                     order.substr(i, 1), "' stands there twice"));
    }
  }
  if (order.size() > 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("option '-boot': ", what, "='", order, "': firmware takes three at most"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<IdePlaces> PlaceIdeDrives(const MachineConfig& config) {
  return Place<4>(config, DiskInterface::kIde, "IDE",
                  ": all four IDE places are taken; if=virtio has room");
}

absl::StatusOr<FloppyPlaces> PlaceFloppyDrives(const MachineConfig& config) {
  return Place<2>(config, DiskInterface::kFloppy, "floppy", ": both floppy drives are taken");
}

std::string DriveName(const DriveConfig& drive, size_t place) {
  if (!drive.id.empty()) return drive.id;
  switch (drive.interface) {
    case DiskInterface::kIde:
      return absl::StrCat("ide", place / 2, drive.media == Medium::kCdrom ? "-cd" : "-hd",
                          place % 2);
    case DiskInterface::kVirtio:
      return absl::StrCat("virtio", place);
    case DiskInterface::kFloppy:
      return absl::StrCat("floppy", place);
  }
  return "";
}

std::string UuidText(const std::array<uint8_t, 16>& uuid) {
  std::string out;
  for (size_t i = 0; i < uuid.size(); ++i) {
    absl::StrAppend(&out, i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                    absl::Hex(uuid[i], absl::kZeroPad2));
  }
  return out;
}

absl::StatusOr<std::array<uint8_t, 16>> ParseUuid(absl::string_view text) {
  std::array<uint8_t, 16> out{};
  size_t digits = 0;
  bool bad = text.size() != 36;
  for (size_t i = 0; i < text.size() && !bad; ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      bad = text[i] != '-';
    } else if (absl::ascii_isxdigit(static_cast<unsigned char>(text[i]))) {
      const char c = absl::ascii_tolower(static_cast<unsigned char>(text[i]));
      const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
      out[digits / 2] = static_cast<uint8_t>(out[digits / 2] << 4 | digit);
      ++digits;
    } else {
      bad = true;
    }
  }
  if (!bad) return out;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no UUID such as 4dbf3a1c-0b1e-4f6e-9f2a-1c5d3e7a9b02"));
}

absl::Status CheckConfig(const MachineConfig& config) {
  if (!config.initrd.empty() && config.kernel.empty()) {
    return absl::InvalidArgumentError("option '-initrd' needs '-kernel'");
  }
  if (!config.append.empty() && config.kernel.empty()) {
    return absl::InvalidArgumentError("option '-append' needs '-kernel'");
  }
  if (config.drives.size() > MachineConfig::kMaxDrives) {
    return absl::InvalidArgumentError(absl::StrCat(config.drives.size(), " disks: at most ",
                                                   MachineConfig::kMaxDrives, " fit a machine"));
  }
  std::set<std::string> ids;
  for (const DriveConfig& d : config.drives) {
    if (d.interface == DiskInterface::kVirtio && d.index) {
      return absl::InvalidArgumentError(absl::StrCat(Named(d), ": a virtio disk has no 'index'"));
    }
    if (d.media == Medium::kCdrom && d.interface != DiskInterface::kIde) {
      return absl::InvalidArgumentError(absl::StrCat(Named(d), ": media=cdrom needs if=ide"));
    }
    if (d.file.empty() && d.media == Medium::kDisk && d.interface != DiskInterface::kFloppy) {
      return absl::InvalidArgumentError(
          absl::StrCat("option '", d.option, "': a disk needs 'file'"));
    }
    if (!d.id.empty() && !ids.insert(d.id).second) {
      return absl::InvalidArgumentError(absl::StrCat(Named(d), ": id '", d.id, "' is taken"));
    }
    if (d.serial.size() > 20) {
      return absl::InvalidArgumentError(
          absl::StrCat(Named(d), ": serial '", d.serial, "' is longer than 20 bytes"));
    }
  }
  if (config.nics.size() > MachineConfig::kMaxNics) {
    return absl::InvalidArgumentError(absl::StrCat(config.nics.size(), " network cards: at most ",
                                                   MachineConfig::kMaxNics, " fit a machine"));
  }
  std::set<net::MacAddress> macs;
  for (const NicConfig& nic : config.nics) {
    if (!macs.insert(nic.mac).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "option '", nic.option, "': another card has the address ", net::FormatMac(nic.mac)));
    }
  }
  RETURN_IF_ERROR(CheckBootOrder("order", config.boot.order));
  RETURN_IF_ERROR(CheckBootOrder("once", config.boot.once));
  RETURN_IF_ERROR(PlaceFloppyDrives(config).status());
  return PlaceIdeDrives(config).status();
}

}  // namespace atl::vm
