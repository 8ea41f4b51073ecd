// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/generator.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "tests/cpu/native_executor.h"

namespace atl::cpu::test {
namespace {

constexpr size_t kEncodingsPerForm = 48;

const char* KindOf(const ZydisDecodedOperand& o) {
  switch (o.type) {
    case ZYDIS_OPERAND_TYPE_MEMORY:
      return "mem";
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
      return "imm";
    case ZYDIS_OPERAND_TYPE_REGISTER:
      switch (ZydisRegisterGetClass(o.reg.value)) {
        case ZYDIS_REGCLASS_GPR8:
          return o.reg.value >= ZYDIS_REGISTER_AH && o.reg.value <= ZYDIS_REGISTER_BH ? "high"
                                                                                      : "gpr";
        case ZYDIS_REGCLASS_XMM:
          return "xmm";
        case ZYDIS_REGCLASS_YMM:
          return "ymm";
        case ZYDIS_REGCLASS_MMX:
          return "mm";
        case ZYDIS_REGCLASS_X87:
          return "st";
        case ZYDIS_REGCLASS_SEGMENT:
          return "seg";
        default:
          return "gpr";
      }
    default:
      return "ptr";
  }
}

std::string FormName(const Decoded& d) {
  std::string name;
  if (d.insn.attributes & ZYDIS_ATTRIB_HAS_LOCK) name += "lock ";
  if (d.insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) name += "rep ";
  if (d.insn.attributes & ZYDIS_ATTRIB_HAS_REPNE) name += "repne ";
  name += ZydisMnemonicGetString(d.insn.mnemonic);
  for (unsigned i = 0; i < d.insn.operand_count_visible; i++) {
    name += std::string(" ") + KindOf(d.operands[i]) + std::to_string(d.operands[i].size);
  }
  return name;
}

bool IsBranch(const Decoded& d) {
  switch (d.insn.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
      return true;
    default:
      return false;
  }
}

bool IsPrefix(unsigned byte) {
  switch (byte) {
    case 0x26:
    case 0x2E:
    case 0x36:
    case 0x3E:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xF0:
    case 0xF2:
    case 0xF3:
      return true;
    default:
      return (byte & 0xF0) == 0x40;
  }
}

// What takes the components' bits from EDX:EAX: the host has more of them.
bool IsXsave(const Decoded& d) {
  switch (d.insn.meta.isa_ext) {
    case ZYDIS_ISA_EXT_XSAVE:
    case ZYDIS_ISA_EXT_XSAVEC:
    case ZYDIS_ISA_EXT_XSAVEOPT:
      return true;
    default:
      return false;
  }
}

bool IsMasked(const Decoded& d) {
  switch (d.insn.mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
      return true;
    default:
      return false;
  }
}

// Whether what follows in a block is as good as alone.
bool FitsBlock(const Decoded& d) {
  switch (d.insn.mnemonic) {
    case ZYDIS_MNEMONIC_RDFSBASE:  // makes the C library's data reachable
    case ZYDIS_MNEMONIC_POPF:      // sets AC: misaligned and absent is either fault
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_MASKMOVQ:  // may fault for bytes that are masked out
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
      return false;
    default:
      return !IsBranch(d) && !IsXsave(d);
  }
}

// The linear memory operand that is accessed, visible or not.
const ZydisDecodedOperand* MemoryOf(const Decoded& d) {
  for (unsigned i = 0; i < d.insn.operand_count_visible; i++) {
    if (d.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) return &d.operands[i];
  }
  return nullptr;
}

}  // namespace

Generator::Generator(uint64_t seed, Filter filter)
    : random_(seed), filter_(std::move(filter)), fs_base_(NativeFsBase()) {
  ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  RefreshData();
  FindForms();
  FindVexForms();
}

bool Generator::Decode(const std::vector<uint8_t>& code, Decoded* out) const {
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&decoder_, code.data(), code.size(), &out->insn, out->operands))) {
    return false;
  }
  for (unsigned i = 0; i < out->insn.operand_count; i++) {
    ZydisDecodedOperand& o = out->operands[i];
    if (o.type == ZYDIS_OPERAND_TYPE_MEMORY && o.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM &&
        (out->insn.attributes & ZYDIS_ATTRIB_HAS_SIB) && out->insn.raw.modrm.mod == 0 &&
        out->insn.raw.sib.base == 5) {
      // Zydis 4.0 takes REX.B for a base register.
      o.mem.base = ZYDIS_REGISTER_NONE;
      o.mem.disp.value = out->insn.raw.disp.value;
    }
  }
  return true;
}

