// SPDX-License-Identifier: Apache-2.0
// A vCPU of the software CPU: state, MMU, code cache and the loop that runs
// decoded blocks. The instruction handlers (exec_*.cc), the system code
// (sys_*.cc) and the MMU work on this class; nothing outside lib/cpu/soft
// includes this header.
//
// Run(): events (events.cc) -> block (code_cache.cc) -> handlers, until an
// event ends it. One thread a vCPU; signals from others are atomics in
// `requests` and a wake-up.
#ifndef LIB_CPU_SOFT_VCPU_H_
#define LIB_CPU_SOFT_VCPU_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

#include "lib/base/mutex.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/soft/fault.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/mmu.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/translate_area.h"

namespace atl::cpu::soft {

class SoftVm;
class CodeCache;
class Translator;
class Verifier;
struct Block;
struct Native;

// Bits of SoftVcpu::requests.
enum Request : uint32_t {
  kKickRequest = 1 << 0,
  kInterruptRequest = 1 << 1,  // the line is high; stays until it is low
  kNmiRequest = 1 << 2,
  kInitRequest = 1 << 3,
  kSipiRequest = 1 << 4,
  kFlushRequest = 1 << 5,  // Mmu::RequestFlush()
  // What the instruction stream itself wants looked at before the next one:
  // the shadow has passed, TF is set, a debug exception is pending.
  kInternalRequest = 1 << 6,
  kCodeRequest = 1 << 7,  // Translator::TakeWrittenPages()
};

class SoftVcpu final : public Vcpu {
 public:
  SoftVcpu(SoftVm& vm, GuestMemory& memory, const VcpuConfig& config);
  ~SoftVcpu() override;

  // With room for a little stack in front and the TranslateArea behind.
  static void* operator new(size_t size, std::align_val_t alignment);
  static void operator delete(void* p, std::align_val_t alignment);
  TranslateArea& area();

  // Vcpu.
  absl::StatusOr<Exit> Run() override;
  void WaitForWork() override;
  void Kick() override;
  void SetInterruptLine(bool high) override;
  void RaiseNmi() override;
  void SendInit() override;
  void SendSipi(uint8_t vector) override;
  void Reset() override;
  absl::StatusOr<Regs> GetRegs() override;
  absl::Status SetRegs(const Regs& regs) override;
  absl::StatusOr<SystemRegs> GetSystemRegs() override;
  absl::Status SetSystemRegs(const SystemRegs& regs) override;
  absl::StatusOr<uint64_t> GetMsr(uint32_t msr) override;
  absl::Status SetMsr(uint32_t msr, uint64_t value) override;
  absl::Status Save(SavedVcpu* out) override;
  absl::Status Load(const SavedVcpu& in, StatePart part) override;
  uint64_t instructions() const override { return retired.load(std::memory_order_relaxed); }

  // For handlers: records an exception and is what they return.
  Step Raise(Vector v) {
    fault = {v, false, 0, 0};
    return Step::kFault;
  }
  Step Raise(Vector v, uint32_t error_code) {
    fault = {v, true, error_code, 0};
    return Step::kFault;
  }

  // An instruction that the block goes on behind has set IF. True: there is an
  // interrupt to take, the block must be left.
  bool InterruptsEnabled() {
    event_mask_ = ~uint32_t{0};
    return (requests.load(std::memory_order_relaxed) & kInterruptRequest) != 0;
  }
  // Sets requests, from any thread; translated code sees it soon.
  void Ask(uint32_t request) {
    requests.fetch_or(request, std::memory_order_seq_cst);
    area().go_on.store(0, std::memory_order_seq_cst);
  }
  // Requests that end a run of blocks now.
  uint32_t Posted() const { return requests.load(std::memory_order_relaxed) & event_mask_; }

  bool user() const { return s.cpl == 3; }
  Rights rights() const { return s.cpl == 3 ? Rights::kUser : Rights::kSupervisor; }
  bool in_64bit() const { return s.code_size == CodeSize::k64; }

