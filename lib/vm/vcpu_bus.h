// SPDX-License-Identifier: Apache-2.0
// What a vCPU sees around it: the bus and the interrupt controllers.
#ifndef LIB_VM_VCPU_BUS_H_
#define LIB_VM_VCPU_BUS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/chips.h"
#include "lib/dev/bus.h"
#include "lib/dev/clock.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/irq_chips.h"
#include "lib/dev/vmmouse.h"
#include "lib/vm/machine_stats.h"

namespace atl::vm {

// The devices of a bus by name, for counting: several of one name are one.
struct BusDevices {
  explicit BusDevices(const dev::Bus& bus) : of_mapping(bus.count()) {
    for (unsigned i = 0; i < bus.count(); ++i) {
      const std::string name(bus.DeviceName(i));
      const auto at = std::find(names.begin(), names.end(), name);
      of_mapping[i] = static_cast<unsigned>(at - names.begin());
      if (at == names.end()) names.push_back(name);
    }
  }
  std::vector<std::string> names;
  std::vector<unsigned> of_mapping;  // index in `names`
};

// One a vCPU, since each has its own LAPIC page. Called on the vCPU's thread. What
// it is called for is counted and timed: the vCPU has left the guest for it.
class MachineVcpuBus final : public cpu::VcpuBus {
 public:
  MachineVcpuBus(unsigned vcpu, dev::Bus& bus, dev::IrqChips& irqs, const dev::Clock& clock,
                 VcpuStats& stats, const BusDevices& devices)
      : vcpu_(vcpu),
        bus_(bus),
        irqs_(irqs),
        clock_(clock),
        stats_(stats),
        devices_(devices.of_mapping) {}

  // VMware's mouse is called with registers of `vcpu`, which this is the bus of:
  // within PortIn() a backend's general registers can be read and set, and what is
  // read comes after that. Both outlive its running.
  void ConnectMouse(dev::VmMouse* mouse, dev::DeviceLock* lock, cpu::Vcpu* vcpu) {
    mouse_ = mouse;
    mouse_lock_ = lock;
    registers_ = vcpu;
  }

  uint32_t PortIn(uint16_t port, unsigned size) override {
    const uint64_t left = stats_.Left();
    stats_.counters().io_exits.Add();
    if (port == dev::VmMouse::kPort && size == 4 && mouse_ != nullptr) {
      const uint32_t value = CallMouse();
      stats_.Entered(left, Leave::kIo);
      return value;
    }
    dev::Bus::MappingId owner;
    const uint64_t value = bus_.Read(dev::Space::kPort, port, size, &owner);
    stats_.Entered(left, Leave::kIo, DeviceOf(owner));
    return static_cast<uint32_t>(value);
  }
  void PortOut(uint16_t port, unsigned size, uint32_t value) override {
    const uint64_t left = stats_.Left();
    stats_.counters().io_exits.Add();
    dev::Bus::MappingId owner;
    bus_.Write(dev::Space::kPort, port, size, value, &owner);
    stats_.Entered(left, Leave::kIo, DeviceOf(owner));
  }
  uint64_t MmioRead(Gpa at, unsigned size) override {
    const uint64_t left = stats_.Left();
    stats_.counters().mmio_exits.Add();
    uint64_t value;
    if (irqs_.ReadLapic(vcpu_, at.value, size, &value)) {
      stats_.Entered(left, Leave::kLapic);
      return value;
    }
    dev::Bus::MappingId owner;
    value = bus_.Read(dev::Space::kMmio, at.value, size, &owner);
    stats_.Entered(left, Leave::kMmio, DeviceOf(owner));
    return value;
  }
  void MmioWrite(Gpa at, unsigned size, uint64_t value) override {
    const uint64_t left = stats_.Left();
    stats_.counters().mmio_exits.Add();
    if (irqs_.WriteLapic(vcpu_, at.value, size, value)) {
      return stats_.Entered(left, Leave::kLapic);
    }
    dev::Bus::MappingId owner;
    bus_.Write(dev::Space::kMmio, at.value, size, value, &owner);
    stats_.Entered(left, Leave::kMmio, DeviceOf(owner));
  }
  int AcknowledgeInterrupt(unsigned vcpu) override {
    const uint64_t left = stats_.Left();
    const int vector = irqs_.AcknowledgeInterrupt(vcpu);
    stats_.counters().irq_exits.Add();
    if (vector >= 0) stats_.counters().irq_injections.Add();
    stats_.Entered(left, Leave::kIrq);
    return vector;
  }
  bool InterruptPending(unsigned vcpu) override { return irqs_.InterruptPending(vcpu); }
  // Also what a backend asks for its own sake.
  uint64_t ReadCr8(unsigned vcpu) override { return irqs_.ReadCr8(vcpu); }
  void WriteCr8(unsigned vcpu, uint64_t value) override {
    const uint64_t left = stats_.Left();
    stats_.counters().cr8.Add();
    irqs_.WriteCr8(vcpu, value);
    stats_.Entered(left, Leave::kCr8);
  }
  bool ReadApicMsr(unsigned vcpu, uint32_t msr, uint64_t* value) override {
    const uint64_t left = stats_.Left();
    stats_.counters().msr.Add();
    const bool known = irqs_.ReadApicMsr(vcpu, msr, value);
    stats_.Entered(left, Leave::kMsr);
    return known;
  }
  bool WriteApicMsr(unsigned vcpu, uint32_t msr, uint64_t value) override {
    const uint64_t left = stats_.Left();
    stats_.counters().msr.Add();
    const bool known = irqs_.WriteApicMsr(vcpu, msr, value);
    stats_.Entered(left, Leave::kMsr);
    return known;
  }
  void EndOfInterrupt(uint8_t vector) override {
    const uint64_t left = stats_.Left();
    irqs_.EndOfInterrupt(vector);
    stats_.Entered(left, Leave::kLapic);
  }
  uint64_t NowNs() override { return clock_.NowNs(); }

