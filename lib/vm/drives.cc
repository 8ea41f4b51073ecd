// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/drives.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/block/fd_storage.h"
#include "lib/block/storage.h"

namespace atl::vm {
namespace {

absl::StatusOr<std::unique_ptr<block::Image>> CreateAndOpen(const block::CreateRequest& request) {
  RETURN_IF_ERROR(block::CreateImage(request));
  block::OpenOptions options;
  options.format = request.format;
  options.writable = true;
  options.no_flush = true;
  return block::Image::Open(request.path, options);
}

// An empty qcow2 over the image, in a file that has no name any more when this
// returns: however the process ends, nothing stays.
absl::StatusOr<std::unique_ptr<block::Image>> OpenOverlay(const ImageChoice& choice) {
  block::OpenOptions look;
  look.format = choice.format;
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> base, block::Image::Open(choice.file, look));
  char real[PATH_MAX];
  if (realpath(choice.file.c_str(), real) == nullptr) return ErrnoError(errno, choice.file);

  const char* folder = getenv("TMPDIR");
  std::string path = absl::StrCat(folder != nullptr && *folder != 0 ? folder : "/var/tmp",
                                  "/atoll-snapshot-XXXXXX");
  UniqueFd made(mkstemp(path.data()));
  if (!made.valid()) return ErrnoError(errno, absl::StrCat("-snapshot: ", path));
  block::CreateRequest request;
  request.path = path;
  request.format = "qcow2";
  request.size = base->size();
  request.options = {{"backing_file", real}, {"backing_fmt", base->format().name}};
  request.unsafe_backing = true;  // it has just been opened
  base.reset();
  absl::StatusOr<std::unique_ptr<block::Image>> overlay = CreateAndOpen(request);
  unlink(path.c_str());
  return overlay;
}

absl::StatusOr<std::unique_ptr<Drive>> OpenDrive(const DriveConfig& config, const host::FdSets& fds,
                                                 size_t place, size_t number) {
  auto drive = std::make_unique<Drive>();
  ASSIGN_OR_RETURN(drive->image,
                   OpenImage({config.file, config.format, config.read_only, config.snapshot}, fds));
  drive->disk = std::make_unique<WatchedDisk>(*drive->image);
  drive->name = DriveName(config, place);
  drive->file = config.file;
  drive->serial = SerialOf(config, number);
  return drive;
}

}  // namespace

absl::StatusOr<std::unique_ptr<block::Image>> OpenImage(const ImageChoice& choice,
                                                        const host::FdSets& fds) {
  const bool given = host::FdSets::Names(choice.file);
  if (choice.snapshot && !choice.read_only) {
    // An image over it would have to name it.
    if (given) {
      return absl::InvalidArgumentError(
          absl::StrCat(choice.file, ": a descriptor's image cannot have a snapshot"));
    }
    return OpenOverlay(choice);
  }
  block::OpenOptions options;
  options.format = choice.format;
  options.writable = !choice.read_only;
  if (given) return OpenGivenImage(choice.file, fds, options);
  return block::Image::Open(choice.file, options);
}

absl::StatusOr<std::unique_ptr<block::Image>> OpenGivenImage(const std::string& path,
                                                             const host::FdSets& fds,
                                                             const block::OpenOptions& options) {
  block::FileOptions file;
  file.writable = options.writable;
  if (!options.force_share) {
    file.lock = options.writable ? block::LockMode::kReadWrite : block::LockMode::kRead;
  }
  ASSIGN_OR_RETURN(UniqueFd fd, fds.Open(path, options.writable));
  ASSIGN_OR_RETURN(std::unique_ptr<block::Storage> storage,
                   block::OpenFd(std::move(fd), path, file));
  return block::Image::Open(std::move(storage), options);
}

std::string SerialOf(const DriveConfig& config, size_t number) {
  return config.serial.empty() ? absl::StrFormat("ATOLL%05d", number) : config.serial;
}

absl::StatusOr<Drives> Drives::Open(const MachineConfig& config) {
  Drives out;
  ASSIGN_OR_RETURN(IdePlaces places, PlaceIdeDrives(config));
  size_t number = 1;
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i] == nullptr || places[i]->media == Medium::kCdrom) continue;
    ASSIGN_OR_RETURN(out.ide[i], OpenDrive(*places[i], *config.fd_sets, i, number));
    ++number;
  }
  for (const DriveConfig& d : config.drives) {
    if (d.interface != DiskInterface::kVirtio) continue;
    ASSIGN_OR_RETURN(std::unique_ptr<Drive> drive,
                     OpenDrive(d, *config.fd_sets, out.virtio.size(), number));
    ++number;
    out.virtio.push_back(std::move(drive));
  }
  return out;
}

namespace {

DriveState State(const Drive& drive) {
  DriveState out;
  drive.disk->Count(&out);
  out.device = drive.name;
  out.file = drive.file;
  out.format = std::string(drive.image->format().name);
  out.size = drive.image->size();
  out.read_only = drive.image->read_only();
  return out;
}

}  // namespace

std::vector<DriveState> Drives::States() const {
  std::vector<DriveState> out;
  for (const std::unique_ptr<Drive>& d : ide) {
    if (d != nullptr) out.push_back(State(*d));
  }
  for (const std::unique_ptr<Drive>& d : virtio) out.push_back(State(*d));
  return out;
}

void Drives::SetErrorHandler(const OnError& handler) {
  const auto watch = [&handler](Drive& drive) {
    drive.disk->SetErrorHandler([handler, name = drive.name](bool write, absl::string_view error) {
      handler(name, write, error);
    });
  };
  for (const std::unique_ptr<Drive>& d : ide) {
    if (d != nullptr) watch(*d);
  }
  for (const std::unique_ptr<Drive>& d : virtio) watch(*d);
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