  CpuState s;
  Fault fault;
  Exit exit;
  VcpuCounters own_counters;  // where nobody else wants them
  VcpuCounters& counters;
  Mmu mmu;
  SoftVm& vm;
  VcpuBus& bus;
  GuestMemory& memory;
  const unsigned index;
  const unsigned count;
  std::unique_ptr<CodeCache> code;
  std::unique_ptr<Translator> translator;  // null: interpret only
  // The page version that the running block was decoded at, and where the
  // present one stands: a store that changes it ends the block (kLeave).
  const std::atomic<uint32_t>* block_version_at = nullptr;
  uint32_t block_version = 0;
  unsigned pauses = 0;  // PAUSE instructions since the last yield of the host CPU

  // What others asked of this vCPU; zero while there is nothing to look at.
  std::atomic<uint32_t> requests{0};
  std::atomic<uint8_t> sipi_vector{0};
  std::atomic<uint64_t> retired{0};
  // Whether the thread is inside Run(), and so may hold fast TLB entries in use.
  std::atomic<bool> in_run{false};

 private:
  // What looking at events came to.
  enum class Next : uint8_t {
    kRun,     // blocks, as fast as they go
    kSingle,  // one instruction, then events again
    kExit,    // `exit` is filled in
  };
  void Post(uint32_t request);  // sets the bit, wakes the thread where it waits
  bool WorkPosted() const;      // something ends a halt

  uint32_t EventMask() const {
    return (s.rflags_rest & kIf) ? ~uint32_t{0} : ~uint32_t{kInterruptRequest};
  }

  // events.cc. False: `exit` is filled in.
  Next LookAtEvents();
  bool Deliver();  // `fault`
  bool RunBlocks();
  std::unique_ptr<Verifier> verifier;  // null: translated code is believed
  // Runs translated code from `n`. The block to interpret next, or null: see `go`.
  Block* RunNative(Native* n, bool* go);
  Step RunVerified(Native& n);
  Native* Translated(Block& b);
  bool RunSingle();
  bool CheckCodeBreakpoints();
  void TakeInit();
  void Shutdown();  // triple fault
  bool CannotFetch();

  // The requests that end a run of blocks: without kInterruptRequest while IF is 0
  // (or with it: then events are looked at for nothing).
  uint32_t event_mask_ = ~uint32_t{0};
  std::atomic<bool> waiting_{false};
  unsigned spin_ns_ = 20000;  // how long WaitForWork() spins before it sleeps
  Mutex wait_mu_;
  CondVar wait_cv_;
};

inline TranslateArea& SoftVcpu::area() {
  constexpr size_t kBehind = (sizeof(SoftVcpu) + 4095) & ~size_t{4095};
  return *reinterpret_cast<TranslateArea*>(reinterpret_cast<uint8_t*>(this) + kBehind);
}

// ---- sys_*.cc: exceptions, interrupts, far transfers ----

// Delivers `fault` or an interrupt: pushes the frame and sets rip by the mode's
// rules, with #DF and triple fault. `soft_interrupt`: INT n, INT3, INTO (rip
// pushed is `next_rip`, DPL of the gate is checked). False: triple fault.
bool DeliverFault(SoftVcpu& c);
bool DeliverInterrupt(SoftVcpu& c, uint8_t vector);
Step SoftwareInterrupt(SoftVcpu& c, uint8_t vector, uint64_t next_rip);

// Loads a segment register as MOV/POP/LDS do, with all checks; false: fault.
bool LoadSegment(SoftVcpu& c, SegmentIndex index, uint16_t selector);
// Sets the hidden part in real and virtual-8086 mode.
void LoadSegmentReal(SoftVcpu& c, SegmentIndex index, uint16_t selector);
// Power-on state of vCPU `index`; INIT keeps what vol. 3, table 10-1 says it does.
void ResetState(SoftVcpu& c, bool init);
// Recomputes code_size, stack32, cpl-derived and paging-derived fields and the
// segments' flat bits after any change to CR0, EFER, CS, SS or RFLAGS.VM.
void ModeChanged(SoftVcpu& c);

inline uint64_t LinearRip(const SoftVcpu& c) {
  if (c.in_64bit()) return c.s.rip;
  return static_cast<uint32_t>(c.s.seg[kCs].base + c.s.rip);
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_VCPU_H_
