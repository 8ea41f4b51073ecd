// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/translate_emit.h"

#include <Zydis/Mnemonic.h>

#include "lib/cpu/soft/translate_write.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

// ADD's, INC's ... operand size in 64-bit mode.
unsigned WideSize(const Parsed& p) { return p.wide() ? 8 : p.size16 ? 2 : 4; }

}  // namespace

BlockEmitter::BlockEmitter(Translator& translator, SoftVcpu& vcpu, Native& native, Block& block)
    : t_(translator),
      c_(vcpu),
      a_(*translator.code_),
      n_(native),
      insns_(block.insns()),
      count_(block.count) {}

#define OFF(field) ATOLL_OFF(c_, field)

HostMem BlockEmitter::Home(int guest) const { return {kRegStack, -1, 1, OFF(c_.s.gpr[guest])}; }

int BlockEmitter::Use(int guest, int scratch) {
  if (kHostOf[guest] != kHomed) return kHostOf[guest];
  a_.mov(Reg64(scratch), qword_[rsp_ + Home(guest).disp]);
  return scratch;
}

void BlockEmitter::StoreHome(int guest, int host) {
  a_.mov(qword_[rsp_ + Home(guest).disp], Reg64(host));
}

uint32_t BlockEmitter::Point(unsigned i) {
  const uint32_t point = static_cast<uint32_t>(t_.points_.size());
  NativePoint& p = t_.points_.emplace_back();
  p.native = n_.index;
  p.at = static_cast<uint16_t>(Rip(i) - n_.linear);
  p.fpu = info_[i].x87 ? 2 : parsed_[i].vex ? 1 : 0;
  t_.area_.sites[point].misses = 1;
  return point;
}

// ---- Flags ----

void BlockEmitter::Save() { SaveFlags(a_, OFF(c_.s.flags_of)); }
void BlockEmitter::Restore() { RestoreFlags(a_, OFF(c_.s.flags_of)); }

void BlockEmitter::Clobber(unsigned i) {
  if (flags_ == Flags::kHost) {
    if (live_[i] != 0) {
      Save();
      flags_ = Flags::kSaved;
      again_ = a_.Here();
    } else {
      flags_ = Flags::kDead;
    }
  } else if (flags_ == Flags::kBoth) {
    flags_ = Flags::kSaved;
  }
}

// Uses kScratch0.
void BlockEmitter::NeedHost() {
  if (flags_ != Flags::kSaved) return;
  Restore();
  flags_ = Flags::kBoth;
}

void BlockEmitter::FlagsForExit() {
  if (live_[count_] != 0) NeedHost();
}

void BlockEmitter::FlagsForIndirect() {
  if (flags_ == Flags::kHost && live_[count_] != 0) {
    Save();
    flags_ = Flags::kBoth;
  }
}

// An instruction that ends in line.
void BlockEmitter::Count() {
  if (!t_.config_.precise) return;
  a_.mov(rcx_, qword_[rsp_ + OFF(c_.retired)]);
  a_.lea(rcx_, ptr_[rcx_ + 1]);
  a_.mov(qword_[rsp_ + OFF(c_.retired)], rcx_);
}

void BlockEmitter::Liveness() {
  live_[count_] = kAllFlags;
  for (unsigned i = count_; i-- > 0;) {
    const OpInfo& o = info_[i];
    uint16_t reads = o.reads;
    // Any instruction may turn out to be one that is interpreted, and so left after.
    if (o.form == Form::kInterpret || t_.config_.precise) reads = kAllFlags;
    live_[i] = static_cast<uint16_t>((live_[i + 1] & ~o.writes) | reads);
  }
}

// ---- Stubs ----

void BlockEmitter::FixStubs() {
  Count();
  for (size_t k = first_stub_; k < stubs_.size(); ++k) {
    stubs_[k].go_on = a_.Here();
    stubs_[k].restore = flags_ == Flags::kHost || flags_ == Flags::kBoth;
  }
  first_stub_ = stubs_.size();
}

