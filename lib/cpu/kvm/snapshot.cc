// SPDX-License-Identifier: Apache-2.0
// Order matters in loading: the LAPIC after the APIC base, its timer after the
// TSC, events after the registers (which cancel them), a processor's activity last.
//
// Time. A guest's TSC is the host's and an offset; the offset says it exactly, so that
// the counters of a VM's processors agree after loading as they did before: each
// is saved as it stood at one instant, that of Vm::Save(), and goes on from one, that
// of Vm::Load(). A KVM without that attribute has the counter read and written.
#include "lib/cpu/kvm/snapshot.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/msr_table.h"

namespace atl::cpu::kvm {
namespace {

constexpr uint32_t kMsrTsc = 0x10;
// XSAVE's standard form without what CPUID 0xD adds.
constexpr size_t kLeastXsave = 576, kXstateBvAt = 512, kAvxBytes = 256;
constexpr uint64_t kX87 = 1, kAvx = 4;
// KVM takes rates this near for the same; parts of a million.
constexpr uint64_t kTscTolerance = 250;
constexpr uint8_t kDebugVector = 1;
// As vm.h's: in C++ struct kvm_xsave has another size than in C.
constexpr size_t kXsaveBytes = 4096;
constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xA4, kXsaveBytes);
constexpr unsigned long kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xA5, kXsaveBytes);
constexpr unsigned long kGetXsave2 = _IOC(_IOC_READ, KVMIO, 0xCF, kXsaveBytes);
static_assert(sizeof(kvm_lapic_state) == kLapicBytes && sizeof(kvm_irqchip) == 520 &&
              sizeof(kvm_pit_state2) == 112 && sizeof(kvm_sregs2) == 320 &&
              sizeof(kvm_xcrs) == 392);

absl::Status Refuse(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("vCPU state: ", field, ": ", why));
}

class VcpuState {
 public:
  VcpuState(const KvmVm& vm, int fd) : vm_(vm), fd_(fd) {}

  absl::Status Save(SavedVcpu* out);
  absl::Status Load(const SavedVcpu& in, StatePart part);

 private:
  absl::Status Call(unsigned long request, void* argument, absl::string_view field) {
    if (ioctl(fd_, request, argument) == 0) return absl::OkStatus();
    return ErrnoError(errno, absl::StrCat("vCPU state: ", field));
  }
  bool Offers(int capability) const { return ioctl(vm_.fd(), KVM_CHECK_EXTENSION, capability) > 0; }
  // 1: done; 0: there is none, or not of that value; else errno is set.
  int Msr(unsigned long request, uint32_t index, uint64_t* value) {
    MsrList list;
    list.entry.index = index;
    list.entry.data = *value;
    const int n = ioctl(fd_, request, &list);
    if (n == 1) *value = list.entry.data;
    return n;
  }

  absl::Status SavePdptes(SavedVcpu* out);
  absl::Status SaveFpu(SavedVcpu* out);
  absl::Status SaveMsrs(SavedVcpu* out);
  absl::Status SaveEvents(SavedVcpu* out);
  absl::Status SaveActivity(SavedVcpu* out);
  absl::Status SaveLapic(SavedVcpu* out);
  absl::Status SaveTsc(SavedVcpu* out);

  absl::Status LoadPdptes(const SavedVcpu& in);
  absl::Status LoadFpu(const SavedVcpu& in);
  absl::Status LoadMsrs(const SavedVcpu& in, std::initializer_list<MsrKind> kinds);
  absl::Status LoadDebug(const SavedVcpu& in);
  absl::Status LoadEvents(const SavedVcpu& in);
  absl::Status LoadLapic(const SavedVcpu& in);
  absl::Status LoadTsc(const SavedVcpu& in);
  absl::Status LoadActivity(const SavedVcpu& in);

