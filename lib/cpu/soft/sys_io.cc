// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS, with the I/O permission bitmap (vol. 1, 19.5).
#include <cstdint>

#include "Zydis/Zydis.h"
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_select.h"

namespace atl::cpu::soft {
namespace {

// Iterations of a repeated one before interrupts are looked at again.
constexpr unsigned kBurst = 256;

bool MayUsePort(SoftVcpu& c, uint16_t port, unsigned size) {
  const CpuState& s = c.s;
  const unsigned iopl = s.rflags_rest >> 12 & 3;
  if (!s.protected_mode || (s.cpl <= iopl && !s.v8086)) return true;
  const SegmentState& tr = s.tr;
  if (tr.unusable || (tr.attributes & 8) == 0 || tr.limit < 103) return Fail(c, kGp, 0);
  uint16_t base;
  if (!ReadSystem(c, tr.base + 102, &base)) return false;
  const uint32_t at = base + port / 8u;
  if (at + 1 > tr.limit) return Fail(c, kGp, 0);
  uint16_t bits;
  if (!ReadSystem(c, tr.base + at, &bits)) return false;
  const unsigned mask = (1u << size) - 1;
  if ((bits >> (port % 8u) & mask) != 0) return Fail(c, kGp, 0);
  return true;
}

template <typename T, bool kImmediate>
Step In(SoftVcpu& c, const Insn& in) {
  const uint16_t port =
      kImmediate ? static_cast<uint8_t>(in.imm) : static_cast<uint16_t>(c.s.gpr[kRdx]);
  if (!MayUsePort(c, port, sizeof(T))) return Step::kFault;
  WriteReg<T>(c, kRax, static_cast<T>(c.bus.PortIn(port, sizeof(T))));
  return Step::kNext;
}

// Devices behind a port change what blocks rest on: A20, memory, resets.
template <typename T, bool kImmediate>
Step Out(SoftVcpu& c, const Insn& in) {
  const uint16_t port =
      kImmediate ? static_cast<uint8_t>(in.imm) : static_cast<uint16_t>(c.s.gpr[kRdx]);
  if (!MayUsePort(c, port, sizeof(T))) return Step::kFault;
  c.bus.PortOut(port, sizeof(T), ReadReg<T>(c, kRax));
  return Step::kLeave;
}

template <typename T, bool kOutput>
Step Once(SoftVcpu& c, const Insn& in) {
  const uint16_t port = static_cast<uint16_t>(c.s.gpr[kRdx]);
  const uint8_t reg = kOutput ? kRsi : kRdi;
  const uint64_t offset = MaskAddress(c.s.gpr[reg], in.address_size);
  const uint8_t seg = kOutput ? in.seg : uint8_t{kEs};
  uint64_t linear;
  if (!SegmentLinear(c, seg, offset, sizeof(T), !kOutput, &linear)) return Step::kFault;
  if (kOutput) {
    T v;
    if (!LoadLinear<T>(c, linear, &v, seg == kSs)) return Step::kFault;
    c.bus.PortOut(port, sizeof(T), v);
  } else {
    // A device's read has effects: only where the store cannot fail.
    if (c.mmu.FastWrite<T>(linear, c.user()) == nullptr &&
        !c.mmu.Probe(linear, sizeof(T), Access::kWrite, c.rights())) {
      return Step::kFault;
    }
    const T v = static_cast<T>(c.bus.PortIn(port, sizeof(T)));
    if (StoreLinear<T>(c, linear, v) == Step::kFault) return Step::kFault;
  }
  const uint64_t step = (c.s.rflags_rest & kDf) != 0 ? ~uint64_t{sizeof(T) - 1} : sizeof(T);
  WriteAddressReg(c, reg, c.s.gpr[reg] + step, in.address_size);
  return Step::kNext;
}

template <typename T, bool kOutput>
Step String(SoftVcpu& c, const Insn& in) {
  if (!MayUsePort(c, static_cast<uint16_t>(c.s.gpr[kRdx]), sizeof(T))) return Step::kFault;
  if (!in.rep && !in.repne) {
    return Once<T, kOutput>(c, in) == Step::kFault ? Step::kFault : Step::kLeave;
  }
  for (unsigned i = 0; i < kBurst; ++i) {
    const uint64_t count = MaskAddress(c.s.gpr[kRcx], in.address_size);
    if (count == 0) return Step::kLeave;
    if (Once<T, kOutput>(c, in) == Step::kFault) return Step::kFault;
    WriteAddressReg(c, kRcx, count - 1, in.address_size);
    if (count == 1) return Step::kLeave;
  }
  return Step::kBranch;  // the same instruction again
}

template <template <typename, bool> class Pick>
Handler BySize(unsigned size, bool flag) {
  switch (size) {
    case 1:
      return flag ? Pick<uint8_t, true>::run : Pick<uint8_t, false>::run;
    case 2:
      return flag ? Pick<uint16_t, true>::run : Pick<uint16_t, false>::run;
    default:
      return flag ? Pick<uint32_t, true>::run : Pick<uint32_t, false>::run;
  }
}
template <typename T, bool kFlag>
struct PickIn {
  static constexpr Handler run = In<T, kFlag>;
};
template <typename T, bool kFlag>
struct PickOut {
  static constexpr Handler run = Out<T, kFlag>;
};
template <typename T, bool kFlag>
struct PickString {
  static constexpr Handler run = String<T, kFlag>;
};

}  // namespace

Handler SelectPortIo(Insn&, const DecodedView& view) {
  const ZydisDecodedOperand* o = view.operands;
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_IN:
      return BySize<PickIn>(o[0].size / 8, o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
    case ZYDIS_MNEMONIC_OUT:
      return BySize<PickOut>(o[1].size / 8, o[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
    case ZYDIS_MNEMONIC_INSB:
      return BySize<PickString>(1, false);
    case ZYDIS_MNEMONIC_INSW:
      return BySize<PickString>(2, false);
    case ZYDIS_MNEMONIC_INSD:
      return BySize<PickString>(4, false);
    case ZYDIS_MNEMONIC_OUTSB:
      return BySize<PickString>(1, true);
    case ZYDIS_MNEMONIC_OUTSW:
      return BySize<PickString>(2, true);
    case ZYDIS_MNEMONIC_OUTSD:
      return BySize<PickString>(4, true);
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft
