// SPDX-License-Identifier: Apache-2.0
// Sizes as people write them.
#ifndef LIB_BASE_UNITS_H_
#define LIB_BASE_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;
inline constexpr uint64_t kTiB = 1024 * kGiB;

// "64", "0x40", "10M", "1.5G", "2T": a number and a suffix b, k, K, M, G, T, P
// or E (powers of 1024, either case). `default_unit` counts where no suffix
// stands: 1 for disk sizes, kMiB for -m. Fractions are exact to the byte,
// rounded down. InvalidArgument names the text.
absl::StatusOr<uint64_t> ParseSize(absl::string_view text, uint64_t default_unit = 1);

// "1.5 GiB", as qemu-img shows sizes: three significant digits, "20 GiB".
std::string FormatSize(uint64_t bytes);

}  // namespace atl

#endif  // LIB_BASE_UNITS_H_
