// SPDX-License-Identifier: Apache-2.0
// The commands of the floppy controller (Intel 82077AA, 5), for fdc.cc.
#ifndef LIB_FLOPPY_FDC_COMMANDS_H_
#define LIB_FLOPPY_FDC_COMMANDS_H_

#include <cstdint>

#include "lib/floppy/fdc.h"

namespace atl::floppy {

// Status register 0.
inline constexpr uint8_t kAbnormal = 0x40;
inline constexpr uint8_t kInvalid = 0x80;
inline constexpr uint8_t kSeekEnd = 0x20;
inline constexpr uint8_t kEquipment = 0x10;
// Status register 1.
inline constexpr uint8_t kEndOfCylinder = 0x80;
inline constexpr uint8_t kDataError = 0x20;
inline constexpr uint8_t kNoData = 0x04;
inline constexpr uint8_t kNotWritable = 0x02;
inline constexpr uint8_t kNoAddressMark = 0x01;
// Status register 2.
inline constexpr uint8_t kDataErrorInData = 0x20;
inline constexpr uint8_t kWrongCylinder = 0x10;

struct Fdc::Commands {
  // Bytes of the command that begins with this one, itself included; at most 9.
  static uint8_t Length(uint8_t first);
  // The command in the FIFO is complete.
  static void Run(Fdc& fdc);

 private:
  struct Row;
  struct Handlers;
  static const Row& Find(uint8_t first);
};

}  // namespace atl::floppy

#endif  // LIB_FLOPPY_FDC_COMMANDS_H_
