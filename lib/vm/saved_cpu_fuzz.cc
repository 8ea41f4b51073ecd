// SPDX-License-Identifier: Apache-2.0
// A processor's state from a hostile file. The input is one, as it stands, or says which
// bytes of a good one's values are changed: three input bytes a change, a few changes.
// What is not refused goes into the software CPU, which runs it for a moment.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "lib/base/endian.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/saved.h"
#include "lib/mem/guest_memory.h"
#include "lib/vm/saved_cpu.h"

namespace {

using namespace atl;  // NOLINT: a fuzz target is one function

constexpr size_t kMostChanges = 5;

// Kicks its vCPU when it asks for something.
class Bus final : public cpu::VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return 0; }
  void PortOut(uint16_t, unsigned, uint32_t) override {}
  uint64_t MmioRead(Gpa, unsigned) override { return 0; }
  void MmioWrite(Gpa, unsigned, uint64_t) override {}
  int AcknowledgeInterrupt(unsigned) override {
    vcpu->Kick();
    return 0x31;
  }
  bool InterruptPending(unsigned) override { return true; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override {
    vcpu->Kick();
    return 1000;
  }

  cpu::Vcpu* vcpu = nullptr;
};

struct World {
  std::unique_ptr<GuestMemory> memory;
  Bus bus;
  std::unique_ptr<cpu::Vm> vm;
  std::unique_ptr<cpu::Vcpu> vcpu;
  std::vector<uint8_t> good[2];   // in real and in 64-bit mode
  std::vector<size_t> values[2];  // where its fields' bytes lie, not their names

  World() {
    auto made = GuestMemory::Create(2 << 20);
    if (!made.ok()) std::abort();
    memory = *std::move(made);
    cpu::BackendOptions options;
    options.translate = false;
    auto created = cpu::kSoftBackend.create_vm(options, *memory);
    if (!created.ok()) std::abort();
    vm = *std::move(created);
    auto cpu = vm->CreateVcpu({.index = 0, .count = 1, .bus = &bus});
    if (!cpu.ok()) std::abort();
    vcpu = *std::move(cpu);
    bus.vcpu = vcpu.get();

    cpu::SavedVcpu state;
    if (!vcpu->Save(&state).ok()) std::abort();
    state.regs.rip = 0x1000;
    state.system.segment[cpu::kCs].base = 0;
    good[0] = vm::ToBytes(state);
    state.system.cr0 = 0x80010033;
    state.system.cr3 = 0x10000;
    state.system.cr4 = 0x6A0;
    state.system.efer = 0xD01;
    state.system.segment[cpu::kCs].l = true;
    state.regs.gpr[cpu::kRsp] = 0x8000;
    state.regs.rflags = 0x202;
    good[1] = vm::ToBytes(state);
    if (!vcpu->Load(state, cpu::StatePart::kWhole).ok()) std::abort();
    // lib/dev/state.cc: the head, then kind, name's length, name, length, bytes.
    for (unsigned i = 0; i < 2; ++i) {
      const std::vector<uint8_t>& g = good[i];
      for (size_t at = 8 + LoadLe<uint16_t>(&g[6]); at + 6 <= g.size();) {
        const size_t value = at + 2 + g[at + 1] + 4;
        const size_t end = value + LoadLe<uint32_t>(&g[value - 4]);
        for (at = value; at < end; ++at) values[i].push_back(at);
      }
    }
  }

  // The code, and tables that map the first 2 MiB to themselves.
  void Fill() {
    const uint8_t code[] = {0xFB, 0x0F, 0x31, 0xF4};  // sti; rdtsc; hlt
    memory->Fill(Gpa(0), 0, 2 << 20);
    memory->Write(Gpa(0x1000), code);
    memory->Store<uint64_t>(Gpa(0x10000), 0x11007);
    memory->Store<uint64_t>(Gpa(0x11000), 0x12007);
    memory->Store<uint64_t>(Gpa(0x12000), 0x87);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Destroyed at the end: no leak check looks into the pages that a software vCPU lies in.
  static World world;
  if (size == 0) return 0;
  std::vector<uint8_t> bytes;
  if (data[0] >= 0xF0) {
    bytes.assign(data + 1, data + size);
  } else {
    const std::vector<size_t>& values = world.values[data[0] & 1];
    bytes = world.good[data[0] & 1];
    for (size_t i = 1; i + 2 < size && i < 3 * kMostChanges; i += 3) {
      bytes[values[(data[i] | data[i + 1] << 8) % values.size()]] = data[i + 2];
    }
  }
  (void)vm::SavedVmFromBytes(bytes);
  const auto state = vm::SavedVcpuFromBytes(bytes);
  if (!state.ok()) return 0;
  const auto again = vm::SavedVcpuFromBytes(vm::ToBytes(*state));
  if (!again.ok() || vm::ToBytes(*again) != vm::ToBytes(*state)) std::abort();
  const auto part = (data[0] & 2) != 0 ? cpu::StatePart::kRegisters : cpu::StatePart::kWhole;
  world.Fill();
  if (!world.vcpu->Load(*state, part).ok()) return 0;
  cpu::SavedVcpu now;
  if (!world.vcpu->Save(&now).ok()) std::abort();
  // It may loop for ever; a kick ends that. What it saves then can be loaded.
  world.vcpu->SetInterruptLine(true);
  std::atomic<bool> done{false};
  std::thread kicker([&] {
    for (unsigned i = 0; i < 20 && !done; ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    world.vcpu->Kick();
  });
  const bool ran = world.vcpu->Run().ok();
  done = true;
  kicker.join();
  if (!ran) std::abort();
  if (!world.vcpu->Save(&now).ok()) std::abort();
  if (!world.vcpu->Load(now, cpu::StatePart::kWhole).ok()) std::abort();
  return 0;
}
