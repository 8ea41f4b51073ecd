// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/decode.h"

#include <Zydis/Decoder.h>
#include <Zydis/Register.h>

#include <algorithm>
#include <cstring>

#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

constexpr size_t kMaxLength = 15;

struct Decoders {
  ZydisDecoder by_size[3];
  Decoders() {
    ZydisDecoderInit(&by_size[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&by_size[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&by_size[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }
};

const ZydisDecoder& DecoderFor(CodeSize mode) {
  static const Decoders decoders;
  return decoders.by_size[static_cast<unsigned>(mode)];
}

Step RaiseUd(SoftVcpu& c, const Insn&) { return c.Raise(kUd); }
Step RaiseTooLong(SoftVcpu& c, const Insn&) { return c.Raise(kGp, 0); }

uint8_t GeneralRegister(ZydisRegister r) {
  switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
      if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
        return static_cast<uint8_t>(kHigh8 + (r - ZYDIS_REGISTER_AH));
      // AL CL DL BL, AH CH DH BH, SPL BPL SIL DIL, R8B ...
      if (r >= ZYDIS_REGISTER_SPL) return static_cast<uint8_t>(4 + (r - ZYDIS_REGISTER_SPL));
      return static_cast<uint8_t>(r - ZYDIS_REGISTER_AL);
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
      return static_cast<uint8_t>(ZydisRegisterGetId(r));
    case ZYDIS_REGCLASS_IP:
      return kRipReg;
    default:
      return kNoReg;
  }
}

uint8_t SegmentRegister(ZydisRegister r) {
  switch (r) {
    case ZYDIS_REGISTER_ES:
      return kEs;
    case ZYDIS_REGISTER_CS:
      return kCs;
    case ZYDIS_REGISTER_SS:
      return kSs;
    case ZYDIS_REGISTER_FS:
      return kFs;
    case ZYDIS_REGISTER_GS:
      return kGs;
    default:
      return kDs;
  }
}

void FillMemory(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand& op, Insn* out) {
  out->has_mem = true;
  out->mem_size = op.size <= 512 ? static_cast<uint8_t>(op.size / 8) : 0;
  out->seg = SegmentRegister(op.mem.segment);
  out->base = GeneralRegister(op.mem.base);
  out->index = GeneralRegister(op.mem.index);
  out->scale = op.mem.scale != 0 ? op.mem.scale : 1;
  out->disp = op.mem.disp.value;
  if (op.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && (insn.attributes & ZYDIS_ATTRIB_HAS_SIB) &&
      insn.raw.modrm.mod == 0 && insn.raw.sib.base == 5) {
    // No base, whatever REX.B says (vol. 2, table 2-5): Zydis 4.0 sees R13.
    out->base = kNoReg;
    out->disp = insn.raw.disp.value;
  }
  if (out->base == kRipReg) out->disp += out->length;
  if (out->base != kNoReg) out->base_slot = out->base;
  if (out->index != kNoReg) out->index_slot = out->index;
  out->scale_shift = static_cast<uint8_t>(__builtin_ctz(out->scale));
}

void FillOperands(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands,
                  Insn* out) {
  uint8_t* const regs[] = {&out->reg0, &out->reg1, &out->reg2};
  bool have_imm = false;
  for (unsigned i = 0; i < insn.operand_count_visible; ++i) {
    const ZydisDecodedOperand& op = operands[i];
    switch (op.type) {
      case ZYDIS_OPERAND_TYPE_REGISTER:
        if (i < 3) *regs[i] = GeneralRegister(op.reg.value);
        break;
      case ZYDIS_OPERAND_TYPE_MEMORY:
        if (!out->has_mem) FillMemory(insn, op, out);
        break;
      case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        if (have_imm) {
          out->imm2 = static_cast<uint8_t>(op.imm.value.u);
        } else {
          out->imm = op.imm.value.u;
          have_imm = true;
        }
        break;
      case ZYDIS_OPERAND_TYPE_POINTER:
        out->imm = op.ptr.offset;
        out->disp = op.ptr.segment;
        break;
      default:
        break;
    }
  }
}

// Near branches, by what Zydis calls them.
Flow FlowOf(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands) {
  switch (insn.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
      return insn.mnemonic == ZYDIS_MNEMONIC_XBEGIN ? Flow::kStraight : Flow::kDirect;
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
      break;
    default:
      return Flow::kStraight;
  }
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_RET:
      return insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? Flow::kStraight : Flow::kIndirect;
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
      if (insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return Flow::kStraight;
      return operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? Flow::kDirect : Flow::kIndirect;
    default:
      return Flow::kStraight;
  }
}

bool EndsBlock(const ZydisDecodedInstruction& insn) {
  switch (insn.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
      return true;
    default:
      break;
  }
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_STI:
      return true;
    default:
      return false;
  }
}

void MakeRaise(Handler handler, Insn* out, bool* ends_block) {
  out->run = handler;
  if (out->length == 0) out->length = 1;
  *ends_block = true;
}

}  // namespace

bool IsaOffered(const DecodedView& view, CpuModel model) {
  const ZydisDecodedInstruction& insn = *view.insn;
  const InstructionSets& sets = SetsOf(model);
  if (insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
    switch (insn.meta.isa_ext) {
      case ZYDIS_ISA_EXT_AVX:
      case ZYDIS_ISA_EXT_AVXAES:
        return sets.avx;
      case ZYDIS_ISA_EXT_AVX2:
      case ZYDIS_ISA_EXT_AVX2GATHER:
        return sets.avx2;
      case ZYDIS_ISA_EXT_FMA:
        return sets.fma;
      case ZYDIS_ISA_EXT_F16C:
        return sets.f16c;
      case ZYDIS_ISA_EXT_BMI1:
        return sets.bmi1;
      case ZYDIS_ISA_EXT_BMI2:
        return sets.bmi2;
      default:
        return false;
    }
  }
  if (insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;
  switch (insn.meta.isa_ext) {
    case ZYDIS_ISA_EXT_BMI1:  // TZCNT
      return sets.bmi1;
    case ZYDIS_ISA_EXT_LZCNT:
      return sets.lzcnt;
    case ZYDIS_ISA_EXT_XSAVE:
    case ZYDIS_ISA_EXT_XSAVEOPT:
    case ZYDIS_ISA_EXT_XSAVEC:
      return sets.xsave;
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_MMX:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSSE3:
    case ZYDIS_ISA_EXT_SSE4:
    case ZYDIS_ISA_EXT_AES:
    case ZYDIS_ISA_EXT_PCLMULQDQ:
    case ZYDIS_ISA_EXT_SHA:
    case ZYDIS_ISA_EXT_ADOX_ADCX:
    case ZYDIS_ISA_EXT_MOVBE:
    case ZYDIS_ISA_EXT_CLFSH:
    case ZYDIS_ISA_EXT_CLFLUSHOPT:
    case ZYDIS_ISA_EXT_PAUSE:
    case ZYDIS_ISA_EXT_RDRAND:
    case ZYDIS_ISA_EXT_RDSEED:
    case ZYDIS_ISA_EXT_RDTSCP:
    case ZYDIS_ISA_EXT_RDWRFSGS:
    case ZYDIS_ISA_EXT_SMAP:
    case ZYDIS_ISA_EXT_INVPCID:
    case ZYDIS_ISA_EXT_CLDEMOTE:     // NOP where not supported
    case ZYDIS_ISA_EXT_PREFETCHWT1:  // so is this
    case ZYDIS_ISA_EXT_AMD3DNOW_PREFETCH:
    case ZYDIS_ISA_EXT_VTX:  // VMCALL and the like: sys_*.cc says #UD
    case ZYDIS_ISA_EXT_SVM:
      return true;
    case ZYDIS_ISA_EXT_CET:
      // ENDBR and RDSSP are NOPs where CET is off.
      return insn.mnemonic == ZYDIS_MNEMONIC_ENDBR32 || insn.mnemonic == ZYDIS_MNEMONIC_ENDBR64 ||
             insn.mnemonic == ZYDIS_MNEMONIC_RDSSPD || insn.mnemonic == ZYDIS_MNEMONIC_RDSSPQ;
    default:
      return false;
  }
}

DecodeResult Decode(const uint8_t* bytes, size_t size, CodeSize mode, CpuModel model, Insn* out,
                    bool* ends_block) {
  *out = Insn();
  *ends_block = false;
  size = std::min(size, kMaxLength);
  ZydisDecodedInstruction insn;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  ZyanStatus status = ZydisDecoderDecodeFull(&DecoderFor(mode), bytes, size, &insn, operands);
  if (!ZYAN_SUCCESS(status)) {
    if (status == ZYDIS_STATUS_NO_MORE_DATA && size < kMaxLength) return DecodeResult::kNeedMore;
    const bool too_long =
        status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG || status == ZYDIS_STATUS_NO_MORE_DATA;
    std::memcpy(out->bytes, bytes, size);
    out->length = static_cast<uint8_t>(std::max<size_t>(size, 1));
    MakeRaise(too_long ? &RaiseTooLong : &RaiseUd, out, ends_block);
    return DecodeResult::kOk;
  }
  // Without BMI1, TZCNT's encoding is BSF with a prefix that means nothing; so with
  // LZCNT and BSR.
  const bool offered = IsaOffered({&insn, operands}, model);
  if (!offered && insn.mnemonic == ZYDIS_MNEMONIC_TZCNT) {
    insn.mnemonic = ZYDIS_MNEMONIC_BSF;
  } else if (!offered && insn.mnemonic == ZYDIS_MNEMONIC_LZCNT) {
    insn.mnemonic = ZYDIS_MNEMONIC_BSR;
  } else if (!offered) {
    std::memcpy(out->bytes, bytes, insn.length);
    out->length = insn.length;
    MakeRaise(&RaiseUd, out, ends_block);
    return DecodeResult::kOk;
  }
  out->mnemonic = static_cast<uint16_t>(insn.mnemonic);
  out->length = insn.length;
  out->operand_size = static_cast<uint8_t>(insn.operand_width / 8);
  out->address_size = static_cast<uint8_t>(insn.address_width / 8);
  out->lock = insn.attributes & ZYDIS_ATTRIB_HAS_LOCK;
  out->rep = insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
  out->repne = insn.attributes & ZYDIS_ATTRIB_HAS_REPNE;
  if (insn.attributes & ZYDIS_ATTRIB_HAS_MODRM) out->modrm_at = insn.raw.modrm.offset;
  std::memcpy(out->bytes, bytes, insn.length);
  // String and stack instructions name their segment by the prefix alone.
  if (insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT) {
    out->seg = insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS   ? kCs
               : insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS ? kSs
               : insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES ? kEs
               : insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS ? kFs
               : insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS ? kGs
                                                               : kDs;
  }
  const uint8_t prefix_segment = out->seg;
  FillOperands(insn, operands, out);
  if (insn.meta.category == ZYDIS_CATEGORY_STRINGOP ||
      insn.meta.category == ZYDIS_CATEGORY_IOSTRINGOP) {
    out->seg = prefix_segment;
    // F2 repeats these too, though only CMPS and SCAS give it a meaning.
    for (unsigned i = 0; i < insn.raw.prefix_count; ++i) {
      if (insn.raw.prefixes[i].value == 0xF2 && !out->repne) out->rep = true;
    }
  }
  out->flow = FlowOf(insn, operands);
  *ends_block = EndsBlock(insn);
  out->run = SelectHandler(*out, {&insn, operands});
  if (out->run == nullptr) MakeRaise(&RaiseUd, out, ends_block);
  return DecodeResult::kOk;
}

}  // namespace atl::cpu::soft
