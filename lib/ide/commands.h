// SPDX-License-Identifier: Apache-2.0
// The commands of ATA disks (ATA/ATAPI-7 volume 1, 6), for channel.cc.
#ifndef LIB_IDE_COMMANDS_H_
#define LIB_IDE_COMMANDS_H_

#include <cstdint>

#include "lib/ide/channel.h"

namespace atl::ide {

struct Commands {
  struct Row {
    uint8_t opcode;
    void (*run)(Channel& channel, uint8_t opcode);
  };
  // Null where a disk does not have the command.
  static const Row* FindDiskCommand(uint8_t opcode);

 private:
  struct Disk;
};

}  // namespace atl::ide

#endif  // LIB_IDE_COMMANDS_H_