void BlockEmitter::FinishStubs() {
  for (const Stub& s : vector_stubs_) {
    a_.PatchHere(s.from[0]);
    a_.push(s.point);
    a_.CallTo(t_.fpu_glue_[s.restore]);
    a_.JmpTo(s.again);
  }
  for (const Stub& s : stubs_) {
    for (uint8_t* from : s.from) {
      if (from != nullptr) a_.PatchHere(from);
    }
    if (s.handler_only) {
      a_.push(s.point);
      a_.CallTo(t_.call_glue_[s.restore]);
      a_.JmpTo(s.go_on);
      continue;
    }
    if (!s.address_known) {
      a_.lea(r14_, ptr_[Expression(s.address)]);
    }
    a_.push(s.point);
    a_.CallTo(t_.probe_glue_[n_.user][s.write][s.restore]);
    a_.JmpTo(s.again);
    a_.JmpTo(s.go_on);
  }
}

// ---- Ways out ----

void BlockEmitter::LinearExit(uint64_t target) { AddExit(a_.Jmp(), target); }

void BlockEmitter::AddExit(uint8_t* patch, uint64_t target) {
  pending_exits_.push_back(static_cast<uint32_t>(t_.exits_.size()));
  NativeExit e;
  e.target = target;
  e.patch = static_cast<uint32_t>(patch - t_.At(0));
  e.from = n_.index;
  e.backward = target <= Rip(count_ - 1);
  t_.exits_.push_back(e);
}

void BlockEmitter::Dispatch() {
  a_.mov(Reg32(kScratch0), Reg32(kScratch1));
  a_.and_(Reg32(kScratch0), TranslateArea::kJumpSlots - 1);
  a_.jmp(qword_[rsp_ + rcx_ * 8 + OFF(t_.area_.jumps[n_.user][0])]);
}

// ---- Instructions ----

void BlockEmitter::Interpret(unsigned i) {
  if (flags_ == Flags::kHost) Save();
  a_.push(Point(i));
  a_.CallTo(t_.call_glue_[0]);
  flags_ = Flags::kSaved;
  loaded_ = 0;
}

void BlockEmitter::EnsureFpu(unsigned i) {
  const unsigned kind = info_[i].x87 ? 2 : parsed_[i].vex ? 1 : 0;
  if ((loaded_ >> kind & 1) != 0) return;
  loaded_ |= 1u << kind | (kind == 1 ? kXmmLoaded : 0);
  Stub s = {};
  a_.mov(Reg32(kScratch0), dword_[rsp_ + OFF(t_.area_.fpu_loaded[kind])]);
  if (flags_ == Flags::kHost && live_[i] != 0) {
    a_.db(0xE3);  // JRCXZ, over the next
    a_.db(2);
    a_.db(0xEB);
    a_.db(5);
    s.from[0] = a_.Jmp();
  } else {
    a_.test(Reg32(kScratch0), Reg32(kScratch0));
    s.from[0] = a_.Jcc(4);
    if (flags_ == Flags::kHost) flags_ = Flags::kDead;
    if (flags_ == Flags::kBoth) flags_ = Flags::kSaved;
  }
  s.again = a_.Here();
  s.restore = flags_ == Flags::kHost || flags_ == Flags::kBoth;
  s.point = Point(i);
  vector_stubs_.push_back(s);
  again_ = a_.Here();
}

