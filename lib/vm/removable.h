// SPDX-License-Identifier: Apache-2.0
// Media behind drives: opens images, puts them into CD and floppy drives and
// takes them out.
#ifndef LIB_VM_REMOVABLE_H_
#define LIB_VM_REMOVABLE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/base/mutex.h"
#include "lib/block/disk.h"
#include "lib/block/image.h"
#include "lib/dev/device_lock.h"
#include "lib/host/fd_sets.h"
#include "lib/vm/config.h"
#include "lib/vm/media.h"

namespace atl::vm {

// A drive as this sees it; called with the drive's device lock held.
class MediumPort {
 public:
  virtual ~MediumPort() = default;
  virtual bool cdrom() const = 0;
  virtual bool tray_open() const = 0;
  virtual bool locked() const = 0;
  virtual void OpenTray() = 0;
  virtual void CloseTray() = 0;
  virtual void RequestEject() = 0;
  // Whether the drive can take a medium like this; the error says what it takes.
  virtual absl::Status Accepts(const block::Disk& medium) const = 0;
  // `at_start`: before the guest first runs.
  virtual void Insert(std::shared_ptr<block::Disk> medium, bool at_start) = 0;
  virtual void Remove() = 0;
  virtual void SetTrayHandler(std::function<void(bool open)> handler) = 0;
};

class RemovableDrives final : public Media {
 public:
  // `fds` outlives it: what names of descriptor sets stand for.
  explicit RemovableDrives(const host::FdSets& fds) : fds_(fds) {}
  // Adds a drive with the medium that `config` names, if any. Before the guest
  // runs; `lock` outlives this object.
  absl::Status Add(std::string name, const DriveConfig& config, dev::DeviceLock& lock,
                   std::unique_ptr<MediumPort> port);
  // Writes what is pending; the first error, with the rest tried all the same.
  absl::Status Close();

  std::vector<MediumState> List() override;
  absl::Status OpenTray(absl::string_view device, bool force) override;
  absl::Status CloseTray(absl::string_view device) override;
  absl::Status Remove(absl::string_view device) override;
  absl::Status Insert(absl::string_view device, const MediumOptions& medium) override;
  absl::Status Eject(absl::string_view device, bool force) override;
  absl::Status Change(absl::string_view device, const MediumOptions& medium, bool force) override;
  void SetTrayHandler(std::function<void(absl::string_view device, bool open)> handler) override;

 private:
  struct Drive {
    std::string name;
    bool snapshot = false;
    dev::DeviceLock* lock = nullptr;
    std::unique_ptr<MediumPort> port;
    std::shared_ptr<block::Image> image;  // what the port has, or null
    std::string file;
    bool read_only = false;
  };

  absl::StatusOr<Drive*> Find(absl::string_view device) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<block::Image>> Open(const Drive& drive,
                                                     const MediumOptions& medium);
  static absl::Status Open(Drive& drive, bool force);
  static absl::Status TakeOut(Drive& drive);
  static void PutIn(Drive& drive, const MediumOptions& medium, std::shared_ptr<block::Image> image,
                    bool at_start);

  const host::FdSets& fds_;
  Mutex mutex_;  // before any device's lock
  std::vector<Drive> drives_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::string_view device, bool open)> handler_;
};

}  // namespace atl::vm

#endif  // LIB_VM_REMOVABLE_H_
