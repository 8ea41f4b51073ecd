// SPDX-License-Identifier: Apache-2.0
// Kernels of bzImages, decompressed, kept from one start to the next: 50 MB of
// LZ4 take 0.1 s, of XZ 0.7 s, and reading the result 0.02 s.
//
// An entry is named after its file's identity (device, inode, size, times), so
// it is never that of another version of the file. It holds the image's setup
// code, then the ELF kernel up to the end of what is loaded of it.
#ifndef LIB_BOOT_KERNEL_CACHE_H_
#define LIB_BOOT_KERNEL_CACHE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/boot/bzimage.h"
#include "lib/boot/payload.h"
#include "lib/host/file.h"
#include "lib/host/file_cache.h"

namespace atl::boot {

struct UnpackedKernel {
  SetupHeader header{};
  std::span<const uint8_t> setup;
  std::span<const uint8_t> elf;
  LazyBytes bytes;  // what the spans point into
};

class KernelCache {
 public:
  static constexpr uint64_t kMaxBytes = uint64_t{512} << 20;

  // `folder` as of host::CacheFolder(); empty: nothing is found nor kept.
  KernelCache(const std::string& folder, const host::File& image);

  std::optional<UnpackedKernel> Find() const;
  // Best effort. `elf` has been checked by ParseElf().
  void Keep(std::span<const uint8_t> setup, std::span<const uint8_t> elf) const;

 private:
  std::string name_;  // empty: no cache
  host::FileCache files_;
};

}  // namespace atl::boot

#endif  // LIB_BOOT_KERNEL_CACHE_H_
