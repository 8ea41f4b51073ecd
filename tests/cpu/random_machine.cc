// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/random_machine.h"

#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"
#include "lib/mem/guest_memory.h"
#include "tests/cpu/native_executor.h"
#include "tests/cpu/random_layout.h"

// The kernel's handlers, copied into the guest; they reach nothing but their
// own words, which the machine sets.
asm(R"(
.pushsection .rodata
.balign 16
atoll_random_kernel:
atoll_random_interrupt:
  lock incq atoll_random_interrupts(%rip)
  testb $3, atoll_random_interrupts(%rip)
  jnz 1f
  pushq %rax
  movq %cr3, %rax
  movq %rax, %cr3
  popq %rax
1: iretq
atoll_random_call:
  incq atoll_random_calls(%rip)
  iretq
atoll_random_syscall:
  incq atoll_random_calls(%rip)
  sysretq
atoll_random_debug:
  pushq %rax
  pushq %rcx
  pushq %rdx
  movq 24(%rsp), %rax
  leaq atoll_random_log(%rip), %rdx
  movl atoll_random_log_at(%rip), %ecx
  movq %rax, (%rdx,%rcx)
  addl $8, %ecx
  andl $0xFFF, %ecx
  movl %ecx, atoll_random_log_at(%rip)
  popq %rdx
  popq %rcx
  popq %rax
  iretq
atoll_random_page_fault:
  pushq %rax
  pushq %rcx
  pushq %rdx
  movq %cr2, %rax
  subq atoll_random_demand(%rip), %rax
  cmpq $0x4000, %rax
  jae 1f
  shrq $12, %rax
  movq atoll_random_entry0(%rip), %rcx
  testb $1, (%rcx,%rax,8)
  jnz 1f
  orq $1, (%rcx,%rax,8)
  movq atoll_random_entry1(%rip), %rcx
  orq $1, (%rcx,%rax,8)
  leaq atoll_random_log(%rip), %rdx
  movl atoll_random_log_at(%rip), %ecx
  movq %cr2, %rax
  xorq 24(%rsp), %rax
  xorq 32(%rsp), %rax
  movq %rax, (%rdx,%rcx)
  addl $8, %ecx
  andl $0xFFF, %ecx
  movl %ecx, atoll_random_log_at(%rip)
  popq %rdx
  popq %rcx
  popq %rax
  addq $8, %rsp
  iretq
1: popq %rdx
  popq %rcx
  popq %rax
  hlt
  addq $8, %rsp
  iretq
atoll_random_kernel_end:
# Only distances from the label matter: these lie a page behind the code.
.set atoll_random_interrupts, atoll_random_kernel + 0x1000
.set atoll_random_calls, atoll_random_kernel + 0x2000
.set atoll_random_log_at, atoll_random_kernel + 0x2008
.set atoll_random_demand, atoll_random_kernel + 0x1010
.set atoll_random_entry0, atoll_random_kernel + 0x1018
.set atoll_random_entry1, atoll_random_kernel + 0x1020
.set atoll_random_log, atoll_random_kernel + 0x3000
.popsection
)");
extern "C" const uint8_t atoll_random_kernel[], atoll_random_interrupt[], atoll_random_call[],
    atoll_random_syscall[], atoll_random_debug[], atoll_random_page_fault[],
    atoll_random_kernel_end[];

