// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/hmp_memory.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"

namespace atl::qmp {
namespace {

// Bytes that one command shows at most.
constexpr uint64_t kMaxDump = 64 * 1024;

constexpr absl::string_view kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr absl::string_view kSegmentNames[] = {"ES", "CS", "SS", "DS", "FS", "GS"};

std::string DescribeSegment(absl::string_view name, const cpu::Segment& s) {
  const uint32_t flags = s.type | s.s << 4 | s.dpl << 5 | s.present << 7 | s.avl << 12 | s.l << 13 |
                         s.db << 14 | s.g << 15;
  return absl::StrFormat("%-3s=%04x %016x %08x %08x\n", name, s.selector, s.base, s.limit,
                         flags << 8);
}

absl::StatusOr<uint64_t> Term(absl::string_view term, const cpu::Regs& regs) {
  if (!term.empty() && term[0] == '$') {
    const std::string name = absl::AsciiStrToLower(term.substr(1));
    if (name == "pc" || name == "rip" || name == "eip") return regs.rip;
    if (name == "rflags" || name == "eflags") return regs.rflags;
    for (size_t i = 0; i < std::size(kGprNames); ++i) {
      if (name == kGprNames[i]) return regs.gpr[i];
      if (i < 8 && name == absl::StrCat("e", kGprNames[i].substr(1))) {
        return regs.gpr[i] & 0xFFFFFFFF;
      }
    }
    return absl::InvalidArgumentError("unknown register");
  }
  uint64_t value;
  const bool hex = term.substr(0, 2) == "0x" || term.substr(0, 2) == "0X";
  if (hex ? absl::SimpleHexAtoi(term, &value) : absl::SimpleAtoi(term, &value)) return value;
  return absl::InvalidArgumentError("invalid char in expression");
}

absl::StatusOr<uint64_t> Evaluate(absl::string_view text, const cpu::Regs& regs) {
  uint64_t sum = 0;
  bool minus = false;
  for (;;) {
    const size_t end = text.find_first_of("+-", text.empty() ? 0 : 1);
    ASSIGN_OR_RETURN(uint64_t value, Term(absl::StripAsciiWhitespace(text.substr(0, end)), regs));
    sum = minus ? sum - value : sum + value;
    if (end == absl::string_view::npos) return sum;
    minus = text[end] == '-';
    text.remove_prefix(end + 1);
  }
}

struct Format {
  uint64_t count = 1;
  char form = 'x';
  unsigned size = 4;
};

absl::StatusOr<Format> ParseFormat(absl::string_view text) {
  Format out;
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(text[digits])) ++digits;
  if (digits != 0 && (!absl::SimpleAtoi(text.substr(0, digits), &out.count))) {
    return absl::InvalidArgumentError("the count is no number");
  }
  for (const char c : text.substr(digits)) {
    switch (c) {
      case 'x':
      case 'd':
      case 'u':
      case 'o':
      case 'c':
        out.form = c;
        if (c == 'c') out.size = 1;
        break;
      case 'b':
        out.size = 1;
        break;
      case 'h':
        out.size = 2;
        break;
      case 'w':
        out.size = 4;
        break;
      case 'g':
        out.size = 8;
        break;
      default:
        return absl::InvalidArgumentError(absl::StrCat(
            "'", absl::CHexEscape(std::string(1, c)), "' is no format: x d u o c and b h w g are"));
    }
  }
  if (out.count > kMaxDump / out.size) {
    return absl::InvalidArgumentError(absl::StrCat("at most ", kMaxDump, " bytes at once"));
  }
  return out;
}

std::string Item(const Format& format, uint64_t value) {
  const unsigned bits = 8 * format.size;
  switch (format.form) {
    case 'd': {
      const int64_t wide = static_cast<int64_t>(value << (64 - bits)) >> (64 - bits);
      return absl::StrCat(wide);
    }
    case 'u':
      return absl::StrCat(value);
    case 'o':
      return absl::StrFormat("0%o", value);
    case 'c': {
      const char c = static_cast<char>(value);
      return absl::StrCat(
          "'",
          absl::ascii_isprint(c) ? std::string(1, c) : absl::StrFormat("\\x%02x", value & 0xFF),
          "'");
    }
    default:
      return absl::StrFormat("0x%0*x", static_cast<int>(2 * format.size), value);
  }
}

}  // namespace

