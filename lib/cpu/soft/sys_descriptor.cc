// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/sys_descriptor.h"

#include "lib/cpu/soft/sys_state.h"

namespace atl::cpu::soft {

bool FindDescriptor(const SoftVcpu& c, uint16_t selector, unsigned size, uint64_t* linear) {
  const CpuState& s = c.s;
  const uint32_t offset = selector & 0xFFF8u;
  if ((selector & 4) != 0) {
    if (s.ldt.unusable || offset + size - 1 > s.ldt.limit) return false;
    *linear = s.ldt.base + offset;
  } else {
    if (offset + size - 1 > s.gdt.limit) return false;
    *linear = s.gdt.base + offset;
  }
  if (!s.long_mode) *linear &= 0xFFFFFFFF;
  return true;
}

bool ReadDescriptor(SoftVcpu& c, uint16_t selector, Vector vector, uint32_t ext, Descriptor* out) {
  uint64_t linear;
  if (!FindDescriptor(c, selector, 8, &linear)) {
    return Fail(c, vector, (selector & 0xFFFCu) | ext);
  }
  uint64_t v;
  if (!ReadSystem(c, linear, &v)) return false;
  *out = {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32), 0};
  return true;
}

bool ReadUpper(SoftVcpu& c, uint16_t selector, Vector vector, uint32_t ext, Descriptor* d) {
  uint64_t linear;
  if (!FindDescriptor(c, selector, 16, &linear)) {
    return Fail(c, vector, (selector & 0xFFFCu) | ext);
  }
  uint64_t v;
  if (!ReadSystem(c, linear + 8, &v)) return false;
  if ((v >> 40 & 31) != 0) return Fail(c, vector, (selector & 0xFFFCu) | ext);
  d->upper = static_cast<uint32_t>(v);
  return true;
}

bool MarkAccessed(SoftVcpu& c, uint16_t selector, Descriptor* d) {
  if ((d->high & 0x100) != 0) return true;
  uint64_t linear;
  if (!FindDescriptor(c, selector, 8, &linear)) return Fail(c, kGp, selector & 0xFFFCu);
  d->high |= 0x100;
  return WriteSystem(c, linear + 5, static_cast<uint8_t>(d->high >> 8));
}

bool MarkBusy(SoftVcpu& c, uint16_t selector, bool busy) {
  uint64_t linear;
  if (!FindDescriptor(c, selector, 8, &linear)) return Fail(c, kGp, selector & 0xFFFCu);
  uint8_t type;
  if (!ReadSystem(c, linear + 5, &type)) return false;
  return WriteSystem(c, linear + 5, static_cast<uint8_t>(busy ? type | 2 : type & ~2));
}

void SetFlat(SegmentState& g) {
  const bool whole = !g.unusable && g.limit == 0xFFFFFFFF && (g.attributes & kAttrPresent) != 0;
  if ((g.attributes & kAttrCode) != 0) {
    g.flat_read = whole && (g.attributes & kAttrWritable) != 0;  // for code: readable
    g.flat_write = false;
  } else {
    g.flat_read = whole && (g.attributes & kAttrExpandDown) == 0;
    g.flat_write = g.flat_read && (g.attributes & kAttrWritable) != 0;
  }
}

SegmentState MakeSegment(uint16_t selector, const Descriptor& d) {
  SegmentState g;
  g.base = d.base();
  g.limit = d.limit();
  g.selector = selector;
  g.attributes = d.attributes();
  g.unusable = false;
  SetFlat(g);
  return g;
}

SegmentState NullSegment(uint16_t selector) {
  SegmentState g;
  g.base = 0;
  g.limit = 0;
  g.selector = selector;
  g.attributes = 0;
  g.unusable = true;
  return g;
}

void SetCs(SoftVcpu& c, uint16_t selector, const Descriptor& d, unsigned cpl) {
  c.s.seg[kCs] = MakeSegment(static_cast<uint16_t>((selector & 0xFFFC) | cpl), d);
  c.s.cpl = static_cast<uint8_t>(cpl);
  CodeSegmentChanged(c.s);
}

void SetSs(SoftVcpu& c, const SegmentState& ss) {
  c.s.seg[kSs] = ss;
  c.s.stack32 = (ss.attributes & kAttrDb) != 0;
}

bool CheckStackSegment(SoftVcpu& c, uint16_t selector, unsigned cpl, Vector vector, uint32_t ext,
                       Descriptor* d) {
  if (IsNull(selector)) return Fail(c, vector, ext);
  const uint32_t code = (selector & 0xFFFCu) | ext;
  if (!ReadDescriptor(c, selector, vector, ext, d)) return false;
  if ((selector & 3u) != cpl || !d->writable_data() || d->dpl() != cpl) {
    return Fail(c, vector, code);
  }
  if (!d->present()) return Fail(c, kSsFault, code);
  return true;
}

