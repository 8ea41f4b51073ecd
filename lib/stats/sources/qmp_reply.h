// SPDX-License-Identifier: Apache-2.0
// The replies of query-stats-schemas and query-stats (QEMU's qapi/stats.json): what
// the provider "kvm" says.
#ifndef LIB_STATS_SOURCES_QMP_REPLY_H_
#define LIB_STATS_SOURCES_QMP_REPLY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/qmp/json_value.h"
#include "lib/stats/sources/source.h"

namespace atl::stats {

struct QmpSchemas {
  std::shared_ptr<const Schema> vm, vcpu;  // null where there is none
};

// A histogram's number of buckets is not in the schema: it has 32 words here, as
// the kernel's have; further buckets are added to the last.
absl::StatusOr<QmpSchemas> ParseQmpSchemas(const qmp::JsonValue& reply);

// The values of each object (VM or vCPU), in the reply's order, by `schema`. Names
// that the schema does not have are left out.
absl::StatusOr<std::vector<std::vector<uint64_t>>> ParseQmpStats(const qmp::JsonValue& reply,
                                                                 const Schema& schema);

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_QMP_REPLY_H_