bool BlockEmitter::CanEncode(unsigned i) const {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const OpInfo& o = info_[i];
  if (o.vvvv != kUnused && kHostOf[p.vex_vvvv] == kHomed) return false;
  if (in.has_mem) {
    if (in.mem_size == 0 || in.address_size == 2) return false;
    const bool rip = in.base == kRipReg;
    if ((rip || in.base == kNoReg) && in.index == kNoReg && in.seg < kFs && in.address_size == 8) {
      const uint64_t where = (rip ? Rip(i) : 0) + static_cast<uint64_t>(in.disp);
      if ((where & 0xFFF) + in.mem_size > 4096 || (where & (o.align - 1)) != 0) return false;
    }
    if (rip && in.index != kNoReg) return false;
  }
  // AH to BH have no encoding beside a REX prefix.
  const bool reg_high = o.reg_byte && p.rex == 0 && p.reg() >= 4;
  const bool rm_high = !in.has_mem && o.rm_byte && p.rex == 0 && p.rm() >= 4;
  if (!reg_high && !rm_high) return true;
  if ((reg_high && p.reg() == 5) || (rm_high && p.rm() == 5)) return false;
  if (o.form == Form::kShiftCl) return true;
  if (rm_high && o.reg_file == File::kGpr && !reg_high) {
    const int host = kHostOf[p.reg()];
    if (host < 0 || host >= 8) return false;
    if (o.reg_byte && host >= 4) return false;
  }
  if (reg_high && !rm_high) {
    if (in.has_mem) {
      // What restores flags or reaches far moves the address to R14.
      if (o.reads != 0 || in.disp != static_cast<int16_t>(in.disp)) return false;
      const int host = in.base < 16 ? kHostOf[in.base] : -1;
      return host >= 0 && host < 8 && in.index == kNoReg && in.seg < kFs && in.address_size == 8;
    }
    const int host = kHostOf[p.rm()];
    return host >= 0 && host < 4;
  }
  return true;
}

void BlockEmitter::Modrm(unsigned i) {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const OpInfo& o = info_[i];
  const bool mem = in.has_mem;
  const bool reg_gpr = o.reg_file == File::kGpr, rm_gpr = !mem && o.rm_file == File::kGpr;
  const bool reg_high = reg_gpr && o.reg_byte && p.rex == 0 && p.reg() >= 4;
  const bool rm_high = rm_gpr && o.rm_byte && p.rex == 0 && p.rm() >= 4;
  const bool reg_homed = reg_gpr && !reg_high && kHostOf[p.reg()] == kHomed;
  const bool rm_homed = rm_gpr && !rm_high && kHostOf[p.rm()] == kHomed;
  const bool needs_rcx = o.form == Form::kShiftCl || o.form == Form::kCompare16;
  const unsigned reg_size = o.reg_byte ? 1 : WideSize(p);
  const unsigned rm_size = o.rm_byte ? 1 : o.rm16 ? 2 : WideSize(p);
  const bool rm_by_scratch =
      rm_homed && (((o.rm & kWrite) && rm_size == 4) || o.bit_string || o.whole_register);
  // XADD of a register with itself.
  if (reg_homed && rm_homed && p.reg() == p.rm() && (o.reg & o.rm & kWrite)) return Interpret(i);
  if (needs_rcx && reg_homed && (rm_by_scratch || mem)) return Interpret(i);

  HostRm rm;
  if (mem) {
    rm = HostRm::Mem(Operand(i, in.mem_size, o.rm & kWrite, o.align, reg_homed || needs_rcx));
  }
  if (o.reads != 0 || (o.writes != 0 && (live_[i + 1] & ~o.writes) != 0)) {
    if (flags_ == Flags::kSaved) {
      // Restoring takes kScratch0, which the operand may use.
      if (mem && (rm.mem.base == kScratch0 || rm.mem.index == kScratch0)) {
        a_.lea(r14_, ptr_[Expression(rm.mem)]);
        rm = HostRm::Mem({kScratch1, -1, 1, 0});
      }
      NeedHost();
    }
  }
  int reg = p.modrm >> 3 & 7;
  if (o.reg_file == File::kVector) reg = static_cast<int>(p.reg());
  if (reg_gpr && !reg_high) {
    reg = kHostOf[p.reg()];
    if (reg_homed) {
      reg = mem && !needs_rcx ? kScratch0 : kScratch1;
      if ((o.reg & kRead) || reg_size < 4) Use(static_cast<int>(p.reg()), reg);
    }
  }
  if (!mem) {
    if (rm_high) {
      rm = HostRm::Reg(p.modrm & 7);
    } else if (!rm_gpr) {
      rm = HostRm::Reg(static_cast<int>(p.rm()));
    } else if (!rm_homed) {
      rm = HostRm::Reg(kHostOf[p.rm()]);
    } else if (rm_by_scratch) {
      rm = HostRm::Reg(needs_rcx ? kScratch1 : kScratch0);
      if (o.rm & kRead) Use(static_cast<int>(p.rm()), rm.reg);
    } else {
      rm = HostRm::Mem(Home(static_cast<int>(p.rm())));
    }
  }
  if (needs_rcx) a_.mov(rcx_, Reg64(kGuestRcx));
  const bool byte_regs = (reg_gpr && o.reg_byte && !reg_high && reg >= 4) ||
                         (rm_gpr && o.rm_byte && !rm_high && rm.is_reg() && rm.reg >= 4);
  const bool lone = c_.count == 1;
  // XCHG with memory is locked without saying so.
  if (mem && lone && p.map == 0 && p.opcode == 0x87 && !p.size16 && rm.mem.base != kScratch1) {
    if (p.wide()) {
      a_.mov(r14_, qword_[Expression(rm.mem)]);
      a_.mov(qword_[Expression(rm.mem)], Reg64(reg));
      a_.mov(Reg64(reg), r14_);
    } else {
      a_.mov(Reg32(kScratch1), dword_[Expression(rm.mem)]);
      a_.mov(dword_[Expression(rm.mem)], Reg32(reg));
      a_.mov(Reg32(reg), Reg32(kScratch1));
    }
  } else {
    Parsed q = p;
    if (o.vvvv != kUnused) q.vex_vvvv = static_cast<uint8_t>(kHostOf[p.vex_vvvv]);
    a_.Rewrite(q, in.bytes, reg, rm, byte_regs, p.lock && !lone);
  }
  if (reg_homed && (o.reg & kWrite)) StoreHome(static_cast<int>(p.reg()), reg);
  if (rm_by_scratch && (o.rm & kWrite)) StoreHome(static_cast<int>(p.rm()), rm.reg);
  if (o.writes != 0) flags_ = Flags::kHost;
}

