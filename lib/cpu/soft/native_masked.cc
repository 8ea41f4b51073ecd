// SPDX-License-Identifier: Apache-2.0
// Instructions that reach memory element by element: VMASKMOV and VPMASKMOV,
// whose masked elements may lie anywhere, the gathers, and the byte masks of
// MASKMOVQ and MASKMOVDQU.
#include <Zydis/Zydis.h>

#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/native_access.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/native_select.h"
#include "lib/cpu/soft/native_thunk.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

// A vector register's bytes together.
struct Bytes {
  uint8_t b[32];

  Bytes(SoftVcpu& c, unsigned n) {
    memcpy(b, XmmAt(c, n), 16);
    memcpy(b + 16, YmmHighAt(c, n), 16);
  }
  void Give(SoftVcpu& c, unsigned n) const {
    memcpy(XmmAt(c, n), b, 16);
    memcpy(YmmHighAt(c, n), b + 16, 16);
  }
  template <typename T>
  T Get(unsigned element) const {
    T v;
    memcpy(&v, b + element * sizeof v, sizeof v);
    return v;
  }
  // Whether an element's top bit is set.
  bool Selects(unsigned element, unsigned size) const { return b[(element + 1) * size - 1] & 0x80; }
};

bool ElementLinear(SoftVcpu& c, const Insn& in, uint64_t offset, unsigned size, bool write,
                   uint64_t* linear) {
  return SegmentLinear(c, in.seg, MaskAddress(offset, in.address_size), size, write, linear);
}

// ---- VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ: in.imm has the element's size ----

// The host address where all elements can be reached at once.
uint8_t* WholeOperand(SoftVcpu& c, const Insn& in, unsigned size, bool write) {
  uint64_t linear;
  if (!c.in_64bit() || !LinearOf(c, in, size, write, &linear)) return nullptr;
  return FastPointer(c, linear, size, write);
}

Step MaskedLoad(SoftVcpu& c, const Insn& in) {
  if (CheckAvx(c) != Step::kNext) return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  const unsigned size = static_cast<unsigned>(in.imm);
  alignas(32) uint8_t bounce[32] = {};
  const uint8_t* from = WholeOperand(c, in, t.mem_size, false);
  if (from == nullptr) {
    const Bytes mask(c, in.reg1);
    const uint64_t offset = EffectiveOffset(c, in);
    for (unsigned i = 0; i < t.mem_size / size; i++) {
      if (!mask.Selects(i, size)) continue;
      uint64_t linear;
      if (!ElementLinear(c, in, offset + i * size, size, false, &linear) ||
          !c.mmu.ReadSlow(linear, bounce + i * size, size, c.rights(), IsStack(in))) {
        return Step::kFault;
      }
    }
    from = bounce;
  }
  t.code(XmmAt(c, in.reg0), XmmAt(c, in.reg1), from, nullptr, nullptr);
  return Step::kNext;
}

Step MaskedStore(SoftVcpu& c, const Insn& in) {
  if (CheckAvx(c) != Step::kNext) return Step::kFault;
  const Thunk& t = ThunkAt(in.thunk);
  if (uint8_t* to = WholeOperand(c, in, t.mem_size, true)) {
    t.code(to, XmmAt(c, in.reg1), XmmAt(c, in.reg2), nullptr, nullptr);
    return Step::kNext;
  }
  const unsigned size = static_cast<unsigned>(in.imm);
  const Bytes mask(c, in.reg1), data(c, in.reg2);
  const uint64_t offset = EffectiveOffset(c, in);
  uint64_t linear[8];
  // The rights of all elements before the first is stored.
  for (unsigned i = 0; i < t.mem_size / size; i++) {
    if (mask.Selects(i, size) &&
        (!ElementLinear(c, in, offset + i * size, size, true, &linear[i]) ||
         !c.mmu.Probe(linear[i], size, Access::kWrite, c.rights(), IsStack(in)))) {
      return Step::kFault;
    }
  }
  for (unsigned i = 0; i < t.mem_size / size; i++) {
    if (mask.Selects(i, size) &&
        !c.mmu.WriteSlow(linear[i], data.b + i * size, size, c.rights(), IsStack(in))) {
      return Step::kFault;
    }
  }
  return AfterSlowStore(c, true);
}

// ---- Gathers ----

