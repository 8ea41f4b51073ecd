// SPDX-License-Identifier: Apache-2.0
// Eventfds between a VM's kernel side and whoever serves its devices, threads of this
// process or of the kernel: a guest's write makes one readable without a way out to
// user space, and one that is written to interrupts the guest.
//
// Thread rule: every call from any thread; calls take what a change of the kernel's
// tables takes (milliseconds, on a busy host), and vCPUs may run meanwhile. What is made
// here goes before the Vm.
#ifndef LIB_CPU_EVENTFDS_H_
#define LIB_CPU_EVENTFDS_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"

namespace atl::cpu {

// A write of the guest's to one address. What does not fit comes to VcpuBus as always.
struct Doorbell {
  bool port = false;  // in port space
  uint64_t address = 0;
  unsigned size = 0;              // 1, 2 or 4; 0: any, or 2 where the kernel asks for one
  std::optional<uint16_t> value;  // only where this is written; with a size
};

// An interrupt that an eventfd sends.
class InterruptFd {
 public:
  virtual ~InterruptFd() = default;
  // From now on, and for writes to the eventfd since Hold().
  virtual absl::Status Send(const InterruptMessage& message) = 0;
  // The eventfd keeps what is written to it. At first.
  virtual void Hold() = 0;
};

class EventFds {
 public:
  static constexpr unsigned kMaxInterrupts = 256;

  virtual ~EventFds() = default;
  // `fd` becomes readable by each such write. AlreadyExists where there is a doorbell
  // already, ResourceExhausted where there are too many.
  virtual absl::Status AddDoorbell(const Doorbell& at, int fd) = 0;
  virtual void RemoveDoorbell(const Doorbell& at, int fd) = 0;
  // `fd` stays open as long as what is returned; ResourceExhausted past kMaxInterrupts.
  virtual absl::StatusOr<std::unique_ptr<InterruptFd>> NewInterrupt(int fd) = 0;
};

}  // namespace atl::cpu

#endif  // LIB_CPU_EVENTFDS_H_
