// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/translate_table.h"

#include <Zydis/Mnemonic.h>

#include <array>

namespace atl::cpu::soft {
namespace {

// What multiplication and shifts leave undefined.
constexpr uint16_t kByProduct = 0xD4, kByShift = 0x810;
constexpr uint16_t kAllButCarry = kAllFlags & ~kCarryFlag;

OpInfo Gpr(Use rm, Use reg, uint16_t writes = 0, uint16_t reads = 0) {
  OpInfo o;
  o.form = Form::kModrm;
  o.rm_file = File::kGpr;
  o.rm = rm;
  o.reg_file = reg == kUnused ? File::kNone : File::kGpr;
  o.reg = reg;
  o.writes = writes;
  o.reads = reads;
  return o;
}
OpInfo Bytes(OpInfo o) {
  o.reg_byte = o.reg_file == File::kGpr;
  o.rm_byte = true;
  return o;
}
OpInfo Simple(Form form, uint16_t writes = 0, uint16_t reads = 0) {
  OpInfo o;
  o.form = form;
  o.writes = writes;
  o.reads = reads;
  return o;
}
OpInfo Undefined(uint16_t flags, OpInfo o) {
  o.undefined = flags;
  return o;
}
OpInfo As(Form form, OpInfo o) {
  o.form = form;
  return o;
}

// [map][opcode][ModRM.reg]
struct Table {
  std::array<std::array<std::array<OpInfo, 8>, 256>, 4> at;

  void All(unsigned map, unsigned opcode, const OpInfo& o) {
    for (OpInfo& e : at[map][opcode]) e = o;
  }
  void Ext(unsigned map, unsigned opcode, unsigned ext, const OpInfo& o) {
    at[map][opcode][ext] = o;
  }

  Table() {
    Arithmetic();
    Moves();
    Shifts();
    Bits();
    Control();
  }

  void Arithmetic() {
    for (unsigned op = 0; op < 8; ++op) {  // ADD OR ADC SBB AND SUB XOR CMP
      const Use dst = op == 7 ? kRead : kReadWrite;
      const uint16_t reads = op == 2 || op == 3 ? kCarryFlag : 0;
      All(0, op * 8 + 0, Bytes(Gpr(dst, kRead, kAllFlags, reads)));
      All(0, op * 8 + 1, Gpr(dst, kRead, kAllFlags, reads));
      All(0, op * 8 + 2, Bytes(Gpr(kRead, dst, kAllFlags, reads)));
      All(0, op * 8 + 3, Gpr(kRead, dst, kAllFlags, reads));
      All(0, op * 8 + 4, Simple(Form::kVerbatim, kAllFlags, reads));
      All(0, op * 8 + 5, Simple(Form::kVerbatim, kAllFlags, reads));
      Ext(0, 0x80, op, Bytes(Gpr(dst, kUnused, kAllFlags, reads)));
      Ext(0, 0x81, op, Gpr(dst, kUnused, kAllFlags, reads));
      Ext(0, 0x83, op, Gpr(dst, kUnused, kAllFlags, reads));
    }
    // TEST
    All(0, 0x84, Bytes(Gpr(kRead, kRead, kAllFlags)));
    All(0, 0x85, Gpr(kRead, kRead, kAllFlags));
    All(0, 0xA8, Simple(Form::kVerbatim, kAllFlags));
    All(0, 0xA9, Simple(Form::kVerbatim, kAllFlags));
    // IMUL
    All(0, 0x69, Undefined(kByProduct, Gpr(kRead, kWrite, kAllFlags)));
    All(0, 0x6B, Undefined(kByProduct, Gpr(kRead, kWrite, kAllFlags)));
    All(1, 0xAF, Undefined(kByProduct, Gpr(kRead, kReadWrite, kAllFlags)));
    for (unsigned wide = 0; wide < 2; ++wide) {
      auto put = [&](unsigned opcode, unsigned ext, OpInfo o) {
        Ext(0, opcode + wide, ext, wide ? o : Bytes(o));
      };
      put(0xF6, 0, Gpr(kRead, kUnused, kAllFlags));  // TEST
      put(0xF6, 1, Gpr(kRead, kUnused, kAllFlags));
      put(0xF6, 2, Gpr(kReadWrite, kUnused));                               // NOT
      put(0xF6, 3, Gpr(kReadWrite, kUnused, kAllFlags));                    // NEG
      put(0xF6, 4, Undefined(kByProduct, Gpr(kRead, kUnused, kAllFlags)));  // MUL
      put(0xF6, 5, Undefined(kByProduct, Gpr(kRead, kUnused, kAllFlags)));  // IMUL
      put(0xFE, 0, Gpr(kReadWrite, kUnused, kAllButCarry));
      put(0xFE, 1, Gpr(kReadWrite, kUnused, kAllButCarry));
    }
    Ext(0, 0xF7, 6, As(Form::kDivide, Gpr(kRead, kUnused)));
    Ext(0, 0xF7, 7, As(Form::kDivideSigned, Gpr(kRead, kUnused)));
    All(0, 0x98, Simple(Form::kVerbatim));  // CBW, CWDE, CDQE
    All(0, 0x99, Simple(Form::kVerbatim));  // CWD, CDQ, CQO
    // CMC, CLC, STC
    All(0, 0xF5, Simple(Form::kVerbatim, kCarryFlag, kCarryFlag));
    All(0, 0xF8, Simple(Form::kVerbatim, kCarryFlag));
    All(0, 0xF9, Simple(Form::kVerbatim, kCarryFlag));
    // SAHF, LAHF
    All(0, 0x9E, Simple(Form::kVerbatim, kAllFlags & ~kOverflowFlag));
    All(0, 0x9F, Simple(Form::kVerbatim, 0, kAllFlags & ~kOverflowFlag));
    // XADD, CMPXCHG, XCHG
    All(1, 0xC0, Bytes(Gpr(kReadWrite, kReadWrite, kAllFlags)));
    All(1, 0xC1, Gpr(kReadWrite, kReadWrite, kAllFlags));
    All(1, 0xB0, Bytes(Gpr(kReadWrite, kRead, kAllFlags)));
    All(1, 0xB1, Gpr(kReadWrite, kRead, kAllFlags));
    All(0, 0x86, Bytes(Gpr(kReadWrite, kReadWrite)));
    All(0, 0x87, Gpr(kReadWrite, kReadWrite));
    Ext(1, 0xC7, 1, As(Form::kCompare16, Gpr(kReadWrite, kUnused, kZeroFlag)));
  }

