// SPDX-License-Identifier: Apache-2.0
// The PC's interrupt controllers as one device: the two 8259s, the IOAPIC and
// each vCPU's LAPIC, and the wiring between them.
//
//   isa_irq(0..15) ─┬─ 8259 pair ── LINT0 of every LAPIC (ExtINT)
//                   └─ IOAPIC pins 0..15, but IRQ 0 on pin 2 (MADT override)
//   ioapic_pin(16..23), SendMsi() ── the LAPICs' message bus
//
// Lock rule: everything here is under one lock, lock(), that stands below every
// device's lock: devices set lines while they hold theirs, and no code here
// calls a device. Out of it go only VcpuSignals, which never block. Lines,
// SendMsi() and the calls for vCPUs take the lock themselves; the Device part
// (ports, IOAPIC page, state) is called with it held, so map it with lock().
//
// With UseLapics() the LAPICs are somebody else's, a kernel's: the IOAPIC's messages and
// those of devices go there, and come back as EndOfInterrupt(). The 8259's output then is
// what vCPU 0 is asked to take, and LAPIC pages and MSRs are nobody's here.
//
// With UseChips() the others are, too: this then only gathers the lines of devices.
//
// The LAPIC page is not on the bus since each vCPU has its own at an address of
// its own: MMIO accesses go to ReadLapic()/WriteLapic() first.
#ifndef LIB_DEV_IRQ_CHIPS_H_
#define LIB_DEV_IRQ_CHIPS_H_

#include <cstdint>
#include <memory>
#include <span>

#include "lib/dev/clock.h"
#include "lib/dev/device.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/irq.h"

namespace atl::dev {

// What a vCPU takes from its LAPIC; lib/cpu's Vcpu has the same calls. From any
// thread, never blocking, waking a halted vCPU.
class VcpuSignals {
 public:
  virtual ~VcpuSignals() = default;
  virtual void SetInterruptLine(bool high) = 0;
  virtual void RaiseNmi() = 0;
  virtual void SendInit() = 0;
  virtual void SendSipi(uint8_t vector) = 0;
};

// LAPICs that are not IrqChips'. Called with its lock held, from any thread; calls back
// only VcpuSignals' users, later.
class Lapics {
 public:
  static constexpr unsigned kPins = 24;
  struct Message {  // as an MSI
    uint64_t address = 0;
    uint32_t data = 0;
    friend bool operator==(const Message&, const Message&) = default;
  };

  virtual ~Lapics() = default;
  virtual void Send(const Message& message) = 0;
  // The IOAPIC's level-triggered messages by pin, no data where there is none: whose
  // end is to be told by IrqChips::EndOfInterrupt().
  virtual void SetLevelMessages(std::span<const Message, kPins> pins) = 0;
};

// 8259s, an IOAPIC and an 8254 that are not IrqChips' and its board's, as lib/cpu's
// InterruptChips has them. Called with IrqChips' lock held, from any thread.
class Chips {
 public:
  virtual ~Chips() = default;
  virtual void SetLine(unsigned line, bool high) = 0;
  virtual void SetLevelTriggered(unsigned irq) = 0;
  virtual void ReplaceTimer(bool replaced) = 0;
  virtual void Reset() = 0;
};

struct IrqChipsConfig {
  unsigned vcpus = 1;  // 1 to IrqChips::kMaxVcpus; the index is the APIC id
  // Of the TSC that guests see: TSC = ns of the clock * tsc_hz / 10^9.
  uint64_t tsc_hz = 1'000'000'000;
};

class IrqChips final : public Device, public MsiSink {
 public:
  static constexpr unsigned kMaxVcpus = 255;
  static constexpr uint64_t kIoapicBase = 0xFEC00000;
  static constexpr uint64_t kLapicBase = 0xFEE00000;
  static constexpr unsigned kLapicTimerHz = 1'000'000'000;

  // Regions, with the place they have on a PC.
  enum Region : unsigned {
    kPicMaster,  // ports 0x20, 2 bytes, max_access 1
    kPicSlave,   // ports 0xA0, 2 bytes, max_access 1
    kElcr,       // ports 0x4D0, 2 bytes, max_access 1
    kIoapic,     // MMIO kIoapicBase, 4 KiB, min_access 4, max_access 4
  };

  IrqChips(const IrqChipsConfig& config, Clock& clock);
  ~IrqChips() override;

  DeviceLock& lock();
  // Before any vCPU runs, and Reset() after it; null: its own again.
  void UseLapics(Lapics* lapics);
  // All lines lead there, and nothing is pending here any more; UseLapics() before it.
  // Before any vCPU runs, and Reset() after it; null: its own again.
  void UseChips(Chips* chips);
  // As the trigger registers say it; with UseChips() only.
  void SetLevelTriggered(unsigned irq);
  void ReplaceTimer(bool replaced);
  // From any thread: one of those ended this level-triggered vector.
  void EndOfInterrupt(uint8_t vector);
  // Before the vCPU runs; null takes it away.
  void ConnectVcpu(unsigned vcpu, VcpuSignals* signals);

  // Lines that live as long as this object. What shares a line gets a source of
  // its own (null past 40 of them), which must go before this object: the line
  // is high where any source is. Saved state knows sources by the order in which
  // they were made; load this device before those that drive its lines.
  IrqLine& isa_irq(unsigned irq);     // 0 to 15
  IrqLine& ioapic_pin(unsigned pin);  // 16 to 23
  std::unique_ptr<IrqLine> NewIsaSource(unsigned irq);
  std::unique_ptr<IrqLine> NewPinSource(unsigned pin);
  void SendMsi(uint64_t address, uint32_t data) override;
  // To every vCPU's LINT1 (the NMI button, SERR).
  void PulseNmi();

  // For VcpuBus. InterruptPending() takes no lock.
  int AcknowledgeInterrupt(unsigned vcpu);
  bool InterruptPending(unsigned vcpu) const;
  uint64_t ReadCr8(unsigned vcpu);
  void WriteCr8(unsigned vcpu, uint64_t value);
  // IA32_APIC_BASE, IA32_TSC_DEADLINE, 0x800 to 0x8FF. False: #GP(0).
  bool ReadApicMsr(unsigned vcpu, uint32_t msr, uint64_t* value);
  bool WriteApicMsr(unsigned vcpu, uint32_t msr, uint64_t value);
  // False where `gpa` is not in this vCPU's LAPIC page: ask the bus.
  bool ReadLapic(unsigned vcpu, uint64_t gpa, unsigned size, uint64_t* value);
  bool WriteLapic(unsigned vcpu, uint64_t gpa, unsigned size, uint64_t value);

  absl::string_view name() const override { return "irqchips"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::dev

#endif  // LIB_DEV_IRQ_CHIPS_H_