namespace atl::cpu::test {
namespace {

// Physical addresses.
constexpr uint64_t kTables[2] = {0x13000, 0x1B000};  // of 0x40000000 to 0x40200000
constexpr uint64_t kPdptKernel = 0x1C000, kPdKernel = 0x1D000, kGdt = 0x8000, kIdt = 0x9000,
                   kTss = 0xA000, kStubs = 0xB000, kKernel = 0x30000, kWords = kKernel + 0x1000,
                   kCalls = kKernel + 0x2000, kLog = kKernel + 0x3000;
constexpr uint64_t kInterruptStack = 0x22000, kFaultStack = 0x24000, kDebugStack = 0x26000,
                   kKernelStack = 0x28000;
// Scattered, so that what crosses a page is seen to.
constexpr uint64_t kCodeFrames[kProgramPages] = {0x60000, 0x67000, 0x63000, 0x6A000};
constexpr uint64_t kDataFrames[3] = {0x70000, 0x7A000, 0x75000};
constexpr uint64_t kExtraFrame = 0x80000, kStackFrames[2] = {0x82000, 0x85000};
constexpr uint64_t kDemandFrames = kRemapFrameAt + kPage * kRemapFrames;
constexpr uint64_t kPresent = 1, kWritable = 2, kUserPage = 4, kAccessedDirty = 0x60, kLarge = 0x80,
                   kGlobal = 0x100, kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kArithmetic =
    soft::kCf | soft::kPf | soft::kAf | soft::kZf | soft::kSf | soft::kOf;
constexpr unsigned kStubBytes = 16;
constexpr size_t kMaxEvents = 60;
constexpr auto kMaxTime = std::chrono::seconds(30);
// CPL 3 software may raise it: INT3, INTO, and the call of the kernel.
bool IsOpen(unsigned vector) { return vector == 3 || vector == 4 || vector == kCallVector; }

bool HasErrorCode(unsigned vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

class InterruptBus final : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return ~0u; }
  void PortOut(uint16_t, unsigned, uint32_t) override {}
  uint64_t MmioRead(Gpa, unsigned) override { return ~uint64_t{0}; }
  void MmioWrite(Gpa, unsigned, uint64_t) override {}
  int AcknowledgeInterrupt(unsigned) override {
    vcpu->SetInterruptLine(false);
    return kInterruptVector;
  }
  bool InterruptPending(unsigned) override { return true; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override { return now_ += 1000; }

  Vcpu* vcpu = nullptr;

 private:
  uint64_t now_ = 0;
};

// Kicks the vCPU that runs every millisecond or so, and interrupts it at random
// times where it is to be. One for all machines.
class Disturber {
 public:
  static Disturber& Get() {
    static Disturber& one = *new Disturber;  // its thread lives as long as the process
    return one;
  }
  void Set(Vcpu* vcpu, bool interrupts) {
    std::lock_guard lock(mu_);
    vcpu_ = vcpu;
    interrupts_ = interrupts;
  }

 private:
  Disturber() {
    std::thread([this] {
      prctl(PR_SET_TIMERSLACK, 1000);
      Random random(1);
      for (unsigned since_kick = 0;;) {
        const unsigned us = 3 + random.Below(random.Percent(50) ? 10 : 60);
        std::this_thread::sleep_for(std::chrono::microseconds(us));
        since_kick += us;
        std::lock_guard lock(mu_);
        if (vcpu_ == nullptr) continue;
        if (interrupts_) vcpu_->SetInterruptLine(true);
        if (since_kick < 500) continue;
        since_kick = 0;
        vcpu_->Kick();
      }
    }).detach();
  }

  std::mutex mu_;
  Vcpu* vcpu_ = nullptr;
  bool interrupts_ = false;
};

Segment MakeSegment(uint16_t selector, uint8_t type, bool l, bool user) {
  Segment s;
  s.selector = selector;
  s.limit = 0xFFFFFFFF;
  s.type = type;
  s.dpl = user ? 3 : 0;
  s.g = true;
  s.l = l;
  s.db = !l;
  return s;
}

class Machine final : public RandomMachine {
 public:
  Machine(const RunMode& mode, std::unique_ptr<GuestMemory> memory)
      : mode_(mode),
        memory_(std::move(memory)),
        vm_(*memory_, soft::CpuModel::kMax,
            {.on = mode.translate,
             .heat = mode.heat,
             .precise = mode.precise_flags,
             .verify = mode.verify}) {}

  const RunMode& mode() const override { return mode_; }