void Generator::FindForms() {
  static const std::vector<uint8_t> kPrefixes[] = {
      {}, {0x66}, {0xF2}, {0xF3}, {0x66, 0xF2}, {0x66, 0xF3}, {0xF0}, {0x66, 0xF0}};
  static const std::vector<uint8_t> kRex[] = {{}, {0x40}, {0x48}};
  static const std::vector<uint8_t> kMaps[] = {{}, {0x0F}, {0x0F, 0x38}, {0x0F, 0x3A}};
  for (const auto& prefix : kPrefixes) {
    for (const auto& rex : kRex) {
      for (const auto& map : kMaps) {
        for (unsigned opcode = 0; opcode < 256; opcode++) {
          if (map.empty() && IsPrefix(opcode)) continue;
          std::vector<uint8_t> head = prefix;
          head.insert(head.end(), rex.begin(), rex.end());
          head.insert(head.end(), map.begin(), map.end());
          head.push_back(static_cast<uint8_t>(opcode));
          // A memory form and the register forms of each ModRM.reg.
          for (unsigned modrm = 0; modrm < 256; modrm++) {
            if (modrm >= 0x40 && modrm < 0xC0) continue;
            if (modrm < 0x40 && (modrm & 7) != 1) continue;
            std::vector<uint8_t> code = head;
            code.push_back(static_cast<uint8_t>(modrm));
            if (AddEncoding(std::move(code), head.size())) break;
          }
        }
      }
    }
  }
}

bool Generator::AddEncoding(std::vector<uint8_t> code, size_t head_size) {
  const size_t size = code.size();
  code.resize(std::min<size_t>(15, size + 9), 0x11);
  Decoded d;
  if (!Decode(code, &d)) return false;
  const bool has_modrm = d.insn.attributes & ZYDIS_ATTRIB_HAS_MODRM;
  if (has_modrm && d.insn.raw.modrm.offset + 1u != size) return false;
  if (!filter_(d)) return false;
  const std::string name = FormName(d);
  auto [it, is_new] = known_.emplace(name, forms_.size());
  if (is_new) {
    forms_.push_back(
        {name, d.insn.mnemonic, {}, d.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX, 0});
  }
  Form& form = forms_[it->second];
  code.resize(has_modrm ? size : head_size);
  if (form.encodings.size() < kEncodingsPerForm) {
    form.encodings.push_back(std::move(code));
  } else if (random_.Percent(20)) {
    form.encodings[random_.Below(kEncodingsPerForm)] = std::move(code);
  }
  if (is_new && FitsBlock(d)) straight_.push_back(it->second);
  return !has_modrm;
}

void Generator::FindVexForms() {
  for (unsigned map = 1; map <= 3; map++) {
    for (unsigned bits = 0; bits < 16; bits++) {  // W, L and pp
      for (unsigned opcode = 0; opcode < 256; opcode++) {
        for (unsigned modrm = 0; modrm < 256; modrm++) {
          if (modrm >= 0x40 && modrm < 0xC0) continue;
          // Memory with and without SIB, and registers.
          if ((modrm & 7) != 1 && !(modrm < 0x40 && (modrm & 7) == 4)) continue;
          const unsigned w = bits >> 3;
          const std::vector<uint8_t> head = {0xC4, static_cast<uint8_t>(0xE0 | map),
                                             static_cast<uint8_t>(w << 7 | 0x78 | (bits & 7)),
                                             static_cast<uint8_t>(opcode)};
          std::vector<uint8_t> code = head;
          code.push_back(static_cast<uint8_t>(modrm));
          AddEncoding(std::move(code), head.size());
        }
      }
    }
  }
}

