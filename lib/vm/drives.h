// SPDX-License-Identifier: Apache-2.0
// The machine's disks: opened images, and what the devices are told of them.
#ifndef LIB_VM_DRIVES_H_
#define LIB_VM_DRIVES_H_

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/block/image.h"
#include "lib/vm/config.h"
#include "lib/vm/control.h"
#include "lib/vm/watched_disk.h"

namespace atl::vm {

struct Drive {
  std::string serial;
  std::string file;  // as it was named
  std::unique_ptr<block::Image> image;
  std::unique_ptr<WatchedDisk> disk;  // the image as the device sees it
};

struct Drives {
  std::array<std::unique_ptr<Drive>, 4> ide;  // hda to hdd; null for none
  std::vector<std::unique_ptr<Drive>> virtio;

  // Opens every image that `config` names, writable where it may be written.
  static absl::StatusOr<Drives> Open(const MachineConfig& config);
  // What they are and did, with the names that monitors know them by.
  std::vector<DriveState> States() const;
  // Called, on any thread, when a device's request failed.
  using OnError =
      std::function<void(absl::string_view device, bool write, absl::string_view error)>;
  void SetErrorHandler(const OnError& handler);
  // Writes what is pending; the first error, with the rest tried all the same.
  absl::Status Close();
};

}  // namespace atl::vm

#endif  // LIB_VM_DRIVES_H_