// Elements are read from the lowest on; what was read before a fault stays in the
// destination, its mask cleared, so that the instruction goes on from there. The
// rest of both registers is then as it was, as AMD's processors have it.
template <typename Index, typename Element>
Step Gather(SoftVcpu& c, const Insn& in) {
  if (CheckAvx(c) != Step::kNext) return Step::kFault;
  const unsigned count = static_cast<unsigned>(in.imm);
  constexpr unsigned kSize = sizeof(Element);
  Bytes to(c, in.reg0), mask(c, in.reg2);
  const Bytes index(c, in.reg1);
  const uint64_t base = Slot(c, in.base_slot) + static_cast<uint64_t>(in.disp);
  Step step = Step::kNext;
  for (unsigned i = 0; i < count; i++) {
    if (!mask.Selects(i, kSize)) {
      memset(mask.b + i * kSize, 0, kSize);
      continue;
    }
    const int64_t scaled = static_cast<int64_t>(index.Get<Index>(i)) * in.scale;
    uint64_t linear;
    Element v;
    if (!ElementLinear(c, in, base + static_cast<uint64_t>(scaled), kSize, false, &linear) ||
        !LoadLinear<Element>(c, linear, &v, IsStack(in))) {
      step = Step::kFault;
      break;
    }
    memcpy(to.b + i * kSize, &v, kSize);
    memset(mask.b + i * kSize, 0, kSize);
  }
  if (step == Step::kNext) {
    memset(mask.b + count * kSize, 0, sizeof mask.b - count * kSize);
    memset(to.b + count * kSize, 0, sizeof to.b - count * kSize);
  }
  to.Give(c, in.reg0);
  mask.Give(c, in.reg2);
  return step;
}

Handler SelectGather(Insn& in, const DecodedView& view) {
  const ZydisDecodedOperand_* o = view.operands;
  const unsigned bytes = view.insn->raw.vex.L ? 32 : 16;
  in.reg0 = static_cast<uint8_t>(ZydisRegisterGetId(o[0].reg.value));
  in.reg1 = static_cast<uint8_t>(ZydisRegisterGetId(o[1].mem.index));
  in.reg2 = static_cast<uint8_t>(ZydisRegisterGetId(o[2].reg.value));
  if (in.reg0 == in.reg1 || in.reg0 == in.reg2 || in.reg1 == in.reg2) return nullptr;  // #UD
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VPGATHERDD:
      in.imm = bytes / 4;
      return Gather<int32_t, uint32_t>;
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
      in.imm = bytes / 8;
      return Gather<int32_t, uint64_t>;
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD:
      in.imm = bytes / 8;
      return Gather<int64_t, uint32_t>;
    default:
      in.imm = bytes / 8;
      return Gather<int64_t, uint64_t>;
  }
}

// ---- MASKMOVQ, MASKMOVDQU ----

// MASKMOVQ and MASKMOVDQU: the bytes of reg0 whose mask byte in reg1 has the top
// bit set go to [rDI] in DS or the segment of a prefix.
template <bool kXmm, bool kVex>
Step MaskMove(SoftVcpu& c, const Insn& in) {
  constexpr unsigned kSize = kXmm ? 16 : 8;
  const Step allowed = kVex ? CheckAvx(c) : kXmm ? CheckSse(c) : CheckMmx(c, false);
  if (allowed != Step::kNext) return Step::kFault;
  uint64_t linear;
  if (!SegmentLinear(c, in.seg, MaskAddress(c.s.gpr[kRdi], in.address_size), kSize, true,
                     &linear)) {
    return Step::kFault;
  }
  uint8_t data[kSize], mask[kSize];
  memcpy(data, kXmm ? XmmAt(c, in.reg0) : MmxAt(c, in.reg0), kSize);
  memcpy(mask, kXmm ? XmmAt(c, in.reg1) : MmxAt(c, in.reg1), kSize);
  // The rights of all bytes to be written first; each run of them then at once.
  for (unsigned i = 0; i < kSize; i++) {
    if ((mask[i] & 0x80) && !c.mmu.Probe(linear + i, 1, Access::kWrite, c.rights(), IsStack(in))) {
      return Step::kFault;
    }
  }
  for (unsigned i = 0; i < kSize;) {
    unsigned n = 0;
    while (i + n < kSize && (mask[i + n] & 0x80)) n++;
    if (n != 0 && !c.mmu.WriteSlow(linear + i, data + i, n, c.rights(), IsStack(in)))
      return Step::kFault;
    i += n + 1;
  }
  if (!kXmm) EnterMmx(c.s.fpu);
  return AfterSlowStore(c, true);
}

}  // namespace

Handler SelectMasked(Insn& in, const DecodedView& view) {
  const ZydisDecodedInstruction_& insn = *view.insn;
  const ZydisDecodedOperand_* o = view.operands;
  switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
      // The memory operand is implicit: `in.seg` is DS or the prefix's.
      in.reg0 = static_cast<uint8_t>(ZydisRegisterGetId(o[0].reg.value));
      in.reg1 = static_cast<uint8_t>(ZydisRegisterGetId(o[1].reg.value));
      if (insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ) return MaskMove<false, false>;
      return insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ? MaskMove<true, false>
                                                        : MaskMove<true, true>;
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ: {
      if (SelectVex(in, view) == nullptr) return nullptr;
      const bool words =
          insn.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || insn.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD;
      in.imm = words ? 4 : 8;
      return o[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? MaskedStore : MaskedLoad;
    }
    default:
      return insn.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER ? SelectGather(in, view) : nullptr;
  }
}

}  // namespace atl::cpu::soft
