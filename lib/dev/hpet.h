// SPDX-License-Identifier: Apache-2.0
// A high precision event timer block: a 64-bit counter of 100 MHz and three
// comparators, one-shot or periodic (IA-PC HPET Specification 1.0a). Interrupts
// go to IOAPIC pins, as messages, or, in legacy replacement mode, in place of
// the 8254's IRQ 0 and the clock's IRQ 8.
#ifndef LIB_DEV_HPET_H_
#define LIB_DEV_HPET_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "lib/dev/clock.h"
#include "lib/dev/device.h"
#include "lib/dev/irq.h"

namespace atl::dev {

// Region 0: MMIO kBase, kSize bytes, min_access 4, max_access 8.
class Hpet final : public Device {
 public:
  static constexpr uint64_t kBase = 0xFED00000;
  static constexpr uint64_t kSize = 0x400;
  static constexpr uint64_t kTickNs = 10;
  static constexpr unsigned kTimers = 3;
  static constexpr unsigned kFirstPin = 16;  // of the IOAPIC's that a timer may choose
  static constexpr unsigned kPins = 8;

  struct Wiring {
    IrqLine* irq0 = nullptr;
    IrqLine* irq8 = nullptr;
    std::array<IrqLine*, kPins> pins{};  // IOAPIC pins kFirstPin and up
    MsiSink* msi = nullptr;
    // Told when the HPET takes the place of the old timers' interrupts, or gives it
    // back; with the device's lock held. For who does not drive irq0_input().
    std::function<void(bool replaced)> on_replaced;
  };
  Hpet(const Wiring& wiring, Clock& clock);

  // What the 8254 and the clock drive instead of IRQ 0 and 8: goes through
  // unless the HPET has taken their place. Any thread.
  IrqLine& irq0_input() { return inputs_[0]; }
  IrqLine& irq8_input() { return inputs_[1]; }

  absl::string_view name() const override { return "hpet"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  class Input final : public IrqLine {
   public:
    void Set(bool level) override {
      if (!*replaced) line->Set(level);
    }
    IrqLine* line = nullptr;
    const std::atomic<bool>* replaced = nullptr;
  };

  struct Comparator {
    uint64_t config = 0;
    uint64_t value = 0;
    uint64_t period = 0;
    uint64_t message = 0;
    bool waiting = false;  // for its next match
    bool high = false;     // a level interrupt is up
    std::unique_ptr<Timer> timer;
  };

  bool enabled() const { return config_ & 1; }
  uint64_t Counter() const;
  uint64_t ReadRegister(uint64_t offset) const;
  // `mask`: the bits of the register that are written.
  void WriteRegister(uint64_t offset, uint64_t value, uint64_t mask);
  void WriteConfig(uint64_t value);
  void WriteComparator(unsigned n, uint64_t value, uint64_t mask);
  void Arm(unsigned n);
  void Fire(unsigned n);
  bool Due(const Comparator& t) const;
  void Settle();  // what timers that interrupt nobody did meanwhile
  void Interrupt(unsigned n);
  IrqLine* LineOf(unsigned n) const;  // null for none
  void SetReplaced(bool replaced);
  void SetHigh(unsigned n, bool high);

  const Wiring wiring_;
  Clock& clock_;
  Comparator timers_[kTimers];
  Input inputs_[2];
  std::atomic<bool> replaced_{false};
  uint64_t config_ = 0;
  uint64_t status_ = 0;
  uint64_t base_count_ = 0;  // the counter at base_ns_, or while it stands
  uint64_t base_ns_ = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_HPET_H_