TransferStack::TransferStack(SoftVcpu& c) : c_(c), rights_(c.rights()) {
  const SegmentState& ss = c.s.seg[kSs];
  if (c.in_64bit()) {
    flat64_ = true;
    mask_ = ~uint64_t{0};
  } else {
    base_ = ss.base;
    limit_ = ss.limit;
    attributes_ = ss.attributes;
    mask_ = c.s.stack32 ? 0xFFFFFFFF : 0xFFFF;
  }
  sp_ = c.s.gpr[kRsp] & mask_;
}

TransferStack::TransferStack(SoftVcpu& c, const SegmentState& ss, uint64_t sp, Rights rights,
                             uint32_t error_code)
    : c_(c),
      base_(ss.base),
      mask_((ss.attributes & kAttrDb) != 0 ? 0xFFFFFFFF : 0xFFFF),
      limit_(ss.limit),
      attributes_(ss.attributes),
      rights_(rights),
      error_code_(error_code) {
  sp_ = sp & mask_;
}

TransferStack::TransferStack(SoftVcpu& c, uint64_t rsp, Rights rights)
    : c_(c), sp_(rsp), mask_(~uint64_t{0}), flat64_(true), rights_(rights) {}

bool TransferStack::Linear(uint64_t sp, unsigned size, uint64_t* linear) {
  if (flat64_) {
    *linear = sp;
    return true;
  }
  const uint64_t last = sp + size - 1;
  bool inside;
  if ((attributes_ & (kAttrCode | kAttrExpandDown)) == kAttrExpandDown) {
    inside = sp > limit_ && last <= ((attributes_ & kAttrDb) != 0 ? 0xFFFFFFFFu : 0xFFFFu);
  } else {
    inside = last <= limit_;
  }
  if (!inside) return Fail(c_, kSsFault, error_code_);
  *linear = static_cast<uint32_t>(base_ + sp);
  return true;
}

bool TransferStack::Push(uint64_t value, unsigned size) {
  const uint64_t sp = (sp_ - size) & mask_;
  uint64_t linear;
  if (!Linear(sp, size, &linear)) return false;
  if (size == 8 && rights_ == Rights::kImplicitSupervisor) {
    if (!WriteSystem(c_, linear, value)) {
      if (c_.fault.vector == kGp) c_.fault.vector = kSsFault;
      return false;
    }
  } else if (!c_.mmu.WriteSlow(linear, &value, size, rights_, true)) {
    return false;
  }
  sp_ = sp;
  return true;
}

bool TransferStack::Peek(uint64_t* value, unsigned size, uint64_t skip) {
  uint64_t linear;
  if (!Linear((sp_ + skip) & mask_, size, &linear)) return false;
  uint64_t v = 0;
  if (const uint8_t* p = c_.mmu.FastRead<uint64_t>(linear, rights_ == Rights::kUser)) {
    std::memcpy(&v, p, sizeof v);
    if (size < 8) v &= (uint64_t{1} << (size * 8)) - 1;
  } else if (!c_.mmu.ReadSlow(linear, &v, size, rights_, true)) {
    return false;
  }
  *value = v;
  return true;
}

bool TransferStack::Pop(uint64_t* value, unsigned size) {
  if (!Peek(value, size, 0)) return false;
  Skip(size);
  return true;
}

void TransferStack::Commit() {
  uint64_t& rsp = c_.s.gpr[kRsp];
  rsp = mask_ == 0xFFFF ? (rsp & ~mask_) | sp_ : sp_;
}

bool ReadInnerStack(SoftVcpu& c, unsigned cpl, uint32_t ext, InnerStack* out) {
  const SegmentState& tr = c.s.tr;
  const uint32_t code = (tr.selector & 0xFFFCu) | ext;
  if ((tr.attributes & 8) != 0) {  // 32-bit TSS
    const uint32_t at = 4 + 8 * cpl;
    if (tr.unusable || at + 7 > tr.limit) return Fail(c, kTs, code);
    uint64_t v;
    if (!ReadSystem(c, tr.base + at, &v)) return false;
    *out = {static_cast<uint16_t>(v >> 32), static_cast<uint32_t>(v)};
    return true;
  }
  const uint32_t at = 2 + 4 * cpl;
  if (tr.unusable || at + 3 > tr.limit) return Fail(c, kTs, code);
  uint32_t v;
  if (!ReadSystem(c, tr.base + at, &v)) return false;
  *out = {static_cast<uint16_t>(v >> 16), v & 0xFFFF};
  return true;
}

bool ReadLongStack(SoftVcpu& c, unsigned index, uint32_t ext, uint64_t* rsp) {
  const SegmentState& tr = c.s.tr;
  const uint32_t at = 4 + 8 * index;
  if (tr.unusable || at + 7 > tr.limit) return Fail(c, kTs, (tr.selector & 0xFFFCu) | ext);
  return ReadSystem(c, tr.base + at, rsp);
}

}  // namespace atl::cpu::soft
