// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/verify.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/cpu/soft/mmu.h"

namespace atl::cpu::soft {
namespace {

constexpr int kTries = 4;

// What gives another value each time, reaches beyond CpuState and memory, or has
// its effect on what the MMU remembers. Repeated string instructions write by
// parts that the log does not see, and are the interpreter's either way.
bool CanRepeat(const Insn& in) {
  if (in.rep || in.repne) return false;
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_OUT:
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_RDMSR:
    case ZYDIS_MNEMONIC_WRMSR:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_XSETBV:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_PAUSE:
    case ZYDIS_MNEMONIC_MWAIT:
    case ZYDIS_MNEMONIC_MONITOR:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_INVPCID:
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_CLTS:
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_STAC:
    case ZYDIS_MNEMONIC_CLAC:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
      return false;
    default:
      break;
  }
  // MOV and POP of segment, control and debug registers, and far transfers.
  switch (in.bytes[0]) {
    case 0x8E:
    case 0xCA:
    case 0xCB:
      return false;
    default:
      break;
  }
  for (unsigned i = 0; i + 1 < in.length; ++i) {
    const uint8_t b = in.bytes[i];
    if (b == 0x0F) {
      const uint8_t opcode = in.bytes[i + 1];
      return !(opcode >= 0x20 && opcode <= 0x23) && (opcode & 0xF7) != 0xA1;
    }
    if (b == 0x8E || b == 0xCA || b == 0xCB) return false;
    if (b == 0xFF) {
      const unsigned operation = in.bytes[i + 1] >> 3 & 7;
      return operation != 3 && operation != 5;
    }
    const bool prefix = b == 0x66 || b == 0x67 || b == 0xF0 || b == 0xF2 || b == 0xF3 ||
                        (b & 0xF0) == 0x40 || (b & 0xE7) == 0x26 || b == 0x64 || b == 0x65;
    if (!prefix) break;
  }
  return true;
}

bool CanRepeat(Block& b) {
  if (b.code_size != CodeSize::k64) return false;
  return std::all_of(b.insns(), b.insns() + b.count, [](const Insn& in) { return CanRepeat(in); });
}

std::string Bytes(const uint8_t* p, size_t n) {
  std::string s;
  for (size_t i = n; i-- > 0;) absl::StrAppendFormat(&s, "%02x", p[i]);
  return s;
}

constexpr std::array<const char*, 16> kNames = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                "r12", "r13", "r14", "r15"};
constexpr const char* kSteps[] = {"next", "branch", "leave", "fault", "exit"};

// Bytes of CpuState beside registers, flags, rip and the FPU.
constexpr size_t kRestAt = offsetof(CpuState, rflags_rest);
constexpr size_t kRestEnd = offsetof(CpuState, fpu);

}  // namespace

Step Verifier::Interpret(Block& b, uint64_t stop) {
  CpuState& s = vcpu_.s;
  vcpu_.block_version_at = b.version_at;
  vcpu_.block_version = b.version;
  uint64_t rip = s.rip;
  Step step = Step::kNext;
  for (unsigned i = 0; i < b.count; ++i) {
    const Insn& in = b.insns()[i];
    if (i != 0 && rip == stop) break;
    s.rip = rip;
    step = in.run(vcpu_, in);
    if (step == Step::kBranch || step == Step::kFault) return step;
    rip += in.length;
    if (step != Step::kNext) break;
  }
  s.rip = rip;
  return step;
}

void Verifier::TakeBack(const CpuState& start) {
  log_.TakeBack();
  vcpu_.s = start;
}

Verifier::Result Verifier::Run(Block& b, absl::FunctionRef<Step()> other, Step* step) {
  if (!CanRepeat(b)) {
    ++interpreted_;
    *step = Interpret(b, 0);
    return Result::kInterpreted;
  }
  const CpuState start = vcpu_.s;
  End expected, got;
  const auto interpret = [&](uint64_t stop) {
    log_.Clear();
    vcpu_.mmu.SetWriteLog(&log_);
    expected.step = Interpret(b, stop);
    vcpu_.mmu.SetWriteLog(nullptr);
    expected.state = vcpu_.s;
    expected.fault = vcpu_.fault;
    expected.stores = log_.entries();
    return log_.repeatable();
  };
  if (!interpret(0)) {
    ++interpreted_;
    *step = expected.step;
    return Result::kInterpreted;
  }
  TakeBack(start);
  expected.memory = log_.after();
  *step = got.step = other();
  got.state = vcpu_.s;
  got.fault = vcpu_.fault;
  got.stores = log_.entries();
  log_.Keep(&got.memory);
  ++compared_;
  std::string difference = Difference(expected, got, false);
  const auto nothing_done = [&] {
    return got.step != Step::kFault && got.state.rip == start.rip &&
           GetRflags(got.state) == GetRflags(start) &&
           std::equal(start.gpr, start.gpr + 16, got.state.gpr);
  };
  if (!difference.empty() && nothing_done()) return Result::kSame;  // it left at once
  for (int tries = 0; !difference.empty() && tries < kTries; ++tries) {
    TakeBack(start);
    // Perhaps the other way ended early, to have something looked at.
    const bool early = tries % 2 != 0 && got.step != Step::kFault;
    const bool repeatable = interpret(early ? got.state.rip : 0);
    log_.Keep(&expected.memory);
    // The result that stands is now the interpreter's.
    *step = expected.step;
    if (!repeatable) return Result::kInterpreted;
    difference = Difference(expected, got, early);
  }
  if (difference.empty()) return Result::kSame;
  absl::StrAppendFormat(&difference, "  the interpreter: %s at %x, the translator: %s at %x\n",
                        kSteps[static_cast<unsigned>(expected.step)], expected.state.rip,
                        kSteps[static_cast<unsigned>(got.step)], got.state.rip);
  Report(b, start, difference);
  return Result::kDiffers;
}

