// SPDX-License-Identifier: Apache-2.0
// What hangs on the i8042's two ports: a keyboard that speaks scancode sets 1
// to 3, and a mouse with a wheel and five buttons (IntelliMouse Explorer).
// Parts of I8042 and under its lock.
#ifndef LIB_DEV_PS2_H_
#define LIB_DEV_PS2_H_

#include <array>
#include <cstdint>
#include <span>

#include "lib/dev/state.h"

namespace atl::dev {

// Bytes on their way to the controller; what does not fit is dropped whole.
class Ps2Queue {
 public:
  static constexpr unsigned kCapacity = 64;

  bool empty() const { return count_ == 0; }
  unsigned room() const { return kCapacity - count_; }
  void Push(std::span<const uint8_t> bytes);
  void Push(uint8_t byte) { Push({&byte, 1}); }
  uint8_t Pop();  // of an empty queue: the last byte again
  void Clear() { count_ = 0; }
  void VisitState(StateVisitor& v);

 private:
  uint8_t bytes_[kCapacity] = {};
  uint8_t count_ = 0;
  uint8_t last_ = 0;
};

class Ps2Keyboard {
 public:
  void Reset();
  // `code`: as RFB's extended key events number keys, the set 1 code with bit 7
  // for an 0xE0 prefix; 0xC6 is Pause, 0xB7 Print Screen.
  void Key(uint8_t code, bool down);
  void Write(uint8_t byte);
  Ps2Queue& queue() { return queue_; }
  uint8_t leds() const { return leds_; }  // bit 0 scroll, 1 num, 2 caps lock
  void VisitState(StateVisitor& v);

 private:
  void SetDefaults();

  Ps2Queue queue_;
  uint8_t command_ = 0;  // that waits for its parameter
  bool enabled_ = true;
  uint8_t set_ = 2;  // 1 to 3
  uint8_t leds_ = 0;
};

class Ps2Mouse {
 public:
  void Reset();
  // Relative motion, right and down positive; `wheel` down positive; `buttons`
  // bit 0 left, 1 right, 2 middle, 3 and 4 the side ones.
  void Move(int dx, int dy, int wheel, uint8_t buttons);
  // A packet that says nothing new, where none waits: the guest's driver is to look
  // for news elsewhere.
  void Nudge();
  void Write(uint8_t byte);
  Ps2Queue& queue() { return queue_; }
  // After bytes were taken: motion that had to wait becomes a packet.
  void Continue();
  void VisitState(StateVisitor& v);

 private:
  void SetDefaults();
  void SendPacket();

  Ps2Queue queue_;
  uint8_t command_ = 0;
  bool enabled_ = false;  // data reporting
  bool remote_ = false;
  bool wrap_ = false;
  bool scale_ = false;
  uint8_t resolution_ = 2;
  uint8_t rate_ = 100;
  uint8_t id_ = 0;         // 0, 3 with a wheel, 4 with side buttons
  uint8_t knock_[2] = {};  // the two sample rates before
  uint8_t buttons_ = 0;
  uint8_t sent_buttons_ = 0;
  int32_t dx_ = 0;  // not sent yet
  int32_t dy_ = 0;
  int32_t wheel_ = 0;
};

// The controller's translation of a byte from set 2 to set 1.
uint8_t Set2ToSet1(uint8_t byte);
// The set 2 code of a set 1 code below 0x80; 0 for none.
uint8_t Set1ToSet2(uint8_t code);
// The set 3 code, which is one byte for every key, of a key numbered as in
// Ps2Keyboard::Key(); 0 for none.
uint8_t KeyToSet3(uint8_t code);

}  // namespace atl::dev

#endif  // LIB_DEV_PS2_H_
