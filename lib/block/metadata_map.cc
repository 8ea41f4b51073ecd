// SPDX-License-Identifier: Apache-2.0
#include "lib/block/metadata_map.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_format.h"

namespace atl::block {

const MetadataMap::Region* MetadataMap::FindLocked(uint64_t begin, uint64_t end,
                                                   uint64_t* at) const {
  auto it = regions_.upper_bound(begin);
  if (it != regions_.begin() && std::prev(it)->second.end > begin) --it;
  if (it == regions_.end() || it->first >= end) return nullptr;
  *at = std::max(it->first, begin);
  return &it->second;
}

absl::Status MetadataMap::Add(const char* what, uint64_t offset, uint64_t length) {
  if (length == 0) return absl::OkStatus();
  const uint64_t begin = offset >> cluster_bits_;
  const uint64_t end = ((offset + length - 1) >> cluster_bits_) + 1;
  MutexLock lock(&mu_);
  uint64_t at = 0;
  if (const Region* other = FindLocked(begin, end, &at); other != nullptr) {
    return absl::DataLossError(
        absl::StrFormat("%s at 0x%x overlaps with %s", what, at << cluster_bits_, other->what));
  }
  regions_[begin] = {end, what};
  return absl::OkStatus();
}

void MetadataMap::Remove(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  const uint64_t begin = offset >> cluster_bits_;
  const uint64_t end = ((offset + length - 1) >> cluster_bits_) + 1;
  MutexLock lock(&mu_);
  uint64_t at = 0;
  while (const Region* found = FindLocked(begin, end, &at)) {
    const Region region = *found;
    auto it = std::prev(regions_.upper_bound(at));
    const uint64_t first = it->first;
    regions_.erase(it);
    if (first < begin) regions_[first] = {begin, region.what};
    if (region.end > end) regions_[end] = region;
  }
}

const char* MetadataMap::Find(uint64_t offset, uint64_t length) const {
  if (length == 0) return nullptr;
  MutexLock lock(&mu_);
  uint64_t at = 0;
  const Region* found =
      FindLocked(offset >> cluster_bits_, ((offset + length - 1) >> cluster_bits_) + 1, &at);
  return found == nullptr ? nullptr : found->what;
}

}  // namespace atl::block
