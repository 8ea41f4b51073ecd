// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/vcpu_executor.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/mem/guest_memory.h"
#include "tests/cpu/native_executor.h"
#include "tests/cpu/vcpu_watch.h"

// The guest's kernel. It sets XCR0 for each case: some emulated hosts lose it with the
// next exit (known_defects.cc). Copied to kCode; what it reads and writes lies behind it, at
// distances from its label that are those of the constants below.
asm(R"(
.pushsection .rodata
.balign 16
atoll_cases_kernel:
1: pause
  cmpl $0, atoll_cases_go(%rip)
  je 1b
  movl $0, atoll_cases_go(%rip)
  movl atoll_cases_xcr0(%rip), %eax
  xorl %edx, %edx
  testl %eax, %eax
  jz 2f
  xorl %ecx, %ecx
  xsetbv
  xrstor64 atoll_cases_fpu(%rip)
  jmp 3f
2: fxrstor64 atoll_cases_fpu(%rip)
3: leaq atoll_cases_frame(%rip), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rbp
  popq %rbx
  popq %rdx
  popq %rcx
  popq %rax
  addq $16, %rsp
  iretq
atoll_cases_exception:
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rbx
  pushq %rbp
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %cr2, %rax
  movq %rax, atoll_cases_cr2(%rip)
  movl atoll_cases_xcr0(%rip), %eax
  xorl %edx, %edx
  testl %eax, %eax
  jz 1f
  xsave64 atoll_cases_fpu(%rip)
  jmp 2f
1: fxsave64 atoll_cases_fpu(%rip)
2: outb %al, $0xF5
  jmp atoll_cases_kernel
atoll_cases_kernel_end:
.set atoll_cases_go, atoll_cases_kernel + 0x1000
.set atoll_cases_xcr0, atoll_cases_kernel + 0x1008
.set atoll_cases_cr2, atoll_cases_kernel + 0x1010
.set atoll_cases_fpu, atoll_cases_kernel + 0x1040
.set atoll_cases_frame, atoll_cases_kernel + 0x2F50
.popsection
)");
extern "C" const uint8_t atoll_cases_kernel[], atoll_cases_exception[], atoll_cases_kernel_end[];

namespace atl::cpu::test {
namespace {

// Linear address of the guest's kernel: nowhere that random addresses go.
constexpr uint64_t kKernel = 0x123400000000;
// Physical addresses.
constexpr uint64_t kPml4 = 0x1000, kPdptLow = 0x2000, kPdLow = 0x3000, kPtLow = 0x4000,
                   kPdptKernel = 0x5000, kPdKernel = 0x6000, kGdt = 0x8000, kIdt = 0x9000,
                   kTss = 0xA000, kStubs = 0xB000, kCode = 0x40000, kGo = kCode + 0x1000,
                   kXcr0 = kCode + 0x1008, kCr2 = kCode + 0x1010, kFpu = kCode + 0x1040,
                   kFrame = kCode + 0x2F50, kStackTop = kCode + 0x3000;
constexpr uint64_t kFpuHeader = 512, kFpuYmm = 576, kFpuBytes = 832;
// What an exception leaves on the kernel's stack, from below; all of 8 bytes.
struct Frame {
  uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
  uint64_t vector, error_code;
  uint64_t rip, cs, rflags, rsp, ss;
};
static_assert(kStackTop - kFrame == sizeof(Frame));
// The case's pages, scattered so that what crosses a page is seen to.
constexpr uint64_t kCodePhysical[] = {0x20000, 0x27000};
constexpr uint64_t kDataPhysical[] = {0x30000, 0x2A000, 0x35000};
constexpr uint64_t kPresent = 1, kWritable = 2, kUserPage = 4, kAccessedDirty = 0x60, kLarge = 0x80,
                   kGlobal = 0x100, kNoExecute = uint64_t{1} << 63;
constexpr unsigned kStubBytes = 16;
constexpr uint64_t kNoVector = 0x100;
constexpr uint16_t kDonePort = 0xF5;
constexpr auto kLimit = std::chrono::seconds(30);

bool HasErrorCode(unsigned vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

class DoneBus final : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return ~0u; }
  void PortOut(uint16_t port, unsigned, uint32_t) override {
    if (port != kDonePort) return;
    done = true;
    vcpu->Kick();
  }
  uint64_t MmioRead(Gpa, unsigned) override { return ~uint64_t{0}; }
  void MmioWrite(Gpa, unsigned, uint64_t) override {}
  int AcknowledgeInterrupt(unsigned) override { return -1; }
  bool InterruptPending(unsigned) override { return false; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override { return now_ += 1000; }

  Vcpu* vcpu = nullptr;
  bool done = false;

 private:
  uint64_t now_ = 0;
};

Segment MakeSegment(uint16_t selector, uint8_t type, bool l) {
  Segment s;
  s.selector = selector;
  s.limit = 0xFFFFFFFF;
  s.type = type;
  s.g = true;
  s.l = l;
  s.db = !l;
  return s;
}

class AnyVcpuExecutor final : public VcpuExecutor {
 public:
  explicit AnyVcpuExecutor(std::unique_ptr<GuestMemory> memory) : memory_(std::move(memory)) {}
  ~AnyVcpuExecutor() override {
    watch_.reset();
    vcpu_.reset();
    vm_.reset();
  }

