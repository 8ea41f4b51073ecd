// SPDX-License-Identifier: Apache-2.0
// VMware's mouse, by which guests without a tablet learn where the pointer is: a
// read of 32 bits at port 0x5658 with a magic number in EAX is a call of the
// hypervisor, with its number in CX and its argument in EBX; answers stand in EAX
// to EDX (the open-vm-tools' backdoor_def.h, X.Org's vmmouse_proto.c, Linux's
// drivers/input/mouse/vmmouse.c). That there is something to ask for, a packet of
// the PS/2 mouse says, whose contents count for nothing then.
//
// The board calls Call(): a device on the bus does not see registers.
#ifndef LIB_DEV_VMMOUSE_H_
#define LIB_DEV_VMMOUSE_H_

#include <cstdint>

#include "lib/dev/device.h"

namespace atl::dev {

class VmMouse final : public Device {
 public:
  static constexpr uint16_t kPort = 0x5658;
  static constexpr uint32_t kMagic = 0x564D5868;
  static constexpr unsigned kMaxPackets = 64;  // that wait for the guest
  static constexpr uint32_t kMaxPlace = 0xFFFF;

  struct Registers {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  };
  // The guest reads the port. False, and nothing changed: that was no call.
  bool Call(Registers& r);

  // The guest's driver listens, and wants places.
  bool enabled() const { return enabled_; }
  bool absolute() const { return enabled_ && absolute_; }
  // Up to kMaxPlace from the top left; `wheel` down positive; `buttons` as in
  // lib/ui/screen.h. Only while enabled().
  void MoveTo(uint32_t x, uint32_t y, int wheel, uint8_t buttons);
  // Right and down positive.
  void Move(int dx, int dy, int wheel, uint8_t buttons);

  absl::string_view name() const override { return "vmmouse"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  static constexpr unsigned kPacketWords = 4;  // buttons, two of place, wheel

  void Push(uint32_t flags, uint32_t x, uint32_t y, int wheel, uint8_t buttons);
  void Disable();
  void Command(uint32_t command);
  void Take(uint32_t words, Registers& r);

  bool enabled_ = false;
  bool absolute_ = false;
  bool failed_ = false;  // the driver asked for what is not there
  uint32_t words_[kMaxPackets * kPacketWords] = {};
  uint32_t count_ = 0;  // of words_; the first is the oldest
};

}  // namespace atl::dev

#endif  // LIB_DEV_VMMOUSE_H_
