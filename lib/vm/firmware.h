// SPDX-License-Identifier: Apache-2.0
// What the guest finds in memory when it starts: a kernel that is started
// directly, or a firmware image.
#ifndef LIB_VM_FIRMWARE_H_
#define LIB_VM_FIRMWARE_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"
#include "lib/mem/guest_memory.h"
#include "lib/vm/config.h"

namespace atl::vm {

class Board;

// The files are read once; Load() puts their contents in place before the start
// and after every reset, so that a restarted guest is the same guest even when
// the files have changed meanwhile.
class Firmware {
 public:
  virtual ~Firmware() = default;

  // Reads and checks the files that `config` names.
  static absl::StatusOr<std::unique_ptr<Firmware>> Create(const MachineConfig& config,
                                                          GuestMemory& memory);

  // What concerns the board: ROM mappings, fw_cfg files. Once.
  virtual absl::Status Attach(Board& board) = 0;
  // Memory contents and the first vCPU's registers. All vCPUs are reset and
  // stand still.
  virtual absl::Status Load(Board& board, cpu::Vcpu& vcpu) = 0;
};

}  // namespace atl::vm

#endif  // LIB_VM_FIRMWARE_H_
