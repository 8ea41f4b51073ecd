// SPDX-License-Identifier: Apache-2.0
// Which writes of a PC's guest a VM may post, and their way to the devices.
#ifndef LIB_VM_POSTED_H_
#define LIB_VM_POSTED_H_

#include <span>

#include "lib/cpu/backend.h"
#include "lib/dev/bus.h"
#include "lib/dev/posted_writes.h"

namespace atl::vm {

// Registers that do nothing when they are written: the device acts on another one, which
// comes to it, and brings these before it. Nothing whose range has a register that acts,
// for a posted write of one would be late: not the PCI address port, among whose bytes
// is the reset port.
std::span<const cpu::PostedRange> PostedRanges();

// Between `vm` and the bus, which both outlive it.
class PostedPath final : public dev::PostedWrites {
 public:
  // Before the VM's first vCPU is made.
  PostedPath(cpu::Vm& vm, dev::Bus& bus);
  // Whether the VM posts at all.
  bool used() const { return used_; }

  void Deliver() override { vm_.DeliverPosted(); }
  void MayWait(bool may) override { vm_.LetSeenWait(may); }

 private:
  cpu::Vm& vm_;
  const bool used_;
};

}  // namespace atl::vm

#endif  // LIB_VM_POSTED_H_
