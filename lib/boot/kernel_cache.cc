// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/kernel_cache.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "lib/boot/elf.h"

namespace atl::boot {
namespace {

// Section headers and relocations, which nobody needs, follow what is loaded.
std::span<const uint8_t> WithoutTail(std::span<const uint8_t> elf) {
  const absl::StatusOr<ElfKernel> whole = ParseElf(elf);
  if (!whole.ok()) return elf;
  uint64_t end = 0;
  for (const ElfSegment& s : whole->segments) end = std::max(end, s.offset + s.file_size);
  const absl::StatusOr<ElfKernel> cut = ParseElf(elf.first(end));
  return cut.ok() && cut->entry == whole->entry ? elf.first(end) : elf;
}

}  // namespace

KernelCache::KernelCache(const std::string& folder, const host::File& image)
    : files_(absl::StrCat(folder, "/kernels"), kMaxBytes) {
  if (folder.empty()) return;
  const std::string identity = image.Identity();
  if (!identity.empty()) name_ = absl::StrCat("kernel-", identity);
}

std::optional<UnpackedKernel> KernelCache::Find() const {
  if (name_.empty()) return std::nullopt;
  UnpackedKernel out;
  const absl::Status loaded = files_.Load(name_, [&out](uint64_t size) {
    out.bytes = LazyBytes(size);
    return out.bytes.span();
  });
  if (!loaded.ok()) return std::nullopt;
  const std::span<const uint8_t> all = std::as_const(out.bytes).span();
  const absl::StatusOr<SetupHeader> header = ParseSetupHeader(all);
  if (!header.ok()) return std::nullopt;
  out.header = *header;
  const uint64_t setup = SetupBytes(out.header);
  if (setup > all.size() || !LooksLikeElf(all.subspan(setup))) return std::nullopt;
  out.setup = all.first(setup);
  out.elf = all.subspan(setup);
  return out;
}

void KernelCache::Keep(std::span<const uint8_t> setup, std::span<const uint8_t> elf) const {
  if (name_.empty()) return;
  const std::span<const uint8_t> parts[] = {setup, WithoutTail(elf)};
  // Without it the next start takes longer, that is all.
  files_.Store(name_, parts).IgnoreError();
}

}  // namespace atl::boot