uint64_t Generator::RandomWord() {
  switch (random_.Below(8)) {
    case 0:
      return random_.Below(64);
    case 1:
      return ~uint64_t{random_.Below(64)};
    case 2: {
      static constexpr uint64_t kEdges[] = {0x7F,
                                            0x80,
                                            0xFF,
                                            0x7FFF,
                                            0x8000,
                                            0xFFFF,
                                            0x7FFFFFFF,
                                            0x80000000,
                                            0xFFFFFFFF,
                                            0x7FFFFFFFFFFFFFFF,
                                            0x8000000000000000};
      return kEdges[random_.Below(std::size(kEdges))];
    }
    case 3:
      return uint64_t{1} << random_.Below(64);
    case 4: {  // two floats
      auto f = [&] {
        switch (random_.Below(7)) {
          case 0:
            return 0x7F800000u | random_.Below(2) << 31;
          case 1:
            return 0x7F800000u | static_cast<uint32_t>(random_.Next() >> 32);
          case 2:
            return static_cast<uint32_t>(random_.Next()) & 0x807FFFFF;
          case 3:
            return random_.Below(2) << 31;
          default:
            return (random_.Below(2) << 31) | ((100 + random_.Below(56)) << 23) |
                   (random_.Percent(50) ? 0 : random_.Below(1 << 23));
        }
      };
      return uint64_t{f()} << 32 | f();
    }
    case 5: {  // a double
      const uint64_t sign = random_.Next() & 0x8000000000000000;
      switch (random_.Below(7)) {
        case 0:
          return sign | 0x7FF0000000000000;
        case 1:
          return sign | 0x7FF0000000000000 | random_.Next() >> 12;
        case 2:
          return sign | random_.Next() >> 12;
        case 3:
          return sign;
        default:
          return sign | uint64_t{990 + random_.Below(70)} << 52 |
                 (random_.Percent(50) ? 0 : random_.Next() >> 12);
      }
    }
    default:
      return random_.Next();
  }
}

void Generator::RefreshData() {
  for (size_t i = 0; i < data_.size(); i += 8) {
    const uint64_t v = RandomWord();
    memcpy(&data_[i], &v, 8);
  }
}

void Generator::RandomFpu(uint8_t* fx) {
  auto put16 = [&](unsigned at, unsigned v) { memcpy(fx + at, &v, 2); };
  memset(fx, 0, 512);
  unsigned fcw = 0x37F;
  if (random_.Percent(30)) fcw = random_.Below(0x1000) | 0x40;
  fcw = (fcw & 0xF7F) | 0x40;
  // Status: condition codes, top, and flags; the summary bits follow from these.
  unsigned fsw = random_.Below(0x10000) & 0x7F00;
  if (random_.Percent(20)) fsw |= random_.Below(0x80) & (random_.Percent(80) ? fcw | 0x40 : 0x7F);
  if (fsw & ~fcw & 0x3F) fsw |= 0x8080;
  put16(0, fcw);
  put16(2, fsw);
  fx[4] = random_.Percent(60) ? 0xFF : static_cast<uint8_t>(random_.Next());
  unsigned mxcsr = 0x1F80;
  if (random_.Percent(30)) mxcsr = random_.Below(0x10000);
  if (random_.Percent(20)) mxcsr = 0x1F80 | random_.Below(0x10000);
  memcpy(fx + 24, &mxcsr, 4);
  for (unsigned i = 0; i < 8; i++) {
    uint64_t mantissa = random_.Next() | 0x8000000000000000;
    uint16_t exponent = static_cast<uint16_t>(0x3FFF - 40 + random_.Below(80));
    switch (random_.Below(16)) {
      case 0:
        exponent = 0;
        mantissa = 0;
        break;
      case 1:
        exponent = 0x7FFF;
        mantissa = 0x8000000000000000;
        break;
      case 2:
        exponent = 0x7FFF;
        break;
      case 3:  // denormals, unnormals, anything
        exponent = static_cast<uint16_t>(random_.Percent(50) ? 0 : random_.Next());
        mantissa = random_.Next();
        break;
      case 4:
        exponent = 0x3FFF;
        mantissa = 0x8000000000000000;
        break;
      case 5:
        exponent = static_cast<uint16_t>(random_.Below(0x8000));
        break;
      case 6:
        mantissa &= 0xFFFF000000000000;
        break;
      default:
        break;
    }
    if (random_.Percent(40)) exponent |= 0x8000;
    memcpy(fx + 32 + 16 * i, &mantissa, 8);
    memcpy(fx + 32 + 16 * i + 8, &exponent, 2);
  }
  for (unsigned i = 0; i < 32; i++) {
    const uint64_t v = RandomWord();
    memcpy(fx + 160 + 8 * i, &v, 8);
  }
}

