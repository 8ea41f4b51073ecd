// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/saved_cpu.h"

#include "absl/strings/string_view.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/dev/named_state.h"
#include "lib/dev/state.h"

namespace atl::vm {
namespace {

using dev::StateVisitor;

constexpr absl::string_view kVcpuName = "vcpu", kVmName = "vm";
constexpr size_t kMsrBytes = 12;  // a number and a value

template <size_t N>
void Words(StateVisitor& v, absl::string_view name, uint64_t (&words)[N]) {
  uint8_t bytes[8 * N];
  for (size_t i = 0; i < N; ++i) StoreLe(bytes + 8 * i, words[i]);
  v.Bytes(name, bytes);
  for (size_t i = 0; i < N; ++i) words[i] = LoadLe<uint64_t>(bytes + 8 * i);
}

void VisitSegment(StateVisitor& v, absl::string_view name, cpu::Segment& g) {
  v.Begin(name);
  v.Field("selector", g.selector);
  v.Field("base", g.base);
  v.Field("limit", g.limit);
  v.Bounded("type", g.type, 15);
  v.Bounded("dpl", g.dpl, 3);
  v.Field("present", g.present);
  v.Field("s", g.s);
  v.Field("db", g.db);
  v.Field("l", g.l);
  v.Field("g", g.g);
  v.Field("avl", g.avl);
  v.Field("unusable", g.unusable);
  v.End();
}

void VisitTable(StateVisitor& v, absl::string_view name, cpu::DescriptorTable& t) {
  v.Begin(name);
  v.Field("base", t.base);
  v.Field("limit", t.limit);
  v.End();
}

void VisitSystem(StateVisitor& v, cpu::SystemRegs& r) {
  static constexpr absl::string_view kSegments[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < 6; ++i) VisitSegment(v, kSegments[i], r.segment[i]);
  VisitSegment(v, "tr", r.tr);
  VisitSegment(v, "ldt", r.ldt);
  VisitTable(v, "gdt", r.gdt);
  VisitTable(v, "idt", r.idt);
  v.Field("cr0", r.cr0);
  v.Field("cr2", r.cr2);
  v.Field("cr3", r.cr3);
  v.Field("cr4", r.cr4);
  v.Bounded("cr8", r.cr8, 15);
  v.Field("efer", r.efer);
  v.Field("apic_base", r.apic_base);
}

void VisitEvents(StateVisitor& v, cpu::SavedEvents& e) {
  v.Begin("events");
  v.Field("exception", e.exception);
  v.Bounded("exception_vector", e.exception_vector, 31);
  v.Field("exception_has_code", e.exception_has_code);
  v.Field("exception_code", e.exception_code);
  v.Field("interrupt", e.interrupt);
  v.Field("interrupt_vector", e.interrupt_vector);
  v.Field("nmi", e.nmi);
  v.Field("debug", e.debug);
  v.Bounded("shadow", e.shadow, cpu::kShadowMovSs | cpu::kShadowSti);
  v.Field("nmi_pending", e.nmi_pending);
  v.Field("nmi_masked", e.nmi_masked);
  v.Field("init", e.init);
  v.Field("sipi", e.sipi);
  v.Field("sipi_vector", e.sipi_vector);
  v.Field("smm", e.smm);
  v.Field("smi_pending", e.smi_pending);
  v.Field("smm_inside_nmi", e.smm_inside_nmi);
  v.Field("smm_latched_init", e.smm_latched_init);
  v.End();
}

void VisitMsrs(StateVisitor& v, std::vector<cpu::SavedMsr>& msrs) {
  auto count = static_cast<uint32_t>(msrs.size());
  v.Bounded("msr_count", count, cpu::kMaxSavedMsrs);
  if (!v.status().ok()) return;
  msrs.resize(count);
  std::vector<uint8_t> bytes(count * kMsrBytes);
  for (size_t i = 0; i < count; ++i) {
    StoreLe(bytes.data() + i * kMsrBytes, msrs[i].index);
    StoreLe(bytes.data() + i * kMsrBytes + 4, msrs[i].value);
  }
  v.Bytes("msrs", bytes);
  for (size_t i = 0; i < count; ++i) {
    msrs[i].index = LoadLe<uint32_t>(bytes.data() + i * kMsrBytes);
    msrs[i].value = LoadLe<uint64_t>(bytes.data() + i * kMsrBytes + 4);
  }
}

void VisitVcpu(StateVisitor& v, cpu::SavedVcpu& s) {
  Words(v, "gpr", s.regs.gpr);
  v.Field("rip", s.regs.rip);
  v.Field("rflags", s.regs.rflags);
  VisitSystem(v, s.system);
  v.Field("has_pdptes", s.has_pdptes);
  Words(v, "pdpte", s.pdpte);
  Words(v, "dr", s.dr);
  v.Field("dr6", s.dr6);
  v.Field("dr7", s.dr7);
  v.Field("xcr0", s.xcr0);
  v.Blob("xsave", s.xsave, cpu::kMaxXsaveBytes);
  VisitMsrs(v, s.msrs);
  VisitEvents(v, s.events);
  v.Bounded("activity", s.activity, static_cast<uint64_t>(cpu::kLastActivity));
  v.Blob("lapic", s.lapic, cpu::kLapicBytes);
  v.Field("tsc_khz", s.tsc_khz);
  v.Field("tsc", s.tsc);
}

void VisitVm(StateVisitor& v, cpu::SavedVm& s) {
  v.Field("has_clock", s.has_clock);
  v.Field("clock_ns", s.clock_ns);
  v.Blob("pic0", s.pic[0], cpu::kMaxChipBytes);
  v.Blob("pic1", s.pic[1], cpu::kMaxChipBytes);
  v.Blob("ioapic", s.ioapic, cpu::kMaxChipBytes);
  v.Blob("pit", s.pit, cpu::kMaxChipBytes);
}

}  // namespace

std::vector<uint8_t> ToBytes(const cpu::SavedVcpu& state) {
  cpu::SavedVcpu copy = state;  // a visitor takes what it could change
  return dev::SaveNamedState(kVcpuName, [&](StateVisitor& v) { VisitVcpu(v, copy); });
}

absl::StatusOr<cpu::SavedVcpu> SavedVcpuFromBytes(std::span<const uint8_t> bytes) {
  cpu::SavedVcpu out;
  RETURN_IF_ERROR(
      dev::LoadNamedState(kVcpuName, bytes, [&](StateVisitor& v) { VisitVcpu(v, out); }));
  return out;
}

std::vector<uint8_t> ToBytes(const cpu::SavedVm& state) {
  cpu::SavedVm copy = state;
  return dev::SaveNamedState(kVmName, [&](StateVisitor& v) { VisitVm(v, copy); });
}

absl::StatusOr<cpu::SavedVm> SavedVmFromBytes(std::span<const uint8_t> bytes) {
  cpu::SavedVm out;
  RETURN_IF_ERROR(dev::LoadNamedState(kVmName, bytes, [&](StateVisitor& v) { VisitVm(v, out); }));
  return out;
}

}  // namespace atl::vm
