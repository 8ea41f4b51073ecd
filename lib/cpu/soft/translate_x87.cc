// SPDX-License-Identifier: Apache-2.0
// Which x87 instructions are executed in line: all but those that set the control
// word, and with it perhaps unmask exceptions, or move the whole state.
#include <cstdint>

#include "lib/cpu/soft/translate_table.h"

namespace atl::cpu::soft {
namespace {

// [opcode - D8][ModRM.reg] of the memory forms: r read, w written, - not here.
constexpr char kMemory[8][9] = {
    "rrrrrrrr",  // D8: arithmetic with 32-bit reals
    "r-ww---w",  // D9: FLD, FST, FSTP m32; FLDENV, FLDCW, FNSTENV; FNSTCW
    "rrrrrrrr",  // DA: arithmetic with 32-bit integers
    "rwww-r-w",  // DB: FILD, FISTTP, FIST, FISTP m32; FLD, FSTP m80
    "rrrrrrrr",  // DC: arithmetic with 64-bit reals
    "rwww---w",  // DD: FLD, FISTTP, FST, FSTP m64; FRSTOR, FNSAVE; FNSTSW
    "rrrrrrrr",  // DE: arithmetic with 16-bit integers
    "rwwwrrww",  // DF: FILD, FISTTP, FIST, FISTP m16; FBLD, FILD m64, FBSTP, FISTP m64
};

// ZF, PF and CF; the other three are cleared.
constexpr uint16_t kCompareReads[4] = {0x001, 0x040, 0x041, 0x004};  // B, E, BE, U

}  // namespace

OpInfo ClassifyX87(const Parsed& p) {
  OpInfo o;
  const unsigned row = p.opcode - 0xD8u, ext = p.modrm >> 3 & 7;
  o.x87 = true;
  if (p.modrm < 0xC0) {
    const char use = kMemory[row][ext];
    if (use == '-') return OpInfo();
    o.form = Form::kModrm;
    o.rm_file = File::kVector;  // no general register
    o.rm = use == 'r' ? kRead : kWrite;
    return o;
  }
  o.form = Form::kVerbatim;
  // FNCLEX, FNINIT and what was for the 8087 and 80287.
  if (p.opcode == 0xDB && ext == 4) return OpInfo();
  // FCMOVcc.
  if ((p.opcode == 0xDA || p.opcode == 0xDB) && ext < 4) o.reads = kCompareReads[ext];
  // FUCOMI, FCOMI and those that pop.
  if ((p.opcode == 0xDB || p.opcode == 0xDF) && (ext == 5 || ext == 6)) o.writes = kAllFlags;
  return o;
}

}  // namespace atl::cpu::soft
