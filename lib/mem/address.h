// SPDX-License-Identifier: Apache-2.0
// Addresses as distinct types, so that none is taken for another: Gva is what
// a guest program uses, Gpa what its page tables make of it, Gfn a Gpa's page
// number; a host address is a plain pointer. Explicit both ways.
#ifndef LIB_MEM_ADDRESS_H_
#define LIB_MEM_ADDRESS_H_

#include <compare>
#include <cstdint>

namespace atl {

inline constexpr unsigned kPageShift = 12;
inline constexpr uint64_t kPageSize = uint64_t{1} << kPageShift;

// An address of one space. Sums wrap at 2^64; whoever adds guest-given lengths
// checks the range first (lib/base/checked.h).
template <typename Tag>
struct Address {
  uint64_t value = 0;

  constexpr Address() = default;
  constexpr explicit Address(uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(Address, Address) = default;
  friend constexpr Address operator+(Address a, uint64_t n) { return Address(a.value + n); }
  friend constexpr Address operator-(Address a, uint64_t n) { return Address(a.value - n); }
  friend constexpr uint64_t operator-(Address a, Address b) { return a.value - b.value; }
  constexpr uint64_t page_offset() const { return value & (kPageSize - 1); }
};

using Gva = Address<struct GvaTag>;
using Gpa = Address<struct GpaTag>;
using Gfn = Address<struct GfnTag>;

constexpr Gfn ToGfn(Gpa a) { return Gfn(a.value >> kPageShift); }
constexpr Gpa ToGpa(Gfn f) { return Gpa(f.value << kPageShift); }

}  // namespace atl

#endif  // LIB_MEM_ADDRESS_H_
