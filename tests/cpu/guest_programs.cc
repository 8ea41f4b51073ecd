// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/guest_programs.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/mem/guest_memory.h"
#include "tests/cpu/vcpu_watch.h"

extern "C" const uint8_t guest_programs[], guest_programs_end[];
extern "C" const uint8_t guest_real_integer[], guest_real_strings[], guest_real_exceptions[],
    guest_real_ports[], guest_real_big[], guest_protected_segments[], guest_sse_exceptions[],
    guest_mmio_unaligned[], guest_xcr0[], guest_mmio_rare[], guest_idt_limit[],
    guest_cr8_reserved[], guest_debug_general_detect[], guest_segment_access[], guest_resume_flag[],
    guest_task_switched_flag[], guest_protected_rings[], guest_protected_paging[],
    guest_protected_pae[], guest_protected_task[], guest_mmio_widths[],
    guest_mmio_read_modify_write[], guest_mmio_long[], guest_interrupts[], guest_nmi[],
    guest_nmi_blocking[], guest_long_exceptions[], guest_long_breakpoints[], guest_long_integer[],
    guest_long_system_calls[], guest_long_compatibility[], guest_control_registers[], guest_msrs[],
    guest_msrs_not_canonical[], guest_msrs_not_canonical_entry[], guest_stack_faults[],
    guest_stack_faults_long[], guest_cpuid[], guest_floating_point[], guest_self_modifying[];

namespace atl::cpu::test {
namespace {

constexpr uint64_t kProgramsAt = 0x1000, kRam = 1 << 20, kStack = 0x7F00;
constexpr uint64_t kDeviceAt = 0xA0000, kDeviceBytes = 0x20000;
constexpr uint16_t kEndPort = 0xF4, kInterruptPort = 0xE0, kNmiPort = 0xE1, kBytesPort = 0xE2;
// What exceptions left on it is not compared: RF is in it.
constexpr uint64_t kStackAt = 0x7A00;
constexpr auto kLimit = std::chrono::seconds(60);

GuestProgram Entry(absl::string_view name, absl::string_view what, const uint8_t* label) {
  return {name, what, kProgramsAt + static_cast<uint64_t>(label - guest_programs)};
}

const GuestProgram kPrograms[] = {
    Entry("real_integer", "arithmetic, bits, BCD, LOCK, ENTER in real mode", guest_real_integer),
    Entry("real_strings", "string instructions, wrapping segments", guest_real_strings),
    Entry("real_exceptions", "the IVT: faults, INT n, BOUND, INTO", guest_real_exceptions),
    Entry("real_ports", "ports of all widths, INS and OUTS both ways, across pages",
          guest_real_ports),
    Entry("real_big", "a 4 GiB segment kept in real mode, a device by it", guest_real_big),
    Entry("protected_segments", "absent and wrong segments, LDT, far calls, LAR and LSL",
          guest_protected_segments),
    Entry("segment_access", "limits, expand-down, null and code segments at each access",
          guest_segment_access),
    Entry("resume_flag", "RF in what exceptions push", guest_resume_flag),
    Entry("task_switched_flag", "TS after a task switch", guest_task_switched_flag),
    Entry("protected_rings", "ring 3, gates, I/O bitmap, alignment check", guest_protected_rings),
    Entry("protected_paging", "4 KiB and 4 MiB pages, faults, pages mapped anew",
          guest_protected_paging),
    Entry("protected_pae", "PAE, NX, page directory pointers", guest_protected_pae),
    Entry("protected_task", "task switches by CALL, IRET and JMP", guest_protected_task),
    Entry("mmio_widths", "a device by MOV, MOVZX, MOVSX, MOVS, STOS, LODS of all widths",
          guest_mmio_widths),
    Entry("mmio_read_modify_write", "a device as an operand of arithmetic, XCHG, PUSH",
          guest_mmio_read_modify_write),
    Entry("mmio_long", "a device with 64 bits, across pages, by MOVABS", guest_mmio_long),
    Entry("mmio_rare", "a device as an operand of shifts, IMUL, SETcc", guest_mmio_rare),
    Entry("mmio_unaligned", "a device across its words and pages", guest_mmio_unaligned),
    Entry("interrupts", "external interrupts: STI's shadow, HLT, POPF, IRET, ring 3",
          guest_interrupts),
    Entry("nmi", "non-maskable interrupts", guest_nmi),
    Entry("nmi_blocking", "an NMI within an NMI's handler", guest_nmi_blocking),
    Entry("long_exceptions", "faults of ring 0, IST, single steps", guest_long_exceptions),
    Entry("idt_limit", "INT n past the IDT", guest_idt_limit),
    Entry("cr8_reserved", "CR8 beyond four bits", guest_cr8_reserved),
    Entry("debug_general_detect", "DR7.GD", guest_debug_general_detect),
    Entry("long_breakpoints", "DR0 to DR7", guest_long_breakpoints),
    Entry("long_integer", "64-bit arithmetic", guest_long_integer),
    Entry("long_system_calls", "SYSCALL, SYSRET, SWAPGS, ring 3", guest_long_system_calls),
    Entry("long_compatibility", "32-bit code in long mode, far jumps and returns",
          guest_long_compatibility),
    Entry("control_registers", "CR0 to CR8, LMSW, CLTS, DR7, descriptor tables",
          guest_control_registers),
    Entry("msrs", "MSRs that are there and that are not", guest_msrs),
    Entry("msrs_not_canonical", "FS and GS base, not canonical", guest_msrs_not_canonical),
    Entry("msrs_not_canonical_entry", "LSTAR, KERNEL_GS_BASE and SYSENTER_ESP, not canonical",
          guest_msrs_not_canonical_entry),
    Entry("stack_faults", "#SS: absent, past the limit", guest_stack_faults),
    Entry("stack_faults_long", "#SS: not canonical", guest_stack_faults_long),
    Entry("cpuid", "what is shown and what is not", guest_cpuid),
    Entry("xcr0", "XSAVE's bits, XCR0 after an exit", guest_xcr0),
    Entry("floating_point", "x87 and SSE, their exceptions, FXSAVE", guest_floating_point),
    Entry("sse_exceptions", "#XM, reserved bits of MXCSR", guest_sse_exceptions),
    Entry("self_modifying", "code that changes itself", guest_self_modifying),
};

class GuestBus final : public VcpuBus {
 public:
  explicit GuestBus(GuestResult& result) : result_(result) {}

