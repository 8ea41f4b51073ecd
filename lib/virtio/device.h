// SPDX-License-Identifier: Apache-2.0
// A virtio device apart from its transport: what it is, its configuration
// bytes, and what it does with its queues. A transport (pci.h) shows it to the
// guest, negotiates, and owns the queues.
//
// Thread rule: everything with the device's lock held, which is one for both.
#ifndef LIB_VIRTIO_DEVICE_H_
#define LIB_VIRTIO_DEVICE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/dev/state.h"
#include "lib/virtio/queue.h"

namespace atl::virtio {

inline constexpr uint64_t Bit(unsigned n) { return uint64_t{1} << n; }
// Reserved feature bits (VIRTIO 1.2, 6); the transport offers them.
inline constexpr uint64_t kAnyLayout = Bit(27);
inline constexpr uint64_t kIndirectDesc = Bit(28);
inline constexpr uint64_t kEventIndex = Bit(29);
inline constexpr uint64_t kVersion1 = Bit(32);

class Transport {
 public:
  virtual ~Transport() = default;
  // Null where the driver has not set this queue up, and after Fail().
  virtual VirtQueue* queue(unsigned index) = 0;
  // What the driver accepted; 0 before.
  virtual uint64_t features() const = 0;
  // Tells the driver of used buffers, if the queue says that it wants to know.
  virtual void Interrupt(unsigned queue) = 0;
  // Tells the driver that configuration bytes changed.
  virtual void ConfigChanged() = 0;
  // The queue is somebody's who waits for `kick` and tells the driver by `call`, eventfds that
  // stay open until Undelegate(): notifications that do not go there by themselves come to
  // Notify(). False where nobody could wait for `call`. Undone by a reset, too.
  virtual bool Delegate(unsigned /*queue*/, int /*kick*/, int /*call*/) { return false; }
  virtual void Undelegate() {}
  // The driver broke a rule: no queue is touched until it resets the device.
  virtual void Fail(const absl::Status& why) = 0;
};

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  virtual absl::string_view name() const = 0;
  virtual uint16_t type() const = 0;                      // VIRTIO 1.2, 5
  virtual uint32_t pci_class() const = 0;                 // 24 bits
  virtual uint64_t features() const = 0;                  // without the reserved bits
  virtual std::vector<uint16_t> queue_sizes() const = 0;  // the largest of each

  // Once, by the transport, which outlives the device's use.
  virtual void Connect(Transport* transport) = 0;

  // Configuration bytes. A read past the end gives zeroes, a write past the end
  // or to what cannot be changed does nothing.
  virtual unsigned config_bytes() const = 0;
  virtual void ReadConfig(uint64_t offset, std::span<uint8_t> to) = 0;
  virtual void WriteConfig(uint64_t /*offset*/, std::span<const uint8_t> /*from*/) {}

  // The driver says that it is ready (DRIVER_OK): what the device does of its own
  // accord begins. Notify() of each queue follows.
  virtual void Started() {}
  // The driver made chains available in this queue, or says so.
  virtual void Notify(unsigned queue) = 0;
  // The transport drops the queues right after: when this returns, nothing of
  // the device touches them or guest memory any more.
  virtual void Reset() = 0;
  // Before the transport saves its queues, and the device after them.
  virtual void BeforeSave() {}
  // Only with nothing in flight.
  virtual void VisitState(dev::StateVisitor& v) = 0;
};

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_DEVICE_H_
