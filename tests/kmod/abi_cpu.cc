// SPDX-License-Identifier: Apache-2.0
// The processor's modes, entered through KVM_SET_SREGS: in each the guest loads another
// table of pages, and has CR4 load it once more.
#include "tests/kmod/abi.h"

namespace {

constexpr uint64_t kPe = 1, kEt = 0x10, kNe = 0x20, kPg = 0x80000000;
constexpr uint64_t kPse = 0x10, kPae = 0x20, kPge = 0x80;
constexpr uint64_t kLongMode = 0x500;  // LME, LMA

// Twice the same for each mode: 4 MiB leads to 0, and in the second to 0x8000.
struct Mode {
  const char* name;
  uint64_t cr0, cr4, efer, first, second;
};
constexpr Mode kModes[] = {
    {"protected", kPe, 0, 0, 0, 0},
    {"32-bit pages", kPe | kPg, kPse, 0, 0x10000, 0x18000},
    {"PAE", kPe | kPg, kPae, 0, 0x11020, 0x15040},
    {"PAE, global", kPe | kPg, kPae | kPge, 0, 0x11020, 0x15040},
    {"long mode", kPe | kPg, kPae, kLongMode, 0x13000, 0x1A000},
};

void MakeTables(uint8_t* memory) {
  const auto set32 = [&](uint32_t at, uint32_t entry) { memcpy(memory + at, &entry, 4); };
  const auto set64 = [&](uint32_t at, uint64_t entry) { memcpy(memory + at, &entry, 8); };
  constexpr uint32_t kPresent = 3, kLarge = 0x83;
  set32(0x10000, kLarge);
  set32(0x10004, kLarge);
  set32(0x18000, kLarge);
  set32(0x18004, 0x19000 | kPresent);
  set32(0x19000, 0x8000 | kPresent);
  set64(0x11020, 0x12001);
  set64(0x12000, kLarge);
  set64(0x12010, kLarge);
  set64(0x15040, 0x16001);
  set64(0x16000, kLarge);
  set64(0x16010, 0x17000 | kPresent);
  set64(0x17000, 0x8000 | kPresent);
  set64(0x13000, 0x14000 | kPresent);
  set64(0x14000, 0x12000 | kPresent);
  set64(0x1A000, 0x1B000 | kPresent);
  set64(0x1B000, 0x16000 | kPresent);
}

void Run(const Mode& mode) {
  Vm vm;
  MakeTables(vm.memory);
  // mov %eax, (%esp); mov %ecx, %cr3; mov %eax, 4(%esp); mov %cr4, %edx; xor $0x80, %dl;
  // mov %edx, %cr4; mov %eax, 8(%esp); mov %cr3, %ebx; hlt
  constexpr uint8_t kCode[] = {0x89, 0x04, 0x24, 0x0F, 0x22, 0xD9, 0x89, 0x44, 0x24,
                               0x04, 0x0F, 0x20, 0xE2, 0x80, 0xF2, 0x80, 0x0F, 0x22,
                               0xE2, 0x89, 0x44, 0x24, 0x08, 0x0F, 0x20, 0xDB, 0xF4};
  memcpy(vm.memory + 0x1000, kCode, sizeof kCode);
  const bool wide = mode.efer != 0, paging = (mode.cr0 & kPg) != 0;
  kvm_sregs s{};
  Ioctl(vm.vcpu, KVM_GET_SREGS, &s);
  s.cr0 = mode.cr0 | kEt | kNe;
  s.cr3 = mode.first;
  s.cr4 = mode.cr4;
  s.efer = mode.efer;
  kvm_segment data{};
  data.limit = 0xFFFFFFFF;
  data.selector = 16;
  data.type = 3;
  data.present = data.db = data.s = data.g = 1;
  s.ds = s.es = s.fs = s.gs = s.ss = data;
  s.cs = data;
  s.cs.selector = 8;
  s.cs.type = 11;
  s.cs.db = !wide;
  s.cs.l = wide;
  Check(mode.name, Ioctl(vm.vcpu, KVM_SET_SREGS, &s), 0);
  kvm_regs r{};
  r.rip = 0x1000;
  r.rflags = 2;
  r.rax = 0x12345678;
  r.rcx = mode.second;
  r.rsp = paging ? 0x400800 : 0x800;
  Check(mode.name, Ioctl(vm.vcpu, KVM_SET_REGS, &r), 0);
  Check(mode.name, vm.Run(), KVM_EXIT_HLT);
  const auto at = [&](uint32_t address) {
    uint32_t value;
    memcpy(&value, vm.memory + address, 4);
    return static_cast<long>(value);
  };
  const uint32_t second = paging ? 0x8800 : 0x800;
  Check("by the first table", at(0x800), 0x12345678);
  Check("by the second", at(second + 4), 0x12345678);
  Check("by the second still", at(second + 8), 0x12345678);
  const kvm_regs end = vm.Regs();
  Check("CR3", static_cast<long>(end.rbx), static_cast<long>(mode.second));
  Check("CR4", static_cast<long>(end.rdx), static_cast<long>(mode.cr4 ^ kPge));
  Ioctl(vm.vcpu, KVM_GET_SREGS, &s);
  Check("CR3 outside", static_cast<long>(s.cr3), static_cast<long>(mode.second));
  Check("CR4 outside", static_cast<long>(s.cr4), static_cast<long>(mode.cr4 ^ kPge));
  Check("EFER", static_cast<long>(s.efer), static_cast<long>(mode.efer));
}

// LME before PAE and paging, as the processor allows: it waits.
void LongModeEnabledOnly() {
  Vm vm;
  // mov $0xC0000080, %ecx; rdmsr; hlt
  vm.Code({0x66, 0xB9, 0x80, 0x00, 0x00, 0xC0, 0x0F, 0x32, 0xF4});
  kvm_sregs s{};
  Ioctl(vm.vcpu, KVM_GET_SREGS, &s);
  s.efer = 0x100;
  Check("LME alone", Ioctl(vm.vcpu, KVM_SET_SREGS, &s), 0);
  Check("LME alone", vm.Run(), KVM_EXIT_HLT);
  Check("LME in the guest", static_cast<long>(vm.Regs().rax), 0x100);
  Ioctl(vm.vcpu, KVM_GET_SREGS, &s);
  Check("LME outside", static_cast<long>(s.efer), 0x100);
}

}  // namespace

void Modes() {
  // On QEMU's SVM mainline shuts a PAE guest down that writes CR4, on Bochs's VMX not. And one
  // with LME alone takes the host along (tests/lab/lab-svm).
  const char* const lab = getenv("LAB");
  const bool mainline_svm = strcmp(device, "/dev/kvm") == 0 && lab && strcmp(lab, "vmx") != 0;
  for (const Mode& m : kModes) {
    if (!mainline_svm || m.efer || !(m.cr4 & kPae)) Run(m);
  }
  if (!mainline_svm) LongModeEnabledOnly();
}
