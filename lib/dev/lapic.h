// SPDX-License-Identifier: Apache-2.0
// A local APIC: xAPIC registers and the x2APIC MSRs, its timer, its IPIs (Intel
// SDM vol. 3, chapter 11). Part of IrqChips and under its lock; pending() is
// the only call that needs none.
//
// Not there: SMI, CMCI and EOI-broadcast suppression (its version says so),
// logical ids that software sets in x2APIC mode (they are fixed there).
#ifndef LIB_DEV_LAPIC_H_
#define LIB_DEV_LAPIC_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "lib/dev/apic.h"
#include "lib/dev/clock.h"
#include "lib/dev/state.h"

namespace atl::dev {

class VcpuSignals;

class Lapic {
 public:
  // The APIC id is `id`; id 0 is the bootstrap processor.
  Lapic(uint32_t id, uint64_t tsc_hz, Clock& clock, ApicFabric& fabric);

  void Reset();  // power-on
  void Connect(VcpuSignals* signals);

  // Whether a message with a destination is (also) for this one.
  bool IsAddressed(const ApicMessage& message) const;
  void Deliver(const ApicMessage& message);
  uint8_t ProcessorPriority() const;
  bool hardware_enabled() const { return base() & (1 << 11); }
  bool takes_interrupts() const { return hardware_enabled() && (spurious_ & kSoftwareEnable); }

  // LINT0 is the 8259's INTR, LINT1 the NMI line.
  void SetLint0(bool level);
  void PulseLint1();

  // Whether the vCPU has something to acknowledge. From any thread.
  bool pending() const { return pending_.load(std::memory_order_acquire); }
  // The vector that is now in service, or -1.
  int Acknowledge();
  bool AcceptsExtInt() const;
  // After any change of pic_output().
  void Update();

  uint8_t task_priority() const { return task_priority_; }
  void set_task_priority(uint8_t value);

  // Where the page is; bit 11 enables it, bit 10 is x2APIC mode.
  uint64_t base() const { return base_.load(std::memory_order_relaxed); }
  bool WriteBase(uint64_t value);
  uint64_t deadline() const { return deadline_tsc_; }
  void WriteDeadline(uint64_t tsc);
  bool ReadX2(uint32_t msr, uint64_t* value);
  bool WriteX2(uint32_t msr, uint64_t value);
  uint32_t ReadPage(uint64_t offset);
  void WritePage(uint64_t offset, uint32_t value);

  void VisitState(StateVisitor& v);

 private:
  static constexpr uint32_t kSoftwareEnable = 1 << 8;
  enum Lvt : unsigned { kTimer, kThermal, kPerformance, kLint0, kLint1, kError };
  static constexpr unsigned kLvts = 6;
  enum class TimerMode : uint8_t { kOneShot, kPeriodic, kDeadline, kOff };

  bool x2() const { return base() & (1 << 10); }
  void ResetRegisters();
  uint32_t logical_id() const;
  uint32_t ReadRegister(unsigned index);
  void WriteRegister(unsigned index, uint32_t value);
  void WriteLvt(unsigned lvt, uint32_t value);
  void SendIpi();
  void EndOfInterrupt();
  void Accept(uint8_t vector, bool level);
  void RunLvt(Lvt lvt);
  void ReportError(uint32_t bit);

  TimerMode timer_mode() const { return static_cast<TimerMode>(lvt_[kTimer] >> 17 & 3); }
  uint64_t divider() const;
  uint64_t period_ns() const { return uint64_t{initial_count_} * divider(); }
  uint32_t CurrentCount() const;
  void StartCount(uint64_t ns);
  void StopTimer();
  void Fire();

  const uint32_t id_;
  const uint64_t tsc_hz_;
  Clock& clock_;
  ApicFabric& fabric_;
  VcpuSignals* signals_ = nullptr;
  std::unique_ptr<Timer> timer_;
  std::atomic<bool> pending_{false};
  std::atomic<uint64_t> base_{0};

  uint8_t task_priority_ = 0;
  uint32_t logical_destination_ = 0;
  uint32_t destination_format_ = 0;
  uint32_t spurious_ = 0;
  uint32_t isr_[8] = {};
  uint32_t tmr_[8] = {};
  uint32_t irr_[8] = {};
  uint32_t errors_ = 0;        // gathered
  uint32_t error_status_ = 0;  // as the last write to ESR left it
  uint64_t icr_ = 0;
  uint32_t lvt_[kLvts] = {};
  bool lint0_ = false;
  uint32_t divide_ = 0;
  uint32_t initial_count_ = 0;
  bool counting_ = false;
  uint64_t expires_ns_ = 0;
  uint64_t deadline_tsc_ = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_LAPIC_H_
