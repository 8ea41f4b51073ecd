// SPDX-License-Identifier: Apache-2.0
// A VM behind a node that speaks KVM's ioctl ABI (Documentation/virt/kvm/api.rst):
// /dev/kvm or /dev/atoll. Only what backend.cc and the self-test see.
//
// The 8259s and the IOAPIC are the machine's, in user space. The LAPICs are the
// kernel's where it can have them alone (KVM_CAP_SPLIT_IRQCHIP), so that halts, IPIs,
// timers and the ends of interrupts need no way out to user space; or the
// machine's, where a module offers none. In both cases vCPU 0, or with the machine's
// LAPICs each, asks for a vector when KVM can inject one, and asks KVM to come back
// (request_interrupt_window) when it cannot yet. CR8 travels through kvm_run where the
// LAPIC is the machine's.
#ifndef LIB_CPU_KVM_VM_H_
#define LIB_CPU_KVM_VM_H_

#include <linux/kvm.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/kvm/chips.h"
#include "lib/cpu/kvm/coalesced.h"
#include "lib/cpu/kvm/eventfds.h"
#include "lib/cpu/kvm/slots.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::kvm {

// The signal that brings a vCPU thread out of KVM_RUN. Its handler does nothing
// and is installed with the first VM; vCPU threads unblock it themselves.
int KickSignal();

// Opens `device` and checks the API version and what this backend cannot do without.
// Errors say what to do: load a module, join a group.
absl::StatusOr<UniqueFd> OpenDevice(const std::string& device);

// The binary stats of a VM or a vCPU; invalid where this KVM is older than 5.14.
UniqueFd OpenStats(int fd);

// linux/kvm.h gives structs that end in an array of no size another size in C++
// than in C, and with that other ioctl numbers: these two have their own.
struct CpuidList {  // struct kvm_cpuid2
  uint32_t count = 0;
  uint32_t pad = 0;
  kvm_cpuid_entry2 entries[256];
};
struct MsrList {  // struct kvm_msrs
  uint32_t count = 1;
  uint32_t pad = 0;
  kvm_msr_entry entry{};
};
static_assert(sizeof(MsrList) == 24);
inline constexpr unsigned long kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
inline constexpr unsigned long kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, 8);
inline constexpr unsigned long kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8);
inline constexpr unsigned long kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);

class KvmVm : public Vm, private SlotListener {
 public:
  // `kernel_lapics`: the kernel's where it offers that; `kernel_chips`: the other
  // interrupt controllers and the 8254 too, or an error. `dirty_ring_entries`: see slots.h.
  static absl::StatusOr<std::unique_ptr<KvmVm>> Create(const std::string& device,
                                                       GuestMemory& memory,
                                                       bool kernel_lapics = false,
                                                       bool kernel_chips = false,
                                                       uint32_t dirty_ring_entries = 0);
  ~KvmVm() override;

  absl::StatusOr<std::unique_ptr<Vcpu>> CreateVcpu(const VcpuConfig& config) override;
  // KVM has no A20 gate. Guests that need it closed are older than anything
  // that runs with KVM; what toggles it only to test it finds memory at 1 MiB.
  void SetA20(bool) override {}

  bool has_lapics() const override { return has_lapics_; }
  void SendInterrupt(const InterruptMessage& message) override;
  void SetLevelMessages(std::span<const InterruptMessage, kLevelMessages> pins) override {
    routes_->SetLevelMessages(pins);
  }
  InterruptChips* chips() override { return chips_.get(); }
  EventFds* eventfds() override { return has_eventfds_ ? routes_.get() : nullptr; }

  // snapshot.cc.
  absl::Status Save(SavedVm* out) override;
  absl::Status Load(const SavedVm& in) override;
  // The host's TSC when either was called last; 0 before.
  uint64_t saved_at() const { return saved_at_; }

  bool PostWrites(std::span<const PostedRange> ranges, PostedSink sink) override;
  void DeliverPosted() override {
    if (coalesced_ != nullptr) coalesced_->Deliver();
  }
  void LetSeenWait(bool may) override {
    if (coalesced_ != nullptr) coalesced_->LetSeenWait(may);
  }

  int stats_fd() const override { return stats_.get(); }

  int fd() const { return vm_.get(); }
  const GuestMemory& memory() const { return memory_; }
  // What KVM can show to a guest, already without what does not work here.
  const std::vector<kvm_cpuid_entry2>& cpuid() const { return cpuid_; }
  size_t run_size() const { return run_size_; }
  // See xsave.h.
  size_t xsave_bytes() const { return xsave_bytes_; }
  Slots& slots() { return slots_; }
  // What a new vCPU shares with the VM.
  absl::Status AddVcpu(int vcpu);
  // The first error of a slot change; a vCPU reports it instead of running.
  const absl::Status& slot_error() const { return slot_error_; }

 private:
  KvmVm(UniqueFd vm, GuestMemory& memory)
      : vm_(std::move(vm)), memory_(memory), slots_(vm_.get(), memory) {}
  absl::Status Prepare(int device, bool kernel_lapics, bool kernel_chips,
                       uint32_t dirty_ring_entries);
  void OnSlotsChanged() override { slot_error_.Update(slots_.Update()); }

  const UniqueFd vm_;
  UniqueFd stats_;
  GuestMemory& memory_;
  std::vector<kvm_cpuid_entry2> cpuid_;
  size_t run_size_ = 0;
  size_t xsave_bytes_ = 0;
  bool has_lapics_ = false;
  bool has_eventfds_ = false;
  std::unique_ptr<KvmEventFds> routes_;
  std::unique_ptr<KvmChips> chips_;
  uint64_t saved_at_ = 0;
  Slots slots_;
  absl::Status slot_error_;
  PostedSink posted_sink_;
  std::unique_ptr<Coalesced> coalesced_;
};

// Filters what KVM_GET_SUPPORTED_CPUID says to what works here. With the kernel's
// LAPICs more does: x2APIC mode, what KVM does for its guests by agreement, and the TSC
// deadline timer where `tsc_deadline`.
void FilterCpuid(std::vector<kvm_cpuid_entry2>& entries, bool kernel_lapics, bool tsc_deadline);
// Fills in what differs between vCPUs: APIC id and topology (one core each).
void SetTopology(std::vector<kvm_cpuid_entry2>& entries, unsigned index, unsigned count);

absl::StatusOr<std::unique_ptr<Vcpu>> MakeVcpu(KvmVm& vm, const VcpuConfig& config);

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_VM_H_
