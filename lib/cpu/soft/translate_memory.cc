// SPDX-License-Identifier: Apache-2.0
// Translation of memory operands: checked by a slot or looked up in the soft TLB.
#include <algorithm>
#include <cstddef>
#include <limits>

#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/translate_write.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

#define OFF(field) ATOLL_OFF(c_, field)

// Which slot a site has: null where it looks into the TLB itself.
SiteSlot* BlockEmitter::SlotOf(unsigned i, bool write, bool stack, bool high) {
  const Insn& in = insns_[i];
  const unsigned base = !stack                               ? unsigned{in.base}
                        : info_[i].form == Form::kLeaveFrame ? unsigned{kRbp}
                                                             : unsigned{kRsp};
  const bool by_stack =
      stack || (base == kRsp && in.index == kNoReg && in.seg < kFs && in.address_size == 8);
  const uint64_t key = Translator::SiteKey(Rip(i), n_.user, stack);
  const auto own = t_.own_slots_.find(key);
  unsigned slot;
  if (own != t_.own_slots_.end()) {
    slot = own->second;
    if (slot == Translator::kNoSlot && !stack && !high) return nullptr;
  } else if (high) {
    slot = TranslateArea::RegisterSlot(n_.user, base, write);
  } else if (by_stack) {
    slot = TranslateArea::StackSlot(n_.user, stack ? 0 : in.disp, write);
  } else {
    if (!n_.hot) return nullptr;
    slot = t_.NewSlot();
    t_.own_slots_[key] = static_cast<uint16_t>(slot);
    if (slot == Translator::kNoSlot) return nullptr;
  }
  if (slot == Translator::kNoSlot) slot = TranslateArea::RegisterSlot(n_.user, base & 15, write);
  return &t_.area_.slots[slot];
}

void BlockEmitter::Check(unsigned i, const HostMem& address, unsigned size, unsigned align,
                         bool write, bool address_known, bool stack, const SiteSlot& slot) {
  const uint32_t point = Point(i);
  TranslateArea& area = t_.area_;
  area.sites[point] = {static_cast<uint16_t>(&slot - area.slots), static_cast<uint8_t>(size - 1),
                       static_cast<uint8_t>(align - 1), TranslateArea::kMisses};
  t_.points_[point].stack = stack;
  if (address.index < 0 && address.disp == 0) {
    a_.mov(rcx_, Reg64(address.base));
  } else {
    a_.lea(rcx_, ptr_[Expression(address)]);
  }
  a_.xor_(rcx_, qword_[rsp_ + OFF(slot.tag)]);
  a_.cmp(rcx_, 4096 - size);
  Stub s = {};
  s.from[0] = a_.Jcc(7);  // above
  if (align > 1) {
    a_.test(Xbyak::Reg8(kScratch0), align - 1);
    s.from[1] = a_.Jcc(5);
  }
  s.again = again_;
  s.address = address;
  s.address_known = address_known;
  s.write = write;
  s.point = point;
  stubs_.push_back(s);
}

// What the TLB does not have, the handler does.
void BlockEmitter::Slow(unsigned i, uint8_t* from, uint8_t* from2) {
  Stub s = {};
  s.from[0] = from;
  s.from[1] = from2;
  s.handler_only = true;
  s.point = Point(i);
  stubs_.push_back(s);
}

HostMem BlockEmitter::ConstantOperand(unsigned i, uint64_t where, bool write) {
  const uint64_t page = where & ~uint64_t{0xFFF};
  const unsigned index = (page >> kPageShift) & (Mmu::kTlbSize - 1);
  const int tag_at =
      static_cast<int>(write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag));
  const int host_at = static_cast<int>(offsetof(TlbEntry, host));
  Reg64 base = rsp_;
  int32_t entry = n_.user ? OFF(c_.mmu.user_table()[index]) : 0;
  if (!n_.user) {
    base = r14_;
    entry = static_cast<int32_t>(index * sizeof(TlbEntry));
    a_.mov(r14_, qword_[rsp_ + OFF(t_.area_.kernel_tlb)]);
  }
  if (Fits32(page)) {
    a_.cmp(qword_[base + entry + tag_at], static_cast<uint32_t>(page));
  } else {
    a_.mov(rcx_, page);
    a_.cmp(rcx_, qword_[base + entry + tag_at]);
  }
  Slow(i, a_.Jcc(5), nullptr);
  a_.mov(r14_, qword_[base + entry + host_at]);
  return {kScratch1, -1, 1, static_cast<int32_t>(where & 0xFFF)};
}