uint64_t Generator::TargetAddress(unsigned align, bool edge) {
  const uint32_t kind = edge ? 75 + random_.Below(22) : random_.Below(100);
  uint64_t at;
  if (kind < 60) {
    at = kDataAt + random_.Below(2 * kPage / 64) * 64;
    if (random_.Percent(40)) at += 16 * random_.Below(4);
  } else if (kind < 75) {
    at = kDataAt + random_.Below(2 * kPage - 64);
  } else if (kind < 84) {
    at = kDataAt + kPage - 1 - random_.Below(36);
  } else if (kind < 90) {
    at = kReadOnlyAt + random_.Below(kPage - 64);
  } else if (kind < 94) {
    at = kReadOnlyAt - 1 - random_.Below(36);
  } else if (kind < 97) {
    at = (random_.Percent(50) ? kDataAt : kDataAt + kDataBytes) - random_.Below(36);
  } else if (kind < 98) {
    at = kDataAt + kDataBytes + random_.Below(kPage);
  } else {
    at = kDataAt + 8 * random_.Below(kPage / 8) + (random_.Percent(50) ? 0x8000000000000000 : 0);
  }
  return align != 0 ? at & ~uint64_t{align - 1} : at;
}

void Generator::RandomRegisters(Registers* r) {
  for (uint64_t& g : r->gpr) {
    g = RandomWord();
    if (random_.Percent(15)) g = kCodeAt + random_.Below(kCodeBytes);
  }
  // What string, stack and translation instructions use without naming it.
  r->gpr[4] = kDataAt + 8 * (64 + random_.Below(kPage / 8));
  if (random_.Percent(8)) r->gpr[4] = TargetAddress(0);
  for (unsigned n : {3, 5, 6, 7}) {
    if (random_.Percent(70)) r->gpr[n] = TargetAddress(random_.Percent(50) ? 16 : 0);
  }
  r->rflags = 2 | (random_.Next() & 0x8D5) | (random_.Percent(30) ? 0x400 : 0);
  RandomFpu(r->fx);
  const bool zero = random_.Percent(10);
  for (unsigned i = 0; i < 32; i++) {
    const uint64_t v = zero ? 0 : RandomWord();
    memcpy(r->ymm_high[0] + 8 * i, &v, 8);
  }
}

// How the operand's address shall be aligned this time, 0 for not.
unsigned Generator::AlignmentOf(const Decoded& d) {
  const unsigned size = MemoryOf(d)->size / 8;
  if (IsXsave(d)) return random_.Percent(90) ? 64 : 0;
  if (d.insn.meta.isa_set == ZYDIS_ISA_SET_SHA) return 16;
  if (d.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
    const bool must = d.insn.meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX1;
    return random_.Percent(must ? 85 : 30) ? size & -size : 0;
  }
  const bool sse = d.insn.meta.exception_class != ZYDIS_EXCEPTION_CLASS_NONE ||
                   d.insn.meta.isa_set == ZYDIS_ISA_SET_FXSAVE ||
                   d.insn.meta.isa_set == ZYDIS_ISA_SET_FXSAVE64;
  return sse && random_.Percent(85) ? 16 : 0;
}

// Each lane of the index points near somewhere of interest.
bool Generator::AimGather(const Decoded& d, Case* c) {
  const ZydisDecodedOperand& m = *MemoryOf(d);
  if (m.mem.base == ZYDIS_REGISTER_NONE) return false;
  uint64_t target = TargetAddress(0, random_.Percent(20)) - static_cast<uint64_t>(m.mem.disp.value);
  if (m.mem.segment == ZYDIS_REGISTER_FS) target -= fs_base_;
  if (m.mem.segment == ZYDIS_REGISTER_GS) target -= kGsBase;
  c->start.gpr[ZydisRegisterGetId(m.mem.base)] = target;
  const unsigned index = static_cast<unsigned>(ZydisRegisterGetId(m.mem.index));
  uint8_t* const halves[] = {c->start.fx + 160 + 16 * index, c->start.ymm_high[index]};
  const std::string name = ZydisMnemonicGetString(d.insn.mnemonic);
  const bool dwords = name.find("gatherd") != std::string::npos;
  for (uint8_t* half : halves) {
    for (unsigned at = 0; at < 16; at += dwords ? 4 : 8) {
      int64_t lane = static_cast<int64_t>(random_.Below(200)) - 100;
      if (random_.Percent(1)) lane = static_cast<int64_t>(RandomWord());
      memcpy(half + at, &lane, dwords ? 4 : 8);
    }
  }
  return true;
}

