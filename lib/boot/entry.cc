// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/entry.h"

#include "absl/status/status.h"

namespace atl::boot {
namespace {

using cpu::Segment;

constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint64_t kCr0Pe = 1, kCr0Et = 0x10, kCr0Ne = 0x20, kCr0Pg = uint64_t{1} << 31;
constexpr uint64_t kCr4Pae = 0x20;
constexpr uint64_t kEferLme = 0x100, kEferLma = 0x400;
constexpr uint64_t kPresent = 1, kWritable = 2, kLargePage = 0x80;

Segment Flat(uint16_t selector, uint8_t type) {
  Segment s;
  s.selector = selector;
  s.limit = 0xFFFFFFFF;
  s.type = type;
  s.db = true;
  s.g = true;
  return s;
}

// The descriptor whose hidden part `s` is (Intel SDM vol. 3, 3.4.5).
uint64_t Descriptor(const Segment& s) {
  const uint64_t limit = s.g ? s.limit >> 12 : s.limit;
  const uint64_t flags = s.type | s.s << 4 | s.dpl << 5 | s.present << 7 | s.avl << 12 | s.l << 13 |
                         s.db << 14 | s.g << 15;
  return (limit & 0xFFFF) | (s.base & 0xFFFFFF) << 16 | flags << 40 | (limit >> 16 & 0xF) << 48 |
         (s.base >> 24 & 0xFF) << 56;
}

absl::StatusOr<EntryState> Enter(GuestMemory& memory, uint64_t rip, bool long_mode) {
  EntryState out;
  Segment code = Flat(kCodeSelector, 0xB);  // read, execute, accessed
  if (long_mode) {
    code.l = true;
    code.db = false;
  }
  const Segment data = Flat(kDataSelector, 0x3);  // read, write, accessed
  for (Segment& s : out.system.segment) s = data;
  out.system.segment[cpu::kCs] = code;
  // The processor insists on a busy TSS in TR; nothing uses it.
  Segment tss;
  tss.s = false;
  tss.type = 0xB;
  tss.limit = 0x67;
  out.system.tr = tss;
  Segment ldt;
  ldt.s = false;
  ldt.type = 2;
  ldt.unusable = true;
  out.system.ldt = ldt;

  const uint64_t gdt[] = {0, 0, Descriptor(code), Descriptor(data)};
  if (!memory.Store(kGdtAt, gdt)) {
    return absl::FailedPreconditionError("the machine has no memory at its lowest addresses");
  }
  out.system.gdt = {kGdtAt.value, sizeof gdt - 1};
  out.system.idt = {0, 0};  // an exception before the kernel has its own ends in a reset
  out.system.cr0 = kCr0Pe | kCr0Et | kCr0Ne;
  out.regs.rip = rip;
  out.regs.gpr[cpu::kRsp] = kBootParamsAt.value;  // free below; kernels set their own
  return out;
}

}  // namespace

absl::StatusOr<EntryState> EnterProtectedMode(GuestMemory& memory, uint32_t eip) {
  return Enter(memory, eip, false);
}

absl::StatusOr<EntryState> EnterLongMode(GuestMemory& memory, uint64_t rip) {
  absl::StatusOr<EntryState> out = Enter(memory, rip, true);
  if (!out.ok()) return out;
  // One PML4 page, one PDPT page and a directory of 2 MiB pages for each GiB:
  // every 64-bit processor has those, not every one has 1 GiB pages.
  constexpr unsigned kGiBs = 4, kEntries = 512;
  uint64_t page[kEntries] = {};
  const Gpa pdpt = kPageTablesAt + kPageSize, directories = pdpt + kPageSize;
  page[0] = pdpt.value | kPresent | kWritable;
  bool ok = memory.Store(kPageTablesAt, page);
  for (unsigned i = 0; i < kGiBs; ++i) {
    page[i] = (directories + i * kPageSize).value | kPresent | kWritable;
  }
  ok = ok && memory.Store(pdpt, page);
  for (uint64_t i = 0; i < kGiBs; ++i) {
    for (uint64_t j = 0; j < kEntries; ++j) {
      page[j] = (i * kEntries + j) << 21 | kPresent | kWritable | kLargePage;
    }
    ok = ok && memory.Store(directories + i * kPageSize, page);
  }
  if (!ok) return absl::FailedPreconditionError("the machine has no memory for page tables");
  out->system.cr3 = kPageTablesAt.value;
  out->system.cr4 = kCr4Pae;
  out->system.efer = kEferLme | kEferLma;
  out->system.cr0 |= kCr0Pg;
  return out;
}

}  // namespace atl::boot