// The linear address is in kScratch1, where the host's comes to be.
HostMem BlockEmitter::TlbOperand(unsigned i, unsigned size, bool write, unsigned align) {
  static_assert(sizeof(TlbEntry) == 32);
  const int tag_at =
      static_cast<int>(write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag));
  const int host_at = static_cast<int>(offsetof(TlbEntry, host));
  uint8_t* misaligned = nullptr;
  if (align > 1) {
    a_.test(Xbyak::Reg8(kScratch1), align - 1);
    misaligned = a_.Jcc(5);
  }
  a_.mov(Reg32(kScratch0), Reg32(kScratch1));
  a_.shr(Reg32(kScratch0), kPageShift - 5);
  a_.and_(Reg32(kScratch0), (Mmu::kTlbSize - 1) << 5);
  const int32_t table = OFF(*c_.mmu.user_table());
  if (n_.user) {
    a_.xor_(r14_, qword_[rsp_ + rcx_ + table + tag_at]);
  } else {
    a_.add(rcx_, qword_[rsp_ + OFF(t_.area_.kernel_tlb)]);
    a_.xor_(r14_, qword_[rcx_ + tag_at]);
  }
  a_.cmp(r14_, 4096 - size);
  Slow(i, a_.Jcc(7), misaligned);
  if (n_.user) {
    a_.add(r14_, qword_[rsp_ + rcx_ + table + host_at]);
  } else {
    a_.add(r14_, qword_[rcx_ + host_at]);
  }
  return {kScratch1, -1, 1, 0};
}

HostMem BlockEmitter::Operand(unsigned i, unsigned size, bool write, unsigned align, bool whole) {
  const Insn& in = insns_[i];
  const bool segment = in.seg >= kFs, narrow = in.address_size == 4;
  const bool rip = in.base == kRipReg;
  const bool constant = (rip || in.base == kNoReg) && in.index == kNoReg;
  const uint64_t where = (rip ? Rip(i) : 0) + static_cast<uint64_t>(in.disp);
  Clobber(i);
  if (constant && !segment && !narrow) return ConstantOperand(i, where, write);
  const bool near_end = in.disp > std::numeric_limits<int32_t>::max() - 256;
  const bool simple = !segment && !narrow && !whole && !rip && in.index == kNoReg &&
                      in.base != kNoReg && kHostOf[in.base] != kHomed && !near_end;
  // Only [base + slot] can stand beside AH to BH.
  const Parsed& p = parsed_[i];
  const bool high =
      info_[i].reg_file == File::kGpr && info_[i].reg_byte && p.rex == 0 && p.reg() >= 4;
  SiteSlot* slot = SlotOf(i, write, false, high && simple);
  if (simple && slot != nullptr) {
    const HostMem address = {kHostOf[in.base], -1, 1, static_cast<int32_t>(in.disp)};
    Check(i, address, size, align, write, false, false, *slot);
    a_.mov(rcx_, qword_[rsp_ + OFF(slot->addend)]);
    return {address.base, kScratch0, 1, address.disp};
  }
  HostMem address;
  if (constant) {
    a_.mov(r14_, narrow ? static_cast<uint32_t>(where) : where);
  } else {
    if (rip) {
      a_.mov(r14_, where);  // with no index: constant
    } else {
      if (in.base != kNoReg) address.base = Use(in.base, kScratch1);
      if (in.index != kNoReg) address.index = Use(in.index, kScratch0);
      address.scale = in.scale;
      address.disp = static_cast<int32_t>(in.disp);
      if (narrow) {
        a_.lea(Reg32(kScratch1), ptr_[Expression(address)]);
      } else {
        a_.lea(r14_, ptr_[Expression(address)]);
      }
    }
  }
  if (segment) a_.add(r14_, qword_[rsp_ + OFF(c_.s.seg[in.seg].base)]);
  if (slot == nullptr) return TlbOperand(i, size, write, align);
  address = {kScratch1, -1, 1, 0};
  Check(i, address, size, align, write, true, false, *slot);
  a_.add(r14_, qword_[rsp_ + OFF(slot->addend)]);
  return address;
}

HostMem BlockEmitter::StackOperand(unsigned i, const HostMem& address, bool write) {
  Clobber(i);
  const SiteSlot& slot = *SlotOf(i, write, true, false);
  Check(i, address, 8, 1, write, false, true, slot);
  a_.mov(rcx_, qword_[rsp_ + OFF(slot.addend)]);
  return {address.base, kScratch0, 1, address.disp};
}

}  // namespace atl::cpu::soft