// What would be #DE on the host is the handler's to find.
void BlockEmitter::Divide(unsigned i, bool is_signed) {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const bool wide = p.wide();
  int divisor;
  Clobber(i);
  if (in.has_mem) {
    const HostMem m = Operand(i, in.mem_size, false, 1, false);
    if (wide) {
      a_.mov(r14_, qword_[Expression(m)]);
    } else {
      a_.mov(Reg32(kScratch1), dword_[Expression(m)]);
    }
    divisor = kScratch1;
  } else {
    divisor = Use(static_cast<int>(p.rm()), kScratch1);
  }
  auto sized = [wide](int r) {
    return wide ? Xbyak::Reg(r, Xbyak::Operand::REG, 64) : Xbyak::Reg(r, Xbyak::Operand::REG, 32);
  };
  auto slow = [&](unsigned cc) {
    Stub s = {};
    s.from[0] = a_.Jcc(cc);
    s.handler_only = true;
    s.point = Point(i);
    stubs_.push_back(s);
  };
  if (is_signed) {
    // Only dividends that fit one register, and neither 0 nor -1.
    a_.mov(sized(kScratch0), sized(0));
    a_.sar(sized(kScratch0), wide ? 63 : 31);
    a_.cmp(sized(kScratch0), sized(2));
    slow(5);
    if (wide) {
      a_.lea(rcx_, ptr_[Reg64(divisor) + 1]);
    } else {
      a_.lea(Reg32(kScratch0), ptr_[Reg64(divisor) + 1]);
    }
    a_.cmp(sized(kScratch0), 1);
    slow(6);
  } else {
    a_.cmp(sized(2), sized(divisor));
    slow(3);
  }
  Parsed q = p;
  a_.Rewrite(q, in.bytes, p.modrm >> 3 & 7, HostRm::Reg(divisor), false, false);
}

