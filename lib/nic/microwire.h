// SPDX-License-Identifier: Apache-2.0
// The serial EEPROM of PCI network cards: a 93C46 of 64 words of 16 bits on four
// wires (Microchip 93C46B data sheet: commands READ, EWEN, ERASE, ERAL, WRITE,
// WRAL, EWDS). What is written lasts as long as the device.
#ifndef LIB_NIC_MICROWIRE_H_
#define LIB_NIC_MICROWIRE_H_

#include <array>
#include <cstdint>

#include "lib/dev/state.h"

namespace atl::nic {

class Microwire {
 public:
  static constexpr unsigned kWords = 64;

  explicit Microwire(const std::array<uint16_t, kWords>& words) : words_(words) {}

  // The pins let go; what is stored stays.
  void Reset();
  // The levels of chip select, clock and data in, after each change.
  void Set(bool select, bool clock, bool data);
  bool data_out() const { return out_; }

  uint16_t word(unsigned i) const { return words_[i % kWords]; }
  void VisitState(dev::StateVisitor& v);

 private:
  enum class Phase : uint8_t { kIdle, kCommand, kRead, kWrite, kDone };

  void Command();
  void Store();

  std::array<uint16_t, kWords> words_;
  Phase phase_ = Phase::kIdle;
  bool selected_ = false;
  bool clock_ = false;
  bool out_ = true;
  bool writable_ = false;
  bool all_ = false;     // the write is for all words
  uint8_t address_ = 0;  // below kWords
  uint8_t bits_ = 0;     // of the shift register that are in, below 16
  uint16_t shift_ = 0;
};

}  // namespace atl::nic

#endif  // LIB_NIC_MICROWIRE_H_
