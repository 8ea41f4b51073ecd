// SPDX-License-Identifier: Apache-2.0
// What devices ask of the machine as a whole.
#ifndef LIB_DEV_SYSTEM_CONTROL_H_
#define LIB_DEV_SYSTEM_CONTROL_H_

#include <cstdint>

namespace atl::dev {

// Called with the device's lock held, on any thread: the machine takes note and
// acts later, it never blocks or calls a device from here.
class SystemControl {
 public:
  virtual ~SystemControl() = default;
  virtual void RequestReset() = 0;
  virtual void RequestPowerOff() = 0;
  // isa-debug-exit: the process ends with this status.
  virtual void RequestExit(int status) = 0;
  virtual void SetA20(bool enabled) = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_SYSTEM_CONTROL_H_
