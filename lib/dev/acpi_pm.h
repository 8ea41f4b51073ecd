// SPDX-License-Identifier: Apache-2.0
// The PIIX4's power management block: ACPI PM1 event and control registers, the
// PM timer, general purpose events 0, and the APM control port by which an
// operating system turns ACPI on (ACPI 6.0, 4.8; 82371AB datasheet, 7.2). There
// is no SMM: the APM port does directly what its handler would.
#ifndef LIB_DEV_ACPI_PM_H_
#define LIB_DEV_ACPI_PM_H_

#include <cstdint>
#include <memory>

#include "lib/dev/clock.h"
#include "lib/dev/device.h"
#include "lib/dev/irq.h"
#include "lib/dev/system_control.h"

namespace atl::dev {

class AcpiPm final : public Device {
 public:
  static constexpr uint64_t kTimerHz = 3579545;
  static constexpr unsigned kSciIrq = 9;
  // For the FADT and the DSDT's \_S5.
  static constexpr uint16_t kPm1EventPort = 0x600;
  static constexpr uint16_t kPm1ControlPort = 0x604;
  static constexpr uint16_t kPmTimerPort = 0x608;
  static constexpr uint16_t kGpe0Port = 0xAFE0;
  static constexpr uint16_t kSmiCommandPort = 0xB2;
  static constexpr uint8_t kAcpiEnable = 0xF1;
  static constexpr uint8_t kAcpiDisable = 0xF0;
  static constexpr uint8_t kS5SleepType = 0;

  // Regions, with the place they have on a PC.
  enum Region : unsigned {
    kPm,    // ports 0x600 (the PM function's PMBASE), 64 bytes, max_access 4
    kGpe0,  // ports 0xAFE0, 4 bytes: status, enable, 2 bytes each
    kApm,   // ports 0xB2, 2 bytes: control, status; max_access 1
  };

  AcpiPm(IrqLine& sci, Clock& clock, SystemControl& system);

  // The operating system is asked to shut down.
  void PressPowerButton();
  // It is asked to sleep.
  void PressSleepButton();
  // A general purpose event, 0 to 15.
  void RaiseGpe(unsigned event);
  // ACPI is on from the start, for guests that start without firmware.
  void EnableAcpi();

  absl::string_view name() const override { return "acpi-pm"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  uint64_t TimerTicks() const;
  void CatchUp();  // the timer's carry into the status
  void Update();   // the SCI and the carry's timer
  uint8_t ReadByte(unsigned region, uint64_t offset) const;
  void WriteByte(unsigned region, uint64_t offset, uint8_t value);
  void WriteControl(uint16_t value);

  IrqLine& sci_;
  Clock& clock_;
  SystemControl& system_;
  std::unique_ptr<Timer> timer_;
  uint16_t pm1_status_ = 0;
  uint16_t pm1_enable_ = 0;
  uint16_t pm1_control_ = 0;
  uint16_t gpe_status_ = 0;
  uint16_t gpe_enable_ = 0;
  uint8_t apm_control_ = 0;
  uint8_t apm_status_ = 0;
  uint64_t carries_ = 0;  // toggles of the timer's top bit that were seen
};

}  // namespace atl::dev

#endif  // LIB_DEV_ACPI_PM_H_
