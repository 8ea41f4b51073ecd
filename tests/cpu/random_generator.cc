// SPDX-License-Identifier: Apache-2.0
#include <Zydis/Zydis.h>

#include <cstring>
#include <iterator>
#include <utility>

#include "lib/cpu/soft/decode.h"
#include "lib/cpu/soft/model.h"
#include "tests/cpu/random_layout.h"
#include "tests/cpu/random_program.h"

namespace atl::cpu::test {
namespace {

constexpr unsigned kRcx = 1, kRsp = 4, kRdi = 7;
constexpr uint8_t kJump = 0xE9;

int GprOf(ZydisRegister r) {
  const ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
  if (ZydisRegisterGetClass(wide) != ZYDIS_REGCLASS_GPR64) return -1;
  return ZydisRegisterGetId(wide);
}

bool Writes(const ZydisDecodedOperand& o) {
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER && (o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
}

bool Has(const Decoded& d, ZydisInstructionAttributes attributes) {
  return (d.insn.attributes & attributes) != 0;
}
bool Repeats(const Decoded& d) {
  return Has(d, ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

// Branches, the stack and what changes the mode are put into programs by hand;
// the rest of these give another value each time, leave the machine, or show the
// host's own pointers (of the x87 unit).
bool Admit(const Decoded& d) {
  if (!soft::IsaOffered({&d.insn, d.operands}, soft::CpuModel::kMax)) return false;
  if (Has(d, ZYDIS_ATTRIB_IS_PRIVILEGED)) return false;
  if (d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) return false;
  switch (d.insn.meta.isa_ext) {
    case ZYDIS_ISA_EXT_VTX:
    case ZYDIS_ISA_EXT_SVM:
      return false;
    default:
      break;
  }
  switch (d.insn.meta.category) {
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_XSAVE:
    case ZYDIS_CATEGORY_XSAVEOPT:
      return false;
    default:
      break;
  }
  switch (d.insn.mnemonic) {
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_XGETBV:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_CLAC:
    case ZYDIS_MNEMONIC_STAC:
    // May fault for bytes that are masked out; in two steps; Intel's and AMD's differ.
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_DPPS:
    case ZYDIS_MNEMONIC_DPPD:
      return false;
    case ZYDIS_MNEMONIC_PAUSE:
      return !d.insn.raw.rex.B;
    case ZYDIS_MNEMONIC_NOP:
      return d.insn.opcode != 0x0D;
    default:
      break;
  }
  if (d.insn.meta.isa_set == ZYDIS_ISA_SET_SHA) return false;
  for (unsigned i = 0; i < d.insn.operand_count; ++i) {
    const ZydisDecodedOperand& o = d.operands[i];
    if (Writes(o) && ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_SEGMENT) return false;
  }
  return true;
}

bool AdmitGeneral(const Decoded& d) {
  if (d.insn.meta.isa_ext != ZYDIS_ISA_EXT_BASE && d.insn.meta.isa_ext != ZYDIS_ISA_EXT_LONGMODE)
    return false;
  for (unsigned i = 0; i < d.insn.raw.prefix_count; ++i) {
    if (d.insn.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_IGNORED) return false;
  }
  if (d.insn.mnemonic == ZYDIS_MNEMONIC_NOP) return false;
  const uint8_t opcode = d.insn.opcode;
  const bool one_byte = d.insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
  const bool has_modrm = Has(d, ZYDIS_ATTRIB_HAS_MODRM);
  // TEST's and SHL's second ones.
  if (one_byte && has_modrm && (opcode & 0xFE) == 0xF6 && d.insn.raw.modrm.reg == 1) return false;
  const bool shift = (opcode & 0xFE) == 0xC0 || (opcode & 0xFC) == 0xD0;
  if (one_byte && has_modrm && shift && d.insn.raw.modrm.reg == 6) return false;
  return Admit(d);
}

}  // namespace

ProgramGenerator::ProgramGenerator(uint64_t seed, bool general)
    : random_(seed * 2 + 1), generator_(seed, general ? AdmitGeneral : Admit) {
  for (size_t i = 0; i < generator_.forms().size(); ++i) {
    const Form& form = generator_.forms()[i];
    std::vector<uint8_t> code = form.encodings[0];
    code.resize(15, 0x11);
    Decoded d;
    if (!generator_.Decode(code, &d)) continue;
    Group group = kVector;
    bool memory = false, vector = d.insn.meta.isa_ext == ZYDIS_ISA_EXT_MMX;
    for (unsigned o = 0; o < d.insn.operand_count_visible; ++o) {
      memory |= d.operands[o].type == ZYDIS_OPERAND_TYPE_MEMORY;
      vector |= d.operands[o].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                ZydisRegisterGetClass(d.operands[o].reg.value) >= ZYDIS_REGCLASS_X87 &&
                ZydisRegisterGetClass(d.operands[o].reg.value) <= ZYDIS_REGCLASS_ZMM;
    }
    if (d.insn.meta.isa_ext == ZYDIS_ISA_EXT_X87 || d.insn.meta.isa_ext == ZYDIS_ISA_EXT_MMX) {
      group = kX87;
    } else if (d.insn.meta.category == ZYDIS_CATEGORY_STRINGOP) {
      group = kString;
    } else if (!vector && d.insn.meta.exception_class == ZYDIS_EXCEPTION_CLASS_NONE) {
      group = memory ? kIntegerMemory : kInteger;
    }
    if (general && (group == kVector || group == kX87)) continue;
    groups_[group].push_back(i);
  }
}

// ---- Pieces ----

size_t ProgramGenerator::Emit(std::vector<uint8_t> bytes) {
  Piece piece;
  piece.bytes = std::move(bytes);
  p_->pieces.push_back(std::move(piece));
  return p_->pieces.size() - 1;
}

size_t ProgramGenerator::EmitFixed(std::vector<uint8_t> bytes, Piece::Fix fix) {
  fix.at = static_cast<uint8_t>(bytes.size());
  bytes.resize(bytes.size() + 4);
  const size_t n = Emit(std::move(bytes));
  p_->pieces[n].fix = fix;
  return n;
}

size_t ProgramGenerator::EmitPlace(std::vector<uint8_t> bytes, uint64_t place) {
  return EmitFixed(std::move(bytes), {.kind = Piece::Fix::kToPlace, .target = place});
}

size_t ProgramGenerator::EmitBranch(uint8_t opcode, size_t to) {
  std::vector<uint8_t> bytes;
  if (opcode != kJump) bytes.push_back(0x0F);
  bytes.push_back(opcode);
  const size_t n = EmitFixed(std::move(bytes), {.target = to});
  p_->pieces[n].may_be_short = random_.Percent(60);
  return n;
}

void ProgramGenerator::Land(size_t branch) {
  p_->pieces[branch].fix->target = p_->pieces.size();
  Join();
}

void ProgramGenerator::MoveImmediate(unsigned reg, uint64_t value) {
  const uint8_t opcode = static_cast<uint8_t>(0xB8 | (reg & 7));
  std::vector<uint8_t> bytes;
  const bool wide = value >> 32 != 0;
  const uint8_t rex = static_cast<uint8_t>((wide ? 8 : 0) | (reg >> 3));
  if (rex) bytes.push_back(0x40 | rex);
  bytes.push_back(opcode);
  for (unsigned i = 0; i < (wide ? 8u : 4u); ++i)
    bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
  Emit(std::move(bytes));
  known_[reg] = value;
}

void ProgramGenerator::LeaCode(unsigned reg, size_t piece) {
  EmitFixed({static_cast<uint8_t>(0x48 | (reg >> 3) << 2), 0x8D,
             static_cast<uint8_t>(0x05 | (reg & 7) << 3)},
            {.target = piece});
  known_[reg].reset();
}

unsigned ProgramGenerator::FreeRegister() {
  for (;;) {
    const unsigned r = random_.Below(16);
    if (r != kRsp && (kept_ >> r & 1) == 0) return r;
  }
}

// Of `size` bytes or somewhat more, mostly writable.
uint64_t ProgramGenerator::SomeData(unsigned size) {
  const uint32_t kind = random_.Below(100);
  if (kind < 3) return kDataAt + kPage - 1 - random_.Below(size);
  if (kind < 5) return kReadOnlyAt + 16 * random_.Below(kPage / 16 - 8);
  if (kind < 6) return kDataAt + kDataBytes - random_.Below(20);
  if (p_->kind != Program::kHost) {
    if (kind < 14) return kRemapAt + 16 * random_.Below(kRemapPages * kPage / 16 - 8);
    if (kind < 18) return kDemandAt + 16 * random_.Below(kDemandPages * kPage / 16 - 8);
    if (kind < 20) return kDemandAt + kPage * (1 + random_.Below(3)) - random_.Below(16);
  }
  return kDataAt + 16 * random_.Below(2 * kPage / 16 - 8) + (random_.Percent(20) ? 3 : 0);
}

// ---- Straight code ----

bool ProgramGenerator::PrepareOperands(const Decoded& d, Case* c) {
  const bool bits = d.insn.meta.category == ZYDIS_CATEGORY_BITBYTE;
  bool memory = false;
  for (unsigned i = 0; i < d.insn.operand_count; ++i) {
    const ZydisDecodedOperand& o = d.operands[i];
    if (o.type != ZYDIS_OPERAND_TYPE_MEMORY || o.mem.type != ZYDIS_MEMOP_TYPE_MEM) {
      if (o.type == ZYDIS_OPERAND_TYPE_MEMORY && o.mem.type == ZYDIS_MEMOP_TYPE_VSIB) return false;
      continue;
    }
    memory = true;
    if (o.mem.segment == ZYDIS_REGISTER_FS) return false;
    if (o.mem.base == ZYDIS_REGISTER_RIP || o.mem.base == ZYDIS_REGISTER_EIP) continue;
    const int base = o.mem.base == ZYDIS_REGISTER_NONE ? -1 : GprOf(o.mem.base);
    const int index = o.mem.index == ZYDIS_REGISTER_NONE ? -1 : GprOf(o.mem.index);
    const unsigned disp_size = d.insn.raw.disp.size;
    if (base == static_cast<int>(kRsp)) {
      // Something on the stack.
      if (index >= 0) return false;
      const uint32_t disp = 8 * random_.Below(6);
      if (disp_size != 0) std::memcpy(&c->code[d.insn.raw.disp.offset], &disp, disp_size / 8);
      continue;
    }
    if (base >= 0 && index < 0 && known_[base] && disp_size >= 8 &&
        o.mem.segment != ZYDIS_REGISTER_GS) {
      // The register points somewhere already: as compilers do, another offset.
      const int64_t disp =
          disp_size == 8
              ? 8 * static_cast<int64_t>(random_.Below(16)) - 64
              : static_cast<int64_t>(SomeData(d.operands[i].size / 8 + 1u) - *known_[base]);
      const uint64_t to = *known_[base] + static_cast<uint64_t>(disp);
      if (disp == static_cast<int32_t>(disp) && to >= kDataAt && to < kDataAt + 0x100000) {
        std::memcpy(&c->code[d.insn.raw.disp.offset], &disp, disp_size / 8);
        continue;
      }
    }
    for (const int r : {base, index}) {
      if (r < 0 || known_[r] == c->start.gpr[r]) continue;
      if (kept_ >> r & 1) return false;
      if (random_.Percent(97)) MoveImmediate(static_cast<unsigned>(r), c->start.gpr[r]);
    }
  }
  if (Repeats(d)) {
    if (kept_ >> kRcx & 1) return false;
    // How far a string instruction gets that overwrites itself, nobody says.
    if (known_[kRdi] && *known_[kRdi] < kDataAt - kPage) {
      if (kept_ >> kRdi & 1) return false;
      MoveImmediate(kRdi, SomeData(8));
    }
    MoveImmediate(kRcx, random_.Percent(90) ? random_.Below(40) : random_.Below(5000));
  }
  if (bits && memory && d.insn.operand_count_visible == 2 &&
      d.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
    const int r = GprOf(d.operands[1].reg.value);
    if (r < 0 || (kept_ >> r & 1)) return false;
    for (const auto reg : {d.operands[0].mem.base, d.operands[0].mem.index})
      if (reg != ZYDIS_REGISTER_NONE && GprOf(reg) == r) return false;
    MoveImmediate(static_cast<unsigned>(r), random_.Below(2000));
  }
  return true;
}

bool ProgramGenerator::InstructionOf(Group group) {
  const std::vector<size_t>& choice = groups_[group];
  for (int tries = 0; tries < 20 && !choice.empty(); ++tries) {
    const Form& form =
        generator_.forms()[choice[random_.Below(static_cast<uint32_t>(choice.size()))]];
    Case c = generator_.MakeOne(form);
    Decoded d;
    if (c.code.empty() || !generator_.Decode(c.code, &d)) continue;
    bool good = true;
    for (unsigned i = 0; i < d.insn.operand_count; ++i) {
      if (!Writes(d.operands[i])) continue;
      const int r = GprOf(d.operands[i].reg.value);
      if (r >= 0 && (r == static_cast<int>(kRsp) || (kept_ >> r & 1))) good = false;
    }
    // What was moved for an instruction that is given up does no harm.
    if (!good || !PrepareOperands(d, &c)) continue;
    for (unsigned i = 0; i < d.insn.operand_count; ++i) {
      if (!Writes(d.operands[i])) continue;
      if (const int r = GprOf(d.operands[i].reg.value); r >= 0) known_[r].reset();
    }
    const size_t n = Emit(c.code);
    for (unsigned i = 0; i < d.insn.operand_count_visible; ++i) {
      const ZydisDecodedOperand& o = d.operands[i];
      if (o.type != ZYDIS_OPERAND_TYPE_MEMORY ||
          (o.mem.base != ZYDIS_REGISTER_RIP && o.mem.base != ZYDIS_REGISTER_EIP))
        continue;
      uint64_t to = SomeData(o.size / 8 + 1u);
      if (o.mem.segment == ZYDIS_REGISTER_GS) to -= kGsBase;
      p_->pieces[n].fix =
          Piece::Fix{.kind = Piece::Fix::kToPlace, .at = d.insn.raw.disp.offset, .target = to};
    }
    // The host may leave other bits there than the manual says nothing of.
    if (p_->defined_flags && d.insn.cpu_flags != nullptr && d.insn.cpu_flags->undefined != 0)
      Emit({0x39, 0xC0});  // CMP EAX, EAX
    return true;
  }
  return false;
}

void ProgramGenerator::Straight() {
  const uint32_t kind = random_.Below(100);
  if (kind < 40) {
    InstructionOf(kInteger);
  } else if (kind < 70) {
    InstructionOf(kIntegerMemory);
  } else if (kind < 89) {
    InstructionOf(kVector);
  } else if (kind < 97) {
    InstructionOf(kX87);
  } else {
    InstructionOf(kString);
  }
}

size_t ProgramGenerator::EmitPatchable() {
  const unsigned r = FreeRegister();
  std::vector<uint8_t> bytes;
  if (random_.Percent(30) || r >= 8) bytes.push_back(static_cast<uint8_t>(0x40 | r >> 3));
  if (random_.Percent(50)) {
    bytes.push_back(static_cast<uint8_t>(0xB8 | (r & 7)));
  } else {
    bytes.push_back(0x81);
    bytes.push_back(static_cast<uint8_t>(0xC0 | random_.Below(8) << 3 | (r & 7)));
  }
  const uint8_t at = static_cast<uint8_t>(bytes.size());
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<uint8_t>(random_.Next()));
  const size_t n = Emit(std::move(bytes));
  known_[r].reset();
  patchable_.emplace_back(n, at);
  return n;
}

}  // namespace atl::cpu::test
