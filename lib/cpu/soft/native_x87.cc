// SPDX-License-Identifier: Apache-2.0
// x87 computations as thunks of host code on the whole FXSAVE image.
//
// The guest's control word is in force while the thunk runs, so an unmasked
// error leaves FSW.ES in the image exactly as on a processor; it is raised (#MF)
// by the next waiting instruction's check here, never on the host, whose x87 is
// cleaned before any waiting instruction.
//
// Instruction and operand pointers and the opcode are the guest's, written here:
// the host's FXSAVE would give the thunk's. Selectors are not kept (vol. 1,
// 8.1.8: FCS and FDS deprecated).
#include <Zydis/Zydis.h>

#include <cstdint>
#include <cstring>
#include <optional>

#include "lib/cpu/soft/native_access.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/native_select.h"
#include "lib/cpu/soft/native_thunk.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

constexpr uint16_t kHostFcw = 0x37F;
// What a store's bounce buffer holds before: still there afterwards where an
// unmasked error kept the store from happening.
constexpr uint8_t kNotStored[16] = {0x5C, 0xA3, 0x71, 0x0E, 0xD8, 0x39, 0xC6, 0x17,
                                    0xEB, 0x24, 0x9D, 0x62, 0xF5, 0x4A, 0xB0, 0x83};

// `offset` is the memory operand's; without one the pointer to the last operand stays.
void RunThunk(SoftVcpu& c, const Thunk& t, const Insn& in, const void* memory,
              std::optional<uint64_t> offset, ThunkFrame& frame) {
  FpuState& f = c.s.fpu;
  uint64_t operand = offset.value_or(FpuGet<uint64_t>(f, FpuState::kFdp));
  t.code(f.image, memory, nullptr, nullptr, &frame);
  const uint16_t fsw = FpuGet<uint16_t>(f, FpuState::kFsw);
  const uint16_t fcw = FpuGet<uint16_t>(f, FpuState::kFcw);
  if (fsw & kFswEs) {
    asm volatile("fnclex");
  }
  asm volatile("emms");
  if (fcw != kHostFcw) {
    asm volatile("fldcw %0" : : "m"(kHostFcw));
  }
  uint16_t opcode =
      static_cast<uint16_t>((in.bytes[in.modrm_at - 1] & 7) << 8 | in.bytes[in.modrm_at]);
  uint64_t instruction = c.s.rip;
  // As translated code does, so that what a guest reads does not depend on what was translated:
  // pointers are of use to a handler of exceptions, and there are none (translate.h).
  if (c.translator != nullptr && c.in_64bit() && (fcw & kFswFlags) == kFswFlags) {
    opcode = 0;
    instruction = operand = 0;
  }
  FpuSet<uint16_t>(f, FpuState::kFop, opcode);
  FpuSet<uint64_t>(f, FpuState::kFip, instruction);
  FpuSet<uint64_t>(f, FpuState::kFdp, operand);
}

Step RunRegister(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, true) != Step::kNext) [[unlikely]]
    return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  ThunkFrame frame;
  frame.flags_of = c.s.flags_of;
  frame.flags_lo = c.s.flags_lo;
  RunThunk(c, t, in, nullptr, std::nullopt, frame);
  if (t.flags & kEflagsOut) {
    c.s.flags_of = frame.flags_of;
    c.s.flags_lo = frame.flags_lo;
  }
  return Step::kNext;
}

Step RunLoad(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, true) != Step::kNext) [[unlikely]]
    return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  uint64_t linear;
  if (!LinearOf(c, in, t.mem_size, false, &linear)) return Step::kFault;
  uint8_t bounce[16];
  const uint8_t* p = LoadOperand(c, in, linear, t.mem_size, bounce);
  if (p == nullptr) return Step::kFault;
  const uint64_t offset = EffectiveOffset(c, in);
  ThunkFrame frame;
  RunThunk(c, t, in, p, offset, frame);
  return Step::kNext;
}

Step RunStore(SoftVcpu& c, const Insn& in) {
  if (CheckX87(c, true) != Step::kNext) [[unlikely]]
    return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  uint64_t linear;
  if (!LinearOf(c, in, t.mem_size, true, &linear)) return Step::kFault;
  // The pop must not happen where the store faults.
  uint8_t* fast = FastPointer(c, linear, t.mem_size, true);
  if (fast == nullptr &&
      !c.mmu.Probe(linear, t.mem_size, Access::kWrite, c.rights(), IsStack(in))) {
    return Step::kFault;
  }
  const uint64_t offset = EffectiveOffset(c, in);
  ThunkFrame frame;
  uint8_t bounce[16];
  memcpy(bounce, kNotStored, sizeof bounce);
  RunThunk(c, t, in, bounce, offset, frame);
  if (X87Pending(c) && memcmp(bounce, kNotStored, t.mem_size) == 0) return Step::kNext;
  if (fast != nullptr) {
    memcpy(fast, bounce, t.mem_size);
    return Step::kNext;
  }
  return AfterSlowStore(c, c.mmu.WriteSlow(linear, bounce, t.mem_size, c.rights(), IsStack(in)));
}

}  // namespace

Handler SelectX87(Insn& in, const DecodedView& view) {
  const ZydisDecodedInstruction& insn = *view.insn;
  if (insn.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || (insn.opcode & 0xF8) != 0xD8) return nullptr;

  ThunkSpec spec;
  spec.opcode = insn.opcode;
  spec.thunk.flags = kX87;
  if (insn.meta.isa_set == ZYDIS_ISA_SET_FCMOV) spec.thunk.flags |= kEflagsIn;
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_FCOMI:
    case ZYDIS_MNEMONIC_FCOMIP:
    case ZYDIS_MNEMONIC_FUCOMI:
    case ZYDIS_MNEMONIC_FUCOMIP:
      spec.thunk.flags |= kEflagsOut;
      break;
    default:
      break;
  }

  if (insn.raw.modrm.mod == 3) {
    spec.modrm = static_cast<uint8_t>(0xC0 | insn.raw.modrm.reg << 3 | insn.raw.modrm.rm);
    in.thunk = FindThunk(spec);
    return in.thunk != 0 ? RunRegister : nullptr;
  }
  const ZydisDecodedOperand* memory = nullptr;
  for (unsigned i = 0; i < insn.operand_count_visible; i++) {
    if (view.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) memory = &view.operands[i];
  }
  if (memory == nullptr || memory->size > 80) return nullptr;
  spec.thunk.mem_size = static_cast<uint8_t>(memory->size / 8);
  spec.thunk.b = ThunkOperand::kMemory;
  const bool store = memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
  if (store) spec.thunk.flags |= kWritesMem;
  spec.modrm = static_cast<uint8_t>(insn.raw.modrm.reg << 3 | 6);  // [rsi]
  in.thunk = FindThunk(spec);
  return in.thunk == 0 ? nullptr : store ? RunStore : RunLoad;
}

}  // namespace atl::cpu::soft