  bool TscOffset(unsigned long request, uint64_t* offset) {
    kvm_device_attr attr{};
    attr.group = KVM_VCPU_TSC_CTRL;
    attr.attr = KVM_VCPU_TSC_OFFSET;
    attr.addr = reinterpret_cast<uint64_t>(offset);
    return vm_.saved_at() != 0 && ioctl(fd_, request, &attr) == 0;
  }
  size_t XsaveBytes() const {
    const int size = ioctl(vm_.fd(), KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    return std::max(kXsaveBytes, static_cast<size_t>(std::max(size, 0)));
  }

  const KvmVm& vm_;
  const int fd_;
};

// ---- Saving ----

absl::Status VcpuState::SavePdptes(SavedVcpu* out) {
  if (!Offers(KVM_CAP_SREGS2)) return absl::OkStatus();
  kvm_sregs2 sregs{};
  RETURN_IF_ERROR(Call(KVM_GET_SREGS2, &sregs, "pdpte"));
  out->has_pdptes = (sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) != 0;
  if (out->has_pdptes) std::copy(std::begin(sregs.pdptrs), std::end(sregs.pdptrs), out->pdpte);
  return absl::OkStatus();
}

absl::Status VcpuState::SaveFpu(SavedVcpu* out) {
  // KVM_GET_FPU would leave MXCSR out; this one is there without XSAVE, too.
  if (!Offers(KVM_CAP_XSAVE)) {
    return absl::UnimplementedError("vCPU state: xsave: this KVM does not give it");
  }
  out->xsave.resize(XsaveBytes());
  const bool wide = out->xsave.size() > kXsaveBytes;
  RETURN_IF_ERROR(Call(wide ? kGetXsave2 : kGetXsave, out->xsave.data(), "xsave"));
  // Without the zeros at the end, which loading adds again, but with what other readers
  // of the form expect whole.
  uint64_t parts;
  std::memcpy(&parts, out->xsave.data() + kXstateBvAt, sizeof parts);
  const size_t least = (parts & kAvx) != 0 ? kLeastXsave + kAvxBytes : kLeastXsave;
  while (out->xsave.size() > least && out->xsave.back() == 0) out->xsave.pop_back();
  if (!Offers(KVM_CAP_XCRS)) return absl::OkStatus();
  kvm_xcrs xcrs{};
  RETURN_IF_ERROR(Call(KVM_GET_XCRS, &xcrs, "xcr0"));
  for (uint32_t i = 0; i < std::min<uint32_t>(xcrs.nr_xcrs, KVM_MAX_XCRS); ++i) {
    if (xcrs.xcrs[i].xcr == 0) out->xcr0 = xcrs.xcrs[i].value;
  }
  return absl::OkStatus();
}

absl::Status VcpuState::SaveMsrs(SavedVcpu* out) {
  for (const MsrInfo& info : MsrInfos()) {
    const bool saved = info.kind == MsrKind::kRegister || info.kind == MsrKind::kTime ||
                       (info.kind == MsrKind::kLapic && vm_.has_lapics());
    if (!saved) continue;
    for (uint32_t msr = info.first; msr <= info.last; ++msr) {
      uint64_t value = 0;
      const int n = Msr(kGetMsrs, msr, &value);
      if (n < 0) return ErrnoError(errno, absl::StrFormat("vCPU state: MSR 0x%x", msr));
      if (n == 1) out->msrs.push_back({msr, value});
    }
  }
  return absl::OkStatus();
}

absl::Status VcpuState::SaveEvents(SavedVcpu* out) {
  kvm_vcpu_events in{};
  RETURN_IF_ERROR(Call(KVM_GET_VCPU_EVENTS, &in, "events"));
  SavedEvents& e = out->events;
  e.exception = in.exception.injected != 0;
  if (e.exception) {
    e.exception_vector = in.exception.nr;
    e.exception_has_code = in.exception.has_error_code != 0;
    e.exception_code = in.exception.error_code;
  }
  e.interrupt = in.interrupt.injected != 0;
  if (e.interrupt) e.interrupt_vector = in.interrupt.nr;
  e.shadow = in.interrupt.shadow & (kShadowMovSs | kShadowSti);
  e.nmi = in.nmi.injected != 0;
  e.nmi_pending = in.nmi.pending != 0;
  e.nmi_masked = in.nmi.masked != 0;
  e.sipi_vector = static_cast<uint8_t>(in.sipi_vector);
  if (in.flags & KVM_VCPUEVENT_VALID_SMM) {
    e.smm = in.smi.smm != 0;
    e.smi_pending = in.smi.pending != 0;
    e.smm_inside_nmi = in.smi.smm_inside_nmi != 0;
    e.smm_latched_init = in.smi.latched_init != 0;
  }
  return absl::OkStatus();
}

absl::Status VcpuState::SaveActivity(SavedVcpu* out) {
  if (!vm_.has_lapics()) return absl::OkStatus();
  kvm_mp_state state{};
  RETURN_IF_ERROR(Call(KVM_GET_MP_STATE, &state, "activity"));
  switch (state.mp_state) {
    case KVM_MP_STATE_RUNNABLE:
      out->activity = Activity::kRunning;
      break;
    case KVM_MP_STATE_HALTED:
      out->activity = Activity::kHalted;
      break;
    case KVM_MP_STATE_UNINITIALIZED:
      out->activity = Activity::kWaitForSipi;
      break;
    case KVM_MP_STATE_INIT_RECEIVED:
      out->activity = Activity::kInitReceived;
      break;
    case KVM_MP_STATE_SIPI_RECEIVED:
      out->activity = Activity::kSipiReceived;
      break;
    default:
      return Refuse("activity", absl::StrCat("KVM's ", state.mp_state, " is unknown"));
  }
  return absl::OkStatus();
}

absl::Status VcpuState::SaveLapic(SavedVcpu* out) {
  if (!vm_.has_lapics()) return absl::OkStatus();
  out->lapic.resize(kLapicBytes);
  return Call(KVM_GET_LAPIC, out->lapic.data(), "lapic");
}

absl::Status VcpuState::SaveTsc(SavedVcpu* out) {
  const int khz = ioctl(fd_, KVM_GET_TSC_KHZ, 0);
  out->tsc_khz = static_cast<uint32_t>(std::max(khz, 0));
  uint64_t offset;
  if (TscOffset(KVM_GET_DEVICE_ATTR, &offset)) {
    out->tsc = vm_.saved_at() + offset;
    return absl::OkStatus();
  }
  if (Msr(kGetMsrs, kMsrTsc, &out->tsc) == 1) return absl::OkStatus();
  return ErrnoError(errno, "vCPU state: tsc");
}

absl::Status VcpuState::Save(SavedVcpu* out) {
  // First, as the kernel lets it take INIT and SIPI that arrived.
  RETURN_IF_ERROR(SaveActivity(out));
  RETURN_IF_ERROR(SavePdptes(out));
  kvm_debugregs debug{};
  RETURN_IF_ERROR(Call(KVM_GET_DEBUGREGS, &debug, "dr"));
  std::copy(std::begin(debug.db), std::end(debug.db), out->dr);
  out->dr6 = debug.dr6;
  out->dr7 = debug.dr7;
  RETURN_IF_ERROR(SaveFpu(out));
  // The deadline before what it makes pending: one that passes in between is seen twice,
  // which is one interrupt, not never.
  RETURN_IF_ERROR(SaveMsrs(out));
  RETURN_IF_ERROR(SaveLapic(out));
  RETURN_IF_ERROR(SaveTsc(out));
  return SaveEvents(out);
}

// ---- Loading ----

absl::Status VcpuState::LoadPdptes(const SavedVcpu& in) {
  // Without that, KVM has read them from memory, which is where they came from.
  if (!in.has_pdptes || !Offers(KVM_CAP_SREGS2)) return absl::OkStatus();
  kvm_sregs2 sregs{};
  RETURN_IF_ERROR(Call(KVM_GET_SREGS2, &sregs, "pdpte"));
  sregs.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
  std::copy(std::begin(in.pdpte), std::end(in.pdpte), sregs.pdptrs);
  return Call(KVM_SET_SREGS2, &sregs, "pdpte");
}

absl::Status VcpuState::LoadFpu(const SavedVcpu& in) {
  if (in.xsave.size() < kLeastXsave || in.xsave.size() > kMaxXsaveBytes) {
    return Refuse("xsave", absl::StrCat(in.xsave.size(), " bytes, at least ", kLeastXsave));
  }
  if (!Offers(KVM_CAP_XCRS) && in.xcr0 != kX87) {
    return Refuse("xcr0", absl::StrFormat("0x%x, the processor has no XSAVE", in.xcr0));
  }
  const size_t room = XsaveBytes();
  std::vector<uint8_t> area = in.xsave;
  if (std::any_of(area.begin() + static_cast<ptrdiff_t>(std::min(room, area.size())), area.end(),
                  [](uint8_t b) { return b != 0; })) {
    return Refuse("xsave", absl::StrCat("registers past byte ", room, ", which KVM has not here"));
  }
  area.resize(room);
  if (absl::Status set = Call(kSetXsave, area.data(), "xsave"); !set.ok()) {
    uint64_t parts;
    std::memcpy(&parts, area.data() + kXstateBvAt, sizeof parts);
    return Annotate(set, absl::StrFormat("components 0x%x", parts));
  }
  if (!Offers(KVM_CAP_XCRS)) return absl::OkStatus();
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = in.xcr0;
  return Call(KVM_SET_XCRS, &xcrs, absl::StrFormat("xcr0: 0x%x", in.xcr0));
}

absl::Status VcpuState::LoadMsrs(const SavedVcpu& in, std::initializer_list<MsrKind> kinds) {
  for (const SavedMsr& m : in.msrs) {
    const MsrInfo* info = FindMsr(m.index);
    if (info == nullptr || info->kind == MsrKind::kElsewhere || info->kind == MsrKind::kNone) {
      return Refuse(absl::StrFormat("MSR 0x%x", m.index), "is no state that is saved");
    }
    if (std::find(kinds.begin(), kinds.end(), info->kind) == kinds.end()) continue;
    uint64_t value = info->reset;
    // It may be written once, or never, or do something: only where it is to change.
    if (Msr(kGetMsrs, m.index, &value) < 0) return ErrnoError(errno, "KVM_GET_MSRS");
    if (value == m.value) continue;
    value = m.value;
    if (Msr(kSetMsrs, m.index, &value) == 1) continue;
    return Refuse(absl::StrFormat("MSR 0x%x (%s)", m.index, info->name),
                  absl::StrFormat("KVM cannot have 0x%x in it here", m.value));
  }
  return absl::OkStatus();
}

absl::Status VcpuState::LoadDebug(const SavedVcpu& in) {
  kvm_debugregs debug{};
  std::copy(std::begin(in.dr), std::end(in.dr), debug.db);
  debug.dr6 = in.dr6 | in.events.debug;
  debug.dr7 = in.dr7;
  return Call(KVM_SET_DEBUGREGS, &debug, "dr");
}

absl::Status VcpuState::LoadEvents(const SavedVcpu& in) {
  const SavedEvents& e = in.events;
  if (e.exception && e.exception_vector > 31) {
    return Refuse("events.exception_vector", absl::StrCat(e.exception_vector));
  }
  if (e.exception && e.debug != 0) return Refuse("events.debug", "beside another exception");
  kvm_vcpu_events out{};
  RETURN_IF_ERROR(Call(KVM_GET_VCPU_EVENTS, &out, "events"));
  const uint32_t has_smm = out.flags & KVM_VCPUEVENT_VALID_SMM;
  if (has_smm == 0 && (e.smm || e.smi_pending || e.smm_inside_nmi || e.smm_latched_init)) {
    return Refuse("events", "this KVM has no system management mode");
  }
  out = kvm_vcpu_events{};
  out.exception.injected = e.exception || e.debug != 0;
  out.exception.nr = e.debug != 0 ? kDebugVector : e.exception_vector;
  out.exception.has_error_code = e.exception_has_code;
  out.exception.error_code = e.exception_code;
  out.interrupt.injected = e.interrupt;
  out.interrupt.nr = e.interrupt_vector;
  out.interrupt.shadow = e.shadow;
  out.nmi.injected = e.nmi;
  out.nmi.pending = e.nmi_pending;
  out.nmi.masked = e.nmi_masked;
  out.sipi_vector = e.sipi_vector;
  out.smi.smm = e.smm;
  out.smi.pending = e.smi_pending;
  out.smi.smm_inside_nmi = e.smm_inside_nmi;
  out.smi.latched_init = e.smm_latched_init;
  out.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | has_smm;
  if (vm_.has_lapics()) out.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
  return Call(KVM_SET_VCPU_EVENTS, &out, "events");
}

absl::Status VcpuState::LoadLapic(const SavedVcpu& in) {
  if (in.lapic.empty() != !vm_.has_lapics()) {
    return Refuse("lapic", vm_.has_lapics() ? "the saved machine's LAPICs were devices of its own"
                                            : "the saved machine's LAPICs were KVM's");
  }
  if (in.lapic.empty()) return absl::OkStatus();
  if (in.lapic.size() != kLapicBytes) {
    return Refuse("lapic", absl::StrCat(in.lapic.size(), " bytes, not ", kLapicBytes));
  }
  std::vector<uint8_t> page = in.lapic;
  return Call(KVM_SET_LAPIC, page.data(), "lapic");
}

absl::Status VcpuState::LoadTsc(const SavedVcpu& in) {
  const auto here = static_cast<uint64_t>(std::max(ioctl(fd_, KVM_GET_TSC_KHZ, 0), 0));
  // To KVM it would be the host's own.
  if (in.tsc_khz == 0 && here != 0) return Refuse("tsc_khz", "0");
  const uint64_t apart = here > in.tsc_khz ? here - in.tsc_khz : in.tsc_khz - here;
  if (apart > here * kTscTolerance / 1000000 &&
      ioctl(fd_, KVM_SET_TSC_KHZ, static_cast<unsigned long>(in.tsc_khz)) != 0) {
    return Refuse("tsc_khz", absl::StrFormat("the time-stamp counter ran at %u kHz, here it does "
                                             "at %u and cannot be scaled",
                                             in.tsc_khz, here));
  }
  uint64_t value = in.tsc - vm_.saved_at();
  if (TscOffset(KVM_SET_DEVICE_ATTR, &value)) return absl::OkStatus();
  value = in.tsc;
  if (Msr(kSetMsrs, kMsrTsc, &value) == 1) return absl::OkStatus();
  return ErrnoError(errno, "vCPU state: tsc");
}

absl::Status VcpuState::LoadActivity(const SavedVcpu& in) {
  if (!vm_.has_lapics()) {
    if (in.activity <= Activity::kWaitForSipi) return absl::OkStatus();
    return Refuse("activity", "a LAPIC of KVM's was taking INIT or SIPI");
  }
  static constexpr uint32_t kStates[] = {KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_HALTED,
                                         KVM_MP_STATE_UNINITIALIZED, KVM_MP_STATE_INIT_RECEIVED,
                                         KVM_MP_STATE_SIPI_RECEIVED};
  if (in.events.init || (in.events.sipi && in.activity != Activity::kSipiReceived)) {
    return Refuse("events", "INIT or SIPI of a machine's LAPIC is pending");
  }
  if (in.activity > kLastActivity) {
    return Refuse("activity", absl::StrCat(static_cast<int>(in.activity)));
  }
  kvm_mp_state state{kStates[static_cast<int>(in.activity)]};
  return Call(KVM_SET_MP_STATE, &state, "activity");
}

absl::Status VcpuState::Load(const SavedVcpu& in, StatePart part) {
  const bool whole = part == StatePart::kWhole;
  RETURN_IF_ERROR(LoadPdptes(in));
  RETURN_IF_ERROR(LoadFpu(in));
  RETURN_IF_ERROR(LoadMsrs(in, {MsrKind::kRegister}));
  if (whole) {
    RETURN_IF_ERROR(LoadTsc(in));
    RETURN_IF_ERROR(LoadLapic(in));
    RETURN_IF_ERROR(LoadMsrs(in, {MsrKind::kTime, MsrKind::kLapic}));
  }
  RETURN_IF_ERROR(LoadDebug(in));
  RETURN_IF_ERROR(LoadActivity(in));
  return LoadEvents(in);
}

// ---- The VM's own ----

struct Chip {
  uint32_t id;
  size_t size;
  const char* name;
  std::vector<uint8_t>* bytes;
};

std::vector<Chip> Chips(SavedVm& vm) {
  return {{KVM_IRQCHIP_PIC_MASTER, sizeof(kvm_pic_state), "pic", &vm.pic[0]},
          {KVM_IRQCHIP_PIC_SLAVE, sizeof(kvm_pic_state), "pic", &vm.pic[1]},
          {KVM_IRQCHIP_IOAPIC, sizeof(kvm_ioapic_state), "ioapic", &vm.ioapic}};
}

}  // namespace

