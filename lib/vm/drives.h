// SPDX-License-Identifier: Apache-2.0
// The machine's fixed disks: opened images, and what the devices are told of
// them. Drives with removable media are in removable.h.
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
#include "lib/host/fd_sets.h"
#include "lib/vm/config.h"
#include "lib/vm/control.h"
#include "lib/vm/watched_disk.h"

namespace atl::vm {

struct ImageChoice {
  std::string file;
  std::string format;  // empty: probed
  bool read_only = false;
  // What is written goes to a file without a name, which ends with the image.
  bool snapshot = false;
};
// `fds`: what names of descriptor sets stand for.
absl::StatusOr<std::unique_ptr<block::Image>> OpenImage(const ImageChoice& choice,
                                                        const host::FdSets& fds);
// The image that is in a descriptor of the set that `path` names.
absl::StatusOr<std::unique_ptr<block::Image>> OpenGivenImage(const std::string& path,
                                                             const host::FdSets& fds,
                                                             const block::OpenOptions& options);

struct Drive {
  std::string name;  // what monitors know it by
  std::string serial;
  std::string file;  // as it was named
  std::unique_ptr<block::Image> image;
  std::unique_ptr<WatchedDisk> disk;  // the image as the device sees it
};

// The serial number that a drive shows where its user gave none.
std::string SerialOf(const DriveConfig& config, size_t number);

struct Drives {
  std::array<std::unique_ptr<Drive>, 4> ide;  // hda to hdd; null for none
  std::vector<std::unique_ptr<Drive>> virtio;

  // Opens every disk image that `config` names, writable where it may be written.
  static absl::StatusOr<Drives> Open(const MachineConfig& config);
  // What they are and did.
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