bool Generator::PrepareXsave(const Decoded& d, Case* c) {
  const ZydisDecodedOperand* m = MemoryOf(d);
  if (m == nullptr) return true;
  for (ZydisRegister r : {m->mem.base, m->mem.index}) {
    if (r == ZYDIS_REGISTER_NONE || r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP) continue;
    const int id = ZydisRegisterGetId(r);
    if (id == 0 || id == 2) return false;
  }
  c->start.gpr[0] &= 7;
  c->start.gpr[2] &= ~uint64_t{0xFFFFFFFF};
  for (auto& high : c->start.ymm_high) high[0] |= 1;  // no component as after reset
  return true;
}

// What XRSTOR looks at first, valid mostly.
void Generator::WriteXsaveHeader(uint64_t area_at) {
  if (area_at < kDataAt || area_at + 576 > kDataAt + kDataBytes) return;
  uint8_t* area = &data_[area_at - kDataAt];
  uint64_t header[8] = {};
  header[0] = random_.Below(8);
  if (random_.Percent(5)) header[0] |= uint64_t{1} << (62 + random_.Below(2));
  if (random_.Percent(45)) header[1] = uint64_t{1} << 63 | header[0] | random_.Below(8);
  if (random_.Percent(4)) header[1] ^= uint64_t{1} << random_.Below(3);
  if (random_.Percent(4)) header[1] |= uint64_t{1} << 62;
  if (random_.Percent(8)) header[2 + random_.Below(6)] = random_.Next();
  memcpy(area + 512, header, sizeof header);
  const uint32_t mxcsr = random_.Percent(90) ? random_.Below(0x10000) : 1u << random_.Below(17);
  memcpy(area + 24, &mxcsr, 4);
}

bool Generator::Aim(const Decoded& d, size_t at, Case* c) {
  const ZydisDecodedOperand* m = MemoryOf(d);
  if (m == nullptr) return true;
  if (d.insn.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER) return AimGather(d, c);
  // AMD's processors take SHA operands anywhere, Intel's aligned ones only.
  const bool sha = d.insn.meta.isa_set == ZYDIS_ISA_SET_SHA;
  uint64_t target = TargetAddress(AlignmentOf(d), IsMasked(d) && random_.Percent(50));
  if (IsXsave(d)) {
    c->area_at = target & ~(uint64_t{1} << 63);
    if (d.insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR || d.insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR64)
      WriteXsaveHeader(target);
  }
  if (m->mem.segment == ZYDIS_REGISTER_FS) target -= fs_base_;
  if (m->mem.segment == ZYDIS_REGISTER_GS) target -= kGsBase;
  const uint64_t disp = static_cast<uint64_t>(m->mem.disp.value);
  auto number = [](ZydisRegister r) { return static_cast<unsigned>(ZydisRegisterGetId(r)); };
  const bool base = m->mem.base != ZYDIS_REGISTER_NONE, index = m->mem.index != ZYDIS_REGISTER_NONE;
  uint64_t* gpr = c->start.gpr;
  if (m->mem.base == ZYDIS_REGISTER_RIP || m->mem.base == ZYDIS_REGISTER_EIP || (!base && !index)) {
    if (d.insn.raw.disp.size == 0) return true;
    if (base) target -= c->start.rip + at + d.insn.length;
    memcpy(c->code.data() + at + d.insn.raw.disp.offset, &target, d.insn.raw.disp.size / 8);
    return true;
  }
  if (base && index && number(m->mem.base) == number(m->mem.index)) {
    if (sha) return false;
    gpr[number(m->mem.base)] = (target - disp) / (1u + m->mem.scale);
  } else if (base) {
    const uint64_t scaled = index ? gpr[number(m->mem.index)] * m->mem.scale : 0;
    gpr[number(m->mem.base)] = target - disp - scaled;
  } else {
    if (sha) return false;
    gpr[number(m->mem.index)] = (target - disp) / m->mem.scale;
  }
  return true;
}

