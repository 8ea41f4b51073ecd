// SPDX-License-Identifier: Apache-2.0
// Hardware task switches (vol. 3, chapter 7), 16 and 32-bit. 32-bit kernels use
// one to take double faults on a good stack.
#include <cstdint>

#include "lib/cpu/soft/sys_descriptor.h"
#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

struct Task {
  uint32_t cr3 = 0, eip = 0, eflags = 0;
  uint32_t gpr[8] = {};
  uint16_t seg[6] = {};  // by SegmentIndex
  uint16_t ldt = 0;
};

// Offsets in a TSS of 32 or 16 bits.
struct Layout {
  unsigned width;  // of a register
  unsigned cr3, eip, eflags, gpr, seg, seg_step, seg_count, ldt, size;
};
constexpr Layout k32 = {4, 0x1C, 0x20, 0x24, 0x28, 0x48, 4, 6, 0x60, 0x68};
constexpr Layout k16 = {2, 0, 0x0E, 0x10, 0x12, 0x22, 2, 4, 0x2A, 0x2C};

template <typename T>
T At(const uint8_t* image, unsigned offset) {
  T v;
  std::memcpy(&v, image + offset, sizeof v);
  return v;
}

Task Parse(const uint8_t* image, const Layout& l) {
  Task t;
  auto read = [&](unsigned offset) -> uint32_t {
    return l.width == 4 ? At<uint32_t>(image, offset) : At<uint16_t>(image, offset);
  };
  if (l.width == 4) t.cr3 = At<uint32_t>(image, l.cr3);
  t.eip = read(l.eip);
  t.eflags = read(l.eflags);
  for (unsigned i = 0; i < 8; ++i) {
    t.gpr[i] = read(l.gpr + i * l.width) | (l.width == 2 ? 0xFFFF0000u : 0);
  }
  for (unsigned i = 0; i < l.seg_count; ++i) t.seg[i] = At<uint16_t>(image, l.seg + i * l.seg_step);
  t.ldt = At<uint16_t>(image, l.ldt);
  return t;
}

bool SaveTask(SoftVcpu& c, uint64_t base, const Layout& l, uint64_t rip, uint64_t rflags) {
  const CpuState& s = c.s;
  auto write = [&](unsigned offset, uint64_t v) {
    return l.width == 4 ? WriteSystem(c, base + offset, static_cast<uint32_t>(v))
                        : WriteSystem(c, base + offset, static_cast<uint16_t>(v));
  };
  if (!write(l.eip, rip) || !write(l.eflags, rflags)) return false;
  for (unsigned i = 0; i < 8; ++i) {
    if (!write(l.gpr + i * l.width, s.gpr[i])) return false;
  }
  for (unsigned i = 0; i < l.seg_count; ++i) {
    if (!WriteSystem(c, base + l.seg + i * l.seg_step, s.seg[i].selector)) return false;
  }
  return true;
}

// A segment register of the new task; the faults are #TS.
bool LoadTaskSegment(SoftVcpu& c, SegmentIndex index, uint16_t selector, uint32_t ext) {
  CpuState& s = c.s;
  const uint32_t code = (selector & 0xFFFCu) | ext;
  Descriptor d;
  if (index == kSs) {
    if (!CheckStackSegment(c, selector, s.cpl, kTs, ext, &d) || !MarkAccessed(c, selector, &d)) {
      return false;
    }
    SetSs(c, MakeSegment(selector, d));
    return true;
  }
  if (index == kCs) {
    if (IsNull(selector)) return Fail(c, kTs, ext);
    if (!ReadDescriptor(c, selector, kTs, ext, &d)) return false;
    const unsigned rpl = selector & 3;
    if (!d.is_code() || (d.conforming() ? d.dpl() > rpl : d.dpl() != rpl)) {
      return Fail(c, kTs, code);
    }
    if (!d.present()) return Fail(c, kNp, code);
    if (!MarkAccessed(c, selector, &d)) return false;
    SetCs(c, selector, d, rpl);
    return true;
  }
  if (IsNull(selector)) {
    s.seg[index] = NullSegment(selector);
    return true;
  }
  if (!ReadDescriptor(c, selector, kTs, ext, &d)) return false;
  if (!d.readable()) return Fail(c, kTs, code);
  if (!d.conforming() && (d.dpl() < (selector & 3u) || d.dpl() < s.cpl)) return Fail(c, kTs, code);
  if (!d.present()) return Fail(c, kNp, code);
  if (!MarkAccessed(c, selector, &d)) return false;
  s.seg[index] = MakeSegment(selector, d);
  return true;
}

