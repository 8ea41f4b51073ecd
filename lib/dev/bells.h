// SPDX-License-Identifier: Apache-2.0
// Doorbells: registers of a device by which a driver only says that there is work. A
// hypervisor's kernel side can take such a write itself and wake a thread, so that the
// vCPU does not leave the guest for it longer than that. And interrupts that go the other
// way: from whoever signals an eventfd past the device's code into the guest.
//
// The machine gives each device that is worth it Bells of its own; what they cannot do
// (no such kernel, too many) the bus and SendMsi() do as always.
#ifndef LIB_DEV_BELLS_H_
#define LIB_DEV_BELLS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace atl::dev {

struct BellPlace {
  bool port = false;  // in port space
  uint64_t address = 0;
  unsigned size = 0;              // 1, 2 or 4 bytes; 0: any
  std::optional<uint16_t> value;  // only where this is written; with a size
  friend bool operator==(const BellPlace&, const BellPlace&) = default;
};

// Thread rule for all of it: with the device's lock held.

// Rings until it is destroyed.
class Bell {
 public:
  virtual ~Bell() = default;
};

// An MSI that an eventfd sends, see Bells.
class MessageFd {
 public:
  virtual ~MessageFd() = default;
  virtual bool Send(uint64_t address, uint32_t data) = 0;
  virtual void Hold() = 0;
};

class Bells {
 public:
  virtual ~Bells() = default;
  // From now on the guest's writes there run `ring`, soon, on a thread that is no vCPU's,
  // with the device's lock held, and reach the bus no more. Several may be one `ring`,
  // and one that was under way when the bell went may be none. Null: not to be had.
  virtual std::unique_ptr<Bell> Hang(const BellPlace& place, std::function<void()> ring) = 0;
  // The same for whoever waits for `fd`, an eventfd that outlives the bell.
  virtual std::unique_ptr<Bell> HangFd(const BellPlace& place, int fd) = 0;
  // Runs `ready` as a bell rings, while `fd` is readable; the latter outlives the bell.
  virtual std::unique_ptr<Bell> WatchFd(int fd, std::function<void()> ready) = 0;
  // What is written to `fd` sends the message of the latest Send(), and after Hold() waits
  // for the next. It holds at first. `fd` outlives it. Null: not to be had.
  virtual std::unique_ptr<MessageFd> NewMessageFd(int fd) = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_BELLS_H_
