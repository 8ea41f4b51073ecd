// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/accel.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/cpu/backends.h"

namespace atl::vm {
namespace {

cpu::BackendOptions OptionsOf(const MachineConfig& config) {
  cpu::BackendOptions options;
  options.device = config.kvm_device;
  options.kernel_lapics = config.kernel_lapics;
  options.kernel_chips = config.kernel_chips;
  options.dirty_ring_entries = config.dirty_ring_entries;
  options.cpu = config.cpu;
  options.translate = config.translate;
  options.precise = config.precise;
  options.code_bytes = config.code_bytes;
  options.verify = config.verify;
  return options;
}

}  // namespace

std::vector<BackendVerdict> ProbeBackends(const MachineConfig& config) {
  const cpu::BackendOptions options = OptionsOf(config);
  std::vector<BackendVerdict> out;
  for (const cpu::Backend* b : cpu::Backends()) out.push_back({b, b->probe(options)});
  return out;
}

absl::StatusOr<Selection> SelectBackend(const MachineConfig& config) {
  Selection out;
  out.options = OptionsOf(config);
  out.options.thorough = config.accel != "auto";
  std::vector<std::string> reasons;
  for (const cpu::Backend* b : cpu::Backends()) {
    if (config.accel != "auto" && config.accel != b->name) continue;
    BackendVerdict v{b, b->probe(out.options)};
    reasons.push_back(absl::StrCat(b->name, ": ", v.verdict.reason));
    const bool usable = v.verdict.usable;
    out.verdicts.push_back(std::move(v));
    if (usable) {
      out.backend = b;
      return out;
    }
  }
  if (reasons.empty()) {
    return absl::NotFoundError(absl::StrCat("no backend is called '", config.accel, "'"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("cannot run a guest here: ", absl::StrJoin(reasons, "; ")));
}

}  // namespace atl::vm
