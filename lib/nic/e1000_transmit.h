// SPDX-License-Identifier: Apache-2.0
// The 82540EM's transmitter: from the descriptor ring to frames (317453, 3.3).
//
// Work per call is bounded in descriptors, bytes and frames, whatever the ring
// says of itself; the card goes on after others had their turn.
#ifndef LIB_NIC_E1000_TRANSMIT_H_
#define LIB_NIC_E1000_TRANSMIT_H_

#include <cstdint>

#include "lib/dev/state.h"
#include "lib/mem/guest_memory.h"
#include "lib/nic/e1000_registers.h"
#include "lib/nic/transmission.h"

namespace atl::nic::e1000 {

class Transmitter {
 public:
  // All three outlive it. `out` sends where the card says.
  Transmitter(Registers& registers, GuestMemory& memory, Transmission& out)
      : registers_(registers), memory_(memory), out_(out) {}

  struct Outcome {
    bool written = false;  // descriptors were given back: now, or after a delay
    bool written_later = false;
    bool emptied = false;     // the last descriptor was taken
    bool unfinished = false;  // the budget is spent: call again
  };
  Outcome Run();

  void Reset();
  void VisitState(dev::StateVisitor& v);

 private:
  // TCP/IP context descriptor, 3.3.6.
  struct Context {
    uint32_t ip = 0;       // IPCSS, IPCSO, IPCSE
    uint32_t payload = 0;  // TUCSS, TUCSO, TUCSE
    uint8_t command = 0;   // TUCMD
    uint8_t headers = 0;   // HDRLEN
    uint16_t segment = 0;  // MSS
  };

  void Data(uint64_t address, uint32_t low, uint32_t high);
  Transmission::Plan ContextPlan(const Context& c, uint8_t options) const;
  void Finish(bool extended, bool segments, uint32_t low, uint32_t high);
  void WriteBack(Gpa at, uint32_t low, uint32_t high, Outcome& outcome);

  Registers& registers_;
  GuestMemory& memory_;
  Transmission& out_;
  Context contexts_[2];  // the second for segmentation
  // Of the frame whose first descriptors have come.
  bool begun_ = false;
  bool tagged_ = false;
  uint8_t options_ = 0;  // POPTS
  uint16_t tag_ = 0;
};

}  // namespace atl::nic::e1000

#endif  // LIB_NIC_E1000_TRANSMIT_H_
