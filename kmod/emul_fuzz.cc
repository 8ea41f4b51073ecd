// SPDX-License-Identifier: GPL-2.0-only
// Any bytes in any mode: lengths as Zydis finds them, and execution that ends
// whatever memory answers.
#include <Zydis/Zydis.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include "kmod/emul.h"
}

namespace {

struct Input {
  const uint8_t* data;
  size_t size;
  u64 Take(size_t n) {
    u64 out = 0;
    const size_t have = n < size ? n : size;
    memcpy(&out, data, have);
    data += have;
    size -= have;
    return out;
  }
};

int Answer(atl_emul* e) {
  constexpr int kAnswers[4] = {ATL_EMUL_OK, ATL_EMUL_OK, ATL_EMUL_EXIT, ATL_EMUL_FAULT};
  return kAnswers[static_cast<Input*>(e->context)->Take(1) & 3];
}
int Read(atl_emul* e, u64, void* data, unsigned len) {
  const u64 value = static_cast<Input*>(e->context)->Take(8);
  if (len > 8) abort();
  memcpy(data, &value, len);
  return Answer(e);
}
int Write(atl_emul* e, u64, const void*, unsigned len) {
  if (len > 8) abort();
  return Answer(e);
}

// Knights Corner's, at places of VEX that no other processor has: #UD here.
bool IsKnightsCorner(const ZydisDecodedInstruction& insn) {
  switch (insn.meta.isa_ext) {
    case ZYDIS_ISA_EXT_KNC:
    case ZYDIS_ISA_EXT_KNCE:
    case ZYDIS_ISA_EXT_KNCV:
      return true;
    default:
      return false;
  }
}

// What Zydis and this decoder see differently on purpose: it knows no XOP and
// no 3DNow!, and Zydis follows Intel where LOCK and others make no sense.
void CompareLength(const atl_emul& e, int result) {
  static const ZydisMachineMode kModes[] = {
      ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64};
  static const ZydisStackWidth kStacks[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
                                            ZYDIS_STACK_WIDTH_64};
  const int mode = e.mode == 2 ? 0 : e.mode == 4 ? 1 : 2;
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, kModes[mode], kStacks[mode]);
  ZydisDecodedInstruction insn;
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeInstruction(&decoder, nullptr, e.insn.bytes, e.insn.nbytes, &insn))) {
    return;
  }
  if (insn.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
      insn.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW ||
      insn.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || IsKnightsCorner(insn) ||
      (insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
       insn.opcode_map > ZYDIS_OPCODE_MAP_0F3A)) {
    return;
  }
  if (result == ATL_EMUL_OK && e.insn.len == insn.length) return;
  fprintf(stderr, "mode %d: result %d, length %d; Zydis says %d:", e.mode, result, e.insn.len,
          insn.length);
  for (int i = 0; i < e.insn.nbytes; ++i) fprintf(stderr, " %02x", e.insn.bytes[i]);
  fprintf(stderr, "\n");
  abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input{data, size};
  constexpr u8 kModes[4] = {2, 4, 8, 8};
  atl_emul e{};
  e.mode = kModes[input.Take(1) & 3];
  // Zydis knows no 16-bit mode without protection: VEX is decoded there.
  e.protected_mode = true;
  e.insn.nbytes = static_cast<u8>(input.Take(1) & 15);
  for (int i = 0; i < e.insn.nbytes; ++i) e.insn.bytes[i] = static_cast<u8>(input.Take(1));
  const int result = atl_decode(&e);
  if (e.insn.len > e.insn.nbytes) abort();
  CompareLength(e, result);
  if (result != ATL_EMUL_OK) return 0;
  for (u64& r : e.reg) r = input.Take(4) * 0x100000001;
  e.rip = input.Take(8);
  e.rflags = input.Take(4);
  for (u64& b : e.seg_base) b = input.Take(4);
  e.read = Read;
  e.write = Write;
  e.context = &input;
  atl_execute(&e);
  return 0;
}
