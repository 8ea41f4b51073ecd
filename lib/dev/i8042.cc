// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/i8042.h"

#include <algorithm>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint8_t kOutputFull = 0x01;  // status
constexpr uint8_t kSystemFlag = 0x04;
constexpr uint8_t kLastWasCommand = 0x08;
constexpr uint8_t kUnlocked = 0x10;
constexpr uint8_t kMouseData = 0x20;

constexpr uint8_t kKeyboardIrq = 0x01;  // configuration byte
constexpr uint8_t kMouseIrq = 0x02;
constexpr uint8_t kConfigSystemFlag = 0x04;
constexpr uint8_t kKeyboardOff = 0x10;
constexpr uint8_t kMouseOff = 0x20;
constexpr uint8_t kTranslate = 0x40;
// As firmware leaves it, for guests that start without one.
constexpr uint8_t kResetConfig = kKeyboardIrq | kMouseIrq | kConfigSystemFlag | kTranslate;

constexpr uint8_t kNotReset = 0x01;  // output port
constexpr uint8_t kA20 = 0x02;
constexpr uint8_t kResetOutputPort = 0xCC | kNotReset | kA20;

constexpr uint8_t kPortAReset = 0x01;  // port A; its bit 1 is A20, too

}  // namespace

I8042::I8042(IrqLine& irq1, IrqLine& irq12, SystemControl& system)
    : irq1_(irq1), irq12_(irq12), system_(system) {
  Reset();
}

void I8042::Reset() {
  keyboard_.Reset();
  mouse_.Reset();
  config_ = kResetConfig;
  command_ = 0;
  last_was_command_ = false;
  self_tested_ = false;
  full_ = Source::kNone;
  mouse_byte_ = false;
  output_ = 0;
  release_ = false;
  held_ = Source::kNone;
  held_byte_ = 0;
  output_port_ = kResetOutputPort;
  port_a_ = 0;
  std::fill(std::begin(ram_), std::end(ram_), 0);
  SetA20();
  Update();
}

void I8042::Key(uint8_t code, bool down) {
  keyboard_.Key(code, down);
  Refill();
}

void I8042::MoveMouse(int dx, int dy, int wheel, uint8_t buttons) {
  mouse_.Move(dx, dy, wheel, buttons);
  Refill();
}

void I8042::NudgeMouse() {
  mouse_.Nudge();
  Refill();
}

void I8042::Update() {
  irq1_.Set(full_ != Source::kNone && !mouse_byte_ && (config_ & kKeyboardIrq));
  irq12_.Set(full_ != Source::kNone && mouse_byte_ && (config_ & kMouseIrq));
}

// Whatever comes next, the lines fall before they rise for it.
void I8042::Refill() {
  const uint8_t off = held_ == Source::kMouse ? kMouseOff : kKeyboardOff;
  if (full_ == Source::kNone && held_ != Source::kNone && !(config_ & off)) {
    full_ = held_;
    mouse_byte_ = held_ == Source::kMouse;
    output_ = held_byte_;
    held_ = Source::kNone;
  }
  while (full_ == Source::kNone && !keyboard_.queue().empty() && !(config_ & kKeyboardOff)) {
    uint8_t byte = keyboard_.queue().Pop();
    if (config_ & kTranslate) {
      if (byte == 0xF0) {
        release_ = true;
        continue;
      }
      byte = Set2ToSet1(byte);
      if (release_) byte |= 0x80;
      release_ = false;
    }
    full_ = Source::kKeyboard;
    mouse_byte_ = false;
    output_ = byte;
  }
  if (full_ == Source::kNone && !mouse_.queue().empty() && !(config_ & kMouseOff)) {
    full_ = Source::kMouse;
    mouse_byte_ = true;
    output_ = mouse_.queue().Pop();
    mouse_.Continue();
  }
  Update();
}

// The controller's own bytes go before the devices': a device's that was not
// read yet comes again after them.
void I8042::Answer(uint8_t value, bool as_mouse) {
  if (full_ == Source::kKeyboard || full_ == Source::kMouse) {
    held_ = full_;
    held_byte_ = output_;
  }
  full_ = Source::kNone;
  Update();
  full_ = Source::kController;
  mouse_byte_ = as_mouse;
  output_ = value;
  Update();
}

void I8042::SetA20() { system_.SetA20(output_port_ & kA20); }

void I8042::WriteOutputPort(uint8_t value) {
  output_port_ = value | kNotReset;
  SetA20();
  if (!(value & kNotReset)) system_.RequestReset();
}

