// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/compare.h"

#include <Zydis/Zydis.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace atl::cpu::test {
namespace {

constexpr const char* kNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

std::string Bytes(const uint8_t* p, size_t n) {
  std::string s;
  for (size_t i = n; i-- > 0;) absl::StrAppendFormat(&s, "%02x", p[i]);
  return s;
}

void DiffFx(const uint8_t* a, const uint8_t* b, bool x87, bool mxcsr, bool vectors,
            std::string* out) {
  auto field = [&](const char* name, unsigned at, unsigned n) {
    if (memcmp(a + at, b + at, n) != 0)
      absl::StrAppendFormat(out, "  %s: %s, not %s\n", name, Bytes(b + at, n), Bytes(a + at, n));
  };
  // The pointers (bytes 6 to 23) hold where the host kept them only on some
  // processors, and the mask of MXCSR is the model's.
  if (x87) {
    field("fcw", 0, 2);
    field("fsw", 2, 2);
    field("ftw", 4, 1);
    for (unsigned i = 0; i < 8; i++) field(absl::StrCat("st", i).c_str(), 32 + 16 * i, 10);
  }
  // Whether a result beyond the format's range is inexact too is found out only
  // by rounding it: with that exception unmasked and raised, left open.
  uint32_t want, have;
  memcpy(&want, a + 24, 4);
  memcpy(&have, b + 24, 4);
  const uint32_t unmasked_and_raised = ~(want >> 7) & want;
  const uint32_t open = unmasked_and_raised & 0x18 ? 0x20 : 0;
  if (mxcsr && ((want ^ have) & ~open))
    absl::StrAppendFormat(out, "  mxcsr: %x, not %x\n", have, want);
  for (unsigned i = 0; vectors && i < 16; i++)
    field(absl::StrCat("xmm", i).c_str(), 160 + 16 * i, 16);
}

// Doublewords of an XSAVE area, as far as quadwords tell: x87's pointers, the mask of
// MXCSR, and XSTATE_BV, in which a component in its initial state may be set or not.
bool IsModelSpecific(uint64_t offset) {
  switch (offset & ~uint64_t{7}) {
    case 0:
    case 8:
    case 16:
    case 24:
    case 512:
      return true;
    default:
      return false;
  }
}

}  // namespace

Tolerance ToleranceOf(const Generator& generator, const Case& c) {
  Tolerance t;
  Decoded d;
  for (size_t at = 0; at < c.code.size();) {
    const std::vector<uint8_t> rest(c.code.begin() + static_cast<long>(at), c.code.end());
    if (!generator.Decode(rest, &d)) break;
    if (d.insn.cpu_flags != nullptr) t.undefined_flags |= d.insn.cpu_flags->undefined;
    switch (d.insn.mnemonic) {
      case ZYDIS_MNEMONIC_FXSAVE:
      case ZYDIS_MNEMONIC_FXSAVE64:
      case ZYDIS_MNEMONIC_FNSAVE:
      case ZYDIS_MNEMONIC_FNSTENV:
        t.ignore_data = true;
        t.ignore_address = true;
        break;
      case ZYDIS_MNEMONIC_FXRSTOR:
      case ZYDIS_MNEMONIC_FXRSTOR64:
      case ZYDIS_MNEMONIC_FRSTOR:
      case ZYDIS_MNEMONIC_FLDENV:
        t.ignore_address = true;
        break;
      case ZYDIS_MNEMONIC_ENTER:
        t.ignore_data_of_fault = true;
        t.ignore_address = true;
        t.any_memory_fault = true;
        break;
      case ZYDIS_MNEMONIC_CALL:
        t.any_memory_fault = true;
        break;
      case ZYDIS_MNEMONIC_DPPS:
      case ZYDIS_MNEMONIC_DPPD:
      case ZYDIS_MNEMONIC_VDPPS:
      case ZYDIS_MNEMONIC_VDPPD:
        t.ignore_mxcsr_of_fault = true;
        break;
      case ZYDIS_MNEMONIC_MASKMOVQ:
        t.ignore_x87_of_fault = true;
        t.ignore_address = true;
        break;
      case ZYDIS_MNEMONIC_MASKMOVDQU:
      case ZYDIS_MNEMONIC_VMASKMOVDQU:
      case ZYDIS_MNEMONIC_XSAVE:
      case ZYDIS_MNEMONIC_XSAVE64:
      case ZYDIS_MNEMONIC_XSAVEOPT:
      case ZYDIS_MNEMONIC_XSAVEOPT64:
      case ZYDIS_MNEMONIC_XSAVEC:
      case ZYDIS_MNEMONIC_XSAVEC64:
        t.ignore_data_of_fault = true;
        t.ignore_address = true;
        break;
      case ZYDIS_MNEMONIC_XRSTOR:
      case ZYDIS_MNEMONIC_XRSTOR64:
        t.ignore_address = true;
        break;
      default:
        t.ignore_vectors_of_fault |=
            d.insn.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER && !__builtin_cpu_is("amd");
        break;
    }
    at += d.insn.length;
  }
  return t;
}

