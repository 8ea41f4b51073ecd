// SPDX-License-Identifier: Apache-2.0
// Which instructions on XMM and YMM registers, and which BMI ones, are executed in
// line: XMM n and YMM n are the host's while translated code runs.
#include <algorithm>
#include <cstdint>
#include <iterator>

#include "lib/cpu/soft/translate_table.h"

namespace atl::cpu::soft {
namespace {

// Mandatory prefixes as VEX numbers them: none, 66, F3, F2.
enum : uint8_t { kNone = 1, k66 = 2, kF3 = 4, kF2 = 8, kAny = 15 };

enum class Shape : uint8_t {
  kLoad,      // reg is a vector, rm a vector or memory, read
  kStore,     // rm is written
  kShift,     // rm is a vector register, reg an extension
  kFromGpr,   // rm is a general register or memory, read
  kToGprRm,   // rm is a general register or memory, written
  kToGpr,     // reg is a general register, rm a vector
  kStoreGpr,  // MOVNTI
  kCompare,   // as kLoad, writes the arithmetic flags
  kBare,      // no ModRM: VZEROUPPER
};

struct Row {
  uint8_t map, first, last, prefixes;
  Shape shape;
  bool legacy, vex;
  bool unaligned = false;  // legacy 16-byte memory operands need no alignment
  bool aligned = false;    // VEX memory operands do
};

// Whatever has MMX registers, faults by element or uses RCX is not here.
constexpr Row kRows[] = {
    {1, 0x10, 0x10, kAny, Shape::kLoad, true, true, true},
    {1, 0x11, 0x11, kAny, Shape::kStore, true, true, true},
    {1, 0x12, 0x12, kAny, Shape::kLoad, true, true},
    {1, 0x13, 0x13, kNone | k66, Shape::kStore, true, true},
    {1, 0x14, 0x15, kNone | k66, Shape::kLoad, true, true},
    {1, 0x16, 0x16, kNone | k66 | kF3, Shape::kLoad, true, true},
    {1, 0x17, 0x17, kNone | k66, Shape::kStore, true, true},
    {1, 0x28, 0x28, kNone | k66, Shape::kLoad, true, true, false, true},
    {1, 0x29, 0x29, kNone | k66, Shape::kStore, true, true, false, true},
    {1, 0x2A, 0x2A, kF3 | kF2, Shape::kFromGpr, true, true},
    {1, 0x2B, 0x2B, kNone | k66, Shape::kStore, true, true, false, true},
    {1, 0x2C, 0x2D, kF3 | kF2, Shape::kToGpr, true, true},
    {1, 0x2E, 0x2F, kNone | k66, Shape::kCompare, true, true},
    {1, 0x50, 0x50, kNone | k66, Shape::kToGpr, true, true},
    {1, 0x51, 0x51, kAny, Shape::kLoad, true, true},
    {1, 0x52, 0x53, kNone | kF3, Shape::kLoad, true, true},
    {1, 0x54, 0x57, kNone | k66, Shape::kLoad, true, true},
    {1, 0x58, 0x5A, kAny, Shape::kLoad, true, true},
    {1, 0x5B, 0x5B, kNone | k66 | kF3, Shape::kLoad, true, true},
    {1, 0x5C, 0x5F, kAny, Shape::kLoad, true, true},
    {1, 0x60, 0x6D, k66, Shape::kLoad, true, true},
    {1, 0x6E, 0x6E, k66, Shape::kFromGpr, true, true},
    {1, 0x6F, 0x6F, k66, Shape::kLoad, true, true, false, true},
    {1, 0x6F, 0x6F, kF3, Shape::kLoad, true, true, true},
    {1, 0x70, 0x70, k66 | kF3 | kF2, Shape::kLoad, true, true},
    {1, 0x71, 0x73, k66, Shape::kShift, true, true},
    {1, 0x74, 0x76, k66, Shape::kLoad, true, true},
    {1, 0x77, 0x77, kNone, Shape::kBare, false, true},
    {1, 0x7C, 0x7D, k66 | kF2, Shape::kLoad, true, true},
    {1, 0x7E, 0x7E, k66, Shape::kToGprRm, true, true},
    {1, 0x7E, 0x7E, kF3, Shape::kLoad, true, true},
    {1, 0x7F, 0x7F, k66, Shape::kStore, true, true, false, true},
    {1, 0x7F, 0x7F, kF3, Shape::kStore, true, true, true},
    {1, 0xC2, 0xC2, kAny, Shape::kLoad, true, true},
    {1, 0xC3, 0xC3, kNone, Shape::kStoreGpr, true, false},
    {1, 0xC4, 0xC4, k66, Shape::kFromGpr, true, true},
    {1, 0xC5, 0xC5, k66, Shape::kToGpr, true, true},
    {1, 0xC6, 0xC6, kNone | k66, Shape::kLoad, true, true},
    {1, 0xD0, 0xD0, k66 | kF2, Shape::kLoad, true, true},
    {1, 0xD1, 0xD5, k66, Shape::kLoad, true, true},
    {1, 0xD6, 0xD6, k66, Shape::kStore, true, true},
    {1, 0xD7, 0xD7, k66, Shape::kToGpr, true, true},
    {1, 0xD8, 0xE5, k66, Shape::kLoad, true, true},
    {1, 0xE6, 0xE6, k66 | kF3 | kF2, Shape::kLoad, true, true},
    {1, 0xE7, 0xE7, k66, Shape::kStore, true, true, false, true},
    {1, 0xE8, 0xEF, k66, Shape::kLoad, true, true},
    {1, 0xF0, 0xF0, kF2, Shape::kLoad, true, true, true},
    {1, 0xF1, 0xF6, k66, Shape::kLoad, true, true},
    {1, 0xF8, 0xFE, k66, Shape::kLoad, true, true},
    {2, 0x00, 0x0B, k66, Shape::kLoad, true, true},
    {2, 0x0C, 0x0D, k66, Shape::kLoad, false, true},
    {2, 0x0E, 0x0F, k66, Shape::kCompare, false, true},
    {2, 0x10, 0x10, k66, Shape::kLoad, true, false},
    {2, 0x13, 0x13, k66, Shape::kLoad, false, true},
    {2, 0x14, 0x15, k66, Shape::kLoad, true, false},
    {2, 0x16, 0x16, k66, Shape::kLoad, false, true},
    {2, 0x17, 0x17, k66, Shape::kCompare, true, true},
    {2, 0x18, 0x1A, k66, Shape::kLoad, false, true},
    {2, 0x1C, 0x1E, k66, Shape::kLoad, true, true},
    {2, 0x20, 0x25, k66, Shape::kLoad, true, true},
    {2, 0x28, 0x29, k66, Shape::kLoad, true, true},
    {2, 0x2A, 0x2A, k66, Shape::kLoad, true, true, false, true},
    {2, 0x2B, 0x2B, k66, Shape::kLoad, true, true},
    {2, 0x30, 0x35, k66, Shape::kLoad, true, true},
    {2, 0x36, 0x36, k66, Shape::kLoad, false, true},
    {2, 0x37, 0x41, k66, Shape::kLoad, true, true},
    {2, 0x45, 0x47, k66, Shape::kLoad, false, true},
    {2, 0x58, 0x5A, k66, Shape::kLoad, false, true},
    {2, 0x78, 0x79, k66, Shape::kLoad, false, true},
    {2, 0x96, 0x9F, k66, Shape::kLoad, false, true},
    {2, 0xA6, 0xAF, k66, Shape::kLoad, false, true},
    {2, 0xB6, 0xBF, k66, Shape::kLoad, false, true},
    {2, 0xC8, 0xCD, kNone, Shape::kLoad, true, false},
    {2, 0xDB, 0xDF, k66, Shape::kLoad, true, true},
    {3, 0x00, 0x02, k66, Shape::kLoad, false, true},
    {3, 0x04, 0x06, k66, Shape::kLoad, false, true},
    {3, 0x08, 0x0F, k66, Shape::kLoad, true, true},
    {3, 0x14, 0x17, k66, Shape::kToGprRm, true, true},
    {3, 0x18, 0x18, k66, Shape::kLoad, false, true},
    {3, 0x19, 0x19, k66, Shape::kStore, false, true},
    {3, 0x1D, 0x1D, k66, Shape::kStore, false, true},
    {3, 0x20, 0x20, k66, Shape::kFromGpr, true, true},
    {3, 0x21, 0x21, k66, Shape::kLoad, true, true},
    {3, 0x22, 0x22, k66, Shape::kFromGpr, true, true},
    {3, 0x38, 0x38, k66, Shape::kLoad, false, true},
    {3, 0x39, 0x39, k66, Shape::kStore, false, true},
    {3, 0x40, 0x42, k66, Shape::kLoad, true, true},
    {3, 0x44, 0x44, k66, Shape::kLoad, true, true},
    {3, 0x46, 0x46, k66, Shape::kLoad, false, true},
    {3, 0x4A, 0x4C, k66, Shape::kLoad, false, true},
    {3, 0xCC, 0xCC, kNone, Shape::kLoad, true, false},
    {3, 0xDF, 0xDF, k66, Shape::kLoad, true, true},
};

// The first row of each opcode, or the end.
struct RowIndex {
  const Row* first[4][256];
  RowIndex() {
    for (auto& map : first) std::fill(std::begin(map), std::end(map), std::end(kRows));
    for (const Row* row = std::end(kRows); row-- != kRows;) {
      for (unsigned opcode = row->first; opcode <= row->last; ++opcode)
        first[row->map][opcode] = row;
    }
  }
};

uint8_t PrefixOf(const Parsed& p) {
  static constexpr uint8_t kByVex[4] = {kNone, k66, kF3, kF2};
  if (p.vex) return kByVex[p.vex_pp];
  if (p.prefix == 0xF3) return kF3;
  if (p.prefix == 0xF2) return kF2;
  return p.size16 ? k66 : kNone;
}

OpInfo Shaped(const Row& row, const Insn& in, const Parsed& p) {
  OpInfo o;
  o.form = Form::kModrm;
  o.vector = true;
  o.reg_file = o.rm_file = File::kVector;
  o.reg = kReadWrite;
  o.rm = kRead;
  switch (row.shape) {
    case Shape::kLoad:
      break;
    case Shape::kCompare:
      o.writes = kAllFlags;
      break;
    case Shape::kStore:
      o.reg = kRead;
      o.rm = kWrite;
      break;
    case Shape::kShift:
      if (in.has_mem) return OpInfo();
      o.reg_file = File::kNone;
      o.rm = kReadWrite;
      break;
    case Shape::kFromGpr:
      o.rm_file = File::kGpr;
      break;
    case Shape::kToGprRm:
      o.rm_file = File::kGpr;
      o.reg = kRead;
      o.rm = kWrite;
      o.whole_register = true;
      break;
    case Shape::kToGpr:
      o.reg_file = File::kGpr;
      o.reg = kWrite;
      break;
    case Shape::kStoreGpr:
      o.vector = false;
      o.reg_file = o.rm_file = File::kGpr;
      o.reg = kRead;
      o.rm = kWrite;
      break;
    case Shape::kBare:
      o.form = Form::kVerbatim;
      return o;
  }
  if (p.vex ? row.aligned : in.mem_size == 16 && !row.unaligned) o.align = in.mem_size;
  return o;
}

// BMI1 and BMI2: VEX with general registers.
OpInfo ClassifyBmi(const Parsed& p) {
  OpInfo o;
  o.reg_file = o.rm_file = File::kGpr;
  o.reg = kWrite;
  o.rm = kRead;
  o.vvvv = kRead;
  const uint8_t prefix = PrefixOf(p);
  if (p.vex_l) return OpInfo();
  if (p.map == 3) {
    if (p.opcode != 0xF0 || prefix != kF2) return OpInfo();
    o.vvvv = kUnused;  // RORX
    o.form = Form::kModrm;
    return o;
  }
  if (p.map != 2) return OpInfo();
  switch (p.opcode) {
    case 0xF2:  // ANDN
      if (prefix != kNone) return OpInfo();
      o.writes = kAllFlags;
      break;
    case 0xF3:  // BLSR, BLSMSK, BLSI: the destination is VEX.vvvv
      if (prefix != kNone) return OpInfo();
      o.reg_file = File::kNone;
      o.reg = kUnused;
      o.vvvv = kWrite;
      o.writes = kAllFlags;
      break;
    case 0xF5:  // BZHI; PDEP, PEXT
      if (prefix == kNone) o.writes = kAllFlags;
      if (prefix == k66) return OpInfo();
      break;
    case 0xF7:  // BEXTR; SHLX, SARX, SHRX
      if (prefix == kNone) o.writes = kAllFlags;
      break;
    default:  // MULX has three registers beside RDX
      return OpInfo();
  }
  o.form = Form::kModrm;
  return o;
}

}  // namespace

OpInfo ClassifyVector(const Insn& in, const Parsed& p) {
  if (p.map < 1 || p.map > 3 || p.lock) return OpInfo();
  const uint8_t prefix = PrefixOf(p);
  static const RowIndex& index = *new RowIndex;
  for (const Row* row = index.first[p.map][p.opcode]; row != std::end(kRows); ++row) {
    if (row->map != p.map || p.opcode < row->first) break;  // they are in order
    if (p.opcode <= row->last && (row->prefixes & prefix) != 0 && (p.vex ? row->vex : row->legacy))
      return Shaped(*row, in, p);
  }
  return p.vex ? ClassifyBmi(p) : OpInfo();
}

}  // namespace atl::cpu::soft