  absl::Status Prepare(const Backend& backend, const BackendOptions& options) {
    BuildKernel();
    ASSIGN_OR_RETURN(vm_, backend.create_vm(options, *memory_));
    VcpuConfig config;
    config.bus = &bus_;
    ASSIGN_OR_RETURN(vcpu_, vm_->CreateVcpu(config));
    bus_.vcpu = vcpu_.get();
    watch_ = std::make_unique<VcpuWatch>(*vcpu_);
    SystemRegs r;
    ASSIGN_OR_RETURN(r, vcpu_->GetSystemRegs());
    r.cr0 = 0x80050033;  // PG, AM, WP, NE, ET, MP, PE
    r.cr3 = kPml4;
    r.cr4 = 0x106A0 | 0x40000;  // PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE
    if (xcr0_ == 0) r.cr4 &= ~uint64_t{0x40000};
    r.efer = 0xD01;  // SCE, LME, LMA, NXE
    r.segment[kCs] = MakeSegment(0x10, 11, true);
    r.segment[kSs] = MakeSegment(0x18, 3, false);
    for (SegmentIndex i : {kEs, kDs, kFs, kGs}) {
      r.segment[i] = MakeSegment(0, 3, false);
      r.segment[i].unusable = true;
    }
    r.segment[kFs].base = NativeFsBase();
    r.segment[kGs].base = kGsBase;
    r.tr = Segment();
    r.tr.base = kKernel + kTss;
    r.tr.limit = 0x67;
    r.tr.selector = 0x40;
    r.tr.type = 11;
    r.tr.s = false;
    r.ldt = Segment();
    r.ldt.unusable = true;
    r.gdt = {kKernel + kGdt, 0x4F};
    r.idt = {kKernel + kIdt, 0xFFF};
    RETURN_IF_ERROR(vcpu_->SetSystemRegs(r));
    Regs regs;
    regs.rip = kKernel + kCode;
    return vcpu_->SetRegs(regs);
  }

  const std::string& trouble() const override { return trouble_; }