absl::Status SaveFromKernel(const KvmVm& vm, int vcpu, SavedVcpu* out) {
  return VcpuState(vm, vcpu).Save(out);
}

absl::Status LoadIntoKernel(const KvmVm& vm, int vcpu, const SavedVcpu& in, StatePart part) {
  return VcpuState(vm, vcpu).Load(in, part);
}

absl::Status KvmVm::Save(SavedVm* out) {
  *out = SavedVm();
  kvm_clock_data clock{};
  // Where it does not say so itself, the host's TSC is read as near as can be.
  saved_at_ = __rdtsc();
  if (ioctl(fd(), KVM_GET_CLOCK, &clock) == 0) {
    out->has_clock = true;
    out->clock_ns = clock.clock;
    if (clock.flags & KVM_CLOCK_HOST_TSC) saved_at_ = clock.host_tsc;
  }
  for (const Chip& chip : Chips(*out)) {
    kvm_irqchip state{};
    state.chip_id = chip.id;
    if (ioctl(fd(), KVM_GET_IRQCHIP, &state) != 0) break;  // they are devices
    const auto* bytes = reinterpret_cast<const uint8_t*>(&state.chip);
    chip.bytes->assign(bytes, bytes + chip.size);
  }
  kvm_pit_state2 pit{};
  if (ioctl(fd(), KVM_GET_PIT2, &pit) == 0) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&pit);
    out->pit.assign(bytes, bytes + sizeof pit);
  }
  return absl::OkStatus();
}

