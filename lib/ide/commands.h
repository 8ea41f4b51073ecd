// SPDX-License-Identifier: Apache-2.0
// The commands of ATA disks (commands.cc) and of packet drives (atapi.cc), for
// channel.cc: ATA/ATAPI-7 volume 1, 6; volume 2, 11.8 for packets.
#ifndef LIB_IDE_COMMANDS_H_
#define LIB_IDE_COMMANDS_H_

#include <cstdint>
#include <vector>

#include "lib/ide/channel.h"

namespace atl::ide {

struct Commands {
  struct Row {
    uint8_t opcode;
    void (*run)(Channel& channel, uint8_t opcode);
  };
  // Null where a disk does not have the command.
  static const Row* FindDiskCommand(uint8_t opcode);
  static const Row* FindCdCommand(uint8_t opcode);

  // The host has written a packet, or taken a block of data.
  static void OnCdBlockDone(Channel& channel);
  // The bus master is ready for a packet's data.
  static void RunCdDma(Channel& channel);
  // Loaded state that those two can work with.
  static bool IsSoundCd(const Channel& channel, const std::vector<uint8_t>& buffer);

 private:
  struct Disk;
  struct Cd;
};

}  // namespace atl::ide

#endif  // LIB_IDE_COMMANDS_H_
