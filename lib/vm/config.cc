// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::vm {

absl::StatusOr<IdePlaces> PlaceIdeDrives(const MachineConfig& config) {
  IdePlaces ide{};
  for (const DriveConfig& d : config.drives) {
    if (d.interface != DiskInterface::kIde || !d.index) continue;
    const DriveConfig*& place = ide[*d.index];
    if (place != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("option '", d.option, "': ", d.file,
                                                     ": IDE place ", *d.index, " is taken by '",
                                                     place->option, "' ", place->file));
    }
    place = &d;
  }
  for (const DriveConfig& d : config.drives) {
    if (d.interface != DiskInterface::kIde || d.index) continue;
    size_t place = 0;
    while (place < ide.size() && ide[place] != nullptr) ++place;
    if (place == ide.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("option '", d.option, "': ", d.file,
                       ": all four IDE places are taken; if=virtio has room"));
    }
    ide[place] = &d;
  }
  return ide;
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
  for (const DriveConfig& d : config.drives) {
    if (d.interface == DiskInterface::kVirtio && d.index) {
      return absl::InvalidArgumentError(
          absl::StrCat("option '", d.option, "': ", d.file, ": a virtio disk has no 'index'"));
    }
    if (d.serial.size() > 20) {
      return absl::InvalidArgumentError(absl::StrCat("option '", d.option, "': ", d.file,
                                                     ": serial '", d.serial,
                                                     "' is longer than 20 bytes"));
    }
  }
  return PlaceIdeDrives(config).status();
}

}  // namespace atl::vm
