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
  drive->disk = std::make_unique<WatchedDisk>(*drive->image);
  drive->file = config.file;
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

namespace {

// "ide0-hd1" is the first channel's slave.
std::string IdeName(size_t place) { return absl::StrCat("ide", place / 2, "-hd", place % 2); }
std::string VirtioName(size_t number) { return absl::StrCat("virtio", number); }

DriveState State(const Drive& drive, std::string device) {
  DriveState out;
  drive.disk->Count(&out);
  out.device = std::move(device);
  out.file = drive.file;
  out.format = std::string(drive.image->format().name);
  out.size = drive.image->size();
  out.read_only = drive.image->read_only();
  return out;
}

}  // namespace

std::vector<DriveState> Drives::States() const {
  std::vector<DriveState> out;
  for (size_t i = 0; i < ide.size(); ++i) {
    if (ide[i] != nullptr) out.push_back(State(*ide[i], IdeName(i)));
  }
  for (size_t i = 0; i < virtio.size(); ++i) {
    out.push_back(State(*virtio[i], VirtioName(i)));
  }
  return out;
}

void Drives::SetErrorHandler(const OnError& handler) {
  const auto watch = [&handler](Drive& drive, const std::string& device) {
    drive.disk->SetErrorHandler(
        [handler, device](bool write, absl::string_view error) { handler(device, write, error); });
  };
  for (size_t i = 0; i < ide.size(); ++i) {
    if (ide[i] != nullptr) watch(*ide[i], IdeName(i));
  }
  for (size_t i = 0; i < virtio.size(); ++i) watch(*virtio[i], VirtioName(i));
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
