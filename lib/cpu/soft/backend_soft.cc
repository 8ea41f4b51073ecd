// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/soft/model.h"
#include "lib/cpu/soft/native_thunk.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu {
namespace {

// Handlers hand the guest's SIMD and bit instructions to the host.
Verdict Probe(const BackendOptions&) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt"))
    return {false, "software CPU: needs a host with SSE4.2 and POPCNT"};
  return {true, "software CPU"};
}

absl::StatusOr<std::unique_ptr<Vm>> CreateVm(const BackendOptions& options, GuestMemory& memory) {
  RETURN_IF_ERROR(soft::PrepareThunks());
  const bool base = options.cpu == "base";
  if (!base && options.cpu != "max") {
    return absl::InvalidArgumentError(
        absl::StrCat("software CPU: no model '", options.cpu, "': it has max and base"));
  }
  return std::unique_ptr<Vm>(
      std::make_unique<soft::SoftVm>(memory, base ? soft::CpuModel::kBase : soft::CpuModel::kMax,
                                     soft::TranslateConfig{.on = options.translate,
                                                           .code_bytes = options.code_bytes,
                                                           .precise = options.precise,
                                                           .verify = options.verify}));
}

}  // namespace

extern const Backend kSoftBackend;
const Backend kSoftBackend = {
    .name = "soft",
    .summary = "our own software CPU: runs everywhere, needs no privilege",
    .probe = &Probe,
    .create_vm = &CreateVm,
};

}  // namespace atl::cpu
