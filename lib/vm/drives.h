// SPDX-License-Identifier: Apache-2.0
// The machine's disks: opened images, and what the devices are told of them.
#ifndef LIB_VM_DRIVES_H_
#define LIB_VM_DRIVES_H_

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/block/image.h"
#include "lib/vm/config.h"

namespace atl::vm {

struct Drive {
  std::string serial;
  std::unique_ptr<block::Image> image;
};

struct Drives {
  std::array<std::unique_ptr<Drive>, 4> ide;  // hda to hdd; null for none
  std::vector<std::unique_ptr<Drive>> virtio;

  // Opens every image that `config` names, writable where it may be written.
  static absl::StatusOr<Drives> Open(const MachineConfig& config);
  // Writes what is pending; the first error, with the rest tried all the same.
  absl::Status Close();
};

}  // namespace atl::vm

#endif  // LIB_VM_DRIVES_H_