  absl::Status Prepare() {
    VcpuConfig config;
    config.bus = &bus_;
    ASSIGN_OR_RETURN(owner_, vm_.CreateVcpu(config));
    vcpu_ = static_cast<soft::SoftVcpu*>(owner_.get());
    bus_.vcpu = vcpu_;
    if (mode_.translate && vcpu_->translator == nullptr)
      return absl::InternalError("there is no memory for translated code");
    BuildKernel();
    for (const bool user : {false, true}) {
      SystemRegs r;
      ASSIGN_OR_RETURN(r, vcpu_->GetSystemRegs());
      r.cr0 = soft::kCr0Pe | soft::kCr0Mp | soft::kCr0Et | soft::kCr0Ne | soft::kCr0Wp |
              soft::kCr0Am | soft::kCr0Pg;
      r.cr3 = kCr3[0];
      r.cr4 = soft::kCr4Pae | soft::kCr4Pge | soft::kCr4Osfxsr | soft::kCr4Osxmmexcpt |
              soft::kCr4Fsgsbase | soft::kCr4Osxsave;
      r.efer = soft::kEferSce | soft::kEferLme | soft::kEferLma | soft::kEferNxe;
      r.segment[kCs] = MakeSegment(user ? 0x33 : 0x10, 11, true, user);
      r.segment[kSs] = MakeSegment(user ? 0x2B : 0x18, 3, false, user);
      for (SegmentIndex i : {kEs, kDs, kFs, kGs}) {
        r.segment[i] = MakeSegment(0, 3, false, user);
        r.segment[i].unusable = true;
      }
      r.segment[kFs].base = NativeFsBase();
      r.segment[kGs].base = kGsBase;
      r.tr = Segment();
      r.tr.base = kKernelAt + kTss;
      r.tr.limit = 0x67;
      r.tr.selector = 0x40;
      r.tr.type = 11;
      r.tr.s = false;
      r.ldt = Segment();
      r.ldt.unusable = true;
      r.gdt = {kKernelAt + kGdt, 0x4F};
      r.idt = {kKernelAt + kIdt, 0xFFF};
      RETURN_IF_ERROR(vcpu_->SetSystemRegs(r));
      soft::CpuState& s = vcpu_->s;
      s.xcr0 = soft::SupportedXcr0(vm_.model());
      s.star = uint64_t{0x20} << 48 | uint64_t{0x10} << 32;
      s.lstar = KernelAddress(atoll_random_syscall);
      s.sfmask = 0x47700;
      if (mode_.single) {
        // A breakpoint that nothing meets.
        s.dr[0] = 0x00007FFFFFFFF123;
        s.dr[7] = 0x402;
      }
      start_[user] = s;
    }
    return absl::OkStatus();
  }