void Generator::VaryVex(const Decoded& d, std::vector<uint8_t>* head) {
  uint8_t& rxb = (*head)[1];
  uint8_t& wvlp = (*head)[2];
  rxb ^= static_cast<uint8_t>(random_.Below(8) << 5);
  for (unsigned i = 0; i < d.insn.operand_count; i++) {
    if (d.operands[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
      wvlp = static_cast<uint8_t>((wvlp & 0x87) | random_.Below(16) << 3);
  }
  if ((rxb & 0x7F) == 0x61 && !(wvlp & 0x80) && random_.Percent(70)) {
    // The short prefix: no X, B and W, map 0F.
    const uint8_t rvlp = static_cast<uint8_t>((rxb & 0x80) | (wvlp & 0x7F));
    head->erase(head->begin());
    (*head)[0] = 0xC5;
    (*head)[1] = rvlp;
  }
}

bool Generator::Append(const Form& form, bool aimed, Case* c, Decoded* out) {
  for (int tries = 0; tries < 30; tries++) {
    const std::vector<uint8_t>& e =
        form.encodings[random_.Below(static_cast<uint32_t>(form.encodings.size()))];
    std::vector<uint8_t> code;
    if (random_.Percent(10)) code.push_back(random_.Percent(50) ? 0x64 : 0x65);
    if (random_.Percent(5)) code.push_back(0x67);
    Decoded d;
    std::vector<uint8_t> padded = e;
    padded.resize(std::min<size_t>(15, e.size() + 9), 0x11);
    if (!Decode(padded, &d)) continue;
    std::vector<uint8_t> head = e;
    const bool has_modrm = d.insn.attributes & ZYDIS_ATTRIB_HAS_MODRM;
    const bool vex = d.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if (has_modrm && head.size() == d.insn.raw.modrm.offset + 1u) {
      // Other registers and address forms, where the instruction stays the same.
      uint8_t& modrm = head.back();
      if (modrm < 0xC0 && d.insn.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER) {
        modrm = static_cast<uint8_t>((modrm & 0x3F) | random_.Below(3) << 6);
      } else if (modrm < 0xC0) {
        modrm = static_cast<uint8_t>((modrm & 0x38) | random_.Below(3) << 6 | random_.Below(8));
      } else if (random_.Percent(80)) {
        modrm = static_cast<uint8_t>((modrm & 0xF8) | random_.Below(8));
      }
      if (random_.Percent(80)) {
        modrm = static_cast<uint8_t>((modrm & 0xC7) | random_.Below(8) << 3);
      }
    }
    if (vex) {
      VaryVex(d, &head);
    } else if (d.insn.attributes & ZYDIS_ATTRIB_HAS_REX) {
      head[d.insn.raw.rex.offset] |= static_cast<uint8_t>(random_.Below(8));
    } else if (random_.Percent(30)) {
      // Before the opcode, behind all prefixes.
      head.insert(head.begin() + d.insn.raw.prefix_count,
                  static_cast<uint8_t>(0x40 | random_.Below(8)));
    }
    code.insert(code.end(), head.begin(), head.end());
    for (int i = 0; i < 9 && code.size() < 15; i++) {
      code.push_back(random_.Percent(30) ? random_.Below(2) * 0xFF
                                         : static_cast<uint8_t>(random_.Next()));
    }
    // FS is the C library's: only where the address is aimed, and no bit offset is
    // added to it.
    if (code[0] == 0x64 && (!aimed || MemoryOf(d) == nullptr || code[1] == 0x67 ||
                            d.insn.meta.category == ZYDIS_CATEGORY_BITBYTE)) {
      continue;
    }
    if (!Decode(code, out) || out->insn.mnemonic != form.mnemonic || !filter_(*out)) continue;
    if (FormName(*out) != form.name) continue;
    code.resize(out->insn.length);
    c->code.insert(c->code.end(), code.begin(), code.end());
    return true;
  }
  return false;
}

Case Generator::MakeOne(const Form& form) {
  if (random_.Percent(5)) RefreshData();
  Case c;
  c.data = &data_;
  RandomRegisters(&c.start);
  Decoded d;
  if (!Append(form, true, &c, &d)) return c;
  // Somewhere in the code, across the page's end now and then.
  c.start.rip = random_.Percent(10)
                    ? kCodeAt + kPage - random_.Below(16)
                    : kCodeAt + 64 + random_.Below(static_cast<uint32_t>(kCodeBytes - 256));
  if (d.insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) {
    c.start.gpr[1] = random_.Percent(80) ? random_.Below(70) : random_.Below(6000);
  }
  if ((IsXsave(d) && !PrepareXsave(d, &c)) || !Aim(d, 0, &c)) c.code.clear();
  if (d.insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || d.insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
      d.insn.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU) {
    // Whether bytes that are masked out fault is the processor's choice.
    c.start.gpr[7] = kDataAt + random_.Below(2 * kPage - 16);
    if (d.insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) c.start.gpr[7] -= kGsBase;
  }
  if (IsBranch(d)) {
    // Relative targets: within the code, but not into the instruction itself.
    for (const auto& imm : d.insn.raw.imm) {
      if (!imm.is_relative) continue;
      int32_t to = static_cast<int32_t>(random_.Below(100)) + 1;
      if (random_.Percent(40)) to = -to - 15;
      memcpy(c.code.data() + imm.offset, &to, imm.size / 8);
    }
    // Indirect ones: pointers to code where the instruction may look for one.
    const ZydisDecodedOperand& o = d.operands[0];
    const uint64_t target = kCodeAt + random_.Below(48);
    if (d.insn.operand_count_visible > 0 && o.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_GPR64 && random_.Percent(80)) {
      c.start.gpr[ZydisRegisterGetId(o.reg.value)] = target;
    }
    for (size_t i = 0; i + 8 <= data_.size(); i += 8) {
      if (random_.Percent(50)) memcpy(&data_[i], &target, 8);
    }
  }
  return c;
}

Case Generator::MakeBlock(unsigned count) {
  RefreshData();
  Case c;
  c.data = &data_;
  RandomRegisters(&c.start);
  // Most of a block should run: no errors pending, none unmasked.
  const uint16_t fcw = 0x37F, fsw = 0;
  const uint32_t mxcsr = 0x1F80;
  memcpy(c.start.fx, &fcw, 2);
  memcpy(c.start.fx + 2, &fsw, 2);
  memcpy(c.start.fx + 24, &mxcsr, 4);
  c.start.gpr[4] = kDataAt + kPage;
  c.start.gpr[5] = kDataAt + kPage + 512;
  c.start.gpr[6] = kDataAt + 64;
  c.start.gpr[7] = kDataAt + kPage + 64;
  c.start.rip = kCodeAt + 64 + random_.Below(static_cast<uint32_t>(kCodeBytes - 1024));
  uint32_t undefined = 0;  // flags that no instruction may look at
  for (unsigned i = 0; i < count; i++) {
    Decoded d;
    const size_t before = c.code.size();
    const Form& form = forms_[straight_[random_.Below(static_cast<uint32_t>(straight_.size()))]];
    if (!Append(form, false, &c, &d)) continue;
    const ZydisDecodedOperand* m = MemoryOf(d);
    const bool rep =
        d.insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
    // Operands that will point nowhere by then end a block too soon.
    const bool keep = m == nullptr ? !rep || random_.Percent(10)
                                   : m->mem.base == ZYDIS_REGISTER_RIP || random_.Percent(3) ||
                                         (m->mem.base == ZYDIS_REGISTER_RSP &&
                                          m->mem.index == ZYDIS_REGISTER_NONE);
    const bool sha = m != nullptr && d.insn.meta.isa_set == ZYDIS_ISA_SET_SHA;
    const ZydisAccessedFlags* flags = d.insn.cpu_flags;
    if (!keep || sha || (flags != nullptr && (flags->tested & undefined) != 0)) {
      c.code.resize(before);
      continue;
    }
    if (flags != nullptr) {
      // Shifts by zero and string instructions of no length change none.
      if (d.insn.meta.category != ZYDIS_CATEGORY_SHIFT &&
          d.insn.meta.category != ZYDIS_CATEGORY_ROTATE && !rep) {
        undefined &= ~(flags->modified | flags->set_0 | flags->set_1);
      }
      undefined |= flags->undefined;
    }
    if (m != nullptr && m->mem.base == ZYDIS_REGISTER_RIP) {
      const uint64_t target = kDataAt + 16 * random_.Below(2 * kPage / 16 - 32) -
                              (c.start.rip + before + d.insn.length);
      memcpy(c.code.data() + before + d.insn.raw.disp.offset, &target, 4);
    }
  }
  return c;
}

}  // namespace atl::cpu::test
