// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/vmmouse.h"

#include <algorithm>
#include <iterator>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

// The numbers of calls, in CX.
constexpr uint16_t kGetVersion = 10;
constexpr uint16_t kData = 39;
constexpr uint16_t kStatus = 40;
constexpr uint16_t kCommand = 41;
constexpr uint16_t kRestrict = 86;

// Arguments of kCommand.
constexpr uint32_t kEnable = 0x45414552;
constexpr uint32_t kDisable = 0x000000F5;
constexpr uint32_t kRequestRelative = 0x4C455252;
constexpr uint32_t kRequestAbsolute = 0x53424152;

constexpr uint32_t kVersionId = 0x3442554A;  // the first word after kEnable
constexpr uint32_t kFailed = 0xFFFF0000;     // of kStatus, which has the count below
constexpr uint32_t kInterfaceVersion = 6;
constexpr uint32_t kWorkstation = 2;  // which of VMware's products it would be

// Flags of a packet.
constexpr uint32_t kLeft = 0x20;
constexpr uint32_t kRight = 0x10;
constexpr uint32_t kMiddle = 0x08;
constexpr uint32_t kRelative = 0x00010000;

}  // namespace

bool VmMouse::Call(Registers& r) {
  if (r.eax != kMagic) return false;
  switch (static_cast<uint16_t>(r.ecx)) {
    case kGetVersion:
      r = {kInterfaceVersion, kMagic, kWorkstation, r.edx};
      return true;
    case kData:
      Take(r.ebx, r);
      return true;
    case kStatus:
      r.eax = (enabled_ && !failed_ ? 0 : kFailed) | count_;
      return true;
    case kCommand:
      Command(r.ebx);
      r.eax = 0;
      return true;
    case kRestrict:  // who may call: whoever can read the port
      r.eax = 0;
      return true;
    default:
      return false;
  }
}

void VmMouse::Command(uint32_t command) {
  switch (command) {
    case kEnable:
      Disable();
      enabled_ = true;
      words_[count_++] = kVersionId;
      break;
    case kDisable:
      Disable();
      break;
    case kRequestRelative:
      absolute_ = false;
      break;
    case kRequestAbsolute:
      absolute_ = true;
      break;
  }
}

void VmMouse::Take(uint32_t words, Registers& r) {
  if (words == 0 || words > kPacketWords || words > count_) {
    failed_ = true;
    count_ = 0;
    r.eax = kFailed;
    return;
  }
  uint32_t* const to[kPacketWords] = {&r.eax, &r.ebx, &r.ecx, &r.edx};
  for (uint32_t i = 0; i < words; ++i) *to[i] = words_[i];
  std::copy(words_ + words, words_ + count_, words_);
  count_ -= words;
}

void VmMouse::Disable() {
  enabled_ = absolute_ = failed_ = false;
  count_ = 0;
}

void VmMouse::Push(uint32_t flags, uint32_t x, uint32_t y, int wheel, uint8_t buttons) {
  if (!enabled_ || failed_) return;
  if ((buttons & 1) != 0) flags |= kLeft;
  if ((buttons & 2) != 0) flags |= kRight;
  if ((buttons & 4) != 0) flags |= kMiddle;
  // A guest that does not ask learns in the end where the pointer is and which
  // buttons are held.
  if (count_ + kPacketWords > std::size(words_)) count_ -= kPacketWords;
  for (const uint32_t word : {flags, x, y, static_cast<uint32_t>(wheel)}) words_[count_++] = word;
}

void VmMouse::MoveTo(uint32_t x, uint32_t y, int wheel, uint8_t buttons) {
  Push(0, std::min(x, kMaxPlace), std::min(y, kMaxPlace), wheel, buttons);
}

void VmMouse::Move(int dx, int dy, int wheel, uint8_t buttons) {
  // Up is positive here.
  Push(kRelative, static_cast<uint32_t>(dx), 0 - static_cast<uint32_t>(dy), wheel, buttons);
}

void VmMouse::Reset() { Disable(); }

uint64_t VmMouse::Read(unsigned, uint64_t, unsigned) { return ~uint64_t{0}; }

void VmMouse::Write(unsigned, uint64_t, unsigned, uint64_t) {}

void VmMouse::VisitState(StateVisitor& v) {
  v.Field("enabled", enabled_);
  v.Field("absolute", absolute_);
  v.Field("failed", failed_);
  v.Array("words", words_);
  v.Bounded("count", count_, std::size(words_));
}

}  // namespace atl::dev
