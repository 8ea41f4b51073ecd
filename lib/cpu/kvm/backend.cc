// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/backend.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/kvm/self_test.h"
#include "lib/cpu/kvm/vm.h"

namespace atl::cpu {
namespace {

Verdict Probe(const BackendOptions& options) {
  constexpr uint64_t kBudgetNs = 800'000'000, kShortNs = 50'000'000;
  const std::string hardware = kvm::VirtualizationHardware();
  Verdict verdict;
  // On a busy host one run may be slow; three are not.
  for (int attempt = 0; attempt < 3; ++attempt) {
    const absl::StatusOr<kvm::SelfTestTimes> times = kvm::RunSelfTest(options.device, kBudgetNs);
    if (absl::IsDeadlineExceeded(times.status())) {
      return {false,
              absl::StrCat(options.device, " opens, but ", times.status().message(),
                           " within 0.8 s: it emulates guest kernels",
                           hardware.empty() ? ", for the processor has neither VT-x nor SVM" : "")};
    }
    if (!times.ok()) {
      // Errors of opening name the device themselves.
      const absl::string_view message = times.status().message();
      return {false, absl::StartsWith(message, options.device)
                         ? std::string(message)
                         : absl::StrCat(options.device, ": ", message)};
    }
    const uint64_t native =
        std::max({kvm::NativeLongModeNs(), kvm::NativeLongModeNs(), kvm::NativeLongModeNs()});
    verdict = kvm::Judge(options.device, *times, native, hardware);
    if (verdict.usable || times->long_mode > kShortNs) break;
  }
  return verdict;
}

absl::StatusOr<std::unique_ptr<Vm>> CreateVm(const BackendOptions& options, GuestMemory& memory) {
  return kvm::KvmVm::Create(options.device, memory);
}

}  // namespace

extern const Backend kKvmBackend = {
    .name = "kvm",
    .summary = "the processor's own virtualization through /dev/kvm or a node like it",
    .probe = Probe,
    .create_vm = CreateVm,
};

}  // namespace atl::cpu