  void Run(const Case& c, Outcome* out) override {
    WriteCode(c);
    for (unsigned i = 0; i < 3; i++)
      std::memcpy(Host(kDataPhysical[i]), c.data->data() + i * kPage, kPage);
    const uint64_t* g = c.start.gpr;
    Frame f = {g[15], g[14], g[13], g[12], g[11], g[10], g[9], g[8], g[7], g[6], g[5],
               g[3],  g[2],  g[1],  g[0],  0,     0,     0,    0x33, 0,    g[4], 0x2B};
    f.vector = kNoVector;
    f.rip = c.start.rip + c.entry;
    f.rflags = c.start.rflags | 0x202;
    std::memcpy(Host(kFrame), &f, sizeof f);
    std::memset(Host(kFpu), 0, kFpuBytes);
    std::memcpy(Host(kFpu), c.start.fx, 416);
    Put64(kFpu + kFpuHeader, xcr0_);
    std::memcpy(Host(kFpu + kFpuYmm), c.start.ymm_high, sizeof c.start.ymm_high);
    Put64(kGo, 1);

    *out = Outcome();
    trouble_ = Go();
    std::memcpy(&f, Host(kFrame), sizeof f);
    if (trouble_.empty() && f.vector == kNoVector) trouble_ = OwnException();
    out->vector = trouble_.empty() ? static_cast<uint8_t>(f.vector) : 0xFF;
    out->error_code = static_cast<uint32_t>(f.error_code);
    const uint64_t end[16] = {f.rax, f.rcx, f.rdx, f.rbx, f.rsp, f.rbp, f.rsi, f.rdi,
                              f.r8,  f.r9,  f.r10, f.r11, f.r12, f.r13, f.r14, f.r15};
    std::memcpy(out->end.gpr, end, sizeof end);
    out->end.rip = f.rip;
    out->end.rflags = f.rflags;
    std::memcpy(out->end.fx, Host(kFpu), 416);
    std::memcpy(out->end.ymm_high, Host(kFpu + kFpuYmm), sizeof out->end.ymm_high);
    std::memcpy(&out->address, Host(kCr2), 8);
    for (unsigned i = 0; i < 3; i++)
      std::memcpy(out->data.data() + i * kPage, Host(kDataPhysical[i]), kPage);
  }

 private:
  uint8_t* Host(uint64_t physical) { return memory_->ram_host() + physical; }
  void Put(uint64_t physical, const void* from, size_t size) {
    memory_->Write(Gpa(physical), {static_cast<const uint8_t*>(from), size});
  }
  void Put64(uint64_t physical, uint64_t v) { Put(physical, &v, 8); }

  std::string Go() {
    bus_.done = false;
    const auto deadline = std::chrono::steady_clock::now() + kLimit;
    while (!bus_.done) {
      const absl::StatusOr<Exit> exit = vcpu_->Run();
      if (!exit.ok()) return std::string(exit.status().message());
      if (exit->reason != ExitReason::kKicked) {
        return absl::StrCat("it came back for reason ", static_cast<int>(exit->reason), ": ",
                            exit->detail);
      }
      if (!bus_.done && std::chrono::steady_clock::now() > deadline) {
        const absl::StatusOr<Regs> regs = vcpu_->GetRegs();
        return absl::StrFormat("does not end: at %x", regs.ok() ? regs->rip : 0);
      }
    }
    return "";
  }

  // Its frame lies elsewhere.
  std::string OwnException() {
    const absl::StatusOr<Regs> regs = vcpu_->GetRegs();
    const uint64_t at = regs.ok() ? regs->gpr[kRsp] - kKernel : 0;
    Frame f{};
    if (at < kStackTop) std::memcpy(&f, Host(at), sizeof f);
    return absl::StrFormat("exception %d, %x of the kernel's at %x", f.vector, f.error_code,
                           f.rip - kKernel - kCode);
  }

