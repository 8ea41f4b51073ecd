// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/drives.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"

namespace atl::vm {
namespace {

absl::StatusOr<std::unique_ptr<Drive>> OpenDrive(const DriveConfig& config, size_t number) {
  block::OpenOptions options;
  options.format = config.format;
  options.writable = !config.read_only;
  auto drive = std::make_unique<Drive>();
  ASSIGN_OR_RETURN(drive->image, block::Image::Open(config.file, options));
  drive->serial = config.serial.empty() ? absl::StrFormat("ATOLL%05d", number) : config.serial;
  return drive;
}

}  // namespace

absl::StatusOr<Drives> Drives::Open(const MachineConfig& config) {
  Drives out;
  ASSIGN_OR_RETURN(IdePlaces places, PlaceIdeDrives(config));
  size_t number = 1;
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i] == nullptr) continue;
    ASSIGN_OR_RETURN(out.ide[i], OpenDrive(*places[i], number));
    ++number;
  }
  for (const DriveConfig& d : config.drives) {
    if (d.interface != DiskInterface::kVirtio) continue;
    ASSIGN_OR_RETURN(std::unique_ptr<Drive> drive, OpenDrive(d, number));
    ++number;
    out.virtio.push_back(std::move(drive));
  }
  return out;
}

absl::Status Drives::Close() {
  absl::Status first;
  for (const std::unique_ptr<Drive>& d : ide) {
    if (d != nullptr) first.Update(d->image->Close());
  }
  for (const std::unique_ptr<Drive>& d : virtio) first.Update(d->image->Close());
  return first;
}

}  // namespace atl::vm