  void Moves() {
    All(0, 0x88, Bytes(Gpr(kWrite, kRead)));
    All(0, 0x89, Gpr(kWrite, kRead));
    All(0, 0x8A, Bytes(Gpr(kRead, kWrite)));
    All(0, 0x8B, Gpr(kRead, kWrite));
    Ext(0, 0xC6, 0, Bytes(Gpr(kWrite, kUnused)));
    Ext(0, 0xC7, 0, Gpr(kWrite, kUnused));
    All(0, 0x63, Gpr(kRead, kWrite));  // MOVSXD
    for (unsigned opcode : {0xB6, 0xBE}) {
      OpInfo o = Gpr(kRead, kWrite);
      o.rm_byte = true;
      All(1, opcode, o);
      OpInfo w = Gpr(kRead, kWrite);
      w.rm16 = true;
      All(1, opcode + 1, w);
    }
    All(0, 0x8D, As(Form::kLea, Gpr(kUnused, kWrite)));
    for (unsigned r = 0; r < 8; ++r) {
      All(0, 0xB0 + r, Simple(Form::kMoveImm8));
      All(0, 0xB8 + r, Simple(Form::kMoveImm));
      All(0, 0x90 + r, Simple(Form::kExchange));
      All(1, 0xC8 + r, Simple(Form::kSwapBytes));
      All(0, 0x50 + r, Simple(Form::kPush));
      All(0, 0x58 + r, Simple(Form::kPop));
    }
    All(0, 0x68, Simple(Form::kPushImm));
    All(0, 0x6A, Simple(Form::kPushImm));
    Ext(0, 0xFF, 6, As(Form::kPushRm, Gpr(kRead, kUnused)));
    All(0, 0xC9, Simple(Form::kLeaveFrame));
    static constexpr uint16_t kConditionReads[8] = {0x800, 0x001, 0x040, 0x041,
                                                    0x080, 0x004, 0x880, 0x8C0};
    for (unsigned cc = 0; cc < 16; ++cc) {
      const uint16_t reads = kConditionReads[cc / 2];
      // CMOVcc with 32 bits clears the upper half even where it does not move.
      All(1, 0x40 + cc, Gpr(kRead, kReadWrite, 0, reads));
      All(1, 0x90 + cc, Bytes(Gpr(kWrite, kUnused, 0, reads)));
      All(0, 0x70 + cc, Simple(Form::kBranch, 0, reads));
      All(1, 0x80 + cc, Simple(Form::kBranch, 0, reads));
    }
    All(2, 0xF0, Gpr(kRead, kWrite));  // MOVBE, CRC32: by the mnemonic
    All(2, 0xF1, Gpr(kWrite, kRead));
  }

