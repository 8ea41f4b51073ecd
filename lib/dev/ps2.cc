// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/ps2.h"

#include <algorithm>

namespace atl::dev {
namespace {

constexpr uint8_t kAck = 0xFA;
constexpr uint8_t kResend = 0xFE;
constexpr uint8_t kSelfTestPassed = 0xAA;
constexpr uint8_t kExtended = 0xE0;
constexpr uint8_t kRelease = 0xF0;  // set 2

// Index: set 2, value: set 1.
constexpr uint8_t kTranslation[128] = {
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59,
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B,
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F,
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61,
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F,
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54,
};
// F7 and SysRq, whose set 2 codes lie above the table.
constexpr uint8_t kF7Set2 = 0x83;
constexpr uint8_t kF7Set1 = 0x41;
constexpr uint8_t kSysRqSet2 = 0x84;
constexpr uint8_t kSysRqSet1 = 0x54;

// The keys whose set 3 code is not that of set 2.
struct Set3Key {
  uint8_t key;
  uint8_t code;
};
constexpr Set3Key kSet3[] = {
    {0x01, 0x08}, {0x1D, 0x11}, {0x29, 0x0E}, {0x2B, 0x5C}, {0x37, 0x7E}, {0x38, 0x19},
    {0x3A, 0x14}, {0x3B, 0x07}, {0x3C, 0x0F}, {0x3D, 0x17}, {0x3E, 0x1F}, {0x3F, 0x27},
    {0x40, 0x2F}, {0x41, 0x37}, {0x42, 0x3F}, {0x43, 0x47}, {0x44, 0x4F}, {0x45, 0x76},
    {0x46, 0x5F}, {0x4A, 0x84}, {0x4E, 0x7C}, {0x54, 0x57}, {0x56, 0x13}, {0x57, 0x56},
    {0x58, 0x5E}, {0x9C, 0x79}, {0x9D, 0x58}, {0xB5, 0x77}, {0xB7, 0x57}, {0xB8, 0x39},
    {0xC6, 0x62}, {0xC7, 0x6E}, {0xC8, 0x63}, {0xC9, 0x6F}, {0xCB, 0x61}, {0xCD, 0x6A},
    {0xCF, 0x65}, {0xD0, 0x60}, {0xD1, 0x6D}, {0xD2, 0x67}, {0xD3, 0x64}, {0xDB, 0x8B},
    {0xDC, 0x8C}, {0xDD, 0x8D},
};

}  // namespace

uint8_t KeyToSet3(uint8_t code) {
  for (const Set3Key& k : kSet3)
    if (k.key == code) return k.code;
  return code < 0x80 ? Set1ToSet2(code) : 0;
}

uint8_t Set2ToSet1(uint8_t byte) {
  if (byte < sizeof kTranslation) return kTranslation[byte];
  if (byte == kF7Set2) return kF7Set1;
  if (byte == kSysRqSet2) return kSysRqSet1;
  return byte;
}

uint8_t Set1ToSet2(uint8_t code) {
  if (code == kF7Set1) return kF7Set2;
  if (code == kSysRqSet1) return kSysRqSet2;
  for (unsigned i = 1; i < sizeof kTranslation; ++i)
    if (kTranslation[i] == code) return static_cast<uint8_t>(i);
  return 0;
}

void Ps2Queue::Push(std::span<const uint8_t> bytes) {
  if (bytes.size() > room()) return;
  std::copy(bytes.begin(), bytes.end(), bytes_ + count_);
  count_ = static_cast<uint8_t>(count_ + bytes.size());
}

uint8_t Ps2Queue::Pop() {
  if (count_ == 0) return last_;
  last_ = bytes_[0];
  std::copy(bytes_ + 1, bytes_ + count_, bytes_);
  --count_;
  return last_;
}

void Ps2Queue::VisitState(StateVisitor& v) {
  v.Array("bytes", bytes_);
  v.Bounded("count", count_, kCapacity);
  v.Field("last", last_);
  if (v.loading()) count_ = std::min<uint8_t>(count_, kCapacity);
}

// The keyboard.

void Ps2Keyboard::Reset() { *this = Ps2Keyboard(); }

void Ps2Keyboard::SetDefaults() { set_ = 2; }

void Ps2Keyboard::Key(uint8_t code, bool down) {
  if (!enabled_) return;
  static constexpr uint8_t kPause2[] = {0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77};
  static constexpr uint8_t kPause1[] = {0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5};
  constexpr uint8_t kPause = 0xC6;
  if (set_ == 3) {
    const uint8_t byte = KeyToSet3(code);
    const uint8_t bytes[] = {kRelease, byte};
    if (byte != 0) queue_.Push(down ? std::span(bytes + 1, 1) : std::span(bytes, 2));
    return;
  }
  if (code == kPause) {  // it has no release
    if (down && set_ == 2) queue_.Push(kPause2);
    if (down && set_ == 1) queue_.Push(kPause1);
    return;
  }
  uint8_t bytes[6];
  unsigned n = 0;
  const auto add = [&](uint8_t set1, bool extended) {
    if (extended) bytes[n++] = kExtended;
    if (set_ == 1) {
      bytes[n++] = static_cast<uint8_t>(set1 | (down ? 0 : 0x80));
      return;
    }
    if (!down) bytes[n++] = kRelease;
    bytes[n++] = Set1ToSet2(set1);
  };
  const uint8_t key = code & 0x7F;
  if (key == 0 || Set1ToSet2(key) == 0) return;
  constexpr uint8_t kPrintScreen = 0xB7;
  constexpr uint8_t kLeftShift = 0x2A;
  // Print Screen is Shift and keypad *, both extended.
  if (code == kPrintScreen && down) add(kLeftShift, true);
  add(key, code & 0x80);
  if (code == kPrintScreen && !down) add(kLeftShift, true);
  queue_.Push({bytes, n});
}

void Ps2Keyboard::Write(uint8_t byte) {
  const uint8_t command = command_;
  command_ = 0;
  switch (command) {
    case 0xED:
      leds_ = byte & 7;
      return queue_.Push(kAck);
    case 0xF3:  // rate and delay of repetition, which is the host's
      return queue_.Push(kAck);
    case 0xFB:
    case 0xFC:
    case 0xFD:
      if (byte >= 0xED) break;  // the list ends with the next command
      command_ = command;
      return queue_.Push(kAck);
    case 0xF0:
      if (byte == 0) {
        const uint8_t answer[] = {kAck, set_};
        return queue_.Push(answer);
      }
      if (byte > 3) return queue_.Push(kResend);
      set_ = byte;
      return queue_.Push(kAck);
    default:
      break;
  }
  switch (byte) {
    case 0xED:
    case 0xF0:
    case 0xF3:
      command_ = byte;
      return queue_.Push(kAck);
    case 0xF7:  // of set 3: which keys repeat and tell their release; all do
    case 0xF8:
    case 0xF9:
    case 0xFA:
      return queue_.Push(kAck);
    case 0xFB:  // the same for the keys whose codes follow
    case 0xFC:
    case 0xFD:
      command_ = byte;
      return queue_.Push(kAck);
    case 0xEE:  // echo
      return queue_.Push(byte);
    case 0xF2: {
      static constexpr uint8_t kIdentity[] = {kAck, 0xAB, 0x83};
      return queue_.Push(kIdentity);
    }
    case 0xF4:
      queue_.Clear();
      enabled_ = true;
      return queue_.Push(kAck);
    case 0xF5:
    case 0xF6:
      queue_.Clear();
      SetDefaults();
      enabled_ = byte == 0xF6;
      return queue_.Push(kAck);
    case 0xFE:
      return queue_.Push(queue_.Pop());
    case 0xFF: {
      Reset();
      static constexpr uint8_t kDone[] = {kAck, kSelfTestPassed};
      return queue_.Push(kDone);
    }
    default:
      return queue_.Push(kResend);
  }
}

void Ps2Keyboard::VisitState(StateVisitor& v) {
  queue_.VisitState(v);
  v.Field("command", command_);
  v.Field("enabled", enabled_);
  v.Bounded("set", set_, 3);
  v.Bounded("leds", leds_, 7);
}

// The mouse.

void Ps2Mouse::Reset() { *this = Ps2Mouse(); }

void Ps2Mouse::SetDefaults() {
  enabled_ = remote_ = wrap_ = scale_ = false;
  resolution_ = 2;
  rate_ = 100;
  dx_ = dy_ = wheel_ = 0;
}

void Ps2Mouse::Move(int dx, int dy, int wheel, uint8_t buttons) {
  constexpr int kFar = 1 << 16;  // sums stay small however long nobody reads
  dx_ = std::clamp(dx_ + std::clamp(dx, -kFar, kFar), -kFar, kFar);
  dy_ = std::clamp(dy_ - std::clamp(dy, -kFar, kFar), -kFar, kFar);  // up is positive here
  wheel_ = std::clamp(wheel_ + std::clamp(wheel, -kFar, kFar), -kFar, kFar);
  buttons_ = buttons & 0x1F;
  Continue();
}

void Ps2Mouse::Nudge() {
  if (enabled_ && !remote_ && queue_.empty()) SendPacket();
}

void Ps2Mouse::Continue() {
  constexpr unsigned kPackets = 16;  // waiting; motion past them is summed
  while (enabled_ && !remote_ && queue_.room() > Ps2Queue::kCapacity - kPackets &&
         (dx_ != 0 || dy_ != 0 || wheel_ != 0 || buttons_ != sent_buttons_)) {
    SendPacket();
  }
}

void Ps2Mouse::SendPacket() {
  const int x = std::clamp(dx_, -255, 255);
  const int y = std::clamp(dy_, -255, 255);
  uint8_t packet[4] = {
      static_cast<uint8_t>(0x08 | (buttons_ & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)),
      static_cast<uint8_t>(x), static_cast<uint8_t>(y), 0};
  dx_ -= x;
  dy_ -= y;
  if (id_ != 0) {
    const int z = std::clamp(wheel_, -7, 7);
    wheel_ -= z;
    packet[3] = static_cast<uint8_t>(z);
    if (id_ == 4) packet[3] = static_cast<uint8_t>((z & 0xF) | (buttons_ & 0x18) << 1);
  } else {
    wheel_ = 0;
  }
  sent_buttons_ = buttons_;
  queue_.Push({packet, id_ != 0 ? 4u : 3u});
}

void Ps2Mouse::Write(uint8_t byte) {
  if (wrap_ && byte != 0xEC && byte != 0xFF) return queue_.Push(byte);
  const uint8_t command = command_;
  command_ = 0;
  if (command == 0xE8) {
    resolution_ = byte & 3;
    return queue_.Push(kAck);
  }
  if (command == 0xF3) {
    // Three rates in a row unlock the wheel, then the side buttons.
    if (knock_[0] == 200 && knock_[1] == 100 && byte == 80) id_ = 3;
    if (knock_[0] == 200 && knock_[1] == 200 && byte == 80 && id_ == 3) id_ = 4;
    knock_[0] = knock_[1];
    knock_[1] = rate_ = byte;
    return queue_.Push(kAck);
  }
  switch (byte) {
    case 0xE6:
    case 0xE7:
      scale_ = byte == 0xE7;
      return queue_.Push(kAck);
    case 0xE8:
    case 0xF3:
      command_ = byte;
      return queue_.Push(kAck);
    case 0xE9: {
      const uint8_t buttons = static_cast<uint8_t>((buttons_ & 1 ? 4 : 0) | (buttons_ & 4 ? 2 : 0) |
                                                   (buttons_ & 2 ? 1 : 0));
      const uint8_t answer[] = {kAck,
                                static_cast<uint8_t>((remote_ ? 0x40 : 0) | (enabled_ ? 0x20 : 0) |
                                                     (scale_ ? 0x10 : 0) | buttons),
                                resolution_, rate_};
      return queue_.Push(answer);
    }
    case 0xEA:
    case 0xEC:
      remote_ = byte == 0xEA ? false : remote_;
      wrap_ = false;
      return queue_.Push(kAck);
    case 0xEB:
      queue_.Push(kAck);
      if (queue_.room() >= 4) SendPacket();
      return;
    case 0xEE:
      wrap_ = true;
      return queue_.Push(kAck);
    case 0xF0:
      remote_ = true;
      return queue_.Push(kAck);
    case 0xF2: {
      const uint8_t answer[] = {kAck, id_};
      return queue_.Push(answer);
    }
    case 0xF4:
      queue_.Clear();
      enabled_ = true;
      return queue_.Push(kAck);
    case 0xF5:
      queue_.Clear();
      enabled_ = false;
      return queue_.Push(kAck);
    case 0xF6:
      queue_.Clear();
      SetDefaults();
      return queue_.Push(kAck);
    case 0xFE:
      return queue_.Push(queue_.Pop());
    case 0xFF: {
      Reset();
      static constexpr uint8_t kDone[] = {kAck, kSelfTestPassed, 0x00};
      return queue_.Push(kDone);
    }
    default:
      return queue_.Push(kResend);
  }
}

void Ps2Mouse::VisitState(StateVisitor& v) {
  queue_.VisitState(v);
  v.Field("command", command_);
  v.Field("enabled", enabled_);
  v.Field("remote", remote_);
  v.Field("wrap", wrap_);
  v.Field("scale", scale_);
  v.Bounded("resolution", resolution_, 3);
  v.Field("rate", rate_);
  v.Bounded("id", id_, 4);
  v.Array("knock", knock_);
  v.Bounded("buttons", buttons_, 0x1F);
  v.Bounded("sent_buttons", sent_buttons_, 0x1F);
  v.Field("dx", dx_);
  v.Field("dy", dy_);
  v.Field("wheel", wheel_);
  if (v.loading()) Move(0, 0, 0, buttons_);
}

}  // namespace atl::dev
