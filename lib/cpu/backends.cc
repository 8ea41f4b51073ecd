// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/backends.h"

namespace atl::cpu {

std::span<const Backend* const> Backends() {
  static constexpr const Backend* kBackends[] = {
      &kKvmBackend,
      &kSoftBackend,
  };
  return kBackends;
}

}  // namespace atl::cpu