  void Shifts() {
    for (unsigned ext = 0; ext < 8; ++ext) {
      const bool rotate = ext < 4, through = ext == 2 || ext == 3;
      const uint16_t writes = rotate ? kCarryFlag | kOverflowFlag : kAllFlags;
      const uint16_t reads = through ? kCarryFlag : 0;
      const OpInfo one = Undefined(kByShift & writes, Gpr(kReadWrite, kUnused, writes, reads));
      Ext(0, 0xC0, ext, Bytes(one));
      Ext(0, 0xC1, ext, one);
      Ext(0, 0xD0, ext, Bytes(one));
      Ext(0, 0xD1, ext, one);
      // A count of zero leaves the flags.
      const OpInfo cl = As(Form::kShiftCl, Gpr(kReadWrite, kUnused, kAllFlags, kAllFlags));
      Ext(0, 0xD2, ext, Bytes(cl));
      Ext(0, 0xD3, ext, cl);
    }
    All(1, 0xA4, Undefined(kByShift, Gpr(kReadWrite, kRead, kAllFlags)));
    All(1, 0xAC, Undefined(kByShift, Gpr(kReadWrite, kRead, kAllFlags)));
    const OpInfo cl = As(Form::kShiftCl, Gpr(kReadWrite, kRead, kAllFlags, kAllFlags));
    All(1, 0xA5, cl);
    All(1, 0xAD, cl);
  }

  void Bits() {
    // BT, BTS, BTR, BTC. The register forms with memory reach beyond the operand.
    for (unsigned opcode : {0xA3, 0xAB, 0xB3, 0xBB}) {
      OpInfo o = Gpr(opcode == 0xA3 ? kRead : kReadWrite, kRead, kCarryFlag);
      o.bit_string = true;
      All(1, opcode, o);
    }
    for (unsigned ext = 4; ext < 8; ++ext)
      Ext(1, 0xBA, ext, Gpr(ext == 4 ? kRead : kReadWrite, kUnused, kCarryFlag));
    // What they leave undefined depends on what was there.
    All(1, 0xBC, Gpr(kRead, kReadWrite, kZeroFlag));
    All(1, 0xBD, Gpr(kRead, kReadWrite, kZeroFlag));
    All(1, 0xB8, Gpr(kRead, kWrite, kAllFlags));
  }

