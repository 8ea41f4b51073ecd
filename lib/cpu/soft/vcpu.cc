// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/vcpu.h"

#include <sys/mman.h>

#include <chrono>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/msr.h"
#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/verify.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {
namespace {

constexpr unsigned kMinSpinNs = 2000, kMaxSpinNs = 50000;

// SegmentState's attributes to and from the fields of Segment.
SegmentState FromSegment(const Segment& g) {
  SegmentState r;
  r.base = g.base;
  r.limit = g.limit;
  r.selector = g.selector;
  r.attributes =
      static_cast<uint16_t>((g.type & 15) | g.s << 4 | (g.dpl & 3) << 5 | g.present << 7 |
                            g.avl << 12 | g.l << 13 | g.db << 14 | g.g << 15);
  r.unusable = g.unusable;
  return r;
}

Segment ToSegment(const SegmentState& s) {
  Segment r;
  r.base = s.base;
  r.limit = s.limit;
  r.selector = s.selector;
  r.type = s.attributes & 15;
  r.s = s.attributes >> 4 & 1;
  r.dpl = s.attributes >> 5 & 3;
  r.present = s.attributes >> 7 & 1;
  r.avl = s.attributes >> 12 & 1;
  r.l = s.attributes >> 13 & 1;
  r.db = s.attributes >> 14 & 1;
  r.g = s.attributes >> 15 & 1;
  r.unusable = s.unusable;
  return r;
}

}  // namespace

SoftVcpu::SoftVcpu(SoftVm& vm, GuestMemory& memory, const VcpuConfig& config)
    : counters(config.counters != nullptr ? *config.counters : own_counters),
      mmu(*this, memory),
      vm(vm),
      bus(*config.bus),
      memory(memory),
      index(config.index),
      count(config.count),
      code(std::make_unique<CodeCache>(*this)) {
  area().Init();
  Reset();
  if (vm.translate().on) {
    // Where there is no executable memory, the interpreter does.
    TranslateConfig config = vm.translate();
    if (config.verify) config.heat = 0;
    auto made = Translator::Create(*this, config);
    if (made.ok()) translator = *std::move(made);
  }
  if (vm.translate().verify && translator != nullptr) {
    verifier = std::make_unique<Verifier>(*this, vm.translate().precise);
  }
  vm.Add(this);
}

SoftVcpu::~SoftVcpu() { vm.Remove(this); }

namespace {
constexpr size_t kVcpuBytes = (sizeof(SoftVcpu) + 4095) & ~size_t{4095};
constexpr size_t kMapBytes = TranslateArea::kStackRoom + kVcpuBytes + sizeof(TranslateArea);
}  // namespace