void I8042::Command(uint8_t command) {
  command_ = 0;
  if (command >= 0x20 && command <= 0x3F) {
    return Answer(command == 0x20 ? config_ : ram_[command & 0x1F]);
  }
  if ((command >= 0x60 && command <= 0x7F) || (command >= 0xD1 && command <= 0xD4)) {
    command_ = command;
    return;
  }
  if (command >= 0xF0) {  // pulses the lines whose bits are 0
    if (!(command & kNotReset)) system_.RequestReset();
    return;
  }
  switch (command) {
    case 0xA7:
      config_ |= kMouseOff;
      return;
    case 0xA8:
      config_ &= static_cast<uint8_t>(~kMouseOff);
      return Refill();
    case 0xA9:  // test of the mouse's port: passed
    case 0xAB:
      return Answer(0x00);
    case 0xAA:
      self_tested_ = true;
      return Answer(0x55);
    case 0xAD:
      config_ |= kKeyboardOff;
      return;
    case 0xAE:
      config_ &= static_cast<uint8_t>(~kKeyboardOff);
      return Refill();
    case 0xC0:
      return Answer(0x80);  // not inhibited
    case 0xD0:
      return Answer(output_port_);
    case 0xDD:
      return WriteOutputPort(output_port_ & ~kA20);
    case 0xDF:
      return WriteOutputPort(output_port_ | kA20);
    default:
      return;
  }
}

void I8042::Parameter(uint8_t value) {
  const uint8_t command = command_;
  command_ = 0;
  switch (command) {
    case 0:  // sending wakes the port
      config_ &= static_cast<uint8_t>(~kKeyboardOff);
      keyboard_.Write(value);
      break;
    case 0x60:
      config_ = value;
      if (value & kConfigSystemFlag) self_tested_ = true;
      break;
    case 0xD1:
      return WriteOutputPort(value);
    case 0xD2:
      return Answer(value);
    case 0xD3:
      return Answer(value, true);
    case 0xD4:
      config_ &= static_cast<uint8_t>(~kMouseOff);
      mouse_.Write(value);
      break;
    default:
      ram_[command & 0x1F] = value;
      return;
  }
  Refill();
}

uint64_t I8042::Read(unsigned region, uint64_t, unsigned) {
  switch (region) {
    case kData: {
      const uint8_t value = output_;
      full_ = Source::kNone;
      Update();
      Refill();
      return value;
    }
    case kCommand:
      return (full_ != Source::kNone ? kOutputFull : 0) |
             (full_ != Source::kNone && mouse_byte_ ? kMouseData : 0) |
             (self_tested_ || (config_ & kConfigSystemFlag) ? kSystemFlag : 0) |
             (last_was_command_ ? kLastWasCommand : 0) | kUnlocked;
    default:
      return port_a_ | (output_port_ & kA20);
  }
}

void I8042::Write(unsigned region, uint64_t, unsigned, uint64_t wide) {
  const uint8_t value = static_cast<uint8_t>(wide);
  switch (region) {
    case kData:
      last_was_command_ = false;
      return Parameter(value);
    case kCommand:
      last_was_command_ = true;
      return Command(value);
    default: {
      const bool resets = (value & kPortAReset) && !(port_a_ & kPortAReset);
      port_a_ = value & kPortAReset;
      // One gate behind two registers: the one written last counts.
      output_port_ = static_cast<uint8_t>((output_port_ & ~kA20) | (value & kA20));
      SetA20();
      if (resets) system_.RequestReset();
    }
  }
}

void I8042::VisitState(StateVisitor& v) {
  v.Begin("keyboard");
  keyboard_.VisitState(v);
  v.End();
  v.Begin("mouse");
  mouse_.VisitState(v);
  v.End();
  v.Field("config", config_);
  v.Field("command", command_);
  v.Field("last_was_command", last_was_command_);
  v.Field("self_tested", self_tested_);
  v.Bounded("full", full_, static_cast<uint64_t>(Source::kMouse));
  v.Field("mouse_byte", mouse_byte_);
  v.Field("output", output_);
  v.Field("release", release_);
  v.Bounded("held", held_, static_cast<uint64_t>(Source::kMouse));
  v.Field("held_byte", held_byte_);
  v.Field("output_port", output_port_);
  v.Field("port_a", port_a_);
  v.Array("ram", ram_);
  if (v.loading()) {
    SetA20();
    Update();
  }
}

}  // namespace atl::dev
