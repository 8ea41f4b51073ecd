// SPDX-License-Identifier: Apache-2.0
// What a chip is, apart from its wiring.
//
// A device is a plain class built from the lines, clocks, disks and streams it
// needs; it has no threads, fds, addresses or locks. Regions are its windows:
// a port range or an MMIO range, numbered by the device, mapped by the machine.
// The bus calls it with the device's lock held (bus.h), splits accesses wider
// than max_access, and gives reads of nothing as all ones.
#ifndef LIB_DEV_DEVICE_H_
#define LIB_DEV_DEVICE_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace atl::dev {

class StateVisitor;

class Device {
 public:
  virtual ~Device() = default;

  // The field's name for it: "i8259", "ns16550", "virtio-blk".
  virtual absl::string_view name() const = 0;
  // To the state after power-on.
  virtual void Reset() = 0;
  // `offset` is within the region, `size` 1, 2, 4 or 8, the access inside the
  // region. Guest input: every value of every argument is possible.
  virtual uint64_t Read(unsigned region, uint64_t offset, unsigned size) = 0;
  virtual void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) = 0;
  virtual void VisitState(StateVisitor& v) = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_DEVICE_H_
