// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/pic.h"

namespace atl::dev {
namespace {

constexpr unsigned kCascadeIrq = 2;
// IRQ 0, 1, 2, 8 and 13 are edges by the board's wiring.
constexpr uint8_t kElcrWritable[2] = {0xF8, 0xDE};

constexpr uint8_t Bit(unsigned n) { return static_cast<uint8_t>(1u << n); }

}  // namespace

PicPair::PicPair() { chips_[0].master = true; }

void PicPair::Reset() {
  for (Chip& chip : chips_) chip.Reset();
  Cascade();
}

void PicPair::Chip::Reset() {
  const uint8_t levels = lines;
  const bool is_master = master;
  *this = Chip();
  master = is_master;
  lines = levels;
}

void PicPair::Chip::SetLine(unsigned n, bool level) {
  const uint8_t bit = Bit(n);
  if (elcr & bit) {
    irr = level ? irr | bit : irr & ~bit;
  } else if (level && !(lines & bit)) {
    irr |= bit;  // latched until acknowledged
  }
  lines = level ? lines | bit : lines & ~bit;
}

int PicPair::Chip::First(uint8_t set) const {
  for (unsigned i = 1; i <= 8; ++i) {
    const unsigned n = (lowest + i) & 7;
    if (set & Bit(n)) return static_cast<int>(n);
  }
  return -1;
}

int PicPair::Chip::Requested() const {
  const int wants = First(irr & ~imr);
  if (wants < 0) return -1;
  uint8_t blocking = isr;
  if (special_mask) blocking &= ~imr;
  // The slave nests its own interrupts behind the one the master serves.
  if (special_nested && master) blocking &= ~Bit(kCascadeIrq);
  const int serving = First(blocking);
  return serving < 0 || Rank(wants) < Rank(serving) ? wants : -1;
}

void PicPair::Chip::Acknowledge(unsigned n) {
  if (auto_eoi) {
    if (rotate_on_auto_eoi) lowest = static_cast<uint8_t>(n);
  } else {
    isr |= Bit(n);
  }
  if (!(elcr & Bit(n))) irr &= ~Bit(n);
}

void PicPair::Cascade() {
  const bool asks = chips_[1].Requested() >= 0;
  chips_[0].irr = asks ? chips_[0].irr | Bit(kCascadeIrq) : chips_[0].irr & ~Bit(kCascadeIrq);
}

void PicPair::SetLine(unsigned irq, bool level) {
  chips_[irq >> 3].SetLine(irq & 7, level);
  Cascade();
}

uint8_t PicPair::Acknowledge() {
  Chip& master = chips_[0];
  Chip& slave = chips_[1];
  const int irq = master.Requested();
  if (irq < 0) return master.base + 7;
  master.Acknowledge(irq);
  if (irq != kCascadeIrq) return static_cast<uint8_t>(master.base + irq);
  const int slave_irq = slave.Requested();
  if (slave_irq >= 0) slave.Acknowledge(slave_irq);
  Cascade();
  return static_cast<uint8_t>(slave.base + (slave_irq < 0 ? 7 : slave_irq));
}

uint8_t PicPair::Read(unsigned slave, unsigned offset) {
  Chip& chip = chips_[slave];
  if (chip.poll) {  // the read is an INTA cycle
    chip.poll = false;
    const int irq = chip.Requested();
    if (irq < 0) return 0;
    chip.Acknowledge(irq);
    Cascade();
    return static_cast<uint8_t>(0x80 | irq);
  }
  if (offset == 1) return chip.imr;
  return chip.read_isr ? chip.isr : chip.irr;
}

void PicPair::Write(unsigned slave, unsigned offset, uint8_t value) {
  if (offset == 0) {
    chips_[slave].WriteCommand(value);
  } else {
    chips_[slave].WriteData(value);
  }
  Cascade();
}

void PicPair::WriteElcr(unsigned slave, uint8_t value) {
  Chip& chip = chips_[slave];
  chip.elcr = value & kElcrWritable[slave];
  chip.irr = (chip.irr & ~chip.elcr) | (chip.lines & chip.elcr);
  Cascade();
}

void PicPair::Chip::WriteCommand(uint8_t value) {
  if (value & 0x10) {  // ICW1
    const uint8_t trigger = elcr;
    const uint8_t vectors = base;
    Reset();
    elcr = trigger;
    base = vectors;
    irr = lines & elcr;
    single = value & 0x02;
    wants_icw4 = value & 0x01;
    next = Next::kIcw2;
  } else if (value & 0x08) {  // OCW3
    if (value & 0x40) special_mask = value & 0x20;
    if (value & 0x02) read_isr = value & 0x01;
    if (value & 0x04) poll = true;
  } else {
    EndOfInterrupt(value);
  }
}

void PicPair::Chip::EndOfInterrupt(uint8_t ocw2) {
  const bool rotate = ocw2 & 0x80;
  const bool specific = ocw2 & 0x40;
  const bool eoi = ocw2 & 0x20;
  if (!eoi) {
    if (specific && rotate) {
      lowest = ocw2 & 7;
    } else if (!specific) {
      rotate_on_auto_eoi = rotate;
    }
    return;
  }
  const int irq = specific ? ocw2 & 7 : First(special_mask ? isr & ~imr : isr);
  if (irq < 0) return;
  isr &= ~Bit(irq);
  if (rotate) lowest = static_cast<uint8_t>(irq);
}

void PicPair::Chip::WriteData(uint8_t value) {
  switch (next) {
    case Next::kOcw:
      imr = value;
      return;
    case Next::kIcw2:
      base = value & 0xF8;
      next = !single ? Next::kIcw3 : wants_icw4 ? Next::kIcw4 : Next::kOcw;
      return;
    case Next::kIcw3:  // who cascades where is wired
      next = wants_icw4 ? Next::kIcw4 : Next::kOcw;
      return;
    case Next::kIcw4:
      special_nested = value & 0x10;
      auto_eoi = value & 0x02;
      next = Next::kOcw;
      return;
  }
}

void PicPair::Chip::VisitState(StateVisitor& v) {
  v.Field("lines", lines);
  v.Field("irr", irr);
  v.Field("isr", isr);
  v.Field("imr", imr);
  v.Field("elcr", elcr);
  v.Field("base", base);
  v.Bounded("lowest", lowest, 7);
  v.Bounded("next", next, static_cast<uint64_t>(Next::kIcw4));
  v.Field("single", single);
  v.Field("wants_icw4", wants_icw4);
  v.Field("auto_eoi", auto_eoi);
  v.Field("rotate_on_auto_eoi", rotate_on_auto_eoi);
  v.Field("special_mask", special_mask);
  v.Field("special_nested", special_nested);
  v.Field("read_isr", read_isr);
  v.Field("poll", poll);
}

void PicPair::VisitState(StateVisitor& v) {
  v.Begin("master");
  chips_[0].VisitState(v);
  v.End();
  v.Begin("slave");
  chips_[1].VisitState(v);
  v.End();
}

}  // namespace atl::dev
