// SPDX-License-Identifier: Apache-2.0
// The VGA chip with the Bochs display interface: its ports and its two windows
// into video memory. What they make visible is in render.h; the PCI function
// around it in std_vga.h.
//
// The legacy window ([0xA0000, 0xC0000)) goes through the sequencer and the
// graphics controller, byte by byte: odd/even for text, chain-4 for mode 13h,
// planes with read and write modes for the others. While a dispi mode of 8 or
// more bits a pixel is on, it shows a bank of 64 KiB of the linear memory.
#ifndef LIB_VGA_VGA_H_
#define LIB_VGA_VGA_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "lib/dev/clock.h"
#include "lib/dev/state.h"
#include "lib/vga/registers.h"
#include "lib/vga/vram.h"

namespace atl::vga {

// Thread rule: everything under one device's lock. The memory is not covered by
// it: the guest writes to it directly.
class Vga {
 public:
  static constexpr uint64_t kWindowBase = 0xA0000;
  static constexpr uint64_t kWindowSize = 0x20000;

  // The two outlive the chip.
  Vga(Vram& vram, dev::Clock& clock) : vram_(vram), clock_(clock) { Reset(); }

  void Reset();
  // Ports 0x3B4 to 0x3DA; all ones where it has none.
  uint8_t ReadPort(uint16_t port);
  void WritePort(uint16_t port, uint8_t value);
  // By ports 0x1CE (`data` false) and 0x1CF (true), 16 bits.
  uint16_t ReadDispi(bool data) const;
  void WriteDispi(bool data, uint16_t value);
  uint16_t ReadDispiRegister(unsigned index) const;
  void WriteDispiRegister(unsigned index, uint16_t value);
  // `offset` below kWindowSize, any size from 1 to 8, any alignment.
  uint64_t ReadWindow(uint64_t offset, unsigned size);
  void WriteWindow(uint64_t offset, unsigned size, uint64_t value);
  // `offset` below the memory's size.
  uint64_t ReadLinear(uint64_t offset, unsigned size) const;
  void WriteLinear(uint64_t offset, unsigned size, uint64_t value);

  void VisitState(dev::StateVisitor& v);

  const Registers& registers() const { return r_; }
  Vram& vram() { return vram_; }
  const dev::Clock& clock() const { return clock_; }
  // Differs when anything that was written through here may have changed the
  // picture.
  uint64_t version() const { return version_; }
  // Calls `changed` at the next change of version(), once, with the lock held and
  // perhaps before the change is whole. Null calls nothing.
  void OnNextChange(std::function<void()> changed) { changed_ = std::move(changed); }

 private:
  uint8_t ReadStatus();
  void WriteAttribute(uint8_t value);
  void WriteCrtc(uint8_t value);
  void WriteDac(uint8_t value);
  uint8_t ReadDac();
  void SwitchDispi(uint16_t value);
  // The byte of the window's `offset` in plane 0, or nothing.
  bool Decode(uint64_t offset, uint32_t* address) const;
  bool LinearBank() const;
  uint8_t ReadByte(uint64_t offset);
  void WriteByte(uint64_t offset, uint8_t value);

  Vram& vram_;
  dev::Clock& clock_;
  Registers r_;
  void Touch() {
    ++version_;
    if (changed_) std::exchange(changed_, nullptr)();
  }

  uint64_t version_ = 1;
  std::function<void()> changed_;
};

}  // namespace atl::vga

#endif  // LIB_VGA_VGA_H_