  RunResult Run(const Program& program, const Assembled& assembled, bool cold,
                uint64_t limit) override {
    RunResult result;
    Load(program, assembled);
    if (cold) vcpu_->code->Clear();
    soft::CpuState& s = vcpu_->s;
    s = start_[program.kind != Program::kKernel];
    std::memcpy(s.gpr, program.start.gpr, sizeof s.gpr);
    s.rip = assembled.at[program.entry];
    soft::SetRflags(s, program.start.rflags | 0x202);
    std::memcpy(s.fpu.image, program.start.fx, 512);
    std::memcpy(s.fpu.ymm_high, program.start.ymm_high, sizeof s.fpu.ymm_high);
    const uint32_t mask = 0xFFFF;
    std::memcpy(s.fpu.image + soft::FpuState::kMxcsrMask, &mask, 4);
    ModeChanged(*vcpu_);
    vcpu_->mmu.ModeChanged();
    vcpu_->mmu.FlushAll();
    vcpu_->mmu.BreakpointsChanged();
    vcpu_->requests.store(0);

    const uint64_t before = vcpu_->instructions();
    const auto deadline = std::chrono::steady_clock::now() + kMaxTime;
    Disturber::Get().Set(vcpu_, mode_.interrupts);
    for (bool go = true; go;) {
      const absl::StatusOr<Exit> exit = vcpu_->Run();
      result.instructions = vcpu_->instructions() - before;
      if (!exit.ok()) {
        result.trouble = std::string(exit.status().message());
        break;
      }
      switch (exit->reason) {
        case ExitReason::kKicked:
          if (limit != 0 && result.instructions > limit) {
            result.kind = RunResult::kLong;
            go = false;
          } else if (std::chrono::steady_clock::now() > deadline) {
            result.trouble = absl::StrFormat("does not end: at %x", s.rip);
            go = false;
          }
          break;
        case ExitReason::kHalted:
          go = TakeEvent(program, assembled, &result);
          break;
        default:
          result.trouble = absl::StrFormat("%s; gdt %x, idt %x, tr %x",
                                           exit->detail.empty() ? "exit" : exit->detail, s.gdt.base,
                                           s.idt.base, s.tr.base);
          if (program.kind == Program::kKernel && s.rip < kKernelAt &&
              absl::StrContains(exit->detail, "is no memory to run code from"))
            Stop(&result);
          go = false;
          break;
      }
    }
    Disturber::Get().Set(nullptr, false);
    vcpu_->SetInterruptLine(false);
    // Where the tables of some other memory are taken, the TLB decides what is next.
    if (program.kind == Program::kKernel && s.cr3 != kCr3[0] && s.cr3 != kCr3[1]) {
      result.kind = RunResult::kAstray;
      absl::StrAppend(&result.trouble, absl::StrFormat("cr3 became %x", s.cr3));
    }
    Snapshot(&result);
    return result;
  }

 private:
  uint8_t* Host(uint64_t physical) { return memory_->ram_host() + physical; }
  void Put(uint64_t physical, const void* from, size_t size) {
    memory_->Write(Gpa(physical), {static_cast<const uint8_t*>(from), size});
  }
  void Put64(uint64_t physical, uint64_t v) { Put(physical, &v, 8); }
  void Zero(uint64_t physical, size_t size) { memory_->Fill(Gpa(physical), 0, size); }
  uint64_t Get64(uint64_t physical) {
    uint64_t v;
    std::memcpy(&v, Host(physical), 8);
    return v;
  }
  static uint64_t KernelAddress(const uint8_t* label) {
    return kKernelAt + kKernel + static_cast<uint64_t>(label - atoll_random_kernel);
  }

  void BuildKernel() {
    constexpr uint64_t kTable = kPresent | kWritable | kUserPage | kAccessedDirty;
    for (unsigned space = 0; space < 2; ++space) {
      const uint64_t root = kCr3[space];
      Put64(root, (root + 0x1000) | kTable);
      Put64(root + 0x1000 + 8 * (kCodeAt >> 30), (root + 0x2000) | kTable);
      Put64(root + 0x2000, kTables[space] | kTable);
      Put64(root + 8 * (kKernelAt >> 39), kPdptKernel | kTable);
    }
    Put64(kPdptKernel + 8 * (kKernelAt >> 30 & 511), kPdKernel | kTable);
    Put64(kPdKernel + 8 * (kKernelAt >> 21 & 511),
          kPresent | kWritable | kAccessedDirty | kLarge | kGlobal);
    // Null, -, kernel code and data, -, user data and code.
    Put64(kGdt + 0x10, 0x00AF9B000000FFFF);
    Put64(kGdt + 0x18, 0x00CF93000000FFFF);
    Put64(kGdt + 0x28, 0x00CFF3000000FFFF);
    Put64(kGdt + 0x30, 0x00AFFB000000FFFF);
    Put64(kTss + 4, kKernelAt + kKernelStack);
    Put64(kTss + 0x24, kKernelAt + kInterruptStack);
    Put64(kTss + 0x2C, kKernelAt + kFaultStack);
    Put64(kTss + 0x34, kKernelAt + kDebugStack);
    const uint16_t no_bitmap = 0xFFFF;
    Put(kTss + 0x66, &no_bitmap, 2);
    Put(kKernel, atoll_random_kernel,
        static_cast<size_t>(atoll_random_kernel_end - atoll_random_kernel));
    for (unsigned v = 0; v < 256; ++v) {
      std::vector<uint8_t> stub = {0xF4};
      if (HasErrorCode(v)) stub.insert(stub.end(), {0x48, 0x83, 0xC4, 0x08});
      stub.insert(stub.end(), {0x48, 0xCF});
      Put(kStubs + v * kStubBytes, stub.data(), stub.size());
      uint64_t at = kKernelAt + kStubs + v * kStubBytes, stack = 2;
      if (v == 1) at = KernelAddress(atoll_random_debug), stack = 3;
      if (v == 14) at = KernelAddress(atoll_random_page_fault);
      if (v == kInterruptVector) at = KernelAddress(atoll_random_interrupt), stack = 1;
      if (v == kCallVector) at = KernelAddress(atoll_random_call);
      Put64(kIdt + 16 * v, (at & 0xFFFF) | 0x10 << 16 | stack << 32 |
                               uint64_t{IsOpen(v) ? 0xEEu : 0x8Eu} << 40 |
                               (at >> 16 & 0xFFFF) << 48);
      Put64(kIdt + 16 * v + 8, at >> 32);
    }
  }