bool LoadTask(SoftVcpu& c, const Task& t, const Layout& l, uint32_t ext) {
  CpuState& s = c.s;
  if (l.width == 4 && s.paging) {
    if ((s.cr4 & kCr4Pae) != 0 && !c.mmu.LoadPdptes(t.cr3)) return Fail(c, kTs, ext);
    s.cr3 = t.cr3;
    c.mmu.ModeChanged();
    c.mmu.FlushNonGlobal();
  }
  s.rip = t.eip;
  for (unsigned i = 0; i < 8; ++i) s.gpr[i] = t.gpr[i];

  // From here on faults are the new task's.
  for (unsigned i = 0; i < 6; ++i) s.seg[i] = NullSegment(t.seg[i]);
  if ((t.ldt & 4) != 0) return Fail(c, kTs, (t.ldt & 0xFFFCu) | ext);
  s.ldt = NullSegment(t.ldt);
  if (!IsNull(t.ldt)) {
    Descriptor d;
    if (!ReadDescriptor(c, t.ldt, kTs, ext, &d)) return false;
    if (d.s() || d.type() != kLdtType || !d.present()) {
      return Fail(c, kTs, (t.ldt & 0xFFFCu) | ext);
    }
    s.ldt = MakeSegment(t.ldt, d);
  }
  if ((s.rflags_rest & kVm) != 0) {
    s.v8086 = true;
    s.cpl = 3;
    for (unsigned i = 0; i < 6; ++i) LoadSegmentReal(c, static_cast<SegmentIndex>(i), t.seg[i]);
    return true;
  }
  s.v8086 = false;
  s.cpl = t.seg[kCs] & 3;
  for (SegmentIndex i : {kSs, kCs, kDs, kEs, kFs, kGs}) {
    if (!LoadTaskSegment(c, i, t.seg[i], ext)) return false;
  }
  if (s.rip > s.seg[kCs].limit) return Fail(c, kGp, ext);
  return true;
}

}  // namespace

bool SwitchTask(SoftVcpu& c, uint16_t selector, TaskCause cause, uint64_t next_rip, uint32_t ext,
                const uint32_t* error_code) {
  CpuState& s = c.s;
  const Vector wrong = cause == TaskCause::kIret || cause == TaskCause::kEvent ? kTs : kGp;
  const uint32_t code = (selector & 0xFFFCu) | ext;
  if (IsNull(selector) || (selector & 4) != 0) return Fail(c, wrong, code);
  Descriptor d;
  if (!ReadDescriptor(c, selector, wrong, ext, &d)) return false;
  const unsigned type = d.type();
  const bool busy = (type & 2) != 0;
  if (d.s() || (type != kTss16 && type != kTss16Busy && type != kTss32 && type != kTss32Busy) ||
      busy != (cause == TaskCause::kIret)) {
    return Fail(c, wrong, code);
  }
  if (!d.present()) return Fail(c, kNp, code);
  const Layout& layout = (type & 8) != 0 ? k32 : k16;
  if (d.limit() < layout.size - 1) return Fail(c, kTs, code);

  const SegmentState old_tr = s.tr;
  if (old_tr.unusable) return Fail(c, kTs, ext);
  const Layout& old_layout = (old_tr.attributes & 8) != 0 ? k32 : k16;
  uint8_t image[k32.size];
  if (!c.mmu.ReadSlow(d.base(), image, layout.size, Rights::kImplicitSupervisor) ||
      !c.mmu.Probe(old_tr.base, old_layout.size, Access::kWrite, Rights::kImplicitSupervisor)) {
    return false;
  }
  Task task = Parse(image, layout);

  uint64_t old_flags = GetRflags(s);
  if (cause == TaskCause::kIret) old_flags &= ~kNt;
  if (cause != TaskCause::kCall && cause != TaskCause::kEvent) {
    if (!MarkBusy(c, old_tr.selector, false)) return false;
  }
  if (!SaveTask(c, old_tr.base, old_layout, next_rip, old_flags)) return false;
  const bool nested = cause == TaskCause::kCall || cause == TaskCause::kEvent;
  if (nested && !WriteSystem(c, d.base(), old_tr.selector)) return false;
  if (cause != TaskCause::kIret && !MarkBusy(c, selector, true)) return false;

  constexpr uint64_t kTaskFlags = kCf | kPf | kAf | kZf | kSf | kTf | kIf | kDf | kOf | kIopl |
                                  kNt | kRf | kVm | kAc | kVif | kVip | kId;
  uint64_t flags = task.eflags & (layout.width == 4 ? kTaskFlags : kTaskFlags & 0xFFFF);
  if (nested) flags |= kNt;
  SetRflags(s, flags);
  s.cr0 |= kCr0Ts;
  s.dr[7] &= ~uint64_t{0x155};  // the local breakpoints
  s.tr = MakeSegment(selector, d);
  s.tr.attributes |= 2;

  const bool ok = LoadTask(c, task, layout, ext);
  if (ok && error_code != nullptr) {
    TransferStack stack(c);
    if (!stack.Push(*error_code, layout.width)) {
      ModeChanged(c);
      return false;
    }
    stack.Commit();
  }
  ModeChanged(c);
  return ok;
}

}  // namespace atl::cpu::soft
