// SPDX-License-Identifier: Apache-2.0
// What the guest finds in memory when it starts: a kernel that is entered
// directly, with the tables that firmware would have made, or a firmware image.
#ifndef LIB_VM_FIRMWARE_H_
#define LIB_VM_FIRMWARE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"
#include "lib/mem/guest_memory.h"
#include "lib/vm/board.h"
#include "lib/vm/config.h"

namespace atl::vm {

class Firmware {
 public:
  virtual ~Firmware() = default;

  // For `config`: its kernel, or its -bios, or the SeaBIOS of Debian's package.
  // Both arguments outlive the result.
  static absl::StatusOr<std::unique_ptr<Firmware>> Create(const MachineConfig& config,
                                                          GuestMemory& memory);

  // What concerns the board: ROMs, fw_cfg files. Once, before the first Load().
  virtual absl::Status Attach(Board& board) = 0;
  // Memory contents and the first vCPU's registers, at the start and after every
  // reset: board and vCPUs have been reset and stand still. A kernel's files are
  // read again each time.
  virtual absl::Status Load(Board& board, cpu::Vcpu& vcpu) = 0;
};

}  // namespace atl::vm

#endif  // LIB_VM_FIRMWARE_H_
