// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/kvm/msr_filter.h"
#include "lib/cpu/kvm/xsave.h"

namespace atl::cpu::kvm {
namespace {

constexpr int kApiVersion = 12;
// Four pages below the firmware's largest place (4 GiB - 16 MiB) that VMX uses
// for itself in real mode where the processor lacks unrestricted guests.
constexpr uint64_t kIdentityMap = 0xFEFFC000, kTss = 0xFEFFD000;

struct Capability {
  int number;
  const char* what;
};
constexpr Capability kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "memory slots"},      {KVM_CAP_EXT_CPUID, "CPUID"},
    {KVM_CAP_MP_STATE, "processor states"},     {KVM_CAP_READONLY_MEM, "read-only memory"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
};

void OnKick(int) {}

}  // namespace

int KickSignal() { return SIGUSR1; }

absl::StatusOr<UniqueFd> OpenDevice(const std::string& device) {
  UniqueFd fd(open(device.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) {
    const int error = errno;
    if (error == ENOENT || error == ENXIO || error == ENODEV) {
      return absl::NotFoundError(
          absl::StrCat(device,
                       " does not exist: no hypervisor module is loaded (modprobe kvm-intel or "
                       "kvm-amd), or virtualization is off in the firmware"));
    }
    if (error == EACCES || error == EPERM) {
      return absl::PermissionDeniedError(
          absl::StrCat(device,
                       ": permission denied; its group may open it: usermod -aG kvm NAME, then log "
                       "in again"));
    }
    return ErrnoError(error, device);
  }
  struct stat st;
  if (fstat(fd.get(), &st) != 0 || !S_ISCHR(st.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(device, " is not a device"));
  }
  const int version = ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version < 0) {
    return absl::InvalidArgumentError(absl::StrCat(device, " does not speak KVM's interface"));
  }
  if (version != kApiVersion) {
    return absl::UnimplementedError(absl::StrCat(device, " speaks version ", version,
                                                 " of KVM's interface, not ", kApiVersion));
  }
  for (const Capability& c : kNeeded) {
    if (ioctl(fd.get(), KVM_CHECK_EXTENSION, c.number) <= 0) {
      return absl::UnimplementedError(absl::StrCat(device, " lacks ", c.what));
    }
  }
  return fd;
}

UniqueFd OpenStats(int fd) {
  UniqueFd out(ioctl(fd, KVM_GET_STATS_FD, nullptr));
  if (out.valid()) fcntl(out.get(), F_SETFD, FD_CLOEXEC);
  return out;
}