std::string DescribeRegisters(const vm::VcpuState& state, unsigned index) {
  std::string out = absl::StrCat("CPU#", index, "\n");
  // In the order that people know from debuggers: RAX RBX RCX RDX ...
  constexpr std::array<unsigned, 16> kOrder = {0, 3, 1,  2,  6,  7,  5,  4,
                                               8, 9, 10, 11, 12, 13, 14, 15};
  for (size_t i = 0; i < kOrder.size(); ++i) {
    const std::string name = absl::AsciiStrToUpper(kGprNames[kOrder[i]]);
    absl::StrAppendFormat(&out, "%-3s=%016x%s", name, state.regs.gpr[kOrder[i]],
                          i % 4 == 3 ? "\n" : " ");
  }
  const cpu::SystemRegs& s = state.system;
  absl::StrAppendFormat(&out, "RIP=%016x RFL=%08x CPL=%d\n", state.regs.rip, state.regs.rflags,
                        s.segment[cpu::kSs].dpl);
  for (size_t i = 0; i < std::size(kSegmentNames); ++i) {
    out += DescribeSegment(kSegmentNames[i], s.segment[i]);
  }
  out += DescribeSegment("LDT", s.ldt) + DescribeSegment("TR", s.tr);
  absl::StrAppendFormat(&out, "GDT=     %016x %08x\nIDT=     %016x %08x\n", s.gdt.base, s.gdt.limit,
                        s.idt.base, s.idt.limit);
  absl::StrAppendFormat(&out, "CR0=%08x CR2=%016x CR3=%016x CR4=%08x\nEFER=%016x\n", s.cr0, s.cr2,
                        s.cr3, s.cr4, s.efer);
  return out;
}

absl::StatusOr<std::string> DumpMemory(vm::MachineControl& machine, unsigned cpu, bool physical,
                                       absl::string_view format_text,
                                       absl::string_view address_text) {
  ASSIGN_OR_RETURN(Format format, ParseFormat(format_text));
  cpu::Regs regs;
  if (address_text.find('$') != absl::string_view::npos) {
    ASSIGN_OR_RETURN(vm::VcpuState state, machine.ReadVcpu(cpu));
    regs = state.regs;
  }
  ASSIGN_OR_RETURN(uint64_t address, Evaluate(absl::StripAsciiWhitespace(address_text), regs));
  std::string out;
  const uint64_t per_line = std::max<uint64_t>(1, 16 / format.size);
  for (uint64_t done = 0; done < format.count; done += per_line) {
    const uint64_t n = std::min(per_line, format.count - done);
    std::vector<uint8_t> bytes(n * format.size);
    const absl::Status read =
        physical ? machine.ReadPhysical(address, bytes) : machine.ReadVirtual(cpu, address, bytes);
    // What came before it is worth showing all the same.
    if (!read.ok()) return absl::StrCat(out, "Cannot access memory: ", read.message(), "\n");
    absl::StrAppendFormat(&out, "%016x:", address);
    for (uint64_t i = 0; i < n; ++i) {
      uint64_t value = 0;
      for (unsigned b = format.size; b-- > 0;) value = value << 8 | bytes[i * format.size + b];
      absl::StrAppend(&out, " ", Item(format, value));
    }
    out += "\n";
    address += n * format.size;
  }
  return out;
}

absl::StatusOr<std::string> DescribeMappings(vm::MachineControl& machine, unsigned cpu) {
  ASSIGN_OR_RETURN(std::vector<vm::MappedRange> ranges, machine.ReadMappings(cpu));
  std::string out;
  for (const vm::MappedRange& r : ranges) {
    absl::StrAppendFormat(&out, "%016x-%016x %016x %c%c%c\n", r.begin, r.begin + r.size, r.size,
                          r.user ? 'u' : '-', 'r', r.writable ? 'w' : '-');
  }
  return out.empty() ? "PG disabled\n" : out;
}

}  // namespace atl::qmp
