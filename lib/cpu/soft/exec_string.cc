// SPDX-License-Identifier: Apache-2.0
// MOVS, STOS, LODS, SCAS, CMPS. Repeated forms work on whole page parts through
// host pointers where direction, segments and paging allow it, else element by
// element; registers are right after each part, so that a fault or an interrupt
// leaves an instruction that goes on where it was. Between parts it looks at
// requests: kBranch with rip unchanged.
#include <algorithm>
#include <cstring>

#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/select.h"

namespace atl::cpu::soft {
namespace {

// How a part ended.
enum class Part : uint8_t {
  kMore,   // go on
  kFault,  // nothing of this element happened
  kLeave,  // done, and the running block's code changed
  kStop,   // done, and SCAS or CMPS met its condition
};

// One of the two sides of a string instruction.
struct Side {
  uint8_t reg;
  uint8_t seg;
};
constexpr Side kDestination = {kRdi, kEs};

inline uint64_t Offset(const SoftVcpu& c, const Insn& in, Side side) {
  return MaskAddress(c.s.gpr[side.reg], in.address_size);
}
inline bool Down(const SoftVcpu& c) { return c.s.rflags_rest & kDf; }
inline bool Repeated(const Insn& in) { return in.rep || in.repne; }

inline void Advance(SoftVcpu& c, const Insn& in, Side side, uint64_t bytes) {
  const uint64_t v = c.s.gpr[side.reg];
  WriteAddressReg(c, side.reg, Down(c) ? v - bytes : v + bytes, in.address_size);
}
inline uint64_t Left(const SoftVcpu& c, const Insn& in) {
  return MaskAddress(c.s.gpr[kRcx], in.address_size);
}

// Whether parts longer than an element are right: no trap or data breakpoint to be
// met, addresses that segments leave alone.
inline bool BulkAllowed(const SoftVcpu& c) {
  return !(c.s.rflags_rest & kTf) && (c.s.dr[7] & 0xFF) == 0;
}
inline bool FlatSide(const SoftVcpu& c, Side side, bool write) {
  return c.in_64bit() || (write ? c.s.seg[side.seg].flat_write : c.s.seg[side.seg].flat_read);
}

// Elements of T from the side's offset to the end of its page, or of its address
// space, in the string's direction; the first one's linear address in *linear.
template <typename T>
inline uint64_t Reach(const SoftVcpu& c, const Insn& in, Side side, uint64_t* linear) {
  const uint64_t offset = Offset(c, in, side);
  uint64_t a = offset;
  if (!c.in_64bit()) {
    a = static_cast<uint32_t>(c.s.seg[side.seg].base + offset);
  } else if (side.seg >= kFs) {
    a += c.s.seg[side.seg].base;
  }
  *linear = a;
  uint64_t bytes = kPageSize - (a & (kPageSize - 1));
  if (Down(c)) {
    if (bytes < sizeof(T)) return 0;
    bytes = std::min((a & (kPageSize - 1)), offset) + sizeof(T);
  } else if (in.address_size != 8) {
    const uint64_t space = uint64_t{1} << (8 * in.address_size);
    bytes = std::min(bytes, space - offset);
  }
  return bytes / sizeof(T);
}

template <typename T>
inline const uint8_t* ReadPointer(SoftVcpu& c, uint64_t linear) {
  return c.mmu.FastRead<T>(linear, c.user());
}

// For stores up to the page's end, or null: the element path decides. `code`: the
// page is watched, say Stored() afterwards.
template <typename T>
inline uint8_t* WritePointer(SoftVcpu& c, uint64_t linear, bool* code) {
  *code = false;
  if (uint8_t* p = c.mmu.FastWrite<T>(linear, c.user())) return p;
  bool faulted;
  *code = true;
  return c.mmu.RmwPointer(linear, sizeof(T), c.rights(), false, &faulted);
}
inline Part Written(SoftVcpu& c, const uint8_t* p, uint64_t size, bool code) {
  if (!code) return Part::kMore;
  c.mmu.Stored(p, static_cast<unsigned>(size));
  return AfterSlowStore(c, true) == Step::kLeave ? Part::kLeave : Part::kMore;
}

// Whether stores there change the running instruction itself: processors that see
// stores to code fetch it anew before they go on, so elements are then done one by
// one. For pages that are watched.
bool ChangesItself(SoftVcpu& c, const Insn& in, const uint8_t* to, uint64_t bytes) {
  const uint64_t begin = LinearRip(c);
  for (uint64_t at = begin; at < begin + in.length; at = (at | (kPageSize - 1)) + 1) {
    Mmu::CodePage page;
    if (!c.mmu.TranslateCode(at, &page) || page.host == nullptr) return true;
    const uint64_t offset = at & (kPageSize - 1);
    const uint8_t* const code = page.host + offset;
    const uint64_t size = std::min(begin + in.length - at, kPageSize - offset);
    if (code < to + bytes && to < code + size) return true;
  }
  return false;
}

// An element by the checked way.
template <typename T>
inline bool LoadElement(SoftVcpu& c, const Insn& in, Side side, T* v) {
  uint64_t linear;
  return SegmentLinear(c, side.seg, Offset(c, in, side), sizeof(T), false, &linear) &&
         LoadLinear<T>(c, linear, v, side.seg == kSs);
}
template <typename T>
inline Part StoreElement(SoftVcpu& c, const Insn& in, T v) {
  uint64_t linear;
  if (!SegmentLinear(c, kEs, Offset(c, in, kDestination), sizeof(T), true, &linear))
    return Part::kFault;
  switch (StoreLinear<T>(c, linear, v)) {
    case Step::kFault:
      return Part::kFault;
    case Step::kLeave:
      return Part::kLeave;
    default:
      return Part::kMore;
  }
}

template <typename T>
inline void Compare(SoftVcpu& c, T a, T b) {
  uint16_t f;
  asm("cmp %[b], %[a]" ATOLL_FLAGS_OUT : "=&a"(f) : [a] "q"(a), [b] "q"(b) : "cc");
  SetArithmeticFlags(c, f);
}
// Whether a compare with this outcome ends REPE or REPNE.
inline bool Ends(const Insn& in, bool equal) {
  return Repeated(in) && equal == static_cast<bool>(in.repne);
}

// Each operation does up to `most` elements from where the registers stand and
// says in *done how many it did, registers not yet moved.
struct Movs {
  static constexpr bool kSource = true, kDest = true;
  template <typename T>
  static Part Do(SoftVcpu& c, const Insn& in, Side source, uint64_t most, uint64_t* done) {
    if (most > 1 && BulkAllowed(c) && FlatSide(c, source, false) &&
        FlatSide(c, kDestination, true)) {
      uint64_t from, to;
      most = std::min({most, Reach<T>(c, in, source, &from), Reach<T>(c, in, kDestination, &to)});
      const uint8_t* s = most > 1 ? ReadPointer<T>(c, from) : nullptr;
      bool code;
      uint8_t* d = s != nullptr ? WritePointer<T>(c, to, &code) : nullptr;
      const uint64_t bytes = most * sizeof(T);
      const bool down = Down(c);
      if (d != nullptr &&
          !(code && ChangesItself(c, in, down ? d - (bytes - sizeof(T)) : d, bytes))) {
        if (down ? d < s && s < d + bytes : s < d && d < s + bytes) {
          // What was stored is read again: the pattern repeats.
          const int64_t step = down ? -int64_t{sizeof(T)} : int64_t{sizeof(T)};
          for (int64_t i = 0; i < static_cast<int64_t>(most); ++i)
            HostStore<T>(d + i * step, HostLoad<T>(s + i * step));
        } else {
          const uint64_t back = down ? bytes - sizeof(T) : 0;
          std::memmove(d - back, s - back, bytes);
        }
        *done = most;
        return Written(c, down ? d - (bytes - sizeof(T)) : d, bytes, code);
      }
    }
    T v;
    if (!LoadElement<T>(c, in, source, &v)) return Part::kFault;
    *done = 1;
    return StoreElement<T>(c, in, v);
  }
};

struct Stos {
  static constexpr bool kSource = false, kDest = true;
  template <typename T>
  static Part Do(SoftVcpu& c, const Insn& in, Side, uint64_t most, uint64_t* done) {
    const T v = static_cast<T>(c.s.gpr[kRax]);
    if (most > 1 && BulkAllowed(c) && FlatSide(c, kDestination, true)) {
      uint64_t to;
      most = std::min(most, Reach<T>(c, in, kDestination, &to));
      bool code;
      uint8_t* d = most > 1 ? WritePointer<T>(c, to, &code) : nullptr;
      if (d != nullptr && Down(c)) d -= (most - 1) * sizeof(T);
      if (d != nullptr && !(code && ChangesItself(c, in, d, most * sizeof(T)))) {
        uint8_t first;
        std::memcpy(&first, &v, 1);
        if (v == static_cast<T>(first * (static_cast<T>(~T{0}) / 0xFF))) {
          std::memset(d, first, most * sizeof(T));
        } else {
          for (uint64_t i = 0; i < most; ++i) std::memcpy(d + i * sizeof(T), &v, sizeof(T));
        }
        *done = most;
        return Written(c, d, most * sizeof(T), code);
      }
    }
    *done = 1;
    return StoreElement<T>(c, in, v);
  }
};

struct Lods {
  static constexpr bool kSource = true, kDest = false;
  template <typename T>
  static Part Do(SoftVcpu& c, const Insn& in, Side source, uint64_t, uint64_t* done) {
    T v;
    if (!LoadElement<T>(c, in, source, &v)) return Part::kFault;
    WriteReg<T>(c, kRax, v);
    *done = 1;
    return Part::kMore;
  }
};

struct Scas {
  static constexpr bool kSource = false, kDest = true;
  template <typename T>
  static Part Do(SoftVcpu& c, const Insn& in, Side, uint64_t most, uint64_t* done) {
    const T a = static_cast<T>(c.s.gpr[kRax]);
    if (most > 1 && BulkAllowed(c) && !Down(c) && FlatSide(c, kDestination, false)) {
      uint64_t at;
      most = std::min(most, Reach<T>(c, in, kDestination, &at));
      const uint8_t* d = most > 1 ? ReadPointer<T>(c, at) : nullptr;
      if (d != nullptr) {
        uint64_t i = 0;
        T b;
        bool ends;
        do {
          b = HostLoad<T>(d + i * sizeof(T));
          ends = (a == b) == static_cast<bool>(in.repne);
        } while (++i < most && !ends);
        Compare<T>(c, a, b);
        *done = i;
        return ends ? Part::kStop : Part::kMore;
      }
    }
    T b;
    if (!LoadElement<T>(c, in, kDestination, &b)) return Part::kFault;
    Compare<T>(c, a, b);
    *done = 1;
    return Ends(in, a == b) ? Part::kStop : Part::kMore;
  }
};

struct Cmps {
  static constexpr bool kSource = true, kDest = true;
  template <typename T>
  static Part Do(SoftVcpu& c, const Insn& in, Side source, uint64_t most, uint64_t* done) {
    if (most > 1 && BulkAllowed(c) && !Down(c) && FlatSide(c, source, false) &&
        FlatSide(c, kDestination, false)) {
      uint64_t from, at;
      most = std::min({most, Reach<T>(c, in, source, &from), Reach<T>(c, in, kDestination, &at)});
      const uint8_t* s = most > 1 ? ReadPointer<T>(c, from) : nullptr;
      const uint8_t* d = s != nullptr ? ReadPointer<T>(c, at) : nullptr;
      if (d != nullptr) {
        uint64_t i = 0;
        T a, b;
        bool ends;
        do {
          a = HostLoad<T>(s + i * sizeof(T));
          b = HostLoad<T>(d + i * sizeof(T));
          ends = (a == b) == static_cast<bool>(in.repne);
        } while (++i < most && !ends);
        Compare<T>(c, a, b);
        *done = i;
        return ends ? Part::kStop : Part::kMore;
      }
    }
    T a, b;
    if (!LoadElement<T>(c, in, source, &a) || !LoadElement<T>(c, in, kDestination, &b))
      return Part::kFault;
    Compare<T>(c, a, b);
    *done = 1;
    return Ends(in, a == b) ? Part::kStop : Part::kMore;
  }
};

template <typename Op, typename T>
Step String(SoftVcpu& c, const Insn& in) {
  const Side source = {kRsi, in.seg};
  uint64_t done = 0;
  if (!Repeated(in)) {
    const Part part = Op::template Do<T>(c, in, source, 1, &done);
    if (part == Part::kFault) return Step::kFault;
    if constexpr (Op::kSource) Advance(c, in, source, sizeof(T));
    if constexpr (Op::kDest) Advance(c, in, kDestination, sizeof(T));
    return part == Part::kLeave ? Step::kLeave : Step::kNext;
  }
  for (;;) {
    const uint64_t left = Left(c, in);
    if (left == 0) return Step::kNext;
    const Part part = Op::template Do<T>(c, in, source, left, &done);
    if (part == Part::kFault) return Step::kFault;
    if constexpr (Op::kSource) Advance(c, in, source, done * sizeof(T));
    if constexpr (Op::kDest) Advance(c, in, kDestination, done * sizeof(T));
    WriteAddressReg(c, kRcx, left - done, in.address_size);
    if (part == Part::kStop) return Step::kNext;
    if (left == done) return part == Part::kLeave ? Step::kLeave : Step::kNext;
    if (part == Part::kLeave || (c.s.rflags_rest & kTf) ||
        c.requests.load(std::memory_order_relaxed) != 0)
      return Step::kBranch;
  }
}

template <typename Op, typename T>
Handler Select(Insn&, const DecodedView&) {
  return &String<Op, T>;
}

#define ATOLL_STRING(name, Op)                             \
  {ZYDIS_MNEMONIC_##name##B, &Select<Op, uint8_t>},        \
      {ZYDIS_MNEMONIC_##name##W, &Select<Op, uint16_t>},   \
      {ZYDIS_MNEMONIC_##name##D, &Select<Op, uint32_t>}, { \
    ZYDIS_MNEMONIC_##name##Q, &Select<Op, uint64_t>        \
  }

constexpr HandlerEntry kTable[] = {
    ATOLL_STRING(MOVS, Movs), ATOLL_STRING(STOS, Stos), ATOLL_STRING(LODS, Lods),
    ATOLL_STRING(SCAS, Scas), ATOLL_STRING(CMPS, Cmps),
};

}  // namespace

const HandlerTable kStringHandlers(kTable);

}  // namespace atl::cpu::soft
