// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/testing/guest.h"

#include <cstdlib>

namespace atl::cpu::soft {
namespace {

Segment Flat(uint16_t selector, uint8_t type) {
  Segment g;
  g.limit = 0xFFFFFFFF;
  g.selector = selector;
  g.type = type;
  g.g = true;
  g.db = true;
  return g;
}

}  // namespace

Guest::Guest(unsigned vcpus, CpuModel model, const TranslateConfig& translate) {
  auto created = GuestMemory::Create(kRam);
  if (!created.ok()) std::abort();
  memory = std::move(*created);
  vm_ = std::make_unique<SoftVm>(*memory, model, translate);
  for (unsigned i = 0; i < vcpus; ++i)
    vcpus_.push_back(std::make_unique<SoftVcpu>(*vm_, *memory, VcpuConfig{i, vcpus, &bus}));
  for (unsigned v = 0; v < 32; ++v) memory->Store<uint8_t>(Gpa(kHandler + 16 * v), 0xF4);
  // GDT: null, code64, data, code32, TSS (16 bytes).
  const uint64_t gdt[] = {
      0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CF9B000000FFFF, 0x0000890030000067, 0};
  for (unsigned i = 0; i < 6; ++i) memory->Store<uint64_t>(Gpa(kGdt + 8 * i), gdt[i]);
  // 16 MiB by 4 KiB pages: PML4, PDPT, PD, and 8 page tables.
  memory->Store<uint64_t>(Gpa(0x10000), 0x11007);
  memory->Store<uint64_t>(Gpa(0x11000), 0x12007);
  for (uint64_t i = 0; i < 8; ++i)
    memory->Store<uint64_t>(Gpa(0x12000 + 8 * i), (kPageTable + 0x1000 * i) | 7);
  for (uint64_t i = 0; i < kRam >> kPageShift; ++i)
    memory->Store<uint64_t>(Gpa(kPageTable + 8 * i), i << kPageShift | 7);
}

void Guest::Enter64(unsigned n) {
  code_at_ = kCode;
  for (uint64_t v = 0; v < 32; ++v) {
    const uint64_t at = kHandler + 16 * v;
    memory->Store<uint64_t>(Gpa(kIdt + 16 * v),
                            (at & 0xFFFF) | 8 << 16 | 0x8E00ull << 32 | (at >> 16) << 48);
    memory->Store<uint64_t>(Gpa(kIdt + 16 * v + 8), 0);
  }
  SystemRegs s = vcpus_[n]->GetSystemRegs().value();
  for (auto& g : s.segment) g = Flat(0x10, 3);
  s.segment[kCs] = Flat(8, 11);
  s.segment[kCs].l = true;
  s.segment[kCs].db = false;
  s.tr.selector = 0x20;
  s.tr.base = kTss;
  s.tr.limit = 0x67;
  s.tr.type = 11;
  s.tr.s = false;
  s.gdt = {kGdt, 47};
  s.idt = {kIdt, 16 * 32 - 1};
  s.cr0 = 0x80010033;
  s.cr3 = 0x10000;
  s.cr4 = 0x6A0;
  s.efer = 0xD01;
  (void)vcpus_[n]->SetSystemRegs(s);
  vcpus_[n]->s.wait_for_sipi = false;
  Regs r;
  r.rip = kCode;
  r.gpr[kRsp] = kStack - n * 0x10000;
  (void)vcpus_[n]->SetRegs(r);
}

void Guest::Enter32(unsigned n) {
  code_at_ = kCode;
  for (uint64_t v = 0; v < 32; ++v) {
    const uint64_t at = kHandler + 16 * v;
    memory->Store<uint64_t>(Gpa(kIdt + 8 * v),
                            (at & 0xFFFF) | 0x18 << 16 | 0x8E00ull << 32 | (at >> 16) << 48);
  }
  SystemRegs s = vcpus_[n]->GetSystemRegs().value();
  for (auto& g : s.segment) g = Flat(0x10, 3);
  s.segment[kCs] = Flat(0x18, 11);
  s.gdt = {kGdt, 47};
  s.idt = {kIdt, 8 * 32 - 1};
  s.cr0 = 0x33;
  s.cr3 = s.cr4 = s.efer = 0;
  (void)vcpus_[n]->SetSystemRegs(s);
  vcpus_[n]->s.wait_for_sipi = false;
  Regs r;
  r.rip = kCode;
  r.gpr[kRsp] = kStack;
  (void)vcpus_[n]->SetRegs(r);
}

// Code at 1000:0, the other segments at 2000, the vectors to 0:F000 + 16 * vector.
void Guest::EnterReal(unsigned n) {
  code_at_ = 0x10000;
  for (uint64_t v = 0; v < 32; ++v) {
    memory->Store<uint32_t>(Gpa(4 * v), static_cast<uint32_t>(0xF000 + 16 * v));
    memory->Store<uint8_t>(Gpa(0xF000 + 16 * v), 0xF4);
  }
  SystemRegs s = vcpus_[n]->GetSystemRegs().value();
  for (auto& g : s.segment) {
    g = Segment();
    g.selector = 0x2000;
    g.base = 0x20000;
  }
  s.segment[kCs].selector = 0x1000;
  s.segment[kCs].base = 0x10000;
  s.segment[kCs].type = 11;
  s.idt = {0, 0x3FF};
  s.cr0 = 0x10;
  s.cr3 = s.cr4 = s.efer = 0;
  (void)vcpus_[n]->SetSystemRegs(s);
  vcpus_[n]->s.wait_for_sipi = false;
  Regs r;
  r.rip = 0;
  r.gpr[kRsp] = 0x8000;
  (void)vcpus_[n]->SetRegs(r);
}

void Guest::MapPage(uint64_t linear, uint64_t entry) {
  memory->Store<uint64_t>(Gpa(kPageTable + 8 * (linear >> kPageShift)), entry);
  for (auto& v : vcpus_) v->mmu.FlushAll();
}

Exit Guest::Run(unsigned n) {
  vcpus_[n]->s.halted = false;
  for (;;) {
    absl::StatusOr<Exit> e = vcpus_[n]->Run();
    if (!e.ok()) return {ExitReason::kError, std::string(e.status().message())};
    if (e->reason != ExitReason::kKicked) return *e;
  }
}

Exit Guest::RunCode(std::initializer_list<uint8_t> bytes) {
  std::vector<uint8_t> code(bytes);
  code.push_back(0xF4);
  Write(code_at_, code);
  return Run();
}

int Guest::Vector(unsigned n) {
  const uint64_t at = vcpus_[n]->s.rip - 1;
  const uint64_t base = code_at_ == kCode ? kHandler : 0xF000;
  if (at < base || at >= base + 32 * 16) return -1;
  return static_cast<int>((at - base) / 16);
}

}  // namespace atl::cpu::soft
