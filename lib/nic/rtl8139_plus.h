// SPDX-License-Identifier: Apache-2.0
// The descriptor rings of the RTL8139C+: two for transmission, with checksums and
// large send, one for reception (data sheet, "C+ mode").
//
// A ring has at most 64 descriptors, whatever its marks say, and no call looks at
// more: a ring that leads into itself costs one turn.
#ifndef LIB_NIC_RTL8139_PLUS_H_
#define LIB_NIC_RTL8139_PLUS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "lib/dev/state.h"
#include "lib/mem/guest_memory.h"
#include "lib/nic/rtl8139_registers.h"
#include "lib/nic/transmission.h"

namespace atl::nic::rtl8139 {

// One of the rings that send.
class PlusTransmitter {
 public:
  // `low`: kTsad0 or kTsad2, where the ring's address stands.
  PlusTransmitter(Registers& registers, GuestMemory& memory, Transmission& out, Reg low)
      : registers_(registers), memory_(memory), out_(out), low_(low) {}

  struct Outcome {
    unsigned sent = 0;        // frames
    bool emptied = false;     // came to a descriptor that is the driver's
    bool unfinished = false;  // the budget is spent: call again
  };
  // Stops where `out` is busy.
  Outcome Run();
  bool in_frame() const { return begun_; }
  void Reset();
  void VisitState(dev::StateVisitor& v);

 private:
  Transmission::Plan MakePlan();

  Registers& registers_;
  GuestMemory& memory_;
  Transmission& out_;
  const Reg low_;
  uint8_t next_ = 0;  // below 64
  bool begun_ = false;
  uint32_t command_ = 0;  // of the frame's first descriptor
  uint32_t vlan_ = 0;
};

class PlusReceiver {
 public:
  PlusReceiver(Registers& registers, GuestMemory& memory)
      : registers_(registers), memory_(memory) {}

  enum class Verdict : uint8_t { kDropped, kStored, kNoRoom };
  // `frame`: padded, without the check sequence. `match`: the bits of the status
  // that say how the address matched.
  Verdict Receive(std::span<const uint8_t> frame, uint32_t match, bool checked);
  void Reset() { next_ = 0; }
  void VisitState(dev::StateVisitor& v);

 private:
  Registers& registers_;
  GuestMemory& memory_;
  uint8_t next_ = 0;            // below 64
  std::vector<uint8_t> bytes_;  // scratch: what goes to memory
};

// How the address matched, in a received frame's status.
inline constexpr uint32_t kMatchMulticast = 1 << 26;
inline constexpr uint32_t kMatchOwn = 1 << 25;
inline constexpr uint32_t kMatchBroadcast = 1 << 24;

}  // namespace atl::nic::rtl8139

#endif  // LIB_NIC_RTL8139_PLUS_H_
