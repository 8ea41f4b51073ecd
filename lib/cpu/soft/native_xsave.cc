// SPDX-License-Identifier: Apache-2.0
// XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV and XSETBV (vol. 1, chapter 13) for the
// x87, SSE and AVX state.
//
// Which components are in their initial configuration (XINUSE) is looked at when
// it is asked for. XSAVEOPT leaves those out and does not keep track of what was
// changed since the last XRSTOR, as the manual allows. A MXCSR other than 1F80
// counts as SSE state in use.
#include <Zydis/Zydis.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/cpu/soft/cpuid.h"
#include "lib/cpu/soft/native_access.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/native_select.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {
namespace {

constexpr unsigned kLegacy = 512, kHeader = 64, kAvxAt = 576, kAvxBytes = 256,
                   kWhole = kAvxAt + kAvxBytes;
constexpr unsigned kXstateBv = kLegacy;
constexpr uint64_t kCompacted = uint64_t{1} << 63;
constexpr uint32_t kInitialMxcsr = 0x1F80;

uint64_t Pair(const SoftVcpu& c) {
  return c.s.gpr[kRdx] << 32 | static_cast<uint32_t>(c.s.gpr[kRax]);
}

bool AllZero(const uint8_t* p, unsigned size) {
  uint64_t any = 0;
  for (unsigned i = 0; i < size; i += 8) {
    uint64_t v;
    memcpy(&v, p + i, 8);
    any |= v;
  }
  return any == 0;
}

bool X87InUse(const FpuState& f) {
  return FpuGet<uint16_t>(f, FpuState::kFcw) != 0x37F || f.image[FpuState::kFtw] != 0 ||
         FpuGet<uint16_t>(f, FpuState::kFsw) != 0 || FpuGet<uint16_t>(f, FpuState::kFop) != 0 ||
         !AllZero(f.image + FpuState::kFip, 16) || !AllZero(f.image + FpuState::kSt, 128);
}

uint64_t InUse(const FpuState& f) {
  uint64_t bits = X87InUse(f) ? kXcr0X87 : 0;
  if (FpuGet<uint32_t>(f, FpuState::kMxcsr) != kInitialMxcsr ||
      !AllZero(f.image + FpuState::kXmm, 256)) {
    bits |= kXcr0Sse;
  }
  if (!AllZero(f.ymm_high[0], kAvxBytes)) bits |= kXcr0Avx;
  return bits;
}

// Bytes of XMM registers, and of upper halves, that the mode has.
unsigned RegisterBytes(const SoftVcpu& c) { return 16 * (c.in_64bit() ? 16 : 8); }

Step Check(SoftVcpu& c) {
  if (!(c.s.cr4 & kCr4Osxsave)) return c.Raise(kUd);
  return c.s.cr0 & kCr0Ts ? c.Raise(kNm) : Step::kNext;
}

enum class Save { kPlain, kOptimized, kCompact };

// Where the parts of an image go: guest memory in place, or piece by piece.
class Sink {
 public:
  Sink(SoftVcpu& c, const Insn& in, uint64_t linear, uint8_t* direct)
      : c_(c), in_(in), linear_(linear), direct_(direct) {}

  // The rights of all bytes were checked, so that this does not fail halfway but
  // where another vCPU takes them away.
  void Put(unsigned at, const void* from, unsigned size) {
    if (direct_ != nullptr) {
      memcpy(direct_ + at, from, size);
    } else if (ok_) {
      ok_ = c_.mmu.WriteSlow(linear_ + at, from, size, c_.rights(), IsStack(in_));
    }
  }
  bool ok() const { return ok_; }

