// SPDX-License-Identifier: Apache-2.0
// An interrupt line, as the device sees it. Level: the device holds it high as
// long as it wants service. An edge is Set(true), Set(false).
#ifndef LIB_DEV_IRQ_H_
#define LIB_DEV_IRQ_H_

#include <cstdint>

namespace atl::dev {

// Callable from any thread, with the calling device's lock held: interrupt
// controllers have a lock of their own, below all devices', and call back none.
class IrqLine {
 public:
  virtual ~IrqLine() = default;
  virtual void Set(bool level) = 0;
};

// Message-signalled interrupts: a write of `data` to `address` in the range
// 0xFEExxxxx (Intel SDM vol. 3, 11.11). Same thread rule.
class MsiSink {
 public:
  virtual ~MsiSink() = default;
  virtual void SendMsi(uint64_t address, uint32_t data) = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_IRQ_H_
