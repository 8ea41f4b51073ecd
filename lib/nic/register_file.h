// SPDX-License-Identifier: Apache-2.0
// A card's registers as data. An access of any offset and size is laid over the
// table: each register that it touches is read or written once, whole, and what
// lies between registers reads as zero and ignores writes.
#ifndef LIB_NIC_REGISTER_FILE_H_
#define LIB_NIC_REGISTER_FILE_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/dev/state.h"

namespace atl::nic {

struct RegisterSpec {
  uint32_t offset = 0;
  uint8_t width = 4;  // bytes: 1, 2 or 4
  uint32_t reset = 0;
  uint32_t writable = 0;  // bits that the guest can change
  uint32_t clear = 0;     // bits that the guest clears by writing ones
};

// Registers are known by their place in the table, which is sorted by offset and
// outlives the file. `Reg` is an enum of these places.
template <typename Reg>
class RegisterFile {
 public:
  explicit RegisterFile(std::span<const RegisterSpec> table) : table_(table), value_(table.size()) {
    Reset();
  }

  void Reset() {
    for (size_t i = 0; i < table_.size(); ++i) value_[i] = table_[i].reset;
  }
  void Reset(Reg reg) { value_[reg] = table_[reg].reset; }

  uint32_t operator[](Reg reg) const { return value_[reg]; }
  uint32_t& operator[](Reg reg) { return value_[reg]; }
  bool Has(Reg reg, uint32_t bits) const { return (value_[reg] & bits) != 0; }

  // `read(reg)` gives the value of a register that is touched.
  template <typename ReadRegister>
  uint64_t Read(uint64_t offset, unsigned size, ReadRegister&& read) const {
    uint64_t out = 0;
    Touch(offset, size, [&](size_t i, unsigned shift, unsigned at, unsigned bytes) {
      const uint64_t v = uint64_t{read(static_cast<Reg>(i))} >> 8 * shift;
      out |= (v & Ones(bytes)) << 8 * at;
    });
    return out;
  }

  // `write(reg, value, old)` after the value is stored: masks applied, bytes that
  // the access did not reach as they were.
  template <typename WroteRegister>
  void Write(uint64_t offset, unsigned size, uint64_t value, WroteRegister&& wrote) {
    Touch(offset, size, [&](size_t i, unsigned shift, unsigned at, unsigned bytes) {
      const RegisterSpec& spec = table_[i];
      const uint32_t reached = static_cast<uint32_t>(Ones(bytes) << 8 * shift);
      const uint32_t given = static_cast<uint32_t>((value >> 8 * at & Ones(bytes)) << 8 * shift);
      const uint32_t mask = spec.writable & reached;
      const uint32_t old = value_[i];
      value_[i] = ((old & ~mask) | (given & mask)) & ~(given & spec.clear);
      wrote(static_cast<Reg>(i), given, old);
    });
  }

  void VisitState(dev::StateVisitor& v) {
    v.Bytes("registers", {reinterpret_cast<uint8_t*>(value_.data()), value_.size() * 4});
  }

 private:
  static constexpr uint64_t Ones(unsigned bytes) { return (uint64_t{1} << 8 * bytes) - 1; }

  // touch(register, its first byte, that byte's place in the access, bytes).
  template <typename F>
  void Touch(uint64_t offset, unsigned size, F&& touch) const {
    const uint64_t end = offset + size;
    auto it = std::partition_point(table_.begin(), table_.end(), [&](const RegisterSpec& r) {
      return uint64_t{r.offset} + r.width <= offset;
    });
    for (; it != table_.end() && it->offset < end; ++it) {
      const uint64_t from = std::max<uint64_t>(it->offset, offset);
      const uint64_t to = std::min<uint64_t>(uint64_t{it->offset} + it->width, end);
      touch(static_cast<size_t>(it - table_.begin()), static_cast<unsigned>(from - it->offset),
            static_cast<unsigned>(from - offset), static_cast<unsigned>(to - from));
    }
  }

  std::span<const RegisterSpec> table_;
  std::vector<uint32_t> value_;
};

}  // namespace atl::nic

#endif  // LIB_NIC_REGISTER_FILE_H_
