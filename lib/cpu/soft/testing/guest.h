// SPDX-License-Identifier: Apache-2.0
// A bare guest for tests of the software CPU: memory, vCPUs, a mode, bytes of
// machine code, and a bus that records.
#ifndef LIB_CPU_SOFT_TESTING_GUEST_H_
#define LIB_CPU_SOFT_TESTING_GUEST_H_

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/cpu/backend.h"
#include "lib/cpu/soft/model.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {

class RecordingBus final : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return 0xFFFFFFFF; }
  void PortOut(uint16_t port, unsigned, uint32_t value) override { outs.push_back({port, value}); }
  uint64_t MmioRead(Gpa at, unsigned size) override {
    mmio_reads.push_back({at.value, size});
    return 0x1122334455667788;
  }
  void MmioWrite(Gpa at, unsigned, uint64_t value) override {
    mmio_writes.push_back({at.value, value});
  }
  int AcknowledgeInterrupt(unsigned) override { return std::exchange(pending, -1); }
  bool InterruptPending(unsigned) override { return pending >= 0; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override { return now += 10; }

  std::vector<std::pair<uint16_t, uint32_t>> outs;
  std::vector<std::pair<uint64_t, uint64_t>> mmio_reads, mmio_writes;
  int pending = -1;
  std::atomic<uint64_t> now{0};
};

// Where things lie in the guest's memory (identity-mapped in 64-bit mode, 4 KiB
// pages, so that tests can take single pages away).
class Guest {
 public:
  static constexpr uint64_t kRam = 16 << 20;
  static constexpr uint64_t kCode = 0x100000, kStack = 0x200000, kData = 0x300000;
  static constexpr uint64_t kHandler = 0x180000;   // every exception HLTs at here + 16 * vector
  static constexpr uint64_t kPageTable = 0x40000;  // the PTEs of the first 16 MiB
  static constexpr uint64_t kIdt = 0x1000, kGdt = 0x2000, kTss = 0x3000;

  // Translation as it is by default, but for counting instructions and exact flags.
  explicit Guest(unsigned vcpus = 1, CpuModel model = CpuModel::kMax,
                 const TranslateConfig& translate = {.precise = true});

  void Write(uint64_t at, std::initializer_list<uint8_t> bytes) {
    memory->Write(Gpa(at), std::vector<uint8_t>(bytes));
  }
  void Write(uint64_t at, std::span<const uint8_t> bytes) { memory->Write(Gpa(at), bytes); }
  uint64_t Read64(uint64_t at) { return memory->Load<uint64_t>(Gpa(at)).value_or(0); }
  uint8_t Read8(uint64_t at) { return memory->Load<uint8_t>(Gpa(at)).value_or(0); }

  // Each sets registers, segments, IDT and tables so that vCPU `n` would run at
  // kCode (real mode: 0x1000:0) with the stack at kStack.
  void Enter64(unsigned n = 0);
  void Enter32(unsigned n = 0);  // flat, no paging
  void EnterReal(unsigned n = 0);

  // Sets the page's PTE (64-bit mode) and flushes.
  void MapPage(uint64_t linear, uint64_t entry);

  // Runs to HLT (or shutdown or error).
  Exit Run(unsigned n = 0);
  // Runs `bytes` at kCode (0x10000 in real mode), with a HLT behind them.
  Exit RunCode(std::initializer_list<uint8_t> bytes);

  // After a run that ended in an exception's HLT: its vector, or -1.
  int Vector(unsigned n = 0);

  SoftVcpu& cpu(unsigned n = 0) { return *vcpus_[n]; }

  std::unique_ptr<GuestMemory> memory;
  RecordingBus bus;

 private:
  std::unique_ptr<SoftVm> vm_;
  std::vector<std::unique_ptr<SoftVcpu>> vcpus_;
  uint64_t code_at_ = kCode;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TESTING_GUEST_H_
