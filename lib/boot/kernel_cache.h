// SPDX-License-Identifier: Apache-2.0
// Kernels of bzImages, decompressed, kept from one start to the next: 50 MB of
// LZ4 take 0.1 s, of XZ 0.7 s, and reading what of it is not zero 0.01 s.
//
// An entry is named after its file's identity (device, inode, size, times), so
// it is never that of another version of the file. It holds the image's setup
// code and the steps that load the ELF kernel (elf.h), with their bytes, which are
// read to where the guest wants them.
#ifndef LIB_BOOT_KERNEL_CACHE_H_
#define LIB_BOOT_KERNEL_CACHE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/boot/bzimage.h"
#include "lib/boot/elf.h"
#include "lib/host/file.h"
#include "lib/host/file_cache.h"
#include "lib/mem/guest_memory.h"

namespace atl::boot {

struct UnpackedKernel {
  SetupHeader header{};
  std::vector<uint8_t> setup;
  bool is64 = false;
  uint64_t entry = 0;  // physical
  uint64_t end = 0;    // of the memory that it takes
};

class KernelCache {
 public:
  static constexpr uint64_t kMaxBytes = uint64_t{512} << 20;

  // `folder` as of host::CacheFolder(); empty: nothing is found nor kept.
  KernelCache(const std::string& folder, const host::File& image);

  // The kernel, loaded. Nothing where there is no entry, or a damaged one (memory may
  // then have been written in part), or where the machine has no memory at some step.
  std::optional<UnpackedKernel> Load(GuestMemory& memory) const;
  // Best effort. `elf` is of `kernel`.
  void Keep(std::span<const uint8_t> setup, const ElfKernel& kernel,
            std::span<const uint8_t> elf) const;

 private:
  std::string name_;  // empty: no cache
  host::FileCache files_;
};

}  // namespace atl::boot

#endif  // LIB_BOOT_KERNEL_CACHE_H_