  void Map(uint64_t linear, uint64_t frame0, uint64_t frame1, uint64_t bits) {
    const uint64_t offset = 8 * (linear >> 12 & 511);
    Put64(kTables[0] + offset, frame0 | bits);
    Put64(kTables[1] + offset, frame1 | bits);
  }
  void Map(uint64_t linear, uint64_t frame, uint64_t bits) { Map(linear, frame, frame, bits); }

  // All memory that programs change, as it is before one runs.
  void Load(const Program& program, const Assembled& assembled) {
    const bool host = program.kind == Program::kHost;
    constexpr uint64_t kUserCode = kPresent | kUserPage, kUserData = kUserCode | kNoExecute;
    for (const uint64_t table : kTables) Zero(table, kPage);
    std::vector<uint8_t> pages(kProgramBytes, 0xCC);
    std::copy(assembled.code.begin(), assembled.code.end(),
              pages.begin() + static_cast<long>(program.offset));
    for (unsigned i = 0; i < kProgramPages; ++i) {
      Put(kCodeFrames[i], &pages[i * kPage], kPage);
      if (host && i >= kCodeBytes / kPage) continue;
      Map(kCodeAt + i * kPage, kCodeFrames[i], kUserCode | (host ? 0 : kWritable));
      if (!host) Map(kAliasAt + i * kPage, kCodeFrames[i], kUserData | kWritable);
    }
    for (unsigned i = 0; i < 3; ++i) {
      Put(kDataFrames[i], &program.data[i * kPage], kPage);
      const unsigned other = i < 2 ? 1 - i : i;
      Map(kDataAt + i * kPage, kDataFrames[i], kDataFrames[other],
          kUserData | (i < 2 ? kWritable : 0));
    }
    Zero(kExtraFrame, kPage);
    for (const uint64_t f : kStackFrames) Zero(f, kPage);
    Zero(kWords, 8);
    Zero(kCalls, 16);
    Zero(kLog, kPage);
    std::vector<uint64_t> pattern(kPage / 8);
    for (unsigned i = 0; i < kRemapFrames + kDemandPages; ++i) {
      std::fill(pattern.begin(), pattern.end(), 0x0101010101010101 * i);
      Put(kRemapFrameAt + i * kPage, pattern.data(), kPage);
    }
    for (unsigned i = 0; i < kRemapFrames; ++i) {
      std::vector<uint8_t> functions(kPage, 0xCC);
      for (unsigned f = 0; f < kRemapFunctions; ++f) {
        // ADD EAX, imm32; XOR EDX, imm32; RET, and the like.
        const uint8_t operation = static_cast<uint8_t>((i * 3 + f) % 8 << 3);
        const uint8_t v = static_cast<uint8_t>(17 * i + f);
        const uint8_t bytes[] = {0x81, static_cast<uint8_t>(0xC0 | operation),
                                 v,    i % 2 != 0,
                                 v,    1,
                                 0x81, 0xF2,
                                 v,    2,
                                 3,    4,
                                 0xC3};
        std::memcpy(&functions[f * kRemapFunctionBytes], bytes, sizeof bytes);
      }
      Put(kRemapCodeFrameAt + i * kPage, functions.data(), kPage);
    }
    if (host) return;
    for (const Program::Pointer& p : program.pointers)
      Put64(kExtraFrame + (p.at & (kPage - 1)), assembled.at[p.piece]);
    Map(kExtraAt, kExtraFrame, kUserData | kWritable);
    for (unsigned i = 0; i < 2; ++i)
      Map(kStackAt + i * kPage, kStackFrames[i], kUserData | kWritable);
    for (unsigned i = 0; i < kDemandPages; ++i)
      Map(kDemandAt + i * kPage, kDemandFrames + i * kPage,
          (kUserData | kWritable) & ~uint64_t{kPresent});
    for (unsigned i = 0; i < kRemapPages; ++i)
      Map(kRemapAt + i * kPage, kRemapFrameAt + i * kPage, kRemapFrameAt + (i + 2) * kPage,
          kUserData | kWritable);
    Map(kRemapCodeAt, kRemapCodeFrameAt, kRemapCodeFrameAt + kPage, kUserCode);
    Map(kTableWindowAt, kTables[0], kPresent | kWritable | kNoExecute);
    Map(kTableWindowAt + kPage, kTables[1], kPresent | kWritable | kNoExecute);
    Put64(kWords + 0x10, kDemandAt);
    Put64(kWords + 0x18, kKernelAt + kTables[0] + 8 * (kDemandAt >> 12 & 511));
    Put64(kWords + 0x20, kKernelAt + kTables[1] + 8 * (kDemandAt >> 12 & 511));
  }

