// SPDX-License-Identifier: Apache-2.0
// What a vCPU sees around it: the bus and the interrupt controllers.
#ifndef LIB_VM_VCPU_BUS_H_
#define LIB_VM_VCPU_BUS_H_

#include <cstdint>

#include "lib/cpu/backend.h"
#include "lib/dev/bus.h"
#include "lib/dev/clock.h"
#include "lib/dev/irq_chips.h"

namespace atl::vm {

// One a vCPU, since each has its own LAPIC page. Called on the vCPU's thread.
class MachineVcpuBus final : public cpu::VcpuBus {
 public:
  MachineVcpuBus(unsigned vcpu, dev::Bus& bus, dev::IrqChips& irqs, const dev::Clock& clock)
      : vcpu_(vcpu), bus_(bus), irqs_(irqs), clock_(clock) {}

  uint32_t PortIn(uint16_t port, unsigned size) override {
    return static_cast<uint32_t>(bus_.Read(dev::Space::kPort, port, size));
  }
  void PortOut(uint16_t port, unsigned size, uint32_t value) override {
    bus_.Write(dev::Space::kPort, port, size, value);
  }
  uint64_t MmioRead(Gpa at, unsigned size) override {
    uint64_t value;
    if (irqs_.ReadLapic(vcpu_, at.value, size, &value)) return value;
    return bus_.Read(dev::Space::kMmio, at.value, size);
  }
  void MmioWrite(Gpa at, unsigned size, uint64_t value) override {
    if (irqs_.WriteLapic(vcpu_, at.value, size, value)) return;
    bus_.Write(dev::Space::kMmio, at.value, size, value);
  }
  int AcknowledgeInterrupt(unsigned vcpu) override { return irqs_.AcknowledgeInterrupt(vcpu); }
  bool InterruptPending(unsigned vcpu) override { return irqs_.InterruptPending(vcpu); }
  uint64_t ReadCr8(unsigned vcpu) override { return irqs_.ReadCr8(vcpu); }
  void WriteCr8(unsigned vcpu, uint64_t value) override { irqs_.WriteCr8(vcpu, value); }
  bool ReadApicMsr(unsigned vcpu, uint32_t msr, uint64_t* value) override {
    return irqs_.ReadApicMsr(vcpu, msr, value);
  }
  bool WriteApicMsr(unsigned vcpu, uint32_t msr, uint64_t value) override {
    return irqs_.WriteApicMsr(vcpu, msr, value);
  }
  uint64_t NowNs() override { return clock_.NowNs(); }

 private:
  const unsigned vcpu_;
  dev::Bus& bus_;
  dev::IrqChips& irqs_;
  const dev::Clock& clock_;
};

// The other direction: a LAPIC's signals to its vCPU.
class MachineVcpuSignals final : public dev::VcpuSignals {
 public:
  explicit MachineVcpuSignals(cpu::Vcpu& vcpu) : vcpu_(vcpu) {}
  void SetInterruptLine(bool high) override { vcpu_.SetInterruptLine(high); }
  void RaiseNmi() override { vcpu_.RaiseNmi(); }
  void SendInit() override { vcpu_.SendInit(); }
  void SendSipi(uint8_t vector) override { vcpu_.SendSipi(vector); }

 private:
  cpu::Vcpu& vcpu_;
};

}  // namespace atl::vm

#endif  // LIB_VM_VCPU_BUS_H_
