// SPDX-License-Identifier: Apache-2.0
// The keyboard controller: two PS/2 ports, the A20 gate and the reset line; and
// system control port A (0x92), which drives the same two (IBM PS/2 Hardware
// Interface Technical Reference, keyboard controller type 2).
#ifndef LIB_DEV_I8042_H_
#define LIB_DEV_I8042_H_

#include <cstdint>

#include "lib/dev/device.h"
#include "lib/dev/irq.h"
#include "lib/dev/ps2.h"
#include "lib/dev/system_control.h"

namespace atl::dev {

class I8042 final : public Device {
 public:
  // Regions, one port each, with the place they have on a PC.
  enum Region : unsigned {
    kData,     // 0x60
    kCommand,  // 0x64
    kPortA,    // 0x92
  };

  I8042(IrqLine& irq1, IrqLine& irq12, SystemControl& system);

  // Input from outside, with the device's lock held; see ps2.h.
  void Key(uint8_t code, bool down);
  void MoveMouse(int dx, int dy, int wheel, uint8_t buttons);
  void NudgeMouse();
  uint8_t leds() const { return keyboard_.leds(); }
  // Whether the guest has read all that the keyboard had to say.
  bool keys_taken() {
    return keyboard_.queue().empty() && full_ != Source::kKeyboard && held_ != Source::kKeyboard;
  }

  absl::string_view name() const override { return "i8042"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  enum class Source : uint8_t { kNone, kController, kKeyboard, kMouse };

  void Command(uint8_t command);
  void Parameter(uint8_t value);
  void Answer(uint8_t value, bool as_mouse = false);
  void Refill();  // the output buffer
  void Update();  // lines
  void WriteOutputPort(uint8_t value);
  void SetA20();

  IrqLine& irq1_;
  IrqLine& irq12_;
  SystemControl& system_;
  Ps2Keyboard keyboard_;
  Ps2Mouse mouse_;

  uint8_t config_ = 0;
  uint8_t command_ = 0;  // that waits for its parameter
  bool last_was_command_ = false;
  bool self_tested_ = false;
  Source full_ = Source::kNone;  // whose byte is in the output buffer
  bool mouse_byte_ = false;      // it counts as the mouse's
  uint8_t output_ = 0;
  bool release_ = false;         // translation: 0xF0 was swallowed
  Source held_ = Source::kNone;  // a device's byte that waits behind an answer
  uint8_t held_byte_ = 0;
  uint8_t output_port_ = 0;
  uint8_t port_a_ = 0;
  uint8_t ram_[32] = {};
};

}  // namespace atl::dev

#endif  // LIB_DEV_I8042_H_
