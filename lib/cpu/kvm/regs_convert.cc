// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/regs_convert.h"

namespace atl::cpu::kvm {
namespace {

// kvm_regs in the order of Gpr, so that one table serves both ways.
constexpr __u64 kvm_regs::*kGprs[16] = {
    &kvm_regs::rax, &kvm_regs::rcx, &kvm_regs::rdx, &kvm_regs::rbx, &kvm_regs::rsp, &kvm_regs::rbp,
    &kvm_regs::rsi, &kvm_regs::rdi, &kvm_regs::r8,  &kvm_regs::r9,  &kvm_regs::r10, &kvm_regs::r11,
    &kvm_regs::r12, &kvm_regs::r13, &kvm_regs::r14, &kvm_regs::r15,
};

// Likewise in the order of SegmentIndex.
constexpr kvm_segment kvm_sregs::*kSegments[6] = {
    &kvm_sregs::es, &kvm_sregs::cs, &kvm_sregs::ss, &kvm_sregs::ds, &kvm_sregs::fs, &kvm_sregs::gs,
};

Segment FromKvm(const kvm_segment& in) {
  Segment out;
  out.base = in.base;
  out.limit = in.limit;
  out.selector = in.selector;
  out.type = in.type;
  out.dpl = in.dpl;
  out.present = in.present != 0;
  out.s = in.s != 0;
  out.db = in.db != 0;
  out.l = in.l != 0;
  out.g = in.g != 0;
  out.avl = in.avl != 0;
  out.unusable = in.unusable != 0;
  return out;
}

kvm_segment ToKvm(const Segment& in) {
  kvm_segment out{};
  out.base = in.base;
  out.limit = in.limit;
  out.selector = in.selector;
  out.type = in.type;
  out.dpl = in.dpl;
  out.present = in.present;
  out.s = in.s;
  out.db = in.db;
  out.l = in.l;
  out.g = in.g;
  out.avl = in.avl;
  out.unusable = in.unusable;
  return out;
}

}  // namespace

Regs FromKvm(const kvm_regs& in) {
  Regs out;
  for (unsigned i = 0; i < 16; ++i) out.gpr[i] = in.*kGprs[i];
  out.rip = in.rip;
  out.rflags = in.rflags;
  return out;
}

kvm_regs ToKvm(const Regs& in) {
  kvm_regs out{};
  for (unsigned i = 0; i < 16; ++i) out.*kGprs[i] = in.gpr[i];
  out.rip = in.rip;
  out.rflags = in.rflags;
  return out;
}

SystemRegs FromKvm(const kvm_sregs& in) {
  SystemRegs out;
  for (unsigned i = 0; i < 6; ++i) out.segment[i] = FromKvm(in.*kSegments[i]);
  out.tr = FromKvm(in.tr);
  out.ldt = FromKvm(in.ldt);
  out.gdt = {in.gdt.base, in.gdt.limit};
  out.idt = {in.idt.base, in.idt.limit};
  out.cr0 = in.cr0;
  out.cr2 = in.cr2;
  out.cr3 = in.cr3;
  out.cr4 = in.cr4;
  out.cr8 = in.cr8;
  out.efer = in.efer;
  out.apic_base = in.apic_base;
  return out;
}

kvm_sregs ToKvm(const SystemRegs& in) {
  kvm_sregs out{};
  for (unsigned i = 0; i < 6; ++i) out.*kSegments[i] = ToKvm(in.segment[i]);
  out.tr = ToKvm(in.tr);
  out.ldt = ToKvm(in.ldt);
  out.gdt.base = in.gdt.base;
  out.gdt.limit = in.gdt.limit;
  out.idt.base = in.idt.base;
  out.idt.limit = in.idt.limit;
  out.cr0 = in.cr0;
  out.cr2 = in.cr2;
  out.cr3 = in.cr3;
  out.cr4 = in.cr4;
  out.cr8 = in.cr8;
  out.efer = in.efer;
  out.apic_base = in.apic_base;
  return out;
}

SystemRegs PowerOnSystemRegs(bool bsp) {
  SystemRegs out;
  out.segment[kCs].selector = 0xF000;
  out.segment[kCs].base = 0xFFFF0000;
  out.segment[kCs].type = 0xB;
  out.tr.s = false;
  out.tr.type = 0xB;  // busy TSS: VMX takes no other
  out.ldt.s = false;
  out.ldt.type = 2;
  out.apic_base = 0xFEE00800 | (bsp ? 0x100u : 0u);
  return out;
}

Regs PowerOnRegs() {
  Regs out;
  out.gpr[kRdx] = 0x600;  // a family 6 processor
  return out;
}

}  // namespace atl::cpu::kvm