absl::StatusOr<std::unique_ptr<KvmVm>> KvmVm::Create(const std::string& device, GuestMemory& memory,
                                                     bool kernel_lapics, bool kernel_chips,
                                                     uint32_t dirty_ring_entries) {
  ASSIGN_OR_RETURN(const UniqueFd kvm, OpenDevice(device));
  int fd;
  do {
    fd = ioctl(kvm.get(), KVM_CREATE_VM, 0);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoError(errno, absl::StrCat(device, ": KVM_CREATE_VM"));
  std::unique_ptr<KvmVm> vm(new KvmVm(UniqueFd(fd), memory));
  RETURN_IF_ERROR(
      Annotate(vm->Prepare(kvm.get(), kernel_lapics, kernel_chips, dirty_ring_entries), device));
  vm->stats_ = OpenStats(vm->fd());
  memory.AddListener(vm.get());
  memory.SetWriteLog(&vm->slots_);
  return vm;
}

KvmVm::~KvmVm() {
  memory_.RemoveListener(this);
  memory_.SetWriteLog(nullptr);
}

absl::Status KvmVm::Prepare(int device, bool kernel_lapics, bool kernel_chips,
                            uint32_t dirty_ring_entries) {
  // SA_RESTART would send the thread back into KVM_RUN.
  struct sigaction action {};
  action.sa_handler = OnKick;
  if (sigaction(KickSignal(), &action, nullptr) != 0) return ErrnoError(errno, "sigaction");

  const int run_size = ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size < static_cast<int>(sizeof(kvm_run))) return ErrnoError(errno, "kvm_run's size");
  run_size_ = static_cast<size_t>(run_size);

  // Only VMX needs these, and only it may refuse them.
  uint64_t identity = kIdentityMap;
  if (ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
      ioctl(vm_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity) != 0) {
    return ErrnoError(errno, "KVM_SET_IDENTITY_MAP_ADDR");
  }
  if (ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
      ioctl(vm_.get(), KVM_SET_TSS_ADDR, kTss) != 0) {
    return ErrnoError(errno, "KVM_SET_TSS_ADDR");
  }
  // MSRs that KVM does not have come to the bus: those of the LAPIC's x2APIC mode.
  RETURN_IF_ERROR(SetMsrFilter(device, vm_.get()));
  RETURN_IF_ERROR(slots_.Prepare(device, dirty_ring_entries));
  xsave_bytes_ = XsaveBytes(vm_.get());

  const auto offers = [device](int capability) {
    return ioctl(device, KVM_CHECK_EXTENSION, capability) > 0;
  };
  if (kernel_chips) {
    ASSIGN_OR_RETURN(chips_, KvmChips::Create(device, vm_.get()));
    has_lapics_ = true;
  } else if (kernel_lapics && offers(KVM_CAP_SPLIT_IRQCHIP) && offers(KVM_CAP_SIGNAL_MSI) &&
             offers(KVM_CAP_IRQ_ROUTING)) {
    kvm_enable_cap split{};
    split.cap = KVM_CAP_SPLIT_IRQCHIP;
    split.args[0] = kLevelMessages;
    has_lapics_ = ioctl(vm_.get(), KVM_ENABLE_CAP, &split) == 0;
  }
  // Interrupts by eventfd need LAPICs to send them to.
  has_eventfds_ = has_lapics_ && offers(KVM_CAP_IOEVENTFD) && offers(KVM_CAP_IRQFD);
  routes_ = std::make_unique<KvmEventFds>(vm_.get(), offers(KVM_CAP_IOEVENTFD_ANY_LENGTH));
  if (chips_ != nullptr) RETURN_IF_ERROR(routes_->UseChips());

  auto list = std::make_unique<CpuidList>();
  list->count = static_cast<uint32_t>(std::size(list->entries));
  if (ioctl(device, kGetSupportedCpuid, list.get()) != 0) {
    return ErrnoError(errno, "KVM_GET_SUPPORTED_CPUID");
  }
  // Some room stays for what FilterCpuid() adds.
  cpuid_.assign(list->entries,
                list->entries + std::min<size_t>(list->count, std::size(list->entries) - 8));
  FilterCpuid(cpuid_, has_lapics_,
              ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0);

  OnSlotsChanged();
  return slot_error_;
}

bool KvmVm::PostWrites(std::span<const PostedRange> ranges, PostedSink sink) {
  posted_sink_ = std::move(sink);
  coalesced_ = std::make_unique<Coalesced>(vm_.get(), ranges, posted_sink_);
  return coalesced_->any();
}

absl::Status KvmVm::AddVcpu(int vcpu) {
  EnforceParavirtCpuid(vm_.get(), vcpu);
  if (coalesced_ != nullptr) coalesced_->AddVcpu(vcpu);
  return slots_.AddVcpu(vcpu);
}

void KvmVm::SendInterrupt(const InterruptMessage& message) {
  kvm_msi msi{};
  msi.address_lo = static_cast<uint32_t>(message.address);
  msi.data = message.data;
  // To nobody, or refused: as on the bus of a PC, nothing happens.
  (void)ioctl(vm_.get(), KVM_SIGNAL_MSI, &msi);
}

absl::StatusOr<std::unique_ptr<Vcpu>> KvmVm::CreateVcpu(const VcpuConfig& config) {
  return MakeVcpu(*this, config);
}

}  // namespace atl::cpu::kvm
