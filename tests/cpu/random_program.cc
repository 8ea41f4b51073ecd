// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/random_program.h"

#include <Zydis/Zydis.h>

#include <cstring>

#include "absl/strings/str_format.h"
#include "tests/cpu/random_layout.h"

namespace atl::cpu::test {
namespace {

constexpr uint8_t kJump = 0xE9;

std::vector<uint8_t> BytesOf(const Piece& piece, bool is_short) {
  if (!is_short) return piece.bytes;
  const bool jump = piece.bytes[0] == kJump;
  return {static_cast<uint8_t>(jump ? 0xEB : 0x70 | (piece.bytes[1] & 15)), 0};
}

}  // namespace

std::optional<Assembled> Assemble(const Program& program) {
  const std::vector<Piece>& pieces = program.pieces;
  Assembled out;
  out.at.resize(pieces.size());
  std::vector<bool> is_short(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) is_short[i] = pieces[i].may_be_short;
  for (bool stable = false; !stable;) {
    stable = true;
    uint64_t at = kCodeAt + program.offset;
    for (size_t i = 0; i < pieces.size(); ++i) {
      out.at[i] = at;
      if (!pieces[i].dropped) at += is_short[i] ? 2 : pieces[i].bytes.size();
    }
    const uint64_t limit = program.kind == Program::kHost ? kCodeBytes : kProgramBytes;
    if (at > kCodeAt + limit - 16) return std::nullopt;
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (!is_short[i]) continue;
      const int64_t far = static_cast<int64_t>(out.at[pieces[i].fix->target] - (out.at[i] + 2));
      if (far < -128 || far > 127) is_short[i] = stable = false;
    }
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    if (piece.dropped) continue;
    std::vector<uint8_t> bytes = BytesOf(piece, is_short[i]);
    if (piece.fix) {
      const Piece::Fix& fix = *piece.fix;
      uint64_t to = fix.kind == Piece::Fix::kToPlace ? fix.target : out.at[fix.target] + fix.offset;
      if (fix.kind != Piece::Fix::kAbsolute) to += fix.add - (out.at[i] + bytes.size());
      if (is_short[i]) {
        bytes[1] = static_cast<uint8_t>(to);
      } else {
        std::memcpy(bytes.data() + fix.at, &to, 4);
      }
    }
    out.code.insert(out.code.end(), bytes.begin(), bytes.end());
  }
  return out;
}

std::string Disassemble(const Program& program, const Assembled& assembled) {
  std::string text;
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  const uint64_t base = kCodeAt + program.offset;
  for (size_t at = 0; at < assembled.code.size();) {
    ZydisDecodedInstruction in;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    char line[128] = "(bad)";
    unsigned length = 1;
    if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, assembled.code.data() + at,
                                            assembled.code.size() - at, &in, operands))) {
      ZydisFormatterFormatInstruction(&formatter, &in, operands, in.operand_count_visible, line,
                                      sizeof line, base + at, nullptr);
      length = in.length;
    }
    const char* mark = base + at == assembled.at[program.entry]      ? "entry"
                       : base + at == assembled.at[program.recovery] ? "recov"
                                                                     : "";
    absl::StrAppendFormat(&text, "%-6s%x: %-48s", mark, base + at, line);
    for (unsigned i = 0; i < length; ++i)
      absl::StrAppendFormat(&text, " %02x", assembled.code[at + i]);
    text += "\n";
    at += length;
  }
  return text;
}

}  // namespace atl::cpu::test
