// SPDX-License-Identifier: Apache-2.0
#include "lib/block/metadata_map.h"

#include "absl/strings/str_format.h"

namespace atl::block {

absl::Status MetadataMap::Add(const char* what, uint64_t offset, uint64_t length) {
  MutexLock lock(&mu_);
  if (length == 0) return absl::OkStatus();
  for (uint64_t c = offset >> cluster_bits_; c <= (offset + length - 1) >> cluster_bits_; ++c) {
    auto [it, fresh] = clusters_.emplace(c, what);
    if (fresh) continue;
    return absl::DataLossError(
        absl::StrFormat("%s at 0x%x overlaps with %s", what, c << cluster_bits_, it->second));
  }
  return absl::OkStatus();
}

void MetadataMap::Remove(uint64_t offset, uint64_t length) {
  MutexLock lock(&mu_);
  if (length == 0) return;
  for (uint64_t c = offset >> cluster_bits_; c <= (offset + length - 1) >> cluster_bits_; ++c) {
    clusters_.erase(c);
  }
}

const char* MetadataMap::Find(uint64_t offset, uint64_t length) const {
  MutexLock lock(&mu_);
  if (length == 0) return nullptr;
  for (uint64_t c = offset >> cluster_bits_; c <= (offset + length - 1) >> cluster_bits_; ++c) {
    auto it = clusters_.find(c);
    if (it != clusters_.end()) return it->second;
  }
  return nullptr;
}

}  // namespace atl::block
