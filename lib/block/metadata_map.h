// SPDX-License-Identifier: Apache-2.0
// Which clusters of an image file hold its tables.
#ifndef LIB_BLOCK_METADATA_MAP_H_
#define LIB_BLOCK_METADATA_MAP_H_

#include <cstdint>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "lib/base/mutex.h"

namespace atl::block {

// Places, in whole clusters, that guest data must never be written to: the header, all tables.
// Any thread.
class MetadataMap {
 public:
  explicit MetadataMap(uint32_t cluster_bits) : cluster_bits_(cluster_bits) {}

  // `what` as in "active L2 table"; DataLoss, naming both, where it hits
  // another one.
  absl::Status Add(const char* what, uint64_t offset, uint64_t length);
  void Remove(uint64_t offset, uint64_t length);
  // The first piece of metadata in the range, null for none.
  const char* Find(uint64_t offset, uint64_t length) const;

 private:
  struct Region {
    uint64_t end;
    const char* what;
  };
  // The first region that ends behind `begin`, if it begins before `end`.
  const Region* FindLocked(uint64_t begin, uint64_t end, uint64_t* at) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const uint32_t cluster_bits_;
  mutable Mutex mu_;
  // By first cluster; none overlap.
  absl::btree_map<uint64_t, Region> regions_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::block

#endif  // LIB_BLOCK_METADATA_MAP_H_
