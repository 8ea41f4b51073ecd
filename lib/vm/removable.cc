// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/removable.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/vm/drives.h"

namespace atl::vm {

absl::StatusOr<RemovableDrives::Drive*> RemovableDrives::Find(absl::string_view device) {
  std::vector<absl::string_view> names;
  for (Drive& d : drives_) {
    if (d.name == device) return &d;
    names.push_back(d.name);
  }
  return absl::NotFoundError(
      absl::StrCat("no drive '", device, "' with removable media; there ",
                   names.empty() ? "is none" : absl::StrCat("is ", absl::StrJoin(names, ", "))));
}

absl::StatusOr<std::shared_ptr<block::Image>> RemovableDrives::Open(const Drive& drive,
                                                                    const MediumOptions& medium) {
  ImageChoice choice;
  choice.file = medium.file;
  choice.format = medium.format;
  choice.read_only = medium.read_only;
  choice.snapshot = drive.snapshot;
  if (drive.port->cdrom()) {
    // A CD is its bytes: no guess makes it anything else.
    if (choice.format.empty()) choice.format = "raw";
    choice.read_only = true;
    choice.snapshot = false;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<block::Image> image, OpenImage(choice, fds_));
  absl::Status fits = drive.lock->Run([&] { return drive.port->Accepts(*image); });
  if (!fits.ok()) return fits;
  return image;
}

absl::Status RemovableDrives::Open(Drive& drive, bool force) {
  return drive.lock->Run([&]() -> absl::Status {
    if (drive.port->tray_open()) return absl::OkStatus();
    if (drive.port->locked() && !force) {
      drive.port->RequestEject();
      return absl::FailedPreconditionError(absl::StrCat(
          drive.name, ": the guest has locked the tray; it was asked to eject the medium"));
    }
    drive.port->OpenTray();
    return absl::OkStatus();
  });
}

// The guest's requests that are under way keep the image until they are done.
absl::Status RemovableDrives::TakeOut(Drive& drive) {
  drive.lock->Run([&] { drive.port->Remove(); });
  std::shared_ptr<block::Image> image = std::exchange(drive.image, nullptr);
  drive.file.clear();
  if (image == nullptr) return absl::OkStatus();
  return image.use_count() == 1 ? image->Close() : image->Flush();
}

void RemovableDrives::PutIn(Drive& drive, const MediumOptions& medium,
                            std::shared_ptr<block::Image> image, bool at_start) {
  drive.image = std::move(image);
  drive.file = medium.file;
  drive.read_only = drive.image->read_only();
  drive.lock->Run([&] { drive.port->Insert(drive.image, at_start); });
}

absl::Status RemovableDrives::Add(std::string name, const DriveConfig& config,
                                  dev::DeviceLock& lock, std::unique_ptr<MediumPort> port) {
  Drive drive;
  drive.name = std::move(name);
  drive.snapshot = config.snapshot;
  drive.lock = &lock;
  drive.port = std::move(port);
  drive.port->SetTrayHandler([this, name = drive.name](bool open) {
    if (handler_) handler_(name, open);
  });
  if (!config.file.empty()) {
    const MediumOptions medium{config.file, config.format, config.read_only};
    ASSIGN_OR_RETURN(std::shared_ptr<block::Image> image, Open(drive, medium));
    PutIn(drive, medium, std::move(image), /*at_start=*/true);
  }
  MutexLock mutex(&mutex_);
  drives_.push_back(std::move(drive));
  return absl::OkStatus();
}

absl::Status RemovableDrives::Close() {
  MutexLock mutex(&mutex_);
  absl::Status first;
  for (Drive& d : drives_) {
    if (d.image != nullptr) first.Update(d.image->Close());
  }
  return first;
}

std::vector<MediumState> RemovableDrives::List() {
  MutexLock mutex(&mutex_);
  std::vector<MediumState> out;
  for (Drive& d : drives_) {
    MediumState s;
    s.device = d.name;
    s.cdrom = d.port->cdrom();
    d.lock->Run([&] {
      s.tray_open = d.port->tray_open();
      s.locked = d.port->locked();
    });
    s.inserted = d.image != nullptr;
    if (s.inserted) {
      s.file = d.file;
      s.format = d.image->format().name;
      s.size = d.image->size();
      s.read_only = d.read_only;
    }
    out.push_back(std::move(s));
  }
  return out;
}

absl::Status RemovableDrives::OpenTray(absl::string_view device, bool force) {
  MutexLock mutex(&mutex_);
  ASSIGN_OR_RETURN(Drive * drive, Find(device));
  return Open(*drive, force);
}

absl::Status RemovableDrives::CloseTray(absl::string_view device) {
  MutexLock mutex(&mutex_);
  ASSIGN_OR_RETURN(Drive * drive, Find(device));
  drive->lock->Run([&] { drive->port->CloseTray(); });
  return absl::OkStatus();
}

absl::Status RemovableDrives::Remove(absl::string_view device) {
  MutexLock mutex(&mutex_);
  ASSIGN_OR_RETURN(Drive * drive, Find(device));
  const bool reachable =
      drive->lock->Run([&] { return drive->port->tray_open() || !drive->port->cdrom(); });
  if (!reachable) {
    return absl::FailedPreconditionError(absl::StrCat(drive->name, ": the tray is closed"));
  }
  return TakeOut(*drive);
}

absl::Status RemovableDrives::Insert(absl::string_view device, const MediumOptions& medium) {
  MutexLock mutex(&mutex_);
  ASSIGN_OR_RETURN(Drive * drive, Find(device));
  if (drive->image != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(drive->name, ": there is a medium in it: ", drive->file));
  }
  const bool reachable =
      drive->lock->Run([&] { return drive->port->tray_open() || !drive->port->cdrom(); });
  if (!reachable) {
    return absl::FailedPreconditionError(absl::StrCat(drive->name, ": the tray is closed"));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<block::Image> image, Open(*drive, medium));
  PutIn(*drive, medium, std::move(image), /*at_start=*/false);
  return absl::OkStatus();
}

absl::Status RemovableDrives::Eject(absl::string_view device, bool force) {
  MutexLock mutex(&mutex_);
  ASSIGN_OR_RETURN(Drive * drive, Find(device));
  RETURN_IF_ERROR(Open(*drive, force));
  return TakeOut(*drive);
}

absl::Status RemovableDrives::Change(absl::string_view device, const MediumOptions& medium,
                                     bool force) {
  MutexLock mutex(&mutex_);
  ASSIGN_OR_RETURN(Drive * drive, Find(device));
  ASSIGN_OR_RETURN(std::shared_ptr<block::Image> image, Open(*drive, medium));
  RETURN_IF_ERROR(Open(*drive, force));
  absl::Status taken = TakeOut(*drive);
  PutIn(*drive, medium, std::move(image), /*at_start=*/false);
  drive->lock->Run([&] { drive->port->CloseTray(); });
  return taken;
}

void RemovableDrives::SetTrayHandler(
    std::function<void(absl::string_view device, bool open)> handler) {
  handler_ = std::move(handler);
}

}  // namespace atl::vm