void BlockEmitter::Lea(unsigned i) {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const unsigned size = WideSize(p);
  const int guest = static_cast<int>(p.reg());
  const bool homed = kHostOf[guest] == kHomed;
  const int reg = homed ? kScratch1 : kHostOf[guest];
  const bool narrow = in.address_size == 4;
  if (size == 2 || in.address_size == 2) return Interpret(i);
  if (in.base == kRipReg) {
    uint64_t v = Rip(i) + static_cast<uint64_t>(in.disp);
    if (narrow || size == 4) v = static_cast<uint32_t>(v);
    a_.mov(Reg64(reg), v);
  } else {
    HostMem m;
    if (in.base != kNoReg) m.base = Use(in.base, kScratch1);
    if (in.index != kNoReg) m.index = Use(in.index, kScratch0);
    m.scale = in.scale;
    m.disp = static_cast<int32_t>(in.disp);
    if (size == 4 || narrow) {
      a_.lea(Reg32(reg), ptr_[Expression(m)]);
    } else {
      a_.lea(Reg64(reg), ptr_[Expression(m)]);
    }
  }
  if (homed) StoreHome(guest, reg);
}

void BlockEmitter::Instruction(unsigned i) {
  const Insn& in = insns_[i];
  const Parsed& p = parsed_[i];
  const OpInfo& o = info_[i];
  again_ = a_.Here();
  if (o.form >= Form::kModrm && o.form != Form::kLea && !CanEncode(i)) return Interpret(i);
  if (o.vector || o.x87) EnsureFpu(i);
  switch (o.form) {
    case Form::kInterpret:
      return Interpret(i);
    case Form::kNothing:
      Count();
      return;
    case Form::kVerbatim:
      if (o.reads != 0 || (o.writes != 0 && (live_[i + 1] & ~o.writes) != 0)) NeedHost();
      for (unsigned k = 0; k < in.length; ++k) a_.db(in.bytes[k]);
      if (o.writes != 0) flags_ = Flags::kHost;
      Count();
      return;
    case Form::kModrm:
    case Form::kShiftCl:
    case Form::kCompare16:
      Modrm(i);
      break;
    case Form::kDivide:
    case Form::kDivideSigned:
      Divide(i, o.form == Form::kDivideSigned);
      break;
    case Form::kLea:
      Lea(i);
      break;
    case Form::kMoveImm: {
      const int guest = (p.opcode & 7) | (p.rex & 1 ? 8 : 0);
      const unsigned size = WideSize(p);
      if (size == 2) return Interpret(i);
      const bool homed = kHostOf[guest] == kHomed;
      const int reg = homed ? kScratch1 : kHostOf[guest];
      a_.mov(Reg64(reg), size == 4 ? static_cast<uint32_t>(in.imm) : in.imm);
      if (homed) StoreHome(guest, reg);
      break;
    }
    case Form::kMoveImm8: {
      const int guest = (p.opcode & 7) | (p.rex & 1 ? 8 : 0);
      if (p.rex == 0 && guest >= 4) {
        if (guest == 5) return Interpret(i);
        for (unsigned k = 0; k < in.length; ++k) a_.db(in.bytes[k]);
        break;
      }
      if (kHostOf[guest] == kHomed) {
        a_.mov(byte_[rsp_ + Home(guest).disp], static_cast<uint8_t>(in.imm));
      } else {
        a_.db(0x40 | (kHostOf[guest] >= 8 ? 1 : 0));
        a_.db(0xB0 | (kHostOf[guest] & 7));
        a_.db(static_cast<uint8_t>(in.imm));
      }
      break;
    }
    case Form::kExchange: {
      const int guest = (p.opcode & 7) | (p.rex & 1 ? 8 : 0);
      const unsigned size = WideSize(p);
      if (size == 2) return Interpret(i);
      const bool homed = kHostOf[guest] == kHomed;
      const int reg = Use(guest, kScratch1);
      if (size == 8) {
        a_.xchg(rax_, Reg64(reg));
      } else {
        a_.xchg(Reg32(0), Reg32(reg));
      }
      if (homed) StoreHome(guest, reg);
      break;
    }
    case Form::kSwapBytes: {
      const int guest = (p.opcode & 7) | (p.rex & 1 ? 8 : 0);
      const unsigned size = WideSize(p);
      if (size == 2) return Interpret(i);
      const int reg = Use(guest, kScratch1);
      if (size == 8) {
        a_.bswap(Reg64(reg));
      } else {
        a_.bswap(Reg32(reg));
      }
      if (kHostOf[guest] == kHomed) StoreHome(guest, reg);
      break;
    }
    case Form::kPush:
    case Form::kPushImm:
    case Form::kPushRm:
      Push(i);
      break;
    case Form::kPop:
      Pop(i);
      break;
    case Form::kLeaveFrame:
      LeaveFrame(i);
      break;
    default:
      Control(i);
      return;
  }
  FixStubs();
}