  uint32_t PortIn(uint16_t port, unsigned size) override {
    const uint64_t value = Answer(size);
    Record("in", port, size, value);
    return static_cast<uint32_t>(value);
  }
  void PortOut(uint16_t port, unsigned size, uint32_t value) override {
    if (port == kEndPort) {
      ended = true;
      vcpu->Kick();
      return;
    }
    Record("out", port, size, value);
    if (port == kInterruptPort) {
      vector_ = static_cast<int>(value & 0xFF);
      vcpu->SetInterruptLine(true);
    }
    if (port == kNmiPort) vcpu->RaiseNmi();
    if (port == kBytesPort) bytes_ = true;
  }
  uint64_t MmioRead(Gpa at, unsigned size) override {
    if (bytes_) {
      uint64_t value = 0;
      for (unsigned i = 0; i < size; ++i) {
        const uint64_t byte = ((at.value + i) * 0x9E3779B1 >> 12) & 0xFF;
        Record("read", at.value + i, 1, byte);
        value |= byte << 8 * i;
      }
      return value;
    }
    const uint64_t value = Answer(size);
    Record("read", at.value, size, value);
    return value;
  }
  void MmioWrite(Gpa at, unsigned size, uint64_t value) override {
    if (!bytes_) return Record("write", at.value, size, value);
    for (unsigned i = 0; i < size; ++i) Record("write", at.value + i, 1, value >> 8 * i & 0xFF);
  }
  int AcknowledgeInterrupt(unsigned) override {
    const int vector = std::exchange(vector_, -1);
    if (vector >= 0) vcpu->SetInterruptLine(false);
    return vector;
  }
  bool InterruptPending(unsigned) override { return vector_ >= 0; }
  uint64_t ReadCr8(unsigned) override { return cr8_; }
  void WriteCr8(unsigned, uint64_t value) override { cr8_ = value; }
  bool ReadApicMsr(unsigned, uint32_t, uint64_t*) override { return false; }
  bool WriteApicMsr(unsigned, uint32_t, uint64_t) override { return false; }
  uint64_t NowNs() override { return now_ += 1000; }

  Vcpu* vcpu = nullptr;
  bool ended = false;