  void Control() {
    All(0, 0xE8, Simple(Form::kCall));
    All(0, 0xE9, Simple(Form::kJump));
    All(0, 0xEB, Simple(Form::kJump));
    All(0, 0xC2, Simple(Form::kReturn));
    All(0, 0xC3, Simple(Form::kReturn));
    Ext(0, 0xFF, 2, As(Form::kCallRm, Gpr(kRead, kUnused)));
    Ext(0, 0xFF, 4, As(Form::kJumpRm, Gpr(kRead, kUnused)));
    All(1, 0x1F, Simple(Form::kNothing));  // long NOPs
    All(1, 0x1E, Simple(Form::kNothing));  // ENDBR, RDSSP
    All(1, 0x18, Simple(Form::kNothing));  // prefetches
    All(1, 0x0D, Simple(Form::kNothing));
  }
};

const Table& TheTable() {
  static const Table& table = *new Table;
  return table;
}

bool ParseVex(const Insn& in, unsigned at, Parsed* p) {
  const uint8_t* b = in.bytes;
  p->vex = true;
  uint8_t last;
  if (b[at] == 0xC5) {
    p->map = 1;
    last = b[at + 1];
    p->rex = 0x40 | (last & 0x80 ? 0 : 4);
    at += 2;
  } else {
    const uint8_t first = b[at + 1];
    last = b[at + 2];
    p->map = first & 0x1F;
    p->rex = static_cast<uint8_t>(0x40 | (first & 0x80 ? 0 : 4) | (first & 0x40 ? 0 : 2) |
                                  (first & 0x20 ? 0 : 1) | (last & 0x80 ? 8 : 0));
    at += 3;
  }
  p->vex_vvvv = ~(last >> 3) & 15;
  p->vex_l = last & 4;
  p->vex_pp = last & 3;
  if (p->map < 1 || p->map > 3 || at >= in.length) return false;
  p->opcode = b[at];
  return true;
}

}  // namespace

bool Parse(const Insn& in, Parsed* p) {
  *p = Parsed();
  const uint8_t* b = in.bytes;
  unsigned at = 0;
  for (; at < in.length; ++at) {
    const uint8_t v = b[at];
    if (v == 0x66) {
      p->size16 = true;
    } else if (v == 0xF2 || v == 0xF3) {
      p->prefix = v;
    } else if (v == 0xF0) {
      p->lock = true;
    } else if (v != 0x67 && v != 0x2E && v != 0x36 && v != 0x3E && v != 0x26 && v != 0x64 &&
               v != 0x65) {
      break;
    }
  }
  if (at >= in.length) return false;
  if (b[at] == 0xC4 || b[at] == 0xC5) {
    if (!ParseVex(in, at, p)) return false;
  } else {
    if ((b[at] & 0xF0) == 0x40) p->rex = b[at++];
    if (at >= in.length) return false;
    if (b[at] == 0x62) return false;  // EVEX
    if (b[at] == 0x0F) {
      p->map = 1;
      if (++at >= in.length) return false;
      if (b[at] == 0x38 || b[at] == 0x3A) {
        p->map = b[at] == 0x38 ? 2 : 3;
        if (++at >= in.length) return false;
      }
    }
    p->opcode = b[at++];
  }
  if (in.modrm_at != 0) {
    p->has_modrm = true;
    p->modrm = b[in.modrm_at];
    unsigned next = in.modrm_at + 1u;
    const unsigned mod = p->modrm >> 6, rm = p->modrm & 7;
    if (mod != 3) {
      bool disp32 = mod == 2 || (mod == 0 && rm == 5);
      if (rm == 4) {
        if (mod == 0 && (b[next] & 7) == 5) disp32 = true;
        ++next;
      }
      next += disp32 ? 4 : mod == 1 ? 1 : 0;
    }
    at = next;
  }
  p->imm_at = static_cast<uint8_t>(at);
  p->imm_size = static_cast<uint8_t>(in.length - at);
  return at <= in.length;
}

OpInfo Classify(const Insn& in, const Parsed& p) {
  OpInfo o;
  // What has no mnemonic raises #UD or #GP.
  if (in.mnemonic == ZYDIS_MNEMONIC_INVALID) return o;
  if (p.vex) return ClassifyVector(in, p);
  if (p.map == 0 && (p.opcode & 0xF8) == 0xD8) return ClassifyX87(p);
  o = TheTable().at[p.map][p.opcode][p.modrm >> 3 & 7];
  if (o.form == Form::kInterpret) return ClassifyVector(in, p);
  const bool mem = in.has_mem;
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_PAUSE:
      return OpInfo();
    case ZYDIS_MNEMONIC_CRC32: {
      OpInfo crc = Gpr(kRead, kReadWrite);
      crc.rm_byte = p.opcode == 0xF0;
      return crc;
    }
    case ZYDIS_MNEMONIC_ADCX:
    case ZYDIS_MNEMONIC_ADOX:
      return OpInfo();
    case ZYDIS_MNEMONIC_MOVBE:
      return p.prefix == 0 ? o : OpInfo();
    case ZYDIS_MNEMONIC_POPCNT:
      return o;
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_LZCNT: {
      OpInfo count = Gpr(kRead, kWrite, kCarryFlag | kZeroFlag);
      return count;
    }
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:
      // With F3 the host would count.
      return p.prefix == 0 ? o : OpInfo();
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
      return o.bit_string && mem ? OpInfo() : o;
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
      // A masked count of zero leaves the flags; of 16-bit double shifts larger
      // counts are undefined.
      if (o.form == Form::kModrm && p.imm_size != 0 &&
          (in.bytes[p.imm_at] & (p.wide() && !o.rm_byte ? 63 : 31)) == 0)
        o.writes = 0;
      return o;
    default:
      break;
  }
  // Where F2 or F3 would choose another instruction, the table is not of it.
  if (p.map != 0 && p.prefix != 0 && o.form == Form::kModrm && p.opcode == 0xB8) return OpInfo();
  switch (o.form) {
    case Form::kExchange:
      if (p.opcode == 0x90 && !(p.rex & 1)) {
        if (p.prefix != 0) return OpInfo();
        return Simple(Form::kNothing);
      }
      return o;
    case Form::kCompare16:
      if (p.wide()) o.align = 16;
      return mem ? o : OpInfo();
    case Form::kDivide:
    case Form::kDivideSigned:
      return in.operand_size >= 4 ? o : OpInfo();
    case Form::kPush:
    case Form::kPop:
    case Form::kPushImm:
    case Form::kPushRm:
    case Form::kLeaveFrame:
      return p.size16 ? OpInfo() : o;
    case Form::kJump:
    case Form::kJumpRm:
    case Form::kBranch:
    case Form::kCall:
    case Form::kCallRm:
    case Form::kReturn:
      return p.size16 ? OpInfo() : o;
    default:
      return o;
  }
}

}  // namespace atl::cpu::soft