  std::vector<uint64_t> WrittenPages() const {
    std::vector<uint64_t> pages(std::begin(kCodeFrames), std::end(kCodeFrames));
    pages.insert(pages.end(), std::begin(kDataFrames), std::end(kDataFrames));
    pages.insert(pages.end(), {kExtraFrame, kStackFrames[0], kStackFrames[1]});
    for (unsigned i = 0; i < kRemapFrames + kDemandPages; ++i)
      pages.push_back(kRemapFrameAt + i * kPage);
    return pages;
  }

  void Snapshot(RunResult* result) {
    std::vector<uint64_t> pages = WrittenPages();
    for (unsigned i = 0; i < kRemapFrames; ++i) pages.push_back(kRemapCodeFrameAt + i * kPage);
    pages.insert(pages.end(), {kTables[0], kTables[1], kCalls, kLog});
    result->memory.resize(pages.size() * kPage);
    for (size_t i = 0; i < pages.size(); ++i)
      std::memcpy(&result->memory[i * kPage], Host(pages[i]), kPage);
    result->interrupts = Get64(kWords);
  }

  uint64_t Checksum() {
    uint64_t sum = 0;
    for (const uint64_t page : WrittenPages()) {
      for (unsigned i = 0; i < kPage; i += 8)
        sum = (sum ^ Get64(page + i)) * 0x9E3779B97F4A7C15 + (sum >> 32);
    }
    return sum;
  }

  // Registers as they stand, and memory.
  void Record(Event* e) {
    const soft::CpuState& s = vcpu_->s;
    std::memcpy(e->at.gpr, s.gpr, sizeof e->at.gpr);
    std::memcpy(e->at.fx, s.fpu.image, 512);
    std::memcpy(e->at.ymm_high, s.fpu.ymm_high, sizeof e->at.ymm_high);
    e->memory = Checksum();
  }

  // A kernel program is where nothing goes on; its state is an event to compare.
  void Stop(RunResult* result) {
    const soft::CpuState& s = vcpu_->s;
    Event e;
    Record(&e);
    e.at.rip = s.rip;
    e.at.rflags = soft::GetRflags(s);
    result->events.push_back(e);
    result->kind = RunResult::kStopped;
  }