std::string Difference(const Case& c, const Outcome& expected, const Outcome& got,
                       const Tolerance& tolerance) {
  std::string out;
  // The case set AMD's misaligned-SSE bit in MXCSR, which is not offered.
  if (expected.end.fx[26] & 2) return out;
  auto differ = [&](const char* name, uint64_t want, uint64_t have) {
    if (want != have) absl::StrAppendFormat(&out, "  %s: %x, not %x\n", name, have, want);
  };
  const auto is_memory_fault = [](uint8_t v) { return v >= 12 && v <= 14; };
  if (tolerance.any_memory_fault && is_memory_fault(expected.vector) &&
      is_memory_fault(got.vector)) {
    // The same for us.
  } else if (expected.vector != got.vector) {
    differ("vector", expected.vector, got.vector);
  } else if (expected.vector == 14) {
    // Linux hides whether kernel addresses are mapped.
    const uint32_t mask = expected.address >= 0x7FFFFFFFF000 ? ~1u : ~0u;
    if (!tolerance.ignore_address) {
      differ("page fault's address", expected.address, got.address);
      differ("error code", expected.error_code & mask, got.error_code & mask);
    }
  } else {
    differ("error code", expected.error_code, got.error_code);
  }
  differ("rip", expected.end.rip, got.end.rip);
  const uint64_t flags = kFlagsCompared & ~tolerance.undefined_flags;
  differ("rflags", expected.end.rflags & flags, got.end.rflags & flags);
  for (int i = 0; i < 16; i++) differ(kNames[i], expected.end.gpr[i], got.end.gpr[i]);
  const bool fault = expected.vector != 3;
  const bool vectors = !(fault && tolerance.ignore_vectors_of_fault);
  DiffFx(expected.end.fx, got.end.fx, !(fault && tolerance.ignore_x87_of_fault),
         !(fault && tolerance.ignore_mxcsr_of_fault), vectors, &out);
  for (unsigned i = 0; vectors && i < 16; i++) {
    const uint8_t *want = expected.end.ymm_high[i], *have = got.end.ymm_high[i];
    if (memcmp(want, have, 16) != 0) {
      absl::StrAppendFormat(&out, "  ymm%d's upper half: %s, not %s\n", i, Bytes(have, 16),
                            Bytes(want, 16));
    }
  }
  const bool data = !tolerance.ignore_data && !(fault && tolerance.ignore_data_of_fault);
  if (data && expected.data != got.data) {
    for (size_t i = 0, shown = 0; i < kDataBytes && shown < 8; i += 8) {
      if (c.area_at != 0 && IsModelSpecific(kDataAt + i - c.area_at)) continue;
      if (memcmp(&expected.data[i], &got.data[i], 8) == 0) continue;
      absl::StrAppendFormat(&out, "  [%x]: %s, not %s, before %s\n", kDataAt + i,
                            Bytes(&got.data[i], 8), Bytes(&expected.data[i], 8),
                            Bytes(&(*c.data)[i], 8));
      shown++;
    }
  }
  return out;
}

std::string Describe(const Generator& generator, const Case& c) {
  std::string out;
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  for (size_t at = 0; at < c.code.size();) {
    const std::vector<uint8_t> rest(c.code.begin() + static_cast<long>(at), c.code.end());
    Decoded d;
    if (!generator.Decode(rest, &d)) break;
    char text[128];
    ZydisFormatterFormatInstruction(&formatter, &d.insn, d.operands, d.insn.operand_count_visible,
                                    text, sizeof text, c.start.rip + at, nullptr);
    absl::StrAppendFormat(&out, "%x: %-44s", c.start.rip + at, text);
    for (unsigned i = 0; i < d.insn.length; i++) absl::StrAppendFormat(&out, " %02x", rest[i]);
    out += "\n";
    at += d.insn.length;
  }
  for (int i = 0; i < 16; i++) {
    absl::StrAppendFormat(&out, "  %-3s %016x%s", kNames[i], c.start.gpr[i],
                          i % 4 == 3 ? "\n" : "");
  }
  uint16_t fcw, fsw;
  uint32_t mxcsr;
  memcpy(&fcw, c.start.fx, 2);
  memcpy(&fsw, c.start.fx + 2, 2);
  memcpy(&mxcsr, c.start.fx + 24, 4);
  absl::StrAppendFormat(&out, "  rflags %x fcw %x fsw %x ftw %x mxcsr %x\n", c.start.rflags, fcw,
                        fsw, c.start.fx[4], mxcsr);
  return out;
}

}  // namespace atl::cpu::test