void* SoftVcpu::operator new(size_t, std::align_val_t) {
  // Touched as it fills.
  void* p = mmap(nullptr, kMapBytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return static_cast<uint8_t*>(p) + TranslateArea::kStackRoom;
}

void SoftVcpu::operator delete(void* p, std::align_val_t) {
  munmap(static_cast<uint8_t*>(p) - TranslateArea::kStackRoom, kMapBytes);
}

void SoftVcpu::Reset() {
  ResetState(*this, false);
  ModeChanged(*this);
  mmu.ModeChanged();
  mmu.FlushAll();
  s.wait_for_sipi = index != 0;
  // A line stays as its device holds it; what was asked of the old state goes.
  requests.fetch_and(kInterruptRequest | kKickRequest | kFlushRequest, std::memory_order_acq_rel);
}

void ResetState(SoftVcpu& c, bool init) {
  const CpuState old = c.s;
  c.s = CpuState();
  CpuState& s = c.s;
  s.seg[kCs].selector = 0xF000;
  s.seg[kCs].base = 0xFFFF0000;
  s.seg[kCs].attributes = 0x9B;
  s.tr.attributes = 0x8B;
  s.ldt.attributes = 0x82;
  s.gpr[kRdx] = 0x600;  // family 6
  if (!init) {
    FpuState& f = s.fpu;
    f = FpuState();
    f.image[FpuState::kFcw] = 0x40;  // FNINIT comes from the guest: 0x0040
    f.image[FpuState::kMxcsr] = 0x80;
    f.image[FpuState::kMxcsr + 1] = 0x1F;
    f.image[FpuState::kMxcsrMask] = 0xFF;
    f.image[FpuState::kMxcsrMask + 1] = 0xFF;
    return;
  }
  // CD and NW, the x87 and SSE registers, the TSC and most MSRs stay.
  s.cr0 = 0x10 | (old.cr0 & (kCr0Cd | kCr0Nw));
  s.fpu = old.fpu;
  s.xcr0 = old.xcr0;
  s.star = old.star;
  s.lstar = old.lstar;
  s.cstar = old.cstar;
  s.sfmask = old.sfmask;
  s.kernel_gs_base = old.kernel_gs_base;
  s.sysenter_cs = old.sysenter_cs;
  s.sysenter_esp = old.sysenter_esp;
  s.sysenter_eip = old.sysenter_eip;
  s.pat = old.pat;
  s.tsc_aux = old.tsc_aux;
  s.tsc_offset = old.tsc_offset;
  s.misc_enable = old.misc_enable;
  s.mtrr_def_type = old.mtrr_def_type;
  for (unsigned i = 0; i < 11; ++i) s.mtrr_fixed[i] = old.mtrr_fixed[i];
  for (unsigned i = 0; i < 16; ++i) s.mtrr_variable[i] = old.mtrr_variable[i];
}

// ---- Signals ----

void SoftVcpu::Post(uint32_t request) {
  Ask(request);
  if (waiting_.load(std::memory_order_seq_cst)) {
    MutexLock lock(&wait_mu_);
    wait_cv_.NotifyAll();
  }
}

void SoftVcpu::Kick() { Post(kKickRequest); }
void SoftVcpu::RaiseNmi() { Post(kNmiRequest); }
void SoftVcpu::SetInterruptLine(bool high) {
  if (high) {
    if ((requests.load(std::memory_order_relaxed) & kInterruptRequest) == 0)
      Post(kInterruptRequest);
  } else {
    requests.fetch_and(~uint32_t{kInterruptRequest}, std::memory_order_acq_rel);
  }
}
void SoftVcpu::SendInit() {
  requests.fetch_and(~uint32_t{kSipiRequest}, std::memory_order_acq_rel);
  Post(kInitRequest);
}
void SoftVcpu::SendSipi(uint8_t vector) {
  sipi_vector.store(vector, std::memory_order_release);
  Post(kSipiRequest);
}

bool SoftVcpu::WorkPosted() const {
  const uint32_t posted = requests.load(std::memory_order_seq_cst);
  if (posted & (kKickRequest | kInitRequest)) return true;
  if (s.wait_for_sipi) return posted & kSipiRequest;
  if ((posted & kNmiRequest) && !s.nmi_blocked) return true;
  return (posted & kInterruptRequest) && (s.rflags_rest & kIf);
}

// A guest that halts often halts shortly: a wake-up from sleep costs some tens of
// microseconds, so it spins first, for longer where that was worth it.
void SoftVcpu::WaitForWork() {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::nanoseconds(spin_ns_);
  do {
    for (unsigned i = 0; i < 64; ++i) {
      if (WorkPosted()) {
        if (spin_ns_ < kMaxSpinNs) spin_ns_ += spin_ns_ / 4;
        return;
      }
      __builtin_ia32_pause();
    }
  } while (Clock::now() < until);
  if (spin_ns_ > kMinSpinNs) spin_ns_ -= spin_ns_ / 8;
  waiting_.store(true, std::memory_order_seq_cst);
  {
    MutexLock lock(&wait_mu_);
    while (!WorkPosted()) wait_cv_.Wait(&wait_mu_);
  }
  waiting_.store(false, std::memory_order_relaxed);
  counters.halt_wakeup.Add();
}

// ---- State ----

absl::StatusOr<Regs> SoftVcpu::GetRegs() {
  Regs r;
  for (unsigned i = 0; i < 16; ++i) r.gpr[i] = s.gpr[i];
  r.rip = s.rip;
  r.rflags = GetRflags(s);
  return r;
}

absl::Status SoftVcpu::SetRegs(const Regs& r) {
  for (unsigned i = 0; i < 16; ++i) s.gpr[i] = r.gpr[i];
  s.rip = r.rip;
  SetRflags(s, r.rflags);
  s.v8086 = (r.rflags & kVm) != 0;
  ModeChanged(*this);
  mmu.AcChanged();
  return absl::OkStatus();
}

absl::StatusOr<SystemRegs> SoftVcpu::GetSystemRegs() {
  SystemRegs r;
  for (unsigned i = 0; i < 6; ++i) r.segment[i] = ToSegment(s.seg[i]);
  r.tr = ToSegment(s.tr);
  r.ldt = ToSegment(s.ldt);
  r.gdt = s.gdt;
  r.idt = s.idt;
  r.cr0 = s.cr0;
  r.cr2 = s.cr2;
  r.cr3 = s.cr3;
  r.cr4 = s.cr4;
  r.cr8 = bus.ReadCr8(index);
  r.efer = s.efer;
  uint64_t base = r.apic_base;
  if (bus.ReadApicMsr(index, 0x1B, &base)) r.apic_base = base;
  return r;
}

absl::Status SoftVcpu::SetSystemRegs(const SystemRegs& r) {
  for (unsigned i = 0; i < 6; ++i) s.seg[i] = FromSegment(r.segment[i]);
  s.tr = FromSegment(r.tr);
  s.ldt = FromSegment(r.ldt);
  s.gdt = r.gdt;
  s.idt = r.idt;
  s.cr0 = r.cr0;
  s.cr2 = r.cr2;
  s.cr3 = r.cr3;
  s.cr4 = r.cr4;
  s.efer = r.efer;
  // As KVM has it: the privilege level is the stack segment's.
  s.cpl = (s.cr0 & kCr0Pe) ? r.segment[kSs].dpl : 0;
  bus.WriteCr8(index, r.cr8);
  bus.WriteApicMsr(index, 0x1B, r.apic_base);
  ModeChanged(*this);
  mmu.ModeChanged();
  const bool pae = (s.cr0 & kCr0Pg) && (s.cr4 & kCr4Pae) && !(s.efer & kEferLma);
  if (pae && !mmu.LoadPdptes(s.cr3))
    return absl::InvalidArgumentError("cr3 points to reserved bits in a PDPTE");
  mmu.FlushAll();
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> SoftVcpu::GetMsr(uint32_t msr) {
  uint64_t value;
  if (!ReadMsr(*this, msr, &value))
    return absl::InvalidArgumentError(absl::StrFormat("MSR 0x%x cannot be read", msr));
  return value;
}

absl::Status SoftVcpu::SetMsr(uint32_t msr, uint64_t value) {
  if (!WriteMsr(*this, msr, value))
    return absl::InvalidArgumentError(absl::StrFormat("MSR 0x%x refuses 0x%x", msr, value));
  return absl::OkStatus();
}

}  // namespace atl::cpu::soft