  // Of a handler that halted. False: the run is over.
  bool TakeEvent(const Program& program, const Assembled& assembled, RunResult* result) {
    soft::CpuState& s = vcpu_->s;
    const uint64_t stub = s.rip - (kKernelAt + kStubs), top = s.gpr[kRsp] - kKernelAt;
    Event e;
    if (stub < 256 * kStubBytes) {
      e.vector = static_cast<uint8_t>(stub / kStubBytes);
    } else if (s.rip > KernelAddress(atoll_random_page_fault) &&
               s.rip < KernelAddress(atoll_random_kernel_end)) {
      e.vector = 14;
    } else {
      result->trouble = absl::StrFormat("halted at %x", s.rip);
      if (program.kind == Program::kKernel && s.rip < kKernelAt) Stop(result);
      return false;
    }
    if (top >= kKernelStack) {
      result->trouble = absl::StrFormat("exception %u has no stack: %x", e.vector, s.gpr[kRsp]);
      return false;
    }
    uint64_t frame = top;
    if (HasErrorCode(e.vector)) {
      e.error_code = static_cast<uint32_t>(Get64(top));
      frame += 8;
    }
    if (e.vector == 14) e.address = s.cr2;
    Record(&e);
    e.at.rip = Get64(frame);
    e.at.rflags = Get64(frame + 16);
    e.at.gpr[kRsp] = Get64(frame + 24);
    result->events.push_back(e);

    const std::vector<uint64_t>& at = assembled.at;
    const bool host = program.kind == Program::kHost;
    const uint64_t end = kCodeAt + program.offset + assembled.code.size();
    if (host || (e.vector == 3 && e.at.rip == end) || e.vector == 8 ||
        result->events.size() >= kMaxEvents) {
      result->kind = RunResult::kEnded;
      return false;
    }
    // The piece that it lies in, of those that are there.
    const uint64_t rip = e.at.rip - (e.vector == 3 ? 1 : 0);
    const size_t next =
        static_cast<size_t>(std::upper_bound(at.begin(), at.end(), rip) - at.begin());
    const bool inside = rip >= at[0] && next < at.size() && next > 0;
    // The instruction that is left out may have been what makes the flags before it
    // dead, so that translated code has others.
    uint64_t flags = (e.at.rflags & ~kArithmetic) | (e.at.rip & kArithmetic);
    uint64_t to;
    if (inside && !program.pieces[next - 1].recover) {
      to = at[next];
    } else {
      to = at[program.recovery];
      flags &= ~uint64_t{soft::kTf | soft::kAc};
      Put64(frame + 24, kStackStart);
      Put64(frame + 8, program.kind == Program::kKernel ? 0x10 : 0x33);
    }
    Put64(frame, to);
    Put64(frame + 16, flags);
    s.halted = false;
    return true;
  }