 private:
  uint64_t Answer(unsigned size) {
    state_ = state_ * 0x5851F42D4C957F2D + 0x14057B7EF767814F;
    return state_ >> 13 & (~uint64_t{0} >> (64 - 8 * size));
  }
  void Record(absl::string_view kind, uint64_t at, unsigned size, uint64_t value) {
    result_.accesses.push_back(absl::StrFormat("%s%d %x %x", kind, 8 * size, at, value));
  }

  GuestResult& result_;
  int vector_ = -1;
  bool bytes_ = false;  // accesses to devices are recorded by bytes
  uint64_t state_ = 1, cr8_ = 0, now_ = 0;
};

// What the programs find at 0x30000: linear is physical, but for 0x40000, which is
// absent, 0x41000, which is read-only, 0x42000, the kernel's, and 0x43000, without
// execution where there is NX; the pages behind, large, show the same memory.
void BuildTables(GuestMemory& memory) {
  constexpr uint64_t kAll = 7, kLarge = 0x80, kNoExecute = uint64_t{1} << 63;
  const auto bits = [](unsigned page) -> uint64_t {
    return page == 0x40 ? 6 : page == 0x41 ? 5 : page == 0x42 ? 3 : kAll;
  };
  memory.Store(Gpa(0x30000), static_cast<uint32_t>(0x31000 | kAll));
  memory.Store(Gpa(0x30004), static_cast<uint32_t>(kLarge | kAll));
  for (unsigned i = 0; i < 1024; ++i)
    memory.Store(Gpa(0x31000 + 4 * i), static_cast<uint32_t>(i << 12 | bits(i)));
  memory.Store(Gpa(0x32000), uint64_t{0x33001});
  memory.Store(Gpa(0x32008), uint64_t{0x33001});
  memory.Store(Gpa(0x33000), 0x34000 | kAll);
  memory.Store(Gpa(0x33008), kLarge | kAll);
  memory.Store(Gpa(0x35000), 0x36000 | kAll);
  memory.Store(Gpa(0x36000), 0x33000 | kAll);
  for (uint64_t i = 0; i < 512; ++i)
    memory.Store(Gpa(0x34000 + 8 * i),
                 i << 12 | bits(static_cast<unsigned>(i)) | (i == 0x43 ? kNoExecute : 0));
}

void DiffSegment(absl::string_view name, const Segment& want, const Segment& have,
                 std::string* out) {
  const auto text = [](const Segment& s) {
    return absl::StrFormat("%x base %x limit %x type %x%s%s%s", s.selector, s.base, s.limit, s.type,
                           s.db ? " db" : "", s.l ? " l" : "", s.unusable ? " unusable" : "");
  };
  const bool null = (want.selector & ~3) == 0 && (have.selector & ~3) == 0;
  if (null && want.selector == have.selector && want.base == have.base) return;
  if (text(want) != text(have))
    absl::StrAppend(out, "  ", name, ": ", text(have), ", not ", text(want), "\n");
}

}  // namespace

std::span<const GuestProgram> GuestPrograms() { return kPrograms; }

absl::StatusOr<GuestResult> RunGuest(const GuestProgram& program, const Backend& backend,
                                     const BackendOptions& options) {
  GuestResult result;
  std::unique_ptr<GuestMemory> memory;
  ASSIGN_OR_RETURN(memory, GuestMemory::Create(kRam));
  memory->SetSlot(Gpa(kDeviceAt), kDeviceBytes, nullptr, SlotKind::kRam);
  memory->Write(Gpa(kProgramsAt), {guest_programs, guest_programs_end});
  BuildTables(*memory);
  std::unique_ptr<Vm> vm;
  ASSIGN_OR_RETURN(vm, backend.create_vm(options, *memory));
  GuestBus bus(result);
  VcpuConfig config;
  config.bus = &bus;
  std::unique_ptr<Vcpu> vcpu;
  ASSIGN_OR_RETURN(vcpu, vm->CreateVcpu(config));
  bus.vcpu = vcpu.get();
  SystemRegs system;
  ASSIGN_OR_RETURN(system, vcpu->GetSystemRegs());
  system.segment[kCs].selector = 0;
  system.segment[kCs].base = 0;
  RETURN_IF_ERROR(vcpu->SetSystemRegs(system));
  Regs regs;
  regs.rip = program.entry;
  regs.gpr[kRsp] = kStack;
  RETURN_IF_ERROR(vcpu->SetRegs(regs));

  {
    const VcpuWatch watch(*vcpu);
    const auto deadline = std::chrono::steady_clock::now() + kLimit;
    while (!bus.ended && result.trouble.empty()) {
      const absl::StatusOr<Exit> exit = vcpu->Run();
      if (!exit.ok()) {
        result.trouble = std::string(exit.status().message());
      } else if (exit->reason == ExitReason::kHalted) {
        result.trouble = "halted, with nothing to wake it";
      } else if (exit->reason != ExitReason::kKicked) {
        result.trouble = exit->detail;
      } else if (!bus.ended && std::chrono::steady_clock::now() > deadline) {
        result.trouble = "does not end";
      }
    }
  }
  ASSIGN_OR_RETURN(result.regs, vcpu->GetRegs());
  ASSIGN_OR_RETURN(result.system, vcpu->GetSystemRegs());
  memory->Fill(Gpa(kStackAt), 0, kStack - kStackAt);
  result.memory.assign(memory->ram_host(), memory->ram_host() + kDeviceAt);
  result.memory.insert(result.memory.end(), memory->ram_host() + kDeviceAt + kDeviceBytes,
                       memory->ram_host() + kRam);
  return result;
}

std::string Difference(const GuestResult& expected, const GuestResult& got) {
  std::string out;
  const auto differ = [&](absl::string_view name, uint64_t want, uint64_t have) {
    if (want != have) absl::StrAppendFormat(&out, "  %s: %x, not %x\n", name, have, want);
  };
  if (expected.trouble != got.trouble)
    absl::StrAppendFormat(&out, "  %s, not %s\n", got.trouble.empty() ? "ended" : got.trouble,
                          expected.trouble.empty() ? "ended" : expected.trouble);
  static constexpr const char* kNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                             "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                             "r12", "r13", "r14", "r15"};
  for (unsigned i = 0; i < 16; ++i) differ(kNames[i], expected.regs.gpr[i], got.regs.gpr[i]);
  differ("rip", expected.regs.rip, got.regs.rip);
  constexpr uint64_t kRf = 0x10000;
  differ("rflags", expected.regs.rflags & ~kRf, got.regs.rflags & ~kRf);
  const SystemRegs &a = expected.system, &b = got.system;
  static constexpr const char* kSegments[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < 6; ++i) DiffSegment(kSegments[i], a.segment[i], b.segment[i], &out);
  DiffSegment("ldt", a.ldt, b.ldt, &out);
  differ("tr", a.tr.selector, b.tr.selector);
  differ("tr's base", a.tr.base, b.tr.base);
  differ("gdt", a.gdt.base, b.gdt.base);
  differ("gdt's limit", a.gdt.limit, b.gdt.limit);
  differ("idt", a.idt.base, b.idt.base);
  differ("idt's limit", a.idt.limit, b.idt.limit);
  differ("cr0", a.cr0, b.cr0);
  differ("cr2", a.cr2, b.cr2);
  differ("cr3", a.cr3, b.cr3);
  differ("cr4", a.cr4, b.cr4);
  differ("cr8", a.cr8, b.cr8);
  differ("efer", a.efer, b.efer);
  const auto access = [](const GuestResult& r, size_t i) -> absl::string_view {
    return i < r.accesses.size() ? absl::string_view(r.accesses[i]) : "none";
  };
  for (size_t i = 0, shown = 0; i < std::max(expected.accesses.size(), got.accesses.size()); ++i) {
    if (access(expected, i) == access(got, i)) continue;
    absl::StrAppendFormat(&out, "  access %d: %s, not %s\n", i, access(got, i),
                          access(expected, i));
    if (++shown == 6) break;
  }
  for (size_t i = 0, shown = 0; i < expected.memory.size() && shown < 12; i += 8) {
    uint64_t want, have;
    std::memcpy(&want, &expected.memory[i], 8);
    std::memcpy(&have, &got.memory[i], 8);
    if (want == have) continue;
    const uint64_t at = i < kDeviceAt ? i : i + kDeviceBytes;
    absl::StrAppendFormat(&out, "  [%x]: %016x, not %016x\n", at, have, want);
    ++shown;
  }
  return out;
}

}  // namespace atl::cpu::test