 private:
  SoftVcpu& c_;
  const Insn& in_;
  const uint64_t linear_;
  uint8_t* const direct_;
  bool ok_ = true;
};

template <Save kSave, bool kWide>
Step Xsave(SoftVcpu& c, const Insn& in) {
  if (Check(c) != Step::kNext) return Step::kFault;
  const FpuState& f = c.s.fpu;
  const uint64_t asked = Pair(c) & c.s.xcr0;
  const uint64_t in_use = InUse(f) & asked;
  const unsigned size = asked & kXcr0Avx ? kWhole : kAvxAt;
  uint64_t linear;
  if (!LinearOf(c, in, size, true, &linear)) return Step::kFault;
  if (linear & 63) return c.Raise(kGp, 0);  // before its address is found not canonical
  const bool user = c.user();
  uint8_t* const direct = size == kWhole ? c.mmu.FastWrite<ByteArray<kWhole>>(linear, user)
                                         : c.mmu.FastWrite<ByteArray<kAvxAt>>(linear, user);
  uint64_t header[2] = {};
  if (direct == nullptr) {
    if (!c.mmu.Probe(linear, size, Access::kWrite, c.rights(), IsStack(in))) return Step::kFault;
    if (kSave != Save::kCompact &&
        !c.mmu.ReadSlow(linear + kXstateBv, header, 8, c.rights(), IsStack(in))) {
      return Step::kFault;
    }
  } else {
    memcpy(header, direct + kXstateBv, 8);
  }

  const uint64_t written = kSave == Save::kPlain ? asked : in_use;
  const unsigned bytes = RegisterBytes(c);
  Sink sink(c, in, linear, direct);
  if (written & kXcr0X87) {
    alignas(16) uint8_t x87[FpuState::kXmm];
    StoreX87Image(f, x87, kWide);
    sink.Put(0, x87, FpuState::kMxcsr);
    sink.Put(FpuState::kSt, x87 + FpuState::kSt, 128);
  }
  if (kSave == Save::kCompact ? (written & kXcr0Sse) : (asked & (kXcr0Sse | kXcr0Avx))) {
    const uint32_t mxcsr[2] = {FpuGet<uint32_t>(f, FpuState::kMxcsr), kMxcsrValid};
    sink.Put(FpuState::kMxcsr, mxcsr, 8);
  }
  if (written & kXcr0Sse) sink.Put(FpuState::kXmm, f.image + FpuState::kXmm, bytes);
  if (written & kXcr0Avx) sink.Put(kAvxAt, f.ymm_high, bytes);
  if (kSave == Save::kCompact) {
    header[0] = in_use;
    header[1] = asked | kCompacted;
    sink.Put(kXstateBv, header, 16);
  } else {
    header[0] = (header[0] & ~asked) | in_use;
    sink.Put(kXstateBv, header, 8);
  }
  if (direct != nullptr) return Step::kNext;
  return AfterSlowStore(c, sink.ok());
}

bool HeaderValid(const SoftVcpu& c, const uint64_t* header) {
  const uint64_t bv = header[0], comp = header[1];
  if (!(comp & kCompacted)) return (bv & ~c.s.xcr0) == 0 && comp == 0 && header[2] == 0;
  uint64_t reserved = 0;
  for (unsigned i = 2; i < kHeader / 8; i++) reserved |= header[i];
  return (comp & ~kCompacted & ~c.s.xcr0) == 0 && (bv & ~comp) == 0 && (bv >> 63) == 0 &&
         reserved == 0;
}

template <bool kWide>
Step Xrstor(SoftVcpu& c, const Insn& in) {
  if (Check(c) != Step::kNext) return Step::kFault;
  const uint64_t asked = Pair(c) & c.s.xcr0;
  uint64_t linear;
  if (!LinearOf(c, in, kAvxAt, false, &linear)) return Step::kFault;
  if (linear & 63) return c.Raise(kGp, 0);  // before its address is found not canonical
  // A copy, as another vCPU may be writing to it.
  alignas(64) uint8_t image[kWhole];
  const auto read = [&](unsigned at, unsigned size) {
    return c.mmu.ReadSlow(linear + at, image + at, size, c.rights(), IsStack(in));
  };
  const uint8_t* const direct = c.mmu.FastRead<ByteArray<kWhole>>(linear, c.user());
  if (direct != nullptr) {
    memcpy(image, direct, kWhole);
  } else if (!read(0, kAvxAt)) {
    return Step::kFault;
  }
  uint64_t header[kHeader / 8];
  memcpy(header, image + kXstateBv, kHeader);
  if (!HeaderValid(c, header)) return c.Raise(kGp, 0);
  const bool compacted = header[1] & kCompacted;
  const uint64_t loaded = asked & header[0];
  // In the standard form what is asked for must be there, even where it goes to
  // its initial state.
  if (direct == nullptr && ((compacted ? loaded : asked) & kXcr0Avx)) {
    if (!LinearOf(c, in, kWhole, false, &linear) || !read(kAvxAt, kAvxBytes)) return Step::kFault;
  }
  const bool takes_mxcsr =
      compacted ? (loaded & kXcr0Sse) != 0 : (asked & (kXcr0Sse | kXcr0Avx)) != 0;
  uint32_t mxcsr;
  memcpy(&mxcsr, image + FpuState::kMxcsr, 4);
  if (takes_mxcsr && (mxcsr & ~kMxcsrValid)) return c.Raise(kGp, 0);

  FpuState& f = c.s.fpu;
  const unsigned bytes = RegisterBytes(c);
  if (asked & kXcr0X87) {
    if (loaded & kXcr0X87) {
      LoadX87Image(f, image, kWide);
    } else {
      InitX87(f);
      memset(f.image + FpuState::kSt, 0, 128);
    }
  }
  if (takes_mxcsr) {
    FpuSet(f, FpuState::kMxcsr, mxcsr);
  } else if (compacted && (asked & kXcr0Sse)) {
    FpuSet(f, FpuState::kMxcsr, kInitialMxcsr);
  }
  if (asked & kXcr0Sse) {
    if (loaded & kXcr0Sse) {
      memcpy(f.image + FpuState::kXmm, image + FpuState::kXmm, bytes);
    } else {
      memset(f.image + FpuState::kXmm, 0, bytes);
    }
  }
  if (asked & kXcr0Avx) {
    if (loaded & kXcr0Avx) {
      memcpy(f.ymm_high, image + kAvxAt, bytes);
    } else {
      memset(f.ymm_high, 0, bytes);
    }
  }
  return Step::kNext;
}

Step Xgetbv(SoftVcpu& c, const Insn&) {
  if (!(c.s.cr4 & kCr4Osxsave)) return c.Raise(kUd);
  const uint32_t which = static_cast<uint32_t>(c.s.gpr[kRcx]);
  if (which > 1) return c.Raise(kGp, 0);
  const uint64_t v = which == 0 ? c.s.xcr0 : c.s.xcr0 & InUse(c.s.fpu);
  c.s.gpr[kRax] = static_cast<uint32_t>(v);
  c.s.gpr[kRdx] = v >> 32;
  return Step::kNext;
}

Step Xsetbv(SoftVcpu& c, const Insn&) {
  if (!(c.s.cr4 & kCr4Osxsave)) return c.Raise(kUd);
  const uint64_t v = Pair(c);
  const bool valid = (v & kXcr0X87) && (v & ~SupportedXcr0(c.vm.model())) == 0 &&
                     (!(v & kXcr0Avx) || (v & kXcr0Sse));
  if (c.s.cpl != 0 || static_cast<uint32_t>(c.s.gpr[kRcx]) != 0 || !valid) return c.Raise(kGp, 0);
  c.s.xcr0 = v;
  return Step::kLeave;
}

}  // namespace

Handler SelectXsave(Insn&, const DecodedView& view) {
  switch (view.insn->mnemonic) {
    case ZYDIS_MNEMONIC_XSAVE:
      return Xsave<Save::kPlain, false>;
    case ZYDIS_MNEMONIC_XSAVE64:
      return Xsave<Save::kPlain, true>;
    case ZYDIS_MNEMONIC_XSAVEOPT:
      return Xsave<Save::kOptimized, false>;
    case ZYDIS_MNEMONIC_XSAVEOPT64:
      return Xsave<Save::kOptimized, true>;
    case ZYDIS_MNEMONIC_XSAVEC:
      return Xsave<Save::kCompact, false>;
    case ZYDIS_MNEMONIC_XSAVEC64:
      return Xsave<Save::kCompact, true>;
    case ZYDIS_MNEMONIC_XRSTOR:
      return Xrstor<false>;
    case ZYDIS_MNEMONIC_XRSTOR64:
      return Xrstor<true>;
    case ZYDIS_MNEMONIC_XGETBV:
      return Xgetbv;
    case ZYDIS_MNEMONIC_XSETBV:
      return Xsetbv;
    default:
      return nullptr;
  }
}

}  // namespace atl::cpu::soft
