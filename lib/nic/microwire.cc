// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/microwire.h"

#include <span>

namespace atl::nic {
namespace {

constexpr unsigned kAddressBits = 6;
constexpr unsigned kCommandBits = 2 + kAddressBits;  // after the start bit

}  // namespace

void Microwire::Reset() {
  phase_ = Phase::kIdle;
  selected_ = clock_ = writable_ = all_ = false;
  out_ = true;
  address_ = bits_ = 0;
  shift_ = 0;
}

void Microwire::Set(bool select, bool clock, bool data) {
  const bool rose = clock && !clock_;
  clock_ = clock;
  if (!select) {
    // A write begins when the chip is let go and is over at once.
    if (selected_ && phase_ == Phase::kDone) Store();
    selected_ = false;
    phase_ = Phase::kIdle;
    out_ = true;  // ready
    return;
  }
  selected_ = true;
  if (!rose) return;
  switch (phase_) {
    case Phase::kIdle:
      if (data) {
        phase_ = Phase::kCommand;
        shift_ = bits_ = 0;
      }
      break;
    case Phase::kCommand:
      shift_ = static_cast<uint16_t>(shift_ << 1 | (data ? 1 : 0));
      if (++bits_ == kCommandBits) Command();
      break;
    case Phase::kRead:
      out_ = (shift_ & 0x8000) != 0;
      shift_ = static_cast<uint16_t>(shift_ << 1);
      if (++bits_ == 16) {  // goes on with the next word
        address_ = (address_ + 1) % kWords;
        shift_ = words_[address_];
        bits_ = 0;
      }
      break;
    case Phase::kWrite:
      shift_ = static_cast<uint16_t>(shift_ << 1 | (data ? 1 : 0));
      if (++bits_ == 16) phase_ = Phase::kDone;
      break;
    case Phase::kDone:
      break;
  }
}

void Microwire::Command() {
  const unsigned opcode = shift_ >> kAddressBits & 3;
  address_ = shift_ % kWords;
  bits_ = 0;
  all_ = false;
  switch (opcode) {
    case 2:  // READ: a zero bit, then the word
      phase_ = Phase::kRead;
      out_ = false;
      shift_ = words_[address_];
      return;
    case 1:  // WRITE
      phase_ = Phase::kWrite;
      shift_ = 0;
      return;
    case 3:  // ERASE
      shift_ = 0xFFFF;
      phase_ = Phase::kDone;
      return;
    default:
      break;
  }
  switch (address_ >> 4) {  // the upper two bits choose
    case 3:
      writable_ = true;
      phase_ = Phase::kIdle;
      break;
    case 0:
      writable_ = false;
      phase_ = Phase::kIdle;
      break;
    case 1:  // WRAL
      all_ = true;
      phase_ = Phase::kWrite;
      shift_ = 0;
      break;
    default:  // ERAL
      all_ = true;
      shift_ = 0xFFFF;
      phase_ = Phase::kDone;
      break;
  }
}

void Microwire::Store() {
  if (!writable_) return;
  if (all_) {
    words_.fill(shift_);
  } else {
    words_[address_] = shift_;
  }
}

void Microwire::VisitState(dev::StateVisitor& v) {
  v.Begin("eeprom");
  v.Bytes("words", {reinterpret_cast<uint8_t*>(words_.data()), sizeof words_});
  v.Bounded("phase", phase_, static_cast<uint64_t>(Phase::kDone));
  v.Field("selected", selected_);
  v.Field("clock", clock_);
  v.Field("out", out_);
  v.Field("writable", writable_);
  v.Field("all", all_);
  v.Bounded("address", address_, kWords - 1);
  v.Bounded("bits", bits_, 15);
  v.Field("shift", shift_);
  v.End();
}

}  // namespace atl::nic
