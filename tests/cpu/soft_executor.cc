// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/soft_executor.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"
#include "lib/mem/guest_memory.h"
#include "tests/cpu/native_executor.h"

namespace atl::cpu::test {
namespace {

// Linear address of the guest's kernel: nowhere that random addresses go.
constexpr uint64_t kKernel = 0x123400000000;
// Physical addresses.
constexpr uint64_t kPml4 = 0x1000, kPdptLow = 0x2000, kPdLow = 0x3000, kPtLow = 0x4000,
                   kPdptKernel = 0x5000, kPdKernel = 0x6000, kGdt = 0x8000, kIdt = 0x9000,
                   kTss = 0xA000, kHandlers = 0xB000, kStackTop = 0xE000;
// The case's pages, scattered so that what crosses a page is seen to.
constexpr uint64_t kCodePhysical[] = {0x20000, 0x27000};
constexpr uint64_t kDataPhysical[] = {0x30000, 0x2A000, 0x35000};
constexpr uint64_t kPresent = 1, kWritable = 2, kUserPage = 4, kAccessedDirty = 0x60, kLarge = 0x80,
                   kGlobal = 0x100, kNoExecute = uint64_t{1} << 63;
constexpr unsigned kHandlerBytes = 16;

class NoBus final : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return ~0u; }
  void PortOut(uint16_t, unsigned, uint32_t) override {}
  uint64_t MmioRead(Gpa, unsigned) override { return ~uint64_t{0}; }
  void MmioWrite(Gpa, unsigned, uint64_t) override {}
  int AcknowledgeInterrupt(unsigned) override { return -1; }
  bool InterruptPending(unsigned) override { return false; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override { return now_ += 1000; }

 private:
  uint64_t now_ = 0;
};

bool HasErrorCode(unsigned vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

Segment MakeSegment(uint16_t selector, uint8_t type, bool l) {
  Segment s;
  s.selector = selector;
  s.limit = 0xFFFFFFFF;
  s.type = type;
  s.dpl = 3;
  s.g = true;
  s.l = l;
  s.db = !l;
  return s;
}

class SoftExecutor final : public Executor {
 public:
  // Arithmetic flags as they are at a fault are compared, too.
  SoftExecutor(std::unique_ptr<GuestMemory> memory)
      : memory_(std::move(memory)), vm_(*memory_, soft::CpuModel::kMax, {.precise = true}) {}

  absl::Status Prepare() {
    BuildTables();
    VcpuConfig config;
    config.bus = &bus_;
    ASSIGN_OR_RETURN(vcpu_owner_, vm_.CreateVcpu(config));
    vcpu_ = static_cast<soft::SoftVcpu*>(vcpu_owner_.get());
    SystemRegs r;
    ASSIGN_OR_RETURN(r, vcpu_->GetSystemRegs());
    r.cr0 = soft::kCr0Pe | soft::kCr0Mp | soft::kCr0Et | soft::kCr0Ne | soft::kCr0Wp |
            soft::kCr0Am | soft::kCr0Pg;
    r.cr3 = kPml4;
    r.cr4 = soft::kCr4Pae | soft::kCr4Pge | soft::kCr4Osfxsr | soft::kCr4Osxmmexcpt |
            soft::kCr4Fsgsbase | soft::kCr4Osxsave;
    r.efer = soft::kEferSce | soft::kEferLme | soft::kEferLma | soft::kEferNxe;
    // Linux' selectors, which some instructions show.
    r.segment[kCs] = MakeSegment(0x33, 11, true);
    r.segment[kSs] = MakeSegment(0x2B, 3, false);
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
    vcpu_->s.xcr0 = soft::SupportedXcr0(vm_.model());
    start_ = vcpu_->s;
    return absl::OkStatus();
  }

  void Run(const Case& c, Outcome* out) override {
    WriteCode(c);
    for (unsigned i = 0; i < 3; i++) {
      memcpy(Host(kDataPhysical[i]), c.data->data() + i * kPage, kPage);
    }
    soft::CpuState& s = vcpu_->s;
    s = start_;
    memcpy(s.gpr, c.start.gpr, sizeof s.gpr);
    s.rip = c.start.rip;
    soft::SetRflags(s, c.start.rflags | 0x202);
    memcpy(s.fpu.image, c.start.fx, 512);
    memcpy(s.fpu.ymm_high, c.start.ymm_high, sizeof s.fpu.ymm_high);
    const uint32_t mask = 0xFFFF;
    memcpy(s.fpu.image + soft::FpuState::kMxcsrMask, &mask, 4);
    vcpu_->mmu.ModeChanged();

    *out = Outcome();
    absl::StatusOr<Exit> exit = Exit();
    do {
      exit = vcpu_->Run();
    } while (exit.ok() && exit->reason == ExitReason::kKicked);
    const uint64_t handler = s.rip - (kKernel + kHandlers);
    const uint64_t top = s.gpr[kRsp] - kKernel;
    if (!exit.ok() || exit->reason != ExitReason::kHalted || handler >= 256 * kHandlerBytes ||
        top >= kStackTop) {
      // No handler was reached as it should be.
      out->vector = 0xFF;
      out->end.rip = s.rip;
      out->end.gpr[kRsp] = s.gpr[kRsp];
      return;
    }
    out->vector = static_cast<uint8_t>(handler / kHandlerBytes);
    uint64_t frame[6];
    memcpy(frame, Host(top), sizeof frame);
    const uint64_t* f = frame;
    if (HasErrorCode(out->vector)) out->error_code = static_cast<uint32_t>(*f++);
    memcpy(out->end.gpr, s.gpr, sizeof s.gpr);
    out->end.gpr[kRsp] = f[3];
    out->end.rip = f[0];
    out->end.rflags = f[2];
    memcpy(out->end.fx, s.fpu.image, 512);
    memcpy(out->end.ymm_high, s.fpu.ymm_high, sizeof s.fpu.ymm_high);
    out->address = s.cr2;
    for (unsigned i = 0; i < 3; i++) {
      memcpy(out->data.data() + i * kPage, Host(kDataPhysical[i]), kPage);
    }
  }

 private:
  uint8_t* Host(uint64_t physical) { return memory_->ram_host() + physical; }
  void Put64(uint64_t physical, uint64_t v) { memcpy(Host(physical), &v, 8); }

  void BuildTables() {
    constexpr uint64_t kTable = kPresent | kWritable | kUserPage | kAccessedDirty;
    Put64(kPml4, kPdptLow | kTable);
    Put64(kPdptLow + 8 * (kCodeAt >> 30), kPdLow | kTable);
    Put64(kPdLow, kPtLow | kTable);
    for (unsigned i = 0; i < 2; i++) {
      Put64(kPtLow + 8 * i, kCodePhysical[i] | kPresent | kUserPage | kAccessedDirty);
      memset(Host(kCodePhysical[i]), 0xCC, kPage);
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
    memset(Host(kTss) + 0x66, 0xFF, 2);    // no I/O bitmap
    for (unsigned v = 0; v < 256; v++) {
      const uint64_t at = kKernel + kHandlers + v * kHandlerBytes;
      memset(Host(kHandlers + v * kHandlerBytes), 0xF4, kHandlerBytes);
      // A 64-bit interrupt gate, DPL 3 for INT3 and INTO.
      Put64(kIdt + 16 * v, (at & 0xFFFF) | 0x10 << 16 |
                               uint64_t{v == 3 || v == 4 ? 0xEEu : 0x8Eu} << 40 |
                               (at >> 16 & 0xFFFF) << 48);
      Put64(kIdt + 16 * v + 8, at >> 32);
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
      memory_->Write(Gpa(kCodePhysical[(at + i) / kPage] + (at + i) % kPage), {&bytes[i], n});
      i += n;
    }
  }

  NoBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  soft::SoftVm vm_;
  std::unique_ptr<Vcpu> vcpu_owner_;
  soft::SoftVcpu* vcpu_ = nullptr;
  soft::CpuState start_;
  uint64_t last_at_ = 0;
  size_t last_size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> CreateSoftExecutor() {
  std::unique_ptr<GuestMemory> memory;
  ASSIGN_OR_RETURN(memory, GuestMemory::Create(4 << 20));
  auto executor = std::make_unique<SoftExecutor>(std::move(memory));
  RETURN_IF_ERROR(executor->Prepare());
  return executor;
}

}  // namespace atl::cpu::test