std::string Verifier::Difference(const End& expected, const End& got, bool inside) const {
  const CpuState& e = expected.state;
  const CpuState& g = got.state;
  std::string out;
  const auto differ = [&](const char* name, uint64_t want, uint64_t have) {
    if (want != have) absl::StrAppendFormat(&out, "  %s: %x, not %x\n", name, have, want);
  };
  const bool fault = expected.step == Step::kFault;
  if (fault != (got.step == Step::kFault) ||
      (expected.step == Step::kExit) != (got.step == Step::kExit)) {
    absl::StrAppendFormat(&out, "  ends with %s, not %s\n", kSteps[static_cast<unsigned>(got.step)],
                          kSteps[static_cast<unsigned>(expected.step)]);
  } else if (fault) {
    differ("exception", expected.fault.vector, got.fault.vector);
    differ("error code", expected.fault.error_code, got.fault.error_code);
    differ("fault's address", expected.fault.address, got.fault.address);
  }
  differ("rip", e.rip, g.rip);
  for (unsigned i = 0; i < 16; ++i) differ(kNames[i], e.gpr[i], g.gpr[i]);
  constexpr uint64_t kArithmetic = kCf | kPf | kAf | kZf | kSf | kOf;
  inside = inside || fault || expected.step == Step::kLeave;
  const uint64_t mask = inside && !precise_flags_ ? ~kArithmetic : ~uint64_t{0};
  differ("rflags", GetRflags(e) & mask, GetRflags(g) & mask);
  const auto field = [&](const std::string& name, unsigned at, unsigned n) {
    if (std::memcmp(e.fpu.image + at, g.fpu.image + at, n) != 0)
      absl::StrAppendFormat(&out, "  %s: %s, not %s\n", name, Bytes(g.fpu.image + at, n),
                            Bytes(e.fpu.image + at, n));
  };
  // The x87 unit's pointers are of the host's instructions.
  field("fcw", FpuState::kFcw, 2);
  field("fsw", FpuState::kFsw, 2);
  field("ftw", FpuState::kFtw, 1);
  field("mxcsr", FpuState::kMxcsr, 4);
  for (unsigned i = 0; i < 8; ++i) field(absl::StrCat("st", i), FpuState::kSt + 16 * i, 10);
  for (unsigned i = 0; i < 16; ++i) field(absl::StrCat("xmm", i), FpuState::kXmm + 16 * i, 16);
  for (unsigned i = 0; i < 16; ++i) {
    if (std::memcmp(e.fpu.ymm_high[i], g.fpu.ymm_high[i], 16) != 0)
      absl::StrAppendFormat(&out, "  ymm%u's upper half: %s, not %s\n", i,
                            Bytes(g.fpu.ymm_high[i], 16), Bytes(e.fpu.ymm_high[i], 16));
  }
  const auto* rest_e = reinterpret_cast<const uint8_t*>(&e);
  const auto* rest_g = reinterpret_cast<const uint8_t*>(&g);
  for (size_t at = kRestAt; at < kRestEnd; at += 8) {
    if (std::memcmp(rest_e + at, rest_g + at, 8) != 0)
      absl::StrAppendFormat(&out, "  byte %u of the state: %s, not %s\n", at, Bytes(rest_g + at, 8),
                            Bytes(rest_e + at, 8));
  }
  for (size_t i = 0; i < expected.stores.size(); ++i) {
    // Where the other way ended early, it stored less.
    const WriteLog::Entry& store = expected.stores[i];
    if (i >= got.stores.size() || got.stores[i].at != store.at ||
        got.stores[i].size != store.size) {
      out += "  stores went elsewhere\n";
      break;
    }
    const uint8_t* want = &expected.memory[store.bytes];
    const uint8_t* have = &got.memory[store.bytes];
    if (std::memcmp(want, have, store.size) == 0) continue;
    const size_t n = std::min<size_t>(store.size, 64);
    absl::StrAppendFormat(&out, "  memory (store %u of %u, of %u bytes): %s, not %s\n", i + 1,
                          expected.stores.size(), store.size, Bytes(have, n), Bytes(want, n));
  }
  return out;
}

void Verifier::Report(Block& b, const CpuState& start, const std::string& difference) {
  report_ = absl::StrFormat("vCPU %u: the translator differs from the interpreter at %x\n",
                            vcpu_.index, start.rip);
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  uint64_t rip = start.rip;
  for (unsigned i = 0; i < b.count; ++i) {
    const Insn& in = b.insns()[i];
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    char line[128] = "(bad)";
    if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, in.bytes, in.length, &decoded, operands)))
      ZydisFormatterFormatInstruction(&formatter, &decoded, operands, decoded.operand_count_visible,
                                      line, sizeof line, rip, nullptr);
    absl::StrAppendFormat(&report_, "  %x: %-48s", rip, line);
    for (unsigned n = 0; n < in.length; ++n) absl::StrAppendFormat(&report_, " %02x", in.bytes[n]);
    report_ += "\n";
    rip += in.length;
  }
  report_ += "before:\n";
  for (unsigned i = 0; i < 16; ++i)
    absl::StrAppendFormat(&report_, "  %-3s %016x%s", kNames[i], start.gpr[i],
                          i % 4 == 3 ? "\n" : "");
  absl::StrAppendFormat(&report_, "  rflags %x, cpl %u\nafter:\n", GetRflags(start), start.cpl);
  report_ += difference;
}

}  // namespace atl::cpu::soft