  static constexpr unsigned kRsp = 4;
  RunMode mode_;
  InterruptBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  soft::SoftVm vm_;
  std::unique_ptr<Vcpu> owner_;
  soft::SoftVcpu* vcpu_ = nullptr;
  soft::CpuState start_[2];
};

bool IsCanonical(uint64_t v) {
  return static_cast<uint64_t>(static_cast<int64_t>(v << 16) >> 16) == v;
}

std::string Bytes(const uint8_t* p, size_t n) {
  std::string s;
  for (size_t i = n; i-- > 0;) absl::StrAppendFormat(&s, "%02x", p[i]);
  return s;
}

std::string EventDifference(const Event& expected, const Event& got, uint64_t flags) {
  static constexpr const char* kNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                             "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                             "r12", "r13", "r14", "r15"};
  std::string out;
  const auto differ = [&](const std::string& name, uint64_t want, uint64_t have) {
    if (want != have) absl::StrAppendFormat(&out, "  %s: %x, not %x\n", name, have, want);
  };
  differ("vector", expected.vector, got.vector);
  differ("error code", expected.error_code, got.error_code);
  differ("cr2", expected.address, got.address);
  differ("rip", expected.at.rip, got.at.rip);
  differ("rflags", expected.at.rflags & flags, got.at.rflags & flags);
  for (unsigned i = 0; i < 16; ++i) differ(kNames[i], expected.at.gpr[i], got.at.gpr[i]);
  const auto field = [&](const std::string& name, unsigned at, unsigned n) {
    if (std::memcmp(expected.at.fx + at, got.at.fx + at, n) != 0)
      absl::StrAppendFormat(&out, "  %s: %s, not %s\n", name, Bytes(got.at.fx + at, n),
                            Bytes(expected.at.fx + at, n));
  };
  // Bytes 6 to 23 are the x87 unit's pointers, which are the host's.
  field("fcw", 0, 2);
  field("fsw", 2, 2);
  field("ftw", 4, 1);
  field("mxcsr", 24, 4);
  for (unsigned i = 0; i < 8; ++i) field(absl::StrCat("st", i), 32 + 16 * i, 10);
  for (unsigned i = 0; i < 16; ++i) field(absl::StrCat("xmm", i), 160 + 16 * i, 16);
  for (unsigned i = 0; i < 16; ++i) {
    const uint8_t *want = expected.at.ymm_high[i], *have = got.at.ymm_high[i];
    if (std::memcmp(want, have, 16) != 0)
      absl::StrAppendFormat(&out, "  ymm%d's upper half: %s, not %s\n", i, Bytes(have, 16),
                            Bytes(want, 16));
  }
  if (expected.memory != got.memory) out += "  memory\n";
  return out;
}

}  // namespace

std::string Difference(const RunResult& expected, const RunResult& got, const RunMode& mode) {
  if (got.kind != expected.kind || got.trouble != expected.trouble)
    return absl::StrCat("  ", got.trouble.empty() ? "ended" : got.trouble, ", not ",
                        expected.trouble.empty() ? "ended" : expected.trouble, "\n");
  for (size_t i = 0; i < std::min(expected.events.size(), got.events.size()); ++i) {
    // Then a branch to an address that is not canonical faults at the target, with
    // the stack as it is there; there is no more to compare.
    if (!mode.precise_flags && got.events[i].vector == 13 && expected.events[i].vector == 13 &&
        !IsCanonical(got.events[i].at.rip))
      return "";
    // Traps come after the instruction: what flags it left is known to all.
    const uint64_t flags =
        mode.precise_flags || expected.events[i].vector == 3 ? ~uint64_t{0} : ~kArithmetic;
    const std::string d = EventDifference(expected.events[i], got.events[i], flags);
    if (!d.empty()) {
      const Event& e = expected.events[i];
      return absl::StrFormat("exception %u of %u, which is vector %u at %x:\n%s", i + 1,
                             expected.events.size(), e.vector, e.at.rip, d);
    }
  }
  if (expected.events.size() != got.events.size())
    return absl::StrFormat("  %u exceptions, not %u\n", got.events.size(), expected.events.size());
  std::string out;
  unsigned shown = 0;
  for (size_t i = 0; i < expected.memory.size() && shown < 8; i += 8) {
    if (std::memcmp(&expected.memory[i], &got.memory[i], 8) == 0) continue;
    absl::StrAppendFormat(&out, "  page %u of what is written, byte %x: %s, not %s\n", i / kPage,
                          i % kPage, Bytes(&got.memory[i], 8), Bytes(&expected.memory[i], 8));
    ++shown;
  }
  return out;
}

absl::StatusOr<std::unique_ptr<RandomMachine>> CreateRandomMachine(const RunMode& mode) {
  std::unique_ptr<GuestMemory> memory;
  ASSIGN_OR_RETURN(memory, GuestMemory::Create(2 << 20));
  auto machine = std::make_unique<Machine>(mode, std::move(memory));
  RETURN_IF_ERROR(machine->Prepare());
  return machine;
}

}  // namespace atl::cpu::test
