// SPDX-License-Identifier: Apache-2.0
// One channel's bus master registers ("Programming Interface for Bus Master IDE
// Controller", 1.0): command, status, and the address of a table of physical
// region descriptors in guest memory.
#ifndef LIB_IDE_BUS_MASTER_H_
#define LIB_IDE_BUS_MASTER_H_

#include <cstdint>
#include <optional>

#include "lib/dev/state.h"
#include "lib/mem/guest_memory.h"
#include "lib/work/guest_io.h"

namespace atl::ide {

// Thread rule: with the device's lock held.
class BusMaster {
 public:
  static constexpr unsigned kPorts = 8;
  // A table lies within 64 KiB: no more descriptors are looked at.
  static constexpr unsigned kMaxDescriptors = 8192;

  enum class Event { kNone, kStarted, kStopped };

  void Reset() { *this = BusMaster(); }
  uint8_t Read(unsigned offset) const;
  Event Write(unsigned offset, uint8_t value);

  bool started() const { return (command_ & 1) != 0; }
  // Whether the guest set it up for the device's data to go to memory.
  bool to_memory() const { return (command_ & 8) != 0; }

  // Collects the first `bytes` bytes that the table describes. Nothing where it
  // describes fewer, or a part is not RAM. `*exhausted`: the table ends there.
  std::optional<work::GuestPieces> Gather(GuestMemory& memory, uint64_t bytes, bool* exhausted);

  void OnInterrupt() { status_ |= kInterrupt; }
  // The end of a transfer; `active` where the table had more.
  void Finish(bool error, bool active);

  void VisitState(dev::StateVisitor& v);

 private:
  static constexpr uint8_t kActive = 1;
  static constexpr uint8_t kError = 2;
  static constexpr uint8_t kInterrupt = 4;
  static constexpr uint8_t kDriveBits = 0x60;  // the driver's notes

  uint8_t command_ = 0;
  uint8_t status_ = 0;
  uint32_t table_ = 0;
};

}  // namespace atl::ide

#endif  // LIB_IDE_BUS_MASTER_H_
