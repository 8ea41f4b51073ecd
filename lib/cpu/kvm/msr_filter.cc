// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/msr_filter.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <array>
#include <cstddef>
#include <iterator>

#include "lib/base/status_macros.h"

namespace atl::cpu::kvm {
namespace {

constexpr RefusedMsrs kRefused[] = {
    // The host's performance counters; leaf 0xA is empty.
    {0xC1, 8},
    {0x186, 8},
    {0x309, 3},
    {0x345, 1},
    {0x38D, 4},
    {0x3F1, 2},
    {0x4C1, 8},
    // What VMX can, of guests that have none.
    {0x480, 0x14},
    // Hyper-V's.
    {0x40000000, 0x200},
    // KVM's own: asynchronous page faults, migration.
    {0x4B564D02, 1},
    {0x4B564D06, 3},
    // AMD's counters, old and new.
    {0xC0010000, 8},
    {0xC0010200, 12},
    // SVM: VM_CR to VM_HSAVE_PA.
    {0xC0010114, 4},
};
static_assert(std::size(kRefused) <= KVM_MSR_FILTER_MAX_RANGES);
// A bit that is 0 refuses.
constexpr size_t kMostBytes = 0x200 / 8;

}  // namespace

std::span<const RefusedMsrs> GetRefusedMsrs() { return kRefused; }

absl::Status SetMsrFilter(int device, int vm) {
  if (ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_X86_USER_SPACE_MSR) > 0) {
    kvm_enable_cap exits{};
    exits.cap = KVM_CAP_X86_USER_SPACE_MSR;
    exits.args[0] =
        KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_FILTER;
    if (ioctl(vm, KVM_ENABLE_CAP, &exits) != 0) return ErrnoError(errno, "exits for MSRs");
  }
  if (ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) <= 0) return absl::OkStatus();

  std::array<uint8_t, kMostBytes> none{};
  kvm_msr_filter filter{};
  filter.flags = KVM_MSR_FILTER_DEFAULT_ALLOW;
  for (size_t i = 0; i < std::size(kRefused); ++i) {
    if (kRefused[i].count > 8 * none.size()) return absl::InternalError("a range of MSRs");
    filter.ranges[i].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
    filter.ranges[i].base = kRefused[i].first;
    filter.ranges[i].nmsrs = kRefused[i].count;
    filter.ranges[i].bitmap = none.data();
  }
  if (ioctl(vm, KVM_X86_SET_MSR_FILTER, &filter) != 0) {
    return ErrnoError(errno, "KVM_X86_SET_MSR_FILTER");
  }
  return absl::OkStatus();
}

void EnforceParavirtCpuid(int vm, int vcpu) {
  if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_ENFORCE_PV_FEATURE_CPUID) <= 0) return;
  kvm_enable_cap enforce{};
  enforce.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID;
  enforce.args[0] = 1;
  (void)ioctl(vcpu, KVM_ENABLE_CAP, &enforce);
}

}  // namespace atl::cpu::kvm
