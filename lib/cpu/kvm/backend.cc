// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/backend.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/kvm/self_test.h"
#include "lib/cpu/kvm/vm.h"

namespace atl::cpu {
namespace {

// `-accel auto` takes the project's own module where mainline's is not loaded.
std::string DeviceOf(const BackendOptions& options) {
  constexpr char kMainline[] = "/dev/kvm", kOwn[] = "/dev/atoll";
  const bool own = !options.thorough && options.device == kMainline &&
                   access(kMainline, F_OK) != 0 && access(kOwn, F_OK) == 0;
  return own ? kOwn : options.device;
}

Verdict Probe(const BackendOptions& options) {
  constexpr uint64_t kBudgetNs = 800'000'000;
  const std::string device = DeviceOf(options);
  const std::string hardware = kvm::VirtualizationHardware();
  if (hardware.empty() && !options.thorough) {
    const absl::Status opened = kvm::OpenDevice(device).status();
    return {false, opened.ok() ? absl::StrCat(device,
                                              " opens, but the processor has neither VT-x nor SVM: "
                                              "not tested (-accel kvm does)")
                               : std::string(opened.message())};
  }
  // The slowest of three: caches and clock frequency warm up.
  const uint64_t native =
      std::max({kvm::NativeLongModeNs(), kvm::NativeLongModeNs(), kvm::NativeLongModeNs()});
  return kvm::JudgeByTests(device, native, hardware,
                           [&] { return kvm::RunSelfTest(device, kBudgetNs); });
}

absl::StatusOr<std::unique_ptr<Vm>> CreateVm(const BackendOptions& options, GuestMemory& memory) {
  return kvm::KvmVm::Create(DeviceOf(options), memory, options.kernel_lapics, options.kernel_chips,
                            options.dirty_ring_entries);
}

}  // namespace

extern const Backend kKvmBackend = {
    .name = "kvm",
    .summary = "the processor's own virtualization through /dev/kvm or a node like it",
    .probe = Probe,
    .create_vm = CreateVm,
};

}  // namespace atl::cpu