absl::Status KvmVm::Load(const SavedVm& in) {
  SavedVm saved = in;
  for (const Chip& chip : Chips(saved)) {
    kvm_irqchip state{};
    state.chip_id = chip.id;
    const bool kernels = ioctl(fd(), KVM_GET_IRQCHIP, &state) == 0;
    if (chip.bytes->size() != (kernels ? chip.size : 0)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "VM state: %s: %u bytes, not %u: its interrupt controllers are %s", chip.name,
          chip.bytes->size(), kernels ? chip.size : 0, kernels ? "KVM's here" : "devices here"));
    }
    if (!kernels) continue;
    std::memcpy(&state.chip, chip.bytes->data(), chip.size);
    if (ioctl(fd(), KVM_SET_IRQCHIP, &state) != 0) {
      return ErrnoError(errno, absl::StrCat("VM state: ", chip.name));
    }
  }
  kvm_pit_state2 pit{};
  const bool kernels_pit = ioctl(fd(), KVM_GET_PIT2, &pit) == 0;
  if (saved.pit.size() != (kernels_pit ? sizeof pit : 0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "VM state: pit: %u bytes, not %u: the timer is %s", saved.pit.size(),
        kernels_pit ? sizeof pit : 0, kernels_pit ? "KVM's here" : "a device here"));
  }
  if (kernels_pit) {
    std::memcpy(&pit, saved.pit.data(), sizeof pit);
    if (ioctl(fd(), KVM_SET_PIT2, &pit) != 0) return ErrnoError(errno, "VM state: pit");
  }
  kvm_clock_data clock{};
  saved_at_ = __rdtsc();
  if (!in.has_clock) return absl::OkStatus();
  clock.clock = in.clock_ns;
  if (ioctl(fd(), KVM_SET_CLOCK, &clock) != 0) return ErrnoError(errno, "VM state: clock");
  return absl::OkStatus();
}

}  // namespace atl::cpu::kvm