// ---- The block ----

// Flags are the host's here, where they are needed.
void BlockEmitter::Entries() {
  TranslateArea& area = t_.area_;
  const bool live = live_[0] != 0;
  n_.live = live;
  n_.poll = t_.Place();
  if (live) {
    // JRCXZ spares the flags and reaches 127 bytes.
    a_.mov(Reg32(kScratch0), dword_[rsp_ + OFF(area.go_on)]);
    a_.db(0xE3);
    a_.db(2);  // over the next
    a_.db(0xEB);
    a_.db(5);  // over the one after
    poll_ = a_.Jmp();
  } else {
    a_.cmp(dword_[rsp_ + OFF(area.go_on)], 0);
    poll_ = a_.Jcc(4);
  }
  n_.direct = t_.Place();
  flags_ = live ? Flags::kHost : Flags::kDead;
  if (n_.second_page == kNone) return;
  // What leads here knows nothing of the second page.
  const uint64_t second = n_.linear + kPageSize;
  Clobber(0);
  a_.mov(rcx_, TranslateArea::ExecKey(second, n_.second_page));
  a_.cmp(rcx_, qword_[rsp_ + OFF(area.exec_key[n_.user][TranslateArea::ExecSlot(second)])]);
  map_miss_ = a_.Jcc(5);
}

void BlockEmitter::Emit() {
  uint64_t rip = n_.linear;
  for (unsigned i = 0; i < count_; ++i) {
    if (Parse(insns_[i], &parsed_[i])) info_[i] = Classify(insns_[i], parsed_[i]);
    if (t_.config_.precise) info_[i].writes &= ~info_[i].undefined;
    rips_[i] = rip;
    rip += insns_[i].length;
  }
  Liveness();
  t_.memory_.MakeHuge(t_.hot_);
  a_.Seek(t_.hot_);
  Entries();
  for (unsigned i = 0; i < count_ && !ended_; ++i) Instruction(i);
  if (!ended_) {
    FlagsForExit();
    LinearExit(rip);
  }
  t_.hot_ = a_.getSize();
  a_.Seek(t_.cold_);
  FinishStubs();
  a_.PatchHere(poll_);
  a_.push(n_.index);
  a_.JmpTo(t_.poll_glue_);
  if (map_miss_ != nullptr) {
    a_.PatchHere(map_miss_);
    a_.push(n_.index);
    a_.JmpTo(t_.map_glue_);
  }
  for (uint32_t k : pending_exits_) {
    NativeExit& e = t_.exits_[k];
    e.stub = t_.Place();
    HostCode::Patch(t_.At(e.patch), t_.At(e.stub));
    a_.push(k);
    a_.JmpTo(t_.exit_glue_);
  }
  t_.cold_ = a_.getSize();
}

}  // namespace atl::cpu::soft
