// SPDX-License-Identifier: Apache-2.0
// The two cascaded 8259A interrupt controllers of a PC, with the ELCR of the
// PIIX (Intel 8259A datasheet; 82371 PIIX datasheet, 2.5.5). Part of IrqChips
// and under its lock. Not there: 8080 mode, buffered mode.
#ifndef LIB_DEV_PIC_H_
#define LIB_DEV_PIC_H_

#include <cstdint>

#include "lib/dev/state.h"

namespace atl::dev {

class PicPair {
 public:
  PicPair();

  void Reset();                                               // lines keep their levels
  void SetLine(unsigned irq, bool level);                     // 0 to 15, not 2
  bool output() const { return chips_[0].Requested() >= 0; }  // INTR
  // The INTA cycle: the vector, a spurious IRQ 7's where nothing asks any more.
  uint8_t Acknowledge();

  // `slave` 0 or 1, `offset` 0 or 1.
  uint8_t Read(unsigned slave, unsigned offset);
  void Write(unsigned slave, unsigned offset, uint8_t value);
  uint8_t ReadElcr(unsigned slave) const { return chips_[slave].elcr; }
  void WriteElcr(unsigned slave, uint8_t value);

  void VisitState(StateVisitor& v);

 private:
  enum class Next : uint8_t { kOcw, kIcw2, kIcw3, kIcw4 };

  struct Chip {
    bool master = false;
    uint8_t lines = 0;
    uint8_t irr = 0;
    uint8_t isr = 0;
    uint8_t imr = 0;
    uint8_t elcr = 0;
    uint8_t base = 0;    // of its vectors
    uint8_t lowest = 7;  // the IRQ of lowest priority
    Next next = Next::kOcw;
    bool single = false;
    bool wants_icw4 = false;
    bool auto_eoi = false;
    bool rotate_on_auto_eoi = false;
    bool special_mask = false;
    bool special_nested = false;
    bool read_isr = false;
    bool poll = false;

    void Reset();
    void SetLine(unsigned n, bool level);
    int First(uint8_t set) const;  // of highest priority, or -1
    int Rank(unsigned n) const { return (n - lowest - 1) & 7; }
    int Requested() const;  // the IRQ that interrupts, or -1
    void Acknowledge(unsigned n);
    void WriteCommand(uint8_t value);
    void WriteData(uint8_t value);
    void EndOfInterrupt(uint8_t ocw2);
    void VisitState(StateVisitor& v);
  };

  // The slave's INT is a level on the master's IR2.
  void Cascade();

  Chip chips_[2];
};

}  // namespace atl::dev

#endif  // LIB_DEV_PIC_H_
