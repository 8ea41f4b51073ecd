// SPDX-License-Identifier: Apache-2.0
// The drives whose medium can be changed, as removable.h sees them.
#ifndef LIB_VM_MEDIUM_PORTS_H_
#define LIB_VM_MEDIUM_PORTS_H_

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/block/disk.h"
#include "lib/floppy/fdc.h"
#include "lib/floppy/geometry.h"
#include "lib/ide/cd_drive.h"
#include "lib/vm/removable.h"

namespace atl::vm {

// A CD drive, for who changes its medium.
class CdPort final : public MediumPort {
 public:
  explicit CdPort(ide::CdDrive& drive) : drive_(drive) {}
  bool cdrom() const override { return true; }
  bool tray_open() const override { return drive_.tray_open(); }
  bool locked() const override { return drive_.locked(); }
  void OpenTray() override { drive_.OpenTray(); }
  void CloseTray() override { drive_.CloseTray(); }
  void RequestEject() override { drive_.RequestEject(); }
  absl::Status Accepts(const block::Disk& medium) const override {
    if (medium.size() >= ide::CdDrive::kSectorBytes) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(medium.name(), ": no CD: shorter than a sector of 2048 bytes"));
  }
  void Insert(std::shared_ptr<block::Disk> medium, bool at_start) override {
    at_start ? drive_.Load(std::move(medium)) : drive_.Insert(std::move(medium));
  }
  void Remove() override { drive_.Remove(); }
  void SetTrayHandler(std::function<void(bool open)> handler) override {
    drive_.SetTrayHandler(std::move(handler));
  }

 private:
  ide::CdDrive& drive_;
};

// The same for a floppy drive, which has no tray.
class FloppyPort final : public MediumPort {
 public:
  FloppyPort(floppy::Fdc& controller, unsigned drive) : controller_(controller), drive_(drive) {}
  bool cdrom() const override { return false; }
  bool tray_open() const override { return false; }
  bool locked() const override { return false; }
  void OpenTray() override {}
  void CloseTray() override {}
  void RequestEject() override {}
  absl::Status Accepts(const block::Disk& medium) const override {
    const std::optional<floppy::Geometry> geometry = floppy::GeometryOf(medium.size());
    if (!geometry.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(medium.name(), ": no floppy disk has ", medium.size(), " bytes"));
    }
    const floppy::DriveType type = controller_.type(drive_);
    if (type == floppy::DriveType::kNone || floppy::Takes(type, *geometry)) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        medium.name(), ": the drive does not take a disk of ", medium.size(), " bytes"));
  }
  void Insert(std::shared_ptr<block::Disk> medium, bool) override {
    controller_.Insert(drive_, std::move(medium));
  }
  void Remove() override { controller_.Remove(drive_); }
  void SetTrayHandler(std::function<void(bool open)>) override {}

 private:
  floppy::Fdc& controller_;
  const unsigned drive_;
};

}  // namespace atl::vm

#endif  // LIB_VM_MEDIUM_PORTS_H_
