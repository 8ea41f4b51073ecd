// SPDX-License-Identifier: Apache-2.0
// All backends, best first: the order in which -accel auto tries them.
#ifndef LIB_CPU_BACKENDS_H_
#define LIB_CPU_BACKENDS_H_

#include <span>

#include "lib/cpu/backend.h"

namespace atl::cpu {

std::span<const Backend* const> Backends();

}  // namespace atl::cpu

#endif  // LIB_CPU_BACKENDS_H_
