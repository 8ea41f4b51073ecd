// SPDX-License-Identifier: Apache-2.0
// The 82540EM's receiver: address filters, checksums, and the descriptor ring
// (317453, 3.2 and 10).
#ifndef LIB_NIC_E1000_RECEIVE_H_
#define LIB_NIC_E1000_RECEIVE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "lib/mem/guest_memory.h"
#include "lib/nic/e1000_registers.h"

namespace atl::nic::e1000 {

class Receiver {
 public:
  Receiver(Registers& registers, GuestMemory& memory) : registers_(registers), memory_(memory) {}

  enum class Verdict : uint8_t {
    kDropped,
    kStored,
    kNoRoom,  // the driver's descriptors are used up: nothing happened
  };
  // `checked`: the transport checksum is known to be right. `below_minimum` is
  // set where free descriptors became few (RXDMT0).
  Verdict Receive(std::span<const uint8_t> frame, bool checked, bool& below_minimum);

 private:
  struct Match {
    bool taken = false;
    bool exact = false;
  };
  Match Filter(std::span<const uint8_t> frame) const;
  void Checksums(std::span<const uint8_t> frame, bool checked, uint8_t& status,
                 uint8_t& errors) const;
  uint32_t buffer_bytes() const;

  Registers& registers_;
  GuestMemory& memory_;
  std::vector<uint8_t> bytes_;  // scratch: what goes to memory
};

}  // namespace atl::nic::e1000

#endif  // LIB_NIC_E1000_RECEIVE_H_