  void BuildKernel() {
    constexpr uint64_t kTable = kPresent | kWritable | kUserPage | kAccessedDirty;
    Put64(kPml4, kPdptLow | kTable);
    Put64(kPdptLow + 8 * (kCodeAt >> 30), kPdLow | kTable);
    Put64(kPdLow, kPtLow | kTable);
    for (unsigned i = 0; i < 2; i++) {
      Put64(kPtLow + 8 * i, kCodePhysical[i] | kPresent | kUserPage | kAccessedDirty);
      std::memset(Host(kCodePhysical[i]), 0xCC, kPage);
    }
    for (unsigned i = 0; i < 3; i++) {
      const uint64_t at = kDataAt + i * kPage;
      Put64(kPtLow + 8 * ((at >> 12) & 511), kDataPhysical[i] | kPresent | kUserPage | kNoExecute |
                                                 kAccessedDirty |
                                                 (at < kReadOnlyAt ? kWritable : 0));
    }
    Put64(kPml4 + 8 * (kKernel >> 39), kPdptKernel | kTable);
    Put64(kPdptKernel + 8 * (kKernel >> 30 & 511), kPdKernel | kTable);
    Put64(kPdKernel + 8 * (kKernel >> 21 & 511),
          kPresent | kWritable | kAccessedDirty | kLarge | kGlobal);
    // Null, -, kernel code and data, -, user data and code.
    Put64(kGdt + 0x10, 0x00AF9B000000FFFF);
    Put64(kGdt + 0x18, 0x00CF93000000FFFF);
    Put64(kGdt + 0x28, 0x00CFF3000000FFFF);
    Put64(kGdt + 0x30, 0x00AFFB000000FFFF);
    Put64(kTss + 4, kKernel + kStackTop);  // RSP0
    const uint16_t no_bitmap = 0xFFFF;
    Put(kTss + 0x66, &no_bitmap, 2);
    Put(kCode, atoll_cases_kernel,
        static_cast<size_t>(atoll_cases_kernel_end - atoll_cases_kernel));
    Put64(kXcr0, xcr0_);
    const uint64_t handler =
        kCode + static_cast<uint64_t>(atoll_cases_exception - atoll_cases_kernel);
    for (unsigned v = 0; v < 256; v++) {
      const uint64_t at = kStubs + v * kStubBytes;
      std::vector<uint8_t> stub;
      if (!HasErrorCode(v)) stub.insert(stub.end(), {0x6A, 0});                  // push $0
      stub.insert(stub.end(), {0x68, static_cast<uint8_t>(v), 0, 0, 0});         // push $v
      const auto far = static_cast<uint32_t>(handler - (at + stub.size() + 5));  // jmp
      stub.push_back(0xE9);
      for (unsigned i = 0; i < 4; ++i) stub.push_back(static_cast<uint8_t>(far >> 8 * i));
      Put(at, stub.data(), stub.size());
      // A 64-bit interrupt gate, DPL 3 for INT3 and INTO.
      const uint64_t to = kKernel + at;
      Put64(kIdt + 16 * v, (to & 0xFFFF) | 0x10 << 16 |
                               uint64_t{v == 3 || v == 4 ? 0xEEu : 0x8Eu} << 40 |
                               (to >> 16 & 0xFFFF) << 48);
      Put64(kIdt + 16 * v + 8, to >> 32);
    }
  }

  void WriteCode(const Case& c) {
    PutCode(last_at_, std::vector<uint8_t>(last_size_, 0xCC));
    last_at_ = c.start.rip - kCodeAt;
    last_size_ = c.code.size();
    PutCode(last_at_, c.code);
  }
  void PutCode(uint64_t at, const std::vector<uint8_t>& bytes) {
    for (size_t i = 0; i < bytes.size();) {
      const size_t n = std::min<size_t>(bytes.size() - i, kPage - (at + i) % kPage);
      Put(kCodePhysical[(at + i) / kPage] + (at + i) % kPage, &bytes[i], n);
      i += n;
    }
  }

  DoneBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<Vm> vm_;
  std::unique_ptr<Vcpu> vcpu_;
  std::unique_ptr<VcpuWatch> watch_;
  // Without AVX FXSAVE does it.
  const uint64_t xcr0_ = (soft::SupportedXcr0(soft::CpuModel::kMax) & 4) != 0 ? 7 : 0;
  std::string trouble_;
  uint64_t last_at_ = 0;
  size_t last_size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VcpuExecutor>> CreateVcpuExecutor(const Backend& backend,
                                                                 const BackendOptions& options) {
  std::unique_ptr<GuestMemory> memory;
  ASSIGN_OR_RETURN(memory, GuestMemory::Create(4 << 20));
  auto executor = std::make_unique<AnyVcpuExecutor>(std::move(memory));
  RETURN_IF_ERROR(executor->Prepare(backend, options));
  return executor;
}

}  // namespace atl::cpu::test