 private:
  uint32_t CallMouse() {
    constexpr uint32_t kNothing = ~uint32_t{0};
    absl::StatusOr<cpu::Regs> regs = registers_->GetRegs();
    if (!regs.ok()) return kNothing;
    const auto low = [&](cpu::Gpr r) { return static_cast<uint32_t>(regs->gpr[r]); };
    dev::VmMouse::Registers r{low(cpu::kRax), low(cpu::kRbx), low(cpu::kRcx), low(cpu::kRdx)};
    if (!mouse_lock_->Run([&] { return mouse_->Call(r); })) return kNothing;
    regs->gpr[cpu::kRbx] = r.ebx;
    regs->gpr[cpu::kRcx] = r.ecx;
    regs->gpr[cpu::kRdx] = r.edx;
    return registers_->SetRegs(*regs).ok() ? r.eax : kNothing;
  }
  unsigned DeviceOf(dev::Bus::MappingId owner) const {
    return owner < devices_.size() ? devices_[owner] : VcpuStats::kNoDevice;
  }

  const unsigned vcpu_;
  dev::Bus& bus_;
  dev::IrqChips& irqs_;
  const dev::Clock& clock_;
  VcpuStats& stats_;
  const std::vector<unsigned> devices_;
  dev::VmMouse* mouse_ = nullptr;
  dev::DeviceLock* mouse_lock_ = nullptr;
  cpu::Vcpu* registers_ = nullptr;
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

// The other interrupt controllers, where the VM has them.
class VmChips final : public dev::Chips {
 public:
  explicit VmChips(cpu::InterruptChips& chips) : chips_(chips) {}
  void SetLine(unsigned line, bool high) override { chips_.SetLine(line, high); }
  void SetLevelTriggered(unsigned irq) override { chips_.SetLevelTriggered(irq); }
  void ReplaceTimer(bool replaced) override { chips_.ReplaceTimer(replaced); }
  void Reset() override { (void)chips_.Reset(); }

 private:
  cpu::InterruptChips& chips_;
};

// LAPICs that the VM has itself.
class VmLapics final : public dev::Lapics {
 public:
  explicit VmLapics(cpu::Vm& vm) : vm_(vm) {}
  void Send(const Message& message) override { vm_.SendInterrupt(ToCpu(message)); }
  void SetLevelMessages(std::span<const Message, kPins> pins) override {
    std::array<cpu::InterruptMessage, cpu::Vm::kLevelMessages> out;
    static_assert(cpu::Vm::kLevelMessages == kPins);
    for (unsigned i = 0; i < kPins; ++i) out[i] = ToCpu(pins[i]);
    vm_.SetLevelMessages(out);
  }

 private:
  static cpu::InterruptMessage ToCpu(const Message& m) { return {m.address, m.data}; }
  cpu::Vm& vm_;
};

}  // namespace atl::vm

#endif  // LIB_VM_VCPU_BUS_H_
